//! Seeded simulation: clients that join, heartbeat, commit, leave, crash and come back over a network that delays
//! and repeats, against a coordinator whose appends are slow and sometimes fail.
//!
//! Checked at every step: the coordinator's own invariants; every ticket answered exactly once; generations only
//! grow; an assignment is the one its generation's leader made for that very member, and only after the generation
//! was committed; only present members of the present generation heartbeat and commit; offsets shown are those of
//! the committed log. At the end every client falls silent, every group must empty, every ticket be answered, and a
//! coordinator that replays the log must agree. A failure names its seed and the command that repeats it.

use super::*;
use crate::groups::planted::{Bug, PLANTED};
use crate::groups::records::{Key, Record, decode_group, decode_key, decode_offset};
use crate::groups::{Coordinator, GroupState};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A small generator of random numbers (splitmix64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

const GROUPS: [&str; 2] = ["g0", "g1"];
const CLIENTS: usize = 7;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Join,
    Joining,
    Syncing,
    Stable,
    Silent,
}

#[derive(Debug, Clone)]
struct Client {
    group: &'static str,
    instance: Option<String>,
    version: i16,
    step: Step,
    member_id: String,
    generation: i32,
    /// The ticket whose answer the client waits for; others are stale.
    expects: Option<Ticket>,
    topics: usize,
    next_offset: i64,
}

#[derive(Debug)]
enum Event {
    Deliver {
        client: usize,
        ticket: Ticket,
        request: Request,
        caller: Caller,
    },
    Answer {
        client: usize,
        ticket: Ticket,
        response: Response,
    },
    Resolve {
        token: u64,
    },
    Act {
        client: usize,
    },
}

struct Sim {
    random: Random,
    coordinator: Coordinator,
    now_ms: i64,
    queue: BTreeMap<(i64, u64), Event>,
    sequence: u64,
    clients: Vec<Client>,
    next_ticket: Ticket,
    /// Tickets delivered and not answered, with who asked what.
    open: HashMap<Ticket, (usize, Request)>,
    answered: BTreeSet<Ticket>,
    appends: HashMap<u64, Vec<Record>>,
    last_resolve_ms: i64,
    log: Vec<Record>,
    committed: BTreeMap<(String, String, i32), i64>,
    /// Generations whose record is in the log, by group.
    stored: BTreeMap<String, BTreeSet<i32>>,
    /// Assignments as leaders made them: (group, generation, instance or member id).
    made: BTreeMap<(String, i32, String), Bytes>,
    highest: BTreeMap<String, i32>,
    /// Commits that met their member in their generation.
    allowed: BTreeSet<Ticket>,
    stable_answers: u64,
}

impl Sim {
    fn new(seed: u64) -> Sim {
        let mut random = Random::new(seed);
        let mut coordinator = Coordinator::new(Config {
            initial_rebalance_delay_ms: 500,
            new_member_join_timeout_ms: 30_000,
            max_size: 6,
            ..Config::default()
        });
        coordinator.loaded(0, &mut Vec::new());
        let clients = (0..CLIENTS)
            .map(|index| Client {
                group: GROUPS[random.below(GROUPS.len() as u64) as usize],
                instance: (index % 3 == 0).then(|| format!("i{index}")),
                version: if index % 3 == 0 {
                    7 + random.below(3) as i16
                } else {
                    random.below(10) as i16
                },
                step: Step::Join,
                member_id: String::new(),
                generation: -1,
                expects: None,
                topics: 1,
                next_offset: 0,
            })
            .collect();
        let mut sim = Sim {
            random,
            coordinator,
            now_ms: 0,
            queue: BTreeMap::new(),
            sequence: 0,
            clients,
            next_ticket: 1,
            open: HashMap::new(),
            answered: BTreeSet::new(),
            appends: HashMap::new(),
            last_resolve_ms: 0,
            log: Vec::new(),
            committed: BTreeMap::new(),
            stored: BTreeMap::new(),
            made: BTreeMap::new(),
            highest: BTreeMap::new(),
            allowed: BTreeSet::new(),
            stable_answers: 0,
        };
        for client in 0..CLIENTS {
            let delay_ms = sim.random.below(2_000) as i64;
            sim.schedule(delay_ms, Event::Act { client });
        }
        sim
    }

    fn schedule(&mut self, delay_ms: i64, event: Event) {
        self.sequence += 1;
        self.queue.insert((self.now_ms + delay_ms, self.sequence), event);
    }

    fn latency(&mut self) -> i64 {
        if self.random.chance(3) {
            self.random.below(20_000) as i64
        } else {
            self.random.below(20) as i64
        }
    }

    /// Sends a request, sometimes twice. The client waits for the answer to the first copy.
    fn send(&mut self, client: usize, api_version: i16, request: Request, wait: bool) {
        let caller = Caller {
            client_id: format!("c{client}"),
            client_host: "/h".into(),
            api_version,
        };
        let copies = if self.random.chance(4) { 2 } else { 1 };
        for copy in 0..copies {
            let ticket = self.next_ticket;
            self.next_ticket += 1;
            if copy == 0 && wait {
                self.clients[client].expects = Some(ticket);
            }
            let delay_ms = self.latency();
            let (request, caller) = (request.clone(), caller.clone());
            self.schedule(
                delay_ms,
                Event::Deliver {
                    client,
                    ticket,
                    request,
                    caller,
                },
            );
        }
    }

    /// Runs to the end; panics where a promise is broken.
    fn run(mut self, steps: usize) -> u64 {
        for _ in 0..steps {
            self.step();
        }
        for client in &mut self.clients {
            client.step = Step::Silent;
        }
        let end = self.now_ms + 7_200_000;
        while self.next_event().is_some_and(|at| at <= end) {
            self.step();
        }
        self.finish();
        self.stable_answers
    }

    fn next_event(&self) -> Option<i64> {
        let queued = self.queue.keys().next().map(|(at, _)| *at);
        [queued, self.coordinator.next_deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    fn step(&mut self) {
        let Some(at) = self.next_event() else { return };
        self.now_ms = self.now_ms.max(at);
        let mut out = Vec::new();
        if self
            .coordinator
            .next_deadline()
            .is_some_and(|due| due <= self.now_ms)
        {
            self.coordinator.tick(self.now_ms, &mut out);
        } else if let Some((_, event)) = self.queue.pop_first() {
            match event {
                Event::Act { client } => self.act(client),
                Event::Answer {
                    client,
                    ticket,
                    response,
                } => self.receive(client, ticket, response),
                Event::Deliver {
                    client,
                    ticket,
                    request,
                    caller,
                } => {
                    self.before(&request, ticket);
                    self.open.insert(ticket, (client, request.clone()));
                    self.coordinator
                        .request(self.now_ms, ticket, &caller, request, &mut out);
                }
                Event::Resolve { token } => self.resolve(token, &mut out),
            }
        }
        self.absorb(out);
        self.coordinator.check();
    }

    fn resolve(&mut self, token: u64, out: &mut Vec<Effect>) {
        let records = self.appends.remove(&token).expect("resolved once");
        if self.random.chance(4) {
            self.coordinator
                .failed(self.now_ms, token, codes::REQUEST_TIMED_OUT, out);
            return;
        }
        let base = self.log.len() as i64;
        for record in &records {
            match decode_key(&record.key).expect("our own key") {
                Key::Offset {
                    group,
                    topic,
                    partition,
                } => {
                    let key = (group.to_owned(), topic.to_owned(), partition);
                    match &record.value {
                        Some(value) => {
                            self.committed
                                .insert(key, decode_offset(value).expect("our own value").offset);
                        }
                        None => {
                            self.committed.remove(&key);
                        }
                    }
                }
                Key::Group { group } => match &record.value {
                    Some(value) => {
                        let generation = decode_group(value).expect("our own value").generation;
                        self.stored
                            .entry(group.to_owned())
                            .or_default()
                            .insert(generation);
                    }
                    None => {
                        self.stored.remove(group);
                        self.highest.remove(group);
                    }
                },
                Key::Other(kind) => panic!("a record of kind {kind}"),
            }
        }
        self.log.extend(records);
        self.coordinator.committed(self.now_ms, token, base, out);
    }

    /// Notes what a request may be answered, judged by the state it meets.
    fn before(&mut self, request: &Request, ticket: Ticket) {
        if let Request::OffsetCommit(commit) = request {
            let group = self.coordinator.groups().get(commit.group_id.as_str());
            if group.is_some_and(|group| {
                group.generation == commit.generation_id && group.member(&commit.member_id).is_some()
            }) {
                self.allowed.insert(ticket);
            }
        }
        if let Request::Sync(sync) = request {
            let Some(group) = self.coordinator.groups().get(sync.group_id.as_str()) else {
                return;
            };
            let leads = group
                .member(&sync.member_id)
                .is_some_and(|(uid, _)| group.is_leader(uid));
            if !leads
                || group.generation != sync.generation_id
                || group.state != GroupState::CompletingRebalance
            {
                return;
            }
            for (member, assignment) in &sync.assignments {
                if let Some((_, member)) = group.member(member) {
                    let name = member.instance.as_deref().unwrap_or(&member.id).to_owned();
                    let key = (sync.group_id.clone(), sync.generation_id, name);
                    self.made.insert(key, assignment.clone());
                }
            }
        }
    }

    fn absorb(&mut self, out: Vec<Effect>) {
        for effect in out {
            match effect {
                Effect::Append { token, records, .. } => {
                    self.appends.insert(token, records);
                    // One log: what was appended first is decided first.
                    let delay_ms = if self.random.chance(10) {
                        self.random.below(3_000)
                    } else {
                        2
                    } as i64;
                    self.last_resolve_ms = self.last_resolve_ms.max(self.now_ms + delay_ms);
                    let delay_ms = self.last_resolve_ms - self.now_ms;
                    self.schedule(delay_ms, Event::Resolve { token });
                }
                Effect::Reply { ticket, response } => {
                    let (client, request) = self.open.remove(&ticket).expect("asked and not yet answered");
                    assert!(self.answered.insert(ticket), "ticket {ticket} answered twice");
                    self.judge(ticket, &request, &response);
                    if !self.random.chance(2) {
                        let delay_ms = self.latency();
                        self.schedule(
                            delay_ms,
                            Event::Answer {
                                client,
                                ticket,
                                response,
                            },
                        );
                    }
                }
            }
        }
    }

    /// Whether an answer may be given.
    fn judge(&mut self, ticket: Ticket, request: &Request, response: &Response) {
        match (request, response) {
            (Request::Join(asked), Response::Join(answer)) if answer.error_code == codes::NONE => {
                let highest = self.highest.entry(asked.group_id.clone()).or_default();
                assert!(
                    answer.generation_id >= *highest,
                    "generation went back: {answer:?}"
                );
                *highest = answer.generation_id;
                let group = &self.coordinator.groups()[asked.group_id.as_str()];
                let (_, member) = group.member(&answer.member_id).expect("the joined are members");
                assert_eq!(member.instance.as_deref(), asked.group_instance_id.as_deref());
            }
            (Request::Sync(asked), Response::Sync(answer)) if answer.error_code == codes::NONE => {
                let stored = self.stored.get(&asked.group_id);
                assert!(
                    stored.is_some_and(|stored| stored.contains(&asked.generation_id)),
                    "an assignment left before generation {} was stored",
                    asked.generation_id
                );
                let group = &self.coordinator.groups()[asked.group_id.as_str()];
                assert_eq!(
                    group.generation, asked.generation_id,
                    "an assignment of an old generation"
                );
                let (_, member) = group.member(&asked.member_id).expect("the synced are members");
                let name = member.instance.as_deref().unwrap_or(&member.id).to_owned();
                let made = self
                    .made
                    .get(&(asked.group_id.clone(), asked.generation_id, name));
                assert_eq!(
                    made.cloned().unwrap_or_default(),
                    answer.assignment,
                    "not its assignment"
                );
                self.stable_answers += 1;
            }
            (Request::Heartbeat(asked), Response::Heartbeat(codes::NONE | codes::REBALANCE_IN_PROGRESS)) => {
                let group = &self.coordinator.groups()[asked.group_id.as_str()];
                assert_eq!(
                    group.generation, asked.generation_id,
                    "a heartbeat of an old generation"
                );
                let (_, member) = group.member(&asked.member_id).expect("the heard are members");
                if asked.group_instance_id.is_some() {
                    assert_eq!(
                        member.instance.as_deref(),
                        asked.group_instance_id.as_deref(),
                        "not fenced"
                    );
                }
            }
            (Request::OffsetCommit(asked), Response::OffsetCommit(answer))
                if answer.topics[0].partitions[0].1 == codes::NONE =>
            {
                assert!(
                    self.allowed.contains(&ticket),
                    "a commit by no present member: {asked:?}"
                );
            }
            (Request::OffsetFetch(asked), Response::OffsetFetch(answer)) if !asked.require_stable => {
                for topic in &answer.topics {
                    for shown in &topic.partitions {
                        let key = (asked.group_id.clone(), topic.name.clone(), shown.partition);
                        let committed = self.committed.get(&key).copied().unwrap_or(-1);
                        assert_eq!(shown.offset, committed, "an offset other than the committed one");
                    }
                }
            }
            _ => {}
        }
    }

    /// A client does something of its own accord.
    fn act(&mut self, index: usize) {
        let client = self.clients[index].clone();
        if client.step == Step::Silent {
            return;
        }
        let group_id = client.group.to_owned();
        let roll = self.random.below(100);
        match client.step {
            _ if roll < 3 => {
                // It crashes and comes back as new: a static member by its instance id.
                let back = Client {
                    step: Step::Join,
                    member_id: String::new(),
                    generation: -1,
                    expects: None,
                    topics: 1 + self.random.below(2) as usize,
                    ..client
                };
                self.clients[index] = back;
            }
            Step::Join => self.join(index),
            Step::Stable if roll < 6 => {
                let members = vec![LeavingMember {
                    member_id: client.member_id.clone(),
                    group_instance_id: client.instance.clone(),
                    reason: None,
                }];
                self.send(
                    index,
                    5,
                    Request::Leave(LeaveRequest { group_id, members }),
                    false,
                );
                self.clients[index].step = Step::Join;
                self.clients[index].member_id = String::new();
            }
            Step::Stable if roll < 10 => {
                self.clients[index].topics = 1 + self.random.below(3) as usize;
                self.clients[index].step = Step::Join;
            }
            Step::Stable if roll < 40 => {
                self.clients[index].next_offset += 1;
                let mut request = commit_by(
                    &group_id,
                    &client.member_id,
                    client.generation,
                    client.next_offset,
                );
                request.group_instance_id = client.instance.clone();
                self.send(index, 8, Request::OffsetCommit(request), false);
            }
            Step::Stable if roll < 45 => {
                let request = OffsetFetchRequest {
                    group_id,
                    topics: None,
                    require_stable: self.random.chance(30),
                    ..OffsetFetchRequest::default()
                };
                self.send(index, 8, Request::OffsetFetch(request), false);
            }
            Step::Stable if roll < 46 => self.send(index, 2, Request::Delete(vec![group_id]), false),
            Step::Stable => {
                let request = HeartbeatRequest {
                    group_id,
                    generation_id: client.generation,
                    member_id: client.member_id.clone(),
                    group_instance_id: client.instance.clone(),
                };
                self.send(index, 4, Request::Heartbeat(request), true);
            }
            Step::Joining | Step::Syncing if roll < 6 => {
                // It loses patience and asks again.
                self.clients[index].step = Step::Join;
            }
            Step::Joining | Step::Syncing | Step::Silent => {}
        }
        let delay_ms = 200 + self.random.below(3_000) as i64;
        self.schedule(delay_ms, Event::Act { client: index });
    }

    fn join(&mut self, index: usize) {
        let client = self.clients[index].clone();
        let topics = ["t", "u", "v"];
        let mut uuid = [0; 16];
        uuid[..8].copy_from_slice(&self.random.next().to_be_bytes());
        let metadata = subscription(&topics[..client.topics]);
        let request = JoinRequest {
            group_id: client.group.into(),
            member_id: client.member_id,
            group_instance_id: client.instance,
            protocol_type: "consumer".into(),
            protocols: vec![
                Protocol {
                    name: "range".into(),
                    metadata: metadata.clone(),
                },
                Protocol {
                    name: "sticky".into(),
                    metadata,
                },
            ],
            session_timeout_ms: 6_000,
            rebalance_timeout_ms: 8_000,
            reason: None,
            new_member_uuid: uuid,
        };
        self.clients[index].step = Step::Joining;
        self.send(index, client.version, Request::Join(request), true);
    }

    /// A client gets an answer.
    fn receive(&mut self, index: usize, ticket: Ticket, response: Response) {
        let client = &mut self.clients[index];
        if client.expects != Some(ticket) || client.step == Step::Silent {
            return;
        }
        client.expects = None;
        match response {
            Response::Join(answer) => match answer.error_code {
                codes::NONE => {
                    client.member_id = answer.member_id.clone();
                    client.generation = answer.generation_id;
                    client.step = Step::Syncing;
                    let leads = answer.leader == answer.member_id && !answer.skip_assignment;
                    let assignments = answer.members.iter().filter(|_| leads).map(|member| {
                        let name = member.group_instance_id.as_ref().unwrap_or(&member.member_id);
                        let text = format!("{}/{}/{name}", client.group, answer.generation_id);
                        (member.member_id.clone(), Bytes::from(text))
                    });
                    let request = SyncRequest {
                        group_id: client.group.into(),
                        generation_id: answer.generation_id,
                        member_id: answer.member_id.clone(),
                        group_instance_id: client.instance.clone(),
                        protocol_type: Some("consumer".into()),
                        protocol_name: answer.protocol_name.clone(),
                        assignments: assignments.collect(),
                    };
                    self.send(index, 5, Request::Sync(request), true);
                }
                codes::MEMBER_ID_REQUIRED => {
                    client.member_id = answer.member_id;
                    self.join(index);
                }
                codes::UNKNOWN_MEMBER_ID | codes::FENCED_INSTANCE_ID => {
                    client.member_id = String::new();
                    client.step = Step::Join;
                }
                _ => client.step = Step::Join,
            },
            Response::Sync(answer) => {
                client.step = if answer.error_code == codes::NONE {
                    Step::Stable
                } else {
                    Step::Join
                };
                if matches!(
                    answer.error_code,
                    codes::UNKNOWN_MEMBER_ID | codes::FENCED_INSTANCE_ID
                ) {
                    client.member_id = String::new();
                }
            }
            Response::Heartbeat(code) => match code {
                codes::NONE => {}
                codes::UNKNOWN_MEMBER_ID | codes::FENCED_INSTANCE_ID => {
                    client.member_id = String::new();
                    client.step = Step::Join;
                }
                _ => client.step = Step::Join,
            },
            _ => {}
        }
    }

    /// All is quiet: nothing is owed, nobody is left, and the log tells the same story.
    fn finish(&self) {
        assert!(self.open.is_empty(), "never answered: {:?}", self.open);
        for (id, group) in self.coordinator.groups() {
            assert_eq!(
                group.state,
                GroupState::Empty,
                "group {id} is not empty though all clients are silent"
            );
            assert!(
                group.pending_joins.is_empty(),
                "group {id} waits for members long gone"
            );
        }
        let mut replayed = Coordinator::new(Config::default());
        for (offset, record) in self.log.iter().enumerate() {
            replayed.replay(ReplayRecord {
                offset: offset as i64,
                producer_id: None,
                key: Some(&record.key),
                value: record.value.as_deref(),
            });
        }
        replayed.loaded(self.now_ms, &mut Vec::new());
        replayed.check();
        for ((group, topic, partition), offset) in &self.committed {
            let shown = [&self.coordinator, &replayed].map(|c| c.committed_offset(group, topic, *partition));
            assert_eq!(shown, [Some(*offset); 2], "{group}/{topic}/{partition}");
        }
        let offsets = [&self.coordinator, &replayed].map(|c| c.stats().offsets);
        assert_eq!(offsets, [self.committed.len(); 2], "offsets beyond the log");
        for (id, group) in self
            .coordinator
            .groups()
            .iter()
            .filter(|(_, group)| group.visible)
        {
            // A generation that could not be stored is ahead of the log; everything else is equal.
            let stored = replayed.groups().get(id).expect("a visible group is in the log");
            assert!(
                stored.generation <= group.generation,
                "group {id} in the log is ahead"
            );
        }
    }
}

/// Runs one seed, with a bug switched on or none; the answers that reached stable members, or what was found.
fn run(seed: u64, bug: Option<Bug>) -> Result<u64, String> {
    PLANTED.set(bug);
    let result = catch_unwind(AssertUnwindSafe(|| Sim::new(seed).run(2_500)));
    PLANTED.set(None);
    result.map_err(|panic| match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => panic.downcast_ref::<&str>().unwrap_or(&"a panic").to_string(),
    })
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn clients_that_crash_and_repeat_themselves_break_no_promise() {
    let seeds = match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(200),
    };
    let mut stable_answers = 0;
    for seed in seeds {
        match run(seed, None) {
            Ok(answers) => stable_answers += answers,
            Err(found) => panic!(
                "seed {seed}: {found}\nrepeat with: SIM_SEED={seed} cargo test -p turgo-engine --lib \
                 groups::tests::sim::clients"
            ),
        }
    }
    assert!(
        stable_answers > 0,
        "no group ever became stable: the simulation shows nothing"
    );
}

#[test]
fn every_planted_bug_is_found() {
    for bug in [
        Bug::StaleAssignment,
        Bug::EarlyAssignment,
        Bug::WrongAssignment,
        Bug::NoFence,
        Bug::StaleCommit,
        Bug::EarlyOffset,
        Bug::FailedOffsetStays,
        Bug::LostJoin,
        Bug::Immortal,
        Bug::LostSync,
    ] {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let found = (0..300).find_map(|seed| run(seed, Some(bug)).err().map(|text| (seed, text)));
        std::panic::set_hook(hook);
        let (seed, text) = found.unwrap_or_else(|| panic!("{bug:?} was not found"));
        println!(
            "{bug:?}: seed {seed}: {}",
            text.chars().take(100).collect::<String>()
        );
    }
}
