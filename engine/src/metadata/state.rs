//! The state that the metadata log adds up to.
//!
//! Every shard has one and applies the same records in the same order; queries never wait. Topics are shared
//! (`Arc`), so a clone of the state costs two maps of pointers, not the partitions.

use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use rkyv::{Archive, Deserialize, Serialize};
use turgo_storage::PartitionId;

use super::names::{check_name, collision_key, is_internal};
use super::record::{BrokerEndpoint, BrokerRegistered, ConfigSet, MetaRecord};
use crate::configs::{Layers, NodeSettings, ResourceType, TopicSettings};

/// Id of a topic; as Kafka prints it, base64 without padding.
pub type TopicId = [u8; 16];

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
pub struct Partition {
    /// Brokers that hold it, preferred leader first.
    pub replicas: Vec<i32>,
    /// Those of them that are in sync.
    pub isr: Vec<i32>,
    /// Leading broker; -1: none.
    pub leader: i32,
    /// Raised whenever the leader changes.
    pub leader_epoch: i32,
    /// Raised with every change.
    pub partition_epoch: i32,
}

impl Partition {
    fn new(replicas: &[i32]) -> Self {
        Self {
            replicas: replicas.to_vec(),
            isr: replicas.to_vec(),
            leader: replicas[0],
            leader_epoch: 0,
            partition_epoch: 0,
        }
    }
}

/// One topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
pub struct Topic {
    /// Name.
    pub name: String,
    /// Id.
    pub id: TopicId,
    /// The broker keeps state of its own in it; follows from the name.
    pub internal: bool,
    /// Partition `i` at index `i`; never empty.
    pub partitions: Vec<Partition>,
}

impl Topic {
    /// Ids of the partitions from `first` on.
    fn partition_ids(&self, first: u32) -> impl Iterator<Item = PartitionId> + use<> {
        let topic = self.id;
        (first..self.count()).map(move |partition| PartitionId { topic, partition })
    }

    /// How many partitions it has.
    pub fn count(&self) -> u32 {
        u32::try_from(self.partitions.len()).expect("fewer than 2^32 partitions")
    }
}

/// One broker.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
pub struct Broker {
    /// Broker number.
    pub id: i32,
    /// New at every start.
    pub incarnation: [u8; 16],
    /// Larger at every start.
    pub epoch: i64,
    /// Rack, if it has one.
    pub rack: Option<String>,
    /// Where it listens.
    pub endpoints: Vec<BrokerEndpoint>,
}

impl Broker {
    /// The endpoint of this listener.
    pub fn endpoint(&self, listener: &str) -> Option<&BrokerEndpoint> {
        self.endpoints.iter().find(|e| e.listener == listener)
    }
}

/// Settings of one kind of resource: name of the resource, then name of the setting.
type ConfigTable = BTreeMap<String, BTreeMap<String, String>>;

static NOTHING_SET: BTreeMap<String, String> = BTreeMap::new();

/// The whole state as one value: what a snapshot record holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
pub struct Snapshot {
    /// Cluster id; `None` before the first record.
    pub cluster_id: Option<[u8; 16]>,
    /// Topics by name.
    pub topics: Vec<Topic>,
    /// Settings: resource type, resource, setting, value; sorted.
    pub configs: Vec<(i8, String, String, String)>,
    /// Brokers by number.
    pub brokers: Vec<Broker>,
    /// Features in force, by name.
    pub features: Vec<(String, i16)>,
    /// First producer id not yet handed out.
    pub next_producer_id: i64,
}

/// What applying a record meant; shards create, delete and reconfigure logs by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A partition came into being.
    PartitionAdded(PartitionId),
    /// Leader or in-sync replicas of a partition changed.
    PartitionChanged(PartitionId),
    /// A topic is gone, with partitions 0 to `partitions - 1`.
    TopicRemoved {
        /// Its id.
        id: TopicId,
        /// How many partitions it had.
        partitions: u32,
        /// Its name.
        name: String,
    },
    /// A topic's own settings changed.
    TopicConfig(TopicId),
    /// Settings of brokers changed, so any topic's effective settings may have.
    BrokerConfig,
    /// A group's settings changed.
    GroupConfig(String),
    /// The settings of a client metrics subscription changed.
    ClientMetrics(String),
    /// A broker started.
    Broker(i32),
    /// A feature's level changed.
    Feature(String),
    /// Everything may be different: a snapshot was loaded.
    Reset,
}

/// Why a record does not fit the state: the log is damaged or there is a bug. The process stops; recovery decides.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("metadata record {number} contradicts what came before it: {reason}")]
pub struct ApplyError {
    /// How many records were applied before it.
    pub number: u64,
    /// How.
    pub reason: String,
}

/// Metadata of the cluster after some prefix of the log.
#[derive(Debug, Clone)]
pub struct MetadataState {
    applied: u64,
    cluster_id: Option<[u8; 16]>,
    by_name: BTreeMap<String, Arc<Topic>>,
    by_id: HashMap<TopicId, Arc<Topic>>,
    /// Collision key to the name that has it.
    collisions: BTreeMap<String, String>,
    partition_count: usize,
    topic_configs: ConfigTable,
    broker_configs: ConfigTable,
    group_configs: ConfigTable,
    client_metrics: ConfigTable,
    brokers: BTreeMap<i32, Broker>,
    features: BTreeMap<String, i16>,
    next_producer_id: i64,
}

impl Default for MetadataState {
    fn default() -> Self {
        Self::new()
    }
}

impl MetadataState {
    /// The state before the first record.
    pub fn new() -> Self {
        Self {
            applied: 0,
            cluster_id: None,
            by_name: BTreeMap::new(),
            by_id: HashMap::new(),
            collisions: BTreeMap::new(),
            partition_count: 0,
            topic_configs: BTreeMap::new(),
            broker_configs: BTreeMap::new(),
            group_configs: BTreeMap::new(),
            client_metrics: ConfigTable::new(),
            brokers: BTreeMap::new(),
            features: BTreeMap::new(),
            next_producer_id: 0,
        }
    }

    /// How many records were applied.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// Id of the cluster.
    pub fn cluster_id(&self) -> Option<[u8; 16]> {
        self.cluster_id
    }

    /// The topic with this name.
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.by_name.get(name)
    }

    /// The topic with this id.
    pub fn topic_by_id(&self, id: &TopicId) -> Option<&Arc<Topic>> {
        self.by_id.get(id)
    }

    /// All topics, by name.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.by_name.values()
    }

    /// Topics whose name is `first` or follows it, by name.
    pub fn topics_from(&self, first: &str) -> impl Iterator<Item = &Arc<Topic>> {
        self.by_name
            .range::<str, _>((std::ops::Bound::Included(first), std::ops::Bound::Unbounded))
            .map(|(_, t)| t)
    }

    /// How many topics there are.
    pub fn topic_count(&self) -> usize {
        self.by_name.len()
    }

    /// How many partitions all topics have together.
    pub fn partition_count(&self) -> usize {
        self.partition_count
    }

    /// The topic that `name` would collide with: another name, alike but for `.` and `_`.
    pub fn collision(&self, name: &str) -> Option<&str> {
        self.collisions
            .get(&collision_key(name)?)
            .map(String::as_str)
            .filter(|other| *other != name)
    }

    /// The broker with this number.
    pub fn broker(&self, id: i32) -> Option<&Broker> {
        self.brokers.get(&id)
    }

    /// All brokers, by number.
    pub fn brokers(&self) -> impl Iterator<Item = &Broker> {
        self.brokers.values()
    }

    /// How many brokers there are.
    pub fn broker_count(&self) -> usize {
        self.brokers.len()
    }

    /// The broker that clients are told is the controller; -1 without brokers. Any broker takes controller-bound
    /// requests, so the lowest number serves.
    pub fn controller_id(&self) -> i32 {
        self.brokers.keys().next().copied().unwrap_or(-1)
    }

    /// Features in force and their levels, by name.
    pub fn features(&self) -> impl Iterator<Item = (&str, i16)> {
        self.features.iter().map(|(name, level)| (name.as_str(), *level))
    }

    /// First producer id not yet handed out.
    pub fn next_producer_id(&self) -> i64 {
        self.next_producer_id
    }

    /// Values set for a resource; empty when there are none. For a broker, its number in decimal, or the empty name
    /// for all brokers.
    pub fn overrides(&self, resource: ResourceType, name: &str) -> &BTreeMap<String, String> {
        self.table(resource)
            .and_then(|table| table.get(name))
            .unwrap_or(&NOTHING_SET)
    }

    /// Names of the resources of a type that have values set.
    pub fn configured(&self, resource: ResourceType) -> impl Iterator<Item = &str> {
        self.table(resource)
            .into_iter()
            .flat_map(|table| table.keys().map(String::as_str))
    }

    /// The layers of settings that hold for a broker with this node file.
    pub fn layers<'a>(&'a self, broker_id: i32, node: &'a BTreeMap<String, String>) -> Layers<'a> {
        Layers {
            broker: self.overrides(ResourceType::Broker, &broker_id.to_string()),
            cluster: self.overrides(ResourceType::Broker, ""),
            node,
        }
    }

    /// Effective settings of a topic on a broker; those of a topic without overrides if it does not exist.
    pub fn topic_settings(
        &self,
        topic: &TopicId,
        broker_id: i32,
        node: &BTreeMap<String, String>,
    ) -> TopicSettings {
        let overrides = self
            .by_id
            .get(topic)
            .map_or(&NOTHING_SET, |t| self.overrides(ResourceType::Topic, &t.name));
        TopicSettings::resolve(overrides, &self.layers(broker_id, node))
    }

    /// Effective settings of a broker.
    pub fn broker_settings(&self, broker_id: i32, node: &BTreeMap<String, String>) -> NodeSettings {
        NodeSettings::resolve(&self.layers(broker_id, node))
    }

    /// Every partition there is.
    pub fn all_partitions(&self) -> impl Iterator<Item = PartitionId> + '_ {
        self.by_name.values().flat_map(|topic| topic.partition_ids(0))
    }

    /// A partition by id.
    pub fn partition(&self, id: &PartitionId) -> Option<&Partition> {
        self.by_id.get(&id.topic)?.partitions.get(id.partition as usize)
    }

    /// Leader epoch of a partition; 0 if it does not exist.
    pub fn leader_epoch(&self, id: &PartitionId) -> i32 {
        self.partition(id).map_or(0, |p| p.leader_epoch)
    }

    fn table(&self, resource: ResourceType) -> Option<&ConfigTable> {
        match resource {
            ResourceType::Topic => Some(&self.topic_configs),
            ResourceType::Broker => Some(&self.broker_configs),
            ResourceType::Group => Some(&self.group_configs),
            ResourceType::ClientMetrics => Some(&self.client_metrics),
            ResourceType::BrokerLogger => None,
        }
    }

    /// Applies one record. An error leaves the state as it was.
    pub fn apply(&mut self, record: &MetaRecord) -> Result<Vec<Change>, ApplyError> {
        let changes = self.change(record).map_err(|reason| ApplyError {
            number: self.applied,
            reason,
        })?;
        self.applied += 1;
        Ok(changes)
    }

    fn change(&mut self, record: &MetaRecord) -> Result<Vec<Change>, String> {
        match record {
            MetaRecord::ClusterCreated(r) => {
                if self.cluster_id.is_some_and(|id| id != r.cluster_id) {
                    return Err("the cluster already has another id".into());
                }
                self.cluster_id = Some(r.cluster_id);
                Ok(Vec::new())
            }
            MetaRecord::TopicCreated(r) => {
                let partitions = new_partitions(&r.replicas)?;
                let internal = is_internal(&r.name);
                let topic = Topic {
                    name: r.name.clone(),
                    id: r.id,
                    internal,
                    partitions,
                };
                self.check_new_topic(&topic)?;
                let changes = topic.partition_ids(0).map(Change::PartitionAdded).collect();
                self.insert_topic(Arc::new(topic));
                Ok(changes)
            }
            MetaRecord::PartitionsAdded(r) => {
                let added = new_partitions(&r.replicas)?;
                let old = self
                    .by_id
                    .get(&r.id)
                    .ok_or("partitions for a topic that does not exist")?;
                if old.partitions.len() != r.first as usize {
                    return Err(format!(
                        "partitions from {} on for a topic of {}",
                        r.first,
                        old.partitions.len()
                    ));
                }
                let mut topic = Topic::clone(old);
                self.partition_count += added.len();
                topic.partitions.extend(added);
                let topic = self.replace_topic(topic);
                Ok(topic.partition_ids(r.first).map(Change::PartitionAdded).collect())
            }
            MetaRecord::TopicDeleted(r) => {
                let topic = self
                    .by_id
                    .remove(&r.id)
                    .ok_or("deletion of a topic that does not exist")?;
                self.by_name.remove(&topic.name);
                self.partition_count -= topic.partitions.len();
                if let Some(key) = collision_key(&topic.name)
                    && self.collisions.get(&key).is_some_and(|name| *name == topic.name)
                {
                    self.collisions.remove(&key);
                }
                self.topic_configs.remove(&topic.name);
                Ok(vec![Change::TopicRemoved {
                    id: topic.id,
                    partitions: topic.count(),
                    name: topic.name.clone(),
                }])
            }
            MetaRecord::PartitionChanged(r) => {
                let old = self
                    .by_id
                    .get(&r.id)
                    .ok_or("a partition of a topic that does not exist")?;
                let partition = old
                    .partitions
                    .get(r.partition as usize)
                    .ok_or("a partition that does not exist")?;
                if r.leader_epoch < partition.leader_epoch || r.partition_epoch <= partition.partition_epoch {
                    return Err("an epoch that goes back".into());
                }
                if r.leader != -1 && !partition.replicas.contains(&r.leader) {
                    return Err(format!("leader {} is not a replica", r.leader));
                }
                if r.isr.iter().any(|b| !partition.replicas.contains(b)) {
                    return Err("an in-sync replica that is not a replica".into());
                }
                let mut topic = Topic::clone(old);
                let partition = &mut topic.partitions[r.partition as usize];
                partition.leader = r.leader;
                partition.leader_epoch = r.leader_epoch;
                partition.partition_epoch = r.partition_epoch;
                partition.isr.clone_from(&r.isr);
                self.replace_topic(topic);
                Ok(vec![Change::PartitionChanged(PartitionId {
                    topic: r.id,
                    partition: r.partition,
                })])
            }
            MetaRecord::ConfigSet(r) => self.set_config(r).map(|change| vec![change]),
            MetaRecord::ProducerIdsAllocated(r) => {
                if r.next < self.next_producer_id {
                    return Err(format!(
                        "producer ids go back from {} to {}",
                        self.next_producer_id, r.next
                    ));
                }
                self.next_producer_id = r.next;
                Ok(Vec::new())
            }
            MetaRecord::BrokerRegistered(r) => {
                self.brokers.insert(r.id, new_broker(r)?);
                Ok(vec![Change::Broker(r.id)])
            }
            MetaRecord::FeatureLevel(r) => {
                if r.level < 0 {
                    return Err(format!("level {} of feature {}", r.level, r.name));
                }
                // Level 0, off, is a level too: what is absent has the feature's default.
                self.features.insert(r.name.clone(), r.level);
                Ok(vec![Change::Feature(r.name.clone())])
            }
            MetaRecord::Snapshot(r) => {
                *self = Self::from_snapshot(r, self.applied)?;
                Ok(vec![Change::Reset])
            }
            MetaRecord::Skipped { .. } => Ok(Vec::new()),
        }
    }

    fn check_new_topic(&self, topic: &Topic) -> Result<(), String> {
        check_name(&topic.name).map_err(|e| e.message.unwrap_or_default())?;
        if topic.id <= RESERVED_ID_MAX {
            return Err("a reserved topic id".into());
        }
        if self.by_name.contains_key(&topic.name) || self.by_id.contains_key(&topic.id) {
            return Err(format!("topic {} already exists, or its id does", topic.name));
        }
        Ok(())
    }

    fn insert_topic(&mut self, topic: Arc<Topic>) {
        self.partition_count += topic.partitions.len();
        if let Some(key) = collision_key(&topic.name) {
            self.collisions.entry(key).or_insert_with(|| topic.name.clone());
        }
        self.by_id.insert(topic.id, Arc::clone(&topic));
        self.by_name.insert(topic.name.clone(), topic);
    }

    fn replace_topic(&mut self, topic: Topic) -> Arc<Topic> {
        let topic = Arc::new(topic);
        self.by_id.insert(topic.id, Arc::clone(&topic));
        self.by_name.insert(topic.name.clone(), Arc::clone(&topic));
        topic
    }

    fn set_config(&mut self, r: &ConfigSet) -> Result<Change, String> {
        let resource =
            ResourceType::from_id(r.resource_type).ok_or("a setting of an unknown kind of resource")?;
        let change = match resource {
            ResourceType::Topic => {
                let topic = self
                    .by_name
                    .get(&r.resource)
                    .ok_or("a setting of a topic that does not exist")?;
                Change::TopicConfig(topic.id)
            }
            ResourceType::Broker if r.resource.is_empty() => Change::BrokerConfig,
            ResourceType::Broker => {
                r.resource
                    .parse::<i32>()
                    .map_err(|_| "a setting of a broker that is not a number")?;
                Change::BrokerConfig
            }
            ResourceType::Group => Change::GroupConfig(r.resource.clone()),
            ResourceType::ClientMetrics => Change::ClientMetrics(r.resource.clone()),
            ResourceType::BrokerLogger => {
                return Err("a setting of a kind of resource that keeps none".into());
            }
        };
        let table = match resource {
            ResourceType::Topic => &mut self.topic_configs,
            ResourceType::Broker => &mut self.broker_configs,
            ResourceType::ClientMetrics => &mut self.client_metrics,
            _ => &mut self.group_configs,
        };
        match &r.value {
            Some(value) => {
                table
                    .entry(r.resource.clone())
                    .or_default()
                    .insert(r.name.clone(), value.clone());
            }
            None => {
                if let Some(settings) = table.get_mut(&r.resource) {
                    settings.remove(&r.name);
                    if settings.is_empty() {
                        table.remove(&r.resource);
                    }
                }
            }
        }
        Ok(change)
    }

    /// The records that stand for all that came before: applied to anything, they give this state.
    pub fn snapshot(&self) -> Vec<MetaRecord> {
        vec![MetaRecord::Snapshot(Box::new(self.image()))]
    }

    /// The whole state as one value.
    pub fn image(&self) -> Snapshot {
        let tables = [
            (ResourceType::Topic, &self.topic_configs),
            (ResourceType::Broker, &self.broker_configs),
            (ResourceType::ClientMetrics, &self.client_metrics),
            (ResourceType::Group, &self.group_configs),
        ];
        let configs = tables
            .into_iter()
            .flat_map(|(kind, table)| {
                table.iter().flat_map(move |(resource, settings)| {
                    settings
                        .iter()
                        .map(move |(k, v)| (kind.id(), resource.clone(), k.clone(), v.clone()))
                })
            })
            .collect();
        Snapshot {
            cluster_id: self.cluster_id,
            topics: self.by_name.values().map(|t| Topic::clone(t)).collect(),
            configs,
            brokers: self.brokers.values().cloned().collect(),
            features: self.features.iter().map(|(k, v)| (k.clone(), *v)).collect(),
            next_producer_id: self.next_producer_id,
        }
    }

    fn from_snapshot(snapshot: &Snapshot, applied: u64) -> Result<Self, String> {
        let mut state = Self::new();
        state.applied = applied;
        state.cluster_id = snapshot.cluster_id;
        for topic in &snapshot.topics {
            state.check_new_topic(topic)?;
            if topic.partitions.is_empty() || topic.partitions.iter().any(|p| p.replicas.is_empty()) {
                return Err(format!("topic {} without partitions or replicas", topic.name));
            }
            state.insert_topic(Arc::new(Topic {
                internal: is_internal(&topic.name),
                ..topic.clone()
            }));
        }
        for (resource_type, resource, name, value) in &snapshot.configs {
            state.set_config(&ConfigSet {
                resource_type: *resource_type,
                resource: resource.clone(),
                name: name.clone(),
                value: Some(value.clone()),
            })?;
        }
        state.brokers = snapshot.brokers.iter().map(|b| (b.id, b.clone())).collect();
        state.features = snapshot.features.iter().cloned().collect();
        state.next_producer_id = snapshot.next_producer_id.max(0);
        Ok(state)
    }

    /// A number that two brokers with the same metadata share; differs with overwhelming likelihood otherwise. The
    /// number of records is not part of it, so a snapshot and the log it stands for agree.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
        self.image().hash(&mut hasher);
        hasher.finish()
    }
}

impl PartialEq for MetadataState {
    fn eq(&self, other: &Self) -> bool {
        self.image() == other.image()
    }
}

/// Ids 0 and 1 are Kafka's: none, and its metadata log.
const RESERVED_ID_MAX: TopicId = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

fn new_partitions(replicas: &[Vec<i32>]) -> Result<Vec<Partition>, String> {
    if replicas.is_empty() {
        return Err("no partitions".into());
    }
    if replicas.iter().any(|r| r.is_empty() || r.iter().any(|b| *b < 0)) {
        return Err("a partition without valid replicas".into());
    }
    Ok(replicas.iter().map(|r| Partition::new(r)).collect())
}

fn new_broker(r: &BrokerRegistered) -> Result<Broker, String> {
    if r.id < 0 || r.endpoints.is_empty() {
        return Err(format!("broker {} with {} endpoints", r.id, r.endpoints.len()));
    }
    Ok(Broker {
        id: r.id,
        incarnation: r.incarnation,
        epoch: r.epoch,
        rack: r.rack.clone(),
        endpoints: r.endpoints.clone(),
    })
}

/// FNV-1a: the same on every machine and in every build, unlike the standard library's hasher.
struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}
