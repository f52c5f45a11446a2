//! OTLP/gRPC.

use std::path::Path;

use bytes::{Buf, BufMut, Bytes};
use http::HeaderMap;
use http::uri::PathAndQuery;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tonic::client::Grpc;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Extensions, Request, Status};

use super::batch::Signal;
use super::response::{self, MAX_RESPONSE_BYTES, printable};
use super::retry::Outcome;
use super::tls::{TlsError, read_pem};
use super::{CONNECT_TIMEOUT, IDLE_TIMEOUT, KEEPALIVE, USER_AGENT};
use crate::config::otel::OtlpSettings;

/// Why a gRPC client cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum GrpcError {
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The transport.
    #[error("gRPC endpoint: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// One HTTP/2 connection to a gateway, shared by all requests.
#[derive(Debug)]
pub struct GrpcExporter {
    channel: Channel,
    metadata: MetadataMap,
    gzip: bool,
    timeout: Option<std::time::Duration>,
}

impl GrpcExporter {
    /// A client for the endpoint. Nothing is connected before the first request. Must be
    /// called within a Tokio runtime.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn new(settings: &OtlpSettings) -> Result<Self, GrpcError> {
        let mut endpoint = Endpoint::from(settings.endpoint.clone())
            .user_agent(USER_AGENT)?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_keepalive(Some(KEEPALIVE))
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(IDLE_TIMEOUT)
            .tcp_nodelay(true);
        if settings.endpoint.scheme_str() == Some("https") {
            endpoint = endpoint.tls_config(tls(settings)?)?;
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &settings.headers.0 {
            headers.append(name, value.clone());
        }
        Ok(Self {
            channel: endpoint.connect_lazy(),
            metadata: MetadataMap::from_headers(headers),
            gzip: settings.gzip,
            timeout: settings.timeout,
        })
    }

    /// Calls `Export` with one encoded request.
    pub async fn send(&self, signal: Signal, body: Bytes) -> Outcome {
        let mut client =
            Grpc::new(self.channel.clone()).max_decoding_message_size(MAX_RESPONSE_BYTES);
        if self.gzip {
            client = client.send_compressed(CompressionEncoding::Gzip);
        }
        let mut request = Request::from_parts(self.metadata.clone(), Extensions::default(), body);
        if let Some(timeout) = self.timeout {
            request.set_timeout(timeout);
        }
        if let Err(error) = client.ready().await {
            return Outcome::Retry {
                after: None,
                cause: causes(&error),
            };
        }
        match client.unary(request, path(signal), Encoded).await {
            Ok(response) => response::delivered(response.into_inner()),
            Err(status) => classify(&status),
        }
    }
}

fn path(signal: Signal) -> PathAndQuery {
    PathAndQuery::from_static(match signal {
        Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    })
}

fn tls(settings: &OtlpSettings) -> Result<ClientTlsConfig, TlsError> {
    let certificates = |path: &Path| read_pem::<CertificateDer<'static>>(path, "certificate");
    let mut tls = ClientTlsConfig::new();
    tls = match &settings.certificate {
        Some(path) => tls.ca_certificate(Certificate::from_pem(certificates(path)?.0)),
        None => tls.with_native_roots(),
    };
    if let Some(client) = &settings.client {
        let (chain, _) = certificates(&client.certificate)?;
        let (key, _) = read_pem::<PrivateKeyDer<'static>>(&client.key, "private key")?;
        tls = tls.identity(Identity::from_pem(chain, key));
    }
    Ok(tls)
}

/// OTLP specification, "OTLP/gRPC Response": what may be sent again. A status with a
/// source was made on this side, because the connection failed.
fn classify(status: &Status) -> Outcome {
    let cause = format!("{:?}: {}", status.code(), causes(status));
    if too_large(status) {
        return Outcome::TooLarge { cause };
    }
    let after = response::retry_info(status.details());
    match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Outcome::Retry { after, cause },
        Code::ResourceExhausted if after.is_some() => Outcome::Retry { after, cause },
        _ if std::error::Error::source(status).is_some() => Outcome::Retry { after: None, cause },
        _ => Outcome::Refused { cause },
    }
}

/// gRPC has no code of its own for this: Go, Java and C++ answer RESOURCE_EXHAUSTED, Rust
/// OUT_OF_RANGE, and only the message tells it from being busy.
fn too_large(status: &Status) -> bool {
    matches!(status.code(), Code::ResourceExhausted | Code::OutOfRange)
        && ["larger than max", "too large", "exceeds maximum"]
            .iter()
            .any(|text| status.message().contains(text))
}

/// The message of a status, or of a transport error with its causes.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = match error.downcast_ref::<Status>() {
        Some(status) => status.message().to_owned(),
        None => error.to_string(),
    };
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    printable(&text)
}

/// Sends bytes that are encoded already.
#[derive(Clone, Copy, Debug)]
struct Encoded;

impl Codec for Encoded {
    type Encode = Bytes;
    type Decode = ExportTraceServiceResponse;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, dst: &mut EncodeBuf<'_>) -> Result<(), Status> {
        dst.reserve(item.len());
        dst.put(item);
        Ok(())
    }
}

impl Decoder for Encoded {
    type Item = ExportTraceServiceResponse;
    type Error = Status;

    fn decode(&mut self, src: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Status> {
        // Bytes that make no sense do not undo the success that the status announces.
        let response = ExportTraceServiceResponse::decode(&mut *src).unwrap_or_default();
        src.advance(src.remaining());
        Ok(Some(response))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_codes_of_the_specification_are_retried() {
        for code in 1..=16 {
            let outcome = classify(&Status::new(Code::from_i32(code), "m"));
            // CANCELLED, DEADLINE_EXCEEDED, ABORTED, OUT_OF_RANGE, UNAVAILABLE, DATA_LOSS
            if [1, 4, 10, 11, 14, 15].contains(&code) {
                assert!(
                    matches!(outcome, Outcome::Retry { after: None, .. }),
                    "{code}"
                );
            } else {
                assert!(matches!(outcome, Outcome::Refused { .. }), "{code}");
            }
        }
    }

    #[test]
    fn messages_that_mean_too_large() {
        for (code, message) in [
            (
                Code::ResourceExhausted,
                "grpc: received message larger than max (5 vs. 4)",
            ),
            (
                Code::ResourceExhausted,
                "gRPC message exceeds maximum size 4194304: 5000000",
            ),
            (
                Code::OutOfRange,
                "Error, decoded message length too large: found 5 bytes",
            ),
        ] {
            assert!(matches!(
                classify(&Status::new(code, message)),
                Outcome::TooLarge { .. }
            ));
        }
    }
}
