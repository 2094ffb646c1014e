//! Joining, syncing, heartbeating and leaving: what members ask of their group.
//!
//! Called by the coordinator with the groups and the rest of itself as a [`Turn`]; `rebalance` moves the group
//! through its states.

use super::codes;
use super::coordinator::{Groups, Op, StaticRejoin, Turn};
use super::group::{Group, GroupState, Member, Orphans, PendingJoin, Ticket};
use super::messages::{
    Caller, HeartbeatRequest, JoinRequest, JoinResponse, LeaveRequest, LeaveResponse, LeftMember, Protocol,
    Response, SyncRequest, SyncResponse,
};
use super::planted::{Bug, planted};
use super::records::{GroupValue, Record};
use super::room;
use super::timers::{Deadline, TimerKey};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::rc::Rc;

/// JoinGroup from this version makes a client without a member id come back with the one it is given (KIP-394).
pub(super) const MEMBER_ID_REQUIRED_SINCE: i16 = 4;
/// JoinGroup from this version can tell a returning static leader to skip the assignment (KIP-814).
const SKIP_ASSIGNMENT_SINCE: i16 = 9;
/// What [`member_id`] adds to its prefix, bytes.
pub(super) const UUID_TEXT: usize = 37;

/// Whether a request may speak for a member: its code if not.
pub(super) fn validate_member(group: &Group, member_id: &str, instance: Option<&str>) -> Result<u64, i16> {
    if let Some(instance) = instance {
        let uid = *group.by_instance.get(instance).ok_or(codes::UNKNOWN_MEMBER_ID)?;
        if &*group.members[&uid].id != member_id {
            return if planted(Bug::NoFence) {
                Ok(uid)
            } else {
                Err(codes::FENCED_INSTANCE_ID)
            };
        }
    }
    group
        .by_id
        .get(member_id)
        .copied()
        .ok_or(codes::UNKNOWN_MEMBER_ID)
}

impl Turn<'_> {
    // ---- JoinGroup ----

    pub fn join(&mut self, groups: &mut Groups, ticket: Ticket, caller: &Caller, mut request: JoinRequest) {
        if caller.api_version == 0 {
            request.rebalance_timeout_ms = request.session_timeout_ms;
        }
        if let Some(code) = self.refuse_join(groups, caller, &mut request) {
            self.reply(
                ticket,
                Response::Join(JoinResponse::error(code, &request.member_id)),
            );
            return;
        }
        let unknown = request.member_id.is_empty();
        let is_new_group = !groups.contains_key(request.group_id.as_str());
        let group = match groups.get_mut(request.group_id.as_str()) {
            Some(group) => group,
            None => self.create(groups, &request.group_id),
        };
        if !self.accepts(group, &request.member_id) {
            if let Some((uid, _)) = group.member(&request.member_id) {
                self.expel(group, uid, codes::GROUP_MAX_SIZE_REACHED);
            } else {
                group.remove_pending(&request.member_id);
            }
            self.reply(
                ticket,
                Response::Join(JoinResponse::error(codes::GROUP_MAX_SIZE_REACHED, "")),
            );
            // The last one turned away may have been the last one waited for.
            self.maybe_complete_join(group);
            return;
        }
        if !group.supports(&request.protocol_type, &request.protocols) {
            let code = codes::INCONSISTENT_GROUP_PROTOCOL;
            self.reply(
                ticket,
                Response::Join(JoinResponse::error(code, &request.member_id)),
            );
            if is_new_group {
                self.take(groups, &request.group_id);
            }
            return;
        }
        if unknown {
            self.join_new_member(group, ticket, caller, request);
        } else {
            self.join_known_member(group, ticket, caller, request);
        }
        if is_new_group && self.appended.is_none() {
            let value = GroupValue {
                state_timestamp_ms: group.state_since_ms,
                ..GroupValue::default()
            };
            let record = Record::group(&group.id, &value);
            self.append(Some(group), vec![record], Op::CreateGroup);
        }
    }

    /// Refusals that need no look at the group's state. Protocols named twice are reduced to their first.
    fn refuse_join(&self, groups: &Groups, caller: &Caller, request: &mut JoinRequest) -> Option<i16> {
        if let Some(code) = self.refuse_oversized(caller, request) {
            return Some(code);
        }
        if !groups.contains_key(request.group_id.as_str()) {
            if !request.member_id.is_empty() {
                return Some(codes::UNKNOWN_MEMBER_ID);
            }
            if groups.len() + self.consumers.groups.len() >= self.config.limits.groups {
                return Some(codes::COORDINATOR_NOT_AVAILABLE);
            }
        }
        None
    }

    /// Refuses what is too long or too much, for groups of either protocol. Protocols named twice are reduced to their
    /// first.
    pub fn refuse_oversized(&self, caller: &Caller, request: &mut JoinRequest) -> Option<i16> {
        let limits = &self.config.limits;
        if request.protocols.len() > limits.protocols_per_member {
            return Some(codes::INCONSISTENT_GROUP_PROTOCOL);
        }
        let strings = [
            request.member_id.len().saturating_sub(UUID_TEXT),
            request.group_instance_id.as_ref().map_or(0, String::len),
            request.protocol_type.len(),
            caller.client_id.len(),
            caller.client_host.len(),
            request.protocols.iter().map(|p| p.name.len()).max().unwrap_or(0),
        ];
        if strings.iter().any(|len| *len > limits.string_bytes) {
            return Some(codes::INVALID_REQUEST);
        }
        let mut kept: Vec<Protocol> = Vec::with_capacity(request.protocols.len());
        for protocol in request.protocols.drain(..) {
            if kept.iter().all(|p| p.name != protocol.name) {
                kept.push(protocol);
            }
        }
        request.protocols = kept;
        // Who only asks for a member id leaves nothing behind.
        let asks_for_id = request.member_id.is_empty()
            && request.group_instance_id.is_none()
            && caller.api_version >= MEMBER_ID_REQUIRED_SINCE;
        if !asks_for_id && !self.room.take(room::of_protocols(&request.protocols)) {
            return Some(codes::COORDINATOR_NOT_AVAILABLE);
        }
        None
    }

    /// Whether the group's size admits a JoinGroup of `member_id`.
    fn accepts(&self, group: &Group, member_id: &str) -> bool {
        let max_size = self.config.max_size.min(self.config.limits.members_per_group);
        let member = group.member(member_id).map(|(_, member)| member);
        match group.state {
            GroupState::Empty => true,
            // Those who rejoin first stay; the surplus of a group over its (lowered) size is turned away.
            GroupState::PreparingRebalance => {
                member.is_some_and(|m| m.parked_join.is_some()) || group.awaiting_join < max_size
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                member.is_some() || group.members.len() < max_size
            }
        }
    }

    fn join_new_member(&mut self, group: &mut Group, ticket: Ticket, caller: &Caller, request: JoinRequest) {
        let prefix = request.group_instance_id.as_deref().unwrap_or(&caller.client_id);
        let new_id: Rc<str> = member_id(prefix, &request.new_member_uuid).into();
        if group.by_id.contains_key(&new_id) || group.pending_joins.contains_key(&new_id) {
            // The caller's random source repeats itself.
            let response = JoinResponse::error(codes::UNKNOWN_SERVER_ERROR, "");
            self.reply(ticket, Response::Join(response));
            return;
        }
        let replaced = request
            .group_instance_id
            .as_deref()
            .and_then(|id| group.by_instance.get(id))
            .copied();
        match replaced {
            Some(uid) => self.replace_static_member(group, ticket, caller, request, uid, new_id),
            None if request.group_instance_id.is_none() && caller.api_version >= MEMBER_ID_REQUIRED_SINCE => {
                if group.pending_joins.len() >= self.config.limits.pending_members_per_group {
                    let response = JoinResponse::error(codes::COORDINATOR_NOT_AVAILABLE, "");
                    self.reply(ticket, Response::Join(response));
                    return;
                }
                let mut pending = PendingJoin {
                    uid: self.next_uid(),
                    session: Deadline::default(),
                };
                let key = TimerKey::Session {
                    group: group.uid,
                    member: pending.uid,
                };
                let at = self.now_ms + i64::from(request.session_timeout_ms);
                self.timers.arm(&mut pending.session, key, at);
                let response = JoinResponse::error(codes::MEMBER_ID_REQUIRED, &new_id);
                group.add_pending(new_id, pending);
                self.reply(ticket, Response::Join(response));
            }
            None => self.add_member(group, ticket, caller, request, new_id),
        }
    }

    fn join_known_member(
        &mut self,
        group: &mut Group,
        ticket: Ticket,
        caller: &Caller,
        request: JoinRequest,
    ) {
        if group.pending_joins.contains_key(request.member_id.as_str()) {
            if request.group_instance_id.is_some() {
                // Ids are handed out in advance to dynamic members only.
                let response = JoinResponse::error(codes::UNKNOWN_SERVER_ERROR, "");
                self.reply(ticket, Response::Join(response));
                return;
            }
            let id: Rc<str> = request.member_id.as_str().into();
            self.add_member(group, ticket, caller, request, id);
            return;
        }
        let uid = match validate_member(group, &request.member_id, request.group_instance_id.as_deref()) {
            Ok(uid) => uid,
            Err(code) => {
                self.reply(
                    ticket,
                    Response::Join(JoinResponse::error(code, &request.member_id)),
                );
                return;
            }
        };
        let unchanged = group.members[&uid].protocols == request.protocols;
        let rebalance = match group.state {
            GroupState::Empty => unreachable!("an empty group has no members"),
            GroupState::PreparingRebalance => true,
            // Nothing new: the answer to the first JoinGroup may have been lost.
            GroupState::CompletingRebalance => !unchanged,
            // The leader's JoinGroup asks for a rebalance in itself, for instance because partitions were added.
            GroupState::Stable => group.is_leader(uid) || !unchanged,
        };
        if rebalance {
            group.update(
                uid,
                request.protocols,
                request.rebalance_timeout_ms,
                request.session_timeout_ms,
            );
            self.park_join(group, uid, ticket);
            self.rebalance_or_complete(group);
        } else {
            let response = join_answer(group, uid);
            self.reply(ticket, Response::Join(response));
        }
    }

    fn add_member(
        &mut self,
        group: &mut Group,
        ticket: Ticket,
        caller: &Caller,
        request: JoinRequest,
        id: Rc<str>,
    ) {
        let (uid, session) = match group.remove_pending(&id) {
            Some(pending) => (pending.uid, pending.session),
            None => (self.next_uid(), Deadline::default()),
        };
        if group.members.is_empty() {
            group.protocol_type = Some(request.protocol_type);
        }
        if group.state == GroupState::PreparingRebalance && group.previous == Some(GroupState::Empty) {
            group.new_member_added = true;
        }
        let member = Member {
            id,
            instance: request.group_instance_id.map(Into::into),
            client_id: caller.client_id.clone(),
            client_host: caller.client_host.clone(),
            session_timeout_ms: request.session_timeout_ms,
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            protocols: request.protocols,
            assignment: Bytes::new(),
            parked_join: Some(ticket),
            parked_sync: None,
            is_new: true,
            session,
        };
        group.add(uid, member);
        // Its connection is mute while the answer is parked, so a client that went away shows only by time.
        self.arm_session(group, uid, self.config.new_member_join_timeout_ms);
        self.rebalance_or_complete(group);
    }

    /// A static member returns without its member id: it takes its place over, and whoever held it is fenced.
    fn replace_static_member(
        &mut self,
        group: &mut Group,
        ticket: Ticket,
        caller: &Caller,
        request: JoinRequest,
        uid: u64,
        new_id: Rc<str>,
    ) {
        let old_leader = group.leader_id();
        let join = group.unpark_join(uid);
        let member = group.members.get_mut(&uid).expect("the index names a member");
        let sync = member.parked_sync.take();
        let rejoin = StaticRejoin {
            member: uid,
            generation: group.generation,
            new_id: new_id.clone(),
            old_id: member.id.clone(),
            old_protocols: member.protocols.clone(),
            old_rebalance_ms: member.rebalance_timeout_ms,
            old_session_ms: member.session_timeout_ms,
            old_leader,
            skips_assignment: caller.api_version >= SKIP_ASSIGNMENT_SINCE,
        };
        member.is_new = false;
        self.refuse_orphans(&rejoin.old_id, Orphans { join, sync }, codes::FENCED_INSTANCE_ID);
        group.rename(uid, new_id);
        self.rearm_session(group, uid);
        group.update(
            uid,
            request.protocols,
            request.rebalance_timeout_ms,
            request.session_timeout_ms,
        );
        self.park_join(group, uid, ticket);
        match group.state {
            GroupState::Stable if group.select_protocol() == group.protocol => {
                // Nothing changes for the others: store the new id and answer with the present generation.
                let value = group.to_record(|_, member| member.assignment.clone());
                let record = Record::group(&group.id, &value);
                self.append(Some(group), vec![record], Op::StaticRejoin(rejoin));
            }
            GroupState::Stable => self.rebalance_or_complete(group),
            // The leader may have been told the old id already, so its assignment would miss this member.
            GroupState::CompletingRebalance => self.prepare_rebalance(group),
            GroupState::PreparingRebalance => self.maybe_complete_join(group),
            GroupState::Empty => unreachable!("an empty group has no static members"),
        }
    }

    pub fn static_rejoin_stored(&mut self, group: &mut Group, rejoin: &StaticRejoin) {
        let uid = rejoin.member;
        let current = group
            .members
            .get(&uid)
            .is_some_and(|member| member.id == rejoin.new_id);
        // If a rebalance has begun meanwhile, the parked JoinGroup is part of it and is answered by it.
        if !current || group.state != GroupState::Stable || group.generation != rejoin.generation {
            return;
        }
        let Some(ticket) = group.unpark_join(uid) else {
            return;
        };
        self.rearm_session(group, uid);
        let mut response = join_answer(group, uid);
        if rejoin.skips_assignment {
            response.skip_assignment = group.is_leader(uid);
        } else {
            // An older client that found itself leader would assign anew: it is shown the leader of before.
            response.members = Vec::new();
            response.leader = rejoin.old_leader.as_deref().unwrap_or("").to_owned();
        }
        self.reply(ticket, Response::Join(response));
    }

    pub fn static_rejoin_lost(&mut self, group: &mut Group, rejoin: StaticRejoin, code: i16) {
        let uid = rejoin.member;
        let current = group
            .members
            .get(&uid)
            .is_some_and(|member| member.id == rejoin.new_id);
        // Once a rebalance has begun the client may have been told its new id, and the next generation stores it.
        if !current || group.state != GroupState::Stable || group.generation != rejoin.generation {
            return;
        }
        let ticket = group.unpark_join(uid);
        group.update(
            uid,
            rejoin.old_protocols,
            rejoin.old_rebalance_ms,
            rejoin.old_session_ms,
        );
        group.rename(uid, rejoin.old_id);
        self.rearm_session(group, uid);
        if let Some(ticket) = ticket {
            let mut response = JoinResponse::error(code, "");
            response.generation_id = group.generation;
            response.protocol_name = group.protocol.clone();
            response.protocol_type = group.protocol_type.clone();
            response.leader = rejoin.old_leader.as_deref().unwrap_or("").to_owned();
            self.reply(ticket, Response::Join(response));
        }
    }

    // ---- SyncGroup ----

    pub fn sync(&mut self, groups: &mut Groups, ticket: Ticket, request: SyncRequest) {
        let refused = |error_code| {
            Response::Sync(SyncResponse {
                error_code,
                ..SyncResponse::default()
            })
        };
        let Some(group) = groups.get_mut(request.group_id.as_str()) else {
            self.reply(ticket, refused(codes::UNKNOWN_MEMBER_ID));
            return;
        };
        let uid = match validate_sync(group, &request) {
            Ok(uid) => uid,
            Err(code) => {
                self.reply(ticket, refused(code));
                return;
            }
        };
        match group.state {
            GroupState::Empty => self.reply(ticket, refused(codes::UNKNOWN_MEMBER_ID)),
            GroupState::PreparingRebalance => self.reply(ticket, refused(codes::REBALANCE_IN_PROGRESS)),
            GroupState::CompletingRebalance => {
                let member = group.members.get_mut(&uid).expect("validated above");
                if let Some(before) = member.parked_sync.replace(ticket) {
                    self.reply(before, refused(codes::REBALANCE_IN_PROGRESS));
                }
                self.synced(group, uid);
                if group.is_leader(uid) {
                    self.store_assignment(group, &request);
                }
            }
            GroupState::Stable => {
                self.synced(group, uid);
                let response = sync_answer(group, uid);
                self.reply(ticket, Response::Sync(response));
            }
        }
    }

    fn synced(&mut self, group: &mut Group, uid: u64) {
        group.pending_sync.remove(&uid);
        if group.pending_sync.is_empty() {
            group.sync_timer.cancel();
        }
    }

    /// The leader's assignment goes to the log; members get theirs once it is there.
    fn store_assignment(&mut self, group: &mut Group, request: &SyncRequest) {
        let mut assignments = BTreeMap::new();
        for (member_id, assignment) in &request.assignments {
            if let Some(uid) = group.by_id.get(member_id.as_str()) {
                assignments.insert(*uid, assignment.clone());
            }
        }
        let value = group.to_record(|uid, _| assignments.get(&uid).cloned().unwrap_or_default());
        let record = Record::group(&group.id, &value);
        if planted(Bug::EarlyAssignment) {
            self.assignment_stored(group, request.generation_id, assignments.clone());
        }
        let op = Op::Assignment {
            generation: request.generation_id,
            assignments,
        };
        self.append(Some(group), vec![record], op);
    }

    pub fn assignment_stored(
        &mut self,
        group: &mut Group,
        generation: i32,
        mut assignments: BTreeMap<u64, Bytes>,
    ) {
        if group.state != GroupState::CompletingRebalance
            || (group.generation != generation && !planted(Bug::StaleAssignment))
        {
            return;
        }
        for (uid, member) in &mut group.members {
            member.assignment = assignments.remove(uid).unwrap_or_default();
        }
        self.answer_syncs(group, codes::NONE);
        group.transition(GroupState::Stable, self.now_ms);
        self.stats.rebalances += 1;
    }

    pub fn assignment_lost(&mut self, group: &mut Group, generation: i32, code: i16) {
        if group.state != GroupState::CompletingRebalance || group.generation != generation {
            return;
        }
        self.reset_assignments(group, code);
        self.prepare_rebalance(group);
    }

    pub fn reset_assignments(&mut self, group: &mut Group, code: i16) {
        for member in group.members.values_mut() {
            member.assignment = Bytes::new();
        }
        self.answer_syncs(group, code);
    }

    fn answer_syncs(&mut self, group: &mut Group, code: i16) {
        for uid in group.members.keys().copied().collect::<Vec<_>>() {
            let member = group.members.get_mut(&uid).expect("listed above");
            let Some(ticket) = member.parked_sync.take() else {
                continue;
            };
            let response = match code {
                codes::NONE => sync_answer(group, uid),
                code => SyncResponse {
                    error_code: code,
                    ..SyncResponse::default()
                },
            };
            self.reply(ticket, Response::Sync(response));
            // Its session was not watched while the answer was parked.
            self.rearm_session(group, uid);
        }
    }

    // ---- Heartbeat ----

    pub fn heartbeat(&mut self, groups: &mut Groups, request: &HeartbeatRequest) -> i16 {
        let Some(group) = groups.get_mut(request.group_id.as_str()) else {
            return codes::UNKNOWN_MEMBER_ID;
        };
        match validate_member(group, &request.member_id, request.group_instance_id.as_deref()) {
            Err(code) => code,
            Ok(_) if request.generation_id != group.generation => codes::ILLEGAL_GENERATION,
            Ok(uid) => {
                self.rearm_session(group, uid);
                match group.state {
                    GroupState::PreparingRebalance => codes::REBALANCE_IN_PROGRESS,
                    _ => codes::NONE,
                }
            }
        }
    }

    // ---- LeaveGroup ----

    pub fn leave(&mut self, groups: &mut Groups, ticket: Ticket, caller: &Caller, request: LeaveRequest) {
        let mut left = Vec::with_capacity(request.members.len());
        let mut token = None;
        match groups.get_mut(request.group_id.as_str()) {
            None => left.extend(request.members.iter().map(|_| codes::UNKNOWN_MEMBER_ID)),
            Some(group) => {
                for member in &request.members {
                    left.push(self.leave_one(group, &member.member_id, member.group_instance_id.as_deref()));
                }
                if left.contains(&codes::NONE) {
                    match group.state {
                        GroupState::Empty => {}
                        GroupState::PreparingRebalance => self.maybe_complete_join(group),
                        GroupState::CompletingRebalance | GroupState::Stable => self.prepare_rebalance(group),
                    }
                }
                token = self.appended;
            }
        }
        let response = if caller.api_version < 3 {
            // One member, whose error is the request's.
            LeaveResponse {
                error_code: left.first().copied().unwrap_or(codes::NONE),
                members: Vec::new(),
            }
        } else {
            let members = request
                .members
                .into_iter()
                .zip(left)
                .map(|(member, error_code)| LeftMember {
                    member_id: member.member_id,
                    group_instance_id: member.group_instance_id,
                    error_code,
                });
            LeaveResponse {
                error_code: codes::NONE,
                members: members.collect(),
            }
        };
        self.reply_after(token, ticket, Response::Leave(response));
    }

    fn leave_one(&mut self, group: &mut Group, member_id: &str, instance: Option<&str>) -> i16 {
        let leaving = if member_id.is_empty() {
            // An operator removes a static member by the name it is known by.
            instance
                .and_then(|id| group.by_instance.get(id))
                .copied()
                .ok_or(codes::UNKNOWN_MEMBER_ID)
        } else if group.remove_pending(member_id).is_some() {
            return codes::NONE;
        } else {
            validate_member(group, member_id, instance)
        };
        match leaving {
            Ok(uid) => {
                self.expel(group, uid, codes::UNKNOWN_MEMBER_ID);
                codes::NONE
            }
            Err(code) => code,
        }
    }
}

fn validate_sync(group: &Group, request: &SyncRequest) -> Result<u64, i16> {
    let uid = validate_member(group, &request.member_id, request.group_instance_id.as_deref())?;
    if request.generation_id != group.generation {
        return Err(codes::ILLEGAL_GENERATION);
    }
    let differs = |asked: &Option<String>, known: &Option<String>| matches!((asked, known), (Some(a), Some(b)) if a != b);
    if differs(&request.protocol_type, &group.protocol_type)
        || differs(&request.protocol_name, &group.protocol)
    {
        return Err(codes::INCONSISTENT_GROUP_PROTOCOL);
    }
    Ok(uid)
}

/// The present generation, as its member `uid` is told of it.
pub(super) fn join_answer(group: &Group, uid: u64) -> JoinResponse {
    JoinResponse {
        error_code: codes::NONE,
        generation_id: group.generation,
        protocol_type: group.protocol_type.clone(),
        protocol_name: group.protocol.clone(),
        leader: group.leader_id().as_deref().unwrap_or("").to_owned(),
        skip_assignment: false,
        member_id: group.members[&uid].id.to_string(),
        members: if group.is_leader(uid) {
            group.joined_members()
        } else {
            Vec::new()
        },
    }
}

fn sync_answer(group: &Group, uid: u64) -> SyncResponse {
    let uid = match group.leader {
        Some(leader) if planted(Bug::WrongAssignment) && group.state == GroupState::Stable => leader,
        _ => uid,
    };
    SyncResponse {
        error_code: codes::NONE,
        protocol_type: group.protocol_type.clone(),
        protocol_name: group.protocol.clone(),
        assignment: group.members[&uid].assignment.clone(),
    }
}

/// `prefix`, a dash, and `uuid` as hexadecimal text in groups of 8, 4, 4, 4 and 12.
pub(super) fn member_id(prefix: &str, uuid: &[u8; 16]) -> String {
    let mut id = String::with_capacity(prefix.len() + UUID_TEXT);
    id.push_str(prefix);
    for (index, byte) in uuid.iter().enumerate() {
        if matches!(index, 0 | 4 | 6 | 8 | 10) {
            id.push('-');
        }
        write!(id, "{byte:02x}").expect("writing to a string");
    }
    id
}
