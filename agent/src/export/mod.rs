//! Out of the agent: encoding spans as OTLP, and delivering them to a gateway.
//!
//! The ingest thread encodes every span into the open batch of an [`OtlpSink`](sink::OtlpSink)
//! and hands full or old batches to a [`Queue`](crate::queue::Queue) without ever waiting.
//! One thread of its own ([`Exporter`](exporter::Exporter)) takes batches out and sends them.

pub mod batch;
pub mod otlp;
pub mod resource;
