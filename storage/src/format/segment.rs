//! The header page of a segment file, `topics/<topic uuid>/<partition>/<base offset>.<generation>.seg`.
//!
//! | at | segment header (128 B in 4 KiB) | type |
//! |-|-|-|
//! | 0 | magic, hdr_crc | u32, u32 |
//! | 8 | version, hdr_len, flags | u16, u16, u32 |
//! | 16 | segment_id | u64 |
//! | 24 | topic_uuid | 16 B |
//! | 40 | partition, generation | u32, u32 |
//! | 48 | base_offset, created_ms | i64, i64 |
//! | 64 | feature_bits | u64 |
//! | 72 | reserved | 56 B |
//!
//! Chunks ([`super::chunk`]) follow from 4,096; when the segment is sealed, a footer ([`super::archive::Footer`] in an
//! [`super::envelope`]) follows the last chunk.

use rend::{i64_le, u16_le, u32_le, u64_le};

use super::fixed::fixed_header;
use crate::api::PartitionId;
use crate::env::ALIGN;

/// Where the first chunk of a segment lies.
pub const FIRST_CHUNK: u64 = ALIGN as u64;

fixed_header! {
    /// The segment header as plain values.
    SegmentHeader / SegmentHeaderRaw, size 128, magic u32::from_le_bytes(*b"TgSG"), version 1;
    fields {
        /// Zero so far.
        12 flags: u32_le,
        /// Identity of the segment.
        16 segment_id: u64_le,
        /// The topic.
        24 topic_uuid: [u8; 16],
        /// Partition of the topic.
        40 partition: u32_le,
        /// Distinguishes files of one base offset.
        44 generation: u32_le,
        /// No record in the segment lies below.
        48 base_offset: i64_le,
        /// Wall clock at creation, milliseconds.
        56 created_ms: i64_le,
        /// Features a reader must know; none so far.
        64 feature_bits: u64_le,
    }
    zero { 10 hdr_len: u16_le, 72 reserved: [u8; 56] }
    order {
        hdr_len: u16_le, flags: u32_le, segment_id: u64_le, topic_uuid: [u8; 16], partition: u32_le,
        generation: u32_le, base_offset: i64_le, created_ms: i64_le, feature_bits: u64_le, reserved: [u8; 56],
    }
}

impl SegmentHeader {
    fn set_hdr_len(image: &mut [u8; 128]) {
        image[10..12].copy_from_slice(&128_u16.to_le_bytes());
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// Directory of all topics.
pub const TOPICS: &str = "topics";

/// Directory of one topic.
pub fn topic_dir(topic: &[u8; 16]) -> String {
    format!("{TOPICS}/{}", hex(topic))
}

/// Directory of one partition.
pub fn partition_dir(id: &PartitionId) -> String {
    format!("{}/{}", topic_dir(&id.topic), id.partition)
}

/// Path of a segment file.
pub fn segment_path(id: &PartitionId, base_offset: i64, generation: u32) -> String {
    format!("{}/{base_offset:020}.{generation}.seg", partition_dir(id))
}

/// Base offset and generation of a segment's file name; none if it is not one.
pub fn parse_segment_name(name: &str) -> Option<(i64, u32)> {
    let (base, generation) = name.strip_suffix(".seg")?.split_once('.')?;
    Some((base.parse().ok()?, generation.parse().ok()?))
}
