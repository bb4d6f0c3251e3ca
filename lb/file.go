package lb

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"time"
)

const (
	// maxFile bounds a file of endpoints, in bytes: that many hold tens of thousands.
	maxFile = 8 << 20
	// maxFault bounds what an error says of a file, in bytes: it is logged.
	maxFault = 4 << 10
)

// FileOptions are the settings of [NewFile]. The zero value of each field is its
// default.
type FileOptions struct {
	// Interval is how often [Balancer.Run] looks whether the file has changed. Zero
	// means 1s.
	Interval time.Duration
}

// NewFile returns the [Resolver] of the endpoints in a file, which is a [Watcher]: what
// is written there is in use within a second while [Balancer.Run] runs. Nil options
// are the defaults.
//
// The file is a list in JSON of at most 8 MiB, such as
//
//	[
//		{"addr": "10.0.0.1:8080", "id": "a", "weight": 2, "zone": "north"},
//		{"addr": "10.0.0.2:8080", "priority": 1, "host": "orders.example"}
//	]
//
// with the fields of an [Endpoint], in lower case; all but addr may be absent. A field
// of another name is an error. If anything is wrong with a file, nothing of it is
// used: the endpoints found before stay, and that is logged and counted once for each
// change of the file.
//
// The file is opened anew each time, and compared as a whole: it may be replaced by
// renaming another, be a link that comes to point to another, as in a volume of a
// Kubernetes ConfigMap, or be on a file system that tells no times. One that is
// written in place may be seen half-written, which is an error until it is whole.
func NewFile(path string, o *FileOptions) (Resolver, error) {
	f := &file{path: path, interval: time.Second}
	if o != nil && o.Interval != 0 {
		f.interval = o.Interval
	}
	var errs []error
	if path == "" {
		errs = append(errs, errors.New("lb: path is empty, want that of a file"))
	}
	if f.interval < 0 {
		errs = append(errs, fmt.Errorf("lb: FileOptions.Interval is %v, want >= 0", f.interval))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return f, nil
}

// file is the [Watcher] of a file.
type file struct {
	path     string
	interval time.Duration
}

// Resolve reads the file.
func (f *file) Resolve(context.Context) ([]Endpoint, error) {
	var data bytes.Buffer
	if err := readInto(&data, f.path, maxFile); err != nil {
		return nil, err
	}
	return f.decode(data.Bytes())
}

// Watch reads the file from time to time.
func (f *file) Watch(ctx context.Context, update func([]Endpoint, error)) error {
	t := teller{update: update}
	ticker := time.NewTicker(f.interval)
	defer ticker.Stop()
	var last, next bytes.Buffer
	read := false
	for {
		if err := readInto(&next, f.path, maxFile); err != nil {
			read = false
			t.tell(nil, err)
		} else if !read || !bytes.Equal(last.Bytes(), next.Bytes()) {
			read = true
			last, next = next, last
			t.tell(f.decode(last.Bytes()))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

func (f *file) decode(data []byte) ([]Endpoint, error) {
	endpoints, err := decodeEndpoints(data)
	if err == nil {
		return endpoints, nil
	}
	if text := err.Error(); len(text) > maxFault {
		err = errors.New(text[:maxFault] + "...")
	}
	return nil, fmt.Errorf("lb: file %s: %w", f.path, err)
}

// readInto replaces what is in a buffer by a regular file of at most limit bytes.
func readInto(b *bytes.Buffer, path string, limit int64) error {
	b.Reset()
	info, err := os.Stat(path) // opening a named pipe would wait for who writes
	if err != nil {
		return fmt.Errorf("lb: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("lb: %s is no regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("lb: %w", err)
	}
	defer func() { _ = file.Close() }() // it was only read
	n, err := b.ReadFrom(io.LimitReader(file, limit+1))
	if err != nil {
		return fmt.Errorf("lb: %w", err)
	}
	if n > limit {
		return fmt.Errorf("lb: file %s has more than %d bytes", path, limit)
	}
	return nil
}

// decodeEndpoints returns the endpoints that data lists, in the order of their IDs, or
// an error that names all that is wrong.
func decodeEndpoints(data []byte) ([]Endpoint, error) {
	var list []map[string]json.RawMessage
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, nil
	}
	endpoints := make([]Endpoint, len(list))
	var errs []error
	for i, fields := range list {
		e := &endpoints[i]
		known := map[string]any{
			"id": &e.ID, "addr": &e.Addr, "weight": &e.Weight, "zone": &e.Zone, "priority": &e.Priority, "host": &e.Host,
		}
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			if known[name] == nil {
				errs = append(errs, fmt.Errorf("endpoints[%d] has a field %q, want id, addr, weight, zone, priority or host", i, name))
			} else if err := json.Unmarshal(fields[name], known[name]); err != nil {
				errs = append(errs, fmt.Errorf("endpoints[%d].%s: %w", i, name, err))
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return checked(endpoints)
}
