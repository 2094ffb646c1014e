//! Zstandard frames, one or more.
//!
//! A frame declares its window; up to 128 MiB are allowed (what level 22 writes, and what Java's reader allows). The
//! memory is reserved when the header is read and touched only as far as data is decompressed; a context that took
//! much is given back at once.

use zstd::zstd_safe::{CCtx, CParameter, DCtx, InBuffer, OutBuffer, ResetDirective, compress_bound};

use super::{Compression, CompressionError};

/// A context above this is not kept between batches. Level 3, the usual, needs about 2.3 MiB.
const KEPT_CONTEXT_BYTES: usize = 10 * 1024 * 1024;
/// Largest window accepted, as a power of two.
const MAX_WINDOW_LOG: u32 = 27;
const DEFAULT_LEVEL: i32 = 3;

const FAILED: CompressionError = CompressionError::Codec(Compression::Zstd);

const fn corrupt(what: &'static str) -> CompressionError {
    CompressionError::Corrupt {
        codec: Compression::Zstd,
        what,
    }
}

pub(super) struct Reader<'d> {
    src: &'d [u8],
    context: &'d mut Option<DCtx<'static>>,
    /// Output may be waiting inside the context, or the frame is not complete.
    inside_frame: bool,
}

impl<'d> Reader<'d> {
    pub(super) fn new(
        src: &'d [u8],
        context: &'d mut Option<DCtx<'static>>,
    ) -> Result<Self, CompressionError> {
        match context {
            Some(context) => {
                context.reset(ResetDirective::SessionOnly).map_err(|_| FAILED)?;
            }
            None => {
                let mut fresh = DCtx::try_create().ok_or(FAILED)?;
                fresh
                    .set_parameter(zstd::zstd_safe::DParameter::WindowLogMax(MAX_WINDOW_LOG))
                    .map_err(|_| FAILED)?;
                *context = Some(fresh);
            }
        }
        Ok(Reader {
            src,
            context,
            inside_frame: true,
        })
    }

    /// Writes decompressed bytes to `out`, which is not empty; returns how many, 0 at the end.
    pub(super) fn read(&mut self, out: &mut [u8]) -> Result<usize, CompressionError> {
        let Some(context) = self.context.as_mut() else {
            return Err(FAILED);
        };
        loop {
            if self.src.is_empty() && !self.inside_frame {
                return Ok(0);
            }
            let mut input = InBuffer::around(self.src);
            let mut output = OutBuffer::around(&mut *out);
            let hint = context
                .decompress_stream(&mut output, &mut input)
                .map_err(|_| corrupt("bad data"))?;
            let (consumed, produced) = (input.pos(), output.pos());
            self.src = &self.src[consumed..];
            self.inside_frame = hint != 0;
            if produced > 0 {
                return Ok(produced);
            }
            if consumed == 0 && (self.inside_frame || !self.src.is_empty()) {
                return Err(corrupt("data cut off"));
            }
        }
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        if self
            .context
            .as_ref()
            .is_some_and(|context| context.sizeof() > KEPT_CONTEXT_BYTES)
        {
            *self.context = None;
        }
    }
}

pub(super) fn write(
    slot: &mut Option<CCtx<'static>>,
    level: Option<i32>,
    src: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), CompressionError> {
    let context = match slot {
        Some(context) => {
            context.reset(ResetDirective::SessionOnly).map_err(|_| FAILED)?;
            context
        }
        None => slot.insert(CCtx::try_create().ok_or(FAILED)?),
    };
    let level = level.unwrap_or(DEFAULT_LEVEL);
    context
        .set_parameter(CParameter::CompressionLevel(level))
        .map_err(|_| FAILED)?;
    let start = out.len();
    out.resize(start + compress_bound(src.len()), 0);
    let result = context.compress2(&mut out[start..], src);
    out.truncate(start + *result.as_ref().unwrap_or(&0));
    if context.sizeof() > KEPT_CONTEXT_BYTES {
        *slot = None;
    }
    result.map(|_| ()).map_err(|_| FAILED)
}
