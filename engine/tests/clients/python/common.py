"""The story that every Python client tells, over an adapter per client; see judge.py for the verbs.

An adapter is an object with the methods that `story` calls: admin calls, `produce`, `read`, `commit` and `run_member`.
A record is (partition, key, value, timestamp, headers) when written and (partition, offset, key, value, timestamp,
headers) when read. Broker errors are raised as BrokerError with Kafka's code.
"""
import hashlib
import struct
import sys
import threading
import time
import traceback

BASE_TIME = 1_700_000_000_000
LIMIT_S = 60


class BrokerError(Exception):
    def __init__(self, code, text=""):
        super().__init__(f"error {code} {text}")
        self.code = code


def ok(name):
    print("ok " + name, flush=True)


def same(want, found, what):
    if want != found:
        raise AssertionError(f"{what}: expected {repr(want)[:300]}, found {repr(found)[:300]}")


def fails(code, call, *args):
    try:
        call(*args)
    except BrokerError as error:
        return same(code, error.code, f"error code ({error})")
    raise AssertionError(f"expected error {code}, but the call succeeded")


failure = []


def until(what, condition, limit=LIMIT_S):
    """Waits for a condition; a judge never waits for a time."""
    deadline = time.monotonic() + limit
    while not condition():
        if failure:
            raise AssertionError("a member failed:\n" + failure[0])
        if time.monotonic() > deadline:
            raise AssertionError(f"no {what() if callable(what) else what} within {limit} s")
        time.sleep(0.005)


# ---- the story -----------------------------------------------------------------------------------------------------


def story(c, prefix):
    topics(c, prefix)
    for codec in c.codecs:
        round_trip(c, prefix, codec)
    idempotent(c, prefix)
    timestamps(c, prefix)
    offsets(c, prefix)
    rebalance(c, prefix)
    limits(c, prefix)
    configs(c, prefix)
    records(c, prefix)
    groups(c, prefix)
    deletion(c, prefix)


def topics(c, prefix):
    topic = prefix + "-topics"
    c.create_topic(topic, 3, {"retention.ms": "3600000", "max.message.bytes": "65536"})
    until("the new topic", lambda: topic in c.list_topics())
    same(3, c.partition_count(topic), "partitions")
    fails(36, c.create_topic, topic, 3, {})
    fails(17, c.create_topic, "not/legal", 1, {})
    fails(40, c.create_topic, prefix + "-bad", 1, {"retention.ms": "soon"})
    c.create_partitions(topic, 5)
    until("five partitions", lambda: c.partition_count(topic) == 5)
    ok("create, describe, list and grow topics, with refusals")


def sample(c, codec, i):
    """Record number i of the round trip: every kind of key, value, header and timestamp."""
    key = None if i % 7 == 3 else b"key-%d" % (i % 10)
    value = b"\xff\x00%s-%d-%s" % (codec.encode(), i, b"x" * (i * 37 % 500))
    if i % 11 == 5 and key is not None:
        value = None
    if i % 11 == 6:
        value = b""
    headers = [("n", b"%d" % i), ("dup", b"a"), ("dup", b"b"), ("empty", b"")]
    if c.null_headers:
        headers.append(("null", None))
    return i % 3, key, value, BASE_TIME + i * 1000, headers


def round_trip(c, prefix, codec):
    topic, count = f"{prefix}-codec-{codec}", 600
    c.create_topic(topic, 3, {"retention.ms": "-1"})
    sent = c.produce(topic, [sample(c, codec, i) for i in range(count)], codec)
    for i, (partition, offset) in enumerate(sent):
        same((i % 3, i // 3), (partition, offset), f"place acknowledged for record {i}")
    seen = [0, 0, 0]
    for partition, offset, key, value, timestamp, headers in c.read(topic, {0: 0, 1: 0, 2: 0}, count):
        i = seen[partition] * 3 + partition
        seen[partition] += 1
        want = sample(c, codec, i)
        same(i // 3, offset, f"offset of record {i}")
        same(want[1:4], (key, value, timestamp), f"key, value and timestamp of record {i}")
        same(want[4], [(k, v) for k, v in headers], f"headers of record {i}")
    same([200, 200, 200], seen, "records read from each partition")
    same(77, c.read(topic, {1: 77}, 1)[0][1], "first record after a seek into a batch")
    same((0, 200), c.watermarks(topic, 2), "watermarks")
    ok(f"write and read back, {codec}")


def idempotent(c, prefix):
    topic = prefix + "-idempotent"
    c.create_topic(topic, 1, {})
    end = 0
    for mode in ({"acks": 0}, {"acks": 1}, {"acks": "all"}, {"acks": "all", "idempotent": True}):
        batch = [(0, None, b"%d" % (end + i), None, []) for i in range(100)]
        c.produce(topic, batch, "none", **mode)
        end += 100
        until("records", lambda: c.watermarks(topic, 0)[1] == end)
    found = c.read(topic, {0: 0}, end)
    same([b"%d" % i for i in range(end)], [r[3] for r in found], "values")
    ok("acks 0, 1 and all, idempotent producer")


def timestamps(c, prefix):
    topic = prefix + "-codec-gzip"
    for i in (0, 1, 2, 3, 100, 101, 298, 597, 598, 599):
        for before in (0,) if i < 3 else (0, 1, 2999):
            found = c.offset_for_time(topic, i % 3, BASE_TIME + i * 1000 - before)
            same(i // 3, found, f"offset for the timestamp of record {i} less {before}")
    same(None, c.offset_for_time(topic, 0, BASE_TIME + 10_000_000), "offset for a time after the last record")
    at = c.offset_for_time(topic, 0, BASE_TIME + 299_001)
    same(BASE_TIME + 300_000, c.read(topic, {0: at}, 1)[0][4], "timestamp of the first record after a seek by time")
    ok("seek by timestamp")


def offsets(c, prefix):
    topic, group = prefix + "-codec-gzip", prefix + "-offsets"
    c.commit(group, {(topic, 0): (11, "note ü"), (topic, 1): (22, "")})
    found = c.group_offsets(group, topic, 3)
    same({0: (11, "note ü"), 1: (22, "")}, found, "offsets committed")
    c.commit(group, {(topic, 1): (23, "later")})
    same({0: (11, "note ü"), 1: (23, "later")}, c.group_offsets(group, topic, 3), "offsets committed again")
    same((11, "note ü"), c.committed(group, topic, 0), "offset as a consumer sees it")
    same(None, c.committed(group, topic, 2), "offset never committed")
    ok("commit and fetch offsets")


# ---- groups --------------------------------------------------------------------------------------------------------


class Ledger:
    """What the group has delivered: every record once, in order, whoever holds the partition."""

    def __init__(self):
        self.lock = threading.Lock()
        self.next = {}
        self.delivered = 0
        self.digests = {}

    def deliver(self, member, records, digest=False):
        with self.lock:
            for partition, offset, key, value, timestamp, _ in records:
                want = self.next.get(partition, 0)
                if offset != want:
                    raise AssertionError(f"{member} got {partition}@{offset} where {want} comes next")
                self.next[partition] = want + 1
                self.delivered += 1
                if digest:
                    d = self.digests.get(key)
                    if d is None:
                        d = self.digests[key] = [0, hashlib.sha256(), 0]
                    d[0] += 1
                    d[1].update(struct.pack(">I", len(value)) + value)
                    d[2] += timestamp // 1000

    def positions(self, partitions):
        with self.lock:
            return {p: self.next[p] for p in partitions if p in self.next}


class Member(threading.Thread):
    """One member of a group; the adapter's run_member does the work and calls back here."""

    def __init__(self, adapter, name, topic, group, ledger, go=lambda: True, digest=False):
        super().__init__(daemon=True)
        self.adapter, self.name, self.topic, self.group = adapter, name, topic, group
        self.ledger, self.go, self.digest = ledger, go, digest
        self.assigned, self.leave, self.delivered = set(), False, 0
        self.start()

    def deliver(self, records):
        if records:
            self.ledger.deliver(self.name, records, self.digest)
            self.delivered += len(records)

    def positions(self):
        return self.ledger.positions(self.assigned)

    def run(self):
        try:
            self.adapter.run_member(self)
        except BaseException:  # a member that dies must be heard
            failure.append(f"{self.name}: " + traceback.format_exc())


def rebalance(c, prefix):
    topic = group = prefix + "-group"
    c.create_topic(topic, 6, {})
    ledger, stop, produced = Ledger(), threading.Event(), [0]

    def load():
        try:
            with c.open_producer() as send:
                while not stop.is_set():
                    # The load follows the group: never more than 2000 records ahead of it.
                    if produced[0] - ledger.delivered > 2000:
                        time.sleep(0.001)
                        continue
                    send(topic, [(i % 6, None, b"r%d" % i, None, []) for i in range(60)])
                    produced[0] += 60
        except BaseException:
            failure.append("load: " + traceback.format_exc())

    writer = threading.Thread(target=load, daemon=True)
    writer.start()
    a = Member(c, "A", topic, group, ledger)
    until("delivery to A", lambda: a.delivered > 300)
    b = Member(c, "B", topic, group, ledger)
    until("delivery to B", lambda: b.delivered > 300 and len(a.assigned) == len(b.assigned) == 3)
    d = Member(c, "C", topic, group, ledger)
    until("delivery to C", lambda: d.delivered > 300 and sum(len(m.assigned) for m in (a, b, d)) == 6)
    same(("Stable", 3), c.describe_group(group), "state and members described")
    b.leave = True
    b.join(LIMIT_S)
    mark = ledger.delivered
    until("delivery after B left", lambda: len(a.assigned) + len(d.assigned) == 6 and ledger.delivered > mark + 600)
    stop.set()
    writer.join(LIMIT_S)
    until("the last record", lambda: ledger.delivered == produced[0])
    for m in (a, d):
        m.leave = True
        m.join(LIMIT_S)
    until("clean members", lambda: not failure, 0)
    committed = c.group_offsets(group, topic, 6)
    same({p: produced[0] // 6 for p in range(6)}, {p: at for p, (at, _) in committed.items()}, "committed ends")
    ok(f"group of three, {produced[0]} records once each")


def limits(c, prefix):
    topic = prefix + "-topics"
    fails(10, c.produce, topic, [(0, None, b"0" * 200_000, None, [])], "none")
    c.produce(topic, [(0, None, b"small", None, [])], "none")
    ok("max.message.bytes")


def configs(c, prefix):
    topic = prefix + "-topics"
    found = c.topic_configs(topic)
    same("3600000", found["retention.ms"], "retention.ms")
    same(True, len(found) > 20, "more than 20 topic configs")
    c.alter_config(topic, "retention.ms", "7200000")
    until("the new config", lambda: c.topic_configs(topic)["retention.ms"] == "7200000")
    # AlterConfigs replaces everything, IncrementalAlterConfigs leaves the rest alone.
    kept = "65536" if c.incremental else "1048588"
    same(kept, c.topic_configs(topic)["max.message.bytes"], "max.message.bytes after the change")
    fails(40, c.alter_config, topic, "retention.ms", "soon")
    ok("describe and alter configs")


def records(c, prefix):
    topic = prefix + "-codec-none"
    c.delete_records(topic, 0, 120)
    same((120, 200), c.watermarks(topic, 0), "watermarks after deletion")
    same(120, c.read(topic, {0: 5}, 1)[0][1], "first record after a reset to earliest")
    ok("delete records")


def groups(c, prefix):
    group = prefix + "-group"
    same(True, group in c.list_groups(), "group listed")
    same(("Empty", 0), c.describe_group(group), "state and members described")
    if c.delete_group is not None:
        c.delete_group(group)
        same(False, group in c.list_groups(), "group listed after deletion")
        fails(69, c.delete_group, group)
    ok("list, describe and delete groups" if c.delete_group else "list and describe groups")


def deletion(c, prefix):
    mine = [t for t in c.list_topics() if t.startswith(prefix + "-")]
    same(4 + len(c.codecs) - 1, len(mine), f"topics of this judge: {mine}")
    c.delete_topics(mine)
    until("the topics' end", lambda: not any(t.startswith(prefix + "-") for t in c.list_topics()))
    fails(3, c.delete_topics, mine[:1])
    ok("delete topics")


# ---- the flights ---------------------------------------------------------------------------------------------------


def flights(path):
    with open(path, "rb") as lines:
        for line in lines:
            key, at, value = line.rstrip(b"\n").split(b"\t", 2)
            yield key, int(at), value


def read_flights(c, topic, group, expect):
    ledger, members = Ledger(), []
    # Nobody reads before all three hold partitions.
    go = lambda: len(members) == 3 and all(m.assigned for m in members)
    for name in "ABC":
        members.append(Member(c, name, topic, group, ledger, go, digest=True))
        until(f"assignment for {name}", lambda: members[-1].assigned)
    state = lambda: f"all records (got {ledger.delivered} of {expect}; {[(m.name, m.assigned, m.delivered) for m in members]})"
    until(state, lambda: ledger.delivered >= expect, 120)
    for m in members:
        m.leave = True
    for m in members:
        m.join(LIMIT_S)
        same(True, m.delivered > 0, f"member {m.name} read something")
    until("clean members", lambda: not failure, 0)
    same(expect, ledger.delivered, "records delivered")
    same(expect, sum(c.watermarks(topic, p)[1] for p in range(6)), "records in the topic")
    for key, (count, sha, seconds) in sorted(ledger.digests.items()):
        print(f"digest {key.decode()} {count} {sha.hexdigest()} {seconds}")


def main(adapter):
    flag = dict(zip((a[2:] for a in sys.argv[3::2]), sys.argv[4::2]))
    c = adapter(flag["bootstrap"])
    verb = sys.argv[2]
    if verb == "story":
        story(c, flag["prefix"])
    elif verb == "write":
        print("wrote", c.write_flights(flag["topic"], flag["codec"], flights(flag["input"])))
    elif verb == "read":
        read_flights(c, flag["topic"], flag["group"], int(flag["expect"]))
    else:
        sys.exit(f"no such verb: {verb}")
    c.close()
