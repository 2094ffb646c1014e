//! Where a Turgo broker spent the time of its produce requests: its `/metrics` before and after, subtracted.
//!
//! Quantiles of stages do not add up and cannot be subtracted, so means are told: those of the stages of a produce add
//! up to the mean that clients see, but for the network and their own scheduling.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::conn::resolve;

/// Longest wait for the page.
const TIMEOUT: Duration = Duration::from_secs(5);
const NAME: &str = "turgo_request_stage_seconds";

/// One stage over a run, all cores together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// Requests that passed it.
    pub count: u64,
    /// Mean time in it, us.
    pub mean_us: f64,
}

/// Sums (seconds) and counts by stage, since the broker started.
pub type Sums = BTreeMap<String, (f64, u64)>;

/// Reads the page of a broker.
///
/// # Errors
/// What to do about it.
pub fn fetch(address: &str) -> Result<Sums, String> {
    let wrong = |e: std::io::Error| {
        format!("--metrics {address}: {e}; give HOST:PORT of the broker's --admin address")
    };
    let mut stream = TcpStream::connect_timeout(&resolve(address).map_err(wrong)?, TIMEOUT).map_err(wrong)?;
    stream.set_read_timeout(Some(TIMEOUT)).map_err(wrong)?;
    write!(
        stream,
        "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )
    .map_err(wrong)?;
    let mut page = String::new();
    stream.read_to_string(&mut page).map_err(wrong)?;
    if !page.starts_with("HTTP/1.1 200") {
        return Err(format!(
            "--metrics {address}: {}",
            page.lines().next().unwrap_or("no answer")
        ));
    }
    Ok(parse(&page))
}

/// Sums and counts by stage, over all shards, from a page for Prometheus.
fn parse(page: &str) -> Sums {
    let mut sums = Sums::new();
    for line in page.lines() {
        let Some(rest) = line.strip_prefix(NAME) else {
            continue;
        };
        let Some((head, value)) = rest.rsplit_once(' ') else {
            continue;
        };
        let Some(stage) = head.split("stage=\"").nth(1).and_then(|s| s.split('"').next()) else {
            continue;
        };
        let entry = sums.entry(stage.to_owned()).or_default();
        if head.starts_with("_sum") {
            entry.0 += value.parse().unwrap_or(0.0);
        } else if head.starts_with("_count") {
            entry.1 += value.parse().unwrap_or(0);
        }
    }
    sums
}

/// What happened between two pages.
pub fn between(before: &Sums, after: &Sums) -> BTreeMap<String, Stage> {
    after
        .iter()
        .filter_map(|(stage, (sum, count))| {
            let (old_sum, old_count) = before.get(stage).copied().unwrap_or_default();
            let count = count.checked_sub(old_count).filter(|c| *c > 0)?;
            let mean_us = (sum - old_sum) * 1e6 / count as f64;
            Some((stage.clone(), Stage { count, mean_us }))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(sum: f64, count: u64) -> String {
        format!(
            "HTTP/1.1 200 OK\r\n\r\n# TYPE turgo_request_stage_seconds summary\n\
             turgo_request_stage_seconds{{shard=\"0\",stage=\"device\",quantile=\"0.5\"}} 0.000200\n\
             turgo_request_stage_seconds_sum{{shard=\"0\",stage=\"device\"}} {sum}\n\
             turgo_request_stage_seconds_count{{shard=\"0\",stage=\"device\"}} {count}\n\
             turgo_request_stage_seconds_sum{{shard=\"1\",stage=\"device\"}} 1.0\n\
             turgo_request_stage_seconds_count{{shard=\"1\",stage=\"device\"}} 100\n\
             turgo_other_sum 5\n"
        )
    }

    #[test]
    fn a_run_is_the_difference_of_two_pages_over_all_shards() {
        let (before, after) = (parse(&page(2.0, 1_000)), parse(&page(2.5, 3_000)));
        assert_eq!(before["device"], (3.0, 1_100));
        let stages = between(&before, &after);
        assert_eq!(stages["device"].count, 2_000);
        assert!((stages["device"].mean_us - 250.0).abs() < 1e-6);
        assert!(between(&after, &after).is_empty());
    }
}
