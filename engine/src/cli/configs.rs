//! `turgo config get`, `set`, `unset` and `list`: settings kept by the cluster.

use std::collections::BTreeMap;

use serde_json::json;
use turgo_net::ErrorCode;
use turgo_net::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
};
use turgo_net::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};

use super::args::Entity;
use super::client::{Backoff, Client, ClientError, Wanted, api, refusal};
use super::exit::CliError;
use super::output::{Out, Table};
use crate::config::{kafka_value, nearest};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const GROUP: i8 = 32;

const SET: i8 = 0;
const DELETE: i8 = 1;

/// What settings belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    kind: i8,
    name: String,
}

impl Resource {
    /// A topic.
    pub fn topic(name: &str) -> Self {
        Resource {
            kind: TOPIC,
            name: name.to_string(),
        }
    }

    /// What the flags name.
    pub fn of(entity: &Entity) -> Self {
        match (&entity.topic, entity.broker, &entity.group) {
            (Some(topic), ..) => Resource::topic(topic),
            (None, Some(broker), _) => Resource {
                kind: BROKER,
                name: broker.to_string(),
            },
            (None, None, Some(group)) => Resource {
                kind: GROUP,
                name: group.clone(),
            },
            (None, None, None) => Resource {
                kind: BROKER,
                name: String::new(),
            },
        }
    }

    fn words(&self) -> String {
        match (self.kind, self.name.as_str()) {
            (TOPIC, name) => format!("topic {name}"),
            (GROUP, name) => format!("group {name}"),
            (_, "") => "cluster".to_string(),
            (_, name) => format!("broker {name}"),
        }
    }

    /// The broker that must be asked; `None`: any.
    fn broker(&self) -> Option<i32> {
        if self.kind == BROKER {
            self.name.parse().ok()
        } else {
            None
        }
    }
}

/// A setting as the cluster tells it.
#[derive(Debug, Clone)]
pub struct Told {
    /// Name.
    pub name: String,
    /// Value; `None` when it is secret or has none.
    pub value: Option<String>,
    source: i8,
    read_only: bool,
    sensitive: bool,
    kind: i8,
    synonyms: Vec<(String, Option<String>, i8)>,
    documentation: Option<String>,
}

impl Told {
    fn new(told: &DescribeConfigsResourceResult<'_>) -> Self {
        let text = |text: &Option<std::borrow::Cow<'_, str>>| text.as_ref().map(|text| text.to_string());
        Told {
            name: told.name.to_string(),
            value: text(&told.value),
            source: told.config_source,
            read_only: told.read_only,
            sensitive: told.is_sensitive,
            kind: told.config_type,
            synonyms: told
                .synonyms
                .iter()
                .map(|s| (s.name.to_string(), text(&s.value), s.source))
                .collect(),
            documentation: text(&told.documentation),
        }
    }

    fn is_default(&self) -> bool {
        source_name(self.source) == "default"
    }

    fn shown(&self) -> String {
        match &self.value {
            Some(value) => value.clone(),
            None if self.sensitive => "(secret)".to_string(),
            None => String::new(),
        }
    }

    fn document(&self) -> serde_json::Value {
        let synonyms: Vec<_> = self
            .synonyms
            .iter()
            .map(|(name, value, source)| json!({ "name": name, "value": value, "source": source_name(*source) }))
            .collect();
        json!({
            "name": self.name,
            "value": self.value,
            "source": source_name(self.source),
            "read_only": self.read_only,
            "sensitive": self.sensitive,
            "type": type_name(self.kind),
            "synonyms": synonyms,
            "documentation": self.documentation,
        })
    }
}

/// Where a value comes from, in this tool's words.
fn source_name(source: i8) -> &'static str {
    match source {
        1 => "topic",
        2 => "broker",
        3 => "cluster",
        4 => "node file",
        5 => "default",
        6 => "logger",
        7 => "client metrics",
        8 => "group",
        _ => "unknown",
    }
}

fn type_name(kind: i8) -> &'static str {
    match kind {
        1 => "boolean",
        2 => "string",
        3 => "int",
        4 => "short",
        5 => "long",
        6 => "double",
        7 => "list",
        8 => "class",
        9 => "password",
        _ => "unknown",
    }
}

/// Asks for the settings of `resources`, all of one broker or all of none. Per resource: settings or refusal.
fn told(
    client: &mut Client,
    resources: &[Resource],
    verbose: bool,
) -> Result<Vec<Result<Vec<Told>, String>>, CliError> {
    let deadline = client.deadline();
    let request = |version: i16| DescribeConfigsRequest {
        resources: resources
            .iter()
            .map(|resource| DescribeConfigsResource {
                resource_type: resource.kind,
                resource_name: resource.name.as_str().into(),
                configuration_keys: None,
            })
            .collect(),
        include_synonyms: verbose && version >= 1,
        include_documentation: verbose && version >= 3,
    };
    let reply = match resources.first().and_then(Resource::broker) {
        Some(broker) => client.call::<api::DescribeConfigs>(broker, deadline, request)?,
        None => client.call_any::<api::DescribeConfigs>(deadline, request)?,
    };
    let answer = reply.body()?;
    Ok(answer
        .results
        .iter()
        .map(|result| match result.error_code {
            0 => Ok(result.configs.iter().map(Told::new).collect()),
            code => Err(refusal(code, result.error_message.as_deref())),
        })
        .collect())
}

/// Settings of one resource. The cluster's own list holds only what was set; brokers know the rest.
fn told_one(
    client: &mut Client,
    resource: &Resource,
    verbose: bool,
    all: bool,
) -> Result<Vec<Told>, CliError> {
    let words = |why: String| CliError::Failed(format!("{}: {why}", resource.words()));
    let one = |client: &mut Client, resource: &Resource| {
        let mut results = told(client, std::slice::from_ref(resource), verbose)?;
        if results.is_empty() {
            Err(CliError::Failed("the broker's answer is empty".into()))
        } else {
            Ok(results.remove(0))
        }
    };
    let mut settings = one(client, resource)?.map_err(words)?;
    if all && resource.kind == BROKER && resource.name.is_empty() {
        let Some(&id) = client.brokers.keys().next() else {
            return Ok(settings);
        };
        let broker = Resource {
            kind: BROKER,
            name: id.to_string(),
        };
        for told in one(client, &broker)?.map_err(words)? {
            if source_name(told.source) != "broker" && !settings.iter().any(|known| known.name == told.name) {
                settings.push(told);
            }
        }
    }
    settings.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(settings)
}

/// What was set on topics themselves, by topic; topics that refuse are absent.
pub fn changed_topic_settings(
    client: &mut Client,
    topics: &[Resource],
) -> Result<BTreeMap<String, BTreeMap<String, String>>, CliError> {
    let mut changed = BTreeMap::new();
    if topics.is_empty() {
        return Ok(changed);
    }
    let results = match told(client, topics, false) {
        Ok(results) => results,
        Err(CliError::Failed(_)) => return Ok(changed),
        Err(error) => return Err(error),
    };
    for (resource, result) in topics.iter().zip(results) {
        if let Ok(settings) = result {
            let own = settings
                .into_iter()
                .filter(|told| source_name(told.source) == "topic");
            changed.insert(
                resource.name.clone(),
                own.map(|told| (told.name.clone(), told.shown())).collect(),
            );
        }
    }
    Ok(changed)
}

/// `turgo config get`.
pub fn get(client: &mut Client, entity: &Entity, keys: &[String], out: &mut Out<'_>) -> Result<(), CliError> {
    let resource = Resource::of(entity);
    let settings = told_one(client, &resource, out.is_json(), true)?;
    let mut documents = Vec::new();
    for key in keys {
        let Some(told) = settings.iter().find(|told| told.name == *key) else {
            let hint = nearest(key, settings.iter().map(|told| told.name.as_str()))
                .map_or_else(String::new, |near| format!("; did you mean {near}?"));
            return Err(CliError::Failed(format!(
                "{} has no setting {key}{hint}",
                resource.words()
            )));
        };
        if out.is_json() {
            documents.push(told.document());
        } else if keys.len() == 1 {
            out.line(told.shown())?;
        } else {
            out.line(format!("{key}={}", told.shown()))?;
        }
    }
    if out.is_json() {
        out.json(&json!(documents))
    } else {
        Ok(())
    }
}

/// `turgo config list`.
pub fn list(
    client: &mut Client,
    entity: &Entity,
    all: bool,
    verbose: bool,
    out: &mut Out<'_>,
) -> Result<(), CliError> {
    let resource = Resource::of(entity);
    let mut settings = told_one(client, &resource, verbose || out.is_json(), all)?;
    settings.retain(|told| all || !told.is_default());
    if out.is_json() {
        let documents: Vec<_> = settings.iter().map(Told::document).collect();
        return out.json(&json!(documents));
    }
    if verbose {
        for told in &settings {
            out.line(format!(
                "{}={}  ({}, {})",
                told.name,
                told.shown(),
                type_name(told.kind),
                source_name(told.source)
            ))?;
            for (name, value, source) in told.synonyms.iter().skip(1) {
                out.line(format!(
                    "    else {name}={}  ({})",
                    value.as_deref().unwrap_or(""),
                    source_name(*source)
                ))?;
            }
            if let Some(documentation) = told.documentation.as_deref().filter(|text| !text.is_empty()) {
                out.line(format!("    {documentation}"))?;
            }
        }
        return Ok(());
    }
    let mut table = Table::new(&["NAME", "VALUE", "SOURCE"]);
    for told in &settings {
        table.row([
            told.name.clone(),
            told.shown(),
            source_name(told.source).to_string(),
        ]);
    }
    out.table(&table)
}

/// Sets and unsets; used by `turgo config set`, `unset` and `turgo topic alter`.
pub fn alter(
    client: &mut Client,
    resource: &Resource,
    set: &[(String, String)],
    unset: &[String],
    dry_run: bool,
    out: &mut Out<'_>,
) -> Result<(), CliError> {
    let set: Vec<(&str, String)> = set
        .iter()
        .map(|(name, value)| (name.as_str(), kafka_value(name, value)))
        .collect();
    let deadline = client.deadline();
    let mut backoff = Backoff::new(deadline);
    let (code, message) = loop {
        let reply = client.call_controller::<api::IncrementalAlterConfigs>(deadline, |_| {
            let sets = set.iter().map(|(name, value)| AlterableConfig {
                name: (*name).into(),
                config_operation: SET,
                value: Some(value.as_str().into()),
            });
            let unsets = unset.iter().map(|name| AlterableConfig {
                name: name.as_str().into(),
                config_operation: DELETE,
                value: None,
            });
            IncrementalAlterConfigsRequest {
                resources: vec![AlterConfigsResource {
                    resource_type: resource.kind,
                    resource_name: resource.name.as_str().into(),
                    configs: sets.chain(unsets).collect(),
                }],
                validate_only: dry_run,
            }
        })?;
        let answer = reply.body()?;
        let Some(result) = answer.responses.first() else {
            let broker = "the broker".to_string();
            return Err(ClientError::Protocol {
                broker,
                why: "an empty answer to a change".into(),
            }
            .into());
        };
        if result.error_code == ErrorCode::NOT_CONTROLLER.0 && backoff.wait() {
            client.metadata(Wanted::Brokers, false)?;
            continue;
        }
        break (
            result.error_code,
            result.error_message.as_deref().map(str::to_string),
        );
    };
    if code != 0 {
        return Err(CliError::Failed(format!(
            "{}: {}",
            resource.words(),
            refusal(code, message.as_deref())
        )));
    }
    if out.is_json() {
        let values: serde_json::Map<String, serde_json::Value> = set
            .iter()
            .map(|(name, value)| (name.to_string(), json!(value)))
            .collect();
        return out.json(
            &json!({ "resource": resource.words(), "set": values, "unset": unset, "dry_run": dry_run }),
        );
    }
    let verb = if dry_run { "would be " } else { "" };
    for (name, value) in &set {
        out.line(format!("{}: {name} {verb}set to {value}", resource.words()))?;
    }
    for name in unset {
        out.line(format!("{}: {name} {verb}back to its default", resource.words()))?;
    }
    Ok(())
}
