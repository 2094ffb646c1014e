//! ApiVersions (KIP-35, KIP-511, KIP-584).

use std::rc::Rc;

use bytes::Bytes;
use turgo_net::api::ApiKey;
use turgo_net::messages::api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};
use turgo_net::{ErrorCode, Writer, encode_response};
use turgo_storage::env::Env;

use super::{Call, Close};
use crate::features::{FEATURES, level};
use crate::shard::Shard;

pub(super) fn answer<E: Env>(shard: &Rc<Shard<E>>, call: &Call) -> Result<Vec<Bytes>, Close> {
    let (min, max) = crate::apis::served(ApiKey::ApiVersions).expect("always served");
    if !(min..=max).contains(&call.version) {
        // A client from the future parses this version 0 body and asks again within our range.
        let body = ApiVersionsResponse {
            error_code: ErrorCode::UNSUPPORTED_VERSION.0,
            api_keys: vec![ApiVersion {
                api_key: ApiKey::ApiVersions as i16,
                min_version: min,
                max_version: max,
            }],
            ..Default::default()
        };
        return encode_response(ApiKey::ApiVersions, 0, call.correlation_id, &body)
            .map(Writer::into_parts)
            .map_err(|error| Close::Encode {
                api: call.api.name(),
                version: 0,
                error,
            });
    }
    let mut reader = call.reader();
    let request =
        ApiVersionsRequest::decode(&mut reader, call.version).map_err(|error| call.body_error(error))?;
    if call.version >= 3
        && !(is_name(&request.client_software_name) && is_name(&request.client_software_version))
    {
        return call.encode(&ApiVersionsResponse {
            error_code: ErrorCode::INVALID_REQUEST.0,
            ..Default::default()
        });
    }
    let api_keys = crate::apis::SERVED
        .iter()
        .filter_map(|api| {
            let (min_version, max_version) = crate::apis::offered(*api)?;
            Some(ApiVersion {
                api_key: *api as i16,
                min_version,
                max_version,
            })
        })
        .collect();
    let metadata = shard.metadata();
    call.encode(&ApiVersionsResponse {
        api_keys,
        supported_features: FEATURES
            .iter()
            // Up to version 3 a supported minimum of 0 broke clients (KAFKA-17492).
            .filter(|feature| feature.min > 0 || call.version >= 4)
            .map(|feature| SupportedFeatureKey {
                name: feature.name.into(),
                min_version: feature.min,
                max_version: feature.max,
            })
            .collect(),
        finalized_features_epoch: 1,
        finalized_features: FEATURES
            .iter()
            .map(|feature| (feature, level(feature, &metadata)))
            .filter(|(_, level)| *level > 0)
            .map(|(feature, level)| FinalizedFeatureKey {
                name: feature.name.into(),
                max_version_level: level,
                min_version_level: level,
            })
            .collect(),
        ..Default::default()
    })
}

/// Letters, digits, dots and dashes, beginning and ending with a letter or digit (KIP-511).
fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    first.is_ascii_alphanumeric()
        && last.is_ascii_alphanumeric()
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::is_name;

    #[test]
    fn names_follow_kip_511() {
        for good in ["a", "kafka-python", "1.2.3", "a.b-c9"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "-a", "a-", ".a", "a b", "a_b", "é"] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
