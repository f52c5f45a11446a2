//! Rows of Go's code, from the table that its own runtime walks stacks by. Go's frames
//! are found by the stack pointer; only functions that need a frame keep the chain of
//! frame pointers, so the caller of one that does not would be missed by following it.
//!
//! Some functions go over to the stack of the scheduler (`runtime.systemstack`, calls of C
//! and of the vDSO). What they do to the stack pointer is in their code, and so is where the
//! runtime keeps the goroutine's (`runtime.systemstack` loads it when it goes back): these
//! places differ between versions, and stripped binaries name none of them.

mod switch;

use std::fs::File;

use remora_common::profile::{Goroutine, Rule, cfa, rbp, rule_flags};

use super::{Rows, Rules};
use crate::profile::process::elf::Elf;
use crate::profile::process::gopclntab::{Function, Table};
use switch::{Stack, Switch};

/// Where signal handlers return to.
const SIGNAL_RETURN: [&str; 2] = ["runtime.sigreturn", "runtime.sigreturn__sigaction"];
/// Loads the goroutine's stack pointer, once it has called what it was asked to.
const SYSTEM_STACK: &str = "runtime.systemstack";
/// Longest function that changes stacks which is looked at, bytes: they are small.
const MAX_SWITCH: u64 = 16 << 10;

/// The binary's file.
#[derive(Clone, Copy)]
pub(super) struct Code<'a> {
    pub(super) file: &'a File,
    pub(super) elf: &'a Elf,
}

impl Code<'_> {
    fn of(self, function: &Function<'_>) -> Vec<u8> {
        if function.end - function.begin > MAX_SWITCH {
            return Vec::new();
        }
        let range = function.begin..function.end;
        self.elf.code_bytes(self.file, range).unwrap_or_default()
    }
}

/// Adds the rows of Go functions; returns how many functions.
pub(super) fn functions(
    table: Table<'_>,
    code: Code<'_>,
    rules: &mut Rules,
    rows: &mut Rows,
) -> u64 {
    let (base, end) = (code.elf.base(), code.elf.end());
    let inside = |function: &Function<'_>| {
        function.begin >= base && function.end <= end && function.end > function.begin
    };
    let goroutine = table
        .functions()
        .filter(inside)
        .filter(|function| function.switches && function.name == SYSTEM_STACK)
        .find_map(|function| switch::goroutine(&code.of(&function), function.begin));
    let mut count = 0;
    for function in table.functions() {
        if !inside(&function) {
            continue;
        }
        let relative = |address: u64| u32::try_from(address - base).ok();
        let (Some(begin), Some(behind)) = (relative(function.begin), relative(function.end)) else {
            break;
        };
        count += 1;
        let mut add = |address: u64, rule: Rule| {
            relative(address).is_some_and(|address| rows.push(address, rules.number(rule)))
        };
        let room = if SIGNAL_RETURN.contains(&function.name) {
            // Handlers return to its first instruction, and are looked up one byte before.
            let before = u64::from(begin.saturating_sub(1)) + base;
            add(before, Rule::plain(cfa::SIGNAL))
        } else if function.top {
            add(function.begin, Rule::plain(cfa::ROOT))
        } else {
            let depths: Vec<_> = table.stack_depths(function).collect();
            let rows = if function.switches {
                let switch = Switch::read(&code.of(&function), function.begin);
                switching(&function, &switch, &depths, goroutine)
            } else {
                depths
                    .iter()
                    .map(|(at, depth)| (*at, rule(*depth)))
                    .collect()
            };
            rows.into_iter().all(|(address, rule)| add(address, rule))
        };
        if !room || !rows.end(behind) {
            break;
        }
    }
    count
}

/// Rows of a function that changes stacks.
fn switching(
    function: &Function<'_>,
    switch: &Switch,
    depths: &[(u64, i32)],
    goroutine: Option<Goroutine>,
) -> Vec<(u64, Rule)> {
    let depth_at = |address: u64| {
        let behind = depths.partition_point(|(begin, _)| *begin <= address);
        behind.checked_sub(1).map_or(0, |at| depths[at].1)
    };
    let mut out = Vec::new();
    for (at, stack) in &switch.stacks {
        let end = switch.end_of(*at, function.end);
        match *stack {
            Stack::Own => {
                out.push((*at, rule(depth_at(*at))));
                let inside = depths
                    .iter()
                    .filter(|(begin, _)| (*at + 1..end).contains(begin));
                out.extend(inside.map(|(begin, depth)| (*begin, rule(*depth))));
            }
            Stack::Other { left } => {
                out.push((*at, other_stack(function.name, depth_at(left), goroutine)));
            }
            Stack::Saved { at: offset, left } => {
                let depth = depth_at(left);
                out.push((
                    *at,
                    Rule {
                        offset,
                        add: depth.saturating_add(8),
                        ..Rule {
                            cfa: cfa::RSP_DEREF,
                            ..rule(depth)
                        }
                    },
                ));
            }
        }
    }
    out
}

/// How to leave the other stack for the one that a function left at `depth`.
fn other_stack(name: &str, depth: i32, goroutine: Option<Goroutine>) -> Rule {
    let above = |bytes: i32| u16::try_from(bytes).ok();
    match (name, goroutine) {
        // As Go's own tracebacks have it (`topofstack` in `runtime/traceback.go`): what it
        // calls goes on with another goroutine.
        ("runtime.mcall", _) => Rule::plain(cfa::ROOT),
        // The goroutine's stack is full, and its function goes on once it has a larger one. Its
        // stack pointer is kept as if `morestack` had returned.
        ("runtime.morestack", Some(goroutine)) => Rule {
            flags: rule_flags::OR_ROOT,
            ..goroutine.rule(0)
        },
        ("runtime.morestack", None) => Rule::plain(cfa::ROOT),
        // Both keep their own stack pointer as that of the goroutine.
        (SYSTEM_STACK | "runtime.asmcgocall", Some(goroutine)) if above(depth + 8).is_some() => {
            Rule {
                rbp: if depth > 0 { rbp::CFA } else { rbp::SAME },
                ..goroutine.rule(above(depth + 8).unwrap_or(8))
            }
        }
        // The frame pointer still is that of the stack that was left.
        _ => Rule::plain(cfa::OTHER_STACK),
    }
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
