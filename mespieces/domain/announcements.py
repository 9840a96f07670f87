"""Announcements: those who had access to a deposit are told that it was withdrawn, then that another replaces it.

Whoever never received an access sheet had no access: a mail about documents they never heard of would be the first
they learn of the matter, before the act itself.
"""

from dataclasses import dataclass
from uuid import UUID

from mespieces.domain import outbox
from mespieces.gateways import Gateways
from mespieces.models import Access, Deposit, Message, Recipient

KINDS = ("withdrawn", "replaced")
"""The mails that announce, in the order they can be sent."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a recipient of a withdrawn deposit was told: the mails, none when they have no address or no sheet."""

    recipient: Recipient
    had_access: bool
    mails: tuple[Message, ...]


def tell(gateways: Gateways, deposit_id: UUID, kind: str) -> int:
    """Queue a mail to each recipient who had access and has an address, inside the caller's transaction.

    Return how many; ring the bell for `mail` after it.
    """
    addressed = (
        Recipient.select()
        .join(Access)
        .where(Recipient.deposit == deposit_id, Recipient.email != "", Access.issued_at.is_null(False))
        .order_by(Recipient.added_at, Recipient.id)
    )
    return len([outbox.queue(gateways, kind, recipient=recipient) for recipient in addressed])


def told(deposit: Deposit) -> list[Told]:
    """Return what each recipient of the deposit was told, in the order they were added."""
    mails: dict[UUID, list[Message]] = {}
    query = Message.select().join(Recipient).where(Recipient.deposit == deposit, Message.kind.in_(KINDS))
    for message in query.order_by(Message.created_at):
        mails.setdefault(message.recipient_id, []).append(message)
    accesses = Access.select().join(Recipient).where(Recipient.deposit == deposit, Access.issued_at.is_null(False))
    issued = {access.recipient_id for access in accesses}
    return [
        Told(recipient, recipient.id in issued, tuple(mails.get(recipient.id, ())))
        for recipient in deposit.recipients.order_by(Recipient.added_at, Recipient.id)
    ]
