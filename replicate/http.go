package replicate

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/httpx"
	"github.com/uprung/uprung/internal/option"
)

// face is what Middleware needs beyond the cluster.
type face struct {
	cookie, header string // empty for none
	maxAge         time.Duration
	insecure       bool
	skip           func(*http.Request) bool
}

const (
	defaultHeader = "Uprung-Bookmark"
	defaultMaxAge = time.Hour

	minKey = 16 // bytes
)

// newFace checks and completes the options of tokens.
func (c *Cluster) newFace(o *TokenOptions) (errs []error) {
	c.face = face{
		cookie: cmp.Or(o.Cookie, "uprung_"+cookieName(c.name)), header: cmp.Or(o.Header, defaultHeader),
		maxAge: cmp.Or(o.MaxAge, defaultMaxAge), insecure: o.Insecure, skip: o.Skip,
	}
	if c.face.cookie == "-" {
		c.face.cookie = ""
	} else if (&http.Cookie{Name: c.face.cookie, Value: "x"}).Valid() != nil {
		errs = append(errs, fmt.Errorf("replicate: Token.Cookie is %q, want the name of a cookie", o.Cookie))
	}
	if c.face.header == "-" {
		c.face.header = ""
	} else if (&http.Cookie{Name: c.face.header, Value: "x"}).Valid() != nil { // both are tokens of RFC 9110, section 5.6.2
		errs = append(errs, fmt.Errorf("replicate: Token.Header is %q, want the name of a header field", o.Header))
	}
	c.face.header = http.CanonicalHeaderKey(c.face.header)
	for i, key := range o.Keys {
		if len(key) < minKey {
			errs = append(errs, fmt.Errorf("replicate: Token.Keys[%d] is %d bytes long, want %d at least", i, len(key), minKey))
		}
		c.keys = append(c.keys, slices.Clone(key))
	}
	if len(c.keys) == 0 {
		c.keys = [][]byte{randomKey()}
	}
	return errs
}

const cookieChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."

// cookieName replaces what the name of a cookie cannot have.
func cookieName(name string) string {
	b := []byte(name)
	for i, char := range b {
		if !strings.ContainsRune(cookieChars, rune(char)) {
			b[i] = '_'
		}
	}
	return string(b)
}

// Middleware gives each request to next a [Bookmark], in its context, which continues from
// the token that the request brings, and sends the client a new one where it has come
// further: in the headers of the response, whichever way they are written. What is written
// to the database after that is not in it. It is an [uprung.Middleware].
//
// A token that is not valid is ignored: its bearer begins anew. Of requests that a browser
// has in progress at one time, the token of the response that comes last is kept, and may
// know less than another's. Where replies may be kept by a shared cache, put this outside
// of the cache.
func (c *Cluster) Middleware(next http.Handler) http.Handler {
	return &handler{cluster: c, next: next}
}

type handler struct {
	cluster *Cluster
	next    http.Handler
}

// Unwrap returns the handler that is wrapped.
func (h *handler) Unwrap() http.Handler { return h.next }

// Layer describes the cluster.
func (h *handler) Layer() uprung.Layer { return h.cluster.Layer() }

// ServeHTTP serves a request with a bookmark.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := h.cluster
	if c.face.skip != nil && c.face.skip(r) {
		h.next.ServeHTTP(w, r)
		return
	}
	brought := c.face.token(r)
	b, _ := c.Open(brought) // what is not valid is counted, and begins anew
	before := b.at()
	r = r.WithContext(c.WithBookmark(r.Context(), b))
	httpx.Serve(h.next, w, r, func(int) {
		if now := b.at(); now == before || now.same(&before) {
			return
		}
		if token := c.Token(r.Context(), b); token != "" && token != brought {
			c.face.send(w.Header(), token)
		}
	}, nil)
}

// same reports whether two have come equally far, though reads at the same node were later.
func (p progress) same(before *progress) bool {
	p.read, before.read = 0, 0
	return p == *before && p.node != 0
}

// token returns what a request brings.
func (f *face) token(r *http.Request) string {
	if f.header != "" {
		if values := r.Header[f.header]; len(values) > 0 {
			return values[0]
		}
	}
	if f.cookie != "" {
		if cookie, err := r.Cookie(f.cookie); err == nil {
			return cookie.Value
		}
	}
	return ""
}

// send gives the client a token.
func (f *face) send(h http.Header, token string) {
	if f.header != "" {
		h[f.header] = []string{token}
	}
	if f.cookie != "" {
		cookie := http.Cookie{
			Name: f.cookie, Value: token, Path: "/", MaxAge: int(f.maxAge / time.Second),
			HttpOnly: true, Secure: !f.insecure, SameSite: http.SameSiteLaxMode,
		}
		h.Add("Set-Cookie", cookie.String())
	}
}

// describe lists the effective settings.
func (c *Cluster) describe(o *Options) []uprung.Setting {
	duration := func(name string, value, given time.Duration) uprung.Setting {
		return uprung.Setting{Name: name, Value: option.OrNone(value > 0, value), Default: given == 0}
	}
	var nodes strings.Builder
	for i, n := range c.nodes {
		if i > 0 {
			nodes.WriteString(", ")
		}
		nodes.WriteString(n.Name)
	}
	return []uprung.Setting{
		{Name: "Nodes", Value: nodes.String()},
		{Name: "Dialect", Value: fmt.Sprintf("%T", c.dialect), Default: o.Dialect == nil},
		{Name: "ReadFunctions", Value: option.OrNone(len(o.ReadFunctions) > 0, strings.Join(o.ReadFunctions, ", ")), Default: len(o.ReadFunctions) == 0},
		{Name: "Level", Value: o.Level.String(), Default: o.Level == Session},
		{Name: "Fallback", Value: o.Fallback.String(), Default: o.Fallback == ToPrimary},
		{Name: "MaxPrimaryFallback", Value: option.OrNone(c.slots != nil, cap(c.slots)), Default: o.MaxPrimaryFallback == 0},
		duration("Wait", c.wait, o.Wait),
		duration("FailoverWait", c.failoverWait, o.FailoverWait),
		duration("Probe", c.probe, o.Probe),
		duration("ProbeTimeout", c.probeTimeout, o.ProbeTimeout),
		{Name: "PrimaryReads", Value: fmt.Sprint(o.PrimaryReads), Default: !o.PrimaryReads},
		{Name: "Region", Value: option.OrNone(o.Region != "", o.Region), Default: o.Region == ""},
		{Name: "Policy", Value: fmt.Sprintf("%T", c.policy), Default: o.Policy == nil},
		{Name: "Cookie", Value: option.OrNone(c.face.cookie != "", c.face.cookie), Default: o.Token.Cookie == ""},
		{Name: "Header", Value: option.OrNone(c.face.header != "", c.face.header), Default: o.Token.Header == ""},
		{Name: "Keys", Value: option.OrNone(len(o.Token.Keys) > 0, len(o.Token.Keys)), Default: len(o.Token.Keys) == 0},
	}
}

// Layer describes the cluster and its effective settings.
func (c *Cluster) Layer() uprung.Layer {
	mode := uprung.Mode(c.mode.Load())
	return uprung.Layer{Kind: Kind, Name: c.name, Settings: append(slices.Clone(c.settings),
		uprung.Setting{Name: "Mode", Value: mode.String(), Default: mode == uprung.Enforce})}
}
