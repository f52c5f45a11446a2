//! Rows of Go's code, from the table that its own runtime walks stacks by. Go's frames
//! are found by the stack pointer; only functions that need a frame keep the chain of
//! frame pointers, so the caller of one that does not would be missed by following it.

use remora_common::profile::{Rule, cfa, rbp};

use super::{Rows, Rules};
use crate::profile::process::gopclntab::Table;

/// Where signal handlers return to.
const SIGNAL_RETURN: [&str; 2] = ["runtime.sigreturn", "runtime.sigreturn__sigaction"];

/// Adds the rows of Go functions between `base` and `end`; returns how many functions.
pub(super) fn functions(
    table: Table<'_>,
    base: u64,
    end: u64,
    rules: &mut Rules,
    rows: &mut Rows,
) -> u64 {
    let mut count = 0;
    for function in table.functions() {
        if function.begin < base || function.end > end || function.end <= function.begin {
            continue;
        }
        let relative = |address: u64| u32::try_from(address - base).ok();
        let (Some(begin), Some(behind)) = (relative(function.begin), relative(function.end)) else {
            break;
        };
        count += 1;
        let whole = if SIGNAL_RETURN.contains(&function.name) {
            // Handlers return to its first instruction, and are looked up one byte before.
            let rule = rules.number(Rule::plain(cfa::SIGNAL));
            rows.push(begin.saturating_sub(1), rule);
            Some(cfa::SIGNAL)
        } else if function.top {
            Some(cfa::ROOT)
        } else if function.switches {
            // It left the goroutine's stack; the chain of frame pointers leads back.
            Some(cfa::FRAME_POINTER)
        } else {
            None
        };
        let room = match whole {
            Some(kind) => rows.push(begin, rules.number(Rule::plain(kind))),
            None => table.stack_depths(function).all(|(address, depth)| {
                let rule = rules.number(rule(depth));
                relative(address).is_some_and(|address| rows.push(address, rule))
            }),
        };
        if !room || !rows.end(behind) {
            break;
        }
    }
    count
}

fn rule(depth: i32) -> Rule {
    Rule {
        offset: depth.saturating_add(8),
        // A function with a frame saves the frame pointer next to the return address.
        rbp: if depth > 0 { rbp::CFA } else { rbp::SAME },
        rbp_offset: if depth > 0 { -16 } else { 0 },
        ..Rule::plain(cfa::RSP)
    }
}
