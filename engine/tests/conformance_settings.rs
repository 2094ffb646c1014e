//! What eligible leader replicas (KIP-966) change in the settings that clients see and may change, answer by answer as
//! Apache Kafka 4.3.1 gives it.
//!
//! With the feature on, which it is in a new cluster, `min.insync.replicas` is set for all brokers: every topic shows
//! that as the source, it cannot be removed there, and no single broker can have its own. `vectors/settings.txt` holds
//! what a fresh Apache Kafka with `node.id=1` answered:
//! `TURGO_TEST_ENDPOINT=HOST:PORT UPDATE_VECTORS=1 cargo test -p turgo-engine --test conformance_settings`.

mod support;

use support::Broker;
use support::dialogue::{Dialogue, ask};
use turgo_net::Reader;
use turgo_net::api::ApiKey;
use turgo_net::messages::{
    alter_configs as all, api_versions as apis, create_topics as create, describe_configs as configs,
    incremental_alter_configs as some, update_features as features,
};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
/// Where a value comes from.
const ONE_BROKER: i8 = 2;
const ALL_BROKERS: i8 = 3;
const STATIC: i8 = 4;
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SETTING: &str = "min.insync.replicas";
const FEATURE: &str = "eligible.leader.replicas.version";

#[test]
fn the_in_sync_minimum_is_a_setting_of_all_brokers() {
    let broker = Broker::start();
    let mut d = Dialogue::begin(&broker);
    feature(&mut d, "at first");
    created(&mut d);
    described(&mut d, "at first", ("1", ALL_BROKERS));
    changes(&mut d);
    replacements(&mut d);
    levels(&mut d);
    d.judge("settings.txt", &[]);
}

/// What ApiVersions tells of the feature: supported levels, level in force.
fn feature(d: &mut Dialogue, when: &str) {
    let request = asking();
    d.ask(when, ApiKey::ApiVersions, 3..=4, &request, |reader, version| {
        let body = apis::ApiVersionsResponse::decode(reader, version).expect("a body");
        let supported = body.supported_features.iter().find(|f| f.name == FEATURE);
        let finalized = body.finalized_features.iter().find(|f| f.name == FEATURE);
        format!("{supported:?} {finalized:?}")
    });
}

/// The feature's level in force.
fn level(d: &mut Dialogue) -> i16 {
    let answer = d.client.ask(ApiKey::ApiVersions, 4, &asking());
    let body = apis::ApiVersionsResponse::decode(&mut Reader::new(&answer), 4).expect("a body");
    let found = body.finalized_features.iter().find(|f| f.name == FEATURE);
    found.map_or(0, |f| f.max_version_level)
}

fn asking() -> apis::ApiVersionsRequest<'static> {
    apis::ApiVersionsRequest {
        client_software_name: "conformance".into(),
        client_software_version: "1".into(),
    }
}

/// The settings of a new topic, as its creation answers them.
fn created(d: &mut Dialogue) {
    let topic = |name: &'static str, configs| create::CreateTopicsRequest {
        topics: vec![create::CreatableTopic {
            name: name.into(),
            num_partitions: 1,
            replication_factor: 1,
            configs,
            ..Default::default()
        }],
        timeout_ms: 20_000,
        ..Default::default()
    };
    let own = vec![create::CreatableTopicConfig {
        name: SETTING.into(),
        value: Some("1".into()),
        ..Default::default()
    }];
    for (name, configs) in [("plain", vec![]), ("own", own)] {
        let request = topic(name, configs);
        d.ask(name, ApiKey::CreateTopics, 7..=7, &request, |reader, version| {
            let body = create::CreateTopicsResponse::decode(reader, version).expect("a body");
            let topic = &body.topics[0];
            let settings = topic.configs.iter().flatten();
            let setting = settings.filter(|c| c.name == SETTING).collect::<Vec<_>>();
            format!("{} {setting:?}", topic.error_code)
        });
    }
}

/// The setting of a topic with and without its own value, of the broker, and of all brokers, once the broker has taken
/// the value on that the topic without its own should show by now: (value, source).
fn described(d: &mut Dialogue, when: &str, expected: (&str, i8)) {
    while plain(d) != (expected.0.to_owned(), expected.1) {}
    for (kind, name) in [(TOPIC, "plain"), (TOPIC, "own"), (BROKER, "1"), (BROKER, "")] {
        let case = format!("{kind} {name:?} {when}");
        let request = describe(kind, name);
        d.ask(
            &case,
            ApiKey::DescribeConfigs,
            1..=4,
            &request,
            |reader, version| {
                let body = configs::DescribeConfigsResponse::decode(reader, version).expect("a body");
                let result = &body.results[0];
                let settings = result.configs.iter().map(|c| {
                    // Node files differ, and so does whether they name the setting.
                    let synonyms = c.synonyms.iter().filter(|s| s.source != STATIC);
                    let synonyms: Vec<_> = synonyms.map(|s| (s.value.as_deref(), s.source)).collect();
                    format!(
                        "{:?} from {}, read only: {}, {synonyms:?}",
                        c.value, c.config_source, c.read_only
                    )
                });
                format!("{} {:?}", result.error_code, settings.collect::<Vec<_>>())
            },
        );
    }
}

/// Value and source that a topic without its own value shows.
fn plain(d: &mut Dialogue) -> (String, i8) {
    let answer = d
        .client
        .ask(ApiKey::DescribeConfigs, 4, &describe(TOPIC, "plain"));
    let body = configs::DescribeConfigsResponse::decode(&mut Reader::new(&answer), 4).expect("a body");
    let shown = body.results[0].configs.first();
    // A topic that its broker does not know yet has no settings.
    shown.map_or((String::new(), 0), |c| {
        (c.value.as_deref().unwrap_or_default().to_owned(), c.config_source)
    })
}

fn describe(kind: i8, name: &'static str) -> configs::DescribeConfigsRequest<'static> {
    configs::DescribeConfigsRequest {
        resources: vec![configs::DescribeConfigsResource {
            resource_type: kind,
            resource_name: name.into(),
            configuration_keys: Some(vec![SETTING.into()]),
        }],
        include_synonyms: true,
        ..Default::default()
    }
}

fn incremental(
    resource: &'static str,
    op: i8,
    value: Option<&'static str>,
    validate_only: bool,
) -> some::IncrementalAlterConfigsRequest<'static> {
    some::IncrementalAlterConfigsRequest {
        resources: vec![some::AlterConfigsResource {
            resource_type: BROKER,
            resource_name: resource.into(),
            configs: vec![some::AlterableConfig {
                name: SETTING.into(),
                config_operation: op,
                value: value.map(Into::into),
            }],
        }],
        validate_only,
    }
}

fn changes(d: &mut Dialogue) {
    for (name, resource, op, value, validate_only) in [
        ("one broker's", "1", SET, Some("1"), false),
        ("one broker's, checked only", "1", SET, Some("2"), true),
        ("one broker's, wrong", "1", SET, Some("none"), false),
        ("one broker's, removed", "1", DELETE, None, false),
        ("one broker's, appended", "1", APPEND, Some("1"), false),
        ("removed", "", DELETE, None, false),
        ("removed, checked only", "", DELETE, None, true),
        ("zero", "", SET, Some("0"), false),
        ("no number", "", SET, Some("none"), false),
        ("nothing", "", SET, None, false),
        ("two, checked only", "", SET, Some("2"), true),
        ("two", "", SET, Some("2"), false),
    ] {
        let request = incremental(resource, op, value, validate_only);
        ask!(
            d,
            name,
            IncrementalAlterConfigs,
            1..=1,
            some::IncrementalAlterConfigsResponse,
            request
        );
    }
    described(d, "after two", ("2", ALL_BROKERS));
}

fn replacements(d: &mut Dialogue) {
    let request =
        |resource: &'static str, settings: &[(&'static str, &'static str)]| all::AlterConfigsRequest {
            resources: vec![all::AlterConfigsResource {
                resource_type: BROKER,
                resource_name: resource.into(),
                configs: settings
                    .iter()
                    .map(|(name, value)| all::AlterableConfig {
                        name: (*name).into(),
                        value: Some((*value).into()),
                    })
                    .collect(),
            }],
            validate_only: false,
        };
    for (name, resource, settings, then) in [
        ("one broker's", "1", &[(SETTING, "1")][..], "2"),
        ("one broker's, another", "1", &[("log.cleaner.threads", "1")], "2"),
        ("one broker's, none", "1", &[], "2"),
        ("removed with another", "", &[("log.cleaner.threads", "1")], "2"),
        ("removed", "", &[], "2"),
        ("one", "", &[(SETTING, "1")], "1"),
    ] {
        let request = request(resource, settings);
        ask!(d, name, AlterConfigs, 2..=2, all::AlterConfigsResponse, request);
        described(d, &format!("after {name}"), (then, ALL_BROKERS));
    }
}

fn update(level: i16, upgrade_type: i8, validate_only: bool) -> features::UpdateFeaturesRequest<'static> {
    features::UpdateFeaturesRequest {
        timeout_ms: 20_000,
        feature_updates: vec![features::FeatureUpdateKey {
            feature: FEATURE.into(),
            max_version_level: level,
            upgrade_type,
            ..Default::default()
        }],
        validate_only,
    }
}

/// Off, with what is then allowed, and on again.
fn levels(d: &mut Dialogue) {
    for (name, level, upgrade_type, validate_only) in [
        ("beyond", 2, 1, false),
        ("down by an upgrade", 0, 1, false),
        ("off, checked only", 0, 2, true),
        ("off", 0, 2, false),
    ] {
        let request = update(level, upgrade_type, validate_only);
        ask!(
            d,
            name,
            UpdateFeatures,
            2..=2,
            features::UpdateFeaturesResponse,
            request
        );
    }
    while level(d) != 0 {}
    feature(d, "off");
    described(d, "off", ("1", ALL_BROKERS));
    for (name, resource, op, value) in [
        ("off, one broker's", "1", SET, Some("2")),
        ("off, removed", "", DELETE, None),
    ] {
        let request = incremental(resource, op, value, false);
        ask!(
            d,
            name,
            IncrementalAlterConfigs,
            1..=1,
            some::IncrementalAlterConfigsResponse,
            request
        );
        described(d, &format!("after {name}"), ("2", ONE_BROKER));
    }
    let request = update(1, 1, false);
    ask!(
        d,
        "on again",
        UpdateFeatures,
        2..=2,
        features::UpdateFeaturesResponse,
        request
    );
    while level(d) != 1 {}
    described(d, "on again", ("1", ALL_BROKERS));
    feature(d, "on again");
}
