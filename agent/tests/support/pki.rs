//! A certificate authority of the test's own, with a gateway and an agent it knows.

#![allow(
    dead_code,
    reason = "each user of this module needs another part of it"
)]

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

pub(crate) struct Pki {
    pub(crate) ca: rcgen::Certificate,
    pub(crate) server: (rcgen::Certificate, KeyPair),
    pub(crate) client: (rcgen::Certificate, KeyPair),
}

pub(crate) fn pki() -> Pki {
    let ca_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&ca_key).unwrap();
    let issuer = Issuer::from_params(&params, ca_key);
    let leaf = |names: &[&str]| {
        let key = KeyPair::generate().unwrap();
        let params =
            CertificateParams::new(names.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>());
        let params = params.unwrap();
        (params.signed_by(&key, &issuer).unwrap(), key)
    };
    let (server, client) = (leaf(&["127.0.0.1", "gateway.test"]), leaf(&["agent"]));
    Pki { ca, server, client }
}

impl Pki {
    /// Writes, or replaces, what the agent needs: authority, certificate, key.
    pub(crate) fn write(&self, directory: &Path) -> [String; 3] {
        [
            write(directory, "ca.pem", self.ca.pem()),
            write(directory, "client.pem", self.client.0.pem()),
            write(directory, "client.key", self.client.1.serialize_pem()),
        ]
    }

    /// Writes certificate and key of the gateway.
    pub(crate) fn write_server(&self, directory: &Path) -> [String; 2] {
        [
            write(directory, "server.pem", self.server.0.pem()),
            write(directory, "server.key", self.server.1.serialize_pem()),
        ]
    }
}

fn write(directory: &Path, name: &str, text: String) -> String {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}
