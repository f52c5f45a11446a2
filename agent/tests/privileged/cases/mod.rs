//! The tests.

mod aborts;
mod attach;
mod bulk;
mod context;
mod early;
mod ends;
mod filters;
mod framing;
mod ground_truth;
mod heads;
mod interim;
mod itself;
mod load;
mod loss;
mod matrix;
mod privileges;
mod recording;
mod rules;
mod silence;
mod sockets;
mod syscalls;
