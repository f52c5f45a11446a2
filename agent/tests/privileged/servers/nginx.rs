//! nginx.

use std::fs;
use std::path::Path;

use super::Server;
use crate::harness::process::{command, free_port};
use crate::harness::wait_until;

/// A running nginx with two workers.
pub(crate) struct Nginx {
    pub(crate) server: Server,
    /// Port of the second server of the same nginx, which `/upload/` is proxied to.
    pub(crate) upstream: u16,
}

/// What every nginx of the suite answers.
const LOCATIONS: &str = "
    location /hello/ { return 200 'hello\\n'; }
    location /big/ { root .; try_files /big.bin =404; }
    location /huge/ { root .; try_files /huge.bin =404; }
    location /nothing/ { return 204; }
    location /missing/ { return 404; }
    location /failing/ { return 503; }
    location /upload/ { proxy_pass http://upstream; client_max_body_size 0; }
    location /proxied/ { proxy_pass http://upstream; }
    location /limited/ { proxy_pass http://upstream; client_max_body_size 1000; }
";

impl Nginx {
    /// nginx with the usual locations.
    pub(crate) fn start() -> Self {
        Self::with("")
    }

    /// nginx with additional directives of the `server` block; `UPSTREAM` stands for
    /// the port of the second server, `DIR` for the directory.
    pub(crate) fn with(extra: &str) -> Self {
        let upstream = free_port();
        let server = Server::start(|port, dir| {
            fs::write(
                dir.join("nginx.conf"),
                configuration(port, upstream, dir, extra),
            )
            .unwrap();
            fs::write(dir.join("big.bin"), vec![b'b'; 300_000]).unwrap();
            let mut nginx = command("nginx", &["-e", "stderr", "-c"]);
            nginx.arg(dir.join("nginx.conf")).current_dir(dir);
            nginx
        });
        Self { server, upstream }
    }

    /// Port of the first server.
    pub(crate) fn port(&self) -> u16 {
        self.server.port
    }

    /// Lines of the access log, once there are at least `count` of them:
    /// `METHOD URI STATUS BODY_BYTES SECONDS`.
    pub(crate) fn log(&self, count: usize) -> Vec<String> {
        let path = self.server.dir.path().join("access.log");
        wait_until(&format!("{count} requests in nginx's log"), || {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<_> = text.lines().map(str::to_owned).collect();
            (lines.len() >= count).then_some(lines)
        })
    }
}

fn configuration(port: u16, upstream: u16, dir: &Path, extra: &str) -> String {
    let dir = dir.display().to_string();
    let locations = LOCATIONS.replace("root .", &format!("root {dir}"));
    let extra = extra
        .replace("UPSTREAM", &upstream.to_string())
        .replace("DIR", &dir);
    format!(
        "daemon off; user root; worker_processes 2; pid {dir}/nginx.pid;
error_log {dir}/error.log;
worker_rlimit_nofile 20000;
events {{ worker_connections 8000; }}
http {{
  log_format facts '$request_method $uri $status $body_bytes_sent $request_time';
  access_log {dir}/access.log facts;
  client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy;
  fastcgi_temp_path {dir}/fastcgi; uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
  sendfile on; keepalive_requests 1000000;
  upstream upstream {{ server 127.0.0.1:{upstream}; keepalive 8; }}
  proxy_http_version 1.1; proxy_set_header Connection '';
  server {{
    listen 127.0.0.1:{port} backlog=4096; listen [::1]:{port}; listen unix:{dir}/socket;
    {extra}
    {locations}
  }}
  server {{
    listen 127.0.0.1:{upstream}; access_log off; client_max_body_size 0;
    location / {{ return 200 'from upstream\\n'; }}
  }}
}}
"
    )
}
