//! Replays: golden output, limits, and files that are no recordings.

use super::{remora, stream};
use remora::capture::ingest::decode::Counters;
use remora::capture::recording::{Header, Recorder};
use remora::model::clock::Offset;
use remora::model::ids::Seed;
use remora_common::counters::Counter;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Output, Stdio};
use stream::Part;

/// 2026-01-02T03:04:05Z in ns.
const START: i64 = 1_767_323_045_000_000_000;

/// Records eight requests of two connections: all methods of ending well and badly.
fn record(path: &Path) {
    let header = Header {
        agent: "test".to_owned(),
        seed: Seed([3, 4]),
        clock: Offset(START),
        host: Default::default(),
    };
    let mut recorder = Recorder::create(path, &header).unwrap();
    let mut records = vec![stream::process(42, "shop"), stream::server(1)];
    for (index, (target, status)) in [
        ("/", "200 OK"),
        ("/users/7?token=secret&page=2", "200 OK"),
        ("/missing", "404 Not Found"),
        ("/boom", "500 Internal Server Error"),
        ("/\u{1b}]0;hostile\u{7}", "200 OK"),
        ("/moved", "301 Moved Permanently"),
    ]
    .into_iter()
    .enumerate()
    {
        let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\nUser-Agent: curl/8\r\n\r\n");
        let response = format!("HTTP/1.1 {status}\r\nContent-Length: 5\r\n\r\n");
        let index = u32::try_from(index).unwrap();
        records.push(stream::message(1, index, Part::request(request.as_bytes())));
        records.push(stream::message(
            1,
            index,
            Part::response(response.as_bytes()).body(5),
        ));
    }
    records.push(stream::message(1, 6, Part::request(stream::GET)));
    records.push(stream::close(1, 7, 6));
    for record in &records {
        recorder.record(record, None).unwrap();
    }
    let mut counters = Counters::default();
    counters[Counter::Started as usize] = 9;
    counters[Counter::Finished as usize] = 8;
    counters[Counter::RingFull as usize] = 1;
    recorder.finish(&counters).unwrap();
}

fn replay(args: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("requests.rec");
    record(&file);
    remora()
        .arg("replay")
        .arg(file)
        .args(args)
        .env("TZ", "UTC")
        .output()
        .unwrap()
}

fn shown(args: &[&str]) -> String {
    let output = replay(args);
    let (out, err) = (output.stdout, String::from_utf8(output.stderr).unwrap());
    assert_eq!(
        (output.status.code(), err.as_str()),
        (Some(0), ""),
        "{args:?}"
    );
    String::from_utf8(out).unwrap()
}

fn golden(name: &str, text: &str) {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("REMORA_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, expected, "see {path}; REMORA_BLESS=1 writes it anew");
}

#[test]
fn table_and_json_are_as_they_were() {
    golden("replay-table.txt", &shown(&["--red"]));
    golden("replay.jsonl", &shown(&["-o", "json"]));
}

#[test]
fn filters_and_limits_count_what_they_keep_back() {
    for (args, emitted, filtered) in [
        (&["--status", "200"][..], 3, 4),
        (&["--not", "--status", "200"], 4, 3),
        (&["--status", "200", "--not", "--path", "/users/*"], 2, 5),
        (&["--status", "4xx", "--status", "5xx"], 2, 5),
        (&["--side", "client"], 0, 7),
        (&["--comm", "sh*", "--min-duration", "1ns"], 7, 0),
        (&["--protocol", "http/1.0"], 0, 7),
    ] {
        let text = shown(&[args, &["-o", "json"]].concat());
        let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(last["kind"], "summary");
        assert_eq!(
            (&last["seen"], &last["emitted"]),
            (&8.into(), &emitted.into()),
            "{args:?}"
        );
        assert_eq!(
            (&last["filtered"], &last["lost"]["ring_full"]),
            (&filtered.into(), &1.into())
        );
        assert_eq!(text.lines().count(), usize::try_from(emitted).unwrap() + 1);
    }
    let text = shown(&["-o", "json", "-c", "2", "--status", "200"]);
    assert_eq!(text.lines().count(), 3);
}

#[test]
fn queries_are_hidden_unless_allowed() {
    let all = shown(&["-o", "json"]);
    assert!(!all.contains("secret") && !all.contains("page="), "{all}");
    assert!(shown(&["-o", "json", "--show-query"]).contains("token=secret&page=2"));
    assert!(!shown(&[]).contains("secret"));
    assert!(shown(&["--show-query"]).contains("token=secret&page=2"));
}

#[test]
fn nothing_hostile_reaches_the_output() {
    for args in [&[][..], &["-o", "json"], &["--red"]] {
        let text = shown(args);
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text}");
        assert!(text.contains("hostile"));
    }
}

#[test]
fn a_file_that_is_cut_off_is_shown_up_to_there() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("requests.rec");
    record(&file);
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    let output = remora()
        .arg("replay")
        .arg(&file)
        .args(["-o", "json"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let (out, err) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert!(
        out.lines().count() > 2 && out.lines().last().unwrap().contains("summary"),
        "{out}"
    );
    assert!(err.contains("cut off at byte"), "{err}");
}

#[test]
fn what_is_no_recording_is_refused() {
    for (file, part) in [
        ("/nonexistent.rec", "No such file"),
        ("/etc/passwd", "not a recording"),
    ] {
        let output = remora().args(["replay", file]).output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            (output.status.code(), output.stdout.len()),
            (Some(1), 0),
            "{err}"
        );
        assert!(err.contains(part) && err.contains(file), "{err}");
    }
}

#[test]
fn a_reader_that_leaves_ends_it_quietly() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("long.rec");
    let header = Header {
        agent: "test".to_owned(),
        seed: Seed([3, 4]),
        clock: Offset(START),
        host: Default::default(),
    };
    let mut recorder = Recorder::create(&file, &header).unwrap();
    for record in stream::keep_alive(1, 20_000) {
        recorder.record(&record, None).unwrap();
    }
    recorder.finish(&Counters::default()).unwrap();
    let mut child = remora()
        .arg("replay")
        .arg(&file)
        .args(["-o", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    reader.read_line(&mut String::new()).unwrap();
    drop(reader);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
}
