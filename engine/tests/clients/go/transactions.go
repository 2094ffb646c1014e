// Transactions of franz-go, which takes the way of transaction.version 2: commits, aborts, and sessions that read, write
// and commit their offsets in one transaction, three of them in one group.
package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const txnPartitions = 4

func transactions() {
	admin := kadm.NewClient(get(kgo.NewClient(kgo.SeedBrokers(bootstrap))))
	in, out := prefix+"-in", prefix+"-out"
	for _, topic := range []string{in, out} {
		created := get(admin.CreateTopic(ctx, txnPartitions, 1, nil, topic))
		must(created.Err)
	}
	kept := commitsAndAborts(in)
	ok("commits and aborts")
	sameSet("committed records", kept, readAll(in, kgo.ReadCommitted()))
	ok("read_committed")
	if all := readAll(in, kgo.ReadUncommitted()); len(all) <= len(kept) {
		fail("%d records of all, %d committed", len(all), len(kept))
	}
	ok("read_uncommitted")
	fence(out)
	ok("fences")
	copyInGroup(in, out, int64(len(kept)))
	sameSet("records copied", kept, readAll(out, kgo.ReadCommitted()))
	ok("a group copies exactly once")
	listed := get(admin.ListTransactions(ctx, nil, nil))
	if len(listed) < 4 {
		fail("%d transactions listed", len(listed))
	}
	ok("ListTransactions")
	described := get(admin.DescribeTransactions(ctx, prefix+"-plain"))
	if state := described[prefix+"-plain"].State; state != "CompleteCommit" && state != "CompleteAbort" {
		fail("state %q", state)
	}
	ok("DescribeTransactions")
}

func sameSet(what string, want, found map[string]int) {
	for value := range want {
		if found[value] != 1 {
			fail("%s: %q is there %d times", what, value, found[value])
		}
	}
	if len(want) != len(found) {
		fail("%s: %d, not %d", what, len(found), len(want))
	}
}

// Records of transactions, two thirds of them committed; returns those.
func commitsAndAborts(topic string) map[string]int {
	client := get(kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.TransactionalID(prefix+"-plain"),
		kgo.RecordPartitioner(kgo.ManualPartitioner())))
	defer client.Close()
	kept := map[string]int{}
	for round := 0; round < 30; round++ {
		must(client.BeginTransaction())
		commit := round%3 != 1
		var values []string
		for i := 0; i < 40; i++ {
			value := fmt.Sprintf("%d.%d", round, i)
			values = append(values, value)
			client.Produce(ctx, &kgo.Record{Topic: topic, Partition: int32(i % txnPartitions), Value: []byte(value)},
				func(_ *kgo.Record, err error) { must(err) })
		}
		must(client.Flush(ctx))
		must(client.EndTransaction(ctx, kgo.TransactionEndTry(commit)))
		if commit {
			for _, value := range values {
				kept[value] = 1
			}
		}
	}
	return kept
}

// All values up to the end that the isolation level shows once no transaction is open.
func readAll(topic string, level kgo.IsolationLevel) map[string]int {
	admin := kadm.NewClient(get(kgo.NewClient(kgo.SeedBrokers(bootstrap))))
	defer admin.Close()
	deadline := time.Now().Add(limit)
	var ends kadm.ListedOffsets
	for {
		ends = get(admin.ListEndOffsets(ctx, topic))
		stable := get(admin.ListCommittedOffsets(ctx, topic))
		settled := true
		ends.Each(func(o kadm.ListedOffset) {
			other, _ := stable.Lookup(o.Topic, o.Partition)
			settled = settled && other.Offset == o.Offset
		})
		if settled {
			break
		}
		if time.Now().After(deadline) {
			fail("%s: transactions stay open", topic)
		}
	}
	client := get(kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(level),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.KeepControlRecords(), kgo.FetchMaxWait(50*time.Millisecond)))
	defer client.Close()
	found := map[string]int{}
	at := map[int32]int64{}
	// Aborted records at the very end are shown to nobody, so an end may never be seen: the marker behind them is.
	done := func() bool {
		all := true
		ends.Each(func(o kadm.ListedOffset) { all = all && (o.Offset == 0 || at[o.Partition] >= o.Offset) })
		return all
	}
	for !done() {
		if time.Now().After(deadline) {
			fail("%s: the end is not reached: %v", topic, at)
		}
		fetches := client.PollFetches(ctx)
		if errs := fetches.Errors(); len(errs) > 0 {
			fail("%v", errs)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			at[r.Partition] = r.Offset + 1
			if !r.Attrs.IsControl() {
				found[string(r.Value)]++
			}
		})
	}
	return found
}

// A second client under the same id ends what the first one does.
func fence(topic string) {
	open := func() *kgo.Client {
		return get(kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.TransactionalID(prefix+"-fenced")))
	}
	first, second := open(), open()
	defer first.Close()
	defer second.Close()
	must(first.BeginTransaction())
	must(first.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("fenced")}).FirstErr())
	must(second.BeginTransaction())
	second.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("aborted")}).FirstErr()
	must(second.EndTransaction(ctx, kgo.TryAbort))
	err := first.EndTransaction(ctx, kgo.TryCommit)
	if err == nil {
		fail("a fenced producer could commit")
	}
	if e := kerr.TypedErrorForCode(kerr.ProducerFenced.Code); e != kerr.ProducerFenced {
		fail("%v", err)
	}
}

// Three sessions of one group copy everything, each poll a transaction.
func copyInGroup(in, out string, expect int64) {
	var copied atomic.Int64
	enough, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	for i := 0; i < 3; i++ {
		session := get(kgo.NewGroupTransactSession(kgo.SeedBrokers(bootstrap), kgo.TransactionalID(fmt.Sprintf("%s-copy%d", prefix, i)),
			kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumerGroup(prefix+"-group"), kgo.ConsumeTopics(in),
			kgo.RequireStableFetchOffsets(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxBytes(4096)))
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer session.Close()
			for enough.Err() == nil {
				fetches := session.PollFetches(enough)
				if fetches.NumRecords() == 0 {
					continue
				}
				must(session.Begin())
				n := int64(0)
				fetches.EachRecord(func(r *kgo.Record) {
					n++
					session.Produce(ctx, &kgo.Record{Topic: out, Value: r.Value}, nil)
				})
				committed, err := session.End(ctx, kgo.TryCommit)
				must(err)
				if committed && copied.Add(n) >= expect {
					stop()
				}
			}
		}()
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(limit):
		fail("%d of %d copied", copied.Load(), expect)
	}
}
