package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/chaos"
	"github.com/uprung/uprung/internal/ladder"
)

//go:embed live.html
var page []byte

// faults are those that the page has buttons for. They meet the last of several servers,
// or the one that there is.
var faults = []struct {
	name, title string
	fault       chaos.Fault
}{
	{"slow", "slow: 300 ms more", chaos.Fault{Delay: chaos.Fixed(300 * time.Millisecond)}},
	{"hang", "hangs", chaos.Fault{Delay: chaos.Fixed(time.Hour)}},
	{"fail", "answers 500", chaos.Fault{Status: http.StatusInternalServerError}},
	{"reset", "breaks connections", chaos.Fault{Reset: true}},
}

const (
	// faultTime is how long a fault lasts that nobody takes back.
	faultTime = 10 * time.Minute
	// roundTime is how long a round of exploring takes at least.
	roundTime = time.Minute
	// maxViewers bounds the pages that are open at a time, and maxEvents what waits for
	// one that does not read.
	maxViewers, maxEvents = 16, 64
	// viewerPatience is how long a page may take to read an event.
	viewerPatience = 10 * time.Second
)

// live is the page, and what it shows: one climb, or one rung that is explored, at a time.
type live struct {
	config   ladder.Config   // of a climb of all rungs
	ctx      context.Context //nolint:containedctx // of the command: what runs ends with it
	injector *chaos.Injector
	with     atomic.Bool

	turn sync.Mutex // held to have something else run, or fail

	mu      sync.Mutex
	state   state                   // guarded by mu
	results []result                // guarded by mu
	viewers map[chan event]struct{} // guarded by mu
	cancel  context.CancelFunc      // of what runs; guarded by mu
	running sync.WaitGroup
}

// state is what runs, for pages.
type state struct {
	// Mode is idle, playing or exploring.
	Mode string `json:"mode"`
	// Rung is the one that runs.
	Rung string `json:"rung"`
	// With says whether the technique is used.
	With bool `json:"with"`
	// Fault is the one that is injected, or empty.
	Fault string `json:"fault"`
	// Error is why the last climb has ended early.
	Error string `json:"error"`
}

// progress is that of a rung, for pages.
type progress struct {
	Rung     string  `json:"rung"`
	With     bool    `json:"with"`
	Settling bool    `json:"settling"`
	Offered  float64 `json:"offered"`
	Served   float64 `json:"served"`
	Refused  float64 `json:"refused"`
	Failed   float64 `json:"failed"`
	P50      float64 `json:"p50_ms"`
	P99      float64 `json:"p99_ms"`
	InFlight int     `json:"in_flight"`
}

// result is how a promise came out: an element of the JSON report, and how it reads.
type result struct {
	ladder.Entry
	Title string    `json:"title"`
	Shown [2]string `json:"shown"` // before and after, formatted
}

// event is what pages are told.
type event struct {
	name string
	data []byte
}

// serveLive serves the page at an address of the loopback interface until ctx ends.
func (c *command) serveLive(ctx context.Context, out io.Writer) error {
	if err := loopback(c.http); err != nil {
		return err
	}
	l, err := newLive(ctx, c.Config)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", c.http)
	if err != nil {
		return fmt.Errorf("ladder: %w", err)
	}
	if !listener.Addr().(*net.TCPAddr).IP.IsLoopback() { // whatever localhost is taken for here
		return errors.Join(fmt.Errorf("ladder: -http is %q, which is %s here, want an address of this machine alone", c.http, listener.Addr()), listener.Close())
	}
	if _, err := fmt.Fprintf(out, "the ladder is at http://%s\n", listener.Addr()); err != nil {
		return err
	}
	server := &http.Server{
		Handler: l.handler(), ReadHeaderTimeout: 10 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err = <-ended:
	case <-ctx.Done():
		err = server.Close()
		if closed := <-ended; !errors.Is(closed, http.ErrServerClosed) {
			err = errors.Join(err, closed)
		}
		err = errors.Join(err, ctx.Err())
	}
	l.stop()
	l.running.Wait()
	return err
}

// loopback refuses an address that others can reach: the page can break things.
func loopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err == nil && localName(host) {
		return nil
	}
	return fmt.Errorf("ladder: -http is %q, want an address of this machine alone, such as 127.0.0.1:8080", addr)
}

func localName(host string) bool {
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return host == "localhost" || err == nil && ip.IsLoopback()
}

func newLive(ctx context.Context, config ladder.Config) (*live, error) {
	l := &live{config: config, ctx: ctx, viewers: map[chan event]struct{}{}, state: state{Mode: "idle"}}
	all := make([]chaos.Fault, len(faults))
	for at, f := range faults {
		all[at] = f.fault
		all[at].Name = f.name
	}
	var err error
	l.injector, err = chaos.New(all, &chaos.Options{Name: "ladder", MaxActive: 10_000})
	if err != nil {
		return nil, err
	}
	l.config.Report = l.report
	l.config.Faults = l.injector.Middleware
	l.config.Done = l.done
	return l, nil
}

// handler serves the page. Requests by other names than those of this machine, and those
// that other sites have a browser make, are refused.
func (l *live) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write(page) // fails only if the browser has left
	})
	mux.HandleFunc("GET /ladder", l.describe)
	mux.HandleFunc("GET /results", func(w http.ResponseWriter, _ *http.Request) {
		l.mu.Lock()
		results := append([]result{}, l.results...)
		l.mu.Unlock()
		respond(w, results)
	})
	mux.HandleFunc("GET /events", l.events)
	mux.HandleFunc("POST /play", func(w http.ResponseWriter, _ *http.Request) { l.play(); respond(w, l.now()) })
	mux.HandleFunc("POST /stop", func(w http.ResponseWriter, _ *http.Request) { l.stop(); respond(w, l.now()) })
	mux.HandleFunc("POST /explore/{rung}", l.explore)
	mux.HandleFunc("POST /with/{on}", func(w http.ResponseWriter, r *http.Request) {
		if !l.explores(w) {
			return
		}
		l.with.Store(r.PathValue("on") == "true")
		l.change(func(s *state) { s.With = l.with.Load() })
		respond(w, l.now())
	})
	mux.HandleFunc("POST /fault/{name}", l.fault)
	guarded := http.NewCrossOriginProtection().Handler(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if !localName(host) { // a name of another that leads here
			http.Error(w, "this page is for this machine alone", http.StatusForbidden)
			return
		}
		if from := r.Header.Get("Sec-Fetch-Site"); r.URL.Path != "/" && from != "" && from != "same-origin" && from != "none" {
			http.Error(w, "this is for the page alone", http.StatusForbidden)
			return
		}
		guarded.ServeHTTP(w, r)
	})
}

// respond writes JSON.
func respond(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(v) // fails only if the browser has left
}

// describe tells the page what there is.
func (l *live) describe(w http.ResponseWriter, _ *http.Request) {
	type one struct {
		Name  string `json:"name"`
		Story string `json:"story"`
		Chain string `json:"chain"`
	}
	type named struct {
		Name  string `json:"name"`
		Title string `json:"title"`
	}
	var told struct {
		Rungs    []one   `json:"rungs"`
		Faults   []named `json:"faults"`
		Duration float64 `json:"duration_s"`
	}
	for _, r := range l.config.Rungs {
		handler, err := r.Handler(true)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		told.Rungs = append(told.Rungs, one{r.Name, r.Story, uprung.Explain(handler)})
	}
	for _, f := range faults {
		told.Faults = append(told.Faults, named{f.name, f.title})
	}
	told.Duration = l.config.Duration.Seconds()
	respond(w, told)
}

// now returns the state.
func (l *live) now() state {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

// change changes the state and tells all pages.
func (l *live) change(f func(*state)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(&l.state)
	l.tell("state", l.state)
}

// tell tells all pages. One that does not read is let go: it asks again, and is told all.
// The caller holds mu.
func (l *live) tell(name string, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		return // of plain structs there is no error
	}
	for viewer := range l.viewers {
		select {
		case viewer <- event{name, data}:
		default:
			delete(l.viewers, viewer)
			close(viewer)
		}
	}
}

// events streams what happens (WHATWG HTML, section 9.2), beginning with the state.
func (l *live) events(w http.ResponseWriter, r *http.Request) {
	viewer := make(chan event, maxEvents)
	l.mu.Lock()
	if len(l.viewers) >= maxViewers {
		l.mu.Unlock()
		http.Error(w, "too many pages are open", http.StatusServiceUnavailable)
		return
	}
	for name, v := range map[string]any{"state": l.state, "results": append([]result{}, l.results...)} {
		if data, err := json.Marshal(v); err == nil {
			viewer <- event{name, data}
		}
	}
	l.viewers[viewer] = struct{}{}
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(l.viewers, viewer)
		l.mu.Unlock()
	}()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	flush := http.NewResponseController(w)
	for {
		if err := flush.Flush(); err != nil {
			return
		}
		select {
		case e, ok := <-viewer:
			if !ok {
				return
			}
			var b bytes.Buffer
			_, _ = fmt.Fprintf(&b, "event: %s\ndata: %s\n\n", e.name, e.data) // of a buffer there is no error
			_ = flush.SetWriteDeadline(time.Now().Add(viewerPatience))        // where there is none, it waits
			if _, err := w.Write(b.Bytes()); err != nil {
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}

// report tells pages of the load.
func (l *live) report(p ladder.Progress) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state.Mode == "playing" && (l.state.Rung != p.Rung.Name || l.state.With != p.With) {
		l.state.Rung, l.state.With = p.Rung.Name, p.With
		l.tell("state", l.state)
	}
	if _, armed := l.injector.Armed(); !armed && l.state.Fault != "" { // it has expired
		l.state.Fault = ""
		l.tell("state", l.state)
	}
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	l.tell("progress", progress{
		Rung: p.Rung.Name, With: p.With, Settling: p.Settling, Offered: p.Offered, Served: p.Served, Refused: p.Refused, Failed: p.Failed,
		P50: ms(p.P50), P99: ms(p.P99), InFlight: p.InFlight,
	})
}

// done tells pages how a rung came out.
func (l *live) done(o ladder.Outcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for at, e := range o.Entries {
		p := &o.Rung.Promises[at]
		l.results = append(l.results, result{Entry: e, Title: p.Title, Shown: [2]string{fmt.Sprintf(p.Format, e.Before), fmt.Sprintf(p.Format, e.After)}})
	}
	l.tell("results", append([]result{}, l.results...))
}

// begin ends what runs and has something else run in its place.
func (l *live) begin(s state, run func(context.Context) error) {
	l.turn.Lock()
	defer l.turn.Unlock()
	l.stop()
	l.running.Wait()
	l.injector.Disarm()
	ctx, cancel := context.WithCancel(l.ctx)
	l.mu.Lock()
	l.cancel = cancel
	l.mu.Unlock()
	l.change(func(now *state) { *now = s })
	l.running.Go(func() {
		defer cancel()
		err := run(ctx)
		l.injector.Disarm()
		l.change(func(now *state) {
			*now = state{Mode: "idle"}
			if err != nil && !errors.Is(err, context.Canceled) {
				now.Error = err.Error()
			}
		})
	})
}

// play climbs all rungs.
func (l *live) play() {
	l.begin(state{Mode: "playing"}, func(ctx context.Context) error {
		l.injector.Disarm()
		l.mu.Lock()
		l.results = nil
		l.tell("results", []result{})
		l.mu.Unlock()
		config := l.config
		config.Faults = nil // what is promised is promised under the faults of the rungs
		_, err := config.Climb(ctx)
		return err
	})
}

// explore runs one rung until something else is to run.
func (l *live) explore(w http.ResponseWriter, r *http.Request) {
	for _, one := range l.config.Rungs {
		if one.Name != r.PathValue("rung") {
			continue
		}
		l.with.Store(false)
		l.begin(state{Mode: "exploring", Rung: one.Name}, func(ctx context.Context) error {
			return l.config.Explore(ctx, one, roundTime, l.with.Load)
		})
		respond(w, l.now())
		return
	}
	http.Error(w, "there is no such rung", http.StatusNotFound)
}

// fault injects a fault, or none.
func (l *live) fault(w http.ResponseWriter, r *http.Request) {
	l.turn.Lock()
	defer l.turn.Unlock()
	if !l.explores(w) {
		return
	}
	name := r.PathValue("name")
	if name == "none" {
		l.injector.Disarm()
		l.change(func(s *state) { s.Fault = "" })
		respond(w, l.now())
		return
	}
	for _, f := range faults {
		if f.name != name {
			continue
		}
		one := f.fault
		one.Name = f.name
		if err := errors.Join(l.injector.SetFaults([]chaos.Fault{one}), l.injector.Arm(faultTime)); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		l.change(func(s *state) { s.Fault = name })
		respond(w, l.now())
		return
	}
	http.Error(w, "there is no such fault", http.StatusNotFound)
}

// explores reports whether there is something to switch or to break, and else says so.
func (l *live) explores(w http.ResponseWriter) bool {
	if l.now().Mode == "exploring" {
		return true
	}
	http.Error(w, "no rung is explored", http.StatusConflict)
	return false
}

// stop ends what runs.
func (l *live) stop() {
	l.mu.Lock()
	cancel := l.cancel
	l.mu.Unlock()
	if cancel != nil {
		cancel()
	}
}
