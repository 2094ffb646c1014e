//! A partition on the core that owns it: its log, who waits for its commit point, who waits for data.
//!
//! The shard calls [`Partition::advanced`] when the journal made offsets durable and after an append to a
//! `durability=memory` topic. The high watermark of a single replica is its durable end (`disk`) or its log end
//! (`memory`); replication will move it by acknowledgements of the in-sync replicas instead.
//!
//! Invariant: every waiter's end lies above the high watermark; waiters are sorted by end.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use turgo_storage::env::Env;
use turgo_storage::{Durability, Log, PartitionId};

use crate::shard::settings::PartitionSettings;
use crate::sync::{Countdown, Event};
use crate::txn::planted::{Bug, planted};

/// See the module.
pub struct Partition<E: Env> {
    /// Which one.
    pub id: PartitionId,
    /// Its log.
    pub log: Log<E>,
    /// Epoch that new batches are stamped with.
    pub leader_epoch: Cell<i32>,
    settings: RefCell<Rc<PartitionSettings>>,
    high_watermark: Cell<i64>,
    last_stable: Cell<i64>,
    /// Batches whose transaction is being looked up.
    pub(crate) gates: crate::shard::txn::Gates,
    waiters: RefCell<VecDeque<(i64, Rc<Countdown>)>>,
    watchers: RefCell<Vec<Rc<Event>>>,
}

impl<E: Env> Partition<E> {
    /// Takes a log over. What recovery found durable is committed.
    pub fn new(id: PartitionId, log: Log<E>, leader_epoch: i32, settings: Rc<PartitionSettings>) -> Self {
        let high_watermark = if settings.log.durability == Durability::Memory {
            log.end_offset()
        } else {
            log.durable_end()
        };
        let last_stable = stable(&log, high_watermark);
        Partition {
            id,
            log,
            leader_epoch: Cell::new(leader_epoch),
            settings: RefCell::new(settings),
            high_watermark: Cell::new(high_watermark),
            last_stable: Cell::new(last_stable),
            gates: crate::shard::txn::Gates::default(),
            waiters: RefCell::default(),
            watchers: RefCell::default(),
        }
    }

    /// Epoch and end offset for a leader epoch that somebody else knows (OffsetForLeaderEpoch, KIP-320; KIP-595 for
    /// fetches); (-1, -1) if it is newer than ours. The current epoch may have no record yet; its end is the end of the
    /// log all the same.
    pub fn epoch_end(&self, epoch: i32) -> (i32, i64) {
        if epoch == self.leader_epoch.get() {
            (epoch, self.log.end_offset())
        } else {
            self.log.epoch_end(epoch)
        }
    }

    /// Settings in force.
    pub fn settings(&self) -> Rc<PartitionSettings> {
        self.settings.borrow().clone()
    }

    /// New settings, for what comes from now on.
    pub fn set_settings(&self, settings: Rc<PartitionSettings>) {
        self.log.set_settings(settings.log);
        *self.settings.borrow_mut() = settings;
        self.advanced();
    }

    /// End of what consumers may read, exclusive.
    pub fn high_watermark(&self) -> i64 {
        self.high_watermark.get()
    }

    /// End of what read_committed consumers may read: the first record of the earliest transaction that is open, or
    /// whose marker is not durable yet; without any, the high watermark.
    pub fn last_stable_offset(&self) -> i64 {
        self.last_stable.get()
    }

    /// The end that a reader may not pass.
    pub fn readable_end(&self, read_committed: bool) -> i64 {
        if read_committed {
            self.last_stable.get()
        } else {
            self.high_watermark.get()
        }
    }

    /// Recomputes high watermark and last stable offset, releases whom the former passes and wakes whoever watches.
    pub fn advanced(&self) {
        let end = match self.settings.borrow().log.durability {
            Durability::Memory => self.log.end_offset(),
            Durability::Disk => self.log.durable_end(),
        };
        // A topic switched from memory to disk waits for its journal to catch up: the mark never moves back.
        let moved = end > self.high_watermark.get();
        if moved {
            self.high_watermark.set(end);
            let mut waiters = self.waiters.borrow_mut();
            while waiters.front().is_some_and(|(wanted, _)| *wanted <= end) {
                if let Some((_, waiter)) = waiters.pop_front() {
                    waiter.lower();
                }
            }
        }
        let last_stable = stable(&self.log, self.high_watermark.get());
        // What was readable stays readable: a transaction begins at the log end.
        let settled = last_stable > self.last_stable.get();
        if settled {
            self.last_stable.set(last_stable);
        }
        if moved || settled {
            self.wake_watchers();
        }
    }

    /// Counts `done` down once the high watermark reaches `end`; at once if it has.
    pub fn wait_for(&self, end: i64, done: &Rc<Countdown>) {
        if end <= self.high_watermark.get() {
            return;
        }
        done.raise();
        let mut waiters = self.waiters.borrow_mut();
        // A duplicate waits for an older offset than the newest waiter, so find the place from the back.
        let at = waiters
            .iter()
            .rposition(|(other, _)| *other <= end)
            .map_or(0, |i| i + 1);
        waiters.insert(at, (end, done.clone()));
    }

    /// Raises `event` when the high watermark or the last stable offset moves or the partition goes away.
    pub fn watch(&self, event: &Rc<Event>) {
        self.watchers.borrow_mut().push(event.clone());
    }

    /// Forgets an event registered with [`Partition::watch`].
    pub fn unwatch(&self, event: &Rc<Event>) {
        self.watchers
            .borrow_mut()
            .retain(|other| !Rc::ptr_eq(other, event));
    }

    /// The partition is being removed: everyone waiting is released and will find it gone.
    pub fn retire(&self) {
        for (_, waiter) in self.waiters.borrow_mut().drain(..) {
            waiter.lower();
        }
        self.wake_watchers();
    }

    fn wake_watchers(&self) {
        for watcher in self.watchers.borrow_mut().drain(..) {
            watcher.raise();
        }
    }

    /// Panics if an invariant is broken.
    pub fn check(&self) {
        let waiters = self.waiters.borrow();
        assert!(
            waiters.iter().is_sorted_by_key(|(end, _)| *end),
            "waiters out of order"
        );
        assert!(
            waiters
                .front()
                .is_none_or(|(end, _)| *end > self.high_watermark.get()),
            "a waiter was forgotten"
        );
        assert!(
            self.high_watermark.get() <= self.log.end_offset(),
            "high watermark above the log end"
        );
        assert!(
            self.last_stable.get() <= self.high_watermark.get(),
            "last stable offset above the high watermark"
        );
    }
}

/// The last stable offset of a log with this high watermark.
fn stable<E: Env>(log: &Log<E>, high_watermark: i64) -> i64 {
    if planted(Bug::SkippedStable) {
        // Only the latest of several open transactions counts.
        let open = log.producers().into_iter().map(|entry| entry.txn_first_offset);
        let latest = open.filter(|first| *first >= 0).max();
        return latest.map_or(high_watermark, |first| first.min(high_watermark));
    }
    match log.first_unstable_offset() {
        // Records of an open transaction may be gone already.
        Some(first) => first.max(log.start_offset()).min(high_watermark),
        None => high_watermark,
    }
}
