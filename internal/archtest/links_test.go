package archtest

import (
	"os/exec"
	"strings"
	"testing"
)

// Whoever uses one package compiles nothing that only another needs.
func TestNothingForeignIsLinkedUnasked(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		packages []string
		without  []string
	}{
		{[]string{"./key"}, []string{client, goredis, grpc, xtime}},
		{[]string{"./ratelimit"}, []string{client, goredis, grpc}},
		{[]string{"./prom", "./ratelimit"}, []string{goredis, grpc}},
		{[]string{"./health"}, []string{client, goredis, grpc, xtime, xxhash}},
		{[]string{"./middlewaretest"}, []string{client, goredis, grpc, xtime}},
	} {
		cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-deps"}, tt.packages...)...)
		cmd.Dir = "../.."
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go list -deps %v: %v", tt.packages, err)
		}
		for dep := range strings.FieldsSeq(string(out)) {
			for _, module := range tt.without {
				if dep == module || strings.HasPrefix(dep, module+"/") {
					t.Errorf("%v link %s", tt.packages, dep)
				}
			}
		}
	}
}
