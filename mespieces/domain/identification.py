"""Identification of recipients: the reference and the secret of the act, then a one-time code (art. 3).

Means and limits follow ANSSI-PG-078 and are argued in `docs/identification.md`. What strangers type is never stored.
"""

import base64
import hmac
import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import quote

import pyotp

from mespieces import models
from mespieces.domain import codes, deposits, journal, outbox, passwords, sessions, text, throttle
from mespieces.errors import Expired, Invalid, Refused, TooMany
from mespieces.gateways import Gateways
from mespieces.models import Access, CodeKey, Deposit, Member, Recipient, SignIn

SIGN_IN_LASTS = timedelta(minutes=30)
CODE_LASTS = timedelta(minutes=10)
CODE_TRIES = 5
CODES_A_SIGN_IN = 5
RESEND_AFTER = timedelta(seconds=30)
STEP = 30  # seconds (RFC 6238)
WAYS = ("email", "app", "office")
DIGITS = {"app": 6, "email": 8, "office": 8}
TOLD_AT = 10  # failures


class Wrong(Invalid):
    """The reference and the secret do not go together; the same words whichever is at fault."""

    field = "secret"
    message = (
        "La référence et le code d’accès ne correspondent pas. Recopiez-les du dernier feuillet reçu : "
        "un nouveau feuillet annule le précédent."
    )


class Delayed(TooMany):
    """Too many wrong secrets from here: the right one still passes."""

    message = (
        "Trop d’essais infructueux. Patientez {wait}, puis vérifiez chaque caractère. "
        "En cas de difficulté, appelez le numéro figurant sur l’acte."
    )


class CodesExhausted(TooMany):
    """Too many wrong codes today for this recipient."""

    message = "Trop de codes erronés aujourd’hui. Réessayez demain, ou appelez le numéro figurant sur l’acte."


class SignInOver(Expired):
    """The sign-in in progress is closed or too old."""

    message = "Cette identification n’est plus en cours : recommencez avec la référence et le code d’accès."


class WayUnknown(Invalid):
    """Not a way to receive a code that is open to this recipient."""

    field = "channel"
    message = "Choisissez l’une des façons proposées."


class TooSoon(TooMany):
    """A code was sent a moment ago."""

    message = "Un code vient d’être envoyé : patientez quelques instants avant d’en demander un autre."


class NobodyWaiting(Refused):
    """The recipient has not reached the code step, so no code can be given."""

    message = (
        "Personne n’attend de code : le destinataire doit d’abord saisir sa référence et son code d’accès, "
        "puis choisir « par l’étude »."
    )


class CodeWrong(Invalid):
    """Not the code awaited."""

    field = "code"
    message = "Ce code n’est pas le bon, ou il a expiré : vérifiez chaque chiffre. Essais restants : {left}."


@dataclass(frozen=True, slots=True)
class Begun:
    """The secret was right: a token for the sign-in in progress."""

    token: str
    sign_in: SignIn


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What an authenticator application needs: its key in base32 and as an otpauth address."""

    key: str
    uri: str


def begin(gateways: Gateways, reference: str, secret: str, trace: journal.Trace) -> Begun | Wrong | Delayed:
    """Check what is printed on the act; failures are returned, not raised, so that they are remembered.

    1. A typing error is told from the check characters, before anything is spent.
    2. The same work is done for unknown references (a dummy Argon2id).
    3. A wrong secret counts for (reference, network) and for the network, never for the reference alone.
    4. A right secret always passes, whatever was counted.

    Raises `ReferenceMistyped`, `SecretMistyped`; `AvailabilityOver` or `DepositWithdrawn` to who proved the secret.
    """
    reference, secret = codes.read_reference(reference), codes.read_secret(secret)  # (1)
    access = Access.get_or_none(Access.reference == reference)
    right = passwords.matches(secret, access.secret_hash if access else None)  # (2)
    network = throttle.network(trace.address)
    pair, whole = throttle.key("secret", reference, network), throttle.key("network", network)
    if right and access is not None:
        return _begin(gateways, access, pair)  # (4)
    return _refuse(gateways, access, pair, whole, trace)  # (3)


def find(gateways: Gateways, token: str | None) -> SignIn:
    """Return the sign-in in progress of a recipient that `token` opens. Raises `SignInOver`."""
    query = (
        SignIn.select(SignIn, Access, Recipient, Deposit)
        .join(Access)
        .join(Recipient)
        .join(Deposit)
        .where(SignIn.token_hash == sessions.hashed(token or ""), SignIn.closed_at.is_null())
    )
    found = query.first()
    if found is None or gateways.clock.now() - found.created_at >= SIGN_IN_LASTS:
        raise SignInOver
    return found


def way_bound(sign_in: SignIn) -> str:
    """Return the way already bound to the recipient, empty when they may choose."""
    recipient = sign_in.access.recipient
    if recipient.second_step_waived_because is not None:
        return "act"
    if recipient.way:
        return str(recipient.way)
    return "email" if recipient.email and recipient.email_set_by == "office" else ""


def ways_open(gateways: Gateways, sign_in: SignIn) -> tuple[str, ...]:
    """Return the ways the recipient may choose among, none when one is bound already."""
    if way_bound(sign_in):
        return ()
    return (*WAYS, "act") if gateways.settings.act_alone == "anyone" else WAYS


def choose(gateways: Gateways, token: str, way: str, email: str) -> SignIn:
    """Remember the way a recipient would like; it binds only once a first code is right, so that it can be corrected.

    Raises `WayUnknown`, `NotAnEmail`, `SignInOver`.
    """
    sign_in = find(gateways, token)
    if way not in ways_open(gateways, sign_in):
        raise WayUnknown
    address = text.email(email) if way == "email" else ""
    key = _fresh_key(gateways, sign_in) if way == "app" else None
    with models.write():
        row = _locked(gateways, sign_in)
        # Asking again never resets a count: tries and codes issued stay.
        SignIn.update(way=way, email=address, sealed_key=key, code_step=None, code_issued_at=None).where(
            SignIn.id == row.id
        ).execute()
    return find(gateways, token)


def enrolment(gateways: Gateways, sign_in: SignIn) -> Enrolment | None:
    """Return what the application needs while it is being enrolled, None otherwise."""
    if sign_in.way != "app" or sign_in.sealed_key is None:
        return None
    key = base64.b32encode(gateways.vault.open_secret(bytes(sign_in.sealed_key), _sign_in_name(sign_in))).decode()
    label = quote(f"Mes Pièces:{codes.show(sign_in.access.reference)}")
    return Enrolment(key, f"otpauth://totp/{label}?secret={key}&issuer={quote('Mes Pièces')}&digits=6&period={STEP}")


def send_code(gateways: Gateways, token: str, *, again: bool = False) -> SignIn:
    """Have a code sent by e-mail, where that is the way; a code already on its way is not sent twice.

    Raises `TooSoon`, `CodesExhausted`, `SignInOver`.
    """
    sign_in = find(gateways, token)
    if sign_in.way != "email" or (sign_in.code_step is not None and not again):
        return sign_in
    with models.write():
        row = _locked(gateways, sign_in)
        now = gateways.clock.now()
        if row.code_issued_at and now - row.code_issued_at < RESEND_AFTER:
            raise TooSoon(retry_after=int(RESEND_AFTER.total_seconds()))
        _issue(gateways, row, now, author=journal.unidentified(sign_in.access), detail={})
        outbox.queue(gateways, "code", recipient=sign_in.access.recipient, sign_in=row)
    gateways.bell.ring("mail")
    return find(gateways, token)


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
            SignIn.created_at > gateways.clock.now() - SIGN_IN_LASTS,
        )
        .order_by(SignIn.created_at.desc())
    )
    return query.first()


def tell_code(gateways: Gateways, recipient: Recipient, reason: str, *, by: Member, trace: journal.Trace) -> str:
    """Return a code for a member to tell the recipient, by phone or at the counter; journaled with its reason.

    Raises `Needed`, `NobodyWaiting`, `CodesExhausted`.
    """
    reason = text.line(reason, "reason")
    waiting = waiting_for_office(gateways, recipient)
    if waiting is None:
        raise NobodyWaiting
    with models.write():
        row = _locked(gateways, waiting)
        _issue(gateways, row, gateways.clock.now(), author=journal.member(by, trace), detail={"reason": reason})
    return code(gateways, row)


def reset_way(
    gateways: Gateways, recipient: Recipient, email: str, motive: str, *, by: Member, trace: journal.Trace
) -> None:
    """Let the recipient choose a way again, or have codes sent to the address the office gives; told to the old one.

    What was open with the former way ends. Raises `Needed`, `NotAnEmail`, `AvailabilityOver`.
    """
    address, motive = text.email(email, needed=False), text.line(motive, "motive")
    with models.write():
        row = models.locked(Recipient.select().where(Recipient.id == recipient.id)).get()
        now = gateways.clock.now()
        deposits.check(row.deposit, now)
        access = Access.get(Access.recipient == row)
        if row.email and row.email != address:
            outbox.queue(gateways, "way_changed", recipient=row, to=row.email)
        Recipient.update(way="", way_set_by="", email=address, email_set_by="office" if address else "").where(
            Recipient.id == row.id
        ).execute()
        CodeKey.delete().where(CodeKey.access == access, CodeKey.way == "app").execute()
        sessions.end_all(access, now)
        SignIn.update(closed_at=now).where(SignIn.access == access, SignIn.closed_at.is_null()).execute()
        detail = {"from": row.way, "email": bool(address), "motive": motive}
        journal.append(
            gateways, "recipient.channel_reset", author=journal.member(by, trace), recipient=row, detail=detail
        )
    gateways.bell.ring("mail")


def code(gateways: Gateways, sign_in: SignIn) -> str:
    """Return the code awaited by a sign-in: the TOTP value (RFC 6238) of the step kept with it."""
    key = CodeKey.get(CodeKey.access == sign_in.access_id, CodeKey.way == sign_in.way)
    return _totp(gateways.vault.open_secret(bytes(key.sealed_key), _key_name(key)), sign_in.way, sign_in.code_step)


def confirm(gateways: Gateways, token: str, typed: str, trace: journal.Trace) -> str | CodeWrong | CodesExhausted:
    """Check a one-time code and return a session's token; failures are returned, so that they are remembered.

    1. Re-read the sign-in under lock: a code counts once, whatever the worker; another sign-in may have bound a way.
    2. Refuse beyond 5 tries of a sign-in or 25 wrong codes a day.
    3. Compare in constant time; `app` codes allow one step around, each step once.
    4. A right code binds the way, closes the sign-in and starts the session.

    Raises `SignInOver`.
    """
    sign_in = find(gateways, token)
    digits = "".join(character for character in text.storable(typed) if character.isdigit() and character.isascii())
    with models.write():
        row = _locked(gateways, sign_in)  # (1)
        sign_in = find(gateways, token)
        if _overtaken(sign_in):
            raise SignInOver
        now = gateways.clock.now()
        daily = throttle.key("code", str(sign_in.access_id))
        if throttle.count(daily, now, throttle.DAY) >= throttle.CODE_LIMIT:  # (2)
            return CodesExhausted(retry_after=3600)
        if _matches(gateways, row, digits, now):  # (3)
            return _identify(gateways, sign_in, row, now, trace)  # (4)
        SignIn.update(tries=row.tries + 1).where(SignIn.id == row.id).execute()
        if row.tries + 1 >= CODE_TRIES:
            SignIn.update(closed_at=now).where(SignIn.id == row.id).execute()
        failures = throttle.fail(daily, now)
        _tell_office(gateways, sign_in.access, failures)
        journal.append(
            gateways,
            "recipient.refused",
            author=journal.unidentified(sign_in.access, trace),
            recipient=sign_in.access.recipient,
            detail={"step": "code", "way": row.way, "failures": failures},
        )
        return CodeWrong(left=max(0, CODE_TRIES - row.tries - 1))


def act_alone(gateways: Gateways, token: str, trace: journal.Trace) -> str:
    """Start a session without a second step, where the office waived it or the operator lets anyone. Raises `WayUnknown`."""
    sign_in = find(gateways, token)
    if way_bound(sign_in) != "act" and "act" not in ways_open(gateways, sign_in):
        raise WayUnknown
    with models.write():
        row = _locked(gateways, sign_in)
        sign_in = find(gateways, token)
        if way_bound(sign_in) not in {"", "act"}:
            raise SignInOver
        row.way = "act"
        return _identify(gateways, sign_in, row, gateways.clock.now(), trace)


def _begin(gateways: Gateways, access: Access, pair: str) -> Begun | Wrong:
    deposits.check(access.recipient.deposit, gateways.clock.now())  # told only to who proved the secret
    token = models.draw_token()
    with models.write():
        present = models.locked(Access.select().where(Access.id == access.id)).get()
        if present.secret_hash != access.secret_hash:  # another sheet was printed while this secret was checked
            return Wrong()
        throttle.forget(pair)
        sign_in = SignIn.create(token_hash=sessions.hashed(token), access=access, created_at=gateways.clock.now())
        bound = way_bound(sign_in)
        if bound in DIGITS:
            recipient = access.recipient
            SignIn.update(way=bound, email=recipient.email if bound == "email" else "").where(
                SignIn.id == sign_in.id
            ).execute()
    return Begun(token, sign_in)


def _refuse(gateways: Gateways, access: Access | None, pair: str, whole: str, trace: journal.Trace) -> Wrong | Delayed:
    with models.write():
        now = gateways.clock.now()
        waiting = max(throttle.waits(pair, now), throttle.waits(whole, now))
        failures = throttle.fail(pair, now)
        throttle.delay(pair, now + throttle.growing(failures))
        if throttle.fail(whole, now, throttle.HOUR) >= throttle.NETWORK_LIMIT:
            throttle.delay(whole, now + throttle.LONGEST_DELAY)
        if access is not None:
            total = throttle.fail(throttle.key("access", str(access.id)), now)
            _tell_office(gateways, access, total)
            journal.append(
                gateways,
                "recipient.refused",
                author=journal.unidentified(access, trace),
                recipient=access.recipient,
                detail={"step": "secret", "failures": total},
            )
        elif throttle.fail(throttle.key("unknown"), now, throttle.HOUR) == 1:
            # One aggregated record an hour: what strangers type is nobody's business.
            journal.append(gateways, "recipient.refused", detail={"step": "unknown reference"})
    if not waiting:
        return Wrong()
    minutes = -(-waiting // 60)
    return Delayed(
        retry_after=waiting, wait=f"{waiting} seconde{'s' * (waiting > 1)}" if waiting < 60 else f"{minutes} min"
    )


def _tell_office(gateways: Gateways, access: Access, failures: int) -> None:
    if failures == TOLD_AT:
        deposit = access.recipient.deposit
        outbox.queue(gateways, "failures", office=deposit.office, recipient=access.recipient)


def _locked(gateways: Gateways, sign_in: SignIn) -> SignIn:
    """Return the sign-in as it is now, locked until the transaction ends. Raises `SignInOver`.

    The access is locked first, as printing a new sheet does: neither overtakes the other half-way.
    """
    models.locked(Access.select().where(Access.id == sign_in.access_id)).get()
    row = models.locked(SignIn.select().where(SignIn.id == sign_in.id, SignIn.closed_at.is_null())).first()
    if row is None or gateways.clock.now() - row.created_at >= SIGN_IN_LASTS:
        raise SignInOver
    return row


def _overtaken(sign_in: SignIn) -> bool:
    """Tell whether a way was bound after this sign-in had chosen another, which it may not replace."""
    bound = way_bound(sign_in)
    if not bound:
        return False
    elsewhere = bound == "email" and sign_in.email != sign_in.access.recipient.email
    return sign_in.way != bound or elsewhere or sign_in.sealed_key is not None


def _issue(gateways: Gateways, row: SignIn, now: datetime, *, author: journal.Author, detail: dict[str, str]) -> None:
    """Set the code awaited to the next step never used, and journal that a code was issued."""
    if row.codes_issued >= CODES_A_SIGN_IN:
        raise CodesExhausted(retry_after=3600)
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
        key.sealed_key = gateways.vault.seal_secret(os.urandom(20), _key_name(key))
        key.save(force_insert=True)
    return key


def _matches(gateways: Gateways, row: SignIn, digits: str, now: datetime) -> bool:
    if row.way == "app":
        return _app_matches(gateways, row, digits, now)
    if row.code_step is None or now - row.code_issued_at >= CODE_LASTS:
        return False
    return hmac.compare_digest(code(gateways, row).encode(), digits.encode())


def _app_matches(gateways: Gateways, row: SignIn, digits: str, now: datetime) -> bool:
    """Accept the step of `now` or one around, each once; the step is remembered in the same transaction."""
    key = (
        None
        if row.sealed_key
        else models.locked(CodeKey.select().where(CodeKey.access == row.access_id, CodeKey.way == "app")).first()
    )
    if row.sealed_key:
        secret, last = gateways.vault.open_secret(bytes(row.sealed_key), _sign_in_name(row)), 0
    elif key is not None:
        secret, last = gateways.vault.open_secret(bytes(key.sealed_key), _key_name(key)), key.last_step
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


def _identify(gateways: Gateways, sign_in: SignIn, row: SignIn, now: datetime, trace: journal.Trace) -> str:
    access, recipient = sign_in.access, sign_in.access.recipient
    first_choice = not way_bound(sign_in) or not recipient.way
    if recipient.second_step_waived_because is None and first_choice:
        _bind(gateways, access, row, now, trace)
    SignIn.update(closed_at=now, tries=row.tries).where(SignIn.id == row.id).execute()
    if access.first_identified_at is None:
        Access.update(first_identified_at=now).where(Access.id == access.id).execute()
    way = "act" if row.way == "act" else f"act+{row.way}"
    token = sessions.start(now, way=way, access=access)
    recipient = Recipient.get_by_id(recipient.id)
    who = journal.Author(
        "recipient", str(recipient.id), recipient.name,
        identified={"way": way, **({"set_by": recipient.way_set_by} if recipient.way_set_by else {})}, trace=trace,
    )  # fmt: skip
    journal.append(gateways, "recipient.identified", author=who, recipient=recipient)
    return token


def _bind(gateways: Gateways, access: Access, row: SignIn, now: datetime, trace: journal.Trace) -> None:
    """Make the way that just worked the recipient's, until the office changes it."""
    recipient = access.recipient
    set_by = "office" if row.way == "email" and recipient.email_set_by == "office" else "recipient"
    changed: dict[str, str] = {"way": row.way, "way_set_by": set_by}
    if row.way == "email" and set_by == "recipient":
        changed |= {"email": row.email, "email_set_by": "recipient"}
    Recipient.update(**changed).where(Recipient.id == recipient.id).execute()
    if row.way == "app" and row.sealed_key:
        secret = gateways.vault.open_secret(bytes(row.sealed_key), _sign_in_name(row))
        CodeKey.delete().where(CodeKey.access == access, CodeKey.way == "app").execute()
        key = CodeKey(access=access, way="app", last_step=row.code_step, created_at=now)
        key.sealed_key = gateways.vault.seal_secret(secret, _key_name(key))
        key.save(force_insert=True)
    journal.append(
        gateways,
        "recipient.channel_chosen",
        author=journal.unidentified(access, trace),
        recipient=recipient,
        detail={"way": row.way, "set_by": set_by},
    )


def _fresh_key(gateways: Gateways, sign_in: SignIn) -> bytes:
    return gateways.vault.seal_secret(os.urandom(20), _sign_in_name(sign_in))


def _totp(key: bytes, way: str, step: int) -> str:
    return pyotp.TOTP(base64.b32encode(key).decode(), digits=DIGITS[way], interval=STEP).generate_otp(step)


def _key_name(key: CodeKey) -> str:
    return f"code_key/{key.id}"


def _sign_in_name(sign_in: SignIn) -> str:
    return f"sign_in/{sign_in.id}"
