//! Agreement, byte for byte, with the classes that Apache Kafka's own clients and brokers use, run in a JVM.

use std::fmt::Write as _;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use turgo_net::messages::Kind;

use crate::support::{CASES, Case, Gen, ROUNDS, hex, seed};

const NEEDED: &str = "this test compares with Apache Kafka's own classes and needs a JDK 17 or newer (`javac`, \
                      `java`) and Maven (`mvn`) on the PATH, e.g. `apt install openjdk-17-jdk-headless maven`";

fn available(tool: &str) -> bool {
    let version = if tool == "mvn" { "--version" } else { "-version" };
    let run = Command::new(tool)
        .arg(version)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    run.is_ok_and(|status| status.success())
}

fn run(command: &mut Command) {
    let out = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    assert!(
        out.status.success(),
        "{command:?}\n{}{}",
        text(&out.stdout),
        text(&out.stderr)
    );
}

/// Fetches the jars (once) and compiles the other side; returns the class path.
fn prepare() -> String {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/java");
    let work = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("apache-kafka");
    let (jars, classes) = (work.join("jars"), work.join("classes"));
    let pom = sources.join("pom.xml");
    let stamp = work.join("fetched-for");
    let wanted = std::fs::read_to_string(&pom).expect("pom.xml");
    if std::fs::read_to_string(&stamp).ok().as_ref() != Some(&wanted) {
        std::fs::create_dir_all(&jars).expect("a directory for the jars");
        run(Command::new("mvn")
            .args(["--batch-mode", "--quiet", "--file"])
            .arg(&pom)
            .arg(format!("-DoutputDirectory={}", jars.display()))
            .arg("dependency:copy-dependencies"));
        std::fs::write(&stamp, wanted).expect("stamp");
    }
    std::fs::create_dir_all(&classes).expect("a directory for the classes");
    let path = format!("{}/*", jars.display());
    run(Command::new("javac")
        .arg("-cp")
        .arg(&path)
        .arg("-d")
        .arg(&classes)
        .arg(sources.join("Recode.java")));
    format!("{path}:{}", classes.display())
}

/// The Java class of a message.
fn class(case: &Case) -> String {
    let generated = |part: &str| format!("org.apache.kafka.coordinator.{part}.generated.{}", case.name);
    match case.kind {
        Kind::Request | Kind::Response => format!("org.apache.kafka.common.message.{}Data", case.name),
        Kind::Data => format!("org.apache.kafka.common.message.{}", case.name),
        Kind::Key | Kind::Value if case.name.starts_with("TransactionLog") => generated("transaction"),
        Kind::Key | Kind::Value if case.module.starts_with("share_snapshot") => generated("share"),
        Kind::Key | Kind::Value if case.module.starts_with("share_update") => generated("share"),
        Kind::Key | Kind::Value => generated("group"),
    }
}

#[test]
fn apache_kafka_reads_and_writes_the_same_bytes() {
    if !["java", "javac", "mvn"].iter().all(|tool| available(tool)) {
        assert!(std::env::var_os("CI").is_none(), "{NEEDED}");
        eprintln!("SKIPPED: {NEEDED}");
        return;
    }
    let class_path = prepare();
    // One message per line out, one per line back: random ones, then the default values from their side.
    let mut lines = String::new();
    let mut expected = Vec::new();
    for case in CASES {
        for version in case.versions() {
            for n in 0..ROUNDS {
                let bytes = (case.random)(&mut Gen::new(seed(case, version, n)), version);
                let _ = writeln!(lines, "{} {version} {}", class(case), hex(&bytes));
                expected.push((case, version, format!("seed {n}"), hex(&bytes)));
            }
            if let Ok(bytes) = (case.default)(version) {
                let _ = writeln!(lines, "{} {version} default", class(case));
                expected.push((case, version, "default".into(), hex(&bytes)));
            }
        }
    }
    let mut java = Command::new("java")
        .args(["-XX:+UseSerialGC", "-Xmx512m", "-cp", &class_path, "Recode"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("java");
    let mut stdin = java.stdin.take().expect("piped");
    let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let out = java.wait_with_output().expect("java ends");
    writer
        .join()
        .expect("the writer ends")
        .expect("java reads everything");
    assert!(out.status.success(), "Recode failed");
    let answers = String::from_utf8(out.stdout).expect("hex");
    let answers: Vec<&str> = answers.lines().collect();
    assert_eq!(answers.len(), expected.len());
    let mut wrong = 0;
    for ((case, version, which, want), got) in expected.iter().zip(&answers) {
        if got != want {
            wrong += 1;
            eprintln!(
                "{} v{version} {which}:\n  ours   {want}\n  theirs {got}",
                case.name
            );
        }
        assert!(wrong < 20, "too many differences");
    }
    assert_eq!(wrong, 0, "messages that differ");
    println!("{} messages agree", expected.len());
}
