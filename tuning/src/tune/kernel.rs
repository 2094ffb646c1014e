//! Tuners of limits and restrictions.

use super::{Change, Form, Item, State, setting};
use crate::host::Host;
use crate::preflight::Limit;

const UNIT: &str = "turgo.service";
/// Where a unit's own drop-in of ours is.
const DROP_IN: &str = "/etc/systemd/system/turgo.service.d/60-turgo-tune.conf";

pub(super) fn io_uring(host: &Host) -> Vec<Item> {
    let disabled = "/proc/sys/kernel/io_uring_disabled";
    let mut item = setting(host, disabled, Form::Words, "0", |_| false);
    let group = host.reading("/proc/sys/kernel/io_uring_group").text();
    match (item.current.as_deref(), group.as_deref()) {
        (Some("1"), Some(group)) if group != "-1" => {
            item = Item {
                state: State::Ok,
                change: None,
                keep: None,
                ..item
            }
            .note(format!(
                "open to group {group} and the privileged: the broker's user must be in it"
            ));
        }
        (Some("1" | "2"), _) => {
            item = item.note("the broker cannot start. Instead of opening it to all, set 1 and kernel.io_uring_group to the broker's group");
        }
        (None, _) if item.state == State::NotApplicable => {
            item = item.note("before Linux 6.6 there is no such switch: rings are open to all");
        }
        _ => {}
    }
    let mut items = vec![item];
    items.push(match (host.facts.may_lock_all, host.facts.memlock) {
        (true, _) => Item::new("locked memory", State::Ok).current("any amount, by capability"),
        (false, Some(limit)) => {
            let shown = match limit {
                Limit::Unlimited => "unlimited".to_string(),
                Limit::Value(bytes) => format!("{} KiB", bytes >> 10),
            };
            let wanted = (host.shards as u64) << 20;
            let item = Item::new("locked memory", State::Ok).current(shown);
            if limit.allows(wanted) {
                item
            } else {
                Item {
                    state: State::Advice,
                    ..item
                }
                .wanted(format!("{} KiB or unlimited", wanted >> 10))
                .note(
                    "of this shell; the unit sets its own. Below 512 KiB no core starts, with little more it runs without \
                     registered buffers: `ulimit -l unlimited`, docker --ulimit memlock=-1",
                )
            }
        }
        (false, None) => Item::new("locked memory", State::Unknown).note("/proc/self/limits cannot be read"),
    });
    items
}

/// What the unit should allow.
const UNIT_LIMITS: [(&str, &str); 3] = [
    ("LimitMEMLOCK", "infinity"),
    ("LimitNOFILE", "800000"),
    ("MemorySwapMax", "0"),
];

pub(super) fn limits(host: &Host) -> Vec<Item> {
    let places = [
        "/etc/systemd/system",
        "/run/systemd/system",
        "/usr/lib/systemd/system",
        "/lib/systemd/system",
    ];
    let unit = places
        .iter()
        .find_map(|place| host.reading(&format!("{place}/{UNIT}")).text());
    let Some(unit) = unit else {
        return vec![process_limits(host)];
    };
    // Later lines win, and drop-ins are read after the unit, by name.
    let mut text = unit;
    let mut drop_ins: Vec<(String, String)> = places
        .iter()
        .flat_map(|place| {
            let dir = format!("{place}/{UNIT}.d");
            host.list(&dir)
                .into_iter()
                .filter(|name| name.ends_with(".conf"))
                .map(move |name| (name.clone(), format!("{dir}/{name}")))
        })
        .collect();
    drop_ins.sort();
    for (_, path) in drop_ins {
        // What this tuner would write is not what it should judge.
        if path != DROP_IN {
            text.push('\n');
            text.push_str(&host.reading(&path).text().unwrap_or_default());
        }
    }
    let value = |key: &str| {
        text.lines()
            .filter_map(|line| line.trim().strip_prefix(key)?.trim_start().strip_prefix('='))
            .map(|value| value.trim().to_string())
            .next_back()
    };
    let missing: Vec<(&str, &str, Option<String>)> = UNIT_LIMITS
        .into_iter()
        .map(|(key, wanted)| (key, wanted, value(key)))
        .filter(|(key, wanted, value)| !is_enough(key, wanted, value.as_deref()))
        .collect();
    let knob = format!("{UNIT}: limits");
    if missing.is_empty() {
        return vec![Item::new(knob, State::Ok).current("locked memory, open files and swap as needed")];
    }
    let lines: Vec<String> = missing
        .iter()
        .map(|(key, wanted, _)| format!("{key}={wanted}"))
        .collect();
    let current: Vec<String> = missing
        .iter()
        .map(|(key, _, value)| format!("{key}={}", value.as_deref().unwrap_or("unset")))
        .collect();
    let content = format!(
        "# Written by `turgo tune apply limits`; `turgo tune undo limits` takes it away.\n[Service]\n{}\n",
        lines.join("\n")
    );
    let file = Change::File {
        path: DROP_IN.into(),
        content: content.clone(),
    };
    let item = Item::new(knob, State::Ok)
        .current(current.join(" "))
        .wanted(lines.join(" "))
        .note("takes effect with: systemctl daemon-reload && systemctl restart turgo");
    vec![
        if host.reading(DROP_IN).text().as_deref() == Some(content.trim_end()) {
            item
        } else {
            Item {
                state: State::Differs,
                change: Some(file),
                ..item
            }
        },
    ]
}

fn is_enough(key: &str, wanted: &str, value: Option<&str>) -> bool {
    match (key, value) {
        (_, Some("infinity")) => key != "MemorySwapMax",
        (_, Some(value)) if value == wanted => true,
        ("LimitNOFILE", Some(value)) => {
            // SOFT:HARD is one way to write it.
            let soft = value.split(':').next().unwrap_or(value);
            soft.parse::<u64>()
                .is_ok_and(|value| value >= wanted.parse().unwrap_or(u64::MAX))
        }
        _ => false,
    }
}

fn process_limits(host: &Host) -> Item {
    let knob = "open files";
    match host.facts.open_files {
        Some(limit) if limit.allows(65_536) => Item::new(knob, State::Ok).current(match limit {
            Limit::Unlimited => "unlimited".into(),
            Limit::Value(value) => value.to_string(),
        }),
        Some(Limit::Value(value)) => Item::new(knob, State::Advice)
            .current(value.to_string())
            .wanted("65536 or more")
            .note("of this shell; there is no turgo.service here. `ulimit -n 65536`, docker --ulimit nofile=65536"),
        _ => Item::new(knob, State::Unknown).note("/proc/self/limits cannot be read"),
    }
}

pub(super) fn version(host: &Host) -> Vec<Item> {
    let shown = host.facts.kernel_release.clone();
    vec![match (host.facts.kernel, shown) {
        (Some(version), Some(shown)) if version < (5, 15) => Item::new("kernel", State::Differs)
            .current(shown)
            .wanted("5.15 or later")
            .note("io_uring before 5.15 lacks fixes that long-running rings need; below 5.8 the broker refuses to start"),
        (Some(_), Some(shown)) => Item::new("kernel", State::Ok).current(shown),
        _ => Item::new("kernel", State::Unknown).note("/proc/sys/kernel/osrelease cannot be read"),
    }]
}

pub(super) fn coredump(host: &Host) -> Vec<Item> {
    let knob = "/proc/sys/kernel/core_pattern";
    let current = match super::readable(host, knob) {
        Ok(current) => current,
        Err(item) => return vec![*item],
    };
    let item = Item::new(knob, State::Ok).current(current.as_str());
    vec![if current.starts_with('|') || current.starts_with('/') {
        item
    } else {
        Item {
            state: State::Advice,
            ..item
        }
        .note(
            "a crash writes a core file into the working directory, as large as the heap, if the limit allows one. To \
             keep cores: install systemd-coredump, or name a directory with space. turgo.service leaves them off",
        )
    }]
}
