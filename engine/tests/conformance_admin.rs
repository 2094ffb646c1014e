//! Administration, answer by answer as Apache Kafka 4.3.1 gives it: good, wrong and odd requests in all versions.
//!
//! `vectors/admin.txt` holds what a fresh Apache Kafka with `node.id=1` answered (see [`support::dialogue`]):
//! `TURGO_TEST_ENDPOINT=HOST:PORT UPDATE_VECTORS=1 cargo test -p turgo-engine --test conformance_admin`. [`DEVIATIONS`]
//! says where we differ.

mod support;

use support::Broker;
use support::dialogue::{Dialogue, ask};
use turgo_net::Reader;
use turgo_net::api::ApiKey;
use turgo_net::messages::{
    alter_configs as all, alter_partition_reassignments as reassign, alter_replica_log_dirs as move_dirs,
    create_topics as create, describe_configs as configs, describe_log_dirs as dirs,
    describe_quorum as quorum, describe_topic_partitions as pages, elect_leaders as elect,
    incremental_alter_configs as some, list_config_resources as resources,
    list_partition_reassignments as reassigning, unregister_broker as unregister,
    update_features as features,
};

/// Cases in which we differ, and why; `*` at the end for any case that begins so.
const DEVIATIONS: &[(&str, &str)] = &[(
    "DescribeQuorum v2 metadata",
    "there is no listener for controllers alone: the one for clients is named",
)];

#[test]
fn administration_is_answered_as_by_kafka() {
    let broker = Broker::start();
    let mut dialogue = Dialogue::begin(&broker);
    topics(&mut dialogue);
    leaders(&mut dialogue);
    reassignments(&mut dialogue);
    log_dirs(&mut dialogue);
    cluster(&mut dialogue);
    client_metrics(&mut dialogue);
    groups(&mut dialogue);
    resource_lists(&mut dialogue);
    topic_pages(&mut dialogue);
    dialogue.judge("admin.txt", DEVIATIONS);
}

fn topics(d: &mut Dialogue) {
    let topic = |name: &'static str, num_partitions| create::CreatableTopic {
        name: name.into(),
        num_partitions,
        replication_factor: 1,
        ..Default::default()
    };
    let request = create::CreateTopicsRequest {
        topics: vec![topic("alpha", 3), topic("beta", 1), topic("gamma", 2)],
        timeout_ms: 20_000,
        ..Default::default()
    };
    // Wait until they are known everywhere.
    d.client.ask(ApiKey::CreateTopics, 5, &request);
    let all = elect::ElectLeadersRequest {
        election_type: 0,
        topic_partitions: Some(vec![election("gamma", &[0, 1])]),
        timeout_ms: 10_000,
    };
    loop {
        let answer = d.client.ask(ApiKey::ElectLeaders, 2, &all);
        let elected = elect::ElectLeadersResponse::decode(&mut Reader::new(&answer), 2).expect("a body");
        let codes = elected
            .replica_election_results
            .iter()
            .flat_map(|t| &t.partition_result);
        if codes.map(|p| p.error_code).all(|code| code == 84) {
            break;
        }
    }
}

fn election(topic: &'static str, partitions: &[i32]) -> elect::TopicPartitions<'static> {
    elect::TopicPartitions {
        topic: topic.into(),
        partitions: partitions.to_vec().into(),
    }
}

/// All topics come in the order of a hash table.
fn topic_order_is_chance(name: &str) -> bool {
    name.starts_with("all")
}

fn leaders(d: &mut Dialogue) {
    for (name, election_type, topic_partitions) in [
        (
            "preferred",
            0,
            Some(vec![election("alpha", &[0, 2]), election("beta", &[0])]),
        ),
        ("unclean", 1, Some(vec![election("alpha", &[0])])),
        (
            "missing",
            0,
            Some(vec![election("alpha", &[9, 0, -1]), election("nope", &[0])]),
        ),
        (
            "twice",
            0,
            Some(vec![election("alpha", &[0, 0]), election("alpha", &[0, 1])]),
        ),
        ("none", 0, Some(vec![])),
        ("no partitions", 0, Some(vec![election("alpha", &[])])),
        ("all", 0, None),
        ("all unclean", 1, None),
        ("odd type", 7, Some(vec![election("alpha", &[0])])),
    ] {
        let request = elect::ElectLeadersRequest {
            election_type,
            topic_partitions,
            timeout_ms: 10_000,
        };
        // The odd type cannot be read by Kafka, which closes the connection.
        if name != "odd type" {
            d.ask(name, ApiKey::ElectLeaders, 0..=2, &request, |reader, version| {
                let mut body = elect::ElectLeadersResponse::decode(reader, version).expect("a body");
                if topic_order_is_chance(name) {
                    body.replica_election_results.sort_by_key(|t| t.topic.to_string());
                }
                format!("{body:?}")
            });
        }
    }
}

fn reassignments(d: &mut Dialogue) {
    let part = |partition_index, replicas: Option<&[i32]>| reassign::ReassignablePartition {
        partition_index,
        replicas: replicas.map(|r| r.to_vec()),
    };
    let topic = |name: &'static str, partitions| reassign::ReassignableTopic {
        name: name.into(),
        partitions,
    };
    for (name, topics) in [
        (
            "to where it is",
            vec![topic("alpha", vec![part(0, Some(&[1])), part(1, Some(&[1]))])],
        ),
        ("to nowhere", vec![topic("alpha", vec![part(0, Some(&[2]))])]),
        (
            "to here and nowhere",
            vec![topic("alpha", vec![part(0, Some(&[1, 2]))])],
        ),
        (
            "to here twice",
            vec![topic("alpha", vec![part(0, Some(&[1, 1]))])],
        ),
        ("to none", vec![topic("alpha", vec![part(0, Some(&[]))])]),
        ("to -1", vec![topic("alpha", vec![part(0, Some(&[-1]))])]),
        ("cancel", vec![topic("alpha", vec![part(0, None)])]),
        (
            "missing",
            vec![
                topic("nope", vec![part(0, Some(&[1])), part(1, None)]),
                topic("alpha", vec![part(7, Some(&[1])), part(-1, None)]),
            ],
        ),
        ("nothing", vec![]),
        ("no partitions", vec![topic("alpha", vec![])]),
        (
            "twice",
            vec![topic("alpha", vec![part(0, Some(&[1])), part(0, None)])],
        ),
    ] {
        for (suffix, allow_replication_factor_change) in [("", true), (" same factor", false)] {
            let request = reassign::AlterPartitionReassignmentsRequest {
                timeout_ms: 10_000,
                allow_replication_factor_change,
                topics: topics.clone(),
            };
            let name = format!("{name}{suffix}");
            ask!(
                d,
                &name,
                AlterPartitionReassignments,
                0..=1,
                reassign::AlterPartitionReassignmentsResponse,
                request
            );
        }
    }
    let listed = |name: &'static str, indexes: &[i32]| reassigning::ListPartitionReassignmentsTopics {
        name: name.into(),
        partition_indexes: indexes.to_vec().into(),
    };
    for (name, topics) in [
        ("all", None),
        (
            "some",
            Some(vec![
                listed("alpha", &[0, 1]),
                listed("nope", &[0]),
                listed("alpha", &[9]),
            ]),
        ),
        ("none", Some(vec![])),
    ] {
        let request = reassigning::ListPartitionReassignmentsRequest {
            timeout_ms: 10_000,
            topics,
        };
        ask!(
            d,
            name,
            ListPartitionReassignments,
            0..=0,
            reassigning::ListPartitionReassignmentsResponse,
            request
        );
    }
}

fn log_dirs(d: &mut Dialogue) {
    let topic = |name: &'static str, partitions: &[i32]| dirs::DescribableLogDirTopic {
        topic: name.into(),
        partitions: partitions.to_vec().into(),
    };
    for (name, topics) in [
        ("some", Some(vec![topic("alpha", &[0]), topic("beta", &[0])])),
        ("missing", Some(vec![topic("beta", &[0, 5]), topic("nope", &[0])])),
        ("none", Some(vec![])),
        ("no partitions", Some(vec![topic("alpha", &[])])),
    ] {
        let request = dirs::DescribeLogDirsRequest { topics };
        d.ask(
            name,
            ApiKey::DescribeLogDirs,
            1..=5,
            &request,
            |reader, version| {
                let mut body = dirs::DescribeLogDirsResponse::decode(reader, version).expect("a body");
                for topic in body.results.iter_mut().flat_map(|r| &mut r.topics) {
                    topic.partitions.sort_by_key(|p| p.partition_index);
                }
                body.results
                    .iter_mut()
                    .for_each(|r| r.topics.sort_by_key(|t| t.name.to_string()));
                format!("{body:?}")
            },
        );
    }
    let all = d.client.ask(
        ApiKey::DescribeLogDirs,
        4,
        &dirs::DescribeLogDirsRequest { topics: None },
    );
    let all = dirs::DescribeLogDirsResponse::decode(&mut Reader::new(&all), 4).expect("a body");
    let here = all.results[0].log_dir.to_string();
    let topic = |name: &'static str, partitions: &[i32]| move_dirs::AlterReplicaLogDirTopic {
        name: name.into(),
        partitions: partitions.to_vec().into(),
    };
    for (name, path) in [
        ("here", here.as_str()),
        ("elsewhere", "/nowhere/at/all"),
        ("relative", "nowhere"),
        ("empty", ""),
    ] {
        let request = move_dirs::AlterReplicaLogDirsRequest {
            dirs: vec![move_dirs::AlterReplicaLogDir {
                path: path.to_owned().into(),
                topics: vec![topic("alpha", &[0, 9]), topic("nope", &[0])],
            }],
        };
        d.ask(
            name,
            ApiKey::AlterReplicaLogDirs,
            1..=2,
            &request,
            |reader, version| {
                let mut body =
                    move_dirs::AlterReplicaLogDirsResponse::decode(reader, version).expect("a body");
                body.results.sort_by_key(|t| t.topic_name.to_string());
                for topic in &mut body.results {
                    topic.partitions.sort_by_key(|p| p.partition_index);
                }
                format!("{body:?}")
            },
        );
    }
    let nothing = move_dirs::AlterReplicaLogDirsRequest { dirs: vec![] };
    ask!(
        d,
        "nothing",
        AlterReplicaLogDirs,
        1..=2,
        move_dirs::AlterReplicaLogDirsResponse,
        nothing
    );
}

fn cluster(d: &mut Dialogue) {
    let topic = |name: &'static str, partitions: &[i32]| quorum::RequestTopicData {
        topic_name: name.into(),
        partitions: partitions
            .iter()
            .map(|partition_index| quorum::RequestPartitionData {
                partition_index: *partition_index,
            })
            .collect(),
    };
    const LOG: &str = "__cluster_metadata";
    for (name, topics) in [
        ("metadata", vec![topic(LOG, &[0])]),
        ("another topic", vec![topic("alpha", &[0])]),
        ("another partition", vec![topic(LOG, &[1])]),
        ("both partitions", vec![topic(LOG, &[0, 1])]),
        ("twice", vec![topic(LOG, &[0]), topic(LOG, &[0])]),
        ("nothing", vec![]),
        ("no partitions", vec![topic(LOG, &[])]),
    ] {
        let request = quorum::DescribeQuorumRequest { topics };
        ask!(
            d,
            name,
            DescribeQuorum,
            0..=2,
            quorum::DescribeQuorumResponse,
            request
        );
    }
    for (name, broker_id) in [("missing", 99), ("negative", -1)] {
        let request = unregister::UnregisterBrokerRequest { broker_id };
        ask!(
            d,
            name,
            UnregisterBroker,
            0..=0,
            unregister::UnregisterBrokerResponse,
            request
        );
    }
    let update = |feature: &'static str, max_version_level, upgrade_type| features::FeatureUpdateKey {
        feature: feature.into(),
        max_version_level,
        upgrade_type,
        ..Default::default()
    };
    const VERSION: &str = "metadata.version";
    for (name, updates) in [
        ("same", vec![update(VERSION, 30, 1)]),
        ("same as downgrade", vec![update(VERSION, 30, 2)]),
        ("beyond", vec![update(VERSION, 31, 1)]),
        ("far beyond", vec![update(VERSION, 999, 1)]),
        ("below", vec![update(VERSION, 6, 2)]),
        ("lower as upgrade", vec![update(VERSION, 29, 1)]),
        ("lower safely", vec![update(VERSION, 29, 2)]),
        ("lower unsafely", vec![update(VERSION, 29, 3)]),
        ("much lower safely", vec![update(VERSION, 8, 2)]),
        ("much lower unsafely", vec![update(VERSION, 8, 3)]),
        ("zero", vec![update(VERSION, 0, 2)]),
        ("negative", vec![update(VERSION, -1, 2)]),
        ("unknown feature", vec![update("no.such.feature", 1, 1)]),
        ("unknown feature off", vec![update("no.such.feature", 0, 2)]),
        ("odd type", vec![update(VERSION, 30, 0)]),
        ("odder type", vec![update(VERSION, 30, 9)]),
        ("twice", vec![update(VERSION, 30, 1), update(VERSION, 30, 2)]),
        (
            "one of two wrong",
            vec![update(VERSION, 30, 1), update("no.such.feature", 1, 1)],
        ),
        ("nothing", vec![]),
    ] {
        let request = features::UpdateFeaturesRequest {
            timeout_ms: 10_000,
            feature_updates: updates,
            validate_only: true,
        };
        ask!(
            d,
            name,
            UpdateFeatures,
            1..=2,
            features::UpdateFeaturesResponse,
            request
        );
    }
    // For real, without effect.
    for (name, level, upgrade_type) in [("really same", 30, 1), ("really beyond", 31, 1)] {
        let request = features::UpdateFeaturesRequest {
            timeout_ms: 10_000,
            feature_updates: vec![update(VERSION, level, upgrade_type)],
            validate_only: false,
        };
        ask!(
            d,
            name,
            UpdateFeatures,
            0..=2,
            features::UpdateFeaturesResponse,
            request
        );
    }
    let old = |level, allow_downgrade| features::UpdateFeaturesRequest {
        timeout_ms: 10_000,
        feature_updates: vec![features::FeatureUpdateKey {
            feature: VERSION.into(),
            max_version_level: level,
            allow_downgrade,
            upgrade_type: 1,
        }],
        validate_only: false,
    };
    ask!(
        d,
        "really below, downgrade",
        UpdateFeatures,
        0..=0,
        features::UpdateFeaturesResponse,
        old(3, true)
    );
    ask!(
        d,
        "really lower, no downgrade",
        UpdateFeatures,
        0..=0,
        features::UpdateFeaturesResponse,
        old(29, false)
    );
}

const GROUP: i8 = 32;
const CLIENT_METRICS: i8 = 16;
const BROKER_LOGGER: i8 = 8;
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

/// IncrementalAlterConfigs of one resource.
fn alter(d: &mut Dialogue, name: &str, kind: i8, resource: &str, ops: &[(&str, i8, Option<&str>)]) {
    for (suffix, validate_only) in [(" validated", true), ("", false)] {
        let request = some::IncrementalAlterConfigsRequest {
            resources: vec![some::AlterConfigsResource {
                resource_type: kind,
                resource_name: resource.to_owned().into(),
                configs: ops
                    .iter()
                    .map(|(name, config_operation, value)| some::AlterableConfig {
                        name: (*name).to_owned().into(),
                        config_operation: *config_operation,
                        value: value.map(|value| value.to_owned().into()),
                    })
                    .collect(),
            }],
            validate_only,
        };
        let name = format!("{name}{suffix}");
        ask!(
            d,
            &name,
            IncrementalAlterConfigs,
            1..=1,
            some::IncrementalAlterConfigsResponse,
            request
        );
    }
}

/// AlterConfigs of one resource.
fn replace(d: &mut Dialogue, name: &str, kind: i8, resource: &str, settings: &[(&str, Option<&str>)]) {
    let request = all::AlterConfigsRequest {
        resources: vec![all::AlterConfigsResource {
            resource_type: kind,
            resource_name: resource.to_owned().into(),
            configs: settings
                .iter()
                .map(|(name, value)| all::AlterableConfig {
                    name: (*name).to_owned().into(),
                    value: value.map(|value| value.to_owned().into()),
                })
                .collect(),
        }],
        validate_only: false,
    };
    ask!(d, name, AlterConfigs, 2..=2, all::AlterConfigsResponse, request);
}

/// DescribeConfigs of one resource.
fn describe(d: &mut Dialogue, name: &str, kind: i8, resource: &str, keys: Option<&[&str]>) {
    let request = configs::DescribeConfigsRequest {
        resources: vec![configs::DescribeConfigsResource {
            resource_type: kind,
            resource_name: resource.to_owned().into(),
            configuration_keys: keys.map(|keys| keys.iter().map(|key| (*key).to_owned().into()).collect()),
        }],
        include_synonyms: true,
        include_documentation: true,
    };
    d.ask(
        name,
        ApiKey::DescribeConfigs,
        1..=4,
        &request,
        |reader, version| {
            let mut body = configs::DescribeConfigsResponse::decode(reader, version).expect("a body");
            body.results
                .iter_mut()
                .for_each(|r| r.configs.sort_by_key(|c| c.name.to_string()));
            format!("{body:?}")
        },
    );
}

fn client_metrics(d: &mut Dialogue) {
    const KIND: i8 = CLIENT_METRICS;
    describe(d, "metrics before", KIND, "lag", None);
    alter(
        d,
        "metrics",
        KIND,
        "lag",
        &[
            (
                "metrics",
                SET,
                Some("org.apache.kafka.consumer.,org.apache.kafka.producer."),
            ),
            ("interval.ms", SET, Some("60000")),
            ("match", SET, Some("client_id=a.*,client_software_version=4\\..*")),
        ],
    );
    describe(d, "metrics after", KIND, "lag", None);
    describe(d, "metrics one key", KIND, "lag", Some(&["interval.ms", "nope"]));
    describe(d, "metrics no keys", KIND, "lag", Some(&[]));
    describe(d, "metrics without name", KIND, "", None);
    alter(
        d,
        "metrics appended",
        KIND,
        "lag",
        &[("metrics", APPEND, Some("x."))],
    );
    alter(
        d,
        "metrics subtracted",
        KIND,
        "lag",
        &[("metrics", SUBTRACT, Some("org.apache.kafka.producer."))],
    );
    alter(
        d,
        "match appended",
        KIND,
        "lag",
        &[("match", APPEND, Some("client_instance_id=.*"))],
    );
    alter(
        d,
        "interval appended",
        KIND,
        "lag",
        &[("interval.ms", APPEND, Some("1"))],
    );
    describe(d, "metrics later", KIND, "lag", None);
    for (name, key, value) in [
        ("interval too small", "interval.ms", "99"),
        ("interval smallest", "interval.ms", "100"),
        ("interval largest", "interval.ms", "3600000"),
        ("interval too large", "interval.ms", "3600001"),
        ("interval no number", "interval.ms", "often"),
        ("match unknown", "match", "planet=earth"),
        ("match without value", "match", "client_id"),
        ("match bad pattern", "match", "client_id=["),
        ("match empty", "match", ""),
        ("match two signs", "match", "client_id=a=b"),
        ("match empty pattern", "match", "client_id="),
        (
            "match spaces",
            "match",
            " client_id = a , client_source_port=9.* ",
        ),
        ("match key twice", "match", "client_id=a,client_id=b"),
        (
            "match address",
            "match",
            "client_source_address=10\\..*,client_software_name=java",
        ),
        ("metrics empty", "metrics", ""),
        ("metrics star", "metrics", "*"),
        ("metrics blank word", "metrics", "a.,,b."),
        ("unknown key", "color", "blue"),
    ] {
        alter(d, name, KIND, "checks", &[(key, SET, Some(value))]);
    }
    describe(d, "metrics of checks", KIND, "checks", None);
    alter(d, "metrics null", KIND, "checks", &[("metrics", SET, None)]);
    alter(
        d,
        "metrics twice",
        KIND,
        "checks",
        &[("metrics", SET, Some("a.")), ("metrics", SET, Some("b."))],
    );
    alter(
        d,
        "metrics without name",
        KIND,
        "",
        &[("metrics", SET, Some("a."))],
    );
    alter(d, "metrics nothing", KIND, "unused", &[]);
    alter(
        d,
        "metrics delete unset",
        KIND,
        "unused",
        &[("metrics", DELETE, None)],
    );
    alter(
        d,
        "metrics delete unknown",
        KIND,
        "unused",
        &[("color", DELETE, None)],
    );
    replace(
        d,
        "metrics replaced",
        KIND,
        "whole",
        &[("interval.ms", Some("1000"))],
    );
    replace(
        d,
        "metrics replaced badly",
        KIND,
        "whole",
        &[("interval.ms", Some("1"))],
    );
    describe(d, "metrics of whole", KIND, "whole", None);
}

fn groups(d: &mut Dialogue) {
    describe(
        d,
        "group before",
        GROUP,
        "g",
        Some(&["consumer.session.timeout.ms"]),
    );
    alter(
        d,
        "group",
        GROUP,
        "g",
        &[("consumer.session.timeout.ms", SET, Some("50000"))],
    );
    describe(
        d,
        "group after",
        GROUP,
        "g",
        Some(&["consumer.session.timeout.ms"]),
    );
    alter(
        d,
        "group too small",
        GROUP,
        "g",
        &[("consumer.session.timeout.ms", SET, Some("1"))],
    );
    alter(
        d,
        "group no number",
        GROUP,
        "g",
        &[("consumer.session.timeout.ms", SET, Some("x"))],
    );
    alter(
        d,
        "group unknown key",
        GROUP,
        "g",
        &[("color", SET, Some("blue"))],
    );
    alter(
        d,
        "group without name",
        GROUP,
        "",
        &[("consumer.session.timeout.ms", SET, Some("50000"))],
    );
    describe(d, "group without name", GROUP, "", None);
    describe(d, "logger of another", BROKER_LOGGER, "77", None);
    alter(
        d,
        "logger without name",
        BROKER_LOGGER,
        "",
        &[("root", SET, Some("INFO"))],
    );
    alter(
        d,
        "logger bad level",
        BROKER_LOGGER,
        "1",
        &[("root", SET, Some("LOUD"))],
    );
    alter(d, "logger deleted", BROKER_LOGGER, "1", &[("root", DELETE, None)]);
    alter(
        d,
        "logger missing",
        BROKER_LOGGER,
        "1",
        &[("no.such.logger", SET, Some("INFO"))],
    );
    alter(
        d,
        "logger root",
        BROKER_LOGGER,
        "1",
        &[("root", SET, Some("INFO"))],
    );
}

fn resource_lists(d: &mut Dialogue) {
    for (name, types) in [
        ("all", vec![]),
        ("topics", vec![2]),
        ("brokers", vec![4]),
        ("loggers", vec![8]),
        ("client metrics", vec![16]),
        ("groups", vec![32]),
        ("two", vec![32, 2]),
        ("twice", vec![2, 2]),
        ("unknown", vec![99]),
        ("zero", vec![0]),
        ("known and unknown", vec![2, 99]),
    ] {
        let request = resources::ListConfigResourcesRequest {
            resource_types: types,
        };
        d.ask(
            name,
            ApiKey::ListConfigResources,
            0..=1,
            &request,
            |reader, version| {
                let mut body =
                    resources::ListConfigResourcesResponse::decode(reader, version).expect("a body");
                body.config_resources
                    .sort_by_key(|r| (r.resource_type, r.resource_name.to_string()));
                format!("{body:?}")
            },
        );
    }
}

fn topic_pages(d: &mut Dialogue) {
    let cursor = |topic: &'static str, partition_index| pages::RequestCursor {
        topic_name: topic.into(),
        partition_index,
    };
    for (name, topics, limit, cursor) in [
        ("named", &["gamma", "alpha", "nope"][..], 2000, None),
        ("first two", &["alpha", "beta", "gamma"], 2, None),
        ("exactly one topic", &["alpha", "beta", "gamma"], 3, None),
        ("go on", &["alpha", "beta", "gamma"], 2, Some(cursor("alpha", 2))),
        (
            "go on at the end",
            &["alpha", "beta", "gamma"],
            2,
            Some(cursor("gamma", 1)),
        ),
        (
            "beyond the partitions",
            &["alpha", "beta", "gamma"],
            2,
            Some(cursor("alpha", 17)),
        ),
        (
            "cursor of another",
            &["alpha", "gamma"],
            9,
            Some(cursor("beta", 0)),
        ),
        (
            "cursor of a missing",
            &["alpha", "nope"],
            9,
            Some(cursor("nope", 0)),
        ),
        ("cursor negative", &["alpha"], 9, Some(cursor("alpha", -1))),
        ("all from beta", &[], 9, Some(cursor("beta", 0))),
        ("all from between", &[], 9, Some(cursor("b", 1))),
        ("all from behind", &[], 9, Some(cursor("zeta", 0))),
        ("limit zero", &["alpha"], 0, None),
        ("limit negative", &["alpha"], -5, None),
        ("missing counts", &["aaa", "alpha", "nope", "zzz"], 1, None),
        ("twice", &["beta", "beta"], 9, None),
        ("bad name", &["no such/name"], 9, None),
    ] {
        let request = pages::DescribeTopicPartitionsRequest {
            topics: topics
                .iter()
                .map(|name| pages::TopicRequest { name: (*name).into() })
                .collect(),
            response_partition_limit: limit,
            cursor,
        };
        ask!(
            d,
            name,
            DescribeTopicPartitions,
            0..=0,
            pages::DescribeTopicPartitionsResponse,
            request
        );
    }
}
