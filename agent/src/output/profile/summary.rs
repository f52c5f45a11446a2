//! The end of a profile, for people: where every sample went, and how well stacks were
//! followed.

use crate::model::text::cell::Cell;
use crate::output::screen::{Colour, Screen};
use crate::profile::model::{Ledger, Loss, Process, Profile, Unwinding};

/// Processes that are named.
const PROCESSES: usize = 10;
/// CPUs that are named.
const CPUS: usize = 16;

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
    if ledger.seen == 0 {
        lines.push("nothing that was asked for ran on a CPU in this time".to_owned());
    }
    lines.extend(processes(profile));
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
    if let Some(losses) = losses(ledger) {
        line.push_str(&format!(" ({red}{losses}{plain})"));
    }
    if !ledger.balanced() {
        line.push_str(&format!(
            ", {red}which does not add up: please report this{plain}"
        ));
    }
    line
}

/// Why samples were lost, and on which CPUs; nothing if none was.
#[must_use]
pub fn losses(ledger: &Ledger) -> Option<String> {
    let counted = Loss::ALL.into_iter().zip(ledger.lost);
    let reasons: Vec<String> = counted
        .filter(|(_, count)| *count > 0)
        .map(|(loss, count)| format!("{} {count}", loss.name()))
        .collect();
    let mut cpus: Vec<(usize, u64)> = ledger.lost_per_cpu.iter().copied().enumerate().collect();
    cpus.retain(|(_, count)| *count > 0);
    if reasons.is_empty() {
        return None;
    }
    let mut text = reasons.join(", ");
    if !cpus.is_empty() {
        // Those with the most losses, in the order of their numbers.
        cpus.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let rest = cpus.split_off(CPUS.min(cpus.len()));
        cpus.sort_unstable();
        let named = cpus
            .iter()
            .map(|(cpu, count)| format!("CPU {cpu}: {count}"));
        let named: Vec<String> = named.collect();
        text.push_str(&format!("; in the kernel on {}", named.join(", ")));
        if !rest.is_empty() {
            let count: u64 = rest.iter().map(|(_, count)| count).sum();
            text.push_str(&format!(", {} more CPUs: {count}", rest.len()));
        }
    }
    Some(text)
}

/// The processes that lost the most samples, and how many; nothing if none is known.
#[must_use]
pub fn losers(profile: &Profile) -> Option<String> {
    let mut processes: Vec<&Process> = profile.processes.iter().collect();
    processes.retain(|process| process.lost > 0);
    processes.sort_by_key(|process| std::cmp::Reverse(process.lost));
    let named = processes.iter().take(PROCESSES);
    let named: Vec<String> = named
        .map(|process| format!("{}: {}", who(process), process.lost))
        .collect();
    (!named.is_empty()).then(|| named.join(", "))
}

/// Processes, most samples first: how many stacks reach their root, how many samples were
/// lost.
fn processes(profile: &Profile) -> Vec<String> {
    let mut processes: Vec<&Process> = profile.processes.iter().collect();
    processes.retain(|process| process.unwinding.total() + process.lost > 0);
    processes.sort_by_key(|it| std::cmp::Reverse((it.unwinding.total(), it.lost)));
    let mut lines = Vec::new();
    if !processes.is_empty() {
        lines.push("stacks that reach their root, by process:".to_owned());
    }
    lines.extend(processes.iter().take(PROCESSES).map(|p| process(p)));
    if let Some(rest) = processes.get(PROCESSES..).filter(|rest| !rest.is_empty()) {
        let mut sum = Unwinding::default();
        rest.iter()
            .for_each(|process| sum.merge(&process.unwinding));
        let lost: u64 = rest.iter().map(|process| process.lost).sum();
        let whose = format!("{} more processes", rest.len());
        lines.push(counts(&sum, lost, &whose));
    }
    let named: u64 = processes.iter().map(|process| process.lost).sum();
    let nameless = profile.ledger.lost().saturating_sub(named);
    if nameless > 0 {
        lines.push(format!("  {nameless} lost of processes that are not known"));
    }
    lines
}

fn process(process: &Process) -> String {
    let mut line = counts(&process.unwinding, process.lost, &who(process));
    let reasons = process.unwinding.reasons();
    let reasons: Vec<String> = reasons
        .map(|(stop, count)| format!("{} {count}", stop.name()))
        .collect();
    if !reasons.is_empty() {
        line.push_str(": ");
        line.push_str(&reasons.join(", "));
    }
    line
}

fn counts(unwinding: &Unwinding, lost: u64, whose: &str) -> String {
    let share = match unwinding.success() {
        Some(share) => format!("{:>5.1}%", 100.0 * share),
        None => "     -".to_owned(),
    };
    format!(
        "  {share}  {} of {}, {lost} lost  {whose}",
        unwinding.complete,
        unwinding.total()
    )
}

/// Name and id; a process that ended before anything was known of it has only an id.
fn who(process: &Process) -> String {
    match process.info.comm.as_str() {
        "" => format!("process {}", process.info.tgid),
        comm => format!(
            "{} ({})",
            Cell::left(comm, 16).unpadded(),
            process.info.tgid
        ),
    }
}
