//! A running `remora trace -o json`.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::DEADLINE;
use super::process::{Spawned, remora};
use super::report::Report;
use super::request::{Line, Request};

/// What the agent says once its hooks are attached.
const READY: &str = "remora: tracing";

/// How long to go on listening for lines that should not come.
const GRACE: Duration = Duration::from_millis(300);

/// The agent at work. It is killed on drop; [`Trace::stop`] ends it properly.
pub(crate) struct Trace {
    process: Spawned,
    output: Arc<Output>,
    readers: Vec<JoinHandle<()>>,
}

/// What the agent has printed so far.
#[derive(Default)]
struct Output {
    state: Mutex<State>,
    changed: Condvar,
    /// What it says. Read when somebody wants to know: under full load the readers would
    /// take longer for it than the agent, which waits for them.
    lines: Mutex<Vec<(Instant, Line)>>,
}

#[derive(Default)]
struct State {
    ready: bool,
    ended: bool,
    unread: Vec<(Instant, String)>,
    errors: String,
}

impl Trace {
    /// Starts `remora trace -o json ARGS` and waits until it traces.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_with(args, &[])
    }

    /// As [`Trace::start`], with additional environment variables.
    pub(crate) fn start_with(args: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = remora();
        command
            .args(["trace", "-o", "json"])
            .args(args)
            .envs(environment.iter().copied());
        Self::of(&mut command)
    }

    /// Starts what becomes `remora trace -o json` and waits until it traces.
    pub(crate) fn of(command: &mut Command) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = Spawned::with_streams(command);
        let output = Arc::new(Output::default());
        let stdout = BufReader::new(process.child().stdout.take().unwrap());
        let stderr = BufReader::new(process.child().stderr.take().unwrap());
        let readers = vec![
            std::thread::spawn({
                let output = Arc::clone(&output);
                move || output.read_lines(stdout)
            }),
            std::thread::spawn({
                let output = Arc::clone(&output);
                move || output.read_errors(stderr)
            }),
        ];
        let trace = Self {
            process,
            output,
            readers,
        };
        trace.output.wait("the agent to be ready", || {
            let state = trace.output.lock();
            assert!(!state.ended, "the agent ended early: {}", state.errors);
            state.ready.then_some(())
        });
        trace
    }

    /// The agent's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Sends the agent a signal.
    pub(crate) fn signal(&self, number: i32) {
        self.process.signal(number);
    }

    /// Waits until `count` requests that `wanted` accepts have been printed, or the
    /// deadline has passed: what is missing then is told by the checks that follow.
    pub(crate) fn wait_for(&self, count: usize, wanted: impl Fn(&Request) -> bool) {
        let start = Instant::now();
        let mut seen = 0;
        let mut found = 0;
        while found < count && start.elapsed() < DEADLINE / 3 {
            let lines = self.output.read();
            found += lines[seen..]
                .iter()
                .filter(|(_, line)| matches!(line, Line::Request(request) if wanted(request)))
                .count();
            seen = lines.len();
            drop(lines);
            if found < count {
                self.output.wait_for_more();
            }
        }
    }

    /// When the first request that `wanted` accepts was printed.
    pub(crate) fn arrival(&self, wanted: impl Fn(&Request) -> bool) -> Instant {
        self.output.wait("a request", || {
            let lines = self.output.read();
            lines.iter().find_map(|(at, line)| match line {
                Line::Request(request) if wanted(request) => Some(*at),
                _ => None,
            })
        })
    }

    /// Waits until `spans` spans of requests to `port` have been printed and a little
    /// longer for more that should not come, then stops the agent.
    pub(crate) fn collect(self, port: u16, spans: usize) -> Report {
        self.collect_all(&[port], spans)
    }

    /// As [`Trace::collect`], for requests to any of `ports`.
    pub(crate) fn collect_all(self, ports: &[u16], spans: usize) -> Report {
        self.wait_for(spans, |request| {
            ports.iter().any(|port| request.to_port(*port))
        });
        std::thread::sleep(GRACE);
        self.stop()
    }

    /// Interrupts the agent and returns everything it printed, with the ledger
    /// checked. The caller checks that nothing was lost: see [`Report::lossless`].
    pub(crate) fn stop(self) -> Report {
        self.stop_with(libc::SIGINT)
    }

    /// As [`Trace::stop`], with a signal of choice.
    pub(crate) fn stop_with(mut self, signal: i32) -> Report {
        self.signal(signal);
        let status = self.process.wait();
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        let lines = std::mem::take(&mut *self.output.read());
        let state = self.output.lock();
        assert!(status.success(), "{status}: {}", state.errors);
        Report::new(lines.into_iter().map(|(_, line)| line), &state.errors)
    }
}

impl Output {
    /// A reader that panicked has said why; the others go on.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_lines(&self, stdout: impl BufRead) {
        for line in stdout.lines() {
            let line = line.unwrap();
            let now = Instant::now();
            self.lock().unread.push((now, line));
            self.changed.notify_all();
        }
        self.lock().ended = true;
        self.changed.notify_all();
    }

    /// All lines so far.
    fn read(&self) -> MutexGuard<'_, Vec<(Instant, Line)>> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let unread = std::mem::take(&mut self.lock().unread);
        lines.extend(unread.into_iter().map(|(at, line)| {
            let parsed = serde_json::from_str(&line);
            let parsed =
                parsed.unwrap_or_else(|error| panic!("not as documented: {error}: {line}"));
            (at, parsed)
        }));
        lines
    }

    /// Waits a little for something new.
    fn wait_for_more(&self) {
        let state = self.lock();
        if state.unread.is_empty() {
            drop(self.changed.wait_timeout(state, Duration::from_millis(100)));
        }
    }

    fn read_errors(&self, stderr: impl BufRead) {
        for line in stderr.lines() {
            let line = line.unwrap();
            let mut state = self.lock();
            state.ready |= line.starts_with(READY);
            state.errors.push_str(&line);
            state.errors.push('\n');
            self.changed.notify_all();
        }
    }

    fn wait<T>(&self, what: &str, mut found: impl FnMut() -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(value) = found() {
                return value;
            }
            assert!(
                start.elapsed() < DEADLINE,
                "gave up waiting for {what}: {}",
                self.lock().errors
            );
            self.wait_for_more();
        }
    }
}
