package httpcache

import (
	"fmt"
	"testing"
)

// These are the rules of RFC 9111 (C), RFC 9110 (H) and their kin, under the profile that
// does all that they allow, through both faces.

func TestStoring(t *testing.T) {
	t.Parallel()
	var table []struct{ name, script string }
	add := func(name, script string) { table = append(table, struct{ name, script string }{name, script}) }

	for _, code := range []int{200, 201, 202, 203, 204, 299, 301, 302, 303, 307, 308, 400, 403, 404, 405, 410, 418, 451, 499, 500, 502, 503, 504, 599} {
		body := "a"
		if code == 204 {
			body = "-"
		}
		add(fmt.Sprintf("C3 %d with explicit freshness", code), fmt.Sprintf(`
			origin %d %s | Cache-Control: max-age=60
			GET / => fwd %d %s
			GET / => hit %d %s`, code, body, code, body, code, body))
	}
	for _, code := range []int{200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501} {
		add(fmt.Sprintf("H15.1 %d by heuristics", code), fmt.Sprintf(`
			origin %d - | Last-Modified: <date-100h>
			GET / => fwd %d -
			wait 9h
			GET / => hit %d -
			wait 2h
			GET / => fwd %d -`, code, code, code, code))
	}
	for _, code := range []int{201, 202, 302, 303, 307, 400, 403, 418, 500, 503, 599} {
		add(fmt.Sprintf("H15.1 %d not by heuristics", code), fmt.Sprintf(`
			origin %d a | Last-Modified: <date-100h>
			GET / => fwd %d a
			GET / => fwd %d a`, code, code, code))
		add(fmt.Sprintf("C5.2.2.9 %d by heuristics if public", code), fmt.Sprintf(`
			origin %d a | Last-Modified: <date-100h> | Cache-Control: public
			GET / => fwd %d a
			GET / => hit %d a`, code, code, code))
	}
	add("C5.2.2.5 no-store", `
		origin 200 a | Cache-Control: max-age=60, no-store
		GET / => fwd 200 a | Cache-Status: uprung; fwd=uri-miss
		GET / => fwd 200 a`)
	add("C5.2.2.5 no-store concerns one response", `
		origin 200 a | Cache-Control: max-age=60
		GET / => fwd 200 a
		origin 200 b | Cache-Control: no-store
		GET / | Cache-Control: no-cache => fwd 200 b
		GET / => hit 200 a`)
	add("C5.2.1.5 no-store in a request", `
		origin 200 a | Cache-Control: max-age=60
		GET / | Cache-Control: no-store => fwd 200 a
		GET / => fwd 200 a
		GET / | Cache-Control: no-store => hit 200 a`)
	add("C5.2.2.7 private", `
		origin 200 a | Cache-Control: max-age=60, PRIVATE
		GET / => fwd 200 a
		GET / => fwd 200 a`)
	add("C5.2.2.7 private with names leaves those out", `
		origin 200 a | Cache-Control: max-age=60, private="X-Own, x-other" | X-Own: 1 | X-Other: 2 | X-All: 3
		GET / => fwd 200 a | X-Own: 1 | X-Other: 2
		GET / => hit 200 a | X-Own: - | X-Other: - | X-All: 3`)
	add("C5.2.2.7 private with a token", `
		origin 200 a | Cache-Control: max-age=60, private=x-own | X-Own: 1
		GET / => fwd 200 a | X-Own: 1
		GET / => hit 200 a | X-Own: -`)
	add("C5.2.2.4 no-cache with names leaves those out", `
		origin 200 a | Cache-Control: max-age=60, no-cache="Set-Cookie" | Set-Cookie: a=b
		GET / => fwd 200 a | Set-Cookie: a=b
		GET / => hit 200 a | Set-Cookie: -`)
	add("C5.2.2.4 no-cache is validated each time", `
		origin 200 a | Cache-Control: max-age=60, no-cache | Etag: "1"
		GET / => fwd 200 a
		origin 304 - | Cache-Control: max-age=60, no-cache | Etag: "1"
		GET / => fwd 200 a
		saw If-None-Match: "1"
		GET / => fwd 200 a`)
	for _, one := range []struct{ says, second string }{
		{"max-age=60", "fwd"},
		{"max-age=60, public", "hit"}, {"max-age=60, must-revalidate", "hit"}, {"s-maxage=60", "hit"},
		{"max-age=60, proxy-revalidate", "fwd"}, {"max-age=60, private", "fwd"}, {"s-maxage=0, max-age=60", "fwd"},
	} {
		add("C3.5 Authorization with "+one.says, fmt.Sprintf(`
			origin 200 a | Cache-Control: %s
			GET / | Authorization: Basic eDp5 => fwd 200 a
			GET / => %s 200 a`, one.says, one.second))
	}
	add("C5.2.2.3 must-understand with a known status makes no-store nothing", `
		origin 200 a | Cache-Control: max-age=60, must-understand, no-store
		GET / => fwd 200 a
		GET / => hit 200 a`)
	add("C5.2.2.3 must-understand with an unknown status", `
		origin 299 a | Cache-Control: max-age=60, must-understand
		GET / => fwd 299 a
		GET / => fwd 299 a`)
	add("H9.3.3 POST answers GET if it says where it is", `
		origin 200 a | Cache-Control: max-age=60 | Content-Location: /x
		POST /x => fwd 200 a | Cache-Status: uprung; fwd=method; ttl=60; stored
		GET /x => hit 200 a
		HEAD /x => hit 200 -
		POST /x => fwd 200 a`)
	add("H9.3.3 POST that says another place", `
		origin 200 a | Cache-Control: max-age=60 | Content-Location: /y
		POST /x => fwd 200 a
		GET /x => fwd 200 a
		GET /y => fwd 200 a`)
	add("H9.3.3 POST that does not say where it is", `
		origin 200 a | Cache-Control: max-age=60
		POST /x => fwd 200 a
		GET /x => fwd 200 a`)
	add("H9.3.3 POST needs explicit freshness", `
		origin 200 a | Last-Modified: <date-100h> | Content-Location: /x
		POST /x => fwd 200 a
		GET /x => fwd 200 a`)
	add("C3 other methods", `
		origin 200 a | Cache-Control: max-age=60 | Content-Location: /x
		PUT /x => fwd 200 a
		OPTIONS /x => fwd 200 a
		GET /x => fwd 200 a`)
	add("C3.1 all fields, in order", `
		origin 200 a | Cache-Control: max-age=60 | X-A: 1 | X-A: 2 | X-B: b | Set-Cookie: a=b | Set-Cookie: c=d | Content-Language: de
		GET / => fwd 200 a
		GET / => hit 200 a | X-A: 1; 2 | X-B: b | Set-Cookie: a=b; c=d | Content-Language: de | Content-Length: 1 | Date: *`)
	add("C3.1 but those of the connection", `
		origin 200 a | Cache-Control: max-age=60 | Keep-Alive: 3 | Proxy-Authenticate: Basic | Proxy-Authentication-Info: x=1 | X-End: 2
		GET / => fwd 200 a
		GET / => hit 200 a | Keep-Alive: - | Proxy-Authenticate: - | Proxy-Authentication-Info: - | X-End: 2`)
	add("C5.2 directives pass in both directions", `
		origin 200 a | Cache-Control: max-age=60, foo="bar, baz", max-stale
		GET / | Cache-Control: max-age=5, quux => fwd 200 a | Cache-Control: max-age=60, foo="bar, baz", max-stale
		saw Cache-Control: max-age=5, quux
		GET / => hit 200 a | Cache-Control: max-age=60, foo="bar, baz", max-stale`)
	add("C4 the query is part of the target", `
		origin 200 a | Cache-Control: max-age=60
		GET /x?a=1 => fwd 200 a
		GET /x?a=2 => fwd 200 a
		GET /x => fwd 200 a
		GET /x?a=1 => hit 200 a`)
	scripts(t, Options{Profile: RFC9111}, table)
}

func TestFreshness(t *testing.T) {
	t.Parallel()
	var table []struct{ name, script string }
	add := func(name, script string) { table = append(table, struct{ name, script string }{name, script}) }
	// A response with these fields is fresh for n seconds.
	fresh := func(name string, n int, fields string) {
		if n == 0 {
			add(name, "origin 200 a | "+fields+"\nGET / => fwd 200 a\nGET / => fwd 200 a")
			return
		}
		add(name, fmt.Sprintf("origin 200 a | %s\nGET / => fwd 200 a\nwait %ds\nGET / => hit 200 a\nwait 1s\nGET / => fwd 200 a", fields, n-1))
	}
	fresh("C4.2.1 max-age", 10, "Cache-Control: max-age=10")
	fresh("C4.2.1 s-maxage before max-age", 10, "Cache-Control: max-age=1, s-maxage=10")
	fresh("C4.2.1 s-maxage after it", 10, "Cache-Control: s-maxage=10, max-age=1")
	fresh("C4.2.1 s-maxage may be less", 0, "Cache-Control: s-maxage=0, max-age=10")
	fresh("C5.3 Expires", 10, "Expires: <date+10s>")
	fresh("C5.3 max-age before Expires", 10, "Cache-Control: max-age=10 | Expires: <date-1h>")
	fresh("C5.3 max-age=0 before Expires", 0, "Cache-Control: max-age=0 | Expires: <date+1h>")
	fresh("C5.3 s-maxage before Expires", 10, "Cache-Control: s-maxage=10 | Expires: <date-1h>")
	fresh("C5.3 Expires counts from Date", 10, "Date: <date+20s> | Expires: <date+30s>")
	fresh("C5.3 Expires: 0", 0, "Expires: 0 | Last-Modified: <date-100h>")
	fresh("C5.3 Expires in words", 0, "Expires: never | Last-Modified: <date-100h>")
	fresh("C5.3 Expires in the zone of nobody", 0, "Expires: Sat, 01 Jan 2050 00:00:00 CET")
	fresh("C5.3 Expires as a number", 0, "Expires: 4102444800")
	fresh("C4.2.1 two Expires", 0, "Expires: <date+1h> | Expires: <date+2h>")
	fresh("H5.6.7 Expires of RFC 850", 10, "Expires: Saturday, 01-Jan-00 00:00:10 GMT")
	fresh("H5.6.7 Expires of RFC 850 in another century", 0, "Expires: Monday, 01-Jan-90 00:00:10 GMT")
	fresh("H5.6.7 Expires of asctime", 10, "Expires: Sat Jan  1 00:00:10 2000")
	fresh("H5.6.7 Expires without regard to case", 10, "Expires: sat, 01 jan 2000 00:00:10 gmt")
	fresh("C4.2.1 max-age repeated", 10, "Cache-Control: max-age=10, max-age=5")
	fresh("C4.2.1 max-age over lines", 10, "Cache-Control: max-age=10 | Cache-Control: max-age=5")
	fresh("C1.2.2 max-age beyond all numbers", 1<<31, "Cache-Control: max-age=99999999999999999999")
	for _, bad := range []string{"max-age=-10", "max-age=10.5", "max-age=10x", "max-age=x10", "max-age=", "max-age", "max-age= 10", "max-age =10", "max-age='10'", `max-age="10`, `max-age="10"0`, "max-age=+10", "max-age=0x10", "s-maxage=a, max-age=10"} {
		fresh("C4.2.1 "+bad, 0, "Expires: <date+1h> | Cache-Control: "+bad)
	}
	fresh("C5.2 a quoted number", 10, `Cache-Control: max-age="10"`)
	fresh("C5.2 names in any case", 10, "Cache-Control: MaX-aGe=10")
	fresh("C5.2 white space and empty members", 10, "Cache-Control: ,  foo ,, max-age=10 \t, ")
	fresh("C5.2.3 unknown directives", 10, `Cache-Control: foo, bar=1, baz="x", max-age=10`)
	fresh("C5.2 names within quotes are none", 10, `Cache-Control: foo="no-store, max-age=1", max-age=10`)
	fresh("C5.2 nor with escapes", 10, `Cache-Control: foo="a\", max-age=1", max-age=10`)
	fresh("C5.2 nor as part of others", 10, "Cache-Control: x-max-age=1, max-age-x=1, max-age=10")
	fresh("C5.2 no-store over lines", 0, "Cache-Control: max-age=10 | Cache-Control: no-store")
	fresh("C4.2.3 Age counts", 10, "Cache-Control: max-age=20 | Age: 10")
	fresh("C4.2.3 Age of all", 0, "Cache-Control: max-age=20 | Age: 20")
	fresh("C5.1 Age of several members", 10, "Cache-Control: max-age=20 | Age: 10, 20")
	fresh("C5.1 Age of several lines", 10, "Cache-Control: max-age=20 | Age: 10 | Age: 20")
	fresh("C5.1 Age beyond all numbers", 0, "Cache-Control: max-age=20 | Age: 99999999999999999999")
	for _, bad := range []string{"-10", "10.5", "abc", "10s", `"10"`, "+10"} {
		fresh("C5.1 Age "+bad, 20, "Cache-Control: max-age=20 | Age: "+bad)
	}
	fresh("C4.2.3 an old Date is an age", 10, "Cache-Control: max-age=20 | Date: <date-10s>")
	fresh("C4.2.3 the larger of Date and Age", 5, "Cache-Control: max-age=20 | Date: <date-10s> | Age: 15")
	fresh("C4.2.3 a Date to come is none", 10, "Cache-Control: max-age=10 | Date: <date+1h>")
	fresh("C4.2.2 no heuristics without Last-Modified", 0, `Etag: "1"`)
	fresh("C4.2.2 no heuristics beside Expires", 0, "Expires: x | Last-Modified: <date-100h>")
	fresh("C4.2.2 no heuristics beside max-age", 0, "Cache-Control: max-age=x | Last-Modified: <date-100h>")
	fresh("C4.2.2 no heuristics of a date to come", 0, "Last-Modified: <date+100h>")
	fresh("C4.2.2 heuristics end at 24h", 24*3600, "Last-Modified: <date-10000h>")
	fresh("C5.4 Pragma in a response", 10, "Cache-Control: max-age=10 | Pragma: no-cache")
	fresh("C5.5 Warning", 10, `Cache-Control: max-age=10 | Warning: 110 - "stale"`)
	add("C4.2.2 heuristics with a query", `
		origin 200 a | Last-Modified: <date-100h>
		GET /?a => fwd 200 a
		GET /?a => hit 200 a`)
	add("C4 Age of what is stored", `
		origin 200 a | Cache-Control: max-age=60 | Age: 5
		GET / => fwd 200 a | Age: 5
		wait 1500ms
		GET / => hit 200 a | Age: 6
		wait 10s
		HEAD / => hit 200 - | Age: 16`)
	scripts(t, Options{Profile: RFC9111}, table)
}

func TestReuse(t *testing.T) {
	t.Parallel()
	scripts(t, Options{Profile: RFC9111}, []struct{ name, script string }{
		{"C4.1 Vary", `
			origin 200 a | Cache-Control: max-age=60 | Vary: X-A
			GET / | X-A: 1 => fwd 200 a
			origin 200 b | Cache-Control: max-age=60 | Vary: X-A
			GET / | X-A: 2 => fwd 200 b | Cache-Status: uprung; fwd=vary-miss; ttl=60; stored
			GET / => fwd 200 b
			GET / | X-A: 1 => hit 200 a
			GET / | X-A: 2 => hit 200 b
			GET / | X-A: => fwd 200 b`},
		{"C4.1 Vary of several names over lines, in any case", `
			origin 200 a | Cache-Control: max-age=60 | Vary: x-a, X-B | Vary: X-C
			GET / | X-A: 1 | X-B: 2 | X-C: 3 => fwd 200 a
			GET / | X-A: 1 | X-B: 2 | X-C: 3 | X-D: 4 => hit 200 a
			GET / | X-A: 1 | X-B: 2 | X-C: 4 => fwd 200 a
			GET / | X-A: 1 | X-B: 2 => fwd 200 a
			GET / | X-B: 2 | X-C: 3 => fwd 200 a`},
		{"C4.1 white space and lines make no difference", `
			origin 200 a | Cache-Control: max-age=60 | Vary: X-A
			GET / | X-A: 1,  2 => fwd 200 a
			GET / | X-A: 1,2 => hit 200 a
			GET / | X-A: 1 | X-A: 2 => hit 200 a
			GET / | X-A: 2, 1 => fwd 200 a
			GET / | X-A: 1 2 => fwd 200 a`},
		{"C4.1 Vary: *", `
			origin 200 a | Cache-Control: max-age=60 | Vary: *
			GET / => fwd 200 a
			GET / => fwd 200 a`},
		{"C4.1 Vary with * among names", `
			origin 200 a | Cache-Control: max-age=60 | Vary: X-A, *
			GET / => fwd 200 a
			GET / => fwd 200 a`},
		{"H12.5.4 Accept-Language without regard to case", `
			origin 200 a | Cache-Control: max-age=60 | Vary: Accept-Language
			GET / | Accept-Language: de-CH, en;q=0.5 => fwd 200 a
			GET / | Accept-Language: DE-ch,en; Q=0.5 => hit 200 a
			GET / | Accept-Language: en;q=0.5, de-CH => fwd 200 a`},
		{"H12.5.3 Accept-Encoding as a set", `
			origin 200 a | Cache-Control: max-age=60 | Vary: Accept-Encoding | Content-Encoding: gzip
			GET / | Accept-Encoding: gzip, br => fwd 200 a
			GET / | Accept-Encoding: br;q=0.5, gzip, x => hit 200 a
			GET / | Accept-Encoding: gzip => fwd 200 a
			GET / | Accept-Encoding: identity => fwd 200 a
			GET / => fwd 200 a`},
		{"C4.1 one that says what it varies on is rather meant", `
			origin 200 a | Cache-Control: max-age=60 | Vary: X-A
			GET / | X-A: 1 => fwd 200 a
			origin 200 b | Cache-Control: max-age=60
			GET / | X-A: 2 => fwd 200 b
			GET / | X-A: 3 => hit 200 b
			GET / | X-A: 1 => hit 200 a`},
		{"C4 the most recent by its Date", `
			origin 200 a | Cache-Control: max-age=600 | Vary: X-A | Date: <date-5s>
			GET / | X-A: 1 => fwd 200 a
			origin 200 b | Cache-Control: max-age=600 | Vary: X-B | Date: <date-10s>
			GET / | X-A: 2 | X-B: 1 => fwd 200 b
			GET / | X-A: 1 | X-B: 1 => hit 200 a`},
		{"H9.3.2 GET answers HEAD, and HEAD not GET", `
			origin 200 a | Cache-Control: max-age=60
			HEAD / => fwd 200 -
			saw Cache-Status: -
			GET / => fwd 200 a
			HEAD / => hit 200 - | Content-Length: 1`},
		{"C4.3.5 HEAD freshens", `
			origin 200 a | Cache-Control: max-age=10 | Etag: "1"
			GET / => fwd 200 a
			wait 11s
			origin 200 a | Cache-Control: max-age=20 | Etag: "1" | Content-Length: 1 | X-New: 1
			HEAD / => fwd 200 -
			GET / => hit 200 a | X-New: 1 | Age: 0`},
		{"C4.3.5 HEAD shows another version", `
			origin 200 a | Cache-Control: max-age=60 | Etag: "1"
			GET / => fwd 200 a
			origin 200 b | Cache-Control: max-age=60 | Etag: "2" | Content-Length: 1
			HEAD / | Cache-Control: no-cache => fwd 200 -
			GET / => fwd 200 b`},
		{"C5.2.1.1 max-age", `
			origin 200 a | Cache-Control: max-age=60
			GET / => fwd 200 a
			wait 10s
			GET / | Cache-Control: max-age=10 => hit 200 a
			GET / | Cache-Control: max-age=9 => fwd 200 a | Cache-Status: uprung; fwd=request; ttl=60; stored`},
		{"C5.2.1.1 max-age=0", `
			origin 200 a | Cache-Control: max-age=60
			GET / => fwd 200 a
			wait 1s
			GET / | Cache-Control: max-age=0 => fwd 200 a`},
		{"C5.2.1.3 min-fresh", `
			origin 200 a | Cache-Control: max-age=60
			GET / => fwd 200 a
			wait 10s
			GET / | Cache-Control: min-fresh=50 => hit 200 a
			GET / | Cache-Control: min-fresh=51 => fwd 200 a`},
		{"C5.2.1.2 max-stale with a limit", `
			origin 200 a | Cache-Control: max-age=60
			GET / => fwd 200 a
			wait 70s
			GET / | Cache-Control: max-stale=10 => hit 200 a | Cache-Status: uprung; hit; ttl=-10 | Age: 70
			GET / | Cache-Control: max-stale=9 => fwd 200 a`},
		{"C5.2.1.2 max-stale without", `
			origin 200 a | Cache-Control: max-age=60
			GET / => fwd 200 a
			wait 7000s
			GET / | Cache-Control: max-stale => hit 200 a
			GET / => fwd 200 a`},
		{"C4.2.4 max-stale against must-revalidate", `
			origin 200 a | Cache-Control: max-age=60, must-revalidate
			GET / => fwd 200 a
			wait 61s
			GET / | Cache-Control: max-stale => fwd 200 a`},
		{"C4.2.4 max-stale against proxy-revalidate", `
			origin 200 a | Cache-Control: max-age=60, proxy-revalidate
			GET / => fwd 200 a
			wait 61s
			GET / | Cache-Control: max-stale => fwd 200 a`},
		{"C5.2.2.10 max-stale against s-maxage", `
			origin 200 a | Cache-Control: s-maxage=60
			GET / => fwd 200 a
			wait 61s
			GET / | Cache-Control: max-stale => fwd 200 a`},
		{"C5.2.1.4 no-cache", `
			origin 200 a | Cache-Control: max-age=60 | Etag: "1"
			GET / => fwd 200 a
			origin 304 - | Etag: "1"
			GET / | Cache-Control: no-cache => fwd 200 a
			saw If-None-Match: "1"`},
		{"C5.2.1.7 only-if-cached", `
			origin 200 a | Cache-Control: max-age=60
			GET / | Cache-Control: only-if-cached => hit 504 * | Cache-Status: -
			GET / => fwd 200 a
			GET / | Cache-Control: only-if-cached => hit 200 a
			wait 61s
			GET / | Cache-Control: only-if-cached => hit 504 *
			GET / | Cache-Control: only-if-cached, max-stale => hit 200 a`},
		{"C5.4 Pragma counts without Cache-Control", `
			origin 200 a | Cache-Control: max-age=60
			GET / => fwd 200 a
			GET / | Pragma: no-cache => fwd 200 a
			GET / | Pragma: foo => hit 200 a
			GET / | Pragma: no-cache | Cache-Control: max-age=10 => hit 200 a`},
		{"C4 POST goes through", `
			origin 200 a | Cache-Control: max-age=60
			GET / => fwd 200 a
			POST / => fwd 200 a | Cache-Status: uprung; fwd=method`},
		{"H13.1.1 If-Match is not the cache's", `
			origin 200 a | Cache-Control: max-age=60 | Etag: "1"
			GET / => fwd 200 a
			origin 412 -
			GET / | If-Match: "2" => fwd 412 -
			saw If-Match: "2" | If-None-Match: -
			GET / | If-Unmodified-Since: <date-1h> => fwd 412 -
			GET / => hit 200 a`},
	})
}

func TestStale(t *testing.T) {
	t.Parallel()
	var table []struct{ name, script string }
	add := func(name, script string) { table = append(table, struct{ name, script string }{name, script}) }
	add("C4.2.4 when the origin cannot be reached", `
		origin 200 a | Cache-Control: max-age=60
		GET / => fwd 200 a
		wait 61s
		origin down
		GET / => fwd 200 a | Age: 61
		wait 24h
		GET / => fwd fail`)
	for _, says := range []string{"max-age=60, must-revalidate", "max-age=60, proxy-revalidate", "s-maxage=60", "max-age=60, no-cache"} {
		add("C4.2.4 never with "+says, `
			origin 200 a | Cache-Control: `+says+`, stale-if-error=600, stale-while-revalidate=600
			GET / => fwd 200 a
			wait 61s
			origin down
			GET / => fwd fail
			origin 503 b
			GET / => fwd 503 b`)
	}
	for _, code := range []int{500, 502, 503, 504} {
		add(fmt.Sprintf("RFC 5861 s4 stale-if-error with %d", code), fmt.Sprintf(`
			origin 200 a | Cache-Control: max-age=60, stale-if-error=30
			GET / => fwd 200 a
			wait 80s
			origin %d b
			GET / => fwd 200 a | Cache-Status: uprung; fwd=stale; fwd-status=%d; ttl=-20
			wait 11s
			GET / => fwd %d b`, code, code, code))
	}
	add("RFC 5861 s4 stale-if-error with other errors", `
		origin 200 a | Cache-Control: max-age=60, stale-if-error=30
		GET / => fwd 200 a
		wait 80s
		origin 404 b | Cache-Control: no-store
		GET / => fwd 404 b`)
	add("RFC 5861 s4 stale-if-error in a request", `
		origin 200 a | Cache-Control: max-age=60
		GET / => fwd 200 a
		wait 80s
		origin 503 b
		GET / | Cache-Control: stale-if-error=19 => fwd 503 b
		GET / | Cache-Control: stale-if-error=20 => fwd 200 a`)
	add("C4.3.3 an error is passed on without", `
		origin 200 a | Cache-Control: max-age=60
		GET / => fwd 200 a
		wait 61s
		origin 503 b
		GET / => fwd 503 b`)
	add("RFC 5861 s3 stale-while-revalidate", `
		origin 200 a | Cache-Control: max-age=60, stale-while-revalidate=30 | Etag: "1"
		GET / => fwd 200 a
		wait 80s
		origin 200 b | Cache-Control: max-age=60, stale-while-revalidate=30 | Etag: "2"
		GET / => bg 200 a | Age: 80 | Cache-Status: uprung; hit; ttl=-20
		saw If-None-Match: "1"
		GET / => hit 200 b | Age: 0
		wait 91s
		GET / => fwd 200 b`)
	add("RFC 5861 s3 what is validated in the background is fresh", `
		origin 200 a | Cache-Control: max-age=60, stale-while-revalidate=30 | Etag: "1" | Vary: X-A
		GET / | X-A: 1 => fwd 200 a
		wait 80s
		origin 304 - | Etag: "1"
		GET / | X-A: 1 => bg 200 a
		saw If-None-Match: "1" | X-A: 1
		GET / | X-A: 1 => hit 200 a | Age: 0`)
	scripts(t, Options{Profile: RFC9111}, table)
}

func TestValidation(t *testing.T) {
	t.Parallel()
	scripts(t, Options{Profile: RFC9111}, []struct{ name, script string }{
		{"C4.3.1 by tag", `
			origin 200 a | Cache-Control: max-age=10 | Etag: "1" | Last-Modified: Fri, 31 Dec 1999 00:00:00 GMT
			GET / => fwd 200 a
			wait 11s
			origin 304 - | Etag: "1" | Cache-Control: max-age=20
			GET / => fwd 200 a | Cache-Status: uprung; fwd=stale; fwd-status=304; ttl=20; stored
			saw If-None-Match: "1" | If-Modified-Since: Fri, 31 Dec 1999 00:00:00 GMT
			wait 19s
			GET / => hit 200 a | Age: 19`},
		{"C4.3.1 by a weak tag", `
			origin 200 a | Cache-Control: max-age=10 | Etag: W/"1"
			GET / => fwd 200 a
			wait 11s
			origin 304 - | Etag: W/"1"
			GET / => fwd 200 a
			saw If-None-Match: W/"1"
			GET / => hit 200 a`},
		{"C4.3.1 by date", `
			origin 200 a | Cache-Control: max-age=10 | Last-Modified: Fri, 31 Dec 1999 00:00:00 GMT
			GET / => fwd 200 a
			wait 11s
			origin 304 -
			GET / => fwd 200 a
			saw If-Modified-Since: Fri, 31 Dec 1999 00:00:00 GMT | If-None-Match: -
			GET / => hit 200 a`},
		{"C4.3.1 with the tags of all variants", `
			origin 200 a | Cache-Control: max-age=10 | Etag: "1" | Vary: X-A
			GET / | X-A: 1 => fwd 200 a
			origin 200 b | Cache-Control: max-age=10 | Etag: "2" | Vary: X-A
			GET / | X-A: 2 => fwd 200 b
			wait 11s
			origin 304 - | Etag: "2" | Vary: X-A
			GET / | X-A: 2 => fwd 200 b
			saw If-None-Match: "2", "1"
			GET / | X-A: 2 => hit 200 b`},
		{"C4.3.4 a 304 about none is asked again", `
			origin 200 a | Cache-Control: max-age=10 | Etag: "1"
			GET / => fwd 200 a
			wait 11s
			origin 304 - | Etag: "2"
			GET / => fwd2 304 -
			saw If-None-Match: -`},
		{"C3.2 fields of a 304 replace those that are stored", `
			origin 200 abc | Cache-Control: max-age=10 | Etag: "1" | X-A: 1 | X-A: 2 | X-B: 1 | Content-Language: de | Content-Encoding: x | Content-Length: 3
			GET / | Accept-Encoding: x => fwd 200 abc
			wait 11s
			origin 304 - | Etag: "1" | X-A: 3 | X-C: 4 | Content-Language: fr | Content-Encoding: y | Content-Range: bytes 0-0/9
			GET / | Accept-Encoding: x => fwd 200 abc | X-A: 3 | X-B: 1 | X-C: 4 | Content-Language: fr | Content-Encoding: x | Content-Length: 3 | Content-Range: -
			GET / | Accept-Encoding: x => hit 200 abc | X-A: 3 | X-B: 1 | X-C: 4 | Content-Language: fr | Content-Encoding: x | Content-Length: 3`},
		{"C3.2 a 304 that forbids to store", `
			origin 200 a | Cache-Control: max-age=10 | Etag: "1"
			GET / => fwd 200 a
			wait 11s
			origin 304 - | Etag: "1" | Cache-Control: no-store
			GET / => fwd 200 a
			origin 200 b
			GET / => fwd 200 b
			saw If-None-Match: -`},
		{"C4.3.3 a full response replaces", `
			origin 200 a | Cache-Control: max-age=10 | Etag: "1"
			GET / => fwd 200 a
			wait 11s
			origin 200 b | Cache-Control: max-age=10 | Etag: "2"
			GET / => fwd 200 b
			GET / => hit 200 b | Etag: "2"`},
		{"C4.3.2 If-None-Match", `
			origin 200 a | Cache-Control: max-age=60 | Etag: "1" | Content-Location: /y | Vary: X-A | Expires: <date+1h> | Content-Language: de | Last-Modified: <date-1h>
			GET / => fwd 200 a
			wait 3s
			GET / | If-None-Match: "1" => hit 304 - | Age: 3 | Content-Location: /y | Date: * | Etag: "1" | Vary: X-A | Cache-Control: max-age=60 | Expires: * | Content-Length: - | Content-Type: - | Content-Language: -
			HEAD / | If-None-Match: "1" => hit 304 -
			GET / | If-None-Match: "2" => hit 200 a
			GET / | If-None-Match: W/"1" => hit 304 -
			GET / | If-None-Match: "2", "1" => hit 304 -
			GET / | If-None-Match: "2" | If-None-Match: "1" => hit 304 -
			GET / | If-None-Match: "2,1", W/"1" => hit 304 -
			GET / | If-None-Match: * => hit 304 -
			GET / | If-None-Match: "1, 2" => hit 200 a
			GET / | If-None-Match: 1 => hit 200 a`},
		{"H8.8.3 tags with commas and other signs", `
			origin 200 a | Cache-Control: max-age=60 | Etag: "a,b\c"
			GET / => fwd 200 a
			GET / | If-None-Match: "x", "a,b\c" => hit 304 -
			GET / | If-None-Match: "a => hit 200 a
			GET / | If-None-Match: "b" => hit 200 a`},
		{"H8.8.3.2 a weak tag of the cache", `
			origin 200 a | Cache-Control: max-age=60 | Etag: W/"1"
			GET / => fwd 200 a
			GET / | If-None-Match: "1" => hit 304 -
			GET / | If-None-Match: W/"1" => hit 304 -`},
		{"C4.3.2 If-Modified-Since", `
			origin 200 a | Cache-Control: max-age=60 | Last-Modified: <date-1h>
			GET / => fwd 200 a
			GET / | If-Modified-Since: <date-1h> => hit 304 -
			GET / | If-Modified-Since: <date-2h> => hit 200 a
			GET / | If-Modified-Since: <date-30m> => hit 304 -
			GET / | If-Modified-Since: whenever => hit 200 a
			GET / | If-Modified-Since: <date-1h> | If-None-Match: "1" => hit 200 a`},
		{"C4.3.2 If-Modified-Since against Date", `
			origin 200 a | Cache-Control: max-age=60
			GET / => fwd 200 a
			wait 2s
			GET / | If-Modified-Since: <date-2s> => hit 304 -
			GET / | If-Modified-Since: <date-3s> => hit 200 a`},
		{"C4.3.2 conditions of a client are joined", `
			origin 200 a | Cache-Control: max-age=10 | Etag: "1"
			GET / => fwd 200 a
			wait 11s
			origin 304 - | Etag: "1"
			GET / | If-None-Match: "2" => fwd 200 a
			saw If-None-Match: "2", "1"
			wait 11s
			GET / | If-None-Match: "1" => fwd 304 -`},
		{"C4.3.2 a 304 about what the client has passes", `
			origin 200 a | Cache-Control: max-age=10 | Etag: "1"
			GET / => fwd 200 a
			wait 11s
			origin 304 - | Etag: "2"
			GET / | If-None-Match: "2" => fwd 304 - | Etag: "2"
			origin 200 b | Cache-Control: max-age=10 | Etag: "2"
			GET / => fwd 200 b`},
		{"C4.3.2 a 304 to a client's own condition is no response to store", `
			origin 304 - | Etag: "1" | Cache-Control: max-age=60
			GET / | If-None-Match: "1" => fwd 304 -
			origin 200 a | Etag: "1" | Cache-Control: max-age=60
			GET / => fwd 200 a`},
	})
}

func TestInvalidation(t *testing.T) {
	t.Parallel()
	var table []struct{ name, script string }
	add := func(name, script string) { table = append(table, struct{ name, script string }{name, script}) }
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "M-SEARCH", "FOO"} {
		for _, code := range []int{200, 201, 204, 299, 301, 303, 400, 404, 500} {
			second := "fwd 200 b"
			if code >= 400 {
				second = "hit 200 a"
			}
			add(fmt.Sprintf("C4.4 %s with %d", method, code), fmt.Sprintf(`
				origin 200 a | Cache-Control: max-age=60 | Vary: X-A
				GET /x => fwd 200 a
				GET /x | X-A: 1 => fwd 200 a
				GET /y => fwd 200 a
				origin %d -
				%s /x => fwd %d -
				origin 200 b
				GET /x => %s
				GET /x | X-A: 1 => %s
				GET /y => hit 200 a`, code, method, code, second, second))
		}
	}
	for _, method := range []string{"OPTIONS", "TRACE", "PROPFIND"} {
		add("C4.4 not by "+method, fmt.Sprintf(`
			origin 200 a | Cache-Control: max-age=60
			GET /x => fwd 200 a
			origin 200 -
			%s /x => fwd 200 -
			GET /x => hit 200 a`, method))
	}
	for _, field := range []string{"Location", "Content-Location"} {
		for _, one := range []struct{ value, second string }{
			{"/d/y", "fwd 200 b"}, {"y", "fwd 200 b"}, {"http://site.example/d/y", "fwd 200 b"}, {"http://SITE.example:80/d/y", "fwd 200 b"}, {"//site.example/d/y", "fwd 200 b"},
			{"http://other.example/d/y", "hit 200 a"}, {"https://site.example/d/y", "hit 200 a"}, {"http://site.example:81/d/y", "hit 200 a"}, {"/d/z", "hit 200 a"},
		} {
			add(fmt.Sprintf("C4.4 %s: %s", field, one.value), fmt.Sprintf(`
				origin 200 a | Cache-Control: max-age=60
				GET /d/y => fwd 200 a
				origin 201 - | %s: %s
				POST /d/x => fwd 201 -
				origin 200 b
				GET /d/y => %s`, field, one.value, one.second))
		}
	}
	add("C4.4 Location of an error", `
		origin 200 a | Cache-Control: max-age=60
		GET /y => fwd 200 a
		origin 400 - | Location: /y
		POST /x => fwd 400 -
		GET /y => hit 200 a`)
	add("RFC 9875 s3 Cache-Group-Invalidation", `
		origin 200 a | Cache-Control: max-age=60 | Cache-Groups: "g";x=1, "h"
		GET /a => fwd 200 a | Cache-Groups: "g";x=1, "h"
		origin 200 a | Cache-Control: max-age=60 | Cache-Groups: "G"
		GET /b => fwd 200 a
		origin 200 b | Cache-Control: no-store | Cache-Group-Invalidation: "g"
		GET /c => fwd 200 b
		GET /a => hit 200 a
		origin 400 - | Cache-Group-Invalidation: "g"
		POST /c => fwd 400 -
		GET /a => hit 200 a
		origin 204 - | Cache-Group-Invalidation: "x", "g"
		POST /c => fwd 204 -
		GET /b => hit 200 a
		origin 200 b
		GET /a => fwd 200 b`)
	scripts(t, Options{Profile: RFC9111}, table)
}

func TestRanges(t *testing.T) {
	t.Parallel()
	whole := `
		origin 200 0123456789 | Cache-Control: max-age=60 | Etag: "1" | Last-Modified: <date-1h> | Content-Location: /y | Vary: X-A
		GET / => fwd 200 0123456789
		origin 500 -
		`
	var table []struct{ name, script string }
	add := func(name, script string) { table = append(table, struct{ name, script string }{name, script}) }
	for _, one := range []struct{ asks, want string }{
		{"bytes=0-3", "206 0123 | Content-Range: bytes 0-3/10 | Content-Length: 4 | Etag: \"1\" | Vary: X-A | Content-Location: /y | Cache-Control: max-age=60 | Age: 0 | Date: *"},
		{"bytes=7-", "206 789 | Content-Range: bytes 7-9/10"},
		{"bytes=-3", "206 789 | Content-Range: bytes 7-9/10"},
		{"bytes=-30", "206 0123456789 | Content-Range: bytes 0-9/10"},
		{"bytes=5-500", "206 56789 | Content-Range: bytes 5-9/10"},
		{"bytes=5-99999999999999999999", "206 56789"},
		{"BYTES=0-0", "206 0"},
		{"bytes=0-0, 20-30", "206 0"},
		{"bytes=10-", "416 - | Content-Range: bytes */10"},
		{"bytes=-0", "416 - | Content-Range: bytes */10"},
		{"bytes=10-12, 20-", "416 - | Content-Range: bytes */10"},
		{"bytes=3-2", "200 0123456789"}, {"bytes=a-b", "200 0123456789"}, {"bytes=", "200 0123456789"}, {"bytes=-", "200 0123456789"},
		{"bytes 0-3", "200 0123456789"}, {"bytes =0-3", "200 0123456789"}, {"lines=0-3", "200 0123456789"}, {"bytes=--3", "200 0123456789"}, {"bytes=0x1-3", "200 0123456789"},
	} {
		add("H14 "+one.asks, whole+"GET / | Range: "+one.asks+" => hit "+one.want)
	}
	for _, one := range []struct{ condition, want string }{
		{`"1"`, "206 0123"}, {`"2"`, "200 0123456789"}, {`W/"1"`, "200 0123456789"}, {"<date-1h>", "206 0123"}, {"<date-2h>", "200 0123456789"}, {"<date-30m>", "200 0123456789"}, {"x", "200 0123456789"},
	} {
		add("H13.1.5 If-Range: "+one.condition, whole+"GET / | Range: bytes=0-3 | If-Range: "+one.condition+" => hit "+one.want)
	}
	add("H13.2.2 If-None-Match before Range", whole+`GET / | Range: bytes=0-3 | If-None-Match: "1" => hit 304 -`)
	add("H14.2 Range of HEAD", whole+`HEAD / | Range: bytes=0-3 => hit 200 - | Content-Range: -`)
	add("H13.1.5 a weak tag never matches", `
		origin 200 0123456789 | Cache-Control: max-age=60 | Etag: W/"1"
		GET / => fwd 200 0123456789
		GET / | Range: bytes=0-3 | If-Range: W/"1" => hit 200 0123456789`)
	add("H8.8.2.2 nor a date that is not strong", `
		origin 200 0123456789 | Cache-Control: max-age=60 | Last-Modified: <date+0s>
		GET / => fwd 200 0123456789
		GET / | Range: bytes=0-3 | If-Range: <date+0s> => hit 200 0123456789`)
	add("C3.3 a part answers for what lies inside", `
		origin 206 2345 | Cache-Control: max-age=60 | Content-Range: bytes 2-5/10 | Etag: "1"
		GET / | Range: bytes=2-5 => fwd 206 2345
		saw Range: bytes=2-5
		GET / | Range: bytes=2-5 => hit 206 2345 | Content-Range: bytes 2-5/10
		GET / | Range: bytes=3-4 => hit 206 34 | Content-Range: bytes 3-4/10 | Content-Length: 2
		origin 206 67 | Cache-Control: max-age=60 | Content-Range: bytes 6-7/10 | Etag: "2"
		GET / | Range: bytes=6-7 => fwd 206 67
		origin 200 0123456789 | Cache-Control: max-age=60 | Etag: "1"
		GET / => fwd 200 0123456789
		GET / => hit 200 0123456789`)
	add("C3.3 a part without a validator", `
		origin 206 2345 | Cache-Control: max-age=60 | Content-Range: bytes 2-5/10
		GET / | Range: bytes=2-5 => fwd 206 2345
		GET / | Range: bytes=2-5 => hit 206 2345
		origin 206 67 | Cache-Control: max-age=60 | Content-Range: bytes 6-7/10
		GET / | Range: bytes=6-7 => fwd 206 67
		GET / | Range: bytes=2-7 => fwd 206 67`)
	add("C3.4 parts are joined", `
		origin 206 01234 | Cache-Control: max-age=60 | Content-Range: bytes 0-4/10 | Etag: "1" | X-A: 1
		GET / | Range: bytes=0-4 => fwd 206 01234
		origin 206 456789 | Cache-Control: max-age=60 | Content-Range: bytes 4-9/10 | Etag: "1" | X-A: 2
		GET / | Range: bytes=4-9 => fwd 206 456789
		GET / => hit 200 0123456789 | X-A: 2 | Content-Length: 10 | Content-Range: -
		GET / | Range: bytes=3-5 => hit 206 345`)
	add("C3.4 but not on a weak tag", `
		origin 206 01234 | Cache-Control: max-age=60 | Content-Range: bytes 0-4/10 | Etag: W/"1"
		GET / | Range: bytes=0-4 => fwd 206 01234
		origin 206 56789 | Cache-Control: max-age=60 | Content-Range: bytes 5-9/10 | Etag: W/"1"
		GET / | Range: bytes=5-9 => fwd 206 56789
		origin 200 x
		GET / => fwd 200 x`)
	add("C3.4 nor of different tags", `
		origin 206 01234 | Cache-Control: max-age=60 | Content-Range: bytes 0-4/10 | Etag: "1"
		GET / | Range: bytes=0-4 => fwd 206 01234
		origin 206 56789 | Cache-Control: max-age=60 | Content-Range: bytes 5-9/10 | Etag: "2"
		GET / | Range: bytes=5-9 => fwd 206 56789
		origin 200 x
		GET / => fwd 200 x`)
	for _, lie := range []string{"bytes 2-6/10", "bytes 2-5/4", "bytes 5-2/10", "bytes x-5/10", "lines 2-5/10", "bytes 2-5", "bytes */10"} {
		add("C3.3 Content-Range: "+lie, fmt.Sprintf(`
			origin 206 2345 | Cache-Control: max-age=60 | Content-Range: %s | Etag: "1"
			GET / | Range: bytes=2-5 => fwd 206 2345
			GET / | Range: bytes=2-5 => fwd 206 2345`, lie))
	}
	add("C3.3 a body that is cut is a part", `
		origin cut 200 01234 | Cache-Control: max-age=60 | Content-Length: 10 | Etag: "1"
		GET / => fwd cut
		GET / | Range: bytes=1-3 => hit 206 123 | Content-Range: bytes 1-3/10
		origin 200 0123456789 | Cache-Control: max-age=60 | Etag: "1"
		GET / => fwd 200 0123456789`)
	for _, one := range []struct{ name, first, asks, rest, answer, saw string }{
		{"its end", "bytes=0-3", "0123", "206 456789 | Content-Range: bytes 4-9/10", "0123456789", "bytes=4-9"},
		{"its beginning", "bytes=4-", "456789", "206 0123 | Content-Range: bytes 0-3/10", "0123456789", "bytes=0-3"},
		{"what has become of it", "bytes=0-3", "0123", "200 abc | X-A: 1", "abc", "bytes=4-9"},
	} {
		span := map[string]string{"bytes=0-3": "0-3", "bytes=4-": "4-9"}[one.first]
		add("C3.3 a part is completed by "+one.name, fmt.Sprintf(`
			origin 206 %s | Cache-Control: max-age=60 | Content-Range: bytes %s/10 | Etag: "1"
			GET / | Range: %s => fwd 206 %s
			origin %s | Cache-Control: max-age=60 | Etag: "1"
			GET / => fwd 200 %s | Content-Range: - | Cache-Status: *
			saw Range: %s | If-Range: "1" | If-None-Match: -
			GET / => hit 200 %s`, one.asks, span, one.first, one.asks, one.rest, one.answer, one.saw, one.answer))
	}
	for _, bad := range []string{`206 456789 | Content-Range: bytes 4-9/10 | Etag: "2"`, `206 456789 | Content-Range: bytes 4-9/10`, `206 56789 | Content-Range: bytes 5-9/10 | Etag: "1"`, `206 45 | Content-Range: bytes 4-9/10 | Etag: "1"`, `206 456789 | Content-Range: bytes 4-9/11 | Etag: "1"`, "416 -"} {
		add("C3.4 nor is it completed by "+bad, `
			origin 206 0123 | Cache-Control: max-age=60 | Content-Range: bytes 0-3/10 | Etag: "1"
			GET / | Range: bytes=0-3 => fwd 206 0123
			origin `+bad+` | Cache-Control: max-age=60
			GET / => fwd2 * *
			saw Range: - | If-Range: -`)
	}
	add("C3.3 a body that is cut is not complete", `
		origin cut 200 01234 | Cache-Control: max-age=60
		GET / => fwd cut
		origin 200 x | Cache-Control: max-age=60
		GET / => fwd 200 x`)
	add("H15.3.7.2 several parts are not stored", `
		origin 206 xyz | Cache-Control: max-age=60 | Content-Type: multipart/byteranges; boundary=x | Etag: "1"
		GET / | Range: bytes=0-1,3-4 => fwd 206 xyz
		GET / | Range: bytes=0-1,3-4 => fwd 206 xyz`)
	scripts(t, Options{Profile: RFC9111}, table)
}

func TestTargetedFields(t *testing.T) {
	t.Parallel()
	var table []struct{ name, script string }
	fresh := func(name string, hit bool, fields string) {
		second := "fwd"
		if hit {
			second = "hit"
		}
		table = append(table, struct{ name, script string }{"RFC 9213 " + name, "origin 200 a | " + fields + "\nGET / => fwd 200 a\nwait 5s\nGET / => " + second + " 200 a"})
	}
	fresh("s2.2 before Cache-Control", true, "CDN-Cache-Control: max-age=60 | Cache-Control: no-store")
	fresh("s2.2 before Expires", false, "CDN-Cache-Control: max-age=1 | Expires: <date+1h>")
	fresh("s2.2 no-store", false, "CDN-Cache-Control: no-store | Cache-Control: max-age=60")
	fresh("s2.2 private", false, "CDN-Cache-Control: max-age=60, private | Cache-Control: max-age=60")
	fresh("s2.2 no-cache", false, "CDN-Cache-Control: max-age=60, no-cache | Cache-Control: max-age=60")
	fresh("s2.2 an unknown directive alone", false, "CDN-Cache-Control: foo | Cache-Control: max-age=60")
	fresh("s2.2 the first of the list", true, "CDN-Cache-Control: max-age=60 | Surrogate-Control: no-store")
	fresh("s2.2 the second if the first is not valid", false, "CDN-Cache-Control: max-age=60,, | Surrogate-Control: no-store | Cache-Control: max-age=60")
	fresh("s2.4 others mean nothing", true, "Other-Cache-Control: no-store | Cache-Control: max-age=60")
	fresh("s2.1 empty", true, "CDN-Cache-Control: | Cache-Control: max-age=60")
	for _, bad := range []string{"MAX-AGE=1", "max-age=1,", "max-age=1;", "max-age= 1", "max-age==1", "&", "max-age=1 foo", `max-age="1`, "max-age=1.", "max-age=1.2345", "max-age=1234567890123456", "max-age=?2"} {
		fresh("s2.1 "+bad+" is ignored", true, "CDN-Cache-Control: "+bad+" | Cache-Control: max-age=60")
	}
	for _, other := range []string{`max-age="60"`, "max-age=60.0", "max-age=-60", "max-age", "max-age=?1", "max-age=(60)", "max-age=:AAAA:", "max-age=@60", "max-age=abc"} {
		fresh("s2.1 "+other+" is no age", false, "CDN-Cache-Control: "+other+" | Cache-Control: max-age=60")
	}
	fresh("s2.1 parameters mean nothing", true, "CDN-Cache-Control: max-age=60;a;b=1 | Cache-Control: max-age=1")
	fresh("s2.1 the last of equal keys", true, "CDN-Cache-Control: max-age=1, max-age=60")
	fresh("s2.1 lines are joined", false, "CDN-Cache-Control: max-age=60 | CDN-Cache-Control: no-store")
	fresh("s2.1 no-store=?0", true, "CDN-Cache-Control: no-store=?0, max-age=60")
	fresh("s2.1 white space", true, "CDN-Cache-Control: max-age=60  ,\t foo")
	table = append(table, struct{ name, script string }{"RFC 9213 s3 they pass", `
		origin 200 a | CDN-Cache-Control: max-age=60
		GET / => fwd 200 a | CDN-Cache-Control: max-age=60
		GET / => hit 200 a | CDN-Cache-Control: max-age=60`})
	table = append(table, struct{ name, script string }{"RFC 9213 s2.2 must-revalidate", `
		origin 200 a | CDN-Cache-Control: max-age=60, must-revalidate
		GET / => fwd 200 a
		wait 61s
		origin down
		GET / => fwd fail`})
	scripts(t, Options{Profile: RFC9111, TargetFields: []string{"CDN-Cache-Control", "Surrogate-Control"}}, table)
}
