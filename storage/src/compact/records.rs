//! The records inside a batch, as far as compaction looks: key, value or tombstone, timestamp and offset.
//!
//! Used by [`super::filter`]. A record is copied as it is; only its timestamp's distance is written anew when the
//! batch's base timestamp changes. Compression is a matter of [`Codec`], which the engine supplies: this crate knows
//! no codec.
//!
//! | record | type |
//! |-|-|
//! | length of what follows | varint |
//! | attributes | i8 |
//! | timestamp, from the batch's base | varint |
//! | offset, from the batch's base | varint |
//! | key: length, -1 for none, and bytes | varint |
//! | value: length, -1 for none, and bytes | varint |
//! | headers: count, then key and value each | varint |

use crate::format::Invalid;

/// Compression of batches, by the number in their attributes (1 gzip, 2 snappy, 3 lz4, 4 zstd).
pub trait Codec {
    /// Appends the decompressed records to `out`; an error if they are damaged or longer than `ceiling` bytes.
    fn decompress(
        &mut self,
        codec: u8,
        payload: &[u8],
        ceiling: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), CodecError>;
    /// Appends the compressed `records` to `out`.
    fn compress(&mut self, codec: u8, records: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError>;
}

/// A batch that the codec cannot handle. Compaction keeps it as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the codec refused")]
pub struct CodecError;

/// A codec for logs without compression.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCodec;

impl Codec for NoCodec {
    fn decompress(&mut self, _: u8, _: &[u8], _: usize, _: &mut Vec<u8>) -> Result<(), CodecError> {
        Err(CodecError)
    }

    fn compress(&mut self, _: u8, _: &[u8], _: &mut Vec<u8>) -> Result<(), CodecError> {
        Err(CodecError)
    }
}

/// A record, in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Length prefix and all.
    pub whole: &'a [u8],
    /// Attributes.
    pub attributes: u8,
    /// Timestamp, from the batch's base.
    pub timestamp_delta: i64,
    /// Offset, from the batch's base.
    pub offset_delta: i64,
    /// Key, if it has one.
    pub key: Option<&'a [u8]>,
    /// Value; none for a tombstone.
    pub value: Option<&'a [u8]>,
    /// Everything behind the timestamp.
    rest: &'a [u8],
}

/// Reads a number of Kafka's variable length (zigzag) from the front of `bytes`.
pub(crate) fn varint(bytes: &mut &[u8]) -> Option<i64> {
    let (mut value, mut shift) = (0_u64, 0);
    loop {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some((value >> 1) as i64 ^ -((value & 1) as i64));
        }
        shift += 7;
        if shift > 63 {
            return None;
        }
    }
}

/// Reads a field with its length in front; the inner none is a null field.
pub(crate) fn field<'a>(bytes: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let len = varint(bytes)?;
    if len < 0 {
        return (len == -1).then_some(None);
    }
    let (field, rest) = bytes.split_at_checked(usize::try_from(len).ok()?)?;
    *bytes = rest;
    Some(Some(field))
}

/// Writes a number of Kafka's variable length (zigzag).
pub(crate) fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

impl<'a> Record<'a> {
    /// Takes the record at the front of `bytes`.
    pub fn take(bytes: &mut &'a [u8]) -> Result<Self, Invalid> {
        let cut = Invalid("record cut short");
        let before = *bytes;
        let mut body = field(bytes).flatten().ok_or(cut)?;
        let whole = &before[..before.len() - bytes.len()];
        let (&attributes, tail) = body.split_first().ok_or(cut)?;
        body = tail;
        let timestamp_delta = varint(&mut body).ok_or(cut)?;
        let rest = body;
        let offset_delta = varint(&mut body).ok_or(cut)?;
        let key = field(&mut body).ok_or(cut)?;
        let value = field(&mut body).ok_or(cut)?;
        Ok(Self {
            whole,
            attributes,
            timestamp_delta,
            offset_delta,
            key,
            value,
            rest,
        })
    }

    /// Appends the record, its timestamp counted from a base that is `moved` later.
    pub fn put(&self, moved: i64, out: &mut Vec<u8>) {
        if moved == 0 {
            out.extend_from_slice(self.whole);
            return;
        }
        let mut stamp = Vec::with_capacity(10);
        put_varint(&mut stamp, self.timestamp_delta.wrapping_sub(moved));
        put_varint(out, (1 + stamp.len() + self.rest.len()) as i64);
        out.push(self.attributes);
        out.extend_from_slice(&stamp);
        out.extend_from_slice(self.rest);
    }
}

/// The records of a decompressed batch of `count`; an error ends it.
pub fn records(bytes: &[u8], count: i32) -> impl Iterator<Item = Result<Record<'_>, Invalid>> {
    let (mut rest, mut left) = (bytes, count.max(0));
    std::iter::from_fn(move || {
        if left == 0 {
            return None;
        }
        let record = Record::take(&mut rest);
        left = if record.is_ok() { left - 1 } else { 0 };
        Some(record)
    })
}

/// Appends a record as a producer would write it, for tests and simulation.
pub fn put_record(
    out: &mut Vec<u8>,
    timestamp_delta: i64,
    offset_delta: i64,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
) {
    let mut body = vec![0];
    put_varint(&mut body, timestamp_delta);
    put_varint(&mut body, offset_delta);
    for field in [key, value] {
        put_varint(&mut body, field.map_or(-1, |f| f.len() as i64));
        body.extend_from_slice(field.unwrap_or_default());
    }
    put_varint(&mut body, 0);
    put_varint(out, body.len() as i64);
    out.extend_from_slice(&body);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_all_sizes_survive() {
        for value in [
            0,
            1,
            -1,
            63,
            64,
            -64,
            -65,
            1 << 31,
            -(1 << 40),
            i64::MAX,
            i64::MIN,
        ] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            let mut rest = bytes.as_slice();
            assert_eq!((varint(&mut rest), rest.len()), (Some(value), 0));
        }
        assert_eq!(varint(&mut [0xff_u8; 11].as_slice()), None);
    }

    #[test]
    fn a_record_is_found_and_written_again_with_another_base_timestamp() {
        let mut bytes = Vec::new();
        put_record(&mut bytes, 40, 0, Some(b"k"), Some(b"value"));
        put_record(&mut bytes, -3, 1, None, None);
        let found: Vec<Record<'_>> = records(&bytes, 2).collect::<Result<_, _>>().expect("two records");
        assert_eq!(
            (found[0].key, found[0].value, found[0].offset_delta),
            (Some(&b"k"[..]), Some(&b"value"[..]), 0)
        );
        assert_eq!(
            (found[1].key, found[1].value, found[1].offset_delta),
            (None, None, 1)
        );
        let mut again = Vec::new();
        found[0].put(0, &mut again);
        found[1].put(1_000_000, &mut again);
        let moved: Vec<Record<'_>> = records(&again, 2).collect::<Result<_, _>>().expect("two records");
        assert_eq!(moved[0], found[0]);
        assert_eq!(moved[1].timestamp_delta, -1_000_003);
        assert_eq!((moved[1].key, moved[1].offset_delta), (None, 1));
        for cut in 0..bytes.len() {
            assert!(records(&bytes[..cut], 2).any(|r| r.is_err()), "cut at {cut}");
        }
    }
}
