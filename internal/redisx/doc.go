// Package redisx is what the leaves on Redis share: a connection that is made when it is
// first needed, a timeout for every call, and a breaker that keeps an outage from
// everybody but a probe.
//
//	store, err := redisx.New(redisx.Options{Name: "limits", Redis: option})
//	...
//	err = store.Do(ctx, key, func(ctx context.Context, c rueidis.Client) error {
//		return c.Do(ctx, c.B().Set().Key(key).Value(value).Build()).Error()
//	})
//	if errors.Is(err, redisx.ErrDown) {
//		... // do without
//	}
//
// # Behavior
//
// New does no I/O: a program starts while Redis is down. The first call connects, on a
// goroutine of the [Client], and waits for that as long as for an answer.
//
// A call takes no longer than the timeout, whatever Redis does. Nothing is ever
// repeated: what becomes of a command without an answer is not known.
//
// Three failures in a row open the breaker. Then calls fail at once, and every half a
// second at the most a probe finds out, on a goroutine of the Client, whether Redis is
// back: nobody waits for it. In a cluster each sixteenth of the slots has a breaker of
// its own, so that one node that is gone does not take the others with it.
package redisx
