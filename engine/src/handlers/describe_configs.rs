//! DescribeConfigs (key 32, versions 1 to 4; KIP-133, KIP-226, KIP-569).

use std::borrow::Cow;
use std::collections::BTreeSet;

use turgo_net::ErrorCode;
use turgo_net::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResponse,
    DescribeConfigsResult, DescribeConfigsSynonym,
};

use super::outcome;
use crate::configs::{
    Described, ResourceType, describe_broker, describe_broker_default, describe_client_metrics,
    describe_group, describe_loggers, describe_topic,
};
use crate::metadata::{ApiError, Planner, check_name};

/// Most resources of one request; more are refused, since each answer is far larger than its question.
const MAX_RESOURCES: usize = 10_000;

/// The answer from the applied state. `log_level`: the root logger's.
pub fn respond<'a>(
    request: &'a DescribeConfigsRequest<'a>,
    planner: &Planner<'_>,
    log_level: &str,
) -> DescribeConfigsResponse<'a> {
    let mut seen = BTreeSet::new();
    let results = request
        .resources
        .iter()
        .filter(|r| seen.insert((r.resource_type, r.resource_name.as_ref())))
        .enumerate()
        .map(|(index, resource)| {
            let described = if index < MAX_RESOURCES {
                describe(resource, planner, log_level)
            } else {
                Err(request_error(format!(
                    "One request may describe at most {MAX_RESOURCES} resources."
                )))
            };
            let (error, message) = outcome(&described);
            DescribeConfigsResult {
                error_code: error.0,
                // Kafka sends the empty text, not null, with success.
                error_message: Some(message.unwrap_or_default().into()),
                resource_type: resource.resource_type,
                resource_name: Cow::Borrowed(resource.resource_name.as_ref()),
                configs: described
                    .unwrap_or_default()
                    .into_iter()
                    .map(|d| on_the_wire(d, request.include_synonyms, request.include_documentation))
                    .collect(),
            }
        })
        .collect();
    DescribeConfigsResponse {
        results,
        ..Default::default()
    }
}

fn describe(
    resource: &DescribeConfigsResource<'_>,
    planner: &Planner<'_>,
    log_level: &str,
) -> Result<Vec<Described>, ApiError> {
    let name = resource.resource_name.as_ref();
    // No list and an empty list both ask for everything.
    let keys: Option<Vec<&str>> = resource
        .configuration_keys
        .as_ref()
        .filter(|keys| !keys.is_empty())
        .map(|keys| keys.iter().map(AsRef::as_ref).collect());
    let keys = keys.as_deref();
    let state = planner.state;
    match ResourceType::from_id(resource.resource_type) {
        Some(kind @ ResourceType::Topic) => {
            check_name(name)?;
            if state.topic(name).is_none() {
                return Err(ApiError::bare(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
            }
            Ok(describe_topic(
                state.overrides(kind, name),
                &planner.layers(),
                keys,
            ))
        }
        Some(kind @ ResourceType::Broker) if name.is_empty() => {
            Ok(describe_broker_default(state.overrides(kind, ""), keys))
        }
        Some(ResourceType::Broker) => {
            planner.check_broker_name(name, true)?;
            Ok(describe_broker(&planner.layers(), keys))
        }
        Some(ResourceType::BrokerLogger) => {
            planner.check_broker_name(name, false)?;
            Ok(describe_loggers(log_level, keys))
        }
        Some(ResourceType::Group | ResourceType::ClientMetrics) if name.is_empty() => {
            Err(request_error("The resource has no name.".into()))
        }
        Some(kind @ ResourceType::Group) => Ok(describe_group(
            state.overrides(kind, name),
            &planner.layers(),
            keys,
        )),
        Some(kind @ ResourceType::ClientMetrics) => {
            Ok(describe_client_metrics(state.overrides(kind, name), keys))
        }
        None => Err(request_error(format!(
            "Unknown resource type {}",
            resource.resource_type
        ))),
    }
}

fn request_error(message: String) -> ApiError {
    ApiError::new(ErrorCode::INVALID_REQUEST, message)
}

fn on_the_wire(
    described: Described,
    synonyms: bool,
    documentation: bool,
) -> DescribeConfigsResourceResult<'static> {
    let chain = if synonyms { described.synonyms } else { Vec::new() };
    DescribeConfigsResourceResult {
        name: described.name.into(),
        value: described.value.map(Into::into),
        read_only: described.read_only,
        config_source: described.source.id(),
        is_sensitive: described.sensitive,
        synonyms: chain
            .into_iter()
            .map(|synonym| DescribeConfigsSynonym {
                name: synonym.name.into(),
                value: synonym.value.map(Into::into),
                source: synonym.source.id(),
            })
            .collect(),
        config_type: described.type_id,
        documentation: described.documentation.filter(|_| documentation).map(Into::into),
    }
}
