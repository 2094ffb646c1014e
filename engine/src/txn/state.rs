//! One transactional id: its producer id and epoch, the state of its transaction, and the transitions there are.
//!
//! A transition is a new [`Txn`]; it becomes the present one when its record is committed.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use turgo_net::ErrorCode;

use super::messages::{Level, TV2};

/// Partitions of a transaction, by topic name.
pub type TopicPartitions = BTreeMap<Rc<str>, BTreeSet<i32>>;

/// Where a transaction stands. Numbers are those of the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TxnState {
    /// No transaction since the producer id was given out.
    Empty = 0,
    /// Partitions were added.
    Ongoing = 1,
    /// Committed: what was written counts, its markers are on their way.
    PrepareCommit = 2,
    /// Aborted; its markers are on their way.
    PrepareAbort = 3,
    /// All markers are written.
    CompleteCommit = 4,
    /// All markers are written.
    CompleteAbort = 5,
}

impl TxnState {
    /// All states, with Kafka's names.
    pub const ALL: [TxnState; 6] = [
        TxnState::Empty,
        TxnState::Ongoing,
        TxnState::PrepareCommit,
        TxnState::PrepareAbort,
        TxnState::CompleteCommit,
        TxnState::CompleteAbort,
    ];

    /// Kafka's name.
    pub fn name(self) -> &'static str {
        match self {
            TxnState::Empty => "Empty",
            TxnState::Ongoing => "Ongoing",
            TxnState::PrepareCommit => "PrepareCommit",
            TxnState::PrepareAbort => "PrepareAbort",
            TxnState::CompleteCommit => "CompleteCommit",
            TxnState::CompleteAbort => "CompleteAbort",
        }
    }

    /// The state of a record's number.
    pub fn from_record(number: i8) -> Option<TxnState> {
        TxnState::ALL.into_iter().find(|state| *state as i8 == number)
    }

    /// The outcome is decided and markers are being written.
    pub fn is_prepared(self) -> bool {
        matches!(self, TxnState::PrepareCommit | TxnState::PrepareAbort)
    }
}

/// An epoch from which on a producer id is given up: the highest is kept for a last fence.
pub(super) const LAST_EPOCH: i16 = i16::MAX - 1;

/// A transactional id as one record tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Txn {
    pub producer_id: i64,
    /// Producer id before the latest transition; -1 for none.
    pub previous_id: i64,
    /// Producer id that takes over once this transaction is complete, as its epochs are used up; -1 for none.
    pub next_id: i64,
    /// -1 before the first transition.
    pub epoch: i16,
    /// Epoch before the latest raise, by which a repeated request is known; -1 for none. Not in the record.
    pub last_epoch: i16,
    pub timeout_ms: i32,
    pub state: TxnState,
    pub partitions: TopicPartitions,
    /// Start of the latest transaction, ms since the epoch; -1 for none.
    pub start_ms: i64,
    /// Time of the latest transition, ms since the epoch.
    pub updated_ms: i64,
    /// How the client that made the latest transition works.
    pub level: Level,
}

impl Txn {
    /// An id that nothing has been recorded of.
    pub fn new(producer_id: i64, timeout_ms: i32, now_ms: i64) -> Txn {
        Txn {
            producer_id,
            previous_id: -1,
            next_id: -1,
            epoch: -1,
            last_epoch: -1,
            timeout_ms,
            state: TxnState::Empty,
            partitions: TopicPartitions::new(),
            start_ms: -1,
            updated_ms: now_ms,
            level: 0,
        }
    }

    /// The epochs of the producer id are used up.
    pub fn is_exhausted(&self) -> bool {
        self.epoch >= LAST_EPOCH
    }

    fn to(&self, state: TxnState, now_ms: i64) -> Txn {
        Txn {
            state,
            previous_id: self.producer_id,
            updated_ms: now_ms,
            ..self.clone()
        }
    }

    /// The producer begins anew under the next epoch (InitProducerId). `expected` is the epoch that it believes to have.
    pub fn raise_epoch(&self, timeout_ms: i32, expected: Option<i16>, now_ms: i64) -> Result<Txn, ErrorCode> {
        let (epoch, last_epoch) = match expected {
            None if self.is_exhausted() => return Err(ErrorCode::PRODUCER_FENCED),
            None => (self.epoch + 1, -1),
            // Nobody else came in between, or the id is new.
            Some(expected) if self.epoch == -1 || (expected == self.epoch && !self.is_exhausted()) => {
                (self.epoch + 1, self.epoch)
            }
            // Asked again: the answer to the first was lost. Who else had come would have cleared the last epoch.
            Some(expected) if expected == self.last_epoch => (self.epoch, self.last_epoch),
            Some(_) => return Err(ErrorCode::PRODUCER_FENCED),
        };
        Ok(Txn {
            epoch,
            last_epoch,
            timeout_ms,
            partitions: TopicPartitions::new(),
            start_ms: -1,
            ..self.to(TxnState::Empty, now_ms)
        })
    }

    /// The producer begins anew under a new producer id.
    pub fn rotate(&self, producer_id: i64, timeout_ms: i32, remember_epoch: bool, now_ms: i64) -> Txn {
        Txn {
            producer_id,
            epoch: 0,
            last_epoch: if remember_epoch { self.epoch } else { -1 },
            timeout_ms,
            partitions: TopicPartitions::new(),
            start_ms: -1,
            ..self.to(TxnState::Empty, now_ms)
        }
    }

    /// Partitions join the transaction, which begins if none is open.
    pub fn add(&self, partitions: TopicPartitions, level: Level, now_ms: i64) -> Txn {
        let ongoing = self.state == TxnState::Ongoing;
        let mut next = Txn {
            start_ms: if ongoing { self.start_ms } else { now_ms },
            level,
            ..self.to(TxnState::Ongoing, now_ms)
        };
        for (topic, partitions) in partitions {
            next.partitions.entry(topic).or_default().extend(partitions);
        }
        next
    }

    /// The outcome is decided. From level 2 on the epoch is raised, so that whoever has the present one is fenced, and
    /// `next_id` takes over if no epoch is left.
    pub fn prepare(&self, commit: bool, level: Level, next_id: i64, now_ms: i64) -> Txn {
        let state = if commit {
            TxnState::PrepareCommit
        } else {
            TxnState::PrepareAbort
        };
        let (epoch, last_epoch) = if level >= TV2 {
            (self.epoch.saturating_add(1), self.epoch)
        } else {
            (self.epoch, self.last_epoch)
        };
        Txn {
            epoch,
            last_epoch,
            next_id,
            // An abort of nothing begins where it ends.
            start_ms: if self.state == TxnState::Ongoing {
                self.start_ms
            } else {
                now_ms
            },
            level,
            ..self.to(state, now_ms)
        }
    }

    /// All markers are durable.
    pub fn complete(&self, now_ms: i64) -> Txn {
        let state = if self.state == TxnState::PrepareCommit {
            TxnState::CompleteCommit
        } else {
            TxnState::CompleteAbort
        };
        let (producer_id, epoch) = self.after();
        Txn {
            producer_id,
            epoch,
            next_id: -1,
            partitions: TopicPartitions::new(),
            ..self.to(state, now_ms)
        }
    }

    /// Producer id and epoch once the prepared transaction is complete: what EndTxn answers.
    pub fn after(&self) -> (i64, i16) {
        if self.level >= TV2 && self.next_id != -1 {
            (self.next_id, 0)
        } else {
            (self.producer_id, self.epoch)
        }
    }

    /// Whether all of these are in the transaction.
    pub fn contains(&self, topic: &str, partition: i32) -> bool {
        self.partitions
            .get(topic)
            .is_some_and(|partitions| partitions.contains(&partition))
    }

    /// Panics if an invariant is broken.
    pub fn check(&self, id: &str) {
        assert!(self.producer_id >= 0, "{id}: producer id {}", self.producer_id);
        assert!(self.epoch >= -1, "{id}: epoch {}", self.epoch);
        let open = self.state == TxnState::Ongoing || self.state.is_prepared();
        assert!(
            open || self.partitions.is_empty(),
            "{id}: partitions in {:?}",
            self.state
        );
        assert!(
            self.next_id == -1 || self.state.is_prepared(),
            "{id}: next id in {:?}",
            self.state
        );
        assert!(
            self.partitions.values().all(|partitions| !partitions.is_empty()),
            "{id}: a topic without partitions"
        );
    }
}
