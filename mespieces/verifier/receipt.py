"""A receipt: one record, proven to be in a journal without showing any other, verified away from everything."""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from cryptography import x509

from mespieces.verifier import canonical, note, proof, record, timestamp
from mespieces.verifier.faults import Fault
from mespieces.verifier.findings import Code, Finding


class ReceiptRefused(Fault):
    """Text that is not a receipt."""


class Receipt(NamedTuple):
    """What a receipt holds: the header's exact bytes, the proof payload, the proof of inclusion, a token or none."""

    header: bytes
    salt: bytes
    body: bytes
    tlog_proof: str
    timestamp: bytes | None


class Verdict(NamedTuple):
    """What a receipt proves: its facts, the checkpoint that carries it, and the findings that would void both."""

    header: record.Header | None
    facts: dict[str, canonical.Value]
    checkpoint: note.Checkpoint | None
    findings: Sequence[Finding]


def write(receipt: Receipt) -> bytes:
    """Return the receipt's JSON, in canonical form."""
    return canonical.encode(
        {
            "header": receipt.header.decode(),
            "proof": {"body": receipt.body.decode(), "salt": receipt.salt.hex()},
            "timestamp": None if receipt.timestamp is None else note.encode_base64(receipt.timestamp),
            "tlog_proof": receipt.tlog_proof,
        }
    )


def parse(data: bytes) -> Receipt:
    """Read a receipt's JSON, spaces tolerated and keys never repeated. Raises `ReceiptRefused`."""
    try:
        value = json.loads(data, object_pairs_hook=_members)
        encoded = value["timestamp"]
        token = None if encoded is None else note.decode_base64(encoded)
        payload = value["proof"]
        misshapen = (encoded is not None and token is None) or not _SALT(payload["salt"])
        if misshapen or value.keys() != _KEYS or payload.keys() != {"body", "salt"}:
            raise ReceiptRefused("a value of the receipt is not of its form")
        header, body, salt = value["header"].encode(), payload["body"].encode(), bytes.fromhex(payload["salt"])
        return Receipt(header, salt, body, str(value["tlog_proof"]), token)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ReceiptRefused(f"this is not a receipt: {error}") from error


def verify(receipt: Receipt, trusted: Iterable[note.Verifier]) -> Verdict:
    """Say what `receipt` proves to whoever trusts these keys; facts are given only when nothing was found.

    (1) the header is canonical; (2) the salt and body are those it commits to, and canonical; (3) the checkpoint is
    signed by the key of its origin, which is that of the header's journal; (4) the record's hash is in the tree at
    the header's own sequence. The time-stamp token is checked by `date`.
    """
    try:
        header = record.parse(receipt.header)  # (1)
    except record.HeaderNotCanonical:
        return Verdict(None, {}, None, [Finding(Code.HEADER_NOT_CANONICAL, 0)])
    facts, found = _facts(receipt, header)  # (2)
    checkpoint, code = _carried(receipt, header, trusted)  # (3) (4)
    if code:
        found.append(Finding(code, header.sequence, header.log))
    return Verdict(header, {} if found else facts, checkpoint, found)


def date(receipt: Receipt, roots: Sequence[x509.Certificate]) -> timestamp.Stated:
    """Return what the receipt's token states of the checkpoint that carries the record. Raises `TokenRefused`.

    The token's imprint is the SHA-256 of the note's exact bytes, which end the receipt's proof of inclusion.
    """
    if receipt.timestamp is None:
        raise timestamp.TokenRefused("ce reçu ne porte aucun jeton")
    try:
        signed = proof.parse(receipt.tlog_proof).checkpoint
    except proof.ProofRefused as error:
        raise timestamp.TokenRefused("ce reçu ne porte aucun point de contrôle") from error
    return timestamp.verify(signed, receipt.timestamp, roots)


def _facts(receipt: Receipt, header: record.Header) -> tuple[dict[str, canonical.Value], list[Finding]]:
    if len(receipt.salt) != 32 or record.commit("proof", receipt.salt, receipt.body) != header.proof:
        return {}, [Finding(Code.PAYLOAD_ALTERED, header.sequence, header.log, "proof")]
    try:
        return canonical.parse_object(receipt.body), []
    except canonical.NotCanonical:
        return {}, [Finding(Code.PAYLOAD_NOT_CANONICAL, header.sequence, header.log, "proof")]


def _carried(
    receipt: Receipt, header: record.Header, trusted: Iterable[note.Verifier]
) -> tuple[note.Checkpoint | None, Code | None]:
    try:
        inclusion = proof.parse(receipt.tlog_proof)
        checkpoint = proof.verify(inclusion, record.record_hash(receipt.header), trusted)
    except note.NoteRefused:
        return None, Code.BAD_SIGNATURE
    except (proof.ProofRefused, proof.NotIncluded, note.CheckpointRefused):
        return None, Code.CHECKPOINT_MISMATCH
    if inclusion.position != header.sequence or checkpoint.origin.rpartition("/")[2] != header.log:
        return None, Code.CHECKPOINT_MISMATCH
    return checkpoint, None


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ReceiptRefused("a key is repeated")
    return members


_SALT = re.compile("[0-9a-f]{64}").fullmatch
_KEYS = {"header", "proof", "timestamp", "tlog_proof"}
