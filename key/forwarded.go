package key

import "strings"

// Forwarded is [Proxied] for proxies that append to the Forwarded field of
// RFC 7239 instead of X-Forwarded-For. The hops are its "for" parameters; an
// element without one, with two, with an obfuscated identifier ("_hidden") or
// with "unknown" ends the way back, and the request counts for the proxy that
// wrote it.
//
// The field is read from its right end, so that an unbalanced quote sent by a
// client does not swallow what proxies append to it.
func Forwarded(trusted []string, o *AddrOptions) (Func, error) {
	return newProxied("Forwarded", lastForwarded, trusted, o)
}

// lastForwarded cuts the last element off a Forwarded field and returns the
// value of its "for" parameter, or "" if it has not exactly one.
func lastForwarded(list string) (rest, node string, more bool) {
	rest, element, more := cutLast(list, ',')
	found := false
	for again := true; again; {
		var pair string
		element, pair, again = cutLast(element, ';')
		name, value, _ := strings.Cut(trimSpace(pair), "=")
		if !strings.EqualFold(name, "for") {
			continue
		}
		if found {
			return rest, "", more
		}
		node, found = value, true
	}
	// A quoted address needs no escapes, and with some it will not be read as one.
	if len(node) >= 2 && node[0] == '"' && node[len(node)-1] == '"' {
		node = node[1 : len(node)-1]
	}
	return rest, node, more
}

// cutLast cuts s at its last separator that is not in a quoted string (RFC 9110,
// section 5.6.4). Going from right to left, a quote that is reached from outside
// closes a string, and the next to the left that no backslash escapes opens it.
func cutLast(s string, separator byte) (before, after string, found bool) {
	quoted := false
	for i := len(s) - 1; i >= 0; i-- {
		switch {
		case s[i] == '"' && (!quoted || !escaped(s[:i])):
			quoted = !quoted
		case s[i] == separator && !quoted:
			return s[:i], s[i+1:], true
		}
	}
	return "", s, false
}

// escaped reports whether what follows s is escaped: whether s ends in an odd
// number of backslashes.
func escaped(s string) bool {
	return (len(s)-len(strings.TrimRight(s, `\`)))%2 == 1
}
