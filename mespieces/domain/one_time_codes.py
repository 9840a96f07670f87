"""One-time codes: TOTP values (RFC 6238) of keys drawn by the server, each accepted once (art. 3)."""

import base64
import hmac
import os
from datetime import datetime, timedelta
from uuid import UUID

import pyotp

from mespieces import models
from mespieces.domain import journal, outbox, sign_ins, text, throttle
from mespieces.errors import Refused, TooMany
from mespieces.gateways import Gateways
from mespieces.models import Access, CodeKey, Deposit, Member, Recipient, SignIn

CODE_LASTS = timedelta(minutes=10)
CODES_A_SIGN_IN = 5
MAILS_A_DAY = 20
RESEND_AFTER = timedelta(seconds=30)
STEP = 30  # seconds (RFC 6238)
DIGITS = {"app": 6, "email": 8, "office": 8}


class CodesExhausted(TooMany):
    """Too many wrong codes today for this recipient."""

    message = "Trop de codes erronés aujourd’hui. Réessayez demain, ou appelez le numéro figurant sur l’acte."


class TooManyAsked(TooMany):
    """More codes were asked for than anybody needs; none of them was wrong."""

    message = (
        "Beaucoup de codes ont été demandés : servez-vous du dernier reçu. S’il n’est pas arrivé, vérifiez l’adresse, "
        "ou appelez le numéro figurant sur l’acte."
    )


class TooSoon(TooMany):
    """A code was sent a moment ago."""

    message = "Un code vient d’être envoyé : patientez quelques instants avant d’en demander un autre."


class NobodyWaiting(Refused):
    """The recipient has not reached the code step, so no code can be given."""

    message = (
        "Personne n’attend de code : le destinataire doit d’abord saisir sa référence et son code d’accès, "
        "puis choisir « par l’étude »."
    )


def send(gateways: Gateways, token: str, *, again: bool = False) -> SignIn:
    """Have a code sent by e-mail, where that is the way; a code already on its way is not sent twice.

    Raises `TooSoon`, `TooManyAsked`, `SignInOver`.
    """
    sign_in = sign_ins.find(gateways, token)
    if sign_in.way != "email" or (sign_in.code_step is not None and not again):
        return sign_in
    with models.write():
        row = sign_ins.locked(gateways, sign_in)
        now = gateways.clock.now()
        if row.code_issued_at and now - row.code_issued_at < RESEND_AFTER:
            raise TooSoon(retry_after=int(RESEND_AFTER.total_seconds()))
        # An act gives its holder no means to flood somebody's mailbox: addresses and sign-ins change, the count stays.
        if throttle.fail(throttle.key("code-mail", str(row.access_id)), now) > MAILS_A_DAY:
            raise TooManyAsked(retry_after=int(throttle.HOUR.total_seconds()))
        _issue(gateways, row, now, author=journal.unidentified(sign_in.access), detail={})
        outbox.queue(gateways, "code", recipient=sign_in.access.recipient, sign_in=row)
    gateways.bell.ring("mail")
    return sign_ins.find(gateways, token)


def waiting_for_office(gateways: Gateways, recipient: Recipient) -> SignIn | None:
    """Return the recipient's newest sign-in that waits for a code told by the office, None otherwise."""
    query = (
        SignIn.select(SignIn, Access, Recipient)
        .join(Access)
        .join(Recipient)
        .where(
            Access.recipient == recipient,
            SignIn.closed_at.is_null(),
            SignIn.way == "office",
            SignIn.created_at > gateways.clock.now() - sign_ins.SIGN_IN_LASTS,
        )
        .order_by(SignIn.created_at.desc())
    )
    return query.first()


def waited_for(gateways: Gateways, deposit: Deposit) -> frozenset[UUID]:
    """Return the recipients of the deposit who wait for a code told by the office."""
    query = (
        Access.select(Access.recipient)
        .join(SignIn)
        .switch(Access)
        .join(Recipient)
        .where(
            Recipient.deposit == deposit,
            SignIn.closed_at.is_null(),
            SignIn.way == "office",
            SignIn.created_at > gateways.clock.now() - sign_ins.SIGN_IN_LASTS,
        )
    )
    return frozenset(row.recipient_id for row in query)


def tell(gateways: Gateways, recipient: Recipient, reason: str, *, by: Member, trace: journal.Trace) -> str:
    """Return a code for a member to tell the recipient, by phone or at the counter; journaled with its reason.

    Raises `Needed`, `NobodyWaiting`, `TooManyAsked`.
    """
    reason = text.line(reason, "reason")
    waiting = waiting_for_office(gateways, recipient)
    if waiting is None:
        raise NobodyWaiting
    with models.write():
        row = sign_ins.locked(gateways, waiting)
        _issue(gateways, row, gateways.clock.now(), author=journal.member(by, trace), detail={"reason": reason})
    return code(gateways, row)


def code(gateways: Gateways, sign_in: SignIn) -> str:
    """Return the code awaited by a sign-in: the TOTP value (RFC 6238) of the step kept with it."""
    key = CodeKey.get(CodeKey.access == sign_in.access_id, CodeKey.way == sign_in.way)
    return _totp(gateways.vault.open_secret(bytes(key.sealed_key), key_name(key)), sign_in.way, sign_in.code_step)


def matches(gateways: Gateways, row: SignIn, digits: str, now: datetime) -> bool:
    """Tell whether `digits` is the code awaited by a locked sign-in, inside the caller's transaction."""
    if row.way == "app":
        return _app_matches(gateways, row, digits, now)
    if row.code_step is None or now - row.code_issued_at >= CODE_LASTS:
        return False
    return hmac.compare_digest(code(gateways, row).encode(), digits.encode())


def count_wrong(row: SignIn) -> None:
    """Remember that a code of the application was wrong, inside the caller's transaction; enrolling has its own limits."""
    if row.way == "app" and not row.sealed_key:
        CodeKey.update(failures=CodeKey.failures + 1).where(
            CodeKey.access == row.access_id, CodeKey.way == "app"
        ).execute()


def forget_wrong(row: SignIn) -> None:
    """Count from zero again what the application gets wrong in a row: a code of it, or of the office, was right."""
    CodeKey.update(failures=0).where(CodeKey.access == row.access_id, CodeKey.way == "app").execute()


def _app_matches(gateways: Gateways, row: SignIn, digits: str, now: datetime) -> bool:
    """Accept the step of `now` or one around, each once; the step is remembered in the same transaction."""
    key = (
        None
        if row.sealed_key
        else models.locked(CodeKey.select().where(CodeKey.access == row.access_id, CodeKey.way == "app")).first()
    )
    if row.sealed_key:
        secret, last = gateways.vault.open_secret(bytes(row.sealed_key), sign_ins.secret_name(row)), 0
    elif key is not None:
        secret, last = gateways.vault.open_secret(bytes(key.sealed_key), key_name(key)), key.last_step
    else:
        return False
    present = int(now.timestamp()) // STEP
    steps = [step for step in (present - 1, present, present + 1) if step > last]
    found = [step for step in steps if hmac.compare_digest(_totp(secret, "app", step).encode(), digits.encode())]
    if found:
        row.code_step = found[0]
        if key is not None:
            CodeKey.update(last_step=found[0]).where(CodeKey.id == key.id).execute()
    return bool(found)


def _issue(gateways: Gateways, row: SignIn, now: datetime, *, author: journal.Author, detail: dict[str, str]) -> None:
    """Set the code awaited to the next step never used, and journal that a code was issued."""
    if row.codes_issued >= CODES_A_SIGN_IN:
        raise TooManyAsked(retry_after=int(sign_ins.SIGN_IN_LASTS.total_seconds()))
    key = _key(gateways, row, now)
    step = max(int(now.timestamp()) // STEP, key.last_step + 1)
    CodeKey.update(last_step=step).where(CodeKey.id == key.id).execute()
    row.code_step, row.code_issued_at, row.codes_issued = step, now, row.codes_issued + 1
    row.save(only=[SignIn.code_step, SignIn.code_issued_at, SignIn.codes_issued])
    recipient = Access.get_by_id(row.access_id).recipient
    journal.append(gateways, "code.issued", author=author, recipient=recipient, detail={"way": row.way, **detail})


def _key(gateways: Gateways, row: SignIn, now: datetime) -> CodeKey:
    """Return the TOTP key of the access for the sign-in's way, drawn at its first use."""
    query = CodeKey.select().where(CodeKey.access == row.access_id, CodeKey.way == row.way)
    key = models.locked(query).first()
    if key is None:
        key = CodeKey(access=row.access_id, way=row.way, created_at=now)
        key.sealed_key = gateways.vault.seal_secret(os.urandom(20), key_name(key))
        key.save(force_insert=True)
    return key


def _totp(key: bytes, way: str, step: int) -> str:
    return pyotp.TOTP(base64.b32encode(key).decode(), digits=DIGITS[way], interval=STEP).generate_otp(step)


def key_name(key: CodeKey) -> str:
    """Return what ties a sealed key to its row."""
    return f"code_key/{key.id}"
