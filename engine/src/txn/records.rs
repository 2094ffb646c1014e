//! Records of `__transaction_state`, in the layout of Apache Kafka 4.3.
//!
//! Key: type 0 as i16, then `TransactionLogKey` 0. Value: version as i16, then `TransactionLogValue`; written in version
//! 1, read in 0 and 1. A value of null removes the id.

use std::rc::Rc;

use turgo_net::messages::transaction_log_record::{PartitionsSchema, TransactionLogKey, TransactionLogValue};
use turgo_net::{Reader, Writer};

use super::state::{TopicPartitions, Txn, TxnState};

/// A record to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Key.
    pub key: Vec<u8>,
    /// Value, or a tombstone.
    pub value: Option<Vec<u8>>,
}

/// Version of the keys there are.
const KEY: i16 = 0;
/// Version that values are written in.
const VALUE: i16 = 1;

/// The record that tells `txn`, or removes the id. `None` if it cannot be told: a name beyond 32,767 bytes.
pub(super) fn encode(id: &str, txn: Option<&Txn>) -> Option<Record> {
    let mut key = Writer::new();
    key.i16(KEY);
    let name = TransactionLogKey {
        transactional_id: id.into(),
    };
    name.encode(&mut key, KEY).ok()?;
    let value = match txn {
        None => None,
        Some(txn) => {
            let partitions = txn.partitions.iter().map(|(topic, partitions)| PartitionsSchema {
                topic: (&**topic).into(),
                partition_ids: partitions.iter().copied().collect(),
            });
            let told = TransactionLogValue {
                producer_id: txn.producer_id,
                previous_producer_id: txn.previous_id,
                next_producer_id: txn.next_id,
                producer_epoch: txn.epoch,
                transaction_timeout_ms: txn.timeout_ms,
                transaction_status: txn.state as i8,
                transaction_partitions: (txn.state != TxnState::Empty).then(|| partitions.collect()),
                transaction_last_update_timestamp_ms: txn.updated_ms,
                transaction_start_timestamp_ms: txn.start_ms,
                client_transaction_version: txn.level,
                ..Default::default()
            };
            let mut value = Writer::new();
            value.i16(VALUE);
            told.encode(&mut value, VALUE).ok()?;
            Some(value.to_vec())
        }
    };
    Some(Record {
        key: key.to_vec(),
        value,
    })
}

/// Bytes of partitions in a record, at most: what a request may still add is judged by it.
pub(super) fn size(partitions: &TopicPartitions) -> usize {
    partitions
        .iter()
        .map(|(topic, partitions)| topic.len() + 8 + 4 * partitions.len())
        .sum()
}

/// The transactional id of a key; `None` if it is of another type or damaged.
pub(super) fn decode_key(key: &[u8]) -> Option<String> {
    let mut reader = Reader::new(key);
    if reader.i16().ok()? != KEY {
        return None;
    }
    let key = TransactionLogKey::decode(&mut reader, KEY).ok()?;
    Some(key.transactional_id.into_owned())
}

/// What a value tells; `None` if it is of an unknown version, damaged, or tells what cannot be.
pub(super) fn decode_value(value: &[u8]) -> Option<Txn> {
    let mut reader = Reader::new(value);
    let version = reader.i16().ok()?;
    let told = TransactionLogValue::decode(&mut reader, version).ok()?;
    let state = TxnState::from_record(told.transaction_status)?;
    if told.producer_id < 0 || told.producer_epoch < 0 || told.transaction_timeout_ms < 0 {
        return None;
    }
    let mut partitions = TopicPartitions::new();
    if state == TxnState::Ongoing || state.is_prepared() {
        for topic in told.transaction_partitions.unwrap_or_default() {
            if !topic.partition_ids.is_empty() {
                let ids = partitions.entry(Rc::<str>::from(&*topic.topic)).or_default();
                ids.extend(topic.partition_ids);
            }
        }
    }
    Some(Txn {
        producer_id: told.producer_id,
        previous_id: told.previous_producer_id,
        next_id: if state.is_prepared() {
            told.next_producer_id
        } else {
            -1
        },
        epoch: told.producer_epoch,
        last_epoch: -1,
        timeout_ms: told.transaction_timeout_ms,
        state,
        partitions,
        start_ms: told.transaction_start_timestamp_ms,
        updated_ms: told.transaction_last_update_timestamp_ms,
        level: told.client_transaction_version,
    })
}
