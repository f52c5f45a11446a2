//! `remora replay`: what a recording holds.

use super::outlet::Outlet;
use crate::capture::recording::Recording;
use crate::cli::replay::Replay;
use crate::model::exit::{Exit, Failure};
use crate::model::signal;
use crate::pairing::conn::Limits;
use crate::pairing::replay;

/// Records between two looks at whether to end, and between two flushes.
const BATCH: usize = 1024;

/// Shows a recording from start to end. Returns the exit code.
pub(super) fn run(replay: Replay) -> Result<u8, Failure> {
    signal::catch().map_err(Failure::failed)?;
    let recording = Recording::open(&replay.file).map_err(unreadable)?;
    let outlet = Outlet::new(replay.filter, &replay.output);
    show(replay::Replay::new(recording, Limits::default()), outlet)
}

/// Shows what is replayed, also what comes before a defect.
pub(super) fn show<R: std::io::Read>(
    mut replay: replay::Replay<R>,
    mut outlet: Outlet,
) -> Result<u8, Failure> {
    let mut more = Ok(true);
    while matches!(more, Ok(true)) && !outlet.is_full() && signal::received().is_none() {
        for _ in 0..BATCH {
            more = replay.step(&mut outlet);
            if !matches!(more, Ok(true)) || outlet.is_full() {
                break;
            }
        }
        if super::written(outlet.flush())?.is_none() {
            return Ok(Exit::Done.code());
        }
    }
    super::written(outlet.finish(replay.ledger()))?;
    more.map_err(unreadable)?;
    Ok(Exit::Done.code())
}

pub(super) fn unreadable(error: crate::capture::recording::Error) -> Failure {
    use std::error::Error as _;
    // The cause of an error from the system is in its sources.
    let cause = error
        .kind
        .source()
        .map_or_else(String::new, |cause| format!(": {cause}"));
    Failure::failed(format!("{error}{cause}"))
}
