//! `turgo bench`: the runs that the project reports, and single runs for people.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::client::{ClientError, Connection};
use crate::floor;
use crate::load::{self, Load};
use crate::report::{LoadReport, Percentiles};

/// Measures a Kafka endpoint.
#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    command: Command,
    /// Print JSON, one object per run.
    #[arg(long, global = true)]
    json: bool,
    /// Broker to measure, HOST:PORT.
    #[arg(long, global = true, default_value = "127.0.0.1:9092")]
    bootstrap: String,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Produce at a fixed rate, or as fast as the window allows.
    Produce(ProduceArgs),
    /// One record at a time, beside the floor: a device flush and a loopback round trip of the same run.
    Latency {
        /// Records.
        #[arg(long, default_value_t = 20_000)]
        count: usize,
        /// Bytes of each record.
        #[arg(long, default_value_t = 100)]
        size: usize,
        /// Directory on the device of the broker's data, for the flush.
        #[arg(long, default_value = ".")]
        dir: PathBuf,
    },
    /// The same load over 1 partition and over many, interleaved, with the ratio of the tails.
    Width {
        /// Partitions of the wide topic.
        #[arg(long, default_value_t = 1_000)]
        partitions: i32,
        /// Records per second.
        #[arg(long, default_value_t = 5_000.0)]
        rate: f64,
        /// Seconds of each run.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// Runs of each width.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
    },
    /// Create topics with many partitions and say how long it took.
    Partitions {
        /// Partitions in all, 1,000 to a topic.
        #[arg(long, default_value_t = 10_000)]
        count: i32,
    },
}

#[derive(Debug, Args)]
struct ProduceArgs {
    /// Topic; made anew with --partitions and deleted afterwards unless --keep.
    #[arg(long, default_value = "turgo-bench")]
    topic: String,
    /// Partitions.
    #[arg(long, default_value_t = 1)]
    partitions: i32,
    /// Bytes of each record.
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// Records of each batch.
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// Records per second; without it as fast as the windows allow.
    #[arg(long)]
    rate: Option<f64>,
    /// Unanswered requests of each connection.
    #[arg(long, default_value_t = 64)]
    window: usize,
    /// Connections.
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Seconds before counting begins.
    #[arg(long, default_value_t = 2)]
    warmup: u64,
    /// Seconds that count.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Topic settings, NAME=VALUE.
    #[arg(long = "set")]
    configs: Vec<String>,
    /// Leave the topic in place.
    #[arg(long)]
    keep: bool,
}

/// Runs the command; the error is a sentence for the person who typed it.
pub fn run(args: &BenchArgs) -> Result<(), String> {
    match &args.command {
        Command::Produce(produce) => run_produce(args, produce),
        Command::Latency { count, size, dir } => run_latency(args, *count, *size, dir),
        Command::Width {
            partitions,
            rate,
            seconds,
            rounds,
        } => run_width(args, *partitions, *rate, *seconds, *rounds),
        Command::Partitions { count } => run_partitions(args, *count),
    }
    .map_err(|e| e.to_string())
}

fn show<T: Serialize>(args: &BenchArgs, report: &T, text: impl Fn() -> String) -> Result<(), ClientError> {
    if args.json {
        let line = serde_json::to_string(report).map_err(|e| ClientError::Protocol(e.to_string()))?;
        println!("{line}");
    } else {
        println!("{}", text());
    }
    Ok(())
}

fn load_text(r: &LoadReport) -> String {
    let mut text = format!(
        "{} partition(s), {} B x {}: {:.0} records/s ({:.1} MiB/s){}\n  response {}\n  service  {}\n  slip     {}",
        r.partitions,
        r.record_bytes,
        r.batch_records,
        r.acknowledged_per_second,
        r.mib_per_second,
        if r.asked_per_second > 0.0 {
            format!(" of {:.0} asked", r.asked_per_second)
        } else {
            String::new()
        },
        r.response,
        r.service,
        r.slip
    );
    if !r.valid {
        text.push_str(
            "\n  INVALID: the generator fell behind its schedule; lower --rate or add --connections",
        );
    }
    for (name, count) in &r.errors {
        text.push_str(&format!("\n  {count} batches refused: {name}"));
    }
    text
}

/// A topic made for a run, deleted with it.
struct Topic {
    name: String,
    address: String,
    keep: bool,
}

impl Topic {
    fn create(
        address: &str,
        name: &str,
        partitions: i32,
        configs: &[(&str, &str)],
        keep: bool,
    ) -> Result<Topic, ClientError> {
        let mut connection = Connection::open(address)?;
        let _ = connection.delete_topic(name);
        let deadline = Instant::now() + Duration::from_secs(60);
        // A broker may take its time to forget the topic, and to elect leaders.
        loop {
            match connection.create_topic(name, partitions, configs) {
                Ok(()) => break,
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
        while connection.partitions(name)? < partitions as usize {
            if Instant::now() > deadline {
                return Err(ClientError::Protocol(format!(
                    "{name}: not all partitions got a leader in a minute"
                )));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(Topic {
            name: name.to_owned(),
            address: address.to_owned(),
            keep,
        })
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        if !self.keep
            && let Ok(mut connection) = Connection::open(&self.address)
        {
            let _ = connection.delete_topic(&self.name);
        }
    }
}

fn run_produce(args: &BenchArgs, produce: &ProduceArgs) -> Result<(), ClientError> {
    let configs: Vec<(&str, &str)> = produce.configs.iter().filter_map(|c| c.split_once('=')).collect();
    let topic = Topic::create(
        &args.bootstrap,
        &produce.topic,
        produce.partitions,
        &configs,
        produce.keep,
    )?;
    let report = load::produce(&Load {
        address: args.bootstrap.clone(),
        topic: topic.name.clone(),
        partitions: produce.partitions,
        record_bytes: produce.size,
        batch_records: produce.batch,
        rate: produce.rate,
        window: produce.window,
        connections: produce.connections,
        warmup: Duration::from_secs(produce.warmup),
        duration: Duration::from_secs(produce.seconds),
    })?;
    show(args, &report, || load_text(&report))
}

#[derive(Debug, Serialize)]
struct LatencyReport {
    record_bytes: usize,
    acknowledgement: Percentiles,
    flush: Percentiles,
    loopback: Percentiles,
    /// Median acknowledgement over the sum of the floors' medians.
    ratio_p50: f64,
    /// The same at 99 %.
    ratio_p99: f64,
}

fn run_latency(
    args: &BenchArgs,
    count: usize,
    size: usize,
    dir: &std::path::Path,
) -> Result<(), ClientError> {
    let io = |error| ClientError::Network {
        address: dir.display().to_string(),
        error,
    };
    let topic = Topic::create(&args.bootstrap, "turgo-bench-latency", 1, &[], false)?;
    let (mut acks, mut flushes, mut loops) = (
        crate::report::histogram(),
        crate::report::histogram(),
        crate::report::histogram(),
    );
    // Floors and measurement take turns, so that drift of the machine hits all alike.
    const ROUNDS: usize = 5;
    for _ in 0..ROUNDS {
        let add = |a: &mut hdrhistogram::Histogram<u64>, b| a.add(b).expect("same bounds");
        add(&mut flushes, floor::flush(dir, count / ROUNDS / 4).map_err(io)?);
        add(
            &mut loops,
            floor::loopback(size + 200, count / ROUNDS).map_err(io)?,
        );
        let one = load::one_at_a_time(&args.bootstrap, &topic.name, size, count / ROUNDS)?;
        add(&mut acks, one);
    }
    let (acknowledgement, flush, loopback) = (
        Percentiles::from(&acks),
        Percentiles::from(&flushes),
        Percentiles::from(&loops),
    );
    let report = LatencyReport {
        record_bytes: size,
        ratio_p50: acknowledgement.p50 / (flush.p50 + loopback.p50),
        ratio_p99: acknowledgement.p99 / (flush.p99 + loopback.p99),
        acknowledgement,
        flush,
        loopback,
    };
    show(args, &report, || {
        format!(
            "one record of {size} B at a time\n  acknowledgement {}\n  device flush    {}\n  loopback        {}\n  \
             acknowledgement / (flush + loopback): {:.2} at p50, {:.2} at p99",
            report.acknowledgement, report.flush, report.loopback, report.ratio_p50, report.ratio_p99
        )
    })
}

#[derive(Debug, Serialize)]
struct WidthReport {
    narrow: Vec<LoadReport>,
    wide: Vec<LoadReport>,
    /// Medians over the rounds.
    ratio_p99: f64,
}

fn run_width(
    args: &BenchArgs,
    partitions: i32,
    rate: f64,
    seconds: u64,
    rounds: usize,
) -> Result<(), ClientError> {
    let narrow = Topic::create(&args.bootstrap, "turgo-bench-narrow", 1, &[], false)?;
    let wide = Topic::create(&args.bootstrap, "turgo-bench-wide", partitions, &[], false)?;
    let once = |topic: &Topic, partitions| {
        load::produce(&Load {
            address: args.bootstrap.clone(),
            topic: topic.name.clone(),
            partitions,
            record_bytes: 1024,
            batch_records: 1,
            rate: Some(rate),
            window: 256,
            connections: 1,
            warmup: Duration::from_secs(2),
            duration: Duration::from_secs(seconds),
        })
    };
    let (mut narrows, mut wides) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        narrows.push(once(&narrow, 1)?);
        wides.push(once(&wide, partitions)?);
    }
    let median = |reports: &[LoadReport]| {
        let mut p99: Vec<f64> = reports.iter().map(|r| r.response.p99).collect();
        p99.sort_by(f64::total_cmp);
        p99[p99.len() / 2]
    };
    let ratio_p99 = median(&wides) / median(&narrows);
    let report = WidthReport {
        narrow: narrows,
        wide: wides,
        ratio_p99,
    };
    show(args, &report, || {
        let lines: Vec<String> = report.narrow.iter().chain(&report.wide).map(load_text).collect();
        format!(
            "{}\nmedian p99 of {partitions} partitions / of 1: {ratio_p99:.2}",
            lines.join("\n")
        )
    })
}

#[derive(Debug, Serialize)]
struct PartitionsReport {
    partitions: i32,
    seconds: f64,
}

fn run_partitions(args: &BenchArgs, count: i32) -> Result<(), ClientError> {
    let mut connection = Connection::open(&args.bootstrap)?;
    let start = Instant::now();
    let mut left = count;
    let mut number = 0;
    while left > 0 {
        connection.create_topic(&format!("turgo-bench-idle-{number}"), left.min(1_000), &[])?;
        left -= left.min(1_000);
        number += 1;
    }
    let report = PartitionsReport {
        partitions: count,
        seconds: start.elapsed().as_secs_f64(),
    };
    show(args, &report, || {
        format!("{count} partitions created in {:.2} s", report.seconds)
    })
}
