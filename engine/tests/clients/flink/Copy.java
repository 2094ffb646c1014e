// Flink's Kafka connector as a judge of a broker: a cluster in this JVM copies a topic with the exactly-once sink.
//
//   java Copy --bootstrap B --from T --to T
//
// A record that begins with "poison" fails the job, once; Flink starts it again from its last checkpoint. Says "poisoned"
// then, and ends with its standard input. Rust starts it: judge_flink.rs.

import java.util.HashMap;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.MapFunction;
import org.apache.flink.api.common.serialization.SimpleStringSchema;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;

public final class Copy {
    /** One for the process, so that the job started again passes. */
    static final Set<String> poisoned = ConcurrentHashMap.newKeySet();

    public static final class Work implements MapFunction<String, String> {
        @Override
        public String map(String value) {
            if (value.startsWith("poison") && poisoned.add(value)) {
                System.out.println("poisoned");
                System.out.flush();
                throw new IllegalStateException(value);
            }
            return "copy of " + value;
        }
    }

    public static void main(String[] args) throws Exception {
        Map<String, String> flag = new HashMap<>();
        for (int i = 0; i + 1 < args.length; i += 2) flag.put(args[i].substring(2), args[i + 1]);
        Configuration config = new Configuration();
        config.setString("restart-strategy.type", "fixed-delay");
        config.setString("restart-strategy.fixed-delay.attempts", "10");
        config.setString("restart-strategy.fixed-delay.delay", "100 ms");
        // What a checkpoint covers is one transaction.
        config.setString("execution.checkpointing.interval", "3 s");
        StreamExecutionEnvironment env = StreamExecutionEnvironment.createLocalEnvironment(1, config);
        KafkaSource<String> source = KafkaSource.<String>builder()
            .setBootstrapServers(flag.get("bootstrap"))
            .setTopics(flag.get("from"))
            .setGroupId(flag.get("from") + "-flink")
            .setStartingOffsets(OffsetsInitializer.earliest())
            .setValueOnlyDeserializer(new SimpleStringSchema())
            .build();
        KafkaSink<String> sink = KafkaSink.<String>builder()
            .setBootstrapServers(flag.get("bootstrap"))
            .setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE)
            .setTransactionalIdPrefix(flag.get("to"))
            // A failed job can leave a transaction that nobody takes up: until then it holds readers of committed records.
            .setProperty("transaction.timeout.ms", "45000")
            .setRecordSerializer(KafkaRecordSerializationSchema.builder()
                .setTopic(flag.get("to"))
                .setValueSerializationSchema(new SimpleStringSchema())
                .build())
            .build();
        env.fromSource(source, WatermarkStrategy.noWatermarks(), "in").map(new Work()).sinkTo(sink);
        env.executeAsync("copy");
        while (System.in.read() >= 0) {}
        Runtime.getRuntime().halt(0);
    }
}
