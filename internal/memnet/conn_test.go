package memnet

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// pair returns a connection's two ends, closed at the end of the test.
func pair(t *testing.T) (client, server *conn) {
	client, server = newConns(loopback(firstClientPort), loopback(firstServerPort))
	t.Cleanup(func() {
		_ = client.Close()
		_ = server.Close()
	})
	return client, server
}

// bubble runs f in a synctest bubble, in parallel with other tests.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, f)
}

func TestConnIntegrity(t *testing.T) {
	bubble(t, func(t *testing.T) {
		client, server := pair(t)
		seed := uint64(1)
		t.Logf("seed %d", seed)
		var echoing sync.WaitGroup
		echoing.Go(func() {
			if _, err := io.Copy(server, struct{ io.Reader }{server}); err != nil {
				t.Errorf("echo: %v", err)
			}
			if err := server.CloseWrite(); err != nil {
				t.Errorf("echo: CloseWrite: %v", err)
			}
		})

		want := make([]byte, 3<<20)
		rng := rand.New(rand.NewPCG(seed, 0))
		for i := range want {
			want[i] = byte(rng.Uint32())
		}
		var writing sync.WaitGroup
		writing.Go(func() {
			for p := want; len(p) > 0; {
				n, err := client.Write(p[:min(len(p), rng.IntN(2*bufferBytes))])
				if err != nil {
					t.Errorf("Write: %v", err)
					return
				}
				p = p[n:]
			}
			if err := client.CloseWrite(); err != nil {
				t.Errorf("CloseWrite: %v", err)
			}
		})
		got, err := io.ReadAll(client)
		if err != nil {
			t.Errorf("ReadAll: %v", err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%d bytes came back, want the %d that were sent", len(got), len(want))
		}
		writing.Wait()
		echoing.Wait()
	})
}

// A stream against the slow obvious one: random writes and reads on one
// goroutine, never so much that they would block.
func TestStreamModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(10) {
		rng := rand.New(rand.NewPCG(seed, 0))
		s := newStream()
		var model []byte
		next := byte(0)
		for range 300 {
			if rng.IntN(2) == 0 {
				p := make([]byte, rng.IntN(bufferBytes-len(model)+1))
				for i := range p {
					p[i] = next
					next++
				}
				if n, err := s.write(p); n != len(p) || err != nil {
					t.Fatalf("seed %d: write of %d bytes = %d, %v", seed, len(p), n, err)
				}
				model = append(model, p...)
			} else if len(model) > 0 {
				p := make([]byte, 1+rng.IntN(bufferBytes))
				n, err := s.read(p)
				if want := min(len(p), len(model)); n != want || err != nil {
					t.Fatalf("seed %d: read = %d, %v, want %d", seed, n, err, want)
				}
				if !slices.Equal(p[:n], model[:n]) {
					t.Fatalf("seed %d: read other bytes than were written", seed)
				}
				model = slices.Clone(model[n:])
			}
			if cap(s.buf) > 2*bufferBytes {
				t.Fatalf("seed %d: buffer of %d bytes, want a bounded one", seed, cap(s.buf))
			}
		}
	}
}

func TestConnWritesAreWhole(t *testing.T) {
	bubble(t, func(t *testing.T) {
		client, server := pair(t)
		const writers, size = 4, 3 * bufferBytes // more than fits, so that writes overlap
		var writing sync.WaitGroup
		for i := range writers {
			writing.Go(func() {
				if n, err := client.Write(bytes.Repeat([]byte{byte(i)}, size)); n != size || err != nil {
					t.Errorf("writer %d: Write = %d, %v", i, n, err)
				}
			})
		}
		for range writers {
			p := make([]byte, size)
			if _, err := io.ReadFull(server, p); err != nil {
				t.Fatalf("ReadFull: %v", err)
			}
			if !bytes.Equal(p, bytes.Repeat(p[:1], size)) {
				t.Error("bytes of two writes are interleaved")
			}
		}
		writing.Wait()
	})
}

func TestConnWriteBlocksWhenFull(t *testing.T) {
	bubble(t, func(t *testing.T) {
		client, server := pair(t)
		if n, err := client.Write(make([]byte, bufferBytes)); n != bufferBytes || err != nil {
			t.Fatalf("Write of the buffer's size = %d, %v", n, err)
		}
		done := make(chan error, 1)
		go func() {
			_, err := client.Write([]byte("x"))
			done <- err
		}()
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("Write to a full buffer returned %v, want it to block", err)
		default:
		}
		if _, err := server.Read(make([]byte, 1)); err != nil {
			t.Fatalf("Read: %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("Write after a Read = %v, want nil", err)
		}
	})
}

// TestConnErrors has one row for each way in which a call fails, both when it
// comes after the cause (the cause is there) and when it was blocked before.
func TestConnErrors(t *testing.T) {
	read := func(c *conn) (int, error) { return c.Read(make([]byte, 1)) }
	write := func(c *conn) (int, error) { return c.Write(make([]byte, bufferBytes+1)) }
	for _, tt := range []struct {
		name  string
		call  func(*conn) (int, error)
		cause func(client, server *conn) error
		want  error
		n     int // bytes of a call that was blocked before the cause
	}{
		{"read, closed", read, func(c, _ *conn) error { return c.Close() }, net.ErrClosed, 0},
		{"write, closed", write, func(c, _ *conn) error { return c.Close() }, net.ErrClosed, bufferBytes},
		{"read, peer closed", read, func(_, s *conn) error { return s.Close() }, io.EOF, 0},
		{"write, peer closed", write, func(_, s *conn) error { return s.Close() }, syscall.EPIPE, bufferBytes},
		{"read, peer finished", read, func(_, s *conn) error { return s.CloseWrite() }, io.EOF, 0},
		{"write, finished", write, func(c, _ *conn) error { return c.CloseWrite() }, syscall.EPIPE, bufferBytes},
		{"read, deadline", read, func(c, _ *conn) error { return c.SetReadDeadline(time.Now()) }, os.ErrDeadlineExceeded, 0},
		{"write, deadline", write, func(c, _ *conn) error { return c.SetWriteDeadline(time.Now()) }, os.ErrDeadlineExceeded, bufferBytes},
		{"read, both deadlines", read, func(c, _ *conn) error { return c.SetDeadline(time.Now()) }, os.ErrDeadlineExceeded, 0},
		{"write, both deadlines", write, func(c, _ *conn) error { return c.SetDeadline(time.Now()) }, os.ErrDeadlineExceeded, bufferBytes},
		{"read, later deadline", read, func(c, _ *conn) error { return c.SetReadDeadline(time.Now().Add(time.Hour)) }, os.ErrDeadlineExceeded, 0},
		{"write, later deadline", write, func(c, _ *conn) error { return c.SetWriteDeadline(time.Now().Add(time.Hour)) }, os.ErrDeadlineExceeded, bufferBytes},
	} {
		check := func(t *testing.T, n, wantN int, err error) {
			t.Helper()
			if n != wantN || !errors.Is(err, tt.want) {
				t.Errorf("got %d, %v, want %d, %v", n, err, wantN, tt.want)
			}
			if errors.Is(err, io.EOF) {
				return
			}
			opErr, ok := errors.AsType[*net.OpError](err)
			if !ok {
				t.Fatalf("error is a %T, want a *net.OpError", err)
			}
			if got, want := opErr.Timeout(), errors.Is(tt.want, os.ErrDeadlineExceeded); got != want {
				t.Errorf("Timeout() = %t, want %t", got, want)
			}
		}
		t.Run(tt.name+", before", func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				client, server := pair(t)
				if err := tt.cause(client, server); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Hour)
				n, err := tt.call(client)
				check(t, n, 0, err)
			})
		})
		t.Run(tt.name+", during", func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				client, server := pair(t)
				var calling sync.WaitGroup
				calling.Go(func() {
					n, err := tt.call(client)
					check(t, n, tt.n, err)
				})
				synctest.Wait()
				if err := tt.cause(client, server); err != nil {
					t.Fatal(err)
				}
				calling.Wait()
			})
		})
	}
}

// A writer that waits for its turn behind another one fails by its own causes.
func TestConnWaitingWriter(t *testing.T) {
	bubble(t, func(t *testing.T) {
		client, _ := pair(t)
		var writing sync.WaitGroup
		for range 3 {
			writing.Go(func() {
				_, err := client.Write(make([]byte, 2*bufferBytes))
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("Write = %v, want %v", err, os.ErrDeadlineExceeded)
				}
			})
		}
		synctest.Wait()
		if err := client.SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		writing.Wait()
	})
}

func TestConnDeadlineIsExactAndMovable(t *testing.T) {
	bubble(t, func(t *testing.T) {
		client, server := pair(t)
		start := time.Now()
		set := func(d time.Duration) {
			t.Helper()
			var at time.Time
			if d != 0 {
				at = start.Add(d)
			}
			if err := client.SetReadDeadline(at); err != nil {
				t.Fatal(err)
			}
		}
		set(time.Second)
		go func() {
			time.Sleep(500 * time.Millisecond)
			set(3 * time.Second) // a deadline moves for the call in progress too
		}()
		if _, err := client.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("Read = %v, want %v", err, os.ErrDeadlineExceeded)
		}
		if got, want := time.Since(start), 3*time.Second; got != want {
			t.Errorf("Read failed after %v, want %v", got, want)
		}

		if _, err := server.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Read of waiting bytes, too late = %v, want %v", err, os.ErrDeadlineExceeded)
		}
		set(0)
		if n, err := client.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Errorf("Read without a deadline = %d, %v, want 1, nil", n, err)
		}
	})
}

func TestConnHalfClose(t *testing.T) {
	bubble(t, func(t *testing.T) {
		client, server := pair(t)
		if _, err := io.WriteString(client, "question"); err != nil {
			t.Fatal(err)
		}
		if err := client.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(server)
		if string(got) != "question" || err != nil {
			t.Errorf("server read %q, %v, want %q", got, err, "question")
		}
		if _, err := io.WriteString(server, "answer"); err != nil {
			t.Fatal(err)
		}
		if err := server.Close(); err != nil {
			t.Fatal(err)
		}
		got, err = io.ReadAll(client)
		if string(got) != "answer" || err != nil {
			t.Errorf("client read %q, %v, want %q", got, err, "answer")
		}
	})
}

func TestConnClosed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		client, _ := pair(t)
		if err := client.SetDeadline(time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if err := client.Close(); err != nil {
			t.Fatal(err)
		}
		for name, err := range map[string]error{
			"Close":       client.Close(),
			"CloseWrite":  client.CloseWrite(),
			"SetDeadline": client.SetDeadline(time.Now()),
		} {
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s of a closed connection = %v, want %v", name, err, net.ErrClosed)
			}
		}
	})
}

func TestConnEmptyCalls(t *testing.T) {
	bubble(t, func(t *testing.T) {
		client, _ := pair(t)
		if n, err := client.Read(nil); n != 0 || err != nil {
			t.Errorf("Read(nil) = %d, %v, want 0, nil", n, err)
		}
		if n, err := client.Write(nil); n != 0 || err != nil {
			t.Errorf("Write(nil) = %d, %v, want 0, nil", n, err)
		}
	})
}

// Everything at once, for the race detector. It ends because both ends close.
func TestConnStress(t *testing.T) {
	bubble(t, func(t *testing.T) {
		client, server := pair(t)
		var all sync.WaitGroup
		for _, c := range []*conn{client, server} {
			for range 2 {
				all.Go(func() {
					for {
						if _, err := c.Read(make([]byte, 1000)); errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) {
							return
						}
					}
				})
				all.Go(func() {
					for {
						if _, err := c.Write(make([]byte, 3000)); errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.EPIPE) {
							return
						}
					}
				})
			}
			all.Go(func() {
				for i := range 100 {
					_ = c.SetDeadline(time.Now().Add(time.Duration(i%3) * time.Millisecond)) // closed at some point
				}
				_ = c.SetDeadline(time.Time{})
			})
		}
		for range 50 {
			_, _ = client.LocalAddr(), server.RemoteAddr()
		}
		all.Go(func() {
			_ = client.CloseWrite()
			_ = server.Close()
			_ = client.Close()
		})
		all.Wait()
	})
}
