//! No field is forgotten: `src/apis/fields.txt` says of every field of every served version whether it is honoured, and
//! the schemas of `net/schemas/api` say which fields there are. What differs is an error; what agrees is written into
//! `docs/protocol.md` (`UPDATE_DOCS=1`).

#[path = "support/keep.rs"]
mod keep;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use turgo_engine::apis;
use turgo_net::api::ApiKey;

/// First and last version.
type Versions = (i16, i16);

/// A field with what it contains.
#[derive(Debug, Clone, PartialEq)]
struct Field {
    name: String,
    versions: Versions,
    within: Vec<Field>,
    /// Set aside; only in the table.
    aside: bool,
}

/// Requests and responses by `>` or `<` and the API's key.
type Messages = BTreeMap<(char, i16), Vec<Field>>;

fn overlap(text: &str, bounds: Versions) -> Option<Versions> {
    let number = |text: &str| text.parse::<i16>().unwrap_or_else(|_| panic!("versions {text}"));
    let (min, max) = if let Some(min) = text.strip_suffix('+') {
        (number(min), i16::MAX)
    } else if let Some((min, max)) = text.split_once('-') {
        (number(min), number(max))
    } else {
        (number(text), number(text))
    };
    let (min, max) = (min.max(bounds.0), max.min(bounds.1));
    (min <= max).then_some((min, max))
}

/// A line of a schema and what is indented below it.
struct Line<'a> {
    words: Vec<&'a str>,
    below: Vec<Line<'a>>,
}

fn nest<'a>(lines: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>, depth: usize) -> Vec<Line<'a>> {
    let mut nested = Vec::new();
    while let Some(line) = lines.peek() {
        let spaces = line.len() - line.trim_start().len();
        if spaces < depth {
            break;
        }
        let words = line.split_whitespace().collect();
        lines.next();
        nested.push(Line {
            words,
            below: nest(lines, spaces + 1),
        });
    }
    nested
}

fn fields(lines: &[Line<'_>], structs: &BTreeMap<&str, &[Line<'_>]>, bounds: Versions) -> Vec<Field> {
    lines
        .iter()
        .filter(|line| line.words[0] != "struct")
        .filter_map(|line| {
            let versions = overlap(line.words[2], bounds)?;
            let kind = line.words[1].trim_start_matches("[]");
            let below = if line.below.is_empty() {
                structs.get(kind).copied().unwrap_or_default()
            } else {
                &line.below
            };
            Some(Field {
                name: line.words[0].to_owned(),
                versions,
                within: fields(below, structs, versions),
                aside: false,
            })
        })
        .collect()
}

/// Every field of every served version, by the schemas.
fn schemas() -> Messages {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../net/schemas/api");
    let mut messages = Messages::new();
    for entry in std::fs::read_dir(directory).expect("schemas") {
        let text = std::fs::read_to_string(entry.expect("a schema").path()).expect("readable");
        let lines = text
            .lines()
            .map(|line| line.split('#').next().unwrap_or_default());
        let mut lines = lines.filter(|line| !line.trim().is_empty()).peekable();
        for message in nest(&mut lines, 0) {
            let direction = match message.words[0] {
                "request" => '>',
                "response" => '<',
                _ => continue,
            };
            let key: i16 = message.words[2].parse().expect("an API key");
            let Some(served) = ApiKey::try_from(key).ok().and_then(apis::served) else {
                continue;
            };
            let structs = message
                .below
                .iter()
                .filter(|line| line.words[0] == "struct")
                .map(|line| (line.words[1], line.below.as_slice()))
                .collect();
            messages.insert((direction, key), fields(&message.below, &structs, served));
        }
    }
    messages
}

/// One API of the table.
#[derive(Default)]
struct Entry {
    /// By direction.
    fields: BTreeMap<char, Vec<Field>>,
    /// Reason by direction and path.
    reasons: BTreeMap<(char, String), String>,
}

/// The table; `*` is for every API.
fn table(text: &str) -> BTreeMap<String, Entry> {
    let mut table: BTreeMap<String, Entry> = BTreeMap::new();
    let mut api = String::new();
    // A list of fields goes on over more deeply indented lines.
    let mut open: Option<(char, String)> = None;
    let close = |table: &mut BTreeMap<String, Entry>, api: &str, open: &mut Option<(char, String)>| {
        if let Some((direction, list)) = open.take() {
            let mut words = words(&list).into_iter().peekable();
            let fields = listed(&mut words);
            assert!(words.next().is_none(), "{api}: unbalanced braces");
            let entry = table.entry(api.to_owned()).or_default();
            assert!(
                entry.fields.insert(direction, fields).is_none(),
                "{api} {direction} twice"
            );
        }
    };
    for line in text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
    {
        let spaces = line.len() - line.trim_start().len();
        let text = line.trim();
        match (spaces, text.split_once(": ")) {
            (0, _) => {
                close(&mut table, &api, &mut open);
                api = text.to_owned();
                table.entry(api.clone()).or_default();
            }
            (2, Some((field, reason))) => {
                close(&mut table, &api, &mut open);
                let (direction, path) = match field.split_once(' ') {
                    Some((direction, path)) => (direction.chars().next().expect("a sign"), path),
                    None => ('<', field),
                };
                let reasons = &mut table.entry(api.clone()).or_default().reasons;
                reasons.insert((direction, path.to_owned()), reason.to_owned());
            }
            (2, None) => {
                close(&mut table, &api, &mut open);
                let (direction, list) = text.split_once(' ').unwrap_or((text, ""));
                open = Some((direction.chars().next().expect("a sign"), list.to_owned()));
            }
            _ => {
                let (_, list) = open.as_mut().unwrap_or_else(|| panic!("{api}: {text}"));
                list.push(' ');
                list.push_str(text);
            }
        }
    }
    close(&mut table, &api, &mut open);
    table
}

fn words(list: &str) -> Vec<String> {
    list.replace('{', " { ")
        .replace('}', " } ")
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

fn listed(words: &mut std::iter::Peekable<std::vec::IntoIter<String>>) -> Vec<Field> {
    let mut fields = Vec::new();
    while let Some(word) = words.next_if(|word| word != "}") {
        let mut field = Field {
            name: word.trim_end_matches('!').to_owned(),
            versions: (0, 0),
            within: Vec::new(),
            aside: word.ends_with('!'),
        };
        if words.next_if_eq("{").is_some() {
            field.within = listed(words);
            assert!(words.next_if_eq("}").is_some(), "{word}: a brace is not closed");
        }
        fields.push(field);
    }
    fields
}

/// What the table says of fields that are not there, does not say of fields that are, or says without a reason.
fn differences(
    name: &str,
    direction: char,
    schema: &[Field],
    table: &[Field],
    reasons: &dyn Fn(&str) -> bool,
    path: &str,
    wrong: &mut Vec<String>,
) {
    let names = |fields: &[Field]| -> BTreeSet<String> { fields.iter().map(|f| f.name.clone()).collect() };
    let (there, said) = (names(schema), names(table));
    for field in there.difference(&said) {
        wrong.push(format!("{name} {direction} {path}{field} is forgotten"));
    }
    for field in said.difference(&there) {
        wrong.push(format!("{name} {direction} {path}{field} does not exist"));
    }
    if table.len() != said.len() {
        wrong.push(format!("{name} {direction} {path} names a field twice"));
    }
    for said in table {
        let Some(there) = schema.iter().find(|field| field.name == said.name) else {
            continue;
        };
        let at = format!("{path}{}", said.name);
        if said.aside != reasons(&at) {
            wrong.push(format!(
                "{name} {direction} {at}: a mark and a reason go together"
            ));
        }
        if !said.aside {
            let within = format!("{at}.");
            differences(
                name,
                direction,
                &there.within,
                &said.within,
                reasons,
                &within,
                wrong,
            );
        }
    }
}

fn compare(schemas: &Messages, table: &BTreeMap<String, Entry>) -> Vec<String> {
    let mut wrong = Vec::new();
    let general = &table["*"].reasons;
    let mut served = BTreeSet::from(["*".to_owned()]);
    for ((direction, key), schema) in schemas {
        let name = ApiKey::try_from(*key).expect("served").name();
        served.insert(name.to_owned());
        let Some(entry) = table.get(name) else {
            wrong.push(format!("{name} is forgotten"));
            continue;
        };
        let reasons = |path: &str| {
            let key = (*direction, path.to_owned());
            entry.reasons.contains_key(&key) || general.contains_key(&key)
        };
        let fields = entry.fields.get(direction).map(Vec::as_slice).unwrap_or_default();
        differences(name, *direction, schema, fields, &reasons, "", &mut wrong);
        for ((_, path), _) in entry.reasons.iter().filter(|((d, _), _)| d == direction) {
            if !marked(fields, path) {
                wrong.push(format!(
                    "{name} {direction} {path}: a mark and a reason go together"
                ));
            }
        }
    }
    for name in table.keys().filter(|name| !served.contains(*name)) {
        wrong.push(format!("{name} is not served"));
    }
    wrong
}

fn marked(fields: &[Field], path: &str) -> bool {
    let (first, rest) = path.split_once('.').map_or((path, None), |(a, b)| (a, Some(b)));
    let Some(field) = fields.iter().find(|field| field.name == first) else {
        return false;
    };
    rest.map_or(field.aside, |rest| marked(&field.within, rest))
}

const TABLE: &str = include_str!("../src/apis/fields.txt");

#[test]
fn every_field_of_every_served_version_is_classified() {
    let (schemas, table) = (schemas(), table(TABLE));
    assert!(schemas.len() > 80, "only {} messages", schemas.len());
    let wrong = compare(&schemas, &table);
    assert!(
        wrong.is_empty(),
        "engine/src/apis/fields.txt:\n{}",
        wrong.join("\n")
    );
    keep::keep("docs/protocol.md", "fields", &page(&schemas, &table));
}

#[test]
fn a_forgotten_an_invented_and_an_unexplained_field_are_found() {
    let schemas = schemas();
    for (from, to, complaint) in [
        (
            "  > GroupId GenerationId MemberId",
            "  > GenerationId MemberId",
            "is forgotten",
        ),
        ("Acks TimeoutMs", "Acks Timeout", "does not exist"),
        ("Acks TimeoutMs", "Acks! TimeoutMs", "go together"),
        ("RackId!", "RackId", "go together"),
        ("Acks TimeoutMs", "Acks Acks TimeoutMs", "twice"),
        (
            "PartitionData{Index Records}",
            "PartitionData{Index}",
            "Records is forgotten",
        ),
        ("\nProduce\n", "\nProduction\n", "is forgotten"),
    ] {
        assert!(TABLE.contains(from), "{from}");
        let wrong = compare(&schemas, &table(&TABLE.replacen(from, to, 1)));
        assert!(
            wrong.iter().any(|w| w.contains(complaint)),
            "{from} {to}: {wrong:?}"
        );
    }
}

/// The part of the documentation.
fn page(schemas: &Messages, table: &BTreeMap<String, Entry>) -> String {
    let mut page = String::from("| API | versions | | honoured | set aside, and why |\n|-|-|-|-|-|\n");
    let keys: BTreeSet<i16> = schemas.keys().map(|(_, key)| *key).collect();
    for key in keys {
        let api = ApiKey::try_from(key).expect("served");
        let (min, max) = apis::served(api).expect("served");
        let entry = &table[api.name()];
        for (direction, what) in [('>', "request"), ('<', "response")] {
            let schema = &schemas[&(direction, key)];
            let fields = entry
                .fields
                .get(&direction)
                .map(Vec::as_slice)
                .unwrap_or_default();
            let mut aside = Vec::new();
            let honoured = honoured(schema, fields, (min, max), "", &mut aside);
            let aside: Vec<String> = aside
                .into_iter()
                .map(|(path, versions)| {
                    let key = (direction, path.clone());
                    let reason = entry.reasons.get(&key).or_else(|| table["*"].reasons.get(&key));
                    format!("`{path}`{versions}: {}", reason.expect("checked"))
                })
                .collect();
            let (name, versions) = match direction {
                '>' => (format!("{key} {}", api.name()), format!("{min}-{max}")),
                _ => (String::new(), String::new()),
            };
            let _ = writeln!(
                page,
                "| {name} | {versions} | {what} | {} | {} |",
                if honoured.is_empty() { "nothing" } else { &honoured },
                aside.join("; ")
            );
        }
    }
    page
}

fn honoured(
    schema: &[Field],
    table: &[Field],
    bounds: Versions,
    path: &str,
    aside: &mut Vec<(String, String)>,
) -> String {
    let mut parts = Vec::new();
    for field in schema {
        let said = table
            .iter()
            .find(|said| said.name == field.name)
            .expect("checked");
        let at = format!("{path}{}", field.name);
        let versions = match field.versions {
            versions if versions == bounds => String::new(),
            (min, max) if min == max => format!(" {min}"),
            (min, max) if max == bounds.1 => format!(" {min}+"),
            (min, max) => format!(" {min}-{max}"),
        };
        if said.aside {
            aside.push((at, versions));
            continue;
        }
        let within = honoured(
            &field.within,
            &said.within,
            field.versions,
            &format!("{at}."),
            aside,
        );
        let within = if within.is_empty() {
            within
        } else {
            format!(" ({within})")
        };
        parts.push(format!("{}{versions}{within}", field.name));
    }
    parts.join(", ")
}
