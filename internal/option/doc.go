// Package option has what the Options of all packages share: how a name is checked, and
// how a setting that is not a number or a duration reads in a [uprung.Setting].
package option
