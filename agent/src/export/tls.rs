//! Certificates of the gateway and of the agent.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::config::otel::{ClientIdentity, OtlpSettings};

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
pub fn read_pem<T: PemObject>(
    path: &Path,
    what: &'static str,
) -> Result<(Vec<u8>, Vec<T>), TlsError> {
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
    Ok((pem, items))
}

/// TLS as the settings want it: the system's authorities or the given ones, and the
/// agent's certificate if there is one. TLS 1.2 and 1.3. For an endpoint without TLS
/// nothing is read.
///
/// # Errors
/// If a file is unreadable or holds nothing useful, or no authority is known.
pub fn client_config(settings: &OtlpSettings) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    if settings.endpoint.scheme_str() == Some("https") {
        match &settings.certificate {
            Some(path) => {
                let (_, authorities) = read_pem::<CertificateDer<'static>>(path, "certificate")?;
                for authority in authorities {
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
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    Ok(match &settings.client {
        None => builder.with_no_client_auth(),
        Some(ClientIdentity { certificate, key }) => {
            let (_, chain) = read_pem::<CertificateDer<'static>>(certificate, "certificate")?;
            let (_, mut keys) = read_pem::<PrivateKeyDer<'static>>(key, "private key")?;
            builder.with_client_auth_cert(chain, keys.remove(0))?
        }
    })
}
