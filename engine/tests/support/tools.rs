//! Fetches the foreign clients by pinned version and says how to start them.
//!
//! Everything lands in `target/judges`, one directory per content of the pins and sources, made by whichever test
//! comes first and shared by all (a file lock keeps the others waiting). A machine that lacks a language's tools gets
//! an `Err` that names the missing piece and the way to get it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::{programs, say};

const FETCH_WITHIN: Duration = Duration::from_secs(600);

/// A client program that can be run, or the reason why this machine cannot.
pub type Tool = Result<Program, String>;

/// How a client program is started: everything before its own arguments.
#[derive(Clone)]
pub struct Program {
    pub command: PathBuf,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
}

impl Program {
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.command);
        command
            .args(&self.args)
            .args(args)
            .envs(self.env.iter().map(|(k, v)| (k, v)));
        command
    }

    pub fn run(&self, args: &[&str], limit: Duration) -> programs::Output {
        programs::run(&mut self.command(args), limit)
    }
}

/// Apache Kafka's Java clients, by way of `clients/java/Judge.java`.
pub fn java() -> Tool {
    java_class("Judge")
}

/// Apache Kafka's command-line tools in one JVM, by way of `clients/java/Tools.java`.
pub fn kafka_tools() -> Tool {
    java_class("Tools")
}

/// Applications on Kafka Streams, by way of `clients/java/Streams.java`.
pub fn streams() -> Tool {
    java_class("Streams")
}

/// A worker of Kafka Connect, with Kafka's connectors for files and those of `clients/java/Jdbc.java`. `services` is a
/// directory for the lists of connectors, by which a worker finds them without reading every jar.
pub fn connect_worker(services: &Path) -> Tool {
    let mut program = java_class("org.apache.kafka.connect.cli.ConnectDistributed")?;
    need("python3", "apt-get install python3")?;
    let lists = services.join("META-INF/services");
    fs::create_dir_all(&lists).expect("a directory");
    for (kind, class) in [
        ("source.SourceConnector", "Jdbc$Source"),
        ("sink.SinkConnector", "Jdbc$Sink"),
    ] {
        fs::write(lists.join(format!("org.apache.kafka.connect.{kind}")), class).expect("a list");
    }
    let at = program
        .args
        .iter()
        .position(|arg| arg == "-cp")
        .expect("a class path")
        + 1;
    program.args[at] = format!("{}:{}", services.display(), program.args[at]);
    Ok(program)
}

/// Spark Structured Streaming, by way of `clients/spark/app.py`.
pub fn spark() -> Tool {
    need("java", "apt-get install default-jdk-headless")?;
    need("mvn", "apt-get install maven")?;
    let sources = clients().join("spark");
    let jars = jars("spark-jars", &sources.join("pom.xml"));
    let venv = venv("spark", &sources.join("requirements.txt"), &[])?;
    let mut jars: Vec<String> = fs::read_dir(&jars)
        .expect("the jars")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|end| end == "jar"))
        .map(|path| path.display().to_string())
        .collect();
    jars.sort();
    let app = sources.join("app.py").display().to_string();
    Ok(Program {
        command: venv.join("bin/python"),
        args: vec!["-B".into(), app, "--jars".into(), jars.join(",")],
        env: vec![("SPARK_LOCAL_IP".into(), "127.0.0.1".into())],
    })
}

/// Apache Flink with its Kafka connector, by way of `clients/flink/Copy.java`.
pub fn flink() -> Tool {
    need("java", "apt-get install default-jdk-headless")?;
    need("javac", "apt-get install default-jdk-headless")?;
    need("mvn", "apt-get install maven")?;
    let sources = clients().join("flink");
    let (pom, copy) = (sources.join("pom.xml"), sources.join("Copy.java"));
    let jars = jars("flink-jars", &pom);
    let classes = made("flink-classes", &[&pom, &copy], |dir| {
        Command::new("javac")
            .args(["-nowarn", "-cp", &format!("{}/*", jars.display()), "-d"])
            .arg(dir)
            .arg(&copy)
            .fetch("javac");
    });
    let mut args: Vec<String> = ["util", "lang", "time"]
        .map(|part| format!("--add-opens=java.base/java.{part}=ALL-UNNAMED"))
        .to_vec();
    args.extend(
        [
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-Xmx512m",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
            "-cp",
            &format!("{}:{}/*", classes.display(), jars.display()),
            "Copy",
        ]
        .map(str::to_owned),
    );
    Ok(Program {
        command: "java".into(),
        args,
        env: Vec::new(),
    })
}

/// The jars that a `pom.xml` names, in one directory.
fn jars(name: &str, pom: &Path) -> PathBuf {
    made(name, &[pom], |dir| {
        let out = format!("-DoutputDirectory={}", dir.display());
        Command::new("mvn")
            .args(["-q", "-B", "-f"])
            .arg(pom)
            .args(["dependency:copy-dependencies", "-DincludeScope=runtime", &out])
            .fetch("Maven");
    })
}

/// Any main class on the class path of Kafka's jars and of the programs in `clients/java`.
pub fn java_class(main: &str) -> Tool {
    need("java", "apt-get install default-jdk-headless")?;
    need("javac", "apt-get install default-jdk-headless")?;
    need("mvn", "apt-get install maven")?;
    let sources = clients().join("java");
    let pom = sources.join("pom.xml");
    let jars = jars("java-jars", &pom);
    let mut programs: Vec<PathBuf> = fs::read_dir(&sources)
        .expect("clients/java")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|end| end == "java"))
        .collect();
    programs.sort();
    let mut inputs = vec![pom.as_path()];
    inputs.extend(programs.iter().map(PathBuf::as_path));
    let classes = made("java-classes", &inputs, |dir| {
        Command::new("javac")
            .args(["-nowarn", "-cp", &format!("{}/*", jars.display()), "-d"])
            .arg(dir)
            .args(&programs)
            .fetch("javac");
    });
    // Short-lived programs: compiling lightly and collecting simply is quickest.
    let mut args: Vec<String> = [
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-Xmx512m",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
    ]
    .map(str::to_owned)
    .to_vec();
    args.extend([
        "-cp".into(),
        format!("{}:{}/*", classes.display(), jars.display()),
        main.into(),
    ]);
    Ok(Program {
        command: "java".into(),
        args,
        env: Vec::new(),
    })
}

/// franz-go, by way of `clients/go/main.go`.
pub fn franz_go() -> Tool {
    const GO: &str = "https://go.dev/dl, 1.21 or newer; it fetches the version that go.mod names by itself";
    need("go", GO)?;
    let version = Command::new("go")
        .args(["env", "GOVERSION"])
        .output()
        .map(|out| out.stdout)
        .unwrap_or_default();
    let version = String::from_utf8_lossy(&version).trim().to_owned();
    let minor = version
        .strip_prefix("go1.")
        .and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
    if minor.is_none_or(|minor| minor < 21) {
        return Err(format!("needs a newer Go than {version:?} ({GO})"));
    }
    let sources = clients().join("go");
    let inputs = ["main.go", "transactions.go", "go.mod", "go.sum"].map(|name| sources.join(name));
    let dir = made("franz-go", &inputs.each_ref().map(PathBuf::as_path), |dir| {
        Command::new("go")
            .args(["build", "-buildvcs=false", "-mod=readonly", "-o"])
            .arg(dir.join("judge"))
            .arg(".")
            .current_dir(&sources)
            .env("GOTOOLCHAIN", "auto")
            .fetch("go");
    });
    Ok(Program {
        command: dir.join("judge"),
        args: Vec::new(),
        env: Vec::new(),
    })
}

/// kafkajs, by way of `clients/node/judge.js`.
pub fn kafkajs() -> Tool {
    need("node", "apt-get install nodejs")?;
    need("npm", "apt-get install npm")?;
    let sources = clients().join("node");
    let inputs = ["package.json", "package-lock.json"].map(|name| sources.join(name));
    let dir = made("kafkajs", &inputs.each_ref().map(PathBuf::as_path), |dir| {
        for input in &inputs {
            fs::copy(input, dir.join(input.file_name().expect("a file name"))).expect("copy");
        }
        Command::new("npm")
            .args(["ci", "--no-audit", "--no-fund"])
            .current_dir(dir)
            .fetch("npm");
    });
    let modules = dir.join("node_modules").display().to_string();
    Ok(Program {
        command: "node".into(),
        args: vec![sources.join("judge.js").display().to_string()],
        env: vec![("NODE_PATH".into(), modules)],
    })
}

/// A Python client, by way of `clients/python/judge.py`: `confluent`, `aio` or `kpython`.
pub fn python(client: &str) -> Tool {
    let sources = clients().join("python");
    let venv = venv("python", &sources.join("requirements.txt"), &[])?;
    let judge = sources.join("judge.py").display().to_string();
    Ok(Program {
        command: venv.join("bin/python"),
        args: vec!["-B".into(), judge, client.into()],
        env: Vec::new(),
    })
}

/// kcat from Debian.
pub fn kcat() -> Tool {
    need("kcat", "apt-get install kcat")?;
    Ok(Program {
        command: "kcat".into(),
        args: Vec::new(),
        env: Vec::new(),
    })
}

/// The file of flights, written from the PyPI package; see `flights.rs`.
pub fn flights_file() -> Result<PathBuf, String> {
    let sources = clients().join("python");
    let (dataset, script) = (sources.join("dataset.txt"), sources.join("flights.py"));
    // Without its dependencies: of this package only the data file is used.
    let venv = venv("dataset", &dataset, &["--no-deps"])?;
    let dir = made("flights", &[&dataset, &script], |dir| {
        Command::new(venv.join("bin/python"))
            .arg("-B")
            .arg(&script)
            .arg(dir.join("flights.tsv"))
            .fetch("python");
    });
    Ok(dir.join("flights.tsv"))
}

fn venv(name: &str, requirements: &Path, options: &[&str]) -> Result<PathBuf, String> {
    need("python3", "apt-get install python3-venv")?;
    let ensurepip = Command::new("python3")
        .args(["-c", "import ensurepip, venv"])
        .output();
    if !ensurepip.is_ok_and(|out| out.status.success()) {
        return Err("needs Python's venv module (apt-get install python3-venv)".into());
    }
    Ok(made(name, &[requirements], |dir| {
        Command::new("python3")
            .args(["-m", "venv"])
            .arg(dir)
            .fetch("python3 -m venv");
        Command::new(dir.join("bin/python"))
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(options)
            .arg("-r")
            .arg(requirements)
            .fetch("pip");
    }))
}

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// `Err` with advice, unless the command is on the path.
fn need(tool: &str, advice: &str) -> Result<(), String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|dir| dir.join(tool).is_file()) {
        return Ok(());
    }
    Err(format!("needs {tool} ({advice})"))
}

/// The directory that `make` fills from these inputs: made once, then found again until an input changes.
fn made(name: &str, inputs: &[&Path], make: impl FnOnce(&Path)) -> PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("target")
        .join("judges");
    fs::create_dir_all(&root).expect("target/judges");
    let mut hash = Sha256::new();
    for input in inputs {
        hash.update(fs::read(input).unwrap_or_else(|error| panic!("{}: {error}", input.display())));
        hash.update([0]);
    }
    let digest = hex(&hash.finalize());
    let dir = root.join(format!("{name}-{}", &digest[..12]));
    let lock = File::create(root.join(format!("{name}.lock"))).expect("lock file");
    lock.lock().expect("lock");
    let complete = dir.join(".complete");
    if !complete.exists() {
        say(&format!("fetching or building {name} into {}", dir.display()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).expect("a directory in target/judges");
        make(&dir);
        fs::write(&complete, "").expect("mark");
    }
    dir
}

trait Fetch {
    fn fetch(&mut self, what: &str);
}

impl Fetch for Command {
    fn fetch(&mut self, what: &str) {
        let output = programs::run(self, FETCH_WITHIN);
        assert!(
            output.status.success(),
            "{what} failed; is the package registry reachable?\n{}",
            output.everything()
        );
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
