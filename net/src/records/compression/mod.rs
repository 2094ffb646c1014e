//! The codecs of record batches: streaming decompression with bounded memory, and compression as Java's readers expect.
//!
//! | id | codec | container |
//! |-|-|-|
//! | 0 | none | |
//! | 1 | gzip | RFC 1952 members |
//! | 2 | snappy | blocks framed as snappy-java does ("xerial"), or one raw block; written framed |
//! | 3 | lz4 | LZ4 frame, independent blocks |
//! | 4 | zstd | Zstandard frames |
//!
//! A [`Decompressor`] and a [`Compressor`] hold the state worth keeping between batches, one of each per core.
//! Decompression goes through a window: a block codec needs room for one block, a stream codec any room at all. What
//! comes out is counted against the caller's ceiling, so a few bytes that expand to gigabytes cost the ceiling in time
//! and the window in memory.

mod gzip;
mod lz4;
mod snappy;
mod zstd;

use std::fmt;
use std::str::FromStr;

/// A codec of record batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Compression {
    /// Records as they are.
    #[default]
    None = 0,
    /// Deflate in gzip members.
    Gzip = 1,
    /// Snappy blocks.
    Snappy = 2,
    /// LZ4 frames.
    Lz4 = 3,
    /// Zstandard frames; fetched only from Fetch v10, produced only from Produce v7 (KIP-110).
    Zstd = 4,
}

impl Compression {
    /// All codecs, by id.
    pub const ALL: [Compression; 5] = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];

    /// The number in a batch's attributes.
    pub fn id(self) -> u8 {
        self as u8
    }

    /// The codec of a number in a batch's attributes.
    pub fn from_id(id: u8) -> Option<Self> {
        Self::ALL.get(usize::from(id)).copied()
    }

    /// The name in producer configurations: `none`, `gzip`, `snappy`, `lz4`, `zstd`.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Compression {
    type Err = ();

    /// Reads the producer's names and the topic's `uncompressed`.
    fn from_str(name: &str) -> Result<Self, ()> {
        match name {
            "uncompressed" => Ok(Compression::None),
            _ => Self::ALL.into_iter().find(|codec| codec.name() == name).ok_or(()),
        }
    }
}

/// Why data cannot be compressed or decompressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CompressionError {
    /// Attributes name a codec that does not exist (5 to 7).
    #[error("unknown codec {0}")]
    UnknownCodec(u8),
    /// The data is not what its codec writes; says what is wrong with it.
    #[error("{codec}: {what}")]
    Corrupt {
        /// The codec that read it.
        codec: Compression,
        /// What is wrong.
        what: &'static str,
    },
    /// It would decompress to more than the caller allows.
    #[error("decompresses to more than {ceiling} bytes")]
    TooLarge {
        /// What the caller allows, bytes.
        ceiling: usize,
    },
    /// The codec itself failed, from lack of memory or a level it does not know.
    #[error("{0}: codec failed")]
    Codec(Compression),
}

/// Smallest window: what a stream codec fills at a time.
const WINDOW_BYTES: usize = 64 * 1024;
/// A window that grew past this is given back at the next use.
const KEPT_WINDOW_BYTES: usize = 4 * 1024 * 1024;
/// Least room a stream codec gets, so that it is not called for a few bytes.
const STREAM_ROOM_BYTES: usize = 16 * 1024;

/// State for decompressing batches one after the other; memory is reused between them.
#[derive(Default)]
pub struct Decompressor {
    window: Vec<u8>,
    inflate: Option<flate2::Decompress>,
    zstd: Option<::zstd::zstd_safe::DCtx<'static>>,
}

impl fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decompressor")
            .field("window_bytes", &self.window.len())
            .finish_non_exhaustive()
    }
}

impl Decompressor {
    /// No memory is taken before the first use.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes of memory held by the window.
    pub fn window_bytes(&self) -> usize {
        self.window.len()
    }

    /// Starts decompressing `src`; over `ceiling` bytes of output are [`CompressionError::TooLarge`].
    pub fn stream<'d>(
        &'d mut self,
        compression: Compression,
        src: &'d [u8],
        ceiling: usize,
    ) -> Result<DecompressStream<'d>, CompressionError> {
        if self.window.len() > KEPT_WINDOW_BYTES {
            self.window = Vec::new();
        }
        let codec = match compression {
            Compression::None => Codec::Plain(src),
            Compression::Gzip => Codec::Gzip(gzip::Reader::new(src, &mut self.inflate)),
            Compression::Snappy => Codec::Snappy(snappy::Reader::new(src)?),
            Compression::Lz4 => Codec::Lz4(lz4::Reader::new(src)?),
            Compression::Zstd => Codec::Zstd(zstd::Reader::new(src, &mut self.zstd)?),
        };
        Ok(DecompressStream {
            window: Window {
                buf: &mut self.window,
                start: 0,
                end: 0,
            },
            produced: 0,
            ceiling,
            codec,
        })
    }

    /// Decompresses all of `src`; the result lives in this decompressor until its next use.
    pub fn decompress(
        &mut self,
        compression: Compression,
        src: &[u8],
        ceiling: usize,
    ) -> Result<&[u8], CompressionError> {
        let mut stream = self.stream(compression, src, ceiling)?;
        while stream.fill()? != 0 {}
        let end = stream.window.end;
        drop(stream);
        Ok(&self.window[..end])
    }
}

/// Room for decompressed bytes: `buf[start..end]` are read but not consumed.
pub(super) struct Window<'d> {
    buf: &'d mut Vec<u8>,
    start: usize,
    end: usize,
}

impl Window<'_> {
    /// At least `least` bytes of room after what is there; moves or grows the window to make it.
    fn room(&mut self, least: usize) -> &mut [u8] {
        if self.buf.len() - self.end < least {
            if self.start > 0 {
                self.buf.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            }
            if self.buf.len() - self.end < least {
                let len = (self.buf.len() * 2).max(self.end + least).max(WINDOW_BYTES);
                self.buf.resize(len, 0);
            }
        }
        &mut self.buf[self.end..]
    }
}

enum Codec<'d> {
    Plain(&'d [u8]),
    Gzip(gzip::Reader<'d>),
    Snappy(snappy::Reader<'d>),
    Lz4(lz4::Reader<'d>),
    Zstd(zstd::Reader<'d>),
}

/// Decompressed bytes, a window at a time.
pub struct DecompressStream<'d> {
    window: Window<'d>,
    produced: usize,
    ceiling: usize,
    codec: Codec<'d>,
}

impl DecompressStream<'_> {
    /// Decompressed bytes that are there and not consumed.
    pub fn available(&self) -> &[u8] {
        &self.window.buf[self.window.start..self.window.end]
    }

    /// Marks the first `n` available bytes as used.
    pub fn consume(&mut self, n: usize) {
        assert!(
            n <= self.window.end - self.window.start,
            "consuming more than is available"
        );
        self.window.start += n;
        if self.window.start == self.window.end {
            self.window.start = 0;
            self.window.end = 0;
        }
    }

    /// Decompresses some more behind what is available; returns how many bytes, 0 at the end of the data.
    ///
    /// What is available and not consumed stays, and the window grows to hold both.
    pub fn fill(&mut self) -> Result<usize, CompressionError> {
        // One byte past the ceiling is let through, so that reaching it exactly is told apart from passing it.
        let allowed = self.ceiling.saturating_sub(self.produced).saturating_add(1);
        let n = match &mut self.codec {
            Codec::Plain(src) => {
                let room = self.window.room(src.len().min(STREAM_ROOM_BYTES));
                let n = src.len().min(room.len()).min(allowed);
                let (now, later) = src.split_at(n);
                room[..n].copy_from_slice(now);
                *src = later;
                n
            }
            Codec::Gzip(reader) => reader.read(limit(self.window.room(STREAM_ROOM_BYTES), allowed))?,
            Codec::Zstd(reader) => reader.read(limit(self.window.room(STREAM_ROOM_BYTES), allowed))?,
            Codec::Snappy(reader) => match reader.next_block()? {
                None => 0,
                Some(block) => {
                    if block.decompressed_bytes > allowed {
                        return Err(CompressionError::TooLarge {
                            ceiling: self.ceiling,
                        });
                    }
                    reader.read(block, self.window.room(block.decompressed_bytes))?
                }
            },
            Codec::Lz4(reader) => {
                let mut n = 0;
                while n == 0 {
                    let Some(block) = reader.next_block()? else { break };
                    n = reader.read(block, self.window.room(block.most_bytes))?;
                }
                n
            }
        };
        self.window.end += n;
        self.produced += n;
        if self.produced > self.ceiling {
            return Err(CompressionError::TooLarge {
                ceiling: self.ceiling,
            });
        }
        Ok(n)
    }
}

fn limit(room: &mut [u8], most: usize) -> &mut [u8] {
    let n = room.len().min(most);
    &mut room[..n]
}

/// State for compressing batches one after the other; memory is reused between them.
#[derive(Default)]
pub struct Compressor {
    deflate: Option<(u32, flate2::Compress)>,
    snappy: Option<snap::raw::Encoder>,
    zstd: Option<::zstd::zstd_safe::CCtx<'static>>,
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

impl Compressor {
    /// No memory is taken before the first use.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends `src`, compressed, to `out`. After an error `out` may hold part of it.
    ///
    /// `level` is the codec's own scale, its default when `None`: gzip 1 to 9, zstd -131072 to 22; snappy has none, and
    /// lz4 is written by the fast compressor whatever the level says.
    pub fn compress(
        &mut self,
        compression: Compression,
        level: Option<i32>,
        src: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), CompressionError> {
        match compression {
            Compression::None => out.extend_from_slice(src),
            Compression::Gzip => gzip::write(&mut self.deflate, level, src, out)?,
            Compression::Snappy => snappy::write(&mut self.snappy, src, out)?,
            Compression::Lz4 => lz4::write(src, out)?,
            Compression::Zstd => zstd::write(&mut self.zstd, level, src, out)?,
        }
        Ok(())
    }
}
