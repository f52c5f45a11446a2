//! Export: spans as bytes, and their way to a gateway, against real receivers.

mod delivery;
mod encode;
mod file;
mod grpc;
mod http;
mod receiver;
mod sample;
mod tls;
