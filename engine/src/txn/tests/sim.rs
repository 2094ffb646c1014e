//! Seeded simulation: producers of both levels that crash, come back, repeat themselves and are slow, over a network
//! that delays, reorders, repeats and loses, against a coordinator whose appends are slow and fail, that crashes between
//! any two steps and is loaded again, and partitions whose markers are written one by one.
//!
//! Partitions are modelled as the owner's side behaves (`crate::shard::txn`): a batch whose transaction is not open asks
//! the coordinator, a marker cancels answers that were given before it, epochs and sequences are judged as by the log.
//!
//! Checked at every step: the coordinator's own invariants; a ticket is answered at most once. At the end everything is
//! let run out, and then: no transaction is open anywhere; what a reader of committed records sees of each transaction is
//! all of it or nothing, once; all of it if the commit was acknowledged, nothing if the abort was; what is seen was
//! settled in the order of the log, so nothing below the last stable offset ever changed. A failure names its seed.
//!
//! Clients of level 0 do not repeat an EndTxn whose first copy may still arrive: that the protocol cannot tell
//! (KAFKA-17754), as `rules` shows.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};

use turgo_net::ErrorCode;

use super::*;
use crate::txn::planted::{Bug, PLANTED};
use crate::txn::{MarkerJob, TxnState};

const PARTITIONS: i32 = 3;
const CLIENTS: usize = 4;
const IDS: usize = 3;

/// A record's name: client instance, transaction, number.
type Value = (u64, u32, u32);

#[derive(Debug, Clone, PartialEq)]
enum Entry {
    Data { by: (i64, i16), value: Value },
    Marker { producer_id: i64, commit: bool },
}

#[derive(Debug, Clone, Default)]
struct Known {
    epoch: i16,
    open: Option<usize>,
    /// Records of the present epoch, which a repeat is known by.
    values: BTreeSet<Value>,
}

#[derive(Debug, Default)]
struct Partition {
    log: Vec<Entry>,
    producers: HashMap<i64, Known>,
    /// What a reader of committed records was shown.
    shown: Vec<Value>,
    read_to: usize,
}

impl Partition {
    fn is_open(&self, by: (i64, i16)) -> bool {
        self.producers
            .get(&by.0)
            .is_some_and(|k| k.open.is_some() && k.epoch == by.1)
    }

    /// The last stable offset, and with it what may be shown for good.
    fn stable(&self) -> usize {
        let open = self.producers.values().filter_map(|k| k.open).min();
        if PLANTED.get() == Some(Bug::SkippedStable) {
            // Only the latest of several open transactions counts.
            return self
                .producers
                .values()
                .filter_map(|k| k.open)
                .max()
                .unwrap_or(self.log.len());
        }
        open.unwrap_or(self.log.len())
    }

    fn append(&mut self, by: (i64, i16), value: Value) -> Result<(), ErrorCode> {
        let at = self.log.len();
        let known = self.producers.entry(by.0).or_insert_with(|| Known {
            epoch: by.1,
            ..Known::default()
        });
        if by.1 < known.epoch {
            return Err(ErrorCode::INVALID_PRODUCER_EPOCH);
        }
        if by.1 > known.epoch {
            known.epoch = by.1;
            known.values.clear();
        }
        if !known.values.insert(value) {
            return Ok(());
        }
        known.open.get_or_insert(at);
        self.log.push(Entry::Data { by, value });
        Ok(())
    }

    /// As the owner judges markers.
    fn mark(&mut self, job: &MarkerJob) {
        let known = self.producers.entry(job.producer_id).or_insert_with(|| Known {
            epoch: -1,
            ..Known::default()
        });
        let raises = job.level >= TV2;
        let (epoch, idle) = (known.epoch, known.open.is_none());
        let last = job.producer_epoch == i16::MAX;
        if job.producer_epoch < epoch || (raises && job.producer_epoch == epoch && !idle && !last) {
            return;
        }
        if job.producer_epoch > epoch {
            known.epoch = job.producer_epoch;
            known.values.clear();
        }
        known.open = None;
        self.log.push(Entry::Marker {
            producer_id: job.producer_id,
            commit: job.commit,
        });
        self.read();
    }

    /// Shows a reader of committed records what is stable now.
    fn read(&mut self) {
        let stable = self.stable();
        while self.read_to < stable {
            let at = self.read_to;
            self.read_to += 1;
            let Entry::Data { by, value } = &self.log[at] else {
                continue;
            };
            let outcome = self.log[at..].iter().find_map(|entry| match entry {
                Entry::Marker { producer_id, commit } if *producer_id == by.0 => Some(*commit),
                _ => None,
            });
            // A transaction without a marker below the stable end would be shown as committed.
            if outcome.unwrap_or(true) {
                self.shown.push(*value);
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Payload {
    Coordinator(Request),
    Produce {
        by: (i64, i16),
        partition: i32,
        value: Value,
        level: Level,
        name: String,
    },
}

#[derive(Debug, Clone)]
struct Message {
    client: usize,
    instance: u64,
    number: u64,
    payload: Payload,
}

/// Who waits for an answer of the coordinator.
#[derive(Debug, Clone)]
enum Asker {
    Client {
        client: usize,
        instance: u64,
        number: u64,
    },
    /// A batch at a gate, with how often a marker had cancelled its guard.
    Gate(Message),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    Init,
    Adding,
    Producing,
    Ending,
}

#[derive(Debug)]
struct Client {
    name: String,
    level: Level,
    instance: u64,
    by: (i64, i16),
    phase: Phase,
    txn: u32,
    commit: bool,
    /// Partitions still to be written to.
    left: Vec<i32>,
    written: u32,
    number: u64,
    /// The request not yet answered.
    asked: Option<(u64, Payload)>,
    done: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Outcome {
    Unknown,
    Committed,
    Aborted,
}

struct World {
    random: Random,
    now_ms: i64,
    coordinator: Coordinator,
    log: Vec<Record>,
    appends: VecDeque<(u64, Vec<Record>)>,
    jobs: Vec<(MarkerJob, Vec<i32>)>,
    /// Guards cancelled: by producer, the epoch and level of the markers written while a batch waited.
    gates: HashMap<u64, (Message, bool)>,
    askers: HashMap<u64, Asker>,
    next_ticket: u64,
    next_id: i64,
    next_instance: u64,
    wanted: usize,
    partitions: Vec<Partition>,
    network: Vec<Message>,
    clients: Vec<Client>,
    /// Acknowledged records and outcomes of each transaction.
    acked: BTreeMap<(u64, u32), BTreeSet<Value>>,
    outcomes: BTreeMap<(u64, u32), Outcome>,
    ended: u32,
    calm: bool,
}

fn config() -> Config {
    let mut config = Config {
        abort_interval_ms: 2_000,
        ..Config::default()
    };
    config.limits.wait_ms = 500;
    config
}

impl World {
    fn new(seed: u64) -> World {
        let mut world = World {
            random: Random::new(seed),
            now_ms: 1_000,
            coordinator: Coordinator::new(config()),
            log: Vec::new(),
            appends: VecDeque::new(),
            jobs: Vec::new(),
            gates: HashMap::new(),
            askers: HashMap::new(),
            next_ticket: 0,
            next_id: 100,
            next_instance: 0,
            wanted: 0,
            partitions: (0..PARTITIONS).map(|_| Partition::default()).collect(),
            network: Vec::new(),
            clients: Vec::new(),
            acked: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            ended: 0,
            calm: false,
        };
        for c in 0..CLIENTS {
            let client = world.fresh(c);
            world.clients.push(client);
        }
        world.event(|c, now_ms, out| c.loaded(now_ms, out));
        world
    }

    /// A new instance of a client; two of them share a transactional id.
    fn fresh(&mut self, c: usize) -> Client {
        self.next_instance += 1;
        Client {
            name: format!("id{}", c % IDS),
            level: if c % 2 == 0 { TV2 } else { TV0 },
            instance: self.next_instance,
            by: (-1, -1),
            phase: Phase::Init,
            txn: 0,
            commit: false,
            left: Vec::new(),
            written: 0,
            number: 0,
            asked: None,
            done: false,
        }
    }

    fn event(&mut self, event: impl FnOnce(&mut Coordinator, i64, &mut Vec<Effect>)) {
        let mut out = Vec::new();
        event(&mut self.coordinator, self.now_ms, &mut out);
        self.coordinator.check();
        for effect in out {
            match effect {
                Effect::Append { token, records } => self.appends.push_back((token, records)),
                Effect::WantIds(count) => self.wanted += count,
                Effect::Markers(job) => {
                    let partitions: Vec<i32> = job.topics.iter().flat_map(|(_, p)| p).copied().collect();
                    self.jobs.push((job, partitions));
                }
                Effect::Reply { ticket, response } => {
                    let asker = self.askers.remove(&ticket).expect("a ticket is answered once");
                    match asker {
                        Asker::Client {
                            client,
                            instance,
                            number,
                        } => {
                            self.reply(client, instance, number, Some(response), None);
                        }
                        Asker::Gate(message) => self.gate_answered(ticket, message, added(response)),
                    }
                }
            }
        }
    }

    fn ask(&mut self, asker: Asker, request: Request) -> u64 {
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        self.askers.insert(ticket, asker);
        self.event(|c, now_ms, out| c.request(now_ms, ticket, request, out));
        ticket
    }

    // ---- the owner's side ----

    fn deliver(&mut self, message: Message) {
        match message.payload.clone() {
            Payload::Coordinator(request) => {
                let Message {
                    client,
                    instance,
                    number,
                    ..
                } = message;
                self.ask(
                    Asker::Client {
                        client,
                        instance,
                        number,
                    },
                    request,
                );
            }
            Payload::Produce {
                by,
                partition,
                value,
                level,
                name,
            } => {
                if self.partitions[partition as usize].is_open(by) {
                    let done = self.partitions[partition as usize].append(by, value);
                    return self.produced(&message, done);
                }
                let request = match add(&name, by, level, &[partition]) {
                    Request::AddPartitions(add) => Request::AddPartitions(AddPartitions {
                        verify_only: level < TV2,
                        ..add
                    }),
                    _ => unreachable!(),
                };
                let ticket = self.next_ticket + 1;
                self.gates.insert(ticket, (message.clone(), false));
                self.ask(Asker::Gate(message), request);
            }
        }
    }

    fn gate_answered(&mut self, ticket: u64, message: Message, code: ErrorCode) {
        let Some((_, cancelled)) = self.gates.remove(&ticket) else {
            return;
        };
        let Payload::Produce {
            by, partition, value, ..
        } = message.payload
        else {
            unreachable!()
        };
        let part = &mut self.partitions[partition as usize];
        let done = if part.is_open(by) {
            part.append(by, value)
        } else if !code.is_none() {
            Err(code)
        } else if cancelled {
            Err(ErrorCode::INVALID_TXN_STATE)
        } else {
            part.append(by, value)
        };
        self.produced(&message, done);
    }

    fn produced(&mut self, message: &Message, done: Result<(), ErrorCode>) {
        self.reply(message.client, message.instance, message.number, None, Some(done));
    }

    fn write_marker(&mut self, at: usize) {
        let (job, left) = &mut self.jobs[at];
        if let Some(partition) = left.pop() {
            let job = job.clone();
            self.partitions[partition as usize].mark(&job);
            for (message, cancelled) in self.gates.values_mut() {
                if let Payload::Produce { by, partition: p, .. } = message.payload
                    && p == partition
                    && by.0 == job.producer_id
                    && (by.1 < job.producer_epoch || (job.level < TV2 && by.1 == job.producer_epoch))
                {
                    *cancelled = true;
                }
            }
        }
        if self.jobs[at].1.is_empty() {
            let (job, _) = self.jobs.swap_remove(at);
            self.event(|c, now_ms, out| c.markers_done(now_ms, job.job, out));
        }
    }

    // ---- clients ----

    fn send(&mut self, c: usize, payload: Payload) {
        let client = &mut self.clients[c];
        client.number += 1;
        client.asked = Some((client.number, payload.clone()));
        let message = Message {
            client: c,
            instance: client.instance,
            number: client.number,
            payload,
        };
        self.network.push(message);
    }

    /// The answer is lost, or the client is impatient: it asks the same again.
    fn resend(&mut self, c: usize) {
        let client = &mut self.clients[c];
        let Some((number, payload)) = client.asked.clone() else {
            return;
        };
        let instance = client.instance;
        if client.level < TV2 {
            // On a new connection, and nothing is left of the old one.
            self.network.retain(|m| m.instance != instance);
        }
        self.network.push(Message {
            client: c,
            instance,
            number,
            payload,
        });
    }

    fn act(&mut self, c: usize) {
        if self.clients[c].asked.is_some() || self.clients[c].done {
            return;
        }
        let client = &self.clients[c];
        let (name, by, level) = (client.name.clone(), client.by, client.level);
        match client.phase {
            Phase::Init => {
                let request = Request::InitProducerId(InitProducerId {
                    transactional_id: name,
                    timeout_ms: 5_000,
                    expected: None,
                });
                self.send(c, Payload::Coordinator(request));
            }
            Phase::Adding => {
                let partitions = client.left.clone();
                self.send(c, Payload::Coordinator(add(&name, by, level, &partitions)));
            }
            Phase::Producing => {
                let partition = *client.left.last().expect("something to write");
                let value = (client.instance, client.txn, client.written);
                self.send(
                    c,
                    Payload::Produce {
                        by,
                        partition,
                        value,
                        level,
                        name,
                    },
                );
            }
            Phase::Ending => {
                let commit = client.commit;
                self.send(c, Payload::Coordinator(end(&name, by, level, commit)));
            }
        }
    }

    fn begin(&mut self, c: usize) {
        if self.calm {
            self.clients[c].done = true;
            return;
        }
        let count = 1 + self.random.below(3);
        let left: Vec<i32> = (0..count)
            .map(|_| self.random.below(PARTITIONS as u64) as i32)
            .collect();
        let commit = self.random.below(3) != 0;
        let client = &mut self.clients[c];
        client.txn += 1;
        client.written = 0;
        client.left = left;
        client.commit = commit;
        client.phase = if client.level < TV2 {
            Phase::Adding
        } else {
            Phase::Producing
        };
        self.outcomes
            .insert((client.instance, client.txn), Outcome::Unknown);
    }

    /// A client gives up what it was and begins anew under the same id.
    fn restart(&mut self, c: usize) {
        self.clients[c] = self.fresh(c);
        if self.calm {
            self.clients[c].done = true;
        }
    }

    fn reply(
        &mut self,
        c: usize,
        instance: u64,
        number: u64,
        told: Option<Response>,
        produced: Option<Result<(), ErrorCode>>,
    ) {
        let client = &mut self.clients[c];
        let current = client.asked.as_ref().is_some_and(|(n, _)| *n == number);
        if client.instance != instance || !current || self.random.below(20) == 0 {
            return;
        }
        let client = &mut self.clients[c];
        let error = match (&told, &produced) {
            (Some(Response::Producer(p)), _) => p.error,
            (Some(response @ Response::Added(_)), _) => added(response.clone()),
            (_, Some(done)) => done.err().unwrap_or(ErrorCode::NONE),
            other => panic!("{other:?}"),
        };
        let again = [
            ErrorCode::CONCURRENT_TRANSACTIONS,
            ErrorCode::NOT_COORDINATOR,
            ErrorCode::COORDINATOR_NOT_AVAILABLE,
            ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
        ];
        if again.contains(&error) {
            return self.resend(c);
        }
        client.asked = None;
        let key = (client.instance, client.txn);
        match client.phase {
            _ if !error.is_none() => {
                let abortable = [ErrorCode::INVALID_TXN_STATE, ErrorCode::TRANSACTION_ABORTABLE];
                if abortable.contains(&error) && client.phase == Phase::Producing {
                    client.commit = false;
                    client.phase = Phase::Ending;
                } else {
                    self.restart(c);
                }
            }
            Phase::Init => {
                let Some(Response::Producer(p)) = told else {
                    panic!("{told:?}")
                };
                client.by = (p.id, p.epoch);
                self.begin(c);
            }
            Phase::Adding => client.phase = Phase::Producing,
            Phase::Producing => {
                let value = (client.instance, client.txn, client.written);
                self.acked.entry(key).or_default().insert(value);
                let client = &mut self.clients[c];
                client.written += 1;
                client.left.pop();
                if client.left.is_empty() {
                    client.phase = Phase::Ending;
                }
            }
            Phase::Ending => {
                let Some(Response::Producer(p)) = told else {
                    panic!("{told:?}")
                };
                if client.level >= TV2 {
                    client.by = (p.id, p.epoch);
                }
                let outcome = if client.commit {
                    Outcome::Committed
                } else {
                    Outcome::Aborted
                };
                self.outcomes.insert(key, outcome);
                self.ended += 1;
                self.begin(c);
            }
        }
    }

    // ---- the world ----

    /// The coordinator's process dies: some of what it had appended is in the log, nobody is told.
    fn crash(&mut self) {
        let kept = self.random.below(self.appends.len() as u64 + 1) as usize;
        for (_, records) in self.appends.drain(..kept) {
            self.log.extend(records);
        }
        self.appends.clear();
        self.jobs.clear();
        self.askers.clear();
        self.gates.clear();
        self.wanted = 0;
        self.coordinator = Coordinator::new(config());
        for record in &self.log {
            self.coordinator
                .replay(Some(&record.key), record.value.as_deref());
        }
        assert_eq!(self.coordinator.stats().bad_records, 0);
        self.event(|c, now_ms, out| c.loaded(now_ms, out));
        for c in 0..CLIENTS {
            self.resend(c);
        }
    }

    fn commit_append(&mut self) {
        if let Some((token, records)) = self.appends.pop_front() {
            self.log.extend(records);
            self.event(|c, now_ms, out| c.committed(now_ms, token, out));
        }
    }

    fn step(&mut self) {
        let c = self.random.below(CLIENTS as u64) as usize;
        match self.random.below(100) {
            0..=24 => self.act(c),
            25..=54 if !self.network.is_empty() => {
                let at = self.random.below(self.network.len() as u64) as usize;
                // A connection keeps the order; level 0 has one, level 2 may have many.
                let instance = self.network[at].instance;
                let level = self.clients[self.network[at].client].level;
                let at = if level < TV2 {
                    self.network
                        .iter()
                        .position(|m| m.instance == instance)
                        .expect("itself")
                } else {
                    at
                };
                let message = if level >= TV2 && !self.calm && self.random.below(8) == 0 {
                    self.network[at].clone()
                } else {
                    self.network.remove(at)
                };
                self.deliver(message);
            }
            55..=74 => self.commit_append(),
            75..=86 if !self.jobs.is_empty() => {
                let at = self.random.below(self.jobs.len() as u64) as usize;
                self.write_marker(at);
            }
            87..=90 => {
                let step = if self.random.below(40) == 0 { 6_000 } else { 50 };
                self.now_ms += step;
                self.event(|c, now_ms, out| c.tick(now_ms, out));
            }
            91 | 92 if self.wanted > 0 => {
                self.wanted -= 1;
                self.next_id += 1;
                let id = self.next_id;
                self.event(|c, now_ms, out| c.producer_ids(now_ms, &[id], out));
            }
            93 if !self.calm => self.resend(c),
            94 if !self.calm && self.random.below(3) == 0 => self.restart(c),
            95 if !self.calm && self.random.below(3) == 0 => self.crash(),
            96 if !self.calm && self.random.below(3) == 0 => {
                if let Some((token, _)) = self.appends.pop_front() {
                    self.event(|c, now_ms, out| {
                        c.failed(now_ms, token, ErrorCode::KAFKA_STORAGE_ERROR, out);
                    });
                }
            }
            _ => {}
        }
    }

    /// Lets everything come to an end.
    fn calm_down(&mut self) {
        self.calm = true;
        // Some are never heard of again, in the middle of whatever they did.
        for c in 0..CLIENTS {
            if self.random.below(2) == 0 {
                self.restart(c);
            }
        }
        for round in 0.. {
            assert!(
                round < 200,
                "no end: {:?} {:?}",
                self.coordinator.stats(),
                self.clients
            );
            for _ in 0..400 {
                self.step();
            }
            for c in 0..CLIENTS {
                self.resend(c);
            }
            if self.clients.iter().all(|c| c.done) && self.network.is_empty() {
                break;
            }
        }
        // Transactions that nobody ends take too long.
        for _ in 0..20 {
            self.now_ms += 6_000;
            self.event(|c, now_ms, out| c.tick(now_ms, out));
            while !self.appends.is_empty() || !self.jobs.is_empty() || self.wanted > 0 {
                self.commit_append();
                while !self.jobs.is_empty() {
                    self.write_marker(0);
                }
                if self.wanted > 0 {
                    self.wanted = 0;
                    self.next_id += 1;
                    let id = self.next_id;
                    self.event(|c, now_ms, out| c.producer_ids(now_ms, &[id], out));
                }
            }
        }
    }

    fn judge(&mut self) {
        for id in 0..IDS {
            let txn = self.coordinator.txn(&format!("id{id}"));
            let at_rest = [TxnState::Empty, TxnState::CompleteCommit, TxnState::CompleteAbort];
            assert!(
                txn.is_none_or(|txn| at_rest.contains(&txn.state)),
                "a transaction without end: {txn:?}"
            );
        }
        let mut seen: BTreeMap<(u64, u32), BTreeSet<Value>> = BTreeMap::new();
        for (p, partition) in self.partitions.iter_mut().enumerate() {
            let open: Vec<_> = partition
                .producers
                .iter()
                .filter(|(_, k)| k.open.is_some())
                .collect();
            assert!(
                open.is_empty(),
                "a hanging transaction in partition {p}: {open:?}"
            );
            partition.read();
            // What was shown while transactions were open is what the whole log says now.
            let mut whole = Partition {
                log: partition.log.clone(),
                ..Partition::default()
            };
            whole.read();
            assert_eq!(
                partition.shown, whole.shown,
                "what was stable has changed in partition {p}"
            );
            for value in &partition.shown {
                let fresh = seen.entry((value.0, value.1)).or_default().insert(*value);
                assert!(fresh, "{value:?} twice");
            }
        }
        for (txn, outcome) in &self.outcomes {
            let acked = self.acked.get(txn).cloned().unwrap_or_default();
            let seen = seen.get(txn).cloned().unwrap_or_default();
            match outcome {
                Outcome::Committed => assert_eq!(acked, seen, "{txn:?} was committed"),
                Outcome::Aborted => assert!(seen.is_empty(), "{txn:?} was aborted, and seen: {seen:?}"),
                // Committed without the client's knowledge, if at all; then with all that was acknowledged.
                Outcome::Unknown => {
                    assert!(
                        seen.is_empty() || seen.is_superset(&acked),
                        "{txn:?} is torn: {seen:?} of {acked:?}"
                    );
                }
            }
        }
    }
}

/// Runs a seed; returns how many transactions ended.
fn run(seed: u64) -> u32 {
    let mut world = World::new(seed);
    for _ in 0..6_000 {
        world.step();
    }
    world.calm_down();
    world.judge();
    world.ended
}

fn seeds() -> (u64, u64) {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse().expect("a number"))
    };
    match number("SIM_SEED") {
        Some(seed) => (seed, seed + 1),
        None => (1, 1 + number("SIM_SEEDS").unwrap_or(60)),
    }
}

#[test]
fn committed_once_aborted_never_and_nothing_hangs() {
    let (from, to) = seeds();
    let mut ended = 0;
    for seed in from..to {
        match catch_unwind(AssertUnwindSafe(|| run(seed))) {
            Ok(count) => ended += count,
            Err(error) => {
                eprintln!("SIM_SEED={seed} cargo test -p turgo-engine --lib txn::tests::sim");
                std::panic::resume_unwind(error);
            }
        }
    }
    assert!(
        u64::from(ended) > 20 * (to - from),
        "only {ended} transactions ended"
    );
}

#[test]
fn planted_bugs_are_found() {
    let bugs = [
        Bug::LostMarker,
        Bug::EarlyMarker,
        Bug::EarlyComplete,
        Bug::EarlyAnswer,
        Bug::NoFence,
        Bug::ForgottenAtLoad,
        Bug::Endless,
        Bug::TurnedOutcome,
        Bug::SkippedStable,
    ];
    let mut missed = Vec::new();
    for bug in bugs {
        PLANTED.set(Some(bug));
        let found = (1..200).any(|seed| catch_unwind(AssertUnwindSafe(|| run(seed))).is_err());
        PLANTED.set(None);
        if !found {
            missed.push(bug);
        }
    }
    assert_eq!(missed, [], "planted and not found");
}
