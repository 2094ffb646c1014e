//! Hash maps with a fixed hash function, so that iteration order depends on the history alone and a seed replays it.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map whose order is a function of the operations made on it.
pub type Map<K, V> = HashMap<K, V, BuildHasherDefault<FixedHasher>>;

/// Multiply-and-rotate hash over 64-bit words. Keys are ids we made, or producer ids, of which one client can
/// choose few: no defence against crafted collisions is needed beyond the bound on entries.
#[derive(Default, Clone, Copy)]
pub struct FixedHasher(u64);

const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

impl FixedHasher {
    fn word(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(MULTIPLIER);
    }
}

impl Hasher for FixedHasher {
    fn write(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            self.word(u64::from_le_bytes(word.try_into().expect("eight bytes")));
        }
        let rest = words.remainder();
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.word(u64::from_le_bytes(last));
        }
    }
    fn write_u32(&mut self, value: u32) {
        self.word(u64::from(value));
    }
    fn write_u64(&mut self, value: u64) {
        self.word(value);
    }
    fn write_i64(&mut self, value: i64) {
        self.word(value as u64);
    }
    fn write_usize(&mut self, value: usize) {
        self.word(value as u64);
    }
    fn finish(&self) -> u64 {
        // The table takes its bucket from the low bits and its tag from the high ones.
        self.0 ^ (self.0 >> 29)
    }
}
