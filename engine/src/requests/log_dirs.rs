//! DescribeLogDirs: the one data directory and the size of each log in it (KIP-113, KIP-827).

use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;
use turgo_net::ErrorCode;
use turgo_net::messages::describe_log_dirs::{
    DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse, DescribeLogDirsResult,
    DescribeLogDirsTopic,
};
use turgo_storage::env::Env;

use super::{Call, Close};
use crate::shard::Shard;
use crate::shard::ops::{Answer, Op};

pub(super) async fn answer<E: Env>(shard: &Rc<Shard<E>>, call: &Call) -> Result<Vec<Bytes>, Close> {
    let mut reader = call.reader();
    let request =
        DescribeLogDirsRequest::decode(&mut reader, call.version).map_err(|e| call.body_error(e))?;
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
            let wanted = request.topics.as_ref().is_none_or(|topics| {
                topics
                    .iter()
                    .any(|t| t.topic == *topic.name && t.partitions.contains(&index))
            });
            if wanted {
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
