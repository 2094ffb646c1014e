//! Putting a compacted segment in the place of those it was made of: live when its SEG_SWAP is journalled, and again when
//! that frame is replayed.
//!
//! The new segment begins where the first old one did and ends where the last one did, so offsets stay covered. A replay
//! may hold the old records in memory, as their own frames came before; they go with their segments.

use std::rc::Rc;

use crate::checkpoint::segment_from;
use crate::core::{Core, LogState, Partition};
use crate::env::Env;
use crate::format::swap::SegSwap;

/// What became of a swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Swapped {
    /// The new segment is in place.
    Done,
    /// It had been before, and perhaps was replaced since.
    Before,
    /// The log does not hold what was replaced.
    Mismatch,
}

/// The position of the old segments in the log: contiguous, before the last one.
fn locate(state: &LogState, old: &[u64]) -> Option<usize> {
    let oldest = *old.first()?;
    let first = state.segments.iter().position(|s| s.id == oldest)?;
    let here = state.segments.get(first..first + old.len())?;
    let same = here.iter().zip(old).all(|(s, id)| s.id == *id);
    (same && first + old.len() < state.segments.len()).then_some(first)
}

/// True if the old segments can be replaced.
pub(crate) fn fits(state: &LogState, old: &[u64]) -> bool {
    locate(state, old).is_some()
}

impl<E: Env> Core<E> {
    /// Replaces segments of a log; the frame `lsn` says so. `replayed`: files of the old segments may exist whatever the
    /// state says.
    pub(crate) fn swap(
        &self,
        partition: &Rc<Partition>,
        state: &mut LogState,
        swap: &SegSwap,
        lsn: u64,
        replayed: bool,
    ) -> Swapped {
        let known = |id: u64| state.segments.iter().any(|s| s.id == id);
        if known(swap.output.segment_id) || !swap.old.iter().any(|&id| known(id)) {
            return Swapped::Before;
        }
        let Some(first) = locate(state, &swap.old) else {
            return Swapped::Mismatch;
        };
        let after = first + swap.old.len();
        let (base, end) = (
            state.segments[first].base_offset,
            state.segments[after].base_offset,
        );
        let in_place = base == swap.output.base_offset && end == swap.output.end_offset;
        if !in_place || state.tail.dirty().any(|s| s.base_offset < base) {
            return Swapped::Mismatch;
        }
        let before = state.tail.first_dirty_lsn();
        let (dirty, clean) = state.tail.drop_below(end);
        let now = state.tail.first_dirty_lsn();
        self.reindex_dirty(partition, before, now);
        self.dirty_changed(0, dirty);
        self.clean_bytes.set(self.clean_bytes.get() - clean);
        let mut output = segment_from(&swap.output);
        // What memory leaves to footers differs between the pass and now, and between a life and its replay. The new
        // footer lists all.
        let spilled = state.segments[first..after].iter().any(|s| s.footer_aborted > 0);
        if spilled && output.footer_len > 0 {
            output.footer_aborted = output.footer_aborted.max(1);
        }
        if replayed {
            // The live store had removed an older file of this name before it made this one.
            self.removals.borrow_mut().retain(|r| {
                let r = &r.record;
                (r.topic, r.partition) != (partition.id.topic, partition.id.partition)
                    || (r.base_offset, r.generation) != (output.base_offset, output.generation)
            });
        }
        let old: Vec<_> = state.segments.splice(first..after, [output]).collect();
        for segment in old {
            if replayed || segment.end_position > 0 || state.draining {
                // Whoever reads the file keeps it open.
                self.queue_removal(partition, &segment, lsn, 0, false);
            }
        }
        state.txns.forget(&swap.markers);
        state.swaps += 1;
        state.clean_offset = state.clean_offset.max(swap.clean_offset);
        Swapped::Done
    }
}
