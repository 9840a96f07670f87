"""How members sign in: a password, then a code of their application (TOTP), enrolled at the first sign-in."""

import base64
import os
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import quote

from mespieces import models
from mespieces.domain import journal, passwords, sessions, text, throttle, totp
from mespieces.errors import Expired, Invalid, TooMany
from mespieces.gateways import Gateways
from mespieces.models import Member, SignIn

SIGN_IN_LASTS = timedelta(minutes=15)
TRIES = 5


class Wrong(Invalid):
    """The address and the password do not go together; the same words whichever is at fault."""

    field = "password"
    message = "L’adresse électronique ou le mot de passe n’est pas le bon."


class Delayed(TooMany):
    """Too many wrong passwords from here."""

    message = "Trop d’essais infructueux : patientez avant de réessayer."


class CodeWrong(Invalid):
    """Not the code of the member's application at this moment, or one already used."""

    field = "code"
    message = "Ce code n’est pas le bon, ou il a déjà servi : attendez le suivant. Essais restants : {left}."


class SignInOver(Expired):
    """The sign-in in progress is closed or too old."""

    message = "Cette connexion n’est plus en cours : recommencez avec votre mot de passe."
    heading = "Identification à recommencer"
    advice = "Reprenez depuis la page de connexion de l’étude."


@dataclass(frozen=True, slots=True)
class Enrolment:
    """What the member's application needs: its key in base32 and as an otpauth address."""

    key: str
    uri: str


def begin(gateways: Gateways, email: str, password: str, trace: journal.Trace) -> str | Wrong | Delayed:
    """Check a member's password and return a sign-in's token; failures are returned, so that they are remembered."""
    address = text.storable(email).strip().lower()
    member = Member.get_or_none(Member.email == address, Member.left_at.is_null())
    pair = throttle.key("member", address, throttle.network(trace.address))
    right = passwords.matches(text.storable(password), member.password_hash if member else None)
    with models.write():
        now = gateways.clock.now()
        waiting = throttle.waits(pair, now)
        if member is None or not right:
            failures = throttle.fail(pair, now)
            throttle.delay(pair, now + throttle.growing(failures))
            if member is not None:
                who = journal.Author("member", str(member.id), member.name, str(member.office_id), trace=trace)
                journal.append(gateways, "member.refused", author=who, member=member, detail={"step": "password"})
            return Delayed(retry_after=waiting) if waiting else Wrong()
        if waiting:  # passwords are guessable, unlike the secret of the act: here the right one waits as well
            return Delayed(retry_after=waiting)
        throttle.forget(pair)
        token = models.draw_token()
        sign_in = SignIn(token_hash=sessions.hashed(token), member=member, created_at=now, way="app")
        if member.totp_enrolled_at is None:
            sign_in.sealed_key = gateways.vault.seal_secret(os.urandom(20), f"sign_in/{sign_in.id}")
        sign_in.save(force_insert=True)
    return token


def find(gateways: Gateways, token: str | None) -> SignIn:
    """Return the member's sign-in in progress that `token` opens. Raises `SignInOver`."""
    query = (
        SignIn.select(SignIn, Member)
        .join(Member)
        .where(SignIn.token_hash == sessions.hashed(token or ""), SignIn.closed_at.is_null())
    )
    found = query.first()
    if found is None or gateways.clock.now() - found.created_at >= SIGN_IN_LASTS:
        raise SignInOver
    return found


def enrolment(gateways: Gateways, sign_in: SignIn) -> Enrolment | None:
    """Return what the application needs at the first sign-in, None afterwards."""
    if sign_in.sealed_key is None:
        return None
    key = base64.b32encode(gateways.vault.open_secret(bytes(sign_in.sealed_key), f"sign_in/{sign_in.id}")).decode()
    label = quote(f"Mes Pièces:{sign_in.member.email}")
    return Enrolment(
        key, f"otpauth://totp/{label}?secret={key}&issuer={quote('Mes Pièces')}&digits=6&period={totp.STEP}"
    )


def confirm(gateways: Gateways, token: str, typed: str, trace: journal.Trace) -> str | CodeWrong | Delayed:
    """Check the code of the member's application and return a session's token; each step of time serves once."""
    sign_in = find(gateways, token)
    digits = "".join(character for character in text.storable(typed) if character.isdigit() and character.isascii())
    with models.write():
        row = models.locked(SignIn.select().where(SignIn.id == sign_in.id, SignIn.closed_at.is_null())).first()
        member = models.locked(Member.select().where(Member.id == sign_in.member_id)).first()
        overtaken = row is not None and row.sealed_key and member.totp_key  # another sign-in enrolled meanwhile
        if row is None or member.left_at or overtaken:
            raise SignInOver
        now = gateways.clock.now()
        daily = throttle.key("member-code", str(member.id))
        if throttle.count(daily, now, throttle.DAY) >= throttle.CODE_LIMIT:
            left = throttle.resets(daily, now, throttle.DAY)
            return Delayed(retry_after=left)  # who knows the password may not try codes for ever
        sealed, name = (row.sealed_key, f"sign_in/{row.id}") if row.sealed_key else (member.totp_key, _name(member))
        secret = gateways.vault.open_secret(bytes(sealed), name)
        used = totp.matching_step(secret, digits, now, after=member.totp_last_step)
        author = journal.member(member, trace)
        if used is None:
            throttle.fail(daily, now)
            closed = now if row.tries + 1 >= TRIES else None
            SignIn.update(tries=row.tries + 1, closed_at=closed).where(SignIn.id == row.id).execute()
            journal.append(gateways, "member.refused", author=author, member=member, detail={"step": "code"})
            return CodeWrong(left=max(0, TRIES - row.tries - 1))
        SignIn.update(closed_at=now).where(SignIn.id == row.id).execute()
        if row.sealed_key:
            enrol(gateways, member, secret)
        Member.update(totp_last_step=used).where(Member.id == member.id).execute()
        session = sessions.start(now, way="password+totp", member=member)
        journal.append(
            gateways, "member.signed_in", author=author, member=member, detail={"enrolled": bool(row.sealed_key)}
        )
    return session


def enrol(gateways: Gateways, member: Member, secret: bytes) -> None:
    """Keep the key of the member's application, sealed, inside the caller's transaction."""
    Member.update(
        totp_key=gateways.vault.seal_secret(secret, _name(member)), totp_enrolled_at=gateways.clock.now()
    ).where(Member.id == member.id).execute()


def _name(member: Member) -> str:
    return f"member/{member.id}"
