//! What a worker counts, and how parts of it add up.
//!
//! Each record passes intended -> enqueued -> sent -> acknowledged. [`Recorder`] takes those times and keeps totals for
//! the measured span, and a part for each interval. What always holds: a record belongs to the interval and the phase
//! in which it was *due*, however late its answer; throughput counts when the answer came.

use std::collections::BTreeMap;

use crate::latency::{Latency, Sparse};

/// Parts that a recorder keeps for intervals to come: answers reach back over two or three of them.
const SPARE: usize = 4;

/// Totals over the measured span.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// Acknowledged - intended: what a client feels.
    pub response: Latency,
    /// Acknowledged - sent: network and broker.
    pub service: Latency,
    /// Sent - intended.
    pub slip: Latency,
    /// Enqueued - intended: the generator's own fault; the pacing error.
    pub lateness: Latency,
    /// Sent - enqueued: linger, in-flight limit, full socket.
    pub wait: Latency,
    /// Acknowledged - enqueued: what the OpenMessaging benchmark calls publish latency.
    pub publish: Latency,
    /// Read by a consumer - intended.
    pub e2e: Latency,
    /// Read by a consumer - built.
    pub delivery: Latency,
    /// Commit of a transaction: EndTxn sent to answered.
    pub commit: Latency,
    /// Opening a connection and asking for the versions (connection churn).
    pub connect: Latency,
    /// Records due in the measured span.
    pub due: u64,
    /// Of these, acknowledged.
    pub acked: u64,
    /// Records whose acknowledgement came within the measured span, whenever due.
    pub acked_within: u64,
    /// Bytes of values of those.
    pub acked_bytes: u64,
    /// Batches acknowledged.
    pub batches: u64,
    /// Produce requests answered.
    pub requests: u64,
    /// Records refused for good.
    pub failed: u64,
    /// Records without an answer at the end; they count at their age.
    pub unanswered: u64,
    /// Batches sent again.
    pub retries: u64,
    /// Records read within the measured span by tail readers.
    pub consumed: u64,
    /// Bytes of their values.
    pub consumed_bytes: u64,
    /// Records read by catch-up readers.
    pub caught_up: u64,
    /// Bytes of batches they read.
    pub caught_up_bytes: u64,
    /// Transactions committed and aborted.
    pub committed: u64,
    /// Transactions aborted.
    pub aborted: u64,
    /// Connections lost under load.
    pub lost_connections: u64,
    /// Rebalances that members went through.
    pub rebalances: u64,
    /// Answers with an error, by its name.
    pub errors: BTreeMap<String, u64>,
}

impl Totals {
    /// Nothing counted; the memory for it is there already.
    fn touched() -> Totals {
        Totals {
            response: Latency::touched(),
            service: Latency::touched(),
            slip: Latency::touched(),
            lateness: Latency::touched(),
            wait: Latency::touched(),
            publish: Latency::touched(),
            e2e: Latency::touched(),
            delivery: Latency::touched(),
            ..Totals::default()
        }
    }

    /// Adds all of `other`.
    pub fn add(&mut self, other: &Totals) {
        for (mine, theirs) in [
            (&mut self.response, &other.response),
            (&mut self.service, &other.service),
            (&mut self.slip, &other.slip),
            (&mut self.lateness, &other.lateness),
            (&mut self.wait, &other.wait),
            (&mut self.publish, &other.publish),
            (&mut self.e2e, &other.e2e),
            (&mut self.delivery, &other.delivery),
            (&mut self.commit, &other.commit),
            (&mut self.connect, &other.connect),
        ] {
            mine.add(theirs);
        }
        for (mine, theirs) in [
            (&mut self.due, other.due),
            (&mut self.acked, other.acked),
            (&mut self.acked_within, other.acked_within),
            (&mut self.acked_bytes, other.acked_bytes),
            (&mut self.batches, other.batches),
            (&mut self.requests, other.requests),
            (&mut self.failed, other.failed),
            (&mut self.unanswered, other.unanswered),
            (&mut self.retries, other.retries),
            (&mut self.consumed, other.consumed),
            (&mut self.consumed_bytes, other.consumed_bytes),
            (&mut self.caught_up, other.caught_up),
            (&mut self.caught_up_bytes, other.caught_up_bytes),
            (&mut self.committed, other.committed),
            (&mut self.aborted, other.aborted),
            (&mut self.lost_connections, other.lost_connections),
            (&mut self.rebalances, other.rebalances),
        ] {
            *mine += theirs;
        }
        for (name, count) in &other.errors {
            *self.errors.entry(name.clone()).or_default() += count;
        }
    }
}

/// One interval's share of one worker: in full while it is counted, sparse once it is taken.
#[derive(Debug, Clone, Default)]
pub struct Part<L = Sparse> {
    /// Response of records due in it.
    pub response: L,
    /// Lateness of records due in it.
    pub lateness: L,
    /// End to end of records due in it.
    pub e2e: L,
    /// Records due in it.
    pub due: u64,
    /// Acknowledgements that came in it.
    pub acked: u64,
    /// Bytes of values of those.
    pub acked_bytes: u64,
    /// Records read in it.
    pub consumed: u64,
    /// Bytes of values of those.
    pub consumed_bytes: u64,
    /// Bytes read by catch-up readers in it.
    pub caught_up_bytes: u64,
    /// Answers with an error in it.
    pub errors: u64,
}

impl Part {
    /// Adds all of `other`.
    pub fn add(&mut self, other: &Part) {
        self.response.add(&other.response);
        self.lateness.add(&other.lateness);
        self.e2e.add(&other.e2e);
        self.due += other.due;
        self.acked += other.acked;
        self.acked_bytes += other.acked_bytes;
        self.consumed += other.consumed;
        self.consumed_bytes += other.consumed_bytes;
        self.caught_up_bytes += other.caught_up_bytes;
        self.errors += other.errors;
    }
}

impl Part<Latency> {
    fn touched() -> Part<Latency> {
        Part {
            response: Latency::touched(),
            lateness: Latency::touched(),
            e2e: Latency::touched(),
            ..Part::default()
        }
    }

    /// What was counted, and begins anew.
    fn take(&mut self) -> Part {
        let take = std::mem::take::<u64>;
        Part {
            response: self.response.take(),
            lateness: self.lateness.take(),
            e2e: self.e2e.take(),
            due: take(&mut self.due),
            acked: take(&mut self.acked),
            acked_bytes: take(&mut self.acked_bytes),
            consumed: take(&mut self.consumed),
            consumed_bytes: take(&mut self.consumed_bytes),
            caught_up_bytes: take(&mut self.caught_up_bytes),
            errors: take(&mut self.errors),
        }
    }
}

/// When things are counted, ns on the clock of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Schedules begin.
    pub start: u64,
    /// Measuring begins: the warm-up is over.
    pub begin: u64,
    /// Measuring and schedules end.
    pub end: u64,
    /// Length of an interval.
    pub interval: u64,
}

impl Span {
    /// Nothing has begun.
    pub const NEVER: Span = Span {
        start: u64::MAX,
        begin: u64::MAX,
        end: u64::MAX,
        interval: 1_000_000_000,
    };

    fn measured(&self, at: u64) -> bool {
        self.begin <= at && at < self.end
    }

    fn index(&self, at: u64) -> u32 {
        (at.saturating_sub(self.start) / self.interval) as u32
    }
}

/// The four times of some records that were due together, ns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Due.
    pub intended: u64,
    /// Taken up by the generator.
    pub enqueued: u64,
    /// First byte given to the socket.
    pub sent: u64,
    /// Answer read.
    pub acked: u64,
}

/// Counts for one worker.
#[derive(Debug)]
pub struct Recorder {
    /// The measured span.
    pub totals: Totals,
    span: Span,
    parts: BTreeMap<u32, Part<Latency>>,
    /// Empty parts for intervals to come: a thread that asked for fresh memory in each would be late each time.
    spare: Vec<Part<Latency>>,
}

impl Recorder {
    /// Counts within `span`.
    pub fn new(span: Span) -> Recorder {
        Recorder {
            totals: Totals::touched(),
            span,
            parts: BTreeMap::new(),
            spare: (0..SPARE).map(|_| Part::touched()).collect(),
        }
    }

    /// The span; set once it is known.
    pub fn set_span(&mut self, span: Span) {
        self.span = span;
    }

    fn part(&mut self, at: u64) -> &mut Part<Latency> {
        let index = self.span.index(at);
        let spare = &mut self.spare;
        let fresh = || spare.pop().unwrap_or_else(Part::touched);
        self.parts.entry(index).or_insert_with(fresh)
    }

    /// `n` records were due at `intended` and taken up at `now`.
    pub fn due(&mut self, intended: u64, now: u64, n: u64) {
        let part = self.part(intended);
        part.due += n;
        part.lateness.record_span(intended, now, n);
        if self.span.measured(intended) {
            self.totals.due += n;
            self.totals.lateness.record_span(intended, now, n);
        }
    }

    /// `n` records were acknowledged, `bytes` of values in all.
    pub fn acked(&mut self, t: Times, n: u64, bytes: u64) {
        self.part(t.intended).response.record_span(t.intended, t.acked, n);
        let part = self.part(t.acked);
        part.acked += n;
        part.acked_bytes += bytes;
        if self.span.measured(t.intended) {
            let totals = &mut self.totals;
            totals.acked += n;
            totals.response.record_span(t.intended, t.acked, n);
            totals.service.record_span(t.sent, t.acked, n);
            totals.slip.record_span(t.intended, t.sent, n);
            totals.wait.record_span(t.enqueued, t.sent, n);
            totals.publish.record_span(t.enqueued, t.acked, n);
        }
        if self.span.measured(t.acked) {
            self.totals.acked_within += n;
            self.totals.acked_bytes += bytes;
        }
    }

    /// A batch was acknowledged at `at`.
    pub fn batch(&mut self, at: u64) {
        if self.span.measured(at) {
            self.totals.batches += 1;
        }
    }

    /// A produce request was answered at `at`.
    pub fn request(&mut self, at: u64) {
        if self.span.measured(at) {
            self.totals.requests += 1;
        }
    }

    /// Records due at `intended` still have no answer at `now`: they count at their age.
    pub fn unanswered(&mut self, intended: u64, now: u64, n: u64) {
        self.part(intended).response.record_span(intended, now, n);
        if self.span.measured(intended) {
            self.totals.unanswered += n;
            self.totals.response.record_span(intended, now, n);
        }
    }

    /// Records due at `intended` were refused for good.
    pub fn failed(&mut self, intended: u64, n: u64) {
        if self.span.measured(intended) {
            self.totals.failed += n;
        }
    }

    /// An answer at `at` carried an error.
    pub fn error(&mut self, name: &str, at: u64) {
        self.part(at).errors += 1;
        *self.totals.errors.entry(name.to_owned()).or_default() += 1;
    }

    /// A tail reader got a record at `now` that was due at `intended`; `bytes` of value.
    pub fn consumed(&mut self, intended: u64, built: u64, now: u64, bytes: u64) {
        let part = self.part(now);
        part.consumed += 1;
        part.consumed_bytes += bytes;
        self.part(intended).e2e.record_span(intended, now, 1);
        if self.span.measured(intended) {
            self.totals.e2e.record_span(intended, now, 1);
            self.totals.delivery.record_span(built, now, 1);
        }
        if self.span.measured(now) {
            self.totals.consumed += 1;
            self.totals.consumed_bytes += bytes;
        }
    }

    /// A catch-up reader got `records` in `bytes` of batches at `now`.
    pub fn caught_up(&mut self, records: u64, bytes: u64, now: u64) {
        self.part(now).caught_up_bytes += bytes;
        self.totals.caught_up += records;
        self.totals.caught_up_bytes += bytes;
    }

    /// The parts counted since the last call, by interval.
    pub fn take_parts(&mut self) -> BTreeMap<u32, Part> {
        let mut taken = BTreeMap::new();
        while let Some((index, mut part)) = self.parts.pop_first() {
            taken.insert(index, part.take());
            if self.spare.len() < SPARE {
                self.spare.push(part);
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::Quantile;

    const SPAN: Span = Span {
        start: 1000,
        begin: 2000,
        end: 5000,
        interval: 1000,
    };

    #[test]
    fn phases_go_by_the_intended_time_and_throughput_by_the_answer() {
        let mut r = Recorder::new(SPAN);
        // Due in the warm-up, answered while measuring.
        r.due(1500, 1501, 1);
        r.acked(
            Times {
                intended: 1500,
                enqueued: 1501,
                sent: 1502,
                acked: 2500,
            },
            1,
            10,
        );
        assert_eq!((r.totals.due, r.totals.acked, r.totals.acked_within), (0, 0, 1));
        // Due while measuring, answered after the end.
        r.due(4900, 4905, 2);
        r.acked(
            Times {
                intended: 4900,
                enqueued: 4905,
                sent: 4910,
                acked: 9000,
            },
            2,
            20,
        );
        assert_eq!((r.totals.due, r.totals.acked, r.totals.acked_within), (2, 2, 1));
        assert_eq!(
            r.totals.response.max(),
            Quantile::Ns(4103),
            "4100 to three digits"
        );
        assert_eq!(r.totals.service.max(), Quantile::Ns(4091));
        let parts = r.take_parts();
        assert_eq!(parts[&0].response.count(), 1);
        assert_eq!(parts[&1].acked, 1);
        assert_eq!(parts[&3].response.count(), 2);
        assert_eq!(parts[&8].acked, 2);
    }

    #[test]
    fn slip_and_service_add_up_to_response_for_each_record() {
        let mut r = Recorder::new(SPAN);
        r.acked(
            Times {
                intended: 2000,
                enqueued: 2010,
                sent: 2100,
                acked: 2900,
            },
            1,
            0,
        );
        let ns = |l: &Latency| match l.max() {
            Quantile::Ns(v) => v,
            other => panic!("{other:?}"),
        };
        let t = &r.totals;
        assert_eq!(ns(&t.response), ns(&t.slip) + ns(&t.service));
        assert_eq!(ns(&t.slip), 100);
        assert_eq!(ns(&t.wait), 90);
        assert_eq!(ns(&t.publish), 890);
    }

    #[test]
    fn an_unanswered_record_counts_at_its_age() {
        let mut r = Recorder::new(SPAN);
        r.unanswered(3000, 1_000_003_000, 5);
        assert_eq!(r.totals.unanswered, 5);
        assert!(matches!(r.totals.response.max(), Quantile::Ns(v) if v >= 1_000_000_000));
    }
}
