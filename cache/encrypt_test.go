package cache_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/uprung/uprung/cache"
)

func secret(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

func encrypted(t *testing.T, first cache.Key, further ...cache.Key) cache.Codec[string] {
	t.Helper()
	codec, err := cache.Encrypt(cache.JSON[string](), first, further...)
	if err != nil {
		t.Fatal(err)
	}
	return codec
}

// A key is replaced without a value that cannot be read, and one that was taken away opens
// nothing.
func TestEncryptWithARingOfKeys(t *testing.T) {
	t.Parallel()
	oldKey, newKey := cache.Key{ID: "old", Secret: secret(1)}, cache.Key{ID: "new", Secret: secret(2)}
	before, during, after := encrypted(t, oldKey, newKey), encrypted(t, newKey, oldKey), encrypted(t, newKey)
	if before.Name() != "json+aesgcm" {
		t.Errorf("name is %q", before.Name())
	}
	for _, tt := range []struct {
		name     string
		from, to cache.Codec[string]
		opens    bool
	}{
		{"before to during", before, during, true},
		{"during to before", during, before, true},
		{"during to after", during, after, true},
		{"before to after", before, after, false},
	} {
		data, err := tt.from.Append([]byte("head"), "key", "a secret")
		if err != nil || !bytes.HasPrefix(data, []byte("head")) {
			t.Fatalf("%s: %q, %v", tt.name, data, err)
		}
		if bytes.Contains(data, []byte("secret")) {
			t.Errorf("%s: the value can be read: %q", tt.name, data)
		}
		got, err := tt.to.Decode("key", data[4:])
		if (err == nil) != tt.opens || tt.opens && got != "a secret" {
			t.Errorf("%s is %q, %v; want that it opens: %v", tt.name, got, err, tt.opens)
		}
	}
}

func TestEncryptNoticesEveryChange(t *testing.T) {
	t.Parallel()
	codec := encrypted(t, cache.Key{ID: "k", Secret: secret(1)})
	data, err := codec.Append(nil, "users:1", "Ada")
	if err != nil {
		t.Fatal(err)
	}
	again, err := codec.Append(nil, "users:1", "Ada")
	if err != nil || bytes.Equal(data, again) {
		t.Errorf("the same value is encrypted the same way twice (%v)", err)
	}
	if _, err := codec.Decode("users:2", data); err == nil {
		t.Error("a value is taken for that of another key")
	}
	for i := range data {
		changed := bytes.Clone(data)
		changed[i] ^= 1
		if _, err := codec.Decode("users:1", changed); err == nil {
			t.Errorf("a change of byte %d is not noticed", i)
		}
		if _, err := codec.Decode("users:1", data[:i]); err == nil {
			t.Errorf("the first %d bytes are taken for all", i)
		}
	}
}

func TestEncryptSaysAllThatIsWrong(t *testing.T) {
	t.Parallel()
	_, err := cache.Encrypt[string](nil, cache.Key{ID: "a b", Secret: secret(1)}, cache.Key{ID: "c", Secret: []byte("short")},
		cache.Key{ID: "d", Secret: secret(1)}, cache.Key{ID: "d", Secret: secret(1)})
	for _, want := range []string{
		`cache: Key.ID is "a b", want 1 to 32 letters`,
		`cache: Key.Secret of "c" has 5 bytes, want 16, 24 or 32`,
		`cache: Key.ID "d" is there twice`,
		"cache: codec is nil, want one",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want one that says %q", err, want)
		}
	}
}

// The first key encrypts; the others still open what they have encrypted.
func ExampleEncrypt() {
	now := cache.Key{ID: "2026-11", Secret: secret(2)}
	before := cache.Key{ID: "2026-05", Secret: secret(1)}
	codec, err := cache.Encrypt(cache.JSON[string](), now, before)
	if err != nil {
		fmt.Println(err)
		return
	}
	data, err := codec.Append(nil, "users:json+aesgcm:17", "Ada")
	if err != nil {
		fmt.Println(err)
		return
	}
	name, err := codec.Decode("users:json+aesgcm:17", data)
	fmt.Println(codec.Name(), name, err)
	// Output: json+aesgcm Ada <nil>
}
