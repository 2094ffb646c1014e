use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

fn op(name: &str, op: OpType, value: Option<&str>) -> AlterOp {
    AlterOp {
        name: name.into(),
        op,
        value: value.map(Into::into),
    }
}

fn no_default(_: &str) -> Option<String> {
    None
}

fn one(name: &str, text: &str) -> Result<(), AlterError> {
    validate_topic_overrides(&map(&[(name, text)]), no_default)
}

#[test]
fn tables_are_sorted_and_every_default_passes_its_own_check() {
    let brokers: Vec<_> = broker_configs().collect();
    let tables: [Vec<&ConfigDef>; 3] = [
        topic_configs().iter().collect(),
        brokers,
        group_configs().iter().collect(),
    ];
    for table in &tables {
        assert!(table.is_sorted_by(|a, b| a.name < b.name));
        for def in table {
            if let Some(text) = def.default {
                let value = parse(def, text).unwrap_or_else(|e| panic!("{e}"));
                assert_eq!(value.render(), text, "{} prints as declared", def.name);
            }
            assert!(def.doc.ends_with('.') && !def.doc.contains('|'), "{}", def.name);
            for (synonym, _) in def.synonyms {
                assert!(
                    broker_config(synonym).is_some(),
                    "{synonym} behind {} is declared",
                    def.name
                );
            }
        }
    }
    for def in topic_configs() {
        let none = BTreeMap::new();
        let layers = Layers {
            broker: &none,
            cluster: &none,
            node: &none,
        };
        assert_eq!(
            layers.default_of(def).as_deref(),
            def.default,
            "{} has the default of its broker name",
            def.name
        );
    }
}

/// Verdicts recorded from a Kafka 4.3.1 broker: (name, value, accepted).
#[test]
fn values_are_judged_as_a_live_kafka_judges_them() {
    let recorded = [
        ("foo", "bar", false),
        ("retention.ms", "abc", false),
        ("retention.ms", "-2", false),
        ("retention.ms", " 5 ", true),
        ("retention.ms", "", false),
        ("retention.ms", "5.0", false),
        ("retention.ms", "+5", true),
        ("retention.ms", "9223372036854775808", false),
        ("segment.bytes", "1048575", false),
        ("segment.bytes", "2147483648", false),
        ("cleanup.policy", "", true),
        ("cleanup.policy", "delete,compact", true),
        ("cleanup.policy", " delete , compact ", true),
        ("cleanup.policy", "delete,delete", true),
        ("cleanup.policy", "foo", false),
        ("cleanup.policy", "delete,,compact", false),
        ("cleanup.policy", ",delete", false),
        ("cleanup.policy", "delete,", false),
        ("cleanup.policy", "none", false),
        ("compression.type", "foo", false),
        ("compression.type", "GZIP", false),
        ("compression.type", " gzip ", true),
        ("compression.type", "", false),
        ("preallocate", "TRUE", true),
        ("preallocate", " true ", true),
        ("preallocate", "yes", false),
        ("min.cleanable.dirty.ratio", "1.5", false),
        ("min.cleanable.dirty.ratio", "0.3", true),
        ("min.cleanable.dirty.ratio", "1e-1", true),
        ("min.cleanable.dirty.ratio", "0.3f", true),
        ("compression.gzip.level", "0", false),
        ("compression.gzip.level", "-1", true),
        ("compression.gzip.level", "10", false),
        ("compression.zstd.level", "23", false),
        ("leader.replication.throttled.replicas", "*", true),
        ("leader.replication.throttled.replicas", "0:1,1:1", true),
        ("leader.replication.throttled.replicas", "foo", false),
        ("leader.replication.throttled.replicas", "none", false),
        ("leader.replication.throttled.replicas", "", true),
        ("message.timestamp.type", "createtime", false),
        ("message.timestamp.type", "LogAppendTime", true),
        ("segment.ms", "0", false),
        ("min.insync.replicas", "2", true),
        ("min.insync.replicas", "0", false),
        ("remote.storage.enable", "true", false),
        ("local.retention.ms", "5", true),
        ("max.compaction.lag.ms", "0", false),
        ("flush.messages", "0", false),
        ("message.format.version", "2.0", false),
        ("message.downconversion.enable", "true", false),
        ("remote.log.delete.on.disable", "true", true),
        ("unclean.leader.election.enable", "maybe", false),
    ];
    for (name, text, accepted) in recorded {
        let verdict = one(name, text);
        assert_eq!(verdict.is_ok(), accepted, "{name}={text:?}: {verdict:?}");
        assert!(
            !matches!(verdict, Err(AlterError::Request(_))),
            "{name}: topics answer INVALID_CONFIG"
        );
    }
    assert!(one("durability", "memory").is_ok());
    assert!(one("durability", "tape").is_err());
}

#[test]
fn compaction_lags_are_judged_together() {
    let both = map(&[("min.compaction.lag.ms", "100"), ("max.compaction.lag.ms", "10")]);
    assert!(matches!(
        validate_topic_overrides(&both, no_default),
        Err(AlterError::Config(_))
    ));
    let against_default = map(&[("min.compaction.lag.ms", "100")]);
    let default = |name: &str| (name == "max.compaction.lag.ms").then(|| "10".to_owned());
    assert!(validate_topic_overrides(&against_default, default).is_err());
}

#[test]
fn incremental_operations_follow_the_peer() {
    let default = |name: &str| (name == "cleanup.policy").then(|| "delete".to_owned());
    let apply = |existing: &[(&str, &str)], o: AlterOp| {
        apply_incremental(ResourceType::Topic, &map(existing), &[o], default).and_then(|result| {
            validate_topic_overrides(&result, no_default)?;
            Ok(result)
        })
    };
    let policy = "cleanup.policy";
    assert_eq!(
        apply(&[], op(policy, OpType::Append, Some("compact"))),
        Ok(map(&[(policy, "delete,compact")]))
    );
    let set = [(policy, "delete,compact")];
    assert_eq!(
        apply(&set, op(policy, OpType::Append, Some("delete, compact"))),
        Ok(map(&set))
    );
    assert_eq!(
        apply(&set, op(policy, OpType::Subtract, Some("delete"))),
        Ok(map(&[(policy, "compact")]))
    );
    assert_eq!(
        apply(&set, op(policy, OpType::Subtract, Some("foo"))),
        Ok(map(&set))
    );
    assert_eq!(
        apply(&set, op(policy, OpType::Subtract, Some("delete,compact"))),
        Ok(map(&[(policy, "")]))
    );
    assert!(matches!(
        apply(&set, op(policy, OpType::Append, Some(""))),
        Err(AlterError::Config(_))
    ));
    assert!(matches!(
        apply(&set, op(policy, OpType::Append, Some("foo"))),
        Err(AlterError::Config(_))
    ));
    for name in ["retention.ms", "foo"] {
        for kind in [OpType::Append, OpType::Subtract] {
            assert!(
                matches!(apply(&[], op(name, kind, Some("5"))), Err(AlterError::Config(_))),
                "{name}"
            );
        }
    }
    assert_eq!(apply(&set, op(policy, OpType::Delete, None)), Ok(map(&[])));
    assert_eq!(
        apply(&[], op("foo", OpType::Delete, None)),
        Ok(map(&[])),
        "deleting the unknown does nothing"
    );
    assert_eq!(
        apply(&[], op("retention.ms", OpType::Set, Some(" 77 "))),
        Ok(map(&[("retention.ms", " 77 ")]))
    );
    assert!(matches!(
        check_resource(&[op("retention.ms", OpType::Set, None)]),
        Err(AlterError::Request(_))
    ));
    let twice = [
        op("retention.ms", OpType::Set, Some("5")),
        op("retention.ms", OpType::Delete, None),
    ];
    assert!(matches!(check_resource(&twice), Err(AlterError::Request(_))));
}

#[test]
fn synonyms_and_sources_match_the_peer() {
    let none = BTreeMap::new();
    let show = |overrides: &BTreeMap<String, String>, layers: &Layers<'_>, name: &str| {
        let d = describe_topic(overrides, layers, Some(&[name])).remove(0);
        let chain: Vec<_> = d
            .synonyms
            .iter()
            .map(|s| {
                format!(
                    "{}={}@{}",
                    s.name,
                    s.value.as_deref().unwrap_or("null"),
                    s.source.id()
                )
            })
            .collect();
        (d.value.unwrap_or_default(), d.source.id(), chain.join(";"))
    };
    let plain = Layers {
        broker: &none,
        cluster: &none,
        node: &none,
    };
    assert_eq!(
        show(&none, &plain, "retention.ms"),
        ("604800000".into(), 5, String::new())
    );
    assert_eq!(
        show(&none, &plain, "cleanup.policy"),
        ("delete".into(), 5, "log.cleanup.policy=delete@5".into())
    );
    let broker = map(&[("log.retention.ms", "1000"), ("message.max.bytes", "2000000")]);
    let layers = Layers {
        broker: &broker,
        cluster: &none,
        node: &none,
    };
    let set = map(&[("retention.ms", "+77")]);
    assert_eq!(
        show(&set, &layers, "retention.ms"),
        (
            "77".into(),
            1,
            "retention.ms=77@1;log.retention.ms=1000@2;log.retention.hours=168@5".into()
        )
    );
    assert_eq!(
        show(&none, &layers, "max.message.bytes"),
        (
            "2000000".into(),
            2,
            "message.max.bytes=2000000@2;message.max.bytes=1048588@5".into()
        )
    );
    let node = map(&[("log.retention.hours", "2")]);
    let layers = Layers {
        broker: &none,
        cluster: &none,
        node: &node,
    };
    assert_eq!(show(&none, &layers, "retention.ms").0, "7200000");
    let cluster = map(&[("min.insync.replicas", "1")]);
    let layers = Layers {
        broker: &none,
        cluster: &cluster,
        node: &cluster,
    };
    assert_eq!(
        show(&none, &layers, "min.insync.replicas").2,
        "min.insync.replicas=1@3;min.insync.replicas=1@4;min.insync.replicas=1@5"
    );

    let described = describe_broker(&plain, None);
    let hours = described
        .iter()
        .find(|d| d.name == "log.retention.hours")
        .expect("declared");
    assert!(
        hours.read_only && hours.value.as_deref() == Some("168") && hours.source == ConfigSource::Default
    );
    let secret = map(&[("foo.bar", "3"), ("ssl.key.password", "x")]);
    let layers = Layers {
        broker: &secret,
        cluster: &none,
        node: &none,
    };
    for name in ["foo.bar", "ssl.key.password"] {
        let d = describe_broker(&layers, Some(&[name])).remove(0);
        assert_eq!(
            (d.value, d.sensitive, d.source),
            (None, true, ConfigSource::DynamicBroker)
        );
        assert!(d.synonyms.iter().all(|s| s.value.is_none()));
    }
    let only = describe_broker_default(&cluster, None);
    assert_eq!(only.len(), 1);
    assert_eq!(only[0].source, ConfigSource::DynamicDefaultBroker);
}

#[test]
fn broker_updates_follow_the_peer() {
    for cluster in [false, true] {
        let judge = |name, text| check_broker_update(name, text, cluster);
        assert!(judge("num.partitions", Some("3")).is_err());
        assert!(judge("log.retention.hours", Some("1")).is_err());
        assert!(judge("log.dirs", Some("/tmp")).is_err());
        assert!(judge("ssl.keystore.password", Some("x")).is_err());
        assert!(judge("log.retention.ms", Some("abc")).is_err());
        assert!(judge("log.segment.bytes", Some("1")).is_err());
        assert_eq!(judge("log.retention.ms", Some("1000")), Ok(BrokerUpdate::Allowed));
        assert_eq!(judge("log.retention.ms", None), Ok(BrokerUpdate::Allowed));
        assert_eq!(judge("foo.bar", Some("3")), Ok(BrokerUpdate::Custom));
        assert_eq!(judge("retention.ms", Some("12")), Ok(BrokerUpdate::Custom));
        assert_eq!(
            judge("leader.replication.throttled.rate", Some("100")),
            Ok(BrokerUpdate::Allowed)
        );
    }
}

#[test]
fn typed_settings_follow_the_chain() {
    let none = BTreeMap::new();
    let defaults = TopicSettings::default();
    assert!(defaults.cleanup_delete && !defaults.cleanup_compact);
    assert_eq!(defaults.durability, Durability::Disk);
    assert_eq!(
        (defaults.retention_ms, defaults.segment_bytes),
        (604_800_000, 1 << 30)
    );
    let cluster = map(&[
        ("log.retention.minutes", "1"),
        ("log.durability", "memory"),
        ("message.max.bytes", "9"),
    ]);
    let layers = Layers {
        broker: &none,
        cluster: &cluster,
        node: &none,
    };
    let topic = map(&[("cleanup.policy", "compact"), ("max.message.bytes", "10")]);
    let settings = TopicSettings::resolve(&topic, &layers);
    assert_eq!(
        (settings.retention_ms, settings.durability),
        (60_000, Durability::Memory)
    );
    assert_eq!(settings.max_message_bytes, 10);
    assert!(settings.cleanup_compact && !settings.cleanup_delete);
    let node = NodeSettings::default();
    assert!(node.auto_create_topics && node.num_partitions == 1 && node.offsets_topic_partitions == 50);
    assert_eq!(node.offsets_retention_ms, 7 * 86_400_000);
}

#[test]
fn doubles_print_as_java_prints_them() {
    for (value, text) in [
        (0.1, "0.1"),
        (0.5, "0.5"),
        (1.0, "1.0"),
        (0.0001, "1.0E-4"),
        (f64::MAX, "1.7976931348623157E308"),
        (1e7, "1.0E7"),
    ] {
        assert_eq!(format_double(value), text);
    }
}

#[test]
fn log_levels_are_judged_as_the_peer_does() {
    assert_eq!(
        check_logger_ops(&[op("root", OpType::Set, Some("WARN"))]),
        Ok(Some("WARN"))
    );
    assert!(matches!(
        check_logger_ops(&[op("root", OpType::Set, Some("FOO"))]),
        Err(AlterError::Config(_))
    ));
    assert!(matches!(
        check_logger_ops(&[op("x", OpType::Set, Some("WARN"))]),
        Err(AlterError::Config(_))
    ));
    assert!(matches!(
        check_logger_ops(&[op("root", OpType::Delete, None)]),
        Err(AlterError::Request(_))
    ));
    assert!(matches!(
        check_logger_ops(&[op("root", OpType::Append, Some("INFO"))]),
        Err(AlterError::Request(_))
    ));
}

#[test]
fn configuration_page_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    let page = document::markdown();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs")).expect("docs directory");
        std::fs::write(path, &page).expect("page written");
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        found == page,
        "docs/configuration.md is not what the code says; UPDATE_DOCS=1 writes it anew"
    );
}

proptest! {
    /// Any text for any setting is judged without a panic, and what is accepted stays accepted in canonical form.
    #[test]
    fn canonical_form_is_stable(index in 0usize..1000, text in "[ ,:*+\\-0-9a-zA-Z.\u{e9}]{0,24}") {
        let all: Vec<&ConfigDef> = topic_configs().iter().chain(broker_configs()).chain(group_configs()).collect();
        let def = all[index % all.len()];
        if let Ok(value) = parse(def, &text) {
            let again = parse(def, &value.render());
            prop_assert_eq!(again.map(|v| v.render()), Ok(value.render()));
        }
    }
}
