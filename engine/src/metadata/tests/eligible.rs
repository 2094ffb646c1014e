//! Whose setting `min.insync.replicas` is while eligible leader replicas are on, and when they are not.

use std::collections::BTreeMap;

use turgo_net::ErrorCode;

use super::{NODE, World, code};
use crate::configs::ResourceType;
use crate::features::ELIGIBLE_LEADER_REPLICAS;
use crate::metadata::eligible::{fitting, settle};
use crate::metadata::{AlterResource, Altering, FeatureLevel, MetaRecord};

const SETTING: &str = "min.insync.replicas";
const SET: i8 = 0;
const DELETE: i8 = 1;

fn own(world: &World, broker: &str) -> Option<String> {
    world
        .state
        .overrides(ResourceType::Broker, broker)
        .get(SETTING)
        .cloned()
}

fn alter(world: &mut World, broker: &str, altering: Altering) -> ErrorCode {
    let resource = AlterResource {
        resource_type: ResourceType::Broker.id(),
        name: broker.to_owned(),
        altering,
    };
    let mut results = world.plan(|planner, _| planner.alter_configs(&[resource], false));
    code(results.remove(0).outcome)
}

fn change(world: &mut World, broker: &str, op: i8, value: Option<&str>) -> ErrorCode {
    let ops = vec![(SETTING.to_owned(), op, value.map(str::to_owned))];
    alter(world, broker, Altering::Some(ops))
}

fn switch(world: &mut World, level: i16) {
    world.commit(vec![MetaRecord::FeatureLevel(FeatureLevel {
        name: ELIGIBLE_LEADER_REPLICAS.into(),
        level,
    })]);
}

#[test]
fn the_setting_is_the_clusters_from_the_first_start() {
    for (file, expected) in [(None, "1"), (Some("3"), "3")] {
        let mut world = World::new();
        let node: BTreeMap<String, String> = file
            .map(|text| (SETTING.into(), text.into()))
            .into_iter()
            .collect();
        let records = settle(&world.state, &node);
        world.commit(records);
        assert_eq!(own(&world, "").as_deref(), Some(expected));
        assert_eq!(settle(&world.state, &node), Vec::new(), "it is settled once");
        assert_eq!(
            settle(&world.state, &BTreeMap::new()),
            Vec::new(),
            "the first file counts"
        );
    }
}

#[test]
fn it_can_be_changed_for_all_brokers_only_and_not_be_removed() {
    let mut world = World::new();
    let records = settle(&world.state, &BTreeMap::new());
    world.commit(records);
    let this = NODE.to_string();
    for (op, value) in [(SET, Some("1")), (SET, Some("2")), (DELETE, None)] {
        assert_eq!(
            change(&mut world, &this, op, value),
            ErrorCode::INVALID_CONFIG,
            "{op}"
        );
    }
    assert_eq!(change(&mut world, "", DELETE, None), ErrorCode::INVALID_CONFIG);
    assert_eq!(
        own(&world, "").as_deref(),
        Some("1"),
        "nothing refused has an effect"
    );
    assert_eq!(change(&mut world, "", SET, Some("2")), ErrorCode::NONE);
    assert_eq!(own(&world, "").as_deref(), Some("2"));
    assert_eq!(own(&world, &this), None);
}

#[test]
fn without_eligible_leaders_every_broker_may_have_its_own_until_they_come() {
    let mut world = World::new();
    switch(&mut world, 0);
    assert_eq!(settle(&world.state, &BTreeMap::new()), Vec::new());
    let this = NODE.to_string();
    assert_eq!(change(&mut world, &this, SET, Some("2")), ErrorCode::NONE);
    assert_eq!(change(&mut world, "", SET, Some("3")), ErrorCode::NONE);
    assert_eq!(change(&mut world, "", DELETE, None), ErrorCode::NONE);
    assert_eq!(
        (own(&world, ""), own(&world, &this).as_deref()),
        (None, Some("2"))
    );
    let records = fitting(&world.state, &BTreeMap::new());
    switch(&mut world, 1);
    world.commit(records);
    assert_eq!(
        (own(&world, "").as_deref(), own(&world, &this)),
        (Some("1"), None)
    );
    assert_eq!(settle(&world.state, &BTreeMap::new()), Vec::new());
}
