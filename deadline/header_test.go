package deadline

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		values []string
		want   time.Duration
		ok     bool
	}{
		{[]string{"0"}, 0, true},
		{[]string{"1"}, time.Millisecond, true},
		{[]string{"1500"}, 1500 * time.Millisecond, true},
		{[]string{"0000000007"}, 7 * time.Millisecond, true},
		{[]string{"9999999999"}, maxMillis * time.Millisecond, true},
		{nil, 0, false},
		{[]string{""}, 0, false},
		{[]string{"10000000000"}, 0, false},
		{[]string{"18446744073709551617"}, 0, false},
		{[]string{strings.Repeat("9", 1<<16)}, 0, false},
		{[]string{"-1"}, 0, false},
		{[]string{"+1"}, 0, false},
		{[]string{" 1"}, 0, false},
		{[]string{"1 "}, 0, false},
		{[]string{"1.5"}, 0, false},
		{[]string{"1e3"}, 0, false},
		{[]string{"0x10"}, 0, false},
		{[]string{"1_000"}, 0, false},
		{[]string{"١"}, 0, false},
		{[]string{"1s"}, 0, false},
		{[]string{"1, 2"}, 0, false},
		{[]string{"1", "2"}, 0, false},
		{[]string{"1", "1"}, 0, false},
	} {
		got, ok := parse(tt.values)
		if got != tt.want || ok != tt.ok {
			t.Errorf("parse(%.40q) = %v, %t, want %v, %t", tt.values, got, ok, tt.want, tt.ok)
		}
	}
}

func TestFormat(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0:                            "0",
		time.Millisecond - 1:         "0",
		time.Millisecond:             "1",
		1999 * time.Microsecond:      "1",
		time.Second:                  "1000",
		math.MaxInt64:                "9999999999",
		maxMillis * time.Millisecond: "9999999999",
	} {
		if got := format(d); got != want {
			t.Errorf("format(%v) = %q, want %q", d, got, want)
		}
	}
}

// FuzzParse compares parse with strconv, which knows more forms of numbers, and reads
// back what was read.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"", "0", "10", "-1", "+1", "9999999999", "10000000000", " 1", "1, 2", "\x00", "1\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		got, ok := parse([]string{value})
		want, err := strconv.ParseUint(value, 10, 64)
		if wantOK := err == nil && value[0] != '+' && len(value) <= maxDigits; ok != wantOK {
			t.Fatalf("parse(%q) is ok: %t, want %t", value, ok, wantOK)
		}
		if !ok {
			if got != 0 {
				t.Fatalf("parse(%q) = %v, false, want 0", value, got)
			}
			return
		}
		if got != time.Duration(want)*time.Millisecond {
			t.Fatalf("parse(%q) = %v, want %d ms", value, got, want)
		}
		if again, ok := parse([]string{format(got)}); again != got || !ok {
			t.Fatalf("%v is written %q, and read as %v, %t", got, format(got), again, ok)
		}
	})
}

// What net/http takes for a field name is one, and nothing else.
func TestToken(t *testing.T) {
	t.Parallel()
	for c := range 256 {
		name := string([]byte{byte(c)})
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:0/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header[name] = []string{"1"}
		_, err = http.DefaultTransport.RoundTrip(r) // fails in either case
		if want := !strings.Contains(err.Error(), "invalid header field name"); token(name) != want {
			t.Errorf("token(%q) = %t, want %t", name, token(name), want)
		}
	}
	if token("") || token("a b") || !token("Uprung-Timeout-Ms") {
		t.Error("token takes an empty name or a blank, or not a usual one")
	}
}
