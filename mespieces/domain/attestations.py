"""Attestations: what a deposit was, and what a recipient consulted, as a PDF handed to a person (art. 2, 4 and 6).

The SHA-256 of each PDF stands in its own `attestation.issued` record; the receipts of the records it cites are inside it,
as files (PDF/A-3).
"""

import hashlib
from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import Any

from mespieces import models
from mespieces.domain import (
    attested,
    checkpoints,
    consultations,
    deletions,
    deposits,
    french,
    journal,
    receipts,
    statements,
    throttle,
)
from mespieces.errors import Refused, TooMany
from mespieces.gateways import Gateways, pdf
from mespieces.models import Deposit, JournalAttestation, Recipient, Session

AN_HOUR = 20  # attestations one recipient may ask for in an hour: each makes a record that nothing ever removes


class NothingFiled(Refused):
    """A draft proves nothing yet."""

    message = (
        "L’attestation s’établit une fois le dépôt effectué. Déposez d’abord les pièces, puis demandez-la de nouveau."
    )


class AskedTooOften(TooMany):
    """A recipient asked for the same attestation again and again."""

    message = (
        "Vous avez déjà demandé cette attestation de nombreuses fois : celles que vous avez téléchargées restent valables. "
        "Une nouvelle pourra être établie plus tard."
    )
    heading = "Attestation déjà établie"
    advice = "Ouvrez une de celles que vous avez téléchargées, ou revenez plus tard."


def of_deposit(gateways: Gateways, deposit: Deposit, *, by: journal.Author) -> bytes:
    """Return the attestation of a filed deposit, whatever became of it since, journaled before it is returned.

    Raises `NothingFiled`, `JournalClosed`, `PressBusy`, `NotComposed`.
    """

    def facts(now: datetime) -> attested.Attested:
        return attested.deposit_facts(filed(deposit), by=by, now=now)

    made = compose(gateways, "deposit_attestation", facts)
    with models.write():
        record(gateways, "deposit", fingerprint(made), by=by, deposit=deposit)
    return made


def of_deletion(gateways: Gateways, deposit: Deposit, *, by: journal.Author) -> bytes:
    """Return the attestation that every document of a deposit was deleted, and when (art. 5).

    Raises `NothingDeleted`, `DeletionUnderWay`, and as `of_deposit`.
    """

    def facts(now: datetime) -> attested.Attested:
        return deletions.facts(filed(deposit), by=by, now=now)

    deletions.check(filed(deposit), gateways.clock.now())  # a refusal composes, publishes and journals nothing
    made = compose(gateways, "deletion_attestation", facts)
    with models.write():
        record(gateways, "deletion", fingerprint(made), by=by, deposit=deposit)
    return made


def of_statement(gateways: Gateways, deposit: Deposit, day: date, *, by: journal.Author) -> bytes:
    """Return, for the office, every consultation of a deposit that the journal knows up to the end of `day`.

    `day` is one that `statements.read_day` returned. It states, and does not prove, that nothing else happened. Raises as
    `of_deposit`.
    """

    def facts(now: datetime) -> attested.Attested:
        return statements.facts(filed(deposit), day, by=by, now=now)

    made = compose(gateways, "statement_attestation", facts)
    with models.write():
        record(gateways, "statement", fingerprint(made), by=by, deposit=deposit, until=day)
    return made


def of_consultations(gateways: Gateways, recipient: Recipient, *, by: journal.Author) -> bytes:
    """Return, for the office, the attestation of what one of its recipients consulted. Raises as `of_deposit`."""
    made = _consultations(gateways, recipient, by=by)
    with models.write():
        record(gateways, "consultation", fingerprint(made), by=by, recipient=recipient)
    return made


def of_own_consultations(gateways: Gateways, session: Session, trace: journal.Trace) -> bytes:
    """Return the attestation of what the recipient of `session` consulted, and nobody else.

    1. Refuse when the availability is over, as documents are, and who asks again and again.
    2. Compose, from one state of the tables and the journal.
    3. Refuse when the session or the availability ended meanwhile.
    4. Commit `attestation.issued`; when that fails, nothing is returned.

    Raises `AvailabilityOver`, `DepositWithdrawn`, `SessionOver`, `AskedTooOften`, and as `of_deposit`.
    """
    recipient, by = session.access.recipient, journal.recipient(session, trace)
    name, now = throttle.key("attestation", str(recipient.id)), gateways.clock.now()
    consultations.readable(gateways, session)  # (1)
    if throttle.count(name, now, throttle.HOUR) >= AN_HOUR:
        raise AskedTooOften(retry_after=throttle.resets(name, now, throttle.HOUR))
    made = _consultations(gateways, recipient, by=by)  # (2)
    with models.write():
        alive = models.locked(Session.select().where(Session.id == session.id)).first()  # (3)
        if alive is None or alive.ended_at:
            raise consultations.SessionOver
        now = gateways.clock.now()
        deposits.check(Deposit.get_by_id(recipient.deposit_id), now)
        throttle.fail(name, now, throttle.HOUR)
        record(gateways, "consultation", fingerprint(made), by=by, recipient=recipient)  # (4)
    return made


def _consultations(gateways: Gateways, recipient: Recipient, *, by: journal.Author) -> bytes:
    def facts(now: datetime) -> attested.Attested:
        current = Recipient.get_by_id(recipient.id)
        filed(current.deposit)
        return attested.consultation_facts(current, by=by, now=now)

    return compose(gateways, "consultation_attestation", facts)


def filed(deposit: Deposit) -> Deposit:
    """Return the deposit as it stands now. Raises `NothingFiled`."""
    found = Deposit.get_by_id(deposit.id)
    if not found.filed_at:
        raise NothingFiled
    return found


def compose(gateways: Gateways, template: str, read: Callable[[datetime], attested.Attested]) -> bytes:
    """Return an attestation that is in no journal yet: `record` it before it is handed over.

    Read the facts and their receipts from one unchanging state, then typeset them outside any transaction.

    A checkpoint is published first, so that every record cited stands under one.
    """
    checkpoints.publish(gateways)
    with journal.snapshot():
        now = gateways.clock.now()
        facts, cited, lost = read(now)
        carried = receipts.of(gateways, cited)
        head = checkpoints.head(gateways)
    where = {"awaited": bool(gateways.authorities), "audit": f"{gateways.settings.public_url.rstrip('/')}/audit"}
    shown = facts | _certainty(cited, carried, lost) | _rests_on(head) | where
    return pdf.compose_apart(template, shown, issued_at=now, attached={one.name: one.data for one in carried})


def _rests_on(head: checkpoints.Head) -> dict[str, Any]:
    size = french.counted(head.size, "enregistrement")
    return {"journal": {"log": head.log, "size": size, "root": attested.grouped(head.root)}}


def _certainty(cited: Sequence[tuple[str, int]], carried: Sequence[receipts.Receipt], lost: int) -> dict[str, Any]:
    """Return what an attestation says of its receipts, and of who dated them when a third party dated them all.

    A record without a receipt was purged, or stands at the undated end of a closed journal: it will never have one.
    """
    dates = [one.dated for one in carried if one.dated is not None]
    complete = bool(carried) and len(dates) == len(carried)
    ended = [log != journal.head().log for log, _ in cited]  # nobody dates a closed journal any more
    return {
        "receipts": len(carried),
        "missing": len(cited) + lost - len(carried),
        "closed": any(ended),
        "undatable": bool(ended) and all(ended),
        "provisional": not complete and bool(carried),
        "dated": attested.moment(max(dates)) if complete else None,
        "authorities": sorted({one.authority for one in carried}) if complete else [],
        "ahead": any(one.dated is not None and one.recorded > one.dated for one in carried),
    }


def record(
    gateways: Gateways,
    kind: str,
    fingerprint: str,
    *,
    by: journal.Author,
    deposit: Deposit | None = None,
    recipient: Recipient | None = None,
    until: date | None = None,
) -> None:
    """Journal what is about to be handed over by its SHA-256, inside the caller's transaction."""
    detail = {"kind": kind, "fingerprint": fingerprint}
    if until is not None:
        detail["until"] = until.isoformat()
    sequence = journal.append(
        gateways, "attestation.issued", author=by, deposit=deposit, recipient=recipient, detail=detail
    )
    row = {"fingerprint": fingerprint, "log": journal.head().log, "sequence": sequence}
    JournalAttestation.insert(row).on_conflict_ignore().execute()


def fingerprint(made: bytes) -> str:
    """Return the SHA-256 of what is handed over."""
    return hashlib.sha256(made).hexdigest()
