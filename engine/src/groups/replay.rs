//! Loading: records of the partition, one after the other, become groups and offsets again.

use super::consumer::{ConsumerGroup, records as consumer_records};
use super::coordinator::{Coordinator, Phase, ReplayRecord};
use super::group::Group;
use super::records::{self, Key};
use std::rc::Rc;

impl Coordinator {
    /// Takes in one committed record of the partition; records come in offset order, before [`Coordinator::loaded`].
    ///
    /// A record that cannot be read is skipped and counted in [`Stats::bad_records`].
    pub fn replay(&mut self, record: ReplayRecord<'_>) {
        assert_eq!(self.phase, Phase::Loading, "replay after loading");
        if self.try_replay(record).is_none() {
            self.stats.bad_records += 1;
        }
    }

    fn try_replay(&mut self, record: ReplayRecord<'_>) -> Option<()> {
        match records::decode_key(record.key?).ok()? {
            Key::Offset {
                group,
                topic,
                partition,
            } => {
                let value = match record.value {
                    Some(value) => Some(records::decode_offset(value).ok()?),
                    None => None,
                };
                // A million of these may come: nothing is copied or looked up that is at hand.
                let (group, is_known) = match self.last_loaded.take() {
                    Some(last) if *last == *group => (last, true),
                    _ => self.loading(group, value.is_some()),
                };
                self.offsets
                    .load(&group, topic, partition, record.producer_id, value, record.offset);
                self.last_loaded = is_known.then_some(group);
            }
            Key::Group { group } => {
                self.last_loaded = None;
                let id: Rc<str> = group.into();
                let loaded = match record.value {
                    Some(value) => {
                        let value = records::decode_group(value).ok()?;
                        self.last_uid += 1;
                        let uid = self.last_uid;
                        Some(Group::from_record(id.clone(), uid, value, &mut self.last_uid)?)
                    }
                    None => None,
                };
                if let Some(old) = self.groups.remove(&id) {
                    self.names.remove(&old.uid);
                }
                if let Some(group) = loaded {
                    self.drop_consumer_group(&id);
                    self.names.insert(group.uid, id.clone());
                    self.groups.insert(id, group);
                }
            }
            Key::Other(kind) if consumer_records::is_ours(kind) => self.replay_consumer(kind, record)?,
            Key::Other(_) => self.stats.foreign_records += 1,
        }
        Some(())
    }

    /// The group of an offset, and whether there is one. An offset that is set brings its group into being.
    fn loading(&mut self, group: &str, is_set: bool) -> (Rc<str>, bool) {
        let classic = self.groups.get_key_value(group).map(|(id, _)| id);
        let known = classic.or_else(|| self.consumers.groups.get_key_value(group).map(|(id, _)| id));
        if let Some(id) = known {
            return (id.clone(), true);
        }
        let id: Rc<str> = group.into();
        if is_set {
            self.add_simple_group(id.clone());
        }
        (id, is_set)
    }

    fn replay_consumer(&mut self, kind: i16, record: ReplayRecord<'_>) -> Option<()> {
        let (group, change) = consumer_records::decode(kind, record.key?, record.value)?;
        let Some(change) = change else {
            return Some(());
        };
        self.last_loaded = None;
        let id: Rc<str> = group.into();
        if !self.consumers.groups.contains_key(&id) {
            if record.value.is_none() {
                return Some(());
            }
            // What was known under the id was there for its offsets' sake, or its tombstone is compacted away.
            if let Some(old) = self.groups.remove(&id) {
                self.names.remove(&old.uid);
            }
            self.last_uid += 1;
            let mut group = ConsumerGroup::new(id.clone(), self.last_uid);
            group.visible = true;
            self.consumers.names.insert(group.uid, id.clone());
            self.consumers.groups.insert(id.clone(), Box::new(group));
        }
        let group = self.consumers.groups.get_mut(&id).expect("entered above");
        group.apply(change, &mut self.last_uid);
        let is_gone = group.members.is_empty()
            && group.targets.is_empty()
            && !group.has_target_epoch()
            && !group.has_epoch();
        if is_gone {
            self.drop_consumer_group(&id);
        }
        Some(())
    }

    fn drop_consumer_group(&mut self, id: &Rc<str>) {
        if let Some(old) = self.consumers.groups.remove(id) {
            self.consumers.names.remove(&old.uid);
        }
    }

    /// A group that exists for its offsets' sake: a client outside group management committed them.
    pub(super) fn add_simple_group(&mut self, id: Rc<str>) {
        self.last_uid += 1;
        let mut simple = Group::new(id.clone(), self.last_uid, 0);
        simple.state_since_ms = None;
        simple.visible = true;
        self.names.insert(simple.uid, id.clone());
        self.groups.insert(id, simple);
    }
}
