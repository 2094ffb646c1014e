//! Reads from segments: chunk indexes, catch-up reads with read-ahead, lookups by timestamp.
//!
//! Whole chunks are read and checked before a byte of them is served (I12). Spans of chunks that were read live in
//! [`ReadCache`], apart from the tail's memory and within a budget of their own; a reader that moves on in order finds
//! its next span read ahead.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;

use crate::api::ReadError;
use crate::checkpoint::aborted_from;
use crate::core::{Core, LogState, Partition, Segment};
use crate::env::{ALIGN, Class, Env, File, IoBuf};
use crate::format::archive::{ChunkRecord, Footer};
use crate::format::chunk::{ChunkHeader, DirEntry};
use crate::format::segment::{FIRST_CHUNK, segment_path};
use crate::log::check_range;
use crate::map::Map;
use crate::sync::Semaphore;
use crate::tail::{select, walk};
use crate::txn::AbortedTxn;

/// Checked chunks that lie one behind the other in a segment.
pub(crate) struct Span {
    position: u64,
    bytes: Bytes,
    chunks: Vec<ChunkHeader>,
}

impl Span {
    fn end(&self) -> u64 {
        self.position + self.bytes.len() as u64
    }

    fn chunk_at(&self, position: u64) -> Option<&ChunkHeader> {
        self.chunks.iter().find(|c| c.file_pos == position)
    }

    /// Directory and batches of one of its chunks.
    fn parts(&self, chunk: &ChunkHeader) -> (Vec<DirEntry>, Bytes) {
        let start = (chunk.file_pos - self.position) as usize;
        let whole = self.bytes.slice(start..start + chunk.total_len as usize);
        let dir = chunk.dir(&whole).collect();
        let data = whole.slice(chunk.data_off as usize..(chunk.data_off + chunk.data_len) as usize);
        (dir, data)
    }
}

/// Chunk indexes by segment, each with the tick of its last use.
type Indexes = Map<u64, (Rc<Vec<ChunkRecord>>, u64)>;

/// Spans read from disk, least recently used first out, and chunk indexes of segments not written by this process.
pub(crate) struct ReadCache {
    spans: RefCell<Vec<(u64, Rc<Span>, u64)>>,
    bytes: Cell<usize>,
    limit: usize,
    tick: Cell<u64>,
    indexes: RefCell<Indexes>,
    /// Aborted transactions of footers, by segment.
    aborted: RefCell<Map<u64, Rc<Vec<AbortedTxn>>>>,
    index_entries: Cell<usize>,
    slots: Semaphore,
    /// Spans being read ahead: (segment, position).
    ahead: RefCell<Vec<(u64, u64)>>,
    ahead_done: crate::sync::Notify,
}

/// Aborted transactions of footers kept, in all.
const ABORTED_ENTRIES: usize = 1 << 16;
/// Chunk index entries kept for segments that are not being written, in all.
const INDEX_ENTRIES: usize = 1 << 18;

impl ReadCache {
    pub fn new(limit: usize) -> Self {
        Self {
            spans: RefCell::default(),
            bytes: Cell::new(0),
            limit,
            tick: Cell::new(0),
            indexes: RefCell::default(),
            aborted: RefCell::default(),
            index_entries: Cell::new(0),
            slots: Semaphore::default(),
            ahead: RefCell::default(),
            ahead_done: crate::sync::Notify::default(),
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes.get()
    }

    fn tick(&self) -> u64 {
        self.tick.set(self.tick.get() + 1);
        self.tick.get()
    }

    fn find(&self, segment: u64, position: u64) -> Option<Rc<Span>> {
        let tick = self.tick();
        let mut spans = self.spans.borrow_mut();
        let found = spans
            .iter_mut()
            .find(|(id, span, _)| *id == segment && span.chunk_at(position).is_some())?;
        found.2 = tick;
        Some(found.1.clone())
    }

    fn insert(&self, segment: u64, span: Rc<Span>) {
        let tick = self.tick();
        let mut spans = self.spans.borrow_mut();
        self.bytes.set(self.bytes.get() + span.bytes.len());
        spans.push((segment, span, tick));
        while self.bytes.get() > self.limit && spans.len() > 1 {
            let oldest = (0..spans.len()).min_by_key(|&i| spans[i].2).expect("not empty");
            let (_, span, _) = spans.swap_remove(oldest);
            self.bytes.set(self.bytes.get() - span.bytes.len());
        }
    }

    /// Drops everything held of a segment.
    pub fn forget(&self, segment: u64) {
        self.spans.borrow_mut().retain(|(id, span, _)| {
            let keep = *id != segment;
            if !keep {
                self.bytes.set(self.bytes.get() - span.bytes.len());
            }
            keep
        });
        self.aborted.borrow_mut().remove(&segment);
        if let Some((index, _)) = self.indexes.borrow_mut().remove(&segment) {
            self.index_entries.set(self.index_entries.get() - index.len());
        }
    }

    fn insert_index(&self, segment: u64, index: Rc<Vec<ChunkRecord>>) {
        let tick = self.tick();
        let mut indexes = self.indexes.borrow_mut();
        self.index_entries.set(self.index_entries.get() + index.len());
        if let Some((old, _)) = indexes.insert(segment, (index, tick)) {
            self.index_entries.set(self.index_entries.get() - old.len());
        }
        while self.index_entries.get() > INDEX_ENTRIES && indexes.len() > 1 {
            let oldest = indexes
                .iter()
                .min_by_key(|(_, (_, used))| *used)
                .map(|(id, _)| *id)
                .expect("not empty");
            if let Some((old, _)) = indexes.remove(&oldest) {
                self.index_entries.set(self.index_entries.get() - old.len());
            }
        }
    }
}

/// True if a segment is part of a log.
fn holds(partition: &Partition, segment_id: u64) -> bool {
    partition
        .state
        .borrow()
        .segments
        .iter()
        .any(|s| s.id == segment_id)
}

/// Changes whenever aborted transactions move between memory and footers.
fn spill_state(state: &LogState) -> (u64, u64) {
    let listed = state.segments.iter().map(|s| u64::from(s.footer_aborted));
    (state.swaps, listed.sum())
}

/// A search below or above the log's bounds.
#[derive(Clone, Copy)]
struct Visible {
    /// First offset wanted.
    from: i64,
    /// Offsets from here on are not visible.
    upto: i64,
}

/// Bytes of read-ahead while appends are on their way: the device serves one request after the other, and a group that
/// comes behind 1 MiB of old data waits for it.
const AHEAD_BESIDE_APPENDS: u32 = 256 << 10;

impl<E: Env> Core<E> {
    /// Reads of old data at once: one while appends are on their way.
    fn read_limit(&self) -> usize {
        match self.journal.borrow().is_busy() {
            true => 1,
            false => self.config.read_depth as usize,
        }
    }

    fn read_ahead_bytes(&self) -> u32 {
        match self.journal.borrow().is_busy() {
            true => self.config.read_ahead_bytes.min(AHEAD_BESIDE_APPENDS),
            false => self.config.read_ahead_bytes,
        }
    }

    /// Reads `len` bytes of a segment; tried once more after an error.
    async fn read_segment(
        &self,
        segment: &Segment,
        path: &str,
        at: u64,
        len: usize,
    ) -> Result<E::Buf, ReadError> {
        let _slot = self.reads.slots.acquire(self.read_limit()).await;
        let mut error = String::new();
        for _ in 0..2 {
            let result = match self.files.get(&self.env, segment.id, path, false).await {
                Ok(file) => file.read_at(at, len).await,
                Err(e) => Err(e),
            };
            match result {
                Ok(buf) => {
                    let mut counters = self.counters.borrow_mut();
                    counters.disk_reads += 1;
                    counters.disk_read_bytes += buf.bytes().len() as u64;
                    return Ok(buf);
                }
                Err(e) => error = e.to_string(),
            }
        }
        Err(ReadError::Device {
            path: path.to_owned(),
            error,
        })
    }

    fn path_of(&self, partition: &Partition, segment: &Segment) -> String {
        segment_path(&partition.id, segment.base_offset, segment.generation)
    }

    /// All chunks of a segment, oldest first.
    pub async fn chunk_index(
        &self,
        partition: &Partition,
        segment_id: u64,
    ) -> Result<Rc<Vec<ChunkRecord>>, ReadError> {
        let segment = {
            let state = partition.state.borrow();
            let Some(segment) = state.segments.iter().find(|s| s.id == segment_id) else {
                return Ok(Rc::default());
            };
            if let Some(index) = &segment.index {
                return Ok(Rc::new(index.clone()));
            }
            segment.bare()
        };
        if let Some((index, used)) = self.reads.indexes.borrow_mut().get_mut(&segment_id) {
            *used = self.reads.tick();
            // A segment still being written outgrows an index made earlier.
            if index
                .last()
                .is_none_or(|c| c.position + u64::from(c.len) == segment.end_position)
            {
                return Ok(index.clone());
            }
        }
        let path = self.path_of(partition, &segment);
        let index = match self.read_footer(&segment, &path).await {
            Some(footer) => footer.chunks,
            None => self.walk_chunks(&segment, &path).await?,
        };
        let index = Rc::new(index);
        self.reads.insert_index(segment_id, index.clone());
        Ok(index)
    }

    /// The footer of a sealed segment; none if it has none or it is damaged, in which case the chunks tell.
    async fn read_footer(&self, segment: &Segment, path: &str) -> Option<Footer> {
        if segment.footer_len == 0 {
            return None;
        }
        let buf = self
            .read_segment(segment, path, segment.end_position, segment.footer_len as usize)
            .await
            .ok()?;
        let bytes = buf.bytes().get(..segment.footer_len as usize)?;
        Footer::decode(bytes, segment.id, segment.end_position).ok()
    }

    /// The aborted transactions that a segment's footer lists.
    async fn footer_aborted(
        &self,
        partition: &Partition,
        segment: &Segment,
    ) -> Result<Rc<Vec<AbortedTxn>>, ReadError> {
        if let Some(known) = self.reads.aborted.borrow().get(&segment.id) {
            return Ok(known.clone());
        }
        let path = self.path_of(partition, segment);
        let Some(footer) = self.read_footer(segment, &path).await else {
            return Err(ReadError::Corrupt {
                path,
                position: segment.end_position,
                what: "footer with aborted transactions",
            });
        };
        let list: Rc<Vec<AbortedTxn>> = Rc::new(aborted_from(&footer.aborted));
        let mut kept = self.reads.aborted.borrow_mut();
        if kept.values().map(|l| l.len()).sum::<usize>() + list.len() > ABORTED_ENTRIES {
            kept.clear();
        }
        kept.insert(segment.id, list.clone());
        Ok(list)
    }

    /// See [`crate::Log::aborted_transactions_disk`].
    pub async fn all_aborted(
        &self,
        partition: &Rc<Partition>,
        from: i64,
        upto: i64,
    ) -> Result<Vec<AbortedTxn>, ReadError> {
        'again: loop {
            let (spilled, seen, start) = {
                let state = partition.state.borrow();
                let reach = |w: &[Segment]| w[0].footer_aborted > 0 && w[1].base_offset > from;
                let pairs = state.segments.windows(2).filter(|w| reach(w));
                let spilled: Vec<Segment> = pairs.map(|w| w[0].bare()).collect();
                (spilled, spill_state(&state), state.start)
            };
            let mut found = Vec::new();
            for segment in &spilled {
                let list = match self.footer_aborted(partition, segment).await {
                    Ok(list) => list,
                    Err(_) if !holds(partition, segment.id) => {
                        if partition.state.borrow().dropped {
                            return Err(ReadError::Dropped);
                        }
                        continue 'again;
                    }
                    Err(e) => return Err(e),
                };
                let there = list
                    .iter()
                    .filter(|a| a.last_offset >= from.max(start) && a.last_offset < segment.cut);
                found.extend(there.filter(|a| a.first_offset < upto).copied());
                if list.last().is_some_and(|a| a.last_stable_offset >= upto) {
                    break;
                }
            }
            let state = partition.state.borrow();
            // What memory held when the footers were looked for may be in one of them now.
            if spill_state(&state) != seen {
                continue;
            }
            found.extend(state.txns.overlapping(from, upto));
            found.sort_unstable_by_key(|a| (a.first_offset, a.last_offset));
            found.dedup();
            return Ok(found);
        }
    }

    /// Reads the chunk headers of a segment one after the other.
    async fn walk_chunks(&self, segment: &Segment, path: &str) -> Result<Vec<ChunkRecord>, ReadError> {
        let corrupt = |position, what| ReadError::Corrupt {
            path: path.to_owned(),
            position,
            what,
        };
        let mut chunks = Vec::new();
        let mut at = FIRST_CHUNK;
        let mut chain = 0;
        while at < segment.end_position {
            let buf = self.read_segment(segment, path, at, ALIGN).await?;
            let (header, crc) =
                ChunkHeader::read(buf.bytes(), segment.id, at).map_err(|e| corrupt(at, e.0))?;
            if header.chunk_seq as usize != chunks.len() || header.prev_chunk_crc != chain {
                return Err(corrupt(at, "chunk chain broken"));
            }
            chain = crc;
            chunks.push(ChunkRecord {
                position: at,
                len: header.total_len,
                leader_epoch: header.leader_epoch,
                base_offset: header.base_offset,
                last_offset: header.last_offset,
                max_timestamp: header.max_timestamp,
            });
            at += u64::from(header.total_len);
        }
        Ok(chunks)
    }

    /// The first chunk of a segment that reaches `offset`.
    async fn chunk_for(
        &self,
        partition: &Partition,
        segment: &Segment,
        offset: i64,
    ) -> Result<Option<ChunkRecord>, ReadError> {
        let find = |index: &[ChunkRecord]| {
            index
                .get(index.partition_point(|c| c.last_offset < offset))
                .copied()
        };
        {
            let state = partition.state.borrow();
            if let Some(index) = state
                .segments
                .iter()
                .find(|s| s.id == segment.id)
                .and_then(|s| s.index.as_ref())
            {
                return Ok(find(index));
            }
        }
        Ok(find(&self.chunk_index(partition, segment.id).await?))
    }

    /// The span that begins with, or holds, a chunk: cached, being read ahead, or read now.
    async fn span(
        self: &Rc<Self>,
        segment: &Segment,
        path: &str,
        chunk: &ChunkRecord,
    ) -> Result<Rc<Span>, ReadError> {
        loop {
            if let Some(span) = self.reads.find(segment.id, chunk.position) {
                return Ok(span);
            }
            let seen = self.reads.ahead_done.version();
            if !self.reads.ahead.borrow().contains(&(segment.id, chunk.position)) {
                break;
            }
            self.reads.ahead_done.changed(seen).await;
        }
        let ahead = self.read_ahead_bytes();
        let span = Rc::new(
            self.read_span(segment, path, chunk.position, chunk.len, ahead)
                .await?,
        );
        self.reads.insert(segment.id, span.clone());
        Ok(span)
    }

    /// Reads and checks whole chunks from one on, about `bytes` in all, past all caches. Returns the batches of each, and
    /// the bytes read.
    pub async fn read_chunks(
        &self,
        segment: &Segment,
        path: &str,
        chunk: &ChunkRecord,
        bytes: usize,
    ) -> Result<(Vec<Bytes>, u64), ReadError> {
        let ahead = bytes.min(u32::MAX as usize) as u32 / ALIGN as u32 * ALIGN as u32;
        let span = self
            .read_span(segment, path, chunk.position, chunk.len, ahead)
            .await?;
        let runs = span.chunks.iter().map(|c| span.parts(c).1).collect();
        Ok((runs, span.bytes.len() as u64))
    }

    /// Reads and checks chunks from `position` on, at least one: `first` bytes, or `ahead` if that is more.
    async fn read_span(
        &self,
        segment: &Segment,
        path: &str,
        position: u64,
        first: u32,
        ahead: u32,
    ) -> Result<Span, ReadError> {
        let left = segment.end_position.saturating_sub(position);
        let len = u64::from(first.max(ahead)).min(left) as usize;
        let mut failed = "";
        for _ in 0..2 {
            let buf = self.read_segment(segment, path, position, len).await?;
            let bytes = buf.bytes();
            let mut chunks = Vec::new();
            let mut at = 0;
            while at < bytes.len() {
                let checked = ChunkHeader::read(&bytes[at..], segment.id, position + at as u64).and_then(
                    |(header, _)| match header.check_body(&bytes[at..]) {
                        Err(e) if !self.faults.no_chunk_crc => Err(e),
                        _ => Ok(header),
                    },
                );
                match checked {
                    Ok(header) => {
                        at += header.total_len as usize;
                        chunks.push(header);
                    }
                    Err(e) => {
                        // A later chunk may only be cut short by the span's end; it is judged when it is asked for.
                        failed = e.0;
                        break;
                    }
                }
            }
            if !chunks.is_empty() {
                return Ok(Span {
                    position,
                    bytes: Bytes::copy_from_slice(&bytes[..at]),
                    chunks,
                });
            }
        }
        self.counters.borrow_mut().corrupt_chunks += 1;
        Err(ReadError::Corrupt {
            path: path.to_owned(),
            position,
            what: failed,
        })
    }

    /// Starts reading what follows `span`, if a consumer is about to need it.
    fn read_ahead(self: &Rc<Self>, partition: &Rc<Partition>, segment: &Segment, span: &Span) {
        let next = span.end();
        let wanted = next < segment.end_position
            && self.reads.ahead.borrow().len() < self.config.read_depth as usize
            && !self.reads.ahead.borrow().contains(&(segment.id, next))
            && self.reads.find(segment.id, next).is_none();
        if !wanted || !self.running() {
            return;
        }
        self.reads.ahead.borrow_mut().push((segment.id, next));
        let (core, segment) = (self.clone(), segment.bare());
        let path = self.path_of(partition, &segment);
        self.spawn(Class::Background, async move {
            let ahead = core.read_ahead_bytes();
            if let Ok(span) = core.read_span(&segment, &path, next, 0, ahead).await {
                core.reads.insert(segment.id, Rc::new(span));
            }
            core.reads.ahead.borrow_mut().retain(|&a| a != (segment.id, next));
            core.reads.ahead_done.notify();
        });
    }

    /// See [`crate::Log::read_disk`].
    pub async fn read_disk(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
        offset: i64,
        max_bytes: usize,
        upto: i64,
        at_least_one: bool,
    ) -> Result<Vec<Bytes>, ReadError> {
        let mut parts: Vec<Bytes> = Vec::new();
        let mut left = max_bytes;
        let mut at = offset;
        loop {
            let first = at_least_one && parts.is_empty();
            let (segment, next_base) = {
                let state = partition.state.borrow();
                if let Err(e) = check_range(&state, at) {
                    return if parts.is_empty() { Err(e) } else { Ok(parts) };
                }
                if at >= upto.min(state.end) {
                    return Ok(parts);
                }
                if let Some(more) = state.tail.read(at, left, upto, first) {
                    parts.extend(more);
                    return Ok(parts);
                }
                let Some(i) = state.segments.iter().rposition(|s| s.base_offset <= at) else {
                    return Ok(parts);
                };
                let next = state.segments.get(i + 1).map(|s| s.base_offset);
                // Behind a gap in a segment, memory may go on.
                let memory = state.tail.base_offset().filter(|&base| base > at);
                (
                    state.segments[i].bare(),
                    [next, memory].into_iter().flatten().min(),
                )
            };
            let chunk = if segment.end_position > 0 && at < segment.cut {
                self.chunk_for(partition, &segment, at).await
            } else {
                Ok(None)
            };
            // It may have been replaced while its index was read.
            if !holds(partition, segment.id) && check_range(&partition.state.borrow(), at).is_ok() {
                continue;
            }
            let chunk = match chunk {
                Ok(chunk) => chunk,
                // The segment may have been removed while it was read.
                Err(e) => match check_range(&partition.state.borrow(), at) {
                    Err(gone) if parts.is_empty() => return Err(gone),
                    _ if parts.is_empty() => return Err(e),
                    _ => return Ok(parts),
                },
            };
            let Some(chunk) = chunk else {
                match next_base {
                    Some(next) => at = next,
                    None => return Ok(parts),
                }
                continue;
            };
            let path = self.path_of(partition, &segment);
            let span = match self.span(&segment, &path, &chunk).await {
                Ok(span) => span,
                Err(_)
                    if !holds(partition, segment.id)
                        && check_range(&partition.state.borrow(), at).is_ok() =>
                {
                    continue;
                }
                // The segment may have been removed while it was read.
                Err(e) => match check_range(&partition.state.borrow(), at) {
                    Err(gone) if parts.is_empty() => return Err(gone),
                    _ if parts.is_empty() => return Err(e),
                    _ => return Ok(parts),
                },
            };
            let Some(header) = span.chunk_at(chunk.position) else {
                return Ok(parts);
            };
            let (dir, data) = span.parts(header);
            let visible = upto.min(segment.cut);
            let range = select(
                &data,
                dir.into_iter(),
                header.base_offset,
                at,
                left,
                visible,
                first,
            );
            let used = (header.file_pos - span.position) as usize + header.data_off as usize + range.end;
            if used >= span.bytes.len() / 2 {
                self.read_ahead(partition, &segment, &span);
            }
            if range.is_empty() {
                let limited = walk(&data, 0).any(|s| s.last_offset >= at && s.last_offset < visible);
                if limited || header.last_offset >= upto {
                    return Ok(parts);
                }
                at = header.last_offset.min(segment.cut - 1) + 1;
                continue;
            }
            left = left.saturating_sub(range.len());
            // What the cut hides does not count as left over.
            let complete = walk(&data, range.end)
                .next()
                .is_none_or(|s| s.last_offset >= segment.cut);
            parts.push(data.slice(range));
            if !complete || left == 0 {
                return Ok(parts);
            }
            at = header.last_offset.min(segment.cut - 1) + 1;
        }
    }

    /// Segments with files, and the first offset in memory.
    fn searchable(&self, partition: &Partition) -> Result<(Vec<Segment>, i64, i64), ReadError> {
        let state = partition.state.borrow();
        if state.dropped {
            return Err(ReadError::Dropped);
        }
        let segments = state
            .segments
            .iter()
            .filter(|s| s.end_position > 0)
            .map(Segment::bare)
            .collect();
        Ok((
            segments,
            state.start,
            state.tail.base_offset().unwrap_or(i64::MAX),
        ))
    }

    /// The first batch of a chunk that is visible and reaches `timestamp`.
    async fn find_in_chunk(
        self: &Rc<Self>,
        segment: &Segment,
        path: &str,
        chunk: &ChunkRecord,
        visible: Visible,
        timestamp: i64,
    ) -> Result<Option<Bytes>, ReadError> {
        let span = self.span(segment, path, chunk).await?;
        let Some(header) = span.chunk_at(chunk.position) else {
            return Ok(None);
        };
        let (dir, data) = span.parts(header);
        let start = dir
            .iter()
            .find(|e| e.max_timestamp >= timestamp)
            .map_or(0, |e| e.pos as usize);
        let mut steps = walk(&data, start).skip_while(|s| s.last_offset < visible.from);
        let found = steps.find(|s| s.last_offset >= visible.upto || s.max_timestamp >= timestamp);
        Ok(found
            .filter(|s| s.last_offset < visible.upto)
            .map(|s| data.slice(s.start..s.end)))
    }

    /// See [`crate::Log::offset_for_timestamp`].
    pub async fn find_timestamp(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
        timestamp: i64,
        from: i64,
    ) -> Result<Option<Bytes>, ReadError> {
        'again: loop {
            let (segments, start, memory) = self.searchable(partition)?;
            let start = start.max(from);
            for segment in segments.iter().filter(|s| s.drained.max_timestamp >= timestamp) {
                if segment.base_offset >= memory {
                    break;
                }
                let found = self
                    .find_in_segment(partition, segment, start, memory, timestamp)
                    .await;
                match found {
                    Ok(Some(batch)) => return Ok(Some(batch)),
                    // It was replaced or removed while it was looked at.
                    _ if !holds(partition, segment.id) => continue 'again,
                    Ok(None) => {}
                    Err(e) => return Err(e),
                }
            }
            let state = partition.state.borrow();
            if state.tail.base_offset().unwrap_or(i64::MAX) == memory {
                return Ok(state.tail.find_timestamp(state.start.max(from), timestamp));
            }
            // Memory was evicted meanwhile; what it held is on disk now.
        }
    }

    /// The first batch of a segment between `start` and `memory` that reaches `timestamp`.
    async fn find_in_segment(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
        segment: &Segment,
        start: i64,
        memory: i64,
        timestamp: i64,
    ) -> Result<Option<Bytes>, ReadError> {
        let path = self.path_of(partition, segment);
        let index = self.chunk_index(partition, segment.id).await?;
        let visible = Visible {
            from: start,
            upto: segment.cut.min(memory),
        };
        for chunk in index.iter() {
            let outside = chunk.last_offset < start || chunk.base_offset >= visible.upto;
            if outside || chunk.max_timestamp < timestamp {
                continue;
            }
            let found = self
                .find_in_chunk(segment, &path, chunk, visible, timestamp)
                .await?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The largest timestamp of a visible batch on disk below `memory`.
    async fn max_on_disk(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
        segment: &Segment,
        start: i64,
        memory: i64,
    ) -> Result<i64, ReadError> {
        let upto = segment.cut.min(memory);
        let whole = segment.base_offset >= start && segment.drained.end_offset <= upto;
        if whole && segment.cut == i64::MAX {
            return Ok(segment.drained.max_timestamp);
        }
        let path = self.path_of(partition, segment);
        let index = self.chunk_index(partition, segment.id).await?;
        let mut max = i64::MIN;
        for chunk in index
            .iter()
            .filter(|c| c.last_offset >= start && c.base_offset < upto)
        {
            if chunk.base_offset >= start && chunk.last_offset < upto {
                max = max.max(chunk.max_timestamp);
                continue;
            }
            let span = self.span(segment, &path, chunk).await?;
            let Some(header) = span.chunk_at(chunk.position) else {
                continue;
            };
            let (_, data) = span.parts(header);
            let inside = walk(&data, 0).filter(|s| s.last_offset >= start && s.last_offset < upto);
            max = inside.map(|s| s.max_timestamp).fold(max, i64::max);
        }
        Ok(max)
    }

    /// See [`crate::Log::max_timestamp_batch`].
    pub async fn find_max_timestamp(
        self: &Rc<Self>,
        partition: &Rc<Partition>,
    ) -> Result<Option<Bytes>, ReadError> {
        'again: loop {
            let (segments, start, memory) = self.searchable(partition)?;
            let mut max = i64::MIN;
            for segment in segments.iter().filter(|s| s.base_offset < memory) {
                let found = self.max_on_disk(partition, segment, start, memory).await;
                if !holds(partition, segment.id) {
                    continue 'again;
                }
                max = max.max(found?);
            }
            {
                let state = partition.state.borrow();
                if state.tail.base_offset().unwrap_or(i64::MAX) != memory || state.start != start {
                    continue;
                }
                max = max.max(state.tail.max_timestamp(start));
            }
            if max == i64::MIN {
                return Ok(None);
            }
            return self.find_timestamp(partition, max, 0).await;
        }
    }
}
