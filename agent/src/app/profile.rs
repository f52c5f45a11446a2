//! `remora profile`: where the CPU time of the host goes.

mod destination;
mod requests;
mod targets;

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::Child;
use std::time::Instant;

use super::child::{self, Held};
use super::live::{self, STEP};
use super::named;
use super::trace::{hold, reap, release};
use crate::cli::profile::Profile as Asked;
use crate::host::preflight;
use crate::model::exit::{Exit, Failure};
use crate::model::signal;
use crate::model::text::duration::ShortDuration;
use crate::model::text::time::Rfc3339;
use crate::output::profile::collapse::Collapsed;
use crate::output::profile::diff::Compared;
use crate::output::profile::progress::Progress;
use crate::output::profile::{Format, firefox, folded, json, pprof, summary, svg, table};
use crate::output::screen::Screen;
use crate::profile::model::{Event, Limits, Profile};
use crate::profile::session::{Options, Session, StartError};
use destination::Destination;
use requests::Requests;

/// Samples until something ends it, and shows the profile. Returns the exit code.
pub(super) fn run(asked: &Asked) -> Result<u8, Failure> {
    preflight::privileges()?;
    let destination = asked.write.as_deref().map(Destination::open).transpose()?;
    signal::catch().map_err(Failure::failed)?;
    let held = match asked.command.as_slice() {
        [] => None,
        command => Some(hold(command)?),
    };
    let chosen = targets::resolve(&asked.targets, held.as_ref().map(Held::pid))?;
    for name in &chosen.absent {
        let said = named::absent(name, "it is sampled once it starts");
        eprintln!("remora: {said}");
    }
    let options = Options {
        targets: chosen.targets,
        frequency: asked.frequency,
        clock: asked.clock,
        limits: Limits {
            // Tracks of the Firefox Profiler are lines of time.
            times: asked.format == Format::Firefox,
            ..Limits::default()
        },
        ..Options::default()
    };
    let mut requests = Requests::start(asked, &options.targets);
    let mut session = Session::start(options).map_err(refused)?;
    requests = requests.filter(|requests| requests.join(&mut session));
    let mut child = held.map(release).transpose()?;
    let end = asked.duration.map(|duration| Instant::now() + duration);
    if let Some(why) = session.instead() {
        eprintln!("remora: samples are of CPU time instead of cycles: {why}");
    }
    eprintln!(
        "remora: sampling {}{}",
        rate(session.event(), asked.frequency),
        until(asked, child.is_some())
    );
    let pids = &asked.targets.pids;
    let bar = Progress::start(asked.duration);
    let followed = follow(
        &mut session,
        requests.as_mut(),
        child.as_mut(),
        pids,
        end,
        bar,
    );
    let status = child.map(reap).transpose();
    let traced = requests.map_or(Ok(()), |requests| requests.finish(&mut session));
    let profile = session
        .finish()
        .map_err(|error| Failure::failed(format!("samples cannot be read: {error}")))?;
    followed?;
    traced?;
    report(&profile, asked, destination)?;
    targets::seen(&chosen.absent, &profile)?;
    Ok(status?.flatten().map_or(Exit::Done.code(), child::code))
}

fn rate(event: Event, hertz: u32) -> String {
    match event {
        Event::CpuClock => format!("at {hertz} Hz"),
        Event::Cycles { period } => format!("every {period} cycles"),
    }
}

fn until(asked: &Asked, command: bool) -> String {
    match asked.duration {
        Some(time) => {
            let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            format!(" for {}; Ctrl-C ends it", ShortDuration(ns))
        }
        None if command => " until the command ends".to_owned(),
        None => "; Ctrl-C ends it".to_owned(),
    }
}

/// Takes samples until there is a reason to end.
fn follow(
    session: &mut Session,
    mut requests: Option<&mut Requests>,
    mut child: Option<&mut Child>,
    pids: &[u32],
    end: Option<Instant>,
    mut bar: Progress,
) -> Result<(), Failure> {
    loop {
        let left = end.map_or(STEP, |end| {
            end.saturating_duration_since(Instant::now()).min(STEP)
        });
        // Asked before the step, so that what the command did last is still taken.
        let ended = match &mut child {
            Some(child) => child.try_wait().map_err(Failure::failed)?.is_some(),
            None => !pids.is_empty() && pids.iter().all(|pid| gone(*pid)),
        };
        if let Some(requests) = &mut requests {
            requests.step(session)?;
        }
        session
            .poll(left)
            .map_err(|error| Failure::failed(format!("samples cannot be read: {error}")))?;
        bar.show(session.progress().samples);
        if ended || end.is_some_and(|end| Instant::now() >= end) || signal::received().is_some() {
            return Ok(());
        }
    }
}

fn gone(pid: u32) -> bool {
    !Path::new("/proc").join(pid.to_string()).exists()
}

fn refused(error: StartError) -> Failure {
    match error {
        StartError::Kernel(error) => live::refused(error),
        error => Failure::failed(error),
    }
}

/// Writes a profile as it was asked for, and the accounts to standard error.
fn report(
    profile: &Profile,
    asked: &Asked,
    destination: Option<Destination>,
) -> Result<(), Failure> {
    match (destination, &asked.write) {
        (Some(destination), Some(path)) => {
            destination.write(|out| write(out, profile, asked, &Screen::file()))?;
            eprintln!("remora: {}", wrote(path, asked.format));
        }
        _ => {
            let screen = Screen::stdout();
            let mut out = BufWriter::new(io::stdout().lock());
            super::written(write(&mut out, profile, asked, &screen).and_then(|()| out.flush()))?;
        }
    }
    for line in summary::lines(profile, &Screen::file()) {
        eprintln!("remora: {line}");
    }
    Ok(())
}

fn write(
    out: &mut impl Write,
    profile: &Profile,
    asked: &Asked,
    screen: &Screen,
) -> io::Result<()> {
    let by = asked.by;
    let collapsed = || Collapsed::new(profile, by);
    if let Some(old) = &asked.old {
        let compared = Compared::between(old, &collapsed());
        return match asked.format {
            Format::Table => table::write_diff(out, &compared, screen),
            Format::Folded => folded::write_diff(out, &compared),
            Format::Json => json::write_diff(out, profile, &compared, by),
            Format::Svg => draw(out, profile, &compared),
            // Refused when the command line was read.
            Format::Pprof | Format::Firefox => Err(io::ErrorKind::Unsupported.into()),
        };
    }
    match asked.format {
        Format::Table => table::write(out, profile, by, screen),
        Format::Folded => folded::write(out, &collapsed()),
        Format::Svg => draw(out, profile, &Compared::alone(&collapsed())),
        Format::Pprof => pprof::write(out, profile, by),
        Format::Firefox => firefox::write(out, profile, by),
        Format::Json => json::write(out, profile, by),
    }
}

fn draw(out: &mut impl Write, profile: &Profile, compared: &Compared) -> io::Result<()> {
    let subtitle = match compared.old() {
        None => format!(
            "{} samples of {}, {}",
            profile.ledger.emitted,
            profile.event.name(),
            Rfc3339(profile.start_unix_ns)
        ),
        Some(old) => format!(
            "{} samples, compared with {old} before: red grew, blue shrank",
            profile.ledger.emitted
        ),
    };
    let title = svg::Title {
        title: "CPU profile",
        subtitle: &subtitle,
    };
    svg::write(out, compared, &title)
}

fn wrote(path: &Path, format: Format) -> String {
    let path = path.display();
    match format.hint() {
        None => format!("wrote {path}"),
        Some(hint) => format!("wrote {path}: {hint}"),
    }
}
