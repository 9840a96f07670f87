"""Our tree and its proofs compared with somebody else's RFC 9162: pymerkle, which shares nothing with ours.

Notes, checkpoints and their proofs are compared in `test_verifier_against_c2sp.py`.
"""

import random

import journal_maker as maker
import pymerkle
import pytest

from mespieces.verifier import merkle, record

MOST = 70


@pytest.fixture(scope="module")
def journal():
    return maker.ordinary(count=MOST)


@pytest.fixture(scope="module")
def theirs(journal):
    """The same records in their tree, which hashes the leaves itself."""
    tree = pymerkle.InmemoryTree(algorithm="sha256")
    tree.append_entries([header for header, _, _ in journal.records])
    return tree


def test_two_implementations_give_the_same_leaf_and_the_same_root_at_every_size(journal, theirs):
    assert len(journal.leaves) == MOST
    for size in range(MOST + 1):
        assert theirs.get_root(size) == merkle.root(journal.leaves[:size])
    for index, (header, _, _) in enumerate(journal.records):
        assert theirs.get_leaf(index + 1) == record.record_hash(header)


def test_two_implementations_prove_an_inclusion_by_the_same_hashes(journal, theirs):
    for size in range(1, MOST + 1):
        root, subtree = theirs.get_root(size), merkle.of_leaves(journal.leaves[:size])
        for index in {0, size // 3, size // 2, size - 1}:
            proof = theirs.prove_inclusion(index + 1, size)
            pymerkle.verify_inclusion(journal.leaves[index], merkle.root(journal.leaves[:size]), proof)
            ours = merkle.inclusion(index, size, subtree)
            assert sorted(ours) == sorted(proof.path[1:])  # theirs begins with the leaf, and lists from left to right
            assert merkle.includes(theirs.get_leaf(index + 1), index, size, ours, root)


def test_two_implementations_find_the_same_trees_consistent(journal, theirs):
    """Theirs cuts the new tree in other pieces than RFC 9162, §2.1.4.1: each verifies its own proof of the other's roots."""
    subtree = merkle.of_leaves(journal.leaves)
    for new in range(2, MOST + 1):
        for old in {1, new // 3 or 1, new // 2, new - 1}:
            proof = theirs.prove_consistency(old, new)
            before, after = theirs.get_root(old), theirs.get_root(new)
            pymerkle.verify_consistency(merkle.root(journal.leaves[:old]), merkle.root(journal.leaves[:new]), proof)
            ours = merkle.consistency(old, new, subtree)
            assert merkle.extends(old, before, new, after, ours)


def test_their_verifier_refuses_what_ours_refuses(journal, theirs):
    chance = random.Random(1124)
    for _ in range(200):
        size = chance.randint(2, MOST)
        index = chance.randrange(size)
        root = bytearray(theirs.get_root(size))
        root[chance.randrange(32)] ^= 1 << chance.randrange(8)
        proof = theirs.prove_inclusion(index + 1, size)
        with pytest.raises(pymerkle.InvalidProof):
            pymerkle.verify_inclusion(journal.leaves[index], bytes(root), proof)
        path = merkle.inclusion(index, size, merkle.of_leaves(journal.leaves[:size]))
        assert not merkle.includes(journal.leaves[index], index, size, path, bytes(root))
