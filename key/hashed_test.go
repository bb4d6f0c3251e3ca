package key_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/uprung/uprung/key"
)

func TestHashedGolden(t *testing.T) {
	t.Parallel()
	// RFC 4231, test case 6, the first 16 bytes:
	// 60e43159 1ee0b67f 0d8a26aa cbf5b77f.
	secret := bytes.Repeat([]byte{0xaa}, 131)
	f := made(t)(key.Hashed(secret, constant("Test Using Larger Than Block-Size Key - Hash Key First", true)))
	clear(secret)
	for range 2 {
		expect(t, f, arriving("@"), "YOQxWR7gtn8Niiaqy_W3fw")
	}
}

func TestHashedNeedsASecretAndAKey(t *testing.T) {
	t.Parallel()
	secret := make([]byte, key.MinSecretLength)
	user := key.Header("User")
	for _, tt := range []struct {
		secret []byte
		f      key.Func
		want   string
	}{
		{secret[1:], user, "key: secret has 31 bytes, want at least 32"},
		{nil, user, "key: secret has 0 bytes, want at least 32"},
		{secret, nil, "key: f is nil, want the Func to hash"},
		{nil, nil, "key: secret has 0 bytes, want at least 32\nkey: f is nil, want the Func to hash"},
	} {
		if _, err := key.Hashed(tt.secret, tt.f); err == nil || err.Error() != tt.want {
			t.Errorf("got %v, want %s", err, tt.want)
		}
	}
	f := made(t)(key.Hashed(secret, user))
	expect(t, f, arriving("@"), "")
	expect(t, made(t)(key.Hashed(secret, constant("", true))), arriving("@"), "")
	other := made(t)(key.Hashed(append([]byte{1}, secret[1:]...), user))
	alice := arriving("@", "User: alice")
	if a, _ := f(alice); a == "alice" {
		t.Error("the identity is not hashed")
	} else if b, _ := other(alice); a == b {
		t.Error("two secrets give one key")
	}
}

// The hashing state is reused: goroutines must not see each other's.
func TestHashedConcurrently(t *testing.T) {
	t.Parallel()
	secret := []byte(strings.Repeat("s", key.MinSecretLength))
	f := made(t)(key.Hashed(secret, key.Header("User")))
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 500 {
				user := fmt.Sprintf("user-%d-%s", g, strings.Repeat("x", i%200))
				mac := hmac.New(sha256.New, secret)
				mac.Write([]byte(user))
				want := base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:16])
				expect(t, f, arriving("@", "User: "+user), want)
			}
		})
	}
	wg.Wait()
}

func TestHashedAllocations(t *testing.T) {
	f := made(t)(key.Hashed(make([]byte, key.MinSecretLength), key.Header("User")))
	r := arriving("@", "User: alice")
	// One for the key. The race detector makes a pool forget a quarter of what it
	// is given, and a new hash costs about ten.
	if got := testing.AllocsPerRun(1000, func() { f(r) }); got > 4 {
		t.Errorf("%v allocations, want about 1", got)
	}
}
