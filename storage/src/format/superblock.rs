//! The superblock of a shard: where its journal begins and which checkpoint counts.
//!
//! Four copies of 4 KiB at the start of `superblock`, written one at a time; the first 256 bytes of each:
//!
//! | at | field | type | meaning |
//! |-|-|-|-|
//! | 0 | magic, hdr_crc | u32, u32 | CRC of the 256 B with `hdr_crc` and `copy` taken as zero |
//! | 8 | version, hdr_len | u16, u16 | |
//! | 12 | copy | u32 | 0..3, matches the position |
//! | 16 | sequence | u64 | rises with each change |
//! | 24 | parent_crc, shard | u32, u32 | `hdr_crc` of the previous sequence |
//! | 32 | journal_id, epoch | u64, u64 | epoch rises at every start |
//! | 48 | tail_file, tail_page | u32, u32 | where the scan begins |
//! | 56 | tail_group_seq | u64 | |
//! | 64 | tail_prev_crc, pad | u32, u32 | |
//! | 72 | ckpt_id, ckpt_len | u64, u64 | id 0: none |
//! | 88 | ckpt_crc, clean_shutdown | u32, u32 | CRC of the whole checkpoint file |
//! | 96 | acked_lsn | u64 | as in the group header |
//! | 104 | tail_epoch | u64 | epoch of the group before the tail |
//! | 112 | group_max, file_pages, file_count | 3 x u32 | ring geometry; `group_max` in bytes |
//! | 124 | written_files | u32 | files, from the first, whose pages were all written once |
//! | 128 | tail_first_lsn | u64 | LSN the group at the tail begins with |
//! | 136 | reserved | 120 B | |

use rend::{u16_le, u32_le, u64_le};

use super::Invalid;
use super::fixed::fixed_header;
use crate::env::ALIGN;

/// Copies kept.
pub const COPIES: usize = 4;
/// Equal copies needed to believe one.
pub const QUORUM: usize = 2;

fixed_header! {
    /// The superblock as plain values.
    Superblock / SuperblockRaw, size 256, magic u32::from_le_bytes(*b"TgSB"), version 1;
    fields {
        /// Position of this copy.
        12 copy: u32_le,
        /// Rises with each change.
        16 sequence: u64_le,
        /// CRC of the previous sequence.
        24 parent_crc: u32_le,
        /// Number of the shard.
        28 shard: u32_le,
        /// Identity of the journal; every group carries it.
        32 journal_id: u64_le,
        /// Rises at every start.
        40 epoch: u64_le,
        /// File the scan begins in.
        48 tail_file: u32_le,
        /// Page in it.
        52 tail_page: u32_le,
        /// Sequence number of the group expected there.
        56 tail_group_seq: u64_le,
        /// Header CRC of the group before.
        64 tail_prev_crc: u32_le,
        /// Checkpoint in force; 0 for none.
        72 ckpt_id: u64_le,
        /// Length of its file.
        80 ckpt_len: u64_le,
        /// CRC of its file.
        88 ckpt_crc: u32_le,
        /// 1 if everything was drained and nothing was written since.
        92 clean_shutdown: u32_le,
        /// Highest LSN known durable when this was written.
        96 acked_lsn: u64_le,
        /// Epoch of the group before the tail.
        104 tail_epoch: u64_le,
        /// Largest group in bytes; a file with less room left is full.
        112 group_max: u32_le,
        /// Pages of each journal file.
        116 file_pages: u32_le,
        /// Files in the ring.
        120 file_count: u32_le,
        /// Files, from the first, whose pages were all written once, by zeros or by groups.
        124 written_files: u32_le,
        /// First LSN of the group expected at the tail.
        128 tail_first_lsn: u64_le,
    }
    zero { 10 hdr_len: u16_le, 68 pad0: u32_le, 136 reserved: [u8; 120] }
    order {
        hdr_len: u16_le, copy: u32_le, sequence: u64_le, parent_crc: u32_le, shard: u32_le, journal_id: u64_le,
        epoch: u64_le, tail_file: u32_le, tail_page: u32_le, tail_group_seq: u64_le, tail_prev_crc: u32_le,
        pad0: u32_le, ckpt_id: u64_le, ckpt_len: u64_le, ckpt_crc: u32_le, clean_shutdown: u32_le,
        acked_lsn: u64_le, tail_epoch: u64_le, group_max: u32_le, file_pages: u32_le, file_count: u32_le,
        written_files: u32_le, tail_first_lsn: u64_le, reserved: [u8; 120],
    }
}

impl Superblock {
    fn set_hdr_len(image: &mut [u8; 256]) {
        image[10..12].copy_from_slice(&256_u16.to_le_bytes());
    }

    /// CRC of this superblock whatever its copy number: what `parent_crc` of the next one holds.
    pub fn crc(&self) -> u32 {
        Self { copy: 0, ..*self }.encode().1
    }

    /// The page of one copy: the CRC is that of copy 0, the copy number is put in afterwards.
    pub fn page(&self, copy: usize) -> Vec<u8> {
        let (mut image, _) = Self { copy: 0, ..*self }.encode();
        image[12..16].copy_from_slice(&(copy as u32).to_le_bytes());
        let mut page = vec![0; ALIGN];
        page[..image.len()].copy_from_slice(&image);
        page
    }

    /// Reads the copy at position `copy`, which must be what its page says; the result has `copy` 0.
    pub fn read_copy(page: &[u8], copy: usize) -> Result<Self, Invalid> {
        let mut image: [u8; 256] = page
            .get(..256)
            .and_then(|p| p.try_into().ok())
            .ok_or(Invalid("superblock cut short"))?;
        if image[12..16] != (copy as u32).to_le_bytes() {
            return Err(Invalid("superblock copy out of place"));
        }
        image[12..16].fill(0);
        let (sb, _) = Self::decode(&image)?;
        let pages_ok = sb.file_pages > 0 && sb.tail_page <= sb.file_pages && sb.tail_file < sb.file_count;
        let group_ok = sb.group_max as usize >= ALIGN
            && (sb.group_max as usize).is_multiple_of(ALIGN)
            && u64::from(sb.group_max) <= u64::from(sb.file_pages) * ALIGN as u64;
        if !pages_ok || !group_ok || sb.tail_group_seq == 0 || sb.tail_first_lsn == 0 {
            return Err(Invalid("superblock geometry out of range"));
        }
        Ok(sb)
    }

    /// The superblock to believe among the pages read: the highest sequence with at least two equal valid copies.
    pub fn choose(pages: &[&[u8]]) -> Option<Self> {
        let valid: Vec<Self> = pages
            .iter()
            .enumerate()
            .filter_map(|(copy, page)| Self::read_copy(page, copy).ok())
            .collect();
        valid
            .iter()
            .filter(|sb| valid.iter().filter(|other| other == sb).count() >= QUORUM)
            .max_by_key(|sb| sb.sequence)
            .copied()
    }
}
