//! A chunk: what one drain write adds to a segment.
//!
//! ```text
//! chunk = ChunkHeader 128 | DirEntry x n | Kafka batches, contiguous, byte-exact | zeros to 4 KiB
//! ```
//!
//! | at | chunk header (128 B) | type | meaning |
//! |-|-|-|-|
//! | 0 | magic, hdr_crc | u32, u32 | |
//! | 8 | version, hdr_len, flags | u16, u16, u32 | |
//! | 16 | segment_id, file_pos | u64, u64 | own location |
//! | 32 | chunk_seq, prev_chunk_crc | u32, u32 | chain over `hdr_crc` |
//! | 40 | total_len, dir_count | u32, u32 | |
//! | 48 | data_off, data_len | u32, u32 | |
//! | 56 | base_offset, last_offset | i64, i64 | |
//! | 72 | max_timestamp | i64 | |
//! | 80 | batch_count, leader_epoch | u32, i32 | a chunk never spans an epoch change |
//! | 88 | dir_crc, data_crc | u32, u32 | |
//! | 96 | lsn_hi | u64 | diagnosis only |
//! | 104 | reserved | 24 B | |
//!
//! | at | directory entry (16 B), one per >= 4 KiB of data | type |
//! |-|-|-|
//! | 0 | rel_offset, from the chunk's base | u32 |
//! | 4 | pos, from data_off | u32 |
//! | 8 | max_timestamp of the batches from here to the next entry | i64 |

use rend::{i32_le, i64_le, u16_le, u32_le, u64_le};
use rkyv::Portable;
use rkyv::bytecheck::CheckBytes;

use super::fixed::{self, fixed_header, layout};
use super::{Invalid, pages};
use crate::env::ALIGN;

fixed_header! {
    /// The chunk header as plain values.
    ChunkHeader / ChunkHeaderRaw, size 128, magic u32::from_le_bytes(*b"TgCH"), version 1;
    fields {
        /// Zero so far.
        12 flags: u32_le,
        /// Segment it belongs to.
        16 segment_id: u64_le,
        /// Own position in the file.
        24 file_pos: u64_le,
        /// Dense number in the segment, from 0.
        32 chunk_seq: u32_le,
        /// Header CRC of the chunk before; 0 for the first.
        36 prev_chunk_crc: u32_le,
        /// Bytes in the file, a multiple of 4 KiB.
        40 total_len: u32_le,
        /// Directory entries.
        44 dir_count: u32_le,
        /// Where the batches begin.
        48 data_off: u32_le,
        /// Bytes of batches.
        52 data_len: u32_le,
        /// Offset of the first record.
        56 base_offset: i64_le,
        /// Offset of the last record.
        64 last_offset: i64_le,
        /// Largest timestamp, milliseconds.
        72 max_timestamp: i64_le,
        /// Batches.
        80 batch_count: u32_le,
        /// Epoch of all of them.
        84 leader_epoch: i32_le,
        /// CRC of the directory.
        88 dir_crc: u32_le,
        /// CRC of the batches.
        92 data_crc: u32_le,
        /// Highest LSN in it, for diagnosis.
        96 lsn_hi: u64_le,
    }
    zero { 10 hdr_len: u16_le, 104 reserved: [u8; 24] }
    order {
        hdr_len: u16_le, flags: u32_le, segment_id: u64_le, file_pos: u64_le, chunk_seq: u32_le,
        prev_chunk_crc: u32_le, total_len: u32_le, dir_count: u32_le, data_off: u32_le, data_len: u32_le,
        base_offset: i64_le, last_offset: i64_le, max_timestamp: i64_le, batch_count: u32_le, leader_epoch: i32_le,
        dir_crc: u32_le, data_crc: u32_le, lsn_hi: u64_le, reserved: [u8; 24],
    }
}

/// The disk image of a directory entry.
#[derive(Debug, Portable, CheckBytes, Clone, Copy)]
#[bytecheck(crate = rkyv::bytecheck)]
#[repr(C)]
#[allow(missing_docs)]
pub struct DirEntryRaw {
    pub rel_offset: u32_le,
    pub pos: u32_le,
    pub max_timestamp: i64_le,
}
layout!(DirEntryRaw, 16, 8, { rel_offset: 0, pos: 4, max_timestamp: 8 });

/// A point in a run of batches from which they can be walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirEntry {
    /// Offset of the batch's first record, from the run's base.
    pub rel_offset: u32,
    /// Position of the batch in the run, bytes.
    pub pos: u32,
    /// Largest timestamp of the batches up to the next entry.
    pub max_timestamp: i64,
}

/// Bytes between directory entries, at least.
pub const DIR_STEP: u32 = 4096;

impl DirEntry {
    /// Bytes of an entry.
    pub const BYTES: usize = 16;

    fn encode(&self) -> [u8; Self::BYTES] {
        let raw = DirEntryRaw {
            rel_offset: self.rel_offset.into(),
            pos: self.pos.into(),
            max_timestamp: self.max_timestamp.into(),
        };
        fixed::bytes_of(&raw).try_into().expect("sixteen bytes")
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let raw: DirEntryRaw = fixed::read(bytes)?;
        Some(Self {
            rel_offset: raw.rel_offset.to_native(),
            pos: raw.pos.to_native(),
            max_timestamp: raw.max_timestamp.to_native(),
        })
    }
}

/// What a chunk is made of, apart from the bytes of its batches.
#[derive(Debug, Clone, Copy)]
pub struct ChunkSpec {
    /// Segment it goes to.
    pub segment_id: u64,
    /// Position in its file.
    pub file_pos: u64,
    /// Number in the segment.
    pub chunk_seq: u32,
    /// Header CRC of the chunk before.
    pub prev_chunk_crc: u32,
    /// Offset of the first record.
    pub base_offset: i64,
    /// Offset of the last record.
    pub last_offset: i64,
    /// Largest timestamp.
    pub max_timestamp: i64,
    /// Batches.
    pub batch_count: u32,
    /// Epoch of all.
    pub leader_epoch: i32,
    /// Highest LSN.
    pub lsn_hi: u64,
}

/// Bytes of a chunk in its file, pad included.
pub fn chunk_len(dir_count: usize, data_len: usize) -> usize {
    pages(ChunkHeader::BYTES + dir_count * DirEntry::BYTES + data_len)
}

/// Writes a chunk into a buffer of exactly [`chunk_len`] bytes, pad included; `data` are its batches, in parts. Returns the
/// CRC of its header.
pub fn write_chunk(buf: &mut [u8], spec: &ChunkSpec, dir: &[DirEntry], data: &[&[u8]]) -> u32 {
    let data_len: usize = data.iter().map(|part| part.len()).sum();
    assert_eq!(
        buf.len(),
        chunk_len(dir.len(), data_len),
        "buffer does not fit the chunk"
    );
    let mut at = ChunkHeader::BYTES;
    for entry in dir {
        buf[at..at + DirEntry::BYTES].copy_from_slice(&entry.encode());
        at += DirEntry::BYTES;
    }
    let data_off = at;
    for part in data {
        buf[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    buf[at..].fill(0);
    let header = ChunkHeader {
        flags: 0,
        segment_id: spec.segment_id,
        file_pos: spec.file_pos,
        chunk_seq: spec.chunk_seq,
        prev_chunk_crc: spec.prev_chunk_crc,
        total_len: buf.len() as u32,
        dir_count: dir.len() as u32,
        data_off: data_off as u32,
        data_len: data_len as u32,
        base_offset: spec.base_offset,
        last_offset: spec.last_offset,
        max_timestamp: spec.max_timestamp,
        batch_count: spec.batch_count,
        leader_epoch: spec.leader_epoch,
        dir_crc: super::crc(&buf[ChunkHeader::BYTES..data_off]),
        data_crc: super::crc(&buf[data_off..at]),
        lsn_hi: spec.lsn_hi,
    };
    let (image, crc) = header.encode();
    buf[..ChunkHeader::BYTES].copy_from_slice(&image);
    crc
}

impl ChunkHeader {
    fn set_hdr_len(image: &mut [u8; 128]) {
        image[10..12].copy_from_slice(&128_u16.to_le_bytes());
    }

    /// Reads the header of the chunk that should lie at `file_pos` of `segment_id`; its lengths are consistent.
    pub fn read(bytes: &[u8], segment_id: u64, file_pos: u64) -> Result<(Self, u32), Invalid> {
        let (header, crc) = Self::decode(bytes)?;
        if header.segment_id != segment_id || header.file_pos != file_pos {
            return Err(Invalid("chunk of another place"));
        }
        let dir = header.dir_count as usize * DirEntry::BYTES;
        let data_off = header.data_off as usize;
        let data_len = header.data_len as usize;
        let total = header.total_len as usize;
        let fits = data_off == Self::BYTES + dir && data_off + data_len <= total;
        if !fits
            || total != pages(data_off + data_len)
            || !total.is_multiple_of(ALIGN)
            || header.dir_count == 0
            || data_len == 0
        {
            return Err(Invalid("chunk lengths out of range"));
        }
        if header.base_offset < 0 || header.last_offset < header.base_offset {
            return Err(Invalid("chunk offsets out of range"));
        }
        Ok((header, crc))
    }

    /// Checks the CRCs over directory and batches, the pad, and the directory's order. `bytes` is the whole chunk.
    pub fn check_body(&self, bytes: &[u8]) -> Result<(), Invalid> {
        let bytes = bytes
            .get(..self.total_len as usize)
            .ok_or(Invalid("chunk cut short"))?;
        let data_off = self.data_off as usize;
        let data_end = data_off + self.data_len as usize;
        if super::crc(&bytes[Self::BYTES..data_off]) != self.dir_crc {
            return Err(Invalid("chunk directory CRC mismatch"));
        }
        if super::crc(&bytes[data_off..data_end]) != self.data_crc {
            return Err(Invalid("chunk data CRC mismatch"));
        }
        if bytes[data_end..].iter().any(|&byte| byte != 0) {
            return Err(Invalid("chunk pad not zero"));
        }
        let mut last: Option<DirEntry> = None;
        for entry in self.dir(bytes) {
            let rises = last.is_none_or(|l| l.pos < entry.pos && l.rel_offset < entry.rel_offset);
            let starts = last.is_some() || (entry.pos == 0 && entry.rel_offset == 0);
            if !rises || !starts || entry.pos >= self.data_len {
                return Err(Invalid("chunk directory out of order"));
            }
            last = Some(entry);
        }
        Ok(())
    }

    /// The directory of the chunk in `bytes`, oldest first.
    pub fn dir<'a>(&self, bytes: &'a [u8]) -> impl DoubleEndedIterator<Item = DirEntry> + 'a {
        let end = (self.data_off as usize)
            .min(bytes.len())
            .max(Self::BYTES.min(bytes.len()));
        bytes[Self::BYTES.min(bytes.len())..end]
            .chunks_exact(DirEntry::BYTES)
            .filter_map(DirEntry::decode)
    }
}
