package grpcbalance

import (
	"strings"
	"testing"

	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/lb/pick"
)

// Connections of one name are summed up, and those of another are not.
func TestStatsOfSeveralConnections(t *testing.T) {
	b, other := registered(t, &Options{Policy: pick.RoundRobin{}}), registered(t, nil)
	bubble(t, func(t *testing.T) {
		f := newFleet(t, taking(0), failing(status.Error(codes.Internal, "")))
		first := f.conn(b)
		load(t, grpc_health_v1.NewHealthClient(first), 8, 1)
		load(t, f.client(b), 4, 1)
		load(t, f.client(other), 1, 1)
		s := b.Stats()
		if s.Channels != 2 || s.Successes+s.Failures != 12 || s.ids() != "a b" {
			t.Errorf("figures are %+v, want 12 calls on two channels to a and b", s)
		}
		for _, e := range s.Endpoints {
			if e.Channels != 2 || e.Ready != 2 || e.Picked == 0 || e.Picked != e.Successes+e.Failures {
				t.Errorf("figures are %+v, want two channels of each", e)
			}
		}
		_ = first.Close()
		if after := b.Stats(); after.Channels != 1 || after.of(t, "a").Channels != 1 || after.Successes != s.Successes {
			t.Errorf("figures are %+v after one was closed, want totals as before", after)
		}
	})
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	c := channelOf(t, nil, plains(4)...)
	for _, err := range []error{nil, status.Error(codes.Internal, ""), status.Error(codes.ResourceExhausted, ""), status.Error(codes.Canceled, ""), nil} {
		result, refused := picker{c}.Pick(balancer.PickInfo{Ctx: t.Context()})
		if refused != nil {
			t.Fatal(refused)
		}
		result.Done(balancer.DoneInfo{Err: err, BytesSent: true})
	}
	if _, err := (picker{c}).Pick(balancer.PickInfo{Ctx: t.Context()}); err != nil { // goes on
		t.Fatal(err)
	}
	got := map[string]float64{}
	for m := range c.b.Metrics {
		name := m.Name
		if m.Labels[0] != (uprung.Label{Name: "balancer", Value: "a"}) {
			t.Errorf("%s has labels %v, want the name first", name, m.Labels)
		}
		for _, l := range m.Labels[1:] {
			name += " " + l.Value
		}
		if m.Help == "" || m.Type == uprung.Counter != strings.HasSuffix(m.Name, "_total") {
			t.Errorf("%+v has no help, or another name than its type wants", m)
		}
		got[strings.TrimPrefix(name, "uprung_grpcbalance_")] = m.Value
	}
	want := map[string]float64{
		"channels": 1, "panicking_channels": 0, "endpoints": 4, "ready_endpoints": 4, "ejected_endpoints": 0,
		"inflight_calls": 1, "rejected_total": 0, "ejections_total": 0,
		"calls_total success": 2, "calls_total failure": 1, "calls_total overload": 1, "calls_total ignored": 1,
	}
	for name, value := range want {
		if v, ok := got[name]; !ok || v != value {
			t.Errorf("%s is %v, %v; want %v", name, v, ok, value)
		}
	}
	if len(got) != len(want) {
		t.Errorf("metrics are %v, want %v", got, want)
	}
	for range c.b.Metrics {
		break // and no more is yielded
	}
}
