//! AlterPartitionReassignments (key 45, versions 0 and 1) and ListPartitionReassignments (key 46, version 0); KIP-455,
//! KIP-860.
//!
//! With one broker a partition can only be assigned to where it is: a change is judged as Kafka judges it, and one that
//! passes is done already. So no reassignment is ever under way, to be listed or cancelled.

use std::collections::BTreeSet;

use turgo_net::ErrorCode;
use turgo_net::messages::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ReassignablePartition,
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use turgo_net::messages::list_partition_reassignments::ListPartitionReassignmentsResponse;

use crate::metadata::{ApiError, Planner, Topic};

/// The answer to AlterPartitionReassignments.
pub fn alter<'a>(
    request: &'a AlterPartitionReassignmentsRequest<'a>,
    planner: &Planner<'a>,
) -> AlterPartitionReassignmentsResponse<'a> {
    if request.topics.is_empty() {
        // Kafka's answer to nothing is its empty answer, which says less than others.
        return AlterPartitionReassignmentsResponse {
            error_message: Some("".into()),
            ..Default::default()
        };
    }
    let brokers: BTreeSet<i32> = planner
        .state
        .brokers()
        .map(|broker| broker.id)
        .chain([planner.site.node_id])
        .collect();
    let responses = request
        .topics
        .iter()
        .map(|asked| {
            let topic = planner.state.topic(&asked.name);
            let partitions = asked
                .partitions
                .iter()
                .map(|part| {
                    let outcome = judge(
                        topic.map(AsRef::as_ref),
                        part,
                        &brokers,
                        request.allow_replication_factor_change,
                    );
                    let refused = outcome.err();
                    ReassignablePartitionResponse {
                        partition_index: part.partition_index,
                        error_code: refused.as_ref().map_or(0, |refused| refused.code.0),
                        error_message: refused.and_then(|refused| refused.message).map(Into::into),
                    }
                })
                .collect();
            ReassignableTopicResponse {
                name: asked.name.clone(),
                partitions,
            }
        })
        .collect();
    AlterPartitionReassignmentsResponse {
        allow_replication_factor_change: request.allow_replication_factor_change,
        error_message: None,
        responses,
        ..Default::default()
    }
}

fn judge(
    topic: Option<&Topic>,
    part: &ReassignablePartition,
    brokers: &BTreeSet<i32>,
    allow_factor_change: bool,
) -> Result<(), ApiError> {
    let partition = topic
        .and_then(|topic| topic.partitions.get(usize::try_from(part.partition_index).ok()?))
        .ok_or_else(|| {
            ApiError::new(
                ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                "There is no such partition.",
            )
        })?;
    let Some(replicas) = &part.replicas else {
        return Err(ApiError::bare(ErrorCode::NO_REASSIGNMENT_IN_PROGRESS));
    };
    let invalid = |text: String| Err(ApiError::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, text));
    if replicas.is_empty() {
        return invalid("A partition needs at least one replica.".into());
    }
    let mut seen = BTreeSet::new();
    for replica in replicas {
        if !seen.insert(*replica) {
            return invalid(format!("Broker {replica} is named twice."));
        }
        if !brokers.contains(replica) {
            return invalid(format!("There is no broker {replica}."));
        }
    }
    if !allow_factor_change && replicas.len() != partition.replicas.len() {
        return Err(ApiError::new(
            ErrorCode::INVALID_REPLICATION_FACTOR,
            format!(
                "The partition has {} replicas and would have {}.",
                partition.replicas.len(),
                replicas.len()
            ),
        ));
    }
    if *replicas != partition.replicas {
        return invalid("Replicas cannot be moved yet.".into());
    }
    Ok(())
}

/// The answer to ListPartitionReassignments, whatever is asked for.
pub fn list() -> ListPartitionReassignmentsResponse<'static> {
    ListPartitionReassignmentsResponse {
        error_message: None,
        ..Default::default()
    }
}
