//! Members of the classic protocol in a consumer group.
//!
//! Their epoch is what they know as generation. JoinGroup takes the part of a heartbeat that brings news: it says what
//! the member reads and holds, and moves it as far as it can go; it is answered at once, by its member alone. SyncGroup
//! hands out what the member holds. Heartbeat says REBALANCE_IN_PROGRESS when there is something to rejoin for.

use super::group::{ClassicMeta, Current, Member, MemberState, Meta};
use super::heartbeat::{Speaker, fenced_instance, unknown_instance, unknown_member};
use super::protocol;
use super::work::{Waiting, Work};
use super::{MigrationPolicy, Refusal};
use crate::groups::codes;
use crate::groups::coordinator::{Groups, Turn};
use crate::groups::group::Ticket;
use crate::groups::membership::{MEMBER_ID_REQUIRED_SINCE, member_id};
use crate::groups::messages::{
    Caller, HeartbeatRequest, JoinRequest, JoinResponse, LeaveRequest, LeaveResponse, LeftMember, Request,
    Response, SyncRequest, SyncResponse,
};
use crate::groups::timers::Wait;
use std::collections::BTreeSet;
use std::rc::Rc;

impl Turn<'_> {
    /// A classic request that meets a consumer group. Hands it back when the group makes room for a classic one.
    pub fn classic_request(
        &mut self,
        groups: &mut Groups,
        work: &mut Work,
        ticket: Ticket,
        asked: Box<(Caller, Request)>,
    ) -> Option<Waiting> {
        if matches!(asked.1, Request::Join(_)) && work.group().members.is_empty() {
            self.remove_consumer_group(groups, work);
            return Some(Waiting::Request(ticket, asked));
        }
        let (caller, request) = *asked;
        let mark = work.mark();
        let response = match request {
            Request::Join(mut request) => {
                let worked = match self.refuse_oversized(&caller, &mut request) {
                    Some(code) => Err(Refusal::new(code, "Too long or too much.")),
                    None => self.classic_join(groups, work, &caller, &request),
                };
                Response::Join(worked.unwrap_or_else(|refusal| {
                    self.roll_back(groups, work, mark);
                    match refusal.code {
                        // In place of words: the id to come back with.
                        codes::MEMBER_ID_REQUIRED => JoinResponse::error(refusal.code, &refusal.message),
                        code => JoinResponse::error(code, &request.member_id),
                    }
                }))
            }
            Request::Sync(request) => {
                let worked = self.classic_sync(work, &request);
                Response::Sync(worked.unwrap_or_else(|refusal| SyncResponse {
                    error_code: refusal.code,
                    ..SyncResponse::default()
                }))
            }
            Request::Heartbeat(request) => {
                let worked = self.classic_heartbeat(work, &request);
                Response::Heartbeat(worked.map_or_else(|refusal| refusal.code, |()| codes::NONE))
            }
            Request::Leave(request) => Response::Leave(self.classic_leave(groups, work, &caller, request)),
            _ => unreachable!("only these come here"),
        };
        work.replies.push((ticket, response));
        None
    }

    fn classic_join(
        &mut self,
        groups: &mut Groups,
        work: &mut Work,
        caller: &Caller,
        request: &JoinRequest,
    ) -> Result<JoinResponse, Refusal> {
        let group_id = work.id.clone();
        if self.config.consumer.migration == MigrationPolicy::Disabled {
            return Err(Refusal::new(
                codes::INCONSISTENT_GROUP_PROTOCOL,
                format!(
                    "Cannot join the consumer group {group_id} with the classic protocol because the group migration \
                     is disabled."
                ),
            ));
        }
        let is_unknown = request.member_id.is_empty();
        let id: Rc<str> = if is_unknown {
            let prefix = request.group_instance_id.as_deref().unwrap_or(&caller.client_id);
            member_id(prefix, &request.new_member_uuid).into()
        } else {
            request.member_id.as_str().into()
        };
        self.refuse_if_full(work.group(), &id)?;
        if !work.group().supports(&request.protocol_type, &request.protocols) {
            return Err(Refusal::new(
                codes::INCONSISTENT_GROUP_PROTOCOL,
                format!("Member {id}'s protocols are not supported."),
            ));
        }
        let first = request
            .protocols
            .first()
            .expect("a supported member speaks something");
        if is_unknown && request.group_instance_id.is_none() && caller.api_version >= MEMBER_ID_REQUIRED_SINCE
        {
            return Err(Refusal::new(codes::MEMBER_ID_REQUIRED, id.to_string()));
        }
        let told = protocol::subscription(&first.metadata, self.cluster).ok_or_else(|| {
            Refusal::new(
                codes::UNKNOWN_SERVER_ERROR,
                "Malformed embedded consumer protocol in subscription deserialization.",
            )
        })?;
        let mut replaced = None;
        if let Some(instance) = request.group_instance_id.as_deref() {
            match work.group().by_instance.get(instance).cloned() {
                Some(holder) if is_unknown => replaced = Some(holder),
                Some(holder) if holder != id => return Err(fenced_instance(&id, instance, &holder)),
                Some(_) => {}
                None if is_unknown => {}
                None => return Err(unknown_instance(instance)),
            }
        }
        let downgrade = replaced
            .as_deref()
            .is_some_and(|holder| self.is_last_of_its_kind(work.group(), holder));
        if let Some(holder) = &replaced {
            self.take_over(work, holder, &id);
        }
        let before = work.group().members.get(&id).map(Member::meta);
        let base = before.as_deref().cloned().unwrap_or_default();
        let meta = Meta {
            instance: request
                .group_instance_id
                .as_deref()
                .map(Rc::from)
                .or(base.instance),
            rack: told.rack.or(base.rack),
            client_id: caller.client_id.clone(),
            client_host: caller.client_host.clone(),
            topics: told.topics.iter().map(|topic| Rc::from(topic.as_str())).collect(),
            regex: "".into(),
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            assignor: base.assignor,
            classic: Some(Rc::new(ClassicMeta {
                session_timeout_ms: request.session_timeout_ms,
                protocols: request.protocols.clone(),
            })),
        };
        let speaker = Speaker {
            id: id.clone(),
            before,
        };
        let effect = self.note_member(work, &speaker, Some(meta))?;
        self.raise_epoch(work, effect.bump);
        let mut epoch = work.group().epoch();
        let mut downgraded = false;
        if downgrade {
            let rebalance = work.group().target_epoch() < epoch;
            if !rebalance {
                let now = self.move_member(work, &id, Some(&told.owned), effect.resubscribed)?;
                epoch = now.epoch;
            }
            downgraded = self.downgrade(groups, work, &BTreeSet::new(), rebalance);
        }
        if !downgraded {
            self.renew_target(work);
            let now = self.move_member(work, &id, Some(&told.owned), effect.resubscribed)?;
            epoch = now.epoch;
            let group = work.group();
            self.rearm_consumer_session(group, &id);
            group
                .members
                .get_mut(&id)
                .expect("it has just joined")
                .join
                .cancel();
            self.arm_consumer(group, &id, Wait::Sync);
        }
        Ok(JoinResponse {
            error_code: codes::NONE,
            generation_id: epoch,
            protocol_type: Some("consumer".into()),
            protocol_name: Some(first.name.clone()),
            // Nobody leads: nobody is to assign.
            leader: String::new(),
            skip_assignment: false,
            member_id: id.to_string(),
            members: Vec::new(),
        })
    }

    /// The classic member a request comes from, in its present generation.
    fn classic_member(
        &self,
        work: &mut Work,
        id: &str,
        instance: Option<&str>,
        generation: i32,
    ) -> Result<(Rc<str>, Rc<Current>), Refusal> {
        let group = work.group();
        if let Some(instance) = instance {
            match group.by_instance.get(instance) {
                None => {
                    return Err(Refusal::new(
                        codes::UNKNOWN_MEMBER_ID,
                        format!(
                            "Member with instance id {instance} is not a member of group {}.",
                            group.id
                        ),
                    ));
                }
                Some(holder) if &**holder != id => return Err(fenced_instance(id, instance, holder)),
                Some(_) => {}
            }
        }
        let Some((id, member)) = group.members.get_key_value(id) else {
            return Err(unknown_member(id, &group.id));
        };
        if member.classic().is_none() {
            return Err(Refusal::new(
                codes::UNKNOWN_MEMBER_ID,
                format!("Member {id} does not use the classic protocol."),
            ));
        }
        let current = member.current();
        if current.epoch != generation {
            return Err(Refusal::new(
                codes::ILLEGAL_GENERATION,
                format!(
                    "The request generation id {generation} is not equal to the member epoch {} of member {id}.",
                    current.epoch
                ),
            ));
        }
        Ok((id.clone(), current))
    }

    fn classic_sync(&mut self, work: &mut Work, request: &SyncRequest) -> Result<SyncResponse, Refusal> {
        let instance = request.group_instance_id.as_deref();
        let (id, current) = self.classic_member(work, &request.member_id, instance, request.generation_id)?;
        let cluster = self.cluster;
        let group = work.group();
        let meta = group.members[&id].meta();
        let spoken = meta
            .classic
            .as_ref()
            .and_then(|classic| classic.protocols.first())
            .expect("a classic member speaks something");
        let differs = |told: &Option<String>, known: &str| told.as_deref().is_some_and(|told| told != known);
        if differs(&request.protocol_type, "consumer") || differs(&request.protocol_name, &spoken.name) {
            return Err(Refusal::new(
                codes::INCONSISTENT_GROUP_PROTOCOL,
                format!("The protocol of member {id}'s request is not the one of its join response."),
            ));
        }
        if group.target_epoch() > current.epoch && current.state != MemberState::Unrevoked {
            self.expect_join(work, &id);
            return Err(Refusal::new(
                codes::REBALANCE_IN_PROGRESS,
                format!("A new rebalance is triggered and member {id} should rejoin to catch up."),
            ));
        }
        group.members.get_mut(&id).expect("looked up above").sync.cancel();
        self.rearm_consumer_session(group, &id);
        let version = protocol::version(&spoken.metadata).unwrap_or(0);
        let held = current
            .assigned
            .iter()
            .map(|(topic, held)| (topic, held.keys().copied().collect()));
        Ok(SyncResponse {
            error_code: codes::NONE,
            protocol_type: request.protocol_type.clone(),
            protocol_name: request.protocol_name.clone(),
            assignment: protocol::encode_assignment(held, version, cluster),
        })
    }

    fn classic_heartbeat(&mut self, work: &mut Work, request: &HeartbeatRequest) -> Result<(), Refusal> {
        let instance = request.group_instance_id.as_deref();
        let (id, current) = self.classic_member(work, &request.member_id, instance, request.generation_id)?;
        let group = work.group();
        self.rearm_consumer_session(group, &id);
        let waits_in_vain = || {
            let target = group.target(&id).cloned().unwrap_or_default();
            target.iter().any(|(topic, partitions)| {
                let held = current.assigned.get(topic);
                partitions.iter().any(|partition| {
                    held.is_none_or(|held| !held.contains_key(partition))
                        && group.holders(topic, *partition) > 0
                })
            })
        };
        let rejoin = current.epoch < group.target_epoch()
            || current.state == MemberState::Unrevoked
            || (current.state == MemberState::Unreleased && !waits_in_vain());
        if rejoin {
            self.expect_join(work, &id);
            return Err(Refusal::new(
                codes::REBALANCE_IN_PROGRESS,
                "The member should rejoin.",
            ));
        }
        Ok(())
    }

    /// From now on the member has its rebalance timeout to rejoin.
    fn expect_join(&mut self, work: &mut Work, id: &Rc<str>) {
        let group = work.group();
        if group.members[id].join.at().is_none() {
            self.arm_consumer(group, id, Wait::Join);
        }
    }

    fn classic_leave(
        &mut self,
        groups: &mut Groups,
        work: &mut Work,
        caller: &Caller,
        request: LeaveRequest,
    ) -> LeaveResponse {
        let group = work.group();
        let mut leaving = BTreeSet::new();
        let mut members = Vec::with_capacity(request.members.len());
        for asked in request.members {
            let found = match asked.group_instance_id.as_deref() {
                None => group
                    .members
                    .get_key_value(asked.member_id.as_str())
                    .map(|(id, _)| id),
                Some(instance) => group.by_instance.get(instance),
            };
            let error_code = match found {
                None => codes::UNKNOWN_MEMBER_ID,
                Some(id)
                    if asked.group_instance_id.is_some()
                        && !asked.member_id.is_empty()
                        && **id != *asked.member_id =>
                {
                    codes::FENCED_INSTANCE_ID
                }
                Some(id) => {
                    leaving.insert(id.clone());
                    codes::NONE
                }
            };
            members.push(LeftMember {
                member_id: asked.member_id,
                group_instance_id: asked.group_instance_id,
                error_code,
            });
        }
        self.fence(groups, work, &leaving);
        if caller.api_version < 3 {
            // One member, whose error is the request's.
            return LeaveResponse {
                error_code: members.first().map_or(codes::NONE, |member| member.error_code),
                members: Vec::new(),
            };
        }
        LeaveResponse {
            error_code: codes::NONE,
            members,
        }
    }
}
