//! Whole records of a batch, borrowed from its bytes or from what they decompress to.

use std::fmt;

use super::batch::{BatchView, TimestampType};
use super::compression::{Compression, CompressionError, Decompressor};
use super::scan::{Input, RecordError, ScanError, SliceInput, skip_headers};

/// Why records cannot be read.
pub type RecordsError = ScanError;

/// One record. Everything but the numbers borrows from the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Offset in the partition, given that the batch has its base offset.
    pub offset: i64,
    /// Milliseconds since 1970, or -1; the append time under LogAppendTime.
    pub timestamp: i64,
    /// The key, `None` for null.
    pub key: Option<&'a [u8]>,
    /// The value, `None` for null (a tombstone on compacted topics).
    pub value: Option<&'a [u8]>,
    /// The headers in their order; keys may repeat.
    pub headers: Headers<'a>,
}

/// One header of a record. The key is UTF-8 by convention only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// Name, as bytes.
    pub key: &'a [u8],
    /// Value, `None` for null.
    pub value: Option<&'a [u8]>,
}

/// The headers of a record, checked when the record was read, decoded when iterated.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Headers<'a> {
    count: usize,
    bytes: &'a [u8],
}

impl<'a> Headers<'a> {
    /// How many headers there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The headers, first to last.
    pub fn iter(&self) -> HeaderIter<'a> {
        HeaderIter {
            left: self.count,
            input: self.bytes,
        }
    }

    /// The value of the last header named `key`, which is the one that counts when keys repeat.
    pub fn last(&self, key: &[u8]) -> Option<Header<'a>> {
        self.iter().filter(|header| header.key == key).last()
    }
}

impl<'a> IntoIterator for Headers<'a> {
    type Item = Header<'a>;
    type IntoIter = HeaderIter<'a>;

    fn into_iter(self) -> HeaderIter<'a> {
        self.iter()
    }
}

impl fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Iterator of [`Headers`].
#[derive(Debug, Clone)]
pub struct HeaderIter<'a> {
    left: usize,
    input: &'a [u8],
}

impl<'a> Iterator for HeaderIter<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let mut input = SliceInput::new(self.input);
        let header = read_header(&mut input).ok();
        debug_assert!(
            header.is_some(),
            "headers were checked when their record was read"
        );
        self.input = input.rest();
        header
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for HeaderIter<'_> {}

fn read_header<'a>(input: &mut SliceInput<'a>) -> Result<Header<'a>, ScanError> {
    let key = input.varint()?;
    let key = usize::try_from(key).map_err(|_| RecordError::HeaderKey(key))?;
    let key = input.take(key)?;
    Ok(Header {
        key,
        value: read_nullable(input)?,
    })
}

#[inline]
fn read_nullable<'a>(input: &mut SliceInput<'a>) -> Result<Option<&'a [u8]>, ScanError> {
    match usize::try_from(input.varint()?) {
        Ok(length) => Ok(Some(input.take(length)?)),
        Err(_) => Ok(None),
    }
}

/// Records of one batch, in order. The first error ends the iteration.
#[derive(Debug, Clone)]
pub struct RecordIter<'a> {
    rest: &'a [u8],
    left: i32,
    base_offset: i64,
    base_timestamp: i64,
    append_time: Option<i64>,
}

impl<'a> RecordIter<'a> {
    /// Records of `batch` whose decompressed payload is `payload`.
    pub fn new(batch: &BatchView<'_>, payload: &'a [u8]) -> Self {
        RecordIter {
            rest: payload,
            left: batch.record_count().max(0),
            base_offset: batch.base_offset(),
            base_timestamp: batch.base_timestamp(),
            append_time: (batch.attributes().timestamp_type() == TimestampType::LogAppendTime)
                .then(|| batch.max_timestamp()),
        }
    }

    fn read(&mut self) -> Result<Record<'a>, ScanError> {
        if self.rest.is_empty() {
            return Err(RecordError::Missing.into());
        }
        let mut input = SliceInput::new(self.rest);
        let length = usize::try_from(input.varint()?).map_err(|_| RecordError::Overrun)?;
        let mut body = SliceInput::new(input.take(length)?);
        self.rest = input.rest();
        body.byte()?;
        let timestamp_delta = body.varlong()?;
        let offset_delta = body.varint()?;
        let key = read_nullable(&mut body)?;
        let value = read_nullable(&mut body)?;
        let count = body.varint()?;
        let bytes = body.rest();
        skip_headers(&mut body, count)?;
        if body.left() != 0 {
            return Err(RecordError::LeftOver(body.left()).into());
        }
        Ok(Record {
            offset: self.base_offset.wrapping_add(i64::from(offset_delta)),
            timestamp: self
                .append_time
                .unwrap_or_else(|| self.base_timestamp.wrapping_add(timestamp_delta)),
            key,
            value,
            headers: Headers {
                count: count as usize,
                bytes,
            },
        })
    }
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<Record<'a>, ScanError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            // What follows the last record would be lost in silence otherwise.
            if self.rest.is_empty() {
                return None;
            }
            self.rest = &[];
            return Some(Err(RecordError::Trailing.into()));
        }
        self.left -= 1;
        let result = self.read();
        if result.is_err() {
            self.left = 0;
            self.rest = &[];
        }
        Some(result)
    }
}

impl<'a> BatchView<'a> {
    /// The records, decompressed into `decompressor` when they are compressed.
    ///
    /// More than `ceiling` decompressed bytes are [`CompressionError::TooLarge`]. The CRC is not checked here.
    pub fn records<'s>(
        &self,
        decompressor: &'s mut Decompressor,
        ceiling: usize,
    ) -> Result<RecordIter<'s>, CompressionError>
    where
        'a: 's,
    {
        let id = self.attributes().compression_id();
        let payload: &'s [u8] = match Compression::from_id(id) {
            None => return Err(CompressionError::UnknownCodec(id)),
            Some(Compression::None) => self.payload(),
            Some(compression) => decompressor.decompress(compression, self.payload(), ceiling)?,
        };
        Ok(RecordIter::new(self, payload))
    }
}
