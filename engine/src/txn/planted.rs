//! Bugs that tests can switch on, to show that their checkers see.
//!
//! Outside tests [`planted`] is `false` at compile time and nothing of this remains.

/// A rule that can be broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code))] // looked at by tests only
pub(crate) enum Bug {
    /// One partition's marker is not written.
    LostMarker,
    /// Markers are written before the outcome is committed.
    EarlyMarker,
    /// The transaction is complete before its markers are.
    EarlyComplete,
    /// EndTxn is answered before the outcome is committed.
    EarlyAnswer,
    /// The epoch of an EndTxn is not looked at.
    NoFence,
    /// A prepared transaction found at load is left alone.
    ForgottenAtLoad,
    /// A transaction that took too long is left alone.
    Endless,
    /// An abort asked of a transaction that is being committed turns it.
    TurnedOutcome,
    /// The last stable offset skips a transaction that is open.
    SkippedStable,
    /// The owner of a partition says that a marker is written before it is durable.
    EarlyMarkerAnswer,
    /// A marker that comes again is written again, whatever the producer has begun since.
    DoubledMarker,
    /// A batch passes its gate whatever the coordinator and the markers say.
    OpenGate,
    /// A commit marker does not reach the group coordinator.
    LostOffsets,
}

/// Whether `bug` is switched on.
#[cfg(not(test))]
pub(crate) const fn planted(_bug: Bug) -> bool {
    false
}

#[cfg(test)]
thread_local! {
    /// The bug switched on in this thread.
    pub(crate) static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Whether `bug` is switched on.
#[cfg(test)]
pub(crate) fn planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}
