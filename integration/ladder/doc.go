// Package ladder tests the page of examples/ladder in a real browser.
package ladder
