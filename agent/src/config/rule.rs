//! Rules that say which processes, ports and cgroups are traced.

use std::fmt;

/// What a rule names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Rule {
    /// A process id in the initial namespace.
    Pid(u32),
    /// The absolute path of a program.
    Executable(String),
    /// A TCP port, of either end.
    Port(u16),
    /// A cgroup and all below it: its path as in `/proc/PID/cgroup`.
    Cgroup(String),
}

impl Rule {
    /// Reads `pid=N`, `executable=/path`, `port=N` or `cgroup=/path`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (kind, value) = text.split_once('=').ok_or_else(|| {
            format!("'{text}' is not a rule: pid=N, executable=/path, port=N or cgroup=/path")
        })?;
        let absolute = || -> Result<String, String> {
            if value.starts_with('/') && !value.contains('\0') {
                Ok(value.to_owned())
            } else {
                Err(format!("'{value}' is not an absolute path"))
            }
        };
        match kind.trim() {
            "pid" => match value.parse() {
                Ok(pid @ 1..=4_194_304) => Ok(Self::Pid(pid)),
                _ => Err(format!("'{value}' is not a process id")),
            },
            "port" => match value.parse() {
                Ok(port @ 1..) => Ok(Self::Port(port)),
                _ => Err(format!("'{value}' is not a port")),
            },
            "executable" => absolute().map(Self::Executable),
            "cgroup" => absolute().map(Self::Cgroup),
            kind => Err(format!(
                "'{kind}' cannot be named by a rule; pid, executable, port and cgroup can"
            )),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pid(pid) => write!(f, "pid={pid}"),
            Self::Executable(path) => write!(f, "executable={path}"),
            Self::Port(port) => write!(f, "port={port}"),
            Self::Cgroup(path) => write!(f, "cgroup={path}"),
        }
    }
}

/// Include and exclude rules. Where both name something, it is excluded. As soon as
/// one kind (process, port, cgroup) has an include rule, what no rule of that kind
/// includes is not traced.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Rules {
    /// Traced.
    pub include: Vec<Rule>,
    /// Not traced.
    pub exclude: Vec<Rule>,
}
