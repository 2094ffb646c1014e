//! Errors that a client sees: code and, where it helps, a sentence.

/// Kafka's error codes that the metadata answers with; the numbers are the protocol's.
#[allow(missing_docs)]
pub mod code {
    pub const UNKNOWN_SERVER_ERROR: i16 = -1;
    pub const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
    pub const INVALID_TOPIC_EXCEPTION: i16 = 17;
    pub const TOPIC_ALREADY_EXISTS: i16 = 36;
    pub const INVALID_PARTITIONS: i16 = 37;
    pub const INVALID_REPLICATION_FACTOR: i16 = 38;
    pub const INVALID_REPLICA_ASSIGNMENT: i16 = 39;
    pub const INVALID_CONFIG: i16 = 40;
    pub const INVALID_REQUEST: i16 = 42;
    pub const POLICY_VIOLATION: i16 = 44;
    pub const TOPIC_DELETION_DISABLED: i16 = 73;
    pub const UNKNOWN_TOPIC_ID: i16 = 100;
}

/// A refusal. The client acts next: it corrects the request or refreshes what it knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// Kafka's error code.
    pub code: i16,
    /// What was wrong; `None` leaves it to the client's own text for the code.
    pub message: Option<String>,
}

impl ApiError {
    /// A refusal that says why.
    pub fn new(code: i16, message: impl Into<String>) -> Self {
        Self {
            code,
            message: Some(message.into()),
        }
    }

    /// A refusal whose code says all.
    pub fn bare(code: i16) -> Self {
        Self { code, message: None }
    }
}

impl From<crate::configs::AlterError> for ApiError {
    fn from(error: crate::configs::AlterError) -> Self {
        match error {
            crate::configs::AlterError::Request(text) => Self::new(code::INVALID_REQUEST, text),
            crate::configs::AlterError::Config(text) => Self::new(code::INVALID_CONFIG, text),
        }
    }
}
