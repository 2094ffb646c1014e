use super::settings::SETTINGS;
use super::*;

fn none() -> [(String, String); 0] {
    []
}

fn errors(file: &str) -> String {
    resolve(Some(("turgo.toml", file)), none(), &[])
        .expect_err("must be refused")
        .to_string()
}

fn config(file: &str, environment: &[(&str, &str)], flags: &[Flag]) -> NodeConfig {
    let environment = environment
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()));
    match resolve(Some(("turgo.toml", file)), environment, flags) {
        Ok(resolved) => NodeConfig::from_resolved(resolved),
        Err(errors) => panic!("{errors}"),
    }
}

#[test]
fn defaults_are_valid_shown_as_declared_and_start_a_local_broker() {
    let defaults = NodeConfig::defaults();
    for (setting, (value, origin)) in SETTINGS.iter().zip(&defaults.resolved.values) {
        assert_eq!(value.show(&setting.kind), setting.default, "{}", setting.name());
        assert_eq!(*origin, Origin::Default);
        assert!(setting.doc.ends_with('.'), "{}", setting.name());
    }
    assert_eq!(defaults.listen.to_string(), "127.0.0.1:9092");
    assert_eq!(defaults.admin.unwrap().to_string(), "127.0.0.1:9644");
    assert_eq!(defaults.data_dir, PathBuf::from("./turgo-data"));
    assert_eq!(defaults.max_frame_bytes, 104_857_600);
    assert_eq!(defaults.idle_timeout, Duration::from_secs(600));
    assert_eq!(defaults.cores, None);
    assert!(defaults.pin_cores && !defaults.accept_loss);
}

#[test]
fn setting_names_are_unique_and_sections_stand_together() {
    let mut names: Vec<String> = SETTINGS.iter().map(|s| s.name()).collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
    let sections = settings::sections();
    let mut unique = sections.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), sections.len(), "a section is split in the table");
}

#[test]
fn all_errors_come_at_once_with_line_column_and_suggestion() {
    let file = "\
[node]
id = \"one\"
data-dir = \"/var/lib/turgo\"
cores = 0

[journal]
ring_byte = \"1 GiB\"
file_bytes = \"64 meg\"

[netwrok]
listen = \"127.0.0.1:9092\"

[network]
listen = \"127.0.0.1\"
idle_timeout = 600
max_connections = [1, 2]
max_frame_bytes = \"2 GiB\"

[log]
level = \"wran\"
retention.hours = 1

[space]
produce_stop_free = \"5\"
";
    assert_eq!(
        errors(file),
        "\
turgo.toml:2:6: \"one\" is not a whole number; write one from 0 to 2147483647
turgo.toml:3:1: unknown key `data-dir`; did you mean `data_dir`?
turgo.toml:4:9: \"0\" is out of range; 1 to 512 is allowed
turgo.toml:7:1: unknown key `ring_byte`; did you mean `ring_bytes`?
turgo.toml:8:14: \"64 meg\" is not a size; write a number and a unit, like \"64 MiB\"
turgo.toml:10:2: unknown section `netwrok`; did you mean `network`?
turgo.toml:14:10: \"127.0.0.1\" is not an address: the port is missing; write HOST:PORT, like \"127.0.0.1:9092\"
turgo.toml:15:16: \"600\" is not a time; write a number and a unit, like \"250 ms\" or \"7 days\"
turgo.toml:16:19: `max_connections` takes one value (count), not a list
turgo.toml:17:19: \"2 GiB\" is out of range; 64 KiB to 1 GiB is allowed
turgo.toml:20:9: \"wran\" is not one of error, warn, info, debug, trace; did you mean \"warn\"?
turgo.toml:21:1: unknown key `log.retention`; settings under Kafka's names belong in section [kafka]
turgo.toml:24:21: \"5\" is not a share; write a whole number and a percent sign, like \"5 %\"
13 errors; not started"
    );
}

#[test]
fn a_key_of_another_section_is_sent_there() {
    assert_eq!(
        errors("ring_bytes = \"1 GiB\"\n"),
        "turgo.toml:1:1: unknown key `ring_bytes`; did you mean `ring_bytes` in section [journal]?\n1 error; not started"
    );
    assert_eq!(
        errors("[node]\nadvertized = \"a:1\"\n"),
        "turgo.toml:2:1: unknown key `advertized`; did you mean `advertised` in section [network]?\n1 error; not started"
    );
}

#[test]
fn syntax_errors_name_their_line_and_hide_no_second_one() {
    let text = errors("[node\nid = 1\n\n[network]\nlisten = 127.0.0.1:9092\n");
    assert!(text.starts_with("turgo.toml:1:6: "), "{text}");
    assert!(text.contains("\nturgo.toml:5:"), "{text}");
    assert!(text.ends_with("errors; not started"), "{text}");
}

#[test]
fn columns_count_characters_not_bytes() {
    let text = errors("[node]\nrack = \"größe\" \nid = 'ö' # ü\n");
    assert!(
        text.starts_with("turgo.toml:3:6: \"ö\" is not a whole number"),
        "{text}"
    );
    let text = errors("[node]\n\"räck\" = 1\n");
    assert!(
        text.starts_with("turgo.toml:2:1: unknown key `räck`; did you mean `rack`?"),
        "{text}"
    );
}

#[test]
fn later_layers_win_and_keep_their_origin() {
    let file = "[node]\nid = 1_0\ncores = 0x2\n[log]\nlevel = 'warn'\n";
    let environment = [
        ("TURGO_NODE__ID", "20"),
        ("TURGO_LOG__FORMAT", "json"),
        ("TURGO_PORT", "tcp://1.2.3.4:5"),
        ("OTHER__X", "1"),
    ];
    let flags = [Flag::new("--node-id", "node.id", "30")];
    let config = config(file, &environment, &flags);
    assert_eq!(config.node_id, 30);
    assert_eq!(config.cores, Some(2));
    assert_eq!(config.log_level, LogLevel::Warn);
    assert_eq!(config.log_format, LogFormat::Json);
    let origin = |section, key| config.resolved.get(section, key).1.to_string();
    assert_eq!(origin("node", "id"), "flag --node-id");
    assert_eq!(origin("node", "cores"), "turgo.toml:3:9");
    assert_eq!(origin("log", "format"), "environment variable TURGO_LOG__FORMAT");
    assert_eq!(origin("node", "rack"), "default");
}

#[test]
fn errors_of_all_layers_come_together_file_first() {
    let environment = [
        ("TURGO_NODE__IDD".to_string(), "1".to_string()),
        ("TURGO_LOG__LEVEL".into(), "loud".into()),
    ];
    let flags = [Flag::new("--cores", "node.cores", "many")];
    let text = resolve(Some(("turgo.toml", "[node]\nx = 1\n")), environment, &flags)
        .unwrap_err()
        .to_string();
    assert_eq!(
        text,
        "\
turgo.toml:2:1: unknown key `node.x`; `turgo config print --defaults` lists all
environment variable TURGO_LOG__LEVEL: \"loud\" is not one of error, warn, info, debug, trace
environment variable TURGO_NODE__IDD: unknown setting; did you mean TURGO_NODE__ID?
flag --cores: \"many\" is not a whole number; write one from 1 to 512, or `auto`
4 errors; not started"
    );
}

#[test]
fn what_has_a_section_of_its_own_is_told_by_kafkas_names_too() {
    let told = |config: &NodeConfig| {
        let listen = config.listen.clone();
        let advertised = config.advertised.clone().unwrap_or_else(|| listen.clone());
        config.static_configs(&listen, &advertised, Path::new("/data"))
    };
    let plain = told(&config("", &[], &[]));
    let max_connections = SETTINGS
        .iter()
        .find(|setting| setting.key == "max_connections")
        .expect("a setting")
        .default
        .to_string();
    let mut expected = vec![
        ("advertised.listeners", "PLAINTEXT://127.0.0.1:9092"),
        ("broker.id", "1"),
        ("listeners", "PLAINTEXT://127.0.0.1:9092"),
        ("log.dirs", "/data"),
        ("max.connections", max_connections.as_str()),
        ("node.id", "1"),
        ("process.roles", "broker,controller"),
    ];
    let plain: Vec<(&str, &str)> = plain.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(plain, expected);

    let file = "\
[node]
id = 7
rack = \"r1\"
[network]
listen = \"0.0.0.0:9092\"
advertised = \"[::1]:19092\"
max_frame_bytes = \"1 MiB\"
idle_timeout = \"5 minutes\"
max_connections = 99
[kafka]
num.partitions = 3
";
    let given = told(&config(file, &[], &[]));
    let given: Vec<(&str, &str)> = given.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    expected = vec![
        ("advertised.listeners", "PLAINTEXT://[::1]:19092"),
        ("broker.id", "7"),
        ("broker.rack", "r1"),
        ("connections.max.idle.ms", "300000"),
        ("listeners", "PLAINTEXT://0.0.0.0:9092"),
        ("log.dirs", "/data"),
        ("max.connections", "99"),
        ("node.id", "7"),
        ("num.partitions", "3"),
        ("process.roles", "broker,controller"),
        ("socket.request.max.bytes", "1048576"),
    ];
    assert_eq!(given, expected);
    for (name, value) in given {
        assert!(
            crate::configs::check_static(name, value).is_ok(),
            "{name}={value}"
        );
    }
}

#[test]
fn kafka_names_pass_through_quoted_dotted_or_from_the_environment() {
    let file = "\
[kafka]
\"log.retention.hours\" = 24
log.segment.bytes = \"64 MiB\"
log.retention.ms = -1
num.partitions = 3
auto.create.topics.enable = false
log.cleanup.policy = [\"compact\", \"delete\"]
offsets.retention.minutes = \"7 days\"
";
    let config = config(file, &[("TURGO_KAFKA__NUM_PARTITIONS", "6")], &[]);
    let value = |name: &str| config.kafka[name].value.as_str();
    assert_eq!(value("log.retention.hours"), "24");
    assert_eq!(value("log.segment.bytes"), "67108864");
    assert_eq!(value("log.retention.ms"), "-1");
    assert_eq!(value("auto.create.topics.enable"), "false");
    assert_eq!(value("log.cleanup.policy"), "compact,delete");
    assert_eq!(value("offsets.retention.minutes"), "10080");
    assert_eq!(value("num.partitions"), "6");
    assert_eq!(
        config.kafka["num.partitions"].origin.to_string(),
        "environment variable TURGO_KAFKA__NUM_PARTITIONS"
    );
    assert_eq!(
        config.kafka["log.segment.bytes"].origin.to_string(),
        "turgo.toml:3:21"
    );
    assert!(
        errors("[kafka]\n\"log retention\" = 1\n")
            .starts_with("turgo.toml:2:19: `log retention` is not the name")
    );
}

#[test]
fn settings_under_kafka_names_are_judged_like_the_others() {
    assert_eq!(
        errors(
            "[kafka]\n\"num.partition\" = 3\nlog.retention.hours = \"long\"\nlisteners = 'PLAINTEXT://:9092'\n"
        ),
        "\
turgo.toml:2:19: unknown broker setting `num.partition`; did you mean `num.partitions`?
turgo.toml:3:23: \"long\" is no value of `log.retention.hours`: not a whole number of type INT
turgo.toml:4:13: `listeners` would have no effect here; set `network.listen` instead
3 errors; not started"
    );
}

#[test]
fn values_that_contradict_each_other_are_refused() {
    let text = errors("[journal]\nring_bytes = \"128 MiB\"\n");
    assert!(
        text.starts_with("turgo.toml:2:14: journal.ring_bytes (128 MiB) must hold at least four files"),
        "{text}"
    );
    let text = errors("[space]\nproduce_stop_free = \"1 %\"\n");
    assert!(
        text.starts_with("turgo.toml:2:21: space.delete_only_free (2 %) must not lie above"),
        "{text}"
    );
    let text = errors("[network]\nlisten = \"0.0.0.0:9092\"\n");
    assert!(text.contains("set network.advertised"), "{text}");
    let text = errors("[network]\nadvertised = \"[::]:9092\"\n");
    assert!(text.contains("write the name under which they reach"), "{text}");
    let open = config(
        "[network]\nlisten = \"[::]:9092\"\nadvertised = \"kafka.example:9092\"\n",
        &[],
        &[],
    );
    assert_eq!(open.listen.to_string(), "[::]:9092");
}

#[test]
fn advertised_follows_the_bound_port_unless_told_otherwise() {
    let bound: SocketAddr = "127.0.0.1:40123".parse().unwrap();
    let plain = config("[network]\nlisten = \"localhost:0\"\n", &[], &[]);
    assert_eq!(plain.advertised_for(bound).to_string(), "localhost:40123");
    let told = config("[network]\nadvertised = \"b1:9093\"\n", &[], &[]);
    assert_eq!(told.advertised_for(bound).to_string(), "b1:9093");
    let half = config("[network]\nadvertised = \"b1:0\"\n", &[], &[]);
    assert_eq!(half.advertised_for(bound).to_string(), "b1:40123");
}

#[test]
fn the_annotated_listing_is_a_file_that_means_the_same() {
    let file = "[node]\nid = 7\ncores = 2\nrack = 'a \"b\" \\\\c'\n[admin]\nlisten = 'off'\n[kafka]\n\"num.partitions\" = 3\n";
    let first = config(file, &[], &[]);
    let printed = print_annotated(&first.resolved);
    let second = config(&printed, &[], &[]);
    let values = |config: &NodeConfig| {
        config
            .resolved
            .values
            .iter()
            .map(|(v, _)| v.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(values(&first), values(&second), "{printed}");
    assert_eq!(second.kafka["num.partitions"].value, "3");
    let uncommented: String = print_annotated(&NodeConfig::defaults().resolved)
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let all = config(&uncommented, &[], &[]);
    assert_eq!(values(&all), values(&NodeConfig::defaults()));
    let json = print_json(&first.resolved);
    assert_eq!(json[0]["name"], "node.id");
    assert_eq!(json[0]["value"], "7");
    assert_eq!(json[0]["environment"], "TURGO_NODE__ID");
}

#[test]
fn sizes_and_times_are_exact_and_refuse_what_has_no_meaning() {
    use super::value::{parse_size, parse_time, show_size, show_time};
    assert_eq!(parse_size("64MiB"), Ok(67_108_864));
    assert_eq!(parse_size("1.5 GiB"), Ok(1_610_612_736));
    assert_eq!(parse_size("100 MB"), Ok(100_000_000));
    assert_eq!(parse_size(" 1_024 b "), Ok(1024));
    assert_eq!(parse_size("0"), Ok(0));
    for bad in [
        "",
        "64",
        "MiB",
        "-1 MiB",
        "1.5 B",
        "1e3 B",
        "99999999 TiB",
        "1..5 GiB",
        ".5 GiB",
        "64 MiBs",
    ] {
        assert!(parse_size(bad).is_err(), "{bad}");
    }
    assert_eq!(parse_time("250ms"), Ok(250));
    assert_eq!(parse_time("1.5 h"), Ok(5_400_000));
    assert_eq!(parse_time("7 days"), Ok(604_800_000));
    for bad in ["", "7", "7 weeks", "0.5 ms", "-1 s"] {
        assert!(parse_time(bad).is_err(), "{bad}");
    }
    assert_eq!(show_size(1_610_612_736), "1536 MiB");
    assert_eq!(show_time(5_400_000), "90 min");
    for n in [0, 1, 999, 1024, 4096, 1 << 20, 5 << 30] {
        assert_eq!(parse_size(&show_size(n)), Ok(n));
        assert_eq!(parse_time(&show_time(n)), Ok(n));
    }
}

#[test]
fn addresses_with_names_and_brackets() {
    let parse = |text: &str| text.parse::<HostPort>().map(|address| address.to_string());
    assert_eq!(parse("localhost:9092").as_deref(), Ok("localhost:9092"));
    assert_eq!(parse("[::1]:0").as_deref(), Ok("[::1]:0"));
    for bad in [
        "",
        ":9092",
        "host",
        "host:",
        "host:x",
        "host:65536",
        "::1:9092",
        "[::1]",
        "[x]:1",
        "a b:1",
        "[::1:1",
    ] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_reported_beside_the_other_errors() {
    let flags = [Flag::new("--cores", "node.cores", "0")];
    let text = load(Some(Path::new("/nonexistent/turgo.toml")), none(), &flags)
        .unwrap_err()
        .to_string();
    assert!(
        text.starts_with("/nonexistent/turgo.toml: cannot read: No such file"),
        "{text}"
    );
    assert!(text.contains("flag --cores: \"0\" is out of range"), "{text}");
    assert!(text.ends_with("2 errors; not started"), "{text}");
}

#[test]
fn memory_budgets_follow_the_machine_unless_set() {
    let defaults = NodeConfig::defaults();
    let budget = defaults.memory_for(8 << 30, 4);
    assert_eq!(budget.storage_bytes, 4 * 96 << 20);
    assert_eq!(defaults.memory_for(256 << 20, 4).storage_bytes, 64 << 20);
    assert_eq!(budget.network_bytes, (8 << 30) / 10);
    let set = config("[memory]\nstorage = \"512 MiB\"\n", &[], &[]);
    assert_eq!(set.memory_for(8 << 30, 4).storage_bytes, 512 << 20);
}

/// The manual's table and the packaged file are written from the declarations; `UPDATE_DOCS=1` writes them anew.
#[test]
fn the_manual_and_the_packaged_file_tell_the_declared_settings() {
    const BEGIN: &str = "<!-- node settings: written by the test of engine::config -->\n";
    const END: &str = "<!-- end of node settings -->";
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let manual = root.join("docs/operating.md");
    let text = std::fs::read_to_string(&manual).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the manual has the mark");
    let (_, after) = rest.split_once(END).expect("the manual has the end mark");
    let wanted = format!("{before}{BEGIN}\n{}\n{END}{after}", print_markdown());
    let packaged = root.join("packaging/turgo.toml");
    let sample = print_annotated(&NodeConfig::defaults().resolved);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&manual, &wanted).unwrap();
        std::fs::create_dir_all(packaged.parent().unwrap()).unwrap();
        std::fs::write(&packaged, &sample).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(&manual).unwrap(),
        wanted,
        "run with UPDATE_DOCS=1"
    );
    assert_eq!(
        std::fs::read_to_string(&packaged).unwrap(),
        sample,
        "run with UPDATE_DOCS=1"
    );
}
