//! Fetch (KIP-74, KIP-320, KIP-516, KIP-595).
//!
//! Incremental sessions (KIP-227) are not kept: every answer carries session id 0, which tells the client to send
//! full requests.

use std::rc::Rc;

use bytes::Bytes;
use turgo_net::messages::fetch::{
    EpochEndOffset, FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData,
};
use turgo_net::{ErrorCode, Records};
use turgo_storage::PartitionId;
use turgo_storage::env::Env;

use super::{Call, Client, Close};
use crate::shard::Shard;
use crate::shard::ops::{FetchOp, Fetched, PartFetch};

/// Longest wait that a client may ask for, so that a hostile value cannot park a request for weeks.
const MAX_WAIT_MS: i32 = 5 * 60 * 1000;

pub(super) async fn answer<E: Env>(
    shard: &Rc<Shard<E>>,
    call: &Call,
    client: &Client,
) -> Result<Vec<Bytes>, Close> {
    let mut reader = call.reader();
    let request = FetchRequest::decode(&mut reader, call.version).map_err(|e| call.body_error(e))?;
    // Epochs 0 and -1 ask for a full fetch; any other belongs to a session, and there is none.
    if !(-1..=0).contains(&request.session_epoch) {
        return call.encode(&FetchResponse {
            error_code: ErrorCode::FETCH_SESSION_ID_NOT_FOUND.0,
            ..Default::default()
        });
    }
    let mut parts = Vec::new();
    let mut results: Vec<Fetched> = Vec::new();
    {
        let metadata = shard.metadata();
        let mut slot = 0;
        for topic in &request.topics {
            let known = if call.version >= 13 {
                metadata
                    .topic_by_id(&topic.topic_id.0)
                    .ok_or(ErrorCode::UNKNOWN_TOPIC_ID)
            } else {
                metadata
                    .topic(&topic.topic)
                    .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
            };
            for part in &topic.partitions {
                let index = u32::try_from(part.partition).unwrap_or(u32::MAX);
                match known {
                    Ok(topic) if (index as usize) < topic.partitions.len() => parts.push(PartFetch {
                        slot,
                        id: PartitionId {
                            topic: topic.id,
                            partition: index,
                        },
                        offset: part.fetch_offset,
                        max_bytes: usize::try_from(part.partition_max_bytes).unwrap_or(0),
                        leader_epoch: part.current_leader_epoch,
                        last_epoch: part.last_fetched_epoch,
                    }),
                    Ok(_) => results.push(Fetched::error(slot, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)),
                    Err(error) => results.push(Fetched::error(slot, error)),
                }
                slot += 1;
            }
        }
    }
    let wait_ms = request.max_wait_ms.clamp(0, MAX_WAIT_MS) as u64;
    // An error already in hand is worth telling at once.
    let min_bytes = if results.is_empty() {
        request.min_bytes.max(0) as usize
    } else {
        0
    };
    let max_bytes = usize::try_from(request.max_bytes).unwrap_or(0);
    // Responses that clients do not take yet leave less room; one batch is always returned.
    drop(shard.response_memory.acquire(1).await);
    let max_bytes = max_bytes.min(shard.response_memory.free());
    if !parts.is_empty() {
        client.affinity.note(shard.owners(parts.iter().map(|p| &p.id)));
        let op = FetchOp {
            parts,
            max_bytes,
            min_bytes: min_bytes.min(max_bytes),
            deadline_ms: shard.now_ms() + wait_ms,
            no_zstd: call.version < 10,
        };
        results.extend(shard.fetch(op).await);
    }
    results.sort_unstable_by_key(|r| r.slot);
    for result in &results {
        shard.stats.error(call.api as i16, result.error.0);
    }
    let mut results = results.into_iter();
    let responses = request
        .topics
        .iter()
        .map(|topic| FetchableTopicResponse {
            topic: topic.topic.clone(),
            topic_id: topic.topic_id,
            partitions: topic
                .partitions
                .iter()
                .map(|part| partition_data(part.partition, results.next(), request.isolation_level))
                .collect(),
            ..Default::default()
        })
        .collect();
    call.encode(&FetchResponse {
        responses,
        ..Default::default()
    })
}

fn partition_data<'a>(index: i32, result: Option<Fetched>, isolation_level: i8) -> PartitionData<'a> {
    // A core that is shutting down answers nothing.
    let result = result.unwrap_or_else(|| Fetched::error(0, ErrorCode::NOT_LEADER_OR_FOLLOWER));
    let diverging_epoch = match result.diverging {
        Some((epoch, end_offset)) => EpochEndOffset {
            epoch,
            end_offset,
            ..Default::default()
        },
        None => EpochEndOffset::default(),
    };
    PartitionData {
        partition_index: index,
        error_code: result.error.0,
        high_watermark: result.high_watermark,
        last_stable_offset: result.high_watermark,
        log_start_offset: result.log_start,
        diverging_epoch,
        // Kafka's answer to read_uncommitted is null, to read_committed a list.
        aborted_transactions: (isolation_level == 1).then(Vec::new),
        preferred_read_replica: -1,
        records: Records::Chunks(result.chunks),
        ..Default::default()
    }
}
