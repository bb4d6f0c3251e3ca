package cache

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/uprung/uprung/internal/option"
)

// The defaults of Options.
const (
	DefaultJitter       = 0.1
	DefaultNegativeTTL  = 5 * time.Second
	DefaultLoadTimeout  = 30 * time.Second
	DefaultMemoryTTL    = time.Minute
	DefaultStoreTimeout = 50 * time.Millisecond
	DefaultLease        = 300 * time.Millisecond
	DefaultMaxRefreshes = 64
)

// Options are the settings of a [Cache] beyond its capacity. The zero value of each field
// is its default. Functions are called concurrently, must not call the cache, and, where
// they are given a value, see what all callers share.
type Options[K comparable, V any] struct {
	// Name is the name of the cache in figures: 1 to 64 printable ASCII characters. Zero
	// means "default".
	Name string

	// Policy says which entries stay. Zero means [Adaptive].
	Policy Policy

	// MaxBytes bounds the sum of what Weigher says of the entries, besides the bound by
	// number. It is divided among shards, whose number [Stats] tells: an entry that is
	// heavier than the part of one is not kept. Zero means that weights do not matter.
	MaxBytes int64

	// Weigher returns the weight of an entry, in bytes. What is below 1 counts as 1.
	// MaxBytes needs it, and it needs MaxBytes.
	Weigher func(K, V) int64

	// TTL is how long an entry is fresh. Zero means until it is evicted or invalidated.
	TTL time.Duration

	// TTLOf gives an entry a TTL of its own; zero means TTL, and a negative one that the
	// entry is not kept. Nil means TTL for all.
	TTLOf func(K, V) time.Duration

	// Jitter is the part of a TTL, from 0 to 1, by which it is shortened at most, at
	// random, so that entries made together do not expire together. No TTL is
	// lengthened. Zero means [DefaultJitter]; a negative value means none.
	Jitter float64

	// NegativeTTL is how long it is remembered of a key that its loader returned an error
	// that matches [ErrNotFound]. Zero means [DefaultNegativeTTL]; a negative value means
	// that it is not.
	NegativeTTL time.Duration

	// NegativeCapacity is for how many keys that is remembered, besides the capacity of
	// the cache, so that asking for what does not exist evicts nothing that does. Zero
	// means an eighth of the capacity, and at least 1.
	NegativeCapacity int

	// RefreshAhead has GetOrLoad load an entry anew before it is stale, for one who has
	// just been served the old one: by as much as its last load took, times RefreshAhead,
	// times a number at random whose mean is 1. It is the beta of Vattani, Chierichetti
	// and Lowenstein, Optimal Probabilistic Cache Stampede Prevention, VLDB 2015, who
	// recommend 1. Zero means never.
	RefreshAhead float64

	// MaxRefreshes is how many loads for RefreshAhead there are at a time. Beyond it
	// none is begun; the next who asks may. Zero means [DefaultMaxRefreshes].
	MaxRefreshes int

	// StaleIfError is for how long after its TTL a value is served if loading it anew
	// fails. Failing is then tried once in a second. Zero means that the error is
	// returned.
	StaleIfError time.Duration

	// LoadSoftTimeout is how long to wait for a load while there is a stale value, which
	// is then served, and the load goes on. It needs StaleIfError. Zero means until the
	// load ends.
	LoadSoftTimeout time.Duration

	// LoadTimeout ends the context of a load. It bounds it even if the loader goes on
	// regardless: whoever waits is then given the error, and what it returns later is
	// dropped. Zero means [DefaultLoadTimeout].
	LoadTimeout time.Duration

	// TagsOf returns the tags of an entry, by which [Cache.InvalidateTag] finds it. Nil
	// means none.
	TagsOf func(K, V) []string

	// Clone copies a value when it is kept and each time it is returned. Nil means that
	// callers share it and must not change what it refers to.
	Clone func(V) V

	// Store is the second tier. Nil means that there is none, and that the fields below
	// have no effect.
	Store Store

	// Namespace is what all keys in the store begin with: 1 to 64 letters, digits, '.',
	// '-', '_' or '+'. All caches of the same namespace have the same keys and values.
	// Store needs it.
	Namespace string

	// Codec turns values into bytes. Nil means [JSON].
	Codec Codec[V]

	// KeyString turns keys into strings, no two into the same. Nil means the string itself
	// or the digits of an integer; keys of other types need it.
	KeyString func(K) string

	// Bus tells what others have changed. Nil means Store, if it is one. Without a bus,
	// what others change is seen after MemoryTTL at the latest.
	Bus Bus

	// MemoryTTL bounds how long what is in the store is served from memory. Zero means
	// [DefaultMemoryTTL].
	MemoryTTL time.Duration

	// StoreTimeout bounds each call of Store, but for [Leaser].Wait. Zero means
	// [DefaultStoreTimeout].
	StoreTimeout time.Duration

	// Lease is how long another process waits for the load of one that has died. The
	// lease of one that lives is renewed. Zero means [DefaultLease].
	Lease time.Duration

	// Seed makes hashes, and all that is random, repeat from one process to the next. It
	// is for tests: whoever knows it can choose keys that collide. Zero means a secret.
	Seed uint64
}

// withDefaults returns a copy with defaults filled in, and an error that names each
// field that is out of range.
func (o *Options[K, V]) withDefaults(capacity int) (Options[K, V], error) {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("cache: "+format, args...)) }
	var c Options[K, V]
	if o != nil {
		c = *o
	}
	if capacity < 1 || capacity > MaxCapacity {
		bad("capacity is %d, want 1 to %d", capacity, MaxCapacity)
	}
	or(&c.Name, "default")
	if err := option.CheckName("Name", c.Name); err != nil {
		bad("%w", err)
	}
	if c.Policy > LRU {
		bad("Policy is %v, want Adaptive, S3FIFO, TinyLFU or LRU", c.Policy)
	}
	switch {
	case c.MaxBytes < 0:
		bad("MaxBytes is %d, want >= 0", c.MaxBytes)
	case (c.MaxBytes > 0) != (c.Weigher != nil):
		bad("MaxBytes is %d and Weigher is %s, want both or none", c.MaxBytes, option.Function(c.Weigher != nil, "nil"))
	}
	or(&c.Jitter, DefaultJitter)
	if c.Jitter > 1 || math.IsNaN(c.Jitter) {
		bad("Jitter is %v, want at most 1", c.Jitter)
	}
	c.Jitter = max(c.Jitter, 0)
	if c.NegativeCapacity < 0 || c.NegativeCapacity > MaxCapacity {
		bad("NegativeCapacity is %d, want 0 to %d", c.NegativeCapacity, MaxCapacity)
	}
	or(&c.NegativeCapacity, max(1, capacity/8))
	or(&c.NegativeTTL, DefaultNegativeTTL)
	if !(c.RefreshAhead >= 0) || math.IsInf(c.RefreshAhead, 1) {
		bad("RefreshAhead is %v, want >= 0", c.RefreshAhead)
	}
	if c.LoadSoftTimeout > 0 && c.StaleIfError == 0 {
		bad("LoadSoftTimeout is %v and StaleIfError is 0, want a StaleIfError > 0", c.LoadSoftTimeout)
	}
	if c.MaxRefreshes < 0 {
		bad("MaxRefreshes is %d, want >= 0", c.MaxRefreshes)
	}
	or(&c.MaxRefreshes, DefaultMaxRefreshes)
	or(&c.LoadTimeout, DefaultLoadTimeout)
	or(&c.MemoryTTL, DefaultMemoryTTL)
	or(&c.StoreTimeout, DefaultStoreTimeout)
	or(&c.Lease, DefaultLease)
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"TTL", c.TTL},
		{"StaleIfError", c.StaleIfError},
		{"LoadSoftTimeout", c.LoadSoftTimeout},
		{"LoadTimeout", c.LoadTimeout},
		{"MemoryTTL", c.MemoryTTL},
		{"StoreTimeout", c.StoreTimeout},
		{"Lease", c.Lease},
	} {
		if d.value < 0 {
			bad("%s is %v, want >= 0", d.name, d.value)
		}
	}
	if c.Store != nil {
		if c.Codec == nil {
			c.Codec = JSON[V]()
		}
		if !plain(c.Namespace, 64) {
			bad("Namespace is %q, want 1 to 64 letters, digits, '.', '-', '_' or '+'", c.Namespace)
		}
		if name := c.Codec.Name(); !plain(name, 32) {
			bad("Codec.Name() is %q, want 1 to 32 letters, digits, '.', '-', '_' or '+'", name)
		}
		if c.KeyString == nil {
			if c.KeyString = keyString[K](); c.KeyString == nil {
				bad("KeyString is nil, want a function, since keys are neither strings nor integers")
			}
		}
		if c.Bus == nil {
			c.Bus, _ = c.Store.(Bus)
		}
	}
	return c, errors.Join(errs...)
}

// or sets a field that is zero.
func or[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// plain reports whether a name has no separators.
func plain(name string, most int) bool {
	return name != "" && len(name) <= most && !strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(".-_+", r)
	})
}

// keyString returns the default of KeyString, or nil.
func keyString[K comparable]() func(K) string {
	var zero K
	switch any(zero).(type) {
	case string:
		return func(key K) string { return any(key).(string) }
	case int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64:
		return func(key K) string { return fmt.Sprint(key) }
	}
	return nil
}
