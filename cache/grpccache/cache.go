package grpccache

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/uprung/uprung"
	"github.com/uprung/uprung/cache"
)

// Method declares that the replies of a method can be kept.
type Method struct {
	// TTL is how long a reply is good. Zero means that of Options.Cache.
	TTL time.Duration

	// Whose tells whom a reply belongs to, such as a user or a tenant: it is served to no
	// other. False means that it is not kept. It must not take the word of a client for it. It
	// is required, since what is right depends on the method: [Everybodys] is a choice.
	Whose func(ctx context.Context, fullMethod string) (id string, ok bool)
}

// Everybodys is a [Method].Whose for replies that are the same for all.
func Everybodys(context.Context, string) (id string, ok bool) { return "", true }

// Options are the settings of a [Cache]. The zero value of each field is its default, and nil
// options are all defaults.
type Options struct {
	// Cache are the settings of the cache, by whose keys methods begin. TTLOf, TagsOf,
	// KeyString and Clone are not to be set. A nil Codec means [Codec], and with MaxBytes a
	// nil Weigher is the size of replies.
	Cache cache.Options[string, []byte]

	// Skip exempts calls, which are made and not kept. It is called concurrently. Nil exempts
	// none.
	Skip func(ctx context.Context, fullMethod string) bool
}

// Cache keeps replies. Use [New]. It is safe for concurrent use.
type Cache struct {
	replies *cache.Cache[string, []byte]
	methods map[string]*method
	skip    func(ctx context.Context, fullMethod string) bool
}

// method is a declared method and the types of its messages.
type method struct {
	Method
	request, reply protoreflect.MessageType
}

// New returns a cache for at most so many replies of methods, which are called
// /package.Service/Method and belong to services that are linked into the program. The
// error names every method and option that is wrong.
func New(capacity int, methods map[string]Method, o *Options) (*Cache, error) {
	var c Options
	if o != nil {
		c = *o
	}
	var errs []error
	declared := make(map[string]*method)
	if len(methods) == 0 {
		errs = append(errs, errors.New("grpccache: methods is empty, want at least one"))
	}
	for _, name := range slices.Sorted(maps.Keys(methods)) {
		m, err := resolve(name)
		if err != nil {
			errs = append(errs, err)
			m = &method{}
		}
		m.Method = methods[name]
		if m.Whose == nil {
			errs = append(errs, fmt.Errorf("grpccache: Whose of %q is nil, want a function such as Everybodys", name))
		}
		if m.TTL < 0 {
			errs = append(errs, fmt.Errorf("grpccache: TTL of %q is %v, want >= 0", name, m.TTL))
		}
		declared[name] = m
	}
	if c.Cache.TTLOf != nil || c.Cache.TagsOf != nil || c.Cache.KeyString != nil || c.Cache.Clone != nil {
		errs = append(errs, errors.New("grpccache: TTLOf, TagsOf, KeyString or Clone of Cache is set, want nil"))
	}
	c.Cache.TTLOf = func(key string, _ []byte) time.Duration { return declared[methodOf(key)].ttl() }
	c.Cache.TagsOf = func(key string, _ []byte) []string { return []string{methodOf(key)} }
	if c.Cache.Codec == nil {
		c.Cache.Codec = Codec()
	}
	if c.Cache.MaxBytes > 0 && c.Cache.Weigher == nil {
		c.Cache.Weigher = func(key string, reply []byte) int64 { return int64(len(key) + len(reply)) }
	}
	replies, err := cache.New(capacity, &c.Cache)
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, err
	}
	return &Cache{replies: replies, methods: declared, skip: c.Skip}, nil
}

// ttl is that of a method; what the store has of one that is not declared any more is of no
// use.
func (m *method) ttl() time.Duration {
	if m == nil {
		return -1
	}
	return m.TTL
}

// resolve finds a method among the services of the program.
func resolve(name string) (*method, error) {
	unknown := fmt.Errorf("grpccache: method is %q, want a unary /package.Service/Method of a service that is linked into the program", name)
	service, short, ok := strings.Cut(strings.TrimPrefix(name, "/"), "/")
	if !ok || !strings.HasPrefix(name, "/") {
		return nil, unknown
	}
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service + "." + short))
	if err != nil {
		return nil, unknown
	}
	d, ok := found.(protoreflect.MethodDescriptor)
	if !ok || d.IsStreamingClient() || d.IsStreamingServer() {
		return nil, unknown
	}
	request, err1 := protoregistry.GlobalTypes.FindMessageByName(d.Input().FullName())
	reply, err2 := protoregistry.GlobalTypes.FindMessageByName(d.Output().FullName())
	if err1 != nil || err2 != nil {
		return nil, unknown
	}
	return &method{request: request, reply: reply}, nil
}

const separator = ":"

func methodOf(key string) string {
	name, _, _ := strings.Cut(key, separator)
	return name
}

// keyOf returns the key of a request, and its encoding.
func keyOf(fullMethod, id string, request proto.Message) (key string, encoded []byte, err error) {
	encoded, err = proto.MarshalOptions{Deterministic: true}.Marshal(request)
	if err != nil {
		return "", nil, err
	}
	h := sha256.New()
	_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(id)))) // so that no two pairs look alike
	_, _ = h.Write([]byte(id))
	_, _ = h.Write(encoded)
	return fullMethod + separator + base64.RawURLEncoding.EncodeToString(h.Sum(nil)), encoded, nil
}

// Invalidate removes the reply to a request that belongs to somebody, as
// [cache.Cache.Invalidate] does. It is no error if there is none.
func (c *Cache) Invalidate(ctx context.Context, fullMethod, id string, request proto.Message) error {
	key, _, err := keyOf(fullMethod, id, request)
	if err != nil {
		return err
	}
	return c.replies.Invalidate(ctx, key)
}

// InvalidateMethods removes all replies of methods, as [cache.Cache.InvalidateTag] does.
func (c *Cache) InvalidateMethods(ctx context.Context, fullMethods ...string) error {
	return c.replies.InvalidateTag(ctx, fullMethods...)
}

// Stats returns the figures of the cache.
func (c *Cache) Stats() cache.Stats { return c.replies.Stats() }

// Metrics yields the figures of the cache for an exporter. It makes a Cache an
// [uprung.Source].
func (c *Cache) Metrics(yield func(uprung.Metric) bool) { c.replies.Metrics(yield) }

// Close ends calls in progress and waits for that. Calls are then made without the cache. It
// may be called more than once, and never fails.
func (c *Cache) Close() error { return c.replies.Close() }

// do returns the reply to a request, as bytes. ok is false if the call is none of the cache's
// business. call is given a request of its own, since it may go on when the caller has left.
func (c *Cache) do(ctx context.Context, fullMethod string, request any, call func(ctx context.Context, m *method, request proto.Message) (proto.Message, error)) (m *method, reply []byte, ok bool, err error) {
	m = c.methods[fullMethod]
	message, is := request.(proto.Message)
	if m == nil || !is || c.skip != nil && c.skip(ctx, fullMethod) {
		return nil, nil, false, nil
	}
	id, ok := m.Whose(ctx, fullMethod)
	if !ok {
		return nil, nil, false, nil
	}
	key, encoded, err := keyOf(fullMethod, id, message)
	if err != nil {
		return nil, nil, false, nil //nolint:nilerr // whoever sends it says what is wrong
	}
	reply, err = c.replies.GetOrLoad(ctx, key, func(ctx context.Context, _ string) ([]byte, error) {
		own := m.request.New().Interface()
		if err := proto.Unmarshal(encoded, own); err != nil {
			return nil, err
		}
		answer, err := call(ctx, m, own)
		if err != nil {
			return nil, err
		}
		return proto.Marshal(answer)
	})
	switch {
	case errors.Is(err, cache.ErrClosed):
		return nil, nil, false, nil
	case err != nil:
		return nil, nil, true, statusOf(err)
	}
	return m, reply, true, nil
}

// statusOf returns an error as a status, which those of calls are already.
func statusOf(err error) error {
	if _, ok := status.FromError(err); ok {
		return err
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return status.FromContextError(err).Err()
	}
	return status.Error(codes.Internal, err.Error())
}

// Codec returns the codec of replies, which are bytes already. Its name is "grpc".
func Codec() cache.Codec[[]byte] { return codec{} }

type codec struct{}

func (codec) Name() string { return "grpc" }

func (codec) Append(dst []byte, _ string, reply []byte) ([]byte, error) {
	return append(dst, reply...), nil
}

func (codec) Decode(_ string, data []byte) ([]byte, error) { return slices.Clone(data), nil }
