"""confluent-kafka: a current librdkafka, through its Python binding."""
import contextlib
import time

from confluent_kafka import (
    Consumer, ConsumerGroupTopicPartitions, KafkaException, OFFSET_INVALID, Producer, TopicPartition)
from confluent_kafka.admin import (
    AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic, ResourceType)

from common import BrokerError


def settle(futures):
    """The results of one admin call, or its first error."""
    try:
        return {key: future.result(60) for key, future in futures.items()}
    except KafkaException as error:
        raise BrokerError(error.args[0].code(), str(error)) from error


class Adapter:
    codecs = ["none", "gzip", "snappy", "lz4", "zstd"]
    incremental = True
    null_headers = True

    def __init__(self, bootstrap):
        self.common = {"bootstrap.servers": bootstrap}
        self.admin = AdminClient(self.common)
        self.lookup = self.consumer("judge-lookup")

    def close(self):
        self.lookup.close()

    def consumer(self, group, **more):
        conf = {"group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False,
                "session.timeout.ms": 10000, "heartbeat.interval.ms": 300, "fetch.wait.max.ms": 50, "check.crcs": True}
        return Consumer({**self.common, **conf, **more})

    # ---- admin

    def create_topic(self, topic, partitions, configs):
        settle(self.admin.create_topics([NewTopic(topic, partitions, 1, config=configs)]))

    def list_topics(self):
        return set(self.admin.list_topics(timeout=30).topics)

    def partition_count(self, topic):
        return len(self.admin.list_topics(topic, timeout=30).topics[topic].partitions)

    def delete_topics(self, topics):
        settle(self.admin.delete_topics(topics))

    def create_partitions(self, topic, total):
        settle(self.admin.create_partitions([NewPartitions(topic, total)]))

    def topic_configs(self, topic):
        (entries,) = settle(self.admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)])).values()
        return {name: entry.value for name, entry in entries.items()}

    def alter_config(self, topic, key, value):
        entry = ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        settle(self.admin.incremental_alter_configs([resource]))

    def delete_records(self, topic, partition, before):
        settle(self.admin.delete_records([TopicPartition(topic, partition, before)]))

    def list_groups(self):
        return {g.group_id for g in self.admin.list_consumer_groups().result(60).valid}

    def describe_group(self, group):
        described = settle(self.admin.describe_consumer_groups([group]))[group]
        return described.state.name.capitalize(), len(described.members)

    def group_offsets(self, group, topic, partitions):
        found = settle(self.admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)]))[group]
        return {tp.partition: (tp.offset, tp.metadata or "") for tp in found.topic_partitions if tp.topic == topic}

    def delete_group(self, group):
        settle(self.admin.delete_consumer_groups([group]))

    # ---- data

    def watermarks(self, topic, partition):
        return self.lookup.get_watermark_offsets(TopicPartition(topic, partition), timeout=30, cached=False)

    def offset_for_time(self, topic, partition, at):
        (found,) = self.lookup.offsets_for_times([TopicPartition(topic, partition, at)], timeout=30)
        return found.offset if found.offset >= 0 else None

    @contextlib.contextmanager
    def open_producer(self, codec="none", acks="all", idempotent=False):
        producer = Producer({**self.common, "compression.type": codec, "acks": acks, "linger.ms": 5,
                             "enable.idempotence": idempotent, "message.max.bytes": 10_000_000})

        def send(topic, records):
            places, errors = [None] * len(records), []

            def report(i):
                def on_delivery(error, message):
                    if error:
                        errors.append(BrokerError(error.code(), error.str()))
                    else:
                        places[i] = (message.partition(), message.offset())
                return on_delivery

            for i, (partition, key, value, at, headers) in enumerate(records):
                producer.produce(topic, value, key, partition, on_delivery=report(i), timestamp=at or 0, headers=headers)
            producer.flush(60)
            if errors:
                raise errors[0]
            return places

        yield send
        producer.flush(60)

    def produce(self, topic, records, codec, **mode):
        with self.open_producer(codec, **mode) as send:
            return send(topic, records)

    def read(self, topic, starts, count):
        consumer, found = self.consumer("judge-reader"), []
        consumer.assign([TopicPartition(topic, p, at) for p, at in starts.items()])
        # `consume` waits until it has all it may take or until its time is over.
        found.extend(map(record, consumer.consume(count, 30)))
        if len(found) < count:
            raise AssertionError(f"only {len(found)} of {count} records within 30 s")
        consumer.close()
        return found

    def commit(self, group, offsets):
        consumer = self.consumer(group)
        consumer.commit(offsets=[TopicPartition(t, p, at, metadata=note) for (t, p), (at, note) in offsets.items()],
                        asynchronous=False)
        consumer.close()

    def committed(self, group, topic, partition):
        consumer = self.consumer(group)
        (found,) = consumer.committed([TopicPartition(topic, partition)], timeout=30)
        consumer.close()
        return None if found.offset == OFFSET_INVALID else (found.offset, found.metadata)

    def run_member(self, member):
        consumer = self.consumer(member.group)
        paused = []

        def commit():
            at = [TopicPartition(member.topic, p, next) for p, next in member.positions().items()]
            if at:
                consumer.commit(offsets=at, asynchronous=False)

        def on_assign(_, partitions):
            consumer.assign(partitions)
            if not member.go():
                consumer.pause(partitions)
                paused[:] = partitions
            member.assigned = {tp.partition for tp in partitions}

        def on_revoke(_, partitions):
            commit()
            member.assigned = set()
            paused.clear()
            consumer.unassign()

        def on_lost(_, partitions):
            raise AssertionError(f"{member.name} lost {partitions}")

        consumer.subscribe([member.topic], on_assign=on_assign, on_revoke=on_revoke, on_lost=on_lost)
        while not member.leave:
            if paused and member.go():
                consumer.resume(paused)
                paused.clear()
            member.deliver([record(m) for m in consumer.consume(2000, 0.05)])
        commit()
        # Gives its partitions up before it closes: closing in the middle of a rebalance can wait for ever, with the
        # interpreter's lock held. What still arrives is not committed, so another member reads it.
        consumer.unsubscribe()
        until = time.monotonic() + 30
        while consumer.assignment() and time.monotonic() < until:
            consumer.poll(0.02)
        consumer.close()

    def write_flights(self, topic, codec, rows):
        producer = Producer({**self.common, "compression.type": codec, "linger.ms": 20, "enable.idempotence": True,
                             "queue.buffering.max.messages": 200_000})
        errors, count = [], 0

        def report(error, _):
            if error:
                errors.append(error)

        for key, at, value in rows:
            while True:
                try:
                    producer.produce(topic, value, key, timestamp=at, on_delivery=report)
                    break
                except BufferError:
                    producer.poll(0.1)
            count += 1
            if count % 1000 == 0:
                producer.poll(0)
        producer.flush(120)
        if errors:
            raise BrokerError(errors[0].code(), errors[0].str())
        return count


def record(m):
    if m.error():
        raise BrokerError(m.error().code(), m.error().str())
    return m.partition(), m.offset(), m.key(), m.value(), m.timestamp()[1], m.headers() or []
