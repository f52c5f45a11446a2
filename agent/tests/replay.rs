//! The committed recording replays to the committed output, line by line.
//!
//! `agent/demo/demo.rec` was recorded from `remora demo`, whose clients said that they made
//! 128 requests and 41 calls of gRPC, and its shop 87 requests more, each with two sides.

#![allow(clippy::expect_used, reason = "a test that cannot go on says why")]

use std::process::Command;

use serde_json::Value;

const RECORDING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/demo.rec");
const ORDERS: &str = include_str!("data/replay/orders.jsonl");

fn replay(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_remora"))
        .args(["replay", RECORDING, "-o", "json"])
        .args(arguments)
        .env_clear()
        .output()
        .expect("the binary runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("JSON lines are UTF-8")
}

#[test]
fn every_request_of_the_demo_is_there_with_both_sides() {
    let out = replay(&[]);
    let side = |side: &str| out.lines().filter(|line| line.contains(side)).count();
    assert_eq!(side(r#""side":"server""#), 128 + 41 + 87);
    assert_eq!(side(r#""side":"client""#), 128 + 41 + 87);
    assert!(
        out.ends_with("\"lost\":{\"ring_full\":0,\"conn_evicted\":0,\"decode\":0}}\n"),
        "{out}"
    );
}

#[test]
fn orders_come_out_as_committed() {
    let out = replay(&["--path", "/orders"]);
    for (number, (line, golden)) in out.lines().zip(ORDERS.lines()).enumerate() {
        assert_eq!(line, golden, "line {}", number + 1);
    }
    assert_eq!(out.lines().count(), ORDERS.lines().count());
}

/// Every line says which rule decided, and a budget's decisions follow from trace id and
/// probability as OpenTelemetry has it: the last 7 bytes are at least the threshold.
#[test]
fn sampling_is_explained() {
    let dir = tempfile::tempdir().expect("a folder");
    let settings = dir.path().join("remora.yaml");
    let rules =
        "sampling_spans_per_second: 1\nsampling_rules: [errors, {orders: \"path:/orders\"}]\n";
    std::fs::write(&settings, rules).expect("a file");
    let settings = settings.display().to_string();
    let (explained, plain) = (
        replay(&["--explain-sampling", "--config", &settings]),
        replay(&[]),
    );
    let (mut ruled, mut kept, mut budget) = (0, 0, 0);
    for (line, plain) in explained.lines().zip(plain.lines()) {
        let mut line: Value = serde_json::from_str(line).expect("JSON");
        let fields = line.as_object_mut().expect("an object");
        let sampling = fields.remove("sampling");
        // Nothing else is different.
        assert_eq!(line, serde_json::from_str::<Value>(plain).expect("JSON"));
        if line["kind"] != "request" {
            assert!(sampling.is_none());
            continue;
        }
        let sampling = sampling.expect("every request has its reason");
        let rule = if !line["error"].is_null() {
            "errors"
        } else if line["path"] == "/orders" {
            "orders"
        } else {
            "budget"
        };
        assert_eq!(sampling["by"], rule, "{line}");
        let probability = sampling["probability"].as_f64().expect("known");
        if rule == "budget" {
            budget += 1;
            let trace_id = line["trace_id"].as_str().expect("text");
            let random = u64::from_str_radix(&trace_id[18..], 16).expect("hexadecimal");
            let threshold = ((1.0 - probability) * 56f64.exp2()) as u64;
            assert_eq!(sampling["kept"], random >= threshold, "{line} {sampling}");
            kept += usize::from(sampling["kept"] == true);
        } else {
            ruled += 1;
            assert_eq!((&sampling["kept"], probability), (&Value::Bool(true), 1.0));
        }
    }
    assert_eq!(ruled + budget, 2 * (128 + 41 + 87));
    assert!(ruled > 38 && kept < budget / 10, "{ruled} {kept} {budget}");
    std::fs::write(&settings, "sampling: always_off\n").expect("a file");
    let none = replay(&["--explain-sampling", "--config", &settings]);
    let off = r#","sampling":{"kept":false,"by":"always_off","#;
    assert_eq!(none.matches(off).count(), 2 * (128 + 41 + 87));
}
