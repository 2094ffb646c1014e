//! The segment a pass of the cleaner writes: chunks as the drain would write them, then a footer.
//!
//! The file is made with its first chunk; an output without records has no file. Nothing names it until its SEG_SWAP.

use std::io;
use std::rc::Rc;

use crate::core::{Core, Partition, Segment, Stats};
use crate::env::{ALIGN, Env, File, IoBuf, OpenMode};
use crate::format::archive::{ChunkRecord, EpochRecord, Footer};
use crate::format::chunk::{ChunkSpec, DirEntry, chunk_len, write_chunk};
use crate::format::kafka::BatchHeader;
use crate::format::segment::{self, FIRST_CHUNK, SegmentHeader};
use crate::journal::write::short_write;
use crate::tail::note;
use crate::txn::AbortedTxn;

/// See the module's header.
pub(super) struct Output<E: Env> {
    core: Rc<Core<E>>,
    partition: Rc<Partition>,
    path: String,
    file: Option<E::File>,
    pub segment: Segment,
    chunks: Vec<ChunkRecord>,
    data: Vec<u8>,
    dir: Vec<DirEntry>,
    /// Of the open chunk: base offset, last offset, epoch, largest timestamp, batches.
    open: (i64, i64, i32, i64, u32),
    chunk_bytes: usize,
}

impl<E: Env> Output<E> {
    /// An empty output for `segment`, with chunks of at most `chunk_bytes` of batches, if no single one needs more.
    pub fn new(core: &Rc<Core<E>>, partition: &Rc<Partition>, segment: Segment, chunk_bytes: usize) -> Self {
        Self {
            core: core.clone(),
            partition: partition.clone(),
            path: segment::segment_path(&partition.id, segment.base_offset, segment.generation),
            file: None,
            segment,
            chunks: Vec::new(),
            data: Vec::new(),
            dir: Vec::new(),
            open: (0, 0, 0, 0, 0),
            chunk_bytes,
        }
    }

    /// Adds a batch. Returns bytes written to the file meanwhile.
    pub async fn push(&mut self, batch: &[u8]) -> io::Result<u64> {
        let Ok(header) = BatchHeader::parse(batch) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a batch without a header",
            ));
        };
        let far = header.last_offset() - self.open.0 >= i64::from(u32::MAX);
        let full = self.data.len() + batch.len() > self.chunk_bytes;
        let mut written = 0;
        if !self.data.is_empty() && (full || far || header.leader_epoch != self.open.2) {
            written = self.flush().await?;
        }
        // A batch without records has a timestamp in its header, but nothing that was stamped.
        let stamp = if header.record_count > 0 {
            header.max_timestamp
        } else {
            i64::MIN
        };
        if self.data.is_empty() {
            self.open = (header.base_offset, 0, header.leader_epoch, i64::MIN, 0);
        }
        note(
            &mut self.dir,
            self.open.0,
            header.base_offset,
            self.data.len() as u32,
            stamp,
        );
        self.data.extend_from_slice(batch);
        self.open.1 = header.last_offset();
        self.open.3 = self.open.3.max(stamp);
        self.open.4 += 1;
        if self.segment.total.batches == 0 {
            self.segment.first_timestamp = stamp.max(-1);
        }
        let end = header.last_offset() + 1;
        self.segment.total.add(end, batch.len() as u64, 1, stamp);
        Ok(written)
    }

    /// Writes the open chunk. Returns bytes written.
    async fn flush(&mut self) -> io::Result<u64> {
        let fresh = self.file.is_none();
        let len = chunk_len(self.dir.len(), self.data.len());
        let position = self.segment.end_position.max(FIRST_CHUNK);
        let end = position + len as u64;
        let file = self.file().await?;
        if end > self.segment.allocated {
            let ahead = (end / 8).min(16 << 20) / ALIGN as u64 * ALIGN as u64;
            file.allocate(end + ahead).await?;
            self.segment.allocated = end + ahead;
        }
        let head = if fresh { FIRST_CHUNK as usize } else { 0 };
        let mut buf = self.core.env.buffer(head + len);
        if fresh {
            let header = SegmentHeader {
                flags: 0,
                segment_id: self.segment.id,
                topic_uuid: self.partition.id.topic,
                partition: self.partition.id.partition,
                generation: self.segment.generation,
                base_offset: self.segment.base_offset,
                created_ms: self.core.env.wall_ms(),
                feature_bits: 0,
            };
            let page = &mut buf.bytes_mut()[..head];
            page[..SegmentHeader::BYTES].copy_from_slice(&header.encode().0);
            page[SegmentHeader::BYTES..].fill(0);
        }
        let (base_offset, last_offset, leader_epoch, max_timestamp, batch_count) = self.open;
        let spec = ChunkSpec {
            segment_id: self.segment.id,
            file_pos: position,
            chunk_seq: self.segment.next_chunk_seq,
            prev_chunk_crc: self.segment.last_chunk_crc,
            base_offset,
            last_offset,
            max_timestamp,
            batch_count,
            leader_epoch,
            lsn_hi: 0,
        };
        let crc = write_chunk(&mut buf.bytes_mut()[head..], &spec, &self.dir, &[&self.data]);
        self.write(&file, position - head as u64, buf, head + len).await?;
        self.segment.end_position = end;
        self.segment.next_chunk_seq += 1;
        self.segment.last_chunk_crc = crc;
        self.chunks.push(ChunkRecord {
            position,
            len: len as u32,
            leader_epoch,
            base_offset,
            last_offset,
            max_timestamp,
        });
        self.data.clear();
        self.dir.clear();
        Ok((head + len) as u64)
    }

    async fn write(&self, file: &E::File, at: u64, buf: E::Buf, len: usize) -> io::Result<()> {
        let (result, _) = file.write_at(at, buf).await;
        match result {
            Ok(n) if n == len => Ok(()),
            Ok(n) => self.core.env.poison("compaction write", &short_write(n, len)),
            Err(e) if e.kind() == io::ErrorKind::StorageFull => Err(e),
            Err(e) => self.core.env.poison("compaction write", &e),
        }
    }

    /// The file, made if this is its first chunk. Directories of a partition may go while one of its neighbours is
    /// removed; they are made again.
    async fn file(&mut self) -> io::Result<E::File> {
        if let Some(file) = &self.file {
            return Ok(file.clone());
        }
        let env = &self.core.env;
        let dir = segment::partition_dir(&self.partition.id);
        let mut left = 16;
        let file = loop {
            env.create_dir_all(&dir).await?;
            match env.open(&self.path, OpenMode::Write).await {
                Err(e) if left > 0 && e.kind() == io::ErrorKind::NotFound => left -= 1,
                result => break result?,
            }
        };
        self.file = Some(file.clone());
        Ok(file)
    }

    /// Writes what is left and the footer, and makes file and directories durable, unless `unsynced` (a planted fault).
    /// The output ends at `end_offset`, whatever its last record is. Returns bytes written.
    pub async fn finish(
        &mut self,
        end_offset: i64,
        epochs: Vec<EpochRecord>,
        aborted: &[AbortedTxn],
        unsynced: bool,
    ) -> io::Result<u64> {
        let mut written = 0;
        if !self.data.is_empty() {
            written += self.flush().await?;
        }
        if self.segment.total.batches == 0 {
            self.segment.total = Stats::new(self.segment.base_offset);
        }
        self.segment.total.end_offset = end_offset;
        self.segment.drained = self.segment.total;
        let Some(file) = self.file.clone() else {
            return Ok(written);
        };
        let footer = Footer {
            segment_id: self.segment.id,
            base_offset: self.segment.base_offset,
            end_offset,
            data_bytes: self.segment.total.bytes,
            batches: self.segment.total.batches,
            max_timestamp: self.segment.total.max_timestamp,
            chunks: std::mem::take(&mut self.chunks),
            aborted: crate::checkpoint::aborted_records(aborted),
            epochs,
            producers: Vec::new(),
        };
        let bytes = footer.encode(self.segment.end_position);
        file.allocate(self.segment.end_position + bytes.len() as u64)
            .await?;
        let mut buf = self.core.env.zeroed(bytes.len());
        buf.bytes_mut().copy_from_slice(&bytes);
        self.write(&file, self.segment.end_position, buf, bytes.len())
            .await?;
        self.segment.footer_len = bytes.len() as u32;
        written += bytes.len() as u64;
        if !unsynced {
            let env = &self.core.env;
            if let Err(e) = file.sync().await {
                env.poison(&format!("sync of {}", self.path), &e);
            }
            let id = &self.partition.id;
            let dirs = [
                segment::partition_dir(id),
                segment::topic_dir(&id.topic),
                segment::TOPICS.to_owned(),
                String::new(),
            ];
            for dir in dirs {
                match env.sync_dir(&dir).await {
                    Ok(()) => {}
                    // The log was dropped and its directories went; nothing will be swapped in.
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                    Err(e) => env.poison(&format!("directory sync of {dir}"), &e),
                }
            }
        }
        self.file = None;
        // A failed close loses nothing: what counts was synced.
        let _ = file.close().await;
        Ok(written)
    }

    /// Removes the file: nothing names it. The directory goes as well if the log is gone.
    pub async fn discard(mut self) {
        if let Some(file) = self.file.take() {
            let _ = file.close().await;
        }
        let env = &self.core.env;
        // A file that stays is found and removed by the next start.
        let _ = env.remove_file(&self.path).await;
        if self.partition.state.borrow().dropped {
            let _ = env.remove_dir(&segment::partition_dir(&self.partition.id)).await;
            let _ = env
                .remove_dir(&segment::topic_dir(&self.partition.id.topic))
                .await;
        }
    }
}
