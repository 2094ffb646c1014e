//! The file `format` at the root of a data directory: what is in it and which generation of shards counts.
//!
//! Two copies of 4 KiB, written one after the other; the valid copy with the higher sequence counts. The first 256
//! bytes of each:
//!
//! | at | field | type | meaning |
//! |-|-|-|-|
//! | 0 | magic, hdr_crc | u32, u32 | CRC of the 256 B with `hdr_crc` as zero |
//! | 8 | version, hdr_len | u16, u16 | version of the whole data directory |
//! | 12 | copy | u32 | 0 or 1 |
//! | 16 | sequence | u64 | rises with each change |
//! | 24 | cluster_id | 16 B | |
//! | 40 | directory_id | 16 B | |
//! | 56 | broker_id, generation | i32, u32 | shards live in `gen-<generation>/` |
//! | 64 | shards, pad | u32, u32 | |
//! | 72 | feature_bits | u64 | a reader must know all that are set; none so far |
//! | 80 | reserved | 176 B | |

use rend::{i32_le, u16_le, u32_le, u64_le};

use super::Invalid;
use super::fixed::fixed_header;
use crate::env::ALIGN;

/// Name of the file.
pub const PATH: &str = "format";
/// Copies kept.
pub const COPIES: usize = 2;

fixed_header! {
    /// The manifest as plain values.
    Manifest / ManifestRaw, size 256, magic u32::from_le_bytes(*b"TgFM"), version 1;
    fields {
        /// Position of this copy.
        12 copy: u32_le,
        /// Rises with each change.
        16 sequence: u64_le,
        /// Cluster the directory belongs to.
        24 cluster_id: [u8; 16],
        /// Identity of the directory.
        40 directory_id: [u8; 16],
        /// Broker the directory belongs to.
        56 broker_id: i32_le,
        /// Generation of shards in force.
        60 generation: u32_le,
        /// Number of shards.
        64 shards: u32_le,
        /// Features a reader must know.
        72 feature_bits: u64_le,
    }
    zero { 10 hdr_len: u16_le, 68 pad: u32_le, 80 reserved: [u8; 176] }
    order {
        hdr_len: u16_le, copy: u32_le, sequence: u64_le, cluster_id: [u8; 16], directory_id: [u8; 16],
        broker_id: i32_le, generation: u32_le, shards: u32_le, pad: u32_le, feature_bits: u64_le,
        reserved: [u8; 176],
    }
}

impl Manifest {
    fn set_hdr_len(image: &mut [u8; 256]) {
        image[10..12].copy_from_slice(&256_u16.to_le_bytes());
    }

    /// The page of one copy.
    pub fn page(&self, copy: usize) -> Vec<u8> {
        let (image, _) = Self {
            copy: copy as u32,
            ..*self
        }
        .encode();
        let mut page = vec![0; ALIGN];
        page[..image.len()].copy_from_slice(&image);
        page
    }

    /// The manifest to believe among the pages read, in order of copies.
    pub fn choose(pages: &[&[u8]]) -> Result<Self, Invalid> {
        let mut best: Result<Self, Invalid> = Err(Invalid("no copy of the format file"));
        for (at, page) in pages.iter().enumerate() {
            match Self::decode(page) {
                Ok((m, _)) if m.copy as usize != at => {
                    best = best.or(Err(Invalid("format copy out of place")))
                }
                Ok((m, _)) if m.feature_bits != 0 => {
                    return Err(Invalid("features of a later version are in use"));
                }
                Ok((m, _)) if m.shards == 0 || m.generation == 0 => {
                    best = best.or(Err(Invalid("format file out of range")));
                }
                Ok((m, _)) => {
                    if best.as_ref().map_or(true, |b| b.sequence < m.sequence) {
                        best = Ok(Self { copy: 0, ..m });
                    }
                }
                Err(e) => best = best.or(Err(e)),
            }
        }
        best
    }
}
