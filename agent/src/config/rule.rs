//! Rules that say which processes, ports and cgroups are traced.

use std::fmt;

/// What a rule names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Rule {
    /// A process id in the initial namespace.
    Pid(u32),
    /// The file name of a program, without its folder. The kernel tells names apart by
    /// their first 15 bytes.
    Executable(String),
    /// A TCP port, of either end.
    Port(u16),
    /// A cgroup v2: its path as in `/proc/PID/cgroup`.
    Cgroup(String),
}

impl Rule {
    /// Reads `pid=N`, `executable=NAME`, `port=N` or `cgroup=/path`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (kind, value) = text.split_once('=').ok_or_else(|| {
            format!("'{text}' is not a rule: pid=N, executable=NAME, port=N or cgroup=/path")
        })?;
        match kind.trim() {
            "pid" => match value.parse() {
                Ok(pid @ 1..=4_194_304) => Ok(Self::Pid(pid)),
                _ => Err(format!("'{value}' is not a process id")),
            },
            "port" => match value.parse() {
                Ok(port @ 1..) => Ok(Self::Port(port)),
                _ => Err(format!("'{value}' is not a port")),
            },
            "executable" => match value.rsplit_once('/') {
                None if !value.is_empty() => Ok(Self::Executable(value.to_owned())),
                None => Err("an executable needs a name".to_owned()),
                Some((_, name)) => Err(format!(
                    "programs are told apart by file name, not by folder: say executable={name}"
                )),
            },
            "cgroup" if value.starts_with('/') && !value.contains('\0') => {
                Ok(Self::Cgroup(value.to_owned()))
            }
            "cgroup" => Err(format!("'{value}' is not the absolute path of a cgroup")),
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
