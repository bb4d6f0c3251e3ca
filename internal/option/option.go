package option

import "fmt"

// MaxName is the length of the longest name of a core: figures and lines of a log
// repeat it.
const MaxName = 64

// CheckName reports a name that figures cannot carry. The error names the field and
// lacks the package, which the caller puts before it.
func CheckName(field, name string) error {
	if name == "" || len(name) > MaxName || !Printable(name) {
		return fmt.Errorf("%s is %q, want 1 to %d printable ASCII characters", field, name, MaxName)
	}
	return nil
}

// Printable reports whether all of s is printable ASCII.
func Printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// Function describes a setting that is a function, or else what happens without.
func Function(set bool, otherwise string) string {
	if set {
		return "a function"
	}
	return otherwise
}

// OrNone describes a setting that can be absent.
func OrNone(set bool, value any) string {
	if set {
		return fmt.Sprint(value)
	}
	return "none"
}
