"""Consultations: a recipient opens, reads, downloads, and each is journaled before a byte leaves (art. 2, 4 and 6).

A consultation is one recipient's session and one document, opened by the first request for its content.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta

from peewee import fn

from mespieces import models
from mespieces.domain import anchors, deposits, documents, journal, notices, outbox, throttle
from mespieces.errors import Refused, Unavailable
from mespieces.gateways import Gateways, preview
from mespieces.gateways.storage import Missing
from mespieces.gateways.vault import Corrupted, KeyErased, Plaintext
from mespieces.models import Access, Consultation, Delivery, Deposit, Document, Session


class SessionOver(Refused):
    """The session ended while something was being asked."""

    message = "Votre session est terminée : identifiez-vous de nouveau pour continuer."


class DocumentCorrupted(Unavailable):
    """The stored bytes are no longer those deposited: nothing is served (art. 4)."""

    message = (
        "Ce document ne peut pas être affiché : son empreinte n’est plus celle relevée au dépôt. "
        "L’étude a été prévenue. Les autres pièces restent consultables."
    )
    heading = "Document retenu"
    advice = "Lisez les autres pièces depuis la liste. Pour celle-ci, appelez le numéro figurant sur l’acte."


@dataclass(slots=True)
class Reading:
    """A document being served: its verified bytes, and what to call with the count of bytes handed over."""

    document: Document
    plaintext: Plaintext
    consultation: Consultation

    def close(self) -> None:
        """Give the file back."""
        self.plaintext.close()


def readable(gateways: Gateways, session: Session) -> Deposit:
    """Return the deposit a session may read now. Raises `AvailabilityOver`, `DepositWithdrawn`."""
    return deposits.check(session.access.recipient.deposit, gateways.clock.now())


def open_document(
    gateways: Gateways, session: Session, number: int, mode: str, trace: journal.Trace, *, whole: bool = False
) -> Reading:
    """Open document `number` for a recipient, journaled before anything is returned. The reading must be closed.

    1. Refuse when the availability is over.
    2. Find the document through the recipient's own deposit.
    3. Recompute the fingerprint when the consultation opens, and for each `whole` file; a difference is journaled,
       told to the office, and nothing is served.
    4. Commit `document.consulted`; when that fails, so does the consultation.

    Raises `AvailabilityOver`, `DepositWithdrawn`, `DocumentMissing`, `DocumentCorrupted`, `SessionOver`.
    """
    deposit = readable(gateways, session)  # (1)
    document = documents.numbered(deposit, number)  # (2)
    known = Consultation.get_or_none(Consultation.session == session, Consultation.document == document)
    plaintext, recomputed = _verified(gateways, session, document, trace, recompute=whole or known is None)  # (3)
    try:
        if known is None:
            known = _journal_openings(gateways, session, [(document, recomputed)], mode, trace)[0]  # (4)
        else:  # recomputing took its time: the office may have withdrawn the deposit meanwhile
            deposits.check(Deposit.get_by_id(deposit.id), gateways.clock.now())
        _begin(gateways, known, mode)
    except BaseException:
        plaintext.close()
        raise
    return Reading(document, plaintext, known)


def page(
    gateways: Gateways, session: Session, number: int, page_number: int, trace: journal.Trace
) -> tuple[Reading, bytes]:
    """Open document `number` and return one of its pages as WebP. Raises as `open_document`, and `PageMissing`."""
    if not 1 <= page_number <= documents.numbered(readable(gateways, session), number).pages:
        raise preview.PageMissing  # before anything is journaled: nothing of it can be served
    reading = open_document(gateways, session, number, "page", trace)
    with _closed_on_error(reading):
        return reading, documents.page(gateways, reading.document, page_number)


def words(gateways: Gateways, session: Session, number: int, trace: journal.Trace) -> tuple[Reading, list[str]]:
    """Open document `number` and return the text of its pages. Raises as `open_document`."""
    reading = open_document(gateways, session, number, "text", trace)
    with _closed_on_error(reading):
        return reading, documents.words(gateways, reading.document)


def open_all(gateways: Gateways, session: Session, trace: journal.Trace) -> list[Reading]:
    """Open every document of the recipient's deposit, each journaled. Raises as `open_document`."""
    with ExitStack() as opened:
        verified = []
        for document in documents.listed(readable(gateways, session)):
            plaintext, recomputed = _verified(gateways, session, document, trace, recompute=True)
            opened.callback(plaintext.close)
            verified.append((document, plaintext, recomputed))
        # Only now that every document can be served, and all at once: a consultation that did not happen is not
        # journaled, and a withdrawal finds all of them open or none.
        fingerprints = [(document, recomputed) for document, _, recomputed in verified]
        consultations = _journal_openings(gateways, session, fingerprints, "bundle", trace) if verified else []
        for consultation in consultations:
            _begin(gateways, consultation, "bundle")
        opened.pop_all()
    return [
        Reading(document, plaintext, consultation)
        for (document, plaintext, _), consultation in zip(verified, consultations, strict=True)
    ]


def check_before_showing(gateways: Gateways, session: Session, number: int, trace: journal.Trace) -> Document:
    """Return document `number` once its fingerprint is right, serving and journaling nothing of it.

    For the page around a document's pages: it refuses in words where the images could only be missing, also where none can
    be journaled. Raises as `open_document`.
    """
    document = documents.numbered(readable(gateways, session), number)
    known = Consultation.get_or_none(Consultation.session == session, Consultation.document == document)
    if known is None:
        anchors.check_clock(gateways)
        journal.check_open()
    _verified(gateways, session, document, trace, recompute=known is None)[0].close()
    return document


def read_by_member(gateways: Gateways, document: Document, *, by: journal.Author) -> Plaintext:
    """Open a document for a member of its own office, journaled before anything is returned; a withdrawn one too.

    Raises `DocumentCorrupted`, `AvailabilityOver`.
    """
    end = document.deposit.expires_at
    if end and end <= gateways.clock.now():  # whether or not a worker has run
        raise deposits.AvailabilityOver
    plaintext, recomputed = _verified(gateways, None, document, by.trace, recompute=True)
    try:
        with models.write():
            detail = {"mode": "file", "recomputed": recomputed}
            journal.append(gateways, "document.consulted", author=by, document=document, detail=detail)
    except BaseException:
        plaintext.close()
        raise
    return plaintext


def corrupted_midway(gateways: Gateways, session: Session, reading: Reading, trace: journal.Trace) -> None:
    """Report bytes that could not be read while they were leaving: the response was cut there."""
    _report(gateways, session, reading.document, "unreadable", trace)


def finish(
    gateways: Gateways, session: Session, reading: Reading, mode: str, trace: journal.Trace, *, whole: bool, sent: int
) -> None:
    """Journal how a response ended: `delivered` when all its bytes were handed to the server, else `interrupted`.

    Called on a connection of its own when the response ends. Recorded once for each mode of a consultation; what was
    interrupted and later delivered is recorded as delivered too.
    """
    reading.close()
    outcome = "delivered" if whole else "interrupted"
    with models.write():
        delivery = models.locked(
            Delivery.select().where(Delivery.consultation == reading.consultation, Delivery.mode == mode)
        ).first()
        if delivery is None or delivery.outcome in {"delivered", outcome}:
            return
        Delivery.update(outcome=outcome).where(Delivery.id == delivery.id).execute()
        journal.append(
            gateways,
            f"document.{outcome}",
            author=journal.recipient(session, trace),
            document=reading.document,
            recipient=session.access.recipient,
            consultation=reading.consultation.id,
            detail={"mode": mode, "sent": sent},
        )


def sweep(gateways: Gateways, older_than: timedelta = timedelta(hours=2)) -> int:
    """Journal as interrupted the deliveries whose process died, and return how many."""
    before = gateways.clock.now() - older_than
    query = (
        Delivery.select(Delivery, Consultation, Document)
        .join(Consultation)
        .join(Document)
        .where(Delivery.outcome == "", Delivery.started_at < before)
        .limit(500)
    )
    done = 0
    for delivery in list(query):
        with models.write():
            if (
                not Delivery.update(outcome="interrupted")
                .where(Delivery.id == delivery.id, Delivery.outcome == "")
                .execute()
            ):
                continue
            journal.append(
                gateways,
                "document.interrupted",
                document=delivery.consultation.document,
                consultation=delivery.consultation.id,
                detail={"mode": delivery.mode},
            )
            done += 1
    return done


def history(deposit: Deposit) -> dict[object, tuple[object, int]]:
    """Return, for each recipient of the deposit, when they last opened a document and how many they opened."""
    query = (
        Consultation.select(
            Access.recipient, fn.MAX(Consultation.opened_at), fn.COUNT(fn.DISTINCT(Consultation.document))
        )
        .join(Session)
        .join(Access)
        .switch(Consultation)
        .join(Document)
        .where(Document.deposit == deposit)
        .group_by(Access.recipient)
        .tuples()
    )
    return {recipient: (Consultation.opened_at.python_value(last), count) for recipient, last, count in query}


def _verified(
    gateways: Gateways, session: Session | None, document: Document, trace: journal.Trace, *, recompute: bool
) -> tuple[Plaintext, str]:
    try:
        plaintext = documents.open_file(gateways, document)
    except KeyErased as error:
        raise deposits.AvailabilityOver from error
    except (Corrupted, Missing) as error:
        _report(gateways, session, document, "unreadable", trace)
        raise DocumentCorrupted from error
    if not recompute:
        return plaintext, document.fingerprint
    try:
        recomputed = gateways.vault.fingerprint(plaintext)
    except Corrupted:
        recomputed = "unreadable"
    except BaseException:
        plaintext.close()
        raise
    if recomputed != document.fingerprint:
        plaintext.close()
        _report(gateways, session, document, recomputed, trace)
        raise DocumentCorrupted
    return plaintext, recomputed


def _journal_openings(
    gateways: Gateways, session: Session, verified: list[tuple[Document, str]], mode: str, trace: journal.Trace
) -> list[Consultation]:
    """Journal that documents of one deposit are opened, each with its recomputed fingerprint: all of them or none.

    The deposit is locked first, as everything that changes a filed deposit does: a withdrawal comes wholly before,
    and nothing is opened, or wholly after. Then the session: ten pages asked for at once open one consultation.
    """
    anchors.check_clock(gateways)
    with models.write():
        deposit = models.locked(Deposit.select().where(Deposit.id == verified[0][0].deposit_id)).get()
        alive = models.locked(Session.select().where(Session.id == session.id)).first()
        if alive is None or alive.ended_at:
            raise SessionOver
        deposits.check(deposit, gateways.clock.now())
        if first := not _ever_opened(session):
            notices.announce_first_consultation(gateways, session.access.recipient)
        opened = [_opened(gateways, session, document, mode, recomputed, trace) for document, recomputed in verified]
    if first:
        gateways.bell.ring("mail")
    return opened


def _opened(
    gateways: Gateways, session: Session, document: Document, mode: str, recomputed: str, trace: journal.Trace
) -> Consultation:
    if known := Consultation.get_or_none(Consultation.session == session, Consultation.document == document):
        return known
    consultation = Consultation(session=session, document=document, opened_at=gateways.clock.now())
    consultation.sequence = journal.append(
        gateways,
        "document.consulted",
        author=journal.recipient(session, trace),
        document=document,
        recipient=session.access.recipient,
        consultation=consultation.id,
        detail={"mode": mode, "recomputed": recomputed},
    )
    consultation.log = journal.head().log
    consultation.save(force_insert=True)
    # In the same transaction: whatever dies from here on, the sweeper knows that an end is to be told.
    Delivery.create(consultation=consultation, mode=mode, started_at=consultation.opened_at)
    return consultation


def _ever_opened(session: Session) -> bool:
    """Tell whether the recipient of the session opened any document, in whatever session."""
    return Consultation.select().join(Session).where(Session.access == session.access_id).exists()


def _begin(gateways: Gateways, consultation: Consultation, mode: str) -> None:
    if Delivery.select().where(Delivery.consultation == consultation, Delivery.mode == mode).exists():
        return
    with models.write():
        Delivery.insert(
            consultation=consultation, mode=mode, started_at=gateways.clock.now()
        ).on_conflict_ignore().execute()


def _report(
    gateways: Gateways, session: Session | None, document: Document, recomputed: str, trace: journal.Trace
) -> None:
    """Journal the refusal once a session, and tell the office once a day, however often the page is asked for."""
    with models.write():
        now = gateways.clock.now()
        who = str(session.id) if session else "office"
        if throttle.fail(throttle.key("corrupted", str(document.id)), now) == 1:
            outbox.queue(gateways, "corruption", office=document.deposit.office, document=document)
        if throttle.fail(throttle.key("corrupted", str(document.id), who), now) == 1:
            journal.append(
                gateways,
                "document.corrupted",
                author=journal.recipient(session, trace) if session else journal.SYSTEM,
                document=document,
                recipient=session.access.recipient if session else None,
                detail={"recomputed": recomputed},
            )
    gateways.bell.ring("mail")


class _closed_on_error:  # noqa: N801 — a context manager reads as a verb
    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, *_: object) -> None:
        if kind:
            self._reading.close()
