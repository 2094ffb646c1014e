//! Why a request got no answer, or none that can be used.

use std::fmt;

use turgo_net::{ApiKey, DecodeError, EncodeError, ErrorCode};

use crate::cli::exit::CliError;

/// A failure of the client, as opposed to an answer that says no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientError {
    /// Nobody listens there, or the name does not resolve.
    Unreachable(String),
    /// The connection ended before the answer. Whether the request was carried out is unknown.
    Lost {
        /// Who was asked.
        broker: String,
        /// What was asked.
        api: &'static str,
        /// The system's words.
        why: String,
    },
    /// No answer before the deadline.
    TimedOut {
        /// Who was asked.
        broker: String,
        /// What was asked.
        api: &'static str,
    },
    /// The broker does not serve this request in a version known here.
    Unsupported {
        /// Who was asked.
        broker: String,
        /// What was asked.
        api: &'static str,
    },
    /// The bytes are not what the protocol says.
    Protocol {
        /// Who was asked.
        broker: String,
        /// What is wrong.
        why: String,
    },
    /// The request cannot be expressed in the version that the broker serves.
    Request(String),
    /// The user wants out.
    Interrupted,
}

impl ClientError {
    pub(super) fn encode(api: ApiKey, error: EncodeError) -> Self {
        ClientError::Request(format!(
            "this {} request cannot be sent to this broker: {error}",
            api.name()
        ))
    }

    pub(super) fn decode(broker: &str, api: ApiKey, error: DecodeError) -> Self {
        ClientError::Protocol {
            broker: broker.into(),
            why: format!("its {} answer: {error}", api.name()),
        }
    }

    /// Whether asking again, perhaps another broker, may help.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            ClientError::Unreachable(_) | ClientError::Lost { .. } | ClientError::TimedOut { .. }
        )
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::Unreachable(why) | ClientError::Request(why) => f.write_str(why),
            ClientError::Lost { broker, api, why } => write!(
                f,
                "the connection to {broker} ended before the answer to {api}: {why}. Is it a Kafka listener without \
                 TLS and SASL? Whether the request was carried out is not known"
            ),
            ClientError::TimedOut { broker, api } => {
                write!(
                    f,
                    "no answer from {broker} to {api} in time; raise --timeout or look at the broker's log"
                )
            }
            ClientError::Unsupported { broker, api } => {
                write!(f, "{broker} does not serve {api} in a version known here")
            }
            ClientError::Protocol { broker, why } => {
                write!(
                    f,
                    "{broker} does not speak Kafka's protocol, or speaks it wrongly: {why}"
                )
            }
            ClientError::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl std::error::Error for ClientError {}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Interrupted => CliError::Interrupted,
            ClientError::Unreachable(_) | ClientError::Lost { .. } | ClientError::TimedOut { .. } => {
                CliError::Unreachable(error.to_string())
            }
            _ => CliError::Failed(error.to_string()),
        }
    }
}

/// A refusal in words: the cluster's own message if it sent one, and the code's name either way.
pub fn refusal(code: i16, message: Option<&str>) -> String {
    let code = ErrorCode(code);
    let name = if code.name() == "UNKNOWN" {
        format!("error {}", code.0)
    } else {
        code.name().to_string()
    };
    match message.filter(|message| !message.is_empty()) {
        Some(message) => format!("{message} ({name})"),
        None => format!("{} ({name})", code.message()),
    }
}
