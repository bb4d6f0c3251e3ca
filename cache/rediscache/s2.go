package rediscache

import (
	"errors"

	"github.com/klauspost/compress/s2"

	"github.com/uprung/uprung/cache"
)

const (
	// s2Least is the size from which on values are compressed: smaller ones gain little.
	s2Least = 1 << 10
	// s2Most bounds what a value may become when it is decompressed, so that nobody who
	// can write to the store can fill the memory of those who read.
	s2Most = 64 << 20
)

// The first byte of what the codec of S2 makes.
const (
	s2Plain      = 0
	s2Compressed = 1
)

var errS2 = errors.New("rediscache: malformed compressed value")

// S2 returns a codec that compresses what another makes, if that is 1 KiB or more and
// becomes smaller: by S2, which takes about a microsecond for 10 KiB. Its name is that of
// the other and "+s2". Values of more than 64 MiB are errors.
//
// Compress before encrypting: [cache.Encrypt] around S2 and not the other way round. But do
// neither to values in which what an attacker chooses stands beside a secret: the size would
// tell of it.
func S2[V any](codec cache.Codec[V]) cache.Codec[V] { return s2Codec[V]{codec} }

type s2Codec[V any] struct{ inner cache.Codec[V] }

func (c s2Codec[V]) Name() string { return c.inner.Name() + "+s2" }

func (c s2Codec[V]) Append(dst []byte, key string, v V) ([]byte, error) {
	start := len(dst)
	dst = append(dst, s2Plain)
	dst, err := c.inner.Append(dst, key, v)
	if err != nil {
		return nil, err
	}
	plain := dst[start+1:]
	switch {
	case len(plain) > s2Most:
		return nil, errS2
	case len(plain) < s2Least:
		return dst, nil
	}
	if small := s2.Encode(nil, plain); len(small) < len(plain) {
		dst[start] = s2Compressed
		dst = append(dst[:start+1], small...)
	}
	return dst, nil
}

func (c s2Codec[V]) Decode(key string, data []byte) (v V, err error) {
	if len(data) == 0 {
		return v, errS2
	}
	kind, data := data[0], data[1:]
	switch kind {
	case s2Plain:
		return c.inner.Decode(key, data)
	case s2Compressed:
		n, err := s2.DecodedLen(data)
		if err != nil || n > s2Most {
			return v, errS2
		}
		plain, err := s2.Decode(nil, data)
		if err != nil {
			return v, errS2
		}
		return c.inner.Decode(key, plain)
	}
	return v, errS2
}
