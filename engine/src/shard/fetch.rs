//! Fetch: reading committed batches, and waiting for them.
//!
//! If one core owns everything that a request asks for, that core runs the whole long poll. Otherwise the
//! connection's core reads from all owners, and while there is too little it asks each to watch.

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use turgo_net::ErrorCode;
use turgo_storage::AbortedTxn;
use turgo_storage::PartitionId;
use turgo_storage::ReadError;
use turgo_storage::ReadOutcome;
use turgo_storage::env::{Class, Env};

use crate::shard::Shard;
use crate::shard::ops::{Answer, FetchOp, Fetched, Op, PartFetch};
use crate::shard::partition::Partition;
use crate::sync::Event;

/// Removes an event from the partitions it watches when the wait is over.
struct Watching<E: Env> {
    /// With the end of what may be read and the high watermark, as they were when the wait began.
    partitions: Vec<(Rc<Partition<E>>, (i64, i64))>,
    read_committed: bool,
    /// Something had moved already.
    late: bool,
    event: Rc<Event>,
}

impl<E: Env> Watching<E> {
    fn moved(&self) -> bool {
        self.late
            || self.partitions.iter().any(|(partition, known)| {
                let end = partition.readable_end(self.read_committed);
                (end, partition.high_watermark()) != *known
            })
    }
}

impl<E: Env> Drop for Watching<E> {
    fn drop(&mut self) {
        for (partition, _) in &self.partitions {
            partition.unwatch(&self.event);
        }
    }
}

impl<E: Env> Shard<E> {
    /// Serves a Fetch over any number of cores. Answers are in request order.
    pub async fn fetch(self: &Rc<Self>, op: FetchOp) -> Vec<Fetched> {
        let mut by_core: Vec<Vec<PartFetch>> = Vec::new();
        by_core.resize_with(self.cores, Vec::new);
        for part in &op.parts {
            by_core[self.owner(&part.id)].push(part.clone());
        }
        let owners: Vec<usize> = (0..self.cores)
            .filter(|core| !by_core[*core].is_empty())
            .collect();
        if let [owner] = owners[..] {
            let slots: Vec<u32> = op.parts.iter().map(|p| p.slot).collect();
            return match self.call(owner, Op::Fetch(op)).await {
                Some(Answer::Fetched(results)) => results,
                _ => slots
                    .iter()
                    .map(|s| Fetched::error(*s, ErrorCode::NOT_LEADER_OR_FOLLOWER))
                    .collect(),
            };
        }
        loop {
            let waits: Vec<_> = owners
                .iter()
                .filter(|core| **core != self.index)
                .map(|core| {
                    self.submit(
                        *core,
                        Op::Fetch(FetchOp {
                            parts: by_core[*core].clone(),
                            min_bytes: 0,
                            deadline_ms: 0,
                            ..op_terms(&op)
                        }),
                    )
                })
                .collect();
            let mut results = Vec::with_capacity(op.parts.len());
            if owners.contains(&self.index) {
                let terms = op_terms(&op);
                results.extend(self.read_all(&by_core[self.index], &terms).await);
            }
            for wait in waits {
                if let Some(Answer::Fetched(more)) = wait.await {
                    results.extend(more);
                }
            }
            results.sort_by_key(|r| r.slot);
            clip(&mut results, &op.parts, op.max_bytes);
            if enough(&results, op.min_bytes) || self.now_ms() >= op.deadline_ms || self.stopping.get() {
                return results;
            }
            let moved = self.watch_everywhere(&op, &results, &owners).await;
            if !moved && self.now_ms() >= op.deadline_ms {
                return results;
            }
        }
    }

    /// False if nothing is known to have moved until the deadline.
    async fn watch_everywhere(self: &Rc<Self>, op: &FetchOp, seen: &[Fetched], owners: &[usize]) -> bool {
        let event = Rc::new(Event::default());
        let elsewhere = Rc::new(Cell::new(false));
        let _timer = self.timers.arm(op.deadline_ms, event.clone());
        let mut local = Vec::new();
        for core in owners {
            let parts: Vec<(PartitionId, i64)> = op
                .parts
                .iter()
                .zip(seen)
                .filter(|(part, _)| self.owner(&part.id) == *core)
                .map(|(part, seen)| (part.id, mark(seen, op.read_committed)))
                .collect();
            if *core == self.index {
                local = parts;
            } else {
                let wait = self.submit(
                    *core,
                    Op::Watch {
                        parts,
                        read_committed: op.read_committed,
                        deadline_ms: op.deadline_ms,
                    },
                );
                let (event, elsewhere) = (event.clone(), elsewhere.clone());
                self.env.spawn(Class::Journal, async move {
                    if !matches!(wait.await, Some(Answer::Watched { moved: false })) {
                        elsewhere.set(true);
                    }
                    event.raise();
                });
            }
        }
        let watching = self.start_watching(&local, op.read_committed, event.clone());
        event.wait().await;
        watching.moved() || elsewhere.get()
    }

    /// Registers `event`; raises it at once if a mark is not the known one any more.
    fn start_watching(
        &self,
        parts: &[(PartitionId, i64)],
        read_committed: bool,
        event: Rc<Event>,
    ) -> Watching<E> {
        let mut watching = Watching {
            partitions: Vec::with_capacity(parts.len()),
            read_committed,
            late: false,
            event,
        };
        for (id, known) in parts {
            match self.partition(id) {
                Some(partition) if partition.readable_end(read_committed) == *known => {
                    partition.watch(&watching.event);
                    let marks = (*known, partition.high_watermark());
                    watching.partitions.push((partition, marks));
                }
                _ => {
                    watching.late = true;
                    watching.event.raise();
                }
            }
        }
        watching
    }

    /// Waits for any of these to move, or for the deadline; false if nothing moved.
    pub(crate) async fn watch_owned(
        &self,
        parts: &[(PartitionId, i64)],
        read_committed: bool,
        deadline_ms: u64,
    ) -> bool {
        let event = Rc::new(Event::default());
        let _timer = self.timers.arm(deadline_ms, event.clone());
        let watching = self.start_watching(parts, read_committed, event.clone());
        event.wait().await;
        watching.moved()
    }

    /// The long poll over partitions of this core.
    pub(crate) async fn fetch_owned(&self, op: FetchOp) -> Vec<Fetched> {
        loop {
            let results = self.read_all(&op.parts, &op).await;
            if enough(&results, op.min_bytes) || self.now_ms() >= op.deadline_ms || self.stopping.get() {
                return results;
            }
            let known: Vec<_> = op
                .parts
                .iter()
                .zip(&results)
                .map(|(part, seen)| (part.id, mark(seen, op.read_committed)))
                .collect();
            let moved = self.watch_owned(&known, op.read_committed, op.deadline_ms).await;
            // Nothing came: what was read when the wait began is the answer.
            if !moved && self.now_ms() >= op.deadline_ms {
                return results;
            }
        }
    }

    async fn read_all(&self, parts: &[PartFetch], terms: &FetchOp) -> Vec<Fetched> {
        let mut left = terms.max_bytes;
        let mut first = true;
        let mut results = Vec::with_capacity(parts.len());
        for part in parts {
            let fetched = self.read_one(part, left, first, terms).await;
            let bytes = fetched.bytes();
            if bytes > 0 {
                first = false;
                left = left.saturating_sub(bytes);
                self.stats.fetched_bytes.add(bytes as u64);
            }
            results.push(fetched);
        }
        results
    }

    /// `first`: nothing was read yet, so one batch is returned whatever its size (KIP-74).
    async fn read_one(&self, part: &PartFetch, left: usize, first: bool, terms: &FetchOp) -> Fetched {
        let Some(partition) = self.partition(&part.id) else {
            return Fetched::error(part.slot, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        };
        // As in Kafka, an error comes without marks.
        let answer = |error: ErrorCode| match error {
            ErrorCode::NONE => Fetched {
                high_watermark: partition.high_watermark(),
                last_stable: partition.last_stable_offset(),
                log_start: partition.log.start_offset(),
                ..Fetched::error(part.slot, error)
            },
            error => Fetched::error(part.slot, error),
        };
        if let Some(error) = fenced(part.leader_epoch, partition.leader_epoch.get()) {
            return answer(error);
        }
        if terms.no_zstd && partition.settings().zstd {
            return answer(ErrorCode::UNSUPPORTED_COMPRESSION_TYPE);
        }
        if part.last_epoch >= 0 {
            let (epoch, end) = partition.epoch_end(part.last_epoch);
            // An epoch that this log has not seen yet says nothing about where the logs part.
            if epoch < 0 || end < 0 {
                return answer(ErrorCode::OFFSET_OUT_OF_RANGE);
            }
            if epoch < part.last_epoch || end < part.offset {
                return Fetched {
                    diverging: Some((epoch, end)),
                    ..answer(ErrorCode::NONE)
                };
            }
        }
        let log = &partition.log;
        if part.offset < log.start_offset() || part.offset > log.end_offset() {
            return answer(ErrorCode::OFFSET_OUT_OF_RANGE);
        }
        let upto = partition.readable_end(terms.read_committed);
        let max = part.max_bytes.min(left);
        if part.offset >= upto || (max == 0 && !first) {
            return answer(ErrorCode::NONE);
        }
        let read = loop {
            let swaps = log.swaps();
            let read = match log.read(part.offset, max, upto, first) {
                Ok(ReadOutcome::Ready(chunks)) => Ok((chunks, false)),
                Ok(ReadOutcome::Disk) => {
                    self.stats.disk_fetches.add(1);
                    let read = log.read_disk(part.offset, max, upto, first).await;
                    read.map(|chunks| (chunks, true))
                }
                Err(error) => Err(error),
            };
            let known = match &read {
                Ok((chunks, disk)) if terms.read_committed && !chunks.is_empty() => {
                    if *disk {
                        log.aborted_transactions_disk(part.offset, upto).await
                    } else {
                        Ok(log.aborted_transactions(part.offset, upto))
                    }
                }
                _ => Ok(Vec::new()),
            };
            // Records of before a compaction and the index of after it do not go together.
            if terms.read_committed && log.swaps() != swaps {
                continue;
            }
            break read.and_then(|(chunks, _)| known.map(|known| (chunks, known)));
        };
        match read {
            // Marks are taken after the read: a disk read may have taken a while.
            Ok((chunks, known)) => Fetched {
                aborted: aborted(known, upto, &chunks),
                chunks,
                ..answer(ErrorCode::NONE)
            },
            Err(error) => answer(read_error(&error)),
        }
    }
}

/// FENCED_LEADER_EPOCH or UNKNOWN_LEADER_EPOCH if the client's idea of the epoch is not ours (KIP-320).
pub(crate) fn fenced(client: i32, ours: i32) -> Option<ErrorCode> {
    match client {
        epoch if epoch < 0 => None,
        epoch if epoch < ours => Some(ErrorCode::FENCED_LEADER_EPOCH),
        epoch if epoch > ours => Some(ErrorCode::UNKNOWN_LEADER_EPOCH),
        _ => None,
    }
}

pub(crate) fn read_error(error: &ReadError) -> ErrorCode {
    match error {
        ReadError::OutOfRange { .. } => ErrorCode::OFFSET_OUT_OF_RANGE,
        ReadError::Corrupt { .. } | ReadError::Device { .. } => ErrorCode::KAFKA_STORAGE_ERROR,
        ReadError::Dropped => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
    }
}

fn op_terms(op: &FetchOp) -> FetchOp {
    FetchOp {
        parts: Vec::new(),
        max_bytes: op.max_bytes,
        min_bytes: op.min_bytes,
        deadline_ms: op.deadline_ms,
        no_zstd: op.no_zstd,
        read_committed: op.read_committed,
    }
}

/// The end that a reader saw and waits beyond.
fn mark(seen: &Fetched, read_committed: bool) -> i64 {
    if read_committed {
        seen.last_stable
    } else {
        seen.high_watermark
    }
}

/// Of the aborted transactions known, those among the batches that were read: producer id and first offset.
fn aborted(known: Vec<AbortedTxn>, upto: i64, chunks: &[Bytes]) -> Vec<(i64, i64)> {
    if known.is_empty() {
        return Vec::new();
    }
    // The index may go far beyond what one answer holds.
    let end = chunks.last().and_then(|chunk| end_of(chunk)).unwrap_or(upto);
    known
        .into_iter()
        .filter(|txn| txn.first_offset < end)
        .map(|txn| (txn.producer_id, txn.first_offset))
        .collect()
}

/// Offset behind the last of the whole batches in `chunk`, by their headers alone.
fn end_of(chunk: &[u8]) -> Option<i64> {
    let (mut rest, mut end) = (chunk, None);
    while let Ok(header) = turgo_storage::BatchHeader::parse(rest) {
        end = Some(header.last_offset() + 1);
        rest = rest.get(header.bytes..)?;
    }
    end
}

/// True if the answer should not wait any longer.
fn enough(results: &[Fetched], min_bytes: usize) -> bool {
    let bytes: usize = results.iter().map(Fetched::bytes).sum();
    bytes >= min_bytes
        || results
            .iter()
            .any(|r| !r.error.is_none() || r.diverging.is_some())
}

/// Every core read up to the ceiling and gave its first partition a batch whatever its size: keep whole partitions in
/// request order up to the ceiling and each partition's own, and the first in any case. Both slices are in request
/// order; `results` may lack partitions.
fn clip(results: &mut [Fetched], parts: &[PartFetch], max_bytes: usize) {
    let mut total = 0;
    let mut parts = parts.iter();
    for result in results {
        let own = parts.find(|p| p.slot == result.slot).map_or(0, |p| p.max_bytes);
        let bytes = result.bytes();
        if total > 0 && (bytes > own || total + bytes > max_bytes) {
            result.chunks.clear();
            result.aborted.clear();
        } else {
            total += bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(slot: u32, bytes: usize) -> Fetched {
        Fetched {
            chunks: vec![Bytes::from(vec![0; bytes])],
            ..Fetched::error(slot, ErrorCode::NONE)
        }
    }

    fn wanting(max_bytes: [usize; 4]) -> Vec<PartFetch> {
        let id = PartitionId {
            topic: [1; 16],
            partition: 0,
        };
        let part = |(slot, max_bytes)| PartFetch {
            slot: slot as u32,
            id,
            offset: 0,
            max_bytes,
            leader_epoch: -1,
            last_epoch: -1,
        };
        max_bytes.into_iter().enumerate().map(part).collect()
    }

    #[test]
    fn clip_keeps_the_first_partition_whole_and_drops_what_exceeds() {
        let mut results = vec![with(0, 0), with(1, 100), with(2, 50), with(3, 10)];
        clip(&mut results, &wanting([100; 4]), 60);
        assert_eq!(
            results.iter().map(Fetched::bytes).collect::<Vec<_>>(),
            [0, 100, 0, 0]
        );
    }

    #[test]
    fn clip_lets_only_the_first_batch_exceed_its_partitions_limit() {
        let mut results = vec![with(0, 0), with(1, 100), with(2, 100), with(3, 10)];
        clip(&mut results, &wanting([1, 1, 1, 10]), 1 << 20);
        assert_eq!(
            results.iter().map(Fetched::bytes).collect::<Vec<_>>(),
            [0, 100, 0, 10]
        );
    }

    #[test]
    fn an_error_ends_the_wait() {
        assert!(!enough(&[with(0, 0)], 1));
        assert!(enough(
            &[with(0, 0), Fetched::error(1, ErrorCode::OFFSET_OUT_OF_RANGE)],
            1
        ));
        assert!(enough(&[with(0, 1)], 1));
    }

    #[test]
    fn epochs_fence_both_ways() {
        assert_eq!(fenced(-1, 3), None);
        assert_eq!(fenced(-2, 3), None);
        assert_eq!(fenced(3, 3), None);
        assert_eq!(fenced(2, 3), Some(ErrorCode::FENCED_LEADER_EPOCH));
        assert_eq!(fenced(4, 3), Some(ErrorCode::UNKNOWN_LEADER_EPOCH));
    }
}
