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

/// A field type of a fixed struct and the plain value it stands for.
pub trait Field: Copy {
    /// The plain value.
    type Plain: Copy;
    /// Reads the plain value.
    fn get(self) -> Self::Plain;
    /// Makes a field of a plain value.
    fn put(value: Self::Plain) -> Self;
}

macro_rules! fields {
    ($($raw:ty => $plain:ty),*) => {$(
        impl Field for $raw {
            type Plain = $plain;
            fn get(self) -> $plain { self.to_native() }
            fn put(value: $plain) -> Self { Self::from_native(value) }
        }
    )*};
}
fields!(
    rend::u16_le => u16, rend::u32_le => u32, rend::u64_le => u64, rend::i32_le => i32, rend::i64_le => i64
);
impl Field for u8 {
    type Plain = u8;
    fn get(self) -> u8 {
        self
    }
    fn put(value: u8) -> Self {
        value
    }
}
impl<const N: usize> Field for [u8; N] {
    type Plain = [u8; N];
    fn get(self) -> [u8; N] {
        self
    }
    fn put(value: [u8; N]) -> Self {
        value
    }
}

/// Declares a fixed header: the disk image `$raw`, the plain struct `$name` without magic, CRC and reserved bytes,
/// the conversions between them, and the assertions that pin size and offsets.
macro_rules! fixed_header {
    (
        $(#[$doc:meta])*
        $name:ident / $raw:ident, size $size:expr, magic $magic:expr, version $version:expr;
        fields { $($(#[$fdoc:meta])* $at:literal $field:ident: $ty:ty),* $(,)? }
        zero { $($zat:literal $zero:ident: $zty:ty),* $(,)? }
        order { $($order:ident: $oty:ty),* $(,)? }
    ) => {
        /// The disk image.
        #[derive(Debug, rkyv::Portable, rkyv::bytecheck::CheckBytes, Clone, Copy)]
        #[bytecheck(crate = rkyv::bytecheck)]
        #[repr(C)]
        #[allow(missing_docs)]
        pub struct $raw {
            pub magic: rend::u32_le,
            pub hdr_crc: rend::u32_le,
            pub version: rend::u16_le,
            $(pub $order: $oty,)*
        }
        const _: () = {
            assert!(size_of::<$raw>() == $size);
            assert!(align_of::<$raw>() <= 8);
            $(assert!(std::mem::offset_of!($raw, $field) == $at);)*
            $(assert!(std::mem::offset_of!($raw, $zero) == $zat);)*
        };

        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name {
            $($(#[$fdoc])* pub $field: <$ty as $crate::format::fixed::Field>::Plain,)*
        }

        impl $name {
            /// Bytes of the header.
            pub const BYTES: usize = $size;
            /// First four bytes, as a little-endian number.
            pub const MAGIC: u32 = $magic;
            /// Layout version written and accepted.
            pub const VERSION: u16 = $version;

            /// The disk image with its CRC, and the CRC.
            pub fn encode(&self) -> ([u8; $size], u32) {
                use $crate::format::fixed::Field;
                // Every field is assigned by name; reserved fields are zero.
                let raw = {
                    let mut bytes = [0_u8; $size];
                    bytes[..4].copy_from_slice(&Self::MAGIC.to_le_bytes());
                    bytes[8..10].copy_from_slice(&Self::VERSION.to_le_bytes());
                    let mut raw: $raw = $crate::format::fixed::read(&bytes).expect("sized");
                    $(raw.$field = <$ty as Field>::put(self.$field);)*
                    raw
                };
                let mut image = [0_u8; $size];
                image.copy_from_slice($crate::format::fixed::bytes_of(&raw));
                Self::set_hdr_len(&mut image);
                let crc = $crate::format::fixed::header_crc(&image);
                image[4..8].copy_from_slice(&crc.to_le_bytes());
                (image, crc)
            }

            /// Reads a header: magic, then CRC, then version; range checks are the caller's.
            pub fn decode(bytes: &[u8]) -> Result<(Self, u32), $crate::format::Invalid> {
                use $crate::format::{Invalid, fixed::Field};
                let image = bytes.get(..$size).ok_or(Invalid(concat!(stringify!($name), " cut short")))?;
                if image[..4] != Self::MAGIC.to_le_bytes() {
                    return Err(Invalid(concat!(stringify!($name), ": no magic")));
                }
                let raw: $raw = $crate::format::fixed::read(image)
                    .ok_or(Invalid(concat!(stringify!($name), " cut short")))?;
                let crc = raw.hdr_crc.to_native();
                if $crate::format::fixed::header_crc(image) != crc {
                    return Err(Invalid(concat!(stringify!($name), ": CRC mismatch")));
                }
                if raw.version.to_native() != Self::VERSION {
                    return Err(Invalid(concat!(stringify!($name), ": unknown version")));
                }
                Ok((Self { $($field: raw.$field.get(),)* }, crc))
            }
        }
    };
}
pub(crate) use fixed_header;
