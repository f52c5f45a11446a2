//! `remora run`: the agent.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::continuous::{Continuous, Finished};
use super::deciding::{Decider, metrics_settings};
use super::live::{self, Live, STEP};
use super::metering::Metering;
use super::pressure::{Fill, Pressure};
use super::processes;
use super::redacting::Redacting;
use super::reload::Reload;
use super::status::RunStatus;
use super::tagging::tags;
use crate::capture::ledger::{Ledger, Summary};
use crate::cli::run::Run;
use crate::config::memory::MemoryShares;
use crate::config::otel::OtlpSettings;
use crate::config::otel::metrics::MetricsExport;
use crate::config::resolved::Config;
use crate::config::{self, Mistake};
use crate::deciding::metrics::prometheus::Format;
use crate::delivery::export::batch::Signal;
use crate::delivery::export::counters::{DropReason, Snapshot};
use crate::delivery::export::exporter::{
    Destination, Endpoints, ExportSettings, Exporter, StartError,
};
use crate::delivery::export::lane::Lane;
use crate::delivery::export::sink::OtlpSink;
use crate::delivery::queue::Queue;
use crate::delivery::telemetry::memory::MemoryMetrics;
use crate::delivery::telemetry::server::TelemetryServer;
use crate::model::exit::{Exit, Failure};
use crate::model::signal;
use crate::output;
use crate::output::profile::summary;
use crate::output::screen::Screen;

/// How long what is queued may take to be delivered at the end. Supervisors wait longer:
/// Kubernetes 30 s, systemd 90 s.
const FLUSH: Duration = Duration::from_secs(10);

/// How often silent series are looked for where metrics are not exported.
const TEND: Duration = Duration::from_secs(60);

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
    settings.spool.clone_from(&run.config.spool);
    settings.queue_bytes = run.config.memory.queue;
    settings.open_bytes = run.config.memory.open;
    settings.in_flight = run.config.export_in_flight as usize;
    settings.failover = failover(&run.config, &run.otel.traces, Signal::Traces)?;
    let gateway = matches!(settings.destination, Destination::Gateway(_));
    let profiling = run.config.profiling.is_some();
    // What an earlier run left of a signal is delivered even if this one has no more of it.
    let wanted = |signal, on: bool| on || left(&run.config, signal);
    if wanted(Signal::Metrics, run.otel.metrics_export.otlp) && gateway {
        settings.metrics = Some(endpoints(&run.config, &run.otel.metrics, Signal::Metrics)?);
    }
    if wanted(Signal::Profiles, profiling) {
        settings.profiles = Some(match &settings.destination {
            Destination::Gateway(_) => {
                endpoints(&run.config, &run.otel.profiles, Signal::Profiles)?
            }
            same => same.clone().into(),
        });
    }
    let destination = settings.destination.to_string();
    let metrics = run.otel.metrics_export;
    if metrics.prometheus && run.config.listen.is_none() {
        return Err(Failure::new(
            Exit::Config,
            "OTEL_METRICS_EXPORTER=prometheus, but nothing listens",
        )
        .with_fix("say where with --listen 127.0.0.1:9464"));
    }
    if metrics.prometheus && metrics.otlp && metrics.delta {
        return Err(Failure::new(
            Exit::Config,
            "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE asks for deltas, but a scraper needs values \
             that only grow",
        )
        .with_fix("unset it, or leave prometheus out of OTEL_METRICS_EXPORTER"));
    }
    signal::catch_hangup().map_err(Failure::failed)?;
    let profiles_to = settings.profiles.as_ref().filter(|_| profiling);
    let profiles_to = profiles_to.map(|profiles| profiles.preferred.to_string());
    let found = processes(&run.config);
    let mut live = Live::start(&run.config, &[], found, None, profiling)?;
    let host = settings.host.clone();
    let (exporter, sink) = Exporter::start(settings).map_err(unusable)?;
    let metering = (exporter.metrics())
        .filter(|_| metrics.otlp)
        .map(|sink| Metering::new(sink, metrics.interval, host));
    // A preference of what goes over OTLP: a scraper never gets deltas.
    let metrics = MetricsExport {
        delta: metrics.delta && metering.is_some(),
        ..metrics
    };
    let sink = Redacting::new(sink, run.config.query.clone());
    let counted = metrics_settings(
        &run.config.deciding,
        &metrics,
        run.otel.known_methods.clone(),
    );
    let mut sink = Decider::new(sink, &run.config.deciding, counted, unix_ns());
    let status = RunStatus::new(exporter.lanes().to_vec(), metrics.prometheus);
    let status = Arc::new(status);
    let profiles = match (run.config.profiling, exporter.profiles()) {
        (Some(profiling), Some(profiles)) => {
            let (tagger, tags) = tags(run.otel.known_methods.clone());
            sink.tagger = Some(tagger);
            let threads = live.serving().map_err(live::refused)?;
            let threads = threads.try_clone_to_owned().map_err(Failure::failed)?;
            Some(Continuous::start(profiling, profiles, (threads, tags))?)
        }
        _ => None,
    };
    let server = listen(run, &status)?;
    status.publish(&live.ledger()?.summary(), live.missed());
    eprintln!("remora: exporting to {destination}");
    if let Some(destination) = profiles_to {
        eprintln!("remora: exporting profiles to {destination}");
    }
    if let Some(server) = &server {
        eprintln!("remora: listening on {}", server.address());
    }
    let mut agent = Agent {
        sink,
        metering,
        reload: Reload::new(run.source.clone(), run.config.clone()),
        status: server.is_some().then_some(&status),
        published: Instant::now(),
        tended: Instant::now(),
        pressure: Pressure::new(),
        queue: exporter.queue(),
        memory: run.config.memory,
    };
    let followed = agent.follow(&mut live);
    status.stopping();
    // Whatever ended it: what was captured is delivered, and accounted for.
    let ledger = live.finish(&mut agent.sink);
    let Agent {
        mut sink, metering, ..
    } = agent;
    if let Some(metering) = metering {
        sink.registry.end_active();
        metering.finish(&mut sink.registry, unix_ns());
    }
    let (sampled, own) = (sink.line(), sink.own);
    drop(sink);
    let profiled = profiles.map(Continuous::finish).transpose();
    let lane = |signal| exporter.lane(signal).map(|lane| Arc::clone(&lane.counters));
    let (metered, left_profiles) = (lane(Signal::Metrics), lane(Signal::Profiles));
    let lanes = exporter.lanes().to_vec();
    let exported = exporter.shutdown(FLUSH);
    if let Some(counters) = metered {
        let line = export_line(&counters.snapshot());
        eprintln!("remora: {}: {line}", Signal::Metrics.unit());
    }
    let summary = accounts(ledger?, own);
    // The account is the last that is said, also of a run that failed.
    let fate = Fate::of(&lanes).judge(&destination);
    if let Err(failure) = &fate {
        eprintln!("remora: {failure}");
    }
    eprintln!("remora: {}", output::ledger_line(&summary, &Screen::file()));
    eprintln!("remora: {sampled}");
    eprintln!("remora: {}", export_line(&exported));
    followed?;
    match (profiled?, left_profiles) {
        (Some(finished), _) => eprintln!("remora: {}", profiles_line(&finished)),
        (None, Some(counters)) => {
            let line = export_line(&counters.snapshot());
            eprintln!("remora: profiles of processes: {line}");
        }
        (None, None) => {}
    }
    Ok(fate
        .map_or_else(|failure| failure.exit, |()| Exit::Done)
        .code())
}

/// What became of everything that was to be delivered, of all signals.
#[derive(Debug, Default)]
struct Fate {
    delivered: u64,
    dropped: u64,
    queued: u64,
}

impl Fate {
    fn of(lanes: &[Lane]) -> Self {
        let mut fate = Self::default();
        for end in lanes.iter().map(|lane| lane.counters.snapshot()) {
            fate.delivered += end.delivered;
            fate.dropped += end.dropped.iter().sum::<u64>();
            fate.queued += end.queued;
        }
        fate
    }

    /// A run that delivered nothing, and kept nothing to deliver it later, has failed.
    fn judge(&self, destination: &str) -> Result<(), Failure> {
        if self.delivered > 0 || self.queued > 0 || self.dropped == 0 {
            return Ok(());
        }
        let problem = format!("nothing was delivered to {destination}, all of it was dropped");
        Err(Failure::failed(problem).with_fix(
            "the warnings above say what is wrong there; `remora doctor` tries it, and spool_dir \
             keeps what cannot be delivered for the next run",
        ))
    }
}

/// What a run works with beside its source.
struct Agent<'a> {
    sink: Decider<Redacting<OtlpSink>>,
    metering: Option<Metering>,
    reload: Reload,
    status: Option<&'a Arc<RunStatus>>,
    published: Instant,
    tended: Instant,
    pressure: Pressure,
    queue: Arc<dyn Queue>,
    memory: MemoryShares,
}

impl Agent<'_> {
    fn follow<P: crate::model::processes::Processes>(
        &mut self,
        live: &mut Live<P>,
    ) -> Result<(), Failure> {
        while signal::received().is_none() {
            live.step(STEP, &mut self.sink)?;
            self.sink.sink.sink.tick();
            self.relieve(live);
            self.sink.tick();
            self.meter(live);
            if let Some(deciding) = self.reload.poll() {
                self.sink.configure(&deciding);
            }
            self.report(live)?;
        }
        Ok(())
    }

    /// Does without something while memory runs short.
    fn relieve<P: crate::model::processes::Processes>(&mut self, live: &mut Live<P>) {
        if !self.pressure.is_due() {
            return;
        }
        let depth = self.queue.depth();
        let fill = Fill {
            queue: depth.bytes as f64 / depth.capacity.max(1) as f64,
            pipeline: live.fill(),
        };
        self.pressure.second(fill);
        self.sink.fill = fill.most();
        self.sink.sink.sink.set_brief(self.pressure.is_brief());
        live.set_refuses(self.pressure.refuses());
    }

    /// What is held, for whoever asks.
    fn memory(&self) -> MemoryMetrics {
        let bytes = |bytes| u64::try_from(bytes).unwrap_or(u64::MAX);
        let fill = self.pressure.fill();
        MemoryMetrics {
            limits: vec![
                ("queue", bytes(self.queue.depth().capacity)),
                ("pipeline", bytes(self.memory.pipeline)),
            ],
            fill: vec![("queue", fill.queue), ("pipeline", fill.pipeline)],
            steps: self.pressure.metrics(),
        }
    }

    /// Exports metrics, or tends those that are only read.
    fn meter<P: crate::model::processes::Processes>(&mut self, live: &Live<P>) {
        let registry = &mut self.sink.registry;
        match &mut self.metering {
            Some(metering) => {
                if metering.begins() {
                    registry.count_active(unix_ns(), |each| live.in_flight(each));
                }
                metering.tick(registry, unix_ns());
            }
            None if self.tended.elapsed() >= TEND => {
                self.tended = Instant::now();
                registry.tend(unix_ns());
            }
            None => {}
        }
    }

    /// Tells whoever asks at `--listen`.
    fn report<P: crate::model::processes::Processes>(
        &mut self,
        live: &mut Live<P>,
    ) -> Result<(), Failure> {
        let Some(status) = self.status else {
            return Ok(());
        };
        let formats: Vec<Format> = status.red_wanted().collect();
        let scraped = !formats.is_empty();
        // With RED metrics comes all else as it is at the same time.
        if scraped || self.published.elapsed() >= PUBLISH {
            self.published = Instant::now();
            let summary = accounts(live.ledger()?, self.sink.own);
            status.publish(&summary, live.missed());
            let mut sampling = self.sink.metrics();
            sampling.in_flight = summary.in_flight;
            sampling.reloads = (self.reload.taken, self.reload.refused);
            status.publish_sampling(sampling);
            status.publish_memory(self.memory());
        }
        if scraped {
            let registry = &mut self.sink.registry;
            registry.count_active(unix_ns(), |each| live.in_flight(each));
            for format in formats {
                status.hand_over(format, self.sink.prometheus(format));
            }
        }
        Ok(())
    }
}

/// The totals of a run that kept back requests of its own.
fn accounts(ledger: Ledger, own: u64) -> Summary {
    Ledger {
        filtered: own,
        ..ledger
    }
    .summary()
}

/// The wall clock, ns since 1970.
fn unix_ns() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
}

/// Whether an earlier run left something of a signal.
pub(super) fn left(config: &Config, signal: Signal) -> bool {
    config.spool.as_ref().is_some_and(|it| it.holds(signal))
}

/// Where a signal goes whose first gateway is this one.
pub(super) fn endpoints(
    config: &Config,
    settings: &OtlpSettings,
    signal: Signal,
) -> Result<Endpoints, Failure> {
    Ok(Endpoints {
        preferred: Destination::Gateway(settings.clone()),
        failover: failover(config, settings, signal)?,
    })
}

/// The gateways behind the first one.
pub(super) fn failover(
    config: &Config,
    settings: &OtlpSettings,
    signal: Signal,
) -> Result<Vec<OtlpSettings>, Failure> {
    let (mut all, mut mistakes) = (Vec::new(), Vec::new());
    for url in &config.export_failover {
        match settings.at(url, signal) {
            Ok(settings) => all.push(settings),
            Err(problem) => mistakes.push(Mistake::new("export_failover", problem)),
        }
    }
    if mistakes.is_empty() {
        Ok(all)
    } else {
        Err(config::failure(&mistakes))
    }
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

pub(super) fn unusable(error: StartError) -> Failure {
    let exit = match error {
        StartError::Thread(_) => Exit::Failed,
        _ => Exit::Config,
    };
    Failure::new(exit, error)
}

/// What became of the spans, as one line.
pub(super) fn export_line(exported: &Snapshot) -> String {
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
    if exported.queued > 0 {
        line.push_str(&format!(" + {} kept in the spool", exported.queued));
    }
    line
}

/// What became of the samples and of the profiles they were in, as one line.
fn profiles_line(finished: &Finished) -> String {
    let Finished {
        ledger,
        given_up,
        sink,
    } = finished;
    let losses = summary::losses(ledger);
    format!(
        "{} samples = {} in profiles + {} lost{} + {given_up} given up at the end; \
         {} in requests, {} outside of any that is known; profiles of processes: {}",
        ledger.seen + given_up,
        ledger.emitted,
        ledger.lost(),
        losses.map_or_else(String::new, |losses| format!(" ({losses})")),
        ledger.tagged,
        ledger.untagged,
        export_line(&sink.snapshot())
    )
}

/// Sends the agent's own log to standard error.
pub(super) fn log(level: &str) {
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
    fn a_run_of_which_nothing_is_left_has_failed() {
        let judged = |delivered, dropped, queued| {
            let fate = Fate {
                delivered,
                dropped,
                queued,
            };
            fate.judge("http://x:4318/").is_ok()
        };
        assert!(judged(0, 0, 0) && judged(1, 9, 0) && judged(0, 9, 1));
        assert!(!judged(0, 9, 0));
    }

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
        exported.dropped = [2, 0, 1, 0, 0, 0, 0];
        assert_eq!(
            export_line(&exported),
            "10 reported = 7 delivered + 3 dropped (queue_full 2, retry_exhausted 1)"
        );
    }
}
