//! Writes what the tests need of every message: random values at each version, and a table to walk all messages.
//!
//! The output is included by `tests/support`, which supplies `Gen`, `Case` and the `case!` macro.

use std::fmt::Write;

use super::emit::{condition, default_value};
use super::resolve::{Module, Resolved};
use super::schema::{Field, Kind, Type};
use super::snake;

/// Writes the functions and the table for all modules.
pub fn arbitrary(out: &mut String, modules: &[Module]) {
    for module in modules {
        for s in &module.structs {
            structure(out, module, s);
        }
    }
    out.push_str("pub static CASES: &[Case] = &[\n");
    for module in modules {
        for message in &module.messages {
            let kind = match message.kind {
                Kind::Request => "Request",
                Kind::Response => "Response",
                Kind::Key => "Key",
                Kind::Value => "Value",
                Kind::Data => "Data",
            };
            let _ = writeln!(
                out,
                "case!({}, {}, {kind}, {}, {}, {}, fill_{}_{}),",
                module.name,
                message.name,
                message.key.unwrap_or(-1),
                message.versions.min,
                message.versions.max,
                module.name,
                snake(&message.name),
            );
        }
    }
    out.push_str("];\n");
}

fn structure(out: &mut String, module: &Module, s: &Resolved) {
    let path = format!("messages::{}::{}", module.name, s.name);
    let lifetime = if s.borrows { "<'static>" } else { "" };
    let _ = writeln!(
        out,
        "fn fill_{}_{}(g: &mut Gen, v: i16) -> {path}{lifetime} {{",
        module.name,
        snake(&s.name)
    );
    let _ = writeln!(out, "{path} {{");
    for f in &s.fields {
        let when = condition(Some(f.versions), s.range);
        let name = snake(&f.name);
        let value = fill(module, s, f);
        let _ = if f.tag.is_some() {
            writeln!(
                out,
                "{name}: if ({when}) && g.coin() {{ {value} }} else {{ {} }},",
                default_value(f)
            )
        } else if when == "true" {
            writeln!(out, "{name}: {value},")
        } else {
            writeln!(
                out,
                "{name}: if {when} {{ {value} }} else {{ {} }},",
                default_value(f)
            )
        };
    }
    out.push_str("}\n}\n");
}

fn fill(module: &Module, s: &Resolved, f: &Field) -> String {
    let present = f.versions.and(s.range).unwrap_or(s.range);
    let nullable = f.null.map(|n| condition(Some(n), present));
    let one = match &f.ty {
        Type::Struct(name) => format!("fill_{}_{}(g, v)", module.name, snake(name)),
        Type::Records => return format!("g.records({})", nullable.unwrap_or_else(|| "false".into())),
        Type::Bool => "g.coin()".into(),
        other => format!("g.{}()", format!("{other:?}").to_lowercase()),
    };
    let whole = if f.array { format!("g.vec(|g| {one})") } else { one };
    match nullable {
        Some(n) => format!("if {n} && g.rarely() {{ None }} else {{ Some({whole}) }}"),
        None => whole,
    }
}
