//! Transactions of a producer: which partitions are in, when it ends, what it wrote.
//!
//! One transaction follows the other; each lasts a set time, then nothing more is built until its last batch is
//! answered and its end confirmed. What it wrote counts as acknowledged only then.

use std::collections::BTreeSet;

use bytes::Bytes;
use turgo_net::ErrorCode;
use turgo_net::api::ApiKey;
use turgo_net::messages::add_partitions_to_txn::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, AddPartitionsToTxnTopic,
};
use turgo_net::messages::end_txn::{EndTxnRequest, EndTxnResponse};
use turgo_net::messages::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};

use super::{BACKOFF, Kind, Producer};
use crate::client::cluster::join;
use crate::client::{ClientError, Context, Link, Role, parse, requests};
use crate::spec::Transactions;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// None is open.
    Idle,
    /// Since this time, ns.
    Open(u64),
    /// Nothing more is built; waiting for its last batches.
    Flushing,
    /// EndTxn is out.
    Ending,
}

/// The transaction of now.
#[derive(Debug)]
pub(super) struct Txn {
    pub(super) id: String,
    pub(super) coordinator: Option<i32>,
    settings: Transactions,
    state: State,
    abort: bool,
    /// Partitions that wait to be added.
    wanted: BTreeSet<u32>,
    adding: bool,
    wrote: Vec<(u32, u64, u64)>,
    retry_at: u64,
    drawn: f64,
}

impl Txn {
    pub(super) fn new(id: String, settings: Transactions) -> Txn {
        Txn {
            id,
            coordinator: None,
            settings,
            state: State::Idle,
            abort: false,
            wanted: BTreeSet::new(),
            adding: false,
            wrote: Vec::new(),
            retry_at: 0,
            drawn: 0.0,
        }
    }

    /// A record is about to be built: it opens a transaction if none is.
    pub(super) fn begin(&mut self, now: u64) {
        if self.state == State::Idle {
            self.state = State::Open(now);
            // Every so many-th is aborted: exact shares, and no randomness to explain.
            self.drawn += self.settings.abort_share;
            self.abort = self.drawn >= 1.0;
            if self.abort {
                self.drawn -= 1.0;
            }
        }
    }

    pub(super) fn aborts(&self) -> bool {
        self.abort
    }

    pub(super) fn must_abort(&mut self) {
        self.abort = true;
    }

    pub(super) fn ending(&self) -> bool {
        matches!(self.state, State::Flushing | State::Ending)
    }

    pub(super) fn over(&self) -> bool {
        self.state == State::Idle
    }

    pub(super) fn want(&mut self, partition: u32) {
        self.wanted.insert(partition);
    }

    pub(super) fn wrote(&mut self, partition: u32, from: u64, to: u64) {
        self.wrote.push((partition, from, to));
    }

    pub(super) fn abandon(&mut self) -> Vec<(u32, u64, u64)> {
        self.state = State::Idle;
        std::mem::take(&mut self.wrote)
    }

    pub(super) fn wake(&self) -> u64 {
        match self.state {
            State::Open(since) => {
                (since + self.settings.every_ms * 1_000_000).min(if self.wanted.is_empty() {
                    u64::MAX
                } else {
                    self.retry_at
                })
            }
            State::Flushing => self.retry_at,
            State::Idle | State::Ending => u64::MAX,
        }
    }
}

impl Producer {
    pub(super) fn find_coordinator(&mut self, cx: &mut Context<'_>) {
        let Some(id) = self.txn.as_ref().map(|t| t.id.clone()) else {
            return;
        };
        let link = Link {
            node: self.view.any(),
            role: Role::Control,
        };
        self.send(
            link,
            ApiKey::FindCoordinator,
            |token, version| {
                let request = FindCoordinatorRequest {
                    key: id.as_str().into(),
                    key_type: 1,
                    ..Default::default()
                };
                requests::frame(ApiKey::FindCoordinator, version, token, &request)
            },
            Kind::TxnCoordinator,
            cx,
        );
    }

    pub(super) fn forget_coordinator(&mut self) {
        if let Some(txn) = &mut self.txn {
            txn.coordinator = None;
        }
    }

    pub(super) fn got_coordinator(&mut self, frame: &Bytes, cx: &mut Context<'_>) -> Result<(), ClientError> {
        let version = self.versions.of(ApiKey::FindCoordinator)?;
        let answer: FindCoordinatorResponse<'_> = parse(frame, ApiKey::FindCoordinator, version)?;
        let code = ErrorCode(answer.error_code);
        if code.is_none() {
            self.view
                .learn_node(answer.node_id, join(&answer.host, answer.port));
            if let Some(txn) = &mut self.txn {
                txn.coordinator = Some(answer.node_id);
                txn.retry_at = cx.now;
            }
            if self.producer_id.is_none() {
                self.ask_id_at = cx.now;
            }
            return Ok(());
        }
        if !code.retriable() {
            return Err(ClientError::Refused {
                what: "finding the coordinator of a transaction".into(),
                code,
            });
        }
        self.ask_id_at = cx.now + BACKOFF;
        Ok(())
    }

    /// Adds partitions, and ends the transaction when its time has come.
    pub(super) fn drive_transaction(&mut self, cx: &mut Context<'_>) {
        let idle = self.outstanding == 0 && self.partitions.iter().all(|p| p.open.builder.is_empty());
        let finished = self.stopped && self.pending.is_empty();
        let Some(txn) = &mut self.txn else { return };
        if let State::Open(since) = txn.state
            && (finished || cx.now >= since + txn.settings.every_ms * 1_000_000)
        {
            txn.state = State::Flushing;
            // What is still being collected leaves at once.
            for (deadline, ..) in &mut self.lingering {
                *deadline = (*deadline).min(cx.now);
            }
            self.expire_linger(cx.now);
        }
        let Some(txn) = &mut self.txn else { return };
        if cx.now < txn.retry_at || self.producer_id.is_none() {
            return;
        }
        if !txn.wanted.is_empty() && !txn.adding {
            return self.add_partitions(cx);
        }
        if txn.state == State::Flushing && idle {
            self.end_transaction(cx);
        }
    }

    fn coordinator_link(&mut self, cx: &mut Context<'_>) -> Option<Link> {
        let txn = self.txn.as_mut()?;
        match txn.coordinator {
            Some(node) => Some(Link {
                node,
                role: Role::Coordinator,
            }),
            None => {
                txn.retry_at = cx.now + BACKOFF;
                self.find_coordinator(cx);
                None
            }
        }
    }

    fn add_partitions(&mut self, cx: &mut Context<'_>) {
        let Some(link) = self.coordinator_link(cx) else {
            return;
        };
        let (Some(txn), Some((producer_id, epoch))) = (&mut self.txn, self.producer_id) else {
            return;
        };
        let list: Vec<u32> = std::mem::take(&mut txn.wanted).into_iter().collect();
        txn.adding = true;
        let (id, name, partitions) = (
            txn.id.clone(),
            self.name.clone(),
            list.iter().map(|p| *p as i32).collect(),
        );
        self.send(
            link,
            ApiKey::AddPartitionsToTxn,
            |token, version| {
                let request = AddPartitionsToTxnRequest {
                    v3_and_below_transactional_id: id.as_str().into(),
                    v3_and_below_producer_id: producer_id,
                    v3_and_below_producer_epoch: epoch,
                    v3_and_below_topics: vec![AddPartitionsToTxnTopic {
                        name: name.as_str().into(),
                        partitions,
                    }],
                    ..Default::default()
                };
                requests::frame(ApiKey::AddPartitionsToTxn, version, token, &request)
            },
            Kind::AddPartitions(list),
            cx,
        );
    }

    pub(super) fn added_partitions(
        &mut self,
        list: Vec<u32>,
        frame: &Bytes,
        cx: &mut Context<'_>,
    ) -> Result<(), ClientError> {
        let version = self.versions.of(ApiKey::AddPartitionsToTxn)?;
        let answer: AddPartitionsToTxnResponse<'_> = parse(frame, ApiKey::AddPartitionsToTxn, version)?;
        let code = answer
            .results_by_topic_v3_and_below
            .iter()
            .flat_map(|t| &t.results_by_partition)
            .map(|p| ErrorCode(p.partition_error_code))
            .find(|code| !code.is_none())
            .unwrap_or(ErrorCode(0));
        if let Some(txn) = &mut self.txn {
            txn.adding = false;
        }
        if code.is_none() {
            for index in list {
                self.partitions[index as usize].in_transaction = true;
                self.enqueue_partition(index);
            }
            return Ok(());
        }
        cx.recorder.error(code.name(), cx.now);
        if !(code.retriable() || code.0 == 51) {
            return Err(ClientError::Refused {
                what: "adding partitions to a transaction".into(),
                code,
            });
        }
        if matches!(code.0, 15 | 16) {
            self.forget_coordinator();
        }
        self.lost_partitions(list, cx.now);
        Ok(())
    }

    pub(super) fn lost_partitions(&mut self, list: Vec<u32>, now: u64) {
        if let Some(txn) = &mut self.txn {
            txn.adding = false;
            txn.wanted.extend(list);
            // 51: the markers of the transaction before are still being written.
            txn.retry_at = now + BACKOFF / 10;
        }
    }

    fn end_transaction(&mut self, cx: &mut Context<'_>) {
        let Some(link) = self.coordinator_link(cx) else {
            return;
        };
        let (Some(txn), Some((producer_id, epoch))) = (&mut self.txn, self.producer_id) else {
            return;
        };
        if txn.wrote.is_empty() && !self.partitions.iter().any(|p| p.in_transaction) {
            txn.state = State::Idle;
            return;
        }
        txn.state = State::Ending;
        let (id, committed) = (txn.id.clone(), !txn.abort);
        let sent = cx.now;
        self.send(
            link,
            ApiKey::EndTxn,
            |token, version| {
                let request = EndTxnRequest {
                    transactional_id: id.as_str().into(),
                    producer_id,
                    producer_epoch: epoch,
                    committed,
                };
                requests::frame(ApiKey::EndTxn, version, token, &request)
            },
            Kind::EndTxn { sent },
            cx,
        );
    }

    pub(super) fn ended(
        &mut self,
        sent: u64,
        frame: &Bytes,
        cx: &mut Context<'_>,
    ) -> Result<(), ClientError> {
        let version = self.versions.of(ApiKey::EndTxn)?;
        let answer: EndTxnResponse = parse(frame, ApiKey::EndTxn, version)?;
        let code = ErrorCode(answer.error_code);
        let Some(txn) = &mut self.txn else { return Ok(()) };
        if !code.is_none() {
            cx.recorder.error(code.name(), cx.now);
            if !(code.retriable() || code.0 == 51) {
                return Err(ClientError::Refused {
                    what: "ending a transaction".into(),
                    code,
                });
            }
            if matches!(code.0, 15 | 16) {
                txn.coordinator = None;
            }
            self.lost_end(cx.now);
            return Ok(());
        }
        let aborted = txn.abort;
        for (partition, from, to) in std::mem::take(&mut txn.wrote) {
            let log = &mut self.partitions[partition as usize].log;
            let set = if aborted { &mut log.aborted } else { &mut log.acked };
            set.insert(from, to);
        }
        txn.state = State::Idle;
        txn.abort = false;
        for p in &mut self.partitions {
            p.in_transaction = false;
        }
        if aborted {
            cx.recorder.totals.aborted += 1;
        } else {
            cx.recorder.totals.committed += 1;
            cx.recorder.totals.commit.record_span(sent, cx.now, 1);
        }
        Ok(())
    }

    /// Whether it ended is not known: asking again is harmless.
    pub(super) fn lost_end(&mut self, now: u64) {
        if let Some(txn) = &mut self.txn {
            txn.state = State::Flushing;
            txn.retry_at = now + BACKOFF;
        }
    }
}
