mod eligible;
mod properties;

use std::collections::{BTreeMap, BTreeSet};

use turgo_net::ErrorCode;

use super::*;
use crate::configs::ResourceType;

const NODE: i32 = 1;

struct World {
    state: MetadataState,
    log: Vec<MetaRecord>,
    node: BTreeMap<String, String>,
    ids: u64,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            state: MetadataState::new(),
            log: Vec::new(),
            node: BTreeMap::new(),
            ids: 0,
        };
        world.commit(vec![
            MetaRecord::ClusterCreated(ClusterCreated { cluster_id: [7; 16] }),
            MetaRecord::BrokerRegistered(BrokerRegistered {
                id: NODE,
                incarnation: [1; 16],
                epoch: 1,
                rack: None,
                endpoints: vec![BrokerEndpoint {
                    listener: "PLAINTEXT".into(),
                    host: "h".into(),
                    port: 9092,
                }],
            }),
        ]);
        world
    }

    fn commit(&mut self, records: Vec<MetaRecord>) {
        for record in records {
            self.state.apply(&record).expect("a planned record fits");
            self.log.push(record);
        }
    }

    fn plan<T>(&mut self, plan: impl FnOnce(Planner<'_>, &mut dyn FnMut() -> [u8; 16]) -> Plan<T>) -> T {
        let site = Site {
            node_id: NODE,
            cluster_id: "c",
            host: "h",
            port: 9092,
            rack: None,
            static_configs: &self.node,
        };
        let mut ids = self.ids;
        let mut random = || {
            ids += 1;
            let mut id = [0; 16];
            id[..8].copy_from_slice(&ids.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
            id
        };
        let (records, result) = plan(
            Planner {
                state: &self.state,
                site: &site,
            },
            &mut random,
        )
        .into_parts();
        self.ids = ids;
        self.commit(records);
        result
    }

    fn create(&mut self, topics: &[NewTopic], validate_only: bool) -> Vec<CreatedTopic> {
        self.plan(|p, random| p.create_topics(topics, validate_only, random))
    }

    /// Code of the only result.
    fn create_code(&mut self, topic: NewTopic) -> ErrorCode {
        let mut results = self.create(&[topic], true);
        code(results.remove(0).outcome)
    }

    fn must_create(&mut self, name: &str) -> TopicCreation {
        self.create(&[NewTopic::named(name)], false)
            .remove(0)
            .outcome
            .expect("created")
    }
}

fn code<T>(outcome: Result<T, ApiError>) -> ErrorCode {
    outcome.err().map_or(ErrorCode::NONE, |e| e.code)
}

fn sized(name: &str, num_partitions: i32, replication_factor: i16) -> NewTopic {
    NewTopic {
        num_partitions,
        replication_factor,
        ..NewTopic::named(name)
    }
}

fn assigned(assignments: &[(i32, &[i32])]) -> NewTopic {
    NewTopic {
        assignments: assignments.iter().map(|(p, r)| (*p, r.to_vec())).collect(),
        ..NewTopic::named("man")
    }
}

fn with_configs(configs: &[(&str, Option<&str>)]) -> NewTopic {
    NewTopic {
        configs: configs
            .iter()
            .map(|(k, v)| ((*k).into(), v.map(Into::into)))
            .collect(),
        ..NewTopic::named("cfg")
    }
}

/// Codes recorded from a Kafka 4.3.1 broker with one node, number 1.
#[test]
fn creation_is_judged_as_a_live_kafka_judges_it() {
    let mut w = World::new();
    w.must_create("a.b");
    let long = "x".repeat(249);
    let too_long = "x".repeat(250);
    let recorded = [
        (sized("ok", -1, -1), ErrorCode::NONE),
        (sized("ok", 0, 1), ErrorCode::INVALID_PARTITIONS),
        (sized("ok", -3, 1), ErrorCode::INVALID_PARTITIONS),
        (sized("ok", 1, 2), ErrorCode::INVALID_REPLICATION_FACTOR),
        (sized("ok", 1, 0), ErrorCode::INVALID_REPLICATION_FACTOR),
        (sized("ok", 0, 0), ErrorCode::INVALID_REPLICATION_FACTOR),
        (sized("", 1, 1), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (sized(".", 1, 1), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (sized("..", 1, 1), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (sized("a b", 1, 1), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (sized("a/b", 1, 1), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (sized("ü", 1, 1), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (sized(&long, 1, 1), ErrorCode::NONE),
        (sized(&too_long, 1, 1), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (sized("a_b", 1, 1), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (sized("a.b", 1, 1), ErrorCode::TOPIC_ALREADY_EXISTS),
        (sized("a.b", 0, 1), ErrorCode::TOPIC_ALREADY_EXISTS),
        (sized("__consumer_offsets", 1, 1), ErrorCode::NONE),
        (sized("__cluster_metadata", 1, 1), ErrorCode::INVALID_REQUEST),
        (sized("big", 9_999, 1), ErrorCode::NONE),
        (sized("big", 10_001, 1), ErrorCode::POLICY_VIOLATION),
        (sized("big", i32::MAX, 1), ErrorCode::POLICY_VIOLATION),
        (assigned(&[(0, &[1])]), ErrorCode::NONE),
        (assigned(&[(0, &[2])]), ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (assigned(&[(0, &[1, 1])]), ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (assigned(&[(0, &[])]), ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (assigned(&[(1, &[1])]), ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (
            assigned(&[(0, &[1]), (2, &[1])]),
            ErrorCode::INVALID_REPLICA_ASSIGNMENT,
        ),
        (
            assigned(&[(0, &[1]), (-1, &[1])]),
            ErrorCode::INVALID_REPLICA_ASSIGNMENT,
        ),
        (assigned(&[(0, &[-1])]), ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (assigned(&[]), ErrorCode::NONE),
        (
            NewTopic {
                num_partitions: 1,
                ..assigned(&[(0, &[1])])
            },
            ErrorCode::INVALID_REQUEST,
        ),
        (
            NewTopic {
                replication_factor: 1,
                ..assigned(&[(0, &[1])])
            },
            ErrorCode::INVALID_REQUEST,
        ),
        (with_configs(&[("foo", Some("1"))]), ErrorCode::INVALID_CONFIG),
        (with_configs(&[("retention.ms", None)]), ErrorCode::INVALID_CONFIG),
        (with_configs(&[("retention.ms", Some("5"))]), ErrorCode::NONE),
    ];
    for (topic, expected) in recorded {
        let shown = format!("{topic:?}");
        assert_eq!(w.create_code(topic), expected, "{shown}");
    }
    assert_eq!(w.state.topic_count(), 1, "validation makes nothing");
    let twice = w.create(&[sized("d", 1, 1), sized("e", 1, 1), sized("d", 1, 1)], false);
    let codes: Vec<_> = twice.into_iter().map(|t| code(t.outcome)).collect();
    assert_eq!(
        codes,
        [ErrorCode::INVALID_REQUEST, ErrorCode::NONE],
        "the repeated name is answered once"
    );
    let spread: Vec<NewTopic> = (0..3).map(|i| sized(&format!("s{i}"), 4_000, 1)).collect();
    assert!(
        w.create(&spread, true)
            .into_iter()
            .all(|t| code(t.outcome) == ErrorCode::POLICY_VIOLATION)
    );
    let colliding = w.create(&[sized("x.y", 1, 1), sized("x_y", 1, 1)], false);
    assert_eq!(
        code(colliding[1].outcome.clone()),
        ErrorCode::INVALID_TOPIC_EXCEPTION
    );
}

#[test]
fn a_topic_created_again_has_another_id() {
    let mut w = World::new();
    let first = w.must_create("t");
    assert_eq!((first.partitions, first.replication_factor), (1, 1));
    assert!(
        first
            .configs
            .iter()
            .any(|c| c.name == "durability" && c.value.as_deref() == Some("disk"))
    );
    let delete = DeleteTopic {
        name: Some("t".into()),
        ..DeleteTopic::default()
    };
    let deleted = w.plan(|p, _| p.delete_topics(std::slice::from_ref(&delete)));
    assert_eq!((deleted[0].id, deleted[0].outcome.clone()), (first.id, Ok(())));
    assert_eq!(w.state.partition_count(), 0);
    let second = w.must_create("t");
    assert_ne!(first.id, second.id);
    assert_eq!(
        (second.id[6] >> 4, second.id[8] >> 6),
        (4, 2),
        "version 4, variant 1"
    );
    // A source that repeats itself still gives ids that are free.
    let site = Site {
        node_id: NODE,
        cluster_id: "c",
        host: "h",
        port: 1,
        rack: None,
        static_configs: &w.node,
    };
    let planner = Planner {
        state: &w.state,
        site: &site,
    };
    let topics: Vec<NewTopic> = (0..300).map(|i| sized(&format!("n{i}"), 1, 1)).collect();
    let plan = planner.create_topics(&topics, false, || [0xff; 16]);
    let ids: BTreeSet<_> = plan
        .result
        .iter()
        .map(|t| t.outcome.as_ref().expect("made").id)
        .collect();
    assert_eq!(ids.len(), 300);
}

#[test]
fn deletion_is_judged_as_a_live_kafka_judges_it() {
    let mut w = World::new();
    let id = w.must_create("t").id;
    let by_name = |name: &str| DeleteTopic {
        name: Some(name.into()),
        id: [0; 16],
    };
    let by_id = |id| DeleteTopic { name: None, id };
    let mut one = |t: DeleteTopic| code(w.plan(|p, _| p.delete_topics(&[t])).remove(0).outcome);
    assert_eq!(one(by_name("nope")), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(one(by_name("a b")), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(one(by_id([9; 16])), ErrorCode::UNKNOWN_TOPIC_ID);
    assert_eq!(one(by_id([0; 16])), ErrorCode::INVALID_REQUEST);
    assert_eq!(
        one(DeleteTopic {
            name: Some("t".into()),
            id
        }),
        ErrorCode::INVALID_REQUEST
    );
    for pair in [
        [by_name("t"), by_name("t")],
        [by_id(id), by_id(id)],
        [by_name("t"), by_id(id)],
    ] {
        let results = w.plan(|p, _| p.delete_topics(&pair));
        assert!(
            results
                .into_iter()
                .all(|t| code(t.outcome) == ErrorCode::INVALID_REQUEST)
        );
    }
    w.node.insert("delete.topic.enable".into(), "false".into());
    let refused = w.plan(|p, _| p.delete_topics(&[by_id(id)])).remove(0);
    assert_eq!(code(refused.outcome), ErrorCode::TOPIC_DELETION_DISABLED);
    w.node.clear();
    let done = w.plan(|p, _| p.delete_topics(&[by_id(id)])).remove(0);
    assert_eq!((done.name.as_deref(), done.outcome), (Some("t"), Ok(())));
}

#[test]
fn growth_is_judged_as_a_live_kafka_judges_it() {
    let mut w = World::new();
    w.must_create("t");
    let grow = |name: &str, count, assignments: Option<&[&[i32]]>| GrowTopic {
        name: name.into(),
        count,
        assignments: assignments.map(|a| a.iter().map(|r| r.to_vec()).collect()),
    };
    let mut one = |t: GrowTopic| code(w.plan(|p, _| p.create_partitions(&[t], true)).remove(0).outcome);
    assert_eq!(one(grow("t", 1, None)), ErrorCode::INVALID_PARTITIONS);
    assert_eq!(one(grow("t", 0, None)), ErrorCode::INVALID_PARTITIONS);
    assert_eq!(one(grow("t", -1, None)), ErrorCode::INVALID_PARTITIONS);
    assert_eq!(one(grow("nope", 3, None)), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(one(grow("a b", 3, None)), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(one(grow("t", 2, Some(&[&[1]]))), ErrorCode::NONE);
    for wrong in [
        &[&[2][..]][..],
        &[&[1], &[1]],
        &[&[1, 1]],
        &[],
        &[&[]],
        &[&[1, 2]],
    ] {
        assert_eq!(
            one(grow("t", 2, Some(wrong))),
            ErrorCode::INVALID_REPLICA_ASSIGNMENT,
            "{wrong:?}"
        );
    }
    assert_eq!(one(grow("t", 10_000, None)), ErrorCode::NONE);
    assert_eq!(one(grow("t", 20_000, None)), ErrorCode::POLICY_VIOLATION);
    let twice = w.plan(|p, _| p.create_partitions(&[grow("t", 2, None), grow("t", 3, None)], false));
    assert!(
        twice
            .into_iter()
            .all(|t| code(t.outcome) == ErrorCode::INVALID_REQUEST)
    );
    w.plan(|p, _| p.create_partitions(&[grow("t", 5, None)], false));
    let topic = w.state.topic("t").expect("there");
    assert_eq!(topic.partitions.len(), 5);
    assert!(
        topic
            .partitions
            .iter()
            .all(|p| p.leader == NODE && p.leader_epoch == 0 && p.isr == [NODE])
    );
}

#[test]
fn changes_of_settings_are_judged_as_a_live_kafka_judges_them() {
    let mut w = World::new();
    w.must_create("t");
    let some = |kind: i8, name: &str, ops: &[(&str, i8, Option<&str>)]| AlterResource {
        resource_type: kind,
        name: name.into(),
        altering: Altering::Some(
            ops.iter()
                .map(|(n, o, v)| ((*n).into(), *o, v.map(Into::into)))
                .collect(),
        ),
    };
    let mut one = |r: AlterResource| code(w.plan(|p, _| p.alter_configs(&[r], true)).remove(0).outcome);
    let set = [("retention.ms", 0, Some("1"))];
    let bad = [("foo", 0, Some("1"))];
    assert_eq!(one(some(2, "t", &set)), ErrorCode::NONE);
    assert_eq!(one(some(2, "t", &bad)), ErrorCode::INVALID_CONFIG);
    assert_eq!(
        one(some(2, "t", &[("retention.ms", 0, None)])),
        ErrorCode::INVALID_REQUEST
    );
    assert_eq!(
        one(some(2, "t", &[("retention.ms", 9, Some("1"))])),
        ErrorCode::INVALID_REQUEST
    );
    assert_eq!(one(some(2, "nope", &set)), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(one(some(2, "nope", &bad)), ErrorCode::INVALID_CONFIG);
    assert_eq!(one(some(2, "a b", &set)), ErrorCode::INVALID_TOPIC_EXCEPTION);
    assert_eq!(one(some(2, "", &set)), ErrorCode::INVALID_REQUEST);
    assert_eq!(one(some(77, "t", &set)), ErrorCode::INVALID_REQUEST);
    for broker in ["1", ""] {
        assert_eq!(
            one(some(4, broker, &[("log.retention.ms", 0, Some("1000"))])),
            ErrorCode::NONE
        );
        assert_eq!(
            one(some(4, broker, &[("foo.bar", 0, Some("3"))])),
            ErrorCode::NONE
        );
        assert_eq!(one(some(4, broker, &[("foo.bar", 1, None)])), ErrorCode::NONE);
        assert_eq!(
            one(some(4, broker, &[("num.partitions", 0, Some("3"))])),
            ErrorCode::INVALID_REQUEST
        );
        assert_eq!(
            one(some(4, broker, &[("log.retention.ms", 0, Some("abc"))])),
            ErrorCode::INVALID_REQUEST
        );
        assert_eq!(
            one(some(4, broker, &[("log.cleanup.policy", 2, Some("compact"))])),
            ErrorCode::NONE
        );
    }
    assert_eq!(
        one(some(4, "2", &[("log.retention.ms", 0, Some("1000"))])),
        ErrorCode::INVALID_REQUEST
    );
    assert_eq!(
        one(some(4, "x", &[("log.retention.ms", 0, Some("1000"))])),
        ErrorCode::INVALID_REQUEST
    );
    assert_eq!(one(some(8, "1", &[("root", 0, Some("WARN"))])), ErrorCode::NONE);
    assert_eq!(
        one(some(8, "1", &[("root", 0, Some("FOO"))])),
        ErrorCode::INVALID_CONFIG
    );
    assert_eq!(
        one(some(32, "g", &[("foo", 0, Some("1"))])),
        ErrorCode::INVALID_CONFIG
    );
    assert_eq!(
        one(some(
            32,
            "g",
            &[("consumer.session.timeout.ms", 0, Some("46000"))]
        )),
        ErrorCode::NONE
    );
    assert_eq!(
        one(some(32, "g", &[("consumer.session.timeout.ms", 0, Some("1"))])),
        ErrorCode::INVALID_CONFIG
    );
    assert_eq!(
        one(some(16, "g", &[("foo", 0, Some("1"))])),
        ErrorCode::INVALID_REQUEST
    );
    let twice = w.plan(|p, _| p.alter_configs(&[some(2, "t", &set), some(2, "t", &set)], false));
    assert!(
        twice
            .into_iter()
            .all(|r| code(r.outcome) == ErrorCode::INVALID_REQUEST)
    );
    assert!(w.state.overrides(ResourceType::Topic, "t").is_empty());

    w.plan(|p, _| {
        p.alter_configs(
            &[some(
                2,
                "t",
                &[("retention.ms", 0, Some("7")), ("segment.ms", 0, Some("8"))],
            )],
            false,
        )
    });
    let all = AlterResource {
        resource_type: 2,
        name: "t".into(),
        altering: Altering::All(vec![("segment.ms".into(), Some("9".into()))]),
    };
    w.plan(|p, _| p.alter_configs(&[all], false));
    let left: Vec<_> = w.state.overrides(ResourceType::Topic, "t").iter().collect();
    assert_eq!(
        left,
        [(&"segment.ms".to_owned(), &"9".to_owned())],
        "AlterConfigs replaces everything"
    );
    w.plan(|p, _| p.alter_configs(&[some(4, "", &[("log.retention.ms", 0, Some("1000"))])], false));
    let id = w.state.topic("t").expect("there").id;
    let settings = w.state.topic_settings(&id, NODE, &w.node);
    assert_eq!((settings.retention_ms, settings.segment_ms), (1000, 9));
}

#[test]
fn internal_topics_are_made_for_the_brokers_there_are() {
    let mut w = World::new();
    let made = w.plan(|p, random| p.auto_create_topic(CONSUMER_OFFSETS, random));
    let made = made
        .outcome
        .expect("made although the default asks for three replicas");
    assert_eq!((made.partitions, made.replication_factor), (50, 1));
    let topic = w.state.topic(CONSUMER_OFFSETS).expect("there");
    assert!(topic.internal);
    let settings = w.state.topic_settings(&topic.id, NODE, &w.node);
    assert!(settings.cleanup_compact && !settings.cleanup_delete);
    assert_eq!(settings.segment_bytes, 104_857_600);
    assert!(
        w.plan(|p, random| p.auto_create_topic(TRANSACTION_STATE, random))
            .outcome
            .is_ok()
    );
    w.node.insert("num.partitions".into(), "4".into());
    let auto = w
        .plan(|p, random| p.auto_create_topic("t", random))
        .outcome
        .expect("made");
    assert_eq!(auto.partitions, 4);
    let refused = w.plan(|p, random| p.auto_create_topic("a b", random));
    assert_eq!(code(refused.outcome), ErrorCode::INVALID_TOPIC_EXCEPTION);
}

#[test]
fn producer_id_blocks_never_overlap() {
    let mut w = World::new();
    let first = w.plan(|p, _| p.allocate_producer_ids()).expect("ids are left");
    let second = w.plan(|p, _| p.allocate_producer_ids()).expect("ids are left");
    assert_eq!((first.first, first.count, second.first), (0, 1000, 1000));
    w.commit(vec![MetaRecord::ProducerIdsAllocated(ProducerIdsAllocated {
        broker_id: 1,
        next: i64::MAX,
    })]);
    assert_eq!(w.plan(|p, _| p.allocate_producer_ids()), None);
}

#[test]
fn a_contradicting_record_changes_nothing() {
    let mut w = World::new();
    w.must_create("t");
    let id = w.state.topic("t").expect("there").id;
    let before = w.state.image();
    let config = |resource_type, resource: &str| {
        MetaRecord::ConfigSet(ConfigSet {
            resource_type,
            resource: resource.into(),
            name: "n".into(),
            value: Some("v".into()),
        })
    };
    let created = |name: &str, id, replicas| {
        MetaRecord::TopicCreated(TopicCreated {
            name: name.into(),
            id,
            replicas,
        })
    };
    let changed = |partition, leader, leader_epoch, isr| {
        MetaRecord::PartitionChanged(PartitionChanged {
            id,
            partition,
            leader,
            leader_epoch,
            partition_epoch: 1,
            isr,
        })
    };
    let wrong = [
        MetaRecord::ClusterCreated(ClusterCreated { cluster_id: [8; 16] }),
        created("t", [9; 16], vec![vec![1]]),
        created("u", id, vec![vec![1]]),
        created("u", [0; 16], vec![vec![1]]),
        created("a b", [9; 16], vec![vec![1]]),
        created("u", [9; 16], vec![]),
        created("u", [9; 16], vec![vec![]]),
        MetaRecord::PartitionsAdded(PartitionsAdded {
            id,
            first: 5,
            replicas: vec![vec![1]],
        }),
        MetaRecord::PartitionsAdded(PartitionsAdded {
            id: [9; 16],
            first: 1,
            replicas: vec![vec![1]],
        }),
        MetaRecord::TopicDeleted(TopicDeleted { id: [9; 16] }),
        changed(0, 7, 1, vec![1]),
        changed(0, 1, 1, vec![7]),
        changed(0, 1, -1, vec![1]),
        changed(3, 1, 1, vec![1]),
        config(2, "nope"),
        config(4, "x"),
        config(8, "1"),
        config(99, "g"),
        MetaRecord::ProducerIdsAllocated(ProducerIdsAllocated {
            broker_id: 1,
            next: -1,
        }),
        MetaRecord::FeatureLevel(FeatureLevel {
            name: "f".into(),
            level: -1,
        }),
    ];
    for record in wrong {
        assert!(w.state.apply(&record).is_err(), "{record:?}");
        assert_eq!(w.state.image(), before);
    }
    assert!(w.state.apply(&changed(0, -1, 1, vec![])).is_ok());
    assert_eq!(w.state.topic("t").expect("there").partitions[0].leader, -1);
}

#[test]
fn every_record_survives_its_bytes() {
    let mut w = World::new();
    w.create(
        &[sized("t", 3, 1), with_configs(&[("retention.ms", Some("5"))])],
        false,
    );
    let id = w.state.topic("t").expect("there").id;
    let mut all = w.log.clone();
    all.extend([
        MetaRecord::PartitionsAdded(PartitionsAdded {
            id,
            first: 3,
            replicas: vec![vec![1]; 2],
        }),
        MetaRecord::PartitionChanged(PartitionChanged {
            id,
            partition: 1,
            leader: -1,
            leader_epoch: 1,
            partition_epoch: 1,
            isr: vec![],
        }),
        MetaRecord::TopicDeleted(TopicDeleted { id }),
        MetaRecord::ProducerIdsAllocated(ProducerIdsAllocated {
            broker_id: 1,
            next: 1000,
        }),
        MetaRecord::FeatureLevel(FeatureLevel {
            name: "metadata.version".into(),
            level: 30,
        }),
        MetaRecord::Skipped {
            kind: 99,
            version: 0x81,
        },
    ]);
    all.extend(w.state.snapshot());
    for record in all {
        let bytes = record.encode();
        assert_eq!(MetaRecord::decode(&bytes), Ok(record.clone()));
        for cut in 0..bytes.len() {
            assert!(
                MetaRecord::decode(&bytes[..cut]).is_err(),
                "{record:?} cut at {cut}"
            );
        }
    }
    let unknown = [99, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(
        MetaRecord::decode(&unknown),
        Err(RecordError::Unknown { kind: 99, version: 0 })
    );
    let newer = [99, 0x80, 0, 0, 1, 0, 0, 0, 7];
    assert_eq!(
        MetaRecord::decode(&newer),
        Ok(MetaRecord::Skipped {
            kind: 99,
            version: 0x80
        })
    );
}

/// Golden bytes: logs written today must be read for ever.
#[test]
fn bytes_of_a_record_do_not_change() {
    let record = MetaRecord::ConfigSet(ConfigSet {
        resource_type: 2,
        resource: "orders".into(),
        name: "retention.ms".into(),
        value: Some("5".into()),
    });
    let hex: String = record.encode().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex, GOLDEN_CONFIG_SET);
    let created = MetaRecord::TopicCreated(TopicCreated {
        name: "orders".into(),
        id: *b"0123456789abcdef",
        replicas: vec![vec![1, 2], vec![2]],
    });
    let hex: String = created.encode().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex, GOLDEN_TOPIC_CREATED);
}

const GOLDEN_CONFIG_SET: &str = "060000002c000000726574656e74696f6e2e6d73020000006f7264657273ffff8c000000e8ffffff0100000035ffffffffffffff";
const GOLDEN_TOPIC_CREATED: &str = "020000003c000000010000000200000002000000f4ffffff02000000f4ffffff010000006f7264657273ffff30313233343536373839616263646566d8ffffff02000000";
