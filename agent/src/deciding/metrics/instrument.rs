//! The instruments: their words, and which of them a series has.

use super::Series;
use super::histogram::Histogram;
use crate::model::exchange::Side;

/// One of the instruments.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Instrument {
    Duration,
    RequestSize,
    ResponseSize,
    Call,
    Active,
}

impl Instrument {
    /// Name, unit and description (semantic conventions).
    pub(super) const fn words(self, side: Side) -> [&'static str; 3] {
        match (self, side) {
            (Self::Duration, Side::Server) => [
                "http.server.request.duration",
                "s",
                "Duration of HTTP server requests.",
            ],
            (Self::Duration, Side::Client) => [
                "http.client.request.duration",
                "s",
                "Duration of HTTP client requests.",
            ],
            (Self::RequestSize, Side::Server) => [
                "http.server.request.body.size",
                "By",
                "Size of HTTP server request bodies.",
            ],
            (Self::RequestSize, Side::Client) => [
                "http.client.request.body.size",
                "By",
                "Size of HTTP client request bodies.",
            ],
            (Self::ResponseSize, Side::Server) => [
                "http.server.response.body.size",
                "By",
                "Size of HTTP server response bodies.",
            ],
            (Self::ResponseSize, Side::Client) => [
                "http.client.response.body.size",
                "By",
                "Size of HTTP client response bodies.",
            ],
            (Self::Active, Side::Server) => [
                "http.server.active_requests",
                "{request}",
                "Number of active HTTP server requests.",
            ],
            (Self::Active, Side::Client) => [
                "http.client.active_requests",
                "{request}",
                "Number of active HTTP requests.",
            ],
            (Self::Call, Side::Server) => [
                "rpc.server.call.duration",
                "s",
                "Duration of incoming remote procedure calls.",
            ],
            (Self::Call, Side::Client) => [
                "rpc.client.call.duration",
                "s",
                "Duration of outgoing remote procedure calls.",
            ],
        }
    }

    /// The instruments of a series, with their histograms.
    pub(super) fn of(series: &Series) -> impl Iterator<Item = (Self, &Histogram)> {
        let first = if series.key.rpc {
            Self::Call
        } else {
            Self::Duration
        };
        let sizes = series.sizes.iter().flat_map(|sizes| sizes.iter());
        std::iter::once((first, &series.duration))
            .chain(
                [Self::RequestSize, Self::ResponseSize]
                    .into_iter()
                    .zip(sizes),
            )
            .filter(|(_, histogram)| histogram.totals.count > 0)
    }
}
