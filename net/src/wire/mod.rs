//! Bytes of the Kafka protocol: reading without copying, writing without copying records.
//!
//! [`Reader`] walks one frame and lends out slices of it; [`Writer`] collects small fields in one buffer and keeps
//! references to record bytes. The generated [`crate::messages`] are written in terms of both. Everything here is
//! plain computation: no socket, clock or runtime.
//!
//! What always holds: no input makes a [`Reader`] panic, and what it allocates for one frame stays within
//! [`budget_for`] bytes.

mod reader;
mod record_data;
mod uuid;
mod writer;

pub use reader::{BUDGET_CEILING, BUDGET_FACTOR, BUDGET_FLOOR, DecodeError, Reader, budget_for};
pub use record_data::Records;
pub use uuid::{ParseUuidError, Uuid};
pub use writer::{EncodeError, REFERENCE_THRESHOLD, Writer};

pub(crate) use reader::Fixed;
pub(crate) use writer::absent;

/// The longest string the protocol carries, in bytes: the classic length prefix is an int16, and compact strings keep
/// that bound.
pub const MAX_STRING_BYTES: usize = i16::MAX as usize;

/// A structure that can be read at a version of its message.
pub trait Decode<'a>: Sized {
    /// Reads one value at `version` and leaves the reader after it; trailing bytes are the caller's.
    fn decode(r: &mut Reader<'a>, version: i16) -> Result<Self, DecodeError>;
}

/// A structure that can be written at a version of its message.
pub trait Encode {
    /// Appends the value at `version`. After an error the writer holds a partial value and must be dropped.
    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError>;
}
