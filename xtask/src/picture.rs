//! `picture`: what `remora demo` writes to a terminal, as an SVG for README.md.
//!
//! The demo's recording is replayed in a terminal of its own (`script` of util-linux makes
//! it), so the picture is the same wherever it is drawn, needs no privilege, and
//! `agent/tests/cli/picture.rs` can hold it against the program. An earlier one was of a live
//! run: nothing could tell whether it was still true.
//!
//! Every run of cells is placed by its column: renderers that fold spaces, or have another
//! font, keep the columns.

use crate::process::{run, shown};
use crate::workspace;
use anyhow::{Context as _, Result, ensure};
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

/// Size of the terminal; `agent/tests/cli/picture.rs` has the same.
const COLUMNS: usize = 124;
const ROWS: usize = 60;

/// Size of a character cell, margin and height of the bar above, in pixels.
const CELL: (f64, f64) = (7.8, 17.0);
const MARGIN: f64 = 14.0;
const BAR: f64 = 34.0;

/// Builds the agent, replays its demo, and writes `docs/demo.svg`.
///
/// # Errors
/// The demo failed.
pub(crate) fn main() -> Result<()> {
    let mut build = Command::new(workspace::cargo());
    build.current_dir(workspace::root());
    // With the features that the tests build, or all dependencies would be built twice.
    run(build.args(["build", "--locked", "--workspace", "--bin", "remora"]))?;
    let program = workspace::target().join("debug/remora");
    let lines = capture(&format!("{} demo --replay", program.display()))?;
    let path = workspace::root().join("docs/demo.svg");
    fs::create_dir_all(workspace::root().join("docs"))?;
    fs::write(&path, svg("sudo remora demo", &lines))?;
    println!("{}: {} lines", workspace::relative(&path), lines.len());
    Ok(())
}

/// Runs a shell command in a terminal and returns what it wrote there.
fn capture(command: &str) -> Result<Vec<String>> {
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
    for line in BufReader::new(output).lines() {
        lines.push(line?.trim_end_matches('\r').to_owned());
    }
    let status = child.wait()?;
    ensure!(status.success(), "{} ended with {status}", shown(&script));
    ensure!(!lines.is_empty(), "the command wrote nothing");
    Ok(lines)
}

/// Draws a terminal in which `command` was typed and wrote `lines`.
fn svg(command: &str, lines: &[String]) -> String {
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
    let typed = format!("\x1b[2m$\x1b[0m \x1b[1m{command}\x1b[0m");
    for (row, line) in [&typed].into_iter().chain(lines).enumerate() {
        let y = BAR + CELL.1 * (row as f64 + 0.8);
        for run in runs(line) {
            let x = MARGIN + CELL.0 * run.column as f64;
            // As long as its cells, whichever font the viewer has.
            let length = CELL.0 * run.text.chars().count() as f64;
            let class = match run.class {
                "" => String::new(),
                class => format!(" class=\"{class}\""),
            };
            let text = escaped(&run.text);
            let _ = writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{y:.1}\"{class} textLength=\"{length:.1}\">{text}</text>"
            );
        }
    }
    svg + "</svg>\n"
}

const STYLE: &str = "\
text { font: 13px ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace; fill: #d7dae0; }
.dim { fill: #7d8590; } .bold { font-weight: bold; fill: #fff; } .red { fill: #ff7b72; }
.green { fill: #7ee787; } .yellow { fill: #e3b341; } .cyan { fill: #79c0ff; }
";

/// Cells of one colour, without two spaces in a row and none at either end.
#[derive(PartialEq, Eq, Debug)]
struct Run {
    column: usize,
    class: &'static str,
    text: String,
}

/// The runs of a line, with the class of their colour, from the `SGR` sequences in it
/// (ECMA-48, 8.3.117). Other sequences are left out.
fn runs(line: &str) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let (mut class, mut column) = ("", 0);
    let mut chars = line.chars();
    while let Some(next) = chars.next() {
        if next == '\x1b' {
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
            continue;
        }
        match runs.last_mut() {
            _ if next == ' ' => {}
            Some(run)
                if run.class == class && column <= run.column + run.text.chars().count() + 1 =>
            {
                if column > run.column + run.text.chars().count() {
                    run.text.push(' ');
                }
                run.text.push(next);
            }
            _ => runs.push(Run {
                column,
                class,
                text: next.to_string(),
            }),
        }
        column += 1;
    }
    runs
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_have_their_columns_and_markup_stays_text() {
        let run = |column, class, text: &str| Run {
            column,
            class,
            text: text.to_owned(),
        };
        assert_eq!(
            runs("a b  c\x1b[32m   200\x1b[0m <b>\x1b[2m&"),
            [
                run(0, "", "a b"),
                run(5, "", "c"),
                run(9, "green", "200"),
                run(13, "", "<b>"),
                run(16, "dim", "&"),
            ]
        );
        let svg = svg("x", &["  \x1b[31m<&>".to_owned()]);
        assert!(
            svg.contains(
                "<text x=\"29.6\" y=\"64.6\" class=\"red\" textLength=\"23.4\">&lt;&amp;></text>"
            ),
            "{svg}"
        );
    }

    #[test]
    fn what_a_terminal_shows_is_captured() {
        let lines = capture("sh -c 'tput cols; [ -t 1 ] && echo terminal'").unwrap();
        assert_eq!(lines, [&COLUMNS.to_string(), "terminal"]);
        assert!(capture("false").is_err());
    }
}
