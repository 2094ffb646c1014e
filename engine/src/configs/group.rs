//! The settings of a group.
//!
//! Those of the consumer protocol (KIP-848); the coordinator asks for them with every heartbeat.

use super::def::{Check::*, ConfigDef, ConfigType::*, Effect::*, Unit, topic};

pub(super) static GROUP: &[ConfigDef] = &[
    topic(
        "consumer.assignment.interval.ms",
        Int,
        "1000",
        Min(0),
        Unit::Milliseconds,
        Applied,
        &[("group.consumer.assignment.interval.ms", 1)],
        "Least time between two assignments of the group.",
    ),
    topic(
        "consumer.heartbeat.interval.ms",
        Int,
        "5000",
        Min(1),
        Unit::Milliseconds,
        Applied,
        &[("group.consumer.heartbeat.interval.ms", 1)],
        "Heartbeat interval of the members.",
    ),
    topic(
        "consumer.session.timeout.ms",
        Int,
        "45000",
        Min(1),
        Unit::Milliseconds,
        Applied,
        &[("group.consumer.session.timeout.ms", 1)],
        "Session timeout of the members.",
    ),
];
