//! Snappy, framed as snappy-java's streams are ("xerial"), or as one raw block.
//!
//! Framed: 8 bytes of magic, version and lowest compatible version (int32, both 1), then blocks of int32 length and
//! that many bytes of raw Snappy. Anything that does not start with the magic is one raw block, which is what
//! librdkafka and others send.

use super::{Compression, CompressionError};

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const HEADER_BYTES: usize = 16;
const VERSION: i32 = 1;
/// Uncompressed bytes per block written, snappy-java's default.
const BLOCK_BYTES: usize = 32 * 1024;
/// No Snappy element yields more per byte: a copy of 64 bytes takes 3.
const MAX_EXPANSION: usize = 22;

const fn corrupt(what: &'static str) -> CompressionError {
    CompressionError::Corrupt {
        codec: Compression::Snappy,
        what,
    }
}

pub(super) struct Reader<'d> {
    src: &'d [u8],
    framed: bool,
}

#[derive(Clone, Copy)]
pub(super) struct Block<'d> {
    data: &'d [u8],
    /// Exactly what it decompresses to; above 0.
    pub(super) decompressed_bytes: usize,
}

impl<'d> Reader<'d> {
    pub(super) fn new(src: &'d [u8]) -> Result<Self, CompressionError> {
        let mut reader = Reader {
            src,
            framed: src.starts_with(&MAGIC),
        };
        if src.is_empty() {
            return Err(corrupt("no data"));
        }
        if reader.framed {
            reader.skip_header()?;
        }
        Ok(reader)
    }

    fn skip_header(&mut self) -> Result<(), CompressionError> {
        let Some((header, rest)) = self.src.split_first_chunk::<HEADER_BYTES>() else {
            return Err(corrupt("header cut off"));
        };
        if i32::from_be_bytes([header[8], header[9], header[10], header[11]]) < VERSION {
            return Err(corrupt("version of the framing"));
        }
        self.src = rest;
        Ok(())
    }

    /// The next block that yields anything.
    pub(super) fn next_block(&mut self) -> Result<Option<Block<'d>>, CompressionError> {
        while !self.src.is_empty() {
            let data = if self.framed {
                // Streams written one after the other repeat the header.
                if self.src.starts_with(&MAGIC) {
                    self.skip_header()?;
                    continue;
                }
                let Some((length, rest)) = self.src.split_first_chunk::<4>() else {
                    return Err(corrupt("block length cut off"));
                };
                let length =
                    usize::try_from(i32::from_be_bytes(*length)).map_err(|_| corrupt("block length"))?;
                let Some((data, rest)) = rest.split_at_checked(length) else {
                    return Err(corrupt("block cut off"));
                };
                self.src = rest;
                data
            } else {
                std::mem::take(&mut self.src)
            };
            if data.is_empty() {
                return Err(corrupt("empty block"));
            }
            let bytes = snap::raw::decompress_len(data).map_err(|_| corrupt("block header"))?;
            if bytes > data.len().saturating_mul(MAX_EXPANSION) {
                return Err(corrupt("block claims more than Snappy can hold"));
            }
            // A block of nothing is still checked: it must be its header alone.
            if bytes > 0 {
                return Ok(Some(Block {
                    data,
                    decompressed_bytes: bytes,
                }));
            }
            self.read(
                Block {
                    data,
                    decompressed_bytes: 0,
                },
                &mut [],
            )?;
        }
        Ok(None)
    }

    /// Decompresses a block into `out`, which has room for it.
    pub(super) fn read(&mut self, block: Block<'d>, out: &mut [u8]) -> Result<usize, CompressionError> {
        snap::raw::Decoder::new()
            .decompress(block.data, &mut out[..block.decompressed_bytes])
            .map_err(|_| corrupt("bad block"))
    }
}

pub(super) fn write(
    slot: &mut Option<snap::raw::Encoder>,
    src: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), CompressionError> {
    let encoder = slot.get_or_insert_with(snap::raw::Encoder::new);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(&VERSION.to_be_bytes());
    for block in src.chunks(BLOCK_BYTES) {
        let length_at = out.len();
        out.resize(length_at + 4 + snap::raw::max_compress_len(block.len()), 0);
        let n = encoder
            .compress(block, &mut out[length_at + 4..])
            .map_err(|_| CompressionError::Codec(Compression::Snappy))?;
        out.truncate(length_at + 4 + n);
        out[length_at..length_at + 4].copy_from_slice(&(n as i32).to_be_bytes());
    }
    Ok(())
}
