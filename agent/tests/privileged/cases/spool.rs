//! The spool on disks that are full, fail, or cannot be written to.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use remora::delivery::export::batch::{Batch, Signal};
use remora::delivery::export::counters::{DropReason, ExportCounters};
use remora::delivery::queue::Queue;
use remora::delivery::queue::memory::Bounds;
use remora::delivery::queue::spool::Limits;
use remora::delivery::queue::tiered::{Settings, TieredQueue};

use crate::harness::{privileged, wait_until};

const MIB: u64 = 1 << 20;
/// Bytes of a batch.
const LEN: usize = 50_000;

/// A mounted file system; ended with the value.
struct Mount(std::path::PathBuf);

impl Mount {
    fn new(arguments: &[&str], at: &Path) -> Self {
        std::fs::create_dir_all(at).unwrap();
        run(Command::new("mount").args(arguments).arg(at));
        Self(at.into())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: after errors the kernel may not be done with it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}

struct Rig {
    queue: TieredQueue,
    counters: Arc<ExportCounters>,
    pushed: u64,
}

impl Rig {
    fn new(dir: &Path) -> Self {
        let counters = Arc::new(ExportCounters::default());
        let settings = Settings {
            bounds: Bounds {
                items: u64::MAX,
                bytes: 2 << 20,
            },
            dir: dir.into(),
            limits: Limits::new(64 * MIB, false),
            patience: Duration::from_millis(5),
            sync: Duration::from_millis(5),
            drain_bytes: 64 * MIB,
            ordered: false,
        };
        Self {
            queue: TieredQueue::start(settings, Arc::clone(&counters)).unwrap(),
            counters,
            pushed: 0,
        }
    }

    /// Pushes batches of ten; each has its number.
    fn push(&mut self, count: u64) {
        for _ in 0..count {
            let mut body = self.pushed.to_le_bytes().to_vec();
            self.pushed += 1;
            body.resize(LEN, 7);
            (0..10).for_each(|_| self.counters.accept());
            self.counters.enqueued(10);
            let batch = Batch {
                signal: Signal::Traces,
                items: 10,
                body: Bytes::from(body),
            };
            if self.queue.try_push(batch).is_err() {
                self.counters.refused(10, DropReason::QueueFull);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        assert!(self.counters.snapshot().balances());
    }

    fn drain(&self) -> Vec<u64> {
        let mut ids = Vec::new();
        wait_until("the queue is empty", || {
            while let Some(taken) = self.queue.try_pop() {
                ids.push(u64::from_le_bytes(
                    taken.batch.body[..8].try_into().unwrap(),
                ));
                self.counters.taken(10);
                self.counters.delivered(10, 0, 0);
                self.queue.settle(&taken);
            }
            (self.counters.snapshot().queued == 0).then_some(())
        });
        let snapshot = self.counters.snapshot();
        assert!(snapshot.balances(), "{snapshot:?}");
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    fn problem(&self) -> Option<String> {
        self.queue.depth().spool.unwrap().problem
    }
}

#[test]
fn a_full_disk_is_explained_and_nothing_is_lost_uncounted() {
    if !privileged() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let at = root.path().join("full");
    let _mount = Mount::new(&["-t", "tmpfs", "-o", "size=4m", "tmpfs"], &at);
    let mut rig = Rig::new(&at.join("spool"));
    rig.push(200);
    let problem = wait_until("the disk is full", || rig.problem());
    assert!(problem.contains("No space left on device"), "{problem}");
    let refused = rig.counters.snapshot().dropped_for(DropReason::QueueFull);
    assert!(refused > 0, "{:?}", rig.counters.snapshot());
    // What was taken in before and after comes out, and the disk is usable again.
    let ids = rig.drain();
    assert_eq!(ids.len() as u64 * 10 + refused, 2000);
    rig.push(20);
    assert_eq!(rig.drain().len(), 20);
}

#[test]
fn a_disk_that_fails_is_explained_and_nothing_is_lost_uncounted() {
    if !privileged() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let image = root.path().join("disk");
    File::create(&image).unwrap().set_len(64 * MIB).unwrap();
    let path = image.to_str().unwrap();
    run(Command::new("mkfs.ext4").args(["-q", "-E", "lazy_itable_init=0", path]));
    let at = root.path().join("failing");
    let _mount = Mount::new(&["-o", "loop,errors=continue", path], &at);
    let mut rig = Rig::new(&at.join("spool"));
    rig.push(50);
    // What lies behind the disk is gone: the kernel reports EIO, sooner or later.
    File::options()
        .write(true)
        .open(&image)
        .unwrap()
        .set_len(MIB)
        .unwrap();
    wait_until("an operation of the disk fails", || {
        rig.push(20);
        let stats = rig.queue.depth().spool.unwrap().stats;
        (stats.io_errors > 0).then_some(())
    });
    // The agent goes on, and every span is delivered or counted.
    let ids = rig.drain();
    let snapshot = rig.counters.snapshot();
    assert_eq!(ids.len() as u64 * 10, snapshot.delivered, "{snapshot:?}");
    assert_eq!(
        snapshot.delivered + snapshot.dropped_total(),
        rig.pushed * 10
    );
}

#[test]
fn a_read_only_disk_leaves_the_memory() {
    if !privileged() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let at = root.path().join("readonly");
    let _mount = Mount::new(&["-t", "tmpfs", "-o", "size=4m,ro", "tmpfs"], &at);
    let mut rig = Rig::new(&at.join("spool"));
    let problem = rig.problem().unwrap();
    assert!(problem.contains("Read-only file system"), "{problem}");
    assert!(!rig.queue.is_durable());
    rig.push(20);
    assert_eq!(rig.drain().len(), 20);
    run(Command::new("mount").args(["-o", "remount,rw"]).arg(&at));
    wait_until("the directory is made", || {
        rig.queue.is_durable().then_some(())
    });
}
