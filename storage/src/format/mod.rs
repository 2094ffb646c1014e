//! Every byte layout this crate puts on a device.
//!
//! Integers are little-endian, except inside Kafka batches (big-endian). Alignment is at most 8, there is no
//! implicit padding, reserved bytes are zero. Fixed headers are `#[repr(C)]` structs of explicit-endian fields whose
//! sizes and offsets are pinned by const assertions here and by golden images in the tests; derived archives
//! ([`archive`]) stand behind a versioned [`envelope`].
//!
//! Order of trust when reading: length and alignment, CRC, checked access, then range checks by the caller. Nothing
//! is used before the CRC over it passed.

pub mod archive;
pub mod archive_v1;
pub mod chunk;
pub mod envelope;
pub mod fixed;
pub mod frame;
pub mod group;
pub mod kafka;
pub mod manifest;
pub mod segment;
pub mod superblock;
pub mod swap;
mod sys;

/// CRC-32C of `bytes`.
pub fn crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// CRC-32C of the concatenation of what `seed` covers and `bytes`.
pub fn crc_append(seed: u32, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(seed, bytes)
}

/// `n` rounded up to a multiple of the IO alignment, 4 KiB.
pub const fn pages(n: usize) -> usize {
    n.next_multiple_of(crate::env::ALIGN)
}

/// `n` rounded up to a multiple of 8.
pub const fn pad8(n: usize) -> usize {
    n.next_multiple_of(8)
}

/// Why bytes on disk were not accepted: the check that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub &'static str);
