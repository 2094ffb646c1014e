//! What is written is what Java writes, and what others write is read.

use bytes::{Bytes, BytesMut};
use kafka_protocol::records as other;

use super::*;

#[test]
fn uncompressed_batch_equals_javas_to_the_byte() {
    assert_eq!(hex(&java_builder().build_uncompressed()), hex(&java("none")));
}

#[test]
fn markers_equal_javas_to_the_byte() {
    for (name, commit) in [("commit", true), ("abort", false)] {
        let mut ours = end_txn_batch(
            4711,
            3,
            1_700_000_000_000,
            commit,
            EndTxnMarker {
                coordinator_epoch: 12,
            },
        );
        patch_leader_epoch(&mut ours, 7);
        assert_eq!(hex(&ours), hex(&java(name)), "{name}");
        let batch = BatchView::first(&ours).unwrap();
        assert!(batch.attributes().is_control() && batch.attributes().is_transactional());
        let mut decompressor = Decompressor::new();
        let record = batch
            .records(&mut decompressor, CEILING)
            .unwrap()
            .next()
            .unwrap()
            .unwrap();
        let marker = EndTxnMarker {
            coordinator_epoch: 12,
        };
        let expected = if commit {
            ControlRecord::Commit(marker)
        } else {
            ControlRecord::Abort(marker)
        };
        assert_eq!(
            ControlRecord::read(record.key.unwrap(), record.value.unwrap()),
            Some(expected)
        );
    }
    assert_eq!(ControlRecord::read(&[0, 0, 0], &[]), None);
    assert_eq!(ControlRecord::read(&[0, 0, 0, 1], &[0, 0, 0]), None);
    assert_eq!(
        ControlRecord::read(&[0, 0, 0, 5], &[]),
        Some(ControlRecord::Other(5))
    );
}

#[test]
fn every_codec_of_java_is_read() {
    let plain = java_builder().build_uncompressed();
    let plain = BatchView::first(&plain).unwrap();
    let mut first = Decompressor::new();
    let expected: Vec<_> = plain
        .records(&mut first, CEILING)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(expected.len(), 40);
    assert_eq!(expected[0].headers.len(), 3);
    assert_eq!(expected[0].headers.last(b"h").unwrap().value, Some(&b"2"[..]));
    assert_eq!(expected[0].headers.last(b"nul").unwrap().value, None);
    assert_eq!((expected[1].key, expected[2].value), (None, None));
    assert_eq!(expected[1].timestamp, 1_700_000_000_100);
    let expected_metas = scan(&plain, CEILING).unwrap();

    let mut decompressor = Decompressor::new();
    for compression in Compression::ALL {
        let bytes = java(compression.name());
        let batch = BatchView::first(&bytes).unwrap();
        assert!(batch.crc_ok(), "{compression}");
        assert_eq!(batch.attributes().compression(), Some(compression));
        assert_eq!(batch.total_bytes(), bytes.len());
        assert_eq!(
            (batch.producer_id(), batch.producer_epoch(), batch.base_sequence()),
            (4711, 3, 40)
        );
        assert_eq!(
            (batch.last_offset(), batch.last_sequence(), batch.record_count()),
            (39, 79, 40)
        );
        assert_eq!(batch.max_timestamp(), 1_700_000_005_000);
        assert_eq!(batch.leader_epoch(), 7);
        let records: Vec<_> = batch
            .records(&mut decompressor, CEILING)
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(records, expected, "{compression}");
        assert_eq!(scan(&batch, CEILING).unwrap(), expected_metas, "{compression}");
    }
}

#[test]
fn java_batches_of_other_kinds_are_told_apart() {
    let bytes = java("append_time");
    let batch = BatchView::first(&bytes).unwrap();
    assert!(batch.crc_ok());
    assert_eq!(batch.attributes().timestamp_type(), TimestampType::LogAppendTime);
    let mut decompressor = Decompressor::new();
    let record = batch
        .records(&mut decompressor, CEILING)
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    assert_eq!((record.offset, record.timestamp), (5, batch.max_timestamp()));

    let bytes = java("transactional");
    assert!(BatchView::first(&bytes).unwrap().attributes().is_transactional());
    for (name, magic) in [("v0", 0), ("v1", 1)] {
        let bytes = java(name);
        assert_eq!(BatchView::first(&bytes), Err(BatchError::Magic(magic)));
        assert_eq!(
            peek_frame(&bytes),
            Ok(Some(Frame {
                bytes: bytes.len(),
                magic
            }))
        );
    }
}

#[test]
fn batches_are_walked_one_after_the_other_and_a_cut_one_is_an_error() {
    let mut log = java("gzip");
    let first = log.len();
    log.extend_from_slice(&java("none"));
    let whole = log.len();
    assert_eq!(
        batches(&log)
            .map(|b| b.unwrap().total_bytes())
            .collect::<Vec<_>>(),
        [first, whole - first]
    );
    for cut in 1..whole {
        let walked: Vec<_> = batches(&log[..cut]).collect();
        let (last, before) = walked.split_last().unwrap();
        assert!(before.iter().all(Result::is_ok));
        assert_eq!(last.is_ok(), cut == first, "cut at {cut}");
    }
    let mut short = java("none");
    short[8..12].copy_from_slice(&13i32.to_be_bytes());
    assert_eq!(BatchView::first(&short), Err(BatchError::Length(13)));
    short[8..12].copy_from_slice(&(-1i32).to_be_bytes());
    assert_eq!(BatchView::first(&short), Err(BatchError::Length(-1)));
    short[8..12].copy_from_slice(&40i32.to_be_bytes());
    assert_eq!(BatchView::first(&short), Err(BatchError::NoHeader(52)));
}

#[test]
fn patches_keep_the_crc_right_and_touch_nothing_else() {
    for bytes in [java("append_time"), java("none"), large_batch()] {
        let before = BatchView::first(&bytes).unwrap();

        let mut moved = bytes.clone();
        patch_base_offset(&mut moved, 1 << 40);
        patch_leader_epoch(&mut moved, 99);
        let after = BatchView::first(&moved).unwrap();
        assert!(after.crc_ok() && after.crc() == before.crc());
        assert_eq!((after.base_offset(), after.leader_epoch()), (1 << 40, 99));

        let mut stamped = bytes.clone();
        patch_log_append_time(&mut stamped, 1_800_000_000_001);
        let after = BatchView::first(&stamped).unwrap();
        assert!(after.crc_ok(), "the corrected CRC equals a computed one");
        assert_eq!(after.attributes().timestamp_type(), TimestampType::LogAppendTime);
        assert_eq!(after.max_timestamp(), 1_800_000_000_001);
        assert_eq!(after.payload(), before.payload());
        let same = stamped.clone();
        patch_log_append_time(&mut stamped, 1_800_000_000_001);
        assert_eq!(same, stamped, "stamping twice changes nothing");

        patch_attributes(&mut stamped, before.attributes());
        patch_max_timestamp(&mut stamped, before.max_timestamp());
        assert_eq!(hex(&stamped), hex(&bytes), "back to the start, CRC included");
    }
}

fn large_batch() -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for i in 0..500 {
        builder
            .push(1_700_000_000_000 + i, None, Some(&[i as u8; 300]), &[])
            .unwrap();
    }
    builder.build_uncompressed()
}

#[test]
fn the_other_codec_reads_ours_and_we_read_its() {
    let mut compressor = Compressor::new();
    for compression in Compression::ALL {
        let ours = java_builder()
            .compression(compression, None)
            .build(&mut compressor)
            .unwrap();
        let unpack = |src: &mut Bytes, _: other::Compression| {
            let mut decompressor = Decompressor::new();
            Ok(Bytes::copy_from_slice(
                decompressor.decompress(compression, src, CEILING).unwrap(),
            ))
        };
        let set =
            other::RecordBatchDecoder::decode_with_custom_compression(&mut Bytes::from(ours), Some(unpack))
                .unwrap();
        assert_eq!(set.records.len(), 40);
        assert_eq!(set.records[39].offset, 39);
        assert_eq!(set.records[39].timestamp, 1_700_000_000_123 + 39);
        assert_eq!(set.records[1].key, None);
        assert_eq!(set.records[0].producer_id, 4711);

        let options = other::RecordEncodeOptions {
            version: 2,
            compression: to_other(compression),
        };
        let pack = |src: &mut BytesMut, out: &mut BytesMut, _: other::Compression| {
            let mut packed = Vec::new();
            Compressor::new()
                .compress(compression, None, src, &mut packed)
                .unwrap();
            out.extend_from_slice(&packed);
            Ok(())
        };
        let mut theirs = BytesMut::new();
        other::RecordBatchEncoder::encode_with_custom_compression(
            &mut theirs,
            &set.records,
            &options,
            Some(pack),
        )
        .unwrap();
        let batch = BatchView::first(&theirs).unwrap();
        assert!(batch.crc_ok());
        let mut decompressor = Decompressor::new();
        for (record, theirs) in batch
            .records(&mut decompressor, CEILING)
            .unwrap()
            .zip(&set.records)
        {
            let record = record.unwrap();
            assert_eq!(
                (record.offset, record.timestamp),
                (theirs.offset, theirs.timestamp)
            );
            assert_eq!(
                (record.key, record.value),
                (theirs.key.as_deref(), theirs.value.as_deref())
            );
        }
    }
}

fn to_other(compression: Compression) -> other::Compression {
    match compression {
        Compression::None => other::Compression::None,
        Compression::Gzip => other::Compression::Gzip,
        Compression::Snappy => other::Compression::Snappy,
        Compression::Lz4 => other::Compression::Lz4,
        Compression::Zstd => other::Compression::Zstd,
    }
}

#[test]
fn compressing_and_back_at_every_size_and_level() {
    let mut compressor = Compressor::new();
    let mut decompressor = Decompressor::new();
    let data: Vec<u8> = (0..3_000_000u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> (24 + i % 5)) as u8 & 0x5f)
        .collect();
    for compression in Compression::ALL {
        for len in [
            0, 1, 2, 100, 32_767, 32_768, 32_769, 65_536, 65_537, 1_000_000, 3_000_000,
        ] {
            if len == 0 && compression == Compression::Snappy {
                continue;
            }
            let mut packed = b"before".to_vec();
            compressor
                .compress(compression, None, &data[..len], &mut packed)
                .unwrap();
            let back = decompressor.decompress(compression, &packed[6..], len).unwrap();
            assert!(back == &data[..len], "{compression} {len}");
            if len > 0 {
                let error = decompressor
                    .decompress(compression, &packed[6..], len - 1)
                    .unwrap_err();
                assert_eq!(
                    error,
                    CompressionError::TooLarge { ceiling: len - 1 },
                    "{compression} {len}"
                );
            }
        }
        for level in [1, 9] {
            let mut packed = Vec::new();
            compressor
                .compress(compression, Some(level), &data[..100_000], &mut packed)
                .unwrap();
            assert!(decompressor.decompress(compression, &packed, CEILING).unwrap() == &data[..100_000]);
        }
    }
    let mut out = Vec::new();
    assert_eq!(
        compressor.compress(Compression::Gzip, Some(10), b"x", &mut out),
        Err(CompressionError::Codec(Compression::Gzip))
    );
}

#[test]
fn snappy_is_read_raw_and_framed_and_framed_twice() {
    let data = b"a text of some length, a text of some length, a text of some length".repeat(2000);
    let raw = snap::raw::Encoder::new().compress_vec(&data).unwrap();
    let mut decompressor = Decompressor::new();
    assert_eq!(
        decompressor
            .decompress(Compression::Snappy, &raw, CEILING)
            .unwrap(),
        data
    );
    let mut framed = Vec::new();
    let mut compressor = Compressor::new();
    compressor
        .compress(Compression::Snappy, None, &data, &mut framed)
        .unwrap();
    assert_eq!(&framed[..8], &[0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0]);
    compressor
        .compress(Compression::Snappy, None, &data, &mut framed)
        .unwrap();
    assert_eq!(
        decompressor
            .decompress(Compression::Snappy, &framed, CEILING)
            .unwrap(),
        [&data[..], &data[..]].concat()
    );
}

#[test]
fn bombs_stop_at_the_ceiling_in_time_and_at_the_window_in_memory() {
    let zeros = vec![0u8; 64 << 20];
    for compression in [
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ] {
        let mut packed = Vec::new();
        Compressor::new()
            .compress(compression, None, &zeros, &mut packed)
            .unwrap();
        let mut decompressor = Decompressor::new();
        let mut stream = decompressor.stream(compression, &packed, 1 << 20).unwrap();
        let mut total = 0;
        let error = loop {
            match stream.fill() {
                Ok(0) => panic!("{compression}: ended below the ceiling"),
                Ok(n) => total += n,
                Err(error) => break error,
            }
            let n = stream.available().len();
            stream.consume(n);
        };
        assert_eq!(
            error,
            CompressionError::TooLarge { ceiling: 1 << 20 },
            "{compression}"
        );
        assert!(total <= 1 << 20);
        drop(stream);
        assert!(
            decompressor.window_bytes() <= 256 * 1024,
            "{compression}: {} bytes",
            decompressor.window_bytes()
        );
    }
}

#[test]
fn a_record_larger_than_the_window_is_scanned_without_growing_it() {
    let mut builder = BatchBuilder::new();
    let value = vec![7u8; 5 << 20];
    builder
        .push(
            1000,
            Some(b"a"),
            Some(&value),
            &[Header {
                key: b"k",
                value: Some(&value[..100]),
            }],
        )
        .unwrap();
    builder.push(1001, None, Some(b"small"), &[]).unwrap();
    builder.push(1002, Some(&value), None, &[]).unwrap();
    for compression in Compression::ALL {
        let bytes = builder
            .clone()
            .compression(compression, None)
            .build(&mut Compressor::new())
            .unwrap();
        let batch = BatchView::first(&bytes).unwrap();
        let mut decompressor = Decompressor::new();
        let mut scan = RecordScan::new(&batch, &mut decompressor, CEILING).unwrap();
        let mut metas = Vec::new();
        while let Some(meta) = scan.next_record().unwrap() {
            metas.push((
                meta.timestamp_delta,
                meta.offset_delta,
                meta.has_key,
                meta.has_value,
            ));
        }
        scan.finish().unwrap();
        assert_eq!(
            metas,
            [(0, 0, true, true), (1, 1, false, true), (2, 2, true, false)],
            "{compression}"
        );
        assert!(
            decompressor.window_bytes() <= 512 * 1024,
            "{compression}: {}",
            decompressor.window_bytes()
        );
    }
}

#[test]
fn bytes_after_the_last_record_and_missing_records_are_errors() {
    for compression in Compression::ALL {
        for (declared, expected) in [(39, RecordError::Trailing), (41, RecordError::Missing)] {
            let mut bytes = java_builder()
                .compression(compression, None)
                .build(&mut Compressor::new())
                .unwrap();
            bytes[57..61].copy_from_slice(&i32::to_be_bytes(declared));
            let batch = BatchView::first(&bytes).unwrap();
            assert_eq!(
                scan(&batch, CEILING),
                Err(ScanError::Record(expected)),
                "{compression} {declared}"
            );
            let mut decompressor = Decompressor::new();
            let last = batch.records(&mut decompressor, CEILING).unwrap().last().unwrap();
            assert_eq!(last, Err(ScanError::Record(expected)), "{compression} {declared}");
        }
    }
}

#[test]
fn hostile_counts_and_lengths_of_a_record_are_errors_of_no_size() {
    // Body after the length: attributes, timestamp delta, offset delta, then what each case says.
    let cases: [(&[u8], RecordError); 7] = [
        (
            &[1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f],
            RecordError::HeaderCount(i32::MAX),
        ),
        (&[1, 1, 1], RecordError::HeaderCount(-1)),
        (&[0xfe, 0xff, 0xff, 0xff, 0x0f, 1, 0], RecordError::Overrun),
        (&[1, 0xfe, 0xff, 0xff, 0xff, 0x0f, 0], RecordError::Overrun),
        (&[1, 1, 2, 1, 1], RecordError::HeaderKey(-1)),
        (&[1, 1, 0, 9], RecordError::LeftOver(1)),
        (&[1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80], RecordError::Varint),
    ];
    for (tail, expected) in cases {
        let mut payload = vec![(tail.len() as u8 + 3) << 1, 0, 0, 0];
        payload.extend_from_slice(tail);
        let mut bytes = java("append_time");
        bytes.truncate(BATCH_HEADER_BYTES);
        bytes.extend_from_slice(&payload);
        let length = bytes.len() as i32 - 12;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        let batch = BatchView::first(&bytes).unwrap();
        assert_eq!(scan(&batch, CEILING), Err(ScanError::Record(expected)));
        let mut decompressor = Decompressor::new();
        let read = batch.records(&mut decompressor, CEILING).unwrap().next().unwrap();
        assert_eq!(read, Err(ScanError::Record(expected)));
    }
}
