//! The 128-bit identifiers of topics, directories and members.

use std::fmt;
use std::str::FromStr;

/// A 128-bit identifier in network byte order. Its text form is Kafka's: 22 characters of url-safe base64, no padding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Uuid(pub [u8; 16]);

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const TEXT_CHARS: usize = 22;

impl Uuid {
    /// All zeros: "no id". Reserved by the protocol.
    pub const ZERO: Uuid = Uuid([0; 16]);

    /// The id of Kafka's own metadata topic. Reserved by the protocol.
    pub const METADATA_TOPIC: Uuid = Uuid([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

    /// Builds a random (version 4, variant 1) id from 16 random bytes that the caller supplies.
    pub fn from_random_bytes(mut bytes: [u8; 16]) -> Self {
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Uuid(bytes)
    }

    /// Whether this is [`Uuid::ZERO`].
    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }

    /// Whether the protocol keeps this id for itself, so that no topic may carry it.
    pub fn is_reserved(&self) -> bool {
        *self == Self::ZERO || *self == Self::METADATA_TOPIC
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0u8; TEXT_CHARS];
        let value = u128::from_be_bytes(self.0);
        // 21 characters carry 6 bits each, from the top; the last one carries the 2 bits left over.
        for (i, c) in text.iter_mut().enumerate() {
            let six = if i < TEXT_CHARS - 1 {
                (value >> (122 - 6 * i)) & 63
            } else {
                (value & 3) << 4
            };
            *c = ALPHABET[six as usize];
        }
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not 22 characters of url-safe base64 (up to two `=` after them are allowed). The client must correct it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a base64 uuid of 22 characters")]
pub struct ParseUuidError;

impl FromStr for Uuid {
    type Err = ParseUuidError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let text = s.strip_suffix("==").unwrap_or(s).as_bytes();
        if text.len() != TEXT_CHARS {
            return Err(ParseUuidError);
        }
        let mut value: u128 = 0;
        for (i, c) in text.iter().enumerate() {
            let six = ALPHABET.iter().position(|a| a == c).ok_or(ParseUuidError)? as u128;
            if i < TEXT_CHARS - 1 {
                value = (value << 6) | six;
            } else if six & 15 == 0 {
                value = (value << 2) | (six >> 4);
            } else {
                return Err(ParseUuidError); // bits beyond 128 would be lost
            }
        }
        Ok(Uuid(value.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_is_url_safe_base64_without_padding() {
        assert_eq!(Uuid::ZERO.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(Uuid::METADATA_TOPIC.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        assert_eq!(Uuid([0xff; 16]).to_string(), "_____________________w");
        assert_eq!(Uuid([0xfb; 16]).to_string(), "-_v7-_v7-_v7-_v7-_v7-w");
    }

    #[test]
    fn text_round_trips_and_bad_text_is_refused() {
        for seed in 0..200u128 {
            let id = Uuid((seed.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c834)).to_be_bytes());
            assert_eq!(id.to_string().parse(), Ok(id));
            assert_eq!(format!("{id}==").parse(), Ok(id));
        }
        for bad in [
            "",
            "A",
            "AAAAAAAAAAAAAAAAAAAAAB",
            "AAAAAAAAAAAAAAAAAAAAA+",
            "AAAAAAAAAAAAAAAAAAAAAAA",
            "ÄÄÄÄÄÄÄÄÄÄÄ",
        ] {
            assert_eq!(bad.parse::<Uuid>(), Err(ParseUuidError), "{bad}");
        }
    }

    #[test]
    fn random_ids_are_version_four_and_never_reserved() {
        let id = Uuid::from_random_bytes([0; 16]);
        assert_eq!(id.0[6] >> 4, 4);
        assert_eq!(id.0[8] >> 6, 2);
        assert!(!id.is_reserved());
    }
}
