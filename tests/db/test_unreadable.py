"""What somebody who has the whole database leaves there, and that is nothing the service writes: named, never a fall."""

import logging
import sqlite3
from contextlib import closing, contextmanager

import make
import pytest
from backups import unguard

from mespieces import models
from mespieces.domain import anchors, checkpoints, consultations, journal, tokens, verifications
from mespieces.models import JournalRecord


@pytest.fixture
def deposit(gateways):
    return make.filed(gateways, documents=2)


@pytest.fixture
def consulted(gateways, deposit):
    """Have a recipient open the first document, and return the sequence of the consultation's record."""
    session = make.identified(gateways, make.first(deposit))
    consultations.open_document(gateways, session, 1, "text", make.TRACE).close()
    return JournalRecord.get(JournalRecord.operation == "document.consulted").sequence


@pytest.fixture
def foreign_keys_off(gateways):
    """What a stranger's connection does, which knows of no references."""

    @contextmanager
    def opened():
        if models.is_sqlite():
            with closing(sqlite3.connect(models.database.database)) as stranger, stranger:
                yield stranger.execute
        else:
            with models.write():
                models.database.execute_sql("SET LOCAL session_replication_role = replica")
                yield models.database.execute_sql

    return opened


def run(statement):
    with models.write():
        models.database.execute_sql(statement)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # PostgreSQL's columns have types
def test_sqlite_too_refuses_a_value_of_another_type_from_any_program(gateways):
    tables = models.database.execute_sql("SELECT name, strict FROM pragma_table_list WHERE type = 'table'").fetchall()
    loose = {name for name, strict in tables if not strict and not name.startswith("sqlite_")}
    assert loose == {"schema_migration"}  # the migrations' own

    with closing(sqlite3.connect(models.database.database)) as stranger:
        for change in (
            "UPDATE journal_payload SET body = replace(body, 'a', 'b')",
            "UPDATE journal_payload SET deposit = x'ff'",
            "INSERT INTO journal_subtree VALUES ('x', 8, 0, 'ff')",
        ):
            with pytest.raises(sqlite3.IntegrityError, match="cannot store"):
                stranger.execute(change)


@pytest.mark.parametrize("column", ["time", "hash", "operation", "previous"])
def test_a_column_that_holds_nothing_readable_is_named_by_its_record(gateways, consulted, column):
    with models.write():
        unguard("journal_record")
    run(f"UPDATE journal_record SET {column} = 'zzz' WHERE sequence = {consulted}")  # noqa: S608 — what a tamperer writes

    found = verifications.verify(gateways).findings

    assert f"{consulted} PROJECTION_ALTERED" in found


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # an identifier is a text there
@pytest.mark.parametrize("column", ["deposit", "office"])
def test_an_identifier_that_is_none_is_named_by_its_record(gateways, consulted, column):
    run(f"UPDATE journal_payload SET {column} = 'nobody' WHERE sequence = {consulted} AND payload_group = 'proof'")  # noqa: S608 — as above

    assert verifications.verify(gateways).findings[0] == f"{consulted} PROJECTION_ALTERED"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # an instant is a text there
def test_an_hour_that_is_none_is_named_by_the_consultation_s_record(gateways, consulted):
    run("UPDATE consultation SET opened_at = 'yesterday'")

    assert verifications.verify(gateways).findings == (f"{consulted} TABLE_ALTERED",)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # a date is a text there
def test_a_value_that_cannot_be_read_at_all_is_named_and_the_operator_told(gateways, deposit, caplog):
    run("UPDATE document SET dated = '2026-02-30'")

    found = verifications.verify(gateways)

    assert [one.split(" ")[1] for one in found.findings] == ["VALUE_UNREADABLE"]
    assert verifications.last() == found
    assert any(told.levelno == logging.ERROR and "not read beyond record" in told.message for told in caplog.records)


@pytest.mark.parametrize("change", ["sequence = -5", "log = 'nowhere'"])
def test_a_row_of_no_journal_is_named(gateways, consulted, change):
    run(f"UPDATE consultation SET {change}")  # noqa: S608 — as above

    sequence = -5 if "-5" in change else consulted
    assert f"{sequence} TABLE_ALTERED" in verifications.verify(gateways).findings[1:]


def test_a_page_says_that_a_record_cannot_be_read(gateways, deposit, consulted, caplog):
    assert len(journal.story(deposit)) > 1
    run(f"UPDATE journal_payload SET body = salt WHERE sequence = {consulted} AND payload_group = 'proof'")  # noqa: S608 — as above

    with pytest.raises(journal.JournalUnreadable):
        journal.story(deposit)
    assert f"record {consulted} (document.consulted) cannot be read" in caplog.text


def test_a_token_s_record_that_cannot_be_read_names_no_token(gateways):
    log = journal.head().log
    with models.write():
        at = journal.append(gateways, "journal.anchored", detail={"size": 1, "number": 1, "sha256": "0" * 64})
    run(f"UPDATE journal_payload SET body = salt WHERE sequence = {at} AND payload_group = 'proof'")  # noqa: S608 — as above

    assert tokens.believed(log, 1, b"", b"") is None


def test_a_head_whose_time_is_not_the_last_record_s_is_named(gateways):
    run("UPDATE journal_log SET time = '2031-01-01T00:00:00.000000Z'")

    assert verifications.verify(gateways).findings == (f"{journal.head().size - 1} PROJECTION_ALTERED",)


def test_a_payload_in_the_place_of_a_record_to_come_is_named(gateways, foreign_keys_off):
    row = journal.head()
    with foreign_keys_off() as stranger:
        stranger(f"INSERT INTO journal_payload VALUES ('{row.log}', {row.size + 2}, 'proof', NULL, NULL, NULL, NULL)")  # noqa: S608 — as above

    assert verifications.verify(gateways).findings == (f"{row.size + 2} TABLE_ALTERED",)


def test_a_token_over_a_checkpoint_that_is_not_there_is_named_and_dates_nothing(gateways, foreign_keys_off):
    row, now = journal.head(), "2026-11-24T10:00:00.000000Z"
    with foreign_keys_off() as stranger:
        stranger(
            f"INSERT INTO journal_timestamp (log, size, number, der, time, authority, qualified, asked_at, answered_at) "  # noqa: S608 — as above
            f"SELECT '{row.log}', {row.size}, 1, hash, '{now}', 'Invented', 0, '{now}', '{now}' FROM "
            f"(SELECT salt AS hash FROM journal_payload LIMIT 1) AS any_bytes"
        )

    assert verifications.verify(gateways).findings == (f"{row.size - 1} BAD_TIMESTAMP",)
    assert anchors.newest() is None


@pytest.mark.parametrize("more", [5, 2**62])
def test_a_head_that_counts_more_records_than_there_are_has_nothing_signed(gateways, more):
    run(f"UPDATE journal_log SET size = size + {more}")  # noqa: S608 — as above

    with pytest.raises(checkpoints.TreeAltered):
        checkpoints.publish(gateways)
    assert not checkpoints.head(gateways).sound
