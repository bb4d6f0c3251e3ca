package lb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/lb/pick"
)

// An endpoint that was ejected gets its share by the curve too when it is back.
func TestTrap16RecoveredEndpoint(t *testing.T) {
	t.Parallel()
	for name, policy := range map[string]pick.Policy{"AgeEWMA": nil, "PowerOfTwo": pick.PowerOfTwo{}, "RoundRobin": pick.RoundRobin{}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := mustNew(t, Static(zoned(0, "n", 10)), &Options{Policy: policy, Seed: 1})
				choices(t, b, 1000, uprung.Success)
				n := b.state.Load().nodes[3]
				for range 5 {
					if n.outlier.ended(uprung.Failure, b.o.Outlier.Consecutive) {
						b.failedInRow(n, b.now())
					}
				}
				if got := choices(t, b, 1000, uprung.Success); got[n.ID] != 0 {
					t.Fatalf("picked %v, want %s to be out", got, n.ID)
				}
				time.Sleep(b.o.Outlier.Ejection)
				getsItsShareSlowly(t, b, n.ID, 10)
			})
		})
	}
}

// Once new endpoints are in use, no request that begins goes to an old one.
func TestTrap17NoPickAfterAnUpdate(t *testing.T) {
	t.Parallel()
	r := &changing{endpoints: Addrs("0:80", "0:81")}
	b := mustNew(t, r, nil)
	request := httptest.NewRequest(http.MethodGet, "/", nil)
	var mu sync.RWMutex // held to write while the endpoints change hands
	generation := "0"
	var workers sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		workers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				mu.RLock()
				least := generation
				mu.RUnlock()
				e := &exchange{b: b, request: request}
				if err := e.choose(nil); err != nil {
					t.Error(err)
					return
				}
				if got, _, _ := net.SplitHostPort(e.node.Addr); len(got) < len(least) || len(got) == len(least) && got < least {
					t.Errorf("picked %s after %s was in use", e.node.Addr, least)
				}
				e.end(b.now(), uprung.Success)
			}
		})
	}
	for i := range 200 {
		next := fmt.Sprint(i + 1)
		r.set(nil, Addrs(next+":80", next+":81")...)
		if err := b.resolve(t.Context(), false); err != nil {
			t.Error(err)
		}
		mu.Lock()
		generation = next
		mu.Unlock()
	}
	close(stop)
	workers.Wait()
}

// Also what is wrapped in other errors is taken for what it is (errors.Is has its
// arguments in the right order).
func TestTrap24WrappedErrors(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		wrapped := func(err error) error {
			return fmt.Errorf("client: %w", &url.Error{Op: "Get", URL: "http://orders/", Err: err})
		}
		for _, tt := range []struct {
			err  error
			want uprung.Outcome
		}{
			{context.Canceled, uprung.Ignored},
			{&uprung.Rejection{Kind: uprung.KindBreaker, Reason: errors.New("open")}, uprung.Ignored},
			{&net.OpError{Op: "dial", Err: errors.New("connection refused")}, uprung.Failure},
			{io.ErrUnexpectedEOF, uprung.Failure},
			{context.DeadlineExceeded, uprung.Failure}, // not of this request's context
			{uprung.ErrAttemptTimeout, uprung.Failure},
		} {
			b := mustNew(t, Addrs("a:80"), nil)
			rt := b.Transport(roundTripper(func(*http.Request) (*http.Response, error) { return nil, wrapped(tt.err) }))
			if _, err := rt.RoundTrip(httptest.NewRequest(http.MethodGet, "http://orders/", nil)); !errors.Is(err, tt.err) {
				t.Errorf("the request ended with %v, want %v", err, tt.err)
			}
			s := b.Stats().of(t, "a:80")
			if got := map[uprung.Outcome]uint64{uprung.Ignored: s.Ignored, uprung.Failure: s.Failures}; got[tt.want] != 1 || s.InFlight != 0 {
				t.Errorf("%v: stats are %+v, want it to be %v", tt.err, s, tt.want)
			}
		}
	})
}
