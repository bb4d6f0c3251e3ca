package redislimit

import (
	"context"
	"testing"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/ratelimit"
)

// What package grpclimit asks of a limiter, without making users of this one fetch grpc.
type limiter interface {
	Take(ctx context.Context, key string, n int64) (ratelimit.Result, error)
	Mode() uprung.Mode
	Layer() uprung.Layer
}

var _, _ limiter = (*Limiter)(nil), (*Group)(nil)

func TestModeOfAGroup(t *testing.T) {
	t.Parallel()
	half := uprung.Percent(50)
	for _, tt := range []struct{ first, second, want uprung.Mode }{
		{uprung.Off, uprung.Off, uprung.Off},
		{uprung.Off, uprung.Shadow, uprung.Shadow},
		{uprung.Shadow, half, uprung.Shadow},
		{half, uprung.Enforce, uprung.Enforce},
		{uprung.Enforce, half, uprung.Enforce},
	} {
		g := &Group{}
		for _, mode := range []uprung.Mode{tt.first, tt.second} {
			l := &Limiter{}
			l.mode.Store(int32(mode))
			g.limiters = append(g.limiters, l)
		}
		if got := g.Mode(); got != tt.want {
			t.Errorf("of %v and %v it is %v, want %v", tt.first, tt.second, got, tt.want)
		}
	}
}
