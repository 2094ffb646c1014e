//! A log knows its transactions whatever happens to it: open ones, aborted ones, the last stable offset; after a clean
//! close, after a power cut, behind a checkpoint or from the journal alone, truncated, trimmed, sealed.

use std::rc::Rc;

use turgo_storage::format::archive::Footer;
use turgo_storage::sim::disk::{Disk, Fate};
use turgo_storage::sim::env::SimEnv;
use turgo_storage::sim::exec::Outcome;
use turgo_storage::testing::{batch, marker, transactional_batch};
use turgo_storage::{AbortedTxn, Log, LogSettings, PartitionId, Store, StoreConfig};

const ID: PartitionId = PartitionId {
    topic: [7; 16],
    partition: 0,
};

fn config() -> StoreConfig {
    StoreConfig {
        journal_file_bytes: 1 << 20,
        max_batch_bytes: 64 << 10,
        group_bytes: 64 << 10,
        memory_bytes: 8 << 20,
        prewrite_at_start: 0,
        ..StoreConfig::default()
    }
}

fn settings() -> LogSettings {
    LogSettings {
        segment_bytes: 2000,
        file_delete_delay_ms: 0,
        ..LogSettings::default()
    }
}

/// Runs `story` on a store over `disk` and returns its result and the disk as a process's end leaves it.
fn on<T: 'static, F>(disk: Disk, story: impl FnOnce(SimEnv, Store<SimEnv>) -> F) -> (T, Disk)
where
    F: std::future::Future<Output = T> + 'static,
{
    let env = SimEnv::start(disk, 5, 1_000_000_000);
    let opened = {
        let env2 = env.clone();
        match env.run(async move { Store::open(env2, config(), Rc::new(|_| {})).await }) {
            Outcome::Done(Ok((store, _))) => store,
            Outcome::Done(Err(e)) => panic!("{e}"),
            _ => panic!("opening did not end"),
        }
    };
    let Outcome::Done(result) = env.run(story(env.clone(), opened)) else {
        panic!("the story did not end");
    };
    (result, env.end().0)
}

/// What is left when the power goes: stable media and nothing else.
fn power_cut(disk: &Disk) -> Disk {
    disk.crash(&vec![Fate::Drop; disk.atoms().len()])
}

fn log(store: &Store<SimEnv>) -> Log<SimEnv> {
    let log = store
        .log(&ID)
        .unwrap_or_else(|| store.create(ID, settings()).expect("created"));
    log.set_settings(settings());
    log
}

fn put(log: &Log<SimEnv>, raw: &[u8]) -> i64 {
    log.append(raw, 0, 1000).expect("room").base_offset
}

/// Ten transactions of producer 1, each two records and a marker, every other one aborted, with plain records between;
/// and one of producer 2 that stays open from offset 40 on. Returns what the index must hold.
fn write(log: &Log<SimEnv>) -> Vec<AbortedTxn> {
    let mut aborted = Vec::new();
    for n in 0..20_i32 {
        if n == 10 {
            assert_eq!(put(log, &transactional_batch(1, 200, 5, 2, 0, 0)), 40);
        }
        let first = put(log, &transactional_batch(2, 300, 5, 1, 0, n * 2));
        put(log, &batch(1, 100, 5));
        let end = put(log, &marker(n % 2 == 0, 1, 0, n, 5));
        if n % 2 == 1 {
            aborted.push(AbortedTxn {
                producer_id: 1,
                first_offset: first,
                last_offset: end,
                last_stable_offset: if n >= 10 { 40 } else { end + 1 },
            });
        }
    }
    aborted
}

fn check(log: &Log<SimEnv>, aborted: &[AbortedTxn], what: &str) {
    assert_eq!(
        log.aborted_transactions(log.start_offset(), log.end_offset()),
        aborted,
        "{what}"
    );
    assert_eq!(log.first_unstable_offset(), Some(40), "{what}");
    let open = log.producer(2).expect("open");
    assert_eq!(
        (open.txn_first_offset, open.coordinator_epoch),
        (40, -1),
        "{what}"
    );
    let closed = log.producer(1).expect("known");
    assert_eq!(
        (closed.txn_first_offset, closed.coordinator_epoch),
        (-1, 19),
        "{what}"
    );
}

#[test]
fn transactions_survive_a_process_a_power_cut_and_a_checkpoint() {
    for (checkpoint, close) in [(false, false), (true, false), (true, true)] {
        let (aborted, disk) = on(Disk::new(64 << 20, 512), move |_, store| async move {
            let log = log(&store);
            let aborted = write(&log);
            assert_eq!(log.first_unstable_offset(), Some(0), "no marker is durable yet");
            store.wait_durable(store.last_lsn()).await.expect("durable");
            check(&log, &aborted, "live");
            if checkpoint {
                store.checkpoint().await.expect("room");
            }
            if close {
                store.close().await.expect("closed");
            }
            aborted
        });
        // Only what reached stable media.
        let disk = power_cut(&disk);
        let what = format!("checkpoint {checkpoint}, close {close}");
        let ((), _) = on(disk, move |_, store| async move {
            let log = log(&store);
            check(&log, &aborted, &what);
            // The open transaction ends; nothing is undecided then, once the marker is durable.
            let end = put(&log, &marker(false, 2, 0, 50, 5));
            assert_eq!(
                log.first_unstable_offset(),
                Some(40),
                "{what}: the marker is not durable yet"
            );
            store.wait_durable(store.last_lsn()).await.expect("durable");
            assert_eq!(log.first_unstable_offset(), None, "{what}");
            let last = *log
                .aborted_transactions(end, end + 1)
                .last()
                .expect("just aborted");
            assert_eq!(
                last,
                AbortedTxn {
                    producer_id: 2,
                    first_offset: 40,
                    last_offset: end,
                    last_stable_offset: end + 1
                },
                "{what}"
            );
            assert!(log.aborted_transactions(end + 1, end + 9).is_empty());
        });
    }
}

#[test]
fn truncation_and_the_log_start_take_transactions_along() {
    let (before, disk) = on(Disk::new(64 << 20, 512), |_, store| async move {
        let log = log(&store);
        let aborted = write(&log);
        store.wait_durable(store.last_lsn()).await.expect("durable");
        store.checkpoint().await.expect("room");
        // The marker of the last aborted transaction goes, its records stay.
        let last = *aborted.last().expect("some");
        log.truncate_to(last.last_offset).expect("a batch begins there");
        // Everything up to the second marker goes as well.
        log.advance_start(aborted[1].last_offset + 1).expect("inside");
        let left = aborted[2..aborted.len() - 1].to_vec();
        assert_eq!(log.aborted_transactions(0, i64::MAX), left);
        let entry = log.producer(1).expect("known");
        assert_eq!(entry.txn_first_offset, last.first_offset);
        log.truncate_to(40).expect("a batch begins there");
        assert_eq!(log.first_unstable_offset(), None);
        store.wait_durable(store.last_lsn()).await.expect("durable");
        log.aborted_transactions(0, i64::MAX)
    });
    assert!(before.iter().all(|a| a.last_offset < 40) && before.len() == 3);
    let disk = power_cut(&disk);
    on(disk, move |_, store| async move {
        let log = log(&store);
        assert_eq!(log.aborted_transactions(0, i64::MAX), before);
        assert_eq!(log.first_unstable_offset(), None);
    });
}

#[test]
fn an_open_transaction_is_never_forgotten_for_idleness() {
    on(Disk::new(64 << 20, 512), |_, store| async move {
        let log = log(&store);
        write(&log);
        store.wait_durable(store.last_lsn()).await.expect("durable");
        log.retention(1000 + config().producer_expiration_ms + 1);
        assert!(log.producer(1).is_none());
        assert_eq!(log.producer(2).expect("open").txn_first_offset, 40);
        assert_eq!(log.first_unstable_offset(), Some(40));
    });
}

#[test]
fn sealed_segments_list_what_was_aborted_in_them() {
    let (aborted, disk) = on(Disk::new(64 << 20, 512), |_, store| async move {
        let log = log(&store);
        let aborted = write(&log);
        store.checkpoint().await.expect("room");
        aborted
    });
    let mut listed = Vec::new();
    let mut footers = 0;
    for (path, ino) in disk.files() {
        if !path.ends_with(".seg") {
            continue;
        }
        let bytes = disk.read(ino, 0, disk.size(ino) as usize);
        let id = u64::from_le_bytes(bytes[16..24].try_into().expect("eight"));
        for at in (4096..bytes.len()).step_by(4096) {
            for end in (at + 4096..=bytes.len()).step_by(4096) {
                if let Ok(footer) = Footer::decode(&bytes[at..end], id, at as u64) {
                    footers += 1;
                    let inside = footer.base_offset..footer.end_offset;
                    assert!(footer.aborted.iter().all(|a| inside.contains(&a.last_offset)));
                    listed.extend(footer.aborted.iter().map(|a| a.last_offset));
                }
            }
        }
    }
    assert!(footers > 2, "{footers} footers");
    listed.sort_unstable();
    let wanted: Vec<i64> = aborted.iter().map(|a| a.last_offset).collect();
    assert!(
        !listed.is_empty() && wanted.starts_with(&listed),
        "{listed:?} of {wanted:?}"
    );
}
