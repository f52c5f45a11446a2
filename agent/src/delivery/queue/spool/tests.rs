use super::format::{RECORD_HEADER, SLOT, SegmentHeader};
use super::sim::{Faults, SimDisk};
use super::*;
use crate::delivery::export::batch::Signal;
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::BTreeMap;

mod model;

fn limits(bytes: u64, segment_bytes: u64) -> Limits {
    Limits {
        bytes,
        segment_bytes,
        compress: false,
    }
}

/// A batch that says which it is, in as many bytes.
fn batch(id: u64, items: u64, len: usize) -> Batch {
    let mut body = id.to_le_bytes().to_vec();
    body.resize(len.max(8), id as u8);
    Batch {
        signal: Signal::ALL[id as usize % 3],
        items,
        body: Bytes::from(body),
    }
}

fn id(record: &Record) -> u64 {
    u64::from_le_bytes(record.batch.body[..8].try_into().unwrap())
}

fn open(disk: &SimDisk, limits: Limits) -> Spool {
    Spool::open(disk.boxed(), limits, 0x5eed).unwrap()
}

/// Reads and settles all there is: ids and items.
fn drain(spool: &mut Spool) -> Vec<(u64, u64)> {
    let mut all = Vec::new();
    while let Next::Record(record) = spool.read_next(usize::MAX) {
        let id = id(&record);
        let expected = batch(id, record.batch.items, record.batch.body.len());
        assert_eq!(record.batch.body, expected.body);
        assert_eq!(record.batch.signal, expected.signal);
        spool.settle(record.seq);
        all.push((id, record.batch.items));
    }
    all
}

fn total(losses: Losses) -> u64 {
    losses.full + losses.corrupt + losses.missing
}

#[test]
fn first_in_first_out_over_segments_and_restarts() {
    let disk = SimDisk::default();
    let limits = limits(1 << 20, 4096);
    let mut spool = open(&disk, limits);
    for n in 0..50 {
        spool.append(&batch(n, n, 300), false).unwrap();
    }
    assert!(spool.stats().segments > 3);
    assert_eq!(spool.stats().items, (0..50).sum::<u64>());
    for n in 0..20 {
        let Next::Record(record) = spool.read_next(1000) else {
            panic!()
        };
        assert_eq!(id(&record), n);
        // Out of order, and one never.
        if n != 17 {
            spool.settle(record.seq);
        }
    }
    assert!(matches!(spool.read_next(10), Next::NoRoom));
    spool.sync().unwrap();
    drop(spool);
    let mut spool = open(&disk, limits);
    assert_eq!(spool.stats().items, 17 + (20..50).sum::<u64>());
    spool.append(&batch(50, 1, 300), false).unwrap();
    let ids: Vec<u64> = drain(&mut spool).iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, [17].into_iter().chain(20..51).collect::<Vec<_>>());
    assert_eq!(total(spool.take_losses()), 0);
    spool.sync().unwrap();
    // What is empty takes next to nothing.
    assert_eq!(disk.names(), [CURSOR]);
    assert_eq!(disk.bytes(), 2 * SLOT as u64);
    assert_eq!(spool.stats().items, 0);
}

#[test]
fn a_copy_of_what_is_under_way_is_not_read() {
    let disk = SimDisk::default();
    let mut spool = open(&disk, limits(1 << 20, 4096));
    spool.append(&batch(1, 1, 10), false).unwrap();
    let copy = spool.append(&batch(2, 2, 10), true).unwrap();
    spool.append(&batch(3, 3, 10), false).unwrap();
    assert_eq!(drain(&mut spool), [(1, 1), (3, 3)]);
    assert_eq!(spool.stats().items, 2);
    spool.sync().unwrap();
    // A crash brings it back, once it is settled nothing does.
    let mut again = open(&disk.copy(), limits(1 << 20, 4096));
    assert_eq!(drain(&mut again), [(2, 2)]);
    spool.settle(copy);
    spool.sync().unwrap();
    let mut again = open(&disk, limits(1 << 20, 4096));
    assert_eq!((again.stats().items, drain(&mut again).len()), (0, 0));
}

#[test]
fn the_cap_drops_the_oldest_and_counts_to_the_unit() {
    let disk = SimDisk::default();
    let limits = limits(256 << 10, 16 << 10);
    let mut spool = open(&disk, limits);
    let (mut put, mut lost) = (0, 0);
    for n in 0..2000 {
        spool.append(&batch(n, n % 7, 1000), false).unwrap();
        put += n % 7;
        lost += spool.take_losses().full;
        assert!(disk.bytes() <= limits.bytes, "{} bytes", disk.bytes());
        assert_eq!(put, lost + spool.stats().items);
    }
    assert!(lost > 0);
    let rest = drain(&mut spool);
    assert_eq!(rest.last().unwrap().0, 1999);
    assert_eq!(lost + rest.iter().map(|(_, items)| items).sum::<u64>(), put);
    let ids: Vec<u64> = rest.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, (ids[0]..2000).collect::<Vec<_>>());
    assert!(matches!(
        spool.append(&batch(1, 1, 300 << 10), false),
        Err(AppendError::TooLarge(_))
    ));
}

#[test]
fn what_is_lent_is_not_lost_with_its_segment() {
    let disk = SimDisk::default();
    let mut spool = open(&disk, limits(64 << 10, 4 << 10));
    spool.append(&batch(0, 100, 1000), false).unwrap();
    let Next::Record(lent) = spool.read_next(usize::MAX) else {
        panic!()
    };
    for n in 1..200 {
        spool.append(&batch(n, 1, 1000), false).unwrap();
    }
    let lost = spool.take_losses().full;
    assert!(lost > 0 && lost < 200);
    assert_eq!(lost + spool.stats().items, 199);
    spool.settle(lent.seq);
    assert_eq!(lost + spool.stats().items, 199);
}

#[test]
fn a_tail_torn_at_any_byte_costs_the_last_record_alone() {
    for compress in [false, true] {
        let disk = SimDisk::default();
        let limits = Limits {
            compress,
            ..limits(1 << 20, 1 << 20)
        };
        let mut spool = open(&disk, limits);
        let mut ends = vec![SEGMENT_HEADER as u64];
        for n in 0..3 {
            spool.append(&batch(n, 10, 200), false).unwrap();
            ends.push(spool.segments[0].len);
        }
        let plain = RECORD_HEADER as u64 + 200;
        assert_eq!(ends[1] - ends[0] < plain, compress);
        drop(spool);
        let name = segment_name(0);
        for cut in 0..=ends[3] {
            let disk = disk.copy();
            disk.edit(&name, |bytes| bytes.truncate(cut as usize));
            let mut spool = open(&disk, limits);
            let whole = ends[1..].iter().filter(|end| **end <= cut).count();
            let before = spool.stats().items;
            spool.append(&batch(9, 1, 50), false).unwrap();
            let mut expected: Vec<_> = (0..whole as u64).map(|n| (n, 10)).collect();
            expected.push((9, 1));
            assert_eq!(drain(&mut spool), expected, "cut at {cut}");
            // A header without its body says what is missing.
            let losses = spool.take_losses();
            let torn = cut.saturating_sub(ends[whole]) >= RECORD_HEADER as u64;
            assert_eq!(losses.corrupt, if torn { 10 } else { 0 }, "cut at {cut}");
            assert_eq!(before, whole as u64 * 10 + losses.corrupt, "cut at {cut}");
            assert_eq!(spool.stats().items, 0);
        }
    }
}

/// What a segment says of its time is for people.
#[test]
fn a_clock_that_is_stepped_back_changes_nothing() {
    for clock in [|n: u64| u64::MAX - n, |_| 0, |n| n % 3] {
        let disk = SimDisk::default();
        let limits = limits(1 << 20, 1 << 10);
        let mut spool = open(&disk, limits);
        let all: Vec<_> = (0..20).map(|n| (n, 1)).collect();
        for (n, items) in &all {
            spool.append(&batch(*n, *items, 400), false).unwrap();
        }
        spool.sync().unwrap();
        drop(spool);
        let segments = disk.list().unwrap();
        let segments = segments.iter().filter_map(|(name, _)| segment_index(name));
        for (number, index) in segments.enumerate() {
            disk.edit(&segment_name(index), |bytes| {
                let mut header = SegmentHeader::decode(bytes).unwrap();
                header.created_ms = clock(number as u64);
                bytes[..SEGMENT_HEADER].copy_from_slice(&header.encode());
            });
        }
        let mut spool = open(&disk, limits);
        assert_eq!(drain(&mut spool), all);
        assert_eq!(spool.take_losses(), Losses::default());
    }
}

#[test]
fn every_flipped_bit_costs_one_record_at_most_and_is_counted() {
    let disk = SimDisk::default();
    let limits = limits(1 << 20, 1 << 20);
    let mut spool = open(&disk, limits);
    for n in 0..5 {
        spool.append(&batch(n, 10 + n, 24), false).unwrap();
    }
    spool.sync().unwrap();
    drop(spool);
    let sum: u64 = (0..5).map(|n| 10 + n).sum();
    for (name, len) in disk.list().unwrap() {
        for bit in 0..len as usize * 8 {
            let disk = disk.copy();
            disk.edit(&name, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
            let mut spool = open(&disk, limits);
            let read = drain(&mut spool);
            let items: u64 = read.iter().map(|(_, items)| items).sum();
            let losses = spool.take_losses();
            assert_eq!(items + losses.corrupt, sum, "{name} bit {bit}: {read:?}");
            let in_records = name != CURSOR && bit / 8 >= SEGMENT_HEADER;
            assert_eq!(
                read.len(),
                if in_records { 4 } else { 5 },
                "{name} bit {bit}"
            );
        }
    }
}

#[test]
fn a_full_disk_refuses_and_keeps_what_it_has() {
    let disk = SimDisk::default();
    let limits = limits(1 << 20, 8192);
    for room in 0..600 {
        let disk = disk.copy();
        let mut spool = open(&disk, limits);
        spool.append(&batch(1, 1, 100), false).unwrap();
        spool.append(&batch(2, 1, 8000), false).unwrap();
        disk.set_faults(Faults {
            room: Some(room),
            ..Faults::default()
        });
        let third = spool.append(&batch(3, 1, 200), false);
        assert_eq!(
            third.is_ok(),
            room >= SEGMENT_HEADER + RECORD_HEADER + 200,
            "{room}"
        );
        disk.set_faults(Faults::default());
        spool.append(&batch(4, 1, 100), false).unwrap();
        let mut expected = vec![(1, 1), (2, 1), (3, 1), (4, 1)];
        if third.is_err() {
            expected.remove(2);
        }
        spool.sync().unwrap();
        drop(spool);
        let mut spool = open(&disk, limits);
        assert_eq!(drain(&mut spool), expected, "{room}");
        assert_eq!(total(spool.take_losses()), 0);
    }
}

#[test]
fn a_disk_that_cannot_sync_or_write_is_reported_and_recovers() {
    let disk = SimDisk::default();
    let mut spool = open(&disk, limits(1 << 20, 8192));
    spool.append(&batch(1, 1, 100), false).unwrap();
    disk.set_faults(Faults {
        sync: true,
        ..Faults::default()
    });
    assert!(spool.sync().is_err());
    disk.set_faults(Faults {
        read_only: true,
        ..Faults::default()
    });
    assert!(spool.append(&batch(2, 1, 100), false).is_err());
    // What is there can still be read.
    let Next::Record(record) = spool.read_next(usize::MAX) else {
        panic!()
    };
    assert_eq!(id(&record), 1);
    disk.set_faults(Faults::default());
    spool.append(&batch(3, 1, 100), false).unwrap();
    spool.sync().unwrap();
    assert!(spool.stats().io_errors >= 2);
    let mut again = open(&disk, limits(1 << 20, 8192));
    assert_eq!(drain(&mut again), [(1, 1), (3, 1)]);
}

#[test]
fn unreadable_places_are_counted() {
    let disk = SimDisk::default();
    let mut spool = open(&disk, limits(1 << 20, 1024));
    for n in 0..10 {
        spool.append(&batch(n, 5, 400), false).unwrap();
    }
    disk.set_faults(Faults {
        read: true,
        ..Faults::default()
    });
    assert!(matches!(spool.read_next(usize::MAX), Next::Empty));
    assert_eq!(spool.take_losses().corrupt, 50);
    assert_eq!(spool.stats().items, 0);
}

#[test]
fn missing_and_foreign_files() {
    let disk = SimDisk::default();
    let limits = limits(1 << 20, 1024);
    let mut spool = open(&disk, limits);
    for n in 0..10 {
        spool.append(&batch(n, 5, 400), false).unwrap();
    }
    spool.sync().unwrap();
    drop(spool);
    let other = SimDisk::default();
    let mut spool = Spool::open(other.boxed(), limits, 0xbad).unwrap();
    spool.append(&batch(77, 1, 100), false).unwrap();
    let mut foreign = Vec::new();
    other.edit(&segment_name(0), |bytes| foreign.clone_from(bytes));

    let names: Vec<String> = disk
        .names()
        .into_iter()
        .filter(|name| *name != CURSOR)
        .collect();
    assert_eq!(names.len(), 5);
    for gone in &names {
        let disk = disk.copy();
        disk.remove(gone).unwrap();
        for (name, bytes) in [
            ("core.1234", &b"hello"[..]),
            ("0000000000000007.spool.bak", b""),
            ("0000000000000007.spool", &foreign),
            ("0000000000000008.spool", &[7; 100]),
        ] {
            disk.create(name).unwrap().write_at(bytes, 0).unwrap();
        }
        let mut spool = open(&disk, limits);
        assert_eq!(spool.stats().foreign, 4);
        spool.append(&batch(99, 1, 10), false).unwrap();
        let read = drain(&mut spool);
        let losses = spool.take_losses();
        assert_eq!(read.len(), 9, "{gone}");
        assert_eq!(losses.corrupt + losses.missing, 10, "{gone} {losses:?}");
        spool.sync().unwrap();
        let left = disk.names();
        assert!(
            left.contains(&"0000000000000007.spool".into()) && left.len() == 5,
            "{left:?}"
        );
    }
}

#[test]
fn no_number_is_given_twice_after_a_crash() {
    // A copy that was delivered and acknowledged in the cursor, but whose record was not
    // synced: its number must not silence the next record.
    let disk = SimDisk::default();
    let limits = limits(1 << 20, 1 << 16);
    let mut spool = open(&disk, limits);
    spool.append(&batch(1, 1, 100), false).unwrap();
    spool.sync().unwrap();
    let copy = spool.append(&batch(2, 2, 100), true).unwrap();
    spool.settle(copy);
    let at = spool.cursor();
    spool.sync_cursor(at).unwrap();
    disk.crash(&mut || 1 << 1); // every name as it was durable, every sector lost or kept alike
    let mut spool = open(&disk, limits);
    spool.append(&batch(3, 3, 100), false).unwrap();
    let ids: Vec<u64> = drain(&mut spool).iter().map(|(id, _)| *id).collect();
    assert!(ids.contains(&1) && ids.contains(&3), "{ids:?}");
}
