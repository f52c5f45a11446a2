//! The thread that waits for the disk to sync, so that nobody else has to.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::delivery::queue::spool::{SyncJob, Synced};

/// The thread that waits for the disk.
#[derive(Debug)]
pub(super) struct Syncer {
    jobs: Sender<SyncJob>,
    done: Receiver<Synced>,
}

impl Syncer {
    /// Begins the thread.
    pub(super) fn start() -> io::Result<Self> {
        let (jobs, work) = channel::<SyncJob>();
        let (tell, done) = channel();
        std::thread::Builder::new()
            .name("remora-sync".into())
            .spawn(move || {
                while let Ok(job) = work.recv() {
                    if tell.send(job.run()).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self { jobs, done })
    }

    /// Has it do this; false if it has ended.
    pub(super) fn begin(&self, job: SyncJob) -> bool {
        self.jobs.send(job).is_ok()
    }

    /// What it has done since it was asked.
    pub(super) fn done(&self) -> Option<Synced> {
        self.done.try_recv().ok()
    }

    /// Waits for what it does.
    pub(super) fn wait(&self) -> Option<Synced> {
        self.done.recv().ok()
    }
}
