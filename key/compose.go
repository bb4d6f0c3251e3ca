package key

import (
	"net/http"
	"slices"
	"strconv"
)

// Join is the key of several keys together, such as a tenant and a route. All
// must be present. Each part is written after its length, "5:alice4:POST", so that
// no two lists of parts give the same key, whatever is in them.
//
// Join panics if it is given no Func, or a nil one.
func Join(funcs ...Func) Func {
	funcs = checked("Join", funcs)
	return func(r *http.Request) (string, bool) {
		var buffer [MaxLength]byte
		joined := buffer[:0]
		for _, f := range funcs {
			part, ok := f.of(r)
			if !ok {
				return "", false
			}
			joined = strconv.AppendInt(joined, int64(len(part)), 10)
			joined = append(joined, ':')
			joined = append(joined, part...)
		}
		return bounded(string(joined))
	}
}

// First is the first key that is present, such as the account or else the
// address. The key is written after the position of its Func, counted from zero:
// "0:alice", "1:203.0.113.7". Otherwise a client could choose an account name that
// reads like somebody's address, and use up what is theirs.
//
// First panics if it is given no Func, or a nil one.
func First(funcs ...Func) Func {
	funcs = checked("First", funcs)
	marks := make([]string, len(funcs))
	for i := range marks {
		marks[i] = strconv.Itoa(i) + ":"
	}
	return func(r *http.Request) (string, bool) {
		for i, f := range funcs {
			if key, ok := f.of(r); ok {
				return bounded(marks[i] + key)
			}
		}
		return "", false
	}
}

// checked copies the arguments of a constructor and panics if one is missing.
func checked(constructor string, funcs []Func) []Func {
	if len(funcs) == 0 {
		panic("key: " + constructor + " has no arguments, want at least one")
	}
	for i, f := range funcs {
		if f == nil {
			panic("key: " + constructor + " argument " + strconv.Itoa(i) + " is nil")
		}
	}
	return slices.Clone(funcs)
}
