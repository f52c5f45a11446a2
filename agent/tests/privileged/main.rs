//! Privileged end-to-end tests: the built `remora` traces real servers and clients.
//!
//! The ground truth comes from the programs on both sides of the wire: every client
//! reports what it asked for, what it got and how long that took, and the agent must
//! have seen exactly that, once on each side. [`harness`] runs the agent and the
//! programs, [`servers`], [`clients`] and [`grpc`] know how each of them is started,
//! [`cases`] holds the tests.
//!
//! The tests need root and a kernel that loads the programs. With `REMORA_TEST_ALL=1`
//! a test that cannot run fails; otherwise it prints why and returns. What has to be
//! installed is listed in `packages.txt` (Debian), `requirements.txt` (PyPI) and
//! `package.json` (npm).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests panic rather than return errors"
)]
#![allow(clippy::print_stderr, reason = "a skipped test says why")]

mod cases;
mod clients;
#[path = "../support/collector.rs"]
mod collector;
mod grpc;
mod harness;
#[path = "../support/pki.rs"]
mod pki;
#[path = "../support/ports.rs"]
mod ports;
#[path = "../support/otlp_profiles.rs"]
mod rules;
mod servers;
#[path = "../support/turn.rs"]
mod turn;
