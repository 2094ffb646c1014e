//! UpdateFeatures (key 57, versions 0 to 2; KIP-584, KIP-1022).
//!
//! As in Kafka, one update that is refused refuses them all. The level of a feature on which nothing depends is fixed: that of
//! `metadata.version` tells clients which Kafka this broker is like, and there is no older metadata format to go back to.

use std::collections::BTreeMap;

use turgo_net::ErrorCode;
use turgo_net::messages::update_features::{
    FeatureUpdateKey, UpdatableFeatureResult, UpdateFeaturesRequest, UpdateFeaturesResponse,
};

use crate::features::{ELIGIBLE_LEADER_REPLICAS, Feature, level};
use crate::metadata::{ApiError, FeatureLevel, MetaRecord, Plan, Planner, fitting};

const UPGRADE: i8 = 1;
const SAFE_DOWNGRADE: i8 = 2;
const UNSAFE_DOWNGRADE: i8 = 3;

/// Records and answer. `features`: those that this broker knows.
pub fn plan(
    request: &UpdateFeaturesRequest<'_>,
    version: i16,
    planner: &Planner<'_>,
    features: &[Feature],
) -> Plan<UpdateFeaturesResponse<'static>> {
    let mut levels = BTreeMap::new();
    for update in &request.feature_updates {
        let current = |feature: &Feature| {
            levels
                .get(feature.name)
                .copied()
                .unwrap_or_else(|| level(feature, planner.state))
        };
        match judge(update, version, features, current) {
            Ok(feature) => levels.insert(feature.name, update.max_version_level),
            Err(refused) => {
                let message = refused.message.unwrap_or_default();
                return Plan {
                    records: Vec::new(),
                    result: UpdateFeaturesResponse {
                        error_code: refused.code.0,
                        error_message: Some(
                            format!("No feature was updated, because of one: {message}").into(),
                        ),
                        ..Default::default()
                    },
                };
            }
        };
    }
    let changed = |(name, new): (&'static str, i16)| {
        let feature = features.iter().find(|feature| feature.name == name)?;
        (level(feature, planner.state) != new).then(|| {
            MetaRecord::FeatureLevel(FeatureLevel {
                name: name.to_owned(),
                level: new,
            })
        })
    };
    let records = if request.validate_only {
        Vec::new()
    } else {
        let eligible = levels.get(ELIGIBLE_LEADER_REPLICAS).is_some_and(|new| *new > 0);
        let mut records: Vec<_> = levels.into_iter().filter_map(changed).collect();
        if eligible {
            records.extend(fitting(planner.state, planner.site.static_configs));
        }
        records
    };
    let results = request
        .feature_updates
        .iter()
        .filter(|_| version < 2)
        .map(|update| UpdatableFeatureResult {
            feature: update.feature.to_string().into(),
            error_message: Some("".into()),
            ..Default::default()
        })
        .collect();
    Plan {
        records,
        result: UpdateFeaturesResponse {
            results,
            error_message: None,
            ..Default::default()
        },
    }
}

fn judge<'f>(
    update: &FeatureUpdateKey<'_>,
    version: i16,
    features: &'f [Feature],
    current: impl Fn(&Feature) -> i16,
) -> Result<&'f Feature, ApiError> {
    let (name, new) = (update.feature.as_ref(), update.max_version_level);
    let invalid = |why: &str| {
        ApiError::new(
            ErrorCode::INVALID_UPDATE_VERSION,
            format!("{name} to {new}: {why}"),
        )
    };
    let kind = match version {
        0 if update.allow_downgrade => SAFE_DOWNGRADE,
        0 => UPGRADE,
        _ => update.upgrade_type,
    };
    if !(UPGRADE..=UNSAFE_DOWNGRADE).contains(&kind) {
        return Err(invalid("unknown kind of update"));
    }
    if new < 0 {
        return Err(invalid("a level is not negative"));
    }
    let feature = features
        .iter()
        .find(|feature| feature.name == name)
        .ok_or_else(|| invalid("this broker does not know the feature"))?;
    if new < feature.min || new > feature.max {
        return Err(invalid(&format!(
            "this broker supports levels {} to {}",
            feature.min, feature.max
        )));
    }
    let current = current(feature);
    if new < current && kind == UPGRADE {
        return Err(invalid("an upgrade cannot lower the level"));
    }
    if new > current && kind != UPGRADE {
        return Err(invalid("a downgrade cannot raise the level"));
    }
    if feature.fixed && new != current {
        return Err(invalid("the level cannot be changed here"));
    }
    Ok(feature)
}
