package deadline

import (
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/uprung/uprung"
)

func TestMetrics(t *testing.T) {
	t.Parallel()
	d := mustNew(t, 1500*time.Millisecond, &Options{Name: "requests", Trust: everybody})
	h := d.Middleware(sleeps(0))
	for _, field := range []string{"0", "0", "x", "1000", "1000"} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set(DefaultHeader, field)
		send(h, r)
	}
	want := strings.Split(`uprung_deadline_requests_total requests,done 3
uprung_deadline_requests_total requests,refused 2
uprung_deadline_requests_total requests,exceeded 0
uprung_deadline_requests_total requests,cut 0
uprung_deadline_requests_total requests,shadow_refused 0
uprung_deadline_requests_total requests,shadow_exceeded 0
uprung_deadline_malformed_headers_total requests 1
uprung_deadline_late_handlers requests 0
uprung_deadline_late_panics_total requests 0
uprung_deadline_limit_seconds requests 1.5`, "\n")
	var got []string
	for m := range d.Metrics {
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
	for range d.Metrics {
		break
	}
}
