//! What consumer groups want to know of the cluster: topics, racks, and the settings of a group.
//!
//! The caller answers from its metadata; it tells the coordinator with `topics_changed` when answers about topics have
//! changed. In tests a model answers.

use super::TopicId;
use std::collections::BTreeMap;

/// A topic as groups see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its id.
    pub id: TopicId,
    /// How many partitions it has.
    pub partitions: i32,
}

/// A group's own settings; `None` leaves it to the broker's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Overrides {
    /// `consumer.session.timeout.ms`.
    pub session_timeout_ms: Option<i32>,
    /// `consumer.heartbeat.interval.ms`.
    pub heartbeat_interval_ms: Option<i32>,
    /// `consumer.assignment.interval.ms`.
    pub assignment_interval_ms: Option<i32>,
}

/// The cluster's metadata, as of now.
pub trait Cluster: std::fmt::Debug {
    /// The topic of this name.
    fn topic(&self, name: &str) -> Option<TopicInfo>;
    /// Name of the topic with this id.
    fn name(&self, id: &TopicId) -> Option<String>;
    /// Racks that hold a replica of each partition of the topic; empty when racks are not known.
    fn racks(&self, name: &str) -> Vec<Vec<String>>;
    /// Calls `each` with the name of every topic.
    fn each_topic(&self, each: &mut dyn FnMut(&str));
    /// Grows with every change.
    fn version(&self) -> i64;
    /// Settings of a group.
    fn overrides(&self, group: &str) -> Overrides;
}

/// A cluster without topics.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoTopics;

impl Cluster for NoTopics {
    fn topic(&self, _name: &str) -> Option<TopicInfo> {
        None
    }
    fn name(&self, _id: &TopicId) -> Option<String> {
        None
    }
    fn racks(&self, _name: &str) -> Vec<Vec<String>> {
        Vec::new()
    }
    fn each_topic(&self, _each: &mut dyn FnMut(&str)) {}
    fn version(&self) -> i64 {
        0
    }
    fn overrides(&self, _group: &str) -> Overrides {
        Overrides::default()
    }
}

/// A number that changes with any of these topics: their ids, names, partition counts and racks. 0 when none of them
/// exists. Topics that do not exist count for nothing, so that creating one is a change.
///
/// It is stored with the group's epoch and compared with itself only; Kafka computes another one.
pub(super) fn fingerprint<'a>(cluster: &dyn Cluster, names: impl Iterator<Item = &'a str>) -> i64 {
    let mut hash = Fnv(FNV_START);
    let mut any = false;
    for name in names {
        let Some(topic) = cluster.topic(name) else {
            continue;
        };
        any = true;
        hash.add(&topic.id);
        hash.add(name.as_bytes());
        hash.add(&topic.partitions.to_be_bytes());
        for (partition, racks) in cluster.racks(name).iter().enumerate() {
            let mut racks: Vec<&str> = racks.iter().map(String::as_str).collect();
            racks.sort_unstable();
            hash.add(&(partition as u32).to_be_bytes());
            racks.iter().for_each(|rack| hash.add(rack.as_bytes()));
        }
    }
    match (any, hash.0 as i64) {
        (false, _) => 0,
        (true, 0) => 1,
        (true, other) => other,
    }
}

/// FNV-1a of 64 bits, each run of bytes closed by its length.
struct Fnv(u64);

const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

impl Fnv {
    fn add(&mut self, bytes: &[u8]) {
        let len = (bytes.len() as u32).to_be_bytes();
        for byte in bytes.iter().chain(&len) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(FNV_PRIME);
        }
    }
}

/// A cluster as a table, for tests, benches and examples.
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// Topics by name.
    pub topics: BTreeMap<String, TopicInfo>,
    /// Racks of partitions by topic.
    pub racks: BTreeMap<String, Vec<Vec<String>>>,
    /// Settings by group.
    pub overrides: BTreeMap<String, Overrides>,
    /// See [`Cluster::version`].
    pub version: i64,
}

impl Table {
    /// Adds or replaces a topic; its id comes from `number`.
    pub fn put(&mut self, name: &str, number: u64, partitions: i32) {
        let mut id = [0; 16];
        id[8..].copy_from_slice(&number.to_be_bytes());
        self.topics.insert(name.into(), TopicInfo { id, partitions });
        self.version += 1;
    }

    /// Removes a topic.
    pub fn remove(&mut self, name: &str) {
        self.topics.remove(name);
        self.version += 1;
    }
}

/// A table that its owner goes on changing while a coordinator reads it.
impl Cluster for std::cell::RefCell<Table> {
    fn topic(&self, name: &str) -> Option<TopicInfo> {
        self.borrow().topics.get(name).copied()
    }
    fn name(&self, id: &TopicId) -> Option<String> {
        let table = self.borrow();
        let (name, _) = table.topics.iter().find(|(_, topic)| topic.id == *id)?;
        Some(name.clone())
    }
    fn racks(&self, name: &str) -> Vec<Vec<String>> {
        self.borrow().racks.get(name).cloned().unwrap_or_default()
    }
    fn each_topic(&self, each: &mut dyn FnMut(&str)) {
        self.borrow().topics.keys().for_each(|name| each(name));
    }
    fn version(&self) -> i64 {
        self.borrow().version
    }
    fn overrides(&self, group: &str) -> Overrides {
        self.borrow().overrides.get(group).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    fn of(table: &RefCell<Table>, names: &[&str]) -> i64 {
        fingerprint(table, names.iter().copied())
    }

    #[test]
    fn fingerprint_changes_with_what_matters_and_with_nothing_else() {
        let table = RefCell::new(Table::default());
        assert_eq!(of(&table, &["a", "b"]), 0, "no topic is there");
        table.borrow_mut().put("a", 1, 3);
        let one = of(&table, &["a", "b"]);
        assert_ne!(one, 0);
        table.borrow_mut().put("c", 3, 3);
        assert_eq!(of(&table, &["a", "b"]), one, "another topic");
        table.borrow_mut().put("a", 1, 4);
        let grown = of(&table, &["a", "b"]);
        assert_ne!(grown, one, "more partitions");
        table.borrow_mut().put("a", 2, 4);
        assert_ne!(of(&table, &["a", "b"]), grown, "deleted and created again");
        table.borrow_mut().put("a", 1, 4);
        assert_eq!(of(&table, &["a", "b"]), grown);
        let racks = vec![vec!["r1".into()], vec!["r2".into()]];
        table.borrow_mut().racks.insert("a".into(), racks);
        let racked = of(&table, &["a", "b"]);
        assert_ne!(racked, grown, "racks");
        table.borrow_mut().put("b", 9, 1);
        assert_ne!(of(&table, &["a", "b"]), racked, "a topic came into being");
    }
}
