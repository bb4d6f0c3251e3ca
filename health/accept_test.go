package health

import (
	"slices"
	"strings"
	"testing"
)

func TestNegotiate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ accept, want string }{
		{"", textType},
		{"*/*", textType},
		{"text/*", textType},
		{"application/*", healthType},
		{"application/health+json", healthType},
		{"application/json", jsonType},
		{"APPLICATION/Health+JSON", healthType},
		{"application/json, application/health+json", healthType},
		{"application/json, application/health+json;q=0.9", jsonType},
		{"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", textType},
		{"application/json, text/plain, */*", textType},
		{"application/json, */*;q=0.5", jsonType},
		{"text/plain;q=0, */*", healthType},
		{"application/*;q=0.2, application/json;q=0.1, text/plain;q=0.15", healthType},
		{"image/png", textType},
		{"application/json;q=0", textType},
		{"*/*;q=0", textType},
		{"application/json;q=2, application/health+json;q=0.1", healthType},
		{"application/json;q=NaN", textType},
		{"application/json;q=", textType},
		{"*/json", textType},
		{`text/html;x="a,application/json;q=1", application/health+json;q=0.5`, healthType},
		{`text/html;x="\",", application/json`, jsonType},
		{`"`, textType},
		{" , ,application/json ; q=0.5 ,", jsonType},
		{"application/json;q=0.5;q=0.6", textType},
	} {
		if got := offers[negotiate([]string{tt.accept}, offers)]; got != tt.want {
			t.Errorf("Accept: %s gets %s, want %s", tt.accept, got, tt.want)
		}
	}
	if got := negotiate([]string{"text/html", "application/json"}, offers); offers[got] != jsonType {
		t.Errorf("two fields get %s, want %s", offers[got], jsonType)
	}
	if got := negotiate(nil, offers); got != 0 {
		t.Errorf("no field gets offer %d, want 0", got)
	}
}

func FuzzNegotiate(f *testing.F) {
	for _, seed := range []string{"", "*/*", `a/b;q="0.1", application/json`, `"\`, "application/*;q=0.2,text/plain;q=0.1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, field string) {
		got := negotiate([]string{field}, offers)
		if got < 0 || got >= len(offers) {
			t.Fatalf("offer %d of %d", got, len(offers))
		}
		// Elements are what the field consists of, and several fields are one list.
		parts := slices.Collect(elements(field))
		if strings.Join(parts, ",") != field {
			t.Fatalf("%q has the elements %q", field, parts)
		}
		if split := negotiate(parts, offers); split != got {
			t.Errorf("in one field offer %d, in %d fields offer %d", got, len(parts), split)
		}
		for _, r := range parseAccept([]string{field}) {
			if !(r.quality >= 0 && r.quality <= 1) || r.kind == "" || r.subtype == "" {
				t.Errorf("a range is %+v", r)
			}
		}
	})
}
