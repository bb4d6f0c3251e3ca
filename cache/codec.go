package cache

import "encoding/json"

// A Codec turns values into bytes for a [Store] and back. Values in memory are kept as
// they are and never pass through it.
//
// Codecs wrap one another: compression and encryption are codecs around another one. key
// is the key of the entry in the store; a codec that encrypts authenticates it, so that
// whoever can write to the store cannot pass one entry off as another. Others ignore it.
//
// It is safe for concurrent use.
type Codec[V any] interface {
	// Name tells the format and its version, in 1 to 32 letters, digits, '.', '-', '_'
	// or '+'. It is part of every key in the store: processes whose codecs have different
	// names, as during a deployment, do not read one another's values.
	Name() string

	// Append encodes a value at the end of dst and returns the result, as append does.
	Append(dst []byte, key string, v V) ([]byte, error)

	// Decode returns a value that shares no memory with data. Whatever the data are, it
	// returns an error rather than panics: a store is not to be trusted. The cache then
	// loads the value anew.
	Decode(key string, data []byte) (V, error)
}

// JSON returns the codec of package encoding/json, named "json". It is the default.
func JSON[V any]() Codec[V] { return jsonCodec[V]{} }

type jsonCodec[V any] struct{}

func (jsonCodec[V]) Name() string { return "json" }

func (jsonCodec[V]) Append(dst []byte, _ string, v V) ([]byte, error) {
	data, err := json.Marshal(v)
	return append(dst, data...), err
}

func (jsonCodec[V]) Decode(_ string, data []byte) (v V, err error) {
	err = json.Unmarshal(data, &v)
	return v, err
}
