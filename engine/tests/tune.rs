//! `turgo tune` as an operator meets it: exit codes, JSON, and what it leaves of a tree of files.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_turgo"));
    command.args(args);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TURGO_")) {
        command.env_remove(name);
    }
    command
}

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

fn run(args: &[&str]) -> Ran {
    let Output {
        status,
        stdout,
        stderr,
    } = command(args).output().expect("turgo");
    Ran {
        code: status.code(),
        out: String::from_utf8_lossy(&stdout).into_owned(),
        err: String::from_utf8_lossy(&stderr).into_owned(),
    }
}

impl Ran {
    #[track_caller]
    fn code(self, code: i32) -> Ran {
        assert_eq!(
            self.code,
            Some(code),
            "stdout: {}\nstderr: {}",
            self.out,
            self.err
        );
        self
    }

    #[track_caller]
    fn says(self, part: &str) -> Ran {
        assert!(
            self.out.contains(part) || self.err.contains(part),
            "lacks {part:?}\nstdout: {}\nstderr: {}",
            self.out,
            self.err
        );
        self
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

/// A small machine: two settings differ, one interrupt of a disk is the kernel's.
struct Machine {
    dir: tempfile::TempDir,
}

impl Machine {
    fn new() -> Machine {
        let machine = Machine {
            dir: tempfile::tempdir().unwrap(),
        };
        for (path, text) in [
            ("proc/sys/kernel/osrelease", "6.12.0\n"),
            ("proc/sys/kernel/random/boot_id", "boot-1\n"),
            ("proc/sys/vm/swappiness", "60\n"),
            ("proc/sys/net/core/somaxconn", "128\n"),
            (
                "proc/self/status",
                "CapEff:\t000001ffffffffff\nCpus_allowed_list:\t0-3\n",
            ),
            (
                "proc/self/limits",
                "Max open files            1048576              1048576              files\n",
            ),
            ("proc/self/mountinfo", "1 0 8:0 / / rw - ext4 /dev/sda rw\n"),
            ("proc/meminfo", "MemTotal: 33554432 kB\n"),
            ("sys/devices/system/cpu/online", "0-3\n"),
            (
                "sys/kernel/mm/transparent_hugepage/enabled",
                "[always] madvise never\n",
            ),
            ("var/lib/keep", ""),
        ] {
            machine.put(path, text);
        }
        machine
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn get(&self, path: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(path)).unwrap()
    }

    fn tune(&self, args: &[&str]) -> Ran {
        let root = self.dir.path().to_str().unwrap();
        let mut all = vec!["tune", "--root", root, "--data", "/data"];
        all.extend(args);
        run(&all)
    }

    fn snapshot(&self) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        fn walk(at: &Path, all: &mut BTreeMap<PathBuf, Option<Vec<u8>>>) {
            for entry in std::fs::read_dir(at).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, all);
                    all.insert(path, None);
                } else {
                    let content = std::fs::read(&path).unwrap();
                    all.insert(path, Some(content));
                }
            }
        }
        let mut all = BTreeMap::new();
        walk(self.dir.path(), &mut all);
        all
    }
}

#[test]
fn check_apply_check_undo() {
    let machine = Machine::new();
    let before = machine.snapshot();
    let checked = machine.tune(&["check", "--json"]).code(1).json();
    assert_eq!(checked["schema"], 1);
    assert_eq!(checked["command"], "check");
    let differing: Vec<&str> = checked["tuners"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|tuner| tuner["state"] == "differs")
        .map(|tuner| tuner["name"].as_str().unwrap())
        .collect();
    assert_eq!(differing, ["swap", "hugepages", "listen-queues"]);
    machine
        .tune(&["apply", "--dry-run"])
        .code(0)
        .says("--- /proc/sys/vm/swappiness\n+++ /proc/sys/vm/swappiness  (swap)\n-60\n+1\n")
        .says("nothing was");
    assert_eq!(machine.snapshot(), before);
    let applied = machine.tune(&["apply", "--persist", "--json"]).code(0).json();
    let changes = applied["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 6, "{applied:#}");
    assert!(changes.iter().all(|change| change["outcome"] == "applied"));
    assert_eq!(
        machine.get("sys/kernel/mm/transparent_hugepage/enabled"),
        "always [madvise] never\n"
    );
    assert!(
        machine
            .get("etc/sysctl.d/60-turgo-swap.conf")
            .contains("vm.swappiness = 1\n")
    );
    machine.tune(&["check"]).code(0);
    machine.tune(&["apply"]).code(0).says("nothing to change");
    machine
        .tune(&["undo", "swap"])
        .code(0)
        .says("/proc/sys/vm/swappiness  1 -> 60");
    machine.tune(&["check", "--category", "memory"]).code(1);
    machine.tune(&["check", "listen-queues"]).code(0);
    machine.put("proc/sys/net/core/somaxconn", "9999\n");
    machine
        .tune(&["undo"])
        .code(1)
        .says("somebody set it to 9999; left alone")
        .says("--force");
    machine.tune(&["undo", "--force"]).code(0);
    machine.tune(&["undo"]).code(0).says("nothing to undo");
    assert_eq!(machine.snapshot(), before);
}

#[test]
fn one_knob_refused_is_told_and_the_others_are_set() {
    let machine = Machine::new();
    // A list without `madvise` in it refuses the word; the check sees that there is nothing to choose.
    machine.put("sys/kernel/mm/transparent_hugepage/enabled", "[always] never\n");
    machine.tune(&["apply"]).code(0);
    machine.tune(&["undo"]).code(0);
    // The ledger's place is a file: nothing may be changed without it.
    machine.put("var/lib/turgo-tune", "in the way");
    let before = machine.snapshot();
    machine.tune(&["apply"]).code(1).says("nothing was changed");
    assert_eq!(machine.snapshot(), before);
}

#[test]
fn wrong_words_are_usage_errors_with_advice() {
    let machine = Machine::new();
    machine
        .tune(&["check", "swop"])
        .code(2)
        .says("there is no tuner \"swop\"; did you mean \"swap\"?");
    machine
        .tune(&["apply", "--category", "disc"])
        .code(2)
        .says("cpu, memory, disk");
    machine.tune(&["explain"]).code(2);
    let before = machine.snapshot();
    machine.tune(&["apply", "--hold"]).code(2).says("--root");
    assert_eq!(machine.snapshot(), before);
    run(&["tune", "check", "--root", "/no/such/root"])
        .code(2)
        .says("--root");
    run(&["tune", "check", "--config", "/no/such/file"])
        .code(2)
        .says("/no/such/file");
    machine
        .tune(&["explain", "write-cache"])
        .code(0)
        .says("never written")
        .says("source");
}

#[test]
fn inside_a_container_nothing_is_changed_but_everything_is_named() {
    let machine = Machine::new();
    machine.put(".dockerenv", "");
    let before = machine.snapshot();
    machine
        .tune(&["apply"])
        .code(1)
        .says("container (docker)")
        .says("turgo tune script");
    machine.tune(&["undo"]).code(1).says("container");
    machine
        .tune(&["apply", "--dry-run"])
        .code(0)
        .says("+++ /proc/sys/vm/swappiness");
    machine.tune(&["check"]).code(1).says("container (docker)");
    assert_eq!(machine.snapshot(), before);
    let script = machine.tune(&["script"]).code(0).out;
    assert!(script.starts_with("#!/bin/sh\n") && script.contains("set_to '1' '/proc/sys/vm/swappiness'"));
    // What is printed is a script that a shell accepts.
    let file = machine.dir.path().join("script.sh");
    std::fs::write(&file, script).unwrap();
    assert!(
        Command::new("sh")
            .arg("-n")
            .arg(&file)
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn this_machine_is_checked_without_an_error() {
    let ran = run(&["tune", "list", "--json"]).code(0).json();
    let names: Vec<&str> = ran["tuners"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tuner| tuner["name"].as_str().unwrap())
        .collect();
    assert!(
        names.contains(&"disk-scheduler") && names.contains(&"limits"),
        "{names:?}"
    );
    assert!(ran["host"]["shards"].as_u64().unwrap() > 0);
}

fn place() -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix("tune-")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .unwrap()
}

#[test]
fn disks_that_cannot_be_measured_honestly_are_refused() {
    run(&["tune", "disk", "/no/such/dir"])
        .code(4)
        .says("make it first");
    let file = tempfile::NamedTempFile::new().unwrap();
    run(&["tune", "disk", file.path().to_str().unwrap()]).code(4);
    let shm = Path::new("/dev/shm");
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    if mounts
        .lines()
        .any(|line| line.split(' ').nth(1) == Some("/dev/shm") && line.contains(" tmpfs "))
    {
        let dir = tempfile::tempdir_in(shm).unwrap();
        run(&["tune", "disk", dir.path().to_str().unwrap()])
            .code(4)
            .says("that is memory");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
    run(&["tune", "disk", "/tmp", "--seconds", "1"]).code(2);
}

struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A broker on `dir`, once it says that it listens; with what it said before.
fn serve(dir: &str, args: &[&str]) -> (Serving, String) {
    let mut child = command(&[
        "serve",
        "--data",
        dir,
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "off",
        "--cores",
        "1",
    ])
    .args(args)
    .args([
        "--set",
        "journal.file_bytes=32 MiB",
        "--set",
        "journal.ring_bytes=128 MiB",
    ])
    .stderr(Stdio::piped())
    .spawn()
    .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let serving = Serving(child);
    let mut said = String::new();
    loop {
        let line = lines
            .next()
            .unwrap_or_else(|| panic!("it ended: {said}"))
            .unwrap();
        if line.starts_with("listening on") {
            // The pipe stays open as long as the broker may write to it.
            std::thread::spawn(move || lines.for_each(drop));
            return (serving, said);
        }
        said.push_str(&line);
        said.push('\n');
    }
}

#[test]
fn the_broker_uses_what_was_measured_unless_told_otherwise_or_the_device_is_another() {
    let dir = place();
    let path = dir.path().to_str().unwrap();
    let ran = run(&["tune", "disk", path, "--seconds", "2", "--json", "--quiet"]).code(0);
    let result = ran.json();
    assert!(result["result"]["floor"]["p50_us"].as_f64().unwrap() > 0.0);
    assert!(result["result"]["measured"].as_array().unwrap().len() > 30);
    // Nothing but the result is left.
    let left: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["disk.toml"]);
    // Numbers that no default has.
    let file = dir.path().join("disk.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let number = |text: &str, key: &str, value: u32| {
        let lines: Vec<String> = text
            .lines()
            .map(|line| match line.split_once(" = ") {
                Some((name, _)) if name == key => format!("{key} = {value}"),
                _ => line.to_string(),
            })
            .collect();
        lines.join("\n") + "\n"
    };
    let text = number(&number(&text, "groups_in_flight", 3), "drain_depth", 7);
    std::fs::write(&file, &text).unwrap();
    {
        let (_serving, said) = serve(path, &["--set", "disk.read_depth=5"]);
        for part in [
            "groups in flight 3 (measured)",
            "chunk writes at once 7 (measured)",
            "catch-up reads at once 5 (configured)",
            "floor of a durable write p50",
        ] {
            assert!(said.contains(part), "lacks {part:?}: {said}");
        }
        // Beside a running broker nothing can be measured.
        run(&["tune", "disk", path]).code(4).says("a broker is running");
    }
    std::fs::write(&file, number(&text, "size_bytes", 4096)).unwrap();
    run(&["serve", "--check", "--data", path])
        .code(0)
        .says("is ignored: it was measured on another device: its size was 4096 bytes")
        .says("groups in flight 2 (default)");
    std::fs::write(&file, "version = 99\n").unwrap();
    run(&["serve", "--check", "--data", path, "--log-format", "json"])
        .code(0)
        .says("its version is 99");
}

/// A restart on a stalled core needs the watchdog, and a stop or a start that is told of needs no guess.
#[test]
fn systemd_is_told_of_the_start_of_life_and_of_the_stop() {
    let dir = place();
    let socket = dir.path().join("notify");
    let listener = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    listener
        .set_read_timeout(Some(std::time::Duration::from_secs(120)))
        .unwrap();
    let data = dir.path().join("data");
    let mut child = command(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "off",
        "--cores",
        "1",
    ])
    .arg("--data")
    .arg(&data)
    .env("NOTIFY_SOCKET", &socket)
    .env("WATCHDOG_USEC", "600000")
    .stderr(Stdio::null())
    .spawn()
    .map(Serving)
    .unwrap();
    let hear = |wanted: &str| {
        let mut buf = [0; 512];
        let mut heard = String::new();
        while !heard.lines().any(|line| line == wanted) {
            let len = listener
                .recv(&mut buf)
                .unwrap_or_else(|error| panic!("{wanted}: {error}"));
            heard = String::from_utf8_lossy(&buf[..len]).into_owned();
        }
    };
    hear("READY=1");
    hear("WATCHDOG=1");
    hear("WATCHDOG=1");
    let pid = child.0.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    hear("STOPPING=1");
    assert!(child.0.wait().unwrap().success());
}
