// Apache Kafka's Java clients as a judge of transactions, in the way of transaction.version 2 (KIP-890).
//
//   java Transactions story --bootstrap B --prefix P    commit, abort, fences, offsets in transactions, timeouts, Admin
//   java Transactions etl   --bootstrap B --in T --out T --group G --id I --batch N --expect N
//        copies records from --in to --out, so many at a time, with their offsets in one transaction, until the group
//        has committed --expect of them; outlives brokers that are killed
//
// Prints "ok NAME" per check; any difference is an exception and exit status 1. Rust starts it: judge_transactions.rs.

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import java.util.function.BooleanSupplier;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.errors.*;
import org.apache.kafka.common.serialization.*;

public final class Transactions {
    static String bootstrap;
    static String prefix;

    public static void main(String[] args) throws Exception {
        Map<String, String> flag = new HashMap<>();
        for (int i = 1; i + 1 < args.length; i += 2) flag.put(args[i].substring(2), args[i + 1]);
        bootstrap = flag.get("bootstrap");
        prefix = flag.get("prefix");
        switch (args[0]) {
            case "story" -> story();
            case "etl" -> etl(flag);
            default -> throw new IllegalArgumentException(args[0]);
        }
        System.out.flush();
        System.exit(0);
    }

    static void ok(String name) {
        System.out.println("ok " + name);
        System.out.flush();
    }

    static void check(boolean condition, String what) {
        if (!condition) throw new AssertionError(what);
    }

    static void same(Object expected, Object found, String what) {
        if (!Objects.equals(expected, found)) {
            throw new AssertionError(what + ": expected " + shown(expected) + ", found " + shown(found));
        }
    }

    static String shown(Object value) {
        String text = String.valueOf(value);
        return text.length() < 400 ? text : text.substring(0, 400) + "...";
    }

    static void await(String what, Callable<Boolean> condition) throws Exception {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
        while (!condition.call()) {
            if (System.nanoTime() > deadline) throw new AssertionError("no " + what + " within 60 s");
            Thread.sleep(5);
        }
    }

    static <T extends Throwable> T fails(Class<T> kind, Executable action, String what) throws Exception {
        try {
            action.run();
        } catch (Throwable thrown) {
            for (Throwable t = thrown; t != null; t = t.getCause()) if (kind.isInstance(t)) return kind.cast(t);
            throw new AssertionError(what + ": expected " + kind.getSimpleName(), thrown);
        }
        throw new AssertionError(what + ": succeeded");
    }

    interface Executable {
        void run() throws Exception;
    }

    static KafkaProducer<String, String> producer(String id, int timeoutMs) {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", bootstrap);
        config.put("key.serializer", StringSerializer.class);
        config.put("value.serializer", StringSerializer.class);
        if (id != null) {
            config.put("transactional.id", id);
            config.put("transaction.timeout.ms", timeoutMs);
        }
        config.put("delivery.timeout.ms", 120_000);
        config.put("linger.ms", 0);
        return new KafkaProducer<>(config);
    }

    static KafkaConsumer<String, String> consumer(String group, boolean committed) {
        return consumer(group, committed, 500);
    }

    static KafkaConsumer<String, String> consumer(String group, boolean committed, int batch) {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", bootstrap);
        config.put("key.deserializer", StringDeserializer.class);
        config.put("value.deserializer", StringDeserializer.class);
        config.put("isolation.level", committed ? "read_committed" : "read_uncommitted");
        config.put("auto.offset.reset", "earliest");
        config.put("enable.auto.commit", false);
        config.put("max.poll.records", batch);
        if (group != null) config.put("group.id", group);
        return new KafkaConsumer<>(config);
    }

    static List<TopicPartition> partitions(String topic, int count) {
        List<TopicPartition> all = new ArrayList<>();
        for (int p = 0; p < count; p++) all.add(new TopicPartition(topic, p));
        return all;
    }

    /**
     * Values of a topic up to its end as the isolation level sees it, in order within each partition. An answered commit
     * is decided, but its markers may still be on their way: waits until nothing is open.
     */
    static List<String> read(String topic, int count, boolean committed) throws Exception {
        List<String> values = new ArrayList<>();
        try (KafkaConsumer<String, String> stable = consumer(null, true); KafkaConsumer<String, String> all = consumer(null, false)) {
            List<TopicPartition> tps = partitions(topic, count);
            await("end of all transactions in " + topic, () -> all.endOffsets(tps).equals(stable.endOffsets(tps)));
        }
        try (KafkaConsumer<String, String> consumer = consumer(null, committed)) {
            List<TopicPartition> all = partitions(topic, count);
            consumer.assign(all);
            consumer.seekToBeginning(all);
            Map<TopicPartition, Long> ends = consumer.endOffsets(all);
            long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
            while (all.stream().anyMatch(tp -> consumer.position(tp) < ends.get(tp))) {
                check(System.nanoTime() < deadline, "the end of " + topic + " within 60 s");
                for (ConsumerRecord<String, String> r : consumer.poll(Duration.ofMillis(100))) values.add(r.value());
            }
        }
        return values;
    }

    static void send(KafkaProducer<String, String> producer, String topic, int count, String name, int n) {
        for (int i = 0; i < n; i++) producer.send(new ProducerRecord<>(topic, i % count, "k" + i, name + i));
    }

    static List<String> names(String name, int n) {
        List<String> all = new ArrayList<>();
        for (int i = 0; i < n; i++) all.add(name + i);
        return all;
    }

    static List<String> sorted(List<String> values) {
        return values.stream().sorted().toList();
    }

    static void story() throws Exception {
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            features(admin);
            commitAndAbort(admin);
            stableEnd(admin);
            fences(admin);
            offsets(admin);
            timeouts(admin);
            manyTransactions(admin);
            operators(admin);
        }
    }

    static void topic(Admin admin, String name, int partitions) throws Exception {
        admin.createTopics(List.of(new NewTopic(name, partitions, (short) 1))).all().get();
    }

    static void features(Admin admin) throws Exception {
        FeatureMetadata features = admin.describeFeatures().featureMetadata().get();
        same((short) 2, features.finalizedFeatures().get("transaction.version").maxVersionLevel(), "finalized level");
        check(features.finalizedFeaturesEpoch().isPresent(), "an epoch of the finalized features");
        ok("transaction.version is 2");
    }

    static void commitAndAbort(Admin admin) throws Exception {
        String topic = prefix + "-plain";
        topic(admin, topic, 4);
        try (KafkaProducer<String, String> producer = producer(prefix + "-a", 60_000)) {
            producer.initTransactions();
            for (String name : List.of("c1-", "x1-", "c2-", "x2-", "c3-")) {
                producer.beginTransaction();
                send(producer, topic, 4, name, 100);
                // An abort drops what was not sent yet.
                producer.flush();
                if (name.startsWith("c")) producer.commitTransaction();
                else producer.abortTransaction();
            }
            // Transactions without a record.
            producer.beginTransaction();
            producer.commitTransaction();
            producer.beginTransaction();
            producer.abortTransaction();
            producer.beginTransaction();
            send(producer, topic, 4, "c4-", 1);
            producer.commitTransaction();
        }
        List<String> committed = new ArrayList<>(names("c1-", 100));
        committed.addAll(names("c2-", 100));
        committed.addAll(names("c3-", 100));
        committed.addAll(names("c4-", 1));
        same(sorted(committed), sorted(read(topic, 4, true)), "committed records");
        List<String> all = new ArrayList<>(committed);
        all.addAll(names("x1-", 100));
        all.addAll(names("x2-", 100));
        same(sorted(all), sorted(read(topic, 4, false)), "all records");
        ok("commits are read, aborts are not");
    }

    static void stableEnd(Admin admin) throws Exception {
        String topic = prefix + "-stable";
        topic(admin, topic, 1);
        TopicPartition tp = new TopicPartition(topic, 0);
        try (KafkaProducer<String, String> one = producer(prefix + "-s1", 60_000);
             KafkaProducer<String, String> two = producer(prefix + "-s2", 60_000);
             KafkaProducer<String, String> plain = producer(null, 0);
             KafkaConsumer<String, String> committed = consumer(null, true);
             KafkaConsumer<String, String> all = consumer(null, false)) {
            one.initTransactions();
            two.initTransactions();
            plain.send(new ProducerRecord<>(topic, "before")).get();
            one.beginTransaction();
            one.send(new ProducerRecord<>(topic, "one")).get();
            two.beginTransaction();
            two.send(new ProducerRecord<>(topic, "two")).get();
            plain.send(new ProducerRecord<>(topic, "after")).get();
            two.commitTransaction();
            same(1L, committed.endOffsets(List.of(tp)).get(tp), "the end below an open transaction");
            await("marker of the second", () -> all.endOffsets(List.of(tp)).get(tp) == 5L);
            committed.assign(List.of(tp));
            List<String> seen = new ArrayList<>();
            await("record before", () -> {
                committed.poll(Duration.ofMillis(50)).forEach(r -> seen.add(r.value()));
                return !seen.isEmpty();
            });
            same(List.of("before"), seen, "what an open transaction lets through");
            one.abortTransaction();
            await("records after", () -> {
                committed.poll(Duration.ofMillis(50)).forEach(r -> seen.add(r.value()));
                return seen.size() >= 3;
            });
            same(List.of("before", "two", "after"), seen, "what is read once all is decided");
        }
        ok("an open transaction holds the stable end");
    }

    static void fences(Admin admin) throws Exception {
        String topic = prefix + "-fence";
        topic(admin, topic, 2);
        KafkaProducer<String, String> old = producer(prefix + "-f", 60_000);
        old.initTransactions();
        old.beginTransaction();
        send(old, topic, 2, "old", 10);
        old.flush();
        try (KafkaProducer<String, String> young = producer(prefix + "-f", 60_000)) {
            young.initTransactions();
            young.beginTransaction();
            send(young, topic, 2, "young", 10);
            fails(ProducerFencedException.class, old::commitTransaction, "the commit of a fenced producer");
            young.commitTransaction();
        }
        old.close();
        same(sorted(names("young", 10)), sorted(read(topic, 2, true)), "records after a fence");
        try (KafkaProducer<String, String> third = producer(prefix + "-f", 60_000)) {
            third.initTransactions();
            third.beginTransaction();
            send(third, topic, 2, "third", 10);
            third.flush();
            admin.fenceProducers(List.of(prefix + "-f")).all().get();
            fails(ProducerFencedException.class, third::commitTransaction, "a commit after fenceProducers");
        }
        same(sorted(names("young", 10)), sorted(read(topic, 2, true)), "records after fenceProducers");
        KafkaProducer<String, String> greedy = producer(prefix + "-g", 3_600_000);
        String why = fails(KafkaException.class, greedy::initTransactions, "an hour's timeout").getMessage();
        check(why.contains("timeout is larger"), "refused for its timeout: " + why);
        greedy.close();
        ok("older producers are fenced");
    }

    static void offsets(Admin admin) throws Exception {
        String in = prefix + "-in";
        String out = prefix + "-out";
        topic(admin, in, 2);
        topic(admin, out, 2);
        try (KafkaProducer<String, String> plain = producer(null, 0)) {
            send(plain, in, 2, "v", 100);
        }
        String group = prefix + "-group";
        Set<TopicPartition> all = new HashSet<>(partitions(in, 2));
        try (KafkaConsumer<String, String> consumer = consumer(group, true);
             KafkaProducer<String, String> producer = producer(prefix + "-o", 60_000)) {
            producer.initTransactions();
            consumer.subscribe(List.of(in));
            int taken = 0;
            int turn = 0;
            long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
            while (taken < 100) {
                check(System.nanoTime() < deadline, "100 records within 60 s");
                ConsumerRecords<String, String> records = consumer.poll(Duration.ofMillis(100));
                if (records.isEmpty()) continue;
                boolean commit = turn++ % 2 == 1;
                producer.beginTransaction();
                Map<TopicPartition, OffsetAndMetadata> next = new HashMap<>();
                for (ConsumerRecord<String, String> r : records) {
                    producer.send(new ProducerRecord<>(out, r.partition(), r.key(), r.value()));
                    next.put(new TopicPartition(in, r.partition()), new OffsetAndMetadata(r.offset() + 1, "m" + turn));
                }
                producer.sendOffsetsToTransaction(next, consumer.groupMetadata());
                if (commit) {
                    producer.commitTransaction();
                    taken += records.count();
                    Map<TopicPartition, OffsetAndMetadata> stored = consumer.committed(all);
                    for (var e : next.entrySet()) same(e.getValue(), stored.get(e.getKey()), "the offset of " + e.getKey());
                } else {
                    Map<TopicPartition, OffsetAndMetadata> before = admin.listConsumerGroupOffsets(group)
                        .partitionsToOffsetAndMetadata().get();
                    producer.abortTransaction();
                    Map<TopicPartition, OffsetAndMetadata> after = consumer.committed(all);
                    for (TopicPartition tp : all) {
                        OffsetAndMetadata offset = after.get(tp);
                        same(before.get(tp), offset, "the offset of " + tp + " after an abort");
                        consumer.seek(tp, offset == null ? new OffsetAndMetadata(0) : offset);
                    }
                }
            }
            // A member of no generation may not commit.
            producer.beginTransaction();
            producer.send(new ProducerRecord<>(out, "stray"));
            fails(CommitFailedException.class, () -> {
                producer.sendOffsetsToTransaction(
                    Map.of(new TopicPartition(in, 0), new OffsetAndMetadata(1)),
                    new ConsumerGroupMetadata(group, 77, "nobody", Optional.empty()));
                producer.commitTransaction();
            }, "offsets of a stranger");
            producer.abortTransaction();
        }
        same(sorted(names("v", 100)), sorted(read(out, 2, true)), "records copied");
        ok("offsets are committed with the transaction");
    }

    static void timeouts(Admin admin) throws Exception {
        String topic = prefix + "-slow";
        topic(admin, topic, 1);
        try (KafkaProducer<String, String> slow = producer(prefix + "-slow", 1_500)) {
            slow.initTransactions();
            slow.beginTransaction();
            slow.send(new ProducerRecord<>(topic, "late")).get();
            await("abort of a slow transaction", () -> admin.describeTransactions(List.of(prefix + "-slow")).all().get()
                .get(prefix + "-slow").state() == TransactionState.COMPLETE_ABORT);
            fails(KafkaException.class, slow::commitTransaction, "a commit that comes too late");
        }
        same(List.of(), read(topic, 1, true), "records of a slow transaction");
        ok("slow transactions are aborted");
    }

    static void manyTransactions(Admin admin) throws Exception {
        String topic = prefix + "-many";
        topic(admin, topic, 8);
        ExecutorService pool = Executors.newFixedThreadPool(4);
        List<Future<List<String>>> results = new ArrayList<>();
        for (int t = 0; t < 4; t++) {
            String me = "m" + t + "-";
            results.add(pool.submit(() -> {
                List<String> kept = new ArrayList<>();
                Random random = new Random(me.hashCode());
                try (KafkaProducer<String, String> producer = producer(prefix + me, 60_000)) {
                    producer.initTransactions();
                    for (int i = 0; i < 60; i++) {
                        boolean commit = random.nextInt(3) != 0;
                        producer.beginTransaction();
                        for (int j = 0; j < 5; j++) {
                            String value = me + i + "." + j + (commit ? "c" : "x");
                            producer.send(new ProducerRecord<>(topic, random.nextInt(8), null, value));
                            if (commit) kept.add(value);
                        }
                        if (commit) producer.commitTransaction();
                        else producer.abortTransaction();
                    }
                }
                return kept;
            }));
        }
        List<String> kept = new ArrayList<>();
        for (Future<List<String>> result : results) kept.addAll(result.get(120, TimeUnit.SECONDS));
        pool.shutdown();
        same(sorted(kept), sorted(read(topic, 8, true)), "records of 240 transactions");
        ok("transactions side by side");
    }

    static void operators(Admin admin) throws Exception {
        String topic = prefix + "-ops";
        topic(admin, topic, 1);
        TopicPartition tp = new TopicPartition(topic, 0);
        String id = prefix + "-ops";
        try (KafkaProducer<String, String> producer = producer(id, 60_000)) {
            producer.initTransactions();
            producer.beginTransaction();
            producer.send(new ProducerRecord<>(topic, "open")).get();
            TransactionDescription told = admin.describeTransactions(List.of(id)).description(id).get();
            same(TransactionState.ONGOING, told.state(), "state of an open transaction");
            same(Set.of(tp), told.topicPartitions(), "its partitions");
            same(60_000L, told.transactionTimeoutMs(), "its timeout");
            check(told.transactionStartTimeMs().isPresent(), "its start");
            ProducerState state = admin.describeProducers(List.of(tp)).partitionResult(tp).get().activeProducers().get(0);
            same(told.producerId(), state.producerId(), "producer id in the partition");
            same(OptionalLong.of(0), state.currentTransactionStartOffset(), "start offset in the partition");
            Set<String> ongoing = admin.listTransactions(new ListTransactionsOptions()
                    .filterStates(Set.of(TransactionState.ONGOING)).filterOnTransactionalIdPattern(prefix + "-.*"))
                .all().get().stream().map(TransactionListing::transactionalId).collect(Collectors.toSet());
            same(Set.of(id), ongoing, "open transactions");
            admin.abortTransaction(new AbortTransactionSpec(tp, state.producerId(), (short) state.producerEpoch(), 0)).all().get();
            await("end after abortTransaction", () -> {
                try (KafkaConsumer<String, String> c = consumer(null, true)) {
                    return c.endOffsets(List.of(tp)).get(tp) == 2L;
                }
            });
            producer.abortTransaction();
        }
        same(List.of(), read(topic, 1, true), "records of a transaction aborted by hand");
        fails(TransactionalIdNotFoundException.class,
            () -> admin.describeTransactions(List.of(prefix + "-nobody")).all().get(), "an unknown id");
        ok("operators list, describe and abort");
    }

    /** Copies records exactly once, whatever becomes of the broker. */
    static void etl(Map<String, String> flag) throws Exception {
        String in = flag.get("in");
        String out = flag.get("out");
        long expect = Long.parseLong(flag.get("expect"));
        int round = 0;
        long transactions = 0;
        while (true) {
            KafkaProducer<String, String> producer = null;
            KafkaConsumer<String, String> consumer = null;
            try {
                consumer = consumer(flag.get("group"), true, Integer.parseInt(flag.get("batch")));
                producer = producer(flag.get("id"), 30_000);
                producer.initTransactions();
                consumer.subscribe(List.of(in));
                System.out.println("round " + ++round);
                System.out.flush();
                while (true) {
                    ConsumerRecords<String, String> records = consumer.poll(Duration.ofMillis(200));
                    if (records.isEmpty()) {
                        if (done(consumer, in, expect)) {
                            System.out.println("transactions " + transactions + " rounds " + round);
                            ok("copied " + expect);
                            return;
                        }
                        continue;
                    }
                    producer.beginTransaction();
                    Map<TopicPartition, OffsetAndMetadata> next = new HashMap<>();
                    for (TopicPartition tp : records.partitions()) {
                        for (ConsumerRecord<String, String> r : records.records(tp)) {
                            producer.send(new ProducerRecord<>(out, r.partition(), r.key(), r.value()));
                            next.put(tp, new OffsetAndMetadata(r.offset() + 1));
                        }
                    }
                    producer.sendOffsetsToTransaction(next, consumer.groupMetadata());
                    producer.commitTransaction();
                    transactions++;
                    if (transactions % 20 == 0) {
                        System.out.println("committed " + transactions);
                        System.out.flush();
                    }
                }
            } catch (KafkaException e) {
                // A new producer under the same id learns what became of the transaction; a new consumer begins at
                // the committed offsets.
                System.out.println("again after " + e);
                System.out.flush();
            } finally {
                if (producer != null) producer.close(Duration.ZERO);
                if (consumer != null) consumer.close(CloseOptions.timeout(Duration.ZERO));
            }
        }
    }

    static boolean done(KafkaConsumer<String, String> consumer, String topic, long expect) {
        Set<TopicPartition> all = consumer.partitionsFor(topic).stream()
            .map(p -> new TopicPartition(topic, p.partition())).collect(Collectors.toSet());
        return consumer.committed(all).values().stream().filter(Objects::nonNull).mapToLong(OffsetAndMetadata::offset)
            .sum() >= expect;
    }
}
