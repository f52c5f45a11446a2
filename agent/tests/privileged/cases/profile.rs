//! `remora profile`, and profiles of `remora run`, as users call them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use serde_json::Value;

use crate::harness::process::{Spawned, output, remora};
use crate::harness::{require_privilege, wait_until};
use crate::rules;

/// Burns CPU time in functions with names, for as many seconds as it is told, and writes
/// how much it was, in milliseconds, to a file.
const BURNER: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
volatile unsigned long sink;
__attribute__((noinline)) void burn_leaf(void) { for (int i = 0; i < 100000; i++) sink += i; }
__attribute__((noinline)) void burn_middle(void) { for (int i = 0; i < 10; i++) burn_leaf(); sink++; }
int main(int argc, char **argv) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    time_t end = now.tv_sec + atoi(argv[1]);
    while (now.tv_sec < end) { burn_middle(); clock_gettime(CLOCK_MONOTONIC, &now); }
    FILE *file = fopen(argv[3], "w");
    fprintf(file, "%ld", clock() / (CLOCKS_PER_SEC / 1000));
    fclose(file);
    return atoi(argv[2]);
}
"#;

pub(super) fn burner(dir: &Path) -> PathBuf {
    let (source, program) = (dir.join("burner.c"), dir.join("burner"));
    fs::write(&source, BURNER).unwrap();
    let made = output(
        Command::new("cc")
            .args(["-O2", "-fomit-frame-pointer", "-o"])
            .arg(&program)
            .arg(source),
    );
    assert!(made.status.success(), "{made:?}");
    program
}

/// A burner that goes on for longer than any test.
pub(super) fn burning(dir: &Path) -> Spawned {
    let mut command = Command::new(burner(dir));
    let spawned = command.args(["600", "0", "/dev/null"]).stdin(Stdio::null());
    Spawned::with_streams(spawned)
}

fn profile(args: &[&str], pid: u32) -> Output {
    let pid = pid.to_string();
    let made = output(
        remora()
            .args(["profile", "-p", &pid, "--duration", "1s"])
            .args(args),
    );
    assert!(made.status.success(), "{made:?}");
    made
}

pub(super) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Stacks and their samples.
pub(super) fn folded(made: &Output) -> BTreeMap<String, u64> {
    let lines = text(&made.stdout).lines();
    lines
        .map(|line| {
            let (stack, count) = line.rsplit_once(' ').unwrap();
            (stack.to_owned(), count.parse().unwrap())
        })
        .collect()
}

/// Samples that standard error says are in the profile.
fn in_profile(made: &Output) -> u64 {
    let line = text(&made.stderr)
        .lines()
        .find(|line| line.contains(" in the profile"))
        .unwrap();
    let (_, rest) = line.split_once("samples = ").unwrap();
    rest.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn standard_output_has_the_stacks_and_nothing_else() {
    require_privilege!();
    let dir = tempfile::tempdir().unwrap();
    let burner = burning(dir.path());
    let made = profile(&["-F", "99", "-o", "folded"], burner.pid());
    let stacks = folded(&made);
    let all: u64 = stacks.values().sum();
    assert_eq!(all, in_profile(&made));
    assert!(
        (5..=110).contains(&all),
        "{all} samples of a second at 99 Hz"
    );
    let whole: u64 = stacks
        .iter()
        .filter(|(stack, _)| stack.contains(";main;burn_middle;burn_leaf"))
        .map(|(_, count)| count)
        .sum();
    assert!(whole * 100 >= all * 95, "{whole} of {all}: {stacks:?}");
    assert!(
        stacks.keys().all(|stack| stack.starts_with("burner;")),
        "{stacks:?}"
    );
    let accounts = text(&made.stderr);
    assert!(
        accounts.contains("stacks that reach their root"),
        "{accounts}"
    );
    // Bars and colours are for terminals.
    assert!(!accounts.contains(['\r', '\x1b']), "{accounts:?}");
}

#[test]
fn every_format_shows_the_same_function() {
    require_privilege!();
    let dir = tempfile::tempdir().unwrap();
    let burner = burning(dir.path());
    let in_file = |format: &str| {
        let path = dir.path().join(format);
        let made = profile(&["-o", format, "-w", path.to_str().unwrap()], burner.pid());
        assert!(made.stdout.is_empty(), "{made:?}");
        fs::read(path).unwrap()
    };
    for format in ["table", "svg", "json", "firefox"] {
        let bytes = in_file(format);
        assert!(
            text(&bytes).contains("burn_leaf"),
            "{format}: {}",
            text(&bytes)
        );
        if format == "firefox" {
            let parsed: Value = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(parsed["meta"]["product"], "remora");
        }
    }
    let pprof = in_file("pprof");
    let read = remora::output::profile::read::parse(&pprof, None).unwrap();
    assert!(read.total() >= 5);
    let old = dir.path().join("pprof");
    let compared = profile(&["--diff", old.to_str().unwrap()], burner.pid());
    let table = text(&compared.stdout);
    let line = table
        .lines()
        .find(|line| line.ends_with("burn_leaf"))
        .unwrap();
    let change: f64 = line
        .trim_start()
        .split('%')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(
        change.abs() < 10.0,
        "the program does the same all the time: {table}"
    );
}

#[test]
fn a_command_is_profiled_from_its_start_and_its_code_passed_on() {
    require_privilege!();
    let dir = tempfile::tempdir().unwrap();
    let (burner, time) = (burner(dir.path()), dir.path().join("time"));
    let made = output(
        remora()
            .args(["profile", "-o", "folded", "--"])
            .arg(burner)
            .args(["2", "7"])
            .arg(&time),
    );
    assert_eq!(made.status.code(), Some(7), "{made:?}");
    let stacks = folded(&made);
    let burnt: u64 = stacks
        .iter()
        .filter(|(stack, _)| stack.contains("burn_leaf"))
        .map(|(_, count)| count)
        .sum();
    // One sample for each 1/99 s of CPU time, whatever else the machine did.
    let ms: u64 = fs::read_to_string(time).unwrap().parse().unwrap();
    let expected = ms * 99 / 1000;
    assert!(
        burnt.abs_diff(expected) <= 3 + expected / 10,
        "{burnt} samples of {ms} ms: {stacks:?}"
    );
    let missing = output(remora().args(["profile", "--", "/nonexistent/command"]));
    assert_eq!(missing.status.code(), Some(1), "{missing:?}");
}

#[test]
fn names_and_threads_choose_and_group() {
    require_privilege!();
    let dir = tempfile::tempdir().unwrap();
    let burner = burning(dir.path());
    let made = output(remora().args([
        "profile",
        "--comm",
        "burn*",
        "--duration",
        "1s",
        "--by",
        "thread",
        "-o",
        "folded",
    ]));
    assert!(made.status.success(), "{made:?}");
    let stacks = folded(&made);
    let own = format!("burner;burner/{};", burner.pid());
    assert!(
        stacks.keys().any(|stack| stack.starts_with(&own)),
        "{stacks:?}"
    );
    assert!(
        stacks.keys().all(|stack| stack.starts_with("burner;")),
        "{stacks:?}"
    );
}

/// Requests of profiles that a run wrote into a file.
fn requests(path: &Path) -> Vec<ExportProfilesServiceRequest> {
    let text = fs::read_to_string(path).unwrap_or_default();
    // The last line may be half written.
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines
        .filter(|line| line["resourceProfiles"].is_array())
        .map(|mut line| {
            // Ids of links are hexadecimal, which the messages do not read; there are none.
            line["dictionary"]["linkTable"][0] = serde_json::json!({"traceId": [], "spanId": []});
            serde_json::from_value(line).unwrap()
        })
        .collect()
}

#[test]
fn a_run_exports_profiles_if_it_is_asked_to() {
    require_privilege!();
    let dir = tempfile::tempdir().unwrap();
    let burner = burning(dir.path());
    let path = dir.path().join("out.jsonl");
    let log = dir.path().join("log");
    let mut command = remora();
    command
        .args(["run", "--profile", "--export-file"])
        .arg(&path)
        .env("REMORA_PROFILE_INTERVAL", "1s");
    let mut run = Spawned::logged(&mut command, &log);
    // The first profile may be from before its rows were ready.
    let request = wait_until("a profile with the function", || {
        let mut found = requests(&path).into_iter();
        found.find(|request| {
            let dictionary = request.dictionary.as_ref().unwrap();
            dictionary
                .string_table
                .iter()
                .any(|name| name == "burn_leaf")
        })
    });
    for request in requests(&path) {
        assert_eq!(rules::problems(&request), Vec::<String>::new());
    }
    let pid = i64::from(burner.pid());
    let of_burner = request.resource_profiles.iter().find(|it| {
        let attributes = &it.resource.as_ref().unwrap().attributes;
        attributes.iter().any(|attribute| {
            use opentelemetry_proto::tonic::common::v1::any_value::Value::IntValue;
            let value = attribute.value.as_ref().and_then(|it| it.value.as_ref());
            attribute.key == "process.pid" && value == Some(&IntValue(pid))
        })
    });
    let profile = &of_burner.unwrap().scope_profiles[0].profiles[0];
    let points: usize = profile
        .samples
        .iter()
        .map(|it| it.timestamps_unix_nano.len())
        .sum();
    assert!(points > 0);
    run.signal(libc::SIGTERM);
    wait_until("the end", || run.child().try_wait().unwrap());
    let said = fs::read_to_string(log).unwrap();
    let line = said
        .lines()
        .find(|line| line.contains("samples = "))
        .unwrap();
    assert!(
        line.contains("+ 0 lost") && line.contains("+ 0 dropped"),
        "{line}"
    );
}
