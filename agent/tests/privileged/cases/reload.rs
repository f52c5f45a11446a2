//! Settings that change while the agent runs.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use super::itself::{gateway, received, spans, text};
use crate::clients::curl;
use crate::harness::process::{Spawned, free_port, remora};
use crate::harness::{require_privilege, wait_until};
use crate::servers::nginx::Nginx;

fn scrape(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

#[test]
fn a_changed_file_counts_a_bad_one_is_refused() {
    require_privilege!();
    let (gateway, nginx) = (gateway(), Nginx::start());
    let dir = gateway.dir.path();
    let (file, log, port) = (dir.join("remora.yaml"), dir.join("agent.log"), free_port());
    fs::write(&file, "sampling: always_off\n").unwrap();
    let mut agent = Spawned::logged(
        remora()
            .args(["run", "--listen", &format!("127.0.0.1:{port}"), "--config"])
            .arg(&file)
            .env(
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                format!("http://127.0.0.1:{}", gateway.port),
            )
            .env("OTEL_METRICS_EXPORTER", "prometheus")
            // Other tests make requests as well.
            .env("REMORA_INCLUDE", format!("port={}", nginx.port()))
            .env("OTEL_BSP_SCHEDULE_DELAY", "100")
            .stdin(Stdio::null()),
        &log,
    );
    let ask = |word: &str| {
        curl::one(
            &[],
            &format!("http://127.0.0.1:{}/hello/{word}", nginx.port()),
        );
    };
    let shows = |line: &str| {
        wait_until(line, || {
            let text = scrape(port)?;
            let found = text.lines().any(|found| found.starts_with(line));
            if !found {
                std::thread::sleep(Duration::from_millis(50));
            }
            found.then_some(())
        });
    };
    wait_until("the agent listens", || {
        scrape(port).filter(|text| text.contains("remora_sampling_info"))
    });
    ask("off");
    // Counted, although its span is not kept.
    shows("http_server_request_duration_seconds_count{");
    shows("remora_sampling_decisions_total{rule=\"always_off\",decision=\"dropped\"} 2");
    fs::write(&file, "sampling: sometimes\nsampling_rules: [wrong]\n").unwrap();
    shows("remora_config_reloads_total{result=\"refused\"} 1");
    let said = fs::read_to_string(&log).unwrap();
    assert!(
        said.contains("'sometimes'") && said.contains("'wrong'"),
        "{said}"
    );
    ask("still-off");
    fs::write(&file, "sampling: always_on\nroutes: [\"/hello/{word}\"]\n").unwrap();
    agent.signal(libc::SIGHUP);
    shows("remora_config_reloads_total{result=\"taken\"} 1");
    shows("remora_sampling_info{strategy=\"always_on\"} 1");
    ask("on");
    wait_until("the span", || {
        (!spans(&received(dir)).is_empty()).then_some(())
    });
    agent.signal(libc::SIGTERM);
    assert!(agent.wait().success());
    let received = received(dir);
    let spans = spans(&received);
    let paths: Vec<_> = spans
        .iter()
        .filter_map(|span| text(span, "url.path"))
        .collect();
    assert_eq!(paths, ["/hello/on"]);
    let routes: Vec<_> = spans
        .iter()
        .filter_map(|span| text(span, "http.route"))
        .collect();
    assert_eq!(routes, ["/hello/{word}"]);
}
