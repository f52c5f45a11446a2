//! Any bytes are safe, memory is bounded, and whatever the order in which valid
//! records of different connections arrive, the counts are exact.

use super::*;
use proptest::prelude::*;
use remora_common::pod::Pod;

const SMALL: Limits = Limits {
    conns: 4,
    exchanges: 8,
    head_bytes: 20_000,
    table_bytes: 20_000,
    processes: 4,
};

fn check_bounds(pipeline: &Pipeline<FromRecord>) -> Result<(), TestCaseError> {
    let held = pipeline.occupancy();
    prop_assert!(held.conns <= SMALL.conns);
    prop_assert!(held.exchanges <= SMALL.exchanges);
    prop_assert!(
        held.head_bytes <= SMALL.head_bytes + SMALL.head_bytes / 4 + SMALL.exchanges * 8_192
    );
    Ok(())
}

/// Records that look real but make no sense together.
fn any_record() -> impl Strategy<Value = Vec<u8>> {
    let message = (
        (0u64..6, 0u32..12, any::<u16>(), 0u8..3, 0u8..3),
        (0u64..9, 0u64..9, any::<u64>(), 0u32..9),
        prop::collection::vec(any::<u8>(), 0..60),
    );
    let message = message.prop_map(
        |((conn, index, flags, side, skip), (first, last, body, tgid), head)| {
            let part = Part {
                side,
                flags,
                first,
                last,
                body,
                tgid,
                tid: tgid,
                skip,
                head: &head,
            };
            stream::message(conn, index, part)
        },
    );
    let close = (
        0u64..6,
        0u32..12,
        0u32..12,
        0u8..8,
        0u8..3,
        0u8..4,
        0u32..120,
    );
    let close = close.prop_map(
        |(conn, requests, responses, reason, request_open, response_open, errno)| {
            let close = Close {
                reason,
                request_open,
                response_open,
                errno,
                ..stream::close_record(conn, requests, responses)
            };
            close.as_bytes().to_vec()
        },
    );
    prop_oneof![
        6 => message,
        1 => close,
        2 => (0u64..6, 0u8..4).prop_map(|(conn, role)| stream::conn_record(conn, role).as_bytes().to_vec()),
        1 => (0u64..6, prop::collection::vec(any::<u8>(), 0..130)).prop_map(|(conn, path)| stream::unix(conn, role::SERVER, &path)),
        1 => (0u32..9).prop_map(|tgid| stream::process(tgid, "x")),
        1 => (0u32..9).prop_map(|tgid| stream::process_exit(tgid, false)),
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ]
}

/// One connection's records, how many of its requests end, and in which it does not
/// matter what comes first.
fn any_conn(conn: u64) -> impl Strategy<Value = (Vec<Vec<u8>>, u64)> {
    let exchange = (any::<bool>(), 1usize..GET.len(), any::<bool>());
    (
        prop::collection::vec(exchange, 0..12),
        0u32..3,
        any::<bool>(),
    )
        .prop_map(move |(exchanges, unanswered, late)| {
            let mut records = vec![stream::client(conn)];
            let answered = exchanges.len() as u32;
            for ((split, at, response_first), index) in exchanges.into_iter().zip(0..) {
                let mut request = vec![];
                if split {
                    request.push(stream::message(
                        conn,
                        index,
                        Part::request(&GET[..at]).flags(START),
                    ));
                    request.push(stream::message(
                        conn,
                        index,
                        Part::request(&GET[at..]).flags(HEAD_END | END),
                    ));
                } else {
                    request.push(stream::message(conn, index, Part::request(GET)));
                }
                let response = stream::message(conn, index, Part::response(OK));
                if response_first {
                    records.push(response);
                    records.append(&mut request);
                } else {
                    records.append(&mut request);
                    records.push(response);
                }
            }
            for index in answered..answered + unanswered {
                records.push(stream::message(conn, index, Part::request(GET)));
            }
            let all = answered + unanswered;
            if late {
                records.push(stream::close(conn, all, answered));
            }
            (records, u64::from(if late { all } else { answered }))
        })
}

proptest! {
    #[test]
    fn any_bytes_are_safe(records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..120), 0..40)) {
        let mut pipeline = pipeline(SMALL);
        for record in &records {
            pipeline.record(record, &mut Collect::default());
        }
        check_bounds(&pipeline)?;
    }

    #[test]
    fn records_without_sense_are_safe_and_memory_stays_bounded(records in prop::collection::vec(any_record(), 0..200)) {
        let mut pipeline = pipeline(SMALL);
        let mut sink = Collect::default();
        for record in &records {
            pipeline.record(record, &mut sink);
            check_bounds(&pipeline)?;
        }
        for seen in &sink.0 {
            prop_assert!(seen.span_id != [0; 8] && seen.trace_id != [0; 16]);
        }
    }

    #[test]
    fn any_interleaving_of_connections_gives_exact_counts(
        conns in (any_conn(0), any_conn(1), any_conn(2), any_conn(3)),
        order in prop::collection::vec(0usize..4, 0..400),
    ) {
        let (a, b, c, d) = conns;
        let expected = a.1 + b.1 + c.1 + d.1;
        let mut queues = [a.0, b.0, c.0, d.0].map(|records| records.into_iter().peekable());
        let mut records = Vec::new();
        for at in order {
            records.extend(queues[at].next());
        }
        records.extend(queues.into_iter().flatten());
        let (seen, pipeline) = run(&records);
        prop_assert_eq!(seen.len() as u64, expected);
        let ids: std::collections::HashSet<_> = seen.iter().map(|seen| seen.span_id).collect();
        prop_assert_eq!(ids.len(), seen.len());
        let ledger = pipeline.ledger();
        prop_assert_eq!((ledger.decode, ledger.evicted, ledger.orphans), (0, 0, 0));
        prop_assert!(seen.iter().all(|seen| seen.path.as_deref() == Some("/users/7")));
    }
}
