//! The committed recording replays to the committed output, line by line.
//!
//! `agent/demo/demo.rec` was recorded from `remora demo`, whose clients said that they made
//! 157 requests and its shop 109 more: 266 requests, each with two sides.

#![allow(clippy::expect_used, reason = "a test that cannot go on says why")]

use std::process::Command;

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
    assert_eq!(side(r#""side":"server""#), 157 + 109);
    assert_eq!(side(r#""side":"client""#), 157 + 109);
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
