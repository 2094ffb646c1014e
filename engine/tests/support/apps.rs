//! Long-running foreign applications: they are told lines, say lines, and are killed; and what they wrote to a broker.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, DeliveryResult, Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::tools::Program;
use super::{librdkafka, say, sys, wait_for};

/// How long an application may take for what it was asked; two cores may be shared with many others.
pub const LIMIT: Duration = Duration::from_secs(150);

/// Waits for a condition that applications bring about.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(LIMIT, || format!("no {what}"), || condition().then_some(()));
}

/// One process of an application. It ends with this test, however that ends.
pub struct App {
    pub name: String,
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    said: Vec<String>,
    log: PathBuf,
}

impl App {
    /// Starts it; what it says on standard error goes to a file in `dir`.
    pub fn start(name: &str, program: &Program, args: &[&str], dir: &Path) -> App {
        let log = dir.join(format!("{name}.log"));
        let mut command = program.command(args);
        command
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).expect("a log file"));
        let mut child = sys::spawn_tied(command).unwrap_or_else(|error| panic!("{name}: {error}"));
        let from = child.stdout.take().expect("piped");
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                let _ = send.send(line);
            }
        });
        App {
            name: name.to_owned(),
            input: child.stdin.take(),
            child,
            lines,
            said: Vec::new(),
            log,
        }
    }

    pub fn tell(&mut self, line: &str) {
        let input = self.input.as_mut().expect("not yet closed");
        writeln!(input, "{line}").unwrap_or_else(|error| panic!("{} listens no more: {error}", self.name));
    }

    /// Waits for a line.
    pub fn hear(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + LIMIT;
        loop {
            match self
                .lines
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(line) => {
                    self.said.push(line);
                    let line = self.said.last().expect("just pushed");
                    if wanted(line) {
                        return line.clone();
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("{}: no such line within {LIMIT:?}", self.name),
                Err(RecvTimeoutError::Disconnected) => panic!("{} has ended", self.name),
            }
        }
    }

    /// Everything heard so far.
    pub fn said(&self) -> &[String] {
        &self.said
    }

    /// SIGKILL, for its own children too.
    pub fn kill(&mut self) {
        sys::kill_group(self.child.id());
        self.child.wait().expect("wait");
    }

    /// SIGTERM, and waits for the end.
    pub fn terminate(&mut self) {
        sys::terminate(self.child.id());
        self.end();
    }

    /// Waits for its own end, which must be a good one.
    pub fn ended(&mut self) {
        let status = self.end();
        assert!(status.success(), "{} ended with {status}", self.name);
    }

    fn end(&mut self) -> ExitStatus {
        let (name, child) = (&self.name, &mut self.child);
        let why = || format!("{name} goes on");
        wait_for(LIMIT, why, || child.try_wait().expect("try_wait"))
    }
}

impl Drop for App {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.said.extend(self.lines.try_iter());
            let from = self.said.len().saturating_sub(30);
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let log: Vec<&str> = log.lines().collect();
            say(&format!(
                "--- {} said\n{}\n--- and to its log\n{}\n---",
                self.name,
                self.said[from..].join("\n"),
                log[log.len().saturating_sub(80)..].join("\n")
            ));
        }
        // One that has ended is waited for already, and its number may be another's.
        if matches!(self.child.try_wait(), Ok(None)) {
            sys::kill_group(self.child.id());
            let _ = self.child.wait();
        }
    }
}

/// A record as an application wrote it.
#[derive(Clone, Debug)]
pub struct Record {
    pub topic: String,
    pub partition: i32,
    pub key: Option<String>,
    pub value: Option<String>,
    pub timestamp: i64,
    pub headers: Vec<(String, String)>,
}

impl Record {
    fn from(message: &BorrowedMessage<'_>) -> Record {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Record {
            topic: message.topic().to_owned(),
            partition: message.partition(),
            key: message.key().map(text),
            value: message.payload().map(text),
            timestamp: message.timestamp().to_millis().unwrap_or(-1),
            headers: message.headers().map_or(Vec::new(), |headers| {
                headers
                    .iter()
                    .map(|h| (h.key.to_owned(), h.value.map(text).unwrap_or_default()))
                    .collect()
            }),
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, v)| v.as_str())
    }

    pub fn key(&self) -> &str {
        self.key.as_deref().unwrap_or("")
    }

    pub fn value(&self) -> &str {
        self.value.as_deref().unwrap_or("")
    }
}

/// Reads topics from their beginning, outside any group, each record as soon as its isolation level shows it.
pub struct Reader {
    consumer: BaseConsumer,
    partitions: usize,
    pub records: Vec<Record>,
}

impl Reader {
    pub fn new(endpoint: &str, topics: &[String], isolation: &str) -> Reader {
        let more = [("isolation.level", isolation), ("enable.partition.eof", "true")];
        let consumer = librdkafka::consumer(endpoint, "judge", &more);
        let mut all = TopicPartitionList::new();
        for topic in topics {
            let metadata = librdkafka::retried("metadata", || {
                consumer.fetch_metadata(Some(topic), librdkafka::LIMIT)
            });
            for partition in metadata.topics()[0].partitions() {
                all.add_partition_offset(topic, partition.id(), Offset::Beginning)
                    .expect("an offset");
            }
        }
        consumer.assign(&all).expect("assign");
        Reader {
            consumer,
            partitions: all.count(),
            records: Vec::new(),
        }
    }

    /// Takes what is there, waiting a moment for the first; returns the index of the first new record.
    pub fn poll(&mut self) -> usize {
        let first = self.records.len();
        let mut patience = Duration::from_millis(50);
        while let Some(result) = self.consumer.poll(patience) {
            match result {
                Ok(message) => self.records.push(Record::from(&message)),
                Err(KafkaError::PartitionEOF(_)) => {}
                Err(error) => assert!(librdkafka::transient(&error), "poll: {error}"),
            }
            patience = Duration::ZERO;
        }
        first
    }

    /// Reads until a condition holds over everything read.
    pub fn until(&mut self, what: &str, mut condition: impl FnMut(&[Record]) -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !condition(&self.records) {
            assert!(
                Instant::now() < deadline,
                "no {what} within {LIMIT:?}; {} records read",
                self.records.len()
            );
            self.poll();
        }
    }

    pub fn of<'a>(&'a self, topic: &'a str) -> impl Iterator<Item = &'a Record> {
        self.records.iter().filter(move |record| record.topic == topic)
    }
}

/// All records of topics, up to the end that the isolation level shows now.
pub fn read_to_end(endpoint: &str, topics: &[String], isolation: &str) -> Vec<Record> {
    let mut records = Vec::new();
    for topic in topics {
        // One topic at a time: the note of an end has the partition's number only.
        let reader = Reader::new(endpoint, std::slice::from_ref(topic), isolation);
        let mut ends = std::collections::HashSet::new();
        let deadline = Instant::now() + LIMIT;
        while ends.len() < reader.partitions {
            assert!(Instant::now() < deadline, "no end of {topic} within {LIMIT:?}");
            match reader.consumer.poll(Duration::from_millis(200)) {
                Some(Ok(message)) => records.push(Record::from(&message)),
                Some(Err(KafkaError::PartitionEOF(partition))) => drop(ends.insert(partition)),
                Some(Err(error)) => assert!(librdkafka::transient(&error), "poll: {error}"),
                None => {}
            }
        }
    }
    records
}

/// Writes records to chosen partitions with chosen timestamps, each exactly once.
pub struct Writer(BaseProducer<Refused>);

struct Refused;

impl ClientContext for Refused {}

impl ProducerContext for Refused {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _: ()) {
        if let Err((error, _)) = result {
            panic!("a record was refused: {error}");
        }
    }
}

impl Writer {
    pub fn new(endpoint: &str) -> Writer {
        let more = [("enable.idempotence", "true"), ("linger.ms", "5")];
        let config = librdkafka::config(endpoint, &more);
        Writer(config.create_with_context(Refused).expect("producer"))
    }

    pub fn write(&self, topic: &str, partition: i32, key: &str, value: Option<&str>, timestamp: i64) {
        self.write_with(topic, partition, key, value, timestamp, &[]);
    }

    pub fn write_with(
        &self,
        topic: &str,
        partition: i32,
        key: &str,
        value: Option<&str>,
        timestamp: i64,
        headers: &[(&str, String)],
    ) {
        let mut record = BaseRecord::to(topic)
            .partition(partition)
            .key(key)
            .timestamp(timestamp);
        if let Some(value) = value {
            record = record.payload(value);
        }
        if !headers.is_empty() {
            let all = OwnedHeaders::new_with_capacity(headers.len());
            record = record.headers(headers.iter().fold(all, |all, (key, value)| {
                all.insert(Header {
                    key,
                    value: Some(value),
                })
            }));
        }
        self.0.send(record).map_err(|(error, _)| error).expect("room");
    }

    /// Until all is acknowledged.
    pub fn flush(&self) {
        self.0.flush(LIMIT).expect("flush");
    }
}
