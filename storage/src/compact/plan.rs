//! What the cleaner may and should do with a log: a pure view of its segments.
//!
//! The rules are Kafka 4.3's: only sealed segments whose records are all decided, durable and older than
//! `min.compaction.lag.ms`; a log is due when more than `min.cleanable.dirty.ratio` of it is dirty, or when a dirty
//! record is older than `max.compaction.lag.ms`.

use crate::core::{LogState, Segment};

/// What can be cleaned in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cleanable {
    /// First dirty offset.
    pub from: i64,
    /// Offset after the last that may be touched: where a segment begins.
    pub upto: i64,
    /// Segments from the oldest that lie below `upto`.
    pub segments: usize,
    /// Dirty bytes of all bytes below `upto`, in millionths.
    pub ratio_ppm: u32,
    /// A dirty record is older than `max.compaction.lag.ms`.
    pub overdue: bool,
}

impl Cleanable {
    /// True if the log's settings ask for a pass now.
    pub fn due(&self, min_ratio_ppm: u32) -> bool {
        self.overdue || self.ratio_ppm > min_ratio_ppm
    }
}

/// What can be cleaned in a log now; none if nothing can. `drained`: what is in memory alone cannot; without, it says what
/// could be if it were drained. `beyond_stable` breaks the rule of decided records.
pub(crate) fn cleanable(
    state: &LogState,
    now_ms: i64,
    drained: bool,
    beyond_stable: bool,
) -> Option<Cleanable> {
    if state.dropped || state.uncleanable {
        return None;
    }
    let settings = &state.settings;
    let from = state.clean_offset.max(state.start);
    let stable = match state.first_unstable_offset() {
        Some(offset) if !beyond_stable => offset.min(state.durable_end),
        _ => state.durable_end,
    };
    // What is in memory alone cannot be cleaned: its segment and all later ones wait.
    let first_dirty = state.tail.dirty().next().filter(|_| drained);
    let dirty_at = first_dirty.map_or(usize::MAX, |slab| {
        let holds = |s: &Segment| s.base_offset <= slab.base_offset;
        state.segments.iter().rposition(holds).unwrap_or(0)
    });
    let sealed = (state.segments.len() - 1).min(dirty_at);
    let (mut segments, mut clean, mut dirty, mut overdue) = (0, 0_u64, 0_u64, false);
    for (at, segment) in state.segments[..sealed].iter().enumerate() {
        let next = state.segments[at + 1].base_offset;
        let whole = segment.drained.end_offset == segment.total.end_offset
            && segment.drained.batches == segment.total.batches;
        if (drained && !whole) || next > stable {
            break;
        }
        if next > from {
            let lag = settings.min_compaction_lag_ms;
            let newest = segment.total.max_timestamp;
            if lag > 0 && segment.total.batches > 0 && newest > now_ms.saturating_sub(lag) {
                break;
            }
            dirty += segment.total.bytes;
            let oldest = segment.first_timestamp;
            overdue |= segment.total.batches > 0
                && oldest > 0
                && oldest < now_ms.saturating_sub(settings.max_compaction_lag_ms);
        } else {
            clean += segment.total.bytes;
        }
        segments = at + 1;
    }
    if dirty == 0 {
        return None;
    }
    Some(Cleanable {
        from,
        upto: state.segments[segments].base_offset,
        segments,
        ratio_ppm: (dirty as u128 * 1_000_000 / (clean + dirty) as u128) as u32,
        overdue,
    })
}

/// How many of `segments`, from the first, become one: as many as fit into `limit` bytes, at most `most`, at least one.
/// `end` is the offset after the last.
pub(crate) fn group(segments: &[Segment], end: i64, limit: u64, most: usize) -> usize {
    let mut bytes = segments[0].total.bytes;
    let mut count = 1;
    while count < segments.len().min(most) {
        let next = &segments[count];
        let after = segments.get(count + 1).map_or(end, |s| s.base_offset);
        let near = next.total.batches == 0 || after - segments[0].base_offset <= i64::from(i32::MAX);
        if bytes + next.total.bytes > limit || !near {
            break;
        }
        bytes += next.total.bytes;
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{LogSettings, PartitionId};
    use crate::core::Partition;

    /// Sealed segments of 10 offsets and these bytes each, stamped with their base offset, and an empty active one.
    fn log(bytes: &[u64]) -> Partition {
        let id = PartitionId {
            topic: [1; 16],
            partition: 0,
        };
        let settings = LogSettings {
            compact: true,
            ..LogSettings::default()
        };
        let partition = Partition::new(id, 1, settings);
        {
            let mut state = partition.state.borrow_mut();
            for (n, &bytes) in bytes.iter().enumerate() {
                let base = n as i64 * 10;
                let mut segment = Segment::new(n as u64 + 1, base, 0);
                segment.total.add(base + 10, bytes, 1, base + 1);
                segment.drained = segment.total;
                segment.first_timestamp = base + 1;
                state.segments.push(segment);
            }
            let end = bytes.len() as i64 * 10;
            state.segments.push(Segment::new(99, end, 0));
            (state.end, state.durable_end) = (end, end);
        }
        partition
    }

    #[test]
    fn the_dirty_share_counts_sealed_segments_from_the_first_dirty_offset() {
        let log = log(&[100, 100, 200]);
        let mut state = log.state.borrow_mut();
        let all = cleanable(&state, 1000, true, false).expect("all is dirty");
        assert_eq!(
            (all.from, all.upto, all.segments, all.ratio_ppm),
            (0, 30, 3, 1_000_000)
        );
        state.clean_offset = 20;
        let half = cleanable(&state, 1000, true, false).expect("one is dirty");
        assert_eq!(
            (half.from, half.upto, half.segments, half.ratio_ppm),
            (20, 30, 3, 500_000)
        );
        assert!(half.due(499_999) && !half.due(500_000));
        state.clean_offset = 30;
        assert_eq!(cleanable(&state, 1000, true, false), None);
    }

    #[test]
    fn what_is_undecided_young_or_not_drained_waits() {
        let log = log(&[100, 100, 200]);
        let mut state = log.state.borrow_mut();
        state.durable_end = 25;
        assert_eq!(cleanable(&state, 1000, true, false).map(|c| c.upto), Some(20));
        state.unsettled.push_back((15, 26));
        assert_eq!(cleanable(&state, 1000, true, false).map(|c| c.upto), Some(10));
        assert_eq!(cleanable(&state, 1000, true, true).map(|c| c.upto), Some(20));
        state.unsettled.clear();
        state.durable_end = 30;
        state.settings.min_compaction_lag_ms = 990;
        assert_eq!(cleanable(&state, 1000, true, false).map(|c| c.upto), Some(10));
        state.settings.min_compaction_lag_ms = 0;
        state.segments[0].drained.batches = 0;
        assert_eq!(cleanable(&state, 1000, true, false), None);
        assert_eq!(cleanable(&state, 1000, false, false).map(|c| c.upto), Some(30));
    }

    #[test]
    fn an_old_dirty_record_makes_a_log_overdue() {
        let log = log(&[100, 100]);
        let mut state = log.state.borrow_mut();
        state.settings.max_compaction_lag_ms = 500;
        assert!(!cleanable(&state, 500, true, false).expect("dirty").overdue);
        assert!(cleanable(&state, 502, true, false).expect("dirty").overdue);
        state.clean_offset = 10;
        assert!(
            !cleanable(&state, 502, true, false).expect("dirty").overdue,
            "the second is younger"
        );
    }

    #[test]
    fn small_neighbours_become_one_up_to_the_limit() {
        let log = log(&[100, 100, 200, 50, 0]);
        let state = log.state.borrow();
        let sealed = &state.segments[..5];
        assert_eq!(group(sealed, 50, 200, 99), 2);
        assert_eq!(group(&sealed[2..], 50, 250, 99), 3);
        assert_eq!(group(&sealed[2..], 50, 100, 99), 1, "at least one");
        assert_eq!(group(sealed, 50, 1 << 30, 3), 3);
    }
}
