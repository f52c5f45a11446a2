//! The path of a record to a sink allocates nothing once it is warm.

#[path = "support/allocations.rs"]
mod allocations;
#[path = "support/frames.rs"]
mod frames;
#[path = "support/stream.rs"]
mod stream;

use allocations::allocations;
use remora::config::query::QueryPolicy;
use remora::deciding::filter::{Filter, Property};
use remora::model::clock::Offset;
use remora::model::exchange::{Exchange, ProcessInfo, Sink};
use remora::model::ids::Seed;
use remora::model::processes::{Processes, from_record};
use remora::output::Report;
use remora::output::json::JsonLines;
use remora::output::red::Red;
use remora::output::screen::Screen;
use remora::output::table::Table;
use remora::pairing::conn::{Limits, Pipeline};
use remora_common::record;
use stream::{END, GET, HEAD_END, OK, Part, START};

#[derive(Default)]
struct Count(u64);

impl Sink for Count {
    fn exchange(&mut self, exchange: &Exchange<'_>) {
        self.0 += u64::from(exchange.status == Some(200));
    }
}

struct FromRecord;

impl Processes for FromRecord {
    fn resolve(&mut self, record: &record::Process) -> ProcessInfo {
        from_record(record)
    }
}

/// Runs a round of records until it is warm, then some more, and returns how many
/// allocations and exchanges the latter were.
fn measure(mut round: impl FnMut(u32) -> Vec<Vec<u8>>) -> (u64, u64) {
    let mut pipeline = Pipeline::new(Limits::default(), Seed([1, 2]), Offset(0), FromRecord);
    let mut sink = Count::default();
    let mut measured = (0, 0);
    for number in 0..400 {
        let records = round(number);
        let before = (allocations(), sink.0);
        for record in &records {
            pipeline.record(record, &mut sink);
        }
        if number >= 200 {
            measured.0 += allocations() - before.0;
            measured.1 += sink.0 - before.1;
        }
    }
    assert_eq!(pipeline.ledger().decode, 0);
    measured
}

#[test]
fn the_counter_counts() {
    let before = allocations();
    drop(std::hint::black_box(vec![1u8; 100]));
    assert_eq!(allocations() - before, 1);
}

#[test]
fn keep_alive_connections_allocate_nothing() {
    let measured = measure(|number| {
        let mut records = if number == 0 {
            vec![stream::process(42, "nginx")]
        } else {
            vec![]
        };
        for conn in 0..50 {
            if number == 0 {
                records.push(stream::server(conn));
            }
            records.push(stream::message(conn, number, Part::request(GET)));
            records.push(stream::message(conn, number, Part::response(OK)));
        }
        records
    });
    assert_eq!(measured, (0, 200 * 50));
}

#[test]
fn short_connections_pipelines_split_heads_and_aborts_allocate_nothing() {
    let odd = b"PUT /\xff?\xfe HTTP/1.1\r\nUser-Agent: \xfd\r\n\
        traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\
        tracestate: a=1\r\ntracestate: b=2\r\n\r\n";
    let measured = measure(|number| {
        let mut records = vec![];
        for conn in u64::from(number) * 50..u64::from(number + 1) * 50 {
            records.push(stream::client(conn));
            records.push(stream::message(
                conn,
                0,
                Part::request(&GET[..20]).flags(START),
            ));
            records.push(stream::message(
                conn,
                0,
                Part::request(&GET[20..]).flags(HEAD_END | END),
            ));
            records.push(stream::message(conn, 1, Part::request(odd)));
            records.push(stream::message(conn, 2, Part::request(GET)));
            records.push(stream::message(conn, 0, Part::response(OK)));
            records.push(stream::message(conn, 1, Part::response(OK)));
            records.push(stream::close(conn, 3, 2));
        }
        records
    });
    assert_eq!(measured, (0, 200 * 50 * 2));
}

#[test]
fn calls_on_warm_connections_allocate_nothing() {
    let records = frames::unary_calls(20, 400);
    let (opening, calls) = records.split_at(20);
    let mut rounds = calls.chunks(2 * 20);
    let measured = measure(|number| {
        let mut records = if number == 0 {
            opening.to_vec()
        } else {
            vec![]
        };
        records.extend(rounds.next().unwrap_or_default().iter().cloned());
        records
    });
    assert_eq!(measured, (0, 200 * 20));
}

#[test]
fn short_connections_of_calls_allocate_nothing() {
    let measured = measure(|number| {
        let mut records = vec![];
        for conn in u64::from(number) * 20..u64::from(number + 1) * 20 {
            let mut wire = frames::Wire::new(conn);
            records.push(wire.conn(record::role::SERVER, false));
            let call = frames::literals(0x40, frames::CALL);
            let [one, two] = frames::Entry::block(1, &call).opens().ends().split(30);
            records.push(wire.client(1_000, &[one]));
            records.push(wire.client(1_100, &[two]));
            let answer = [frames::ANSWER, frames::TRAILERS].concat();
            records.push(wire.server(2_000, &[frames::Entry::headers(1, &answer).ends()]));
            records.push(stream::close(conn, 0, 0));
        }
        records
    });
    assert_eq!(measured, (0, 200 * 20));
}

/// What a user may ask for at once.
struct Outputs {
    filter: Filter,
    table: Table<std::io::Sink>,
    json: JsonLines<std::io::Sink>,
    red: Red,
    passed: u64,
}

impl Sink for Outputs {
    fn exchange(&mut self, exchange: &Exchange<'_>) {
        if self.filter.passes(exchange) {
            self.passed += 1;
            self.table.exchange(exchange);
            self.json.exchange(exchange);
            self.red.record(exchange);
        }
    }
}

#[test]
fn filters_and_outputs_allocate_nothing() {
    let mut filter = Filter::default();
    for (property, value, negated) in [
        (Property::Path, "/users/*", false),
        (Property::Comm, "ng*", false),
        (Property::Status, "5xx", true),
    ] {
        filter.add(property, value, negated).unwrap();
    }
    let query = QueryPolicy::Names(vec!["page".to_owned()]);
    let screen = Screen::terminal(140, true);
    let mut outputs = Outputs {
        filter,
        table: Table::new(std::io::sink(), screen, query.clone()),
        json: JsonLines::new(std::io::sink(), query),
        red: Red::default(),
        passed: 0,
    };
    let request = b"GET /users/7?page=2&token=x HTTP/1.1\r\nHost: a\r\nUser-Agent: \x1b[2J\r\n\r\n";
    let mut pipeline = Pipeline::new(Limits::default(), Seed([1, 2]), Offset(0), FromRecord);
    pipeline.record(&stream::process(42, "nginx"), &mut outputs);
    pipeline.record(&stream::server(1), &mut outputs);
    let mut asked = 0;
    for index in 0..4_000 {
        let request = stream::message(1, index, Part::request(request));
        let response = stream::message(1, index, Part::response(OK));
        let before = allocations();
        pipeline.record(&request, &mut outputs);
        pipeline.record(&response, &mut outputs);
        if index >= 2_000 {
            asked += allocations() - before;
        }
    }
    outputs.table.flush().unwrap();
    assert_eq!((asked, outputs.passed), (0, 4_000));
}
