mod faults;
mod trees;

use std::path::Path;

use super::act::{self, Outcome, UndoHow};
use super::*;
use crate::files::Below;
use faults::Faulty;
use trees::Tree;

fn look(tree: &Tree, files: &dyn crate::files::Files) -> Report {
    check(
        &Host::read(files, &tree.scope),
        &Selection::default().tuners().unwrap(),
    )
}

fn checked(tree: &Tree) -> Report {
    look(tree, &Below::new(tree.root()).unwrap())
}

fn found<'a>(report: &'a Report, name: &str) -> &'a Found {
    report
        .tuners
        .iter()
        .find(|found| found.name == name)
        .unwrap_or_else(|| panic!("no tuner {name}"))
}

fn item<'a>(report: &'a Report, name: &str, part: &str) -> &'a Item {
    let items = &found(report, name).items;
    items
        .iter()
        .find(|item| item.knob.contains(part))
        .unwrap_or_else(|| panic!("{name} has no {part}: {items:#?}"))
}

fn apply(tree: &Tree, persist: bool) -> Vec<act::Done> {
    let files = Below::new(tree.root()).unwrap();
    let changes = act::changes(&look(tree, &files), persist);
    act::apply(&files, &changes, 1_000, "b1").unwrap()
}

fn undo(tree: &Tree, how: UndoHow) -> Vec<act::Done> {
    act::undo(&Below::new(tree.root()).unwrap(), &|_| true, "b1", how).unwrap()
}

#[test]
fn apply_then_undo_gives_every_machine_back_to_the_last_byte() {
    for (name, tree) in Tree::all() {
        for persist in [false, true] {
            let before = tree.snapshot();
            let wanted = act::changes(&checked(&tree), persist).len();
            let done = apply(&tree, persist);
            assert_eq!(done.len(), wanted, "{name}: {done:#?}");
            assert!(
                done.iter().all(|line| line.outcome == Outcome::Applied),
                "{name}: {done:#?}"
            );
            assert_eq!(tree.snapshot() == before, wanted == 0, "{name}");
            let after = checked(&tree);
            assert_eq!(after.changes().count(), 0, "{name}: {after:#?}");
            // A second time there is nothing to do.
            let applied = tree.snapshot();
            assert_eq!(apply(&tree, persist), [], "{name}");
            assert_eq!(tree.snapshot(), applied, "{name}");
            let undone = undo(&tree, UndoHow::default());
            assert_eq!(undone.len(), done.len(), "{name}");
            assert!(
                undone.iter().all(|line| line.outcome == Outcome::Restored),
                "{name}: {undone:#?}"
            );
            assert_eq!(tree.snapshot(), before, "{name}, persist {persist}");
        }
    }
}

#[test]
fn a_crash_at_any_step_can_be_undone_to_the_last_byte() {
    for (name, tree) in [("nvme", Tree::nvme_bare_metal()), ("vm", Tree::virtio_vm())] {
        let before = tree.snapshot();
        let mut crashes = 0;
        for step in 0.. {
            let files = Faulty::crashing(Below::new(tree.root()).unwrap(), step);
            let changes = act::changes(&look(&tree, &files), true);
            let result = act::apply(&files, &changes, 1_000, "b1");
            let crashed = files.has_crashed();
            if crashed {
                crashes += 1;
                undo(&tree, UndoHow::default());
                assert_eq!(tree.snapshot(), before, "{name}: crash at step {step}");
            } else {
                assert!(
                    result
                        .unwrap()
                        .iter()
                        .all(|line| line.outcome == Outcome::Applied)
                );
                break;
            }
        }
        assert!(crashes > 20, "{name}: only {crashes} steps");
        undo(&tree, UndoHow::default());
        assert_eq!(tree.snapshot(), before);
    }
}

#[test]
fn a_crash_while_undoing_is_finished_by_the_next_undo() {
    let tree = Tree::virtio_vm();
    let before = tree.snapshot();
    for step in 0.. {
        apply(&tree, true);
        let files = Faulty::crashing(Below::new(tree.root()).unwrap(), step);
        let _ = act::undo(&files, &|_| true, "b1", UndoHow::default());
        let crashed = files.has_crashed();
        undo(&tree, UndoHow::default());
        assert_eq!(tree.snapshot(), before, "crash at step {step}");
        if !crashed {
            break;
        }
    }
}

#[test]
fn old_values_are_on_disk_before_anything_changes() {
    let tree = Tree::virtio_vm();
    let files = Faulty::recording(Below::new(tree.root()).unwrap());
    let changes = act::changes(&look(&tree, &files), true);
    act::apply(&files, &changes, 1_000, "b1").unwrap();
    let log = files.log();
    let saved = log
        .iter()
        .position(|line| line.contains("put /var/lib/turgo-tune/state.json"));
    let first = log
        .iter()
        .position(|line| line.starts_with("set ") || line.contains("put /etc/"));
    assert!(saved.unwrap() < first.unwrap(), "{log:#?}");
}

#[test]
fn without_permission_nothing_changes_and_the_reason_is_told() {
    let tree = Tree::virtio_vm();
    let before = tree.snapshot();
    let files = Faulty::refusing(Below::new(tree.root()).unwrap(), "/var/lib", libc::EROFS);
    let changes = act::changes(&look(&tree, &files), false);
    let error = act::apply(&files, &changes, 1, "b1").unwrap_err();
    assert!(error.to_string().contains("nothing was changed"), "{error}");
    assert_eq!(tree.snapshot(), before);
    // One knob refused: the others are set, it is told, and only they are undone.
    let files = Faulty::refusing(
        Below::new(tree.root()).unwrap(),
        "/proc/sys/vm/swappiness",
        libc::EPERM,
    );
    let done = act::apply(&files, &changes, 1, "b1").unwrap();
    let bad: Vec<_> = done.iter().filter(|line| line.outcome.is_bad()).collect();
    assert_eq!(bad.len(), 1, "{done:#?}");
    assert_eq!(
        (bad[0].outcome, bad[0].path.as_str()),
        (Outcome::Denied, "/proc/sys/vm/swappiness")
    );
    assert!(bad[0].note.as_deref().unwrap().contains("run as root"));
    assert_eq!(undo(&tree, UndoHow::default()).len(), done.len() - 1);
    assert_eq!(tree.snapshot(), before);
}

#[test]
fn a_file_that_cannot_be_read_is_unknown_not_a_crash() {
    let tree = Tree::virtio_vm();
    let files = Faulty::refusing(
        Below::new(tree.root()).unwrap(),
        "/proc/sys/vm/swappiness",
        libc::EACCES,
    );
    let report = look(&tree, &files);
    assert_eq!(item(&report, "swap", "swappiness").state, State::Unknown);
    assert!(
        item(&report, "swap", "swappiness")
            .note
            .as_deref()
            .unwrap()
            .contains("root")
    );
}

#[test]
fn an_interrupt_that_turns_out_to_be_managed_is_no_failure() {
    let tree = Tree::nvme_bare_metal();
    let files = Faulty::refusing(Below::new(tree.root()).unwrap(), "/proc/irq/51/", libc::EIO);
    let changes = act::changes(&checked(&tree), false);
    let done = act::apply(&files, &changes, 1, "b1").unwrap();
    let line = done.iter().find(|line| line.path.contains("/irq/51/")).unwrap();
    assert_eq!(line.outcome, Outcome::KernelManaged);
    assert!(!line.outcome.is_bad());
}

#[test]
fn what_somebody_else_set_since_is_left_alone_unless_forced() {
    let tree = Tree::virtio_vm();
    let before = tree.snapshot();
    apply(&tree, false);
    tree.put("proc/sys/vm/swappiness", "10\n");
    let undone = undo(&tree, UndoHow::default());
    let bad: Vec<_> = undone.iter().filter(|line| line.outcome.is_bad()).collect();
    assert_eq!(bad.len(), 1);
    assert_eq!(bad[0].outcome, Outcome::Conflict);
    let note = bad[0].note.as_deref().unwrap();
    assert!(note.contains("set it to 10") && note.contains("\"60\""), "{note}");
    assert_eq!(tree.get("proc/sys/vm/swappiness"), "10\n");
    // Still known, and restored when forced.
    let undone = undo(
        &tree,
        UndoHow {
            force: true,
            dry_run: false,
        },
    );
    assert_eq!(undone.len(), 1);
    assert_eq!(tree.snapshot(), before);
}

#[test]
fn applying_over_a_foreign_value_restores_that_value() {
    let tree = Tree::virtio_vm();
    apply(&tree, false);
    tree.put("proc/sys/vm/swappiness", "10\n");
    let done = apply(&tree, false);
    assert_eq!(done.len(), 1);
    undo(&tree, UndoHow::default());
    assert_eq!(tree.get("proc/sys/vm/swappiness"), "10\n");
}

#[test]
fn settings_of_an_earlier_boot_need_no_undo_but_files_do() {
    let tree = Tree::virtio_vm();
    let before = tree.snapshot();
    apply(&tree, true);
    // The machine starts again: the kernel's values are the defaults.
    let files: Vec<_> = before
        .iter()
        .filter(|(path, text)| path.starts_with("proc") && !text.is_empty() || path.starts_with("sys"))
        .collect();
    for (path, text) in files {
        let place = tree.root().join(path);
        if place.is_file() && !place.is_symlink() {
            std::fs::write(place, text).unwrap();
        }
    }
    tree.put("proc/sys/kernel/random/boot_id", "b2\n");
    let undone = act::undo(
        &Below::new(tree.root()).unwrap(),
        &|_| true,
        "b2",
        UndoHow::default(),
    )
    .unwrap();
    for line in &undone {
        let expected = if line.path.starts_with("/etc/") {
            Outcome::Restored
        } else {
            Outcome::Forgotten
        };
        assert_eq!(line.outcome, expected, "{line:?}");
    }
    tree.put("proc/sys/kernel/random/boot_id", "b1\n");
    assert_eq!(tree.snapshot(), before);
}

#[test]
fn a_look_changes_nothing() {
    for (name, tree) in Tree::all() {
        let before = tree.snapshot();
        let files = Below::new(tree.root()).unwrap();
        let report = look(&tree, &files);
        act::preview(&files, &act::changes(&report, true));
        serde_json::to_string(&report).unwrap();
        assert_eq!(tree.snapshot(), before, "{name}");
    }
    let tree = Tree::virtio_vm();
    apply(&tree, true);
    let before = tree.snapshot();
    let lines = undo(
        &tree,
        UndoHow {
            force: false,
            dry_run: true,
        },
    );
    assert!(lines.iter().all(|line| line.outcome == Outcome::WouldRestore));
    assert_eq!(tree.snapshot(), before);
}

#[test]
fn undo_of_one_tuner_leaves_the_others() {
    let tree = Tree::virtio_vm();
    apply(&tree, true);
    let files = Below::new(tree.root()).unwrap();
    act::undo(&files, &|tuner| tuner == "swap", "b1", UndoHow::default()).unwrap();
    assert_eq!(tree.get("proc/sys/vm/swappiness"), "60\n");
    assert!(!tree.root().join("etc/sysctl.d/60-turgo-swap.conf").exists());
    assert_eq!(tree.get("proc/sys/net/ipv4/tcp_slow_start_after_idle"), "0\n");
    assert!(tree.root().join("etc/sysctl.d/60-turgo-tcp.conf").exists());
}

#[test]
fn a_ledger_of_another_version_is_not_overwritten() {
    let tree = Tree::virtio_vm();
    tree.put(
        "var/lib/turgo-tune/state.json",
        "{\"version\": 9, \"things\": []}\n",
    );
    let before = tree.snapshot();
    let files = Below::new(tree.root()).unwrap();
    let changes = act::changes(&look(&tree, &files), false);
    for error in [
        act::apply(&files, &changes, 1, "b1").unwrap_err(),
        act::undo(&files, &|_| true, "b1", UndoHow::default()).unwrap_err(),
    ] {
        assert!(error.to_string().contains("version is 9"), "{error}");
    }
    assert_eq!(tree.snapshot(), before);
}

#[test]
fn nvme_interrupts_are_the_kernels_and_nic_interrupts_get_a_shard_each() {
    let report = checked(&Tree::nvme_bare_metal());
    let disk = found(&report, "disk-irqs");
    assert_eq!(disk.state, State::KernelManaged);
    assert!(disk.items.iter().all(|item| item.change.is_none()), "{disk:#?}");
    // The administration queue is not one for data.
    assert_eq!(disk.items.len(), 2);
    for (irq, mask) in [(51, "1"), (52, "2"), (53, "4"), (54, "8")] {
        let item = item(&report, "nic-irqs", &format!("/irq/{irq}/"));
        assert_eq!((item.state, item.wanted.as_deref()), (State::Differs, Some(mask)));
    }
}

#[test]
fn debugging_files_overrule_names() {
    let tree = Tree::nvme_bare_metal();
    tree.put("sys/kernel/debug/irq/irqs/41", "handler: handle_edge_irq\n");
    tree.put(
        "sys/kernel/debug/irq/irqs/51",
        "dstate:\n            IRQD_AFFINITY_MANAGED\n",
    );
    let report = checked(&tree);
    assert_eq!(item(&report, "disk-irqs", "/irq/41/").state, State::Differs);
    assert_eq!(item(&report, "nic-irqs", "/irq/51/").state, State::KernelManaged);
}

#[test]
fn a_cpuset_keeps_interrupts_and_steering_on_its_cpus() {
    let tree = Tree::cpuset();
    let report = checked(&tree);
    assert_eq!(report.host.shard_cpus, "2-5");
    assert_eq!(report.host.shards, 4);
    assert_eq!(item(&report, "nic-irqs", "/irq/51/").wanted.as_deref(), Some("4"));
    let note = item(&report, "shards", "shards and CPUs")
        .note
        .as_deref()
        .unwrap();
    assert!(note.contains("confined to CPUs 2-5 of 0-7"), "{note}");
    // Four queues for four shards: the hardware steers.
    assert_eq!(
        item(&report, "steering", "receive queues of eth0").state,
        State::Ok
    );
    assert_eq!(
        item(&report, "steering", "tx-1/xps_cpus").wanted.as_deref(),
        Some("8")
    );
}

#[test]
fn fewer_queues_than_shards_are_steered_in_software() {
    let report = checked(&Tree::nvme_bare_metal());
    let item_of = |part| item(&report, "steering", part).wanted.clone();
    assert_eq!(item_of("rx-0/rps_cpus").as_deref(), Some("ff"));
    assert_eq!(item_of("rx-3/rps_flow_cnt").as_deref(), Some("8192"));
    assert_eq!(item_of("rps_sock_flow_entries").as_deref(), Some("32768"));
    // Four send queues for eight shards: each serves two.
    assert_eq!(item_of("tx-1/xps_cpus").as_deref(), Some("22"));
}

#[test]
fn a_quota_that_throttles_shards_is_a_finding() {
    let report = checked(&Tree::quota());
    let quota = item(&report, "shards", "cpu.max");
    assert_eq!(quota.state, State::Differs);
    assert!(quota.change.is_none());
    assert!(quota.note.as_deref().unwrap().contains("pin_cores"));
    assert_eq!(report.exit_code(), 1);
    let tree = Tree::quota();
    tree.put(
        "sys/fs/cgroup/system.slice/turgo.service/cpu.max",
        "400000 100000\n",
    );
    assert_eq!(item(&checked(&tree), "shards", "cpu.max").state, State::Ok);
}

#[test]
fn more_shards_than_cpus_are_a_finding() {
    let mut tree = Tree::virtio_vm();
    tree.scope.shards = Some(5);
    let report = checked(&tree);
    assert_eq!(item(&report, "shards", "shards and CPUs").state, State::Differs);
}

#[test]
fn containers_are_recognised_by_each_of_their_marks() {
    assert_eq!(
        checked(&Tree::container()).host.container.as_deref(),
        Some("docker")
    );
    for (file, text, kind) in [
        ("run/.containerenv", "", "podman"),
        ("run/systemd/container", "systemd-nspawn\n", "systemd-nspawn"),
        ("proc/1/environ", "PATH=/bin\0container=lxc\0", "lxc"),
        ("proc/1/cgroup", "0::/kubepods/burstable/pod1\n", "kubepods"),
    ] {
        let tree = Tree::virtio_vm();
        tree.put(file, text);
        assert_eq!(checked(&tree).host.container.as_deref(), Some(kind), "{file}");
    }
    assert_eq!(checked(&Tree::virtio_vm()).host.container, None);
    assert!(checked(&Tree::virtio_vm()).host.is_virtual);
    assert!(!checked(&Tree::nvme_bare_metal()).host.is_virtual);
}

#[test]
fn devices_far_from_the_shards_are_named() {
    let report = checked(&Tree::numa());
    let item_of = |part| item(&report, "numa", part);
    assert_eq!(item_of("node of nvme0n1").state, State::Advice);
    assert!(
        item_of("node of nvme0n1")
            .wanted
            .as_deref()
            .unwrap()
            .contains("4-7")
    );
    assert_eq!(item_of("node of eth0").state, State::Ok);
    assert_eq!(item_of("numa_balancing").state, State::Differs);
    assert_eq!(item_of("zone_reclaim_mode").state, State::Ok);
    assert_eq!(
        found(&checked(&Tree::virtio_vm()), "numa").state,
        State::NotApplicable
    );
}

#[test]
fn every_member_of_a_stack_and_of_a_bond_is_looked_at() {
    let report = checked(&Tree::stacked());
    assert_eq!(report.host.devices, ["dm-0", "md0", "nvme0n1", "nvme1n1"]);
    assert_eq!(report.host.nics, ["ens1", "ens2"]);
    for name in ["nvme0n1", "nvme1n1"] {
        assert_eq!(
            item(&report, "disk-scheduler", &format!("{name}/queue")).state,
            State::Differs
        );
    }
    assert_eq!(item(&report, "disk-scheduler", "md0/queue").state, State::Ok);
    assert_eq!(
        item(&report, "steering", "ens2/queues/rx-1/rps_cpus").state,
        State::Differs
    );
    assert_eq!(found(&report, "nic-irqs").state, State::NotApplicable);
}

#[test]
fn a_disk_with_a_head_keeps_its_scheduler_and_an_ssd_does_not() {
    let disk = checked(&Tree::sata("1"));
    assert_eq!(found(&disk, "disk-scheduler").state, State::Ok);
    let ssd = checked(&Tree::sata("0"));
    assert_eq!(
        item(&ssd, "disk-scheduler", "sda").wanted.as_deref(),
        Some("none")
    );
    assert_eq!(found(&ssd, "disk-scheduler").state, State::Differs);
    // What virtio says of its nature does not count.
    assert_eq!(
        found(&checked(&Tree::virtio_vm()), "disk-scheduler").state,
        State::Differs
    );
    assert!(
        item(&ssd, "write-cache", "sda")
            .current
            .as_deref()
            .unwrap()
            .contains("with FUA")
    );
    assert!(
        act::changes(&ssd, true)
            .iter()
            .all(|(_, change)| !change.path().contains("write_cache"))
    );
}

#[test]
fn better_values_are_left_alone() {
    let tree = Tree::virtio_vm();
    tree.put("proc/sys/net/core/somaxconn", "65535\n")
        .put("proc/sys/vm/watermark_scale_factor", "200\n")
        .put("proc/sys/vm/swappiness", "0\n")
        .put(
            "sys/kernel/mm/transparent_hugepage/enabled",
            "always madvise [never]\n",
        );
    let report = checked(&tree);
    assert_eq!(item(&report, "listen-queues", "somaxconn").state, State::Ok);
    for name in ["watermarks", "hugepages"] {
        assert_eq!(found(&report, name).state, State::Ok, "{name}");
    }
    assert_eq!(item(&report, "swap", "swappiness").state, State::Ok);
    let files = act::changes(&report, true);
    assert!(
        files
            .iter()
            .all(|(tuner, _)| tuner != "watermarks" && tuner != "swap"),
        "{files:#?}"
    );
}

#[test]
fn closed_rings_are_opened_unless_a_group_has_them() {
    for (disabled, group, state) in [
        ("0", "-1", State::Ok),
        ("1", "-1", State::Differs),
        ("1", "996", State::Ok),
        ("2", "996", State::Differs),
    ] {
        let tree = Tree::virtio_vm();
        tree.put("proc/sys/kernel/io_uring_disabled", &format!("{disabled}\n"))
            .put("proc/sys/kernel/io_uring_group", &format!("{group}\n"));
        let report = checked(&tree);
        assert_eq!(
            item(&report, "io-uring", "io_uring_disabled").state,
            state,
            "{disabled} {group}"
        );
    }
}

#[test]
fn mount_options_that_cost_or_lose_are_named() {
    for (kind, options, part, state) in [
        ("ext4", "rw,nobarrier", "barrier", State::Differs),
        ("ext4", "rw,data=journal", "data", State::Differs),
        ("ext4", "rw,discard", "discard", State::Advice),
        ("btrfs", "rw", "filesystem", State::Differs),
        ("xfs", "rw,sync", "sync", State::Differs),
        ("xfs", "rw,noatime", "filesystem", State::Ok),
    ] {
        let tree = Tree::virtio_vm();
        tree.put(
            "proc/self/mountinfo",
            &format!("2 1 254:0 / /data rw,relatime - {kind} /dev/vda {options}\n"),
        );
        let report = checked(&tree);
        let item = found(&report, "filesystem")
            .items
            .iter()
            .rfind(|item| item.knob.contains(part))
            .unwrap();
        assert_eq!(item.state, state, "{kind} {options}");
    }
}

#[test]
fn sleep_states_are_read_from_the_device() {
    let tree = Tree::nvme_bare_metal();
    assert_eq!(found(&checked(&tree), "idle-states").state, State::Advice);
    std::fs::write(tree.root().join("dev/cpu_dma_latency"), 0i32.to_le_bytes()).unwrap();
    assert_eq!(found(&checked(&tree), "idle-states").state, State::Ok);
    std::fs::write(tree.root().join("dev/cpu_dma_latency"), [1]).unwrap();
    assert_eq!(found(&checked(&tree), "idle-states").state, State::Unknown);
    assert_eq!(
        found(&checked(&Tree::virtio_vm()), "idle-states").state,
        State::NotApplicable
    );
}

#[test]
fn a_running_irqbalance_is_a_finding_until_it_is_told() {
    let tree = Tree::nvme_bare_metal();
    tree.put("proc/812/comm", "irqbalance\n");
    let report = checked(&tree);
    let wanted = item(&report, "irqbalance", "irqbalance").wanted.clone().unwrap();
    assert!(wanted.contains("--banirq=51 --banirq=52"), "{wanted}");
    tree.put("etc/default/irqbalance", &format!("{wanted}\n"));
    assert_eq!(found(&checked(&tree), "irqbalance").state, State::Ok);
}

#[test]
fn unit_limits_are_judged_with_their_drop_ins() {
    let tree = Tree::nvme_bare_metal();
    let report = checked(&tree);
    let limits = item(&report, "limits", "turgo.service");
    assert_eq!(
        limits.wanted.as_deref(),
        Some("LimitNOFILE=800000 MemorySwapMax=0")
    );
    tree.put(
        "etc/systemd/system/turgo.service.d/override.conf",
        "[Service]\nLimitNOFILE=infinity\nMemorySwapMax=0\n",
    );
    assert_eq!(found(&checked(&tree), "limits").state, State::Ok);
}

#[test]
fn selection_by_name_and_category() {
    let pick = |names: &[&str], categories: &[&str]| {
        Selection {
            names: names.iter().map(ToString::to_string).collect(),
            categories: categories.iter().map(ToString::to_string).collect(),
        }
        .tuners()
        .map(|tuners| tuners.iter().map(|tuner| tuner.name).collect::<Vec<_>>())
    };
    assert_eq!(pick(&["tcp", "swap"], &[]).unwrap(), ["swap", "tcp"]);
    assert_eq!(pick(&[], &["memory"]).unwrap().len(), 4);
    assert_eq!(pick(&["swap", "tcp"], &["network"]).unwrap(), ["tcp"]);
    assert!(pick(&["swop"], &[]).unwrap_err().contains("\"swap\""));
    assert!(pick(&[], &["disc"]).unwrap_err().contains("disk"));
    let mut names: Vec<&str> = TUNERS.iter().map(|tuner| tuner.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), TUNERS.len());
}

#[test]
fn boot_files_say_what_their_readers_expect() {
    let files = act::changes(&checked(&Tree::virtio_vm()), true);
    let text = |path: &str| {
        files
            .iter()
            .find_map(|(_, change)| match change {
                Change::File { path: at, content } if at == path => Some(content.clone()),
                _ => None,
            })
            .unwrap_or_else(|| panic!("no {path}: {files:#?}"))
    };
    assert!(text("/etc/sysctl.d/60-turgo-swap.conf").ends_with("vm.swappiness = 1\n"));
    assert!(text("/etc/udev/rules.d/60-turgo-disk-scheduler.rules").ends_with(
        "ACTION==\"add|change\", SUBSYSTEM==\"block\", KERNEL==\"vda\", ATTR{queue/scheduler}=\"none\"\n"
    ));
    assert!(
        text("/etc/tmpfiles.d/turgo-hugepages.conf")
            .contains("w /sys/kernel/mm/transparent_hugepage/enabled - - - - madvise\n")
    );
    // Numbers of interrupts change.
    assert!(files.iter().all(|(_, change)| match change {
        Change::File { content, .. } => !content.contains("/proc/irq"),
        Change::Set { .. } => true,
    }));
}

#[test]
fn scripts_do_and_undo_what_apply_does() {
    let tree = Tree::virtio_vm();
    let before = tree.snapshot();
    let files = Below::new(tree.root()).unwrap();
    let lines = act::preview(&files, &act::changes(&look(&tree, &files), true));
    let reason = |name: &str| TUNERS.iter().find(|t| t.name == name).map(|t| t.why);
    let root = tree.root().display().to_string();
    let run = |undo| {
        let text = script::script(&lines, &reason, undo);
        // The script names the machine's paths; here they are below the tree.
        let text = ["/proc/", "/sys/", "/etc/"].iter().fold(text, |text, top| {
            text.replace(&format!("'{top}"), &format!("'{root}{top}"))
                .replace(&format!("'{}'", &top[..4]), &format!("'{root}{}'", &top[..4]))
        });
        let done = std::process::Command::new("sh")
            .arg("-c")
            .arg(text)
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
    };
    run(false);
    assert_eq!(tree.get("proc/sys/vm/swappiness"), "1");
    assert!(
        tree.get("etc/sysctl.d/60-turgo-swap.conf")
            .contains("vm.swappiness = 1\n")
    );
    run(true);
    assert_eq!(tree.get("proc/sys/vm/swappiness"), "60");
    assert!(!tree.root().join("etc/sysctl.d/60-turgo-swap.conf").exists());
    for (path, text) in before {
        if !text.is_empty() && tree.root().join(&path).is_file() {
            let trimmed = |bytes: &[u8]| {
                let text = String::from_utf8_lossy(bytes).into_owned();
                Form::Choice.canonical(&text)
            };
            let now = std::fs::read(tree.root().join(&path)).unwrap();
            assert_eq!(trimmed(&now), trimmed(&text), "{}", path.display());
        }
    }
}

#[test]
fn the_json_of_a_check_is_as_it_was() {
    let json = serde_json::to_string_pretty(&checked(&Tree::nvme_bare_metal())).unwrap() + "\n";
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tune/tests/check.json");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&place, &json).unwrap();
    }
    let golden = std::fs::read_to_string(&place).unwrap();
    assert!(
        json == golden,
        "the output changed: look at `UPDATE_GOLDEN=1 cargo test -p turgo-tuning && git diff`, and raise SCHEMA if a field \
         went or changed its meaning"
    );
}
