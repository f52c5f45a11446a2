//! What this host and these privileges allow, before anything is loaded.
//!
//! Every question is answered by looking or by trying: a map is created, a program is
//! loaded and attached. Nothing stays behind.

pub mod btf;
pub mod caps;
mod features;
mod probe;
mod settings;

use serde::Serialize;

use crate::model::exit::{Exit, Failure};
use caps::Privileges;

/// How a check went.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Pass,
    /// Remora works, but something is lost.
    Warn,
    /// Remora cannot work.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "kind", rename = "check")]
pub struct Check {
    /// Name for programs, fixed.
    #[serde(rename = "check")]
    pub id: &'static str,
    /// Name for people.
    #[serde(skip)]
    pub title: &'static str,
    /// How it went.
    pub status: Status,
    /// What was found.
    pub observed: String,
    /// How to put it right; `None` if it passed.
    pub fix: Option<String>,
    /// What does not work without it; `None` if it passed.
    #[serde(rename = "feature")]
    pub lost: Option<&'static str>,
}

impl Check {
    fn pass(id: &'static str, title: &'static str, observed: impl Into<String>) -> Self {
        Self {
            id,
            title,
            status: Status::Pass,
            observed: observed.into(),
            fix: None,
            lost: None,
        }
    }

    fn warn(mut self, lost: &'static str, fix: impl Into<String>) -> Self {
        self.status = Status::Warn;
        self.lost = Some(lost);
        self.fix = Some(fix.into());
        self
    }

    fn fail(self, lost: &'static str, fix: impl Into<String>) -> Self {
        Self {
            status: Status::Fail,
            ..self.warn(lost, fix)
        }
    }
}

/// Checks everything. `endpoint` is where spans are to be sent, if they are, and who says so:
/// `host:port`, and the name of a setting.
#[must_use]
pub fn checks(endpoint: Option<(&str, &str)>) -> Vec<Check> {
    let privileges = Privileges::read();
    let mut checks = vec![
        caps::check(&privileges),
        features::kernel(),
        features::types(),
    ];
    // Without privileges every attempt fails for the one reason that was given already.
    if privileges.can_load() {
        checks.push(features::ring_buffer());
        checks.push(features::raw_tracepoint());
    }
    checks.extend([
        features::lockdown(),
        settings::memlock(&privileges),
        settings::bpf(),
        settings::pid_namespace(),
        settings::proc(&privileges),
        settings::cgroup(),
        settings::clock(),
        settings::cpus(),
    ]);
    checks.extend(endpoint.map(|(address, origin)| settings::endpoint(address, origin)));
    checks
}

/// Whether these privileges suffice to start; to be asked before anything else, so that
/// whoever lacks them gets this one message.
///
/// # Errors
/// What is missing and how to give it, with [`Exit::Unsupported`].
pub fn privileges() -> Result<(), Failure> {
    let check = caps::check(&Privileges::read());
    if check.status != Status::Fail {
        return Ok(());
    }
    let failure = Failure::new(Exit::Unsupported, check.observed);
    Err(match check.fix {
        Some(fix) => failure.with_fix(fix),
        None => failure,
    })
}

#[cfg(test)]
mod tests;
