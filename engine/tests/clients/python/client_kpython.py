"""kafka-python: a pure Python client at the newest versions of the protocol."""
import contextlib
import re

from kafka import AsyncConsumerRebalanceListener, KafkaAdminClient, KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka import errors
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError

from common import BrokerError

CODEC = {"none": None}


def asking(call, *args, **more):
    try:
        return call(*args, **more)
    except KafkaError as error:
        raise BrokerError(error.errno, str(error)) from error


class Adapter:
    codecs = ["none", "gzip", "snappy", "lz4", "zstd"]
    incremental = True
    null_headers = False  # refused by the client itself

    def __init__(self, bootstrap):
        self.common = {"bootstrap_servers": bootstrap}
        self.admin = KafkaAdminClient(**self.common)
        self.lookup = self.consumer(None)

    def close(self):
        self.lookup.close()
        self.admin.close()

    def consumer(self, group, **more):
        conf = {"group_id": group, "auto_offset_reset": "earliest", "enable_auto_commit": False,
                "session_timeout_ms": 10000, "heartbeat_interval_ms": 300, "fetch_max_wait_ms": 50}
        return KafkaConsumer(**{**self.common, **conf, **more})

    # ---- admin

    def create_topic(self, topic, partitions, configs):
        asking(self.admin.create_topics,
               {topic: {"num_partitions": partitions, "replication_factor": 1, "configs": configs}})

    def list_topics(self):
        return set(self.admin.list_topics())

    def partition_count(self, topic):
        return len(self.admin.describe_topics([topic])[0]["partitions"])

    def delete_topics(self, topics):
        asking(self.admin.delete_topics, topics)

    def create_partitions(self, topic, total):
        asking(self.admin.create_partitions, {topic: total})

    def topic_configs(self, topic):
        found = self.admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)], config_filter="all")
        return {name: entry["value"] for name, entry in found["topic"][topic].items()}

    def alter_config(self, topic, key, value):
        answer = self.admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {key: value})])
        said = answer["topic"][topic]  # "OK", or "[Error 40] InvalidConfigurationError: ..."
        if said != "OK":
            raise BrokerError(int(re.match(r"\[Error (-?\d+)\]", said)[1]), said)

    def delete_records(self, topic, partition, before):
        asking(self.admin.delete_records, {TopicPartition(topic, partition): before})

    def list_groups(self):
        return {g["group_id"] for g in self.admin.list_groups()}

    def describe_group(self, group):
        found = self.admin.describe_groups([group])[group]
        return found["group_state"], len(found["members"])

    def group_offsets(self, group, topic, partitions):
        found = asking(self.admin.list_group_offsets, [group])[group]
        return {tp.partition: (o.offset, o.metadata or "") for tp, o in found.items() if tp.topic == topic}

    def delete_group(self, group):
        said = self.admin.delete_groups([group])[group]  # "OK", or the name of the error's class
        if said != "OK":
            raise BrokerError(getattr(errors, said).errno, said)

    # ---- data

    def watermarks(self, topic, partition):
        tp = TopicPartition(topic, partition)
        return self.lookup.beginning_offsets([tp])[tp], self.lookup.end_offsets([tp])[tp]

    def offset_for_time(self, topic, partition, at):
        tp = TopicPartition(topic, partition)
        found = self.lookup.offsets_for_times({tp: at})[tp]
        return found.offset if found and found.offset >= 0 else None

    @contextlib.contextmanager
    def open_producer(self, codec="none", acks="all", idempotent=False):
        producer = KafkaProducer(**self.common, compression_type=CODEC.get(codec, codec), acks=acks, linger_ms=5,
                                 enable_idempotence=idempotent, max_request_size=10_000_000)

        def send(topic, records):
            sent = [producer.send(topic, value, key, headers, partition, at) for partition, key, value, at, headers in records]
            producer.flush(60)
            return [(meta.partition, meta.offset) for meta in (asking(s.get, 60) for s in sent)]

        yield send
        producer.close(60)

    def produce(self, topic, records, codec, **mode):
        with self.open_producer(codec, **mode) as send:
            return send(topic, records)

    def read(self, topic, starts, count):
        consumer, found = self.consumer(None), []
        consumer.assign([TopicPartition(topic, p) for p in starts])
        for p, at in starts.items():
            consumer.seek(TopicPartition(topic, p), at)
        while len(found) < count:
            batch = consumer.poll(30_000, 1000)
            if not batch:
                raise AssertionError(f"no records for 30 s after {len(found)} of {count}")
            found.extend(record(r) for part in batch.values() for r in part)
        consumer.close()
        return found

    def commit(self, group, offsets):
        consumer = self.consumer(group)
        consumer.assign([TopicPartition(t, p) for t, p in offsets])
        consumer.commit({TopicPartition(t, p): OffsetAndMetadata(at, note, -1) for (t, p), (at, note) in offsets.items()})
        consumer.close()

    def committed(self, group, topic, partition):
        consumer = self.consumer(group)
        found = consumer.committed(TopicPartition(topic, partition), metadata=True)
        consumer.close()
        return None if found is None or found.offset is None or found.offset < 0 else (found.offset, found.metadata)

    def run_member(self, member):
        consumer = self.consumer(member.group)

        def positions():
            return {TopicPartition(member.topic, p): OffsetAndMetadata(next, "", -1) for p, next in member.positions().items()}

        class Listener(AsyncConsumerRebalanceListener):
            async def on_partitions_revoked(self, revoked):
                at = positions()
                if at:
                    await consumer.commit_async(at)
                member.assigned = set()

            async def on_partitions_assigned(self, assigned):
                member.assigned = {tp.partition for tp in assigned}

        consumer.subscribe([member.topic], listener=Listener())
        while not member.leave:
            # Long enough to join within one call: kafka-python 3.0 now and then never joins when its calls end while
            # JoinGroup is under way (seen with Apache Kafka).
            wait = 500 if member.assigned else 5000
            if not member.go():
                # Looks without moving on. A pause, as with the other clients, will not do: now and then kafka-python
                # 3.0 never fetches again after it (seen with Apache Kafka).
                consumer.poll(wait, 1, update_offsets=False)
                continue
            for part in consumer.poll(wait, 5000).values():
                member.deliver([record(r) for r in part])
        consumer.commit(positions())
        consumer.close(autocommit=False)

    def write_flights(self, topic, codec, rows):
        producer = KafkaProducer(**self.common, compression_type=CODEC.get(codec, codec), linger_ms=20, batch_size=131072)
        count, failed = 0, []
        for key, at, value in rows:
            producer.send(topic, value, key, timestamp_ms=at).add_errback(failed.append)
            count += 1
        producer.flush(120)
        producer.close()
        if failed:
            raise failed[0]
        return count


def record(r):
    return r.partition, r.offset, r.key, r.value, r.timestamp, r.headers
