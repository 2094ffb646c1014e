//! The worked example of `docs/worked-example.md` as a judge: 336,776 flights go into a topic, a Streams job sums the
//! departure delays of each carrier, exactly once, and Spark reads the sums. Both are compared with the plain file.
//!
//! Run alone with `cargo test -p turgo-engine --test judge_delays`.

mod support;

use std::collections::BTreeMap;

use support::apps::{App, Reader};
use support::flights::{self, COUNT, Flights};
use support::{Broker, Judge, librdkafka, tools, unique};

#[test]
fn delays_per_carrier() {
    let judge = Judge::begin("delays");
    let (flights, streams, spark) = match (flights::get(), tools::streams(), tools::spark()) {
        (Ok(flights), Ok(streams), Ok(spark)) => (flights, streams, spark),
        (Err(why), ..) | (_, Err(why), _) | (.., Err(why)) => return judge.skipped(&why),
    };
    let broker = Broker::start_eager();
    let endpoint = broker.endpoint();
    let dir = tempfile::tempdir().expect("a directory");
    let prefix = unique("delays");
    let (from, to) = (format!("{prefix}-flights"), format!("{prefix}-delays"));
    librdkafka::create_flights_topic(endpoint, &from);
    let compact = [("cleanup.policy", "compact")];
    librdkafka::create_topic(&librdkafka::admin(endpoint), &to, 1, &compact).expect("topic");
    librdkafka::write_flights(endpoint, &from, "zstd", flights);
    let wanted = plain(flights);

    let state = dir.path().join("state").display().to_string();
    let args = [
        "delays",
        "--bootstrap",
        endpoint,
        "--prefix",
        &prefix,
        "--guarantee",
        "exactly_once_v2",
        "--state",
        &state,
        "--name",
        "delays",
        "--cache",
        "yes",
    ];
    let mut app = App::start("delays", &streams, &args, dir.path());
    let mut reader = Reader::new(endpoint, std::slice::from_ref(&to), "read_committed");
    reader.until("sums of all flights", |records| {
        let last: BTreeMap<&str, &str> = records.iter().map(|r| (r.key(), r.value())).collect();
        last.len() == wanted.len() && last.iter().all(|(carrier, sums)| wanted[*carrier] == *sums)
    });
    // The same from the job's own store.
    app.tell("dump");
    app.hear(|line| line == "end");
    assert_eq!(said(&app, "delays "), wanted, "the store of the Streams job");
    app.tell("stop");
    app.hear(|line| line == "stopped");
    app.ended();

    let args = ["delays", "--bootstrap", endpoint, "--from", &from, "--to", &to];
    let mut app = App::start("spark", &spark, &args, dir.path());
    app.hear(|line| line == "end");
    app.ended();
    assert_eq!(
        said(&app, "streams "),
        wanted,
        "the sums of Streams as Spark reads them"
    );
    assert_eq!(said(&app, "spark "), wanted, "the sums that Spark computes");
    judge.passed(&format!(
        "{COUNT} flights of {} carriers: the delays by Streams and by Spark are those of the file",
        wanted.len()
    ));
}

/// Lines "BEGIN CARRIER SUMS" that a program said.
fn said(app: &App, begin: &str) -> BTreeMap<String, String> {
    app.said()
        .iter()
        .filter_map(|line| line.strip_prefix(begin)?.split_once(' '))
        .map(|(carrier, sums)| (carrier.to_owned(), sums.to_owned()))
        .collect()
}

/// From the file alone: flights that left, those that left late, and the sum of delays in minutes.
fn plain(flights: &Flights) -> BTreeMap<String, String> {
    let mut sums: BTreeMap<&str, (u64, u64, i64)> = BTreeMap::new();
    for flight in flights.iter() {
        let delay = flight.line.split(',').nth(5).expect("a sixth field");
        if delay == "NA" {
            continue;
        }
        let minutes: i64 = delay.parse().expect("minutes");
        let (departed, late, total) = sums.entry(flight.carrier).or_default();
        *departed += 1;
        *late += u64::from(minutes > 0);
        *total += minutes;
    }
    sums.into_iter()
        .map(|(carrier, (departed, late, total))| (carrier.to_owned(), format!("{departed} {late} {total}")))
        .collect()
}
