package uprung

// Must returns v, and panics if err is not nil. It is for constructors that run
// once, at the start of a program, with settings written in its source:
//
//	var limiter = uprung.Must(ratelimit.New(ratelimit.PerSecond(100), nil))
func Must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
