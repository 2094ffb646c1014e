use super::*;
use crate::testing::batch;

fn push(tail: &mut Tail, base: i64, records: i32, bytes: usize, ts: i64, epoch: i32, lsn: u64) {
    let raw = batch(records, bytes, ts);
    let mut header = BatchHeader::parse(&raw).expect("made here");
    header.base_offset = base;
    header.leader_epoch = epoch;
    tail.push(&raw, &header, lsn, false, 1 << 20);
    tail.check();
}

fn offsets(parts: &[Bytes]) -> Vec<(i64, i64)> {
    parts
        .iter()
        .flat_map(|p| {
            walk(p, 0)
                .map(|s| (s.base_offset, s.last_offset))
                .collect::<Vec<_>>()
        })
        .collect()
}

fn sample() -> Tail {
    let mut tail = Tail::default();
    for i in 0..40 {
        push(&mut tail, i * 3, 3, 300, 1000 + i, 0, 1 + i as u64);
    }
    tail
}

#[test]
fn offset_inside_a_batch_returns_that_batch_whole() {
    let tail = sample();
    let parts = tail.read(4, 300, i64::MAX, true).expect("in memory");
    assert_eq!(offsets(&parts), [(3, 5)]);
}

#[test]
fn limit_below_first_batch_returns_it_only_if_asked() {
    let tail = sample();
    assert_eq!(
        offsets(&tail.read(0, 10, i64::MAX, true).expect("in memory")),
        [(0, 2)]
    );
    assert!(tail.read(0, 10, i64::MAX, false).expect("in memory").is_empty());
}

#[test]
fn read_stops_at_upto_and_crosses_slabs() {
    let tail = sample();
    assert!(tail.slabs.len() > 1);
    let parts = tail.read(0, 1 << 20, 60, true).expect("in memory");
    assert_eq!(offsets(&parts).len(), 20);
    assert_eq!(
        offsets(&tail.read(0, 1 << 20, i64::MAX, true).expect("in memory")).len(),
        40
    );
    assert!(
        tail.read(120, 1 << 20, i64::MAX, true)
            .expect("in memory")
            .is_empty()
    );
}

#[test]
fn evicted_offsets_are_not_in_memory() {
    let mut tail = sample();
    let lsn = tail.first_dirty_lsn().expect("dirty");
    assert!(tail.evict().is_none(), "dirty slabs stay");
    tail.mark_clean(lsn).expect("first");
    tail.check();
    tail.evict().expect("clean");
    tail.check();
    assert!(tail.read(0, 100, i64::MAX, true).is_none());
    let base = tail.base_offset().expect("rest");
    assert!(tail.read(base, 1000, i64::MAX, true).is_some());
}

#[test]
fn truncation_cuts_at_batch_boundaries_only() {
    let mut tail = sample();
    assert!(tail.truncate(10).is_none());
    tail.truncate(9).expect("boundary");
    tail.check();
    assert_eq!(
        offsets(&tail.read(0, 1 << 20, i64::MAX, true).expect("in memory")),
        [(0, 2), (3, 5), (6, 8)]
    );
    push(&mut tail, 9, 1, 100, 5, 1, 100);
    assert_eq!(
        offsets(&tail.read(9, 1 << 20, i64::MAX, true).expect("in memory")),
        [(9, 9)]
    );
    assert!(tail.find_timestamp(0, 1003).is_none());
}

#[test]
fn timestamp_finds_the_first_batch_at_or_after() {
    let tail = sample();
    let found = tail.find_timestamp(0, 1017).expect("there");
    assert_eq!(walk(&found, 0).next().expect("batch").base_offset, 51);
    assert!(tail.find_timestamp(0, 1040).is_none());
    let later = tail.find_timestamp(100, 1000).expect("there");
    assert_eq!(walk(&later, 0).next().expect("batch").base_offset, 99);
}

#[test]
fn a_new_epoch_or_a_huge_batch_starts_a_slab() {
    let mut tail = Tail::default();
    push(&mut tail, 0, 1, 100, 1, 0, 1);
    push(&mut tail, 1, 1, 100, 1, 1, 2);
    push(&mut tail, 2, 1, 3 << 20, 1, 1, 3);
    assert_eq!(tail.slabs.len(), 3);
    assert!(tail.slabs[2].memory() >= 3 << 20);
}

#[test]
fn slabs_grow_for_a_busy_log_and_not_for_one_of_thousands() {
    let largest = |every: u64| {
        let mut tail = Tail::default();
        for i in 0..400 {
            push(&mut tail, i, 1, 1000, 1000, 0, 1 + i as u64 * every);
        }
        tail.dirty().map(Slab::memory).max().expect("slabs")
    };
    assert_eq!(largest(1), CLASSES[4]);
    assert_eq!(largest(CROWD), CLASSES[4]);
    assert_eq!(largest(10_000), CLASSES[0]);
}
