package health

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/internal/option"
)

// DefaultScaleTarget is the saturation that a [Scale] aims at by default.
const DefaultScaleTarget = 0.7

// maxReplicas bounds what a Scale may ask for.
const maxReplicas = math.MaxInt32

// Saturator is something that can be used up: a pool of workers, of connections, a
// limit. Saturation returns the share in use, from 0 to 1: at 1, more work waits or
// is refused. It is cheap and safe for concurrent use.
//
// Values above 1 count as 1, those below 0 as 0. NaN means that it is not known.
type Saturator interface {
	Saturation() float64
}

// SaturationFunc is a function that is a [Saturator].
type SaturationFunc func() float64

// Saturation calls the function.
func (f SaturationFunc) Saturation() float64 { return f() }

// ScaleSource is one of the saturations by which a [Scale] decides.
type ScaleSource struct {
	// Name names it in answers and metrics: 1 to 64 printable ASCII characters, and
	// unique.
	Name string
	// Saturator tells how much is in use.
	Saturator Saturator
}

// ScaleOptions are the settings of a [Scale]. The zero value of each field is its
// default.
type ScaleOptions struct {
	// Name is the name of the scale in metrics: 1 to 64 printable ASCII characters.
	// Zero means "default".
	Name string
	// Target is the saturation to aim at, above 0 and at most 1. What is above it is
	// for the time until more replicas have started. Zero means [DefaultScaleTarget].
	Target float64
	// Replicas returns how many replicas share the load now. It is called for each
	// answer. Nil means that this is not known: then neither is how many are wanted,
	// which is null in answers, and only the saturation tells anything, to an
	// autoscaler that counts the replicas itself. To take one for all of a fleet would
	// shrink it.
	Replicas func() int
	// Min is the least number of replicas to ask for. Zero means 1; a negative value
	// means none at all.
	Min int
	// Max is the largest number of replicas to ask for. Zero means that there is no
	// limit.
	Max int
}

// A Scale says how many replicas of the program the load wants, to KEDA, to an
// adapter of external metrics, or to whoever reads JSON over HTTP.
//
// It is the rule of the HorizontalPodAutoscaler: desired = ceil(current * saturation
// / target), between Min and Max, where the source with the highest saturation
// decides. A source that does not know its saturation is left out, and if none does,
// desired is current: a broken gauge scales nothing down.
//
// It is safe for concurrent use. Use [NewScale].
type Scale struct {
	sources []ScaleSource
	o       ScaleOptions
}

// NewScale returns a scale by sources, of which there is at least one. Nil options
// are the defaults. The error names every element and field that is not valid.
func NewScale(sources []ScaleSource, o *ScaleOptions) (*Scale, error) {
	if o == nil {
		o = &ScaleOptions{}
	}
	s := &Scale{sources: append([]ScaleSource(nil), sources...), o: *o}
	s.o.Name = cmp.Or(o.Name, "default")
	s.o.Target = cmp.Or(o.Target, DefaultScaleTarget)
	s.o.Min = max(cmp.Or(o.Min, 1), 0)
	s.o.Max = cmp.Or(o.Max, maxReplicas)
	var errs []error
	if len(sources) == 0 {
		errs = append(errs, errors.New("health: sources has 0 elements, want 1 or more"))
	}
	index := make(map[string]int, len(sources))
	for i, source := range sources {
		if err := option.CheckName(fmt.Sprintf("sources[%d].Name", i), source.Name); err != nil {
			errs = append(errs, fmt.Errorf("health: %w", err))
		}
		if source.Saturator == nil {
			errs = append(errs, fmt.Errorf("health: sources[%d].Saturator is nil, want what tells how much is in use", i))
		}
		if first, twice := index[source.Name]; twice {
			errs = append(errs, fmt.Errorf("health: sources[%d].Name is %q, want one that no other source has, and sources[%d] has it", i, source.Name, first))
		} else {
			index[source.Name] = i
		}
	}
	if err := option.CheckName("ScaleOptions.Name", s.o.Name); err != nil {
		errs = append(errs, fmt.Errorf("health: %w", err))
	}
	if !(s.o.Target > 0 && s.o.Target <= 1) {
		errs = append(errs, fmt.Errorf("health: ScaleOptions.Target is %v, want above 0 and at most 1", o.Target))
	}
	if o.Max < 0 || o.Max > maxReplicas {
		errs = append(errs, fmt.Errorf("health: ScaleOptions.Max is %d, want 0 to %d", o.Max, maxReplicas))
	}
	if s.o.Min > s.o.Max && o.Max >= 0 {
		errs = append(errs, fmt.Errorf("health: ScaleOptions.Min is %d, want at most Max, %d", o.Min, s.o.Max))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return s, nil
}

// ScaleStats are what a [Scale] says at this moment.
type ScaleStats struct {
	// Current is the number of replicas now, 0 without ScaleOptions.Replicas.
	Current int
	// Saturation is the highest of all sources, NaN if none knows.
	Saturation float64
	// Target is the saturation aimed at.
	Target float64
	// Desired is the number of replicas that the load wants, 0 without
	// ScaleOptions.Replicas.
	Desired int
	// Source is the name of the source with the highest saturation, the first of
	// several, or empty if none knows.
	Source string
}

// Stats reads all sources and returns what follows from them.
func (s *Scale) Stats() ScaleStats {
	stats, _ := s.read()
	return stats
}

// read returns what follows from the sources, and their saturations.
func (s *Scale) read() (ScaleStats, []float64) {
	stats := ScaleStats{Saturation: math.NaN(), Target: s.o.Target}
	all := make([]float64, len(s.sources))
	for i, source := range s.sources {
		all[i] = min(max(source.Saturator.Saturation(), 0), 1) // which NaN passes
		if all[i] > stats.Saturation || math.IsNaN(stats.Saturation) && !math.IsNaN(all[i]) {
			stats.Saturation, stats.Source = all[i], source.Name
		}
	}
	if s.o.Replicas != nil {
		stats.Current = min(max(s.o.Replicas(), 0), maxReplicas)
		stats.Desired = min(max(desired(stats.Current, stats.Saturation, stats.Target), s.o.Min), s.o.Max)
	}
	return stats, all
}

// desired returns ceil(current * saturation / target). A quotient that is above a
// whole number by less than a billionth is that number: it is so for want of digits,
// as 3 * 0.05 / 0.05 is.
func desired(current int, saturation, target float64) int {
	if math.IsNaN(saturation) {
		return current
	}
	exact := float64(current) * saturation / target
	return int(math.Ceil(min(exact*(1-1e-9), maxReplicas)))
}

// scaleDocument is the answer of a Scale.
type scaleDocument struct {
	Current    *int     `json:"current"` // null if it is not known, as the next is
	Saturation *float64 `json:"saturation"`
	Target     float64  `json:"target"`
	Desired    *int     `json:"desired"` // null if Current is
	Source     string   `json:"source"`
}

// ServeHTTP answers with Stats as a JSON object of current, saturation, target, desired
// and source. The saturation is null if no source knows, and current and desired are
// without ScaleOptions.Replicas.
func (s *Scale) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !readOnly(w, r) {
		return
	}
	stats := s.Stats()
	d := scaleDocument{Target: stats.Target, Source: stats.Source}
	if s.o.Replicas != nil {
		d.Current, d.Desired = &stats.Current, &stats.Desired
	}
	if !math.IsNaN(stats.Saturation) {
		d.Saturation = &stats.Saturation
	}
	body, err := json.Marshal(d)
	if err != nil {
		http.Error(w, "internal error", http.StatusInternalServerError) // numbers encode, so this is not reached
		return
	}
	write(w, r, http.StatusOK, jsonType, append(body, '\n'))
}

// Metrics yields the saturation of each source, NaN if it is not known, and the
// numbers of replicas if those are. It makes a Scale an [uprung.Source].
func (s *Scale) Metrics(yield func(uprung.Metric) bool) {
	stats, all := s.read()
	scale := uprung.Label{Name: "scale", Value: s.o.Name}
	var metrics []uprung.Metric
	if s.o.Replicas != nil {
		metrics = []uprung.Metric{
			{Name: "uprung_health_current_replicas", Type: uprung.Gauge, Labels: []uprung.Label{scale}, Value: float64(stats.Current),
				Help: "Replicas that share the load now."},
			{Name: "uprung_health_desired_replicas", Type: uprung.Gauge, Labels: []uprung.Label{scale}, Value: float64(stats.Desired),
				Help: "Replicas that the load wants."},
		}
	}
	for i, source := range s.sources {
		metrics = append(metrics, uprung.Metric{
			Name: "uprung_health_saturation_ratio", Type: uprung.Gauge, Value: all[i],
			Help:   "Share in use of what the source stands for.",
			Labels: []uprung.Label{scale, {Name: "source", Value: source.Name}},
		})
	}
	each(metrics, yield)
}
