//! Every parser of bytes on disk takes anything without a panic, and what it accepts survives being written again.
//! Seconds in the gate; longer with FUZZ_SECONDS.

use std::time::{Duration, Instant};

use turgo_storage::BatchHeader;
use turgo_storage::format::archive::{Checkpoint, Footer};
use turgo_storage::format::chunk::ChunkHeader;
use turgo_storage::format::crc;
use turgo_storage::format::envelope::Envelope;
use turgo_storage::format::frame::{FrameHeader, Frames, SegCreate};
use turgo_storage::format::group::GroupHeader;
use turgo_storage::format::manifest::Manifest;
use turgo_storage::format::segment::{SegmentHeader, parse_segment_name};
use turgo_storage::format::superblock::Superblock;
use turgo_storage::format::swap::SegSwap;
use turgo_storage::testing::{batch, marker};
use turgo_storage::txn::Marker;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }

    /// Mostly extreme, as lengths that hurt are.
    fn word(&mut self) -> u64 {
        match self.below(6) {
            0 => 0,
            1 => u64::MAX,
            2 => u64::from(u32::MAX) - self.below(3) as u64,
            3 => i64::MAX as u64 - self.below(3) as u64,
            4 => self.below(5000) as u64,
            _ => self.next(),
        }
    }
}

/// A header of `size` bytes with this magic, version 1, noise, and a right CRC: what only range checks can refuse.
fn forged(random: &mut Random, magic: u32, size: usize) -> Vec<u8> {
    let mut bytes = random.bytes(size);
    for at in (12..size - 8).step_by(4) {
        if random.below(2) == 0 {
            let word = random.word();
            bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
        }
    }
    bytes[..4].copy_from_slice(&magic.to_le_bytes());
    bytes[8..10].copy_from_slice(&1_u16.to_le_bytes());
    bytes[4..8].fill(0);
    let sum = crc(&bytes);
    bytes[4..8].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn parse_everything(bytes: &[u8], random: &mut Random) {
    let _ = Superblock::read_copy(bytes, random.below(4));
    let _ = Superblock::choose(&[bytes, bytes, bytes, bytes]);
    let _ = Manifest::choose(&[bytes, bytes]);
    if let Ok((group, _)) = GroupHeader::read(bytes) {
        assert!(group.next_lsn() >= group.first_lsn);
        assert_eq!(
            group.encode().0[12..96],
            bytes[12..96],
            "what was accepted is what is written"
        );
        let body = bytes
            .get(128..(group.used_len as usize).min(bytes.len()))
            .unwrap_or(&[]);
        for frame in Frames::new(body, group.first_lsn, group.frame_count) {
            let Ok(frame) = frame else { break };
            let _ = SegCreate::decode(frame.payload);
            let _ = BatchHeader::parse(frame.payload);
        }
    }
    let _ = FrameHeader::decode(bytes);
    for frame in Frames::new(bytes, random.word(), random.next() as u32 % 50) {
        if frame.is_err() {
            break;
        }
    }
    let _ = SegmentHeader::decode(bytes);
    if let Ok((chunk, _)) = ChunkHeader::decode(bytes) {
        if let Ok((chunk, _)) = ChunkHeader::read(bytes, chunk.segment_id, chunk.file_pos) {
            let _ = chunk.check_body(bytes);
        }
        let _ = chunk.dir(bytes).count();
    }
    let _ = Envelope::decode(bytes);
    let _ = Checkpoint::decode(bytes, 1);
    let _ = Footer::decode(bytes, 1, 4096);
    if let Ok(h) = BatchHeader::parse(bytes) {
        let _ = (h.last_offset(), h.crc_matches(bytes), Marker::parse(&h, bytes));
    }
    let _ = SegCreate::decode(bytes);
    if let Ok(swap) = SegSwap::decode(bytes, random.below(100) as i64) {
        assert_eq!(swap.encode(), bytes, "what was accepted is what is written");
    }
    let _ = parse_segment_name(&String::from_utf8_lossy(&bytes[..bytes.len().min(24)]));
}

#[test]
fn no_parser_panics_whatever_the_bytes() {
    let seconds = std::env::var("FUZZ_SECONDS")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(2);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let kinds = [
        (Superblock::MAGIC, 256),
        (Manifest::MAGIC, 256),
        (GroupHeader::MAGIC, 128),
        (FrameHeader::MAGIC, 64),
        (SegmentHeader::MAGIC, 128),
        (ChunkHeader::MAGIC, 128),
        (Envelope::MAGIC, 64),
    ];
    let (mut rounds, mut swaps) = (0_u64, 0_u64);
    while Instant::now() < end {
        for (magic, size) in kinds {
            let mut bytes = forged(&mut random, magic, size);
            let more = random.below(6000);
            bytes.extend(random.bytes(more));
            parse_everything(&bytes, &mut random);
        }
        // An archive with a right envelope and CRC but a hostile inside.
        let len = random.below(400);
        let archive = random.bytes(len);
        for (checkpoint, footer) in [(1, 2), (3, 4)] {
            let envelope = Envelope {
                kind: checkpoint,
                owner_id: 1,
                archive_pos: 64,
                archive_len: archive.len() as u64,
                archive_crc: crc(&archive),
            };
            let mut file = envelope.encode().0.to_vec();
            file.extend_from_slice(&archive);
            let _ = Checkpoint::decode(&file, 1);
            let footer = Envelope {
                kind: footer,
                archive_pos: 4096,
                ..envelope
            };
            let mut file = archive.clone();
            file.extend_from_slice(&footer.encode().0);
            let _ = Footer::decode(&file, 1, 4096);
        }
        // A SEG_SWAP whose lists fit, with a field gone wrong.
        let (old, markers) = (1 + random.below(5), random.below(5));
        let mut swap = vec![0; SegSwap::HEAD + 8 * (old + markers)];
        swap[0] = 1;
        swap[4..8].copy_from_slice(&(old as u32).to_le_bytes());
        swap[8..12].copy_from_slice(&(markers as u32).to_le_bytes());
        for at in 0..markers {
            swap[SegSwap::HEAD + 8 * (old + at)] = at as u8 + 1;
        }
        swap[64] = 100;
        if SegSwap::decode(&swap, 50).is_ok() {
            swaps += 1;
        }
        let at = random.below(swap.len() - 8);
        let word = random.word();
        swap[at..at + 8].copy_from_slice(&word.to_le_bytes());
        parse_everything(&swap, &mut random);
        // A good batch with one field gone wrong.
        let mut raw = batch(3, 100 + random.below(300), 5);
        let at = random.below(raw.len() - 8);
        let word = random.word();
        raw[at..at + 8].copy_from_slice(&word.to_be_bytes());
        let mut ended = marker(random.below(2) == 0, 5, 1, 2, 3);
        let at = 57 + random.below(ended.len() - 57);
        ended[at] = random.next() as u8;
        parse_everything(&ended, &mut random);
        let cut = random.below(raw.len() + 1);
        parse_everything(&raw[..cut], &mut random);
        rounds += 1;
    }
    assert!(
        rounds > 100 && swaps == rounds,
        "only {rounds} rounds, {swaps} swaps"
    );
}
