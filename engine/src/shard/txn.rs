//! The owner's side of transactions: which batches belong to one, markers, what a partition knows of its producers.
//!
//! A transactional batch whose transaction is not open in the log waits at a *gate* until the coordinator said that the
//! partition is in the transaction (KIP-890 part 1), or put it there (part 2). Batches of the same producer that come
//! meanwhile wait behind it, so their order survives; once the first is appended the log itself knows, and nothing is
//! asked again until a marker ends the transaction. A marker cancels the gates of the transaction that it ends: an answer
//! that was given before the marker says nothing about the time after it.
//!
//! Bounds: what waits at gates are requests that connections have in flight; sequences of refused batches are
//! remembered for [`REFUSED`] producers of a partition.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use turgo_net::ErrorCode;
use turgo_net::records::{BatchBuilder, BatchView};
use turgo_storage::env::{Class, Env};
use turgo_storage::{AppendError, ProducerEntry};

use crate::shard::Shard;
use crate::shard::ops::{Answer, MarkerWrite, Op, PartProduce, ProduceOp, Produced, ProducerAnswer};
use crate::shard::partition::Partition;
use crate::shard::produce::Terms;
use crate::sync::{Countdown, Filler};
use crate::txn::messages::{AddPartitions, Level, Request, Response, TV0, TV2};
use crate::txn::planted::{Bug, planted};

/// Producers of a partition whose refused first sequences are remembered.
const REFUSED: usize = 1_000;
/// How long a marker that the store has no room for waits before it is tried again.
const RETRY: std::time::Duration = std::time::Duration::from_millis(2);

/// Who wrote a batch, as far as its header says before it is validated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Writer {
    pub producer_id: i64,
    pub epoch: i16,
    pub sequence: i32,
}

impl Writer {
    /// The producer of a transactional batch; `None` for any other, and for what is no batch.
    pub fn of(records: Option<&[u8]>) -> Option<Writer> {
        let batch = BatchView::first(records?).ok()?;
        batch.attributes().is_transactional().then(|| Writer {
            producer_id: batch.producer_id(),
            epoch: batch.producer_epoch(),
            sequence: batch.base_sequence(),
        })
    }

    pub fn is_same(&self, other: &Writer) -> bool {
        (self.producer_id, self.epoch) == (other.producer_id, other.epoch)
    }
}

/// Cancelled by the marker that ends the transaction which its producer asks about.
pub(crate) struct Guard {
    producer_id: i64,
    epoch: i16,
    cancelled: Cell<bool>,
}

/// Batches of one producer that wait to be let into one partition.
pub(crate) struct Gate {
    guard: RefCell<Rc<Guard>>,
    queue: RefCell<VecDeque<Queued>>,
}

struct Queued {
    part: PartProduce,
    terms: Terms,
    writer: Writer,
    fill: Filler<Produced>,
}

/// What the partitions of a request wait for.
struct Question {
    transactional_id: Arc<str>,
    writer: Writer,
    version: i16,
}

/// Gates of a partition, and what is remembered of refused batches.
#[derive(Default)]
pub(crate) struct Gates {
    /// By producer id.
    gates: RefCell<HashMap<i64, Rc<Gate>>>,
    guards: RefCell<Vec<Weak<Guard>>>,
    /// Epoch and lowest sequence of refused batches, by producer id: the next batch to be let in may not begin above.
    refused: RefCell<HashMap<i64, (i16, i32)>>,
}

impl Gates {
    fn guard(&self, producer_id: i64, epoch: i16) -> Rc<Guard> {
        let guard = Rc::new(Guard {
            producer_id,
            epoch,
            cancelled: Cell::new(false),
        });
        let mut guards = self.guards.borrow_mut();
        guards.retain(|guard| guard.strong_count() > 0);
        guards.push(Rc::downgrade(&guard));
        guard
    }

    /// A marker of the producer is in the log. From level 2 on it carries the epoch of the producer's next transaction,
    /// whose batches may be waiting already.
    fn cancel(&self, producer_id: i64, epoch: i16, level: Level) {
        let ended = |of: i16| if level >= TV2 { of < epoch } else { of <= epoch };
        for guard in self.guards.borrow().iter().filter_map(Weak::upgrade) {
            if guard.producer_id == producer_id && ended(guard.epoch) {
                guard.cancelled.set(true);
            }
        }
        let mut gates = self.gates.borrow_mut();
        if gates
            .get(&producer_id)
            .is_some_and(|gate| gate.guard.borrow().cancelled.get())
        {
            gates.remove(&producer_id);
        }
        let mut refused = self.refused.borrow_mut();
        if refused.get(&producer_id).is_some_and(|(of, _)| ended(*of)) {
            refused.remove(&producer_id);
        }
    }

    fn note_refused(&self, writer: &Writer) {
        let mut refused = self.refused.borrow_mut();
        if refused.len() >= REFUSED && !refused.contains_key(&writer.producer_id) {
            refused.clear();
        }
        let lowest = refused
            .entry(writer.producer_id)
            .or_insert((writer.epoch, writer.sequence));
        if lowest.0 < writer.epoch {
            *lowest = (writer.epoch, writer.sequence);
        } else if lowest.0 == writer.epoch {
            lowest.1 = lowest.1.min(writer.sequence);
        }
    }

    /// A batch before this one was refused and is still to come.
    fn is_ahead(&self, writer: &Writer) -> bool {
        self.refused
            .borrow()
            .get(&writer.producer_id)
            .is_some_and(|(epoch, lowest)| *epoch == writer.epoch && writer.sequence > *lowest)
    }
}

/// The producer's transaction is open in the log, in this epoch.
fn is_open(entry: Option<&ProducerEntry>, writer: &Writer) -> bool {
    entry.is_some_and(|e| e.txn_first_offset >= 0 && e.epoch == writer.epoch)
}

/// Produce from this version on adds its partitions to the transaction (KIP-890 part 2).
const ADDS_FROM: i16 = 12;
/// Produce from this version on knows TRANSACTION_ABORTABLE.
const ABORTABLE_FROM: i16 = 11;

/// What a producer is told when the coordinator refused its partition.
fn produce_code(error: ErrorCode, version: i16) -> ErrorCode {
    match error {
        ErrorCode::PRODUCER_FENCED => ErrorCode::INVALID_PRODUCER_EPOCH,
        ErrorCode::TRANSACTION_ABORTABLE if version < ABORTABLE_FROM => ErrorCode::INVALID_TXN_STATE,
        ErrorCode::CONCURRENT_TRANSACTIONS if version >= ADDS_FROM => error,
        // Retriable for every client, and without a look at the metadata.
        ErrorCode::CONCURRENT_TRANSACTIONS
        | ErrorCode::COORDINATOR_LOAD_IN_PROGRESS
        | ErrorCode::COORDINATOR_NOT_AVAILABLE
        | ErrorCode::NOT_COORDINATOR => ErrorCode::NOT_ENOUGH_REPLICAS,
        other => other,
    }
}

fn refused(queued: &Queued, partition_start: i64, error: ErrorCode) -> Produced {
    let text = match error {
        ErrorCode::INVALID_TXN_STATE => Some("the partition was not added to the transaction".to_owned()),
        ErrorCode::NOT_ENOUGH_REPLICAS => {
            Some("it is not known for the moment whether the partition is in the transaction".to_owned())
        }
        _ => None,
    };
    Produced {
        log_start: partition_start,
        ..Produced::refused(queued.part.slot, error, text)
    }
}

enum Drained {
    /// Nobody waits any more.
    Empty,
    /// The store is full for the moment.
    Full,
    /// Those that are left need an answer of their own.
    Others,
}

impl<E: Env> Shard<E> {
    /// Why a transactional batch cannot just be appended, if so: it waits at a gate.
    pub(crate) fn needs_gate(&self, partition: &Partition<E>, writer: &Writer, version: i16) -> bool {
        let gates = partition.gates.gates.borrow();
        if !gates.is_empty() && gates.contains_key(&writer.producer_id) {
            return true;
        }
        drop(gates);
        let asks = version >= ADDS_FROM || self.verifies.get();
        asks && !is_open(partition.log.producer(writer.producer_id).as_ref(), writer)
    }

    /// Puts a batch into its producer's queue. `Some` if the queue is new and the coordinator has to be asked.
    pub(crate) fn wait_at_gate(
        &self,
        partition: &Rc<Partition<E>>,
        part: PartProduce,
        terms: Terms,
        writer: Writer,
        fill: Filler<Produced>,
    ) -> Option<Rc<Gate>> {
        let queued = Queued {
            part,
            terms,
            writer,
            fill,
        };
        let mut gates = partition.gates.gates.borrow_mut();
        if let Some(gate) = gates.get(&writer.producer_id) {
            gate.queue.borrow_mut().push_back(queued);
            return None;
        }
        let gate = Rc::new(Gate {
            guard: RefCell::new(partition.gates.guard(writer.producer_id, writer.epoch)),
            queue: RefCell::new(VecDeque::from([queued])),
        });
        gates.insert(writer.producer_id, gate.clone());
        Some(gate)
    }

    /// Asks the coordinator about new gates of one request, with one question, and opens them.
    pub(crate) fn ask_for_gates(
        self: &Rc<Self>,
        op: &ProduceOp,
        writer: Writer,
        gates: Vec<(Rc<Partition<E>>, Rc<Gate>)>,
    ) {
        let question = Rc::new(Question {
            transactional_id: op.transactional_id.clone().unwrap_or_else(|| "".into()),
            writer,
            version: op.version,
        });
        let shard = self.clone();
        self.env.spawn(Class::Journal, async move {
            let partitions: Vec<_> = gates.iter().map(|(partition, _)| partition.clone()).collect();
            let codes = shard
                .ask_about(
                    &question.transactional_id,
                    question.writer,
                    &partitions,
                    question.version >= ADDS_FROM,
                )
                .await;
            for ((partition, gate), code) in gates.into_iter().zip(codes) {
                match shard.open_gate(&partition, &gate, &question, code) {
                    Drained::Empty => {}
                    _ => {
                        let (shard_, question) = (shard.clone(), question.clone());
                        shard.env.spawn(Class::Journal, async move {
                            shard_.clear_gate(partition, gate, question, code).await;
                        });
                    }
                }
            }
        });
    }

    /// One question to a coordinator; the answers are in the order of the partitions.
    async fn ask_about(
        self: &Rc<Self>,
        transactional_id: &str,
        writer: Writer,
        partitions: &[Rc<Partition<E>>],
        adds: bool,
    ) -> Vec<ErrorCode> {
        let mut topics: Vec<(String, Vec<i32>)> = Vec::new();
        let mut places = Vec::with_capacity(partitions.len());
        {
            let metadata = self.metadata();
            for partition in partitions {
                let Some(topic) = metadata.topic_by_id(&partition.id.topic) else {
                    places.push(None);
                    continue;
                };
                let at = match topics.iter().position(|(name, _)| **name == *topic.name) {
                    Some(at) => at,
                    None => {
                        topics.push((topic.name.to_string(), Vec::new()));
                        topics.len() - 1
                    }
                };
                topics[at].1.push(partition.id.partition as i32);
                places.push(Some((at, topics[at].1.len() - 1)));
            }
        }
        let add = AddPartitions {
            transactional_id: transactional_id.to_owned(),
            producer_id: writer.producer_id,
            producer_epoch: writer.epoch,
            topics,
            verify_only: !adds,
            level: level(adds),
        };
        let answer = self.ask_txn(transactional_id, Request::AddPartitions(add)).await;
        let Response::Added(added) = answer else {
            unreachable!("a coordinator answered another question")
        };
        places
            .into_iter()
            .map(|place| match place {
                Some((topic, partition)) => added[topic].1[partition].1,
                None => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            })
            .collect()
    }

    /// Appends or refuses what waits at a gate, in order, as far as the answer goes.
    fn open_gate(
        self: &Rc<Self>,
        partition: &Rc<Partition<E>>,
        gate: &Rc<Gate>,
        question: &Question,
        code: ErrorCode,
    ) -> Drained {
        loop {
            let Some(queued) = gate.queue.borrow_mut().pop_front() else {
                let mut gates = partition.gates.gates.borrow_mut();
                let id = question.writer.producer_id;
                if gates.get(&id).is_some_and(|own| Rc::ptr_eq(own, gate)) {
                    gates.remove(&id);
                }
                return Drained::Empty;
            };
            let writer = queued.writer;
            if !queued.fill.is_awaited() {
                // Its request was answered with REQUEST_TIMED_OUT.
                partition.gates.note_refused(&writer);
                continue;
            }
            let entry = partition.log.producer(writer.producer_id);
            let start = partition.log.start_offset();
            let open = is_open(entry.as_ref(), &writer);
            if !open && !writer.is_same(&question.writer) {
                gate.queue.borrow_mut().push_front(queued);
                return Drained::Others;
            }
            // The epoch comes first: a fenced producer is to know that it is (KAFKA-19690).
            let stale = entry.as_ref().is_some_and(|e| e.epoch > writer.epoch);
            let refusal = if stale {
                Some(ErrorCode::INVALID_PRODUCER_EPOCH)
            } else if open || planted(Bug::OpenGate) {
                None
            } else if !code.is_none() {
                Some(produce_code(code, queued.terms.version))
            } else if gate.guard.borrow().cancelled.get() {
                Some(ErrorCode::INVALID_TXN_STATE)
            } else {
                None
            };
            if let Some(error) = refusal {
                if !stale {
                    partition.gates.note_refused(&writer);
                }
                let produced = refused(&queued, start, error);
                queued.fill.fill(produced);
                continue;
            }
            let unknown = entry.as_ref().is_none_or(|e| e.epoch < writer.epoch);
            let adds = queued.terms.version >= ADDS_FROM;
            if !open && ((unknown && adds && writer.sequence != 0) || partition.gates.is_ahead(&writer)) {
                partition.gates.note_refused(&writer);
                let produced = refused(&queued, start, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
                queued.fill.fill(produced);
                continue;
            }
            let done = Rc::new(Countdown::default());
            match self.append_one(queued.terms.version, &queued.part, &done) {
                Some(produced) => {
                    if produced.error.is_none() {
                        partition.gates.refused.borrow_mut().remove(&writer.producer_id);
                    }
                    let fill = queued.fill;
                    if done.is_complete() {
                        fill.fill(produced);
                    } else {
                        self.env.spawn(Class::Journal, async move {
                            done.wait().await;
                            fill.fill(produced);
                        });
                    }
                }
                None => {
                    gate.queue.borrow_mut().push_front(queued);
                    return Drained::Full;
                }
            }
        }
    }

    /// As [`Shard::open_gate`], until nobody waits any more.
    async fn clear_gate(
        self: &Rc<Self>,
        partition: Rc<Partition<E>>,
        gate: Rc<Gate>,
        question: Rc<Question>,
        code: ErrorCode,
    ) {
        let (mut question, mut code) = (question, code);
        loop {
            match self.open_gate(&partition, &gate, &question, code) {
                Drained::Empty => return,
                Drained::Full => self.env.sleep(RETRY).await,
                Drained::Others => {
                    let Some((writer, version, transactional_id)) = gate
                        .queue
                        .borrow()
                        .front()
                        .map(|q| (q.writer, q.terms.version, q.terms.transactional_id.clone()))
                    else {
                        continue;
                    };
                    *gate.guard.borrow_mut() = partition.gates.guard(writer.producer_id, writer.epoch);
                    question = Rc::new(Question {
                        transactional_id: transactional_id.unwrap_or_else(|| "".into()),
                        writer,
                        version,
                    });
                    let asked = std::slice::from_ref(&partition);
                    let answer = self
                        .ask_about(&question.transactional_id, writer, asked, version >= ADDS_FROM)
                        .await;
                    code = answer[0];
                }
            }
        }
    }

    /// Makes sure that an offsets partition is in the transaction before offsets are written to it. The guard is to be
    /// looked at right before the append.
    pub(crate) async fn join_transaction(
        self: &Rc<Self>,
        partition: &Rc<Partition<E>>,
        transactional_id: &str,
        producer_id: i64,
        epoch: i16,
        version: i16,
    ) -> Result<(), ErrorCode> {
        /// TxnOffsetCommit from this version on adds the partition; from the one before it knows
        /// TRANSACTION_ABORTABLE.
        const ADDS_FROM: i16 = 5;
        let writer = Writer {
            producer_id,
            epoch,
            sequence: -1,
        };
        let entry = partition.log.producer(producer_id);
        if entry.as_ref().is_some_and(|e| e.epoch > epoch) {
            return Err(ErrorCode::INVALID_PRODUCER_EPOCH);
        }
        let adds = version >= ADDS_FROM;
        if is_open(entry.as_ref(), &writer) || !(adds || self.verifies.get()) {
            return Ok(());
        }
        let guard = partition.gates.guard(producer_id, epoch);
        let asked = std::slice::from_ref(partition);
        let code = self.ask_about(transactional_id, writer, asked, adds).await[0];
        match code {
            ErrorCode::NONE if guard.cancelled.get() => Err(ErrorCode::INVALID_TXN_STATE),
            ErrorCode::NONE => Ok(()),
            ErrorCode::PRODUCER_FENCED => Err(ErrorCode::INVALID_PRODUCER_EPOCH),
            ErrorCode::TRANSACTION_ABORTABLE if version < ADDS_FROM - 1 => Err(ErrorCode::INVALID_TXN_STATE),
            ErrorCode::CONCURRENT_TRANSACTIONS if adds => Err(code),
            ErrorCode::CONCURRENT_TRANSACTIONS => Err(ErrorCode::COORDINATOR_NOT_AVAILABLE),
            other => Err(other),
        }
    }

    // ---- markers ----

    /// Hands markers to the owners of their partitions: with each core's slots, its answer.
    #[allow(clippy::type_complexity)] // two futures of one shape, used twice
    pub(crate) fn submit_markers(
        self: &Rc<Self>,
        by_core: Vec<Vec<MarkerWrite>>,
    ) -> Vec<(
        Vec<u32>,
        std::pin::Pin<Box<dyn Future<Output = Option<Vec<(u32, ErrorCode)>>>>>,
    )> {
        let mut answers = Vec::with_capacity(by_core.len());
        for (core, writes) in by_core.into_iter().enumerate() {
            if writes.is_empty() {
                continue;
            }
            let slots = writes.iter().map(|w| w.slot).collect();
            let answer: std::pin::Pin<Box<dyn Future<Output = _>>> = if core == self.index {
                // Begun now, like that of the other cores.
                let (fill, filled) = crate::sync::oneshot();
                let shard = self.clone();
                self.env.spawn(Class::Journal, async move {
                    fill.fill(shard.markers_owned(writes).await);
                });
                Box::pin(filled)
            } else {
                let answer = self.submit(core, Op::Markers(writes));
                Box::pin(async move {
                    match answer.await {
                        Some(Answer::Markers(results)) => Some(results),
                        _ => None,
                    }
                })
            };
            answers.push((slots, answer));
        }
        answers
    }

    /// Writes markers to partitions of this core; answers once they are durable and, where group offsets are
    /// concerned, in force.
    pub(crate) async fn markers_owned(self: &Rc<Self>, writes: Vec<MarkerWrite>) -> Vec<(u32, ErrorCode)> {
        let done = Rc::new(Countdown::default());
        let mut results = Vec::with_capacity(writes.len());
        let mut in_force = Vec::new();
        for write in writes {
            let error = loop {
                match self.append_marker(&write, &done) {
                    Ok(end) => {
                        in_force.extend(self.end_offsets(&write.id, write.producer_id, write.commit, end));
                        break ErrorCode::NONE;
                    }
                    Err(Some(error)) => break error,
                    Err(None) if self.stopping.get() => break ErrorCode::NOT_LEADER_OR_FOLLOWER,
                    Err(None) => self.env.sleep(RETRY).await,
                }
            };
            results.push((write.slot, error));
        }
        if planted(Bug::EarlyMarkerAnswer) {
            return results;
        }
        done.wait().await;
        for in_force in in_force {
            in_force.await;
        }
        results
    }

    /// Appends one marker, unless it is there; gives the end that must be durable. `None` as error: to be tried again.
    fn append_marker(&self, write: &MarkerWrite, done: &Rc<Countdown>) -> Result<i64, Option<ErrorCode>> {
        let Some(partition) = self.partition(&write.id) else {
            // Right after the start a core may not have heard yet of what another one knows already.
            return Err(self.is_loaded().then_some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
        };
        let log = &partition.log;
        let entry = log.producer(write.producer_id);
        if let Some(entry) = &entry {
            if entry.coordinator_epoch > write.coordinator_epoch {
                return Err(Some(ErrorCode::TRANSACTION_COORDINATOR_FENCED));
            }
            // From level 2 on the marker's epoch is above that of the transaction; an equal one was written before, or
            // the epochs are used up (KIP-890, KIP-1228).
            let idle = entry.txn_first_offset < 0;
            let raises = write.level >= TV2;
            let valid = if raises {
                write.producer_epoch > entry.epoch
                    || (write.producer_epoch == entry.epoch && (idle || write.producer_epoch == i16::MAX))
            } else {
                write.producer_epoch >= entry.epoch
            };
            if !valid && !planted(Bug::DoubledMarker) {
                return Err(Some(ErrorCode::INVALID_PRODUCER_EPOCH));
            }
            if raises && idle && write.producer_epoch == entry.epoch {
                let end = log.end_offset();
                partition.wait_for(end, done);
                return Ok(end);
            }
        }
        let now_ms = self.env.wall_ms();
        let mut batch = BatchBuilder::new()
            .producer(write.producer_id, write.producer_epoch, -1)
            .transactional(true)
            .control(true);
        let mut value = [0; 6];
        value[2..].copy_from_slice(&write.coordinator_epoch.to_be_bytes());
        batch
            .push(
                now_ms,
                Some(&[0, 0, 0, u8::from(write.commit)]),
                Some(&value),
                &[],
            )
            .expect("a small record");
        match log.append(&batch.build_uncompressed(), partition.leader_epoch.get(), now_ms) {
            Ok(appended) => {
                partition
                    .gates
                    .cancel(write.producer_id, write.producer_epoch, write.level);
                let end = appended.last_offset + 1;
                partition.wait_for(end, done);
                partition.advanced();
                Ok(end)
            }
            // Outcomes are decided; they wait for room however long it takes.
            Err(AppendError::Busy) => Err(None),
            Err(error) => Err(Some(crate::shard::produce::append_error(&error).0)),
        }
    }

    /// What partitions of this core know of their producers.
    pub(crate) fn producers_owned(&self, asked: &[(u32, turgo_storage::PartitionId)]) -> Vec<ProducerAnswer> {
        asked
            .iter()
            .map(|(slot, id)| ProducerAnswer {
                slot: *slot,
                producers: self.partition(id).map(|partition| partition.log.producers()),
            })
            .collect()
    }
}

/// The level of clients whose produce adds partitions, or does not.
fn level(adds: bool) -> Level {
    if adds { TV2 } else { TV0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(epoch: i16, sequence: i32) -> Writer {
        Writer {
            producer_id: 7,
            epoch,
            sequence,
        }
    }

    #[test]
    fn the_writer_of_a_transactional_batch_is_read_from_its_header() {
        let mut batch = BatchBuilder::new().producer(77, 3, 12).transactional(true);
        batch.push(0, None, Some(b"v"), &[]).expect("fits");
        let bytes = batch.build_uncompressed();
        assert_eq!(
            Writer::of(Some(&bytes)),
            Some(Writer {
                producer_id: 77,
                epoch: 3,
                sequence: 12
            })
        );
        assert_eq!(Writer::of(Some(&bytes[..60])), None);
        // Told before anything is checked.
        let mut damaged = bytes.clone();
        damaged[17] ^= 1;
        assert_eq!(Writer::of(Some(&damaged)), Writer::of(Some(&bytes)));
        assert_eq!(Writer::of(None), None);
        let mut plain = BatchBuilder::new().producer(77, 3, 12);
        plain.push(0, None, Some(b"v"), &[]).expect("fits");
        assert_eq!(Writer::of(Some(&plain.build_uncompressed())), None);
    }

    #[test]
    fn a_batch_behind_a_refused_one_is_ahead_of_its_turn() {
        let gates = Gates::default();
        assert!(!gates.is_ahead(&writer(0, 10)));
        gates.note_refused(&writer(0, 10));
        gates.note_refused(&writer(0, 20));
        assert!(gates.is_ahead(&writer(0, 20)) && !gates.is_ahead(&writer(0, 10)));
        assert!(!gates.is_ahead(&writer(1, 20)), "another epoch begins anew");
        gates.note_refused(&writer(1, 5));
        assert!(!gates.is_ahead(&writer(0, 20)), "the old epoch is forgotten");
        gates.cancel(7, 1, TV2);
        assert!(
            gates.is_ahead(&writer(1, 6)),
            "that marker ended the transaction before"
        );
        gates.cancel(7, 2, TV2);
        assert!(!gates.is_ahead(&writer(1, 6)));
    }

    #[test]
    fn a_marker_cancels_the_guards_of_its_producer_only() {
        let gates = Gates::default();
        let (own, next, other) = (gates.guard(7, 3), gates.guard(7, 4), gates.guard(8, 3));
        gates.cancel(7, 4, TV2);
        assert!(own.cancelled.get(), "the marker of its transaction");
        assert!(
            !next.cancelled.get(),
            "the next transaction begins with that epoch"
        );
        assert!(!other.cancelled.get());
        gates.cancel(7, 4, TV0);
        assert!(
            next.cancelled.get(),
            "without a raise the epoch is that of the transaction"
        );
    }

    #[test]
    fn producers_are_told_what_their_version_understands() {
        let cases = [
            (ErrorCode::PRODUCER_FENCED, 12, ErrorCode::INVALID_PRODUCER_EPOCH),
            (ErrorCode::TRANSACTION_ABORTABLE, 10, ErrorCode::INVALID_TXN_STATE),
            (
                ErrorCode::TRANSACTION_ABORTABLE,
                11,
                ErrorCode::TRANSACTION_ABORTABLE,
            ),
            (
                ErrorCode::CONCURRENT_TRANSACTIONS,
                11,
                ErrorCode::NOT_ENOUGH_REPLICAS,
            ),
            (
                ErrorCode::CONCURRENT_TRANSACTIONS,
                12,
                ErrorCode::CONCURRENT_TRANSACTIONS,
            ),
            (ErrorCode::NOT_COORDINATOR, 12, ErrorCode::NOT_ENOUGH_REPLICAS),
            (
                ErrorCode::INVALID_PRODUCER_ID_MAPPING,
                9,
                ErrorCode::INVALID_PRODUCER_ID_MAPPING,
            ),
        ];
        for (error, version, told) in cases {
            assert_eq!(produce_code(error, version), told, "{error} at {version}");
        }
    }
}
