//! What the broker asks of its disk at once: configured, else measured, else the default.
//!
//! `turgo serve` resolves this at start from the settings and from what `turgo tune disk` left beside the data. Pure.

use std::fmt;

use turgo_storage::StoreConfig;
use turgo_tuning::disk::Stored;
use turgo_tuning::disk::result::Latency;

use super::NodeConfig;

/// Where a number is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// The settings.
    Configured,
    /// The measurement of this device.
    Measured,
    /// Neither says anything.
    Default,
}

/// A number with its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Number {
    /// The number.
    pub value: u32,
    /// Its source.
    pub from: From,
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = match self.from {
            From::Configured => "configured",
            From::Measured => "measured",
            From::Default => "default",
        };
        write!(f, "{} ({from})", self.value)
    }
}

/// The numbers of a start.
#[derive(Debug, Clone, PartialEq)]
pub struct Numbers {
    /// Journal groups under way at once on each core, 1 to 4.
    pub groups_in_flight: Number,
    /// Chunk writes at once on each core.
    pub drain_depth: Number,
    /// Catch-up reads at once on each core.
    pub read_depth: Number,
    /// The measured floor, with the date of the measurement.
    pub floor: Option<(Latency, String)>,
    /// Why a stored result is not used.
    pub ignored: Option<String>,
}

impl Numbers {
    /// Resolves the numbers.
    pub fn of(config: &NodeConfig, stored: &Stored) -> Self {
        let measured = match stored {
            Stored::Valid(found) => Some(found),
            Stored::Ignored(_) | Stored::Absent => None,
        };
        let suggested = measured.map(|found| found.suggested);
        let number =
            |configured: Option<u32>, measured: Option<u32>, default: u32| match (configured, measured) {
                (Some(value), _) => Number {
                    value,
                    from: From::Configured,
                },
                (None, Some(value)) => Number {
                    value,
                    from: From::Measured,
                },
                (None, None) => Number {
                    value: default,
                    from: From::Default,
                },
            };
        let defaults = StoreConfig::default();
        Numbers {
            groups_in_flight: number(
                config.groups_in_flight,
                suggested.map(|s| s.groups_in_flight),
                defaults.window,
            ),
            drain_depth: number(
                config.drain_depth,
                suggested.map(|s| s.drain_depth),
                defaults.drain_depth,
            ),
            read_depth: number(
                config.read_depth,
                suggested.map(|s| s.read_depth),
                defaults.read_depth,
            ),
            floor: measured.map(|found| (found.floor, found.date.clone())),
            ignored: match stored {
                Stored::Ignored(why) => Some(why.clone()),
                Stored::Valid(_) | Stored::Absent => None,
            },
        }
    }

    /// Puts them into a store's settings.
    pub fn apply(&self, store: &mut StoreConfig) {
        store.window = self.groups_in_flight.value;
        store.drain_depth = self.drain_depth.value;
        store.read_depth = self.read_depth.value;
    }
}

/// The line of the start-up report.
impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "disk: groups in flight {}, chunk writes at once {}, catch-up reads at once {}",
            self.groups_in_flight, self.drain_depth, self.read_depth
        )?;
        match &self.floor {
            Some((floor, date)) => write!(
                f,
                "; floor of a durable write p50 {:.0} us, p99 {:.0} us, measured {date}",
                floor.p50_us, floor.p99_us
            ),
            None => f.write_str("; not measured on this device (turgo tune disk DIR)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Flag, load};
    use turgo_tuning::disk::result::{Bandwidth, Measured, Suggested};

    fn measured() -> Stored {
        Stored::Valid(Box::new(Measured {
            version: 1,
            date: "2026-01-02T03:04:05Z".into(),
            kernel: String::new(),
            seconds: 1.0,
            cpu_wait_percent: None,
            notes: Vec::new(),
            identity: turgo_tuning::host::Identity::default(),
            floor: Latency {
                p50_us: 80.0,
                p99_us: 200.0,
                ..Latency::default()
            },
            suggested: Suggested {
                groups_in_flight: 4,
                drain_depth: 1,
                read_depth: 3,
                cheap_group_bytes: 4096,
            },
            bandwidth: Bandwidth::default(),
            measured: Vec::new(),
        }))
    }

    fn config(flags: &[(&str, &str)]) -> NodeConfig {
        let flags: Vec<Flag> = flags
            .iter()
            .map(|(name, value)| Flag::new("--set", name, *value))
            .collect();
        load(None, [], &flags).unwrap()
    }

    #[test]
    fn configured_goes_before_measured_and_measured_before_default() {
        let some = config(&[("disk.groups_in_flight", "1")]);
        let numbers = Numbers::of(&some, &measured());
        let mut store = StoreConfig::default();
        numbers.apply(&mut store);
        assert_eq!((store.window, store.drain_depth, store.read_depth), (1, 1, 3));
        let text = numbers.to_string();
        for part in [
            "groups in flight 1 (configured)",
            "at once 1 (measured)",
            "reads at once 3 (measured)",
            "p50 80 us",
            "2026-01-02",
        ] {
            assert!(text.contains(part), "{text}");
        }
        let numbers = Numbers::of(&config(&[]), &Stored::Absent);
        let mut store = StoreConfig::default();
        numbers.apply(&mut store);
        let defaults = StoreConfig::default();
        assert_eq!(
            (store.window, store.drain_depth, store.read_depth),
            (defaults.window, defaults.drain_depth, defaults.read_depth)
        );
        assert!(numbers.to_string().contains("(default)"));
    }

    #[test]
    fn a_result_of_another_device_counts_for_nothing_and_says_so() {
        let numbers = Numbers::of(&config(&[]), &Stored::Ignored("another disk".into()));
        assert_eq!(numbers.groups_in_flight.from, From::Default);
        assert_eq!(
            (numbers.floor.clone(), numbers.ignored.as_deref()),
            (None, Some("another disk"))
        );
    }
}
