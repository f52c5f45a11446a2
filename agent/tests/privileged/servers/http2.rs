//! Servers of cleartext HTTP/2.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::nginx::Nginx;
use super::{Server, apache};
use crate::harness::expect::Planned;
use crate::harness::process::{command, free_port};
use crate::harness::tools;

/// nghttpd, with a file for each path of the plans.
pub(crate) fn nghttpd(plans: &[&[Planned]]) -> Server {
    Server::start(|port, dir| {
        for planned in plans.iter().copied().flatten() {
            write_file(dir, planned);
        }
        let mut nghttpd = command("nghttpd", &["--no-tls", "--address", "127.0.0.1"]);
        nghttpd.arg("--max-concurrent-streams").arg("2000");
        // Otherwise it answers before it has the body.
        nghttpd.arg("--echo-upload");
        nghttpd.arg("--htdocs").arg(dir).arg(port.to_string());
        nghttpd
    })
}

fn write_file(dir: &Path, planned: &Planned) {
    let file = dir.join(planned.path.trim_start_matches('/'));
    let content = match planned.path.split('/').nth(1) {
        Some("missing") => return,
        Some("big") => vec![b'b'; 300_000],
        Some("upload") => b"got it\n".to_vec(),
        _ => b"hello\n".to_vec(),
    };
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, content).unwrap();
}

/// nghttpx in front of an HTTP/2 server, speaking HTTP/2 to it.
pub(crate) fn nghttpx(upstream: u16) -> Server {
    Server::start(|port, dir| {
        let configuration = dir.join("nghttpx.conf");
        fs::write(&configuration, "").unwrap();
        let mut nghttpx = Command::new("nghttpx");
        nghttpx
            .arg(format!("--conf={}", configuration.display()))
            .arg(format!("--frontend=127.0.0.1,{port};no-tls"))
            .arg(format!("--backend=127.0.0.1,{upstream};;proto=h2"))
            .args(["--workers=1", "--no-ocsp"]);
        nghttpx
    })
}

/// nginx with a port that takes nothing but HTTP/2; returns that port.
pub(crate) fn nginx() -> (Nginx, u16) {
    let port = free_port();
    let nginx = Nginx::with(&format!("listen 127.0.0.1:{port} http2;"));
    (nginx, port)
}

/// Apache httpd with mod_http2, which takes `Upgrade: h2c` as well. It passes uploads on
/// to `upstream` over HTTP/1.1, because it answers without them if it has a file.
pub(crate) fn apache(upstream: u16) -> Server {
    apache::start(
        "event",
        &format!(
            "LoadModule http2_module /usr/lib/apache2/modules/mod_http2.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
ProxyPass /upload/ http://127.0.0.1:{upstream}/upload/
Protocols h2c http/1.1
H2Upgrade on"
        ),
    )
}

/// Node's `http2`, with settings (`NAME=VALUE`).
pub(crate) fn node(settings: &[&str]) -> Server {
    Server::start(|port, dir| {
        let script = dir.join("h2_server.js");
        fs::write(&script, include_str!("../programs/h2_server.js")).unwrap();
        let mut node = Command::new("node");
        node.arg(script).arg(port.to_string()).args(settings);
        node
    })
}

/// Caddy, which passes uploads on to `upstream` over HTTP/2.
pub(crate) fn caddy(upstream: u16) -> Server {
    let program = tools::python().with_file_name("caddy");
    Server::start(|port, dir| {
        fs::write(dir.join("big.bin"), vec![b'b'; 300_000]).unwrap();
        let text = format!(
            "{{
	auto_https off
	admin off
	persist_config off
	storage file_system {dir}
	servers {{
		protocols h1 h2c
	}}
}}
http://127.0.0.1:{port} {{
	bind 127.0.0.1
	root {dir}
	respond /hello/* <<END
		hello

		END
	handle /big/* {{
		rewrite * /big.bin
		file_server
	}}
	reverse_proxy /upload/* h2c://127.0.0.1:{upstream}
	respond /missing/* 404
}}
",
            dir = dir.display()
        );
        fs::write(dir.join("Caddyfile"), text).unwrap();
        let mut caddy = command(program, &["run", "--adapter", "caddyfile", "--config"]);
        caddy.arg(dir.join("Caddyfile"));
        caddy
    })
}
