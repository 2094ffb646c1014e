// kafkajs as a judge of a broker: an old client, never flexible versions.
//
//   node judge.js story --bootstrap B --prefix P                        the client's whole everyday life, checked
//   node judge.js write --bootstrap B --topic T --codec C --input F     the flights, keyed, with timestamps
//   node judge.js read  --bootstrap B --topic T --group G --expect N    the flights, by a group of three, as digests
//
// Prints "ok NAME" per check; any difference is printed and ends with status 1. Rust starts it: judge_clients.rs.
'use strict'
const assert = require('node:assert/strict')
const crypto = require('node:crypto')
const fs = require('node:fs')
const readline = require('node:readline')
const { Kafka, CompressionCodecs, CompressionTypes, ConfigResourceTypes, Partitioners, logLevel } = require('kafkajs')
const SnappyCodec = require('kafkajs-snappy')
const lz4 = require('lz4-napi')
const { ZstdCodec } = require('zstd-codec')

CompressionCodecs[CompressionTypes.Snappy] = SnappyCodec
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: async encoder => lz4.compressFrame(encoder.buffer),
  decompress: async buffer => lz4.decompressFrame(buffer),
})
const zstd = new Promise(resolve => ZstdCodec.run(binding => resolve(new binding.Streaming())))
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async encoder => Buffer.from((await zstd).compress(encoder.buffer, 3)),
  decompress: async buffer => Buffer.from((await zstd).decompress(buffer)),
})
const CODECS = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
}
const BASE_TIME = 1700000000000
const LIMIT_MS = 60000

const flag = {}
for (let i = 3; i + 1 < process.argv.length; i += 2) flag[process.argv[i].slice(2)] = process.argv[i + 1]
const kafka = new Kafka({ brokers: [flag.bootstrap], logLevel: logLevel.NOTHING, retry: { retries: 8, initialRetryTime: 50 } })
const { prefix } = flag

const ok = name => console.log('ok ' + name)

let memberFailure = null

/** Waits for a condition; a judge never waits for a time. */
async function until(what, condition, limit = LIMIT_MS) {
  const deadline = Date.now() + limit
  while (!(await condition())) {
    if (memberFailure) throw memberFailure
    if (Date.now() > deadline) throw new Error(`no ${what} within ${limit} ms`)
    await new Promise(resolve => setTimeout(resolve, 5))
  }
}

async function fails(type, call) {
  try {
    await call()
  } catch (error) {
    const found = error.errors ? error.errors[0].type : (error.cause && error.cause.type) || error.type
    assert.equal(found, type, `expected ${type}, found ${error}`)
    return
  }
  throw new Error(`expected ${type}, but the call succeeded`)
}

/** Creates a topic and waits until each partition answers: kafkajs gives up early on one that is still being made. */
async function create(admin, topic, numPartitions, configs = {}) {
  const configEntries = Object.entries(configs).map(([name, value]) => ({ name, value }))
  const made = await admin.createTopics({ waitForLeaders: true, topics: [{ topic, numPartitions, configEntries }] })
  await until('answer from the new topic', () =>
    admin.fetchTopicOffsets(topic).then(
      found => found.length >= numPartitions,
      error => {
        if (error.retriable) return false
        throw error
      },
    ))
  return made
}

// ---- the story ---------------------------------------------------------------------------------------------------

async function story() {
  const admin = kafka.admin()
  await admin.connect()
  await topics(admin)
  for (const codec of Object.keys(CODECS)) await roundTrip(admin, codec)
  await idempotent(admin)
  await timestamps(admin)
  await offsets(admin)
  await rebalance(admin)
  await limits()
  await configs(admin)
  await records(admin)
  await groups(admin)
  await deletion(admin)
  await admin.disconnect()
}

async function topics(admin) {
  const cluster = await admin.describeCluster()
  assert(cluster.brokers.length >= 1 && cluster.clusterId)
  const topic = prefix + '-topics'
  assert.equal(await create(admin, topic, 3, { 'retention.ms': '3600000', 'max.message.bytes': '65536' }), true)
  assert.equal(await create(admin, topic, 3), false) // kafkajs turns TOPIC_ALREADY_EXISTS into false
  await fails('INVALID_TOPIC_EXCEPTION', () => create(admin, 'not/legal', 1))
  await admin.createPartitions({ topicPartitions: [{ topic, count: 5 }] })
  await until('five partitions', async () =>
    (await admin.fetchTopicMetadata({ topics: [topic] })).topics[0].partitions.length === 5)
  ok('create, describe and grow topics')
}

/** Record number i of the round trip: every kind of key, value, header and timestamp that kafkajs can write. */
function sample(codec, i) {
  let value = Buffer.concat([Buffer.from([0xff, 0]), Buffer.from(`${codec}-${i}-` + 'x'.repeat((i * 37) % 500))])
  if (i % 11 === 5) value = null
  if (i % 11 === 6) value = Buffer.alloc(0)
  return {
    partition: i % 3,
    key: i % 7 === 3 ? null : `key-${i % 10}`,
    value,
    timestamp: String(BASE_TIME + i * 1000),
    headers: { n: String(i), dup: ['a', 'b'], empty: '' },
  }
}

const text = header => (Array.isArray(header) ? header.map(String) : String(header))

async function roundTrip(admin, codec) {
  const topic = `${prefix}-codec-${codec}`
  const count = 600
  await create(admin, topic, 3, { 'retention.ms': '-1' })
  const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner })
  await producer.connect()
  for (let at = 0; at < count; at += 150) {
    const answer = await producer.send({
      topic,
      acks: -1,
      compression: CODECS[codec],
      messages: Array.from({ length: 150 }, (_, i) => sample(codec, at + i)),
    })
    for (const part of answer) assert.equal(part.baseOffset, String(at / 3), 'base offset acknowledged')
  }
  await producer.disconnect()
  let total = 0
  const seen = [0, 0, 0]
  await readFrom(topic, 0, () => total === count, (partition, message) => {
    const i = seen[partition]++ * 3 + partition
    const want = sample(codec, i)
    assert.equal(message.offset, String((i - partition) / 3), `offset of record ${i}`)
    assert.equal(message.key === null ? null : String(message.key), want.key, `key of record ${i}`)
    assert.deepEqual(message.value, want.value, `value of record ${i}`)
    assert.equal(message.timestamp, want.timestamp, `timestamp of record ${i}`)
    for (const name of ['n', 'dup', 'empty']) {
      assert.deepEqual(text(message.headers[name]), want.headers[name], `header ${name} of record ${i}`)
    }
    total++
  })
  ok(`write and read back, ${codec}`)
}

let readers = 0

/** Reads a topic from one offset of every partition until a condition holds. */
async function readFrom(topic, offset, done, each, only = [0, 1, 2]) {
  const consumer = kafka.consumer({ groupId: `${prefix}-reader-${readers++}`, maxWaitTimeInMs: 50 })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  await consumer.run({
    autoCommit: false,
    eachMessage: async ({ partition, message }) => {
      try {
        if (only.includes(partition) && !done()) each(partition, message)
      } catch (error) {
        memberFailure = memberFailure || error
      }
    },
  })
  if (offset > 0) for (const partition of only) consumer.seek({ topic, partition, offset: String(offset) })
  await until('records', async () => done())
  await consumer.disconnect()
}

async function idempotent(admin) {
  const topic = prefix + '-idempotent'
  await create(admin, topic, 1)
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1, createPartitioner: Partitioners.DefaultPartitioner })
  await producer.connect()
  for (let i = 0; i < 50; i++) {
    const [answer] = await producer.send({ topic, messages: [{ value: `a${i}` }, { value: `b${i}` }] })
    assert.equal(answer.baseOffset, String(i * 2))
  }
  await producer.disconnect()
  for (const acks of [0, 1]) {
    const plain = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner })
    await plain.connect()
    await plain.send({ topic, acks, messages: [{ value: `acks-${acks}` }] })
    await plain.disconnect()
  }
  await until('102 records', async () => (await admin.fetchTopicOffsets(topic))[0].high === '102')
  ok('idempotent producer, acks 0 and 1')
}

async function timestamps(admin) {
  const topic = prefix + '-codec-gzip'
  for (const i of [0, 1, 2, 3, 100, 101, 298, 597, 598, 599]) {
    for (const before of i < 3 ? [0] : [0, 1, 2999]) {
      const found = await admin.fetchTopicOffsetsByTimestamp(topic, BASE_TIME + i * 1000 - before)
      const at = found.find(p => p.partition === i % 3).offset
      assert.equal(at, String((i - (i % 3)) / 3), `offset for the timestamp of record ${i} less ${before}`)
    }
  }
  const [{ offset }] = await admin.fetchTopicOffsetsByTimestamp(topic, BASE_TIME + 300000)
  let first = null
  await readFrom(topic, Number(offset), () => first !== null, (_, message) => { first = message }, [0])
  assert.equal(first.timestamp, String(BASE_TIME + 300000), 'first record after a seek by time')
  ok('seek by timestamp')
}

async function offsets(admin) {
  const topic = prefix + '-codec-none'
  const groupId = prefix + '-offsets'
  await admin.setOffsets({ groupId, topic, partitions: [{ partition: 0, offset: '11' }, { partition: 1, offset: '22' }] })
  const read = async () => Object.fromEntries(
    (await admin.fetchOffsets({ groupId, topics: [topic] }))[0].partitions.map(p => [p.partition, p.offset]))
  let found = await read()
  assert.equal(found[0], '11')
  assert.equal(found[1], '22')
  assert.equal(found[2] === undefined ? '-1' : found[2], '-1')
  const consumer = kafka.consumer({ groupId, maxWaitTimeInMs: 50 })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  const first = {}
  await consumer.run({
    autoCommit: false,
    eachMessage: async ({ partition, message }) => {
      if (!(partition in first)) first[partition] = message.offset
    },
  })
  await until('a first record of each partition', async () => Object.keys(first).length === 3)
  assert.deepEqual(first, { 0: '11', 1: '22', 2: '0' }, 'first records read after the committed offsets')
  await consumer.commitOffsets([{ topic, partition: 2, offset: '33', metadata: 'note ü' }])
  await consumer.disconnect()
  const three = (await admin.fetchOffsets({ groupId, topics: [topic] }))[0].partitions.find(p => p.partition === 2)
  assert.equal(three.offset, '33')
  assert.equal(three.metadata, 'note ü')
  await admin.resetOffsets({ groupId, topic, earliest: true })
  found = await read()
  assert.equal(found[0], '-2', 'kafkajs commits the symbol for earliest, and the broker keeps it')
  ok('commit, fetch and reset offsets')
}

// ---- groups ------------------------------------------------------------------------------------------------------

/**
 * What the group has delivered. kafkajs has no hook for committing before partitions move, so a record may come twice,
 * but only from the last committed offset on; and none may be missing.
 */
class Ledger {
  constructor() {
    this.next = new Map()
    this.committed = new Map()
    this.holder = new Map()
    this.fresh = new Set()
    this.delivered = 0
    this.repeated = 0
  }

  deliver(member, partition, offset) {
    const want = this.next.get(partition) || 0
    const place = `${member}/${partition}`
    if (this.fresh.delete(place) && offset !== want) {
      const committed = this.committed.get(partition) || 0
      assert(offset === committed, `${member} starts ${partition} at ${offset}; committed ${committed}, delivered to ${want}`)
    } else {
      assert(offset <= want, `${member} got ${partition}@${offset} where ${want} comes next`)
    }
    if (offset < want) {
      this.repeated++
      return false
    }
    this.next.set(partition, want + 1)
    this.delivered++
    return true
  }
}

async function join(name, topic, groupId, ledger) {
  const consumer = kafka.consumer({
    groupId, sessionTimeout: 10000, rebalanceTimeout: 15000, heartbeatInterval: 300, maxWaitTimeInMs: 50,
  })
  const member = { name, consumer, delivered: 0, assigned: [] }
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    member.assigned = payload.memberAssignment[topic] || []
    for (const partition of member.assigned) ledger.fresh.add(`${name}/${partition}`)
  })
  consumer.on(consumer.events.CRASH, ({ payload }) => {
    if (!payload.restart) memberFailure = memberFailure || payload.error
  })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  await consumer.run({
    autoCommit: false,
    eachBatchAutoResolve: false,
    eachBatch: async ({ batch, resolveOffset, heartbeat, isRunning, isStale }) => {
      for (const message of batch.messages) {
        if (!isRunning() || isStale()) break
        try {
          ledger.deliver(name, batch.partition, Number(message.offset))
        } catch (error) {
          memberFailure = memberFailure || error
        }
        member.delivered++
        resolveOffset(message.offset)
      }
      const last = ledger.next.get(batch.partition) || 0
      try {
        await consumer.commitOffsets([{ topic, partition: batch.partition, offset: String(last) }])
        ledger.committed.set(batch.partition, last)
      } catch (error) {
        // Refused: the group moved on, and the next holder starts at the commit before.
        if (!['REBALANCE_IN_PROGRESS', 'ILLEGAL_GENERATION', 'UNKNOWN_MEMBER_ID'].includes(error.type)) throw error
      }
      await heartbeat()
    },
  })
  return member
}

async function rebalance(admin) {
  const topic = prefix + '-group'
  const groupId = prefix + '-group'
  await create(admin, topic, 6)
  const ledger = new Ledger()
  let stop = false
  let produced = 0
  const load = (async () => {
    const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner })
    await producer.connect()
    while (!stop) {
      // The load follows the group: never more than 2000 records ahead of it.
      if (produced - ledger.delivered > 2000) {
        await new Promise(resolve => setTimeout(resolve, 1))
        continue
      }
      await producer.send({ topic, messages: Array.from({ length: 60 }, (_, i) => ({ partition: i % 6, value: 'r' + i })) })
      produced += 60
    }
    await producer.disconnect()
  })().catch(error => { memberFailure = memberFailure || error })
  const a = await join('A', topic, groupId, ledger)
  await until('delivery to A', async () => a.delivered > 300)
  const b = await join('B', topic, groupId, ledger)
  await until('delivery to B', async () => b.delivered > 300 && a.assigned.length === 3 && b.assigned.length === 3)
  const c = await join('C', topic, groupId, ledger)
  await until('delivery to C', async () =>
    c.delivered > 300 && a.assigned.length + b.assigned.length + c.assigned.length === 6)
  const { groups: [described] } = await admin.describeGroups([groupId])
  assert.equal(described.members.length, 3, 'members described')
  assert.equal(described.state, 'Stable')
  await b.consumer.disconnect()
  const mark = ledger.delivered
  await until('delivery after B left', async () => a.assigned.length + c.assigned.length === 6 && ledger.delivered > mark + 600)
  stop = true
  await load
  await until('the last record', async () => ledger.delivered === produced)
  await until('the last commit', async () => [0, 1, 2, 3, 4, 5].every(p => ledger.committed.get(p) === produced / 6))
  await a.consumer.disconnect()
  await c.consumer.disconnect()
  const [committed] = await admin.fetchOffsets({ groupId, topics: [topic] })
  for (const { partition, offset } of committed.partitions) {
    assert.equal(offset, String(produced / 6), `committed end of partition ${partition}`)
  }
  ok(`group of three, ${produced} records, none missing, ${ledger.repeated} repeated since their commit`)
}

async function limits() {
  const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner })
  await producer.connect()
  await fails('MESSAGE_TOO_LARGE', () =>
    producer.send({ topic: prefix + '-topics', messages: [{ value: Buffer.alloc(200000), partition: 0 }] }))
  await producer.send({ topic: prefix + '-topics', messages: [{ value: 'small', partition: 0 }] })
  await producer.disconnect()
  ok('max.message.bytes')
}

async function configs(admin) {
  const name = prefix + '-topics'
  const type = ConfigResourceTypes.TOPIC
  const read = async () => Object.fromEntries((await admin.describeConfigs({ includeSynonyms: true, resources: [{ type, name }] }))
    .resources[0].configEntries.map(e => [e.configName, e]))
  let found = await read()
  assert.equal(found['retention.ms'].configValue, '3600000')
  assert(found['retention.ms'].configSynonyms.length > 0)
  assert(Object.keys(found).length > 20)
  // AlterConfigs replaces: what is not named goes back to its default.
  await admin.alterConfigs({ resources: [{ type, name, configEntries: [{ name: 'retention.ms', value: '7200000' }] }] })
  await until('the new configs', async () => {
    found = await read()
    return found['retention.ms'].configValue === '7200000' && found['max.message.bytes'].configValue === '1048588'
  })
  await fails('INVALID_CONFIG', () =>
    admin.alterConfigs({ resources: [{ type, name, configEntries: [{ name: 'retention.ms', value: 'soon' }] }] }))
  ok('describe and replace configs')
}

async function records(admin) {
  const topic = prefix + '-codec-none'
  await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '120' }] })
  const zero = (await admin.fetchTopicOffsets(topic)).find(p => p.partition === 0)
  assert.equal(zero.low, '120')
  assert.equal(zero.high, '200')
  let first = null
  await readFrom(topic, 5, () => first !== null, (_, message) => { first = message }, [0])
  assert.equal(first.offset, '120', 'first record after a reset')
  ok('delete records')
}

async function groups(admin) {
  const groupId = prefix + '-group'
  assert((await admin.listGroups()).groups.some(g => g.groupId === groupId && g.protocolType === 'consumer'))
  const { groups: [described] } = await admin.describeGroups([groupId])
  assert.equal(described.state, 'Empty')
  const [deleted] = await admin.deleteGroups([groupId])
  assert.equal(deleted.errorCode, 0)
  assert(!(await admin.listGroups()).groups.some(g => g.groupId === groupId))
  ok('list, describe and delete groups')
}

async function deletion(admin) {
  const mine = (await admin.listTopics()).filter(t => t.startsWith(prefix + '-'))
  assert.equal(mine.length, 8)
  await admin.deleteTopics({ topics: mine })
  await until("the topics' end", async () => !(await admin.listTopics()).some(t => t.startsWith(prefix + '-')))
  ok('delete topics')
}

// ---- the flights -------------------------------------------------------------------------------------------------

async function write(topic, codec, input) {
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1, createPartitioner: Partitioners.DefaultPartitioner })
  await producer.connect()
  let messages = []
  let count = 0
  const send = async () => {
    await producer.send({ topic, acks: -1, compression: CODECS[codec], messages })
    count += messages.length
    messages = []
  }
  for await (const line of readline.createInterface({ input: fs.createReadStream(input) })) {
    const one = line.indexOf('\t')
    const two = line.indexOf('\t', one + 1)
    messages.push({ key: line.slice(0, one), timestamp: line.slice(one + 1, two), value: line.slice(two + 1) })
    if (messages.length === 5000) await send()
  }
  await send()
  await producer.disconnect()
  console.log('wrote ' + count)
}

async function read(topic, groupId, expect) {
  const digests = new Map()
  const ledger = new Ledger()
  const members = []
  for (let m = 0; m < 3; m++) {
    const consumer = kafka.consumer({ groupId, sessionTimeout: 10000, heartbeatInterval: 300, maxWaitTimeInMs: 50 })
    const member = { consumer, holds: 0, read: 0 }
    members.push(member)
    const open = () => members.length === 3 && members.every(other => other.holds > 0)
    consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
      member.holds = (payload.memberAssignment[topic] || []).length
      for (const p of payload.memberAssignment[topic] || []) ledger.fresh.add(`${m}/${p}`)
    })
    consumer.on(consumer.events.CRASH, ({ payload }) => {
      if (!payload.restart) memberFailure = memberFailure || payload.error
    })
    await consumer.connect()
    await consumer.subscribe({ topic, fromBeginning: true })
    await consumer.run({
      autoCommit: false,
      eachBatchAutoResolve: false,
      partitionsConsumedConcurrently: 2,
      eachBatch: async ({ batch, resolveOffset, heartbeat, isRunning, isStale }) => {
        // Nobody reads before all three hold partitions; an unresolved batch comes again.
        if (!open()) {
          await new Promise(resolve => setTimeout(resolve, 5))
          return heartbeat()
        }
        for (const message of batch.messages) {
          if (!isRunning() || isStale()) return
          try {
            if (ledger.deliver(m, batch.partition, Number(message.offset))) {
              member.read++
              const key = String(message.key)
              let d = digests.get(key)
              if (!d) digests.set(key, (d = { sha: crypto.createHash('sha256'), count: 0, seconds: 0 }))
              const length = Buffer.alloc(4)
              length.writeUInt32BE(message.value.length)
              d.sha.update(length)
              d.sha.update(message.value)
              d.count++
              d.seconds += Number(message.timestamp) / 1000
            }
          } catch (error) {
            memberFailure = memberFailure || error
          }
          resolveOffset(message.offset)
        }
        await heartbeat()
      },
    })
  }
  await until('all records', async () => ledger.delivered === expect, 120000)
  for (const { consumer, read: count } of members) {
    assert(count > 0, 'a member read nothing')
    await consumer.disconnect()
  }
  const admin = kafka.admin()
  await admin.connect()
  const end = (await admin.fetchTopicOffsets(topic)).reduce((sum, p) => sum + Number(p.high), 0)
  assert.equal(end, expect, 'records in the topic')
  await admin.disconnect()
  for (const key of [...digests.keys()].sort()) {
    const d = digests.get(key)
    console.log(`digest ${key} ${d.count} ${d.sha.digest('hex')} ${d.seconds}`)
  }
}

const verbs = {
  story,
  write: () => write(flag.topic, flag.codec, flag.input),
  read: () => read(flag.topic, flag.group, Number(flag.expect)),
}
verbs[process.argv[2]]().then(
  () => process.exit(0),
  error => {
    console.error('FAIL', error)
    process.exit(1)
  },
)
