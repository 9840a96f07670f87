"""Ways to receive a code: chosen by the recipient, bound once a first code is right, changed by the office."""

import base64
import os
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from mespieces import models
from mespieces.domain import (
    codes,
    deposits,
    journal,
    one_time_codes,
    outbox,
    sessions,
    sign_ins,
    text,
    totp,
)
from mespieces.errors import Invalid
from mespieces.gateways import Gateways
from mespieces.models import Access, CodeKey, Member, Recipient, SignIn

WAYS = ("email", "app", "office")
_WAIVERS = frozenset({"administrateur", "commissaire"})


class WayUnknown(Invalid):
    """Not a way to receive a code that is open to this recipient."""

    field = "channel"
    message = "Choisissez l’une des façons proposées."


class AddressNeeded(Invalid):
    """Codes are to go by mail, and nowhere."""

    field = "email"
    message = "Indiquez l’adresse où envoyer les codes."


class WaiverRefused(Invalid):
    """The second step may not be waived: by this member, or on this service."""

    field = "way"
    message = (
        "Seul un commissaire de justice ou un administrateur peut dispenser du second code, si l’exploitant du service "
        "le permet."
    )


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What an authenticator application needs: its key in base32 and as an otpauth address."""

    key: str
    uri: str


def open_to(gateways: Gateways, sign_in: SignIn) -> tuple[str, ...]:
    """Return the ways the recipient may choose among, none when one is bound already."""
    if sign_ins.way_bound(gateways, sign_in):
        return ()
    if required := sign_in.access.recipient.way_required:
        return (required,)
    return (*WAYS, "act") if gateways.settings.act_alone == "anyone" else WAYS


def choose(gateways: Gateways, token: str, way: str, email: str) -> SignIn:
    """Remember the way a recipient would like; it binds only once a first code is right, so that it can be corrected.

    Raises `WayUnknown`, `NotAnEmail`, `SignInOver`.
    """
    sign_in = sign_ins.find(gateways, token)
    if way not in open_to(gateways, sign_in):
        raise WayUnknown
    address = text.email(email) if way == "email" else ""
    key = gateways.vault.seal_secret(os.urandom(20), sign_ins.secret_name(sign_in)) if way == "app" else None
    with models.write():
        row = sign_ins.locked(gateways, sign_in)
        # Asking again never resets a count: tries and codes issued stay.
        SignIn.update(way=way, email=address, sealed_key=key, code_step=None, code_issued_at=None).where(
            SignIn.id == row.id
        ).execute()
    return sign_ins.find(gateways, token)


def enrolment(gateways: Gateways, sign_in: SignIn) -> Enrolment | None:
    """Return what the application needs while it is being enrolled, None otherwise."""
    if sign_in.way != "app" or sign_in.sealed_key is None:
        return None
    key = base64.b32encode(
        gateways.vault.open_secret(bytes(sign_in.sealed_key), sign_ins.secret_name(sign_in))
    ).decode()
    return Enrolment(key, otpauth(key, sign_in.access.reference))


def may_waive(gateways: Gateways, by: Member) -> bool:
    """Tell whether a member may let a recipient do without the second step."""
    return gateways.settings.act_alone != "refuse" and by.role in _WAIVERS


def reset(
    gateways: Gateways,
    recipient: Recipient,
    email: str,
    motive: str,
    way: str = "",
    *,
    by: Member,
    trace: journal.Trace,
) -> None:
    """Let the recipient choose a way again, or settle one: told to the former address, and what was open ends.

    Who is on the telephone keeps the sign-in in progress when the way becomes `office`: it proved the secret of the act,
    and waits from then on for a code of the office, its tries and codes counted on.

    `way` is empty when they choose (or codes go to `email`, if given), `email`, `app` (to be enrolled at the next
    access), `office`, or `act`: the second step is waived, by who may.

    Raises `Needed`, `NotAnEmail`, `AddressNeeded`, `WayUnknown`, `WaiverRefused`, `AlreadyEnded`, `AlreadyWithdrawn`.
    """
    if way not in {"", *WAYS, "act"}:
        raise WayUnknown
    if way == "act" and not may_waive(gateways, by):
        raise WaiverRefused
    address = text.email(email, needed=False) if way in {"", "email"} else ""
    if way == "email" and not address:
        raise AddressNeeded
    motive = text.line(motive, "motive")
    with models.write():
        _, row = settle(
            gateways,
            recipient,
            gateways.clock.now(),
            email=address,
            way="office" if way == "office" else "",
            required="app" if way == "app" else "",
            waived=motive if way == "act" else None,
        )
        before = "act" if row.second_step_waived_because is not None else row.way
        detail = {"from": before, "to": way or ("email" if address else ""), "email": bool(address), "motive": motive}
        operation = "recipient.second_step_waived" if way == "act" else "recipient.channel_reset"
        journal.append(gateways, operation, author=journal.member(by, trace), recipient=row, detail=detail)
    gateways.bell.ring("mail")


def settle(
    gateways: Gateways,
    recipient: Recipient,
    now: datetime,
    *,
    email: str = "",
    way: str = "",
    required: str = "",
    waived: str | None = None,
) -> tuple[Access, Recipient]:
    """Change, inside the caller's transaction, how a recipient receives codes; return the access and the row as it was.

    The former address is told, the former application stops, what was open ends. Raises `AlreadyEnded`,
    `AlreadyWithdrawn`.
    """
    # Deposit, access, recipient: the order of all who lock several, so that none waits for another in a ring.
    deposits.filed(recipient.deposit_id, now)
    access = models.locked(Access.select().where(Access.recipient == recipient)).get()
    row = models.locked(Recipient.select().where(Recipient.id == recipient.id)).get()
    if row.email and row.email != email:
        outbox.queue(gateways, "way_changed", recipient=row, to=row.email)
    Recipient.update(
        way=way,
        way_set_by="office" if way else "",
        way_required=required,
        email=email,
        email_set_by="office" if email else "",
        second_step_waived_because=waived,
    ).where(Recipient.id == row.id).execute()
    outbox.forget_refusal(row.id)
    CodeKey.delete().where(CodeKey.access == access, CodeKey.way == "app").execute()
    sessions.end_all(access, now)
    waits = {"way": way, "email": "", "sealed_key": None, "code_step": None, "code_issued_at": None}
    SignIn.update(**(waits if way == "office" else {"closed_at": now})).where(
        SignIn.access == access, SignIn.closed_at.is_null()
    ).execute()
    return access, row


def otpauth(key: str, reference: str) -> str:
    """Return the address by which an authenticator application is given a key, in base32."""
    label = quote(f"Mes Pièces:{codes.show(reference)}")
    return f"otpauth://totp/{label}?secret={key}&issuer={quote('Mes Pièces')}&digits=6&period={totp.STEP}"


def bind(gateways: Gateways, access: Access, row: SignIn, now: datetime, trace: journal.Trace) -> None:
    """Make the way that just worked the recipient's, until the office changes it."""
    recipient = access.recipient
    given = row.way == "email" and recipient.email_set_by == "office"
    set_by = "office" if given or recipient.way_required else "recipient"
    changed: dict[str, str] = {"way": row.way, "way_set_by": set_by}
    if row.way == "email" and set_by == "recipient":
        changed |= {"email": row.email, "email_set_by": "recipient"}
    Recipient.update(**changed).where(Recipient.id == recipient.id).execute()
    outbox.forget_refusal(recipient.id)
    if row.way == "app" and row.sealed_key:
        secret = gateways.vault.open_secret(bytes(row.sealed_key), sign_ins.secret_name(row))
        CodeKey.delete().where(CodeKey.access == access, CodeKey.way == "app").execute()
        key = CodeKey(access=access, way="app", last_step=row.code_step, created_at=now)
        key.sealed_key = gateways.vault.seal_secret(secret, one_time_codes.key_name(key))
        key.save(force_insert=True)
    journal.append(
        gateways,
        "recipient.channel_chosen",
        author=journal.unidentified(access, trace),
        recipient=recipient,
        detail={"way": row.way, "set_by": set_by},
    )
