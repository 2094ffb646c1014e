//! Log compaction, judged from outside: Kafka's own `LogCompactionTester`, and the newest value of every key after the
//! broker was killed, again and again, while it compacted.
//!
//! Run alone with `cargo test -p turgo-engine --test judge_compaction`.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use support::librdkafka::{admin, config, consumer, create_topic, transient, until, watermarks};
use support::{Broker, Judge, tools, unique};

/// Small segments, and a cleaner that does not wait.
const EAGER: [&str; 12] = [
    "--set",
    "kafka.log.segment.bytes=1048576",
    "--set",
    "kafka.log.cleaner.backoff.ms=50",
    "--set",
    "kafka.log.cleaner.min.cleanable.ratio=0.01",
    "--set",
    "kafka.log.cleaner.dedupe.buffer.size=4194304",
    "--set",
    "kafka.group.initial.rebalance.delay.ms=0",
    "--set",
    "kafka.offsets.topic.num.partitions=2",
];

#[test]
fn kafkas_log_compaction_tester() {
    let judge = Judge::begin("log-compaction-tester");
    let program = match tools::java_class("org.apache.kafka.tools.LogCompactionTester") {
        Ok(program) => program,
        Err(why) => return judge.skipped(&why),
    };
    let broker = Broker::start_with(&EAGER);
    let mut said = Vec::new();
    for codec in ["none", "zstd"] {
        let args = [
            "--bootstrap-server",
            broker.endpoint(),
            "--messages",
            "200000",
            "--duplicates",
            "50",
            "--percent-deletes",
            "10",
            "--topics",
            "2",
            "--sleep",
            "5",
            "--compression-type",
            codec,
        ];
        let out = program.run(&args, Duration::from_secs(180)).succeeded();
        out.says("Data verification is completed");
        let reduction = out
            .stdout
            .split_once("consumed (")
            .and_then(|(_, rest)| rest.split_once('%'))
            .and_then(|(percent, _)| percent.parse::<f64>().ok())
            .expect("a reduction");
        assert!(reduction > 20.0, "hardly anything was compacted: {reduction} %");
        said.push(format!("{codec}: {reduction:.0} % fewer rows"));
    }
    judge.passed(&said.join(", "));
}

/// xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound
    }
}

const KEYS: u64 = 200;
const PARTITIONS: i32 = 2;

/// What the topic must come to: the newest value of each key, none where it was deleted.
type Newest = BTreeMap<String, Option<String>>;

/// Writes `count` records of random keys, a tenth of them tombstones, and waits until all are acknowledged.
fn write(
    endpoint: &str,
    topic: &str,
    count: u64,
    serial: &mut u64,
    random: &mut Random,
    newest: &mut Newest,
) {
    let codec = ["none", "lz4", "zstd", "gzip", "snappy"][random.below(5) as usize];
    let more = [
        ("enable.idempotence", "true"),
        ("acks", "all"),
        ("compression.type", codec),
        ("linger.ms", "5"),
        ("batch.num.messages", "100"),
    ];
    let producer: BaseProducer = config(endpoint, &more).create().expect("a producer");
    for _ in 0..count {
        let key = format!("key-{}", random.below(KEYS));
        *serial += 1;
        let value = (random.below(10) > 0).then(|| {
            // Noise, so that it stays long whatever the codec.
            let noise = (0..60).map(|_| format!("{:016x}", random.below(u64::MAX)));
            format!("{serial}:{}", noise.collect::<String>())
        });
        // The same key always goes to the same partition.
        let partition = (key.len() as u64 + key.bytes().map(u64::from).sum::<u64>()) % PARTITIONS as u64;
        loop {
            let mut record = BaseRecord::to(topic).partition(partition as i32).key(&key);
            if let Some(value) = &value {
                record = record.payload(value);
            }
            match producer.send(record) {
                Ok(()) => break,
                Err(_) => {
                    producer.poll(Duration::from_millis(10));
                }
            }
        }
        newest.insert(key, value);
    }
    producer.flush(Duration::from_secs(60)).expect("all acknowledged");
}

/// Reads the whole topic as it is. Returns the number of records and the newest of each key.
fn read(endpoint: &str, topic: &str) -> (usize, Newest) {
    let consumer = consumer(
        endpoint,
        &unique("compaction"),
        &[("enable.partition.eof", "true")],
    );
    let mut all = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        all.add_partition_offset(topic, partition, Offset::Beginning)
            .expect("an assignment");
    }
    consumer.assign(&all).expect("assigned");
    let (mut count, mut newest, mut last) = (0, Newest::new(), BTreeMap::new());
    let mut ended = BTreeSet::new();
    while ended.len() < PARTITIONS as usize {
        match consumer
            .poll(Duration::from_secs(30))
            .expect("records or the end")
        {
            Ok(message) => {
                count += 1;
                let at = (message.partition(), message.offset());
                let before = last.insert(at.0, at.1);
                assert!(
                    before.is_none_or(|b| b < at.1),
                    "offset {} came after {before:?}",
                    at.1
                );
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
                let key = text(message.key().expect("every record has a key"));
                newest.insert(key, message.payload().map(text));
            }
            Err(rdkafka::error::KafkaError::PartitionEOF(partition)) => {
                ended.insert(partition);
            }
            Err(error) => assert!(transient(&error), "{error}"),
        }
    }
    (count, newest)
}

/// True for what the cleaner writes: `OFFSET.GENERATION.seg` of a generation above the first.
fn is_output(path: &Path) -> bool {
    let name = path
        .file_stem()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    name.split_once('.')
        .is_some_and(|(_, generation)| generation.bytes().any(|digit| digit != b'0'))
}

/// Every key comes to what was written last; a deleted one may be gone altogether.
fn compare(found: &Newest, newest: &Newest) {
    for (key, value) in newest {
        let got = found.get(key);
        let same = match value {
            Some(_) => got == Some(value),
            None => got.is_none_or(Option::is_none),
        };
        assert!(same, "{key}: {got:?}, last written {value:?}");
    }
    assert!(
        found.keys().all(|key| newest.contains_key(key)),
        "a key nobody wrote"
    );
}

#[test]
fn kills_amid_compaction_lose_no_newest_value() {
    let judge = Judge::begin("compaction-kill");
    let mut broker = Broker::start_with(&EAGER);
    if !broker.can_be_killed() {
        return judge.skipped("the external broker cannot be killed");
    }
    let topic = unique("compacted");
    let settings = [
        ("cleanup.policy", "compact,delete"),
        ("retention.ms", "-1"),
        ("delete.retention.ms", "200"),
    ];
    create_topic(&admin(broker.endpoint()), &topic, PARTITIONS, &settings).expect("topic");
    let mut random = Random(0x5eed);
    let (mut serial, mut newest, mut kills) = (0, Newest::new(), 0);
    for round in 0..6 {
        let before = broker.segment_files();
        let mut write = |count| {
            write(
                broker.endpoint(),
                &topic,
                count,
                &mut serial,
                &mut random,
                &mut newest,
            )
        };
        write(4000);
        if round < 5 {
            // Once the cleaner has begun so many outputs: this hits other parts of a pass in each round. It may need
            // more than was written, as codecs decide when a segment closes.
            let outputs = 1 + round % 3;
            for more in 0.. {
                let files = broker.segment_files();
                if files.difference(&before).filter(|path| is_output(path)).count() >= outputs {
                    break;
                }
                assert!(more < 200, "the cleaner never began {outputs} outputs");
                write(200);
            }
            broker.kill();
            broker.restart();
            kills += 1;
        }
        let (_, found) = read(broker.endpoint(), &topic);
        compare(&found, &newest);
    }
    // All that is left beyond a record for each key is what the active segments hold.
    let most = KEYS as usize + 2 * (2 << 20) / 1000;
    let mut left = usize::MAX;
    until("the cleaner has caught up", || {
        let (count, found) = read(broker.endpoint(), &topic);
        compare(&found, &newest);
        left = count;
        count <= most
    });
    let probe = consumer(broker.endpoint(), &unique("bounds"), &[]);
    let written: i64 = (0..PARTITIONS)
        .map(|p| {
            let (low, high) = watermarks(&probe, &topic, p);
            high - low
        })
        .sum();
    assert!(written >= 24_000, "offsets do not move: {written}");
    judge.passed(&format!(
        "{kills} kills, {left} of {written} records left, {KEYS} keys as written"
    ));
}
