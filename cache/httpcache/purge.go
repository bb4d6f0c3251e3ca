package httpcache

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/uprung/uprung/internal/httpx"
)

// Purge ends all responses to requests for a URL, absolute and byte for byte as clients
// send it, and returns how many there were. A fetch that has begun before is not stored.
func (c *Cache) Purge(_ context.Context, url string) (int, error) { return c.purgeURL(url, false) }

// SoftPurge makes them stale, so that they are validated before they are used again, and
// can be used while they are, or if the origin fails.
func (c *Cache) SoftPurge(_ context.Context, url string) (int, error) { return c.purgeURL(url, true) }

func (c *Cache) purgeURL(url string, soft bool) (int, error) {
	key, err := c.keyOf(url)
	if err != nil {
		return 0, err
	}
	c.count.purges.Add(1)
	if c.o.Private != nil { // one for each principal
		return c.purgeWhere(func(known string) bool { return strings.HasPrefix(known, key) }, soft), nil
	}
	c.flights.doomKey(key, nil)
	return c.store.removeKey(key, soft), nil
}

// purgeWhere does so for all keys for which match reports true.
func (c *Cache) purgeWhere(match func(key string) bool, soft bool) int {
	c.flights.doom(func(f *flight) bool { return match(f.key) })
	return c.store.removeWhere(match, soft)
}

// keyOf returns the key of a URL in a shared cache.
func (c *Cache) keyOf(url string) (string, error) {
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil || r.URL.Host == "" {
		return "", errors.New("httpcache: url is " + strconv.Quote(url) + ", want an absolute one")
	}
	return string(c.appendKey(nil, r, "")), nil
}

// PurgePrefix ends all responses whose URL begins with a prefix: an absolute URL whose
// path ends a segment, so that /items stands for /items, /items/1 and /items?page=2, and
// not for /items2. It looks at all keys that there are.
func (c *Cache) PurgePrefix(_ context.Context, prefix string) (int, error) {
	key, err := c.keyOf(prefix)
	if err != nil {
		return 0, err
	}
	key = strings.TrimSuffix(key, string(rune(keyEnd)))
	c.count.purges.Add(1)
	return c.purgeWhere(func(known string) bool { return prefixed(known, key) }, false), nil
}

// PurgeTag ends all responses of an origin, such as https://example.com, that have one of
// the tags, and returns how many of the tags any response has. It takes as long for one
// response as for a million. Tags are compared byte for byte. The origin is that of the
// requests as the cache gets them: behind a proxy that ends TLS its scheme is http.
func (c *Cache) PurgeTag(_ context.Context, origin string, tags ...string) (int, error) {
	return c.purgeTags(origin, tags, false)
}

// SoftPurgeTag makes them stale, as [Cache.SoftPurge] does.
func (c *Cache) SoftPurgeTag(_ context.Context, origin string, tags ...string) (int, error) {
	return c.purgeTags(origin, tags, true)
}

func (c *Cache) purgeTags(origin string, tags []string, soft bool) (known int, err error) {
	r, err := http.NewRequest(http.MethodGet, origin, nil)
	if err != nil || r.URL.Host == "" {
		return 0, errors.New("httpcache: origin is " + strconv.Quote(origin) + ", want scheme and host such as https://example.com")
	}
	origin = originOf(r)
	c.count.purges.Add(1)
	for _, tag := range tags {
		if c.purgeTag(origin, tag, soft, nil) {
			known++
		}
	}
	return known, nil
}

func (c *Cache) purgeTag(origin, tag string, soft bool, but *flight) bool {
	// Fetches whose header is not here yet have no tags: they remember this one.
	name := tagKey(origin, tag)
	c.flights.doom(func(f *flight) bool {
		if f == but {
			return false
		}
		if len(f.purged) < maxPurgedIn {
			f.purged = append(f.purged, name)
			return false
		}
		return true
	})
	return c.tags.purge(name, soft)
}

// PurgeAll ends all responses, and returns how many there were.
func (c *Cache) PurgeAll(context.Context) int {
	c.count.purges.Add(1)
	return c.purgeWhere(func(string) bool { return true }, false)
}

// maxPurge bounds the body of a request to PurgeHandler.
const maxPurge = 64 << 10

// PurgeHandler returns a handler by which others purge. It is never mounted by itself, and
// asks auth about each request, which must not be nil: whoever may purge can send all load
// to the origin. A request is a POST of a form with one of
//
//	url=https://shop.example/products/17       Purge
//	prefix=https://shop.example/products       PurgePrefix
//	origin=https://shop.example&tag=a&tag=b    PurgeTag
//	all=1                                      PurgeAll
//
// and soft=1 for SoftPurge and SoftPurgeTag. The answer is a JSON object with how many were
// purged, as those methods return it. Refusals are problems (RFC 9457): 403 where auth
// returns false, 405 for other methods, 400 where the form is not of these.
func (c *Cache) PurgeHandler(auth func(*http.Request) bool) (http.Handler, error) {
	if auth == nil {
		return nil, errors.New("httpcache: auth is nil, want a function that says who may purge")
	}
	problems := make(map[int]*httpx.Problem)
	for status, detail := range map[int]string{
		http.StatusForbidden: "", http.StatusMethodNotAllowed: "Want POST.",
		http.StatusBadRequest: "Want a form with one of url, prefix, origin and tag, or all.",
	} {
		var err error
		if problems[status], err = httpx.NewProblem(status, &httpx.ProblemOptions{Detail: detail}); err != nil {
			return nil, err
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, n := http.StatusOK, 0
		switch {
		case !auth(r):
			status = http.StatusForbidden
		case r.Method != http.MethodPost:
			w.Header().Set("Allow", http.MethodPost)
			status = http.StatusMethodNotAllowed
		default:
			r.Body = http.MaxBytesReader(w, r.Body, maxPurge)
			var err error
			if n, err = c.purgeForm(r); err != nil {
				status = http.StatusBadRequest
			}
		}
		w.Header().Set("Cache-Control", "no-store")
		if status != http.StatusOK {
			problems[status].Write(w, r, 0)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]int{"purged": n}) // the purge is done also for one who has left
	}), nil
}

var errNoPurge = errors.New("httpcache: the form asks for no purge, or for several")

// purgeForm does what the form of a request says.
func (c *Cache) purgeForm(r *http.Request) (int, error) {
	if err := r.ParseForm(); err != nil {
		return 0, err
	}
	form, ctx := r.PostForm, r.Context()
	asked := 0
	for _, name := range []string{"url", "prefix", "origin", "all"} {
		asked += len(form[name])
	}
	soft := form.Get("soft") == "1"
	switch {
	case asked != 1, len(form["tag"]) > 0 != form.Has("origin"), soft && (form.Has("prefix") || form.Has("all")):
		return 0, errNoPurge
	case form.Has("url"):
		return c.purgeURL(form.Get("url"), soft)
	case form.Has("prefix"):
		return c.PurgePrefix(ctx, form.Get("prefix"))
	case form.Has("origin"):
		return c.purgeTags(form.Get("origin"), form["tag"], soft)
	case form.Get("all") == "1":
		return c.PurgeAll(ctx), nil
	}
	return 0, errNoPurge
}
