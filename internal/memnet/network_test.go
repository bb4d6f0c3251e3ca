package memnet

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func dial(t *testing.T, l *Listener) net.Conn {
	t.Helper()
	c, err := l.DialContext(t.Context(), "tcp", "example.com:80")
	if err != nil {
		t.Fatalf("DialContext: %v", err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestListenerAddresses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := Listen()
		client := dial(t, l)
		server, err := l.Accept()
		if err != nil {
			t.Fatalf("Accept: %v", err)
		}
		for _, tt := range []struct {
			what string
			addr net.Addr
			want string
		}{
			{"listener", l.Addr(), "127.0.0.1:8080"},
			{"server, local", server.LocalAddr(), "127.0.0.1:8080"},
			{"server, remote", server.RemoteAddr(), "127.0.0.1:49152"},
			{"client, local", client.LocalAddr(), "127.0.0.1:49152"},
			{"client, remote", client.RemoteAddr(), "127.0.0.1:8080"},
		} {
			if tt.addr.Network() != "tcp" || tt.addr.String() != tt.want {
				t.Errorf("%s is %s %s, want tcp %s", tt.what, tt.addr.Network(), tt.addr, tt.want)
			}
			if _, err := netip.ParseAddrPort(tt.addr.String()); err != nil {
				t.Errorf("%s: %v", tt.what, err)
			}
		}
		if got, want := dial(t, l).LocalAddr().String(), "127.0.0.1:49153"; got != want {
			t.Errorf("second client has address %s, want %s", got, want)
		}
	})
}

func TestListenerClose(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := Listen()
		accepted := dial(t, l)
		server, err := l.Accept()
		if err != nil {
			t.Fatalf("Accept: %v", err)
		}
		waiting := dial(t, l)
		var accepting sync.WaitGroup
		if err := l.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
		accepting.Go(func() {
			if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Accept = %v, want %v", err, net.ErrClosed)
			}
		})
		accepting.Wait()
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("second Close = %v, want %v", err, net.ErrClosed)
		}
		if _, err := l.DialContext(t.Context(), "tcp", "example.com:80"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("DialContext = %v, want %v", err, syscall.ECONNREFUSED)
		}
		if _, err := waiting.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("Write to a connection never accepted = %v, want %v", err, syscall.EPIPE)
		}
		if _, err := accepted.Write([]byte("x")); err != nil {
			t.Errorf("Write to an accepted connection = %v, want nil", err)
		}
		if n, err := server.Read(make([]byte, 2)); n != 1 || err != nil {
			t.Errorf("Read of an accepted connection = %d, %v, want 1, nil", n, err)
		}
	})
}

func TestListenerCloseUnblocks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := Listen()
		var waiting sync.WaitGroup
		waiting.Go(func() {
			if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Accept = %v, want %v", err, net.ErrClosed)
			}
		})
		synctest.Wait()
		_ = l.Close()
		waiting.Wait()

		l = Listen()
		for range backlog {
			dial(t, l)
		}
		waiting.Go(func() {
			if _, err := l.DialContext(t.Context(), "tcp", ""); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("DialContext = %v, want %v", err, syscall.ECONNREFUSED)
			}
		})
		synctest.Wait()
		_ = l.Close()
		waiting.Wait()
	})
}

func TestDialContext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		l := Listen()
		if _, err := l.DialContext(t.Context(), "udp", ""); !errors.As(err, new(net.UnknownNetworkError)) {
			t.Errorf("DialContext to udp = %v, want a net.UnknownNetworkError", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := l.DialContext(ctx, "tcp", ""); !errors.Is(err, context.Canceled) {
			t.Errorf("DialContext = %v, want %v", err, context.Canceled)
		}

		for range backlog {
			dial(t, l)
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		_, err := l.DialContext(ctx, "tcp", "")
		if opErr, ok := errors.AsType[*net.OpError](err); !ok || !opErr.Timeout() {
			t.Errorf("DialContext to a full queue = %v, want a timeout", err)
		}
		if got := time.Since(start); got != time.Minute {
			t.Errorf("DialContext waited %v, want %v", got, time.Minute)
		}
	})
}

func TestNetwork(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var network Network
		first, second := network.Listen(), network.Listen()
		if got, want := second.Addr().String(), "127.0.0.1:8081"; got != want {
			t.Errorf("second listener has address %s, want %s", got, want)
		}
		for _, l := range []*Listener{first, second} {
			client, err := network.DialContext(t.Context(), "tcp", l.Addr().String())
			if err != nil {
				t.Fatalf("DialContext: %v", err)
			}
			server, err := l.Accept()
			if err != nil {
				t.Fatalf("Accept: %v", err)
			}
			if got, want := server.RemoteAddr().String(), client.LocalAddr().String(); got != want {
				t.Errorf("accepted a connection from %s, want %s", got, want)
			}
		}
		_ = first.Close()
		for _, address := range []string{first.Addr().String(), "127.0.0.1:1"} {
			if _, err := network.DialContext(t.Context(), "tcp", address); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("DialContext to %s = %v, want %v", address, err, syscall.ECONNREFUSED)
			}
		}
		if got, want := network.Listen().Addr().String(), "127.0.0.1:8082"; got != want {
			t.Errorf("third listener has address %s, want %s: addresses are not reused", got, want)
		}
	})
}

// No connection is lost between a dial and a Close: it is refused, or accepted,
// or closed.
func TestListenerCloseRace(t *testing.T) {
	t.Parallel()
	for range 200 {
		synctest.Test(t, func(*testing.T) {
			l := Listen()
			var all sync.WaitGroup
			for range 4 {
				all.Go(func() {
					c, err := l.DialContext(context.Background(), "tcp", "")
					if err != nil {
						return
					}
					_, _ = c.Read(make([]byte, 1)) // hangs if nobody has the other end
				})
			}
			all.Go(func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					_ = c.Close()
				}
			})
			all.Go(func() { _ = l.Close() })
			all.Wait()
		})
	}
}
