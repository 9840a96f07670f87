"""The outbox: mails to send are rows, so that none is lost; a mail may leave twice, never not at all.

A mail to a recipient that is refused for good is journaled, shown beside the recipient, and told to the office.
"""

import logging
from collections.abc import Callable
from datetime import timedelta
from email.message import EmailMessage
from typing import Any
from uuid import UUID

from peewee import JOIN

from mespieces import models
from mespieces.domain import journal, throttle
from mespieces.errors import Refusal, Unavailable
from mespieces.gateways import Gateways
from mespieces.gateways.mail import draw_id
from mespieces.models import Document, Member, Message, Office, Recipient, SignIn

log = logging.getLogger(__name__)

KINDS = frozenset({
    "code", "corruption", "dossier_offer", "failures", "first_consultation", "replaced", "undelivered", "way_changed", "withdrawn",
    "checkpoint", "invitation", "password_changed", "recovery_used", "totp_changed",
})  # fmt: skip
"""Every kind of mail; `notices.py` writes each."""

Compose = Callable[[Gateways, Message], EmailMessage | None]

FIRST_WAIT = timedelta(seconds=30)
LONGEST_WAIT = timedelta(hours=4)
GIVE_UP_AFTER = timedelta(days=3)
NOW = timedelta()
KEPT = timedelta(days=30)
"""How long the row of a mail is kept once it left or was given up: a server says within days that it could not deliver."""
_CLAIM = timedelta(minutes=5)  # longer than any sending: a second drain leaves the row alone meanwhile


def queue(
    gateways: Gateways,
    kind: str,
    *,
    office: Office | None = None,
    recipient: Recipient | None = None,
    sign_in: SignIn | None = None,
    document: Document | None = None,
    about: Message | None = None,
    member: Member | None = None,
    to: str = "",
    after: timedelta = NOW,
) -> Message:
    """Have a mail of that kind sent, inside the caller's transaction; ring the bell for `mail` after it.

    A mail with an `office` is for the office, one with a recipient alone for the recipient. `to` is an address that
    the recipient's row no longer holds; `after` is how long it waits first.
    """
    if kind not in KINDS:
        raise ValueError(kind)
    now = gateways.clock.now()
    return Message.create(
        kind=kind,
        message_id=draw_id(gateways.settings.host),
        office=office,
        recipient=recipient,
        sign_in=sign_in,
        document=document,
        about=about,
        member=member,
        address=to,
        created_at=now,
        due_at=now + after,
    )


def drain(gateways: Gateways, compose: Compose, *, most: int = 100) -> int:
    """Send the mails that are due, each written by `compose`, and return how many left.

    What fails is tried again later, and later still.
    """
    sent = 0
    for _ in range(most):
        message = _claim(gateways)
        if message is None:
            break
        sent += _send(gateways, message, compose)
    return sent


def waiting() -> int:
    """Return how many mails have neither left nor been given up."""
    return int(Message.select().where(_unsettled()).count())


def _unsettled() -> Any:
    return Message.sent_at.is_null() & Message.given_up_at.is_null() & Message.refused_at.is_null()


def _claim(gateways: Gateways) -> Message | None:
    """Take the mail longest due, so that no other drain sends it at the same time."""
    with models.write():
        now = gateways.clock.now()
        query = Message.select().where(Message.due_at <= now, _unsettled()).order_by(Message.due_at).limit(1)
        row = (query if models.is_sqlite() else query.for_update("FOR UPDATE SKIP LOCKED")).first()
        if row is None:
            return None
        Message.update(due_at=now + _CLAIM, tries=row.tries + 1).where(Message.id == row.id).execute()
    return (
        Message.select(Message, Office, Recipient, SignIn, Document)
        .join(Office, JOIN.LEFT_OUTER).switch(Message)
        .join(Recipient, JOIN.LEFT_OUTER).switch(Message)
        .join(SignIn, JOIN.LEFT_OUTER).switch(Message)
        .join(Document, JOIN.LEFT_OUTER)
        .where(Message.id == row.id)
        .get()
    )  # fmt: skip


def refuse(gateways: Gateways, message: Message, reason: str, *, left: bool = False) -> bool:
    """Remember that a mail was refused for good, and tell who should know; False when that was known already.

    `left` means that a server had taken it first. A mail to a recipient is journaled, shown beside the recipient and
    told to the office, once a day for each address; a mail to the office is only logged: telling it would never end.
    """
    with models.write():
        now = gateways.clock.now()
        row = models.locked(Message.select().where(Message.id == message.id)).first()
        if row is None or row.refused_at:
            return False
        row.reason, row.refused_at = reason[:300], now
        row.given_up_at = None if left else now
        row.save(only=[Message.reason, Message.refused_at, Message.given_up_at])
        if row.recipient_id is not None and row.office_id is None:
            _tell_refused(gateways, row)
    log.info("mail refused", extra={"facts": {"kind": row.kind, "message": str(row.id)}})
    gateways.bell.ring("mail")
    return True


def forget_refusal(recipient_id: UUID) -> None:
    """Show no refused mail beside the recipient any more, inside the caller's transaction."""
    shown = (Recipient.id == recipient_id) & Recipient.mail_refused_at.is_null(False)
    Recipient.update(mail_refused_at=None, mail_refused_because="").where(shown).execute()


def sweep(gateways: Gateways) -> int:
    """Forget mails that were settled long ago, and return how many."""
    before = gateways.clock.now() - KEPT
    with models.write():
        return int(Message.delete().where((Message.sent_at < before) | (Message.given_up_at < before)).execute())


def _send(gateways: Gateways, message: Message, compose: Compose) -> bool:
    try:
        mail = compose(gateways, message)
        if mail is None:
            _drop(gateways, message)
            return False
        address = mail["To"].addresses[0].addr_spec
        if address != message.address:  # committed first: a server may answer before this process does
            _mark(message, address=address)
        gateways.mail.send(mail)
    except Unavailable as error:
        _put_off(gateways, message, _words(error))
        return False
    except Refusal as error:
        refuse(gateways, message, _words(error))
        return False
    with models.write():
        sent = Message.update(sent_at=gateways.clock.now(), reason="").where(
            Message.id == message.id, Message.refused_at.is_null()
        )
        if sent.execute() and message.kind == "code":
            forget_refusal(message.recipient_id)
    return True


def _drop(gateways: Gateways, message: Message) -> None:
    """Give up a mail without an object any more; a code that the server put off until it expired never arrived."""
    sign_in = message.sign_in
    if message.reason and sign_in is not None and sign_in.closed_at is None and sign_in.email == message.address:
        refuse(gateways, message, message.reason)
    else:
        _mark(message, given_up_at=gateways.clock.now(), reason="sans objet")


def _put_off(gateways: Gateways, message: Message, reason: str) -> None:
    now = gateways.clock.now()
    if now - message.created_at >= GIVE_UP_AFTER:
        refuse(gateways, message, reason)
        return
    wait = min(FIRST_WAIT * 2 ** min(message.tries - 1, 12), LONGEST_WAIT)
    _mark(message, due_at=now + wait, reason=reason[:300])


def _tell_refused(gateways: Gateways, row: Message) -> None:
    recipient = Recipient.get_by_id(row.recipient_id)
    if row.kind == "code" and recipient.email in {"", row.address}:  # else the address was changed meanwhile
        refused = {"mail_refused_at": row.refused_at, "mail_refused_because": row.reason}
        Recipient.update(**refused).where(Recipient.id == recipient.id).execute()
    if throttle.fail(throttle.key("undelivered", str(recipient.id), row.address), row.refused_at) == 1:
        queue(gateways, "undelivered", office=recipient.deposit.office, recipient=recipient, about=row)
    detail = {"kind": "mail.refused", "mail": row.kind, "reason": row.reason}
    journal.append(gateways, "incident.recorded", recipient=recipient, detail=detail)


def _words(error: Refusal) -> str:
    """Return the server's own words where there are some."""
    return str(error.details.get("reason") or error)


def _mark(message: Message, **changed: object) -> None:
    with models.write():
        Message.update(**changed).where(Message.id == message.id).execute()
