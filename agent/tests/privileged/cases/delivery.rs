//! `remora run` itself is killed, and a collector of somebody else is restarted, while
//! requests go on: what was accepted arrives.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use opentelemetry_proto::tonic::metrics::v1::{Metric, metric::Data};

use super::itself::{gateway, received, spans, text};
use super::metrics::{metrics, rotel, sleepy};
use crate::clients::{curl, wrk};
use crate::harness::process::{Spawned, free_port, remora, run};
use crate::harness::{require_privilege, wait_until};
use crate::servers::nginx::Nginx;

/// An agent that keeps every span of requests to `port`, with a spool in `dir`.
fn agent(port: u16, endpoint: u16, dir: &Path, log: &Path) -> Spawned {
    with_metrics("none", port, endpoint, dir, log)
}

/// The same with metrics, once a second.
fn with_metrics(exporter: &str, port: u16, endpoint: u16, dir: &Path, log: &Path) -> Spawned {
    Spawned::logged(
        remora()
            .arg("run")
            .env(
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                format!("http://127.0.0.1:{endpoint}"),
            )
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
            .env("OTEL_BSP_SCHEDULE_DELAY", "100")
            .env("OTEL_TRACES_SAMPLER", "always_on")
            .env("OTEL_METRICS_EXPORTER", exporter)
            .env("OTEL_METRIC_EXPORT_INTERVAL", "1000")
            .env("REMORA_SPOOL_DIR", dir.join("spool"))
            // Other tests make requests as well.
            .env("REMORA_INCLUDE", format!("port={port}"))
            .stdin(Stdio::null()),
        log,
    )
}

pub(super) fn says(log: &Path, what: &str) {
    wait_until(what, || {
        let said = fs::read_to_string(log).unwrap_or_default();
        let found = said.contains(what);
        if !found {
            std::thread::sleep(Duration::from_millis(20));
        }
        found.then_some(())
    });
}

/// Paths of the server's spans, each as often as it arrived.
fn served(dir: &Path) -> Vec<String> {
    let received = received(dir);
    let paths = spans(&received).into_iter();
    paths
        .filter_map(|span| text(span, "url.path").map(str::to_owned))
        .collect()
}

/// Nobody listens at the gateway's port. Half a second after a request its span is on disk.
#[test]
fn a_killed_agent_loses_nothing_that_was_on_disk() {
    require_privilege!();
    let (gateway, nginx) = (gateway(), Nginx::start());
    let dir = gateway.dir.path();
    let (nobody, log) = (free_port(), dir.join("agent.log"));
    let mut asked = Vec::new();
    for round in 0..4 {
        let _ = fs::remove_file(&log);
        let mut killed = agent(nginx.port(), nobody, dir, &log);
        says(&log, "remora: exporting to");
        for number in 0..5 {
            let path = format!("/hello/killed-{round}-{number}");
            curl::one(&[], &format!("http://127.0.0.1:{}{path}", nginx.port()));
            asked.push(path);
        }
        // The default for the disk to have it is 500 ms; the batch waits for 100 ms before.
        std::thread::sleep(Duration::from_secs(2));
        killed.signal(libc::SIGKILL);
        assert!(!killed.wait().success());
    }
    assert!(served(dir).is_empty());
    let endpoint = format!("http://127.0.0.1:{}", gateway.port);
    run(remora()
        .args(["spool", "drain", "--dir"])
        .arg(dir.join("spool"))
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"));
    let mut arrived = served(dir);
    arrived.sort();
    asked.sort();
    assert_eq!(arrived, asked, "each span once");
}

/// The collector ends in the middle and comes back on the same ports. What it had taken it
/// passes on before it ends; what it has not, the agent keeps.
#[test]
fn a_collector_that_restarts_under_load() {
    require_privilege!(alone);
    let (gateway, sleepy) = (gateway(), sleepy());
    let dir = gateway.dir.path();
    let log = dir.join("agent.log");
    let Some((mut first, port)) = rotel(gateway.port, dir, free_port()) else {
        return;
    };
    let mut agent = agent(sleepy.port, port, dir, &log);
    says(&log, "remora: exporting to");
    let load = std::thread::spawn({
        let url = format!("http://127.0.0.1:{}/restart", sleepy.port);
        move || wrk::load(&url, 32, 6, &[])
    });
    std::thread::sleep(Duration::from_secs(2));
    first.signal(libc::SIGTERM);
    first.wait();
    drop(first);
    std::thread::sleep(Duration::from_secs(1));
    let Some((_second, _)) = rotel(gateway.port, dir, port) else {
        return;
    };
    let made = load.join().unwrap().requests as u64;
    std::thread::sleep(Duration::from_secs(1));
    agent.signal(libc::SIGTERM);
    assert!(agent.wait().success());
    let said = fs::read_to_string(&log).unwrap();
    let line = said
        .lines()
        .find(|line| line.contains(" delivered + "))
        .unwrap_or_else(|| panic!("{said}"));
    let numbers: Vec<u64> = line
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    let [reported, delivered, dropped] = numbers[..] else {
        panic!("{line}");
    };
    assert_eq!((reported, dropped), (delivered, 0), "{line}");
    assert!(reported >= 2 * made, "{line}, {made} made");
    let ids = wait_until("all spans at the gateway", || {
        let received = received(dir);
        let ids: HashSet<Vec<u8>> = (spans(&received).into_iter())
            .map(|span| span.span_id.clone())
            .collect();
        (ids.len() as u64 >= reported).then_some(ids)
    });
    assert_eq!(ids.len() as u64, reported, "{line}");
    println!("{line}");
}

/// Data points in a metric, by their times.
fn times(metric: &Metric) -> Vec<u64> {
    match metric.data.as_ref().unwrap() {
        Data::Histogram(it) => it.data_points.iter().map(|it| it.time_unix_nano).collect(),
        Data::Sum(it) => it.data_points.iter().map(|it| it.time_unix_nano).collect(),
        other => panic!("{other:?}"),
    }
}

/// Nobody listens while there are metrics, and there are none any more when somebody does:
/// they come all the same, in order, and are counted by both runs.
#[test]
fn metrics_of_an_outage_come_with_the_next_run() {
    require_privilege!();
    let (gateway, nginx) = (gateway(), Nginx::start());
    let dir = gateway.dir.path();
    let log = dir.join("agent.log");
    let mut first = with_metrics("otlp", nginx.port(), free_port(), dir, &log);
    says(&log, "remora: exporting to");
    for number in 0..20 {
        curl::one(
            &[],
            &format!("http://127.0.0.1:{}/hello/{number}", nginx.port()),
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    first.signal(libc::SIGTERM);
    assert!(first.wait().success());
    let line = |log: &Path| {
        let said = fs::read_to_string(log).unwrap();
        let lines: Vec<_> = said
            .lines()
            .filter(|it| it.contains("data points: "))
            .collect();
        assert_eq!(lines.len(), 1, "{said}");
        lines[0].to_owned()
    };
    let said = line(&log);
    let numbers: Vec<u64> = said
        .split(' ')
        .filter_map(|word| word.parse().ok())
        .collect();
    let reported = numbers[0];
    assert!(reported > 20, "{said}");
    assert_eq!(
        said,
        format!(
            "remora: data points: {reported} reported = 0 delivered + 0 dropped + {reported} kept \
             in the spool"
        )
    );
    assert!(metrics(dir).is_empty());

    let mut second = agent(nginx.port(), gateway.port, dir, &log);
    says(&log, "remora: exporting to");
    let points = |metrics: &[Metric]| metrics.iter().map(|it| times(it).len() as u64).sum::<u64>();
    let arrived = wait_until("the metrics", || {
        std::thread::sleep(Duration::from_millis(50));
        let arrived = metrics(dir);
        (points(&arrived) >= reported).then_some(arrived)
    });
    second.signal(libc::SIGTERM);
    assert!(second.wait().success());
    assert_eq!(points(&metrics(dir)), reported);
    assert_eq!(
        line(&log),
        format!("remora: data points: {reported} reported = {reported} delivered + 0 dropped")
    );
    let mut last = BTreeMap::new();
    for metric in &arrived {
        for time in times(metric) {
            let before = last.insert(metric.name.clone(), time);
            assert!(
                before <= Some(time),
                "{}: {before:?} before {time}",
                metric.name
            );
        }
    }
}
