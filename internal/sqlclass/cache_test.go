package sqlclass

import "testing"

func TestClassifyAllocatesNothing(t *testing.T) {
	query := "SELECT u.id, count(*) FROM users u JOIN posts p ON p.user_id = u.id WHERE u.name = $1 GROUP BY u.id LIMIT 10"
	if n := testing.AllocsPerRun(100, func() { Classify(PostgreSQL, query) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
	cache, err := NewCache(&Classifier{}, 100)
	if err != nil {
		t.Fatal(err)
	}
	cache.Classify(query)
	if n := testing.AllocsPerRun(100, func() { cache.Classify(query) }); n != 0 {
		t.Errorf("%v allocations of a hit, want none", n)
	}
}

func BenchmarkClassify(b *testing.B) {
	query := "SELECT u.id, u.name, count(*) FROM users u JOIN posts p ON p.user_id = u.id WHERE u.name = $1 AND p.state = 'x' GROUP BY u.id LIMIT 10"
	b.ReportAllocs()
	for b.Loop() {
		Classify(PostgreSQL, query)
	}
}

func BenchmarkCacheHit(b *testing.B) {
	query := "SELECT u.id, u.name, count(*) FROM users u JOIN posts p ON p.user_id = u.id WHERE u.name = $1 AND p.state = 'x' GROUP BY u.id LIMIT 10"
	cache, _ := NewCache(&Classifier{}, 1000)
	b.ReportAllocs()
	for b.Loop() {
		cache.Classify(query)
	}
}
