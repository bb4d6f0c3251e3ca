package cache

import "context"

// Invalidate removes keys, here and in the store, and has other caches on the bus remove
// them. Loads of them that are in progress serve those who wait already, and are not kept.
//
// Invalidate after what it is derived from has changed, not before. If the store cannot be
// reached, the error says so, memory is right all the same, and the store is not read
// before the keys have been deleted there, which every later use tries first.
func (c *Cache[K, V]) Invalidate(ctx context.Context, keys ...K) error {
	for _, key := range keys {
		c.forget(key)
	}
	if c.tier == nil || len(keys) == 0 {
		return nil
	}
	stored := make([]string, len(keys))
	for i, key := range keys {
		stored[i] = c.tier.key(key)
	}
	err := c.tier.drop(ctx, stored)
	for _, key := range keys { // what was read from the store before it was deleted there
		c.forget(key)
	}
	return err
}

// forget removes a key from memory.
func (c *Cache[K, V]) forget(key K) {
	hash := c.hash(key)
	s := c.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.overtake(key)
	s.remove(hash, key)
	c.counts.invalidated.Add(1)
}

// InvalidateTag invalidates, as Invalidate does, all entries that have one of these tags by
// [Options].TagsOf, those included that are being loaded. It takes the same time however
// many they are.
func (c *Cache[K, V]) InvalidateTag(ctx context.Context, tags ...string) error {
	if c.o.TagsOf == nil || len(tags) == 0 {
		return nil
	}
	void := func() {
		for _, tag := range tags {
			c.voids.invalidate(tagPrefix + tag)
		}
	}
	void()
	if c.tier == nil {
		return nil
	}
	names := []string{epochKey}
	for _, tag := range tags {
		names = append(names, tagKey+tag)
	}
	err := c.tier.bump(ctx, names...)
	void()
	return err
}

// InvalidateAll invalidates, as Invalidate does, all entries.
func (c *Cache[K, V]) InvalidateAll(ctx context.Context) error {
	c.clear()
	if c.tier == nil {
		return nil
	}
	err := c.tier.bump(ctx, allKey)
	c.clear()
	return err
}

// clear forgets all that is in memory.
func (c *Cache[K, V]) clear() {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.clear()
		s.mu.Unlock()
	}
}
