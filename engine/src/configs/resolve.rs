//! Effective values: topic override, then this broker's dynamic value, then the cluster's, then the node file, then the
//! default; and their description for DescribeConfigs.
//!
//! Two peculiarities of Kafka are kept, because tools compare with it. A list of synonyms goes by source first and by
//! name second, and begins with the setting's own (or, for a topic, its first broker) name: an older spelling such as
//! `log.retention.hours` shows only behind a value of `log.retention.ms`. And the source of a value is that of the
//! first synonym shown, so a topic that gets its value from the older spelling alone shows DEFAULT.

use std::collections::BTreeMap;

use super::def::{ConfigDef, ConfigSource, ConfigType};
use super::value::{self, Value};
use super::{
    broker, broker_config, broker_configs, client_metrics_configs, group_config, group_configs, topic_config,
    topic_configs,
};

/// The overrides that hold for one broker, strongest first.
#[derive(Debug, Clone, Copy)]
pub struct Layers<'a> {
    /// Set live for this broker.
    pub broker: &'a BTreeMap<String, String>,
    /// Set live for all brokers.
    pub cluster: &'a BTreeMap<String, String>,
    /// From this broker's node file.
    pub node: &'a BTreeMap<String, String>,
}

/// One name that had a say in a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synonym {
    /// Name at that place.
    pub name: String,
    /// Value at that place; `None` when sensitive.
    pub value: Option<String>,
    /// The place.
    pub source: ConfigSource,
}

/// One setting as DescribeConfigs shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Name.
    pub name: String,
    /// Value; `None` when it has none or is sensitive.
    pub value: Option<String>,
    /// Where the value came from.
    pub source: ConfigSource,
    /// Whether a client cannot change it.
    pub read_only: bool,
    /// Whether the value is withheld.
    pub sensitive: bool,
    /// Id of the type; 0 when the name is not ours.
    pub type_id: i8,
    /// Everything that had a say, strongest first.
    pub synonyms: Vec<Synonym>,
    /// One sentence.
    pub documentation: Option<&'static str>,
}

impl<'a> Layers<'a> {
    fn sources(&self) -> [(ConfigSource, &'a BTreeMap<String, String>); 3] {
        [
            (ConfigSource::DynamicBroker, self.broker),
            (ConfigSource::DynamicDefaultBroker, self.cluster),
            (ConfigSource::StaticBroker, self.node),
        ]
    }

    /// Text of a broker setting under exactly this name; its default when no layer has it.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        self.sources()
            .into_iter()
            .find_map(|(_, layer)| layer.get(name).map(String::as_str))
            .or_else(|| broker_config(name).and_then(|d| d.default))
    }

    /// Value of a broker setting; a value that does not parse counts as absent.
    pub fn value(&self, name: &str) -> Option<Value> {
        let def = broker_config(name)?;
        value::parse(def, self.text(name)?).ok()
    }

    /// Value of a whole-number broker setting.
    pub fn number(&self, name: &str) -> Option<i64> {
        match self.value(name)? {
            Value::Number(n) => Some(n),
            _ => None,
        }
    }

    /// Value that `def` (of a topic or group) has without an override, in canonical form.
    pub fn default_of(&self, def: &ConfigDef) -> Option<String> {
        for (name, factor) in def.synonyms {
            let Some(value) = self.value(name) else { continue };
            return Some(match value {
                // Any negative retention time means none; Kafka normalises it before it reaches the topic.
                Value::Number(n) if n < 0 && def.name == "retention.ms" => "-1".into(),
                Value::Number(n) => n.saturating_mul(*factor).to_string(),
                other => other.render(),
            });
        }
        def.default.map(str::to_owned)
    }

    /// Value that the topic setting `name` has without an override.
    pub fn topic_default(&self, name: &str) -> Option<String> {
        self.default_of(topic_config(name)?)
    }

    fn synonyms(&self, own: &str, chain: &[&'static str]) -> Vec<Synonym> {
        let mut all = Vec::new();
        for (source, layer) in self.sources() {
            for name in chain {
                if let Some(text) = layer.get(*name) {
                    all.push(Synonym {
                        name: (*name).into(),
                        value: shown(broker_config(name), text),
                        source,
                    });
                }
            }
        }
        for name in chain {
            if let Some(text) = broker_config(name).and_then(|d| d.default) {
                all.push(Synonym {
                    name: (*name).into(),
                    value: shown(broker_config(name), text),
                    source: ConfigSource::Default,
                });
            }
        }
        let skip = all.iter().position(|s| s.name == own).unwrap_or(all.len());
        all.split_off(skip)
    }
}

/// The text of a value as it is shown: canonical, and withheld when sensitive or not ours.
fn shown(def: Option<&ConfigDef>, text: &str) -> Option<String> {
    match def {
        Some(def) if def.sensitive() => None,
        Some(def) => Some(value::parse(def, text).map_or_else(|_| text.to_owned(), |v| v.render())),
        None => None,
    }
}

fn describe_with_defaults(
    def: &'static ConfigDef,
    overrides: &BTreeMap<String, String>,
    source: ConfigSource,
    layers: &Layers<'_>,
) -> Described {
    let chain: Vec<&'static str> = def.synonyms.iter().map(|(name, _)| *name).collect();
    let mut synonyms = chain
        .first()
        .map(|own| layers.synonyms(own, &chain))
        .unwrap_or_default();
    let value = match overrides.get(def.name) {
        Some(text) => {
            let value = shown(Some(def), text);
            synonyms.insert(
                0,
                Synonym {
                    name: def.name.into(),
                    value: value.clone(),
                    source,
                },
            );
            value
        }
        None => layers.default_of(def).and_then(|text| shown(Some(def), &text)),
    };
    Described {
        name: def.name.into(),
        value,
        source: synonyms.first().map_or(ConfigSource::Default, |s| s.source),
        read_only: false,
        sensitive: def.sensitive(),
        type_id: def.kind.id(),
        synonyms,
        documentation: Some(def.doc),
    }
}

fn wanted(filter: Option<&[&str]>, name: &str) -> bool {
    filter.is_none_or(|names| names.contains(&name))
}

/// Describes a topic's settings; `filter` names the ones wanted (`None`: all). Unknown names are left out, as in Kafka.
pub fn describe_topic(
    overrides: &BTreeMap<String, String>,
    layers: &Layers<'_>,
    filter: Option<&[&str]>,
) -> Vec<Described> {
    topic_configs()
        .iter()
        .filter(|d| wanted(filter, d.name))
        .map(|d| describe_with_defaults(d, overrides, ConfigSource::Topic, layers))
        .collect()
}

/// Describes a group's settings.
pub fn describe_group(
    overrides: &BTreeMap<String, String>,
    layers: &Layers<'_>,
    filter: Option<&[&str]>,
) -> Vec<Described> {
    group_configs()
        .iter()
        .filter(|d| wanted(filter, d.name))
        .map(|d| {
            let mut described = describe_with_defaults(d, overrides, ConfigSource::Group, layers);
            if group_config(d.name).is_some_and(|d| d.synonyms.is_empty()) {
                described.source = ConfigSource::Default;
            }
            described
        })
        .collect()
}

/// Describes a client metrics subscription.
pub fn describe_client_metrics(
    overrides: &BTreeMap<String, String>,
    filter: Option<&[&str]>,
) -> Vec<Described> {
    client_metrics_configs()
        .iter()
        .filter(|d| wanted(filter, d.name))
        .map(|d| {
            let set = overrides.get(d.name);
            let synonym = |value: &String| Synonym {
                name: d.name.into(),
                value: Some(value.clone()),
                source: ConfigSource::ClientMetrics,
            };
            Described {
                name: d.name.into(),
                value: set.cloned().or(d.default.map(str::to_owned)),
                source: set.map_or(ConfigSource::Default, |_| ConfigSource::ClientMetrics),
                read_only: false,
                sensitive: false,
                type_id: d.kind.id(),
                synonyms: set.map(synonym).into_iter().collect(),
                documentation: Some(d.doc),
            }
        })
        .collect()
}

/// Describes the settings of one broker: all that are declared, and the undeclared ones that are set.
pub fn describe_broker(layers: &Layers<'_>, filter: Option<&[&str]>) -> Vec<Described> {
    let mut out: Vec<Described> = broker_configs()
        .filter(|d| wanted(filter, d.name))
        .map(|d| {
            let own = [d.name];
            let chain: Vec<&'static str> = if d.synonyms.is_empty() {
                own.to_vec()
            } else {
                d.synonyms.iter().map(|(n, _)| *n).collect()
            };
            let synonyms = layers.synonyms(d.name, &chain);
            Described {
                name: d.name.into(),
                value: layers.text(d.name).and_then(|text| shown(Some(d), text)),
                source: synonyms.first().map_or(ConfigSource::Default, |s| s.source),
                read_only: d.read_only(),
                sensitive: d.sensitive(),
                type_id: d.kind.id(),
                synonyms,
                documentation: Some(d.doc),
            }
        })
        .collect();
    let mut custom: Vec<&String> = layers
        .sources()
        .into_iter()
        .flat_map(|(_, layer)| layer.keys())
        .collect();
    custom.sort_unstable();
    custom.dedup();
    for name in custom
        .into_iter()
        .filter(|n| broker_config(n).is_none() && wanted(filter, n))
    {
        let synonyms: Vec<Synonym> = layers
            .sources()
            .into_iter()
            .filter_map(|(source, layer)| {
                layer.get(name).map(|text| Synonym {
                    name: name.clone(),
                    value: custom_value(name, text),
                    source,
                })
            })
            .collect();
        let Some(first) = synonyms.first() else { continue };
        let value = first.value.clone();
        let source = first.source;
        out.push(describe_custom(name, value, source, synonyms));
    }
    out
}

/// Describes what is set live for all brokers; nothing else belongs to the empty broker name.
pub fn describe_broker_default(
    cluster: &BTreeMap<String, String>,
    filter: Option<&[&str]>,
) -> Vec<Described> {
    cluster
        .iter()
        .filter(|(name, _)| wanted(filter, name))
        .map(|(name, text)| {
            let source = ConfigSource::DynamicDefaultBroker;
            let Some(def) = broker_config(name) else {
                let value = custom_value(name, text);
                let synonyms = vec![Synonym {
                    name: name.clone(),
                    value: value.clone(),
                    source,
                }];
                return describe_custom(name, value, source, synonyms);
            };
            let value = shown(Some(def), text);
            Described {
                name: name.clone(),
                value: value.clone(),
                source,
                read_only: def.read_only(),
                sensitive: def.sensitive(),
                type_id: def.kind.id(),
                synonyms: vec![Synonym {
                    name: name.clone(),
                    value,
                    source,
                }],
                documentation: Some(def.doc),
            }
        })
        .collect()
}

fn custom_value(name: &str, text: &str) -> Option<String> {
    broker::is_throttle(name).then(|| text.trim().to_owned())
}

fn describe_custom(
    name: &str,
    value: Option<String>,
    source: ConfigSource,
    synonyms: Vec<Synonym>,
) -> Described {
    let throttle = broker::is_throttle(name);
    Described {
        name: name.to_owned(),
        value,
        source,
        read_only: false,
        // What a name means that we do not know, we cannot tell; Kafka treats it as a secret for that reason.
        sensitive: !throttle,
        type_id: if throttle { ConfigType::Long.id() } else { 0 },
        synonyms,
        documentation: None,
    }
}
