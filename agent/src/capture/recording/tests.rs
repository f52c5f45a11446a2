use super::*;
use crate::capture::ingest::decode::Counters;
use crate::capture::ledger::Ledger;
use crate::model::exchange::{Exchange, ProcessInfo, Sink};
use crate::model::processes::{Processes, from_record};
use crate::pairing::conn::{Limits, Pipeline};
use crate::pairing::replay::Replay;
use crate::stream::{self, GET, OK, Part};
use proptest::prelude::*;
use remora_common::counters::Counter;
use remora_common::record;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Every exchange, written out in full.
#[derive(Default, PartialEq, Debug)]
struct Written(Vec<String>);

impl Sink for Written {
    fn exchange(&mut self, exchange: &Exchange<'_>) {
        self.0.push(format!("{exchange:?}"));
    }
}

/// Describes processes with more than their record says.
struct Described;

impl Processes for Described {
    fn resolve(&mut self, record: &record::Process) -> ProcessInfo {
        ProcessInfo {
            service: format!("service-{}", record.tgid),
            resource: vec![("team".to_owned(), "blue".to_owned())],
            ..from_record(record)
        }
    }
}

fn header() -> Header {
    Header {
        agent: "0.1.0".to_owned(),
        seed: Seed([u64::MAX, 7]),
        clock: Offset(-55),
        host: [("host.name".to_owned(), "h".to_owned())].into(),
    }
}

fn stream() -> Vec<Vec<u8>> {
    let mut records = stream::keep_alive(3, 4);
    records.push(stream::process(50, "other"));
    records.push(stream::server(99));
    records.push(vec![0xff; 30]);
    records.push(stream::message(99, 0, Part::request(GET).by(50, 51)));
    records.push(stream::close(99, 1, 0));
    records
}

/// A live run that is recorded: its exchanges, its ledger and the file.
fn live() -> (Written, Ledger, Vec<u8>) {
    let Header { seed, clock, .. } = header();
    let mut pipeline = Pipeline::new(Limits::default(), seed, clock, Described);
    let mut recorder = Recorder::new(Vec::new(), Path::new("live"), &header()).unwrap();
    let mut sink = Written::default();
    for (at, record) in stream().iter().enumerate() {
        if at == 12 {
            pipeline.set_clock(Offset(1_000));
            recorder.clock(Offset(1_000)).unwrap();
        }
        let process = pipeline.record(record, &mut sink);
        recorder.record(record, process).unwrap();
    }
    let mut counters = Counters::default();
    counters[Counter::Finished as usize] = 14;
    counters[Counter::Started as usize] = 20;
    pipeline.set_kernel_counters(counters);
    let file = recorder.finish(&counters).unwrap();
    (sink, pipeline.ledger(), file)
}

fn replay(file: &[u8]) -> (Written, Ledger, Result<(), Error>) {
    let mut sink = Written::default();
    match Recording::new(file, Path::new("file")) {
        Ok(recording) => {
            let mut replay = Replay::new(recording, Limits::default());
            let end = replay.run(&mut sink);
            (sink, replay.ledger(), end)
        }
        Err(error) => (sink, Ledger::default(), Err(error)),
    }
}

#[test]
fn a_replay_shows_what_the_live_run_showed() {
    let (shown, ledger, file) = live();
    assert_eq!(shown.0.len(), 13);
    assert!(shown.0[0].contains("service-42") && shown.0[12].contains("service-50"));
    assert!(ledger.summary().balanced());
    let (again, same, end) = replay(&file);
    assert!(end.is_ok());
    assert_eq!(again, shown);
    assert_eq!(same, ledger);
}

#[test]
fn a_file_cut_off_anywhere_is_replayed_up_to_there() {
    let (shown, _, file) = live();
    let mut most = 0;
    for len in 0..file.len() {
        let (again, ledger, end) = replay(&file[..len]);
        assert_eq!(again.0, shown.0[..again.0.len()], "{len}");
        assert!(again.0.len() >= most, "{len}");
        assert!(ledger.summary().balanced());
        most = again.0.len();
        let error = end.unwrap_err();
        match error.kind {
            ErrorKind::NotARecording => assert!(len < 8),
            ErrorKind::Truncated { offset } => assert!(offset <= len as u64),
            ErrorKind::Corrupt {
                what: "no header", ..
            } => assert_eq!(len, 12),
            other => panic!("{len}: {other}"),
        }
    }
    assert_eq!(most, shown.0.len());
}

#[test]
fn a_changed_byte_is_found_with_its_place() {
    let (shown, _, file) = live();
    for at in 0..file.len() {
        let mut changed = file.clone();
        changed[at] ^= 0x10;
        let (again, _, end) = replay(&changed);
        assert_eq!(again.0, shown.0[..again.0.len()], "{at}");
        match end {
            Err(Error {
                kind: ErrorKind::Corrupt { offset, .. } | ErrorKind::Truncated { offset },
                ..
            }) => {
                assert!(
                    offset <= at as u64 && at as u64 - offset < 1_000,
                    "{at} {offset}"
                );
            }
            Err(Error {
                kind: ErrorKind::NotARecording,
                ..
            }) => assert!(at < 8),
            Err(Error {
                kind: ErrorKind::Version { .. },
                ..
            }) => assert!(at == 8 || at == 9),
            Err(Error {
                kind: ErrorKind::ByteOrder,
                ..
            }) => assert_eq!(at, 10),
            Ok(()) => assert_eq!(at, 11, "only the padding means nothing"),
            Err(other) => panic!("{at}: {other}"),
        }
    }
}

#[test]
fn errors_say_what_and_where() {
    let (_, _, file) = live();
    let text = |file: &[u8]| replay(file).2.unwrap_err().to_string();
    assert_eq!(
        text(b"GIF89a.."),
        "file: not a recording made by `remora trace -w`"
    );
    assert!(text(&file[..file.len() - 3]).contains("cut off at byte "));
    let mut later = file;
    later[8] = 9;
    assert!(text(&later).contains("file format 9"));
    let missing = Recording::open(Path::new("/no/such/file")).unwrap_err();
    assert!(matches!(missing.kind, ErrorKind::Read(_)));
}

#[test]
fn a_huge_length_costs_no_memory() {
    let (_, _, mut file) = live();
    file.truncate(12);
    file.extend_from_slice(&[0xff; 9]);
    let error = replay(&file).2.unwrap_err();
    assert!(matches!(
        error.kind,
        ErrorKind::Corrupt {
            offset: 12,
            what: "length"
        }
    ));
}

#[test]
fn padding_behind_a_record_is_not_kept() {
    let mut padded = stream::server(1);
    padded.resize(8_000, 0);
    let mut recorder = Recorder::new(Vec::new(), Path::new("f"), &header()).unwrap();
    recorder.record(&padded, None).unwrap();
    let file = recorder.finish(&Counters::default()).unwrap();
    let mut recording = Recording::new(&file[..], Path::new("f")).unwrap();
    assert_eq!(
        recording.next_frame().unwrap(),
        Some(Frame::Record(&stream::server(1)))
    );
}

#[test]
fn the_file_is_for_its_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r");
    let mut recorder = Recorder::create(&path, &header()).unwrap();
    recorder.record(&stream::server(1), None).unwrap();
    recorder.flush().unwrap();
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    // What was flushed can be read while the recording goes on.
    let mut recording = Recording::open(&path).unwrap();
    assert_eq!(recording.header(), &header());
    assert!(matches!(recording.next_frame(), Ok(Some(Frame::Record(_)))));
    assert!(matches!(
        recording.next_frame().unwrap_err().kind,
        ErrorKind::Truncated { .. }
    ));
    drop(recorder);
    let absent = Recorder::create(&folder.path().join("no/r"), &header());
    assert!(matches!(absent.unwrap_err().kind, ErrorKind::Write(_)));
}

/// A disk with room for `0` bytes more.
struct Disk(usize, Vec<u8>);

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let took = bytes.len().min(self.0);
        self.0 -= took;
        self.1.extend_from_slice(&bytes[..took]);
        Ok(took)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_one_error_and_the_rest_is_counted() {
    let mut recorder = Recorder::new(Disk(600_000, Vec::new()), Path::new("f"), &header()).unwrap();
    let record = stream::message(1, 0, Part::response(OK));
    let results: Vec<_> = (0..10_000)
        .map(|_| recorder.record(&record, None))
        .collect();
    let errors: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    assert_eq!(errors.len(), 1);
    assert!(
        matches!(&errors[0].kind, ErrorKind::Write(error) if error.kind() == io::ErrorKind::StorageFull)
    );
    assert!(recorder.dropped() > 1_000);
    assert!(recorder.flush().is_ok());
    assert!(recorder.finish(&Counters::default()).is_err());
}

proptest! {
    #[test]
    fn any_file_is_safe(mut bytes in prop::collection::vec(any::<u8>(), 0..400), real in any::<bool>()) {
        if real {
            let (_, _, mut file) = live();
            file.truncate(300);
            file.append(&mut bytes);
            bytes = file;
        }
        prop_assert!(replay(&bytes).2.is_err());
    }
}
