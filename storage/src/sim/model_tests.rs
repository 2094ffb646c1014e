use super::super::batch::{BatchSpec, build, placed};
use super::super::rng::Rng;
use super::*;

const ID: PartitionId = PartitionId {
    topic: [7; 16],
    partition: 1,
};

fn append(history: &mut History, lsn: u64, records: i32) {
    let base = history.now.partitions[&ID].end;
    let spec = BatchSpec {
        bytes: 100,
        records,
        producer_id: 9,
        producer_epoch: 0,
        base_sequence: base as i32,
        base_timestamp: 0,
        max_timestamp: 0,
    };
    let bytes = placed(&build(&spec, &mut Rng::new(lsn)), base, 0);
    let stored = Rc::new(Stored {
        base,
        last: base + i64::from(records) - 1,
        bytes,
    });
    history.note(lsn as usize * 10, lsn, Change::Append(ID, stored));
}

/// What a perfect store would answer in this state.
fn answers(state: &State) -> Found {
    let answer = |p: &Partition| FoundPartition {
        start: p.start,
        end: p.end,
        batches: p.batches.clone(),
        epoch: p.epoch(),
        epoch_ends: (-1..=p.epoch() + 1).map(|e| p.epoch_end(e)).collect(),
        producers: p.producers.clone(),
    };
    Found {
        partitions: state.partitions.iter().map(|(id, p)| (*id, answer(p))).collect(),
    }
}

fn history() -> History {
    let mut history = History::new(State::default());
    history.note(5, 1, Change::Create(ID));
    for lsn in 2..=6 {
        append(&mut history, lsn, 3);
    }
    history.note(70, 7, Change::Truncate(ID, 9));
    append(&mut history, 8, 2);
    history
}

#[test]
fn a_prefix_at_or_above_the_floor_is_accepted_and_names_its_length() {
    let history = history();
    // After 7, the truncation, it is as after 4.
    for count in [0, 1, 2, 3, 5, 6, 8] {
        let found = answers(&history.state_after(count));
        assert_eq!(history.explain(&found, 0, 8), Ok(count));
        if count < 8 {
            assert!(history.explain(&found, count + 1, 8).is_err(), "{count}");
        }
    }
}

#[test]
fn a_lost_acknowledged_change_is_said_to_be_lost() {
    let history = history();
    let why = history
        .explain(&answers(&history.state_after(3)), 5, 8)
        .expect_err("two are missing");
    assert!(why.contains("durable changes were lost"), "{why}");
}

#[test]
fn any_difference_is_seen() {
    let history = history();
    let good = answers(&history.now);
    let differs = |change: &dyn Fn(&mut FoundPartition)| {
        let mut found = good.clone();
        change(found.partitions.get_mut(&ID).expect("there"));
        assert!(difference(&history.now, &found).is_some());
    };
    differs(&|p| p.start = 1);
    differs(&|p| p.end += 1);
    differs(&|p| p.epoch_ends[1] = (0, 3));
    differs(&|p| p.epoch += 1);
    differs(&|p| p.producers.clear());
    differs(&|p| {
        let stored = &p.batches[&3];
        let mut bytes = stored.bytes.clone();
        bytes[80] ^= 1;
        let rotten = Stored {
            bytes,
            base: stored.base,
            last: stored.last,
        };
        p.batches.insert(3, Rc::new(rotten));
    });
    differs(&|p| {
        p.batches.remove(&0);
    });
    assert!(difference(&history.now, &Found::default()).is_some());
    assert!(difference(&State::default(), &good).is_some());
}

#[test]
fn an_acknowledged_offset_covers_everything_before_it_in_the_journal() {
    let mut history = history();
    history.note_acknowledged(40, ID, 6);
    assert_eq!((history.floor(39), history.floor(40)), (0, 3));
    // Offsets 9 and 10 exist twice; the second time they are the eighth change.
    history.note_acknowledged(90, ID, 11);
    assert_eq!(history.floor(95), 8);
    assert_eq!((history.issued(75), history.issued(80)), (7, 8));
}
