//! Headers and tokens from files, and that nothing tells what is in them.

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use remora::config::credentials::Credentials;
use remora::delivery::export::batch::Signal;
use remora::delivery::export::counters::DropReason;
use remora::delivery::export::exporter::{Destination, ExportSettings};

use crate::proxy::Proxy;
use crate::receiver::{Answer, Receiver, push, settings, start, to, wait};

const PROTOCOLS: [&str; 2] = ["grpc", "http/protobuf"];

fn receiver(protocol: &str, script: Vec<Answer>) -> Receiver {
    match protocol {
        "grpc" => Receiver::grpc(script),
        _ => Receiver::http(script),
    }
}

fn with(mut settings: ExportSettings, headers: Option<&Path>, token: &Path) -> ExportSettings {
    let opened = Credentials::open(headers.map(PathBuf::from), Some(token.into())).unwrap();
    if let Destination::Gateway(gateway) = &mut settings.destination {
        gateway.credentials = Some(Arc::new(opened));
    }
    settings
}

#[test]
fn files_are_sent_and_stand_above_variables() {
    for protocol in PROTOCOLS {
        let directory = tempfile::tempdir().unwrap();
        let (headers, token) = (
            directory.path().join("headers"),
            directory.path().join("token"),
        );
        std::fs::write(&headers, "x-key: new\nx-other=a=b\n").unwrap();
        std::fs::write(&token, "t0ken\n").unwrap();
        let receiver = receiver(protocol, vec![]);
        let variables = [(
            "OTEL_EXPORTER_OTLP_HEADERS",
            "x-key=old,x-kept=1,authorization=no",
        )];
        let settings = to(&receiver, protocol, &variables);
        let (exporter, mut sink) = start(with(settings, Some(&headers), &token));
        push(&mut sink, 1, 1);
        wait(|| exporter.counters().snapshot().delivered == 1);
        let received = &receiver.received()[0].headers;
        for (name, value) in [
            ("authorization", "Bearer t0ken"),
            ("x-key", "new"),
            ("x-other", "a=b"),
            ("x-kept", "1"),
        ] {
            let values: Vec<_> = received.get_all(name).iter().collect();
            assert_eq!(values, [value], "{protocol} {name}");
        }
    }
}

#[test]
fn a_refused_token_is_read_again_at_once() {
    for protocol in PROTOCOLS {
        let directory = tempfile::tempdir().unwrap();
        let token = directory.path().join("token");
        std::fs::write(&token, "first").unwrap();
        let receiver = receiver(protocol, vec![]);
        receiver.otherwise(Answer::Wants("Bearer first".into()));
        let opened = Instant::now();
        let (exporter, mut sink) = start(with(to(&receiver, protocol, &[]), None, &token));
        push(&mut sink, 1, 1);
        wait(|| exporter.counters().snapshot().delivered == 1);

        receiver.otherwise(Answer::Wants("Bearer second".into()));
        std::fs::write(&token, "second").unwrap();
        push(&mut sink, 2, 1);
        wait(|| exporter.counters().snapshot().delivered == 2);
        let retries = exporter.counters().snapshot().retries;
        // Later than this the file may have been looked at before the request.
        if opened.elapsed() < Duration::from_secs(2) {
            assert_eq!(retries, 1, "{protocol}");
        }

        // Refused though there is nothing newer, also because that makes no sense: for good.
        receiver.otherwise(Answer::Wants("Bearer third".into()));
        std::fs::write(&token, "no token").unwrap();
        push(&mut sink, 3, 1);
        wait(|| {
            exporter
                .counters()
                .snapshot()
                .dropped_for(DropReason::Rejected)
                == 1
        });
        assert_eq!(
            exporter.counters().snapshot().retries,
            retries,
            "{protocol}"
        );
        let last = receiver.received().pop().unwrap();
        assert_eq!(last.headers["authorization"], "Bearer second");
    }
}

#[test]
fn a_new_token_is_found_within_seconds() {
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, "first").unwrap();
    let receiver = receiver("http/protobuf", vec![]);
    let (_exporter, mut sink) = start(with(to(&receiver, "http/protobuf", &[]), None, &token));
    // As Kubernetes does it: another file behind the same path.
    let new = directory.path().join("new");
    std::fs::write(&new, "second").unwrap();
    std::fs::rename(&new, &token).unwrap();
    let mut id = 0;
    wait(|| {
        id += 1;
        push(&mut sink, id, 1);
        std::thread::sleep(Duration::from_millis(100));
        let last = receiver.received().pop();
        last.is_some_and(|it| it.headers["authorization"] == "Bearer second")
    });
}

/// Values that must not be seen anywhere.
const SECRETS: [&str; 6] = [
    "t0ken-of-the-file",
    "value-of-the-file",
    "value-of-the-variable",
    "bmFtZTpwYXNzd29yZA==",
    // Of the proxy, as it is in the variable and as it is sent.
    "pr0xy-password",
    "bmFtZTpwcjB4eS1wYXNzd29yZA==",
];

/// Exports to gateways that refuse and quote, that speak no protocol, and that go away;
/// everything that is logged goes to standard error.
#[test]
#[ignore = "run by nothing_tells_a_secret in a process of its own"]
fn tells_everything() {
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(std::io::stderr)
        .init();
    let garbage = TcpListener::bind("127.0.0.1:0").unwrap();
    let garbage_url = format!("http://{}", garbage.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in garbage.incoming().flatten() {
            let _ = stream.write_all(b"\x00\xff garbage\r\n\r\n");
        }
    });
    let directory = tempfile::tempdir().unwrap();
    let (headers, token) = (
        directory.path().join("headers"),
        directory.path().join("token"),
    );
    std::fs::write(&headers, format!("x-key={}\n", SECRETS[1])).unwrap();
    std::fs::write(&token, SECRETS[0]).unwrap();
    std::fs::set_permissions(&headers, PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::set_permissions(&token, PermissionsExt::from_mode(0o644)).unwrap();
    let opened = Credentials::open(Some(headers), Some(token.clone())).unwrap();
    let opened = Arc::new(opened);
    let variable = format!("x-more={},x-basic=Basic%20{}", SECRETS[2], SECRETS[3]);
    for protocol in PROTOCOLS {
        let refusing = receiver(protocol, vec![]);
        refusing.otherwise(Answer::Wants("something else".into()));
        let partial = receiver(protocol, vec![]);
        partial.otherwise(Answer::Partial(1, "t0ken-of-the-file is not to be quoted"));
        let urls = [&refusing, &partial].map(|it| format!("http://{}", it.address));
        let running = [None, Some("nobody")].map(|wants| Proxy::new(refusing.address, wants));
        let proxies = running.each_ref().map(|it| it.address.to_string());
        let gateway = "http://gateway.test";
        for (url, proxy) in [
            (urls[0].as_str(), "127.0.0.1:1"),
            (&urls[1], "127.0.0.1:1"),
            (&garbage_url, "127.0.0.1:1"),
            ("http://127.0.0.1:1", "127.0.0.1:1"),
            (gateway, "127.0.0.1:1"),
            (gateway, &proxies[0]),
            (gateway, &proxies[1]),
        ] {
            let proxy = format!("http://name:{}@{proxy}", SECRETS[4]);
            let mut settings = settings(&[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", url),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
                ("OTEL_EXPORTER_OTLP_HEADERS", &variable),
                ("ALL_PROXY", &proxy),
            ]);
            if let Destination::Gateway(gateway) = &mut settings.destination {
                gateway.credentials = Some(Arc::clone(&opened));
            }
            eprintln!("{settings:?} {}", settings.destination);
            if let Destination::Gateway(gateway) = &settings.destination {
                let further = gateway.at("http://u:p@gateway.test", Signal::Traces);
                eprintln!("{:?} {further:?}", gateway.peer());
            }
            let (exporter, mut sink) = start(settings);
            eprintln!("{exporter:?}");
            push(&mut sink, 1, 3);
            wait(|| {
                let now = exporter.counters().snapshot();
                now.retries >= 2 || now.queued == 0
            });
            drop(sink);
            exporter.shutdown(Duration::from_millis(10));
        }
    }
    std::fs::write(&token, format!("{} {}", SECRETS[0], SECRETS[0])).unwrap();
    let refusing = receiver("http/protobuf", vec![]);
    refusing.otherwise(Answer::Wants("something else".into()));
    let mut settings = to(&refusing, "http/protobuf", &[]);
    if let Destination::Gateway(gateway) = &mut settings.destination {
        gateway.credentials = Some(opened);
    }
    let (exporter, mut sink) = start(settings);
    for id in 0..3 {
        push(&mut sink, id, 1);
        wait(|| {
            exporter
                .counters()
                .snapshot()
                .dropped_for(DropReason::Rejected)
                == id + 1
        });
    }
    let error = Credentials::open(None, Some(token)).unwrap_err();
    eprintln!("{error} {error:?}");
    eprintln!("all is told");
}

#[test]
fn nothing_tells_a_secret() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "credentials::tells_everything",
            "--ignored",
            "--nocapture",
        ])
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    let tail = log
        .get(log.len().saturating_sub(2000)..)
        .unwrap_or_default();
    assert!(
        output.status.success() && log.contains("all is told"),
        "{tail}"
    );
    assert!(
        log.contains("TRACE"),
        "the log is not at its most talkative"
    );
    for told in [
        "refused: ",
        "(hidden)",
        "through the proxy http://127.0.0.1:",
    ] {
        assert!(log.contains(told), "{told} is not in the log");
    }
    for secret in SECRETS {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None);
    }
    let count = |text: &str| log.matches(text).count();
    assert_eq!(count("everybody on this host can read"), 1);
    assert_eq!(count("the new credentials are refused"), 1);
}
