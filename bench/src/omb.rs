//! Workload and driver files of the OpenMessaging benchmark.
//!
//! Read as they are; a key that is not known is an error, because ignoring it would run another workload under the same
//! name.

use std::collections::BTreeMap;

use serde::Deserialize;
use turgo_net::records::Compression;

use crate::spec::{Acks, Workload};
use crate::values::{Keys, Size};

/// A workload file. Field names are the file's.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    name: String,
    #[serde(default = "one")]
    topics: u32,
    #[serde(default = "one")]
    partitions_per_topic: u32,
    #[serde(default)]
    key_distributor: Option<String>,
    #[serde(default)]
    message_size: Option<usize>,
    #[serde(default)]
    use_randomized_payloads: bool,
    #[serde(default)]
    random_bytes_ratio: f64,
    #[serde(default)]
    randomized_payload_pool_size: u32,
    #[serde(default)]
    payload_file: Option<String>,
    #[serde(default = "one")]
    subscriptions_per_topic: u32,
    #[serde(default = "one")]
    producers_per_topic: u32,
    #[serde(default = "one")]
    consumer_per_subscription: u32,
    #[serde(default)]
    producer_rate: f64,
    #[serde(default, rename = "consumerBacklogSizeGB")]
    backlog: u64,
    #[serde(default = "all")]
    backlog_drain_ratio: f64,
    #[serde(default = "five")]
    test_duration_minutes: f64,
    #[serde(default = "one_minute")]
    warmup_duration_minutes: f64,
}

fn one() -> u32 {
    1
}
fn all() -> f64 {
    1.0
}
fn five() -> f64 {
    5.0
}
fn one_minute() -> f64 {
    1.0
}

/// A driver file. Settings are Java properties in text blocks.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Driver {
    #[serde(default)]
    name: Option<String>,
    #[serde(default, rename = "driverClass")]
    _driver_class: Option<String>,
    #[serde(default)]
    replication_factor: Option<i16>,
    #[serde(default)]
    reset: Option<bool>,
    #[serde(default)]
    topic_config: Option<String>,
    #[serde(default)]
    common_config: Option<String>,
    #[serde(default)]
    producer_config: Option<String>,
    #[serde(default)]
    consumer_config: Option<String>,
}

/// Reads a workload file and, if given, a driver file.
///
/// # Errors
/// Which file, where in it, and what is wrong.
pub fn read(path: &str, driver: Option<&str>) -> Result<Workload, String> {
    let load = |path: &str| {
        std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}; give an OpenMessaging YAML file"))
    };
    let base = std::path::Path::new(path)
        .parent()
        .map(std::path::Path::to_path_buf)
        .unwrap_or_default();
    let mut w = workload(&load(path)?).map_err(|e| format!("{path}: {e}"))?;
    if let Some(file) = &w.payload_file
        && !std::path::Path::new(file).exists()
    {
        // Payload files are named from where the files lie.
        let beside = base.join(file);
        if beside.exists() {
            w.payload_file = Some(beside.display().to_string());
        }
    }
    if let Some(driver) = driver {
        apply_driver(&mut w, &load(driver)?).map_err(|e| format!("{driver}: {e}"))?;
    }
    Ok(w)
}

/// Reads the text of a workload file.
///
/// # Errors
/// Where in it, and what is wrong.
pub fn workload(text: &str) -> Result<Workload, String> {
    let file: File = serde_saphyr::from_str(text).map_err(|e| e.to_string())?;
    let keys = match file.key_distributor.as_deref() {
        None | Some("NO_KEY") => Keys::None,
        // Both take their keys from a fixed table of 10,000 random strings.
        Some("KEY_ROUND_ROBIN") => Keys::RoundRobin(10_000),
        Some("RANDOM_NANO") => Keys::Uniform(10_000),
        Some(other) => {
            return Err(format!(
                "keyDistributor {other}: NO_KEY, KEY_ROUND_ROBIN and RANDOM_NANO are known"
            ));
        }
    };
    let size = file.message_size.unwrap_or(1024);
    let backlog = file.backlog;
    if !(0.0..=1.0).contains(&file.random_bytes_ratio) {
        return Err("randomBytesRatio lies between 0 and 1".into());
    }
    if (file.backlog_drain_ratio - 1.0).abs() > 1e-9 && backlog == 0 {
        return Err("backlogDrainRatio means nothing without consumerBacklogSizeGB".into());
    }
    let minutes = |m: f64, what: &str| {
        if m.is_finite() && m >= 0.0 {
            Ok(m * 60.0)
        } else {
            Err(format!("{what} must not be below 0"))
        }
    };
    Ok(Workload {
        name: file.name.clone(),
        topic: "turgo-bench-omb".into(),
        topics: file.topics,
        partitions: file.partitions_per_topic,
        producers: file.producers_per_topic.saturating_mul(file.topics),
        groups: file.subscriptions_per_topic,
        consumers: file.consumer_per_subscription.saturating_mul(file.topics).max(1),
        // 0 asks for the highest rate that is sustained, which is `find-max`; `run` says so.
        rate: (file.producer_rate > 0.0).then_some(file.producer_rate),
        keys,
        size: Size::Fixed(size),
        random_share: if file.use_randomized_payloads {
            file.random_bytes_ratio
        } else {
            0.0
        },
        payload_file: if file.use_randomized_payloads {
            None
        } else {
            file.payload_file
        },
        backlog_bytes: backlog << 30,
        drain: backlog > 0,
        warmup_s: minutes(file.warmup_duration_minutes, "warmupDurationMinutes")?,
        duration_s: minutes(file.test_duration_minutes, "testDurationMinutes")?,
        seed: u64::from(file.randomized_payload_pool_size) + 1,
        linger_us: 1_000,
        batch_bytes: 128 << 10,
        ..Workload::default()
    })
}

/// Lines `key = value` of a block.
fn properties(block: Option<&String>) -> Result<BTreeMap<String, String>, String> {
    let mut all = BTreeMap::new();
    for line in block.map(String::as_str).unwrap_or("").lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line
            .split_once('=')
            .ok_or_else(|| format!("{line:?} is no key=value"))?;
        all.insert(key.trim().to_owned(), value.trim().to_owned());
    }
    Ok(all)
}

/// Applies the text of a driver file.
///
/// # Errors
/// What is wrong, or not known.
pub fn apply_driver(w: &mut Workload, text: &str) -> Result<(), String> {
    let driver: Driver = serde_saphyr::from_str(text).map_err(|e| e.to_string())?;
    if let Some(name) = driver.name {
        w.name = format!("{} ({name})", w.name);
    }
    if let Some(copies) = driver.replication_factor {
        w.replication = copies;
    }
    w.keep |= driver.reset == Some(false);
    w.topic_configs.extend(properties(driver.topic_config.as_ref())?);
    let number = |key: &str, value: &str| {
        value
            .parse::<i64>()
            .map_err(|_| format!("{key}={value} is no number"))
    };
    for key in properties(driver.common_config.as_ref())?.into_keys() {
        match key.as_str() {
            // The endpoint comes from --bootstrap; the rest is about Java.
            "bootstrap.servers" | "request.timeout.ms" | "default.api.timeout.ms" => {}
            _ => return Err(format!("commonConfig {key} is not supported")),
        }
    }
    for (key, value) in properties(driver.producer_config.as_ref())? {
        match key.as_str() {
            "acks" => w.acks = Acks::parse(&value)?,
            "linger.ms" => {
                let ms: f64 = value
                    .parse()
                    .map_err(|_| format!("linger.ms={value} is no number"))?;
                w.linger_us = (ms * 1000.0) as u64;
            }
            "batch.size" => w.batch_bytes = number(&key, &value)?.max(1) as usize,
            "buffer.memory" => w.buffer_bytes = number(&key, &value)?.max(1) as usize,
            "max.request.size" => w.request_bytes = number(&key, &value)?.max(1) as usize,
            "max.in.flight.requests.per.connection" => w.in_flight = number(&key, &value)?.max(1) as usize,
            "enable.idempotence" => w.idempotent = value == "true",
            "compression.type" => {
                w.compression = *Compression::ALL
                    .iter()
                    .find(|c| c.name() == value)
                    .ok_or_else(|| format!("compression.type={value} is not known"))?;
            }
            _ => return Err(format!("producerConfig {key} is not supported")),
        }
    }
    if w.acks != Acks::All || w.in_flight > 5 {
        w.idempotent = false;
    }
    for (key, value) in properties(driver.consumer_config.as_ref())? {
        match key.as_str() {
            "fetch.min.bytes" => w.fetch_min_bytes = number(&key, &value)? as i32,
            "fetch.max.bytes" => w.fetch_max_bytes = number(&key, &value)? as i32,
            "fetch.max.wait.ms" => w.fetch_wait_ms = number(&key, &value)? as i32,
            "max.partition.fetch.bytes" => w.fetch_partition_bytes = number(&key, &value)? as i32,
            "auto.offset.reset" | "enable.auto.commit" | "max.poll.records" => {}
            _ => return Err(format!("consumerConfig {key} is not supported")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKLOAD: &str = "\
name: 1 topic / 100 partitions / 1 KiB
topics: 1
partitionsPerTopic: 100
keyDistributor: \"NO_KEY\"
messageSize: 1024
useRandomizedPayloads: true
randomBytesRatio: 0.5
randomizedPayloadPoolSize: 1000
subscriptionsPerTopic: 2
consumerPerSubscription: 4
producersPerTopic: 4
producerRate: 200000
consumerBacklogSizeGB: 0
testDurationMinutes: 10
warmupDurationMinutes: 0.5
";

    #[test]
    fn a_published_workload_reads_as_it_is() {
        let w = workload(WORKLOAD).expect("valid");
        assert_eq!(
            (w.topics, w.partitions, w.producers, w.groups, w.consumers),
            (1, 100, 4, 2, 4)
        );
        assert_eq!(
            (w.rate, w.size.clone(), w.random_share),
            (Some(200_000.0), Size::Fixed(1024), 0.5)
        );
        assert_eq!((w.warmup_s, w.duration_s, w.backlog_bytes), (30.0, 600.0, 0));
        assert_eq!(w.check(), Ok(()));
        let unlimited = workload("name: x\nproducerRate: 0\n").expect("valid");
        assert_eq!(unlimited.rate, None);
        let backlog = workload("name: x\nconsumerBacklogSizeGB: 100\nproducerRate: 5\n").expect("valid");
        assert_eq!((backlog.backlog_bytes, backlog.drain), (100 << 30, true));
    }

    #[test]
    fn unknown_keys_and_broken_files_are_errors_that_name_the_place() {
        let error = workload(&format!("{WORKLOAD}producerRates: 5\n")).expect_err("unknown key");
        assert!(error.contains("producerRates"), "{error}");
        assert!(workload("name: [").is_err());
        assert!(workload("topics: 1").expect_err("no name").contains("name"));
        assert!(
            workload("name: x\nkeyDistributor: NANO")
                .expect_err("unknown")
                .contains("KEY_ROUND_ROBIN")
        );
        assert!(
            read("/nonexistent/w.yaml", None)
                .expect_err("no file")
                .contains("/nonexistent/w.yaml")
        );
    }

    #[test]
    fn a_driver_file_sets_what_its_clients_would_do() {
        let mut w = workload(WORKLOAD).expect("valid");
        let driver = "\
name: Kafka-fsync
driverClass: io.openmessaging.benchmark.driver.kafka.KafkaBenchmarkDriver
replicationFactor: 3
topicConfig: |
  min.insync.replicas=2
  flush.messages=1
commonConfig: |
  bootstrap.servers=localhost:9092
producerConfig: |
  acks=all
  linger.ms=1
  batch.size=131072
consumerConfig: |
  auto.offset.reset=earliest
  enable.auto.commit=false
";
        apply_driver(&mut w, driver).expect("valid");
        assert_eq!((w.replication, w.linger_us, w.batch_bytes), (3, 1000, 131_072));
        assert_eq!(w.topic_configs["flush.messages"], "1");
        assert!(
            apply_driver(&mut w, "producerConfig: |\n  foo.bar=1\n")
                .expect_err("unknown")
                .contains("foo.bar")
        );
        apply_driver(&mut w, "producerConfig: |\n  acks=1\n").expect("valid");
        assert!(!w.idempotent);
    }
}
