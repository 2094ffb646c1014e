//! One consumer group: keyed values, and indexes derived from them.
//!
//! [`ConsumerGroup::apply`] is the one way in, for requests and for replay alike; it gives back what was there before,
//! so that a batch that fails can be taken back in reverse order. Indexes follow in `apply` and nowhere else.

use super::TopicId;
use super::assignor::{Assignor, Partitions};
use super::cluster::{Cluster, fingerprint};
use crate::groups::messages::Protocol;
use crate::groups::timers::Deadline;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

/// Partitions a member holds, with the epoch in which it got each.
pub(in crate::groups) type Held = BTreeMap<TopicId, BTreeMap<i32, i32>>;

/// What a member of the classic protocol brought with its JoinGroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::groups) struct ClassicMeta {
    pub session_timeout_ms: i32,
    /// Most wanted first.
    pub protocols: Vec<Protocol>,
}

/// What a member says of itself: the member metadata record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::groups) struct Meta {
    pub instance: Option<Rc<str>>,
    pub rack: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub topics: BTreeSet<Rc<str>>,
    /// Empty: no pattern.
    pub regex: Rc<str>,
    /// -1 until told.
    pub rebalance_timeout_ms: i32,
    pub assignor: Option<String>,
    /// `None` for a member of the consumer protocol.
    pub classic: Option<Rc<ClassicMeta>>,
}

/// How far a member has come, with Kafka's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::groups) enum MemberState {
    /// It has what its epoch gives it.
    #[default]
    Stable,
    /// It has to give partitions up before it gets to the next epoch.
    Unrevoked,
    /// It waits for partitions that others have yet to give up.
    Unreleased,
    /// Written by a newer version: the member has to start over.
    Unknown,
}

impl MemberState {
    pub fn number(self) -> i8 {
        match self {
            MemberState::Stable => 0,
            MemberState::Unrevoked => 1,
            MemberState::Unreleased => 2,
            MemberState::Unknown => 127,
        }
    }

    pub fn from_number(number: i8) -> MemberState {
        match number {
            0 => MemberState::Stable,
            1 => MemberState::Unrevoked,
            2 => MemberState::Unreleased,
            _ => MemberState::Unknown,
        }
    }
}

/// What a member holds: the current assignment record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::groups) struct Current {
    pub epoch: i32,
    pub previous_epoch: i32,
    pub state: MemberState,
    pub assigned: Held,
    pub revoking: Held,
}

impl Default for Current {
    fn default() -> Current {
        Current {
            epoch: 0,
            previous_epoch: -1,
            state: MemberState::Stable,
            assigned: Held::new(),
            revoking: Held::new(),
        }
    }
}

impl Current {
    /// Whether nothing is left to do for the member in target `epoch`.
    pub fn is_reconciled_to(&self, epoch: i32) -> bool {
        self.state == MemberState::Stable && self.epoch == epoch
    }

    /// The epoch in which the member got a partition it holds or is giving up.
    pub fn epoch_of(&self, topic: &TopicId, partition: i32) -> Option<i32> {
        [&self.assigned, &self.revoking]
            .into_iter()
            .find_map(|held| held.get(topic)?.get(&partition))
            .copied()
    }
}

/// Topics a pattern matched: the regular expression record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::groups) struct Resolved {
    pub topics: BTreeSet<Rc<str>>,
    /// Version of the metadata that was looked at.
    pub version: i64,
    pub at_ms: i64,
}

/// A member.
#[derive(Debug, Clone)]
pub(in crate::groups) struct Member {
    /// The coordinator's number for it, for deadlines.
    pub uid: u64,
    pub meta: Option<Rc<Meta>>,
    pub current: Option<Rc<Current>>,
    pub session: Deadline,
    /// End of the time to give partitions up, and the epoch in which that was asked.
    pub rebalance: Deadline,
    pub rebalance_epoch: i32,
    /// End of the time a classic member has to rejoin.
    pub join: Deadline,
    /// End of the time a classic member has to ask for its assignment.
    pub sync: Deadline,
}

thread_local! {
    static NO_META: Rc<Meta> = Rc::new(Meta::default());
    static NO_CURRENT: Rc<Current> = Rc::new(Current::default());
}

impl Member {
    /// What it says of itself.
    pub fn meta(&self) -> Rc<Meta> {
        self.meta.clone().unwrap_or_else(|| NO_META.with(Rc::clone))
    }

    /// What it holds.
    pub fn current(&self) -> Rc<Current> {
        self.current.clone().unwrap_or_else(|| NO_CURRENT.with(Rc::clone))
    }

    /// Whether it uses the classic protocol.
    pub fn classic(&self) -> Option<&ClassicMeta> {
        self.meta.as_ref()?.classic.as_deref()
    }
}

/// One keyed value that changes; `None` removes it.
#[derive(Debug, Clone)]
pub(in crate::groups) enum Change {
    /// Epoch of the group, and fingerprint of the topics it reads.
    Epoch(Option<(i32, i64)>),
    /// What a member says of itself.
    Member(Rc<str>, Option<Rc<Meta>>),
    /// Epoch of the target assignment, and when it was made, ms.
    TargetEpoch(Option<(i32, i64)>),
    /// A member's part of the target.
    Target(Rc<str>, Option<Rc<Partitions>>),
    /// What a member holds.
    Current(Rc<str>, Option<Rc<Current>>),
    /// What a pattern matched.
    Regex(Rc<str>, Option<Rc<Resolved>>),
}

/// State of a group, as shown to operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::groups) enum GroupPhase {
    Empty,
    /// A new target has yet to be made.
    Assigning,
    /// Members are on their way to the target.
    Reconciling,
    Stable,
}

impl GroupPhase {
    pub fn name(self) -> &'static str {
        match self {
            GroupPhase::Empty => "Empty",
            GroupPhase::Assigning => "Assigning",
            GroupPhase::Reconciling => "Reconciling",
            GroupPhase::Stable => "Stable",
        }
    }
}

/// Epoch of a group that has stored none.
const FIRST_EPOCH: i32 = 1;

/// A consumer group.
#[derive(Debug, Clone)]
pub(in crate::groups) struct ConsumerGroup {
    pub id: Rc<str>,
    /// The coordinator's number for this incarnation of the group.
    pub uid: u64,
    epoch: Option<(i32, i64)>,
    target_epoch: Option<(i32, i64)>,
    pub members: BTreeMap<Rc<str>, Member>,
    pub targets: BTreeMap<Rc<str>, Rc<Partitions>>,
    pub regexes: BTreeMap<Rc<str>, Rc<Resolved>>,
    // Derived.
    pub by_uid: BTreeMap<u64, Rc<str>>,
    pub by_instance: BTreeMap<Rc<str>, Rc<str>>,
    /// How many members hold a partition or are giving it up.
    holders: HashMap<(TopicId, i32), u32>,
    /// How many members read a topic by name.
    names: BTreeMap<Rc<str>, usize>,
    /// How many members have a pattern.
    patterns: BTreeMap<Rc<str>, usize>,
    assignors: BTreeMap<String, usize>,
    classic_members: usize,
    classic_protocols: BTreeMap<String, usize>,
    // Not stored.
    /// Version of the topics for which the epoch was last found right; -1: never.
    pub checked_version: i64,
    /// Version of the topics and time of the last matching of patterns.
    pub matched: Option<(i64, i64)>,
    /// A record of the group is in the log.
    pub visible: bool,
}

impl ConsumerGroup {
    /// A group without members or records.
    pub fn new(id: Rc<str>, uid: u64) -> ConsumerGroup {
        ConsumerGroup {
            id,
            uid,
            epoch: None,
            target_epoch: None,
            members: BTreeMap::new(),
            targets: BTreeMap::new(),
            regexes: BTreeMap::new(),
            by_uid: BTreeMap::new(),
            by_instance: BTreeMap::new(),
            holders: HashMap::new(),
            names: BTreeMap::new(),
            patterns: BTreeMap::new(),
            assignors: BTreeMap::new(),
            classic_members: 0,
            classic_protocols: BTreeMap::new(),
            checked_version: -1,
            matched: None,
            visible: false,
        }
    }

    /// Makes a change; the value there was before, as the change that takes this one back. New members get numbers
    /// from `last_uid`.
    pub fn apply(&mut self, change: Change, last_uid: &mut u64) -> Change {
        match change {
            Change::Epoch(value) => Change::Epoch(std::mem::replace(&mut self.epoch, value)),
            Change::TargetEpoch(value) => {
                Change::TargetEpoch(std::mem::replace(&mut self.target_epoch, value))
            }
            Change::Target(id, value) => {
                let before = match value {
                    Some(value) => self.targets.insert(id.clone(), value),
                    None => self.targets.remove(&id),
                };
                Change::Target(id, before)
            }
            Change::Regex(pattern, value) => {
                let before = match value {
                    Some(value) => self.regexes.insert(pattern.clone(), value),
                    None => self.regexes.remove(&pattern),
                };
                Change::Regex(pattern, before)
            }
            Change::Member(id, value) => {
                let member = self.entry(&id, last_uid);
                let before = std::mem::replace(&mut member.meta, value.clone());
                if let Some(before) = &before {
                    self.forget_meta(&id, before);
                }
                if let Some(value) = &value {
                    self.note_meta(&id, value);
                }
                self.prune(&id);
                Change::Member(id, before)
            }
            Change::Current(id, value) => {
                let member = self.entry(&id, last_uid);
                let before = std::mem::replace(&mut member.current, value.clone());
                for held in before.iter().flat_map(|c| [&c.assigned, &c.revoking]) {
                    self.release(held);
                }
                for held in value.iter().flat_map(|c| [&c.assigned, &c.revoking]) {
                    self.hold(held);
                }
                self.prune(&id);
                Change::Current(id, before)
            }
        }
    }

    fn entry(&mut self, id: &Rc<str>, last_uid: &mut u64) -> &mut Member {
        if !self.members.contains_key(id) {
            *last_uid += 1;
            let member = Member {
                uid: *last_uid,
                meta: None,
                current: None,
                session: Deadline::default(),
                rebalance: Deadline::default(),
                rebalance_epoch: 0,
                join: Deadline::default(),
                sync: Deadline::default(),
            };
            self.by_uid.insert(member.uid, id.clone());
            self.members.insert(id.clone(), member);
        }
        self.members.get_mut(id).expect("entered above")
    }

    fn prune(&mut self, id: &Rc<str>) {
        let member = &self.members[id];
        if member.meta.is_none() && member.current.is_none() {
            let uid = member.uid;
            self.by_uid.remove(&uid);
            self.members.remove(id);
        }
    }

    fn hold(&mut self, held: &Held) {
        for (topic, partitions) in held {
            for partition in partitions.keys() {
                *self.holders.entry((*topic, *partition)).or_default() += 1;
            }
        }
    }

    fn release(&mut self, held: &Held) {
        for (topic, partitions) in held {
            for partition in partitions.keys() {
                let key = (*topic, *partition);
                let count = self.holders.get_mut(&key).expect("what is held is counted");
                *count -= 1;
                if *count == 0 {
                    self.holders.remove(&key);
                }
            }
        }
    }

    fn note_meta(&mut self, id: &Rc<str>, meta: &Meta) {
        if let Some(instance) = &meta.instance {
            self.by_instance.insert(instance.clone(), id.clone());
        }
        for topic in &meta.topics {
            *self.names.entry(topic.clone()).or_default() += 1;
        }
        if !meta.regex.is_empty() {
            *self.patterns.entry(meta.regex.clone()).or_default() += 1;
        }
        if let Some(assignor) = &meta.assignor {
            *self.assignors.entry(assignor.clone()).or_default() += 1;
        }
        if let Some(classic) = &meta.classic {
            self.classic_members += 1;
            for protocol in &classic.protocols {
                *self.classic_protocols.entry(protocol.name.clone()).or_default() += 1;
            }
        }
    }

    fn forget_meta(&mut self, id: &Rc<str>, meta: &Meta) {
        if let Some(instance) = &meta.instance
            && self.by_instance.get(instance) == Some(id)
        {
            self.by_instance.remove(instance);
        }
        for topic in &meta.topics {
            discount(&mut self.names, topic);
        }
        if !meta.regex.is_empty() {
            discount(&mut self.patterns, &meta.regex);
        }
        if let Some(assignor) = &meta.assignor {
            discount(&mut self.assignors, assignor);
        }
        if let Some(classic) = &meta.classic {
            self.classic_members -= 1;
            for protocol in &classic.protocols {
                discount(&mut self.classic_protocols, &protocol.name);
            }
        }
    }

    /// Epoch of the group.
    pub fn epoch(&self) -> i32 {
        self.epoch.map_or(FIRST_EPOCH, |(epoch, _)| epoch)
    }

    /// Whether an epoch is stored.
    pub fn has_epoch(&self) -> bool {
        self.epoch.is_some()
    }

    /// Fingerprint of the topics it read when its epoch last rose.
    pub fn fingerprint(&self) -> i64 {
        self.epoch.map_or(0, |(_, fingerprint)| fingerprint)
    }

    /// Epoch of the target assignment; 0 when there is none.
    pub fn target_epoch(&self) -> i32 {
        self.target_epoch.map_or(0, |(epoch, _)| epoch)
    }

    /// Whether a target is stored.
    pub fn has_target_epoch(&self) -> bool {
        self.target_epoch.is_some()
    }

    /// When the target was made, ms; 0: at no time of ours.
    pub fn target_at_ms(&self) -> i64 {
        self.target_epoch.map_or(0, |(_, at_ms)| at_ms)
    }

    /// A member's part of the target.
    pub fn target(&self, id: &str) -> Option<&Rc<Partitions>> {
        self.targets.get(id)
    }

    /// State as shown to operators. Costs a look at each member.
    pub fn phase(&self) -> GroupPhase {
        if self.members.is_empty() {
            GroupPhase::Empty
        } else if self.epoch() > self.target_epoch() {
            GroupPhase::Assigning
        } else if self
            .members
            .values()
            .all(|member| member.current().is_reconciled_to(self.target_epoch()))
        {
            GroupPhase::Stable
        } else {
            GroupPhase::Reconciling
        }
    }

    /// How many members hold a partition or are giving it up.
    pub fn holders(&self, topic: &TopicId, partition: i32) -> u32 {
        self.holders.get(&(*topic, partition)).copied().unwrap_or(0)
    }

    /// How many members have this pattern.
    pub fn pattern_members(&self, pattern: &str) -> usize {
        self.patterns.get(pattern).copied().unwrap_or(0)
    }

    /// Patterns of members.
    pub fn patterns(&self) -> impl Iterator<Item = &Rc<str>> {
        self.patterns.keys()
    }

    /// Whether a member reads the topic, by name or by pattern.
    pub fn is_subscribed(&self, topic: &str) -> bool {
        self.names.contains_key(topic) || self.regexes.values().any(|found| found.topics.contains(topic))
    }

    /// Whether this member reads the topic.
    pub fn reads(&self, meta: &Meta, topic: &str) -> bool {
        meta.topics.contains(topic)
            || (!meta.regex.is_empty()
                && self
                    .regexes
                    .get(&meta.regex)
                    .is_some_and(|found| found.topics.contains(topic)))
    }

    /// Topics this member reads, sorted.
    pub fn topics_of(&self, meta: &Meta) -> BTreeSet<Rc<str>> {
        let matched = (!meta.regex.is_empty())
            .then(|| self.regexes.get(&meta.regex))
            .flatten();
        match matched {
            Some(found) => meta.topics.union(&found.topics).cloned().collect(),
            None => meta.topics.clone(),
        }
    }

    /// Fingerprint of the topics its members read now.
    pub fn compute_fingerprint(&self, cluster: &dyn Cluster) -> i64 {
        if self.regexes.is_empty() {
            return fingerprint(cluster, self.names.keys().map(|name| &**name));
        }
        let all: BTreeSet<&str> = self
            .names
            .keys()
            .chain(self.regexes.values().flat_map(|found| &found.topics))
            .map(|name| &**name)
            .collect();
        fingerprint(cluster, all.into_iter())
    }

    /// The assignor most members ask for; among equals the last by name.
    pub fn wanted_assignor(&self) -> Option<Assignor> {
        self.assignors
            .iter()
            .max_by_key(|(_, count)| **count)
            .and_then(|(name, _)| Assignor::from_name(name))
    }

    /// How many members use the classic protocol.
    pub fn classic_members(&self) -> usize {
        self.classic_members
    }

    /// Whether a classic member with these protocols could take part with the present classic members.
    pub fn supports(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        let spoken = |name: &str| self.classic_protocols.get(name).copied().unwrap_or(0);
        protocol_type == "consumer"
            && protocols
                .iter()
                .any(|p| self.members.is_empty() || spoken(&p.name) == self.classic_members)
    }

    /// Panics if an index contradicts the values.
    pub fn check(&self) {
        let id = &self.id;
        let mut fresh = ConsumerGroup::new(id.clone(), self.uid);
        let mut last_uid = 0;
        for (member_id, member) in &self.members {
            assert!(
                member.meta.is_some() || member.current.is_some(),
                "group {id}: member {member_id} without values"
            );
            assert_eq!(
                self.by_uid.get(&member.uid),
                Some(member_id),
                "group {id}: number of {member_id}"
            );
            fresh.apply(
                Change::Member(member_id.clone(), member.meta.clone()),
                &mut last_uid,
            );
            fresh.apply(
                Change::Current(member_id.clone(), member.current.clone()),
                &mut last_uid,
            );
        }
        assert_eq!(self.by_uid.len(), self.members.len(), "group {id}: numbers");
        assert_eq!(self.by_instance, fresh.by_instance, "group {id}: instances");
        assert_eq!(self.holders, fresh.holders, "group {id}: holders");
        assert_eq!(self.names, fresh.names, "group {id}: topics");
        assert_eq!(self.patterns, fresh.patterns, "group {id}: patterns");
        assert_eq!(self.assignors, fresh.assignors, "group {id}: assignors");
        assert_eq!(
            self.classic_members, fresh.classic_members,
            "group {id}: classic members"
        );
        assert_eq!(
            self.classic_protocols, fresh.classic_protocols,
            "group {id}: protocols"
        );
    }

    #[cfg(test)]
    /// Panics where a partition is with two members, or what only our own log rules out is otherwise the case.
    pub fn check_own(&self) {
        for ((topic, partition), count) in &self.holders {
            assert_eq!(*count, 1, "group {}: holders of {topic:?}-{partition}", self.id);
        }
        for id in self.targets.keys() {
            assert!(
                self.members.contains_key(id),
                "group {}: a target of nobody",
                self.id
            );
        }
        for pattern in self.regexes.keys() {
            assert!(
                self.patterns.contains_key(pattern),
                "group {}: a pattern of nobody",
                self.id
            );
        }
        assert!(
            self.target_epoch() <= self.epoch(),
            "group {}: target ahead",
            self.id
        );
        for (id, member) in &self.members {
            let current = member.current();
            assert!(
                member.meta.is_some() && member.current.is_some(),
                "group {}: half of {id}",
                self.id
            );
            assert!(
                current.epoch <= self.target_epoch(),
                "group {}: {id} ahead of the target",
                self.id
            );
        }
    }
}

fn discount<K: Ord + Clone>(counts: &mut BTreeMap<K, usize>, key: &K) {
    let count = counts.get_mut(key).expect("what a member says is counted");
    *count -= 1;
    if *count == 0 {
        counts.remove(key);
    }
}
