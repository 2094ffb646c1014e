//! Committed offsets of all groups of one coordinator, with what is on its way to the log.
//!
//! Each partition of a group has its committed value, writes whose append is under way (oldest first), and values
//! pending in open transactions. OffsetFetch reads the committed value only; decisions about further writes (is there
//! something to delete?) read the latest. A write enters with [`OffsetStore::stage`] and leaves with
//! [`OffsetStore::commit`] or [`OffsetStore::abort`].
//!
//! Invariants (see [`OffsetStore::check`]): a partition without any value does not exist; the index of open
//! transactions names exactly the partitions that hold a pending value.

use super::planted::{Bug, planted};
use super::records::OffsetValue;
use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::rc::Rc;

/// Group, topic and partition.
pub(super) type OffsetId = (Rc<str>, Rc<str>, i32);

/// Names a staged write.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    pub group: Rc<str>,
    pub topic: Rc<str>,
    pub partition: i32,
    /// Position of the record in its append.
    pub index: u32,
}

/// A value and the log offset of its record.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stored {
    value: OffsetValue,
    record_offset: i64,
}

#[derive(Debug, Clone)]
struct Staged {
    token: u64,
    producer_id: Option<i64>,
    /// `None` removes the offset.
    value: Option<OffsetValue>,
}

/// What is known of one partition.
#[derive(Debug, Clone, Default)]
pub(super) struct Entry {
    committed: Option<Stored>,
    staged: Vec<Staged>,
    /// By producer id; few at a time.
    transactional: Vec<(i64, Stored)>,
}

impl Entry {
    /// The committed value.
    pub fn committed(&self) -> Option<&OffsetValue> {
        self.committed.as_ref().map(|stored| &stored.value)
    }

    /// The value there will be once every write under way is committed.
    pub fn latest(&self) -> Option<&OffsetValue> {
        match self
            .staged
            .iter()
            .rev()
            .find(|staged| staged.producer_id.is_none())
        {
            Some(staged) => staged.value.as_ref(),
            None => self.committed(),
        }
    }

    /// Whether a transaction that holds an offset for the partition is still open.
    pub fn in_transaction(&self) -> bool {
        !self.transactional.is_empty() || self.staged.iter().any(|staged| staged.producer_id.is_some())
    }

    /// Whether a write is under way.
    pub fn is_staged(&self) -> bool {
        !self.staged.is_empty()
    }

    fn is_void(&self) -> bool {
        self.committed.is_none() && self.staged.is_empty() && self.transactional.is_empty()
    }
}

/// Partitions of one topic.
pub(super) type Partitions = BTreeMap<i32, Entry>;
/// Topics of one group.
pub(super) type Topics = BTreeMap<Rc<str>, Partitions>;

/// All offsets of one coordinator.
#[derive(Debug, Default)]
pub(super) struct OffsetStore {
    groups: BTreeMap<Rc<str>, Topics>,
    open: BTreeMap<i64, BTreeSet<OffsetId>>,
    len: usize,
}

impl OffsetStore {
    /// Partitions with a value of any kind.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The topics of a group.
    pub fn group(&self, group: &str) -> Option<&Topics> {
        self.groups.get(group)
    }

    /// All groups with offsets, by id.
    pub fn groups(&self) -> impl Iterator<Item = (&Rc<str>, &Topics)> {
        self.groups.iter()
    }

    /// One partition of a group.
    pub fn entry(&self, group: &str, topic: &str, partition: i32) -> Option<&Entry> {
        self.groups.get(group)?.get(topic)?.get(&partition)
    }

    /// The committed value of one partition.
    pub fn committed(&self, group: &str, topic: &str, partition: i32) -> Option<&OffsetValue> {
        self.entry(group, topic, partition)?.committed()
    }

    fn entry_mut(&mut self, group: &Rc<str>, topic: &str, partition: i32) -> &mut Entry {
        let topics = self.groups.entry(group.clone()).or_default();
        if !topics.contains_key(topic) {
            topics.insert(topic.into(), Partitions::default());
        }
        let partitions = topics.get_mut(topic).expect("entered above");
        match partitions.entry(partition) {
            btree_map::Entry::Occupied(known) => known.into_mut(),
            btree_map::Entry::Vacant(place) => {
                self.len += 1;
                place.insert(Entry::default())
            }
        }
    }

    /// The name of a topic of a group, shared; a copy if there is none.
    fn shared(&self, group: &str, topic: &str) -> Rc<str> {
        let known = self
            .groups
            .get(group)
            .and_then(|topics| topics.get_key_value(topic));
        known.map_or_else(|| topic.into(), |(name, _)| name.clone())
    }

    /// Changes an entry that exists, and removes it if nothing is left of it.
    fn settle(&mut self, group: &str, topic: &str, partition: i32, change: impl FnOnce(&mut Entry)) {
        let Some(topics) = self.groups.get_mut(group) else {
            return;
        };
        let Some(partitions) = topics.get_mut(topic) else {
            return;
        };
        let Some(entry) = partitions.get_mut(&partition) else {
            return;
        };
        change(entry);
        if !entry.is_void() {
            return;
        }
        partitions.remove(&partition);
        self.len -= 1;
        if partitions.is_empty() {
            topics.remove(topic);
            if topics.is_empty() {
                self.groups.remove(group);
            }
        }
    }

    /// Records that append `token` will write (or, with `None`, remove) an offset.
    pub fn stage(
        &mut self,
        token: u64,
        group: &Rc<str>,
        topic: &str,
        partition: i32,
        producer_id: Option<i64>,
        value: Option<OffsetValue>,
    ) -> (Rc<str>, i32) {
        self.entry_mut(group, topic, partition).staged.push(Staged {
            token,
            producer_id,
            value,
        });
        (self.shared(group, topic), partition)
    }

    /// Append `token` is committed: the oldest write it staged for the slot takes effect.
    pub fn commit(&mut self, token: u64, slot: &Slot, record_offset: i64) {
        let mut taken = None;
        self.settle(&slot.group, &slot.topic, slot.partition, |entry| {
            if let Some(at) = entry.staged.iter().position(|staged| staged.token == token) {
                taken = Some(entry.staged.remove(at));
            }
        });
        if let Some(staged) = taken {
            self.load(
                &slot.group,
                &slot.topic,
                slot.partition,
                staged.producer_id,
                staged.value,
                record_offset,
            );
        }
    }

    /// Append `token` failed: the write it staged never was.
    pub fn abort(&mut self, token: u64, slot: &Slot) {
        if planted(Bug::FailedOffsetStays) {
            return self.commit(token, slot, -1);
        }
        self.settle(&slot.group, &slot.topic, slot.partition, |entry| {
            entry.staged.retain(|staged| staged.token != token);
        });
    }

    /// A committed record takes effect.
    pub fn load(
        &mut self,
        group: &Rc<str>,
        topic: &str,
        partition: i32,
        producer_id: Option<i64>,
        value: Option<OffsetValue>,
        record_offset: i64,
    ) {
        let Some(value) = value else {
            let mut closed = Vec::new();
            self.settle(group, topic, partition, |entry| {
                entry.committed = None;
                closed.extend(entry.transactional.drain(..).map(|(producer_id, _)| producer_id));
            });
            let key = (group.clone(), Rc::from(topic), partition);
            for producer_id in closed {
                self.close(producer_id, &key);
            }
            return;
        };
        let entry = self.entry_mut(group, topic, partition);
        let stored = Stored { value, record_offset };
        match producer_id {
            None => entry.committed = Some(stored),
            Some(producer_id) => {
                match entry.transactional.iter_mut().find(|(id, _)| *id == producer_id) {
                    Some((_, before)) => *before = stored,
                    None => entry.transactional.push((producer_id, stored)),
                }
                let name = self.shared(group, topic);
                self.open
                    .entry(producer_id)
                    .or_default()
                    .insert((group.clone(), name, partition));
            }
        }
    }

    fn close(&mut self, producer_id: i64, key: &OffsetId) {
        if let Some(keys) = self.open.get_mut(&producer_id) {
            keys.remove(key);
            if keys.is_empty() {
                self.open.remove(&producer_id);
            }
        }
    }

    /// The producer's transaction ended. A value older in the log than the committed one stays without effect:
    /// compaction may already have removed its record.
    pub fn end_transaction(&mut self, producer_id: i64, commit: bool) {
        for (group, topic, partition) in self.open.remove(&producer_id).unwrap_or_default() {
            self.settle(&group, &topic, partition, |entry| {
                let Some(at) = entry.transactional.iter().position(|(id, _)| *id == producer_id) else {
                    return;
                };
                let (_, stored) = entry.transactional.remove(at);
                let newer = entry
                    .committed
                    .as_ref()
                    .is_none_or(|old| stored.record_offset > old.record_offset);
                if commit && newer {
                    entry.committed = Some(stored);
                }
            });
        }
    }

    /// Panics if an invariant is broken; `pending` tells whether an append is under way.
    pub fn check(&self, pending: impl Fn(u64) -> bool) {
        let mut len = 0;
        let mut open = BTreeMap::new();
        for (group, topics) in &self.groups {
            assert!(!topics.is_empty(), "group {group} without topics");
            for (topic, partitions) in topics {
                assert!(
                    !partitions.is_empty(),
                    "topic {topic} of group {group} without partitions"
                );
                for (partition, entry) in partitions {
                    len += 1;
                    assert!(!entry.is_void(), "{group}/{topic}/{partition} holds nothing");
                    for staged in &entry.staged {
                        assert!(
                            pending(staged.token),
                            "{group}/{topic}/{partition} waits for append {}",
                            staged.token
                        );
                    }
                    for (producer_id, _) in &entry.transactional {
                        open.entry(*producer_id).or_insert_with(BTreeSet::new).insert((
                            group.clone(),
                            topic.clone(),
                            *partition,
                        ));
                    }
                }
            }
        }
        assert_eq!(len, self.len, "count of offsets");
        assert_eq!(open, self.open, "index of open transactions");
    }
}
