//! ElectLeaders (key 43, versions 0 to 2; KIP-183, KIP-460).
//!
//! A partition whose only replica is this broker is led by its preferred leader already, so there is never anything to
//! elect. As in Kafka, asking for all partitions names those that needed an election, hence none.

use std::borrow::Cow;

use turgo_net::ErrorCode;
use turgo_net::messages::elect_leaders::{
    ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult,
};

use crate::metadata::{Planner, Topic};

/// Moves leadership to the first replica.
const PREFERRED: i8 = 0;
/// Gives a partition without leader to any replica, in sync or not.
const UNCLEAN: i8 = 1;

/// The answer from the applied state.
pub fn respond<'a>(request: &'a ElectLeadersRequest<'a>, planner: &Planner<'a>) -> ElectLeadersResponse<'a> {
    if !(PREFERRED..=UNCLEAN).contains(&request.election_type) {
        return ElectLeadersResponse {
            error_code: ErrorCode::INVALID_REQUEST.0,
            ..Default::default()
        };
    }
    let replica_election_results = match &request.topic_partitions {
        None => planner
            .state
            .topics()
            .map(|topic| ReplicaElectionResult {
                topic: Cow::Borrowed(&topic.name),
                partition_result: Vec::new(),
            })
            .collect(),
        Some(topics) => topics
            .iter()
            .map(|asked| {
                let topic = planner.state.topic(&asked.topic);
                ReplicaElectionResult {
                    topic: asked.topic.clone(),
                    partition_result: asked
                        .partitions
                        .iter()
                        .map(|index| {
                            let error = elect(topic.map(AsRef::as_ref), *index, request.election_type);
                            PartitionResult {
                                partition_id: *index,
                                error_code: error.0,
                                error_message: Some(error.message().into()),
                            }
                        })
                        .collect(),
                }
            })
            .collect(),
    };
    ElectLeadersResponse {
        replica_election_results,
        ..Default::default()
    }
}

fn elect(topic: Option<&Topic>, index: i32, election_type: i8) -> ErrorCode {
    let partition = topic.and_then(|topic| topic.partitions.get(usize::try_from(index).ok()?));
    match partition {
        None => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        Some(partition) if election_type == UNCLEAN && partition.leader >= 0 => {
            ErrorCode::ELECTION_NOT_NEEDED
        }
        Some(partition) if partition.replicas.first() == Some(&partition.leader) => {
            ErrorCode::ELECTION_NOT_NEEDED
        }
        // The preferred leader is another broker, of which there is none.
        Some(_) if election_type == PREFERRED => ErrorCode::PREFERRED_LEADER_NOT_AVAILABLE,
        Some(_) => ErrorCode::ELIGIBLE_LEADERS_NOT_AVAILABLE,
    }
}
