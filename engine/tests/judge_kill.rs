//! `kill -9` under load, again and again: what was acknowledged is there, once, in order, and stays.
//!
//! Idempotent librdkafka producers with `acks=all` number their records; a reader follows the log live and commits its
//! offsets; the broker is killed at moments drawn from a seed and started again. Then, from the beginning of the log:
//!
//! - every acknowledged record is there exactly once, at the offset that was acknowledged;
//! - no record at all is there twice, and each producer's records are in order within a partition;
//! - what the live reader saw before a kill is still there, at the same offsets;
//! - a committed offset and a created or deleted topic, once acknowledged, outlive the kill.
//!
//! Replay with `TURGO_TEST_SEED=N`; more rounds with `TURGO_TEST_KILLS=N`.
//! Run alone with `cargo test -p turgo-engine --test judge_kill`.

mod support;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures_lite::future::block_on;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use support::librdkafka::{
    LIMIT, admin, config, consumer, create_topic, options, retried, transient, until, watermarks,
};
use support::{Broker, Judge, say, unique};

const PARTITIONS: i32 = 4;
const PRODUCERS: usize = 4;
/// Each producer writes with another codec, so that recovery meets all kinds of batches.
const CODECS: [&str; PRODUCERS] = ["none", "lz4", "zstd", "snappy"];

/// A broker that serves after a kill within this time passes; the measured times are printed.
const SERVES_WITHIN: Duration = Duration::from_secs(10);

/// xorshift64*: enough to draw moments, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound
    }
}

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text}: not a number"))
    })
}

/// What a producer knows of its records: the place of each acknowledged one.
#[derive(Default)]
struct Acks {
    places: Mutex<HashMap<u64, (i32, i64)>>,
    count: AtomicUsize,
}

#[derive(Clone)]
struct Context {
    acks: Arc<Acks>,
}

impl ClientContext for Context {}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<u64>;

    fn delivery(&self, result: &DeliveryResult<'_>, number: Box<u64>) {
        match result {
            Ok(message) => {
                let place = (message.partition(), message.offset());
                let before = self.acks.places.lock().expect("acks").insert(*number, place);
                assert_eq!(before, None, "record {number} was acknowledged twice");
                self.acks.count.fetch_add(1, Ordering::SeqCst);
            }
            Err((error, _)) => panic!("record {number} was given up: {error}"),
        }
    }
}

struct Load {
    acks: Vec<Arc<Acks>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<u64>>,
}

impl Load {
    fn start(endpoint: &str, topic: &str) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let acks: Vec<Arc<Acks>> = (0..PRODUCERS).map(|_| Arc::default()).collect();
        let threads = (0..PRODUCERS)
            .map(|p| {
                let (endpoint, topic, stop) = (endpoint.to_owned(), topic.to_owned(), stop.clone());
                let acks = acks[p].clone();
                std::thread::spawn(move || produce(&endpoint, &topic, p, acks, &stop))
            })
            .collect();
        Load { acks, stop, threads }
    }

    fn acknowledged(&self) -> usize {
        assert!(
            !self
                .threads
                .iter()
                .any(|t| t.is_finished() && !self.stop.load(Ordering::SeqCst)),
            "a producer failed"
        );
        self.acks.iter().map(|a| a.count.load(Ordering::SeqCst)).sum()
    }

    /// Ends the load; every record sent has been acknowledged then. Returns how many each producer sent.
    fn finish(&mut self) -> Vec<u64> {
        self.stop.store(true, Ordering::SeqCst);
        self.threads
            .drain(..)
            .map(|t| t.join().expect("the producer ended well"))
            .collect()
    }
}

/// Writes numbered records, round robin over the partitions, until told to stop; waits for the last acknowledgement.
fn produce(endpoint: &str, topic: &str, producer: usize, acks: Arc<Acks>, stop: &AtomicBool) -> u64 {
    let more = [
        ("enable.idempotence", "true"),
        ("acks", "all"),
        ("compression.type", CODECS[producer]),
        ("linger.ms", "1"),
        ("batch.num.messages", "50"),
        ("message.timeout.ms", "300000"),
        ("reconnect.backoff.max.ms", "200"),
        ("retry.backoff.ms", "20"),
        ("retry.backoff.max.ms", "200"),
        ("socket.timeout.ms", "10000"),
    ];
    let client: BaseProducer<Context> = config(endpoint, &more)
        .create_with_context(Context { acks: acks.clone() })
        .expect("producer");
    let mut sent = 0;
    while !stop.load(Ordering::SeqCst) {
        // At most 2,000 records under way: the load goes on as fast as it is acknowledged.
        while sent - acks.count.load(Ordering::SeqCst) as u64 >= 2000 && !stop.load(Ordering::SeqCst) {
            client.poll(Duration::from_millis(10));
        }
        let value = format!("{producer}:{sent}:{}", "v".repeat((sent * 31 % 400) as usize));
        let record = BaseRecord::<str, str, Box<u64>>::with_opaque_to(topic, Box::new(sent))
            .partition((sent % PARTITIONS as u64) as i32)
            .payload(&value);
        client.send(record).map_err(|(error, _)| error).expect("send");
        sent += 1;
        client.poll(Duration::ZERO);
    }
    client.flush(2 * LIMIT).expect("every record acknowledged");
    sent
}

/// Producer and number of a record.
fn parse(value: &[u8]) -> (usize, u64) {
    let text = std::str::from_utf8(value).expect("the text that was written");
    let mut field = text.split(':');
    let mut next = || field.next().expect("producer and number");
    (
        next().parse().expect("a producer"),
        next().parse().expect("a number"),
    )
}

/// Follows all partitions while the broker comes and goes, and commits now and then.
struct Reader {
    shared: Arc<ReaderShared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct ReaderShared {
    stop: AtomicBool,
    /// By partition: the records seen, in offset order without a gap.
    seen: Mutex<[Vec<(usize, u64)>; PARTITIONS as usize]>,
    /// By partition: the last offset whose commit was acknowledged.
    committed: Mutex<[i64; PARTITIONS as usize]>,
}

impl Reader {
    fn start(endpoint: &str, topic: &str, group: &str) -> Reader {
        let shared = Arc::new(ReaderShared::default());
        let mine = shared.clone();
        let client = consumer(endpoint, group, &[("reconnect.backoff.max.ms", "200")]);
        let topic = topic.to_owned();
        let mut list = TopicPartitionList::new();
        for p in 0..PARTITIONS {
            list.add_partition_offset(&topic, p, Offset::Beginning)
                .expect("an offset");
        }
        client.assign(&list).expect("assign");
        let thread = std::thread::spawn(move || {
            let mut since = 0;
            while !mine.stop.load(Ordering::SeqCst) {
                match client.poll(Duration::from_millis(50)) {
                    Some(Ok(message)) => {
                        let mut seen = mine.seen.lock().expect("the reader's own");
                        let part = &mut seen[message.partition() as usize];
                        assert_eq!(
                            message.offset(),
                            part.len() as i64,
                            "next offset of {}",
                            message.partition()
                        );
                        part.push(parse(message.payload().expect("a value")));
                        since += 1;
                    }
                    Some(Err(error)) => assert!(transient(&error), "the reader: {error}"),
                    None => {}
                }
                if since >= 500 {
                    since = 0;
                    let ends = mine
                        .seen
                        .lock()
                        .expect("the reader's own")
                        .each_ref()
                        .map(|part| part.len() as i64);
                    let mut at = TopicPartitionList::new();
                    for (p, &end) in ends.iter().enumerate() {
                        at.add_partition_offset(&topic, p as i32, Offset::Offset(end))
                            .expect("an offset");
                    }
                    // A refused commit says nothing: the broker may be down, or have it all the same.
                    if client.commit(&at, CommitMode::Sync).is_ok() {
                        *mine.committed.lock().expect("the reader's own") = ends;
                    }
                }
            }
        });
        Reader {
            shared,
            thread: Some(thread),
        }
    }

    fn total(&self) -> usize {
        assert!(
            !self.thread.as_ref().is_some_and(JoinHandle::is_finished),
            "the reader failed"
        );
        self.shared
            .seen
            .lock()
            .expect("reader")
            .iter()
            .map(Vec::len)
            .sum()
    }

    fn finish(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.thread
            .take()
            .expect("finished once")
            .join()
            .expect("the reader ended well");
    }
}

#[test]
fn acknowledged_records_outlive_kill_under_load() {
    let judge = Judge::begin("kill");
    let mut broker = Broker::start_eager();
    if !broker.can_be_killed() {
        return judge.passed("nothing done: an external broker needs TURGO_TEST_KILL and TURGO_TEST_START");
    }
    let seed = from_env("TURGO_TEST_SEED").unwrap_or_else(|| u64::from(std::process::id()) * 7919 + 1);
    let kills = from_env("TURGO_TEST_KILLS").unwrap_or(6);
    say(&format!("  kill: replay with TURGO_TEST_SEED={seed}"));
    let mut random = Random(seed.max(1));
    let endpoint = broker.endpoint().to_owned();
    let topic = unique("kill");
    let group = format!("{topic}-reader");
    let admin = admin(&endpoint);
    create_topic(&admin, &topic, PARTITIONS, &[]).expect("topic");

    let mut load = Load::start(&endpoint, &topic);
    let mut reader = Reader::start(&endpoint, &topic, &group);
    let mut times = Vec::new();
    for round in 0..kills {
        let until_acked = load.acknowledged() + 500 + random.below(8000) as usize;
        until("acknowledgements", || load.acknowledged() >= until_acked);
        // Topics made and unmade just before the kill: acknowledged, so they must hold.
        let (kept, gone) = (format!("{topic}-kept-{round}"), format!("{topic}-gone-{round}"));
        create_topic(&admin, &gone, 1, &[]).expect("a topic to delete");
        let deleted = block_on(admin.delete_topics(&[&gone], &options())).expect("delete_topics");
        assert!(deleted[0].is_ok(), "{deleted:?}");
        create_topic(&admin, &kept, 2, &[("retention.ms", "123456789")]).expect("a topic to keep");
        // And then at some moment of the next few milliseconds.
        let moment = Duration::from_micros(random.below(30_000));
        let began = Instant::now();
        while began.elapsed() < moment {
            std::thread::yield_now();
        }
        let acked_before = load.acknowledged();
        let committed_before = *reader.shared.committed.lock().expect("reader");
        broker.kill();
        let back = broker.restart();
        assert!(
            back < SERVES_WITHIN || !is_own(),
            "it served again only after {back:?}"
        );
        times.push(back);

        let lookup = consumer(&endpoint, &group, &[]);
        let ends: i64 = (0..PARTITIONS).map(|p| watermarks(&lookup, &topic, p).1).sum();
        assert!(
            ends >= acked_before as i64,
            "round {round}: {ends} records, {acked_before} acknowledged before the kill"
        );
        let mut ask = TopicPartitionList::new();
        (0..PARTITIONS).for_each(|p| {
            ask.add_partition(&topic, p);
        });
        let committed = retried("committed", || lookup.committed_offsets(ask.clone(), LIMIT));
        for part in committed.elements() {
            let want = committed_before[part.partition() as usize];
            let found = part.offset().to_raw().unwrap_or(-1).max(0);
            assert!(
                found >= want,
                "round {round}: committed {want}, found {found} in {}",
                part.partition()
            );
        }
        let metadata = lookup.fetch_metadata(None, LIMIT).expect("metadata");
        let names: Vec<&str> = metadata.topics().iter().map(|t| t.name()).collect();
        assert!(
            names.contains(&kept.as_str()),
            "round {round}: the topic created before the kill is missing"
        );
        assert!(
            !names.contains(&gone.as_str()),
            "round {round}: the topic deleted before the kill is back"
        );
    }

    let sent = load.finish();
    let total: u64 = sent.iter().sum();
    assert_eq!(
        load.acks
            .iter()
            .map(|a| a.count.load(Ordering::SeqCst) as u64)
            .sum::<u64>(),
        total,
        "acknowledged"
    );
    until("the reader's last record", || reader.total() as u64 >= total);
    reader.finish();
    verify(&endpoint, &topic, &sent, &load, &reader);

    let worst = times.iter().max().expect("a kill");
    let list: Vec<String> = times
        .iter()
        .map(|t| format!("{:.0}", t.as_secs_f64() * 1000.0))
        .collect();
    judge.passed(&format!(
        "{total} records of {PRODUCERS} producers, {kills} kills; served again after {} ms (worst {:.0} ms)",
        list.join(", "),
        worst.as_secs_f64() * 1000.0
    ));
}

fn is_own() -> bool {
    std::env::var_os("TURGO_TEST_ENDPOINT").is_none()
}

/// Reads the log anew and compares it with what producers and the live reader know.
fn verify(endpoint: &str, topic: &str, sent: &[u64], load: &Load, reader: &Reader) {
    let client = consumer(endpoint, &format!("{topic}-verify"), &[]);
    let total: u64 = sent.iter().sum();
    let ends: Vec<i64> = (0..PARTITIONS).map(|p| watermarks(&client, topic, p).1).collect();
    assert_eq!(
        ends.iter().sum::<i64>() as u64,
        total,
        "records in the log: each sent one once, {ends:?}"
    );
    let mut list = TopicPartitionList::new();
    for p in 0..PARTITIONS {
        list.add_partition_offset(topic, p, Offset::Beginning)
            .expect("an offset");
    }
    client.assign(&list).expect("assign");
    let mut log: Vec<Vec<(usize, u64)>> = vec![Vec::new(); PARTITIONS as usize];
    let mut last: HashMap<(usize, i32), u64> = HashMap::new();
    for _ in 0..total {
        let message = support::librdkafka::next(&client);
        let partition = message.partition();
        let part = &mut log[partition as usize];
        assert_eq!(message.offset(), part.len() as i64, "offsets without a gap");
        let (producer, number) = parse(message.payload().expect("a value"));
        assert_eq!(
            (number % PARTITIONS as u64) as i32,
            partition,
            "the partition it was sent to"
        );
        if let Some(before) = last.insert((producer, partition), number) {
            assert!(
                number > before,
                "producer {producer} in partition {partition}: {number} comes after {before}"
            );
        }
        let acked = load.acks[producer].places.lock().expect("acks").remove(&number);
        assert_eq!(
            acked,
            Some((partition, message.offset())),
            "record {producer}:{number}: acknowledged and found"
        );
        part.push((producer, number));
    }
    for (producer, acks) in load.acks.iter().enumerate() {
        let missing = acks.places.lock().expect("acks").len();
        assert_eq!(
            missing, 0,
            "acknowledged records of producer {producer} that are not in the log"
        );
    }
    let seen = reader.shared.seen.lock().expect("reader");
    for (p, part) in log.iter().enumerate() {
        assert!(
            seen[p] == *part,
            "partition {p}: the live reader saw other records than the log holds"
        );
    }
}
