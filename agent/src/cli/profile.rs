//! `remora profile`.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::output::time;
use crate::config::{self, resolved::Config};
use crate::deciding::filter::glob::Glob;
use crate::deciding::filter::value;
use crate::model::exit::Failure;
use crate::output::profile::collapse::Collapsed;
use crate::output::profile::{By, Format, read};
use crate::profile::kernel::clock::Clock;
use crate::profile::session::FREQUENCY;

const EXAMPLES: &str = "\
Examples:
  remora profile                               the whole host, ten seconds
  remora profile -p 4242 --duration 30s        one process
  remora profile --comm 'nginx*' --by route    which endpoint burns the CPU
  remora profile -o svg -w cpu.svg             a flame graph for a browser
  remora profile -o pprof -w cpu.pb.gz         for go tool pprof
  remora profile -o folded -- ./test.sh        one command and its children
  remora profile -p 4242 --diff before.pb.gz   what changed since then

Code made at run time is named by /tmp/perf-PID.map, and shown as [jit] without it. Node \
writes that file if it runs with --perf-basic-prof. Java 17 and later need \
-XX:+PreserveFramePointer, and jcmd PID Compiler.perfmap while they are sampled.";

/// How long is sampled if nothing else ends it.
const DURATION: Duration = Duration::from_secs(10);

/// Show where the CPU time of this host goes: stacks with symbols, routes and spans
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ProfileArgs {
    /// Sample this process and the children it makes
    #[arg(
        short,
        long,
        value_name = "PID",
        value_delimiter = ',',
        group = "target",
        help_heading = "What to sample"
    )]
    pid: Vec<u32>,

    /// Sample processes with this command name, as in ps -o comm; a name without * or ? also
    /// chooses processes that start later
    #[arg(
        long,
        value_name = "GLOB",
        group = "target",
        help_heading = "What to sample"
    )]
    comm: Vec<String>,

    /// Sample this container: its id, or how it begins
    #[arg(
        long,
        value_name = "ID",
        value_delimiter = ',',
        group = "target",
        help_heading = "What to sample"
    )]
    container: Vec<String>,

    /// Sample all processes; this is the default
    #[arg(long, group = "target", help_heading = "What to sample")]
    all: bool,

    /// Samples a second on every busy CPU, 1 to 10000
    #[arg(
        short = 'F',
        long,
        value_name = "HZ",
        default_value_t = FREQUENCY.2,
        value_parser = frequency,
        help_heading = "What to sample"
    )]
    frequency: u32,

    /// What makes a CPU take a sample: its time, or its cycles, where it counts them (-F is
    /// then the number at full clock speed)
    #[arg(
        long,
        value_name = "EVENT",
        value_enum,
        default_value_t,
        help_heading = "What to sample"
    )]
    event: Clock,

    /// Stop after this time [default: 10s, or when CMD ends]
    #[arg(long, value_name = "TIME", value_parser = time, help_heading = "What to sample")]
    duration: Option<Duration>,

    /// How to show the profile
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        value_enum,
        default_value_t,
        help_heading = "Output"
    )]
    output: Format,

    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    write: Option<PathBuf>,

    /// Group samples
    #[arg(long, value_name = "PROPERTY", value_enum, help_heading = "Output")]
    by: Option<By>,

    /// Compare with an earlier profile, saved with -o folded, json or pprof and the same --by
    #[arg(long, value_name = "OLD", help_heading = "Output")]
    diff: Option<PathBuf>,

    /// YAML file with settings [env: REMORA_CONFIG]
    #[arg(long, value_name = "FILE", help_heading = "Settings")]
    config: Option<PathBuf>,

    /// Start this command, sample only it and its children, and end with it
    #[arg(last = true, value_name = "CMD", group = "target")]
    command: Vec<OsString>,
}

/// What to profile.
#[derive(Debug)]
pub struct Profile {
    /// Settings.
    pub config: Config,
    /// Which processes.
    pub targets: Targets,
    /// Samples a second on every busy CPU.
    pub frequency: u32,
    /// What makes the CPUs take samples.
    pub clock: Clock,
    /// Stop after this time; `None` if the end of the command is the end.
    pub duration: Option<Duration>,
    /// How to show it.
    pub format: Format,
    /// Where to write it; standard output if nothing is named.
    pub write: Option<PathBuf>,
    /// What to group by.
    pub by: Option<By>,
    /// What to compare with.
    pub old: Option<Collapsed>,
    /// Sample only this command; empty if there is none.
    pub command: Vec<OsString>,
}

/// Processes to sample: everything if nothing is named. Values are alternatives; of the
/// three kinds only one is given.
#[derive(Clone, Default, Debug)]
pub struct Targets {
    /// Process ids.
    pub pids: Vec<u32>,
    /// Command names.
    pub comms: Vec<Glob>,
    /// How container ids begin.
    pub containers: Vec<String>,
}

impl Targets {
    /// Whether everything is sampled.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.pids.is_empty() && self.comms.is_empty() && self.containers.is_empty()
    }
}

impl ProfileArgs {
    /// Adds settings, reads the earlier profile, and checks what can be checked.
    ///
    /// # Errors
    /// Mistakes in the settings; a process that is not there; a file that is no
    /// profile; a format that cannot show what is asked for.
    pub fn resolve(self, env: &[(String, String)]) -> Result<Profile, Failure> {
        let config = Config::load(self.config.as_deref(), &[], env)
            .map_err(|mistakes| config::failure(&mistakes))?;
        for pid in &self.pid {
            if !Path::new("/proc").join(pid.to_string()).exists() {
                return Err(Failure::usage(format!("there is no process {pid}"))
                    .with_fix("give the id of a running process to --pid, as ps shows it"));
            }
        }
        let given = |flag: &str, value: &str, problem: String| {
            Failure::usage(format!("invalid value '{value}' for '--{flag}': {problem}"))
        };
        let containers = (self.container.iter())
            .map(|id| value::container(id).map_err(|problem| given("container", id, problem)))
            .collect::<Result<_, _>>()?;
        let comms = (self.comm.iter())
            .flat_map(|list| value::items(list))
            .map(|name| named(&name).map_err(|problem| given("comm", &name, problem)))
            .collect::<Result<_, _>>()?;
        showable(
            self.output,
            self.write.as_deref(),
            io::stdout().is_terminal(),
        )?;
        if let Some(path) = &self.write {
            writable(path)?;
        }
        let old = self.diff.as_deref().map(|path| {
            comparable(self.output)?;
            older(path, self.by)
        });
        let old = old.transpose()?;
        Ok(Profile {
            config,
            targets: Targets {
                pids: self.pid,
                comms,
                containers,
            },
            frequency: self.frequency,
            clock: self.event,
            duration: self
                .duration
                .or_else(|| self.command.is_empty().then_some(DURATION)),
            format: self.output,
            write: self.write,
            by: self.by,
            old,
            command: self.command,
        })
    }
}

/// A pattern for names. They may be longer than the kernel keeps: programs are looked for
/// by the names of their files, too.
fn named(text: &str) -> Result<Glob, String> {
    if text.is_empty() {
        return Err("it is empty; give a name such as nginx".to_owned());
    }
    Ok(Glob::parse(text)?)
}

fn frequency(text: &str) -> Result<u32, String> {
    let (min, .., max) = FREQUENCY;
    let hz = text.parse().ok();
    hz.filter(|hz| (min..=max).contains(hz))
        .ok_or_else(|| format!("it goes from {min} to {max} a second"))
}

/// Bytes that are for programs do not belong on a terminal.
fn showable(format: Format, file: Option<&Path>, terminal: bool) -> Result<(), Failure> {
    if format.is_text() || file.is_some() || !terminal {
        return Ok(());
    }
    let suffix = format.suffix();
    Err(Failure::usage("this format is not for terminals")
        .with_fix(format!("name a file: -w profile.{suffix}")))
}

/// A profile takes time: a file that cannot be made is better told before.
fn writable(path: &Path) -> Result<(), Failure> {
    let problem = if path.as_os_str().is_empty() {
        "-w needs the name of a file".to_owned()
    } else if path.is_dir() {
        format!("{} is a directory", path.display())
    } else {
        let directory = match path.parent() {
            None => return Ok(()),
            Some(parent) if parent.as_os_str().is_empty() => return Ok(()),
            Some(parent) => parent,
        };
        if directory.is_dir() {
            return Ok(());
        }
        let directory = directory.display();
        return Err(
            Failure::usage(format!("there is no directory {directory}")).with_fix(format!(
                "make it with mkdir -p {directory}, or give another file to -w"
            )),
        );
    };
    Err(Failure::usage(problem).with_fix("give a file to -w: -w profile.txt"))
}

fn comparable(format: Format) -> Result<(), Failure> {
    let fix = match format {
        Format::Pprof => {
            "save both profiles and let pprof compare: go tool pprof -diff_base OLD NEW"
        }
        Format::Firefox => "use -o svg for a picture of what changed",
        _ => return Ok(()),
    };
    Err(Failure::usage("this format cannot show a comparison").with_fix(fix))
}

fn older(path: &Path, by: Option<By>) -> Result<Collapsed, Failure> {
    read::file(path, by).map_err(|error| {
        Failure::usage(format!("{}: {error}", path.display()))
            .with_fix("compare with a file that -o folded, -o json or -o pprof wrote")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_for_programs_need_a_file_on_a_terminal() {
        let file = Some(Path::new("x"));
        for format in [Format::Svg, Format::Pprof, Format::Firefox] {
            assert!(showable(format, None, true).is_err());
            assert!(showable(format, file, true).is_ok());
            assert!(showable(format, None, false).is_ok());
        }
        assert!(showable(Format::Folded, None, true).is_ok());
    }

    #[test]
    fn a_file_needs_a_directory() {
        let directory = tempfile::tempdir().unwrap();
        let inside = |name: &str| directory.path().join(name);
        assert!(writable(Path::new("cpu.svg")).is_ok());
        assert!(writable(Path::new("/dev/null")).is_ok());
        assert!(writable(&inside("cpu.svg")).is_ok());
        for (path, part) in [
            (inside("a/b/cpu.svg"), "mkdir -p"),
            (inside(""), "is a directory"),
            (PathBuf::from("/"), "is a directory"),
            (PathBuf::new(), "needs the name"),
        ] {
            let failure = writable(&path).unwrap_err();
            assert_eq!(failure.exit.code(), 2);
            assert!(failure.to_string().contains(part), "{failure}");
        }
    }

    #[test]
    fn what_cannot_be_compared_says_what_can() {
        let failure = comparable(Format::Pprof).unwrap_err();
        assert!(failure.to_string().contains("-diff_base"), "{failure}");
        let failure = older(Path::new("/nonexistent"), None).unwrap_err();
        assert!(failure.to_string().contains("-o folded"), "{failure}");
    }
}
