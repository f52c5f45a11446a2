//! Binary protocols that look like frames are not HTTP/2, whether the agent was there from
//! the beginning or comes in the middle; and not all that looks like gRPC is.

use std::sync::mpsc;

use crate::clients::curl;
use crate::harness::http2::{frame, kind};
use crate::harness::raw::{Raw, RawServer};
use crate::harness::require_privilege;
use crate::harness::trace::Trace;
use crate::servers::{http2 as servers, programs};

/// A question and its answer in a binary protocol.
type Dialogue = (Vec<u8>, Vec<u8>);

/// A length of four bytes, in front of bytes.
fn framed(bytes: &[u8]) -> Vec<u8> {
    let len = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    [&len, bytes].concat()
}

/// A packet of MySQL: three bytes of length, least first, and a number.
fn mysql(number: u8, bytes: &[u8]) -> Vec<u8> {
    let len = u32::try_from(bytes.len()).unwrap().to_le_bytes();
    [&[len[0], len[1], len[2], number], bytes].concat()
}

/// A message of PostgreSQL: a letter, and a length that counts itself.
fn postgres(letter: u8, bytes: &[u8]) -> Vec<u8> {
    let len = u32::try_from(bytes.len() + 4).unwrap().to_be_bytes();
    [&[letter], &len[..], bytes].concat()
}

fn dialogues() -> Vec<Dialogue> {
    let kafka = [0, 18, 0, 0, 0, 0, 0, 1, 0, 4, b't', b'e', b's', b't'];
    let thrift = [
        &b"\x80\x01\x00\x01\x00\x00\x00\x04ping"[..],
        &[0, 0, 0, 1, 0],
    ]
    .concat();
    let thrift_reply = [
        &b"\x80\x01\x00\x02\x00\x00\x00\x04ping"[..],
        &[0, 0, 0, 1, 0],
    ]
    .concat();
    let amqp = b"\x01\0\0\0\0\0\x0c\0\x0a\0\x0b\0\0\0\0\0\0\0\0\xce";
    let cassandra = b"\x04\0\0\x01\x07\0\0\0\x08\0\0\0\x04abcd";
    let mongo = b"\x1f\0\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0\0\x0a\0\0\0\x10p\0\x01\0\0";
    vec![
        (
            mysql(0, b"\x03SELECT * FROM orders WHERE id = 7"),
            [mysql(1, b"\x02"), mysql(2, &[3; 40]), mysql(3, b"\xfe\0\0")].concat(),
        ),
        (
            postgres(b'Q', b"SELECT 1\0"),
            [postgres(b'T', &[0; 30]), postgres(b'Z', b"I")].concat(),
        ),
        (framed(&kafka), framed(&[0; 50])),
        (framed(&thrift), framed(&thrift_reply)),
        (amqp.to_vec(), amqp.to_vec()),
        (cassandra.to_vec(), cassandra.to_vec()),
        (mongo.to_vec(), mongo.to_vec()),
        // A gRPC message without HTTP/2 around it.
        (vec![0, 0, 0, 0, 3, 1, 2, 3], vec![0, 0, 0, 0, 0]),
        // Nothing but zeros, and numbers of four bytes.
        (vec![0; 9], vec![0; 27]),
        (vec![0, 0, 0, 4, 0, 0, 0, 0], vec![0, 0, 0, 4, 0, 0, 0, 1]),
        // Frames of the connection alone: no stream is ever opened.
        (
            frame(kind::SETTINGS, 0, 0, &[]),
            frame(kind::SETTINGS, 1, 0, &[]),
        ),
        (
            frame(kind::PING, 0, 0, b"pingpong"),
            frame(kind::PING, 1, 0, b"pingpong"),
        ),
        // TLS records: a handshake, and data.
        (
            [&b"\x16\x03\x01\0\x20"[..], &[1; 32]].concat(),
            [&b"\x17\x03\x03\0\x20"[..], &[7; 32]].concat(),
        ),
    ]
}

/// Goes through a dialogue 60 times; in the middle, waits to be told.
struct Running {
    port: u16,
    middle: mpsc::Receiver<()>,
    go_on: mpsc::Sender<()>,
    client: std::thread::JoinHandle<()>,
    server: RawServer,
}

impl Running {
    fn start((question, answer): Dialogue) -> Self {
        const TURNS: usize = 60;
        let (asked, answered) = (question.len(), answer.len());
        let server = RawServer::start(move |mut peer| {
            for _ in 0..TURNS {
                peer.take(asked);
                peer.send(&answer);
            }
            peer.rest();
        });
        let port = server.port;
        let (tell, middle) = mpsc::channel();
        let (go_on, told) = mpsc::channel::<()>();
        let client = std::thread::spawn(move || {
            let mut client = Raw::connect(port);
            for turn in 0..TURNS {
                if turn == TURNS / 2 {
                    tell.send(()).unwrap();
                    told.recv().unwrap();
                }
                client.send(&question).take(answered);
            }
        });
        Self {
            port,
            middle,
            go_on,
            client,
            server,
        }
    }

    fn finish(self) -> u16 {
        self.go_on.send(()).unwrap();
        self.client.join().unwrap();
        self.server.join();
        self.port
    }
}

#[test]
fn binary_protocols_from_the_beginning() {
    require_privilege!();
    let trace = Trace::start(&[]);
    let running: Vec<_> = dialogues().into_iter().map(Running::start).collect();
    let ports: Vec<_> = running.into_iter().map(Running::finish).collect();
    super::silence::assert_silent(trace, &ports);
}

#[test]
fn binary_protocols_in_the_middle() {
    require_privilege!();
    let running: Vec<_> = dialogues().into_iter().map(Running::start).collect();
    for one in &running {
        one.middle.recv().unwrap();
    }
    let trace = Trace::start(&[]);
    let ports: Vec<_> = running.into_iter().map(Running::finish).collect();
    super::silence::assert_silent(trace, &ports);
}

/// gRPC-Web is HTTP, over either version.
#[test]
fn grpc_web() {
    require_privilege!();
    let (first, second) = (programs::node(), servers::node(&[]));
    let trace = Trace::start(&[]);
    let body = "\0\0\0\0\u{3}abc";
    for (server, version) in [(&first, "--http1.1"), (&second, "--http2-prior-knowledge")] {
        for kind in [
            "application/grpc-web",
            "application/grpc-web+proto",
            "application/grpc-web-text",
        ] {
            let header = format!("content-type: {kind}");
            let url = format!("http://127.0.0.1:{}/upload/web", server.port);
            let options = [
                version,
                "-H",
                &header,
                "-H",
                "x-grpc-web: 1",
                "--data-raw",
                body,
            ];
            // A command line cannot hold a zero.
            let options = options.map(|option| option.replace('\0', "."));
            let options: Vec<_> = options.iter().map(String::as_str).collect();
            assert_eq!(curl::one(&options, &url).0.status, 200);
        }
    }
    let report = trace.collect_all(&[first.port, second.port], 12).lossless();
    for (server, protocol) in [(&first, "http/1.1"), (&second, "http/2")] {
        let (at_server, at_client) = report.both(server.port, 3);
        for span in at_server.into_iter().chain(at_client) {
            assert_eq!(span.protocol, protocol, "{span:?}");
            assert_eq!(span.facts(), ("POST", "/upload/web", 200, 8, 6), "{span:?}");
            assert_eq!(
                (&span.rpc_method, span.grpc_status),
                (&None, None),
                "{span:?}"
            );
        }
    }
}
