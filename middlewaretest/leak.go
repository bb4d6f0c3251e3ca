package middlewaretest

import (
	"bytes"
	"context"
	"fmt"
	"runtime/pprof"
	"strings"
)

// labelName marks, as a profiler label, the goroutines of a probe. A goroutine
// inherits the labels of the one that starts it, so that those of a middleware
// under test are told from all others in the process.
const labelName = "middlewaretest"

// leavesNone runs work, stops servers and clients, and reports a goroutine that was
// started by the work and does not end.
func (p *probe) leavesNone(work func()) {
	id := fmt.Sprintf("%p", p)
	pprof.Do(context.Background(), pprof.Labels(labelName, id), func(context.Context) { work() })
	p.stop()
	if p.result() != nil {
		return
	}
	var stack string
	if !p.eventually(func() bool { stack = labelled(id); return stack == "" }) {
		p.report("no goroutine left after the last request", "%s", stack)
	}
}

// labelled returns the functions, innermost first, of one goroutine that bears
// the label, or nothing if there is none. It reads the text form of the
// goroutine profile, the one that shows labels: blocks separated by empty lines,
// each with a line "# labels: {...}" and a line "#\tpc\tfunction\tfile" for each
// frame.
func labelled(id string) string {
	var profile bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&profile, 1); err != nil {
		return ""
	}
	for block := range strings.SplitSeq(profile.String(), "\n\n") {
		if !strings.Contains(block, fmt.Sprintf("%q:%q", labelName, id)) {
			continue
		}
		functions := []string{"a goroutine in"}
		for line := range strings.Lines(block) {
			if fields := strings.Fields(line); len(fields) >= 3 && fields[0] == "#" && strings.HasPrefix(fields[1], "0x") {
				name, _, _ := strings.Cut(fields[2], "+0x")
				functions = append(functions, name)
			}
		}
		return strings.Join(functions, " ")
	}
	return ""
}
