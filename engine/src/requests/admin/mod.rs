//! Metadata, topics and settings: between the wire and the metadata machine.
//!
//! Reads are answered from this core's applied state. Changes are planned by the controller
//! ([`crate::metadata::Planner`]) and answered once every core applied them.

mod configs;
mod describe;
mod topics;

use std::rc::Rc;
use std::sync::Arc;

use turgo_storage::env::Env;

use crate::metadata::{CONSUMER_OFFSETS, CreatedTopic, Plan, Planner};
use crate::node::Node;
use crate::shard::Shard;

pub(super) use configs::{alter_configs, describe_configs, incremental_alter_configs};
pub(super) use describe::{describe_cluster, describe_topic_partitions, metadata};
pub(super) use topics::{create_partitions, create_topics, delete_topics};

/// Operations on a topic as a bit field, all of them: nothing is authorised yet (KIP-430).
const ALL_TOPIC_OPERATIONS: i32 =
    (1 << 3) | (1 << 4) | (1 << 5) | (1 << 6) | (1 << 7) | (1 << 8) | (1 << 10) | (1 << 11);
/// The same for the cluster.
const ALL_CLUSTER_OPERATIONS: i32 =
    (1 << 5) | (1 << 7) | (1 << 8) | (1 << 9) | (1 << 10) | (1 << 11) | (1 << 12);

/// Has the controller plan a change. `None` while the node is stopping.
async fn plan<E: Env, T: Send + Sync + 'static>(
    shard: &Rc<Shard<E>>,
    change: impl FnOnce(&Planner<'_>, &Arc<Node>) -> Plan<T> + Send + Sync + 'static,
) -> Option<T> {
    let node = shard.node.clone();
    shard
        .propose(move |state| {
            let site = node.site();
            change(&Planner { state, site: &site }, &node).into_parts()
        })
        .await
}

/// Creates a topic because somebody needs it; `None` while stopping.
async fn auto_create<E: Env>(shard: &Rc<Shard<E>>, name: String) -> Option<CreatedTopic> {
    plan(shard, move |planner, node| planner.auto_create_topic(&name, node.random)).await
}

/// Creates the topic of group offsets, unless it exists.
pub(super) async fn create_offsets_topic<E: Env>(shard: &Rc<Shard<E>>) {
    // It may have come into being meanwhile; then this fails, and all is well.
    let _ = auto_create(shard, CONSUMER_OFFSETS.to_owned()).await;
}
