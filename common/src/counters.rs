//! Counters kept by the kernel programs, one `u64` per CPU and [`Counter`].

/// Index into the per-CPU counter array. The ledger of the agent is built on them:
/// `FINISHED == delivered + filtered + lost`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Counter {
    /// Requests begun.
    Started = 0,
    /// Requests whose end was seen: answered, aborted, or lost track of.
    Finished = 1,
    /// Requests lost because the ring buffer had no room for one of their records.
    RingFull = 2,
    /// Requests lost because the connection table was full.
    ConnEvicted = 3,
    /// Connections given up because their framing was lost: not HTTP after all,
    /// malformed, or in memory that could not be read.
    FramingLost = 4,
    /// Responses whose request was under way before the agent came.
    Orphans = 5,
    /// Connections that were followed.
    Conns = 6,
    /// Connections classified as another protocol.
    OtherConns = 7,
    /// System calls on followed connections.
    Calls = 8,
    /// Calls not followed because no slot for the thread's state was free.
    /// A request that begins in such a call is also counted as lost.
    TaskTableFull = 9,
    /// Process records lost because the ring was full (sent again with the next request).
    ProcessDelayed = 10,
}

/// Number of counters.
pub const COUNT: usize = 11;
