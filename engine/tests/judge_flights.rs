//! A real dataset as a judge: 336,776 flights through every client and every codec, compared byte for byte before and
//! after `kill -9`.
//!
//! Run alone with `cargo test -p turgo-engine --test judge_flights`.

mod support;

use std::process::Stdio;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use support::flights::{self, COUNT, Digests, Flights};
use support::tools::{self, Program};
use support::{Broker, Judge, librdkafka, say, unique};

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
const PASS_WITHIN: Duration = Duration::from_secs(300);

/// librdkafka writes the flights with each codec; a group of three reads each topic; then the broker is killed,
/// started again, and a new group reads each topic once more.
#[test]
fn every_codec_before_and_after_kill() {
    let judge = Judge::begin("flights-codecs");
    let flights = match flights::get() {
        Ok(flights) => flights,
        Err(why) => return judge.skipped(&why),
    };
    let mut broker = Broker::start_eager();
    let topics = CODECS.map(|codec| (codec, unique(&format!("flights-{codec}"))));
    for (codec, topic) in &topics {
        librdkafka::create_flights_topic(broker.endpoint(), topic);
        librdkafka::write_flights(broker.endpoint(), topic, codec, flights);
        assert_eq!(
            librdkafka::read_flights(broker.endpoint(), topic),
            flights.digests,
            "{codec}"
        );
    }
    if !broker.can_be_killed() {
        return judge
            .passed("five codecs, each by a group of three; this external broker is not to be killed");
    }
    broker.kill();
    let back = broker.restart();
    for (codec, topic) in &topics {
        assert_eq!(
            librdkafka::read_flights(broker.endpoint(), topic),
            flights.digests,
            "{codec} after the kill"
        );
    }
    judge.passed(&format!(
        "five codecs, each by a group of three, before and after kill -9 (served again in {:.0} ms)",
        back.as_secs_f64() * 1000.0
    ));
}

/// One client of the ring: the codec it writes with and how it is started.
struct Client {
    name: &'static str,
    codec: &'static str,
    how: How,
}

enum How {
    Program(Program),
    Kcat(Program),
}

/// Each client writes the flights to a topic of its own and reads them back with a group of three; the next client of
/// the ring reads them too; and after a kill the next but one.
#[test]
fn every_client_before_and_after_kill() {
    let judge = Judge::begin("flights-clients");
    let flights = match flights::get() {
        Ok(flights) => flights,
        Err(why) => return judge.skipped(&why),
    };
    let mut ring = Vec::new();
    for (name, codec, tool) in [
        ("java", "zstd", tools::java()),
        ("franz-go", "snappy", tools::franz_go()),
        ("kafkajs", "gzip", tools::kafkajs()),
        ("confluent-kafka", "lz4", tools::python("confluent")),
        ("aiokafka", "snappy", tools::python("aio")),
        ("kafka-python", "lz4", tools::python("kpython")),
        ("kcat", "zstd", tools::kcat()),
    ] {
        match tool {
            Ok(program) if name == "kcat" => ring.push(Client {
                name,
                codec,
                how: How::Kcat(program),
            }),
            Ok(program) => ring.push(Client {
                name,
                codec,
                how: How::Program(program),
            }),
            Err(why) => Judge::begin(&format!("flights-{name}")).skipped(&why),
        }
    }
    if ring.len() < 3 {
        return judge.skipped("needs at least three of the clients");
    }
    let mut broker = Broker::start_eager();
    let topics: Vec<String> = ring
        .iter()
        .map(|c| unique(&format!("flights-{}", c.name)))
        .collect();
    for (i, client) in ring.iter().enumerate() {
        librdkafka::create_flights_topic(broker.endpoint(), &topics[i]);
        let wrote = client.write(broker.endpoint(), &topics[i], flights);
        let read = client.read(broker.endpoint(), &topics[i], flights, client);
        let next = &ring[(i + 1) % ring.len()];
        let crossed = next.read(broker.endpoint(), &topics[i], flights, client);
        say(&format!(
            "  flights by {} ({}): written in {:.1} s, read by its group of three in {:.1} s, by {} in {:.1} s",
            client.name,
            client.codec,
            wrote.as_secs_f64(),
            read.as_secs_f64(),
            next.name,
            crossed.as_secs_f64()
        ));
    }
    let mut after = String::new();
    if broker.can_be_killed() {
        broker.kill();
        let back = broker.restart();
        for (i, client) in ring.iter().enumerate() {
            ring[(i + 2) % ring.len()].read(broker.endpoint(), &topics[i], flights, client);
        }
        after = format!(
            ", and again after kill -9 (served again in {:.0} ms)",
            back.as_secs_f64() * 1000.0
        );
    }
    judge.passed(&format!(
        "{} clients, each written, read and cross-read{after}",
        ring.len()
    ));
}

impl Client {
    fn write(&self, endpoint: &str, topic: &str, flights: &Flights) -> Duration {
        match &self.how {
            How::Program(program) => {
                let input = flights.path.display().to_string();
                let args = [
                    "write",
                    "--bootstrap",
                    endpoint,
                    "--topic",
                    topic,
                    "--codec",
                    self.codec,
                    "--input",
                    &input,
                ];
                let output = program.run(&args, PASS_WITHIN).succeeded();
                output.says(&format!("wrote {COUNT}"));
                output.took
            }
            How::Kcat(program) => {
                // kcat sets no timestamps of its own, and takes the key from the line.
                let lines: String = flights
                    .iter()
                    .map(|f| format!("{}\t{}\n", f.carrier, f.line))
                    .collect();
                let file = tempfile::NamedTempFile::new().expect("a file");
                std::fs::write(file.path(), lines).expect("lines");
                let path = file.path().display().to_string();
                let args = format!(
                    "-b {endpoint} -P -t {topic} -z {} -K \\t -X acks=all -X enable.idempotence=true -X linger.ms=20 \
                     -X queue.buffering.max.messages=500000 -l {path}",
                    self.codec
                );
                let args: Vec<&str> = args.split_whitespace().collect();
                program.run(&args, PASS_WITHIN).succeeded().took
            }
        }
    }

    /// Reads with a group of three and compares with what `writer` has written.
    fn read(&self, endpoint: &str, topic: &str, flights: &Flights, writer: &Client) -> Duration {
        let began = Instant::now();
        let timestamps = matches!(writer.how, How::Program(_));
        match &self.how {
            How::Program(program) => {
                let group = unique("flights-group");
                let count = COUNT.to_string();
                let args = [
                    "read",
                    "--bootstrap",
                    endpoint,
                    "--topic",
                    topic,
                    "--group",
                    &group,
                    "--expect",
                    &count,
                ];
                let output = program.run(&args, PASS_WITHIN).succeeded();
                flights.check(&output, timestamps);
            }
            How::Kcat(program) => read_by_kcat(program, endpoint, topic, flights, timestamps),
        }
        began.elapsed()
    }
}

/// Three kcat processes in one group. What they print is put in order by partition and offset: a record may come twice,
/// since kcat commits every few seconds, but must then be the same.
fn read_by_kcat(program: &Program, endpoint: &str, topic: &str, flights: &Flights, timestamps: bool) {
    let group = unique("flights-group");
    let args = format!(
        "-b {endpoint} -q -u -G {group} -f %p\\t%o\\t%T\\t%k\\t%s\\n -X auto.offset.reset=earliest \
         -X session.timeout.ms=10000 -X heartbeat.interval.ms=300 {topic}"
    );
    let args: Vec<&str> = args.split_whitespace().collect();
    let (send, lines) = channel();
    let mut members = Vec::new();
    for _ in 0..3 {
        let mut command = program.command(&args);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().expect("kcat");
        let out = child.stdout.take().expect("piped");
        members.push(support::programs::Killed(child));
        let send = send.clone();
        std::thread::spawn(move || {
            use std::io::BufRead;
            for line in std::io::BufReader::new(out).lines().map_while(Result::ok) {
                let _ = send.send(line);
            }
        });
    }
    let mut found: Vec<Vec<Option<String>>> = vec![Vec::new(); flights::PARTITIONS as usize];
    let mut distinct = 0;
    while distinct < COUNT {
        let line = lines
            .recv_timeout(Duration::from_secs(60))
            .unwrap_or_else(|_| panic!("kcat: only {distinct} of {COUNT} flights, then nothing for 60 s"));
        let mut field = line.splitn(3, '\t');
        let mut next = || field.next().expect("partition, offset and the rest");
        let partition: usize = next().parse().expect("a partition");
        let offset: usize = next().parse().expect("an offset");
        let rest = next().to_owned();
        let part = &mut found[partition];
        if part.len() <= offset {
            part.resize(offset + 1, None);
        }
        match &part[offset] {
            Some(before) => assert_eq!(*before, rest, "the same record came twice and differs"),
            None => {
                part[offset] = Some(rest);
                distinct += 1;
            }
        }
    }
    drop(members);
    let mut digests = Digests::default();
    for part in &found {
        for record in part {
            let record = record.as_ref().expect("no record missing");
            let mut field = record.splitn(3, '\t');
            let mut next = || field.next().expect("timestamp, key and value");
            let at = next().parse().expect("a timestamp");
            let (key, value) = (next(), next());
            digests.add(key.as_bytes(), value.as_bytes(), at);
        }
    }
    flights.check_lines(&digests.lines(), timestamps, "kcat");
}
