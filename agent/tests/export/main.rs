//! Export: spans as bytes, and their way to a gateway, against real receivers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test panics when something is wrong"
)]

mod credentials;
mod delivery;
mod encode;
mod failover;
mod file;
mod front;
mod grpc;
mod http;
mod pace;
#[path = "../support/pki.rs"]
mod pki;
#[path = "../support/ports.rs"]
mod ports;
mod probe;
mod profiles;
mod proxy;
mod receiver;
#[path = "../support/otlp_profiles.rs"]
mod rules;
mod sample;
#[path = "../support/profile.rs"]
mod sample_profile;
mod schedules;
mod signals;
mod tls;
mod unix;
mod wire;
