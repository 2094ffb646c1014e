//! The store over the real runtime and a real filesystem: what is acknowledged is there after a stop without warning.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use glommio::{LocalExecutorBuilder, Placement};
use turgo_storage::env::Env;
use turgo_storage::shell::GlommioEnv;
use turgo_storage::testing::batch;
use turgo_storage::*;

fn run<T: Send + 'static>(dir: &Path, job: impl AsyncFnOnce(GlommioEnv) -> T + Send + 'static) -> T {
    let dir = dir.to_owned();
    LocalExecutorBuilder::new(Placement::Unbound)
        .io_memory(1 << 20)
        .spawn(move || async move { job(GlommioEnv::new(dir, Instant::now()).await.expect("environment")).await })
        .expect("executor")
        .join()
        .expect("no panic")
}

/// A directory on a filesystem with direct IO; the system's temporary one may be a tmpfs.
fn directory() -> tempfile::TempDir {
    let base = std::env::var_os("CARGO_TARGET_TMPDIR").unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into());
    tempfile::tempdir_in(base).expect("temporary directory")
}

fn config() -> StoreConfig {
    StoreConfig {
        journal_file_bytes: 4 << 20,
        journal_files_max: 6,
        prewrite_at_start: 1 << 20,
        max_batch_bytes: 512 << 10,
        group_bytes: 256 << 10,
        memory_bytes: 32 << 20,
        checkpoint_bytes: 4 << 20,
        ..StoreConfig::default()
    }
}

fn id(partition: u32) -> PartitionId {
    PartitionId {
        topic: [7; 16],
        partition,
    }
}

async fn read_all(log: &Log<GlommioEnv>) -> Vec<u8> {
    let mut all = Vec::new();
    let mut at = log.start_offset();
    while at < log.end_offset() {
        let parts: Vec<Bytes> = match log.read(at, 100_000, i64::MAX, true).expect("in range") {
            ReadOutcome::Ready(parts) => parts,
            ReadOutcome::Disk => log
                .read_disk(at, 100_000, i64::MAX, true)
                .await
                .expect("readable"),
        };
        for part in &parts {
            let mut rest = &part[..];
            while !rest.is_empty() {
                let header = BatchHeader::parse(rest).expect("whole batches");
                assert!(header.crc_matches(rest));
                at = header.last_offset() + 1;
                all.extend_from_slice(&rest[..header.bytes]);
                rest = &rest[header.bytes..];
            }
        }
        assert!(!parts.is_empty(), "nothing at {at}");
    }
    all
}

#[test]
fn acknowledged_batches_survive_a_stop_without_close() {
    let dir = directory();
    let expected = run(dir.path(), async |env| {
        let advances = Rc::new(RefCell::new(Vec::new()));
        let seen = advances.clone();
        let (store, recovered) = Store::open(
            env,
            config(),
            Rc::new(move |a| seen.borrow_mut().extend_from_slice(a)),
        )
        .await
        .expect("opens");
        assert!(recovered.created);
        let logs: Vec<_> = (0..3)
            .map(|p| store.create(id(p), LogSettings::default()).expect("new"))
            .collect();
        let mut last = Lsn(0);
        for i in 0..3000_i64 {
            let raw = batch(1 + (i % 5) as i32, 200 + (i as usize * 37) % 3000, i);
            last = logs[(i % 3) as usize].append(&raw, 0, i).expect("room").lsn;
            if i % 50 == 0 {
                store.wait_durable(last).await.expect("durable");
            }
        }
        store.wait_durable(last).await.expect("durable");
        for log in &logs {
            assert_eq!(log.durable_end(), log.end_offset());
            let newest = advances
                .borrow()
                .iter()
                .rev()
                .find(|a| a.id == log.id())
                .copied()
                .expect("advanced");
            assert_eq!(newest.durable_end, log.end_offset());
        }
        let mut all = Vec::new();
        for log in &logs {
            all.push(read_all(log).await);
        }
        all
    });
    for round in 0..3 {
        let again = run(dir.path(), async move |env| {
            let (store, recovered) = Store::open(env, config(), Rc::new(|_| {})).await.expect("opens");
            assert!(
                !recovered.created && recovered.verdict != Verdict::Damage,
                "{recovered:?}"
            );
            assert_eq!(recovered.clean, round == 2, "round {round}");
            let mut all = Vec::new();
            for log in store.logs() {
                all.push(read_all(&log).await);
            }
            if round == 1 {
                store.close().await.expect("closes");
            }
            all
        });
        assert!(again == expected, "round {round}");
    }
}

#[test]
fn a_small_ring_wraps_many_times_and_segments_hold_the_rest() {
    let dir = directory();
    let expected = run(dir.path(), async |env| {
        let config = StoreConfig {
            memory_bytes: 16 << 20,
            ..config()
        };
        let (store, _) = Store::open(env, config, Rc::new(|_| {})).await.expect("opens");
        let settings = LogSettings {
            segment_bytes: 3 << 20,
            ..LogSettings::default()
        };
        let log = store.create(id(0), settings).expect("new");
        let mut i = 0;
        while log.end_offset() < 6000 {
            let raw = batch(2, 20_000, i);
            match log.append(&raw, 1, i) {
                Ok(_) => i += 1,
                Err(AppendError::Busy) => store.wait_pressure_below(Pressure::HardDirty).await,
                Err(e) => panic!("{e}"),
            }
            if i % 16 == 0 {
                store.wait_durable(store.last_lsn()).await.expect("durable");
            }
        }
        store.wait_durable(store.last_lsn()).await.expect("durable");
        let metrics = store.metrics();
        assert!(metrics.checkpoints > 2 && metrics.segments > 10, "{metrics:?}");
        assert!(metrics.journal_ring_bytes <= 6 * (4 << 20));
        assert!(matches!(log.read(0, 1000, i64::MAX, true), Ok(ReadOutcome::Disk)));
        let found = log
            .offset_for_timestamp(1234)
            .await
            .expect("readable")
            .expect("there");
        assert_eq!(BatchHeader::parse(&found).expect("batch").base_offset, 2468);
        let newest = log.max_timestamp_batch().await.expect("readable").expect("there");
        assert_eq!(BatchHeader::parse(&newest).expect("batch").max_timestamp, i - 1);
        read_all(&log).await
    });
    let again = run(dir.path(), async |env| {
        let (store, recovered) = Store::open(env, config(), Rc::new(|_| {})).await.expect("opens");
        assert!(recovered.bytes < 24 << 20, "{recovered:?}");
        let log = store.log(&id(0)).expect("there");
        let all = read_all(&log).await;
        store.close().await.expect("closes");
        all
    });
    assert!(again == expected);
}

#[test]
fn the_ring_is_written_through_in_the_background_and_only_once() {
    let dir = directory();
    let identity = Identity {
        directory_id: [1; 16],
        cluster_id: [2; 16],
        broker_id: 1,
    };
    // As a broker starts: the shard is made first, then opened, then opened again.
    for start in 0..2 {
        run(dir.path(), async move |env| {
            let layout = prepare(&env, 1, identity, &config(), &|_| 0)
                .await
                .expect("prepared");
            let config = layout.shard_config(0, &config());
            let (store, _) = Store::open(env.clone(), config, Rc::new(|_| {}))
                .await
                .expect("opens");
            if start == 0 {
                let deadline = Instant::now() + Duration::from_secs(30);
                while store.metrics().journal_written_bytes < store.metrics().journal_ring_bytes {
                    assert!(Instant::now() < deadline, "{:?}", store.metrics());
                    env.sleep(Duration::from_millis(5)).await;
                }
            }
            let metrics = store.metrics();
            assert_eq!(metrics.journal_written_bytes, metrics.journal_ring_bytes);
            store.close().await.expect("closes");
        });
    }
}
