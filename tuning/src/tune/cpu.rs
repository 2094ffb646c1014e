//! Tuners of processors.

use super::{Item, State, exact, readable};
use crate::host::Host;

const CPU: &str = "/sys/devices/system/cpu";

pub(super) fn clocksource(host: &Host) -> Vec<Item> {
    let base = "/sys/devices/system/clocksource/clocksource0";
    let knob = format!("{base}/current_clocksource");
    let current = match readable(host, &knob) {
        Ok(current) => current,
        Err(item) => return vec![*item],
    };
    let offered = host
        .reading(&format!("{base}/available_clocksource"))
        .text()
        .unwrap_or_default();
    // kvm-clock and Hyper-V's page are read without a system call as well.
    let fine = [
        "tsc",
        "kvm-clock",
        "hyperv_clocksource_tsc_page",
        "arch_sys_counter",
    ];
    if fine.contains(&current.as_str()) {
        return vec![Item::new(knob, State::Ok).current(current)];
    }
    if offered.split_whitespace().any(|word| word == "tsc") {
        return vec![exact(host, &knob, "tsc")];
    }
    let note = format!(
        "the kernel does not offer tsc (it offers {}): see its log for `Marking TSC unstable`, and on a virtual machine \
         ask the host for an invariant TSC",
        offered.trim()
    );
    vec![Item::new(knob, State::Advice).current(current).note(note)]
}

fn policies(host: &Host) -> Vec<String> {
    let base = format!("{CPU}/cpufreq");
    let mut policies: Vec<(usize, String)> = host
        .list(&base)
        .into_iter()
        .filter_map(|name| {
            Some((
                name.strip_prefix("policy")?.parse().ok()?,
                format!("{base}/{name}"),
            ))
        })
        .collect();
    policies.sort_unstable();
    policies.into_iter().map(|(_, path)| path).collect()
}

pub(super) fn governor(host: &Host) -> Vec<Item> {
    let policies = policies(host);
    if policies.is_empty() {
        return vec![
            Item::new(format!("{CPU}/cpufreq"), State::NotApplicable)
                .note("frequency is not this machine's to choose: a virtual machine, or fixed in firmware"),
        ];
    }
    let mut items = Vec::new();
    for policy in policies {
        let knob = format!("{policy}/scaling_governor");
        let offered = host
            .reading(&format!("{policy}/scaling_available_governors"))
            .text()
            .unwrap_or_default();
        if offered.split_whitespace().any(|word| word == "performance") {
            items.push(exact(host, &knob, "performance"));
        } else {
            let item = exact(host, &knob, "performance").into_advice();
            items.push(item.note("this driver offers no governor `performance`"));
        }
        // Where the processor chooses its frequency itself, this tells it what to weigh.
        let preference = format!("{policy}/energy_performance_preference");
        if host.has(&preference) {
            items.push(exact(host, &preference, "performance"));
        }
    }
    items
}

pub(super) fn turbo(host: &Host) -> Vec<Item> {
    let note = "the processor changes its frequency with heat and load. Off is steady, on is fast: measure both with \
                `turgo bench` and decide";
    for (knob, on) in [
        (format!("{CPU}/intel_pstate/no_turbo"), "0"),
        (format!("{CPU}/cpufreq/boost"), "1"),
    ] {
        if let Some(current) = host.reading(&knob).text() {
            return vec![if current == on {
                Item::new(knob, State::Advice).current(current).note(note)
            } else {
                Item::new(knob, State::Ok)
                    .current(current)
                    .note("off: steady frequency")
            }];
        }
    }
    vec![Item::new(format!("{CPU}/cpufreq/boost"), State::NotApplicable).note("no switch for turbo here")]
}

pub(super) fn idle_states(host: &Host) -> Vec<Item> {
    let driver = host.reading(&format!("{CPU}/cpuidle/current_driver")).text();
    let knob = "/dev/cpu_dma_latency";
    if !driver
        .as_deref()
        .is_some_and(|driver| driver != "none" && !driver.is_empty())
        || host.list(&format!("{CPU}/cpu0/cpuidle")).len() < 2
    {
        return vec![Item::new(knob, State::NotApplicable).note(
            "this kernel puts no CPU to deep sleep: the hypervisor or the boot parameters see to that",
        )];
    }
    match host.files().read(knob) {
        Ok(bytes) => {
            let limit = bytes
                .get(..4)
                .map(|four| i32::from_le_bytes([four[0], four[1], four[2], four[3]]));
            match limit {
                Some(0) => vec![Item::new(knob, State::Ok).current("0").wanted("0")],
                Some(limit) => vec![
                    Item::new(knob, State::Advice)
                        .current(limit.to_string())
                        .wanted("0")
                        .note(
                            "CPUs may sleep deeply between requests. turgo-tune.service holds the limit while it runs: \
                             systemctl enable --now turgo-tune (costs power and heat)",
                        ),
                ],
                None => vec![Item::new(knob, State::Unknown).note("shorter than four bytes")],
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            vec![Item::new(knob, State::NotApplicable).note("not there")]
        }
        Err(error) => vec![Item::new(knob, State::Unknown).note(format!("{error}; run as root"))],
    }
}

pub(super) fn isolation(host: &Host) -> Vec<Item> {
    let line = match readable(host, "/proc/cmdline") {
        Ok(line) => line,
        Err(item) => return vec![*item],
    };
    let value = |name: &str| {
        line.split_whitespace()
            .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
            .map(str::to_string)
    };
    let mut items = Vec::new();
    for name in ["nohz_full", "rcu_nocbs", "isolcpus"] {
        items.push(match value(name) {
            Some(value) => Item::new(format!("boot: {name}"), State::Ok).current(value),
            None if host.shards < 4 => {
                Item::new(format!("boot: {name}"), State::NotApplicable).note("too few cores to set any aside")
            }
            None => Item::new(format!("boot: {name}"), State::Advice)
                .wanted(format!("{name}={}", host.shard_cpus))
                .note(
                    "keeps the tick, RCU work or other tasks off the shards' CPUs; worth it where jitter of tens of \
                     microseconds counts. Never edited from here: add it to the boot loader's command line",
                ),
        });
    }
    // With hyper-threads in use, two shards on one core share its units.
    let smt = host.reading(&format!("{CPU}/smt/active")).text();
    items.push(match smt.as_deref() {
        Some("1") => Item::new(format!("{CPU}/smt/active"), State::Advice)
            .current("1")
            .note("shards on two threads of one core share its units: steadier with node.cores at the number of cores"),
        Some(other) => Item::new(format!("{CPU}/smt/active"), State::Ok).current(other),
        None => Item::new(format!("{CPU}/smt/active"), State::NotApplicable),
    });
    items
}

pub(super) fn shards(host: &Host) -> Vec<Item> {
    let mut items = Vec::new();
    let knob = "shards and CPUs";
    let allowed = host.allowed.len();
    let shown = format!("{} shards on CPUs {}", host.shards, host.allowed);
    items.push(if host.shards > allowed && allowed > 0 {
        Item::new(knob, State::Differs)
            .current(shown)
            .wanted(format!("{allowed} shards"))
            .note("shards on one CPU wait for each other: lower node.cores (--cores)")
    } else if host.allowed != host.online {
        Item::new(knob, State::Ok).current(shown).note(format!(
            "confined to CPUs {} of {} by a cpuset or an affinity mask; shards are bound inside it",
            host.allowed, host.online
        ))
    } else {
        Item::new(knob, State::Ok).current(shown)
    });
    items.push(match host.facts.cpu_quota {
        Some(quota) if quota < host.shards as f64 => Item::new("cgroup cpu.max", State::Differs)
            .current(format!("{quota:.2} CPUs"))
            .wanted(format!("no quota, or at least {} CPUs", host.shards))
            .note(
                "a quota stops every shard for the rest of each period (up to 100 ms), and acknowledgements with it. Give \
                 whole CPUs instead (cpuset: AllowedCPUs=, docker --cpuset-cpus, Kubernetes static CPU manager), or \
                 lower node.cores and set node.pin_cores = false",
            ),
        Some(quota) => Item::new("cgroup cpu.max", State::Ok)
            .current(format!("{quota:.2} CPUs"))
            .note("above what the shards can use"),
        None => Item::new("cgroup cpu.max", State::Ok).current("no quota"),
    });
    if let Some(quota) = host.facts.cpu_quota
        && host.pin_cores
    {
        items.push(
            Item::new("node.pin_cores", State::Advice)
                .current("true")
                .wanted("false")
                .note(format!(
                    "under a quota of {quota:.2} CPUs a bound shard cannot move to a CPU that is free"
                )),
        );
    }
    items
}

pub(super) fn numa(host: &Host) -> Vec<Item> {
    if host.nodes.len() < 2 {
        return vec![Item::new("NUMA", State::NotApplicable).note("one node")];
    }
    let mut items = vec![
        exact(host, "/proc/sys/kernel/numa_balancing", "0"),
        exact(host, "/proc/sys/vm/zone_reclaim_mode", "0"),
    ];
    let spread = host
        .nodes
        .iter()
        .filter(|node| !node.and(&host.shard_cpus).is_empty())
        .count();
    let places = host
        .devices
        .iter()
        .map(|device| {
            (
                device.name.clone(),
                vec![
                    format!("{}/device/numa_node", device.path),
                    format!("{}/device/device/numa_node", device.path),
                ],
            )
        })
        .chain(
            host.nics
                .iter()
                .map(|nic| (nic.name.clone(), vec![format!("{}/device/numa_node", nic.path())])),
        );
    for (name, files) in places {
        let node = files
            .iter()
            .find_map(|file| host.reading(file).text()?.parse::<i64>().ok());
        // -1: the platform does not say.
        let Some(cpus) = node
            .and_then(|node| usize::try_from(node).ok())
            .and_then(|node| host.nodes.get(node))
        else {
            continue;
        };
        let near = cpus.and(&host.shard_cpus).len();
        let item = Item::new(format!("node of {name}"), State::Ok)
            .current(format!("{near} of {} shards beside it", host.shard_cpus.len()));
        items.push(if near == 0 {
            Item {
                state: State::Advice,
                ..item
            }
            .wanted(format!("shards on CPUs {cpus}"))
            .note("every byte crosses between sockets: give the broker CPUs of that node (AllowedCPUs= in its unit)")
        } else if spread > 1 && near < host.shard_cpus.len() {
            item.note("the others reach it across sockets")
        } else {
            item
        });
    }
    items
}

pub(super) fn irqbalance(host: &Host) -> Vec<Item> {
    let knob = "irqbalance";
    let runs = host.list("/proc").iter().any(|entry| {
        entry.bytes().all(|byte| byte.is_ascii_digit())
            && host.reading(&format!("/proc/{entry}/comm")).text().as_deref() == Some("irqbalance")
    });
    if !runs {
        return vec![Item::new(knob, State::Ok).current("not running")];
    }
    let ours: Vec<String> = host
        .nics
        .iter()
        .flat_map(|nic| host.queue_irqs(&format!("{}/device", nic.path())))
        .filter(|irq| !irq.is_managed)
        .map(|irq| irq.number.to_string())
        .collect();
    if ours.is_empty() {
        return vec![
            Item::new(knob, State::Ok)
                .current("running")
                .note("it moves no interrupt that is placed here"),
        ];
    }
    let bans: Vec<String> = ours.iter().map(|irq| format!("--banirq={irq}")).collect();
    let arguments = host.reading("/etc/default/irqbalance").text().unwrap_or_default();
    let given: Vec<&str> = arguments.split([' ', '"', '\'', '\n']).collect();
    let is_given = |ban: &String| given.iter().any(|word| word.ends_with(ban.as_str()));
    if bans.iter().all(is_given) {
        return vec![Item::new(knob, State::Ok).current("running, with bans for the interrupts placed here")];
    }
    vec![
        Item::new(knob, State::Differs)
            .current("running")
            .wanted(format!("IRQBALANCE_ARGS=\"{}\"", bans.join(" ")))
            .note(
                "it moves interrupts back within seconds. Put that line into /etc/default/irqbalance and restart it, or \
                 systemctl disable --now irqbalance",
            ),
    ]
}

/// Whether the clock is kept right; the start-up checks look at its source.
pub(super) fn time_sync(host: &Host) -> Vec<Item> {
    let signs = [
        ("/run/systemd/timesync/synchronized", "systemd-timesyncd"),
        ("/run/chrony/chronyd.pid", "chrony"),
        ("/run/chronyd.pid", "chrony"),
        ("/run/chrony/chronyd.sock", "chrony"),
        ("/run/ntpd.pid", "ntpd"),
        ("/run/ntpsec/ntpd.pid", "ntpd"),
    ];
    let found = signs.iter().find(|(path, _)| host.has(path));
    match found {
        Some((_, who)) => vec![Item::new("time synchronisation", State::Ok).current(*who)],
        None => vec![
            Item::new("time synchronisation", State::Advice)
                .current("none seen")
                .note("record timestamps, retention and logs follow this clock: install chrony or enable systemd-timesyncd, unless the host keeps it"),
        ],
    }
}
