package httpcache

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/uprung/uprung/key"
)

// The lines of the table in the package comment, where Safe refuses more.
func TestSafe(t *testing.T) {
	t.Parallel()
	scripts(t, Options{}, []struct{ name, script string }{
		{"Set-Cookie is not stored", `
			origin 200 a | Cache-Control: max-age=60, public | Set-Cookie: a=b
			GET / => fwd 200 a | Set-Cookie: a=b
			GET / => fwd 200 a`},
		{"unless the origin has it left out", `
			origin 200 a | Cache-Control: max-age=60, no-cache="Set-Cookie" | Set-Cookie: a=b
			GET / => fwd 200 a | Set-Cookie: a=b
			GET / => hit 200 a | Set-Cookie: -`},
		{"what is for the bearer of a cookie is stored only if it says so", `
			origin 200 a | Cache-Control: max-age=60
			GET /a | Cookie: a=b => fwd 200 a
			GET /a => fwd 200 a
			origin 200 a | Cache-Control: max-age=60, public
			GET /b | Cookie: a=b => fwd 200 a
			GET /b => hit 200 a
			origin 200 a | Cache-Control: s-maxage=60
			GET /c | Cookie: a=b => fwd 200 a
			GET /c | Cookie: c=d => hit 200 a`},
		{"nothing said of freshness", `
			origin 200 a | Last-Modified: <date-100h>
			GET / => fwd 200 a
			origin 304 -
			GET / => fwd 200 a
			saw If-Modified-Since: *`},
		{"errors without freshness", `
			origin 404 a | Last-Modified: <date-100h> | Cache-Control: public
			GET / => fwd 404 a
			GET / => fwd 404 a
			origin 404 a | Cache-Control: max-age=5
			GET / => fwd 404 a
			GET / => hit 404 a`},
		{"bearers of cookies neither end nor freshen what is stored for all", `
			origin 200 a | Cache-Control: max-age=10, stale-while-revalidate=10 | Etag: "1"
			GET / => fwd 200 a
			wait 30s
			origin 304 - | Etag: "1"
			GET / | Cookie: a=b => fwd 200 a
			GET / | Cache-Control: no-store => fwd 200 a
			GET / | Authorization: x => fwd 200 a
			saw If-None-Match: "1"
			GET / => fwd 200 a
			wait 15s
			GET / | Cookie: a=b | Authorization: x => bg 200 a
			saw Cookie: - | Authorization: - | If-None-Match: "1"
			GET / | Cookie: a=b => hit 200 a | Age: 0`},
		{"Vary: Cookie", `
			origin 200 a | Cache-Control: max-age=60, public | Vary: cookie
			GET / => fwd 200 a
			GET / => fwd 200 a`},
		{"POST is not stored", `
			origin 200 a | Cache-Control: max-age=60 | Content-Location: /
			POST / => fwd 200 a
			GET / => fwd 200 a`},
		{"the origin cannot be reached", `
			origin 200 a | Cache-Control: max-age=60
			GET /a => fwd 200 a
			origin 200 a | Cache-Control: max-age=60, stale-if-error=60
			GET /b => fwd 200 a
			wait 61s
			origin down
			GET /a => fwd fail
			GET /b => fwd 200 a`},
	})
}

func TestFieldsOfClientsByFace(t *testing.T) {
	for _, field := range []string{"Cache-Control: no-cache", "Cache-Control: max-age=0", "Cache-Control: min-fresh=100", "Pragma: no-cache"} {
		t.Run(field, func(t *testing.T) {
			faces(t, Options{}, func(t *testing.T, s *site) {
				second := map[string]string{"handler": "hit", "transport": "fwd"}[s.face]
				script(`origin 200 a | Cache-Control: max-age=60
					GET / => fwd 200 a
					wait 1s
					GET / | `+field+` => `+second+` 200 a`).run(t, s)
			})
		})
	}
	t.Run("Cache-Control: max-stale", func(t *testing.T) {
		faces(t, Options{}, func(t *testing.T, s *site) {
			second := map[string]string{"handler": "fwd", "transport": "hit"}[s.face]
			script(`origin 200 a | Cache-Control: max-age=60
				GET / => fwd 200 a
				wait 61s
				GET / | Cache-Control: max-stale => `+second+` 200 a`).run(t, s)
		})
	})
	t.Run("TrustRequest", func(t *testing.T) {
		faces(t, Options{TrustRequest: func(r *http.Request) bool { return r.Header.Get("X-Trusted") != "" }}, func(t *testing.T, s *site) {
			script(`origin 200 a | Cache-Control: max-age=60
				GET / => fwd 200 a
				GET / | Cache-Control: no-cache => hit 200 a
				GET / | Cache-Control: no-cache | X-Trusted: 1 => fwd 200 a`).run(t, s)
		})
	})
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, one := range []struct {
		name   string
		o      Options
		script string
	}{
		{"CookieStripOnPublic", Options{SetCookie: CookieStripOnPublic}, `
			origin 200 a | Cache-Control: max-age=60, public | Set-Cookie: a=b
			GET /a => fwd 200 a | Set-Cookie: a=b
			GET /a => hit 200 a | Set-Cookie: -
			origin 200 a | Cache-Control: max-age=60 | Set-Cookie: a=b
			GET /b => fwd 200 a
			GET /b => fwd 200 a`},
		{"CookieRFC", Options{SetCookie: CookieRFC}, `
			origin 200 a | Cache-Control: max-age=60 | Set-Cookie: a=b
			GET / => fwd 200 a
			GET / => hit 200 a | Set-Cookie: a=b`},
		{"HeuristicMax", Options{HeuristicMax: 3600e9}, `
			origin 200 a | Last-Modified: <date-100h>
			GET / => fwd 200 a
			wait 59m
			GET / => hit 200 a
			wait 2m
			GET / => fwd 200 a`},
		{"StaleOnError", Options{StaleOnError: 60e9}, `
			origin 200 a | Cache-Control: max-age=60
			GET / => fwd 200 a
			wait 100s
			origin 503 b
			GET / => fwd 200 a
			origin down
			GET / => fwd 200 a
			wait 30s
			GET / => fwd fail`},
		{"StaleSMaxAge", Options{StaleSMaxAge: true}, `
			origin 200 a | Cache-Control: s-maxage=60, stale-while-revalidate=60
			GET / => fwd 200 a
			wait 100s
			GET / => bg 200 a`},
		{"s-maxage without it", Options{}, `
			origin 200 a | Cache-Control: s-maxage=60, stale-while-revalidate=60
			GET / => fwd 200 a
			wait 100s
			GET / => fwd 200 a`},
		{"KeyFields", Options{KeyFields: []string{"X-Tenant"}}, `
			origin 200 a | Cache-Control: max-age=60
			GET / | X-Tenant: 1 => fwd 200 a
			GET / | X-Tenant: 2 => fwd 200 a
			GET / => fwd 200 a
			GET / | X-Tenant: 1 => hit 200 a`},
		{"IgnoreQuery", Options{IgnoreQuery: []string{"utm_source"}}, `
			origin 200 a | Cache-Control: max-age=60
			GET /?a=1&utm_source=x&b=2 => fwd 200 a
			GET /?a=1&b=2 => hit 200 a
			GET /?utm_source=y&a=1&b=2 => hit 200 a
			GET /?b=2&a=1 => fwd 200 a`},
		{"StripTargetFields", Options{TargetFields: []string{"surrogate-control"}, StripTargetFields: true}, `
			origin 200 a | Surrogate-Control: max-age=60 | Cache-Control: no-store
			GET / => fwd 200 a | Surrogate-Control: - | Cache-Control: no-store
			GET / => hit 200 a | Surrogate-Control: -`},
		{"IgnoreGroupInvalidation", Options{IgnoreGroupInvalidation: true}, `
			origin 200 a | Cache-Control: max-age=60 | Cache-Groups: "g"
			GET / => fwd 200 a
			origin 200 - | Cache-Group-Invalidation: "g"
			POST /x => fwd 200 -
			GET / => hit 200 a`},
		{"Skip", Options{Skip: func(r *http.Request) bool { return r.Header.Get("X-Skip") != "" }}, `
			origin 200 a | Cache-Control: max-age=60
			GET / | X-Skip: 1 => fwd 200 a | Cache-Status: -
			GET / => fwd 200 a
			GET / | X-Skip: 1 => fwd 200 a
			POST / | X-Skip: 1 => fwd 200 a | Cache-Status: -
			GET / => fwd 200 a`},
		{"Debug", Options{Debug: true}, `
			origin 200 a | Cache-Control: no-store
			GET /x?y => fwd 200 a | Cache-Status: uprung; fwd=uri-miss; key="http://site.example/x?y?"; detail=no-store`},
		{"a small MaxObject", Options{MaxObject: 3}, `
			origin 200 abc | Cache-Control: max-age=60
			GET /a => fwd 200 abc
			GET /a => hit 200 abc
			origin 200 abcd | Cache-Control: max-age=60
			GET /b => fwd 200 abcd
			GET /b => fwd 200 abcd`},
		{"a small MaxHeader", Options{MaxHeader: 1000}, `
			origin 200 a | Cache-Control: max-age=60 | X-A: ` + strings.Repeat("x", 1000) + `
			GET /a => fwd 200 a
			GET /a => fwd 200 a`},
	} {
		t.Run(one.name, func(t *testing.T) {
			faces(t, one.o, func(t *testing.T, s *site) { script(one.script).run(t, s) })
		})
	}
}

// Each principal of a private cache has responses of its own, and those that it does not
// know have none.
func TestPrivateCacheIsPartitionedByPrincipal(t *testing.T) { // traps 8 and 34
	o := Options{Private: key.Header("X-User")}
	faces(t, o, func(t *testing.T, s *site) {
		if s.face == "handler" {
			return // always shared
		}
		script(`origin 200 a | Cache-Control: max-age=60, private
			GET / | X-User: a | Authorization: x => fwd 200 a
			GET / | X-User: a => hit 200 a
			GET / | X-User: b => fwd 200 a
			GET / => fwd 200 a
			GET / => fwd 200 a
			POST / | X-User: b => fwd 200 a
			GET / | X-User: a => hit 200 a
			GET / | X-User: b => fwd 200 a`).run(t, s)
		if n, err := s.cache.Purge(t.Context(), siteURL+"/"); n != 2 || err != nil {
			t.Errorf("Purge: %d, %v", n, err)
		}
		script("GET / | X-User: a => fwd 200 a").run(t, s)
	})
}

func TestPurges(t *testing.T) {
	ends := func(name string, purge func(*site) (int, error), n int, ended ...string) {
		t.Run(name, func(t *testing.T) {
			faces(t, Options{}, func(t *testing.T, s *site) {
				paths := []string{"/items", "/items/1", "/items?page=2", "/items2", "/other"}
				for _, path := range paths {
					script(fmt.Sprintf(`origin 200 a | Cache-Control: max-age=60, stale-while-revalidate=60 | Etag: "1" | Surrogate-Key: all p%s | Cache-Tag: c d, e
						GET %s => fwd 200 a | Surrogate-Key: - | Cache-Tag: -`, strings.ReplaceAll(path, "/", "-"), path)).run(t, s)
				}
				if got, err := purge(s); got != n || err != nil {
					t.Errorf("it says %d and %v, want %d", got, err, n)
				}
				for _, path := range paths {
					want := "hit"
					for _, one := range ended {
						if name, soft := strings.CutPrefix(one, "soft "); name == path {
							if want = "fwd"; soft {
								want = "bg"
							}
						}
					}
					script("GET "+path+" => "+want+" 200 a").run(t, s)
				}
			})
		})
	}
	ends("Purge", func(s *site) (int, error) { return s.cache.Purge(t.Context(), siteURL+"/items") }, 1, "/items")
	ends("SoftPurge", func(s *site) (int, error) { return s.cache.SoftPurge(t.Context(), siteURL+"/items") }, 1, "soft /items")
	ends("PurgePrefix", func(s *site) (int, error) { return s.cache.PurgePrefix(t.Context(), siteURL+"/items") }, 3, "/items", "/items/1", "/items?page=2")
	ends("PurgeTag", func(s *site) (int, error) {
		return s.cache.PurgeTag(t.Context(), "HTTP://Site.example:80", "p-items", "p-other", "p")
	}, 2, "/items", "/other")
	ends("PurgeTag of a list", func(s *site) (int, error) { return s.cache.PurgeTag(t.Context(), siteURL, "c d") }, 1, "/items", "/items/1", "/items?page=2", "/items2", "/other")
	ends("PurgeTag of another origin", func(s *site) (int, error) { return s.cache.PurgeTag(t.Context(), "http://other.example", "all") }, 0)
	ends("SoftPurgeTag", func(s *site) (int, error) { return s.cache.SoftPurgeTag(t.Context(), siteURL, "p-items2") }, 1, "soft /items2")
	ends("PurgeAll", func(s *site) (int, error) { return s.cache.PurgeAll(t.Context()), nil }, 5, "/items", "/items/1", "/items?page=2", "/items2", "/other")

	t.Run("tags of a 304", func(t *testing.T) {
		faces(t, Options{}, func(t *testing.T, s *site) {
			script(`origin 200 a | Cache-Control: max-age=10 | Etag: "1" | Surrogate-Key: old same
				GET / => fwd 200 a
				wait 11s
				origin 304 - | Etag: "1" | Surrogate-Key: new same
				GET / => fwd 200 a
				GET / => hit 200 a`).run(t, s)
			if n, err := s.cache.PurgeTag(t.Context(), siteURL, "old"); n != 0 || err != nil {
				t.Errorf("the old tag is known: %d, %v", n, err)
			}
			script("GET / => hit 200 a").run(t, s)
			if n, err := s.cache.SoftPurgeTag(t.Context(), siteURL, "new"); n != 1 || err != nil {
				t.Errorf("the new tag is not: %d, %v", n, err)
			}
			script(`GET / => fwd 200 a
				GET / => hit 200 a`).run(t, s)
			s.cache.PurgeAll(t.Context())
			if n := len(s.cache.tags.cells); n != 0 {
				t.Errorf("%d tags of no response", n)
			}
		})
	})

	c, err := New(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{"/x", "", "::", "site.example"} {
		if _, err := c.Purge(t.Context(), url); err == nil {
			t.Errorf("Purge takes %q", url)
		}
		if _, err := c.PurgeTag(t.Context(), url, "x"); err == nil {
			t.Errorf("PurgeTag takes %q", url)
		}
	}
}

func TestPurgeHandler(t *testing.T) { // trap 27
	t.Parallel()
	c, err := New(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if h, err := c.PurgeHandler(nil); h != nil || err == nil {
		t.Error("nobody is asked who may purge")
	}
	purges, err := c.PurgeHandler(func(r *http.Request) bool { return r.Header.Get("Authorization") == "secret" })
	if err != nil {
		t.Fatal(err)
	}
	pages := c.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Surrogate-Key", "x")
	}))
	for _, one := range []struct {
		method, form string
		code         int
		text         string
		left         int64
	}{
		{"POST", "url=http://site.example/1", 200, `{"purged":1}`, 2},
		{"POST", "url=http://site.example/1&soft=1", 200, `{"purged":1}`, 3},
		{"POST", "prefix=http://site.example/", 200, `{"purged":3}`, 0},
		{"POST", "origin=http://site.example&tag=y&tag=x", 200, `{"purged":1}`, 3},
		{"POST", "origin=http://site.example&tag=x&soft=1", 200, `{"purged":1}`, 3},
		{"POST", "all=1", 200, `{"purged":3}`, 0},
		{"GET", "all=1", 405, "", 3},
		{"POST", "", 400, "", 3}, {"POST", "all=0", 400, "", 3}, {"POST", "url=/1", 400, "", 3}, {"POST", "tag=x", 400, "", 3}, {"POST", "origin=http://site.example", 400, "", 3},
		{"POST", "all=1&soft=1", 400, "", 3}, {"POST", "all=1&url=http://site.example/1", 400, "", 3}, {"POST", "%zz", 400, "", 3}, {"POST", "all=1&x=" + strings.Repeat("x", 100<<10), 400, "", 3},
	} {
		for _, path := range []string{"/1", "/2", "/3"} {
			pages.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, siteURL+path, nil))
		}
		ask := func(authorization string) *httptest.ResponseRecorder {
			r := httptest.NewRequestWithContext(t.Context(), one.method, "/purge", strings.NewReader(one.form))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("Authorization", authorization)
			w := httptest.NewRecorder()
			purges.ServeHTTP(w, r)
			return w
		}
		if w := ask("guess"); w.Code != 403 || c.Stats().Entries != 3 {
			t.Errorf("%.40s: a stranger gets %d, and %d responses are left", one.form, w.Code, c.Stats().Entries)
		}
		if w := ask("secret"); w.Code != one.code || !strings.HasPrefix(w.Body.String(), one.text) || c.Stats().Entries != one.left {
			t.Errorf("%s %.40s: %d %s, and %d responses are left, want %d", one.method, one.form, w.Code, w.Body, c.Stats().Entries, one.left)
		}
	}
}
