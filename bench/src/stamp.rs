//! What every record carries so that a reader can judge it.
//!
//! Kafka's timestamps count milliseconds. So each value begins with this header, little-endian, 56 bytes; a value that
//! is shorter carries it as the record header [`HEADER_NAME`] instead.
//!
//! | at | field | |
//! |-|-|-|
//! | 0 | magic u32 | `TGB1` |
//! | 4 | version u16, flags u16 | 1; bit 0: part of a transaction that will be aborted |
//! | 8 | run u64 | random; records of other runs are not judged |
//! | 16 | producer u32, partition u32 | as the sender chose them |
//! | 24 | sequence u64 | from 0, for each producer and partition |
//! | 32 | intended ns u64 | when it was due, CLOCK_MONOTONIC of the sender |
//! | 40 | built ns u64 | when its bytes were made |
//! | 48 | value bytes u32, CRC-32C u32 | of the whole value, this field zero |

/// Bytes of the header.
pub const STAMP_BYTES: usize = 56;
/// Name of the record header that carries it for short values.
pub const HEADER_NAME: &[u8] = b"tgb";
/// Flag: the record's transaction will be aborted; a reader of committed data must not see it.
pub const ABORTED: u16 = 1;

const MAGIC: u32 = u32::from_le_bytes(*b"TGB1");
const VERSION: u16 = 1;
const CRC_AT: usize = 52;

/// The fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp {
    /// See [`ABORTED`].
    pub flags: u16,
    /// Which run.
    pub run: u64,
    /// Which producer of it.
    pub producer: u32,
    /// The partition it was sent to.
    pub partition: u32,
    /// Its number there.
    pub sequence: u64,
    /// When it was due, ns.
    pub intended: u64,
    /// When it was built, ns.
    pub built: u64,
}

/// Why bytes are no record of ours, or a broken one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StampError {
    /// Not written by this tool.
    Foreign,
    /// Written by it and changed since.
    Corrupt,
}

impl Stamp {
    fn put(&self, at: &mut [u8; STAMP_BYTES], value_bytes: u32) {
        at[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        at[4..6].copy_from_slice(&VERSION.to_le_bytes());
        at[6..8].copy_from_slice(&self.flags.to_le_bytes());
        at[8..16].copy_from_slice(&self.run.to_le_bytes());
        at[16..20].copy_from_slice(&self.producer.to_le_bytes());
        at[20..24].copy_from_slice(&self.partition.to_le_bytes());
        at[24..32].copy_from_slice(&self.sequence.to_le_bytes());
        at[32..40].copy_from_slice(&self.intended.to_le_bytes());
        at[40..48].copy_from_slice(&self.built.to_le_bytes());
        at[48..52].copy_from_slice(&value_bytes.to_le_bytes());
        at[CRC_AT..].fill(0);
    }

    /// Writes the header over the first bytes of `value` and seals the whole.
    ///
    /// # Panics
    /// `value` is shorter than [`STAMP_BYTES`].
    pub fn seal(&self, value: &mut [u8]) {
        let bytes = value.len() as u32;
        let head: &mut [u8; STAMP_BYTES] = value.first_chunk_mut().expect("room for the header");
        self.put(head, bytes);
        let crc = crc32c::crc32c(value);
        value[CRC_AT..STAMP_BYTES].copy_from_slice(&crc.to_le_bytes());
    }

    /// The header for a value that has no room for it: covers the value as well.
    pub fn apart(&self, value: &[u8]) -> [u8; STAMP_BYTES] {
        let mut head = [0; STAMP_BYTES];
        self.put(&mut head, value.len() as u32);
        let crc = crc32c::crc32c_append(crc32c::crc32c(&head), value);
        head[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        head
    }

    /// Reads and checks the header of a record: `apart` is the value of its header [`HEADER_NAME`], if it has one.
    ///
    /// # Errors
    /// See [`StampError`].
    pub fn read(value: &[u8], apart: Option<&[u8]>) -> Result<Stamp, StampError> {
        let head: &[u8; STAMP_BYTES] = match apart {
            Some(bytes) => bytes.try_into().map_err(|_| StampError::Corrupt)?,
            None => value.first_chunk().ok_or(StampError::Foreign)?,
        };
        let u16_at = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        let u32_at = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("4 bytes"));
        let u64_at = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("8 bytes"));
        if u32_at(0) != MAGIC {
            return Err(StampError::Foreign);
        }
        let mut clean = *head;
        clean[CRC_AT..].fill(0);
        let body = if apart.is_some() {
            value
        } else {
            &value[STAMP_BYTES..]
        };
        let crc = crc32c::crc32c_append(crc32c::crc32c(&clean), body);
        if u16_at(4) != VERSION || u32_at(48) as usize != value.len() || u32_at(CRC_AT) != crc {
            return Err(StampError::Corrupt);
        }
        Ok(Stamp {
            flags: u16_at(6),
            run: u64_at(8),
            producer: u32_at(16),
            partition: u32_at(20),
            sequence: u64_at(24),
            intended: u64_at(32),
            built: u64_at(40),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp {
        flags: ABORTED,
        run: 0x0123_4567_89AB_CDEF,
        producer: 3,
        partition: 17,
        sequence: 1 << 40,
        intended: 5,
        built: 6,
    };

    #[test]
    fn a_sealed_value_reads_back_and_any_flipped_bit_shows() {
        for size in [STAMP_BYTES, STAMP_BYTES + 1, 1024] {
            let mut value = vec![7; size];
            STAMP.seal(&mut value);
            assert_eq!(Stamp::read(&value, None), Ok(STAMP));
            for bit in 0..value.len() * 8 {
                value[bit / 8] ^= 1 << (bit % 8);
                assert!(Stamp::read(&value, None).is_err(), "bit {bit} of {size}");
                value[bit / 8] ^= 1 << (bit % 8);
            }
            assert!(Stamp::read(&value[..size - 1], None).is_err());
        }
    }

    #[test]
    fn short_values_carry_it_beside_them() {
        let value = b"tiny";
        let head = STAMP.apart(value);
        assert_eq!(Stamp::read(value, Some(&head)), Ok(STAMP));
        assert_eq!(Stamp::read(b"tinY", Some(&head)), Err(StampError::Corrupt));
        assert_eq!(Stamp::read(value, None), Err(StampError::Foreign));
        assert_eq!(Stamp::read(&[1; 100], None), Err(StampError::Foreign));
    }
}
