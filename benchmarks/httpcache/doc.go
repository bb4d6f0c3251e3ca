// Package httpcache is the suite of package cache/httpcache: what an answer from the cache
// costs in the process and over the loopback interface, next to other caches, and what it
// costs to end all responses that have a tag.
package httpcache
