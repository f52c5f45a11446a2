//! `remora trace`: what happens on the host, live.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use super::child::{self, Held};
use super::live::{Live, STEP};
use super::outlet::Outlet;
use super::{Ended, named, processes};
use crate::cli::trace::Trace;
use crate::model::exit::{Exit, Failure};
use crate::model::processes::Processes;
use crate::model::signal;

/// How long a command may take to end after it was asked to.
const CHILD_ENDS: Duration = Duration::from_secs(5);

/// Traces until something ends it. Returns the exit code.
pub(super) fn run(trace: Trace) -> Result<u8, Failure> {
    signal::catch().map_err(Failure::failed)?;
    let held = match trace.command.as_slice() {
        [] => None,
        command => Some(hold(command)?),
    };
    let only: Vec<u32> = held.iter().map(Held::pid).collect();
    // A command has not begun yet, so nothing of it can be there.
    let missing = match held {
        None => named::missing(&trace.filter),
        Some(_) => Vec::new(),
    };
    let mut outlet = Outlet::new(trace.filter, &trace.output);
    let found = processes(&trace.config);
    let mut live = Live::start(&trace.config, &only, found, trace.record.as_deref(), false)?;
    let mut child = held.map(release).transpose()?;
    for what in missing {
        eprintln!("remora: {what}");
    }
    // For people, and for scripts that must not begin before the hooks are in place.
    let ends = child.is_none() && trace.duration.is_none() && io::stderr().is_terminal();
    eprintln!(
        "remora: tracing{}",
        if ends { "; Ctrl-C ends it" } else { "" }
    );
    let end = trace.duration.map(|duration| Instant::now() + duration);
    let followed = follow(&mut live, &mut outlet, child.as_mut(), end);
    let status = child.map(reap).transpose();
    // The recording is ended and the ledger shown whatever ended the trace.
    let finished = live.finish(&mut outlet).map(|ledger| outlet.finish(ledger));
    match followed? {
        Ended::ReaderLeft => {}
        Ended::Asked => drop(super::written(finished?)?),
    }
    Ok(status?.flatten().map_or(Exit::Done.code(), child::code))
}

/// Starts a command that waits to be released.
pub(super) fn hold(command: &[OsString]) -> Result<Held, Failure> {
    Held::start(command)
        .map_err(|error| Failure::failed(format!("no process can be started: {error}")))
}

/// Lets a command run.
pub(super) fn release(held: Held) -> Result<Child, Failure> {
    held.release().map_err(|error| {
        Failure::failed(format!("the command cannot be run: {error}"))
            .with_fix("give a program and its arguments behind --, as in a shell")
    })
}

/// Shows requests until there is a reason to end.
fn follow<P: Processes>(
    live: &mut Live<P>,
    outlet: &mut Outlet,
    mut child: Option<&mut Child>,
    end: Option<Instant>,
) -> Result<Ended, Failure> {
    loop {
        let left = end.map_or(STEP, |end| {
            end.saturating_duration_since(Instant::now()).min(STEP)
        });
        // Asked before the step, so that what the command did last is still taken.
        let ended = match &mut child {
            Some(child) => child.try_wait().map_err(Failure::failed)?.is_some(),
            None => false,
        };
        live.step(left, outlet)?;
        if super::written(outlet.flush())?.is_none() {
            return Ok(Ended::ReaderLeft);
        }
        let over = end.is_some_and(|end| Instant::now() >= end);
        if ended || over || outlet.is_full() || signal::received().is_some() {
            return Ok(Ended::Asked);
        }
    }
}

/// Waits for a command that has ended, or else ends it: then it has no status of
/// interest.
pub(super) fn reap(mut child: Child) -> Result<Option<ExitStatus>, Failure> {
    if let Some(status) = child.try_wait().map_err(Failure::failed)? {
        return Ok(Some(status));
    }
    child::signal(&child, libc::SIGTERM);
    let patience = Instant::now() + CHILD_ENDS;
    while Instant::now() < patience {
        if child.try_wait().map_err(Failure::failed)?.is_some() {
            return Ok(None);
        }
        thread::sleep(STEP);
    }
    child::signal(&child, libc::SIGKILL);
    child.wait().map_err(Failure::failed)?;
    Ok(None)
}
