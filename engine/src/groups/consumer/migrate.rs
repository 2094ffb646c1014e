//! Groups that change their protocol while they run.
//!
//! A classic group becomes a consumer group when a member of the consumer protocol joins it; a consumer group becomes a
//! classic one when its last member of the consumer protocol goes. Members, what they hold and what is committed stay.
//! The change is one batch: tombstones of the one, records of the other.

use super::Refusal;
use super::group::{Change, ClassicMeta, ConsumerGroup, Current, Held, Meta};
use super::protocol::{self, BadAssignment};
use super::work::Work;
use crate::groups::codes;
use crate::groups::coordinator::{Groups, Turn};
use crate::groups::group::{Group, GroupState, Member};
use crate::groups::records::Record;
use crate::groups::timers::Deadline;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

impl Turn<'_> {
    /// Makes sure that the batch works on a consumer group: one that is there, a new one, or a classic one turned into
    /// one. Only who joins can bring one into being.
    pub fn open_consumer_group(
        &mut self,
        groups: &mut Groups,
        work: &mut Work,
        joining: bool,
    ) -> Result<(), Refusal> {
        if work.group.is_some() {
            return Ok(());
        }
        let refuse = |message: String| Err(Refusal::new(codes::GROUP_ID_NOT_FOUND, message));
        let Some(classic) = groups.get(&work.id) else {
            if !joining {
                return refuse(format!("Consumer group {} not found.", work.id));
            }
            if groups.len() + self.consumers.groups.len() >= self.config.limits.groups {
                return Err(Refusal::new(
                    codes::COORDINATOR_NOT_AVAILABLE,
                    "The coordinator has as many groups as it can hold.",
                ));
            }
            let group = ConsumerGroup::new(work.id.clone(), self.next_uid());
            self.replace_with(groups, work, Some(group));
            return Ok(());
        };
        if !joining {
            return refuse(format!("Group {} is not a consumer group.", work.id));
        }
        if classic.state == GroupState::Empty {
            let group = ConsumerGroup::new(work.id.clone(), self.next_uid());
            work.record(Record::group_tombstone(&work.id));
            self.replace_with(groups, work, Some(group));
            return Ok(());
        }
        let cannot = |why: &str| {
            let message = format!(
                "Cannot upgrade classic group {} to consumer group because {why}.",
                work.id
            );
            Err(Refusal::new(codes::GROUP_ID_NOT_FOUND, message))
        };
        if !self.config.consumer.migration.upgrades() {
            return cannot("online upgrade is disabled");
        }
        if !classic.uses_consumer_protocol() {
            return cannot("the group does not use the consumer embedded protocol");
        }
        if classic.members.len() > self.config.consumer.max_size {
            return cannot("the group size exceeds the consumer group maximum size");
        }
        match self.upgraded(classic) {
            Ok(changes) => self.upgrade(groups, work, changes),
            Err(BadAssignment::Malformed) => return cannot("the embedded consumer protocol is malformed"),
            Err(BadAssignment::HasUserData) => {
                return cannot(
                    "an unsupported custom assignor is in use. Please refer to the documentation or switch to a \
                     default assignor before re-attempting the upgrade",
                );
            }
        }
        Ok(())
    }

    /// What the classic group's members amount to: for each its id, what it says of itself, what it holds.
    fn upgraded(&self, classic: &Group) -> Result<Vec<(Rc<str>, Meta, Current)>, BadAssignment> {
        let mut members = Vec::with_capacity(classic.members.len());
        for member in classic.members.values() {
            // A member that joined after the protocol was chosen need not speak it.
            let metadata = classic
                .protocol
                .as_deref()
                .and_then(|name| member.metadata(name))
                .or(member.protocols.first().map(|p| &p.metadata))
                .ok_or(BadAssignment::Malformed)?;
            let told = protocol::subscription(metadata, self.cluster).ok_or(BadAssignment::Malformed)?;
            let held = protocol::assignment(&member.assignment, self.cluster)?;
            let assigned: Held = held
                .into_iter()
                .map(|(topic, partitions)| {
                    let epochs = partitions.into_iter().map(|p| (p, classic.generation));
                    (topic, epochs.collect())
                })
                .collect();
            let meta = Meta {
                instance: member.instance.clone(),
                rack: told.rack,
                client_id: member.client_id.clone(),
                client_host: member.client_host.clone(),
                topics: told.topics.iter().map(|topic| Rc::from(topic.as_str())).collect(),
                regex: "".into(),
                rebalance_timeout_ms: member.rebalance_timeout_ms,
                assignor: None,
                classic: Some(Rc::new(ClassicMeta {
                    session_timeout_ms: member.session_timeout_ms,
                    protocols: member.protocols.clone(),
                })),
            };
            let current = Current {
                epoch: classic.generation,
                previous_epoch: classic.generation,
                assigned,
                ..Current::default()
            };
            members.push((member.id.clone(), meta, current));
        }
        // A custom assignor may have given a partition to two members; we tell nobody to hold what another holds.
        let mut taken = BTreeSet::new();
        for (_, _, current) in &mut members {
            for (topic, partitions) in &mut current.assigned {
                partitions.retain(|partition, _| taken.insert((*topic, *partition)));
            }
            current.assigned.retain(|_, partitions| !partitions.is_empty());
        }
        Ok(members)
    }

    fn upgrade(&mut self, groups: &mut Groups, work: &mut Work, members: Vec<(Rc<str>, Meta, Current)>) {
        let generation = groups[&work.id].generation;
        work.record(Record::group_tombstone(&work.id));
        let group = ConsumerGroup::new(work.id.clone(), self.next_uid());
        self.replace_with(groups, work, Some(group));
        for (id, meta, _) in &members {
            let change = Change::Member(id.clone(), Some(Rc::new(meta.clone())));
            work.change(change, self.last_uid);
        }
        let fingerprint = work.group().compute_fingerprint(self.cluster);
        work.change(Change::Epoch(Some((generation, fingerprint))), self.last_uid);
        for (id, _, current) in &members {
            let target = current
                .assigned
                .iter()
                .map(|(topic, partitions)| (*topic, partitions.keys().copied().collect()))
                .collect();
            work.change(Change::Target(id.clone(), Some(Rc::new(target))), self.last_uid);
        }
        work.change(Change::TargetEpoch(Some((generation, 0))), self.last_uid);
        for (id, _, current) in members {
            work.change(Change::Current(id, Some(Rc::new(current))), self.last_uid);
        }
        self.rearm_members(work.group());
    }

    /// Whether a group that is left with these many members, all of the classic protocol, becomes a classic group.
    fn may_downgrade(&self, left: usize) -> bool {
        let max = self.config.max_size.min(self.config.limits.members_per_group);
        self.config.consumer.migration.downgrades() && left <= max
    }

    /// Turns the group into a classic one if only classic members are left without `leaving`; whether it did.
    pub fn downgrade_without(
        &mut self,
        groups: &mut Groups,
        work: &mut Work,
        leaving: &BTreeSet<Rc<str>>,
    ) -> bool {
        let group = work.group();
        let leaving_classic = leaving
            .iter()
            .filter(|id| group.members[*id].classic().is_some())
            .count();
        let left = group.members.len() - leaving.len();
        if left == 0 || group.classic_members() - leaving_classic != left || !self.may_downgrade(left) {
            return false;
        }
        self.downgrade(groups, work, leaving, true)
    }

    /// Whether the group would be all classic if this member were replaced by a classic one, and may become so.
    pub fn is_last_of_its_kind(&self, group: &ConsumerGroup, id: &str) -> bool {
        let members = group.members.len();
        group.members[id].classic().is_none()
            && group.classic_members() == members - 1
            && self.may_downgrade(members)
    }

    /// Turns the group, without `leaving`, into a classic one, which then rebalances if asked to. Does nothing if the
    /// members have no protocol in common.
    pub fn downgrade(
        &mut self,
        groups: &mut Groups,
        work: &mut Work,
        leaving: &BTreeSet<Rc<str>>,
        rebalance: bool,
    ) -> bool {
        let cluster = self.cluster;
        let from = work.group().clone();
        let mut classic = Group::new(work.id.clone(), self.next_uid(), self.now_ms);
        classic.state = GroupState::Stable;
        classic.protocol_type = Some("consumer".into());
        classic.generation = from.epoch();
        let mut targets = BTreeMap::new();
        for (id, member) in from.members.iter().filter(|(id, _)| !leaving.contains(*id)) {
            let meta = member.meta();
            let Some(spoken) = &meta.classic else {
                return false;
            };
            let uid = self.next_uid();
            targets.insert(uid, id.clone());
            classic.add(
                uid,
                Member {
                    id: id.clone(),
                    instance: meta.instance.clone(),
                    client_id: meta.client_id.clone(),
                    client_host: meta.client_host.clone(),
                    session_timeout_ms: spoken.session_timeout_ms,
                    rebalance_timeout_ms: meta.rebalance_timeout_ms,
                    protocols: spoken.protocols.clone(),
                    assignment: Bytes::new(),
                    parked_join: None,
                    parked_sync: None,
                    is_new: false,
                    session: Deadline::default(),
                },
            );
        }
        let Some(name) = classic.select_protocol() else {
            return false;
        };
        for (uid, id) in &targets {
            let member = classic.members.get_mut(uid).expect("added above");
            let version = member
                .metadata(&name)
                .and_then(|m| protocol::version(m))
                .unwrap_or(0);
            let target = from.target(id).into_iter().flat_map(|target| target.iter());
            let listed = target.map(|(topic, partitions)| (topic, partitions.iter().copied().collect()));
            member.assignment = protocol::encode_assignment(listed, version, cluster);
        }
        classic.protocol = Some(name);
        classic.renew_subscribed();
        self.bury(work);
        let value = classic.to_record(|_, member| member.assignment.clone());
        work.record(Record::group(&work.id, &value));
        self.replace_with(groups, work, None);
        self.names.insert(classic.uid, work.id.clone());
        for uid in targets.keys() {
            self.rearm_session(&mut classic, *uid);
        }
        if rebalance {
            self.prepare_rebalance(&mut classic);
        }
        groups.insert(work.id.clone(), classic);
        true
    }

    /// Puts a classic group back that was to become a consumer group.
    pub fn restore_classic(&mut self, groups: &mut Groups, mut group: Group) {
        let of_it = |pending: &&crate::groups::coordinator::Pending| {
            pending.group.as_ref().is_some_and(|(_, uid)| *uid == group.uid)
        };
        group.in_flight = self.appends.pending.values().filter(of_it).count() as u32;
        // Its deadlines may have surfaced meanwhile, with nobody there to take them back.
        group.join_timer = Deadline::default();
        group.sync_timer = Deadline::default();
        for uid in group.members.keys().copied().collect::<Vec<_>>() {
            group.members.get_mut(&uid).expect("listed above").session = Deadline::default();
            self.rearm_session(&mut group, uid);
        }
        let pending: Vec<Rc<str>> = group.pending_joins.keys().cloned().collect();
        for id in pending {
            group.remove_pending(&id);
        }
        self.names.insert(group.uid, group.id.clone());
        match group.state {
            GroupState::Empty | GroupState::Stable => {}
            GroupState::CompletingRebalance => self.prepare_rebalance(&mut group),
            GroupState::PreparingRebalance => self.resume_join_phase(&mut group),
        }
        groups.insert(group.id.clone(), group);
    }
}
