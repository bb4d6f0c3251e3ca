package main

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/uprung/uprung/internal/ladder"
	"github.com/uprung/uprung/shard"
)

// A store serves 50 requests per second. Four of them are offered three tenths more
// than they can serve together, since the most popular keys are not spread evenly.
const (
	shardStores  = 4
	shardWorkers = 1
	shardService = 20 * time.Millisecond
	shardQueue   = 10 // 0.2 s of work

	shardCapacity = shardWorkers * int(time.Second/shardService) // of one store, per second
	shardOffered  = shardStores * shardCapacity * 13 / 10
)

// movedOverIdeal is how many keys a new store moves, divided by the least that any
// way of routing could move.
const movedOverIdeal = "moved_over_ideal"

// sharded is the rung of package shard. Requests for many keys are offered to one
// store and then to four, and halfway a fifth is added while they are served.
//
// It promises that four stores serve 0.9 of what four can, and that the fifth
// moves hardly more keys than it has to: the table on which they are spread is
// compared with the remainder of a division by the number of stores, which is how
// it is done without one.
func sharded() *ladder.Rung {
	return &ladder.Rung{
		Name: "shard",
		Story: "one store is offered more than it can serve; package shard spreads its keys over four, and moves " +
			"hardly more than a fifth of them when a fifth store is added.",
		Judged:   "all",
		Streams:  []ladder.Stream{{Tenant: "all", PerSecond: float64(shardOffered), Keys: 100_000, Judged: true}},
		Settle:   time.Second,
		Window:   2 * time.Second,
		Patience: time.Second, // five times what the queue takes
		Handler: func(with bool) (http.Handler, error) {
			if !with {
				store, err := ladder.NewOrigin(shardWorkers, shardService, shardQueue)
				return division{store}, err
			}
			return newStores()
		},
		Promises: []ladder.Promise{
			{
				Metric: "goodput_over_capacity_of_four", Title: "served, of what four stores can", Better: ladder.Higher, Format: "%.3f",
				Of: func(r *ladder.Record) float64 {
					return r.Goodput() * float64(shardOffered) / float64(shardStores*shardCapacity)
				},
				After: 0.9,
			},
			{
				Metric: movedOverIdeal, Title: "keys moved by one store more, over the ideal", Better: ladder.Lower, Format: "%.2f",
				Of:    func(r *ladder.Record) float64 { return r.Figures[movedOverIdeal] },
				After: 1.3,
			},
		},
	}
}

// division is one store, and the figures of spreading keys over several by the
// remainder of a division.
type division struct{ http.Handler }

// Figures counts which keys have another remainder when a store is added.
func (division) Figures() map[string]float64 {
	const keys = 100_000
	moved := 0
	for i := range keys {
		if hash := shard.Hash(strconv.Itoa(i)); hash%shardStores != hash%(shardStores+1) {
			moved++
		}
	}
	return map[string]float64{movedOverIdeal: float64(moved) / keys * (shardStores + 1)}
}

// stores are the stores behind a handler that routes by the path.
type stores struct {
	*shard.Handler
	upstreams *shard.Map[http.Handler]
	entries   []shard.Entry[http.Handler]
	requests  atomic.Int64
	moved     shard.Difference // known before the first request
}

func newStores() (*stores, error) {
	s := &stores{}
	for i := range shardStores + 1 {
		store, err := ladder.NewOrigin(shardWorkers, shardService, shardQueue)
		if err != nil {
			return nil, err
		}
		s.entries = append(s.entries, shard.Entry[http.Handler]{Node: shard.Node{ID: "store-" + strconv.Itoa(i)}, Value: store})
	}
	var err error
	if s.upstreams, err = shard.NewMap(s.entries[:shardStores], nil); err != nil {
		return nil, err
	}
	if s.moved, err = s.upstreams.Preview(s.entries); err != nil {
		return nil, err
	}
	byPath := func(r *http.Request) (string, bool) { return r.URL.Path, true }
	s.Handler, err = shard.NewHandler(s.upstreams, byPath, nil)
	return s, err
}

// ServeHTTP routes a request. The one that comes after two seconds' worth of others
// adds the fifth store.
func (s *stores) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.requests.Add(1) == int64(2*shardOffered) {
		if err := s.upstreams.Set(s.entries); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	s.Handler.ServeHTTP(w, r)
}

// Figures compares what the fifth store moves with the ideal.
func (s *stores) Figures() map[string]float64 {
	return map[string]float64{movedOverIdeal: s.moved.Moved / s.moved.Ideal}
}
