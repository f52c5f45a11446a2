//! What the agent writes, read by programs of others: pprof by `go tool pprof`, OTLP by
//! Python's protobuf runtime with the published messages, flame graphs by Chromium.
//!
//! Needs `go`, `chromium`, and a Python with `opentelemetry-proto` that `REMORA_TEST_PROTO_PYTHON`
//! names: `python3 -m venv V && V/bin/pip install opentelemetry-proto`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test panics when something is wrong"
)]

mod flame;
#[path = "../support/profile.rs"]
mod profile;

use std::path::{Path, PathBuf};
use std::process::Command;

use remora::delivery::export::profiles;
use remora::output::profile::{By, pprof};
use remora::span::resource::HostResource;

/// Whether a missing reader is a failure.
fn all() -> bool {
    std::env::var_os("REMORA_TEST_ALL").is_some_and(|all| all == "1")
}

fn skipped(why: &str) {
    assert!(!all(), "{why}");
    eprintln!("skipped: {why}");
}

fn output(command: &mut Command) -> String {
    let output = command.output().expect("the reader starts");
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{command:?}: {err}{out}");
    out
}

fn pprof_file(folder: &Path, by: Option<By>) -> PathBuf {
    let path = folder.join("profile.pb.gz");
    let mut file = std::fs::File::create(&path).unwrap();
    pprof::write(&mut file, &profile::profile(false), by).unwrap();
    path
}

fn go(args: &[&str], file: &Path) -> Option<String> {
    if Command::new("go").arg("version").output().is_err() {
        skipped("go is not installed");
        return None;
    }
    let mut command = Command::new("go");
    // It keeps what it read under the home folder otherwise.
    let home = file.parent().unwrap();
    command.args(["tool", "pprof"]).args(args).arg(file);
    command.env("PPROF_TMPDIR", home);
    Some(output(&mut command))
}

#[test]
fn go_tool_pprof_shows_the_same_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let file = pprof_file(folder.path(), None);
    let Some(top) = go(&["-top", "-sample_index=samples"], &file) else {
        return;
    };
    assert!(top.contains("Type: samples"), "{top}");
    let row = |name: &str| -> Vec<String> {
        let mut lines = top.lines().filter(|line| line.contains(name));
        let line = lines.next().unwrap_or_else(|| panic!("{name} in {top}"));
        line.split_whitespace().map(str::to_owned).collect()
    };
    // Own samples, their share, the sum of shares, samples on the stack, their share.
    let sum = row("sum (inline)");
    assert_eq!((&*sum[0], &*sum[1]), ("60", "61.22%"), "{top}");
    let serve = row("serve");
    assert_eq!(
        (&*serve[0], &*serve[3], &*serve[4]),
        ("0", "80", "81.63%"),
        "{top}"
    );
    assert!(top.contains("Total samples = 98"), "{top}");
    // The default is CPU time.
    let time = go(&["-top"], &file).unwrap();
    assert!(
        time.contains("Type: cpu") && time.contains("606.06ms"),
        "{time}"
    );
}

#[test]
fn go_tool_pprof_finds_routes_mappings_and_lines() {
    let folder = tempfile::tempdir().unwrap();
    let file = pprof_file(folder.path(), Some(By::Route));
    let Some(tags) = go(&["-tags", "-sample_index=samples"], &file) else {
        return;
    };
    assert!(
        tags.contains("GET /dear") && tags.contains("GET /cheap"),
        "{tags}"
    );
    let focus = [
        "-top",
        "-sample_index=samples",
        "-tagfocus=route=GET /cheap",
    ];
    let cheap = go(&focus, &file).unwrap();
    assert!(
        cheap.contains("ksys_write") && !cheap.contains("price"),
        "{cheap}"
    );
    let raw = go(&["-raw"], &file).unwrap();
    assert!(raw.contains("/usr/bin/shop 8f1c0ffee0ddba11"), "{raw}");
    assert!(raw.contains("src/shop.c:12"), "{raw}");
    let tree = go(&["-traces", "-sample_index=samples"], &file).unwrap();
    assert!(tree.contains("[stack cut: no_rows]"), "{tree}");
}

#[test]
fn python_decodes_otlp_to_the_same_samples() {
    let Some(python) = std::env::var_os("REMORA_TEST_PROTO_PYTHON") else {
        return skipped("REMORA_TEST_PROTO_PYTHON does not name a Python with opentelemetry-proto");
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("request");
    let reader = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readers/otlp.py");
    for times in [false, true] {
        let encoded = profiles::encode(
            &profile::profile(times),
            &HostResource::default(),
            usize::MAX,
        );
        std::fs::write(&file, &encoded.batches[0].body).unwrap();
        let text = output(Command::new(&python).arg(&reader).arg(&file));
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        assert_eq!(
            lines,
            [
                "render\t1\t-\t-\tLazyCompile:*render \"a;b\" <x>&y",
                "render\t7\t-\t-\tLazyCompile:*render \"a;b\" <x>&y",
                "webshop\t10\t-\t-\tmain",
                "webshop\t15\t/cheap\t-\tstd::vector<int, std::allocator<int> >::push_back(int&&);serve;main",
                "webshop\t5\t/cheap\t-\tksys_write;serve;main",
                "webshop\t60\t/dear\tf0f0f0f0f0f0f0f0\tsum;price;serve;main",
            ]
        );
    }
}
