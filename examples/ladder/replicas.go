package main

import (
	"context"
	"database/sql"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/uprung/uprung/internal/ladder"
	"github.com/uprung/uprung/internal/memsql"
	"github.com/uprung/uprung/replicate"
)

// A database serves 200 statements per second. Two replicas of it lag by a twentieth of a
// second. What is offered is 0.85 of what three can serve.
const (
	replicaWorkers = 4
	replicaService = 20 * time.Millisecond
	replicaLag     = 50 * time.Millisecond
	replicaQueue   = 20 // requests in progress, for each database

	replicaCapacity = replicaWorkers * int(time.Second/replicaService)
	replicaOffered  = 3 * replicaCapacity * 85 / 100
	writeEvery      = 20 // requests
)

// staleReads is how many reads did not see what the same user had written before.
const staleReads = "stale_reads"

// replicas is the rung of package replicate. Users read what they have written, and now
// and then write. The databases are a model in memory: it has the capacity and the lag of
// a real one, and not its speed.
//
// It promises that a primary with two replicas serves two and a half times as many
// requests as the primary alone, and that nobody sees less than they wrote. To compare,
// each write without the technique is looked for at a replica, as it is where reads are
// sent there by their first word.
func replicas() *ladder.Rung {
	return &ladder.Rung{
		Name: "replicas",
		Story: "users look for what they have just written, at a database (a model in memory, with capacity and lag) " +
			"that cannot serve them all; package replicate sends their reads to replicas that have it.",
		Judged:   "all",
		Streams:  []ladder.Stream{{Tenant: "all", PerSecond: float64(replicaOffered), Keys: 10_000, Judged: true}},
		Settle:   time.Second,
		Window:   2 * time.Second,
		Patience: time.Second,
		Handler:  func(with bool) (http.Handler, error) { return newUsers(with) },
		Promises: []ladder.Promise{
			{
				Metric: "goodput_per_s", Title: "requests served per second", Better: ladder.Higher, Format: "%.0f",
				Of: func(r *ladder.Record) float64 { return r.Goodput() * float64(replicaOffered) }, Factor: 2.5,
			},
			{
				Metric: staleReads, Title: "reads that missed the user's own write", Better: ladder.Lower, Format: "%.0f",
				Of: func(r *ladder.Record) float64 { return r.Figures[staleReads] }, Factor: 1e-9,
			},
		},
	}
}

// users are the handler, and what the browsers of its users keep.
type users struct {
	http.Handler
	cluster *replicate.Cluster
	db      *sql.DB // what the handler uses
	naive   *sql.DB // a replica, where it is asked to compare
	places  chan struct{}

	requests, values, stale atomic.Int64
	browsers                sync.Map // of string to *browser
}

// browser is what one user's keeps: a token, and the last value that was stored.
type browser struct {
	writing chan struct{} // holds one while a request of this user writes
	mu      sync.Mutex
	token   string // guarded by mu
	stored  int64  // guarded by mu
}

// visit is one request: what its user had stored before, and what it stores.
type visit struct {
	browser       *browser
	stored, wrote int64
}

type visitKey struct{}

const replicaField = "Uprung-Bookmark"

func newUsers(with bool) (*users, error) {
	servers := memsql.New(2)
	servers.SetCapacity(replicaWorkers, replicaService)
	nodes := []replicate.Node{{Name: "primary", Connector: servers.Node(0)}}
	for i := 1; i <= 2; i++ {
		servers.Node(i).SetLag(replicaLag)
		nodes = append(nodes, replicate.Node{Name: "replica-" + strconv.Itoa(i), Connector: servers.Node(i)})
	}
	u := &users{}
	var handler http.Handler = http.HandlerFunc(u.serve)
	if with {
		var err error
		if u.cluster, err = replicate.New(nodes, &replicate.Options{PrimaryReads: true, Token: replicate.TokenOptions{Cookie: "-"}}); err != nil {
			return nil, err
		}
		u.db = sql.OpenDB(u.cluster.Connector())
		handler = u.cluster.Middleware(handler)
		u.places = make(chan struct{}, 3*replicaQueue)
	} else {
		u.db, u.naive = sql.OpenDB(servers.Node(0)), sql.OpenDB(servers.Node(1))
		u.places = make(chan struct{}, replicaQueue)
	}
	u.db.SetMaxIdleConns(cap(u.places))
	u.Handler = handler
	return u, nil
}

// Unwrap returns the chain, for -explain.
func (u *users) Unwrap() http.Handler { return u.Handler }

// ServeHTTP sends a request with the token that the user's browser has, and keeps the one
// that comes back.
func (u *users) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case u.places <- struct{}{}:
		defer func() { <-u.places }()
	default:
		http.Error(w, "too many", http.StatusServiceUnavailable)
		return
	}
	value, _ := u.browsers.LoadOrStore(r.URL.Path, &browser{writing: make(chan struct{}, 1)})
	b := value.(*browser)
	b.mu.Lock()
	token := b.token
	v := &visit{browser: b, stored: b.stored}
	b.mu.Unlock()
	if token != "" {
		r.Header.Set(replicaField, token)
	}
	u.Handler.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), visitKey{}, v)))
	next := w.Header().Get(replicaField)
	b.mu.Lock()
	defer b.mu.Unlock()
	if v.wrote > b.stored || b.token == token && next != "" { // none has come from a request that began later
		b.token = next
	}
	b.stored = max(b.stored, v.wrote)
}

// serve is the application: now and then it writes, and it always reads.
func (u *users) serve(w http.ResponseWriter, r *http.Request) {
	v := r.Context().Value(visitKey{}).(*visit)
	if n := u.requests.Add(1); n%writeEvery == 0 {
		if err := u.store(r.Context(), v, r.URL.Path); err != nil {
			http.Error(w, "not stored", http.StatusInternalServerError)
			return
		}
	}
	got, err := find(r.Context(), u.db, r.URL.Path)
	if err != nil {
		http.Error(w, "not found", http.StatusInternalServerError)
		return
	}
	if got < max(v.stored, v.wrote) {
		u.stale.Add(1)
	}
	_, _ = w.Write([]byte("done\n")) // fails only if the client has left
}

// store writes a value that is higher than all before, and looks for it at a replica if
// that is to be compared.
func (u *users) store(ctx context.Context, v *visit, key string) error {
	v.browser.writing <- struct{}{}
	defer func() { <-v.browser.writing }()
	n := u.values.Add(1)
	if _, err := u.db.ExecContext(ctx, "UPDATE kv SET value = $2 WHERE key = $1", key, n); err != nil {
		return err
	}
	v.wrote = n
	if u.naive != nil {
		if got, err := find(ctx, u.naive, key); err == nil && got < n {
			u.stale.Add(1)
		}
	}
	return nil
}

// find returns a value, 0 if there is none.
func find(ctx context.Context, db *sql.DB, key string) (value int64, err error) {
	err = db.QueryRowContext(ctx, "SELECT value FROM kv WHERE key = $1", key).Scan(&value)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return value, err
}

// Figures counts the reads that saw less than their user had written. The half is over:
// the connections are closed.
func (u *users) Figures() map[string]float64 {
	_ = u.db.Close() // the model's never fails
	if u.naive != nil {
		_ = u.naive.Close()
	}
	return map[string]float64{staleReads: float64(u.stale.Load())}
}
