package middlewaretest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// protocol is the value of Failure.Protocol.
type protocol string

const (
	http1  protocol = "HTTP/1.1"
	http2  protocol = "HTTP/2"
	h2c    protocol = "h2c"
	noWire protocol = ""
)

func everyProtocol() []protocol { return []protocol{http1, http2, h2c} }
func onlyHTTP1() []protocol     { return []protocol{http1} }
func withoutWire() []protocol   { return []protocol{noWire} }

// probe is one run of one check over one protocol: its servers, its clients, its
// deadline, and the first thing that went wrong. Its context ends with its time,
// or when it is stopped.
type probe struct {
	*settings
	check    check
	protocol protocol
	patience time.Duration   // after which ctx ends
	ctx      context.Context //nolint:containedctx // a probe is one call, and ends when it returns
	cancel   context.CancelFunc
	log      serverLog
	serving  atomic.Int64 // handlers that have not returned
	requests atomic.Int64 // requests made, for a URL of its own each
	reached  atomic.Int64 // calls of the kit's own handlers or bases through the middleware
	leftOut  *event       // a middleware has returned without such a call

	mu       sync.Mutex
	failure  *Failure // guarded by mu
	fallback *Failure // guarded by mu; counts if there is no failure
	closed   bool     // guarded by mu
	closers  []func() // guarded by mu
}

// report notes what is wrong. The first report of a probe counts: what follows
// is a consequence of it, or of giving up.
func (p *probe) report(want, got string, args ...any) {
	p.note(&p.failure, want, got, args...)
}

// reportError notes an error that a response or a body ended in. If the cause is
// that the probe's time is over, somebody else may say better what was missing.
func (p *probe) reportError(want string, err error) {
	if p.ctx.Err() != nil {
		p.note(&p.fallback, want, "error: %v", err)
	} else {
		p.note(&p.failure, want, "error: %v", err)
	}
}

func (p *probe) note(to **Failure, want, got string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if *to != nil || p.closed {
		return
	}
	*to = &Failure{
		Check:    p.check.name,
		Protocol: string(p.protocol),
		Got:      fmt.Sprintf(got, args...),
		Want:     want,
		Source:   p.check.source,
	}
}

func (p *probe) result() *Failure {
	p.mu.Lock()
	defer p.mu.Unlock()
	return cmp.Or(p.failure, p.fallback)
}

// await waits for what has to happen now, and reports its absence as got after
// the probe's time. It does not wait for what a handler would do that the
// middleware has left out: whoever sent the request reports that.
func (p *probe) await(e *event, want, got string) bool {
	select {
	case <-e.done():
		return true
	case <-p.leftOut.done():
	case <-p.ctx.Done():
	}
	select {
	case <-e.done():
		return true
	case <-p.leftOut.done():
		return false
	default:
		p.report(want, "%s after %v", got, p.patience)
		return false
	}
}

// eventually waits until a condition holds that nothing signals.
func (p *probe) eventually(condition func() bool) bool {
	ctx, cancel := context.WithTimeout(context.Background(), p.wait)
	defer cancel()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for !condition() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return condition()
		}
	}
	return true
}

// idle waits until no handler runs, and reports whether that is so.
func (p *probe) idle() bool {
	return p.eventually(func() bool { return p.serving.Load() == 0 })
}

// settle waits until all handlers have returned.
func (p *probe) settle() {
	if !p.idle() {
		p.report("handlers that return once their requests have ended", "%d that run on", p.serving.Load())
	}
}

// quiet reports lines in the server's log, once all handlers have returned.
func (p *probe) quiet() {
	p.settle()
	if text := p.log.String(); text != "" {
		line, _, _ := strings.Cut(text, "\n")
		p.report("an empty server log (http.Server.ErrorLog)", "the line %q", line)
	}
}

// shutdown ends everything that the probe began. What fails because of it, or
// later, is not reported.
func (p *probe) shutdown() {
	if p.ctx.Err() != nil {
		p.idle() // handlers that have waited in vain may say for what
	}
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.stop()
}

// stop closes servers and clients and waits for the handlers. It may be called
// again.
func (p *probe) stop() {
	p.cancel()
	p.mu.Lock()
	closers := p.closers
	p.closers = nil
	p.mu.Unlock()
	for _, c := range closers {
		c()
	}
	p.idle()
}

func (p *probe) onStop(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closers = append(p.closers, f)
}

// guard serves a handler behind the middleware under test.
func (p *probe) guard(handler http.HandlerFunc) *site {
	return p.start(p.apply(p.middleware, handler))
}

// refuse serves a handler that must not be called behind the middleware that
// refuses.
func (p *probe) refuse() *site {
	return p.start(p.apply(p.refusing, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
}

func (p *probe) apply(middleware func(http.Handler) http.Handler, handler http.Handler) http.Handler {
	handler = p.counted(handler)
	if guarded := middleware(handler); guarded != nil {
		return guarded
	}
	p.report("a handler from the middleware", "a nil http.Handler")
	return handler
}

// site is a server on a loopback address with a client of its own. Both speak
// one protocol only.
type site struct {
	*probe
	url       string
	transport *http.Transport
}

func (p *probe) start(handler http.Handler) *site {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(fmt.Sprintf("middlewaretest: no loopback listener: %v", err))
	}
	protocols := new(http.Protocols)
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p.serving.Add(1)
			defer p.serving.Add(-1)
			before := p.reached.Load()
			defer func() {
				if p.reached.Load() == before {
					p.leftOut.set()
				}
			}()
			handler.ServeHTTP(w, r)
		}),
		ErrorLog:  log.New(&p.log, "", 0),
		Protocols: protocols,
	}
	transport := &http.Transport{
		Protocols:             protocols,
		DisableCompression:    true,
		ExpectContinueTimeout: p.wait, // the server decides, not the clock
	}
	scheme := "http"
	switch p.protocol {
	case http2:
		protocols.SetHTTP2(true)
		scheme = "https"
		server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{p.certificate}}
		transport.TLSClientConfig = &tls.Config{
			RootCAs:          p.roots,
			CurvePreferences: []tls.CurveID{tls.X25519}, // the cheapest: there is nothing to protect
		}
		go func() { _ = server.ServeTLS(listener, "", "") }()
	case h2c:
		protocols.SetUnencryptedHTTP2(true)
		go func() { _ = server.Serve(listener) }()
	default:
		protocols.SetHTTP1(true)
		go func() { _ = server.Serve(listener) }()
	}
	p.onStop(func() {
		_ = server.Close()
		_ = listener.Close() // in case Serve has not begun
		transport.CloseIdleConnections()
	})
	return &site{probe: p, url: scheme + "://" + listener.Addr().String(), transport: transport}
}

// request makes a request with a URL that no other request of the probe has, so
// that no middleware can answer it from an earlier one.
func (s *site) request(method string, body io.Reader) *http.Request {
	url := fmt.Sprintf("%s/middlewaretest/%s/%d", s.url, s.check.name, s.requests.Add(1))
	return s.probe.request(method, url, body)
}

func (p *probe) request(method, url string, body io.Reader) *http.Request {
	req, err := http.NewRequestWithContext(p.ctx, method, url, body)
	if err != nil {
		panic(fmt.Sprintf("middlewaretest: %v", err))
	}
	if p.decorate != nil {
		p.decorate(req)
	}
	return req
}

// answer is a response that has arrived in full; its Body is closed.
type answer struct {
	*http.Response
	body []byte
}

// open sends a request and returns when the response's header has arrived. It
// reports an error and returns nil then. Like try, it reports a request that has
// not reached the handler.
func (s *site) open(req *http.Request) *http.Response {
	before := s.reached.Load()
	res, err := s.transport.RoundTrip(req)
	s.demandReach(before, res, err)
	if err != nil {
		s.reportError("a response", err)
		return nil
	}
	return res
}

// try sends a request and reads the whole response. It reports a request that
// has not reached the handler, and leaves an error to its caller.
func (s *site) try(req *http.Request) (*answer, error) {
	before := s.reached.Load()
	res, err := s.transport.RoundTrip(req)
	if err != nil {
		s.demandReach(before, nil, err)
		return nil, err
	}
	a, err := readAnswer(res)
	s.demandReach(before, res, nil)
	return a, err
}

func readAnswer(res *http.Response) (*answer, error) {
	body, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil {
		return nil, err
	}
	return &answer{Response: res, body: body}, nil
}

// exchange is try that reports an error and returns nil then.
func (s *site) exchange(req *http.Request) *answer {
	a, err := s.try(req)
	if err != nil {
		s.reportError("a complete response", err)
		return nil
	}
	return a
}

func (s *site) get() *answer { return s.exchange(s.request(http.MethodGet, nil)) }

// expect reports an answer that differs from a status and a body.
func (p *probe) expect(a *answer, status int, body string) {
	if a == nil {
		return
	}
	if a.StatusCode != status {
		p.report(fmt.Sprintf("status %d", status), "status %d", a.StatusCode)
	}
	p.expectBytes(a.body, []byte(body))
}

func (p *probe) expectBytes(got, want []byte) {
	if bytes.Equal(got, want) {
		return
	}
	if len(want) < 100 && len(got) < 100 {
		p.report(fmt.Sprintf("the body %q", want), "the body %q", got)
		return
	}
	i := 0
	for i < min(len(got), len(want)) && got[i] == want[i] {
		i++
	}
	p.report(fmt.Sprintf("the body of %d bytes unaltered", len(want)), "%d bytes, which differ from byte %d on", len(got), i)
}

// event is something that happens once, or several times of which the first
// counts.
type event struct {
	once sync.Once
	ch   chan struct{}
}

func newEvent() *event                 { return &event{ch: make(chan struct{})} }
func (e *event) set()                  { e.once.Do(func() { close(e.ch) }) }
func (e *event) done() <-chan struct{} { return e.ch }

// serverLog is what a server writes to its ErrorLog.
type serverLog struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (l *serverLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *serverLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// pattern returns at least n bytes in which a lost, repeated or moved block
// shows: a count of four-byte words.
func pattern(n int) []byte {
	b := make([]byte, 0, n+3)
	for word := uint32(0); len(b) < n; word++ {
		b = binary.BigEndian.AppendUint32(b, word)
	}
	return b
}

// selfSigned makes a certificate for the loopback address and a pool that
// trusts it.
func selfSigned() (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(fmt.Sprintf("middlewaretest: %v", err))
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(fmt.Sprintf("middlewaretest: %v", err))
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(fmt.Sprintf("middlewaretest: %v", err))
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}
