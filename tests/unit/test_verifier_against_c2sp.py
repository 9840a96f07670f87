"""Our notes, checkpoints and proofs compared with somebody else's C2SP: proofbundle, which shares nothing with ours."""

import json

import journal_maker as maker
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from proofbundle import checkpoint as their_note
from proofbundle import errors, tlogproof
from proofbundle import merkle as their_tree

from mespieces.verifier import merkle, note, proof, receipt, record

MOST = 40


@pytest.fixture(scope="module")
def journal():
    return maker.ordinary(count=MOST)


def they_read(data, vkey):
    """Return the checkpoint their program finds signed, None when it refuses."""
    try:
        found = their_note.verify_checkpoint(data.decode(), vkey)
    except (UnicodeDecodeError, errors.ProofBundleError):
        return None
    return note.Checkpoint(found["origin"], found["tree_size"], found["root"]) if found["ok"] else None


def we_read(data, vkey):
    try:
        return note.read_checkpoint(data, [note.parse_vkey(vkey)])
    except (note.NoteRefused, note.CheckpointRefused):
        return None


def they_prove(text, leaf, vkey):
    """Tell whether their program finds that the proof leads from the record's bytes to a checkpoint of that key."""
    try:
        return tlogproof.verify_tlog_proof(text.decode(), leaf, vkey)["ok"]
    except UnicodeDecodeError:
        return False


def we_prove(text, leaf, vkey):
    try:
        return bool(proof.verify(proof.parse(text.decode()), record.record_hash(leaf), [note.parse_vkey(vkey)]))
    except (UnicodeDecodeError, proof.ProofRefused, proof.NotIncluded, note.NoteRefused, note.CheckpointRefused):
        return False


def flips(data):
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


def test_two_implementations_write_the_same_key_and_sign_the_same_note(journal):
    assert their_note.vkey(journal.origin, journal.verifier.public) == journal.vkey
    for size in (0, 1, MOST, 2**53):
        root = merkle.root(journal.leaves[:size])
        ours = note.sign_checkpoint(note.Checkpoint(journal.origin, size, root), journal.key)
        theirs = their_note.sign_checkpoint(journal.origin, size, root, journal.key, journal.origin)
        assert ours.decode() == theirs
        assert (
            they_read(ours, journal.vkey) == we_read(ours, journal.vkey) == note.Checkpoint(journal.origin, size, root)
        )


def test_a_note_that_a_witness_also_signed_is_read_alike(journal):
    witness = Ed25519PrivateKey.from_private_bytes(bytes([9]) * 32)
    both = their_note.cosign_checkpoint(journal.notes[5].decode(), witness, "witness.example", 1_780_000_000).encode()

    assert both != journal.notes[5]
    assert they_read(both, journal.vkey) == we_read(both, journal.vkey) == we_read(journal.notes[5], journal.vkey)


def test_every_bit_changed_in_a_note_is_refused_by_both(journal):
    for changed in flips(journal.notes[5]):
        assert (they_read(changed, journal.vkey), we_read(changed, journal.vkey)) == (None, None), changed


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace("\n5\n", "\n05\n"),
        lambda text: text.replace("\n5\n", "\n-5\n"),
        lambda text: text.replace("\n\n", "\n"),
        lambda text: text.replace("\n\n", "\n\n\n"),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("— ", "- "),
        lambda text: text[:-1],
        lambda text: text + "\n",
        lambda text: text + "signed\n",
        lambda text: text.rpartition("\n\n")[0] + "\n\n",
        lambda text: "",
    ],
)
def test_a_note_out_of_form_is_refused_by_both(journal, spoil):
    spoiled = spoil(journal.notes[5].decode()).encode()

    assert (they_read(spoiled, journal.vkey), we_read(spoiled, journal.vkey)) == (None, None)


def test_a_note_of_another_key_is_refused_by_both(journal):
    other = maker.Journal(2).vkey

    assert (they_read(journal.notes[5], other), we_read(journal.notes[5], other)) == (None, None)


def test_two_implementations_write_the_same_proof_of_every_record(journal):
    headers = [header for header, _, _ in journal.records]
    for size in (1, 2, 3, 31, 32, 33, MOST):
        signed = journal.checkpoint(size)
        for index in range(size):
            path = merkle.inclusion(index, size, merkle.of_leaves(journal.leaves))
            assert path == their_tree.inclusion_proof(headers[:size], index)
            text = proof.write(proof.Proof(index, path, signed))
            assert text == tlogproof.format_tlog_proof(index, path, signed.decode())
            assert they_prove(text.encode(), headers[index], journal.vkey)
            assert not they_prove(text.encode(), headers[index - 1] + b" ", journal.vkey)
            read = tlogproof.parse_tlog_proof(text)
            assert proof.parse(text) == proof.Proof(read["index"], read["proof"], read["checkpoint"].encode())


def test_a_proof_with_an_extra_line_is_read_alike(journal):
    header = journal.records[3][0]
    text = tlogproof.format_tlog_proof(
        3, merkle.inclusion(3, 5, merkle.of_leaves(journal.leaves)), journal.notes[5].decode(), extra=b"of the log"
    ).encode()

    assert b"\nextra " in text
    assert they_prove(text, header, journal.vkey)
    assert we_prove(text, header, journal.vkey)


def test_every_bit_changed_in_a_proof_is_refused_by_both(journal):
    header, text = journal.records[3][0], journal.receipt(3, 5).tlog_proof.encode()
    assert they_prove(text, header, journal.vkey)
    assert we_prove(text, header, journal.vkey)
    for changed in flips(text):
        assert not they_prove(changed, header, journal.vkey), changed
        assert not we_prove(changed, header, journal.vkey), changed


def test_a_receipt_proves_its_record_to_their_program_with_nothing_but_the_key(journal):
    kept = json.loads(receipt.write(journal.receipt(7)))

    assert they_prove(kept["tlog_proof"].encode(), kept["header"].encode(), journal.vkey)


def test_two_implementations_prove_an_extension_by_the_same_hashes(journal):
    headers = [header for header, _, _ in journal.records]
    for new in range(1, MOST + 1):
        for old in range(1, new + 1):
            path = merkle.consistency(old, new, merkle.of_leaves(journal.leaves))
            before, after = merkle.root(journal.leaves[:old]), merkle.root(journal.leaves[:new])
            assert path == their_tree.consistency_proof(headers[:new], old)
            assert their_tree.verify_consistency(old, new, path, before, after)
            assert not their_tree.verify_consistency(old, new, path, bytes(32), after)
            assert not merkle.extends(old, bytes(32), new, after, path)
