//! Compression of what is sent.

/// `OTEL_EXPORTER_OTLP_COMPRESSION`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compression {
    /// `gzip`.
    Gzip,
    /// `zstd`: not in the specification, but many receivers take it.
    Zstd,
}

impl Compression {
    /// What HTTP and gRPC call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}
