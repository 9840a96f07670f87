"""Retention: what must go, and when (art. 5). Access ends at the instant itself; the bytes follow as soon as a worker runs.

Deleting is erasing the wrapped key, then the bytes. A deletion record remains.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from dateutil.relativedelta import relativedelta

from mespieces import models
from mespieces.domain import accesses, clockwork, documents, journal
from mespieces.errors import Refused
from mespieces.gateways import Gateways
from mespieces.models import Access, Deposit, Document, Fact, JournalExport, Message, Recipient, Session, SignIn

REMEMBERED = 6  # calendar months during which who proves the secret is told that it is over
UNSETTLED = "keys.unsettled"
"""The fact that keys were erased and may still stand in SQLite's write-ahead log."""
ERASED = "(données effacées)"


class ClockJumped(Refused):
    """The clock moved forward more than a day since anything was last recorded."""

    message = (
        "L’horloge a avancé de plus d’un jour depuis la dernière activité : les suppressions attendent. "
        "Si la date est juste, confirmez-les avec « mespieces expire »."
    )


@dataclass(frozen=True, slots=True)
class Due:
    """A deposit whose documents must go."""

    deposit: Deposit
    documents: int


def due(now: datetime) -> list[Due]:
    """Return the deposits past their end with something left to delete, the earliest first."""
    waiting = Document.select(Document.deposit).where(Document.deleted_at.is_null())
    query = (
        Deposit.select()
        .where((Deposit.expires_at <= now) | Deposit.ended_at.is_null(False), Deposit.filed_at.is_null(False))
        .where(Deposit.ended_at.is_null() | Deposit.id.in_(waiting))
        .order_by(Deposit.expires_at)
    )
    return [Due(deposit, deposit.documents.count()) for deposit in query]


def expire(gateways: Gateways, *, confirmed: bool = False) -> list[Due]:
    """Delete what is due and return it. Can be cut anywhere and run again.

    Raises `ClockJumped` unless the operator confirmed the date.
    """
    now = gateways.clock.now()
    if confirmed:
        clockwork.confirm(now)
    elif clockwork.jumped(now):
        raise ClockJumped
    done = due(now)
    # Every key first: a disk that refuses to delete bytes keeps none of them readable.
    ended = [item.deposit for item in done if _end(gateways, item.deposit)]
    _settle()
    for deposit in ended:
        # Read whole first: SQLite lets nobody write who still reads what another has changed since.
        for document in list(deposit.documents.where(Document.deleted_at.is_null())):
            _delete(gateways, document)
    if confirmed:
        beat(gateways)
    return done


def forget(gateways: Gateways) -> int:
    """Erase references and secrets six months after the end, and return of how many deposits.

    Until then whoever proves the secret is told that it is over. Nothing goes while a jump of the clock waits to be
    confirmed.
    """
    now = gateways.clock.now()
    if clockwork.jumped(now):
        return 0
    before = now - relativedelta(months=REMEMBERED)
    ended = Deposit.ended_at.is_null(False) & (Deposit.expires_at <= before)
    query = Deposit.select().where(Deposit.forgotten_at.is_null(), ended | (Deposit.withdrawn_at <= before))
    done = [deposit for deposit in query if _forget(gateways, deposit)]
    _settle()
    return len(done)


def erase(gateways: Gateways) -> int:
    """Erase the names left in the rows of deposits that the journal and the way in have both forgotten.

    The office's reference and its members' names stay: they tell the office which of its own files a line was. Nothing
    goes while a jump of the clock waits to be confirmed. Returns of how many deposits.
    """
    if clockwork.jumped(gateways.clock.now()):
        return 0
    held = Document.select(Document.deposit).where(Document.deleted_at.is_null())
    query = Deposit.select().where(
        Deposit.erased_at.is_null(),
        Deposit.purged_at.is_null(False),
        Deposit.forgotten_at.is_null(False),
        Deposit.id.not_in(held),
    )
    over = list(query)
    for deposit in over:
        _erase(gateways, deposit)
    _settle()
    return len(over)


def beat(gateways: Gateways) -> None:
    """Remember that the worker lives, and at what time by its clock."""
    now = gateways.clock.now()
    with models.write():
        clockwork.notice(now, clockwork.last_record())
        clockwork.set_fact(clockwork.HEARTBEAT, now)


def sweep(gateways: Gateways) -> None:
    """Drop sessions and sign-ins that ended long ago and were never used to read anything."""
    before = gateways.clock.now() - timedelta(days=2)
    with models.write():
        SignIn.delete().where(SignIn.created_at < before).execute()
        used = models.Consultation.select(models.Consultation.session)
        Session.delete().where(Session.created_at < before, Session.id.not_in(used)).execute()


def sweep_orphans(gateways: Gateways, older_than: timedelta = timedelta(hours=6)) -> int:
    """Delete stored bytes that no document claims (an upload cut half-way), nor export, and return how many of them that was."""
    before = gateways.clock.now() - older_than
    gateways.vault.sweep_incoming(before)
    found: dict[str, datetime] = {}
    for stored in gateways.vault.names():
        folder = "/".join(stored.name.split("/")[:2])
        found[folder] = max(stored.modified, found.get(folder, stored.modified))
    kept = (
        *Document.select(Document.id).where(Document.deleted_at.is_null()),
        *JournalExport.select(JournalExport.id).where(JournalExport.deleted_at.is_null()),
    )
    known = {documents.folder(row.id) for row in kept}
    orphans = [folder for folder, modified in found.items() if folder not in known and modified < before]
    for folder in orphans:
        gateways.vault.delete_all(folder)
    return len(orphans)


def _forget(gateways: Gateways, deposit: Deposit) -> bool:
    with models.write():
        now = gateways.clock.now()
        changed = Deposit.update(forgotten_at=now).where(Deposit.id == deposit.id, Deposit.forgotten_at.is_null())
        if not changed.execute():
            return False
        accesses.forget(deposit)
        clockwork.set_fact(UNSETTLED, now)
        journal.append(gateways, "deposit.forgotten", deposit=deposit)
    return True


def _erase(gateways: Gateways, deposit: Deposit) -> None:
    """Erase what names somebody in a deposit's rows, what is a motive included, and the mails written to them."""
    people = Recipient.select(Recipient.id).where(Recipient.deposit == deposit)
    motives = ((Deposit.withdrawn_because, Deposit.id == deposit.id),
               (Recipient.second_step_waived_because, Recipient.deposit == deposit))  # fmt: skip
    nobody = {"name": ERASED, "representative": "", "address": "", "email": "", "mail_refused_because": ""}
    with models.write():
        now = gateways.clock.now()
        Deposit.update(creditor=ERASED, order_number=ERASED, erased_at=now).where(Deposit.id == deposit.id).execute()
        Document.update(title=ERASED, filename=ERASED).where(Document.deposit == deposit).execute()
        Recipient.update(nobody).where(Recipient.deposit == deposit).execute()
        for field, whose in motives:
            field.model.update({field: ERASED}).where(whose, field.is_null(False)).execute()
        accesses_of = Access.select(Access.id).where(Access.recipient.in_(people))
        Session.update(agent="").where(Session.access.in_(accesses_of)).execute()
        Message.delete().where(Message.recipient.in_(people)).execute()
        clockwork.set_fact(UNSETTLED, now)


def _end(gateways: Gateways, deposit: Deposit) -> bool:
    """Erase the keys: from here on nobody can read anything of the deposit, whatever happens to the bytes.

    False when a signification moved the end on meanwhile.
    """
    with models.write():
        row = models.locked(Deposit.select().where(Deposit.id == deposit.id)).first()
        if row.ended_at:
            return True
        now = gateways.clock.now()
        if row.expires_at > now:
            return False
        Deposit.update(ended_at=now).where(Deposit.id == deposit.id).execute()
        Document.update(wrapped_key=None).where(Document.deposit == deposit).execute()
        accesses.forget_keys(row)
        clockwork.set_fact(UNSETTLED, now)
        journal.append(gateways, "deposit.expired", deposit=row, detail={"available_until": row.expires_at.isoformat()})
    return True


def _delete(gateways: Gateways, document: Document) -> None:
    gateways.vault.delete_all(documents.folder(document.id))
    with models.write():
        if (
            Document.update(deleted_at=gateways.clock.now())
            .where(Document.id == document.id, Document.deleted_at.is_null())
            .execute()
        ):
            journal.append(gateways, "document.deleted", document=document)


def _settle() -> None:
    """Have erased keys leave SQLite's write-ahead log as well; tried again by the next run where it was cut or kept off."""
    if not Fact.select().where(Fact.name == UNSETTLED).exists():
        return
    if models.is_sqlite():
        busy = models.database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if busy:  # somebody reads an older state
            return
    with models.write():
        Fact.delete().where(Fact.name == UNSETTLED).execute()
