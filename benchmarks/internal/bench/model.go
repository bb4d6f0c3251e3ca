package bench

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// A Model is measured in virtual time, in a bubble of testing/synctest, where the real
// code of all implementations runs, and minutes take a second. A bubble needs a test:
// that test is built by the go command, in the directory of which the module is this
// one, and is run in a process of its own for each figure.
//
// The test calls [Asked], is skipped if nobody asks, measures in a bubble what the
// [Question] says, and gives the answer by [Question.Answer].
type Model struct {
	// Package is the import path of the package of the test, and Test its name.
	Package, Test string

	mu    sync.Mutex // guards all that follows
	users int        // implementations that are open
	dir   string     // of the program, from the first of them to the last
	err   error      // if there is no program
}

// Contest is a contest of implementations in cases that the test of the model knows by
// their names. The metric is that of the ratios of the tables.
func (m *Model) Contest(metric string, cases, impls []string) Runnable {
	c := &Contest[*modelled]{}
	for _, impl := range impls {
		c.Impls = append(c.Impls, Impl[*modelled]{Name: impl, Open: func(*Env) (*modelled, error) {
			if err := m.open(); err != nil {
				return nil, err
			}
			return &modelled{m, impl}, nil
		}})
	}
	for _, name := range cases {
		c.Cases = append(c.Cases, Case[*modelled]{
			Name:  name,
			Exact: true,
			Ratio: metric,
			Begin: func(*Env) func(*modelled, *Round) (Figures, error) {
				return func(one *modelled, r *Round) (Figures, error) {
					return one.model.ask(&Question{Env: *r.Env, Case: name, Impl: one.impl})
				}
			},
		})
	}
	return c
}

// modelled is an implementation in a model.
type modelled struct {
	model *Model
	impl  string
}

// Close removes the program of the model, if no other implementation needs it.
func (m *modelled) Close() { m.model.close() }

// open builds the program, unless it is there.
func (m *Model) open() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dir == "" && m.err == nil {
		m.dir, m.err = m.build()
	}
	if m.err != nil {
		return m.err
	}
	m.users++
	return nil
}

func (m *Model) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.users--; m.users == 0 {
		_ = os.RemoveAll(m.dir)
		m.dir = ""
	}
}

// build returns a new directory with the program.
func (m *Model) build() (string, error) {
	dir, err := os.MkdirTemp("", "uprung-model-")
	if err != nil {
		return "", err
	}
	out, err := exec.Command("go", "test", "-c", "-o", filepath.Join(dir, program), m.Package).CombinedOutput()
	if err != nil {
		_ = os.RemoveAll(dir)
		return "", fmt.Errorf("go test -c %s: %w: %s", m.Package, err, end(out))
	}
	return dir, nil
}

// program is the name of the test as a program.
const program = "model.test"

// ask runs the program for one answer.
func (m *Model) ask(q *Question) (Figures, error) {
	question, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(filepath.Join(m.dir, program), "-test.run=^"+m.Test+"$", "-test.timeout=10m")
	// What happens at one instant happens in the same order each time if only one
	// goroutine runs at a time.
	cmd.Env = append(os.Environ(), askedVar+"="+string(question), "GOMAXPROCS=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", m.Test, err, end(out))
	}
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		var f Figures
		if text, ok := strings.CutPrefix(lines.Text(), answerPrefix); ok {
			err := json.Unmarshal([]byte(text), &f)
			return f, err
		}
	}
	return nil, fmt.Errorf("%s: no answer: %s", m.Test, end(out))
}

// end returns the last of what a process has written, which says why it failed.
func end(out []byte) []byte {
	out = bytes.TrimSpace(out)
	return out[max(0, len(out)-2000):]
}

const (
	// askedVar is the environment variable with the question, in JSON.
	askedVar = "UPRUNG_BENCHMARKS_MODEL"
	// answerPrefix begins the line with the answer, which other lines of a test do
	// not.
	answerPrefix = "figures "
)

// Question is what the test of a [Model] is to measure.
type Question struct {
	Env
	Case, Impl string
}

// Asked returns what the test that calls it is to measure, and false if that is
// nothing, as in an ordinary run of all tests.
func Asked() (*Question, bool) {
	text := os.Getenv(askedVar)
	if text == "" {
		return nil, false
	}
	q := &Question{}
	if err := json.Unmarshal([]byte(text), q); err != nil {
		panic(err) // a Model has written it
	}
	return q, true
}

// Answer gives the answer.
func (q *Question) Answer(f Figures) error {
	if err := f.check(); err != nil {
		return err
	}
	text, err := json.Marshal(f)
	if err != nil {
		return err
	}
	_, err = fmt.Printf("\n%s%s\n", answerPrefix, text)
	return err
}
