//! The tests that a usual run has.

mod envoy;
mod grpc;
pub(crate) mod http;

use crate::harness::report::Report;
use crate::harness::trace::Trace;

/// Waits until `spans` spans of `ports` were printed, and stops the agent. Under full load
/// it is behind by more than the patience of one wait.
pub(crate) fn collect(trace: Trace, ports: &[u16], spans: usize) -> Report {
    for _ in 0..3 {
        trace.wait_for(spans, |request| {
            ports.iter().any(|port| request.to_port(*port))
        });
    }
    trace.collect_all(ports, spans)
}
