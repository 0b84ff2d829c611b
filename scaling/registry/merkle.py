"""Merkle trees of RFC 9162 section 2.1 (SHA-256): roots, inclusion and consistency proofs, and checkpoints.

    leaf(d)      = SHA-256(0x00 || d)
    node(l, r)   = SHA-256(0x01 || l || r)
    root([])     = SHA-256("")
    root(leaves) = node(root(leaves[:k]), root(leaves[k:])),  k = the largest power of two below len(leaves)

Proofs are lists of 32-byte hashes, from the leaf upwards. `verify_*` return nothing and raise `LedgerError`.
All functions are pure.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from scaling.errors import InputError, LedgerError

EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """A growing tree kept as the roots of its perfect subtrees, largest first: log2(size) hashes for any length."""

    def __init__(self) -> None:
        self.size = 0
        self._roots: list[bytes] = []

    def add(self, leaf: bytes) -> None:
        carry = self.size
        while carry & 1:  # each trailing one bit is a subtree as large as the one at hand: join them
            leaf = node_hash(self._roots.pop(), leaf)
            carry >>= 1
        self._roots.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        if not self._roots:
            return EMPTY_ROOT
        total = self._roots[-1]
        for left in reversed(self._roots[:-1]):
            total = node_hash(left, total)
        return total


def root(leaves: Sequence[bytes]) -> bytes:
    """Root over leaf hashes."""
    frontier = Frontier()
    for leaf in leaves:
        frontier.add(leaf)
    return frontier.root()


class Tree:
    """All of a tree at once, for several proofs: `levels[h][i]` is the root of leaves i 2^h .. (i + 1) 2^h."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.size = len(leaves)
        self._levels = [list(leaves)]
        while len(below := self._levels[-1]) > 1:
            self._levels.append([node_hash(*below[i : i + 2]) for i in range(0, len(below) - 1, 2)])

    def root(self, low: int, high: int) -> bytes:
        """Root of leaves[low:high], `low` a multiple of the largest power of two in high - low."""
        if low == high:
            return EMPTY_ROOT
        height = (high - low).bit_length() - 1
        left, cut = self._levels[height][low >> height], low + (1 << height)
        return left if cut == high else node_hash(left, self.root(cut, high))

    def inclusion(self, index: int) -> list[bytes]:
        """PATH(index, leaves) of RFC 9162 2.1.3.1: the sibling of every node between the leaf and the root."""
        if not 0 <= index < self.size:
            raise InputError(f"leaf {index} is outside a tree of {self.size}")
        path, low, high = [], 0, self.size
        while high - low > 1:
            k = low + _split(high - low)
            if index < k:
                path.append(self.root(k, high))
                high = k
            else:
                path.append(self.root(low, k))
                low = k
        return path[::-1]

    def consistency(self, old_size: int) -> list[bytes]:
        """PROOF(old_size, leaves) of RFC 9162 2.1.4.1; empty where the old tree is empty or the same."""
        if not 0 <= old_size <= self.size:
            raise InputError(f"old size {old_size} is outside 0 .. {self.size}")
        if old_size in (0, self.size):
            return []
        path, low, high = [], 0, self.size
        while high != old_size:
            k = low + _split(high - low)
            if old_size <= k:
                path.append(self.root(k, high))
                high = k
            else:
                path.append(self.root(low, k))
                low = k
        known = low == 0  # the verifier holds the root of the old leaves already
        return ([] if known else [self.root(low, high)]) + path[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], expected: bytes) -> None:
    """RFC 9162 2.1.3.2: `leaf` stands at `index` in the tree of `size` leaves whose root is `expected`."""
    if not 0 <= index < size:
        raise LedgerError(f"inclusion proof: leaf {index} is outside a tree of {size}", index=index)
    node, last, result = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise LedgerError("inclusion proof is too long", index=index)
        if node & 1 or node == last:
            result = node_hash(sibling, result)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            result = node_hash(result, sibling)
        node, last = node >> 1, last >> 1
    if last or result != expected:
        raise LedgerError(f"inclusion proof does not lead from leaf {index} to the root of {size} leaves", index=index)


def verify_consistency(old_size: int, size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """RFC 9162 2.1.4.2: the first `old_size` of `size` leaves are exactly those of the older tree."""
    broken = LedgerError(f"heads of {old_size} and {size} entries are not consistent")
    if not 0 <= old_size <= size:
        raise broken
    if old_size in (0, size):
        if proof or old_root != (EMPTY_ROOT if old_size == 0 else new_root):
            raise broken
        return
    path = [old_root, *proof] if old_size & (old_size - 1) == 0 else list(proof)
    if not path:
        raise broken
    node, last = old_size - 1, size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise broken
        if node & 1 or node == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        node, last = node >> 1, last >> 1
    if last or old != old_root or new != new_root:
        raise broken


def _split(size: int) -> int:
    """The largest power of two smaller than `size` (size >= 2)."""
    return 1 << (size - 1).bit_length() - 1


@dataclass(frozen=True)
class Checkpoint:
    """A log's whole state in three lines (C2SP tlog-checkpoint): origin, number of entries, base64 of the root."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    def __str__(self) -> str:
        return self.text

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Read the three lines back; any other spelling of the same head is refused (base64 has several)."""
        lines = text.split("\n")
        try:
            if len(lines) != 4 or not re.fullmatch(r"[^\s+]+", lines[0]) or not re.fullmatch(r"[0-9]{1,18}", lines[1]):
                raise ValueError
            head = cls(lines[0], int(lines[1]), base64.b64decode(lines[2], validate=True))
            if len(head.root) != 32 or head.text != text:
                raise ValueError
        except (ValueError, binascii.Error):
            raise InputError(
                f"not a checkpoint: {text[:120]!r}",
                "three lines are needed: origin, number of entries, base64 of a 32-byte root",
            ) from None
        return head
