use super::*;
use crate::compact::records::{CodecError, put_record};
use crate::format::kafka::patch;
use crate::testing::{marker, producer_batch};

/// "Compresses" by turning every bit around, so that a batch that was not decompressed is noticed.
struct Flip;

impl Codec for Flip {
    fn decompress(
        &mut self,
        id: u8,
        from: &[u8],
        ceiling: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        if id != 1 || from.len() > ceiling {
            return Err(CodecError);
        }
        out.extend(from.iter().map(|b| !b));
        Ok(())
    }

    fn compress(&mut self, id: u8, from: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError> {
        self.decompress(id, from, usize::MAX, out)
    }
}

type Rows<'a> = &'a [(&'a str, Option<&'a str>)];

/// A batch at `base` with these keys and values, stamped 1000 and on; `who`: producer id and first sequence.
fn data(base: i64, rows: Rows<'_>, attributes: i16, who: (i64, i32)) -> Vec<u8> {
    let mut plain = Vec::new();
    for (n, (key, value)) in rows.iter().enumerate() {
        let key = (!key.is_empty()).then_some(key.as_bytes());
        put_record(&mut plain, n as i64, n as i64, key, value.map(str::as_bytes));
    }
    let mut batch = producer_batch(rows.len() as i32, HEADER_BYTES, 1000, who.0, 0, who.1);
    if attributes & 7 == 0 {
        batch.extend_from_slice(&plain);
    } else {
        Flip.compress(1, &plain, &mut batch).expect("codec 1");
    }
    finish(
        &mut batch,
        attributes,
        1000 + rows.len() as i64 - 1,
        rows.len() as i32,
    );
    patch(&mut batch, base, 3);
    batch
}

fn control(base: i64, commit: bool, producer: i64) -> Vec<u8> {
    let mut batch = marker(commit, producer, 0, 1, 1000);
    patch(&mut batch, base, 3);
    batch
}

fn filter(now_ms: i64, end: i64) -> Filter {
    let map = OffsetMap::new(1 << 20, 900, 1000);
    Filter::new(
        KeyHasher::new(&[1; 16]),
        map,
        now_ms,
        500,
        end,
        10,
        Broken::default(),
    )
}

/// A whole pass. Returns the batches that stay.
fn pass(mut filter: Filter, log: &[Vec<u8>]) -> (Vec<Vec<u8>>, Vec<i64>) {
    for batch in log {
        assert!(filter.index(batch, &mut Flip));
    }
    filter.restart();
    let mut kept = Vec::new();
    for batch in log {
        let mut out = Vec::new();
        match filter.clean(batch, &mut Flip, &mut out) {
            Kept::Whole => kept.push(batch.clone()),
            Kept::Rewritten => {
                let header = BatchHeader::parse(&out).expect("a batch");
                assert!(header.crc_matches(&out) && header.bytes == out.len());
                kept.push(out);
            }
            Kept::Nothing => assert!(out.is_empty()),
        }
    }
    (kept, filter.take_dropped_markers())
}

/// Offset, key, value or not, and timestamp of every record.
fn rows(batches: &[Vec<u8>]) -> Vec<(i64, String, bool, i64)> {
    let mut all = Vec::new();
    for batch in batches {
        let header = BatchHeader::parse(batch).expect("a batch");
        if header.is_control() {
            continue;
        }
        let mut plain = batch[HEADER_BYTES..].to_vec();
        if header.attributes & 7 != 0 {
            plain = plain.iter().map(|b| !b).collect();
        }
        for record in records(&plain, header.record_count) {
            let r = record.expect("a record");
            all.push((
                header.base_offset + r.offset_delta,
                String::from_utf8_lossy(r.key.unwrap_or_default()).into_owned(),
                r.value.is_some(),
                header.base_timestamp + r.timestamp_delta,
            ));
        }
    }
    all
}

const NOBODY: (i64, i32) = (-1, -1);

#[test]
fn the_newest_of_each_key_stays_where_it_was() {
    for attributes in [0, 1] {
        let log = [
            data(
                0,
                &[("a", Some("1")), ("b", Some("1")), ("c", Some("1"))],
                attributes,
                NOBODY,
            ),
            data(3, &[("a", Some("2")), ("", Some("no key"))], attributes, NOBODY),
            data(5, &[("b", Some("2")), ("b", Some("3"))], attributes, NOBODY),
            data(7, &[("d", Some("1"))], attributes, NOBODY),
        ];
        let (kept, _) = pass(filter(0, 100), &log);
        let row = |offset, key: &str, stamp| (offset, key.to_owned(), true, stamp);
        assert_eq!(
            rows(&kept),
            [
                row(2, "c", 1002),
                row(3, "a", 1000),
                row(6, "b", 1001),
                row(7, "d", 1000)
            ]
        );
        let first = BatchHeader::parse(&kept[0]).expect("a batch");
        assert_eq!(
            (
                first.base_offset,
                first.last_offset(),
                first.record_count,
                first.leader_epoch
            ),
            (0, 2, 1, 3),
            "offsets and epoch of the batch do not move"
        );
        assert_eq!((first.attributes & 7, first.max_timestamp), (attributes, 1002));
        assert_eq!(kept[3], log[3], "what stays whole stays byte for byte");
        // Another pass finds nothing to do.
        assert_eq!(pass(filter(0, 100), &kept).0, kept);
    }
}

#[test]
fn a_tombstone_stays_from_its_first_pass_to_its_horizon() {
    let log = [
        data(0, &[("a", Some("1")), ("b", Some("1"))], 0, NOBODY),
        data(2, &[("a", None), ("c", Some("1"))], 0, NOBODY),
    ];
    let (once, _) = pass(filter(10_000, 100), &log);
    let wanted = [
        (1, "b".to_owned(), true, 1001),
        (2, "a".to_owned(), false, 1000),
        (3, "c".to_owned(), true, 1001),
    ];
    assert_eq!(
        rows(&once),
        wanted,
        "timestamps stay though the base is the horizon now"
    );
    let header = BatchHeader::parse(&once[1]).expect("a batch");
    assert_eq!(header.base_timestamp, 10_500);
    assert_ne!(header.attributes & DELETE_HORIZON, 0);
    let (still, _) = pass(filter(10_499, 100), &once);
    assert_eq!(still, once);
    let (later, _) = pass(filter(10_500, 100), &once);
    assert_eq!(rows(&later), [wanted[0].clone(), wanted[2].clone()]);
    let header = BatchHeader::parse(&later[1]).expect("a batch");
    assert_eq!(header.base_timestamp, 10_500, "the horizon is set once");
}

#[test]
fn what_was_not_indexed_stays() {
    let log = [
        data(0, &[("a", Some("1"))], 0, NOBODY),
        data(1, &[("a", Some("2"))], 0, NOBODY),
        data(2, &[("b", Some("1")), ("", None)], 0, NOBODY),
    ];
    let mut filter = filter(0, 100);
    assert!(filter.index(&log[0], &mut Flip) && filter.index(&log[1], &mut Flip));
    assert_eq!(filter.indexed_end(), 2);
    filter.restart();
    let mut out = Vec::new();
    assert_eq!(filter.clean(&log[0], &mut Flip, &mut out), Kept::Nothing);
    assert_eq!(filter.clean(&log[1], &mut Flip, &mut out), Kept::Whole);
    assert_eq!(
        filter.clean(&log[2], &mut Flip, &mut out),
        Kept::Rewritten,
        "a tombstone gets its horizon"
    );
    assert_eq!(BatchHeader::parse(&out).expect("a batch").record_count, 2);
}

#[test]
fn a_full_table_ends_the_pass_before_the_batch_that_did_not_fit() {
    let map = OffsetMap::new(1, 10, 1);
    let most = map.limit();
    assert!(most < 3);
    let mut filter = Filter::new(KeyHasher::new(&[1; 16]), map, 0, 0, 100, 10, Broken::default());
    assert!(filter.index(&data(0, &[("a", Some("1"))], 0, NOBODY), &mut Flip));
    let big = data(
        1,
        &[("b", Some("1")), ("c", Some("1")), ("d", Some("1"))],
        0,
        NOBODY,
    );
    assert!(!filter.index(&big, &mut Flip));
    assert_eq!(filter.indexed_end(), 1);
}

#[test]
fn aborted_records_go_at_once_and_their_marker_when_its_time_has_come() {
    let aborted = [AbortedTxn {
        producer_id: 7,
        first_offset: 0,
        last_offset: 2,
        last_stable_offset: 3,
    }];
    let log = [
        data(0, &[("a", Some("aborted"))], TRANSACTIONAL, (7, 0)),
        data(1, &[("a", Some("1"))], 0, NOBODY),
        control(2, false, 7),
        data(3, &[("b", Some("committed"))], TRANSACTIONAL, (7, 1)),
        control(4, true, 7),
        data(5, &[("a", Some("2")), ("b", Some("2"))], 0, NOBODY),
    ];
    let at = |now_ms| {
        let mut filter = filter(now_ms, 100);
        filter.set_aborted(&aborted);
        filter
    };
    let (once, dropped) = pass(at(10_000), &log);
    let bases = |batches: &[Vec<u8>]| -> Vec<i64> {
        batches
            .iter()
            .map(|b| BatchHeader::parse(b).expect("a batch").base_offset)
            .collect()
    };
    assert_eq!((bases(&once), dropped.len()), (vec![2, 4, 5], 0));
    let horizon = |batch: &[u8]| BatchHeader::parse(batch).expect("a batch").attributes & DELETE_HORIZON != 0;
    assert!(!horizon(&once[0]), "its records were there until now");
    let (twice, dropped) = pass(at(20_000), &once);
    assert_eq!((bases(&twice), dropped.len()), (vec![2, 4, 5], 0));
    assert!(horizon(&twice[0]) && horizon(&twice[1]));
    let header = BatchHeader::parse(&twice[0]).expect("a batch");
    assert!(Marker::parse(&header, &twice[0]).is_some_and(|m| !m.commit));
    let (thrice, dropped) = pass(at(20_500), &twice);
    assert_eq!((bases(&thrice), dropped), (vec![5], vec![2, 4]));
}

#[test]
fn a_producers_last_batch_keeps_its_header() {
    let log = [
        data(0, &[("a", Some("1")), ("b", Some("1"))], 0, (7, 40)),
        data(2, &[("a", Some("2")), ("b", Some("2"))], 0, NOBODY),
    ];
    let mut entry = ProducerEntry::new(7, 0);
    entry.push(crate::producer::ProducerBatch {
        base_sequence: 40,
        last_sequence: 41,
        base_offset: 0,
        last_offset: 1,
        max_timestamp: 1001,
    });
    let mut with = filter(0, 100);
    with.set_producers(&[entry]);
    let (kept, _) = pass(with, &log);
    let header = BatchHeader::parse(&kept[0]).expect("a batch");
    assert_eq!((kept[0].len(), header.record_count), (HEADER_BYTES, 0));
    assert_eq!(
        (
            header.base_offset,
            header.last_offset(),
            header.base_sequence,
            header.producer_id
        ),
        (0, 1, 40, 7)
    );
    assert_eq!((header.base_timestamp, header.max_timestamp), (-1, 1001));
    let mut again = filter(0, 100);
    again.set_producers(&[entry]);
    assert_eq!(pass(again, &kept).0, kept);
    assert_eq!(pass(filter(0, 100), &kept).0.len(), 1, "nobody needs it any more");
}

#[test]
fn the_last_batch_of_the_pass_keeps_its_header() {
    let log = [
        data(0, &[("a", Some("1"))], 0, NOBODY),
        data(1, &[("", Some("no key"))], 0, NOBODY),
    ];
    let (kept, _) = pass(filter(0, 2), &log);
    assert_eq!(kept.len(), 2);
    assert_eq!(BatchHeader::parse(&kept[1]).expect("a batch").record_count, 0);
}

#[test]
fn a_batch_that_cannot_be_read_stays_whole() {
    let mut log = [
        data(0, &[("a", Some("1"))], 2, NOBODY),
        data(1, &[("a", Some("1")), ("b", Some("1"))], 0, NOBODY),
        data(3, &[("a", Some("2"))], 0, NOBODY),
    ];
    let cut = log[1].len() - 3;
    log[1].truncate(cut);
    finish(&mut log[1], 0, 1001, 2);
    let filter = filter(0, 100);
    let (kept, _) = pass(filter, &log);
    assert_eq!(kept, log);
}
