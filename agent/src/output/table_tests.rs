use super::*;
use crate::capture::ledger::Lost;
use crate::fixture::{call, curl, nginx, ok, server_conn, unanswered, unix_conn, v6_conn};
use crate::model::exchange::Incomplete;
use crate::model::text::cell::text_columns;

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
    assert!(line.contains("  UNAVAILABLE    1.23ms  "), "{line}");
    // The status says it already.
    assert!(!line.contains("error="), "{line}");
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
    for columns in (8..=130).chain([160, 200, 300]) {
        let text = table(Screen::terminal(columns, false), QueryPolicy::Hide);
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text}");
        assert!(!text.contains('\u{202e}'));
        // The last line is a sentence.
        let rows = text.lines().count() - 1;
        assert_eq!(rows, 7);
        for line in text.lines().take(rows) {
            let width = text_columns(line);
            assert!(width <= columns, "{columns}: {line}");
        }
    }
}

#[test]
fn narrow_terminals_do_without_what_matters_least() {
    let (nginx, tcp) = (nginx(), server_conn());
    let shown = |columns| {
        let mut table = Table::new(
            Vec::new(),
            Screen::terminal(columns, false),
            QueryPolicy::Hide,
        );
        table.exchange(&ok(&nginx, &tcp));
        table.exchange(&call(&nginx, &tcp));
        table.flush().unwrap();
        String::from_utf8(table.out).unwrap()
    };
    assert_eq!(
        shown(40),
        "\
METHOD   PATH           STATUS  DURATION
GET      /users/7          200    1.23ms
gRPC     /shop.…rs/Get  UNAVA…    1.23ms
"
    );
    for (columns, headings) in [
        (300, &HEADINGS[..]),
        (120, &HEADINGS[..]),
        (80, &HEADINGS[..7]),
        (72, &HEADINGS[1..7]),
        (60, &HEADINGS[2..7]),
        (40, &HEADINGS[3..7]),
    ] {
        let text = shown(columns);
        let first: Vec<&str> = text.lines().next().unwrap().split_whitespace().collect();
        assert_eq!(first, headings, "{columns}");
    }
    assert!(shown(160).contains(" UNAVAILABLE "), "{}", shown(160));
}

#[test]
fn wide_letters_take_two_columns() {
    let (nginx, tcp) = (nginx(), server_conn());
    let mut wide = ok(&nginx, &tcp);
    wide.path = Some("/商品/一覧/とても長い名前の品物/詳細/写真/一枚目");
    for columns in [40, 60, 80, 120, 300] {
        let mut table = Table::new(
            Vec::new(),
            Screen::terminal(columns, false),
            QueryPolicy::Hide,
        );
        table.exchange(&wide);
        table.flush().unwrap();
        let text = String::from_utf8(table.out).unwrap();
        let width = text_columns(text.lines().nth(1).unwrap());
        assert!(
            width <= columns && width + 14 > columns.min(100),
            "{columns}: {text}"
        );
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
