//! What clients did and were told, and when: the position in the log of IO events that was reached then.
//!
//! A power cut after event `n` happens after everything noted at `n` or before: answers noted there may have left. What
//! is noted later has not happened.

use std::collections::{BTreeMap, BTreeSet};

/// Names a record: the number of its transaction, and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Value {
    pub txn: u32,
    pub number: u32,
}

impl Value {
    pub fn write(self) -> String {
        format!("{}/{}", self.txn, self.number)
    }

    pub fn read(bytes: &[u8]) -> Option<Value> {
        let (txn, number) = std::str::from_utf8(bytes).ok()?.split_once('/')?;
        Some(Value {
            txn: txn.parse().ok()?,
            number: number.parse().ok()?,
        })
    }
}

/// Producer id and epoch.
pub(super) type Identity = (i64, i16);

/// One thing that happened.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fact {
    /// A producer was told who it is.
    Told { id: String, identity: Identity },
    /// A transaction begins, at a client that may be fenced already.
    Begun { id: String, txn: u32 },
    /// A record is on its way to a partition.
    Sent { value: Value, partition: i32 },
    /// It is there.
    Acked { value: Value },
    /// The transaction has an offset of its group: its own number.
    Offset { txn: u32 },
    /// EndTxn is on its way.
    Asked { txn: u32, commit: bool },
    /// EndTxn was answered.
    Ended { txn: u32, commit: bool },
    /// A reader of committed records has read all of a partition.
    Shown { partition: i32, values: Vec<Value> },
    /// A group was told its stable offset.
    OffsetShown { id: String, offset: i64 },
}

/// Everything that happened, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    noted: Vec<(usize, Fact)>,
    next_txn: u32,
}

impl Facts {
    pub fn note(&mut self, at: usize, fact: Fact) {
        self.noted.push((at, fact));
    }

    /// A new transaction's number; later ones are higher.
    pub fn next_txn(&mut self) -> u32 {
        self.next_txn += 1;
        self.next_txn
    }

    /// Facts that hold after a power cut there, for a life that begins with it.
    pub fn at_cut(&self, events: usize) -> Facts {
        Facts {
            noted: self.upto(events).map(|(_, fact)| (0, fact.clone())).collect(),
            next_txn: self.next_txn,
        }
    }

    /// Positions count from `events` on.
    pub fn rebase(&mut self, events: usize) {
        for (at, _) in &mut self.noted {
            *at = at.saturating_sub(events);
        }
    }

    fn upto(&self, events: usize) -> impl Iterator<Item = &(usize, Fact)> {
        self.noted.iter().filter(move |(at, _)| *at <= events)
    }

    /// What must be true after a power cut there.
    pub fn expected(&self, events: usize) -> Expected {
        let mut expected = Expected::default();
        for (_, fact) in self.upto(events) {
            match fact.clone() {
                Fact::Told { id, identity } => {
                    expected.told.entry(id).or_default().insert(identity);
                }
                Fact::Begun { id, txn } => expected.txn(txn).id = id,
                Fact::Sent { value, partition } => {
                    expected.txn(value.txn).sent.insert(value, partition);
                }
                Fact::Acked { value } => {
                    expected.txn(value.txn).acked.insert(value);
                }
                Fact::Offset { txn } => expected.txn(txn).offset = true,
                Fact::Asked { txn, commit } => expected.txn(txn).asked = Some(commit),
                Fact::Ended { txn, commit } => expected.txn(txn).ended = Some(commit),
                Fact::Shown { partition, values } => {
                    expected.shown.insert(partition, values);
                }
                Fact::OffsetShown { id, offset } => {
                    expected.offsets.insert(id, offset);
                }
            }
        }
        expected
    }

    /// Transactions whose end was acknowledged.
    pub fn ended(&self) -> usize {
        self.count(|fact| matches!(fact, Fact::Ended { .. }))
    }

    /// How many facts are like that.
    pub fn count(&self, like: impl Fn(&Fact) -> bool) -> usize {
        self.noted.iter().filter(|(_, fact)| like(fact)).count()
    }

    /// The last of them up to a power cut, for a failure's story.
    pub fn story(&self, events: usize, count: usize) -> String {
        let all: Vec<_> = self
            .upto(events)
            .filter(|(_, fact)| !matches!(fact, Fact::Shown { .. }))
            .collect();
        let from = all.len().saturating_sub(count);
        all[from..]
            .iter()
            .map(|(at, fact)| format!("  {at:5} {fact:?}\n"))
            .collect()
    }
}

/// One transaction as its client knows it.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    pub id: String,
    /// With their partitions.
    pub sent: BTreeMap<Value, i32>,
    pub acked: BTreeSet<Value>,
    pub offset: bool,
    /// Which end was asked for.
    pub asked: Option<bool>,
    /// Which end was acknowledged.
    pub ended: Option<bool>,
}

/// What must be true after a power cut.
#[derive(Debug, Clone, Default)]
pub(super) struct Expected {
    pub txns: BTreeMap<u32, Known>,
    /// All identities told, by transactional id.
    pub told: BTreeMap<String, BTreeSet<Identity>>,
    /// By partition.
    pub shown: BTreeMap<i32, Vec<Value>>,
    /// By transactional id.
    pub offsets: BTreeMap<String, i64>,
}

impl Expected {
    fn txn(&mut self, txn: u32) -> &mut Known {
        self.txns.entry(txn).or_default()
    }
}
