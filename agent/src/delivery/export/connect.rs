//! Connections to a gateway.
//!
//! Nothing is kept from one connection to the next: names are resolved anew, and
//! certificates that were replaced are read again.

use std::future::{Future, poll_fn};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderValue, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tower_service::Service;

use super::response::causes;
use super::stream::Stream;
use super::tls::{TlsError, TlsFiles};
use super::{CONNECT_TIMEOUT, KEEPALIVE};
use crate::config::otel::OtlpSettings;
use crate::config::proxy::Proxy;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What is spoken over a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Speaks {
    /// HTTP/1.1, which proxies can forward.
    Http1,
    /// HTTP/2. A gateway that does not agree to it over TLS is an error.
    Http2,
}

impl Speaks {
    /// What is asked for over TLS (RFC 9113, section 3.2).
    const fn alpn(self) -> Option<&'static [u8]> {
        match self {
            Self::Http1 => None,
            Self::Http2 => Some(b"h2"),
        }
    }
}

/// The way to the gateway.
#[derive(Debug)]
enum Route {
    Direct,
    Socket(PathBuf),
    /// By `CONNECT`: the proxy passes bytes on.
    Tunnel(Proxy),
    /// The proxy is asked for the gateway's answers. Without TLS this is what proxies are
    /// set up for: many open tunnels to port 443 only.
    Forward(Proxy),
}

impl Route {
    fn of(settings: &OtlpSettings, speaks: Speaks) -> Self {
        let tls = settings.endpoint.scheme_str() == Some("https");
        if let Some(path) = &settings.socket {
            return Self::Socket(path.clone());
        }
        match settings.proxies.to(&settings.endpoint) {
            None => Self::Direct,
            Some(proxy) if tls || speaks == Speaks::Http2 => Self::Tunnel(proxy),
            Some(proxy) => Self::Forward(proxy),
        }
    }
}

/// Opens connections to one gateway. `T` opens those over TCP.
#[derive(Debug)]
pub struct Connector<T = HttpConnector> {
    tcp: T,
    gateway: Arc<Gateway>,
}

#[derive(Debug)]
struct Gateway {
    endpoint: Uri,
    route: Route,
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
    /// Connections to the endpoint.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn new(settings: &OtlpSettings, speaks: Speaks) -> Result<Self, TlsError> {
        Self::over(HttpConnector::new(), settings, speaks)
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
        speaks: Speaks,
    ) -> Result<Self, TlsError> {
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEPALIVE));
        // Shared by the addresses of a name, so that a dead one leaves time for the next.
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let tls = (settings.endpoint.scheme_str() == Some("https"))
            .then(|| TlsFiles::new(settings, speaks.alpn()))
            .transpose()?;
        let gateway = Gateway {
            endpoint: settings.endpoint.clone(),
            route: Route::of(settings, speaks),
            tls,
        };
        Ok(Self {
            tcp,
            gateway: Arc::new(gateway),
        })
    }

    /// What requests have to say to a proxy that forwards them.
    pub(super) fn authorization(&self) -> Option<&HeaderValue> {
        match &self.gateway.route {
            Route::Forward(proxy) => proxy.authorization.as_ref(),
            _ => None,
        }
    }
}

impl<T> Service<Uri> for Connector<T>
where
    T: Service<Uri, Response = TokioIo<TcpStream>> + Clone + Send + 'static,
    T::Error: Into<BoxError>,
    T::Future: Send + 'static,
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
        T::Future: Send + 'static,
    {
        let through = |proxy: &Proxy, error: BoxError| -> BoxError {
            format!("through the proxy {}: {}", proxy.address, causes(&*error)).into()
        };
        let stream = match &self.route {
            Route::Direct => open(tcp, self.endpoint.clone()).await?,
            Route::Socket(path) => {
                let stream = UnixStream::connect(path).await;
                let stream = stream.map_err(|error| format!("{}: {error}", path.display()))?;
                return Ok(Stream::new(stream));
            }
            Route::Forward(proxy) => {
                let stream = open(tcp, proxy.address.clone()).await;
                let stream = stream.map_err(|error| through(proxy, error))?;
                return Ok(Stream::new(stream).forwarded());
            }
            Route::Tunnel(proxy) => {
                let mut tunnel = Tunnel::new(proxy.address.clone(), tcp);
                if let Some(authorization) = &proxy.authorization {
                    tunnel = tunnel.with_auth(authorization.clone());
                }
                let stream = open(tunnel, self.with_port()?).await;
                stream.map_err(|error| through(proxy, error))?
            }
        };
        match &self.tls {
            None => Ok(Stream::new(stream)),
            Some(files) => self.secure(stream, files).await,
        }
    }

    /// The endpoint as a proxy has to be told of it.
    fn with_port(&self) -> Result<Uri, BoxError> {
        let endpoint = &self.endpoint;
        let port = endpoint
            .port_u16()
            .unwrap_or(if self.tls.is_some() { 443 } else { 80 });
        let host = endpoint.host().unwrap_or_default();
        Ok(Uri::builder()
            .scheme("http")
            .authority(format!("{host}:{port}"))
            .path_and_query("/")
            .build()?)
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

#[cfg(test)]
mod tests;
