//! The settings of a group.
//!
//! Only those of the new consumer protocol; they are checked, stored and described, so that the tools work, and take
//! effect when that protocol is served.

use super::def::{Check::*, ConfigDef, ConfigType::*, Effect::*, Unit, topic};

pub(super) static GROUP: &[ConfigDef] = &[
    topic(
        "consumer.assignment.interval.ms",
        Int,
        "1000",
        Min(0),
        Unit::Milliseconds,
        Accepted,
        &[("group.consumer.assignment.interval.ms", 1)],
        "Least time between two assignments of the group.",
    ),
    topic(
        "consumer.heartbeat.interval.ms",
        Int,
        "5000",
        Min(1),
        Unit::Milliseconds,
        Accepted,
        &[("group.consumer.heartbeat.interval.ms", 1)],
        "Heartbeat interval of the members.",
    ),
    topic(
        "consumer.session.timeout.ms",
        Int,
        "45000",
        Min(1),
        Unit::Milliseconds,
        Accepted,
        &[("group.consumer.session.timeout.ms", 1)],
        "Session timeout of the members.",
    ),
];
