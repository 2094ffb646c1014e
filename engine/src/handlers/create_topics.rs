//! CreateTopics (key 19, versions 2 to 7). Numbers and settings of the new topic are told from version 5, its id from 7.

use turgo_net::Uuid;
use turgo_net::messages::create_topics::{
    CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};

use super::outcome;
use crate::metadata::{CreatedTopic, NewTopic, Plan, Planner};

/// Records and answer. `random` yields 16 random bytes for each topic id.
pub fn plan(
    request: &CreateTopicsRequest<'_>,
    planner: &Planner<'_>,
    random: impl FnMut() -> [u8; 16],
) -> Plan<CreateTopicsResponse<'static>> {
    let topics: Vec<NewTopic> = request
        .topics
        .iter()
        .map(|topic| NewTopic {
            name: topic.name.to_string(),
            num_partitions: topic.num_partitions,
            replication_factor: topic.replication_factor,
            assignments: topic
                .assignments
                .iter()
                .map(|a| (a.partition_index, a.broker_ids.clone()))
                .collect(),
            configs: topic
                .configs
                .iter()
                .map(|c| (c.name.to_string(), c.value.as_deref().map(Into::into)))
                .collect(),
        })
        .collect();
    let plan = planner.create_topics(&topics, request.validate_only, random);
    let topics = plan.result.into_iter().map(result).collect();
    Plan {
        records: plan.records,
        result: CreateTopicsResponse {
            topics,
            ..Default::default()
        },
    }
}

fn result(created: CreatedTopic) -> CreatableTopicResult<'static> {
    let (error, message) = outcome(&created.outcome);
    let name = created.name.into();
    let Ok(made) = created.outcome else {
        return CreatableTopicResult {
            name,
            error_code: error.0,
            error_message: message.map(Into::into),
            configs: Some(Vec::new()),
            ..Default::default()
        };
    };
    CreatableTopicResult {
        name,
        topic_id: Uuid(made.id),
        error_message: None,
        num_partitions: made.partitions,
        replication_factor: made.replication_factor,
        configs: Some(
            made.configs
                .into_iter()
                .map(|described| CreatableTopicConfigs {
                    name: described.name.into(),
                    value: described.value.map(Into::into),
                    read_only: described.read_only,
                    config_source: described.source.id(),
                    is_sensitive: described.sensitive,
                })
                .collect(),
        ),
        ..Default::default()
    }
}
