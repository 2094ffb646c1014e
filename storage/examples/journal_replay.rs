//! How long a core takes to serve again: fills a journal in DIR, stops without closing, opens the store again.
//!
//! `cargo run --release -p turgo-storage --example journal_replay -- DIR [MIB] [MEMORY_MIB] [BATCH_BYTES]`
//! Prints one line of JSON. DIR must be an empty directory on a filesystem with direct IO.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

use glommio::{LocalExecutorBuilder, Placement};
use turgo_storage::shell::GlommioEnv;
use turgo_storage::testing::batch;
use turgo_storage::*;

fn main() {
    let mut args = std::env::args().skip(1);
    let dir = PathBuf::from(args.next().expect("DIR"));
    let mut number = |default: u64| args.next().map_or(default, |a| a.parse().expect("a number"));
    let (mib, memory_mib, batch_bytes) = (number(1024), number(512), number(16 << 10));
    let config = move || StoreConfig {
        journal_files_max: (mib / 64 + 3).max(4) as u32,
        memory_bytes: memory_mib << 20,
        checkpoint_bytes: u64::MAX,
        ..StoreConfig::default()
    };
    let started = Instant::now();
    let filled = dir.clone();
    let fill = move || async move {
        let env = GlommioEnv::new(filled, started).await.expect("environment");
        let (store, _) = Store::open(env, config(), Rc::new(|_| {})).await.expect("opens");
        let logs: Vec<_> = (0..16)
            .map(|p| {
                store
                    .create(
                        PartitionId {
                            topic: [1; 16],
                            partition: p,
                        },
                        LogSettings::default(),
                    )
                    .expect("new")
            })
            .collect();
        let raw = batch(10, batch_bytes as usize, 1);
        let mut written = 0;
        while written < mib << 20 {
            match logs[(written / batch_bytes) as usize % 16].append(&raw, 0, 1) {
                Ok(_) => written += batch_bytes,
                Err(AppendError::Busy) => store.wait_pressure_below(Pressure::HardDirty).await,
                Err(e) => panic!("{e}"),
            }
            if written % (4 << 20) < batch_bytes {
                store.wait_durable(store.last_lsn()).await.expect("durable");
            }
        }
        store.wait_durable(store.last_lsn()).await.expect("durable");
    };
    LocalExecutorBuilder::new(Placement::Unbound)
        .spawn(fill)
        .expect("executor")
        .join()
        .expect("fills");
    let replay = move || async move {
        let env = GlommioEnv::new(dir, started).await.expect("environment");
        let begin = Instant::now();
        let (store, recovered) = Store::open(env, config(), Rc::new(|_| {})).await.expect("opens");
        let took = begin.elapsed();
        println!(
            "{{\"journal_mib\":{},\"replayed_mib\":{},\"batch_bytes\":{batch_bytes},\"memory_mib\":{memory_mib},\"frames\":{},\"serves_after_ms\":{},\"gb_per_s\":{:.2}}}",
            store.metrics().journal_ring_bytes >> 20,
            recovered.bytes >> 20,
            recovered.frames,
            took.as_millis(),
            recovered.bytes as f64 / took.as_secs_f64() / 1e9,
        );
    };
    LocalExecutorBuilder::new(Placement::Unbound)
        .spawn(replay)
        .expect("executor")
        .join()
        .expect("replays");
}
