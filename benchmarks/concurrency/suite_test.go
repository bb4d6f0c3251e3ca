package concurrency

import "testing"

// Every implementation does what its case says.
func TestImplementations(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func() (limiter, error){
		"adaptive": adaptive, "fixed": fixed, "full": full, "failsafe": newFailsafe, "full failsafe": fullFailsafe,
	} {
		l, err := open()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for range 3000 { // more than any of the limits
			if !l.pass(t.Context()) {
				t.Fatalf("%s does not do what it should", name)
			}
		}
	}
}
