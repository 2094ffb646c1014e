//! Tests of the record format against bytes of Apache Kafka, against another codec, and against damage.

mod format;
mod fuzz;

use super::*;

/// Enough for every test batch.
const CEILING: usize = 64 << 20;

/// Bytes that Apache Kafka's own writer produced.
fn java(name: &str) -> Vec<u8> {
    let line = include_str!("java_batches.txt")
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .expect("a batch of that name");
    (0..line.len() / 2)
        .map(|i| u8::from_str_radix(&line[2 * i..2 * i + 2], 16).expect("hex"))
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The batch that every codec of `java_batches.txt` holds.
fn java_builder() -> BatchBuilder {
    let mut builder = BatchBuilder::new().producer(4711, 3, 40).leader_epoch(7);
    let headers = [
        Header {
            key: b"h",
            value: Some(b"1"),
        },
        Header {
            key: b"h",
            value: Some(b"2"),
        },
        Header {
            key: b"nul",
            value: None,
        },
    ];
    builder
        .push(1_700_000_000_123, Some(b"key-0"), Some(b"value-0"), &headers)
        .unwrap();
    builder
        .push(1_700_000_000_100, None, Some(b"value-1"), &[])
        .unwrap();
    builder
        .push(1_700_000_005_000, Some(b"key-2"), None, &[])
        .unwrap();
    for i in 3..40 {
        builder
            .push(
                1_700_000_000_123 + i,
                Some(b"k"),
                Some(b"the same text over and over again"),
                &[],
            )
            .unwrap();
    }
    builder
}

/// Outlines of all records by the streaming scan.
fn scan(batch: &BatchView<'_>, ceiling: usize) -> Result<Vec<RecordMeta>, ScanError> {
    let mut decompressor = Decompressor::new();
    let mut scan = RecordScan::new(batch, &mut decompressor, ceiling)?;
    let mut metas = Vec::new();
    while let Some(meta) = scan.next_record()? {
        metas.push(meta);
    }
    scan.finish()?;
    Ok(metas)
}
