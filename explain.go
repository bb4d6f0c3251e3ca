package uprung

import (
	"net/http"
	"strings"
)

// Explain describes a chain for a person: each layer from the outermost inwards
// with its effective settings, those at their default marked, and then where
// knowledge ends.
func Explain(handler http.Handler) string {
	return explain(Vet(handler))
}

// ExplainTransport is [Explain] for a chain of round trippers.
func ExplainTransport(transport http.RoundTripper) string {
	return explain(VetTransport(transport))
}

func explain(report Report) string {
	var b strings.Builder
	for _, layer := range report.Layers {
		b.WriteString(layer.String())
		for _, fact := range layer.Facts {
			b.WriteString(", " + string(fact))
		}
		b.WriteByte('\n')
		width := 0
		for _, s := range layer.Settings {
			width = max(width, len(s.Name))
		}
		for _, s := range layer.Settings {
			b.WriteString("    " + s.Name + strings.Repeat(" ", width-len(s.Name)) + "  " + s.Value)
			if s.Default {
				b.WriteString(" (default)")
			}
			b.WriteByte('\n')
		}
	}
	b.WriteString(report.String())
	return b.String()
}
