//! Real peers, traced: frameworks and proxies as their users build them.
//!
//! Servers made with Gin, Kratos, go-zero, grpc-go and Spring Boot offer one API over HTTP
//! and gRPC ([`programs`]), alone, behind Envoy and with Dapr's sidecars. Servers, clients
//! and proxies each count what they did, by method, route and status ([`truth`]); the agent
//! must have seen exactly that, once on each side of every hop.
//!
//! The tests need root, and the programs built: `cargo xtask test --only peers` builds those
//! of [`cases`] that take less than minutes; `--only peers-slow` builds and runs
//! [`on_demand`]. With `REMORA_TEST_ALL=1` a test that cannot run fails; otherwise it prints
//! why and returns.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests panic rather than return errors"
)]
#![allow(clippy::print_stderr, reason = "a skipped test says why")]

mod cases;
#[allow(dead_code, unused_macros, reason = "shared with other tests")]
#[path = "../privileged/harness/mod.rs"]
mod harness;
mod on_demand;
#[path = "../support/ports.rs"]
mod ports;
mod programs;
mod truth;
#[allow(dead_code, reason = "shared with other tests")]
#[path = "../privileged/clients/wrk.rs"]
mod wrk;
