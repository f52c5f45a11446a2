//! Connections to a gateway.
//!
//! Nothing is kept from one connection to the next: names are resolved anew, and
//! certificates that were replaced are read again.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tower_service::Service;

use super::stream::Stream;
use super::tls::{TlsError, TlsFiles};
use super::{CONNECT_TIMEOUT, KEEPALIVE};
use crate::config::otel::OtlpSettings;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The protocol that gRPC is spoken over, as TLS names it (RFC 9113, section 3.2).
pub(super) const HTTP2: &[u8] = b"h2";

/// Opens connections to one gateway. `T` opens those over TCP.
#[derive(Debug)]
pub struct Connector<T = HttpConnector> {
    tcp: T,
    gateway: Arc<Gateway>,
}

#[derive(Debug)]
struct Gateway {
    endpoint: Uri,
    tls: Option<TlsFiles>,
}

impl<T: Clone> Clone for Connector<T> {
    fn clone(&self) -> Self {
        Self {
            tcp: self.tcp.clone(),
            gateway: Arc::clone(&self.gateway),
        }
    }
}

impl Connector {
    /// Connections to the endpoint. With `alpn` TLS is asked for that protocol, and a
    /// gateway that does not speak it is an error.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn new(settings: &OtlpSettings, alpn: Option<&'static [u8]>) -> Result<Self, TlsError> {
        Self::over(HttpConnector::new(), settings, alpn)
    }
}

impl<R> Connector<HttpConnector<R>> {
    /// The same with a resolver of names of one's own.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn over(
        mut tcp: HttpConnector<R>,
        settings: &OtlpSettings,
        alpn: Option<&'static [u8]>,
    ) -> Result<Self, TlsError> {
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEPALIVE));
        // Shared by the addresses of a name, so that a dead one leaves time for the next.
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let tls = (settings.endpoint.scheme_str() == Some("https"))
            .then(|| TlsFiles::new(settings, alpn))
            .transpose()?;
        let gateway = Gateway {
            endpoint: settings.endpoint.clone(),
            tls,
        };
        Ok(Self {
            tcp,
            gateway: Arc::new(gateway),
        })
    }
}

impl<T> Service<Uri> for Connector<T>
where
    T: Service<Uri, Response = TokioIo<TcpStream>> + Clone + Send + 'static,
    T::Error: Into<BoxError>,
    T::Future: Send,
{
    type Response = Stream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    /// Connects to the gateway; there is no other place to go to.
    fn call(&mut self, _: Uri) -> Self::Future {
        let (tcp, gateway) = (self.tcp.clone(), Arc::clone(&self.gateway));
        Box::pin(async move {
            timeout(CONNECT_TIMEOUT, gateway.connect(tcp))
                .await
                .unwrap_or_else(|_| Err(format!("no connection within {CONNECT_TIMEOUT:?}").into()))
        })
    }
}

impl Gateway {
    async fn connect<T>(&self, tcp: T) -> Result<Stream, BoxError>
    where
        T: Service<Uri, Response = TokioIo<TcpStream>>,
        T::Error: Into<BoxError>,
    {
        let stream = open(tcp, self.endpoint.clone()).await?;
        match &self.tls {
            None => Ok(Stream::new(stream)),
            Some(files) => self.secure(stream, files).await,
        }
    }

    async fn secure(&self, stream: TcpStream, files: &TlsFiles) -> Result<Stream, BoxError> {
        let host = self.endpoint.host().unwrap_or_default();
        // An address of IPv6 is in brackets in a URL, and nowhere else.
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(name.to_owned())?;
        let config = files.current();
        let wanted = config.alpn_protocols.first().cloned();
        let stream = TlsConnector::from(config).connect(name, stream).await?;
        let agreed = stream.get_ref().1.alpn_protocol();
        if wanted.is_some() && agreed != wanted.as_deref() {
            return Err("the gateway does not speak HTTP/2 over TLS, which gRPC needs".into());
        }
        Ok(Stream::new(stream))
    }
}

async fn open<T>(mut tcp: T, to: Uri) -> Result<TcpStream, BoxError>
where
    T: Service<Uri, Response = TokioIo<TcpStream>>,
    T::Error: Into<BoxError>,
{
    poll_fn(|context| tcp.poll_ready(context))
        .await
        .map_err(Into::into)?;
    let stream = tcp.call(to).await.map_err(Into::into)?;
    Ok(stream.into_inner())
}
