package lb

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestFileErrors(t *testing.T) {
	t.Parallel()
	_, err := NewFile("", &FileOptions{Interval: -1})
	for _, want := range []string{"path is empty", "FileOptions.Interval is -1ns, want >= 0"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %q", err, want)
		}
	}
}

func TestFile(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, content string
		want          []Endpoint
		errs          []string
	}{
		{name: "one", content: `[{"addr":"a:80"}]`, want: []Endpoint{{ID: "a:80", Addr: "a:80"}}},
		{
			name:    "all fields",
			content: ` [ {"addr":"b:80","id":"x","weight":3,"zone":"north","priority":2,"host":"orders.example"}, {"addr":"a:80","id":"w","weight":null} ] `,
			want: []Endpoint{
				{ID: "w", Addr: "a:80"},
				{ID: "x", Addr: "b:80", Weight: 3, Zone: "north", Priority: 2, Host: "orders.example"},
			},
		},
		{name: "none", content: `[]`},
		{name: "nothing", content: ``, errs: []string{"unexpected end of JSON input"}},
		{name: "half", content: `[{"addr":"a:80"},{"ad`, errs: []string{"unexpected end of JSON input"}},
		{name: "more", content: `[{"addr":"a:80"}]]`, errs: []string{"invalid character ']' after top-level value"}},
		{name: "no list", content: `{"addr":"a:80"}`, errs: []string{"cannot unmarshal object"}},
		{name: "a list of strings", content: `["a:80"]`, errs: []string{"cannot unmarshal string"}},
		{
			name: "unknown fields", content: `[{"addr":"a:80","wieght":1},{"Addr":"b:80"}]`,
			errs: []string{`endpoints[0] has a field "wieght", want id, addr, weight, zone, priority or host`, `endpoints[1] has a field "Addr"`},
		},
		{
			name: "wrong types", content: `[{"addr":1},{"addr":"b:80","weight":1.5,"zone":[]}]`,
			errs: []string{"endpoints[0].addr: ", "endpoints[1].weight: ", "endpoints[1].zone: "},
		},
		{
			name: "wrong values", content: `[{"addr":"a"},{"addr":"b:80","weight":-1},null,{"addr":"b:80","priority":-1}]`,
			errs: []string{`endpoints[0].Addr is "a", want host:port`, "endpoints[1].Weight is -1", `endpoints[2].Addr is ""`, `endpoints[3].ID is "b:80"`, "endpoints[3].Priority is -1"},
		},
		{name: "much that is wrong", content: "[" + strings.Repeat(`{"a":0},`, 10_000) + "{}]", errs: []string{`has a field "a"`, "..."}},
		{name: "too large", content: "[" + strings.Repeat(" ", maxFile) + "]", errs: []string{"has more than 8388608 bytes"}},
	} {
		path := filepath.Join(t.TempDir(), "endpoints.json")
		if err := os.WriteFile(path, []byte(tt.content), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := NewFile(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := r.Resolve(t.Context())
		if !slices.Equal(got, tt.want) || (err == nil) != (tt.errs == nil) {
			t.Errorf("%s: got %+v, %v, want %+v", tt.name, got, err, tt.want)
			continue
		}
		for _, want := range append(tt.errs, "lb: ", path) {
			if err != nil && (!strings.Contains(err.Error(), want) || len(err.Error()) > 2*maxFault) {
				t.Errorf("%s: error %v does not say %q, or too much", tt.name, err, want)
			}
		}
	}
}

func TestFileIsNone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for path, want := range map[string]string{
		filepath.Join(dir, "absent"): "no such file", dir: "is no regular file", os.DevNull: "is no regular file",
	} {
		r, err := NewFile(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Resolve(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error of %s is %v, want %s", path, err, want)
		}
	}
}

// However a file is changed, that is in use after a second; what is wrong is told
// once, and changes nothing.
func TestFileWatch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, "endpoints.json")
		do := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		write := func(name, content string) { do(os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600)) }
		r, err := NewFile(path, nil)
		do(err)
		var logs lockedBuffer
		b := mustNew(t, r, &Options{Logger: slog.New(slog.NewTextHandler(&logs, nil))})
		start(t, b)
		time.Sleep(500 * time.Millisecond) // so that no look at the file is at the instant of a change
		expect := func(step, ids string, warnings int) {
			t.Helper()
			time.Sleep(time.Second)
			synctest.Wait()
			after := b.Stats()
			time.Sleep(time.Minute) // in which nothing happens
			var got []string
			s := b.Stats()
			for _, e := range s.Endpoints {
				got = append(got, e.ID)
			}
			if strings.Join(got, " ") != ids || s.Resolved != after.Resolved {
				t.Errorf("%s: endpoints are %v, want %s", step, got, ids)
			}
			if n := strings.Count(logs.String(), "level=WARN"); n != warnings || s.Unresolved != uint64(warnings) {
				t.Errorf("%s: %d warnings, and %d counted, want %d:\n%s", step, n, s.Unresolved, warnings, logs.String())
			}
		}

		expect("absent", "", 1)
		write("endpoints.json", `[{"addr":"a:80"}]`)
		expect("created", "a:80", 1)
		write("endpoints.json", `[{"addr":"a:80"},`)
		expect("half-written", "a:80", 2)
		write("endpoints.json", `[{"addr":"a:80"},{"addr":"b:80"}]`)
		expect("whole", "a:80 b:80", 2)
		write("endpoints.json", `[]`)
		expect("emptied", "a:80 b:80", 3)
		do(os.Remove(path))
		expect("removed", "a:80 b:80", 4)
		write("endpoints.json", `[{"addr":"b:80"},{"addr":"a:80"}]`)
		expect("there again", "a:80 b:80", 4)
		write("new.json", `[{"addr":"c:80"}]`)
		do(os.Rename(filepath.Join(dir, "new.json"), path))
		expect("renamed", "c:80", 4)

		// Of the same length and time.
		info, err := os.Stat(path)
		do(err)
		write("endpoints.json", `[{"addr":"d:80"}]`)
		do(os.Chtimes(path, info.ModTime(), info.ModTime()))
		expect("changed secretly", "d:80", 4)

		if runtime.GOOS == "windows" {
			return // where making links takes a privilege
		}
		// As in a volume of a ConfigMap: a link to a file in a directory that is a link.
		for _, version := range []string{"1", "2"} {
			do(os.Mkdir(filepath.Join(dir, ".."+version), 0o700))
			write(".."+version+"/endpoints.json", `[{"addr":"v`+version+`:80"}]`)
		}
		do(os.Symlink("..1", filepath.Join(dir, "..data")))
		do(os.Symlink("..data/endpoints.json", filepath.Join(dir, "link")))
		do(os.Rename(filepath.Join(dir, "link"), path))
		expect("linked", "v1:80", 4)
		do(os.Symlink("..2", filepath.Join(dir, "..new")))
		do(os.Rename(filepath.Join(dir, "..new"), filepath.Join(dir, "..data")))
		do(os.RemoveAll(filepath.Join(dir, "..1")))
		expect("linked elsewhere", "v2:80", 4)
	})
}

// FuzzFile checks that what is in a file leads to endpoints that can be used, or to an
// error, and that those can be written and read again.
func FuzzFile(f *testing.F) {
	f.Add(`[{"addr":"a:80"}]`)
	f.Add(`[{"addr":"b:80","id":"x","weight":3,"zone":"north","priority":2,"host":"orders.example"},{"addr":"[::1]:80"}]`)
	f.Add(`[{"addr":"a:80"},{"ad`)
	f.Add(`[null,{}]`)
	f.Fuzz(func(t *testing.T, content string) {
		endpoints, err := decodeEndpoints([]byte(content))
		if err != nil || len(endpoints) == 0 {
			if len(endpoints) > 0 {
				t.Errorf("there are endpoints %+v with an error %v", endpoints, err)
			}
			return
		}
		var list []map[string]any
		for _, e := range endpoints {
			list = append(list, map[string]any{
				"id": e.ID, "addr": e.Addr, "weight": e.Weight, "zone": e.Zone, "priority": e.Priority, "host": e.Host,
			})
		}
		data, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := decodeEndpoints(data); err != nil || !slices.Equal(again, endpoints) {
			t.Errorf("%+v are read as %+v, %v", endpoints, again, err)
		}
	})
}
