//! Folded stacks: one line a stack, root first, frames separated by `;`, then the
//! number of samples. What `flamegraph.pl` and its relatives read.

use super::collapse::{Collapsed, Name};
use super::diff::Compared;
use super::frames::mark;
use std::collections::BTreeMap;
use std::io::{self, Write};

/// Writes the stacks, sorted.
///
/// # Errors
/// Those of the writer.
pub fn write(out: &mut impl Write, stacks: &Collapsed) -> io::Result<()> {
    let mut lines = BTreeMap::new();
    for (stack, count) in stacks.stacks() {
        let sum: &mut u64 = lines.entry(line(stack, |id| stacks.text(id))).or_default();
        *sum = sum.saturating_add(count);
    }
    for (line, count) in lines {
        writeln!(out, "{line} {count}")?;
    }
    Ok(())
}

/// Writes two numbers behind each stack: samples before, scaled to as many as there
/// are now, and samples now. What `difffolded.pl -n` writes.
///
/// # Errors
/// Those of the writer.
pub fn write_diff(out: &mut impl Write, compared: &Compared) -> io::Result<()> {
    let mut lines = BTreeMap::new();
    for (stack, [old, new]) in compared.stacks() {
        let sum: &mut [f64; 2] = lines
            .entry(line(stack, |id| compared.text(id)))
            .or_default();
        sum[0] += old;
        sum[1] += new;
    }
    for (line, [old, new]) in lines {
        writeln!(out, "{line} {old:.0} {new:.0}")?;
    }
    Ok(())
}

fn line<'a>(stack: &[u32], name: impl Fn(u32) -> Option<&'a Name>) -> String {
    let mut line = String::new();
    for name in stack.iter().filter_map(|id| name(*id)) {
        if !line.is_empty() {
            line.push(';');
        }
        line.extend(name.text.chars().map(plain));
        line.push_str(mark(name.kind));
    }
    line
}

/// Names come from traced programs: they must not end a frame or a line.
fn plain(c: char) -> char {
    match c {
        ';' => ':',
        c if c.is_control() => ' ',
        c => c,
    }
}
