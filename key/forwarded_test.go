package key_test

import (
	"strings"
	"testing"

	"github.com/uprung/uprung/key"
)

func TestForwarded(t *testing.T) {
	t.Parallel()
	f := made(t)(key.Forwarded([]string{"10.0.0.0/8"}, &key.AddrOptions{IPv6Prefix: 128}))
	for _, tt := range []struct{ field, want string }{
		// The examples of RFC 7239, section 4.
		{`for="_gazonk"`, "10.0.0.1"},
		{`For="[2001:db8:cafe::17]:4711"`, "2001:db8:cafe::17"},
		{`for=192.0.2.60;proto=http;by=203.0.113.43`, "192.0.2.60"},
		{`for=192.0.2.43, for=198.51.100.17`, "198.51.100.17"},
		{`for=192.0.2.43, for="[2001:db8:cafe::17]", for=unknown`, "10.0.0.1"},

		{`for=203.0.113.7, for=10.0.0.2`, "203.0.113.7"},
		{`for=203.0.113.7;host="a, for=192.0.2.1;for=192.0.2.2", FOR="10.0.0.2:80"`, "203.0.113.7"},
		{`host="say \"for=192.0.2.1, \\";for=203.0.113.7`, "203.0.113.7"},
		{`by=192.0.2.1; for=203.0.113.7 ;proto=https`, "203.0.113.7"},
		{`for="203.0.113.7:_port"`, "203.0.113.7"},
		{`for="[2001:db8::1]:_http"`, "2001:db8::1"},
		{`for=203.0.113.7:80`, "203.0.113.7"}, // needs quotes, and often has none
		{`for=_hidden, for=10.0.0.2`, "10.0.0.2"},
		{`for=203.0.113.7, proto=https, for=10.0.0.2`, "10.0.0.2"},
		{`for=203.0.113.7, , for=10.0.0.2`, "10.0.0.2"},
		{`for=192.0.2.1;for=192.0.2.2`, "10.0.0.1"},
		{`for=192.0.2.1;For=`, "10.0.0.1"},
		{`for=`, "10.0.0.1"},
		{`for=""`, "10.0.0.1"},
		{`for="`, "10.0.0.1"},
		{`for`, "10.0.0.1"},
		{`for = 203.0.113.7`, "10.0.0.1"},
		{`for="\203.0.113.7"`, "10.0.0.1"},
		{`203.0.113.7`, "10.0.0.1"},
		{``, "10.0.0.1"},
	} {
		expect(t, f, arriving("10.0.0.1:1", "Forwarded: "+tt.field), tt.want)
		expect(t, f, arriving("192.0.2.99:1", "Forwarded: "+tt.field), "192.0.2.99")
	}
}

// FuzzForwardedSuffix lets a client write anything, and a proxy append a sound
// element to it: the element decides.
func FuzzForwardedSuffix(f *testing.F) {
	for _, forged := range []string{`for="`, `for="\`, `for=1.2.3.4;host="a\"`, `"`, `\`, `for=1.2.3.4,`, `,;=`, `for="a", host="b`} {
		f.Add(forged, `h,";\o`)
	}
	forwarded := made(f)(key.Forwarded([]string{"10.0.0.0/8"}, nil))
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	f.Fuzz(func(t *testing.T, forged, host string) {
		quoted := `host="` + escape.Replace(host) + `"`
		for _, element := range []string{
			"for=203.0.113.7;" + quoted, quoted + `;for="203.0.113.7:80"`, "for=203.0.113.7;" + quoted + ", for=10.0.0.2;" + quoted,
		} {
			r := arriving("10.0.0.1:1")
			r.Header["Forwarded"] = []string{forged + ", " + element}
			expect(t, forwarded, r, "203.0.113.7")
		}
	})
}
