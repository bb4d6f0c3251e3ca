//go:build linux

package lb

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"
)

const (
	eventsPath = "/events"
	eventEvery = 100 * time.Millisecond
	event      = "data: here\n\n"
)

// serveEvents sends an event from time to time for as long as the client reads.
func serveEvents(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	ticker := time.NewTicker(eventEvery)
	defer ticker.Stop()
	for {
		_, err := io.WriteString(w, event)
		if errors.Join(err, http.NewResponseController(w).Flush()) != nil {
			return
		}
		select {
		case <-ticker.C:
		case <-r.Context().Done():
			return
		}
	}
}

// stream is a response of server-sent events that stays open.
type stream struct {
	cancel context.CancelFunc
	ended  chan struct{}

	// Once ended is closed.
	events int
	err    error // that of the end
}

// openStream opens a stream.
func openStream(tb testing.TB, c *http.Client) *stream {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := &stream{cancel: cancel, ended: make(chan struct{})}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://orders"+eventsPath, nil)
	if err != nil {
		tb.Fatal(err)
	}
	resp, err := c.Do(r)
	if err != nil {
		cancel()
		tb.Fatal(err)
	}
	go func() {
		defer close(s.ended)
		defer func() { _ = resp.Body.Close() }()
		lines := bufio.NewReader(resp.Body)
		for s.err == nil {
			var line string
			if line, s.err = lines.ReadString('\n'); line == "\n" {
				s.events++
			}
		}
	}()
	return s
}

// close ends the stream, which must have been well for some time.
func (s *stream) close(tb testing.TB, lasted time.Duration) {
	tb.Helper()
	s.cancel()
	<-s.ended
	if !errors.Is(s.err, context.Canceled) {
		tb.Errorf("a stream ended by itself: %v", s.err)
	}
	if want := int(lasted / eventEvery / 2); s.events < want {
		tb.Errorf("a stream of %v had %d events, want %d at least", lasted, s.events, want)
	}
}
