// Applications on Kafka Streams as judges of a broker: one JVM is one instance of the application.
//
//   java Streams words   --bootstrap B --prefix P --guarantee G --state DIR --name N     see `words`
//   java Streams delays  --bootstrap B --prefix P --guarantee G --state DIR --name N     see `delays`
//
// Standard output:  "state S" at each change of the instance's state, "restored STORE COUNT" at the end of a restore.
// Standard input:   "dump" prints what the instance's stores hold, then "end"; "stop" leaves the group and ends.
// At the end of its input it halts: an instance never outlives the test. Rust starts it: judge_streams.rs.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.*;
import org.apache.kafka.streams.kstream.*;
import org.apache.kafka.streams.processor.StateRestoreListener;
import org.apache.kafka.streams.processor.api.*;
import org.apache.kafka.streams.state.*;

public final class Streams {
    static final Map<String, String> flag = new HashMap<>();

    public static void main(String[] args) throws Exception {
        for (int i = 1; i + 1 < args.length; i += 2) flag.put(args[i].substring(2), args[i + 1]);
        StreamsBuilder builder = new StreamsBuilder();
        switch (args[0]) {
            case "words" -> words(builder, flag.get("prefix"));
            case "delays" -> delays(builder, flag.get("prefix"));
            default -> throw new IllegalArgumentException(args[0]);
        }
        KafkaStreams streams = new KafkaStreams(builder.build(), config());
        streams.setStateListener((now, before) -> say("state " + now));
        streams.setGlobalStateRestoreListener(new StateRestoreListener() {
            public void onRestoreStart(TopicPartition partition, String store, long from, long to) {}

            public void onBatchRestored(TopicPartition partition, String store, long end, long count) {}

            public void onRestoreEnd(TopicPartition partition, String store, long total) {
                say("restored " + store + " " + total);
            }
        });
        streams.start();
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = in.readLine()) != null; ) {
            switch (line) {
                case "dump" -> {
                    if (args[0].equals("words")) dumpWords(streams);
                    else dumpDelays(streams);
                    say("end");
                }
                case "stop" -> {
                    boolean closed = streams.close(CloseOptions.timeout(Duration.ofSeconds(60))
                        .withGroupMembershipOperation(CloseOptions.GroupMembershipOperation.LEAVE_GROUP));
                    say(closed ? "stopped" : "did not stop");
                    Runtime.getRuntime().halt(closed ? 0 : 1);
                }
                default -> throw new IllegalArgumentException(line);
            }
        }
        Runtime.getRuntime().halt(2);
    }

    static synchronized void say(String line) {
        System.out.println(line);
        System.out.flush();
    }

    static Properties config() {
        Properties p = new Properties();
        p.put("application.id", flag.get("prefix") + "-app");
        p.put("bootstrap.servers", flag.get("bootstrap"));
        p.put("processing.guarantee", flag.get("guarantee"));
        p.put("state.dir", flag.get("state"));
        p.put("default.key.serde", Serdes.StringSerde.class);
        p.put("default.value.serde", Serdes.StringSerde.class);
        // Every update of a table goes out, so that the outputs can be counted; of the flights, the newest at each commit.
        if (flag.get("cache") == null) p.put("statestore.cache.max.bytes", "0");
        // Long enough for a kill to meet an open transaction, short enough not to be waited for.
        p.put("commit.interval.ms", flag.getOrDefault("commit", "1500"));
        // The shortest a group may have: a killed instance is missed after this.
        p.put("consumer.session.timeout.ms", "6000");
        p.put("consumer.heartbeat.interval.ms", "500");
        return p;
    }

    /** Says in a header which instance made the record. */
    static <K, V> KStream<K, V> signed(KStream<K, V> stream) {
        byte[] name = flag.get("name").getBytes(StandardCharsets.UTF_8);
        return stream.processValues(() -> new ContextualFixedKeyProcessor<K, V, V>() {
            @Override
            public void process(FixedKeyRecord<K, V> record) {
                record.headers().remove("by").add("by", name);
                context().forward(record);
            }
        });
    }

    /**
     * P-lines                     -> P-counts    each word with its new count: a repartition and a store
     * P-clicks with table P-users -> P-joined    each click with its user's region at that time
     * P-users with P-profiles     -> P-merged    each user's region and name, updated by either
     * P-clicks                    -> P-windows   clicks per user and 10 s, once the window and its 5 s of grace are over
     */
    static void words(StreamsBuilder builder, String prefix) {
        KStream<String, String> lines = builder.stream(prefix + "-lines");
        KTable<String, Long> counts = lines
            .flatMapValues(line -> List.of(line.split(" ")))
            .groupBy((key, word) -> word)
            .count(Materialized.as("counts"));
        signed(counts.toStream().mapValues(n -> Long.toString(n))).to(prefix + "-counts");

        KTable<String, String> users = builder.table(prefix + "-users", Materialized.as("users"));
        KTable<String, String> profiles = builder.table(prefix + "-profiles", Materialized.as("profiles"));
        KStream<String, String> clicks = builder.stream(prefix + "-clicks");
        signed(clicks.join(users, (click, region) -> click + " " + region)).to(prefix + "-joined");

        KTable<String, String> merged = users.join(profiles, (region, name) -> region + " " + name,
            Materialized.as("merged"));
        signed(merged.toStream()).to(prefix + "-merged");

        KTable<Windowed<String>, Long> windows = clicks
            .groupByKey()
            .windowedBy(TimeWindows.ofSizeAndGrace(Duration.ofSeconds(10), Duration.ofSeconds(5)))
            .count(Materialized.<String, Long, WindowStore<Bytes, byte[]>>as("windows")
                .withKeySerde(Serdes.String())
                .withValueSerde(Serdes.Long())
                .withRetention(Duration.ofDays(1)));
        KStream<String, String> closed = windows
            .suppress(Suppressed.untilWindowCloses(Suppressed.BufferConfig.unbounded()))
            .toStream((window, n) -> window.key() + "@" + window.window().start())
            .mapValues(n -> Long.toString(n));
        signed(closed).to(prefix + "-windows");
    }

    static void dumpWords(KafkaStreams streams) {
        ReadOnlyKeyValueStore<String, Long> counts =
            streams.store(StoreQueryParameters.fromNameAndType("counts", QueryableStoreTypes.keyValueStore()));
        try (KeyValueIterator<String, Long> all = counts.all()) {
            all.forEachRemaining(e -> {
                // The same by a query for the key.
                if (!e.value.equals(counts.get(e.key))) throw new AssertionError(e.key);
                say("counts " + e.key + " " + e.value);
            });
        }
        ReadOnlyKeyValueStore<String, String> merged =
            streams.store(StoreQueryParameters.fromNameAndType("merged", QueryableStoreTypes.keyValueStore()));
        try (KeyValueIterator<String, String> all = merged.all()) {
            all.forEachRemaining(e -> say("merged " + e.key + " " + e.value));
        }
        ReadOnlyWindowStore<String, Long> windows =
            streams.store(StoreQueryParameters.fromNameAndType("windows", QueryableStoreTypes.windowStore()));
        Instant from = Instant.EPOCH, to = Instant.ofEpochMilli(4_000_000_000_000L);
        try (KeyValueIterator<Windowed<String>, Long> all = windows.fetchAll(from, to)) {
            all.forEachRemaining(e -> say("windows " + e.key.key() + "@" + e.key.window().start() + " " + e.value));
        }
    }

    /**
     * The flights, keyed by carrier and valued by their line of CSV: P-flights -> P-delays, for each carrier
     * "departed LATE MINUTES": the number of its flights that left, of those that left late, and the sum of their
     * departure delays in minutes.
     */
    static void delays(StreamsBuilder builder, String prefix) {
        KStream<String, String> flights = builder.stream(prefix + "-flights");
        KTable<String, String> delays = flights
            // The sixth field is the departure's delay; a cancelled flight has NA.
            .mapValues(line -> line.split(",", -1)[5])
            .filter((carrier, delay) -> !delay.equals("NA"))
            .groupByKey()
            .aggregate(() -> "0 0 0", (carrier, delay, sums) -> {
                String[] sum = sums.split(" ");
                long minutes = Long.parseLong(delay);
                return (Long.parseLong(sum[0]) + 1) + " "
                    + (Long.parseLong(sum[1]) + (minutes > 0 ? 1 : 0)) + " "
                    + (Long.parseLong(sum[2]) + minutes);
            }, Materialized.as("delays"));
        delays.toStream().to(prefix + "-delays");
    }

    static void dumpDelays(KafkaStreams streams) {
        ReadOnlyKeyValueStore<String, String> delays =
            streams.store(StoreQueryParameters.fromNameAndType("delays", QueryableStoreTypes.keyValueStore()));
        try (KeyValueIterator<String, String> all = delays.all()) {
            all.forEachRemaining(e -> say("delays " + e.key + " " + e.value));
        }
    }
}
