//! What a compacted log may contain: every record ever appended, and what may be missing of it.
//!
//! The model keeps whole logs. A store that compacts must serve a reduction of one: [`Keyed::explains`] says whether
//! what was found is one. Nothing here is shared with the store's own code: batches are built and read, transactions
//! decided and consumers imitated a second time.

use super::rng::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its offset.
    pub offset: i64,
    /// Its key, if it has one.
    pub key: Option<Vec<u8>>,
    /// Its value; none for a tombstone.
    pub value: Option<Vec<u8>>,
    /// Its timestamp.
    pub timestamp: i64,
}

/// What a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Records outside transactions.
    Plain,
    /// Records of a transaction.
    Transactional,
    /// Its end: true for commit.
    Marker(bool),
    /// A marker of which only the header is left.
    Hollow,
}

/// A batch, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// First offset.
    pub base: i64,
    /// Last offset.
    pub last: i64,
    /// Leader epoch.
    pub epoch: i32,
    /// Producer id, producer epoch, first sequence.
    pub producer: (i64, i16, i32),
    /// Codec.
    pub codec: u8,
    /// See [`Role`].
    pub role: Role,
    /// Data records; empty for markers.
    pub rows: Vec<Row>,
}

fn put(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    loop {
        let byte = (rest & 0x7f) as u8;
        rest >>= 7;
        if rest == 0 {
            out.push(byte);
            return;
        }
        out.push(byte | 0x80);
    }
}

fn get(bytes: &[u8], at: &mut usize) -> i64 {
    let (mut value, mut shift) = (0_u64, 0);
    loop {
        let byte = bytes[*at];
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return ((value >> 1) as i64) ^ -((value & 1) as i64);
        }
    }
}

fn get_field(bytes: &[u8], at: &mut usize) -> Option<Vec<u8>> {
    let len = get(bytes, at);
    if len < 0 {
        return None;
    }
    let field = bytes[*at..*at + len as usize].to_vec();
    *at += len as usize;
    Some(field)
}

/// The toy codec of the simulation, number 1: every bit turned around.
pub struct Flip;

impl crate::Codec for Flip {
    fn decompress(
        &mut self,
        id: u8,
        from: &[u8],
        ceiling: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), crate::CodecError> {
        if id != 1 || from.len() > ceiling {
            return Err(crate::CodecError);
        }
        out.extend(from.iter().map(|b| !b));
        Ok(())
    }

    fn compress(&mut self, id: u8, from: &[u8], out: &mut Vec<u8>) -> Result<(), crate::CodecError> {
        self.decompress(id, from, usize::MAX, out)
    }
}

/// Key, value, and timestamp from the batch's base.
pub type Draft = (Option<Vec<u8>>, Option<Vec<u8>>, i64);

/// A batch as a client sends it. `attributes` are codec and transactional bit; a marker is made by [`marker`].
pub fn build(drafts: &[Draft], base_timestamp: i64, attributes: i16, producer: (i64, i16, i32)) -> Vec<u8> {
    let mut plain = Vec::new();
    for (n, (key, value, delta)) in drafts.iter().enumerate() {
        let mut body = vec![0];
        put(&mut body, *delta);
        put(&mut body, n as i64);
        for field in [key, value] {
            put(&mut body, field.as_ref().map_or(-1, |f| f.len() as i64));
            body.extend_from_slice(field.as_deref().unwrap_or_default());
        }
        put(&mut body, 0);
        put(&mut plain, body.len() as i64);
        plain.extend_from_slice(&body);
    }
    if attributes & 7 == 1 {
        plain.iter_mut().for_each(|b| *b = !*b);
    }
    let newest = drafts.iter().map(|d| d.2).max().unwrap_or(0);
    frame(
        &plain,
        drafts.len() as i32,
        (base_timestamp, base_timestamp + newest),
        attributes,
        producer,
    )
}

/// A control batch that ends a transaction.
pub fn marker(commit: bool, timestamp: i64, producer: (i64, i16), coordinator_epoch: i32) -> Vec<u8> {
    let mut body = vec![0, 0, 0, 8, 0, 0, 0, u8::from(commit), 12, 0, 0];
    body.extend_from_slice(&coordinator_epoch.to_be_bytes());
    body.push(0);
    let mut plain = vec![(body.len() * 2) as u8];
    plain.extend_from_slice(&body);
    frame(
        &plain,
        1,
        (timestamp, timestamp),
        0x30,
        (producer.0, producer.1, -1),
    )
}

fn frame(
    payload: &[u8],
    count: i32,
    stamps: (i64, i64),
    attributes: i16,
    producer: (i64, i16, i32),
) -> Vec<u8> {
    let mut out = vec![0; 61];
    let mut field = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    field(8, &(49 + payload.len() as i32).to_be_bytes());
    field(12, &(-1_i32).to_be_bytes());
    field(16, &[2]);
    field(21, &attributes.to_be_bytes());
    field(23, &(count - 1).to_be_bytes());
    field(27, &stamps.0.to_be_bytes());
    field(35, &stamps.1.to_be_bytes());
    field(43, &producer.0.to_be_bytes());
    field(51, &producer.1.to_be_bytes());
    field(53, &producer.2.to_be_bytes());
    field(57, &count.to_be_bytes());
    out.extend_from_slice(payload);
    let crc = crc32c::crc32c(&out[21..]);
    out[17..21].copy_from_slice(&crc.to_be_bytes());
    out
}

/// Reads a stored batch and checks its CRC. Panics at nonsense.
pub fn read(bytes: &[u8]) -> Batch {
    let i64_at = |at: usize| i64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let i32_at = |at: usize| i32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let i16_at = |at: usize| i16::from_be_bytes(bytes[at..at + 2].try_into().expect("two bytes"));
    assert_eq!(
        crc32c::crc32c(&bytes[21..]).to_be_bytes(),
        bytes[17..21],
        "the CRC of a batch that was served"
    );
    let (base, attributes, count) = (i64_at(0), i16_at(21), i32_at(57));
    let base_timestamp = i64_at(27);
    let mut plain = bytes[61..].to_vec();
    if attributes & 7 == 1 && count > 0 {
        plain.iter_mut().for_each(|b| *b = !*b);
    }
    let (mut at, mut rows, mut role) = (0, Vec::new(), Role::Plain);
    if attributes & 0x10 != 0 {
        role = Role::Transactional;
    }
    if attributes & 0x20 != 0 {
        role = Role::Hollow;
    }
    let mut newest = i64::MIN;
    for _ in 0..count {
        let end = get(&plain, &mut at) as usize + at;
        at += 1;
        let timestamp = base_timestamp + get(&plain, &mut at);
        let offset = base + get(&plain, &mut at);
        let key = get_field(&plain, &mut at);
        let value = get_field(&plain, &mut at);
        at = end;
        newest = newest.max(timestamp);
        if attributes & 0x20 != 0 {
            role = Role::Marker(key.expect("a marker has a key")[3] == 1);
        } else {
            rows.push(Row {
                offset,
                key,
                value,
                timestamp,
            });
        }
    }
    assert_eq!(at, plain.len(), "bytes behind the records");
    assert!(
        count == 0 || newest == i64_at(35),
        "the largest timestamp of a batch"
    );
    Batch {
        base,
        last: base + i64::from(i32_at(23)),
        epoch: i32_at(12),
        producer: (i64_at(43), i16_at(51), i32_at(53)),
        codec: if count > 0 { (attributes & 7) as u8 } else { 0 },
        role,
        rows,
    }
}

/// A transaction's fate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Txn {
    /// The producer.
    pub producer: i64,
    /// Its first offset.
    pub first: i64,
    /// Offset of its marker, and whether that says commit; none while it is open.
    pub end: Option<(i64, bool)>,
}

/// What a store answers about a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FoundKeyed {
    /// First offset.
    pub start: i64,
    /// Next offset.
    pub end: i64,
    /// Batches read from start to end.
    pub batches: Vec<Batch>,
    /// Aborted transactions: producer, first offset, marker.
    pub aborted: Vec<(i64, i64, i64)>,
    /// First offset that is undecided.
    pub unstable: Option<i64>,
    /// Producers: id, epoch, last sequence, first offset of the open transaction.
    pub producers: Vec<(i64, i16, i32, i64)>,
}

/// A log, whole.
#[derive(Debug, Clone, Default)]
pub struct Keyed {
    /// First offset.
    pub start: i64,
    /// Next offset.
    pub end: i64,
    /// Every batch since the beginning, by base offset.
    pub batches: BTreeMap<i64, Rc<Batch>>,
}

impl Keyed {
    /// Adds a batch at the end.
    pub fn append(&mut self, batch: Rc<Batch>) {
        assert_eq!(batch.base, self.end, "I3");
        self.end = batch.last + 1;
        self.batches.insert(batch.base, batch);
    }

    /// Takes everything from `end` on back.
    pub fn truncate(&mut self, end: i64) {
        self.batches.retain(|base, _| *base < end);
        self.end = end;
    }

    /// All transactions, by first offset.
    pub fn transactions(&self) -> Vec<Txn> {
        let mut done = Vec::new();
        let mut open: BTreeMap<i64, i64> = BTreeMap::new();
        for batch in self.batches.values() {
            match batch.role {
                Role::Transactional => {
                    open.entry(batch.producer.0).or_insert(batch.base);
                }
                Role::Marker(commit) => {
                    if let Some(first) = open.remove(&batch.producer.0) {
                        done.push(Txn {
                            producer: batch.producer.0,
                            first,
                            end: Some((batch.base, commit)),
                        });
                    }
                }
                Role::Plain | Role::Hollow => {}
            }
        }
        done.extend(open.into_iter().map(|(producer, first)| Txn {
            producer,
            first,
            end: None,
        }));
        done.sort_by_key(|t| t.first);
        done
    }

    /// Producers as the log alone tells: id, epoch, last sequence, first offset of the open transaction.
    pub fn producers(&self) -> Vec<(i64, i16, i32, i64)> {
        let mut all: BTreeMap<i64, (i16, i32)> = BTreeMap::new();
        for batch in self.batches.values().filter(|b| b.producer.0 >= 0) {
            let (id, epoch, first) = batch.producer;
            let entry = all.entry(id).or_insert((epoch, -1));
            if epoch > entry.0 {
                *entry = (epoch, -1);
            }
            if !matches!(batch.role, Role::Marker(_)) {
                entry.1 = first + (batch.last - batch.base) as i32;
            }
        }
        let open = self.transactions();
        all.into_iter()
            .map(|(id, (epoch, last))| {
                let open = open.iter().find(|t| t.producer == id && t.end.is_none());
                (id, epoch, last, open.map_or(-1, |t| t.first))
            })
            .collect()
    }

    /// The transaction a batch belongs to.
    fn of<'a>(txns: &'a [Txn], batch: &Batch) -> Option<&'a Txn> {
        let inside = |t: &&Txn| {
            t.producer == batch.producer.0
                && t.first <= batch.base
                && t.end.is_none_or(|(end, _)| batch.base <= end)
        };
        (batch.role != Role::Plain)
            .then(|| txns.iter().rev().find(inside))
            .flatten()
    }

    /// Records that readers of committed data see, below `upto`: by key, the newest of each.
    fn newest(&self, upto: i64) -> BTreeMap<Vec<u8>, Row> {
        let txns = self.transactions();
        let mut newest = BTreeMap::new();
        for batch in self.batches.values() {
            let counts = match batch.role {
                Role::Plain => true,
                Role::Transactional => {
                    Self::of(&txns, batch).is_some_and(|t| matches!(t.end, Some((_, true))))
                }
                Role::Marker(_) | Role::Hollow => false,
            };
            for row in batch.rows.iter().filter(|r| counts && r.offset < upto) {
                if let Some(key) = &row.key {
                    newest.insert(key.clone(), row.clone());
                }
            }
        }
        newest
    }

    /// True if `batch`, as served, is the batch of its base offset or a reduction of it.
    pub fn reduces(&self, batch: &Batch) -> Result<(), String> {
        let Some(whole) = self.batches.get(&batch.base) else {
            return Err(format!("no batch was ever at {}", batch.base));
        };
        let same = (batch.last, batch.epoch, batch.producer) == (whole.last, whole.epoch, whole.producer)
            && (batch.codec == whole.codec || batch.rows.is_empty())
            && (batch.role == whole.role
                || (batch.role == Role::Hollow && matches!(whole.role, Role::Marker(_))));
        if !same {
            return Err(format!(
                "the batch at {} changed: {batch:?} of {whole:?}",
                batch.base
            ));
        }
        let mut rest = whole.rows.iter();
        for row in &batch.rows {
            if !rest.any(|r| r == row) {
                return Err(format!("the record at {} changed or moved", row.offset));
            }
        }
        Ok(())
    }

    /// Checks that `batches`, read from `from` on, lack nothing up to `upto` that had to be there. `tombstones_go`: their
    /// time may have come.
    pub fn complete(
        &self,
        batches: &[Batch],
        from: i64,
        upto: i64,
        tombstones_go: bool,
    ) -> Result<(), String> {
        let txns = self.transactions();
        let newest = self.newest(i64::MAX);
        let there: BTreeSet<i64> = batches.iter().flat_map(|b| &b.rows).map(|r| r.offset).collect();
        let markers: BTreeSet<i64> = batches
            .iter()
            .filter(|b| matches!(b.role, Role::Marker(_)))
            .map(|b| b.base)
            .collect();
        for batch in self.batches.values().filter(|b| b.last >= from && b.base < upto) {
            let txn = Self::of(&txns, batch);
            let aborted = txn.is_some_and(|t| matches!(t.end, Some((_, false))));
            let open = txn.is_some_and(|t| t.end.is_none());
            for row in &batch.rows {
                let Row {
                    offset, key, value, ..
                } = row;
                if *offset < from || *offset >= upto || there.contains(offset) || (aborted && !open) {
                    continue;
                }
                let Some(key) = key else {
                    if open {
                        return Err(format!(
                            "the record at {offset} of an open transaction is missing"
                        ));
                    }
                    continue;
                };
                let last = newest.get(key);
                if open || last.is_none_or(|l| l.offset < *offset) {
                    return Err(format!(
                        "the record at {offset} is missing, and nothing decided replaces it"
                    ));
                }
                let is_last = last.is_some_and(|l| l.offset == *offset);
                if is_last && value.is_some() {
                    return Err(format!("the newest value of {key:?}, at {offset}, is missing"));
                }
                if is_last && !tombstones_go {
                    return Err(format!("the tombstone of {key:?}, at {offset}, went early"));
                }
            }
            if let Role::Marker(_) = batch.role
                && batch.base >= from
                && batch.base < upto
                && !markers.contains(&batch.base)
            {
                let first = txn.map_or(batch.base, |t| t.first);
                let orphans = batches.iter().find(|b| {
                    b.role == Role::Transactional
                        && b.producer.0 == batch.producer.0
                        && !b.rows.is_empty()
                        && (first..batch.base).contains(&b.base)
                });
                if let Some(orphan) = orphans {
                    return Err(format!(
                        "the marker at {} went before {}",
                        batch.base, orphan.base
                    ));
                }
                if !tombstones_go {
                    return Err(format!("the marker at {} went early", batch.base));
                }
            }
        }
        Ok(())
    }

    /// True if a store that found this holds a reduction of this log; the error says why not.
    pub fn explains(&self, found: &FoundKeyed, tombstones_go: bool) -> Result<(), String> {
        if (found.start, found.end) != (self.start, self.end) {
            return Err(format!(
                "it spans {}..{}, expected {}..{}",
                found.start, found.end, self.start, self.end
            ));
        }
        if found.batches.windows(2).any(|w| w[0].last >= w[1].base) {
            return Err("batches out of order".into());
        }
        for batch in &found.batches {
            self.reduces(batch)?;
        }
        self.complete(&found.batches, self.start, self.end, tombstones_go)?;
        let txns = self.transactions();
        // The index is exact: an entry for every marker of an aborted transaction that is there, and no other.
        let wanted: Vec<(i64, i64, i64)> = txns
            .iter()
            .filter_map(|t| match t.end {
                Some((end, false)) if end >= self.start => Some((t.producer, t.first, end)),
                _ => None,
            })
            .collect();
        if let Some(odd) = found.aborted.iter().find(|a| !wanted.contains(a)) {
            return Err(format!("{odd:?} was never aborted"));
        }
        let marker_at = |at: i64| {
            found
                .batches
                .iter()
                .any(|b| b.base == at && matches!(b.role, Role::Marker(_)))
        };
        for txn in &wanted {
            if marker_at(txn.2) != found.aborted.contains(txn) {
                return Err(format!(
                    "{txn:?}: its marker {} there, and the index is {:?}",
                    if marker_at(txn.2) { "is" } else { "is not" },
                    found.aborted
                ));
            }
        }
        let open = txns.iter().filter(|t| t.end.is_none()).map(|t| t.first).min();
        if found.unstable != open {
            return Err(format!("undecided from {:?}, expected {open:?}", found.unstable));
        }
        if found.producers != self.producers() {
            return Err(format!(
                "producers {:?}, expected {:?}",
                found.producers,
                self.producers()
            ));
        }
        self.consume(found, tombstones_go)
    }

    /// Reads what was found as a consumer of committed data does (KIP-98), and compares the newest of each key.
    fn consume(&self, found: &FoundKeyed, tombstones_go: bool) -> Result<(), String> {
        let upto = found.unstable.unwrap_or(found.end);
        let mut begins: Vec<(i64, i64)> = found.aborted.iter().map(|a| (a.1, a.0)).collect();
        begins.sort_unstable();
        let (mut begins, mut skipping) = (begins.into_iter().peekable(), BTreeSet::new());
        let mut seen: BTreeMap<Vec<u8>, Row> = BTreeMap::new();
        for batch in found.batches.iter().filter(|b| b.last < upto) {
            while let Some((_, producer)) = begins.next_if(|(first, _)| *first <= batch.last) {
                skipping.insert(producer);
            }
            if let Role::Marker(false) = batch.role {
                skipping.remove(&batch.producer.0);
            }
            if batch.role == Role::Transactional && skipping.contains(&batch.producer.0) {
                continue;
            }
            for row in &batch.rows {
                if let Some(key) = &row.key {
                    seen.insert(key.clone(), row.clone());
                }
            }
        }
        let newest = self.newest(upto);
        for (key, row) in &newest {
            match seen.get(key) {
                Some(got) if got == row => {}
                Some(got) if row.offset >= self.start => {
                    return Err(format!(
                        "a consumer ends with {got:?} where {row:?} is the newest"
                    ));
                }
                None if row.value.is_some() && row.offset >= self.start => {
                    return Err(format!("a consumer never sees {row:?}"));
                }
                None if row.offset >= self.start && !tombstones_go => {
                    return Err(format!("a consumer never sees the tombstone {row:?}"));
                }
                _ => {}
            }
        }
        match seen.keys().find(|key| !newest.contains_key(*key)) {
            Some(key) => Err(format!("a consumer sees {key:?}, which was never committed")),
            None => Ok(()),
        }
    }

    /// After a pass that cleaned everything below `clean`: no record there is aborted, without key, or replaced by
    /// another one below.
    pub fn tidy(&self, found: &FoundKeyed, clean: i64) -> Result<(), String> {
        let txns = self.transactions();
        let newest = self.newest(clean);
        for batch in &found.batches {
            let aborted = Self::of(&txns, batch).is_some_and(|t| matches!(t.end, Some((_, false))));
            for row in batch.rows.iter().filter(|r| r.offset < clean) {
                let stays = row
                    .key
                    .as_ref()
                    .and_then(|key| newest.get(key))
                    .is_some_and(|last| last.offset <= row.offset);
                if aborted || !stays {
                    return Err(format!(
                        "the pass up to {clean} left {:?} at {} (aborted: {aborted}; newest: {:?}) of {:?} {:?}",
                        row.key,
                        row.offset,
                        row.key.as_ref().and_then(|key| newest.get(key)).map(|r| r.offset),
                        batch.role,
                        Self::of(&txns, batch),
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Some records of a few keys.
pub fn drafts(rng: &mut Rng, serial: &mut u64, bytes: u64) -> Vec<Draft> {
    (0..rng.range(1, 4))
        .map(|_| {
            let key = match rng.below(20) {
                0 => None,
                n => Some(vec![b'a' + (n % 7) as u8]),
            };
            *serial += 1;
            let mut value = serial.to_be_bytes().to_vec();
            value.resize(8 + rng.below(bytes) as usize, 7);
            let value = (!rng.chance(1, 5)).then_some(value);
            (key, value, rng.range(0, 50) as i64)
        })
        .collect()
}
