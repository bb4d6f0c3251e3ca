package health

import (
	"encoding/json"
	"math"
	"net/http"
	"strings"
	"testing"
)

func constant(v float64) Saturator { return SaturationFunc(func() float64 { return v }) }

func newScale(t *testing.T, o *ScaleOptions, values ...float64) *Scale {
	t.Helper()
	var sources []ScaleSource
	for i, v := range values {
		sources = append(sources, ScaleSource{Name: string(rune('a' + i)), Saturator: constant(v)})
	}
	s, err := NewScale(sources, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestNewScaleNamesEverythingWrong(t *testing.T) {
	t.Parallel()
	_, err := NewScale(nil, &ScaleOptions{Name: "\x00", Target: 1.5, Min: 5, Max: 4})
	want := []string{
		"sources has 0 elements, want 1 or more",
		`ScaleOptions.Name is "\x00", want 1 to 64 printable ASCII characters`,
		"ScaleOptions.Target is 1.5, want above 0 and at most 1",
		"ScaleOptions.Min is 5, want at most Max, 4",
	}
	if got := "health: " + strings.Join(want, "\nhealth: "); err == nil || err.Error() != got {
		t.Errorf("error\n%v\nwant\n%s", err, got)
	}
	_, err = NewScale([]ScaleSource{{Name: "a"}, {Saturator: constant(1)}, {Name: "a", Saturator: constant(1)}}, &ScaleOptions{Target: math.NaN(), Max: -1})
	want = []string{
		"sources[0].Saturator is nil, want what tells how much is in use",
		`sources[1].Name is "", want 1 to 64 printable ASCII characters`,
		`sources[2].Name is "a", want one that no other source has, and sources[0] has it`,
		"ScaleOptions.Target is NaN, want above 0 and at most 1",
		"ScaleOptions.Max is -1, want 0 to 2147483647",
	}
	if got := "health: " + strings.Join(want, "\nhealth: "); err == nil || err.Error() != got {
		t.Errorf("error\n%v\nwant\n%s", err, got)
	}
}

func TestDesired(t *testing.T) {
	t.Parallel()
	nan, inf := math.NaN(), math.Inf(1)
	for _, tt := range []struct {
		current    int
		saturation []float64
		target     float64
		min, max   int
		desired    int
		source     string
	}{
		{1, []float64{0.7}, 0, 0, 0, 1, "a"},
		{1, []float64{0.71}, 0, 0, 0, 2, "a"},
		{2, []float64{0.7}, 0, 0, 0, 2, "a"},
		{2, []float64{0.7000001}, 0, 0, 0, 3, "a"},
		{10, []float64{1}, 0, 0, 0, 15, "a"},
		{10, []float64{0.1}, 0, 0, 0, 2, "a"},
		{10, []float64{0.1, 0.8, 0.3, 0.8}, 0, 0, 0, 12, "b"},
		{10, []float64{0}, 0, 0, 0, 1, "a"},
		{10, []float64{0}, 0, -1, 0, 0, "a"},
		{10, []float64{0}, 0, 4, 0, 4, "a"},
		{10, []float64{1}, 0, 0, 12, 12, "a"},
		{0, []float64{1}, 0, 0, 0, 1, "a"},
		{-5, []float64{1}, 0, -1, 0, 0, "a"},
		{10, []float64{1}, 1, 0, 0, 10, "a"},
		// Values out of range: above 1 is 1, below 0 is 0, NaN is left out.
		{10, []float64{7}, 0, 0, 0, 15, "a"},
		{10, []float64{inf}, 0, 0, 0, 15, "a"},
		{10, []float64{-3}, 0, 0, 0, 1, "a"},
		{10, []float64{math.Inf(-1)}, 0, 0, 0, 1, "a"},
		{10, []float64{nan, 0.35, nan}, 0, 0, 0, 5, "b"},
		{10, []float64{nan, nan}, 0, 0, 0, 10, ""},
		{10, []float64{nan}, 0, 0, 8, 8, ""},
		{math.MaxInt, []float64{1}, 0.0001, 0, 0, math.MaxInt32, "a"},
	} {
		s := newScale(t, &ScaleOptions{
			Target: tt.target, Min: tt.min, Max: tt.max, Replicas: func() int { return tt.current },
		}, tt.saturation...)
		if got := s.Stats(); got.Desired != tt.desired || got.Source != tt.source {
			t.Errorf("%d replicas at %v of %v: %+v, want %d by %q", tt.current, tt.saturation, tt.target, got, tt.desired, tt.source)
		}
	}
}

// At its target a program keeps its replicas, whatever the digits.
func TestDesiredHasNoFloatSurprise(t *testing.T) {
	t.Parallel()
	for current := range 1000 {
		for percent := 1; percent <= 100; percent++ {
			target := float64(percent) / 100
			if got := desired(current, target, target); got != current {
				t.Fatalf("%d replicas at %v of %v: %d, want as many", current, target, target, got)
			}
			// The exact answer, in integers.
			for _, saturation := range []int{1, 33, 70, 100} {
				if got, want := desired(current, float64(saturation)/100, target), (current*saturation+percent-1)/percent; got != want {
					t.Fatalf("%d replicas at %d%% of %d%%: %d, want %d", current, saturation, percent, got, want)
				}
			}
		}
	}
}

func TestScaleAnswers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		replicas func() int
		value    float64
		want     string
	}{
		{func() int { return 4 }, 0.9, `{"current":4,"saturation":0.9,"target":0.7,"desired":6,"source":"a"}`},
		{func() int { return 4 }, math.NaN(), `{"current":4,"saturation":null,"target":0.7,"desired":4,"source":""}`},
		// Nobody is told to shrink a fleet of unknown size to one replica, or two.
		{nil, 0.9, `{"current":null,"saturation":0.9,"target":0.7,"desired":null,"source":"a"}`},
	} {
		s := newScale(t, &ScaleOptions{Replicas: tt.replicas}, tt.value)
		w := ask(s, http.MethodGet, "text/html")
		if w.Code != 200 || w.Body.String() != tt.want+"\n" || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%d %s, want %s", w.Code, w.Body, tt.want)
		}
		if h := w.Header(); h.Get("Content-Type") != "application/json" || h.Get("Cache-Control") != "no-store" {
			t.Errorf("header %v", h)
		}
		if w := ask(s, http.MethodHead, ""); w.Code != 200 || w.Body.Len() != 0 {
			t.Errorf("HEAD: %d %s", w.Code, w.Body)
		}
		if w := ask(s, http.MethodPut, ""); w.Code != 405 {
			t.Errorf("PUT: %d, want 405", w.Code)
		}
	}
}
