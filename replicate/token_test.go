package replicate

import (
	"testing"
	"time"
)

// The form of tokens is for ever: processes of two releases exchange them.
func TestTokenFormat(t *testing.T) {
	t.Parallel()
	key := []byte("0123456789abcdef")
	got := seal(key, 0x0102030405060708, claim{need: Position{9, 0x1112131415161718}, node: 0x2122})
	const want = "AQECAwQFBgcIAAAACRESExQVFhcYISLitSyOXPsNZN4aipk"
	if len(got) != TokenLen || got != want {
		t.Errorf("token is %q, want %q", got, want)
	}
	for _, keys := range [][][]byte{{key}, {[]byte("another key that is long"), key}} {
		if c, ok := unseal(keys, 0x0102030405060708, got); !ok || c != (claim{Position{9, 0x1112131415161718}, 0x2122, false}) {
			t.Errorf("it says %+v, %v", c, ok)
		}
	}
	for i := range got {
		for _, char := range "Aa0-_ " {
			if byte(char) == got[i] {
				continue
			}
			if _, ok := unseal([][]byte{key}, 0x0102030405060708, got[:i]+string(char)+got[i+1:]); ok {
				t.Errorf("it is valid with %q at %d", char, i)
			}
		}
	}
	if c, ok := unseal([][]byte{key}, 1, seal(key, 1, claim{dirty: true})); !ok || !c.dirty {
		t.Errorf("a dirty token says %+v, %v", c, ok)
	}
}

func FuzzToken(f *testing.F) {
	key := []byte("0123456789abcdef")
	f.Add(seal(key, 1, claim{}))
	f.Fuzz(func(t *testing.T, token string) {
		if c, ok := unseal([][]byte{key}, 1, token); ok && seal(key, 1, c) != token {
			t.Errorf("%q is valid, and not what %+v gives", token, c)
		}
	})
}

func TestTrap9ReadAtThePrimaryIsContainedInTheToken(t *testing.T) {
	t.Parallel()
	in(t, Options{}, func(t *testing.T, w *world) {
		w.servers.Node(1).SetLag(300 * time.Millisecond)
		w.servers.Node(2).SetLag(300 * time.Millisecond)
		ctx := w.cluster.WithBookmark(t.Context(), nil)
		w.write(t.Context(), t, "a", 1) // somebody else's
		if value, node := w.read(OnPrimary(ctx), t, "a"); value != 1 || node != "p" {
			t.Fatalf("value is %d at %s", value, node)
		}
		for range 10 {
			b, err := w.cluster.Open(w.cluster.Token(ctx, w.cluster.BookmarkOf(ctx)))
			if err != nil {
				t.Fatal(err)
			}
			ctx = w.cluster.WithBookmark(t.Context(), b)
			if value, _ := w.read(ctx, t, "a"); value != 1 {
				t.Fatalf("value is %d, want 1 as before", value)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if s := w.cluster.Stats(); s.Reads[AtReplica]+s.Reads[AfterWait] == 0 {
			t.Errorf("reads are %v, want some at replicas in the end", s.Reads)
		}
	})
}

func TestDirtyTokenReadsAtThePrimary(t *testing.T) {
	t.Parallel()
	in(t, Options{}, func(t *testing.T, w *world) {
		b := new(Bookmark)
		b.hasWritten(w.cluster.now())
		w.servers.Node(0).Crash()
		token := w.cluster.Token(t.Context(), b)
		w.servers.Node(0).Start()
		w.settle()
		b, err := w.cluster.Open(token)
		if err != nil {
			t.Fatal(err)
		}
		ctx := w.cluster.WithBookmark(t.Context(), b)
		if _, node := w.read(ctx, t, "a"); node != "p" {
			t.Errorf("read at %s, want p", node)
		}
		if b, err = w.cluster.Open(w.cluster.Token(ctx, b)); err != nil || b.at().wrote != 0 || b.at().read != 0 || b.at().need.IsZero() {
			t.Errorf("the next token says %+v, %v; want a position", b.at(), err)
		}
	})
}

func TestNoTokenForWhoHasDoneNothing(t *testing.T) {
	t.Parallel()
	w := open(t, Options{})
	if got := w.cluster.Token(t.Context(), new(Bookmark)); got != "" {
		t.Errorf("token is %q", got)
	}
	if b, err := w.cluster.Open(""); err != nil || b.at() != (progress{}) {
		t.Errorf("an empty token gives %+v, %v", b.at(), err)
	}
	if _, ok := w.cluster.NodeOf(t.Context()); ok {
		t.Error("a context without a bookmark has a node")
	}
}
