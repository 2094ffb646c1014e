//! Machines made of files: what `/proc` and `/sys` show on several kinds of host.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::host::{Interfaces, Scope};

pub struct Tree {
    dir: tempfile::TempDir,
    pub scope: Scope,
}

impl Tree {
    pub fn empty() -> Tree {
        let dir = tempfile::tempdir().unwrap();
        let scope = Scope {
            root: dir.path().to_path_buf(),
            data_dir: PathBuf::from("/data"),
            interfaces: Interfaces::All,
            shards: None,
            pin_cores: true,
        };
        Tree { dir, scope }
    }

    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    pub fn put(&self, path: &str, text: &str) -> &Tree {
        let path = self.dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    pub fn get(&self, path: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(path)).unwrap()
    }

    /// A link at `path` to `target`, both from the root; made relative, as in `/sys`.
    pub fn link(&self, path: &str, target: &str) -> &Tree {
        let ups = "../".repeat(path.matches('/').count());
        let path = self.dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(format!("{ups}{target}"), path).unwrap();
        self
    }

    /// Every file and link with its content, and every directory.
    pub fn snapshot(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut all = BTreeMap::new();
        let mut left = vec![self.dir.path().to_path_buf()];
        while let Some(at) = left.pop() {
            for entry in std::fs::read_dir(&at).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(self.dir.path()).unwrap().to_path_buf();
                let kind = path.symlink_metadata().unwrap().file_type();
                if kind.is_symlink() {
                    let target = std::fs::read_link(&path).unwrap();
                    all.insert(name, target.into_os_string().into_encoded_bytes());
                } else if kind.is_dir() {
                    all.insert(name, Vec::new());
                    left.push(path);
                } else {
                    all.insert(name, std::fs::read(&path).unwrap());
                }
            }
        }
        all
    }

    /// What every Linux has.
    fn machine(cpus: usize, release: &str) -> Tree {
        let tree = Tree::empty();
        let last = cpus - 1;
        tree.put("proc/sys/kernel/osrelease", &format!("{release}\n"))
            .put("proc/sys/kernel/random/boot_id", "b1\n")
            .put("proc/sys/kernel/io_uring_disabled", "0\n")
            .put(
                "proc/sys/kernel/core_pattern",
                "|/usr/lib/systemd/systemd-coredump %P\n",
            )
            .put("proc/sys/vm/swappiness", "60\n")
            .put("proc/sys/vm/watermark_scale_factor", "10\n")
            .put("proc/sys/net/core/somaxconn", "4096\n")
            .put("proc/sys/net/core/netdev_max_backlog", "1000\n")
            .put("proc/sys/net/core/busy_poll", "0\n")
            .put("proc/sys/net/core/rps_sock_flow_entries", "0\n")
            .put("proc/sys/net/ipv4/tcp_max_syn_backlog", "2048\n")
            .put("proc/sys/net/ipv4/tcp_slow_start_after_idle", "1\n")
            .put("proc/sys/net/ipv4/tcp_rmem", "4096\t131072\t6291456\n")
            .put("proc/cmdline", "BOOT_IMAGE=/vmlinuz root=/dev/sda1 quiet\n")
            .put("proc/meminfo", "MemTotal:       65536000 kB\n")
            .put("proc/swaps", "Filename\t\t\t\tType\t\tSize\n")
            .put(
                "proc/self/limits",
                "Limit                     Soft Limit           Hard Limit           Units\n\
                 Max open files            1048576              1048576              files\n\
                 Max locked memory         unlimited            unlimited            bytes\n",
            )
            .put(
                "proc/self/status",
                &format!("CapEff:\t000001ffffffffff\nCpus_allowed_list:\t0-{last}\n"),
            )
            .put("proc/self/cgroup", "0::/user.slice\n")
            .put("proc/1/cgroup", "0::/init.scope\n")
            .put("sys/fs/cgroup/cgroup.controllers", "cpu memory io\n")
            .put("sys/devices/system/cpu/online", &format!("0-{last}\n"))
            .put("sys/devices/system/node/online", "0\n")
            .put("sys/devices/system/node/node0/cpulist", &format!("0-{last}\n"))
            .put(
                "sys/kernel/mm/transparent_hugepage/enabled",
                "[always] madvise never\n",
            )
            .put(
                "sys/kernel/mm/transparent_hugepage/defrag",
                "always defer defer+madvise [madvise] never\n",
            )
            .put(
                "sys/devices/system/clocksource/clocksource0/available_clocksource",
                "tsc hpet acpi_pm \n",
            )
            .put(
                "sys/devices/system/clocksource/clocksource0/current_clocksource",
                "tsc\n",
            )
            .put("run/systemd/timesync/synchronized", "")
            .put("etc/systemd/system/timers.target.wants/fstrim.timer", "")
            .put("var/lib/dpkg/status", "");
        for cpu in 0..cpus {
            tree.put(
                &format!("sys/devices/system/cpu/cpu{cpu}/topology/core_id"),
                "0\n",
            );
        }
        tree
    }

    fn mounted(&self, device: &str, source: &str, kind: &str) -> &Tree {
        self.put(
            "proc/self/mountinfo",
            &format!(
                "1 0 8:1 / / rw - ext4 /dev/root rw\n2 1 {device} / /data rw,relatime - {kind} {source} rw\n"
            ),
        )
    }

    fn queue(&self, at: &str, scheduler: &str, rotational: &str, cache: &str, fua: &str) -> &Tree {
        self.put(&format!("{at}/queue/scheduler"), scheduler)
            .put(&format!("{at}/queue/rotational"), rotational)
            .put(&format!("{at}/queue/write_cache"), cache)
            .put(&format!("{at}/queue/fua"), fua)
            .put(&format!("{at}/queue/nomerges"), "0\n")
            .put(&format!("{at}/queue/nr_requests"), "1023\n")
            .put(&format!("{at}/queue/read_ahead_kb"), "128\n")
            .put(&format!("{at}/queue/discard_max_bytes"), "2147483648\n")
            .put(&format!("{at}/size"), "1953525168\n")
    }

    /// `names` get interrupts from `first` on, of `cpus` CPUs; those of `device` are listed in its directory.
    fn irqs(&self, cpus: usize, list: &[(u32, &str, &str)]) -> &Tree {
        let mut table = String::from("      ");
        for cpu in 0..cpus {
            table.push_str(&format!("     CPU{cpu}"));
        }
        table.push('\n');
        for (number, device, name) in list {
            table.push_str(&format!("{number:>4}:"));
            table.push_str(&"        17".repeat(cpus));
            table.push_str(&format!("  PCI-MSIX-0000:01:00.0   0-edge      {name}\n"));
            self.put(
                &format!("proc/irq/{number}/smp_affinity"),
                &format!("{:x}\n", (1u64 << cpus) - 1),
            );
            self.put(&format!("{device}/msi_irqs/{number}"), "msix\n");
        }
        table.push_str(" NMI:          0          0   Non-maskable interrupts\n");
        self.put("proc/interrupts", &table)
    }

    fn nic(&self, name: &str, device: &str, queues: usize) -> &Tree {
        let at = format!("{device}/net/{name}");
        self.put(&format!("{at}/operstate"), "up\n")
            .put(&format!("{at}/gro_flush_timeout"), "0\n");
        for queue in 0..queues {
            self.put(&format!("{at}/queues/rx-{queue}/rps_cpus"), "0\n")
                .put(&format!("{at}/queues/rx-{queue}/rps_flow_cnt"), "0\n")
                .put(&format!("{at}/queues/tx-{queue}/xps_cpus"), "0\n");
        }
        self.link(&format!("{at}/device"), device);
        self.link(&format!("sys/class/net/{name}"), &at)
    }

    /// Eight cores, NVMe with queues the kernel manages, a NIC with four queues, frequencies to choose.
    pub fn nvme_bare_metal() -> Tree {
        let tree = Tree::machine(8, "6.12.30-amd64");
        let nvme = "sys/devices/pci0000:00/0000:01:00.0/nvme/nvme0/nvme0n1";
        tree.mounted("259:1", "/dev/nvme0n1p1", "ext4").queue(
            nvme,
            "[mq-deadline] kyber none\n",
            "0\n",
            "write through\n",
            "0\n",
        );
        tree.put(&format!("{nvme}/nvme0n1p1/partition"), "1\n")
            .put(&format!("{nvme}/wwid"), "eui.0025388b01234567\n")
            .put(
                "sys/devices/pci0000:00/0000:01:00.0/nvme/nvme0/model",
                "SAMSUNG MZQL2960HCJR-00A07\n",
            )
            .put(
                "sys/devices/pci0000:00/0000:01:00.0/nvme/nvme0/serial",
                "S64FNE0R\n",
            )
            .put(
                "sys/devices/pci0000:00/0000:01:00.0/nvme/nvme0/firmware_rev",
                "GDC5602Q\n",
            )
            .put("sys/devices/pci0000:00/0000:01:00.0/numa_node", "0\n")
            .link(
                &format!("{nvme}/device"),
                "sys/devices/pci0000:00/0000:01:00.0/nvme/nvme0",
            )
            .link("sys/dev/block/259:1", &format!("{nvme}/nvme0n1p1"))
            .link("sys/class/block/nvme0n1p1", &format!("{nvme}/nvme0n1p1"));
        let (disk, port) = (
            "sys/devices/pci0000:00/0000:01:00.0",
            "sys/devices/pci0000:00/0000:02:00.0",
        );
        tree.nic("eth0", port, 4).irqs(
            8,
            &[
                (40, disk, "nvme0q0"),
                (41, disk, "nvme0q1"),
                (42, disk, "nvme0q2"),
                (50, port, "eth0"),
                (51, port, "eth0-TxRx-0"),
                (52, port, "eth0-TxRx-1"),
                (53, port, "eth0-TxRx-2"),
                (54, port, "eth0-TxRx-3"),
            ],
        );
        for policy in 0..8 {
            let at = format!("sys/devices/system/cpu/cpufreq/policy{policy}");
            tree.put(&format!("{at}/scaling_governor"), "powersave\n")
                .put(
                    &format!("{at}/scaling_available_governors"),
                    "performance powersave\n",
                )
                .put(
                    &format!("{at}/energy_performance_preference"),
                    "balance_performance\n",
                );
        }
        tree.put("sys/devices/system/cpu/intel_pstate/no_turbo", "0\n")
            .put("sys/devices/system/cpu/smt/active", "1\n")
            .put("sys/devices/system/cpu/cpuidle/current_driver", "intel_idle\n")
            .put("sys/devices/system/cpu/cpu0/cpuidle/state0/name", "POLL\n")
            .put("sys/devices/system/cpu/cpu0/cpuidle/state1/name", "C1\n");
        std::fs::create_dir_all(tree.root().join("dev")).unwrap();
        std::fs::write(
            tree.root().join("dev/cpu_dma_latency"),
            2_000_000_000i32.to_le_bytes(),
        )
        .unwrap();
        tree.put(
            "usr/lib/systemd/system/turgo.service",
            "[Service]\nLimitNOFILE=1024\nLimitMEMLOCK=infinity\n",
        );
        tree
    }

    /// Two virtual CPUs, one virtio disk that says it has a head, one NIC queue.
    pub fn virtio_vm() -> Tree {
        let tree = Tree::machine(2, "6.1.0-35-cloud-amd64");
        let disk = "sys/devices/pci0000:00/0000:00:02.0/virtio1";
        let port = "sys/devices/pci0000:00/0000:00:03.0/virtio2";
        let vda = format!("{disk}/block/vda");
        tree.mounted("254:0", "/dev/vda", "ext4").queue(
            &vda,
            "none [mq-deadline] kyber \n",
            "1\n",
            "write back\n",
            "0\n",
        );
        tree.link("sys/dev/block/254:0", &vda)
            .put("proc/cpuinfo", "processor : 0\nflags : fpu tsc hypervisor\n")
            .put(
                "sys/devices/system/clocksource/clocksource0/current_clocksource",
                "kvm-clock\n",
            )
            .nic("eth0", port, 1)
            .irqs(
                2,
                &[
                    (35, "sys/devices/pci0000:00/0000:00:02.0", "virtio1-config"),
                    (36, "sys/devices/pci0000:00/0000:00:02.0", "virtio1-req.0"),
                    (37, "sys/devices/pci0000:00/0000:00:03.0", "virtio2-config"),
                    (38, "sys/devices/pci0000:00/0000:00:03.0", "virtio2-input.0"),
                    (39, "sys/devices/pci0000:00/0000:00:03.0", "virtio2-output.0"),
                ],
            );
        tree
    }

    /// A SATA disk behind one interrupt; `rotational` is `1` for one with a head.
    pub fn sata(rotational: &str) -> Tree {
        let tree = Tree::machine(4, "5.15.0-140-generic");
        let port = "sys/devices/pci0000:00/0000:00:1f.2";
        let sda = format!("{port}/ata1/host0/target0:0:0/0:0:0:0/block/sda");
        tree.mounted("8:1", "/dev/sda1", "xfs").queue(
            &sda,
            "[mq-deadline] none\n",
            &format!("{rotational}\n"),
            "write back\n",
            "1\n",
        );
        tree.put(&format!("{sda}/sda1/partition"), "1\n")
            .link("sys/dev/block/8:1", &format!("{sda}/sda1"))
            .irqs(4, &[(30, port, "ahci[0000:00:1f.2]")]);
        tree
    }

    /// The virtual machine, seen from a service with a CPU quota of 1.5.
    pub fn quota() -> Tree {
        let tree = Tree::virtio_vm();
        tree.put("proc/self/cgroup", "0::/system.slice/turgo.service\n")
            .put(
                "sys/fs/cgroup/system.slice/turgo.service/cpu.max",
                "150000 100000\n",
            );
        tree
    }

    /// The same machine from inside Docker: a few files only, a host's sysctls.
    pub fn container() -> Tree {
        let tree = Tree::virtio_vm();
        tree.put(".dockerenv", "")
            .put(
                "proc/self/mountinfo",
                "1 0 0:50 / / rw - overlay overlay rw\n2 1 254:0 /vol /data rw - ext4 /dev/vda rw\n",
            )
            .put(
                "proc/self/status",
                "CapEff:\t00000000a80425fb\nCpus_allowed_list:\t0-1\n",
            );
        std::fs::remove_dir_all(tree.root().join("proc/irq")).unwrap();
        tree
    }

    /// The bare metal, confined to CPUs 2 to 5.
    pub fn cpuset() -> Tree {
        let tree = Tree::nvme_bare_metal();
        tree.put(
            "proc/self/status",
            "CapEff:\t000001ffffffffff\nCpus_allowed_list:\t2-5\n",
        );
        tree
    }

    /// Two sockets of four cores; the NVMe sits on the second, the broker on the first.
    pub fn numa() -> Tree {
        let mut tree = Tree::nvme_bare_metal();
        tree.put("sys/devices/system/node/online", "0-1\n")
            .put("sys/devices/system/node/node0/cpulist", "0-3\n")
            .put("sys/devices/system/node/node1/cpulist", "4-7\n")
            .put("sys/devices/pci0000:00/0000:01:00.0/numa_node", "1\n")
            .put("sys/devices/pci0000:00/0000:02:00.0/numa_node", "0\n")
            .put("proc/sys/kernel/numa_balancing", "1\n")
            .put("proc/sys/vm/zone_reclaim_mode", "0\n")
            .link(
                "sys/devices/pci0000:00/0000:01:00.0/nvme/nvme0/device",
                "sys/devices/pci0000:00/0000:01:00.0",
            );
        tree.scope.shards = Some(4);
        tree
    }

    /// LVM on a RAID of two NVMe drives, and a bond of two ports.
    pub fn stacked() -> Tree {
        let tree = Tree::machine(4, "6.6.0");
        let md = "sys/devices/virtual/block/md0";
        let dm = "sys/devices/virtual/block/dm-0";
        tree.mounted("253:0", "/dev/mapper/data-log", "xfs")
            .queue(dm, "none\n", "0\n", "write back\n", "1\n")
            .queue(md, "none\n", "0\n", "write back\n", "1\n");
        tree.link("sys/dev/block/253:0", dm)
            .link(&format!("{dm}/slaves/md0"), md)
            .put(
                "proc/interrupts",
                "           CPU0       CPU1       CPU2       CPU3\n",
            );
        for (index, name) in ["nvme0n1", "nvme1n1"].into_iter().enumerate() {
            let at = format!("sys/devices/pci0000:00/0000:0{index}:00.0/nvme/nvme{index}/{name}");
            tree.queue(&at, "[mq-deadline] none\n", "0\n", "write back\n", "1\n")
                .link(&format!("{md}/slaves/{name}"), &at);
        }
        tree.nic("ens1", "sys/devices/pci0000:00/0000:0a:00.0", 2)
            .nic("ens2", "sys/devices/pci0000:00/0000:0b:00.0", 2)
            .put("sys/class/net/bond0/operstate", "up\n")
            .put("sys/class/net/bond0/bonding/slaves", "ens1 ens2\n");
        tree
    }

    pub fn all() -> Vec<(&'static str, Tree)> {
        vec![
            ("nvme bare metal", Tree::nvme_bare_metal()),
            ("virtio vm", Tree::virtio_vm()),
            ("sata ssd", Tree::sata("0")),
            ("sata disk", Tree::sata("1")),
            ("quota", Tree::quota()),
            ("container", Tree::container()),
            ("cpuset", Tree::cpuset()),
            ("numa", Tree::numa()),
            ("stacked", Tree::stacked()),
            ("empty", Tree::empty()),
        ]
    }
}
