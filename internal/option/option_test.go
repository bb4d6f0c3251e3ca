package option_test

import (
	"strings"
	"testing"
	"time"

	"github.com/uprung/uprung/internal/option"
)

func TestCheckName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"orders":                        "",
		"a name, with ~ and \"quotes\"": "",
		strings.Repeat("x", 64):         "",
		"":                              `Name is "", want 1 to 64 printable ASCII characters`,
		"two\nlines":                    `Name is "two\nlines", want 1 to 64 printable ASCII characters`,
		"\x7f":                          `Name is "\x7f", want 1 to 64 printable ASCII characters`,
		"größe":                         `Name is "größe", want 1 to 64 printable ASCII characters`,
		strings.Repeat("x", 65):         `Name is "` + strings.Repeat("x", 65) + `", want 1 to 64 printable ASCII characters`,
	} {
		got := ""
		if err := option.CheckName("Name", name); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}

func TestHowSettingsRead(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ got, want string }{
		{option.Function(true, "all"), "a function"},
		{option.Function(false, "all"), "all"},
		{option.OrNone(true, time.Second), "1s"},
		{option.OrNone(false, time.Second), "none"},
	} {
		if row.got != row.want {
			t.Errorf("got %q, want %q", row.got, row.want)
		}
	}
}
