//! Where profiles enter the exporter.

use super::super::counters::Snapshot;
use super::super::sink::{BatchSink, MAX_REQUEST_BYTES};
use super::encode;
use crate::profile::model::Profile;
use crate::span::resource::HostResource;

/// Encodes profiles and queues them, without ever waiting. What is counted are profiles, one
/// for each process.
#[derive(Clone, Debug)]
pub struct ProfileSink {
    host: HostResource,
    sink: BatchSink,
}

impl ProfileSink {
    /// Profiles on their way into `sink`.
    #[must_use]
    pub fn new(host: HostResource, sink: BatchSink) -> Self {
        Self { host, sink }
    }

    /// Queues a profile. Returns how many of its samples fit into no request.
    pub fn push(&self, profile: &Profile) -> u64 {
        let encoded = encode(profile, &self.host, MAX_REQUEST_BYTES);
        for batch in encoded.batches {
            self.sink.push(batch);
        }
        encoded.dropped
    }

    /// What became of the profiles.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.sink.snapshot()
    }
}
