"""Merkle proofs, signed notes and proofs of inclusion: what they accept, and that nothing else passes."""

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mespieces.verifier import merkle, note, proof

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ORIGIN = "pieces.example/journal/" + "ab" * 16
VERIFIER = note.verifier(ORIGIN, KEY)

# The inputs and roots of Certificate Transparency's own reference tests (RFC 6962 trees).
CT_LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
CT_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
# The example of Go's golang.org/x/mod/sumdb/note, from which the signed-note specification comes.
GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)

sizes = st.integers(1, 70)


def leaves_of(size):
    return [hashlib.sha256(b"\0" + index.to_bytes(4)).digest() for index in range(size)]


def flip(digest, bit):
    return bytes([digest[0] ^ 1 << bit]) + digest[1:]


def test_roots_are_those_of_certificate_transparency():
    leaves = [hashlib.sha256(b"\0" + bytes.fromhex(data)).digest() for data in CT_LEAVES]

    assert [merkle.root(leaves[: size + 1]).hex() for size in range(8)] == CT_ROOTS
    assert merkle.root([]) == merkle.EMPTY_ROOT


@settings(deadline=None)
@given(sizes, st.data())
def test_an_inclusion_proof_proves_its_leaf_and_nothing_else(size, data):
    leaves, index = leaves_of(size), data.draw(st.integers(0, size - 1))
    other = data.draw(st.integers(0, 2 * size))
    subtree = merkle.of_leaves(leaves)
    root, path = merkle.root(leaves), merkle.inclusion(index, size, subtree)

    assert merkle.includes(leaves[index], index, size, path, root)
    assert not merkle.includes(flip(leaves[index], 3), index, size, path, root)
    assert not merkle.includes(leaves[index], index, size, path, flip(root, 1))
    assert not merkle.includes(leaves[index], index, size, [*path, root], root)
    assert other == index or not merkle.includes(leaves[index], other, size, path, root)
    for place in range(len(path)):
        assert not merkle.includes(leaves[index], index, size, path[:place] + path[place + 1 :], root)
        changed = [*path[:place], flip(path[place], 0), *path[place + 1 :]]
        assert not merkle.includes(leaves[index], index, size, changed, root)


@settings(deadline=None)
@given(sizes, st.data())
def test_a_consistency_proof_proves_an_extension_and_nothing_else(new, data):
    leaves, old = leaves_of(new), data.draw(st.integers(0, new))
    subtree = merkle.of_leaves(leaves)
    before, after, path = merkle.root(leaves[:old]), merkle.root(leaves), merkle.consistency(old, new, subtree)

    assert merkle.root_at(old, subtree) == before
    assert merkle.extends(old, before, new, after, path)
    assert not merkle.extends(old, flip(before, 2), new, after, path)
    assert not merkle.extends(old, before, new, after, [*path, after])
    if old:
        assert not merkle.extends(old, before, new, flip(after, 2), path)
    for place in range(len(path)):
        assert not merkle.extends(old, before, new, after, path[:place] + path[place + 1 :])
        changed = [*path[:place], flip(path[place], 0), *path[place + 1 :]]
        assert not merkle.extends(old, before, new, after, changed)


@settings(deadline=None)
@given(st.integers(0, 300), st.integers(1, 3))
def test_stored_subtrees_give_the_same_tree_without_reading_every_leaf(size, lowest):
    leaves, rows, reads = leaves_of(size), {}, []
    for count in range(1, size + 1):
        for level, index in merkle.completed(count, lowest):
            rows[level, index] = merkle.root(leaves[index << level : (index + 1) << level])

    def read(start, end):
        reads.append(end - start)
        return leaves[start:end]

    subtree = merkle.stored(read, lambda level, index: rows.get((level, index)), lowest)

    assert merkle.root_at(size, subtree) == merkle.root(leaves)
    assert sum(reads) < 1 << lowest
    grown = merkle.frontier_at(size, subtree)
    grown.append(b"x" * 32)
    assert grown.root() == merkle.root([*leaves, b"x" * 32])
    if size:
        path = merkle.inclusion(size // 2, size, merkle.stored(read, lambda *_: None, lowest))
        assert path == merkle.inclusion(size // 2, size, subtree)
        assert merkle.includes(leaves[size // 2], size // 2, size, path, merkle.root(leaves))


def test_a_proof_outside_the_tree_is_refused():
    subtree = merkle.of_leaves(leaves_of(3))
    with pytest.raises(ValueError, match="leaf 3"):
        merkle.inclusion(3, 3, subtree)
    with pytest.raises(ValueError, match="extend"):
        merkle.consistency(4, 3, subtree)
    with pytest.raises(ValueError, match="complete subtrees"):
        merkle.Frontier(3, [])


def test_the_specification_s_own_signature_verifies():
    key = note.parse_vkey(GO_VKEY)

    assert note.format_vkey(key) == GO_VKEY
    assert note.read(GO_NOTE.encode(), [key]) == GO_NOTE.rpartition("\n\n")[0] + "\n"


@settings(deadline=None)
@given(st.integers(0, 2**60), st.binary(min_size=32, max_size=32))
def test_a_checkpoint_reads_back_from_its_note(size, root):
    checkpoint = note.Checkpoint(ORIGIN, size, root)

    assert note.read_checkpoint(note.sign_checkpoint(checkpoint, KEY), [VERIFIER]) == checkpoint
    assert note.parse_vkey(note.format_vkey(VERIFIER)) == VERIFIER


@settings(deadline=None)
@given(st.data())
def test_any_bit_changed_in_a_note_is_refused(data):
    signed = bytearray(note.sign_checkpoint(note.Checkpoint(ORIGIN, 7, bytes(32)), KEY))
    signed[data.draw(st.integers(0, len(signed) - 1))] ^= 1 << data.draw(st.integers(0, 7))

    with pytest.raises((note.NoteRefused, note.CheckpointRefused)):
        note.read_checkpoint(bytes(signed), [VERIFIER])


def test_a_note_may_carry_signatures_of_unknown_keys():
    signed = note.sign_checkpoint(note.Checkpoint(ORIGIN, 7, bytes(32)), KEY)
    other = Ed25519PrivateKey.from_private_bytes(bytes(32))
    both = signed + note.sign("x\n", "witness.example", other).rpartition(b"\n\n")[2]

    assert note.read_checkpoint(both, [VERIFIER]).size == 7
    with pytest.raises(note.NoteRefused):
        note.read_checkpoint(both, [note.verifier("witness.example", other)])
    with pytest.raises(note.NoteRefused):
        note.read_checkpoint(signed, [])


def test_a_checkpoint_is_signed_by_its_own_origin():
    foreign = note.sign(note.format_checkpoint(note.Checkpoint(ORIGIN, 7, bytes(32))), "other.example", KEY)

    with pytest.raises(note.NoteRefused):
        note.read_checkpoint(foreign, [VERIFIER, note.verifier("other.example", KEY)])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a\n1\n",
        "a\n01\nAA==\n",
        "\n1\n" + "A" * 43 + "=\n",
        "a\n1\n" + "A" * 43 + "=\n\n",
        "a\n-1\n" + "A" * 43 + "=\n",
    ],
    ids=repr,
)
def test_a_text_that_is_no_checkpoint_is_refused(text):
    with pytest.raises(note.CheckpointRefused):
        note.parse_checkpoint(text)


@pytest.mark.parametrize(
    "text", ["", "a+b+c", GO_VKEY.replace("c74f", "c74e"), GO_VKEY.replace("+AR", "+Ah"), " +" + GO_VKEY], ids=repr
)
def test_a_text_that_is_no_key_is_refused(text):
    with pytest.raises(note.NoteRefused):
        note.parse_vkey(text)


def test_a_name_or_text_that_notes_cannot_carry_is_never_signed():
    with pytest.raises(note.NoteRefused):
        note.sign("text\n", "two words", KEY)
    with pytest.raises(note.NoteRefused):
        note.sign("no end", "name", KEY)
    with pytest.raises(note.NoteRefused):
        note.sign("tab\t\n", "name", KEY)
    with pytest.raises(note.CheckpointRefused):
        note.format_checkpoint(note.Checkpoint("two\nlines", 1, bytes(32)))


def test_a_proof_has_the_specification_s_text():
    hashes = leaves_of(2)
    lines = [note.encode_base64(digest) for digest in hashes]
    text = f"c2sp.org/tlog-proof@v1\nindex 5\n{lines[0]}\n{lines[1]}\n\ncheckpoint\n"

    assert proof.write(proof.Proof(5, hashes, b"checkpoint\n")) == text
    assert proof.parse(text) == proof.Proof(5, hashes, b"checkpoint\n")
    assert proof.parse(text.replace("\nindex", "\nextra AAAA\nindex")).position == 5


@settings(deadline=None)
@given(st.integers(1, 40), st.data())
def test_a_proof_reads_back_and_leads_to_its_checkpoint(size, data):
    leaves, index = leaves_of(size), data.draw(st.integers(0, size - 1))
    signed = note.sign_checkpoint(note.Checkpoint(ORIGIN, size, merkle.root(leaves)), KEY)
    written = proof.write(proof.Proof(index, merkle.inclusion(index, size, merkle.of_leaves(leaves)), signed))

    assert proof.write(proof.parse(written)) == written
    assert proof.verify(proof.parse(written), leaves[index], [VERIFIER]).size == size
    other = data.draw(st.integers(0, size - 1))
    assume(other != index)
    with pytest.raises(proof.NotIncluded):
        proof.verify(proof.parse(written), leaves[other], [VERIFIER])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "c2sp.org/tlog-proof@v1\n\nx",
        "c2sp.org/tlog-proof@v2\nindex 0\n\nx",
        "c2sp.org/tlog-proof@v1\nindex 00\n\nx",
        "c2sp.org/tlog-proof@v1\nindex 0\nAAAA\n\nx",
        "c2sp.org/tlog-proof@v1\nindex 0\nx\n",
    ],
    ids=repr,
)
def test_a_text_that_is_no_proof_is_refused(text):
    with pytest.raises(proof.ProofRefused):
        proof.parse(text)
