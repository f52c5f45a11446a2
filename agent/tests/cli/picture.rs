//! The picture of README.md shows what the program prints.

use super::remora;
use std::collections::BTreeMap;
use std::process::Stdio;

/// Size of the terminal in the picture, and of its cells and margins in pixels: those of
/// `xtask/src/picture.rs`.
const TERMINAL: &str = "stty cols 124 rows 60";
const CELL: (f64, f64) = (7.8, 17.0);
const MARGIN: f64 = 14.0;
const BAR: f64 = 34.0;

const PICTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/demo.svg");

/// What the demo's recording looks like in a terminal, without colours.
fn printed() -> Vec<String> {
    let program = env!("CARGO_BIN_EXE_remora");
    let inside = format!("{TERMINAL}; exec {program} demo --replay");
    // The program's environment, in a terminal of its own.
    let mut script = std::process::Command::new("script");
    let own: Vec<_> = remora()
        .get_envs()
        .map(|(name, _)| name.to_owned())
        .collect();
    for name in own {
        script.env_remove(name);
    }
    let output = script
        .args(["--quiet", "--return", "--command", &inside, "/dev/null"])
        .env("TERM", "xterm-256color")
        .env("TZ", "UTC")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| line.trim_end().to_owned())
        .collect()
}

/// The value of an attribute.
fn number(element: &str, name: &str) -> f64 {
    let (_, rest) = element.split_once(&format!(" {name}=\"")).unwrap();
    rest.split('"').next().unwrap().parse().unwrap()
}

/// The lines of text in the picture, every piece at the column where it stands.
fn drawn(svg: &str) -> Vec<String> {
    let mut lines: BTreeMap<usize, String> = BTreeMap::new();
    for element in svg.split("<text").skip(1) {
        let row = (number(element, "y") - BAR) / CELL.1 - 0.8;
        let column = (number(element, "x") - MARGIN) / CELL.0;
        for exact in [row, column] {
            assert!((exact - exact.round()).abs() < 0.05, "{element}");
        }
        let line = lines.entry(row.round() as usize).or_default();
        let text = element.split_once('>').unwrap().1;
        let text = text.split_once("</text>").unwrap().0;
        let text = text.replace("&lt;", "<").replace("&amp;", "&");
        let gap = column.round() as usize - line.chars().count();
        line.extend(std::iter::repeat_n(' ', gap));
        line.push_str(&text);
    }
    let last = lines.keys().next_back().map_or(0, |last| last + 1);
    // The first line is the command.
    let line = |row| lines.get(&row).cloned().unwrap_or_default();
    (1..last).map(line).collect()
}

#[test]
fn the_picture_shows_what_the_program_prints() {
    let svg = std::fs::read_to_string(PICTURE).unwrap();
    // Columns that hold wherever spaces are folded.
    assert!(!svg.contains("xml:space") && !svg.contains("white-space"));
    for text in svg.split("</text>") {
        let text = text.rsplit('>').next().unwrap();
        assert!(!text.contains("  "), "spaces that may be folded: {text}");
    }
    let (printed, drawn) = (printed(), drawn(&svg));
    assert_eq!(
        drawn.join("\n"),
        printed.join("\n"),
        "the program prints something else; `cargo xtask picture` draws it anew"
    );
    for part in ["gRPC", "NOT_FOUND", "ERRORS OF CLIENTS", " 0 lost"] {
        assert!(drawn.iter().any(|line| line.contains(part)), "{part}");
    }
}
