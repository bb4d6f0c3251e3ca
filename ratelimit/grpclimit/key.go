package grpclimit

import (
	"context"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/uprung/uprung/internal/grpcx"
	"github.com/uprung/uprung/key"
)

// KeyFunc says whose limit a call counts against: what [key.Func] is for HTTP. The method
// is /package.Service/Method. False means that the call has no key. It is called
// concurrently and does not block.
type KeyFunc func(ctx context.Context, fullMethod string) (string, bool)

// ByPeer is the address that a call came from, as [key.Direct] has it: no client can forge
// it, but behind a proxy it is the proxy's. A call from a Unix socket has none. It panics
// if the options are not valid.
func ByPeer(o *key.AddrOptions) KeyFunc {
	if err := o.Validate(); err != nil {
		panic(err)
	}
	if o != nil {
		own := *o
		o = &own
	}
	return func(ctx context.Context, _ string) (string, bool) { return grpcx.PeerKey(ctx, o) }
}

// ByMetadata is the value of metadata of a call that came in, such as an API key. As for
// [key.Header], an empty value and one that occurs twice are no key, and the value is the
// client's word until it has been checked. It panics if the name is not one of a field.
func ByMetadata(name string) KeyFunc {
	of := key.Header(name)
	lower, canonical := strings.ToLower(name), textproto.CanonicalMIMEHeaderKey(name)
	return func(ctx context.Context, _ string) (string, bool) {
		values := metadata.ValueFromIncomingContext(ctx, lower)
		return of(&http.Request{Header: http.Header{canonical: values}})
	}
}

// ByCertificate is whom the certificate of a client names, which the server has verified:
// its only URI, as SPIFFE has it, or else its only DNS name, or else its subject. A
// certificate that was not verified is no key.
func ByCertificate() KeyFunc {
	of := key.Context(certified)
	return func(ctx context.Context, _ string) (string, bool) {
		return of(new(http.Request).WithContext(ctx))
	}
}

// certified returns the identity in a certificate.
func certified(ctx context.Context) (string, bool) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return "", false
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return "", false
	}
	leaf := info.State.VerifiedChains[0][0] // of a chain that has at least that
	switch {
	case len(leaf.URIs) == 1:
		return leaf.URIs[0].String(), true
	case len(leaf.DNSNames) == 1:
		return leaf.DNSNames[0], true
	}
	subject := leaf.Subject.String()
	return subject, subject != ""
}

// ByMethod is the method of a call: one limit for each.
func ByMethod() KeyFunc {
	return func(_ context.Context, fullMethod string) (string, bool) { return fullMethod, true }
}

// ByRequest is a key of package key for calls that came in. It is shown a call as the
// request of HTTP/2 that it is: metadata are its header, the method its path and route,
// the peer its RemoteAddr. So calls and requests of one party have one key, and share one
// limit, also for clients behind proxies ([key.Proxied]), keys that are hashed or joined,
// and values from the context. The header is copied for it. It panics if f is nil.
func ByRequest(f key.Func) KeyFunc {
	if f == nil {
		panic("grpclimit: the key is nil")
	}
	return func(ctx context.Context, fullMethod string) (string, bool) { return f(requestOf(ctx, fullMethod)) }
}

// requestOf returns a call as a request.
func requestOf(ctx context.Context, method string) *http.Request {
	r := &http.Request{
		Method: http.MethodPost, Proto: "HTTP/2.0", ProtoMajor: 2, Header: http.Header{},
		URL: &url.URL{Path: method}, RequestURI: method, Pattern: method,
	}
	md, _ := metadata.FromIncomingContext(ctx)
	for name, values := range md {
		switch {
		case name == ":authority" && len(values) == 1:
			r.Host = values[0]
		case !strings.HasPrefix(name, ":"):
			r.Header[textproto.CanonicalMIMEHeaderKey(name)] = values
		}
	}
	if p, ok := peer.FromContext(ctx); ok {
		if p.Addr != nil {
			r.RemoteAddr = p.Addr.String()
		}
		if info, ok := p.AuthInfo.(credentials.TLSInfo); ok {
			r.TLS = &info.State
		}
	}
	return r.WithContext(ctx)
}
