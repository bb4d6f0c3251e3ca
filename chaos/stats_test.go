package chaos

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/uprung/uprung"
)

func TestMetrics(t *testing.T) {
	t.Parallel()
	i := must(t, &Options{Name: "game", MaxActive: 1, Seed: 1}, Fault{Name: "all", Reset: true})
	n, _ := i.Next(Call{})
	calls(i, 3, Call{})
	n.End()
	if err := i.SetMode(uprung.Shadow); err != nil {
		t.Fatal(err)
	}
	calls(i, 2, Call{})
	want := strings.Split(`uprung_chaos_armed game 1
uprung_chaos_active_calls game 0
uprung_chaos_calls_total game,all,injected 1
uprung_chaos_calls_total game,all,shadow 2
uprung_chaos_calls_total game,all,capped 3
uprung_chaos_calls_total game,all,spared 0`, "\n")
	var got []string
	for m := range i.Metrics {
		var labels []string
		for _, l := range m.Labels {
			labels = append(labels, l.Value)
		}
		got = append(got, fmt.Sprint(m.Name, " ", strings.Join(labels, ","), " ", m.Value))
		if counter := strings.HasSuffix(m.Name, "_total"); counter != (m.Type == uprung.Counter) || m.Help == "" {
			t.Errorf("%s is of type %v, with help %q", m.Name, m.Type, m.Help)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("metrics are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for range i.Metrics {
		break
	}
}

func TestDisarmedCostsNoAllocation(t *testing.T) {
	i, err := New([]Fault{{Name: "all", Reset: true}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { i.Next(Call{Method: "GET"}) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
