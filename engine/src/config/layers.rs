//! Lays the layers over each other: defaults, file, environment, flags; the later one wins.
//!
//! Pure: text in, settings or all errors out. [`super::load`] reads the file and the environment.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigErrors, Origin};
use super::settings::{self, KAFKA, SETTINGS, Setting};
use super::suggest::nearest;
use super::value::{Value, parse_size, parse_time};

/// A broker setting under Kafka's name, still as text: the registry of broker settings judges it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KafkaSetting {
    /// Value in Kafka's notation: plain numbers, lists with commas.
    pub value: String,
    /// Where it came from, for the message that refuses it.
    pub origin: Origin,
}

/// What the layers amount to.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// Value and origin of each setting, in the order of [`SETTINGS`].
    pub values: Vec<(Value, Origin)>,
    /// The `[kafka]` section.
    pub kafka: BTreeMap<String, KafkaSetting>,
}

impl Resolved {
    /// Value and origin of a declared setting. Panics on a name that is not in the table: a bug.
    pub fn get(&self, section: &str, key: &str) -> &(Value, Origin) {
        let index = SETTINGS
            .iter()
            .position(|setting| setting.section == section && setting.key == key);
        &self.values[index.unwrap_or_else(|| panic!("{section}.{key} is not declared"))]
    }
}

/// Defaults, before any layer.
fn defaults() -> Resolved {
    let values = SETTINGS
        .iter()
        .map(|setting| match setting.kind.parse(setting.default) {
            Ok(value) => (value, Origin::Default),
            Err(why) => panic!("default of {} {why}", setting.name()),
        })
        .collect();
    Resolved {
        values,
        kafka: BTreeMap::new(),
    }
}

/// Lays file, environment and flags over the defaults.
///
/// `file` is its name for messages and its text. `environment` holds name and value of any variables;
/// those that start with `TURGO_` and hold a double underscore count. `flags` holds the flag as typed,
/// the section, the key and the value. Returns all that is wrong, or the settings.
pub fn resolve(
    file: Option<(&str, &str)>,
    environment: impl IntoIterator<Item = (String, String)>,
    flags: &[Flag],
) -> Result<Resolved, ConfigErrors> {
    let mut layers = Layers {
        resolved: defaults(),
        errors: ConfigErrors::new(),
    };
    if let Some((path, text)) = file {
        layers.file(path, text);
    }
    let mut variables: Vec<(String, String)> = environment.into_iter().collect();
    variables.sort();
    for (name, value) in variables {
        layers.variable(&name, &value);
    }
    for flag in flags {
        layers.flag(flag);
    }
    layers.cross_checks();
    layers.errors.sort();
    if layers.errors.is_empty() {
        Ok(layers.resolved)
    } else {
        Err(layers.errors)
    }
}

/// A setting given on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// As typed, such as `--listen`; shown in messages.
    pub flag: String,
    /// Name of the setting: `section.key`, or a Kafka name after `kafka.`.
    pub setting: String,
    /// Value.
    pub value: String,
}

impl Flag {
    /// A flag that sets `setting` to `value`.
    pub fn new(flag: &str, setting: &str, value: impl Into<String>) -> Self {
        Flag {
            flag: flag.to_string(),
            setting: setting.to_string(),
            value: value.into(),
        }
    }
}

struct Layers {
    resolved: Resolved,
    errors: ConfigErrors,
}

impl Layers {
    fn set(&mut self, setting: &Setting, text: &str, origin: Origin) {
        match setting.kind.parse(text) {
            Ok(value) => {
                let index = SETTINGS
                    .iter()
                    .position(|candidate| std::ptr::eq(candidate, setting))
                    .expect("settings come from the table");
                self.resolved.values[index] = (value, origin);
            }
            Err(why) => self.errors.push(origin, format!("\"{text}\" {why}")),
        }
    }

    fn kafka(&mut self, name: &str, text: &str, origin: Origin) {
        let well_formed = !name.is_empty()
            && name.len() <= 249
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
        if !well_formed {
            let message =
                format!("`{name}` is not the name of a broker setting; they look like `log.retention.ms`");
            return self.errors.push(origin, message);
        }
        let value = kafka_value(name, text);
        self.resolved
            .kafka
            .insert(name.to_string(), KafkaSetting { value, origin });
    }

    fn file(&mut self, path: &str, text: &str) {
        let place = Places::new(path, text);
        let (table, syntax) = DeTable::parse_recoverable(text);
        for error in &syntax {
            let origin = error
                .span()
                .map_or_else(|| Origin::WholeFile(path.into()), |span| place.of(&span));
            self.errors.push(origin, error.message().replace('\n', "; "));
        }
        // The parser recovers what it can; complaints about what it had to guess would mislead.
        if !syntax.is_empty() {
            return;
        }
        for (section, content) in table.get_ref() {
            let name = section.get_ref().as_ref();
            let origin = place.of(&section.span());
            let known = settings::sections();
            match content.get_ref() {
                DeValue::Table(entries) if name == KAFKA => self.kafka_table(&place, "", entries),
                DeValue::Table(entries) if known.contains(&name) => self.section(&place, name, entries),
                DeValue::Table(_) => {
                    let message = match nearest(name, known) {
                        Some(near) => format!("unknown section `{name}`; did you mean `{near}`?"),
                        None => format!(
                            "unknown section `{name}`; there are {}",
                            settings::sections().join(", ")
                        ),
                    };
                    self.errors.push(origin, message);
                }
                _ => self.errors.push(origin, unknown_key("", name)),
            }
        }
    }

    fn section(&mut self, place: &Places<'_>, section: &str, entries: &DeTable<'_>) {
        for (key, value) in entries {
            let name = key.get_ref().as_ref();
            match settings::find(section, name) {
                None => {
                    // `retention.hours` under [log] is one of Kafka's names in the wrong place.
                    let message = if name.contains('.') || matches!(value.get_ref(), DeValue::Table(_)) {
                        format!(
                            "unknown key `{section}.{name}`; settings under Kafka's names belong in section [{KAFKA}]"
                        )
                    } else {
                        unknown_key(section, name)
                    };
                    self.errors.push(place.of(&key.span()), message);
                }
                Some(setting) => {
                    let origin = place.of(&value.span());
                    match scalar(value) {
                        Some(text) => self.set(setting, &text, origin),
                        None => {
                            let message = format!(
                                "`{name}` takes one value ({}), not {}",
                                setting.kind.unit(),
                                what(value)
                            );
                            self.errors.push(origin, message);
                        }
                    }
                }
            }
        }
    }

    /// `log.retention.ms = 1` reaches us as nested tables; the dotted name is put together again.
    fn kafka_table(&mut self, place: &Places<'_>, prefix: &str, entries: &DeTable<'_>) {
        for (key, value) in entries {
            let name = format!("{prefix}{}", key.get_ref());
            match value.get_ref() {
                DeValue::Table(inner) => self.kafka_table(place, &format!("{name}."), inner),
                DeValue::Array(items) => {
                    let parts: Option<Vec<String>> = items.iter().map(scalar).collect();
                    match parts {
                        Some(parts) => self.kafka(&name, &parts.join(","), place.of(&value.span())),
                        None => {
                            let message = format!("`{name}` takes a list of plain values");
                            self.errors.push(place.of(&value.span()), message);
                        }
                    }
                }
                _ => match scalar(value) {
                    Some(text) => self.kafka(&name, &text, place.of(&value.span())),
                    None => self.errors.push(
                        place.of(&value.span()),
                        format!("`{name}` takes a number, a switch or text, not {}", what(value)),
                    ),
                },
            }
        }
    }

    fn variable(&mut self, name: &str, value: &str) {
        // Container platforms put variables like TURGO_PORT there; ours all have a double underscore.
        let Some((section, key)) = name.strip_prefix("TURGO_").and_then(|rest| rest.split_once("__")) else {
            return;
        };
        let (section, key) = (section.to_ascii_lowercase(), key.to_ascii_lowercase());
        let origin = Origin::Environment(name.to_string());
        if section == KAFKA {
            return self.kafka(&key.replace('_', "."), value, origin);
        }
        match settings::find(&section, &key) {
            Some(setting) => self.set(setting, value, origin),
            None => {
                let variables: Vec<String> = SETTINGS.iter().map(Setting::variable).collect();
                let message = match nearest(name, variables.iter().map(String::as_str)) {
                    Some(near) => format!("unknown setting; did you mean {near}?"),
                    None => "unknown setting; `turgo config print --defaults` lists all".to_string(),
                };
                self.errors.push(origin, message);
            }
        }
    }

    fn flag(&mut self, flag: &Flag) {
        let origin = Origin::Flag(flag.flag.clone());
        let (section, key) = flag.setting.split_once('.').unwrap_or(("", &flag.setting));
        if section == KAFKA {
            return self.kafka(key, &flag.value, origin);
        }
        match settings::find(section, key) {
            Some(setting) => self.set(setting, &flag.value, origin),
            None => {
                let names: Vec<String> = SETTINGS.iter().map(Setting::name).collect();
                let message = match nearest(&flag.setting, names.iter().map(String::as_str)) {
                    Some(near) => format!("unknown setting `{}`; did you mean `{near}`?", flag.setting),
                    None => {
                        format!(
                            "unknown setting `{}`; `turgo config print --defaults` lists all",
                            flag.setting
                        )
                    }
                };
                self.errors.push(origin, message);
            }
        }
    }

    /// What no value can say alone.
    fn cross_checks(&mut self) {
        let get = |section, key| self.resolved.get(section, key).clone();
        let mut found = Vec::new();
        let (ring, origin) = get("journal", "ring_bytes");
        let (file, file_origin) = get("journal", "file_bytes");
        if let (Some(ring), Some(file)) = (ring.number(), file.number()) {
            let worst = origin.clone().max(file_origin);
            if !file.is_multiple_of(4096) {
                found.push((
                    worst,
                    "journal.file_bytes must be a multiple of 4 KiB".to_string(),
                ));
            } else if ring < 4 * file {
                let message = format!(
                    "journal.ring_bytes ({}) must hold at least four files of journal.file_bytes ({}); \
                     raise the first or lower the second",
                    super::value::show_size(ring),
                    super::value::show_size(file)
                );
                found.push((worst, message));
            }
        }
        let (stop, origin) = get("space", "produce_stop_free");
        let (deletion, deletion_origin) = get("space", "delete_only_free");
        if deletion.percent() > stop.percent() {
            let message = format!(
                "space.delete_only_free ({} %) must not lie above space.produce_stop_free ({} %)",
                deletion.percent(),
                stop.percent()
            );
            found.push((origin.max(deletion_origin), message));
        }
        let (listen, origin) = get("network", "listen");
        let (advertised, advertised_origin) = get("network", "advertised");
        match (listen.address(), advertised.address()) {
            (Some(listen), None) if listen.is_wildcard() => found.push((
                origin,
                format!(
                    "clients cannot connect to {listen}, which stands for every interface; set network.advertised \
                     (--advertised HOST:PORT) to the name under which they reach this machine"
                ),
            )),
            (_, Some(advertised)) if advertised.is_wildcard() => found.push((
                advertised_origin,
                format!(
                    "clients cannot connect to {advertised}, which stands for every interface; write the name \
                     under which they reach this machine"
                ),
            )),
            _ => {}
        }
        for (name, setting) in &self.resolved.kafka {
            if let Some(why) = kafka_refusal(name, &setting.value) {
                found.push((setting.origin.clone(), why));
            }
        }
        for (origin, message) in found {
            self.errors.push(origin, message);
        }
    }
}

/// Kafka's names for what this file says in sections of its own.
const TOLD_ELSEWHERE: &[(&str, &str)] = &[
    ("advertised.listeners", "network.advertised"),
    ("broker.id", "node.id"),
    ("broker.rack", "node.rack"),
    ("connections.max.idle.ms", "network.idle_timeout"),
    ("listeners", "network.listen"),
    ("log.dir", "node.data_dir"),
    ("log.dirs", "node.data_dir"),
    ("max.connections", "network.max_connections"),
    ("node.id", "node.id"),
    ("socket.request.max.bytes", "network.max_frame_bytes"),
];

/// Why a setting under `[kafka]` cannot stand; `None` when it can.
fn kafka_refusal(name: &str, value: &str) -> Option<String> {
    if let Some((_, own)) = TOLD_ELSEWHERE.iter().find(|(kafka, _)| *kafka == name) {
        return Some(format!("`{name}` would have no effect here; set `{own}` instead"));
    }
    if crate::configs::broker_config(name).is_none() {
        let hint = nearest(name, crate::configs::broker_configs().map(|def| def.name));
        let hint = hint.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        return Some(format!("unknown broker setting `{name}`{hint}"));
    }
    let error = crate::configs::check_static(name, value).err()?;
    Some(format!("\"{value}\" is no value of `{name}`: {}", error.reason))
}

/// Suggests the nearest name in this section, else the same or the nearest one in another.
fn unknown_key(section: &str, name: &str) -> String {
    let here = SETTINGS
        .iter()
        .filter(|setting| setting.section == section)
        .map(|setting| setting.key);
    if let Some(near) = nearest(name, here) {
        return format!("unknown key `{name}`; did you mean `{near}`?");
    }
    let same = SETTINGS.iter().find(|setting| setting.key == name);
    if let Some(setting) = same.or_else(|| SETTINGS.iter().find(|s| nearest(name, [s.key]).is_some())) {
        return format!(
            "unknown key `{name}`; did you mean `{}` in section [{}]?",
            setting.key, setting.section
        );
    }
    let full = if section.is_empty() {
        name.to_string()
    } else {
        format!("{section}.{name}")
    };
    format!("unknown key `{full}`; `turgo config print --defaults` lists all")
}

/// The text of a value that is not a list, a table or a date.
fn scalar(value: &Spanned<DeValue<'_>>) -> Option<String> {
    match value.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(match number.radix() {
            10 => number.as_str().replace('_', ""),
            radix => i128::from_str_radix(&number.as_str().replace('_', ""), radix)
                .ok()?
                .to_string(),
        }),
        DeValue::Float(number) => Some(number.as_str().to_string()),
        DeValue::Boolean(on) => Some(on.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

fn what(value: &Spanned<DeValue<'_>>) -> &'static str {
    match value.get_ref() {
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
        DeValue::Datetime(_) => "a date",
        _ => "this",
    }
}

/// Kafka's settings are plain numbers; in our files and commands they may carry a unit, if the name says
/// which: `retention.ms = "7 days"`. Anything else stays as it is.
pub fn kafka_value(name: &str, text: &str) -> String {
    let last = name.rsplit('.').next().unwrap_or(name);
    let converted = match last {
        "bytes" => parse_size(text).ok(),
        "ms" => parse_time(text).ok(),
        "seconds" => parse_time(text)
            .ok()
            .filter(|ms| ms.is_multiple_of(1_000))
            .map(|ms| ms / 1_000),
        "minutes" => parse_time(text)
            .ok()
            .filter(|ms| ms.is_multiple_of(60_000))
            .map(|ms| ms / 60_000),
        "hours" => parse_time(text)
            .ok()
            .filter(|ms| ms.is_multiple_of(3_600_000))
            .map(|ms| ms / 3_600_000),
        _ => None,
    };
    converted.map_or_else(|| text.trim().to_string(), |number| number.to_string())
}

/// Turns byte spans into lines and columns.
struct Places<'a> {
    path: &'a str,
    text: &'a str,
}

impl<'a> Places<'a> {
    fn new(path: &'a str, text: &'a str) -> Self {
        Places { path, text }
    }

    fn of(&self, span: &Range<usize>) -> Origin {
        let mut start = span.start.min(self.text.len());
        while !self.text.is_char_boundary(start) {
            start -= 1;
        }
        let before = &self.text[..start];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        Origin::File {
            path: self.path.to_string(),
            line,
            column,
        }
    }
}
