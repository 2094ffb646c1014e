//! UnregisterBroker (key 64, version 0; KIP-631).
//!
//! Only this broker is ever registered, and it is the one that answers. Kafka lets even a running broker be
//! unregistered, which then cannot go on; here that is refused.

use turgo_net::ErrorCode;
use turgo_net::messages::unregister_broker::{UnregisterBrokerRequest, UnregisterBrokerResponse};

use crate::metadata::Planner;

/// The answer from the applied state.
pub fn respond(
    request: &UnregisterBrokerRequest,
    planner: &Planner<'_>,
) -> UnregisterBrokerResponse<'static> {
    let id = request.broker_id;
    let (error, message) = if id == planner.site.node_id {
        (
            ErrorCode::INVALID_REQUEST,
            format!("Broker {id} is running: a running broker is not unregistered."),
        )
    } else {
        (
            ErrorCode::BROKER_ID_NOT_REGISTERED,
            format!("Broker {id} is not registered."),
        )
    };
    UnregisterBrokerResponse {
        error_code: error.0,
        error_message: Some(message.into()),
        ..Default::default()
    }
}
