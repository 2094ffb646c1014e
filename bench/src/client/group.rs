//! A consumer's membership in a classic group: find the coordinator, join, sync, heartbeat, commit.
//!
//! Eager rebalancing with the `range` strategy, so it shares groups with Kafka's own consumers. Positions are committed
//! on the connection that then joins again, and a broker answers one connection in order, so the next owner begins
//! where this one stopped.

use std::collections::BTreeMap;

use bytes::Bytes;
use turgo_net::ErrorCode;
use turgo_net::api::ApiKey;
use turgo_net::messages::consumer_protocol::{
    AssignmentTopicPartition, ConsumerProtocolAssignment, ConsumerProtocolSubscription,
};
use turgo_net::messages::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use turgo_net::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use turgo_net::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use turgo_net::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use turgo_net::messages::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestTopic, OffsetFetchResponse};
use turgo_net::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse};
use turgo_net::messages::{decode_versioned, encode_versioned};

use super::cluster::join;
use super::consumer::{BACKOFF, Consumer, Kind};
use super::{ClientError, Context, Link, Role, parse, requests};
use crate::integrity::Place;

const SESSION_TIMEOUT_MS: i32 = 30_000;
const HEARTBEAT_EVERY: u64 = 3_000_000_000;
const COMMIT_EVERY: u64 = 5_000_000_000;
const PROTOCOL_TYPE: &str = "consumer";
const STRATEGY: &str = "range";

const ILLEGAL_GENERATION: i16 = 22;
const UNKNOWN_MEMBER_ID: i16 = 25;
const REBALANCE_IN_PROGRESS: i16 = 27;
const MEMBER_ID_REQUIRED: i16 = 79;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Next: look for the coordinator.
    Lost,
    /// Next: join.
    Outside,
    /// An answer of the coordinator is awaited.
    Waiting,
    /// Partitions are known, next: their committed offsets.
    Assigned,
    /// Reading.
    Stable,
}

/// The membership.
#[derive(Debug)]
pub struct Member {
    group: String,
    state: State,
    coordinator: Option<i32>,
    id: String,
    generation: i32,
    assigned: Vec<Place>,
    not_before: u64,
    heartbeat_at: u64,
    commit_at: u64,
}

impl Member {
    /// Not in the group yet.
    pub fn new(group: String) -> Member {
        Member {
            group,
            state: State::Lost,
            coordinator: None,
            id: String::new(),
            generation: -1,
            assigned: Vec::new(),
            not_before: 0,
            heartbeat_at: u64::MAX,
            commit_at: u64::MAX,
        }
    }

    /// Has its partitions.
    pub fn stable(&self) -> bool {
        self.state == State::Stable
    }

    /// When something is due, ns.
    pub fn wake(&self) -> u64 {
        match self.state {
            State::Stable => self.heartbeat_at.min(self.commit_at),
            State::Waiting => u64::MAX,
            State::Lost | State::Outside | State::Assigned => self.not_before,
        }
    }
}

impl Consumer {
    fn coordinator(&self) -> Option<Link> {
        let node = self.member.as_ref()?.coordinator?;
        Some(Link {
            node,
            role: Role::Coordinator,
        })
    }

    /// Does what is due.
    pub(super) fn drive_member(&mut self, cx: &mut Context<'_>) {
        let Some(member) = &mut self.member else { return };
        if cx.now < member.wake() {
            return;
        }
        match member.state {
            State::Lost => {
                member.state = State::Waiting;
                let group = member.group.clone();
                let link = Link {
                    node: self.view.any(),
                    role: Role::Control,
                };
                self.send(
                    link,
                    ApiKey::FindCoordinator,
                    |token, version| {
                        let request = FindCoordinatorRequest {
                            key: group.as_str().into(),
                            ..Default::default()
                        };
                        requests::frame(ApiKey::FindCoordinator, version, token, &request)
                    },
                    Kind::FindCoordinator,
                    cx,
                );
            }
            State::Outside => self.join(cx),
            State::Assigned => self.ask_offsets(cx),
            State::Stable => {
                if cx.now >= member.commit_at {
                    member.commit_at = cx.now + COMMIT_EVERY;
                    self.commit(cx);
                }
                self.heartbeat(cx);
            }
            State::Waiting => {}
        }
    }

    pub(super) fn lost_coordinator(&mut self, now: u64) {
        if let Some(member) = &mut self.member {
            member.coordinator = None;
            // A member in good standing goes on where it was once the coordinator is found again.
            member.state = State::Lost;
            member.not_before = now + BACKOFF;
        }
    }

    pub(super) fn got_coordinator(&mut self, frame: &Bytes, cx: &mut Context<'_>) -> Result<(), ClientError> {
        let version = self.versions.of(ApiKey::FindCoordinator)?;
        let answer: FindCoordinatorResponse<'_> = parse(frame, ApiKey::FindCoordinator, version)?;
        let code = ErrorCode(answer.error_code);
        if !code.is_none() {
            self.lost_coordinator(cx.now);
            if code.retriable() {
                return Ok(());
            }
            return Err(ClientError::Refused {
                what: "finding the coordinator of a group".into(),
                code,
            });
        }
        self.view
            .learn_node(answer.node_id, join(&answer.host, answer.port));
        if let Some(member) = &mut self.member {
            member.coordinator = Some(answer.node_id);
            member.state = State::Outside;
            member.not_before = cx.now;
        }
        Ok(())
    }

    fn join(&mut self, cx: &mut Context<'_>) {
        let Some(link) = self.coordinator() else {
            return self.lost_coordinator(cx.now);
        };
        let topics = self.topics.iter().map(|t| t.as_str().into()).collect();
        let subscription = ConsumerProtocolSubscription {
            topics,
            ..Default::default()
        };
        let metadata = match encode_versioned(&subscription, 0) {
            Ok(bytes) => bytes,
            Err(error) => return cx.effects.push(super::Effect::Fail(error.into())),
        };
        let Some(member) = &mut self.member else { return };
        member.state = State::Waiting;
        let (group, id) = (member.group.clone(), member.id.clone());
        self.send(
            link,
            ApiKey::JoinGroup,
            |token, version| {
                let request = JoinGroupRequest {
                    group_id: group.as_str().into(),
                    session_timeout_ms: SESSION_TIMEOUT_MS,
                    rebalance_timeout_ms: 2 * SESSION_TIMEOUT_MS,
                    member_id: id.as_str().into(),
                    protocol_type: PROTOCOL_TYPE.into(),
                    protocols: vec![JoinGroupRequestProtocol {
                        name: STRATEGY.into(),
                        metadata: metadata.as_slice().into(),
                    }],
                    ..Default::default()
                };
                requests::frame(ApiKey::JoinGroup, version, token, &request)
            },
            Kind::Join,
            cx,
        );
    }

    pub(super) fn joined(&mut self, frame: &Bytes, cx: &mut Context<'_>) -> Result<(), ClientError> {
        let version = self.versions.of(ApiKey::JoinGroup)?;
        let answer: JoinGroupResponse<'_> = parse(frame, ApiKey::JoinGroup, version)?;
        let code = ErrorCode(answer.error_code);
        let Some(member) = &mut self.member else {
            return Ok(());
        };
        if code.0 == MEMBER_ID_REQUIRED {
            member.id = answer.member_id.to_string();
            (member.state, member.not_before) = (State::Outside, cx.now);
            return Ok(());
        }
        if !code.is_none() {
            return self.group_error(code, "joining a group", cx);
        }
        member.id = answer.member_id.to_string();
        member.generation = answer.generation_id;
        let mut plan = Vec::new();
        if answer.leader == answer.member_id {
            let members: Vec<String> = answer.members.iter().map(|m| m.member_id.to_string()).collect();
            let counts: Vec<(String, u32)> = self
                .topics
                .iter()
                .map(|t| (t.clone(), self.w.partitions))
                .collect();
            for (id, topics) in range(&members, &counts) {
                let assignment = ConsumerProtocolAssignment {
                    assigned_partitions: topics
                        .into_iter()
                        .map(|(topic, partitions)| AssignmentTopicPartition {
                            topic: topic.into(),
                            partitions,
                        })
                        .collect(),
                    user_data: None,
                };
                plan.push((id, encode_versioned(&assignment, 0)?));
            }
        }
        self.sync(plan, cx);
        Ok(())
    }

    fn sync(&mut self, plan: Vec<(String, Vec<u8>)>, cx: &mut Context<'_>) {
        let Some(link) = self.coordinator() else {
            return self.lost_coordinator(cx.now);
        };
        let Some(member) = &self.member else { return };
        let (group, id, generation) = (member.group.clone(), member.id.clone(), member.generation);
        self.send(
            link,
            ApiKey::SyncGroup,
            |token, version| {
                let request = SyncGroupRequest {
                    group_id: group.as_str().into(),
                    generation_id: generation,
                    member_id: id.as_str().into(),
                    assignments: plan
                        .iter()
                        .map(|(id, bytes)| SyncGroupRequestAssignment {
                            member_id: id.as_str().into(),
                            assignment: bytes.as_slice().into(),
                        })
                        .collect(),
                    ..Default::default()
                };
                requests::frame(ApiKey::SyncGroup, version, token, &request)
            },
            Kind::Sync,
            cx,
        );
    }

    pub(super) fn synced(&mut self, frame: &Bytes, cx: &mut Context<'_>) -> Result<(), ClientError> {
        let version = self.versions.of(ApiKey::SyncGroup)?;
        let answer: SyncGroupResponse<'_> = parse(frame, ApiKey::SyncGroup, version)?;
        let code = ErrorCode(answer.error_code);
        if !code.is_none() {
            return self.group_error(code, "syncing a group", cx);
        }
        let mut assigned = Vec::new();
        if !answer.assignment.is_empty() {
            let assignment: ConsumerProtocolAssignment<'_> = decode_versioned(&answer.assignment)?;
            for topic in &assignment.assigned_partitions {
                if let Some(number) = self.topic_number(&topic.topic) {
                    assigned.extend(topic.partitions.iter().map(|p| (number, *p as u32)));
                }
            }
        }
        cx.recorder.totals.rebalances += 1;
        if let Some(member) = &mut self.member {
            member.assigned = assigned;
            member.state = State::Assigned;
            member.not_before = cx.now;
            member.heartbeat_at = cx.now + HEARTBEAT_EVERY;
            member.commit_at = cx.now + COMMIT_EVERY;
        }
        Ok(())
    }

    fn ask_offsets(&mut self, cx: &mut Context<'_>) {
        let Some(link) = self.coordinator() else {
            return self.lost_coordinator(cx.now);
        };
        let Some(member) = &mut self.member else { return };
        if member.assigned.is_empty() {
            member.state = State::Stable;
            return;
        }
        member.state = State::Waiting;
        let group = member.group.clone();
        let mut topics: BTreeMap<u32, Vec<i32>> = BTreeMap::new();
        for (topic, partition) in &member.assigned {
            topics.entry(*topic).or_default().push(*partition as i32);
        }
        let topics: Vec<OffsetFetchRequestTopic<'_>> = topics
            .into_iter()
            .map(|(t, partition_indexes)| OffsetFetchRequestTopic {
                name: self.topics[t as usize].clone().into(),
                partition_indexes,
            })
            .collect();
        self.send(
            link,
            ApiKey::OffsetFetch,
            |token, version| {
                let request = OffsetFetchRequest {
                    group_id: group.as_str().into(),
                    topics: Some(topics),
                    ..Default::default()
                };
                requests::frame(ApiKey::OffsetFetch, version, token, &request)
            },
            Kind::Offsets,
            cx,
        );
    }

    pub(super) fn got_offsets(&mut self, frame: &Bytes, cx: &mut Context<'_>) -> Result<(), ClientError> {
        let version = self.versions.of(ApiKey::OffsetFetch)?;
        let answer: OffsetFetchResponse<'_> = parse(frame, ApiKey::OffsetFetch, version)?;
        let mut code = ErrorCode(answer.error_code);
        let mut committed: BTreeMap<Place, i64> = BTreeMap::new();
        for topic in &answer.topics {
            let Some(number) = self.topic_number(&topic.name) else {
                continue;
            };
            for p in &topic.partitions {
                if p.error_code != 0 {
                    code = ErrorCode(p.error_code);
                }
                if p.committed_offset >= 0 {
                    committed.insert((number, p.partition_index as u32), p.committed_offset);
                }
            }
        }
        if !code.is_none() {
            return self.group_error(code, "reading committed offsets", cx);
        }
        let assigned = self
            .member
            .as_ref()
            .map(|m| m.assigned.clone())
            .unwrap_or_default();
        for place in assigned {
            self.add(place, committed.get(&place).copied());
        }
        if let Some(member) = &mut self.member {
            member.state = State::Stable;
        }
        Ok(())
    }

    fn heartbeat(&mut self, cx: &mut Context<'_>) {
        let Some(link) = self.coordinator() else {
            return self.lost_coordinator(cx.now);
        };
        let Some(member) = &mut self.member else { return };
        if cx.now < member.heartbeat_at {
            return;
        }
        member.heartbeat_at = cx.now + HEARTBEAT_EVERY;
        let (group, id, generation) = (member.group.clone(), member.id.clone(), member.generation);
        self.send(
            link,
            ApiKey::Heartbeat,
            |token, version| {
                let request = HeartbeatRequest {
                    group_id: group.as_str().into(),
                    generation_id: generation,
                    member_id: id.as_str().into(),
                    ..Default::default()
                };
                requests::frame(ApiKey::Heartbeat, version, token, &request)
            },
            Kind::Heartbeat,
            cx,
        );
    }

    pub(super) fn heard(&mut self, frame: &Bytes, cx: &mut Context<'_>) -> Result<(), ClientError> {
        let version = self.versions.of(ApiKey::Heartbeat)?;
        let answer: HeartbeatResponse = parse(frame, ApiKey::Heartbeat, version)?;
        let code = ErrorCode(answer.error_code);
        if code.is_none() {
            Ok(())
        } else {
            self.group_error(code, "staying in a group", cx)
        }
    }

    fn commit(&mut self, cx: &mut Context<'_>) {
        let Some(link) = self.coordinator() else { return };
        let Some(member) = &self.member else { return };
        let (group, id, generation) = (member.group.clone(), member.id.clone(), member.generation);
        let mut topics: BTreeMap<u32, Vec<OffsetCommitRequestPartition<'_>>> = BTreeMap::new();
        for ((topic, partition), offset) in self.offsets() {
            topics
                .entry(topic)
                .or_default()
                .push(OffsetCommitRequestPartition {
                    partition_index: partition as i32,
                    committed_offset: offset,
                    committed_metadata: Some("".into()),
                    ..Default::default()
                });
        }
        if topics.is_empty() {
            return;
        }
        let topics: Vec<OffsetCommitRequestTopic<'_>> = topics
            .into_iter()
            .map(|(t, partitions)| OffsetCommitRequestTopic {
                name: self.topics[t as usize].clone().into(),
                partitions,
                ..Default::default()
            })
            .collect();
        self.send(
            link,
            ApiKey::OffsetCommit,
            |token, version| {
                let request = OffsetCommitRequest {
                    group_id: group.as_str().into(),
                    generation_id_or_member_epoch: generation,
                    member_id: id.as_str().into(),
                    topics,
                    ..Default::default()
                };
                requests::frame(ApiKey::OffsetCommit, version, token, &request)
            },
            Kind::Commit,
            cx,
        );
    }

    pub(super) fn committed(&mut self, frame: &Bytes, cx: &mut Context<'_>) -> Result<(), ClientError> {
        let version = self.versions.of(ApiKey::OffsetCommit)?;
        let answer: OffsetCommitResponse<'_> = parse(frame, ApiKey::OffsetCommit, version)?;
        // A refused commit shows in the heartbeat as well, which then acts on it.
        for p in answer
            .topics
            .iter()
            .flat_map(|t| &t.partitions)
            .filter(|p| p.error_code != 0)
        {
            cx.recorder.error(ErrorCode(p.error_code).name(), cx.now);
        }
        Ok(())
    }

    fn group_error(&mut self, code: ErrorCode, what: &str, cx: &mut Context<'_>) -> Result<(), ClientError> {
        match code.0 {
            REBALANCE_IN_PROGRESS => {
                let stable = self.member.as_ref().is_some_and(Member::stable);
                if stable {
                    self.commit(cx);
                }
                self.clear();
            }
            ILLEGAL_GENERATION | UNKNOWN_MEMBER_ID => {
                cx.recorder.error(code.name(), cx.now);
                self.clear();
                if let Some(member) = &mut self.member {
                    member.id.clear();
                    member.generation = -1;
                }
            }
            _ if code.retriable() => {
                cx.recorder.error(code.name(), cx.now);
                // The positions stay: an answer of the new coordinator decides about them.
                self.clear();
                self.lost_coordinator(cx.now);
                return Ok(());
            }
            _ => {
                return Err(ClientError::Refused {
                    what: what.to_owned(),
                    code,
                });
            }
        }
        if let Some(member) = &mut self.member {
            member.state = State::Outside;
            member.not_before = cx.now;
        }
        Ok(())
    }
}

/// What one member gets: topic, its partitions.
type Share = Vec<(String, Vec<i32>)>;

/// Kafka's `range` assignment: for each topic, members in the order of their ids get runs of partitions; the first ones
/// get one more if the division leaves a rest.
fn range(members: &[String], topics: &[(String, u32)]) -> Vec<(String, Share)> {
    let mut sorted = members.to_vec();
    sorted.sort();
    let n = sorted.len().max(1) as u32;
    sorted
        .into_iter()
        .zip(0u32..)
        .map(|(id, i)| {
            let parts = topics
                .iter()
                .map(|(topic, count)| {
                    let (share, rest) = (count / n, count % n);
                    let from = i * share + i.min(rest);
                    let to = from + share + u32::from(i < rest);
                    (topic.clone(), (from as i32..to as i32).collect())
                })
                .filter(|(_, partitions): &(String, Vec<i32>)| !partitions.is_empty())
                .collect();
            (id, parts)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_gives_every_partition_to_one_member() {
        let members: Vec<String> = ["c", "a", "b"].map(String::from).to_vec();
        let plan = range(&members, &[("t".into(), 7), ("u".into(), 2)]);
        assert_eq!(
            plan[0],
            (
                "a".into(),
                vec![("t".into(), vec![0, 1, 2]), ("u".into(), vec![0])]
            )
        );
        assert_eq!(
            plan[1],
            ("b".into(), vec![("t".into(), vec![3, 4]), ("u".into(), vec![1])])
        );
        assert_eq!(plan[2], ("c".into(), vec![("t".into(), vec![5, 6])]));
    }
}
