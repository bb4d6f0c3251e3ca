package redislimit

import (
	"crypto/sha1" //nolint:gosec // the name that Redis gives to a script, no matter of security
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/uprung/uprung/ratelimit"
)

// Script is the whole of what happens in Redis, in Lua: every decision is one call of
// it. A [Runner] runs it.
//
// The state of a key is one number, the instant at which its bucket will be full again
// (GCRA, ITU-T I.371, annex A), in units of 125 ns since 2025-01-01, so that a double
// holds it until 2060. The key expires then. What lies further ahead than the bucket is
// deep, from a clock that was set back or another limit, is made an empty bucket. Numbers are
// passed to commands as they are, which writes whole ones exactly (%.17g); Lua itself would
// write 14 digits.
//
// The first argument is what to do. "take" has the cost of the events and the depth of
// the bucket for each key, charges all or none, and returns whether it did and the debt
// of each key before; a cost that is negative refuses nothing, and is charged if it
// fits. "upto" has the events wanted, their cost and that of one, the
// fewest that are of use, their cost, and the depth; it returns the events granted, the
// debt before and the cost. "back" has what to give back to each key, and its depth.
// "reset" forgets the keys.
const Script = `local t = redis.call('TIME')
local now = (t[1] - 1735689600) * 8000000 + t[2] * 8
local op = ARGV[1]
if op == 'take' and not KEYS[2] then -- the usual case, spelled out: it takes half the time
  local cost, depth, owed = ARGV[2] + 0, ARGV[3] + 0, 0
  local full = tonumber(redis.call('GET', KEYS[1])) or 0
  if full > now then owed = full - now end
  local fits = owed + cost <= depth
  local owes = owed + cost
  if owed > depth then
    owed, owes = depth, depth
    fits = cost == 0
  end
  if cost > 0 and (fits or full - now > depth and depth > 0) then
    redis.call('SET', KEYS[1], now + owes, 'PX', math.ceil(owes / 8000) + 1)
  end
  return {fits and 1 or 0, owed}
end
local function arg(i) return tonumber(ARGV[i]) end
local function owe(key, units)
  redis.call('SET', key, now + units, 'PX', math.ceil(units / 8000) + 1)
end
local function debt(key, depth, cost)
  local full = tonumber(redis.call('GET', key)) or 0
  if not (full > now) then return 0 end
  if full - now <= depth then return full - now end
  if depth > 0 and cost ~= 0 then owe(key, depth) end
  return depth
end
if op == 'take' then
  local reply = {1}
  for i = 1, #KEYS do
    local cost, depth = arg(2 * i), arg(2 * i + 1)
    local owed = debt(KEYS[i], depth, cost)
    reply[i + 1] = owed
    if owed + cost > depth then reply[1] = 0 end
  end
  for i = 1, #KEYS do
    local owes = reply[i + 1] + math.abs(arg(2 * i))
    if reply[1] == 1 and owes > reply[i + 1] and owes <= arg(2 * i + 1) then owe(KEYS[i], owes) end
  end
  return reply
elseif op == 'upto' then
  local wanted, all, one, least, floor, depth = arg(2), arg(3), arg(4), arg(5), arg(6), arg(7)
  local owed = debt(KEYS[1], depth, one)
  local room = depth - owed
  local granted, cost = wanted, all
  if all > room then
    granted = math.floor(room / one)
    cost = granted * one
    if granted < least then granted, cost = least, floor end
    if cost > room then granted, cost = 0, 0 end
  end
  if cost > 0 then owe(KEYS[1], owed + cost) end
  return {granted, owed, cost}
elseif op == 'back' then
  for i = 1, #KEYS do
    local owed = debt(KEYS[i], arg(2 * i + 1), 0)
    if owed > arg(2 * i) then owe(KEYS[i], owed - arg(2 * i)) else redis.call('DEL', KEYS[i]) end
  end
  return {1}
elseif op == 'reset' then
  for i = 1, #KEYS do redis.call('DEL', KEYS[i]) end
  return {1}
end
return redis.error_reply('ERR unknown operation')
`

// The first arguments of the script.
const (
	opTake  = "take"
	opUpTo  = "upto"
	opBack  = "back"
	opReset = "reset"
)

// scriptHash is the name of the script in Redis.
var scriptHash = sync.OnceValue(func() string {
	sum := sha1.Sum([]byte(Script)) //nolint:gosec // as above
	return hex.EncodeToString(sum[:])
})

// keyless stands for the party of all requests without a key. It is no text that a
// request can carry.
const keyless = "\x00keyless"

// maxPlain is the length up to which a key is kept in Redis as it is.
const maxPlain = 128

// redisKey returns the key of a bucket in Redis. What is between the braces is the hash
// tag: all limits of one key are in one slot of a cluster, and one script can charge
// them. A key that is long, or has what would end the tag, is replaced by its hash; no
// other begins with '#' or '~'.
func redisKey(prefix, key, policy string) string {
	var b strings.Builder
	b.Grow(len(prefix) + len(key) + len(policy) + 4)
	b.WriteString(prefix)
	b.WriteByte('{')
	switch {
	case key == keyless:
		b.WriteByte('~')
	case key == "" || len(key) > maxPlain || key[0] == '#' || key[0] == '~' || strings.ContainsAny(key, "{}"):
		sum := sha256.Sum256([]byte(key))
		b.WriteByte('#')
		b.WriteString(base64.RawURLEncoding.EncodeToString(sum[:18]))
	default:
		b.WriteString(key)
	}
	b.WriteString("}:")
	b.WriteString(policy)
	return b.String()
}

// number is an argument of the script.
func number(n int64) string { return strconv.FormatInt(n, 10) }

// checkPrefix returns an error unless a prefix leaves the hash tag to the key.
func checkPrefix(prefix string) error {
	if len(prefix) > 64 || strings.ContainsAny(prefix, "{}") {
		return fmt.Errorf("Prefix is %q, want at most 64 bytes without braces", prefix)
	}
	return nil
}

var errReply = fmt.Errorf("%w: the reply of the script is not understood", ratelimit.ErrUnavailable)
