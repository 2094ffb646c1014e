//! Promise: no bytes make the record format's reader panic, hang or take more memory than input and ceiling justify.
//!
//! Good batches of every codec are damaged at random, with length and CRC put right so that the damage reaches what
//! lies behind them. Runs for a second, or for `FUZZ_SECONDS`; `FUZZ_SEED` replays a run.

mod sys;

use std::time::{Duration, Instant};

use turgo_net::records::{
    BATCH_HEADER_BYTES, BatchBuilder, BatchView, Compression, Compressor, ControlRecord, Decompressor,
    EndTxnMarker, Header, RecordScan, ScanError, batches, end_txn_batch, peek_frame,
};

/// What decompression may yield.
const CEILING: usize = 1 << 20;
/// Memory that one input may take at its worst: the window twice over, as it is grown by copying, and small change. A
/// block of LZ4 is up to 4 MiB, whatever the ceiling.
const MAX_ALLOCATED: usize = 16 << 20;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.next() as u8).collect()
    }
}

fn corpus(random: &mut Random) -> Vec<Vec<u8>> {
    let mut compressor = Compressor::new();
    let mut corpus = vec![end_txn_batch(
        7,
        1,
        1000,
        true,
        EndTxnMarker { coordinator_epoch: 3 },
    )];
    for compression in Compression::ALL {
        for shape in 0..4 {
            let mut builder = BatchBuilder::new()
                .compression(compression, None)
                .producer(1, 2, 3);
            for i in 0..[1, 3, 20, 2][shape] {
                let noise = random.bytes([5, 50, 20, 3000][shape]);
                let value = if i % 2 == 0 {
                    noise
                } else {
                    vec![b'a'; [900, 40, 30, 30_000][shape]]
                };
                let headers = [
                    Header {
                        key: b"k",
                        value: Some(b"v"),
                    },
                    Header {
                        key: b"k",
                        value: None,
                    },
                ];
                let key = (i % 3 != 0).then_some(&b"some key"[..]);
                builder
                    .push(
                        1_700_000_000_000 + i,
                        key,
                        Some(&value),
                        &headers[..i as usize % 3],
                    )
                    .unwrap();
            }
            corpus.push(builder.build(&mut compressor).unwrap());
        }
    }
    corpus
}

/// Values that sit at the edges of the format's numbers.
const EDGES: &[&[u8]] = &[
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xfe, 0xff, 0xff, 0xff, 0x0f],
    &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    &[0x7f, 0xff, 0xff, 0xff],
    &[0x80, 0, 0, 0],
    &[0xff; 8],
    &[0],
    &[1],
];

fn damage(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..1 + random.below(4) {
        let at = random.below(bytes.len());
        match random.below(7) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.next() as u8,
            2 => {
                let edge = EDGES[random.below(EDGES.len())];
                let end = bytes.len().min(at + edge.len());
                bytes[at..end].copy_from_slice(&edge[..end - at]);
            }
            3 => bytes.truncate(at.max(BATCH_HEADER_BYTES)),
            4 => {
                let n = random.below(12);
                let noise = random.bytes(n);
                bytes.splice(at..at, noise);
            }
            5 => {
                let end = bytes.len().min(at + random.below(16));
                bytes.drain(at..end);
            }
            // The first bytes of the payload are where codecs keep what they claim.
            _ => {
                let at = BATCH_HEADER_BYTES + random.below(24);
                if at < bytes.len() {
                    bytes[at] = random.next() as u8;
                }
            }
        }
        if bytes.len() < BATCH_HEADER_BYTES {
            bytes.resize(BATCH_HEADER_BYTES, 0);
        }
    }
    if random.below(8) != 0 {
        let length = bytes.len() as i32 - 12;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[16] = 2;
    }
}

/// Reads all there is to read; returns how many records could be.
fn exercise(bytes: &[u8], decompressor: &mut Decompressor) -> usize {
    let _ = peek_frame(bytes);
    let mut read = 0;
    for batch in batches(bytes).flatten() {
        let scanned = scan(&batch, decompressor);
        let mut iterated = Ok(0);
        match batch.records(decompressor, CEILING) {
            Err(error) => iterated = Err(ScanError::from(error)),
            Ok(records) => {
                for record in records {
                    match record {
                        Ok(record) => {
                            assert_eq!(record.headers.iter().count(), record.headers.len());
                            let _ =
                                ControlRecord::read(record.key.unwrap_or(&[]), record.value.unwrap_or(&[]));
                            iterated = iterated.map(|n| n + 1);
                        }
                        Err(error) => iterated = Err(error),
                    }
                }
            }
        }
        match (scanned, iterated) {
            (Ok(scanned), Ok(iterated)) => {
                assert_eq!(scanned, iterated);
                read += scanned;
            }
            (Err(_), Err(_)) => {}
            (scanned, iterated) => panic!("scan {scanned:?} but iteration {iterated:?}"),
        }
    }
    read
}

fn scan(batch: &BatchView<'_>, decompressor: &mut Decompressor) -> Result<usize, ScanError> {
    let mut scan = RecordScan::new(batch, decompressor, CEILING)?;
    let mut n = 0;
    while scan.next_record()?.is_some() {
        n += 1;
    }
    scan.finish()?;
    Ok(n)
}

#[test]
fn damaged_batches_cost_no_more_than_they_may() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|value| value.parse::<u64>().ok())
    };
    let seed = number("FUZZ_SEED").unwrap_or(0x7072_6f6d_6973_6573);
    let budget = Duration::from_secs(number("FUZZ_SECONDS").unwrap_or(1));
    let mut random = Random(seed);
    let corpus = corpus(&mut random);
    let mut decompressor = Decompressor::new();
    for batch in &corpus {
        assert!(exercise(batch, &mut decompressor) > 0, "the corpus is readable");
    }
    let (start, mut inputs, mut readable) = (Instant::now(), 0u64, 0u64);
    while start.elapsed() < budget || inputs < 2000 {
        let mut bytes = corpus[random.below(corpus.len())].clone();
        damage(&mut random, &mut bytes);
        let before = sys::peak_from_here();
        let began = Instant::now();
        if exercise(&bytes, &mut decompressor) > 0 {
            readable += 1;
        }
        let took = sys::peak() - before;
        assert!(
            took <= MAX_ALLOCATED,
            "{took} bytes taken for {} (FUZZ_SEED={seed}, input {inputs})",
            bytes.len()
        );
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "FUZZ_SEED={seed}, input {inputs} took {:?}",
            began.elapsed()
        );
        inputs += 1;
    }
    // Some damage leaves batches readable; if none or all did, the damage would not be where it should.
    assert!(
        readable > inputs / 100 && readable < inputs / 10 * 9,
        "{readable} of {inputs} readable"
    );
}
