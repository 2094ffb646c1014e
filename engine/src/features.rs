//! Features of the cluster (KIP-584): what this broker supports, and what is in force.
//!
//! ApiVersions tells both to clients, UpdateFeatures changes what is in force. A level that was never changed is the
//! feature's default.

use crate::metadata::MetadataState;

/// Name of the feature that tells which metadata format is in force.
pub const METADATA_VERSION: &str = "metadata.version";

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

/// All features. Clients take KIP-890's path inside transactions because of `transaction.version`; the others are shown
/// only.
pub const FEATURES: &[Feature] = &[
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
