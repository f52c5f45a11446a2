//! Servers of language runtimes and frameworks, with small applications.

use std::fs;
use std::process::Command;

use super::Server;
use crate::harness::process::command;
use crate::harness::tools;

/// Node's `http`.
pub(crate) fn node() -> Server {
    Server::start(|port, dir| {
        // Scripts of such names are known by their directory.
        let script = dir.join("storefront/server.js");
        fs::create_dir(dir.join("storefront")).unwrap();
        fs::write(&script, include_str!("../programs/server.js")).unwrap();
        let mut node = Command::new("node");
        node.arg(script).arg(port.to_string());
        node
    })
}

/// Python's `http.server`, threaded, speaking `HTTP/1.0` or `HTTP/1.1`.
pub(crate) fn python(protocol: &str) -> Server {
    Server::start(|port, dir| {
        let script = dir.join("http_server.py");
        fs::write(&script, include_str!("../programs/http_server.py")).unwrap();
        let mut python = Command::new(tools::python());
        python.arg(script).args([&port.to_string(), protocol]);
        python
    })
}

/// gunicorn with three forked workers of a class, and further options.
pub(crate) fn gunicorn(class: &str, options: &[&str]) -> Server {
    let python = tools::python();
    Server::start(|port, dir| {
        fs::write(dir.join("app.py"), include_str!("../programs/app.py")).unwrap();
        let mut gunicorn = command(
            python.with_file_name("gunicorn"),
            &[
                "--workers",
                "3",
                "--no-control-socket",
                "--worker-class",
                class,
            ],
        );
        gunicorn
            .args(["--bind", &format!("127.0.0.1:{port}")])
            .args(["--bind", &format!("unix:{}/socket", dir.display())])
            .args(options)
            .arg("app:main")
            .current_dir(dir);
        gunicorn
    })
}

/// uvicorn with two workers, which it starts anew instead of forking.
pub(crate) fn uvicorn() -> Server {
    let python = tools::python();
    Server::start(|port, dir| {
        fs::write(dir.join("shop.py"), include_str!("../programs/asgi.py")).unwrap();
        let mut uvicorn = command(python.with_file_name("uvicorn"), &["--workers", "2"]);
        let port = port.to_string();
        uvicorn
            .args(["--port", &port, "shop:main"])
            .current_dir(dir);
        uvicorn
    })
}

/// Go's net/http.
pub(crate) fn go() -> Server {
    let program = tools::go("server", include_str!("../programs/server.go"));
    Server::start(|port, _| command(program, &[port.to_string()]))
}

/// The JDK's com.sun.net.httpserver.
pub(crate) fn java() -> Server {
    let classes = tools::java("HelloServer", include_str!("../programs/HelloServer.java"));
    Server::start(|port, _| {
        let mut java = command("java", &["-cp"]);
        java.arg(classes).args(["HelloServer", &port.to_string()]);
        java
    })
}
