//! The `turgo` command as a user meets it: arguments in, text and exit code out.
//!
//! The second half drives a broker. With `TURGO_TEST_ENDPOINT=HOST:PORT` that may be any Kafka.

mod support;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use support::{Broker, unique, wait_for};
use turgo_net::messages::api_versions::{ApiVersion, ApiVersionsResponse};
use turgo_net::messages::metadata::{MetadataResponse, MetadataResponseBroker};
use turgo_net::{ApiKey, Reader, RequestHeader, Writer, encode_response};

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "stdout: {}\nstderr: {}", self.out, self.err);
        self.out
    }

    fn json(self) -> Value {
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    fn fails(self, code: i32, part: &str) {
        assert_eq!(
            self.code,
            Some(code),
            "stdout: {}\nstderr: {}",
            self.out,
            self.err
        );
        assert!(self.err.contains(part), "stderr lacks {part:?}: {}", self.err);
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_turgo"));
    command.args(args);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TURGO_")) {
        command.env_remove(name);
    }
    command
}

fn run_with(args: &[&str], input: &[u8]) -> Ran {
    let mut child = command(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("turgo");
    let mut stdin = child.stdin.take().expect("stdin");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // A command that refuses its arguments does not read its input.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().expect("turgo ends");
    writer.join().expect("input written");
    Ran {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn run(args: &[&str]) -> Ran {
    run_with(args, b"")
}

/// Repeats until `check` gives something; fails after 30 s.
fn until<T>(what: &str, check: impl FnMut() -> Option<T>) -> T {
    wait_for(Duration::from_secs(30), || what.to_owned(), check)
}

#[test]
fn wrong_usage_is_exit_code_2_and_help_is_none() {
    run(&["topic", "create"]).fails(2, "<NAME>");
    run(&["topic", "create", "t", "--partitions", "0"]).fails(2, "--partitions");
    run(&["topic", "list", "--bootstrap", "nowhere"]).fails(2, "the port is missing");
    run(&["consume", "t", "-o", "soon"]).fails(2, "@MILLISECONDS");
    run(&["nonsense"]).fails(2, "nonsense");
    for command in [
        "serve", "topic", "produce", "consume", "group", "config", "cluster",
    ] {
        assert!(
            run(&[command, "--help"]).ok().contains("Usage: turgo"),
            "{command}"
        );
    }
    assert!(run(&["--version"]).ok().starts_with("turgo "));
}

#[test]
fn nobody_listening_is_exit_code_3_with_a_way_out() {
    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port")
        .port();
    let endpoint = format!("127.0.0.1:{port}");
    for args in [
        &["topic", "list", "-b", &endpoint][..],
        &["produce", "t", "-b", &endpoint],
        &["consume", "t", "-b", &endpoint],
    ] {
        run(args).fails(3, "turgo serve");
    }
}

#[test]
fn a_node_file_is_checked_whole_and_the_printed_one_is_good() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let path = dir.path().join("turgo.toml");
    let name = path.to_str().expect("a plain path");
    std::fs::write(&path, "[node]\nidd = 1\n\n[journal]\nring_bytes = \"64 meg\"\n").expect("written");
    for args in [&["config", "check", name][..], &["serve", "--config", name]] {
        let ran = run(args);
        assert_eq!(ran.code, Some(2));
        assert!(
            ran.err
                .contains(&format!("{name}:2:1: unknown key `idd`; did you mean `id`?")),
            "{}",
            ran.err
        );
        assert!(
            ran.err
                .contains(&format!("{name}:5:14: \"64 meg\" is not a size")),
            "{}",
            ran.err
        );
        assert!(ran.err.contains("2 errors"), "{}", ran.err);
    }
    std::fs::write(&path, run(&["config", "print", "--defaults"]).ok()).expect("written");
    run(&["config", "check", name]).ok();
    let printed = run(&["config", "print", "--config", name, "--format", "json"]).json();
    assert!(
        printed
            .as_array()
            .expect("a list")
            .iter()
            .any(|setting| setting["name"] == "network.listen")
    );
    run(&["serve", "--check", "--set", "node.corse=1"]).fails(2, "did you mean `node.cores`?");
}

#[test]
fn serve_refuses_memory_as_disk() {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    if mounts.lines().any(|line| line.starts_with("tmpfs /dev/shm ")) {
        run(&["serve", "--check", "--data", "/dev/shm/turgo-test"]).fails(4, "--data DIR");
    }
}

/// Answers every request of every connection with `answer`, which gets the frame and returns bytes to send,
/// or nothing to hang up. Ends with the process.
fn impostor(answer: impl Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = listener.local_addr().expect("an address").to_string();
    let answer = Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let answer = answer.clone();
            std::thread::spawn(move || {
                while let Some(frame) = read_frame(&mut stream) {
                    match answer(&frame) {
                        Some(bytes) if stream.write_all(&bytes).is_ok() => {}
                        _ => break,
                    }
                }
            });
        }
    });
    endpoint
}

fn read_frame(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut size = [0; 4];
    stream.read_exact(&mut size).ok()?;
    let mut frame = vec![0; u32::from_be_bytes(size) as usize];
    stream.read_exact(&mut frame).ok()?;
    Some(frame)
}

#[test]
fn what_answers_but_is_no_kafka_is_named_so() {
    let web = impostor(|_| Some(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()));
    run(&["topic", "list", "-b", &web]).fails(1, "does not speak Kafka's protocol");
    let closing = impostor(|_| None);
    run(&["topic", "list", "-b", &closing, "--timeout", "2s"]).fails(3, "ended before the answer");
    let truncated = impostor(|_| Some(vec![0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0x7f, 0xff, 0xff]));
    run(&["topic", "list", "-b", &truncated, "--timeout", "2s"]).fails(1, "ApiVersions answer");
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = silent.local_addr().expect("an address").to_string();
    run(&["topic", "list", "-b", &endpoint, "--timeout", "300ms"]).fails(3, "no answer");
}

/// KIP-511: a broker that does not know the newest ApiVersions answers error 35 in version 0.
#[test]
fn an_older_broker_is_asked_again_in_its_version() {
    let port = Arc::new(OnceLock::new());
    let own = port.clone();
    let endpoint = impostor(move |frame| {
        let header = RequestHeader::decode(&mut Reader::new(frame)).ok()?;
        let key = ApiKey::try_from(header.api_key).ok()?;
        match (key, header.api_version) {
            (ApiKey::ApiVersions, version) => {
                let known = [(ApiKey::ApiVersions, 0, 1), (ApiKey::Metadata, 0, 1)];
                let body = ApiVersionsResponse {
                    error_code: if version > 1 { 35 } else { 0 },
                    api_keys: known
                        .iter()
                        .map(|(key, min, max)| ApiVersion {
                            api_key: (*key).into(),
                            min_version: *min,
                            max_version: *max,
                        })
                        .collect(),
                    ..Default::default()
                };
                let answered = if version > 1 { 0 } else { version };
                encode_response(key, answered, header.correlation_id, &body)
                    .ok()
                    .map(Writer::to_vec)
            }
            (ApiKey::Metadata, version @ 0..=1) => {
                let broker = MetadataResponseBroker {
                    node_id: 7,
                    host: "127.0.0.1".into(),
                    port: *own.get()?,
                    ..Default::default()
                };
                let body = MetadataResponse {
                    brokers: vec![broker],
                    controller_id: 7,
                    ..Default::default()
                };
                encode_response(key, version, header.correlation_id, &body)
                    .ok()
                    .map(Writer::to_vec)
            }
            _ => None,
        }
    });
    let number: i32 = endpoint
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok())
        .expect("a port");
    port.set(number).expect("set once");
    let info = run(&["cluster", "info", "-b", &endpoint, "--format", "json"]).json();
    assert_eq!(info["controller"], 7);
    assert_eq!(info["brokers"][0]["port"], number);
    run(&["group", "list", "-b", &endpoint]).fails(1, "does not serve ListGroups");
}

/// One broker for all tests below; it ends with this process.
fn endpoint() -> &'static str {
    static BROKER: OnceLock<Broker> = OnceLock::new();
    BROKER.get_or_init(Broker::start).endpoint()
}

fn turgo(args: &[&str]) -> Ran {
    turgo_with(args, b"")
}

fn turgo_with(args: &[&str], input: &[u8]) -> Ran {
    let mut all = args.to_vec();
    all.extend(["--bootstrap", endpoint()]);
    run_with(&all, input)
}

fn topic(stem: &str, partitions: u32) -> String {
    let name = unique(stem);
    turgo(&["topic", "create", &name, "--partitions", &partitions.to_string()]).ok();
    name
}

fn lines(range: std::ops::Range<u32>) -> Vec<u8> {
    range
        .map(|n| format!("key{n}:value {n}\n"))
        .collect::<String>()
        .into_bytes()
}

#[test]
fn topics_live_and_die() {
    let name = unique("life");
    let create = [
        "topic",
        "create",
        &name,
        "--partitions",
        "3",
        "--set",
        "retention.ms=7 days",
        "--set",
        "max.message.bytes=65536",
    ];
    let made = turgo(&[&create[..], &["--format", "json"]].concat()).json();
    assert_eq!(
        (&made[0]["topic"], &made[0]["created"]),
        (&name.as_str().into(), &true.into())
    );
    turgo(&create).fails(1, "TOPIC_ALREADY_EXISTS");
    turgo(&[&create[..], &["--if-not-exists"]].concat()).ok();
    turgo(&["topic", "create", "not/a/name"]).fails(1, "INVALID_TOPIC_EXCEPTION");
    turgo(&["topic", "create", &unique("x"), "--set", "retention.mss=1"]).fails(1, "INVALID_CONFIG");
    let dry = unique("dry");
    turgo(&["topic", "create", &dry, "--partitions", "1", "--dry-run"]).ok();
    let listed = turgo(&["topic", "list", &name, "--format", "json"]).json();
    assert_eq!(listed[0]["partitions"], 3);
    assert!(!turgo(&["topic", "list"]).ok().contains(&dry));
    let told = turgo(&["topic", "describe", &name, "--format", "json"]).json();
    assert_eq!(told[0]["settings"]["retention.ms"], "604800000");
    assert_eq!(told[0]["settings"]["max.message.bytes"], "65536");
    assert_eq!(told[0]["partitions"][2]["end_offset"], 0);
    turgo(&[
        "topic",
        "alter",
        &name,
        "--set",
        "retention.ms=1 h",
        "--unset",
        "max.message.bytes",
    ])
    .ok();
    let told = turgo(&["topic", "describe", &name, "--format", "json"]).json();
    assert_eq!(
        told[0]["settings"],
        serde_json::json!({ "retention.ms": "3600000" })
    );
    turgo(&["topic", "add-partitions", &name, "--to", "2"]).fails(1, "INVALID_PARTITIONS");
    turgo(&["topic", "add-partitions", &name, "--to", "5"]).ok();
    until("five partitions", || {
        let told = turgo(&["topic", "describe", &name, "--format", "json"]).json();
        (told[0]["partitions"].as_array().map(Vec::len) == Some(5)).then_some(())
    });
    turgo(&["topic", "delete", &name]).ok();
    until("the topic gone", || {
        turgo(&["topic", "list"])
            .ok()
            .lines()
            .all(|line| !line.starts_with(&name))
            .then_some(())
    });
    turgo(&["topic", "delete", &name]).fails(1, "UNKNOWN_TOPIC_OR_PARTITION");
    turgo(&["topic", "delete", &name, "--if-exists"]).ok();
    turgo(&["topic", "describe", &name]).fails(1, "does not exist");
}

#[test]
fn what_is_produced_is_consumed_with_every_codec() {
    let name = topic("codec", 3);
    let input = lines(0..2_000);
    let mut expected = BTreeSet::new();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let header = format!("codec={codec}");
        let summary = turgo_with(
            &[
                "produce", &name, "-K", ":", "-z", codec, "-H", &header, "--format", "json",
            ],
            &input,
        )
        .json();
        assert_eq!(summary["records"], 2_000);
        expected.extend((0..2_000).map(|n| format!("key{n}|value {n}|codec={codec}")));
    }
    let out = turgo(&["consume", &name, "-o", "beginning", "-e", "-f", "%k|%s|%h\\n"]).ok();
    assert_eq!(out.lines().count(), 10_000);
    assert_eq!(out.lines().map(str::to_string).collect::<BTreeSet<_>>(), expected);
    // A key stays in its partition, the one that the Java client chooses.
    let placed = turgo(&["consume", &name, "-o", "beginning", "-e", "-f", "%k %p\\n"]).ok();
    let placed: BTreeSet<&str> = placed.lines().collect();
    assert_eq!(placed.len(), 2_000);
    for number in [0, 1, 2, 3, 1_999] {
        let key = format!("key{number}");
        let index = turgo_engine::cli::client::partitioner::partition_of(key.as_bytes(), 3);
        assert!(
            placed.contains(format!("{key} {index}").as_str()),
            "{key} {index}"
        );
    }
}

#[test]
fn json_carries_records_unchanged() {
    let (from, to) = (topic("json-from", 2), topic("json-to", 2));
    let input = "{\"key\":\"k\",\"value\":\"ö\",\"headers\":[{\"name\":\"a\",\"value\":\"1\"},{\"name\":\"a\",\"value\":null}],\"partition\":1,\"timestamp\":1700000000000}\n\
                 {\"key_base64\":\"AP8=\",\"value\":null,\"partition\":0,\"timestamp\":1700000000001}\n";
    turgo_with(&["produce", &from, "--input", "json"], input.as_bytes()).ok();
    let first = turgo(&["consume", &from, "-o", "beginning", "-e", "--format", "json"]).ok();
    turgo_with(&["produce", &to, "--input", "json"], first.as_bytes()).ok();
    let second = turgo(&["consume", &to, "-o", "beginning", "-e", "--format", "json"]).ok();
    let sorted = |text: &str| text.lines().map(str::to_string).collect::<BTreeSet<_>>();
    assert_eq!(sorted(&first).len(), 2);
    assert_eq!(sorted(&first.replace(&from, &to)), sorted(&second));
    assert!(second.contains("\"key_base64\":\"AP8=\"") && second.contains("\"value\":null"));
    turgo_with(&["produce", &to, "--input", "json"], b"{}\nnonsense\n").fails(1, "record 2: not JSON");
    turgo_with(&["produce", &to, "-p", "2"], b"x").fails(2, "no partition 2");
}

#[test]
fn reading_starts_where_it_is_told_to() {
    let name = topic("seek", 1);
    let input: String = (0..100)
        .map(|n| {
            format!(
                "{{\"value\":\"{n}\",\"timestamp\":{}}}\n",
                1_700_000_000_000i64 + n
            )
        })
        .collect();
    turgo_with(
        &["produce", &name, "--input", "json", "--batch-bytes", "500B"],
        input.as_bytes(),
    )
    .ok();
    let read = |args: &[&str]| turgo(&[&["consume", &name, "-e"], args].concat()).ok();
    let count = |args: &[&str]| read(args).lines().count();
    assert_eq!(count(&["-o", "beginning"]), 100);
    assert_eq!(count(&["-o", "end"]), 0);
    assert_eq!(read(&["-o", "97"]), "97\n98\n99\n");
    assert_eq!(read(&["-o", "-2"]), "98\n99\n");
    assert_eq!(read(&["-o", "@1700000000095", "-c", "2"]), "95\n96\n");
    assert_eq!(count(&["-o", "@1800000000000"]), 0);
    assert_eq!(count(&["-o", "1000"]), 0);
    assert_eq!(
        read(&["-o", "5", "-c", "1", "-f", "%T %o\\n"]),
        "1700000000005 5\n"
    );
    let trimmed = turgo(&[
        "topic",
        "trim",
        &name,
        "--before",
        "40",
        "--dry-run",
        "--format",
        "json",
    ])
    .json();
    assert_eq!(trimmed[0]["new_start_offset"], 40);
    assert_eq!(count(&["-o", "beginning"]), 100);
    turgo(&["topic", "trim", &name, "--before", "@1700000000040"]).ok();
    assert_eq!(count(&["-o", "beginning"]), 60);
    assert_eq!(count(&["-o", "3"]), 60);
    turgo(&["topic", "trim", &name, "--before", "1000"]).fails(1, "OFFSET_OUT_OF_RANGE");
    turgo(&["topic", "trim", &name, "--before", "end"]).ok();
    assert_eq!(count(&["-o", "beginning"]), 0);
    turgo(&["consume", &unique("absent"), "-e"]).fails(1, "does not exist");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let name = topic("pipe", 1);
    turgo_with(&["produce", &name], &lines(0..50_000)).ok();
    let mut child = command(&[
        "consume",
        &name,
        "-o",
        "beginning",
        "-e",
        "--bootstrap",
        endpoint(),
    ])
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()
    .expect("turgo");
    let mut first = String::new();
    let mut stdout = BufReader::new(child.stdout.take().expect("stdout"));
    stdout.read_line(&mut first).expect("a line");
    drop(stdout);
    let output = child.wait_with_output().expect("turgo ends");
    assert_eq!(
        (output.status.code(), first.as_str()),
        (Some(0), "key0:value 0\n")
    );
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn settings_are_set_shown_and_taken_back() {
    let name = topic("settings", 1);
    let get = |key: &str| turgo(&["config", "get", "--topic", &name, key]).ok();
    let default = get("segment.bytes");
    turgo(&[
        "config",
        "set",
        "--topic",
        &name,
        "segment.bytes=64 MiB",
        "--dry-run",
    ])
    .ok();
    assert_eq!(get("segment.bytes"), default);
    turgo(&["config", "set", "--topic", &name, "segment.bytes=64 MiB"]).ok();
    assert_eq!(get("segment.bytes"), "67108864\n");
    let listed = turgo(&["config", "list", "--topic", &name, "--format", "json"]).json();
    let found = listed
        .as_array()
        .expect("a list")
        .iter()
        .find(|setting| setting["name"] == "segment.bytes");
    assert_eq!(found.expect("listed")["source"], "topic");
    assert!(
        turgo(&["config", "list", "--topic", &name, "--all"])
            .ok()
            .contains("cleanup.policy")
    );
    turgo(&["config", "unset", "--topic", &name, "segment.bytes"]).ok();
    assert_eq!(get("segment.bytes"), default);
    turgo(&["config", "get", "--topic", &name, "segment.byte"]).fails(1, "did you mean segment.bytes?");
    turgo(&["config", "set", "--topic", &name, "segment.bytes=many"]).fails(1, "INVALID_CONFIG");
    turgo(&["config", "get", "--cluster", "num.partitions"]).ok();
    let apis = turgo(&["cluster", "apis", "--format", "json"]).json();
    assert!(
        apis[0]["apis"]
            .as_array()
            .expect("a list")
            .iter()
            .any(|api| api["name"] == "Produce")
    );
}

#[test]
fn offsets_of_a_group_are_stored_moved_and_forgotten() {
    let (name, group) = (topic("stored", 2), unique("group"));
    turgo_with(&["produce", &name, "-K", ":"], &lines(0..500)).ok();
    let read = || {
        turgo(&["consume", &name, "-g", &group, "-o", "beginning", "-e"])
            .ok()
            .lines()
            .count()
    };
    assert_eq!((read(), read()), (500, 0));
    let told = turgo(&["group", "describe", &group, "--format", "json"]).json();
    assert_eq!((&told[0]["state"], &told[0]["lag"]), (&"Empty".into(), &0.into()));
    assert!(
        turgo(&["group", "list"])
            .ok()
            .lines()
            .any(|line| line.starts_with(&group))
    );
    turgo(&["group", "seek", &group, "--to", "beginning", "--dry-run"]).ok();
    assert_eq!(read(), 0);
    turgo(&["group", "seek", &group, "--to", "-1"]).ok();
    assert_eq!(read(), 2);
    turgo(&[
        "group",
        "seek",
        &group,
        "--topic",
        &format!("{name}:0"),
        "--to",
        "beginning",
    ])
    .ok();
    let first = turgo(&["consume", &name, "-p", "0", "-o", "beginning", "-e"])
        .ok()
        .lines()
        .count();
    assert_eq!(read(), first);
    turgo(&["group", "delete-offsets", &group, "--topic", &format!("{name}:1")]).ok();
    assert_eq!(read(), 500 - first);
    turgo(&["group", "delete", &group]).ok();
    turgo(&["group", "describe", &group]).fails(1, "does not exist");
    turgo(&["group", "delete", &group]).fails(1, "does not exist");
}

/// A consumer whose lines are gathered as they come.
struct Reading {
    child: Child,
    lines: JoinHandle<Vec<String>>,
}

impl Reading {
    fn start(topic: &str, group: &str) -> Self {
        let args = [
            "consume",
            topic,
            "-g",
            group,
            "-o",
            "beginning",
            "--session-timeout",
            "6s",
            "--bootstrap",
            endpoint(),
        ];
        let mut child = command(&args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("turgo");
        let stdout = BufReader::new(child.stdout.take().expect("stdout"));
        let lines = std::thread::spawn(move || stdout.lines().map_while(Result::ok).collect());
        Reading { child, lines }
    }

    /// Ctrl-C.
    fn interrupt(mut self) -> Vec<String> {
        let kill = Command::new("kill")
            .args(["-INT", &self.child.id().to_string()])
            .status()
            .expect("kill");
        assert!(kill.success());
        assert_eq!(self.child.wait().expect("turgo ends").code(), Some(130));
        self.lines.join().expect("lines")
    }
}

#[test]
fn members_share_a_topic_and_hand_it_over_without_loss_or_repetition() {
    let (name, group) = (topic("share", 4), unique("share"));
    let members = |count: usize, lag: i64| {
        until(&format!("{count} members and lag {lag}"), || {
            let ran = turgo(&["group", "describe", &group, "--format", "json"]);
            let told: Value = serde_json::from_str(&ran.out).ok()?;
            let members = told[0]["members"].as_array()?;
            let owners: BTreeSet<&str> = told[0]["partitions"]
                .as_array()?
                .iter()
                .filter_map(|partition| partition["member"].as_str())
                .collect();
            (members.len() == count && owners.len() == count && told[0]["lag"] == lag).then_some(())
        });
    };
    turgo_with(&["produce", &name, "-K", ":"], &lines(0..400)).ok();
    let first = Reading::start(&name, &group);
    members(1, 0);
    let second = Reading::start(&name, &group);
    members(2, 0);
    turgo(&["group", "seek", &group, "--to", "beginning"]).fails(1, "has 2 members");
    turgo_with(&["produce", &name, "-K", ":"], &lines(400..800)).ok();
    members(2, 0);
    let second = second.interrupt();
    members(1, 0);
    turgo_with(&["produce", &name, "-K", ":"], &lines(800..1200)).ok();
    members(1, 0);
    let first = first.interrupt();
    assert!(!second.is_empty() && first.len() > second.len());
    let mut all: Vec<String> = first.into_iter().chain(second).collect();
    all.sort();
    let mut expected: Vec<String> = (0..1200).map(|n| format!("value {n}")).collect();
    expected.sort();
    assert_eq!(all, expected);
}
