//! Log levels through the config requests (KIP-412): one logger, `root`. Levels are not part of the metadata; the
//! process applies what [`check_logger_ops`] lets through and forgets it at its end, as Kafka does.

use super::alter::{AlterError, AlterOp, OpType};
use super::def::ConfigSource;
use super::resolve::Described;

const ROOT: &str = "root";
const LEVELS: [&str; 6] = ["DEBUG", "ERROR", "FATAL", "INFO", "TRACE", "WARN"];

/// Describes the loggers of this broker; `level` is that of the root logger.
pub fn describe_loggers(level: &str, filter: Option<&[&str]>) -> Vec<Described> {
    if filter.is_some_and(|names| !names.contains(&ROOT)) {
        return Vec::new();
    }
    vec![Described {
        name: ROOT.into(),
        value: Some(level.to_owned()),
        source: ConfigSource::DynamicBrokerLogger,
        read_only: false,
        sensitive: false,
        type_id: 0,
        synonyms: Vec::new(),
        documentation: None,
    }]
}

/// Judges changes of log levels and returns the root logger's new level, if one was given.
pub fn check_logger_ops(ops: &[AlterOp]) -> Result<Option<&'static str>, AlterError> {
    let mut new = None;
    for op in ops {
        match op.op {
            OpType::Append | OpType::Subtract => {
                let name = if op.op == OpType::Append {
                    "APPEND"
                } else {
                    "SUBTRACT"
                };
                return Err(AlterError::Request(format!(
                    "{name} is not possible for a log level"
                )));
            }
            OpType::Set | OpType::Delete if op.name != ROOT => {
                return Err(AlterError::Config(format!("There is no logger {}", op.name)));
            }
            OpType::Delete => {
                return Err(AlterError::Request(
                    "The level of the root logger cannot be removed".into(),
                ));
            }
            OpType::Set => {
                let level = op.value.as_deref().unwrap_or_default();
                let Some(known) = LEVELS.iter().find(|l| **l == level) else {
                    return Err(AlterError::Config(format!(
                        "{level} is not a log level; the levels are {}",
                        LEVELS.join(", ")
                    )));
                };
                new = Some(*known);
            }
        }
    }
    Ok(new)
}
