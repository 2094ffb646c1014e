//! Watches the machine during a run: steal time, CPU of the broker, of the generator and of everybody else.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Share of intervals that may be disturbed.
const DISTURBED_SHARE: f64 = 0.1;
/// Steal time in an interval, % of the machine.
const STEAL_LIMIT: f64 = 1.0;
/// CPU of others in an interval, % of the machine.
const OTHERS_LIMIT: f64 = 5.0;

/// CPU and memory over the measured span.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// CPU seconds of the generator.
    pub generator_cpu_s: f64,
    /// CPU seconds of the broker, if its process is known.
    pub broker_cpu_s: Option<f64>,
    /// The same for each GiB of values acknowledged.
    pub broker_cpu_s_per_gib: Option<f64>,
    /// Resident memory of the broker at the end, MiB.
    pub broker_rss_mib: Option<f64>,
    /// Involuntary context switches of the generator.
    pub generator_switches: u64,
    /// Steal time, % of the machine.
    pub steal_percent: f64,
    /// CPU of others, % of the machine; absent while the broker's process is not known.
    pub others_percent: Option<f64>,
    /// Intervals with steal above 1 % or others above 5 %.
    pub disturbed_intervals: usize,
    /// Intervals looked at.
    pub intervals: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sample {
    total: f64,
    idle: f64,
    steal: f64,
    own: f64,
    broker: Option<f64>,
}

/// Ticks of /proc are hundredths of a second on every Linux that people run.
const TICK: f64 = 0.01;

fn sample(broker: &[u32]) -> Sample {
    let mut s = Sample::default();
    if let Ok(stat) = std::fs::read_to_string("/proc/stat")
        && let Some(line) = stat.lines().next()
    {
        let v: Vec<f64> = line
            .split_whitespace()
            .skip(1)
            .filter_map(|t| t.parse().ok())
            .collect();
        // user nice system idle iowait irq softirq steal; guest time is part of user.
        s.total = v.iter().take(8).sum::<f64>() * TICK;
        s.idle = (v.get(3).unwrap_or(&0.0) + v.get(4).unwrap_or(&0.0)) * TICK;
        s.steal = v.get(7).unwrap_or(&0.0) * TICK;
    }
    s.own = process_cpu("/proc/self/stat").unwrap_or(0.0);
    let parts: Vec<f64> = broker
        .iter()
        .filter_map(|pid| process_cpu(&format!("/proc/{pid}/stat")))
        .collect();
    s.broker = (!parts.is_empty()).then(|| parts.iter().sum());
    s
}

/// CPU seconds of a process.
fn process_cpu(path: &str) -> Option<f64> {
    let text = std::fs::read_to_string(path).ok()?;
    // The name in brackets may hold anything.
    let rest = &text[text.rfind(')')? + 2..];
    let fields: Vec<&str> = rest.split(' ').collect();
    let ticks = |i: usize| fields.get(i)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) * TICK)
}

fn rss_mib(pid: u32) -> Option<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find(|l| l.starts_with("VmRSS:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1024.0)
}

fn switches() -> u64 {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else {
        return 0;
    };
    tasks
        .flatten()
        .filter_map(|t| std::fs::read_to_string(t.path().join("status")).ok())
        .filter_map(|s| {
            let line = s.lines().find(|l| l.starts_with("nonvoluntary_ctxt_switches"))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        })
        .sum()
}

/// Watches from the first look on.
#[derive(Debug)]
pub struct Watch {
    brokers: Vec<u32>,
    first: Option<Sample>,
    /// When measuring ended: reading everything back afterwards is no cost of the load.
    end: Option<Sample>,
    last: Sample,
    switches: u64,
    next: u32,
    /// Steal and others' share by interval, %.
    pub intervals: BTreeMap<u32, (f64, Option<f64>)>,
}

impl Watch {
    /// `brokers`: the processes of the broker, if known.
    pub fn new(brokers: &[u32]) -> Watch {
        Watch {
            brokers: brokers.to_vec(),
            first: None,
            end: None,
            last: Sample::default(),
            switches: 0,
            next: 0,
            intervals: BTreeMap::new(),
        }
    }

    /// Interval `index` (measured if `measured`) is running.
    pub fn look(&mut self, index: u32, measured: bool) {
        if index < self.next {
            return;
        }
        let now = sample(&self.brokers);
        if self.next > 0 {
            let shares = shares(&self.last, &now);
            self.intervals.insert(self.next - 1, shares);
        }
        if measured && self.first.is_none() {
            self.first = Some(now);
            self.switches = switches();
        }
        if !measured && self.first.is_some() && self.end.is_none() {
            self.end = Some(now);
        }
        self.last = now;
        self.next = index + 1;
    }

    /// Figures over the measured span, in which `acked_bytes` were acknowledged.
    pub fn usage(&self, acked_bytes: u64) -> Usage {
        let first = self.first.unwrap_or(self.last);
        let now = self.end.unwrap_or_else(|| sample(&self.brokers));
        let (steal, others) = shares(&first, &now);
        let gib = acked_bytes as f64 / f64::from(1 << 30);
        let broker = now.broker.zip(first.broker).map(|(b, a)| b - a);
        let disturbed = |(steal, others): &(f64, Option<f64>)| {
            *steal > STEAL_LIMIT || others.is_some_and(|o| o > OTHERS_LIMIT)
        };
        Usage {
            generator_cpu_s: now.own - first.own,
            broker_cpu_s: broker,
            broker_cpu_s_per_gib: broker.filter(|_| gib > 0.0).map(|b| b / gib),
            broker_rss_mib: self
                .brokers
                .iter()
                .filter_map(|p| rss_mib(*p))
                .reduce(|a, b| a + b),
            generator_switches: switches().saturating_sub(self.switches),
            steal_percent: steal,
            others_percent: others,
            disturbed_intervals: self.intervals.values().filter(|i| disturbed(i)).count(),
            intervals: self.intervals.len(),
        }
    }
}

impl Usage {
    /// A sentence when more intervals were disturbed than may be.
    pub fn disturbance(&self) -> Option<String> {
        (self.intervals > 0 && self.disturbed_intervals as f64 > DISTURBED_SHARE * self.intervals as f64).then(|| {
            format!(
                "the machine was disturbed in {} of {} intervals (steal above {STEAL_LIMIT} %, or others above {OTHERS_LIMIT} % \
                 of its CPU): steal {:.1} %, others {}",
                self.disturbed_intervals,
                self.intervals,
                self.steal_percent,
                self.others_percent.map_or("not known".into(), |o| format!("{o:.1} %"))
            )
        })
    }
}

fn shares(a: &Sample, b: &Sample) -> (f64, Option<f64>) {
    let total = (b.total - a.total).max(TICK);
    let steal = 100.0 * (b.steal - a.steal).max(0.0) / total;
    let others = b.broker.zip(a.broker).map(|(broker_b, broker_a)| {
        let busy = total - (b.idle - a.idle) - (b.steal - a.steal);
        100.0 * (busy - (b.own - a.own) - (broker_b - broker_a)).max(0.0) / total
    });
    (steal, others)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_the_whole_machine() {
        let a = Sample {
            total: 100.0,
            idle: 50.0,
            steal: 1.0,
            own: 10.0,
            broker: Some(20.0),
        };
        let b = Sample {
            total: 120.0,
            idle: 56.0,
            steal: 2.0,
            own: 14.0,
            broker: Some(26.0),
        };
        let (steal, others) = shares(&a, &b);
        assert!((steal - 5.0).abs() < 1e-9);
        // 20 - 6 idle - 1 steal = 13 busy, of which 4 + 6 are ours.
        assert!((others.expect("known") - 15.0).abs() < 1e-9);
        assert_eq!(shares(&a, &Sample { broker: None, ..b }).1, None);
    }

    #[test]
    fn this_process_has_used_cpu_and_memory() {
        assert!(process_cpu("/proc/self/stat").is_some());
        assert!(rss_mib(std::process::id()).expect("own status") > 0.5);
    }

    #[test]
    fn a_few_disturbed_intervals_are_forgiven_and_many_are_told() {
        let usage = |disturbed| Usage {
            intervals: 20,
            disturbed_intervals: disturbed,
            ..Usage::default()
        };
        assert_eq!(usage(2).disturbance(), None);
        assert!(usage(3).disturbance().expect("told").contains("3 of 20"));
    }
}
