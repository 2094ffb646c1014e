//! Reading one frame: borrowed, checked, and within a budget of memory.
//!
//! The layouts follow KIP-482: an older version of a message uses fixed-width lengths (int16 for strings, int32 for
//! bytes and arrays, -1 for null), a flexible one uses unsigned varints that hold the length plus one (0 for null) and
//! ends every structure with a section of tagged fields. Whether a message is flexible is the `flex` argument below.

use std::borrow::Cow;
use std::mem::size_of;

use super::{Decode, MAX_STRING_BYTES, Records, Uuid};

/// Every reader may allocate this many bytes, however short its input.
pub const BUDGET_FLOOR: usize = 64 * 1024;
/// Bytes of decoded structures allowed per byte of input. Structures of well-formed traffic stay below ten.
pub const BUDGET_FACTOR: usize = 16;
/// The most that decoded structures of one input may occupy beyond [`BUDGET_FLOOR`], about a million partitions.
pub const BUDGET_CEILING: usize = 64 * 1024 * 1024;

/// Bytes that decoding an input of `input_bytes` may allocate: the floor plus [`BUDGET_FACTOR`] times the input, of
/// which at most [`BUDGET_CEILING`]. Strings, bytes and records are borrowed and cost nothing.
pub fn budget_for(input_bytes: usize) -> usize {
    BUDGET_FLOOR + input_bytes.saturating_mul(BUDGET_FACTOR).min(BUDGET_CEILING)
}

/// Why bytes are no message. The client (or the medium they come from) is at fault in every case; nothing was
/// allocated for the part that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The input ends inside a field.
    #[error("input ends inside a field")]
    Truncated,
    /// A varint runs past five (or ten) bytes or past its type's range.
    #[error("varint out of range")]
    Varint,
    /// A length below -1, or above what its type allows.
    #[error("length {0} out of range")]
    Length(i64),
    /// Null where this version has none.
    #[error("null in a field that may not be null")]
    Null,
    /// A string that is not UTF-8.
    #[error("string is not UTF-8")]
    Utf8,
    /// An array claims more elements than the remaining bytes could hold.
    #[error("array of {0} elements exceeds the input")]
    ArrayLength(u32),
    /// The decoded structures would exceed [`budget_for`] the input.
    #[error("decoded structures exceed the memory budget of the input")]
    Budget,
    /// A tagged field's contents do not fill the size it claims.
    #[error("tagged field differs from its stated size")]
    TagSize,
    /// The version lies outside the message's schema.
    #[error("version {0} is not in the schema")]
    Version(i16),
    /// Bytes are left after the message.
    #[error("{0} bytes after the message")]
    Trailing(usize),
}

/// A fixed-width value: what arrays of plain numbers are made of.
pub(crate) trait Fixed: Copy {
    /// Bytes on the wire.
    const WIDTH: usize;
    /// Reads from exactly [`Fixed::WIDTH`] bytes.
    fn get(bytes: &[u8]) -> Self;
    /// Appends exactly [`Fixed::WIDTH`] bytes.
    fn put(self, out: &mut Vec<u8>);
}

macro_rules! fixed {
    ($($t:ty),*) => {$(
        impl Fixed for $t {
            const WIDTH: usize = size_of::<$t>();
            #[inline]
            fn get(bytes: &[u8]) -> Self {
                let mut be = [0; size_of::<$t>()];
                be.copy_from_slice(bytes);
                <$t>::from_be_bytes(be)
            }
            #[inline]
            fn put(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }
        }
    )*};
}
fixed!(i8, i16, i32, i64, u16, f64);

impl Fixed for Uuid {
    const WIDTH: usize = 16;
    #[inline]
    fn get(bytes: &[u8]) -> Self {
        let mut id = [0; 16];
        id.copy_from_slice(bytes);
        Uuid(id)
    }
    #[inline]
    fn put(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }
}

/// An open tagged field: its number, and where the input goes on after it.
pub(crate) struct Tag<'a> {
    /// The field's number within its structure.
    pub(crate) number: u32,
    rest: &'a [u8],
}

/// A cursor over one frame (or one stored record) that lends out slices of it.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    buf: &'a [u8],
    budget: usize,
}

impl<'a> Reader<'a> {
    /// Reads `buf` with the memory budget of [`budget_for`] its length.
    pub fn new(buf: &'a [u8]) -> Self {
        Self {
            buf,
            budget: budget_for(buf.len()),
        }
    }

    /// Bytes not read yet.
    #[inline]
    pub fn remaining(&self) -> usize {
        self.buf.len()
    }

    /// The bytes not read yet, without reading them.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        self.buf
    }

    /// Bytes that further decoding may still allocate.
    pub fn budget(&self) -> usize {
        self.budget
    }

    /// Ends reading; an error when bytes are left.
    pub fn finish(self) -> Result<(), DecodeError> {
        if self.buf.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::Trailing(self.buf.len()))
        }
    }

    /// The next `n` bytes.
    #[inline]
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self.buf.split_at_checked(n).ok_or(DecodeError::Truncated)?;
        self.buf = tail;
        Ok(head)
    }

    #[inline]
    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, tail) = self.buf.split_first_chunk::<N>().ok_or(DecodeError::Truncated)?;
        self.buf = tail;
        Ok(*head)
    }

    /// A boolean: one byte, false when zero.
    #[inline]
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.chunk::<1>()?[0] != 0)
    }

    /// An int8.
    #[inline]
    pub fn i8(&mut self) -> Result<i8, DecodeError> {
        Ok(i8::from_be_bytes(self.chunk()?))
    }

    /// An int16.
    #[inline]
    pub fn i16(&mut self) -> Result<i16, DecodeError> {
        Ok(i16::from_be_bytes(self.chunk()?))
    }

    /// A uint16.
    #[inline]
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_be_bytes(self.chunk()?))
    }

    /// An int32.
    #[inline]
    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        Ok(i32::from_be_bytes(self.chunk()?))
    }

    /// An int64.
    #[inline]
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from_be_bytes(self.chunk()?))
    }

    /// A float64.
    #[inline]
    pub fn f64(&mut self) -> Result<f64, DecodeError> {
        Ok(f64::from_be_bytes(self.chunk()?))
    }

    /// A uuid: 16 bytes.
    #[inline]
    pub fn uuid(&mut self) -> Result<Uuid, DecodeError> {
        Ok(Uuid(self.chunk()?))
    }

    /// An unsigned varint: up to five bytes of seven bits, least significant first, at most `u32::MAX`.
    #[inline]
    pub fn uvarint(&mut self) -> Result<u32, DecodeError> {
        let first = self.chunk::<1>()?[0];
        if first < 0x80 {
            return Ok(u32::from(first));
        }
        let mut value = u64::from(first & 0x7f);
        for shift in [7, 14, 21, 28] {
            let byte = self.chunk::<1>()?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return u32::try_from(value).map_err(|_| DecodeError::Varint);
            }
        }
        Err(DecodeError::Varint)
    }

    /// A length in either layout; `None` is null. `wide` chooses int32 over int16 when not flexible.
    #[inline]
    fn length(&mut self, flex: bool, wide: bool) -> Result<Option<usize>, DecodeError> {
        let signed = if flex {
            i64::from(self.uvarint()?) - 1
        } else if wide {
            i64::from(self.i32()?)
        } else {
            i64::from(self.i16()?)
        };
        match signed {
            -1 => Ok(None),
            0..=0x7fff_ffff => Ok(Some(signed as usize)),
            _ => Err(DecodeError::Length(signed)),
        }
    }

    #[inline]
    fn maybe_str(&mut self, flex: bool) -> Result<Option<Cow<'a, str>>, DecodeError> {
        let Some(len) = self.length(flex, false)? else {
            return Ok(None);
        };
        if len > MAX_STRING_BYTES {
            return Err(DecodeError::Length(len as i64));
        }
        let text = std::str::from_utf8(self.take(len)?).map_err(|_| DecodeError::Utf8)?;
        Ok(Some(Cow::Borrowed(text)))
    }

    #[inline]
    fn maybe_bytes(&mut self, flex: bool) -> Result<Option<&'a [u8]>, DecodeError> {
        match self.length(flex, true)? {
            Some(len) => self.take(len).map(Some),
            None => Ok(None),
        }
    }

    /// A string.
    #[inline]
    pub fn str(&mut self, flex: bool) -> Result<Cow<'a, str>, DecodeError> {
        self.maybe_str(flex)?.ok_or(DecodeError::Null)
    }

    /// A nullable string; null is an error unless `nullable` (at this version).
    #[inline]
    pub fn opt_str(&mut self, flex: bool, nullable: bool) -> Result<Option<Cow<'a, str>>, DecodeError> {
        non_null(self.maybe_str(flex)?, nullable)
    }

    /// A byte array.
    #[inline]
    pub fn bytes(&mut self, flex: bool) -> Result<Cow<'a, [u8]>, DecodeError> {
        self.maybe_bytes(flex)?
            .map(Cow::Borrowed)
            .ok_or(DecodeError::Null)
    }

    /// A nullable byte array; null is an error unless `nullable` (at this version).
    #[inline]
    pub fn opt_bytes(&mut self, flex: bool, nullable: bool) -> Result<Option<Cow<'a, [u8]>>, DecodeError> {
        non_null(self.maybe_bytes(flex)?.map(Cow::Borrowed), nullable)
    }

    /// Record bytes, borrowed; null is an error unless `nullable` (at this version).
    #[inline]
    pub fn records(&mut self, flex: bool, nullable: bool) -> Result<Records<'a>, DecodeError> {
        Ok(match non_null(self.maybe_bytes(flex)?, nullable)? {
            Some(bytes) => Records::Slice(bytes),
            None => Records::Null,
        })
    }

    /// An array's count, checked before anything is reserved: against the remaining input, given that one element
    /// takes at least `min_wire` (>= 1) bytes, and against the budget, given that it takes `size` bytes in memory.
    #[inline]
    fn count(&mut self, flex: bool, min_wire: usize, size: usize) -> Result<Option<usize>, DecodeError> {
        debug_assert!(min_wire > 0);
        let Some(count) = self.length(flex, true)? else {
            return Ok(None);
        };
        if count > self.buf.len() / min_wire {
            return Err(DecodeError::ArrayLength(count as u32));
        }
        self.charge(count.saturating_mul(size))?;
        Ok(Some(count))
    }

    #[inline]
    fn charge(&mut self, bytes: usize) -> Result<(), DecodeError> {
        self.budget = self.budget.checked_sub(bytes).ok_or(DecodeError::Budget)?;
        Ok(())
    }

    /// A nullable array of fixed-width values.
    pub(crate) fn opt_array<T: Fixed>(
        &mut self,
        flex: bool,
        nullable: bool,
    ) -> Result<Option<Vec<T>>, DecodeError> {
        let Some(count) = non_null(self.count(flex, T::WIDTH, size_of::<T>())?, nullable)? else {
            return Ok(None);
        };
        let bytes = self.take(count * T::WIDTH)?;
        Ok(Some(bytes.chunks_exact(T::WIDTH).map(T::get).collect()))
    }

    /// An array of fixed-width values.
    pub(crate) fn array<T: Fixed>(&mut self, flex: bool) -> Result<Vec<T>, DecodeError> {
        self.opt_array(flex, false)?.ok_or(DecodeError::Null)
    }

    /// A nullable array of strings.
    pub(crate) fn opt_strs(
        &mut self,
        flex: bool,
        nullable: bool,
    ) -> Result<Option<Vec<Cow<'a, str>>>, DecodeError> {
        let min_wire = if flex { 1 } else { 2 };
        let count = non_null(self.count(flex, min_wire, size_of::<Cow<'a, str>>())?, nullable)?;
        let Some(count) = count else { return Ok(None) };
        let mut out = Vec::with_capacity(count);
        for _ in 0..count {
            out.push(self.str(flex)?);
        }
        Ok(Some(out))
    }

    /// An array of strings.
    pub(crate) fn strs(&mut self, flex: bool) -> Result<Vec<Cow<'a, str>>, DecodeError> {
        self.opt_strs(flex, false)?.ok_or(DecodeError::Null)
    }

    /// A nullable array of structures, each at least `min_wire` bytes long on the wire.
    pub(crate) fn opt_structs<T: Decode<'a>>(
        &mut self,
        flex: bool,
        nullable: bool,
        min_wire: usize,
        version: i16,
    ) -> Result<Option<Vec<T>>, DecodeError> {
        let Some(count) = non_null(self.count(flex, min_wire, size_of::<T>())?, nullable)? else {
            return Ok(None);
        };
        let mut out = Vec::with_capacity(count);
        for _ in 0..count {
            out.push(T::decode(self, version)?);
        }
        Ok(Some(out))
    }

    /// An array of structures, each at least `min_wire` bytes long on the wire.
    pub(crate) fn structs<T: Decode<'a>>(
        &mut self,
        flex: bool,
        min_wire: usize,
        version: i16,
    ) -> Result<Vec<T>, DecodeError> {
        self.opt_structs(flex, false, min_wire, version)?
            .ok_or(DecodeError::Null)
    }

    /// A nullable structure: one byte, negative for null, then the structure. Null is an error unless `nullable`.
    pub(crate) fn opt_struct<T: Decode<'a>>(
        &mut self,
        nullable: bool,
        version: i16,
    ) -> Result<Option<T>, DecodeError> {
        let present = self.i8()? >= 0;
        if present {
            T::decode(self, version).map(Some)
        } else {
            non_null(None, nullable)
        }
    }

    /// A nullable structure that is a tagged field: one varint, 0 for null, then the structure.
    pub(crate) fn opt_tagged_struct<T: Decode<'a>>(
        &mut self,
        nullable: bool,
        version: i16,
    ) -> Result<Option<T>, DecodeError> {
        let present = self.uvarint()? > 0;
        if present {
            T::decode(self, version).map(Some)
        } else {
            non_null(None, nullable)
        }
    }

    /// Opens the next tagged field: until [`Reader::close_tag`] the reader sees only its contents.
    pub(crate) fn open_tag(&mut self) -> Result<Tag<'a>, DecodeError> {
        let number = self.uvarint()?;
        let size = self.uvarint()? as usize;
        let contents = self.take(size)?;
        let rest = std::mem::replace(&mut self.buf, contents);
        Ok(Tag { number, rest })
    }

    /// Drops what an unknown tagged field holds.
    pub(crate) fn skip_tag(&mut self) {
        self.buf = &[];
    }

    /// Ends the tagged field; an error when its contents were not used up.
    pub(crate) fn close_tag(&mut self, tag: Tag<'a>) -> Result<(), DecodeError> {
        if !self.buf.is_empty() {
            return Err(DecodeError::TagSize);
        }
        self.buf = tag.rest;
        Ok(())
    }

    /// Skips a whole section of tagged fields. A hostile count ends with the input, two bytes a field.
    #[inline]
    pub fn skip_tags(&mut self) -> Result<(), DecodeError> {
        for _ in 0..self.uvarint()? {
            self.uvarint()?;
            let size = self.uvarint()? as usize;
            self.take(size)?;
        }
        Ok(())
    }
}

#[inline]
fn non_null<T>(value: Option<T>, nullable: bool) -> Result<Option<T>, DecodeError> {
    if value.is_none() && !nullable {
        Err(DecodeError::Null)
    } else {
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_cover_u32_and_refuse_more() {
        for (bytes, want) in [
            (&[0x00][..], Ok(0)),
            (&[0x7f], Ok(127)),
            (&[0x80, 0x01], Ok(128)),
            (&[0xff, 0xff, 0xff, 0xff, 0x0f], Ok(u32::MAX)),
            (&[0x80, 0x00], Ok(0)),
            (&[0xff, 0xff, 0xff, 0xff, 0x1f], Err(DecodeError::Varint)),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0x01], Err(DecodeError::Varint)),
            (&[0xff, 0xff], Err(DecodeError::Truncated)),
            (&[], Err(DecodeError::Truncated)),
        ] {
            assert_eq!(Reader::new(bytes).uvarint(), want, "{bytes:x?}");
        }
    }

    #[test]
    fn lengths_below_null_and_beyond_the_input_are_errors() {
        assert_eq!(
            Reader::new(&[0xff, 0xfe]).str(false),
            Err(DecodeError::Length(-2))
        );
        assert_eq!(Reader::new(&[0xff, 0xff]).str(false), Err(DecodeError::Null));
        assert_eq!(Reader::new(&[0xff, 0xff]).opt_str(false, true), Ok(None));
        assert_eq!(
            Reader::new(&[0xff, 0xff]).opt_str(false, false),
            Err(DecodeError::Null)
        );
        assert_eq!(
            Reader::new(&[0x7f, 0xff, b'x']).str(false),
            Err(DecodeError::Truncated)
        );
        assert_eq!(Reader::new(&[0x00]).opt_bytes(true, true), Ok(None));
        assert_eq!(
            Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x0f]).bytes(true),
            Err(DecodeError::Length(0xffff_fffe))
        );
        assert_eq!(
            Reader::new(&[0x80, 0x80, 0x02]).str(true),
            Err(DecodeError::Truncated)
        );
        assert_eq!(
            Reader::new(&[0x81, 0x80, 0x02]).str(true),
            Err(DecodeError::Length(32768))
        );
        assert_eq!(Reader::new(&[0x02, 0xff]).str(true), Err(DecodeError::Utf8));
    }

    #[test]
    fn array_counts_meet_the_input_and_the_budget_before_memory() {
        let claims = [0x7f, 0xff, 0xff, 0xff];
        assert_eq!(
            Reader::new(&claims).array::<i32>(false),
            Err(DecodeError::ArrayLength(0x7fff_ffff))
        );
        assert_eq!(
            Reader::new(&claims).strs(false),
            Err(DecodeError::ArrayLength(0x7fff_ffff))
        );
        // A megabyte of empty strings is honest about its length, and still more than the budget.
        let mut many = vec![0u8; 1 << 20];
        many[..4].copy_from_slice(&((1 << 20) - 4i32).to_be_bytes());
        let mut r = Reader::new(&many);
        assert_eq!(r.count(false, 1, 24), Err(DecodeError::Budget));
        assert_eq!(
            Reader::new(&[0, 0, 0, 1, 0, 0, 0, 9]).array::<i32>(false),
            Ok(vec![9])
        );
    }

    #[test]
    fn tagged_fields_are_bounded_by_their_size() {
        let mut r = Reader::new(&[5, 4, 0, 0, 0, 7, 9]);
        let tag = r.open_tag().unwrap();
        assert_eq!((tag.number, r.remaining()), (5, 4));
        assert_eq!(r.i64(), Err(DecodeError::Truncated));
        assert_eq!(r.i32(), Ok(7));
        r.close_tag(tag).unwrap();
        assert_eq!(r.i8(), Ok(9));
        let mut r = Reader::new(&[5, 4, 0, 0, 0, 7]);
        let tag = r.open_tag().unwrap();
        r.i16().unwrap();
        assert_eq!(r.close_tag(tag), Err(DecodeError::TagSize));
        assert_eq!(
            Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0]).skip_tags(),
            Err(DecodeError::Truncated)
        );
    }

    #[test]
    fn trailing_bytes_are_reported_by_finish() {
        let mut r = Reader::new(&[0, 1, 2]);
        r.i16().unwrap();
        assert_eq!(r.clone().finish(), Err(DecodeError::Trailing(1)));
        r.i8().unwrap();
        assert_eq!(r.finish(), Ok(()));
    }
}
