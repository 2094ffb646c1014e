//! The derived archives: checkpoint of a shard, footer of a sealed segment.
//!
//! rkyv's format follows its cargo features, which the workspace pins (little-endian, aligned, 32-bit pointers).
//! Archives do not evolve: a changed struct is a new kind in the envelope and a new type; the types of version 1 are in
//! [`super::archive_v1`]. Reading checks, in this order, the envelope, the length, the CRC, the archive's structure, and
//! then the ranges that matter.

use rkyv::rancor::Error;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};

use super::archive_v1::{CheckpointV1, FooterV1};
use super::envelope::{CHECKPOINT, CHECKPOINT_V1, Envelope, FOOTER, FOOTER_V1};
use super::{Invalid, crc, pages};

/// A leader epoch and its first offset.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochRecord {
    /// Leader epoch.
    pub epoch: i32,
    /// Its first offset.
    pub start_offset: i64,
}

/// A batch remembered for deduplication.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerBatchRecord {
    /// Sequence of the first record.
    pub base_sequence: i32,
    /// Sequence of the last record.
    pub last_sequence: i32,
    /// Offset of the first record.
    pub base_offset: i64,
    /// Offset of the last record.
    pub last_offset: i64,
    /// Largest timestamp.
    pub max_timestamp: i64,
}

/// What a partition knows about a producer id.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct ProducerRecord {
    /// The producer id.
    pub producer_id: i64,
    /// Its newest epoch.
    pub epoch: i16,
    /// Epoch of the coordinator that wrote the last marker.
    pub coordinator_epoch: i32,
    /// Time of the last write.
    pub last_ms: i64,
    /// First offset of its open transaction; -1 for none.
    pub txn_first_offset: i64,
    /// At most five batches, oldest first.
    pub batches: Vec<ProducerBatchRecord>,
}

/// A segment as the checkpoint knows it.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct SegmentRecord {
    /// Identity of the segment.
    pub segment_id: u64,
    /// No record in it lies below.
    pub base_offset: i64,
    /// Distinguishes files of one base offset.
    pub generation: u32,
    /// End of the last chunk in the file; 0 if the file has not been made.
    pub end_position: u64,
    /// Bytes of the footer behind `end_position`; 0 unless sealed.
    pub footer_len: u32,
    /// Records from here on were truncated away; `i64::MAX` if none were.
    pub cut: i64,
    /// Number the next chunk gets.
    pub next_chunk_seq: u32,
    /// Header CRC of the last chunk.
    pub last_chunk_crc: u32,
    /// Wall clock of its first append, milliseconds; -1 if empty.
    pub created_ms: i64,
    /// Largest timestamp of its first batch; -1 if empty or if it has none.
    pub first_timestamp: i64,
    /// Above 0, its footer lists aborted transactions that the log's record may not.
    pub footer_aborted: u32,
    /// Offset after the last record in the file.
    pub end_offset: i64,
    /// Bytes of batches in the file.
    pub data_bytes: u64,
    /// Batches in the file.
    pub batches: u64,
    /// Largest timestamp in the file; `i64::MIN` if empty.
    pub max_timestamp: i64,
}

/// A partition with all frames up to `drained_lsn` applied, and no later DATA or TRUNCATE in its segments.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct PartitionRecord {
    /// The topic's uuid.
    pub topic: [u8; 16],
    /// Its local number in this journal.
    pub topic_no: u32,
    /// Partition of the topic.
    pub partition: u32,
    /// Frames up to here are in the segments.
    pub drained_lsn: u64,
    /// Offset after the last record in the segments.
    pub drained_offset: i64,
    /// First offset of the log.
    pub log_start: i64,
    /// Leader epochs, oldest first.
    pub epochs: Vec<EpochRecord>,
    /// Raft term, reserved; -1.
    pub term: i32,
    /// Raft vote, reserved; -1.
    pub vote: i32,
    /// True if records may be missing and a leader has not been asked yet.
    pub suspect: bool,
    /// Batches up to this frame are in the producer snapshot.
    pub producers_lsn: u64,
    /// The producer snapshot.
    pub producers: Vec<ProducerRecord>,
    /// Aborted transactions, by rising marker, up to `producers_lsn`.
    pub aborted: Vec<AbortedRecord>,
    /// Transactions completed lately, by rising marker, for a truncation that takes their markers.
    pub completed: Vec<CompletedRecord>,
    /// Below it, compaction has nothing left to do.
    pub clean_offset: i64,
    /// Segments, oldest first; the last is open.
    pub segments: Vec<SegmentRecord>,
}

/// A file that is still to be removed.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemovalRecord {
    /// The topic's uuid.
    pub topic: [u8; 16],
    /// Partition of the topic.
    pub partition: u32,
    /// Base offset in the file's name.
    pub base_offset: i64,
    /// Generation in the file's name.
    pub generation: u32,
    /// The whole partition is gone: its directory goes too.
    pub partition_gone: bool,
}

/// Everything recovery needs besides the journal.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Identity; rises.
    pub ckpt_id: u64,
    /// Shard it belongs to.
    pub shard: u32,
    /// Journal it belongs to.
    pub journal_id: u64,
    /// Epoch it was taken in.
    pub epoch: u64,
    /// Local topic number the next topic gets.
    pub next_topic: u32,
    /// Segment id the next segment gets.
    pub next_segment: u64,
    /// One per partition.
    pub partitions: Vec<PartitionRecord>,
    /// Files to be removed.
    pub removals: Vec<RemovalRecord>,
}

/// A chunk of a sealed segment.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkRecord {
    /// Position in the file.
    pub position: u64,
    /// Bytes in the file.
    pub len: u32,
    /// Epoch of its batches.
    pub leader_epoch: i32,
    /// Offset of its first record.
    pub base_offset: i64,
    /// Offset of its last record.
    pub last_offset: i64,
    /// Largest timestamp in it.
    pub max_timestamp: i64,
}

/// An aborted transaction.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedRecord {
    /// The producer id.
    pub producer_id: i64,
    /// Offset of the transaction's first record.
    pub first_offset: i64,
    /// Offset of the marker.
    pub last_offset: i64,
    /// Last stable offset when the marker was appended.
    pub last_stable_offset: i64,
}

/// A completed transaction.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompletedRecord {
    /// The producer id.
    pub producer_id: i64,
    /// Epoch of the marker.
    pub producer_epoch: i16,
    /// Offset of the transaction's first record.
    pub first_offset: i64,
    /// Offset of the marker.
    pub last_offset: i64,
    /// True if it was aborted.
    pub aborted: bool,
}

/// What a sealed segment says about itself.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct Footer {
    /// Identity of the segment.
    pub segment_id: u64,
    /// No record in it lies below.
    pub base_offset: i64,
    /// Offset after the last record.
    pub end_offset: i64,
    /// Bytes of batches.
    pub data_bytes: u64,
    /// Batches.
    pub batches: u64,
    /// Largest timestamp.
    pub max_timestamp: i64,
    /// Chunk and time index, in file order.
    pub chunks: Vec<ChunkRecord>,
    /// Aborted transactions that ended in the segment.
    pub aborted: Vec<AbortedRecord>,
    /// Leader epochs known when it was sealed.
    pub epochs: Vec<EpochRecord>,
    /// Producer snapshot; empty so far.
    pub producers: Vec<ProducerRecord>,
}

/// Longest archive accepted, in bytes.
pub const ARCHIVE_MAX: u64 = 1 << 30;

impl Checkpoint {
    /// The checkpoint's file without its final pad: envelope, archive.
    pub fn encode(&self) -> Vec<u8> {
        let archive = rkyv::to_bytes::<Error>(self).expect("an archive in memory cannot fail");
        let envelope = Envelope {
            kind: CHECKPOINT,
            owner_id: self.ckpt_id,
            archive_pos: Envelope::BYTES as u64,
            archive_len: archive.len() as u64,
            archive_crc: crc(&archive),
        };
        let mut file = Vec::with_capacity(pages(Envelope::BYTES + archive.len()));
        file.extend_from_slice(&envelope.encode().0);
        file.extend_from_slice(&archive);
        file
    }

    /// Reads a checkpoint's file.
    pub fn decode(file: &[u8], ckpt_id: u64) -> Result<Self, Invalid> {
        let (envelope, _) = Envelope::decode(file)?;
        if !matches!(envelope.kind, CHECKPOINT | CHECKPOINT_V1) || envelope.owner_id != ckpt_id {
            return Err(Invalid("checkpoint envelope of something else"));
        }
        if envelope.archive_pos != Envelope::BYTES as u64 {
            return Err(Invalid("checkpoint archive out of place"));
        }
        let checkpoint: Self = {
            let bytes = archive_bytes(
                &file[Envelope::BYTES..],
                envelope.archive_len,
                envelope.archive_crc,
            )?;
            let malformed = |_| Invalid("checkpoint archive malformed");
            if envelope.kind == CHECKPOINT_V1 {
                rkyv::from_bytes::<CheckpointV1, Error>(&bytes)
                    .map_err(malformed)?
                    .into()
            } else {
                rkyv::from_bytes::<Self, Error>(&bytes).map_err(malformed)?
            }
        };
        if checkpoint.ckpt_id != ckpt_id {
            return Err(Invalid("checkpoint of another id"));
        }
        for p in &checkpoint.partitions {
            p.check()?;
        }
        Ok(checkpoint)
    }
}

impl PartitionRecord {
    fn check(&self) -> Result<(), Invalid> {
        let rising = self
            .segments
            .windows(2)
            .all(|w| w[0].base_offset <= w[1].base_offset);
        if !rising || self.segments.is_empty() {
            return Err(Invalid("partition record: segments out of order"));
        }
        if self.log_start < 0 || self.drained_offset < 0 {
            return Err(Invalid("partition record: offsets out of range"));
        }
        if self
            .producers
            .iter()
            .any(|p| p.batches.len() > crate::producer::WINDOW)
        {
            return Err(Invalid("partition record: producer window too long"));
        }
        if self.completed.len() > crate::txn::REMEMBERED || self.clean_offset < 0 {
            return Err(Invalid("partition record: transactions out of range"));
        }
        for s in &self.segments {
            let align = crate::env::ALIGN as u64;
            if s.end_position % align != 0 || u64::from(s.footer_len) % align != 0 || s.base_offset < 0 {
                return Err(Invalid("segment record out of range"));
            }
        }
        Ok(())
    }
}

fn archive_bytes(bytes: &[u8], len: u64, expected_crc: u32) -> Result<AlignedVec<16>, Invalid> {
    if len > ARCHIVE_MAX || len > bytes.len() as u64 {
        return Err(Invalid("archive length out of range"));
    }
    let bytes = &bytes[..len as usize];
    if crc(bytes) != expected_crc {
        return Err(Invalid("archive CRC mismatch"));
    }
    let mut aligned = AlignedVec::with_capacity(bytes.len());
    aligned.extend_from_slice(bytes);
    Ok(aligned)
}

impl Footer {
    /// The footer as it stands in the file at `position`: archive, zeros, envelope; whole pages.
    pub fn encode(&self, position: u64) -> Vec<u8> {
        let archive = rkyv::to_bytes::<Error>(self).expect("an archive in memory cannot fail");
        let total = pages(archive.len() + Envelope::BYTES);
        let envelope = Envelope {
            kind: FOOTER,
            owner_id: self.segment_id,
            archive_pos: position,
            archive_len: archive.len() as u64,
            archive_crc: crc(&archive),
        };
        let mut bytes = vec![0; total];
        bytes[..archive.len()].copy_from_slice(&archive);
        bytes[total - Envelope::BYTES..].copy_from_slice(&envelope.encode().0);
        bytes
    }

    /// Reads a footer; `bytes` is everything from `position` to its end.
    pub fn decode(bytes: &[u8], segment_id: u64, position: u64) -> Result<Self, Invalid> {
        let at = bytes
            .len()
            .checked_sub(Envelope::BYTES)
            .ok_or(Invalid("footer cut short"))?;
        let (envelope, _) = Envelope::decode(&bytes[at..])?;
        if !matches!(envelope.kind, FOOTER | FOOTER_V1)
            || envelope.owner_id != segment_id
            || envelope.archive_pos != position
        {
            return Err(Invalid("footer of something else"));
        }
        let archive = archive_bytes(&bytes[..at], envelope.archive_len, envelope.archive_crc)?;
        let malformed = |_| Invalid("footer archive malformed");
        let footer: Self = if envelope.kind == FOOTER_V1 {
            rkyv::from_bytes::<FooterV1, Error>(&archive)
                .map_err(malformed)?
                .into()
        } else {
            rkyv::from_bytes::<Self, Error>(&archive).map_err(malformed)?
        };
        let rising = footer.chunks.windows(2).all(|w| {
            w[0].last_offset < w[1].base_offset
                && w[0].position.saturating_add(u64::from(w[0].len)) <= w[1].position
        });
        let inside = footer.chunks.iter().all(|c| {
            c.base_offset <= c.last_offset
                && c.position.saturating_add(u64::from(c.len)) <= position
                && c.len > 0
        });
        if footer.segment_id != segment_id || !rising || !inside {
            return Err(Invalid("footer index out of range"));
        }
        Ok(footer)
    }
}
