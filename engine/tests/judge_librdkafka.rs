//! librdkafka, as the crate `rdkafka` bundles it, as a judge: admin calls, every codec there and back, seeks by
//! timestamp, committed offsets, eager and cooperative groups under load.
//!
//! Run alone with `cargo test -p turgo-engine --test judge_librdkafka`.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_lite::future::block_on;
use rdkafka::admin::{AdminClient, AlterConfig, NewPartitions, ResourceSpecifier};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use support::librdkafka::{
    LIMIT, Ledger, Member, admin, config, consumer, create_topic, next, options, until, watermarks,
};
use support::{Broker, Judge, unique};

const BASE_TIME: i64 = 1_700_000_000_000;
const RECORDS: usize = 600;

type Admin = AdminClient<DefaultClientContext>;

#[test]
fn librdkafka() {
    let judge = Judge::begin("librdkafka");
    let broker = Broker::start();
    let endpoint = broker.endpoint();
    let prefix = unique("librdkafka");
    let admin = admin(endpoint);
    topics(&admin, endpoint, &prefix);
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        round_trip(&admin, endpoint, &prefix, codec);
    }
    timestamps(endpoint, &prefix);
    offsets(endpoint, &prefix);
    groups(&admin, endpoint, &prefix, "range");
    groups(&admin, endpoint, &prefix, "cooperative-sticky");
    configs(&admin, endpoint, &prefix);
    records(&admin, endpoint, &prefix);
    deletion(&admin, endpoint, &prefix);
    judge
        .passed("topics, five codecs, timestamps, offsets, eager and cooperative groups, configs, deletions");
}

fn topics(admin: &Admin, endpoint: &str, prefix: &str) {
    let topic = format!("{prefix}-topics");
    create_topic(admin, &topic, 3, &[("max.message.bytes", "65536")]).expect("topic");
    assert_eq!(
        create_topic(admin, &topic, 3, &[]),
        Err(RDKafkaErrorCode::TopicAlreadyExists)
    );
    assert_eq!(
        create_topic(admin, "not/legal", 1, &[]),
        Err(RDKafkaErrorCode::InvalidTopic)
    );
    let bad = create_topic(admin, &format!("{prefix}-bad"), 1, &[("retention.ms", "soon")]);
    assert_eq!(bad, Err(RDKafkaErrorCode::InvalidConfig));
    let grow = NewPartitions::new(&topic, 5);
    let grown = block_on(admin.create_partitions([&grow], &options())).expect("create_partitions");
    assert!(grown.iter().all(Result::is_ok), "{grown:?}");
    let lookup = consumer(endpoint, "lookup", &[]);
    until("five partitions", || {
        let metadata = lookup.fetch_metadata(Some(&topic), LIMIT).expect("metadata");
        metadata.topics()[0].partitions().len() == 5
    });
    let metadata = lookup.fetch_metadata(None, LIMIT).expect("metadata");
    assert!(metadata.topics().iter().any(|t| t.name() == topic));
    assert!(
        lookup
            .client()
            .fetch_cluster_id(LIMIT)
            .is_some_and(|id| !id.is_empty()),
        "cluster id"
    );
}

/// Counts acknowledgements and keeps the offsets, in the order of sending.
#[derive(Clone, Default)]
struct Acks {
    offsets: Arc<std::sync::Mutex<Vec<(usize, i64)>>>,
    refused: Arc<std::sync::Mutex<Option<RDKafkaErrorCode>>>,
}

impl ClientContext for Acks {}

impl ProducerContext for Acks {
    type DeliveryOpaque = Box<usize>;

    fn delivery(&self, result: &DeliveryResult<'_>, number: Box<usize>) {
        match result {
            Ok(message) => self
                .offsets
                .lock()
                .expect("acks")
                .push((*number, message.offset())),
            Err((error, _)) => *self.refused.lock().expect("acks") = error.rdkafka_error_code(),
        }
    }
}

/// Record `i`: every kind of key, value, header and timestamp.
struct Sample {
    key: Option<String>,
    value: Option<Vec<u8>>,
    timestamp: i64,
    headers: Vec<(&'static str, Option<Vec<u8>>)>,
}

fn sample(codec: &str, i: usize) -> Sample {
    let value = match i % 11 {
        5 => None,
        6 => Some(Vec::new()),
        _ => Some(
            [
                b"\xff\0".as_slice(),
                format!("{codec}-{i}-{}", "x".repeat(i * 37 % 500)).as_bytes(),
            ]
            .concat(),
        ),
    };
    Sample {
        key: (i % 7 != 3).then(|| format!("key-{}", i % 10)),
        value,
        timestamp: BASE_TIME + i as i64 * 1000,
        headers: vec![
            ("n", Some(i.to_string().into_bytes())),
            ("dup", Some(b"a".to_vec())),
            ("dup", Some(b"b".to_vec())),
            ("empty", Some(Vec::new())),
            ("null", None),
        ],
    }
}

fn round_trip(admin: &Admin, endpoint: &str, prefix: &str, codec: &str) {
    let topic = format!("{prefix}-codec-{codec}");
    create_topic(admin, &topic, 3, &[("retention.ms", "-1")]).expect("topic");
    let acks = Acks::default();
    let more = [
        ("compression.type", codec),
        ("enable.idempotence", "true"),
        ("linger.ms", "20"),
    ];
    let producer: BaseProducer<Acks> = config(endpoint, &more)
        .create_with_context(acks.clone())
        .expect("producer");
    for i in 0..RECORDS {
        let sample = sample(codec, i);
        let mut headers = OwnedHeaders::new();
        for (key, value) in &sample.headers {
            headers = headers.insert(Header {
                key,
                value: value.as_ref(),
            });
        }
        let mut record = BaseRecord::<str, [u8], Box<usize>>::with_opaque_to(&topic, Box::new(i))
            .partition((i % 3) as i32)
            .timestamp(sample.timestamp)
            .headers(headers);
        record.key = sample.key.as_deref();
        record.payload = sample.value.as_deref();
        producer.send(record).map_err(|(error, _)| error).expect("send");
    }
    producer.flush(LIMIT).expect("flush");
    let mut acked = acks.offsets.lock().expect("acks").clone();
    acked.sort_unstable();
    let want: Vec<(usize, i64)> = (0..RECORDS).map(|i| (i, (i / 3) as i64)).collect();
    assert_eq!(acked, want, "records and offsets acknowledged with {codec}");

    let reader = consumer(endpoint, "reader", &[]);
    assign(&reader, &topic, &[(0, 0), (1, 0), (2, 0)]);
    let mut seen = [0; 3];
    for _ in 0..RECORDS {
        let message = next(&reader);
        let p = message.partition() as usize;
        let i = seen[p] * 3 + p;
        seen[p] += 1;
        let want = sample(codec, i);
        assert_eq!(message.offset(), (i / 3) as i64, "offset of record {i}");
        assert_eq!(
            message.key(),
            want.key.as_deref().map(str::as_bytes),
            "key of record {i}"
        );
        assert_eq!(message.payload(), want.value.as_deref(), "value of record {i}");
        assert_eq!(
            message.timestamp().to_millis(),
            Some(want.timestamp),
            "timestamp of record {i}"
        );
        let headers: Vec<(&str, Option<Vec<u8>>)> = message
            .headers()
            .expect("headers")
            .iter()
            .map(|h| (h.key, h.value.map(<[u8]>::to_vec)))
            .collect();
        assert_eq!(headers, want.headers, "headers of record {i}");
    }
    assign(&reader, &topic, &[(1, 77)]);
    assert_eq!(
        next(&reader).offset(),
        77,
        "first record after a seek into a batch"
    );
    assert_eq!(watermarks(&reader, &topic, 2), (0, 200));
}

fn assign(consumer: &BaseConsumer, topic: &str, at: &[(i32, i64)]) {
    let mut list = TopicPartitionList::new();
    for &(partition, offset) in at {
        list.add_partition_offset(topic, partition, Offset::Offset(offset))
            .expect("an offset");
    }
    consumer.assign(&list).expect("assign");
}

fn timestamps(endpoint: &str, prefix: &str) {
    let topic = format!("{prefix}-codec-gzip");
    let lookup = consumer(endpoint, "lookup", &[]);
    let offset_at = |partition: i32, at: i64| {
        let mut ask = TopicPartitionList::new();
        ask.add_partition_offset(&topic, partition, Offset::Offset(at))
            .expect("a time");
        lookup
            .offsets_for_times(ask, LIMIT)
            .expect("offsets_for_times")
            .elements()[0]
            .offset()
    };
    for i in [0, 1, 2, 3, 100, 101, 298, 597, 598, 599_usize] {
        for before in if i < 3 { &[0][..] } else { &[0, 1, 2999] } {
            let found = offset_at((i % 3) as i32, BASE_TIME + i as i64 * 1000 - before);
            assert_eq!(
                found,
                Offset::Offset((i / 3) as i64),
                "for the timestamp of record {i} less {before}"
            );
        }
    }
    assert_eq!(
        offset_at(0, BASE_TIME + 10_000_000),
        Offset::End,
        "a time after the last record"
    );
    assign(&lookup, &topic, &[(0, 100)]);
    assert_eq!(next(&lookup).timestamp().to_millis(), Some(BASE_TIME + 300_000));
}

fn offsets(endpoint: &str, prefix: &str) {
    let (topic, group) = (format!("{prefix}-codec-lz4"), format!("{prefix}-offsets"));
    let writer = consumer(endpoint, &group, &[]);
    let mut to = TopicPartitionList::new();
    let mut zero = to.add_partition(&topic, 0);
    zero.set_offset(Offset::Offset(11)).expect("an offset");
    zero.set_metadata("note ü");
    to.add_partition_offset(&topic, 1, Offset::Offset(22))
        .expect("an offset");
    writer.commit(&to, CommitMode::Sync).expect("commit");
    drop(writer);
    let reader = consumer(endpoint, &group, &[]);
    let mut ask = TopicPartitionList::new();
    for p in 0..3 {
        ask.add_partition(&topic, p);
    }
    let found = reader.committed_offsets(ask, LIMIT).expect("committed");
    let found: Vec<(Offset, String)> = found
        .elements()
        .iter()
        .map(|e| (e.offset(), e.metadata().to_owned()))
        .collect();
    assert_eq!(found[0], (Offset::Offset(11), "note ü".to_owned()));
    assert_eq!(found[1].0, Offset::Offset(22));
    assert_eq!(found[2].0, Offset::Invalid, "never committed");
}

/// A member, a second, a third, and the second leaves, while records keep coming: each is delivered once, in order.
fn groups(admin: &Admin, endpoint: &str, prefix: &str, strategy: &str) {
    let topic = format!("{prefix}-group-{strategy}");
    create_topic(admin, &topic, 6, &[]).expect("topic");
    let ledger = Arc::new(Ledger::default());
    let go = Arc::new(AtomicBool::new(true));
    let (stop, produced) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load = {
        let (endpoint, topic, ledger) = (endpoint.to_owned(), topic.clone(), ledger.clone());
        let (stop, produced) = (stop.clone(), produced.clone());
        std::thread::spawn(move || {
            let acks = Acks::default();
            let producer: BaseProducer<Acks> = config(&endpoint, &[("linger.ms", "2")])
                .create_with_context(acks.clone())
                .expect("producer");
            while !stop.load(Ordering::SeqCst) {
                // The load follows the group: never more than 2000 records ahead of it.
                if !ledger.follow(produced.load(Ordering::SeqCst).saturating_sub(2000)) {
                    continue;
                }
                for i in 0..60 {
                    let record = BaseRecord::<str, str, Box<usize>>::with_opaque_to(&topic, Box::new(i))
                        .partition((i % 6) as i32)
                        .payload("load");
                    producer.send(record).map_err(|(error, _)| error).expect("send");
                }
                producer.flush(LIMIT).expect("flush");
                produced.store(acks.offsets.lock().expect("acks").len(), Ordering::SeqCst);
            }
        })
    };
    let more = [("partition.assignment.strategy", strategy)];
    let join = |name: &str| Member::join(endpoint, name, &topic, &topic, &more, &ledger, &go);
    let a = join("A");
    until("delivery to A", || a.delivered() > 300);
    let b = join("B");
    until("delivery to B", || {
        b.delivered() > 300 && a.assigned() == 3 && b.assigned() == 3
    });
    let c = join("C");
    until("delivery to C", || {
        c.delivered() > 300 && a.assigned() + b.assigned() + c.assigned() == 6
    });
    let lookup = consumer(endpoint, "lookup", &[]);
    let listed = lookup.fetch_group_list(Some(&topic), LIMIT).expect("group list");
    assert_eq!(listed.groups()[0].members().len(), 3, "members described");
    assert_eq!(listed.groups()[0].state(), "Stable");
    b.leave();
    let mark = ledger.delivered();
    until("delivery after B left", || {
        a.assigned() + c.assigned() == 6 && ledger.delivered() > mark + 600
    });
    stop.store(true, Ordering::SeqCst);
    load.join().expect("the load ended well");
    until("last record", || {
        ledger.delivered() == produced.load(Ordering::SeqCst)
    });
    a.leave();
    c.leave();
    let reader = consumer(endpoint, &topic, &[]);
    let mut ask = TopicPartitionList::new();
    (0..6).for_each(|p| {
        ask.add_partition(&topic, p);
    });
    let end = Offset::Offset((produced.load(Ordering::SeqCst) / 6) as i64);
    for part in reader
        .committed_offsets(ask, LIMIT)
        .expect("committed")
        .elements()
    {
        assert_eq!(
            part.offset(),
            end,
            "committed end of partition {}",
            part.partition()
        );
    }
}

fn configs(admin: &Admin, endpoint: &str, prefix: &str) {
    let topic = format!("{prefix}-topics");
    let read = |name: &str| {
        let specifier = ResourceSpecifier::Topic(&topic);
        let found = block_on(admin.describe_configs([&specifier], &options())).expect("describe_configs");
        let found = found.into_iter().next().expect("one answer").expect("configs");
        assert!(found.entries.len() > 20, "only {} configs", found.entries.len());
        found.get(name).and_then(|entry| entry.value.clone())
    };
    assert_eq!(read("max.message.bytes").as_deref(), Some("65536"));
    // librdkafka's old call replaces: what is not named goes back to its default.
    let change = AlterConfig::new(ResourceSpecifier::Topic(&topic)).set("retention.ms", "7200000");
    let changed = block_on(admin.alter_configs([&change], &options())).expect("alter_configs");
    assert!(changed.iter().all(Result::is_ok), "{changed:?}");
    until("new configs", || {
        read("retention.ms").as_deref() == Some("7200000")
    });
    assert_eq!(read("max.message.bytes").as_deref(), Some("1048588"));

    // Back to a small limit, which a producer that would send more then meets.
    let change = AlterConfig::new(ResourceSpecifier::Topic(&topic)).set("max.message.bytes", "65536");
    block_on(admin.alter_configs([&change], &options())).expect("alter_configs");
    until("small limit", || {
        read("max.message.bytes").as_deref() == Some("65536")
    });
    let acks = Acks::default();
    let producer: BaseProducer<Acks> = config(endpoint, &[("message.max.bytes", "10000000")])
        .create_with_context(acks.clone())
        .expect("producer");
    let value = vec![b'0'; 200_000];
    let record = BaseRecord::<str, [u8], Box<usize>>::with_opaque_to(&topic, Box::new(0))
        .partition(0)
        .payload(&value);
    producer.send(record).map_err(|(error, _)| error).expect("send");
    producer.flush(LIMIT).expect("flush");
    assert_eq!(
        *acks.refused.lock().expect("acks"),
        Some(RDKafkaErrorCode::MessageSizeTooLarge)
    );
}

fn records(admin: &Admin, endpoint: &str, prefix: &str) {
    let topic = format!("{prefix}-codec-none");
    let mut before = TopicPartitionList::new();
    before
        .add_partition_offset(&topic, 0, Offset::Offset(120))
        .expect("an offset");
    let gone = block_on(admin.delete_records(&before, &options())).expect("delete_records");
    assert_eq!(gone.elements()[0].offset(), Offset::Offset(120), "low watermark");
    let reader = consumer(endpoint, "reader", &[]);
    assert_eq!(watermarks(&reader, &topic, 0), (120, 200));
    assign(&reader, &topic, &[(0, 5)]);
    assert_eq!(
        next(&reader).offset(),
        120,
        "first record after a reset to earliest"
    );
}

fn deletion(admin: &Admin, endpoint: &str, prefix: &str) {
    let group = format!("{prefix}-group-range");
    let deleted = block_on(admin.delete_groups(&[&group], &options())).expect("delete_groups");
    assert!(deleted.iter().all(Result::is_ok), "{deleted:?}");
    let lookup = consumer(endpoint, "lookup", &[]);
    let mine = || -> Vec<String> {
        let metadata = lookup.fetch_metadata(None, LIMIT).expect("metadata");
        metadata
            .topics()
            .iter()
            .map(|t| t.name().to_owned())
            .filter(|t| t.starts_with(prefix))
            .collect()
    };
    let names = mine();
    assert_eq!(names.len(), 8, "{names:?}");
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let deleted = block_on(admin.delete_topics(&names, &options())).expect("delete_topics");
    assert!(deleted.iter().all(Result::is_ok), "{deleted:?}");
    until("end of the topics", || mine().is_empty());
    let again = block_on(admin.delete_topics(&names[..1], &options())).expect("delete_topics");
    assert_eq!(
        again[0].as_ref().map_err(|(_, code)| *code),
        Err(RDKafkaErrorCode::UnknownTopicOrPartition)
    );
}
