"""A proof that one record is in a journal: C2SP `tlog-proof` text, written, read and verified."""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mespieces.verifier import merkle, note
from mespieces.verifier.faults import Fault

_MAGIC = "c2sp.org/tlog-proof@v1"
_LONGEST_PATH = 64


class ProofRefused(Fault):
    """Text that is not a `tlog-proof`."""


class NotIncluded(Fault):
    """The proof's hashes do not lead from the record to the checkpoint's root."""


class Proof(NamedTuple):
    """Where a record stands, the hashes from its sibling up, and the signed checkpoint's exact bytes."""

    position: int
    path: Sequence[bytes]
    checkpoint: bytes


def write(proof: Proof) -> str:
    """Return the text of `proof`."""
    path = "".join(f"{note.encode_base64(digest)}\n" for digest in proof.path)
    return f"{_MAGIC}\nindex {proof.position}\n{path}\n{proof.checkpoint.decode()}"


def parse(text: str) -> Proof:
    """Read a proof's text; an `extra` line is skipped, since nothing authenticates it. Raises `ProofRefused`."""
    head, blank, checkpoint = text.partition("\n\n")
    lines = head.split("\n")
    if any("\ud800" <= letter <= "\udfff" for letter in checkpoint):  # JSON can write half a letter, and bytes cannot
        raise ProofRefused("the checkpoint is no text")
    if not blank or lines.pop(0) != _MAGIC:
        raise ProofRefused("this is not a tlog-proof")
    if lines and lines[0].startswith("extra "):
        lines.pop(0)
    index = re.fullmatch("index (0|[1-9][0-9]{0,18})", lines.pop(0)) if lines else None
    path = [note.decode_base64(line) for line in lines]
    if index is None or len(path) > _LONGEST_PATH:
        raise ProofRefused("the index or the path is malformed")
    hashes = [digest for digest in path if digest is not None and len(digest) == 32]
    if len(hashes) != len(path):
        raise ProofRefused("a line of the path is not a SHA-256 hash")
    return Proof(int(index[1]), hashes, checkpoint.encode())


def verify(proof: Proof, leaf: bytes, trusted: Iterable[note.Verifier]) -> note.Checkpoint:
    """Check that a trusted key's checkpoint covers `leaf` at the proof's index, and return that checkpoint.

    Steps of the `tlog-proof` specification: (1) the caller computes the leaf's hash, (2) the checkpoint is signed by
    its origin's key, (3) no witness is required, (4) the path leads from the leaf to the signed root.
    Raises `note.NoteRefused`, `note.CheckpointRefused`, `NotIncluded`.
    """
    checkpoint = note.read_checkpoint(proof.checkpoint, trusted)  # (2)
    if not merkle.includes(leaf, proof.position, checkpoint.size, proof.path, checkpoint.root):  # (4)
        raise NotIncluded(f"record {proof.position} is not in this tree of {checkpoint.size}")
    return checkpoint
