//! Programs as distributions ship them, without frame pointers, under load.

use std::process::Command;
use std::time::Duration;

use crate::harness::{Running, alone, folded, have, profile, share, source, start};

/// Stacks must reach their root, and the root must be where processes and threads begin.
fn check(what: &str, running: &Running, pids: &[u32]) {
    let _ = running;
    std::thread::sleep(Duration::from_millis(500));
    let Some(profile) = profile(pids, 1500) else {
        return;
    };
    let whole = share(&profile, |_, whole| whole);
    let rooted = share(&profile, |names, whole| {
        // A stack of one frame is all there is of what was interrupted before it began.
        let begins = |name: &&str| name.contains("start") || name.contains("libc.so");
        whole && (names.len() < 2 || names.first().is_some_and(begins))
    });
    eprintln!(
        "{what}: {} samples, {whole:.2} % whole, {rooted:.2} % begin where threads do",
        profile.count()
    );
    assert!(profile.count() > 200, "{} samples", profile.count());
    assert!(whole >= 98.0 && rooted >= 95.0, "{}", folded(&profile));
}

#[test]
fn nginx() {
    let _alone = alone();
    if !have("nginx") || !have("wrk") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().display();
    let configuration = format!(
        "daemon off; master_process off; pid {path}/pid; error_log {path}/error;\n\
         events {{}}\n\
         http {{ access_log off; gzip on; gzip_types *; gzip_min_length 1;\n\
         client_body_temp_path {path}/a; proxy_temp_path {path}/b; fastcgi_temp_path {path}/c;\n\
         uwsgi_temp_path {path}/d; scgi_temp_path {path}/e;\n\
         server {{ listen 127.0.0.1:18471; return 200 \"{}\"; }} }}\n",
        "some text to compress ".repeat(40)
    );
    let file = directory.path().join("nginx.conf");
    std::fs::write(&file, configuration).unwrap();
    let server = start(Command::new("nginx").arg("-c").arg(&file));
    std::thread::sleep(Duration::from_millis(500));
    let _load = start(Command::new("wrk").args([
        "-t1",
        "-c16",
        "-d70",
        "-HAccept-Encoding: gzip",
        "http://127.0.0.1:18471/",
    ]));
    check("nginx", &server, &[server.pid()]);
}

#[test]
fn redis() {
    let _alone = alone();
    if !have("redis-server") || !have("redis-benchmark") {
        return;
    }
    let server = start(Command::new("redis-server").args([
        "--port",
        "18472",
        "--bind",
        "127.0.0.1",
        "--save",
        "",
    ]));
    std::thread::sleep(Duration::from_millis(500));
    let _load = start(Command::new("redis-benchmark").args([
        "-p",
        "18472",
        "-l",
        "-q",
        "-t",
        "lrange_100,zadd,set,sadd",
    ]));
    check("redis", &server, &[server.pid()]);
}

#[test]
fn python() {
    let _alone = alone();
    if !have("/usr/bin/python3") {
        return;
    }
    let running = start(Command::new("/usr/bin/python3").arg(source("load.py")));
    check("python3", &running, &[running.pid()]);
}

#[test]
fn node_with_names_for_compiled_code() {
    let _alone = alone();
    if !have("node") {
        return;
    }
    let running = start(
        Command::new("node")
            .arg("--perf-basic-prof")
            .arg(source("load.js"))
            // It writes a log where it starts.
            .current_dir(std::env::temp_dir()),
    );
    let map = format!("/tmp/perf-{}.map", running.pid());
    check("node", &running, &[running.pid()]);
    let Some(profile) = profile(&[running.pid()], 500) else {
        return;
    };
    let named = share(&profile, |names, _| {
        names
            .iter()
            .any(|name| name.contains("compiled") && name.contains("load.js"))
    });
    eprintln!("node: {named:.1} % of samples in the function `compiled`, by its name");
    std::fs::remove_file(map).unwrap();
    assert!(named > 10.0, "{}", folded(&profile));
}
