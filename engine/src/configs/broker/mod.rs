//! The settings of a broker, and the rules for changing them.

mod a_to_f;
mod groups;
mod logs;
mod m_to_q;
mod r_to_z;

use super::def::{ConfigDef, Dynamic};
use super::{broker_config, value};

/// All settings of a broker; the tables follow each other in the order of names.
pub(super) static TABLES: [&[ConfigDef]; 5] = [
    a_to_f::TABLE,
    groups::TABLE,
    logs::TABLE,
    m_to_q::TABLE,
    r_to_z::TABLE,
];

/// Names that exist only as overrides: they are described once they are set, and have no default (KIP-73, KIP-226).
static THROTTLES: &[&str] = &[
    "follower.replication.throttled.rate",
    "leader.replication.throttled.rate",
    "replica.alter.log.dirs.io.max.bytes.per.second",
];

/// What a client may do with a broker setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BrokerUpdate {
    /// Known and live; the value was checked.
    Allowed,
    /// Not a name of ours. Kafka stores such names for its plug-ins and never shows the value; so do we.
    Custom,
}

/// Judges a change of the broker setting `name` to `text` (`None`: deletion). `cluster_wide` is the default of all
/// brokers (empty resource name). The refusal is text for INVALID_REQUEST (42).
pub fn check_broker_update(
    name: &str,
    text: Option<&str>,
    cluster_wide: bool,
) -> Result<BrokerUpdate, String> {
    if THROTTLES.contains(&name) {
        let Some(text) = text else {
            return Ok(BrokerUpdate::Allowed);
        };
        return match text.trim().parse::<i64>() {
            Ok(rate) if rate >= 0 => Ok(BrokerUpdate::Allowed),
            _ => Err(format!(
                "Invalid value {text} for configuration {name}: expected a rate of 0 or more bytes per second"
            )),
        };
    }
    let Some(def) = broker_config(name) else {
        return Ok(BrokerUpdate::Custom);
    };
    match def.dynamic {
        Dynamic::ReadOnly => return Err(format!("Cannot update these configs dynamically: [{name}]")),
        Dynamic::PerBroker if cluster_wide => {
            return Err(format!(
                "Cannot update these configs at default cluster level, name a broker: [{name}]"
            ));
        }
        Dynamic::PerBroker if name.starts_with("ssl.") => {
            return Err(format!(
                "These security configs can be updated dynamically only per listener: [{name}]"
            ));
        }
        Dynamic::PerBroker | Dynamic::ClusterWide => {}
    }
    if let Some(text) = text {
        value::parse(def, text).map_err(|e| e.to_string())?;
    }
    Ok(BrokerUpdate::Allowed)
}

/// Judges a value from the node file, where every known name may stand.
pub fn check_static(name: &str, text: &str) -> Result<(), value::ValueError> {
    match broker_config(name) {
        Some(def) => value::parse(def, text).map(|_| ()),
        None => Err(value::ValueError {
            name: name.into(),
            value: text.chars().take(256).collect(),
            reason: "unknown broker config name".into(),
        }),
    }
}

/// Whether `name` is a rate that exists only as an override.
pub(super) fn is_throttle(name: &str) -> bool {
    THROTTLES.contains(&name)
}
