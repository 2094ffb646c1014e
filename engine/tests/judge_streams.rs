//! Kafka Streams as a judge: an application of two processes counts, joins and aggregates while its processes are killed
//! with SIGKILL and replaced. Everything it wrote is compared with a model that knows only its input.
//!
//! With `exactly_once_v2` the committed output must be the model's, record by record; with `at_least_once` nothing may
//! be missing. At the end the application's stores are thrown away, restored from the broker, and queried.
//!
//! Run alone with `cargo test -p turgo-engine --test judge_streams`.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use support::apps::{App, LIMIT, Reader, Record, Writer, read_to_end};
use support::tools::{self, Program};
use support::{Broker, Judge, librdkafka, unique};

const PARTITIONS: usize = 3;
const USERS: usize = 30;
const OUTPUTS: [&str; 4] = ["counts", "joined", "merged", "windows"];
/// Size and grace of the windows in `Streams.java`, in milliseconds.
const WINDOW: i64 = 10_000;
const GRACE: i64 = 5_000;

#[test]
fn exactly_once() {
    story("streams-exactly-once", "exactly_once_v2");
}

#[test]
fn at_least_once() {
    story("streams-at-least-once", "at_least_once");
}

fn story(name: &str, guarantee: &'static str) {
    let judge = Judge::begin(name);
    let program = match tools::streams() {
        Ok(program) => program,
        Err(why) => return judge.skipped(&why),
    };
    let broker = Broker::start_eager();
    let dir = tempfile::tempdir().expect("a directory");
    let mut story = Story::begin(&broker, &program, guarantee, dir.path());
    let exactly = guarantee == "exactly_once_v2";

    // Tables first, then two instances, then what is joined with the tables.
    story.write_tables("v1", 0);
    let mut a = story.start("a", "state-a");
    let mut b = story.start("b", "state-b");
    a.hear(|line| line == "state RUNNING");
    b.hear(|line| line == "state RUNNING");
    story.settle();
    story.write_lines(300);
    story.write_clicks(300, "v1");
    story.write_late_clicks("v1");
    story.settle();

    // Killed with its directory kept, as by a crash of the process, and, another one, with the directory lost, as by a
    // crash of its machine: then nobody knows its transactional id, and its transaction has to time out.
    story.kill_in_transaction(&mut a);
    let mut a = story.start("a2", "state-a");
    story.work_until_signed_by("a2");
    if exactly {
        story.kill_in_transaction(&mut b);
        b = story.start("b2", "state-b2");
        story.work_until_signed_by("b2");
    }
    story.settle();

    // The tables change, and only then are they joined with more.
    story.write_tables("v2", USERS / 2);
    story.settle();
    story.write_lines(100);
    story.write_clicks(100, "v2");
    story.write_late_clicks("v2");
    story.close_windows();
    story.settle();

    for app in [&mut a, &mut b] {
        app.tell("stop");
        app.hear(|line| line == "stopped");
        app.ended();
    }
    let (written, shown) = story.compare(exactly);

    // All state is lost with the machine, and comes back from the changelogs.
    for state in ["state-a", "state-b", "state-b2"] {
        let _ = std::fs::remove_dir_all(dir.path().join(state));
    }
    let mut c = story.start("c", "state-c");
    c.hear(|line| line == "state RUNNING");
    let restored = story.restored(&c);
    story.query(&mut c, exactly);
    c.tell("stop");
    c.hear(|line| line == "stopped");
    let output = if exactly {
        format!(
            "{shown} out exactly as the model has them, {} of killed transactions never shown",
            written - shown
        )
    } else {
        format!("{shown} out with nothing of the model missing")
    };
    judge.passed(&format!(
        "{} records in, {output}; {restored} restored, stores queried",
        story.written
    ));
}

struct Story<'a> {
    endpoint: &'a str,
    program: &'a Program,
    guarantee: &'static str,
    prefix: String,
    dir: &'a Path,
    writer: Writer,
    model: Model,
    written: usize,
    /// A topic for each of `OUTPUTS`.
    outputs: Vec<String>,
    committed: Reader,
    uncommitted: Reader,
    /// The time of the newest record written.
    now: i64,
    random: u64,
    clicks: usize,
}

/// What the application has to come to, computed from its input alone.
#[derive(Default)]
struct Model {
    counts: BTreeMap<String, u64>,
    words: usize,
    /// Every click with what it is to be joined with: each once.
    joined: BTreeSet<String>,
    /// All values each user's merged row has had.
    merged: BTreeMap<String, Vec<Option<String>>>,
    windows: BTreeMap<(usize, String, i64), u64>,
    /// The newest click of each partition: what ends windows.
    stream_time: [i64; PARTITIONS],
}

impl Model {
    fn click(&mut self, user: usize, click: String, region: &str, timestamp: i64) {
        let partition = user % PARTITIONS;
        self.joined.insert(format!("{} {click} {region}", key(user)));
        self.stream_time[partition] = self.stream_time[partition].max(timestamp);
        let window = timestamp - timestamp % WINDOW;
        if window + WINDOW > self.stream_time[partition] - GRACE {
            *self.windows.entry((partition, key(user), window)).or_default() += 1;
        }
    }

    /// The windows that are over, grace included, with their counts.
    fn closed(&self) -> BTreeMap<String, u64> {
        self.windows
            .iter()
            .filter(|((partition, _, window), _)| window + WINDOW <= self.stream_time[*partition] - GRACE)
            .map(|((_, user, window), count)| (format!("{user}@{window}"), *count))
            .collect()
    }

    fn merged_updates(&self) -> usize {
        self.merged.values().map(Vec::len).sum()
    }
}

fn key(user: usize) -> String {
    format!("user{user}")
}

impl<'a> Story<'a> {
    fn begin(broker: &'a Broker, program: &'a Program, guarantee: &'static str, dir: &'a Path) -> Story<'a> {
        let endpoint = broker.endpoint();
        let prefix = unique("streams");
        let admin = librdkafka::admin(endpoint);
        for topic in ["lines", "clicks", "counts", "joined", "merged", "windows"] {
            librdkafka::create_topic(&admin, &format!("{prefix}-{topic}"), PARTITIONS as i32, &[])
                .expect("topic");
        }
        for table in ["users", "profiles"] {
            let compact = [("cleanup.policy", "compact")];
            librdkafka::create_topic(&admin, &format!("{prefix}-{table}"), PARTITIONS as i32, &compact)
                .expect("topic");
        }
        let outputs: Vec<String> = OUTPUTS.iter().map(|t| format!("{prefix}-{t}")).collect();
        let began = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("a clock after 1970")
            .as_millis() as i64;
        Story {
            endpoint,
            program,
            guarantee,
            dir,
            writer: Writer::new(endpoint),
            model: Model::default(),
            written: 0,
            committed: Reader::new(endpoint, &outputs, "read_committed"),
            uncommitted: Reader::new(endpoint, &outputs, "read_uncommitted"),
            outputs,
            prefix,
            // An hour ago: recent enough for every topic's retention.
            now: began - 3_600_000,
            random: began as u64,
            clicks: 0,
        }
    }

    fn topic(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    fn start(&self, name: &str, state: &str) -> App {
        let state = self.dir.join(state).display().to_string();
        let args = [
            "words",
            "--bootstrap",
            self.endpoint,
            "--prefix",
            &self.prefix,
            "--guarantee",
            self.guarantee,
            "--state",
            &state,
            "--name",
            name,
        ];
        App::start(name, self.program, &args, self.dir)
    }

    fn random(&mut self, below: usize) -> usize {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) as usize % below
    }

    fn write(&mut self, topic: &str, partition: usize, key: &str, value: Option<&str>, timestamp: i64) {
        self.writer
            .write(&self.topic(topic), partition as i32, key, value, timestamp);
        self.written += 1;
    }

    /// All rows of both tables for `v1`; afterwards new regions for the first users, none any more for the last of them.
    fn write_tables(&mut self, version: &str, first: usize) {
        let all = first == 0;
        for user in 0..if all { USERS } else { first } {
            let region = format!("region{}{version}", user % 4);
            let gone = !all && user + 1 == first;
            self.now += 1;
            if all {
                let name = format!("name{user}");
                self.write("profiles", user % PARTITIONS, &key(user), Some(&name), self.now);
            }
            let value = (!gone).then_some(region.as_str());
            self.write("users", user % PARTITIONS, &key(user), value, self.now);
            let merged = (!gone).then(|| format!("{region} name{user}"));
            self.model.merged.entry(key(user)).or_default().push(merged);
        }
        self.writer.flush();
    }

    fn write_lines(&mut self, count: usize) {
        for i in 0..count {
            let words: Vec<String> = (0..4).map(|_| format!("word{}", self.random(40))).collect();
            self.now += 1;
            self.write("lines", i % PARTITIONS, "", Some(&words.join(" ")), self.now);
            self.model.words += words.len();
            for word in words {
                *self.model.counts.entry(word).or_default() += 1;
            }
        }
        self.writer.flush();
    }

    fn click(&mut self, user: usize, version: &str, timestamp: i64) {
        // In the second round only users whose row has been written again, and is there.
        let region = format!("region{}{version}", user % 4);
        let click = format!("click{}", self.clicks);
        self.clicks += 1;
        self.write("clicks", user % PARTITIONS, &key(user), Some(&click), timestamp);
        self.model.click(user, click, &region, timestamp);
    }

    fn any_user(&mut self, version: &str) -> usize {
        self.random(if version == "v1" { USERS } else { USERS / 2 - 1 })
    }

    fn write_clicks(&mut self, count: usize, version: &str) {
        for _ in 0..count {
            self.now += 150;
            let user = self.any_user(version);
            self.click(user, version, self.now);
        }
        self.writer.flush();
    }

    /// Some that come late but within the grace, and some that come too late for their window.
    fn write_late_clicks(&mut self, version: &str) {
        for i in 0..60 {
            self.now += 150;
            let user = self.any_user(version);
            self.click(user, version, self.now);
            let late = if i % 2 == 0 {
                GRACE - 1_000
            } else {
                WINDOW + GRACE + 5_000
            };
            self.click(user, version, self.now - late);
        }
        self.writer.flush();
    }

    /// One click in each partition, long after all others.
    fn close_windows(&mut self) {
        self.now += WINDOW + GRACE + 60_000;
        for user in 0..PARTITIONS {
            self.click(user, "v2", self.now);
        }
        self.writer.flush();
    }

    /// Waits until everything that the input so far must lead to can be seen.
    fn settle(&mut self) {
        let (counts, merged) = (self.model.words, self.model.merged_updates());
        let (joined, windows) = (self.model.joined.len(), self.model.closed());
        let exactly = self.guarantee == "exactly_once_v2";
        let [counts_topic, joined_topic, merged_topic, windows_topic] = &self.outputs[..] else {
            unreachable!()
        };
        let model = &self.model;
        self.committed.until("output for all of the input", |records| {
            let of = |topic: &String| records.iter().filter(|r| &r.topic == topic).count();
            if exactly {
                of(counts_topic) >= counts
                    && of(joined_topic) >= joined
                    && of(merged_topic) >= merged
                    && of(windows_topic) >= windows.len()
            } else {
                missing(model, records, counts_topic, joined_topic, merged_topic).is_empty()
            }
        });
    }

    /// A batch for every task, small enough to be written often.
    fn write_batch(&mut self) {
        self.write_lines(30);
        self.write_clicks(30, "v1");
    }

    /// Kills an instance whose output stands in a topic but is not yet committed.
    fn kill_in_transaction(&mut self, app: &mut App) {
        let signed =
            |records: &[Record], by: &str| records.iter().filter(|r| r.header("by") == Some(by)).count();
        let deadline = Instant::now() + LIMIT;
        self.uncommitted.poll();
        self.settle();
        loop {
            assert!(Instant::now() < deadline, "{} writes nothing", app.name);
            let before = signed(&self.uncommitted.records, &app.name);
            self.write_batch();
            let soon = Instant::now() + Duration::from_secs(5);
            while Instant::now() < soon {
                self.uncommitted.poll();
                if signed(&self.uncommitted.records, &app.name) > before {
                    app.kill();
                    self.write_batch();
                    return;
                }
            }
        }
    }

    /// Feeds the application until the instance has its part of the work.
    fn work_until_signed_by(&mut self, name: &str) {
        let deadline = Instant::now() + LIMIT;
        let mut seen = 0;
        loop {
            let found = self.committed.records[seen..]
                .iter()
                .any(|r| r.header("by") == Some(name));
            if found {
                return;
            }
            seen = self.committed.records.len();
            assert!(Instant::now() < deadline, "{name} has no part in the work");
            self.write_batch();
            self.settle();
        }
    }

    /// Compares everything that was written with the model; returns how many records were written, and how many shown.
    fn compare(&self, exactly: bool) -> (usize, usize) {
        let shown = read_to_end(self.endpoint, &self.outputs, "read_committed");
        let written = read_to_end(self.endpoint, &self.outputs, "read_uncommitted");
        let of = |name: &str| {
            let topic = self.topic(name);
            shown.iter().filter(move |r| r.topic == topic)
        };
        if !exactly {
            let [counts, joined, merged, _] = &self.outputs[..] else {
                unreachable!()
            };
            let missing = missing(&self.model, &shown, counts, joined, merged);
            assert!(missing.is_empty(), "missing: {missing:?}");
            return (written.len(), shown.len());
        }
        // A word's counts: one, two, three and so on, each once.
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for record in of("counts") {
            let next = counts.entry(record.key()).or_default();
            *next += 1;
            assert_eq!(
                record.value(),
                next.to_string(),
                "the next count of {}",
                record.key()
            );
        }
        let wanted: BTreeMap<&str, u64> = self.model.counts.iter().map(|(w, n)| (w.as_str(), *n)).collect();
        assert_eq!(counts, wanted, "counts");

        let mut joined = BTreeSet::new();
        for record in of("joined") {
            let line = format!("{} {}", record.key(), record.value());
            assert!(joined.insert(line.clone()), "joined twice: {line}");
        }
        assert_eq!(joined, self.model.joined, "joined clicks");

        let mut merged: BTreeMap<String, Vec<Option<String>>> = BTreeMap::new();
        for record in of("merged") {
            merged
                .entry(record.key().to_owned())
                .or_default()
                .push(record.value.clone());
        }
        assert_eq!(merged, self.model.merged, "merged rows");

        let mut windows = BTreeMap::new();
        for record in of("windows") {
            let count: u64 = record.value().parse().expect("a count");
            let before = windows.insert(record.key().to_owned(), count);
            assert_eq!(before, None, "the window {} came twice", record.key());
        }
        assert_eq!(windows, self.model.closed(), "windows");
        assert!(
            written.len() > shown.len(),
            "no kill has met an open transaction: {} records",
            written.len()
        );
        (written.len(), shown.len())
    }

    /// How many records the instance has restored; each store with something in it must have been.
    fn restored(&self, app: &App) -> u64 {
        let mut stores: BTreeMap<&str, u64> = BTreeMap::new();
        for line in app.said() {
            let mut word = line.split(' ');
            if word.next() == Some("restored") {
                let store = word.next().expect("a store");
                *stores.entry(store).or_default() +=
                    word.next().expect("a count").parse::<u64>().expect("a count");
            }
        }
        for store in ["counts", "users", "profiles", "merged", "windows"] {
            assert!(
                stores.get(store).is_some_and(|n| *n > 0),
                "{store} not restored: {stores:?}"
            );
        }
        stores.values().sum()
    }

    /// What the stores answer, compared with the model.
    fn query(&self, app: &mut App, exactly: bool) {
        let from = app.said().len();
        app.tell("dump");
        app.hear(|line| line == "end");
        let of = |store: &str| -> BTreeMap<String, String> {
            let begin = format!("{store} ");
            app.said()[from..]
                .iter()
                .filter_map(|line| line.strip_prefix(&begin))
                .map(|line| line.split_once(' ').expect("key and value"))
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect()
        };
        let merged: BTreeMap<String, String> = self
            .model
            .merged
            .iter()
            .filter_map(|(user, values)| Some((user.clone(), values.last()?.clone()?)))
            .collect();
        assert_eq!(of("merged"), merged, "the store of merged rows");
        let counts = of("counts");
        let windows = of("windows");
        let wanted: BTreeMap<String, u64> = self
            .model
            .windows
            .iter()
            .map(|((_, user, window), count)| (format!("{user}@{window}"), *count))
            .collect();
        for (found, wanted, what) in [
            (&counts, &self.model.counts, "counts"),
            (&windows, &wanted, "windows"),
        ] {
            let found: BTreeMap<&String, u64> = found
                .iter()
                .map(|(key, value)| (key, value.parse().expect("a count")))
                .collect();
            assert!(
                found.keys().copied().eq(wanted.keys()),
                "keys in the store of {what}"
            );
            for (key, count) in wanted {
                let n = found[key];
                // What a killed instance had done and not committed is done again by the next.
                assert!(
                    n == *count || (!exactly && n > *count),
                    "{what} of {key}: {n}, not {count}"
                );
            }
        }
    }
}

/// What at least one record should say and none does.
fn missing(model: &Model, records: &[Record], counts: &str, joined: &str, merged: &str) -> Vec<String> {
    let mut highest: BTreeMap<&str, u64> = BTreeMap::new();
    let mut clicks = BTreeSet::new();
    let mut rows = BTreeSet::new();
    for record in records {
        if record.topic == counts {
            let count: u64 = record.value().parse().expect("a count");
            let highest = highest.entry(record.key()).or_default();
            *highest = count.max(*highest);
        } else if record.topic == joined {
            clicks.insert(format!("{} {}", record.key(), record.value()));
        } else if record.topic == merged {
            rows.insert((record.key().to_owned(), record.value.clone()));
        }
    }
    let few = |(word, count): (&String, &u64)| {
        let found = highest.get(word.as_str()).copied().unwrap_or(0);
        (found < *count).then(|| format!("{word}: {found} of {count}"))
    };
    let mut missing: Vec<String> = model.counts.iter().filter_map(few).collect();
    missing.extend(model.joined.difference(&clicks).cloned());
    for (user, values) in &model.merged {
        for value in values {
            if !rows.contains(&(user.clone(), value.clone())) {
                missing.push(format!("{user}: {value:?}"));
            }
        }
    }
    missing
}
