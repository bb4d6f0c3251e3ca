package replicate

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/fnv"
)

// ErrToken is the error of a token that was not made by this cluster, or not by somebody
// who has its key.
var ErrToken = errors.New("replicate: the token is not one of this cluster")

// A token is, in this order and big endian: version and flags (1 byte), group (8),
// timeline (4), offset (8), node (2), and the first bytes of the HMAC-SHA256 of these
// (12), all in unpadded base64url.
const (
	tokenVersion = 1
	tokenDirty   = 0x80 // the position of what was written or seen is not known
	tokenBody    = 1 + 8 + 4 + 8 + 2
	tokenMAC     = 12
	tokenBytes   = tokenBody + tokenMAC
)

// TokenLen is the length of every token.
const TokenLen = (tokenBytes*8 + 5) / 6

// claim is what a token says.
type claim struct {
	need  Position
	node  uint16
	dirty bool
}

// seal makes a token.
func seal(key []byte, group uint64, t claim) string {
	b := make([]byte, 0, tokenBytes+sha256.Size)
	version := byte(tokenVersion)
	if t.dirty {
		version |= tokenDirty
	}
	b = append(b, version)
	b = binary.BigEndian.AppendUint64(b, group)
	b = binary.BigEndian.AppendUint32(b, t.need.Timeline)
	b = binary.BigEndian.AppendUint64(b, t.need.Offset)
	b = binary.BigEndian.AppendUint16(b, t.node)
	mac := hmac.New(sha256.New, key)
	mac.Write(b)
	b = mac.Sum(b)[:tokenBytes]
	return base64.RawURLEncoding.EncodeToString(b)
}

// unseal reads a token that was made with one of the keys.
func unseal(keys [][]byte, group uint64, token string) (claim, bool) {
	if len(token) != TokenLen {
		return claim{}, false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || b[0]&^tokenDirty != tokenVersion || binary.BigEndian.Uint64(b[1:]) != group {
		return claim{}, false
	}
	for _, key := range keys {
		mac := hmac.New(sha256.New, key)
		mac.Write(b[:tokenBody])
		if hmac.Equal(mac.Sum(nil)[:tokenMAC], b[tokenBody:]) {
			return claim{
				need:  Position{binary.BigEndian.Uint32(b[9:]), binary.BigEndian.Uint64(b[13:])},
				node:  binary.BigEndian.Uint16(b[21:]),
				dirty: b[0]&tokenDirty != 0,
			}, true
		}
	}
	return claim{}, false
}

// hash is stable between processes and releases: tokens carry it.
func hash(s string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(s)) // never fails
	return h.Sum64()
}

// tagOf stands for the name of a node in tokens.
func tagOf(name string) uint16 {
	h := hash(name)
	return uint16(h>>48^h>>32^h>>16^h) | 1
}

// Token returns b as a string that another process, or a later request, can continue
// from: see [Cluster.Open]. It is signed and [TokenLen] bytes long, and holds nothing
// but how far b has come. A b that has done nothing gives "".
//
// Where b has read at the primary, this asks it once where it stands. If it does not
// answer before ctx ends, the token says so, and who continues from it reads at the
// primary.
func (c *Cluster) Token(ctx context.Context, b *Bookmark) string {
	p := b.at()
	if p == (progress{}) {
		return ""
	}
	atPrimary := p.node != 0 && p.node-1 == c.view.Load().primary
	if p.wrote != 0 || p.read != 0 && (p.node == 0 || atPrimary) {
		c.locate(ctx, b)
		p = b.at()
	}
	t := claim{need: p.need, dirty: p.wrote != 0 || p.open != 0}
	if p.read != 0 {
		v := c.view.Load()
		if i := p.node - 1; i >= 0 && i != v.primary && v.members[i].incarnation == p.incarnation {
			t.node = c.nodes[i].tag
		} else {
			t.dirty = true
		}
	}
	return seal(c.keys[0], c.group, t)
}

// locate asks the primary for a position that contains all that b has written and seen.
func (c *Cluster) locate(ctx context.Context, b *Bookmark) {
	v := c.view.Load()
	if v.primary < 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, c.probeTimeout)
	defer cancel()
	n := c.nodes[v.primary]
	p, err := n.borrow(ctx, false)
	if err != nil {
		return // the token will say that it is not known
	}
	defer n.give(p)
	was, asked := b.at(), c.now()
	report, err := c.dialect.Probe(ctx, p)
	if err != nil {
		p.broken = true
		return
	}
	if report.Role == Primary && report.Epoch == v.epoch {
		c.learn(ctx, n, asked, report)
		b.raise(report.Head, v.epoch != 0)
		b.covered(&was)
	}
}

// Open returns a Bookmark that continues from a token of this cluster. An empty token
// gives one that begins anew, and so does one that is not valid, with [ErrToken].
func (c *Cluster) Open(token string) (*Bookmark, error) {
	b := new(Bookmark)
	if token == "" {
		return b, nil
	}
	t, ok := unseal(c.keys, c.group, token)
	if !ok {
		c.counts.tokensRefused.Add(1)
		return b, ErrToken
	}
	now := c.now()
	v := c.view.Load()
	b.need = c.clamp(v, t.need, now)
	if t.dirty {
		b.wrote, b.read = now, now
		return b, nil
	}
	if t.node == 0 {
		return b, nil
	}
	b.read = now // wherever else it reads, everything until now must be there
	if t.need.Timeline == 0 || v.epoch == 0 || t.need.Timeline == v.epoch {
		for i, n := range c.nodes {
			if n.tag == t.node {
				b.node, b.incarnation = i+1, v.members[i].incarnation
				break
			}
		}
	}
	return b, nil
}
