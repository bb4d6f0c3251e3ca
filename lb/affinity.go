package lb

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// Affinity sends the requests of a client to the endpoint that answered its first
// one, by a cookie, for as long as that endpoint can be picked. The cookie does not
// show what the endpoint is called, and a client cannot choose one with it.
type Affinity struct {
	// Cookie is the name of the cookie. Empty means "lb".
	Cookie string
	// Secret is what the values of cookies are computed with, 16 bytes at least: the
	// same in all proxies that share clients, so that they understand one another's.
	// Nil means a random one, which another process, or this one when it starts again,
	// does not know.
	Secret []byte
	// MaxAge is how long a client keeps the cookie. Zero means until it is closed.
	MaxAge time.Duration
	// Path is that of the cookie. Empty means "/".
	Path string
	// Insecure sends the cookie over unencrypted connections too. It is for clients
	// that speak plain HTTP to this proxy and to whatever stands before it; without it
	// the cookie is Secure, and such clients have no affinity.
	Insecure bool
}

// minSecret is the least length of a secret.
const minSecret = 16

// affinity is an Affinity at work.
type affinity struct {
	o      Affinity
	values atomic.Pointer[cookieValues]
}

// cookieValues are the cookies' values for the endpoints of a snapshot.
type cookieValues struct {
	of   *snapshot
	ids  map[string]string // of endpoints, by value
	byID map[string]string // and the reverse
}

func newAffinity(o Affinity) (*affinity, error) {
	o.Cookie, o.Path = cmp.Or(o.Cookie, "lb"), cmp.Or(o.Path, "/")
	var errs []error
	if (&http.Cookie{Name: o.Cookie, Value: "v", Path: o.Path}).Valid() != nil {
		errs = append(errs, fmt.Errorf("lb: Affinity.Cookie is %q and Path %q, want what a cookie can have", o.Cookie, o.Path))
	}
	if o.Secret != nil && len(o.Secret) < minSecret {
		errs = append(errs, fmt.Errorf("lb: Affinity.Secret is %d bytes long, want %d at least, or nil", len(o.Secret), minSecret))
	}
	if o.MaxAge < 0 {
		errs = append(errs, fmt.Errorf("lb: Affinity.MaxAge is %v, want >= 0", o.MaxAge))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if o.Secret == nil {
		o.Secret = make([]byte, 32)
		_, _ = rand.Read(o.Secret) // never fails
	}
	return &affinity{o: o}, nil
}

// table returns the values for the endpoints of s.
func (a *affinity) table(s *snapshot) *cookieValues {
	if v := a.values.Load(); v != nil && v.of == s {
		return v
	}
	v := &cookieValues{of: s, ids: map[string]string{}, byID: map[string]string{}}
	for _, n := range s.nodes {
		mac := hmac.New(sha256.New, a.o.Secret)
		_, _ = mac.Write([]byte(n.ID)) // never fails
		value := base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:16])
		v.ids[value], v.byID[n.ID] = n.ID, value
	}
	a.values.Store(v)
	return v
}

// preferred returns the ID of the endpoint that the cookie of a request stands for,
// or nothing.
func (a *affinity) preferred(r *http.Request, s *snapshot) string {
	cookie, err := r.Cookie(a.o.Cookie)
	if err != nil || s == nil {
		return ""
	}
	return a.table(s).ids[cookie.Value]
}

// set puts the cookie for an endpoint into a response.
func (a *affinity) set(h http.Header, s *snapshot, id string) {
	value := a.table(s).byID[id]
	if value == "" {
		return // it has gone meanwhile
	}
	cookie := http.Cookie{
		Name: a.o.Cookie, Value: value, Path: a.o.Path, MaxAge: int(a.o.MaxAge / time.Second),
		HttpOnly: true, Secure: !a.o.Insecure, SameSite: http.SameSiteLaxMode,
	}
	h.Add("Set-Cookie", cookie.String())
}

// withoutCookie removes the cookie from a request, which is none of the endpoint's
// business.
func (a *affinity) withoutCookie(h http.Header) {
	fields := h["Cookie"]
	kept := make([]string, 0, len(fields))
	for _, field := range fields {
		var parts []string
		for part := range strings.SplitSeq(field, ";") {
			part = strings.TrimSpace(part)
			if name, _, _ := strings.Cut(part, "="); part != "" && name != a.o.Cookie {
				parts = append(parts, part)
			}
		}
		if len(parts) > 0 {
			kept = append(kept, strings.Join(parts, "; "))
		}
	}
	if len(kept) == 0 {
		h.Del("Cookie")
		return
	}
	h["Cookie"] = kept
}

// preference travels in the context of a request from the proxy to the transport,
// with the choice on its way back.
type preference struct {
	id     string        // of the endpoint to be preferred; empty if there is none
	chosen string        // of the one that was chosen
	in     *http.Request // as it came in
}

type preferenceKey struct{}

func withPreference(ctx context.Context, p *preference) context.Context {
	return context.WithValue(ctx, preferenceKey{}, p)
}

// preferenceOf returns what ctx carries, or nil.
func preferenceOf(ctx context.Context) *preference {
	p, _ := ctx.Value(preferenceKey{}).(*preference)
	return p
}
