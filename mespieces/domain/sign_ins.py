"""Sign-ins in progress: the secret of the act is proven, the second step is awaited."""

from datetime import timedelta

from mespieces import models
from mespieces.domain import deposits, sessions
from mespieces.errors import Expired
from mespieces.gateways import Gateways
from mespieces.models import Access, CodeKey, Deposit, Recipient, SignIn

SIGN_IN_LASTS = timedelta(minutes=30)
APP_FAILURES = 100  # wrong codes in a row (SP 800-63B-4, 3.2.2)


class SignInOver(Expired):
    """The sign-in in progress is closed or too old."""

    message = "Cette identification n’est plus en cours : recommencez avec la référence et le code d’accès."
    heading = "Identification à recommencer"
    advice = "Reprenez depuis la première page : par sécurité, cette étape se termine d’elle-même après une demi-heure."


def find(gateways: Gateways, token: str | None) -> SignIn:
    """Return the sign-in in progress of a recipient that `token` opens.

    Raises `SignInOver`; `DepositWithdrawn` or `AvailabilityOver` as whoever proves the secret anew would be told.
    """
    query = (
        SignIn.select(SignIn, Access, Recipient, Deposit)
        .join(Access)
        .join(Recipient)
        .join(Deposit)
        .where(SignIn.token_hash == sessions.hashed(token or ""))
    )
    found, now = query.first(), gateways.clock.now()
    if found is None or now - found.created_at >= SIGN_IN_LASTS:
        raise SignInOver
    deposit = found.access.recipient.deposit
    if found.closed_at and found.closed_at != deposit.withdrawn_at:  # withdrawing closes what was in progress
        raise SignInOver
    deposits.check(deposit, now)
    return found


def locked(gateways: Gateways, sign_in: SignIn) -> SignIn:
    """Return the sign-in as it is now, locked until the transaction ends. Raises `SignInOver`.

    The access is locked first, as printing a new sheet does: neither overtakes the other half-way.
    """
    models.locked(Access.select().where(Access.id == sign_in.access_id)).get()
    row = models.locked(SignIn.select().where(SignIn.id == sign_in.id, SignIn.closed_at.is_null())).first()
    if row is None or gateways.clock.now() - row.created_at >= SIGN_IN_LASTS:
        raise SignInOver
    return row


def overtaken(gateways: Gateways, sign_in: SignIn) -> bool:
    """Tell whether a way was bound after this sign-in had chosen another, which it may not replace."""
    bound = way_bound(gateways, sign_in)
    if not bound:
        return False
    elsewhere = bound == "email" and sign_in.email != sign_in.access.recipient.email
    return sign_in.way != bound or elsewhere or sign_in.sealed_key is not None


def way_bound(gateways: Gateways, sign_in: SignIn) -> str:
    """Return the way already bound to the recipient, empty when they may choose.

    A second step waived by the office counts only as long as the operator lets offices waive it.
    After 100 wrong codes in a row for an application it is `office`, until a code told by the office was right.
    """
    return way_bound_to(gateways, sign_in.access)


def way_bound_to(gateways: Gateways, access: Access) -> str:
    """Return the way bound to whom an access is for, as `way_bound` does, whether they are signing in or not."""
    recipient = access.recipient
    if recipient.second_step_waived_because is not None and gateways.settings.act_alone != "refuse":
        return "act"
    if recipient.way == "app" and app_exhausted(access):
        return "office"
    # the act alone, chosen where anyone could, ends with the permission
    if recipient.way and (recipient.way != "act" or gateways.settings.act_alone == "anyone"):
        return str(recipient.way)
    return "email" if recipient.email and recipient.email_set_by == "office" else ""


def app_exhausted(access: Access) -> bool:
    """Tell whether so many codes of the application were wrong in a row that the office has to tell one."""
    return (
        CodeKey.select()
        .where(CodeKey.access == access, CodeKey.way == "app", CodeKey.failures >= APP_FAILURES)
        .exists()
    )


def secret_name(sign_in: SignIn) -> str:
    """Return what ties a sealed key to its sign-in."""
    return f"sign_in/{sign_in.id}"
