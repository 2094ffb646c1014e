//! CreatePartitions (key 37, versions 0 to 3).

use turgo_net::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopicResult,
};

use super::outcome;
use crate::metadata::{GrowTopic, Plan, Planner};

/// Records and answer.
pub fn plan(
    request: &CreatePartitionsRequest<'_>,
    planner: &Planner<'_>,
) -> Plan<CreatePartitionsResponse<'static>> {
    let topics: Vec<GrowTopic> = request
        .topics
        .iter()
        .map(|topic| GrowTopic {
            name: topic.name.to_string(),
            count: topic.count,
            assignments: topic
                .assignments
                .as_ref()
                .map(|assignments| assignments.iter().map(|a| a.broker_ids.clone()).collect()),
        })
        .collect();
    let plan = planner.create_partitions(&topics, request.validate_only);
    let results = plan
        .result
        .into_iter()
        .map(|topic| {
            let (error, message) = outcome(&topic.outcome);
            CreatePartitionsTopicResult {
                name: topic.name.into(),
                error_code: error.0,
                error_message: message.map(Into::into),
            }
        })
        .collect();
    Plan {
        records: plan.records,
        result: CreatePartitionsResponse {
            results,
            ..Default::default()
        },
    }
}
