// Apache Kafka's Java clients (producer, consumer, admin) as a judge of a broker.
//
//   java Judge story --bootstrap B --prefix P                        the client's whole everyday life, checked
//   java Judge consumers --bootstrap B --prefix P                    consumer groups of KIP-848, alone and mixed
//   java Judge write --bootstrap B --topic T --codec C --input F     the flights, keyed, with timestamps
//   java Judge read  --bootstrap B --topic T --group G --expect N    the flights, by a group of three, as digests
//
// Prints "ok NAME" per check; any difference is an exception and exit status 1. Rust starts it: judge_clients.rs.

import java.io.BufferedReader;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;
import java.util.function.BooleanSupplier;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.config.TopicConfig;
import org.apache.kafka.common.errors.*;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.*;

public final class Judge {
    static final List<String> CODECS = List.of("none", "gzip", "snappy", "lz4", "zstd");
    static final long BASE_TIME = 1_700_000_000_000L;
    static String bootstrap;
    static String prefix;

    public static void main(String[] args) throws Exception {
        Map<String, String> flag = new HashMap<>();
        for (int i = 1; i + 1 < args.length; i += 2) flag.put(args[i].substring(2), args[i + 1]);
        bootstrap = flag.get("bootstrap");
        prefix = flag.get("prefix");
        switch (args[0]) {
            case "story" -> story();
            case "write" -> write(flag.get("topic"), flag.get("codec"), flag.get("input"));
            case "consumers" -> consumers();
            case "read" -> read(flag.get("topic"), flag.get("group"), Long.parseLong(flag.get("expect")));
            default -> throw new IllegalArgumentException(args[0]);
        }
        System.out.flush();
        System.exit(0);
    }

    // ---- small helpers ---------------------------------------------------------------------------------------

    static void ok(String name) {
        System.out.println("ok " + name);
        System.out.flush();
    }

    static void check(boolean condition, String what) {
        if (!condition) throw new AssertionError(what);
    }

    static void same(Object expected, Object found, String what) {
        if (!Objects.equals(expected, found)) {
            throw new AssertionError(what + ": expected " + expected + ", found " + found);
        }
    }

    /** Waits for a condition; a judge never waits for a time. */
    static void await(String what, BooleanSupplier condition) throws Exception {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
        while (!condition.getAsBoolean()) {
            if (failure.get() != null) throw new AssertionError("a member failed", failure.get());
            if (System.nanoTime() > deadline) throw new AssertionError("no " + what + " within 60 s");
            Thread.sleep(5);
        }
    }

    static final AtomicReference<Throwable> failure = new AtomicReference<>();

    static <E extends Throwable> E fails(Class<E> kind, Callable<?> call) throws Exception {
        try {
            call.call();
        } catch (Throwable error) {
            Throwable cause = error instanceof ExecutionException ? error.getCause() : error;
            if (kind.isInstance(cause)) return kind.cast(cause);
            throw new AssertionError("expected " + kind.getSimpleName() + ", found " + cause, cause);
        }
        throw new AssertionError("expected " + kind.getSimpleName() + ", but the call succeeded");
    }

    static Properties common() {
        Properties p = new Properties();
        p.put("bootstrap.servers", bootstrap);
        return p;
    }

    static Admin admin() {
        return Admin.create(common());
    }

    static KafkaProducer<byte[], byte[]> producer(Map<String, ?> more) {
        Properties p = common();
        p.putAll(more);
        return new KafkaProducer<>(p, new ByteArraySerializer(), new ByteArraySerializer());
    }

    static KafkaConsumer<byte[], byte[]> consumer(Map<String, ?> more) {
        Properties p = common();
        p.put("enable.auto.commit", "false");
        p.put("auto.offset.reset", "earliest");
        p.putAll(more);
        return new KafkaConsumer<>(p, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static void create(Admin admin, String topic, int partitions, Map<String, String> configs) throws Exception {
        admin.createTopics(List.of(new NewTopic(topic, Optional.of(partitions), Optional.empty()).configs(configs)))
                .all().get();
    }

    // ---- the story -------------------------------------------------------------------------------------------

    static void story() throws Exception {
        try (Admin admin = admin()) {
            cluster(admin);
            topics(admin);
            for (String codec : CODECS) roundTrip(admin, codec);
            acks(admin);
            appendTime(admin);
            timestamps(admin);
            offsets(admin);
            rebalance(admin, "eager", RangeAssignor.class.getName());
            rebalance(admin, "cooperative", CooperativeStickyAssignor.class.getName());
            staticMember(admin);
            limits(admin);
            configs(admin);
            records(admin);
            groups(admin);
            deletion(admin);
        }
    }

    static void cluster(Admin admin) throws Exception {
        DescribeClusterResult cluster = admin.describeCluster();
        check(!cluster.clusterId().get().isEmpty(), "cluster id");
        check(cluster.nodes().get().size() >= 1, "nodes");
        check(cluster.controller().get() != null, "controller");
        int node = cluster.nodes().get().iterator().next().id();
        var dirs = admin.describeLogDirs(List.of(node)).allDescriptions().get();
        check(!dirs.get(node).isEmpty(), "log dirs");
        check(admin.describeFeatures().featureMetadata().get() != null, "features");
        ok("describe cluster, log dirs, features");
    }

    static void topics(Admin admin) throws Exception {
        String topic = prefix + "-topics";
        var made = admin.createTopics(List.of(new NewTopic(topic, 3, (short) 1)
                .configs(Map.of("retention.ms", "3600000", "max.message.bytes", "65536"))));
        made.all().get();
        same(3, made.numPartitions(topic).get(), "partitions in the answer to create");
        same("3600000", made.config(topic).get().get("retention.ms").value(), "config in the answer to create");
        Uuid id = made.topicId(topic).get();
        await("topic in the list", () -> {
            try {
                return admin.listTopics().names().get().contains(topic);
            } catch (Exception e) {
                throw new RuntimeException(e);
            }
        });
        TopicDescription byName = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic);
        same(3, byName.partitions().size(), "partitions described");
        same(id, byName.topicId(), "topic id");
        TopicDescription byId =
                admin.describeTopics(TopicCollection.ofTopicIds(List.of(id))).allTopicIds().get().get(id);
        same(topic, byId.name(), "topic described by id");
        fails(TopicExistsException.class, () -> admin.createTopics(List.of(new NewTopic(topic, 1, (short) 1))).all().get());
        fails(InvalidTopicException.class, () -> admin.createTopics(List.of(new NewTopic("not/legal", 1, (short) 1))).all().get());
        fails(InvalidPartitionsException.class,
                () -> admin.createTopics(List.of(new NewTopic(prefix + "-zero", 0, (short) 1))).all().get());
        fails(InvalidReplicationFactorException.class,
                () -> admin.createTopics(List.of(new NewTopic(prefix + "-wide", 1, (short) 99))).all().get());
        fails(InvalidConfigurationException.class,
                () -> admin.createTopics(List.of(new NewTopic(prefix + "-bad", 1, (short) 1)
                        .configs(Map.of("retention.ms", "soon")))).all().get());
        String dry = prefix + "-dry";
        admin.createTopics(List.of(new NewTopic(dry, 1, (short) 1)), new CreateTopicsOptions().validateOnly(true)).all().get();
        fails(UnknownTopicOrPartitionException.class, () -> admin.describeTopics(List.of(dry)).allTopicNames().get());
        ok("create, describe and list topics, with refusals");

        admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(5))).all().get();
        await("five partitions", () -> {
            try {
                return admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().size() == 5;
            } catch (Exception e) {
                throw new RuntimeException(e);
            }
        });
        fails(InvalidPartitionsException.class,
                () -> admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(2))).all().get());
        ok("create partitions");
    }

    /** Record number i of the round trip: every kind of key, value, header and timestamp. */
    static ProducerRecord<byte[], byte[]> sample(String topic, String codec, int i) {
        byte[] key = i % 7 == 3 ? null : bytes("key-" + i % 10);
        byte[] value = switch (i % 11) {
            case 5 -> null;
            case 6 -> new byte[0];
            default -> {
                byte[] v = bytes("??" + codec + "-" + i + "-" + "x".repeat(i * 37 % 500));
                v[0] = (byte) 0xff;
                v[1] = 0;
                yield v;
            }
        };
        var record = new ProducerRecord<>(topic, i % 3, BASE_TIME + i * 1000L, key, value);
        record.headers().add("n", bytes("" + i)).add("dup", bytes("a")).add("dup", bytes("b"))
                .add("empty", new byte[0]).add(new RecordHeader("null", (byte[]) null));
        return record;
    }

    static void roundTrip(Admin admin, String codec) throws Exception {
        String topic = prefix + "-codec-" + codec;
        create(admin, topic, 3, Map.of("retention.ms", "-1"));
        int count = 600;
        try (var producer = producer(Map.of("compression.type", codec, "linger.ms", 20, "batch.size", 65536))) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (int i = 0; i < count; i++) sent.add(producer.send(sample(topic, codec, i)));
            for (int i = 0; i < count; i++) {
                RecordMetadata meta = sent.get(i).get();
                same((long) i / 3, meta.offset(), "offset acknowledged for record " + i);
                same(BASE_TIME + i * 1000L, meta.timestamp(), "timestamp acknowledged for record " + i);
            }
        }
        List<TopicPartition> all = partitions(topic, 3);
        try (var consumer = consumer(Map.of())) {
            consumer.assign(all);
            consumer.seekToBeginning(all);
            int[] seen = new int[3];
            for (int total = 0; total < count; ) {
                var batch = consumer.poll(Duration.ofSeconds(30));
                check(!batch.isEmpty(), "no records for 30 s after " + total);
                for (var r : batch) {
                    int i = seen[r.partition()]++ * 3 + r.partition();
                    var want = sample(topic, codec, i);
                    same((long) i / 3, r.offset(), "offset of record " + i);
                    check(Arrays.equals(want.key(), r.key()), "key of record " + i);
                    check(Arrays.equals(want.value(), r.value()), "value of record " + i);
                    same(want.timestamp(), r.timestamp(), "timestamp of record " + i);
                    same(List.of(want.headers().toArray()), List.of(r.headers().toArray()), "headers of record " + i);
                    total++;
                }
            }
            // From inside a batch: the offset asked for is the first that comes.
            consumer.assign(List.of(all.get(1)));
            consumer.seek(all.get(1), 77);
            same(77L, firstOf(consumer).offset(), "first record after a seek into a batch");
            for (var tp : all) same(count / 3L, consumer.endOffsets(all).get(tp), "end offset of " + tp);
        }
        ok("write and read back, " + codec);
    }

    static List<TopicPartition> partitions(String topic, int count) {
        List<TopicPartition> all = new ArrayList<>();
        for (int p = 0; p < count; p++) all.add(new TopicPartition(topic, p));
        return all;
    }

    static ConsumerRecord<byte[], byte[]> firstOf(Consumer<byte[], byte[]> consumer) {
        var batch = consumer.poll(Duration.ofSeconds(30));
        check(!batch.isEmpty(), "no records for 30 s");
        return batch.iterator().next();
    }

    static void acks(Admin admin) throws Exception {
        String topic = prefix + "-acks";
        create(admin, topic, 1, Map.of());
        long offset = 0;
        for (String acks : List.of("0", "1", "all")) {
            try (var producer = producer(Map.of("acks", acks, "enable.idempotence", "" + acks.equals("all")))) {
                for (int i = 0; i < 50; i++) {
                    long found = producer.send(new ProducerRecord<>(topic, bytes(acks + i))).get().offset();
                    same(acks.equals("0") ? -1L : offset + i, found, "offset with acks=" + acks);
                }
            }
            offset += 50;
        }
        try (var consumer = consumer(Map.of())) {
            var tp = new TopicPartition(topic, 0);
            consumer.assign(List.of(tp));
            List<String> found = new ArrayList<>();
            while (found.size() < 150) {
                var batch = consumer.poll(Duration.ofSeconds(30));
                check(!batch.isEmpty(), "no records for 30 s after " + found.size());
                batch.forEach(r -> found.add(new String(r.value())));
            }
            List<String> want = new ArrayList<>();
            for (String acks : List.of("0", "1", "all")) for (int i = 0; i < 50; i++) want.add(acks + i);
            same(want, found, "records with acks 0, 1 and all");
        }
        ok("acks 0, 1 and all");
    }

    static void appendTime(Admin admin) throws Exception {
        String topic = prefix + "-append-time";
        create(admin, topic, 1, Map.of("message.timestamp.type", "LogAppendTime"));
        long before = System.currentTimeMillis();
        long acked;
        try (var producer = producer(Map.of("compression.type", "lz4"))) {
            acked = producer.send(new ProducerRecord<>(topic, 0, 1L, bytes("k"), bytes("v"))).get().timestamp();
        }
        try (var consumer = consumer(Map.of("check.crcs", "true"))) {
            consumer.assign(partitions(topic, 1));
            var record = firstOf(consumer);
            check(record.timestampType() == org.apache.kafka.common.record.TimestampType.LOG_APPEND_TIME, "timestamp type");
            check(record.timestamp() >= before - 1000 && record.timestamp() <= System.currentTimeMillis() + 1000,
                    "append time " + record.timestamp());
            same(acked, record.timestamp(), "append time acknowledged and read");
        }
        ok("message.timestamp.type=LogAppendTime");
    }

    static void timestamps(Admin admin) throws Exception {
        String topic = prefix + "-codec-gzip";
        List<TopicPartition> all = partitions(topic, 3);
        try (var consumer = consumer(Map.of())) {
            consumer.assign(all);
            for (int i : new int[] {0, 1, 2, 3, 100, 101, 298, 597, 598, 599}) {
                var tp = all.get(i % 3);
                for (long before : new long[] {0, 1, 2999}) {
                    if (i < 3 && before > 2999) continue;
                    var found = consumer.offsetsForTimes(Map.of(tp, BASE_TIME + i * 1000L - before)).get(tp);
                    same((long) i / 3, found.offset(), "offset for the timestamp of record " + i + " less " + before);
                    same(BASE_TIME + i * 1000L, found.timestamp(), "timestamp found for record " + i);
                    consumer.assign(List.of(tp));
                    consumer.seek(tp, found.offset());
                    same(BASE_TIME + i * 1000L, firstOf(consumer).timestamp(), "record read after the seek by time");
                    consumer.assign(all);
                }
            }
            var none = consumer.offsetsForTimes(Map.of(all.get(0), BASE_TIME + 10_000_000L));
            check(none.get(all.get(0)) == null, "an offset for a time after the last record");
        }
        Map<TopicPartition, OffsetSpec> ask = new HashMap<>();
        ask.put(all.get(0), OffsetSpec.earliest());
        ask.put(all.get(1), OffsetSpec.latest());
        ask.put(all.get(2), OffsetSpec.maxTimestamp());
        var found = admin.listOffsets(ask).all().get();
        same(0L, found.get(all.get(0)).offset(), "earliest");
        same(200L, found.get(all.get(1)).offset(), "latest");
        same(199L, found.get(all.get(2)).offset(), "offset of the maximum timestamp");
        same(BASE_TIME + 599_000L, found.get(all.get(2)).timestamp(), "maximum timestamp");
        ask.put(all.get(0), OffsetSpec.earliestLocal());
        ask.put(all.get(1), OffsetSpec.forTimestamp(BASE_TIME + 301_000L));
        ask.remove(all.get(2));
        found = admin.listOffsets(ask).all().get();
        same(0L, found.get(all.get(0)).offset(), "earliest local");
        same(100L, found.get(all.get(1)).offset(), "offset by time through the admin client");
        ok("seek by timestamp, list offsets");
    }

    static void offsets(Admin admin) throws Exception {
        String topic = prefix + "-codec-lz4", group = prefix + "-offsets";
        List<TopicPartition> all = partitions(topic, 3);
        try (var consumer = consumer(Map.of("group.id", group))) {
            consumer.assign(all);
            check(consumer.committed(Set.copyOf(all)).get(all.get(0)) == null, "a committed offset before the first commit");
            consumer.commitSync(Map.of(
                    all.get(0), new OffsetAndMetadata(11, Optional.of(0), "note ü"),
                    all.get(1), new OffsetAndMetadata(22)));
        }
        try (var consumer = consumer(Map.of("group.id", group))) {
            consumer.assign(all);
            var found = consumer.committed(Set.copyOf(all));
            same(11L, found.get(all.get(0)).offset(), "offset committed");
            same("note ü", found.get(all.get(0)).metadata(), "metadata committed");
            same(Optional.of(0), found.get(all.get(0)).leaderEpoch(), "leader epoch committed");
            same(22L, found.get(all.get(1)).offset(), "offset committed");
            same(22L, consumer.position(all.get(1)), "position from the committed offset");
            check(found.get(all.get(2)) == null, "an offset never committed");
        }
        var listed = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get();
        same(11L, listed.get(all.get(0)).offset(), "offset listed");
        admin.alterConsumerGroupOffsets(group, Map.of(all.get(2), new OffsetAndMetadata(33))).all().get();
        listed = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get();
        same(33L, listed.get(all.get(2)).offset(), "offset altered");
        admin.deleteConsumerGroupOffsets(group, Set.of(all.get(0))).all().get();
        listed = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get();
        check(!listed.containsKey(all.get(0)), "an offset deleted");
        ok("commit, fetch, alter and delete offsets");
    }

    // ---- groups ----------------------------------------------------------------------------------------------

    /** What the group has delivered: every record once, in order, whoever holds the partition. */
    static final class Ledger {
        final Map<Integer, Long> next = new TreeMap<>();
        long delivered;

        synchronized void deliver(String member, int partition, long offset) {
            long want = next.getOrDefault(partition, 0L);
            check(offset == want, member + " got " + partition + "@" + offset + " where " + want + " comes next");
            next.put(partition, offset + 1);
            delivered++;
        }

        synchronized long delivered() {
            return delivered;
        }
    }

    static final class Member extends Thread {
        final String name;
        final Ledger ledger;
        final Consumer<byte[], byte[]> consumer;
        final String topic;
        final AtomicLong delivered = new AtomicLong();
        volatile Set<TopicPartition> assigned = Set.of();
        volatile boolean leave;

        Member(String name, String topic, String group, Map<String, String> more, Ledger ledger) {
            super(name);
            this.name = name;
            this.topic = topic;
            this.ledger = ledger;
            Map<String, Object> conf = new HashMap<>(more);
            conf.put("group.id", group);
            // In the consumer protocol these are the broker's.
            if (!"consumer".equals(conf.get("group.protocol"))) {
                conf.put("session.timeout.ms", "10000");
                conf.put("heartbeat.interval.ms", "300");
            }
            consumer = consumer(conf);
            setDaemon(true);
            start();
        }

        @Override
        public void run() {
            try {
                consumer.subscribe(List.of(topic), new ConsumerRebalanceListener() {
                    public void onPartitionsRevoked(Collection<TopicPartition> gone) {
                        commit(gone);
                        assigned = consumer.assignment().stream().filter(tp -> !gone.contains(tp)).collect(Collectors.toSet());
                    }

                    public void onPartitionsAssigned(Collection<TopicPartition> fresh) {
                        assigned = Set.copyOf(consumer.assignment());
                    }

                    public void onPartitionsLost(Collection<TopicPartition> lost) {
                        throw new AssertionError(name + " lost " + lost);
                    }
                });
                int since = 0;
                while (!leave) {
                    for (var r : consumer.poll(Duration.ofMillis(100))) {
                        ledger.deliver(name, r.partition(), r.offset());
                        delivered.incrementAndGet();
                        if (++since % 400 == 0) consumer.commitAsync();
                    }
                }
                commit(consumer.assignment());
                consumer.close();
            } catch (Throwable t) {
                failure.compareAndSet(null, t);
            }
        }

        void commit(Collection<TopicPartition> mine) {
            Map<TopicPartition, OffsetAndMetadata> at = new HashMap<>();
            for (var tp : mine) {
                synchronized (ledger) {
                    if (ledger.next.containsKey(tp.partition())) {
                        at.put(tp, new OffsetAndMetadata(ledger.next.get(tp.partition())));
                    }
                }
            }
            if (!at.isEmpty()) consumer.commitSync(at);
        }
    }

    static void rebalance(Admin admin, String kind, String assignor) throws Exception {
        Map<String, String> conf = Map.of("partition.assignment.strategy", assignor);
        rebalance(admin, kind, conf, conf, conf);
    }

    /** A member, a second, a third, and the second leaves, while records keep coming. */
    static void rebalance(Admin admin, String kind, Map<String, String> ofA, Map<String, String> ofB, Map<String, String> ofC)
            throws Exception {
        String topic = prefix + "-group-" + kind, group = prefix + "-group-" + kind;
        create(admin, topic, 6, Map.of());
        Ledger ledger = new Ledger();
        AtomicBoolean stop = new AtomicBoolean();
        AtomicLong produced = new AtomicLong();
        Thread load = new Thread(() -> {
            try (var producer = producer(Map.of("linger.ms", 2))) {
                while (!stop.get()) {
                    // The load follows the group: never more than 2000 records ahead of it.
                    if (produced.get() - ledger.delivered() > 2000) {
                        Thread.sleep(1);
                        continue;
                    }
                    List<Future<?>> sent = new ArrayList<>();
                    for (int i = 0; i < 60; i++) {
                        sent.add(producer.send(new ProducerRecord<>(topic, i % 6, null, bytes("r" + i))));
                    }
                    for (var s : sent) s.get();
                    produced.addAndGet(60);
                }
            } catch (Throwable t) {
                failure.compareAndSet(null, t);
            }
        });
        load.start();
        Member a = new Member("A", topic, group, ofA, ledger);
        await("delivery to A", () -> a.delivered.get() > 300);
        Member b = new Member("B", topic, group, ofB, ledger);
        await("delivery to B", () -> b.delivered.get() > 300 && a.assigned.size() == 3 && b.assigned.size() == 3);
        Member c = new Member("C", topic, group, ofC, ledger);
        await("delivery to C", () -> c.delivered.get() > 300 && a.assigned.size() + b.assigned.size() + c.assigned.size() == 6);
        var members = admin.describeConsumerGroups(List.of(group)).all().get().get(group);
        same(3, members.members().size(), "members described");
        same(6, members.members().stream().mapToInt(m -> m.assignment().topicPartitions().size()).sum(), "partitions described");
        b.leave = true;
        b.join(60_000);
        long mark = ledger.delivered();
        await("delivery after B left", () -> a.assigned.size() + c.assigned.size() == 6 && ledger.delivered() > mark + 600);
        stop.set(true);
        load.join(60_000);
        await("the last record", () -> ledger.delivered() == produced.get());
        a.leave = true;
        c.leave = true;
        a.join(60_000);
        c.join(60_000);
        if (failure.get() != null) throw new AssertionError("a member failed", failure.get());
        var committed = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get();
        for (var tp : partitions(topic, 6)) {
            same(produced.get() / 6, committed.get(tp).offset(), "committed end of " + tp);
        }
        ok("group of three, " + kind + ", " + produced.get() + " records once each");
    }

    // ---- consumer groups of KIP-848 --------------------------------------------------------------------------

    static final Map<String, String> CONSUMER = Map.of("group.protocol", "consumer");
    static final Map<String, String> CLASSIC = Map.of("partition.assignment.strategy", CooperativeStickyAssignor.class.getName());
    static final Map<String, String> EAGER = Map.of("partition.assignment.strategy", RangeAssignor.class.getName());

    static void consumers() throws Exception {
        try (Admin admin = admin()) {
            rebalance(admin, "consumer", CONSUMER, CONSUMER, CONSUMER);
            // A classic group that becomes a consumer group, and a classic one again.
            rebalance(admin, "upgraded", CLASSIC, CONSUMER, CLASSIC);
            rebalance(admin, "mixed", CONSUMER, CLASSIC, CONSUMER);
            rebalance(admin, "eager-beside", CONSUMER, EAGER, EAGER);
            pattern(admin);
            staticConsumer(admin);
            consumerAdmin(admin);
        }
    }

    /** Topics by a pattern that the broker matches, one of which comes later. */
    static void pattern(Admin admin) throws Exception {
        String group = prefix + "-pattern", first = prefix + "-rx-1", second = prefix + "-rx-2", other = prefix + "-other";
        create(admin, first, 2, Map.of());
        create(admin, other, 1, Map.of());
        Map<String, Integer> seen = new HashMap<>();
        try (var producer = producer(Map.of()); var consumer = consumer(Map.of("group.id", group, "group.protocol", "consumer"))) {
            for (String topic : List.of(first, other)) producer.send(new ProducerRecord<>(topic, bytes("x"))).get();
            consumer.subscribe(new SubscriptionPattern(prefix + "-rx-[0-9]+"));
            await("records of the first topic", () -> poll(consumer, seen).getOrDefault(first, 0) == 1);
            create(admin, second, 1, Map.of());
            producer.send(new ProducerRecord<>(second, bytes("y"))).get();
            await("records of a topic that came later", () -> poll(consumer, seen).getOrDefault(second, 0) == 1);
            same(Set.of(first, second), seen.keySet(), "topics read");
            fails(InvalidRegularExpression.class, () -> {
                try (var bad = consumer(Map.of("group.id", group + "-bad", "group.protocol", "consumer"))) {
                    bad.subscribe(new SubscriptionPattern("a["));
                    for (int i = 0; i < 100; i++) bad.poll(Duration.ofMillis(100));
                }
                return null;
            });
        }
        ok("pattern subscriptions, matched by the broker");
    }

    static Map<String, Integer> poll(Consumer<byte[], byte[]> consumer, Map<String, Integer> seen) {
        for (var r : consumer.poll(Duration.ofMillis(100))) seen.merge(r.topic(), 1, Integer::sum);
        return seen;
    }

    /** A static member leaves without its partitions being given away, and comes back. */
    static void staticConsumer(Admin admin) throws Exception {
        String topic = prefix + "-static-848", group = topic;
        create(admin, topic, 4, Map.of());
        Map<String, String> conf = Map.of("group.id", group, "group.protocol", "consumer", "group.instance.id", "one");
        List<Set<TopicPartition>> held = new ArrayList<>();
        int[] epoch = new int[2];
        try (var other = consumer(Map.of("group.id", group, "group.protocol", "consumer"))) {
            other.subscribe(List.of(topic));
            for (int round = 0; round < 2; round++) {
                try (var consumer = consumer(conf)) {
                    consumer.subscribe(List.of(topic));
                    await("half of the partitions", () -> {
                        other.poll(Duration.ofMillis(50));
                        consumer.poll(Duration.ofMillis(50));
                        return consumer.assignment().size() == 2 && other.assignment().size() == 2;
                    });
                    held.add(Set.copyOf(consumer.assignment()));
                    epoch[round] = consumer.groupMetadata().generationId();
                }
            }
            same(held.get(0), held.get(1), "partitions after the return");
            same(epoch[0], epoch[1], "epoch after the return");
            var described = admin.describeConsumerGroups(List.of(group)).all().get().get(group);
            same(2, described.members().size(), "members while the static one is away");
        }
        ok("a static member keeps its partitions while it is away");
    }

    static void consumerAdmin(Admin admin) throws Exception {
        String group = prefix + "-group-consumer";
        var listed = admin.listGroups(ListGroupsOptions.forConsumerGroups()).all().get().stream().filter(g -> g.groupId().equals(group)).toList();
        same(1, listed.size(), "groups listed under the name");
        same(Optional.of(GroupType.CONSUMER), listed.get(0).type(), "type listed");
        same(Optional.of(GroupState.EMPTY), listed.get(0).groupState(), "state listed");
        var described = admin.describeConsumerGroups(List.of(group)).all().get().get(group);
        same(GroupType.CONSUMER, described.type(), "type described");
        admin.deleteConsumerGroups(List.of(group)).all().get();
        check(admin.listGroups(ListGroupsOptions.forConsumerGroups()).all().get().stream().noneMatch(g -> g.groupId().equals(group)), "group gone");
        fails(GroupIdNotFoundException.class, () -> admin.deleteConsumerGroups(List.of(group)).all().get());
        ok("list, describe and delete a consumer group");
    }

    static void staticMember(Admin admin) throws Exception {
        String topic = prefix + "-codec-zstd", group = prefix + "-static";
        Map<String, String> conf = Map.of("group.id", group, "group.instance.id", "one", "session.timeout.ms", "20000");
        String[] id = new String[2];
        int[] generation = new int[2];
        for (int round = 0; round < 2; round++) {
            try (var consumer = consumer(conf)) {
                consumer.subscribe(List.of(topic));
                long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
                while (consumer.assignment().isEmpty()) {
                    check(System.nanoTime() < deadline, "no assignment for the static member");
                    consumer.poll(Duration.ofMillis(100));
                }
                same(3, consumer.assignment().size(), "partitions of the static member");
                id[round] = consumer.groupMetadata().memberId();
                generation[round] = consumer.groupMetadata().generationId();
                var described = admin.describeConsumerGroups(List.of(group)).all().get().get(group);
                same(Optional.of("one"), described.members().iterator().next().groupInstanceId(), "instance id");
            }
        }
        check(!id[0].equals(id[1]), "a returning static member gets a new member id");
        same(generation[0], generation[1], "generation kept across a static member's return");
        admin.removeMembersFromConsumerGroup(group,
                new RemoveMembersFromConsumerGroupOptions(Set.of(new MemberToRemove("one")))).all().get();
        same(0, admin.describeConsumerGroups(List.of(group)).all().get().get(group).members().size(), "members left");
        ok("static membership");
    }

    static void limits(Admin admin) throws Exception {
        String topic = prefix + "-topics";
        try (var producer = producer(Map.of("max.request.size", 10_000_000))) {
            fails(RecordTooLargeException.class,
                    () -> producer.send(new ProducerRecord<>(topic, 0, null, new byte[200_000])).get());
            producer.send(new ProducerRecord<>(topic, 0, null, new byte[10])).get();
            producer.flush();
        }
        ok("max.message.bytes");
    }

    static void configs(Admin admin) throws Exception {
        String topic = prefix + "-topics";
        var resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        var options = new DescribeConfigsOptions().includeSynonyms(true).includeDocumentation(true);
        Config config = admin.describeConfigs(List.of(resource), options).all().get().get(resource);
        check(config.entries().size() > 20, "only " + config.entries().size() + " topic configs");
        ConfigEntry retention = config.get("retention.ms");
        same("3600000", retention.value(), "retention.ms");
        same(ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, retention.source(), "source of retention.ms");
        check(!retention.synonyms().isEmpty(), "synonyms of retention.ms");
        check(!retention.documentation().isEmpty(), "documentation of retention.ms");
        same(ConfigEntry.ConfigType.LONG, retention.type(), "type of retention.ms");
        admin.incrementalAlterConfigs(Map.of(resource, List.of(
                new AlterConfigOp(new ConfigEntry("retention.ms", "7200000"), AlterConfigOp.OpType.SET),
                new AlterConfigOp(new ConfigEntry("max.message.bytes", ""), AlterConfigOp.OpType.DELETE),
                new AlterConfigOp(new ConfigEntry("cleanup.policy", "compact"), AlterConfigOp.OpType.APPEND)))).all().get();
        await("the new configs", () -> {
            try {
                Config now = admin.describeConfigs(List.of(resource)).all().get().get(resource);
                return now.get("retention.ms").value().equals("7200000") && now.get("max.message.bytes").isDefault()
                        && Set.of(now.get("cleanup.policy").value().split(",")).equals(Set.of("delete", "compact"));
            } catch (Exception e) {
                throw new RuntimeException(e);
            }
        });
        fails(InvalidConfigurationException.class, () -> admin.incrementalAlterConfigs(Map.of(resource, List.of(
                new AlterConfigOp(new ConfigEntry("no.such.key", "1"), AlterConfigOp.OpType.SET)))).all().get());
        String node = "" + admin.describeCluster().nodes().get().iterator().next().id();
        var broker = new ConfigResource(ConfigResource.Type.BROKER, node);
        check(!admin.describeConfigs(List.of(broker)).all().get().get(broker).entries().isEmpty(), "broker configs");
        ok("describe and alter configs");
    }

    static void records(Admin admin) throws Exception {
        String topic = prefix + "-codec-none";
        var tp = new TopicPartition(topic, 0);
        var gone = admin.deleteRecords(Map.of(tp, RecordsToDelete.beforeOffset(120)));
        same(120L, gone.lowWatermarks().get(tp).get().lowWatermark(), "low watermark");
        same(120L, admin.listOffsets(Map.of(tp, OffsetSpec.earliest())).all().get().get(tp).offset(), "earliest offset");
        try (var consumer = consumer(Map.of())) {
            consumer.assign(List.of(tp));
            consumer.seek(tp, 5);
            same(120L, firstOf(consumer).offset(), "first record after a reset to earliest");
        }
        try (var strict = consumer(Map.of("auto.offset.reset", "none"))) {
            strict.assign(List.of(tp));
            strict.seek(tp, 5);
            fails(org.apache.kafka.clients.consumer.OffsetOutOfRangeException.class, () -> strict.poll(Duration.ofSeconds(30)));
        }
        fails(org.apache.kafka.common.errors.OffsetOutOfRangeException.class,
                () -> admin.deleteRecords(Map.of(tp, RecordsToDelete.beforeOffset(100_000))).all().get());
        gone = admin.deleteRecords(Map.of(tp, RecordsToDelete.beforeOffset(-1)));
        same(200L, gone.lowWatermarks().get(tp).get().lowWatermark(), "low watermark after deleting everything");
        ok("delete records");
    }

    static void groups(Admin admin) throws Exception {
        String group = prefix + "-group-eager";
        var listed = admin.listGroups(ListGroupsOptions.forConsumerGroups()).all().get().stream().filter(g -> g.groupId().equals(group)).toList();
        same(1, listed.size(), "groups listed under the name");
        same(Optional.of(GroupState.EMPTY), listed.get(0).groupState(), "state listed");
        var all = admin.listGroups().all().get().stream().filter(g -> g.groupId().equals(group)).toList();
        same("consumer", all.get(0).protocol(), "protocol listed");
        var described = admin.describeConsumerGroups(List.of(group),
                new DescribeConsumerGroupsOptions().includeAuthorizedOperations(true)).all().get().get(group);
        same(GroupState.EMPTY, described.groupState(), "state described");
        admin.deleteConsumerGroups(List.of(group)).all().get();
        check(admin.listGroups(ListGroupsOptions.forConsumerGroups()).all().get().stream().noneMatch(g -> g.groupId().equals(group)), "group gone");
        fails(GroupIdNotFoundException.class, () -> admin.deleteConsumerGroups(List.of(group)).all().get());
        ok("list, describe and delete groups");
    }

    static void deletion(Admin admin) throws Exception {
        String topic = prefix + "-acks";
        admin.deleteTopics(List.of(topic)).all().get();
        await("the topic's end", () -> {
            try {
                return !admin.listTopics().names().get().contains(topic);
            } catch (Exception e) {
                throw new RuntimeException(e);
            }
        });
        fails(UnknownTopicOrPartitionException.class, () -> admin.describeTopics(List.of(topic)).allTopicNames().get());
        fails(UnknownTopicOrPartitionException.class, () -> admin.deleteTopics(List.of(topic)).all().get());
        create(admin, topic, 2, Map.of());
        try (var producer = producer(Map.of())) {
            same(0L, producer.send(new ProducerRecord<>(topic, 0, null, bytes("anew"))).get().offset(), "offset in a topic made anew");
        }
        var auto = prefix + "-auto";
        try (var producer = producer(Map.of())) {
            same(0L, producer.send(new ProducerRecord<>(auto, bytes("made on demand"))).get().offset(), "offset in an automatic topic");
        }
        List<String> mine = admin.listTopics().names().get().stream().filter(t -> t.startsWith(prefix + "-")).toList();
        check(mine.contains(auto), "automatic topic listed");
        admin.deleteTopics(mine).all().get();
        ok("delete topics, make one anew, make one automatically");
    }

    // ---- the flights -----------------------------------------------------------------------------------------

    static void write(String topic, String codec, String input) throws Exception {
        long count = 0;
        AtomicReference<Exception> bad = new AtomicReference<>();
        try (var producer = producer(Map.of("compression.type", codec, "linger.ms", 20, "batch.size", 131072));
                BufferedReader in = Files.newBufferedReader(Path.of(input))) {
            for (String line; (line = in.readLine()) != null; count++) {
                String[] part = line.split("\t", 3);
                producer.send(new ProducerRecord<>(topic, null, Long.parseLong(part[1]), bytes(part[0]), bytes(part[2])),
                        (meta, error) -> {
                            if (error != null) bad.compareAndSet(null, error);
                        });
            }
            producer.flush();
        }
        if (bad.get() != null) throw bad.get();
        System.out.println("wrote " + count);
    }

    static final class Digest {
        final MessageDigest sha;
        long count;
        long seconds;

        Digest() {
            try {
                sha = MessageDigest.getInstance("SHA-256");
            } catch (Exception e) {
                throw new RuntimeException(e);
            }
        }
    }

    static void read(String topic, String group, long expect) throws Exception {
        Map<String, Digest> digests = new TreeMap<>();
        Ledger ledger = new Ledger();
        Set<Integer> holding = ConcurrentHashMap.newKeySet();
        Set<Integer> active = ConcurrentHashMap.newKeySet();
        AtomicBoolean done = new AtomicBoolean();
        List<Thread> members = new ArrayList<>();
        for (int m = 0; m < 3; m++) {
            int me = m;
            Thread thread = new Thread(() -> {
                try (var consumer = consumer(Map.of("group.id", group, "max.poll.records", 5000))) {
                    consumer.subscribe(List.of(topic), new ConsumerRebalanceListener() {
                        public void onPartitionsRevoked(Collection<TopicPartition> gone) {
                            consumer.commitSync();
                            holding.remove(me);
                        }

                        public void onPartitionsAssigned(Collection<TopicPartition> fresh) {
                            // Nobody reads before all three hold partitions.
                            if (holding.size() < 3) consumer.pause(fresh);
                            if (!consumer.assignment().isEmpty()) holding.add(me);
                        }
                    });
                    while (!done.get() && failure.get() == null) {
                        if (holding.size() == 3 && !consumer.paused().isEmpty()) consumer.resume(consumer.paused());
                        for (var r : consumer.poll(Duration.ofMillis(50))) {
                            active.add(me);
                            synchronized (ledger) {
                                ledger.deliver("member " + me, r.partition(), r.offset());
                                Digest d = digests.computeIfAbsent(new String(r.key(), StandardCharsets.UTF_8), k -> new Digest());
                                d.sha.update(ByteBuffer.allocate(4).putInt(r.value().length).array());
                                d.sha.update(r.value());
                                d.count++;
                                d.seconds += r.timestamp() / 1000;
                            }
                        }
                    }
                    consumer.commitSync();
                } catch (Throwable t) {
                    failure.compareAndSet(null, t);
                }
            });
            thread.setDaemon(true);
            thread.start();
            members.add(thread);
        }
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(120);
        while (ledger.delivered() < expect && failure.get() == null) {
            check(System.nanoTime() < deadline, "only " + ledger.delivered() + " of " + expect + " records within 120 s");
            Thread.sleep(10);
        }
        done.set(true);
        for (Thread t : members) t.join(30_000);
        if (failure.get() != null) throw new AssertionError("a member failed", failure.get());
        same(3, active.size(), "members that read");
        try (Admin admin = admin()) {
            long end = 0;
            for (var p : admin.listOffsets(partitions(topic, 6).stream().collect(Collectors.toMap(tp -> tp, tp -> OffsetSpec.latest()))).all().get().values()) end += p.offset();
            same(expect, end, "records in the topic");
        }
        for (var e : digests.entrySet()) {
            System.out.println("digest " + e.getKey() + " " + e.getValue().count + " "
                    + HexFormat.of().formatHex(e.getValue().sha.digest()) + " " + e.getValue().seconds);
        }
    }
}
