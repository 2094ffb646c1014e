//! CRC-32C of a buffer whose first bytes changed, without reading the rest.
//!
//! CRCs are linear over GF(2): the CRC of a longer message depends on that of its prefix only through a
//! multiplication by a power of `x` modulo the polynomial. A broker that stamps a batch with its own time changes 22
//! bytes of it, so it owes the payload no second pass.

/// The Castagnoli polynomial, bits reflected, without the `x^32` term.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// `X_POWERS[k]` is `x^(2^k)` modulo the polynomial; bit 31 is the coefficient of `x^0`.
///
/// The polynomial is `x + 1` times a primitive one of degree 31, so `x^(2^31)` is `x` again and the table repeats.
const X_POWERS: [u32; 31] = {
    let mut table = [0; 31];
    table[0] = 1 << 30;
    let mut k = 1;
    while k < 31 {
        table[k] = multiply(table[k - 1], table[k - 1]);
        k += 1;
    }
    table
};

/// Product of two polynomials modulo the CRC's, all in reflected bit order.
const fn multiply(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    let mut bit = 1u32 << 31;
    loop {
        if a & bit != 0 {
            product ^= b;
            if a & (bit - 1) == 0 {
                return product;
            }
        }
        bit >>= 1;
        if bit == 0 {
            return product;
        }
        b = if b & 1 != 0 { (b >> 1) ^ POLYNOMIAL } else { b >> 1 };
    }
}

/// `crc * x^(8 * zero_bytes)`: what `crc` becomes after that many zero bytes, without the inversions.
fn shift(crc: u32, zero_bytes: u64) -> u32 {
    if crc == 0 {
        return 0;
    }
    let mut result = crc;
    let mut rest = zero_bytes;
    // x^8 is the power at index 3.
    let mut k = 3;
    while rest != 0 {
        if rest & 1 != 0 {
            result = multiply(X_POWERS[k], result);
        }
        rest >>= 1;
        k = if k == 30 { 0 } else { k + 1 };
    }
    result
}

/// CRC-32C of `A || B` from those of its parts and the length of `B` in bytes.
pub fn crc32c_combine(crc_a: u32, crc_b: u32, len_b: u64) -> u32 {
    shift(crc_a, len_b) ^ crc_b
}

/// CRC-32C of a message of `total_len` bytes whose prefix changed from `old_prefix` to `new_prefix`.
///
/// `old_crc` is the CRC before the change. Both prefixes have the same length, at most `total_len`. O(log n) in the
/// length; equal to computing it anew whenever `old_crc` was right.
pub fn crc32c_after_prefix_change(
    old_crc: u32,
    old_prefix: &[u8],
    new_prefix: &[u8],
    total_len: usize,
) -> u32 {
    assert_eq!(old_prefix.len(), new_prefix.len(), "a prefix changes in place");
    assert!(new_prefix.len() <= total_len, "a prefix is part of its message");
    let delta = crc32c::crc32c(old_prefix) ^ crc32c::crc32c(new_prefix);
    old_crc ^ shift(delta, (total_len - new_prefix.len()) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squaring_the_last_power_gives_the_first() {
        assert_eq!(multiply(X_POWERS[30], X_POWERS[30]), X_POWERS[0]);
    }

    #[test]
    fn combining_equals_one_pass_for_all_small_and_some_large_lengths() {
        let data: Vec<u8> = (0..70_000u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        for len in (0..300).chain([4095, 4096, 65_535, 65_536, 70_000]) {
            for split in [0, 1, 22, len / 2, len] {
                let split = split.min(len);
                let (a, b) = data[..len].split_at(split);
                let combined = crc32c_combine(crc32c::crc32c(a), crc32c::crc32c(b), b.len() as u64);
                assert_eq!(combined, crc32c::crc32c(&data[..len]), "{split} of {len}");
            }
        }
    }

    #[test]
    fn changed_prefix_gives_the_crc_of_the_changed_message() {
        let mut data: Vec<u8> = (0..5000u32).map(|i| (i * 31) as u8).collect();
        for len in [22, 23, 40, 1000, 5000] {
            let old = data[..22].to_vec();
            let old_crc = crc32c::crc32c(&data[..len]);
            for byte in &mut data[..22] {
                *byte = byte.wrapping_mul(7).wrapping_add(3);
            }
            let new_crc = crc32c_after_prefix_change(old_crc, &old, &data[..22], len);
            assert_eq!(new_crc, crc32c::crc32c(&data[..len]), "length {len}");
        }
    }
}
