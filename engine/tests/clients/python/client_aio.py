"""aiokafka: a client that speaks very old versions of the protocol.

Its coroutines run on one event loop of their own; the story calls them from outside.
"""
import asyncio
import contextlib
import threading

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import BrokerResponseError
from aiokafka.structs import OffsetAndMetadata

from common import BrokerError


class Adapter:
    codecs = ["none", "gzip", "snappy", "lz4", "zstd"]
    incremental = False  # it knows AlterConfigs only
    null_headers = True
    delete_group = None  # not in its admin client

    def __init__(self, bootstrap):
        self.common = {"bootstrap_servers": bootstrap}
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.run(self.start())

    def run(self, coroutine, limit=300):
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(limit)
        except BrokerResponseError as error:
            raise BrokerError(error.errno, str(error)) from error

    async def start(self):
        self.admin = AIOKafkaAdminClient(**self.common)
        await self.admin.start()
        self.lookup = self.consumer(None)
        await self.lookup.start()

    def close(self):
        self.run(self.lookup.stop())
        self.run(self.admin.close())

    def consumer(self, group, **more):
        conf = {"group_id": group, "auto_offset_reset": "earliest", "enable_auto_commit": False,
                "session_timeout_ms": 10000, "heartbeat_interval_ms": 300, "fetch_max_wait_ms": 50}
        return AIOKafkaConsumer(**{**self.common, **conf, **more})

    # ---- admin

    @staticmethod
    def settle(entries):
        """The entries of an answer: tuples that begin with a name and an error code."""
        for name, code, *_ in entries:
            if code:
                raise BrokerError(code, name)

    def create_topic(self, topic, partitions, configs):
        answer = self.run(self.admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=configs)]))
        self.settle(answer.topic_errors)

    def list_topics(self):
        return set(self.run(self.admin.list_topics()))

    def partition_count(self, topic):
        return len(self.run(self.admin.describe_topics([topic]))[0]["partitions"])

    def delete_topics(self, topics):
        self.settle(self.run(self.admin.delete_topics(topics)).topic_error_codes)

    def create_partitions(self, topic, total):
        self.settle(self.run(self.admin.create_partitions({topic: NewPartitions(total)})).topic_errors)

    def topic_configs(self, topic):
        (answer,) = self.run(self.admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)]))
        (code, _, _, _, entries), = answer.resources
        if code:
            raise BrokerError(code)
        return {entry[0]: entry[1] for entry in entries}

    def alter_config(self, topic, key, value):
        (answer,) = self.run(self.admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {key: value})]))
        for code, text, *_ in answer.resources:
            if code:
                raise BrokerError(code, text)

    def delete_records(self, topic, partition, before):
        self.run(self.admin.delete_records({TopicPartition(topic, partition): RecordsToDelete(before)}))

    def list_groups(self):
        return {group for group, *_ in self.run(self.admin.list_consumer_groups())}

    def describe_group(self, group):
        (answer,) = self.run(self.admin.describe_consumer_groups([group]))
        code, _, state, _, _, members, *_ = answer.groups[0]
        if code:
            raise BrokerError(code)
        return state, len(members)

    def group_offsets(self, group, topic, partitions):
        found = self.run(self.admin.list_consumer_group_offsets(group))
        return {tp.partition: (o.offset, o.metadata) for tp, o in found.items() if tp.topic == topic}

    # ---- data

    def watermarks(self, topic, partition):
        tp = TopicPartition(topic, partition)
        return self.run(self.lookup.beginning_offsets([tp]))[tp], self.run(self.lookup.end_offsets([tp]))[tp]

    def offset_for_time(self, topic, partition, at):
        tp = TopicPartition(topic, partition)
        found = self.run(self.lookup.offsets_for_times({tp: at}))[tp]
        return found.offset if found else None

    async def producer(self, codec, acks, idempotent, **more):
        made = AIOKafkaProducer(**self.common, compression_type=None if codec == "none" else codec, acks=acks,
                                enable_idempotence=idempotent, max_request_size=10_000_000, **more)
        await made.start()
        return made

    @contextlib.contextmanager
    def open_producer(self, codec="none", acks="all", idempotent=False):
        producer = self.run(self.producer(codec, acks, idempotent, linger_ms=5))

        async def send_all(topic, records):
            sent = [await producer.send(topic, value, key, partition, at, headers)
                    for partition, key, value, at, headers in records]
            await producer.flush()
            metas = [await s for s in sent]
            return [(m.partition, m.offset) if m else None for m in metas]

        try:
            yield lambda topic, records: self.run(send_all(topic, records))
        finally:
            self.run(producer.stop())

    def produce(self, topic, records, codec, **mode):
        with self.open_producer(codec, **mode) as send:
            return send(topic, records)

    def read(self, topic, starts, count):
        async def go():
            consumer, found = self.consumer(None), []
            await consumer.start()
            consumer.assign([TopicPartition(topic, p) for p in starts])
            for p, at in starts.items():
                consumer.seek(TopicPartition(topic, p), at)
            while len(found) < count:
                batch = await consumer.getmany(timeout_ms=30_000)
                if not batch:
                    raise AssertionError(f"no records for 30 s after {len(found)} of {count}")
                found.extend(record(r) for part in batch.values() for r in part)
            await consumer.stop()
            return found

        return self.run(go())

    def commit(self, group, offsets):
        async def go():
            consumer = self.consumer(group)
            await consumer.start()
            consumer.assign([TopicPartition(t, p) for t, p in offsets])
            await consumer.commit({TopicPartition(t, p): (at, note) for (t, p), (at, note) in offsets.items()})
            await consumer.stop()

        self.run(go())

    def committed(self, group, topic, partition):
        found = self.run(self.admin.list_consumer_group_offsets(group, partitions=[TopicPartition(topic, partition)]))
        (o,) = found.values()
        consumer_sees = self.run(self.consumer_committed(group, TopicPartition(topic, partition)))
        if o.offset < 0:
            assert consumer_sees is None, consumer_sees
            return None
        assert consumer_sees == o.offset, (consumer_sees, o)
        return o.offset, o.metadata

    async def consumer_committed(self, group, tp):
        consumer = self.consumer(group)
        await consumer.start()
        consumer.assign([tp])
        found = await consumer.committed(tp)
        await consumer.stop()
        return found

    def run_member(self, member):
        self.run(self.member(member))

    async def member(self, member):
        consumer = self.consumer(member.group)

        async def commit():
            at = {TopicPartition(member.topic, p): OffsetAndMetadata(next, "") for p, next in member.positions().items()}
            if at:
                await consumer.commit(at)

        class Listener(ConsumerRebalanceListener):
            async def on_partitions_revoked(self, revoked):
                await commit()
                member.assigned = set()

            async def on_partitions_assigned(self, assigned):
                if not member.go():
                    consumer.pause(*assigned)
                member.assigned = {tp.partition for tp in assigned}

        consumer.subscribe([member.topic], listener=Listener())
        await consumer.start()
        while not member.leave:
            if consumer.paused() and member.go():
                consumer.resume(*consumer.paused())
            for part in (await consumer.getmany(timeout_ms=50, max_records=2000)).values():
                member.deliver([record(r) for r in part])
        await commit()
        await consumer.stop()

    def write_flights(self, topic, codec, rows):
        async def go():
            producer = await self.producer(codec, "all", True, linger_ms=20, max_batch_size=131072)
            last, count = {}, 0
            for key, at, value in rows:
                # Batches of a partition end in order, so the last one's answer speaks for all before it.
                last[key] = await producer.send(topic, value, key, timestamp_ms=at)
                count += 1
            await producer.flush()
            for sent in last.values():
                await sent
            await producer.stop()
            return count

        return self.run(go())


def record(r):
    return r.partition, r.offset, r.key, r.value, r.timestamp, list(r.headers)
