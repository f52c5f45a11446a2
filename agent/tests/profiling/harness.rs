//! Compiling programs, running them, and profiles of them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use remora::profile::kernel::Targets;
use remora::profile::model::{Profile, Sample};
use remora::profile::session::{Options, Session, StartError};

/// Two tests at a time would have half the processors each, and half the samples.
static ALONE: Mutex<()> = Mutex::new(());

/// Waits for other tests.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    crate::turn::take(|| ALONE.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A running program, killed when dropped.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

pub(crate) fn start(command: &mut Command) -> Running {
    let started = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    Running(started.unwrap_or_else(|error| panic!("{command:?}: {error}")))
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) {
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
}

/// A source file of these tests.
pub(crate) fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/profiling/programs")
        .join(name)
}

/// Whether a tool is there. A test that needs one which is not says so and passes,
/// unless everything is to be tested.
pub(crate) fn have(tool: &str) -> bool {
    let found = Command::new("which").arg(tool).output();
    let found = found.is_ok_and(|output| output.status.success());
    if !found {
        skip(&format!("{tool} is not installed"));
    }
    found
}

fn skip(why: &str) {
    assert!(
        std::env::var_os("REMORA_TEST_ALL").is_none(),
        "cannot run: {why}"
    );
    eprintln!("skipped: {why}");
}

/// Starts a session; `None` where that is not allowed.
pub(crate) fn session(options: Options) -> Option<Session> {
    match Session::start(options) {
        Ok(session) => Some(session),
        Err(StartError::Kernel(error)) if error.is_environment() => {
            skip(&error.to_string());
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Samples for some time.
pub(crate) fn poll(session: &mut Session, time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        session.poll(Duration::from_millis(50)).unwrap();
    }
}

/// Samples processes until there are enough samples, or a minute has passed.
pub(crate) fn profile(pids: &[u32], samples: u64) -> Option<Profile> {
    let mut session = session(Options {
        targets: Targets {
            pids: pids.to_vec(),
            user_only: true,
            ..Targets::default()
        },
        frequency: 997,
        ..Options::default()
    })?;
    let end = Instant::now() + Duration::from_secs(60);
    while session.progress().samples < samples && Instant::now() < end {
        session.poll(Duration::from_millis(50)).unwrap();
    }
    let profile = session.finish().unwrap();
    assert!(profile.ledger.balanced(), "{:?}", profile.ledger);
    Some(profile)
}

/// Names of the functions of a sample, root first; files for frames without a name.
pub(crate) fn names<'a>(profile: &'a Profile, sample: &Sample) -> Vec<&'a str> {
    let mut names = Vec::new();
    for frame in profile.stack(sample).frames.iter().rev() {
        let location = &profile.locations[frame.index()];
        if location.lines.is_empty() {
            let mapping = location.mapping.map(|id| profile.mappings[id.index()].file);
            names.push(mapping.map_or("?", |file| profile.string(file)));
        }
        for line in location.lines.iter().rev() {
            names.push(profile.string(profile.functions[line.function.index()].name));
        }
    }
    names
}

/// Shares of all samples, in percent, of stacks that fit.
pub(crate) fn share(profile: &Profile, fits: impl Fn(&[&str], bool) -> bool) -> f64 {
    let mut fitting = 0;
    for sample in &profile.samples {
        let whole = profile.stack(sample).stop.is_none();
        if fits(&names(profile, sample), whole) {
            fitting += sample.count;
        }
    }
    100.0 * fitting as f64 / profile.count().max(1) as f64
}

/// Every different stack with its samples, for messages.
pub(crate) fn folded(profile: &Profile) -> String {
    let mut lines: Vec<String> = profile
        .samples
        .iter()
        .map(|sample| {
            let stop = profile.stack(sample).stop;
            let stack = names(profile, sample).join(";");
            format!("{:>6} {stop:?} {stack}\n", sample.count)
        })
        .collect();
    lines.sort();
    lines.concat()
}
