//! Tests of the group coordinator, one rule each; names say the condition and the outcome.

mod consumer_sim;
mod consumers;
mod expiry;
mod fuzz;
mod membership;
mod offsets;
mod records;
mod room;
pub(in crate::groups) mod sim;
mod statics;
mod whole;

use super::messages::*;
use super::{Config, Coordinator, Effect, ReplayRecord, Ticket, codes};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

/// A coordinator with a log in memory: appends wait until a test commits or fails them.
pub struct Bench {
    pub coordinator: Coordinator,
    pub now_ms: i64,
    pub caller: Caller,
    /// Commit every append as soon as it is issued.
    pub auto_commit: bool,
    pub log: Vec<super::records::Record>,
    pub waiting: VecDeque<(u64, Vec<super::records::Record>)>,
    /// Tickets in the order of their answers.
    pub answered: Vec<Ticket>,
    answers: BTreeMap<Ticket, Response>,
    next_ticket: Ticket,
}

impl Bench {
    pub fn new() -> Bench {
        Bench::with(Config {
            initial_rebalance_delay_ms: 0,
            ..Config::default()
        })
    }

    pub fn with(config: Config) -> Bench {
        let mut coordinator = Coordinator::new(config);
        coordinator.loaded(1_000, &mut Vec::new());
        Bench {
            coordinator,
            now_ms: 1_000,
            caller: Caller {
                client_id: "app".into(),
                client_host: "/127.0.0.1".into(),
                api_version: 9,
            },
            auto_commit: true,
            log: Vec::new(),
            waiting: VecDeque::new(),
            answered: Vec::new(),
            answers: BTreeMap::new(),
            next_ticket: 1,
        }
    }

    fn absorb(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Append { token, records, .. } => {
                    self.waiting.push_back((token, records));
                }
                Effect::Reply { ticket, response } => {
                    assert!(ticket < self.next_ticket, "ticket {ticket} was never issued");
                    self.answered.push(ticket);
                    assert!(
                        self.answers.insert(ticket, response).is_none(),
                        "ticket {ticket} answered twice"
                    );
                }
            }
        }
        while self.auto_commit && !self.waiting.is_empty() {
            self.commit();
        }
        self.coordinator.check();
    }

    /// Commits the oldest append under way.
    pub fn commit(&mut self) {
        let (token, records) = self.waiting.pop_front().expect("an append is under way");
        let base = self.log.len() as i64;
        self.log.extend(records);
        let mut out = Vec::new();
        self.coordinator.committed(self.now_ms, token, base, &mut out);
        self.absorb(out);
    }

    /// Fails the oldest append under way.
    pub fn fail(&mut self, code: i16) {
        let (token, _) = self.waiting.pop_front().expect("an append is under way");
        let mut out = Vec::new();
        self.coordinator.failed(self.now_ms, token, code, &mut out);
        self.absorb(out);
    }

    pub fn send(&mut self, request: Request) -> Ticket {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let mut out = Vec::new();
        let caller = self.caller.clone();
        self.coordinator
            .request(self.now_ms, ticket, &caller, request, &mut out);
        self.absorb(out);
        ticket
    }

    pub fn answer(&mut self, ticket: Ticket) -> Option<Response> {
        self.answers.remove(&ticket)
    }

    pub fn ask(&mut self, request: Request) -> Response {
        let ticket = self.send(request);
        self.answer(ticket).expect("answered at once")
    }

    /// Moves time on, deadline by deadline.
    pub fn advance(&mut self, by_ms: i64) {
        let end = self.now_ms + by_ms;
        while let Some(at) = self.coordinator.next_deadline().filter(|at| *at <= end) {
            self.now_ms = self.now_ms.max(at);
            let mut out = Vec::new();
            self.coordinator.tick(self.now_ms, &mut out);
            self.absorb(out);
        }
        self.now_ms = end;
    }

    /// A coordinator that has replayed the log.
    pub fn reloaded(&self, config: Config) -> Coordinator {
        let mut coordinator = Coordinator::new(config);
        for (offset, record) in self.log.iter().enumerate() {
            coordinator.replay(ReplayRecord {
                offset: offset as i64,
                producer_id: None,
                key: Some(&record.key),
                value: record.value.as_deref(),
            });
        }
        coordinator.loaded(self.now_ms, &mut Vec::new());
        coordinator.check();
        assert_eq!(coordinator.stats().bad_records, 0);
        coordinator
    }

    // ---- shorthands ----

    pub fn join_answer(&mut self, ticket: Ticket) -> JoinResponse {
        match self.answer(ticket) {
            Some(Response::Join(response)) => response,
            other => panic!("no join answer but {other:?}"),
        }
    }

    pub fn sync_answer(&mut self, ticket: Ticket) -> SyncResponse {
        match self.answer(ticket) {
            Some(Response::Sync(response)) => response,
            other => panic!("no sync answer but {other:?}"),
        }
    }

    /// Asks for a member id as a client of today does.
    pub fn new_member_id(&mut self, group: &str) -> String {
        let ticket = self.send(Request::Join(join(group, "")));
        let answer = self.join_answer(ticket);
        assert_eq!(answer.error_code, codes::MEMBER_ID_REQUIRED);
        answer.member_id
    }

    /// A group of `n` dynamic members, all stable, each assigned "a<index>". Returns ids and generation.
    pub fn stable_group(&mut self, group: &str, n: usize) -> (Vec<String>, i32) {
        let ids: Vec<String> = (0..n).map(|_| self.new_member_id(group)).collect();
        let tickets: Vec<Ticket> = ids
            .iter()
            .map(|id| self.send(Request::Join(join(group, id))))
            .collect();
        self.advance(0);
        let answers: Vec<JoinResponse> = tickets.into_iter().map(|t| self.join_answer(t)).collect();
        let generation = answers[0].generation_id;
        for answer in &answers {
            assert_eq!(
                (answer.error_code, answer.generation_id),
                (codes::NONE, generation)
            );
        }
        let leader = answers[0].leader.clone();
        let mut syncs = Vec::new();
        for id in &ids {
            let mut request = sync(group, id, generation);
            if *id == leader {
                request.assignments = ids
                    .iter()
                    .enumerate()
                    .map(|(i, id)| (id.clone(), Bytes::from(format!("a{i}"))))
                    .collect();
            }
            syncs.push(self.send(Request::Sync(request)));
        }
        for (i, ticket) in syncs.into_iter().enumerate() {
            let answer = self.sync_answer(ticket);
            assert_eq!(answer.error_code, codes::NONE);
            assert_eq!(answer.assignment, Bytes::from(format!("a{i}")));
        }
        (ids, generation)
    }

    pub fn heartbeat(&mut self, group: &str, member: &str, generation: i32) -> i16 {
        let request = HeartbeatRequest {
            group_id: group.into(),
            generation_id: generation,
            member_id: member.into(),
            group_instance_id: None,
        };
        match self.ask(Request::Heartbeat(request)) {
            Response::Heartbeat(code) => code,
            other => panic!("no heartbeat answer but {other:?}"),
        }
    }

    pub fn describe(&mut self, group: &str) -> DescribedGroup {
        match self.ask(Request::Describe(vec![group.into()])) {
            Response::Describe(mut groups) => groups.pop().expect("one group"),
            other => panic!("no description but {other:?}"),
        }
    }

    pub fn state(&mut self, group: &str) -> &'static str {
        self.describe(group).group_state
    }

    pub fn leave(&mut self, group: &str, member: &str) -> i16 {
        let members = vec![LeavingMember {
            member_id: member.into(),
            group_instance_id: None,
            reason: None,
        }];
        match self.ask(Request::Leave(LeaveRequest {
            group_id: group.into(),
            members,
        })) {
            Response::Leave(response) if response.error_code != codes::NONE => response.error_code,
            Response::Leave(response) => response.members[0].error_code,
            other => panic!("no leave answer but {other:?}"),
        }
    }

    pub fn commit_as(&mut self, request: OffsetCommitRequest) -> i16 {
        match self.ask(Request::OffsetCommit(request)) {
            Response::OffsetCommit(response) => response.topics[0].partitions[0].1,
            other => panic!("no commit answer but {other:?}"),
        }
    }

    /// The committed offset of partition 0 of topic "t", or the partition's error.
    pub fn fetch(&mut self, group: &str) -> Result<i64, i16> {
        let topics = Some(vec![FetchTopic {
            name: "t".into(),
            topic_id: [0; 16],
            partitions: vec![0],
        }]);
        let request = OffsetFetchRequest {
            group_id: group.into(),
            topics,
            require_stable: false,
            ..OffsetFetchRequest::default()
        };
        match self.ask(Request::OffsetFetch(request)) {
            Response::OffsetFetch(response) => {
                let partition = &response.topics[0].partitions[0];
                if partition.error_code == codes::NONE {
                    Ok(partition.offset)
                } else {
                    Err(partition.error_code)
                }
            }
            other => panic!("no fetch answer but {other:?}"),
        }
    }
}

/// Metadata of a consumer that reads `topics`.
pub fn subscription(topics: &[&str]) -> Bytes {
    let mut out = vec![0, 1];
    out.extend_from_slice(&(topics.len() as i32).to_be_bytes());
    for topic in topics {
        out.extend_from_slice(&(topic.len() as i16).to_be_bytes());
        out.extend_from_slice(topic.as_bytes());
    }
    out.extend_from_slice(&(-1i32).to_be_bytes());
    // No partitions owned.
    out.extend_from_slice(&0i32.to_be_bytes());
    out.into()
}

/// Sixteen bytes that differ from call to call.
pub fn fresh_uuid() -> [u8; 16] {
    use std::cell::Cell;
    thread_local!(static NEXT: Cell<u128> = const { Cell::new(1) });
    NEXT.with(|next| {
        next.set(next.get() + 1);
        next.get().to_be_bytes()
    })
}

pub fn join(group: &str, member: &str) -> JoinRequest {
    JoinRequest {
        group_id: group.into(),
        member_id: member.into(),
        group_instance_id: None,
        protocol_type: "consumer".into(),
        protocols: vec![Protocol {
            name: "range".into(),
            metadata: subscription(&["t"]),
        }],
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        reason: None,
        new_member_uuid: fresh_uuid(),
    }
}

pub fn sync(group: &str, member: &str, generation: i32) -> SyncRequest {
    SyncRequest {
        group_id: group.into(),
        generation_id: generation,
        member_id: member.into(),
        group_instance_id: None,
        protocol_type: Some("consumer".into()),
        protocol_name: Some("range".into()),
        assignments: Vec::new(),
    }
}

/// A commit of `offset` for partition 0 of topic "t", by nobody in particular.
pub fn commit(group: &str, offset: i64) -> OffsetCommitRequest {
    OffsetCommitRequest {
        group_id: group.into(),
        topics: vec![CommitTopic {
            name: "t".into(),
            topic_id: [0; 16],
            partitions: vec![CommitPartition {
                partition: 0,
                offset,
                leader_epoch: -1,
                metadata: None,
            }],
        }],
        ..OffsetCommitRequest::default()
    }
}

pub fn commit_by(group: &str, member: &str, generation: i32, offset: i64) -> OffsetCommitRequest {
    OffsetCommitRequest {
        member_id: member.into(),
        generation_id: generation,
        ..commit(group, offset)
    }
}
