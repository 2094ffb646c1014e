//! Checkpoint and footer as they were before transactions and compaction: read by [`super::archive`], never written.
//!
//! A store of that time knew no aborted transactions and had compacted nothing, so what is missing is empty.

use rkyv::{Archive, Deserialize, Serialize};

use super::archive::{
    Checkpoint, ChunkRecord, EpochRecord, Footer, PartitionRecord, ProducerRecord, RemovalRecord,
    SegmentRecord,
};

/// [`SegmentRecord`] of version 1.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct SegmentRecordV1 {
    pub segment_id: u64,
    pub base_offset: i64,
    pub generation: u32,
    pub end_position: u64,
    pub footer_len: u32,
    pub cut: i64,
    pub next_chunk_seq: u32,
    pub last_chunk_crc: u32,
    pub created_ms: i64,
    pub end_offset: i64,
    pub data_bytes: u64,
    pub batches: u64,
    pub max_timestamp: i64,
}

/// [`PartitionRecord`] of version 1.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct PartitionRecordV1 {
    pub topic: [u8; 16],
    pub topic_no: u32,
    pub partition: u32,
    pub drained_lsn: u64,
    pub drained_offset: i64,
    pub log_start: i64,
    pub epochs: Vec<EpochRecord>,
    pub term: i32,
    pub vote: i32,
    pub suspect: bool,
    pub producers_lsn: u64,
    pub producers: Vec<ProducerRecord>,
    pub segments: Vec<SegmentRecordV1>,
}

/// [`Checkpoint`] of version 1.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct CheckpointV1 {
    pub ckpt_id: u64,
    pub shard: u32,
    pub journal_id: u64,
    pub epoch: u64,
    pub next_topic: u32,
    pub next_segment: u64,
    pub partitions: Vec<PartitionRecordV1>,
    pub removals: Vec<RemovalRecord>,
}

/// [`super::archive::AbortedRecord`] of version 1; never written.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct AbortedRecordV1 {
    pub producer_id: i64,
    pub first_offset: i64,
    pub last_offset: i64,
}

/// [`Footer`] of version 1.
#[derive(Archive, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct FooterV1 {
    pub segment_id: u64,
    pub base_offset: i64,
    pub end_offset: i64,
    pub data_bytes: u64,
    pub batches: u64,
    pub max_timestamp: i64,
    pub chunks: Vec<ChunkRecord>,
    pub aborted: Vec<AbortedRecordV1>,
    pub epochs: Vec<EpochRecord>,
    pub producers: Vec<ProducerRecord>,
}

impl From<SegmentRecordV1> for SegmentRecord {
    fn from(s: SegmentRecordV1) -> Self {
        Self {
            segment_id: s.segment_id,
            base_offset: s.base_offset,
            generation: s.generation,
            end_position: s.end_position,
            footer_len: s.footer_len,
            cut: s.cut,
            next_chunk_seq: s.next_chunk_seq,
            last_chunk_crc: s.last_chunk_crc,
            created_ms: s.created_ms,
            first_timestamp: s.created_ms,
            footer_aborted: 0,
            end_offset: s.end_offset,
            data_bytes: s.data_bytes,
            batches: s.batches,
            max_timestamp: s.max_timestamp,
        }
    }
}

impl From<PartitionRecordV1> for PartitionRecord {
    fn from(p: PartitionRecordV1) -> Self {
        Self {
            topic: p.topic,
            topic_no: p.topic_no,
            partition: p.partition,
            drained_lsn: p.drained_lsn,
            drained_offset: p.drained_offset,
            log_start: p.log_start,
            epochs: p.epochs,
            term: p.term,
            vote: p.vote,
            suspect: p.suspect,
            producers_lsn: p.producers_lsn,
            producers: p.producers,
            aborted: Vec::new(),
            completed: Vec::new(),
            clean_offset: 0,
            segments: p.segments.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<CheckpointV1> for Checkpoint {
    fn from(c: CheckpointV1) -> Self {
        Self {
            ckpt_id: c.ckpt_id,
            shard: c.shard,
            journal_id: c.journal_id,
            epoch: c.epoch,
            next_topic: c.next_topic,
            next_segment: c.next_segment,
            partitions: c.partitions.into_iter().map(Into::into).collect(),
            removals: c.removals,
        }
    }
}

impl From<FooterV1> for Footer {
    fn from(f: FooterV1) -> Self {
        Self {
            segment_id: f.segment_id,
            base_offset: f.base_offset,
            end_offset: f.end_offset,
            data_bytes: f.data_bytes,
            batches: f.batches,
            max_timestamp: f.max_timestamp,
            chunks: f.chunks,
            aborted: Vec::new(),
            epochs: f.epochs,
            producers: f.producers,
        }
    }
}
