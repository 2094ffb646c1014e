//! Random messages of every kind, for the tests of the codec.
//!
//! `codegen/arbitrary.rs` writes one function per structure that fills it with random values valid at a version, and
//! [`CASES`], the table of all messages. Values come from a seed alone, so a failure replays.

#![allow(dead_code, unused_variables, clippy::all)]

use std::borrow::Cow;
use std::fmt::Write as _;

use turgo_net::messages::{self, Kind};
use turgo_net::{DecodeError, EncodeError, Reader, Records, Uuid, Writer};

/// Random values from a seed (splitmix64).
pub struct Gen {
    state: u64,
    depth: usize,
}

impl Gen {
    /// The same seed yields the same values.
    pub fn new(seed: u64) -> Self {
        Self {
            state: seed,
            depth: 0,
        }
    }

    /// 64 random bits.
    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// One time in two.
    pub fn coin(&mut self) -> bool {
        self.next() & 1 == 0
    }

    /// One time in five.
    pub fn rarely(&mut self) -> bool {
        self.below(5) == 0
    }

    /// Numbers with all widths equally likely, boundaries included.
    fn number(&mut self) -> i64 {
        let bits = self.below(65) as u32;
        let value = self.next().checked_shr(64 - bits).unwrap_or(0) as i64;
        if self.rarely() {
            value.wrapping_neg()
        } else {
            value
        }
    }

    pub fn int8(&mut self) -> i8 {
        self.number() as i8
    }
    pub fn int16(&mut self) -> i16 {
        self.number() as i16
    }
    pub fn uint16(&mut self) -> u16 {
        self.number() as u16
    }
    pub fn int32(&mut self) -> i32 {
        self.number() as i32
    }
    pub fn int64(&mut self) -> i64 {
        self.number()
    }
    /// Never NaN, which equals nothing.
    pub fn float64(&mut self) -> f64 {
        self.number() as f64 / 8.0
    }

    pub fn uuid(&mut self) -> Uuid {
        if self.rarely() {
            return Uuid::ZERO;
        }
        let (high, low) = (self.next(), self.next());
        Uuid(((u128::from(high) << 64) | u128::from(low)).to_be_bytes())
    }

    fn length(&mut self) -> usize {
        match self.below(20) {
            0 => 0,
            1 => 127 + self.below(3), // where a varint grows
            2 => self.below(400),
            _ => self.below(12),
        }
    }

    pub fn string(&mut self) -> Cow<'static, str> {
        let len = self.length();
        let letters = ['a', 'Z', '0', '-', '_', '.', ' ', 'é', '漢', '🦀', '\u{0}', '"'];
        Cow::Owned((0..len).map(|_| letters[self.below(letters.len())]).collect())
    }

    pub fn bytes(&mut self) -> Cow<'static, [u8]> {
        let len = self.length();
        Cow::Owned((0..len).map(|_| self.next() as u8).collect())
    }

    /// Opaque bytes, in one to three chunks, some long enough to be referenced.
    pub fn records(&mut self, nullable: bool) -> Records<'static> {
        if nullable && self.rarely() {
            return Records::Null;
        }
        let chunks = 1 + self.below(3);
        let chunk = |g: &mut Gen| {
            let long = if g.rarely() { 1200 } else { 0 };
            let mut bytes = g.bytes().into_owned();
            bytes.resize(bytes.len() + long, g.next() as u8);
            bytes.into()
        };
        Records::Chunks((0..chunks).map(|_| chunk(self)).collect())
    }

    /// A few elements; fewer the deeper they are nested.
    pub fn vec<T>(&mut self, mut element: impl FnMut(&mut Gen) -> T) -> Vec<T> {
        let most = match self.depth {
            0 => [1, 2, 3, 5, 130][self.below(100).saturating_sub(95)],
            1 => 3,
            _ => 2,
        };
        let len = self.below(most + 1);
        self.depth += 1;
        let out = (0..len).map(|_| element(self)).collect();
        self.depth -= 1;
        out
    }
}

/// One message and what can be done with it.
pub struct Case {
    pub module: &'static str,
    pub name: &'static str,
    pub kind: Kind,
    pub key: i16,
    pub min: i16,
    pub max: i16,
    /// A random value encoded at a version.
    pub random: fn(&mut Gen, i16) -> Vec<u8>,
    /// A random value encoded, decoded (it must be the same) and encoded again (that as well).
    pub round_trip: fn(&mut Gen, i16) -> Vec<u8>,
    /// The default value encoded at a version.
    pub default: fn(i16) -> Result<Vec<u8>, EncodeError>,
    /// Decodes and encodes again; how many bytes were left over comes with it.
    pub recode: fn(&[u8], i16) -> Result<(Vec<u8>, usize), DecodeError>,
    /// Decodes only.
    pub decode: fn(&[u8], i16) -> Result<(), DecodeError>,
}

impl Case {
    /// All versions.
    pub fn versions(&self) -> std::ops::RangeInclusive<i16> {
        self.min..=self.max
    }
}

macro_rules! case {
    ($module:ident, $name:ident, $kind:ident, $key:expr, $min:expr, $max:expr, $fill:ident) => {
        Case {
            module: stringify!($module),
            name: stringify!($name),
            kind: Kind::$kind,
            key: $key,
            min: $min,
            max: $max,
            random: |g, v| encoded(|w| $fill(g, v).encode(w, v)),
            round_trip: |g, v| {
                let value = $fill(g, v);
                let bytes = encoded(|w| value.encode(w, v));
                let mut r = Reader::new(&bytes);
                let back = messages::$module::$name::decode(&mut r, v);
                let back = back.unwrap_or_else(|e| panic!("{} v{v}: {e}\n{value:?}", stringify!($name)));
                assert_eq!(r.remaining(), 0, "{} v{v} leaves bytes", stringify!($name));
                assert_eq!(back, value, "{} v{v}", stringify!($name));
                assert_eq!(encoded(|w| back.encode(w, v)), bytes);
                bytes
            },
            default: |v| {
                let mut w = Writer::new();
                messages::$module::$name::default().encode(&mut w, v)?;
                Ok(w.to_vec())
            },
            recode: |bytes, v| {
                let mut r = Reader::new(bytes);
                let value = messages::$module::$name::decode(&mut r, v)?;
                Ok((encoded(|w| value.encode(w, v)), r.remaining()))
            },
            decode: |bytes, v| messages::$module::$name::decode(&mut Reader::new(bytes), v).map(drop),
        }
    };
}

fn encoded(encode: impl FnOnce(&mut Writer) -> Result<(), EncodeError>) -> Vec<u8> {
    let mut w = Writer::new();
    encode(&mut w).expect("a value made for the version");
    let len = w.len();
    let bytes = w.clone().to_vec();
    assert_eq!(bytes.len(), len);
    assert_eq!(w.into_parts().concat(), bytes);
    bytes
}

include!(concat!(env!("OUT_DIR"), "/arbitrary.rs"));

/// Random messages per version in comparisons.
pub const ROUNDS: u64 = 12;

/// Bytes as text, for messages of failed tests and for other processes.
pub fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut out, b| {
            let _ = write!(out, "{b:02x}");
            out
        })
}

/// A seed for one message at one version, distinct for each `n`.
pub fn seed(case: &Case, version: i16, n: u64) -> u64 {
    let name = case.name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)
    });
    name ^ (version as u64) << 48 ^ n << 20
}
