//! Features of the cluster (KIP-584): what this broker supports, and what is in force.
//!
//! ApiVersions tells both to clients, UpdateFeatures changes what is in force. A level that was never changed is the
//! feature's default.

use crate::metadata::MetadataState;

/// Name of the feature that tells which metadata format is in force.
pub const METADATA_VERSION: &str = "metadata.version";
/// Name of the feature that tells whether leaders may be elected from eligible leader replicas (KIP-966). With one
/// replica there never are any; what is left of it is that `min.insync.replicas` belongs to the cluster.
pub const ELIGIBLE_LEADER_REPLICAS: &str = "eligible.leader.replicas.version";

/// A feature that this broker knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feature {
    /// Kafka's name.
    pub name: &'static str,
    /// Lowest level supported.
    pub min: i16,
    /// Highest level supported.
    pub max: i16,
    /// Level in force where nobody changed it; 0 is off.
    pub default: i16,
    /// Nothing here depends on the level, so no other one can be put in force.
    pub fixed: bool,
}

/// All features. Clients take KIP-890's path inside transactions because of `transaction.version`;
/// `eligible.leader.replicas.version` decides who may set `min.insync.replicas`; the others are shown only.
pub const FEATURES: &[Feature] = &[
    Feature {
        name: ELIGIBLE_LEADER_REPLICAS,
        min: 0,
        max: 1,
        default: 1,
        fixed: false,
    },
    Feature {
        name: METADATA_VERSION,
        min: 7,
        max: 30,
        default: 30,
        fixed: true,
    },
    Feature {
        name: "group.version",
        min: 0,
        max: 1,
        default: 1,
        fixed: true,
    },
    Feature {
        name: "transaction.version",
        min: 0,
        max: 2,
        default: 2,
        fixed: false,
    },
];

/// The level of a feature that is in force.
pub fn level(feature: &Feature, state: &MetadataState) -> i16 {
    state
        .features()
        .find(|(name, _)| *name == feature.name)
        .map_or(feature.default, |(_, level)| level)
}

/// The level in force of the feature with this name; 0 if there is no such feature.
pub fn level_of(name: &str, state: &MetadataState) -> i16 {
    FEATURES
        .iter()
        .find(|feature| feature.name == name)
        .map_or(0, |feature| level(feature, state))
}
