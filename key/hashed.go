package key

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"net/http"
	"sync"
)

// MinSecretLength is the length in bytes of the shortest secret that [Hashed]
// accepts: that of a SHA-256 hash, as RFC 2104, section 3, advises.
const MinSecretLength = sha256.Size

// hashedBytes is how much of the HMAC makes a key: half of it, the least that
// RFC 2104, section 5, advises.
const hashedBytes = 16

// Hashed is another key behind HMAC-SHA256: 22 characters of base64url, from the
// first 128 bits. Whoever sees them, in a shared store, a log or a dump, learns
// neither the identity nor, without the secret, whether it is one they suspect:
// a plain hash of an address is undone by trying all addresses.
//
// Equal secrets give equal keys, in every process: share one secret where keys
// must agree, and take different ones where they must not be linked. A new secret
// gives everybody a new key.
//
// Hashed copies the secret. It returns an error if the secret is shorter than
// [MinSecretLength] or f is nil.
func Hashed(secret []byte, f Func) (Func, error) {
	var errs []error
	if len(secret) < MinSecretLength {
		errs = append(errs, fmt.Errorf("key: secret has %d bytes, want at least %d", len(secret), MinSecretLength))
	}
	if f == nil {
		errs = append(errs, errors.New("key: f is nil, want the Func to hash"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	secret = bytes.Clone(secret)
	pool := sync.Pool{New: func() any { return &hasher{mac: hmac.New(sha256.New, secret)} }}
	return func(r *http.Request) (string, bool) {
		key, ok := f.of(r)
		if !ok {
			return "", false
		}
		h := pool.Get().(*hasher)
		defer pool.Put(h)
		return h.hash(key), true
	}, nil
}

// hasher is an HMAC with the room that it needs.
type hasher struct {
	mac     hash.Hash
	message []byte
	sum     [sha256.Size]byte
	text    [22]byte
}

func (h *hasher) hash(message string) string {
	h.message = append(h.message[:0], message...)
	h.mac.Reset()
	h.mac.Write(h.message) // a hash.Hash never fails
	sum := h.mac.Sum(h.sum[:0])
	base64.RawURLEncoding.Encode(h.text[:], sum[:hashedBytes])
	return string(h.text[:])
}
