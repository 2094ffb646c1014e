//! Errors that a client sees: code and, where it helps, a sentence.

use turgo_net::ErrorCode;

use crate::configs::AlterError;

/// A refusal. The client acts next: it corrects the request or refreshes what it knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// Kafka's error code.
    pub code: ErrorCode,
    /// What was wrong; `None` leaves it to the client's own text for the code.
    pub message: Option<String>,
}

impl ApiError {
    /// A refusal that says why.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: Some(message.into()),
        }
    }

    /// A refusal whose code says all.
    pub fn bare(code: ErrorCode) -> Self {
        Self { code, message: None }
    }
}

impl From<AlterError> for ApiError {
    fn from(error: AlterError) -> Self {
        match error {
            AlterError::Request(text) => Self::new(ErrorCode::INVALID_REQUEST, text),
            AlterError::Config(text) => Self::new(ErrorCode::INVALID_CONFIG, text),
        }
    }
}
