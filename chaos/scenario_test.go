package chaos

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var gameDay = Scenario{
	{Name: "slow", For: time.Minute, Faults: []Fault{{Name: "slow", Delay: Fixed(time.Second)}}},
	{Name: "pause", For: 30 * time.Second},
	{Name: "down", For: 2 * time.Minute, Faults: []Fault{{Name: "down", Reset: true}}},
}

func TestScenarioPlaysItsSteps(t *testing.T) {
	bubble(t, func(t *testing.T) {
		i, err := New([]Fault{{Name: "own", Status: 500}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		begin := time.Now()
		go func() { ended <- i.Run(t.Context(), gameDay) }()
		met := map[string]int{}
		for range 250 {
			synctest.Wait()
			name := "none"
			if n, ok := i.Next(Call{}); ok {
				name = n.Fault.Name
				n.End()
			}
			met[name]++
			time.Sleep(time.Second)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if met["slow"] != 60 || met["down"] != 120 || met["none"] != 70 || met["own"] != 0 {
			t.Errorf("faults met: %v", met)
		}
		if _, armed := i.Armed(); armed || len(i.Faults()) != 1 || i.Faults()[0].Name != "own" {
			t.Errorf("armed %t with %v after %v", armed, i.Faults(), time.Since(begin))
		}
	})
}

// What a step holds is let go when the next begins.
func TestStepDoesNotOutliveItself(t *testing.T) {
	bubble(t, func(t *testing.T) {
		i, err := New(nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() {
			ended <- i.Run(t.Context(), Scenario{{For: time.Minute, Faults: []Fault{{Name: "hang", Delay: Fixed(time.Hour / 2)}}}, {For: time.Minute}})
		}()
		synctest.Wait()
		begin := time.Now()
		n, ok := i.Next(Call{})
		if !ok {
			t.Fatal("the step injects nothing")
		}
		goOn, err := n.Hold(t.Context())
		n.End()
		if took := time.Since(begin); goOn || err != nil || took != time.Minute {
			t.Errorf("held for %v: %t, %v", took, goOn, err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// What another sets while a scenario runs is what it wanted.
func TestScenarioLeavesWhatAnotherSets(t *testing.T) {
	bubble(t, func(t *testing.T) {
		i, err := New(nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- i.Run(t.Context(), gameDay) }()
		time.Sleep(time.Second)
		if err := errors.Join(i.SetFaults([]Fault{{Name: "other", Status: 500}}), i.Arm(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, ErrDisarmed) {
			t.Errorf("it ends with %v", err)
		}
		if _, armed := i.Armed(); !armed || i.Faults()[0].Name != "other" {
			t.Errorf("armed %t with %v", armed, i.Faults())
		}
		i.Disarm()
	})
}

func TestScenarioEnds(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(*Injector, context.CancelCauseFunc)
		want error
	}{
		{"by its context", func(_ *Injector, cancel context.CancelCauseFunc) { cancel(errEnough) }, errEnough},
		{"by the kill switch", func(i *Injector, _ context.CancelCauseFunc) { i.Disarm() }, ErrDisarmed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				i, err := New(nil, nil)
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				time.AfterFunc(70*time.Second, func() { tt.end(i, cancel) })
				begin := time.Now()
				if err := i.Run(ctx, gameDay); !errors.Is(err, tt.want) || time.Since(begin) != 70*time.Second {
					t.Errorf("after %v: %v, want %v", time.Since(begin), err, tt.want)
				}
				if _, armed := i.Armed(); armed || len(i.Faults()) != 0 {
					t.Errorf("armed %t with %v", armed, i.Faults())
				}
			})
		})
	}
}

var errEnough = errors.New("enough")

func TestScenarioIsValidatedBeforeItBegins(t *testing.T) {
	t.Parallel()
	i := must(t, nil, Fault{Name: "own", Status: 500})
	if err := i.Run(t.Context(), gameDay); !errors.Is(err, ErrArmed) {
		t.Errorf("while it is armed: %v", err)
	}
	if len(i.Faults()) != 1 {
		t.Errorf("faults are %v", i.Faults())
	}
	i.Disarm()
	err := i.Run(t.Context(), Scenario{{For: -1}, {For: 2 * time.Hour, Faults: []Fault{{Name: "x"}}}})
	for _, want := range []string{
		"chaos: steps[0].For is -1ns, want > 0",
		"chaos: the steps take 1h59m59.999999999s, want at most 1h0m0s, which is MaxArmed",
		"chaos: steps[1]: chaos: faults[0].Delay, Status",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q:\n%v", want, err)
		}
	}
	if err := i.Run(t.Context(), nil); err == nil {
		t.Error("an empty scenario is played")
	}
}
