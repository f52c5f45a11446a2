//! Runs the agent and the programs it traces.

pub(crate) mod expect;
pub(crate) mod http2;
pub(crate) mod process;
pub(crate) mod raw;
pub(crate) mod report;
pub(crate) mod request;
pub(crate) mod tools;
pub(crate) mod trace;

use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use crate::turn;

/// How long anything may take before a test gives up.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Whether privileged tests can run here. With `REMORA_TEST_ALL=1` the answer is
/// yes or a panic, otherwise the reason is printed.
pub(crate) fn privileged() -> bool {
    static REASON: OnceLock<Option<String>> = OnceLock::new();
    let Some(reason) = REASON.get_or_init(refusal) else {
        return true;
    };
    assert!(
        std::env::var_os("REMORA_TEST_ALL").is_none_or(|all| all != "1"),
        "REMORA_TEST_ALL=1, but this test cannot run: {reason}"
    );
    eprintln!("skipped: {reason}");
    false
}

fn refusal() -> Option<String> {
    if process::effective_uid() != 0 {
        return Some("not root".into());
    }
    let output =
        process::output(process::remora().args(["trace", "-o", "json", "--duration", "1ms"]));
    match output.status.code() {
        Some(0) => None,
        // Exit code 3 is "missing privilege or kernel feature"; anything else is a
        // failure of the agent, which the tests are to show.
        Some(3) => Some(String::from_utf8_lossy(&output.stderr).into_owned()),
        code => panic!(
            "the agent ended with {code:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        ),
    }
}

/// Polls until `ready` gives a value.
pub(crate) fn wait_until<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(start.elapsed() < DEADLINE, "gave up waiting for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Tests share the host, except for those that need it alone.
static HOST: RwLock<()> = RwLock::new(());

/// Held by a test while it runs.
#[expect(dead_code, reason = "held, never read")]
pub(crate) enum Turn {
    Shared(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

/// Waits for a turn beside other tests.
pub(crate) fn shared() -> Turn {
    Turn::Shared(turn::take(|| {
        HOST.read().unwrap_or_else(PoisonError::into_inner)
    }))
}

/// Waits until no other test runs.
pub(crate) fn alone() -> Turn {
    Turn::Alone(turn::take(|| {
        HOST.write().unwrap_or_else(PoisonError::into_inner)
    }))
}

/// Returns from the test if it cannot run here (see [`privileged`]) and holds a turn
/// until its end; with `alone`, no other test runs beside it.
macro_rules! require_privilege {
    () => {
        $crate::harness::require_privilege!(shared)
    };
    ($turn:ident) => {
        if !$crate::harness::privileged() {
            return;
        }
        let _turn = $crate::harness::$turn();
    };
}
pub(crate) use require_privilege;
