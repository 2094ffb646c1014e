//! Offsets of many partitions at once: ends, and the first record at or after a time.

use std::collections::BTreeMap;
use std::time::Instant;

use turgo_net::ErrorCode;
use turgo_net::messages::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};

use super::{Backoff, Client, ClientError, Topic, Wanted, api, refusal};
use crate::cli::exit::CliError;

/// A place in a partition, as ListOffsets understands it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spot {
    /// The oldest record.
    Earliest,
    /// After the newest record that consumers may see.
    Latest,
    /// The first record at or after this time, milliseconds since 1970.
    Time(i64),
}

impl Spot {
    fn timestamp(self) -> i64 {
        match self {
            Spot::Earliest => -2,
            Spot::Latest => -1,
            Spot::Time(ms) => ms,
        }
    }
}

/// Why a partition has no such place: the code that the broker gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpotError(pub i16);

/// Offset or error by topic and partition.
pub type Offsets = BTreeMap<(String, i32), Result<i64, SpotError>>;

impl Client {
    /// Offsets at `spot` of the given partitions (topic, partition, leader): asked of their leaders, again
    /// after elections until the deadline. A time after the newest record gives -1.
    pub fn offsets(
        &mut self,
        partitions: &[(String, i32)],
        spot: Spot,
        read_committed: bool,
    ) -> Result<Offsets, CliError> {
        let deadline = self.deadline();
        let mut backoff = Backoff::new(deadline);
        let mut found = Offsets::new();
        let mut missing: Vec<(String, i32)> = partitions.to_vec();
        loop {
            let mut names: Vec<String> = missing.iter().map(|(topic, _)| topic.clone()).collect();
            names.sort();
            names.dedup();
            let topics = if names.is_empty() {
                Vec::new()
            } else {
                self.metadata(Wanted::Names(&names), false)?
            };
            let mut by_leader: BTreeMap<i32, BTreeMap<String, Vec<i32>>> = BTreeMap::new();
            for (name, index) in &missing {
                match leader(&topics, name, *index) {
                    Ok(leader) => by_leader
                        .entry(leader)
                        .or_default()
                        .entry(name.clone())
                        .or_default()
                        .push(*index),
                    Err(code) => {
                        found.insert((name.clone(), *index), Err(SpotError(code)));
                    }
                }
            }
            let mut failure = None;
            for (leader, wanted) in by_leader {
                match self.offsets_of(leader, &wanted, spot, read_committed, deadline) {
                    Ok(offsets) => found.extend(offsets),
                    Err(error) if error.is_transient() => failure = Some(error),
                    Err(error) => return Err(error.into()),
                }
            }
            missing.retain(|partition| match found.get(partition) {
                None => true,
                Some(Err(SpotError(code))) => {
                    ErrorCode(*code).retriable() && *code != ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0
                }
                Some(Ok(_)) => false,
            });
            if missing.is_empty() {
                return Ok(found);
            }
            if !backoff.wait() {
                if crate::cli::sys::interrupted() {
                    return Err(CliError::Interrupted);
                }
                return match failure {
                    Some(error) => Err(error.into()),
                    None => Ok(found),
                };
            }
        }
    }

    fn offsets_of(
        &mut self,
        leader: i32,
        wanted: &BTreeMap<String, Vec<i32>>,
        spot: Spot,
        read_committed: bool,
        deadline: Instant,
    ) -> Result<Offsets, ClientError> {
        let timeout_ms = self.timeout_ms();
        let reply = self.call::<api::ListOffsets>(leader, deadline, |version| ListOffsetsRequest {
            replica_id: -1,
            isolation_level: i8::from(read_committed && version >= 2),
            timeout_ms,
            topics: wanted
                .iter()
                .map(|(name, partitions)| ListOffsetsTopic {
                    name: name.as_str().into(),
                    partitions: partitions
                        .iter()
                        .map(|index| ListOffsetsPartition {
                            partition_index: *index,
                            timestamp: spot.timestamp(),
                            ..Default::default()
                        })
                        .collect(),
                })
                .collect(),
        })?;
        let mut offsets = Offsets::new();
        for topic in reply.body()?.topics {
            for partition in topic.partitions {
                let offset = match partition.error_code {
                    0 => Ok(partition.offset),
                    code => Err(SpotError(code)),
                };
                offsets.insert((topic.name.to_string(), partition.partition_index), offset);
            }
        }
        Ok(offsets)
    }

    /// Like [`Client::offsets`], where every partition must have an answer.
    pub fn all_offsets(
        &mut self,
        partitions: &[(String, i32)],
        spot: Spot,
        read_committed: bool,
    ) -> Result<BTreeMap<(String, i32), i64>, CliError> {
        self.offsets(partitions, spot, read_committed)?
            .into_iter()
            .map(|((topic, index), offset)| match offset {
                Ok(offset) => Ok(((topic, index), offset)),
                Err(SpotError(code)) => Err(CliError::Failed(format!(
                    "no offset of {topic}/{index}: {}",
                    refusal(code, None)
                ))),
            })
            .collect()
    }
}

/// The leader of a partition, or the code that says why there is none.
fn leader(topics: &[Topic], name: &str, index: i32) -> Result<i32, i16> {
    let Some(topic) = topics.iter().find(|topic| topic.name == name) else {
        return Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0);
    };
    if topic.error != 0 {
        return Err(topic.error);
    }
    match topic.partitions.iter().find(|partition| partition.index == index) {
        None => Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0),
        Some(partition) if partition.leader < 0 => Err(ErrorCode::LEADER_NOT_AVAILABLE.0),
        Some(partition) => Ok(partition.leader),
    }
}
