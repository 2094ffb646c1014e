//! The 64 bytes that tell the kind and version of an archive before it is touched.
//!
//! | at | envelope (64 B) | type |
//! |-|-|-|
//! | 0 | magic, hdr_crc | u32, u32 |
//! | 8 | version, hdr_len, kind | u16, u16, u32 |
//! | 16 | owner_id (segment or checkpoint) | u64 |
//! | 24 | archive_pos, archive_len | u64, u64 |
//! | 40 | archive_crc, reserved | u32, u32 |
//! | 48 | reserved | 16 B |
//!
//! In front of a checkpoint (`archive_pos` 64), and as the last 64 bytes of a sealed segment.

use rend::{u16_le, u32_le, u64_le};

use super::fixed::fixed_header;

/// Kind: the checkpoint of a shard, before transactions. Read, never written.
pub const CHECKPOINT_V1: u32 = 1;
/// Kind: the footer of a sealed segment, before transactions. Read, never written.
pub const FOOTER_V1: u32 = 2;
/// Kind: the checkpoint of a shard.
pub const CHECKPOINT: u32 = 3;
/// Kind: the footer of a sealed segment.
pub const FOOTER: u32 = 4;

fixed_header! {
    /// The envelope as plain values.
    Envelope / EnvelopeRaw, size 64, magic u32::from_le_bytes(*b"TgEN"), version 1;
    fields {
        /// [`CHECKPOINT`] or [`FOOTER`].
        12 kind: u32_le,
        /// Segment id or checkpoint id.
        16 owner_id: u64_le,
        /// Where the archive begins in its file.
        24 archive_pos: u64_le,
        /// Its length in bytes.
        32 archive_len: u64_le,
        /// Its CRC.
        40 archive_crc: u32_le,
    }
    zero { 10 hdr_len: u16_le, 44 reserved0: u32_le, 48 reserved1: [u8; 16] }
    order {
        hdr_len: u16_le, kind: u32_le, owner_id: u64_le, archive_pos: u64_le, archive_len: u64_le,
        archive_crc: u32_le, reserved0: u32_le, reserved1: [u8; 16],
    }
}

impl Envelope {
    fn set_hdr_len(image: &mut [u8; 64]) {
        image[10..12].copy_from_slice(&64_u16.to_le_bytes());
    }
}
