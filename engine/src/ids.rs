//! Ids as text: 16 bytes in url-safe base64 without padding, 22 characters, as Kafka writes them.

use turgo_net::Uuid;

/// The text of an id.
pub fn uuid_text(id: &[u8; 16]) -> String {
    Uuid(*id).to_string()
}

/// The id of a text; `None` if it is not one.
pub fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    text.parse::<Uuid>().ok().map(|uuid| uuid.0)
}
