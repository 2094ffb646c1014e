//! What happens because time passed: requests that waited too long, transactions that took too long, ids nobody uses.

use std::rc::Rc;

use turgo_net::ErrorCode;

use super::coordinator::{Coordinator, Effect, EndReply, Entry, Op, Pending, Phase};
use super::messages::TV2;
use super::planted::{Bug, planted};
use super::records;
use super::state::TxnState;

/// How long after one append of expiry the next follows, ms.
const NEXT_BATCH_MS: i64 = 50;

impl Coordinator {
    /// Lets every deadline up to `now_ms` take effect. Harmless when called early or late.
    pub fn tick(&mut self, now_ms: i64, out: &mut Vec<Effect>) {
        if self.phase != Phase::Active {
            return;
        }
        while let Some((until_ms, ticket, id)) = self.waits.pop_first() {
            if until_ms > now_ms {
                self.waits.insert((until_ms, ticket, id));
                break;
            }
            let entry = self.entries.get_mut(&id).expect("it waits for a known id");
            let at = entry
                .waiting
                .iter()
                .position(|w| w.ticket == ticket)
                .expect("it waits");
            let waited = entry.waiting.remove(at).expect("found");
            out.push(Effect::Reply {
                ticket,
                response: waited.request.refuse(ErrorCode::CONCURRENT_TRANSACTIONS),
            });
        }
        for id in std::mem::take(&mut self.incomplete) {
            let next = self.entries[&id].txn.complete(now_ms);
            self.append(&id, Some(next), Op::Complete, out);
        }
        if now_ms >= self.next_abort_ms {
            self.next_abort_ms = now_ms.saturating_add(self.config.abort_interval_ms.max(1));
            self.abort_timed_out(now_ms, out);
        }
        if now_ms >= self.next_expire_ms {
            let more = self.expire(now_ms, out);
            let interval = if more {
                NEXT_BATCH_MS
            } else {
                self.config.expire_interval_ms.max(1)
            };
            self.next_expire_ms = now_ms.saturating_add(interval);
        }
    }

    /// When [`Coordinator::tick`] should be called next; asked after every event.
    pub fn next_deadline(&self) -> Option<i64> {
        if self.phase != Phase::Active {
            return None;
        }
        let wait = self.waits.first().map(|(until_ms, ..)| *until_ms);
        let abort = (!self.open.is_empty()).then_some(self.next_abort_ms);
        let expire = (!self.entries.is_empty()).then_some(self.next_expire_ms);
        // Ticks come often; a failed append is simply tried with the next.
        let again = (!self.incomplete.is_empty()).then_some(i64::MIN);
        [wait, abort, expire, again].into_iter().flatten().min()
    }

    fn abort_timed_out(&mut self, now_ms: i64, out: &mut Vec<Effect>) {
        if planted(Bug::Endless) {
            return;
        }
        let due: Vec<Rc<str>> = self
            .open
            .iter()
            .take_while(|(deadline, _)| *deadline < now_ms)
            .map(|(_, id)| id.clone())
            .collect();
        for id in due {
            let entry = &self.entries[&id];
            if entry.is_busy() {
                continue;
            }
            if entry.txn.is_exhausted() && !self.has_id() {
                // With the id that comes it is aborted the next time.
                out.push(Effect::WantIds(1));
                continue;
            }
            self.prepare(now_ms, &id, false, TV2, EndReply::TimedOut, out);
        }
    }

    /// Removes ids that nobody used for long; true if there are more.
    fn expire(&mut self, now_ms: i64, out: &mut Vec<Effect>) -> bool {
        let expired = |entry: &Entry| {
            !entry.is_busy()
                && entry.waiting.is_empty()
                && entry.txn.state != TxnState::Ongoing
                && entry.txn.updated_ms.saturating_add(self.config.id_expiration_ms) <= now_ms
        };
        let max = self.config.limits.expired_per_append.max(1);
        let ids: Vec<Rc<str>> = self
            .entries
            .iter()
            .filter(|(_, entry)| expired(entry))
            .map(|(id, _)| id.clone())
            .take(max)
            .collect();
        if ids.is_empty() {
            return false;
        }
        self.last_token += 1;
        let token = self.last_token;
        let mut records = Vec::with_capacity(ids.len());
        for id in &ids {
            records.push(records::encode(id, None).expect("names were checked"));
            self.entries.get_mut(id).expect("listed above").pending = Some(Pending {
                token,
                next: None,
                op: Op::Expire,
            });
        }
        let more = ids.len() == max;
        self.appends.insert(token, ids);
        out.push(Effect::Append { token, records });
        more
    }
}
