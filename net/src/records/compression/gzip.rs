//! gzip members (RFC 1952) around raw deflate.
//!
//! Members may follow one another. Bytes after a complete member that start no other are ignored, as Java's reader does.

use flate2::{Crc, Decompress, FlushCompress, FlushDecompress, Status};

use super::{Compression, CompressionError};

const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
const FIXED_HEADER_BYTES: usize = 10;
const TRAILER_BYTES: usize = 8;
const FLAG_HEADER_CRC: u8 = 2;
const FLAG_EXTRA: u8 = 4;
const FLAG_NAME: u8 = 8;
const FLAG_COMMENT: u8 = 16;
const FLAGS_RESERVED: u8 = 0xe0;
const OS_UNKNOWN: u8 = 255;
const DEFAULT_LEVEL: u32 = 6;

const fn corrupt(what: &'static str) -> CompressionError {
    CompressionError::Corrupt {
        codec: Compression::Gzip,
        what,
    }
}

pub(super) struct Reader<'d> {
    src: &'d [u8],
    inflate: &'d mut Decompress,
    state: State,
    crc: Crc,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    FirstHeader,
    NextHeader,
    Body,
    Ended,
}

impl<'d> Reader<'d> {
    pub(super) fn new(src: &'d [u8], slot: &'d mut Option<Decompress>) -> Self {
        let inflate = slot.get_or_insert_with(|| Decompress::new(false));
        Reader {
            src,
            inflate,
            state: State::FirstHeader,
            crc: Crc::new(),
        }
    }

    /// Writes decompressed bytes to `out`, which is not empty; returns how many, 0 at the end.
    pub(super) fn read(&mut self, out: &mut [u8]) -> Result<usize, CompressionError> {
        loop {
            match self.state {
                State::Ended => return Ok(0),
                State::FirstHeader | State::NextHeader => match header_bytes(self.src) {
                    Ok(n) => {
                        self.src = &self.src[n..];
                        self.inflate.reset(false);
                        self.crc.reset();
                        self.state = State::Body;
                    }
                    Err(_) if self.state == State::NextHeader => self.state = State::Ended,
                    Err(error) => return Err(error),
                },
                State::Body => {
                    let (consumed, produced) = (self.inflate.total_in(), self.inflate.total_out());
                    let status = self
                        .inflate
                        .decompress(self.src, out, FlushDecompress::None)
                        .map_err(|_| corrupt("bad deflate data"))?;
                    let consumed = (self.inflate.total_in() - consumed) as usize;
                    let produced = (self.inflate.total_out() - produced) as usize;
                    self.src = &self.src[consumed..];
                    self.crc.update(&out[..produced]);
                    if status == Status::StreamEnd {
                        self.check_trailer()?;
                        self.state = State::NextHeader;
                    } else if consumed == 0 && produced == 0 {
                        return Err(corrupt("data cut off"));
                    }
                    if produced > 0 {
                        return Ok(produced);
                    }
                }
            }
        }
    }

    fn check_trailer(&mut self) -> Result<(), CompressionError> {
        let Some((trailer, rest)) = self.src.split_first_chunk::<TRAILER_BYTES>() else {
            return Err(corrupt("trailer cut off"));
        };
        let crc = u32::from_le_bytes([trailer[0], trailer[1], trailer[2], trailer[3]]);
        let size = u32::from_le_bytes([trailer[4], trailer[5], trailer[6], trailer[7]]);
        if crc != self.crc.sum() || size != self.inflate.total_out() as u32 {
            return Err(corrupt("checksum or size differs"));
        }
        self.src = rest;
        Ok(())
    }
}

/// Bytes of the header that `src` starts with.
fn header_bytes(src: &[u8]) -> Result<usize, CompressionError> {
    const CUT: CompressionError = corrupt("header cut off");
    let fixed = src.get(..FIXED_HEADER_BYTES).ok_or(CUT)?;
    if fixed[..3] != MAGIC || fixed[3] & FLAGS_RESERVED != 0 {
        return Err(corrupt("not a gzip header"));
    }
    let flags = fixed[3];
    let mut at = FIXED_HEADER_BYTES;
    if flags & FLAG_EXTRA != 0 {
        let length = src.get(at..at + 2).ok_or(CUT)?;
        at += 2 + usize::from(u16::from_le_bytes([length[0], length[1]]));
    }
    for flag in [FLAG_NAME, FLAG_COMMENT] {
        if flags & flag != 0 {
            let rest = src.get(at..).ok_or(CUT)?;
            at += 1 + rest.iter().position(|&byte| byte == 0).ok_or(CUT)?;
        }
    }
    if flags & FLAG_HEADER_CRC != 0 {
        at += 2;
    }
    if at > src.len() { Err(CUT) } else { Ok(at) }
}

pub(super) fn write(
    slot: &mut Option<(u32, flate2::Compress)>,
    level: Option<i32>,
    src: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), CompressionError> {
    const FAILED: CompressionError = CompressionError::Codec(Compression::Gzip);
    let level = match level {
        None | Some(-1) => DEFAULT_LEVEL,
        Some(level @ 1..=9) => level as u32,
        Some(_) => return Err(FAILED),
    };
    let deflate = match slot {
        Some((kept, deflate)) if *kept == level => {
            deflate.reset();
            deflate
        }
        _ => {
            &mut slot
                .insert((
                    level,
                    flate2::Compress::new(flate2::Compression::new(level), false),
                ))
                .1
        }
    };
    out.extend_from_slice(&[MAGIC[0], MAGIC[1], MAGIC[2], 0, 0, 0, 0, 0, 0, OS_UNKNOWN]);
    loop {
        let consumed = deflate.total_in() as usize;
        // Deflate expands by 5 bytes in 16 KiB at worst; a second round only happens when this guess was short.
        out.reserve((src.len() - consumed) / 2 + 256);
        match deflate
            .compress_vec(&src[consumed..], out, FlushCompress::Finish)
            .map_err(|_| FAILED)?
        {
            Status::StreamEnd => break,
            Status::Ok | Status::BufError => {}
        }
    }
    let mut crc = Crc::new();
    crc.update(src);
    out.extend_from_slice(&crc.sum().to_le_bytes());
    out.extend_from_slice(&(src.len() as u32).to_le_bytes());
    Ok(())
}
