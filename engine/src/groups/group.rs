//! One classic group: its members, its state and the bookkeeping that must agree with itself.
//!
//! `membership` drives it; nothing here answers requests or arms timers by itself, but removing a member hands back
//! the tickets that member had parked so that none is ever forgotten.
//!
//! Invariants (see [`Group::check`]): indexes by id and instance agree with the members; the count of members
//! awaiting a join answer is exact; the leader is a member; a group without members is `Empty` or in its first join
//! phase; parked syncs exist only while the rebalance completes.

use super::messages::{JoinedMember, Protocol};
use super::records::{self, GroupValue, MemberValue};
use super::timers::Deadline;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// The caller's handle of a request; it comes back with the answer.
pub type Ticket = u64;

/// States of a classic group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupState {
    /// No members; only offsets, if anything.
    Empty,
    /// Members are (re)joining; JoinGroup answers are parked.
    PreparingRebalance,
    /// Everyone joined; the leader's assignment is awaited or being stored.
    CompletingRebalance,
    /// Every member may have its assignment.
    Stable,
}

impl GroupState {
    /// The name clients see.
    pub fn name(self) -> &'static str {
        match self {
            GroupState::Empty => "Empty",
            GroupState::PreparingRebalance => "PreparingRebalance",
            GroupState::CompletingRebalance => "CompletingRebalance",
            GroupState::Stable => "Stable",
        }
    }
}

/// A member of a group.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub id: Rc<str>,
    pub instance: Option<Rc<str>>,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout_ms: i32,
    pub rebalance_timeout_ms: i32,
    /// Most wanted first; no name twice.
    pub protocols: Vec<Protocol>,
    pub assignment: Bytes,
    pub parked_join: Option<Ticket>,
    pub parked_sync: Option<Ticket>,
    /// Has never completed a join: its session guards the parked join itself.
    pub is_new: bool,
    pub session: Deadline,
}

impl Member {
    /// The member's metadata for `protocol`, if it speaks it.
    pub fn metadata(&self, protocol: &str) -> Option<&Bytes> {
        self.protocols
            .iter()
            .find(|p| p.name == protocol)
            .map(|p| &p.metadata)
    }
}

/// A member id handed out with MEMBER_ID_REQUIRED whose owner has not come back yet.
#[derive(Debug, Clone)]
pub(super) struct PendingJoin {
    pub uid: u64,
    pub session: Deadline,
}

/// What the join timer stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JoinPhase {
    /// First rebalance of an empty group: a step of `delay_ms`, with `remaining_ms` left for extensions.
    Initial { delay_ms: i64, remaining_ms: i64 },
    /// Any other rebalance: members have the rebalance timeout.
    Rejoin,
}

/// Tickets a removed or fenced member had parked.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Orphans {
    pub join: Option<Ticket>,
    pub sync: Option<Ticket>,
}

/// A classic group.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub id: Rc<str>,
    /// The coordinator's number for this incarnation of the group.
    pub uid: u64,
    pub state: GroupState,
    /// State before the present one; `None` when the group is as created or loaded.
    pub previous: Option<GroupState>,
    /// When the state was entered; `None` in groups loaded from records that lack it.
    pub state_since_ms: Option<i64>,
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    pub generation: i32,
    pub leader: Option<u64>,
    /// By number, which is join order.
    pub members: BTreeMap<u64, Member>,
    pub by_id: BTreeMap<Rc<str>, u64>,
    pub by_instance: BTreeMap<Rc<str>, u64>,
    pub pending_joins: BTreeMap<Rc<str>, PendingJoin>,
    pub pending_ids: BTreeMap<u64, Rc<str>>,
    pub awaiting_join: usize,
    /// How many members speak each protocol.
    support: BTreeMap<String, usize>,
    pub pending_sync: BTreeSet<u64>,
    /// Topics the members of a "consumer" group read; `None` when not known.
    pub subscribed: Option<BTreeSet<String>>,
    pub new_member_added: bool,
    pub join_timer: Deadline,
    pub join_phase: JoinPhase,
    pub sync_timer: Deadline,
    /// Appends under way that concern this group.
    pub in_flight: u32,
    /// A record of this group is in the log, so that others may see it.
    pub visible: bool,
}

impl Group {
    /// An empty group as of `now_ms`.
    pub fn new(id: Rc<str>, uid: u64, now_ms: i64) -> Group {
        Group {
            id,
            uid,
            state: GroupState::Empty,
            previous: None,
            state_since_ms: Some(now_ms),
            protocol_type: None,
            protocol: None,
            generation: 0,
            leader: None,
            members: BTreeMap::new(),
            by_id: BTreeMap::new(),
            by_instance: BTreeMap::new(),
            pending_joins: BTreeMap::new(),
            pending_ids: BTreeMap::new(),
            awaiting_join: 0,
            support: BTreeMap::new(),
            pending_sync: BTreeSet::new(),
            subscribed: None,
            new_member_added: false,
            join_timer: Deadline::default(),
            join_phase: JoinPhase::Rejoin,
            sync_timer: Deadline::default(),
            in_flight: 0,
            visible: false,
        }
    }

    /// The group a metadata record describes. Members get numbers from `next_uid`.
    ///
    /// A record whose members contradict each other (an id twice) yields `None`.
    pub fn from_record(id: Rc<str>, uid: u64, value: GroupValue, next_uid: &mut u64) -> Option<Group> {
        let mut group = Group::new(id, uid, 0);
        group.state_since_ms = value.state_timestamp_ms;
        group.generation = value.generation;
        group.protocol_type = Some(value.protocol_type).filter(|name| !name.is_empty());
        group.protocol = value.protocol;
        group.visible = true;
        if !value.members.is_empty() {
            group.state = GroupState::Stable;
            let protocol = group.protocol.clone()?;
            group.protocol_type.as_ref()?;
            for member in value.members {
                if group.by_id.contains_key(member.member_id.as_str())
                    || member
                        .group_instance_id
                        .as_deref()
                        .is_some_and(|id| group.by_instance.contains_key(id))
                {
                    return None;
                }
                *next_uid += 1;
                group.add(
                    *next_uid,
                    Member {
                        id: member.member_id.into(),
                        instance: member.group_instance_id.map(Into::into),
                        client_id: member.client_id,
                        client_host: member.client_host,
                        session_timeout_ms: member.session_timeout_ms,
                        rebalance_timeout_ms: member.rebalance_timeout_ms,
                        protocols: vec![Protocol {
                            name: protocol.clone(),
                            metadata: member.subscription,
                        }],
                        assignment: member.assignment,
                        parked_join: None,
                        parked_sync: None,
                        is_new: false,
                        session: Deadline::default(),
                    },
                );
            }
            let leader = value.leader.and_then(|id| group.by_id.get(id.as_str()).copied());
            group.leader = leader.or(group.leader);
        }
        group.subscribed = group.compute_subscribed();
        Some(group)
    }

    /// Whether the group follows the consumer protocol, whose metadata names topics.
    pub fn uses_consumer_protocol(&self) -> bool {
        self.protocol_type.as_deref() == Some("consumer")
    }

    /// Whether the group may start a rebalance from where it is.
    pub fn can_rebalance(&self) -> bool {
        self.state != GroupState::PreparingRebalance
    }

    /// Enters `state`.
    pub fn transition(&mut self, state: GroupState, now_ms: i64) {
        let allowed = match state {
            GroupState::Empty => self.state == GroupState::PreparingRebalance,
            GroupState::PreparingRebalance => self.state != GroupState::PreparingRebalance,
            GroupState::CompletingRebalance => self.state == GroupState::PreparingRebalance,
            GroupState::Stable => self.state == GroupState::CompletingRebalance,
        };
        assert!(
            allowed,
            "group {} cannot go from {:?} to {state:?}",
            self.id, self.state
        );
        self.previous = Some(self.state);
        self.state = state;
        self.state_since_ms = Some(now_ms);
    }

    /// The member called `id`.
    pub fn member(&self, id: &str) -> Option<(u64, &Member)> {
        let uid = *self.by_id.get(id)?;
        Some((uid, &self.members[&uid]))
    }

    /// Whether `uid` leads the group.
    pub fn is_leader(&self, uid: u64) -> bool {
        self.leader == Some(uid)
    }

    /// Member id of the leader.
    pub fn leader_id(&self) -> Option<Rc<str>> {
        self.leader.map(|uid| self.members[&uid].id.clone())
    }

    /// Adds a member under a number that is free. The first member gives the group its protocol type beforehand.
    pub fn add(&mut self, uid: u64, member: Member) {
        if let Some(instance) = &member.instance {
            let before = self.by_instance.insert(instance.clone(), uid);
            assert!(
                before.is_none(),
                "instance {instance} of group {} added twice",
                self.id
            );
        }
        let before = self.by_id.insert(member.id.clone(), uid);
        assert!(
            before.is_none(),
            "member {} of group {} added twice",
            member.id,
            self.id
        );
        for protocol in &member.protocols {
            *self.support.entry(protocol.name.clone()).or_default() += 1;
        }
        self.awaiting_join += usize::from(member.parked_join.is_some());
        self.leader.get_or_insert(uid);
        let before = self.members.insert(uid, member);
        assert!(before.is_none(), "member number {uid} used twice");
    }

    /// Removes a member and hands back what it had parked. Another member becomes leader if it led.
    pub fn remove(&mut self, uid: u64) -> Orphans {
        let Some(member) = self.members.remove(&uid) else {
            return Orphans::default();
        };
        self.by_id.remove(&member.id);
        if let Some(instance) = &member.instance {
            self.by_instance.remove(instance);
        }
        self.unsupport(&member.protocols);
        self.awaiting_join -= usize::from(member.parked_join.is_some());
        self.pending_sync.remove(&uid);
        if self.leader == Some(uid) {
            self.leader = self.members.keys().next().copied();
        }
        Orphans {
            join: member.parked_join,
            sync: member.parked_sync,
        }
    }

    /// Forgets a handed-out member id.
    pub fn remove_pending(&mut self, id: &str) -> Option<PendingJoin> {
        let pending = self.pending_joins.remove(id)?;
        self.pending_ids.remove(&pending.uid);
        Some(pending)
    }

    /// Remembers a handed-out member id.
    pub fn add_pending(&mut self, id: Rc<str>, pending: PendingJoin) {
        self.pending_ids.insert(pending.uid, id.clone());
        self.pending_joins.insert(id, pending);
    }

    /// Gives a member new protocols and timeouts.
    pub fn update(&mut self, uid: u64, protocols: Vec<Protocol>, rebalance_ms: i32, session_ms: i32) {
        let member = self.members.get_mut(&uid).expect("the member is in the group");
        let old = std::mem::replace(&mut member.protocols, protocols);
        member.rebalance_timeout_ms = rebalance_ms;
        member.session_timeout_ms = session_ms;
        for protocol in &member.protocols {
            *self.support.entry(protocol.name.clone()).or_default() += 1;
        }
        self.unsupport(&old);
    }

    fn unsupport(&mut self, protocols: &[Protocol]) {
        for protocol in protocols {
            let count = self
                .support
                .get_mut(&protocol.name)
                .expect("a member's protocol is counted");
            *count -= 1;
            if *count == 0 {
                self.support.remove(&protocol.name);
            }
        }
    }

    /// Parks a JoinGroup; hands back one the member had parked before.
    pub fn park_join(&mut self, uid: u64, ticket: Ticket) -> Option<Ticket> {
        let member = self.members.get_mut(&uid).expect("the member is in the group");
        let before = member.parked_join.replace(ticket);
        self.awaiting_join += usize::from(before.is_none());
        before
    }

    /// Takes a member's parked JoinGroup.
    pub fn unpark_join(&mut self, uid: u64) -> Option<Ticket> {
        let ticket = self.members.get_mut(&uid)?.parked_join.take();
        self.awaiting_join -= usize::from(ticket.is_some());
        ticket
    }

    /// Calls the member `new_id` from now on; the member keeps its place, and its leadership.
    pub fn rename(&mut self, uid: u64, new_id: Rc<str>) {
        let member = self.members.get_mut(&uid).expect("the member is in the group");
        self.by_id.remove(&member.id);
        member.id = new_id.clone();
        let before = self.by_id.insert(new_id, uid);
        assert!(before.is_none(), "a new member id collides in group {}", self.id);
    }

    /// Whether everyone who is expected has a JoinGroup parked.
    pub fn all_joined(&self) -> bool {
        self.members.len() == self.awaiting_join && self.pending_joins.is_empty()
    }

    /// The longest rebalance timeout of the members, ms.
    pub fn rebalance_timeout_ms(&self) -> i64 {
        self.members
            .values()
            .map(|m| i64::from(m.rebalance_timeout_ms))
            .max()
            .unwrap_or(0)
            .max(0)
    }

    /// Whether a member of this kind could take part with the present members.
    pub fn supports(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if self.state == GroupState::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols
                .iter()
                .any(|p| self.support.get(&p.name).copied().unwrap_or(0) == self.members.len())
    }

    /// The protocol with the most votes among those every member speaks; each member votes for the first it lists.
    /// A tie goes to the protocol voted for by the earliest member.
    pub fn select_protocol(&self) -> Option<String> {
        let mut votes: Vec<(&str, usize)> = Vec::new();
        for member in self.members.values() {
            let vote = member
                .protocols
                .iter()
                .find(|p| self.support.get(&p.name) == Some(&self.members.len()))?;
            match votes.iter_mut().find(|(name, _)| *name == vote.name) {
                Some((_, count)) => *count += 1,
                None => votes.push((&vote.name, 1)),
            }
        }
        let most = votes.iter().map(|(_, count)| *count).max()?;
        votes
            .iter()
            .find(|(_, count)| *count == most)
            .map(|(name, _)| (*name).to_owned())
    }

    /// If the leader did not rejoin, lets the first member that did lead. `false` when nobody rejoined.
    pub fn elect_joined_leader(&mut self) -> bool {
        let Some(leader) = self.leader else { return false };
        if self.members[&leader].parked_join.is_some() {
            return true;
        }
        let joined = self
            .members
            .iter()
            .find(|(_, m)| m.parked_join.is_some())
            .map(|(uid, _)| *uid);
        if let Some(uid) = joined {
            self.leader = Some(uid);
        }
        joined.is_some()
    }

    /// Enters the next generation: awaiting its assignment, or empty.
    pub fn next_generation(&mut self, now_ms: i64) {
        // The protocol has 31 bits for it; a wrapped generation would be refused by clients.
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.protocol = self.select_protocol();
        self.subscribed = self.compute_subscribed();
        let next = if self.members.is_empty() {
            GroupState::Empty
        } else {
            assert!(
                self.protocol.is_some(),
                "members of group {} have no protocol in common",
                self.id
            );
            GroupState::CompletingRebalance
        };
        self.transition(next, now_ms);
        self.pending_sync.clear();
    }

    /// Members with their metadata for the chosen protocol, for the leader.
    pub fn joined_members(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol.as_deref().unwrap_or("");
        let shown = |member: &Member| JoinedMember {
            member_id: member.id.to_string(),
            group_instance_id: member.instance.as_deref().map(str::to_owned),
            metadata: member.metadata(protocol).cloned().unwrap_or_default(),
        };
        self.members.values().map(shown).collect()
    }

    /// Learns anew what the members read.
    pub fn renew_subscribed(&mut self) {
        self.subscribed = self.compute_subscribed();
    }

    fn compute_subscribed(&self) -> Option<BTreeSet<String>> {
        if !self.uses_consumer_protocol() {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol.as_deref()?;
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            let names = records::subscribed_topics(member.metadata(protocol)?).ok()?;
            topics.extend(names.into_iter().map(str::to_owned));
        }
        Some(topics)
    }

    /// Whether a member reads `topic`, erring on the side of yes when a consumer group's topics are not known.
    pub fn is_subscribed(&self, topic: &str) -> bool {
        match &self.subscribed {
            Some(topics) => topics.contains(topic),
            None => self.uses_consumer_protocol(),
        }
    }

    /// The group as a record, with each member's assignment as `assignment` gives it.
    pub fn to_record(&self, assignment: impl Fn(u64, &Member) -> Bytes) -> GroupValue {
        let protocol = self.protocol.as_deref().unwrap_or("");
        let stored = |(uid, member): (&u64, &Member)| MemberValue {
            member_id: member.id.to_string(),
            group_instance_id: member.instance.as_deref().map(str::to_owned),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            session_timeout_ms: member.session_timeout_ms,
            subscription: member.metadata(protocol).cloned().unwrap_or_default(),
            assignment: assignment(*uid, member),
        };
        GroupValue {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader_id().map(|id| id.to_string()),
            state_timestamp_ms: self.state_since_ms,
            members: self.members.iter().map(stored).collect(),
        }
    }

    /// Panics if the bookkeeping contradicts itself.
    pub fn check(&self) {
        let id = &self.id;
        assert_eq!(
            self.by_id.len(),
            self.members.len(),
            "group {id}: ids and members differ"
        );
        for (uid, member) in &self.members {
            assert_eq!(self.by_id.get(&member.id), Some(uid), "group {id}: id index");
            assert!(
                !self.pending_joins.contains_key(&member.id),
                "group {id}: member also pending"
            );
            if let Some(instance) = &member.instance {
                assert_eq!(
                    self.by_instance.get(instance),
                    Some(uid),
                    "group {id}: instance index"
                );
            }
            assert!(
                member.parked_sync.is_none() || self.state == GroupState::CompletingRebalance,
                "group {id}: sync parked in {:?}",
                self.state
            );
            assert!(
                member.parked_join.is_none() || self.state != GroupState::CompletingRebalance,
                "group {id}: join parked while completing"
            );
        }
        let statics = self.members.values().filter(|m| m.instance.is_some()).count();
        assert_eq!(
            statics,
            self.by_instance.len(),
            "group {id}: instances and members differ"
        );
        let awaiting = self.members.values().filter(|m| m.parked_join.is_some()).count();
        assert_eq!(awaiting, self.awaiting_join, "group {id}: awaiting count");
        assert_eq!(
            self.pending_ids.len(),
            self.pending_joins.len(),
            "group {id}: pending index"
        );
        assert_eq!(
            self.leader.is_none(),
            self.members.is_empty(),
            "group {id}: leader without members"
        );
        assert!(
            self.leader.is_none_or(|uid| self.members.contains_key(&uid)),
            "group {id}: foreign leader"
        );
        assert!(
            self.pending_sync.iter().all(|uid| self.members.contains_key(uid)),
            "group {id}: pending sync"
        );
        match self.state {
            GroupState::Empty => assert!(self.members.is_empty(), "group {id}: members in Empty"),
            GroupState::PreparingRebalance => {
                assert!(
                    self.join_timer.at().is_some(),
                    "group {id}: join phase without an end"
                );
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                assert!(
                    !self.members.is_empty(),
                    "group {id}: {:?} without members",
                    self.state
                );
                assert!(
                    self.protocol.is_some(),
                    "group {id}: {:?} without a protocol",
                    self.state
                );
                assert!(
                    self.pending_sync.is_empty() || self.sync_timer.at().is_some(),
                    "group {id}: sync wait without an end"
                );
            }
        }
        let mut support: BTreeMap<&str, usize> = BTreeMap::new();
        for protocol in self.members.values().flat_map(|m| &m.protocols) {
            *support.entry(&protocol.name).or_default() += 1;
        }
        assert!(
            support
                .iter()
                .map(|(name, count)| (*name, *count))
                .eq(self.support.iter().map(|(name, count)| (name.as_str(), *count))),
            "group {id}: protocol counts"
        );
    }
}
