//! InitProducerId, AddPartitionsToTxn, and questions.

use turgo_net::ErrorCode;

use super::coordinator::{Coordinator, Effect, EndReply, Entry, Op, Outcome, Ticket};
use super::messages::{
    AddPartitions, Described, InitProducerId, ListTransactions, Listed, Producer, Request, Response, TV2, all,
};
use super::records;
use super::state::{LAST_EPOCH, TopicPartitions, Txn, TxnState};
use std::rc::Rc;

impl Coordinator {
    pub(super) fn init(
        &mut self,
        now_ms: i64,
        ticket: Ticket,
        init: InitProducerId,
        out: &mut Vec<Effect>,
    ) -> Outcome {
        let refuse = |out: &mut Vec<Effect>, error| {
            let response = Response::Producer(Producer::refused(error));
            out.push(Effect::Reply { ticket, response });
            Outcome::Done
        };
        let Some((id, entry)) = self.entries.get_key_value(init.transactional_id.as_str()) else {
            let limits = &self.config.limits;
            let id_bytes = self.id_bytes + init.transactional_id.len();
            if self.entries.len() >= limits.ids || id_bytes > limits.all_id_bytes {
                return refuse(out, ErrorCode::COORDINATOR_NOT_AVAILABLE);
            }
            if !self.has_id() {
                return Outcome::NeedsId(Request::InitProducerId(init));
            }
            let txn = Txn::new(self.fresh_id(), init.timeout_ms, now_ms);
            let next = txn
                .raise_epoch(init.timeout_ms, None, now_ms)
                .expect("epochs are left");
            let id: Rc<str> = init.transactional_id.into();
            self.know(id.clone(), txn);
            self.append(&id, Some(next), Op::Init(ticket), out);
            return Outcome::Done;
        };
        if entry.is_busy() {
            return Outcome::Wait(Request::InitProducerId(init));
        }
        let id = id.clone();
        let txn = &entry.txn;
        let known = |(producer_id, epoch): (i64, i16)| {
            txn.epoch == -1
                || producer_id == txn.producer_id
                || (producer_id == txn.previous_id && epoch >= LAST_EPOCH)
        };
        if !init.expected.is_none_or(known) {
            return refuse(out, ErrorCode::PRODUCER_FENCED);
        }
        if txn.state == TxnState::Ongoing {
            // Whoever has the epoch is fenced and the transaction aborted; the producer asks again for an epoch of its
            // own, which nobody else has ever had.
            if txn.is_exhausted() && !self.has_id() {
                return Outcome::NeedsId(Request::InitProducerId(init));
            }
            self.prepare(now_ms, &id, false, TV2, EndReply::Fenced(ticket), out);
            return Outcome::Done;
        }
        let expected = init.expected.map(|(_, epoch)| epoch);
        let next = if txn.is_exhausted() && expected.is_none_or(|epoch| epoch == txn.epoch) {
            if !self.has_id() {
                return Outcome::NeedsId(Request::InitProducerId(init));
            }
            let fresh = self.fresh_id();
            let txn = &self.entries[&id].txn;
            txn.rotate(fresh, init.timeout_ms, expected.is_some(), now_ms)
        } else {
            match txn.raise_epoch(init.timeout_ms, expected, now_ms) {
                Ok(next) => next,
                Err(error) => return refuse(out, error),
            }
        };
        self.append(&id, Some(next), Op::Init(ticket), out);
        Outcome::Done
    }

    /// Adds the partitions of several requests with one record.
    pub(super) fn add(
        &mut self,
        now_ms: i64,
        adds: Vec<(Ticket, AddPartitions)>,
        out: &mut Vec<Effect>,
    ) -> Outcome {
        let name = adds[0].1.transactional_id.as_str();
        let Some((id, entry)) = self.entries.get_key_value(name) else {
            for (ticket, add) in &adds {
                answer_add(out, *ticket, add, ErrorCode::INVALID_PRODUCER_ID_MAPPING);
            }
            return Outcome::Done;
        };
        if entry.is_busy() {
            let mut adds = adds;
            assert_eq!(adds.len(), 1, "those that wait are taken out when it is free");
            let (_, add) = adds.pop().expect("one");
            return Outcome::Wait(Request::AddPartitions(add));
        }
        let txn = &entry.txn;
        let mut new = TopicPartitions::new();
        let mut bytes = records::size(&txn.partitions);
        let mut level = txn.level;
        let mut added = Vec::new();
        for (ticket, add) in adds {
            if add.producer_id != txn.producer_id {
                answer_add(out, ticket, &add, ErrorCode::INVALID_PRODUCER_ID_MAPPING);
                continue;
            }
            if add.producer_epoch != txn.epoch {
                answer_add(out, ticket, &add, ErrorCode::PRODUCER_FENCED);
                continue;
            }
            if add.verify_only {
                let verdict = |topic: &str, partition: i32| {
                    if txn.contains(topic, partition) {
                        ErrorCode::NONE
                    } else {
                        ErrorCode::TRANSACTION_ABORTABLE
                    }
                };
                let answer = add.topics.iter().map(|(topic, partitions)| {
                    let partitions = partitions.iter().map(|p| (*p, verdict(topic, *p)));
                    (topic.clone(), partitions.collect())
                });
                let response = Response::Added(answer.collect());
                out.push(Effect::Reply { ticket, response });
                continue;
            }
            let mut partitions = TopicPartitions::new();
            for (topic, ids) in &add.topics {
                if !ids.is_empty() {
                    partitions.entry(topic.as_str().into()).or_default().extend(ids);
                }
            }
            let more = records::size(&partitions);
            if bytes + more > self.config.limits.record_bytes {
                answer_add(out, ticket, &add, ErrorCode::INVALID_REQUEST);
                continue;
            }
            bytes += more;
            level = add.level;
            for (topic, ids) in partitions {
                new.entry(topic).or_default().extend(ids);
            }
            added.push((ticket, add));
        }
        if added.is_empty() {
            return Outcome::Done;
        }
        let there = txn.state == TxnState::Ongoing
            && new
                .iter()
                .all(|(topic, ids)| ids.iter().all(|p| txn.contains(topic, *p)));
        if there {
            for (ticket, add) in &added {
                answer_add(out, *ticket, add, ErrorCode::NONE);
            }
            return Outcome::Done;
        }
        let (id, next) = (id.clone(), txn.add(new, level, now_ms));
        self.append(&id, Some(next), Op::Add(added), out);
        Outcome::Done
    }

    pub(super) fn describe(&self, id: String) -> Described {
        match self.entries.get(id.as_str()).filter(|e| e.txn.epoch >= 0) {
            None => Described {
                error: ErrorCode::TRANSACTIONAL_ID_NOT_FOUND,
                transactional_id: id,
                ..Described::default()
            },
            Some(Entry { txn, .. }) => Described {
                error: ErrorCode::NONE,
                transactional_id: id,
                state: txn.state.name(),
                timeout_ms: txn.timeout_ms,
                start_ms: txn.start_ms,
                producer_id: txn.producer_id,
                producer_epoch: txn.epoch,
                topics: txn
                    .partitions
                    .iter()
                    .map(|(topic, partitions)| (topic.to_string(), partitions.iter().copied().collect()))
                    .collect(),
            },
        }
    }

    pub(super) fn list(&self, now_ms: i64, list: &ListTransactions) -> Vec<Listed> {
        let wanted = |txn: &Txn| {
            txn.epoch >= 0
                && (list.states.is_empty() || list.states.contains(&txn.state))
                && (list.producer_ids.is_empty() || list.producer_ids.contains(&txn.producer_id))
                && (list.duration_ms < 0 || now_ms.saturating_sub(txn.start_ms) > list.duration_ms)
        };
        self.entries
            .iter()
            .filter(|(_, entry)| wanted(&entry.txn))
            .map(|(id, Entry { txn, .. })| Listed {
                transactional_id: id.to_string(),
                producer_id: txn.producer_id,
                state: txn.state.name(),
            })
            .collect()
    }
}

/// One answer for all partitions of a request.
fn answer_add(out: &mut Vec<Effect>, ticket: Ticket, add: &AddPartitions, error: ErrorCode) {
    let response = Response::Added(all(&add.topics, error));
    out.push(Effect::Reply { ticket, response });
}
