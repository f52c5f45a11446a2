//! Build, test and measurement tasks: `cargo xtask --help`.

fn main() {}
