//! The list of APIs: keys, names, and which versions the schemas know. What a broker serves is [`crate::served`].

struct Facts {
    name: &'static str,
    min: i16,
    max: i16,
    flexible: Option<i16>,
    unstable: bool,
    broker: bool,
    controller: bool,
}

/// An inclusive range of versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionRange {
    /// First version.
    pub min: i16,
    /// Last version.
    pub max: i16,
}

impl VersionRange {
    /// Whether `version` lies inside.
    pub fn contains(self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }
}

include!(concat!(env!("OUT_DIR"), "/api.rs"));

/// A key that Kafka 4.3 does not have (or no longer serves at any version).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown API key {0}")]
pub struct UnknownApiKey(pub i16);

impl TryFrom<i16> for ApiKey {
    type Error = UnknownApiKey;

    fn try_from(key: i16) -> Result<Self, Self::Error> {
        index_of(key).map(|i| Self::ALL[i]).ok_or(UnknownApiKey(key))
    }
}

impl From<ApiKey> for i16 {
    fn from(key: ApiKey) -> i16 {
        key as i16
    }
}

impl std::fmt::Display for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl ApiKey {
    const fn facts(self) -> &'static Facts {
        match index_of(self as i16) {
            Some(index) => &FACTS[index],
            None => panic!("every variant has a row"),
        }
    }

    /// The name in the protocol, e.g. `OffsetCommit`.
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// Versions that the codec knows.
    pub const fn valid_versions(self) -> VersionRange {
        VersionRange {
            min: self.facts().min,
            max: self.facts().max,
        }
    }

    /// Whether the last of [`ApiKey::valid_versions`] is not final, so that nobody may advertise it.
    pub const fn last_version_unstable(self) -> bool {
        self.facts().unstable
    }

    /// First version with compact lengths and tagged fields, in request and response alike.
    pub const fn flexible_since(self) -> Option<i16> {
        self.facts().flexible
    }

    /// Whether `version` has compact lengths and tagged fields. Versions above the known ones count as well.
    pub const fn is_flexible(self, version: i16) -> bool {
        match self.flexible_since() {
            Some(since) => version >= since,
            None => false,
        }
    }

    /// Whether Kafka serves it to clients of a broker.
    pub const fn on_broker(self) -> bool {
        self.facts().broker
    }

    /// Whether Kafka serves it on a controller's listener.
    pub const fn on_controller(self) -> bool {
        self.facts().controller
    }
}

/// Version of the header before a request: 2 from the first flexible version on, else 1.
pub const fn request_header_version(key: ApiKey, version: i16) -> i16 {
    if key.is_flexible(version) { 2 } else { 1 }
}

/// Version of the header before a response: 1 from the first flexible version on, else 0. ApiVersions always answers
/// with 0, so that a client can read it before it knows any version (KIP-511).
pub const fn response_header_version(key: ApiKey, version: i16) -> i16 {
    if key.is_flexible(version) && !matches!(key, ApiKey::ApiVersions) {
        1
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_convert_both_ways_and_removed_ones_are_unknown() {
        for key in ApiKey::ALL {
            assert_eq!(ApiKey::try_from(i16::from(key)), Ok(key));
        }
        for key in [-1, 4, 5, 6, 7, 93, 500, i16::MIN, i16::MAX] {
            assert_eq!(ApiKey::try_from(key), Err(UnknownApiKey(key)));
        }
        assert_eq!(ApiKey::ALL.len(), 89);
        assert_eq!(ApiKey::OffsetForLeaderEpoch.to_string(), "OffsetForLeaderEpoch");
    }

    #[test]
    fn header_versions_follow_flexibility_except_for_api_versions() {
        assert_eq!(
            (
                request_header_version(ApiKey::Produce, 8),
                response_header_version(ApiKey::Produce, 8)
            ),
            (1, 0)
        );
        assert_eq!(
            (
                request_header_version(ApiKey::Produce, 9),
                response_header_version(ApiKey::Produce, 9)
            ),
            (2, 1)
        );
        for version in 0..6 {
            assert_eq!(response_header_version(ApiKey::ApiVersions, version), 0);
        }
        assert_eq!(request_header_version(ApiKey::ApiVersions, 2), 1);
        assert_eq!(request_header_version(ApiKey::ApiVersions, 99), 2);
        for never in [ApiKey::SaslHandshake, ApiKey::OffsetDelete] {
            assert_eq!(
                (
                    request_header_version(never, 1),
                    response_header_version(never, 1)
                ),
                (1, 0)
            );
        }
    }
}
