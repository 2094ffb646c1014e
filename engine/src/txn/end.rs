//! How a transaction ends: EndTxn of either level, fences, timeouts.

use std::rc::Rc;

use turgo_net::ErrorCode;

use super::coordinator::{Coordinator, Effect, EndReply, Op, Outcome, Ticket};
use super::messages::{EndTxn, Level, Producer, Request, Response, TV2};
use super::planted::{Bug, planted};
use super::state::{LAST_EPOCH, Txn, TxnState};

/// What an EndTxn comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Write the outcome down.
    Prepare,
    /// It was done before: answer as then.
    Again,
    Refuse(ErrorCode),
}

/// EndTxn before KIP-890 part 2: producer id and epoch stay, so a request that comes late cannot be told from one for
/// the next transaction (KAFKA-17754).
fn verdict_v1(txn: &Txn, end: &EndTxn) -> Verdict {
    if end.producer_id != txn.producer_id {
        return Verdict::Refuse(ErrorCode::INVALID_PRODUCER_ID_MAPPING);
    }
    if end.producer_epoch != txn.epoch && !planted(Bug::NoFence) {
        return Verdict::Refuse(ErrorCode::PRODUCER_FENCED);
    }
    match (txn.state, end.commit) {
        (TxnState::Ongoing, _) => Verdict::Prepare,
        (TxnState::CompleteCommit, true) | (TxnState::CompleteAbort, false) => Verdict::Again,
        _ => Verdict::Refuse(ErrorCode::INVALID_TXN_STATE),
    }
}

/// EndTxn from KIP-890 part 2 on: the end raised the epoch, so a repeated request has the epoch before, or the last
/// epoch of the producer id before.
fn verdict_v2(txn: &Txn, end: &EndTxn) -> Verdict {
    let overflown = txn.previous_id == end.producer_id && end.producer_epoch == LAST_EPOCH && txn.epoch == 0;
    let raised = i32::from(txn.epoch) == i32::from(end.producer_epoch) + 1;
    if end.producer_id != txn.producer_id && !overflown {
        return Verdict::Refuse(ErrorCode::INVALID_PRODUCER_ID_MAPPING);
    }
    let complete = matches!(txn.state, TxnState::CompleteCommit | TxnState::CompleteAbort);
    let valid = end.producer_epoch == txn.epoch || (complete && (raised || overflown));
    if !valid && !planted(Bug::NoFence) {
        return Verdict::Refuse(ErrorCode::PRODUCER_FENCED);
    }
    let again = complete && (raised || overflown);
    match (txn.state, end.commit) {
        (TxnState::Ongoing, _) => Verdict::Prepare,
        (TxnState::CompleteCommit, true) | (TxnState::CompleteAbort, false) if again => Verdict::Again,
        // An abort of nothing raises the epoch all the same: the producer may have sent what never arrived.
        (TxnState::CompleteCommit | TxnState::CompleteAbort, false) if !again => Verdict::Prepare,
        (TxnState::Empty, false) => Verdict::Prepare,
        _ => Verdict::Refuse(ErrorCode::INVALID_TXN_STATE),
    }
}

impl Coordinator {
    pub(super) fn end(&mut self, now_ms: i64, ticket: Ticket, end: EndTxn, out: &mut Vec<Effect>) -> Outcome {
        let mut answer = |response| out.push(Effect::Reply { ticket, response });
        let Some((id, entry)) = self.entries.get_key_value(end.transactional_id.as_str()) else {
            let refused = Producer::refused(ErrorCode::INVALID_PRODUCER_ID_MAPPING);
            answer(Response::Producer(refused));
            return Outcome::Done;
        };
        let turned = planted(Bug::TurnedOutcome)
            && entry.pending.is_none()
            && entry.txn.state == TxnState::PrepareCommit;
        if entry.is_busy() && !turned {
            return Outcome::Wait(Request::End(end));
        }
        let (id, txn) = (id.clone(), &entry.txn);
        let verdict = match end.level {
            _ if turned => Verdict::Prepare,
            level if level >= TV2 => verdict_v2(txn, &end),
            _ => verdict_v1(txn, &end),
        };
        match verdict {
            Verdict::Refuse(error) => answer(Response::Producer(Producer::refused(error))),
            Verdict::Again => answer(Response::Producer(Producer {
                error: ErrorCode::NONE,
                id: txn.producer_id,
                epoch: txn.epoch,
            })),
            Verdict::Prepare => {
                if end.level >= TV2 && txn.is_exhausted() && !self.has_id() {
                    return Outcome::NeedsId(Request::End(end));
                }
                let reply = EndReply::Client(ticket);
                self.prepare(now_ms, &id, end.commit, end.level, reply, out);
            }
        }
        Outcome::Done
    }

    /// Writes down how the transaction ends. Where epochs are used up a fresh producer id must be at hand.
    pub(super) fn prepare(
        &mut self,
        now_ms: i64,
        id: &Rc<str>,
        commit: bool,
        level: Level,
        reply: EndReply,
        out: &mut Vec<Effect>,
    ) {
        let exhausted = level >= TV2 && self.entries[id].txn.is_exhausted();
        let next_id = if exhausted { self.fresh_id() } else { -1 };
        let next = self.entries[id].txn.prepare(commit, level, next_id, now_ms);
        if planted(Bug::EarlyAnswer)
            && let EndReply::Client(ticket) = reply
        {
            let (id, epoch) = next.after();
            let response = Response::Producer(Producer {
                error: ErrorCode::NONE,
                id,
                epoch,
            });
            out.push(Effect::Reply { ticket, response });
        }
        if planted(Bug::EarlyMarker) {
            out.push(Effect::Markers(super::coordinator::markers(0, &next)));
        }
        self.append(id, Some(next), Op::End(reply), out);
    }
}
