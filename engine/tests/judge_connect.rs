//! Kafka Connect as a judge: two distributed workers copy a file and a table of a database into topics, and those into
//! another file and table, with exactly-once sources. The worker in the middle of a transaction is killed with SIGKILL.
//!
//! The topics must hold every line and row once, in order; what the sinks wrote must be complete. (Connect promises no
//! more of a sink than that nothing is missing, so lines of the file may come again; rows are written by id.)
//!
//! Run alone with `cargo test -p turgo-engine --test judge_connect`.

mod support;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use futures_lite::future::block_on;
use rdkafka::admin::ResourceSpecifier;
use serde_json::{Value, json};
use support::apps::{App, LIMIT, Reader, read_to_end, until};
use support::broker::free_port;
use support::tools::{self, Program};
use support::{Broker, Judge, librdkafka, programs, unique, wait_for};

#[test]
fn two_workers_one_killed() {
    let judge = Judge::begin("connect");
    let dir = tempfile::tempdir().expect("a directory");
    let program = match tools::connect_worker(&dir.path().join("services")) {
        Ok(program) => program,
        Err(why) => return judge.skipped(&why),
    };
    let broker = Broker::start_eager();
    let cluster = Cluster {
        endpoint: broker.endpoint(),
        prefix: unique("connect"),
        dir: dir.path(),
        program: &program,
    };
    let (lines, rows) = (cluster.name("lines"), cluster.name("rows"));
    librdkafka::create_topic(&librdkafka::admin(cluster.endpoint), &lines, 1, &[]).expect("topic");

    let mut input = Input::begin(dir.path());
    input.more_lines(200);
    input.more_rows(200);
    let mut workers = vec![cluster.start("w1"), cluster.start("w2")];
    for worker in &workers {
        worker.ready();
    }
    cluster.internal_topics_are_compacted();
    cluster.create_connectors(&workers[0], &input, &lines, &rows);
    workers[1].wait_running(&workers);

    let topics = [lines.clone(), rows.clone()];
    let mut committed = Reader::new(cluster.endpoint, &topics[..1], "read_committed");
    committed.until("first lines", |records| records.len() >= input.lines.len());
    input.copied();

    // The source of lines commits every two seconds. Some are to be seen that are not committed: now it is killed.
    let mut uncommitted = Reader::new(cluster.endpoint, &topics[..1], "read_uncommitted");
    uncommitted.until("first lines", |records| records.len() >= input.lines.len());
    let before = uncommitted.records.len();
    input.more_lines(50);
    input.more_rows(50);
    uncommitted.until("lines of an open transaction", |records| records.len() > before);
    let owner = workers[0].worker_of("file-source");
    let victim = workers
        .iter()
        .position(|w| owner.ends_with(&format!(":{}", w.port)))
        .expect("one of both");
    workers[victim].app.kill();
    workers.remove(victim);
    input.more_lines(50);
    input.more_rows(50);
    workers.push(cluster.start("w3"));
    workers[1].ready();
    workers[0].wait_running(&workers);
    input.more_lines(50);
    input.more_rows(50);
    committed.until("all lines", |records| records.len() >= input.lines.len());
    input.copied();

    // What the topics hold, once and in order.
    let shown = read_to_end(cluster.endpoint, &topics[..1], "read_committed");
    let found: Vec<&str> = shown.iter().map(|r| r.value()).collect();
    assert_eq!(found, input.lines, "the topic of lines");
    let written = read_to_end(cluster.endpoint, &topics[..1], "read_uncommitted").len();
    assert!(
        written > shown.len(),
        "the kill has not met an open transaction: {written} records"
    );
    let found: Vec<i64> = read_to_end(cluster.endpoint, &topics[1..], "read_committed")
        .iter()
        .map(|r| serde_json::from_str::<Value>(r.value()).expect("JSON"))
        .map(|row| row["payload"]["id"].as_i64().expect("an id"))
        .collect();
    assert_eq!(
        found,
        (1..=input.rows as i64).collect::<Vec<_>>(),
        "the topic of rows"
    );

    // A worker that is asked to end does so, and the connectors go on at the other.
    let mut leaving = workers.remove(0);
    leaving.app.terminate();
    workers[0].wait_running(&workers);
    input.more_lines(20);
    input.more_rows(20);
    input.copied();
    judge.passed(&format!(
        "{} lines and {} rows copied through topics, each once; {} of a killed transaction never shown",
        input.lines.len(),
        input.rows,
        written - shown.len()
    ));
}

/// What is copied: a file of lines, a database with a table of rows.
struct Input {
    dir: PathBuf,
    lines: Vec<String>,
    rows: usize,
}

impl Input {
    fn begin(dir: &Path) -> Input {
        let input = Input {
            dir: dir.to_owned(),
            lines: Vec::new(),
            rows: 0,
        };
        let columns = "id INTEGER PRIMARY KEY, name TEXT, amount REAL NOT NULL";
        input.sql(
            "from.db",
            &format!("PRAGMA journal_mode=WAL; CREATE TABLE source ({columns})"),
        );
        input.sql(
            "to.db",
            &format!("PRAGMA journal_mode=WAL; CREATE TABLE sink ({columns}, times INTEGER)"),
        );
        input
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// Statements, and the rows of the last one; by Python, whose standard library brings the database.
    fn sql(&self, file: &str, script: &str) -> String {
        const RUN: &str = "import sqlite3, sys\n\
            db = sqlite3.connect(sys.argv[1], timeout=60)\n\
            for statement in sys.argv[2].split(';'):\n    rows = db.execute(statement).fetchall()\n\
            db.commit()\n\
            for row in rows: print('|'.join(str(field) for field in row))";
        let mut command = Command::new("python3");
        command.args(["-c", RUN, &self.path(file), script]);
        programs::run(&mut command, LIMIT).succeeded().stdout
    }

    fn more_lines(&mut self, count: usize) {
        let mut file = fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("from.txt"))
            .expect("the file");
        // Plain letters only: the connector counts characters, and resumes after as many bytes.
        let mut text = String::new();
        for _ in 0..count {
            let line = format!("line {} of the file", self.lines.len());
            text += &line;
            text.push('\n');
            self.lines.push(line);
        }
        file.write_all(text.as_bytes()).expect("written");
    }

    fn more_rows(&mut self, count: usize) {
        let rows: Vec<String> = (self.rows + 1..=self.rows + count)
            .map(|id| match id % 10 {
                0 => format!("({id}, NULL, {id}.5)"),
                _ => format!("({id}, 'name {id}', {id}.25)"),
            })
            .collect();
        self.sql(
            "from.db",
            &format!("INSERT INTO source VALUES {}", rows.join(", ")),
        );
        self.rows += count;
    }

    /// Waits until file and table have arrived as they are.
    fn copied(&self) {
        let wanted: BTreeSet<&str> = self.lines.iter().map(String::as_str).collect();
        let text = || fs::read_to_string(self.path("to.txt")).unwrap_or_default();
        let why = || {
            let text = text();
            let found: BTreeSet<&str> = text.lines().collect();
            let missing: Vec<_> = wanted.difference(&found).collect();
            let odd: Vec<_> = found.difference(&wanted).collect();
            format!("the sink's file lacks {missing:?} and has {odd:?}")
        };
        wait_for(LIMIT, why, || {
            (text().lines().collect::<BTreeSet<_>>() == wanted).then_some(())
        });
        let columns = "id, name, amount";
        let wanted = self.sql("from.db", &format!("SELECT {columns} FROM source ORDER BY id"));
        until("all rows in the sink's table", || {
            self.sql("to.db", &format!("SELECT {columns} FROM sink ORDER BY id")) == wanted
        });
    }
}

struct Cluster<'a> {
    endpoint: &'a str,
    prefix: String,
    dir: &'a Path,
    program: &'a Program,
}

struct Worker {
    app: App,
    port: u16,
}

const CONNECTORS: [&str; 4] = ["file-source", "file-sink", "jdbc-source", "jdbc-sink"];

impl Cluster<'_> {
    fn name(&self, part: &str) -> String {
        format!("{}-{part}", self.prefix)
    }

    fn start(&self, name: &str) -> Worker {
        let port = free_port();
        let (endpoint, prefix) = (self.endpoint, &self.prefix);
        let config = format!(
            "bootstrap.servers={endpoint}\n\
             group.id={prefix}\n\
             config.storage.topic={prefix}-configs\n\
             offset.storage.topic={prefix}-offsets\n\
             status.storage.topic={prefix}-status\n\
             config.storage.replication.factor=1\n\
             offset.storage.replication.factor=1\n\
             status.storage.replication.factor=1\n\
             key.converter=org.apache.kafka.connect.json.JsonConverter\n\
             value.converter=org.apache.kafka.connect.json.JsonConverter\n\
             exactly.once.source.support=enabled\n\
             consumer.isolation.level=read_committed\n\
             listeners=http://127.0.0.1:{port}\n\
             plugin.discovery=service_load\n\
             # Short, so that a killed worker's tasks are soon at work elsewhere.\n\
             session.timeout.ms=6000\n\
             consumer.session.timeout.ms=6000\n\
             heartbeat.interval.ms=500\n\
             scheduled.rebalance.max.delay.ms=1000\n\
             offset.flush.interval.ms=1000\n"
        );
        let file = self.dir.join(format!("{name}.properties"));
        fs::write(&file, config).expect("the worker's configuration");
        let app = App::start(name, self.program, &[&file.display().to_string()], self.dir);
        Worker { app, port }
    }

    /// The workers made them, and asked for compaction.
    fn internal_topics_are_compacted(&self) {
        let admin = librdkafka::admin(self.endpoint);
        let names = ["configs", "offsets", "status"].map(|part| self.name(part));
        let resources: Vec<_> = names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
        let answers =
            block_on(admin.describe_configs(&resources, &librdkafka::options())).expect("describe_configs");
        for (answer, name) in answers.into_iter().zip(&names) {
            let resource = answer.expect("the topic is there");
            let policy = resource.get("cleanup.policy").expect("a policy");
            assert_eq!(policy.value.as_deref(), Some("compact"), "{name}");
        }
    }

    fn create_connectors(&self, worker: &Worker, input: &Input, lines: &str, rows: &str) {
        let text = "org.apache.kafka.connect.storage.StringConverter";
        let database = |file: &str| format!("jdbc:sqlite:{}?busy_timeout=60000", input.path(file));
        let configs = [
            json!({
                "connector.class": "FileStreamSource",
                "file": input.path("from.txt"),
                "topic": lines,
                "value.converter": text,
                "exactly.once.support": "required",
                "transaction.boundary": "interval",
                "transaction.boundary.interval.ms": "2000",
            }),
            json!({
                "connector.class": "FileStreamSink",
                "file": input.path("to.txt"),
                "topics": lines,
                "value.converter": text,
            }),
            json!({
                "connector.class": "Jdbc$Source",
                "url": database("from.db"),
                "table": "source",
                "topic": rows,
                "exactly.once.support": "required",
                "topic.creation.default.partitions": "1",
                "topic.creation.default.replication.factor": "1",
            }),
            json!({
                "connector.class": "Jdbc$Sink",
                "url": database("to.db"),
                "table": "sink",
                "topics": rows,
            }),
        ];
        for (name, mut config) in CONNECTORS.into_iter().zip(configs) {
            config["tasks.max"] = json!("1");
            let body = json!({"name": name, "config": config}).to_string();
            // A worker refuses while its group is rebalancing, and asks to be asked again.
            until(name, || match worker.rest("POST", "/connectors", &body) {
                Some((201, _)) => true,
                Some((409 | 500, why)) if !why.contains("already exists") => false,
                Some((409, _)) => true,
                None => false,
                Some(other) => panic!("{name}: {other:?}"),
            });
        }
    }
}

impl Worker {
    fn rest(&self, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
        let mut conn = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        conn.set_read_timeout(Some(LIMIT)).ok()?;
        let length = body.len();
        let ask = format!(
            "{method} {path} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        conn.write_all(ask.as_bytes()).ok()?;
        let mut answer = String::new();
        conn.read_to_string(&mut answer).ok()?;
        let status = answer.split(' ').nth(1)?.parse().ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        Some((status, body.to_owned()))
    }

    fn ready(&self) {
        until("answer of the worker", || {
            matches!(self.rest("GET", "/connectors", ""), Some((200, _)))
        });
    }

    /// Connector and tasks of one name, or nothing while they are unknown.
    fn status(&self, name: &str) -> Option<Value> {
        let (status, body) = self.rest("GET", &format!("/connectors/{name}/status"), "")?;
        (status == 200).then(|| serde_json::from_str(&body).expect("JSON"))
    }

    fn worker_of(&self, name: &str) -> String {
        let status = self.status(name).expect("a status");
        status["tasks"][0]["worker_id"]
            .as_str()
            .expect("a worker")
            .to_owned()
    }

    /// Waits until every connector's task runs on one of these workers; one that failed fails the judge.
    fn wait_running(&self, workers: &[Worker]) {
        let last = RefCell::new(Value::Null);
        let all = || {
            CONNECTORS.iter().all(|name| {
                let Some(status) = self.status(name) else {
                    return false;
                };
                last.replace(status.clone());
                let task = &status["tasks"][0];
                assert_ne!(task["state"], "FAILED", "{name}: {status}");
                let at = task["worker_id"].as_str().unwrap_or("");
                let here = workers.iter().any(|w| at.ends_with(&format!(":{}", w.port)));
                task["state"] == "RUNNING" && here
            })
        };
        let why = || format!("not all tasks run: {}", last.borrow());
        wait_for(LIMIT, why, || all().then_some(()));
    }
}
