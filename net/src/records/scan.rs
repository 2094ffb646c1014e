//! Walking the records of a batch for what a broker needs of them, without keeping any: structure, timestamps,
//! offsets, presence of a key.
//!
//! Uncompressed records are walked where they lie. Compressed ones stream through the window of a [`Decompressor`], so
//! memory stays at the window however far the data expands; a record larger than the window is skipped through it.

use super::batch::BatchView;
use super::compression::{Compression, CompressionError, DecompressStream, Decompressor};
use super::varint::{BadVarint, unzigzag32, unzigzag64};

/// Why the bytes of a record are not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A length or number is cut off or longer than its longest form.
    #[error("malformed varint")]
    Varint,
    /// The record, or a part of it, reaches past the end of what holds it.
    #[error("record or field longer than its container")]
    Overrun,
    /// The parts of the record leave bytes of it over.
    #[error("{0} bytes left over in the record")]
    LeftOver(usize),
    /// The number of headers is negative or above the bytes left.
    #[error("impossible header count {0}")]
    HeaderCount(i32),
    /// A header key has a negative length; only values may be null.
    #[error("header key of length {0}")]
    HeaderKey(i32),
    /// The batch ends before its last record.
    #[error("fewer records than the batch declares")]
    Missing,
    /// Bytes follow the last record.
    #[error("bytes after the last record")]
    Trailing,
}

impl From<BadVarint> for RecordError {
    fn from(_: BadVarint) -> Self {
        RecordError::Varint
    }
}

/// Why a scan stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// The records are malformed.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The records do not decompress, or to more than the ceiling.
    #[error(transparent)]
    Compression(#[from] CompressionError),
}

/// What a scan keeps of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordMeta {
    /// Milliseconds after the base timestamp of the batch.
    pub timestamp_delta: i64,
    /// Offset less the base offset of the batch.
    pub offset_delta: i32,
    /// The key is not null.
    pub has_key: bool,
    /// The value is not null.
    pub has_value: bool,
}

/// A source of the bytes of records. The parser is written once and compiled for slices and for windows.
pub(super) trait Input {
    /// The next byte.
    fn byte(&mut self) -> Result<u8, ScanError>;
    /// Passes over `n` bytes.
    fn skip(&mut self, n: usize) -> Result<(), ScanError>;
    /// Bytes left in the record.
    fn left(&self) -> usize;

    #[inline(always)]
    fn varint(&mut self) -> Result<i32, ScanError> {
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(unzigzag32(u32::from(first)));
        }
        let mut raw = u32::from(first & 0x7f);
        for shift in [7, 14, 21, 28] {
            let byte = self.byte()?;
            raw |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(unzigzag32(raw));
            }
        }
        Err(RecordError::Varint.into())
    }

    #[inline(always)]
    fn varlong(&mut self) -> Result<i64, ScanError> {
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(unzigzag64(u64::from(first)));
        }
        let mut raw = u64::from(first & 0x7f);
        for shift in [7, 14, 21, 28, 35, 42, 49, 56, 63] {
            let byte = self.byte()?;
            raw |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(unzigzag64(raw));
            }
        }
        Err(RecordError::Varint.into())
    }
}

/// Bytes of a slice.
pub(super) struct SliceInput<'a> {
    rest: &'a [u8],
}

impl<'a> SliceInput<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Self {
        SliceInput { rest }
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `n` bytes.
    #[inline(always)]
    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8], RecordError> {
        if n > self.rest.len() {
            return Err(RecordError::Overrun);
        }
        let (taken, rest) = self.rest.split_at(n);
        self.rest = rest;
        Ok(taken)
    }
}

impl Input for SliceInput<'_> {
    #[inline(always)]
    fn byte(&mut self) -> Result<u8, ScanError> {
        match self.rest.split_first() {
            Some((&byte, rest)) => {
                self.rest = rest;
                Ok(byte)
            }
            None => Err(RecordError::Varint.into()),
        }
    }

    #[inline(always)]
    fn skip(&mut self, n: usize) -> Result<(), ScanError> {
        self.take(n)?;
        Ok(())
    }

    #[inline(always)]
    fn left(&self) -> usize {
        self.rest.len()
    }
}

/// Reads the body of a record (what follows its length); the input ends where the record does.
#[inline(always)]
pub(super) fn parse_body<I: Input>(input: &mut I) -> Result<RecordMeta, ScanError> {
    input.byte()?;
    let timestamp_delta = input.varlong()?;
    let offset_delta = input.varint()?;
    let key = input.varint()?;
    if key > 0 {
        input.skip(key as usize)?;
    }
    let value = input.varint()?;
    if value > 0 {
        input.skip(value as usize)?;
    }
    let headers = input.varint()?;
    if headers != 0 {
        skip_headers(input, headers)?;
    }
    if input.left() != 0 {
        return Err(RecordError::LeftOver(input.left()).into());
    }
    Ok(RecordMeta {
        timestamp_delta,
        offset_delta,
        has_key: key >= 0,
        has_value: value >= 0,
    })
}

pub(super) fn skip_headers<I: Input>(input: &mut I, count: i32) -> Result<(), ScanError> {
    // Each header takes two bytes or more, so a count above what is left is a lie told before any work is done.
    if count < 0 || count as usize > input.left() {
        return Err(RecordError::HeaderCount(count).into());
    }
    for _ in 0..count {
        let key = input.varint()?;
        if key < 0 {
            return Err(RecordError::HeaderKey(key).into());
        }
        input.skip(key as usize)?;
        let value = input.varint()?;
        if value > 0 {
            input.skip(value as usize)?;
        }
    }
    Ok(())
}

/// Records larger than this pass through the window in pieces instead of growing it.
const PIECEWISE_FROM_BYTES: usize = 256 * 1024;

/// Longest form of a record's length.
const MAX_LENGTH_BYTES: usize = 5;

/// The records of one batch, outlined one at a time, in order.
///
/// Yields as many as the batch declares. After the last one [`RecordScan::finish`] checks that nothing follows.
pub struct RecordScan<'d> {
    left: i32,
    source: Source<'d>,
}

enum Source<'d> {
    Plain(SliceInput<'d>),
    Stream(DecompressStream<'d>),
}

impl<'d> RecordScan<'d> {
    /// Scans `batch`, decompressing up to `ceiling` bytes through `decompressor`.
    ///
    /// A codec number that names none is [`CompressionError::UnknownCodec`]; a negative count scans nothing.
    pub fn new(
        batch: &BatchView<'d>,
        decompressor: &'d mut Decompressor,
        ceiling: usize,
    ) -> Result<Self, ScanError> {
        let id = batch.attributes().compression_id();
        let compression = Compression::from_id(id).ok_or(CompressionError::UnknownCodec(id))?;
        let source = match compression {
            Compression::None => Source::Plain(SliceInput::new(batch.payload())),
            _ => Source::Stream(decompressor.stream(compression, batch.payload(), ceiling)?),
        };
        Ok(RecordScan {
            left: batch.record_count().max(0),
            source,
        })
    }

    /// Scans `count` records in `payload`, which is decompressed or never was compressed.
    pub fn over(payload: &'d [u8], count: i32) -> Self {
        RecordScan {
            left: count.max(0),
            source: Source::Plain(SliceInput::new(payload)),
        }
    }

    /// The next record, or `None` after as many as the batch declares.
    #[inline]
    pub fn next_record(&mut self) -> Result<Option<RecordMeta>, ScanError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        match &mut self.source {
            Source::Plain(input) => plain_record(input).map(Some),
            Source::Stream(stream) => stream_record(stream).map(Some),
        }
    }

    /// Checks that the data ends here; decompresses what a hostile batch may have put behind its records no further
    /// than to its first byte.
    pub fn finish(mut self) -> Result<(), ScanError> {
        let ended = match &mut self.source {
            Source::Plain(input) => input.left() == 0,
            Source::Stream(stream) => stream.available().is_empty() && stream.fill()? == 0,
        };
        if ended {
            Ok(())
        } else {
            Err(RecordError::Trailing.into())
        }
    }
}

#[inline]
fn plain_record(input: &mut SliceInput<'_>) -> Result<RecordMeta, ScanError> {
    if input.left() == 0 {
        return Err(RecordError::Missing.into());
    }
    let length = input.varint()?;
    let Ok(length) = usize::try_from(length) else {
        return Err(RecordError::Overrun.into());
    };
    let body = input.take(length)?;
    parse_body(&mut SliceInput::new(body))
}

#[inline]
fn stream_record(stream: &mut DecompressStream<'_>) -> Result<RecordMeta, ScanError> {
    // Everything but the refilling works on the window as a slice.
    loop {
        let window = stream.available();
        let mut input = SliceInput::new(window);
        let length = match input.varint() {
            Ok(length) => length,
            Err(error) if window.len() >= MAX_LENGTH_BYTES => return Err(error),
            Err(error) => {
                let was_empty = window.is_empty();
                if stream.fill()? == 0 {
                    return Err(if was_empty {
                        RecordError::Missing.into()
                    } else {
                        error
                    });
                }
                continue;
            }
        };
        let Ok(length) = usize::try_from(length) else {
            return Err(RecordError::Overrun.into());
        };
        let prefix = window.len() - input.left();
        if length <= input.left() {
            let body = input.take(length)?;
            let meta = parse_body(&mut SliceInput::new(body))?;
            stream.consume(prefix + length);
            return Ok(meta);
        }
        if length >= PIECEWISE_FROM_BYTES {
            stream.consume(prefix);
            return parse_body(&mut StreamInput { stream, left: length });
        }
        if stream.fill()? == 0 {
            return Err(RecordError::Overrun.into());
        }
    }
}

/// One large record, taken from the stream piece by piece.
struct StreamInput<'s, 'd> {
    stream: &'s mut DecompressStream<'d>,
    left: usize,
}

impl Input for StreamInput<'_, '_> {
    fn byte(&mut self) -> Result<u8, ScanError> {
        if self.left == 0 {
            return Err(RecordError::Varint.into());
        }
        if self.stream.available().is_empty() && self.stream.fill()? == 0 {
            return Err(RecordError::Overrun.into());
        }
        let byte = self.stream.available()[0];
        self.stream.consume(1);
        self.left -= 1;
        Ok(byte)
    }

    fn skip(&mut self, mut n: usize) -> Result<(), ScanError> {
        if n > self.left {
            return Err(RecordError::Overrun.into());
        }
        self.left -= n;
        while n > 0 {
            let here = self.stream.available().len().min(n);
            if here == 0 {
                if self.stream.fill()? == 0 {
                    return Err(RecordError::Overrun.into());
                }
                continue;
            }
            self.stream.consume(here);
            n -= here;
        }
        Ok(())
    }

    fn left(&self) -> usize {
        self.left
    }
}
