//! Seeded simulation of consumer groups: members of both protocols that join, leave, crash, hang, change their minds
//! and lose heartbeats, while topics come, grow and go, appends are slow and fail, and the coordinator is reloaded.
//!
//! Checked at every step: the coordinator's own invariants; **no partition is held by two members at a time**, judged
//! by what members were told, have given up and may still believe; a member is told nothing that is not in the log;
//! epochs do not go back. At the end the world calms down: within a bounded number of heartbeats every partition must
//! be held by exactly one of its readers, evenly, and a coordinator that replays the log must agree.
//!
//! A member believes in its assignment until its session would be over, counted from when it sent the last heartbeat
//! that was answered well, and until its time to give up partitions is over. Requests of one member arrive in the order
//! sent, as over a connection; each may arrive twice, or its answer not at all.

mod clients;

use super::sim::Random;
use super::*;
use crate::groups::consumer::cluster::{Cluster, Table};
use crate::groups::consumer::{ConsumerConfig, TopicId, records as consumer_records};
use crate::groups::planted::{Bug, PLANTED};
use crate::groups::records::{Key, Record, decode_key};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use turgo_net::messages::consumer_group_current_member_assignment_record::ConsumerGroupCurrentMemberAssignmentValue;
use turgo_net::messages::consumer_protocol::{
    AssignmentTopicPartition, ConsumerProtocolAssignment, ConsumerProtocolSubscription,
};
use turgo_net::messages::{decode_versioned, encode_versioned};

const GROUPS: [&str; 2] = ["g0", "g1"];
const CLIENTS: usize = 8;
const TOPICS: [&str; 4] = ["a1", "a2", "b1", "b2"];
const SESSION_MS: i64 = 10_000;
const REBALANCE_MS: i64 = 30_000;
const PATIENCE_MS: i64 = 2_000;

type Partition = (TopicId, i32);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Out of the group.
    Out,
    /// In the group, or on the way in.
    In,
    /// Of the classic protocol: SyncGroup comes next.
    Joined,
}

#[derive(Debug, Clone)]
struct Client {
    group: &'static str,
    classic: bool,
    instance: Option<String>,
    member_id: String,
    /// Member epoch or generation.
    epoch: i32,
    step: Step,
    held: BTreeSet<Partition>,
    wanted: BTreeSet<Partition>,
    /// When giving up is done, and when it must be.
    revoked_ms: i64,
    revoke_by_ms: i64,
    /// When the last heartbeat that was answered well was sent.
    lease_ms: i64,
    /// The request whose answer is awaited, and when it was sent.
    asked: Option<(Ticket, i64)>,
    /// Everything is to be told with the next heartbeat.
    full: bool,
    topics: Vec<&'static str>,
    regex: Option<&'static str>,
    /// Requests arrive after this time.
    channel_ms: i64,
}

impl Client {
    fn gives_up(&self) -> bool {
        self.held.iter().any(|p| !self.wanted.contains(p))
    }

    /// Whether it may believe in what it holds.
    fn believes(&self, now_ms: i64) -> bool {
        now_ms < self.lease_ms + SESSION_MS && (!self.gives_up() || now_ms < self.revoke_by_ms)
    }

    fn drop_all(&mut self) {
        self.held.clear();
        self.wanted.clear();
    }
}

#[derive(Debug)]
enum Event {
    Act(usize),
    Deliver(usize, Ticket, Box<Request>),
    Answer(usize, Ticket, Box<Response>),
    Resolve(u64),
    Topics,
    Reload,
}

struct Sim {
    random: Random,
    table: Rc<RefCell<Table>>,
    config: Config,
    coordinator: Coordinator,
    now_ms: i64,
    queue: BTreeMap<(i64, u64), Event>,
    sequence: u64,
    clients: Vec<Client>,
    next_ticket: Ticket,
    next_topic: u64,
    open: HashMap<Ticket, (usize, Request)>,
    appends: BTreeMap<u64, Vec<Record>>,
    last_resolve_ms: i64,
    log: Vec<Record>,
    /// What the log says or said that members hold: group, member. One batch may move a member and remove it.
    stored: BTreeMap<(String, String), Vec<(i32, BTreeSet<Partition>)>>,
    epochs: BTreeMap<String, i32>,
    calm: bool,
    /// Partitions that changed hands.
    taken: u64,
}

fn config() -> Config {
    Config {
        initial_rebalance_delay_ms: 500,
        consumer: ConsumerConfig {
            session_timeout_ms: SESSION_MS as i32,
            heartbeat_interval_ms: 1_000,
            assignment_interval_ms: 200,
            regex_refresh_min_ms: 2_000,
            ..ConsumerConfig::default()
        },
        ..Config::default()
    }
}

impl Sim {
    fn new(seed: u64) -> Sim {
        let mut random = Random::new(seed);
        let table = Rc::new(RefCell::new(Table::default()));
        table.borrow_mut().put(TOPICS[0], 1, 4);
        table.borrow_mut().put(TOPICS[1], 2, 3);
        let config = config();
        let mut coordinator = Coordinator::in_cluster(config.clone(), table.clone());
        coordinator.loaded(0, &mut Vec::new());
        // A third of the seeds has members of the consumer protocol only, another few classic ones.
        let classic_percent = [0, 25, 60][seed as usize % 3];
        let clients = (0..CLIENTS)
            .map(|index| Client {
                group: GROUPS[usize::from(index % 4 == 3)],
                classic: random.below(100) < classic_percent,
                instance: (index % 3 == 0).then(|| format!("i{index}")),
                member_id: String::new(),
                epoch: 0,
                step: Step::Out,
                held: BTreeSet::new(),
                wanted: BTreeSet::new(),
                revoked_ms: 0,
                revoke_by_ms: i64::MAX,
                lease_ms: 0,
                asked: None,
                full: true,
                topics: vec![TOPICS[0]],
                regex: None,
                channel_ms: 0,
            })
            .collect();
        let mut sim = Sim {
            random,
            table,
            config,
            coordinator,
            now_ms: 1_000,
            queue: BTreeMap::new(),
            sequence: 0,
            clients,
            next_ticket: 1,
            next_topic: 3,
            open: HashMap::new(),
            appends: BTreeMap::new(),
            last_resolve_ms: 0,
            log: Vec::new(),
            stored: BTreeMap::new(),
            epochs: BTreeMap::new(),
            calm: false,
            taken: 0,
        };
        for client in 0..CLIENTS {
            let delay_ms = sim.random.below(3_000) as i64;
            sim.schedule(delay_ms, Event::Act(client));
        }
        sim.schedule(5_000, Event::Topics);
        sim.schedule(20_000, Event::Reload);
        sim
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.random.below(100) < percent
    }

    fn schedule(&mut self, delay_ms: i64, event: Event) {
        self.sequence += 1;
        self.queue.insert((self.now_ms + delay_ms, self.sequence), event);
    }

    fn latency(&mut self) -> i64 {
        if !self.calm && self.chance(3) {
            self.random.below(6_000) as i64
        } else {
            self.random.below(20) as i64
        }
    }

    fn run(mut self, steps: usize) -> u64 {
        for _ in 0..steps {
            self.step();
        }
        self.settle();
        self.finish();
        self.taken
    }

    /// No more trouble; groups must come to rest within this many heartbeats of everyone.
    fn settle(&mut self) {
        self.calm = true;
        // Sessions of members that are gone, the time to give partitions up, and the longest interval of a pattern.
        let end = self.now_ms + SESSION_MS + REBALANCE_MS + 40_000;
        while self.next_event().is_some_and(|at| at <= end) {
            self.step();
        }
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
                Event::Act(client) => self.act(client),
                Event::Answer(client, ticket, response) => self.receive(client, ticket, *response),
                Event::Deliver(client, ticket, request) => {
                    self.open.insert(ticket, (client, (*request).clone()));
                    let caller = Caller {
                        client_id: format!("c{client}"),
                        client_host: "/h".into(),
                        api_version: match &*request {
                            Request::ConsumerHeartbeat(_) => 1,
                            Request::OffsetCommit(_) => 9,
                            _ => 5,
                        },
                    };
                    self.coordinator
                        .request(self.now_ms, ticket, &caller, *request, &mut out);
                }
                Event::Resolve(token) => self.resolve(token, &mut out),
                Event::Topics => self.change_topics(),
                Event::Reload => self.reload(&mut out),
            }
        }
        self.absorb(out);
        self.coordinator.check();
        for group in self.coordinator.consumers().groups.values() {
            group.check_own();
        }
    }

    fn absorb(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Append { token, records, .. } => {
                    self.appends.insert(token, records);
                    // Appends end in the order of issue.
                    let delay_ms = if self.chance(10) {
                        self.random.below(400)
                    } else {
                        self.random.below(8)
                    };
                    let at = (self.now_ms + delay_ms as i64).max(self.last_resolve_ms);
                    self.last_resolve_ms = at;
                    self.schedule(at - self.now_ms, Event::Resolve(token));
                }
                Effect::Reply { ticket, response } => {
                    let (client, request) = self.open.remove(&ticket).expect("answered once");
                    self.judge(&request, &response);
                    if self.calm || !self.chance(5) {
                        let delay_ms = self.latency();
                        self.schedule(delay_ms, Event::Answer(client, ticket, Box::new(response)));
                    }
                }
            }
        }
    }

    /// Whether what is told is in the log.
    fn judge(&mut self, request: &Request, response: &Response) {
        let (Request::ConsumerHeartbeat(asked), Response::ConsumerHeartbeat(answer)) = (request, response)
        else {
            return;
        };
        if answer.error_code != codes::NONE || answer.member_epoch < 0 {
            return;
        }
        let key = (
            asked.group_id.clone(),
            answer.member_id.clone().expect("a member id"),
        );
        let told = answer.assignment.as_deref().map(flat);
        let is_stored = self
            .stored
            .get(&key)
            .into_iter()
            .flatten()
            .rev()
            .any(|(epoch, held)| {
                *epoch == answer.member_epoch && told.as_ref().is_none_or(|told| told == held)
            });
        assert!(is_stored, "told of what is not in the log: {answer:?}");
    }

    fn resolve(&mut self, token: u64, out: &mut Vec<Effect>) {
        // Of an earlier coordinator.
        let Some(records) = self.appends.remove(&token) else {
            return;
        };
        if !self.calm && self.chance(4) {
            self.coordinator
                .failed(self.now_ms, token, codes::REQUEST_TIMED_OUT, out);
            return;
        }
        let base = self.store(records);
        self.coordinator.committed(self.now_ms, token, base, out);
    }

    fn store(&mut self, records: Vec<Record>) -> i64 {
        let base = self.log.len() as i64;
        for record in &records {
            let Key::Other(kind) = decode_key(&record.key).expect("our own key") else {
                continue;
            };
            let mut reader = turgo_net::Reader::new(&record.key[2..]);
            let group = reader.str(false).expect("a group").into_owned();
            match (kind, &record.value) {
                (3, Some(value)) => {
                    let epoch = i32::from_be_bytes(value[2..6].try_into().expect("an epoch"));
                    let before = self.epochs.insert(group, epoch).unwrap_or(0);
                    assert!(epoch >= before, "the group's epoch went back");
                }
                (3, None) => {
                    self.epochs.remove(&group);
                }
                (8, value) => {
                    let key = (group, reader.str(false).expect("a member").into_owned());
                    if let Some(value) = value {
                        let value: ConsumerGroupCurrentMemberAssignmentValue =
                            decode_versioned(value).expect("our own value");
                        let held = value
                            .assigned_partitions
                            .iter()
                            .flat_map(|t| t.partitions.iter().map(|p| (t.topic_id.0, *p)))
                            .collect();
                        self.stored
                            .entry(key)
                            .or_default()
                            .push((value.member_epoch, held));
                    }
                }
                _ => {}
            }
        }
        self.log.extend(records);
        base
    }

    /// The broker dies and comes back: some of what was under way had reached the log.
    fn reload(&mut self, out: &mut Vec<Effect>) {
        if !self.calm {
            let delay_ms = 5_000 + self.random.below(60_000) as i64;
            self.schedule(delay_ms, Event::Reload);
            self.coordinator.resign(out);
            let mut lost = false;
            for (_, records) in std::mem::take(&mut self.appends) {
                lost |= self.chance(50);
                if !lost {
                    self.store(records);
                }
            }
            self.coordinator = self.replayed();
            let first = self.replay_token();
            self.coordinator.skip_tokens(first);
        }
    }

    /// A number above all tokens used, so that reports to an earlier coordinator are told apart.
    fn replay_token(&self) -> u64 {
        self.sequence << 20
    }

    fn replayed(&self) -> Coordinator {
        let mut coordinator = Coordinator::in_cluster(self.config.clone(), self.table.clone());
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

    fn change_topics(&mut self) {
        if self.calm {
            return;
        }
        let name = TOPICS[self.random.below(TOPICS.len() as u64) as usize];
        let known = self.table.topic(name);
        let mut created = false;
        match known {
            None => {
                created = true;
                self.next_topic += 1;
                let partitions = 1 + self.random.below(4) as i32;
                self.table.borrow_mut().put(name, self.next_topic, partitions);
            }
            Some(_) if self.chance(40) => self.table.borrow_mut().remove(name),
            Some(found) if found.partitions < 8 => {
                let mut table = self.table.borrow_mut();
                table.topics.get_mut(name).expect("looked up").partitions += 1;
                table.version += 1;
            }
            Some(_) => {}
        }
        self.coordinator.topics_changed(created);
        let delay_ms = 1_000 + self.random.below(25_000) as i64;
        self.schedule(delay_ms, Event::Topics);
    }

    fn finish(&self) {
        assert!(self.open.is_empty(), "never answered: {:?}", self.open);
        for group in GROUPS {
            let members: Vec<&Client> = self.clients.iter().filter(|c| c.group == group).collect();
            let reads = |client: &Client, name: &str| match client.regex {
                Some("a.*") => name.starts_with('a'),
                Some("b.") => name.starts_with('b'),
                Some("[ab]1") => name.ends_with('1'),
                Some(other) => panic!("pattern {other}"),
                None => client.topics.contains(&name),
            };
            // In a classic group the members themselves would have to look at the topics; ours do not.
            let Some(known) = self.coordinator.consumers().groups.get(group) else {
                continue;
            };
            for (name, topic) in &self.table.borrow().topics {
                let readers: Vec<&&Client> = members.iter().filter(|c| reads(c, name)).collect();
                for partition in 0..topic.partitions {
                    let holders = members.iter().filter(|c| c.held.contains(&(topic.id, partition)));
                    let expected = usize::from(!readers.is_empty());
                    assert_eq!(
                        holders.count(),
                        expected,
                        "{group}: holders of {name}-{partition}: {members:#?}"
                    );
                }
            }
            assert_eq!(known.phase().name(), "Stable", "{group} did not come to rest");
            let ids: Vec<_> = known.members.keys().collect();
            assert_eq!(
                ids.len(),
                members.len(),
                "{group} has the members {ids:?}, not {members:#?}"
            );
            let alike = members
                .windows(2)
                .all(|w| (&w[0].topics, w[0].regex) == (&w[1].topics, w[1].regex));
            let sizes: Vec<usize> = members.iter().map(|c| c.held.len()).collect();
            let spread = sizes.iter().max().unwrap_or(&0) - sizes.iter().min().unwrap_or(&0);
            assert!(!alike || spread <= 1, "{group} is uneven: {sizes:?}");
        }
        let replayed = self.replayed();
        let shown = |coordinator: &Coordinator| {
            let of = |group: &crate::groups::consumer::ConsumerGroup| {
                let described =
                    group.describe(crate::groups::consumer::assignor::Assignor::Uniform, &*self.table);
                format!("{described:?} {:?}", group.regexes.keys())
            };
            coordinator
                .consumers()
                .groups
                .values()
                .map(|group| of(group))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            shown(&self.coordinator),
            shown(&replayed),
            "the log tells another story"
        );
    }
}

fn flat(assignment: &[(TopicId, Vec<i32>)]) -> BTreeSet<Partition> {
    assignment
        .iter()
        .flat_map(|(topic, partitions)| partitions.iter().map(|p| (*topic, *p)))
        .collect()
}

fn run(seed: u64, bug: Option<Bug>) -> Result<u64, String> {
    PLANTED.set(bug);
    let result = catch_unwind(AssertUnwindSafe(|| Sim::new(seed).run(3_000)));
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
fn partitions_have_one_reader_whatever_members_do() {
    let seeds = match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(60),
    };
    let mut taken = 0;
    for seed in seeds {
        match run(seed, None) {
            Ok(count) => taken += count,
            Err(found) => panic!(
                "seed {seed}: {found}\nrepeat with: SIM_SEED={seed} cargo test -p turgo-engine --lib \
                 groups::tests::consumer_sim::partitions"
            ),
        }
    }
    assert!(
        taken > 0,
        "no partition ever changed hands: the simulation shows nothing"
    );
}

#[test]
fn every_planted_bug_of_consumer_groups_is_found() {
    for bug in [
        Bug::GiveTwice,
        Bug::StuckEpoch,
        Bug::Immortal,
        Bug::ForgottenUndo,
        Bug::EarlyAnswer,
    ] {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let found = (0..200).find_map(|seed| run(seed, Some(bug)).err().map(|text| (seed, text)));
        std::panic::set_hook(hook);
        let (seed, text) = found.unwrap_or_else(|| panic!("{bug:?} was not found"));
        println!(
            "{bug:?}: seed {seed}: {}",
            text.chars().take(100).collect::<String>()
        );
    }
}

#[test]
fn records_of_other_kinds_are_not_ours() {
    for kind in [0, 1, 2, 9, 10, 15, 17] {
        assert!(!consumer_records::is_ours(kind), "{kind}");
    }
}
