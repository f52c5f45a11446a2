//! TCP ports for servers that do not choose one themselves, and for nobody.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// A TCP port nobody listens on.
pub(crate) fn free_port() -> u16 {
    listener().0
}

/// A listener, and its port. Ports below the ephemeral range are taken, each once in a while,
/// so that no outgoing connection and no other test can grab one that is free for a moment.
pub(crate) fn listener() -> (u16, TcpListener) {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = u16::try_from(std::process::id() % 1000).unwrap() * 11;
    loop {
        let port = 18_000 + (base + NEXT.fetch_add(1, Ordering::Relaxed)) % 14_000;
        if let Ok(listener) = TcpListener::bind(("0.0.0.0", port)) {
            return (port, listener);
        }
    }
}
