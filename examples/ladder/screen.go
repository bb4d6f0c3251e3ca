package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/uprung/uprung/internal/ladder"
)

// plainEvery is the least time between two lines of progress where lines stay.
const plainEvery = time.Second

// screen shows progress: on a terminal, in one line for each half that is
// written over and over; elsewhere, such as in a log, in lines.
type screen struct {
	out      io.Writer
	terminal bool
	color    bool
	last     time.Duration // Elapsed of the last line
}

func newScreen(out io.Writer) *screen {
	s := &screen{out: out}
	if f, ok := out.(*os.File); ok && os.Getenv("TERM") != "dumb" {
		info, err := f.Stat()
		s.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	s.color = s.terminal && os.Getenv("NO_COLOR") == ""
	return s
}

const (
	eraseLine = "\r\x1b[K" // go to the start of the line and empty it
	clip      = "\x1b[?7l" // cut off what does not fit into a line,
	wrap      = "\x1b[?7h" // or continue it on the next
)

func (s *screen) progress(p ladder.Progress) {
	if s.terminal {
		if p.Elapsed < s.last {
			_, _ = fmt.Fprintln(s.out) // the last line of each half stays
		}
		s.last = p.Elapsed
		_, _ = fmt.Fprint(s.out, eraseLine, clip, p, wrap)
		return
	}
	const tolerance = plainEvery / 10 // of a ticker
	if p.Elapsed > s.last && p.Elapsed-s.last < plainEvery-tolerance {
		return
	}
	s.last = p.Elapsed
	_, _ = fmt.Fprintln(s.out, p)
}

// end leaves an empty line for what follows.
func (s *screen) end() {
	if s.terminal {
		_, _ = fmt.Fprintln(s.out)
	}
	_, _ = fmt.Fprintln(s.out)
}
