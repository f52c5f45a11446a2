//! A request is counted as lost once, by whoever lost it.

use super::*;
use remora_common::pod::Pod;

#[test]
fn responses_from_before_the_agent_are_counted_and_give_nothing() {
    let orphan = Part::response(OK).flags(stream::WHOLE | flags::ORPHAN);
    let parted = Part::response(OK).flags(START | flags::ORPHAN);
    let rest = Part::response(b"").flags(END | flags::ORPHAN);
    let (seen, pipeline) = run([
        stream::server(7),
        stream::message(7, 0, orphan),
        stream::message(7, 0, parted),
        stream::message(7, 0, rest),
        stream::message(7, 0, Part::request(GET)),
        stream::message(7, 0, Part::response(OK)),
    ]);
    assert_eq!((seen.len(), pipeline.ledger().orphans), (1, 2));
}

#[test]
fn what_the_kernel_lost_and_counted_is_dropped_without_a_word() {
    let (seen, pipeline) = run([
        stream::server(7),
        // The response of 0, the request of 1 and the end of request 2 are lost.
        stream::message(7, 0, Part::request(GET)),
        stream::message(7, 1, Part::response(OK)),
        stream::message(7, 2, Part::request(GET).flags(START | HEAD_END)),
        stream::message(7, 3, Part::request(GET)),
        stream::message(7, 3, Part::response(OK)),
        // A continuation of something that never began.
        stream::message(7, 4, Part::request(b"x").flags(HEAD_END)),
        stream::message(7, 4, Part::response(b"").flags(END)),
        stream::close(7, 4, 4),
    ]);
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].span_id, Seed([1, 2]).span_id(7, 3));
    let ledger = pipeline.ledger();
    assert_eq!(
        (
            ledger.decode,
            ledger.evicted,
            pipeline.occupancy().exchanges
        ),
        (0, 0, 0)
    );
}

#[test]
fn requests_that_the_kernel_names_as_lost_are_not_reported() {
    let mut records = vec![stream::server(7)];
    for index in 0..70 {
        records.push(stream::message(7, index, Part::request(GET)));
    }
    for index in 0..66 {
        records.push(stream::message(7, index, Part::response(OK)));
    }
    let mut close = stream::close_record(7, 70, 66);
    close.lost = 1 << (67 % 64) | 1 << (69 % 64);
    records.push(close.as_bytes().to_vec());
    let (seen, pipeline) = run(&records);
    let ids: Vec<_> = seen[66..].iter().map(|seen| seen.span_id).collect();
    assert_eq!(ids, [66, 68].map(|index| Seed([1, 2]).span_id(7, index)));
    let ledger = pipeline.ledger();
    assert_eq!((ledger.decode, ledger.evicted), (0, 0));
}

#[test]
fn a_response_whose_beginning_could_not_be_decoded_is_lost_once() {
    let mut close = stream::close_record(7, 1, 0);
    close.response_open = 1;
    let (seen, pipeline) = run([
        stream::server(7),
        stream::message(7, 0, Part::request(GET)),
        stream::message(7, 0, Part::response(OK).flags(START))[..50].to_vec(),
        close.as_bytes().to_vec(),
    ]);
    assert_eq!((seen.len(), pipeline.ledger().decode), (0, 1));
}

#[test]
fn losses_do_not_pile_up_on_a_connection_that_lives_on() {
    let mut records = vec![stream::server(7)];
    for index in 0..10_000 {
        records.push(stream::message(7, index, Part::request(GET)));
        if index % 2 == 0 {
            records.push(stream::message(7, index, Part::response(OK)));
        }
    }
    let (seen, pipeline) = run(&records);
    assert_eq!(seen.len(), 5_000);
    assert!(pipeline.occupancy().exchanges <= 2 * STALE as usize);
}

#[test]
fn a_pipeline_deeper_than_what_counts_as_stale_is_kept_whole() {
    let depth = 10 * STALE;
    let mut records = vec![stream::server(7)];
    records.extend((0..depth).map(|index| stream::message(7, index, Part::request(GET))));
    records.extend((0..depth).map(|index| stream::message(7, index, Part::response(OK))));
    assert_eq!(run(&records).0.len(), depth as usize);
}

#[test]
fn an_address_used_again_is_another_connection() {
    let (seen, pipeline) = run([
        stream::server(7),
        stream::message(7, 0, Part::request(GET)),
        // The end of 7 was lost; the same addresses come back as 8.
        stream::server(8),
        stream::message(8, 0, Part::request(GET)),
        stream::message(8, 0, Part::response(OK)),
        stream::close(8, 1, 1),
    ]);
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].conn, 8);
    assert_eq!(pipeline.occupancy().conns, 1);
}

#[test]
fn a_connection_announced_twice_keeps_what_is_under_way() {
    let seen = only([
        stream::server(7),
        stream::message(7, 0, Part::request(GET)),
        stream::server(7),
        stream::message(7, 0, Part::response(OK)),
    ]);
    assert_eq!(seen.status, Some(200));
}

#[test]
fn requests_of_an_unknown_connection_are_counted_when_they_end() {
    let (seen, pipeline) = run([
        stream::message(7, 0, Part::request(GET)),
        stream::message(7, 0, Part::response(OK).flags(START | HEAD_END)),
        stream::message(7, 0, Part::response(b"").flags(END)),
        stream::message(7, 1, Part::request(GET)),
        stream::message(7, 1, Part::response(OK)),
        stream::message(7, 2, Part::request(GET)),
        stream::close(7, 3, 2),
    ]);
    assert_eq!((seen.len(), pipeline.ledger().decode), (0, 3));
    // What the kernel has counted of them is not counted again.
    let mut close = stream::close_record(8, 3, 1);
    close.lost = 2;
    let (_, pipeline) = run([vec![0], close.as_bytes().to_vec()]);
    assert_eq!(pipeline.ledger().decode, 1 + 1);
    // Nothing but the end of a connection that the kernel could not announce: it has
    // counted what was in flight.
    let (_, pipeline) = run([stream::close(7, 3, 2)]);
    assert_eq!(pipeline.ledger().decode, 0);
}

#[test]
fn requests_of_an_evicted_connection_are_counted_when_they_end() {
    let limits = Limits {
        conns: 2,
        ..Limits::default()
    };
    let mut pipeline = pipeline(limits);
    let mut sink = Collect::default();
    for conn in 0..5 {
        pipeline.record(&stream::server(conn), &mut sink);
        pipeline.record(&stream::message(conn, 0, Part::request(GET)), &mut sink);
    }
    assert_eq!(pipeline.occupancy().conns_evicted, 3);
    assert_eq!(pipeline.ledger().evicted, 0, "they are still in flight");
    for conn in 0..4 {
        pipeline.record(&stream::message(conn, 0, Part::response(OK)), &mut sink);
        pipeline.record(&stream::close(conn, 1, 1), &mut sink);
    }
    pipeline.record(&stream::close(4, 1, 0), &mut sink);
    let ledger = pipeline.ledger();
    assert_eq!((ledger.exchanges, ledger.evicted, ledger.decode), (2, 3, 0));
    assert_eq!(pipeline.occupancy().exchanges, 0);
}

#[test]
fn requests_of_connections_that_are_passed_over_are_counted() {
    let mut pipeline = pipeline(Limits::default());
    let mut sink = Collect::default();
    for conn in 0..3 {
        pipeline.set_refuses(conn == 1);
        pipeline.record(&stream::server(conn), &mut sink);
        // Known connections go on.
        for known in 0..=conn {
            pipeline.record(
                &stream::message(known, conn as u32 - known as u32, Part::request(GET)),
                &mut sink,
            );
            pipeline.record(
                &stream::message(known, conn as u32 - known as u32, Part::response(OK)),
                &mut sink,
            );
        }
    }
    let ledger = pipeline.ledger();
    assert_eq!((ledger.exchanges, ledger.evicted, ledger.decode), (4, 2, 0));
    assert_eq!(pipeline.occupancy().conns_evicted, 1);
}

#[test]
fn all_places_and_texts_fit_into_the_memory_they_are_given() {
    let bytes = 96 << 20;
    let limits = Limits::within(bytes);
    // By default there are places for as many as without a limit.
    assert!(
        limits.exchanges >= Limits::default().exchanges,
        "{limits:?}"
    );
    assert!(2 * limits.head_bytes + limits.table_bytes < bytes);
    let mut pipeline = pipeline(Limits {
        exchanges: 4,
        ..limits
    });
    let mut sink = Collect::default();
    pipeline.record(&stream::server(7), &mut sink);
    for index in 0..3 {
        pipeline.record(&stream::message(7, index, Part::request(GET)), &mut sink);
    }
    assert!((pipeline.fill() - 0.75).abs() < 1e-9);
}

#[test]
fn requests_for_which_there_is_no_room_are_counted() {
    let limits = Limits {
        exchanges: 3,
        ..Limits::default()
    };
    let mut pipeline = pipeline(limits);
    let mut sink = Collect::default();
    pipeline.record(&stream::server(7), &mut sink);
    for index in 0..10 {
        pipeline.record(&stream::message(7, index, Part::request(GET)), &mut sink);
    }
    for index in 0..10 {
        pipeline.record(&stream::message(7, index, Part::response(OK)), &mut sink);
    }
    pipeline.record(&stream::close(7, 10, 10), &mut sink);
    let ledger = pipeline.ledger();
    assert_eq!((ledger.exchanges, ledger.evicted), (3, 7));
    assert_eq!(pipeline.occupancy().exchanges, 0);
}

#[test]
fn records_that_are_none_are_counted() {
    let mut bad_side = stream::message(7, 1, Part::request(GET));
    let at = std::mem::offset_of!(Message, side);
    bad_side[at] = 9;
    let (seen, pipeline) = run([
        vec![],
        vec![0xff; 100],
        stream::server(7)[..40].to_vec(),
        stream::server(7),
        stream::message(7, 0, Part::request(GET)),
        // Begins what has begun.
        stream::message(7, 0, Part::request(GET)),
        bad_side,
        stream::message(7, 0, Part::response(OK)),
    ]);
    assert_eq!((seen.len(), pipeline.ledger().decode), (1, 5));
}

#[test]
fn the_counters_of_a_recording_reach_the_ledger() {
    let mut counters = Counters::default();
    counters[remora_common::counters::Counter::Finished as usize] = 1;
    let (_, pipeline) = run([
        stream::server(7),
        stream::message(7, 0, Part::request(GET)),
        stream::message(7, 0, Part::response(OK)),
        crate::capture::ingest::decode::encode_counters(&counters),
    ]);
    let summary = pipeline.ledger().summary();
    assert!(summary.balanced());
    assert_eq!(summary.seen, 1);
}

/// What [`Pipeline::in_flight`] tells: side and method.
fn in_flight(pipeline: &Pipeline<FromRecord>) -> Vec<(Side, Option<String>)> {
    let mut all = Vec::new();
    pipeline.in_flight(&mut |_, side, method| all.push((side, method.map(str::to_owned))));
    all
}

#[test]
fn what_is_in_flight_is_known_and_lost_ends_do_not_pile_up() {
    let (_, pipeline) = run([
        stream::server(7),
        stream::message(7, 0, Part::request(GET)),
        stream::client(8),
        stream::message(8, 0, Part::request(GET).flags(START | HEAD_END)),
        // Answered, but not sent to its end.
        stream::server(9),
        stream::message(9, 0, Part::request(GET).flags(START | HEAD_END)),
        stream::message(9, 0, Part::response(OK)),
    ]);
    let get = || Some("GET".to_owned());
    let all = in_flight(&pipeline);
    assert_eq!(all, [(Side::Server, get()), (Side::Client, get())]);
    assert_eq!(pipeline.under_way().count(), 3);
    // The first answer was lost: answers come in order, so it is over.
    let (seen, pipeline) = run([
        stream::server(7),
        stream::message(7, 0, Part::request(GET)),
        stream::message(7, 1, Part::request(GET)),
        stream::message(7, 1, Part::response(OK)),
        stream::message(7, 2, Part::request(GET)),
    ]);
    assert_eq!((seen.len(), in_flight(&pipeline).len()), (1, 1));
    assert!(pipeline.under_way().eq([7]));
}

/// The kernel counts a request as finished when it is answered, the agent shows it when it
/// has ended: between the two it is in flight.
#[test]
fn what_is_answered_before_it_ended_is_in_flight() {
    let mut counters = Counters::default();
    counters[remora_common::counters::Counter::Started as usize] = 1;
    counters[remora_common::counters::Counter::Finished as usize] = 1;
    let counted = crate::capture::ingest::decode::encode_counters(&counters);
    let begun = stream::message(7, 0, Part::request(GET).flags(START | HEAD_END));
    let answered = stream::message(7, 0, Part::response(OK));
    let ended = stream::message(7, 0, Part::request(b"").flags(END));
    let early = [&stream::server(7), &begun, &answered, &counted];
    // The request's record may come last as well.
    let unseen = [&stream::server(7), &answered, &counted];
    for records in [&early[..], &unseen[..]] {
        let (seen, pipeline) = run(records);
        let summary = pipeline.ledger().summary();
        assert!(seen.is_empty() && summary.balanced(), "{summary:?}");
        assert_eq!((summary.seen, summary.in_flight), (0, 1));
    }
    let (seen, pipeline) = run([&early[..], &[&ended]].concat());
    let summary = pipeline.ledger().summary();
    assert!(seen.len() == 1 && summary.balanced(), "{summary:?}");
    assert_eq!((summary.seen, summary.in_flight), (1, 0));
    // Where the end was lost, the kernel counts that; the next request shows that it was.
    counters[remora_common::counters::Counter::RingFull as usize] = 1;
    counters[remora_common::counters::Counter::Started as usize] = 2;
    let counted = crate::capture::ingest::decode::encode_counters(&counters);
    let next = stream::message(7, 1, Part::request(GET));
    let (seen, pipeline) = run([&early[..], &[&next, &counted]].concat());
    let summary = pipeline.ledger().summary();
    assert!(seen.is_empty() && summary.balanced(), "{summary:?}");
    assert_eq!((summary.seen, summary.in_flight), (1, 1));
}
