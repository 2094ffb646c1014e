//! ListConfigResources (key 74, versions 0 and 1; KIP-1000, KIP-1142).
//!
//! Version 0 lists client metrics only. Topics and brokers are listed whether or not anything is set, client metrics
//! and groups when something is.

use std::borrow::Cow;
use std::collections::BTreeSet;

use turgo_net::ErrorCode;
use turgo_net::messages::list_config_resources::{
    ConfigResource, ListConfigResourcesRequest, ListConfigResourcesResponse,
};

use super::nodes;
use crate::configs::ResourceType;
use crate::metadata::Planner;

const ALL: [ResourceType; 5] = [
    ResourceType::Topic,
    ResourceType::Broker,
    ResourceType::BrokerLogger,
    ResourceType::ClientMetrics,
    ResourceType::Group,
];

/// The answer from the applied state.
pub fn respond<'a>(
    request: &ListConfigResourcesRequest,
    version: i16,
    planner: &Planner<'a>,
) -> ListConfigResourcesResponse<'a> {
    let asked: Option<BTreeSet<ResourceType>> = if version == 0 {
        Some([ResourceType::ClientMetrics].into())
    } else if request.resource_types.is_empty() {
        Some(ALL.into())
    } else {
        request
            .resource_types
            .iter()
            .map(|id| ResourceType::from_id(*id))
            .collect()
    };
    let Some(asked) = asked else {
        return ListConfigResourcesResponse {
            error_code: ErrorCode::UNSUPPORTED_VERSION.0,
            ..Default::default()
        };
    };
    let config_resources = asked
        .into_iter()
        .flat_map(|kind| {
            names(kind, planner)
                .into_iter()
                .map(move |resource_name| ConfigResource {
                    resource_name,
                    resource_type: kind.id(),
                })
        })
        .collect();
    ListConfigResourcesResponse {
        config_resources,
        ..Default::default()
    }
}

fn names<'a>(kind: ResourceType, planner: &Planner<'a>) -> Vec<Cow<'a, str>> {
    let state = planner.state;
    match kind {
        ResourceType::Topic => state.topics().map(|t| Cow::Borrowed(t.name.as_str())).collect(),
        ResourceType::Broker | ResourceType::BrokerLogger => nodes(planner)
            .iter()
            .map(|node| node.id.to_string().into())
            .collect(),
        ResourceType::ClientMetrics | ResourceType::Group => {
            state.configured(kind).map(Cow::Borrowed).collect()
        }
    }
}
