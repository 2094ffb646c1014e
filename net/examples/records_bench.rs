//! What checking, scanning, iterating and (de)compressing record batches cost on this machine.
//!
//! `cargo run --release -p turgo-net --example records_bench [quick]`
//!
//! Data is JSON-like text that compresses about as well as events do. Each figure is the best of several rounds of
//! repeated calls over one batch, caches warm: the cost of the code, not of the memory. GB/s counts uncompressed
//! bytes.

use std::hint::black_box;
use std::time::{Duration, Instant};

use turgo_net::records::{
    BATCH_HEADER_BYTES, BatchBuilder, BatchView, Compression, Compressor, Decompressor, RecordScan,
    crc32c_after_prefix_change, patch_log_append_time,
};

fn main() {
    let quick = std::env::args().any(|argument| argument == "quick");
    let round = if quick {
        Duration::from_millis(2)
    } else {
        Duration::from_millis(60)
    };
    let bench = Bench {
        round,
        rounds: if quick { 2 } else { 7 },
    };
    crc(&bench);
    for (records, value_bytes) in [(100, 100), (1000, 100), (16, 1000), (1000, 1000)] {
        batches(&bench, records, value_bytes);
    }
}

struct Bench {
    round: Duration,
    rounds: usize,
}

impl Bench {
    /// Nanoseconds per call: the best round.
    fn ns(&self, mut call: impl FnMut()) -> f64 {
        let mut best = f64::MAX;
        for _ in 0..self.rounds {
            let start = Instant::now();
            let mut calls = 0u64;
            while start.elapsed() < self.round {
                for _ in 0..8 {
                    call();
                }
                calls += 8;
            }
            best = best.min(start.elapsed().as_nanos() as f64 / calls as f64);
        }
        best
    }
}

fn crc(bench: &Bench) {
    println!("CRC-32C: a pass over the bytes, and the correction after the first 22 of them changed");
    println!(
        "{:>10} {:>10} {:>10} {:>14}",
        "bytes", "pass ns", "GB/s", "correction ns"
    );
    for bytes in [64, 256, 1024, 2048, 4096, 8192, 16_384, 131_072, 1 << 20] {
        let data: Vec<u8> = (0..bytes)
            .map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        let pass = bench.ns(|| {
            black_box(crc32c::crc32c(black_box(&data)));
        });
        let (old, new) = ([1u8; 22], [2u8; 22]);
        let correction = bench.ns(|| {
            black_box(crc32c_after_prefix_change(
                black_box(7),
                black_box(&old),
                black_box(&new),
                data.len(),
            ));
        });
        println!(
            "{bytes:>10} {pass:>10.1} {:>10.2} {correction:>14.1}",
            data.len() as f64 / pass
        );
    }
}

/// Text with the repetition of real events: field names repeat, some values do, some are random.
fn value(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut text = String::new();
    while text.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let (user, kind) = (
            state % 100_000,
            ["view", "click", "purchase", "search"][(state >> 20) as usize % 4],
        );
        text.push_str(&format!(
            "{{\"user_id\":{user},\"event\":\"{kind}\",\"session\":\"{state:016x}\",\"country\":\"de\"}}"
        ));
    }
    text.truncate(bytes);
    text.into_bytes()
}

fn batches(bench: &Bench, records: usize, value_bytes: usize) {
    let mut builder = BatchBuilder::new();
    for i in 0..records {
        let key = (i as u64 % 100).to_be_bytes();
        builder
            .push(
                1_700_000_000_000 + i as i64,
                Some(&key),
                Some(&value(value_bytes, i as u64 + 1)),
                &[],
            )
            .unwrap();
    }
    let plain = builder.build_uncompressed();
    let payload = &plain[BATCH_HEADER_BYTES..];
    println!(
        "\n{records} records, values of {value_bytes} bytes, {} bytes",
        plain.len()
    );
    println!(
        "{:>8} {:>10} {:>7} {:>12} {:>7} {:>12} {:>12} {:>7} {:>12} {:>7} {:>10}",
        "codec",
        "bytes",
        "ratio",
        "compress ns",
        "GB/s",
        "decompr. ns",
        "scan ns",
        "GB/s",
        "ns/record",
        "iterate",
        "stamp ns"
    );
    for compression in Compression::ALL {
        let mut compressor = Compressor::new();
        let bytes = builder
            .clone()
            .compression(compression, None)
            .build(&mut compressor)
            .unwrap();
        let batch = BatchView::first(&bytes).unwrap();
        let mut out = Vec::new();
        let compress = bench.ns(|| {
            out.clear();
            compressor
                .compress(compression, None, black_box(payload), &mut out)
                .unwrap();
        });
        let mut decompressor = Decompressor::new();
        let decompress = bench.ns(|| {
            black_box(
                decompressor
                    .decompress(compression, black_box(batch.payload()), 1 << 30)
                    .unwrap(),
            );
        });
        let scan = bench.ns(|| {
            let mut scan = RecordScan::new(black_box(&batch), &mut decompressor, 1 << 30).unwrap();
            let mut max = -1;
            while let Some(meta) = scan.next_record().unwrap() {
                max = max.max(meta.timestamp_delta);
            }
            scan.finish().unwrap();
            black_box(max);
        });
        let iterate = bench.ns(|| {
            for record in black_box(&batch).records(&mut decompressor, 1 << 30).unwrap() {
                black_box(record.unwrap().value);
            }
        });
        let mut stamped = bytes.clone();
        let mut now = 1_800_000_000_000;
        let stamp = bench.ns(|| {
            now += 1;
            patch_log_append_time(&mut stamped, now);
        });
        let size = payload.len() as f64;
        println!(
            "{:>8} {:>10} {:>7.2} {compress:>12.0} {:>7.2} {decompress:>12.0} {scan:>12.0} {:>7.2} {:>12.1} {:>7.1} {stamp:>10.0}",
            compression.name(),
            bytes.len(),
            size / batch.payload().len() as f64,
            size / compress,
            size / scan,
            scan / records as f64,
            iterate / records as f64,
        );
    }
}
