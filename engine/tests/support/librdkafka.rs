//! librdkafka through the crate `rdkafka`, as this project's own tests drive it.

use std::time::{Duration, Instant};

use futures_lite::future::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;

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
    AdminOptions::new().operation_timeout(Some(LIMIT)).request_timeout(Some(LIMIT))
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
    results.into_iter().next().expect("one answer").map(|_| ()).map_err(|(_, code)| code)
}

/// A topic for the flights: they are from 2013, so nothing may expire.
pub fn create_flights_topic(endpoint: &str, name: &str) {
    create_topic(&admin(endpoint), name, super::flights::PARTITIONS, &[("retention.ms", "-1")]).expect("topic");
}

pub fn consumer(endpoint: &str, group: &str, more: &[(&str, &str)]) -> BaseConsumer {
    let mut config = config(
        endpoint,
        &[
            ("group.id", group),
            ("auto.offset.reset", "earliest"),
            ("enable.auto.commit", "false"),
            ("session.timeout.ms", "10000"),
            ("heartbeat.interval.ms", "300"),
            ("fetch.wait.max.ms", "50"),
            ("check.crcs", "true"),
        ],
    );
    for (key, value) in more {
        config.set(*key, *value);
    }
    config.create().expect("consumer")
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
    consumer.fetch_watermarks(topic, partition, LIMIT).expect("watermarks")
}

/// Waits for a condition; a judge never waits for a time.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < deadline, "no {what} within {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
