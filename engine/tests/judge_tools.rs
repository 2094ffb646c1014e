//! Apache Kafka's own command-line tools as a judge: what operators type every day, with its output checked.
//!
//! Run alone with `cargo test -p turgo-engine --test judge_tools`.

mod support;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use support::librdkafka::{LIMIT, admin, config, create_topic};
use support::shell::Shell;
use support::{Broker, Judge, tools, unique};

#[test]
fn kafkas_command_line_tools() {
    let judge = Judge::begin("kafka-tools");
    let program = match tools::kafka_tools() {
        Ok(program) => program,
        Err(why) => return judge.skipped(&why),
    };
    let broker = Broker::start();
    let mut shell = Shell::start(&program, broker.endpoint());
    let topic = &unique("tools");
    cluster(&mut shell);
    topics(&mut shell, topic);
    console(&mut shell, topic);
    groups(&mut shell, topic);
    configs(&mut shell, topic);
    records(&mut shell, topic);
    performance(&mut shell, topic);
    verifiable(&mut shell, topic);
    transactions(&mut shell, topic);
    administration(&mut shell, topic);
    resources(&mut shell);
    deletion(&mut shell, topic);
    judge.passed(&format!("{} calls of 20 tools", shell.calls));
}

fn cluster(shell: &mut Shell) {
    let id = shell.call("ClusterTool", "cluster-id").ok().says("Cluster ID: ");
    assert!(id.out.trim().len() > "Cluster ID: ".len() + 10, "{}", id.out);
    let host = shell.bootstrap.split(':').next().expect("a host").to_owned();
    shell.call("ClusterTool", "list-endpoints").ok().says(&host);

    let versions = shell.call("BrokerApiVersionsCommand", "").ok();
    let ranges: HashMap<&str, &str> = versions
        .out
        .lines()
        .filter_map(|line| line.trim().split_once("): "))
        .map(|(name, range)| {
            (
                name.split('(').next().expect("a name"),
                range.split(" [").next().expect("a range"),
            )
        })
        .collect();
    // Kafka 4.3's ranges of what is served; the tool's own client intersects them with its own.
    for (api, range) in [
        ("Produce", "0 to 13"),
        ("Fetch", "4 to 18"),
        ("ListOffsets", "1 to 11"),
        ("Metadata", "0 to 13"),
        ("OffsetCommit", "2 to 10"),
        ("OffsetFetch", "1 to 10"),
        ("FindCoordinator", "0 to 6"),
        ("JoinGroup", "0 to 9"),
        ("Heartbeat", "0 to 4"),
        ("LeaveGroup", "0 to 5"),
        ("SyncGroup", "0 to 5"),
        ("DescribeGroups", "0 to 6"),
        ("ListGroups", "0 to 5"),
        ("ApiVersions", "0 to 4"),
        ("CreateTopics", "2 to 7"),
        ("DeleteTopics", "1 to 6"),
        ("DeleteRecords", "0 to 2"),
        ("InitProducerId", "0 to 5"),
        ("OffsetForLeaderEpoch", "2 to 4"),
        ("DescribeConfigs", "1 to 4"),
        ("AlterConfigs", "0 to 2"),
        ("AlterReplicaLogDirs", "1 to 2"),
        ("DescribeLogDirs", "1 to 5"),
        ("CreatePartitions", "0 to 3"),
        ("DeleteGroups", "0 to 2"),
        ("ElectLeaders", "0 to 2"),
        ("AlterPartitionReassignments", "0 to 1"),
        ("ListPartitionReassignments", "0"),
        ("DescribeQuorum", "0 to 2"),
        ("UpdateFeatures", "0 to 2"),
        ("UnregisterBroker", "0"),
        ("ListConfigResources", "0 to 1"),
        ("IncrementalAlterConfigs", "0 to 1"),
        ("OffsetDelete", "0"),
        ("DescribeCluster", "0 to 2"),
        ("DescribeTopicPartitions", "0"),
    ] {
        assert_eq!(ranges.get(api), Some(&range), "{api}\n{}", versions.out);
    }
}

fn topics(shell: &mut Shell, topic: &str) {
    let create = format!("--create --topic {topic} --partitions 3 --config retention.ms=3600000");
    shell
        .call("TopicCommand", &create)
        .ok()
        .says(&format!("Created topic {topic}."));
    shell.call("TopicCommand", &create).fails("already exists");
    shell
        .call("TopicCommand", &format!("{create} --if-not-exists"))
        .ok();
    shell.call("TopicCommand", "--list").ok().says(topic);
    let described = shell
        .call("TopicCommand", &format!("--describe --topic {topic}"))
        .ok();
    let described = described
        .says("PartitionCount: 3")
        .says("ReplicationFactor: 1")
        .says("retention.ms=3600000");
    assert_eq!(
        described.out.matches("Partition: ").count(),
        3,
        "{}",
        described.out
    );
    assert!(
        !described.out.contains("none"),
        "a partition without a leader\n{}",
        described.out
    );
    shell
        .call("TopicCommand", &format!("--alter --topic {topic} --partitions 4"))
        .ok();
    shell
        .call("TopicCommand", &format!("--describe --topic {topic}"))
        .ok()
        .says("PartitionCount: 4");
    shell
        .call("TopicCommand", &format!("--alter --topic {topic} --partitions 2"))
        .fails("");
    let under = shell
        .call("TopicCommand", "--describe --under-replicated-partitions")
        .ok();
    assert!(!under.out.contains(topic), "{}", under.out);
}

/// 1,000 keyed lines through the console producer with each codec, and back through the console consumer.
fn console(shell: &mut Shell, topic: &str) {
    let mut written = BTreeMap::<String, Vec<String>>::new();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let mut lines = String::new();
        for i in 0..200 {
            let (key, value) = (format!("k{}", i % 7), format!("{codec} {i} grüße"));
            lines.push_str(&format!("h1:x,h2:{i}|{key}|{value}\n"));
            written
                .entry(key)
                .or_default()
                .push(format!("h1:x,h2:{i}|{value}"));
        }
        let args = format!(
            "--topic {topic} --compression-codec {codec} --reader-property parse.headers=true \
             --reader-property headers.delimiter=| --reader-property parse.key=true --reader-property key.separator=|"
        );
        shell.feed("ConsoleProducer", &args, lines.as_bytes()).ok();
    }
    let args = format!(
        "--topic {topic} --from-beginning --max-messages 1000 --timeout-ms 30000 --group {topic} \
         --formatter-property print.headers=true --formatter-property print.key=true \
         --formatter-property key.separator=| --formatter-property headers.separator=,"
    );
    let read = shell.call("consumer.ConsoleConsumer", &args).ok();
    let mut found = BTreeMap::<String, Vec<String>>::new();
    for line in read.out.lines() {
        let mut part = line.splitn(3, '|');
        let mut next = || {
            part.next()
                .unwrap_or_else(|| panic!("a line of three fields: {line:?}"))
        };
        let (headers, key, value) = (next(), next(), next());
        found
            .entry(key.to_owned())
            .or_default()
            .push(format!("{headers}|{value}"));
    }
    assert_eq!(found, written, "lines read by key, in order");
    assert!(
        read.err.contains("Processed a total of 1000 messages"),
        "{}",
        read.err
    );

    // One record of one partition, by its offset.
    let offsets = shell.call("GetOffsetShell", &format!("--topic {topic}")).ok();
    let ends: Vec<i64> = (0..4)
        .map(|p| {
            value_after(&offsets.out, &format!("{topic}:{p}:"))
                .parse()
                .expect("an offset")
        })
        .collect();
    assert_eq!(ends.iter().sum::<i64>(), 1000, "{}", offsets.out);
    let part = ends
        .iter()
        .position(|&end| end > 10)
        .expect("a partition with records");
    let one = format!(
        "--topic {topic} --partition {part} --offset 5 --max-messages 1 --timeout-ms 30000 \
         --formatter-property print.offset=true --formatter-property print.partition=true"
    );
    shell
        .call("consumer.ConsoleConsumer", &one)
        .ok()
        .says(&format!("Partition:{part}\tOffset:5\t"));
    shell
        .call("GetOffsetShell", &format!("--topic {topic} --time earliest"))
        .ok()
        .says(&format!("{topic}:{part}:0"));
    shell
        .call("GetOffsetShell", &format!("--topic {topic} --time max-timestamp"))
        .ok();
    shell
        .call("GetOffsetShell", &format!("--topic {topic} --time 1"))
        .ok()
        .says(&format!("{topic}:{part}:0"));
}

fn value_after<'a>(text: &'a str, prefix: &str) -> &'a str {
    text.lines()
        .find_map(|line| line.strip_prefix(prefix))
        .unwrap_or_else(|| panic!("no line that begins with {prefix:?}\n{text}"))
}

fn groups(shell: &mut Shell, topic: &str) {
    let tool = "consumer.group.ConsumerGroupCommand";
    shell.call(tool, "--list").ok().says(topic);
    shell.call(tool, "--list --state").ok().row(&[topic]);
    shell.call("GroupsCommand", "--list").ok().says(topic);
    let described = shell.call(tool, &format!("--describe --group {topic}")).ok();
    let mut total = 0;
    for part in ["0", "1", "2", "3"] {
        let row = described.row(&[topic, topic, part]);
        assert_eq!(
            row[3], row[4],
            "committed and end offset of partition {part}\n{}",
            described.out
        );
        assert_eq!(row[5], "0", "lag of partition {part}\n{}", described.out);
        total += row[3].parse::<i64>().expect("an offset");
    }
    assert_eq!(total, 1000, "{}", described.out);
    let state = shell
        .call(tool, &format!("--describe --group {topic} --state"))
        .ok();
    assert!(state.row(&[topic]).contains(&"Empty".to_owned()), "{}", state.out);
    shell
        .call(tool, &format!("--describe --group {topic} --members"))
        .ok();

    let reset = format!("--reset-offsets --group {topic} --topic {topic}:0,1");
    assert_eq!(
        shell
            .call(tool, &format!("{reset} --to-offset 1 --execute"))
            .ok()
            .row(&[topic, topic, "1"])[3],
        "1"
    );
    assert_eq!(
        shell
            .call(tool, &format!("{reset} --shift-by 1 --execute"))
            .ok()
            .row(&[topic, topic, "0"])[3],
        "2"
    );
    assert_eq!(
        shell
            .call(tool, &format!("{reset} --to-earliest --dry-run"))
            .ok()
            .row(&[topic, topic, "0"])[3],
        "0"
    );
    assert_eq!(
        shell
            .call(
                tool,
                &format!("{reset} --to-datetime 2020-01-01T00:00:00.000 --execute")
            )
            .ok()
            .row(&[topic, topic, "0"])[3],
        "0"
    );
    let after = shell.call(tool, &format!("--describe --group {topic}")).ok();
    assert_eq!(after.row(&[topic, topic, "0"])[3], "0", "{}", after.out);
    shell
        .call(
            tool,
            &format!("--delete-offsets --group {topic} --topic {topic}:1"),
        )
        .ok()
        .says("Successful");
    let after = shell.call(tool, &format!("--describe --group {topic}")).ok();
    assert!(
        !after
            .out
            .lines()
            .any(|l| l.split_whitespace().take(3).eq([topic, topic, "1"])),
        "{}",
        after.out
    );
    shell
        .call(tool, &format!("--delete --group {topic}"))
        .ok()
        .says("was successful");
    shell
        .call(tool, &format!("--describe --group {topic}"))
        .says("not found");
}

fn configs(shell: &mut Shell, topic: &str) {
    let tool = "kafka.admin.ConfigCommand";
    let entity = format!("--entity-type topics --entity-name {topic}");
    shell
        .call(
            tool,
            &format!("--alter {entity} --add-config retention.ms=7200000,max.message.bytes=50000"),
        )
        .ok()
        .says("Completed updating config");
    shell
        .call(tool, &format!("--describe {entity}"))
        .ok()
        .says("retention.ms=7200000 sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:retention.ms=7200000")
        .says("max.message.bytes=50000");
    let all = shell.call(tool, &format!("--describe {entity} --all")).ok();
    for config in [
        "cleanup.policy=delete ",
        "compression.type=producer ",
        "message.timestamp.type=CreateTime ",
        "retention.bytes=-1 ",
        "retention.ms=7200000 ",
        "segment.bytes=",
        "segment.ms=",
        "min.insync.replicas=1 ",
    ] {
        assert!(
            all.out.contains(&format!("\n  {config}")),
            "no {config}\n{}",
            all.out
        );
    }
    shell
        .call(
            tool,
            &format!("--alter {entity} --delete-config max.message.bytes"),
        )
        .ok();
    let left = shell.call(tool, &format!("--describe {entity}")).ok();
    assert!(!left.out.contains("max.message.bytes"), "{}", left.out);
    shell
        .call(tool, &format!("--alter {entity} --add-config retention.ms=soon"))
        .fails("");
    shell
        .call(tool, &format!("--alter {entity} --add-config no.such.config=1"))
        .fails("");
    let node = node(shell);
    shell
        .call(
            tool,
            &format!("--describe --entity-type brokers --entity-name {node} --all"),
        )
        .ok()
        .says("All configs for broker");
}

/// Number of the one broker.
fn node(shell: &mut Shell) -> String {
    let endpoints = shell.call("ClusterTool", "list-endpoints").ok();
    let line = endpoints.out.lines().nth(1);
    let node = line.and_then(|l| l.split_whitespace().next()).expect("a node");
    node.to_owned()
}

/// Leaders, reassignments, log directories, quorum, features, registration: what operators of one broker may ask.
fn administration(shell: &mut Shell, topic: &str) {
    let node = node(shell);
    let elect = "LeaderElectionCommand";
    shell
        .call(
            elect,
            &format!("--election-type preferred --topic {topic} --partition 0"),
        )
        .ok()
        .says("Valid replica already elected");
    shell
        .call(
            elect,
            &format!("--election-type unclean --topic {topic} --partition 1"),
        )
        .ok()
        .says("Valid replica already elected");
    shell
        .call(elect, "--election-type preferred --all-topic-partitions")
        .ok();
    shell
        .call(
            elect,
            &format!("--election-type preferred --topic {topic} --partition 77"),
        )
        .fails("");

    let dirs = shell
        .call("LogDirsCommand", &format!("--describe --topic-list {topic}"))
        .ok()
        .says(&format!("\"partition\":\"{topic}-0\""));
    let (_, dir) = dirs.out.split_once("\"logDir\":\"").expect("a directory");
    let dir = dir.split('"').next().expect("its end");
    let plans = tempfile::tempdir().expect("a directory");
    let plan = |name: &str, partition: i32, replicas: &str, dir: Option<&str>| {
        let file = plans.path().join(name);
        let dirs = dir.map_or(String::new(), |dir| format!(r#","log_dirs":["{dir}"]"#));
        let text = format!(
            r#"{{"version":1,"partitions":[{{"topic":"{topic}","partition":{partition},"replicas":[{replicas}]{dirs}}}]}}"#
        );
        std::fs::write(&file, text).expect("written");
        file.display().to_string()
    };
    let reassign = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand";
    let here = plan("here", 0, &node, Some(dir));
    shell
        .call(reassign, &format!("--execute --reassignment-json-file {here}"))
        .ok()
        .says("Successfully started partition reassignment");
    shell
        .call(reassign, &format!("--verify --reassignment-json-file {here}"))
        .ok()
        .says(&format!("Reassignment of partition {topic}-0 is completed"));
    shell
        .call(reassign, &format!("--cancel --reassignment-json-file {here}"))
        .ok()
        .says("None of the specified partition reassignments are active");
    shell
        .call(reassign, "--list")
        .ok()
        .says("No partition reassignments found");
    let nowhere = plan("nowhere", 0, "4711", None);
    shell
        .call(reassign, &format!("--execute --reassignment-json-file {nowhere}"))
        .fails("4711");
    let missing = plan("missing", 77, &node, None);
    shell
        .call(reassign, &format!("--execute --reassignment-json-file {missing}"))
        .fails("");
    let elsewhere = plan("elsewhere", 0, &node, Some("/no/such/directory"));
    shell
        .call(
            reassign,
            &format!("--execute --timeout 1000 --reassignment-json-file {elsewhere}"),
        )
        .fails("");

    let quorum = "MetadataQuorumCommand";
    let status = shell.call(quorum, "describe --status").ok();
    assert_eq!(status.row(&["LeaderId:"])[1], node);
    assert_eq!(status.row(&["MaxFollowerLag:"])[1], "0");
    let end: i64 = status.row(&["HighWatermark:"])[1].parse().expect("an offset");
    assert!(end > 0, "{}", status.out);
    shell
        .call(
            "TopicCommand",
            &format!("--create --topic {topic}-more --partitions 1"),
        )
        .ok();
    let replication = shell.call(quorum, "describe --replication").ok();
    let row = replication.row(&[&node]);
    assert_eq!(row.last().map(String::as_str), Some("Leader"));
    let later: Vec<i64> = row.iter().filter_map(|word| word.parse().ok()).collect();
    assert!(later.iter().any(|offset| *offset > end), "{}", replication.out);

    let features = shell.call("FeatureCommand", "describe").ok();
    assert!(
        features.out.contains("Feature: metadata.version"),
        "{}",
        features.out
    );
    shell
        .call("FeatureCommand", "downgrade --feature metadata.version=7")
        .fails("");
    shell
        .call("FeatureCommand", "upgrade --feature no.such.feature=1")
        .fails("");
    shell
        .call("ClusterTool", "unregister --id 4711")
        .fails("BrokerIdNotRegistered");
}

/// Everything that settings belong to besides topics.
fn resources(shell: &mut Shell) {
    let node = node(shell);
    let tool = "kafka.admin.ConfigCommand";
    let broker = format!("--entity-type brokers --entity-name {node}");
    let everywhere = "--entity-type brokers --entity-default";
    let change = "--add-config log.cleaner.threads=2";
    shell.call(tool, &format!("--alter {broker} {change}")).ok();
    shell
        .call(tool, &format!("--describe {broker}"))
        .ok()
        .says("log.cleaner.threads=2");
    shell.call(tool, &format!("--alter {everywhere} {change}")).ok();
    shell
        .call(tool, &format!("--describe {everywhere}"))
        .ok()
        .says("log.cleaner.threads=2");
    for entity in [broker.as_str(), everywhere] {
        shell
            .call(
                tool,
                &format!("--alter {entity} --delete-config log.cleaner.threads"),
            )
            .ok();
    }
    shell
        .call(tool, &format!("--alter {broker} --add-config node.id=7"))
        .fails("");

    let loggers = format!("--entity-type broker-loggers --entity-name {node}");
    shell
        .call(tool, &format!("--describe {loggers}"))
        .ok()
        .says("root=");
    for level in ["WARN", "INFO"] {
        shell
            .call(tool, &format!("--alter {loggers} --add-config root={level}"))
            .ok();
        shell
            .call(tool, &format!("--describe {loggers}"))
            .ok()
            .says(&format!("root={level}"));
    }

    let group = &unique("settings");
    let entity = format!("--entity-type groups --entity-name {group}");
    let setting = "consumer.session.timeout.ms=50000";
    shell
        .call(tool, &format!("--alter {entity} --add-config {setting}"))
        .ok();
    shell
        .call(tool, &format!("--describe {entity}"))
        .ok()
        .says(setting);
    shell
        .call(tool, "--describe --entity-type groups")
        .ok()
        .says(group);
    shell
        .call(
            tool,
            &format!("--alter {entity} --delete-config consumer.session.timeout.ms"),
        )
        .ok();

    let metrics = "ClientMetricsCommand";
    let name = &unique("lag");
    let change = "--metrics org.apache.kafka.consumer. --interval 30000 --match client_id=a.*";
    shell
        .call(metrics, &format!("--alter --name {name} {change}"))
        .ok();
    shell.call(metrics, "--list").ok().says(name);
    shell
        .call(metrics, &format!("--describe --name {name}"))
        .ok()
        .says("interval.ms=30000")
        .says("metrics=org.apache.kafka.consumer.")
        .says("match=client_id=a.*");
    shell
        .call(metrics, &format!("--alter --name {name} --interval 5"))
        .fails("");
    let entity = format!("--entity-type client-metrics --entity-name {name}");
    shell
        .call(tool, &format!("--describe {entity}"))
        .ok()
        .says("interval.ms=30000");
    shell
        .call(tool, &format!("--alter {entity} --add-config interval.ms=40000"))
        .ok();
    shell
        .call(tool, "--describe --entity-type client-metrics")
        .ok()
        .says("interval.ms=40000");
    shell.call(metrics, &format!("--delete --name {name}")).ok();
    let listed = shell.call(metrics, "--list").ok();
    assert!(!listed.out.contains(name.as_str()), "{}", listed.out);
}

fn records(shell: &mut Shell, topic: &str) {
    let offsets = shell.call("GetOffsetShell", &format!("--topic {topic}")).ok();
    let part = (0..4)
        .find(|p| value_after(&offsets.out, &format!("{topic}:{p}:")) != "0")
        .expect("a partition with records");
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("offsets.json");
    std::fs::write(
        &file,
        format!(r#"{{"version":1,"partitions":[{{"topic":"{topic}","partition":{part},"offset":7}}]}}"#),
    )
    .expect("the offsets");
    shell
        .call(
            "DeleteRecordsCommand",
            &format!("--offset-json-file {}", file.display()),
        )
        .ok()
        .says(&format!("partition: {topic}-{part}\tlow_watermark: 7"));
    shell
        .call("GetOffsetShell", &format!("--topic {topic} --time earliest"))
        .ok()
        .says(&format!("{topic}:{part}:7"));
    let dirs = shell
        .call("LogDirsCommand", &format!("--describe --topic-list {topic}"))
        .ok();
    let json = dirs.out.lines().find(|line| line.starts_with('{')).expect("JSON");
    let dirs: serde_json::Value = serde_json::from_str(json).expect("JSON");
    let parts: Vec<&serde_json::Value> = dirs["brokers"]
        .as_array()
        .expect("brokers")
        .iter()
        .flat_map(|b| b["logDirs"].as_array().expect("logDirs"))
        .flat_map(|d| d["partitions"].as_array().expect("partitions"))
        .collect();
    assert_eq!(parts.len(), 4, "{json}");
    let bytes: i64 = parts.iter().map(|p| p["size"].as_i64().expect("a size")).sum();
    assert!(bytes > 1000, "{json}");
}

fn performance(shell: &mut Shell, topic: &str) {
    let perf = &format!("{topic}-perf");
    shell
        .call("TopicCommand", &format!("--create --topic {perf} --partitions 3"))
        .ok();
    let produce = format!(
        "--topic {perf} --num-records 20000 --record-size 200 --throughput -1 \
         --command-property acks=all --command-property compression.type=lz4"
    );
    shell
        .call("ProducerPerformance", &produce)
        .ok()
        .says("20000 records sent");
    let read = shell
        .call(
            "ConsumerPerformance",
            &format!("--topic {perf} --num-records 20000 --timeout 30000"),
        )
        .ok();
    let figures: Vec<&str> = read.out.lines().last().expect("figures").split(", ").collect();
    assert_eq!(
        figures.get(4).and_then(|n| n.parse::<u64>().ok()),
        Some(20_000),
        "{}",
        read.out
    );
    shell
        .call(
            "EndToEndLatency",
            &format!("--topic {perf} --num-records 50 --producer-acks all --record-size 100"),
        )
        .ok()
        .says("Percentiles:");
}

fn verifiable(shell: &mut Shell, topic: &str) {
    let topic = &format!("{topic}-verifiable");
    shell
        .call(
            "TopicCommand",
            &format!("--create --topic {topic} --partitions 1"),
        )
        .ok();
    // In a JVM of its own: it counts on the JVM's end to wait for the last acknowledgements.
    let producer =
        tools::java_class("org.apache.kafka.tools.VerifiableProducer").expect("the tools were there before");
    let args = [
        "--bootstrap-server",
        &shell.bootstrap,
        "--topic",
        topic,
        "--max-messages",
        "500",
        "--acks",
        "-1",
    ];
    let sent = producer.run(&args, Duration::from_secs(90)).succeeded();
    shell.calls += 1;
    let events = |text: &str, name: &str| -> Vec<serde_json::Value> {
        text.lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .filter(|event| event["name"] == name)
            .collect()
    };
    let sent = events(&sent.stdout, "producer_send_success");
    let offsets: Vec<i64> = sent
        .iter()
        .map(|e| e["offset"].as_i64().expect("an offset"))
        .collect();
    assert_eq!(offsets, (0..500).collect::<Vec<i64>>(), "offsets acknowledged");
    let read = shell
        .call(
            "VerifiableConsumer",
            &format!("--topic {topic} --group-id {topic} --max-messages 500 --verbose"),
        )
        .ok();
    let values: Vec<String> = events(&read.out, "record_data")
        .iter()
        .map(|e| e["value"].as_str().expect("a value").to_owned())
        .collect();
    assert_eq!(
        values,
        (0..500).map(|i| i.to_string()).collect::<Vec<_>>(),
        "values consumed\n{}",
        read.err
    );
    let committed = events(&read.out, "offsets_committed");
    assert!(
        committed.iter().all(|e| e["success"] == true) && !committed.is_empty(),
        "{}",
        read.out
    );
    assert_eq!(
        committed.last().expect("a commit")["offsets"][0]["offset"],
        500,
        "{}",
        read.out
    );
}

/// An open transaction is listed, described, aborted by hand, and not taken for a hanging one.
fn transactions(shell: &mut Shell, topic: &str) {
    let tool = "TransactionsCommand";
    let topic = format!("{topic}-txn");
    create_topic(&admin(&shell.bootstrap), &topic, 1, &[]).expect("topic");
    let id = format!("{topic}-id");
    let producer: BaseProducer = config(&shell.bootstrap, &[("transactional.id", &id), ("linger.ms", "0")])
        .create()
        .expect("producer");
    producer.init_transactions(LIMIT).expect("initialised");
    producer.begin_transaction().expect("begun");
    producer
        .send(BaseRecord::<(), str>::to(&topic).partition(0).payload("open"))
        .expect("queued");
    producer.flush(LIMIT).expect("written");

    let listed = shell.call(tool, "list").ok();
    let producer_id = listed.row(&[&id])[2].clone();
    assert_eq!(listed.row(&[&id])[3], "Ongoing");
    let none = shell.call(tool, "list --duration-filter 600000").ok();
    assert!(!none.out.contains(&id), "{}", none.out);
    let described = shell
        .call(tool, &format!("describe --transactional-id {id}"))
        .ok();
    let node = described.row(&[]).first().expect("a header").clone();
    assert_eq!(node, "CoordinatorId");
    described.says(&format!("{topic}-0"));
    let producers = format!("describe-producers --topic {topic} --partition 0");
    let row = shell.call(tool, &producers).ok().row(&[&producer_id]);
    assert_eq!(row.last().map(String::as_str), Some("0"), "start offset: {row:?}");
    let found = shell
        .call(tool, "find-hanging --broker-id 1 --max-transaction-timeout 1")
        .ok();
    assert!(!found.out.contains(&producer_id), "{}", found.out);
    shell
        .call(
            tool,
            &format!("abort --topic {topic} --partition 0 --start-offset 0"),
        )
        .ok();
    let row = shell.call(tool, &producers).ok().row(&[&producer_id]);
    assert_eq!(
        row.last().map(String::as_str),
        Some("None"),
        "after the abort: {row:?}"
    );
    producer.abort_transaction(LIMIT).expect("aborted");
    shell
        .call(tool, "describe --transactional-id nobody")
        .fails("could not be found");
}

fn deletion(shell: &mut Shell, topic: &str) {
    shell
        .call("TopicCommand", &format!("--delete --topic {topic}.*"))
        .ok();
    support::librdkafka::until("end of the topics", || {
        !shell.call("TopicCommand", "--list").ok().out.contains(topic)
    });
    shell
        .call("TopicCommand", &format!("--describe --topic {topic}"))
        .fails("does not exist");
    shell
        .call("GetOffsetShell", &format!("--topic {topic}"))
        .fails("");
}
