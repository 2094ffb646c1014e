//! CreateTopics, DeleteTopics, CreatePartitions.

use std::borrow::Cow;
use std::rc::Rc;

use bytes::Bytes;
use turgo_net::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopicResult,
};
use turgo_net::messages::create_topics::{
    CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
};
use turgo_net::messages::delete_topics::{DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse};
use turgo_net::{ErrorCode, Uuid};
use turgo_storage::env::Env;

use super::plan;
use crate::metadata::{CreatedTopic, DeleteTopic, GrowTopic, NewTopic};
use crate::requests::{Call, Close};
use crate::shard::Shard;

/// What a client is told while the node is stopping: another controller may be found.
const STOPPING: ErrorCode = ErrorCode::NOT_CONTROLLER;

pub(in crate::requests) async fn create_topics<E: Env>(
    shard: &Rc<Shard<E>>,
    call: &Call,
) -> Result<Vec<Bytes>, Close> {
    let mut reader = call.reader();
    let request = CreateTopicsRequest::decode(&mut reader, call.version).map_err(|e| call.body_error(e))?;
    let new: Vec<NewTopic> = request
        .topics
        .iter()
        .map(|topic| NewTopic {
            name: topic.name.to_string(),
            num_partitions: topic.num_partitions,
            replication_factor: topic.replication_factor,
            assignments: topic.assignments.iter().map(|a| (a.partition_index, a.broker_ids.clone())).collect(),
            configs: topic
                .configs
                .iter()
                .map(|c| (c.name.to_string(), c.value.as_deref().map(str::to_owned)))
                .collect(),
        })
        .collect();
    let validate_only = request.validate_only;
    let created =
        plan(shard, move |planner, node| planner.create_topics(&new, validate_only, node.random)).await;
    let topics: Vec<CreatableTopicResult<'_>> = match created {
        Some(created) => created.into_iter().map(creation).collect(),
        None => request
            .topics
            .iter()
            .map(|topic| CreatableTopicResult {
                name: topic.name.clone(),
                error_code: STOPPING.0,
                ..Default::default()
            })
            .collect(),
    };
    for topic in &topics {
        shard.stats.error(call.api as i16, topic.error_code);
    }
    call.encode(&CreateTopicsResponse { topics, ..Default::default() })
}

fn creation(created: CreatedTopic) -> CreatableTopicResult<'static> {
    let name = Cow::Owned(created.name);
    match created.outcome {
        Err(refused) => CreatableTopicResult {
            name,
            error_code: refused.code.0,
            error_message: refused.message.map(Into::into),
            configs: Some(Vec::new()),
            ..Default::default()
        },
        Ok(made) => CreatableTopicResult {
            name,
            topic_id: Uuid(made.id),
            num_partitions: made.partitions,
            replication_factor: made.replication_factor,
            configs: Some(
                made.configs
                    .into_iter()
                    .map(|config| CreatableTopicConfigs {
                        name: config.name.into(),
                        value: config.value.map(Into::into),
                        read_only: config.read_only,
                        config_source: config.source.id(),
                        is_sensitive: config.sensitive,
                        ..Default::default()
                    })
                    .collect(),
            ),
            ..Default::default()
        },
    }
}

pub(in crate::requests) async fn delete_topics<E: Env>(
    shard: &Rc<Shard<E>>,
    call: &Call,
) -> Result<Vec<Bytes>, Close> {
    let mut reader = call.reader();
    let request = DeleteTopicsRequest::decode(&mut reader, call.version).map_err(|e| call.body_error(e))?;
    let doomed: Vec<DeleteTopic> = if call.version < 6 {
        request
            .topic_names
            .iter()
            .map(|name| DeleteTopic { name: Some(name.to_string()), ..Default::default() })
            .collect()
    } else {
        request
            .topics
            .iter()
            .map(|t| DeleteTopic { name: t.name.as_deref().map(str::to_owned), id: t.topic_id.0 })
            .collect()
    };
    let asked = doomed.clone();
    let deleted = plan(shard, move |planner, _| planner.delete_topics(&doomed)).await;
    let result = |name: Option<String>, id: [u8; 16], error: ErrorCode, message: Option<String>| {
        DeletableTopicResult {
            // A missing name is known from version 6 on.
            name: if call.version < 6 { Some(name.unwrap_or_default().into()) } else { name.map(Into::into) },
            topic_id: Uuid(id),
            error_code: error.0,
            error_message: message.map(Into::into),
            ..Default::default()
        }
    };
    let responses: Vec<DeletableTopicResult<'_>> = match deleted {
        Some(deleted) => deleted
            .into_iter()
            .map(|topic| match topic.outcome {
                Ok(()) => result(topic.name, topic.id, ErrorCode::NONE, None),
                Err(refused) => result(topic.name, topic.id, refused.code, refused.message),
            })
            .collect(),
        None => asked.into_iter().map(|topic| result(topic.name, topic.id, STOPPING, None)).collect(),
    };
    for response in &responses {
        shard.stats.error(call.api as i16, response.error_code);
    }
    call.encode(&DeleteTopicsResponse { responses, ..Default::default() })
}

pub(in crate::requests) async fn create_partitions<E: Env>(
    shard: &Rc<Shard<E>>,
    call: &Call,
) -> Result<Vec<Bytes>, Close> {
    let mut reader = call.reader();
    let request = CreatePartitionsRequest::decode(&mut reader, call.version).map_err(|e| call.body_error(e))?;
    let grow: Vec<GrowTopic> = request
        .topics
        .iter()
        .map(|topic| GrowTopic {
            name: topic.name.to_string(),
            count: topic.count,
            assignments: topic
                .assignments
                .as_ref()
                .map(|all| all.iter().map(|a| a.broker_ids.clone()).collect()),
        })
        .collect();
    let validate_only = request.validate_only;
    let names: Vec<String> = grow.iter().map(|topic| topic.name.clone()).collect();
    let grown = plan(shard, move |planner, _| planner.create_partitions(&grow, validate_only)).await;
    let result = |name: String, error: ErrorCode, message: Option<String>| CreatePartitionsTopicResult {
        name: name.into(),
        error_code: error.0,
        error_message: message.map(Into::into),
        ..Default::default()
    };
    let results: Vec<CreatePartitionsTopicResult<'_>> = match grown {
        Some(grown) => grown
            .into_iter()
            .map(|topic| match topic.outcome {
                Ok(()) => result(topic.name, ErrorCode::NONE, None),
                Err(refused) => result(topic.name, refused.code, refused.message),
            })
            .collect(),
        None => names.into_iter().map(|name| result(name, STOPPING, None)).collect(),
    };
    for result in &results {
        shard.stats.error(call.api as i16, result.error_code);
    }
    call.encode(&CreatePartitionsResponse { results, ..Default::default() })
}
