//! The producer as the worker sees it.

use bytes::Bytes;
use turgo_net::ErrorCode;

use super::txn::Txn;
use super::{BACKOFF, Batch, DELIVERY_TIMEOUT, Kind, Producer};
use crate::client::{Actor, Context, Effect, Ends, Link, Logs, Lost, Role};
use crate::spec::Acks;
use crate::stats::Span;

impl Actor for Producer {
    fn tick(&mut self, cx: &mut Context<'_>) {
        self.refresh(cx);
        if !self.ready || self.producer_id.is_none() {
            self.set_up(cx);
        }
        self.take_up(cx);
        let more = self.build(cx);
        self.expire_linger(cx.now);
        if self.outstanding > 0 && self.held() {
            self.release_held(cx);
        }
        self.drive_transaction(cx);
        self.drain_nodes(cx);
        for link in self.requests.overdue(cx.now) {
            cx.effects.push(Effect::Close(link));
        }
        self.plan_wake(more, cx.now);
    }

    fn answer(&mut self, _link: Link, token: i32, sent: u64, frame: &Bytes, cx: &mut Context<'_>) {
        let Some(kind) = self.requests.take(token) else {
            return;
        };
        let result = match kind {
            Kind::Produce { node, batches } => self.produced(node, batches, sent, frame, cx),
            Kind::Metadata | Kind::Greeting => self.got_metadata(frame, cx),
            Kind::ProducerId => self.got_producer_id(frame, cx),
            Kind::TxnCoordinator => self.got_coordinator(frame, cx),
            Kind::AddPartitions(list) => self.added_partitions(list, frame, cx),
            Kind::EndTxn { sent } => self.ended(sent, frame, cx),
        };
        if let Err(error) = result {
            cx.effects.push(Effect::Fail(error));
        }
        self.wake = cx.now;
    }

    fn written(&mut self, token: i32, sent: u64, cx: &mut Context<'_>) {
        if let Some(Kind::Produce { node, batches }) = self.requests.take(token) {
            cx.recorder.request(cx.now);
            self.nodes.entry(node).or_default().in_flight -= 1;
            for batch in batches {
                self.settle(batch, ErrorCode(0), sent, cx);
            }
        }
        self.wake = cx.now;
    }

    fn lost(&mut self, link: Link, requests: &[Lost], cx: &mut Context<'_>) {
        self.refresh_at = self.refresh_at.min(cx.now + BACKOFF);
        if link.role == Role::Data {
            self.greeted.remove(&link.node);
            self.nodes.entry(link.node).or_default().not_before = cx.now + BACKOFF;
        }
        for lost in requests {
            match self.requests.take(lost.token) {
                Some(Kind::Produce { node, batches }) => {
                    self.nodes.entry(node).or_default().in_flight -= 1;
                    for mut batch in batches {
                        batch.maybe_sent |= lost.sent;
                        let index = batch.partition;
                        self.partitions[index as usize].in_flight -= 1;
                        let expired = cx.now.saturating_sub(batch.born) >= DELIVERY_TIMEOUT;
                        // With acks=0 nobody learns what happened to it.
                        if expired || self.w.acks == Acks::None {
                            let unknown = batch.maybe_sent;
                            self.refuse(batch, unknown, cx);
                        } else {
                            self.repeat(batch, cx);
                        }
                        self.partition_settled(index, cx);
                    }
                }
                Some(Kind::ProducerId | Kind::TxnCoordinator) => {
                    self.forget_coordinator();
                    self.ask_id_at = cx.now + BACKOFF;
                }
                Some(Kind::AddPartitions(list)) => self.lost_partitions(list, cx.now),
                Some(Kind::EndTxn { .. }) => self.lost_end(cx.now),
                Some(Kind::Metadata | Kind::Greeting) | None => {}
            }
        }
        self.wake = cx.now;
    }

    fn wake(&self) -> u64 {
        self.wake
    }

    fn ready(&self) -> bool {
        self.ready
    }

    fn start(&mut self, span: Span) {
        self.span = span;
        self.wake = 0;
    }

    fn finish_at(&mut self, _ends: &Ends) {}

    fn done(&self) -> bool {
        self.stopped && self.idle() && self.txn.as_ref().is_none_or(Txn::over)
    }

    fn give_up(&mut self, cx: &mut Context<'_>) {
        self.stopped = true;
        for a in std::mem::take(&mut self.pending) {
            cx.recorder.unanswered(a.intended, cx.now, u64::from(a.count));
        }
        let mut out: Vec<Batch> = Vec::new();
        for kind in self.requests.drain() {
            if let Kind::Produce { batches, .. } = kind {
                out.extend(batches.into_iter().map(|b| Batch {
                    maybe_sent: true,
                    ..b
                }));
            }
        }
        for p in &mut self.partitions {
            out.extend(std::mem::take(&mut p.retry).into_values());
            out.extend(p.sealed.drain(..));
            let open = std::mem::take(&mut p.open);
            for a in &open.arrivals {
                cx.recorder.unanswered(a.intended, cx.now, u64::from(a.count));
            }
            let count = open.builder.count() as u64;
            p.log.failed.insert(p.log.next - count, p.log.next);
        }
        for batch in out {
            for a in &batch.arrivals {
                cx.recorder.unanswered(a.intended, cx.now, u64::from(a.count));
            }
            let log = &mut self.partitions[batch.partition as usize].log;
            let set = if batch.maybe_sent {
                &mut log.unknown
            } else {
                &mut log.failed
            };
            set.insert(batch.first, batch.first + u64::from(batch.count));
        }
        if let Some(txn) = &mut self.txn {
            for (partition, from, to) in txn.abandon() {
                self.partitions[partition as usize].log.unknown.insert(from, to);
            }
        }
        (self.outstanding, self.buffered) = (0, 0);
        self.lingering.clear();
    }

    fn logs(&mut self) -> Logs {
        let mut logs = Logs::default();
        for (index, p) in self.partitions.iter_mut().enumerate() {
            if p.log.next > 0 {
                logs.sent
                    .put(self.id, (self.topic, index as u32), std::mem::take(&mut p.log));
            }
        }
        logs
    }

    fn waiting_for(&self) -> String {
        if !self.ready {
            let missing = if !self.has_leaders() {
                format!("leaders of all partitions of {}", self.name)
            } else if self.w.idempotent && self.producer_id.is_none() {
                "a producer id".to_owned()
            } else {
                "connections to the leaders".to_owned()
            };
            return format!("producer {} waits for {missing}", self.id);
        }
        format!(
            "producer {}: {} batches without an answer, {} arrivals not built",
            self.id,
            self.outstanding,
            self.pending.len()
        )
    }
}
