//! Kafka error codes the group coordinator answers with, as the plain numbers its answers carry.

#![allow(missing_docs)] // The names are the protocol's own; `turgo_net::ErrorCode` tells what each means.

use turgo_net::ErrorCode;

macro_rules! codes {
    ($($name:ident)*) => { $(pub const $name: i16 = ErrorCode::$name.0;)* };
}

codes! {
    UNKNOWN_SERVER_ERROR
    NONE
    UNKNOWN_TOPIC_OR_PARTITION
    NOT_LEADER_OR_FOLLOWER
    REQUEST_TIMED_OUT
    MESSAGE_TOO_LARGE
    OFFSET_METADATA_TOO_LARGE
    NETWORK_EXCEPTION
    COORDINATOR_LOAD_IN_PROGRESS
    COORDINATOR_NOT_AVAILABLE
    NOT_COORDINATOR
    RECORD_LIST_TOO_LARGE
    NOT_ENOUGH_REPLICAS
    ILLEGAL_GENERATION
    INCONSISTENT_GROUP_PROTOCOL
    INVALID_GROUP_ID
    UNKNOWN_MEMBER_ID
    INVALID_SESSION_TIMEOUT
    REBALANCE_IN_PROGRESS
    INVALID_REQUEST
    KAFKA_STORAGE_ERROR
    NON_EMPTY_GROUP
    GROUP_ID_NOT_FOUND
    MEMBER_ID_REQUIRED
    GROUP_MAX_SIZE_REACHED
    FENCED_INSTANCE_ID
    GROUP_SUBSCRIBED_TO_TOPIC
    UNSTABLE_OFFSET_COMMIT
    UNSUPPORTED_VERSION
    FENCED_MEMBER_EPOCH
    UNRELEASED_INSTANCE_ID
    UNSUPPORTED_ASSIGNOR
    STALE_MEMBER_EPOCH
    INVALID_REGULAR_EXPRESSION
}

/// The code a group client is told when appending to the internal topic failed with `append_error`.
///
/// A lost replica set or a timeout means "look the coordinator up again soon", a lost leadership or disk means
/// "another broker is the coordinator", and a record too large for the topic is nobody's fault but the server's.
pub fn from_append(append_error: i16) -> i16 {
    match append_error {
        UNKNOWN_TOPIC_OR_PARTITION | NOT_ENOUGH_REPLICAS | REQUEST_TIMED_OUT => COORDINATOR_NOT_AVAILABLE,
        NOT_LEADER_OR_FOLLOWER | KAFKA_STORAGE_ERROR => NOT_COORDINATOR,
        MESSAGE_TOO_LARGE | RECORD_LIST_TOO_LARGE => UNKNOWN_SERVER_ERROR,
        NETWORK_EXCEPTION => COORDINATOR_LOAD_IN_PROGRESS,
        other => other,
    }
}
