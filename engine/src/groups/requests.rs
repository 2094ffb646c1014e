//! Offsets (commit, fetch, delete, expire) and groups as a whole (list, describe, delete).

use super::codes;
use super::consumer::work::Waiting;
use super::consumer::{Committer as ConsumerCommitter, GroupPhase};
use super::coordinator::{Groups, Op, Producer, Turn};
use super::group::{Group, GroupState, Ticket};
use super::membership::validate_member;
use super::messages::{
    Caller, CommitTopic, CommittedTopic, DescribedGroup, DescribedMember, FetchTopic, FetchedPartition,
    FetchedTopic, ListRequest, ListResponse, ListedGroup, OffsetCommitRequest, OffsetCommitResponse,
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetFetchRequest, OffsetFetchResponse, Request, Response,
    TxnOffsetCommitRequest,
};
use super::offsets::{Entry, OffsetId, Slot};
use super::planted::{Bug, planted};
use super::records::{MAX_STRING, OffsetValue, Record};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::rc::Rc;

/// OffsetCommit from this version says GROUP_ID_NOT_FOUND where earlier ones said ILLEGAL_GENERATION.
const GROUP_ID_NOT_FOUND_SINCE: i16 = 9;
/// DescribeGroups from this version reports an unknown group as an error (KIP-1043).
const DESCRIBE_NOT_FOUND_SINCE: i16 = 6;
/// Type of groups of the classic protocol.
const CLASSIC: &str = "classic";
/// Type of groups of the consumer protocol.
const CONSUMER: &str = "consumer";
/// Topic names are at most this long; a longer one names no topic.
const MAX_TOPIC: usize = 249;

/// Who commits, for [`may_commit`].
struct Committer<'a> {
    member_id: &'a str,
    instance: Option<&'a str>,
    generation: i32,
    transactional: bool,
}

impl<'a> Committer<'a> {
    fn of_consumer(&self, api_version: i16) -> ConsumerCommitter<'a> {
        ConsumerCommitter {
            member_id: self.member_id,
            instance: self.instance,
            epoch: self.generation,
            transactional: self.transactional,
            api_version,
        }
    }
}

/// Whether the group takes offsets from this member: the code if not, otherwise the member if it is one.
fn may_commit(group: &Group, by: &Committer<'_>) -> Result<Option<u64>, i16> {
    let anonymous = by.generation < 0 && by.member_id.is_empty() && by.instance.is_none();
    if by.generation < 0 && group.state == GroupState::Empty {
        // A client without group management, or an operator.
        return Ok(None);
    }
    let mut member = None;
    if !anonymous {
        member = Some(validate_member(group, by.member_id, by.instance)?);
        if by.generation != group.generation && !planted(Bug::StaleCommit) {
            return Err(codes::ILLEGAL_GENERATION);
        }
    } else if !by.transactional {
        return Err(codes::UNKNOWN_MEMBER_ID);
    }
    if !by.transactional && group.state == GroupState::CompletingRebalance {
        // The member has joined the new generation but has no assignment in it yet.
        return Err(codes::REBALANCE_IN_PROGRESS);
    }
    Ok(member)
}

impl Turn<'_> {
    // ---- offsets ----

    pub fn offset_commit(
        &mut self,
        groups: &mut Groups,
        ticket: Ticket,
        caller: &Caller,
        request: OffsetCommitRequest,
    ) {
        let by = Committer {
            member_id: &request.member_id,
            instance: request.group_instance_id.as_deref(),
            generation: request.generation_id,
            transactional: false,
        };
        if let Some(group) = self.consumers.groups.get(request.group_id.as_str()) {
            let by = by.of_consumer(caller.api_version);
            if let Err(code) = group.may_commit(&by, &request.topics) {
                let refusal = Request::OffsetCommit(request).refuse(code, caller.api_version);
                self.reply(ticket, refusal);
                return;
            }
            let expire = request
                .retention_time_ms
                .map(|keep_ms| self.now_ms.saturating_add(keep_ms));
            self.write_offsets(groups, ticket, &request.group_id, request.topics, expire, None);
            return;
        }
        let exists = match groups.get_mut(request.group_id.as_str()) {
            Some(group) => match may_commit(group, &by) {
                Ok(member) => {
                    // A commit is as good as a heartbeat.
                    if let Some(uid) = member {
                        self.rearm_session(group, uid);
                    }
                    true
                }
                Err(code) => {
                    let refusal = Request::OffsetCommit(request).refuse(code, caller.api_version);
                    self.reply(ticket, refusal);
                    return;
                }
            },
            None => false,
        };
        if !exists && let Some(code) = self.refuse_new_simple_group(groups, caller, &by) {
            let refusal = Request::OffsetCommit(request).refuse(code, caller.api_version);
            self.reply(ticket, refusal);
            return;
        }
        let expire = request
            .retention_time_ms
            .map(|keep_ms| self.now_ms.saturating_add(keep_ms));
        self.write_offsets(groups, ticket, &request.group_id, request.topics, expire, None);
    }

    pub fn txn_offset_commit(
        &mut self,
        groups: &mut Groups,
        ticket: Ticket,
        caller: &Caller,
        request: TxnOffsetCommitRequest,
    ) {
        let by = Committer {
            member_id: &request.member_id,
            instance: request.group_instance_id.as_deref(),
            generation: request.generation_id,
            transactional: true,
        };
        let refused = match groups.get_mut(request.group_id.as_str()) {
            Some(group) => may_commit(group, &by).err(),
            None if self.consumers.groups.contains_key(request.group_id.as_str()) => {
                let by = by.of_consumer(caller.api_version);
                let group = &self.consumers.groups[request.group_id.as_str()];
                group.may_commit(&by, &request.topics).err()
            }
            None if request.generation_id >= 0 => Some(codes::ILLEGAL_GENERATION),
            None => self.refuse_new_simple_group(groups, caller, &by),
        };
        if let Some(code) = refused {
            let refusal = Request::TxnOffsetCommit(request).refuse(code, caller.api_version);
            self.reply(ticket, refusal);
            return;
        }
        let producer = Producer {
            id: request.producer_id,
            epoch: request.producer_epoch,
        };
        self.write_offsets(
            groups,
            ticket,
            &request.group_id,
            request.topics,
            None,
            Some(producer),
        );
    }

    fn refuse_new_simple_group(&self, groups: &Groups, caller: &Caller, by: &Committer<'_>) -> Option<i16> {
        if by.generation >= 0 {
            return Some(if caller.api_version >= GROUP_ID_NOT_FOUND_SINCE {
                codes::GROUP_ID_NOT_FOUND
            } else {
                codes::ILLEGAL_GENERATION
            });
        }
        let count = groups.len() + self.consumers.groups.len();
        (count >= self.config.limits.groups).then_some(codes::COORDINATOR_NOT_AVAILABLE)
    }

    /// Appends the offsets that can be stored and answers for all once they are.
    fn write_offsets(
        &mut self,
        groups: &mut Groups,
        ticket: Ticket,
        group_id: &str,
        topics: Vec<CommitTopic>,
        expire_timestamp_ms: Option<i64>,
        producer: Option<Producer>,
    ) {
        let token = self.next_token();
        let id: Rc<str> = match groups.get_key_value(group_id) {
            Some((id, _)) => id.clone(),
            None => group_id.into(),
        };
        let mut records = Vec::new();
        let mut slots = Vec::new();
        let mut answer = OffsetCommitResponse {
            topics: Vec::with_capacity(topics.len()),
        };
        for topic in topics {
            let mut answered = Vec::with_capacity(topic.partitions.len());
            for partition in topic.partitions {
                let metadata = partition.metadata.unwrap_or_default();
                if self.is_too_large(&metadata) {
                    answered.push((partition.partition, codes::OFFSET_METADATA_TOO_LARGE));
                    continue;
                }
                if topic.name.len() > MAX_TOPIC {
                    answered.push((partition.partition, codes::UNKNOWN_TOPIC_OR_PARTITION));
                    continue;
                }
                let value = OffsetValue {
                    offset: partition.offset,
                    leader_epoch: partition.leader_epoch,
                    metadata: metadata.into(),
                    commit_timestamp_ms: self.now_ms,
                    expire_timestamp_ms,
                    topic_id: topic.topic_id,
                };
                let index = records.len() as u32;
                records.push(Record::offset(&id, &topic.name, partition.partition, &value));
                let producer_id = producer.map(|producer| producer.id);
                let (name, partition) = self.offsets.stage(
                    token,
                    &id,
                    &topic.name,
                    partition.partition,
                    producer_id,
                    Some(value),
                );
                slots.push(Slot {
                    group: id.clone(),
                    topic: name,
                    partition,
                    index,
                });
                answered.push((partition, codes::NONE));
            }
            answer.topics.push(CommittedTopic {
                name: topic.name,
                topic_id: topic.topic_id,
                partitions: answered,
            });
        }
        if records.is_empty() {
            self.reply(ticket, Response::OffsetCommit(answer));
            return;
        }
        self.stats.commits += records.len() as u64;
        let group = match groups.get_mut(group_id) {
            Some(group) => Some(group),
            None if self.consumers.concerned(group_id).is_some() => None,
            None => Some(self.create(groups, group_id)),
        };
        let op = Op::Offsets {
            slots,
            removed: Vec::new(),
        };
        let issued = self.append_from(producer, group, records, op);
        assert_eq!(issued, token, "offsets were staged for another append");
        self.reply_after(Some(token), ticket, Response::OffsetCommit(answer));
    }

    fn is_too_large(&self, metadata: &str) -> bool {
        let max = self.config.offset_metadata_max;
        metadata.len() > MAX_STRING || (metadata.len() > max && metadata.encode_utf16().count() > max)
    }

    pub fn offset_fetch(
        &mut self,
        groups: &Groups,
        ticket: Ticket,
        caller: &Caller,
        request: OffsetFetchRequest,
    ) {
        // Only consumer groups look at who asks.
        let consumer = self
            .consumers
            .groups
            .get(request.group_id.as_str())
            .filter(|group| group.visible && !groups.contains_key(request.group_id.as_str()));
        let may = consumer.map_or(Ok(()), |group| {
            group.may_fetch(request.member_id.as_deref(), request.member_epoch)
        });
        if let Err(code) = may {
            let refusal = Request::OffsetFetch(request).refuse(code, caller.api_version);
            self.reply(ticket, refusal);
            return;
        }
        let stored = self.offsets.group(&request.group_id);
        // `None`: there is nothing to show.
        let shown = |entry: Option<&Entry>, partition: i32, topic_id: &[u8; 16]| {
            if request.require_stable && entry.is_some_and(Entry::in_transaction) {
                return Some(FetchedPartition::none(partition, codes::UNSTABLE_OFFSET_COMMIT));
            }
            // Who must see a stable offset must also see every write that came before the question.
            let value = if request.require_stable || planted(Bug::EarlyOffset) {
                entry.and_then(Entry::latest)
            } else {
                entry.and_then(Entry::committed)
            };
            value
                .filter(|value| same_topic(&value.topic_id, topic_id))
                .map(|value| FetchedPartition {
                    partition,
                    offset: value.offset,
                    leader_epoch: value.leader_epoch,
                    metadata: value.metadata.to_string(),
                    error_code: codes::NONE,
                })
        };
        let topics = match &request.topics {
            Some(topics) => {
                let answer = |topic: &FetchTopic| {
                    let partitions = stored.and_then(|topics| topics.get(topic.name.as_str()));
                    let answer = |partition: &i32| {
                        let entry = partitions.and_then(|partitions| partitions.get(partition));
                        shown(entry, *partition, &topic.topic_id)
                            .unwrap_or_else(|| FetchedPartition::none(*partition, codes::NONE))
                    };
                    FetchedTopic {
                        name: topic.name.clone(),
                        topic_id: topic.topic_id,
                        partitions: topic.partitions.iter().map(answer).collect(),
                    }
                };
                topics.iter().map(answer).collect()
            }
            None => {
                let mut all = Vec::new();
                for (name, entries) in stored.into_iter().flatten() {
                    let partitions: Vec<FetchedPartition> = entries
                        .iter()
                        .filter_map(|(partition, entry)| shown(Some(entry), *partition, &[0; 16]))
                        .collect();
                    if !partitions.is_empty() {
                        all.push(FetchedTopic {
                            name: name.to_string(),
                            topic_id: [0; 16],
                            partitions,
                        });
                    }
                }
                all
            }
        };
        let response = Response::OffsetFetch(OffsetFetchResponse {
            group_id: request.group_id,
            error_code: codes::NONE,
            topics,
        });
        let last = self.appends.pending.keys().next_back().copied();
        self.reply_after(last.filter(|_| request.require_stable), ticket, response);
    }

    pub fn offset_delete(&mut self, groups: &mut Groups, ticket: Ticket, request: OffsetDeleteRequest) {
        let consumer = self.consumers.groups.get(request.group_id.as_str());
        let refused = match groups.get(request.group_id.as_str()) {
            None if consumer.is_some() => None,
            None => Some(codes::GROUP_ID_NOT_FOUND),
            // What other protocols' members read is not known here, so nothing of theirs may be deleted.
            Some(group) if group.state != GroupState::Empty && !group.uses_consumer_protocol() => {
                Some(codes::NON_EMPTY_GROUP)
            }
            Some(_) => None,
        };
        if let Some(error_code) = refused {
            let response = OffsetDeleteResponse {
                error_code,
                topics: Vec::new(),
            };
            self.reply(ticket, Response::OffsetDelete(response));
            return;
        }
        let classic = groups.get(request.group_id.as_str());
        let id: Rc<str> = request.group_id.as_str().into();
        let is_subscribed = |topic: &str| match (classic, consumer) {
            (Some(group), _) => group.is_subscribed(topic),
            (None, Some(group)) => group.is_subscribed(topic),
            (None, None) => false,
        };
        let mut answer = OffsetDeleteResponse::default();
        let mut doomed = Vec::new();
        for (topic, partitions) in request.topics {
            let code = if is_subscribed(&topic) {
                codes::GROUP_SUBSCRIBED_TO_TOPIC
            } else {
                codes::NONE
            };
            if code == codes::NONE {
                for partition in &partitions {
                    let entry = self.offsets.entry(&id, &topic, *partition);
                    if entry.is_some_and(|entry| entry.latest().is_some() || entry.in_transaction()) {
                        doomed.push((id.clone(), Rc::from(topic.as_str()), *partition));
                    }
                }
            }
            answer.topics.push((
                topic,
                partitions
                    .into_iter()
                    .map(|partition| (partition, code))
                    .collect(),
            ));
        }
        doomed.dedup();
        let token = self.remove_offsets(doomed, Vec::new());
        self.reply_after(token, ticket, Response::OffsetDelete(answer));
    }

    /// Appends tombstones for offsets and then for groups, in as many appends as the ceiling asks for. The groups
    /// must be out of the map. Returns the last append, on which answers may wait.
    fn remove_offsets(&mut self, doomed: Vec<OffsetId>, mut groups: Vec<Group>) -> Option<u64> {
        let max = self.config.limits.records_per_append;
        let total = doomed.len() + groups.len();
        let appends = total.div_ceil(max) as u64;
        let last = self.appends_after(appends);
        let mut doomed = doomed.into_iter();
        for _ in 0..appends {
            let token = self.next_token();
            let mut records = Vec::new();
            let mut slots = Vec::new();
            for (group, topic, partition) in doomed.by_ref().take(max) {
                records.push(Record::offset_tombstone(&group, &topic, partition));
                let (topic, partition) = self.offsets.stage(token, &group, &topic, partition, None, None);
                slots.push(Slot {
                    group,
                    topic,
                    partition,
                    index: records.len() as u32 - 1,
                });
            }
            let removed: Vec<Group> = groups.drain(..groups.len().min(max - records.len())).collect();
            records.extend(removed.iter().map(|group| Record::group_tombstone(&group.id)));
            self.append(None, records, Op::Offsets { slots, removed });
            let pending = self.appends.pending.get_mut(&token).expect("issued above");
            pending.reply_at = last.filter(|last| *last != token);
        }
        last
    }

    /// The token of the last of the next `count` appends.
    fn appends_after(&self, count: u64) -> Option<u64> {
        (count > 0).then(|| self.next_token() + count - 1)
    }

    /// Every offset of a group that is there or on its way.
    fn all_offsets(&self, group: &Rc<str>) -> Vec<OffsetId> {
        let mut all = Vec::new();
        for (topic, partitions) in self.offsets.group(group).into_iter().flatten() {
            for (partition, entry) in partitions {
                if entry.latest().is_some() || entry.in_transaction() {
                    all.push((group.clone(), topic.clone(), *partition));
                }
            }
        }
        all
    }

    /// Removes offsets whose retention is over, and groups that have neither members nor offsets left.
    pub fn expire_offsets(&mut self, groups: &mut Groups) {
        let mut doomed = Vec::new();
        let mut finished = Vec::new();
        for group in groups.values() {
            let before = doomed.len();
            let all_expired = self.expired_offsets(group, &mut doomed);
            self.stats.expired_offsets += (doomed.len() - before) as u64;
            let idle =
                group.state == GroupState::Empty && group.pending_joins.is_empty() && group.in_flight == 0;
            if all_expired && idle {
                finished.push(group.id.clone());
            }
        }
        let mut empty = Vec::new();
        for group in self.consumers.groups.values() {
            let before = doomed.len();
            let all_expired =
                self.expired_by(&group.id, None, |topic| group.is_subscribed(topic), &mut doomed);
            self.stats.expired_offsets += (doomed.len() - before) as u64;
            let idle = group.phase() == GroupPhase::Empty && !self.consumers.gates.contains_key(&group.id);
            if all_expired && idle {
                empty.push(group.id.clone());
            }
        }
        let finished = finished
            .into_iter()
            .filter_map(|id| self.take(groups, &id))
            .collect();
        self.remove_offsets(doomed, finished);
        for id in empty {
            self.bury_empty(groups, &id);
        }
    }

    /// Adds the group's expired offsets to `doomed`; whether that leaves it without any.
    fn expired_offsets(&self, group: &Group, doomed: &mut Vec<OffsetId>) -> bool {
        let Some(topics) = self.offsets.group(&group.id) else {
            return true;
        };
        // Since when retention runs: an offset of a group with members ages from its commit, and only if nobody
        // reads its topic; one of an abandoned group from when the group became empty.
        let from_state = match (&group.protocol_type, group.state) {
            (None, _) => None,
            (Some(_), GroupState::Empty) => group.state_since_ms,
            (Some(_), GroupState::Stable) if group.uses_consumer_protocol() && group.subscribed.is_some() => {
                None
            }
            _ => return false,
        };
        let _ = topics;
        self.expired_by(&group.id, from_state, |topic| group.is_subscribed(topic), doomed)
    }

    /// The same of a group whose offsets age from `since_ms`, or each from its commit.
    fn expired_by(
        &self,
        id: &Rc<str>,
        since_ms: Option<i64>,
        is_subscribed: impl Fn(&str) -> bool,
        doomed: &mut Vec<OffsetId>,
    ) -> bool {
        let Some(topics) = self.offsets.group(id) else {
            return true;
        };
        let mut all_expired = true;
        for (topic, partitions) in topics {
            let subscribed = is_subscribed(topic);
            for (partition, entry) in partitions {
                let expired = !subscribed
                    && !entry.is_staged()
                    && !entry.in_transaction()
                    && entry
                        .committed()
                        .is_some_and(|value| match value.expire_timestamp_ms {
                            Some(expire) => self.now_ms >= expire,
                            None => {
                                let since = since_ms.unwrap_or(value.commit_timestamp_ms);
                                self.now_ms.saturating_sub(since) >= self.config.offsets_retention_ms
                            }
                        });
                if expired {
                    doomed.push((id.clone(), topic.clone(), *partition));
                } else {
                    all_expired = false;
                }
            }
        }
        all_expired
    }

    /// Removes the offsets of deleted topics from every group.
    pub fn drop_topics(&mut self, topics: &[(String, [u8; 16])]) {
        let mut doomed = Vec::new();
        for (group, stored) in self.offsets.groups() {
            for (name, id) in topics {
                let Some((name, partitions)) = stored.get_key_value(name.as_str()) else {
                    continue;
                };
                for (partition, entry) in partitions {
                    let theirs = entry.latest().is_none_or(|value| same_topic(&value.topic_id, id));
                    if theirs && (entry.latest().is_some() || entry.in_transaction()) {
                        doomed.push((group.clone(), name.clone(), *partition));
                    }
                }
            }
        }
        self.remove_offsets(doomed, Vec::new());
    }

    // ---- groups ----

    pub fn list(&mut self, groups: &Groups, ticket: Ticket, request: &ListRequest) {
        let wanted: BTreeSet<String> = request
            .states_filter
            .iter()
            .map(|state| state.trim().to_lowercase())
            .collect();
        let of_type = |name: &str| {
            let mut wanted = request.types_filter.iter();
            request.types_filter.is_empty() || wanted.any(|t| t.eq_ignore_ascii_case(name))
        };
        let (of_classic, of_consumer) = (of_type(CLASSIC), of_type(CONSUMER));
        let consumers = self
            .consumers
            .groups
            .values()
            .filter(|group| of_consumer && group.visible)
            .map(|group| (group, group.phase().name()))
            .filter(|(_, state)| wanted.is_empty() || wanted.contains(&state.to_lowercase()))
            .map(|(group, group_state)| ListedGroup {
                group_id: group.id.to_string(),
                protocol_type: CONSUMER.to_owned(),
                group_state,
                group_type: CONSUMER,
            });
        let shown = groups
            .values()
            .filter(|group| of_classic && group.visible)
            .filter(|group| wanted.is_empty() || wanted.contains(&group.state.name().to_lowercase()))
            .map(|group| ListedGroup {
                group_id: group.id.to_string(),
                protocol_type: group.protocol_type.clone().unwrap_or_default(),
                group_state: group.state.name(),
                group_type: CLASSIC,
            });
        let response = ListResponse {
            error_code: codes::NONE,
            groups: shown.chain(consumers).collect(),
        };
        self.reply(ticket, Response::List(response));
    }

    pub fn describe(&mut self, groups: &Groups, ticket: Ticket, caller: &Caller, ids: Vec<String>) {
        let described = ids
            .into_iter()
            .map(|id| match groups.get(id.as_str()).filter(|group| group.visible) {
                Some(group) => describe_group(group),
                None if caller.api_version >= DESCRIBE_NOT_FOUND_SINCE => DescribedGroup {
                    error_code: codes::GROUP_ID_NOT_FOUND,
                    error_message: Some(match self.consumers.groups.get(id.as_str()) {
                        Some(group) if group.visible => format!("Group {id} is not a classic group."),
                        _ => format!("Group {id} not found."),
                    }),
                    group_id: id,
                    group_state: "Dead",
                    ..DescribedGroup::default()
                },
                None => DescribedGroup {
                    group_id: id,
                    group_state: "Dead",
                    ..DescribedGroup::default()
                },
            })
            .collect();
        self.reply(ticket, Response::Describe(described));
    }

    /// DeleteGroups, once no batch of a group it names is on its way.
    pub fn delete_or_wait(&mut self, groups: &mut Groups, ticket: Ticket, caller: &Caller, ids: Vec<String>) {
        let shut = ids
            .iter()
            .find_map(|id| self.consumers.gates.get_key_value(id.as_str()));
        match shut.map(|(id, _)| id.clone()) {
            Some(id) => {
                let asked = Box::new((caller.clone(), Request::Delete(ids)));
                self.at_gate(groups, &id, Waiting::Request(ticket, asked));
            }
            None => self.delete(groups, ticket, ids),
        }
    }

    fn delete(&mut self, groups: &mut Groups, ticket: Ticket, ids: Vec<String>) {
        let mut consumers = Vec::new();
        let mut answer = Vec::with_capacity(ids.len());
        let mut doomed = Vec::new();
        let mut deleted = Vec::new();
        let mut seen = BTreeSet::new();
        for id in ids {
            if !seen.insert(id.clone()) {
                continue;
            }
            let code = match groups.get(id.as_str()) {
                None => match self.consumers.groups.get(id.as_str()) {
                    None => codes::GROUP_ID_NOT_FOUND,
                    Some(group) if group.phase() != GroupPhase::Empty => codes::NON_EMPTY_GROUP,
                    Some(group) => {
                        let id = group.id.clone();
                        doomed.extend(self.all_offsets(&id));
                        consumers.push(id);
                        codes::NONE
                    }
                },
                Some(group) if group.state != GroupState::Empty => codes::NON_EMPTY_GROUP,
                Some(group) => {
                    doomed.extend(self.all_offsets(&group.id));
                    deleted.extend(self.take(groups, &id));
                    codes::NONE
                }
            };
            answer.push((id, code));
        }
        let first = self.next_token();
        let mut token = self.remove_offsets(doomed, deleted);
        for id in consumers {
            token = self.bury_empty(groups, &id).or(token);
        }
        // The answer depends on all of it.
        for (issued, pending) in self.appends.pending.range_mut(first..) {
            pending.reply_at = token.filter(|last| last != issued);
        }
        self.reply_after(token, ticket, Response::Delete(answer));
    }
}

/// Whether an offset stored for topic `stored` answers for topic `asked`; zero is not known and fits any.
fn same_topic(stored: &[u8; 16], asked: &[u8; 16]) -> bool {
    *stored == [0; 16] || *asked == [0; 16] || stored == asked
}

fn describe_group(group: &Group) -> DescribedGroup {
    let protocol = group
        .protocol
        .as_deref()
        .filter(|_| group.state == GroupState::Stable);
    let members = group.members.values().map(|member| DescribedMember {
        member_id: member.id.to_string(),
        group_instance_id: member.instance.as_deref().map(str::to_owned),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        member_metadata: protocol
            .and_then(|name| member.metadata(name))
            .cloned()
            .unwrap_or(Bytes::new()),
        member_assignment: member.assignment.clone(),
    });
    DescribedGroup {
        error_code: codes::NONE,
        error_message: None,
        group_id: group.id.to_string(),
        group_state: group.state.name(),
        protocol_type: group.protocol_type.clone().unwrap_or_default(),
        protocol_data: protocol.unwrap_or("").to_owned(),
        members: members.collect(),
    }
}
