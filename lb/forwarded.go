package lb

import (
	"net"
	"net/http/httputil"
	"net/netip"
	"slices"
	"strings"
)

// setForwarded says in the header of a request for whom it is, and by which name and
// scheme that one asked. What the client said of that stays if it is trusted.
func setForwarded(r *httputil.ProxyRequest, trusted bool) {
	in, out := r.In.Header, r.Out.Header
	client, _, err := net.SplitHostPort(r.In.RemoteAddr)
	if err != nil {
		client = ""
	}
	scheme := "http"
	if r.In.TLS != nil {
		scheme = "https"
	}
	forwarded := forwardedElement(client, r.In.Host, scheme)
	if !trusted {
		for name := range out {
			if strings.HasPrefix(name, "X-Forwarded-") || name == "X-Real-Ip" {
				delete(out, name)
			}
		}
		r.SetXForwarded()
		out["Forwarded"] = []string{forwarded}
		return
	}
	out["X-Forwarded-For"] = slices.Clone(in["X-Forwarded-For"])
	r.SetXForwarded() // which appends to the first and replaces the others
	if client == "" && len(in["X-Forwarded-For"]) > 0 {
		out["X-Forwarded-For"] = slices.Clone(in["X-Forwarded-For"]) // there is nothing to append
	}
	for _, name := range []string{"X-Forwarded-Host", "X-Forwarded-Proto"} {
		if values := in[name]; len(values) > 0 {
			out[name] = slices.Clone(values)
		}
	}
	out["Forwarded"] = append(slices.Clone(in["Forwarded"]), forwarded)
}

// forwardedElement returns one element of a Forwarded field (RFC 7239, section 4).
func forwardedElement(client, host, scheme string) string {
	e := make([]byte, 0, 128)
	e = append(e, "for="...)
	switch addr, err := netip.ParseAddr(client); {
	case err != nil:
		e = append(e, "unknown"...) // section 6.2
	case addr.Unmap().Is4():
		e = addr.Unmap().AppendTo(e)
	default:
		e = append(e, `"[`...) // section 6.1
		e = addr.WithZone("").AppendTo(e)
		e = append(e, `]"`...)
	}
	if host != "" {
		e = append(e, ";host="...)
		e = appendQuoted(e, host)
	}
	e = append(e, ";proto="...)
	return string(append(e, scheme...))
}

// appendQuoted appends a value as a token, or else as a quoted string (RFC 9110,
// sections 5.6.2 and 5.6.4).
func appendQuoted(to []byte, value string) []byte {
	plain := value != ""
	for i := range len(value) {
		plain = plain && tokenChar(value[i])
	}
	if plain {
		return append(to, value...)
	}
	to = append(to, '"')
	for i := range len(value) {
		switch c := value[i]; {
		case c == '"' || c == '\\':
			to = append(to, '\\', c)
		case c >= ' ' && c != 0x7f || c == '\t':
			to = append(to, c)
		}
	}
	return append(to, '"')
}

// tokenChar reports whether a byte can stand in a token.
func tokenChar(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}
