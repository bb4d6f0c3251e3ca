package ladder

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	bold  = "\x1b[1m"
	green = "\x1b[32m"
	red   = "\x1b[31m"
	plain = "\x1b[0m"
)

// WriteTable writes what the rungs came to: a row for each promise, before and
// after, and for each rung its story. Color marks the verdicts for a terminal.
func WriteTable(w io.Writer, outcomes []Outcome, color bool) error {
	paint := func(style, s string) string {
		if !color {
			return s
		}
		return style + s + plain
	}
	rows := [][]string{{"rung", "metric", "before", "after", "factor", "promise", ""}}
	for _, o := range outcomes {
		name := o.Rung.Name
		for i, e := range o.Entries {
			p := &o.Rung.Promises[i]
			verdict := paint(green, "kept")
			if !e.OK {
				verdict = paint(red, "MISSED")
			}
			rows = append(rows, []string{
				name, p.Title, fmt.Sprintf(p.Format, e.Before), fmt.Sprintf(p.Format, e.After),
				fmt.Sprintf("%.3g", e.Factor), e.Want, verdict,
			})
			name = ""
		}
	}
	widths := make([]int, len(rows[0])-1) // the verdict needs none
	for _, row := range rows {
		for i := range widths {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
	}
	var b strings.Builder
	for n, row := range rows {
		var line strings.Builder
		for i, width := range widths {
			pad := strings.Repeat(" ", width-utf8.RuneCountInString(row[i]))
			if i >= 2 && i <= 4 { // figures
				line.WriteString(pad + row[i] + "  ")
			} else {
				line.WriteString(row[i] + pad + "  ")
			}
		}
		line.WriteString(row[len(widths)])
		text := strings.TrimRight(line.String(), " ")
		if n == 0 {
			text = paint(bold, text) + "\n" + strings.Repeat("-", sum(widths)+2*len(widths)+len("MISSED"))
		}
		b.WriteString(text + "\n")
	}
	var lateness time.Duration
	for _, o := range outcomes {
		story := wrapped(o.Rung.Name + ": " + o.Rung.Story)
		b.WriteString("\n" + paint(bold, o.Rung.Name) + strings.TrimPrefix(story, o.Rung.Name) + "\n")
		lateness = max(lateness, o.Before.Lateness, o.After.Lateness)
	}
	fmt.Fprintf(&b, "\nThe generator sent 99%% of its requests within %.1f ms of their instant.\n", milliseconds(lateness))
	_, err := io.WriteString(w, b.String())
	return err
}

// wrapped breaks a text into lines.
func wrapped(text string) string {
	const columns = 80
	var b strings.Builder
	column := 0
	for word := range strings.FieldsSeq(text) {
		width := utf8.RuneCountInString(word)
		switch {
		case column == 0:
		case column+1+width > columns:
			b.WriteByte('\n')
			column = 0
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += width
	}
	return b.String()
}

func sum(widths []int) (total int) {
	for _, w := range widths {
		total += w
	}
	return total
}

// String returns the progress as one line.
func (p Progress) String() string {
	half, p99 := "without", "-"
	if p.With {
		half = "with"
	}
	if p.P99 > 0 {
		p99 = fmt.Sprintf("%.0f ms", milliseconds(p.P99))
	}
	line := fmt.Sprintf("%-8s %-7s %5.1fs of %.1fs  offered %4.0f/s  ok %4.0f/s  refused %4.0f/s  failed %4.0f/s  p99 of %s %7s",
		p.Rung.Name, half, p.Elapsed.Seconds(), p.Length.Seconds(), p.Offered, p.Served, p.Refused, p.Failed, p.Rung.Judged, p99)
	if p.Settling {
		line += "  (settling)"
	}
	return line
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
