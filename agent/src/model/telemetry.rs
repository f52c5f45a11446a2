//! Signals of OpenTelemetry.

/// Which OTLP service a batch is for. The numbers are written to disk: they are never
/// given to another signal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Signal {
    /// `opentelemetry.proto.collector.trace.v1.TraceService`.
    Traces = 1,
    /// `opentelemetry.proto.collector.metrics.v1.MetricsService`.
    Metrics = 2,
    /// `opentelemetry.proto.collector.profiles.v1development.ProfilesService`.
    Profiles = 3,
}

impl Signal {
    /// All signals, in the order of [`Self::index`].
    pub const ALL: [Self; 3] = [Self::Traces, Self::Metrics, Self::Profiles];

    /// The signal with this number on disk.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|signal| *signal as u8 == number)
    }

    /// Position in [`Self::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize - 1
    }

    /// The name used in output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Profiles => "profiles",
        }
    }

    /// What its batches consist of, in words.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Traces => "spans",
            Self::Metrics => "data points",
            Self::Profiles => "profiles",
        }
    }

    /// The same as a key or as part of a name.
    #[must_use]
    pub fn unit_key(self) -> String {
        self.unit().replace(' ', "_")
    }

    /// The signal's part of `OTEL_EXPORTER_OTLP_…` variables.
    #[must_use]
    pub const fn variable(self) -> &'static str {
        match self {
            Self::Traces => "TRACES_",
            Self::Metrics => "METRICS_",
            Self::Profiles => "PROFILES_",
        }
    }

    /// What is appended to a generic OTLP/HTTP endpoint.
    #[must_use]
    pub const fn http_path(self) -> &'static str {
        match self {
            Self::Traces => "v1/traces",
            Self::Metrics => "v1/metrics",
            Self::Profiles => "v1development/profiles",
        }
    }

    /// The gRPC method.
    #[must_use]
    pub const fn grpc_path(self) -> &'static str {
        match self {
            Self::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Self::Profiles => {
                "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_on_disk_never_change() {
        let numbers = Signal::ALL.map(|signal| signal as u8);
        assert_eq!(numbers, [1, 2, 3]);
        for (index, signal) in Signal::ALL.into_iter().enumerate() {
            assert_eq!(signal.index(), index);
            assert_eq!(Signal::from_number(signal as u8), Some(signal));
        }
        assert_eq!(Signal::from_number(0), None);
        assert_eq!(Signal::from_number(4), None);
    }
}
