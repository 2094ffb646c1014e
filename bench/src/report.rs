//! Figures as text and as JSON.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Nanoseconds from 1 us to 10 minutes at three digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 600_000_000_000, 3).expect("constant bounds are valid")
}

/// Percentiles in microseconds.
#[derive(Debug, Clone, Serialize)]
pub struct Percentiles {
    /// Samples.
    pub count: u64,
    /// Median.
    pub p50: f64,
    /// 99 %.
    pub p99: f64,
    /// 99.9 %.
    pub p999: f64,
    /// 99.99 %.
    pub p9999: f64,
    /// Largest.
    pub max: f64,
}

impl From<&Histogram<u64>> for Percentiles {
    fn from(h: &Histogram<u64>) -> Self {
        let us = |q| h.value_at_quantile(q) as f64 / 1e3;
        Percentiles {
            count: h.len(),
            p50: us(0.5),
            p99: us(0.99),
            p999: us(0.999),
            p9999: us(0.9999),
            max: h.max() as f64 / 1e3,
        }
    }
}

impl std::fmt::Display for Percentiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "p50 {:.0} us, p99 {:.0} us, p99.9 {:.0} us, p99.99 {:.0} us, max {:.0} us, {} samples",
            self.p50, self.p99, self.p999, self.p9999, self.max, self.count
        )
    }
}

/// One run of the load generator.
#[derive(Debug, Clone, Serialize)]
pub struct LoadReport {
    /// Topic partitions written to.
    pub partitions: i32,
    /// Bytes of a record's value.
    pub record_bytes: usize,
    /// Records of a batch.
    pub batch_records: usize,
    /// Records per second asked for; 0: as fast as the window allows.
    pub asked_per_second: f64,
    /// Records per second acknowledged.
    pub acknowledged_per_second: f64,
    /// MiB per second of record values acknowledged.
    pub mib_per_second: f64,
    /// Batches refused, by error code name.
    pub errors: std::collections::BTreeMap<String, u64>,
    /// From the time a batch was due to its acknowledgement, microseconds.
    pub response: Percentiles,
    /// From the time it was sent to its acknowledgement.
    pub service: Percentiles,
    /// How late batches were sent.
    pub slip: Percentiles,
    /// The generator kept its schedule: slip at 99 % below a tenth of the response time at 99 % or 1 ms.
    pub valid: bool,
}
