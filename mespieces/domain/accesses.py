"""Accesses: what is printed on the act for one recipient (art. 3). Printing a sheet draws a new secret."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from uuid import UUID

from mespieces import models
from mespieces.domain import codes, deposits, journal, passwords, sessions, text
from mespieces.errors import Invalid, NotFound, Refused
from mespieces.gateways import Gateways
from mespieces.models import Access, CodeKey, Deposit, Member, Recipient, SignIn


class AccessMissing(NotFound):
    """No such access."""


class MotiveNeeded(Invalid):
    """After the first identification a new secret needs a stated reason."""

    field = "motive"
    message = "Ce destinataire s’est déjà identifié : indiquez pourquoi un nouveau code d’accès est nécessaire."


class NotFiled(Refused):
    """A sheet is printed once the deposit is filed."""

    message = "Le feuillet d’accès s’imprime une fois le dépôt effectué."


class SheetsPrintedMeanwhile(Refused):
    """Somebody printed a sheet since the page was shown: printing again would cancel it unknowingly."""

    message = (
        "Des feuillets de ce dépôt viennent d’être imprimés (double clic, ou collègue) : en imprimer d’autres annulerait "
        "ceux-là. Rechargez la page du dépôt et vérifiez avant de recommencer."
    )


class MotiveNeededForSome(MotiveNeeded):
    """Of the sheets asked for at once, some are of recipients identified already: one reason is stated for them all."""

    message = (
        "Des destinataires se sont déjà identifiés : indiquez pourquoi de nouveaux codes d’accès sont nécessaires."
    )


class NothingToPrint(Refused):
    """Every recipient has identified themselves already, and their sheets were not asked for."""

    message = "Tous les destinataires se sont déjà identifiés : demandez aussi leurs feuillets, avec un motif."


def of(recipient: Recipient) -> Access:
    """Return the recipient's access. Raises `AccessMissing` before filing."""
    found = Access.get_or_none(Access.recipient == recipient)
    if found is None:
        raise AccessMissing
    return found


def issue(
    gateways: Gateways,
    recipient: Recipient,
    *,
    by: journal.Author,
    member: Member | None = None,
    motive: str = "",
) -> tuple[Access, str]:
    """Draw a new secret for the recipient and return it, the only time it is known. Raises as `put`."""
    secret = codes.draw_secret()
    return put(gateways, recipient, passwords.stretch(secret), by=by, member=member, motive=motive), secret


def put(
    gateways: Gateways,
    recipient: Recipient,
    stretched: str,
    *,
    by: journal.Author,
    member: Member | None = None,
    motive: str = "",
    last: str | None = None,
) -> Access:
    """Give the recipient's access its new secret, stretched beforehand; the old one stops at once.

    Its sessions and sign-ins in progress end with it. `last` is what `last_printed` said when the member was shown
    what would be printed. Raises `MotiveNeeded` after the first identification, `SheetsPrintedMeanwhile`, `NotFiled`,
    `AlreadyWithdrawn`.
    """
    motive = text.line(motive, "motive", needed=False)
    with models.write():
        now = gateways.clock.now()
        printable(recipient.deposit_id, now)
        access = models.locked(Access.select().where(Access.recipient == recipient)).get()
        if access.first_identified_at and not motive:
            raise MotiveNeeded
        if last is not None and last_printed([access]) != last:
            raise SheetsPrintedMeanwhile
        _replace(access, stretched, now, member)
        journal.append(
            gateways,
            "recipient.access_issued",
            author=by,
            recipient=recipient,
            detail={"again": access.issued_at is not None, **({"motive": motive} if motive else {})},
        )
    return access


def unused(deposit: Deposit) -> list[Access]:
    """Return the accesses nobody was identified with yet, in the order of the recipients."""
    return [access for access in every(deposit) if access.first_identified_at is None]


def every(deposit: Deposit) -> list[Access]:
    """Return the accesses of the deposit, in the order of the recipients."""
    query = Access.select(Access, Recipient).join(Recipient).where(Recipient.deposit == deposit)
    return list(query.order_by(Recipient.added_at, Recipient.id))


def last_printed(accesses: Iterable[Access]) -> str:
    """Return when a sheet was last printed of any of these, as text that a form carries; empty when never."""
    printed = [access.issued_at for access in accesses if access.issued_at]
    return max(printed).isoformat() if printed else ""


def issue_all(
    gateways: Gateways,
    deposit: Deposit,
    drawn: Mapping[UUID, str],
    *,
    last: str,
    by: journal.Author,
    member: Member | None = None,
    everyone: bool = False,
    motive: str = "",
) -> None:
    """Give each access of `drawn` its new secret, stretched beforehand: all of them, or none; the old ones stop at once.

    `drawn` holds those of `unused`, or of `every` where `everyone` is asked for; `motive` is journaled for who was
    identified already. `last` is what `last_printed` said of all when the member was shown what would be printed.
    Raises `SheetsPrintedMeanwhile`, also when somebody identified themselves since, `MotiveNeededForSome`, `NotFiled`,
    `AlreadyWithdrawn`.
    """
    motive = text.line(motive, "motive", needed=False)
    with models.write():
        now = gateways.clock.now()
        printable(deposit.id, now)
        accesses = every(deposit)
        present = accesses if everyone else [access for access in accesses if access.first_identified_at is None]
        if last_printed(accesses) != last or {access.id for access in present} != drawn.keys():
            raise SheetsPrintedMeanwhile
        if not motive and any(access.first_identified_at for access in present):
            raise MotiveNeededForSome
        for access in present:
            _replace(access, drawn[access.id], now, member)
            why = {"motive": motive} if access.first_identified_at else {}
            detail = {"again": access.issued_at is not None, "batch": True, **why}
            journal.append(gateways, "recipient.access_issued", author=by, recipient=access.recipient, detail=detail)


def by_deposit(deposit: Deposit) -> dict[UUID, Access]:
    """Return the access of each recipient of the deposit."""
    query = Access.select().join(Recipient).where(Recipient.deposit == deposit)
    return {row.recipient_id: row for row in query}


def printable(deposit_id: UUID, now: datetime) -> None:
    """Lock the deposit whose sheets are printed. Raises `AlreadyWithdrawn`, `NotFiled`."""
    deposit = models.locked(Deposit.select().where(Deposit.id == deposit_id)).first()
    if deposit.withdrawn_at:
        raise deposits.AlreadyWithdrawn(reference=deposit.office_reference)
    if deposits.state(deposit, now) != deposits.State.FILED:
        raise NotFiled


def _replace(access: Access, stretched: str, now: datetime, member: Member | None) -> None:
    """Put a new secret in place of the old one, with which everything open ends."""
    Access.update(secret_hash=stretched, issued_at=now, issued_by=member).where(Access.id == access.id).execute()
    sessions.end_all(access, now)
    SignIn.update(closed_at=now).where(SignIn.access == access, SignIn.closed_at.is_null()).execute()


def forget(deposit: Deposit) -> None:
    """Erase references and secrets, inside the caller's transaction: whoever types them is then told as any stranger."""
    of_deposit = Recipient.select(Recipient.id).where(Recipient.deposit == deposit)
    Access.update(reference=None, secret_hash=None).where(Access.recipient.in_(of_deposit)).execute()
    forget_keys(deposit)


def forget_keys(deposit: Deposit) -> None:
    """Erase what could still open the deposit, inside the caller's transaction."""
    ids = Access.select(Access.id).join(Recipient).where(Recipient.deposit == deposit)
    CodeKey.delete().where(CodeKey.access.in_(ids)).execute()
    SignIn.delete().where(SignIn.access.in_(ids)).execute()
