//! `picture`: what `remora demo` writes to a terminal, as an SVG for README.md.
//!
//! The program runs in a terminal of its own (`script` of util-linux makes it), and every
//! line appears in the picture when it appeared there. Viewers without animation show the
//! end.

use crate::process::{run, shown};
use crate::workspace;
use anyhow::{Context as _, Result, ensure};
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Size of the terminal.
const COLUMNS: usize = 124;
const ROWS: usize = 60;

/// Size of a character cell, margin and height of the bar above, in pixels.
const CELL: (f64, f64) = (7.8, 17.0);
const MARGIN: f64 = 14.0;
const BAR: f64 = 34.0;

/// A line of the terminal, and how long after the first one it came.
struct Line {
    text: String,
    after: Duration,
}

/// Builds the agent, runs its demo, and writes `docs/demo.svg`.
///
/// # Errors
/// The demo failed, or needs root.
pub(crate) fn main() -> Result<()> {
    let mut build = Command::new(workspace::cargo());
    build.current_dir(workspace::root());
    run(build.args(["build", "--release", "--locked", "-p", "remora"]))?;
    let program = workspace::target().join("release/remora");
    let lines = capture(&format!("{} demo", program.display()))?;
    let path = workspace::root().join("docs/demo.svg");
    fs::create_dir_all(workspace::root().join("docs"))?;
    fs::write(&path, svg("sudo remora demo", &lines))?;
    println!("{}: {} lines", workspace::relative(&path), lines.len());
    Ok(())
}

/// Runs a shell command in a terminal and returns what it wrote there.
fn capture(command: &str) -> Result<Vec<Line>> {
    let inside = format!("stty cols {COLUMNS} rows {ROWS}; exec {command}");
    let mut script = Command::new("script");
    script
        .args(["--quiet", "--return", "--command", &inside, "/dev/null"])
        .env("TERM", "xterm-256color")
        .env("TZ", "UTC")
        .env_remove("NO_COLOR")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = script.spawn().context("cannot start `script`")?;
    let output = child.stdout.take().context("no pipe")?;
    let mut lines = Vec::new();
    let mut first = None;
    for line in BufReader::new(output).lines() {
        let text = line?.trim_end_matches('\r').to_owned();
        let after = first.get_or_insert_with(Instant::now).elapsed();
        lines.push(Line { text, after });
    }
    let status = child.wait()?;
    ensure!(status.success(), "{} ended with {status}", shown(&script));
    ensure!(!lines.is_empty(), "the command wrote nothing");
    Ok(lines)
}

/// Draws a terminal in which `command` was typed and wrote `lines`.
fn svg(command: &str, lines: &[Line]) -> String {
    let width = MARGIN * 2.0 + CELL.0 * COLUMNS as f64;
    let height = BAR + MARGIN + CELL.1 * (lines.len() + 1) as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         width=\"{width:.0}\" height=\"{height:.0}\" role=\"img\">\n\
         <title>The output of {command}</title>\n\
         <!-- Written by `cargo xtask picture` from a run of the program. -->\n\
         <style>\n{STYLE}</style>\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#16181d\"/>\n"
    );
    for (number, colour) in ["#ff5f57", "#febc2e", "#28c840"].iter().enumerate() {
        let x = 20 + number * 18;
        let _ = writeln!(
            svg,
            "<circle cx=\"{x}\" cy=\"17\" r=\"5.5\" fill=\"{colour}\"/>"
        );
    }
    let typed = Line {
        text: format!("\x1b[2m$\x1b[0m \x1b[1m{command}\x1b[0m"),
        after: Duration::ZERO,
    };
    for (row, line) in [&typed].into_iter().chain(lines).enumerate() {
        let spans = spans(&line.text);
        let cells: usize = spans.iter().map(|(_, text)| text.chars().count()).sum();
        if cells == 0 {
            continue;
        }
        let y = BAR + CELL.1 * (row as f64 + 0.8);
        // Every line as long as its cells, whichever font the viewer has.
        let _ = write!(
            svg,
            "<text x=\"{MARGIN}\" y=\"{y:.1}\" textLength=\"{:.1}\" lengthAdjust=\"spacingAndGlyphs\" \
             style=\"animation-delay:{}ms\">",
            CELL.0 * cells as f64,
            line.after.as_millis(),
        );
        for (class, text) in spans {
            let text = escaped(&text);
            let _ = match class {
                "" => write!(svg, "{text}"),
                class => write!(svg, "<tspan class=\"{class}\">{text}</tspan>"),
            };
        }
        svg += "</text>\n";
    }
    svg + "</svg>\n"
}

const STYLE: &str = "\
text { font: 13px ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace; fill: #d7dae0; \
white-space: pre; animation: appear 1ms linear both; }
.dim { fill: #7d8590; } .bold { font-weight: bold; fill: #fff; } .red { fill: #ff7b72; }
.green { fill: #7ee787; } .yellow { fill: #e3b341; } .cyan { fill: #79c0ff; }
@keyframes appear { from { opacity: 0; } }
";

/// Pieces of a line with the class of their colour, from the `SGR` sequences in it
/// (ECMA-48, 8.3.117). Other sequences are left out.
fn spans(line: &str) -> Vec<(&'static str, String)> {
    let mut spans: Vec<(&'static str, String)> = Vec::new();
    let mut class = "";
    let mut chars = line.chars();
    while let Some(next) = chars.next() {
        if next != '\x1b' {
            match spans.last_mut() {
                Some((last, text)) if *last == class => text.push(next),
                _ => spans.push((class, next.to_string())),
            }
            continue;
        }
        let sequence: String = chars
            .by_ref()
            .take_while(|c| !c.is_ascii_alphabetic())
            .collect();
        class = match sequence.as_str() {
            "[1" => "bold",
            "[2" => "dim",
            "[31" => "red",
            "[32" => "green",
            "[33" => "yellow",
            "[36" => "cyan",
            _ => "",
        };
    }
    spans
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_become_classes_and_markup_stays_text() {
        assert_eq!(
            spans("a\x1b[32m 200\x1b[0m <b>\x1b[2m&"),
            [
                ("", "a".to_owned()),
                ("green", " 200".to_owned()),
                ("", " <b>".to_owned()),
                ("dim", "&".to_owned()),
            ]
        );
        let line = Line {
            text: "\x1b[31m<&>".to_owned(),
            after: Duration::from_millis(70),
        };
        let svg = svg("x", &[line]);
        assert!(
            svg.contains("<tspan class=\"red\">&lt;&amp;></tspan>"),
            "{svg}"
        );
        assert!(svg.contains("animation-delay:70ms"), "{svg}");
    }

    #[test]
    fn what_a_terminal_shows_is_captured() {
        let lines = capture("sh -c 'tput cols; [ -t 1 ] && echo terminal'").unwrap();
        let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!(texts, [&COLUMNS.to_string(), "terminal"]);
        assert!(capture("false").is_err());
    }
}
