//! Services and clients for `remora demo`: real processes with real traffic, small
//! enough to come with the program.

pub mod cast;
pub mod client;
mod grpc;
mod http;
pub mod service;
