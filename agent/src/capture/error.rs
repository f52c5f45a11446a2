//! Why capturing cannot start, and what to do about it.

use std::io;

use aya::EbpfError;
use aya::maps::MapError;
use aya::programs::ProgramError;

/// Why capturing cannot start. Every message says what was observed; [`Self::fix`] says
/// what helps.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The kernel refuses to load or attach programs.
    #[error("the kernel refuses {what}: {source}")]
    Privilege {
        /// What was tried.
        what: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel does not describe its types.
    #[error("this kernel has no type information ({path}: {source})")]
    NoBtf {
        /// Where it should be.
        path: &'static str,
        /// Why it could not be read.
        source: io::Error,
    },
    /// The kernel's type information cannot be understood.
    #[error("this kernel's type information cannot be read: {what}")]
    BadBtf {
        /// What is wrong with it.
        what: String,
    },
    /// Structures lack members.
    #[error("this kernel lacks structure members that tracing needs: {}", missing.join(", "))]
    Members {
        /// `structure.member` of each.
        missing: Vec<String>,
    },
    /// The kernel has no ring buffer.
    #[error("this kernel has no BPF ring buffer: {source}")]
    NoRingBuffer {
        /// The kernel's answer.
        source: io::Error,
    },
    /// The verifier refused a program.
    #[error("the kernel's verifier refuses program `{name}`: {source}\n{log}")]
    Verifier {
        /// Name of the program.
        name: String,
        /// The kernel's answer.
        source: io::Error,
        /// The end of the verifier's log.
        log: String,
    },
    /// The built-in object does not fit the agent.
    #[error("the built-in kernel object is not usable: {what}")]
    Object {
        /// What is wrong with it.
        what: String,
    },
}

/// Lines kept of a verifier's log.
const LOG_LINES: usize = 30;

impl CaptureError {
    /// What to do about it.
    #[must_use]
    pub fn fix(&self) -> &'static str {
        match self {
            Self::Privilege { .. } => {
                "run as root, or give the binary its capabilities: \
                 setcap cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search,\
                 cap_checkpoint_restore+ep remora (before Linux 5.11 also cap_sys_resource); \
                 `remora doctor` shows which are missing"
            }
            Self::NoBtf { .. } | Self::BadBtf { .. } | Self::Members { .. } => {
                "use a kernel 5.10 or later built with CONFIG_DEBUG_INFO_BTF=y, as those of all \
                 current distributions are; in a container, mount /sys/kernel/btf"
            }
            Self::NoRingBuffer { .. } => "use Linux 5.10 or later",
            Self::Verifier { .. } | Self::Object { .. } => {
                "this is a defect of Remora: please report it with the output of `remora doctor`"
            }
        }
    }

    /// Whether a privilege or kernel feature is missing (exit code 3), as opposed to a
    /// defect (exit code 1).
    #[must_use]
    pub const fn is_environment(&self) -> bool {
        !matches!(self, Self::Verifier { .. } | Self::Object { .. })
    }

    pub(crate) fn from_ebpf(error: EbpfError) -> Self {
        match error {
            EbpfError::MapError(error) => Self::from_map(error),
            EbpfError::ProgramError(error) => Self::from_program("", error),
            other => Self::Object {
                what: other.to_string(),
            },
        }
    }

    pub(crate) fn from_map(error: MapError) -> Self {
        match error {
            MapError::CreateError { name, io_error, .. } => {
                let refused = matches!(
                    io_error.raw_os_error(),
                    Some(libc::EPERM | libc::EACCES | libc::ENOMEM)
                );
                if name == "RECORDS" && !refused {
                    Self::NoRingBuffer { source: io_error }
                } else {
                    Self::Privilege {
                        what: format!("map `{name}`"),
                        source: io_error,
                    }
                }
            }
            MapError::SyscallError(error) => Self::Privilege {
                what: error.call.to_owned(),
                source: error.io_error,
            },
            other => Self::Object {
                what: other.to_string(),
            },
        }
    }

    pub(crate) fn from_program(name: &str, error: ProgramError) -> Self {
        match error {
            ProgramError::LoadError {
                io_error,
                verifier_log,
            } => {
                let log = verifier_log.to_string();

                if log.trim().is_empty() {
                    return Self::Privilege {
                        what: format!("program `{name}`"),
                        source: io_error,
                    };
                }
                let lines: Vec<&str> = log.lines().collect();
                let from = lines.len().saturating_sub(LOG_LINES);
                let log = lines.get(from..).unwrap_or_default().join("\n");
                Self::Verifier {
                    name: name.to_owned(),
                    source: io_error,
                    log,
                }
            }
            ProgramError::SyscallError(error) => Self::Privilege {
                what: format!("program `{name}`"),
                source: error.io_error,
            },
            ProgramError::MapError(error) => Self::from_map(error),
            other => Self::Object {
                what: format!("program `{name}`: {other}"),
            },
        }
    }
}
