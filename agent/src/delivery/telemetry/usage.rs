//! What the agent itself costs, from procfs (proc(5)).

#![allow(unsafe_code, reason = "calls the C library")]

use std::fs;
use std::time::Duration;

/// Resources used by this process.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct Usage {
    /// CPU time of all threads since the start, user and system.
    pub cpu: Duration,
    /// Resident memory, bytes.
    pub rss: u64,
    /// Highest resident memory so far, bytes.
    pub rss_peak: u64,
    /// Threads.
    pub threads: u64,
}

impl Usage {
    /// Reads `/proc/self`. `None` if procfs is not there.
    #[must_use]
    pub fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let status = fs::read_to_string("/proc/self/status").ok()?;
        // SAFETY: sysconf reads a constant of the system; it has no preconditions.
        let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
        parse(&stat, &status, u64::try_from(ticks).ok()?)
    }
}

fn parse(stat: &str, status: &str, ticks_per_second: u64) -> Option<Usage> {
    // The command name may hold anything, also spaces and parentheses: count behind it.
    let (_, fields) = stat.rsplit_once(')')?;
    let field = |number: usize| fields.split_whitespace().nth(number)?.parse::<u64>().ok();
    let ticks = field(11)?.checked_add(field(12)?)?;
    let line = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name))?;
        value
            .trim_start_matches(':')
            .split_whitespace()
            .next()?
            .parse::<u64>()
            .ok()
    };
    Some(Usage {
        cpu: Duration::from_micros(
            ticks
                .checked_mul(1_000_000)?
                .checked_div(ticks_per_second)?,
        ),
        rss: line("VmRSS")? * 1024,
        rss_peak: line("VmHWM")? * 1024,
        threads: line("Threads")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_a_strange_name() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194304 900 0 0 0 250 150 0 0 20 0 3 0 100 0 0";
        let status = "Name:\ta) b (c\nVmHWM:\t   20480 kB\nVmRSS:\t   10240 kB\nThreads:\t3\n";
        let expected = Usage {
            cpu: Duration::from_secs(4),
            rss: 10 << 20,
            rss_peak: 20 << 20,
            threads: 3,
        };
        assert_eq!(parse(stat, status, 100), Some(expected));
        assert_eq!(parse(stat, status, 0), None);
        assert_eq!(parse("", "", 100), None);
    }

    #[test]
    fn this_process() {
        let usage = Usage::read().unwrap();
        assert!(
            usage.rss > 100 << 10 && usage.rss <= usage.rss_peak && usage.threads >= 1,
            "{usage:?}"
        );
    }
}
