//! Random requests against a simple model, replay against the live state, and damaged bytes.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// What a test does to a cluster.
#[derive(Debug, Clone)]
enum Step {
    Create(String, i32, Vec<(String, Option<String>)>, bool),
    Auto(String),
    Delete(String),
    DeleteById(u8),
    Grow(String, i32, bool),
    Alter(i8, String, Vec<(String, i8, Option<String>)>, bool),
    Replace(String, Vec<(String, Option<String>)>),
    Producers,
    Change(u8, i32),
    Snapshot,
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[ab][._]?[ab]?",
        1 => Just("__consumer_offsets".to_owned()),
        1 => Just("a b".to_owned()),
        1 => ".{0,4}",
    ]
}

fn setting() -> impl Strategy<Value = (String, Option<String>)> {
    let names = prop::sample::select(vec![
        "retention.ms",
        "cleanup.policy",
        "durability",
        "min.compaction.lag.ms",
        "max.compaction.lag.ms",
        "leader.replication.throttled.replicas",
        "log.retention.ms",
        "log.cleanup.policy",
        "num.partitions",
        "foo",
    ]);
    let values = prop_oneof![
        Just("5".to_owned()),
        Just("compact".to_owned()),
        Just("memory".to_owned()),
        Just("0:1".to_owned()),
        "[ ,a-z0-9]{0,6}",
    ];
    (names, prop::option::weighted(0.9, values)).prop_map(|(n, v)| (n.to_owned(), v))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (name(), -2i32..6, prop::collection::vec(setting(), 0..3), prop::bool::weighted(0.2))
            .prop_map(|(n, p, c, v)| Step::Create(n, p, c, v)),
        1 => name().prop_map(Step::Auto),
        2 => name().prop_map(Step::Delete),
        1 => any::<u8>().prop_map(Step::DeleteById),
        2 => (name(), -1i32..9, any::<bool>()).prop_map(|(n, c, v)| Step::Grow(n, c, v)),
        3 => (
            prop::sample::select(vec![2i8, 4, 8, 16, 32, 1]),
            prop_oneof![name(), Just("1".to_owned()), Just(String::new())],
            prop::collection::vec((setting(), 0i8..5), 0..4),
            any::<bool>(),
        )
            .prop_map(|(t, n, ops, v)| {
                Step::Alter(t, n, ops.into_iter().map(|((k, v), o)| (k, o, v)).collect(), v)
            }),
        1 => (name(), prop::collection::vec(setting(), 0..3)).prop_map(|(n, c)| Step::Replace(n, c)),
        1 => Just(Step::Producers),
        1 => (any::<u8>(), 0i32..4).prop_map(|(t, l)| Step::Change(t, l)),
        1 => Just(Step::Snapshot),
    ]
}

/// The simplest thing that could be right: topic name to partitions and settings.
type Model = BTreeMap<String, (usize, BTreeMap<String, String>)>;

fn take(world: &mut World, model: &mut Model, step: Step) {
    match step {
        Step::Create(name, partitions, configs, validate_only) => {
            let topic = NewTopic {
                num_partitions: partitions,
                configs: configs.clone(),
                ..NewTopic::named(&name)
            };
            let result = world.create(&[topic], validate_only).remove(0);
            if let (Ok(made), false) = (result.outcome, validate_only) {
                let settings = configs.into_iter().filter_map(|(k, v)| Some((k, v?))).collect();
                model.insert(name, (made.partitions as usize, settings));
            }
        }
        Step::Auto(name) => {
            let result = world.plan(|p, random| p.auto_create_topic(&name, random));
            if let Ok(made) = result.outcome {
                let settings = world.state.overrides(ResourceType::Topic, &name).clone();
                model.insert(name, (made.partitions as usize, settings));
            }
        }
        Step::Delete(name) => {
            let delete = DeleteTopic {
                name: Some(name.clone()),
                id: [0; 16],
            };
            let existed = model.remove(&name).is_some();
            let result = world
                .plan(|p, _| p.delete_topics(std::slice::from_ref(&delete)))
                .remove(0);
            assert_eq!(result.outcome.is_ok(), existed);
        }
        Step::DeleteById(pick) => {
            let count = world.state.topic_count().max(1);
            let topic = world.state.topics().nth(usize::from(pick) % count).cloned();
            let id = topic.as_ref().map_or([pick; 16], |t| t.id);
            let result = world
                .plan(|p, _| p.delete_topics(&[DeleteTopic { name: None, id }]))
                .remove(0);
            assert_eq!(result.outcome.is_ok(), topic.is_some());
            topic.map(|t| model.remove(&t.name));
        }
        Step::Grow(name, count, validate_only) => {
            let grow = GrowTopic {
                name: name.clone(),
                count,
                assignments: None,
            };
            let result = world
                .plan(|p, _| p.create_partitions(&[grow], validate_only))
                .remove(0);
            if let (Ok(()), false) = (result.outcome, validate_only) {
                model.get_mut(&name).expect("grown, so there").0 = count as usize;
            }
        }
        Step::Alter(resource_type, name, ops, validate_only) => {
            let resource = AlterResource {
                resource_type,
                name: name.clone(),
                altering: Altering::Some(ops.clone()),
            };
            let result = world
                .plan(|p, _| p.alter_configs(&[resource], validate_only))
                .remove(0);
            if result.outcome.is_ok() && !validate_only && resource_type == 2 {
                let settings = &mut model.get_mut(&name).expect("changed, so there").1;
                for (key, op, value) in ops {
                    match op {
                        0 => {
                            settings.insert(key, value.expect("a set without value is refused"));
                        }
                        1 => {
                            settings.remove(&key);
                        }
                        _ => {
                            // Lists are checked by their own tests; the model takes the result.
                            let new = world
                                .state
                                .overrides(ResourceType::Topic, &name)
                                .get(&key)
                                .cloned();
                            settings.insert(key, new.expect("a list that was changed is set"));
                        }
                    }
                }
            }
        }
        Step::Replace(name, configs) => {
            let altering = Altering::All(configs.clone());
            let resource = AlterResource {
                resource_type: 2,
                name: name.clone(),
                altering,
            };
            let result = world.plan(|p, _| p.alter_configs(&[resource], false)).remove(0);
            if result.outcome.is_ok() {
                model.get_mut(&name).expect("changed, so there").1 =
                    configs.into_iter().filter_map(|(k, v)| Some((k, v?))).collect();
            }
        }
        Step::Producers => {
            world.plan(|p, _| p.allocate_producer_ids());
        }
        Step::Change(pick, leader_epoch) => {
            let count = world.state.topic_count().max(1);
            let Some(topic) = world.state.topics().nth(usize::from(pick) % count).cloned() else {
                return;
            };
            let partition = &topic.partitions[0];
            let record = MetaRecord::PartitionChanged(PartitionChanged {
                id: topic.id,
                partition: 0,
                leader: NODE,
                leader_epoch: partition.leader_epoch + leader_epoch,
                partition_epoch: partition.partition_epoch + 1,
                isr: vec![NODE],
            });
            world.commit(vec![record]);
        }
        Step::Snapshot => {
            let records = world.state.snapshot();
            world.commit(records);
        }
    }
}

fn agrees(state: &MetadataState, model: &Model) {
    assert_eq!(state.topic_count(), model.len());
    assert_eq!(
        state.partition_count(),
        model.values().map(|(p, _)| p).sum::<usize>()
    );
    assert_eq!(state.all_partitions().count(), state.partition_count());
    for (name, (partitions, settings)) in model {
        let topic = state.topic(name).expect("as in the model");
        assert_eq!(topic.partitions.len(), *partitions);
        assert_eq!(state.topic_by_id(&topic.id).map(|t| &t.name), Some(name));
        assert_eq!(state.overrides(ResourceType::Topic, name), settings, "{name}");
        assert_eq!(state.collision(name), None, "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Any requests in any order: never a panic, and the state is what a map of maps says.
    #[test]
    fn requests_keep_the_state_equal_to_a_simple_model(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        let mut model = Model::new();
        for step in steps {
            take(&mut world, &mut model, step);
            agrees(&world.state, &model);
        }
        let mut replayed = MetadataState::new();
        let mut bytes_replayed = MetadataState::new();
        for record in &world.log {
            replayed.apply(record).expect("what was applied once applies again");
            let decoded = MetaRecord::decode(&record.encode()).expect("what was written is read");
            bytes_replayed.apply(&decoded).expect("and applies");
        }
        prop_assert_eq!(replayed.fingerprint(), world.state.fingerprint());
        prop_assert_eq!(bytes_replayed.fingerprint(), world.state.fingerprint());
        prop_assert_eq!(&replayed, &world.state);
        let cut = world.log.len() / 2;
        let mut prefix = MetadataState::new();
        for record in &world.log[..cut] {
            prefix.apply(record).expect("applies");
        }
        let mut from_snapshot = MetadataState::new();
        for record in prefix.snapshot().iter().chain(&world.log[cut..]) {
            from_snapshot.apply(record).expect("applies after a snapshot too");
        }
        prop_assert_eq!(&from_snapshot, &world.state);
        prop_assert_eq!(from_snapshot.fingerprint(), world.state.fingerprint());
    }

    /// Any bytes: an error or a record, never a panic; whatever is read applies or is refused, without a panic.
    #[test]
    fn any_bytes_are_judged(kind in 0u8..20, version in prop_oneof![Just(0u8), any::<u8>()], body in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = vec![kind, version, 0, 0];
        bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&body);
        if let Ok(record) = MetaRecord::decode(&bytes) {
            let _ = World::new().state.apply(&record);
        }
        let _ = MetaRecord::decode(&body);
    }

    /// A record with some bytes changed: an error or another record, never a panic.
    #[test]
    fn damaged_records_are_judged(steps in prop::collection::vec(step(), 1..12), hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut world = World::new();
        let mut model = Model::new();
        for step in steps {
            take(&mut world, &mut model, step);
        }
        let mut records = world.log.clone();
        records.extend(world.state.snapshot());
        for record in records {
            let mut bytes = record.encode();
            for (at, value) in &hits {
                let at = at.index(bytes.len());
                bytes[at] ^= *value;
            }
            if let Ok(record) = MetaRecord::decode(&bytes) {
                let _ = world.state.clone().apply(&record);
            }
        }
    }
}
