package httpx

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// serve starts a real server for HTTP/1.1 or HTTP/2.
func serve(t *testing.T, http2 bool, handler http.Handler) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // superfluous WriteHeader calls are meant
	server.EnableHTTP2 = http2
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

// protocols runs f as a subtest for both protocols.
func protocols(t *testing.T, f func(t *testing.T, http2 bool)) {
	t.Helper()
	t.Parallel()
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("HTTP/%d", map[bool]int{false: 1, true: 2}[http2]), func(t *testing.T) {
			t.Parallel()
			f(t, http2)
		})
	}
}

// answer is a response as a client received it.
type answer struct {
	status int
	header http.Header
	length int64 // Content-Length
	body   string
}

func fetch(t *testing.T, server *httptest.Server, method string) (answer, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := server.Client().Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, resp.ContentLength, string(body)}, err
}

func TestRealOptionalMethods(t *testing.T) {
	protocols(t, func(t *testing.T, http2 bool) {
		server := serve(t, http2, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			o, _ := Observe(w, nil)
			if got, want := methods(o), methods(w); got != want {
				t.Errorf("observed writer has %04b, want %04b", got, want)
			}
			if want := hasFlush | map[bool]int{false: hasHijack | hasReadFrom, true: hasPush}[http2]; methods(w) != want {
				t.Errorf("net/http has %04b, want %04b", methods(w), want)
			}
			c := http.NewResponseController(o)
			for name, err := range map[string]error{
				"SetReadDeadline":  c.SetReadDeadline(time.Now().Add(time.Minute)),
				"SetWriteDeadline": c.SetWriteDeadline(time.Now().Add(time.Minute)),
				"EnableFullDuplex": c.EnableFullDuplex(),
				"Flush":            c.Flush(),
			} {
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}))
		if _, err := fetch(t, server, http.MethodGet); err != nil {
			t.Error(err)
		}
	})
}

// TestRealModel has the client as the model: whatever a handler does to the
// observed writer, in any order, status and length are what a client receives,
// and onHeaders is in time to edit the headers.
func TestRealModel(t *testing.T) {
	protocols(t, func(t *testing.T, http2 bool) {
		var got, outer []Response // of one request after the other
		rng := rand.New(rand.NewPCG(0, 0))
		var script []string
		handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for range rng.IntN(6) {
				script = append(script, randomStep(rng, w))
			}
		})
		server := serve(t, http2, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			inner := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				Serve(handler, w, r,
					func(status int) { w.Header().Set("X-Status", strconv.Itoa(status)) },
					func(resp Response) { got = append(got, resp) })
			})
			Serve(inner, w, r, nil, func(resp Response) { outer = append(outer, resp) })
		}))
		for seed := range uint64(300) {
			rng = rand.New(rand.NewPCG(seed, 0))
			got, outer, script = nil, nil, nil
			client, err := fetch(t, server, http.MethodGet)
			if err != nil {
				t.Fatalf("seed %d: %v: %v", seed, script, err)
			}
			if len(got) != 1 || len(outer) != 1 {
				t.Fatalf("seed %d: %d and %d outcomes, want 1 and 1", seed, len(got), len(outer))
			}
			if got[0].Status != client.status || got[0].Bytes != int64(len(client.body)) {
				t.Errorf("seed %d: %v: observed status %d and %d bytes, the client got %d and %d",
					seed, script, got[0].Status, got[0].Bytes, client.status, len(client.body))
			}
			if header, want := client.header.Get("X-Status"), strconv.Itoa(client.status); header != want {
				t.Errorf("seed %d: %v: X-Status is %q, want %q", seed, script, header, want)
			}
			if got[0].Err != nil || got[0].Aborted || got[0].Hijacked || got[0].HeadersAt.IsZero() {
				t.Errorf("seed %d: %v: %+v, want no error and a time", seed, script, got[0])
			}
			if outer[0].Status != got[0].Status || outer[0].Bytes != got[0].Bytes {
				t.Errorf("seed %d: %v: outer observation is %+v, want %+v", seed, script, outer[0], got[0])
			}
		}
	})
}

// randomStep does something with w and says what.
func randomStep(rng *rand.Rand, w http.ResponseWriter) string {
	content := strings.Repeat("x", []int{0, 1, 100, 512, 5000}[rng.IntN(5)])
	switch rng.IntN(7) {
	case 0:
		status := []int{103, 200, 201, 404, 500}[rng.IntN(5)]
		w.WriteHeader(status)
		return fmt.Sprint("WriteHeader ", status)
	case 1:
		_, _ = w.Write([]byte(content))
		return fmt.Sprint("Write ", len(content))
	case 2:
		_, _ = io.WriteString(w, content)
		return fmt.Sprint("WriteString ", len(content))
	case 3:
		_, _ = io.Copy(w, reader(content))
		return fmt.Sprint("Copy ", len(content))
	case 4:
		_, _ = io.Copy(w, io.MultiReader(reader(content), iotest.ErrReader(errors.New("broken"))))
		return fmt.Sprint("broken Copy ", len(content))
	case 5:
		_ = http.NewResponseController(w).Flush()
		return "Flush"
	default:
		w.Header().Set("X-Other", "value")
		return "Header"
	}
}

func TestRealHead(t *testing.T) {
	protocols(t, func(t *testing.T, http2 bool) {
		got := make(chan Response, 1)
		server := serve(t, http2, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			Serve(http.NotFoundHandler(), w, r, nil, func(resp Response) { got <- resp })
		}))
		client, err := fetch(t, server, http.MethodHead)
		if err != nil || client.status != 404 || client.body != "" {
			t.Errorf("client got %+v, %v, want 404 and no body", client, err)
		}
		if resp := <-got; resp.Status != 404 || resp.Err != nil {
			t.Errorf("observed %+v, want status 404", resp)
		}
	})
}

// Files still go the way of http.ServeContent: their descriptor reaches net/http.
func TestRealFile(t *testing.T) {
	protocols(t, func(t *testing.T, http2 bool) {
		name := filepath.Join(t.TempDir(), "file.txt")
		content := bytes.Repeat([]byte("0123456789abcdef"), 1<<14)
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
		got := make(chan Response, 1)
		files := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, name) })
		server := serve(t, http2, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			Serve(files, w, r, nil, func(resp Response) { got <- resp })
		}))
		client, err := fetch(t, server, http.MethodGet)
		if err != nil || client.body != string(content) {
			t.Errorf("got %d bytes, %v, want the %d of the file", len(client.body), err, len(content))
		}
		if resp := <-got; resp.Status != 200 || resp.Bytes != int64(len(content)) {
			t.Errorf("observed %+v, want status 200 and %d bytes", resp, len(content))
		}
	})
}

func TestReadFromKeepsDescriptor(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "file.txt")
	if err := os.WriteFile(name, bytes.Repeat([]byte("x"), 3*probeBytes), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		wrap func(*os.File) io.Reader
	}{
		{"file", func(f *os.File) io.Reader { return f }},
		{"limited file", func(f *os.File) io.Reader { return io.LimitReader(f, 3*probeBytes) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			file, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = file.Close() }()
			below := &sources{fake: newFake()}
			w, o := Observe(below, nil)
			src := tt.wrap(file)
			if n, err := w.(io.ReaderFrom).ReadFrom(src); n != 3*probeBytes || err != nil {
				t.Errorf("ReadFrom = %d, %v, want %d, nil", n, err, 3*probeBytes)
			}
			if len(below.got) != 1 || below.got[0] != src {
				t.Errorf("writer below got %v, want the source itself", below.got)
			}
			if got := o.End(true).Bytes; got != 3*probeBytes {
				t.Errorf("counted %d bytes, want %d", got, 3*probeBytes)
			}
		})
	}
}

// sources notes the sources of ReadFrom.
type sources struct {
	*fake
	got []io.Reader
}

func (s *sources) ReadFrom(r io.Reader) (int64, error) {
	s.got = append(s.got, r)
	return s.fake.ReadFrom(r)
}

// A client that goes away shows as an error, sooner or later.
func TestRealClientGone(t *testing.T) {
	protocols(t, func(t *testing.T, http2 bool) {
		got := make(chan Response, 1)
		endless := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			chunk := make([]byte, 32<<10)
			for {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		})
		server := serve(t, http2, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			Serve(endless, w, r, nil, func(resp Response) { got <- resp })
		}))
		resp, err := server.Client().Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp := <-got; resp.Status != 200 || resp.Err == nil || resp.Aborted {
			t.Errorf("observed %+v, want status 200 and an error", resp)
		}
	})
}

func TestRealAbort(t *testing.T) {
	protocols(t, func(t *testing.T, http2 bool) {
		got := make(chan Response, 1)
		abort := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "half of it")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		})
		server := serve(t, http2, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			Serve(abort, w, r, nil, func(resp Response) { got <- resp })
		}))
		if client, err := fetch(t, server, http.MethodGet); err == nil {
			t.Errorf("client got all of %+v, want an error", client)
		}
		if resp := <-got; resp.Status != 200 || resp.Bytes != 10 || !resp.Aborted {
			t.Errorf("observed %+v, want status 200, 10 bytes, aborted", resp)
		}
	})
}

func TestRealHijack(t *testing.T) {
	t.Parallel()
	got := make(chan Response, 1)
	hijack := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Errorf("Hijack: %v", err)
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = rw.WriteString("HTTP/1.1 418 I'm a teapot\r\nContent-Length: 3\r\nConnection: close\r\n\r\nown")
		_ = rw.Flush()
	})
	server := serve(t, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		Serve(hijack, w, r, nil, func(resp Response) { got <- resp })
	}))
	client, err := fetch(t, server, http.MethodGet)
	if err != nil || client.status != http.StatusTeapot || client.body != "own" {
		t.Errorf("client got %+v, %v, want what was written to the connection", client, err)
	}
	if resp := <-got; resp.Status != 101 || !resp.Hijacked || resp.Bytes != 0 {
		t.Errorf("observed %+v, want status 101, hijacked, no bytes", resp)
	}
}

func TestRealInformational(t *testing.T) {
	protocols(t, func(t *testing.T, http2 bool) {
		var observed []int
		hints := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", "</style.css>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusAccepted)
		})
		server := serve(t, http2, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			Serve(hints, w, r, func(status int) { observed = append(observed, status) }, nil)
		}))
		var informational []int
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(code int, _ textproto.MIMEHeader) error {
				informational = append(informational, code)
				return nil
			},
		})
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if want := []int{103}; !slices.Equal(informational, want) || resp.StatusCode != http.StatusAccepted {
			t.Errorf("client got %v and %d, want %v and 202", informational, resp.StatusCode, want)
		}
		if want := []int{202}; !slices.Equal(observed, want) {
			t.Errorf("onHeaders had %v, want %v", observed, want)
		}
	})
}
