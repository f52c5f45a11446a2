//! HAProxy.

use std::fs;

use super::Server;
use crate::harness::process::command;

/// Starts HAProxy in front of `upstream`, moving bodies with splice(2).
pub(crate) fn start(upstream: u16) -> Server {
    start_with("", upstream, "")
}

/// As [`start`], with options of what it listens on and of the upstream.
pub(crate) fn start_with(listening: &str, upstream: u16, options: &str) -> Server {
    Server::start(|port, dir| {
        let text = format!(
            "global
  nbthread 1
  maxconn 200
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  option splice-request
  option splice-response
frontend front
  bind 127.0.0.1:{port} {listening}
  default_backend back
backend back
  server upstream 127.0.0.1:{upstream} {options}
"
        );
        fs::write(dir.join("haproxy.cfg"), text).unwrap();
        let mut haproxy = command("haproxy", &["-db", "-f"]);
        haproxy.arg(dir.join("haproxy.cfg"));
        haproxy
    })
}
