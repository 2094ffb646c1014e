//! ConsumerGroupHeartbeat: joining, staying, leaving; and the deadlines of members.
//!
//! A heartbeat is worked off in the order of its effects: who is it; what does it say of itself; does that change what
//! the group reads (then the group's epoch rises); is there a target for that epoch; how far can the member go.

use super::assignor::{Assignor, MemberSpec, Partitions, TopicSpec};
use super::cluster::Overrides;
use super::group::{Change, ConsumerGroup, Current, MemberState, Meta, Resolved};
use super::messages::{ConsumerHeartbeatRequest, ConsumerHeartbeatResponse, TopicPartitions};
use super::pattern::Pattern;
use super::reconcile::{self, Step};
use super::work::Work;
use super::{ConsumerConfig, JOIN_EPOCH, LEAVE_EPOCH, Refusal, STATIC_LEAVE_EPOCH};
use crate::groups::codes;
use crate::groups::coordinator::{Groups, Turn};
use crate::groups::group::Ticket;
use crate::groups::messages::{Caller, Response};
use crate::groups::planted::{Bug, planted};
use crate::groups::room;
use crate::groups::timers::{Surfaced, TimerKey, Wait};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use turgo_net::Uuid;

/// From this version the client makes the member id (KIP-1082).
const CLIENT_MADE_MEMBER_ID_SINCE: i16 = 1;
/// Bytes of topic names that one member may subscribe to: a member's record has to fit into a batch.
const SUBSCRIPTION_BYTES: usize = 1 << 20;
/// Time to give partitions up of a member that never told one, ms: that of a classic member.
const DEFAULT_REBALANCE_MS: i64 = 300_000;

/// Refusals that need no look at the group, in Kafka's order.
pub(in crate::groups) fn validate(
    request: &ConsumerHeartbeatRequest,
    api_version: i16,
    config: &ConsumerConfig,
    string_bytes: usize,
) -> Result<(), Refusal> {
    let invalid = |message: &str| Err(Refusal::new(codes::INVALID_REQUEST, message));
    let blank = |text: &str| text.trim().is_empty();
    let epoch = request.member_epoch;
    let needs_id = api_version >= CLIENT_MADE_MEMBER_ID_SINCE || epoch > 0 || epoch == LEAVE_EPOCH;
    if needs_id && blank(&request.member_id) {
        return invalid("MemberId can't be empty.");
    }
    if blank(&request.group_id) {
        return invalid("GroupId can't be empty.");
    }
    if request.instance_id.as_deref().is_some_and(blank) {
        return invalid("InstanceId can't be empty.");
    }
    if request.rack_id.as_deref().is_some_and(blank) {
        return invalid("RackId can't be empty.");
    }
    match epoch {
        JOIN_EPOCH => {
            if request.rebalance_timeout_ms == -1 {
                return invalid("RebalanceTimeoutMs must be provided in first request.");
            }
            if request
                .topic_partitions
                .as_ref()
                .is_none_or(|owned| !owned.is_empty())
            {
                return invalid("TopicPartitions must be empty when (re-)joining.");
            }
            if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none() {
                return invalid(
                    "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
                );
            }
        }
        STATIC_LEAVE_EPOCH if request.instance_id.is_none() => return invalid("InstanceId can't be null."),
        epoch if epoch < STATIC_LEAVE_EPOCH => return invalid("MemberEpoch is invalid."),
        _ => {}
    }
    if let Some(name) = &request.server_assignor
        && !config.assignors.iter().any(|assignor| assignor.name() == name)
    {
        let known: Vec<&str> = config.assignors.iter().map(|assignor| assignor.name()).collect();
        return Err(Refusal::new(
            codes::UNSUPPORTED_ASSIGNOR,
            format!(
                "ServerAssignor {name} is not supported. Supported assignors: {}.",
                known.join(", ")
            ),
        ));
    }
    let strings = [
        Some(&request.group_id),
        Some(&request.member_id),
        request.instance_id.as_ref(),
        request.rack_id.as_ref(),
        request.subscribed_topic_regex.as_ref(),
    ];
    if strings
        .into_iter()
        .flatten()
        .any(|text| text.len() > string_bytes)
    {
        return invalid("A string of the request is too long.");
    }
    let names = request.subscribed_topic_names.iter().flatten();
    if names.map(String::len).sum::<usize>() > SUBSCRIPTION_BYTES {
        return invalid("The subscription is too long.");
    }
    Ok(())
}

/// Who a request comes from, once that is settled.
pub(super) struct Speaker {
    pub id: Rc<str>,
    /// What the group knew of it; `None`: it is new.
    pub before: Option<Rc<Meta>>,
}

/// What has to happen to the group's epoch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Effect {
    /// The group reads something else, or among other members.
    pub bump: bool,
    /// What the member reads changed.
    pub resubscribed: bool,
}

impl Turn<'_> {
    pub fn consumer_heartbeat(
        &mut self,
        groups: &mut Groups,
        work: &mut Work,
        ticket: Ticket,
        caller: &Caller,
        request: ConsumerHeartbeatRequest,
    ) {
        let mark = work.mark();
        let worked = match request.member_epoch {
            LEAVE_EPOCH | STATIC_LEAVE_EPOCH => self.consumer_leave(groups, work, &request),
            _ => self.consumer_beat(groups, work, caller, &request),
        };
        let response = worked.unwrap_or_else(|refusal| {
            self.roll_back(groups, work, mark);
            ConsumerHeartbeatResponse::error(refusal.code, Some(refusal.message))
        });
        work.replies.push((ticket, Response::ConsumerHeartbeat(response)));
    }

    fn consumer_beat(
        &mut self,
        groups: &mut Groups,
        work: &mut Work,
        caller: &Caller,
        request: &ConsumerHeartbeatRequest,
    ) -> Result<ConsumerHeartbeatResponse, Refusal> {
        let joining = request.member_epoch == JOIN_EPOCH;
        let names = request
            .subscribed_topic_names
            .iter()
            .flatten()
            .map(String::as_str);
        let pattern = request.subscribed_topic_regex.as_deref().unwrap_or_default();
        if !self.room.take(room::of_names(names, pattern)) {
            return Err(Refusal::new(
                codes::COORDINATOR_NOT_AVAILABLE,
                "The coordinator's members hold as much as they may.",
            ));
        }
        self.open_consumer_group(groups, work, joining)?;
        self.refuse_if_full(work.group(), &request.member_id)?;
        let speaker = self.speaker(work, request)?;
        let known = work.group().members.get(&speaker.id);
        let before = known.map(|member| member.current()).unwrap_or_default();
        let meta = self.told(&speaker, caller, request)?;
        let effect = self.note_member(work, &speaker, meta)?;
        self.raise_epoch(work, effect.bump);
        self.renew_target(work);
        let owned = request.topic_partitions.as_ref();
        let after = self.move_member(work, &speaker.id, owned, effect.resubscribed)?;
        let group = work.group();
        self.rearm_consumer_session(group, &speaker.id);
        let member = group
            .members
            .get_mut(&speaker.id)
            .expect("the speaker is a member");
        member.join.cancel();
        member.sync.cancel();
        let full = request.rebalance_timeout_ms != -1
            && (request.subscribed_topic_names.is_some() || request.subscribed_topic_regex.is_some())
            && owned.is_some();
        let tell = joining || full || before.assigned != after.assigned;
        let partitions =
            |(topic, held): (&[u8; 16], &BTreeMap<i32, i32>)| (*topic, held.keys().copied().collect());
        Ok(ConsumerHeartbeatResponse {
            error_code: codes::NONE,
            error_message: None,
            member_id: Some(speaker.id.to_string()),
            member_epoch: after.epoch,
            heartbeat_interval_ms: self
                .overrides(&work.id)
                .heartbeat_interval_ms
                .unwrap_or(self.config.consumer.heartbeat_interval_ms),
            assignment: tell.then(|| after.assigned.iter().map(partitions).collect()),
        })
    }

    /// Settings of a group.
    pub fn overrides(&self, group: &str) -> Overrides {
        self.cluster.overrides(group)
    }

    pub fn refuse_if_full(&self, group: &ConsumerGroup, member_id: &str) -> Result<(), Refusal> {
        let max = self
            .config
            .consumer
            .max_size
            .min(self.config.limits.members_per_group);
        if group.members.len() >= max && !group.members.contains_key(member_id) {
            return Err(Refusal::new(
                codes::GROUP_MAX_SIZE_REACHED,
                format!("The consumer group has reached its maximum capacity of {max} members."),
            ));
        }
        Ok(())
    }

    /// Finds the member a heartbeat comes from, or makes room for a new one; a static member that returns takes over
    /// from its earlier self.
    fn speaker(&mut self, work: &mut Work, request: &ConsumerHeartbeatRequest) -> Result<Speaker, Refusal> {
        let joining = request.member_epoch == JOIN_EPOCH;
        let id: Rc<str> = if request.member_id.is_empty() {
            Uuid::from_random_bytes(request.new_member_uuid)
                .to_string()
                .into()
        } else {
            request.member_id.as_str().into()
        };
        let group = work.group();
        if let Some(instance) = request.instance_id.as_deref() {
            match group.by_instance.get(instance).cloned() {
                Some(holder) if joining => {
                    let member = &group.members[&holder];
                    if member.classic().is_none() && member.current().epoch != STATIC_LEAVE_EPOCH {
                        return Err(Refusal::new(
                            codes::UNRELEASED_INSTANCE_ID,
                            format!(
                                "Static member {id} with instance id {instance} cannot join the group because the \
                                 instance id is owned by {holder} member."
                            ),
                        ));
                    }
                    self.take_over(work, &holder, &id);
                }
                None if joining => {}
                Some(holder) if holder == id => {
                    check_epoch(&group.members[&holder].current(), request)?;
                }
                Some(holder) => return Err(fenced_instance(&id, instance, &holder)),
                None => return Err(unknown_instance(instance)),
            }
        } else if let Some(member) = group.members.get(&id) {
            check_epoch(&member.current(), request)?;
        } else if !joining {
            return Err(unknown_member(&id, &group.id));
        }
        let before = work.group().members.get(&id).map(|member| member.meta());
        Ok(Speaker { id, before })
    }

    /// A static member comes back as `new`: it gets the place and the partitions of `old`.
    pub fn take_over(&mut self, work: &mut Work, old: &Rc<str>, new: &Rc<str>) {
        let group = work.group();
        let member = &group.members[old];
        let meta = member.meta();
        let current = Rc::new(Current {
            epoch: 0,
            previous_epoch: 0,
            ..(*member.current()).clone()
        });
        let target = group.target(old).cloned().unwrap_or_default();
        for change in [
            Change::Current(old.clone(), None),
            Change::Target(old.clone(), None),
            Change::Member(old.clone(), None),
            Change::Member(new.clone(), Some(meta)),
            Change::Target(new.clone(), Some(target)),
            Change::Current(new.clone(), Some(current)),
        ] {
            work.change(change, self.last_uid);
        }
    }

    /// What the member says of itself, where it says nothing as before.
    fn told(
        &self,
        speaker: &Speaker,
        caller: &Caller,
        request: &ConsumerHeartbeatRequest,
    ) -> Result<Option<Meta>, Refusal> {
        let same = |before: &Meta| {
            before.classic.is_none()
                && before.client_id == caller.client_id
                && before.client_host == caller.client_host
                && (request.instance_id.is_none()
                    || request.instance_id.as_deref() == before.instance.as_deref())
                && (request.rack_id.is_none() || request.rack_id == before.rack)
                && (request.rebalance_timeout_ms == -1
                    || request.rebalance_timeout_ms == before.rebalance_timeout_ms)
                && (request.server_assignor.is_none() || request.server_assignor == before.assignor)
                && request.subscribed_topic_names.is_none()
                && request.subscribed_topic_regex.is_none()
        };
        if speaker.before.as_ref().is_some_and(|before| same(before)) {
            // By far the most heartbeats.
            return Ok(None);
        }
        let long = self.config.limits.string_bytes;
        if caller.client_id.len() > long || caller.client_host.len() > long {
            return Err(Refusal::new(codes::INVALID_REQUEST, "The client id is too long."));
        }
        let base = match &speaker.before {
            Some(before) => (**before).clone(),
            None => Meta {
                rebalance_timeout_ms: -1,
                ..Meta::default()
            },
        };
        let meta = Meta {
            instance: request.instance_id.as_deref().map(Rc::from).or(base.instance),
            rack: request.rack_id.clone().or(base.rack),
            client_id: caller.client_id.clone(),
            client_host: caller.client_host.clone(),
            topics: match &request.subscribed_topic_names {
                Some(names) => names.iter().map(|name| Rc::from(name.as_str())).collect(),
                None => base.topics,
            },
            regex: match &request.subscribed_topic_regex {
                Some(pattern) => pattern.as_str().into(),
                None => base.regex,
            },
            rebalance_timeout_ms: match request.rebalance_timeout_ms {
                -1 => base.rebalance_timeout_ms,
                told => told,
            },
            assignor: request.server_assignor.clone().or(base.assignor),
            classic: None,
        };
        Ok(Some(meta))
    }

    /// Stores what a member says of itself, and matches patterns.
    pub(super) fn note_member(
        &mut self,
        work: &mut Work,
        speaker: &Speaker,
        meta: Option<Meta>,
    ) -> Result<Effect, Refusal> {
        let before = speaker.before.clone();
        let mut effect = Effect {
            bump: false,
            resubscribed: false,
        };
        let changed = meta.filter(|meta| before.as_deref() != Some(meta));
        if let Some(meta) = changed {
            let meta = Rc::new(meta);
            let old_topics = before.as_ref().map(|m| m.topics.clone()).unwrap_or_default();
            let old_regex = before.as_ref().map(|m| m.regex.clone()).unwrap_or_default();
            if meta.topics != old_topics {
                effect = Effect {
                    bump: true,
                    resubscribed: true,
                };
            }
            let regex = meta.regex.clone();
            work.change(Change::Member(speaker.id.clone(), Some(meta)), self.last_uid);
            if regex != old_regex {
                effect.resubscribed = true;
                effect.bump |= self.change_pattern(work, &old_regex, &regex)?;
            }
        }
        effect.bump |= self.refresh_patterns(work);
        Ok(effect)
    }

    /// A member changed its pattern; whether the group reads something else now.
    fn change_pattern(&mut self, work: &mut Work, old: &Rc<str>, new: &Rc<str>) -> Result<bool, Refusal> {
        let mut bump = false;
        if !old.is_empty() {
            bump |= new.is_empty();
            self.drop_pattern(work, old);
        }
        if !new.is_empty() {
            if let Some(found) = work.group().regexes.get(new) {
                bump |= !found.topics.is_empty() || !old.is_empty();
            } else {
                let pattern = Pattern::compile(new).map_err(|why| {
                    Refusal::new(
                        codes::INVALID_REGULAR_EXPRESSION,
                        format!("SubscribedTopicRegex `{new}` is not a valid regular expression: {why}."),
                    )
                })?;
                let found = self.match_topics(&pattern);
                bump |= !found.topics.is_empty() || !old.is_empty();
                let group = work.group();
                if group.regexes.is_empty() {
                    group.matched = Some((found.version, found.at_ms));
                }
                work.change(Change::Regex(new.clone(), Some(Rc::new(found))), self.last_uid);
            }
        }
        Ok(bump)
    }

    /// Forgets a pattern that no member has any more.
    pub fn drop_pattern(&mut self, work: &mut Work, pattern: &Rc<str>) {
        let group = work.group();
        if group.pattern_members(pattern) == 0 && group.regexes.contains_key(pattern) {
            work.change(Change::Regex(pattern.clone(), None), self.last_uid);
        }
    }

    fn match_topics(&self, pattern: &Pattern) -> Resolved {
        let mut topics = BTreeSet::new();
        self.cluster.each_topic(&mut |name| {
            if pattern.matches(name) {
                topics.insert(Rc::from(name));
            }
        });
        Resolved {
            topics,
            version: self.cluster.version(),
            at_ms: self.now_ms,
        }
    }

    /// Matches the group's patterns anew if topics were created since, or much time has passed; whether the group
    /// reads something else now.
    fn refresh_patterns(&mut self, work: &mut Work) -> bool {
        let created = self.consumers.created_version;
        let (now_ms, config) = (self.now_ms, &self.config.consumer);
        let group = work.group();
        if group.regexes.is_empty() {
            return false;
        }
        let (version, at_ms) = group.matched.unwrap_or_else(|| {
            // Loaded from the log: versions of the metadata do not compare across a restart, so it is matched anew.
            let stored_ms = group.regexes.values().map(|found| found.at_ms);
            (-1, stored_ms.min().unwrap_or(0))
        });
        let since_ms = now_ms.saturating_sub(at_ms);
        let outdated = version < created && since_ms > config.regex_refresh_min_ms;
        if !outdated && since_ms <= config.regex_refresh_ms {
            return false;
        }
        let patterns: Vec<Rc<str>> = group.patterns().cloned().collect();
        group.matched = Some((self.cluster.version(), now_ms));
        let mut bump = false;
        for text in patterns {
            // A log of another version may hold a pattern that we cannot compile: it matches nothing.
            let found = match Pattern::compile(&text) {
                Ok(pattern) => self.match_topics(&pattern),
                Err(_) => Resolved::default(),
            };
            let known = work.group().regexes.get(&text);
            if known.is_none_or(|known| known.topics != found.topics) {
                work.change(Change::Regex(text, Some(Rc::new(found))), self.last_uid);
                bump = true;
            }
        }
        bump
    }

    /// Raises the group's epoch if asked to, or if the topics it reads have changed.
    pub fn raise_epoch(&mut self, work: &mut Work, bump: bool) {
        let version = self.consumers.topics_version;
        let group = work.group();
        if !bump && group.checked_version == version {
            return;
        }
        group.checked_version = version;
        let fingerprint = group.compute_fingerprint(self.cluster);
        if bump || fingerprint != group.fingerprint() {
            let next = group.epoch().saturating_add(1);
            work.change(Change::Epoch(Some((next, fingerprint))), self.last_uid);
            self.stats.rebalances += 1;
        }
    }

    /// Makes a target for the group's epoch, unless the last one is too recent.
    pub fn renew_target(&mut self, work: &mut Work) {
        let interval_ms = self
            .overrides(&work.id)
            .assignment_interval_ms
            .unwrap_or(self.config.consumer.assignment_interval_ms);
        let group = work.group();
        let epoch = group.epoch();
        if group.target_epoch() >= epoch {
            return;
        }
        let made_ms = group.target_at_ms();
        if made_ms != 0 && interval_ms > 0 && self.now_ms < made_ms.saturating_add(i64::from(interval_ms)) {
            return;
        }
        let assignor = group
            .wanted_assignor()
            .filter(|assignor| self.config.consumer.assignors.contains(assignor))
            .or(self.config.consumer.assignors.first().copied())
            .unwrap_or(Assignor::Uniform);
        let changes = self.compute_target(work.group(), assignor);
        for change in changes {
            work.change(change, self.last_uid);
        }
        work.change(Change::TargetEpoch(Some((epoch, self.now_ms))), self.last_uid);
    }

    fn compute_target(&self, group: &ConsumerGroup, assignor: Assignor) -> Vec<Change> {
        let mut topics: Vec<TopicSpec> = Vec::new();
        let mut numbers: BTreeMap<Rc<str>, usize> = BTreeMap::new();
        // Members of equal subscriptions share one list.
        let mut lists: BTreeMap<(&BTreeSet<Rc<str>>, &str), Rc<Vec<usize>>> = BTreeMap::new();
        let none = Partitions::new();
        let metas: Vec<(&Rc<str>, Rc<Meta>)> = group.members.iter().map(|(id, m)| (id, m.meta())).collect();
        let mut members = Vec::with_capacity(metas.len());
        for (id, meta) in &metas {
            let key = (&meta.topics, &*meta.regex);
            let list = lists.entry(key).or_insert_with(|| {
                let mut list: Vec<usize> = Vec::new();
                for name in group.topics_of(meta) {
                    if let Some(number) = numbers.get(&name) {
                        list.push(*number);
                    } else if let Some(found) = self.cluster.topic(&name) {
                        let number = topics.len();
                        topics.push(TopicSpec {
                            id: found.id,
                            partitions: found.partitions,
                            racks: self.cluster.racks(&name),
                        });
                        numbers.insert(name, number);
                        list.push(number);
                    }
                }
                list.sort_unstable();
                Rc::new(list)
            });
            members.push(MemberSpec {
                id,
                instance: meta.instance.as_deref(),
                rack: meta.rack.as_deref(),
                topics: list.clone(),
                last: group.target(id).map_or(&none, |target| target),
            });
        }
        let targets = assignor.assign(&topics, &members);
        let mut changes = Vec::new();
        for ((id, _), target) in metas.iter().zip(targets) {
            if group.target(id).is_none_or(|known| **known != target) {
                changes.push(Change::Target((*id).clone(), Some(Rc::new(target))));
            }
        }
        changes
    }

    /// Moves a member towards its target; what it holds then.
    pub fn move_member(
        &mut self,
        work: &mut Work,
        id: &Rc<str>,
        owned: Option<&TopicPartitions>,
        resubscribed: bool,
    ) -> Result<Rc<Current>, Refusal> {
        let cluster = self.cluster;
        let group = work.group();
        let member = group.members.get(id).expect("the member is in the group");
        let (meta, current) = (member.meta(), member.current());
        let target_epoch = group.target_epoch();
        if !resubscribed && current.is_reconciled_to(target_epoch) {
            return Ok(current);
        }
        let none = Rc::default();
        let step = Step {
            current: &current,
            target_epoch,
            target: group.target(id).unwrap_or(&none),
            owned,
            resubscribed,
        };
        let reads = |topic: &[u8; 16]| cluster.name(topic).is_some_and(|name| group.reads(&meta, &name));
        let is_free = |topic: &[u8; 16], partition: i32| {
            let own = current.epoch_of(topic, partition).is_some();
            group.holders(topic, partition) == u32::from(own)
        };
        let next = reconcile::next(&step, reads, is_free).map_err(|_| {
            Refusal::new(
                codes::FENCED_MEMBER_EPOCH,
                "The consumer group member is in a unknown state. The member must abandon all its partitions and \
                 rejoin.",
            )
        })?;
        let Some(next) = next else {
            return Ok(current);
        };
        let next = Rc::new(next);
        work.change(Change::Current(id.clone(), Some(next.clone())), self.last_uid);
        let group = work.group();
        if group.members[id].classic().is_none() {
            if next.state == MemberState::Unrevoked {
                self.arm_rebalance(group, id);
            } else {
                let member = group.members.get_mut(id).expect("looked up above");
                member.rebalance.cancel();
            }
        }
        Ok(next)
    }

    // ---- leaving ----

    fn consumer_leave(
        &mut self,
        groups: &mut Groups,
        work: &mut Work,
        request: &ConsumerHeartbeatRequest,
    ) -> Result<ConsumerHeartbeatResponse, Refusal> {
        let Some(group) = &work.group else {
            let why = match groups.contains_key(&work.id) {
                true => format!("Group {} is not a consumer group.", work.id),
                false => format!("Group {} not found.", work.id),
            };
            return Err(Refusal::new(codes::GROUP_ID_NOT_FOUND, why));
        };
        let id: Rc<str> = request.member_id.as_str().into();
        match request.instance_id.as_deref() {
            None if !group.members.contains_key(&id) => return Err(unknown_member(&id, &group.id)),
            None => {}
            Some(instance) => match group.by_instance.get(instance) {
                None => return Err(unknown_instance(instance)),
                Some(holder) if *holder != id => return Err(fenced_instance(&id, instance, holder)),
                Some(_) => {}
            },
        }
        if request.member_epoch == STATIC_LEAVE_EPOCH {
            self.leave_for_a_while(work, &id);
        } else {
            self.fence(groups, work, &BTreeSet::from([id]));
        }
        Ok(ConsumerHeartbeatResponse {
            member_id: Some(request.member_id.clone()),
            member_epoch: request.member_epoch,
            ..ConsumerHeartbeatResponse::default()
        })
    }

    /// A static member that will return: its partitions stay with it until its session is over.
    fn leave_for_a_while(&mut self, work: &mut Work, id: &Rc<str>) {
        let group = work.group();
        let current = group.members[id].current();
        let mut assigned = current.assigned.clone();
        assigned
            .values_mut()
            .flat_map(BTreeMap::values_mut)
            .for_each(|epoch| *epoch = 0);
        let left = Current {
            epoch: STATIC_LEAVE_EPOCH,
            previous_epoch: current.previous_epoch,
            state: current.state,
            assigned,
            revoking: BTreeMap::new(),
        };
        let member = group.members.get_mut(id).expect("looked up above");
        member.rebalance.cancel();
        work.change(Change::Current(id.clone(), Some(Rc::new(left))), self.last_uid);
    }

    /// Removes members; a group that is left with classic members only becomes a classic group.
    pub fn fence(&mut self, groups: &mut Groups, work: &mut Work, members: &BTreeSet<Rc<str>>) {
        if members.is_empty() || self.downgrade_without(groups, work, members) {
            return;
        }
        let mut patterns = BTreeSet::new();
        for id in members {
            let group = work.group();
            let pattern = group.members[id].meta().regex.clone();
            let has_target = group.target(id).is_some();
            work.change(Change::Current(id.clone(), None), self.last_uid);
            if has_target {
                work.change(Change::Target(id.clone(), None), self.last_uid);
            }
            work.change(Change::Member(id.clone(), None), self.last_uid);
            patterns.insert(pattern);
        }
        for pattern in patterns.iter().filter(|pattern| !pattern.is_empty()) {
            self.drop_pattern(work, pattern);
        }
        self.raise_epoch(work, true);
    }

    // ---- deadlines ----

    /// A member's deadline surfaced.
    pub fn consumer_deadline(
        &mut self,
        groups: &mut Groups,
        work: &mut Work,
        at: i64,
        key: TimerKey,
        member: u64,
        wait: Wait,
    ) {
        let now_ms = self.now_ms;
        let group = work.group();
        let Some(id) = group.by_uid.get(&member).cloned() else {
            return;
        };
        let member = group.members.get_mut(&id).expect("the index names a member");
        let current_epoch = member.current().epoch;
        let rebalance_epoch = member.rebalance_epoch;
        let deadline = match wait {
            Wait::Session => &mut member.session,
            Wait::Rebalance => &mut member.rebalance,
            Wait::Join => &mut member.join,
            Wait::Sync => &mut member.sync,
        };
        if let Surfaced::Stale = self.timers.surface(deadline, at, key, now_ms) {
            return;
        }
        if (wait == Wait::Rebalance && current_epoch != rebalance_epoch) || planted(Bug::Immortal) {
            return;
        }
        self.stats.expired_members += 1;
        self.fence(groups, work, &BTreeSet::from([id]));
    }

    /// Starts a member's session anew.
    pub fn rearm_consumer_session(&mut self, group: &mut ConsumerGroup, id: &Rc<str>) {
        let timeout_ms = match group.members[id].classic() {
            Some(classic) => classic.session_timeout_ms,
            None => self
                .overrides(&group.id)
                .session_timeout_ms
                .unwrap_or(self.config.consumer.session_timeout_ms),
        };
        self.arm_member(group, id, Wait::Session, i64::from(timeout_ms));
    }

    /// Starts the time a member has to give partitions up.
    pub fn arm_rebalance(&mut self, group: &mut ConsumerGroup, id: &Rc<str>) {
        let member = group.members.get_mut(id).expect("the member is in the group");
        member.rebalance_epoch = member.current().epoch;
        self.arm_consumer(group, id, Wait::Rebalance);
    }

    /// Starts a wait of the member's rebalance timeout.
    pub fn arm_consumer(&mut self, group: &mut ConsumerGroup, id: &Rc<str>, wait: Wait) {
        let told_ms = i64::from(group.members[id].meta().rebalance_timeout_ms);
        let wait_ms = if told_ms < 0 {
            DEFAULT_REBALANCE_MS
        } else {
            told_ms
        };
        self.arm_member(group, id, wait, wait_ms);
    }

    fn arm_member(&mut self, group: &mut ConsumerGroup, id: &Rc<str>, wait: Wait, wait_ms: i64) {
        let at = self.now_ms.saturating_add(wait_ms);
        let member = group.members.get_mut(id).expect("the member is in the group");
        let key = TimerKey::Consumer {
            group: group.uid,
            member: member.uid,
            wait,
        };
        let deadline = match wait {
            Wait::Session => &mut member.session,
            Wait::Rebalance => &mut member.rebalance,
            Wait::Join => &mut member.join,
            Wait::Sync => &mut member.sync,
        };
        self.timers.arm(deadline, key, at);
    }
}

/// Whether a heartbeat of this epoch may come from the member. One epoch back is allowed to a member that holds
/// nothing it should not: the answer that told the new epoch was lost.
fn check_epoch(current: &Current, request: &ConsumerHeartbeatRequest) -> Result<(), Refusal> {
    let (told, known) = (request.member_epoch, current.epoch);
    if told == JOIN_EPOCH || told == known || planted(Bug::NoFence) {
        return Ok(());
    }
    let holds_less = || {
        request.topic_partitions.as_ref().is_some_and(|owned| {
            owned.iter().all(|(topic, partitions)| {
                let assigned = current.assigned.get(topic);
                assigned.is_some_and(|assigned| partitions.iter().all(|p| assigned.contains_key(p)))
            })
        })
    };
    if told < known && told == current.previous_epoch && holds_less() {
        return Ok(());
    }
    let than = if told > known { "greater" } else { "smaller" };
    Err(Refusal::new(
        codes::FENCED_MEMBER_EPOCH,
        format!(
            "The consumer group member has a {than} member epoch ({told}) than the one known by the group coordinator \
             ({known}). The member must abandon all its partitions and rejoin."
        ),
    ))
}

pub(super) fn unknown_member(id: &str, group: &str) -> Refusal {
    Refusal::new(
        codes::UNKNOWN_MEMBER_ID,
        format!("Member {id} is not a member of group {group}."),
    )
}

pub(super) fn unknown_instance(instance: &str) -> Refusal {
    Refusal::new(
        codes::UNKNOWN_MEMBER_ID,
        format!("Instance id {instance} is unknown."),
    )
}

pub(super) fn fenced_instance(id: &str, instance: &str, holder: &str) -> Refusal {
    Refusal::new(
        codes::FENCED_INSTANCE_ID,
        format!("Static member {id} with instance id {instance} was fenced by member {holder}."),
    )
}
