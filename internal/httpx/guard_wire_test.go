package httpx

import (
	"errors"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung/internal/memnet"
)

// exchange is a server in memory whose handler runs behind a guard that is revoked
// when the test says so.
type exchange struct {
	client   *http.Client
	began    chan struct{} // the handler is about to block
	revoke   chan struct{}
	progress chan Progress
	handler  chan error // what the handler's call that blocks returned
}

// newExchange serves one protocol with a handler that blocks.
func newExchange(t *testing.T, http2 bool, blocks func(w http.ResponseWriter, r *http.Request, began func()) error) *exchange {
	e := &exchange{
		began: make(chan struct{}), revoke: make(chan struct{}),
		progress: make(chan Progress, 1), handler: make(chan error, 1),
	}
	var protocols http.Protocols
	protocols.SetHTTP1(!http2)
	protocols.SetUnencryptedHTTP2(http2)
	listener := memnet.Listen()
	server := &http.Server{Protocols: &protocols, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g := NewGuard(w, r, later)
		in := r.Clone(r.Context())
		in.Body = g.Body()
		go func() {
			e.handler <- blocks(g.Writer(), in, func() { close(e.began) })
			g.End(true)
		}()
		<-e.revoke
		p := g.Revoke()
		g.mu.Lock()
		if g.reading != 0 || g.writing != 0 {
			t.Errorf("%d reading and %d writing calls are in progress after Revoke, want none", g.reading, g.writing)
		}
		g.mu.Unlock()
		e.progress <- p
		if p == Begun {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(http.StatusGatewayTimeout)
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	transport := &http.Transport{DialContext: listener.DialContext, Protocols: &protocols}
	t.Cleanup(transport.CloseIdleConnections)
	e.client = &http.Client{Transport: transport}
	return e
}

func bothInBubbles(t *testing.T, f func(t *testing.T, http2 bool)) {
	t.Helper()
	t.Parallel()
	for _, http2 := range []bool{false, true} {
		t.Run(map[bool]string{false: "HTTP/1", true: "HTTP/2"}[http2], func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { f(t, http2) })
		})
	}
}

// A client that does not read holds up its handler, and not who takes the writer back.
func TestGuardInterruptsWrites(t *testing.T) {
	bothInBubbles(t, func(t *testing.T, http2 bool) {
		e := newExchange(t, http2, func(w http.ResponseWriter, _ *http.Request, began func()) error {
			_, err := w.Write([]byte("begun"))
			began()
			for err == nil {
				_, err = w.Write(make([]byte, 1<<16))
			}
			return err
		})
		resp, err := e.client.Get("http://example.com/")
		if err != nil {
			t.Fatal(err)
		}
		<-e.began
		synctest.Wait() // the handler writes, and nobody reads
		start := time.Now()
		close(e.revoke)
		if got := <-e.progress; got != Begun {
			t.Errorf("Revoke() = %v, want %v", got, Begun)
		}
		if got := <-e.handler; !errors.Is(got, http.ErrHandlerTimeout) {
			t.Errorf("the write in progress = %v, want %v", got, http.ErrHandlerTimeout)
		}
		if took := time.Since(start); took > 0 {
			t.Errorf("it took %v, want none", took)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err == nil {
			t.Error("the client has a whole response, want a truncated one")
		}
	})
}

// A client whose upload is slow holds up its handler, and not the answer.
func TestGuardInterruptsReads(t *testing.T) {
	bothInBubbles(t, func(t *testing.T, http2 bool) {
		e := newExchange(t, http2, func(_ http.ResponseWriter, r *http.Request, began func()) error {
			began()
			_, err := io.Copy(io.Discard, r.Body)
			return err
		})
		body, send := io.Pipe()
		defer func() { _ = send.Close() }()
		go func() { _, _ = send.Write([]byte("the beginning")) }()
		go func() {
			<-e.began
			synctest.Wait()
			close(e.revoke)
		}()
		start := time.Now()
		resp, err := e.client.Post("http://example.com/", "text/plain", body)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != http.StatusGatewayTimeout {
			t.Errorf("status is %d, want 504", resp.StatusCode)
		}
		if took := time.Since(start); took > 0 {
			t.Errorf("the answer took %v, want none", took)
		}
		_ = resp.Body.Close()
		if got := <-e.progress; got != NotBegun {
			t.Errorf("Revoke() = %v, want %v", got, NotBegun)
		}
		if got := <-e.handler; !errors.Is(got, http.ErrHandlerTimeout) {
			t.Errorf("the read in progress = %v, want %v", got, http.ErrHandlerTimeout)
		}
	})
}

// The same once the response has begun. net/http takes the buffers of a connection for
// the next one when a handler panics, and a late read would find them there.
func TestGuardInterruptsReadsOfDuplex(t *testing.T) {
	bothInBubbles(t, func(t *testing.T, http2 bool) {
		e := newExchange(t, http2, func(w http.ResponseWriter, r *http.Request, began func()) error {
			c := http.NewResponseController(w)
			if err := errors.Join(c.EnableFullDuplex(), c.Flush()); err != nil {
				t.Error(err)
			}
			began()
			_, err := io.Copy(io.Discard, r.Body)
			return err
		})
		body, send := io.Pipe()
		defer func() { _ = send.Close() }()
		go func() { _, _ = send.Write([]byte("the beginning")) }()
		resp, err := e.client.Post("http://example.com/", "text/plain", body)
		if err != nil {
			t.Fatal(err)
		}
		<-e.began
		synctest.Wait()
		start := time.Now()
		close(e.revoke)
		if got := <-e.progress; got != Begun {
			t.Errorf("Revoke() = %v, want %v", got, Begun)
		}
		if got := <-e.handler; !errors.Is(got, http.ErrHandlerTimeout) {
			t.Errorf("the read in progress = %v, want %v", got, http.ErrHandlerTimeout)
		}
		if took := time.Since(start); took > 0 {
			t.Errorf("it took %v, want none", took)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err == nil {
			t.Error("the client has a whole response, want a truncated one")
		}
	})
}

// A handler that does not read an upload does not hold up the answer either.
func TestGuardAnswersWithoutTheRestOfTheRequest(t *testing.T) {
	bothInBubbles(t, func(t *testing.T, http2 bool) {
		stay := make(chan struct{})
		e := newExchange(t, http2, func(_ http.ResponseWriter, _ *http.Request, began func()) error {
			began()
			<-stay
			return nil
		})
		defer close(stay)
		body, send := io.Pipe()
		defer func() { _ = send.Close() }()
		go func() { _, _ = send.Write([]byte("the beginning")) }()
		go func() {
			<-e.began
			close(e.revoke)
		}()
		start := time.Now()
		resp, err := e.client.Post("http://example.com/", "text/plain", body)
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); resp.StatusCode != http.StatusGatewayTimeout || took > 0 {
			t.Errorf("status is %d after %v, want 504 at once", resp.StatusCode, took)
		}
		_ = resp.Body.Close()
	})
}
