//! Watches every IO as it happens: what must hold of the bytes on disk whatever the store believes.
//!
//! Reads the layouts by their offsets in `docs/formats.md`, not through the store's own types, so that a mistake in
//! those does not hide here.
//!
//! - I7: a group never replaces one at or beyond the tail that any valid superblock copy names.
//! - I14: bytes of a group beyond `used_len`, and of a chunk beyond its data, are zero.
//! - R1: within a life, a segment is only ever written behind what was written before.
//! - R2: the LSN that a group's header calls acknowledged lies below every group in flight.
//! - R3: a group never changes the size of its file.
//! - R4: a group is submitted only when all groups up to its number less the window are complete.
//! - R11: a file is written through one mode only.

use super::disk::{Disk, Ino, Io, Landed};
use std::collections::BTreeMap;

/// Where group headers keep what is needed here.
const EPOCH: usize = 24;
const GROUP_SEQ: usize = 32;
const FIRST_LSN: usize = 40;
const ACKED_LSN: usize = 48;
const TOTAL_LEN: usize = 64;
const WINDOW: usize = 84;
const USED_LEN: usize = 68;
const GROUP_HEADER: usize = 128;
/// Where superblock copies keep the sequence number of the tail's group.
const TAIL_GROUP_SEQ: usize = 56;
const COPIES: usize = 4;
const PAGE: usize = 4096;

/// The observer of one life.
pub struct Watch {
    journal: String,
    superblock: String,
    paths: BTreeMap<Ino, String>,
    modes: BTreeMap<Ino, bool>,
    /// Writes of groups under way, by write: group number and first LSN.
    flying: BTreeMap<u64, (u64, u64)>,
    /// Writes to segments under way: file and end.
    chunks: BTreeMap<u64, (Ino, u64)>,
    /// Ends of what was written to segments.
    ends: BTreeMap<Ino, u64>,
    overwritten: u64,
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn half(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize
}

/// True if the `len` bytes at the start match the CRC at byte 4, taken with that field as zero (and byte 12..16 as
/// well, for superblock copies).
fn crc_holds(bytes: &[u8], len: usize, zero_copy: bool) -> bool {
    let mut header = bytes[..len].to_vec();
    let found = half(&header, 4) as u32;
    header[4..8].fill(0);
    if zero_copy {
        header[12..16].fill(0);
    }
    found != 0 && crc32c::crc32c(&header) == found
}

impl Watch {
    /// For the shard in `dir`.
    pub fn new(dir: &str) -> Watch {
        Watch {
            journal: format!("{dir}/journal/"),
            superblock: format!("{dir}/superblock"),
            paths: BTreeMap::new(),
            modes: BTreeMap::new(),
            flying: BTreeMap::new(),
            chunks: BTreeMap::new(),
            ends: BTreeMap::new(),
            overwritten: 0,
        }
    }

    /// Groups that replaced older groups so far.
    pub fn overwritten(&self) -> u64 {
        self.overwritten
    }

    /// Called before `io` is applied to `disk`. Panics when a promise is broken.
    pub fn see(&mut self, disk: &Disk, io: &Io) {
        let (id, ino, at, data, durable) = match io {
            Io::Submit {
                id,
                ino,
                at,
                data,
                durable,
            } => (id, ino, at, data, durable),
            Io::Complete { id, landed } => {
                self.flying.remove(id);
                if let Some((ino, end)) = self.chunks.remove(id)
                    && *landed == Landed::Whole
                {
                    self.ends.insert(ino, end);
                }
                return;
            }
            _ => return,
        };
        let path = match self.paths.get(ino) {
            Some(path) => path.clone(),
            None => {
                let Some(path) = disk.path_of(*ino) else { return };
                self.paths.insert(*ino, path.to_string());
                path.to_string()
            }
        };
        if path.starts_with(&self.journal) {
            self.journal_write(disk, *id, *ino, *at, data);
        } else if path.ends_with(".seg") {
            let before = self.modes.insert(*ino, *durable);
            assert!(
                before.is_none_or(|b| b == *durable),
                "R11: {path} is written in two modes"
            );
            let behind = self.ends.get(ino).copied().unwrap_or(0);
            assert!(
                *at >= behind,
                "R1: {path} is written at {at}, though it was written up to {behind} before"
            );
            self.chunks.insert(*id, (*ino, at + data.len() as u64));
            check_chunk(data, &path, *at);
        }
    }

    fn journal_write(&mut self, disk: &Disk, id: u64, ino: Ino, at: u64, data: &[u8]) {
        if !is_group(data) {
            return; // pre-writing zeros
        }
        let (used, total) = (half(data, USED_LEN), half(data, TOTAL_LEN));
        assert_eq!(
            total,
            data.len(),
            "a group of {total} bytes is written with {}",
            data.len()
        );
        assert!(used <= total, "a group uses {used} of {total} bytes");
        assert!(
            data[used..].iter().all(|b| *b == 0),
            "I14: pad of a journal group is not zero"
        );
        let size = disk.size(ino);
        assert!(
            at + total as u64 <= size,
            "R3: a group at {at} makes its file of {size} bytes longer"
        );
        let (seq, window, acked) = (
            word(data, GROUP_SEQ),
            half(data, WINDOW) as u64,
            word(data, ACKED_LSN),
        );
        for (other, first_lsn) in self.flying.values() {
            assert!(
                other + window > seq,
                "R4: group {seq} is submitted while {other} is in flight, window {window}"
            );
            assert!(
                acked < *first_lsn,
                "R2: group {seq} calls LSN {acked} acknowledged, group {other} holds {first_lsn}"
            );
        }
        self.flying.insert(id, (seq, word(data, FIRST_LSN)));
        let tails = self.tails(disk);
        let old = disk.read(ino, at, data.len());
        for page in old.chunks(PAGE) {
            if page.len() < GROUP_HEADER || !is_group(page) || !crc_holds(page, GROUP_HEADER, false) {
                continue;
            }
            self.overwritten += 1;
            let seq = word(page, GROUP_SEQ);
            // A group that recovery judged as never written may be replaced by what took its number.
            let refence = word(data, GROUP_SEQ) <= seq;
            for tail in &tails {
                assert!(
                    seq < *tail || refence || self.is_stale(disk, page),
                    "I7: group {} replaces group {seq}, which a superblock copy with tail {tail} needs",
                    word(data, GROUP_SEQ)
                );
            }
        }
    }

    /// True if recovery once discarded this group: another with its number or a lower one has a higher epoch.
    fn is_stale(&self, disk: &Disk, old: &[u8]) -> bool {
        let (seq, epoch) = (word(old, GROUP_SEQ), word(old, EPOCH));
        disk.files()
            .iter()
            .filter(|(path, _)| path.starts_with(&self.journal))
            .any(|(_, ino)| {
                let bytes = disk.read(*ino, 0, disk.size(*ino) as usize);
                bytes.chunks(PAGE).any(|page| {
                    page.len() == PAGE
                        && is_group(page)
                        && crc_holds(page, GROUP_HEADER, false)
                        && word(page, GROUP_SEQ) <= seq
                        && word(page, EPOCH) > epoch
                })
            })
    }

    /// First needed group by each valid copy on stable media.
    fn tails(&self, disk: &Disk) -> Vec<u64> {
        let Some(super::disk::Node::File(ino)) = disk.lookup(&self.superblock) else {
            return Vec::new();
        };
        let bytes = disk.read_stable(ino, 0, COPIES * PAGE);
        let copies = bytes.chunks(PAGE).filter(|copy| crc_holds(copy, 256, true));
        copies.map(|copy| word(copy, TAIL_GROUP_SEQ)).collect()
    }
}

/// Journal writes that are not all zeros are groups: a magic and a plausible length.
fn is_group(bytes: &[u8]) -> bool {
    bytes.len() >= GROUP_HEADER && half(bytes, 0) != 0 && half(bytes, TOTAL_LEN) >= GROUP_HEADER
}

/// I14 for a chunk: after its data there are zeros. The segment's header page is not a chunk.
fn check_chunk(data: &[u8], path: &str, at: u64) {
    if at == 0 || data.len() < PAGE {
        return;
    }
    let (total, data_off, data_len) = (half(data, 40), half(data, 48), half(data, 52));
    if total != data.len() || data_off < 128 || data_off + data_len > total || !crc_holds(data, 128, false) {
        return; // a footer
    }
    assert!(
        data[data_off + data_len..].iter().all(|b| *b == 0),
        "I14: pad of a chunk at {at} of {path} is not zero"
    );
}
