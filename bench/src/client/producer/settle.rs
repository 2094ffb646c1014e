//! What becomes of batches: acknowledged, sent again, refused, or unknown.

use bytes::Bytes;
use turgo_net::ErrorCode;
use turgo_net::api::ApiKey;
use turgo_net::messages::produce::ProduceResponse;

use super::{BACKOFF, Batch, DELIVERY_TIMEOUT, Producer};
use crate::client::{ClientError, Context, parse};
use crate::stats::Times;

impl Producer {
    pub(super) fn produced(
        &mut self,
        node: i32,
        batches: Vec<Batch>,
        sent: u64,
        frame: &Bytes,
        cx: &mut Context<'_>,
    ) -> Result<(), ClientError> {
        let cap = if self.txn.is_some() { 11 } else { i16::MAX };
        let version = self.versions.at_most(ApiKey::Produce, cap)?;
        let answer: ProduceResponse<'_> = parse(frame, ApiKey::Produce, version)?;
        cx.recorder.request(cx.now);
        self.nodes.entry(node).or_default().in_flight -= 1;
        let mut codes: Vec<(i32, i16)> = answer
            .responses
            .iter()
            .flat_map(|t| &t.partition_responses)
            .map(|p| (p.index, p.error_code))
            .collect();
        for batch in batches {
            let at = codes
                .iter()
                .position(|(index, _)| *index == batch.partition as i32);
            let code = match at {
                Some(at) => ErrorCode(codes.swap_remove(at).1),
                None => {
                    return Err(ClientError::Protocol(format!(
                        "the answer to a produce request lacks partition {}",
                        batch.partition
                    )));
                }
            };
            self.settle(batch, code, sent, cx);
        }
        Ok(())
    }

    pub(super) fn settle(&mut self, mut batch: Batch, code: ErrorCode, sent: u64, cx: &mut Context<'_>) {
        const DUPLICATE_SEQUENCE: i16 = 46;
        const OUT_OF_ORDER_SEQUENCE: i16 = 45;
        let index = batch.partition;
        self.partitions[index as usize].in_flight -= 1;
        if code.is_none() || code.0 == DUPLICATE_SEQUENCE {
            self.acknowledged(&batch, sent, cx);
            self.partition_settled(index, cx);
            return;
        }
        cx.recorder.error(code.name(), cx.now);
        // A batch behind one that is being repeated is out of order only because of that.
        let behind = code.0 == OUT_OF_ORDER_SEQUENCE && !self.partitions[index as usize].retry.is_empty();
        let retriable = code.retriable() || behind;
        if retriable && cx.now.saturating_sub(batch.born) < DELIVERY_TIMEOUT {
            batch.maybe_sent = true;
            self.repeat(batch, cx);
            self.refresh_at = self.refresh_at.min(cx.now);
        } else {
            self.refuse(batch, false, cx);
        }
        self.partition_settled(index, cx);
    }

    pub(super) fn acknowledged(&mut self, batch: &Batch, sent: u64, cx: &mut Context<'_>) {
        let p = &mut self.partitions[batch.partition as usize];
        let (from, to) = (batch.first, batch.first + u64::from(batch.count));
        match &mut self.txn {
            Some(txn) => txn.wrote(batch.partition, from, to),
            None => {
                p.log.acked.insert(from, to);
            }
        }
        self.outstanding -= 1;
        self.release(batch);
        for a in &batch.arrivals {
            let times = Times {
                intended: a.intended,
                enqueued: a.enqueued,
                sent,
                acked: cx.now,
            };
            let n = u64::from(a.count);
            cx.recorder
                .acked(times, n, batch.value_bytes * n / u64::from(batch.count));
        }
        cx.recorder.batch(cx.now);
    }

    pub(super) fn release(&mut self, batch: &Batch) {
        self.buffered = self
            .buffered
            .saturating_sub(batch.value_bytes as usize + 32 * batch.count as usize);
    }

    pub(super) fn repeat(&mut self, batch: Batch, cx: &mut Context<'_>) {
        cx.recorder.totals.retries += 1;
        let p = &mut self.partitions[batch.partition as usize];
        p.held_until = cx.now + BACKOFF;
        p.retry.insert(batch.first, batch);
    }

    /// The batch will not be written, or nobody knows whether it was.
    pub(super) fn refuse(&mut self, batch: Batch, unknown: bool, cx: &mut Context<'_>) {
        let p = &mut self.partitions[batch.partition as usize];
        let (from, to) = (batch.first, batch.first + u64::from(batch.count));
        if unknown {
            p.log.unknown.insert(from, to);
        } else {
            p.log.failed.insert(from, to);
        }
        for a in &batch.arrivals {
            cx.recorder.failed(a.intended, u64::from(a.count));
        }
        self.outstanding -= 1;
        self.release(&batch);
        if self.w.idempotent {
            self.reset_id = true;
        }
        if let Some(txn) = &mut self.txn {
            txn.must_abort();
        }
    }

    /// When the fate of all batches in flight is known, those to be repeated go to the front again.
    pub(super) fn partition_settled(&mut self, index: u32, cx: &mut Context<'_>) {
        let p = &mut self.partitions[index as usize];
        if p.in_flight == 0 && !p.retry.is_empty() && p.held_until <= cx.now {
            for (_, batch) in std::mem::take(&mut p.retry).into_iter().rev() {
                p.sealed.push_front(batch);
            }
        }
        self.enqueue_partition(index);
    }

    pub(super) fn release_held(&mut self, cx: &mut Context<'_>) {
        for index in 0..self.partitions.len() as u32 {
            let p = &self.partitions[index as usize];
            if !p.retry.is_empty() && p.in_flight == 0 && p.held_until <= cx.now {
                self.partition_settled(index, cx);
            }
        }
    }

    pub(super) fn reset_when_quiet(&mut self, cx: &mut Context<'_>) {
        if self.txn.is_none() && self.nodes.values().all(|n| n.in_flight == 0) && cx.now >= self.ask_id_at {
            self.reset_id = false;
            self.producer_id = None;
            self.ask_id_at = u64::MAX;
            self.ask_producer_id(cx);
        }
    }
}
