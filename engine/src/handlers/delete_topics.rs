//! DeleteTopics (key 20, versions 1 to 6). Topics are named by name, from version 6 also by id.

use turgo_net::messages::delete_topics::{DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse};
use turgo_net::{ErrorCode, Uuid};

use super::outcome;
use crate::metadata::{DeleteTopic, Plan, Planner};

/// Records and answer.
pub fn plan(
    request: &DeleteTopicsRequest<'_>,
    version: i16,
    planner: &Planner<'_>,
) -> Plan<DeleteTopicsResponse<'static>> {
    let by_name = request.topic_names.iter().map(|n| DeleteTopic {
        name: Some(n.to_string()),
        id: [0; 16],
    });
    let by_either = request.topics.iter().map(|t| DeleteTopic {
        name: t.name.as_deref().map(Into::into),
        id: t.topic_id.0,
    });
    let topics: Vec<DeleteTopic> = if version < 6 {
        by_name.collect()
    } else {
        by_either.collect()
    };
    let plan = planner.delete_topics(&topics);
    let responses = plan
        .result
        .into_iter()
        .map(|topic| {
            let (error, message) = outcome(&topic.outcome);
            DeletableTopicResult {
                name: topic.name.map(Into::into),
                topic_id: Uuid(topic.id),
                error_code: match error {
                    // Clients of the older versions do not know the code.
                    ErrorCode::TOPIC_DELETION_DISABLED if version < 3 => ErrorCode::INVALID_REQUEST.0,
                    error => error.0,
                },
                error_message: message.map(Into::into),
            }
        })
        .collect();
    Plan {
        records: plan.records,
        result: DeleteTopicsResponse {
            responses,
            ..Default::default()
        },
    }
}
