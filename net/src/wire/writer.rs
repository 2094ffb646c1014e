//! Writing one frame as pieces for a vectored send: fields in a buffer of our own, records by reference.

use bytes::Bytes;

use super::{Encode, Fixed, MAX_STRING_BYTES, Records, Uuid};

/// A chunk of records at least this long is referenced; copying a shorter one costs less than another piece of I/O.
pub const REFERENCE_THRESHOLD: usize = 1024;

/// Why a value cannot be written at a version. The caller is at fault: it must build what the version can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The version lies outside the message's schema.
    #[error("version {0} is not in the schema")]
    Version(i16),
    /// A field that this version lacks holds a value that may not be dropped.
    #[error("{field} is set, but version {version} lacks it")]
    Absent {
        /// The field's name in the schema.
        field: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// Null where this version has none.
    #[error("{field} is null, which this version cannot say")]
    Null {
        /// The field's name in the schema.
        field: &'static str,
    },
    /// A string above [`MAX_STRING_BYTES`].
    #[error("string of {0} bytes is too long")]
    StringLength(usize),
    /// An array, byte string or frame whose length exceeds an int32.
    #[error("length {0} does not fit the protocol")]
    Length(usize),
}

/// Builds the error for a field that `version` lacks; out of line because it is never expected.
#[cold]
pub(crate) fn absent(field: &'static str, version: i16) -> EncodeError {
    EncodeError::Absent { field, version }
}

/// An open tagged field: where its contents begin.
pub(crate) struct TagMark {
    start: usize,
    referenced: usize,
}

/// Scatter-gather output: small fields in one buffer, large record chunks by reference, in order.
#[derive(Debug, Clone, Default)]
pub struct Writer {
    scratch: Vec<u8>,
    /// Referenced chunks; each belongs before the byte of `scratch` at its position. Ascending.
    references: Vec<(usize, Bytes)>,
    referenced_bytes: usize,
}

impl Writer {
    /// An empty writer.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty writer with room for `bytes` of small fields.
    pub fn with_capacity(bytes: usize) -> Self {
        Self {
            scratch: Vec::with_capacity(bytes),
            ..Self::default()
        }
    }

    /// Bytes written so far, referenced ones included.
    pub fn len(&self) -> usize {
        self.scratch.len() + self.referenced_bytes
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Everything in order, for a vectored send. Pieces are never empty; neighbouring small fields are one piece.
    pub fn into_parts(self) -> Vec<Bytes> {
        let mut parts = Vec::with_capacity(2 * self.references.len() + 1);
        let scratch = Bytes::from(self.scratch);
        let mut done = 0;
        for (at, chunk) in self.references {
            if at > done {
                parts.push(scratch.slice(done..at));
                done = at;
            }
            parts.push(chunk);
        }
        if done < scratch.len() {
            parts.push(scratch.slice(done..));
        }
        parts
    }

    /// Everything in one vector; copies the referenced chunks.
    pub fn to_vec(self) -> Vec<u8> {
        if self.references.is_empty() {
            return self.scratch;
        }
        let mut out = Vec::with_capacity(self.len());
        let mut done = 0;
        for (at, chunk) in &self.references {
            out.extend_from_slice(&self.scratch[done..*at]);
            out.extend_from_slice(chunk);
            done = *at;
        }
        out.extend_from_slice(&self.scratch[done..]);
        out
    }

    /// Overwrites four bytes written earlier. `at` counts bytes of small fields and must lie before any reference.
    pub(crate) fn patch_i32(&mut self, at: usize, value: i32) {
        self.scratch[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }

    /// Raw bytes, copied.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        self.scratch.extend_from_slice(bytes);
    }

    /// A boolean: one byte.
    #[inline]
    pub fn bool(&mut self, value: bool) {
        self.scratch.push(u8::from(value));
    }

    /// An int8.
    #[inline]
    pub fn i8(&mut self, value: i8) {
        value.put(&mut self.scratch);
    }

    /// An int16.
    #[inline]
    pub fn i16(&mut self, value: i16) {
        value.put(&mut self.scratch);
    }

    /// A uint16.
    #[inline]
    pub fn u16(&mut self, value: u16) {
        value.put(&mut self.scratch);
    }

    /// An int32.
    #[inline]
    pub fn i32(&mut self, value: i32) {
        value.put(&mut self.scratch);
    }

    /// An int64.
    #[inline]
    pub fn i64(&mut self, value: i64) {
        value.put(&mut self.scratch);
    }

    /// A float64.
    #[inline]
    pub fn f64(&mut self, value: f64) {
        value.put(&mut self.scratch);
    }

    /// A uuid: 16 bytes.
    #[inline]
    pub fn uuid(&mut self, value: Uuid) {
        value.put(&mut self.scratch);
    }

    /// An unsigned varint, seven bits a byte, least significant first.
    #[inline]
    pub fn uvarint(&mut self, value: u32) {
        let (bytes, len) = varint_bytes(value);
        self.scratch.extend_from_slice(&bytes[..len]);
    }

    /// The length of bytes or of an array in either layout.
    #[inline]
    fn length(&mut self, len: usize, flex: bool) -> Result<(), EncodeError> {
        let signed = i32::try_from(len).map_err(|_| EncodeError::Length(len))?;
        if flex {
            self.uvarint(signed as u32 + 1)
        } else {
            self.i32(signed)
        }
        Ok(())
    }

    /// Null in place of bytes or of an array.
    #[inline]
    fn null_length(&mut self, flex: bool) {
        if flex { self.uvarint(0) } else { self.i32(-1) }
    }

    /// A string.
    #[inline]
    pub fn str(&mut self, value: &str, flex: bool) -> Result<(), EncodeError> {
        let len = value.len();
        if len > MAX_STRING_BYTES {
            return Err(EncodeError::StringLength(len));
        }
        if flex {
            self.uvarint(len as u32 + 1)
        } else {
            self.i16(len as i16)
        }
        self.raw(value.as_bytes());
        Ok(())
    }

    /// A nullable string; null is an error naming `field` unless `nullable` (at this version).
    #[inline]
    pub fn opt_str(
        &mut self,
        value: Option<&str>,
        flex: bool,
        nullable: bool,
        field: &'static str,
    ) -> Result<(), EncodeError> {
        match value {
            Some(text) => self.str(text, flex),
            None if !nullable => Err(EncodeError::Null { field }),
            None if flex => {
                self.uvarint(0);
                Ok(())
            }
            None => {
                self.i16(-1);
                Ok(())
            }
        }
    }

    /// A byte array.
    #[inline]
    pub fn bytes(&mut self, value: &[u8], flex: bool) -> Result<(), EncodeError> {
        self.length(value.len(), flex)?;
        self.raw(value);
        Ok(())
    }

    /// A nullable byte array; null is an error naming `field` unless `nullable` (at this version).
    #[inline]
    pub fn opt_bytes(
        &mut self,
        value: Option<&[u8]>,
        flex: bool,
        nullable: bool,
        field: &'static str,
    ) -> Result<(), EncodeError> {
        if self.opt(value.is_some(), flex, nullable, field)? {
            return self.bytes(value.unwrap_or_default(), flex);
        }
        Ok(())
    }

    /// Writes null when not `present`, or refuses to; true when the value is to follow.
    #[inline]
    fn opt(
        &mut self,
        present: bool,
        flex: bool,
        nullable: bool,
        field: &'static str,
    ) -> Result<bool, EncodeError> {
        if !present {
            if !nullable {
                return Err(EncodeError::Null { field });
            }
            self.null_length(flex);
        }
        Ok(present)
    }

    /// Record bytes. Null is written as zero bytes where this version has no null.
    pub fn records(&mut self, value: &Records<'_>, flex: bool, nullable: bool) -> Result<(), EncodeError> {
        match value {
            Records::Null if nullable => {
                self.null_length(flex);
                Ok(())
            }
            Records::Null => self.length(0, flex),
            Records::Slice(bytes) => self.bytes(bytes, flex),
            Records::Chunks(chunks) => {
                self.length(value.len(), flex)?;
                for chunk in chunks {
                    self.chunk(chunk);
                }
                Ok(())
            }
        }
    }

    /// Raw bytes: by reference from [`REFERENCE_THRESHOLD`] on, copied below.
    pub fn chunk(&mut self, chunk: &Bytes) {
        if chunk.len() < REFERENCE_THRESHOLD {
            self.raw(chunk);
        } else {
            self.referenced_bytes += chunk.len();
            self.references.push((self.scratch.len(), chunk.clone()));
        }
    }

    /// An array of fixed-width values.
    pub(crate) fn array<T: Fixed>(&mut self, values: &[T], flex: bool) -> Result<(), EncodeError> {
        self.length(values.len(), flex)?;
        self.scratch.reserve(values.len() * T::WIDTH);
        for value in values {
            value.put(&mut self.scratch);
        }
        Ok(())
    }

    /// A nullable array of fixed-width values.
    pub(crate) fn opt_array<T: Fixed>(
        &mut self,
        values: Option<&[T]>,
        flex: bool,
        nullable: bool,
        field: &'static str,
    ) -> Result<(), EncodeError> {
        if self.opt(values.is_some(), flex, nullable, field)? {
            return self.array(values.unwrap_or_default(), flex);
        }
        Ok(())
    }

    /// An array of strings.
    pub(crate) fn strs<S: AsRef<str>>(&mut self, values: &[S], flex: bool) -> Result<(), EncodeError> {
        self.length(values.len(), flex)?;
        values.iter().try_for_each(|text| self.str(text.as_ref(), flex))
    }

    /// A nullable array of strings.
    pub(crate) fn opt_strs<S: AsRef<str>>(
        &mut self,
        values: Option<&[S]>,
        flex: bool,
        nullable: bool,
        field: &'static str,
    ) -> Result<(), EncodeError> {
        if self.opt(values.is_some(), flex, nullable, field)? {
            return self.strs(values.unwrap_or_default(), flex);
        }
        Ok(())
    }

    /// An array of structures.
    pub(crate) fn structs<T: Encode>(
        &mut self,
        values: &[T],
        flex: bool,
        version: i16,
    ) -> Result<(), EncodeError> {
        self.length(values.len(), flex)?;
        values.iter().try_for_each(|value| value.encode(self, version))
    }

    /// A nullable array of structures.
    pub(crate) fn opt_structs<T: Encode>(
        &mut self,
        values: Option<&[T]>,
        flex: bool,
        nullable: bool,
        version: i16,
        field: &'static str,
    ) -> Result<(), EncodeError> {
        if self.opt(values.is_some(), flex, nullable, field)? {
            return self.structs(values.unwrap_or_default(), flex, version);
        }
        Ok(())
    }

    /// A nullable structure: one byte, 1 or -1 for null, then the structure.
    pub(crate) fn opt_struct<T: Encode>(
        &mut self,
        value: Option<&T>,
        nullable: bool,
        version: i16,
        field: &'static str,
    ) -> Result<(), EncodeError> {
        match value {
            Some(value) => {
                self.i8(1);
                value.encode(self, version)
            }
            None if nullable => {
                self.i8(-1);
                Ok(())
            }
            None => Err(EncodeError::Null { field }),
        }
    }

    /// A nullable structure that is a tagged field: one varint, 1 or 0 for null, then the structure.
    pub(crate) fn opt_tagged_struct<T: Encode>(
        &mut self,
        value: Option<&T>,
        nullable: bool,
        version: i16,
        field: &'static str,
    ) -> Result<(), EncodeError> {
        match value {
            Some(value) => {
                self.uvarint(1);
                value.encode(self, version)
            }
            None if nullable => {
                self.uvarint(0);
                Ok(())
            }
            None => Err(EncodeError::Null { field }),
        }
    }

    /// Opens the tagged field `number`; its contents follow, and no record chunks.
    pub(crate) fn open_tag(&mut self, number: u32) -> TagMark {
        self.uvarint(number);
        TagMark {
            start: self.scratch.len(),
            referenced: self.references.len(),
        }
    }

    /// Ends the tagged field: puts the size before its contents.
    pub(crate) fn close_tag(&mut self, mark: TagMark) -> Result<(), EncodeError> {
        assert_eq!(
            mark.referenced,
            self.references.len(),
            "tagged fields hold no record chunks"
        );
        let size = self.scratch.len() - mark.start;
        let (bytes, len) = varint_bytes(u32::try_from(size).map_err(|_| EncodeError::Length(size))?);
        self.scratch.extend_from_slice(&bytes[..len]);
        self.scratch[mark.start..].rotate_right(len);
        Ok(())
    }
}

/// An unsigned varint's bytes and how many of them count.
#[inline]
fn varint_bytes(mut value: u32) -> ([u8; 5], usize) {
    let mut bytes = [0; 5];
    let mut len = 0;
    while value >= 0x80 {
        bytes[len] = value as u8 | 0x80;
        value >>= 7;
        len += 1;
    }
    bytes[len] = value as u8;
    (bytes, len + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_take_the_fewest_bytes() {
        for (value, want) in [
            (0, &[0][..]),
            (127, &[0x7f]),
            (128, &[0x80, 1]),
            (16_383, &[0xff, 0x7f]),
            (16_384, &[0x80, 0x80, 1]),
            (u32::MAX, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        ] {
            let mut w = Writer::new();
            w.uvarint(value);
            assert_eq!(w.to_vec(), want);
        }
    }

    #[test]
    fn large_chunks_are_referenced_and_small_ones_merged() {
        let large = Bytes::from(vec![7u8; REFERENCE_THRESHOLD]);
        let small = Bytes::from_static(b"small");
        let mut w = Writer::new();
        w.i16(1);
        let records = Records::Chunks(vec![small.clone(), large.clone(), large.clone(), small]);
        w.records(&records, false, true).unwrap();
        w.i8(2);
        let len = w.len();
        assert_eq!(len, 2 + 4 + 5 + 2 * REFERENCE_THRESHOLD + 5 + 1);
        let flat = w.clone().to_vec();
        let parts = w.into_parts();
        assert_eq!(parts.len(), 4);
        assert_eq!(parts[1].as_ptr(), large.as_ptr(), "the chunk itself, not a copy");
        assert_eq!(parts[2].as_ptr(), large.as_ptr());
        assert_eq!(parts.concat(), flat);
        assert_eq!(flat.len(), len);
        assert_eq!(Writer::new().into_parts(), Vec::<Bytes>::new());
    }

    #[test]
    fn tagged_field_gets_its_size_in_front() {
        let mut w = Writer::new();
        let tag = w.open_tag(3);
        w.raw(&[9; 200]);
        w.close_tag(tag).unwrap();
        let bytes = w.to_vec();
        assert_eq!(bytes[..3], [3, 0xc8, 1]);
        assert_eq!(bytes[3..], [9; 200]);
    }

    #[test]
    fn strings_beyond_the_protocols_limit_are_refused() {
        let long = "x".repeat(MAX_STRING_BYTES + 1);
        for flex in [false, true] {
            assert_eq!(
                Writer::new().str(&long, flex),
                Err(EncodeError::StringLength(long.len()))
            );
            assert_eq!(Writer::new().str(&long[1..], flex), Ok(()));
        }
        let null = Writer::new().opt_str(None, true, false, "Name");
        assert_eq!(null, Err(EncodeError::Null { field: "Name" }));
    }
}
