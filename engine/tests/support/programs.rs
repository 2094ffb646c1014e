//! Foreign programs: run with a deadline, output kept, the whole of it shown when something is wrong.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::sys;

pub struct Output {
    what: String,
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Output {
    /// Fails the judge with everything the program said, unless it ended well.
    pub fn succeeded(self) -> Output {
        assert!(
            self.status.success(),
            "{} ended with {}\n{}",
            self.what,
            self.status,
            self.everything()
        );
        self
    }

    /// Standard output must contain this text.
    pub fn says(&self, text: &str) -> &Output {
        assert!(
            self.stdout.contains(text),
            "{} does not say {text:?}\n{}",
            self.what,
            self.everything()
        );
        self
    }

    pub fn everything(&self) -> String {
        format!(
            "--- standard output\n{}\n--- standard error\n{}\n---",
            tail(&self.stdout),
            tail(&self.stderr)
        )
    }

    /// How many checks a client program passed: its lines "ok ...".
    pub fn checks(&self) -> usize {
        self.stdout.lines().filter(|line| line.starts_with("ok ")).count()
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(80)..].join("\n")
}

/// Runs a program to its end; kills it with all its children when the limit has passed.
pub fn run(command: &mut Command, limit: Duration) -> Output {
    let what = format!("{:?}", command.get_program());
    let what = command
        .get_args()
        .fold(what, |line, arg| line + " " + &arg.to_string_lossy());
    let began = Instant::now();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{what}: {error}"));
    let stdout = collect(child.stdout.take().expect("piped"));
    let stderr = collect(child.stderr.take().expect("piped"));
    let mut in_time = true;
    let status = loop {
        if let Some(status) = child.try_wait().expect("try_wait") {
            break status;
        }
        if began.elapsed() > limit {
            in_time = false;
            sys::kill_group(child.id());
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let took = began.elapsed();
    let join = |t: std::thread::JoinHandle<String>| t.join().expect("reader");
    let output = Output {
        what,
        status,
        stdout: join(stdout),
        stderr: join(stderr),
        took,
    };
    assert!(
        in_time,
        "{} did not end within {limit:?}\n{}",
        output.what,
        output.everything()
    );
    output
}

fn collect(mut from: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Asks a program to end in its own way.
pub fn terminate(child: &std::process::Child) {
    sys::terminate(child.id());
}

/// A child that does not outlive its owner.
pub struct Killed(pub std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
