//! Spark Structured Streaming as a judge: it copies a topic, is killed with SIGKILL, resumes from its checkpoint, and
//! reads in a batch from a time on; keys, values, headers and timestamps are compared.
//!
//! Run alone with `cargo test -p turgo-engine --test judge_spark`.

mod support;

use std::collections::BTreeMap;

use support::apps::{App, Reader, Writer, read_to_end};
use support::{Broker, Judge, librdkafka, tools, unique};

const PARTITIONS: i32 = 3;
/// Of each step, and the time from one record to the next.
const STEP: usize = 300;
const TICK: i64 = 1_000;

#[test]
fn copies_resumes_and_reads_by_time() {
    let judge = Judge::begin("spark");
    let program = match tools::spark() {
        Ok(program) => program,
        Err(why) => return judge.skipped(&why),
    };
    let broker = Broker::start_eager();
    let endpoint = broker.endpoint();
    let dir = tempfile::tempdir().expect("a directory");
    let (from, to) = (unique("spark-from"), unique("spark-to"));
    for topic in [&from, &to] {
        let kept = [("retention.ms", "-1")];
        librdkafka::create_topic(&librdkafka::admin(endpoint), topic, PARTITIONS, &kept).expect("topic");
    }
    let began: i64 = 1_700_000_000_000;
    let writer = Writer::new(endpoint);
    let mut written = 0;
    let mut write = |count: usize| {
        for i in written..written + count {
            let (partition, at) = (i as i32 % PARTITIONS, began + i as i64 * TICK);
            let headers = [("n", i.to_string()), ("odd", (i % 2).to_string())];
            writer.write_with(
                &from,
                partition,
                &format!("k{}", i % 7),
                Some(&format!("value {i} grün")),
                at,
                &headers,
            );
        }
        writer.flush();
        written += count;
        written
    };

    let checkpoint = dir.path().join("checkpoint").display().to_string();
    let common = [
        "--bootstrap",
        endpoint,
        "--from",
        &from,
        "--to",
        &to,
        "--checkpoint",
        &checkpoint,
    ];
    let copied = |records: &[support::apps::Record]| {
        let mut times: BTreeMap<usize, usize> = BTreeMap::new();
        for record in records {
            let n = record.header("n").expect("a header").parse().expect("a number");
            *times.entry(n).or_default() += 1;
        }
        times
    };
    // Two steps, each seen at the other end before the next; in the third it is killed.
    let mut spark = App::start("spark", &program, &[&["copy"], &common[..]].concat(), dir.path());
    let mut reader = Reader::new(endpoint, std::slice::from_ref(&to), "read_uncommitted");
    for _ in 0..2 {
        let all = write(STEP);
        reader.until("copy of each record", |records| copied(records).len() >= all);
    }
    let before = reader.records.len();
    write(STEP);
    reader.until("copies of the third step", |records| records.len() > before);
    spark.kill();
    let all = write(STEP);

    // The second run ends by itself: it does what is left, then reads the input from the middle on.
    let middle = began + all as i64 / 2 * TICK + 1;
    let at = middle.to_string();
    let rest = [&["finish", "since"], &common[..], &["--at", &at]].concat();
    let mut spark = App::start("spark2", &program, &rest, dir.path());
    spark.hear(|line| line == "end");
    spark.ended();

    let out = read_to_end(endpoint, std::slice::from_ref(&to), "read_uncommitted");
    let times = copied(&out);
    assert!(times.keys().copied().eq(0..all), "every record is copied");
    let again = times.values().filter(|n| **n > 1).count();
    assert!(
        times.iter().all(|(n, times)| *n >= 2 * STEP || *times == 1),
        "what was done before the kill came again: it did not resume from its checkpoint"
    );
    for record in &out {
        let n: usize = record.header("n").expect("a header").parse().expect("a number");
        assert_eq!(record.key(), format!("k{}", n % 7));
        assert_eq!(record.value(), format!("VALUE {n} GRÜN"));
        let names: Vec<&str> = record.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["n", "odd", "by"]);
        assert_eq!(record.header("odd"), Some((n % 2).to_string().as_str()));
        assert_eq!(record.header("by"), Some("spark"));
    }

    // The batch: what is not older than the middle, partition by partition.
    let found: Vec<&str> = spark
        .said()
        .iter()
        .filter_map(|line| line.strip_prefix("row\t"))
        .collect();
    let mut wanted = Vec::new();
    for partition in 0..PARTITIONS as usize {
        for i in (partition..all).step_by(PARTITIONS as usize) {
            let at = began + i as i64 * TICK;
            if at >= middle {
                let offset = i / PARTITIONS as usize;
                wanted.push(format!(
                    "{partition}\t{offset}\t{at}\tk{}\tn={i},odd={}\tvalue {i} grün",
                    i % 7,
                    i % 2
                ));
            }
        }
    }
    assert_eq!(found, wanted, "the batch from a time on");
    judge.passed(&format!(
        "{all} records with headers copied through a kill ({again} of them again), {} read from a time on",
        wanted.len()
    ));
}
