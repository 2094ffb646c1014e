//! The record bytes inside a message, borrowed on the way in and referenced on the way out.

use bytes::Bytes;

/// Record batches as one opaque run of bytes; nothing here looks inside.
#[derive(Debug, Clone, Default)]
pub enum Records<'a> {
    /// No field at all, which differs from zero bytes wherever the protocol allows null.
    #[default]
    Null,
    /// Bytes of the frame being decoded. Encoding copies them.
    Slice(&'a [u8]),
    /// Bytes in order, as storage hands them out. Encoding references every chunk of
    /// [`crate::wire::REFERENCE_THRESHOLD`] bytes or more and copies smaller ones.
    Chunks(Vec<Bytes>),
}

impl Records<'_> {
    /// Whether the field is null (not merely empty).
    pub fn is_null(&self) -> bool {
        matches!(self, Records::Null)
    }

    /// Whether there are no bytes: null, or zero of them.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes held; 0 when null.
    pub fn len(&self) -> usize {
        match self {
            Records::Null => 0,
            Records::Slice(bytes) => bytes.len(),
            Records::Chunks(chunks) => chunks.iter().map(Bytes::len).sum(),
        }
    }

    /// The bytes in order, as consecutive pieces; none when null or empty.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let (slice, chunks): (Option<&[u8]>, &[Bytes]) = match self {
            Records::Null => (None, &[]),
            Records::Slice(bytes) => (Some(bytes), &[]),
            Records::Chunks(chunks) => (None, chunks),
        };
        slice
            .into_iter()
            .chain(chunks.iter().map(|c| &c[..]))
            .filter(|piece| !piece.is_empty())
    }

    /// Copies everything into one vector; empty when null.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len());
        for piece in self.pieces() {
            out.extend_from_slice(piece);
        }
        out
    }
}

/// By content: how the bytes are cut into chunks makes no difference, null and empty do.
impl PartialEq for Records<'_> {
    fn eq(&self, other: &Self) -> bool {
        if self.is_null() != other.is_null() || self.len() != other.len() {
            return false;
        }
        match (self, other) {
            (Records::Slice(a), Records::Slice(b)) => a == b,
            _ => self.pieces().flatten().eq(other.pieces().flatten()),
        }
    }
}

impl Eq for Records<'_> {}

impl<'a> From<&'a [u8]> for Records<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Records::Slice(bytes)
    }
}

impl From<Bytes> for Records<'_> {
    fn from(bytes: Bytes) -> Self {
        Records::Chunks(vec![bytes])
    }
}

impl From<Vec<Bytes>> for Records<'_> {
    fn from(chunks: Vec<Bytes>) -> Self {
        Records::Chunks(chunks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equality_ignores_chunking_but_not_null() {
        let whole = Records::Slice(b"abcdef");
        let cut = Records::Chunks(vec![
            Bytes::from_static(b"ab"),
            Bytes::new(),
            Bytes::from_static(b"cdef"),
        ]);
        assert_eq!(whole, cut);
        assert_eq!(cut.to_vec(), b"abcdef");
        assert_eq!(cut.pieces().count(), 2);
        assert_ne!(whole, Records::Slice(b"abcdeX"));
        assert_ne!(Records::Null, Records::Slice(b""));
        assert_eq!(Records::Chunks(vec![]), Records::Slice(b""));
        assert!(Records::Null.is_empty() && Records::Slice(b"").is_empty());
    }
}
