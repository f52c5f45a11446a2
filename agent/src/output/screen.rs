//! What the output goes to: how wide it is, and whether it shows colours.

use std::io::{self, IsTerminal};

/// Colours, by the eight that every terminal has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Colour {
    /// Errors.
    Red,
    /// Doubts and client errors.
    Yellow,
    /// Success.
    Green,
    /// Redirections.
    Cyan,
    /// Things of less interest.
    Dim,
    /// Things of more interest.
    Bold,
}

/// A terminal, file or pipe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Screen {
    columns: Option<usize>,
    colours: bool,
    utc_offset: i32,
    live: bool,
}

impl Screen {
    /// Standard output. Colours are for terminals only, and only if `NO_COLOR` is not
    /// set (no-color.org: to anything but an empty string) and `TERM` is not `dumb`.
    #[must_use]
    pub fn stdout() -> Self {
        let terminal = io::stdout().is_terminal();
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let mut screen = Self {
            columns: None,
            colours: terminal && !set("NO_COLOR") && !dumb,
            utc_offset: crate::model::text::zone::utc_offset(),
            live: terminal,
        };
        screen.measure();
        screen
    }

    /// A file or pipe, in UTC.
    #[must_use]
    pub const fn file() -> Self {
        Self {
            columns: None,
            colours: false,
            utc_offset: 0,
            live: false,
        }
    }

    /// A terminal of a given width, in UTC.
    #[must_use]
    pub const fn terminal(columns: usize, colours: bool) -> Self {
        Self {
            columns: Some(columns),
            colours,
            utc_offset: 0,
            live: false,
        }
    }

    /// Columns of a terminal; `None` if lines may have any width.
    #[must_use]
    pub const fn columns(&self) -> Option<usize> {
        self.columns
    }

    /// Seconds east of UTC.
    #[must_use]
    pub const fn utc_offset(&self) -> i32 {
        self.utc_offset
    }

    /// Looks at the width of the terminal again; returns whether it changed.
    pub fn measure(&mut self) -> bool {
        if !self.live {
            return false;
        }
        let columns = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
        let changed = columns != self.columns;
        self.columns = columns;
        changed
    }

    /// Switches a colour on; empty where there are none.
    #[must_use]
    pub const fn paint(&self, colour: Colour) -> &'static str {
        if !self.colours {
            return "";
        }
        match colour {
            Colour::Red => "\x1b[31m",
            Colour::Yellow => "\x1b[33m",
            Colour::Green => "\x1b[32m",
            Colour::Cyan => "\x1b[36m",
            Colour::Dim => "\x1b[2m",
            Colour::Bold => "\x1b[1m",
        }
    }

    /// Switches all colours off.
    #[must_use]
    pub const fn plain(&self) -> &'static str {
        if self.colours { "\x1b[0m" } else { "" }
    }
}
