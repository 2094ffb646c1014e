//! The summary line of kafka-producer-perf-test, by its definitions, for scripts that parse it.

use crate::latency::Quantile;
use crate::stats::Totals;

/// `N records sent, R records/sec (M MB/sec), A ms avg latency, X ms max latency, p50 ms 50th, ...`: latency from the
/// moment a record was handed to the client to its acknowledgement, MB of 2^20 bytes. Whole milliseconds, as there.
pub fn line(t: &Totals, seconds: f64) -> String {
    let ms = |q: Quantile| match q {
        Quantile::Ns(ns) => ns / 1_000_000,
        Quantile::Beyond => 60_000,
        Quantile::Unknown => 0,
    };
    let at = |q| ms(t.publish.raw_quantile(q));
    format!(
        "{} records sent, {:.6} records/sec ({:.2} MB/sec), {:.2} ms avg latency, {:.2} ms max latency, {} ms 50th, {} ms \
         95th, {} ms 99th, {} ms 99.9th.",
        t.acked_within,
        t.acked_within as f64 / seconds,
        t.acked_bytes as f64 / f64::from(1 << 20) / seconds,
        t.publish.mean() / 1e6,
        ms(t.publish.max()) as f64,
        at(0.5),
        at(0.95),
        at(0.99),
        at(0.999),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_the_form_that_scripts_parse() {
        let mut t = Totals {
            acked_within: 1000,
            acked_bytes: 1000 << 10,
            ..Totals::default()
        };
        t.publish.record_n(5_400_000, 990);
        t.publish.record_n(70_000_000, 10);
        assert_eq!(
            line(&t, 2.0),
            "1000 records sent, 500.000000 records/sec (0.49 MB/sec), 6.05 ms avg latency, 70.00 ms max latency, 5 ms 50th, \
             5 ms 95th, 5 ms 99th, 70 ms 99.9th."
        );
    }
}
