//! The thread that prepares tables: reading a large binary takes a second, and samples
//! must be read meanwhile.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Rules, prepare};
use crate::profile::kernel::{Published, Tables};
use crate::profile::process::binary::BinaryId;
use crate::profile::process::elf::Elf;

/// Binaries that may wait.
const QUEUE: usize = 256;

/// Something to do.
#[derive(Debug)]
pub enum Job {
    /// Prepare and publish the table of a binary.
    Prepare {
        /// Which one.
        binary: BinaryId,
        /// Its file.
        file: Arc<File>,
        /// Its headers.
        elf: Arc<Elf>,
    },
    /// Take a table back.
    Remove(Published),
}

/// A binary that was read.
#[derive(Debug)]
pub struct Done {
    /// Which one.
    pub binary: BinaryId,
    /// Its table; `None` if it has no unwind information.
    pub table: io::Result<Option<Published>>,
    /// Rows in the table.
    pub rows: usize,
    /// Functions whose unwind information is malformed.
    pub malformed: u64,
    /// How long it took.
    pub took: Duration,
}

/// The thread.
#[derive(Debug)]
pub struct Worker {
    // Dropped first: the thread ends when there are no more jobs.
    jobs: Option<SyncSender<Job>>,
    done: Receiver<Done>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts the thread.
    ///
    /// # Errors
    /// Those of starting a thread.
    pub fn start(tables: Tables) -> io::Result<Self> {
        let (jobs, queue) = sync_channel(QUEUE);
        // As many as there are jobs.
        let (finished, done) = channel();
        let thread = std::thread::Builder::new()
            .name("remora-unwind".to_owned())
            .spawn(move || {
                let mut state = State {
                    tables,
                    rules: Rules::default(),
                };
                while let Ok(job) = queue.recv() {
                    if let Some(done) = state.work(job)
                        && finished.send(done).is_err()
                    {
                        break;
                    }
                }
            })?;
        Ok(Self {
            jobs: Some(jobs),
            done,
            thread: Some(thread),
        })
    }

    /// Asks for something. Gives it back if too much waits already.
    ///
    /// # Errors
    /// The job.
    pub fn ask(&self, job: Job) -> Result<(), Job> {
        let Some(jobs) = &self.jobs else {
            return Err(job);
        };
        jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(job) | TrySendError::Disconnected(job) => job,
        })
    }

    /// A binary that is done, if there is one.
    #[must_use]
    pub fn done(&self) -> Option<Done> {
        self.done.try_recv().ok()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic was reported when it happened.
            let _ = thread.join();
        }
    }
}

struct State {
    tables: Tables,
    rules: Rules,
}

impl State {
    fn work(&mut self, job: Job) -> Option<Done> {
        match job {
            Job::Remove(table) => {
                // It stays in the kernel if that fails, within the limit.
                let _ = self.tables.remove(table);
                None
            }
            Job::Prepare { binary, file, elf } => {
                let begin = Instant::now();
                let mut done = Done {
                    binary,
                    table: Ok(None),
                    rows: 0,
                    malformed: 0,
                    took: Duration::ZERO,
                };
                match prepare(&file, &elf, &mut self.rules) {
                    Err(error) => done.table = Err(error),
                    Ok(prepared) => {
                        done.rows = prepared.rows;
                        done.malformed = prepared.malformed;
                        self.tables.write_rules(self.rules.list());
                        if !prepared.blocks.is_empty() {
                            done.table = self.tables.publish(&prepared.blocks).map(Some);
                        }
                    }
                }
                done.took = begin.elapsed();
                Some(done)
            }
        }
    }
}
