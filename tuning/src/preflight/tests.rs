use super::*;

/// A machine as its files show it.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Self {
        let tree = Tree(tempfile::tempdir().unwrap());
        tree.put("proc/sys/kernel/osrelease", "6.1.0-13-amd64\n");
        tree.put("proc/sys/kernel/io_uring_disabled", "0\n");
        tree.put("proc/meminfo", "MemTotal:       16384000 kB\nMemFree:  1 kB\n");
        tree.put(
            "proc/self/status",
            "Name:\tturgo\nCapEff:\t0000000000000000\nCpus_allowed_list:\t0-3\n",
        );
        tree.put(
            "proc/self/limits",
            "Limit                     Soft Limit           Hard Limit           Units\n\
             Max open files            524288               524288               files\n\
             Max locked memory         8388608              8388608              bytes\n",
        );
        tree.put(
            "proc/self/mountinfo",
            "21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro\n\
             30 21 0:30 / /tmp rw,nosuid - tmpfs tmpfs rw,size=1g\n\
             31 21 259:1 / /srv/my\\040data rw,noatime - xfs /dev/nvme0n1 rw,attr2\n",
        );
        tree.put("proc/self/cgroup", "0::/system.slice/turgo.service\n");
        tree.put(
            "sys/devices/system/clocksource/clocksource0/current_clocksource",
            "tsc\n",
        );
        tree
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn facts(&self, data: &str) -> Facts {
        facts::read(self.0.path(), Path::new(data))
    }
}

fn good() -> Probes {
    Probes {
        ring: Ok(RingProbe {
            missing: vec![],
            register_buffers: None,
        }),
        disk: Some(Ok(vec![120, 100, 110, 900])),
        space: Some(Space {
            total_bytes: 100 << 30,
            free_bytes: 50 << 30,
        }),
    }
}

fn finding(facts: Facts, probes: Probes, inputs: &Inputs, code: &str) -> Finding {
    let report = report(facts, probes, inputs);
    report
        .findings
        .iter()
        .find(|finding| finding.code == code)
        .unwrap_or_else(|| panic!("{report}"))
        .clone()
}

#[test]
fn a_healthy_machine_is_read_and_has_no_complaints() {
    let tree = Tree::new();
    let facts = tree.facts("/srv/my data/turgo");
    assert_eq!(facts.kernel, Some((6, 1)));
    assert_eq!(facts.cpus, Some(4));
    assert_eq!(facts.memory_bytes, Some(16_384_000 * 1024));
    assert_eq!(facts.memlock, Some(Limit::Value(8 << 20)));
    assert_eq!(facts.open_files, Some(Limit::Value(524_288)));
    let filesystem = facts.filesystem.clone().unwrap();
    assert_eq!(
        (filesystem.kind.as_str(), filesystem.source.as_str()),
        ("xfs", "/dev/nvme0n1")
    );
    let report = report(facts, good(), &Inputs::new("/srv/my data/turgo"));
    assert_eq!(report.complaints().count(), 0, "{report}");
    assert_eq!(
        (report.flush_median_us, report.flush_worst_us),
        (Some(120), Some(900))
    );
    assert_eq!(
        report.to_string(),
        "Linux 6.1.0-13-amd64; 4 of 4 CPUs; 16 GiB of memory; xfs on /srv/my data; \
         a durable 4 KiB write takes 120 us (median of 4, worst 900); 50 GiB (50 %) free for data\n"
    );
}

#[test]
fn an_empty_tree_is_no_error() {
    let empty = tempfile::tempdir().unwrap();
    let facts = facts::read(empty.path(), Path::new("/data"));
    assert_eq!(facts, Facts::default());
    let report = report(facts, good(), &Inputs::new("/data"));
    assert!(!report.is_fatal());
}

#[test]
fn garbage_in_every_file_is_no_panic() {
    let tree = Tree::new();
    for path in [
        "proc/sys/kernel/osrelease",
        "proc/sys/kernel/io_uring_disabled",
        "proc/meminfo",
        "proc/self/status",
        "proc/self/limits",
        "proc/self/mountinfo",
        "proc/self/cgroup",
    ] {
        for text in [
            "",
            "\u{fffd}\n:::\n",
            "CapEff:\tzz\nCpus_allowed_list:\t9-1,x\nMemTotal:",
            "a b c d e f - \n - \n",
            "0::",
            "99999999999999999999.1",
        ] {
            tree.put(path, text);
            tree.facts("/srv/data");
        }
    }
}

#[test]
fn tmpfs_is_refused_with_the_way_out_and_is_not_measured() {
    let tree = Tree::new();
    let found = finding(tree.facts("/tmp/x"), good(), &Inputs::new("/tmp/x"), "filesystem");
    assert_eq!(found.verdict, Verdict::Fatal);
    assert!(found.advice.unwrap().contains("--data DIR"));
}

#[test]
fn each_filesystem_gets_its_verdict() {
    for (kind, verdict) in [
        ("ext4", Verdict::Ok),
        ("xfs", Verdict::Ok),
        ("overlay", Verdict::Warning),
        ("btrfs", Verdict::Warning),
        ("nfs4", Verdict::Warning),
        ("fuse.sshfs", Verdict::Warning),
        ("f2fs", Verdict::Warning),
        ("ramfs", Verdict::Fatal),
    ] {
        let tree = Tree::new();
        tree.put(
            "proc/self/mountinfo",
            &format!("1 0 0:1 / / rw - {kind} dev rw\n"),
        );
        assert_eq!(
            finding(tree.facts("/d"), good(), &Inputs::new("/d"), "filesystem").verdict,
            verdict,
            "{kind}"
        );
    }
}

#[test]
fn a_mount_over_a_mount_counts_and_barriers_off_are_named() {
    let tree = Tree::new();
    tree.put("proc/self/mountinfo", "1 0 0:1 / / rw - xfs a rw\n2 1 0:2 / / rw - ext4 /dev/b rw,nobarrier\n3 1 0:3 / /dat rw - tmpfs c rw\n");
    let facts = tree.facts("/data");
    assert_eq!(facts.filesystem.as_ref().unwrap().source, "/dev/b");
    assert_eq!(
        finding(facts, good(), &Inputs::new("/data"), "barriers").verdict,
        Verdict::Warning
    );
}

#[test]
fn refused_rings_are_explained_by_their_cause() {
    let advice = |errno, disabled: &str| {
        let tree = Tree::new();
        tree.put("proc/sys/kernel/io_uring_disabled", disabled);
        let probes = Probes {
            ring: Err(errno),
            disk: None,
            ..good()
        };
        let found = finding(tree.facts("/d"), probes, &Inputs::new("/d"), "io_uring");
        assert_eq!(found.verdict, Verdict::Fatal);
        format!("{} {}", found.message, found.advice.unwrap())
    };
    assert!(advice(libc::EPERM, "2").contains("sysctl -w kernel.io_uring_disabled=0"));
    assert!(advice(libc::EPERM, "1").contains("kernel.io_uring_group"));
    assert!(advice(libc::EPERM, "0").contains("--security-opt seccomp"));
    assert!(advice(libc::ENOSYS, "0").contains("CONFIG_IO_URING"));
    assert!(advice(libc::ENOMEM, "0").contains("LimitMEMLOCK=infinity"));
    let lacking = Probes {
        ring: Ok(RingProbe {
            missing: vec!["OPENAT"],
            register_buffers: None,
        }),
        ..good()
    };
    let found = finding(Tree::new().facts("/d"), lacking, &Inputs::new("/d"), "io_uring");
    assert!(found.verdict == Verdict::Fatal && found.message.contains("OPENAT"));
}

#[test]
fn kernels_before_what_the_runtime_needs_are_refused() {
    for (release, verdict) in [
        ("4.18.0-553.el8", Verdict::Fatal),
        ("5.4.0", Verdict::Fatal),
        ("5.10.0-28-amd64", Verdict::Warning),
        ("5.15.0", Verdict::Ok),
        ("6.18.4", Verdict::Ok),
        ("10.0", Verdict::Ok),
    ] {
        let tree = Tree::new();
        tree.put("proc/sys/kernel/osrelease", release);
        assert_eq!(
            finding(tree.facts("/d"), good(), &Inputs::new("/d"), "kernel").verdict,
            verdict,
            "{release}"
        );
    }
}

#[test]
fn locked_memory_counts_only_without_the_capability() {
    let with = |limit: &str, capabilities: &str| {
        let tree = Tree::new();
        tree.put(
            "proc/self/limits",
            &format!("Max locked memory         {limit}   {limit}   bytes\n"),
        );
        tree.put(
            "proc/self/status",
            &format!("CapEff:\t{capabilities}\nCpus_allowed_list:\t0-3\n"),
        );
        finding(tree.facts("/d"), good(), &Inputs::new("/d"), "memlock").verdict
    };
    assert_eq!(with("65536", "0000000000000000"), Verdict::Fatal);
    assert_eq!(with("1048576", "0000000000000000"), Verdict::Warning);
    assert_eq!(with("8388608", "0000000000000000"), Verdict::Ok);
    assert_eq!(with("unlimited", "0000000000000000"), Verdict::Ok);
    assert_eq!(with("65536", "000001ffffffffff"), Verdict::Ok);
}

#[test]
fn open_files_follow_the_connections_asked_for() {
    let tree = Tree::new();
    tree.put(
        "proc/self/limits",
        "Max open files            1024                 524288               files\n",
    );
    let inputs = Inputs {
        connections: 10_000,
        ..Inputs::new("/d")
    };
    let found = finding(tree.facts("/d"), good(), &inputs, "open_files");
    assert_eq!(found.verdict, Verdict::Warning);
    assert!(found.message.contains("14096"), "{}", found.message);
    tree.put(
        "proc/self/limits",
        "Max open files            100                 100               files\n",
    );
    assert_eq!(
        finding(tree.facts("/d"), good(), &inputs, "open_files").verdict,
        Verdict::Fatal
    );
}

#[test]
fn control_groups_limit_memory_and_cpus_on_every_level() {
    let tree = Tree::new();
    tree.put("sys/fs/cgroup/system.slice/turgo.service/memory.max", "max\n");
    tree.put("sys/fs/cgroup/system.slice/memory.max", "1073741824\n");
    tree.put(
        "sys/fs/cgroup/system.slice/turgo.service/cpu.max",
        "150000 100000\n",
    );
    tree.put("sys/fs/cgroup/system.slice/cpu.max", "max 100000\n");
    let facts = tree.facts("/d");
    assert_eq!(facts.memory_bytes, Some(1 << 30));
    assert_eq!(facts.cpu_quota, Some(1.5));
    let inputs = Inputs::new("/d");
    assert_eq!(
        finding(facts.clone(), good(), &inputs, "memory").verdict,
        Verdict::Warning
    );
    let found = finding(facts, good(), &inputs, "cpus");
    assert_eq!(found.verdict, Verdict::Warning);
    assert!(
        found.message.contains("4 shards, but a quota of 1.5 CPUs"),
        "{}",
        found.message
    );
}

#[test]
fn old_control_groups_are_read_too() {
    let tree = Tree::new();
    tree.put(
        "proc/self/cgroup",
        "4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n0::/\n",
    );
    // Inside the container the group is the root of the mount.
    tree.put("sys/fs/cgroup/memory/memory.limit_in_bytes", "134217728\n");
    tree.put("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
    tree.put("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    let facts = tree.facts("/d");
    assert_eq!((facts.memory_bytes, facts.cpu_quota), (Some(128 << 20), None));
    assert_eq!(
        finding(facts, good(), &Inputs::new("/d"), "memory").verdict,
        Verdict::Fatal
    );
}

#[test]
fn little_space_stops_a_first_start_but_never_a_later_one() {
    let facts = Tree::new().facts("/d");
    let tiny = || Probes {
        space: Some(Space {
            total_bytes: 1 << 30,
            free_bytes: 1 << 20,
        }),
        ..good()
    };
    let fresh = Inputs::new("/d");
    assert_eq!(
        finding(facts.clone(), tiny(), &fresh, "space").verdict,
        Verdict::Fatal
    );
    let used = Inputs {
        fresh: false,
        ..fresh.clone()
    };
    let found = finding(facts.clone(), tiny(), &used, "space");
    assert_eq!(found.verdict, Verdict::Warning);
    assert!(
        found.message.ends_with("producing stops at 5 %"),
        "{}",
        found.message
    );
    let journal = Inputs {
        journal_bytes_per_shard: 15 << 30,
        ..fresh
    };
    assert_eq!(
        finding(facts, good(), &journal, "space").verdict,
        Verdict::Warning
    );
}

#[test]
fn disk_faults_are_fatal_and_say_who_must_do_what() {
    let facts = Tree::new().facts("/d");
    for (fault, code, part) in [
        (DiskFault::Create(libc::EACCES), "data_dir", "chown"),
        (DiskFault::Create(libc::EROFS), "data_dir", "read-only"),
        (DiskFault::Direct(libc::EINVAL), "direct_io", "ext4 or XFS"),
        (DiskFault::Prepare(libc::ENOSPC), "data_dir", "Free some space"),
        (DiskFault::Write(libc::EINVAL), "direct_io", "512"),
        (DiskFault::Write(libc::EIO), "direct_io", "kernel's log"),
        (DiskFault::Differs, "direct_io", "Do not use"),
    ] {
        let probes = Probes {
            disk: Some(Err(fault)),
            ..good()
        };
        let found = finding(facts.clone(), probes, &Inputs::new("/d"), code);
        assert_eq!(found.verdict, Verdict::Fatal);
        assert!(found.advice.as_deref().unwrap().contains(part), "{found}");
    }
    let slow = Probes {
        disk: Some(Ok(vec![9_000, 8_000, 7_000])),
        ..good()
    };
    assert_eq!(
        finding(facts, slow, &Inputs::new("/d"), "flush").verdict,
        Verdict::Warning
    );
}

#[test]
fn this_machine_is_looked_at_without_a_trace() {
    let place = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let report = check(&Inputs::new(place.path().join("not/there/yet")));
    assert!(
        report.facts.kernel.is_some() && report.facts.filesystem.is_some() && report.free_bytes.is_some()
    );
    // Where rings and direct IO exist, the flush was measured.
    if !report.is_fatal() {
        assert!(report.flush_median_us.is_some_and(|median| median > 0));
    }
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["findings"][0]["code"], "kernel");
}
