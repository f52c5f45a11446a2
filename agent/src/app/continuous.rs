//! Continuous CPU profiles of `remora run`: a thread of their own, so that neither waits
//! for the other.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::tagging::Tags;
use crate::config::profiling::Profiling;
use crate::delivery::export::profiles::sink::ProfileSink;
use crate::model::exit::Failure;
use crate::output::profile::summary;
use crate::profile::model::{Ledger, Limits, Loss, Profile};
use crate::profile::session::{Options, Session, StartError};

/// How long naming what the last profile holds may take. Large binaries on a busy host
/// take seconds, and supervisors do not wait for ever.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest wait for samples.
const STEP: Duration = Duration::from_millis(100);

/// Profiles being taken and exported.
pub(super) struct Continuous {
    stop: Arc<AtomicBool>,
    ledger: Arc<Mutex<Ledger>>,
    pending: Arc<AtomicU64>,
    sink: ProfileSink,
    thread: JoinHandle<io::Result<()>>,
}

/// What became of all profiles.
pub(super) struct Finished {
    /// Samples in the profiles that were queued.
    pub(super) ledger: Ledger,
    /// Samples of a profile that was not done in time.
    pub(super) given_up: u64,
    /// What became of the profiles.
    pub(super) sink: ProfileSink,
}

impl Continuous {
    /// Starts, if the kernel lets it. `requests` says which thread serves which request,
    /// and tells of those that ended.
    pub(super) fn start(
        settings: Profiling,
        sink: ProfileSink,
        requests: (OwnedFd, Tags),
    ) -> Result<Self, Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        let pending = Arc::new(AtomicU64::new(0));
        let taking = Taking {
            pending: Arc::clone(&pending),
            interval: settings.interval,
            stop: Arc::clone(&stop),
            ledger: Arc::clone(&ledger),
            sink: sink.clone(),
            tags: requests.1,
        };
        let (tell, told) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("remora-profile".into())
            .spawn(move || {
                let options = Options {
                    frequency: settings.frequency,
                    limits: Limits {
                        times: true,
                        ..Limits::default()
                    },
                    ..Options::default()
                };
                match Session::start(options) {
                    Ok(mut session) => {
                        if let Err(error) = session.sampler().requests_from(requests.0.as_fd()) {
                            tracing::warn!(%error, "samples cannot be told apart by request");
                        }
                        let _ = tell.send(Ok(()));
                        taking.run(session)
                    }
                    Err(error) => {
                        let _ = tell.send(Err(error));
                        Ok(())
                    }
                }
            })
            .map_err(Failure::failed)?;
        match told.recv() {
            Ok(Ok(())) => Ok(Self {
                stop,
                ledger,
                pending,
                sink,
                thread,
            }),
            Ok(Err(StartError::Kernel(error))) => Err(super::live::refused(error)),
            Ok(Err(error)) => Err(Failure::failed(error)),
            Err(_) => Err(Failure::failed("the thread that takes profiles ended")),
        }
    }

    /// Takes the last profile, if that does not take too long, and says what became of
    /// all of them.
    pub(super) fn finish(self) -> Result<Finished, Failure> {
        self.stop.store(true, Ordering::Release);
        let begun = Instant::now();
        while !self.thread.is_finished() && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(10));
        }
        let given_up = if self.thread.is_finished() {
            match self.thread.join() {
                Ok(Ok(())) => 0,
                Ok(Err(error)) => {
                    let problem = format!("samples cannot be read: {error}");
                    return Err(Failure::failed(problem));
                }
                Err(_) => return Err(Failure::failed("the thread that takes profiles ended")),
            }
        } else {
            self.pending.load(Ordering::Acquire)
        };
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Finished {
            ledger: ledger.clone(),
            given_up,
            sink: self.sink,
        })
    }
}

/// What the thread needs.
struct Taking {
    /// Samples of the profile under way.
    pending: Arc<AtomicU64>,
    interval: Duration,
    stop: Arc<AtomicBool>,
    ledger: Arc<Mutex<Ledger>>,
    sink: ProfileSink,
    tags: Tags,
}

impl Taking {
    fn run(self, mut session: Session) -> io::Result<()> {
        let mut begun = Instant::now();
        while !self.stop.load(Ordering::Acquire) {
            self.tags.take(&mut session);
            session.poll(STEP)?;
            let samples = session.progress().samples;
            self.pending.store(samples, Ordering::Release);
            if begun.elapsed() >= self.interval {
                begun = Instant::now();
                self.export(&session.flush()?);
            }
        }
        self.tags.take(&mut session);
        self.export(&session.finish()?);
        Ok(())
    }

    fn export(&self, profile: &Profile) {
        let dropped = self.sink.push(profile);
        if let Some(losses) = summary::losses(&profile.ledger) {
            let processes = summary::losers(profile).unwrap_or_default();
            tracing::warn!("a profile lacks samples: {losses}; {processes}");
        }
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        add(&mut ledger, &profile.ledger, dropped);
    }
}

/// Adds up; `dropped` samples were in the profile, but in no request.
fn add(sum: &mut Ledger, ledger: &Ledger, dropped: u64) {
    sum.seen += ledger.seen;
    sum.emitted += ledger.emitted.saturating_sub(dropped);
    for (sum, count) in sum.lost.iter_mut().zip(ledger.lost) {
        *sum += count;
    }
    sum.lost[Loss::ProfileFull as usize] += dropped;
    let cpus = sum.lost_per_cpu.len().max(ledger.lost_per_cpu.len());
    sum.lost_per_cpu.resize(cpus, 0);
    for (sum, count) in sum.lost_per_cpu.iter_mut().zip(&ledger.lost_per_cpu) {
        *sum += count;
    }
    sum.tagged += ledger.tagged;
    sum.untagged += ledger.untagged;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample_profile::profile;

    #[test]
    fn accounts_add_up_over_profiles_and_what_no_request_holds() {
        let mut sum = Ledger::default();
        let ledger = profile(false).ledger;
        add(&mut sum, &ledger, 0);
        add(&mut sum, &ledger, 8);
        assert!(sum.balanced(), "{sum:?}");
        assert_eq!((sum.seen, sum.emitted, sum.lost()), (200, 188, 12));
        assert_eq!(sum.lost_per_cpu, [0, 4]);
    }
}
