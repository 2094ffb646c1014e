//! Producing on a schedule.
//!
//! Each connection has a writer thread, which sends a batch when it is due whatever happened to those before, and a
//! reader thread, which takes the answers in order. The two share a bounded queue of (due, sent) times; when the
//! window is full the writer waits, and the wait counts as slip and as response time.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use turgo_net::api::ApiKey;
use turgo_net::messages::produce::{PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData};
use turgo_net::records::{BATCH_HEADER_BYTES, BatchBuilder};
use turgo_net::{ErrorCode, Records, encode_request};

use crate::client::{ClientError, Connection, parse};
use crate::report::{LoadReport, Percentiles, histogram};

/// What to send.
#[derive(Debug, Clone)]
pub struct Load {
    /// `host:port` of the broker that leads all partitions.
    pub address: String,
    /// An existing topic.
    pub topic: String,
    /// Its partitions; batches go to them in turn.
    pub partitions: i32,
    /// Bytes of each value.
    pub record_bytes: usize,
    /// Records of each batch.
    pub batch_records: usize,
    /// Records per second over all connections; `None`: as fast as the windows allow.
    pub rate: Option<f64>,
    /// Unanswered requests of each connection.
    pub window: usize,
    /// Connections.
    pub connections: usize,
    /// Not counted.
    pub warmup: Duration,
    /// Counted.
    pub duration: Duration,
}

struct Part {
    response: Histogram<u64>,
    service: Histogram<u64>,
    slip: Histogram<u64>,
    acknowledged: u64,
    errors: BTreeMap<String, u64>,
}

/// A request frame for each partition, built once: the load is the broker's, not the generator's.
fn frames(load: &Load, version: i16) -> Result<Vec<Vec<u8>>, ClientError> {
    let mut builder = BatchBuilder::new();
    // Bytes that look random and do not compress; the same in every run.
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    for _ in 0..load.batch_records {
        let value: Vec<u8> = (0..load.record_bytes)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            })
            .collect();
        let now_ms = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| d.as_millis() as i64);
        builder
            .push(now_ms, None, Some(&value), &[])
            .map_err(|e| ClientError::Protocol(format!("batch: {e}")))?;
    }
    let batch = builder.build_uncompressed();
    debug_assert!(batch.len() > BATCH_HEADER_BYTES);
    (0..load.partitions)
        .map(|index| {
            let request = ProduceRequest {
                acks: -1,
                timeout_ms: 30_000,
                topic_data: vec![TopicProduceData {
                    name: load.topic.as_str().into(),
                    partition_data: vec![PartitionProduceData {
                        index,
                        records: Records::Slice(&batch),
                        ..Default::default()
                    }],
                    ..Default::default()
                }],
                ..Default::default()
            };
            Ok(encode_request(ApiKey::Produce, version, index, Some("turgo-bench"), &request)?.to_vec())
        })
        .collect()
}

/// Waits until `due`: sleeps while it is far, then spins, as sleeping overshoots by tens of microseconds.
fn wait_until(due: Instant) {
    const SPIN: Duration = Duration::from_micros(80);
    loop {
        let now = Instant::now();
        let Some(left) = due.checked_duration_since(now) else {
            return;
        };
        if left > SPIN {
            std::thread::sleep(left - SPIN);
        } else {
            std::hint::spin_loop();
        }
    }
}

/// Runs the load and waits for every answer.
pub fn produce(load: &Load) -> Result<LoadReport, ClientError> {
    let started = Instant::now();
    let mut threads = Vec::new();
    for index in 0..load.connections {
        let load = load.clone();
        threads.push(std::thread::spawn(move || connection(&load, index, started)));
    }
    let mut all: Option<Part> = None;
    for thread in threads {
        let part = thread
            .join()
            .map_err(|_| ClientError::Protocol("a load thread panicked".into()))??;
        match &mut all {
            None => all = Some(part),
            Some(all) => {
                let add = |a: &mut Histogram<u64>, b: &Histogram<u64>| a.add(b).expect("same bounds");
                add(&mut all.response, &part.response);
                add(&mut all.service, &part.service);
                add(&mut all.slip, &part.slip);
                all.acknowledged += part.acknowledged;
                for (name, count) in part.errors {
                    *all.errors.entry(name).or_default() += count;
                }
            }
        }
    }
    let part = all.ok_or_else(|| ClientError::Protocol("no connections asked for".into()))?;
    let per_second = part.acknowledged as f64 / load.duration.as_secs_f64();
    let (response, slip) = (Percentiles::from(&part.response), Percentiles::from(&part.slip));
    Ok(LoadReport {
        partitions: load.partitions,
        record_bytes: load.record_bytes,
        batch_records: load.batch_records,
        asked_per_second: load.rate.unwrap_or(0.0),
        acknowledged_per_second: per_second,
        mib_per_second: per_second * load.record_bytes as f64 / f64::from(1 << 20),
        errors: part.errors,
        valid: load.rate.is_none() || slip.p99 <= (response.p99 / 10.0).max(1_000.0),
        service: Percentiles::from(&part.service),
        response,
        slip,
    })
}

fn connection(load: &Load, index: usize, started: Instant) -> Result<Part, ClientError> {
    let mut writer = Connection::open(&load.address)?;
    let version = writer.version(ApiKey::Produce)?;
    let frames = frames(load, version)?;
    let mut reader = writer.reader()?;
    let (sent, times) = mpsc::sync_channel::<(Instant, Instant)>(load.window);
    let (begin, end) = (started + load.warmup, started + load.warmup + load.duration);
    let records = load.batch_records as u64;
    let answers = std::thread::spawn(move || -> Result<Part, ClientError> {
        let mut part = Part {
            response: histogram(),
            service: histogram(),
            slip: histogram(),
            acknowledged: 0,
            errors: BTreeMap::new(),
        };
        while let Ok((due, sent)) = times.recv() {
            let frame = reader.receive()?;
            let now = Instant::now();
            let answer: ProduceResponse<'_> = parse(&frame, ApiKey::Produce, version)?;
            let code = answer
                .responses
                .first()
                .and_then(|t| t.partition_responses.first())
                .map_or(-1, |p| p.error_code);
            if code != 0 {
                *part.errors.entry(ErrorCode(code).name().to_owned()).or_default() += 1;
                continue;
            }
            // A batch belongs to the measured time by when it was due; throughput by when it was acknowledged.
            if due >= begin && due < end {
                part.response.saturating_record((now - due).as_nanos() as u64);
                part.service.saturating_record((now - sent).as_nanos() as u64);
                part.slip.saturating_record((sent - due).as_nanos() as u64);
            }
            if now >= begin && now < end {
                part.acknowledged += records;
            }
        }
        Ok(part)
    });
    // Connections take turns, so that their batches are not due at once.
    let interval = load
        .rate
        .map(|rate| Duration::from_secs_f64(load.batch_records as f64 * load.connections as f64 / rate));
    let offset = interval.map_or(Duration::ZERO, |i| {
        i.mul_f64(index as f64 / load.connections as f64)
    });
    let mut next = index;
    for n in 0u32.. {
        let due = match interval {
            Some(interval) => started + offset + interval.mul_f64(f64::from(n)),
            None => Instant::now(),
        };
        if due >= end {
            break;
        }
        wait_until(due);
        let at = Instant::now();
        // The place in the window is taken before sending: the queue holds one entry per unanswered request.
        if sent.send((due, at)).is_err() {
            break; // the reader failed and says why
        }
        writer.send_frame(&frames[next % frames.len()])?;
        next += load.connections;
    }
    drop(sent);
    answers
        .join()
        .map_err(|_| ClientError::Protocol("a reader thread panicked".into()))?
}

/// One record at a time, each sent when the one before is acknowledged; nanoseconds from sending to the answer. The
/// first tenth is not counted.
pub fn one_at_a_time(
    address: &str,
    topic: &str,
    record_bytes: usize,
    count: usize,
) -> Result<Histogram<u64>, ClientError> {
    let mut connection = Connection::open(address)?;
    let version = connection.version(ApiKey::Produce)?;
    let load = Load {
        address: address.to_owned(),
        topic: topic.to_owned(),
        partitions: 1,
        record_bytes,
        batch_records: 1,
        rate: None,
        window: 1,
        connections: 1,
        warmup: Duration::ZERO,
        duration: Duration::ZERO,
    };
    let frame = frames(&load, version)?.swap_remove(0);
    let mut times = histogram();
    for i in 0..count + count / 10 {
        let start = Instant::now();
        connection.send_frame(&frame)?;
        let answer = connection.receive()?;
        let elapsed = start.elapsed();
        let answer: ProduceResponse<'_> = parse(&answer, ApiKey::Produce, version)?;
        let code = answer
            .responses
            .first()
            .and_then(|t| t.partition_responses.first())
            .map_or(-1, |p| p.error_code);
        if code != 0 {
            return Err(ClientError::Refused {
                what: format!("producing to {topic}"),
                code: ErrorCode(code),
            });
        }
        if i >= count / 10 {
            times.saturating_record(elapsed.as_nanos() as u64);
        }
    }
    Ok(times)
}
