//! The notation of `schemas/*.msg`: its syntax tree and its parser.
//!
//! A file describes one module: the request and response of an API, the key and value of an internal topic's record,
//! or data that travels inside other messages. Indentation nests; `#` begins a comment.

use std::fmt;

/// An inclusive range of versions, `3-13`, `4` or `9+`; `9+` runs to [`i16::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// First version.
    pub min: i16,
    /// Last version.
    pub max: i16,
}

impl Versions {
    /// Parses one range.
    pub fn parse(text: &str) -> Option<Self> {
        let number = |s: &str| s.parse::<i16>().ok().filter(|n| *n >= 0);
        let (min, max) = if let Some(first) = text.strip_suffix('+') {
            (number(first)?, i16::MAX)
        } else if let Some((first, last)) = text.split_once('-') {
            (number(first)?, number(last)?)
        } else {
            (number(text)?, number(text)?)
        };
        (min <= max).then_some(Self { min, max })
    }

    /// What both ranges cover.
    pub fn and(self, other: Self) -> Option<Self> {
        let both = Self {
            min: self.min.max(other.min),
            max: self.max.min(other.max),
        };
        (both.min <= both.max).then_some(both)
    }

    /// The smallest range that covers both.
    pub fn span(self, other: Self) -> Self {
        Self {
            min: self.min.min(other.min),
            max: self.max.max(other.max),
        }
    }

    /// Whether `other` lies inside.
    pub fn covers(self, other: Self) -> bool {
        self.min <= other.min && other.max <= self.max
    }

    /// Whether `version` lies inside.
    pub fn contains(self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.min, self.max) {
            (min, i16::MAX) => write!(f, "{min}+"),
            (min, max) if min == max => write!(f, "{min}"),
            (min, max) => write!(f, "{min}-{max}"),
        }
    }
}

/// What a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Sent by a client.
    Request,
    /// Sent by a broker.
    Response,
    /// The key of a record in an internal topic; an int16 of its type precedes it there.
    Key,
    /// The value of such a record; an int16 of its version precedes it there.
    Value,
    /// Anything else with a stated layout.
    Data,
}

/// A field's type without array brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    /// One byte, false when zero.
    Bool,
    /// Signed, one byte.
    Int8,
    /// Signed, two bytes.
    Int16,
    /// Unsigned, two bytes.
    Uint16,
    /// Signed, four bytes.
    Int32,
    /// Signed, eight bytes.
    Int64,
    /// IEEE 754 binary64.
    Float64,
    /// Sixteen bytes.
    Uuid,
    /// UTF-8 text.
    String,
    /// Opaque bytes.
    Bytes,
    /// Record batches.
    Records,
    /// A structure of this module.
    Struct(String),
}

/// A default that differs from the type's own (zero, empty, a structure of defaults).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Default {
    /// Nothing stated.
    None,
    /// `null`.
    Null,
    /// `true`.
    True,
    /// A number.
    Number(i64),
}

/// One field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name in Kafka's schema.
    pub name: String,
    /// The type, or the element type of an array.
    pub ty: Type,
    /// Whether it is an array.
    pub array: bool,
    /// Versions that have the field.
    pub versions: Versions,
    /// Versions at which it may be null.
    pub null: Option<Versions>,
    /// Its value where it is absent.
    pub default: Default,
    /// Its number when it travels as a tagged field.
    pub tag: Option<u32>,
    /// Whether a value may be dropped silently at versions without the field.
    pub ignorable: bool,
    /// Whether null is written as the empty string at versions without null.
    pub blank: bool,
    /// Line of the file, for messages.
    pub line: usize,
}

/// One structure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Struct {
    /// Its name, unique within the file.
    pub name: String,
    /// Its fields, in wire order.
    pub fields: Vec<Field>,
}

/// One message: a structure with a place in the protocol. Structures that its fields name are in the file's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What it is for.
    pub kind: Kind,
    /// The top structure's name, e.g. `FetchRequest`.
    pub name: String,
    /// API key, or type of an internal record.
    pub key: Option<i16>,
    /// Versions in existence.
    pub versions: Versions,
    /// Versions with compact lengths and tagged fields.
    pub flexible: Option<Versions>,
    /// Whether the last version is not final.
    pub unstable: bool,
    /// Listeners that serve it: `broker`, `controller`.
    pub listeners: Vec<String>,
    /// The internal topic it is stored in.
    pub topic: Option<String>,
}

/// One file: messages and all their structures, tops included.
#[derive(Debug, Clone, PartialEq, Eq, std::default::Default)]
pub struct File {
    /// In order of the file.
    pub messages: Vec<Message>,
    /// In order of the file; each message's top structure comes before those it uses.
    pub structs: Vec<Struct>,
}

/// What is wrong with a schema, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaError {
    /// Line, from 1; 0 when the file as a whole is at fault.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

/// Builds an error; the line may be 0.
pub fn error<T>(line: usize, what: impl Into<String>) -> Result<T, SchemaError> {
    Err(SchemaError {
        line,
        what: what.into(),
    })
}

/// A structure being filled: its place in [`File::structs`] and the indentation of its fields, once one was seen.
struct Open {
    index: usize,
    header_indent: usize,
    field_indent: Option<usize>,
}

/// Parses one file.
pub fn parse(text: &str) -> Result<File, SchemaError> {
    let mut file = File::default();
    let mut open: Vec<Open> = Vec::new();
    for (number, raw) in text.lines().enumerate() {
        let line = number + 1;
        let content = raw.split('#').next().unwrap_or_default();
        let words: Vec<&str> = content.split_whitespace().collect();
        let Some(&first) = words.first() else { continue };
        if content.contains('\t') {
            return error(line, "tabs do not count as indentation; use spaces");
        }
        let indent = content.len() - content.trim_start().len();
        if indent == 0 {
            let message = parse_message(line, &words)?;
            open.clear();
            open.push(open_struct(&mut file, line, &message.name, 0)?);
            file.messages.push(message);
            continue;
        }
        while open.len() > 1 && open.last().is_some_and(|o| indent <= o.header_indent) {
            open.pop();
        }
        let Some(top) = open.last_mut() else {
            return error(line, "a field outside any message");
        };
        if first == "struct" && words.len() == 2 {
            open.truncate(1);
            let shared = open_struct(&mut file, line, words[1], indent)?;
            open.push(shared);
            continue;
        }
        match top.field_indent {
            None => top.field_indent = Some(indent),
            Some(expected) if expected != indent => {
                return error(
                    line,
                    format!("indented by {indent}, but its siblings by {expected}"),
                );
            }
            Some(_) => {}
        }
        let field = parse_field(line, &words)?;
        let named = match &field.ty {
            Type::Struct(name) => Some(name.clone()),
            _ => None,
        };
        let fields = &mut file.structs[top.index].fields;
        if fields.iter().any(|f| f.name == field.name) {
            return error(line, format!("field {} appears twice", field.name));
        }
        fields.push(field);
        // Fields nested below this line define the structure it names; without any, it must be defined elsewhere.
        if let Some(name) = named.filter(|_| next_indent(text, line) > indent) {
            let nested = open_struct(&mut file, line, &name, indent)?;
            open.push(nested);
        }
    }
    Ok(file)
}

/// Indentation of the first non-empty line after `line`; 0 at the end.
fn next_indent(text: &str, line: usize) -> usize {
    text.lines()
        .skip(line)
        .map(|l| l.split('#').next().unwrap_or_default())
        .find(|l| !l.trim().is_empty())
        .map_or(0, |l| l.len() - l.trim_start().len())
}

fn open_struct(file: &mut File, line: usize, name: &str, header_indent: usize) -> Result<Open, SchemaError> {
    if !is_name(name) {
        return error(line, format!("{name} is no name for a structure"));
    }
    if file.structs.iter().any(|s| s.name == name) {
        return error(line, format!("structure {name} is defined twice"));
    }
    file.structs.push(Struct {
        name: name.to_string(),
        fields: Vec::new(),
    });
    Ok(Open {
        index: file.structs.len() - 1,
        header_indent,
        field_indent: None,
    })
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_uppercase()) && text.chars().all(|c| c.is_ascii_alphanumeric())
}

/// The rest of a line, word by word.
struct Words<'a> {
    line: usize,
    words: std::slice::Iter<'a, &'a str>,
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<&'a str> {
        self.words.next().copied()
    }

    fn need(&mut self, what: &str) -> Result<&'a str, SchemaError> {
        self.next()
            .map_or_else(|| error(self.line, format!("{what} is missing")), Ok)
    }

    fn versions(&mut self, what: &str) -> Result<Versions, SchemaError> {
        let word = self.need(what)?;
        Versions::parse(word).map_or_else(|| error(self.line, format!("{word} is no range of versions")), Ok)
    }

    fn number<T: std::str::FromStr>(&mut self, what: &str) -> Result<T, SchemaError> {
        let word = self.need(what)?;
        word.parse()
            .or_else(|_| error(self.line, format!("{word} is no number for {what}")))
    }
}

fn parse_message(line: usize, words: &[&str]) -> Result<Message, SchemaError> {
    let mut words = Words {
        line,
        words: words.iter(),
    };
    let kind = match words.need("a message kind")? {
        "request" => Kind::Request,
        "response" => Kind::Response,
        "key" => Kind::Key,
        "value" => Kind::Value,
        "data" => Kind::Data,
        other => return error(line, format!("{other} is no kind of message")),
    };
    let name = words.need("the message's name")?.to_string();
    let key = if kind == Kind::Data {
        None
    } else {
        Some(words.number("the key")?)
    };
    let mut message = Message {
        kind,
        name,
        key,
        versions: Versions { min: 0, max: 0 },
        flexible: None,
        unstable: false,
        listeners: Vec::new(),
        topic: None,
    };
    let mut versions = None;
    while let Some(word) = words.next() {
        match word {
            "versions" => versions = Some(words.versions("the range after versions")?),
            "flexible" => message.flexible = Some(words.versions("the range after flexible")?),
            "unstable" => message.unstable = true,
            "listeners" => {
                message.listeners = words
                    .need("the listeners")?
                    .split(',')
                    .map(str::to_string)
                    .collect();
            }
            "topic" => message.topic = Some(words.need("the topic")?.to_string()),
            other => return error(line, format!("{other} means nothing for a message")),
        }
    }
    match versions {
        Some(range) if range.max < i16::MAX => message.versions = range,
        Some(_) => return error(line, "a message needs a last version"),
        None => return error(line, "versions is missing"),
    }
    Ok(message)
}

fn parse_field(line: usize, words: &[&str]) -> Result<Field, SchemaError> {
    let mut words = Words {
        line,
        words: words.iter(),
    };
    let name = words.need("the field's name")?.to_string();
    if !is_name(&name) {
        return error(line, format!("{name} is no name for a field"));
    }
    let word = words.need("the type")?;
    let (array, base) = word.strip_prefix("[]").map_or((false, word), |base| (true, base));
    let ty = match base {
        "bool" => Type::Bool,
        "int8" => Type::Int8,
        "int16" => Type::Int16,
        "uint16" => Type::Uint16,
        "int32" => Type::Int32,
        "int64" => Type::Int64,
        "float64" => Type::Float64,
        "uuid" => Type::Uuid,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "records" => Type::Records,
        name if is_name(name) => Type::Struct(name.to_string()),
        other => return error(line, format!("{other} is no type")),
    };
    let versions = words.versions("the versions")?;
    let mut field = Field {
        name,
        ty,
        array,
        versions,
        null: None,
        default: Default::None,
        tag: None,
        ignorable: false,
        blank: false,
        line,
    };
    while let Some(word) = words.next() {
        match word {
            "null" => field.null = Some(words.versions("the range after null")?),
            "tag" => field.tag = Some(words.number("the tag")?),
            "ignorable" => field.ignorable = true,
            "blank" => field.blank = true,
            "default" => {
                field.default = match words.need("the default")? {
                    "null" => Default::Null,
                    "true" => Default::True,
                    number => match number.parse() {
                        Ok(value) => Default::Number(value),
                        Err(_) => return error(line, format!("{number} is no default")),
                    },
                }
            }
            other => return error(line, format!("{other} means nothing for a field")),
        }
    }
    check_field(&field)?;
    Ok(field)
}

fn check_field(field: &Field) -> Result<(), SchemaError> {
    let line = field.line;
    let scalar = !field.array;
    let numeric = scalar
        && matches!(
            field.ty,
            Type::Int8 | Type::Int16 | Type::Uint16 | Type::Int32 | Type::Int64
        );
    let nullable = field.array
        || matches!(
            field.ty,
            Type::String | Type::Bytes | Type::Records | Type::Struct(_)
        );
    if field.array && matches!(field.ty, Type::Bool | Type::Bytes | Type::Records) {
        return error(line, "arrays of bool, bytes or records do not exist");
    }
    if field.null.is_some() && !nullable {
        return error(line, "a number cannot be null");
    }
    match &field.default {
        Default::Null if field.null.is_none() => return error(line, "default null, but no version has null"),
        Default::True if !(scalar && field.ty == Type::Bool) => {
            return error(line, "default true, but no bool");
        }
        Default::Number(_) if !numeric => return error(line, "a numeric default for something else"),
        Default::Number(value) => {
            let (min, max) = match field.ty {
                Type::Int8 => (i64::from(i8::MIN), i64::from(i8::MAX)),
                Type::Int16 => (i64::from(i16::MIN), i64::from(i16::MAX)),
                Type::Uint16 => (0, i64::from(u16::MAX)),
                Type::Int32 => (i64::from(i32::MIN), i64::from(i32::MAX)),
                _ => (i64::MIN, i64::MAX),
            };
            if *value < min || *value > max {
                return error(line, format!("default {value} does not fit the type"));
            }
        }
        _ => {}
    }
    if field.blank && !(scalar && field.ty == Type::String && field.null.is_some()) {
        return error(line, "blank is for nullable strings");
    }
    if field.tag.is_some() && field.ty == Type::Records {
        return error(line, "records cannot be a tagged field");
    }
    Ok(())
}
