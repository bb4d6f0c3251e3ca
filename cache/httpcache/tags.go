package httpcache

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// tagIndex counts how often each tag of each origin was purged: an entry knows the counts
// of when it was stored, so that a purge is one addition, however many entries it ends.
type tagIndex struct {
	mu    sync.Mutex
	cells map[string]*tagCell // guarded by mu
}

// tagCell is a tag.
type tagCell struct {
	hard, soft atomic.Uint64
	entries    int // guarded by the mu of the index
}

// tagged is a tag of an entry, with its counts when that was stored.
type tagged struct {
	cell       *tagCell
	name       string
	hard, soft uint64
}

// validity says what purges of tags have made of an entry.
type validity uint8

const (
	current validity = iota
	softPurged
	hardPurged
)

// valid returns what became of an entry by the purge of its tags.
func (e *Entry) valid() validity {
	v := current
	for at := range e.tags {
		t := &e.tags[at]
		switch {
		case t.cell.hard.Load() != t.hard:
			return hardPurged
		case t.cell.soft.Load() != t.soft:
			v = softPurged
		}
	}
	return v
}

// tagKey names a tag of an origin.
func tagKey(origin, tag string) string { return origin + "\x00" + tag }

// acquire returns tags for an entry that begins to be stored. Each has to be released.
func (x *tagIndex) acquire(origin string, names []string) []tagged {
	if len(names) == 0 {
		return nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.cells == nil {
		x.cells = make(map[string]*tagCell)
	}
	out := make([]tagged, 0, len(names))
	for _, name := range names {
		key := tagKey(origin, name)
		cell := x.cells[key]
		if cell == nil {
			cell = &tagCell{}
			x.cells[key] = cell
		}
		cell.entries++
		out = append(out, tagged{cell: cell, name: key, hard: cell.hard.Load(), soft: cell.soft.Load()})
	}
	return out
}

// sameTags reports whether an entry has just the tags of these names.
func sameTags(tags []tagged, origin string, names []string) bool {
	return slices.EqualFunc(tags, names, func(t tagged, name string) bool { return t.name == tagKey(origin, name) })
}

// retain makes the same tags count for one entry more.
func (x *tagIndex) retain(tags []tagged) {
	if len(tags) == 0 {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, t := range tags {
		t.cell.entries++
	}
}

// release forgets tags that no entry has.
func (x *tagIndex) release(tags []tagged) {
	if len(tags) == 0 {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, t := range tags {
		if t.cell.entries--; t.cell.entries == 0 && x.cells[t.name] == t.cell {
			delete(x.cells, t.name)
		}
	}
}

// purge ends all entries that have a tag of this name, or makes them stale. It reports whether there
// are any.
func (x *tagIndex) purge(name string, soft bool) bool {
	x.mu.Lock()
	cell := x.cells[name]
	x.mu.Unlock()
	if cell == nil {
		return false
	}
	if soft {
		cell.soft.Add(1)
	} else {
		cell.hard.Add(1)
	}
	return true
}

// maxTagLength bounds a tag. Longer ones are ignored, and counted.
const maxTagLength = 256

// tagsOf returns the tags that the fields of a response give it, each once, and how many
// were over the limits. Cache-Groups is a list of strings (RFC 9875); in a field whose
// name ends in Key tags are separated by spaces, and in others by commas.
func tagsOf(h http.Header, fields []string, most int) (tags []string, ignored int) {
	add := func(tag string) {
		switch {
		case tag == "" || len(tag) > maxTagLength || len(tags) >= most:
			ignored++
		default:
			if slices.Contains(tags, tag) {
				return
			}
			tags = append(tags, tag)
		}
	}
	for _, field := range fields {
		lines := h[field]
		switch {
		case len(lines) == 0:
		case field == cacheGroups:
			list, ok := parseList(lines)
			if !ok {
				ignored++
			}
			for _, one := range list {
				if one.kind == stringItem {
					add(one.text)
				} else {
					ignored++
				}
			}
		case strings.HasSuffix(field, "Key"):
			for _, line := range lines {
				for tag := range strings.FieldsSeq(line) {
					add(tag)
				}
			}
		default:
			for tag := range elements(lines) {
				add(tag)
			}
		}
	}
	return tags, ignored
}

const (
	cacheGroups      = "Cache-Groups"
	groupInvalidates = "Cache-Group-Invalidation"
)
