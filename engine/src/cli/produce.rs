//! `turgo produce`: a thread reads the input, this one makes batches and sends them.
//!
//! At most one request is on its way to each broker, and all brokers are asked before any answer is awaited:
//! order within a partition needs nothing else. With acks=all the batches carry a producer id and sequences,
//! so that a repeated batch is written once.

mod input;

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use turgo_net::messages::init_producer_id::InitProducerIdRequest;
use turgo_net::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use turgo_net::records::{BatchBuilder, BuildError, Compression, Compressor, Header};
use turgo_net::{ErrorCode, Records};

use super::args::{Acks, Codec, ProduceArgs};
use super::client::partitioner::partition_of;
use super::client::{Backoff, Client, ClientError, Sent, api, refusal};
use super::exit::CliError;
use super::output::Out;
use super::sys;
use super::text::Item;

/// Most bytes in one request to a broker.
const REQUEST_BYTES: usize = 16 << 20;

/// Runs `turgo produce`.
pub fn run(client: &mut Client, args: &ProduceArgs, out: &mut Out<'_>) -> Result<(), CliError> {
    let topic = client.topics(std::slice::from_ref(&args.topic), true)?.remove(0);
    let leaders: BTreeMap<i32, i32> = topic.partitions.iter().map(|p| (p.index, p.leader)).collect();
    if let Some(index) = args.partition.filter(|index| !leaders.contains_key(index)) {
        return Err(CliError::Usage(format!(
            "{} has no partition {index}; it has {}, counted from 0",
            args.topic,
            leaders.len()
        )));
    }
    let producer = if args.acks == Acks::All {
        producer_id(client)?
    } else {
        None
    };
    let (total, items) = input::start(args)?;
    let mut sender = Sender {
        client,
        args,
        leaders,
        pending: BTreeMap::new(),
        waiting_since: None,
        sticky: None,
        producer,
        sequences: BTreeMap::new(),
        compressor: Compressor::new(),
        written: BTreeMap::new(),
        records: 0,
        bytes: 0,
        progress: progress(total),
    };
    let result = sender.pump(&items, out);
    sender.progress.finish_and_clear();
    let (records, bytes) = (sender.records, sender.bytes);
    if out.is_json() {
        let partitions: Vec<_> = sender
            .written
            .iter()
            .map(|(index, (first, last))| json!({ "partition": index, "first_offset": first, "last_offset": last }))
            .collect();
        let document = json!({
            "topic": args.topic,
            "records": records,
            "bytes": bytes,
            "partitions": partitions,
            "error": result.as_ref().err().map(ToString::to_string),
        });
        out.json(&document)?;
    } else if args.verbose {
        out.line(format!("{records} records, {bytes} bytes"))?;
    }
    match result {
        Err(CliError::Failed(why)) if records > 0 => Err(CliError::Failed(format!(
            "{why}. {records} records were written before"
        ))),
        result => result,
    }
}

/// Progress on stderr, when somebody sits there and the input is not typed.
fn progress(total: Option<u64>) -> ProgressBar {
    if !std::io::stderr().is_terminal() || std::io::stdin().is_terminal() && total.is_none() {
        return ProgressBar::hidden();
    }
    let (bar, style) = match total {
        Some(total) => (
            ProgressBar::new(total),
            "{bar:40} {bytes}/{total_bytes} {msg} ({bytes_per_sec}, {eta} left)",
        ),
        None => (
            ProgressBar::new_spinner(),
            "{spinner} {bytes} {msg} ({bytes_per_sec})",
        ),
    };
    bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(5));
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar
}

/// A producer id and epoch, or none where the cluster gives none.
fn producer_id(client: &mut Client) -> Result<Option<(i64, i16)>, CliError> {
    let deadline = client.deadline();
    let mut backoff = Backoff::new(deadline);
    loop {
        let reply = client.call_any::<api::InitProducerId>(deadline, |_| InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: i32::MAX,
            ..Default::default()
        });
        let answer = match reply.and_then(|reply| reply.body().map(|body| (body.error_code, body))) {
            Ok(answer) => answer,
            Err(ClientError::Unsupported { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        match ErrorCode(answer.0) {
            ErrorCode::NONE => return Ok(Some((answer.1.producer_id, answer.1.producer_epoch))),
            ErrorCode::CLUSTER_AUTHORIZATION_FAILED => return Ok(None),
            code if code.retriable() && backoff.wait() => {}
            code => {
                return Err(CliError::Failed(format!(
                    "no producer id: {}",
                    refusal(code.0, None)
                )));
            }
        }
    }
}

/// Records of one partition that were not sent yet.
#[derive(Default)]
struct Pending {
    items: Vec<Item>,
    bytes: usize,
}

/// A batch on its way: its records, for splitting, and its bytes.
struct Batch {
    partition: i32,
    items: Vec<Item>,
    sequence: i32,
    bytes: Vec<u8>,
}

struct Sender<'a> {
    client: &'a mut Client,
    args: &'a ProduceArgs,
    leaders: BTreeMap<i32, i32>,
    pending: BTreeMap<i32, Pending>,
    waiting_since: Option<Instant>,
    /// Partition of records without key, until its batch is sent.
    sticky: Option<i32>,
    producer: Option<(i64, i16)>,
    sequences: BTreeMap<i32, i32>,
    compressor: Compressor,
    /// First and last offset written in each partition.
    written: BTreeMap<i32, (i64, i64)>,
    records: u64,
    bytes: u64,
    progress: ProgressBar,
}

impl Sender<'_> {
    fn pump(
        &mut self,
        items: &Receiver<Result<Vec<Item>, CliError>>,
        out: &mut Out<'_>,
    ) -> Result<(), CliError> {
        loop {
            let received = match self.waiting_since {
                None => items.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(since) => {
                    let left = (since + self.args.linger).saturating_duration_since(sys::now());
                    items.recv_timeout(left)
                }
            };
            match received {
                Ok(Ok(items)) => {
                    for item in items {
                        self.take(item, out)?;
                    }
                }
                Ok(Err(error)) => {
                    // What came before the bad record was meant.
                    self.flush(true, out)?;
                    return Err(error);
                }
                Err(RecvTimeoutError::Timeout) => self.flush(true, out)?,
                Err(RecvTimeoutError::Disconnected) => return self.flush(true, out),
            }
        }
    }

    fn take(&mut self, mut item: Item, out: &mut Out<'_>) -> Result<(), CliError> {
        let count = self.leaders.len() as i32;
        let index = match (self.args.partition.or(item.partition), &item.key) {
            (Some(index), _) if self.leaders.contains_key(&index) => index,
            (Some(index), _) => {
                return Err(CliError::Failed(format!(
                    "{} has no partition {index}",
                    self.args.topic
                )));
            }
            (None, Some(key)) => partition_of(key, count),
            (None, None) => *self
                .sticky
                .get_or_insert_with(|| sys::clock_ms().rem_euclid(i64::from(count)) as i32),
        };
        item.timestamp = Some(
            self.args
                .timestamp
                .or(item.timestamp)
                .unwrap_or_else(sys::clock_ms),
        );
        let limit = usize::try_from(self.args.batch_bytes)
            .unwrap_or(usize::MAX)
            .max(1);
        let pending = self.pending.entry(index).or_default();
        pending.bytes += item.bytes();
        pending.items.push(item);
        self.waiting_since.get_or_insert_with(sys::now);
        if pending.bytes >= limit {
            self.flush(false, out)?;
        }
        Ok(())
    }

    /// Sends full batches, or all that there are, and waits until they are written.
    fn flush(&mut self, all: bool, out: &mut Out<'_>) -> Result<(), CliError> {
        let limit = usize::try_from(self.args.batch_bytes)
            .unwrap_or(usize::MAX)
            .max(1);
        let mut queue = Vec::new();
        let ready: Vec<i32> = self
            .pending
            .iter()
            .filter(|(_, p)| all || p.bytes >= limit)
            .map(|(index, _)| *index)
            .collect();
        for index in ready {
            let pending = self.pending.remove(&index).unwrap_or_default();
            if self.sticky == Some(index) {
                self.sticky = Some((index + 1) % self.leaders.len() as i32);
            }
            let sequence = self.sequences.entry(index).or_insert(0);
            let first = *sequence;
            *sequence = advance(first, pending.items.len());
            queue.push(self.batch(index, pending.items, first)?);
        }
        if self.pending.is_empty() {
            self.waiting_since = None;
        }
        let deadline = self.client.deadline();
        let mut backoff = Backoff::new(deadline);
        while !queue.is_empty() {
            let before = queue.len();
            let failure = self.round(&mut queue, deadline, out)?;
            if queue.len() < before {
                backoff = Backoff::new(deadline);
            }
            if let Some(why) = failure {
                if !backoff.wait() {
                    return Err(why);
                }
                let topic = self
                    .client
                    .topics(std::slice::from_ref(&self.args.topic), false)?
                    .remove(0);
                self.leaders = topic.partitions.iter().map(|p| (p.index, p.leader)).collect();
            }
        }
        Ok(())
    }

    fn batch(&mut self, partition: i32, items: Vec<Item>, sequence: i32) -> Result<Batch, CliError> {
        let compression = match self.args.compression {
            Codec::None => Compression::None,
            Codec::Gzip => Compression::Gzip,
            Codec::Snappy => Compression::Snappy,
            Codec::Lz4 => Compression::Lz4,
            Codec::Zstd => Compression::Zstd,
        };
        let mut builder = BatchBuilder::new().compression(compression, None);
        if let Some((id, epoch)) = self.producer {
            builder = builder.producer(id, epoch, sequence);
        }
        for item in &items {
            let headers: Vec<Header<'_>> = item
                .headers
                .iter()
                .map(|(key, value)| Header {
                    key,
                    value: value.as_deref(),
                })
                .collect();
            builder
                .push(
                    item.timestamp.unwrap_or(-1),
                    item.key.as_deref(),
                    item.value.as_deref(),
                    &headers,
                )
                .map_err(|error| match error {
                    BuildError::RecordTooLarge => CliError::Failed("a record is beyond 2 GiB".into()),
                    error => CliError::Failed(format!("a batch cannot be built: {error}")),
                })?;
        }
        let bytes = builder
            .build(&mut self.compressor)
            .map_err(|error| CliError::Failed(format!("a batch cannot be compressed: {error}")))?;
        Ok(Batch {
            partition,
            items,
            sequence,
            bytes,
        })
    }

    /// Sends the first batch of each partition to its leader and takes the answers. What is written leaves
    /// the queue; what can be tried again stays, and the reason is returned.
    fn round(
        &mut self,
        queue: &mut Vec<Batch>,
        deadline: Instant,
        out: &mut Out<'_>,
    ) -> Result<Option<CliError>, CliError> {
        let mut failure = None;
        let mut by_leader: BTreeMap<i32, Vec<Batch>> = BTreeMap::new();
        let mut rest = Vec::new();
        let mut seen = Vec::new();
        for batch in queue.drain(..) {
            let leader = self.leaders.get(&batch.partition).copied().unwrap_or(-1);
            let load: usize = by_leader
                .get(&leader)
                .map_or(0, |batches| batches.iter().map(|b| b.bytes.len()).sum());
            if seen.contains(&batch.partition) || load > 0 && load + batch.bytes.len() > REQUEST_BYTES {
                rest.push(batch);
            } else if leader < 0 {
                failure = Some(CliError::Unreachable(format!(
                    "no leader for {}/{}",
                    self.args.topic, batch.partition
                )));
                seen.push(batch.partition);
                rest.push(batch);
            } else {
                seen.push(batch.partition);
                by_leader.entry(leader).or_default().push(batch);
            }
        }
        let mut retry = Vec::new();
        let mut sent = Vec::new();
        for (leader, batches) in by_leader {
            match self.send(leader, &batches, deadline) {
                Ok(token) => sent.push((leader, batches, token)),
                Err(error) if error.is_transient() => {
                    self.client.forget(leader);
                    retry.extend(batches);
                    failure = Some(error.into());
                }
                Err(error) => return Err(error.into()),
            }
        }
        for (leader, batches, token) in sent {
            if self.args.acks == Acks::None {
                for batch in batches {
                    self.done(&batch, None, out)?;
                }
                continue;
            }
            let answers = match self.answers(leader, token, deadline) {
                Ok(answers) => answers,
                Err(error) if error.is_transient() => {
                    self.client.forget(leader);
                    retry.extend(batches);
                    failure = Some(error.into());
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            for batch in batches {
                let Some((code, offset, message)) = answers.get(&batch.partition) else {
                    let broker = format!("broker {leader}");
                    let why = "its Produce answer lacks a partition".to_string();
                    return Err(ClientError::Protocol { broker, why }.into());
                };
                let words = || {
                    format!(
                        "{}/{}: {}",
                        self.args.topic,
                        batch.partition,
                        refusal(*code, message.as_deref())
                    )
                };
                match ErrorCode(*code) {
                    ErrorCode::NONE => self.done(&batch, Some(*offset).filter(|offset| *offset >= 0), out)?,
                    // An earlier attempt was written; only its answer was lost.
                    ErrorCode::DUPLICATE_SEQUENCE_NUMBER => self.done(&batch, None, out)?,
                    ErrorCode::MESSAGE_TOO_LARGE | ErrorCode::RECORD_LIST_TOO_LARGE
                        if batch.items.len() > 1 =>
                    {
                        let mut first = batch.items;
                        let second = first.split_off(first.len() / 2);
                        let middle = advance(batch.sequence, first.len());
                        retry.push(self.batch(batch.partition, first, batch.sequence)?);
                        retry.push(self.batch(batch.partition, second, middle)?);
                    }
                    ErrorCode::MESSAGE_TOO_LARGE | ErrorCode::RECORD_LIST_TOO_LARGE => {
                        return Err(CliError::Failed(format!(
                            "{}. Raise max.message.bytes: turgo config set --topic {} max.message.bytes=...",
                            words(),
                            self.args.topic
                        )));
                    }
                    code if code.retriable() => {
                        failure = Some(CliError::Failed(words()));
                        retry.push(batch);
                    }
                    _ => return Err(CliError::Failed(words())),
                }
            }
        }
        // Halves and repeats go before what follows them in their partition.
        retry.extend(rest);
        *queue = retry;
        Ok(failure)
    }

    fn send(
        &mut self,
        leader: i32,
        batches: &[Batch],
        deadline: Instant,
    ) -> Result<Sent<api::Produce>, ClientError> {
        let acks = match self.args.acks {
            Acks::None => 0,
            Acks::Leader => 1,
            Acks::All => -1,
        };
        let timeout_ms = self.client.timeout_ms();
        let topic = self.args.topic.as_str();
        self.client
            .broker(leader, deadline)?
            .send::<api::Produce>(deadline, |_| ProduceRequest {
                acks,
                timeout_ms,
                topic_data: vec![TopicProduceData {
                    name: topic.into(),
                    partition_data: batches
                        .iter()
                        .map(|batch| PartitionProduceData {
                            index: batch.partition,
                            records: Records::Slice(&batch.bytes),
                        })
                        .collect(),
                    ..Default::default()
                }],
                ..Default::default()
            })
    }

    #[allow(clippy::type_complexity)]
    fn answers(
        &mut self,
        leader: i32,
        token: Sent<api::Produce>,
        deadline: Instant,
    ) -> Result<BTreeMap<i32, (i16, i64, Option<String>)>, ClientError> {
        let reply = self.client.broker(leader, deadline)?.receive(token, deadline)?;
        let mut answers = BTreeMap::new();
        for topic in reply.body()?.responses {
            for partition in topic.partition_responses {
                let message = partition
                    .error_message
                    .as_deref()
                    .map(str::to_string)
                    .or_else(|| {
                        let record = partition.record_errors.first()?;
                        let why = record.batch_index_error_message.as_deref().unwrap_or("refused");
                        Some(format!("record {} of the batch: {why}", record.batch_index))
                    });
                answers.insert(
                    partition.index,
                    (partition.error_code, partition.base_offset, message),
                );
            }
        }
        Ok(answers)
    }

    fn done(&mut self, batch: &Batch, offset: Option<i64>, out: &mut Out<'_>) -> Result<(), CliError> {
        let count = batch.items.len() as i64;
        self.records += batch.items.len() as u64;
        let bytes: usize = batch.items.iter().map(Item::bytes).sum();
        self.bytes += batch.bytes.len() as u64;
        self.progress.inc(bytes as u64);
        self.progress.set_message(format!("{} records", self.records));
        if let Some(first) = offset {
            let range = self.written.entry(batch.partition).or_insert((first, first));
            range.1 = first + count - 1;
        }
        if self.args.verbose && !out.is_json() {
            let place = offset.map_or_else(
                || "unknown offset".to_string(),
                |offset| format!("offset {offset}"),
            );
            out.line(format!(
                "{}/{}: {count} records at {place}",
                self.args.topic, batch.partition
            ))?;
            out.writer.flush()?;
        }
        Ok(())
    }
}

/// Sequences wrap from the largest int32 to 0.
fn advance(sequence: i32, count: usize) -> i32 {
    ((i64::from(sequence) + count as i64) % (i64::from(i32::MAX) + 1)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap_at_the_end_of_int32() {
        assert_eq!(advance(0, 3), 3);
        assert_eq!(advance(i32::MAX, 1), 0);
        assert_eq!(advance(i32::MAX - 1, 5), 3);
    }
}
