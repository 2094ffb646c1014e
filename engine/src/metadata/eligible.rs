//! What eligible leader replicas (KIP-966) ask of the settings.
//!
//! While the feature is on, how many replicas must be in sync is a question of the whole cluster: `min.insync.replicas`
//! is always set for all brokers, cannot be removed there, and no single broker has its own. Topics keep theirs. The
//! planner checks changes by [`check_broker_change`]; [`settle`] gives the records that make the settings fit when the
//! feature is on at start or comes on later.

use std::collections::BTreeMap;

use turgo_net::ErrorCode;

use super::error::ApiError;
use super::record::{ConfigSet, MetaRecord};
use super::state::MetadataState;
use crate::configs::{Layers, ResourceType};
use crate::features::{ELIGIBLE_LEADER_REPLICAS, level_of};

/// The setting that belongs to the cluster.
pub(super) const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";

/// Whether leaders may be elected from eligible leader replicas.
pub(super) fn enabled(state: &MetadataState) -> bool {
    level_of(ELIGIBLE_LEADER_REPLICAS, state) > 0
}

/// Refuses (INVALID_CONFIG) the change of a broker's setting, or of all brokers' (`cluster_wide`), that the feature
/// forbids. `value`: what is to be set; `None` if it is to be removed.
pub(super) fn check_broker_change(
    state: &MetadataState,
    setting: &str,
    value: Option<&str>,
    cluster_wide: bool,
) -> Result<(), ApiError> {
    if setting != MIN_INSYNC_REPLICAS || !enabled(state) {
        return Ok(());
    }
    let refused = |text: &str| Err(ApiError::new(ErrorCode::INVALID_CONFIG, text));
    match value {
        _ if !cluster_wide => refused(
            "min.insync.replicas of one broker cannot be altered while eligible leader replicas are on.",
        ),
        None => refused(
            "min.insync.replicas of all brokers cannot be removed while eligible leader replicas are on.",
        ),
        Some(_) => Ok(()),
    }
}

/// Records that make the settings fit the feature; none if it is off or they fit already. `node`: the node file, whose
/// value becomes that of all brokers.
pub fn settle(state: &MetadataState, node: &BTreeMap<String, String>) -> Vec<MetaRecord> {
    if enabled(state) {
        fitting(state, node)
    } else {
        Vec::new()
    }
}

/// Records that make the settings fit the feature, whether it is on or not.
pub(crate) fn fitting(state: &MetadataState, node: &BTreeMap<String, String>) -> Vec<MetaRecord> {
    let record = |resource: &str, value: Option<String>| {
        MetaRecord::ConfigSet(ConfigSet {
            resource_type: ResourceType::Broker.id(),
            resource: resource.to_owned(),
            name: MIN_INSYNC_REPLICAS.to_owned(),
            value,
        })
    };
    let set = |resource: &str| {
        state
            .overrides(ResourceType::Broker, resource)
            .contains_key(MIN_INSYNC_REPLICAS)
    };
    let mut records = Vec::new();
    if !set("") {
        let nothing = BTreeMap::new();
        let layers = Layers {
            broker: &nothing,
            cluster: &nothing,
            node,
        };
        let value = layers.number(MIN_INSYNC_REPLICAS).unwrap_or(1);
        records.push(record("", Some(value.to_string())));
    }
    let own = state
        .configured(ResourceType::Broker)
        .filter(|resource| !resource.is_empty() && set(resource));
    records.extend(own.map(|resource| record(resource, None)));
    records
}
