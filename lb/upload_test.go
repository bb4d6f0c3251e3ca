package lb

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/lb/pick"
)

// swallow reads the body of a request.
var swallow = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })

// post sends a body.
func post(ctx context.Context, c *http.Client, body io.Reader) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://orders/", body)
	if err != nil {
		return err
	}
	resp, err := c.Do(request)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// How long a client takes to send a body says nothing about the endpoint that it goes to.
func TestSlowUploadHarmsNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, swallow, swallow)
		c, b := f.client(t, &Options{Seed: 1, Outlier: Outlier{Slower: 2}})
		for range 20 {
			get(t, c, "http://orders/")
		}
		body, slow := io.Pipe()
		var upload sync.WaitGroup
		upload.Go(func() {
			if err := post(t.Context(), c, body); err != nil {
				t.Error(err)
			}
		})
		at := ""
		for range 30 {
			_, _ = io.WriteString(slow, "x")
			time.Sleep(time.Second)
		}
		for _, e := range b.Stats().Endpoints {
			if e.InFlight == 1 {
				at = e.ID
			}
		}
		share := func() uint64 {
			before := b.Stats().of(t, at).Picked
			for range 1000 {
				get(t, c, "http://orders/")
				time.Sleep(10 * time.Millisecond)
			}
			return b.Stats().of(t, at).Picked - before
		}
		if got := share(); got < 400 || got > 600 {
			t.Errorf("while a body is sent to an endpoint, it gets %d of 1000 requests, want about half", got)
		}
		_ = slow.Close()
		upload.Wait()
		if got := share(); got < 400 || got > 600 {
			t.Errorf("after that it gets %d of 1000 requests, want about half", got)
		}
		for _, n := range b.state.Load().nodes {
			if took := time.Duration(n.outlier.took.Load()); took > time.Second {
				t.Errorf("%s seems to have taken %v to answer", n.ID, took)
			}
		}
	})
}

// An endpoint that has all of a request and does not answer is waited for, from then on.
func TestStallAfterAnUpload(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]func() io.Reader{
		"of known length":   func() io.Reader { return strings.NewReader("body") },
		"of unknown length": func() io.Reader { return io.MultiReader(strings.NewReader("body")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					_, _ = io.Copy(io.Discard, r.Body)
					if r.Method == http.MethodPost {
						<-r.Context().Done()
					}
				}), swallow)
				c, b := f.client(t, &Options{Seed: 1})
				for range 20 {
					get(t, c, "http://orders/")
				}
				ctx, cancel := context.WithTimeout(withPreference(t.Context(), &preference{id: f.addrs[0]}), 10*time.Second)
				defer cancel()
				failed := make(chan error)
				go func() { failed <- post(ctx, c, body()) }()
				time.Sleep(5 * time.Second)
				before := b.Stats().of(t, f.addrs[0]).Picked
				for range 100 {
					get(t, c, "http://orders/")
				}
				if got := b.Stats().of(t, f.addrs[0]).Picked - before; got != 0 {
					t.Errorf("the stalled endpoint got %d of 100 requests, want none", got)
				}
				if err := <-failed; !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("the request ended with %v", err)
				}
				synctest.Wait()
				if got := b.Stats().of(t, f.addrs[0]); got.Failures != 1 || got.InFlight != 0 {
					t.Errorf("stats are %+v, want one failure", got)
				}
			})
		})
	}
}

// Whoever sends a body too slowly runs out of time on his own account.
func TestUploadThatRunsOutOfTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, swallow)
		c, b := f.client(t, nil)
		body, slow := io.Pipe()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		context.AfterFunc(ctx, func() {
			time.Sleep(5 * time.Second)
			_, _ = io.WriteString(slow, "too late")
		})
		if err := post(ctx, c, body); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the request ended with %v", err)
		}
		synctest.Wait()
		if got := b.Stats().of(t, f.addrs[0]); got.Ignored != 1 || got.Failures != 0 || got.InFlight != 0 {
			t.Errorf("stats are %+v, want the request ignored", got)
		}
	})
}

// A response may come before all of the request was sent, and keeps its outcome.
func TestAnswerDuringAnUpload(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).EnableFullDuplex()
			w.WriteHeader(http.StatusInternalServerError)
			_ = http.NewResponseController(w).Flush()
			_, _ = io.Copy(w, r.Body)
		}))
		c, b := f.client(t, nil)
		body, slow := io.Pipe()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://orders/", body)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			_, _ = io.WriteString(slow, "echo")
			_ = slow.Close()
		}()
		echo, err := io.ReadAll(resp.Body)
		if err != nil || string(echo) != "echo" {
			t.Errorf("got %q, %v", echo, err)
		}
		_ = resp.Body.Close()
		synctest.Wait()
		if got := b.Stats().of(t, f.addrs[0]); got.Failures != 1 || got.InFlight != 0 {
			t.Errorf("stats are %+v, want one failure", got)
		}
	})
}

// A body that is sent a second time, over another connection, is watched too.
func TestRewoundBody(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	b := mustNew(t, Addrs("a:80"), nil)
	rt := b.Transport(roundTripper(func(r *http.Request) (*http.Response, error) {
		_ = r.Body.Close()
		again, err := r.GetBody()
		if err != nil {
			return nil, err
		}
		_, err = io.ReadAll(again)
		return nil, err
	}))
	request := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("body"))
	request.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(failingReader{broken}), nil }
	if _, err := rt.RoundTrip(request); !errors.Is(err, broken) {
		t.Errorf("the request ended with %v, want %v", err, broken)
	}
	if got := b.Stats().Endpoints[0]; got.Ignored != 1 {
		t.Errorf("stats are %+v, want the request ignored", got)
	}
	request.GetBody = func() (io.ReadCloser, error) { return nil, broken }
	if _, err := rt.RoundTrip(request); !errors.Is(err, broken) {
		t.Errorf("the request ended with %v, want %v", err, broken)
	}
}

type failingReader struct{ err error }

func (r failingReader) Read([]byte) (int, error) { return 0, r.err }

// counting is a policy that counts who is picked, and how often it is told what.
type counting struct {
	pick.Picker
	taken, done *int
}

func (c counting) Pick(r pick.Request) (pick.Token, bool) {
	*c.taken++
	return c.Picker.Pick(r)
}

func (c counting) Take(endpoint int, now time.Duration) pick.Token {
	*c.taken++
	return c.Picker.Take(endpoint, now)
}

func (c counting) Done(t pick.Token, now time.Duration, outcome uprung.Outcome) {
	*c.done++
	c.Picker.Done(t, now, outcome)
}

// Each token is done once, also where a request has two of them.
func TestUploadIsDoneOnce(t *testing.T) {
	t.Parallel()
	taken, done := 0, 0
	b := mustNew(t, Addrs("a:80"), &Options{Policy: policyFunc(func(endpoints []pick.Endpoint, _ pick.Picker) (pick.Picker, error) {
		p, err := pick.LeastRequest{}.Picker(endpoints, nil)
		return counting{p, &taken, &done}, err
	})})
	rt := b.Transport(roundTripper(func(r *http.Request) (*http.Response, error) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = r.Body.Read(make([]byte, 1))
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("x"))}, nil
	}))
	resp, err := rt.RoundTrip(httptest.NewRequest(http.MethodPost, "/", strings.NewReader("body")))
	if err != nil {
		t.Fatal(err)
	}
	if taken != 2 || done != 1 {
		t.Errorf("after the headers, %d tokens were taken and %d are done, want 2 and 1", taken, done)
	}
	_, _ = resp.Body.Close(), resp.Body.Close()
	if taken != done {
		t.Errorf("in the end, %d tokens were taken and %d are done, want as many", taken, done)
	}
}

// policyFunc is a function that is a policy.
type policyFunc func(endpoints []pick.Endpoint, prev pick.Picker) (pick.Picker, error)

func (f policyFunc) Picker(endpoints []pick.Endpoint, prev pick.Picker) (pick.Picker, error) {
	return f(endpoints, prev)
}
