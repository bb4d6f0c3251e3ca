package cache

import (
	"context"
	"time"
)

// A Store is a second tier: bytes by key, in an engine that several processes share.
// A [Cache] calls it with a context that ends after [Options].StoreTimeout, stops
// calling it for a while after errors in a row, and never shows its errors to whoever
// reads: an implementation returns them as they are, and neither retries nor opens
// circuits. Connecting is the business of the first call, not of a constructor, so that
// a program starts while its engine is down.
//
// Three optional interfaces add to it, and a Cache looks for each by assertion:
// [Leaser] for one load per key among all processes, [Batcher] for many keys in one round
// trip, and [Bus] for hearing what others have changed. The suite of package cachetest
// checks all of them.
//
// Keys are printable, at most a few hundred bytes, and begin with the namespace of the
// cache. Values are never empty. Both belong to whom they were given to: a store does not
// change what it is given or has returned, and keeps no reference to values after it
// returns.
//
// Operations on one key are linearizable, or as near to it as the engine is. In
// particular, once Delete has returned, no Get returns what was there before, in no
// process.
//
// All methods are safe for concurrent use and return early with the error of ctx when it
// ends.
type Store interface {
	// Get returns the item of a key. The zero Item and no error mean that there is none.
	Get(ctx context.Context, key string) (Item, error)

	// Set stores a value for as long as ttl, which is relative: clocks of two machines
	// are never compared. Zero means that it does not expire. It replaces a value and
	// voids a lease.
	Set(ctx context.Context, key string, value []byte, ttl time.Duration) error

	// Delete removes the values of keys and voids their leases, so that a load that
	// began before cannot be published after. That a key is not there is no error. It
	// may have removed some of them when it fails.
	Delete(ctx context.Context, keys ...string) error
}

// Item is what a [Store] has for a key.
type Item struct {
	// Value is nil if there is none.
	Value []byte
	// TTL is how long it will be there. Zero means that this is not known, or that it
	// does not expire.
	TTL time.Duration
}

// Batcher is a [Store] that serves many keys in one round trip.
type Batcher interface {
	// GetMany returns an Item for each key, in their order, as Get does.
	GetMany(ctx context.Context, keys []string) ([]Item, error)

	// SetMany stores many values, as Set does. It may have stored some of them when it
	// fails.
	SetMany(ctx context.Context, entries []StoreEntry) error
}

// StoreEntry is one of the values of [Batcher].SetMany.
type StoreEntry struct {
	Key   string
	Value []byte
	TTL   time.Duration
}

// Leaser is a [Store] that lets one process load a key while the others wait: the leases
// of Nishtala et al., Scaling Memcache at Facebook, NSDI 2013, section 3.2.1.
//
// A lease is held by whoever has its token, from Lease until one of Publish, Release, Set,
// Delete, or the end of its time. A Cache leases for [Options].Lease, renews the lease
// three times in that time for as long as its load goes on, and then publishes or releases:
// the lease of a process that dies ends by itself.
//
// A lease is not a value: Get returns none for a key that is leased.
type Leaser interface {
	// Lease returns the item of a key if there is one. Otherwise, if nobody holds the
	// lease, it takes it for as long as ttl and returns its token, which no other lease
	// has ever had. Otherwise it returns the zero Lease: another is at it. The three are
	// decided in one step, so that of many callers one at most has the lease.
	Lease(ctx context.Context, key string, ttl time.Duration) (Lease, error)

	// Renew lets a lease last for ttl from now, and reports whether it is still held.
	Renew(ctx context.Context, key, token string, ttl time.Duration) (held bool, err error)

	// Publish stores a value as Set does and ends the lease, if it is still held. It
	// reports whether it was; if not, it changes nothing: the key has been deleted or set
	// meanwhile, or another has taken over.
	Publish(ctx context.Context, key, token string, value []byte, ttl time.Duration) (stored bool, err error)

	// Release ends a lease without a value, if it is still held, so that another may try.
	Release(ctx context.Context, key, token string) error

	// Wait returns nil when it is worth to ask Lease again: the key has been stored,
	// deleted or released, or its lease has run out, since the call or shortly before it. It
	// may return early, for no reason, so that an implementation can poll, and loses no
	// wake-up for good. If there is no lease to wait for, it returns at once.
	Wait(ctx context.Context, key string) error
}

// Lease is the answer of [Leaser].Lease: an item, a token, or neither.
type Lease struct {
	Item  Item
	Token string
}

// A Bus tells the caches of one namespace what others have changed, by the keys of their
// [Store]. What is held under such a key in memory is then void. Generations of tags are
// keys as well: a cache knows them by their form.
//
// An engine that tells its clients by itself which keys have changed, such as Redis
// with client tracking, is a Bus whose Publish does nothing.
//
// Messages carry no values and no instants: late, doubled and reordered ones cost a load
// and do no harm. One that may have been lost must be reported by Lost. In one process
// there is [LocalBus].
type Bus interface {
	// Subscribe has a listener told of what others change from now on. It does no I/O:
	// what cannot be heard yet, since there is no connection, is made up for by a call of
	// Lost when there is one.
	Subscribe(l Listener) Subscription
}

// Subscription is one cache's place on a [Bus].
type Subscription interface {
	// Publish tells all other subscribers that keys have changed. The store has been
	// changed before.
	Publish(ctx context.Context, keys []string) error

	// Close ends it, and waits for calls of the listener that are in progress. It may be
	// called more than once.
	Close() error
}

// Listener is what a [Bus] calls. Its functions return soon, do no I/O, and are called
// one at a time, in the order of the events.
type Listener struct {
	// Prefix is what the keys begin with that the listener wants to hear of.
	Prefix string

	// Changed is told of keys that were changed by others. To be told of one's own changes
	// costs a load.
	Changed func(keys []string)

	// Lost says that events may have been lost, since a connection was: all that is
	// held in memory is void. It is called when events arrive again, and should be called
	// once more when the connection breaks, so that nothing stale is served meanwhile.
	Lost func()
}
