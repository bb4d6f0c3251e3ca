// Package cache keeps values in memory, loads those that are missing, and can share
// them with other processes through a second tier.
package cache
