package httpcache

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/option"
	"github.com/uprung/uprung/key"
)

// Profile is a set of decisions where RFC 9111 leaves a choice, or where what it allows
// has been the way to attack caches. The package comment has them line by line.
type Profile uint8

const (
	// Safe refuses what most often goes wrong. It is the default.
	Safe Profile = iota
	// RFC9111 does all that the RFC lets a cache do.
	RFC9111
)

// String returns the name of the profile.
func (p Profile) String() string {
	if p == RFC9111 {
		return "RFC9111"
	}
	return "Safe"
}

// CookiePolicy says what is done with a response that sets a cookie.
type CookiePolicy uint8

const (
	// CookieByProfile refuses to store it under [Safe], and stores it under [RFC9111].
	CookieByProfile CookiePolicy = iota
	// CookieRefuse does not store it.
	CookieRefuse
	// CookieStripOnPublic stores it without the cookie if it says public, and else not.
	CookieStripOnPublic
	// CookieRFC stores it with the cookie, which everybody gets then (RFC 9111, section
	// 7.3).
	CookieRFC
)

// Collapse are the settings by which requests for what is being fetched already wait for
// it. The zero value of each field is its default.
type Collapse struct {
	// Wait is how long a request waits for a fetch of another to make progress, before it
	// goes to the origin itself. Zero means 5s, a negative value that none waits.
	Wait time.Duration
	// MaxWaiters bounds those that wait for one fetch. Zero means 1024.
	MaxWaiters int
}

// Options are the settings of a [Cache]. The zero value of each field is its default.
type Options struct {
	// Name identifies the cache in Cache-Status and figures: at most 64 printable ASCII
	// characters. Zero means "uprung".
	Name string

	// Profile decides where the RFC leaves a choice.
	Profile Profile

	// Private makes Transport a private cache, of one principal each: it names the one
	// that a request is for, and requests for which it returns false bypass the cache. Nil
	// means a shared cache. Middleware is always shared.
	Private key.Func

	// MaxObject bounds the body of a response that is stored, in bytes. Zero means 8 MiB.
	MaxObject int64
	// MaxHeader bounds its header. Zero means 64 KiB.
	MaxHeader int
	// MaxTags bounds its tags. What is over is ignored, and counted. Zero means 64.
	MaxTags int

	// TargetFields are the fields that say what this cache is to do in place of
	// Cache-Control and Expires, the first that there is (RFC 9213), such as
	// CDN-Cache-Control or Surrogate-Control. Nil means none.
	TargetFields []string
	// StripTargetFields leaves them out of what is passed on.
	StripTargetFields bool

	// TagFields are those that give a response its tags. Nil means Surrogate-Key,
	// Cache-Tag and Cache-Groups (RFC 9875).
	TagFields []string
	// KeepTags passes those fields on. They tell strangers about the site: by default
	// only Cache-Groups is, which is meant for other caches as well.
	KeepTags bool
	// IgnoreGroupInvalidation keeps responses to unsafe methods from ending groups (RFC
	// 9875, section 5), for origins that several parties share.
	IgnoreGroupInvalidation bool

	// SetCookie says what is done with responses that set a cookie.
	SetCookie CookiePolicy

	// Collapse are the settings of waiting for one another's fetches.
	Collapse Collapse

	// HeuristicMax bounds the freshness of a response that says nothing of it: a tenth of
	// the time since it was last modified. Zero means 24h under RFC9111 and none under
	// Safe; a negative value means none.
	HeuristicMax time.Duration

	// StaleOnError is how long beyond its freshness a response may be used when the origin
	// cannot be reached or answers 500, 502, 503 or 504, if it does not forbid that. Zero
	// means 0 under Safe, where stale-if-error decides alone, and 24h under RFC9111, when
	// the origin cannot be reached.
	StaleOnError time.Duration

	// StaleSMaxAge lets s-maxage be used together with stale-while-revalidate and
	// stale-if-error, which RFC 9111 (section 5.2.2.10) forbids and some frameworks send.
	StaleSMaxAge bool

	// TrustRequest says whose no-cache, max-age, min-fresh, max-stale and Pragma count.
	// Nil means, under RFC9111 and for Transport, everybody's, and else nobody's: they
	// would let any client send load to the origin.
	TrustRequest func(*http.Request) bool

	// KeyFields are fields of requests that are part of the key, so that a response may
	// depend on them without a Vary.
	KeyFields []string
	// IgnoreQuery are names of query parameters that are neither part of the key nor
	// passed to the origin, such as utm_source.
	IgnoreQuery []string
	// KeepUnkeyed passes on the fields by which responses have been poisoned, such as
	// X-Forwarded-Host. By default, under Safe, requests that may be answered from the
	// cache lose those that are not in KeyFields.
	KeepUnkeyed bool

	// FetchTimeout bounds a fetch for which others wait, and a validation in the
	// background. Zero means 30s.
	FetchTimeout time.Duration
	// MaxValidations bounds validations in the background at a time. Zero means 64.
	MaxValidations int

	// Mode says what is done with decisions: under [uprung.Shadow] everything goes to the
	// origin, and what would have been answered is counted. Percent goes by Key, or else
	// by the URL. [Cache.SetMode] changes it live. Zero means [uprung.Enforce].
	Mode uprung.Mode
	// Key says for whom a Mode of [uprung.Percent] enforces. Nil means by URL.
	Key key.Func

	// Skip exempts requests: those for which it returns true bypass the cache, except that
	// what they change is no longer used (RFC 9111, section 4.4). Nil exempts none.
	Skip func(*http.Request) bool

	// Refused answers in Middleware a request for which there is no stored response, though
	// it wants no other (only-if-cached), with [ErrNotStored]. Nil means a problem (RFC 9457)
	// of status 504.
	Refused func(http.ResponseWriter, *http.Request, error)

	// Debug shows in Cache-Status the key, and why a response was not stored.
	Debug bool

	// Logger is told of trouble in the background. Nil means silence.
	Logger *slog.Logger
}

// complete returns the options with all defaults in place, and what describes them.
func (o Options) complete() (Options, []uprung.Setting, error) {
	given := o
	rfc := o.Profile == RFC9111
	o.Name = cmp.Or(o.Name, "uprung")
	o.MaxObject = cmp.Or(o.MaxObject, 8<<20)
	o.MaxHeader = cmp.Or(o.MaxHeader, 64<<10)
	o.MaxTags = cmp.Or(o.MaxTags, 64)
	o.Collapse.Wait = cmp.Or(o.Collapse.Wait, 5*time.Second)
	o.Collapse.MaxWaiters = cmp.Or(o.Collapse.MaxWaiters, 1024)
	o.FetchTimeout = cmp.Or(o.FetchTimeout, 30*time.Second)
	o.MaxValidations = cmp.Or(o.MaxValidations, 64)
	if rfc {
		o.HeuristicMax = cmp.Or(o.HeuristicMax, 24*time.Hour)
		o.StaleOnError = cmp.Or(o.StaleOnError, 24*time.Hour)
	}
	if o.SetCookie == CookieByProfile {
		if o.SetCookie = CookieRefuse; rfc {
			o.SetCookie = CookieRFC
		}
	}
	canonical := func(names []string) []string {
		names = slices.Clone(names)
		for at := range names {
			names[at] = textproto.CanonicalMIMEHeaderKey(names[at])
		}
		return names
	}
	o.TargetFields, o.KeyFields = canonical(o.TargetFields), canonical(o.KeyFields)
	if o.TagFields == nil {
		o.TagFields = []string{"Surrogate-Key", "Cache-Tag", cacheGroups}
	}
	o.TagFields = canonical(o.TagFields)
	o.IgnoreQuery = slices.Clone(o.IgnoreQuery)

	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("httpcache: "+format, args...)) }
	if err := option.CheckName("Name", o.Name); err != nil {
		bad("%w", err)
	}
	if o.Profile > RFC9111 {
		bad("Profile is %d, want Safe or RFC9111", o.Profile)
	}
	if o.SetCookie > CookieRFC {
		bad("SetCookie is %d, want CookieByProfile, CookieRefuse, CookieStripOnPublic or CookieRFC", o.SetCookie)
	}
	if err := o.Mode.Validate(); err != nil {
		bad("Mode: %w", err)
	}
	for _, field := range []struct {
		name  string
		value int64
	}{
		{"MaxObject", o.MaxObject}, {"MaxHeader", int64(o.MaxHeader)}, {"MaxTags", int64(o.MaxTags)}, {"MaxValidations", int64(o.MaxValidations)},
		{"Collapse.MaxWaiters", int64(o.Collapse.MaxWaiters)},
	} {
		if field.value < 0 {
			bad("%s is %d, want >= 0", field.name, field.value)
		}
	}
	for _, field := range []struct {
		name  string
		value time.Duration
	}{{"StaleOnError", o.StaleOnError}, {"FetchTimeout", o.FetchTimeout}} {
		if field.value < 0 {
			bad("%s is %v, want >= 0", field.name, field.value)
		}
	}
	for _, list := range []struct {
		name   string
		fields []string
	}{{"TargetFields", o.TargetFields}, {"TagFields", o.TagFields}, {"KeyFields", o.KeyFields}} {
		for at, name := range list.fields {
			if !isToken(name) {
				bad("%s[%d] is %q, want the name of a field", list.name, at, name)
			}
		}
	}
	cookies := [...]string{"", "refuse", "strip on public", "as any field"}[min(o.SetCookie, CookieRFC)]
	settings := []uprung.Setting{
		{Name: "Profile", Value: o.Profile.String(), Default: o.Profile == Safe},
		{Name: "Mode", Value: o.Mode.String(), Default: o.Mode == uprung.Enforce},
		{Name: "Private", Value: option.Function(o.Private != nil, "no, shared"), Default: o.Private == nil},
		{Name: "MaxObject", Value: strconv.FormatInt(o.MaxObject, 10), Default: given.MaxObject == 0},
		{Name: "TargetFields", Value: cmp.Or(strings.Join(o.TargetFields, ", "), "none"), Default: len(given.TargetFields) == 0},
		{Name: "TagFields", Value: strings.Join(o.TagFields, ", "), Default: given.TagFields == nil},
		{Name: "SetCookie", Value: cookies, Default: given.SetCookie == CookieByProfile},
		{Name: "Collapse.Wait", Value: option.OrNone(o.Collapse.Wait >= 0, o.Collapse.Wait), Default: given.Collapse.Wait == 0},
		{Name: "HeuristicMax", Value: option.OrNone(o.HeuristicMax > 0, o.HeuristicMax), Default: given.HeuristicMax == 0},
		{Name: "StaleOnError", Value: option.OrNone(o.StaleOnError > 0, o.StaleOnError), Default: given.StaleOnError == 0},
		{Name: "TrustRequest", Value: option.Function(o.TrustRequest != nil, "by profile"), Default: o.TrustRequest == nil},
		{Name: "KeyFields", Value: cmp.Or(strings.Join(o.KeyFields, ", "), "none"), Default: len(given.KeyFields) == 0},
		{Name: "Skip", Value: option.Function(o.Skip != nil, "none"), Default: o.Skip == nil},
	}
	return o, settings, errors.Join(errs...)
}
