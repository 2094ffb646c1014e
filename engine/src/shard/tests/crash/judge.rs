//! Whether what a broker has after a power cut is what its clients were told.

use std::collections::{BTreeMap, BTreeSet};

use super::clients::{Producer, World};
use super::facts::{Expected, Known, Value};
use super::machine::{Batch, PARTITIONS, What};
use crate::txn::messages::TV2;

/// The outcome of every record, by the markers in the log alone.
fn visible(log: &[Batch]) -> Result<Vec<Value>, String> {
    let mut epochs: BTreeMap<i64, i16> = BTreeMap::new();
    let mut open: BTreeMap<i64, u32> = BTreeMap::new();
    let mut found = Vec::new();
    for (at, batch) in log.iter().enumerate() {
        let (producer_id, epoch) = batch.producer;
        let before = epochs.insert(producer_id, epoch).unwrap_or(i16::MIN);
        if before > epoch {
            return Err(format!("offset {}: epoch {epoch} after {before}", batch.offset));
        }
        match &batch.what {
            What::Marker { .. } => {
                open.remove(&producer_id);
            }
            What::Values(values) => {
                for value in values {
                    let txn = *open.entry(producer_id).or_insert(value.txn);
                    if txn != value.txn {
                        return Err(format!("{value:?} is in the transaction {txn}"));
                    }
                }
                let marker = log[at..].iter().find_map(|later| match later.what {
                    What::Marker { commit } if later.producer.0 == producer_id => Some(commit),
                    _ => None,
                });
                match marker {
                    Some(true) => found.extend(values),
                    Some(false) => {}
                    None => return Err(format!("a transaction hangs: {batch:?}")),
                }
            }
        }
    }
    Ok(found)
}

/// What became of one transaction.
fn judge_one(number: u32, known: &Known, seen: &BTreeSet<Value>) -> Result<(), String> {
    let fail = |why: &str| Err(format!("transaction {number}: {why}; seen {seen:?} of {known:?}"));
    let whole = known.acked.is_subset(seen);
    match (known.ended, known.asked) {
        (Some(true), _) if !whole => fail("committed and not all of it is there"),
        (Some(false), _) | (None, Some(false) | None) if !seen.is_empty() => {
            fail("nobody committed it, and it is seen")
        }
        (None, Some(true)) if !whole && !seen.is_empty() => fail("torn"),
        _ => Ok(()),
    }
}

/// Compares a broker at rest with what must be true.
pub(super) async fn judge(world: &World, expected: &Expected) -> Result<(), String> {
    let broker = &world.broker;
    broker.rest().await?;
    let mut seen: BTreeMap<u32, BTreeSet<Value>> = BTreeMap::new();
    let mut all = Vec::new();
    for partition in 0..PARTITIONS {
        let told = |why| format!("t-{partition}: {why}");
        let values = broker.committed(partition).await;
        let by_markers = visible(&broker.log(partition).await).map_err(told)?;
        if values != by_markers {
            return Err(told(format!(
                "readers get {values:?}, the log has {by_markers:?}"
            )));
        }
        let shown = expected.shown.get(&partition).map_or(&[][..], |v| v);
        if !values.starts_with(shown) {
            return Err(told(format!("shown were {shown:?}, and now {values:?}")));
        }
        for value in &values {
            let known = expected
                .txns
                .get(&value.txn)
                .and_then(|known| known.sent.get(value));
            if known != Some(&partition) {
                return Err(told(format!("nobody sent {value:?} there")));
            }
            if !seen.entry(value.txn).or_default().insert(*value) {
                return Err(told(format!("{value:?} twice")));
            }
        }
        all.push(values);
    }
    let none = BTreeSet::new();
    for (number, known) in &expected.txns {
        judge_one(*number, known, seen.get(number).unwrap_or(&none))?;
    }
    for served in broker.served() {
        served.check();
        let open: Vec<_> = served
            .log
            .producers()
            .into_iter()
            .filter(|entry| entry.txn_first_offset >= 0)
            .collect();
        if !open.is_empty() {
            return Err(format!("{:?} has open transactions: {open:?}", served.id));
        }
    }
    judge_offsets(world, expected, &seen).await?;
    go_on(world, expected, &all).await
}

/// A group has the offset of the newest of its transactions that is seen.
async fn judge_offsets(
    world: &World,
    expected: &Expected,
    seen: &BTreeMap<u32, BTreeSet<Value>>,
) -> Result<(), String> {
    for id in expected.told.keys() {
        let newest = expected
            .txns
            .iter()
            .filter(|(number, known)| known.id == *id && known.offset && seen.contains_key(number))
            .map(|(number, _)| i64::from(*number))
            .max()
            .unwrap_or(-1);
        let offset = world.offset(id).await;
        let shown = expected.offsets.get(id).copied().unwrap_or(-1);
        if offset != newest || offset < shown {
            return Err(format!(
                "the group of {id} is at {offset}, its transactions say {newest}, shown was {shown}"
            ));
        }
    }
    Ok(())
}

/// Every producer can go on, as somebody it was not before, and what it commits is seen after all that was.
async fn go_on(world: &World, expected: &Expected, before: &[Vec<Value>]) -> Result<(), String> {
    let mut after = before.to_vec();
    for (n, id) in expected.told.keys().enumerate() {
        let mut producer = Producer::new(world, id, TV2, n);
        let error = producer.init().await;
        if !error.is_none() {
            return Err(format!("InitProducerId of {id}: {error}"));
        }
        let (producer_id, epoch) = producer.identity;
        let told = &expected.told;
        let fell = told[id].iter().any(|old| old.0 == producer_id && old.1 >= epoch);
        let taken = told
            .iter()
            .any(|(other, known)| other != id && known.iter().any(|old| old.0 == producer_id));
        if fell || taken {
            return Err(format!(
                "{id} is {:?} now, and was {:?}",
                producer.identity, told[id]
            ));
        }
        let partitions: Vec<i32> = (0..PARTITIONS).collect();
        producer.transact(&partitions, true, true).await;
        for (number, partition) in partitions.iter().enumerate() {
            after[*partition as usize].push(Value {
                txn: producer.txn,
                number: number as u32,
            });
        }
    }
    world.broker.rest().await?;
    for partition in 0..PARTITIONS {
        let values = world.broker.committed(partition).await;
        if values != after[partition as usize] {
            return Err(format!(
                "t-{partition}: afterwards {values:?}, not {:?}",
                after[partition as usize]
            ));
        }
    }
    Ok(())
}
