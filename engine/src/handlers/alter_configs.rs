//! IncrementalAlterConfigs (key 44, versions 0 and 1; KIP-339) and AlterConfigs (key 33, versions 0 to 2; KIP-133).

use turgo_net::messages::{alter_configs as all, incremental_alter_configs as some};

use super::outcome;
use crate::metadata::{AlterResource, AlteredResource, Altering, Plan, Planner};

/// An answer, and the log level that the process is to take on with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Altered<T> {
    /// For the client.
    pub response: T,
    /// New level of the root logger, if the request sets it.
    pub log_level: Option<&'static str>,
}

/// IncrementalAlterConfigs: records and answer.
pub fn plan_incremental(
    request: &some::IncrementalAlterConfigsRequest<'_>,
    planner: &Planner<'_>,
) -> Plan<Altered<some::IncrementalAlterConfigsResponse<'static>>> {
    let resources: Vec<AlterResource> = request
        .resources
        .iter()
        .map(|resource| AlterResource {
            resource_type: resource.resource_type,
            name: resource.resource_name.to_string(),
            altering: Altering::Some(
                resource
                    .configs
                    .iter()
                    .map(|c| {
                        (
                            c.name.to_string(),
                            c.config_operation,
                            c.value.as_deref().map(Into::into),
                        )
                    })
                    .collect(),
            ),
        })
        .collect();
    let plan = planner.alter_configs(&resources, request.validate_only);
    let log_level = log_level(&plan.result);
    let responses = plan
        .result
        .into_iter()
        .map(|resource| {
            let (error, message) = outcome(&resource.outcome);
            some::AlterConfigsResourceResponse {
                error_code: error.0,
                error_message: message.map(Into::into),
                resource_type: resource.resource_type,
                resource_name: resource.name.into(),
            }
        })
        .collect();
    let response = some::IncrementalAlterConfigsResponse {
        responses,
        ..Default::default()
    };
    Plan {
        records: plan.records,
        result: Altered { response, log_level },
    }
}

/// AlterConfigs: records and answer.
pub fn plan(
    request: &all::AlterConfigsRequest<'_>,
    planner: &Planner<'_>,
) -> Plan<Altered<all::AlterConfigsResponse<'static>>> {
    let resources: Vec<AlterResource> = request
        .resources
        .iter()
        .map(|resource| AlterResource {
            resource_type: resource.resource_type,
            name: resource.resource_name.to_string(),
            altering: Altering::All(
                resource
                    .configs
                    .iter()
                    .map(|c| (c.name.to_string(), c.value.as_deref().map(Into::into)))
                    .collect(),
            ),
        })
        .collect();
    let plan = planner.alter_configs(&resources, request.validate_only);
    let log_level = log_level(&plan.result);
    let responses = plan
        .result
        .into_iter()
        .map(|resource| {
            let (error, message) = outcome(&resource.outcome);
            all::AlterConfigsResourceResponse {
                error_code: error.0,
                error_message: message.map(Into::into),
                resource_type: resource.resource_type,
                resource_name: resource.name.into(),
            }
        })
        .collect();
    let response = all::AlterConfigsResponse {
        responses,
        ..Default::default()
    };
    Plan {
        records: plan.records,
        result: Altered { response, log_level },
    }
}

fn log_level(altered: &[AlteredResource]) -> Option<&'static str> {
    altered.iter().rev().find_map(|resource| resource.log_level)
}
