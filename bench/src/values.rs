//! What records hold: values of given sizes and compressibility, keys of given distributions, and which partition a key
//! goes to.
//!
//! All of it follows a seed. The pool of bytes is made once and shared; a value is copied from a moving place in it, so
//! neighbours differ and no compressor finds one value in the other beyond what was asked for.

use std::sync::Arc;

use serde::Serialize;

/// Bytes of the pool: above the window of every codec but the largest settings of zstd.
const POOL_BYTES: usize = 4 << 20;

/// How large values are, bytes.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Size {
    /// All alike.
    Fixed(usize),
    /// Evenly between both, inclusive.
    Range(usize, usize),
    /// (bytes, weight).
    Weighted(Vec<(usize, f64)>),
}

/// Largest value made, bytes.
pub const MAX_VALUE_BYTES: usize = 64 << 20;

impl Size {
    /// Reads `1024` or `1KiB`, `100-2000` or `100:0.9,10000:0.1`.
    ///
    /// # Errors
    /// A sentence for the person who typed it.
    pub fn parse(text: &str) -> Result<Size, String> {
        let wrong = || format!("size {text:?}: say BYTES, FROM-TO, or BYTES:WEIGHT,BYTES:WEIGHT");
        let bytes = |t: &str| {
            crate::units::bytes::<usize>(t.trim())
                .ok()
                .filter(|b| *b <= MAX_VALUE_BYTES)
                .ok_or_else(wrong)
        };
        if text.contains(':') {
            let pairs: Result<Vec<(usize, f64)>, String> = text
                .split(',')
                .map(|pair| {
                    let (size, weight) = pair.split_once(':').ok_or_else(wrong)?;
                    let weight: f64 = weight.trim().parse().map_err(|_| wrong())?;
                    if !(weight.is_finite() && weight > 0.0) {
                        return Err(wrong());
                    }
                    Ok((bytes(size)?, weight))
                })
                .collect();
            return Ok(Size::Weighted(pairs?));
        }
        match text.split_once('-') {
            Some((from, to)) => {
                let (from, to) = (bytes(from)?, bytes(to)?);
                if from > to {
                    Err(wrong())
                } else {
                    Ok(Size::Range(from, to))
                }
            }
            None => Ok(Size::Fixed(bytes(text)?)),
        }
    }

    /// Mean, bytes.
    pub fn mean(&self) -> f64 {
        match self {
            Size::Fixed(n) => *n as f64,
            Size::Range(a, b) => (*a + *b) as f64 / 2.0,
            Size::Weighted(pairs) => {
                let total: f64 = pairs.iter().map(|p| p.1).sum();
                pairs.iter().map(|(n, w)| *n as f64 * w).sum::<f64>() / total
            }
        }
    }

    fn draw(&self, rng: &mut fastrand::Rng) -> usize {
        match self {
            Size::Fixed(n) => *n,
            Size::Range(a, b) => rng.usize(*a..=*b),
            Size::Weighted(pairs) => {
                let total: f64 = pairs.iter().map(|p| p.1).sum();
                let mut at = rng.f64() * total;
                for (n, w) in pairs {
                    at -= w;
                    if at < 0.0 {
                        return *n;
                    }
                }
                pairs.last().map_or(0, |p| p.0)
            }
        }
    }
}

/// Bytes that values are cut from.
#[derive(Debug, Clone)]
pub struct Pool {
    random: Arc<Vec<u8>>,
    file: bool,
}

impl Pool {
    /// Random bytes from `seed`.
    pub fn new(seed: u64) -> Pool {
        let mut bytes = vec![0; POOL_BYTES];
        fastrand::Rng::with_seed(seed).fill(&mut bytes);
        Pool {
            random: Arc::new(bytes),
            file: false,
        }
    }

    /// The bytes of a payload file, repeated until they fill the pool. Not empty.
    pub fn of_file(content: &[u8]) -> Pool {
        let bytes = content
            .iter()
            .copied()
            .cycle()
            .take(POOL_BYTES.max(content.len()))
            .collect();
        Pool {
            random: Arc::new(bytes),
            file: true,
        }
    }
}

/// Makes values.
#[derive(Debug, Clone)]
pub struct Values {
    pool: Pool,
    size: Size,
    /// Share of a value that is random; the rest is one repeated text.
    random_share: f64,
    rng: fastrand::Rng,
    at: usize,
}

/// What the compressible part repeats.
const FILLER: &[u8] = b"turgo bench turgo bench turgo bench turgo bench turgo bench turg";

impl Values {
    /// Values of `size`, of which `random_share` (0 to 1) does not compress.
    pub fn new(pool: Pool, size: Size, random_share: f64, seed: u64) -> Values {
        Values {
            pool,
            size,
            random_share,
            rng: fastrand::Rng::with_seed(seed),
            at: 0,
        }
    }

    /// Puts the next value into `out`, replacing what was there.
    pub fn next_into(&mut self, out: &mut Vec<u8>) {
        let size = self.size.draw(&mut self.rng);
        out.clear();
        let share = if self.pool.file { 1.0 } else { self.random_share };
        let mut random = (size as f64 * share).round() as usize;
        let pool = &self.pool.random;
        while random > 0 {
            if self.at >= pool.len() {
                // Another alignment in each round, so that values do not repeat at equal distances.
                self.at = self.rng.usize(0..64.min(pool.len()));
            }
            let n = random.min(pool.len() - self.at);
            out.extend_from_slice(&pool[self.at..self.at + n]);
            self.at += n;
            random -= n;
        }
        while out.len() < size {
            out.extend_from_slice(&FILLER[..FILLER.len().min(size - out.len())]);
        }
    }
}

/// Which keys records have.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Keys {
    /// None: the partitioner chooses.
    None,
    /// `n` keys in turn.
    RoundRobin(u64),
    /// `n` keys, all alike.
    Uniform(u64),
    /// `n` keys, the i-th with weight i^-s.
    Zipf(u64, f64),
    /// `n` keys, of which the first `k` get `share` of the records.
    Hot {
        /// Keys in all.
        n: u64,
        /// Of these, hot.
        k: u64,
        /// Share of the records that the hot ones get, 0 to 1.
        share: f64,
    },
}

/// Keys of one run at most: the zipf table takes 8 bytes for each.
const MAX_KEYS: u64 = 4_000_000;

impl Keys {
    /// Reads `none`, `roundrobin:N`, `uniform:N`, `zipf:N,S`, `hot:N,K,SHARE`.
    ///
    /// # Errors
    /// A sentence for the person who typed it.
    pub fn parse(text: &str) -> Result<Keys, String> {
        let wrong = || {
            format!(
                "keys {text:?}: say none, roundrobin:N, uniform:N, zipf:N,S or hot:N,K,SHARE (N at most {MAX_KEYS}), for \
                 example zipf:100000,1.1"
            )
        };
        let (name, rest) = text.split_once(':').unwrap_or((text, ""));
        let parts: Vec<&str> = rest.split(',').map(str::trim).collect();
        let count = |at: usize| {
            parts
                .get(at)
                .and_then(|t| t.parse::<u64>().ok())
                .filter(|n| (1..=MAX_KEYS).contains(n))
                .ok_or_else(wrong)
        };
        let real = |at: usize| {
            parts
                .get(at)
                .and_then(|t| t.parse::<f64>().ok())
                .filter(|v| v.is_finite() && *v >= 0.0)
                .ok_or_else(wrong)
        };
        match (name, parts.len()) {
            ("none", 1) if rest.is_empty() => Ok(Keys::None),
            ("roundrobin", 1) => Ok(Keys::RoundRobin(count(0)?)),
            ("uniform", 1) => Ok(Keys::Uniform(count(0)?)),
            ("zipf", 2) => Ok(Keys::Zipf(count(0)?, real(1)?)),
            ("hot", 3) => {
                let (n, k, share) = (count(0)?, count(1)?, real(2)?);
                if k >= n || share > 1.0 {
                    Err(wrong())
                } else {
                    Ok(Keys::Hot { n, k, share })
                }
            }
            _ => Err(wrong()),
        }
    }
}

/// Draws keys.
#[derive(Debug, Clone)]
pub struct KeySource {
    keys: Keys,
    /// Zipf: cumulative weights, ascending to 1.
    cumulative: Arc<Vec<f64>>,
    rng: fastrand::Rng,
    next: u64,
    text: [u8; KEY_BYTES],
}

/// Bytes of a key: decimal digits.
pub const KEY_BYTES: usize = 12;

impl KeySource {
    /// Keys of one producer. The table of a zipf distribution is shared between clones.
    pub fn new(keys: &Keys, seed: u64) -> KeySource {
        let cumulative = match keys {
            Keys::Zipf(n, s) => {
                let mut sum = 0.0;
                let mut table: Vec<f64> = (1..=*n)
                    .map(|i| {
                        sum += (i as f64).powf(-s);
                        sum
                    })
                    .collect();
                table.iter_mut().for_each(|v| *v /= sum);
                table
            }
            _ => Vec::new(),
        };
        KeySource {
            keys: keys.clone(),
            cumulative: Arc::new(cumulative),
            rng: fastrand::Rng::with_seed(seed),
            next: seed,
            text: [b'0'; KEY_BYTES],
        }
    }

    /// The same distribution for another producer.
    pub fn with_seed(&self, seed: u64) -> KeySource {
        KeySource {
            rng: fastrand::Rng::with_seed(seed),
            next: seed,
            ..self.clone()
        }
    }

    /// Number of the next key; `None`: records have no keys.
    pub fn draw(&mut self) -> Option<u64> {
        Some(match &self.keys {
            Keys::None => return None,
            Keys::RoundRobin(n) => {
                self.next = self.next.wrapping_add(1);
                self.next % n
            }
            Keys::Uniform(n) => self.rng.u64(0..*n),
            Keys::Zipf(n, _) => {
                let u = self.rng.f64();
                (self.cumulative.partition_point(|c| *c <= u) as u64).min(n - 1)
            }
            Keys::Hot { n, k, share } => {
                if self.rng.f64() < *share {
                    self.rng.u64(0..*k)
                } else {
                    self.rng.u64(*k..*n)
                }
            }
        })
    }

    /// The bytes of key `number`.
    pub fn bytes(&mut self, mut number: u64) -> &[u8; KEY_BYTES] {
        for at in (0..KEY_BYTES).rev() {
            self.text[at] = b'0' + (number % 10) as u8;
            number /= 10;
        }
        &self.text
    }
}

/// The partition of `count` that Kafka's Java client gives a key: murmur2, top bit cleared.
pub fn partition_of(key: &[u8], count: u32) -> u32 {
    (murmur2(key) & 0x7FFF_FFFF) % count.max(1)
}

/// MurmurHash2 with the seed of Kafka's client (Austin Appleby's algorithm, public domain).
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5BD1_E995;
    let mut h = 0x9747_B28C ^ data.len() as u32;
    let (words, tail) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        let rest = tail
            .iter()
            .rev()
            .fold(0, |rest: u32, byte| rest << 8 | u32::from(*byte));
        h = (h ^ rest).wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^ (h >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_where_kafkas_client_sends_them() {
        // Expected values from Apache Kafka's own unit test of its hash.
        for (text, hash) in [
            ("21", -973932308i32),
            ("foobar", -790332482),
            ("a-little-bit-long-string", -985981536),
            ("a-little-bit-longer-string", -1486304829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
            ("abc", 479470107),
        ] {
            assert_eq!(murmur2(text.as_bytes()) as i32, hash, "{text}");
        }
        assert!((0..1000u32).all(|i| partition_of(&i.to_le_bytes(), 7) < 7));
    }

    #[test]
    fn zipf_gives_the_first_key_its_share() {
        let mut source = KeySource::new(&Keys::Zipf(1000, 1.0), 5);
        let mut first = 0;
        let mut last = 0;
        for _ in 0..100_000 {
            match source.draw() {
                Some(0) => first += 1,
                Some(999) => last += 1,
                _ => {}
            }
        }
        // 1 / H(1000) = 1 / 7.485 = 13.4 %; the last gets a thousandth of that.
        assert!((12_800..14_000).contains(&first), "{first}");
        assert!(last < 60, "{last}");
        let mut flat = KeySource::new(&Keys::Zipf(10, 0.0), 5);
        let mut counts = [0; 10];
        (0..10_000).for_each(|_| counts[flat.draw().expect("keyed") as usize] += 1);
        assert!(counts.iter().all(|c| (850..1150).contains(c)), "{counts:?}");
    }

    #[test]
    fn hot_keys_get_their_share_and_others_the_rest() {
        let mut source = KeySource::new(&Keys::parse("hot:100,2,0.9").expect("valid"), 5);
        let hot = (0..10_000).filter(|_| source.draw().expect("keyed") < 2).count();
        assert!((8_850..9_150).contains(&hot), "{hot}");
        assert_eq!(source.bytes(42), b"000000000042");
        let mut turns = KeySource::new(&Keys::RoundRobin(3), 0);
        let drawn: Vec<_> = (0..4).filter_map(|_| turns.draw()).collect();
        assert_eq!(drawn, [1, 2, 0, 1]);
        assert_eq!(KeySource::new(&Keys::None, 0).draw(), None);
    }

    #[test]
    fn sizes_and_compressible_shares_are_as_asked() {
        let mut out = Vec::new();
        let mut values = Values::new(Pool::new(1), Size::Fixed(10_000), 0.25, 1);
        values.next_into(&mut out);
        assert_eq!(out.len(), 10_000);
        let first = out.clone();
        values.next_into(&mut out);
        assert_ne!(first[..2500], out[..2500], "the random part differs");
        assert_eq!(first[2500..], out[2500..], "the filler does not");
        let mut ranged = Values::new(Pool::new(1), Size::parse("10-20").expect("valid"), 1.0, 2);
        for _ in 0..100 {
            ranged.next_into(&mut out);
            assert!((10..=20).contains(&out.len()));
        }
        let weighted = Size::parse("100:0.9,1000:0.1").expect("valid");
        assert!((weighted.mean() - 190.0).abs() < 1e-9);
        let mut filed = Values::new(Pool::of_file(b"ab"), Size::Fixed(5), 0.0, 2);
        filed.next_into(&mut out);
        assert_eq!(out, b"ababa");
    }

    #[test]
    fn wrong_sizes_and_keys_are_told_what_to_say() {
        for wrong in ["", "x", "5-4", "5:0", "5:", "99999999999"] {
            assert!(Size::parse(wrong).expect_err(wrong).contains("say BYTES"));
        }
        for wrong in [
            "",
            "zipf:5",
            "uniform:0",
            "hot:5,5,0.1",
            "hot:5,1,1.1",
            "uniform:99999999",
            "none:1",
        ] {
            assert!(Keys::parse(wrong).expect_err(wrong).contains("say none"));
        }
    }
}
