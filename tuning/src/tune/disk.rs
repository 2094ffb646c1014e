//! Tuners of the devices and the filesystem under the data.

use super::{Item, State, at_least, choice, mask, readable};
use crate::disk::result;
use crate::host::cpus::Cpus;
use crate::host::{Device, Host, Irq};

/// One item saying that no device was found, if so.
fn none(host: &Host) -> Option<Vec<Item>> {
    host.devices.is_empty().then(|| {
        let place = host.data_dir.display();
        vec![Item::new("devices", State::NotApplicable).note(format!(
            "no block device is visible under {place}: a network filesystem, or a container that hides it"
        ))]
    })
}

fn number(host: &Host, path: &str) -> Option<u64> {
    host.reading(path).text()?.trim().parse().ok()
}

/// A disk with a head. What a hypervisor says about it is a guess, mostly wrong.
fn has_a_head(host: &Host, device: &Device) -> bool {
    !device.is_nvme() && !device.is_paravirtual() && number(host, &device.queue("rotational")) == Some(1)
}

pub(super) fn scheduler(host: &Host) -> Vec<Item> {
    if let Some(items) = none(host) {
        return items;
    }
    host.devices
        .iter()
        .map(|device| {
            let knob = device.queue("scheduler");
            if has_a_head(host, device) && !device.is_stacked {
                let item = choice(host, &knob, &["mq-deadline", "deadline"], &["bfq"]);
                return item.note("a disk with a head: its scheduler saves seeks. Journals want an SSD");
            }
            choice(host, &knob, &["none", "noop"], &[])
        })
        .collect()
}

pub(super) fn merges(host: &Host) -> Vec<Item> {
    if let Some(items) = none(host) {
        return items;
    }
    let each = |device: &Device| {
        at_least(host, &device.queue("nomerges"), 2).into_advice().note(
            "2 saves a search for neighbours on each request; our writes are large and rarely neighbours. Not measured to \
             help here, so never set unasked",
        )
    };
    host.devices.iter().map(each).collect()
}

pub(super) fn queue_depth(host: &Host) -> Vec<Item> {
    if let Some(items) = none(host) {
        return items;
    }
    let mut items = Vec::new();
    for device in host.devices.iter().filter(|device| !device.is_stacked) {
        // Journal, drain and catch-up reads of all shards, each a few requests.
        let wanted = (host.shards as u64 * 16).clamp(32, 256);
        items.push(at_least(host, &device.queue("nr_requests"), wanted).into_advice().note(
            "journals, drain and catch-up reads of all shards share these requests; more than the device has tags is refused",
        ));
        let knob = device.queue("read_ahead_kb");
        if let Some(current) = host.reading(&knob).text() {
            items.push(
                Item::new(knob, State::Ok)
                    .current(current)
                    .note("of no effect on data: the broker reads directly and plans its own read-ahead"),
            );
        }
    }
    items
}

pub(super) fn write_cache(host: &Host) -> Vec<Item> {
    if let Some(items) = none(host) {
        return items;
    }
    let each = |device: &Device| {
        let knob = device.queue("write_cache");
        let current = match readable(host, &knob) {
            Ok(current) => current,
            Err(item) => return *item,
        };
        let fua = number(host, &device.queue("fua")) == Some(1);
        let item = Item::new(knob, State::Ok).current(match (current.as_str(), fua) {
            ("write back", true) => "write back, with FUA".to_string(),
            ("write back", false) => "write back, no FUA".to_string(),
            (other, _) => other.to_string(),
        });
        // Never written: the file changes what the kernel believes, not what the device does, and ends its flushes.
        item.note(match (current.as_str(), fua) {
            ("write back", true) => {
                "a volatile cache; a durable write goes past it in one command. Report only"
            }
            ("write back", false) => {
                "a volatile cache; a durable write is a write and a flush of the whole cache: that flush is the floor of \
                 every acknowledgement. A device with power-loss protection says `write through`. Report only"
            }
            _ => "no volatile cache, or a protected one: durable writes need no flush. Report only",
        })
    };
    host.devices.iter().map(each).collect()
}

/// Interrupts spread over `cpus`, the one of queue n on the n-th CPU.
pub(super) fn spread(host: &Host, irqs: &[&Irq], cpus: &Cpus) -> Vec<Item> {
    let order: Vec<usize> = cpus.iter().collect();
    let mut items = Vec::new();
    for (index, irq) in irqs.iter().enumerate() {
        let knob = irq.affinity();
        if irq.is_managed {
            let item = Item::new(knob.as_str(), State::KernelManaged);
            let item = match host.reading(&knob).text() {
                Some(current) => item.current(current),
                None => item,
            };
            items.push(item.note(format!(
                "{}: placed by the kernel, one for each queue, and closed to others by design",
                irq.name
            )));
        } else if !order.is_empty() {
            let cpu = order[irq.queue().unwrap_or(index) % order.len()];
            let item = mask(host, &knob, &Cpus::of([cpu]));
            // Numbers of interrupts change from start to start: no boot file can name them.
            items.push(Item { keep: None, ..item }.note(irq.name.clone()));
        }
    }
    items
}

pub(super) fn irqs(host: &Host) -> Vec<Item> {
    if let Some(items) = none(host) {
        return items;
    }
    let mut items = Vec::new();
    for device in host.devices.iter().filter(|device| !device.is_stacked) {
        let irqs = host.queue_irqs(&device.path);
        if irqs.is_empty() {
            items.push(
                Item::new(format!("interrupts of {}", device.name), State::NotApplicable)
                    .note("none listed: a hypervisor's device, or one without interrupts of its own"),
            );
        } else if irqs.len() == 1 && !irqs[0].is_managed {
            // One interrupt for all queues: any CPU of the shards does.
            let irq = irqs[0];
            let current = host
                .reading(&irq.affinity())
                .text()
                .and_then(|text| Cpus::from_mask(&text));
            items.push(match current {
                Some(cpus) if !cpus.is_empty() && cpus.is_within(&host.shard_cpus) => {
                    Item::new(irq.affinity(), State::Ok)
                        .current(cpus.mask())
                        .note(irq.name.clone())
                }
                _ => {
                    let item = mask(host, &irq.affinity(), &host.shard_cpus);
                    Item { keep: None, ..item }.note(irq.name.clone())
                }
            });
        } else {
            items.extend(spread(host, &irqs, &host.shard_cpus));
        }
    }
    // Several devices may share a controller and so its interrupts.
    items.dedup_by(|a, b| a.knob == b.knob);
    items
}

pub(super) fn filesystem(host: &Host) -> Vec<Item> {
    let Some(found) = &host.facts.filesystem else {
        return vec![Item::new("filesystem", State::Unknown).note("/proc/self/mountinfo does not tell")];
    };
    let knob = format!("filesystem at {}", found.mount_point.display());
    let has = |option: &str| found.options.split(',').any(|word| word == option);
    let item = Item::new(knob.as_str(), State::Ok).current(found.kind.as_str());
    let mut items = vec![match found.kind.as_str() {
        "ext4" | "xfs" => item,
        "tmpfs" | "ramfs" => Item {
            state: State::Differs,
            ..item
        }
        .wanted("ext4 or xfs")
        .note("that is memory: a restart loses it, and the broker refuses it. --data DIR"),
        _ => Item {
            state: State::Differs,
            ..item
        }
        .wanted("ext4 or xfs")
        .note("files written ahead make a flush one write there; this filesystem is not tested with Turgo"),
    }];
    if has("nobarrier") || has("barrier=0") {
        items.push(
            Item::new(format!("{knob}: barrier"), State::Differs)
                .current("off")
                .wanted("on")
                .note("flushes do not reach the medium, so what is acknowledged may be lost: mount -o remount,barrier=1"),
        );
    }
    if has("data=journal") {
        items.push(
            Item::new(format!("{knob}: data"), State::Differs)
                .current("journal")
                .wanted("ordered")
                .note("every block is written twice, and direct IO is not direct: mount with data=ordered"),
        );
    }
    if has("sync") || has("dirsync") {
        items.push(
            Item::new(format!("{knob}: sync"), State::Differs)
                .current("sync")
                .wanted("async")
                .note("every write waits for the device; the broker flushes what must be flushed itself"),
        );
    }
    if has("discard") {
        items.push(
            Item::new(format!("{knob}: discard"), State::Advice)
                .current("discard")
                .wanted("nodiscard, and fstrim.timer")
                .note("each deleted segment is erased on the device at once, beside the journal's writes"),
        );
    }
    if found.options.split(',').any(|word| word == "strictatime") {
        items.push(
            Item::new(format!("{knob}: atime"), State::Advice)
                .current("strictatime")
                .wanted("relatime or noatime")
                .note("each read makes a write of metadata"),
        );
    }
    items
}

pub(super) fn fstrim(host: &Host) -> Vec<Item> {
    if let Some(items) = none(host) {
        return items;
    }
    let discards =
        |device: &Device| number(host, &device.queue("discard_max_bytes")).is_some_and(|bytes| bytes > 0);
    if !host.devices.iter().any(discards) {
        return vec![Item::new("fstrim.timer", State::NotApplicable).note("no device here takes discards")];
    }
    let enabled = "/etc/systemd/system/timers.target.wants/fstrim.timer";
    // The link's target is outside of what a tree in tests holds; its name is enough.
    let is_enabled = host
        .list("/etc/systemd/system/timers.target.wants")
        .iter()
        .any(|name| name == "fstrim.timer");
    let cron = host.has("/etc/cron.weekly/fstrim");
    vec![if is_enabled || cron {
        Item::new(enabled, State::Ok).current("weekly")
    } else {
        Item::new(enabled, State::Advice)
            .current("off")
            .wanted("weekly")
            .note("an SSD that is never told what is free slows down with time: systemctl enable --now fstrim.timer")
    }]
}

pub(super) fn measured(host: &Host) -> Vec<Item> {
    let knob = host.data_dir.join(result::NAME).display().to_string();
    let run = format!("turgo tune disk {}", host.data_dir.display());
    let text = match host.reading(&knob) {
        crate::files::Reading::Is(text) => text,
        crate::files::Reading::Missing => {
            return vec![Item::new(knob, State::Advice).current("not measured").note(format!(
                "{run} (half a minute) tells the broker how many groups to keep in flight, and you the floor of its latency"
            ))];
        }
        _ => {
            return vec![
                Item::new(knob, State::Unknown).note("cannot be read; run as root or as the broker's user"),
            ];
        }
    };
    let found = match result::parse(&text) {
        Ok(found) => found,
        Err(why) => {
            return vec![
                Item::new(knob, State::Differs)
                    .current("unreadable")
                    .note(format!("{why}. Measure again: {run}")),
            ];
        }
    };
    let now = crate::host::identity(host);
    vec![match found.identity.matches(&now) {
        Ok(()) => Item::new(knob, State::Ok).current(format!(
            "measured {}: a durable 4 KiB write takes {} us (p99 {} us)",
            found.date, found.floor.p50_us, found.floor.p99_us
        )),
        Err(why) => Item::new(knob, State::Differs)
            .current("of another device")
            .note(format!("{why}. The broker ignores it; measure again: {run}")),
    }]
}

/// Least free space wanted for a new broker, bytes: 10 GB.
const FREE: u64 = 10_000_000_000;

pub(super) fn space(host: &Host) -> Vec<Item> {
    let knob = format!("free space at {}", host.data_dir.display());
    if !host.files().is_live() {
        return vec![Item::new(knob, State::NotApplicable).note("not the running machine")];
    }
    let place = crate::preflight::existing_part(&host.data_dir);
    vec![match crate::sys::space(&place) {
        Ok(space) => {
            let item = Item::new(knob, State::Ok).current(format!("{} MB", space.free_bytes / 1_000_000));
            if space.free_bytes < FREE {
                Item {
                    state: State::Advice,
                    ..item
                }
                .wanted(format!("{} MB", FREE / 1_000_000))
                .note("producing stops when 5 % are free (space.produce_stop_free): shorten retention or take a larger disk")
            } else {
                item
            }
        }
        Err(error) => Item::new(knob, State::Unknown).note(error.to_string()),
    }]
}
