//! A journal group: one write of whole 4 KiB pages, never split across files.
//!
//! | at | field | type | meaning |
//! |-|-|-|-|
//! | 0 | magic, hdr_crc | u32, u32 | CRC of the 128 B with `hdr_crc` as zero |
//! | 8 | version, hdr_len, flags | u16, u16, u32 | flags: SEAL 1, FENCE 2 |
//! | 16 | journal_id, epoch | u64, u64 | |
//! | 32 | group_seq, first_lsn | u64, u64 | dense |
//! | 48 | acked_lsn | u64 | highest LSN locally durable when this group was submitted; acks may have left up to here |
//! | 56 | file_no, file_page | u32, u32 | own location |
//! | 64 | total_len, used_len | u32, u32 | written bytes; bytes before the pad |
//! | 72 | frame_count | u32 | |
//! | 76 | prev_group_crc | u32 | `hdr_crc` of the previous group |
//! | 80 | body_crc | u32 | bytes 128..used_len |
//! | 84 | window | u32 | groups in flight allowed |
//! | 88 | wall_ns | u64 | information only |
//! | 96 | reserved | 32 B | |
//!
//! Frames ([`super::frame`]) follow the header, then zeros to `total_len`.

use rend::{u16_le, u32_le, u64_le};

use super::Invalid;
use super::fixed::fixed_header;
use crate::env::ALIGN;

/// Flag: written after a quiet time, to prove the group before complete.
pub const SEAL: u32 = 1;
/// Flag: first group of an epoch, written by recovery.
pub const FENCE: u32 = 2;

fixed_header! {
    /// The group header as plain values.
    GroupHeader / GroupHeaderRaw, size 128, magic u32::from_le_bytes(*b"TgGR"), version 1;
    fields {
        /// [`SEAL`], [`FENCE`].
        12 flags: u32_le,
        /// The journal's identity.
        16 journal_id: u64_le,
        /// The journal's epoch when written.
        24 epoch: u64_le,
        /// Dense number of the group.
        32 group_seq: u64_le,
        /// LSN of its first frame.
        40 first_lsn: u64_le,
        /// Highest LSN durable at submission.
        48 acked_lsn: u64_le,
        /// Own file.
        56 file_no: u32_le,
        /// Own page.
        60 file_page: u32_le,
        /// Bytes written, a multiple of 4 KiB.
        64 total_len: u32_le,
        /// Bytes before the pad, header included.
        68 used_len: u32_le,
        /// Frames.
        72 frame_count: u32_le,
        /// Header CRC of the group before.
        76 prev_group_crc: u32_le,
        /// CRC of bytes 128..used_len.
        80 body_crc: u32_le,
        /// Groups in flight allowed when written.
        84 window: u32_le,
        /// Wall clock, nanoseconds; information only.
        88 wall_ns: u64_le,
    }
    zero { 10 hdr_len: u16_le, 96 reserved: [u8; 32] }
    order {
        hdr_len: u16_le, flags: u32_le, journal_id: u64_le, epoch: u64_le, group_seq: u64_le, first_lsn: u64_le,
        acked_lsn: u64_le, file_no: u32_le, file_page: u32_le, total_len: u32_le, used_len: u32_le,
        frame_count: u32_le, prev_group_crc: u32_le, body_crc: u32_le, window: u32_le, wall_ns: u64_le,
        reserved: [u8; 32],
    }
}

impl GroupHeader {
    fn set_hdr_len(image: &mut [u8; 128]) {
        image[10..12].copy_from_slice(&128_u16.to_le_bytes());
    }

    /// Reads a header and checks that its lengths make sense.
    pub fn read(bytes: &[u8]) -> Result<(Self, u32), Invalid> {
        let (header, crc) = Self::decode(bytes)?;
        let total = header.total_len as usize;
        let used = header.used_len as usize;
        if total == 0
            || !total.is_multiple_of(ALIGN)
            || used < Self::BYTES
            || used > total
            || total - used >= ALIGN
        {
            return Err(Invalid("group lengths out of range"));
        }
        if header.frame_count == 0
            || header.frame_count as usize > (used - Self::BYTES) / super::frame::FrameHeader::BYTES
        {
            return Err(Invalid("group frame count out of range"));
        }
        if header.window == 0 || header.window > 4 || header.group_seq == 0 || header.first_lsn == 0 {
            return Err(Invalid("group numbers out of range"));
        }
        Ok((header, crc))
    }

    /// LSN after the group's last frame.
    pub fn next_lsn(&self) -> u64 {
        self.first_lsn.saturating_add(u64::from(self.frame_count))
    }
}
