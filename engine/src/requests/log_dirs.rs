//! DescribeLogDirs (key 35, versions 1 to 5; KIP-113, KIP-827, KIP-1066) and AlterReplicaLogDirs (key 34, versions 1 and
//! 2; KIP-113): the one data directory and the size of each log in it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use bytes::Bytes;
use turgo_net::ErrorCode;
use turgo_net::messages::alter_replica_log_dirs::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult, AlterReplicaLogDirsRequest,
    AlterReplicaLogDirsResponse,
};
use turgo_net::messages::describe_log_dirs::{
    DescribableLogDirTopic, DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse,
    DescribeLogDirsResult, DescribeLogDirsTopic,
};
use turgo_storage::env::Env;

use super::{Call, Close};
use crate::shard::Shard;
use crate::shard::ops::{Answer, Op};

pub(super) async fn answer<E: Env>(shard: &Rc<Shard<E>>, call: &Call) -> Result<Vec<Bytes>, Close> {
    let mut reader = call.reader();
    let request =
        DescribeLogDirsRequest::decode(&mut reader, call.version).map_err(|e| call.body_error(e))?;
    let wanted: Option<HashSet<(&str, i32)>> = request.topics.as_ref().map(|topics| {
        let of_topic = |t: &'_ DescribableLogDirTopic<'_>| t.partitions.len();
        let mut wanted = HashSet::with_capacity(topics.iter().map(of_topic).sum());
        for topic in topics {
            wanted.extend(topic.partitions.iter().map(|p| (topic.topic.as_ref(), *p)));
        }
        wanted
    });
    let mut sizes = BTreeMap::new();
    for core in 0..shard.cores {
        if let Some(Answer::Sizes(more)) = shard.call(core, Op::Sizes).await {
            sizes.extend(more);
        }
    }
    let mut topics: BTreeMap<String, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    {
        let metadata = shard.metadata();
        for (id, size) in sizes {
            let Some(topic) = metadata.topic_by_id(&id.topic) else {
                continue;
            };
            let index = id.partition as i32;
            let wanted = wanted.as_ref();
            if wanted.is_none_or(|wanted| wanted.contains(&(topic.name.as_str(), index))) {
                topics
                    .entry(topic.name.to_string())
                    .or_default()
                    .push(DescribeLogDirsPartition {
                        partition_index: index,
                        partition_size: size.bytes as i64,
                        offset_lag: 0,
                        is_future_key: false,
                        ..Default::default()
                    });
            }
        }
    }
    let space = shard.env.space().await.ok();
    let result = DescribeLogDirsResult {
        error_code: ErrorCode::NONE.0,
        log_dir: shard.node.data_dir.clone().into(),
        topics: topics
            .into_iter()
            .map(|(name, partitions)| DescribeLogDirsTopic {
                name: name.into(),
                partitions,
                ..Default::default()
            })
            .collect(),
        total_bytes: space.map_or(-1, |s| s.total as i64),
        usable_bytes: space.map_or(-1, |s| s.free as i64),
        ..Default::default()
    };
    call.encode(&DescribeLogDirsResponse {
        results: vec![result],
        ..Default::default()
    })
}

/// Replicas can only be moved to where they are, as there is one directory.
pub(super) fn alter<E: Env>(shard: &Rc<Shard<E>>, call: &Call) -> Result<Vec<Bytes>, Close> {
    let mut reader = call.reader();
    let request =
        AlterReplicaLogDirsRequest::decode(&mut reader, call.version).map_err(|e| call.body_error(e))?;
    let metadata = shard.metadata();
    let mut places = HashMap::new();
    let mut results: Vec<AlterReplicaLogDirTopicResult<'_>> = Vec::new();
    for dir in &request.dirs {
        let here = dir.path == shard.node.data_dir.as_str();
        for topic in &dir.topics {
            let count = metadata
                .topic(&topic.name)
                .map_or(0, |found| found.partitions.len());
            let exists = |index: i32| usize::try_from(index).is_ok_and(|index| index < count);
            let at = *places.entry(topic.name.clone()).or_insert_with(|| {
                results.push(AlterReplicaLogDirTopicResult {
                    topic_name: topic.name.clone(),
                    ..Default::default()
                });
                results.len() - 1
            });
            results[at]
                .partitions
                .extend(topic.partitions.iter().map(|index| {
                    let error = match (here, exists(*index)) {
                        (false, _) => ErrorCode::LOG_DIR_NOT_FOUND,
                        (true, false) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                        (true, true) => ErrorCode::NONE,
                    };
                    AlterReplicaLogDirPartitionResult {
                        partition_index: *index,
                        error_code: error.0,
                    }
                }));
        }
    }
    call.encode(&AlterReplicaLogDirsResponse {
        results,
        ..Default::default()
    })
}
