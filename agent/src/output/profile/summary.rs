//! The end of a profile, for people: where every sample went, and how well stacks were
//! followed.

use crate::output::screen::{Colour, Screen};
use crate::profile::model::{Loss, Process, Profile};
use crate::text::cell::Cell;

/// Processes that are named.
const PROCESSES: usize = 10;

/// Lines without line ends.
#[must_use]
pub fn lines(profile: &Profile, screen: &Screen) -> Vec<String> {
    let mut lines = vec![ledger(profile, screen)];
    let ledger = &profile.ledger;
    if ledger.tagged > 0 {
        lines.push(format!(
            "{} of them in requests, {} outside of any that is known",
            ledger.tagged, ledger.untagged
        ));
    }
    lines.extend(unwinding(profile));
    lines
}

fn ledger(profile: &Profile, screen: &Screen) -> String {
    let (bold, red, plain) = (
        screen.paint(Colour::Bold),
        screen.paint(Colour::Red),
        screen.plain(),
    );
    let ledger = &profile.ledger;
    let mut line = format!(
        "{bold}{} samples = {} in the profile + {} lost{plain}",
        ledger.seen,
        ledger.emitted,
        ledger.lost()
    );
    let reasons: Vec<String> = Loss::ALL
        .into_iter()
        .zip(ledger.lost)
        .filter(|(_, count)| *count > 0)
        .map(|(loss, count)| format!("{} {count}", loss.name()))
        .collect();
    if !reasons.is_empty() {
        line.push_str(&format!(" ({red}{}{plain})", reasons.join(", ")));
    }
    let cpus: Vec<String> = (0..)
        .zip(&ledger.lost_per_cpu)
        .filter(|(_, count)| **count > 0)
        .map(|(cpu, count): (u32, _)| format!("CPU {cpu}: {count}"))
        .collect();
    if !cpus.is_empty() {
        line.push_str(&format!("; lost in the kernel by {}", cpus.join(", ")));
    }
    if !ledger.balanced() {
        line.push_str(&format!(
            ", {red}which does not add up: please report this{plain}"
        ));
    }
    line
}

/// Processes, most samples first: how many stacks reach their root.
fn unwinding(profile: &Profile) -> Vec<String> {
    let mut processes: Vec<&Process> = profile.processes.iter().collect();
    processes.retain(|process| process.unwinding.total() + process.lost > 0);
    processes.sort_by_key(|process| std::cmp::Reverse(process.unwinding.total()));
    if processes.is_empty() {
        return Vec::new();
    }
    let mut lines = vec!["stacks that reach their root:".to_owned()];
    lines.extend(processes.iter().take(PROCESSES).map(|p| process(p)));
    if let Some(rest) = processes.get(PROCESSES..).filter(|rest| !rest.is_empty()) {
        let mut sum = crate::profile::model::Unwinding::default();
        rest.iter()
            .for_each(|process| sum.merge(&process.unwinding));
        let share = 100.0 * sum.success().unwrap_or(0.0);
        lines.push(format!(
            "  {share:>5.1}%  {} of {}  in {} more processes",
            sum.complete,
            sum.total(),
            rest.len()
        ));
    }
    lines
}

fn process(process: &Process) -> String {
    let unwinding = &process.unwinding;
    let share = 100.0 * unwinding.success().unwrap_or(0.0);
    let mut line = format!(
        "  {share:>5.1}%  {} of {}  {} ({})",
        unwinding.complete,
        unwinding.total(),
        Cell::left(&process.info.comm, 16).unpadded(),
        process.info.tgid
    );
    let mut notes: Vec<String> = unwinding
        .reasons()
        .map(|(stop, count)| format!("{} {count}", stop.name()))
        .collect();
    if process.lost > 0 {
        notes.push(format!("lost {}", process.lost));
    }
    if !notes.is_empty() {
        line.push_str(": ");
        line.push_str(&notes.join(", "));
    }
    line
}
