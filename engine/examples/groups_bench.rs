//! What consumer groups cost: heartbeats and rebalances of a group of 1,000, and loading a million offsets.
//!
//! ```sh
//! cargo run --release -p turgo-engine --example groups_bench                          # the machine alone
//! cargo run --release -p turgo-engine --example groups_bench -- HOST:PORT BROKER_PID  # a broker, over the socket
//! ```

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use turgo_engine::groups::consumer::cluster::Table;
use turgo_engine::groups::messages::{
    Caller, CommitPartition, CommitTopic, ConsumerHeartbeatRequest, ConsumerHeartbeatResponse,
    OffsetCommitRequest, Request, Response,
};
use turgo_engine::groups::records::Record;
use turgo_engine::groups::{Config, Coordinator, Effect, ReplayRecord};
use turgo_net::api::ApiKey;
use turgo_net::messages::consumer_group_heartbeat as wire;
use turgo_net::records::{BatchBuilder, Decompressor, batches};
use turgo_net::{Reader, ResponseHeader, Uuid, encode_request};

/// As in the broker.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const MEMBERS: usize = 1_000;
const PARTITIONS: i32 = 10_000;
const INTERVAL: Duration = Duration::from_secs(5);

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.as_slice() {
        [endpoint, pid] => live(endpoint, pid.parse().expect("a process id")),
        _ => {
            machine();
            reload();
        }
    }
}

// ---- the machine alone ----

/// A coordinator whose appends are committed at once.
struct Bench {
    coordinator: Coordinator,
    now_ms: i64,
    log: Vec<Record>,
    caller: Caller,
    answers: BTreeMap<u64, Response>,
    tickets: u64,
}

impl Bench {
    fn new() -> Bench {
        let table = Rc::new(RefCell::new(Table::default()));
        table.borrow_mut().put("t", 1, PARTITIONS);
        let mut coordinator = Coordinator::in_cluster(Config::default(), table);
        coordinator.loaded(0, &mut Vec::new());
        Bench {
            coordinator,
            now_ms: 1_000,
            log: Vec::new(),
            caller: Caller {
                client_id: "bench".into(),
                client_host: "/127.0.0.1".into(),
                api_version: 9,
            },
            answers: BTreeMap::new(),
            tickets: 0,
        }
    }

    fn ask(&mut self, request: Request) -> Response {
        self.tickets += 1;
        let ticket = self.tickets;
        let mut out = Vec::new();
        self.coordinator
            .request(self.now_ms, ticket, &self.caller, request, &mut out);
        while !out.is_empty() {
            let mut next = Vec::new();
            for effect in out {
                match effect {
                    Effect::Append { token, records, .. } => {
                        let base = self.log.len() as i64;
                        self.log.extend(records);
                        self.coordinator.committed(self.now_ms, token, base, &mut next);
                    }
                    Effect::Reply { ticket, response } => {
                        self.answers.insert(ticket, response);
                    }
                }
            }
            out = next;
        }
        self.answers.remove(&ticket).expect("answered")
    }

    fn beat(&mut self, member: &mut Member) {
        let request = Request::ConsumerHeartbeat(member.request("bench", "t"));
        let Response::ConsumerHeartbeat(answer) = self.ask(request) else {
            panic!("another answer");
        };
        member.take(answer);
    }
}

/// A member as a client keeps it: it gives up at once what it is told to.
#[derive(Default)]
struct Member {
    id: String,
    epoch: i32,
    held: BTreeMap<[u8; 16], BTreeSet<i32>>,
    told: bool,
}

impl Member {
    fn named(number: usize) -> Member {
        Member {
            id: format!("member-{number:05}"),
            ..Member::default()
        }
    }

    fn request(&mut self, group: &str, topic: &str) -> ConsumerHeartbeatRequest {
        let joins = self.epoch == 0;
        let owned = self.held.iter().map(|(id, p)| (*id, p.iter().copied().collect()));
        let tells = joins || std::mem::take(&mut self.told);
        ConsumerHeartbeatRequest {
            group_id: group.into(),
            member_id: self.id.clone(),
            member_epoch: self.epoch,
            rebalance_timeout_ms: if joins { 60_000 } else { -1 },
            subscribed_topic_names: joins.then(|| vec![topic.into()]),
            topic_partitions: tells.then(|| owned.collect()),
            ..ConsumerHeartbeatRequest::default()
        }
    }

    fn take(&mut self, answer: ConsumerHeartbeatResponse) {
        assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
        self.epoch = answer.member_epoch;
        if let Some(assignment) = answer.assignment {
            self.held = assignment
                .into_iter()
                .map(|(id, partitions)| (id, partitions.into_iter().collect()))
                .collect();
            self.told = true;
        }
    }
}

fn is_settled(members: &[Member], partitions: usize) -> bool {
    let epoch = members.iter().map(|m| m.epoch).max();
    members.iter().all(|m| Some(m.epoch) == epoch && !m.told)
        && members
            .iter()
            .flat_map(|m| m.held.values())
            .map(BTreeSet::len)
            .sum::<usize>()
            == partitions
}

fn machine() {
    let mut bench = Bench::new();
    let mut members: Vec<Member> = (0..MEMBERS).map(Member::named).collect();
    let rounds = |bench: &mut Bench, members: &mut [Member], what: &str| {
        let (begun, log) = (Instant::now(), bench.log.len());
        let mut rounds = 0;
        let mut longest = Duration::ZERO;
        while rounds == 0 || !is_settled(members, PARTITIONS as usize) {
            for member in members.iter_mut() {
                let one = Instant::now();
                bench.beat(member);
                longest = longest.max(one.elapsed());
            }
            bench.now_ms += INTERVAL.as_millis() as i64;
            rounds += 1;
        }
        let bytes: usize = bench.log[log..]
            .iter()
            .map(|r| r.key.len() + r.value.as_ref().map_or(0, Vec::len))
            .sum();
        let spent = begun.elapsed();
        println!(
            "{what}: {rounds} rounds of heartbeats, {:.1} ms of CPU ({:.2} % of a core over these rounds), longest {:.2} ms, \
             {} records of {} KiB",
            spent.as_secs_f64() * 1e3,
            100.0 * spent.as_secs_f64() / (rounds as f64 * INTERVAL.as_secs_f64()),
            longest.as_secs_f64() * 1e3,
            bench.log.len() - log,
            bytes / 1024
        );
    };
    println!("a group of {MEMBERS} members and {PARTITIONS} partitions, the machine alone");
    rounds(&mut bench, &mut members, "all join");
    members.push(Member::named(MEMBERS));
    rounds(&mut bench, &mut members, "one more joins");
    let mut gone = members.swap_remove(17);
    gone.epoch = -1;
    let request = Request::ConsumerHeartbeat(gone.request("bench", "t"));
    bench.ask(request);
    rounds(&mut bench, &mut members, "one leaves");
    let begun = Instant::now();
    let beats = 200 * members.len();
    for _ in 0..200 {
        for member in &mut members {
            bench.beat(member);
        }
    }
    let each = begun.elapsed().as_secs_f64() / beats as f64;
    println!(
        "steady heartbeat: {:.2} us each, {:.3} % of a core for {MEMBERS} members every 5 s",
        each * 1e6,
        100.0 * each * MEMBERS as f64 / INTERVAL.as_secs_f64()
    );
}

/// Offsets of 1,000 groups with 1,000 partitions each, as the log's batches have them, into a new coordinator.
fn reload() {
    let mut bench = Bench::new();
    for group in 0..1_000 {
        for topic in 0..10 {
            let partition = |partition| CommitPartition {
                partition,
                offset: i64::from(partition) * 1_000,
                leader_epoch: 0,
                metadata: None,
            };
            let commit = OffsetCommitRequest {
                group_id: format!("group-{group:04}"),
                topics: vec![CommitTopic {
                    name: format!("topic-{topic}"),
                    topic_id: [topic as u8 + 1; 16],
                    partitions: (0..100).map(partition).collect(),
                }],
                ..OffsetCommitRequest::default()
            };
            bench.ask(Request::OffsetCommit(commit));
        }
    }
    let mut log = Vec::new();
    for records in bench.log.chunks(100) {
        let mut batch = BatchBuilder::new();
        for record in records {
            batch
                .push(1, Some(&record.key), record.value.as_deref(), &[])
                .expect("fits");
        }
        log.extend(batch.build_uncompressed());
    }
    let count = bench.log.len();
    drop(bench);
    let (begun, cpu) = (Instant::now(), cpu_seconds(std::process::id()));
    let mut coordinator = Coordinator::new(Config::default());
    let mut decompressor = Decompressor::new();
    let mut offset = 0;
    for batch in batches(&log) {
        let batch = batch.expect("our own batch");
        for record in batch.records(&mut decompressor, 1 << 30).expect("our own batch") {
            let record = record.expect("our own record");
            coordinator.replay(ReplayRecord {
                offset,
                producer_id: None,
                key: record.key,
                value: record.value,
            });
            offset += 1;
        }
    }
    coordinator.loaded(0, &mut Vec::new());
    let (spent, cpu) = (begun.elapsed(), cpu_seconds(std::process::id()) - cpu);
    assert_eq!(coordinator.stats().offsets, count);
    println!(
        "reload of {count} offsets ({} MiB of log in memory): {:.0} ms, {:.0} ms of CPU, {:.0} ns each",
        log.len() >> 20,
        spent.as_secs_f64() * 1e3,
        cpu * 1e3,
        cpu * 1e9 / count as f64
    );
}

// ---- a broker, over the socket ----

/// CPU time of a process so far, seconds.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the broker runs");
    let fields: Vec<&str> = stat.rsplit(") ").next().expect("fields").split(' ').collect();
    let ticks = |index: usize| fields[index].parse::<f64>().expect("a number");
    (ticks(11) + ticks(12)) / 100.0
}

struct Connection(TcpStream);

impl Connection {
    fn open(endpoint: &str) -> Connection {
        let stream = TcpStream::connect(endpoint).expect("the broker accepts");
        stream.set_nodelay(true).expect("no delay");
        Connection(stream)
    }

    fn ask<M: turgo_net::wire::Encode>(&mut self, key: ApiKey, version: i16, body: &M) -> Vec<u8> {
        let frame = encode_request(key, version, 7, Some("bench"), body)
            .expect("encodes")
            .to_vec();
        self.0.write_all(&frame).expect("sent");
        let mut size = [0; 4];
        self.0.read_exact(&mut size).expect("answered");
        let mut answer = vec![0; i32::from_be_bytes(size) as usize];
        self.0.read_exact(&mut answer).expect("an answer is whole");
        let mut reader = Reader::new(&answer);
        ResponseHeader::decode(&mut reader, key, version).expect("a header");
        let rest = reader.remaining();
        answer.split_off(answer.len() - rest)
    }

    fn beat(&mut self, member: &mut Member, group: &str, topic: &str) {
        let asked = member.request(group, topic);
        let request = wire::ConsumerGroupHeartbeatRequest {
            group_id: asked.group_id.into(),
            member_id: asked.member_id.into(),
            member_epoch: asked.member_epoch,
            rebalance_timeout_ms: asked.rebalance_timeout_ms,
            subscribed_topic_names: asked
                .subscribed_topic_names
                .map(|names| names.into_iter().map(Into::into).collect()),
            topic_partitions: asked.topic_partitions.map(|topics| {
                topics
                    .into_iter()
                    .map(|(id, partitions)| wire::RequestTopicPartitions {
                        topic_id: Uuid(id),
                        partitions,
                    })
                    .collect()
            }),
            ..Default::default()
        };
        let answer = self.ask(ApiKey::ConsumerGroupHeartbeat, 1, &request);
        let answer =
            wire::ConsumerGroupHeartbeatResponse::decode(&mut Reader::new(&answer), 1).expect("a body");
        member.take(ConsumerHeartbeatResponse {
            error_code: answer.error_code,
            error_message: answer.error_message.map(|m| m.into_owned()),
            member_epoch: answer.member_epoch,
            assignment: answer.assignment.map(|a| {
                a.topic_partitions
                    .into_iter()
                    .map(|t| (t.topic_id.0, t.partitions))
                    .collect()
            }),
            ..ConsumerHeartbeatResponse::default()
        });
    }
}

/// Connections that share the members.
const CONNECTIONS: usize = 20;
const LIVE_PARTITIONS: i32 = 2_000;

fn live(endpoint: &str, pid: u32) {
    use turgo_net::messages::create_topics::{CreatableTopic, CreateTopicsRequest};
    use turgo_net::messages::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
    let (group, topic) = (
        format!("bench-{}", std::process::id()),
        format!("bench-{}", std::process::id()),
    );
    let mut admin = Connection::open(endpoint);
    let create = CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: topic.as_str().into(),
            num_partitions: LIVE_PARTITIONS,
            replication_factor: 1,
            ..Default::default()
        }],
        timeout_ms: 30_000,
        ..Default::default()
    };
    admin.ask(ApiKey::CreateTopics, 5, &create);
    let find = FindCoordinatorRequest {
        key: group.as_str().into(),
        ..Default::default()
    };
    loop {
        let answer = admin.ask(ApiKey::FindCoordinator, 3, &find);
        if FindCoordinatorResponse::decode(&mut Reader::new(&answer), 3)
            .expect("a body")
            .error_code
            == 0
        {
            break;
        }
    }
    let mut connections: Vec<Connection> = (0..CONNECTIONS).map(|_| Connection::open(endpoint)).collect();
    let mut members: Vec<Member> = (0..MEMBERS).map(Member::named).collect();
    println!(
        "{endpoint}: a group of {MEMBERS} members and {LIVE_PARTITIONS} partitions over {CONNECTIONS} connections"
    );
    // One round a second, five times as often as clients do; heartbeats of a round are spread over the connections.
    let round = |connections: &mut Vec<Connection>, members: &mut Vec<Member>| {
        let share = members.len().div_ceil(CONNECTIONS);
        std::thread::scope(|scope| {
            for (connection, members) in connections.iter_mut().zip(members.chunks_mut(share)) {
                let (group, topic) = (&group, &topic);
                scope.spawn(move || {
                    for member in members {
                        connection.beat(member, group, topic);
                    }
                });
            }
        });
    };
    let settle = |connections: &mut Vec<Connection>, members: &mut Vec<Member>, what: &str| {
        let (begun, cpu) = (Instant::now(), cpu_seconds(pid));
        let mut rounds = 0;
        let mut busy = Duration::ZERO;
        while rounds == 0 || !is_settled(members, LIVE_PARTITIONS as usize) {
            let one = Instant::now();
            round(connections, members);
            busy += one.elapsed();
            rounds += 1;
            std::thread::sleep(Duration::from_secs(1).saturating_sub(one.elapsed()));
        }
        let used = cpu_seconds(pid) - cpu;
        println!(
            "{what}: {rounds} rounds of heartbeats, {:.0} ms a round, broker's CPU {:.2} s: {:.1} % of a core at one round \
             in 5 s",
            busy.as_secs_f64() * 1e3 / f64::from(rounds),
            used,
            100.0 * used / (f64::from(rounds) * INTERVAL.as_secs_f64())
        );
        let _ = begun;
    };
    settle(&mut connections, &mut members, "all join");
    members.push(Member::named(MEMBERS));
    settle(&mut connections, &mut members, "one more joins");
    let mut gone = members.swap_remove(17);
    gone.epoch = -1;
    let left = wire::ConsumerGroupHeartbeatRequest {
        group_id: group.as_str().into(),
        member_id: gone.id.as_str().into(),
        member_epoch: -1,
        ..Default::default()
    };
    admin.ask(ApiKey::ConsumerGroupHeartbeat, 1, &left);
    settle(&mut connections, &mut members, "one leaves");
    let (idle, begun) = (cpu_seconds(pid), Instant::now());
    std::thread::sleep(Duration::from_secs(5));
    let idle = (cpu_seconds(pid) - idle) / begun.elapsed().as_secs_f64();
    let (cpu, begun) = (cpu_seconds(pid), Instant::now());
    let rounds = 20;
    for _ in 0..rounds {
        round(&mut connections, &mut members);
    }
    let used = cpu_seconds(pid) - cpu - idle * begun.elapsed().as_secs_f64();
    let each = used / f64::from(rounds) / members.len() as f64;
    println!(
        "steady heartbeat: {:.1} us of the broker's CPU each, {:.2} % of a core for {MEMBERS} members every 5 s (idle: \
         {:.1} %)",
        each * 1e6,
        100.0 * each * MEMBERS as f64 / INTERVAL.as_secs_f64(),
        100.0 * idle
    );
}
