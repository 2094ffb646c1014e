//! HdrHistogram's own files: `.hlog` (intervals, read by HistogramLogProcessor) and `.hgrm` (percentiles, read by the
//! plotters of HdrHistogram and wrk2).

use std::io::Write;
use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use super::Raw;
use crate::latency::Latency;

/// Writes one line for each interval and kind: tag `response`, `e2e`, and the same with `-warmup` behind it before
/// measuring began. Times since the start of the run, values in ns, maximum in ms.
///
/// # Errors
/// The writer's, or a name that the format cannot hold.
pub fn hlog(raw: &Raw, to: &mut impl Write) -> std::io::Result<()> {
    let mut serializer = V2DeflateSerializer::new();
    let started = SystemTime::UNIX_EPOCH + Duration::from_millis(raw.started_ms.max(0) as u64);
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("turgo bench: values in nanoseconds")
        .with_start_time(started)
        .with_base_time(started)
        .with_max_value_divisor(1e6)
        .begin_log_with(to, &mut serializer)?;
    for (index, part) in &raw.parts {
        let at = u64::from(*index) * raw.span.interval;
        let warmup = raw.span.start + at < raw.span.begin;
        for (name, latency) in [("response", &part.response), ("e2e", &part.e2e)] {
            if latency.is_empty() {
                continue;
            }
            let tag = if warmup {
                format!("{name}-warmup")
            } else {
                name.to_owned()
            };
            let tag = Tag::new(&tag).ok_or_else(|| std::io::Error::other("a tag with a separator in it"))?;
            log.write_histogram(
                latency.expand().histogram(),
                Duration::from_nanos(at),
                Duration::from_nanos(raw.span.interval),
                Some(tag),
            )
            .map_err(|e| std::io::Error::other(format!("{e:?}")))?;
        }
    }
    Ok(())
}

/// Writes the percentile distribution of one latency, values in ms, five points for each halving of the distance to
/// 100 %. The last line of values counts what lay beyond 60 s, as a comment.
///
/// # Errors
/// The writer's.
pub fn hgrm(latency: &Latency, to: &mut impl Write) -> std::io::Result<()> {
    const TICKS: u32 = 5;
    let h = latency.histogram();
    writeln!(
        to,
        "{:>12} {:>14} {:>10} {:>14}",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    )?;
    writeln!(to)?;
    for v in h.iter_quantiles(TICKS) {
        let q = v.quantile_iterated_to();
        let value = v.value_iterated_to() as f64 / 1e6;
        let count = h.count_between(0, v.value_iterated_to());
        if q < 1.0 {
            writeln!(
                to,
                "{value:>12.6} {q:>14.12} {count:>10} {:>14.2}",
                1.0 / (1.0 - q)
            )?;
        } else {
            writeln!(to, "{value:>12.6} {q:>14.12} {count:>10}")?;
        }
    }
    let max = if h.is_empty() { 0.0 } else { h.max() as f64 / 1e6 };
    writeln!(
        to,
        "#[Mean    = {:>12.6}, StdDeviation   = {:>12.6}]",
        latency.mean() / 1e6,
        latency.deviation() / 1e6
    )?;
    writeln!(to, "#[Max     = {max:>12.6}, Total count    = {:>12}]", h.len())?;
    writeln!(to, "#[Beyond 60 s = {}]", latency.overflow())
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;
    use crate::stats::{Recorder, Span, Times};

    fn raw() -> Raw {
        let span = Span {
            start: 1000,
            begin: 1_000_001_000,
            end: 3_000_001_000,
            interval: 1_000_000_000,
        };
        let mut r = Recorder::new(span);
        for i in 0..3000u64 {
            let due = span.start + i * 1_000_000;
            r.acked(
                Times {
                    intended: due,
                    enqueued: due,
                    sent: due,
                    acked: due + 1_000_000 + i * 100,
                },
                1,
                10,
            );
        }
        Raw {
            parts: r.take_parts(),
            totals: r.totals,
            span,
            started_ms: 1_700_000_000_000,
        }
    }

    #[test]
    fn an_interval_log_reads_back_to_the_same_histograms() {
        let raw = raw();
        let mut bytes = Vec::new();
        hlog(&raw, &mut bytes).expect("written");
        let mut tags = Vec::new();
        let mut sum = Latency::new();
        for entry in IntervalLogIterator::new(&bytes) {
            if let LogEntry::Interval(interval) = entry.expect("readable") {
                let tag = interval.tag().map(|t| t.as_str().to_owned()).unwrap_or_default();
                let packed = data_of(interval.encoded_histogram());
                let h: hdrhistogram::Histogram<u64> = Deserializer::new()
                    .deserialize(&mut &packed[..])
                    .expect("a histogram");
                if tag == "response" {
                    for v in h.iter_recorded() {
                        sum.record_n(v.value_iterated_to(), v.count_at_value());
                    }
                }
                tags.push(tag);
            }
        }
        assert_eq!(tags, ["response-warmup", "response", "response"]);
        assert_eq!(sum.count(), 2000);
        assert_eq!(sum.quantile(0.99), raw.totals.response.quantile(0.99));
    }

    /// Standard base64, for the test alone.
    fn data_of(text: &str) -> Vec<u8> {
        let value = |c: u8| match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            _ => 63,
        };
        let (mut out, mut bits, mut n) = (Vec::new(), 0u32, 0);
        for c in text.bytes().filter(|c| *c != b'=') {
            bits = bits << 6 | u32::from(value(c));
            n += 6;
            if n >= 8 {
                n -= 8;
                out.push((bits >> n) as u8);
            }
        }
        out
    }

    #[test]
    fn a_percentile_file_has_its_columns_and_ends_with_the_maximum() {
        let mut bytes = Vec::new();
        hgrm(&raw().totals.response, &mut bytes).expect("written");
        let text = String::from_utf8(bytes).expect("text");
        let rows: Vec<Vec<f64>> = text
            .lines()
            .skip(2)
            .filter(|l| !l.starts_with('#'))
            .map(|l| {
                l.split_whitespace()
                    .map(|c| c.parse().expect("a number"))
                    .collect()
            })
            .collect();
        assert!(rows.len() > 20, "{text}");
        assert!(
            rows.windows(2)
                .all(|w| w[0][0] <= w[1][0] && w[0][1] <= w[1][1] && w[0][2] <= w[1][2])
        );
        assert_eq!(rows.last().map(|r| (r[1], r[2])), Some((1.0, 2000.0)));
        assert!(text.contains("Total count    =         2000"), "{text}");
    }
}
