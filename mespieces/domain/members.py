"""How members sign in: a password, then a code of their application (TOTP), enrolled at the first sign-in."""

import base64
import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import quote

from mespieces import models
from mespieces.domain import (
    browsers,
    journal,
    passwords,
    recovery_codes,
    second_steps,
    sessions,
    text,
    throttle,
    totp,
)
from mespieces.errors import Expired, Invalid, TooMany
from mespieces.gateways import Gateways
from mespieces.models import Invitation, Member, SignIn

SIGN_IN_LASTS = timedelta(minutes=15)
TRIES = second_steps.TRIES
CodeWrong = second_steps.CodeWrong


class Wrong(Invalid):
    """The address and the password do not go together; the same words whichever is at fault."""

    field = "password"
    message = "L’adresse électronique ou le mot de passe n’est pas le bon."


class Delayed(TooMany):
    """Too many wrong passwords from here."""

    message = "Trop d’essais infructueux : patientez avant de réessayer."


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
    """Check a member's password and return a sign-in's token; failures are returned, so that they are remembered.

    Raises `PasswordTooLong`, before anything is spent.
    """
    passwords.check_length(password)
    address = text.storable(email).strip().lower()
    member = Member.get_or_none(Member.email == address, Member.left_at.is_null())
    right = passwords.matches(text.storable(password), member.password_hash if member else None)
    with models.write():
        refused = count_password(gateways, address, member, trace, right=right)
        if refused or member is None:
            return refused or Wrong()
        now, present = gateways.clock.now(), locked(member)
        if present.left_at or present.password_hash != member.password_hash:  # changed while this one was checked
            return Wrong()
        token = models.draw_token()
        sign_in = SignIn(token_hash=sessions.hashed(token), member=member, created_at=now, way="app")
        if present.totp_enrolled_at is None:
            sign_in.sealed_key = gateways.vault.seal_secret(os.urandom(20), f"sign_in/{sign_in.id}")
        sign_in.save(force_insert=True)
    return token


def count_password(
    gateways: Gateways, address: str, member: Member | None, trace: journal.Trace, *, right: bool
) -> Wrong | Delayed | None:
    """Return the refusal of a password, counted and journaled, inside the caller's transaction; None when it passes.

    What a whole network got wrong delays its wrong passwords only: an office shares one address.
    """
    now = gateways.clock.now()
    network = throttle.network(trace.address)
    pair, whole = throttle.key("member", address, network), throttle.key("member-network", network)
    waiting = throttle.waits(pair, now)
    if not right:
        waiting = max(waiting, throttle.waits(whole, now))
        if (wrong := throttle.fail(whole, now, throttle.HOUR)) >= throttle.NETWORK_LIMIT:
            throttle.delay(whole, now + throttle.growing(wrong - throttle.NETWORK_LIMIT + throttle.FREE_TRIES + 1))
        failures = throttle.fail(pair, now)
        throttle.delay(pair, now + throttle.growing(failures))
        detail = {"step": "password"}
        # As many statements for who is no member, where the record is taken back: the clock tells nobody who is one.
        if member is not None:
            with models.database.savepoint():
                journal.append(
                    gateways, "member.refused", author=unidentified(member, trace), member=member, detail=detail
                )
        else:
            nobody = journal.Author("member", "", "", trace=trace)
            journal.rehearse(gateways, "member.refused", author=nobody, detail=detail)
        left = max(throttle.waits(pair, now), throttle.waits(whole, now))  # this failure lengthened it
        return Delayed(retry_after=left) if waiting else Wrong()
    if waiting:  # passwords are guessable, unlike the secret of the act: here the right one waits as well
        return Delayed(retry_after=waiting)
    throttle.forget(pair)
    return None


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
    key = base64.b32encode(application_key(gateways, sign_in)).decode()
    label = quote(f"Mes Pièces:{sign_in.member.email}")
    return Enrolment(
        key, f"otpauth://totp/{label}?secret={key}&issuer={quote('Mes Pièces')}&digits=6&period={totp.STEP}"
    )


def confirm(
    gateways: Gateways, token: str, typed: str, trace: journal.Trace, *, recovery: str = "", former: str = ""
) -> str | CodeWrong | Delayed:
    """Check the code of the member's application and return a session's token; each step of time serves once.

    A recovery code, where one is given, is taken instead. The browser's `former` session ends. Raises `SignInOver`, `RecoveryMistyped`.
    """
    sign_in = find(gateways, token)
    # Who enrols proves the application itself: a recovery code would leave it unproven.
    given = second_steps.read(sign_in.member, typed, "" if sign_in.sealed_key else recovery, gateways.clock.now())
    with models.write():
        member = locked(sign_in.member)
        row = models.locked(SignIn.select().where(SignIn.id == sign_in.id, SignIn.closed_at.is_null())).first()
        # An application is enrolled by this sign-in or known already: both means that another enrolled meanwhile.
        if row is None or member.left_at or bool(row.sealed_key) == bool(member.totp_key):
            raise SignInOver
        now = gateways.clock.now()
        if left := second_steps.exhausted(member, now):
            return Delayed(retry_after=left)  # who knows the password may not try codes for ever
        secret = application_key(gateways, row if row.sealed_key else member)
        proven = second_steps.accept(gateways, member, given, secret, now)
        author = journal.member(member, trace)
        if proven is None:
            closed = now if row.tries + 1 >= TRIES else None
            SignIn.update(tries=row.tries + 1, closed_at=closed).where(SignIn.id == row.id).execute()
            journal.append(gateways, "member.refused", author=author, member=member, detail={"step": "code"})
            return second_steps.wrong(given, row.tries + 1)
        SignIn.update(closed_at=now).where(SignIn.id == row.id).execute()
        if row.sealed_key:
            enrol(gateways, member, secret)
        agent = browsers.in_words(trace.agent)
        session = sessions.start(now, way="password+totp", member=member, agent=agent, former=former)
        detail = {"enrolled": bool(row.sealed_key), **proven}
        journal.append(gateways, "member.signed_in", author=author, member=member, detail=detail)
    if given.recovery:
        gateways.bell.ring("mail")
    return session


def enrol(gateways: Gateways, member: Member, secret: bytes) -> None:
    """Keep the key of the member's application, sealed, inside the caller's transaction."""
    Member.update(
        totp_key=gateways.vault.seal_secret(secret, _name(member)), totp_enrolled_at=gateways.clock.now()
    ).where(Member.id == member.id).execute()


def application_key(gateways: Gateways, row: SignIn | Member) -> bytes:
    """Return the key of an application: the one a sign-in is enrolling, or the member's own."""
    if isinstance(row, SignIn):
        return gateways.vault.open_secret(bytes(row.sealed_key), f"sign_in/{row.id}")
    return gateways.vault.open_secret(bytes(row.totp_key), _name(row))


def locked(member: Member) -> Member:
    """Return the member as they are now, locked until the transaction ends."""
    found: Member = models.locked(Member.select().where(Member.id == member.id)).get()
    return found


def shut_out(member: Member, now: datetime) -> None:
    """End all that lets a member in beside password and application, inside the transaction that locked the member.

    Sessions, sign-ins in progress, recovery codes, an invitation not used yet.
    """
    SignIn.update(closed_at=now).where(SignIn.member == member, SignIn.closed_at.is_null()).execute()
    sessions.end_of_member(member.id, now)
    recovery_codes.forget(member)
    Invitation.delete().where(Invitation.member == member).execute()


def unidentified(member: Member, trace: journal.Trace) -> journal.Author:
    """Return whoever acts under a member's name before the identification is complete."""
    return journal.Author("member", str(member.id), member.name, str(member.office_id), trace=trace)


def _name(member: Member) -> str:
    return f"member/{member.id}"
