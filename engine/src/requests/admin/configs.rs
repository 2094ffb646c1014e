//! DescribeConfigs, IncrementalAlterConfigs, AlterConfigs.

use std::rc::Rc;

use bytes::Bytes;
use turgo_net::ErrorCode;
use turgo_net::messages::alter_configs as wire_alter;
use turgo_net::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResourceResult, DescribeConfigsResponse, DescribeConfigsResult,
    DescribeConfigsSynonym,
};
use turgo_net::messages::incremental_alter_configs as wire_incremental;
use turgo_storage::env::Env;

use super::plan;
use crate::configs::{
    Described, ResourceType, describe_broker, describe_broker_default, describe_group, describe_loggers,
    describe_topic,
};
use crate::metadata::{AlterResource, AlteredResource, Altering, ApiError, check_name};
use crate::requests::{Call, Close};
use crate::shard::Shard;

/// Level of the log, which does not change while the broker runs.
const LOG_LEVEL: &str = "INFO";

pub(in crate::requests) async fn describe_configs<E: Env>(
    shard: &Rc<Shard<E>>,
    call: &Call,
) -> Result<Vec<Bytes>, Close> {
    let mut reader = call.reader();
    let request = DescribeConfigsRequest::decode(&mut reader, call.version).map_err(|e| call.body_error(e))?;
    let mut results = Vec::with_capacity(request.resources.len());
    for resource in &request.resources {
        // An empty list of names asks for all, as null does.
        let keys: Option<Vec<&str>> = resource
            .configuration_keys
            .as_ref()
            .filter(|keys| !keys.is_empty())
            .map(|keys| keys.iter().map(AsRef::as_ref).collect());
        let described = describe(shard, resource.resource_type, &resource.resource_name, keys.as_deref());
        let (error, message, configs) = match described {
            Ok(configs) => (ErrorCode::NONE, None, configs),
            Err(refused) => (refused.code, refused.message, Vec::new()),
        };
        shard.stats.error(call.api as i16, error.0);
        results.push(DescribeConfigsResult {
            error_code: error.0,
            // An empty text and none mean the same to clients; Kafka sends the first for success.
            error_message: Some(message.unwrap_or_default().into()),
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
            configs: configs
                .into_iter()
                .map(|config| one(config, request.include_synonyms, request.include_documentation))
                .collect(),
            ..Default::default()
        });
    }
    call.encode(&DescribeConfigsResponse { results, ..Default::default() })
}

fn one(config: Described, synonyms: bool, documentation: bool) -> DescribeConfigsResourceResult<'static> {
    DescribeConfigsResourceResult {
        name: config.name.into(),
        value: config.value.map(Into::into),
        read_only: config.read_only,
        config_source: config.source.id(),
        is_sensitive: config.sensitive,
        synonyms: if synonyms {
            config
                .synonyms
                .into_iter()
                .map(|synonym| DescribeConfigsSynonym {
                    name: synonym.name.into(),
                    value: synonym.value.map(Into::into),
                    source: synonym.source.id(),
                    ..Default::default()
                })
                .collect()
        } else {
            Vec::new()
        },
        config_type: config.type_id,
        documentation: config.documentation.filter(|_| documentation).map(Into::into),
        ..Default::default()
    }
}

fn describe<E: Env>(
    shard: &Shard<E>,
    resource_type: i8,
    name: &str,
    keys: Option<&[&str]>,
) -> Result<Vec<Described>, ApiError> {
    let metadata = shard.metadata();
    let node = &shard.node;
    let layers = metadata.layers(node.id, &node.static_configs);
    let unexpected = || {
        let text = format!("broker {name} is not asked here: this is broker {}", node.id);
        ApiError::new(ErrorCode::INVALID_REQUEST, text)
    };
    match ResourceType::from_id(resource_type) {
        Some(ResourceType::Topic) => {
            check_name(name)?;
            if metadata.topic(name).is_none() {
                return Err(ApiError::bare(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
            }
            Ok(describe_topic(metadata.overrides(ResourceType::Topic, name), &layers, keys))
        }
        Some(ResourceType::Broker) if name.is_empty() => {
            Ok(describe_broker_default(metadata.overrides(ResourceType::Broker, ""), keys))
        }
        Some(ResourceType::Broker) if *name == node.id.to_string() => Ok(describe_broker(&layers, keys)),
        Some(ResourceType::BrokerLogger) if *name == node.id.to_string() => Ok(describe_loggers(LOG_LEVEL, keys)),
        Some(ResourceType::Broker | ResourceType::BrokerLogger) => Err(unexpected()),
        Some(ResourceType::Group) if !name.is_empty() => {
            Ok(describe_group(metadata.overrides(ResourceType::Group, name), &layers, keys))
        }
        Some(ResourceType::ClientMetrics) if !name.is_empty() => Ok(Vec::new()),
        Some(ResourceType::Group | ResourceType::ClientMetrics) => {
            Err(ApiError::new(ErrorCode::INVALID_REQUEST, "the resource has no name"))
        }
        None => {
            Err(ApiError::new(ErrorCode::INVALID_REQUEST, format!("unknown resource type {resource_type}")))
        }
    }
}

pub(in crate::requests) async fn incremental_alter_configs<E: Env>(
    shard: &Rc<Shard<E>>,
    call: &Call,
) -> Result<Vec<Bytes>, Close> {
    let mut reader = call.reader();
    let request = wire_incremental::IncrementalAlterConfigsRequest::decode(&mut reader, call.version)
        .map_err(|e| call.body_error(e))?;
    let resources = request
        .resources
        .iter()
        .map(|resource| AlterResource {
            resource_type: resource.resource_type,
            name: resource.resource_name.to_string(),
            altering: Altering::Some(
                resource
                    .configs
                    .iter()
                    .map(|c| (c.name.to_string(), c.config_operation, c.value.as_deref().map(str::to_owned)))
                    .collect(),
            ),
        })
        .collect();
    let responses = alter(shard, call, resources, request.validate_only)
        .await
        .into_iter()
        .map(|(resource_type, name, error, message)| wire_incremental::AlterConfigsResourceResponse {
            error_code: error.0,
            error_message: message.map(Into::into),
            resource_type,
            resource_name: name.into(),
            ..Default::default()
        })
        .collect();
    call.encode(&wire_incremental::IncrementalAlterConfigsResponse { responses, ..Default::default() })
}

pub(in crate::requests) async fn alter_configs<E: Env>(
    shard: &Rc<Shard<E>>,
    call: &Call,
) -> Result<Vec<Bytes>, Close> {
    let mut reader = call.reader();
    let request = wire_alter::AlterConfigsRequest::decode(&mut reader, call.version).map_err(|e| call.body_error(e))?;
    let resources = request
        .resources
        .iter()
        .map(|resource| AlterResource {
            resource_type: resource.resource_type,
            name: resource.resource_name.to_string(),
            altering: Altering::All(
                resource
                    .configs
                    .iter()
                    .map(|c| (c.name.to_string(), c.value.as_deref().map(str::to_owned)))
                    .collect(),
            ),
        })
        .collect();
    let responses = alter(shard, call, resources, request.validate_only)
        .await
        .into_iter()
        .map(|(resource_type, name, error, message)| wire_alter::AlterConfigsResourceResponse {
            error_code: error.0,
            error_message: message.map(Into::into),
            resource_type,
            resource_name: name.into(),
            ..Default::default()
        })
        .collect();
    call.encode(&wire_alter::AlterConfigsResponse { responses, ..Default::default() })
}

/// Resource type and name, error and message of each resource, in request order.
async fn alter<E: Env>(
    shard: &Rc<Shard<E>>,
    call: &Call,
    resources: Vec<AlterResource>,
    validate_only: bool,
) -> Vec<(i8, String, ErrorCode, Option<String>)> {
    let asked: Vec<(i8, String)> = resources.iter().map(|r| (r.resource_type, r.name.clone())).collect();
    let altered: Option<Vec<AlteredResource>> =
        plan(shard, move |planner, _| planner.alter_configs(&resources, validate_only)).await;
    let results: Vec<_> = match altered {
        Some(altered) => altered
            .into_iter()
            .map(|resource| match resource.outcome {
                Ok(()) => (resource.resource_type, resource.name, ErrorCode::NONE, None),
                Err(refused) => (resource.resource_type, resource.name, refused.code, refused.message),
            })
            .collect(),
        None => asked
            .into_iter()
            .map(|(resource_type, name)| (resource_type, name, ErrorCode::NOT_CONTROLLER, None))
            .collect(),
    };
    for (_, _, error, _) in &results {
        shard.stats.error(call.api as i16, error.0);
    }
    results
}
