//! Produce: from the parts of a request to acknowledgements.
//!
//! The connection's core splits the request by owner ([`Shard::produce_submit`]) without waiting, so that the
//! next request of the connection is appended after this one. Each owner validates, checks sequences, appends
//! and waits for its commit point ([`Shard::produce_owned`]).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use turgo_net::ErrorCode;
use turgo_storage::env::Env;
use turgo_storage::{AppendError, BatchHeader, Pressure, ProducerError, Sequenced};

use crate::shard::Shard;
use crate::shard::ops::{Answer, Op, PartProduce, ProduceOp, Produced};
use crate::shard::txn::Writer;
use crate::sync::{Countdown, Event, Filled, Filler, oneshot};

/// Requests that wait for room in the store, oldest first. Bounded by what connections may have in flight: a request
/// that nobody waits for any more is dropped with the next heartbeat, and was not appended.
#[derive(Default)]
pub struct Backlog {
    waiting: RefCell<VecDeque<(ProduceOp, Filler<Pending>)>>,
    /// Somebody gave up since the last heartbeat.
    abandoned: Cell<bool>,
}

#[cfg(test)]
impl Backlog {
    pub(crate) fn len(&self) -> usize {
        self.waiting.borrow().len()
    }
}

/// What all batches of a request have in common.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    /// The request's version.
    pub version: i16,
    /// As in the request.
    pub transactional_id: Option<std::sync::Arc<str>>,
}

/// Batches appended but not yet committed, and those that still wait for room.
#[derive(Default)]
pub struct Pending {
    /// Answers as they will be, once `done` is complete.
    results: Vec<Produced>,
    /// One count per partition that is not committed yet.
    done: Rc<Countdown>,
    /// When the last of them was appended.
    appended_ns: u64,
    /// Batches that wait for their transaction, with their slots.
    gated: Vec<(u32, Filled<Produced>)>,
    /// The later parts of the request, and their slots.
    rest: Option<(Vec<u32>, Filled<Pending>)>,
}

impl Pending {
    fn is_complete(&self) -> bool {
        self.done.is_complete() && self.gated.is_empty() && self.rest.is_none()
    }
}

/// A request whose parts were handed to their owners.
pub struct Submitted {
    local: Option<Pending>,
    deadline_ms: u64,
    remote: Vec<(Vec<u32>, Filled<Answer>)>,
}

impl Submitted {
    /// Answers of all parts, in no particular order.
    pub async fn finish<E: Env>(self, shard: &Shard<E>) -> Vec<Produced> {
        let mut results = match self.local {
            Some(pending) => shard.finish_produce(pending, self.deadline_ms).await,
            None => Vec::new(),
        };
        for (slots, filled) in self.remote {
            match filled.await {
                Some(Answer::Produced(more)) if results.is_empty() => results = more,
                Some(Answer::Produced(more)) => results.extend(more),
                _ => results.extend(
                    slots
                        .iter()
                        .map(|slot| Produced::refused(*slot, ErrorCode::NOT_LEADER_OR_FOLLOWER, None)),
                ),
            }
        }
        results
    }
}

impl<E: Env> Shard<E> {
    /// Hands the parts of a request to the cores that own them, in order with earlier calls.
    pub fn produce_submit(self: &Rc<Self>, op: ProduceOp) -> Submitted {
        let ProduceOp {
            version,
            acks,
            deadline_ms,
            transactional_id,
            parts,
        } = op;
        let mut by_core: Vec<Vec<PartProduce>> = Vec::new();
        by_core.resize_with(self.cores, Vec::new);
        for part in parts {
            by_core[self.owner(&part.id)].push(part);
        }
        let mut submitted = Submitted {
            local: None,
            deadline_ms,
            remote: Vec::new(),
        };
        for (core, parts) in by_core.into_iter().enumerate() {
            if parts.is_empty() {
                continue;
            }
            let slots = if core == self.index {
                Vec::new()
            } else {
                parts.iter().map(|p| p.slot).collect()
            };
            let op = ProduceOp {
                version,
                acks,
                deadline_ms,
                transactional_id: transactional_id.clone(),
                parts,
            };
            if core == self.index {
                submitted.local = Some(self.produce_owned(op));
            } else {
                submitted.remote.push((slots, self.submit(core, Op::Produce(op))));
            }
        }
        submitted
    }

    /// Appends what this core owns; what the store has no room for now waits its turn.
    pub(crate) fn produce_owned(self: &Rc<Self>, op: ProduceOp) -> Pending {
        let backlog = &self.produce_backlog.waiting;
        if self.store.pressure() == Pressure::HardDirty || !backlog.borrow().is_empty() {
            let (fill, rest) = oneshot();
            let slots = slots(&op);
            backlog.borrow_mut().push_back((op, fill));
            return Pending {
                rest: Some((slots, rest)),
                ..Pending::default()
            };
        }
        self.append_all(op)
    }

    pub(crate) fn retry_backlog(self: &Rc<Self>) {
        let backlog = &self.produce_backlog;
        if backlog.abandoned.take() {
            backlog.waiting.borrow_mut().retain(|(_, fill)| fill.is_awaited());
        }
        while self.store.pressure() != Pressure::HardDirty {
            let Some((op, fill)) = backlog.waiting.borrow_mut().pop_front() else {
                return;
            };
            if !fill.is_awaited() {
                continue;
            }
            let pending = self.append_all(op);
            let stuck = pending.rest.is_some();
            fill.fill(pending);
            if stuck {
                return;
            }
        }
    }

    /// Waits until every batch is committed, but not beyond the deadline. What is not committed by then is answered
    /// with REQUEST_TIMED_OUT, as in Kafka: a batch that was appended may still become durable; one that still
    /// waited for room will never be appended.
    pub(crate) async fn finish_produce(&self, pending: Pending, deadline_ms: u64) -> Vec<Produced> {
        let mut pending = pending;
        if pending.is_complete() {
            return pending.results;
        }
        let late = Rc::new(Event::default());
        let _timer = self.timers.arm(deadline_ms, late.clone());
        let mut results = Vec::new();
        loop {
            let waits = !pending.done.is_complete();
            let in_time = late.unless_first(pending.done.wait()).await.is_some();
            if waits && in_time {
                self.note_stages(pending.appended_ns);
            }
            results.extend(pending.results.into_iter().map(|mut result| {
                if !in_time && result.error.is_none() && !self.is_committed(&result) {
                    result = self.timed_out(result.slot);
                }
                result
            }));
            for (slot, gated) in pending.gated {
                // One that still waits for its transaction then is not appended.
                let result = match late.unless_first(gated).await {
                    Some(Some(result)) => result,
                    Some(None) => Produced::refused(slot, ErrorCode::NOT_LEADER_OR_FOLLOWER, None),
                    None => self.timed_out(slot),
                };
                results.push(result);
            }
            let Some((slots, rest)) = pending.rest else {
                return results;
            };
            let next = match in_time {
                true => late.unless_first(rest).await,
                false => {
                    drop(rest);
                    None
                }
            };
            match next {
                Some(Some(next)) => pending = next,
                // The core is stopping.
                Some(None) => return results,
                None => {
                    self.produce_backlog.abandoned.set(true);
                    results.extend(slots.into_iter().map(|slot| self.timed_out(slot)));
                    return results;
                }
            }
        }
    }

    /// How long batches appended at `appended_ns` took to be committed just now, stage by stage.
    fn note_stages(&self, appended_ns: u64) {
        let commit = self.store.last_commit();
        let stats = &self.stats;
        stats
            .journal_stage
            .record_ns(commit.submitted_ns.saturating_sub(appended_ns));
        stats
            .device_stage
            .record_ns(commit.completed_ns.saturating_sub(commit.submitted_ns));
        stats
            .commit_stage
            .record_ns(self.env.now_ns().saturating_sub(commit.completed_ns));
    }

    fn timed_out(&self, slot: u32) -> Produced {
        self.stats.produce_timeouts.add(1);
        Produced::refused(slot, ErrorCode::REQUEST_TIMED_OUT, None)
    }

    fn is_committed(&self, result: &Produced) -> bool {
        let (id, end) = &result.committed_at;
        self.partition(id)
            .is_none_or(|partition| partition.high_watermark() >= *end)
    }

    /// Appends part by part. The first part that meets a full store, and all after it, go to the head of the backlog.
    fn append_all(self: &Rc<Self>, mut op: ProduceOp) -> Pending {
        let mut pending = Pending {
            results: Vec::with_capacity(op.parts.len()),
            ..Pending::default()
        };
        // New gates, by who waits at them: one question each.
        let mut asked: Vec<(Writer, Vec<_>)> = Vec::new();
        for i in 0..op.parts.len() {
            let part = &op.parts[i];
            if let Some(writer) = Writer::of(part.records.as_deref())
                && let Some(partition) = self.partition(&part.id)
                && self.needs_gate(&partition, &writer, op.version)
            {
                let (fill, gated) = oneshot();
                pending.gated.push((part.slot, gated));
                let terms = Terms {
                    version: op.version,
                    transactional_id: op.transactional_id.clone(),
                };
                if let Some(gate) = self.wait_at_gate(&partition, part.clone(), terms, writer, fill) {
                    match asked.iter_mut().find(|(other, _)| other.is_same(&writer)) {
                        Some((_, gates)) => gates.push((partition, gate)),
                        None => asked.push((writer, vec![(partition, gate)])),
                    }
                }
                continue;
            }
            match self.append_one(op.version, part, &pending.done) {
                Some(result) => pending.results.push(result),
                None => {
                    let later = op.parts.split_off(i);
                    let (fill, rest) = oneshot();
                    let later = ProduceOp {
                        parts: later,
                        transactional_id: op.transactional_id.clone(),
                        ..op
                    };
                    pending.rest = Some((slots(&later), rest));
                    self.produce_backlog
                        .waiting
                        .borrow_mut()
                        .push_front((later, fill));
                    break;
                }
            }
        }
        pending.appended_ns = self.env.now_ns();
        for (writer, gates) in asked {
            self.ask_for_gates(&op, writer, gates);
        }
        pending
    }

    /// `None`: the store is full for the moment, nothing was changed, and the part is to be tried again.
    pub(crate) fn append_one(
        &self,
        version: i16,
        part: &PartProduce,
        done: &Rc<Countdown>,
    ) -> Option<Produced> {
        let refused = |error, message| Produced::refused(part.slot, error, message);
        let Some(partition) = self.partition(&part.id) else {
            return Some(refused(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, None));
        };
        if matches!(self.store.pressure(), Pressure::LowSpace | Pressure::NoSpace) {
            self.stats.storage_refusals.add(1);
            let text = "the disk is nearly full; free space or lower retention";
            return Some(refused(ErrorCode::KAFKA_STORAGE_ERROR, Some(text.into())));
        }
        let settings = partition.settings();
        let now_ms = self.env.wall_ms();
        let verdict =
            self.validator
                .borrow_mut()
                .validate(part.records.as_deref(), version, &settings.rules, now_ms);
        let valid = match verdict {
            Ok(valid) => valid,
            Err(refusal) => {
                self.stats.rejected_batches.add(1);
                let record_errors = refusal
                    .record_errors
                    .iter()
                    .map(|r| (r.batch_index, Some(r.message.to_string())))
                    .collect();
                let code = refusal.error.code();
                return Some(Produced {
                    record_errors,
                    log_start: if refusal.error.precedes_the_log() {
                        -1
                    } else {
                        partition.log.start_offset()
                    },
                    ..refused(code, Some(refusal.error.to_string()))
                });
            }
        };
        let record_count = valid.record_count();
        let batch = valid.into_batch();
        let batch: &[u8] = &batch;
        let Ok(header) = BatchHeader::parse(batch) else {
            return Some(refused(ErrorCode::INVALID_RECORD, None));
        };
        match partition.log.check_producer(&header) {
            // The producer is inside a transaction there.
            Ok(Sequenced::New)
                if header.producer_id >= 0
                    && !header.is_transactional()
                    && partition
                        .log
                        .producer(header.producer_id)
                        .is_some_and(|e| e.txn_first_offset >= 0) =>
            {
                let text = "the producer has a transaction open in this partition";
                return Some(refused(ErrorCode::INVALID_TXN_STATE, Some(text.into())));
            }
            Ok(Sequenced::New) => {}
            Ok(Sequenced::Duplicate {
                base_offset,
                last_offset,
                max_timestamp,
            }) => {
                // The first copy may not be durable yet, and this answer says that it is.
                partition.wait_for(last_offset + 1, done);
                return Some(Produced {
                    base_offset,
                    committed_at: (part.id, last_offset + 1),
                    // Kafka tells the timestamp of the first copy, whatever the topic's kind of timestamp.
                    log_append_time_ms: max_timestamp,
                    log_start: partition.log.start_offset(),
                    ..refused(ErrorCode::NONE, None)
                });
            }
            Err(error) => {
                return Some(Produced {
                    log_start: partition.log.start_offset(),
                    ..refused(producer_error(error), None)
                });
            }
        }
        Some(
            match partition.log.append(batch, partition.leader_epoch.get(), now_ms) {
                Ok(appended) => {
                    self.stats.produced_records.add(record_count.max(0) as u64);
                    self.stats.produced_bytes.add(batch.len() as u64);
                    partition.wait_for(appended.last_offset + 1, done);
                    partition.advanced();
                    Produced {
                        base_offset: appended.base_offset,
                        committed_at: (part.id, appended.last_offset + 1),
                        log_append_time_ms: if settings.log_append_time { now_ms } else { -1 },
                        log_start: partition.log.start_offset(),
                        ..refused(ErrorCode::NONE, None)
                    }
                }
                Err(AppendError::Busy) => return None,
                Err(error) => {
                    let (code, message) = append_error(&error);
                    refused(code, Some(message))
                }
            },
        )
    }
}

fn slots(op: &ProduceOp) -> Vec<u32> {
    op.parts.iter().map(|part| part.slot).collect()
}

fn producer_error(error: ProducerError) -> ErrorCode {
    match error {
        ProducerError::OutOfOrder { .. } => ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
        ProducerError::StaleEpoch { .. } => ErrorCode::INVALID_PRODUCER_EPOCH,
    }
}

pub(crate) fn append_error(error: &AppendError) -> (ErrorCode, String) {
    let code = match error {
        AppendError::TooLarge { .. } => ErrorCode::MESSAGE_TOO_LARGE,
        AppendError::Malformed(_) => ErrorCode::INVALID_RECORD,
        AppendError::Busy | AppendError::NoSpace => ErrorCode::KAFKA_STORAGE_ERROR,
        AppendError::Dropped => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        AppendError::Closed | AppendError::StaleEpoch { .. } => ErrorCode::NOT_LEADER_OR_FOLLOWER,
    };
    (code, error.to_string())
}
