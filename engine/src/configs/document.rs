//! `docs/configuration.md`, written from the declarations.

use std::fmt::Write;

use super::def::{Check, ConfigDef, Dynamic, Effect, Unit};
use super::{broker_configs, client_metrics_configs, group_configs, topic_configs};

/// The whole page.
pub fn markdown() -> String {
    let mut out = String::from(
        "# Topic and broker settings\n\n\
         Written from the declarations in `engine/src/configs`; `UPDATE_DOCS=1 cargo test -p turgo-engine \
         configuration_page` writes it anew.\n\n\
         Names, types, defaults and ranges are those of Apache Kafka 4.3, so its tools work unchanged. A topic's own \
         value wins over one set live for the broker, which wins over one set live for all brokers, which wins over \
         the node file, which wins over the default; DescribeConfigs shows that chain as sources and synonyms.\n\n\
         **effect**: *yes* steers the broker; *none* is accepted, checked, stored and described, and nothing depends \
         on it. **change**: *live* for a broker or for all, *live, per broker* for one at a time, *start* only in the \
         node file. Names of broker settings that are not listed are stored for the cluster's sake and never shown, \
         as in Kafka; unknown names of topic settings are refused.\n\n## Topics\n\n\
         | setting | type | default | range | effect | broker setting behind it | what it does |\n\
         |-|-|-|-|-|-|-|\n",
    );
    for def in topic_configs() {
        let behind: Vec<String> = def.synonyms.iter().map(|(name, _)| format!("`{name}`")).collect();
        row(&mut out, def, &behind.join(", "));
    }
    out.push_str(
        "\n## Brokers\n\n| setting | type | default | range | effect | change | what it does |\n|-|-|-|-|-|-|-|\n",
    );
    for def in broker_configs() {
        let change = match def.dynamic {
            Dynamic::ReadOnly => "start",
            Dynamic::PerBroker => "live, per broker",
            Dynamic::ClusterWide => "live",
        };
        row(&mut out, def, change);
    }
    out.push_str(
        "\n## Groups\n\n| setting | type | default | range | effect | broker setting behind it | what it does |\n\
         |-|-|-|-|-|-|-|\n",
    );
    for def in group_configs() {
        let behind: Vec<String> = def.synonyms.iter().map(|(name, _)| format!("`{name}`")).collect();
        row(&mut out, def, &behind.join(", "));
    }
    out.push_str(
        "\n## Client metrics\n\n| setting | type | default | range | effect | broker setting behind it | what it does |\n\
         |-|-|-|-|-|-|-|\n",
    );
    for def in client_metrics_configs() {
        row(&mut out, def, "");
    }
    out
}

fn row(out: &mut String, def: &ConfigDef, extra: &str) {
    let default = match def.default {
        None => "none".to_owned(),
        Some("") => "empty".to_owned(),
        Some(text) => format!("`{text}`"),
    };
    let unit = match def.unit {
        Unit::None => String::new(),
        unit => format!(" ({})", unit.symbol()),
    };
    let effect = match def.effect {
        Effect::Applied => "yes",
        Effect::Accepted => "none",
    };
    let kind = def.kind.name().to_lowercase();
    let range = range(&def.check);
    writeln!(
        out,
        "| `{}` | {kind}{unit} | {default} | {range} | {effect} | {extra} | {} |",
        def.name, def.doc
    )
    .expect("a String takes everything");
}

fn range(check: &Check) -> String {
    match check {
        Check::Any => String::new(),
        Check::Min(min) => format!("≥ {min}"),
        Check::Range(min, max) => format!("{min} to {max}"),
        Check::RangeOr(min, max, other) => format!("{min} to {max}, or {other}"),
        Check::Fraction(min, max) => format!("{min} to {max}"),
        Check::OneOf(words) | Check::OneOfNoCase(words) => words
            .iter()
            .map(|w| format!("`{w}`"))
            .collect::<Vec<_>>()
            .join(", "),
        Check::ListOf(words) => {
            format!(
                "any of {}",
                words
                    .iter()
                    .map(|w| format!("`{w}`"))
                    .collect::<Vec<_>>()
                    .join(", ")
            )
        }
        Check::Words(_) => "words".into(),
        Check::ThrottledReplicas => "`*` or partition:broker".into(),
        Check::NonEmpty => "not empty".into(),
    }
}
