//! Changes of settings: IncrementalAlterConfigs and AlterConfigs.
//!
//! Every resource of a request stands alone. The order of checks is that of a Kafka 4.3 broker: the resource appears
//! once, no value is missing, no name appears twice, the resource is one that can have settings, the values are good,
//! and only then whether the topic exists.

use std::collections::{BTreeMap, BTreeSet};

use turgo_net::ErrorCode;

use super::eligible::check_broker_change;
use super::error::ApiError;
use super::names::check_name;
use super::plan::{Plan, Planner, repeated};
use super::record::{ConfigSet, MetaRecord};
use crate::configs::{
    AlterOp, OpType, ResourceType, apply_incremental, check_broker_update, check_logger_ops, check_resource,
    group_config, validate_client_metrics, validate_group_overrides, validate_topic_overrides,
};

/// Most groups, and most client metrics subscriptions, that may have settings.
const MAX_CONFIGURED: usize = 10_000;
/// Longest value of a setting, and longest name of what has settings, bytes.
const MAX_TEXT: usize = 32_767;

/// What is to change at one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Altering {
    /// These settings, each in its way (IncrementalAlterConfigs): setting, id of the operation, operand.
    Some(Vec<(String, i8, Option<String>)>),
    /// All settings: these are set and no other (AlterConfigs).
    All(Vec<(String, Option<String>)>),
}

/// One resource of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlterResource {
    /// Id of the resource type as it came.
    pub resource_type: i8,
    /// Its name.
    pub name: String,
    /// What is to change.
    pub altering: Altering,
}

/// How the change of one resource went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlteredResource {
    /// Id of the resource type as it came.
    pub resource_type: i8,
    /// Its name.
    pub name: String,
    /// Done, or why not.
    pub outcome: Result<(), ApiError>,
    /// The root logger's new level: the process applies it, the metadata does not keep it.
    pub log_level: Option<&'static str>,
}

type Settings = BTreeMap<String, String>;

impl Planner<'_> {
    /// IncrementalAlterConfigs and AlterConfigs.
    pub fn alter_configs(
        &self,
        resources: &[AlterResource],
        validate_only: bool,
    ) -> Plan<Vec<AlteredResource>> {
        let repeated = repeated(resources.iter().map(|r| (r.resource_type, r.name.as_str())));
        let mut records = Vec::new();
        let mut answered = BTreeSet::new();
        let result = resources
            .iter()
            .filter(|r| answered.insert((r.resource_type, r.name.as_str())))
            .map(|resource| {
                let outcome = if repeated.contains(&(resource.resource_type, resource.name.as_str())) {
                    Err(ApiError::new(
                        ErrorCode::INVALID_REQUEST,
                        "Each resource must appear at most once.",
                    ))
                } else {
                    self.alter_resource(resource)
                };
                let mut log_level = None;
                let outcome = outcome.map(|altered| {
                    if !validate_only {
                        records.extend(altered.records);
                        log_level = altered.log_level;
                    }
                });
                AlteredResource {
                    resource_type: resource.resource_type,
                    name: resource.name.clone(),
                    outcome,
                    log_level,
                }
            })
            .collect();
        Plan { records, result }
    }

    fn alter_resource(&self, resource: &AlterResource) -> Result<Altered, ApiError> {
        let ops = operations(&resource.altering)?;
        check_resource(&ops)?;
        let texts = ops.iter().filter_map(|op| op.value.as_deref());
        if texts
            .chain([resource.name.as_str()])
            .any(|text| text.len() > MAX_TEXT)
        {
            return Err(ApiError::new(
                ErrorCode::INVALID_CONFIG,
                format!("Values and names have at most {MAX_TEXT} bytes."),
            ));
        }
        let replace = matches!(resource.altering, Altering::All(_));
        let Some(kind) = ResourceType::from_id(resource.resource_type) else {
            return Err(ApiError::new(
                ErrorCode::INVALID_REQUEST,
                format!("Unknown resource type {}", resource.resource_type),
            ));
        };
        match kind {
            ResourceType::Topic => self.alter_topic(&resource.name, &ops, replace),
            ResourceType::Broker => self.alter_broker(&resource.name, &ops, replace),
            ResourceType::Group => self.alter_group(&resource.name, &ops, replace),
            ResourceType::BrokerLogger if replace => Err(ApiError::new(
                ErrorCode::INVALID_REQUEST,
                "Log levels are changed with IncrementalAlterConfigs.",
            )),
            ResourceType::BrokerLogger => {
                self.check_broker_name(&resource.name, false)?;
                let log_level = check_logger_ops(&ops)?;
                Ok(Altered {
                    records: Vec::new(),
                    log_level,
                })
            }
            ResourceType::ClientMetrics => self.alter_client_metrics(&resource.name, &ops, replace),
        }
    }

    fn alter_topic(&self, name: &str, ops: &[AlterOp], replace: bool) -> Result<Altered, ApiError> {
        if name.is_empty() {
            return Err(ApiError::new(
                ErrorCode::INVALID_REQUEST,
                "Default topic resources are not allowed.",
            ));
        }
        let layers = self.layers();
        let existing = self.state.overrides(ResourceType::Topic, name);
        let base = base(existing, replace);
        let wanted = apply_incremental(ResourceType::Topic, base, ops, |n| layers.topic_default(n))?;
        check_name(name)?;
        validate_topic_overrides(&wanted, |n| layers.topic_default(n))?;
        if self.state.topic(name).is_none() {
            return Err(ApiError::new(
                ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                format!("The topic '{name}' does not exist."),
            ));
        }
        Ok(Altered::settings(ResourceType::Topic, name, existing, &wanted))
    }

    fn alter_broker(&self, name: &str, ops: &[AlterOp], replace: bool) -> Result<Altered, ApiError> {
        self.check_broker_name(name, true)?;
        let cluster_wide = name.is_empty();
        let layers = self.layers();
        let existing = self.state.overrides(ResourceType::Broker, name);
        let default_of = |n: &str| layers.text(n).map(str::to_owned);
        let wanted = apply_incremental(ResourceType::Broker, base(existing, replace), ops, default_of)?;
        for (setting, text) in changes(existing, &wanted) {
            check_broker_update(setting, text, cluster_wide)
                .map_err(|text| ApiError::new(ErrorCode::INVALID_REQUEST, text))?;
        }
        self.check_eligible(ops, existing, &wanted, cluster_wide)?;
        // Deleting what is not set changes nothing, but what cannot be set cannot be deleted either.
        for op in ops.iter().filter(|op| op.op == OpType::Delete) {
            check_broker_update(&op.name, None, cluster_wide)
                .map_err(|text| ApiError::new(ErrorCode::INVALID_REQUEST, text))?;
        }
        Ok(Altered::settings(ResourceType::Broker, name, existing, &wanted))
    }

    /// Every operation counts, also one that changes nothing, and so does what a replacement leaves out.
    fn check_eligible(
        &self,
        ops: &[AlterOp],
        existing: &Settings,
        wanted: &Settings,
        cluster_wide: bool,
    ) -> Result<(), ApiError> {
        let named = ops.iter().map(|op| op.name.as_str());
        let left_out = changes(existing, wanted).map(|(name, _)| name);
        named.chain(left_out).try_for_each(|name| {
            let value = wanted.get(name).map(String::as_str);
            check_broker_change(self.state, name, value, cluster_wide)
        })
    }

    fn alter_group(&self, name: &str, ops: &[AlterOp], replace: bool) -> Result<Altered, ApiError> {
        if name.is_empty() {
            return Err(ApiError::new(
                ErrorCode::INVALID_REQUEST,
                "Default group resources are not allowed.",
            ));
        }
        let layers = self.layers();
        let existing = self.state.overrides(ResourceType::Group, name);
        let default_of = |n: &str| layers.default_of(group_config(n)?);
        let wanted = apply_incremental(ResourceType::Group, base(existing, replace), ops, default_of)?;
        validate_group_overrides(&wanted, |n| layers.number(n))?;
        self.check_room(ResourceType::Group, existing)?;
        Ok(Altered::settings(ResourceType::Group, name, existing, &wanted))
    }

    fn alter_client_metrics(&self, name: &str, ops: &[AlterOp], replace: bool) -> Result<Altered, ApiError> {
        let kind = ResourceType::ClientMetrics;
        if name.is_empty() {
            return Err(ApiError::new(
                ErrorCode::INVALID_REQUEST,
                "A client metrics subscription needs a name.",
            ));
        }
        let existing = self.state.overrides(kind, name);
        let wanted = apply_incremental(kind, base(existing, replace), ops, |_| None)?;
        validate_client_metrics(&wanted)?;
        self.check_room(kind, existing)?;
        Ok(Altered::settings(kind, name, existing, &wanted))
    }

    /// Groups and subscriptions need not exist to have settings, so their number is bounded here.
    fn check_room(&self, kind: ResourceType, existing: &Settings) -> Result<(), ApiError> {
        if existing.is_empty() && self.state.configured(kind).count() >= MAX_CONFIGURED {
            return Err(ApiError::new(
                ErrorCode::POLICY_VIOLATION,
                format!("No more than {MAX_CONFIGURED} of these can have settings."),
            ));
        }
        Ok(())
    }

    /// A broker resource is this broker, or, with `default_allowed`, all of them (the empty name).
    pub(crate) fn check_broker_name(&self, name: &str, default_allowed: bool) -> Result<(), ApiError> {
        if name.is_empty() && default_allowed {
            return Ok(());
        }
        let request = |text: String| ApiError::new(ErrorCode::INVALID_REQUEST, text);
        let id = name
            .parse::<i32>()
            .map_err(|_| request(format!("Node id must be an integer, but it is: {name}")))?;
        if id != self.site.node_id {
            return Err(request(format!(
                "Unexpected broker id, expected {}, but received {id}",
                self.site.node_id
            )));
        }
        Ok(())
    }
}

struct Altered {
    records: Vec<MetaRecord>,
    log_level: Option<&'static str>,
}

impl Altered {
    fn settings(kind: ResourceType, resource: &str, existing: &Settings, wanted: &Settings) -> Self {
        let records = changes(existing, wanted)
            .map(|(name, value)| {
                MetaRecord::ConfigSet(ConfigSet {
                    resource_type: kind.id(),
                    resource: resource.to_owned(),
                    name: name.to_owned(),
                    value: value.map(str::to_owned),
                })
            })
            .collect();
        Self {
            records,
            log_level: None,
        }
    }
}

static NO_SETTINGS: Settings = BTreeMap::new();

fn base(existing: &Settings, replace: bool) -> &Settings {
    if replace { &NO_SETTINGS } else { existing }
}

/// What must be set or removed (`None`) to get from one set of settings to another.
fn changes<'a>(
    existing: &'a Settings,
    wanted: &'a Settings,
) -> impl Iterator<Item = (&'a str, Option<&'a str>)> {
    let set = wanted
        .iter()
        .filter(|(name, value)| existing.get(*name) != Some(value))
        .map(|(name, value)| (name.as_str(), Some(value.as_str())));
    let removed = existing
        .keys()
        .filter(|name| !wanted.contains_key(*name))
        .map(|name| (name.as_str(), None));
    set.chain(removed)
}

fn operations(altering: &Altering) -> Result<Vec<AlterOp>, ApiError> {
    match altering {
        Altering::Some(ops) => ops
            .iter()
            .map(|(name, id, value)| {
                let op = OpType::from_id(*id).ok_or_else(|| {
                    ApiError::new(ErrorCode::INVALID_REQUEST, format!("Unknown operation type {id}"))
                })?;
                Ok(AlterOp {
                    name: name.clone(),
                    op,
                    value: value.clone(),
                })
            })
            .collect(),
        Altering::All(settings) => Ok(settings
            .iter()
            .map(|(name, value)| AlterOp {
                name: name.clone(),
                op: OpType::Set,
                value: value.clone(),
            })
            .collect()),
    }
}
