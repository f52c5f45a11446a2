//! A TLS server in front of a receiver, whose certificates change while it runs.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

#[derive(Clone)]
struct State {
    config: Arc<Mutex<Arc<ServerConfig>>>,
    open: Arc<Mutex<Vec<AbortHandle>>>,
}

/// Ends with the value.
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    state: State,
    _runtime: Runtime,
}

impl Front {
    /// Passes on to `behind` what comes over TLS.
    pub(crate) fn new(behind: SocketAddr, config: Arc<ServerConfig>) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let state = State {
            config: Arc::new(Mutex::new(config)),
            open: Arc::default(),
        };
        let shared = state.clone();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = TlsAcceptor::from(Arc::clone(&*shared.config.lock().unwrap()));
                let task = tokio::spawn(async move {
                    let Ok(mut near) = acceptor.accept(stream).await else {
                        return;
                    };
                    let mut far = TcpStream::connect(behind).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
                shared.open.lock().unwrap().push(task.abort_handle());
            }
        });
        Self {
            address,
            state,
            _runtime: runtime,
        }
    }

    /// Where it is, by a name for this host.
    pub(crate) fn url(&self, name: &str) -> String {
        format!("https://{name}:{}", self.address.port())
    }

    /// Closes all connections; new ones get these certificates.
    pub(crate) fn change(&self, config: Arc<ServerConfig>) {
        *self.state.config.lock().unwrap() = config;
        for task in self.state.open.lock().unwrap().drain(..) {
            task.abort();
        }
    }
}
