use super::*;

fn row(kind: &str, block: u64, depth: u32, rate: u64, p50: f64, p99: f64) -> Row {
    Row {
        kind: kind.into(),
        block_bytes: block,
        depth,
        beside: String::new(),
        bytes_per_second: rate,
        late_bytes_per_second: rate,
        latency: Latency {
            samples: 5_000,
            p50_us: p50,
            p99_us: p99,
            p999_us: p99 * 2.0,
            max_us: p99 * 4.0,
        },
    }
}

/// Durable writes whose throughput at depth 2 and 4 is that of depth 1 times the factors.
fn durable(two: f64, four: f64, tail_four: f64) -> Vec<Row> {
    let mut rows = vec![row("write_durable", 4096, 1, 40 << 20, 100.0, 200.0)];
    for size in [16u64 << 10, 64 << 10, 128 << 10] {
        let rate = |factor: f64| (100e6 * factor) as u64;
        rows.push(row("write_durable", size, 1, rate(1.0), 150.0, 300.0));
        rows.push(row("write_durable", size, 2, rate(two), 150.0, 300.0));
        rows.push(row(
            "write_durable",
            size,
            4,
            rate(four),
            150.0,
            300.0 * tail_four,
        ));
    }
    rows
}

#[test]
fn groups_in_flight_follow_what_the_device_gains() {
    for (two, four, tail, groups) in [
        (0.9, 0.9, 1.0, 1),
        (1.05, 1.1, 1.0, 2),
        (1.9, 3.6, 1.1, 4),
        (1.9, 3.6, 2.5, 2),
        (1.5, 1.6, 1.0, 2),
    ] {
        let found = suggest(&durable(two, four, tail), None).groups_in_flight;
        assert_eq!(found, groups, "{two} {four} {tail}");
    }
    assert_eq!(suggest(&[], None).groups_in_flight, 2);
}

#[test]
fn what_was_measured_on_a_busy_machine_changes_nothing() {
    let rows = durable(1.9, 3.6, 1.1);
    assert_eq!(suggest(&rows, Some(25)).groups_in_flight, 4);
    let busy = suggest(&rows, Some(26));
    assert_eq!(
        busy,
        Suggested {
            cheap_group_bytes: suggest(&rows, None).cheap_group_bytes,
            ..suggest(&[], None)
        }
    );
    assert!(doubts(&rows, "ext4", Some(60))[0].contains("60 %"));
}

#[test]
fn depths_are_the_least_that_fill_the_device() {
    let rows = [
        row("write", 1 << 20, 1, 300, 1.0, 1.0),
        row("write", 1 << 20, 2, 900, 1.0, 1.0),
        row("write", 1 << 20, 4, 1_000, 1.0, 1.0),
        row("read", 1 << 20, 1, 100, 1.0, 1.0),
        row("read", 1 << 20, 2, 200, 1.0, 1.0),
        row("read", 1 << 20, 4, 400, 1.0, 1.0),
        row("read", 1 << 20, 8, 800, 1.0, 1.0),
        row("read_random", 4096, 1, 4096 * 500, 1.0, 1.0),
        row("read_random", 4096, 32, 4096 * 9_000, 1.0, 1.0),
    ];
    let found = suggest(&rows, None);
    assert_eq!((found.drain_depth, found.read_depth), (2, 8));
    let band = bandwidth(&rows);
    assert_eq!(
        (band.read_bytes_per_second, band.random_reads_per_second),
        (800, 9_000)
    );
    // Nothing measured: what the broker does anyway.
    assert_eq!(
        (suggest(&[], None).drain_depth, suggest(&[], None).read_depth),
        (4, 8)
    );
}

#[test]
fn cheap_groups_end_where_size_costs() {
    let mut rows = durable(1.0, 1.0, 1.0);
    rows.push(row("write_durable", 256 << 10, 1, 1, 201.0, 300.0));
    assert_eq!(suggest(&rows, None).cheap_group_bytes, 128 << 10);
}

#[test]
fn implausible_and_thin_measurements_are_doubted() {
    let mut rows = durable(1.0, 1.0, 1.0);
    assert_eq!(doubts(&rows, "ext4", Some(3)), Vec::<String>::new());
    rows[0].latency.p50_us = 2.0;
    rows[0].latency.samples = 10;
    let mut slow = row("write", 1 << 20, 4, 1_000, 1.0, 1.0);
    slow.late_bytes_per_second = 100;
    rows.push(slow);
    let notes = doubts(&rows, "btrfs", Some(3));
    for part in [
        "no device is that fast",
        "rests on 10 writes",
        "runs full",
        "btrfs",
    ] {
        assert!(notes.iter().any(|note| note.contains(part)), "{part}: {notes:?}");
    }
}

fn whole() -> Measured {
    let rows = durable(1.0, 1.0, 1.0);
    Measured {
        version: VERSION,
        date: date(1_795_261_200),
        kernel: "6.12".into(),
        seconds: 30.0,
        cpu_wait_percent: Some(3),
        notes: vec!["a \"note\"".into()],
        identity: Identity {
            device: "nvme0n1".into(),
            model: "X".into(),
            serial: "S1".into(),
            firmware: "F".into(),
            size_bytes: 1 << 40,
            filesystem: "ext4".into(),
        },
        floor: rows[0].latency,
        suggested: suggest(&rows, None),
        bandwidth: bandwidth(&rows),
        measured: rows,
    }
}

#[test]
fn the_file_reads_back_as_it_was_written() {
    let found = whole();
    assert_eq!(parse(&print(&found)).unwrap(), found);
}

#[test]
fn other_versions_wrong_numbers_and_torn_files_are_refused() {
    let text = print(&whole());
    assert!(
        parse(&text.replace("version = 1", "version = 2"))
            .unwrap_err()
            .contains("version is 2")
    );
    assert!(
        parse(&text.replace("groups_in_flight = 2", "groups_in_flight = 9"))
            .unwrap_err()
            .contains("range")
    );
    for cut in (0..text.len() - 1).step_by(7) {
        // A file cut short may still be whole TOML with rows missing; it must never panic or suggest nonsense.
        if let Ok(found) = parse(&text[..cut]) {
            assert_eq!(found.suggested, whole().suggested);
        }
    }
    assert!(parse("").is_err());
}

#[test]
fn another_device_is_told_apart_and_a_renamed_one_is_not() {
    let then = whole().identity;
    let renamed = Identity {
        device: "nvme3n1".into(),
        ..then.clone()
    };
    assert_eq!(then.matches(&renamed), Ok(()));
    let other = Identity {
        serial: "S2".into(),
        ..then.clone()
    };
    assert!(then.matches(&other).unwrap_err().contains("serial number"));
    let nameless = |device: &str, size_bytes| Identity {
        device: device.into(),
        size_bytes,
        ..Identity::default()
    };
    assert_eq!(nameless("vda", 9).matches(&nameless("vda", 9)), Ok(()));
    assert!(nameless("vda", 9).matches(&nameless("vdb", 9)).is_err());
    assert!(nameless("vda", 9).matches(&nameless("vda", 8)).is_err());
}

#[test]
fn dates_are_right_around_leap_days() {
    for (seconds, text) in [
        (0, "1970-01-01T00:00:00Z"),
        (951_782_399, "2000-02-28T23:59:59Z"),
        (951_782_400, "2000-02-29T00:00:00Z"),
        (951_868_800, "2000-03-01T00:00:00Z"),
        (1_709_164_800, "2024-02-29T00:00:00Z"),
        (4_107_542_400, "2100-03-01T00:00:00Z"),
    ] {
        assert_eq!(date(seconds), text);
    }
}
