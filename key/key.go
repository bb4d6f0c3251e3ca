package key

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"
)

// Func extracts the key of a request: the text by which a limit, a cache, a
// shard or an experiment tells one party from another. False means that the
// request has no key, and then the consumer's [Missing] policy decides.
//
// A Func is called concurrently, does not change the request, does not block,
// and never returns an empty key with true. Those of this package return at most
// [MaxLength] bytes.
type Func func(*http.Request) (string, bool)

// MaxLength is the length in bytes of the longest key that a Func of this
// package returns. A longer value is replaced by its SHA-256 hash, so that
// whoever stores keys stores little, and yet two long values never become one
// key and a long value is never a way to have none.
const MaxLength = 256

// hashMark begins every key that stands for a long value.
const hashMark = "sha256:"

// bounded makes a key of a value. A short value that looks like a hash is hashed
// as well: nobody can spell the key of somebody else's long value.
func bounded(value string) (string, bool) {
	if len(value) <= MaxLength && !strings.HasPrefix(value, hashMark) {
		return value, value != ""
	}
	sum := sha256.Sum256([]byte(value))
	return hashMark + base64.RawURLEncoding.EncodeToString(sum[:]), true
}

// of calls f. A Func written elsewhere that breaks its promise and returns an
// empty key is taken to have found none.
func (f Func) of(r *http.Request) (string, bool) {
	key, ok := f(r)
	return key, ok && key != ""
}
