"""Offers: before the journal forgets a deposit, its office is told, in time to keep its *dossier de preuve* (art. 5 and 6)."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any
from uuid import UUID

from dateutil.relativedelta import relativedelta
from peewee import fn

from mespieces import models
from mespieces.domain import calendar, clockwork, deposits, french, offices, outbox, purges
from mespieces.gateways import Gateways
from mespieces.models import Deposit, Document, Message, Office

AHEAD = relativedelta(months=1)
"""How long before the purge is due the office is told; later when less is left, and the purge then waits (`purges.TOLD`)."""
BETWEEN = timedelta(hours=20)  # what becomes due later in the day goes into the next day's mail
LISTED = 50  # deposits named in one mail


def tell(gateways: Gateways) -> int:
    """Have each office told, in one mail a day, of the deposits that the journal forgets soon; return how many mails.

    Each deposit is told of once. Nobody is told while a jump of the clock waits to be confirmed.
    """
    now = gateways.clock.now()
    if clockwork.jumped(now):
        return 0
    soon = [one for one in _untold() if (due := purges.due_at(gateways, one)) and due <= _horizon(one.office, now)]
    told = sum(
        _tell(gateways, office, [one.id for one in theirs])
        for office, theirs in groupby(soon, key=lambda one: one.office)
    )
    if told:
        gateways.bell.ring("mail")
    return told


def waiting(office: Office) -> int:
    """Return of how many deposits the office was told, without having drawn a dossier of all they had."""
    return int(Deposit.select().where(Deposit.office == office, _wanted()).count())


def wanting(among: Iterable[UUID]) -> set[UUID]:
    """Return those of these deposits whose office was told, and has no dossier of all they had."""
    query = Deposit.select(Deposit.id).where(Deposit.id.in_(list(among)), _wanted())
    return {one.id for one in query}


def _wanted() -> Any:
    """Return what makes a dossier wanted: one drawn before the last deletion, as any before the end, lacks what was recorded since."""
    later = Document.select().where(
        Document.deposit == Deposit.id, Document.deleted_at.is_null() | (Document.deleted_at > Deposit.dossier_at)
    )
    old = Deposit.dossier_at.is_null() | fn.EXISTS(later)
    return Deposit.purge_told_at.is_null(False) & Deposit.purged_at.is_null() & old


def write(gateways: Gateways, message: Message) -> tuple[str, str, str] | None:
    """Return address, subject and text of the mail, None once all that it would tell of is forgotten."""
    query = Deposit.select().where(
        Deposit.office == message.office, Deposit.purge_told_at == message.created_at, Deposit.purged_at.is_null()
    )
    told = list(query.order_by(Deposit.expires_at, Deposit.office_reference).limit(LISTED))
    if not told:
        return None
    count, site = query.count(), f"{gateways.settings.public_url}/etude/depots"
    rest = french.counted(count - LISTED, "autre")
    others = f"Et {rest} :\n    {site}?etat={deposits.FORGOTTEN_SOON}\n\n" if count > LISTED else ""
    return (
        message.office.email,
        "Un dépôt sera bientôt effacé du journal : gardez-en la preuve"
        if count == 1
        else f"{count} dépôts seront bientôt effacés du journal : gardez-en la preuve",
        f"{'Ce dépôt est terminé' if count == 1 else 'Ces dépôts sont terminés'}, pièces supprimées. Le journal doit à son tour "
        "oublier ce qu’il en dit, comme le veut la loi.\n\n"
        "Avant cette date, téléchargez le dossier de preuve de ce qui peut encore vous servir : attestations et reçus, "
        "qui se vérifient sans ce service, pour toujours. Après, le journal ne gardera que le numéro, la date, le genre et "
        "l’empreinte de chaque enregistrement : aucun reçu ne pourra plus en être établi, et une attestation demandée alors "
        "rapportera sans prouver. Ce que vous aurez gardé vaudra toujours.\n\n"
        + "".join(_line(gateways, one, site) for one in told)
        + others
        + "Vous ne recevrez pas d’autre rappel pour "
        + ("ce dépôt.\n" if count == 1 else "ces dépôts.\n"),
    )


def _line(gateways: Gateways, deposit: Deposit, site: str) -> str:
    day = french.last_day(purges.forgets_at(gateways, deposit) or gateways.clock.now())
    return f"{deposit.office_reference} ({deposit.creditor}), jusqu’au {day} :\n    {site}/{deposit.id}#preuves\n\n"


def _untold() -> list[Deposit]:
    query = Deposit.select(Deposit, Office).join(Office).where(
        Deposit.ended_at.is_null(False), Deposit.purge_told_at.is_null(), Deposit.purged_at.is_null()
    )  # fmt: skip
    return list(query.order_by(Deposit.office, Deposit.expires_at))


def _horizon(office: Office, now: datetime) -> datetime:
    """Return until when a purge is near: by whole days of the office, so that one mail tells of all that a day brings."""
    zone = offices.zone(office)
    return calendar.end_of(now.astimezone(zone).date() + AHEAD, zone)


def _tell(gateways: Gateways, office: Office, ids: list[UUID]) -> bool:
    with models.write():
        models.locked(Office.select().where(Office.id == office.id)).get()
        since = gateways.clock.now() - BETWEEN
        lately = (Message.office == office) & (Message.kind == "dossier_offer") & (Message.created_at > since)
        untold = Deposit.id.in_(ids) & Deposit.purge_told_at.is_null()
        if Message.select().where(lately).exists() or not Deposit.select().where(untold).exists():
            return False
        message = outbox.queue(gateways, "dossier_offer", office=office)
        Deposit.update(purge_told_at=message.created_at).where(untold).execute()
    return True
