// franz-go as a judge of a broker.
//
//	judge story --bootstrap B --prefix P                        the client's whole everyday life, checked
//	judge transactions --bootstrap B --prefix P                 commits, aborts, groups that copy exactly once
//	judge write --bootstrap B --topic T --codec C --input F     the flights, keyed, with timestamps
//	judge read  --bootstrap B --topic T --group G --expect N    the flights, by a group of three, as digests
//
// Prints "ok NAME" per check; any difference is printed and ends with status 1. Rust starts it: judge_clients.rs.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"hash"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	baseTime = int64(1_700_000_000_000)
	limit    = 60 * time.Second
)

var (
	bootstrap, prefix string
	ctx               = context.Background()
)

func main() {
	flags := flag.NewFlagSet("judge", flag.ExitOnError)
	flags.StringVar(&bootstrap, "bootstrap", "", "")
	flags.StringVar(&prefix, "prefix", "", "")
	topic := flags.String("topic", "", "")
	codec := flags.String("codec", "", "")
	input := flags.String("input", "", "")
	group := flags.String("group", "", "")
	expect := flags.Int64("expect", 0, "")
	must(flags.Parse(os.Args[2:]))
	switch os.Args[1] {
	case "story":
		story()
	case "transactions":
		transactions()
	case "write":
		write(*topic, *codec, *input)
	case "read":
		read(*topic, *group, *expect)
	default:
		fail("no such verb: %s", os.Args[1])
	}
}

// ---- small helpers ---------------------------------------------------------------------------------------------

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "FAIL "+format+"\n", args...)
	os.Exit(1)
}

func must(err error) {
	if err != nil {
		fail("%v", err)
	}
}

func get[T any](value T, err error) T {
	if err != nil {
		fail("%v", err)
	}
	return value
}

func check(condition bool, format string, args ...any) {
	if !condition {
		fail(format, args...)
	}
}

func same[T comparable](want, found T, format string, args ...any) {
	if want != found {
		fail("%s: expected %v, found %v", fmt.Sprintf(format, args...), want, found)
	}
}

// fails says whether the call failed with exactly this Kafka error.
func fails(want *kerr.Error, err error) {
	if !errors.Is(err, want) {
		fail("expected %s, found %v", want.Message, err)
	}
}

func ok(format string, args ...any) { fmt.Printf("ok "+format+"\n", args...) }

// await waits for a condition; a judge never waits for a time.
func await(what string, condition func() bool) {
	deadline := time.Now().Add(limit)
	for !condition() {
		check(time.Now().Before(deadline), "no %s within %s", what, limit)
		time.Sleep(5 * time.Millisecond)
	}
}

func client(opts ...kgo.Opt) *kgo.Client {
	return get(kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(bootstrap)}, opts...)...))
}

func codecs() map[string]kgo.CompressionCodec {
	return map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
}

func create(adm *kadm.Client, topic string, partitions int32, configs map[string]string) {
	conf := map[string]*string{}
	for k, v := range configs {
		conf[k] = kadm.StringPtr(v)
	}
	made := get(adm.CreateTopic(ctx, partitions, -1, conf, topic))
	must(made.Err)
}

// ---- the story -------------------------------------------------------------------------------------------------

func story() {
	cl := client()
	defer cl.Close()
	adm := kadm.NewClient(cl)
	topics(adm)
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		roundTrip(adm, codec)
	}
	timestamps(adm)
	offsets(adm)
	rebalance(adm, "eager", kgo.RangeBalancer())
	rebalance(adm, "cooperative", kgo.CooperativeStickyBalancer())
	limits()
	configs(adm)
	records(adm)
	groups(adm)
	deletion(adm)
}

func topics(adm *kadm.Client) {
	meta := get(adm.BrokerMetadata(ctx))
	check(len(meta.Brokers) >= 1 && meta.Cluster != "", "cluster metadata")
	topic := prefix + "-topics"
	create(adm, topic, 3, map[string]string{"retention.ms": "3600000", "max.message.bytes": "65536"})
	described := get(adm.ListTopics(ctx, topic))[topic]
	must(described.Err)
	same(3, len(described.Partitions), "partitions")
	check(described.ID != kadm.TopicID{}, "topic id")
	fails(kerr.TopicAlreadyExists, get(adm.CreateTopics(ctx, 1, -1, nil, topic))[topic].Err)
	fails(kerr.InvalidTopicException, get(adm.CreateTopics(ctx, 1, -1, nil, "not/legal"))["not/legal"].Err)
	fails(kerr.InvalidReplicationFactor, get(adm.CreateTopics(ctx, 1, 99, nil, prefix+"-wide"))[prefix+"-wide"].Err)
	must(get(adm.CreatePartitions(ctx, 2, topic)).Error())
	await("five partitions", func() bool { return len(get(adm.ListTopics(ctx, topic))[topic].Partitions) == 5 })
	dirs := get(adm.DescribeAllLogDirs(ctx, nil))
	check(len(dirs) >= 1, "log dirs")
	ok("create, describe, grow topics; log dirs")
}

// sample is record number i of the round trip: every kind of key, value, header and timestamp.
func sample(topic, codec string, i int) *kgo.Record {
	r := &kgo.Record{Topic: topic, Partition: int32(i % 3), Timestamp: time.UnixMilli(baseTime + int64(i)*1000)}
	if i%7 != 3 {
		r.Key = []byte("key-" + strconv.Itoa(i%10))
	}
	switch i % 11 {
	case 5:
	case 6:
		r.Value = []byte{}
	default:
		r.Value = []byte("\xff\x00" + codec + "-" + strconv.Itoa(i) + "-" + strings.Repeat("x", i*37%500))
	}
	r.Headers = []kgo.RecordHeader{
		{Key: "n", Value: []byte(strconv.Itoa(i))}, {Key: "dup", Value: []byte("a")}, {Key: "dup", Value: []byte("b")},
		{Key: "empty", Value: []byte{}}, {Key: "null", Value: nil},
	}
	return r
}

// equalBytes tells null from empty.
func equalBytes(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

func roundTrip(adm *kadm.Client, codec string) {
	topic := prefix + "-codec-" + codec
	const count = 600
	create(adm, topic, 3, map[string]string{"retention.ms": "-1"})
	producer := client(kgo.ProducerBatchCompression(codecs()[codec]), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(20*time.Millisecond))
	var sent []*kgo.Record
	for i := range count {
		sent = append(sent, sample(topic, codec, i))
	}
	results := producer.ProduceSync(ctx, sent...)
	must(results.FirstErr())
	for _, r := range results {
		n, _ := strconv.Atoi(string(r.Record.Headers[0].Value))
		same(int64(n/3), r.Record.Offset, "offset acknowledged for record %d", n)
	}
	producer.Close()

	consumer := client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {
		0: kgo.NewOffset().AtStart(), 1: kgo.NewOffset().AtStart(), 2: kgo.NewOffset().AtStart()}}))
	defer consumer.Close()
	var seen [3]int
	for total := 0; total < count; {
		for _, r := range poll(consumer) {
			i := seen[r.Partition]*3 + int(r.Partition)
			seen[r.Partition]++
			want := sample(topic, codec, i)
			same(int64(i/3), r.Offset, "offset of record %d", i)
			check(equalBytes(want.Key, r.Key), "key of record %d", i)
			check(equalBytes(want.Value, r.Value), "value of record %d", i)
			same(want.Timestamp.UnixMilli(), r.Timestamp.UnixMilli(), "timestamp of record %d", i)
			same(len(want.Headers), len(r.Headers), "headers of record %d", i)
			for h := range want.Headers {
				same(want.Headers[h].Key, r.Headers[h].Key, "header of record %d", i)
				check(equalBytes(want.Headers[h].Value, r.Headers[h].Value), "header %s of record %d", want.Headers[h].Key, i)
			}
			total++
		}
	}
	inside := client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {1: kgo.NewOffset().At(77)}}))
	same(int64(77), poll(inside)[0].Offset, "first record after a seek into a batch")
	inside.Close()
	ok("write and read back, %s", codec)
}

// poll returns at least one record, or fails the judge.
func poll(cl *kgo.Client) []*kgo.Record {
	within, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		fetches := cl.PollFetches(within)
		must(fetches.Err())
		if records := fetches.Records(); len(records) > 0 {
			return records
		}
	}
}

func timestamps(adm *kadm.Client) {
	topic := prefix + "-codec-gzip"
	for _, i := range []int{0, 1, 2, 3, 100, 101, 298, 597, 598, 599} {
		for _, before := range []int64{0, 1, 2999} {
			if i < 3 && before > 0 {
				continue
			}
			at := get(adm.ListOffsetsAfterMilli(ctx, baseTime+int64(i)*1000-before, topic))
			found, exists := at.Lookup(topic, int32(i%3))
			check(exists, "answer for record %d", i)
			must(found.Err)
			same(int64(i/3), found.Offset, "offset for the timestamp of record %d less %d", i, before)
			same(baseTime+int64(i)*1000, found.Timestamp, "timestamp found for record %d", i)
		}
	}
	consumer := client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{
		topic: {2: kgo.NewOffset().AfterMilli(baseTime + 302_000)}}))
	same(baseTime+302_000, poll(consumer)[0].Timestamp.UnixMilli(), "first record after a seek by time")
	consumer.Close()
	starts := get(adm.ListStartOffsets(ctx, topic))
	ends := get(adm.ListEndOffsets(ctx, topic))
	newest := get(adm.ListMaxTimestampOffsets(ctx, topic))
	for p := range int32(3) {
		s, _ := starts.Lookup(topic, p)
		e, _ := ends.Lookup(topic, p)
		m, _ := newest.Lookup(topic, p)
		same(int64(0), s.Offset, "start of partition %d", p)
		same(int64(200), e.Offset, "end of partition %d", p)
		same(int64(199), m.Offset, "offset of the maximum timestamp of partition %d", p)
	}
	ok("seek by timestamp, list offsets")
}

func offsets(adm *kadm.Client) {
	topic, group := prefix+"-codec-lz4", prefix+"-offsets"
	var to kadm.Offsets
	to.Add(kadm.Offset{Topic: topic, Partition: 0, At: 11, LeaderEpoch: 0, Metadata: "note ü"})
	to.Add(kadm.Offset{Topic: topic, Partition: 1, At: 22, LeaderEpoch: -1})
	must(get(adm.CommitOffsets(ctx, group, to)).Error())
	found := get(adm.FetchOffsets(ctx, group))
	zero, _ := found.Lookup(topic, 0)
	same(int64(11), zero.At, "offset committed")
	same("note ü", zero.Metadata, "metadata committed")
	same(int32(0), zero.LeaderEpoch, "leader epoch committed")
	one, _ := found.Lookup(topic, 1)
	same(int64(22), one.At, "offset committed")
	_, exists := found.Lookup(topic, 2)
	check(!exists, "an offset never committed")
	var gone kadm.TopicsSet
	gone.Add(topic, 0)
	must(get(adm.DeleteOffsets(ctx, group, gone)).Error())
	_, exists = get(adm.FetchOffsets(ctx, group)).Lookup(topic, 0)
	check(!exists, "an offset deleted")
	ok("commit, fetch and delete offsets")
}

// ---- groups ----------------------------------------------------------------------------------------------------

// ledger is what the group has delivered: every record once, in order, whoever holds the partition.
type ledger struct {
	sync.Mutex
	next      map[int32]int64
	delivered int64
}

func (l *ledger) deliver(member string, r *kgo.Record) {
	same(l.next[r.Partition], r.Offset, "%s: next offset of partition %d", member, r.Partition)
	l.next[r.Partition]++
	l.delivered++
}

func (l *ledger) total() int64 {
	l.Lock()
	defer l.Unlock()
	return l.delivered
}

type member struct {
	name      string
	cl        *kgo.Client
	delivered atomic.Int64
	assigned  atomic.Int64
	leave     atomic.Bool
	gone      chan struct{}
}

func join(name, topic, group string, balancer kgo.GroupBalancer, l *ledger) *member {
	m := &member{name: name, gone: make(chan struct{})}
	m.cl = client(
		kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.Balancers(balancer), kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(), kgo.HeartbeatInterval(300*time.Millisecond), kgo.SessionTimeout(10*time.Second),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, fresh map[string][]int32) {
			m.assigned.Add(int64(len(fresh[topic])))
		}),
		kgo.OnPartitionsRevoked(func(_ context.Context, cl *kgo.Client, revoked map[string][]int32) {
			must(cl.CommitUncommittedOffsets(ctx))
			m.assigned.Add(-int64(len(revoked[topic])))
		}),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, lost map[string][]int32) {
			fail("%s lost %v", name, lost)
		}),
	)
	go func() {
		defer close(m.gone)
		for !m.leave.Load() {
			within, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
			fetches := m.cl.PollFetches(within)
			cancel()
			for _, e := range fetches.Errors() {
				check(errors.Is(e.Err, context.DeadlineExceeded), "%s: %v", name, e.Err)
			}
			l.Lock()
			fetches.EachRecord(func(r *kgo.Record) {
				l.deliver(name, r)
				m.delivered.Add(1)
			})
			l.Unlock()
			m.cl.AllowRebalance()
		}
		m.cl.CloseAllowingRebalance()
	}()
	return m
}

func rebalance(adm *kadm.Client, kind string, balancer kgo.GroupBalancer) {
	topic, group := prefix+"-group-"+kind, prefix+"-group-"+kind
	create(adm, topic, 6, nil)
	l := &ledger{next: map[int32]int64{}}
	var stop atomic.Bool
	var produced atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		producer := client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
		defer producer.Close()
		for !stop.Load() {
			// The load follows the group: never more than 2000 records ahead of it.
			if produced.Load()-l.total() > 2000 {
				time.Sleep(time.Millisecond)
				continue
			}
			var batch []*kgo.Record
			for i := range 60 {
				batch = append(batch, &kgo.Record{Topic: topic, Partition: int32(i % 6), Value: []byte("r" + strconv.Itoa(i))})
			}
			must(producer.ProduceSync(ctx, batch...).FirstErr())
			produced.Add(60)
		}
	}()
	a := join("A", topic, group, balancer, l)
	await("delivery to A", func() bool { return a.delivered.Load() > 300 })
	b := join("B", topic, group, balancer, l)
	await("delivery to B", func() bool {
		return b.delivered.Load() > 300 && a.assigned.Load() == 3 && b.assigned.Load() == 3
	})
	c := join("C", topic, group, balancer, l)
	await("delivery to C", func() bool {
		return c.delivered.Load() > 300 && a.assigned.Load()+b.assigned.Load()+c.assigned.Load() == 6
	})
	described := get(adm.DescribeGroups(ctx, group))[group]
	must(described.Err)
	same(3, len(described.Members), "members described")
	b.leave.Store(true)
	<-b.gone
	mark := l.total()
	await("delivery after B left", func() bool { return a.assigned.Load()+c.assigned.Load() == 6 && l.total() > mark+600 })
	stop.Store(true)
	<-done
	await("the last record", func() bool { return l.total() == produced.Load() })
	a.leave.Store(true)
	c.leave.Store(true)
	<-a.gone
	<-c.gone
	committed := get(adm.FetchOffsets(ctx, group))
	for p := range int32(6) {
		at, _ := committed.Lookup(topic, p)
		same(produced.Load()/6, at.At, "committed end of partition %d", p)
	}
	ok("group of three, %s, %d records once each", kind, produced.Load())
}

func limits() {
	producer := client(kgo.ProducerBatchMaxBytes(1<<20), kgo.ProducerBatchCompression(kgo.NoCompression()))
	defer producer.Close()
	fails(kerr.MessageTooLarge, producer.ProduceSync(ctx, &kgo.Record{Topic: prefix + "-topics", Value: make([]byte, 200_000)}).FirstErr())
	must(producer.ProduceSync(ctx, &kgo.Record{Topic: prefix + "-topics", Value: make([]byte, 10)}).FirstErr())
	ok("max.message.bytes")
}

func configs(adm *kadm.Client) {
	topic := prefix + "-topics"
	value := func(key string) string {
		found := get(get(adm.DescribeTopicConfigs(ctx, topic)).On(topic, nil))
		must(found.Err)
		for _, c := range found.Configs {
			if c.Key == key {
				return c.MaybeValue()
			}
		}
		return ""
	}
	same("3600000", value("retention.ms"), "retention.ms")
	must(get(get(adm.AlterTopicConfigs(ctx, []kadm.AlterConfig{
		{Op: kadm.SetConfig, Name: "retention.ms", Value: kadm.StringPtr("7200000")},
		{Op: kadm.AppendConfig, Name: "cleanup.policy", Value: kadm.StringPtr("compact")},
		{Op: kadm.DeleteConfig, Name: "max.message.bytes"},
	}, topic)).On(topic, nil)).Err)
	await("the new configs", func() bool { return value("retention.ms") == "7200000" && value("max.message.bytes") == "1048588" })
	must(get(get(adm.AlterTopicConfigsState(ctx, []kadm.AlterConfig{
		{Name: "retention.ms", Value: kadm.StringPtr("9000000")}}, topic)).On(topic, nil)).Err)
	await("the replaced configs", func() bool { return value("retention.ms") == "9000000" && value("cleanup.policy") == "delete" })
	bad := get(adm.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: kadm.StringPtr("soon")}}, topic))
	fails(kerr.InvalidConfig, get(bad.On(topic, nil)).Err)
	ok("describe, alter and replace configs")
}

func records(adm *kadm.Client) {
	topic := prefix + "-codec-none"
	var before kadm.Offsets
	before.Add(kadm.Offset{Topic: topic, Partition: 0, At: 120})
	gone := get(adm.DeleteRecords(ctx, before))
	must(gone.Error())
	low, _ := gone.Lookup(topic, 0)
	same(int64(120), low.LowWatermark, "low watermark")
	start, _ := get(adm.ListStartOffsets(ctx, topic)).Lookup(topic, 0)
	same(int64(120), start.Offset, "start offset")
	consumer := client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().At(5)}}),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	same(int64(120), poll(consumer)[0].Offset, "first record after a reset to the start")
	consumer.Close()
	ok("delete records")
}

func groups(adm *kadm.Client) {
	group := prefix + "-group-eager"
	listed := get(adm.ListGroups(ctx))[group]
	same("Empty", listed.State, "state listed")
	same("consumer", listed.ProtocolType, "protocol listed")
	lag := get(adm.Lag(ctx, group))[group]
	same(int64(0), lag.Lag.Total(), "lag")
	must(get(adm.DeleteGroup(ctx, group)).Err)
	_, exists := get(adm.ListGroups(ctx))[group]
	check(!exists, "a group deleted")
	_, err := adm.DeleteGroup(ctx, group)
	fails(kerr.GroupIDNotFound, err)
	ok("list, lag and delete groups")
}

func deletion(adm *kadm.Client) {
	var mine []string
	for _, t := range get(adm.ListTopics(ctx)).Names() {
		if strings.HasPrefix(t, prefix+"-") {
			mine = append(mine, t)
		}
	}
	same(8, len(mine), "topics of this judge")
	must(get(adm.DeleteTopics(ctx, mine...)).Error())
	await("the topics' end", func() bool {
		for _, t := range get(adm.ListTopics(ctx)).Names() {
			if strings.HasPrefix(t, prefix+"-") {
				return false
			}
		}
		return true
	})
	fails(kerr.UnknownTopicOrPartition, get(adm.DeleteTopics(ctx, mine[0]))[mine[0]].Err)
	ok("delete topics")
}

// ---- the flights -----------------------------------------------------------------------------------------------

func write(topic, codec, input string) {
	producer := client(kgo.ProducerBatchCompression(codecs()[codec]), kgo.ProducerLinger(20*time.Millisecond), kgo.DefaultProduceTopic(topic))
	file := get(os.Open(input))
	defer file.Close()
	lines := bufio.NewScanner(file)
	count := 0
	for lines.Scan() {
		part := strings.SplitN(lines.Text(), "\t", 3)
		at := get(strconv.ParseInt(part[1], 10, 64))
		producer.Produce(ctx, &kgo.Record{Key: []byte(part[0]), Value: []byte(part[2]), Timestamp: time.UnixMilli(at)},
			func(_ *kgo.Record, err error) { must(err) })
		count++
	}
	must(lines.Err())
	must(producer.Flush(ctx))
	producer.Close()
	fmt.Println("wrote", count)
}

type digest struct {
	sha     hash.Hash
	count   int64
	seconds int64
}

func read(topic, group string, expect int64) {
	digests := map[string]*digest{}
	l := &ledger{next: map[int32]int64{}}
	var holding [3]atomic.Int64
	var active [3]atomic.Bool
	var done atomic.Bool
	ready := func() bool { return holding[0].Load() > 0 && holding[1].Load() > 0 && holding[2].Load() > 0 }
	var members sync.WaitGroup
	for m := range 3 {
		cl := client(
			kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
			kgo.HeartbeatInterval(300*time.Millisecond), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
			kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, fresh map[string][]int32) {
				holding[m].Add(int64(len(fresh[topic])))
			}),
			kgo.OnPartitionsRevoked(func(_ context.Context, cl *kgo.Client, gone map[string][]int32) {
				must(cl.CommitUncommittedOffsets(ctx))
				holding[m].Add(-int64(len(gone[topic])))
			}),
		)
		cl.PauseFetchTopics(topic) // nobody reads before all three hold partitions
		members.Add(1)
		go func() {
			defer members.Done()
			for !done.Load() {
				if ready() {
					cl.ResumeFetchTopics(topic)
				}
				within, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
				fetches := cl.PollFetches(within)
				cancel()
				for _, e := range fetches.Errors() {
					check(errors.Is(e.Err, context.DeadlineExceeded), "member %d: %v", m, e.Err)
				}
				l.Lock()
				fetches.EachRecord(func(r *kgo.Record) {
					active[m].Store(true)
					l.deliver("member "+strconv.Itoa(m), r)
					d := digests[string(r.Key)]
					if d == nil {
						d = &digest{sha: sha256.New()}
						digests[string(r.Key)] = d
					}
					var length [4]byte
					binary.BigEndian.PutUint32(length[:], uint32(len(r.Value)))
					d.sha.Write(length[:])
					d.sha.Write(r.Value)
					d.count++
					d.seconds += r.Timestamp.Unix()
				})
				l.Unlock()
				cl.AllowRebalance()
			}
			cl.CloseAllowingRebalance()
		}()
	}
	deadline := time.Now().Add(2 * limit)
	for l.total() < expect {
		check(time.Now().Before(deadline), "only %d of %d records in time", l.total(), expect)
		time.Sleep(5 * time.Millisecond)
	}
	done.Store(true)
	members.Wait()
	check(active[0].Load() && active[1].Load() && active[2].Load(), "not all three members read")
	cl := client()
	defer cl.Close()
	var end int64
	get(kadm.NewClient(cl).ListEndOffsets(ctx, topic)).Each(func(o kadm.ListedOffset) { end += o.Offset })
	same(expect, end, "records in the topic")
	var keys []string
	for key := range digests {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	for _, key := range keys {
		d := digests[key]
		fmt.Printf("digest %s %d %x %d\n", key, d.count, d.sha.Sum(nil), d.seconds)
	}
}
