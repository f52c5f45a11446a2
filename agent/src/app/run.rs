//! `remora run`: the agent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::live::{Live, STEP};
use super::processes;
use super::redacting::Redacting;
use super::status::RunStatus;
use crate::cli::run::Run;
use crate::exit::{Exit, Failure};
use crate::export::counters::{DropReason, Snapshot};
use crate::export::exporter::{Destination, ExportSettings, Exporter, StartError};
use crate::output::screen::Screen;
use crate::telemetry::server::TelemetryServer;
use crate::{output, signal};

/// How long what is queued may take to be delivered at the end. Supervisors wait longer:
/// Kubernetes 30 s, systemd 90 s.
const FLUSH: Duration = Duration::from_secs(10);

/// How often what is known of capturing is brought up to date for `--listen`.
const PUBLISH: Duration = Duration::from_secs(1);

/// Exports until SIGINT or SIGTERM. Returns the exit code.
pub(super) fn run(run: &Run) -> Result<u8, Failure> {
    signal::catch().map_err(Failure::failed)?;
    log(&run.config.log);
    let mut settings = ExportSettings::from_otel(&run.otel).ok_or_else(|| {
        Failure::new(
            Exit::Config,
            "OTEL_SDK_DISABLED or OTEL_TRACES_EXPORTER=none: nothing to do",
        )
        .with_fix("unset it, or do not start the agent")
    })?;
    settings.span.allow_query = run.config.query.shows_any();
    if let Some(file) = &run.config.export_file {
        settings.destination = Destination::File(file.clone());
    }
    let destination = settings.destination.to_string();
    let mut live = Live::start(&run.config, &[], processes(&run.config), None)?;
    let (exporter, sink) = Exporter::start(settings).map_err(unusable)?;
    let mut sink = Redacting::new(sink, run.config.query.clone());
    let status = Arc::new(RunStatus::new(exporter.counters(), exporter.queue()));
    let server = listen(run, &status)?;
    status.publish(&live.ledger()?.summary());
    eprintln!("remora: exporting to {destination}");
    if let Some(server) = &server {
        eprintln!("remora: listening on {}", server.address());
    }
    let followed = follow(&mut live, &mut sink, server.is_some().then_some(&status));
    status.stopping();
    // Whatever ended it: what was captured is delivered, and accounted for.
    let ledger = live.finish(&mut sink);
    drop(sink);
    let exported = exporter.shutdown(FLUSH);
    let summary = ledger?.summary();
    eprintln!("remora: {}", output::ledger_line(&summary, &Screen::file()));
    eprintln!("remora: {}", export_line(&exported));
    followed?;
    Ok(Exit::Done.code())
}

fn follow<P: crate::conn::Processes>(
    live: &mut Live<P>,
    sink: &mut Redacting<crate::export::sink::OtlpSink>,
    status: Option<&Arc<RunStatus>>,
) -> Result<(), Failure> {
    let mut published = Instant::now();
    while signal::received().is_none() {
        live.step(STEP, sink)?;
        sink.sink.tick();
        if let Some(status) = status
            && published.elapsed() >= PUBLISH
        {
            published = Instant::now();
            status.publish(&live.ledger()?.summary());
        }
    }
    Ok(())
}

/// Opens a port if one is asked for.
fn listen(run: &Run, status: &Arc<RunStatus>) -> Result<Option<TelemetryServer>, Failure> {
    let Some(address) = run.config.listen else {
        return Ok(None);
    };
    TelemetryServer::start(address, status.clone())
        .map(Some)
        .map_err(|error| {
            Failure::new(Exit::Config, format!("cannot listen on {address}: {error}"))
                .with_fix("choose another address with --listen, or none")
        })
}

fn unusable(error: StartError) -> Failure {
    let exit = match error {
        StartError::Thread(_) => Exit::Failed,
        _ => Exit::Config,
    };
    Failure::new(exit, error)
}

/// What became of the spans, as one line.
fn export_line(exported: &Snapshot) -> String {
    let dropped: u64 = exported.dropped.iter().sum();
    let mut line = format!(
        "{} reported = {} delivered + {dropped} dropped",
        exported.accepted, exported.delivered
    );
    let reasons: Vec<String> = DropReason::ALL
        .iter()
        .zip(exported.dropped)
        .filter(|(_, count)| *count > 0)
        .map(|(reason, count)| format!("{} {count}", reason.name()))
        .collect();
    if !reasons.is_empty() {
        line.push_str(&format!(" ({})", reasons.join(", ")));
    }
    line
}

/// Sends the agent's own log to standard error.
fn log(level: &str) {
    let filter = tracing_subscriber::EnvFilter::new(level);
    // The only error is that there is a log already.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_what_was_dropped() {
        let mut exported = Snapshot {
            accepted: 10,
            delivered: 10,
            ..Snapshot::default()
        };
        assert_eq!(
            export_line(&exported),
            "10 reported = 10 delivered + 0 dropped"
        );
        exported.delivered = 7;
        exported.dropped = [2, 0, 1, 0];
        assert_eq!(
            export_line(&exported),
            "10 reported = 7 delivered + 3 dropped (queue_full 2, retry_exhausted 1)"
        );
    }
}
