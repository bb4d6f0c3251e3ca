package replicate

import (
	"testing"

	"github.com/uprung/uprung/benchmarks/internal/bench"
)

// Every implementation reads and writes what it should.
func TestImplementationsAreRight(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(*bench.Env) (subject, error){
		"ours": openOurs(false), "bookmark": openOurs(true), "raw": openRaw, "dbresolver": openDBResolver, "gorm": openGorm,
	} {
		s, err := open(&bench.Env{})
		if err != nil {
			t.Fatal(err)
		}
		if r, e, x := s.read(10), s.exec(10), s.tx(10); r != 10 || e != 10 || x != 10 {
			t.Errorf("%s: %d reads, %d updates and %d transactions of 10 are right", name, r, e, x)
		}
		s.Close()
	}
}
