//! What is not HTTP is not reported, whatever it looks like.

use std::process::Command;

use crate::harness::process::{Spawned, command, free_port, run};
use crate::harness::raw::{Raw, RawServer};
use crate::harness::require_privilege;
use crate::harness::trace::Trace;
use crate::servers::Server;

/// Asserts that nothing was seen of `ports`, but what is HTTP was.
pub(super) fn assert_silent(trace: Trace, ports: &[u16]) {
    let server = RawServer::start(|mut peer| {
        peer.head();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    });
    let mut client = Raw::connect(server.port);
    client
        .send("GET /heard HTTP/1.1\r\nHost: x\r\n\r\n")
        .answer();
    let report = trace.collect(server.port, 2).lossless();
    report.pair(server.port);
    server.join();
    for port in ports {
        report.silent(*port);
    }
}

#[test]
fn redis() {
    require_privilege!();
    let redis = Server::start(|port, dir| {
        let mut redis = command("redis-server", &["--save", "", "--port"]);
        redis.arg(port.to_string()).current_dir(dir);
        redis
    });
    let trace = Trace::start(&[]);
    let port = redis.port.to_string();
    run(&mut command(
        "redis-benchmark",
        &["-q", "-p", &port, "-n", "10000", "-P", "4"],
    ));
    // A command of redis that is a method of HTTP.
    let mut client = Raw::connect(redis.port);
    client.send("SET x HTTP/1.1\r\nGET x\r\n");
    client.take(8);
    assert_silent(trace, &[redis.port]);
}

/// Refuses TLS with an `N` that comes alone, as the first byte of a method might; what follows
/// is a long line with spaces in it.
#[test]
fn postgres() {
    require_privilege!();
    let versions = std::fs::read_dir("/usr/lib/postgresql").unwrap();
    let bin = versions.map(|version| version.unwrap().path().join("bin"));
    let bin = bin.last().expect("PostgreSQL is installed");
    // It does not run as root.
    let as_its_user = |program: &str| {
        let mut run = command("setpriv", &["--reuid=postgres", "--regid=postgres"]);
        run.arg("--clear-groups").arg(bin.join(program));
        run
    };
    let postgres = Server::start(|port, dir| {
        run(Command::new("chown").arg("postgres:").arg(dir));
        let data = dir.join("data");
        run(as_its_user("initdb")
            .args(["-A", "trust", "--no-locale", "-D"])
            .arg(&data));
        let mut postgres = as_its_user("postgres");
        postgres.arg("-D").arg(data).arg("-k").arg(dir);
        postgres.args(["-p", &port.to_string()]);
        postgres
    });
    let trace = Trace::start(&[]);
    let port = postgres.port.to_string();
    for _ in 0..20 {
        let psql = &mut Command::new(bin.join("psql"));
        psql.args(["-h", "127.0.0.1", "-U", "postgres", "-p", &port]);
        run(psql.args(["-At", "-c", "select 1"]));
    }
    assert_silent(trace, &[postgres.port]);
}

#[test]
fn tls() {
    require_privilege!();
    let dir = tempfile::tempdir().unwrap();
    run(Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=localhost",
        ])
        .args(["-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(dir.path()));
    let port = free_port();
    let mut server = Spawned::logged(
        Command::new("openssl")
            .args(["s_server", "-www", "-accept", &port.to_string()])
            .args(["-key", "key.pem", "-cert", "cert.pem"])
            .current_dir(dir.path()),
        &dir.path().join("log"),
    );
    server.wait_for_port(port);
    let trace = Trace::start(&[]);
    for _ in 0..5 {
        let url = format!("https://127.0.0.1:{port}/");
        run(&mut command("curl", &["-sk", "-o", "/dev/null", &url]));
    }
    assert_silent(trace, &[port]);
}

/// A peer that receives so many bytes and answers with the same.
fn echo(len: usize) -> RawServer {
    RawServer::start(move |mut peer| {
        let bytes = peer.take(len);
        peer.send(bytes);
        peer.rest();
    })
}

/// Bytes of no protocol, of the same beginning in every run (xorshift).
#[test]
fn noise() {
    require_privilege!();
    let trace = Trace::start(&[]);
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut ports = Vec::new();
    for round in 0..50 {
        let bytes: Vec<u8> = (0..200 * (round + 1))
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()[3]
            })
            .collect();
        let server = echo(bytes.len());
        ports.push(server.port);
        let mut client = Raw::connect(server.port);
        for piece in bytes.chunks(97) {
            client.send(piece);
        }
        client.take(bytes.len());
        drop(client);
        server.join();
    }
    assert_silent(trace, &ports);
}

/// Protocols that look like HTTP at first sight.
#[test]
fn cousins() {
    require_privilege!();
    let trace = Trace::start(&[]);
    let mut ports = Vec::new();
    for (question, reply) in [
        (
            "OPTIONS rtsp://x/media RTSP/1.0\r\nCSeq: 1\r\n\r\n",
            "RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n",
        ),
        (
            "OPTIONS sip:x@y SIP/2.0\r\nVia: z\r\n\r\n",
            "SIP/2.0 200 OK\r\nVia: z\r\n\r\n",
        ),
        ("GET lost\r\n", "+OK\r\n"),
        ("get key\r\n", "VALUE key 0 3\r\nabc\r\nEND\r\n"),
        ("POST\r\n", "340 send article\r\n"),
        ("GETTING STARTED WITH HTTP\r\n", "HTTP is a protocol\r\n"),
        ("HTTPX/1.1 200 OK\r\n\r\n", "GETX / HTTQ/1.1\r\n\r\n"),
    ] {
        let server = RawServer::start(move |mut peer| {
            peer.take(question.len());
            peer.send(reply);
            peer.rest();
        });
        ports.push(server.port);
        let mut client = Raw::connect(server.port);
        client.send(question).take(reply.len());
        drop(client);
        server.join();
    }
    assert_silent(trace, &ports);
}

const LOOKALIKES: [&str; 4] = [
    "GET /fake HTTP/1.1\r\nHost: x\r\n\r\n",
    "HTTP/1.1 500 Fake\r\nContent-Length: 3\r\n\r\nxyz",
    "\r\n\r\nPOST /fake HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n",
    "0\r\n\r\nDELETE /fake HTTP/1.1\r\n\r\n",
];

/// Bodies that hold requests and responses, each at the beginning of a call of its own.
#[test]
fn bodies_that_look_like_messages() {
    require_privilege!();
    let text = LOOKALIKES.concat();
    let len = text.len();
    let server = RawServer::start(move |mut peer| {
        peer.head();
        peer.take(len);
        peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n"));
        for piece in LOOKALIKES {
            peer.send(piece);
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        peer.head();
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for piece in LOOKALIKES {
            peer.send(format!("{:x}\r\n", piece.len()));
            peer.send(piece);
            peer.send("\r\n");
        }
        peer.send("0\r\n\r\n");
        peer.rest();
    });
    let trace = Trace::start(&[]);
    let mut client = Raw::connect(server.port);
    client.send(format!(
        "POST /real/0 HTTP/1.1\r\nHost: x\r\nContent-Length: {len}\r\n\r\n"
    ));
    for piece in LOOKALIKES {
        client.send(piece);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(client.answer().body, text.as_bytes());
    client.send("GET /real/1 HTTP/1.1\r\nHost: x\r\n\r\n");
    client.head();
    let chunked = len
        + LOOKALIKES
            .iter()
            .map(|p| format!("{:x}", p.len()).len() + 4)
            .sum::<usize>();
    client.take(chunked + 5);
    drop(client);
    let report = trace.collect(server.port, 4).lossless();
    let (at_server, at_client) = report.both(server.port, 2);
    for spans in [at_server, at_client] {
        assert_eq!(
            spans[0].facts(),
            ("POST", "/real/0", 200, len as u64, len as u64)
        );
        assert_eq!(spans[1].facts(), ("GET", "/real/1", 200, 0, len as u64));
        assert!(spans.iter().all(|span| span.error.is_none()), "{spans:?}");
    }
    server.join();
}
