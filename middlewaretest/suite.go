package middlewaretest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

const (
	// defaultWait is long enough for a loopback request on a machine that is busy
	// with other tests under the race detector.
	defaultWait = 5 * time.Second

	// lateness is how long past the deadline of a middleware a handler keeps
	// still before it writes, unless the client has its answer earlier.
	lateness = 500 * time.Millisecond

	// checksAtOnce bounds the load that failures makes.
	checksAtOnce = 2
)

// check is one promise and how to put it to the test.
type check struct {
	name      string
	source    string
	protocols []protocol
	needs     need
	run       func(*probe)
}

// need is an option without which a check is left out.
type need uint8

const (
	nothing need = iota
	aTimeout
	aRefusal
)

// settings are the options of both kinds of suites: either the handler half or
// the transport half is set.
type settings struct {
	middleware, refusing func(http.Handler) http.Handler
	wrap, refusingWrap   func(http.RoundTripper) http.RoundTripper
	decorate             func(*http.Request)
	timeout, wait        time.Duration
	skip                 map[string]string
	certificate          tls.Certificate // of all servers of the suite
	roots                *x509.CertPool  // trusts certificate
	missingTarget        string
}

type suite struct {
	first  check // without which only refusals can be checked
	checks []check
	settings
}

func handlerSuite(middleware func(http.Handler) http.Handler, o *Options) *suite {
	if o == nil {
		o = &Options{}
	}
	s := &suite{first: letsPass(), checks: handlerChecks(), settings: settings{
		middleware: middleware, refusing: o.Refusing, decorate: o.Request,
		timeout: o.Timeout, wait: o.Wait, skip: o.Skip,
	}}
	if middleware == nil {
		s.missingTarget = "middleware"
	}
	return s
}

func transportSuite(wrap func(http.RoundTripper) http.RoundTripper, o *TransportOptions) *suite {
	if o == nil {
		o = &TransportOptions{}
	}
	s := &suite{first: passesOn(), checks: transportChecks(), settings: settings{
		wrap: wrap, refusingWrap: o.Refusing, decorate: o.Request,
		wait: o.Wait, skip: o.Skip,
	}}
	if wrap == nil {
		s.missingTarget = "wrap"
	}
	return s
}

// validate returns everything that is wrong with the options, and sets the
// defaults.
func (s *suite) validate() []Failure {
	var wrong []Failure
	add := func(got, want string) {
		wrong = append(wrong, Failure{Check: "options", Got: got, Want: want})
	}
	if s.missingTarget != "" {
		add("a nil "+s.missingTarget, "a function")
	}
	if s.wait < 0 {
		add(fmt.Sprintf("Wait of %v", s.wait), "Wait >= 0")
	}
	if s.timeout < 0 {
		add(fmt.Sprintf("Timeout of %v", s.timeout), "Timeout >= 0")
	}
	for _, name := range slices.Sorted(maps.Keys(s.skip)) {
		if !slices.ContainsFunc(s.checks, func(c check) bool { return c.name == name }) {
			add(fmt.Sprintf("Skip[%q]", name), "the name of a check")
		} else if s.skip[name] == "" {
			add(fmt.Sprintf("Skip[%q] without a reason", name), "a reason")
		}
	}
	if s.wait == 0 {
		s.wait = defaultWait
	}
	s.certificate, s.roots = selfSigned()
	return wrong
}

// wanted yields the checks that apply, those to skip included.
func (s *suite) wanted(yield func(check) bool) {
	for _, c := range s.checks {
		switch {
		case c.needs == aTimeout && s.timeout == 0:
		case c.needs == aRefusal && s.refusing == nil && s.refusingWrap == nil:
		case !yield(c):
			return
		}
	}
}

// blocked returns the failure of the first check, or nil if the others are worth
// running.
func (s *suite) blocked() *Failure {
	for c := range s.wanted {
		if c.needs == aRefusal || s.skip[c.name] != "" {
			continue
		}
		for _, f := range s.first.failures(&s.settings) {
			return &f
		}
		return nil
	}
	return nil
}

func (s *suite) failures() []Failure {
	if wrong := s.validate(); len(wrong) > 0 {
		return wrong
	}
	blocked := s.blocked()
	checks := slices.DeleteFunc(slices.Collect(s.wanted), func(c check) bool {
		return s.skip[c.name] != "" || blocked != nil && c.needs != aRefusal
	})
	found := make([][]Failure, len(checks))
	slots := make(chan struct{}, checksAtOnce)
	var wg sync.WaitGroup
	for i, c := range checks {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			found[i] = c.failures(&s.settings)
		})
	}
	wg.Wait()
	if blocked != nil {
		found = slices.Insert(found, 0, []Failure{*blocked})
	}
	return slices.Concat(found...)
}

func (s *suite) test(t *testing.T) {
	t.Helper()
	if wrong := s.validate(); len(wrong) > 0 {
		for _, f := range wrong {
			t.Error(f)
		}
		return
	}
	blocked, told := s.blocked(), false
	for c := range s.wanted {
		t.Run(c.name, func(t *testing.T) {
			if blocked != nil && c.name == s.first.name {
				told = true
				t.Fatal(blocked)
			}
			if reason := s.skip[c.name]; reason != "" {
				t.Skip(reason)
			}
			if blocked != nil && c.needs != aRefusal {
				t.Skipf("%s: %s", s.first.name, blocked.Got)
			}
			for _, f := range c.failures(&s.settings) {
				t.Error(f)
			}
		})
	}
	if blocked != nil && !told { // go test -run has left the first check out
		t.Error(blocked)
	}
}

// failures runs a check on all its protocols at the same time.
func (c check) failures(s *settings) []Failure {
	found := make([]*Failure, len(c.protocols))
	var wg sync.WaitGroup
	for i, protocol := range c.protocols {
		wg.Go(func() { found[i] = c.over(protocol, s) })
	}
	wg.Wait()
	var failures []Failure
	for _, f := range found {
		if f != nil {
			failures = append(failures, *f)
		}
	}
	return failures
}

// over runs a check on one protocol and leaves nothing behind.
func (c check) over(protocol protocol, s *settings) *Failure {
	wait := s.wait
	if c.needs == aTimeout {
		wait += s.timeout + lateness
	}
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	p := &probe{settings: s, check: c, protocol: protocol, patience: wait, ctx: ctx, cancel: cancel, leftOut: newEvent()}
	func() {
		defer p.shutdown()
		defer func() {
			if v := recover(); v != nil {
				p.report("no panic of the middleware where it is applied", "the panic %v", v)
			}
		}()
		c.run(p)
	}()
	return p.result()
}
