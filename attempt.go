package uprung

import (
	"context"
	"slices"
	"sync"
)

// Attempt says, in the context of a request, which endpoints have been tried for
// it, so that the next attempt goes elsewhere. Who repeats requests puts one into
// the context that all attempts share; who chooses endpoints avoids those that it
// holds, as long as there are others, and adds its choice.
//
// The zero value is ready. All methods are safe for concurrent use, as hedged
// requests need.
type Attempt struct {
	mu    sync.Mutex
	tried []string // guarded by mu
}

type attemptKey struct{}

// WithAttempt returns a context that carries attempt.
func WithAttempt(ctx context.Context, attempt *Attempt) context.Context {
	return context.WithValue(ctx, attemptKey{}, attempt)
}

// AttemptOf returns what ctx carries, or nil.
func AttemptOf(ctx context.Context) *Attempt {
	attempt, _ := ctx.Value(attemptKey{}).(*Attempt)
	return attempt
}

// Try notes that the endpoint of this ID is being tried.
func (a *Attempt) Try(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tried = append(a.tried, id)
}

// Tried returns the IDs of the endpoints that have been tried, in that order. The
// caller owns the slice.
func (a *Attempt) Tried() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.tried)
}

// Number returns how many endpoints have been tried.
func (a *Attempt) Number() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.tried)
}
