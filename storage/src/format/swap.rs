//! Payload of a SEG_SWAP frame: segments that a compacted one replaces. The frame's `base_offset` is that of the new
//! segment, which starts where the first old one did and ends where the last one did.
//!
//! | at | field | type | meaning |
//! |-|-|-|-|
//! | 0 | version, reserved | u16, u16 | 1 |
//! | 4 | old_count, marker_count | u32, u32 | |
//! | 12 | generation | u32 | of the new segment |
//! | 16 | segment_id | u64 | of the new segment |
//! | 24 | end_position | u64 | of its last chunk; 0 if nothing was left and there is no file |
//! | 32 | footer_len, next_chunk_seq | u32, u32 | |
//! | 40 | last_chunk_crc, footer_aborted | u32, u32 | as in the segment's record |
//! | 48 | created_ms, first_timestamp | i64, i64 | |
//! | 64 | end_offset | i64 | |
//! | 72 | data_bytes, batches | u64, u64 | |
//! | 88 | max_timestamp | i64 | |
//! | 96 | clean_offset | i64 | below it, compaction has nothing left to do |
//! | 104 | old segment ids, oldest first | u64 each | |
//! | | offsets of abort markers that went, rising | i64 each | |

use super::Invalid;
use super::archive::SegmentRecord;

/// See the module's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegSwap {
    /// The new segment; `cut` is not part of the payload.
    pub output: SegmentRecord,
    /// Below it, compaction has nothing left to do.
    pub clean_offset: i64,
    /// Ids of the segments replaced, oldest first; at least one.
    pub old: Vec<u64>,
    /// Offsets of abort markers whose record went, rising.
    pub markers: Vec<i64>,
}

impl SegSwap {
    /// Bytes before the lists.
    pub const HEAD: usize = 104;

    /// Bytes of the payload.
    pub fn bytes(&self) -> usize {
        Self::HEAD + 8 * (self.old.len() + self.markers.len())
    }

    /// The payload.
    pub fn encode(&self) -> Vec<u8> {
        let o = &self.output;
        let mut out = Vec::with_capacity(self.bytes());
        out.extend_from_slice(&1_u16.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        for word in [self.old.len() as u32, self.markers.len() as u32, o.generation] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&o.segment_id.to_le_bytes());
        out.extend_from_slice(&o.end_position.to_le_bytes());
        for word in [o.footer_len, o.next_chunk_seq, o.last_chunk_crc, o.footer_aborted] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        for word in [o.created_ms, o.first_timestamp, o.end_offset] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        for word in [o.data_bytes, o.batches] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        for word in [o.max_timestamp, self.clean_offset] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        debug_assert_eq!(out.len(), Self::HEAD);
        self.old
            .iter()
            .for_each(|id| out.extend_from_slice(&id.to_le_bytes()));
        self.markers
            .iter()
            .for_each(|at| out.extend_from_slice(&at.to_le_bytes()));
        out
    }

    /// Reads the payload of a frame with this base offset.
    pub fn decode(bytes: &[u8], base_offset: i64) -> Result<Self, Invalid> {
        let head = bytes.get(..Self::HEAD).ok_or(Invalid("SEG_SWAP cut short"))?;
        let u32_at = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
        let u64_at = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes"));
        let i64_at = |at: usize| i64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes"));
        if head[..4] != [1, 0, 0, 0] {
            return Err(Invalid("SEG_SWAP of an unknown version"));
        }
        let (old, markers) = (u32_at(4) as usize, u32_at(8) as usize);
        let wanted = (bytes.len() - Self::HEAD) / 8;
        if old == 0
            || old.checked_add(markers) != Some(wanted)
            || !(bytes.len() - Self::HEAD).is_multiple_of(8)
        {
            return Err(Invalid("SEG_SWAP lists of a wrong size"));
        }
        let words = bytes[Self::HEAD..].chunks_exact(8);
        let mut words = words.map(|w| u64::from_le_bytes(w.try_into().expect("eight bytes")));
        let swap = Self {
            output: SegmentRecord {
                segment_id: u64_at(16),
                base_offset,
                generation: u32_at(12),
                end_position: u64_at(24),
                footer_len: u32_at(32),
                cut: i64::MAX,
                next_chunk_seq: u32_at(36),
                last_chunk_crc: u32_at(40),
                created_ms: i64_at(48),
                first_timestamp: i64_at(56),
                footer_aborted: u32_at(44),
                end_offset: i64_at(64),
                data_bytes: u64_at(72),
                batches: u64_at(80),
                max_timestamp: i64_at(88),
            },
            clean_offset: i64_at(96),
            old: words.by_ref().take(old).collect(),
            markers: words.map(|w| w as i64).collect(),
        };
        let o = &swap.output;
        let align = crate::env::ALIGN as u64;
        if base_offset < 0
            || o.end_offset < base_offset
            || swap.clean_offset < 0
            || !o.end_position.is_multiple_of(align)
            || !u64::from(o.footer_len).is_multiple_of(align)
            || (o.end_position == 0) != (o.batches == 0)
        {
            return Err(Invalid("SEG_SWAP segment out of range"));
        }
        if swap.markers.windows(2).any(|w| w[0] >= w[1]) {
            return Err(Invalid("SEG_SWAP markers out of order"));
        }
        Ok(swap)
    }
}
