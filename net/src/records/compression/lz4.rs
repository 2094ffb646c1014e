//! LZ4 frames as Kafka writes and reads them in v2 batches: independent blocks, right header checksum.
//!
//! | bytes | field |
//! |-|-|
//! | 4 | magic 0x184D2204, little endian as all numbers here |
//! | 1 | flags: version 01 in bits 7-6, independent blocks 5, block checksums 4, content size 3, content checksum 2 |
//! | 1 | largest block in bits 6-4: 4 to 7 for 64 KiB, 256 KiB, 1 MiB, 4 MiB |
//! | 8 | content size, if flagged |
//! | 1 | second byte of the xxHash-32 of the descriptor (flags to content size) |
//! | ... | blocks: uint32 length with bit 31 set for stored data, data, uint32 checksum if flagged |
//! | 4 | 0, the end |
//! | 4 | content checksum, if flagged; not verified, as in Java: the CRC of the batch covers the data |

use super::{Compression, CompressionError};

const MAGIC: u32 = 0x184d_2204;
const FLAG_VERSION: u8 = 0x40;
const FLAG_VERSION_MASK: u8 = 0xc0;
const FLAG_INDEPENDENT: u8 = 0x20;
const FLAG_BLOCK_CHECKSUM: u8 = 0x10;
const FLAG_CONTENT_SIZE: u8 = 0x08;
const FLAG_CONTENT_CHECKSUM: u8 = 0x04;
const FLAG_RESERVED: u8 = 0x03;
const BD_RESERVED: u8 = 0x8f;
const BD_64K: u8 = 4 << 4;
const STORED: u32 = 1 << 31;
/// Uncompressed bytes per block written.
const BLOCK_BYTES: usize = 64 * 1024;
/// No LZ4 sequence yields more per byte: each further length byte adds 255.
const MAX_EXPANSION: usize = 255;

const fn corrupt(what: &'static str) -> CompressionError {
    CompressionError::Corrupt {
        codec: Compression::Lz4,
        what,
    }
}

pub(super) struct Reader<'d> {
    src: &'d [u8],
    max_block_bytes: usize,
    block_checksums: bool,
    content_checksum: bool,
    ended: bool,
}

#[derive(Clone, Copy)]
pub(super) struct Block<'d> {
    data: &'d [u8],
    stored: bool,
    /// The room that decompressing it may need.
    pub(super) most_bytes: usize,
}

impl<'d> Reader<'d> {
    pub(super) fn new(src: &'d [u8]) -> Result<Self, CompressionError> {
        let Some((&[m0, m1, m2, m3, flags, bd], after)) = src.split_first_chunk::<6>() else {
            return Err(corrupt("header cut off"));
        };
        if u32::from_le_bytes([m0, m1, m2, m3]) != MAGIC {
            return Err(corrupt("not a frame"));
        }
        if flags & FLAG_VERSION_MASK != FLAG_VERSION || flags & FLAG_RESERVED != 0 || bd & BD_RESERVED != 0 {
            return Err(corrupt("unknown version or flags"));
        }
        if flags & FLAG_INDEPENDENT == 0 {
            return Err(corrupt("dependent blocks"));
        }
        let max_block_bytes = match bd >> 4 {
            id @ 4..=7 => 1usize << (2 * id + 8),
            _ => return Err(corrupt("block size")),
        };
        let descriptor_bytes = if flags & FLAG_CONTENT_SIZE != 0 { 10 } else { 2 };
        let Some((&checksum, rest)) = after
            .get(descriptor_bytes - 2..)
            .and_then(|rest| rest.split_first())
        else {
            return Err(corrupt("header cut off"));
        };
        if (xxh32(&src[4..4 + descriptor_bytes]) >> 8) as u8 != checksum {
            return Err(corrupt("header checksum"));
        }
        Ok(Reader {
            src: rest,
            max_block_bytes,
            block_checksums: flags & FLAG_BLOCK_CHECKSUM != 0,
            content_checksum: flags & FLAG_CONTENT_CHECKSUM != 0,
            ended: false,
        })
    }

    fn u32(&mut self) -> Result<u32, CompressionError> {
        let Some((word, rest)) = self.src.split_first_chunk::<4>() else {
            return Err(corrupt("data cut off"));
        };
        self.src = rest;
        Ok(u32::from_le_bytes(*word))
    }

    /// The next block, `None` after the end mark. What follows the frame is ignored, as Java's reader does.
    pub(super) fn next_block(&mut self) -> Result<Option<Block<'d>>, CompressionError> {
        if self.ended {
            return Ok(None);
        }
        let word = self.u32()?;
        if word == 0 {
            if self.content_checksum {
                self.u32()?;
            }
            self.ended = true;
            return Ok(None);
        }
        let length = (word & !STORED) as usize;
        if length > self.max_block_bytes {
            return Err(corrupt("block above the frame's block size"));
        }
        let Some((data, rest)) = self.src.split_at_checked(length) else {
            return Err(corrupt("block cut off"));
        };
        self.src = rest;
        if self.block_checksums && self.u32()? != xxh32(data) {
            return Err(corrupt("block checksum"));
        }
        let stored = word & STORED != 0;
        let most_bytes = if stored {
            length
        } else {
            self.max_block_bytes.min(length * MAX_EXPANSION)
        };
        Ok(Some(Block {
            data,
            stored,
            most_bytes,
        }))
    }

    /// Decompresses a block into `out`, which has room for the most it may hold.
    pub(super) fn read(&mut self, block: Block<'d>, out: &mut [u8]) -> Result<usize, CompressionError> {
        let out = &mut out[..block.most_bytes];
        if block.stored {
            out.copy_from_slice(block.data);
            return Ok(out.len());
        }
        lz4_flex::block::decompress_into(block.data, out).map_err(|_| corrupt("bad block"))
    }
}

pub(super) fn write(src: &[u8], out: &mut Vec<u8>) -> Result<(), CompressionError> {
    let descriptor = [FLAG_VERSION | FLAG_INDEPENDENT, BD_64K];
    out.extend_from_slice(&MAGIC.to_le_bytes());
    out.extend_from_slice(&descriptor);
    out.push((xxh32(&descriptor) >> 8) as u8);
    for block in src.chunks(BLOCK_BYTES) {
        let at = out.len();
        out.resize(at + 4 + lz4_flex::block::get_maximum_output_size(block.len()), 0);
        let n = lz4_flex::block::compress_into(block, &mut out[at + 4..])
            .map_err(|_| CompressionError::Codec(Compression::Lz4))?;
        let word = if n < block.len() {
            out.truncate(at + 4 + n);
            n as u32
        } else {
            out.truncate(at + 4);
            out.extend_from_slice(block);
            block.len() as u32 | STORED
        };
        out[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(&0u32.to_le_bytes());
    Ok(())
}

/// xxHash-32 with seed 0 (<https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md>).
fn xxh32(data: &[u8]) -> u32 {
    const P1: u32 = 0x9e37_79b1;
    const P2: u32 = 0x85eb_ca77;
    const P3: u32 = 0xc2b2_ae3d;
    const P4: u32 = 0x27d4_eb2f;
    const P5: u32 = 0x1656_67b1;
    let word = |bytes: &[u8]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let (stripes, mut tail) = data.split_at(data.len() & !15);
    let mut hash = if stripes.is_empty() {
        P5
    } else {
        let mut lanes = [P1.wrapping_add(P2), P2, 0, 0u32.wrapping_sub(P1)];
        for stripe in stripes.chunks_exact(16) {
            for (lane, bytes) in lanes.iter_mut().zip(stripe.chunks_exact(4)) {
                *lane = lane
                    .wrapping_add(word(bytes).wrapping_mul(P2))
                    .rotate_left(13)
                    .wrapping_mul(P1);
            }
        }
        let [a, b, c, d] = lanes;
        a.rotate_left(1)
            .wrapping_add(b.rotate_left(7))
            .wrapping_add(c.rotate_left(12))
            .wrapping_add(d.rotate_left(18))
    };
    hash = hash.wrapping_add(data.len() as u32);
    while tail.len() >= 4 {
        hash = hash
            .wrapping_add(word(tail).wrapping_mul(P3))
            .rotate_left(17)
            .wrapping_mul(P4);
        tail = &tail[4..];
    }
    for &byte in tail {
        hash = hash
            .wrapping_add(u32::from(byte).wrapping_mul(P5))
            .rotate_left(11)
            .wrapping_mul(P1);
    }
    hash ^= hash >> 15;
    hash = hash.wrapping_mul(P2);
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(P3);
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn xxh32_of_known_inputs() {
        assert_eq!(xxh32(b""), 0x02cc_5d05);
        assert_eq!(xxh32(b"a"), 0x550d_7456);
        assert_eq!(xxh32(b"abc"), 0x32d1_53ff);
        assert_eq!(xxh32(b"Nobody inspects the spammish repetition"), 0xe229_3b2f);
    }

    #[test]
    fn frames_are_those_of_the_reference_format() {
        for len in [0usize, 1, 100, 65_536, 65_537, 300_000] {
            let data: Vec<u8> = (0..len).map(|i| (i / 7 % 251) as u8).collect();
            let mut ours = Vec::new();
            write(&data, &mut ours).unwrap();
            let mut back = Vec::new();
            lz4_flex::frame::FrameDecoder::new(ours.as_slice())
                .read_to_end(&mut back)
                .unwrap();
            assert_eq!(back, data, "length {len}");

            for checksums in [false, true] {
                let info = lz4_flex::frame::FrameInfo::new()
                    .block_size(lz4_flex::frame::BlockSize::Max256KB)
                    .content_size(Some(len as u64))
                    .block_checksums(checksums)
                    .content_checksum(checksums);
                let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
                encoder.write_all(&data).unwrap();
                let theirs = encoder.finish().unwrap();
                let mut decompressor = super::super::Decompressor::new();
                assert_eq!(
                    decompressor.decompress(Compression::Lz4, &theirs, len),
                    Ok(&data[..]),
                    "length {len}"
                );
            }
        }
    }
}
