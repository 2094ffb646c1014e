//! One session: its partitions in the order in which they are read, and what the client was told of each.
//!
//! Partitions lie in a vector in reading order. One that leaves or moves to the end leaves a hole; when half are holes
//! the vector is closed up. So a round walks memory in order, and every change costs constant time on average.

use std::collections::HashMap;
use std::sync::Arc;

use super::{PARTITION_BYTES, TOPIC_BYTES, Value};

/// What a session calls a topic: requests below version 13 have names, later ones ids.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TopicName {
    /// By name.
    Name(Arc<str>),
    /// By id.
    Id([u8; 16]),
}

impl TopicName {
    fn bytes(&self) -> usize {
        TOPIC_BYTES
            + match self {
                TopicName::Name(name) => name.len(),
                TopicName::Id(_) => 0,
            }
    }
}

/// How a client asks for a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want {
    /// First offset wanted.
    pub offset: i64,
    /// Most bytes, as it came.
    pub max_bytes: i32,
    /// The client's idea of the leader epoch, -1 for none.
    pub leader_epoch: i32,
    /// Epoch of the last record that the client has, -1 for none.
    pub last_epoch: i32,
}

/// What a client was told of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// High watermark; -1 after an error or before the first answer.
    pub high_watermark: i64,
    /// Last stable offset.
    pub last_stable: i64,
    /// First offset kept.
    pub log_start: i64,
}

impl Seen {
    /// Nothing yet.
    pub const NOTHING: Seen = Seen {
        high_watermark: -1,
        last_stable: -1,
        log_start: -1,
    };

    /// What is new in an answer for a client that was told `self`; `None` if it need not be told anything.
    pub fn news(&self, answer: &News) -> Option<Seen> {
        let told = Seen {
            // Once the error has gone, the partition is told again whatever its marks are.
            high_watermark: if answer.error {
                -1
            } else {
                answer.marks.high_watermark
            },
            ..answer.marks
        };
        let new = answer.data || answer.error || answer.diverging || *self != answer.marks;
        new.then_some(told)
    }
}

/// What an answer says about a partition, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct News {
    /// Its marks.
    pub marks: Seen,
    /// It has records.
    pub data: bool,
    /// It has an error.
    pub error: bool,
    /// It tells where the logs part (KIP-595) or which replica to read from (KIP-392).
    pub diverging: bool,
}

/// A partition of a round that the client is told about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Of the round's part.
    pub place: u32,
    /// What it is told.
    pub seen: Seen,
    /// With records: the partition is read last from now on.
    pub data: bool,
}

/// A partition to read for a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoundPart {
    /// Where the session keeps it.
    pub place: u32,
    /// Its topic, by position in [`Round::topics`].
    pub topic: u32,
    /// Its number.
    pub partition: i32,
    /// How the client asks.
    pub want: Want,
    /// What the client was told.
    pub seen: Seen,
}

/// What a request of a session asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Round {
    /// The session's epoch from now on.
    pub epoch: i32,
    /// Topics; some may have no partition any more.
    pub topics: Vec<TopicName>,
    /// In the order to read them.
    pub parts: Vec<RoundPart>,
}

#[derive(Debug, Clone, Copy)]
struct Cached {
    topic: u32,
    partition: i32,
    want: Want,
    seen: Seen,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Session {
    pub epoch: i32,
    pub uses_ids: bool,
    pub privileged: bool,
    pub created_ms: u64,
    pub used_ms: u64,
    /// Under which it is in the cache's indexes.
    pub value: Value,
    topics: Vec<TopicName>,
    numbers: HashMap<TopicName, u32>,
    slots: Vec<Option<Cached>>,
    places: HashMap<(u32, i32), u32>,
    topic_bytes: usize,
}

/// The epoch after `epoch`: 1 follows the largest, as 0 asks for a new session.
pub(super) fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

impl Session {
    pub(super) fn new(privileged: bool, uses_ids: bool, created_ms: u64) -> Session {
        Session {
            epoch: next_epoch(super::INITIAL_EPOCH),
            uses_ids,
            privileged,
            created_ms,
            used_ms: created_ms,
            value: (privileged, 0, 0),
            topics: Vec::new(),
            numbers: HashMap::new(),
            slots: Vec::new(),
            places: HashMap::new(),
            topic_bytes: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.len() * PARTITION_BYTES + self.topic_bytes
    }

    /// The session's number of the topic that a request calls `topic`; `known` remembers it for the request.
    pub(super) fn number(&mut self, topics: &[TopicName], known: &mut [Option<u32>], topic: u32) -> u32 {
        let at = topic as usize;
        if let Some(number) = known[at] {
            return number;
        }
        let name = &topics[at];
        let number = match self.numbers.get(name) {
            Some(number) => *number,
            None => {
                let number = self.topics.len() as u32;
                self.topics.push(name.clone());
                self.numbers.insert(name.clone(), number);
                self.topic_bytes += name.bytes();
                number
            }
        };
        known[at] = Some(number);
        number
    }

    /// Adds a partition at the end, or changes how it is asked for.
    pub(super) fn put(&mut self, topic: u32, partition: i32, want: Want, seen: Option<Seen>) {
        match self.places.get(&(topic, partition)) {
            Some(place) => {
                let cached = self.slots[*place as usize]
                    .as_mut()
                    .expect("places have partitions");
                cached.want = want;
                if let Some(seen) = seen {
                    cached.seen = seen;
                }
            }
            None => {
                self.places.insert((topic, partition), self.slots.len() as u32);
                self.slots.push(Some(Cached {
                    topic,
                    partition,
                    want,
                    seen: seen.unwrap_or(Seen::NOTHING),
                }));
            }
        }
    }

    pub(super) fn remove(&mut self, topic: &TopicName, partition: i32) {
        let Some(topic) = self.numbers.get(topic) else {
            return;
        };
        if let Some(place) = self.places.remove(&(*topic, partition)) {
            self.slots[place as usize] = None;
        }
    }

    pub(super) fn told(&mut self, told: &Told) {
        let Some(slot) = self.slots.get_mut(told.place as usize) else {
            return;
        };
        let Some(cached) = slot else { return };
        cached.seen = told.seen;
        if told.data {
            let key = (cached.topic, cached.partition);
            let last = slot.take();
            self.places.insert(key, self.slots.len() as u32);
            self.slots.push(last);
        }
    }

    /// The partitions to read. Closes holes first, so places hold until the next round.
    pub(super) fn round(&mut self) -> Round {
        if self.slots.len() > 2 * self.places.len() {
            self.slots.retain(Option::is_some);
            for (place, cached) in self.slots.iter().flatten().enumerate() {
                self.places.insert((cached.topic, cached.partition), place as u32);
            }
        }
        self.forget_topics();
        let parts = self
            .slots
            .iter()
            .zip(0..)
            .filter_map(|(slot, place)| {
                slot.map(|cached| RoundPart {
                    place,
                    topic: cached.topic,
                    partition: cached.partition,
                    want: cached.want,
                    seen: cached.seen,
                })
            })
            .collect();
        Round {
            epoch: self.epoch,
            topics: self.topics.clone(),
            parts,
        }
    }

    /// Drops topics without partitions once they are the most, so that a client that walks through topics keeps few.
    fn forget_topics(&mut self) {
        if self.topics.len() <= 2 * self.places.len() {
            return;
        }
        let mut kept = vec![None; self.topics.len()];
        let topics = std::mem::take(&mut self.topics);
        let mut renumbered = HashMap::with_capacity(self.places.len());
        for (place, slot) in self.slots.iter_mut().enumerate() {
            let Some(cached) = slot else { continue };
            let old = cached.topic as usize;
            cached.topic = *kept[old].get_or_insert_with(|| {
                self.topics.push(topics[old].clone());
                self.topics.len() as u32 - 1
            });
            renumbered.insert((cached.topic, cached.partition), place as u32);
        }
        self.places = renumbered;
        self.topic_bytes = self.topics.iter().map(TopicName::bytes).sum();
        self.numbers = self.topics.iter().cloned().zip(0..).collect();
    }

    pub(super) fn check(&self) {
        assert_eq!(self.slots.iter().flatten().count(), self.places.len());
        for ((topic, partition), place) in &self.places {
            let cached = self.slots[*place as usize].expect("a place without partition");
            assert_eq!((cached.topic, cached.partition), (*topic, *partition));
        }
        assert_eq!(self.topics.len(), self.numbers.len());
        assert_eq!(
            self.topic_bytes,
            self.topics.iter().map(TopicName::bytes).sum::<usize>()
        );
        assert!(
            !self.is_empty() || self.slots.is_empty(),
            "an empty session is closed"
        );
    }
}
