//! The join phase and the deadlines: what moves a group from state to state.
//!
//! Called by `membership` after a request and by the coordinator when a deadline surfaces or an append failed.

use super::codes;
use super::coordinator::{Op, Turn};
use super::group::{Group, GroupState, JoinPhase, Orphans, Ticket};
use super::membership::join_answer;
use super::messages::{JoinResponse, Response, SyncResponse};
use super::planted::{Bug, planted};
use super::records::Record;
use super::timers::{Surfaced, TimerKey};
use bytes::Bytes;

/// Shortest wait before a join phase that nobody rejoined is looked at again, ms.
const IDLE_JOIN_PHASE_MS: i64 = 100;

impl Turn<'_> {
    // ---- the join phase ----

    pub fn rebalance_or_complete(&mut self, group: &mut Group) {
        if group.can_rebalance() {
            self.prepare_rebalance(group);
        } else {
            self.maybe_complete_join(group);
        }
    }

    /// Opens the join phase: parked syncs are told to rejoin, and everyone gets until the join timer to do so.
    pub fn prepare_rebalance(&mut self, group: &mut Group) {
        if group.state == GroupState::CompletingRebalance {
            self.reset_assignments(group, codes::REBALANCE_IN_PROGRESS);
        }
        group.pending_sync.clear();
        group.sync_timer.cancel();
        let initial = group.state == GroupState::Empty;
        group.transition(GroupState::PreparingRebalance, self.now_ms);
        if initial {
            let delay_ms = i64::from(self.config.initial_rebalance_delay_ms.max(0));
            let remaining_ms = (group.rebalance_timeout_ms() - delay_ms).max(0);
            group.new_member_added = false;
            self.arm_join(
                group,
                JoinPhase::Initial {
                    delay_ms,
                    remaining_ms,
                },
                delay_ms,
            );
        } else if group.all_joined() {
            self.complete_join(group);
        } else {
            self.arm_join(group, JoinPhase::Rejoin, group.rebalance_timeout_ms());
        }
    }

    /// Goes on with a join phase whose deadline was lost.
    pub fn resume_join_phase(&mut self, group: &mut Group) {
        self.arm_join(group, JoinPhase::Rejoin, group.rebalance_timeout_ms());
    }

    /// Closes the join phase early if everyone is there; the first rebalance of a group always waits its time.
    pub fn maybe_complete_join(&mut self, group: &mut Group) {
        if group.state == GroupState::PreparingRebalance
            && group.previous != Some(GroupState::Empty)
            && group.all_joined()
        {
            self.complete_join(group);
        }
    }

    /// Closes the join phase: dynamic members who did not rejoin are out, the rest is the next generation.
    fn complete_join(&mut self, group: &mut Group) {
        group.join_timer.cancel();
        let absent: Vec<u64> = group
            .members
            .iter()
            .filter(|(_, m)| m.parked_join.is_none() && m.instance.is_none())
            .map(|(uid, _)| *uid)
            .collect();
        for uid in absent {
            self.expel(group, uid, codes::UNKNOWN_MEMBER_ID);
        }
        if !group.elect_joined_leader() && !group.members.is_empty() {
            // Only static members are left and none came: wait on, until sessions remove them.
            let wait_ms = group.rebalance_timeout_ms().max(IDLE_JOIN_PHASE_MS);
            self.arm_join(group, JoinPhase::Rejoin, wait_ms);
            return;
        }
        group.next_generation(self.now_ms);
        if group.state == GroupState::Empty {
            let value = group.to_record(|_, _| Bytes::new());
            let record = Record::group(&group.id, &value);
            self.append(Some(group), vec![record], Op::EmptyGeneration);
            return;
        }
        // The leader is told last: what it does next, sync and perhaps rejoin, must not overtake the others' answers,
        // or their SyncGroup comes into the next rebalance and they never hear of this generation's assignment.
        let mut told: Vec<u64> = group.members.keys().copied().collect();
        told.sort_by_key(|uid| group.is_leader(*uid));
        for uid in told {
            if let Some(ticket) = group.unpark_join(uid) {
                let response = join_answer(group, uid);
                self.reply(ticket, Response::Join(response));
            }
            self.rearm_session(group, uid);
            group.members.get_mut(&uid).expect("listed above").is_new = false;
            group.pending_sync.insert(uid);
        }
        let at = self.now_ms + group.rebalance_timeout_ms();
        self.timers
            .arm(&mut group.sync_timer, TimerKey::Sync { group: group.uid }, at);
    }

    pub fn park_join(&mut self, group: &mut Group, uid: u64, ticket: Ticket) {
        if let Some(before) = group.park_join(uid, ticket)
            && !planted(Bug::LostJoin)
        {
            // The member asked again, most likely over a new connection: the older question is void.
            let id = group.members[&uid].id.clone();
            let orphans = Orphans {
                join: Some(before),
                sync: None,
            };
            self.refuse_orphans(&id, orphans, codes::REBALANCE_IN_PROGRESS);
        }
    }

    // ---- deadlines ----

    /// A deadline of a group surfaced.
    pub fn surface(&mut self, group: &mut Group, at: i64, key: TimerKey) {
        match key {
            TimerKey::Join { .. } => {
                if let Surfaced::Due = self.timers.surface(&mut group.join_timer, at, key, self.now_ms) {
                    self.join_phase_over(group);
                }
            }
            TimerKey::Sync { .. } => {
                if let Surfaced::Due = self.timers.surface(&mut group.sync_timer, at, key, self.now_ms) {
                    self.sync_wait_over(group);
                }
            }
            TimerKey::Session { member: uid, .. } => {
                if let Some(member) = group.members.get_mut(&uid) {
                    if let Surfaced::Due = self.timers.surface(&mut member.session, at, key, self.now_ms) {
                        self.session_over(group, uid);
                    }
                } else if let Some(id) = group.pending_ids.get(&uid).cloned() {
                    let pending = group
                        .pending_joins
                        .get_mut(&id)
                        .expect("the index names a pending member");
                    if let Surfaced::Due = self.timers.surface(&mut pending.session, at, key, self.now_ms) {
                        group.remove_pending(&id);
                        self.someone_gone(group);
                    }
                }
            }
            TimerKey::Consumer { .. } | TimerKey::Expiry => unreachable!("belongs to no classic group"),
        }
    }

    fn join_phase_over(&mut self, group: &mut Group) {
        match group.join_phase {
            JoinPhase::Initial {
                delay_ms,
                remaining_ms,
            } if group.new_member_added && remaining_ms > 0 => {
                // Someone came during the last step: wait another one, within the rebalance timeout.
                group.new_member_added = false;
                let next_ms = i64::from(self.config.initial_rebalance_delay_ms.max(0)).min(remaining_ms);
                let phase = JoinPhase::Initial {
                    delay_ms: next_ms,
                    remaining_ms: (remaining_ms - delay_ms).max(0),
                };
                self.arm_join(group, phase, next_ms);
            }
            _ => self.complete_join(group),
        }
    }

    /// Members that never asked for their assignment are out, and the others start over.
    fn sync_wait_over(&mut self, group: &mut Group) {
        let absent: Vec<u64> = group.pending_sync.iter().copied().collect();
        if absent.is_empty() {
            return;
        }
        for uid in absent {
            self.expel(group, uid, codes::UNKNOWN_MEMBER_ID);
        }
        self.prepare_rebalance(group);
    }

    fn session_over(&mut self, group: &mut Group, uid: u64) {
        let member = &group.members[&uid];
        let waits_for_us = member.parked_join.is_some() || member.parked_sync.is_some();
        if (waits_for_us && !member.is_new) || planted(Bug::Immortal) {
            // It cannot heartbeat while we hold its answer; its session starts again with the answer.
            return;
        }
        self.stats.expired_members += 1;
        self.expel(group, uid, codes::UNKNOWN_MEMBER_ID);
        match group.state {
            GroupState::Stable | GroupState::CompletingRebalance => self.prepare_rebalance(group),
            _ => self.someone_gone(group),
        }
    }

    fn someone_gone(&mut self, group: &mut Group) {
        if group.state == GroupState::PreparingRebalance && group.all_joined() {
            self.complete_join(group);
        }
    }

    /// Removes a member; whatever it had parked is refused with `code`.
    pub fn expel(&mut self, group: &mut Group, uid: u64, code: i16) {
        let orphans = group.remove(uid);
        self.refuse_orphans("", orphans, code);
    }

    pub fn refuse_orphans(&mut self, member_id: &str, orphans: Orphans, code: i16) {
        if let Some(ticket) = orphans.join {
            self.reply(ticket, Response::Join(JoinResponse::error(code, member_id)));
        }
        if let Some(ticket) = orphans.sync
            && !planted(Bug::LostSync)
        {
            let response = SyncResponse {
                error_code: code,
                ..SyncResponse::default()
            };
            self.reply(ticket, Response::Sync(response));
        }
    }

    /// Refuses everything members have parked, without removing them.
    pub fn refuse_parked(&mut self, group: &mut Group, code: i16) {
        for uid in group.members.keys().copied().collect::<Vec<_>>() {
            let join = group.unpark_join(uid);
            let member = group.members.get_mut(&uid).expect("listed above");
            let orphans = Orphans {
                join,
                sync: member.parked_sync.take(),
            };
            let id = member.id.clone();
            self.refuse_orphans(&id, orphans, code);
        }
    }

    /// Empties a group whose existence could not be stored.
    pub fn disband(&mut self, group: &mut Group, code: i16) {
        for uid in group.members.keys().copied().collect::<Vec<_>>() {
            self.expel(group, uid, code);
        }
        group.pending_joins.clear();
        group.pending_ids.clear();
        group.pending_sync.clear();
        group.join_timer.cancel();
        group.sync_timer.cancel();
        group.protocol = None;
        group.state = GroupState::Empty;
        group.state_since_ms = Some(self.now_ms);
    }

    /// Starts a member's session anew.
    pub fn rearm_session(&mut self, group: &mut Group, uid: u64) {
        let timeout_ms = i64::from(group.members[&uid].session_timeout_ms);
        self.arm_session(group, uid, timeout_ms);
    }

    pub fn arm_session(&mut self, group: &mut Group, uid: u64, timeout_ms: i64) {
        let key = TimerKey::Session {
            group: group.uid,
            member: uid,
        };
        let member = group.members.get_mut(&uid).expect("the member is in the group");
        self.timers
            .arm(&mut member.session, key, self.now_ms.saturating_add(timeout_ms));
    }

    fn arm_join(&mut self, group: &mut Group, phase: JoinPhase, wait_ms: i64) {
        group.join_phase = phase;
        let at = self.now_ms.saturating_add(wait_ms);
        self.timers
            .arm(&mut group.join_timer, TimerKey::Join { group: group.uid }, at);
    }
}
