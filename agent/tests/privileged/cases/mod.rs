//! The tests.

mod ground_truth;
mod matrix;
