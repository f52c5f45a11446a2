//! Tests of what takes minutes to build, or installs much: `cargo xtask test --only
//! peers-slow`. What came out is in docs/peers.md.

mod dapr;
mod spring;
