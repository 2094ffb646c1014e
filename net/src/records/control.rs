//! Control records: the markers that end a transaction in each of its partitions (KIP-98).
//!
//! A control batch holds one record. Its key is version int16 and type int16; a transaction marker's value is version
//! int16 and coordinator epoch int32. Later versions may append fields, so longer ones are read and the rest ignored.

use super::batch::{Attributes, NO_SEQUENCE};
use super::builder::BatchBuilder;

/// What a control record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlRecord {
    /// The producer's open transaction ended without its records (type 0).
    Abort(EndTxnMarker),
    /// The producer's open transaction took effect (type 1).
    Commit(EndTxnMarker),
    /// Some other type; those above 1 belong to Kafka's metadata quorum.
    Other(i16),
}

/// Value of a transaction marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndTxnMarker {
    /// Epoch of the transaction coordinator that wrote the marker.
    pub coordinator_epoch: i32,
}

const ABORT: i16 = 0;
const COMMIT: i16 = 1;

impl ControlRecord {
    /// Reads key and value of a record of a control batch; `None` when they are too short.
    pub fn read(key: &[u8], value: &[u8]) -> Option<Self> {
        let kind = i16::from_be_bytes([*key.get(2)?, *key.get(3)?]);
        if i16::from_be_bytes([key[0], key[1]]) < 0 {
            return None;
        }
        let marker = || {
            let epoch = value.get(2..6)?;
            Some(EndTxnMarker {
                coordinator_epoch: i32::from_be_bytes([epoch[0], epoch[1], epoch[2], epoch[3]]),
            })
        };
        match kind {
            ABORT => marker().map(ControlRecord::Abort),
            COMMIT => marker().map(ControlRecord::Commit),
            other => Some(ControlRecord::Other(other)),
        }
    }
}

/// Key of a marker that commits or aborts.
pub fn control_record_key(commit: bool) -> [u8; 4] {
    let [high, low] = (if commit { COMMIT } else { ABORT }).to_be_bytes();
    [0, 0, high, low]
}

impl EndTxnMarker {
    /// The value as it is stored, version 0.
    pub fn to_bytes(self) -> [u8; 6] {
        let [a, b, c, d] = self.coordinator_epoch.to_be_bytes();
        [0, 0, a, b, c, d]
    }
}

/// The control batch that ends the transaction of a producer in one partition.
pub fn end_txn_batch(
    producer_id: i64,
    producer_epoch: i16,
    now_ms: i64,
    commit: bool,
    marker: EndTxnMarker,
) -> Vec<u8> {
    let mut builder = BatchBuilder::new()
        .producer(producer_id, producer_epoch, NO_SEQUENCE)
        .attributes(Attributes::default().with_transactional(true).with_control(true));
    builder
        .push(
            now_ms,
            Some(&control_record_key(commit)),
            Some(&marker.to_bytes()),
            &[],
        )
        .expect("one short record fits every batch");
    builder.build_uncompressed()
}
