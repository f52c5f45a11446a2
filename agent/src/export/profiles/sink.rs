//! Where profiles enter the exporter.

use std::sync::Arc;

use super::super::counters::{ExportCounters, Snapshot};
use super::super::resource::HostResource;
use super::super::sink::{MAX_REQUEST_BYTES, enqueue};
use super::encode;
use crate::profile::model::Profile;
use crate::queue::Queue;

/// Encodes profiles and queues them, without ever waiting.
#[derive(Clone, Debug)]
pub struct ProfileSink {
    host: HostResource,
    queue: Arc<dyn Queue>,
    counters: Arc<ExportCounters>,
}

impl ProfileSink {
    /// A sink in front of `queue`. `counters` count profiles, one for each process.
    #[must_use]
    pub fn new(host: HostResource, queue: Arc<dyn Queue>, counters: Arc<ExportCounters>) -> Self {
        Self {
            host,
            queue,
            counters,
        }
    }

    /// Queues a profile. Returns how many of its samples fit into no request.
    pub fn push(&self, profile: &Profile) -> u64 {
        let encoded = encode(profile, &self.host, MAX_REQUEST_BYTES);
        for batch in encoded.batches {
            (0..batch.items).for_each(|_| self.counters.accept());
            enqueue(&*self.queue, &self.counters, batch);
        }
        encoded.dropped
    }

    /// What became of the profiles.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.counters.snapshot()
    }
}
