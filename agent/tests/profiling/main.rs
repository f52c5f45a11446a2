//! CPU profiles of real programs: with stacks that are known, and as distributions ship
//! them.
//!
//! The tests need root and a kernel that loads the programs. With `REMORA_TEST_ALL=1` a
//! test that cannot run fails; otherwise it prints why and returns.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests panic rather than return errors"
)]
#![allow(clippy::print_stderr, reason = "tests say what they measured")]

mod churn;
mod distribution;
mod harness;
mod jit;
mod known;
mod large;
mod losses;
mod many;
mod oracle;
#[path = "../support/turn.rs"]
mod turn;
