use super::*;
use crate::capture::ledger::Lost;
use crate::fixture::{call, curl, nginx, ok, server_conn, unanswered, unix_conn, v6_conn};
use crate::model::exchange::Incomplete;

/// The table of four different exchanges.
fn table(screen: Screen, query: QueryPolicy) -> String {
    let (nginx, curl) = (nginx(), curl());
    let (tcp, v6, unix) = (server_conn(), v6_conn(), unix_conn());
    let mut table = Table::new(Vec::new(), screen, query);
    table.exchange(&ok(&nginx, &tcp));
    table.exchange(&unanswered(&curl, &v6));
    let mut failed = ok(&nginx, &unix);
    failed.status = Some(503);
    failed.error = Some("503");
    failed.query = None;
    failed.path = Some("/a/rather/long/path/with/an/end/that/tells/what/it/is/about.json");
    table.exchange(&failed);
    let mut hostile = ok(&curl, &tcp);
    hostile.method = Some("\x1b]0;GOTCHA\x07");
    hostile.path = Some("/\x1b[2J\u{202e}\r\n03:04:05.123  server  forged");
    hostile.query = None;
    hostile.error = Some("\x1b[5m");
    hostile.status = None;
    hostile.incomplete = Incomplete::FRAMING_LOST;
    table.exchange(&hostile);
    let totals = Summary {
        seen: 7,
        emitted: 4,
        filtered: 1,
        lost: Lost {
            ring_full: 2,
            ..Lost::default()
        },
        in_flight: 3,
        orphans: 0,
    };
    table.finish(&totals).unwrap();
    String::from_utf8(table.out).unwrap()
}

#[test]
fn a_call_shows_its_own_status() {
    let (nginx, tcp) = (nginx(), server_conn());
    let mut table = Table::new(Vec::new(), Screen::file(), QueryPolicy::Hide);
    table.exchange(&call(&nginx, &tcp));
    table.flush().unwrap();
    let text = String::from_utf8(table.out).unwrap();
    let line = text.lines().nth(1).unwrap();
    assert!(line.contains("  gRPC     /shop.v1.Orders/Get  "), "{line}");
    assert!(line.contains("  14    1.23ms  "), "{line}");
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
fn in_a_file() {
    golden("table-file.txt", &table(Screen::file(), QueryPolicy::Hide));
}

#[test]
fn on_terminals() {
    golden(
        "table-120.txt",
        &table(Screen::terminal(120, false), QueryPolicy::Show),
    );
    golden(
        "table-160-colour.txt",
        &table(Screen::terminal(160, true), QueryPolicy::Hide),
    );
}

#[test]
fn lines_fit_the_terminal_and_nothing_hostile_reaches_it() {
    for columns in [80, 100, 106, 107, 120, 200] {
        let text = table(Screen::terminal(columns, false), QueryPolicy::Hide);
        assert_eq!(text.lines().count(), 6);
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text}");
        assert!(!text.contains('\u{202e}'));
        let first = text.lines().nth(1).unwrap();
        assert!(first.chars().count() <= columns, "{columns}: {first}");
    }
}

#[test]
fn the_heading_comes_again_on_a_terminal_only() {
    let (nginx, tcp) = (nginx(), server_conn());
    for (screen, headings) in [(Screen::file(), 1), (Screen::terminal(120, false), 3)] {
        let mut table = Table::new(Vec::new(), screen, QueryPolicy::Hide);
        for _ in 0..100 {
            table.exchange(&ok(&nginx, &tcp));
        }
        table.flush().unwrap();
        let text = String::from_utf8(table.out).unwrap();
        assert_eq!(text.matches("METHOD").count(), headings);
        assert_eq!(text.lines().count(), 100 + headings);
    }
}
