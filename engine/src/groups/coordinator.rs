//! The coordinator itself: groups by id, appends under way, deadlines, and the events that move them.
//!
//! Requests are handled in `requests` (groups as a whole, offsets) and `membership` (joining to leaving); both work
//! through a [`Turn`], which is everything but the groups. An append is issued with what to do when it commits and
//! what to do when it fails; the engine reports either, commits in the order of issue.

use super::consumer::Consumers;
use super::consumer::cluster::{Cluster, NoTopics};
use super::consumer::work::{Undo, Waiting};
use super::group::{Group, GroupState, Ticket};
use super::messages::{Caller, HeartbeatRequest, JoinRequest, LeaveRequest, Request, Response, SyncRequest};
use super::offsets::{OffsetStore, Slot};
use super::records::{self, Record};
use super::room::Room;
use super::timers::{Deadline, Surfaced, TimerKey, Timers};
use super::{Config, codes, consumer, membership};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::rc::Rc;

/// What the shard must do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Append these records, as one batch, to the coordinator's partition of the internal topic, then report
    /// [`Coordinator::committed`] once the batch is committed or [`Coordinator::failed`] once it cannot be.
    Append {
        /// Names the append in the report. Grows by one with each append.
        token: u64,
        /// Producer the batch belongs to: the batch is transactional. `None` for all others.
        producer: Option<Producer>,
        /// Never empty. A `None` value is a tombstone.
        records: Vec<Record>,
    },
    /// Answer a request.
    Reply {
        /// The ticket that came with the request.
        ticket: Ticket,
        /// The answer.
        response: Response,
    },
}

/// A transactional producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Producer {
    /// Producer id.
    pub id: i64,
    /// Producer epoch.
    pub epoch: i16,
}

/// A record read back from the internal topic.
#[derive(Debug, Clone, Copy)]
pub struct ReplayRecord<'a> {
    /// Its offset in the partition.
    pub offset: i64,
    /// Producer id of its batch if the batch is transactional.
    pub producer_id: Option<i64>,
    /// Key; records without one are counted as bad.
    pub key: Option<&'a [u8]>,
    /// Value, or a tombstone.
    pub value: Option<&'a [u8]>,
}

/// Smallest heap of deadlines worth sweeping.
const COMPACT_FROM: usize = 4096;

/// Counts for metrics and for the operator's log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Groups known.
    pub groups: usize,
    /// Members of all groups.
    pub members: usize,
    /// Classic groups by state: Empty, PreparingRebalance, CompletingRebalance, Stable.
    pub groups_by_state: [usize; 4],
    /// Consumer groups.
    pub consumer_groups: usize,
    /// Members of consumer groups.
    pub consumer_members: usize,
    /// Partitions with an offset, pending ones included.
    pub offsets: usize,
    /// Records that could not be read while loading, and were skipped.
    pub bad_records: u64,
    /// Records of types this coordinator does not serve, skipped while loading.
    pub foreign_records: u64,
    /// Generations of classic groups that became stable, and epochs of consumer groups begun.
    pub rebalances: u64,
    /// Members removed because their session ran out.
    pub expired_members: u64,
    /// Offsets written.
    pub commits: u64,
    /// Offsets removed by expiry.
    pub expired_offsets: u64,
    /// Appends that failed.
    pub failed_appends: u64,
}

impl Stats {
    /// Adds another coordinator's.
    pub fn add(&mut self, other: &Stats) {
        self.groups += other.groups;
        self.members += other.members;
        for (sum, more) in self.groups_by_state.iter_mut().zip(other.groups_by_state) {
            *sum += more;
        }
        self.consumer_groups += other.consumer_groups;
        self.consumer_members += other.consumer_members;
        self.offsets += other.offsets;
        self.bad_records += other.bad_records;
        self.foreign_records += other.foreign_records;
        self.rebalances += other.rebalances;
        self.expired_members += other.expired_members;
        self.commits += other.commits;
        self.expired_offsets += other.expired_offsets;
        self.failed_appends += other.failed_appends;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Loading,
    Active,
    Resigned,
}

/// What an append does once its fate is known.
#[derive(Debug)]
pub(super) enum Op {
    /// A group came into being, and nothing but its record has happened yet.
    CreateGroup,
    /// A generation without members was stored.
    EmptyGeneration,
    /// The leader's assignment for a generation.
    Assignment {
        generation: i32,
        assignments: BTreeMap<u64, Bytes>,
    },
    /// A static member came back under a new id without changing the group.
    StaticRejoin(StaticRejoin),
    /// Offsets written or removed; `removed` holds groups deleted along with them.
    Offsets { slots: Vec<Slot>, removed: Vec<Group> },
    /// A batch of a consumer group.
    Consumer { id: Rc<str>, undo: Vec<Undo> },
}

/// What is needed to answer a static member's return, or to undo it.
#[derive(Debug)]
pub(super) struct StaticRejoin {
    pub member: u64,
    pub generation: i32,
    pub new_id: Rc<str>,
    pub old_id: Rc<str>,
    pub old_protocols: Vec<super::messages::Protocol>,
    pub old_rebalance_ms: i32,
    pub old_session_ms: i32,
    pub old_leader: Option<Rc<str>>,
    pub skips_assignment: bool,
}

/// An append under way.
#[derive(Debug)]
pub(super) struct Pending {
    pub op: Op,
    /// The group the append is about, if it is about one that stays.
    pub group: Option<(Rc<str>, u64)>,
    /// Answers that leave once the append commits.
    pub replies: Vec<(Ticket, Response)>,
    /// The append whose answers also depend on this one (work split over several appends).
    pub reply_at: Option<u64>,
}

/// Appends under way, by token.
#[derive(Debug, Default)]
pub(super) struct Appends {
    pub pending: BTreeMap<u64, Pending>,
    pub(super) last_token: u64,
    pub(super) last_committed: u64,
}

/// Everything a request may touch besides the groups, for the time of one event.
pub(super) struct Turn<'a> {
    pub config: &'a Config,
    pub timers: &'a mut Timers,
    pub appends: &'a mut Appends,
    pub offsets: &'a mut OffsetStore,
    pub names: &'a mut BTreeMap<u64, Rc<str>>,
    pub consumers: &'a mut Consumers,
    pub cluster: &'a dyn Cluster,
    pub stats: &'a mut Stats,
    pub room: &'a Room,
    pub last_uid: &'a mut u64,
    pub now_ms: i64,
    pub out: &'a mut Vec<Effect>,
    /// The latest append issued in this turn.
    pub appended: Option<u64>,
}

/// Groups by id.
pub(super) type Groups = BTreeMap<Rc<str>, Group>;

impl Turn<'_> {
    pub fn reply(&mut self, ticket: Ticket, response: Response) {
        self.out.push(Effect::Reply { ticket, response });
    }

    pub fn next_uid(&mut self) -> u64 {
        *self.last_uid += 1;
        *self.last_uid
    }

    /// The token the next append will have.
    pub fn next_token(&self) -> u64 {
        self.appends.last_token + 1
    }

    /// Issues an append about `group`.
    pub fn append(&mut self, group: Option<&mut Group>, records: Vec<Record>, op: Op) -> u64 {
        self.append_from(None, group, records, op)
    }

    /// Issues an append on behalf of a transactional producer, or of nobody in particular.
    pub fn append_from(
        &mut self,
        producer: Option<Producer>,
        group: Option<&mut Group>,
        records: Vec<Record>,
        op: Op,
    ) -> u64 {
        assert!(!records.is_empty(), "an append without records");
        self.appends.last_token += 1;
        let token = self.appends.last_token;
        let group = group.map(|group| {
            group.in_flight += 1;
            (group.id.clone(), group.uid)
        });
        let pending = Pending {
            op,
            group,
            replies: Vec::new(),
            reply_at: None,
        };
        self.appends.pending.insert(token, pending);
        self.out.push(Effect::Append {
            token,
            producer,
            records,
        });
        self.appended = Some(token);
        token
    }

    /// Answers when the append `token` commits, or at once if it is `None`.
    pub fn reply_after(&mut self, token: Option<u64>, ticket: Ticket, response: Response) {
        match token.and_then(|token| self.appends.pending.get_mut(&token)) {
            Some(pending) => pending.replies.push((ticket, response)),
            None => self.reply(ticket, response),
        }
    }

    /// A new group, in the map and known to the timers.
    pub fn create<'g>(&mut self, groups: &'g mut Groups, id: &str) -> &'g mut Group {
        let id: Rc<str> = id.into();
        let uid = self.next_uid();
        self.names.insert(uid, id.clone());
        groups
            .entry(id.clone())
            .or_insert(Group::new(id, uid, self.now_ms))
    }

    /// Serves a request that concerns no consumer group, or its offsets only.
    pub fn serve(&mut self, groups: &mut Groups, ticket: Ticket, caller: &Caller, request: Request) {
        match request {
            Request::Join(request) => self.join(groups, ticket, caller, request),
            Request::Sync(request) => self.sync(groups, ticket, request),
            Request::Heartbeat(request) => {
                let code = self.heartbeat(groups, &request);
                self.reply(ticket, Response::Heartbeat(code));
            }
            Request::Leave(request) => self.leave(groups, ticket, caller, request),
            Request::OffsetCommit(request) => self.offset_commit(groups, ticket, caller, request),
            Request::TxnOffsetCommit(request) => self.txn_offset_commit(groups, ticket, caller, request),
            Request::OffsetFetch(request) => self.offset_fetch(groups, ticket, caller, request),
            Request::OffsetDelete(request) => self.offset_delete(groups, ticket, request),
            Request::List(request) => self.list(groups, ticket, &request),
            Request::Describe(ids) => self.describe(groups, ticket, caller, ids),
            Request::ConsumerDescribe(ids) => self.describe_consumers(groups, ticket, ids),
            Request::Delete(ids) => self.delete_or_wait(groups, ticket, caller, ids),
            Request::ConsumerHeartbeat(_) => unreachable!("goes to its group"),
        }
    }

    /// A deadline of a classic group surfaced.
    pub fn classic_deadline(&mut self, groups: &mut Groups, at: i64, key: TimerKey) {
        let (TimerKey::Session { group, .. } | TimerKey::Join { group } | TimerKey::Sync { group }) = key
        else {
            unreachable!("not of a classic group");
        };
        if let Some(group) = self.names.get(&group).and_then(|id| groups.get_mut(id)) {
            self.surface(group, at, key);
        }
    }

    /// Takes a group out of the map; its deadlines surface without effect.
    pub fn take(&mut self, groups: &mut Groups, id: &str) -> Option<Group> {
        let group = groups.remove(id)?;
        self.names.remove(&group.uid);
        Some(group)
    }
}

/// The group coordinator of one partition of the internal topic. See the module's header.
///
/// `now_ms` everywhere is ms since the epoch, and does not go back. A coordinator serves one term of leadership:
/// the next term starts with a new one, and reports about the old one's appends must not reach it.
#[derive(Debug)]
pub struct Coordinator {
    pub(super) config: Config,
    pub(super) phase: Phase,
    /// While loading: the group whose offset came last, which is known. Offsets of a commit come together.
    pub(super) last_loaded: Option<Rc<str>>,
    pub(super) groups: Groups,
    /// Group ids by the numbers timers use.
    pub(super) names: BTreeMap<u64, Rc<str>>,
    pub(super) consumers: Consumers,
    pub(super) cluster: Rc<dyn Cluster>,
    pub(super) room: Rc<Room>,
    pub(super) timers: Timers,
    /// Heap size from which outdated entries are swept out.
    pub(super) compact_at: usize,
    pub(super) expiry: Deadline,
    pub(super) appends: Appends,
    pub(super) offsets: OffsetStore,
    pub(super) stats: Stats,
    pub(super) last_uid: u64,
}

impl Coordinator {
    /// A coordinator that has yet to be given its partition's records, in a cluster without topics.
    pub fn new(config: Config) -> Coordinator {
        Coordinator::in_cluster(config, Rc::new(NoTopics))
    }

    /// A coordinator that has yet to be given its partition's records. It looks at `cluster` while it works off an
    /// event, and is told of changes with [`Coordinator::topics_changed`].
    pub fn in_cluster(config: Config, cluster: Rc<dyn Cluster>) -> Coordinator {
        assert!(
            config.limits.string_bytes <= records::MAX_STRING - membership::UUID_TEXT,
            "limits.string_bytes is {}, records hold {}",
            config.limits.string_bytes,
            records::MAX_STRING - membership::UUID_TEXT
        );
        assert!(
            config.limits.records_per_append > 0,
            "limits.records_per_append is 0"
        );
        Coordinator {
            config,
            phase: Phase::Loading,
            last_loaded: None,
            groups: Groups::new(),
            names: BTreeMap::new(),
            consumers: Consumers::default(),
            cluster,
            room: Rc::default(),
            timers: Timers::default(),
            compact_at: COMPACT_FROM,
            expiry: Deadline::default(),
            appends: Appends::default(),
            offsets: OffsetStore::default(),
            stats: Stats::default(),
            last_uid: 0,
        }
    }

    /// The transaction of `producer_id` ended; its pending offsets become committed or vanish. Called for each
    /// marker, while loading and later, once the marker is committed.
    pub fn end_transaction(&mut self, producer_id: i64, commit: bool) {
        self.offsets.end_transaction(producer_id, commit);
    }

    /// All records have been replayed; requests are served from now on and members' sessions start.
    pub fn loaded(&mut self, now_ms: i64, out: &mut Vec<Effect>) {
        assert_eq!(self.phase, Phase::Loading, "loaded twice");
        self.phase = Phase::Active;
        // Offsets whose group's own record is gone keep a group, or nothing would ever expire them.
        let orphaned: Vec<Rc<str>> = self
            .offsets
            .groups()
            .map(|(id, _)| id.clone())
            .filter(|id| !self.groups.contains_key(id) && !self.consumers.groups.contains_key(id))
            .collect();
        for id in orphaned {
            self.add_simple_group(id);
        }
        self.timers.arm(
            &mut self.expiry,
            TimerKey::Expiry,
            now_ms.saturating_add(self.config.retention_check_interval_ms),
        );
        self.consumers.topics_version = self.cluster.version();
        self.consumers.created_version = self.cluster.version();
        let max_size = self.config.max_size.min(self.config.limits.members_per_group);
        let (groups, mut turn) = self.turn(now_ms, out);
        let mut consumers = std::mem::take(&mut turn.consumers.groups);
        for group in consumers.values_mut() {
            turn.rearm_members(group);
        }
        turn.consumers.groups = consumers;
        for group in groups.values_mut() {
            for uid in group.members.keys().copied().collect::<Vec<_>>() {
                turn.rearm_session(group, uid);
            }
            if group.members.len() > max_size {
                // The ceiling was lowered: let the members rejoin, so that the surplus is turned away.
                turn.prepare_rebalance(group);
            }
        }
    }

    /// Serves one request. The answer comes back as [`Effect::Reply`] with `ticket`, now or after a later event.
    pub fn request(
        &mut self,
        now_ms: i64,
        ticket: Ticket,
        caller: &Caller,
        request: Request,
        out: &mut Vec<Effect>,
    ) {
        if let Request::ConsumerHeartbeat(asked) = &request
            && let Err(refusal) = consumer::validate(asked, caller.api_version, &self.config)
        {
            out.push(Effect::Reply {
                ticket,
                response: Response::ConsumerHeartbeat(refusal),
            });
            return;
        }
        if let Some(code) = self.admission(&request, caller) {
            out.push(Effect::Reply {
                ticket,
                response: request.refuse(code, caller.api_version),
            });
            return;
        }
        let (groups, mut turn) = self.turn(now_ms, out);
        let id: Option<Rc<str>> = match &request {
            Request::ConsumerHeartbeat(asked) => Some(asked.group_id.as_str().into()),
            Request::Join(JoinRequest { group_id: id, .. })
            | Request::Sync(SyncRequest { group_id: id, .. })
            | Request::Heartbeat(HeartbeatRequest { group_id: id, .. })
            | Request::Leave(LeaveRequest { group_id: id, .. }) => turn.consumers.concerned(id),
            _ => None,
        };
        match id {
            Some(id) => {
                let item = Waiting::Request(ticket, Box::new((caller.clone(), request)));
                turn.at_gate(groups, &id, item);
            }
            None => turn.serve(groups, ticket, caller, request),
        }
    }

    /// Why a request is refused before it is looked at more closely.
    fn admission(&self, request: &Request, caller: &Caller) -> Option<i16> {
        // Group ids must not be empty, except where offsets of nobody in particular are kept under "".
        let (id, may_be_empty) = match request {
            Request::Join(r) => (r.group_id.as_str(), false),
            Request::Sync(r) => {
                if caller.api_version >= 5 && (r.protocol_type.is_none() || r.protocol_name.is_none()) {
                    return Some(codes::INCONSISTENT_GROUP_PROTOCOL);
                }
                (r.group_id.as_str(), false)
            }
            Request::Heartbeat(r) => (r.group_id.as_str(), false),
            Request::Leave(r) => (r.group_id.as_str(), false),
            Request::OffsetCommit(r) => (r.group_id.as_str(), true),
            Request::TxnOffsetCommit(r) => (r.group_id.as_str(), false),
            Request::OffsetFetch(r) => (r.group_id.as_str(), true),
            Request::OffsetDelete(r) => (r.group_id.as_str(), false),
            Request::ConsumerHeartbeat(r) => (r.group_id.as_str(), false),
            Request::List(_) | Request::Describe(_) | Request::Delete(_) | Request::ConsumerDescribe(_) => {
                ("", true)
            }
        };
        if (id.is_empty() && !may_be_empty) || id.len() > self.config.limits.string_bytes {
            return Some(codes::INVALID_GROUP_ID);
        }
        if let Request::Join(r) = request
            && !(self.config.min_session_timeout_ms..=self.config.max_session_timeout_ms)
                .contains(&r.session_timeout_ms)
        {
            return Some(codes::INVALID_SESSION_TIMEOUT);
        }
        match self.phase {
            Phase::Loading => Some(codes::COORDINATOR_LOAD_IN_PROGRESS),
            Phase::Resigned => Some(codes::NOT_COORDINATOR),
            Phase::Active => {
                let writes = !matches!(
                    request,
                    Request::Heartbeat(_)
                        | Request::List(_)
                        | Request::Describe(_)
                        | Request::ConsumerDescribe(_)
                        | Request::OffsetFetch(_)
                );
                let full = self.appends.pending.len() >= self.config.limits.appends_in_flight;
                (writes && full).then_some(codes::COORDINATOR_NOT_AVAILABLE)
            }
        }
    }

    /// Lets every deadline up to `now_ms` take effect. Harmless when called early or late.
    pub fn tick(&mut self, now_ms: i64, out: &mut Vec<Effect>) {
        while let Some((at, key)) = self.timers.pop(now_ms) {
            match key {
                TimerKey::Expiry => {
                    if let Surfaced::Due = self.timers.surface(&mut self.expiry, at, key, now_ms) {
                        let next = now_ms.saturating_add(self.config.retention_check_interval_ms.max(1));
                        self.timers.arm(&mut self.expiry, key, next);
                        let (groups, mut turn) = self.turn(now_ms, out);
                        turn.expire_offsets(groups);
                    }
                }
                TimerKey::Session { group, .. } | TimerKey::Join { group } | TimerKey::Sync { group } => {
                    let (groups, mut turn) = self.turn(now_ms, out);
                    let shut = turn
                        .names
                        .get(&group)
                        .filter(|id| turn.consumers.gates.contains_key(*id))
                        .cloned();
                    match shut {
                        Some(id) => turn.at_gate(groups, &id, Waiting::Deadline(at, key)),
                        None => turn.classic_deadline(groups, at, key),
                    }
                }
                TimerKey::Consumer { group, .. } => {
                    let (groups, mut turn) = self.turn(now_ms, out);
                    if let Some(id) = turn.consumers.names.get(&group).cloned() {
                        turn.at_gate(groups, &id, Waiting::Deadline(at, key));
                    }
                }
            }
        }
        if self.timers.len() > self.compact_at {
            let (groups, names, expiry) = (&self.groups, &self.names, &self.expiry);
            let consumers = &self.consumers;
            self.timers.compact(|key| match key {
                TimerKey::Expiry => expiry.queued(),
                TimerKey::Consumer { group, member, wait } => consumers.queued(group, member, wait),
                TimerKey::Join { group } => groups.get(names.get(&group)?)?.join_timer.queued(),
                TimerKey::Sync { group } => groups.get(names.get(&group)?)?.sync_timer.queued(),
                TimerKey::Session { group, member } => {
                    let group = groups.get(names.get(&group)?)?;
                    match group.members.get(&member) {
                        Some(member) => member.session.queued(),
                        None => group
                            .pending_joins
                            .get(group.pending_ids.get(&member)?)?
                            .session
                            .queued(),
                    }
                }
            });
            self.compact_at = COMPACT_FROM.max(2 * self.timers.len());
        }
    }

    /// When [`Coordinator::tick`] should be called next; asked after every event. It may name a time at which
    /// nothing turns out to be due.
    pub fn next_deadline(&self) -> Option<i64> {
        self.timers.next()
    }

    /// The append `token` is committed, its first record at `base_offset`. Reported in order of issue.
    pub fn committed(&mut self, now_ms: i64, token: u64, base_offset: i64, out: &mut Vec<Effect>) {
        let Some(pending) = self.appends.pending.remove(&token) else {
            assert_eq!(self.phase, Phase::Resigned, "append {token} resolved twice");
            return;
        };
        assert!(
            token > self.appends.last_committed,
            "append {token} committed out of order"
        );
        self.appends.last_committed = token;
        let (groups, mut turn) = self.turn(now_ms, out);
        let mut opened = None;
        let group = pending.group.as_ref().and_then(|(id, uid)| {
            let group = groups.get_mut(id).filter(|group| group.uid == *uid)?;
            group.in_flight -= 1;
            group.visible = true;
            Some(group)
        });
        match pending.op {
            Op::CreateGroup | Op::EmptyGeneration => {}
            Op::Consumer { id, undo } => {
                turn.consumer_stored(groups, &id, undo);
                opened = Some(id);
            }
            Op::Assignment {
                generation,
                assignments,
            } => {
                if let Some(group) = group {
                    turn.assignment_stored(group, generation, assignments);
                }
            }
            Op::StaticRejoin(rejoin) => {
                if let Some(group) = group {
                    turn.static_rejoin_stored(group, &rejoin);
                }
            }
            Op::Offsets { slots, removed } => {
                for slot in &slots {
                    turn.offsets
                        .commit(token, slot, base_offset + i64::from(slot.index));
                }
                for group in removed {
                    // An offset may have outlived its group (committed or restored meanwhile); it gets a new one.
                    if turn.offsets.group(&group.id).is_some()
                        && !groups.contains_key(&group.id)
                        && !turn.consumers.groups.contains_key(&group.id)
                    {
                        turn.create(groups, &group.id).visible = true;
                    }
                }
            }
        }
        for (ticket, response) in pending.replies {
            turn.reply(ticket, response);
        }
        if let Some(id) = opened {
            turn.open_gate(groups, &id);
        }
    }

    /// The append `token` will not be committed, for the reason `append_error` (a Kafka error code as the log gives
    /// it). What it stood for is undone, and clients are told so.
    pub fn failed(&mut self, now_ms: i64, token: u64, append_error: i16, out: &mut Vec<Effect>) {
        let Some(pending) = self.appends.pending.remove(&token) else {
            assert_eq!(self.phase, Phase::Resigned, "append {token} resolved twice");
            return;
        };
        self.stats.failed_appends += 1;
        let code = codes::from_append(append_error);
        let (groups, mut turn) = self.turn(now_ms, out);
        let mut opened = None;
        let mut group = pending.group.as_ref().and_then(|(id, uid)| {
            let group = groups.get_mut(id).filter(|group| group.uid == *uid)?;
            group.in_flight -= 1;
            Some(group)
        });
        match pending.op {
            Op::EmptyGeneration => {}
            Op::Consumer { id, undo } => {
                turn.consumer_lost(groups, &id, undo);
                opened = Some(id);
            }
            Op::CreateGroup => {
                if let Some(group) = &mut group
                    && !group.visible
                {
                    turn.disband(group, code);
                }
            }
            Op::Assignment { generation, .. } => {
                if let Some(group) = &mut group {
                    turn.assignment_lost(group, generation, code);
                }
            }
            Op::StaticRejoin(rejoin) => {
                if let Some(group) = &mut group {
                    turn.static_rejoin_lost(group, rejoin, code);
                }
            }
            Op::Offsets { slots, removed } => {
                for slot in &slots {
                    turn.offsets.abort(token, slot);
                }
                for mut group in removed {
                    if !groups.contains_key(&group.id) && !turn.consumers.groups.contains_key(&group.id) {
                        group.pending_joins.clear();
                        group.pending_ids.clear();
                        turn.names.insert(group.uid, group.id.clone());
                        groups.insert(group.id.clone(), group);
                    }
                }
            }
        }
        // A group that exists only because of what has just failed goes with it.
        if let Some((id, uid)) = pending.group {
            let unborn = groups.get(&id).is_some_and(|group| {
                group.uid == uid
                    && !group.visible
                    && group.in_flight == 0
                    && group.state == GroupState::Empty
                    && group.pending_joins.is_empty()
            });
            if unborn {
                turn.take(groups, &id);
            }
        }
        for (ticket, response) in pending.replies {
            turn.reply(ticket, response.failed(code));
        }
        if let Some(last) = pending
            .reply_at
            .and_then(|token| turn.appends.pending.get_mut(&token))
        {
            for (ticket, response) in std::mem::take(&mut last.replies) {
                turn.reply(ticket, response.failed(code));
            }
        }
        if let Some(id) = opened {
            turn.open_gate(groups, &id);
        }
    }

    /// Another broker is, or may be, the coordinator now: every parked request is answered NOT_COORDINATOR, the
    /// state is dropped, and so is every later request's hope. Reports about appends under way are ignored.
    pub fn resign(&mut self, out: &mut Vec<Effect>) {
        self.phase = Phase::Resigned;
        let code = codes::NOT_COORDINATOR;
        let mut replaced = Vec::new();
        for (_, pending) in std::mem::take(&mut self.appends.pending) {
            for (ticket, response) in pending.replies {
                out.push(Effect::Reply {
                    ticket,
                    response: response.failed(code),
                });
            }
            if let Op::Consumer { undo, .. } = pending.op {
                replaced.extend(undo.into_iter().filter_map(Undo::classic));
            }
        }
        for gate in std::mem::take(&mut self.consumers.gates).into_values() {
            for item in gate.waiting {
                if let Waiting::Request(ticket, asked) = item {
                    let response = asked.1.refuse(code, asked.0.api_version);
                    out.push(Effect::Reply { ticket, response });
                }
            }
        }
        let (groups, mut turn) = self.turn(0, out);
        for mut group in replaced {
            turn.refuse_parked(&mut group, code);
        }
        for group in groups.values_mut() {
            turn.refuse_parked(group, code);
        }
        self.groups.clear();
        self.names.clear();
        self.consumers = Consumers::default();
        self.timers.clear();
        self.expiry = Deadline::default();
        self.offsets = OffsetStore::default();
    }

    /// Topics are gone: their offsets go too. A topic is its name and id; offsets known to belong to another topic
    /// of that name stay.
    pub fn delete_topics(&mut self, now_ms: i64, topics: &[(String, [u8; 16])], out: &mut Vec<Effect>) {
        if self.phase != Phase::Active {
            return;
        }
        let (_, mut turn) = self.turn(now_ms, out);
        turn.drop_topics(topics);
    }

    /// Topics came, went, grew, or moved between racks; `created` if there are new ones. Groups look at it with the
    /// next heartbeat of a member.
    pub fn topics_changed(&mut self, created: bool) {
        self.consumers.topics_version = self.cluster.version();
        if created {
            self.consumers.created_version = self.cluster.version();
        }
    }

    /// Whether requests are served.
    pub fn is_active(&self) -> bool {
        self.phase == Phase::Active
    }

    /// New settings; they concern what happens from now on.
    pub fn set_config(&mut self, config: Config) {
        self.config = config;
    }

    /// Splits the coordinator into its groups and everything else.
    fn turn<'a>(&'a mut self, now_ms: i64, out: &'a mut Vec<Effect>) -> (&'a mut Groups, Turn<'a>) {
        let turn = Turn {
            config: &self.config,
            timers: &mut self.timers,
            appends: &mut self.appends,
            offsets: &mut self.offsets,
            names: &mut self.names,
            consumers: &mut self.consumers,
            cluster: &*self.cluster,
            stats: &mut self.stats,
            room: &self.room,
            last_uid: &mut self.last_uid,
            now_ms,
            out,
            appended: None,
        };
        (&mut self.groups, turn)
    }
}
