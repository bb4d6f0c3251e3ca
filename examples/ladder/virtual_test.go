package main

import (
	"context"
	"math"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/uprung/uprung/internal/ladder"
	"github.com/uprung/uprung/internal/memnet"
)

// The same rungs in virtual time, over a network in memory: minutes of the whole ladder in
// seconds, without a machine that is late. Every promise is kept, and what comes of one
// seed comes of it again.
func TestLadderInVirtualTime(t *testing.T) {
	t.Parallel()
	duration := time.Duration(0)
	for _, r := range rungs() {
		duration += r.Least()
	}
	if os.Getenv("UPRUNG_FULL_MODELS") != "" {
		duration = 10 * time.Minute
	}
	runs := make([][]ladder.Entry, 2)
	for at := range runs {
		synctest.Test(t, func(t *testing.T) {
			network := &memnet.Network{}
			c := ladder.Config{Rungs: rungs(), Duration: duration, Seed: 1, Dial: network.DialContext}
			c.Listen = listenIn(network)
			outcomes, err := c.Climb(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if err := broken(outcomes); err != nil && at == 0 {
				t.Error(err)
			}
			for _, o := range outcomes {
				runs[at] = append(runs[at], o.Entries...)
			}
		})
	}
	for at, a := range runs[0] {
		b := runs[1][at]
		slack := 0.02 // ten requests of some hundred, where a figure counts few
		if a.Metric == recovery {
			slack = outageSlot.Seconds() // it is known to no less
		}
		for _, pair := range [][2]float64{{a.Before, b.Before}, {a.After, b.After}} {
			if apart := math.Abs(pair[0]-pair[1]) / max(math.Abs(pair[0]), math.Abs(pair[1]), 1e-9); apart > 0.02 && math.Abs(pair[0]-pair[1]) > slack {
				t.Errorf("%s, %s: %g and %g in two runs of one seed", a.Name, a.Metric, pair[0], pair[1])
			}
		}
	}
}

// listenIn opens listeners of a network.
func listenIn(network *memnet.Network) func() (net.Listener, error) {
	return func() (net.Listener, error) { return network.Listen(), nil }
}
