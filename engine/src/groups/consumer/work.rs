//! Batches of changes, and what waits for them.
//!
//! While a batch of a group is on its way to the log, the group's gate is shut: requests and deadlines that concern the
//! group line up behind it, offsets excepted. Once the batch is committed (or has failed and is undone), all that
//! waits is worked into the next batch. So a group has one batch on its way at most, each as large as the load asks for,
//! and to undo one is to restore what its changes found.

use super::group::{Change, ConsumerGroup, GroupPhase, MemberState};
use super::records;
use crate::groups::codes;
use crate::groups::coordinator::{Groups, Op, Turn};
use crate::groups::group::{Group, Ticket};
use crate::groups::messages::{Caller, Request, Response};
use crate::groups::planted::{Bug, planted};
use crate::groups::records::Record;
use crate::groups::timers::{Deadline, TimerKey, Wait};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

/// Records after which a batch is closed; what still waits goes into the next one. One request may exceed it.
const BATCH_RECORDS: usize = 2_000;
/// Bytes of keys and values after which a batch is closed.
const BATCH_BYTES: usize = 512 << 10;

/// What waits at a gate.
#[derive(Debug)]
pub(in crate::groups) enum Waiting {
    /// A request.
    Request(Ticket, Box<(Caller, Request)>),
    /// A deadline that has come.
    Deadline(i64, TimerKey),
}

/// A batch of a group is on its way.
#[derive(Debug, Default)]
pub(in crate::groups) struct Gate {
    pub waiting: VecDeque<Waiting>,
}

/// All consumer groups of one coordinator. An id is here or among the classic groups, never in both.
#[derive(Debug, Default)]
pub(in crate::groups) struct Consumers {
    pub groups: BTreeMap<Rc<str>, Box<ConsumerGroup>>,
    /// Group ids by the numbers timers use.
    pub names: BTreeMap<u64, Rc<str>>,
    pub gates: BTreeMap<Rc<str>, Gate>,
    /// Version of the topics as of the last change that the coordinator was told of.
    pub topics_version: i64,
    /// The same, of the last change that brought new topics.
    pub created_version: i64,
}

/// How to take a change back.
#[derive(Debug)]
pub(in crate::groups) enum Undo {
    /// The value there was before.
    Change(Change),
    /// The group that had the id before, of either protocol, or none.
    Replaced {
        consumer: Option<Box<ConsumerGroup>>,
        classic: Option<Box<Group>>,
    },
}

impl Undo {
    /// The classic group that the batch replaced.
    pub fn classic(self) -> Option<Group> {
        match self {
            Undo::Replaced { classic, .. } => classic.map(|group| *group),
            Undo::Change(_) => None,
        }
    }
}

impl Consumers {
    /// The id, if requests to the group come here: it is a consumer group, or a batch of it is on its way.
    pub fn concerned(&self, id: &str) -> Option<Rc<str>> {
        let known = self.groups.get_key_value(id).map(|(id, _)| id);
        known
            .or_else(|| self.gates.get_key_value(id).map(|(id, _)| id))
            .cloned()
    }

    /// The heap entry a member's deadline relies on.
    pub fn queued(&self, group: u64, member: u64, wait: Wait) -> Option<i64> {
        let group = self.groups.get(self.names.get(&group)?)?;
        let member = group.members.get(group.by_uid.get(&member)?)?;
        match wait {
            Wait::Session => member.session.queued(),
            Wait::Rebalance => member.rebalance.queued(),
            Wait::Join => member.join.queued(),
            Wait::Sync => member.sync.queued(),
        }
    }
}

/// A batch in the making, for one group.
#[derive(Debug)]
pub(in crate::groups) struct Work {
    pub id: Rc<str>,
    /// The group, taken out of the map for as long as it is worked on.
    pub group: Option<Box<ConsumerGroup>>,
    pub records: Vec<Record>,
    pub undo: Vec<Undo>,
    pub replies: Vec<(Ticket, Response)>,
    bytes: usize,
}

impl Work {
    /// The group that is worked on.
    pub fn group(&mut self) -> &mut ConsumerGroup {
        self.group.as_mut().expect("a group is being worked on")
    }

    /// Makes a change and notes its record.
    pub fn change(&mut self, change: Change, last_uid: &mut u64) {
        let record = records::encode(&self.id, &change);
        self.bytes += record.key.len() + record.value.as_ref().map_or(0, Vec::len);
        self.records.push(record);
        let before = self.group().apply(change, last_uid);
        self.undo.push(Undo::Change(before));
    }

    /// Notes a record beyond those of changes.
    pub fn record(&mut self, record: Record) {
        self.bytes += record.key.len() + record.value.as_ref().map_or(0, Vec::len);
        self.records.push(record);
    }

    /// Where the batch stands, to come back to.
    pub fn mark(&self) -> (usize, usize) {
        (self.records.len(), self.undo.len())
    }

    fn is_full(&self) -> bool {
        self.records.len() >= BATCH_RECORDS || self.bytes >= BATCH_BYTES
    }
}

impl Turn<'_> {
    /// Opens a batch for the group `id`.
    pub fn begin_work(&mut self, id: &Rc<str>) -> Work {
        Work {
            id: id.clone(),
            group: self.consumers.groups.remove(id),
            records: Vec::new(),
            undo: Vec::new(),
            replies: Vec::new(),
            bytes: 0,
        }
    }

    /// Takes back everything after `mark`.
    pub fn roll_back(&mut self, groups: &mut Groups, work: &mut Work, mark: (usize, usize)) {
        work.records.truncate(mark.0);
        let undo = work.undo.split_off(mark.1);
        self.undo(groups, &mut work.group, &work.id.clone(), undo);
    }

    fn undo(
        &mut self,
        groups: &mut Groups,
        group: &mut Option<Box<ConsumerGroup>>,
        id: &Rc<str>,
        undo: Vec<Undo>,
    ) {
        if undo.is_empty() {
            return;
        }
        for undo in undo.into_iter().rev() {
            match undo {
                Undo::Change(before) => {
                    if let Some(group) = group {
                        group.apply(before, self.last_uid);
                    }
                }
                Undo::Replaced { consumer, classic } => {
                    if let Some(failed) = group.take() {
                        self.consumers.names.remove(&failed.uid);
                    }
                    if let Some(failed) = groups.remove(id) {
                        self.names.remove(&failed.uid);
                    }
                    if let Some(mut before) = consumer {
                        self.consumers.names.insert(before.uid, id.clone());
                        for member in before.members.values_mut() {
                            member.session = Deadline::default();
                            member.rebalance = Deadline::default();
                            member.join = Deadline::default();
                            member.sync = Deadline::default();
                        }
                        *group = Some(before);
                    }
                    if let Some(before) = classic {
                        self.restore_classic(groups, *before);
                    }
                }
            }
        }
        if let Some(group) = group {
            group.checked_version = -1;
            group.matched = None;
            self.rearm_members(group);
        }
    }

    /// Starts the deadlines of members that have none: after a load, or when they came back.
    pub fn rearm_members(&mut self, group: &mut ConsumerGroup) {
        let target_epoch = group.target_epoch();
        let ids: Vec<Rc<str>> = group.members.keys().cloned().collect();
        for id in ids {
            if group.members[&id].session.at().is_none() {
                self.rearm_consumer_session(group, &id);
            }
            let member = &group.members[&id];
            let current = member.current();
            let revokes = current.state == MemberState::Unrevoked && member.classic().is_none();
            if revokes && member.rebalance.at().is_none() {
                self.arm_rebalance(group, &id);
            }
            let lags = group.members[&id].classic().is_some() && current.epoch < target_epoch;
            if lags && group.members[&id].join.at().is_none() {
                self.arm_consumer(group, &id, Wait::Join);
            }
        }
    }

    /// Closes the batch: it is appended, with the answers to follow, or there is nothing to append and they leave now.
    /// The token of the append, if there is one.
    pub fn finish_work(&mut self, work: Work, waiting: VecDeque<Waiting>) -> Option<u64> {
        let Work {
            id,
            group,
            records,
            undo,
            replies,
            ..
        } = work;
        if let Some(group) = group {
            self.consumers.groups.insert(id.clone(), group);
        }
        if records.is_empty() {
            assert!(undo.is_empty(), "changes of group {id} without records");
            for (ticket, response) in replies {
                self.reply(ticket, response);
            }
            return None;
        }
        let token = self.append(None, records, Op::Consumer { id: id.clone(), undo });
        for (ticket, response) in replies {
            let token = Some(token).filter(|_| !planted(Bug::EarlyAnswer));
            self.reply_after(token, ticket, response);
        }
        self.consumers.gates.insert(id, Gate { waiting });
        Some(token)
    }

    /// Lets something concern the group `id`: now, or once its gate opens.
    pub fn at_gate(&mut self, groups: &mut Groups, id: &Rc<str>, item: Waiting) {
        let limit = self.config.limits.waiting_per_group;
        match self.consumers.gates.get_mut(id) {
            Some(gate) if gate.waiting.len() >= limit => match item {
                Waiting::Request(ticket, asked) => {
                    let (caller, request) = *asked;
                    let refusal = request.refuse(codes::COORDINATOR_NOT_AVAILABLE, caller.api_version);
                    self.reply(ticket, refusal);
                }
                // Deadlines are as many as members.
                Waiting::Deadline(..) => gate.waiting.push_back(item),
            },
            Some(gate) => gate.waiting.push_back(item),
            None => self.work_off(groups, id, VecDeque::from([item])),
        }
    }

    /// The gate of the group `id` opens: what waits is worked off, until a batch closes it again.
    pub fn open_gate(&mut self, groups: &mut Groups, id: &Rc<str>) {
        if let Some(gate) = self.consumers.gates.remove(id) {
            self.work_off(groups, id, gate.waiting);
        }
    }

    fn work_off(&mut self, groups: &mut Groups, id: &Rc<str>, mut waiting: VecDeque<Waiting>) {
        let mut work = self.begin_work(id);
        while let Some(item) = waiting.pop_front() {
            if let Some(item) = self.work_on(groups, &mut work, item) {
                // Not for a consumer group. What there is to append comes first, so that the order holds.
                if !work.records.is_empty() {
                    waiting.push_front(item);
                    break;
                }
                self.finish_work(work, VecDeque::new());
                self.classic_item(groups, item);
                work = self.begin_work(id);
                // A classic request may have shut the gate itself.
                if let Some(gate) = self.consumers.gates.get_mut(id) {
                    gate.waiting.append(&mut waiting);
                    break;
                }
            }
            if work.is_full() {
                break;
            }
        }
        self.finish_work(work, waiting);
    }

    /// Takes one thing into the batch. Hands back what is not for a consumer group.
    fn work_on(&mut self, groups: &mut Groups, work: &mut Work, item: Waiting) -> Option<Waiting> {
        match item {
            Waiting::Deadline(at, key) => match key {
                TimerKey::Consumer { group, member, wait } => {
                    if work.group.as_ref().is_some_and(|known| known.uid == group) {
                        self.consumer_deadline(groups, work, at, key, member, wait);
                    }
                    None
                }
                _ => Some(item),
            },
            Waiting::Request(ticket, asked) => match &asked.1 {
                Request::ConsumerHeartbeat(_) => {
                    let (caller, request) = *asked;
                    let Request::ConsumerHeartbeat(request) = request else {
                        unreachable!("matched above");
                    };
                    self.consumer_heartbeat(groups, work, ticket, &caller, request);
                    None
                }
                Request::Join(_) | Request::Sync(_) | Request::Heartbeat(_) | Request::Leave(_)
                    if work.group.is_some() =>
                {
                    self.classic_request(groups, work, ticket, asked)
                }
                _ => Some(Waiting::Request(ticket, asked)),
            },
        }
    }

    /// Something that concerns a classic group, or none.
    fn classic_item(&mut self, groups: &mut Groups, item: Waiting) {
        match item {
            Waiting::Request(ticket, asked) => {
                let (caller, request) = *asked;
                self.serve(groups, ticket, &caller, request);
            }
            Waiting::Deadline(at, key) => self.classic_deadline(groups, at, key),
        }
    }

    /// The batch of a consumer group is committed.
    pub fn consumer_stored(&mut self, groups: &mut Groups, id: &Rc<str>, undo: Vec<Undo>) {
        for mut before in undo.into_iter().filter_map(Undo::classic) {
            // Who waits in a group that has changed its protocol is told to rejoin.
            self.refuse_parked(&mut before, codes::REBALANCE_IN_PROGRESS);
        }
        if let Some(group) = self.consumers.groups.get_mut(id) {
            group.visible = true;
        } else if let Some(group) = groups.get_mut(id) {
            group.visible = true;
        } else if self.offsets.group(id).is_some() {
            // Offsets outlive their group: they keep one, or nothing would ever expire them.
            self.create(groups, id).visible = true;
        }
    }

    /// The batch of a consumer group is lost.
    pub fn consumer_lost(&mut self, groups: &mut Groups, id: &Rc<str>, undo: Vec<Undo>) {
        let mut group = self.consumers.groups.remove(id);
        if !planted(Bug::ForgottenUndo) {
            self.undo(groups, &mut group, id, undo);
        }
        if let Some(group) = group {
            self.consumers.groups.insert(id.clone(), group);
        }
    }

    /// Makes `group` the group of the batch, in place of whatever had the id.
    pub fn replace_with(&mut self, groups: &mut Groups, work: &mut Work, group: Option<ConsumerGroup>) {
        let classic = self.take(groups, &work.id).map(Box::new);
        let consumer = work.group.take();
        if let Some(consumer) = &consumer {
            self.consumers.names.remove(&consumer.uid);
        }
        work.undo.push(Undo::Replaced { consumer, classic });
        if let Some(group) = group {
            self.consumers.names.insert(group.uid, work.id.clone());
            work.group = Some(Box::new(group));
        }
    }

    /// Removes a consumer group without members, with records for all that is stored of it.
    pub fn remove_consumer_group(&mut self, groups: &mut Groups, work: &mut Work) {
        let group = work.group();
        assert!(
            group.phase() == GroupPhase::Empty,
            "group {} has members",
            group.id
        );
        self.bury(work);
        self.replace_with(groups, work, None);
    }

    /// Tombstones of everything stored of a group, members included.
    pub fn bury(&mut self, work: &mut Work) {
        let id = work.id.clone();
        let group = work.group();
        let mut changes = Vec::new();
        changes.extend(
            group
                .members
                .keys()
                .map(|member| Change::Current(member.clone(), None)),
        );
        changes.extend(
            group
                .targets
                .keys()
                .map(|member| Change::Target(member.clone(), None)),
        );
        changes.push(Change::TargetEpoch(None));
        changes.extend(
            group
                .members
                .keys()
                .map(|member| Change::Member(member.clone(), None)),
        );
        changes.extend(
            group
                .regexes
                .keys()
                .map(|pattern| Change::Regex(pattern.clone(), None)),
        );
        for change in &changes {
            work.record(records::encode(&id, change));
        }
        work.record(records::old_topics_tombstone(&id));
        work.record(records::encode(&id, &Change::Epoch(None)));
    }

    /// Work that nothing waits for: a group's removal.
    pub fn bury_empty(&mut self, groups: &mut Groups, id: &Rc<str>) -> Option<u64> {
        let mut work = self.begin_work(id);
        self.remove_consumer_group(groups, &mut work);
        self.finish_work(work, VecDeque::new())
    }
}
