"""Identification of recipients: the reference and the secret of the act, then a one-time code (art. 3).

Means and limits follow ANSSI-PG-078 and are argued in `docs/identification.md`. What strangers type is never stored.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from mespieces import models
from mespieces.domain import (
    accesses,
    codes,
    deposits,
    french,
    journal,
    one_time_codes,
    outbox,
    passwords,
    sessions,
    sign_ins,
    throttle,
    ways,
)
from mespieces.errors import Invalid, TooMany
from mespieces.gateways import Gateways
from mespieces.models import Access, Deposit, Recipient, SignIn

CODE_TRIES = 5
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


class CodeWrong(Invalid):
    """Not the code awaited."""

    field = "code"
    message = "Ce code n’est pas le bon, ou il a expiré : vérifiez chaque chiffre. Essais restants : {left}."


class CodeNotAwaited(Invalid):
    """No code was given yet that this one could be: nothing is counted."""

    field = "code"
    message = "Aucun code n’a encore été donné : demandez-en un, ou appelez l’étude."


@dataclass(frozen=True, slots=True)
class Begun:
    """The secret was right: a token for the sign-in in progress."""

    token: str
    sign_in: SignIn


def begin(gateways: Gateways, reference: str, secret: str, trace: journal.Trace) -> Begun | Wrong | Delayed:
    """Check what is printed on the act; failures are returned, not raised, so that they are remembered.

    1. A typing error is told from the check characters, before anything is spent.
    2. The same work is done for unknown references (a dummy Argon2id).
    3. A wrong secret counts for (reference, network) and for the network, never for the reference alone.
    4. A right secret always passes, whatever was counted.

    Raises `ReferenceMistyped`, `SecretMistyped`; `AvailabilityOver` or `DepositWithdrawn` to who proved the secret.
    """
    reference, secret = codes.read_pair(reference, secret)  # (1)
    access = Access.get_or_none(Access.reference == reference)
    right = passwords.matches(secret, access.secret_hash if access else None)  # (2)
    network = throttle.network(trace.address)
    pair, whole = throttle.key("secret", reference, network), throttle.key("network", network)
    if right and access is not None:
        return _begin(gateways, access, pair)  # (4)
    return _refuse(gateways, access, pair, whole, trace)  # (3)


def confirm(
    gateways: Gateways, token: str, typed: str, trace: journal.Trace, *, former: str = ""
) -> str | CodeWrong | one_time_codes.CodesExhausted:
    """Check a one-time code and return a session's token; failures are returned, so that they are remembered.

    1. Re-read the sign-in under lock: a code counts once, whatever the worker; another sign-in may have bound a way.
    2. Refuse beyond 5 tries of a sign-in or 25 wrong codes a day since the sheet was printed: another counts anew.
    3. Compare in constant time; `app` codes allow one step around, each step once.
    4. A right code binds the way, closes the sign-in and starts the session; the browser's `former` one ends.
    5. After 100 wrong codes of an application in a row, the sign-in ends: the next one needs the office's code, once.

    What cannot be a code, or comes before any was given, is no attempt. Raises `SignInOver`, `CodeIncomplete`,
    `CodeNotAwaited`.
    """
    sign_in = sign_ins.find(gateways, token)
    with models.write():
        row = sign_ins.locked(gateways, sign_in)  # (1)
        sign_in = sign_ins.find(gateways, token)
        if sign_ins.overtaken(gateways, sign_in):
            raise sign_ins.SignInOver
        if not one_time_codes.awaited(row):
            raise CodeNotAwaited
        digits = codes.read_digits(typed, one_time_codes.DIGITS[row.way])
        now = gateways.clock.now()
        counted = one_time_codes.wrong_codes(sign_in.access)
        if wait := throttle.exhausted(counted, now):  # (2)
            return one_time_codes.CodesExhausted(retry_after=wait)
        if one_time_codes.matches(gateways, row, digits, now):  # (3)
            one_time_codes.forget_wrong(row)
            return _identify(gateways, sign_in, row, now, trace, former)  # (4)
        one_time_codes.count_wrong(row)
        left = (
            0 if row.way == "app" and sign_ins.app_exhausted(sign_in.access) else max(0, CODE_TRIES - row.tries - 1)
        )  # (5)
        SignIn.update(tries=row.tries + 1, closed_at=None if left else now).where(SignIn.id == row.id).execute()
        failures = throttle.fail(counted, now)
        _tell_office(gateways, sign_in.access, now)
        journal.append(
            gateways,
            "recipient.refused",
            author=journal.unidentified(sign_in.access, trace),
            recipient=sign_in.access.recipient,
            detail={"step": "code", "way": row.way, "failures": failures},
        )
        return CodeWrong(left=left)


def act_alone(gateways: Gateways, token: str, trace: journal.Trace, *, former: str = "") -> str:
    """Start a session without a second step, where the office waived it or the operator lets anyone. Raises `WayUnknown`."""
    sign_in = sign_ins.find(gateways, token)
    if sign_ins.way_bound(gateways, sign_in) != "act" and "act" not in ways.open_to(gateways, sign_in):
        raise ways.WayUnknown
    with models.write():
        row = sign_ins.locked(gateways, sign_in)
        sign_in = sign_ins.find(gateways, token)
        if sign_ins.way_bound(gateways, sign_in) not in {"", "act"}:
            raise sign_ins.SignInOver
        row.way = "act"
        return _identify(gateways, sign_in, row, gateways.clock.now(), trace, former)


def failures_today(gateways: Gateways, deposit: Deposit) -> dict[UUID, int]:
    """Return how many secrets and codes were wrong within a day for each recipient of the deposit who met any."""
    counters = {
        throttle.key("failing", str(access.id)): recipient for recipient, access in accesses.by_deposit(deposit).items()
    }
    found = throttle.counts(list(counters), gateways.clock.now(), throttle.DAY)
    return {counters[name]: failures for name, failures in found.items()}


def _begin(gateways: Gateways, access: Access, pair: str) -> Begun | Wrong:
    deposits.check(access.recipient.deposit, gateways.clock.now())  # told only to who proved the secret
    token = models.draw_token()
    with models.write():
        present = models.locked(Access.select().where(Access.id == access.id)).get()
        if present.secret_hash != access.secret_hash:  # another sheet was printed while this secret was checked
            return Wrong()
        throttle.forget(pair)
        sign_in = SignIn.create(token_hash=sessions.hashed(token), access=access, created_at=gateways.clock.now())
        bound = sign_ins.way_bound(gateways, sign_in)
        if bound in one_time_codes.DIGITS:
            recipient = access.recipient
            SignIn.update(way=bound, email=recipient.email if bound == "email" else "").where(
                SignIn.id == sign_in.id
            ).execute()
    if access.recipient.way_required and not bound:  # straight to what the office requires
        ways.choose(gateways, token, access.recipient.way_required, "")
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
            _tell_office(gateways, access, now)
            journal.append(
                gateways,
                "recipient.refused",
                author=journal.unidentified(access, trace),
                recipient=access.recipient,
                detail={"step": "secret", "failures": total},
            )
        else:
            throttle.fail(throttle.key("failing"), now)  # as many statements as for an access that exists
            _remember_unknown(gateways, throttle.fail(throttle.key("unknown"), now, throttle.HOUR), trace)
        left = max(throttle.waits(pair, now), throttle.waits(whole, now))  # this failure lengthened it
    if not waiting:
        return Wrong()
    minutes = -(-left // 60)
    return Delayed(retry_after=left, wait=french.counted(left, "seconde") if left < 60 else f"{minutes} min")


def _remember_unknown(gateways: Gateways, failures: int, trace: journal.Trace) -> None:
    """Append one aggregated record an hour: what strangers type is nobody's business. The work is done each time."""
    detail = {"step": "unknown reference"}
    if failures == 1:
        journal.append(gateways, "recipient.refused", detail=detail)
    else:
        nobody = journal.Author("recipient", "", "", trace=trace)
        journal.rehearse(gateways, "recipient.refused", author=nobody, detail=detail | {"failures": failures})


def _tell_office(gateways: Gateways, access: Access, now: datetime) -> None:
    """Count what failed for an access within a day, secrets and codes together, and tell the office at the tenth."""
    if throttle.fail(throttle.key("failing", str(access.id)), now) == TOLD_AT:
        deposit = access.recipient.deposit
        outbox.queue(gateways, "failures", office=deposit.office, recipient=access.recipient)


def _identify(
    gateways: Gateways, sign_in: SignIn, row: SignIn, now: datetime, trace: journal.Trace, former: str
) -> str:
    access, recipient = sign_in.access, sign_in.access.recipient
    first_choice = not sign_ins.way_bound(gateways, sign_in) or not recipient.way
    waived = recipient.second_step_waived_because is not None and row.way == "act"
    if first_choice and not waived:
        ways.bind(gateways, access, row, now, trace)
    SignIn.update(closed_at=now, tries=row.tries).where(SignIn.id == row.id).execute()
    if access.first_identified_at is None:
        Access.update(first_identified_at=now).where(Access.id == access.id).execute()
    way = "act" if row.way == "act" else f"act+{row.way}"
    token = sessions.start(now, way=way, access=access, former=former)
    recipient = Recipient.get_by_id(recipient.id)
    who = journal.Author(
        "recipient", str(recipient.id), recipient.name,
        identified={"way": way, **({"set_by": recipient.way_set_by} if recipient.way_set_by else {})}, trace=trace,
    )  # fmt: skip
    journal.append(gateways, "recipient.identified", author=who, recipient=recipient)
    return token
