//! Listings of the node settings: an annotated TOML file, or JSON.

use std::fmt::Write;

use super::layers::Resolved;
use super::settings::{KAFKA, SETTINGS, Setting};

/// Writes every setting as a TOML file that can be used as one: meaning, range, default and origin as
/// comments. Settings at their default are commented out, so that a later default is not frozen in.
pub fn print_annotated(resolved: &Resolved) -> String {
    let mut out = String::new();
    let mut section = "";
    for (setting, (value, origin)) in SETTINGS.iter().zip(&resolved.values) {
        if setting.section != section {
            section = setting.section;
            let gap = if out.is_empty() { "" } else { "\n" };
            let _ = writeln!(out, "{gap}[{section}]");
        }
        let _ = writeln!(out);
        for line in wrap(setting.doc, 98) {
            let _ = writeln!(out, "# {line}");
        }
        let _ = writeln!(out, "# {}", facts(setting));
        let text = value.show(&setting.kind);
        let text = if setting.kind.is_bare() {
            text
        } else {
            quote(&text)
        };
        match origin {
            super::Origin::Default => {
                let _ = writeln!(out, "#{} = {text}", setting.key);
            }
            origin => {
                let _ = writeln!(out, "# from {origin}\n{} = {text}", setting.key);
            }
        }
    }
    let _ = writeln!(
        out,
        "\n# Start values of broker settings under Kafka's names. A value set later through the"
    );
    let _ = writeln!(
        out,
        "# protocol (turgo config set) wins over these. Sizes and times may carry a unit."
    );
    let _ = writeln!(out, "[{KAFKA}]");
    if resolved.kafka.is_empty() {
        let _ = writeln!(out, "#\"log.retention.hours\" = 168");
    }
    for (name, setting) in &resolved.kafka {
        let _ = writeln!(
            out,
            "# from {}\n{} = {}",
            setting.origin,
            quote(name),
            quote(&setting.value)
        );
    }
    out
}

/// Every setting as a JSON array of objects: name, value, default, origin, unit, range, variable, flag,
/// applies, doc.
pub fn print_json(resolved: &Resolved) -> serde_json::Value {
    let node = SETTINGS
        .iter()
        .zip(&resolved.values)
        .map(|(setting, (value, origin))| {
            serde_json::json!({
                "name": setting.name(),
                "value": value.show(&setting.kind),
                "default": setting.default,
                "origin": origin.to_string(),
                "unit": setting.kind.unit(),
                "range": setting.kind.range(),
                "environment": setting.variable(),
                "flag": setting.flag,
                "applies": setting.applies.name(),
                "doc": setting.doc,
            })
        });
    let kafka = resolved.kafka.iter().map(|(name, setting)| {
        serde_json::json!({
            "name": format!("{KAFKA}.{name}"),
            "value": setting.value,
            "origin": setting.origin.to_string(),
        })
    });
    node.chain(kafka).collect()
}

/// The table of node settings in the operator's manual, in Markdown.
pub fn print_markdown() -> String {
    let mut out = String::from("| setting | default | range | flag | what it does |\n|-|-|-|-|-|\n");
    for setting in SETTINGS {
        let default = if setting.default.is_empty() {
            "none".to_string()
        } else {
            format!("`{}`", setting.default)
        };
        let range = setting.kind.range();
        let range = if range.is_empty() {
            setting.kind.unit().to_string()
        } else {
            range
        };
        let flag = setting.flag.map_or_else(String::new, |flag| format!("`{flag}`"));
        let _ = writeln!(
            out,
            "| `{}` | {default} | {range} | {flag} | {} |",
            setting.name(),
            setting.doc
        );
    }
    out
}

fn facts(setting: &Setting) -> String {
    let range = setting.kind.range();
    let range = if range.is_empty() {
        setting.kind.unit().to_string()
    } else {
        range
    };
    let default = if setting.default.is_empty() {
        "none"
    } else {
        setting.default
    };
    format!(
        "Takes {range}; default {default}; change applies at {}. {}",
        setting.applies.name(),
        setting.variable()
    )
}

fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("starts with one line");
        if !line.is_empty() && line.len() + 1 + word.len() > width {
            lines.push(word.to_string());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}
