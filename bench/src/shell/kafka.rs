//! Apache Kafka beside us: fetched from Maven Central, checked, started, stopped, and its own tools.
//!
//! The jars are pinned by SHA-256 (`kafka-jars.txt`) and kept in a cache; nothing else of a Kafka release is needed.
//! What always holds: a broker started here ends with this process's run, whatever happens to the run.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use sha2::{Digest, Sha256};

use crate::client::ClientError;

use super::admin::Admin;
use super::clock;

/// The release that the pinned jars are of.
pub const VERSION: &str = "4.3.1";
const JARS: &str = include_str!("kafka-jars.txt");
const MAVEN: &str = "https://repo1.maven.org/maven2";
/// Starting and stopping take at most this long, ns.
const PATIENCE: u64 = 120_000_000_000;

/// What the release's own start script gives every broker.
const JVM: &[&str] = &[
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-XX:MaxInlineLevel=15",
    "-Djava.awt.headless=true",
];

const LOG: &str = "\
appender.err.type = Console
appender.err.name = err
appender.err.target = SYSTEM_ERR
appender.err.layout.type = PatternLayout
appender.err.layout.pattern = [%d] %p %m (%c)%n
rootLogger.level = WARN
rootLogger.appenderRef.err.ref = err
";

/// The jars, in place and checked.
#[derive(Debug, Clone)]
pub struct Release {
    jars: PathBuf,
    log: PathBuf,
}

fn cache() -> Result<PathBuf, String> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    Ok(base
        .ok_or("neither XDG_CACHE_HOME nor HOME is set: set one, the jars of Kafka go there")?
        .join("turgo")
        .join(format!("kafka-{VERSION}")))
}

fn pins() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    JARS.lines().filter_map(|line| {
        let (sum, path) = line.split_once(' ')?;
        Some((sum, path, path.rsplit('/').next()?))
    })
}

fn sound(path: &Path, sum: &str) -> bool {
    std::fs::read(path).is_ok_and(|bytes| hex(&Sha256::digest(&bytes)) == sum)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut s, b| {
        let _ = write!(s, "{b:02x}");
        s
    })
}

impl Release {
    /// Fetches what is missing or broken. `TURGO_MAVEN` names another repository than Maven Central.
    ///
    /// # Errors
    /// What is missing on this machine, or which jar is not what it should be.
    pub fn fetch() -> Result<Release, String> {
        java(&["-version"]).map_err(|e| {
            format!("{e}; install a Java runtime since 17, for example apt install default-jre-headless")
        })?;
        let jars = cache()?;
        let wrong = |e: std::io::Error| format!("{}: {e}", jars.display());
        std::fs::create_dir_all(&jars).map_err(wrong)?;
        let base = std::env::var("TURGO_MAVEN").unwrap_or_else(|_| MAVEN.to_owned());
        let missing: Vec<_> = pins()
            .filter(|(sum, _, name)| !sound(&jars.join(name), sum))
            .collect();
        if !missing.is_empty() {
            eprintln!(
                "fetching {} jars of Apache Kafka {VERSION} from {base}",
                missing.len()
            );
            let mut list = String::new();
            for (_, path, name) in &missing {
                let part = jars.join(format!("{name}.part"));
                let _ = writeln!(list, "url = \"{base}/{path}\"\noutput = \"{}\"", part.display());
            }
            curl(&list)?;
            for (sum, path, name) in missing {
                let part = jars.join(format!("{name}.part"));
                if !sound(&part, sum) {
                    return Err(format!(
                        "{base}/{path} is not the jar that was pinned (SHA-256 {sum}); it was not used"
                    ));
                }
                std::fs::rename(&part, jars.join(name)).map_err(wrong)?;
            }
        }
        let log = jars.join("log4j2.properties");
        std::fs::write(&log, LOG).map_err(wrong)?;
        Ok(Release { jars, log })
    }

    /// A `java` command that runs a class of the release.
    pub fn command(&self, jvm: &[&str], class: &str) -> Command {
        let mut command = Command::new(java_binary());
        command
            .args(jvm)
            .arg(format!("-Dlog4j2.configurationFile={}", self.log.display()))
            .arg("-cp")
            .arg(format!("{}/*", self.jars.display()))
            .arg(class);
        command
    }
}

fn java_binary() -> PathBuf {
    std::env::var_os("JAVA_HOME").map_or("java".into(), |home| PathBuf::from(home).join("bin/java"))
}

/// What `java` prints with these arguments.
pub fn java(args: &[&str]) -> Result<String, String> {
    let out = Command::new(java_binary())
        .args(args)
        .output()
        .map_err(|e| format!("java: {e}"))?;
    Ok(String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned())
}

fn curl(list: &str) -> Result<(), String> {
    let mut child = Command::new("curl")
        .args([
            "--fail",
            "--location",
            "--silent",
            "--show-error",
            "--retry",
            "3",
            "--parallel",
            "--config",
            "-",
        ])
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|e| format!("curl: {e}; install it, for example apt install curl"))?;
    let written = child
        .stdin
        .take()
        .map_or(Ok(()), |mut stdin| stdin.write_all(list.as_bytes()));
    let status = child.wait().map_err(|e| format!("curl: {e}"))?;
    if written.is_err() || !status.success() {
        return Err(format!(
            "curl ended with {status}; is Maven Central reachable? TURGO_MAVEN names a mirror"
        ));
    }
    Ok(())
}

/// Starts a command on some CPUs: a child inherits the affinity of the thread that starts it.
///
/// # Errors
/// It cannot be started.
pub fn spawn_on(command: &mut Command, cpus: &[usize]) -> std::io::Result<Child> {
    let before = rustix::thread::sched_getaffinity(None).ok();
    if !cpus.is_empty() {
        let mut set = rustix::thread::CpuSet::new();
        cpus.iter().for_each(|cpu| set.set(*cpu));
        rustix::thread::sched_setaffinity(None, &set)?;
    }
    let child = command.spawn();
    if let Some(before) = before {
        let _ = rustix::thread::sched_setaffinity(None, &before);
    }
    child
}

/// A broker of either kind that runs as a child; ended when dropped.
#[derive(Debug)]
pub struct Broker {
    child: Child,
    /// Where it listens.
    pub address: String,
}

impl Broker {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn await_ready(mut self, log: &Path, what: &str) -> Result<Broker, String> {
        let deadline = clock::now() + PATIENCE;
        let bootstrap: [std::sync::Arc<str>; 1] = [self.address.as_str().into()];
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                let text = std::fs::read_to_string(log).unwrap_or_default();
                let tail: Vec<&str> = text.lines().rev().take(8).collect();
                let tail: Vec<&str> = tail.into_iter().rev().collect();
                return Err(format!(
                    "{what} ended with {status} instead of starting:\n{}",
                    tail.join("\n")
                ));
            }
            match Admin::open(&bootstrap) {
                Ok(admin) if admin.view().nodes().next().is_some() => return Ok(self),
                Ok(_) | Err(ClientError::Network { .. }) if clock::now() < deadline => {
                    clock::pause(50_000_000)
                }
                Ok(_) => return Err(format!("{what} knows no broker after two minutes")),
                Err(error) => return Err(format!("{what} did not start: {error}")),
            }
        }
    }

    /// Starts Kafka on fresh storage below `dir`; its controller listens on the next port.
    ///
    /// # Errors
    /// What it said.
    pub fn kafka(
        release: &Release,
        dir: &Path,
        port: u16,
        heap: &str,
        cpus: &[usize],
    ) -> Result<Broker, String> {
        let wrong = |e: std::io::Error| format!("{}: {e}", dir.display());
        std::fs::create_dir_all(dir).map_err(wrong)?;
        let config = dir.join("server.properties");
        let (address, controller) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{}", port + 1));
        let text = format!(
            "process.roles=broker,controller\nnode.id=1\nlisteners=PLAINTEXT://{address},CONTROLLER://{controller}\n\
             advertised.listeners=PLAINTEXT://{address}\ncontroller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
             controller.quorum.bootstrap.servers={controller}\nlog.dirs={}\ngroup.initial.rebalance.delay.ms=0\n\
             offsets.topic.replication.factor=1\ntransaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\nshare.coordinator.state.topic.replication.factor=1\n\
             share.coordinator.state.topic.min.isr=1\n",
            dir.join("data").display()
        );
        std::fs::write(&config, text).map_err(wrong)?;
        let format = release
            .command(&["-Xmx256m"], "kafka.tools.StorageTool")
            .args(["format", "--standalone", "-t", "MkU3OEVBNTcwNTJENDM2Qg", "-c"])
            .arg(&config)
            .output()
            .map_err(wrong)?;
        if !format.status.success() {
            return Err(format!(
                "Kafka's storage tool failed: {}",
                String::from_utf8_lossy(&format.stderr)
            ));
        }
        let log = dir.join("kafka.log");
        let file = std::fs::File::create(&log).map_err(wrong)?;
        let memory = [format!("-Xms{heap}"), format!("-Xmx{heap}")];
        let jvm: Vec<&str> = memory
            .iter()
            .map(String::as_str)
            .chain(JVM.iter().copied())
            .collect();
        let child = spawn_on(
            release
                .command(&jvm, "kafka.Kafka")
                .arg(&config)
                .stdin(Stdio::null())
                .stdout(file.try_clone().map_err(wrong)?)
                .stderr(file),
            cpus,
        )
        .map_err(wrong)?;
        Broker { child, address }.await_ready(&log, "Kafka")
    }

    /// Starts this program as a broker on fresh storage below `dir`; `admin` is where its metrics are served.
    ///
    /// # Errors
    /// What it said.
    pub fn turgo(
        program: &Path,
        dir: &Path,
        port: u16,
        admin: &str,
        cpus: &[usize],
    ) -> Result<Broker, String> {
        let wrong = |e: std::io::Error| format!("{}: {e}", dir.display());
        std::fs::create_dir_all(dir).map_err(wrong)?;
        let address = format!("127.0.0.1:{port}");
        let log = dir.join("turgo.log");
        let file = std::fs::File::create(&log).map_err(wrong)?;
        let child = spawn_on(
            Command::new(program)
                .args(["serve", "--listen", &address, "--admin", admin, "--data"])
                .arg(dir.join("data"))
                .stdin(Stdio::null())
                .stdout(file.try_clone().map_err(wrong)?)
                .stderr(file),
            cpus,
        )
        .map_err(|e| format!("{}: {e}", program.display()))?;
        Broker { child, address }.await_ready(&log, "Turgo")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id() as i32) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let deadline = clock::now() + PATIENCE / 4;
        while matches!(self.child.try_wait(), Ok(None)) {
            if clock::now() > deadline {
                let _ = self.child.kill();
            }
            clock::pause(20_000_000);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pin_names_a_jar_and_its_sum() {
        let all: Vec<_> = pins().collect();
        assert_eq!(all.len(), JARS.lines().count());
        for (sum, path, name) in &all {
            assert!(
                sum.len() == 64 && path.ends_with(".jar") && name.ends_with(".jar"),
                "{path}"
            );
        }
        assert!(
            all.iter()
                .any(|(_, _, name)| *name == format!("kafka_2.13-{VERSION}.jar"))
        );
        assert_eq!(
            hex(&Sha256::digest(b"")),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    #[test]
    fn a_file_that_changed_is_not_sound() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x.jar");
        std::fs::write(&path, b"abc").expect("written");
        let sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert!(sound(&path, sum));
        std::fs::write(&path, b"abd").expect("written");
        assert!(!sound(&path, sum) && !sound(&dir.path().join("y.jar"), sum));
    }

    #[test]
    fn a_broker_that_does_not_start_says_what_it_said() {
        let dir = tempfile::tempdir().expect("a directory");
        let error =
            Broker::turgo(Path::new("/bin/false"), dir.path(), 1, "off", &[]).expect_err("it ends at once");
        assert!(error.contains("instead of starting"), "{error}");
        let error = Broker::turgo(Path::new("/nonexistent/turgo"), dir.path(), 1, "off", &[])
            .expect_err("it is not there");
        assert!(error.contains("/nonexistent/turgo"), "{error}");
    }
}
