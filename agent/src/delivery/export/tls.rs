//! Certificates of the gateway and of the agent.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::config::otel::{ClientIdentity, OtlpSettings};
use crate::config::watch::Watched;

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file holds nothing of what it should.
    #[error("{path} holds no {what} in PEM format")]
    Empty {
        /// The file.
        path: PathBuf,
        /// What is missing.
        what: &'static str,
    },
    /// The system has no certificate authorities.
    #[error(
        "no certificate authorities found on this system; install ca-certificates, or set \
         OTEL_EXPORTER_OTLP_CERTIFICATE to a PEM file"
    )]
    NoRoots,
    /// What was read does not fit together.
    #[error("TLS: {0}")]
    Rustls(#[from] rustls::Error),
}

/// Reads a PEM file and makes sure that `what` is in it.
///
/// # Errors
/// If the file cannot be read, or nothing of the kind is in it.
pub fn read_pem<T: PemObject>(path: &Path, what: &'static str) -> Result<Vec<T>, TlsError> {
    let pem = fs::read(path).map_err(|source| TlsError::Read {
        path: path.into(),
        source,
    })?;
    let items: Vec<T> = T::pem_slice_iter(&pem).filter_map(Result::ok).collect();
    if items.is_empty() {
        return Err(TlsError::Empty {
            path: path.into(),
            what,
        });
    }
    Ok(items)
}

/// TLS as the settings want it: the system's authorities or the given ones, and the
/// agent's certificate if there is one. TLS 1.2 and 1.3.
#[derive(Debug)]
pub struct TlsFiles {
    certificate: Option<PathBuf>,
    client: Option<Box<ClientIdentity>>,
    alpn: Option<&'static [u8]>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    watched: Watched,
    config: Arc<ClientConfig>,
}

impl TlsFiles {
    /// Reads the files. `alpn` is the protocol to ask for.
    ///
    /// # Errors
    /// If a file is unreadable or holds nothing useful, or no authority is known.
    pub fn new(settings: &OtlpSettings, alpn: Option<&'static [u8]>) -> Result<Self, TlsError> {
        let (certificate, client) = (settings.certificate.clone(), settings.client.clone());
        let mut paths: Vec<PathBuf> = certificate.iter().cloned().collect();
        if let Some(ClientIdentity { certificate, key }) = client.as_deref() {
            paths.extend([certificate.clone(), key.clone()]);
        }
        let watched = Watched::new(paths);
        let config = read(certificate.as_deref(), client.as_deref(), alpn)?;
        Ok(Self {
            certificate,
            client,
            alpn,
            state: Mutex::new(State { watched, config }),
        })
    }

    /// What a new connection is to use: what is in the files by now. While they make no
    /// sense, a certificate that does not fit its key yet for instance, it is what was in
    /// them before; that is logged once a change.
    pub fn current(&self) -> Arc<ClientConfig> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.watched.changed() {
            match read(
                self.certificate.as_deref(),
                self.client.as_deref(),
                self.alpn,
            ) {
                Ok(config) => {
                    state.config = config;
                    tracing::info!("new certificates are in use for connections to the gateway");
                }
                Err(error) => {
                    let error = error.to_string();
                    tracing::warn!(error, "the new certificates are refused, the old ones stay");
                }
            }
        }
        Arc::clone(&state.config)
    }
}

fn read(
    certificate: Option<&Path>,
    client: Option<&ClientIdentity>,
    alpn: Option<&'static [u8]>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    match certificate {
        Some(path) => {
            for authority in read_pem::<CertificateDer<'static>>(path, "certificate")? {
                roots.add(authority)?;
            }
        }
        None => {
            let native = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(native.certs);
            if roots.is_empty() {
                return Err(TlsError::NoRoots);
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let mut config = match client {
        None => builder.with_no_client_auth(),
        Some(ClientIdentity { certificate, key }) => {
            let chain = read_pem::<CertificateDer<'static>>(certificate, "certificate")?;
            let mut keys = read_pem::<PrivateKeyDer<'static>>(key, "private key")?;
            builder.with_client_auth_cert(chain, keys.remove(0))?
        }
    };
    config.alpn_protocols = alpn.iter().map(|it| it.to_vec()).collect();
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};

    use super::*;
    use crate::config::otel::OtelSettings;

    /// What is logged.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn authority() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![]).unwrap();
        params.self_signed(&key).unwrap().pem()
    }

    #[test]
    fn bad_files_are_told_once_and_change_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        fs::write(&path, authority()).unwrap();
        let otel = OtelSettings::resolve(|name| match name {
            "OTEL_EXPORTER_OTLP_ENDPOINT" => Some("https://gw".to_owned()),
            "OTEL_EXPORTER_OTLP_CERTIFICATE" => Some(path.to_str()?.to_owned()),
            _ => None,
        });
        let files = TlsFiles::new(&otel.unwrap().traces, None).unwrap();
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone());
        tracing::subscriber::with_default(subscriber.finish(), || {
            let first = files.current();
            for bad in ["no certificate", "still none"] {
                fs::write(&path, bad).unwrap();
                for _ in 0..3 {
                    assert!(Arc::ptr_eq(&first, &files.current()));
                }
            }
            fs::write(&path, authority()).unwrap();
            let second = files.current();
            assert!(!Arc::ptr_eq(&first, &second));
            assert!(Arc::ptr_eq(&second, &files.current()));
        });
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let count = |text: &str| log.matches(text).count();
        assert_eq!(count("the new certificates are refused"), 2, "{log}");
        assert_eq!(count("new certificates are in use"), 1, "{log}");
    }
}
