//! Random and damaged input: errors, never panics; whatever scans also iterates, and to the same records.

use proptest::prelude::*;

use super::*;

/// One generated record: timestamp, key, value, headers.
type Generated = (
    i64,
    Option<Vec<u8>>,
    Option<Vec<u8>>,
    Vec<(Vec<u8>, Option<Vec<u8>>)>,
);

fn blob(most: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..most),
        (any::<u8>(), 0..most * 4).prop_map(|(byte, len)| vec![byte; len]),
    ]
}

fn records() -> impl Strategy<Value = Vec<Generated>> {
    let header = (blob(8), proptest::option::of(blob(20)));
    let timestamp = prop_oneof![any::<i64>(), 1_700_000_000_000i64..1_700_000_100_000];
    proptest::collection::vec(
        (
            timestamp,
            proptest::option::of(blob(30)),
            proptest::option::of(blob(300)),
            proptest::collection::vec(header, 0..4),
        ),
        1..30,
    )
}

fn build(records: &[Generated], compression: Compression) -> Vec<u8> {
    let mut builder = BatchBuilder::new()
        .compression(compression, None)
        .producer(1, 2, 3);
    for (timestamp, key, value, headers) in records {
        let headers: Vec<_> = headers
            .iter()
            .map(|(k, v)| Header {
                key: k,
                value: v.as_deref(),
            })
            .collect();
        builder
            .push(*timestamp, key.as_deref(), value.as_deref(), &headers)
            .unwrap();
    }
    builder.build(&mut Compressor::new()).unwrap()
}

/// Reads everything there is to read; agreement of scan and iteration is the only demand.
fn exercise(bytes: &[u8], ceiling: usize) {
    for batch in batches(bytes).flatten() {
        let _ = (
            batch.crc_ok(),
            format!("{batch:?}"),
            batch.last_offset(),
            batch.last_sequence(),
        );
        let scanned = scan(&batch, ceiling);
        let mut decompressor = Decompressor::new();
        let iterated: Result<Vec<_>, ScanError> = match batch.records(&mut decompressor, ceiling) {
            Ok(records) => records
                .map(|r| r.map(|r| (r.offset, r.key.is_some(), r.headers.iter().count())))
                .collect(),
            Err(error) => Err(error.into()),
        };
        match (scanned, iterated) {
            (Ok(scanned), Ok(iterated)) => {
                assert_eq!(scanned.len(), iterated.len());
                for (meta, (offset, has_key, _)) in scanned.iter().zip(&iterated) {
                    assert_eq!(
                        batch.base_offset().wrapping_add(i64::from(meta.offset_delta)),
                        *offset
                    );
                    assert_eq!(meta.has_key, *has_key);
                }
            }
            (Err(_), Err(_)) => {}
            (scanned, iterated) => panic!("scan {scanned:?} but iteration {iterated:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn what_is_built_is_read_back(records in records(), codec in 0u8..5) {
        let compression = Compression::from_id(codec).unwrap();
        let bytes = build(&records, compression);
        let batch = BatchView::first(&bytes).unwrap();
        prop_assert!(batch.crc_ok());
        prop_assert_eq!(batch.max_timestamp(), records.iter().map(|r| r.0).max().unwrap());
        let mut decompressor = Decompressor::new();
        let read: Vec<Generated> = batch
            .records(&mut decompressor, CEILING)
            .unwrap()
            .map(|record| {
                let r = record.unwrap();
                let headers = r.headers.iter().map(|h| (h.key.to_vec(), h.value.map(<[u8]>::to_vec))).collect();
                (r.timestamp, r.key.map(<[u8]>::to_vec), r.value.map(<[u8]>::to_vec), headers)
            })
            .collect();
        prop_assert_eq!(read, records);
        exercise(&bytes, CEILING);
    }

    #[test]
    fn damaged_batches_are_errors_or_other_records(
        records in records(),
        codec in 0u8..5,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = build(&records, Compression::from_id(codec).unwrap());
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            // The length field follows, so the cut is seen by the codec and not just by the frame.
            bytes.truncate(BATCH_HEADER_BYTES.max(cut.index(bytes.len())));
            let length = bytes.len() as i32 - 12;
            bytes[8..12].copy_from_slice(&length.to_be_bytes());
        }
        exercise(&bytes, 1 << 20);
    }

    #[test]
    fn noise_behind_a_good_header_is_an_error_or_records(
        noise in proptest::collection::vec(any::<u8>(), 0..400),
        attributes in any::<i16>(),
        count in prop_oneof![any::<i32>(), 0..50],
    ) {
        let mut bytes = build(&[(1, None, None, Vec::new())], Compression::None);
        bytes.truncate(BATCH_HEADER_BYTES);
        bytes.extend_from_slice(&noise);
        let length = bytes.len() as i32 - 12;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[21..23].copy_from_slice(&attributes.to_be_bytes());
        bytes[57..61].copy_from_slice(&count.to_be_bytes());
        exercise(&bytes, 1 << 20);
        exercise(&noise, 1 << 20);
    }

    #[test]
    fn noise_behind_a_codecs_magic_is_an_error_or_data(
        noise in proptest::collection::vec(any::<u8>(), 0..200),
        codec in 1u8..5,
        skip in 0usize..24,
    ) {
        let compression = Compression::from_id(codec).unwrap();
        let mut packed = Vec::new();
        Compressor::new().compress(compression, None, b"some text to start with, some text to end with", &mut packed).unwrap();
        packed.truncate(skip);
        packed.extend_from_slice(&noise);
        let mut decompressor = Decompressor::new();
        let _ = decompressor.decompress(compression, &packed, 1 << 20);
        prop_assert!(decompressor.window_bytes() <= 10 << 20);
    }
}
