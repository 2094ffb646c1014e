//! Every message of the protocol, generated from `schemas/`: one module per API, internal record type or data format.
//!
//! Field names are Kafka's in snake case; the line above a field states its type, versions, default and tag. Decoding
//! borrows from the frame. A field that a version lacks has its default after decoding; encoding drops it when it is
//! ignorable or at its default and is an error otherwise, because silently losing a value breaks clients. Unknown
//! tagged fields are skipped, not kept. Where the request and the response of an API name different structures alike,
//! the names here begin with `Request` and `Response`.

#![allow(clippy::all, clippy::nursery, unused_variables)]

use crate::wire::{Decode, DecodeError, Encode, EncodeError, Reader, Writer};

/// What a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Sent by a client.
    Request,
    /// Sent by a broker.
    Response,
    /// Key of a record in an internal topic, preceded there by an int16 of its type.
    Key,
    /// Value of a record in an internal topic, preceded there by an int16 of its version.
    Value,
    /// Anything else with a stated layout.
    Data,
}

/// A top-level message and its facts.
pub trait Message: Encode {
    /// Its name in Kafka's schema.
    const NAME: &'static str;
    /// What it is for.
    const KIND: Kind;
    /// API key, or type of the internal record.
    const KEY: Option<i16>;
    /// First version.
    const MIN_VERSION: i16;
    /// Last version.
    const MAX_VERSION: i16;
    /// First version with compact lengths and tagged fields.
    const FLEXIBLE_SINCE: Option<i16>;
}

/// What every generated module names.
mod prelude {
    pub(crate) use super::Kind;
    pub(crate) use super::Message;
    pub(crate) use crate::wire::{
        Decode, DecodeError, Encode, EncodeError, Reader, Records, Uuid, Writer, absent,
    };
    pub(crate) use std::borrow::Cow;
}

macro_rules! structure {
    ($name:ident $($lifetime:lifetime)?) => {
        impl<'a> Decode<'a> for $name $(<$lifetime>)? {
            #[inline]
            fn decode(r: &mut Reader<'a>, version: i16) -> Result<Self, DecodeError> {
                $name::decode(r, version)
            }
        }
        impl $(<$lifetime>)? Encode for $name $(<$lifetime>)? {
            #[inline]
            fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {
                $name::encode(self, w, version)
            }
        }
    };
}

macro_rules! message {
    ($name:ident $($lifetime:lifetime)?, $kind:ident, $key:expr, $min:expr, $max:expr, $flexible:expr) => {
        structure!($name $($lifetime)?);
        impl $(<$lifetime>)? Message for $name $(<$lifetime>)? {
            const NAME: &'static str = stringify!($name);
            const KIND: Kind = Kind::$kind;
            const KEY: Option<i16> = $key;
            const MIN_VERSION: i16 = $min;
            const MAX_VERSION: i16 = $max;
            const FLEXIBLE_SINCE: Option<i16> = $flexible;
        }
    };
}

include!(concat!(env!("OUT_DIR"), "/messages.rs"));

/// Encodes the key of an internal record: its type as int16, then the key at its newest version.
pub fn encode_record_key<M: Message>(key: &M) -> Result<Vec<u8>, EncodeError> {
    let mut w = Writer::new();
    w.i16(M::KEY.unwrap_or(-1));
    key.encode(&mut w, M::MAX_VERSION)?;
    Ok(w.to_vec())
}

/// Encodes the value of an internal record (or of data with a version prefix): `version` as int16, then the value.
pub fn encode_versioned<M: Message>(value: &M, version: i16) -> Result<Vec<u8>, EncodeError> {
    let mut w = Writer::new();
    w.i16(version);
    value.encode(&mut w, version)?;
    Ok(w.to_vec())
}

/// Decodes what [`encode_versioned`] writes: the version, then the value. Trailing bytes are allowed, as Kafka's own
/// readers of subscriptions and assignments allow them.
pub fn decode_versioned<'a, M: Message + Decode<'a>>(bytes: &'a [u8]) -> Result<M, DecodeError> {
    let mut r = Reader::new(bytes);
    let version = r.i16()?;
    <M as Decode>::decode(&mut r, version)
}
