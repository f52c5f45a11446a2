//! Spring Boot: MVC on Tomcat, and WebFlux on Netty.

use std::path::PathBuf;

use crate::cases::http::{loaded, mixed};
use crate::harness::process::command;
use crate::harness::require_privilege;
use crate::programs::{Server, require_built};

#[test]
fn tomcat() {
    require_privilege!(alone);
    require_built!(spring_tomcat, httpclient);
    mixed(spring(spring_tomcat), &httpclient, &["http1"]);
}

#[test]
fn webflux() {
    require_privilege!(alone);
    require_built!(spring_webflux, httpclient);
    mixed(spring(spring_webflux), &httpclient, &["http1"]);
}

#[test]
fn tomcat_under_wrk() {
    require_privilege!(alone);
    require_built!(spring_tomcat);
    loaded(spring(spring_tomcat));
}

#[test]
fn webflux_under_wrk() {
    require_privilege!(alone);
    require_built!(spring_webflux);
    loaded(spring(spring_webflux));
}

/// Starts an application from its file.
fn spring(jar: PathBuf) -> Server {
    Server::start(1, |port, _, _| {
        let mut java = command("java", &["-Xmx512m", "-jar"]);
        java.arg(jar).arg(format!("--server.port={port}"));
        java.args(["--server.address=127.0.0.1", "--logging.level.root=warn"]);
        java
    })
}
