//! Writes the list of APIs: the `ApiKey` enum and what the schemas say about each.

use std::fmt::Write;

use super::resolve::Module;
use super::schema::{Kind, Message, SchemaError, error};

/// Writes the whole table; modules may come in any order.
pub fn table(out: &mut String, modules: &[Module]) -> Result<(), SchemaError> {
    let mut rows: Vec<(i16, &str, &Message)> = Vec::new();
    for module in modules {
        for message in module.messages.iter().filter(|m| m.kind == Kind::Request) {
            let response = module
                .messages
                .iter()
                .find(|m| m.kind == Kind::Response && m.key == message.key);
            let Some(response) = response else {
                return error(0, format!("{} has no response", message.name));
            };
            let (Some(key), Some(name)) = (message.key, message.name.strip_suffix("Request")) else {
                return error(0, format!("{} is no name for a request", message.name));
            };
            if response.versions != message.versions || response.flexible != message.flexible {
                return error(
                    0,
                    format!("{name}: request and response differ in their versions"),
                );
            }
            rows.push((key, name, message));
        }
    }
    rows.sort_by_key(|row| row.0);
    if let Some(pair) = rows.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return error(0, format!("{} and {} have the same key", pair[0].1, pair[1].1));
    }
    out.push_str("/// Every API of Kafka 4.3 that has a valid version.\n");
    out.push_str("#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]\n#[repr(i16)]\npub enum ApiKey {\n");
    for (key, name, message) in &rows {
        let _ = writeln!(
            out,
            "/// Key {key}, versions {}.\n{name} = {key},",
            message.versions
        );
    }
    let _ = writeln!(
        out,
        "}}\nimpl ApiKey {{\n/// All keys, ascending.\npub const ALL: [ApiKey; {}] = [",
        rows.len()
    );
    for (_, name, _) in &rows {
        let _ = writeln!(out, "ApiKey::{name},");
    }
    out.push_str("];\n}\nconst FACTS: [Facts; ApiKey::ALL.len()] = [\n");
    for (_, name, message) in &rows {
        let flexible = message
            .flexible
            .map_or("None".into(), |f| format!("Some({})", f.min));
        let on = |listener: &str| message.listeners.iter().any(|l| l == listener);
        let _ = writeln!(
            out,
            "Facts {{ name: {name:?}, min: {}, max: {}, flexible: {flexible}, unstable: {}, broker: {}, controller: {} }},",
            message.versions.min,
            message.versions.max,
            message.unstable,
            on("broker"),
            on("controller"),
        );
    }
    out.push_str("];\nconst fn index_of(key: i16) -> Option<usize> {\nSome(match key {\n");
    for (index, (key, _, _)) in rows.iter().enumerate() {
        let _ = writeln!(out, "{key} => {index},");
    }
    out.push_str("_ => return None,\n})\n}\n");
    Ok(())
}
