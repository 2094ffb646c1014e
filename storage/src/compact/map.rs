//! The cleaner's table of keys: for each key the offset of its newest record, in memory of a fixed size.
//!
//! A pure machine filled and asked by [`super::filter`]. Keys are kept as hashes of 128 bits (SipHash-2-4-128, Aumasson
//! and Bernstein 2012), keyed per data directory: two keys of one hash would lose a record, and nobody outside can
//! look for such a pair. Kafka keeps the 128 bits of an MD5.
//!
//! Invariants: at most [`OffsetMap::limit`] keys; an offset never falls.

/// A keyed hash of a record's key.
#[derive(Debug, Clone, Copy)]
pub struct KeyHasher(u64, u64);

fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

impl KeyHasher {
    /// A hash function of this key.
    pub fn new(key: &[u8; 16]) -> Self {
        let word = |at: usize| u64::from_le_bytes(key[at..at + 8].try_into().expect("eight bytes"));
        Self(word(0), word(8))
    }

    /// The hash of `bytes`.
    pub fn hash(&self, bytes: &[u8]) -> (u64, u64) {
        let mut v = [
            self.0 ^ 0x736f_6d65_7073_6575,
            self.1 ^ 0x646f_7261_6e64_6f6d ^ 0xee,
            self.0 ^ 0x6c79_6765_6e65_7261,
            self.1 ^ 0x7465_6462_7974_6573,
        ];
        let absorb = |word: u64, v: &mut [u64; 4]| {
            v[3] ^= word;
            round(v);
            round(v);
            v[0] ^= word;
        };
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            absorb(u64::from_le_bytes(word.try_into().expect("eight bytes")), &mut v);
        }
        let mut last = [0; 8];
        last[..words.remainder().len()].copy_from_slice(words.remainder());
        last[7] = bytes.len() as u8;
        absorb(u64::from_le_bytes(last), &mut v);
        v[2] ^= 0xee;
        (0..4).for_each(|_| round(&mut v));
        let first = v[0] ^ v[1] ^ v[2] ^ v[3];
        v[1] ^= 0xdd;
        (0..4).for_each(|_| round(&mut v));
        (first, v[0] ^ v[1] ^ v[2] ^ v[3])
    }
}

/// See the module's header.
pub struct OffsetMap {
    /// Hash in two words, then the offset plus one; zero for an empty slot.
    slots: Vec<[u64; 3]>,
    limit: usize,
    len: usize,
}

impl OffsetMap {
    /// Bytes a slot takes.
    pub const SLOT: usize = 24;

    /// A table of at most `bytes`, filled up to `load_permille`, and no larger than `keys` need.
    pub fn new(bytes: usize, load_permille: u32, keys: u64) -> Self {
        let load = u64::from(load_permille.clamp(1, 990));
        let affordable = (bytes / Self::SLOT).max(64) as u64;
        let wanted = keys.saturating_mul(1000) / load + 64;
        let slots = affordable.min(wanted);
        Self {
            slots: vec![[0; 3]; slots as usize],
            limit: ((slots * load / 1000) as usize).max(1),
            len: 0,
        }
    }

    /// Keys it may hold.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Keys it holds.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if it holds no key.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of memory it takes.
    pub fn memory(&self) -> usize {
        self.slots.len() * Self::SLOT
    }

    /// The slot of a hash, or the empty slot where it would go.
    fn slot(&self, hash: (u64, u64)) -> usize {
        let count = self.slots.len();
        let mut at = ((u128::from(hash.0) * count as u128) >> 64) as usize;
        // An empty slot always exists: the limit is below the number of slots.
        while self.slots[at][2] != 0 && (self.slots[at][0], self.slots[at][1]) != hash {
            at = if at + 1 == count { 0 } else { at + 1 };
        }
        at
    }

    /// Notes a record of this key at `offset`; false, with nothing changed, if the table is full.
    pub fn put(&mut self, hash: (u64, u64), offset: i64) -> bool {
        let at = self.slot(hash);
        let value = offset as u64 + 1;
        if self.slots[at][2] == 0 {
            if self.len >= self.limit {
                return false;
            }
            self.len += 1;
            self.slots[at] = [hash.0, hash.1, value];
        } else {
            self.slots[at][2] = self.slots[at][2].max(value);
        }
        true
    }

    /// Offset of the newest record noted of this key.
    pub fn get(&self, hash: (u64, u64)) -> Option<i64> {
        match self.slots[self.slot(hash)][2] {
            0 => None,
            value => Some((value - 1) as i64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_siphash_2_4_of_128_bits() {
        let key: Vec<u8> = (0..16).collect();
        let hasher = KeyHasher::new(key[..].try_into().expect("sixteen"));
        let hex = |bytes: &[u8]| {
            let (a, b) = hasher.hash(bytes);
            let all = [a.to_le_bytes(), b.to_le_bytes()].concat();
            all.iter().map(|b| format!("{b:02x}")).collect::<String>()
        };
        // From the reference implementation's vectors.
        assert_eq!(hex(&[]), "a3817f04ba25a8e66df67214c7550293");
        assert_eq!(hex(&[0]), "da87c1d86b99af44347659119b22fc45");
    }

    #[test]
    fn the_newest_offset_of_each_key_is_found_and_the_bound_holds() {
        let hasher = KeyHasher::new(&[7; 16]);
        let mut map = OffsetMap::new(1000 * OffsetMap::SLOT, 900, u64::MAX);
        assert_eq!((map.limit(), map.memory()), (900, 24_000));
        for n in 0..900_u64 {
            assert!(map.put(hasher.hash(&n.to_le_bytes()), n as i64));
        }
        assert!(!map.put(hasher.hash(b"one more"), 1), "full");
        for n in (0..900_u64).step_by(3) {
            assert!(
                map.put(hasher.hash(&n.to_le_bytes()), 5000 + n as i64),
                "known keys still fit"
            );
            assert!(map.put(hasher.hash(&n.to_le_bytes()), 3));
        }
        for n in 0..900_u64 {
            let wanted = if n % 3 == 0 { 5000 + n as i64 } else { n as i64 };
            assert_eq!(map.get(hasher.hash(&n.to_le_bytes())), Some(wanted));
        }
        assert_eq!(map.get(hasher.hash(b"one more")), None);
        assert_eq!(map.len(), 900);
    }

    #[test]
    fn a_small_job_takes_little_memory() {
        let map = OffsetMap::new(128 << 20, 900, 1000);
        assert!(map.memory() < 40_000 && map.limit() >= 1000);
    }
}
