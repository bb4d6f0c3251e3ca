package shard

import (
	"github.com/golang/groupcache/consistenthash"
	"github.com/kkdai/maglev"
	"github.com/serialx/hashring"
	"github.com/stathat/consistent"
)

// newStathat has the default of 20 points for each node.
func newStathat(names []string) (router, error) {
	c := consistent.New()
	c.Set(names)
	return router{
		lookup: func(key string) string {
			name, err := c.Get(key)
			if err != nil {
				return ""
			}
			return name
		},
		add: func(name string) error {
			c.Add(name)
			return nil
		},
	}, nil
}

func newSerialx(names []string) (router, error) {
	ring := hashring.New(append([]string(nil), names...))
	return router{
		lookup: func(key string) string {
			name, _ := ring.GetNode(key)
			return name
		},
		add: func(name string) error {
			_ = ring.AddNode(name)
			return nil
		},
	}, nil
}

// groupcachePoints is what groupcache itself uses.
const groupcachePoints = 50

func newGroupcache(names []string) (router, error) {
	ring := consistenthash.New(groupcachePoints, nil)
	ring.Add(names...)
	return router{
		lookup: ring.Get,
		add: func(name string) error {
			ring.Add(name)
			return nil
		},
	}, nil
}

// maglevSize is the size of our tables too.
const maglevSize = 65537

func newKkdai(names []string) (router, error) {
	table, err := maglev.NewMaglev(names, maglevSize)
	if err != nil {
		return router{}, err
	}
	return router{lookup: func(key string) string {
		name, err := table.Get(key)
		if err != nil {
			return ""
		}
		return name
	}}, nil
}
