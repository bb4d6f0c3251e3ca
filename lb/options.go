package lb

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/health"
	"github.com/uprung/uprung/internal/option"
	"github.com/uprung/uprung/key"
	"github.com/uprung/uprung/lb/pick"
	"github.com/uprung/uprung/shard"
)

// Options are the settings of a [Balancer]. The zero value of each field is its
// default.
type Options struct {
	// Name tells this balancer from others in figures, logs and refusals: at most 64
	// printable ASCII characters. Empty means "default".
	Name string

	// Policy chooses one of the endpoints for each request. Nil means
	// [pick.AgeEWMA]{}, the right one for nearly everybody.
	Policy pick.Policy

	// Key finds the key of a request, for policies that go by it, such as [ByKey]. A
	// request without one goes anywhere. Nil means that none has one.
	Key key.Func

	// Refresh is how often [Balancer.Run] asks the resolver again, give or take a
	// tenth. Zero means 30s.
	Refresh time.Duration

	// ResolveTimeout bounds one call of the resolver. Zero means 5s.
	ResolveTimeout time.Duration

	// Probe looks after each endpoint while [Balancer.Run] runs: one that fails it is
	// not picked. Nil means that only requests tell how an endpoint is.
	Probe health.Prober

	// Monitor are the settings of those probes. Nil means their defaults.
	Monitor *health.MonitorOptions

	// Outlier takes endpoints out for a while that do worse than the others.
	Outlier Outlier

	// PanicThreshold is the share of the endpoints of a level that must be usable.
	// Below it, and if no other level can serve instead, all of them are picked from,
	// usable or not: that nearly all are broken is less likely than that what says so
	// is, and the few that are left would be overrun. It is at most 1. Zero means 0.5,
	// negative that endpoints which are not usable are never picked.
	PanicThreshold float64

	// SlowStart is how long an endpoint that is new, or usable again, takes to get
	// its whole share, which rises from a tenth in proportion to time: that of an
	// endpoint of its level and zone which is furthest. A level or a zone whose
	// endpoints come back leaves to the next what they are not up to yet. There is no
	// slow start where none but new endpoints are usable. Zero means 10s, negative
	// none; it is at most 24h.
	SlowStart time.Duration

	// Zone is where this process is. Requests go to endpoints of the same zone, as
	// long as those are well. Empty means that zones make no difference.
	Zone string

	// ZoneInFlight is how many requests in progress for each usable endpoint of the
	// own zone are too many, so that further ones go to other zones. Zero means that
	// there is no such number; then requests leave the zone only for want of healthy
	// endpoints, and to the share to which those answer that they are overloaded.
	ZoneInFlight int

	// Eligible is asked before an endpoint is picked, and refuses it for this request
	// by returning false: for a circuit breaker for each endpoint. It must be quick
	// and safe for concurrent use. Nil refuses none.
	Eligible func(id string) bool

	// Endpoint puts something between the choice of an endpoint and its connections, for
	// all requests to it: a circuit breaker, a limit of what is in flight, faults. It gets
	// the ID and what goes on to the endpoint, and returns what is to be used instead. It
	// is called once for each endpoint of a Transport, and once with an empty ID, for what
	// [uprung.Explain] shows; it must not block. Nil puts nothing there.
	Endpoint func(id string, next http.RoundTripper) http.RoundTripper

	// Patience is how long an answer must have been waited for until a deadline that
	// passes is a failure of the endpoint: the timeout of an attempt, if requests have
	// one. Set it where requests have less time than the default: those that run out of
	// time sooner are no failures, and an endpoint that hangs is then avoided for how
	// long its requests have waited alone, and not ejected. Zero means
	// [uprung.DefaultPatience].
	Patience time.Duration

	// RetryAfter is what clients are told to wait when there is no endpoint to pick.
	// Zero means 1s.
	RetryAfter time.Duration

	// Seed makes the choices repeatable. Zero means that they are not.
	Seed uint64

	// Logger is told, at Info and Warn, when endpoints come, go, fail and recover. Nil
	// is silent.
	Logger *slog.Logger
}

// ByKey returns the policy that sends a request to the endpoint to which its key
// belongs, by a table of package shard. Nil means a ring of default settings, where
// weights of all sizes are taken in proportion: large ones are halved until a ring of
// that many points is of moderate size. Set Options.Key too, and Bound in what it
// returns, if no endpoint is to have too much:
//
//	policy := lb.ByKey(nil)
//	policy.Bound = 1.25
//
// An endpoint that is new or comes back takes over its keys one after the other during
// its slow start; none goes back and forth.
func ByKey(table func(nodes []shard.Node) (shard.Table, error)) pick.Hashed {
	if table == nil {
		table = func(nodes []shard.Node) (shard.Table, error) {
			halve(nodes)
			return shard.NewRing(nodes, nil)
		}
	}
	return pick.Hashed{Table: func(endpoints []pick.Endpoint) (pick.Table, error) {
		nodes := make([]shard.Node, len(endpoints))
		for i, e := range endpoints {
			nodes[i] = shard.Node{ID: e.ID, Weight: e.Weight}
		}
		return table(nodes)
	}}
}

// ringWeight bounds the sum of the weights in a ring, where each is some hundred points.
// It is more where there are more endpoints.
const ringWeight = 1 << 12

// halve halves the weights of nodes until their sum is bounded. It is by powers of two
// and not by the sum itself, so that keys stay where they are as endpoints come and go,
// but for the rare time that it takes one halving more or less.
func halve(nodes []shard.Node) {
	most := max(ringWeight, 4*len(nodes))
	halved := func(weight, times int) int {
		weight = max(weight, 1)
		return max(1, (weight+1<<times>>1)>>times)
	}
	for times := 0; ; times++ {
		sum := 0
		for _, n := range nodes {
			sum += halved(n.Weight, times)
		}
		if sum <= most {
			for i := range nodes {
				nodes[i].Weight = halved(nodes[i].Weight, times)
			}
			return
		}
	}
}

// overprovisioned is how much more than its share of the load a level or a zone is
// taken to bear when some of its endpoints are not usable (Envoy's overprovisioning
// factor).
const overprovisioned = 1.4

// complete returns the options with all defaults in place, and what describes them.
func (o Options) complete() (Options, []uprung.Setting, error) {
	given := o
	o.Name = cmp.Or(o.Name, "default")
	if o.Policy == nil {
		o.Policy = pick.AgeEWMA{}
	}
	o.Refresh = cmp.Or(o.Refresh, 30*time.Second)
	o.ResolveTimeout = cmp.Or(o.ResolveTimeout, 5*time.Second)
	o.PanicThreshold = cmp.Or(o.PanicThreshold, 0.5)
	o.SlowStart = cmp.Or(o.SlowStart, 10*time.Second)
	o.Patience = cmp.Or(o.Patience, uprung.DefaultPatience)
	o.RetryAfter = cmp.Or(o.RetryAfter, time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}

	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("lb: "+format, args...)) }
	if err := option.CheckName("Name", o.Name); err != nil {
		bad("%w", err)
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"Refresh", o.Refresh}, {"ResolveTimeout", o.ResolveTimeout}, {"Patience", o.Patience}, {"RetryAfter", o.RetryAfter},
	} {
		if d.value < 0 {
			bad("%s is %v, want >= 0", d.name, d.value)
		}
	}
	if o.SlowStart > longest {
		bad("SlowStart is %v, want at most %v, or less than 0 for none", o.SlowStart, longest)
	}
	if !(o.PanicThreshold <= 1) {
		bad("PanicThreshold is %v, want at most 1", o.PanicThreshold)
	}
	if o.ZoneInFlight < 0 {
		bad("ZoneInFlight is %d, want >= 0", o.ZoneInFlight)
	}
	if o.ZoneInFlight > 0 && o.Zone == "" {
		bad("ZoneInFlight is %d, want 0 where Zone is empty", o.ZoneInFlight)
	}
	if o.Monitor != nil && o.Probe == nil {
		bad("Monitor is set, want also Probe")
	}
	var err error
	if o.Outlier, err = o.Outlier.complete(); err != nil {
		errs = append(errs, err)
	}
	if _, err := o.Policy.Picker([]pick.Endpoint{{ID: "example"}}, nil); err != nil {
		bad("Policy: %w", err)
	}
	settings := []uprung.Setting{
		{Name: "Policy", Value: fmt.Sprintf("%T", o.Policy), Default: given.Policy == nil},
		{Name: "Key", Value: option.Function(o.Key != nil, "none"), Default: o.Key == nil},
		{Name: "Refresh", Value: o.Refresh.String(), Default: given.Refresh == 0},
		{Name: "Probe", Value: option.Function(o.Probe != nil, "none"), Default: o.Probe == nil},
		{Name: "Outlier", Value: o.Outlier.String(), Default: given.Outlier == Outlier{}},
		{Name: "PanicThreshold", Value: option.OrNone(o.PanicThreshold >= 0, o.PanicThreshold), Default: given.PanicThreshold == 0},
		{Name: "SlowStart", Value: option.OrNone(o.SlowStart >= 0, o.SlowStart), Default: given.SlowStart == 0},
		{Name: "Zone", Value: option.OrNone(o.Zone != "", strconv.Quote(o.Zone)), Default: o.Zone == ""},
		{Name: "ZoneInFlight", Value: option.OrNone(o.ZoneInFlight > 0, o.ZoneInFlight), Default: o.ZoneInFlight == 0},
		{Name: "Eligible", Value: option.Function(o.Eligible != nil, "all"), Default: o.Eligible == nil},
		{Name: "Endpoint", Value: option.Function(o.Endpoint != nil, "none"), Default: o.Endpoint == nil},
		{Name: "Patience", Value: o.Patience.String(), Default: given.Patience == 0},
	}
	return o, settings, errors.Join(errs...)
}

// Outlier are the settings by which endpoints are taken out ("ejected") for a while
// that do worse than the others, as seen from the outcomes of requests. The zero
// value of each field is its default.
//
// What a caller cancels never counts, and neither does an answer of 429, or 503 with
// Retry-After: it asks for less load and not for less of this endpoint.
type Outlier struct {
	// Mode says whether endpoints are ejected, or only counted as if (Shadow), or not
	// looked at (Off). Percent ejects those whose ID falls into it.
	Mode uprung.Mode
	// Consecutive is the number of failures in a row after which an endpoint is
	// ejected. Zero means 5, negative that they are not counted.
	Consecutive int
	// Deviations is by how many standard deviations of the success rates of all
	// endpoints one may be below their mean, over an interval, if that is 0.05 at least.
	// Zero means 1.9 (as in Envoy), negative that rates are not compared.
	Deviations float64
	// Slower is how many times the median of all endpoints' mean response times that
	// of one may be, over an interval; above 1. Zero means that they are not compared:
	// where endpoints are only unequal, the policy does better.
	Slower float64
	// Interval is how long outcomes are gathered until they are compared. Zero means
	// 10s.
	Interval time.Duration
	// MinRequests and MinEndpoints are how many requests to an endpoint in an interval,
	// and how many endpoints with that many, it takes to compare. Zero means 100 and 5.
	MinRequests, MinEndpoints int
	// Ejection is how long an endpoint is out the first time, twice as long the second
	// and so on, up to ten times; each interval in which it is in takes one time back.
	// Zero means 3s.
	Ejection time.Duration
	// MaxEjected is the share of the endpoints that can be out at a time, rounded
	// down, but at least one. Zero means 0.1. It is at most 1.
	MaxEjected float64
}

// longest is more than an interval, an ejection or a slow start can sensibly be.
const longest = 24 * time.Hour

// complete returns the settings with all defaults in place.
func (o Outlier) complete() (Outlier, error) {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("lb: Outlier."+format, args...)) }
	if err := o.Mode.Validate(); err != nil {
		bad("Mode: %w", err)
	}
	if math.IsNaN(o.Deviations) {
		bad("Deviations is %v, want a number", o.Deviations)
	}
	if o.Slower != 0 && !(o.Slower > 1) {
		bad("Slower is %v, want more than 1, or 0 for none", o.Slower)
	}
	if o.Interval < 0 || o.Interval > longest {
		bad("Interval is %v, want 0 to %v", o.Interval, longest)
	}
	if o.MinRequests < 0 {
		bad("MinRequests is %d, want >= 0", o.MinRequests)
	}
	if o.MinEndpoints < 0 {
		bad("MinEndpoints is %d, want >= 0", o.MinEndpoints)
	}
	if o.Ejection < 0 || o.Ejection > longest {
		bad("Ejection is %v, want 0 to %v", o.Ejection, longest)
	}
	if !(o.MaxEjected >= 0 && o.MaxEjected <= 1) {
		bad("MaxEjected is %v, want 0 to 1", o.MaxEjected)
	}
	o.Consecutive = cmp.Or(o.Consecutive, 5)
	o.Deviations = cmp.Or(o.Deviations, 1.9)
	o.Interval = cmp.Or(o.Interval, 10*time.Second)
	o.MinRequests = cmp.Or(o.MinRequests, 100)
	o.MinEndpoints = cmp.Or(o.MinEndpoints, 5)
	o.Ejection = cmp.Or(o.Ejection, 3*time.Second)
	o.MaxEjected = cmp.Or(o.MaxEjected, 0.1)
	return o, errors.Join(errs...)
}

// String describes the settings that matter most.
func (o Outlier) String() string {
	return fmt.Sprintf("%v, after %d failures, for %v, at most %g", o.Mode, o.Consecutive, o.Ejection, o.MaxEjected)
}
