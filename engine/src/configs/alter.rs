//! What a change request does to a set of overrides.
//!
//! Changes are judged against the whole result, as Kafka does: a value may be fine alone and wrong beside another one.
//! An error refuses all changes of its resource and touches nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::def::{ConfigType, ResourceType};
use super::{ConfigDef, group_config, topic_config, value};

/// Kind of an incremental change, with its id on the wire (KIP-339).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
#[allow(missing_docs)]
pub enum OpType {
    Set = 0,
    Delete = 1,
    Append = 2,
    Subtract = 3,
}

impl OpType {
    /// The operation with this id.
    pub fn from_id(id: i8) -> Option<Self> {
        Some(match id {
            0 => Self::Set,
            1 => Self::Delete,
            2 => Self::Append,
            3 => Self::Subtract,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Set => "SET",
            Self::Delete => "DELETE",
            Self::Append => "APPEND",
            Self::Subtract => "SUBTRACT",
        }
    }
}

/// One change of one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlterOp {
    /// Name of the setting.
    pub name: String,
    /// What to do.
    pub op: OpType,
    /// Operand; ignored by `Delete`.
    pub value: Option<String>,
}

/// Why a change is refused. The client corrects it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlterError {
    /// INVALID_REQUEST (42).
    Request(String),
    /// INVALID_CONFIG (40).
    Config(String),
}

/// Checks that need no state: duplicate names and missing values (INVALID_REQUEST).
pub fn check_resource(ops: &[AlterOp]) -> Result<(), AlterError> {
    let missing: Vec<&str> = ops
        .iter()
        .filter(|o| o.op != OpType::Delete && o.value.is_none())
        .map(|o| o.name.as_str())
        .collect();
    if !missing.is_empty() {
        return Err(AlterError::Request(format!(
            "Null value not supported for : {}",
            missing.join(",")
        )));
    }
    let mut names: Vec<&str> = ops.iter().map(|o| o.name.as_str()).collect();
    names.sort_unstable();
    if names.windows(2).any(|w| w[0] == w[1]) {
        return Err(AlterError::Request("Error due to duplicate config keys".into()));
    }
    Ok(())
}

/// The overrides after `ops`. `default_of` gives the value that a list starts from when it has no override.
///
/// Only the shape of the operations is judged here; the caller validates the result.
pub fn apply_incremental(
    resource: ResourceType,
    existing: &BTreeMap<String, String>,
    ops: &[AlterOp],
    default_of: impl Fn(&str) -> Option<String>,
) -> Result<BTreeMap<String, String>, AlterError> {
    let mut result = existing.clone();
    for op in ops {
        let operand = || {
            op.value
                .clone()
                .ok_or_else(|| AlterError::Request(format!("Null value not supported for : {}", op.name)))
        };
        match op.op {
            OpType::Set => {
                result.insert(op.name.clone(), operand()?);
            }
            OpType::Delete => {
                result.remove(&op.name);
            }
            OpType::Append | OpType::Subtract => {
                let is_list = declaration(resource, &op.name).is_some_and(|d| d.kind == ConfigType::List);
                if !is_list {
                    return Err(AlterError::Config(format!(
                        "Can't {} to key {} because its type is not LIST.",
                        op.op.name(),
                        op.name
                    )));
                }
                let current = result
                    .get(&op.name)
                    .cloned()
                    .or_else(|| default_of(&op.name))
                    .unwrap_or_default();
                let mut words = value::words(&current);
                let operand = operand()?;
                // Splitting keeps empty words, so that appending nothing is refused by the validation, as in Kafka.
                let operands = operand.split(',').map(str::trim);
                if op.op == OpType::Append {
                    let mut seen: BTreeSet<String> = words.iter().cloned().collect();
                    words.extend(
                        operands
                            .filter(|w| seen.insert((*w).to_owned()))
                            .map(str::to_owned),
                    );
                } else {
                    let gone: BTreeSet<&str> = operands.collect();
                    words.retain(|w| !gone.contains(w.as_str()));
                }
                result.insert(op.name.clone(), words.join(","));
            }
        }
    }
    Ok(result)
}

fn declaration(resource: ResourceType, name: &str) -> Option<&'static ConfigDef> {
    match resource {
        ResourceType::Topic => topic_config(name),
        ResourceType::Broker => super::broker_config(name),
        ResourceType::Group => group_config(name),
        ResourceType::BrokerLogger | ResourceType::ClientMetrics => None,
    }
}

/// Judges the complete overrides of a topic (INVALID_CONFIG). `default_of` gives the value of a setting without
/// override.
pub fn validate_topic_overrides(
    overrides: &BTreeMap<String, String>,
    default_of: impl Fn(&str) -> Option<String>,
) -> Result<(), AlterError> {
    for name in overrides.keys() {
        if topic_config(name).is_none() {
            return Err(AlterError::Config(format!("Unknown topic config name: {name}")));
        }
    }
    for (name, text) in overrides {
        let Some(def) = topic_config(name) else { continue };
        value::parse(def, text).map_err(|e| AlterError::Config(e.to_string()))?;
    }
    let number = |name: &str| {
        let text = overrides.get(name).cloned().or_else(|| default_of(name))?;
        match value::parse(topic_config(name)?, &text) {
            Ok(value::Value::Number(n)) => Some(n),
            _ => None,
        }
    };
    if let (Some(min), Some(max)) = (number("min.compaction.lag.ms"), number("max.compaction.lag.ms"))
        && min > max
    {
        return Err(AlterError::Config(format!(
            "min.compaction.lag.ms ({min}) must not be larger than max.compaction.lag.ms ({max})"
        )));
    }
    let tiered = overrides
        .get("remote.storage.enable")
        .zip(topic_config("remote.storage.enable"))
        .is_some_and(|(text, def)| value::parse(def, text) == Ok(value::Value::Boolean(true)));
    if tiered {
        return Err(AlterError::Config(
            "This broker has no remote storage, so remote.storage.enable must be false.".into(),
        ));
    }
    Ok(())
}

/// Judges the complete overrides of a group (INVALID_CONFIG). `bound` gives the value of a broker setting.
pub fn validate_group_overrides(
    overrides: &BTreeMap<String, String>,
    bound: impl Fn(&str) -> Option<i64>,
) -> Result<(), AlterError> {
    for (name, text) in overrides {
        let Some(def) = group_config(name) else {
            return Err(AlterError::Config(format!("Unknown group config name: {name}")));
        };
        let value = value::parse(def, text).map_err(|e| AlterError::Config(e.to_string()))?;
        // `consumer.session.timeout.ms` lies between `group.consumer.min.` and `group.consumer.max.session.timeout.ms`.
        let (Some(rest), value::Value::Number(n)) = (name.strip_prefix("consumer."), value) else {
            continue;
        };
        let (min_name, max_name) = (
            format!("group.consumer.min.{rest}"),
            format!("group.consumer.max.{rest}"),
        );
        if bound(&min_name).is_some_and(|min| n < min) {
            return Err(AlterError::Config(format!(
                "{name} must be greater than or equal to {min_name}"
            )));
        }
        if bound(&max_name).is_some_and(|max| n > max) {
            return Err(AlterError::Config(format!(
                "{name} must be less than or equal to {max_name}"
            )));
        }
    }
    Ok(())
}
