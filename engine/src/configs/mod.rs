//! Every topic, broker and group setting that is served under Kafka's names, each declared once.
//!
//! A declaration ([`ConfigDef`]) carries name, type, default, range, unit, where it may change and one sentence of
//! documentation; DescribeConfigs, validation, `docs/configuration.md` and the typed settings ([`TopicSettings`],
//! [`NodeSettings`]) all read it. Nothing here holds state: the overrides come in as [`Layers`].
//!
//! Called by `metadata::controller` (validation of changes), by the request handlers (description) and by shards
//! (typed settings). Facts about names, types, defaults and ranges are those of a live Kafka 4.3 broker; `durability`
//! and `log.durability` are ours.
//!
//! Always holds: every default passes its own validation, so effective values always parse; names are unique per scope
//! and every table is sorted (tests check both).

mod alter;
mod broker;
mod client_metrics;
mod def;
pub mod document;
mod group;
mod loggers;
mod resolve;
mod settings;
mod topic;
mod value;

#[cfg(test)]
mod tests;

pub use alter::{
    AlterError, AlterOp, OpType, apply_incremental, check_resource, validate_group_overrides,
    validate_topic_overrides,
};
pub use broker::{BrokerUpdate, check_broker_update, check_static};
pub use client_metrics::validate_client_metrics;
pub use def::{Check, ConfigDef, ConfigSource, ConfigType, Dynamic, Effect, ResourceType, Scope, Unit};
pub use loggers::{check_logger_ops, describe_loggers};
pub use resolve::{
    Described, Layers, Synonym, describe_broker, describe_broker_default, describe_client_metrics,
    describe_group, describe_topic,
};
pub use settings::{CompressionType, Durability, NodeSettings, TimestampType, TopicSettings};
pub use value::{Value, ValueError, format_double, parse};

/// All settings of a topic, sorted by name.
pub fn topic_configs() -> &'static [ConfigDef] {
    topic::TOPIC
}

/// All settings of a broker, sorted by name.
pub fn broker_configs() -> impl Iterator<Item = &'static ConfigDef> {
    broker::TABLES.into_iter().flatten()
}

/// All settings of a group, sorted by name.
pub fn group_configs() -> &'static [ConfigDef] {
    group::GROUP
}

/// All settings of a client metrics subscription, sorted by name.
pub fn client_metrics_configs() -> &'static [ConfigDef] {
    client_metrics::CLIENT_METRICS
}

/// The declaration of a setting of a client metrics subscription.
pub fn client_metrics_config(name: &str) -> Option<&'static ConfigDef> {
    find(client_metrics::CLIENT_METRICS, name)
}

/// The declaration of a topic setting.
pub fn topic_config(name: &str) -> Option<&'static ConfigDef> {
    find(topic::TOPIC, name)
}

/// The declaration of a broker setting.
pub fn broker_config(name: &str) -> Option<&'static ConfigDef> {
    broker::TABLES.into_iter().find_map(|table| find(table, name))
}

/// The declaration of a group setting.
pub fn group_config(name: &str) -> Option<&'static ConfigDef> {
    find(group::GROUP, name)
}

fn find(table: &'static [ConfigDef], name: &str) -> Option<&'static ConfigDef> {
    table
        .binary_search_by(|d| d.name.cmp(name))
        .ok()
        .map(|i| &table[i])
}
