//! Foreign client libraries as judges, each with its whole everyday life: topics, every codec there and back, seeks by
//! timestamp, committed offsets, a group of three under load with members that join and leave, configs, deletions.
//!
//! One library alone: `cargo test -p turgo-engine --test judge_clients kafkajs`.

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use support::tools::Program;
use support::{Broker, Judge, librdkafka, programs, tools, unique};

const STORY_WITHIN: Duration = Duration::from_secs(240);

fn story(name: &str, tool: tools::Tool) {
    let judge = Judge::begin(name);
    let program = match tool {
        Ok(program) => program,
        Err(why) => return judge.skipped(&why),
    };
    let broker = Broker::start_eager();
    let args = [
        "story",
        "--bootstrap",
        broker.endpoint(),
        "--prefix",
        &unique(name),
    ];
    let output = program.run(&args, STORY_WITHIN).succeeded();
    assert!(
        output.checks() > 10,
        "only {} checks\n{}",
        output.checks(),
        output.everything()
    );
    judge.passed(&format!("{} groups of checks", output.checks()));
}

#[test]
fn java() {
    story("java", tools::java());
}

#[test]
fn franz_go() {
    story("franz-go", tools::franz_go());
}

#[test]
fn kafkajs() {
    story("kafkajs", tools::kafkajs());
}

#[test]
fn confluent_kafka() {
    story("confluent-kafka", tools::python("confluent"));
}

#[test]
fn aiokafka() {
    story("aiokafka", tools::python("aio"));
}

#[test]
fn kafka_python() {
    story("kafka-python", tools::python("kpython"));
}

/// Debian's kcat, over a librdkafka old enough to infer features from version ranges.
#[test]
fn kcat() {
    let judge = Judge::begin("kcat");
    let program = match tools::kcat() {
        Ok(program) => program,
        Err(why) => return judge.skipped(&why),
    };
    let broker = Broker::start_eager();
    let kcat = Kcat {
        program,
        endpoint: broker.endpoint().to_owned(),
    };
    let topic = unique("kcat");
    librdkafka::create_topic(
        &librdkafka::admin(&kcat.endpoint),
        &topic,
        3,
        &[("retention.ms", "-1")],
    )
    .expect("topic");

    let listed = kcat.run("-L -J", &[]);
    let listed: serde_json::Value = serde_json::from_str(&listed.stdout).expect("JSON");
    let found = listed["topics"]
        .as_array()
        .expect("topics")
        .iter()
        .find(|t| t["topic"] == topic.as_str());
    assert_eq!(
        found.expect("the topic")["partitions"]
            .as_array()
            .expect("partitions")
            .len(),
        3
    );
    assert_eq!(listed["brokers"][0]["name"], kcat.endpoint.as_str());

    // 500 keyed lines with headers through each codec, to one partition each so that the order is known.
    let dir = tempfile::tempdir().expect("a directory");
    for (partition, codec) in [(0, "none"), (0, "gzip"), (1, "snappy"), (1, "lz4"), (2, "zstd")] {
        let file = dir.path().join(codec);
        let lines: String = (0..500)
            .map(|i| format!("k{}\t{codec} {i} grüße\n", i % 7))
            .collect();
        std::fs::write(&file, lines).expect("a file");
        let write =
            format!("-P -t {topic} -p {partition} -z {codec} -K \\t -H codec={codec} -H n=1 -X acks=all -l");
        kcat.run(&write, &[&file.display().to_string()]);
    }
    for (partition, codecs) in [
        (0, &["none", "gzip"][..]),
        (1, &["snappy", "lz4"]),
        (2, &["zstd"]),
    ] {
        let read = kcat.run(
            &format!("-C -t {topic} -p {partition} -o beginning -e -q"),
            &["-f", "%o %k %h %s\\n"],
        );
        let want: String = codecs
            .iter()
            .flat_map(|codec| (0..500).map(move |i| (codec, i)))
            .enumerate()
            .map(|(o, (codec, i))| format!("{o} k{} codec={codec},n=1 {codec} {i} grüße\n", i % 7))
            .collect();
        assert_eq!(read.stdout, want, "partition {partition}");
    }
    // From the middle, and the tail.
    let read = kcat.run(&format!("-C -t {topic} -p 2 -o 123 -c 1 -q"), &["-f", "%o"]);
    assert_eq!(read.stdout, "123");
    let read = kcat.run(&format!("-C -t {topic} -p 2 -o -1 -e -q"), &["-f", "%o"]);
    assert_eq!(read.stdout, "499");

    timestamps(&kcat, &topic);
    group(&kcat);
    judge.passed("metadata, five codecs, headers, seeks by offset and time, a group with a rebalance");
}

/// Finds each record by the timestamp it was read with.
fn timestamps(kcat: &Kcat, topic: &str) {
    let stamps = kcat.run(
        &format!("-C -t {topic} -p 0 -o beginning -e -q"),
        &["-f", "%o %T\\n"],
    );
    let stamps: Vec<(i64, i64)> = stamps
        .stdout
        .lines()
        .map(|line| line.split_once(' ').expect("two numbers"))
        .map(|(o, t)| (o.parse().expect("an offset"), t.parse().expect("a timestamp")))
        .collect();
    for (_, at) in [stamps[0], stamps[499], stamps[500], stamps[999]] {
        let first = stamps.iter().find(|(_, t)| *t >= at).expect("itself").0;
        let query = kcat.run(&format!("-Q -t {topic}:0:{at}"), &[]);
        query.says(&format!("[0] offset {first}"));
        let read = kcat.run(&format!("-C -t {topic} -p 0 -o s@{at} -c 1 -q"), &["-f", "%o"]);
        assert_eq!(read.stdout, first.to_string(), "first record read from time {at}");
    }
    kcat.run(&format!("-Q -t {topic}:0:-2"), &[]).says("[0] offset 0");
    kcat.run(&format!("-Q -t {topic}:0:-1"), &[])
        .says("[0] offset 1000");
}

/// One member, then a second, then the first again alone: each record once, and the second took its part.
fn group(kcat: &Kcat) {
    let topic = unique("kcat-group");
    librdkafka::create_topic(&librdkafka::admin(&kcat.endpoint), &topic, 6, &[]).expect("topic");
    let mut written = 0;
    let mut write = |count: usize| {
        for p in 0..6 {
            let lines: String = (0..count).map(|i| format!("p{p} {}\n", written + i)).collect();
            let file = tempfile::NamedTempFile::new().expect("a file");
            std::fs::write(file.path(), lines).expect("lines");
            kcat.run(
                &format!("-P -t {topic} -p {p} -l"),
                &[&file.path().display().to_string()],
            );
        }
        written += count;
    };
    let mut seen = Vec::<(i32, i64)>::new();
    write(100);
    let mut a = kcat.member(&topic, "A");
    a.until(&mut seen, 600);
    let mut b = kcat.member(&topic, "B");
    // The group has settled when both hold partitions; librdkafka says so on standard error, kcat prints it.
    a.assigned(3);
    b.assigned(3);
    write(100);
    let mut by_b = Vec::new();
    b.until(&mut by_b, 300);
    seen.append(&mut by_b);
    a.until(&mut seen, 1200);
    b.terminate();
    a.assigned(6);
    write(100);
    a.until(&mut seen, 1800);
    a.terminate();
    seen.sort_unstable();
    let want: Vec<(i32, i64)> = (0..6).flat_map(|p| (0..300).map(move |o| (p, o))).collect();
    assert_eq!(seen, want, "records of the group");
}

struct Kcat {
    program: Program,
    endpoint: String,
}

impl Kcat {
    /// Arguments split at spaces, and more that may hold spaces.
    fn run(&self, args: &str, more: &[&str]) -> programs::Output {
        let mut all = vec!["-b", &self.endpoint, "-m", "30"];
        all.extend(args.split(' '));
        all.extend(more);
        self.program.run(&all, Duration::from_secs(60)).succeeded()
    }

    fn member(&self, topic: &str, name: &'static str) -> KcatMember {
        let args = format!(
            "-b {} -u -G {topic} -f %p:%o\\n -X auto.offset.reset=earliest -X session.timeout.ms=10000 \
             -X heartbeat.interval.ms=300 {topic}",
            self.endpoint
        );
        let args: Vec<&str> = args.split_whitespace().collect();
        let mut command: Command = self.program.command(&args);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("kcat");
        let records = lines(child.stdout.take().expect("piped"));
        let notes = lines(child.stderr.take().expect("piped"));
        KcatMember {
            name,
            child,
            records,
            notes,
        }
    }
}

fn lines(from: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let _ = send.send(line);
        }
    });
    receive
}

struct KcatMember {
    name: &'static str,
    child: Child,
    records: Receiver<String>,
    notes: Receiver<String>,
}

impl KcatMember {
    /// Takes records until `seen` holds `count`.
    fn until(&mut self, seen: &mut Vec<(i32, i64)>, count: usize) {
        while seen.len() < count {
            let line = self
                .records
                .recv_timeout(Duration::from_secs(60))
                .unwrap_or_else(|_| panic!("{}: {} of {count} records within 60 s", self.name, seen.len()));
            let (p, o) = line.split_once(':').expect("partition and offset");
            seen.push((p.parse().expect("a partition"), o.parse().expect("an offset")));
        }
    }

    /// Waits for the note "% Group ... rebalanced (...): assigned: topic [0], topic [1], ...".
    fn assigned(&mut self, partitions: usize) {
        loop {
            let line = self
                .notes
                .recv_timeout(Duration::from_secs(60))
                .unwrap_or_else(|_| panic!("{}: no assignment of {partitions} within 60 s", self.name));
            if line.contains("assigned:") && line.matches('[').count() == partitions {
                return;
            }
        }
    }

    /// SIGTERM: kcat commits and leaves the group.
    fn terminate(mut self) {
        programs::terminate(&self.child);
        self.child.wait().expect("wait");
    }
}

impl Drop for KcatMember {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
