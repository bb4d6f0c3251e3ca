package pick

import (
	"time"

	"github.com/uprung/uprung"
)

// Endpoint is what a policy needs to know of a place that requests can go to.
type Endpoint struct {
	// ID is the name by which what is known of the endpoint is carried over from
	// one picker to the next. It is not empty, and no other endpoint has it.
	ID string
	// Weight is the endpoint's share relative to the others, at most [MaxWeight].
	// Zero means 1. What it does is said at each policy.
	Weight int
	// Down says that the endpoint is not to be picked for the time being. What is
	// known of it is kept.
	Down bool
	// Fresh says that nothing is to be carried over: it is another one of that name.
	Fresh bool
}

// MaxWeight is the largest weight of an [Endpoint].
const MaxWeight = 1<<16 - 1

// Policy makes pickers. The policies of this package are structs whose zero value
// is ready, but for [Hashed].
type Policy interface {
	// Picker returns a picker that chooses among endpoints and keeps what prev, a
	// picker of the same policy, knows of those that both have. prev may be nil, and
	// may go on to be used while requests that it has picked for are in progress.
	// The error names every endpoint and field that is not valid. Picker does not
	// keep the slice.
	Picker(endpoints []Endpoint, prev Picker) (Picker, error)
}

// Picker chooses an endpoint for each request. Its methods are safe for concurrent
// use and take no locks. Instants are durations since an origin
// that is the same for all calls, and for the pickers before and after.
type Picker interface {
	// Pick chooses an endpoint and counts a request there. It returns false if there
	// is none: all are down or refused by the filter.
	Pick(r Request) (Token, bool)
	// Take counts a request at the endpoint of this index that something other than
	// the policy has chosen, such as a cookie.
	Take(endpoint int, now time.Duration) Token
	// Answered says that the endpoint of a request has answered: the headers are
	// here, the body may go on for as long as it likes. The outcome is what can be
	// said until now. It returns the token to call Done with. What has one instant
	// only calls Done without it.
	Answered(t Token, now time.Duration, outcome uprung.Outcome) Token
	// Done says that a request is over, and its outcome. It must be called exactly
	// once for each request, at the picker that returned its token.
	Done(t Token, now time.Duration, outcome uprung.Outcome)
}

// Request is what is to be decided on.
type Request struct {
	// Now is the instant of the decision.
	Now time.Duration
	// Random is a random number, a new one for each request. It makes decisions
	// repeatable: a picker draws no other.
	Random uint64
	// Hash is the hash of the request's key, for [Hashed].
	Hash uint64
	// Filter refuses endpoints for this request. Nil refuses none.
	Filter Filter
}

// Filter refuses endpoints for one request, such as those that have been tried. It
// must not call the picker.
type Filter interface {
	Refuses(endpoint int) bool
}

// Token stands for a request in progress. It is made by a picker.
type Token struct {
	// Endpoint is the index of the endpoint, in the order in which the picker was
	// given them.
	Endpoint int
	// Start is when the request was sent.
	Start time.Duration
	// State is for the picker alone.
	State uint8
}
