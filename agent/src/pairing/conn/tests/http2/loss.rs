//! Records that the ring had no room for, tables that are full, and frames that nobody
//! would send.

use super::*;
use remora_common::pod::Pod as _;
use remora_common::record::{Close, close_reason};

#[test]
fn after_a_lost_record_the_table_is_unknown_instead_of_wrong() {
    let mut wire = Wire::new(7);
    let first = Entry::block(1, &frames::literals(0x40, GET_FIELDS))
        .opens()
        .ends();
    let mut records = vec![
        wire.conn(role::SERVER, false),
        wire.client(1_000, &[first]),
        wire.server(1_100, &[Entry::headers(1, OK_FIELDS).ends()]),
    ];
    // A request inserted something, and its stream is the kernel's to count.
    wire.lost(side::REQUEST);
    records.push(wire.client(
        3_000,
        &[Entry::block(5, b"\x82\xbe\xbf\xc0").opens().ends()],
    ));
    records.push(wire.server(3_100, &[Entry::headers(3, OK_FIELDS).ends()]));
    records.push(wire.server(3_200, &[Entry::headers(5, OK_FIELDS).ends()]));
    let (seen, summary) = told(records);
    assert_eq!(
        (seen.len(), summary.lost.total(), summary.in_flight),
        (2, 0, 0)
    );
    assert_eq!((&seen[1].method, &seen[1].path), (&text("GET"), &None));
    assert_eq!(seen[1].incomplete, ["hpack_table_unknown"]);
}

#[test]
fn streams_whose_end_was_lost_are_counted_and_get_no_duration() {
    let mut wire = Wire::new(7);
    let open = |id| Entry::headers(id, GET_FIELDS).opens().ends();
    let mut records = vec![
        wire.conn(role::SERVER, false),
        wire.client(1_000, &[open(1), open(3)]),
    ];
    wire.lost(side::RESPONSE);
    records.push(wire.server(2_000, &[Entry::headers(3, OK_FIELDS).ends()]));
    records.push(wire.close(20_000, close_reason::LOCAL));
    let (seen, summary) = told(records);
    assert_eq!(
        (seen.len(), summary.lost.ring_full, summary.seen),
        (1, 1, 2)
    );
    assert_eq!(seen[0].duration, 1_000);
    assert_eq!(seen[0].incomplete, ["framing_lost"]);
}

/// No error is made of an end that came in the last record, which was lost.
#[test]
fn a_loss_just_before_the_end_of_the_connection_is_noticed() {
    for side in [side::REQUEST, side::RESPONSE] {
        let mut wire = Wire::new(7);
        let mut records = vec![
            wire.conn(role::SERVER, false),
            wire.client(1_000, &[Entry::headers(1, GET_FIELDS).opens().ends()]),
        ];
        wire.lost(side);
        records.push(wire.close(20_000, close_reason::LOCAL));
        let (seen, summary) = told(records);
        let counts = (seen.len(), summary.lost.ring_full, summary.seen);
        assert_eq!(counts, (0, 1, 1), "{side}");
    }
}

#[test]
fn an_end_that_was_not_told_of_is_made_up_for() {
    let mut wire = Wire::new(7);
    let records = [
        wire.conn(role::SERVER, false),
        wire.client(1_000, &[Entry::headers(1, GET_FIELDS).opens().ends()]),
    ];
    let (_, pipeline) = run(&records);
    assert_eq!(pipeline.under_way().collect::<Vec<_>>(), [7]);
    let end = Close::untold(7).as_bytes().to_vec();
    let (seen, summary) = told(records.into_iter().chain([end]));
    let counts = (seen.len(), summary.lost.ring_full, summary.seen);
    assert_eq!(counts, (0, 1, 1));
    // Whole ones had been shown before.
    let idle = [
        wire.conn(role::SERVER, false),
        wire.client(1_000, &[Entry::headers(3, GET_FIELDS).opens().ends()]),
        wire.server(2_000, &[Entry::headers(3, OK_FIELDS).ends()]),
    ];
    let (seen, pipeline) = run(idle);
    assert_eq!((seen.len(), pipeline.under_way().count()), (1, 0));
}

#[test]
fn a_response_whose_head_was_lost_ends_with_what_is_known() {
    let mut wire = Wire::new(7);
    let mut records = vec![
        wire.conn(role::SERVER, false),
        wire.client(1_000, &[Entry::headers(1, GET_FIELDS).opens().ends()]),
    ];
    wire.lost(side::RESPONSE);
    records.push(wire.server(2_000, &[Entry::data(1, 9, 0).ends()]));
    let (seen, _) = told(records);
    assert_eq!((seen[0].status, seen[0].bodies.1), (None, Some(9)));
    assert_eq!(seen[0].incomplete, ["framing_lost", "hpack_table_unknown"]);
}

#[test]
fn the_end_of_a_request_that_was_lost_is_not_waited_for() {
    let mut wire = Wire::new(7);
    let mut records = vec![
        wire.conn(role::SERVER, false),
        wire.client(1_000, &[Entry::headers(1, CALL).opens()]),
    ];
    wire.lost(side::REQUEST);
    records.push(wire.client(1_500, &[]));
    records.push(wire.server(
        2_000,
        &[Entry::headers(1, &[ANSWER, TRAILERS].concat()).ends()],
    ));
    let (seen, summary) = told(records);
    assert_eq!((seen.len(), summary.in_flight), (1, 0));
    assert_eq!(seen[0].incomplete, ["request_incomplete", "framing_lost"]);
}

#[test]
fn a_header_block_whose_rest_was_lost() {
    let block = frames::literals(0x40, GET_FIELDS);
    let [one, _] = Entry::block(1, &block).opens().ends().split(20);
    let mut wire = Wire::new(7);
    let mut records = vec![wire.conn(role::SERVER, false), wire.client(1_000, &[one])];
    wire.lost(side::REQUEST);
    records.push(wire.client(1_500, &[]));
    records.push(wire.server(2_000, &[Entry::headers(1, OK_FIELDS).ends()]));
    let (seen, summary) = told(records);
    assert_eq!((seen.len(), summary.seen), (1, 1));
    assert_eq!((&seen[0].path, seen[0].status), (&None, Some(200)));
    assert!(seen[0].incomplete.contains(&"head_truncated"));
}

#[test]
fn a_head_beyond_the_capture_limit_gives_what_is_there_and_the_table_is_unknown() {
    let mut wire = Wire::new(7);
    let block = frames::literals(0x40, GET_FIELDS);
    let mut cut = Entry::block(1, &block[..70]).opens().ends();
    cut.frame.part |= frame_part::CUT;
    cut.frame.len = 9_000;
    let (seen, _) = told([
        wire.conn(role::SERVER, false),
        wire.client(1_000, &[cut]),
        wire.server(2_000, &[Entry::headers(1, OK_FIELDS).ends()]),
        wire.client(3_000, &[Entry::block(3, b"\x82\xbe").opens().ends()]),
        wire.server(4_000, &[Entry::headers(3, OK_FIELDS).ends()]),
    ]);
    assert_eq!(
        (&seen[0].path, &seen[0].user_agent),
        (&text("/users/7"), &None)
    );
    assert_eq!(seen[0].incomplete, ["head_truncated"]);
    assert_eq!(seen[1].incomplete, ["hpack_table_unknown"]);
}

#[test]
fn a_malformed_block_says_so() {
    let mut wire = Wire::new(7);
    let (seen, _) = told([
        wire.conn(role::SERVER, false),
        wire.client(1_000, &[Entry::block(1, b"\x82\xff").opens().ends()]),
        wire.server(2_000, &[Entry::headers(1, OK_FIELDS).ends()]),
    ]);
    assert_eq!(seen[0].method, text("GET"));
    assert_eq!(seen[0].incomplete, ["framing_lost", "hpack_table_unknown"]);
}

#[test]
fn streams_beyond_the_table_are_counted_as_evicted() {
    let limits = Limits {
        exchanges: 400,
        ..Limits::default()
    };
    let mut pipeline = pipeline(limits);
    let mut sink = Collect::default();
    let mut wire = Wire::new(7);
    pipeline.record(&wire.conn(role::SERVER, false), &mut sink);
    for number in 0..1_000 {
        let open = Entry::headers(2 * number + 1, GET_FIELDS).opens().ends();
        pipeline.record(&wire.client(1_000, &[open]), &mut sink);
    }
    // One connection does not get all the room.
    assert!(pipeline.occupancy().exchanges <= 101);
    for number in 0..1_000 {
        let end = Entry::headers(2 * number + 1, OK_FIELDS).ends();
        pipeline.record(&wire.server(2_000, &[end]), &mut sink);
    }
    pipeline.set_kernel_counters(Default::default());
    let summary = pipeline.ledger().summary();
    assert!(summary.balanced());
    assert_eq!((summary.seen, summary.in_flight), (1_000, 0));
    assert_eq!(summary.lost.conn_evicted, 1_000 - sink.0.len() as u64);
}

#[test]
fn streams_whose_end_was_lost_do_not_fill_the_table() {
    let limits = Limits {
        exchanges: 64,
        ..Limits::default()
    };
    let mut pipeline = pipeline(limits);
    let mut sink = Collect::default();
    let mut wire = Wire::new(7);
    pipeline.record(&wire.conn(role::SERVER, false), &mut sink);
    for number in 0..1_000 {
        let open = Entry::headers(2 * number + 1, GET_FIELDS).opens().ends();
        pipeline.record(&wire.client(1_000, &[open]), &mut sink);
        if number % 2 == 0 {
            wire.lost(side::RESPONSE);
        } else {
            let end = Entry::headers(2 * number + 1, OK_FIELDS).ends();
            pipeline.record(&wire.server(2_000, &[end]), &mut sink);
        }
    }
    pipeline.set_kernel_counters(Default::default());
    let summary = pipeline.ledger().summary();
    assert!(summary.balanced());
    assert_eq!((sink.0.len(), summary.lost.conn_evicted), (500, 0));
    assert_eq!(summary.lost.ring_full + summary.in_flight, 500);
}

#[test]
fn streams_of_a_connection_that_is_not_known_are_counted_when_they_begin() {
    let mut wire = Wire::new(7);
    let (seen, mut pipeline) = run([
        wire.client(1_000, &[Entry::headers(1, GET_FIELDS).opens().ends()]),
        wire.server(2_000, &[Entry::headers(1, OK_FIELDS).ends()]),
        stream::close(7, 0, 0),
    ]);
    pipeline.set_kernel_counters(Default::default());
    let summary = pipeline.ledger().summary();
    assert_eq!((seen.len(), summary.seen, summary.lost.decode), (0, 1, 1));
    assert!(summary.balanced());
}

#[test]
fn a_connection_that_gives_way_takes_its_streams_with_it() {
    let limits = Limits {
        conns: 1,
        ..Limits::default()
    };
    let mut pipeline = pipeline(limits);
    let mut sink = Collect::default();
    let mut wire = Wire::new(7);
    pipeline.record(&wire.conn(role::SERVER, false), &mut sink);
    let open = Entry::headers(1, GET_FIELDS).opens().ends();
    pipeline.record(&wire.client(1_000, &[open]), &mut sink);
    pipeline.record(&Wire::new(8).conn(role::SERVER, false), &mut sink);
    let end = Entry::headers(1, OK_FIELDS).ends();
    pipeline.record(&wire.server(2_000, &[end]), &mut sink);
    pipeline.set_kernel_counters(Default::default());
    let summary = pipeline.ledger().summary();
    assert_eq!((summary.seen, summary.lost.conn_evicted), (1, 1));
    assert_eq!(pipeline.occupancy().exchanges, 0);
}

#[test]
fn records_that_are_no_frames_are_counted() {
    let mut wire = Wire::new(7);
    let mut record = wire.client(1_000, &[Entry::headers(1, GET_FIELDS).opens().ends()]);
    record.truncate(record.len() - 9);
    let record = stream::with_len(&record);
    let neither = Wire::new(7).record(2, 1_000, &[]);
    let (_, summary) = told([wire.conn(role::SERVER, false), record, neither]);
    assert_eq!((summary.seen, summary.lost.decode), (2, 2));
}

#[test]
fn many_tables_together_stay_within_their_limit() {
    let limits = Limits {
        table_bytes: 100_000,
        ..Limits::default()
    };
    let mut pipeline = pipeline(limits);
    let mut sink = Collect::default();
    for conn in 0..200 {
        let mut wire = Wire::new(conn);
        pipeline.record(&wire.conn(role::SERVER, false), &mut sink);
        for number in 0..20u32 {
            let value = format!("{number:0400}");
            let fields = [
                (":method", "GET"),
                (":path", "/x"),
                ("x-long", value.as_str()),
            ];
            let block = frames::literals(0x40, &fields);
            let id = 2 * number + 1;
            let open = Entry::block(id, &block).opens().ends();
            pipeline.record(&wire.client(1_000, &[open]), &mut sink);
            pipeline.record(
                &wire.server(2_000, &[Entry::headers(id, OK_FIELDS).ends()]),
                &mut sink,
            );
        }
    }
    assert!(sink.0.iter().all(|seen| seen.path == text("/x")));
    let held = pipeline.occupancy().table_bytes;
    assert!(held < 100_000 + 200 * 2_500, "{held}");
}

#[test]
fn streams_in_flight_are_known_but_those_that_may_have_ended_are_not_told() {
    let mut wire = Wire::new(7);
    let mut records = vec![
        wire.conn(role::SERVER, false),
        wire.client(1_000, &[Entry::headers(1, GET_FIELDS).opens().ends()]),
        wire.client(1_500, &[Entry::headers(3, GET_FIELDS).opens().ends()]),
        wire.server(2_000, &[Entry::headers(3, OK_FIELDS).ends()]),
    ];
    let in_flight = |pipeline: &Pipeline<FromRecord>| {
        let mut all = Vec::new();
        pipeline.in_flight(&mut |_, side, method| all.push((side, method.map(str::to_owned))));
        all
    };
    let (seen, pipeline) = run(&records);
    assert_eq!(seen.len(), 1);
    assert_eq!(
        in_flight(&pipeline),
        [(Side::Server, Some("GET".to_owned()))]
    );
    // Something was lost, and perhaps the answer; what comes later is known again.
    wire.lost(side::RESPONSE);
    records.extend([
        wire.client(3_000, &[Entry::headers(5, GET_FIELDS).opens().ends()]),
        wire.server(4_000, &[Entry::headers(5, OK_FIELDS).ends()]),
        wire.client(5_000, &[Entry::headers(7, GET_FIELDS).opens().ends()]),
    ]);
    let (_, pipeline) = run(&records);
    assert_eq!(in_flight(&pipeline).len(), 1, "stream 7, not stream 1");
}
