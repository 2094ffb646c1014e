//! Instructions of the hot paths, counted under callgrind: the same on a busy machine as on a quiet one.
//!
//! `cargo bench -p turgo-bench --bench hot_paths` runs each case twice under valgrind, with 1 and with 101 repetitions,
//! and divides the difference by 100, so set-up and start of the process cancel out. `-- --list` names the cases,
//! `-- NAME` runs those whose name contains NAME, `-- --json` prints JSON. Without valgrind it says so and ends with 2.

use std::process::{Command, ExitCode};
use std::rc::Rc;

use turgo_bench::stamp::Stamp;
use turgo_net::api::ApiKey;
use turgo_net::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use turgo_net::records::{BatchBuilder, BatchView, Compression, Compressor, Decompressor};
use turgo_net::{FrameReader, Reader, Records, RequestHeader, encode_request};
use turgo_storage::sim::disk::Disk;
use turgo_storage::sim::env::SimEnv;
use turgo_storage::{Identity, LogSettings, PartitionId, Store, StoreConfig, prepare};

const RECORDS: usize = 16;
const BYTES: usize = 1024;
const REPEAT: u64 = 100;

/// A batch of 16 records of 1 KiB, of which half compresses.
fn batch(compression: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::new().compression(compression, None);
    let mut value = vec![b'x'; BYTES];
    fastrand::Rng::with_seed(1).fill(&mut value[..BYTES / 2]);
    for i in 0..RECORDS {
        value[0] = i as u8;
        builder.push(1, None, Some(&value), &[]).expect("it fits");
    }
    builder.build(&mut Compressor::new()).expect("it builds")
}

fn produce_frame() -> Vec<u8> {
    let batch = batch(Compression::None);
    let request = ProduceRequest {
        acks: -1,
        topic_data: vec![TopicProduceData {
            name: "topic".into(),
            partition_data: (0..4)
                .map(|index| PartitionProduceData {
                    index,
                    records: Records::Slice(&batch),
                })
                .collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    encode_request(ApiKey::Produce, 12, 1, Some("bench"), &request)
        .expect("valid")
        .to_vec()
}

type Case = (&'static str, fn(u64));

/// Name, and what does it so many times.
const CASES: &[Case] = &[
    ("frame and decode a produce request, 4 x 16 KiB", |n| {
        let frame = produce_frame();
        for _ in 0..n {
            let mut frames = FrameReader::default();
            frames.feed(&frame);
            let bytes = frames.next_frame().expect("a frame").expect("whole");
            let mut r = Reader::new(&bytes);
            RequestHeader::decode(&mut r).expect("a header");
            std::hint::black_box(ProduceRequest::decode(&mut r, 12).expect("a request"));
        }
    }),
    ("encode a produce request, 4 x 16 KiB", |n| {
        for _ in 0..n {
            std::hint::black_box(produce_frame());
        }
    }),
    ("CRC of a batch, 16 KiB", |n| {
        let bytes = batch(Compression::None);
        for _ in 0..n {
            assert!(
                BatchView::first(std::hint::black_box(&bytes))
                    .expect("a batch")
                    .crc_ok()
            );
        }
    }),
    ("build a batch, 16 x 1 KiB", |n| {
        for _ in 0..n {
            std::hint::black_box(batch(Compression::None));
        }
    }),
    ("build a batch with lz4, 16 x 1 KiB", |n| {
        for _ in 0..n {
            std::hint::black_box(batch(Compression::Lz4));
        }
    }),
    ("read a batch, 16 x 1 KiB", |n| read(n, Compression::None)),
    ("read a batch with lz4, 16 x 1 KiB", |n| read(n, Compression::Lz4)),
    ("seal and check a stamped value, 1 KiB", |n| {
        let mut value = vec![7; BYTES];
        for sequence in 0..n {
            let stamp = Stamp {
                sequence,
                ..Stamp::default()
            };
            stamp.seal(&mut value);
            assert_eq!(Stamp::read(&value, None), Ok(stamp));
        }
    }),
    ("append a batch to tail and journal group, 16 KiB", |n| {
        store(n, 0, false);
    }),
    ("append 16 batches and commit their group, 16 KiB each", |n| {
        store(n * 16, 16, false);
    }),
    ("append, commit and recover a batch, 16 KiB", |n| {
        store(n, 1, true);
    }),
];

fn read(n: u64, compression: Compression) {
    let bytes = batch(compression);
    let mut decompressor = Decompressor::new();
    for _ in 0..n {
        let view = BatchView::first(&bytes).expect("a batch");
        let count = view
            .records(&mut decompressor, 1 << 20)
            .expect("records")
            .filter(|r| r.is_ok())
            .count();
        assert_eq!(count, RECORDS);
    }
}

fn config() -> StoreConfig {
    StoreConfig {
        memory_bytes: 64 << 20,
        ..StoreConfig::default()
    }
}

async fn open(env: &SimEnv) -> (Store<SimEnv>, u64) {
    let identity = Identity {
        directory_id: [3; 16],
        cluster_id: [4; 16],
        broker_id: 1,
    };
    let layout = prepare(env, 1, identity, &config(), &|_| 0)
        .await
        .expect("prepared");
    let shard = layout.shard_config(0, &config());
    let (store, recovered) = Store::open(env.clone(), shard, Rc::new(|_| {}))
        .await
        .expect("opens");
    (store, recovered.frames)
}

/// Appends `n` batches over a simulated disk, waiting for their group after each `commit_every` (0: at the end only);
/// then perhaps loses the process and recovers.
fn store(n: u64, commit_every: u64, recover: bool) {
    let raw = turgo_storage::testing::batch(RECORDS as i32, RECORDS * BYTES, 1);
    let env = SimEnv::start(Disk::new(4 << 30, 4096), 1, 1);
    let life = env.clone();
    env.run(async move {
        let (store, _) = open(&life).await;
        let id = PartitionId {
            topic: [1; 16],
            partition: 0,
        };
        let log = store.create(id, LogSettings::default()).expect("new");
        for i in 1..=n {
            log.append(&raw, 0, 1).expect("there is room");
            if commit_every > 0 && i % commit_every == 0 {
                store.wait_durable(store.last_lsn()).await.expect("durable");
            }
        }
        store.wait_durable(store.last_lsn()).await.expect("durable");
    })
    .expect_done("appending");
    if recover {
        let (disk, _) = env.end();
        let env = SimEnv::start(disk, 2, 2);
        let life = env.clone();
        let frames = env
            .run(async move { open(&life).await.1 })
            .expect_done("recovering");
        assert!(frames >= n, "{frames} of {n} recovered");
    }
}

/// Instructions of one run of a case under callgrind.
fn count(index: usize, repetitions: u64) -> Result<u64, String> {
    let out = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().map_err(|e| e.to_string())?)
        .args(["--case", &index.to_string(), &repetitions.to_string()])
        .output()
        .map_err(|e| format!("valgrind: {e}; install it, for example apt install valgrind"))?;
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    text.lines()
        .find_map(|line| line.split("Collected :").nth(1)?.trim().parse().ok())
        .ok_or_else(|| format!("callgrind counted nothing: {text}"))
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    if let [flag, index, repetitions] = &args[..]
        && flag == "--case"
    {
        let case = index.parse().ok().and_then(|i: usize| CASES.get(i));
        let (Some((_, run)), Ok(n)) = (case, repetitions.parse()) else {
            return ExitCode::from(2);
        };
        run(n);
        return ExitCode::SUCCESS;
    }
    let json = args.iter().any(|a| a == "--json");
    let wanted = args.iter().find(|a| !a.starts_with("--"));
    for (index, (name, _)) in CASES.iter().enumerate() {
        if wanted.is_some_and(|w| !name.contains(w.as_str())) {
            continue;
        }
        if args.iter().any(|a| a == "--list") {
            println!("{name}");
            continue;
        }
        let result = count(index, 1).and_then(|one| Ok((count(index, 1 + REPEAT)? - one) / REPEAT));
        match result {
            Ok(instructions) if json => {
                println!(
                    "{}",
                    serde_json::json!({ "case": name, "instructions": instructions })
                );
            }
            Ok(instructions) => println!("{instructions:>12} instructions  {name}"),
            Err(error) => {
                eprintln!("hot_paths: {error}");
                return ExitCode::from(2);
            }
        }
    }
    ExitCode::SUCCESS
}
