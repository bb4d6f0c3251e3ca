package replicate

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/memsql"
)

func TestMetricsAreNamedAsMetricsAre(t *testing.T) {
	t.Parallel()
	w := open(t, Options{})
	w.read(t.Context(), t, "a")
	var source uprung.Source = w.cluster
	total := 0
	seen := map[string]bool{}
	for m := range source.Metrics {
		total++
		var id strings.Builder
		id.WriteString(m.Name)
		for _, l := range m.Labels {
			id.WriteString(" " + l.Name + "=" + l.Value)
		}
		if seen[id.String()] {
			t.Errorf("%s comes twice", id.String())
		}
		seen[id.String()] = true
		if !strings.HasPrefix(m.Name, "uprung_replicate_") || m.Help == "" || (m.Type == uprung.Counter) != strings.HasSuffix(m.Name, "_total") {
			t.Errorf("%+v is not named as metrics are", m)
		}
	}
	for stop := range total {
		n := 0
		source.Metrics(func(uprung.Metric) bool { n++; return n <= stop })
		if n != stop+1 {
			t.Fatalf("yield was called %d times, want %d", n, stop+1)
		}
	}
	if want := `uprung_replicate_node_primary cluster=default node=p`; !seen[want] {
		t.Errorf("%s is missing", want)
	}
}

func TestTransitionsAreLogged(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	in(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}, func(t *testing.T, w *world) {
		w.servers.Node(0).Crash()
		w.settle()
		w.servers.Node(1).Promote()
		w.settle()
		w.servers.Node(0).Start()
		time.Sleep(time.Second)
	})
	got := log.String()
	for want, times := range map[string]int{
		`"replicate: node up" cluster=default node=p role=primary`:     2,
		`"replicate: node up" cluster=default node=r1 role=replica`:    1,
		`"replicate: node up" cluster=default node=r1 role=primary`:    1,
		`"replicate: node lost" cluster=default node=p error=`:         1,
		`"replicate: another primary" cluster=default from=`:           1,
		`level=WARN msg="replicate: node left behind" cluster=default`: 1,
	} {
		if n := strings.Count(got, want); n != times {
			t.Errorf("%q is logged %d times, want %d:\n%s", want, n, times, got)
		}
	}
}

func TestAllocationsOfARead(t *testing.T) {
	servers := memsql.New(2)
	c, err := New(nodesOf(servers, 3), &Options{Level: Eventual, Probe: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	driverConn, err := c.Connector().Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	v := driverConn.(*conn)
	read := func() {
		if _, err := v.QueryContext(t.Context(), "SELECT 1", nil); err != nil {
			t.Fatal(err)
		}
		v.IsValid()
	}
	for range 10 {
		read()
	}
	if got := testing.AllocsPerRun(100, read); got > 2 { // of t.Context and the model's rows
		t.Errorf("a read allocates %v times", got)
	}
}
