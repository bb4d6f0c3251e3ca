package grpclimit

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/key"
)

// came is the context of a call that came in.
func came(t *testing.T, addr string, auth credentials.AuthInfo, md ...string) context.Context {
	t.Helper()
	ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs(md...))
	if addr == "" {
		return ctx
	}
	tcp, err := net.ResolveTCPAddr("tcp", addr) // of an address, which asks nobody
	if err != nil {
		t.Fatal(err)
	}
	return peer.NewContext(ctx, &peer.Peer{Addr: tcp, AuthInfo: auth})
}

// certificate is what TLS knows of a client with this certificate.
func certificate(c x509.Certificate, verified bool) credentials.TLSInfo {
	info := credentials.TLSInfo{State: tls.ConnectionState{PeerCertificates: []*x509.Certificate{&c}}}
	if verified {
		info.State.VerifiedChains = [][]*x509.Certificate{{&c}}
	}
	return info
}

func TestKeys(t *testing.T) {
	t.Parallel()
	const method = "/shop.Orders/Place"
	named := x509.Certificate{Subject: pkix.Name{CommonName: "orders", Organization: []string{"shop"}}}
	spiffe := named
	spiffe.URIs = []*url.URL{{Scheme: "spiffe", Host: "shop", Path: "/orders"}}
	spiffe.DNSNames = []string{"orders.shop.test"}
	dns := named
	dns.DNSNames = []string{"orders.shop.test"}
	ambiguous := dns
	ambiguous.DNSNames = []string{"a.test", "b.test"}
	proxied := uprung.Must(key.Proxied([]string{"192.0.2.0/24"}, nil))
	for name, tt := range map[string]struct {
		of   KeyFunc
		ctx  context.Context //nolint:containedctx // a table of them
		want string
	}{
		"method":                     {ByMethod(), t.Context(), method},
		"peer":                       {ByPeer(nil), came(t, "192.0.2.1:1234", nil), "192.0.2.1"},
		"peer of IPv6":               {ByPeer(nil), came(t, "[2001:db8:1:2:3::4]:1234", nil), "2001:db8:1:2::/64"},
		"peer, wider":                {ByPeer(&key.AddrOptions{IPv4Prefix: 24}), came(t, "192.0.2.1:1234", nil), "192.0.2.0/24"},
		"peer reads no header":       {ByPeer(nil), came(t, "192.0.2.1:1234", nil, "x-forwarded-for", "203.0.113.7"), "192.0.2.1"},
		"no peer":                    {ByPeer(nil), t.Context(), ""},
		"metadata":                   {ByMetadata("X-Api-Key"), came(t, "", nil, "x-api-key", "k1"), "k1"},
		"metadata, twice":            {ByMetadata("x-api-key"), came(t, "", nil, "x-api-key", "k1", "x-api-key", "k2"), ""},
		"metadata, empty":            {ByMetadata("x-api-key"), came(t, "", nil, "x-api-key", ""), ""},
		"no metadata":                {ByMetadata("x-api-key"), t.Context(), ""},
		"URI":                        {ByCertificate(), came(t, "192.0.2.1:1", certificate(spiffe, true)), "spiffe://shop/orders"},
		"DNS name":                   {ByCertificate(), came(t, "192.0.2.1:1", certificate(dns, true)), "orders.shop.test"},
		"subject":                    {ByCertificate(), came(t, "192.0.2.1:1", certificate(named, true)), "CN=orders,O=shop"},
		"two DNS names":              {ByCertificate(), came(t, "192.0.2.1:1", certificate(ambiguous, true)), "CN=orders,O=shop"},
		"nameless":                   {ByCertificate(), came(t, "192.0.2.1:1", certificate(x509.Certificate{}, true)), ""},
		"not verified":               {ByCertificate(), came(t, "192.0.2.1:1", certificate(spiffe, false)), ""},
		"no TLS":                     {ByCertificate(), came(t, "192.0.2.1:1", nil), ""},
		"certificate of nobody":      {ByCertificate(), t.Context(), ""},
		"request by address":         {ByRequest(key.Direct(nil)), came(t, "192.0.2.1:1234", nil), "192.0.2.1"},
		"request by proxy":           {ByRequest(proxied), came(t, "192.0.2.1:1234", nil, "x-forwarded-for", "198.51.100.1, 203.0.113.7"), "203.0.113.7"},
		"request by untrusted proxy": {ByRequest(proxied), came(t, "198.51.100.9:1234", nil, "x-forwarded-for", "203.0.113.7"), "198.51.100.9"},
		"request by header":          {ByRequest(key.Header("X-Api-Key")), came(t, "", nil, "x-api-key", "k1"), "k1"},
		"request by host":            {ByRequest(key.Header("Host")), came(t, "", nil, ":authority", "shop.test"), "shop.test"},
		"request by route":           {ByRequest(key.Route()), t.Context(), method},
		"request of nobody":          {ByRequest(key.Direct(nil)), t.Context(), ""},
		"request has TLS and context": {ByRequest(func(r *http.Request) (string, bool) {
			return r.Method + r.URL.Path, r.TLS != nil && r.Context().Err() == nil
		}), came(t, "192.0.2.1:1", certificate(named, true)), "POST" + method},
	} {
		if got, ok := tt.of(tt.ctx, method); got != tt.want || ok != (tt.want != "") {
			t.Errorf("%s: %q, %t, want %q", name, got, ok, tt.want)
		}
	}
}

// A long value is a short key, and not that of another.
func TestLongKeysAreBounded(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("k", 10_000)
	a, _ := ByMetadata("x-api-key")(came(t, "", nil, "x-api-key", long+"a"), "")
	b, _ := ByMetadata("x-api-key")(came(t, "", nil, "x-api-key", long+"b"), "")
	if a == b || len(a) > key.MaxLength || len(b) > key.MaxLength {
		t.Errorf("keys have %d and %d bytes, equal: %t", len(a), len(b), a == b)
	}
}
