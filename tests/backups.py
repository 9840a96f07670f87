"""What an administrator of the database does to it: the guards taken off, an older state put back."""

from mespieces import models
from mespieces.domain import journal
from mespieces.models import JournalCheckpoint, JournalLog, JournalPayload, JournalRecord


def unguard(*tables: str) -> None:
    """Take off the triggers of these tables, inside the caller's transaction."""
    for table in tables:
        if models.is_sqlite():
            names = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?"
            for (name,) in models.database.execute_sql(names, (table,)).fetchall():
                models.database.execute_sql(f"DROP TRIGGER {name}")
        else:
            models.database.execute_sql(f"ALTER TABLE {table} DISABLE TRIGGER ALL")


def restore(size: int) -> None:
    """Put the database back as it was when the open journal had that size, as a backup does."""
    log = journal.head().log
    last = JournalRecord.get(JournalRecord.log == log, JournalRecord.sequence == size - 1)
    with models.write():
        unguard("journal_record", "journal_checkpoint")
        for table in (JournalPayload, JournalRecord):
            table.delete().where(table.log == log, table.sequence >= size).execute()
        JournalCheckpoint.delete().where(JournalCheckpoint.log == log, JournalCheckpoint.size > size).execute()
        JournalLog.update(size=size, head=last.hash, time=last.time).where(JournalLog.log == log).execute()
