//! DescribeCluster (key 60, versions 0 to 2; KIP-700, KIP-919, KIP-1073).

use std::borrow::Cow;

use turgo_net::ErrorCode;
use turgo_net::messages::describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};

use super::{ALL_CLUSTER_OPERATIONS, controller_id, nodes, operations};
use crate::metadata::Planner;

/// Endpoint types of the request (KIP-919).
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

/// The answer from the applied state. Controllers have no listener of their own, so asking for them is a mismatch.
pub fn respond<'a>(request: &DescribeClusterRequest, planner: &Planner<'a>) -> DescribeClusterResponse<'a> {
    let refusal = match request.endpoint_type {
        BROKERS => None,
        CONTROLLERS => Some((
            ErrorCode::MISMATCHED_ENDPOINT_TYPE,
            "This endpoint is a broker's, and controllers were asked for.".to_owned(),
        )),
        other => Some((
            ErrorCode::UNSUPPORTED_ENDPOINT_TYPE,
            format!("There is no endpoint type {other}."),
        )),
    };
    if let Some((error, message)) = refusal {
        return DescribeClusterResponse {
            error_code: error.0,
            error_message: Some(message.into()),
            ..Default::default()
        };
    }
    DescribeClusterResponse {
        endpoint_type: BROKERS,
        cluster_id: Cow::Borrowed(planner.site.cluster_id),
        controller_id: controller_id(planner),
        brokers: nodes(planner)
            .into_iter()
            .map(|node| DescribeClusterBroker {
                broker_id: node.id,
                host: Cow::Borrowed(node.host),
                port: node.port,
                rack: node.rack.map(Cow::Borrowed),
                ..Default::default()
            })
            .collect(),
        cluster_authorized_operations: operations(
            request.include_cluster_authorized_operations,
            ALL_CLUSTER_OPERATIONS,
        ),
        ..Default::default()
    }
}
