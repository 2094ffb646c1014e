//! A broker as a judge sees it: an endpoint that can be killed and started again on its data.

use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::{programs, say, sys};

/// How long a broker may take from its start until it serves.
const READY_WITHIN: Duration = Duration::from_secs(60);

pub struct Broker {
    endpoint: String,
    home: Home,
}

enum Home {
    /// Started here, with a data directory of its own; killed when dropped.
    Own {
        child: Option<Child>,
        admin: u16,
        port: u16,
        dir: tempfile::TempDir,
        options: Vec<String>,
    },
    /// Named by `TURGO_TEST_ENDPOINT`; killed and started by commands, if the environment gives them.
    External {
        kill: Option<String>,
        start: Option<String>,
    },
}

impl Broker {
    /// A broker that serves, with an empty data directory; or the external one.
    pub fn start() -> Broker {
        Broker::start_with(&[])
    }

    /// A broker whose new groups do not wait 3 s for more members, as in the configuration that Kafka ships.
    pub fn start_eager() -> Broker {
        Broker::start_with(&["--set", "kafka.group.initial.rebalance.delay.ms=0"])
    }

    /// Like [`Broker::start`], with more arguments for `turgo serve`.
    pub fn start_with(options: &[&str]) -> Broker {
        if let Ok(endpoint) = std::env::var("TURGO_TEST_ENDPOINT") {
            let home = Home::External {
                kill: std::env::var("TURGO_TEST_KILL").ok(),
                start: std::env::var("TURGO_TEST_START").ok(),
            };
            return Broker { endpoint, home };
        }
        let dir = tempfile::Builder::new()
            .prefix("broker-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("a directory for the broker");
        let (port, admin) = (free_port(), free_port());
        let options = options.iter().map(|o| o.to_string()).collect();
        let mut broker = Broker {
            endpoint: format!("127.0.0.1:{port}"),
            home: Home::Own {
                child: None,
                admin,
                port,
                dir,
                options,
            },
        };
        broker.spawn();
        broker.wait_ready();
        broker
    }

    /// Names of the segment files in the data directory now; none of an external broker's.
    pub fn segment_files(&self) -> BTreeSet<PathBuf> {
        let mut found = BTreeSet::new();
        let Home::Own { dir, .. } = &self.home else {
            return found;
        };
        let mut dirs = vec![dir.path().join("data/topics")];
        while let Some(dir) = dirs.pop() {
            // What goes away while it is looked at is not there.
            for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
                let path = entry.path();
                match path.extension() {
                    Some(kind) if kind == "seg" => drop(found.insert(path)),
                    Some(_) => {}
                    None => dirs.push(path),
                }
            }
        }
        found
    }

    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Whether this broker can be killed; an external one only if told how.
    pub fn can_be_killed(&self) -> bool {
        match &self.home {
            Home::Own { .. } => true,
            Home::External { kill, start } => kill.is_some() && start.is_some(),
        }
    }

    /// SIGKILL, and nothing of the process left when this returns.
    pub fn kill(&mut self) {
        match &mut self.home {
            Home::Own { child, .. } => {
                let mut child = child.take().expect("a running broker");
                child.kill().expect("kill");
                child.wait().expect("wait");
            }
            Home::External { kill, .. } => shell(kill.as_ref().expect("TURGO_TEST_KILL")),
        }
    }

    /// SIGTERM; returns how long the clean end took.
    pub fn stop(&mut self) -> Duration {
        let began = Instant::now();
        match &mut self.home {
            Home::Own { child, .. } => {
                let mut child = child.take().expect("a running broker");
                sys::terminate(child.id());
                let status = child.wait().expect("wait");
                assert!(
                    status.success(),
                    "the broker ended with {status} after SIGTERM\n{}",
                    self.log_tail()
                );
            }
            Home::External { .. } => panic!("only a broker started here can be stopped"),
        }
        began.elapsed()
    }

    /// Starts it again on its data; returns the time from the start of the process until it serves.
    pub fn restart(&mut self) -> Duration {
        let began = Instant::now();
        match &self.home {
            Home::Own { .. } => self.spawn(),
            Home::External { start, .. } => shell(start.as_ref().expect("TURGO_TEST_START")),
        }
        self.wait_ready();
        began.elapsed()
    }

    fn spawn(&mut self) {
        let log = self.log_path().expect("own broker");
        let Home::Own {
            child,
            admin,
            port,
            dir,
            options,
        } = &mut self.home
        else {
            unreachable!()
        };
        let log = File::options()
            .create(true)
            .append(true)
            .open(log)
            .expect("the broker's log");
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get()).min(2);
        let mut command = Command::new(env!("CARGO_BIN_EXE_turgo"));
        command
            .args(["serve", "--data"])
            .arg(dir.path().join("data"))
            .args([
                "--listen",
                &format!("127.0.0.1:{port}"),
                "--admin",
                &format!("127.0.0.1:{admin}"),
            ])
            .args(["--cores", &cores.to_string()])
            .args(options)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log"))
            .stderr(log);
        *child = Some(sys::spawn_tied(command).expect("turgo serve"));
    }

    fn wait_ready(&mut self) {
        let deadline = Instant::now() + READY_WITHIN;
        while !self.ready() {
            let mut ended = None;
            if let Home::Own {
                child: Some(child), ..
            } = &mut self.home
            {
                ended = child.try_wait().expect("try_wait");
            }
            if let Some(status) = ended {
                panic!(
                    "the broker ended with {status} before it served\n{}",
                    self.log_tail()
                );
            }
            assert!(
                Instant::now() < deadline,
                "the broker does not serve within 60 s\n{}",
                self.log_tail()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Own broker: `/readyz` answers 200. External: it answers ApiVersions on its endpoint.
    fn ready(&self) -> bool {
        match &self.home {
            Home::Own { admin, .. } => http_status(*admin, "/readyz") == Some(200),
            Home::External { .. } => answers_api_versions(&self.endpoint),
        }
    }

    /// The body of `GET path` on the admin address, for judges of what the broker reports about itself.
    pub fn admin_get(&self, path: &str) -> Option<String> {
        let Home::Own { admin, .. } = &self.home else {
            return None;
        };
        http(*admin, path)
    }

    /// Resident memory of the broker's process in bytes.
    pub fn resident_bytes(&self) -> Option<u64> {
        let Home::Own {
            child: Some(child), ..
        } = &self.home
        else {
            return None;
        };
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", child.id())).ok()?;
        statm
            .split(' ')
            .nth(1)?
            .parse::<u64>()
            .ok()
            .map(|pages| pages * 4096)
    }

    fn log_path(&self) -> Option<PathBuf> {
        match &self.home {
            Home::Own { dir, .. } => Some(dir.path().join("broker.log")),
            Home::External { .. } => None,
        }
    }

    /// The end of what the broker said, for the reader of a failure.
    pub fn log_tail(&self) -> String {
        let Some(path) = self.log_path() else {
            return String::new();
        };
        let log = std::fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let from = lines.len().saturating_sub(60);
        format!(
            "--- the broker's log, last {} lines\n{}\n---",
            lines.len() - from,
            lines[from..].join("\n")
        )
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if std::thread::panicking() && self.log_path().is_some() {
            say(&self.log_tail());
        }
        if let Home::Own {
            child: Some(child), ..
        } = &mut self.home
        {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A port nobody listens on. From below the range of outgoing connections, so that no client's own end can take the
/// port while the broker is down.
pub fn free_port() -> u16 {
    static TAKEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);
    let mut taken = TAKEN.lock().expect("no test panics here");
    let taken = taken.get_or_insert_with(HashSet::new);
    let first = std::process::id().wrapping_mul(613) % 11_000;
    for step in 0..11_000 {
        let port = 20_000 + ((first + step * 7) % 11_000) as u16;
        if !taken.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            taken.insert(port);
            return port;
        }
    }
    panic!("no free port between 20000 and 31000");
}

fn http(port: u16, path: &str) -> Option<String> {
    let mut conn =
        TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), Duration::from_secs(1)).ok()?;
    conn.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    conn.write_all(format!("GET {path} HTTP/1.1\r\nHost: judge\r\nConnection: close\r\n\r\n").as_bytes())
        .ok()?;
    let mut answer = Vec::new();
    conn.read_to_end(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer).into_owned())
}

fn http_status(port: u16, path: &str) -> Option<u16> {
    http(port, path)?.split(' ').nth(1)?.parse().ok()
}

/// Sends ApiVersions v0 and waits for the answer's first bytes.
fn answers_api_versions(endpoint: &str) -> bool {
    let ask = || -> std::io::Result<()> {
        let mut conn = TcpStream::connect(endpoint)?;
        conn.set_read_timeout(Some(Duration::from_secs(2)))?;
        // Length, key 18, version 0, correlation id 1, null client id.
        conn.write_all(&[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 255, 255])?;
        conn.read_exact(&mut [0; 10])
    };
    ask().is_ok()
}

fn shell(command: &str) {
    programs::run(Command::new("sh").args(["-c", command]), Duration::from_secs(120)).succeeded();
}
