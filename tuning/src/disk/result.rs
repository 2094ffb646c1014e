//! The result of measuring a disk: the file beside the data, and what it means for the broker. Pure.
//!
//! The file is TOML, [`NAME`] in the data directory, with a version. It holds the identity of the device, so that a result
//! that came with a copied directory or a replaced disk is not believed.

use serde::{Deserialize, Serialize};

use super::plan::{DEPTHS, DRAIN_DEPTHS, JOURNAL, READ_DEPTHS};
use crate::host::Identity;

/// Name of the file in the data directory.
pub const NAME: &str = "disk.toml";
/// Version of the file. Fields may be added; one that goes or changes its meaning raises it.
pub const VERSION: u32 = 1;

/// Everything measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// [`VERSION`].
    pub version: u32,
    /// When, UTC.
    pub date: String,
    /// Kernel then.
    #[serde(default)]
    pub kernel: String,
    /// How long it took, seconds.
    pub seconds: f64,
    /// Share of the time in which some task waited for a CPU, percent; absent where the kernel does not count it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_wait_percent: Option<u32>,
    /// What to know about it.
    #[serde(default)]
    pub notes: Vec<String>,
    /// The device.
    pub identity: Identity,
    /// A durable write of 4 KiB, one at a time: no acknowledgement is faster.
    pub floor: Latency,
    /// What follows for the broker.
    pub suggested: Suggested,
    /// What moves through the device.
    pub bandwidth: Bandwidth,
    /// Each step, in order.
    pub measured: Vec<Row>,
}

/// Latencies, microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// How many.
    pub samples: u64,
    /// Median.
    pub p50_us: f64,
    /// 99 of 100 are faster.
    pub p99_us: f64,
    /// 999 of 1,000 are faster.
    pub p999_us: f64,
    /// Slowest.
    pub max_us: f64,
}

/// Numbers for `turgo serve`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suggested {
    /// Journal groups in flight on each core, 1 to 4.
    pub groups_in_flight: u32,
    /// Chunk writes of the drain at once on each core.
    pub drain_depth: u32,
    /// Catch-up reads at once on each core.
    pub read_depth: u32,
    /// Largest group whose write takes at most twice as long as one of 4 KiB, bytes: larger ones pay by size. Told, not
    /// used.
    pub cheap_group_bytes: u64,
}

/// Bytes and requests each second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bandwidth {
    /// Sequential reads.
    pub read_bytes_per_second: u64,
    /// Sequential writes.
    pub write_bytes_per_second: u64,
    /// The same in the second half of the longest step: lower where a cache ran full.
    pub late_write_bytes_per_second: u64,
    /// Random reads of 4 KiB at depth 32.
    pub random_reads_per_second: u64,
}

/// One step's result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// [`Kind::name`](super::plan::Kind::name).
    pub kind: String,
    /// Bytes of each request.
    pub block_bytes: u64,
    /// Requests at once.
    pub depth: u32,
    /// What went on beside it: `write 2` is two writes of 1 MiB at once.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub beside: String,
    /// Bytes each second.
    pub bytes_per_second: u64,
    /// Bytes each second in the second half.
    pub late_bytes_per_second: u64,
    /// Latencies.
    #[serde(flatten)]
    pub latency: Latency,
}

/// Reads the file's text. The error is for the operator.
pub fn parse(text: &str) -> Result<Measured, String> {
    #[derive(Deserialize)]
    struct Head {
        version: u32,
    }
    let first = |error: toml::de::Error| error.message().to_string();
    let head: Head = toml::from_str(text).map_err(first)?;
    if head.version != VERSION {
        return Err(format!(
            "its version is {}, and this program knows {VERSION}",
            head.version
        ));
    }
    let found: Measured = toml::from_str(text).map_err(first)?;
    let suggested = found.suggested;
    let sane = (1..=4).contains(&suggested.groups_in_flight)
        && (1..=64).contains(&suggested.drain_depth)
        && (1..=64).contains(&suggested.read_depth);
    if !sane {
        return Err("a suggested number is out of range".into());
    }
    Ok(found)
}

/// The file's text.
pub fn print(found: &Measured) -> String {
    let body = toml::to_string(found).expect("plain values");
    format!(
        "# Written by `turgo tune disk`; read by `turgo serve` at start. Measure again after a change of the disk.\n{body}"
    )
}

fn find<'a>(rows: &'a [Row], kind: &str, bytes: u64, depth: usize) -> Option<&'a Row> {
    rows.iter().find(|row| {
        row.kind == kind && row.block_bytes == bytes && row.depth == depth as u32 && row.beside.is_empty()
    })
}

/// The least depth that reaches 80 % of the best throughput: deeper ones only make the journal's writes queue.
fn enough(rows: &[Row], kind: &str, depths: &[usize], default: u32) -> u32 {
    let rates: Vec<(u32, u64)> = depths
        .iter()
        .filter_map(|&depth| {
            let row = find(rows, kind, super::plan::CHUNK as u64, depth)?;
            Some((depth as u32, row.bytes_per_second))
        })
        .collect();
    let best = rates.iter().map(|(_, rate)| *rate).max().unwrap_or(0);
    let enough = rates
        .iter()
        .find(|(_, rate)| best > 0 && *rate as f64 >= 0.8 * best as f64);
    enough.map_or(default, |(depth, _)| *depth)
}

/// What the rows say about the broker's numbers.
///
/// Groups in flight: 2 hides the way from a completion to the next write. 1 where two at once move fewer bytes than one
/// (the device takes flushes one by one and pays for the switch); 4 where they move a quarter more than two without
/// doubling the tail. Judged by the journal's common sizes, 16 to 128 KiB, in geometric mean.
///
/// If tasks waited for CPUs meanwhile (`cpu_wait_percent`), the differences between depths are those of waiting, and the
/// broker's defaults stand.
pub fn suggest(rows: &[Row], cpu_wait_percent: Option<u32>) -> Suggested {
    let is_disturbed = cpu_wait_percent.is_some_and(|percent| percent > BUSY_PERCENT);
    let rows_of_depths = if is_disturbed { &[] } else { rows };
    let found = depths(rows_of_depths);
    Suggested {
        cheap_group_bytes: depths(rows).cheap_group_bytes,
        ..found
    }
}

/// Waiting for CPUs above this share of the time makes a measurement one of the waiting.
const BUSY_PERCENT: u32 = 25;

fn depths(rows: &[Row]) -> Suggested {
    let sizes = [JOURNAL, 64 << 10, 128 << 10];
    let ratio = |of: &dyn Fn(&Row) -> f64, to: usize, from: usize| {
        let each: Vec<f64> = sizes
            .iter()
            .filter_map(|&size| {
                let high = find(rows, "write_durable", size as u64, to)?;
                let low = find(rows, "write_durable", size as u64, from)?;
                (of(low) > 0.0).then(|| of(high) / of(low))
            })
            .collect();
        let logs: f64 = each.iter().map(|ratio| ratio.max(1e-9).ln()).sum();
        (!each.is_empty()).then(|| (logs / each.len() as f64).exp())
    };
    let rate = |row: &Row| row.bytes_per_second as f64;
    let tail = |row: &Row| row.latency.p99_us;
    let [one, two, four] = DEPTHS;
    let groups_in_flight = match (
        ratio(&rate, two, one),
        ratio(&rate, four, two),
        ratio(&tail, four, two),
    ) {
        (Some(gain), _, _) if gain < 1.0 => 1,
        (_, Some(gain), Some(tail)) if gain >= 1.25 && tail <= 2.0 => 4,
        _ => 2,
    };
    let small = find(rows, "write_durable", 4096, 1).map_or(0.0, |row| row.latency.p50_us);
    let cheap_group_bytes = rows
        .iter()
        .filter(|row| {
            row.kind == "write_durable"
                && row.depth == 1
                && row.beside.is_empty()
                && row.latency.p50_us <= 2.0 * small
        })
        .map(|row| row.block_bytes)
        .max()
        .unwrap_or(4096);
    Suggested {
        groups_in_flight,
        drain_depth: enough(rows, "write", &DRAIN_DEPTHS, 4),
        read_depth: enough(rows, "read", &READ_DEPTHS, 8),
        cheap_group_bytes,
    }
}

/// Bandwidth of the rows.
pub fn bandwidth(rows: &[Row]) -> Bandwidth {
    let quiet = |kind: &'static str| {
        rows.iter()
            .filter(move |row| row.kind == kind && row.beside.is_empty())
    };
    Bandwidth {
        read_bytes_per_second: quiet("read").map(|row| row.bytes_per_second).max().unwrap_or(0),
        write_bytes_per_second: quiet("write").map(|row| row.bytes_per_second).max().unwrap_or(0),
        late_write_bytes_per_second: quiet("write")
            .max_by_key(|row| row.depth)
            .map_or(0, |row| row.late_bytes_per_second),
        random_reads_per_second: quiet("read_random")
            .map(|row| row.bytes_per_second / row.block_bytes.max(1))
            .max()
            .unwrap_or(0),
    }
}

/// What an operator should doubt about the rows.
pub fn doubts(rows: &[Row], kind: &str, cpu_wait_percent: Option<u32>) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(percent) = cpu_wait_percent.filter(|percent| *percent > BUSY_PERCENT) {
        notes.push(format!(
            "other programs were busy: in {percent} % of the time something waited for a CPU, and latencies hold that too. No \
             depth is suggested from it; measure again on a quiet machine"
        ));
    }
    let floor = find(rows, "write_durable", 4096, 1).map(|row| row.latency);
    if let Some(floor) = floor {
        if floor.p50_us < 5.0 {
            notes.push(
                "a durable write takes less than 5 us: no device is that fast, so writes end in some memory. Ask whoever \
                 runs the storage what a flush means there"
                    .into(),
            );
        }
        if floor.samples < 1_000 {
            notes.push(format!(
                "the floor rests on {} writes: p99.9 is about the slowest of them. --seconds gives more",
                floor.samples
            ));
        }
    }
    let band = bandwidth(rows);
    if band.late_write_bytes_per_second * 2 < band.write_bytes_per_second {
        notes.push(
            "writing slowed to less than half while it went on: a cache runs full. Measure longer (--seconds) to see where \
             it ends"
                .into(),
        );
    }
    if kind != "ext4" && kind != "xfs" {
        notes.push(format!("measured on {kind}: Turgo is tested on ext4 and XFS"));
    }
    notes
}

/// `2026-11-21T12:00:00Z` of seconds since 1970 (proleptic Gregorian calendar).
pub fn date(seconds: u64) -> String {
    let (days, rest) = ((seconds / 86_400) as i64, seconds % 86_400);
    // Days are counted from a March 1st, so that the leap day ends a year of 365 or 366 days.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

#[cfg(test)]
mod tests;
