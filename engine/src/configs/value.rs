//! Text of a setting to value and back.
//!
//! Values arrive as text and are stored as text; they are parsed here as Kafka parses them: surrounding white space is
//! dropped, a list is split at commas, the empty text is the empty list.

use super::def::{Check, ConfigDef, ConfigType};

/// A parsed value.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Value {
    Boolean(bool),
    /// INT, SHORT and LONG.
    Number(i64),
    Double(f64),
    /// STRING, CLASS and PASSWORD.
    Text(String),
    List(Vec<String>),
}

/// Why a text is not a value of a setting. The client corrects it: INVALID_CONFIG (40) for topics and groups,
/// INVALID_REQUEST (42) for brokers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Invalid value {value} for configuration {name}: {reason}")]
pub struct ValueError {
    /// Name of the setting.
    pub name: String,
    /// The text as it came, cut to 256 characters.
    pub value: String,
    /// What was expected.
    pub reason: String,
}

impl Value {
    /// The text that DescribeConfigs shows.
    pub fn render(&self) -> String {
        match self {
            Self::Boolean(b) => b.to_string(),
            Self::Number(n) => n.to_string(),
            Self::Double(d) => format_double(*d),
            Self::Text(s) => s.clone(),
            Self::List(words) => words.join(","),
        }
    }
}

/// Parses and checks `text` as a value of `def`.
pub fn parse(def: &ConfigDef, text: &str) -> Result<Value, ValueError> {
    let fail = |reason: String| ValueError {
        name: def.name.into(),
        value: text.chars().take(256).collect(),
        reason,
    };
    let trimmed = text.trim();
    let value = match def.kind {
        ConfigType::Boolean => match trimmed {
            t if t.eq_ignore_ascii_case("true") => Value::Boolean(true),
            t if t.eq_ignore_ascii_case("false") => Value::Boolean(false),
            _ => return Err(fail("expected true or false".into())),
        },
        ConfigType::Int => number(trimmed, i64::from(i32::MIN), i64::from(i32::MAX))
            .map(Value::Number)
            .ok_or_else(|| fail("not a whole number of type INT".into()))?,
        ConfigType::Short => number(trimmed, i64::from(i16::MIN), i64::from(i16::MAX))
            .map(Value::Number)
            .ok_or_else(|| fail("not a whole number of type SHORT".into()))?,
        ConfigType::Long => number(trimmed, i64::MIN, i64::MAX)
            .map(Value::Number)
            .ok_or_else(|| fail("not a whole number of type LONG".into()))?,
        ConfigType::Double => double(trimmed)
            .map(Value::Double)
            .ok_or_else(|| fail("not a number of type DOUBLE".into()))?,
        ConfigType::String | ConfigType::Class => Value::Text(trimmed.to_owned()),
        ConfigType::Password => Value::Text(text.to_owned()),
        ConfigType::List => Value::List(words(trimmed)),
    };
    match check(def, &value) {
        Ok(()) => Ok(match value {
            // A list that must hold words of a set is a set: a word given twice counts once.
            Value::List(words) if matches!(def.check, Check::ListOf(_)) => Value::List(distinct(words)),
            other => other,
        }),
        Err(reason) => Err(fail(reason)),
    }
}

/// Splits a list at its commas; the empty text is the empty list.
pub(super) fn words(text: &str) -> Vec<String> {
    let text = text.trim();
    if text.is_empty() {
        Vec::new()
    } else {
        text.split(',').map(|w| w.trim().to_owned()).collect()
    }
}

fn distinct(words: Vec<String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::with_capacity(words.len());
    for word in words {
        if !kept.contains(&word) {
            kept.push(word);
        }
    }
    kept
}

fn number(text: &str, min: i64, max: i64) -> Option<i64> {
    text.parse::<i64>().ok().filter(|n| (min..=max).contains(n))
}

/// A finite decimal number. The suffixes `f` and `d` that Java accepts are accepted; NaN and infinity are not, though
/// Kafka takes them: no setting means anything with them.
fn double(text: &str) -> Option<f64> {
    let digits = match text.strip_suffix(['f', 'F', 'd', 'D']) {
        Some(rest) if rest.ends_with(|c: char| c.is_ascii_digit() || c == '.') => rest,
        _ => text,
    };
    digits.parse::<f64>().ok().filter(|d| d.is_finite())
}

fn check(def: &ConfigDef, value: &Value) -> Result<(), String> {
    match (&def.check, value) {
        (Check::Any, _) => Ok(()),
        (Check::Min(min), Value::Number(n)) if n < min => Err(format!("the value must be at least {min}")),
        (Check::Range(min, _), Value::Number(n)) if n < min => {
            Err(format!("the value must be at least {min}"))
        }
        (Check::Range(_, max), Value::Number(n)) if n > max => {
            Err(format!("the value must be no more than {max}"))
        }
        (Check::RangeOr(min, max, other), Value::Number(n)) if n != other && !(min..=max).contains(&n) => {
            Err(format!("the value must be between {min} and {max}, or {other}"))
        }
        (Check::Fraction(min, _), Value::Double(d)) if d < min => {
            Err(format!("the value must be at least {min}"))
        }
        (Check::Fraction(_, max), Value::Double(d)) if d > max => {
            Err(format!("the value must be no more than {max}"))
        }
        (Check::OneOf(allowed), Value::Text(t)) if !allowed.contains(&t.as_str()) => {
            Err(format!("must be one of: {}", allowed.join(", ")))
        }
        (Check::OneOfNoCase(allowed), Value::Text(t))
            if !allowed.iter().any(|a| a.eq_ignore_ascii_case(t)) =>
        {
            Err(format!("must be one of: {}", allowed.join(", ")))
        }
        (Check::ListOf(allowed), Value::List(words)) => {
            no_empty_word(words)?;
            match words.iter().find(|w| !allowed.contains(&w.as_str())) {
                Some(bad) => Err(format!("{bad} is not one of: {}", allowed.join(", "))),
                None => Ok(()),
            }
        }
        (Check::Words(needed), Value::List(words)) => {
            no_empty_word(words)?;
            if *needed && words.is_empty() {
                Err("the list must not be empty".into())
            } else {
                Ok(())
            }
        }
        (Check::ThrottledReplicas, Value::List(words)) => {
            let pair = |w: &String| {
                w.split_once(':').is_some_and(|(p, b)| {
                    !p.is_empty()
                        && !b.is_empty()
                        && p.bytes().all(|c| c.is_ascii_digit())
                        && b.bytes().all(|c| c.is_ascii_digit())
                })
            };
            if words.len() == 1 && words[0] == "*" || words.iter().all(pair) {
                Ok(())
            } else {
                Err("must be * or a list of partition:broker pairs".into())
            }
        }
        (Check::NonEmpty, Value::Text(t)) if t.is_empty() => Err("must not be empty".into()),
        _ => Ok(()),
    }
}

fn no_empty_word(words: &[String]) -> Result<(), String> {
    if words.iter().any(String::is_empty) {
        Err("the list must not hold empty values".into())
    } else {
        Ok(())
    }
}

/// A double as Kafka prints it: plain between 10^-3 and 10^7, otherwise with an exponent, and always with a fraction.
pub fn format_double(d: f64) -> String {
    let magnitude = d.abs();
    if magnitude == 0.0 || (1e-3..1e7).contains(&magnitude) {
        let plain = format!("{d}");
        return if plain.contains('.') {
            plain
        } else {
            format!("{plain}.0")
        };
    }
    let scientific = format!("{d:e}");
    match scientific.split_once('e') {
        Some((mantissa, exponent)) if !mantissa.contains('.') => format!("{mantissa}.0E{exponent}"),
        Some((mantissa, exponent)) => format!("{mantissa}E{exponent}"),
        None => scientific,
    }
}
