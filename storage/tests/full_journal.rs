//! Promise: whatever clients change, a checkpoint can always end, so a full journal frees itself once the disk has room.
//!
//! Changes of logs need journal space too. Were they admitted without a bound while checkpoints fail for want of disk
//! space, they would fill the ring, and no checkpoint could wait for them to be durable ever again.

use std::cell::Cell;

use std::rc::Rc;
use std::time::Duration;

use turgo_storage::env::Env;
use turgo_storage::sim::disk::Disk;
use turgo_storage::sim::env::{Fault, OpKind, SimEnv};
use turgo_storage::sim::exec::Outcome;
use turgo_storage::testing::batch;
use turgo_storage::{AppendError, LogSettings, PartitionId, Pressure, Store, StoreConfig, StoreError};

const ENOSPC: i32 = 28;

fn config() -> StoreConfig {
    StoreConfig {
        journal_file_bytes: 6 * 4096,
        journal_files_initial: 4,
        journal_files_max: 4,
        max_batch_bytes: 2000,
        group_bytes: 4096,
        memory_bytes: 1 << 20,
        prewrite_at_start: 0,
        ..StoreConfig::default()
    }
}

fn id(n: u32) -> PartitionId {
    PartitionId {
        topic: [7; 16],
        partition: n,
    }
}

#[test]
fn a_flood_of_changes_on_a_full_disk_is_refused_and_ends_with_it() {
    let env = SimEnv::start(Disk::new(64 << 20, 512), 3, 1_000_000_000);
    let full = Rc::new(Cell::new(false));
    let blocked = full.clone();
    // No checkpoint and no segment finds room; the journal's own files have theirs.
    env.set_faults(move |op| {
        let grows = matches!(op.kind, OpKind::Write | OpKind::Allocate);
        if blocked.get() && grows && !op.path.contains("/journal/") && !op.path.ends_with("/superblock") {
            Fault::Error(ENOSPC)
        } else {
            Fault::None
        }
    });
    let story = {
        let env = env.clone();
        async move {
            let (store, _) = Store::open(env.clone(), config(), Rc::new(|_| {}))
                .await
                .expect("opens");
            let log = store.create(id(0), LogSettings::default()).expect("room");
            log.append(&batch(5, 300, 1), 0, 1000).expect("room");
            store.wait_durable(store.last_lsn()).await.expect("durable");
            full.set(true);
            // Each change is a frame; alone in its group it takes a page of the ring.
            let (mut made, mut refused) = (0, 0);
            for n in 1..200 {
                match store.create(id(n), LogSettings::default()) {
                    Ok(_) => made += 1,
                    Err(StoreError::NoSpace(_)) => refused += 1,
                    Err(e) => panic!("{e}"),
                }
                match log.advance_start(i64::from(n.min(4))) {
                    Ok(_) | Err(StoreError::NoSpace(_)) => {}
                    Err(e) => panic!("{e}"),
                }
                match log.append(&batch(1, 300, 1), 0, 1000) {
                    Ok(_) => {}
                    Err(AppendError::Busy | AppendError::NoSpace) => {}
                    Err(e) => panic!("{e}"),
                }
                env.sleep(Duration::from_millis(7)).await;
            }
            assert!(made > 2 && refused > 100, "{made} made, {refused} refused");
            assert!(store.checkpoint().await.is_err(), "the disk is full");
            // What was admitted is durable all the same: nothing waits for a file to become free.
            store.wait_durable(store.last_lsn()).await.expect("durable");
            full.set(false);
            store.check_space().await.expect("answers");
            store.wait_pressure_below(Pressure::HardDirty).await;
            store.checkpoint().await.expect("room again");
            for n in 1000..1050 {
                store.create(id(n), LogSettings::default()).expect("room again");
                env.sleep(Duration::from_millis(7)).await;
                store.wait_pressure_below(Pressure::HardDirty).await;
            }
            log.append(&batch(1, 300, 1), 0, 1000).expect("room again");
            store.wait_durable(store.last_lsn()).await.expect("durable");
            store.close().await.expect("closes");
        }
    };
    match env.run(story) {
        Outcome::Done(()) => {}
        Outcome::Poisoned(why) => panic!("poisoned: {why}"),
        Outcome::Stuck => panic!("the store waits for ever"),
        Outcome::Halted => panic!("halted"),
    }
}
