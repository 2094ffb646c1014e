//! Groups: stored offsets, and membership under the classic protocol.
//!
//! [`Membership`] joins, beats, commits and leaves, all on the calling thread: the owner calls
//! [`Membership::beat`] between fetches, often enough for the session. The assignment strategy is `range`, the
//! first choice of Kafka's own consumers, so that this tool can share a group with them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use turgo_net::ErrorCode;
use turgo_net::messages::consumer_protocol::{
    AssignmentTopicPartition, ConsumerProtocolAssignment, ConsumerProtocolSubscription,
};
use turgo_net::messages::heartbeat::HeartbeatRequest;
use turgo_net::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol};
use turgo_net::messages::leave_group::{LeaveGroupRequest, MemberIdentity};
use turgo_net::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use turgo_net::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use turgo_net::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use turgo_net::messages::{decode_versioned, encode_versioned};

use super::{Backoff, Client, ClientError, Wanted, api, refusal};
use crate::cli::exit::CliError;
use crate::cli::sys::{self, interrupted};

/// Partitions by topic.
pub type Partitions = BTreeMap<String, Vec<i32>>;
/// Offsets by topic and partition.
pub type Stored = BTreeMap<(String, i32), i64>;

const RANGE: &str = "range";
const CONSUMER: &str = "consumer";

/// A member of a group as its subscription tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscriber {
    /// Id for this membership.
    pub member_id: String,
    /// Name that survives restarts, if it has one.
    pub instance_id: Option<String>,
    /// Topics it wants.
    pub topics: Vec<String>,
}

/// The range assignment: of each topic, every subscriber gets a run of neighbouring partitions, the first
/// ones one more when it does not come out even. Subscribers stand in the order of their ids (static names
/// first compared with each other). `counts` holds the partitions of each existing topic.
pub fn assign_range(
    subscribers: &[Subscriber],
    counts: &BTreeMap<String, i32>,
) -> BTreeMap<String, Partitions> {
    let mut sorted: Vec<&Subscriber> = subscribers.iter().collect();
    sorted.sort_by(|a, b| match (&a.instance_id, &b.instance_id) {
        (Some(a), Some(b)) => a.cmp(b),
        (Some(_), None) => std::cmp::Ordering::Less,
        (None, Some(_)) => std::cmp::Ordering::Greater,
        (None, None) => a.member_id.cmp(&b.member_id),
    });
    let mut result: BTreeMap<String, Partitions> = subscribers
        .iter()
        .map(|subscriber| (subscriber.member_id.clone(), Partitions::new()))
        .collect();
    for (topic, &count) in counts {
        let takers: Vec<&&Subscriber> = sorted.iter().filter(|s| s.topics.contains(topic)).collect();
        if takers.is_empty() {
            continue;
        }
        let each = count / takers.len() as i32;
        let extra = count % takers.len() as i32;
        let mut next = 0;
        for (at, taker) in takers.iter().enumerate() {
            let share = each + i32::from((at as i32) < extra);
            if share > 0 {
                let partitions = result
                    .get_mut(&taker.member_id)
                    .expect("every subscriber has an entry");
                partitions.insert(topic.clone(), (next..next + share).collect());
            }
            next += share;
        }
    }
    result
}

/// What a heartbeat or a commit showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The membership stands.
    Member,
    /// The group is being divided anew: commit, then join again.
    Rejoin,
}

/// A place in a group.
#[derive(Debug)]
pub struct Membership {
    group: String,
    instance_id: Option<String>,
    topics: Vec<String>,
    session_timeout: Duration,
    rebalance_timeout: Duration,
    member_id: String,
    generation: i32,
    coordinator: i32,
    beaten: Instant,
}

impl Membership {
    /// Not yet a member; [`Membership::join`] makes it one.
    pub fn new(group: &str, instance_id: Option<&str>, topics: &[String], session_timeout: Duration) -> Self {
        Membership {
            group: group.to_string(),
            instance_id: instance_id.map(str::to_string),
            topics: topics.to_vec(),
            session_timeout,
            rebalance_timeout: session_timeout.max(Duration::from_secs(60)),
            member_id: String::new(),
            generation: -1,
            coordinator: -1,
            beaten: sys::now(),
        }
    }

    /// Number of the group's current division.
    pub fn generation(&self) -> i32 {
        self.generation
    }

    /// A third of the session, at most 3 s: how long the owner may stay away from [`Membership::beat`].
    pub fn beat_interval(&self) -> Duration {
        (self.session_timeout / 3).min(Duration::from_secs(3))
    }

    fn refused(&self, code: i16) -> CliError {
        let why = match ErrorCode(code) {
            ErrorCode::INCONSISTENT_GROUP_PROTOCOL => {
                "its members do not offer the range strategy, which this tool uses; choose another group"
                    .to_string()
            }
            ErrorCode::INVALID_SESSION_TIMEOUT => {
                "the broker does not allow this session; change --session-timeout".to_string()
            }
            ErrorCode::FENCED_INSTANCE_ID => "another consumer took over this --instance-id".to_string(),
            _ => refusal(code, None),
        };
        CliError::Failed(format!("group {}: {why}", self.group))
    }

    /// Joins (again) and returns the partitions assigned to this member. Waits for the other members as long
    /// as the rebalance takes.
    pub fn join(&mut self, client: &mut Client) -> Result<Partitions, CliError> {
        let mut backoff = Backoff::new(sys::now() + self.rebalance_timeout + client.timeout());
        loop {
            if self.coordinator < 0 {
                self.coordinator = client.coordinator(&self.group)?;
            }
            match self.join_once(client) {
                Ok(Ok(assigned)) => {
                    self.beaten = sys::now();
                    return Ok(assigned);
                }
                Ok(Err(code)) => {
                    let again = self.lost_standing(code);
                    if !again {
                        return Err(self.refused(code));
                    }
                    // The broker hands out an id first (KIP-394); nothing to wait for then.
                    if code == ErrorCode::MEMBER_ID_REQUIRED.0 {
                        continue;
                    }
                }
                Err(error) if error.is_transient() => {
                    self.coordinator = -1;
                    if interrupted() {
                        return Err(CliError::Interrupted);
                    }
                }
                Err(error) => return Err(error.into()),
            }
            if !backoff.wait() {
                return Err(if interrupted() {
                    CliError::Interrupted
                } else {
                    CliError::Unreachable(format!("group {} could not be joined in time", self.group))
                });
            }
        }
    }

    /// Forgets what `code` says is gone; `false` when joining again will not help.
    fn lost_standing(&mut self, code: i16) -> bool {
        match ErrorCode(code) {
            ErrorCode::UNKNOWN_MEMBER_ID => {
                self.member_id.clear();
                self.generation = -1;
            }
            ErrorCode::ILLEGAL_GENERATION => self.generation = -1,
            ErrorCode::REBALANCE_IN_PROGRESS | ErrorCode::MEMBER_ID_REQUIRED => {}
            ErrorCode::NOT_COORDINATOR | ErrorCode::COORDINATOR_NOT_AVAILABLE => self.coordinator = -1,
            ErrorCode::COORDINATOR_LOAD_IN_PROGRESS => {}
            code => return code.retriable(),
        }
        true
    }

    fn join_once(&mut self, client: &mut Client) -> Result<Result<Partitions, i16>, ClientError> {
        let deadline = sys::now() + self.rebalance_timeout + client.timeout();
        let subscription = ConsumerProtocolSubscription {
            topics: self.topics.iter().map(|topic| topic.as_str().into()).collect(),
            ..Default::default()
        };
        let subscription =
            encode_versioned(&subscription, 0).map_err(|e| ClientError::Request(e.to_string()))?;
        let (group, member_id, instance_id) = (
            self.group.clone(),
            self.member_id.clone(),
            self.instance_id.clone(),
        );
        let reply = client.call::<api::JoinGroup>(self.coordinator, deadline, |_| JoinGroupRequest {
            group_id: group.as_str().into(),
            session_timeout_ms: millis(self.session_timeout),
            rebalance_timeout_ms: millis(self.rebalance_timeout),
            member_id: member_id.as_str().into(),
            group_instance_id: instance_id.as_deref().map(Into::into),
            protocol_type: CONSUMER.into(),
            protocols: vec![JoinGroupRequestProtocol {
                name: RANGE.into(),
                metadata: subscription.as_slice().into(),
            }],
            ..Default::default()
        })?;
        let joined = reply.body()?;
        if !joined.member_id.is_empty() {
            self.member_id = joined.member_id.to_string();
        }
        if joined.error_code != 0 {
            return Ok(Err(joined.error_code));
        }
        self.generation = joined.generation_id;
        let assignments = if joined.leader == joined.member_id && !joined.skip_assignment {
            let mut subscribers = Vec::with_capacity(joined.members.len());
            for member in &joined.members {
                let wants: ConsumerProtocolSubscription<'_> =
                    decode_versioned(&member.metadata).map_err(|error| {
                        ClientError::Request(format!("a member's subscription cannot be read: {error}"))
                    })?;
                subscribers.push(Subscriber {
                    member_id: member.member_id.to_string(),
                    instance_id: member.group_instance_id.as_ref().map(|id| id.to_string()),
                    topics: wants.topics.iter().map(|topic| topic.to_string()).collect(),
                });
            }
            self.divide(client, &subscribers)?
        } else {
            Vec::new()
        };
        let (group, member_id, instance_id) = (
            self.group.clone(),
            self.member_id.clone(),
            self.instance_id.clone(),
        );
        let generation = self.generation;
        let reply =
            client.call::<api::SyncGroup>(self.coordinator, deadline, |version| SyncGroupRequest {
                group_id: group.as_str().into(),
                generation_id: generation,
                member_id: member_id.as_str().into(),
                group_instance_id: instance_id.as_deref().map(Into::into),
                protocol_type: (version >= 5).then(|| CONSUMER.into()),
                protocol_name: (version >= 5).then(|| RANGE.into()),
                assignments: assignments
                    .iter()
                    .map(|(member, bytes)| SyncGroupRequestAssignment {
                        member_id: member.as_str().into(),
                        assignment: bytes.as_slice().into(),
                    })
                    .collect(),
            })?;
        let synced = reply.body()?;
        if synced.error_code != 0 {
            return Ok(Err(synced.error_code));
        }
        if synced.assignment.is_empty() {
            return Ok(Ok(Partitions::new()));
        }
        let assigned: ConsumerProtocolAssignment<'_> = decode_versioned(&synced.assignment)
            .map_err(|error| ClientError::Request(format!("the assignment cannot be read: {error}")))?;
        let partitions = assigned.assigned_partitions.into_iter();
        Ok(Ok(partitions
            .map(|topic| (topic.topic.to_string(), topic.partitions))
            .collect()))
    }

    /// As the group's leader: who gets what, encoded.
    fn divide(
        &self,
        client: &mut Client,
        subscribers: &[Subscriber],
    ) -> Result<Vec<(String, Vec<u8>)>, ClientError> {
        let mut names: Vec<String> = subscribers
            .iter()
            .flat_map(|subscriber| subscriber.topics.clone())
            .collect();
        names.sort();
        names.dedup();
        let topics = client.metadata(Wanted::Names(&names), false)?;
        let counts = topics
            .iter()
            .filter(|topic| !topic.partitions.is_empty())
            .map(|topic| (topic.name.clone(), topic.partitions.len() as i32))
            .collect();
        assign_range(subscribers, &counts)
            .into_iter()
            .map(|(member, partitions)| {
                let assignment = ConsumerProtocolAssignment {
                    assigned_partitions: partitions
                        .iter()
                        .map(|(topic, partitions)| AssignmentTopicPartition {
                            topic: topic.as_str().into(),
                            partitions: partitions.clone(),
                        })
                        .collect(),
                    ..Default::default()
                };
                let bytes =
                    encode_versioned(&assignment, 0).map_err(|e| ClientError::Request(e.to_string()))?;
                Ok((member, bytes))
            })
            .collect()
    }

    /// Sends a heartbeat if one is due.
    pub fn beat(&mut self, client: &mut Client) -> Result<Standing, CliError> {
        if self.beaten.elapsed() < self.beat_interval() {
            return Ok(Standing::Member);
        }
        if self.coordinator < 0 {
            self.coordinator = client.coordinator(&self.group)?;
        }
        let deadline = sys::now() + self.session_timeout.min(client.timeout());
        let (generation, group) = (self.generation, self.group.clone());
        let (member_id, instance_id) = (self.member_id.clone(), self.instance_id.clone());
        let beat = client.call::<api::Heartbeat>(self.coordinator, deadline, |_| HeartbeatRequest {
            group_id: group.as_str().into(),
            generation_id: generation,
            member_id: member_id.as_str().into(),
            group_instance_id: instance_id.as_deref().map(Into::into),
        });
        let code = match beat.and_then(|reply| reply.body().map(|body| body.error_code)) {
            Ok(code) => code,
            Err(error) if error.is_transient() => {
                self.coordinator = -1;
                return Ok(Standing::Member);
            }
            Err(error) => return Err(error.into()),
        };
        self.beaten = sys::now();
        self.standing(code)
    }

    fn standing(&mut self, code: i16) -> Result<Standing, CliError> {
        match ErrorCode(code) {
            ErrorCode::NONE => Ok(Standing::Member),
            ErrorCode::REBALANCE_IN_PROGRESS
            | ErrorCode::UNKNOWN_MEMBER_ID
            | ErrorCode::ILLEGAL_GENERATION => {
                self.lost_standing(code);
                Ok(Standing::Rejoin)
            }
            _ if self.lost_standing(code) => Ok(Standing::Member),
            _ => Err(self.refused(code)),
        }
    }

    /// Stores `offsets`: the next record to read of each partition.
    pub fn commit(&mut self, client: &mut Client, offsets: &Stored) -> Result<Standing, CliError> {
        if offsets.is_empty() {
            return Ok(Standing::Member);
        }
        let mut backoff = Backoff::new(client.deadline());
        loop {
            if self.coordinator < 0 {
                self.coordinator = client.coordinator(&self.group)?;
            }
            let member = Some((
                self.generation,
                self.member_id.as_str(),
                self.instance_id.as_deref(),
            ));
            let result = store_once(client, self.coordinator, &self.group, member, offsets);
            let code = match result {
                Ok(codes) => codes.into_values().find(|code| *code != 0).unwrap_or(0),
                Err(error) if error.is_transient() => {
                    self.coordinator = -1;
                    if backoff.wait() {
                        continue;
                    }
                    return Err(error.into());
                }
                Err(error) => return Err(error.into()),
            };
            match self.standing(code)? {
                // Told to look for the coordinator, or to wait for it: the commit was not carried out.
                Standing::Member if code != 0 => {
                    if !backoff.wait() {
                        return Err(self.refused(code));
                    }
                }
                standing => return Ok(standing),
            }
        }
    }

    /// Leaves, so that the others take over at once. A static member keeps its place. Failures do not
    /// matter: the session ends by itself.
    pub fn leave(&mut self, client: &mut Client) {
        if self.member_id.is_empty() || self.instance_id.is_some() || self.coordinator < 0 {
            return;
        }
        let deadline = sys::now() + Duration::from_secs(2).min(client.timeout());
        let (group, member_id) = (self.group.clone(), self.member_id.clone());
        let _ = client.call::<api::LeaveGroup>(self.coordinator, deadline, |version| {
            let mut request = LeaveGroupRequest {
                group_id: group.as_str().into(),
                ..Default::default()
            };
            if version >= 3 {
                request.members = vec![MemberIdentity {
                    member_id: member_id.as_str().into(),
                    ..Default::default()
                }];
            } else {
                request.member_id = member_id.as_str().into();
            }
            request
        });
        self.member_id.clear();
    }
}

fn millis(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}

/// Stores offsets once; returns the error code of each partition.
fn store_once(
    client: &mut Client,
    coordinator: i32,
    group: &str,
    member: Option<(i32, &str, Option<&str>)>,
    offsets: &Stored,
) -> Result<BTreeMap<(String, i32), i16>, ClientError> {
    let mut topics: BTreeMap<&str, Vec<(i32, i64)>> = BTreeMap::new();
    for ((topic, index), offset) in offsets {
        topics.entry(topic).or_default().push((*index, *offset));
    }
    let deadline = client.deadline();
    let (generation, member_id, instance_id) = member.unwrap_or((-1, "", None));
    let reply = client.call::<api::OffsetCommit>(coordinator, deadline, |_| OffsetCommitRequest {
        group_id: group.into(),
        generation_id_or_member_epoch: generation,
        member_id: member_id.into(),
        group_instance_id: instance_id.map(Into::into),
        topics: topics
            .iter()
            .map(|(topic, partitions)| OffsetCommitRequestTopic {
                name: (*topic).into(),
                partitions: partitions
                    .iter()
                    .map(|(index, offset)| OffsetCommitRequestPartition {
                        partition_index: *index,
                        committed_offset: *offset,
                        committed_metadata: Some("".into()),
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    })?;
    let mut codes = BTreeMap::new();
    for topic in reply.body()?.topics {
        for partition in topic.partitions {
            codes.insert(
                (topic.name.to_string(), partition.partition_index),
                partition.error_code,
            );
        }
    }
    Ok(codes)
}

/// Stores offsets of a group without members; returns the error code of each partition.
pub fn store(
    client: &mut Client,
    group: &str,
    offsets: &Stored,
) -> Result<BTreeMap<(String, i32), i16>, CliError> {
    let mut backoff = Backoff::new(client.deadline());
    loop {
        let coordinator = client.coordinator(group)?;
        let codes = store_once(client, coordinator, group, None, offsets)?;
        let moved = codes.values().any(|code| waits_for_coordinator(*code));
        if !moved || !backoff.wait() {
            return Ok(codes);
        }
    }
}

/// The codes of a coordinator that moved or is not ready.
pub fn waits_for_coordinator(code: i16) -> bool {
    matches!(
        ErrorCode(code),
        ErrorCode::NOT_COORDINATOR
            | ErrorCode::COORDINATOR_NOT_AVAILABLE
            | ErrorCode::COORDINATOR_LOAD_IN_PROGRESS
    )
}

/// The stored offsets of `group`: of `partitions`, or of all it has. Partitions without one are absent.
pub fn stored(client: &mut Client, group: &str, partitions: Option<&Partitions>) -> Result<Stored, CliError> {
    let mut backoff = Backoff::new(client.deadline());
    loop {
        let coordinator = client.coordinator(group)?;
        match stored_once(client, coordinator, group, partitions) {
            Ok(Ok(stored)) => return Ok(stored),
            Ok(Err(code)) => {
                if !ErrorCode(code).retriable() || !backoff.wait() {
                    return Err(CliError::Failed(format!(
                        "group {group}: {}",
                        refusal(code, None)
                    )));
                }
            }
            Err(error) if error.is_transient() && backoff.wait() => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn stored_once(
    client: &mut Client,
    coordinator: i32,
    group: &str,
    partitions: Option<&Partitions>,
) -> Result<Result<Stored, i16>, ClientError> {
    let deadline = client.deadline();
    let reply = client.call::<api::OffsetFetch>(coordinator, deadline, |version| {
        if version >= 8 {
            let topics = partitions.map(|partitions| {
                let topic = |(name, partitions): (&String, &Vec<i32>)| OffsetFetchRequestTopics {
                    name: name.clone().into(),
                    partition_indexes: partitions.clone(),
                    ..Default::default()
                };
                partitions.iter().map(topic).collect()
            });
            let group = OffsetFetchRequestGroup {
                group_id: group.into(),
                topics,
                ..Default::default()
            };
            OffsetFetchRequest {
                groups: vec![group],
                require_stable: true,
                ..Default::default()
            }
        } else {
            let topics = partitions.map(|partitions| {
                let topic = |(name, partitions): (&String, &Vec<i32>)| OffsetFetchRequestTopic {
                    name: name.clone().into(),
                    partition_indexes: partitions.clone(),
                };
                partitions.iter().map(topic).collect()
            });
            OffsetFetchRequest {
                group_id: group.into(),
                topics,
                require_stable: version >= 7,
                ..Default::default()
            }
        }
    })?;
    let answer = reply.body()?;
    let mut stored = Stored::new();
    let mut error = answer.error_code;
    let mut add = |topic: &str, index: i32, offset: i64, code: i16| {
        if code != 0 {
            error = code;
        } else if offset >= 0 {
            stored.insert((topic.to_string(), index), offset);
        }
    };
    for topic in &answer.topics {
        for partition in &topic.partitions {
            add(
                &topic.name,
                partition.partition_index,
                partition.committed_offset,
                partition.error_code,
            );
        }
    }
    for group in &answer.groups {
        for topic in &group.topics {
            for partition in &topic.partitions {
                add(
                    &topic.name,
                    partition.partition_index,
                    partition.committed_offset,
                    partition.error_code,
                );
            }
        }
    }
    if let Some(group) = answer.groups.iter().find(|group| group.error_code != 0) {
        error = group.error_code;
    }
    Ok(if error == 0 { Ok(stored) } else { Err(error) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscriber(id: &str, topics: &[&str]) -> Subscriber {
        Subscriber {
            member_id: id.into(),
            instance_id: None,
            topics: topics.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn ranges_are_neighbours_and_the_first_members_take_the_rest() {
        let members = [
            subscriber("b", &["t", "u"]),
            subscriber("a", &["t"]),
            subscriber("c", &["t"]),
        ];
        let counts = BTreeMap::from([("t".to_string(), 7), ("u".to_string(), 2), ("v".to_string(), 1)]);
        let result = assign_range(&members, &counts);
        assert_eq!(result["a"], Partitions::from([("t".to_string(), vec![0, 1, 2])]));
        assert_eq!(
            result["b"],
            Partitions::from([("t".to_string(), vec![3, 4]), ("u".to_string(), vec![0, 1])])
        );
        assert_eq!(result["c"], Partitions::from([("t".to_string(), vec![5, 6])]));
    }

    #[test]
    fn more_members_than_partitions_leave_some_without() {
        let members = [subscriber("a", &["t"]), subscriber("b", &["t"])];
        let result = assign_range(&members, &BTreeMap::from([("t".to_string(), 1)]));
        assert_eq!(result["a"]["t"], [0]);
        assert!(result["b"].is_empty());
    }

    #[test]
    fn static_names_decide_the_order_before_ids_do() {
        let mut members = [
            subscriber("a", &["t"]),
            subscriber("b", &["t"]),
            subscriber("c", &["t"]),
        ];
        members[1].instance_id = Some("2".into());
        members[2].instance_id = Some("1".into());
        let result = assign_range(&members, &BTreeMap::from([("t".to_string(), 3)]));
        assert_eq!(
            (&result["c"]["t"], &result["b"]["t"], &result["a"]["t"]),
            (&vec![0], &vec![1], &vec![2])
        );
    }
}
