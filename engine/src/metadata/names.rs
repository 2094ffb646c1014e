//! Rules for topic names.

use turgo_net::ErrorCode;

use super::error::ApiError;

/// Topic that holds committed offsets and group state.
pub const CONSUMER_OFFSETS: &str = "__consumer_offsets";
/// Topic that holds transaction state.
pub const TRANSACTION_STATE: &str = "__transaction_state";
const SHARE_GROUP_STATE: &str = "__share_group_state";
/// Name that Kafka keeps for its own metadata log; never a topic.
pub(super) const CLUSTER_METADATA: &str = "__cluster_metadata";

/// Longest topic name, in bytes.
const MAX_NAME_BYTES: usize = 249;

/// Whether the broker keeps state of its own in the topic; shown to clients.
pub fn is_internal(name: &str) -> bool {
    matches!(name, CONSUMER_OFFSETS | TRANSACTION_STATE | SHARE_GROUP_STATE)
}

/// Judges a topic name (INVALID_TOPIC_EXCEPTION): 1 to 249 ASCII letters, digits, `.`, `_` and `-`, and neither `.` nor
/// `..`, which would be directories.
pub fn check_name(name: &str) -> Result<(), ApiError> {
    let shown = || name.chars().take(256).collect::<String>();
    let reason = match name {
        "" => "the empty string is not allowed".to_owned(),
        "." | ".." => format!("'{name}' is not allowed"),
        _ if name.len() > MAX_NAME_BYTES => {
            format!("'{}' is longer than {MAX_NAME_BYTES} characters", shown())
        }
        _ if !name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) =>
        {
            format!(
                "'{}' holds a character other than ASCII letters, digits, '.', '_' and '-'",
                shown()
            )
        }
        _ => return Ok(()),
    };
    Err(ApiError::new(
        ErrorCode::INVALID_TOPIC_EXCEPTION,
        format!("Topic name is invalid: {reason}"),
    ))
}

/// Key under which two names collide (metrics of Kafka's clients show `.` as `_`); `None` for names that cannot.
pub(super) fn collision_key(name: &str) -> Option<String> {
    name.contains(['.', '_']).then(|| name.replace('.', "_"))
}
