//! A journal frame: a 64-byte header, the payload, zeros to a multiple of 8.
//!
//! | at | field | type | meaning |
//! |-|-|-|-|
//! | 0 | magic, hdr_crc | u32, u32 | CRC of the 64 B with `hdr_crc` as zero |
//! | 8 | version, kind, flags | u16, u8, u8 | kind decoded explicitly |
//! | 12 | hdr_len, reserved | u16, u16 | |
//! | 16 | lsn | u64 | |
//! | 24 | topic, partition | u32, u32 | local topic number, bound to the uuid by SEG_CREATE and the checkpoint |
//! | 32 | base_offset | i64 | |
//! | 40 | last_offset_delta, leader_epoch | u32, i32 | |
//! | 48 | payload_len, payload_crc | u32, u32 | |
//! | 56 | max_timestamp | i64 | |
//!
//! | kind | `base_offset` | payload |
//! |-|-|-|
//! | 1 DATA | of the batch | one Kafka v2 batch |
//! | 2 EXTENT_REF | | reserved |
//! | 3 TRUNCATE | new end offset | none |
//! | 4 LOG_START | new first offset | none |
//! | 5 EPOCH_START | start of `leader_epoch` | none |
//! | 6 HARD_STATE | | reserved |
//! | 7 SEG_CREATE | of the segment | topic uuid 16 B, segment id u64, generation u32, flags u32 (1: creates the log) |
//! | 8 SEG_SWAP | of the new segment | [`super::swap::SegSwap`] |
//! | 9 DROP | | none |
//! | 10 NOOP | | none; body of SEAL and FENCE groups |
//!
//! `payload_crc` of a DATA frame covers the 61 bytes of the batch header: the rest is covered by the batch's own CRC,
//! and all of it by the group's `body_crc`. Of any other kind it covers the whole payload.

use rend::{i32_le, i64_le, u16_le, u32_le, u64_le};

use super::Invalid;
use super::fixed::fixed_header;
use super::kafka;

/// What a frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// One batch.
    Data = 1,
    /// The log ends at `base_offset` now.
    Truncate = 3,
    /// The log starts at `base_offset` now.
    LogStart = 4,
    /// `leader_epoch` began at `base_offset`.
    EpochStart = 5,
    /// A segment begins at `base_offset`.
    SegCreate = 7,
    /// A compacted segment takes the place of others.
    SegSwap = 8,
    /// The log is gone.
    Drop = 9,
    /// Nothing.
    Noop = 10,
}

impl Kind {
    /// Decodes a kind; reserved ones are not accepted.
    pub fn from_u8(kind: u8) -> Option<Self> {
        Some(match kind {
            1 => Self::Data,
            3 => Self::Truncate,
            4 => Self::LogStart,
            5 => Self::EpochStart,
            7 => Self::SegCreate,
            8 => Self::SegSwap,
            9 => Self::Drop,
            10 => Self::Noop,
            _ => return None,
        })
    }
}

fixed_header! {
    /// The frame header as plain values.
    FrameHeader / FrameHeaderRaw, size 64, magic u32::from_le_bytes(*b"TgFR"), version 1;
    fields {
        /// See [`Kind`].
        10 kind: u8,
        /// Zero so far.
        11 flags: u8,
        /// Dense number of the frame.
        16 lsn: u64_le,
        /// Local number of the topic.
        24 topic: u32_le,
        /// Partition of the topic.
        28 partition: u32_le,
        /// See the table above.
        32 base_offset: i64_le,
        /// Of the batch.
        40 last_offset_delta: u32_le,
        /// Of the batch.
        44 leader_epoch: i32_le,
        /// Bytes after the header, without the pad.
        48 payload_len: u32_le,
        /// See the text above.
        52 payload_crc: u32_le,
        /// Of the batch, milliseconds.
        56 max_timestamp: i64_le,
    }
    zero { 12 hdr_len: u16_le, 14 reserved: u16_le }
    order {
        kind: u8, flags: u8, hdr_len: u16_le, reserved: u16_le, lsn: u64_le, topic: u32_le, partition: u32_le,
        base_offset: i64_le, last_offset_delta: u32_le, leader_epoch: i32_le, payload_len: u32_le,
        payload_crc: u32_le, max_timestamp: i64_le,
    }
}

impl FrameHeader {
    fn set_hdr_len(image: &mut [u8; 64]) {
        image[12..14].copy_from_slice(&64_u16.to_le_bytes());
    }

    /// Bytes a frame of `payload_len` occupies, pad included.
    pub const fn framed(payload_len: usize) -> usize {
        Self::BYTES + super::pad8(payload_len)
    }
}

/// The CRC a frame of this kind carries for its payload.
pub fn payload_crc(kind: Kind, payload: &[u8]) -> u32 {
    match kind {
        Kind::Data => super::crc(&payload[..payload.len().min(kafka::HEADER_BYTES)]),
        _ => super::crc(payload),
    }
}

/// A frame in a group's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its header.
    pub header: FrameHeader,
    /// What it says.
    pub kind: Kind,
    /// Its payload.
    pub payload: &'a [u8],
}

/// Walks the frames of a group's body, `bytes` being 128..used_len.
#[derive(Debug, Clone)]
pub struct Frames<'a> {
    rest: &'a [u8],
    next_lsn: u64,
    left: u32,
}

impl<'a> Frames<'a> {
    /// Frames of a group that starts with `first_lsn` and holds `count`.
    pub fn new(body: &'a [u8], first_lsn: u64, count: u32) -> Self {
        Self {
            rest: body,
            next_lsn: first_lsn,
            left: count,
        }
    }

    fn step(&mut self) -> Result<Frame<'a>, Invalid> {
        let (header, _) = FrameHeader::decode(self.rest)?;
        let kind = Kind::from_u8(header.kind).ok_or(Invalid("unknown frame kind"))?;
        let framed = FrameHeader::framed(header.payload_len as usize);
        if framed > self.rest.len() {
            return Err(Invalid("frame longer than its group"));
        }
        if header.lsn != self.next_lsn {
            return Err(Invalid("LSN not dense"));
        }
        let payload = &self.rest[FrameHeader::BYTES..FrameHeader::BYTES + header.payload_len as usize];
        if payload_crc(kind, payload) != header.payload_crc {
            return Err(Invalid("payload CRC mismatch"));
        }
        self.rest = &self.rest[framed..];
        self.next_lsn = self.next_lsn.saturating_add(1);
        self.left -= 1;
        Ok(Frame {
            header,
            kind,
            payload,
        })
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, Invalid>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return if self.rest.is_empty() {
                None
            } else {
                self.rest = &[];
                Some(Err(Invalid("bytes after the last frame")))
            };
        }
        let step = self.step();
        if step.is_err() {
            self.left = 0;
            self.rest = &[];
        }
        Some(step)
    }
}

/// Payload of SEG_CREATE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegCreate {
    /// The topic's uuid: binds the local topic number.
    pub topic: [u8; 16],
    /// Identity of the segment.
    pub segment_id: u64,
    /// Distinguishes files of one base offset.
    pub generation: u32,
    /// True if the log itself begins with this frame.
    pub creates_log: bool,
}

impl SegCreate {
    /// Bytes of the payload.
    pub const BYTES: usize = 32;

    /// The payload.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..16].copy_from_slice(&self.topic);
        bytes[16..24].copy_from_slice(&self.segment_id.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.generation.to_le_bytes());
        bytes[28..32].copy_from_slice(&u32::from(self.creates_log).to_le_bytes());
        bytes
    }

    /// Reads the payload.
    pub fn decode(bytes: &[u8]) -> Result<Self, Invalid> {
        let bytes: &[u8; Self::BYTES] = bytes
            .try_into()
            .map_err(|_| Invalid("SEG_CREATE of a wrong size"))?;
        let flags = u32::from_le_bytes(bytes[28..32].try_into().expect("four bytes"));
        if flags > 1 {
            return Err(Invalid("SEG_CREATE with unknown flags"));
        }
        Ok(Self {
            topic: bytes[..16].try_into().expect("sixteen bytes"),
            segment_id: u64::from_le_bytes(bytes[16..24].try_into().expect("eight bytes")),
            generation: u32::from_le_bytes(bytes[24..28].try_into().expect("four bytes")),
            creates_log: flags == 1,
        })
    }
}
