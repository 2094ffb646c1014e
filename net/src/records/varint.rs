//! Zigzag varints of the record format: reading from slices, writing, sizing.
//!
//! A varint holds 32 bits in at most 5 bytes, a varlong 64 in at most 10, low groups of 7 bits first. As Kafka does,
//! bits that do not fit in the last byte are dropped, and only a continuation bit there is an error.

/// A varint ran past the end of the input, or past its longest form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadVarint;

/// Zigzag to two's complement, 32 bits.
#[inline(always)]
pub(super) fn unzigzag32(raw: u32) -> i32 {
    ((raw >> 1) as i32) ^ -((raw & 1) as i32)
}

/// Zigzag to two's complement, 64 bits.
#[inline(always)]
pub(super) fn unzigzag64(raw: u64) -> i64 {
    ((raw >> 1) as i64) ^ -((raw & 1) as i64)
}

/// Appends `value` as a varint.
pub(super) fn put_varint(out: &mut Vec<u8>, value: i32) {
    put_varlong(out, i64::from(value));
}

/// Appends `value` as a varlong. For values of 32 bits this is the same encoding as the varint.
pub(super) fn put_varlong(out: &mut Vec<u8>, value: i64) {
    let mut raw = ((value << 1) ^ (value >> 63)) as u64;
    while raw >= 0x80 {
        out.push(raw as u8 | 0x80);
        raw >>= 7;
    }
    out.push(raw as u8);
}

/// Bytes that `value` takes as a varlong (or varint).
pub(super) fn varlong_bytes(value: i64) -> usize {
    let raw = ((value << 1) ^ (value >> 63)) as u64;
    let bits = 64 - (raw | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::scan::{Input, SliceInput};

    #[test]
    fn extremes_survive_writing_and_reading_and_take_the_stated_room() {
        let values = [
            0,
            1,
            -1,
            63,
            64,
            -64,
            -65,
            8191,
            8192,
            i64::from(i32::MAX),
            i64::from(i32::MIN),
            i64::MAX,
            i64::MIN,
        ];
        for value in values {
            let mut out = Vec::new();
            put_varlong(&mut out, value);
            assert_eq!(out.len(), varlong_bytes(value), "{value}");
            assert_eq!(SliceInput::new(&out).varlong(), Ok(value));
            if let Ok(small) = i32::try_from(value) {
                let mut short = Vec::new();
                put_varint(&mut short, small);
                assert_eq!(short, out);
                assert_eq!(SliceInput::new(&short).varint(), Ok(small));
            }
        }
    }

    #[test]
    fn endless_and_cut_varints_are_errors() {
        assert!(SliceInput::new(&[0x80; 5]).varint().is_err());
        assert!(
            SliceInput::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0x01])
                .varint()
                .is_err()
        );
        assert!(SliceInput::new(&[0xff; 11]).varlong().is_err());
        assert!(SliceInput::new(&[]).varint().is_err());
        assert!(SliceInput::new(&[0x80]).varlong().is_err());
    }
}
