//! Exit codes and messages.

use super::remora;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

fn run(args: &[&str]) -> (i32, String, String) {
    let output = remora().args(args).output().unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn help_goes_to_standard_output_and_succeeds() {
    let (code, out, err) = run(&["trace", "--help"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(
        out.contains("--min-duration <TIME>") && out.contains("--grpc-status"),
        "{out}"
    );
}

#[test]
fn wrong_usage_goes_to_standard_error_and_is_2() {
    for args in [
        &["trace", "--statuss", "5xx"][..],
        &["nothing"],
        &[],
        &["trace", "--not"],
    ] {
        let (code, out, err) = run(args);
        assert_eq!((code, out.as_str()), (2, ""), "{args:?}");
        assert!(err.contains("Usage: remora"), "{args:?}: {err}");
    }
    let (_, _, err) = run(&["trace", "--statuss", "5xx"]);
    assert!(err.contains("'--status'"), "{err}");
}

#[test]
fn bad_configuration_is_64_with_all_mistakes() {
    let output = remora()
        .args(["run", "--ring-bytes", "7"])
        .env("REMORA_LOG", "loud")
        .env("REMORA_RING_BYTE", "8m")
        .output()
        .unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{err}");
    for part in [
        "--ring-bytes: 7 is out of range",
        "REMORA_LOG: 'loud'",
        "mean REMORA_RING_BYTES?",
    ] {
        assert!(err.contains(part), "{part} is not in {err}");
    }
}

#[test]
fn a_profile_needs_a_place_to_be_written_to() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("no/such/cpu.svg");
    let (code, out, err) = run(&["profile", "-o", "svg", "-w", missing.to_str().unwrap()]);
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    assert!(
        err.contains("there is no directory") && err.contains("fix: make it with mkdir -p"),
        "{err}"
    );
    let (code, _, err) = run(&["profile", "-w", directory.path().to_str().unwrap()]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("is a directory"), "{err}");
}

#[test]
fn deltas_and_a_scraper_do_not_go_together() {
    let output = remora()
        .args(["run", "--listen", "127.0.0.1:0"])
        .env("OTEL_METRICS_EXPORTER", "otlp,prometheus")
        .env("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta")
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{error}");
    assert!(error.contains("values that only grow"), "{error}");
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let mut child = remora()
        .args(["completions", "zsh"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut reader = BufReader::with_capacity(16, child.stdout.take().unwrap());
    reader.read_line(&mut String::new()).unwrap();
    drop(reader);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
