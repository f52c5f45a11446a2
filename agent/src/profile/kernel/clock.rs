//! What makes the CPUs take samples: time, or cycles of the CPU.
//!
//! Time is the default: every machine has it, and a sample is so much CPU time. Cycles come
//! from the CPU's own counter, which also interrupts code that has interrupts switched off.
//! Their period is fixed (the kernel could adapt it to get a given number of samples a
//! second), so that every sample stands for as many cycles as any other.

use std::fs;
use std::io;

use clap::ValueEnum;

use crate::profile::model::Event;

/// The clock to take samples by.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, ValueEnum)]
pub enum Clock {
    /// CPU time, by the kernel's clock
    #[default]
    CpuClock,
    /// Cycles, by the CPU's counter, where there is one
    Cycles,
}

/// From one sample to the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ticks {
    /// Of CPU time.
    Nanoseconds(u64),
    /// Of the CPU.
    Cycles(u64),
}

/// Why samples cannot be taken by cycles.
#[derive(Debug, thiserror::Error)]
pub enum NoCycles {
    /// The kernel or the machine has no counter.
    #[error("CPU {cpu} has no cycle counter, as in most virtual machines ({source})")]
    Refused {
        /// Number of the CPU.
        cpu: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// The CPU's speed is not known, so neither is how many cycles are a sample.
    #[error("neither /sys nor /proc/cpuinfo tells the speed of the CPUs")]
    Speed,
}

impl Ticks {
    pub(super) fn event(self) -> Event {
        match self {
            Self::Nanoseconds(_) => Event::CpuClock,
            Self::Cycles(period) => Event::Cycles { period },
        }
    }
}

impl Clock {
    /// What can be had of what is wanted, and why not all of it. `hertz` is the full speed
    /// of a CPU, `open` tries an event.
    pub(super) fn choose(
        self,
        frequency: u32,
        cpus: &[u32],
        hertz: Option<u64>,
        open: &dyn Fn(Ticks, u32) -> io::Result<()>,
    ) -> (Ticks, Option<NoCycles>) {
        let frequency = u64::from(frequency.max(1));
        let time = Ticks::Nanoseconds(1_000_000_000 / frequency);
        if self == Self::CpuClock {
            return (time, None);
        }
        let Some(hertz) = hertz else {
            return (time, Some(NoCycles::Speed));
        };
        let cycles = Ticks::Cycles(hertz / frequency);
        let refused = cpus
            .iter()
            .find_map(|cpu| open(cycles, *cpu).err().map(|source| (*cpu, source)));
        match refused {
            None => (cycles, None),
            Some((cpu, source)) => (time, Some(NoCycles::Refused { cpu, source })),
        }
    }
}

/// Cycles a second of the fastest CPU at its full speed.
pub(super) fn full_speed() -> Option<u64> {
    let folders = fs::read_dir("/sys/devices/system/cpu")
        .into_iter()
        .flatten();
    let limits = folders.flatten().filter_map(|folder| {
        let text = fs::read_to_string(folder.path().join("cpufreq/cpuinfo_max_freq")).ok()?;
        text.trim().parse::<u64>().ok()?.checked_mul(1_000)
    });
    limits
        .max()
        .or_else(|| cpuinfo(&fs::read_to_string("/proc/cpuinfo").ok()?))
        .filter(|hertz| *hertz >= MIN_SPEED)
}

/// No CPU with a cycle counter is slower, Hz: what is below is not its speed.
const MIN_SPEED: u64 = 100_000_000;

/// The largest `cpu MHz` of `/proc/cpuinfo`, in Hz.
fn cpuinfo(text: &str) -> Option<u64> {
    let values = text
        .lines()
        .filter_map(|line| line.strip_prefix("cpu MHz")?.split_once(':'));
    let megahertz = values.filter_map(|(_, value)| {
        let whole = value.trim().split('.').next()?;
        whole.parse::<u64>().ok()
    });
    megahertz.max()?.checked_mul(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: &dyn Fn(Ticks, u32) -> io::Result<()> = &|_, _| Ok(());

    #[test]
    fn time_is_taken_unless_cycles_are_asked_for() {
        assert_eq!(Clock::default(), Clock::CpuClock);
        let never: &dyn Fn(Ticks, u32) -> io::Result<()> = &|_, _| panic!("not asked for");
        let (ticks, why) = Clock::CpuClock.choose(99, &[0], Some(3_000_000_000), never);
        assert_eq!(ticks, Ticks::Nanoseconds(10_101_010));
        assert!(why.is_none());
        assert_eq!(ticks.event(), Event::CpuClock);
    }

    #[test]
    fn cycles_are_as_many_samples_at_full_speed() {
        let (ticks, why) = Clock::Cycles.choose(100, &[0, 1], Some(3_000_000_000), ANY);
        assert_eq!(ticks, Ticks::Cycles(30_000_000));
        assert!(why.is_none());
        assert_eq!(ticks.event(), Event::Cycles { period: 30_000_000 });
    }

    #[test]
    fn one_cpu_without_a_counter_is_enough_to_use_time_on_all() {
        let open: &dyn Fn(Ticks, u32) -> io::Result<()> = &|ticks, cpu| match (ticks, cpu) {
            (Ticks::Cycles(_), 3) => Err(io::Error::from_raw_os_error(libc::ENOENT)),
            _ => Ok(()),
        };
        let (ticks, why) = Clock::Cycles.choose(100, &[0, 3], Some(3_000_000_000), open);
        assert_eq!(ticks, Ticks::Nanoseconds(10_000_000));
        let why = why.unwrap().to_string();
        assert!(why.starts_with("CPU 3 has no cycle counter"), "{why}");
        let (ticks, why) = Clock::Cycles.choose(100, &[0], None, ANY);
        assert_eq!(ticks, Ticks::Nanoseconds(10_000_000));
        assert!(matches!(why, Some(NoCycles::Speed)));
    }

    #[test]
    fn the_fastest_cpu_counts() {
        let text = "processor\t: 0\ncpu MHz\t\t: 2445.404\n\nprocessor\t: 1\ncpu MHz\t\t: 3100.0\n";
        assert_eq!(cpuinfo(text), Some(3_100_000_000));
        for text in [
            "",
            "cpu MHz",
            "cpu MHz : fast",
            "cpu MHz : 99999999999999999999",
        ] {
            assert_eq!(cpuinfo(text), None, "{text}");
        }
    }
}
