//! What the background should do next: drain, checkpoint, or nothing.
//!
//! A pure function of a few numbers, called by the store's work task after every step. Draining stays lazy: bytes that
//! are truncated or deleted before memory or ring run short are never written twice.

/// The numbers that decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// Dirty memory, bytes.
    pub dirty: usize,
    /// Soft limit of it.
    pub soft: usize,
    /// First LSN that may stay in the journal so that it occupies few files; none if it does already.
    pub ring_target: Option<u64>,
    /// Live files exceed half of those that appends may use, or an append found no room.
    pub ring_tight: bool,
    /// First LSN that no segment holds.
    pub first_dirty: Option<u64>,
    /// Bytes drained since the last checkpoint.
    pub drained: u64,
    /// Bytes after which one is due.
    pub checkpoint_bytes: u64,
    /// The filesystem is full: nothing can be drained.
    pub stalled: bool,
}

/// The next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Wait for something to change.
    Idle,
    /// The ring is short of nothing any more: let appends know.
    ReleaseRing,
    /// Drain every batch below this LSN.
    DrainBelow(u64),
    /// Drain until dirty memory is at most this.
    DrainTo(usize),
    /// Take a checkpoint.
    Checkpoint,
}

/// Decides the next step.
pub fn next(view: &View) -> Work {
    if view.ring_tight {
        match view.ring_target {
            Some(lsn) if view.first_dirty.is_none_or(|first| first >= lsn) => return Work::Checkpoint,
            Some(lsn) if !view.stalled => return Work::DrainBelow(lsn),
            Some(_) => {}
            None => return Work::ReleaseRing,
        }
    }
    if view.drained >= view.checkpoint_bytes {
        return Work::Checkpoint;
    }
    if view.dirty > view.soft && !view.stalled {
        return Work::DrainTo(view.soft / 4 * 3);
    }
    Work::Idle
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALM: View = View {
        dirty: 0,
        soft: 100,
        ring_target: None,
        ring_tight: false,
        first_dirty: None,
        drained: 0,
        checkpoint_bytes: 50,
        stalled: false,
    };

    #[test]
    fn nothing_to_do_is_idle() {
        assert_eq!(next(&CALM), Work::Idle);
        assert_eq!(
            next(&View {
                dirty: 100,
                drained: 49,
                ..CALM
            }),
            Work::Idle
        );
    }

    #[test]
    fn memory_is_drained_below_its_soft_limit() {
        assert_eq!(next(&View { dirty: 101, ..CALM }), Work::DrainTo(75));
        assert_eq!(
            next(&View {
                dirty: 101,
                stalled: true,
                ..CALM
            }),
            Work::Idle
        );
    }

    #[test]
    fn a_tight_ring_is_drained_then_checkpointed_then_released() {
        let tight = View {
            ring_tight: true,
            ring_target: Some(10),
            first_dirty: Some(5),
            ..CALM
        };
        assert_eq!(next(&tight), Work::DrainBelow(10));
        assert_eq!(
            next(&View {
                first_dirty: Some(10),
                ..tight
            }),
            Work::Checkpoint
        );
        assert_eq!(
            next(&View {
                first_dirty: None,
                ..tight
            }),
            Work::Checkpoint
        );
        assert_eq!(
            next(&View {
                ring_target: None,
                ..tight
            }),
            Work::ReleaseRing
        );
        assert_eq!(
            next(&View {
                stalled: true,
                ..tight
            }),
            Work::Idle
        );
    }

    #[test]
    fn drained_bytes_make_a_checkpoint_due() {
        assert_eq!(
            next(&View {
                drained: 50,
                dirty: 500,
                ..CALM
            }),
            Work::Checkpoint
        );
    }
}
