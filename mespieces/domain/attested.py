"""What an attestation says: the facts of a deposit, or of one recipient's consultations, read from one unchanging state.

Everything here reads inside the caller's `journal.snapshot()`, and writes nothing.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from mespieces.domain import (
    accesses,
    codes,
    deposits,
    documents,
    evidence,
    filings,
    french,
    journal,
    opened,
    recipients,
    significations,
)
from mespieces.models import Access, Deposit, Document, Recipient


class Attested(NamedTuple):
    """What an attestation shows, and the records (journal, sequence) it rests on."""

    facts: dict[str, Any]
    cited: list[tuple[str, int]]
    lost: int = 0
    """Records it rests on that were purged, and cannot be told from others any more."""


def deposit_facts(deposit: Deposit, *, by: journal.Author, now: datetime) -> Attested:
    """Return what `deposit_attestation.typ` shows of a filed deposit: its filing and its documents' deposits are cited.

    Raises `JournalDisagrees`.
    """
    filing = filings.read(deposit)
    deposit, listed = filing.deposit, filing.documents
    cited = [one for one in (*filing.deposited, filing.record) if one.body]
    author = _author(filing)
    facts = common(filing, by=by, now=now) | {
        "title": "Attestation de dépôt",
        "reference": f"dossier {deposit.office_reference}",
        "office_address": ", ".join(deposit.office.address.splitlines()),
        "filed_by": author,
        "record": {
            "log": filing.record.log,
            "sequence": french.number(filing.record.sequence),
            "hash": grouped(filing.record.hash),
        },
        "state": deposits.state(deposit, now).value,
        "available_until": french.last_day(deposit.expires_at),
        "motive": deposit.withdrawn_because or "",
        "deleted": _deletion(listed),
        "replaces": _replaced(deposit),
        "total": f"{pieces(len(listed))}, {_pages(sum(document.pages for document in listed))}",
        "documents": [document_line(document) for document in listed],
        "recipients": _recipients(deposit),
    }
    return Attested(facts, [(one.log, one.sequence) for one in cited], 1 + len(listed) - len(cited))


def consultation_facts(recipient: Recipient, *, by: journal.Author, now: datetime) -> Attested:
    """Return what `consultation_attestation.typ` shows of what a recipient opened, in all their sessions, and did not.

    The consultations listed one by one are cited. Raises `JournalDisagrees`.
    """
    filing, access = filings.read(recipient.deposit), accesses.of(recipient)
    listed, openings = filing.documents, opened.of(recipient)
    how = opened.outcomes(recipient, openings)
    first = {opening.document: opening for opening in reversed(openings)}
    shown = opened.listed(openings, first.values())
    numbers, log = filing.numbers(), journal.head().log
    base = None if shown else opened.entered(recipient)  # what a record of nothing rests on: that they could
    facts = common(filing, by=by, now=now) | {
        "title": "Attestation de consultation",
        "reference": f"accès {codes.show(access.reference)}" if access.reference else "référence d’accès effacée",
        "access": codes.show(access.reference) if access.reference else "effacé",
        "recipient": recipient.name,
        "named": sorted({one.name for one in openings} - {"", recipient.name}),
        "representative": recipient.representative,
        "ways": _ways(openings, access, by),
        "count": f"{pieces(len(first))} sur {french.number(len(listed))}",
        "opened": [
            document_line(document) | {"first": moment(first[document.id].opened_at), "how": how.get(document.id, [])}
            for document in listed
            if document.id in first
        ],
        "unopened": [document_line(document) for document in listed if document.id not in first],
        "records": [opening_line(opening, numbers, log) for opening in shown],
        "unlisted": unlisted(len(openings) - len(shown)),
        "silent": opened.untold(opened.silent(recipient.deposit_id)),
        "base": [record_line(base, "Destinataire inscrit au dépôt", log)] if base else [],
    }
    return Attested(facts, [(one.log, one.sequence) for one in (shown or filter(None, [base]))])


def moment(instant: datetime) -> dict[str, str]:
    """Return an instant for people, Paris time, and to the second in UTC."""
    return {
        "paris": french.instant(instant),
        "short": french.instant(instant).removesuffix(" (heure de Paris)"),
        "utc": instant.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
    }


def common(filing: filings.Filing, *, by: journal.Author, now: datetime) -> dict[str, Any]:
    """Return what every attestation of a deposit shows, but for the journal it rests on."""
    deposit = filing.deposit
    return {
        "description": "Article 1411 du code de procédure civile, arrêté du 24 février 2022",
        "office": deposit.office.name,
        "creditor": deposit.creditor,
        "court": deposit.court,
        "order_number": deposit.order_number,
        "order_date": french.day(deposit.order_date),
        "office_reference": deposit.office_reference,
        "filed": moment(deposit.filed_at),
        "withdrawn": moment(deposit.withdrawn_at) if deposit.withdrawn_at else None,
        "erased": bool(deposit.purged_at),
        "issued": moment(now),
        "issued_at": french.instant(now),
        "issued_for": _who(by.kind, by.name),
    }


def _author(filing: filings.Filing) -> str:
    """Return who filed, as the journal names them unless it forgot."""
    if filing.record.body is None:
        return _who("member", str(filing.deposit.filed_by or ""))
    author = filing.record.body["author"]
    return _who(author["kind"], author["name"])


def unlisted(count: int) -> str:
    """Return how many consultations are counted only, in words."""
    if not count:
        return ""
    if count == 1:
        return "une autre consultation est inscrite au journal sans être détaillée ici"
    return f"{french.number(count)} autres consultations sont inscrites au journal sans être détaillées ici"


def opening_line(opening: opened.Opening, numbers: Mapping[UUID, int], log: str) -> dict[str, object]:
    """Return a consultation as a table lists it. Raises `JournalDisagrees` when its document was not filed."""
    if opening.document not in numbers:
        raise evidence.disagreement(opening.log, opening.sequence, "its document is not among those filed")
    way = opened.SHORT_WAYS.get(opening.way, opening.way)
    return {
        "sequence": french.number(opening.sequence),
        "number": numbers[opening.document],
        "opened": moment(opening.opened_at),
        "way": way if opening.log == log else f"{way} · ancien journal {opening.log}",
        "hash": grouped(opening.hash),
    }


def record_line(told: evidence.Told, what: str, log: str) -> dict[str, object]:
    """Return a record as a table lists it, when the open journal is `log`."""
    return {
        "sequence": french.number(told.sequence),
        "what": what if told.log == log else f"{what} · ancien journal {told.log}",
        "time": moment(told.time),
        "hash": grouped(told.hash),
    }


def _ways(openings: Sequence[opened.Opening], access: Access, by: journal.Author) -> list[str]:
    """Return how the recipient was identified for what they opened, or to ask for this attestation."""
    said = list(dict.fromkeys(opening.said for opening in openings))
    if not said and by.kind == "recipient" and by.identified:
        said = [opened.WAYS[by.identified["way"]]]
    if access.first_identified_at:
        said.append(f"première identification le {french.instant(access.first_identified_at)}")
    return said


def _recipients(deposit: Deposit) -> list[dict[str, str]]:
    references, served = accesses.by_deposit(deposit), significations.latest(deposit)
    told = []
    for recipient in recipients.listed(deposit):
        act, access = served.get(recipient.id), references.get(recipient.id)
        later = recipient.added_at > deposit.filed_at
        about = (
            f"représentant\u00a0: {recipient.representative}" if recipient.representative else "",
            f"ajouté le {french.instant(recipient.added_at)}" if later else "",
        )
        told.append({
            "name": recipient.name,
            "about": " · ".join(filter(None, about)),
            "reference": codes.show(access.reference) if access else "",
            "signified": french.day(act.signified_on) if act else "",
            "manner": significations.MANNERS.get(act.manner, "") if act else "",
        })  # fmt: skip
    return told


def document_line(document: Document) -> dict[str, object]:
    """Return a document as a table lists it."""
    nature = documents.NATURES.get(document.nature, "")
    dated = french.day(document.dated) if document.dated else ""
    about = (
        f"{nature} du {dated}" if nature and dated else nature or dated,
        _pages(document.pages),
        documents.size_in_words(document.size),
    )
    return {
        "number": document.number,
        "title": document.title,
        "about": " · ".join(filter(None, about)),
        "fingerprint": grouped(document.fingerprint),
    }


def _deletion(listed: Sequence[Document]) -> str:
    gone = [document.deleted_at for document in listed if document.deleted_at]
    if not gone:
        return ""
    if len(gone) < len(listed):
        return f"en cours\u00a0: {pieces(len(gone))} sur {french.number(len(listed))}"
    return f"toutes les pièces ont été supprimées, la dernière le {french.instant(max(gone))}"


def _replaced(deposit: Deposit) -> str:
    former = deposit.replaces
    return f"le dépôt {former.office_reference} du {french.instant(former.filed_at)}" if former else ""


def _who(kind: str, name: str) -> str:
    return {
        "recipient": f"{name} (destinataire)",
        "operator": "l’exploitant du service",
        "system": "le service",
    }.get(kind, name)


def pieces(count: int) -> str:
    """Return « 1 pièce », « 12 pièces »."""
    return french.counted(count, "pièce")


def _pages(count: int) -> str:
    return french.counted(count, "page")


def grouped(hexadecimal: str) -> str:
    """Return a hash in groups of eight, which people compare aloud."""
    return " ".join(hexadecimal[start : start + 8] for start in range(0, len(hexadecimal), 8))
