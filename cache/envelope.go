package cache

import (
	"context"
	"encoding/binary"
	"errors"
	"time"
)

// What is stored for a key:
//
//	version     1 byte
//	absent      1 byte: 1 if there is no value
//	generation  8 bytes: that of all entries
//	tags        a varint: how many, and for each of them
//	              the length of its name, a varint
//	              its name
//	              8 bytes: its generation
//	value       the rest, by the codec

const envelopeVersion = 1

var errEnvelope = errors.New("cache: malformed entry")

type envelope struct {
	absent bool
	all    uint64
	tags   []string
	marks  []uint64
	data   []byte
}

func (e *envelope) append(dst []byte) []byte {
	absent := byte(0)
	if e.absent {
		absent = 1
	}
	dst = append(dst, envelopeVersion, absent)
	dst = binary.BigEndian.AppendUint64(dst, e.all)
	dst = binary.AppendUvarint(dst, uint64(len(e.tags)))
	for i, tag := range e.tags {
		dst = binary.AppendUvarint(dst, uint64(len(tag)))
		dst = append(dst, tag...)
		dst = binary.BigEndian.AppendUint64(dst, e.marks[i])
	}
	return dst
}

// parse trusts nothing.
func (e *envelope) parse(data []byte) error {
	const fixed = 2 + 8
	if len(data) < fixed || data[0] != envelopeVersion || data[1] > 1 {
		return errEnvelope
	}
	e.absent = data[1] == 1
	e.all = binary.BigEndian.Uint64(data[2:])
	data = data[fixed:]
	number := func() (uint64, bool) {
		n, size := binary.Uvarint(data)
		if size <= 0 {
			return 0, false
		}
		data = data[size:]
		return n, true
	}
	tags, ok := number()
	if !ok || tags > uint64(len(data))/9 {
		return errEnvelope
	}
	for range tags {
		n, ok := number()
		if !ok || n > uint64(len(data)) || uint64(len(data))-n < 8 {
			return errEnvelope
		}
		e.tags = append(e.tags, string(data[:n]))
		e.marks = append(e.marks, binary.BigEndian.Uint64(data[n:]))
		data = data[n+8:]
	}
	e.data = data
	return nil
}

// read turns what is stored into a result, if it is one and is not void.
func (t *tier[K, V]) read(ctx context.Context, g generations, key K, item Item) (f found[V]) {
	if item.Value == nil {
		return f
	}
	var e envelope
	if err := e.parse(item.Value); err != nil {
		t.c.counts.malformed.Add(1)
		return f
	}
	if e.all != g.all {
		return f
	}
	if len(e.tags) > 0 {
		marks, err := t.marks(ctx, e.tags, false)
		if err != nil {
			return f
		}
		for i := range marks {
			if marks[i] == 0 || marks[i] != e.marks[i] {
				return f
			}
		}
	}
	f.ttl, f.absent = item.TTL, e.absent
	if !e.absent {
		var err error
		if f.value, err = t.c.o.Codec.Decode(t.key(key), e.data); err != nil {
			t.c.counts.malformed.Add(1)
			return found[V]{}
		}
	}
	f.ok = true
	return f
}

// marks returns the generations of tags. If asked to, it makes those that are missing.
func (t *tier[K, V]) marks(ctx context.Context, tags []string, create bool) ([]uint64, error) {
	keys := make([]string, len(tags))
	for i, tag := range tags {
		keys[i] = t.space + tagKey + tag
	}
	items, err := t.many(ctx, keys...)
	if err != nil {
		return nil, err
	}
	marks := make([]uint64, len(tags))
	for i, item := range items {
		if marks[i] = generation(item); marks[i] == 0 && create {
			if marks[i], err = t.firstGeneration(ctx, keys[i], t.tagLife()); err != nil {
				return nil, err
			}
		}
	}
	return marks, nil
}

// errOvertaken says that a tag was invalidated since a load began.
var errOvertaken = errors.New("cache: overtaken by an invalidation")

// write turns a result into what is to be stored. A negative ttl means nothing.
func (t *tier[K, V]) write(ctx context.Context, g generations, key K, r result[V]) (value []byte, ttl time.Duration, err error) {
	if ttl = t.c.ttl(key, &r); ttl < 0 {
		return nil, ttl, nil
	}
	e := envelope{absent: r.absent, all: g.all}
	if t.c.o.TagsOf != nil && !r.absent {
		if e.tags = t.c.o.TagsOf(key, r.value); len(e.tags) > 0 {
			if e.marks, err = t.marks(ctx, e.tags, true); err != nil {
				return nil, 0, err
			}
			items, err := t.many(ctx, t.space+epochKey)
			if err != nil {
				return nil, 0, err
			}
			if generation(items[0]) != g.epoch {
				return nil, 0, errOvertaken
			}
		}
	}
	value = e.append(nil)
	if !r.absent {
		value, err = t.c.o.Codec.Append(value, t.key(key), r.value)
	}
	return value, ttl, err
}
