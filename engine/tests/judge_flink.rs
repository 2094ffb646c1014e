//! Flink's Kafka connector as a judge: a cluster in one JVM copies a topic with the exactly-once sink and fails in the
//! middle of a transaction; what a reader of committed records finds must be each record, once.
//!
//! Run alone with `cargo test -p turgo-engine --test judge_flink`.

mod support;

use support::apps::{App, Reader, Writer, read_to_end};
use support::{Broker, Judge, librdkafka, tools, unique};

const PARTITIONS: i32 = 3;
const STEP: usize = 300;

#[test]
fn exactly_once_sink() {
    let judge = Judge::begin("flink");
    let program = match tools::flink() {
        Ok(program) => program,
        Err(why) => return judge.skipped(&why),
    };
    let broker = Broker::start_eager();
    let endpoint = broker.endpoint();
    let dir = tempfile::tempdir().expect("a directory");
    let (from, to) = (unique("flink-from"), unique("flink-to"));
    for topic in [&from, &to] {
        librdkafka::create_topic(&librdkafka::admin(endpoint), topic, PARTITIONS, &[]).expect("topic");
    }
    let writer = Writer::new(endpoint);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("a clock after 1970")
        .as_millis() as i64;
    let mut wanted = Vec::new();
    let mut write = |values: Vec<String>| {
        for (i, value) in values.iter().enumerate() {
            writer.write(&from, i as i32 % PARTITIONS, "", Some(value), now);
        }
        writer.flush();
        wanted.extend(values.iter().map(|value| format!("copy of {value}")));
        wanted.len()
    };
    let step = |n: usize| (0..STEP).map(|i| format!("record {n} {i}")).collect::<Vec<_>>();

    let args = ["--bootstrap", endpoint, "--from", &from, "--to", &to];
    let mut flink = App::start("flink", &program, &args, dir.path());
    let topics = std::slice::from_ref(&to);
    let mut committed = Reader::new(endpoint, topics, "read_committed");
    let mut uncommitted = Reader::new(endpoint, topics, "read_uncommitted");
    let all = write(step(0));
    committed.until("first step", |records| records.len() >= all);
    uncommitted.until("first step", |records| records.len() >= all);

    // A transaction lasts three seconds. The failure comes as soon as one can be seen at work; should that one end just
    // before, the next is met.
    let mut all = all;
    let (mut shown, mut written) = (Vec::new(), 0);
    for round in 1..=5 {
        uncommitted.until("what was committed", |records| records.len() >= all);
        let before = uncommitted.records.len();
        write(step(2 * round - 1));
        uncommitted.until("a record of the next step", |records| records.len() > before);
        write(vec![format!("poison {round}")]);
        flink.hear(|line| line == "poisoned");
        all = write(step(2 * round));
        committed.until("everything", |records| records.len() >= all);
        shown = read_to_end(endpoint, topics, "read_committed");
        written = read_to_end(endpoint, topics, "read_uncommitted").len();
        if written > shown.len() {
            break;
        }
    }
    let mut found: Vec<&str> = shown.iter().map(|r| r.value()).collect();
    found.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(found, wanted, "each record copied, once");
    assert!(
        written > all,
        "the failure has not met an open transaction: {written} records"
    );
    drop(flink);
    judge.passed(&format!(
        "{all} records copied, each once; {} of a failed transaction never shown",
        written - all
    ));
}
