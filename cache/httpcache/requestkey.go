package httpcache

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// keyEnd separates the URL of a key from what else is part of it. It is in no URL.
const keyEnd = '\n'

// appendOrigin appends scheme and host of the target of a request. The host is compared
// without regard to case, and the default port is none (RFC 9110, section 4.2.3).
func appendOrigin(to []byte, r *http.Request) []byte {
	scheme, host := r.URL.Scheme, r.URL.Host
	if scheme == "" {
		if scheme = "http"; r.TLS != nil {
			scheme = "https"
		}
	}
	if r.Host != "" {
		host = r.Host
	}
	to = append(to, scheme...)
	to = append(to, "://"...)
	if port := ":80"; scheme == "https" && strings.HasSuffix(host, ":443") || scheme == "http" && strings.HasSuffix(host, port) {
		host = host[:strings.LastIndexByte(host, ':')]
	}
	for at := range len(host) {
		c := host[at]
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		to = append(to, c)
	}
	return to
}

// resolve returns what a reference in the response to a request means, if it is of the same
// origin (RFC 9111, section 4.4): as clients name that, or as the request itself does on its
// way to a backend.
func resolve(r *http.Request, reference string) *url.URL {
	base := *r.URL
	if r.Host != "" {
		base.Host = r.Host
	}
	at, err := base.Parse(reference)
	if reference == "" || err != nil || at.Opaque != "" {
		return nil
	}
	if r.URL.Host != "" && at.Host == r.URL.Host {
		at.Host = base.Host
	}
	if at.Scheme == single(r.Header, forwardedProto) {
		at.Scheme = base.Scheme
	}
	if originOf(&http.Request{URL: at, TLS: r.TLS}) != originOf(r) {
		return nil
	}
	return at
}

// appendKey appends the key of a request: its URL, byte for byte, and, in a private cache,
// for whom it is. Neither is a path cleaned nor an escape resolved: what the origin may
// tell apart, the cache does.
func (c *Cache) appendKey(to []byte, r *http.Request, principal string) []byte {
	to = appendOrigin(to, r)
	if r.URL.Path == "" && r.URL.Opaque == "" {
		to = append(to, '/')
	}
	to = append(to, r.URL.EscapedPath()...)
	if query := c.query(r.URL.RawQuery); query != "" || r.URL.ForceQuery {
		to = append(to, '?')
		to = append(to, query...)
	}
	to = append(to, keyEnd)
	return append(to, principal...)
}

// partition returns what else of a request its response depends on: the scheme that a
// proxy says it came by, and KeyFields. Responses of other partitions do not match.
func (c *Cache) partition(r *http.Request) string {
	proto := scheme(r.Header[forwardedProto])
	if len(c.o.KeyFields) == 0 {
		return proto
	}
	var b strings.Builder
	add := func(lines []string) {
		for _, one := range lines {
			b.WriteString(one)
			b.WriteByte(keyEnd)
		}
		b.WriteByte(keyEnd)
	}
	b.WriteString(proto)
	for _, name := range c.o.KeyFields {
		add(r.Header[name])
	}
	return b.String()
}

const forwardedProto = "X-Forwarded-Proto"

// scheme returns which of the two the lines of X-Forwarded-Proto name. What else strangers
// may write there makes one partition more, and not one for each.
func scheme(lines []string) string {
	switch {
	case len(lines) == 0:
		return ""
	case len(lines) == 1 && (lines[0] == "http" || lines[0] == "https"):
		return lines[0]
	}
	return "other"
}

// query returns a query without the parameters that are ignored.
func (c *Cache) query(raw string) string {
	if raw == "" || len(c.o.IgnoreQuery) == 0 {
		return raw
	}
	kept := make([]string, 0, 8)
	for one := range strings.SplitSeq(raw, "&") {
		name, _, _ := strings.Cut(one, "=")
		if plain, err := url.QueryUnescape(name); err == nil && slices.Contains(c.o.IgnoreQuery, plain) {
			continue
		}
		kept = append(kept, one)
	}
	return strings.Join(kept, "&")
}

// unkeyed are fields that applications reflect and no cache has in its key: the ways in
// which caches were poisoned.
var unkeyed = []string{
	"X-Forwarded-Host", "X-Forwarded-Scheme", "X-Forwarded-Prefix", "X-Forwarded-Server", "X-Forwarded-Port", "X-Forwarded-Path",
	"X-Host", "X-Original-Url", "X-Original-Host", "X-Rewrite-Url", "X-Http-Method", "X-Http-Method-Override", "X-Method-Override",
}

// outgoing returns the request that goes to the origin for one that may be answered from
// the cache: a copy whose header can be changed.
func (c *Cache) outgoing(r *http.Request) *http.Request {
	out := r.WithContext(r.Context())
	out.Header = r.Header.Clone()
	if out.Header == nil {
		out.Header = make(http.Header)
	}
	if !c.rules.rfc && !c.o.KeepUnkeyed {
		for _, name := range unkeyed {
			if !slices.Contains(c.o.KeyFields, name) {
				delete(out.Header, name)
			}
		}
		if scheme(out.Header[forwardedProto]) == "other" {
			delete(out.Header, forwardedProto)
		}
	}
	if query := c.query(r.URL.RawQuery); query != r.URL.RawQuery {
		u := *r.URL
		u.RawQuery = query
		out.URL = &u
		if path, _, ok := strings.Cut(r.RequestURI, "?"); ok {
			out.RequestURI = strings.TrimSuffix(path+"?"+query, "?")
		}
	}
	return out
}
