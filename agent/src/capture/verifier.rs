//! How much the verifier walked through, on kernels that do not tell it of a loaded
//! program (before Linux 5.16): from its log, which says `processed N insns`.
//!
//! aya asks for the log only when a program was refused. So there is no descriptor left when
//! a program is loaded: the kernel verifies it, writes the log, and then fails with `EMFILE`.
//! Loading programs by hand for this would need their relocation by hand as well.

#![allow(unsafe_code, reason = "sets limits of the process")]

use std::io;

use aya::VerifierLogLevel;
use aya::programs::ProgramError;

use super::programs::{self, STAGES, hooks};
use super::{Capture, CaptureConfig, CaptureError, kernel_types};

/// Name and verifier instruction count of every program of this kernel, in order. No
/// descriptor can be opened by this process meanwhile.
///
/// # Errors
/// As [`Capture::load`], and if the log does not tell.
pub fn verified_by_log(config: &CaptureConfig) -> Result<Vec<(&'static str, u32)>, CaptureError> {
    let (offsets, access) = kernel_types()?;
    let mut ebpf = Capture::object(config, &offsets, access, VerifierLogLevel::STATS)?;
    let names = hooks().map(|(name, _)| name);
    let mut counts = Vec::new();
    for name in names.chain(STAGES.map(|(name, _)| name)) {
        let program = programs::named(&mut ebpf, name)?;
        let unable = |error: io::Error| CaptureError::Object {
            what: format!("program `{name}`: {error}"),
        };
        let limit = NoDescriptors::begin().map_err(unable)?;
        let refused = program.load();
        drop(limit);
        let count = match refused {
            Err(ProgramError::LoadError { verifier_log, .. }) => {
                processed(&verifier_log.to_string())
            }
            Err(error) => return Err(CaptureError::from_program(name, error)),
            Ok(()) => None,
        };
        let count =
            count.ok_or_else(|| unable(io::Error::other("the verifier's log is silent")))?;
        counts.push((name, count));
    }
    counts.sort_unstable();
    Ok(counts)
}

/// The count in a log: `processed 1234 insns (limit 1000000) max_states_per_insn …`.
fn processed(log: &str) -> Option<u32> {
    let (_, rest) = log.rsplit_once("processed ")?;
    let (count, _) = rest.split_once(" insns")?;
    count.parse().ok()
}

/// While it exists, this process can open no descriptor.
struct NoDescriptors(libc::rlimit);

impl NoDescriptors {
    fn begin() -> io::Result<Self> {
        let mut before = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: writes one `rlimit`, which is there.
        if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut before) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // The limit is about new descriptors; those that are open stay.
        set(libc::rlimit {
            rlim_cur: 0,
            ..before
        })?;
        Ok(Self(before))
    }
}

impl Drop for NoDescriptors {
    fn drop(&mut self) {
        // Raising the soft limit to what it was is always allowed.
        let _ = set(self.0);
    }
}

fn set(limit: libc::rlimit) -> io::Result<()> {
    // SAFETY: reads one `rlimit`, which is there.
    match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_log_is_read_from_its_end() {
        let log = "func#0 @0\nprocessed 7 insns\nverification time 85 usec\nstack depth 40\n\
                   processed 286208 insns (limit 1000000) max_states_per_insn 4 total_states 9\n";
        assert_eq!(processed(log), Some(286_208));
        assert_eq!(processed("nothing"), None);
    }

    #[test]
    fn no_descriptor_can_be_opened_while_it_holds() {
        // In a process of its own, the limit would hit other tests.
        if std::env::var_os("REMORA_TEST_DESCRIPTORS").is_none() {
            let status = std::process::Command::new("/proc/self/exe")
                .args([
                    "--exact",
                    "capture::verifier::tests::no_descriptor_can_be_opened_while_it_holds",
                ])
                .env("REMORA_TEST_DESCRIPTORS", "1")
                .status()
                .unwrap();
            assert!(status.success());
            return;
        }
        let limit = NoDescriptors::begin().unwrap();
        let refused = fs::File::open("/dev/null").unwrap_err();
        drop(limit);
        assert_eq!(refused.raw_os_error(), Some(libc::EMFILE));
        fs::File::open("/dev/null").unwrap();
    }
}
