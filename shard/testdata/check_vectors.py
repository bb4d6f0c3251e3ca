#!/usr/bin/env python3
"""Checks vectors.json against the definitions, written down a second time.

Needs Python 3 and its standard library only. Prints every difference and exits
with status 1 if there is one. An argument names another file.
"""

import bisect
import heapq
import json
import pathlib
import sys
from fractions import Fraction

MASK = (1 << 64) - 1
PHI = 0x9E3779B97F4A7C15

# xxhash64, as in the specification: github.com/Cyan4973/xxHash, doc/xxhash_spec.md
P1, P2, P3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
P4, P5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5


def rotl(x, r):
    return (x << r | x >> (64 - r)) & MASK


def lane(acc, value):
    return rotl((acc + value * P2) & MASK, 31) * P1 & MASK


def xxhash64(data):
    def word(at, size):
        return int.from_bytes(data[at : at + size], "little")

    at = 0
    if len(data) >= 32:
        accs = [(P1 + P2) & MASK, P2, 0, -P1 & MASK]
        while at + 32 <= len(data):
            accs = [lane(a, word(at + 8 * i, 8)) for i, a in enumerate(accs)]
            at += 32
        h = sum(rotl(a, r) for a, r in zip(accs, (1, 7, 12, 18))) & MASK
        for a in accs:
            h = ((h ^ lane(0, a)) * P1 + P4) & MASK
    else:
        h = P5
    h = (h + len(data)) & MASK
    while at + 8 <= len(data):
        h = (rotl(h ^ lane(0, word(at, 8)), 27) * P1 + P4) & MASK
        at += 8
    if at + 4 <= len(data):
        h = (rotl(h ^ word(at, 4) * P1 & MASK, 23) * P2 + P3) & MASK
        at += 4
    for byte in data[at:]:
        h = rotl(h ^ byte * P5 & MASK, 11) * P1 & MASK
    h = (h ^ h >> 33) * P2 & MASK
    h = (h ^ h >> 29) * P3 & MASK
    return h ^ h >> 32


def hash_of(text):
    return xxhash64(text.encode("utf-8"))


def mix(x):
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ x >> 27) * 0x94D049BB133111EB & MASK
    return x ^ x >> 31


def distinct(sequence):
    return list(dict.fromkeys(sequence))


class Ring:
    def __init__(self, nodes, params):
        self.ring = sorted(
            (mix((hash_of(name) + v * PHI) & MASK), name)
            for name, weight in nodes
            for v in range(weight * params["points"])
        )

    def order(self, h):
        at = bisect.bisect_left(self.ring, (h, ""))
        return distinct(name for _, name in self.ring[at:] + self.ring[:at])


class List:
    """What ends in a list of names, entered by the high bits of the hash."""

    def order(self, h):
        at = h * len(self.owners) >> 64
        return distinct(self.owners[at:] + self.owners[:at] + [name for name, _ in self.nodes])


class Maglev(List):
    def __init__(self, nodes, params):
        size = params["size"]
        self.nodes = nodes
        self.owners = [None] * size
        turns = []
        for name, weight in nodes:
            h = hash_of(name)
            turns.append((Fraction(0), name, weight, h % size, mix(h) % (size - 1) + 1))
        heapq.heapify(turns)
        for _ in range(size):
            time, name, weight, at, skip = heapq.heappop(turns)
            while self.owners[at] is not None:
                at = (at + skip) % size
            self.owners[at] = name
            heapq.heappush(turns, (time + Fraction(1, weight), name, weight, at, skip))


class Slots(List):
    def __init__(self, nodes, params):
        count = params["slots"]
        self.nodes = nodes
        self.owners = [None] * count
        room = quotas(nodes, {}, count)
        ring = Ring([(name, 1) for name, _ in nodes], {"points": 64})
        for slot in range(count):
            name = next(n for n in ring.order(mix(slot * PHI & MASK)) if room[n] > 0)
            room[name] -= 1
            self.owners[slot] = name

    def rebalance(self, nodes):
        held = {name: self.owners.count(name) for name, _ in nodes}
        quota = quotas(nodes, held, len(self.owners))
        takers = [name for name, _ in nodes if held[name] < quota[name]]
        self.nodes, before = nodes, list(self.owners)
        turn = 0
        for slot in sorted(range(len(before)), key=lambda s: mix(s * PHI & MASK)):
            name = before[slot]
            if name in held:
                if held[name] <= quota[name]:
                    continue
                held[name] -= 1
            if turn >= len(takers):
                turn = 0
            taker = takers[turn]
            held[taker] += 1
            if held[taker] == quota[taker]:
                takers.pop(turn)
            else:
                turn += 1
            self.owners[slot] = taker
        return [[s, a, b] for s, (a, b) in enumerate(zip(before, self.owners)) if a != b]


def quotas(nodes, held, count):
    total = sum(weight for _, weight in nodes)
    quota = {name: count * weight // total for name, weight in nodes}
    uneven = [
        (held.get(name, 0) <= quota[name], -(count * weight % total), name)
        for name, weight in nodes
        if count * weight % total
    ]
    for _, _, name in sorted(uneven)[: count - sum(quota.values())]:
        quota[name] += 1
    return quota


def log_table():
    table = []
    for i in range(1024):
        x, log = (1 << 63) + (i << 53), 0
        for _ in range(40):
            x = x * x >> 64
            log *= 2
            if x >> 63:
                log += 1
            else:
                x <<= 1
        table.append((1 << 40) - log)
    return table + [0]


LOGS = log_table()


class Rendezvous:
    def __init__(self, nodes, params):
        self.nodes = nodes

    def order(self, h):
        def bid(node):
            name, weight = node
            draw = mix(h ^ hash_of(name))
            zeros = 64 - draw.bit_length()
            scaled = draw << zeros & MASK
            high, low = LOGS[scaled >> 53 & 1023], LOGS[(scaled >> 53 & 1023) + 1]
            cost = (zeros << 40) + high - ((high - low) * (scaled >> 21 & 0xFFFFFFFF) >> 32)
            return Fraction(cost, weight), -draw, name

        return [name for name, _ in sorted(self.nodes, key=bid)]


class Jump:
    def __init__(self, nodes, params):
        self.sorted = [name for name, _ in nodes]
        self.names = sorted(self.sorted, key=lambda name: (len(name.encode("utf-8")), name))

    def one(self, h):
        number, following = -1, 0
        while following < len(self.names):
            number = following
            h = (h * 2862933555777941757 + 1) & MASK
            following = int((number + 1) * (float(1 << 31) / float((h >> 33) + 1)))
        return self.names[number]

    def order(self, h):
        tries = [self.one(h)]
        for _ in range(2 * len(self.names)):
            h = (h + PHI) & MASK
            tries.append(self.one(mix(h)))
        return distinct(tries + self.sorted)


KINDS = {"ring": Ring, "maglev": Maglev, "slots": Slots, "rendezvous": Rendezvous, "jump": Jump}


def main():
    here = pathlib.Path(__file__).resolve().parent / "vectors.json"
    vectors = json.loads(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else here).read_text("utf-8"))
    checked = failed = 0

    def check(what, got, want):
        nonlocal checked, failed
        checked += 1
        if got != want:
            failed += 1
            print(f"{what}: computed {got}, the file has {want}")

    # Values that the authors of the hash publish.
    for key, want in (("", 0xEF46DB3751D8E999), ("a", 0xD24EC4F1A98C6E5B), ("abc", 0x44BC2CF5AD770999)):
        check(f"published xxhash64 of {key!r}", hash_of(key), want)
    for entry in vectors["xxhash64"]:
        check(f"xxhash64 of {entry['key']!r}", f"{hash_of(entry['key']):016x}", entry["hash"])

    keys = vectors["keys"]
    for number, entry in enumerate(vectors["tables"]):
        # Python compares text by code point, which is also the order of the bytes.
        nodes = sorted((n["id"], n["weight"]) for n in entry["nodes"])
        table = KINDS[entry["kind"]](nodes, entry)
        name = f"table {number} ({entry['kind']})"
        for key, want in zip(keys, entry["owners"], strict=True):
            check(f"{name}: node of {key!r}", table.order(hash_of(key))[0], want)
        for key, want in zip(keys, entry["walks"]):
            check(f"{name}: order for {key!r}", table.order(hash_of(key)), want)
        for step, change in enumerate(entry.get("rebalance") or []):
            nodes = sorted((n["id"], n["weight"]) for n in change["nodes"])
            check(f"{name}: moves of step {step}", table.rebalance(nodes), change["moves"])
    print(f"{checked} vectors checked, {failed} differ")
    return 1 if failed or not vectors["tables"] else 0


if __name__ == "__main__":
    sys.exit(main())
