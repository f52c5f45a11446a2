//! `remora debug`: what the project's own tests and benches ask for.

use clap::{Args, ValueEnum};

/// Flags of `remora debug`.
#[derive(Clone, Debug, Args)]
pub struct DebugArgs {
    /// What to print
    #[arg(value_enum)]
    pub topic: Topic,
}

/// What `remora debug` prints.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Topic {
    /// A JSON line for each kernel program: its size, and how much the verifier walked through
    Verifier,
}
