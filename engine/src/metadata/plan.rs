//! What a request does to the metadata: a pure function from state and request to records and results.
//!
//! The order of checks is that of a Kafka 4.3 controller, because a request may be wrong in several ways and clients
//! compare: name, existence, settings, then numbers of replicas and partitions or the given assignment. Every topic of
//! a request stands alone; one that is refused leaves the others be. One that is named twice is refused, and answered once.
//!
//! Called on the controller's core, one plan at a time, against the applied state. Errors are the client's to act on.

use std::collections::{BTreeMap, BTreeSet};

use turgo_net::ErrorCode;

use super::error::ApiError;
use super::names::{CLUSTER_METADATA, CONSUMER_OFFSETS, TRANSACTION_STATE, check_name, collision_key};
use super::record::{
    ConfigSet, MetaRecord, PartitionsAdded, ProducerIdsAllocated, TopicCreated, TopicDeleted,
};
use super::state::{MetadataState, Topic, TopicId};
use crate::configs::{
    Described, Layers, NodeSettings, ResourceType, describe_topic, validate_topic_overrides,
};

/// Most partitions that one request may make (Kafka 4.3 refuses more with POLICY_VIOLATION).
const MAX_PARTITIONS_PER_REQUEST: usize = 10_000;
/// Producer ids that a broker gets at a time.
const PRODUCER_ID_BLOCK: i64 = 1000;

/// The broker that plans and answers: facts that the metadata does not hold, or that it holds for the broker's last
/// start.
#[derive(Debug, Clone, Copy)]
pub struct Site<'a> {
    /// This broker's number.
    pub node_id: i32,
    /// Id of the cluster, as text.
    pub cluster_id: &'a str,
    /// Host that clients are told.
    pub host: &'a str,
    /// Port that clients are told.
    pub port: u16,
    /// Rack, if it has one.
    pub rack: Option<&'a str>,
    /// Settings from the node file, by Kafka's names.
    pub static_configs: &'a BTreeMap<String, String>,
}

/// What to append, and what to answer once it is durable and applied. Without records the answer may go at once.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan<T> {
    /// In order, as one atomic batch.
    pub records: Vec<MetaRecord>,
    /// The answer.
    pub result: T,
}

impl<T> Plan<T> {
    /// As a pair.
    pub fn into_parts(self) -> (Vec<MetaRecord>, T) {
        (self.records, self.result)
    }
}

/// A topic to be made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewTopic {
    /// Name.
    pub name: String,
    /// -1: the broker's default, or as many as are assigned.
    pub num_partitions: i32,
    /// -1: the broker's default, or as many as are assigned.
    pub replication_factor: i16,
    /// Partition number and its brokers, preferred leader first; empty: the controller chooses.
    pub assignments: Vec<(i32, Vec<i32>)>,
    /// Settings; of a name that appears twice the last counts.
    pub configs: Vec<(String, Option<String>)>,
}

impl NewTopic {
    /// A topic with the broker's defaults.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            num_partitions: -1,
            replication_factor: -1,
            ..Self::default()
        }
    }
}

/// How the making of one topic went.
#[derive(Debug, Clone, PartialEq)]
pub struct CreatedTopic {
    /// Name, as asked for.
    pub name: String,
    /// What was made, or why not.
    pub outcome: Result<TopicCreation, ApiError>,
}

/// A topic that was made, or would have been.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicCreation {
    /// Its id; when only validated, one that it could have had.
    pub id: TopicId,
    /// Partitions.
    pub partitions: i32,
    /// Replicas of the first partition.
    pub replication_factor: i16,
    /// All its settings.
    pub configs: Vec<Described>,
}

/// A topic to be deleted: by name, or by id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct DeleteTopic {
    /// Name; `None` when the id says which.
    pub name: Option<String>,
    /// Id; zeros when the name says which.
    pub id: TopicId,
}

/// How the deletion of one topic went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletedTopic {
    /// Name; `None` if it is not known.
    pub name: Option<String>,
    /// Id; zeros if it is not known.
    pub id: TopicId,
    /// Done, or why not.
    pub outcome: Result<(), ApiError>,
}

/// A topic to be given more partitions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GrowTopic {
    /// Name.
    pub name: String,
    /// How many partitions it is to have altogether.
    pub count: i32,
    /// Brokers of each new partition; `None`: the controller chooses.
    pub assignments: Option<Vec<Vec<i32>>>,
}

/// Name and outcome of one topic of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicResult {
    /// Name, as asked for.
    pub name: String,
    /// Done, or why not.
    pub outcome: Result<(), ApiError>,
}

/// Producer ids for one broker: `first` to `first + count - 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerIdBlock {
    /// First id.
    pub first: i64,
    /// How many.
    pub count: i64,
}

/// Plans changes against the applied state.
#[derive(Debug, Clone, Copy)]
pub struct Planner<'a> {
    /// The applied state.
    pub state: &'a MetadataState,
    /// Who plans.
    pub site: &'a Site<'a>,
}

impl<'a> Planner<'a> {
    /// Layers of settings of this broker.
    pub fn layers(&self) -> Layers<'a> {
        self.state.layers(self.site.node_id, self.site.static_configs)
    }

    fn settings(&self) -> NodeSettings {
        NodeSettings::resolve(&self.layers())
    }

    /// Brokers that can hold replicas, ascending; at least this one.
    fn broker_ids(&self) -> Vec<i32> {
        let mut ids: BTreeSet<i32> = self.state.brokers().map(|b| b.id).collect();
        ids.insert(self.site.node_id);
        ids.into_iter().collect()
    }

    /// CreateTopics. `random` yields 16 random bytes for each topic id.
    pub fn create_topics(
        &self,
        topics: &[NewTopic],
        validate_only: bool,
        mut random: impl FnMut() -> [u8; 16],
    ) -> Plan<Vec<CreatedTopic>> {
        let settings = self.settings();
        let mut records = Vec::new();
        let repeated = repeated(topics.iter().map(|t| t.name.as_str()));
        let mut batch = Batch::default();
        let mut budget = MAX_PARTITIONS_PER_REQUEST;
        let total: usize = topics
            .iter()
            .map(|t| requested_partitions(t, &settings))
            .fold(0, usize::saturating_add);
        let mut answered = BTreeSet::new();
        let result = topics
            .iter()
            .filter(|topic| answered.insert(topic.name.as_str()))
            .map(|topic| {
                let outcome = if repeated.contains(topic.name.as_str()) {
                    Err(ApiError::new(ErrorCode::INVALID_REQUEST, "Duplicate topic name."))
                } else if total > MAX_PARTITIONS_PER_REQUEST {
                    Err(too_many_partitions())
                } else {
                    self.create_topic(topic, &settings, &batch, budget, &mut random)
                };
                let outcome = outcome.map(|(creation, mut made)| {
                    budget =
                        budget.saturating_sub(usize::try_from(creation.partitions).unwrap_or(usize::MAX));
                    if let Some(key) = collision_key(&topic.name) {
                        batch.collision_keys.insert(key, topic.name.clone());
                    }
                    batch.ids.insert(creation.id);
                    if !validate_only {
                        records.append(&mut made);
                    }
                    creation
                });
                CreatedTopic {
                    name: topic.name.clone(),
                    outcome,
                }
            })
            .collect();
        Plan { records, result }
    }

    fn create_topic(
        &self,
        topic: &NewTopic,
        settings: &NodeSettings,
        batch: &Batch,
        budget: usize,
        random: &mut impl FnMut() -> [u8; 16],
    ) -> Result<(TopicCreation, Vec<MetaRecord>), ApiError> {
        if topic.name == CLUSTER_METADATA {
            return Err(ApiError::new(
                ErrorCode::INVALID_REQUEST,
                format!("The internal topic {CLUSTER_METADATA} cannot be created."),
            ));
        }
        check_name(&topic.name)?;
        if self.state.topic(&topic.name).is_some() {
            return Err(ApiError::new(
                ErrorCode::TOPIC_ALREADY_EXISTS,
                format!("Topic '{}' already exists.", topic.name),
            ));
        }
        let colliding = self.state.collision(&topic.name).or_else(|| {
            let key = collision_key(&topic.name)?;
            batch.collision_keys.get(&key).map(String::as_str)
        });
        if let Some(other) = colliding {
            return Err(ApiError::new(
                ErrorCode::INVALID_TOPIC_EXCEPTION,
                format!("Topic '{}' collides with existing topic: {other}", topic.name),
            ));
        }
        let configs = self.new_topic_configs(topic)?;
        let id = self.topic_id(random, &batch.ids);
        let replicas = self.place_topic(topic, settings, &id)?;
        if replicas.len() > budget {
            return Err(too_many_partitions());
        }
        let creation = TopicCreation {
            id,
            partitions: i32::try_from(replicas.len()).unwrap_or(i32::MAX),
            replication_factor: i16::try_from(replicas[0].len()).unwrap_or(i16::MAX),
            configs: describe_topic(&configs, &self.layers(), None),
        };
        let mut records = vec![MetaRecord::TopicCreated(TopicCreated {
            name: topic.name.clone(),
            id,
            replicas,
        })];
        records.extend(configs.into_iter().map(|(name, value)| {
            MetaRecord::ConfigSet(ConfigSet {
                resource_type: ResourceType::Topic.id(),
                resource: topic.name.clone(),
                name,
                value: Some(value),
            })
        }));
        Ok((creation, records))
    }

    fn new_topic_configs(&self, topic: &NewTopic) -> Result<BTreeMap<String, String>, ApiError> {
        let missing: Vec<&str> = topic
            .configs
            .iter()
            .filter(|(_, v)| v.is_none())
            .map(|(name, _)| name.as_str())
            .collect();
        if !missing.is_empty() {
            return Err(ApiError::new(
                ErrorCode::INVALID_CONFIG,
                format!(
                    "Null value not supported for topic configs: {}",
                    missing.join(",")
                ),
            ));
        }
        let configs: BTreeMap<String, String> = topic
            .configs
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), value.clone()?)))
            .collect();
        let layers = self.layers();
        validate_topic_overrides(&configs, |name| layers.topic_default(name))?;
        Ok(configs)
    }

    /// A random id of version 4, so never one of the reserved ids, and none that its text begins with a dash: command
    /// lines take that for an option.
    fn topic_id(&self, random: &mut impl FnMut() -> [u8; 16], made: &BTreeSet<TopicId>) -> TopicId {
        let mut id = random();
        id[6] = (id[6] & 0x0f) | 0x40;
        id[8] = (id[8] & 0x3f) | 0x80;
        if id[0] >> 2 == 62 {
            id[0] &= 0x7f;
        }
        while self.state.topic_by_id(&id).is_some() || made.contains(&id) {
            id[15] = id[15].wrapping_add(1);
            id[14] = id[14].wrapping_add(u8::from(id[15] == 0));
        }
        id
    }

    fn place_topic(
        &self,
        topic: &NewTopic,
        settings: &NodeSettings,
        id: &TopicId,
    ) -> Result<Vec<Vec<i32>>, ApiError> {
        if !topic.assignments.is_empty() {
            if topic.replication_factor != -1 {
                return Err(ApiError::new(
                    ErrorCode::INVALID_REQUEST,
                    "With a manual partition assignment the replication factor must be -1.",
                ));
            }
            if topic.num_partitions != -1 {
                return Err(ApiError::new(
                    ErrorCode::INVALID_REQUEST,
                    "With a manual partition assignment the number of partitions must be -1.",
                ));
            }
            return self.assigned(&topic.assignments);
        }
        if topic.replication_factor < -1 || topic.replication_factor == 0 {
            return Err(ApiError::new(
                ErrorCode::INVALID_REPLICATION_FACTOR,
                "The replication factor must be larger than 0, or -1 for the default.",
            ));
        }
        if topic.num_partitions < -1 || topic.num_partitions == 0 {
            return Err(ApiError::new(
                ErrorCode::INVALID_PARTITIONS,
                "The number of partitions must be larger than 0, or -1 for the default.",
            ));
        }
        let count = if topic.num_partitions == -1 {
            settings.num_partitions
        } else {
            topic.num_partitions
        };
        let factor = match topic.replication_factor {
            -1 => settings.default_replication_factor,
            factor => factor,
        };
        self.placed(
            id,
            0,
            usize::try_from(count).unwrap_or(0),
            usize::try_from(factor).unwrap_or(0),
        )
    }

    /// A given assignment, whose partitions must be 0, 1, 2 and so on in some order.
    fn assigned(&self, assignments: &[(i32, Vec<i32>)]) -> Result<Vec<Vec<i32>>, ApiError> {
        let invalid = |text: String| ApiError::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, text);
        let brokers = self.broker_ids();
        let mut by_number: BTreeMap<i32, &Vec<i32>> = BTreeMap::new();
        for (partition, replicas) in assignments {
            if by_number.insert(*partition, replicas).is_some() {
                return Err(invalid(format!(
                    "Partition {partition} was assigned more than once."
                )));
            }
            check_replicas(replicas, None, &brokers)?;
        }
        let consecutive = by_number
            .keys()
            .zip(0..)
            .all(|(number, expected)| *number == expected);
        if !consecutive {
            return Err(invalid(
                "The assigned partitions must be numbered from 0 without a gap.".into(),
            ));
        }
        let replicas: Vec<Vec<i32>> = by_number.into_values().cloned().collect();
        for partition in &replicas {
            same_width(partition, replicas[0].len())?;
        }
        Ok(replicas)
    }

    /// Replicas for `count` partitions from number `first` on, spread over the brokers from a place that the topic's id
    /// decides, so that topics of one partition do not all begin with the same broker.
    fn placed(
        &self,
        id: &TopicId,
        first: usize,
        count: usize,
        factor: usize,
    ) -> Result<Vec<Vec<i32>>, ApiError> {
        let brokers = self.broker_ids();
        if factor > brokers.len() {
            return Err(ApiError::new(
                ErrorCode::INVALID_REPLICATION_FACTOR,
                format!(
                    "The replication factor of {factor} cannot be reached with {} registered broker(s).",
                    brokers.len()
                ),
            ));
        }
        if count > MAX_PARTITIONS_PER_REQUEST {
            return Err(too_many_partitions());
        }
        let start = usize::from(id[15]) + first;
        Ok((0..count)
            .map(|p| {
                (0..factor)
                    .map(|r| brokers[(start + p + r) % brokers.len()])
                    .collect()
            })
            .collect())
    }

    /// A topic that is made because a client asked for it: with the broker's defaults, or, for the topics that the
    /// broker keeps its own state in, with theirs (then at most one replica for each broker there is).
    pub fn auto_create_topic(&self, name: &str, random: impl FnMut() -> [u8; 16]) -> Plan<CreatedTopic> {
        let topic = self.auto_topic(name);
        let mut plan = self.create_topics(&[topic], false, random);
        let created = plan.result.pop().expect("one topic in, one result out");
        Plan {
            records: plan.records,
            result: created,
        }
    }

    /// The same for several topics at once, each name given once.
    pub fn auto_create_topics(
        &self,
        names: &[String],
        random: impl FnMut() -> [u8; 16],
    ) -> Plan<Vec<CreatedTopic>> {
        let topics: Vec<NewTopic> = names.iter().map(|name| self.auto_topic(name)).collect();
        self.create_topics(&topics, false, random)
    }

    fn auto_topic(&self, name: &str) -> NewTopic {
        let settings = self.settings();
        let layers = self.layers();
        let brokers = i64::try_from(self.broker_ids().len()).unwrap_or(i64::MAX);
        let number = |name: &str| layers.number(name).unwrap_or(1);
        let factor = |wanted: i64| i16::try_from(wanted.min(brokers)).unwrap_or(1).max(1);
        let set = |name: &str, value: String| (name.to_owned(), Some(value));
        match name {
            CONSUMER_OFFSETS => NewTopic {
                name: name.into(),
                num_partitions: settings.offsets_topic_partitions,
                replication_factor: factor(i64::from(settings.offsets_topic_replication_factor)),
                assignments: Vec::new(),
                configs: vec![
                    set("cleanup.policy", "compact".into()),
                    set("compression.type", "producer".into()),
                    set(
                        "segment.bytes",
                        settings.offsets_topic_segment_bytes.max(1 << 20).to_string(),
                    ),
                ],
            },
            TRANSACTION_STATE => NewTopic {
                name: name.into(),
                num_partitions: i32::try_from(number("transaction.state.log.num.partitions")).unwrap_or(50),
                replication_factor: factor(number("transaction.state.log.replication.factor")),
                assignments: Vec::new(),
                configs: vec![
                    set("cleanup.policy", "compact".into()),
                    set("compression.type", "uncompressed".into()),
                    set(
                        "min.insync.replicas",
                        number("transaction.state.log.min.isr")
                            .min(brokers)
                            .max(1)
                            .to_string(),
                    ),
                    set(
                        "segment.bytes",
                        number("transaction.state.log.segment.bytes")
                            .max(1 << 20)
                            .to_string(),
                    ),
                    set("unclean.leader.election.enable", "false".into()),
                ],
            },
            _ => NewTopic::named(name),
        }
    }

    /// DeleteTopics.
    pub fn delete_topics(&self, topics: &[DeleteTopic]) -> Plan<Vec<DeletedTopic>> {
        let enabled = self.settings().delete_topic_enable;
        let mut records = Vec::new();
        // Which topics are meant, to find a topic named twice, also once by name and once by id.
        let found: Vec<Option<&Topic>> = topics.iter().map(|t| self.find(t)).collect();
        let repeated_requests = repeated(topics.iter());
        let repeated_topics = repeated(found.iter().flatten().map(|t| t.id));
        let mut answered = BTreeSet::new();
        let result = topics
            .iter()
            .zip(&found)
            .filter(|(topic, _)| answered.insert(*topic))
            .map(|(topic, meant)| {
                let outcome = if repeated_requests.contains(topic) {
                    Err(ApiError::new(
                        ErrorCode::INVALID_REQUEST,
                        match topic.name {
                            Some(_) => "Duplicate topic name.",
                            None => "Duplicate topic id.",
                        },
                    ))
                } else {
                    self.delete_topic(
                        topic,
                        *meant,
                        meant.is_some_and(|t| repeated_topics.contains(&t.id)),
                        enabled,
                    )
                };
                if let (Ok(()), Some(meant)) = (&outcome, meant) {
                    records.push(MetaRecord::TopicDeleted(TopicDeleted { id: meant.id }));
                }
                match meant {
                    Some(meant) if outcome.is_ok() => DeletedTopic {
                        name: Some(meant.name.clone()),
                        id: meant.id,
                        outcome,
                    },
                    // A refusal says no more of the topic than was asked.
                    _ => DeletedTopic {
                        name: topic.name.clone(),
                        id: topic.id,
                        outcome,
                    },
                }
            })
            .collect();
        Plan { records, result }
    }

    fn find(&self, topic: &DeleteTopic) -> Option<&'a Topic> {
        match &topic.name {
            Some(_) if topic.id != [0; 16] => None,
            Some(name) => self.state.topic(name).map(AsRef::as_ref),
            None => self.state.topic_by_id(&topic.id).map(AsRef::as_ref),
        }
    }

    fn delete_topic(
        &self,
        topic: &DeleteTopic,
        meant: Option<&Topic>,
        named_twice: bool,
        enabled: bool,
    ) -> Result<(), ApiError> {
        let request = |text: &str| Err(ApiError::new(ErrorCode::INVALID_REQUEST, text));
        if !enabled {
            return Err(ApiError::bare(ErrorCode::TOPIC_DELETION_DISABLED));
        }
        match &topic.name {
            Some(_) if topic.id != [0; 16] => request("A topic is named by name or by id, not by both."),
            None if topic.id == [0; 16] => request("Neither topic name nor topic id was given."),
            _ if named_twice => request("The topic is named twice, by name and by id."),
            Some(_) if meant.is_none() => Err(ApiError::bare(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)),
            None if meant.is_none() => Err(ApiError::bare(ErrorCode::UNKNOWN_TOPIC_ID)),
            _ => Ok(()),
        }
    }

    /// CreatePartitions.
    pub fn create_partitions(&self, topics: &[GrowTopic], validate_only: bool) -> Plan<Vec<TopicResult>> {
        let repeated = repeated(topics.iter().map(|t| t.name.as_str()));
        let mut records = Vec::new();
        let mut budget = MAX_PARTITIONS_PER_REQUEST;
        let mut answered = BTreeSet::new();
        let result = topics
            .iter()
            .filter(|topic| answered.insert(topic.name.as_str()))
            .map(|topic| {
                let outcome = if repeated.contains(topic.name.as_str()) {
                    Err(ApiError::new(ErrorCode::INVALID_REQUEST, "Duplicate topic name."))
                } else {
                    self.grow_topic(topic, budget)
                };
                let outcome = outcome.map(|added| {
                    budget -= added.replicas.len();
                    if !validate_only {
                        records.push(MetaRecord::PartitionsAdded(added));
                    }
                });
                TopicResult {
                    name: topic.name.clone(),
                    outcome,
                }
            })
            .collect();
        Plan { records, result }
    }

    fn grow_topic(&self, topic: &GrowTopic, budget: usize) -> Result<PartitionsAdded, ApiError> {
        let Some(existing) = self.state.topic(&topic.name) else {
            return Err(ApiError::bare(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
        };
        let now = existing.partitions.len();
        let wanted = usize::try_from(topic.count).unwrap_or(0);
        if wanted == now {
            return Err(ApiError::new(
                ErrorCode::INVALID_PARTITIONS,
                format!("Topic already has {now} partition(s)."),
            ));
        }
        if wanted < now {
            return Err(ApiError::new(
                ErrorCode::INVALID_PARTITIONS,
                format!(
                    "The topic {} has {now} partition(s); {} would not be an increase.",
                    topic.name, topic.count
                ),
            ));
        }
        let added = wanted - now;
        if added > budget {
            return Err(too_many_partitions());
        }
        let width = existing.partitions[0].replicas.len();
        let replicas = match &topic.assignments {
            Some(assignments) if assignments.len() != added => {
                return Err(ApiError::new(
                    ErrorCode::INVALID_REPLICA_ASSIGNMENT,
                    format!(
                        "{added} partition(s) are to be added, but {} were assigned.",
                        assignments.len()
                    ),
                ));
            }
            Some(assignments) => {
                let brokers = self.broker_ids();
                for replicas in assignments {
                    check_replicas(replicas, Some(width), &brokers)?;
                }
                assignments.clone()
            }
            None => self.placed(&existing.id, now, added, width)?,
        };
        Ok(PartitionsAdded {
            id: existing.id,
            first: existing.count(),
            replicas,
        })
    }

    /// Hands the next block of producer ids to this broker; `None` when all of the 2^63 ids are used up.
    pub fn allocate_producer_ids(&self) -> Plan<Option<ProducerIdBlock>> {
        let first = self.state.next_producer_id();
        match first.checked_add(PRODUCER_ID_BLOCK) {
            Some(next) => Plan {
                records: vec![MetaRecord::ProducerIdsAllocated(ProducerIdsAllocated {
                    broker_id: self.site.node_id,
                    next,
                })],
                result: Some(ProducerIdBlock {
                    first,
                    count: PRODUCER_ID_BLOCK,
                }),
            },
            None => Plan {
                records: Vec::new(),
                result: None,
            },
        }
    }
}

/// What the topics already planned in the same request rule out.
#[derive(Debug, Default)]
struct Batch {
    collision_keys: BTreeMap<String, String>,
    ids: BTreeSet<TopicId>,
}

/// The items that occur more than once; in n log n, as a hostile request may hold millions.
pub(super) fn repeated<T: Ord>(items: impl Iterator<Item = T>) -> BTreeSet<T> {
    let mut seen = BTreeSet::new();
    let mut twice = BTreeSet::new();
    for item in items {
        match seen.take(&item) {
            Some(first) => {
                twice.insert(first);
                seen.insert(item);
            }
            None => {
                seen.insert(item);
            }
        }
    }
    twice
}

/// The replicas of one partition: there are some, they are brokers, none appears twice; `width` of them if given.
fn check_replicas(replicas: &[i32], width: Option<usize>, brokers: &[i32]) -> Result<(), ApiError> {
    let invalid = |text: String| ApiError::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, text);
    if replicas.is_empty() {
        return Err(invalid(
            "The manual partition assignment includes an empty replica list.".into(),
        ));
    }
    let mut seen = BTreeSet::new();
    for broker in replicas {
        if !seen.insert(*broker) {
            return Err(invalid(format!(
                "The manual partition assignment includes broker {broker} more than once."
            )));
        }
        if !brokers.contains(broker) {
            return Err(invalid(format!(
                "The manual partition assignment includes broker {broker}, which is not registered."
            )));
        }
    }
    width.map_or(Ok(()), |width| same_width(replicas, width))
}

fn requested_partitions(topic: &NewTopic, settings: &NodeSettings) -> usize {
    let count = match topic.num_partitions {
        _ if !topic.assignments.is_empty() => return topic.assignments.len(),
        -1 => settings.num_partitions,
        count => count,
    };
    usize::try_from(count).unwrap_or(0)
}

fn too_many_partitions() -> ApiError {
    ApiError::new(
        ErrorCode::POLICY_VIOLATION,
        format!("One request may make at most {MAX_PARTITIONS_PER_REQUEST} partitions."),
    )
}

fn same_width(replicas: &[i32], width: usize) -> Result<(), ApiError> {
    if replicas.len() == width {
        return Ok(());
    }
    Err(ApiError::new(
        ErrorCode::INVALID_REPLICA_ASSIGNMENT,
        format!(
            "The manual partition assignment includes a partition with {} replica(s) where others have {width}.",
            replicas.len()
        ),
    ))
}
