//! Writes the hostile and ordinary produce inputs of `engine/tests/vectors` as JSON, without the answers.
//!
//! `engine/tests/vectors/ask_broker.py` sends them to a broker and adds what it answered and stored. Everything here is
//! deterministic, so the same vectors come out on every run.

use turgo_net::records::{
    Attributes, BATCH_HEADER_BYTES, BatchBuilder, Compression, Compressor, Header, patch_attributes,
};

/// 2023-11-14, far enough back for windows of a day and for ever in the past.
const T: i64 = 1_700_000_000_000;
/// 2100-01-01: beyond any window for as long as these vectors live.
const FUTURE: i64 = 4_102_444_800_000;

struct Vector {
    name: String,
    config: Vec<(&'static str, String)>,
    api_version: i16,
    records: Option<Vec<u8>>,
}

struct Out(Vec<Vector>);

impl Out {
    fn add(
        &mut self,
        name: impl Into<String>,
        config: &[(&'static str, &str)],
        api_version: i16,
        records: Vec<u8>,
    ) {
        let config = config.iter().map(|(k, v)| (*k, (*v).to_string())).collect();
        self.0.push(Vector {
            name: name.into(),
            config,
            api_version,
            records: Some(records),
        });
    }

    fn plain(&mut self, name: impl Into<String>, records: Vec<u8>) {
        self.add(name, &[], 11, records);
    }

    /// The same records uncompressed and gzipped: the broker has a path for each.
    fn both(&mut self, name: &str, config: &[(&'static str, &str)], batch: Vec<u8>) {
        let packed = compress(&batch, Compression::Gzip);
        self.add(format!("{name}_uncompressed"), config, 11, batch);
        self.add(format!("{name}_gzip"), config, 11, packed);
    }
}

fn main() {
    let mut out = Out(Vec::new());
    ordinary(&mut out);
    framing(&mut out);
    header(&mut out);
    timestamps(&mut out);
    keys(&mut out);
    codecs(&mut out);
    records(&mut out);
    sizes(&mut out);
    print(&out.0);
}

fn builder(n: i64) -> BatchBuilder {
    let mut builder = BatchBuilder::new();
    for i in 0..n {
        builder
            .push(
                T + i,
                Some(b"key"),
                Some(b"a value, a value, a value, a value"),
                &[],
            )
            .unwrap();
    }
    builder
}

fn batch(n: i64) -> Vec<u8> {
    builder(n).build_uncompressed()
}

/// Sets the length and the CRC to what the bytes are.
fn fix(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = bytes.len() as i32 - 12;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn with(mut bytes: Vec<u8>, at: usize, value: &[u8]) -> Vec<u8> {
    bytes[at..at + value.len()].copy_from_slice(value);
    fix(bytes)
}

fn payload(header_of: &[u8], payload: &[u8]) -> Vec<u8> {
    fix([&header_of[..BATCH_HEADER_BYTES], payload].concat())
}

/// An uncompressed batch with its payload compressed and nothing else changed, right or wrong.
fn compress(batch: &[u8], compression: Compression) -> Vec<u8> {
    let mut packed = Vec::new();
    Compressor::new()
        .compress(compression, None, &batch[BATCH_HEADER_BYTES..], &mut packed)
        .unwrap();
    let mut bytes = payload(batch, &packed);
    let attributes = Attributes(i16::from_be_bytes([bytes[21], bytes[22]])).with_compression(compression);
    patch_attributes(&mut bytes, attributes);
    bytes
}

fn ordinary(out: &mut Out) {
    for version in 3..=12 {
        out.add(format!("ordinary_v{version}"), &[], version, batch(3));
    }
    for codec in Compression::ALL {
        out.plain(format!("ordinary_{codec}"), compress(&batch(20), codec));
    }
    let headers = [
        Header {
            key: b"same",
            value: Some(b"1"),
        },
        Header {
            key: b"same",
            value: None,
        },
        Header {
            key: b"\xff\xfe",
            value: Some(b"key is not UTF-8"),
        },
    ];
    let mut b = BatchBuilder::new();
    b.push(T, None, None, &headers).unwrap();
    b.push(T, Some(b""), Some(b""), &headers[..1]).unwrap();
    out.both("headers_repeated_null_and_not_utf8", &[], b.build_uncompressed());
    out.plain("idempotent", builder(3).producer(77, 0, 0).build_uncompressed());
    out.plain(
        "idempotent_unknown_producer_at_sequence_5",
        builder(3).producer(77, 0, 5).build_uncompressed(),
    );
}

fn framing(out: &mut Out) {
    out.0.push(Vector {
        name: "records_null".into(),
        config: Vec::new(),
        api_version: 11,
        records: None,
    });
    out.plain("records_empty", Vec::new());
    let good = batch(3);
    for cut in [1, 11, 12, 16, 17, 20, 60, 61, 62, good.len() - 1] {
        out.plain(format!("cut_to_{cut}"), good[..cut].to_vec());
    }
    for extra in [1, 11, 16] {
        out.plain(
            format!("{extra}_bytes_after"),
            [&good[..], &vec![0xee; extra]].concat(),
        );
    }
    out.plain("zeros_after_17", [&good[..], &[0; 17]].concat());
    out.plain("noise_after_40", [&good[..], &[0x7e; 40]].concat());
    out.plain("second_batch_cut", [&good[..], &good[..good.len() - 1]].concat());
    out.plain("second_batch_cut_v0", [&good[..], &good[..16]].concat());
    out.plain("two_batches", [&good[..], &good[..]].concat());
    for length in [-1, 0, 13, 14, 48, 1 << 30, i32::MAX] {
        let mut bytes = good.clone();
        bytes[8..12].copy_from_slice(&i32::to_be_bytes(length));
        out.plain(format!("length_field_{length}"), bytes);
    }
    for magic in [0i8, 1, 3, 127, -1, -128] {
        let mut bytes = good.clone();
        bytes[16] = magic as u8;
        out.plain(format!("magic_{magic}"), bytes);
    }
    let v0 = unhex("000000000000000000000010a4ad2011000000000001610000000162");
    let v1 = unhex("00000000000000000000001882677b2801000000018bcfe5680000000001610000000162");
    out.plain("message_set_v0", v0.clone());
    out.add("message_set_v0_in_v3", &[], 3, v0);
    out.plain("message_set_v1", v1.clone());
    out.add("message_set_v1_in_v3", &[], 3, v1.clone());
    out.plain("message_set_v1_after_batch", [good.clone(), v1].concat());
}

fn header(out: &mut Out) {
    let good = batch(3);
    let mut bad_crc = good.clone();
    bad_crc[17] ^= 1;
    out.plain("crc_wrong", bad_crc.clone());
    let mut bad_both = bad_crc.clone();
    bad_both[60] = 9;
    out.plain("crc_and_count_wrong", bad_both);
    let mut bad_offset = bad_crc;
    bad_offset[7] = 9;
    out.plain("crc_and_base_offset_wrong", bad_offset);
    for offset in [1i64, 5, -1, i64::MAX, i64::MIN] {
        out.plain(
            format!("base_offset_{offset}"),
            with(good.clone(), 0, &offset.to_be_bytes()),
        );
    }
    for epoch in [0i32, 5, i32::MAX, -7] {
        out.plain(
            format!("leader_epoch_{epoch}"),
            with(good.clone(), 12, &epoch.to_be_bytes()),
        );
    }
    for (count, delta) in [
        (0, -1),
        (0, 0),
        (-1, 2),
        (3, 3),
        (3, 1),
        (2, 1),
        (4, 3),
        (2, 2),
        (1, 0),
        (i32::MAX, i32::MAX - 1),
        (i32::MIN, i32::MAX),
        (3, -1),
        (3, i32::MIN),
    ] {
        let bytes = with(good.clone(), 23, &i32::to_be_bytes(delta));
        out.both(
            &format!("count_{count}_last_delta_{delta}"),
            &[],
            with(bytes, 57, &i32::to_be_bytes(count)),
        );
    }
    out.both("count_0_no_records", &[], {
        let bytes = with(payload(&good, &[]), 23, &i32::to_be_bytes(-1));
        with(bytes, 57, &[0; 4])
    });
    for bit in [3u32, 4, 5, 6, 7, 8, 14, 15] {
        let attributes = (1u32 << bit) as i16;
        out.plain(
            format!("attribute_bit_{bit}"),
            with(good.clone(), 21, &attributes.to_be_bytes()),
        );
    }
    out.plain(
        "control_and_transactional",
        with(builder(1).producer(5, 0, 0).build_uncompressed(), 21, &[0, 0x30]),
    );
    out.plain(
        "transactional_with_producer",
        builder(1)
            .producer(5, 0, 0)
            .transactional(true)
            .build_uncompressed(),
    );
    out.plain(
        "producer_without_sequence",
        builder(3).producer(77, 0, -1).build_uncompressed(),
    );
    out.plain(
        "producer_with_sequence_-2",
        builder(3).producer(77, 0, -2).build_uncompressed(),
    );
    out.plain(
        "producer_without_epoch",
        builder(3).producer(77, -1, 0).build_uncompressed(),
    );
    out.plain(
        "producer_with_epoch_-2",
        builder(3).producer(77, -2, 0).build_uncompressed(),
    );
    out.plain(
        "sequence_without_producer",
        builder(3).producer(-1, -1, 5).build_uncompressed(),
    );
    out.plain(
        "epoch_without_producer",
        builder(3).producer(-1, 4, 5).build_uncompressed(),
    );
    out.plain(
        "producer_id_-2",
        builder(3).producer(-2, 0, 0).build_uncompressed(),
    );
    out.plain(
        "sequence_wraps",
        builder(3).producer(78, 0, i32::MAX - 1).build_uncompressed(),
    );
}

fn timed(times: &[i64]) -> Vec<u8> {
    let mut b = BatchBuilder::new();
    for time in times {
        b.push(*time, Some(b"k"), Some(b"value value value"), &[])
            .unwrap();
    }
    b.build_uncompressed()
}

fn timestamps(out: &mut Out) {
    const DAY: &str = "86400000";
    let append = [("message.timestamp.type", "LogAppendTime")];
    let before = [("message.timestamp.before.max.ms", DAY)];
    let after = [("message.timestamp.after.max.ms", DAY)];
    out.both("timestamp_future", &[], timed(&[FUTURE]));
    out.both("timestamp_future_second_of_three", &[], timed(&[T, FUTURE, T]));
    out.both(
        "timestamp_future_five_of_six",
        &[],
        timed(&[FUTURE, T, FUTURE, FUTURE + 1, FUTURE, FUTURE]),
    );
    out.both("timestamp_future_window_of_a_day", &after, timed(&[FUTURE]));
    out.both("timestamp_past_window_of_a_day", &before, timed(&[T]));
    out.both("timestamp_past_no_window", &[], timed(&[0]));
    out.both("timestamp_none", &[], timed(&[-1]));
    out.both("timestamp_none_window_of_a_day", &before, timed(&[-1]));
    out.both("timestamp_none_and_some", &[], timed(&[-1, T]));
    out.both("timestamp_-2", &[], timed(&[-2]));
    out.both("timestamp_-2_window_of_a_day", &before, timed(&[-2]));
    out.both("timestamp_min", &[], timed(&[i64::MIN]));
    out.both("timestamp_min_window_of_a_day", &before, timed(&[i64::MIN]));
    out.both("timestamp_max", &[], timed(&[i64::MAX]));
    out.both(
        "timestamp_max_no_limit",
        &[("message.timestamp.after.max.ms", "9223372036854775807")],
        timed(&[i64::MAX]),
    );
    out.both(
        "timestamp_overflow",
        &[],
        with(timed(&[T, T + 5]), 27, &(i64::MAX - 2).to_be_bytes()),
    );
    out.both("timestamps_falling", &[], timed(&[T + 9, T + 5, T]));
    out.both(
        "timestamps_equal_maximum_twice",
        &[],
        timed(&[T, T + 5, T + 5, T + 1]),
    );
    for (name, max) in [
        ("zero", 0i64),
        ("minus_one", -1),
        ("too_low", T - 5),
        ("too_high", T + 500),
        ("future", FUTURE),
    ] {
        out.both(
            &format!("max_timestamp_{name}"),
            &[],
            with(timed(&[T, T + 7, T + 3]), 35, &max.to_be_bytes()),
        );
    }
    out.both("append_time", &append, timed(&[T, T + 7, T + 3]));
    out.both("append_time_future", &append, timed(&[FUTURE]));
    out.both("append_time_none", &append, timed(&[-1]));
    out.both(
        "append_time_bit_on_create_time_topic",
        &[],
        with(timed(&[T]), 21, &[0, 8]),
    );
    out.both(
        "append_time_bit_future_on_create_time_topic",
        &[],
        with(timed(&[FUTURE]), 21, &[0, 8]),
    );
    out.both(
        "append_time_bit_on_append_time_topic",
        &append,
        with(timed(&[T]), 21, &[0, 8]),
    );
    out.both(
        "append_time_bit_three_on_append_time_topic",
        &append,
        with(timed(&[T, T, T, T]), 21, &[0, 8]),
    );
    out.both(
        "append_time_bit_and_other_maximum",
        &[],
        with(
            with(timed(&[T, T + 5]), 35, &(T + 500).to_be_bytes()),
            21,
            &[0, 8],
        ),
    );
    out.both("delete_horizon", &[], with(timed(&[T]), 21, &[0, 0x40]));
    out.both(
        "delete_horizon_append_time",
        &append,
        with(timed(&[T]), 21, &[0, 0x40]),
    );
}

fn keys(out: &mut Out) {
    let compacted = [("cleanup.policy", "compact")];
    let both = [("cleanup.policy", "compact,delete")];
    let with_keys = |keys: &[Option<&[u8]>]| {
        let mut b = BatchBuilder::new();
        for key in keys {
            b.push(T, *key, Some(b"value value value"), &[]).unwrap();
        }
        b.build_uncompressed()
    };
    let k: Option<&[u8]> = Some(b"k");
    out.both("compacted_keys", &compacted, with_keys(&[k, k]));
    out.both("compacted_empty_key", &compacted, with_keys(&[Some(b"")]));
    out.both("compacted_null_key", &compacted, with_keys(&[None]));
    out.both("compacted_delete_null_key", &both, with_keys(&[None]));
    out.both(
        "compacted_null_key_second_and_fourth",
        &compacted,
        with_keys(&[k, None, k, None]),
    );
    out.both("compacted_null_key_six", &compacted, with_keys(&[None; 6]));
    out.add("compacted_null_key_v7", &compacted, 7, with_keys(&[k, None]));
    out.add("compacted_null_key_v8", &compacted, 8, with_keys(&[k, None]));
    out.add(
        "compacted_null_key_1500",
        &compacted,
        11,
        compress(&with_keys(&[None; 1500]), Compression::Gzip),
    );
    let mut mixed = BatchBuilder::new();
    mixed.push(T, None, Some(b"value value"), &[]).unwrap();
    mixed.push(FUTURE, k, Some(b"value value"), &[]).unwrap();
    mixed.push(FUTURE, None, Some(b"value value"), &[]).unwrap();
    out.both(
        "compacted_null_key_and_future",
        &compacted,
        mixed.build_uncompressed(),
    );
    let mut mixed = BatchBuilder::new();
    mixed.push(FUTURE, k, Some(b"value value"), &[]).unwrap();
    mixed.push(T, None, Some(b"value value"), &[]).unwrap();
    out.both(
        "compacted_future_then_null_key",
        &compacted,
        mixed.build_uncompressed(),
    );
    out.both(
        "compacted_null_key_append_time",
        &[compacted[0], ("message.timestamp.type", "LogAppendTime")],
        with_keys(&[None]),
    );
    out.both("compacted_null_key_then_malformed", &compacted, {
        let bytes = with_keys(&[None, k]);
        let n = bytes.len();
        fix(bytes[..n - 3].to_vec())
    });
    out.both(
        "negative_key_length_compacted",
        &compacted,
        record_batch(&[3, 1, 0]),
    );
}

fn codecs(out: &mut Out) {
    let plain = batch(20);
    for version in [3, 6, 7] {
        out.add(
            format!("zstd_v{version}"),
            &[],
            version,
            compress(&plain, Compression::Zstd),
        );
    }
    out.add(
        "zstd_topic_v6",
        &[("compression.type", "zstd")],
        6,
        compress(&plain, Compression::Gzip),
    );
    for id in [5u8, 6, 7] {
        for version in [3, 11] {
            out.add(
                format!("codec_{id}_v{version}"),
                &[],
                version,
                with(plain.clone(), 21, &[0, id]),
            );
        }
    }
    let raw = snap::raw::Encoder::new()
        .compress_vec(&plain[BATCH_HEADER_BYTES..])
        .unwrap();
    let raw_batch = with(payload(&plain, &raw), 21, &[0, 2]);
    out.plain("snappy_raw", raw_batch.clone());
    out.add(
        "snappy_raw_recompressed",
        &[("compression.type", "gzip")],
        11,
        raw_batch,
    );
    for codec in &Compression::ALL[1..] {
        let good = compress(&plain, *codec);
        let packed = &good[BATCH_HEADER_BYTES..];
        out.plain(format!("{codec}_noise"), payload(&good, &[0x5a; 50]));
        out.plain(format!("{codec}_empty"), payload(&good, &[]));
        out.plain(format!("{codec}_one_byte"), payload(&good, &packed[..1]));
        out.plain(
            format!("{codec}_cut_4"),
            payload(&good, &packed[..packed.len() - 4]),
        );
        out.plain(
            format!("{codec}_cut_9"),
            payload(&good, &packed[..packed.len() - 9]),
        );
        out.plain(
            format!("{codec}_cut_half"),
            payload(&good, &packed[..packed.len() / 2]),
        );
        out.plain(
            format!("{codec}_uncompressed_inside"),
            with(plain.clone(), 21, &[0, codec.id()]),
        );
        out.plain(
            format!("{codec}_zeros_after"),
            payload(&good, &[packed, &[0; 20]].concat()),
        );
        out.plain(
            format!("{codec}_noise_after"),
            payload(&good, &[packed, &[0x5a; 20]].concat()),
        );
        out.plain(
            format!("{codec}_stream_after"),
            payload(&good, &[packed, packed].concat()),
        );
        let mut split = Vec::new();
        for part in plain[BATCH_HEADER_BYTES..].chunks(300) {
            Compressor::new()
                .compress(*codec, None, part, &mut split)
                .unwrap();
        }
        out.plain(format!("{codec}_many_streams"), payload(&good, &split));
        let mut flipped = packed.to_vec();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 0x55;
        out.plain(format!("{codec}_bit_flips"), payload(&good, &flipped));
        for target in ["uncompressed", "gzip", "snappy", "lz4", "zstd", "producer"] {
            out.add(
                format!("{codec}_to_{target}"),
                &[("compression.type", target)],
                11,
                good.clone(),
            );
        }
        out.add(
            format!("{codec}_same_append_time"),
            &[
                ("compression.type", codec.name()),
                ("message.timestamp.type", "LogAppendTime"),
            ],
            11,
            good.clone(),
        );
        out.add(
            format!("{codec}_to_uncompressed_append_time"),
            &[
                ("compression.type", "uncompressed"),
                ("message.timestamp.type", "LogAppendTime"),
            ],
            11,
            good,
        );
    }
    let mut gzip_trailer = compress(&plain, Compression::Gzip);
    let n = gzip_trailer.len();
    gzip_trailer[n - 6] ^= 1;
    out.plain("gzip_checksum_wrong", fix(gzip_trailer));
    for target in ["uncompressed", "gzip", "snappy", "lz4", "zstd", "producer"] {
        out.add(
            format!("none_to_{target}"),
            &[("compression.type", target)],
            11,
            plain.clone(),
        );
    }
    let idempotent = builder(20).producer(79, 2, 0).build_uncompressed();
    out.add(
        "none_to_gzip_idempotent",
        &[("compression.type", "gzip")],
        11,
        idempotent,
    );
    out.add(
        "none_to_gzip_append_time",
        &[
            ("compression.type", "gzip"),
            ("message.timestamp.type", "LogAppendTime"),
        ],
        11,
        plain.clone(),
    );
    out.add(
        "none_to_gzip_max_timestamp_wrong",
        &[("compression.type", "gzip")],
        11,
        with(plain.clone(), 35, &[0; 8]),
    );

    for bit in [6, 8] {
        let attributes = 1i16 << bit;
        let name = format!("none_to_gzip_attribute_bit_{bit}");
        out.add(
            name,
            &[("compression.type", "gzip")],
            11,
            with(plain.clone(), 21, &attributes.to_be_bytes()),
        );
    }

    let lz4 = compress(&plain, Compression::Lz4);
    let packed = &lz4[BATCH_HEADER_BYTES..];
    let variant = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = packed.to_vec();
        edit(&mut bytes);
        payload(&lz4, &bytes)
    };
    out.plain("lz4_header_checksum_wrong", variant(&|b| b[6] ^= 1));
    out.plain(
        "lz4_dependent_blocks",
        lz4_frame(
            &lz4,
            lz4_flex::frame::FrameInfo::new().block_mode(lz4_flex::frame::BlockMode::Linked),
        ),
    );
    out.plain(
        "lz4_block_checksums",
        lz4_frame(&lz4, lz4_flex::frame::FrameInfo::new().block_checksums(true)),
    );
    out.plain(
        "lz4_content_checksum",
        lz4_frame(&lz4, lz4_flex::frame::FrameInfo::new().content_checksum(true)),
    );
    out.plain("lz4_content_size", {
        let size = (plain.len() - BATCH_HEADER_BYTES) as u64;
        lz4_frame(&lz4, lz4_flex::frame::FrameInfo::new().content_size(Some(size)))
    });
    out.plain(
        "lz4_blocks_of_4_mib",
        lz4_frame(
            &lz4,
            lz4_flex::frame::FrameInfo::new().block_size(lz4_flex::frame::BlockSize::Max4MB),
        ),
    );
    out.plain("lz4_no_end_mark", variant(&|b| b.truncate(b.len() - 4)));
    let zstd = compress(&plain, Compression::Zstd);
    let skippable = [
        &[0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4][..],
        &zstd[BATCH_HEADER_BYTES..],
    ]
    .concat();
    out.plain("zstd_skippable_frame_first", payload(&zstd, &skippable));
}

fn lz4_frame(header_of: &[u8], info: lz4_flex::frame::FrameInfo) -> Vec<u8> {
    use std::io::Write;
    let plain = batch(20);
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(&plain[BATCH_HEADER_BYTES..]).unwrap();
    payload(header_of, &encoder.finish().unwrap())
}

/// A batch of one record whose body after the deltas is `tail`.
fn record_batch(tail: &[u8]) -> Vec<u8> {
    record_body(&[&[0, 0, 0], tail].concat())
}

fn record_body(body: &[u8]) -> Vec<u8> {
    payload(&batch(1), &[&[(body.len() as u8) << 1], body].concat())
}

fn records(out: &mut Out) {
    let deltas = |deltas: &[u8]| {
        let good = batch(deltas.len() as i64);
        let mut body = Vec::new();
        for delta in deltas {
            body.extend_from_slice(&[14, 0, 0, *delta << 1, 1, 2, b'v', 0]);
        }
        payload(&good, &body)
    };
    out.both("offset_deltas_in_order", &[], deltas(&[0, 1, 2]));
    out.both("offset_deltas_swapped", &[], deltas(&[0, 2, 1]));
    out.both("offset_deltas_repeated", &[], deltas(&[0, 0, 0]));
    out.both("offset_deltas_from_1", &[], deltas(&[1, 2, 3]));
    out.both("offset_deltas_gap", &[], deltas(&[0, 5]));
    out.both("offset_delta_of_one_record_7", &[], deltas(&[7]));
    out.both("record_attributes_set", &[], record_body(&[0xff, 0, 0, 1, 1, 0]));
    out.both(
        "record_length_negative",
        &[],
        payload(&batch(1), &[1, 0, 0, 0, 1, 1, 0]),
    );
    out.both("record_length_zero", &[], payload(&batch(1), &[0]));
    out.both(
        "record_length_beyond",
        &[],
        payload(&batch(1), &[14, 0, 0, 0, 1, 1, 0]),
    );
    out.both(
        "record_length_short",
        &[],
        payload(&batch(1), &[10, 0, 0, 0, 1, 1, 0]),
    );
    out.both(
        "record_length_huge",
        &[],
        payload(&batch(1), &[0xfe, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 1, 1, 0]),
    );
    out.both(
        "record_length_six_bytes",
        &[],
        payload(&batch(1), &[0x8c, 0x80, 0x80, 0x80, 0x80, 0x00, 0, 0, 0, 1, 1, 0]),
    );
    out.both(
        "record_length_long_form",
        &[],
        payload(&batch(1), &[0x8c, 0x80, 0x80, 0x80, 0x00, 0, 0, 0, 1, 1, 0]),
    );
    out.both("record_left_over", &[], record_batch(&[1, 1, 0, 9, 9]));
    out.both(
        "record_trailing",
        &[],
        payload(&batch(1), &[12, 0, 0, 0, 1, 1, 0, 9]),
    );
    out.both("key_length_-2", &[], record_batch(&[3, 1, 0]));
    out.both("value_length_-5", &[], record_batch(&[1, 9, 0]));
    out.both("key_beyond", &[], record_batch(&[20, 1, 0]));
    out.both("value_beyond", &[], record_batch(&[1, 20, 0]));
    out.both(
        "value_huge",
        &[],
        record_batch(&[1, 0xfe, 0xff, 0xff, 0xff, 0x0f, 0]),
    );
    out.both("headers_missing", &[], record_batch(&[1, 1]));
    out.both("header_count_-1", &[], record_batch(&[1, 1, 1]));
    out.both(
        "header_count_huge",
        &[],
        record_batch(&[1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f]),
    );
    out.both("header_count_one_more", &[], record_batch(&[1, 1, 4, 2, b'h', 1]));
    out.both("header_key_null", &[], record_batch(&[1, 1, 2, 1, 1]));
    out.both("header_key_empty", &[], record_batch(&[1, 1, 2, 0, 1]));
    out.both("header_value_-2", &[], record_batch(&[1, 1, 2, 2, b'h', 3]));
    out.both("header_value_beyond", &[], record_batch(&[1, 1, 2, 2, b'h', 40]));
    out.both(
        "timestamp_delta_ten_bytes",
        &[],
        record_body(&[
            0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00, 0, 1, 1, 0,
        ]),
    );
    out.both(
        "timestamp_delta_eleven_bytes",
        &[],
        record_body(&[
            0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0, 0, 1, 1, 0,
        ]),
    );
    out.both("empty_payload", &[], payload(&batch(1), &[]));
    let good = batch(3);
    let n = good.len();
    out.both("payload_cut_1", &[], fix(good[..n - 1].to_vec()));
    out.both("payload_one_more_byte", &[], fix([&good[..], &[0]].concat()));
    out.both(
        "payload_one_more_record",
        &[],
        fix([&good[..], &[12, 0, 0, 6, 1, 1, 0]].concat()),
    );
}

fn sizes(out: &mut Out) {
    let limit = [("max.message.bytes", "200")];
    out.add("larger_than_max_message_bytes", &limit, 11, batch(10));
    let mut wrong = batch(10);
    wrong[17] ^= 1;
    out.add("larger_than_max_message_bytes_crc_wrong", &limit, 11, wrong);
    out.add(
        "larger_than_max_message_bytes_until_compressed",
        &limit,
        11,
        compress(&batch(10), Compression::Gzip),
    );
    let exact = batch(3);
    let bytes = exact.len().to_string();
    out.add(
        "exactly_max_message_bytes",
        &[("max.message.bytes", &bytes)],
        11,
        exact.clone(),
    );
    let bytes = (exact.len() - 1).to_string();
    out.add(
        "one_above_max_message_bytes",
        &[("max.message.bytes", &bytes)],
        11,
        exact.clone(),
    );
    out.add(
        "one_above_max_message_bytes_and_null_key",
        &[("max.message.bytes", "70"), ("cleanup.policy", "compact")],
        11,
        {
            let mut b = BatchBuilder::new();
            b.push(T, None, Some(b"value value value"), &[]).unwrap();
            b.build_uncompressed()
        },
    );
    let room = [("max.message.bytes", "300"), ("compression.type", "uncompressed")];
    out.add(
        "too_large_once_uncompressed",
        &room,
        11,
        compress(&batch(10), Compression::Gzip),
    );
    out.add(
        "small_once_compressed",
        &[("max.message.bytes", "200"), ("compression.type", "gzip")],
        11,
        batch(10),
    );
    out.add(
        "trailing_bytes_do_not_count",
        &[("max.message.bytes", &exact.len().to_string())],
        11,
        [&exact[..], &[1; 11]].concat(),
    );
    let mut bomb = BatchBuilder::new();
    bomb.push(T, Some(b"k"), Some(&vec![0; 20 << 20]), &[]).unwrap();
    out.plain(
        "zstd_of_20_mib_of_zeros",
        compress(&bomb.build_uncompressed(), Compression::Zstd),
    );
    out.add(
        "zstd_of_20_mib_of_zeros_to_uncompressed",
        &[("compression.type", "uncompressed")],
        11,
        compress(&bomb.build_uncompressed(), Compression::Zstd),
    );
}

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2)
        .map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap())
        .collect()
}

fn print(vectors: &[Vector]) {
    let lines: Vec<String> = vectors
        .iter()
        .map(|vector| {
            let config: Vec<String> = vector
                .config
                .iter()
                .map(|(k, v)| format!("\"{k}\":\"{v}\""))
                .collect();
            let records = match &vector.records {
                Some(bytes) => format!(
                    "\"{}\"",
                    bytes.iter().map(|b| format!("{b:02x}")).collect::<String>()
                ),
                None => "null".to_string(),
            };
            format!(
                "{{\"name\":\"{}\",\"config\":{{{}}},\"api_version\":{},\"records\":{records}}}",
                vector.name,
                config.join(","),
                vector.api_version
            )
        })
        .collect();
    println!("[\n{}\n]", lines.join(",\n"));
}
