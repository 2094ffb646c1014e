//! Idempotent producers and leader epochs answer as Kafka's do.

use turgo_storage::epochs::{EpochStart, Epochs};
use turgo_storage::producer::{Producers, WINDOW, sequence_after};
use turgo_storage::testing::producer_batch;
use turgo_storage::{BatchHeader, ProducerError, Sequenced};

fn header(base_offset: i64, epoch: i16, sequence: i32, records: i32) -> BatchHeader {
    let raw = producer_batch(records, 100, 1000 + base_offset, 7, epoch, sequence);
    BatchHeader {
        base_offset,
        ..BatchHeader::parse(&raw).expect("made here")
    }
}

fn with(batches: &[(i64, i16, i32, i32)]) -> Producers {
    let mut producers = Producers::default();
    for &(offset, epoch, sequence, records) in batches {
        let h = header(offset, epoch, sequence, records);
        assert_eq!(producers.check(&h), Ok(Sequenced::New));
        producers.apply(&h, None, 0);
    }
    producers
}

#[test]
fn the_first_batch_of_an_unknown_producer_is_accepted_at_any_sequence() {
    assert_eq!(
        Producers::default().check(&header(0, 3, 1234, 1)),
        Ok(Sequenced::New)
    );
}

#[test]
fn a_duplicate_within_the_last_five_gets_its_original_offset() {
    let batches: Vec<_> = (0..7).map(|i| (i64::from(i) * 10, 0, i * 2, 2)).collect();
    let producers = with(&batches);
    for &(offset, epoch, sequence, records) in &batches[batches.len() - WINDOW..] {
        let answer = producers.check(&header(99, epoch, sequence, records));
        let wanted = Sequenced::Duplicate {
            base_offset: offset,
            last_offset: offset + 1,
            max_timestamp: 1000 + offset,
        };
        assert_eq!(answer, Ok(wanted));
    }
    let (_, epoch, sequence, records) = batches[1];
    assert!(matches!(
        producers.check(&header(99, epoch, sequence, records)),
        Err(ProducerError::OutOfOrder { .. })
    ));
}

#[test]
fn gaps_and_partial_overlaps_are_out_of_order() {
    let producers = with(&[(0, 0, 0, 3), (3, 0, 3, 2)]);
    let error = |expected, got| {
        Err(ProducerError::OutOfOrder {
            producer_id: 7,
            expected,
            got,
        })
    };
    assert_eq!(producers.check(&header(9, 0, 6, 1)), error(5, 6));
    assert_eq!(producers.check(&header(9, 0, 3, 3)), error(5, 3));
    assert_eq!(producers.check(&header(9, 0, 5, 1)), Ok(Sequenced::New));
}

#[test]
fn a_higher_epoch_starts_at_zero_and_fences_the_lower() {
    let mut producers = with(&[(0, 2, 0, 3)]);
    assert!(matches!(
        producers.check(&header(3, 3, 3, 1)),
        Err(ProducerError::OutOfOrder { expected: 0, .. })
    ));
    let next = header(3, 3, 0, 1);
    assert_eq!(producers.check(&next), Ok(Sequenced::New));
    producers.apply(&next, None, 0);
    let stale = Err(ProducerError::StaleEpoch {
        producer_id: 7,
        current: 3,
        got: 2,
    });
    assert_eq!(producers.check(&header(4, 2, 3, 1)), stale);
}

#[test]
fn sequences_wrap_to_zero() {
    assert_eq!(sequence_after(i32::MAX, 1), 0);
    let producers = with(&[(0, 0, i32::MAX - 1, 4)]);
    assert_eq!(producers.get(7).expect("known").last_sequence(), 1);
    assert_eq!(producers.check(&header(4, 0, 2, 1)), Ok(Sequenced::New));
    let again = producers.check(&header(4, 0, i32::MAX - 1, 4));
    assert!(matches!(
        again,
        Ok(Sequenced::Duplicate {
            base_offset: 0,
            last_offset: 3,
            ..
        })
    ));
}

#[test]
fn idle_producers_are_forgotten_and_truncated_batches_too() {
    let mut producers = with(&[(0, 0, 0, 3), (3, 0, 3, 2)]);
    producers.truncate(3);
    assert_eq!(producers.get(7).expect("known").last_sequence(), 2);
    producers.truncate(0);
    assert!(producers.is_empty());
    let mut producers = with(&[(0, 0, 0, 3)]);
    producers.expire(1000, 1000);
    assert_eq!(producers.len(), 1);
    producers.expire(1001, 1000);
    assert!(producers.is_empty());
}

#[test]
fn a_producer_less_batch_leaves_no_trace() {
    let mut producers = Producers::default();
    let h = BatchHeader {
        producer_id: -1,
        ..header(0, 0, 0, 1)
    };
    producers.apply(&h, None, 0);
    assert!(producers.is_empty());
    assert_eq!(producers.check(&h), Ok(Sequenced::New));
}

fn epochs() -> Epochs {
    let mut epochs = Epochs::default();
    for (epoch, start) in [(2, 0), (5, 10), (7, 10), (9, 30)] {
        assert!(epochs.assign(epoch, start));
    }
    epochs
}

#[test]
fn the_end_of_an_epoch_is_the_start_of_the_next() {
    let epochs = epochs();
    assert_eq!(epochs.end_of(9, 44), (9, 44), "the latest ends at the log end");
    assert_eq!(epochs.end_of(10, 44), (-1, -1), "unknown");
    assert_eq!(
        epochs.end_of(1, 44),
        (1, 0),
        "before all: itself and the start of the first"
    );
    assert_eq!(epochs.end_of(2, 44), (2, 10));
    assert_eq!(epochs.end_of(4, 44), (2, 10), "between two: the lower");
    assert_eq!(epochs.end_of(8, 44), (7, 30));
    assert_eq!(Epochs::default().end_of(0, 0), (-1, -1));
}

#[test]
fn an_epoch_is_assigned_once_and_never_falls() {
    let mut epochs = epochs();
    assert!(!epochs.assign(9, 40));
    assert!(!epochs.assign(3, 40));
    assert!(!epochs.assign(-1, 40));
    assert_eq!(epochs.latest(), 9);
    assert_eq!(
        (epochs.epoch_at(0), epochs.epoch_at(29), epochs.epoch_at(30)),
        (2, 7, 9)
    );
}

#[test]
fn truncation_forgets_epochs_at_both_ends() {
    let mut epochs = epochs();
    epochs.truncate_from_end(30);
    assert_eq!(epochs.latest(), 7);
    epochs.truncate_from_start(15);
    assert_eq!(
        epochs.entries(),
        [EpochStart {
            epoch: 7,
            start_offset: 15
        }]
    );
    assert!(Epochs::from_entries(epochs.entries().to_vec()).is_some());
    let falling = vec![
        EpochStart {
            epoch: 3,
            start_offset: 5,
        },
        EpochStart {
            epoch: 2,
            start_offset: 6,
        },
    ];
    assert!(Epochs::from_entries(falling).is_none());
}
