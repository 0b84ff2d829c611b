"""Merkle trees against the reference roots of RFC 6962, a naive version, and forged proofs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling.errors import InputError, LedgerError
from scaling.registry.merkle import (
    EMPTY_ROOT,
    Checkpoint,
    Frontier,
    Tree,
    leaf_hash,
    node_hash,
    root,
    verify_consistency,
    verify_inclusion,
)

# The inputs and roots that implementations of RFC 6962 test with.
INPUTS = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
LEAVES = [leaf_hash(bytes([i])) for i in range(17)]


def naive_root(leaves):
    """The definition, word for word: RFC 9162 2.1.1."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return node_hash(naive_root(leaves[:k]), naive_root(leaves[k:]))


@pytest.mark.parametrize("size", range(9))
def test_reference_roots(size):
    assert root([leaf_hash(bytes.fromhex(text)) for text in INPUTS[:size]]).hex() == ROOTS[size]


@given(st.lists(st.binary(max_size=4), max_size=70))
def test_the_growing_root_is_the_naive_one_at_every_size(data):
    frontier, leaves = Frontier(), []
    for item in data:
        frontier.add(leaf_hash(item))
        leaves.append(leaf_hash(item))
        assert frontier.root() == naive_root(leaves)
    assert frontier.size == len(data)


def test_every_inclusion_proof_holds_and_no_other_does():
    for size in range(1, len(LEAVES) + 1):
        leaves, top = LEAVES[:size], root(LEAVES[:size])
        for index in range(size):
            proof = Tree(leaves).inclusion(index)
            verify_inclusion(leaves[index], index, size, proof, top)
            forged = [
                (leaf_hash(b"other"), index, size, proof, top),
                (leaves[index], index, size, [*proof, top], top),
                (leaves[index], size, size, proof, top),
                (leaves[index], -1, size, proof, top),
                (leaves[index], index, size, proof, EMPTY_ROOT),
            ]
            forged += [(leaves[index], other, size, proof, top) for other in range(size) if other != index]
            forged += [
                (leaves[index], index, size, proof[:k] + [EMPTY_ROOT] + proof[k + 1 :], top) for k in range(len(proof))
            ]
            forged += [(leaves[index], index, size, proof[:-1], top)] * bool(proof)
            for attempt in forged:
                with pytest.raises(LedgerError, match="inclusion proof"):
                    verify_inclusion(*attempt)


def test_every_consistency_proof_holds_and_no_other_does():
    for size in range(len(LEAVES) + 1):
        top = root(LEAVES[:size])
        for old in range(size + 1):
            proof, old_top = Tree(LEAVES[:size]).consistency(old), root(LEAVES[:old])
            verify_consistency(old, size, old_top, top, proof)
            rewritten = root([leaf_hash(b"edited"), *LEAVES[1:old]])
            forged = [(old, size, old_top, leaf_hash(b"x"), proof)] if old else []
            forged += [
                (old, size, rewritten, top, proof),
                (old, size, old_top, top, [*proof, top]),
                (size + 1, size, old_top, top, proof),
            ]
            forged += [(old, size, old_top, top, proof[:-1])] * bool(proof)
            forged += [(old, size, old_top, top, proof[:k] + [EMPTY_ROOT] + proof[k + 1 :]) for k in range(len(proof))]
            for attempt in forged:
                with pytest.raises(LedgerError, match="not consistent"):
                    verify_consistency(*attempt)


def test_proofs_of_what_is_not_there_are_refused():
    with pytest.raises(InputError, match="leaf 3 is outside a tree of 3"):
        Tree(LEAVES[:3]).inclusion(3)
    with pytest.raises(InputError, match=r"old size 4 is outside 0 \.\. 3"):
        Tree(LEAVES[:3]).consistency(4)


def test_a_leaf_cannot_pass_for_a_node():
    left, right = LEAVES[:2]
    assert leaf_hash(left + right) != node_hash(left, right)


def test_a_checkpoint_is_three_lines_and_has_one_spelling():
    head = Checkpoint("scaling-ledger/0123", 8, bytes.fromhex(ROOTS[8]))
    assert head.text == "scaling-ledger/0123\n8\nXcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=\n"
    assert Checkpoint.parse(head.text) == head
    other = head.text.replace("g=\n", "h=\n")  # the same 32 bytes: the last two bits of base64 are unused
    for text in (
        "",
        head.text[:-1],
        head.text + "\n",
        other,
        head.text.replace("\n8\n", "\n08\n"),
        "a b" + head.text,
        head.text.replace("Xcn", "Xc"),
        head.text.replace("\n8\n", "\n٨\n"),
        head.text.replace("\n", "\r\n"),
    ):
        with pytest.raises(InputError, match="not a checkpoint"):
            Checkpoint.parse(text)
