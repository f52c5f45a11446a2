//! `remora profile` on a terminal: a bar that goes away again.

use std::process::Command;

use super::profile::{burning, text};
use crate::harness::process::{output, remora};
use crate::harness::require_privilege;

/// What a terminal gets to see.
fn shown(term: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let burner = burning(dir.path());
    let agent = remora();
    let line = format!(
        "{} profile -p {} --duration 2s -o folded -w {}/out",
        agent.get_program().display(),
        burner.pid(),
        dir.path().display()
    );
    // `script` gives its command a terminal, and copies what is written there.
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    for (name, value) in agent.get_envs() {
        match value {
            Some(value) => script.env(name, value),
            None => script.env_remove(name),
        };
    }
    let made = output(script.env("TERM", term));
    assert!(made.status.success(), "{made:?}");
    text(&made.stdout).to_owned()
}

#[test]
fn a_bar_is_drawn_on_a_terminal_and_taken_away() {
    require_privilege!();
    let shown = shown("xterm");
    let bars: Vec<&str> = shown
        .split('\r')
        .filter(|part| part.starts_with("sampling: ["))
        .collect();
    // Ten in two seconds; some on a slow machine.
    assert!(bars.len() >= 3, "{shown:?}");
    assert!(bars[0].contains(" of 2.00s, "), "{bars:?}");
    let full = |bar: &str| bar.matches('=').count();
    assert!(bars.is_sorted_by_key(|bar| full(bar)), "{bars:?}");
    assert!(full(bars[bars.len() - 1]) >= 20, "{bars:?}");
    // The line is empty again before the accounts are shown.
    let (_, end) = shown.rsplit_once("sampling: [").unwrap();
    let accounts = end.find(" in the profile").unwrap();
    let cleared = end.find("\r\x1b[K").unwrap();
    assert!(cleared < accounts, "{end:?}");
}

#[test]
fn a_terminal_that_cannot_move_its_cursor_gets_no_bar() {
    require_privilege!();
    let shown = shown("dumb");
    assert!(shown.contains(" in the profile"), "{shown:?}");
    assert!(
        !shown.contains("sampling: ") && !shown.contains('\x1b'),
        "{shown:?}"
    );
}
