//! What the kernel programs say about themselves, for whoever looks for a defect: written
//! through aya-log when the agent logs at `debug` (REMORA_LOG=debug, target
//! `remora::kernel`), and left out of the programs by the verifier otherwise.

use aya::Ebpf;
use aya_log::EbpfLogger;
use remora_common::config::config_flags;

/// Target in the agent's log.
const TARGET: &str = "remora::kernel";

/// Size of the ring for diagnostics, and where nobody listens.
const RING_BYTES: (u32, u32) = (128 << 10, 4 << 10);

fn wanted() -> bool {
    tracing::enabled!(target: TARGET, tracing::Level::DEBUG)
}

/// [`config_flags::DEBUG`] if somebody listens, else none.
pub(super) fn flag() -> u32 {
    if wanted() { config_flags::DEBUG } else { 0 }
}

/// Size of the map that takes them.
pub(super) fn ring_bytes() -> u32 {
    if wanted() { RING_BYTES.0 } else { RING_BYTES.1 }
}

/// Hands what aya-log formats on to the agent's log.
struct Forward;

impl log::Log for Forward {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        tracing::debug!(target: TARGET, "{}", record.args());
    }

    fn flush(&self) {}
}

/// Reader of the diagnostics.
pub(super) struct Diagnostics(EbpfLogger<Forward>);

impl Diagnostics {
    /// `None` if nobody listens.
    pub(super) fn of(ebpf: &mut Ebpf) -> Option<Self> {
        if !wanted() {
            return None;
        }
        match EbpfLogger::init_with_logger(ebpf, Forward) {
            Ok(logger) => Some(Self(logger)),
            Err(error) => {
                tracing::warn!(%error, "diagnostics of the kernel programs are not available");
                None
            }
        }
    }

    /// Passes on what was written so far.
    pub(super) fn flush(&mut self) {
        self.0.flush();
    }
}
