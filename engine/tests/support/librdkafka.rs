//! librdkafka through the crate `rdkafka`, as this project's own tests drive it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures_lite::future::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::flights::{COUNT, Digests, Flights, PARTITIONS};

pub const LIMIT: Duration = Duration::from_secs(60);

pub fn config(endpoint: &str, more: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", endpoint);
    for (key, value) in more {
        config.set(*key, *value);
    }
    config
}

pub fn admin(endpoint: &str) -> AdminClient<DefaultClientContext> {
    config(endpoint, &[]).create().expect("admin client")
}

pub fn options() -> AdminOptions {
    AdminOptions::new()
        .operation_timeout(Some(LIMIT))
        .request_timeout(Some(LIMIT))
}

/// Creates a topic; the error code is the broker's.
pub fn create_topic(
    admin: &AdminClient<DefaultClientContext>,
    name: &str,
    partitions: i32,
    configs: &[(&str, &str)],
) -> Result<(), RDKafkaErrorCode> {
    let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    for (key, value) in configs {
        topic = topic.set(key, value);
    }
    let results = block_on(admin.create_topics(&[topic], &options())).expect("create_topics");
    results
        .into_iter()
        .next()
        .expect("one answer")
        .map(|_| ())
        .map_err(|(_, code)| code)
}

/// A topic for the flights: they are from 2013, so nothing may expire.
pub fn create_flights_topic(endpoint: &str, name: &str) {
    create_topic(
        &admin(endpoint),
        name,
        super::flights::PARTITIONS,
        &[("retention.ms", "-1")],
    )
    .expect("topic");
}

pub fn consumer(endpoint: &str, group: &str, more: &[(&str, &str)]) -> BaseConsumer {
    consumer_config(endpoint, group, more).create().expect("consumer")
}

pub fn consumer_config(endpoint: &str, group: &str, more: &[(&str, &str)]) -> ClientConfig {
    let mut config = config(
        endpoint,
        &[
            ("group.id", group),
            ("auto.offset.reset", "earliest"),
            ("enable.auto.commit", "false"),
            ("fetch.wait.max.ms", "50"),
            ("check.crcs", "true"),
        ],
    );
    // In the consumer protocol these are the broker's.
    if !more.contains(&("group.protocol", "consumer")) {
        config.set("session.timeout.ms", "10000");
        config.set("heartbeat.interval.ms", "300");
    }
    for (key, value) in more {
        config.set(*key, *value);
    }
    config
}

/// The next message, or the judge fails.
pub fn next(consumer: &BaseConsumer) -> BorrowedMessage<'_> {
    let deadline = Instant::now() + LIMIT;
    loop {
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => return message,
            Some(Err(error)) => assert!(transient(&error), "poll: {error}"),
            None => {}
        }
        assert!(Instant::now() < deadline, "no message within {LIMIT:?}");
    }
}

/// Errors that librdkafka reports while it already repairs them.
pub fn transient(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::PartitionEOF
        )
    )
}

pub fn watermarks(consumer: &BaseConsumer, topic: &str, partition: i32) -> (i64, i64) {
    retried("watermarks", || {
        consumer.fetch_watermarks(topic, partition, LIMIT)
    })
}

/// Asks again while the broker says that it will soon know; any other error fails the judge.
pub fn retried<T>(what: &str, mut ask: impl FnMut() -> Result<T, KafkaError>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(error) => {
                let soon = transient(&error)
                    || matches!(
                        error.rdkafka_error_code(),
                        Some(
                            RDKafkaErrorCode::NotLeaderForPartition
                                | RDKafkaErrorCode::LeaderNotAvailable
                                | RDKafkaErrorCode::NotCoordinator
                                | RDKafkaErrorCode::CoordinatorNotAvailable
                                | RDKafkaErrorCode::CoordinatorLoadInProgress
                        )
                    );
                assert!(soon && Instant::now() < deadline, "{what}: {error}");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

/// Waits for a condition; a judge never waits for a time.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    super::wait_for(LIMIT, || format!("no {what}"), || condition().then_some(()));
}

// ---- groups --------------------------------------------------------------------------------------------------------

/// What a group has delivered: every record once, in order, whoever holds the partition.
#[derive(Default)]
pub struct Ledger {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Default)]
struct State {
    next: HashMap<i32, i64>,
    delivered: usize,
    digests: Digests,
}

impl Ledger {
    fn deliver(&self, member: &str, message: &BorrowedMessage<'_>) {
        let mut state = self.state.lock().expect("no member failed");
        let next = state.next.entry(message.partition()).or_default();
        assert_eq!(
            message.offset(),
            *next,
            "{member}: next offset of partition {}",
            message.partition()
        );
        *next += 1;
        state.delivered += 1;
        let at = message.timestamp().to_millis().expect("a timestamp");
        state.digests.add(
            message.key().unwrap_or_default(),
            message.payload().unwrap_or_default(),
            at,
        );
        self.moved.notify_all();
    }

    /// Waits until so many are delivered; false if that takes longer than a look at something else should wait.
    pub fn follow(&self, delivered: usize) -> bool {
        let state = self.state.lock().expect("no member failed");
        let (state, late) = self
            .moved
            .wait_timeout_while(state, Duration::from_millis(100), |state| {
                state.delivered < delivered
            })
            .expect("no member failed");
        drop(state);
        !late.timed_out()
    }

    pub fn delivered(&self) -> usize {
        self.state.lock().expect("no member failed").delivered
    }

    pub fn digests(&self) -> String {
        self.state.lock().expect("no member failed").digests.lines()
    }

    fn positions(&self, topic: &str, partitions: &TopicPartitionList) -> TopicPartitionList {
        let state = self.state.lock().expect("no member failed");
        let mut at = TopicPartitionList::new();
        for part in partitions.elements() {
            if let Some(&next) = state.next.get(&part.partition()) {
                at.add_partition_offset(topic, part.partition(), Offset::Offset(next))
                    .expect("an offset");
            }
        }
        at
    }
}

/// A member of a group on a thread of its own. It commits what it delivered before it gives partitions up, so that
/// nothing is missed and nothing comes twice.
pub struct Member {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    name: String,
    topic: String,
    ledger: Arc<Ledger>,
    /// Members pause what they are assigned until this is set.
    go: Arc<AtomicBool>,
    leave: AtomicBool,
    /// The last commit is done; what follows is only the end.
    committed: AtomicBool,
    assigned: AtomicUsize,
    delivered: AtomicUsize,
}

struct Context(Arc<Shared>);

impl ClientContext for Context {}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(partitions) = rebalance {
            // A member that ends has committed already; librdkafka calls this after it has left.
            if !self.0.committed.load(Ordering::SeqCst) {
                self.0.commit(consumer, partitions);
            }
            self.0.assigned.fetch_sub(partitions.count(), Ordering::SeqCst);
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(partitions) = rebalance {
            if !self.0.go.load(Ordering::SeqCst) {
                consumer.pause(partitions).expect("pause");
            }
            self.0.assigned.fetch_add(partitions.count(), Ordering::SeqCst);
        }
    }
}

impl Shared {
    /// Delivers one record, if there is one.
    fn step(&self, consumer: &BaseConsumer<Context>) {
        match consumer.poll(Duration::from_millis(50)) {
            Some(Ok(message)) => {
                self.ledger.deliver(&self.name, &message);
                self.delivered.fetch_add(1, Ordering::SeqCst);
            }
            Some(Err(error)) => assert!(transient(&error), "{}: {error}", self.name),
            None => {}
        }
    }

    fn commit(&self, consumer: &BaseConsumer<Context>, partitions: &TopicPartitionList) {
        self.try_commit(consumer, partitions)
            .unwrap_or_else(|error| panic!("{}: commit: {error}", self.name));
    }

    fn try_commit(
        &self,
        consumer: &BaseConsumer<Context>,
        partitions: &TopicPartitionList,
    ) -> Result<(), KafkaError> {
        let at = self.ledger.positions(&self.topic, partitions);
        if at.count() == 0 {
            return Ok(());
        }
        consumer.commit(&at, CommitMode::Sync)
    }
}

impl Member {
    pub fn join(
        endpoint: &str,
        name: &str,
        topic: &str,
        group: &str,
        more: &[(&str, &str)],
        ledger: &Arc<Ledger>,
        go: &Arc<AtomicBool>,
    ) -> Member {
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            topic: topic.to_owned(),
            ledger: ledger.clone(),
            go: go.clone(),
            leave: AtomicBool::new(false),
            committed: AtomicBool::new(false),
            assigned: AtomicUsize::new(0),
            delivered: AtomicUsize::new(0),
        });
        let consumer: BaseConsumer<Context> = consumer_config(endpoint, group, more)
            .create_with_context(Context(shared.clone()))
            .expect("consumer");
        consumer.subscribe(&[topic]).expect("subscribe");
        let mine = shared.clone();
        let thread = std::thread::spawn(move || {
            let mut going = false;
            while !mine.leave.load(Ordering::SeqCst) {
                if !going && mine.go.load(Ordering::SeqCst) {
                    going = true;
                    consumer
                        .resume(&consumer.assignment().expect("assignment"))
                        .expect("resume");
                }
                mine.step(&consumer);
            }
            // Another member's leaving may be under way, and with it a rebalance, which refuses commits for a while.
            let deadline = Instant::now() + LIMIT;
            while let Err(error) = mine.try_commit(&consumer, &consumer.assignment().expect("assignment")) {
                let soon = error.rdkafka_error_code() == Some(RDKafkaErrorCode::RebalanceInProgress);
                assert!(
                    soon && Instant::now() < deadline,
                    "{}: commit: {error}",
                    mine.name
                );
                mine.step(&consumer);
            }
            mine.committed.store(true, Ordering::SeqCst);
            // Leaves by itself before it is dropped: a consumer dropped while it holds partitions can wait for ever for
            // its own main thread, which is ending. What still arrives is not committed, so another member reads it.
            consumer.unsubscribe();
            while consumer.assignment().expect("assignment").count() > 0 {
                assert!(
                    Instant::now() < deadline,
                    "{}: the partitions are not given up",
                    mine.name
                );
                let _ = consumer.poll(Duration::from_millis(20));
            }
        });
        Member {
            shared,
            thread: Some(thread),
        }
    }

    pub fn assigned(&self) -> usize {
        self.shared.assigned.load(Ordering::SeqCst)
    }

    pub fn delivered(&self) -> usize {
        self.shared.delivered.load(Ordering::SeqCst)
    }

    /// Commits, leaves the group and ends; fails if the member failed.
    pub fn leave(mut self) {
        self.shared.leave.store(true, Ordering::SeqCst);
        self.thread
            .take()
            .expect("joined once")
            .join()
            .expect("the member ended well");
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.shared.leave.store(true, Ordering::SeqCst);
    }
}

/// All flights of a topic, read by a group of three that share the partitions, as digests.
pub fn read_flights(endpoint: &str, topic: &str) -> String {
    let ledger = Arc::new(Ledger::default());
    let go = Arc::new(AtomicBool::new(false));
    let group = super::unique("flights");
    let members: Vec<Member> = ["A", "B", "C"]
        .map(|name| Member::join(endpoint, name, topic, &group, &[], &ledger, &go))
        .into();
    until("assignment for all three", || {
        members.iter().all(|m| m.assigned() == 2)
    });
    go.store(true, Ordering::SeqCst);
    until("end of the flights", || ledger.delivered() >= COUNT);
    for member in members {
        assert!(member.delivered() > 0, "every member reads");
        member.leave();
    }
    assert_eq!(ledger.delivered(), COUNT, "flights delivered");
    let lookup = consumer(endpoint, &group, &[]);
    let end: i64 = (0..PARTITIONS).map(|p| watermarks(&lookup, topic, p).1).sum();
    assert_eq!(end, COUNT as i64, "records in the topic");
    ledger.digests()
}

/// Writes all flights with one codec and waits until each is acknowledged.
pub fn write_flights(endpoint: &str, topic: &str, codec: &str, flights: &Flights) {
    let more = [
        ("compression.type", codec),
        ("enable.idempotence", "true"),
        ("linger.ms", "20"),
        ("partitioner", "murmur2_random"),
        ("queue.buffering.max.messages", "500000"),
    ];
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let producer: BaseProducer<CountAcks> = config(endpoint, &more)
        .create_with_context(CountAcks(acknowledged.clone()))
        .expect("producer");
    for (i, flight) in flights.iter().enumerate() {
        let record = BaseRecord::to(topic)
            .key(flight.carrier)
            .payload(flight.line)
            .timestamp(flight.timestamp);
        producer
            .send(record)
            .map_err(|(error, _)| error)
            .expect("room for every flight");
        if i % 1000 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(2 * LIMIT).expect("flush");
    assert_eq!(acknowledged.load(Ordering::SeqCst), COUNT, "flights acknowledged");
}

struct CountAcks(Arc<AtomicUsize>);

impl ClientContext for CountAcks {}

impl ProducerContext for CountAcks {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _: ()) {
        if let Err((error, _)) = result {
            panic!("a flight was refused: {error}");
        }
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}
