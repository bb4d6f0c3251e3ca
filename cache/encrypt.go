package cache

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
)

// Key is a key of [Encrypt].
type Key struct {
	// ID tells keys apart: 1 to 32 letters, digits, '.', '-', '_' or '+'. It is stored
	// beside each value, for all to see. A key that is replaced by another has another ID.
	ID string
	// Secret is 16, 24 or 32 random bytes, for AES-128, AES-192 or AES-256.
	Secret []byte
}

// Encrypt returns a codec that encrypts and authenticates what another makes, by AES-GCM with
// random nonces (NIST SP 800-38D): values are of no use to whoever can read the store, and
// those that somebody has changed, or moved to another key of the store, cannot be decoded
// and are loaded anew. It neither hides the keys, the sizes and the tags of entries, nor
// keeps an old value of the same key from being put back. Its name is that of the other and
// "+aesgcm".
//
// It encrypts with the first key, and decrypts with that of the same ID. To replace a key,
// give the new one to all processes as a further one, then as the first, and take the old one
// away when its values have expired. One key is good for 2^32 values: the chance that a
// nonce comes twice is then 2^-33. The error names each key that is out of range.
func Encrypt[V any](codec Codec[V], first Key, further ...Key) (Codec[V], error) {
	c := &aesCodec[V]{inner: codec, first: first.ID, ciphers: make(map[string]cipher.AEAD)}
	var errs []error
	for _, key := range append([]Key{first}, further...) {
		if !plain(key.ID, 32) {
			errs = append(errs, fmt.Errorf("cache: Key.ID is %q, want 1 to 32 letters, digits, '.', '-', '_' or '+'", key.ID))
		}
		if c.ciphers[key.ID] != nil {
			errs = append(errs, fmt.Errorf("cache: Key.ID %q is there twice", key.ID))
		}
		block, err := aes.NewCipher(key.Secret)
		if err != nil {
			errs = append(errs, fmt.Errorf("cache: Key.Secret of %q has %d bytes, want 16, 24 or 32", key.ID, len(key.Secret)))
			continue
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		c.ciphers[key.ID] = aead
	}
	if codec == nil {
		errs = append(errs, errors.New("cache: codec is nil, want one"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return c, nil
}

var errEncrypted = errors.New("cache: value cannot be decrypted")

// aesCodec makes: the length of the ID of the key, 1 byte; the ID; the nonce, 12 bytes; the
// ciphertext; the tag, 16 bytes. The version is in the name.
type aesCodec[V any] struct {
	inner   Codec[V]
	first   string
	ciphers map[string]cipher.AEAD
}

func (c *aesCodec[V]) Name() string { return c.inner.Name() + "+aesgcm" }

// bound is what is authenticated besides the value: the key of the cipher and of the entry.
func bound(id, key string) []byte {
	return append(append([]byte{byte(len(id))}, id...), key...)
}

func (c *aesCodec[V]) Append(dst []byte, key string, v V) ([]byte, error) {
	value, err := c.inner.Append(nil, key, v)
	if err != nil {
		return nil, err
	}
	dst = append(dst, byte(len(c.first)))
	dst = append(dst, c.first...)
	return c.ciphers[c.first].Seal(dst, nil, value, bound(c.first, key)), nil
}

func (c *aesCodec[V]) Decode(key string, data []byte) (v V, err error) {
	if len(data) == 0 || len(data) < 1+int(data[0]) {
		return v, errEncrypted
	}
	id, data := string(data[1:1+data[0]]), data[1+data[0]:]
	aead := c.ciphers[id]
	if aead == nil {
		return v, errEncrypted
	}
	value, err := aead.Open(nil, nil, data, bound(id, key))
	if err != nil {
		return v, errEncrypted
	}
	return c.inner.Decode(key, value)
}
