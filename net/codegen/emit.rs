//! Writes the types of one module with their decoding, encoding and defaults.

use std::fmt::Write;

use super::resolve::{Module, Resolved, is_natural};
use super::schema::{Default, Field, Kind, Type, Versions};
use super::snake;

/// A condition on the version `v`, given that it lies in `within`: `true`, `v >= 3`, `v <= 12`, `(4..=7).contains(&v)`.
pub fn condition(when: Option<Versions>, within: Versions) -> String {
    let Some(both) = when.and_then(|w| w.and(within)) else {
        return "false".into();
    };
    match (both.min > within.min, both.max < within.max) {
        (false, false) => "true".into(),
        (true, false) => format!("v >= {}", both.min),
        (false, true) => format!("v <= {}", both.max),
        (true, true) => format!("({}..={}).contains(&v)", both.min, both.max),
    }
}

/// The Rust type of a field; `lifetime` is `'a` or `'static`.
pub fn rust_type(module: &Module, field: &Field, lifetime: &str) -> String {
    let base = match &field.ty {
        Type::Bool => "bool".into(),
        Type::Int8 => "i8".into(),
        Type::Int16 => "i16".into(),
        Type::Uint16 => "u16".into(),
        Type::Int32 => "i32".into(),
        Type::Int64 => "i64".into(),
        Type::Float64 => "f64".into(),
        Type::Uuid => "Uuid".into(),
        Type::String => format!("Cow<{lifetime}, str>"),
        Type::Bytes => format!("Cow<{lifetime}, [u8]>"),
        Type::Records => return format!("Records<{lifetime}>"),
        Type::Struct(name) if module.get(name).borrows => format!("{name}<{lifetime}>"),
        Type::Struct(name) => name.clone(),
    };
    let whole = if field.array { format!("Vec<{base}>") } else { base };
    if field.null.is_some() {
        format!("Option<{whole}>")
    } else {
        whole
    }
}

/// The value a field has where it is absent.
pub fn default_value(field: &Field) -> String {
    match field.default {
        Default::True => "true".into(),
        Default::Number(value) => value.to_string(),
        _ if is_natural(field) => "Default::default()".into(),
        _ => "Some(Default::default())".into(),
    }
}

/// An expression that is true when the field differs from its default.
fn differs(field: &Field) -> String {
    let me = format!("self.{}", snake(&field.name));
    let sized = field.array || matches!(field.ty, Type::String | Type::Bytes);
    match (&field.ty, &field.default) {
        (Type::Records, _) => format!("!{me}.is_null()"),
        (_, Default::Null) => format!("{me}.is_some()"),
        _ if sized && field.null.is_some() => format!("{me}.as_ref().is_none_or(|x| !x.is_empty())"),
        _ if sized => format!("!{me}.is_empty()"),
        (Type::Bool, Default::True) => format!("!{me}"),
        (Type::Bool, _) => me,
        (Type::Uuid, _) => format!("{me} != Uuid::ZERO"),
        (Type::Float64, _) => format!("{me} != 0.0"),
        (Type::Struct(_), _) => format!("{me} != {}", default_value(field)),
        (_, Default::Number(value)) => format!("{me} != {value}"),
        _ => format!("{me} != 0"),
    }
}

/// The expression that reads a field which is present.
fn read(module: &Module, of: &Resolved, field: &Field, flex: &str) -> String {
    let present = field.versions.and(of.range).unwrap_or(of.range);
    let nullable = field.null.map(|n| condition(Some(n), present));
    let opt = if nullable.is_some() && field.ty != Type::Records {
        "opt_"
    } else {
        ""
    };
    let arg = nullable.clone().map(|n| format!(", {n}")).unwrap_or_default();
    if field.array {
        let min = module.min_wire(of, field);
        return match &field.ty {
            Type::Struct(_) => format!("r.{opt}structs({flex}{arg}, {min}, v)?"),
            Type::String => format!("r.{opt}strs({flex}{arg})?"),
            _ => format!("r.{opt}array({flex}{arg})?"),
        };
    }
    match &field.ty {
        Type::Struct(name) => match nullable {
            Some(n) if field.tag.is_some() => format!("r.opt_tagged_struct({n}, v)?"),
            Some(n) => format!("r.opt_struct({n}, v)?"),
            None => format!("{name}::decode(r, v)?"),
        },
        Type::String => format!("r.{opt}str({flex}{arg})?"),
        Type::Bytes => format!("r.{opt}bytes({flex}{arg})?"),
        Type::Records => format!(
            "r.records({flex}, {})?",
            nullable.unwrap_or_else(|| "false".into())
        ),
        number => format!("r.{}()?", number_name(number)),
    }
}

fn number_name(ty: &Type) -> &'static str {
    match ty {
        Type::Bool => "bool",
        Type::Int8 => "i8",
        Type::Int16 => "i16",
        Type::Uint16 => "u16",
        Type::Int32 => "i32",
        Type::Int64 => "i64",
        Type::Float64 => "f64",
        _ => "uuid",
    }
}

/// The statement that writes a field which is present.
fn write(of: &Resolved, field: &Field, flex: &str) -> String {
    let me = format!("self.{}", snake(&field.name));
    let present = field.versions.and(of.range).unwrap_or(of.range);
    let nullable = field.null.map(|n| condition(Some(n), present));
    let name = &field.name;
    if field.array {
        return match (&field.ty, nullable) {
            (Type::Struct(_), None) => format!("w.structs(&{me}, {flex}, v)?;"),
            (Type::Struct(_), Some(n)) => {
                format!("w.opt_structs({me}.as_deref(), {flex}, {n}, v, {name:?})?;")
            }
            (Type::String, None) => format!("w.strs(&{me}, {flex})?;"),
            (Type::String, Some(n)) => format!("w.opt_strs({me}.as_deref(), {flex}, {n}, {name:?})?;"),
            (_, None) => format!("w.array(&{me}, {flex})?;"),
            (_, Some(n)) => format!("w.opt_array({me}.as_deref(), {flex}, {n}, {name:?})?;"),
        };
    }
    match (&field.ty, nullable) {
        (Type::Struct(_), None) => format!("{me}.encode(w, v)?;"),
        (Type::Struct(_), Some(n)) => {
            let tagged = if field.tag.is_some() { "tagged_" } else { "" };
            format!("w.opt_{tagged}struct({me}.as_ref(), {n}, v, {name:?})?;")
        }
        (Type::String, None) => format!("w.str(&{me}, {flex})?;"),
        (Type::String, Some(n)) if field.blank => {
            format!(
                "w.opt_str({me}.as_deref().or(if {n} {{ None }} else {{ Some(\"\") }}), {flex}, {n}, {name:?})?;"
            )
        }
        (Type::String, Some(n)) => format!("w.opt_str({me}.as_deref(), {flex}, {n}, {name:?})?;"),
        (Type::Bytes, None) => format!("w.bytes(&{me}, {flex})?;"),
        (Type::Bytes, Some(n)) => format!("w.opt_bytes({me}.as_deref(), {flex}, {n}, {name:?})?;"),
        (Type::Records, n) => format!(
            "w.records(&{me}, {flex}, {})?;",
            n.unwrap_or_else(|| "false".into())
        ),
        (number, _) => format!("w.{}({me});", number_name(number)),
    }
}

/// One line about a field: its place in the protocol.
fn describe(field: &Field) -> String {
    let array = if field.array { "[]" } else { "" };
    let ty = match &field.ty {
        Type::Struct(name) => name.clone(),
        other => format!("{other:?}").to_lowercase(),
    };
    let mut text = format!("`{array}{ty}`, versions {}", field.versions);
    if let Some(null) = field.null {
        let _ = write!(text, ", null at {null}");
    }
    match &field.default {
        Default::None => {}
        Default::Null => text.push_str(", default null"),
        Default::True => text.push_str(", default true"),
        Default::Number(value) => {
            let _ = write!(text, ", default {value}");
        }
    }
    if let Some(tag) = field.tag {
        let _ = write!(text, ", tag {tag}");
    }
    if field.ignorable {
        text.push_str(", ignorable");
    }
    text
}

/// Writes one module.
pub fn module(out: &mut String, module: &Module) {
    let names: Vec<String> = module
        .messages
        .iter()
        .map(|m| format!("[`{}`]", m.name))
        .collect();
    let _ = writeln!(
        out,
        "/// {}.\npub mod {} {{\nuse super::prelude::*;",
        names.join(", "),
        module.name
    );
    for s in &module.structs {
        structure(out, module, s);
    }
    out.push_str("}\n");
}

fn structure(out: &mut String, module: &Module, s: &Resolved) {
    let message = &module.messages[s.message];
    let generic = if s.borrows { "<'a>" } else { "" };
    let (name, top) = (&s.name, s.top);
    let _ = if top {
        let what = match message.kind {
            Kind::Request => "Request of API key",
            Kind::Response => "Response of API key",
            Kind::Key => "Record key, type",
            Kind::Value => "Record value, type",
            Kind::Data => "Data",
        };
        let key = message.key.map(|k| format!(" {k}")).unwrap_or_default();
        let topic = message
            .topic
            .as_ref()
            .map(|t| format!(" of `{t}`"))
            .unwrap_or_default();
        let flexible = message
            .flexible
            .map(|f| format!(", flexible {f}"))
            .unwrap_or_default();
        writeln!(
            out,
            "/// {what}{key}{topic}: versions {}{flexible}.",
            message.versions
        )
    } else {
        writeln!(out, "/// Part of [`{}`].", message.name)
    };
    let derive = if s.derives_default { ", Default" } else { "" };
    let _ = writeln!(
        out,
        "#[derive(Debug, Clone, PartialEq{derive})]\npub struct {name}{generic} {{"
    );
    for f in &s.fields {
        let ty = rust_type(module, f, "'a");
        let _ = writeln!(out, "/// {}\npub {}: {ty},", describe(f), snake(&f.name));
    }
    out.push_str("}\n");
    if !s.derives_default {
        let anon = if s.borrows { "<'_>" } else { "" };
        let _ = writeln!(
            out,
            "impl Default for {name}{anon} {{\nfn default() -> Self {{\nSelf {{"
        );
        for f in &s.fields {
            let _ = writeln!(out, "{}: {},", snake(&f.name), default_value(f));
        }
        out.push_str("}\n}\n}\n");
    }
    let flex = condition(module.flexible(s), s.range);
    let reader = if s.borrows { "Reader<'a>" } else { "Reader<'_>" };
    let _ = writeln!(out, "impl{generic} {name}{generic} {{");
    decode(out, module, s, &flex, reader);
    encode(out, module, s, &flex);
    out.push_str("}\n");
    let range = message.versions;
    let _ = match (s.borrows, top) {
        (false, false) => writeln!(out, "structure!({name});"),
        (true, false) => writeln!(out, "structure!({name} 'a);"),
        (borrows, true) => {
            let lifetime = if borrows { " 'a" } else { "" };
            let since = message
                .flexible
                .map_or("None".into(), |f| format!("Some({})", f.min.max(range.min)));
            let kind = format!("{:?}", message.kind);
            let key = message.key.map_or("None".into(), |k| format!("Some({k})"));
            writeln!(
                out,
                "message!({name}{lifetime}, {kind}, {key}, {}, {}, {since});",
                range.min, range.max
            )
        }
    };
}

fn version_check(out: &mut String, module: &Module, s: &Resolved, error: &str) {
    let range = module.messages[s.message].versions;
    if s.top {
        let _ = writeln!(
            out,
            "if !({}..={}).contains(&v) {{ return Err({error}::Version(v)); }}",
            range.min, range.max
        );
    }
}

fn decode(out: &mut String, module: &Module, s: &Resolved, flex: &str, reader: &str) {
    let _ = writeln!(out, "/// Reads one value at version `v`.");
    let _ = writeln!(
        out,
        "pub fn decode(r: &mut {reader}, v: i16) -> Result<Self, DecodeError> {{"
    );
    version_check(out, module, s, "DecodeError");
    let _ = writeln!(out, "let flex = {flex};");
    let tagged: Vec<&Field> = s.fields.iter().filter(|f| f.tag.is_some()).collect();
    let binding = if tagged.is_empty() {
        "let value"
    } else {
        "let mut value"
    };
    let _ = writeln!(out, "{binding} = Self {{");
    for f in &s.fields {
        let when = condition(Some(f.versions), s.range);
        let name = snake(&f.name);
        let expr = if f.tag.is_some() {
            default_value(f)
        } else {
            read(module, s, f, "flex")
        };
        let _ = if when == "true" || f.tag.is_some() {
            writeln!(out, "{name}: {expr},")
        } else {
            writeln!(
                out,
                "{name}: if {when} {{ {expr} }} else {{ {} }},",
                default_value(f)
            )
        };
    }
    out.push_str("};\n");
    if flex != "false" {
        let _ = write!(out, "if flex {{ ");
        if tagged.is_empty() {
            out.push_str("r.skip_tags()?;");
        } else {
            out.push_str("for _ in 0..r.uvarint()? {\nlet tag = r.open_tag()?;\nmatch tag.number {\n");
            for f in &tagged {
                let when = condition(Some(f.versions), s.range);
                let guard = if when == "true" {
                    String::new()
                } else {
                    format!(" if {when}")
                };
                let expr = read(module, s, f, "true");
                let _ = writeln!(
                    out,
                    "{}{guard} => value.{} = {expr},",
                    f.tag.unwrap_or(0),
                    snake(&f.name)
                );
            }
            out.push_str("_ => r.skip_tag(),\n}\nr.close_tag(tag)?;\n}\n");
        }
        out.push_str("}\n");
    }
    out.push_str("Ok(value)\n}\n");
}

fn encode(out: &mut String, module: &Module, s: &Resolved, flex: &str) {
    let _ = writeln!(out, "/// Appends the value at version `v`.");
    let _ = writeln!(
        out,
        "pub fn encode(&self, w: &mut Writer, v: i16) -> Result<(), EncodeError> {{"
    );
    version_check(out, module, s, "EncodeError");
    let _ = writeln!(out, "let flex = {flex};");
    for f in s.fields.iter().filter(|f| f.tag.is_none()) {
        let when = condition(Some(f.versions), s.range);
        let put = write(s, f, "flex");
        if when == "true" {
            let _ = writeln!(out, "{put}");
            continue;
        }
        let _ = write!(out, "if {when} {{ {put} }}");
        if !f.ignorable {
            let _ = write!(
                out,
                " else if {} {{ return Err(absent({:?}, v)); }}",
                differs(f),
                f.name
            );
        }
        out.push('\n');
    }
    let mut tagged: Vec<&Field> = s.fields.iter().filter(|f| f.tag.is_some()).collect();
    tagged.sort_by_key(|f| f.tag);
    let mut count = vec![];
    for f in &tagged {
        let tag = f.tag.unwrap_or(0);
        let when = condition(Some(f.versions), s.range);
        let _ = writeln!(out, "let set{tag} = {};", differs(f));
        if when != "true" {
            if !f.ignorable {
                let _ = writeln!(
                    out,
                    "if set{tag} && !({when}) {{ return Err(absent({:?}, v)); }}",
                    f.name
                );
            }
            let _ = writeln!(out, "let set{tag} = set{tag} && {when};");
        }
        count.push(format!("u32::from(set{tag})"));
    }
    if flex != "false" {
        let count = if count.is_empty() {
            "0".into()
        } else {
            count.join(" + ")
        };
        let _ = writeln!(out, "if flex {{ w.uvarint({count});");
        for f in &tagged {
            let tag = f.tag.unwrap_or(0);
            let put = write(s, f, "true");
            let _ = writeln!(
                out,
                "if set{tag} {{ let tag = w.open_tag({tag}); {put} w.close_tag(tag)?; }}"
            );
        }
        out.push_str("}\n");
    }
    out.push_str("Ok(())\n}\n");
}
