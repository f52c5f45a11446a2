//! gRPC servers and clients of five implementations, all of the same behaviour.
//!
//! A call's path is `/peers.KIND/NAME`, with KIND one of `Unary`, `Server`, `Client` and
//! `Bidi` and any name, so that every call of a test has a path of its own. Messages are
//! bytes that mean nothing, but for the first of a call: it holds a [`Command`] as JSON,
//! padded with spaces. The server waits as long as it says, and answers with replies of
//! the sizes it asks for or with its status. On `Bidi` calls it also sends back, if
//! told so, what it receives. A call without messages is answered with an empty one.
//!
//! A client makes the calls of a plan, in phases: before each but the first it waits to
//! be told. It says what came of every call: that is what spans are compared with.

pub(crate) mod expect;
pub(crate) mod programs;
pub(crate) mod tonic;

use std::collections::HashSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What the server is to do.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Command {
    /// Bytes of each message of the answer.
    pub(crate) replies: Vec<usize>,
    /// Whether to send back messages as they come.
    pub(crate) echo: bool,
    /// Status to end with, instead of replies, unless it is 0.
    pub(crate) status: u32,
    /// Message of the status.
    pub(crate) message: String,
    /// Time before the first reply, ms.
    pub(crate) delay: u64,
    /// Time between replies, ms.
    pub(crate) every: u64,
    /// Whether to compress replies.
    pub(crate) gzip: bool,
}

/// A call to make.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Call {
    pub(crate) path: String,
    pub(crate) command: Command,
    /// Bytes of each message.
    pub(crate) sizes: Vec<usize>,
    /// Deadline, ms; none if 0.
    pub(crate) deadline: u64,
    /// Time after which the client cancels, ms; never if 0.
    pub(crate) cancel: u64,
    /// Whether to compress messages.
    pub(crate) gzip: bool,
}

/// Room for a [`Command`] in the first message.
const COMMAND_BYTES: usize = 200;

impl Call {
    /// A call of a kind with messages of these sizes; the first one is made large enough.
    pub(crate) fn new(kind: &str, name: &str, sizes: &[usize], replies: &[usize]) -> Self {
        let mut sizes = sizes.to_vec();
        if let Some(first) = sizes.first_mut() {
            *first += COMMAND_BYTES;
        }
        Self {
            path: format!("/peers.{kind}/{name}"),
            command: Command {
                replies: replies.to_vec(),
                ..Command::default()
            },
            sizes,
            ..Self::default()
        }
    }

    /// A unary call with 10 bytes each way.
    pub(crate) fn unary(name: &str) -> Self {
        Self::new("Unary", name, &[10], &[10])
    }

    /// The same call, ended by the server with a status.
    pub(crate) fn failing(mut self, status: u32, message: &str) -> Self {
        self.command.status = status;
        self.command.message = message.to_owned();
        self.command.replies.clear();
        self
    }

    /// The same call, answered after a time.
    pub(crate) fn after(mut self, delay: Duration) -> Self {
        self.command.delay = u64::try_from(delay.as_millis()).unwrap();
        self
    }

    /// How often it sends a message each way, if it is answered.
    pub(crate) fn messages(&self) -> Vec<Vec<u8>> {
        let mut messages: Vec<_> = self.sizes.iter().map(|size| vec![b'm'; *size]).collect();
        if let Some(first) = messages.first_mut() {
            let command = serde_json::to_vec(&self.command).unwrap();
            assert!(command.len() <= first.len(), "no room for {self:?}");
            first.fill(b' ');
            first[..command.len()].copy_from_slice(&command);
        }
        messages
    }

    /// `Unary`, `Server`, `Client` or `Bidi`.
    pub(crate) fn kind(&self) -> &str {
        kind_of(&self.path)
    }
}

/// The kind in a call's path, or whatever is in its place.
fn kind_of(path: &str) -> &str {
    let service = path.split('/').nth(1).unwrap_or_default();
    service.rsplit('.').next().unwrap_or_default()
}

/// What came of a call, in the client's words.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answered {
    pub(crate) path: String,
    /// gRPC status as the client's library has it.
    pub(crate) status: u32,
    /// Its message.
    pub(crate) message: String,
    /// Bytes of each message received.
    pub(crate) received: Vec<u64>,
    /// From before the call to after its status, s.
    pub(crate) seconds: f64,
}

/// An implementation of gRPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// `grpcio` with threads.
    Python,
    /// `grpcio` with asyncio.
    Asyncio,
    /// `@grpc/grpc-js`.
    Node,
    /// grpc-go.
    Go,
    /// tonic, in this process.
    Tonic,
}

impl Peer {
    pub(crate) const ALL: [Self; 5] = [
        Self::Python,
        Self::Asyncio,
        Self::Node,
        Self::Go,
        Self::Tonic,
    ];

    /// Starts a server on a free port.
    pub(crate) fn serve(self) -> Serving {
        self.serve_with(&[])
    }

    /// As [`Peer::serve`], with further arguments for the program.
    pub(crate) fn serve_with(self, arguments: &[&str]) -> Serving {
        match self {
            Self::Tonic => Serving::Tonic(tonic::Server::start()),
            _ => Serving::Program(programs::serve(self, arguments)),
        }
    }

    /// Starts a client that makes `phases` of calls, at most `concurrency` at a time, over
    /// one connection to `address` (`HOST:PORT` or `unix:PATH`).
    pub(crate) fn session(
        self,
        address: &str,
        phases: Vec<Vec<Call>>,
        concurrency: usize,
    ) -> Session {
        self.session_with(address, phases, concurrency, &[])
    }

    /// As [`Peer::session`], with further arguments for the program.
    pub(crate) fn session_with(
        self,
        address: &str,
        phases: Vec<Vec<Call>>,
        concurrency: usize,
        arguments: &[&str],
    ) -> Session {
        match self {
            Self::Tonic => Session::Tonic(tonic::Client::new(address, phases, concurrency)),
            _ => Session::Program(programs::Client::start(
                self,
                address,
                &phases,
                concurrency,
                arguments,
            )),
        }
    }

    /// Makes calls to a local port; returns what came of them and who made them.
    pub(crate) fn call(
        self,
        port: u16,
        calls: &[Call],
        concurrency: usize,
    ) -> (Vec<Answered>, HashSet<u32>) {
        let mut session = self.session(
            &format!("127.0.0.1:{port}"),
            vec![calls.to_vec()],
            concurrency,
        );
        let pids = session.pids();
        (session.next(), pids)
    }
}

/// A running server.
pub(crate) enum Serving {
    Program(crate::servers::Server),
    Tonic(tonic::Server),
}

impl Serving {
    pub(crate) fn port(&self) -> u16 {
        match self {
            Self::Program(server) => server.port,
            Self::Tonic(server) => server.port,
        }
    }

    /// Its processes.
    pub(crate) fn pids(&self) -> HashSet<u32> {
        match self {
            Self::Program(server) => server.pids(),
            Self::Tonic(_) => HashSet::from([std::process::id()]),
        }
    }
}

/// A running client.
pub(crate) enum Session {
    Program(programs::Client),
    Tonic(tonic::Client),
}

impl Session {
    /// Makes the calls of the next phase and returns what came of them, in any order. After
    /// the last phase the connection is closed.
    pub(crate) fn next(&mut self) -> Vec<Answered> {
        match self {
            Self::Program(client) => client.next(),
            Self::Tonic(client) => client.next(),
        }
    }

    /// Its processes.
    pub(crate) fn pids(&self) -> HashSet<u32> {
        match self {
            Self::Program(client) => client.pids(),
            Self::Tonic(_) => HashSet::from([std::process::id()]),
        }
    }
}
