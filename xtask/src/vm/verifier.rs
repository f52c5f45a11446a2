//! The committed table of verifier work per program and kernel.
//!
//! Verified instructions decide whether a program loads (the limit is one million)
//! and how long loading takes; they differ widely between kernels.

use super::qemu::Run;
use crate::workspace;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

/// Growth beyond this is a failure, percent.
const TOLERANCE: u64 = 20;

/// Verified instructions by program, then by kernel series.
pub(crate) type Table = BTreeMap<String, BTreeMap<String, u64>>;

/// Reads what `remora debug verifier` printed in the machine.
///
/// # Errors
/// The command failed, or printed something else.
pub(crate) fn read(run: &Run) -> Result<BTreeMap<String, u64>> {
    anyhow::ensure!(
        run.value("verifier-exit") == Some("0"),
        "`remora debug verifier` failed: {}",
        run.section("verifier").join(" ")
    );
    let mut programs = BTreeMap::new();
    for line in run.section("verifier") {
        let value: Value =
            serde_json::from_str(line).with_context(|| format!("not a JSON line: {line}"))?;
        let name = value["program"]
            .as_str()
            .with_context(|| format!("no program: {line}"))?;
        // Before Linux 5.16 the kernel does not tell, and the verifier's log is read for the
        // tracing programs only.
        let Some(insns) = value["verified_insns"].as_u64() else {
            continue;
        };
        programs.insert(name.to_owned(), insns);
    }
    anyhow::ensure!(
        !programs.is_empty(),
        "`remora debug verifier` named no program"
    );
    Ok(programs)
}

/// What is missing or worse in `now`, for one kernel.
pub(crate) fn compare(table: &Table, series: &str, now: &BTreeMap<String, u64>) -> Vec<String> {
    let mut problems = Vec::new();
    for (program, kernels) in table {
        if kernels.contains_key(series) && !now.contains_key(program) {
            problems.push(format!("{program} did not load"));
        }
    }
    for (program, &insns) in now {
        match table.get(program).and_then(|kernels| kernels.get(series)) {
            Some(&recorded) if insns * 100 > recorded * (100 + TOLERANCE) => problems.push(
                format!("{program}: {insns} verified instructions, {recorded} recorded"),
            ),
            Some(_) => {}
            None => problems.push(format!(
                "{program} is not in the table (--update writes it)"
            )),
        }
    }
    problems
}

/// Replaces the column of one kernel; programs that no kernel loads any more go.
pub(crate) fn replace(table: &mut Table, series: &str, now: BTreeMap<String, u64>) {
    for kernels in table.values_mut() {
        kernels.remove(series);
    }
    for (program, insns) in now {
        table
            .entry(program)
            .or_default()
            .insert(series.to_owned(), insns);
    }
    table.retain(|_, kernels| !kernels.is_empty());
}

fn path() -> PathBuf {
    workspace::root().join("agent/ebpf/VERIFIER.md")
}

/// Reads the committed table; empty if there is none.
pub(crate) fn load() -> Table {
    fs::read_to_string(path())
        .map(|text| parse(&text))
        .unwrap_or_default()
}

/// Replaces the committed table.
pub(crate) fn store(table: &Table, series: &[&str]) -> Result<()> {
    fs::write(path(), render(table, series)).context("cannot write VERIFIER.md")
}

fn render(table: &Table, series: &[&str]) -> String {
    let mut text = String::from(
        "# Verifier instruction counts\n\n\
         Instructions the kernel's verifier walked through to accept each program; the limit\n\
         is 1,000,000. Written by `cargo xtask test-vm --update`; `cargo xtask test-vm` fails\n\
         when a program is missing or more than 20 % worse.\n\n",
    );
    let _ = writeln!(text, "| program | {} |", series.join(" | "));
    let _ = writeln!(text, "|---|{}", "---:|".repeat(series.len()));
    for (program, kernels) in table {
        let cell = |name: &&str| kernels.get(*name).map_or("–".to_owned(), u64::to_string);
        let cells: Vec<String> = series.iter().map(cell).collect();
        let _ = writeln!(text, "| {program} | {} |", cells.join(" | "));
    }
    text
}

fn parse(text: &str) -> Table {
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().to_owned())
            .collect()
    };
    let mut rows = text.lines().filter(|line| line.starts_with('|')).map(cells);
    let header = rows.next().unwrap_or_default();
    let mut table = Table::new();
    for row in rows.skip(1) {
        let mut kernels = BTreeMap::new();
        for (series, cell) in header.iter().zip(&row).skip(1) {
            if let Ok(insns) = cell.parse() {
                kernels.insert(series.clone(), insns);
            }
        }
        table.insert(row[0].clone(), kernels);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[(&str, u64)]) -> BTreeMap<String, u64> {
        cells
            .iter()
            .map(|(name, insns)| ((*name).to_owned(), *insns))
            .collect()
    }

    #[test]
    fn reads_back_the_table_it_writes() {
        let mut table = Table::new();
        table.insert(
            "sys_enter".to_owned(),
            row(&[("5.10", 4200), ("7.2", 3100)]),
        );
        table.insert("exec".to_owned(), row(&[("7.2", 90)]));
        assert_eq!(parse(&render(&table, &["5.10", "6.1", "7.2"])), table);
    }

    #[test]
    fn a_new_column_replaces_the_old_one() {
        let mut table: Table = [
            ("kept".to_owned(), row(&[("6.1", 100), ("7.2", 50)])),
            ("gone".to_owned(), row(&[("6.1", 100)])),
        ]
        .into();
        replace(&mut table, "6.1", row(&[("kept", 90), ("new", 10)]));
        assert_eq!(table["kept"], row(&[("6.1", 90), ("7.2", 50)]));
        assert_eq!(table["new"], row(&[("6.1", 10)]));
        assert!(!table.contains_key("gone"));
    }

    #[test]
    fn growth_beyond_the_tolerance_and_missing_programs_are_problems() {
        let table: Table = [
            ("a".to_owned(), row(&[("6.1", 100)])),
            ("b".to_owned(), row(&[("6.1", 100)])),
            ("elsewhere".to_owned(), row(&[("7.2", 100)])),
        ]
        .into();
        assert!(compare(&table, "6.1", &row(&[("a", 120), ("b", 10)])).is_empty());
        assert_eq!(
            compare(&table, "6.1", &row(&[("a", 121), ("b", 100)])).len(),
            1
        );
        assert_eq!(
            compare(&table, "6.1", &row(&[("a", 100)])),
            ["b did not load"]
        );
        assert_eq!(
            compare(&table, "6.1", &row(&[("a", 1), ("b", 1), ("new", 1)])).len(),
            1
        );
    }
}
