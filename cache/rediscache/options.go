package rediscache

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/redis/rueidis"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/option"
	"github.com/uprung/uprung/internal/redisx"
)

// DefaultTimeout is that of a call. It is shorter than [cache.DefaultStoreTimeout], so that
// it is the store's own breaker that learns of a server which does not answer.
const DefaultTimeout = 40 * time.Millisecond

// Options are the settings of a [Store]. The zero value of each field is its default, and
// nil options are all defaults.
type Options struct {
	// Name is the name of the store in figures and logs: 1 to 64 printable ASCII
	// characters. Zero means "default".
	Name string

	// Timeout bounds a call, whatever Redis does. To connect again must be possible in that
	// time. It is of use only below the StoreTimeout of the cache. Zero means
	// [DefaultTimeout].
	Timeout time.Duration

	// Logger is told when Redis is given up and when it is back. Nil is silent.
	Logger *slog.Logger
}

// New returns a store in the Redis that redis describes, of which InitAddress is all that is
// required. It does no I/O and starts no goroutine. Nil options are the defaults. The error
// names every setting that is out of range.
//
// The store speaks RESP3 to the masters alone, over one connection to each, and sets the
// fields of redis that this needs itself: whoever set them to anything else is told so.
func New(redis rueidis.ClientOption, o *Options) (*Store, error) {
	var c Options
	if o != nil {
		c = *o
	}
	c.Name = cmp.Or(c.Name, "default")
	c.Timeout = cmp.Or(c.Timeout, DefaultTimeout)
	s := &Store{
		name: c.Name, scripts: newScripts(), waiters: make(map[string]*waiter),
		down: &uprung.Rejection{Kind: uprung.KindBreaker, Name: c.Name, Reason: ErrDown, RetryAfter: healPeriod},
	}
	s.clock.base = time.Now()
	s.clock.forget()
	s.missed.keys = make(map[string]struct{})

	errs := []error{option.CheckName("Name", c.Name)}
	unset := func(field string, set bool) {
		if set {
			errs = append(errs, fmt.Errorf("redis.%s is set, want its zero value", field))
		}
	}
	unset("DisableCache", redis.DisableCache) // it would not be told of changes
	unset("AlwaysRESP2", redis.AlwaysRESP2)   // likewise
	unset("DisableAutoPipelining", redis.DisableAutoPipelining)
	unset("OnInvalidations", redis.OnInvalidations != nil)
	unset("ClientTrackingOptions", len(redis.ClientTrackingOptions) > 0)
	unset("ReplicaOnly", redis.ReplicaOnly) // a replica may serve what has been deleted
	unset("SendToReplicas", redis.SendToReplicas != nil)
	redis.InitAddress = slices.Clone(redis.InitAddress)
	// The server remembers what was read on a connection, and tells of its changes there,
	// but for those that were made on that connection: hence a single one to each server.
	redis.ClientTrackingOptions = []string{"NOLOOP"}
	redis.PipelineMultiplex = -1
	redis.OnInvalidations = s.invalidated

	client, err := redisx.New(redisx.Options{Name: c.Name, Redis: redis, Timeout: c.Timeout, Logger: c.Logger})
	s.redis = client
	errs = append(errs, err)
	for i, err := range errs {
		if err != nil {
			errs[i] = fmt.Errorf("rediscache: %w", err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return s, nil
}
