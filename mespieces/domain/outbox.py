"""The outbox: mails to send are rows, so that none is lost; a mail may leave twice, never not at all."""

from collections.abc import Callable
from datetime import timedelta
from email.message import EmailMessage

from peewee import JOIN

from mespieces import models
from mespieces.errors import Refusal
from mespieces.gateways import Gateways
from mespieces.gateways.mail import MailDeferred
from mespieces.models import Document, Member, Message, Office, Recipient, SignIn

KINDS = frozenset({"code", "corruption", "failures", "way_changed"}) | {
    "invitation", "password_changed", "recovery_used", "totp_changed",
}  # fmt: skip
"""Every kind of mail; `notices.py` writes each."""

Compose = Callable[[Gateways, Message], EmailMessage | None]

FIRST_WAIT = timedelta(seconds=30)
LONGEST_WAIT = timedelta(hours=4)
GIVE_UP_AFTER = timedelta(days=3)
_CLAIM = timedelta(minutes=5)  # longer than any sending: a second drain leaves the row alone meanwhile


def queue(
    gateways: Gateways,
    kind: str,
    *,
    office: Office | None = None,
    recipient: Recipient | None = None,
    sign_in: SignIn | None = None,
    document: Document | None = None,
    member: Member | None = None,
    to: str = "",
) -> Message:
    """Have a mail of that kind sent, inside the caller's transaction; ring the bell for `mail` after it.

    `to` is an address that the recipient's row no longer holds.
    """
    if kind not in KINDS:
        raise ValueError(kind)
    now = gateways.clock.now()
    return Message.create(
        kind=kind,
        office=office,
        recipient=recipient,
        sign_in=sign_in,
        document=document,
        member=member,
        address=to,
        created_at=now,
        due_at=now,
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
    return int(Message.select().where(Message.sent_at.is_null(), Message.given_up_at.is_null()).count())


def _claim(gateways: Gateways) -> Message | None:
    """Take the mail longest due, so that no other drain sends it at the same time."""
    with models.write():
        now = gateways.clock.now()
        query = (
            Message.select()
            .where(Message.due_at <= now, Message.sent_at.is_null(), Message.given_up_at.is_null())
            .order_by(Message.due_at)
            .limit(1)
        )
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


def _send(gateways: Gateways, message: Message, compose: Compose) -> bool:
    now = gateways.clock.now()
    try:
        mail = compose(gateways, message)
        if mail is None:
            _mark(message, given_up_at=now, reason="sans objet")
            return False
        gateways.mail.send(mail)
    except MailDeferred as error:
        if now - message.created_at >= GIVE_UP_AFTER:
            _mark(message, given_up_at=now, reason=str(error)[:300])
        else:
            wait = min(FIRST_WAIT * 2 ** min(message.tries - 1, 12), LONGEST_WAIT)
            _mark(message, due_at=now + wait, reason=str(error)[:300])
        return False
    except Refusal as error:
        _mark(message, given_up_at=now, reason=str(error)[:300])
        return False
    _mark(message, sent_at=gateways.clock.now(), reason="")
    return True


def _mark(message: Message, **changed: object) -> None:
    with models.write():
        Message.update(**changed).where(Message.id == message.id).execute()
