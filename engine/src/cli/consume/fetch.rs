//! Fetching: cursors of all partitions, one round of requests to their leaders, and what the answers mean.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use turgo_net::ErrorCode;
use turgo_net::messages::fetch::{FetchPartition, FetchRequest, FetchTopic, PartitionData};
use turgo_net::records::{BatchError, Decompressor, Record, batches};

use super::Cursors;
use crate::cli::args::ConsumeArgs;
use crate::cli::client::group::Stored;
use crate::cli::client::{Backoff, Client, ClientError, Reply, Sent, Spot, Wanted, api, refusal};
use crate::cli::exit::CliError;
use crate::cli::sys::{self, interrupted};

/// Most bytes of one answer.
const ANSWER_BYTES: i32 = 50 << 20;
/// Most bytes that one batch may unfold to.
const UNFOLDED_BYTES: usize = 1 << 30;
/// Pause before a partition is asked again that refused for now.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Where reading of a partition stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Next offset to deliver.
    pub offset: i64,
    leader: i32,
    /// Everything that there was has been delivered.
    ended: bool,
}

/// Takes one record; `false` ends reading.
pub type Deliver<'d> = &'d mut dyn FnMut(&str, i32, &Record<'_>) -> Result<bool, CliError>;

/// Fetches from all leaders of the assigned partitions.
pub struct Fetcher {
    cursors: Cursors,
    decompressor: Decompressor,
    partition_bytes: i32,
    read_committed: bool,
    stale: bool,
    failing_since: Option<Instant>,
    notes: Vec<String>,
}

/// What an answer said of one partition.
enum Verdict {
    Fine,
    Stop,
    /// Ask for the leader again.
    Moved(i16),
    OutOfRange,
}

impl Fetcher {
    pub fn new(args: &ConsumeArgs) -> Self {
        Fetcher {
            cursors: Cursors::new(),
            decompressor: Decompressor::new(),
            partition_bytes: i32::try_from(args.fetch_bytes).unwrap_or(i32::MAX).max(1),
            read_committed: args.read_committed,
            stale: true,
            failing_since: None,
            notes: Vec::new(),
        }
    }

    /// Reads these partitions from these offsets from now on.
    pub fn assign(&mut self, starts: BTreeMap<(String, i32), i64>) {
        let cursor = |offset| Cursor {
            offset,
            leader: -1,
            ended: false,
        };
        self.cursors = starts
            .into_iter()
            .map(|(key, offset)| (key, cursor(offset)))
            .collect();
        self.stale = true;
        self.failing_since = None;
    }

    /// The next offset of each partition.
    pub fn positions(&self) -> Stored {
        self.cursors
            .iter()
            .map(|(key, cursor)| (key.clone(), cursor.offset))
            .collect()
    }

    /// Whether every partition was read to its end.
    pub fn all_ended(&self) -> bool {
        self.cursors.values().all(|cursor| cursor.ended)
    }

    /// What happened that a person may want to know.
    pub fn notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// One round; `false` when `deliver` wants no more.
    pub fn round(
        &mut self,
        client: &mut Client,
        wait: Duration,
        deliver: Deliver<'_>,
    ) -> Result<bool, CliError> {
        if self.cursors.is_empty() {
            std::thread::sleep(wait);
            return Ok(true);
        }
        if self.stale {
            self.find_leaders(client)?;
        }
        let deadline = sys::now() + wait + client.timeout();
        let mut sent: Vec<(i32, Sent<api::Fetch>)> = Vec::new();
        let mut leaders: Vec<i32> = self.cursors.values().map(|cursor| cursor.leader).collect();
        leaders.sort_unstable();
        leaders.dedup();
        let mut failure: Option<CliError> = None;
        for leader in leaders {
            if leader < 0 {
                failure = Some(CliError::Unreachable("a partition has no leader".into()));
                continue;
            }
            match self.send(client, leader, wait, deadline) {
                Ok(token) => sent.push((leader, token)),
                Err(error) => failure = Some(self.lost(client, leader, error)?),
            }
        }
        let mut go_on = true;
        for (leader, token) in sent {
            let reply = client
                .broker(leader, deadline)
                .and_then(|connection| connection.receive(token, deadline));
            let reply = match reply {
                Ok(reply) => reply,
                Err(error) => {
                    failure = Some(self.lost(client, leader, error)?);
                    continue;
                }
            };
            // Answers that are on their way are read even after the last wanted record.
            if go_on {
                let (more, moved) = self.take(client, &reply, deliver)?;
                go_on = more;
                failure = moved.or(failure);
            }
        }
        match failure {
            None => self.failing_since = None,
            Some(error) => {
                self.stale = true;
                let since = *self.failing_since.get_or_insert_with(sys::now);
                if since.elapsed() >= client.timeout() {
                    return Err(error);
                }
                std::thread::sleep(RETRY_PAUSE);
            }
        }
        Ok(go_on)
    }

    /// What can be tried again comes back as a reason, anything else as an error.
    fn lost(&mut self, client: &mut Client, leader: i32, error: ClientError) -> Result<CliError, CliError> {
        client.forget(leader);
        if error.is_transient() {
            Ok(error.into())
        } else {
            Err(error.into())
        }
    }

    fn find_leaders(&mut self, client: &mut Client) -> Result<(), CliError> {
        let mut names: Vec<String> = self.cursors.keys().map(|(topic, _)| topic.clone()).collect();
        names.dedup();
        let mut backoff = Backoff::new(client.deadline());
        loop {
            let topics = client.metadata(Wanted::Names(&names), false)?;
            let mut missing = None;
            for ((name, index), cursor) in &mut self.cursors {
                let topic = topics.iter().find(|topic| topic.name == *name);
                let error = topic.map_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0, |topic| topic.error);
                let partition = topic.and_then(|topic| topic.partitions.iter().find(|p| p.index == *index));
                match partition {
                    Some(partition) if partition.leader >= 0 => cursor.leader = partition.leader,
                    Some(_) => missing = Some((format!("{name}/{index} has no leader"), true)),
                    None if error == 0 => missing = Some((format!("{name} has no partition {index}"), false)),
                    None => {
                        // A topic that was deleted does not come back by waiting.
                        let again =
                            ErrorCode(error).retriable() && error != ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0;
                        missing = Some((format!("topic {name}: {}", refusal(error, None)), again));
                    }
                }
            }
            match missing {
                None => {
                    self.stale = false;
                    return Ok(());
                }
                Some((_, true)) if backoff.wait() => {}
                Some(_) if interrupted() => return Err(CliError::Interrupted),
                Some((why, true)) => return Err(CliError::Unreachable(why)),
                Some((why, false)) => return Err(CliError::Failed(why)),
            }
        }
    }

    fn send(
        &self,
        client: &mut Client,
        leader: i32,
        wait: Duration,
        deadline: Instant,
    ) -> Result<Sent<api::Fetch>, ClientError> {
        let mut topics: BTreeMap<&str, Vec<FetchPartition>> = BTreeMap::new();
        for ((topic, index), cursor) in self.cursors.iter().filter(|(_, cursor)| cursor.leader == leader) {
            topics.entry(topic).or_default().push(FetchPartition {
                partition: *index,
                current_leader_epoch: -1,
                fetch_offset: cursor.offset,
                last_fetched_epoch: -1,
                log_start_offset: -1,
                partition_max_bytes: self.partition_bytes,
                ..Default::default()
            });
        }
        let isolation_level = i8::from(self.read_committed);
        client
            .broker(leader, deadline)?
            .send::<api::Fetch>(deadline, |_| FetchRequest {
                replica_id: -1,
                max_wait_ms: i32::try_from(wait.as_millis()).unwrap_or(i32::MAX),
                min_bytes: 1,
                max_bytes: ANSWER_BYTES,
                isolation_level,
                // No fetch session: each request names all it wants.
                session_id: 0,
                session_epoch: -1,
                topics: topics
                    .into_iter()
                    .map(|(topic, partitions)| FetchTopic {
                        topic: topic.into(),
                        partitions,
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            })
    }

    /// Delivers an answer; says whether to go on, and what must be tried again.
    fn take(
        &mut self,
        client: &mut Client,
        reply: &Reply<api::Fetch>,
        deliver: Deliver<'_>,
    ) -> Result<(bool, Option<CliError>), CliError> {
        let answer = reply.body()?;
        if answer.error_code != 0 {
            let words = refusal(answer.error_code, None);
            let failure = CliError::Failed(format!("fetch: {words}"));
            return if ErrorCode(answer.error_code).retriable() {
                Ok((true, Some(failure)))
            } else {
                Err(failure)
            };
        }
        let mut failure = None;
        for topic in &answer.responses {
            for data in &topic.partitions {
                let key = (topic.topic.to_string(), data.partition_index);
                match self.partition(&key, data, deliver)? {
                    Verdict::Fine => {}
                    Verdict::Stop => return Ok((false, failure)),
                    Verdict::Moved(code) => {
                        let words = refusal(code, None);
                        failure = Some(CliError::Unreachable(format!("{}/{}: {words}", key.0, key.1)));
                    }
                    Verdict::OutOfRange => self.reset(client, &key)?,
                }
            }
        }
        Ok((true, failure))
    }

    /// The offset is gone or does not exist yet: go to the nearest end.
    fn reset(&mut self, client: &mut Client, key: &(String, i32)) -> Result<(), CliError> {
        let keys = [key.clone()];
        let start = client.all_offsets(&keys, Spot::Earliest, self.read_committed)?[key];
        let end = client.all_offsets(&keys, Spot::Latest, self.read_committed)?[key];
        if let Some(cursor) = self.cursors.get_mut(key) {
            let old = cursor.offset;
            cursor.offset = old.clamp(start, end);
            self.notes.push(format!(
                "{}/{}: offset {old} is not there ({start} to {end} is); going on at {}",
                key.0, key.1, cursor.offset
            ));
        }
        Ok(())
    }

    fn partition(
        &mut self,
        key: &(String, i32),
        data: &PartitionData<'_>,
        deliver: Deliver<'_>,
    ) -> Result<Verdict, CliError> {
        let Some(cursor) = self.cursors.get_mut(key) else {
            return Ok(Verdict::Fine);
        };
        let (topic, index) = (&key.0, key.1);
        match ErrorCode(data.error_code) {
            ErrorCode::NONE => {}
            ErrorCode::OFFSET_OUT_OF_RANGE => return Ok(Verdict::OutOfRange),
            code if code.retriable() => return Ok(Verdict::Moved(code.0)),
            code => {
                return Err(CliError::Failed(format!(
                    "{topic}/{index}: {}",
                    refusal(code.0, None)
                )));
            }
        }
        let damaged = |offset: i64, why: String| {
            CliError::Failed(format!(
                "{topic}/{index}: the batch at offset {offset} cannot be read: {why}"
            ))
        };
        let mut aborted: Vec<(i64, i64)> = data
            .aborted_transactions
            .iter()
            .flatten()
            .map(|transaction| (transaction.first_offset, transaction.producer_id))
            .collect();
        aborted.sort_unstable();
        let mut aborted = aborted.into_iter().peekable();
        let mut aborting: HashSet<i64> = HashSet::new();
        for piece in data.records.pieces() {
            for batch in batches(piece) {
                let batch = match batch {
                    Ok(batch) => batch,
                    // The answer's end cuts a batch; the next round begins with it.
                    Err(BatchError::Truncated { .. }) => break,
                    Err(error) => return Err(damaged(cursor.offset, error.to_string())),
                };
                if !batch.crc_ok() {
                    return Err(damaged(batch.base_offset(), "its checksum does not match".into()));
                }
                while let Some((_, producer)) = aborted.next_if(|(first, _)| *first <= batch.last_offset()) {
                    aborting.insert(producer);
                }
                let attributes = batch.attributes();
                let skip = if attributes.is_control() {
                    aborting.remove(&batch.producer_id());
                    true
                } else {
                    self.read_committed
                        && attributes.is_transactional()
                        && aborting.contains(&batch.producer_id())
                };
                if !skip && batch.last_offset() >= cursor.offset {
                    let records = batch
                        .records(&mut self.decompressor, UNFOLDED_BYTES)
                        .map_err(|error| damaged(batch.base_offset(), error.to_string()))?;
                    for record in records {
                        let record =
                            record.map_err(|error| damaged(batch.base_offset(), error.to_string()))?;
                        if record.offset < cursor.offset {
                            continue;
                        }
                        let go_on = deliver(topic, index, &record)?;
                        cursor.offset = record.offset + 1;
                        if !go_on {
                            return Ok(Verdict::Stop);
                        }
                    }
                }
                cursor.offset = cursor.offset.max(batch.last_offset() + 1);
            }
        }
        let limit = if self.read_committed && data.last_stable_offset >= 0 {
            data.last_stable_offset
        } else {
            data.high_watermark
        };
        let ended = cursor.offset >= limit;
        if ended && !cursor.ended {
            self.notes.push(format!(
                "reached the end of {topic}/{index} at offset {}",
                cursor.offset
            ));
        }
        cursor.ended = ended;
        Ok(Verdict::Fine)
    }
}
