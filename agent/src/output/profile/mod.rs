//! CPU profiles as people and tools want them.
//!
//! [`collapse`] gives every stack its names, root first; [`folded`], [`svg`] and
//! [`table`] show those. [`pprof`], [`firefox`] and [`json`] keep addresses and files,
//! and write the profile itself. All of them show the same roots: what the user groups
//! by, the process, and why a stack was cut.

pub mod collapse;
pub mod diff;
pub mod firefox;
pub mod folded;
pub mod frames;
pub mod json;
pub mod pprof;
pub mod progress;
pub mod read;
pub mod summary;
pub mod svg;
pub mod table;
mod tree;

use clap::ValueEnum;

/// Shape of the output.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, ValueEnum)]
pub enum Format {
    /// The functions with the most CPU time, for people
    #[default]
    Table,
    /// One line a stack, root first, with its samples
    Folded,
    /// Flame graph for a browser, with search and zoom
    Svg,
    /// Protocol buffer for go tool pprof, gzipped
    Pprof,
    /// For profiler.firefox.com
    Firefox,
    /// JSON, one object a line (see remora schema profile)
    Json,
}

impl Format {
    /// Whether it may be shown on a terminal.
    #[must_use]
    pub fn is_text(self) -> bool {
        matches!(self, Self::Table | Self::Folded | Self::Json)
    }

    /// How a file of this format is opened.
    #[must_use]
    pub fn hint(self) -> Option<&'static str> {
        match self {
            Self::Svg => Some("open it in a browser"),
            Self::Pprof => Some("open it with go tool pprof -http=:8080"),
            Self::Firefox => Some("open it at https://profiler.firefox.com"),
            Self::Table | Self::Folded | Self::Json => None,
        }
    }

    /// Suffix of files, without dot.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Table => "txt",
            Self::Folded => "folded",
            Self::Svg => "svg",
            Self::Pprof => "pb.gz",
            Self::Firefox => "json",
            Self::Json => "jsonl",
        }
    }
}

/// What samples are grouped by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, ValueEnum)]
pub enum By {
    /// The request that was served: method and route
    Route,
    /// The service that ran
    Service,
    /// The thread that ran
    Thread,
}

impl By {
    /// The name used in output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Service => "service",
            Self::Thread => "thread",
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
