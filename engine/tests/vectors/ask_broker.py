#!/usr/bin/env python3
"""Send the produce vectors to a broker and write down what it answers and stores.

  ask_broker.py HOST:PORT < inputs.json > produce.json

Inputs come from `cargo run -p turgo-net --example produce_vectors`. Each vector gets a topic of its own with one
partition, one Produce request with acks=-1, and one Fetch of what is stored. The answer is added as

  error_code, base_offset, record_errors (batch indexes; versions 8 and up), append_time (true when
  log_append_time_ms is not -1), stored (hex of the fetched bytes, "same" when only the leader epoch differs), or
  closed: true when the broker closes the connection instead of answering, or
  unanswered: true when nothing comes within 15 s.

Answers of a broker under test can be compared with the recorded ones line by line.
"""
import json
import socket
import struct
import sys
import time
import uuid


class Closed(Exception):
    pass


class Unanswered(Exception):
    pass


class Connection:
    def __init__(self, host, port):
        self.address = (host, port)
        self.socket = None
        self.correlation = 0

    def call(self, key, version, body, flexible=False):
        if self.socket is None:
            self.socket = socket.create_connection(self.address, timeout=15)
        self.correlation += 1
        header = struct.pack(">hhih", key, version, self.correlation, 4) + b"test" + (b"\0" if flexible else b"")
        frame = header + body
        try:
            self.socket.sendall(struct.pack(">i", len(frame)) + frame)
            size = struct.unpack(">i", self.exactly(4))[0]
            answer = Reader(self.exactly(size))
        except TimeoutError:
            self.socket.close()
            self.socket = None
            raise Unanswered from None
        except (Closed, ConnectionError):
            self.socket.close()
            self.socket = None
            raise Closed from None
        assert answer.i32() == self.correlation
        if flexible:
            answer.tags()
        return answer

    def exactly(self, n):
        data = b""
        while len(data) < n:
            more = self.socket.recv(n - len(data))
            if not more:
                raise Closed
            data += more
        return data


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        assert n >= 0 and self.at + n <= len(self.data)
        self.at += n
        return self.data[self.at - n:self.at]

    def i8(self):
        return struct.unpack(">b", self.take(1))[0]

    def i16(self):
        return struct.unpack(">h", self.take(2))[0]

    def i32(self):
        return struct.unpack(">i", self.take(4))[0]

    def i64(self):
        return struct.unpack(">q", self.take(8))[0]

    def uvarint(self):
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def string(self, flexible=False):
        n = self.uvarint() - 1 if flexible else self.i16()
        return None if n < 0 else self.take(n).decode()

    def bytes(self):
        n = self.i32()
        return b"" if n < 0 else self.take(n)

    def count(self, flexible=False):
        return self.uvarint() - 1 if flexible else self.i32()

    def tags(self):
        for _ in range(self.uvarint()):
            self.uvarint()
            self.take(self.uvarint())


def string(text):
    return struct.pack(">h", len(text)) + text.encode()


def uvarint(value):
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def create(connection, topics):
    body = struct.pack(">i", len(topics))
    for name, config in topics:
        body += string(name) + struct.pack(">ihi", 1, 1, 0) + struct.pack(">i", len(config))
        for key, value in config.items():
            body += string(key) + string(value)
    answer = connection.call(19, 4, body + struct.pack(">ib", 30000, 0))
    answer.i32()
    for _ in range(answer.count()):
        name, error, message = answer.string(), answer.i16(), answer.string()
        assert error == 0, (name, error, message)


def produce(connection, version, topic, records):
    flexible = version >= 9
    if flexible:
        data = b"\0" if records is None else uvarint(len(records) + 1) + records
        body = b"\0" + struct.pack(">hi", -1, 5000) + uvarint(2) + uvarint(len(topic) + 1) + topic.encode()
        body += uvarint(2) + struct.pack(">i", 0) + data + b"\0\0\0"
    else:
        data = struct.pack(">i", -1) if records is None else struct.pack(">i", len(records)) + records
        body = struct.pack(">hhii", -1, -1, 5000, 1) + string(topic) + struct.pack(">ii", 1, 0) + data
    answer = connection.call(0, version, body, flexible)
    assert answer.count(flexible) == 1 and answer.string(flexible) == topic and answer.count(flexible) == 1
    assert answer.i32() == 0
    result = {"error_code": answer.i16(), "base_offset": answer.i64(), "append_time": answer.i64() != -1}
    if version >= 5:
        answer.i64()
    if version >= 8:
        errors = []
        for _ in range(answer.count(flexible)):
            index = answer.i32()
            answer.string(flexible)
            errors.append(index)
            if flexible:
                answer.tags()
        answer.string(flexible)
        result["record_errors"] = errors
    return result


def stored(connection, topic):
    body = struct.pack(">iiiibii", -1, 0, 0, 64 << 20, 0, 0, -1) + struct.pack(">i", 1) + string(topic)
    body += struct.pack(">iiiqqi", 1, 0, -1, 0, -1, 64 << 20) + struct.pack(">i", 0) + string("")
    answer = connection.call(1, 11, body)
    answer.i32(), answer.i16(), answer.i32()
    assert answer.count() == 1 and answer.string() == topic and answer.count() == 1
    answer.i32()
    error = answer.i16()
    assert error == 0, error
    answer.i64(), answer.i64(), answer.i64()
    for _ in range(max(answer.count(), 0)):
        answer.i64(), answer.i64()
    answer.i32()
    return answer.bytes()


def main():
    host, port = sys.argv[1].rsplit(":", 1)
    connection = Connection(host, int(port))
    vectors = json.load(sys.stdin)
    run = uuid.uuid4().hex[:8]
    topics = [f"v-{run}-{n}" for n in range(len(vectors))]
    for n in range(0, len(vectors), 50):
        create(connection, [(topics[m], vectors[m]["config"]) for m in range(n, min(n + 50, len(vectors)))])
    lines = []
    for vector, topic in zip(vectors, topics):
        records = None if vector["records"] is None else bytes.fromhex(vector["records"])
        deadline = time.monotonic() + 30
        while True:
            try:
                answer = produce(connection, vector["api_version"], topic, records)
            except Closed:
                answer = {"closed": True}
            except Unanswered:
                answer = {"unanswered": True}
            # A topic just created may not be led yet.
            if answer.get("error_code") not in (3, 5, 6) or time.monotonic() > deadline:
                break
            time.sleep(0.05)
        try:
            data = stored(connection, topic)
            while answer.get("error_code") == 0 and not data and time.monotonic() < deadline:
                time.sleep(0.05)
                data = stored(connection, topic)
            if records and data[:12] == records[:12] and data[16:] == records[16:]:
                answer["stored"] = "same"
            else:
                answer["stored"] = data.hex()
        except (Closed, Unanswered, AssertionError) as error:
            answer["fetch_failed"] = repr(error)
        if "-v" in sys.argv:
            print(vector["name"], {k: v for k, v in answer.items() if k != "stored"}, file=sys.stderr)
        lines.append(json.dumps({**vector, "expected": answer}, separators=(",", ":")))
    print("[\n" + ",\n".join(lines) + "\n]")


main()
