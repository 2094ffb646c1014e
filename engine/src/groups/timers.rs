//! Deadlines of one coordinator: one heap for all groups and members, cheap to postpone and to cancel.
//!
//! A [`Deadline`] lives with its owner and says when it is due; the heap holds at most hints. Postponing (what every
//! heartbeat does) or cancelling touches only the `Deadline`; the heap entry is corrected when it surfaces. So ten
//! thousand heartbeating members cost one comparison each, and the heap is compacted when hints outnumber owners.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Whose deadline it is. `group` and `member` are the coordinator's own numbers, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TimerKey {
    /// A member's (or pending member's) session.
    Session { group: u64, member: u64 },
    /// End of a group's join phase, or of one step of its initial delay.
    Join { group: u64 },
    /// End of the wait for every member's SyncGroup.
    Sync { group: u64 },
    /// Something a member of a consumer group is given time for.
    Consumer { group: u64, member: u64, wait: Wait },
    /// The next look for expired offsets and groups.
    Expiry,
}

/// What a member of a consumer group is given time for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wait {
    /// Its next heartbeat.
    Session,
    /// To give partitions up.
    Rebalance,
    /// As a classic member, to rejoin.
    Join,
    /// As a classic member, to ask for its assignment.
    Sync,
}

/// When something is due. All times are ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Deadline {
    at: Option<i64>,
    queued: Option<i64>,
}

impl Deadline {
    /// Nothing is due any more.
    pub fn cancel(&mut self) {
        self.at = None;
    }

    /// When it is due, if it is armed.
    pub fn at(&self) -> Option<i64> {
        self.at
    }
}

/// What to do with a heap entry that surfaced.
pub(super) enum Surfaced {
    /// The owner's deadline has come.
    Due,
    /// The entry was an outdated hint.
    Stale,
}

/// All deadlines of one coordinator.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(i64, TimerKey)>>,
}

impl Timers {
    /// Makes `deadline` due at `at`, in place of whatever was set before.
    pub fn arm(&mut self, deadline: &mut Deadline, key: TimerKey, at: i64) {
        deadline.at = Some(at);
        if deadline.queued.is_none_or(|queued| queued > at) {
            deadline.queued = Some(at);
            self.heap.push(Reverse((at, key)));
        }
    }

    /// The time of the earliest hint: nothing is due before it.
    pub fn next(&self) -> Option<i64> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// The next entry whose time has come, to be shown to its owner with [`Timers::surface`].
    pub fn pop(&mut self, now_ms: i64) -> Option<(i64, TimerKey)> {
        let Reverse((at, _)) = *self.heap.peek()?;
        if at > now_ms {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    /// Judges an entry popped at `at` against its owner's deadline; a postponed one goes back into the heap.
    pub fn surface(&mut self, deadline: &mut Deadline, at: i64, key: TimerKey, now_ms: i64) -> Surfaced {
        if deadline.queued != Some(at) {
            return Surfaced::Stale;
        }
        deadline.queued = None;
        match deadline.at {
            Some(due) if due > now_ms => {
                deadline.queued = Some(due);
                self.heap.push(Reverse((due, key)));
                Surfaced::Stale
            }
            Some(_) => {
                deadline.at = None;
                Surfaced::Due
            }
            None => Surfaced::Stale,
        }
    }

    /// Entries in the heap, hints included.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Drops entries their owners no longer point at. `queued` tells an owner's current hint.
    pub fn compact(&mut self, queued: impl Fn(TimerKey) -> Option<i64>) {
        self.heap.retain(|Reverse((at, key))| queued(*key) == Some(*at));
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.heap.clear();
    }
}

impl Deadline {
    /// The heap entry this deadline relies on.
    pub fn queued(&self) -> Option<i64> {
        self.queued
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: TimerKey = TimerKey::Join { group: 1 };

    fn drain(timers: &mut Timers, deadline: &mut Deadline, now_ms: i64) -> usize {
        let mut due = 0;
        while let Some((at, key)) = timers.pop(now_ms) {
            if matches!(timers.surface(deadline, at, key, now_ms), Surfaced::Due) {
                due += 1;
            }
        }
        due
    }

    #[test]
    fn postponed_deadline_fires_once_at_its_last_time() {
        let (mut timers, mut deadline) = (Timers::default(), Deadline::default());
        timers.arm(&mut deadline, KEY, 10);
        timers.arm(&mut deadline, KEY, 20);
        timers.arm(&mut deadline, KEY, 30);
        assert_eq!(timers.len(), 1, "postponing does not grow the heap");
        assert_eq!(drain(&mut timers, &mut deadline, 29), 0);
        assert_eq!(drain(&mut timers, &mut deadline, 30), 1);
        assert_eq!(drain(&mut timers, &mut deadline, 99), 0);
    }

    #[test]
    fn advanced_deadline_fires_early_and_only_once() {
        let (mut timers, mut deadline) = (Timers::default(), Deadline::default());
        timers.arm(&mut deadline, KEY, 100);
        timers.arm(&mut deadline, KEY, 5);
        assert_eq!(timers.next(), Some(5));
        assert_eq!(drain(&mut timers, &mut deadline, 5), 1);
        assert_eq!(drain(&mut timers, &mut deadline, 200), 0);
    }

    #[test]
    fn cancelled_deadline_does_not_fire_until_armed_again() {
        let (mut timers, mut deadline) = (Timers::default(), Deadline::default());
        timers.arm(&mut deadline, KEY, 10);
        deadline.cancel();
        assert_eq!(drain(&mut timers, &mut deadline, 10), 0);
        timers.arm(&mut deadline, KEY, 40);
        assert_eq!(drain(&mut timers, &mut deadline, 40), 1);
    }

    #[test]
    fn compaction_keeps_only_the_entry_in_use() {
        let (mut timers, mut deadline) = (Timers::default(), Deadline::default());
        for at in (0..100).rev() {
            timers.arm(&mut deadline, KEY, at);
        }
        assert_eq!(timers.len(), 100);
        timers.compact(|_| deadline.queued());
        assert_eq!(timers.len(), 1);
        assert_eq!(drain(&mut timers, &mut deadline, 0), 1);
    }
}
