//! Consumer groups of KIP-848, judged by Apache Kafka's Java consumer and by librdkafka: groups whose members join and
//! leave under load, alone and beside members of the classic protocol, patterns matched by the broker, static members,
//! and a broker that is killed in the middle. Every record is to be delivered once, in order.
//!
//! Run alone with `cargo test -p turgo-engine --test judge_groups`.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use support::librdkafka::{
    LIMIT, Ledger, Member, admin, config, consumer, consumer_config, create_topic, transient, until,
};
use support::{Broker, Judge, tools, unique};

/// Heartbeats ten times as often as by default, so that the judges need not wait.
const BRISK: [&str; 6] = [
    "--set",
    "kafka.group.initial.rebalance.delay.ms=0",
    "--set",
    "kafka.group.consumer.heartbeat.interval.ms=500",
    "--set",
    "kafka.group.consumer.assignment.interval.ms=200",
];

#[test]
fn java_consumers() {
    let judge = Judge::begin("java consumer groups");
    let program = match tools::java() {
        Ok(program) => program,
        Err(why) => return judge.skipped(&why),
    };
    let broker = Broker::start_with(&BRISK);
    let args = [
        "consumers",
        "--bootstrap",
        broker.endpoint(),
        "--prefix",
        &unique("java-groups"),
    ];
    let output = program.run(&args, Duration::from_secs(300)).succeeded();
    assert_eq!(output.checks(), 7, "{}", output.everything());
    judge.passed("a group of three four ways, patterns, static members, administration");
}

const CONSUMER: (&str, &str) = ("group.protocol", "consumer");
const CLASSIC: (&str, &str) = ("partition.assignment.strategy", "cooperative-sticky");

/// Records to six partitions, never many more than the group has read, and each of them once.
struct Load {
    stop: Arc<AtomicBool>,
    produced: Arc<AtomicUsize>,
    thread: std::thread::JoinHandle<()>,
}

impl Load {
    fn start(endpoint: &str, topic: &str, ledger: &Arc<Ledger>) -> Load {
        let (stop, produced) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (endpoint, topic, ledger) = (endpoint.to_owned(), topic.to_owned(), ledger.clone());
        let (stopped, sent) = (stop.clone(), produced.clone());
        let thread = std::thread::spawn(move || {
            let producer: BaseProducer =
                config(&endpoint, &[("linger.ms", "2"), ("enable.idempotence", "true")])
                    .create()
                    .expect("producer");
            while !stopped.load(Ordering::SeqCst) {
                if !ledger.follow(sent.load(Ordering::SeqCst).saturating_sub(2000)) {
                    continue;
                }
                for i in 0..60 {
                    let record = BaseRecord::<str, str>::to(&topic)
                        .partition(i % 6)
                        .payload("load");
                    producer.send(record).map_err(|(error, _)| error).expect("send");
                }
                producer.flush(LIMIT).expect("flush");
                sent.fetch_add(60, Ordering::SeqCst);
            }
        });
        Load {
            stop,
            produced,
            thread,
        }
    }

    fn end(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("the load ended well");
        self.produced.load(Ordering::SeqCst)
    }
}

/// A member, a second, a third, and the second leaves, while records keep coming; in between, the broker is killed.
fn group(broker: &mut Broker, prefix: &str, kind: &str, protocols: [(&str, &str); 3], kill: bool) {
    let endpoint = broker.endpoint().to_owned();
    let topic = format!("{prefix}-{kind}");
    create_topic(&admin(&endpoint), &topic, 6, &[]).expect("topic");
    let ledger = Arc::new(Ledger::default());
    let go = Arc::new(AtomicBool::new(true));
    let load = Load::start(&endpoint, &topic, &ledger);
    let join =
        |name: &str, protocol| Member::join(&endpoint, name, &topic, &topic, &[protocol], &ledger, &go);
    let a = join("A", protocols[0]);
    until("delivery to A", || a.delivered() > 300);
    let b = join("B", protocols[1]);
    until("delivery to B", || {
        b.delivered() > 300 && a.assigned() == 3 && b.assigned() == 3
    });
    if kill && broker.can_be_killed() {
        broker.kill();
        broker.restart();
        let mark = ledger.delivered();
        until("delivery after the restart", || ledger.delivered() > mark + 600);
        assert_eq!(
            (a.assigned(), b.assigned()),
            (3, 3),
            "nobody had to give anything up"
        );
    }
    let c = join("C", protocols[2]);
    until("delivery to C", || {
        c.delivered() > 300 && a.assigned() + b.assigned() + c.assigned() == 6
    });
    b.leave();
    let mark = ledger.delivered();
    until("delivery after B left", || {
        a.assigned() + c.assigned() == 6 && ledger.delivered() > mark + 600
    });
    let produced = load.end();
    until("last record", || ledger.delivered() == produced);
    a.leave();
    c.leave();
}

#[test]
fn librdkafka_consumers() {
    let judge = Judge::begin("librdkafka consumer groups");
    let mut broker = Broker::start_with(&BRISK);
    let prefix = unique("librdkafka-groups");
    group(
        &mut broker,
        &prefix,
        "consumer",
        [CONSUMER, CONSUMER, CONSUMER],
        true,
    );
    group(&mut broker, &prefix, "mixed", [CONSUMER, CLASSIC, CONSUMER], true);
    group(
        &mut broker,
        &prefix,
        "migrated",
        [CLASSIC, CONSUMER, CLASSIC],
        false,
    );
    pattern(broker.endpoint(), &prefix);
    judge.passed("a group of three alone, mixed and migrated, kill -9 in the middle, patterns");
}

/// Topics by a pattern that the broker matches, one of which comes later.
fn pattern(endpoint: &str, prefix: &str) {
    let (first, second) = (format!("{prefix}-rx-1"), format!("{prefix}-rx-2"));
    let admin = admin(endpoint);
    create_topic(&admin, &first, 2, &[]).expect("topic");
    let producer: BaseProducer = config(endpoint, &[]).create().expect("producer");
    let send = |topic: &str| {
        let record = BaseRecord::<str, str>::to(topic).payload("x");
        producer.send(record).map_err(|(error, _)| error).expect("send");
        producer.flush(LIMIT).expect("flush");
    };
    send(&first);
    let reader: BaseConsumer = consumer_config(endpoint, &format!("{prefix}-rx"), &[CONSUMER])
        .create()
        .expect("consumer");
    reader
        .subscribe(&[&format!("^{prefix}-rx-[0-9]+")])
        .expect("subscribe");
    let expect = |topic: &str| {
        let deadline = Instant::now() + LIMIT;
        loop {
            assert!(Instant::now() < deadline, "no record of {topic}");
            match reader.poll(Duration::from_millis(50)) {
                Some(Ok(message)) => {
                    assert_eq!(message.topic(), topic);
                    return;
                }
                Some(Err(error)) => assert!(transient(&error), "{error}"),
                None => {}
            }
        }
    };
    expect(&first);
    create_topic(&admin, &second, 1, &[]).expect("topic");
    send(&second);
    expect(&second);
    reader.unsubscribe();
    let deadline = Instant::now() + LIMIT;
    while reader.assignment().expect("assignment").count() > 0 {
        assert!(Instant::now() < deadline, "the partitions are not given up");
        let _ = reader.poll(Duration::from_millis(20));
    }
}

/// The group list of the classic API knows groups of the other protocol, and its description does not.
#[test]
fn consumer_groups_are_listed_beside_classic_ones() {
    let broker = Broker::start_with(&BRISK);
    let prefix = unique("listed");
    create_topic(&admin(broker.endpoint()), &prefix, 2, &[]).expect("topic");
    let member: BaseConsumer = consumer_config(broker.endpoint(), &prefix, &[CONSUMER])
        .create()
        .expect("consumer");
    member.subscribe(&[&prefix]).expect("subscribe");
    until("an assignment", || {
        if let Some(Err(error)) = member.poll(Duration::from_millis(20)) {
            assert!(
                transient(&error) || error.rdkafka_error_code() == Some(RDKafkaErrorCode::NotCoordinator),
                "{error}"
            );
        }
        member.assignment().expect("assignment").count() == 2
    });
    let lookup = consumer(broker.endpoint(), "lookup", &[]);
    let listed = lookup.fetch_group_list(None, LIMIT).expect("group list");
    let found: Vec<_> = listed.groups().iter().filter(|g| g.name() == prefix).collect();
    assert_eq!(found.len(), 1, "listed once");
    member.unsubscribe();
    until("giving up", || {
        let _ = member.poll(Duration::from_millis(20));
        member.assignment().expect("assignment").count() == 0
    });
}
