//! Transactions as their clients know them: Java's and franz-go's way (`transaction.version` 2, where every end raises the epoch) and
//! librdkafka's (before KIP-890), each with commits, aborts, fences, offsets in transactions, and a consumer that reads,
//! writes and commits its offsets in one transaction while the broker is killed with SIGKILL: each record must arrive
//! exactly once.
//!
//! Rounds of kills: `TURGO_TEST_KILLS=N`, 4 unless said; moments: `TURGO_TEST_SEED=N`.
//! Run alone with `cargo test -p turgo-engine --test judge_transactions`.

mod support;

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use support::librdkafka::{LIMIT, admin, config, consumer, create_topic, until};
use support::{Broker, Judge, programs, say, tools, unique};

const STORY_WITHIN: Duration = Duration::from_secs(240);
/// Transactions that take too long are looked for every second, so that stories need not wait for long.
const EAGER: [&str; 4] = [
    "--set",
    "kafka.group.initial.rebalance.delay.ms=0",
    "--set",
    "kafka.transaction.abort.timed.out.transaction.cleanup.interval.ms=1000",
];
const PARTITIONS: i32 = 4;

fn story(name: &str, tool: tools::Tool, verb: &str) {
    let judge = Judge::begin(name);
    let program = match tool {
        Ok(program) => program,
        Err(why) => return judge.skipped(&why),
    };
    let broker = Broker::start_with(&EAGER);
    let args = [verb, "--bootstrap", broker.endpoint(), "--prefix", &unique("txn")];
    let output = program.run(&args, STORY_WITHIN).succeeded();
    assert!(
        output.checks() >= 7,
        "only {} checks\n{}",
        output.checks(),
        output.everything()
    );
    judge.passed(&format!("{} groups of checks", output.checks()));
}

#[test]
fn java() {
    story("transactions: java", tools::java_class("Transactions"), "story");
}

#[test]
fn franz_go() {
    story("transactions: franz-go", tools::franz_go(), "transactions");
}

/// Values of a topic, by partition, up to its end as the isolation level sees it, once nothing is open any more.
fn read(endpoint: &str, topic: &str, isolation: &str) -> Vec<Vec<String>> {
    let reader = |isolation| -> BaseConsumer {
        let more = [("isolation.level", isolation), ("fetch.wait.max.ms", "20")];
        consumer(endpoint, "reader", &more)
    };
    let (committed, all) = (reader("read_committed"), reader("read_uncommitted"));
    let ends = |consumer: &BaseConsumer| -> Option<Vec<i64>> {
        (0..PARTITIONS)
            .map(|p| consumer.fetch_watermarks(topic, p, LIMIT).ok().map(|w| w.1))
            .collect()
    };
    until("the end of all transactions", || {
        ends(&all).is_some_and(|all| Some(all) == ends(&committed))
    });
    let ends = ends(&all).expect("asked before");
    let consumer = reader(isolation);
    let mut list = TopicPartitionList::new();
    for p in 0..PARTITIONS {
        list.add_partition_offset(topic, p, Offset::Beginning)
            .expect("a partition");
    }
    consumer.assign(&list).expect("assigned");
    let mut values = vec![Vec::new(); PARTITIONS as usize];
    let deadline = Instant::now() + LIMIT;
    let done = |consumer: &BaseConsumer| {
        let at = consumer.position().expect("positions");
        (0..PARTITIONS).all(|p| {
            ends[p as usize] == 0
                || matches!(at.find_partition(topic, p).map(|e| e.offset()),
                    Some(Offset::Offset(offset)) if offset >= ends[p as usize])
        })
    };
    // The position does not move over what a reader is not shown at the very end; an empty poll there is the end.
    let mut idle = 0;
    while !done(&consumer) && idle < 5 {
        assert!(Instant::now() < deadline, "the end of {topic}");
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => {
                idle = 0;
                let value = message.payload_view::<str>().expect("a value").expect("text");
                values[message.partition() as usize].push(value.to_owned());
            }
            Some(Err(error)) => assert!(support::librdkafka::transient(&error), "poll: {error}"),
            None => idle += 1,
        }
    }
    values
}

fn producer(endpoint: &str, id: &str, more: &[(&str, &str)]) -> BaseProducer {
    let mut config: ClientConfig = config(
        endpoint,
        &[
            ("transactional.id", id),
            ("transaction.timeout.ms", "30000"),
            ("linger.ms", "0"),
        ],
    );
    for (key, value) in more {
        config.set(*key, *value);
    }
    config.create().expect("producer")
}

fn send(producer: &BaseProducer, topic: &str, partition: i32, value: &str) {
    let mut record = BaseRecord::<(), str>::to(topic)
        .partition(partition)
        .payload(value);
    loop {
        match producer.send(record) {
            Ok(()) => return,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                record = back;
                producer.poll(Duration::from_millis(10));
            }
            Err((error, _)) => panic!("{value}: {error}"),
        }
    }
}

#[test]
fn librdkafka() {
    let judge = Judge::begin("transactions: librdkafka");
    let broker = Broker::start_with(&EAGER);
    let endpoint = broker.endpoint();
    let topic = unique("txn-rd");
    create_topic(&admin(endpoint), &topic, PARTITIONS, &[]).expect("topic");
    let one = producer(endpoint, "one", &[]);
    one.init_transactions(LIMIT).expect("initialised");
    let (mut kept, mut all) = (0, 0);
    for round in 0..20 {
        let commit = round % 3 != 2;
        one.begin_transaction().expect("begun");
        for i in 0..40 {
            let outcome = if commit { "c" } else { "x" };
            send(&one, &topic, i % PARTITIONS, &format!("{outcome} {round} {i}"));
        }
        one.flush(LIMIT).expect("flushed");
        all += 40;
        if commit {
            one.commit_transaction(LIMIT).expect("committed");
            kept += 40;
        } else {
            one.abort_transaction(LIMIT).expect("aborted");
        }
    }
    let committed: Vec<String> = read(endpoint, &topic, "read_committed").concat();
    assert_eq!(committed.len(), kept, "committed records");
    assert!(committed.iter().all(|v| v.starts_with('c')), "an aborted record");
    let seen = read(endpoint, &topic, "read_uncommitted").concat().len();
    assert_eq!(seen, all, "all records");

    // A second producer under the same id fences the first in the middle of a transaction.
    one.begin_transaction().expect("begun");
    send(&one, &topic, 0, "x fenced");
    one.flush(LIMIT).expect("flushed");
    let two = producer(endpoint, "one", &[]);
    two.init_transactions(LIMIT).expect("initialised");
    let fenced = one.commit_transaction(LIMIT).expect_err("fenced");
    assert!(
        matches!(&fenced, KafkaError::Transaction(e) if e.is_fatal()),
        "{fenced:?}"
    );
    two.begin_transaction().expect("begun");
    send(&two, &topic, 0, "c after the fence");
    two.commit_transaction(LIMIT).expect("committed");

    // A transaction that takes too long is aborted by the broker.
    let slow = producer(endpoint, "slow", &[("transaction.timeout.ms", "1000")]);
    slow.init_transactions(LIMIT).expect("initialised");
    slow.begin_transaction().expect("begun");
    send(&slow, &topic, 1, "x too slow");
    slow.flush(LIMIT).expect("flushed");
    let committed = read(endpoint, &topic, "read_committed").concat();
    assert_eq!(committed.len(), kept + 1, "committed records after a fence");
    slow.commit_transaction(LIMIT).expect_err("too late");
    let greedy = producer(
        endpoint,
        "greedy",
        &[
            ("transaction.timeout.ms", "3600000"),
            ("message.timeout.ms", "3600000"),
        ],
    );
    let refused = greedy.init_transactions(LIMIT).expect_err("an hour is refused");
    assert!(
        format!("{refused:?}").contains("timeout is larger"),
        "{refused:?}"
    );
    judge.passed("20 transactions, a fence, two timeouts");
}

fn kills() -> u64 {
    let given = std::env::var("TURGO_TEST_KILLS").ok();
    given.map_or(4, |text| text.parse().expect("a number of kills"))
}

fn seed() -> u64 {
    let given = std::env::var("TURGO_TEST_SEED").ok();
    let seed = given.map_or_else(
        || u64::from(std::process::id()) | 1,
        |text| text.parse().expect("a seed"),
    );
    say(&format!("transactions: TURGO_TEST_SEED={seed}"));
    seed
}

/// Writes what is to be copied: numbered records in every partition.
fn fill(endpoint: &str, topic: &str, each: usize) {
    let producer: BaseProducer = config(endpoint, &[("enable.idempotence", "true"), ("linger.ms", "1")])
        .create()
        .expect("producer");
    for i in 0..each {
        for p in 0..PARTITIONS {
            send(&producer, topic, p, &format!("{p}:{i}"));
        }
    }
    producer.flush(LIMIT).expect("flushed");
}

/// Each partition of the copy holds what was there to be copied, once, in order.
fn check_copy(endpoint: &str, topic: &str, each: usize) {
    let copy = read(endpoint, topic, "read_committed");
    for (p, values) in copy.iter().enumerate() {
        let want: Vec<String> = (0..each).map(|i| format!("{p}:{i}")).collect();
        if *values == want {
            continue;
        }
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for value in values {
            *counts.entry(value).or_default() += 1;
        }
        let lost: Vec<_> = want
            .iter()
            .filter(|v| !counts.contains_key(v.as_str()))
            .take(5)
            .collect();
        let twice: Vec<_> = counts.iter().filter(|(_, n)| **n > 1).take(5).collect();
        panic!(
            "partition {p}: {} of {each} records; lost {lost:?}, twice {twice:?}",
            values.len()
        );
    }
}

#[test]
fn java_copies_exactly_once_under_kills() {
    const EACH: usize = 4_000;
    let judge = Judge::begin("transactions: java under kills");
    let program = match tools::java_class("Transactions") {
        Ok(program) => program,
        Err(why) => return judge.skipped(&why),
    };
    let mut broker = Broker::start_with(&EAGER);
    if !broker.can_be_killed() {
        return judge.skipped("needs a broker that can be killed");
    }
    let endpoint = broker.endpoint().to_owned();
    let (input, output) = (unique("txn-in"), unique("txn-out"));
    for topic in [&input, &output] {
        create_topic(&admin(&endpoint), topic, PARTITIONS, &[]).expect("topic");
    }
    fill(&endpoint, &input, EACH);
    let expect = (EACH * PARTITIONS as usize).to_string();
    let args = [
        "etl",
        "--bootstrap",
        &endpoint,
        "--in",
        &input,
        "--out",
        &output,
        "--group",
        &unique("txn-group"),
        "--id",
        "copier",
        "--batch",
        "20",
        "--expect",
        &expect,
    ];
    let child = program.command(&args).stdout(Stdio::piped()).spawn();
    let mut child = programs::Killed(child.expect("the copier"));
    let lines = BufReader::new(child.0.stdout.take().expect("piped"));
    let (told, hears) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in lines.lines().map_while(Result::ok) {
            if told.send(line).is_err() {
                return;
            }
        }
    });
    let (mut kills_left, mut moment) = (kills(), seed());
    let mut heard = Vec::new();
    loop {
        let line = hears
            .recv_timeout(STORY_WITHIN)
            .unwrap_or_else(|_| panic!("nothing heard after {heard:#?}\n{}", broker.log_tail()));
        let done = line.starts_with("ok ");
        // A kill some commits after the last, at a moment that no commit boundary decides.
        if line.starts_with("committed ") && kills_left > 0 {
            moment = moment.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let until = Instant::now() + Duration::from_micros(moment >> 48);
            while Instant::now() < until {
                std::hint::spin_loop();
            }
            broker.kill();
            broker.restart();
            kills_left -= 1;
        }
        heard.push(line);
        if done {
            break;
        }
    }
    assert_eq!(kills_left, 0, "the copy was faster than the kills: {heard:#?}");
    check_copy(&endpoint, &output, EACH);
    judge.passed(&format!("{} kills; {}", kills(), heard[heard.len() - 2]));
}

/// Copies some records at a time with their offsets in one transaction, until the group has all; begins anew, with a new
/// producer under the same id, after any error. Counts committed transactions.
fn copy(endpoint: &str, input: &str, output: &str, expect: i64, committed: &AtomicUsize) {
    let deadline = Instant::now() + STORY_WITHIN;
    loop {
        assert!(Instant::now() < deadline, "{expect} records copied");
        let producer = producer(endpoint, "rd-copier", &[]);
        let reader: BaseConsumer = consumer(endpoint, "rd-copiers", &[("isolation.level", "read_committed")]);
        if producer.init_transactions(Duration::from_secs(20)).is_err() {
            continue;
        }
        reader.subscribe(&[input]).expect("subscribed");
        let outcome = (|| -> Result<(), KafkaError> {
            loop {
                assert!(Instant::now() < deadline, "{expect} records copied");
                let mut next: HashMap<i32, i64> = HashMap::new();
                let mut batch = Vec::new();
                while batch.len() < 20 {
                    match reader.poll(Duration::from_millis(if batch.is_empty() { 200 } else { 0 })) {
                        Some(Ok(message)) => {
                            next.insert(message.partition(), message.offset() + 1);
                            let value = message.payload_view::<str>().expect("a value").expect("text");
                            batch.push((message.partition(), value.to_owned()));
                        }
                        Some(Err(error)) if support::librdkafka::transient(&error) => {}
                        Some(Err(error)) => return Err(error),
                        None => break,
                    }
                }
                if batch.is_empty() {
                    let mut all = TopicPartitionList::new();
                    (0..PARTITIONS).for_each(|p| {
                        all.add_partition(input, p);
                    });
                    let stored = reader.committed_offsets(all, Duration::from_secs(10))?;
                    let sum: i64 = stored.elements().iter().filter_map(|e| e.offset().to_raw()).sum();
                    if sum >= expect {
                        return Ok(());
                    }
                    continue;
                }
                producer.begin_transaction()?;
                for (partition, value) in &batch {
                    send(&producer, output, *partition, value);
                }
                let mut offsets = TopicPartitionList::new();
                for (partition, offset) in next {
                    offsets.add_partition_offset(input, partition, Offset::Offset(offset))?;
                }
                let group = reader.group_metadata().expect("a member");
                producer.send_offsets_to_transaction(&offsets, &group, LIMIT)?;
                producer.commit_transaction(LIMIT)?;
                committed.fetch_add(1, Ordering::SeqCst);
            }
        })();
        match outcome {
            Ok(()) => return,
            // What became of the transaction is known to the next producer under this id.
            Err(error) => say(&format!("the copier begins anew after {error}")),
        }
    }
}

#[test]
fn librdkafka_copies_exactly_once_under_kills() {
    const EACH: usize = 2_500;
    let judge = Judge::begin("transactions: librdkafka under kills");
    let mut broker = Broker::start_with(&EAGER);
    if !broker.can_be_killed() {
        return judge.skipped("needs a broker that can be killed");
    }
    let endpoint = broker.endpoint().to_owned();
    let (input, output) = (unique("rd-in"), unique("rd-out"));
    for topic in [&input, &output] {
        create_topic(&admin(&endpoint), topic, PARTITIONS, &[]).expect("topic");
    }
    fill(&endpoint, &input, EACH);
    let committed = Arc::new(AtomicUsize::new(0));
    let copier = {
        let (endpoint, input, output, committed) =
            (endpoint.clone(), input.clone(), output.clone(), committed.clone());
        let expect = EACH as i64 * i64::from(PARTITIONS);
        std::thread::spawn(move || copy(&endpoint, &input, &output, expect, &committed))
    };
    let mut moment = seed();
    for kill in 1..=kills() as usize {
        // Some commits after the last kill, and then somewhere between two commits.
        moment = moment.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let wanted = committed.load(Ordering::SeqCst) + 10 + (moment >> 59) as usize;
        until("more commits", || {
            copier.is_finished() || committed.load(Ordering::SeqCst) >= wanted
        });
        assert!(!copier.is_finished(), "the copy ended before kill {kill}");
        broker.kill();
        broker.restart();
    }
    copier.join().expect("the copier ended well");
    check_copy(&endpoint, &output, EACH);
    let count = committed.load(Ordering::SeqCst);
    judge.passed(&format!("{} kills; {count} transactions", kills()));
}
