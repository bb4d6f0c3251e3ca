package key_test

import (
	"testing"

	"github.com/uprung/uprung/key"
)

func TestMissing(t *testing.T) {
	t.Parallel()
	var zero key.Missing
	for _, tt := range []struct {
		policy key.Missing
		text   string
		valid  bool
	}{
		{zero, "refused", true},
		{key.MissingRefused, "refused", true},
		{key.MissingAdmitted, "admitted", true},
		{key.MissingShared, "shared", true},
		{3, "Missing(3)", false},
		{255, "Missing(255)", false},
	} {
		if got := tt.policy.String(); got != tt.text {
			t.Errorf("String of %d is %q, want %q", tt.policy, got, tt.text)
		}
		if err := tt.policy.Validate(); (err == nil) != tt.valid {
			t.Errorf("Validate of %v is %v, want valid %v", tt.policy, err, tt.valid)
		}
	}
}
