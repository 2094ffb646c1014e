//! What precedes the body of a request or a response, and whole frames made of both.
//!
//! ```text
//! request frame   size i32 | api_key i16 | api_version i16 | correlation_id i32 | client_id nullable string (int16
//!                 length, even in version 2) | tagged fields (version 2) | body
//! response frame  size i32 | correlation_id i32 | tagged fields (version 1) | body
//! ```
//! `size` counts what follows it.

use std::borrow::Cow;

use crate::api::{ApiKey, request_header_version, response_header_version};
use crate::wire::{DecodeError, Encode, EncodeError, Reader, Writer};

/// The fixed beginning of every request, readable even when the API or the version is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestPrefix {
    /// The API, known or not.
    pub api_key: i16,
    /// Its version, served or not.
    pub api_version: i16,
    /// What the response must repeat.
    pub correlation_id: i32,
}

impl RequestPrefix {
    /// Reads the first eight bytes of a frame.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            api_key: r.i16()?,
            api_version: r.i16()?,
            correlation_id: r.i32()?,
        })
    }
}

/// Why a request's header cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The API is unknown, so the header's own version is as well. Kafka closes the connection.
    #[error("unknown API key {}", .0.api_key)]
    UnknownApi(RequestPrefix),
    /// The bytes are no header.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// The header of a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequestHeader<'a> {
    /// Which API.
    pub api_key: i16,
    /// Which version of it.
    pub api_version: i16,
    /// What the response must repeat.
    pub correlation_id: i32,
    /// What the client calls itself.
    pub client_id: Option<Cow<'a, str>>,
}

impl<'a> RequestHeader<'a> {
    /// Reads a header whose version follows from the API and version it names. The version may be one that is not
    /// served (then the caller answers or closes); an unknown API is an error that still carries the correlation id.
    pub fn decode(r: &mut Reader<'a>) -> Result<Self, HeaderError> {
        let prefix = RequestPrefix::decode(r)?;
        let Ok(key) = ApiKey::try_from(prefix.api_key) else {
            return Err(HeaderError::UnknownApi(prefix));
        };
        let client_id = r.opt_str(false, true)?;
        if request_header_version(key, prefix.api_version) >= 2 {
            r.skip_tags()?;
        }
        let RequestPrefix {
            api_key,
            api_version,
            correlation_id,
        } = prefix;
        Ok(Self {
            api_key,
            api_version,
            correlation_id,
            client_id,
        })
    }

    /// Appends the header at the version that `key` and its own `api_version` call for.
    pub fn encode(&self, w: &mut Writer, key: ApiKey) -> Result<(), EncodeError> {
        w.i16(self.api_key);
        w.i16(self.api_version);
        w.i32(self.correlation_id);
        w.opt_str(self.client_id.as_deref(), false, true, "ClientId")?;
        if request_header_version(key, self.api_version) >= 2 {
            w.uvarint(0);
        }
        Ok(())
    }
}

/// The header of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResponseHeader {
    /// The request's correlation id.
    pub correlation_id: i32,
}

impl ResponseHeader {
    /// Reads the header of an answer to a request of `key` at `version`.
    pub fn decode(r: &mut Reader<'_>, key: ApiKey, version: i16) -> Result<Self, DecodeError> {
        let correlation_id = r.i32()?;
        if response_header_version(key, version) >= 1 {
            r.skip_tags()?;
        }
        Ok(Self { correlation_id })
    }

    /// Appends the header of an answer to a request of `key` at `version`.
    pub fn encode(&self, w: &mut Writer, key: ApiKey, version: i16) {
        w.i32(self.correlation_id);
        if response_header_version(key, version) >= 1 {
            w.uvarint(0);
        }
    }
}

/// Fields of most responses fit; larger ones grow.
const FRAME_SCRATCH_BYTES: usize = 256;

/// A whole response frame: size, header, body.
///
/// # Errors
/// The body says something that `version` cannot; the caller built it wrongly.
pub fn encode_response<M: Encode>(
    key: ApiKey,
    version: i16,
    correlation_id: i32,
    body: &M,
) -> Result<Writer, EncodeError> {
    let mut w = Writer::with_capacity(FRAME_SCRATCH_BYTES);
    w.i32(0);
    ResponseHeader { correlation_id }.encode(&mut w, key, version);
    body.encode(&mut w, version)?;
    seal(w)
}

/// A whole request frame: size, header, body. For clients and tests.
///
/// # Errors
/// The body says something that `version` cannot; the caller built it wrongly.
pub fn encode_request<M: Encode>(
    key: ApiKey,
    version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
    body: &M,
) -> Result<Writer, EncodeError> {
    let mut w = Writer::with_capacity(FRAME_SCRATCH_BYTES);
    w.i32(0);
    let client_id = client_id.map(Cow::Borrowed);
    RequestHeader {
        api_key: key.into(),
        api_version: version,
        correlation_id,
        client_id,
    }
    .encode(&mut w, key)?;
    body.encode(&mut w, version)?;
    seal(w)
}

/// Puts the size in front.
fn seal(mut w: Writer) -> Result<Writer, EncodeError> {
    let size = i32::try_from(w.len() - 4).map_err(|_| EncodeError::Length(w.len()))?;
    w.patch_i32(0, size);
    Ok(w)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_frames_are_errors_and_an_unknown_key_keeps_its_correlation_id() {
        for len in 0..8 {
            let frame = [0u8; 8];
            let error = RequestHeader::decode(&mut Reader::new(&frame[..len]));
            assert_eq!(error, Err(HeaderError::Decode(DecodeError::Truncated)));
        }
        let frame = [0x7f, 0xff, 0, 1, 0, 0, 0, 42, 0xff, 0xff];
        let prefix = RequestPrefix {
            api_key: 0x7fff,
            api_version: 1,
            correlation_id: 42,
        };
        assert_eq!(
            RequestHeader::decode(&mut Reader::new(&frame)),
            Err(HeaderError::UnknownApi(prefix))
        );
    }

    #[test]
    fn client_id_keeps_its_int16_length_in_flexible_headers() {
        let header = RequestHeader {
            api_key: 18,
            api_version: 3,
            correlation_id: 7,
            client_id: Some(Cow::Borrowed("abc")),
        };
        let mut w = Writer::new();
        header.encode(&mut w, ApiKey::ApiVersions).unwrap();
        let bytes = w.to_vec();
        assert_eq!(bytes, [0, 18, 0, 3, 0, 0, 0, 7, 0, 3, b'a', b'b', b'c', 0]);
        let mut r = Reader::new(&bytes);
        assert_eq!(RequestHeader::decode(&mut r), Ok(header));
        assert_eq!(r.remaining(), 0);
    }
}
