use std::borrow::Cow;
use std::collections::BTreeMap;

use turgo_net::messages::{
    create_partitions as wire_grow, create_topics as wire_create, delete_topics as wire_delete,
    describe_cluster as wire_cluster, describe_configs as wire_describe,
    describe_topic_partitions as wire_page, incremental_alter_configs as wire_alter,
    metadata as wire_metadata,
};
use turgo_net::wire::{Decode, Encode};
use turgo_net::{ErrorCode, Reader, Uuid, Writer};

use super::*;
use crate::metadata::{MetaRecord, MetadataState, Site};

const CLUSTER: &str = "mcDjqhCfQqaBGQyU_q-BEw";

struct World {
    state: MetadataState,
    node: BTreeMap<String, String>,
    ids: u8,
}

impl World {
    /// A broker with the topics `raw.t` and `raw2` of two partitions each.
    fn new() -> Self {
        let mut world = Self {
            state: MetadataState::new(),
            node: BTreeMap::new(),
            ids: 0,
        };
        for name in ["raw.t", "raw2"] {
            let response = world.create(&creation(&[(name, 2)]), 7);
            assert_eq!(response.topics[0].error_code, 0);
        }
        world
    }

    fn with<T>(&self, f: impl FnOnce(&Planner<'_>) -> T) -> T {
        f(&Planner {
            state: &self.state,
            site: &self.site(),
        })
    }

    fn site(&self) -> Site<'_> {
        Site {
            node_id: 1,
            cluster_id: CLUSTER,
            host: "127.0.0.1",
            port: 29492,
            rack: None,
            static_configs: &self.node,
        }
    }

    fn commit(&mut self, records: Vec<MetaRecord>) {
        for record in records {
            self.state.apply(&record).expect("a planned record fits");
        }
    }

    fn create(
        &mut self,
        request: &wire_create::CreateTopicsRequest<'_>,
        version: i16,
    ) -> wire_create::CreateTopicsResponse<'static> {
        let mut ids = self.ids;
        let plan = self.with(|p| {
            create_topics::plan(request, p, || {
                ids += 1;
                [ids; 16]
            })
        });
        self.ids = ids;
        self.commit(plan.records);
        through_the_wire(&plan.result, version)
    }

    fn metadata(&self, names: Option<&[&str]>, version: i16) -> wire_metadata::MetadataResponse<'static> {
        let request = ask(names);
        self.with(|p| through_the_wire(&metadata::respond(&request, version, &[], p), version))
    }

    fn page(
        &self,
        names: &[&str],
        limit: i32,
        cursor: Option<(&str, i32)>,
    ) -> wire_page::DescribeTopicPartitionsResponse<'static> {
        let request = wire_page::DescribeTopicPartitionsRequest {
            topics: names
                .iter()
                .map(|n| wire_page::TopicRequest { name: (*n).into() })
                .collect(),
            response_partition_limit: limit,
            cursor: cursor.map(|(topic, partition_index)| wire_page::RequestCursor {
                topic_name: topic.into(),
                partition_index,
            }),
        };
        self.with(|p| through_the_wire(&describe_topic_partitions::respond(&request, p), 0))
    }
}

/// What a client reads: encoded and decoded at `version`. Encoding fails if a field does not suit the version.
fn through_the_wire<T: Encode, O: Decode<'static>>(message: &T, version: i16) -> O {
    let mut writer = Writer::new();
    message.encode(&mut writer, version).expect("suits the version");
    // Leaked: a test's few hundred bytes, so that the result may borrow from them.
    let bytes: &'static [u8] = Vec::leak(writer.to_vec());
    let mut reader = Reader::new(bytes);
    let decoded = O::decode(&mut reader, version).expect("what was written is read");
    assert_eq!(reader.remaining(), 0);
    decoded
}

fn ask<'a>(names: Option<&[&'a str]>) -> wire_metadata::MetadataRequest<'a> {
    let topic = |name: &&'a str| wire_metadata::MetadataRequestTopic {
        name: Some(Cow::Borrowed(*name)),
        ..Default::default()
    };
    wire_metadata::MetadataRequest {
        topics: names.map(|names| names.iter().map(topic).collect()),
        ..Default::default()
    }
}

fn ask_ids(ids: &[[u8; 16]]) -> wire_metadata::MetadataRequest<'static> {
    let topic = |id: &[u8; 16]| wire_metadata::MetadataRequestTopic {
        name: None,
        topic_id: Uuid(*id),
    };
    wire_metadata::MetadataRequest {
        topics: Some(ids.iter().map(topic).collect()),
        ..Default::default()
    }
}

fn creation<'a>(topics: &[(&'a str, i32)]) -> wire_create::CreateTopicsRequest<'a> {
    wire_create::CreateTopicsRequest {
        topics: topics
            .iter()
            .map(|(name, num_partitions)| wire_create::CreatableTopic {
                name: (*name).into(),
                num_partitions: *num_partitions,
                replication_factor: 1,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

#[test]
fn metadata_of_every_version_tells_what_the_peer_tells() {
    let world = World::new();
    let id = world.state.topic("raw.t").expect("there").id;
    for version in 0..=13 {
        let answer = world.metadata(Some(&["raw.t", "nope", "a b", "raw.t"]), version);
        assert_eq!(answer.brokers.len(), 1);
        assert_eq!((answer.brokers[0].node_id, answer.brokers[0].port), (1, 29492));
        assert_eq!(answer.brokers[0].rack, None);
        assert_eq!(answer.controller_id, if version >= 1 { 1 } else { -1 });
        assert_eq!(answer.cluster_id.as_deref(), (version >= 2).then_some(CLUSTER));
        assert_eq!(
            (answer.cluster_authorized_operations, answer.error_code),
            (i32::MIN, 0)
        );
        let mut topics = answer.topics;
        topics.sort_by(|a, b| b.name.cmp(&a.name));
        let told: Vec<_> = topics
            .iter()
            .map(|t| (t.name.as_deref().unwrap_or("-"), t.error_code))
            .collect();
        assert_eq!(told, [("raw.t", 0), ("nope", 3), ("a b", 17)]);
        assert_eq!(topics[0].topic_id, Uuid(if version >= 10 { id } else { [0; 16] }));
        assert!(
            topics
                .iter()
                .all(|t| t.topic_authorized_operations == i32::MIN && !t.is_internal)
        );
        for (index, partition) in topics[0].partitions.iter().enumerate() {
            assert_eq!(
                (partition.partition_index as usize, partition.leader_id),
                (index, 1)
            );
            assert_eq!(partition.leader_epoch, if version >= 7 { 0 } else { -1 });
            assert_eq!(
                (&partition.replica_nodes, &partition.isr_nodes),
                (&vec![1], &vec![1])
            );
            assert!(partition.offline_replicas.is_empty());
        }
    }
}

#[test]
fn metadata_knows_all_from_none_by_version() {
    let world = World::new();
    assert_eq!(
        world.metadata(Some(&[]), 0).topics.len(),
        2,
        "version 0 asks for all with an empty list"
    );
    for version in 1..=13 {
        assert_eq!(world.metadata(Some(&[]), version).topics.len(), 0);
        assert_eq!(world.metadata(None, version).topics.len(), 2);
    }
}

#[test]
fn metadata_by_id_never_looks_names_up() {
    let world = World::new();
    let id = world.state.topic("raw.t").expect("there").id;
    for version in 12..=13 {
        let mut request = ask_ids(&[id, [9; 16], id]);
        request
            .topics
            .as_mut()
            .expect("topics")
            .extend(ask(Some(&["raw2"])).topics.expect("topics"));
        let answer: wire_metadata::MetadataResponse<'_> =
            world.with(|p| through_the_wire(&metadata::respond(&request, version, &[], p), version));
        let mut told: Vec<_> = answer
            .topics
            .iter()
            .map(|t| (t.error_code, t.name.as_deref(), t.topic_id.0))
            .collect();
        told.sort();
        assert_eq!(told, [(0, Some("raw.t"), id), (100, None, [9; 16])]);
    }
    for version in [10, 11] {
        let answer: wire_metadata::MetadataResponse<'_> =
            world.with(|p| through_the_wire(&metadata::respond(&ask_ids(&[id]), version, &[], p), version));
        assert!(answer.brokers.is_empty());
        assert_eq!(
            (answer.topics[0].error_code, answer.topics[0].name.as_deref()),
            (42, Some(""))
        );
        assert_eq!(answer.topics[0].topic_id.0, id);
    }
}

#[test]
fn authorized_operations_are_told_when_asked_for() {
    let world = World::new();
    for version in 8..=13 {
        let request = wire_metadata::MetadataRequest {
            include_topic_authorized_operations: true,
            include_cluster_authorized_operations: version <= 10,
            ..ask(Some(&["raw.t", "nope"]))
        };
        let answer: wire_metadata::MetadataResponse<'_> =
            world.with(|p| through_the_wire(&metadata::respond(&request, version, &[], p), version));
        assert!(
            answer
                .topics
                .iter()
                .all(|t| t.topic_authorized_operations == 3576),
            "of missing ones too"
        );
        assert_eq!(
            answer.cluster_authorized_operations,
            if version <= 10 { 8096 } else { i32::MIN }
        );
    }
}

#[test]
fn automatic_creation_needs_a_yes_from_both_sides() {
    let mut world = World::new();
    let names = ["raw.t", "auto1", "bad name", "auto1", "__consumer_offsets"];
    let request = ask(Some(&names));
    let wanted = |world: &World, request: &wire_metadata::MetadataRequest<'_>, version| {
        world.with(|p| metadata::to_create(request, version, p))
    };
    for version in 0..=13 {
        assert_eq!(wanted(&world, &request, version), ["__consumer_offsets", "auto1"]);
    }
    let no = wire_metadata::MetadataRequest {
        allow_auto_topic_creation: false,
        ..request.clone()
    };
    assert!(wanted(&world, &no, 4).is_empty());
    assert!(wanted(&world, &ask(None), 4).is_empty());
    assert!(wanted(&world, &ask_ids(&[[9; 16]]), 13).is_empty());
    let missing = wanted(&world, &request, 13);
    let plan = world.with(|p| {
        let mut n = 100;
        p.auto_create_topics(&missing, || {
            n += 1;
            [n; 16]
        })
    });
    world.commit(plan.records);
    // Who had them created is told that they are missing; whoever asks next is told of them.
    let told = world.with(|p| {
        let response = metadata::respond(&request, 13, &missing, p);
        let topics = response.topics.iter();
        topics
            .map(|t| {
                (
                    t.name.clone().expect("asked by name").into_owned(),
                    t.error_code,
                    t.partitions.len(),
                )
            })
            .collect::<Vec<_>>()
    });
    let told: Vec<_> = told
        .iter()
        .map(|(name, error, n)| (name.as_str(), *error, *n))
        .collect();
    assert_eq!(
        told,
        [
            ("__consumer_offsets", 3, 0),
            ("auto1", 3, 0),
            ("bad name", 17, 0),
            ("raw.t", 0, 2)
        ]
    );
    let offsets = world.metadata(Some(&["__consumer_offsets"]), 13).topics.remove(0);
    assert_eq!((offsets.partitions.len(), offsets.is_internal), (50, true));
    world
        .node
        .insert("auto.create.topics.enable".into(), "false".into());
    assert!(wanted(&world, &ask(Some(&["auto2"])), 13).is_empty());
}

#[test]
fn a_partition_without_leader_says_so() {
    let mut world = World::new();
    let id = world.state.topic("raw2").expect("there").id;
    world.commit(vec![MetaRecord::PartitionChanged(
        crate::metadata::PartitionChanged {
            id,
            partition: 1,
            leader: -1,
            leader_epoch: 1,
            partition_epoch: 1,
            isr: vec![1],
        },
    )]);
    let partition = world
        .metadata(Some(&["raw2"]), 13)
        .topics
        .remove(0)
        .partitions
        .remove(1);
    assert_eq!(
        (partition.error_code, partition.leader_id, partition.leader_epoch),
        (5, -1, 1)
    );
}

/// Pages recorded from a Kafka 4.3.1 broker.
#[test]
fn pages_of_partitions_are_those_of_the_peer() {
    let world = World::new();
    let names = ["raw2", "raw.t", "nope", "a b", "raw2"];
    let told = |page: &wire_page::DescribeTopicPartitionsResponse<'_>| {
        let topics: Vec<String> = page
            .topics
            .iter()
            .map(|t| {
                let numbers: Vec<i32> = t.partitions.iter().map(|p| p.partition_index).collect();
                format!(
                    "{}:{}:{numbers:?}",
                    t.name.as_deref().unwrap_or("-"),
                    t.error_code
                )
            })
            .collect();
        let next = page
            .next_cursor
            .as_ref()
            .map(|c| format!("{}/{}", c.topic_name, c.partition_index));
        (topics.join(" "), next.unwrap_or_default())
    };
    let missing = "a b:17:[] nope:3:[]";
    let whole = world.page(&names, 2000, None);
    assert_eq!(
        told(&whole),
        (format!("{missing} raw.t:0:[0, 1] raw2:0:[0, 1]"), String::new())
    );
    assert!(whole.topics.iter().all(|t| t.topic_authorized_operations == 3576));
    let partition = &whole.topics[2].partitions[0];
    assert_eq!(
        (&partition.eligible_leader_replicas, &partition.last_known_elr),
        (&Some(vec![]), &Some(vec![]))
    );
    for limit in [1, 0, -5] {
        assert_eq!(
            told(&world.page(&names, limit, None)),
            (format!("{missing} raw.t:0:[0]"), "raw.t/1".into())
        );
    }
    assert_eq!(
        told(&world.page(&names, 2, None)),
        (format!("{missing} raw.t:0:[0, 1]"), "raw2/0".into())
    );
    assert_eq!(
        told(&world.page(&names, 1, Some(("raw.t", 1)))),
        ("raw.t:0:[1]".into(), "raw2/0".into())
    );
    assert_eq!(
        told(&world.page(&names, 1, Some(("raw.t", 9)))),
        ("raw.t:0:[] raw2:0:[0]".into(), "raw2/1".into())
    );
    for cursor in [("raw.t", -1), ("zzz", 0)] {
        let refused = world.page(&names, 1, Some(cursor));
        assert!(refused.topics.len() == 5 && refused.topics.iter().all(|t| t.error_code == 42));
    }
    assert_eq!(
        told(&world.page(&[], 3, None)),
        ("raw.t:0:[0, 1] raw2:0:[0]".into(), "raw2/1".into())
    );
    assert_eq!(
        told(&world.page(&[], 3, Some(("raw2", 1)))),
        ("raw2:0:[1]".into(), String::new())
    );
    assert_eq!(
        told(&world.page(&[], 3, Some(("gone", 1)))),
        ("raw.t:0:[0, 1] raw2:0:[0]".into(), "raw2/1".into())
    );
}

#[test]
fn the_cluster_is_described_to_those_who_ask_for_brokers() {
    let world = World::new();
    for version in 0..=2 {
        for (endpoint_type, error) in [(1, 0), (2, 114), (3, 115)] {
            let request = wire_cluster::DescribeClusterRequest {
                include_cluster_authorized_operations: true,
                endpoint_type,
                ..Default::default()
            };
            let answer: wire_cluster::DescribeClusterResponse<'_> =
                world.with(|p| through_the_wire(&describe_cluster::respond(&request, p), version));
            assert_eq!(answer.error_code, error);
            assert_eq!(answer.endpoint_type, 1);
            if error == 0 {
                assert_eq!((answer.cluster_id.as_ref(), answer.controller_id), (CLUSTER, 1));
                assert_eq!(
                    (answer.brokers.len(), answer.cluster_authorized_operations),
                    (1, 8096)
                );
            } else {
                assert_eq!((answer.brokers.len(), answer.controller_id), (0, -1));
                assert_eq!(answer.cluster_authorized_operations, i32::MIN);
            }
        }
    }
}

#[test]
fn topics_are_created_in_every_version() {
    for version in 2..=7 {
        let mut world = World::new();
        let answer = world.create(
            &creation(&[("new", 3), ("bad name", 1), ("twice", 1), ("twice", 2)]),
            version,
        );
        let told: Vec<_> = answer
            .topics
            .iter()
            .map(|t| (t.name.as_ref(), t.error_code))
            .collect();
        assert_eq!(told, [("new", 0), ("bad name", 17), ("twice", 42)]);
        let (new, bad) = (&answer.topics[0], &answer.topics[1]);
        assert_eq!(new.error_message, None);
        assert!(
            bad.error_message
                .as_deref()
                .is_some_and(|m| m.contains("bad name"))
        );
        let id = world.state.topic("new").expect("made").id;
        assert_eq!(new.topic_id.0, if version >= 7 { id } else { [0; 16] });
        if version >= 5 {
            assert_eq!((new.num_partitions, new.replication_factor), (3, 1));
            let configs = new.configs.as_ref().expect("told");
            assert!(configs.is_sorted_by(|a, b| a.name < b.name));
            let retention = configs.iter().find(|c| c.name == "retention.ms").expect("told");
            assert_eq!(
                (retention.value.as_deref(), retention.config_source),
                (Some("604800000"), 5)
            );
            assert_eq!(
                (bad.num_partitions, bad.configs.as_ref().map(Vec::len)),
                (-1, Some(0))
            );
        } else {
            assert_eq!((new.num_partitions, new.replication_factor), (-1, -1));
        }
        let before = world.state.topic_count();
        let validate = wire_create::CreateTopicsRequest {
            validate_only: true,
            ..creation(&[("v", 1)])
        };
        assert_eq!(world.create(&validate, version).topics[0].error_code, 0);
        assert_eq!(world.state.topic_count(), before);
    }
}

#[test]
fn topics_are_deleted_in_every_version() {
    for version in 1..=6 {
        let mut world = World::new();
        let id = world.state.topic("raw2").expect("there").id;
        let request = if version < 6 {
            wire_delete::DeleteTopicsRequest {
                topic_names: ["nope", "nope2", "nope2", "raw2"].map(Cow::Borrowed).to_vec(),
                ..Default::default()
            }
        } else {
            let topic = |name: Option<&'static str>, id| wire_delete::DeleteTopicState {
                name: name.map(Cow::Borrowed),
                topic_id: Uuid(id),
            };
            wire_delete::DeleteTopicsRequest {
                topics: vec![
                    topic(Some("nope"), [0; 16]),
                    topic(None, [9; 16]),
                    topic(Some("x"), [9; 16]),
                    topic(None, [0; 16]),
                    topic(None, id),
                    topic(Some("raw.t"), [0; 16]),
                    topic(Some("raw.t"), [0; 16]),
                ],
                ..Default::default()
            }
        };
        let plan = world.with(|p| delete_topics::plan(&request, version, p));
        world.commit(plan.records);
        let answer: wire_delete::DeleteTopicsResponse<'_> = through_the_wire(&plan.result, version);
        let told: Vec<_> = answer
            .responses
            .iter()
            .map(|t| (t.name.as_deref(), t.error_code))
            .collect();
        if version < 6 {
            assert_eq!(told, [(Some("nope"), 3), (Some("nope2"), 42), (Some("raw2"), 0)]);
        } else {
            let found: Vec<_> = [
                (Some("nope"), 3),
                (None, 100),
                (Some("x"), 42),
                (None, 42),
                (Some("raw2"), 0),
            ]
            .into_iter()
            .chain([(Some("raw.t"), 42)])
            .collect();
            assert_eq!(told, found);
            assert!(
                answer.responses[5].topic_id.is_zero(),
                "a refusal says no more than was asked"
            );
            assert_eq!(answer.responses[4].topic_id.0, id);
        }
        assert_eq!(answer.responses[0].error_message.is_some(), version >= 5);
        assert!(world.state.topic("raw2").is_none());
        world.node.insert("delete.topic.enable".into(), "false".into());
        let refused = world.with(|p| delete_topics::plan(&request, version, p));
        assert!(refused.records.is_empty());
        let code = if version < 3 { 42 } else { 73 };
        assert!(refused.result.responses.iter().any(|t| t.error_code == code));
    }
}

#[test]
fn partitions_are_added_in_every_version() {
    for version in 0..=3 {
        let mut world = World::new();
        let topic = |name: &'static str, count| wire_grow::CreatePartitionsTopic {
            name: name.into(),
            count,
            assignments: None,
        };
        let request = wire_grow::CreatePartitionsRequest {
            topics: vec![topic("raw.t", 4), topic("raw2", 2), topic("nope", 9)],
            ..Default::default()
        };
        let plan = world.with(|p| create_partitions::plan(&request, p));
        world.commit(plan.records);
        let answer: wire_grow::CreatePartitionsResponse<'_> = through_the_wire(&plan.result, version);
        let told: Vec<_> = answer
            .results
            .iter()
            .map(|t| (t.name.as_ref(), t.error_code))
            .collect();
        assert_eq!(
            told,
            [("raw.t", 0), ("raw2", 37), ("nope", 3)],
            "the answer names the topics"
        );
        assert_eq!(world.state.topic("raw.t").expect("there").partitions.len(), 4);
    }
}

fn describe_request<'a>(
    resources: &[(i8, &'a str, Option<&[&'a str]>)],
) -> wire_describe::DescribeConfigsRequest<'a> {
    wire_describe::DescribeConfigsRequest {
        resources: resources
            .iter()
            .map(
                |(resource_type, name, keys)| wire_describe::DescribeConfigsResource {
                    resource_type: *resource_type,
                    resource_name: (*name).into(),
                    configuration_keys: keys.map(|keys| keys.iter().map(|k| Cow::Borrowed(*k)).collect()),
                },
            )
            .collect(),
        include_synonyms: true,
        include_documentation: false,
    }
}

#[test]
fn settings_are_described_in_every_version() {
    let world = World::new();
    let all = crate::configs::topic_configs().len();
    let brokers = crate::configs::broker_configs().count();
    let request = describe_request(&[
        (2, "raw.t", Some(&["retention.ms", "nope"])),
        (2, "raw2", None),
        (2, "raw2", None),
        (4, "1", Some(&[])),
        (4, "", None),
        (8, "1", None),
        (32, "g", None),
        (2, "nope", None),
        (2, "a b", None),
        (2, "", None),
        (4, "2", None),
        (4, "x", None),
        (8, "", None),
        (8, "2", None),
        (16, "", None),
        (32, "", None),
        (3, "x", None),
        (99, "x", None),
    ]);
    for version in 1..=4 {
        let answer: wire_describe::DescribeConfigsResponse<'_> =
            world.with(|p| through_the_wire(&describe_configs::respond(&request, p, "INFO"), version));
        let told: Vec<_> = answer
            .results
            .iter()
            .map(|r| (r.error_code, r.configs.len()))
            .collect();
        let good = [(0, 1), (0, all), (0, brokers), (0, 0), (0, 1), (0, 3)];
        let refused = [3, 17, 17, 42, 42, 42, 42, 42, 42, 42, 42].map(|code| (code, 0));
        assert_eq!(told, [&good[..], &refused[..]].concat());
        let retention = &answer.results[0].configs[0];
        assert_eq!(
            (retention.value.as_deref(), retention.read_only),
            (Some("604800000"), false)
        );
        assert_eq!((retention.config_source, retention.is_sensitive), (5, false));
        assert_eq!(retention.config_type, if version >= 3 { 5 } else { 0 });
        let policy = answer.results[1]
            .configs
            .iter()
            .find(|c| c.name == "cleanup.policy")
            .expect("told");
        assert_eq!(policy.synonyms[0].name, "log.cleanup.policy");
    }
    let documented = wire_describe::DescribeConfigsRequest {
        include_synonyms: false,
        include_documentation: true,
        ..describe_request(&[(2, "raw.t", None)])
    };
    let answer = world.with(|p| {
        describe_configs::respond(&documented, p, "INFO")
            .results
            .remove(0)
    });
    assert!(
        answer
            .configs
            .iter()
            .all(|c| c.documentation.is_some() && c.synonyms.is_empty())
    );
}

#[test]
fn a_request_cannot_make_its_answer_grow_without_end() {
    let world = World::new();
    let names: Vec<String> = (0..10_050).map(|i| format!("g{i}")).collect();
    let resources: Vec<_> = names.iter().map(|n| (32, n.as_str(), None)).collect();
    let request = describe_request(&resources);
    let answer = world.with(|p| {
        let answer = describe_configs::respond(&request, p, "INFO");
        answer.results.iter().map(|r| r.error_code).collect::<Vec<_>>()
    });
    assert_eq!(answer.iter().filter(|code| **code == 42).count(), 50);
    let same = vec!["raw.t"; 100_000];
    assert_eq!(world.metadata(Some(&same), 13).topics.len(), 1);
}

#[test]
fn settings_are_altered_in_every_version() {
    let mut world = World::new();
    let config =
        |name: &'static str, config_operation, value: Option<&'static str>| wire_alter::AlterableConfig {
            name: name.into(),
            config_operation,
            value: value.map(Into::into),
        };
    let resource = |resource_type, name: &'static str, configs| wire_alter::AlterConfigsResource {
        resource_type,
        resource_name: name.into(),
        configs,
    };
    let request = wire_alter::IncrementalAlterConfigsRequest {
        resources: vec![
            resource(2, "raw.t", vec![config("cleanup.policy", 2, Some("compact"))]),
            resource(2, "nope", vec![config("retention.ms", 0, Some("1"))]),
            resource(4, "", vec![config("num.partitions", 0, Some("3"))]),
            resource(8, "1", vec![config("root", 0, Some("WARN"))]),
        ],
        ..Default::default()
    };
    for version in 0..=1 {
        let plan = world.with(|p| alter_configs::plan_incremental(&request, p));
        world.commit(plan.records);
        assert_eq!(plan.result.log_level, Some("WARN"));
        let answer: wire_alter::IncrementalAlterConfigsResponse<'_> =
            through_the_wire(&plan.result.response, version);
        let told: Vec<_> = answer
            .responses
            .iter()
            .map(|r| (r.resource_type, r.resource_name.as_ref(), r.error_code))
            .collect();
        assert_eq!(told, [(2, "raw.t", 0), (2, "nope", 3), (4, "", 42), (8, "1", 0)]);
    }
    let set = |world: &World| {
        let topic = crate::configs::ResourceType::Topic;
        world
            .state
            .overrides(topic, "raw.t")
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(set(&world), ["cleanup.policy=delete,compact"]);
    let legacy = turgo_net::messages::alter_configs::AlterConfigsRequest {
        resources: vec![turgo_net::messages::alter_configs::AlterConfigsResource {
            resource_type: 2,
            resource_name: "raw.t".into(),
            configs: vec![turgo_net::messages::alter_configs::AlterableConfig {
                name: "retention.ms".into(),
                value: Some("9".into()),
            }],
        }],
        ..Default::default()
    };
    for version in 0..=2 {
        let plan = world.with(|p| alter_configs::plan(&legacy, p));
        world.commit(plan.records);
        let answer: turgo_net::messages::alter_configs::AlterConfigsResponse<'_> =
            through_the_wire(&plan.result.response, version);
        assert_eq!(answer.responses[0].error_code, ErrorCode::NONE.0);
        assert_eq!(set(&world), ["retention.ms=9"]);
    }
}
