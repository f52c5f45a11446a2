//! The spool under SIGKILL: a process that appends, reads and settles is killed at random
//! moments, again and again on the same directory.
//!
//! `REMORA_TEST_KILLS=20000 cargo test --test spool_kill` for a long run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test panics when something is wrong"
)]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use remora::delivery::export::batch::{Batch, Signal};
use remora::delivery::export::retry::random;
use remora::delivery::queue::spool::disk::OsDisk;
use remora::delivery::queue::spool::{Limits, Next, Spool};

const DIR: &str = "REMORA_TEST_SPOOL_DIR";
const FIRST: &str = "REMORA_TEST_SPOOL_FIRST";

fn open(dir: &Path) -> Spool {
    let limits = Limits {
        bytes: 1 << 30,
        segment_bytes: 64 << 10,
        compress: random().is_multiple_of(2),
    };
    Spool::open(Box::new(OsDisk::open(dir).unwrap()), limits, random()).unwrap()
}

fn batch(id: u64) -> Batch {
    let len = 8 + (id * 7919) % 5000;
    let mut body = id.to_le_bytes().to_vec();
    body.resize(len as usize, id as u8);
    Batch {
        signal: Signal::Traces,
        items: id % 50,
        body: Bytes::from(body),
    }
}

fn id(batch: &Batch) -> u64 {
    u64::from_le_bytes(batch.body[..8].try_into().unwrap())
}

/// The process that is killed; does nothing unless started by the test below.
#[test]
fn victim() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    let first: u64 = std::env::var(FIRST).unwrap().parse().unwrap();
    let mut spool = open(dir.as_ref());
    let mut out = std::io::stdout();
    let mut say = |what: &str, id: u64| {
        // A line at once, so that the test never knows less than the spool.
        out.write_all(format!("{what} {id}\n").as_bytes()).unwrap();
        out.flush().unwrap();
    };
    let mut lent = Vec::new();
    for next in first.. {
        let lend = random().is_multiple_of(8);
        let seq = spool.append(&batch(next), lend).unwrap();
        say("appended", next);
        if lend {
            lent.push((seq, next));
        }
        if !random().is_multiple_of(4)
            && let Next::Record(record) = spool.read_next(usize::MAX)
        {
            assert_eq!(record.batch.body, batch(id(&record.batch)).body);
            lent.push((record.seq, id(&record.batch)));
        }
        if !random().is_multiple_of(3) && !lent.is_empty() {
            let (seq, id) = lent.swap_remove(random() as usize % lent.len());
            say("settling", id);
            spool.settle(seq);
        }
        if random().is_multiple_of(16) {
            spool.sync().unwrap();
        }
    }
}

#[test]
fn nothing_appended_is_lost() {
    let kills: u64 = std::env::var("REMORA_TEST_KILLS")
        .ok()
        .and_then(|it| it.parse().ok())
        .unwrap_or(250);
    let dir = tempfile::tempdir().unwrap();
    let (mut appended, mut settled) = (BTreeSet::new(), BTreeSet::new());
    let mut first = 1u64;
    for _ in 0..kills {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "victim", "--nocapture", "--test-threads=1"])
            .env(DIR, dir.path())
            .env(FIRST, first.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let reader = std::thread::spawn(move || {
            let lines = lines.lines().map_while(Result::ok);
            lines
                .filter_map(|line| {
                    let (what, id) = line.split_once(' ')?;
                    // The harness says things as well, and a line may be cut.
                    let known = ["appended", "settling"]
                        .into_iter()
                        .find(|it| line.contains(it))?;
                    let id = if what == known {
                        id
                    } else {
                        line.rsplit(' ').next()?
                    };
                    Some((known, id.parse::<u64>().ok()?))
                })
                .collect::<Vec<_>>()
        });
        std::thread::sleep(Duration::from_micros(5_000 + random() % 25_000));
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert!(
            status.code().is_none(),
            "the victim ended by itself: {status}"
        );
        for (what, id) in reader.join().unwrap() {
            match what {
                "appended" => appended.insert(id),
                _ => settled.insert(id),
            };
        }
        // Beyond what may have been appended and not said.
        first = appended.last().map_or(first, |last| last + 2);
    }
    let mut spool = open(dir.path());
    let mut left = BTreeSet::new();
    while let Next::Record(record) = spool.read_next(usize::MAX) {
        assert_eq!(record.batch.body, batch(id(&record.batch)).body);
        assert!(left.insert(id(&record.batch)), "twice");
        spool.settle(record.seq);
    }
    let lost: Vec<&u64> = appended
        .iter()
        .filter(|id| !settled.contains(id) && !left.contains(id))
        .collect();
    assert!(lost.is_empty(), "{} lost: {lost:?}", lost.len());
    assert!(appended.len() as u64 > kills, "{} appended", appended.len());
    let losses = spool.take_losses();
    assert_eq!(losses.full + losses.missing, 0);
    println!(
        "{kills} kills: {} batches appended, {} settled, {} left, none lost; {} came back though settled",
        appended.len(),
        settled.len(),
        left.len(),
        left.intersection(&settled).count(),
    );
}
