package rediscache_test

import (
	"bytes"
	"crypto/rand"
	"strings"
	"testing"

	"github.com/klauspost/compress/s2"

	"github.com/uprung/uprung/cache"
	"github.com/uprung/uprung/cache/rediscache"
)

func TestS2(t *testing.T) {
	t.Parallel()
	codec := rediscache.S2(cache.JSON[string]())
	if codec.Name() != "json+s2" {
		t.Errorf("name is %q", codec.Name())
	}
	for _, tt := range []struct {
		name  string
		value string
		least int
		most  int
	}{
		{"nothing", "", 3, 3},
		{"just too small", strings.Repeat("a", 1021), 1024, 1024},
		{"just large enough", strings.Repeat("a", 1022), 2, 100},
		{"large", strings.Repeat("some text ", 10_000), 2, 10_000},
		{"random", rand.Text() + strings.Repeat(rand.Text(), 100), 26, 1000},
	} {
		data, err := codec.Append([]byte("before"), "key", tt.value)
		if err != nil || !bytes.HasPrefix(data, []byte("before")) {
			t.Fatalf("%s: %q, %v", tt.name, data, err)
		}
		data = data[len("before"):]
		if len(data) < tt.least || len(data) > tt.most {
			t.Errorf("%s has %d bytes, want %d to %d", tt.name, len(data), tt.least, tt.most)
		}
		got, err := codec.Decode("key", data)
		if err != nil || got != tt.value {
			t.Errorf("%s comes back with %d bytes, %v", tt.name, len(got), err)
		}
	}
}

// A store is not to be trusted.
func TestS2TakesNothingMalformed(t *testing.T) {
	t.Parallel()
	codec := rediscache.S2(cache.JSON[string]())
	bomb := append([]byte{1}, s2.Encode(nil, make([]byte, 65<<20))...)
	for _, data := range [][]byte{nil, {}, {0}, {1}, {2}, {1, 0xff, 0xff, 0xff, 0xff, 0x0f}, bomb} {
		if got, err := codec.Decode("key", data); err == nil {
			t.Errorf("%d bytes are decoded to %q", len(data), got)
		}
	}
}

func FuzzS2(f *testing.F) {
	codec := rediscache.S2(cache.JSON[string]())
	f.Add([]byte("\x00\"a\""))
	f.Add(append([]byte{1}, s2.Encode(nil, []byte(`"aaaaaaaaaaaaaaaaaaaaaaaaaa"`))...))
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := codec.Decode("key", data)
		if err != nil {
			return
		}
		again, err := codec.Append(nil, "key", v)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := codec.Decode("key", again); err != nil || got != v {
			t.Errorf("%q comes back as %q, %v", v, got, err)
		}
	})
}
