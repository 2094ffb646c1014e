//! Metadata, topics and settings: answered from this core's applied state, or planned by the controller.
//!
//! What the answers are is decided in [`crate::handlers`]. A change is planned on core 0, which reads the request from
//! its own lease on the frame, and answered once every core applied it.

use std::rc::Rc;

use bytes::Bytes;
use turgo_net::messages::alter_configs::AlterConfigsRequest;
use turgo_net::messages::alter_partition_reassignments::AlterPartitionReassignmentsRequest;
use turgo_net::messages::create_partitions::CreatePartitionsRequest;
use turgo_net::messages::create_topics::CreateTopicsRequest;
use turgo_net::messages::delete_topics::DeleteTopicsRequest;
use turgo_net::messages::describe_cluster::DescribeClusterRequest;
use turgo_net::messages::describe_configs::DescribeConfigsRequest;
use turgo_net::messages::describe_topic_partitions::DescribeTopicPartitionsRequest;
use turgo_net::messages::elect_leaders::ElectLeadersRequest;
use turgo_net::messages::incremental_alter_configs::IncrementalAlterConfigsRequest;
use turgo_net::messages::list_config_resources::ListConfigResourcesRequest;
use turgo_net::messages::list_partition_reassignments::ListPartitionReassignmentsRequest;
use turgo_net::messages::metadata::MetadataRequest;
use turgo_net::messages::unregister_broker::UnregisterBrokerRequest;
use turgo_net::messages::update_features::UpdateFeaturesRequest;
use turgo_net::wire::{Decode, Encode};
use turgo_storage::env::Env;

use super::{Call, Close};
use crate::features::FEATURES;
use crate::handlers;
use crate::metadata::{Plan, Planner};
use crate::node::Node;
use crate::shard::Shard;
use crate::shell::log;

/// Lets `look` at this core's applied state.
fn look<E: Env, T>(shard: &Shard<E>, look: impl FnOnce(&Planner<'_>) -> T) -> T {
    let site = shard.node.site();
    look(&Planner {
        state: &shard.metadata(),
        site: &site,
    })
}

/// Has the controller plan a change. `None` while the node is stopping.
async fn plan<E: Env, T: Send + Sync + 'static>(
    shard: &Rc<Shard<E>>,
    change: impl FnOnce(&Planner<'_>, &Node) -> Plan<T> + Send + Sync + 'static,
) -> Option<T> {
    let node = shard.node.clone();
    shard
        .propose(move |state| {
            let site = node.site();
            change(&Planner { state, site: &site }, &node).into_parts()
        })
        .await
}

fn read<'a, M: Decode<'a>>(call: &'a Call) -> Result<M, Close> {
    M::decode(&mut call.reader(), call.version).map_err(|error| call.body_error(error))
}

/// Has the controller plan the change that `call` asks for, and answers.
async fn change<E: Env, T: Encode + Send + Sync + 'static>(
    shard: &Rc<Shard<E>>,
    call: &Call,
    change: impl FnOnce(&Call, &Planner<'_>, &Node) -> Plan<T> + Send + Sync + 'static,
) -> Result<Vec<Bytes>, Close> {
    let theirs = call.clone();
    let planned = plan(shard, move |planner, node| change(&theirs, planner, node)).await;
    call.encode(&planned.ok_or(Close::Stopping)?)
}

/// The request again, where it was read before.
macro_rules! again {
    ($call:expr) => {
        &read($call).expect("the connection's core could read it")
    };
}

/// Creates an internal topic, unless it exists.
pub(super) async fn create_internal_topic<E: Env>(shard: &Rc<Shard<E>>, name: &'static str) {
    // It may have come into being meanwhile; then this fails, and all is well.
    let _ = plan(shard, move |planner, node| {
        planner.auto_create_topic(name, node.random)
    })
    .await;
}

pub(super) async fn metadata<E: Env>(shard: &Rc<Shard<E>>, call: &Call) -> Result<Vec<Bytes>, Close> {
    let request: MetadataRequest<'_> = read(call)?;
    let missing = look(shard, |planner| {
        handlers::metadata::to_create(&request, call.version, planner)
    });
    if !missing.is_empty() {
        let names = missing.clone();
        let _ = plan(shard, move |planner, node| {
            planner.auto_create_topics(&names, node.random)
        })
        .await;
    }
    look(shard, |planner| {
        let response = handlers::metadata::respond(&request, call.version, &missing, planner);
        for topic in &response.topics {
            shard.stats.error(call.api as i16, topic.error_code);
        }
        call.encode(&response)
    })
}

pub(super) async fn describe_cluster<E: Env>(shard: &Rc<Shard<E>>, call: &Call) -> Result<Vec<Bytes>, Close> {
    let request: DescribeClusterRequest = read(call)?;
    look(shard, |planner| {
        call.encode(&handlers::describe_cluster::respond(&request, planner))
    })
}

pub(super) async fn describe_topic_partitions<E: Env>(
    shard: &Rc<Shard<E>>,
    call: &Call,
) -> Result<Vec<Bytes>, Close> {
    let request: DescribeTopicPartitionsRequest<'_> = read(call)?;
    look(shard, |planner| {
        call.encode(&handlers::describe_topic_partitions::respond(&request, planner))
    })
}

pub(super) async fn describe_configs<E: Env>(shard: &Rc<Shard<E>>, call: &Call) -> Result<Vec<Bytes>, Close> {
    let request: DescribeConfigsRequest<'_> = read(call)?;
    look(shard, |planner| {
        let log_level = log::level().name();
        call.encode(&handlers::describe_configs::respond(&request, planner, log_level))
    })
}

pub(super) async fn create_topics<E: Env>(shard: &Rc<Shard<E>>, call: &Call) -> Result<Vec<Bytes>, Close> {
    let _: CreateTopicsRequest<'_> = read(call)?;
    change(shard, call, |call, planner, node| {
        handlers::create_topics::plan(again!(call), planner, node.random)
    })
    .await
}

pub(super) async fn delete_topics<E: Env>(shard: &Rc<Shard<E>>, call: &Call) -> Result<Vec<Bytes>, Close> {
    let _: DeleteTopicsRequest<'_> = read(call)?;
    change(shard, call, |call, planner, _| {
        handlers::delete_topics::plan(again!(call), call.version, planner)
    })
    .await
}

pub(super) async fn create_partitions<E: Env>(
    shard: &Rc<Shard<E>>,
    call: &Call,
) -> Result<Vec<Bytes>, Close> {
    let _: CreatePartitionsRequest<'_> = read(call)?;
    change(shard, call, |call, planner, _| {
        handlers::create_partitions::plan(again!(call), planner)
    })
    .await
}

pub(super) async fn incremental_alter_configs<E: Env>(
    shard: &Rc<Shard<E>>,
    call: &Call,
) -> Result<Vec<Bytes>, Close> {
    let _: IncrementalAlterConfigsRequest<'_> = read(call)?;
    let theirs = call.clone();
    let altered = plan(shard, move |planner, _| {
        handlers::alter_configs::plan_incremental(again!(&theirs), planner)
    })
    .await
    .ok_or(Close::Stopping)?;
    // Not part of the metadata: the process takes it on, and forgets it at its end, as Kafka does.
    if let Some(level) = altered.log_level.and_then(log::Level::from_name) {
        log::set_level(level);
    }
    call.encode(&altered.response)
}

pub(super) async fn alter_configs<E: Env>(shard: &Rc<Shard<E>>, call: &Call) -> Result<Vec<Bytes>, Close> {
    let _: AlterConfigsRequest<'_> = read(call)?;
    change(shard, call, |call, planner, _| {
        let (records, altered) = handlers::alter_configs::plan(again!(call), planner).into_parts();
        Plan {
            records,
            result: altered.response,
        }
    })
    .await
}

pub(super) fn elect_leaders<E: Env>(shard: &Rc<Shard<E>>, call: &Call) -> Result<Vec<Bytes>, Close> {
    let request: ElectLeadersRequest<'_> = read(call)?;
    look(shard, |planner| {
        call.encode(&handlers::elect_leaders::respond(&request, planner))
    })
}

pub(super) fn alter_reassignments<E: Env>(shard: &Rc<Shard<E>>, call: &Call) -> Result<Vec<Bytes>, Close> {
    let request: AlterPartitionReassignmentsRequest<'_> = read(call)?;
    look(shard, |planner| {
        call.encode(&handlers::reassignments::alter(&request, planner))
    })
}

pub(super) fn list_reassignments(call: &Call) -> Result<Vec<Bytes>, Close> {
    let _: ListPartitionReassignmentsRequest<'_> = read(call)?;
    call.encode(&handlers::reassignments::list())
}

pub(super) async fn update_features<E: Env>(shard: &Rc<Shard<E>>, call: &Call) -> Result<Vec<Bytes>, Close> {
    let _: UpdateFeaturesRequest<'_> = read(call)?;
    change(shard, call, |call, planner, _| {
        handlers::update_features::plan(again!(call), call.version, planner, FEATURES)
    })
    .await
}

pub(super) fn unregister_broker<E: Env>(shard: &Rc<Shard<E>>, call: &Call) -> Result<Vec<Bytes>, Close> {
    let request: UnregisterBrokerRequest = read(call)?;
    look(shard, |planner| {
        call.encode(&handlers::unregister_broker::respond(&request, planner))
    })
}

pub(super) fn list_config_resources<E: Env>(shard: &Rc<Shard<E>>, call: &Call) -> Result<Vec<Bytes>, Close> {
    let request: ListConfigResourcesRequest = read(call)?;
    look(shard, |planner| {
        call.encode(&handlers::list_config_resources::respond(
            &request,
            call.version,
            planner,
        ))
    })
}
