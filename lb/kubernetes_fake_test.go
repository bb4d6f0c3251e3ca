package lb

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/uprung/uprung/internal/memnet"
)

// cluster is an API server of Kubernetes, as far as clients of EndpointSlices in the
// namespace shop can tell: lists in pages of one version, watches from a version with
// bookmarks, versions that are forgotten, tokens, and all that can go wrong.
type cluster struct {
	account string // the directory of a service account that is allowed
	ca      []byte

	mu        sync.Mutex
	token     string
	version   int
	slices    map[string]stored // by name
	history   []stored
	forgotten int                // versions below are not known any more
	byStatus  bool               // how that is told: by the status, or by an event
	pages     map[string]listing // what is left, by continue token
	changed   chan struct{}      // closed by the next change
	cut       chan struct{}      // closed to cut all watches off
	down      bool               // connections are refused
	faults    map[string][]http.HandlerFunc
	requests  []string
	listener  *memnet.Listener
}

// stored is a slice, or what became of it.
type stored struct {
	version             int
	event, service, doc string
}

// listing is a list in progress.
type listing struct {
	version int
	docs    []string
}

// authority returns a new certificate authority, and a certificate by it for a server.
func authority(tb testing.TB) (ca []byte, server tls.Certificate) {
	tb.Helper()
	keep := func(err error) {
		if err != nil {
			tb.Fatal(err)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	keep(err)
	// Valid at the time of a bubble, and now.
	from, to := time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kubernetes"}, NotBefore: from, NotAfter: to,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, root, root, &key.PublicKey, key)
	keep(err)
	serverKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	keep(err)
	leaf, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "kube-apiserver"}, NotBefore: from, NotAfter: to,
		DNSNames: []string{"kubernetes.default.svc"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
	}, root, &serverKey.PublicKey, key)
	keep(err)
	ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return ca, tls.Certificate{Certificate: [][]byte{leaf}, PrivateKey: serverKey}
}

// newCluster starts an API server in memory, or at a listener.
func newCluster(tb testing.TB, at net.Listener) *cluster {
	tb.Helper()
	ca, certificate := authority(tb)
	c := &cluster{
		account: tb.TempDir(), ca: ca, token: "secret-1", version: 100, slices: map[string]stored{}, pages: map[string]listing{},
		changed: make(chan struct{}), cut: make(chan struct{}), faults: map[string][]http.HandlerFunc{},
	}
	c.write(tb, "token", c.token+"\n")
	c.write(tb, "ca.crt", string(ca))
	c.write(tb, "namespace", "shop")
	if at == nil {
		c.listener = memnet.Listen()
		at = c.listener
	}
	server := &http.Server{
		Handler: http.HandlerFunc(c.serve), ErrorLog: log.New(io.Discard, "", 0),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}},
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.ServeTLS(at, "", "") // ends with Close
	}()
	tb.Cleanup(func() {
		_ = server.Close()
		<-served
	})
	return c
}

// write replaces a file of the service account, as the kubelet does.
func (c *cluster) write(tb testing.TB, name, content string) {
	tb.Helper()
	temporary := filepath.Join(c.account, "."+name)
	if err := os.WriteFile(temporary, []byte(content), 0o600); err != nil {
		tb.Fatal(err)
	}
	if err := os.Rename(temporary, filepath.Join(c.account, name)); err != nil {
		tb.Fatal(err)
	}
}

// options returns those of a client in memory.
func (c *cluster) options() *KubernetesOptions {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.ca)
	return &KubernetesOptions{URL: "https://kubernetes.default.svc", ServiceAccount: c.account, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c.mu.Lock()
			down := c.down
			c.mu.Unlock()
			if down {
				return nil, errors.New("connection refused")
			}
			return c.listener.DialContext(ctx, network, addr)
		},
	}}
}

// resolver returns one of a service, for a client in memory.
func (c *cluster) resolver(tb testing.TB, service string) Resolver {
	tb.Helper()
	r, err := NewKubernetes(service, c.options())
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// pod is an endpoint in a slice, by default a ready one.
type pod struct {
	name, ip, zone string
	state          string // "", or unknown, unready, terminating, stopped
}

// object returns an EndpointSlice with all that a real one has.
func object(service, name, addressType string, version int, ports []any, pods ...pod) string {
	var endpoints []any // null without any, as in a slice of no pod
	for _, p := range pods {
		conditions := map[string]any{"ready": p.state == "", "serving": p.state == "" || p.state == "terminating", "terminating": p.state == "terminating" || p.state == "stopped"}
		if p.state == "unknown" {
			conditions = map[string]any{}
		}
		e := map[string]any{
			"addresses": []string{p.ip}, "conditions": conditions, "nodeName": "node-1",
			"deprecatedTopology": map[string]any{"topology.kubernetes.io/zone": "elsewhere"},
			"hints":              map[string]any{"forZones": []any{map[string]any{"name": "elsewhere"}}},
		}
		if p.zone != "" {
			e["zone"] = p.zone
		}
		if p.name != "" {
			e["targetRef"] = map[string]any{"kind": "Pod", "namespace": "shop", "name": p.name, "uid": "2f1c6a5e-" + p.name}
		}
		endpoints = append(endpoints, e)
	}
	doc, err := json.Marshal(map[string]any{
		"kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1",
		"metadata": map[string]any{
			"name": name, "generateName": service + "-", "namespace": "shop", "uid": "9a55bd5b-" + name, "resourceVersion": strconv.Itoa(version),
			"generation": 3, "creationTimestamp": "2026-01-02T03:04:05Z",
			"labels":          map[string]any{"kubernetes.io/service-name": service, "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"},
			"annotations":     map[string]any{"endpoints.kubernetes.io/last-change-trigger-time": strconv.Itoa(version)},
			"ownerReferences": []any{map[string]any{"apiVersion": "v1", "kind": "Service", "name": service, "uid": "1", "controller": true}},
			"managedFields":   []any{map[string]any{"manager": "kube-controller-manager", "operation": "Update", "fieldsV1": map[string]any{"f:ports": map[string]any{}}}},
		},
		"addressType": addressType, "endpoints": endpoints, "ports": ports,
	})
	if err != nil {
		panic(err)
	}
	return string(doc)
}

// port is one of a slice.
func port(name, protocol string, number int) any {
	return map[string]any{"name": name, "protocol": protocol, "port": number, "appProtocol": nil}
}

// http8080 are the ports of most slices here.
var http8080 = []any{port("http", "TCP", 8080)}

// set creates or changes a slice of IPv4 addresses.
func (c *cluster) set(service, name string, pods ...pod) {
	c.setPorts(service, name, "IPv4", http8080, pods...)
}

func (c *cluster) setPorts(service, name, addressType string, ports []any, pods ...pod) {
	c.change(func() stored {
		event := "MODIFIED"
		if _, ok := c.slices[name]; !ok {
			event = "ADDED"
		}
		s := stored{version: c.version, event: event, service: service, doc: object(service, name, addressType, c.version, ports, pods...)}
		c.slices[name] = s
		return s
	})
}

// remove deletes a slice.
func (c *cluster) remove(name string) {
	c.change(func() stored {
		s := c.slices[name]
		delete(c.slices, name)
		s.event, s.version = "DELETED", c.version
		s.doc = strings.Replace(s.doc, `"resourceVersion":"`, `"resourceVersion":"`+strconv.Itoa(c.version)+`","was":"`, 1)
		return s
	})
}

// bookmark tells the version, which other objects have raised by ten.
func (c *cluster) bookmark() {
	c.change(func() stored {
		c.version += 10
		return stored{version: c.version, event: "BOOKMARK", doc: fmt.Sprintf(`{"kind":"EndpointSlice","apiVersion":"discovery.k8s.io/v1",`+
			`"metadata":{"resourceVersion":"%d","creationTimestamp":null},"addressType":"","endpoints":null,"ports":null}`, c.version)}
	})
}

// change makes a new version and tells all watches.
func (c *cluster) change(what func() stored) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.version++
	c.history = append(c.history, what())
	close(c.changed)
	c.changed = make(chan struct{})
}

// forget drops all versions before the present one.
func (c *cluster) forget(byStatus bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forgotten, c.byStatus = c.version, byStatus
}

// interrupt cuts all watches off.
func (c *cluster) interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.cut)
	c.cut = make(chan struct{})
}

// away refuses all connections from now on, or no longer.
func (c *cluster) away(down bool) {
	c.mu.Lock()
	c.down = down
	c.mu.Unlock()
	if down {
		c.interrupt()
	}
}

// rotate makes another token the only one that is good.
func (c *cluster) rotate(token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.token = token
}

// fail has the next list or watch answered by a handler.
func (c *cluster) fail(verb string, h http.HandlerFunc) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults[verb] = append(c.faults[verb], h)
}

// asked returns the requests since it was called before.
func (c *cluster) asked() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	asked := strings.Join(c.requests, ", ")
	c.requests = nil
	return asked
}

// refuse answers with a Status.
func refuse(w http.ResponseWriter, code int, reason, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = fmt.Fprint(w, statusDoc(code, reason, message))
}

func statusDoc(code int, reason, message string) string {
	return fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":%q,"reason":%q,"code":%d}`+"\n", message, reason, code)
}

// serve answers a request as the real server would.
func (c *cluster) serve(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	authorized := r.Header.Get("Authorization") == "Bearer "+c.token
	verb := "list"
	if r.FormValue("watch") == "true" {
		verb = "watch"
	}
	what := verb
	switch {
	case verb == "watch":
		what += " " + r.FormValue("resourceVersion")
	case r.FormValue("continue") != "":
		what += " on"
	}
	c.requests = append(c.requests, what)
	var fault http.HandlerFunc
	if some := c.faults[verb]; len(some) > 0 {
		fault, c.faults[verb] = some[0], some[1:]
	}
	c.mu.Unlock()

	service, selected := strings.CutPrefix(r.FormValue("labelSelector"), "kubernetes.io/service-name=")
	switch {
	case !authorized:
		refuse(w, 401, "Unauthorized", "Unauthorized")
	case r.Method != http.MethodGet || r.URL.Path != "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices":
		refuse(w, 403, "Forbidden", "endpointslices.discovery.k8s.io is forbidden")
	case !selected || r.Header.Get("Accept") != "application/json":
		refuse(w, 400, "BadRequest", "unexpected request")
	case fault != nil:
		fault(w, r)
	case verb == "watch":
		c.watch(w, r, service)
	default:
		c.list(w, r, service)
	}
}

// list answers with a page. All pages of a list are of one version.
func (c *cluster) list(w http.ResponseWriter, r *http.Request, service string) {
	limit, err := strconv.Atoi(r.FormValue("limit"))
	if err != nil || limit < 1 {
		refuse(w, 400, "BadRequest", "limit")
		return
	}
	c.mu.Lock()
	rest := listing{version: c.version}
	if token := r.FormValue("continue"); token != "" {
		rest = c.pages[token]
		delete(c.pages, token)
		if rest.version < c.forgotten {
			c.mu.Unlock()
			refuse(w, 410, "Expired", "The provided continue parameter is too old to display a consistent list result.")
			return
		}
	} else {
		for _, name := range slices.Sorted(maps.Keys(c.slices)) {
			if s := c.slices[name]; s.service == service {
				rest.docs = append(rest.docs, s.doc)
			}
		}
	}
	page, more := rest.docs, ""
	if len(page) > limit {
		page, rest.docs = page[:limit], page[limit:]
		more = fmt.Sprintf("page-%d-%d", rest.version, len(rest.docs))
		c.pages[more] = rest
	}
	c.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(w, `{"kind":"EndpointSliceList","apiVersion":"discovery.k8s.io/v1","metadata":{"resourceVersion":"%d","continue":%q},"items":[%s]}`+"\n",
		rest.version, more, strings.Join(page, ","))
}

// watch sends the events after a version, until the time that was asked for is over.
func (c *cluster) watch(w http.ResponseWriter, r *http.Request, service string) {
	from, err := strconv.Atoi(r.FormValue("resourceVersion"))
	seconds, err2 := strconv.Atoi(r.FormValue("timeoutSeconds"))
	if err != nil || err2 != nil || r.FormValue("allowWatchBookmarks") != "true" {
		refuse(w, 400, "BadRequest", "unexpected watch")
		return
	}
	timeout := time.NewTimer(time.Duration(seconds) * time.Second)
	defer timeout.Stop()
	c.mu.Lock()
	gone, byStatus := from < c.forgotten, c.byStatus
	c.mu.Unlock()
	message := fmt.Sprintf("too old resource version: %d", from)
	if gone && byStatus {
		refuse(w, 410, "Expired", message)
		return
	}
	begin(w)
	if gone {
		send(w, "ERROR", statusDoc(410, "Expired", message))
		return
	}
	for {
		c.mu.Lock()
		var events []stored
		for _, s := range c.history {
			if s.version > from && (s.service == service || s.event == "BOOKMARK") {
				events = append(events, s)
				from = s.version
			}
		}
		changed, cut := c.changed, c.cut
		c.mu.Unlock()
		for _, s := range events {
			send(w, s.event, s.doc)
		}
		select {
		case <-changed:
		case <-timeout.C:
			return
		case <-r.Context().Done():
			return
		case <-cut:
			panic(http.ErrAbortHandler)
		}
	}
}

// begin sends the header of a watch, which comes before there is an event.
func begin(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush()
}

// send sends an event of a watch.
func send(w http.ResponseWriter, event, doc string) {
	_, _ = fmt.Fprintf(w, `{"type":%q,"object":%s}`+"\n", event, doc)
	_ = http.NewResponseController(w).Flush()
}
