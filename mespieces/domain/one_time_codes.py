"""One-time codes: TOTP values (RFC 6238) of keys drawn by the server, each accepted once (art. 3)."""

import hmac
import math
import os
from datetime import datetime, timedelta
from uuid import UUID

from mespieces import models
from mespieces.domain import deposits, french, journal, outbox, sign_ins, text, throttle, totp
from mespieces.errors import Refused, TooMany
from mespieces.gateways import Gateways
from mespieces.models import Access, CodeKey, Deposit, Member, Recipient, SignIn

CODE_LASTS = timedelta(minutes=10)
CODES_A_SIGN_IN = 5
MAILS_A_DAY = 20
RESEND_AFTER = timedelta(seconds=30)
DIGITS = {"app": 6, "email": 8, "office": 8}


class CodesExhausted(TooMany):
    """Too many wrong codes in a day for this sheet of a recipient."""

    message = (
        "Trop de codes erronés en une journée : il faut attendre, ou appeler le numéro figurant sur l’acte. "
        "L’étude peut vous remettre un nouveau feuillet, avec lequel vous entrerez sans attendre."
    )


class CodesRefused(Refused):
    """A code told now would be refused: the recipient's sheet had too many wrong ones today."""

    message = (
        "Un code donné maintenant ne servirait pas : après {limit} codes faux, ceux de ce destinataire sont refusés "
        "jusqu’au {until}. Imprimez-lui un nouveau feuillet d’accès : avec lui, il entre sans attendre."
    )


class TooManyAsked(TooMany):
    """More codes were asked for than anybody needs; none of them was wrong."""

    message = (
        "Beaucoup de codes ont été demandés : servez-vous du dernier reçu. S’il n’est pas arrivé, vérifiez l’adresse, "
        "ou appelez le numéro figurant sur l’acte."
    )


class TooManyTold(TooManyAsked):
    """The office told as many codes as one identification takes."""

    message = (
        "Cette identification a déjà reçu {most} codes. Demandez au destinataire de recommencer depuis la première page, "
        "avec sa référence et son code d’accès."
    )
    heading = "Une nouvelle identification est nécessaire"
    advice = "Rien n’oblige à attendre : dès qu’il a recommencé, rechargez sa page et donnez-lui un autre code."


class TooSoon(TooMany):
    """A code was asked for a moment ago."""

    message = "Un code vient d’être demandé : patientez quelques instants avant d’en demander un autre."
    heading = "Un code est déjà en route"
    advice = (
        "Rien n’est refusé. Regardez vos courriels, et parmi les indésirables : le code se saisit sur la page qui l’attend, "
        "si elle est restée ouverte. Sinon, recommencez une fois ce délai passé."
    )


class NobodyWaiting(Refused):
    """The recipient has not reached the code step, so no code can be given."""

    message = "Personne n’attend de code. {how}"


def send(gateways: Gateways, token: str, *, again: bool = False) -> SignIn:
    """Have a code sent by e-mail, where that is the way; a code already on its way is not sent twice.

    Mails that carry a code leave 30 seconds apart, whatever the address and the sign-in: to who asks again that is
    said; to who corrects an address the mail is promised, and leaves when its turn comes. No code leaves that would be
    refused. Raises `TooSoon`, `TooManyAsked`, `CodesExhausted`, `SignInOver`.
    """
    sign_in = sign_ins.find(gateways, token)
    if sign_in.way != "email" or (sign_in.code_step is not None and not again):
        return sign_in
    with models.write():
        row = sign_ins.locked(gateways, sign_in)
        now = gateways.clock.now()
        if spent := throttle.exhausted(wrong_codes(sign_in.access), now):
            raise CodesExhausted(retry_after=spent)
        # An act gives its holder no means to flood somebody's mailbox: addresses and sign-ins change, the count stays.
        mails = throttle.key("code-mail", str(row.access_id))
        wait = timedelta(seconds=throttle.waits(mails, now))
        if wait and (again or wait > RESEND_AFTER):
            raise TooSoon(retry_after=int(wait.total_seconds()))
        if throttle.fail(mails, now) > MAILS_A_DAY:
            raise TooManyAsked(retry_after=throttle.resets(mails, now, throttle.DAY))
        throttle.delay(mails, now + wait + RESEND_AFTER)
        outbox.queue(gateways, "code", recipient=sign_in.access.recipient, sign_in=row, after=wait)
        _issue(gateways, row, now, author=journal.unidentified(sign_in.access), detail={})
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


_CHANGE_FIRST = (
    "Ce destinataire {how}. Pour lui en dire un, changez d’abord sa façon de recevoir le code en « code donné par l’étude » : "
    "une identification qu’il a commencée continue, sans rien saisir de nouveau."
)
_TO_BE_TOLD = {
    "": "Le destinataire saisit d’abord sa référence et son code d’accès, puis choisit « Par l’étude » ; rechargez alors sa page.",
    "office": "Le destinataire saisit d’abord sa référence et son code d’accès : on lui dit alors de vous appeler ; rechargez sa page.",
    "email": _CHANGE_FIRST.format(how="reçoit ses codes par courriel"),
    "app": _CHANGE_FIRST.format(how="obtient ses codes d’une application"),
    "act": "Aucun code n’est demandé à ce destinataire : son feuillet suffit.",
}


def how_to_be_told(gateways: Gateways, access: Access) -> str:
    """Return what has to happen before a member can tell a code to whom an access is for."""
    return _TO_BE_TOLD[sign_ins.way_bound_to(gateways, access) or access.recipient.way_required]


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

    Raises `Needed`, `NobodyWaiting`, `CodesRefused`, `TooManyTold`, `AlreadyWithdrawn`, `AlreadyEnded`.
    """
    reason = text.line(reason, "reason")
    waiting = waiting_for_office(gateways, recipient)
    if waiting is None:
        deposits.filed(recipient.deposit_id, gateways.clock.now())  # what is over or withdrawn awaits nobody ever again
        raise NobodyWaiting(how=how_to_be_told(gateways, Access.get(Access.recipient == recipient)))
    with models.write():
        row = sign_ins.locked(gateways, waiting)
        if until := refused_until(gateways, Access.get_by_id(row.access_id)):
            raise CodesRefused(limit=throttle.CODE_LIMIT, until=french.instant(until))
        if row.codes_issued >= CODES_A_SIGN_IN:
            raise TooManyTold(retry_after=_until_over(gateways, row), most=CODES_A_SIGN_IN)
        _issue(gateways, row, gateways.clock.now(), author=journal.member(by, trace), detail={"reason": reason})
    return code(gateways, row)


def wrong_codes(access: Access) -> str:
    """Return the name of the counter of an access's wrong codes.

    Each sheet has its own: who held the former one, which opens nothing any more, keeps nobody out of the next.
    """
    issued = access.issued_at.isoformat() if access.issued_at else ""
    return throttle.key("code", str(access.id), issued)


def refused_until(gateways: Gateways, access: Access) -> datetime | None:
    """Return until when any code is refused after too many wrong ones, None when they are taken."""
    now = gateways.clock.now()
    wait = throttle.exhausted(wrong_codes(access), now)
    return now + timedelta(seconds=wait) if wait else None


def code(gateways: Gateways, sign_in: SignIn) -> str:
    """Return the code awaited by a sign-in: the TOTP value (RFC 6238) of the step kept with it."""
    key = CodeKey.get(CodeKey.access == sign_in.access_id, CodeKey.way == sign_in.way)
    secret = gateways.vault.open_secret(bytes(key.sealed_key), key_name(key))
    return totp.at(secret, sign_in.code_step, digits=DIGITS[sign_in.way])


def awaited(row: SignIn) -> bool:
    """Tell whether a sign-in has a code to be compared with: an application has one at any time, others once given."""
    return row.way == "app" or (row.way in DIGITS and row.code_step is not None)


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
    used = totp.matching_step(secret, digits, now, after=last)
    if used is None:
        return False
    row.code_step = used
    if key is not None:
        CodeKey.update(last_step=used).where(CodeKey.id == key.id).execute()
    return True


def _issue(gateways: Gateways, row: SignIn, now: datetime, *, author: journal.Author, detail: dict[str, str]) -> None:
    """Set the code awaited to the next step never used, and journal that a code was issued."""
    if row.codes_issued >= CODES_A_SIGN_IN:
        raise TooManyAsked(retry_after=_until_over(gateways, row))
    key = _key(gateways, row, now)
    step = max(totp.step_at(now), key.last_step + 1)
    CodeKey.update(last_step=step).where(CodeKey.id == key.id).execute()
    row.code_step, row.code_issued_at, row.codes_issued = step, now, row.codes_issued + 1
    row.save(only=[SignIn.code_step, SignIn.code_issued_at, SignIn.codes_issued])
    recipient = Access.get_by_id(row.access_id).recipient
    journal.append(gateways, "code.issued", author=author, recipient=recipient, detail={"way": row.way, **detail})


def _until_over(gateways: Gateways, row: SignIn) -> int:
    """Return in how many seconds the sign-in is over, and another may ask for codes."""
    return math.ceil((row.created_at + sign_ins.SIGN_IN_LASTS - gateways.clock.now()).total_seconds())


def _key(gateways: Gateways, row: SignIn, now: datetime) -> CodeKey:
    """Return the TOTP key of the access for the sign-in's way, drawn at its first use."""
    query = CodeKey.select().where(CodeKey.access == row.access_id, CodeKey.way == row.way)
    key = models.locked(query).first()
    if key is None:
        key = CodeKey(access=row.access_id, way=row.way, created_at=now)
        key.sealed_key = gateways.vault.seal_secret(os.urandom(20), key_name(key))
        key.save(force_insert=True)
    return key


def key_name(key: CodeKey) -> str:
    """Return what ties a sealed key to its row."""
    return f"code_key/{key.id}"
