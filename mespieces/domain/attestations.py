"""Attestations: what a deposit was, and what a recipient consulted, as a PDF handed to a person (art. 2, 4 and 6).

The SHA-256 of each PDF stands in its own `attestation.issued` record.
"""

import hashlib
from collections.abc import Callable
from datetime import datetime
from typing import Any

from mespieces import models
from mespieces.domain import attested, consultations, deposits, journal, throttle
from mespieces.errors import Refused, TooMany
from mespieces.gateways import Gateways, pdf
from mespieces.models import Deposit, Recipient, Session

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
        "Une nouvelle pourra être établie dans une heure."
    )
    heading = "Attestation déjà établie"
    advice = "Ouvrez une de celles que vous avez téléchargées, ou revenez plus tard."


def of_deposit(gateways: Gateways, deposit: Deposit, *, by: journal.Author) -> bytes:
    """Return the attestation of a filed deposit, whatever became of it since, journaled before it is returned.

    Raises `NothingFiled`, `JournalClosed`, `PressBusy`, `NotComposed`.
    """

    def facts(now: datetime) -> dict[str, Any]:
        return attested.deposit_facts(_filed(deposit), by=by, now=now)

    made = _compose(gateways, "deposit_attestation", facts)
    with models.write():
        _journal(gateways, "deposit", made, by=by, deposit=deposit)
    return made


def of_consultations(gateways: Gateways, recipient: Recipient, *, by: journal.Author) -> bytes:
    """Return, for the office, the attestation of what one of its recipients consulted. Raises as `of_deposit`."""
    made = _consultations(gateways, recipient, by=by)
    with models.write():
        _journal(gateways, "consultation", made, by=by, recipient=recipient)
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
        raise AskedTooOften(retry_after=int(throttle.HOUR.total_seconds()))
    made = _consultations(gateways, recipient, by=by)  # (2)
    with models.write():
        alive = models.locked(Session.select().where(Session.id == session.id)).first()  # (3)
        if alive is None or alive.ended_at:
            raise consultations.SessionOver
        now = gateways.clock.now()
        deposits.check(Deposit.get_by_id(recipient.deposit_id), now)
        throttle.fail(name, now, throttle.HOUR)
        _journal(gateways, "consultation", made, by=by, recipient=recipient)  # (4)
    return made


def _consultations(gateways: Gateways, recipient: Recipient, *, by: journal.Author) -> bytes:
    def facts(now: datetime) -> dict[str, Any]:
        current = Recipient.get_by_id(recipient.id)
        _filed(current.deposit)
        return attested.consultation_facts(current, by=by, now=now)

    return _compose(gateways, "consultation_attestation", facts)


def _filed(deposit: Deposit) -> Deposit:
    """Return the deposit as it stands now. Raises `NothingFiled`."""
    found = Deposit.get_by_id(deposit.id)
    if not found.filed_at:
        raise NothingFiled
    return found


def _compose(gateways: Gateways, template: str, read: Callable[[datetime], dict[str, Any]]) -> bytes:
    """Read the facts from one unchanging state, then typeset them outside any transaction."""
    with journal.snapshot():
        now = gateways.clock.now()
        facts = read(now)
    return pdf.compose_apart(template, facts, issued_at=now)


def _journal(
    gateways: Gateways,
    kind: str,
    made: bytes,
    *,
    by: journal.Author,
    deposit: Deposit | None = None,
    recipient: Recipient | None = None,
) -> None:
    detail = {"kind": kind, "fingerprint": hashlib.sha256(made).hexdigest()}
    journal.append(gateways, "attestation.issued", author=by, deposit=deposit, recipient=recipient, detail=detail)
