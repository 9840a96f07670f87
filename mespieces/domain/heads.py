"""Heads leave the building: each night every office is mailed the journal's newest checkpoint, which others then hold.

Whoever rewrites the past afterwards contradicts what lies in mailboxes that do not obey them.
"""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from mespieces import models
from mespieces.domain import anchors, checkpoints, clockwork, continuity, french, offices, outbox
from mespieces.gateways import Gateways
from mespieces.models import Fact, JournalCheckpoint, JournalLog, JournalRecord, Message, Office
from mespieces.verifier import note

HOUR = 3
"""At what hour of the office's own time its night's checkpoint leaves."""

Enclosing = tuple[str, str, str, dict[str, bytes]]
"""Address, subject, text, files by name."""

_TOLD = "head."
"""The fact, one an office, of its last night: when, and the journal and size it was last mailed."""


def mail(gateways: Gateways) -> int:
    """Queue the mail of each office whose night has come, once a night whoever asks, and return how many.

    1. A database put back from a backup mails nothing: its head is of the past.
    2. Nothing was recorded since the office's last one, except anchors: its night passes without a mail.

    Raises `continuity.JournalRestored`, `continuity.CheckpointUnreadable`, `JournalClosed`.
    """
    now = gateways.clock.now()
    waiting = [office for office, told in _present() if _due(office, told, now)]
    if not waiting:
        return 0
    continuity.check(gateways.settings.newest_checkpoint_file)  # (1)
    published = note.parse_checkpoint(note.split(checkpoints.publish(gateways))[0])
    queued = sum(_tell(gateways, office, published) for office in waiting)
    if queued:
        gateways.bell.ring("mail")
    return queued


def write(_gateways: Gateways, message: Message) -> Enclosing | None:
    """Return the mail of a night: the checkpoint as it was published then, in words and as a file; None for an office that left."""
    kept = _published(message.created_at)
    if kept is None or not offices.present(message.office):
        return None
    signed = bytes(kept.note)
    checkpoint = note.parse_checkpoint(note.split(signed)[0])
    size = french.counted(checkpoint.size, "enregistrement")
    first = french.counted(checkpoint.size, "premier enregistrement", "premiers enregistrements")
    return (
        message.office.email,
        f"Point de contrôle du journal : {size}",
        "Gardez ce message et sa pièce jointe, ailleurs que sur ce service. Ils permettent de prouver que le passé du "
        f"journal, {'ses' if checkpoint.size > 1 else 'son'} {first}, n’a pas été réécrit.\n\n"
        f"Journal {kept.log}\n"
        f"Enregistrements : {checkpoint.size}\n"
        f"Racine : {checkpoint.root.hex()}\n\n"
        "Pour vérifier un jour un export du journal, remis par l’exploitant :\n\n"
        f"    mespieces-verify EXPORT --since {checkpoint.size}.note\n\n"
        "La pièce jointe contient exactement ceci, signé :\n\n"
        f"{signed.decode()}",
        {f"{checkpoint.size}.note": signed},
    )


def _present() -> list[tuple[Office, Fact | None]]:
    """Return the offices that have a member, each with what it was last told: the others have left, or are yet to come."""
    told = {fact.name: fact for fact in Fact.select().where(Fact.name.startswith(_TOLD))}
    return [(office, told.get(f"{_TOLD}{office.id}")) for office in offices.staffed()]


def _due(office: Office, told: Fact | None, now: datetime) -> bool:
    """Tell whether the office's night has come since its last one; it has none before its first."""
    local = now.astimezone(ZoneInfo(office.time_zone))
    night = local.replace(hour=HOUR, minute=0, second=0, microsecond=0, fold=0)
    if local < night:
        night -= timedelta(days=1)
    night = night.astimezone(UTC)
    # A night told a day ahead was told before the clock was set right: it is no reason to stay silent until then.
    return office.created_at < night and (told is None or told.at < night or told.at > now + timedelta(days=1))


def _tell(gateways: Gateways, office: Office, published: note.Checkpoint) -> bool:
    now, name = gateways.clock.now(), f"{_TOLD}{office.id}"
    log = published.origin.rpartition("/")[2]
    with models.write():
        models.locked(Office.select().where(Office.id == office.id)).get()
        told = Fact.get_or_none(Fact.name == name)
        if not _due(office, told, now):  # another worker was first
            return False
        grown = _grown(told.detail if told else "", log, published.size)  # (2)
        clockwork.set_fact(name, now, f"{log} {published.size}" if grown else told.detail)
        if grown:
            outbox.queue(gateways, "checkpoint", office=office)
    return grown


def _grown(told: str, log: str, size: int) -> bool:
    """Tell whether more than anchors were recorded since what an office was told (`log size`)."""
    of, _, reached = told.partition(" ")
    record = JournalRecord
    since = (record.log == log) & (record.sequence < size) & (record.operation != anchors.ANCHORED)
    return of != log or record.select().where(since, record.sequence >= int(reached)).exists()


def _published(at: datetime) -> JournalCheckpoint | None:
    """Return the newest checkpoint that was kept then: the one of that night, however late its mail leaves."""
    log = JournalLog.select().where(JournalLog.opened_at <= at).order_by(JournalLog.opened_at.desc()).first()
    query = JournalCheckpoint.select().where(JournalCheckpoint.log == (log.log if log else ""))
    kept: JournalCheckpoint | None = (
        query.where(JournalCheckpoint.created_at <= at).order_by(JournalCheckpoint.size.desc()).first()
    )
    return kept
