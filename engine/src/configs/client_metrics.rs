//! The settings of a client metrics subscription (KIP-714).
//!
//! They are checked, stored, described and listed as in Kafka, so that tools work. Nothing is ever pushed: like a
//! Kafka without a telemetry receiver, this broker does not offer the APIs that clients push metrics with.

use std::collections::BTreeMap;

use super::alter::AlterError;
use super::def::{Check::*, ConfigDef, ConfigType::Int, ConfigType::List, Effect::*, Unit, topic};
use super::value;

/// Bounds of `interval.ms`.
const INTERVAL_MS: std::ops::RangeInclusive<i64> = 100..=3_600_000;
/// What a client can be told apart by, in `match`.
const LABELS: [&str; 6] = [
    "client_id",
    "client_instance_id",
    "client_software_name",
    "client_software_version",
    "client_source_address",
    "client_source_port",
];

pub(super) static CLIENT_METRICS: &[ConfigDef] = &[
    topic(
        "interval.ms",
        Int,
        "300000",
        Any,
        Unit::Milliseconds,
        Accepted,
        &[],
        "How often clients push, 100 to 3600000.",
    ),
    topic(
        "match",
        List,
        "",
        Words(false),
        Unit::None,
        Accepted,
        &[],
        "Which clients: words like `client_id=PATTERN`, all of which must match; empty for all clients.",
    ),
    topic(
        "metrics",
        List,
        "",
        Words(false),
        Unit::None,
        Accepted,
        &[],
        "Prefixes of names of metrics; `*` for all.",
    ),
];

/// Judges the complete settings of a subscription.
pub fn validate_client_metrics(overrides: &BTreeMap<String, String>) -> Result<(), AlterError> {
    for (name, text) in overrides {
        let Some(def) = super::client_metrics_config(name) else {
            return Err(AlterError::Request(format!(
                "Unknown client metrics configuration {name}"
            )));
        };
        let value = value::parse(def, text).map_err(|e| AlterError::Config(e.to_string()))?;
        match value {
            value::Value::Number(n) if !INTERVAL_MS.contains(&n) => {
                return Err(AlterError::Request(format!(
                    "{name} must lie between {} and {}",
                    INTERVAL_MS.start(),
                    INTERVAL_MS.end()
                )));
            }
            value::Value::List(words) if name == "match" => {
                words.iter().try_for_each(|word| check_match(word))?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// One word of `match`: a label, one equals sign, a pattern.
fn check_match(word: &str) -> Result<(), AlterError> {
    let wrong = |why: &str| Err(AlterError::Config(format!("{word:?} in match: {why}")));
    let mut sides = word.split('=');
    let (Some(label), Some(pattern), None) = (sides.next(), sides.next(), sides.next()) else {
        return wrong("it must be label=pattern");
    };
    if !LABELS.contains(&label.trim()) {
        return wrong("unknown label");
    }
    if !is_pattern(pattern.trim()) {
        return wrong("not a regular expression");
    }
    Ok(())
}

/// Whether a text can be a regular expression as far as its brackets, repetitions and escapes tell. Patterns are never
/// used here, so a finer check would only guess at what one engine or another accepts.
fn is_pattern(text: &str) -> bool {
    let (mut groups, mut class, mut escaped) = (0_u32, false, false);
    // Whether something that can be repeated came before.
    let mut repeatable = false;
    for c in text.chars() {
        if escaped {
            (escaped, repeatable) = (false, true);
            continue;
        }
        match c {
            '\\' => escaped = true,
            ']' if class => (class, repeatable) = (false, true),
            _ if class => {}
            '[' => class = true,
            '(' => (groups, repeatable) = (groups + 1, false),
            ')' if groups == 0 => return false,
            ')' => (groups, repeatable) = (groups - 1, true),
            '*' | '+' | '?' if !repeatable && groups == 0 => return false,
            '|' => repeatable = false,
            _ => repeatable = true,
        }
    }
    !text.is_empty() && groups == 0 && !class && !escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_need_closed_brackets_and_something_to_repeat() {
        for good in [
            "a", ".*", r"4\..*", "[a-z]+", "(a|b)?", "(?i)x", r"\(", "[(]", "a{2}", "^a$",
        ] {
            assert!(is_pattern(good), "{good}");
        }
        for bad in ["", "[", "(", ")", "a)", "*", "a|*", r"\", "(a", "[a"] {
            assert!(!is_pattern(bad), "{bad}");
        }
    }
}
