//! Rows of code that says nothing about its frames, found out from the code itself.
//!
//! musl's C library has no call frame information, nor frame pointers: of a frame in it only
//! the instructions tell how far the stack pointer is below the return address. They are
//! followed from where a function begins on every path; what is found counts only if it is
//! consistent: paths meet with equal frames, and every `ret` finds the return address.
//! Functions begin where symbols say so, where calls lead, and behind the end of others.
//!
//! Rejected: asking the stack for words that look like return addresses. Old frames leave
//! such words behind, and nothing would tell a right answer from a wrong one.

mod flow;
mod sweep;

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;

use iced_x86::{Decoder, DecoderOptions, Instruction};
use remora_common::profile::{Rule, cfa, rbp, rule_flags};

use super::rules::GAP;
use super::{Row, Rows, Rules};
use crate::profile::process::elf::Elf;
use flow::State;

/// Most bytes without rows that are looked at in a binary: musl has half a MiB of them,
/// Node 2 MiB.
const MAX_GAPS: u64 = 8 << 20;
/// Most bytes of code with rows that are searched for calls into that without.
const MAX_COVERED: u64 = 1 << 20;

/// A stretch of code without rows.
struct Gap {
    begin: u64,
    bytes: Vec<u8>,
}

impl Gap {
    fn end(&self) -> u64 {
        self.begin + self.bytes.len() as u64
    }

    fn range(&self) -> Range<u64> {
        self.begin..self.end()
    }

    /// The instruction at an address.
    fn decode(&self, address: u64) -> Option<Instruction> {
        let at = usize::try_from(address.checked_sub(self.begin)?).ok()?;
        let options = DecoderOptions::NONE;
        let mut decoder = Decoder::with_ip(64, self.bytes.get(at..)?, address, options);
        let instruction = decoder.decode();
        (!instruction.is_invalid()).then_some(instruction)
    }
}

/// Adds rows where `rows` has none; returns how many functions were understood.
pub(super) fn fill(file: &File, elf: &Elf, rules: &mut Rules, rows: &mut Rows) -> u64 {
    let base = elf.base();
    let known = std::mem::take(rows).finish();
    let gaps = gaps(file, elf, base, &known);
    let starts = sweep::starts(file, elf, &gaps, MAX_COVERED);
    *rows = Rows::sorted(known);
    let mut count = 0;
    for gap in &gaps {
        let (found, functions) = functions(gap, elf.entry, &starts);
        count += functions;
        if !write(gap, &found, base, rules, rows) {
            break;
        }
    }
    count
}

/// Code that no row describes, as far as it is looked at.
fn gaps(file: &File, elf: &Elf, base: u64, known: &[Row]) -> Vec<Gap> {
    let mut out = Vec::new();
    let mut room = MAX_GAPS;
    for code in elf.code() {
        for range in uncovered(code, base, known) {
            let len = range.end - range.start;
            if len > room {
                return out;
            }
            if let Some(bytes) = elf.code_bytes(file, range.clone()) {
                room -= len;
                out.push(Gap {
                    begin: range.start,
                    bytes,
                });
            }
        }
    }
    out
}

/// The parts of `code` that have no rule.
fn uncovered(code: Range<u64>, base: u64, known: &[Row]) -> Vec<Range<u64>> {
    let mut out: Vec<Range<u64>> = Vec::new();
    let mut at = code.start;
    let first = known.partition_point(|row| base + u64::from(row.address) <= code.start);
    let mut gap = first == 0 || known[first - 1].rule == GAP;
    for row in &known[first..] {
        let address = base + u64::from(row.address);
        if address >= code.end {
            break;
        }
        if gap && row.rule != GAP && address > at {
            out.push(at..address);
        }
        gap = row.rule == GAP;
        at = address;
    }
    if gap && code.end > at {
        out.push(at..code.end);
    }
    out
}

/// States by address, with the lengths of instructions.
type States = BTreeMap<u64, (State, u8)>;

/// Follows every function in a gap: what was found, and how many functions that are.
fn functions(gap: &Gap, entry: u64, starts: &[u64]) -> (States, u64) {
    let mut found = States::new();
    let known = |address: u64| starts.binary_search(&address).is_ok();
    let mut count = 0;
    let mut at = gap.begin;
    while at < gap.end() {
        if let Some((_, len)) = found.get(&at) {
            at += u64::from(*len);
            continue;
        }
        let named = known(at);
        let limit = starts.get(starts.partition_point(|start| *start <= at));
        let limit = limit.map_or(gap.end(), |limit| (*limit).min(gap.end()));
        if !named {
            let behind = padding(gap, at, limit);
            if behind > at {
                at = behind;
                continue;
            }
        }
        let begin = if at == entry {
            State::root()
        } else {
            State::called()
        };
        // What follows the end of a function may be the next one, if it is consistent.
        if let Some(states) = flow::function(gap, at..limit, begin, named, &known) {
            count += 1;
            found.extend(states);
        } else if named {
            at = limit;
        } else {
            at = flow::behind_end(gap, at, limit);
        }
    }
    (found, count)
}

/// Passes over what fills the room between functions.
fn padding(gap: &Gap, mut at: u64, limit: u64) -> u64 {
    while at < limit
        && let Some(instruction) = gap.decode(at)
        && flow::is_padding(&instruction)
    {
        at = instruction.next_ip();
    }
    at
}

/// Writes what was found as rows. `false` if there is no room.
fn write(gap: &Gap, found: &States, base: u64, rules: &mut Rules, rows: &mut Rows) -> bool {
    let relative = |address: u64| u32::try_from(address.saturating_sub(base)).ok();
    let mut end = None;
    for (address, (state, len)) in found {
        let Some(at) = relative(*address) else {
            return true;
        };
        if let Some(end) = end
            && end < at
            && !rows.end(end)
        {
            return false;
        }
        if !rows.push(at, rules.number(rule(state))) {
            return false;
        }
        end = Some(at + u32::from(*len));
    }
    if let Some(end) = end
        && !rows.end(end)
    {
        return false;
    }
    for at in sweep::signal_returns(&gap.bytes) {
        let begin = gap.begin + at.start as u64;
        // Handlers return to its first instruction, and are looked up one byte before.
        let (Some(begin), Some(behind)) = (
            relative(begin).map(|begin| begin.saturating_sub(1)),
            relative(gap.begin + at.end as u64),
        ) else {
            return true;
        };
        let rule = rules.number(Rule::plain(cfa::SIGNAL));
        if !(rows.push(begin, rule) && rows.end(behind)) {
            return false;
        }
    }
    true
}

fn rule(state: &State) -> Rule {
    if state.root {
        return Rule::plain(cfa::ROOT);
    }
    let (kind, offset) = match (state.depth, state.frame) {
        (Some(depth), _) => (cfa::RSP, depth),
        (None, Some(frame)) => (cfa::RBP, frame),
        (None, None) => return Rule::plain(cfa::GUESS),
    };
    Rule {
        offset,
        flags: rule_flags::INFERRED,
        rbp: state.saved.map_or(rbp::SAME, |_| rbp::CFA),
        rbp_offset: state.saved.map_or(0, |saved| -saved),
        ..Rule::plain(kind)
    }
}
