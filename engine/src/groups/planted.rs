//! Bugs that tests can switch on, to show that their checkers see.
//!
//! Outside tests [`planted`] is `false` at compile time and nothing of this remains.

/// A rule that can be broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bug {
    /// An assignment stored for one generation is delivered in another.
    StaleAssignment,
    /// Assignments leave before their record is committed.
    EarlyAssignment,
    /// Every member gets the leader's assignment once the group is stable.
    WrongAssignment,
    /// A replaced static member is still taken for the member.
    NoFence,
    /// Offsets of an earlier generation are accepted.
    StaleCommit,
    /// Offsets are shown before they are committed.
    EarlyOffset,
    /// An offset whose append failed stays.
    FailedOffsetStays,
    /// A JoinGroup asked twice is answered once.
    LostJoin,
    /// Members whose session is over stay.
    Immortal,
    /// A removed member's parked SyncGroup is forgotten.
    LostSync,
    /// A partition is given to a member of a consumer group while another holds it.
    GiveTwice,
    /// Members of a consumer group do not get to the next epoch.
    StuckEpoch,
    /// A batch of a consumer group that failed is not undone.
    ForgottenUndo,
    /// Answers of a consumer group leave before its batch is committed.
    EarlyAnswer,
}

/// Whether `bug` is switched on.
#[cfg(not(test))]
pub(super) const fn planted(_bug: Bug) -> bool {
    false
}

#[cfg(test)]
thread_local! {
    /// The bug switched on in this thread.
    pub(super) static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Whether `bug` is switched on.
#[cfg(test)]
pub(super) fn planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}
