// Connectors for Kafka Connect that copy a table of a database to a topic and a topic to a table, over JDBC. They are
// here because no JDBC connector for Connect is published to Maven Central; the worker that runs them is Apache Kafka's.
//
// Both know one kind of row: id, name, amount. Rust starts the workers: judge_connect.rs.

import java.sql.*;
import java.util.*;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.connect.connector.Task;
import org.apache.kafka.connect.data.Schema;
import org.apache.kafka.connect.data.SchemaBuilder;
import org.apache.kafka.connect.data.Struct;
import org.apache.kafka.connect.errors.ConnectException;
import org.apache.kafka.connect.sink.*;
import org.apache.kafka.connect.source.*;

public final class Jdbc {
    static final ConfigDef CONFIG = new ConfigDef()
        .define("url", ConfigDef.Type.STRING, ConfigDef.Importance.HIGH, "JDBC address of the database")
        .define("table", ConfigDef.Type.STRING, ConfigDef.Importance.HIGH, "table to copy from or to")
        .define("topic", ConfigDef.Type.STRING, "", ConfigDef.Importance.HIGH, "topic to copy to");

    /** Appends the rows of a table to a topic, in the order of their ids. */
    public static final class Source extends SourceConnector {
        private Map<String, String> config;

        public void start(Map<String, String> given) {
            config = given;
        }

        public void stop() {}

        public Class<? extends Task> taskClass() {
            return SourceCopy.class;
        }

        public List<Map<String, String>> taskConfigs(int most) {
            return List.of(config);
        }

        public ConfigDef config() {
            return CONFIG;
        }

        public String version() {
            return "1";
        }

        /** The highest id copied is the whole of its state, and is kept with the records. */
        @Override
        public ExactlyOnceSupport exactlyOnceSupport(Map<String, String> given) {
            return ExactlyOnceSupport.SUPPORTED;
        }
    }

    public static final class SourceCopy extends SourceTask {
        static final Schema ROW = SchemaBuilder.struct().name("row")
            .field("id", Schema.INT64_SCHEMA)
            .field("name", Schema.OPTIONAL_STRING_SCHEMA)
            .field("amount", Schema.FLOAT64_SCHEMA)
            .build();
        private Map<String, String> table;
        private Connection database;
        private PreparedStatement next;
        private String topic;
        private long last;

        public String version() {
            return "1";
        }

        public void start(Map<String, String> config) {
            topic = config.get("topic");
            table = Map.of("table", config.get("table"));
            Map<String, Object> offset = context.offsetStorageReader().offset(table);
            last = offset == null ? 0 : (Long) offset.get("id");
            try {
                database = DriverManager.getConnection(config.get("url"));
                next = database.prepareStatement("SELECT id, name, amount FROM " + config.get("table")
                    + " WHERE id > ? ORDER BY id LIMIT 20");
            } catch (SQLException e) {
                throw new ConnectException(e);
            }
        }

        public List<SourceRecord> poll() throws InterruptedException {
            List<SourceRecord> records = new ArrayList<>();
            try {
                next.setLong(1, last);
                try (ResultSet rows = next.executeQuery()) {
                    while (rows.next()) {
                        last = rows.getLong(1);
                        Struct row = new Struct(ROW).put("id", last).put("name", rows.getString(2))
                            .put("amount", rows.getDouble(3));
                        records.add(new SourceRecord(table, Map.of("id", last), topic,
                            Schema.INT64_SCHEMA, last, ROW, row));
                    }
                }
            } catch (SQLException e) {
                throw new ConnectException(e);
            }
            // An empty table is asked again ten times a second.
            if (records.isEmpty()) Thread.sleep(100);
            return records;
        }

        public void stop() {
            end(database);
        }
    }

    /** Writes records as rows; a record that comes again writes the same row again. */
    public static final class Sink extends SinkConnector {
        private Map<String, String> config;

        public void start(Map<String, String> given) {
            config = given;
        }

        public void stop() {}

        public Class<? extends Task> taskClass() {
            return SinkCopy.class;
        }

        public List<Map<String, String>> taskConfigs(int most) {
            return List.of(config);
        }

        public ConfigDef config() {
            return CONFIG;
        }

        public String version() {
            return "1";
        }
    }

    public static final class SinkCopy extends SinkTask {
        private Connection database;
        private PreparedStatement write;

        public String version() {
            return "1";
        }

        public void start(Map<String, String> config) {
            try {
                database = DriverManager.getConnection(config.get("url"));
                database.setAutoCommit(false);
                write = database.prepareStatement("INSERT INTO " + config.get("table")
                    + " (id, name, amount, times) VALUES (?, ?, ?, 1) ON CONFLICT (id) DO UPDATE SET"
                    + " name = excluded.name, amount = excluded.amount, times = times + 1");
            } catch (SQLException e) {
                throw new ConnectException(e);
            }
        }

        public void put(Collection<SinkRecord> records) {
            if (records.isEmpty()) return;
            try {
                for (SinkRecord record : records) {
                    Struct row = (Struct) record.value();
                    write.setLong(1, (Long) record.key());
                    write.setString(2, row.getString("name"));
                    write.setDouble(3, row.getFloat64("amount"));
                    write.executeUpdate();
                }
                database.commit();
            } catch (SQLException e) {
                throw new ConnectException(e);
            }
        }

        @Override
        public void flush(Map<TopicPartition, OffsetAndMetadata> offsets) {}

        public void stop() {
            end(database);
        }
    }

    static void end(Connection database) {
        try {
            if (database != null) database.close();
        } catch (SQLException e) {
            throw new ConnectException(e);
        }
    }
}
