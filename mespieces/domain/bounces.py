"""Bounces: what a mail server says, after it took a mail, of not having delivered it (RFC 3464).

Anybody may write such a notice. It is believed only where it cites the Message-ID of a mail of ours, which holds 128
random bits: who knows it saw that mail. The addresses it names are never read.
"""

import email
import email.policy
import re
from dataclasses import dataclass
from email.errors import MessageError
from email.message import Message as Parsed

from mespieces.domain import outbox, text
from mespieces.errors import Invalid, NotFound
from mespieces.gateways import Gateways
from mespieces.models import Message

MOST_BYTES = 2**20
"""The longest notice that is read: servers return headers, or a mail that is short itself."""

_ID = re.compile(r"<([0-9a-f]{32}@[^<>\s]{1,255})>")
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
_BLANKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")
_MOST_PARTS = 50
# What the standard library's parser raises on what it cannot take apart; a header may also be no text at all.
_UNREADABLE = (MessageError, ValueError, LookupError, TypeError, AttributeError, RecursionError)


class NoNotice(Invalid):
    """Not a delivery status notification."""

    message = "Ce courriel n’est pas un avis de non-remise (RFC 3464) : rien n’est changé."


class MailUnknown(NotFound):
    """A notice about a mail that this product did not send, or forgot since."""

    message = "Cet avis ne cite aucun courriel envoyé par ce service : rien n’est changé."


@dataclass(frozen=True, slots=True)
class Notice:
    """What a notice says: the Message-ID it cites, whether the mail will never arrive, and the server's words."""

    message_id: str
    failed: bool
    reason: str


def receive(gateways: Gateways, raw: bytes) -> bool:
    """Take a notice into account as if the mail had been refused at once; False when it announces no failure.

    1. Read the notice: bounded, and malformed is a refusal, never a fault.
    2. Find the mail by the Message-ID cited, and by nothing else.
    3. Act only on a failure: what is delayed may still arrive.

    Raises `NoNotice`, `MailUnknown`.
    """
    notice = read(raw)  # (1)
    message = Message.get_or_none(Message.message_id == notice.message_id)  # (2)
    if message is None:
        raise MailUnknown
    if not notice.failed:  # (3)
        return False
    outbox.refuse(gateways, message, notice.reason, left=True)
    return True


def read(raw: bytes) -> Notice:
    """Return what a delivery status notification says. Raises `NoNotice`."""
    if len(raw) > MOST_BYTES:
        raise NoNotice
    try:
        return _read(email.message_from_bytes(raw, policy=email.policy.compat32))
    except _UNREADABLE as error:
        raise NoNotice from error


def _read(parsed: Parsed) -> Notice:
    report = str(parsed.get_param("report-type", "")).lower()
    if parsed.get_content_type() != "multipart/report" or report != "delivery-status":
        raise NoNotice
    parts = parsed.get_payload()
    if not isinstance(parts, list):
        raise NoNotice
    fields, cited = [], ""
    for part in parts[:_MOST_PARTS]:
        if not isinstance(part, Parsed):
            continue
        if part.get_content_type() == "message/delivery-status":
            fields += _blocks(part)[:_MOST_PARTS]
        else:
            cited = cited or _cited(part)
    actions = {_line(block, "Action").lower(): block for block in reversed(fields)}
    if not cited or not any(actions):
        raise NoNotice
    failed = actions.get("failed")
    return Notice(cited, failed is not None, _reason(failed) if failed is not None else "")


def _blocks(part: Parsed) -> list[Parsed]:
    """Return the groups of fields: one for the notice, then one for each address (RFC 3464, 2.1)."""
    payload = part.get_payload()
    return [block for block in payload if isinstance(block, Parsed)] if isinstance(payload, list) else []


def _cited(part: Parsed) -> str:
    """Return the Message-ID of the mail that is returned, whole or as its headers alone."""
    returned = _blocks(part) if part.get_content_maintype() == "message" else []
    if returned:
        found = _line(returned[0], "Message-ID")
    elif part.get_content_type() == "text/rfc822-headers":
        decoded = part.get_payload(decode=True)
        headers = decoded if isinstance(decoded, bytes) else b""
        found = _line(email.message_from_bytes(headers, policy=email.policy.compat32), "Message-ID")
    else:
        return ""
    match = _ID.fullmatch(found)
    return match[1] if match else ""


def _reason(block: Parsed) -> str:
    """Return the server's words, « 550 5.1.1 No such user », or at least its status (RFC 3463)."""
    kind, _, words = _line(block, "Diagnostic-Code").partition(";")
    words = words.strip() or kind.strip()
    status = _STATUS.match(_line(block, "Status"))
    if status and status[0] not in words:
        words = f"{status[0]} {words}"
    return words.strip()[:200] or "sans explication"


def _line(fields: Parsed, name: str) -> str:
    """Return a field on one line."""
    return _BLANKS.sub(" ", text.storable(str(fields.get(name, "")))).strip()
