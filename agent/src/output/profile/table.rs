//! The functions with the most CPU time, for people.

use super::By;
use super::diff::Compared;
use super::frames;
use crate::model::text::cell::Cell;
use crate::model::text::duration::ShortDuration;
use crate::output::screen::{Colour, Screen};
use crate::profile::model::{Event, Kind, Profile};
use rustc_hash::{FxHashMap, FxHashSet};
use std::io::{self, Write};

/// Rows of a table.
const ROWS: usize = 30;
/// Columns of what is not the name.
const NUMBERS: usize = 26;
/// Columns of the file a function is in.
const MODULE: usize = 24;

/// Samples of something.
#[derive(Clone, Copy, Default)]
struct Count {
    own: u64,
    total: u64,
}

/// Writes groups, if asked for, and functions.
///
/// # Errors
/// Those of the writer.
pub fn write(
    out: &mut impl Write,
    profile: &Profile,
    by: Option<By>,
    screen: &Screen,
) -> io::Result<()> {
    let all = profile.count();
    if all == 0 {
        return writeln!(out, "no samples: nothing ran on a CPU");
    }
    if let Some(by) = by {
        groups(out, profile, by, screen)?;
        writeln!(out)?;
    }
    let functions = functions(profile);
    let (name, module) = widths(screen);
    let (bold, dim, plain) = paints(screen);
    writeln!(
        out,
        "{bold}{:>7} {:>7} {:>7}  {}{}{plain}",
        "SELF",
        "TOTAL",
        quantity(profile),
        Cell::left("FUNCTION", name),
        if module > 0 { " IN" } else { "" },
    )?;
    for (function, count) in functions.iter().take(ROWS) {
        writeln!(
            out,
            "{:>6.2}% {:>6.2}% {:>7}  {}{dim}{}{}{plain}",
            percent(count.own, all),
            percent(count.total, all),
            amount(profile, count.own),
            Cell::middle(&function.0, name),
            if module > 0 { " " } else { "" },
            Cell::left(function.1, module).unpadded(),
        )?;
    }
    more(out, functions.len(), "functions", screen)
}

/// Writes what changed between two profiles.
///
/// # Errors
/// Those of the writer.
pub fn write_diff(out: &mut impl Write, compared: &Compared, screen: &Screen) -> io::Result<()> {
    let changes = compared.changes();
    let room = screen.columns().unwrap_or(128);
    let (bold, _, plain) = paints(screen);
    writeln!(
        out,
        "shares of the CPU time; {} samples before, {} now",
        compared.old().unwrap_or(0),
        compared.new_total()
    )?;
    writeln!(
        out,
        "{bold}{:>8} {:>7} {:>7} {:>7}  FUNCTION{plain}",
        "CHANGE", "BEFORE", "NOW", "TOTAL"
    )?;
    for change in changes.iter().take(ROWS) {
        let [before, now] = change.own.map(|share| 100.0 * share);
        let colour = match now - before {
            delta if delta >= 0.1 => screen.paint(Colour::Red),
            delta if delta <= -0.1 => screen.paint(Colour::Green),
            _ => "",
        };
        writeln!(
            out,
            "{colour}{:>+7.2}%{plain} {before:>6.2}% {now:>6.2}% {:>+6.2}%  {}",
            now - before,
            100.0 * (change.total[1] - change.total[0]),
            Cell::middle(&change.name.text, room.saturating_sub(34).max(1)).unpadded(),
        )?;
    }
    more(out, changes.len(), "functions", screen)
}

fn groups(out: &mut impl Write, profile: &Profile, by: By, screen: &Screen) -> io::Result<()> {
    let mut counts: FxHashMap<String, u64> = FxHashMap::default();
    for sample in &profile.samples {
        *counts
            .entry(frames::group(profile, sample, by))
            .or_default() += sample.count;
    }
    let mut groups: Vec<_> = counts.into_iter().collect();
    groups.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let (bold, _, plain) = paints(screen);
    let all = profile.count();
    writeln!(
        out,
        "{bold}{:>7} {:>7} {:>7}  {}{plain}",
        "SHARE",
        "SAMPLES",
        quantity(profile),
        by.name().to_uppercase()
    )?;
    let room = screen.columns().unwrap_or(120);
    for (group, count) in groups.iter().take(ROWS) {
        writeln!(
            out,
            "{:>6.2}% {count:>7} {:>7}  {}",
            percent(*count, all),
            amount(profile, *count),
            Cell::middle(group, room.saturating_sub(NUMBERS).max(1)).unpadded(),
        )?;
    }
    more(out, groups.len(), "groups", screen)
}

/// What samples are of.
fn quantity(profile: &Profile) -> &'static str {
    match profile.event {
        Event::CpuClock => "CPU",
        Event::Cycles { .. } => "CYCLES",
    }
}

/// How much of it some samples are, in at most seven columns.
fn amount(profile: &Profile, samples: u64) -> String {
    match profile.cpu_ns(samples) {
        Some(ns) => ShortDuration(ns).to_string(),
        None => short(profile.value(samples)),
    }
}

/// A large number with three digits.
fn short(number: u64) -> String {
    let mut value = as_float(number);
    for unit in ["", "k", "M", "G", "T", "P"] {
        if value < 999.5 {
            let decimals = match value {
                value if unit.is_empty() || value >= 99.95 => 0,
                value if value >= 9.995 => 1,
                _ => 2,
            };
            return format!("{value:.decimals$}{unit}");
        }
        value /= 1_000.0;
    }
    format!("{value:.0}E")
}

#[expect(clippy::cast_precision_loss, reason = "a number for people")]
fn as_float(number: u64) -> f64 {
    number as f64
}

/// Functions with the file they are in, most own samples first.
fn functions(profile: &Profile) -> Vec<((String, &str), Count)> {
    let mut counts: FxHashMap<(String, &str), Count> = FxHashMap::default();
    let mut seen = FxHashSet::default();
    for sample in &profile.samples {
        seen.clear();
        let mut leaf = None;
        for frame in frames::of_sample(profile, sample) {
            let module = match frame.location.kind {
                Kind::Kernel => "[kernel]",
                Kind::Jit => "[jit]",
                _ => frame.module(profile),
            };
            let key = (frame.name(profile).into_owned(), module);
            // Recursion does not count twice.
            if seen.insert(key.clone()) {
                counts.entry(key.clone()).or_default().total += sample.count;
            }
            leaf = Some(key);
        }
        if let Some(leaf) = leaf {
            counts.entry(leaf).or_default().own += sample.count;
        }
    }
    let mut functions: Vec<_> = counts.into_iter().collect();
    functions.sort_by(|(a, x), (b, y)| (y.own, y.total, a).cmp(&(x.own, x.total, b)));
    functions
}

fn more(out: &mut impl Write, len: usize, what: &str, screen: &Screen) -> io::Result<()> {
    let (_, dim, plain) = paints(screen);
    match len.checked_sub(ROWS) {
        None | Some(0) => Ok(()),
        Some(rest) => writeln!(out, "{dim}… and {rest} more {what}{plain}"),
    }
}

/// Columns of names.
/// Columns of a name, and of the file it is in: a narrow terminal does without that.
fn widths(screen: &Screen) -> (usize, usize) {
    let columns = screen.columns().unwrap_or(120);
    let module = if columns < NUMBERS + 24 + MODULE {
        0
    } else {
        MODULE
    };
    let gap = usize::from(module > 0);
    (
        columns.saturating_sub(NUMBERS + module + gap).max(1),
        module,
    )
}

fn paints(screen: &Screen) -> (&'static str, &'static str, &'static str) {
    (
        screen.paint(Colour::Bold),
        screen.paint(Colour::Dim),
        screen.plain(),
    )
}

fn percent(part: u64, all: u64) -> f64 {
    100.0 * as_float(part) / as_float(all.max(1))
}
