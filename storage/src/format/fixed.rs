//! Shared handling of fixed headers: reading, writing, and the CRC every one of them carries.
//!
//! A header starts with `magic` and `hdr_crc`; the CRC covers the whole header with `hdr_crc` taken as zero. Reading
//! copies the header out, so bytes may lie at any address.

use rkyv::Portable;
use rkyv::api::high::HighValidator;
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::Error;
use rkyv::util::AlignedVec;

use super::sys::{self, Plain};

/// The bytes of a fixed struct.
pub(crate) fn bytes_of<T: Plain>(value: &T) -> &[u8] {
    sys::bytes_of(value)
}

/// A copy of the fixed struct at the start of `bytes`; none if there are too few.
pub(crate) fn read<T: Plain>(bytes: &[u8]) -> Option<T> {
    sys::read(bytes)
}

/// CRC of a header whose `hdr_crc` field, at bytes 4..8, is taken as zero.
pub(crate) fn header_crc(header: &[u8]) -> u32 {
    let crc = super::crc_append(super::crc(&header[..4]), &[0; 4]);
    super::crc_append(crc, &header[8..])
}

/// Checks that a type can also be read in place by rkyv's checked access, as the formats promise.
pub fn checked_access<T>(bytes: &[u8]) -> bool
where
    T: Portable + for<'a> CheckBytes<HighValidator<'a, Error>>,
{
    let mut aligned = AlignedVec::<16>::with_capacity(bytes.len());
    aligned.extend_from_slice(bytes);
    rkyv::access::<T, Error>(&aligned).is_ok()
}

/// Pins size, alignment and field offsets of a fixed struct at compile time.
macro_rules! layout {
    ($t:ty, $size:expr, $align:expr, { $($field:ident: $at:expr),* $(,)? }) => {
        const _: () = {
            assert!(size_of::<$t>() == $size);
            assert!(align_of::<$t>() == $align);
            $(assert!(std::mem::offset_of!($t, $field) == $at);)*
        };
    };
}
pub(crate) use layout;
