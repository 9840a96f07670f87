"""Authenticity: whether a file that somebody holds is an attestation, or a receipt, of this journal (art. 2, 4 and 6).

What is said of a record comes from its receipt, never from the words of a page. Nothing of what is given is kept.
"""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from mespieces.domain import anchors, checkpoints, journal, receipts, tokens
from mespieces.errors import Invalid, TooLarge
from mespieces.gateways import Gateways, preview
from mespieces.models import JournalAttestation, JournalLog, JournalPayload, JournalRecord
from mespieces.verifier import attached, canonical, note, proof, receipt, record, timestamp

ISSUED = "attestation.issued"
LARGEST = 16 * 2**20  # bytes: the longest attestation carries 600 receipts


class State(StrEnum):
    """What was found."""

    VALID = "valid"
    ALTERED = "altered"
    """Something of it, or of the record it tells, is no longer what was signed; or a PDF not ours, with our receipts inside."""
    UNKNOWN = "unknown"
    """It is of no journal of this service, and neither is any receipt inside."""
    FORGOTTEN = "forgotten"
    """The journal forgot what the attestation's record said: whether these are its bytes, the receipts inside do not tell."""
    ABSENT = "absent"
    """Signed by this service, and its record is not in the journal: one of the two has been rewritten or lost."""


class NotAReceipt(Invalid):
    """Neither a PDF nor a receipt."""

    field = "receipt"
    message = (
        "Ce fichier n’est ni une attestation PDF, ni un reçu JSON de ce service : choisissez-le tel que vous l’avez "
        "téléchargé, sans l’ouvrir ni l’enregistrer de nouveau."
    )


class NothingGiven(Invalid):
    """No file, or an empty one."""

    field = "receipt"
    message = "Choisissez d’abord le fichier à vérifier ; celui-ci est vide, ou n’a pas été choisi."


class FileTooLarge(TooLarge):
    """No attestation is so large."""

    message = "Ce fichier dépasse 16 Mo : aucune attestation de ce service n’est si grande."
    advice = "Choisissez l’attestation (PDF) ou le reçu (JSON), tel que vous l’avez téléchargé."


class NothingDated(Invalid):
    """Nothing given can be completed: not authentic, or no third party has dated its records yet."""

    field = "receipt"
    message = (
        "Aucun reçu de ce fichier ne peut être complété aujourd’hui : aucun tiers n’a encore daté ces enregistrements, ou ce "
        "fichier n’est pas de ce service."
    )


@dataclass(frozen=True, slots=True)
class Proven:
    """One receipt, and what it tells when it is valid; `dated` is when it existed at the latest, None while no third party has dated it."""

    state: State
    entry: journal.Entry | None = None
    log: str = ""
    hash: str = ""
    size: int = 0
    fingerprint: str = ""
    deposit: UUID | None = None
    """Which deposit the record is about, None when it is about none."""
    dated: datetime | None = None
    authority: str = ""
    completable: bool = False
    """It is provisional, and a third party has dated its record since."""
    data: bytes = b""
    """The receipt itself."""
    unconfirmed: bool = False
    """It bears a date of which nothing is left here: neither a token over its checkpoint, nor a record that names one."""


@dataclass(frozen=True, slots=True)
class Examined:
    """What a file is: `issued` is the record of an attestation's making, `receipts` what it carries, or is.

    `changed`: a PDF that is none of ours byte for byte, and the receipts of ours that are inside.
    """

    state: State
    issued: journal.Entry | None
    receipts: Sequence[Proven]
    changed: bool = False


def examine(gateways: Gateways, data: bytes) -> Examined:
    """Say what `data` is to this journal. Raises `NothingGiven`, `NotAReceipt`, and the journal's own errors.

    A PDF is known by the SHA-256 of its bytes. One that is not known is read by a confined child, for its receipts alone;
    `TooBusy` while it reads somebody else's.
    """
    if not data:
        raise NothingGiven
    if b"%PDF-" not in data[:1024]:
        found = _proven(gateways, receipts.Press(gateways), data)
        return Examined(found.state, None, [found])
    issued, remembered = _issued(hashlib.sha256(data).hexdigest())
    if not remembered:
        return _stranger(gateways, data, issued)
    press = receipts.Press(gateways)
    return _ours(issued, [_proven(gateways, press, text) for text in attached.receipts(data).values()])


def completed(gateways: Gateways, given: Sequence[bytes]) -> list[receipts.Receipt]:
    """Return, dated, each authentic receipt that the files given are or carry, for who holds provisional ones.

    A receipt of a record that nobody has dated yet is left out. The holder learns nothing new of the record: what is given
    back is what they gave, under the first checkpoint that a third party dated. Raises as `examine`, and `NothingDated`.
    """
    if not any(given):
        raise NothingGiven
    made, press = [], receipts.Press(gateways)
    for text in (text for data in given for text in _carried(data)):
        found = _proven(gateways, press, text)
        if found.state is State.VALID and found.entry:
            made.append(receipts.completed(press, receipt.parse(text), found.log, found.entry.sequence))
    dated = [one for one in made if one is not None]
    if not dated:
        raise NothingDated
    return dated


def _carried(data: bytes) -> Sequence[bytes]:
    """Return the receipts that an attestation of ours carries, or the one that `data` is. Raises `NotAReceipt`."""
    if b"%PDF-" not in data[:1024]:
        return [data]
    issued, remembered = _issued(hashlib.sha256(data).hexdigest())
    if issued is None:
        raise NotAReceipt
    return list(attached.receipts(data).values()) if remembered else list(dict.fromkeys(preview.attached(data)))


def _ours(issued: journal.Entry | None, carried: Sequence[Proven]) -> Examined:
    states = {one.state for one in carried} - {State.VALID}
    return Examined(states.pop() if states else State.VALID, issued, carried)


def _stranger(gateways: Gateways, data: bytes, forgotten: journal.Entry | None) -> Examined:
    """Say what a PDF that the tables do not know is, by the receipts of ours inside: what it shows proves nothing.

    They lead to its own record, if it is ours all the same. The tables may lead it to a record whose words the journal has
    `forgotten`: they alone would say that it is ours.
    """
    press, ours = receipts.Press(gateways), []
    for text in dict.fromkeys(preview.attached(data)):
        with suppress(NotAReceipt):
            found = _proven(gateways, press, text)
            if found.state in {State.VALID, State.ABSENT}:
                ours.append(found)
    if issued := _issued_of([one.deposit for one in ours if one.deposit], hashlib.sha256(data).hexdigest()):
        return _ours(issued, ours)
    lost = any(one.state is State.ABSENT for one in ours)
    if forgotten and not lost:
        return Examined(State.FORGOTTEN, forgotten, ours)
    if not ours:
        return Examined(State.UNKNOWN, None, [])
    return Examined(State.ABSENT if lost else State.ALTERED, None, ours, changed=True)


def _issued(fingerprint: str) -> tuple[journal.Entry | None, bool]:
    """Return the record to which the table leads from a PDF's fingerprint, and whether it says that it is that PDF's.

    None where it says another, or where there is none; it says nothing any more once the journal forgot it.
    """
    row = JournalAttestation.get_or_none(JournalAttestation.fingerprint == fingerprint)
    line = next(journal.lines(row.log, row.sequence, row.sequence + 1), None) if row else None
    if line is None or line.operation != ISSUED:
        return None, False
    entry = journal.read_entry(line.sequence, line.time, line.operation, None)
    if line.proof is None:
        return entry, False
    says = _says(line.header, *line.proof, fingerprint)
    return (entry, True) if says else (None, False)


def _issued_of(deposits: Sequence[UUID], fingerprint: str) -> journal.Entry | None:
    """Return the record of an attestation's making among those of these deposits, whatever the tables beside say."""
    header, payload = JournalRecord, JournalPayload
    query = (
        header.select(header.sequence, header.time, header.header, payload.salt, payload.body)
        .join(payload, on=((payload.log == header.log) & (payload.sequence == header.sequence)))
        .where(
            payload.deposit.in_(set(deposits)), payload.group == "proof", payload.body.is_null(False),
            header.operation == ISSUED,
        )
        .tuples()
    )  # fmt: skip
    for sequence, time, written, salt, body in query.iterator():
        if _says(bytes(written), bytes(salt), bytes(body), fingerprint):
            return journal.read_entry(sequence, time, ISSUED, None)
    return None


def _says(header: bytes, salt: bytes, body: bytes, fingerprint: str) -> bool:
    """Tell whether a record's verified `proof` says that an attestation of these bytes was made."""
    told = canonical.read_object(body) if record.commits(header, salt, body) else None
    detail = told.get("detail") if told else None
    return isinstance(detail, dict) and detail.get("fingerprint") == fingerprint


def _proven(gateways: Gateways, press: receipts.Press, data: bytes) -> Proven:
    """Verify one receipt as its holder would, then compare it with the journal. Raises `NotAReceipt`."""
    try:
        read = receipt.parse(data)
    except receipt.ReceiptRefused as error:
        raise NotAReceipt from error
    logs = {row.log: row for row in JournalLog.select()}
    keys = [note.verifier(row.origin, gateways.journal_key) for row in logs.values()]
    header, facts, checkpoint, findings = receipt.verify(read, keys)
    if header is None or findings or checkpoint is None:
        elsewhere = header is not None and header.log not in logs
        return Proven(State.UNKNOWN if elsewhere else State.ALTERED)
    hashed = record.record_hash(read.header).hex()
    token, unconfirmed = None, False
    if read.timestamp is not None:
        signed = proof.parse(read.tlog_proof).checkpoint
        token = tokens.believed(header.log, checkpoint.size, signed, read.timestamp)
        # Where tokens are kept over it, those are the ones that were given; only a loss leaves something to be vouched for.
        if token is None and (anchors.over(header.log, [checkpoint.size]) or not _dates(signed, read.timestamp)):
            return Proven(State.ALTERED)
        token = token or _vouched(gateways, signed, read.timestamp)
        unconfirmed = token is None
    known = JournalRecord.select().where(
        JournalRecord.log == header.log, JournalRecord.sequence == header.sequence, JournalRecord.hash == hashed
    )
    agrees = known.exists() and _extends(logs[header.log], checkpoint)
    about = facts.get("object")
    what = about if isinstance(about, dict) else {}
    return Proven(
        State.VALID if agrees else State.ABSENT,
        journal.read_entry(header.sequence, header.time, header.operation, read.body),
        header.log,
        hashed,
        checkpoint.size,
        str(what.get("fingerprint", "")),
        _identifier(what.get("deposit")),
        token.latest if token else None,
        token.authority if token else "",
        agrees and token is None and receipts.completed(press, read, header.log, header.sequence) is not None,
        data,
        unconfirmed,
    )


def _identifier(named: object) -> UUID | None:
    with suppress(ValueError):
        return UUID(named) if isinstance(named, str) else None
    return None


def _extends(row: JournalLog, published: note.Checkpoint) -> bool:
    """Tell whether a journal still holds what was published of it; what a closed one lost at its end contradicts nothing kept."""
    if published.size > row.size:
        return row.closed_at is not None
    return checkpoints.contains(row.log, published)


def _vouched(gateways: Gateways, signed: bytes, der: bytes) -> timestamp.Stated | None:
    """Return what a token states of which nothing is left here, once a root trusted here vouches for it."""
    roots = [root for authority in gateways.authorities for root in authority.roots]
    with suppress(timestamp.TokenRefused):
        return timestamp.verify(signed, der, roots) if roots else None
    return None


def _dates(signed: bytes, der: bytes) -> bool:
    """Tell whether a token, whoever signed it, is one over this checkpoint."""
    with suppress(timestamp.TokenRefused):
        return bool(timestamp.read(signed, der))
    return False
