"""PostgreSQL with the two roles of `docs/postgresql.md`: the service does its work and cannot touch what is written."""

import dataclasses
import os
import re
import secrets
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import make
import psycopg
import pytest
import servers
from conftest import hang_up

from mespieces import config, migrations, models, runtime
from mespieces.cli import check
from mespieces.domain import (
    checkpoints,
    clockwork,
    consultations,
    continuity,
    exports,
    journal,
    offers,
    purges,
    retention,
    verifications,
)
from mespieces.gateways import keys
from mespieces.gateways.clock import ManualClock
from mespieces.models import Deposit

PAGE = Path(__file__).parents[2] / "docs" / "postgresql.md"


@pytest.fixture
def roles():
    """Make the two roles and their database as the page says, under names of this test alone; give both addresses."""
    try:
        server = servers.shared_postgresql()
    except servers.Missing as missing:
        pytest.skip(str(missing))
    suffix = secrets.token_hex(4)
    first, second = re.findall(
        r"```sql\n(.*?)```", PAGE.read_text("utf-8").replace("mespieces", f"m{suffix}"), re.DOTALL
    )
    database, owner, app = f"m{suffix}", f"m{suffix}_owner", f"m{suffix}_app"
    address = server.partition("@")[2]
    with psycopg.connect(f"{server}/postgres", autocommit=True) as administrator:
        for statement in filter(str.strip, first.split(";")):
            administrator.execute(statement)
    tables = models.connect(f"postgresql://{owner}@{address}/{database}")
    with tables.connection_context():
        migrations.apply(tables)
    hang_up(tables)
    for _ in range(2):  # at each new version again
        with psycopg.connect(f"postgresql://{owner}@{address}/{database}", autocommit=True) as granting:
            granting.execute(second)
    yield f"postgresql://{owner}@{address}/{database}", f"postgresql://{app}@{address}/{database}"
    servers.drop_database(f"{server}/{database}")
    with psycopg.connect(f"{server}/postgres", autocommit=True) as administrator:
        administrator.execute(f"DROP ROLE {owner}")
        administrator.execute(f"DROP ROLE {app}")


@pytest.fixture
def settings(roles, tmp_path):
    settings = config.read(
        {
            "MESPIECES_DATA": str(tmp_path),
            "MESPIECES_DATABASE_URL": roles[1],
            "MESPIECES_STORAGE_URL": "memory:",
            "MESPIECES_MAIL_URL": "memory:",
            "MESPIECES_PUBLIC_URL": "https://pieces.example.fr",
        }
    )
    (tmp_path / "keys").mkdir()
    for path in (settings.master_key_file, settings.secret_key_file, settings.journal_key_file):
        keys.create(path)
    return settings


@pytest.fixture
def gateways(settings):
    """Open the product as its service does, tables and keys checked."""
    opened = runtime.open_runtime(settings, clock=ManualClock(make.NOW))
    opened.database.connect()
    try:
        journal.open_log(opened.gateways)
        yield opened.gateways
    finally:
        hang_up(opened.database)


def move(gateways, to):
    gateways.clock.advance(to - gateways.clock.now())
    clockwork.confirm(gateways.clock.now())


def test_the_service_files_serves_ends_purges_and_exports_without_owning_anything(gateways, tmp_path):
    deposit = make.filed(gateways, documents=2)
    session = make.identified(gateways, make.first(deposit))
    reading = consultations.open_document(gateways, session, 1, "file", make.TRACE, whole=True)
    consultations.finish(gateways, session, reading, "file", make.TRACE, whole=True, sent=1)
    continuity.keep(gateways, checkpoints.publish(gateways))
    move(gateways, deposit.expires_at + timedelta(hours=1))
    assert retention.expire(gateways)
    move(gateways, purges.due_at(gateways, Deposit.get_by_id(deposit.id)) - purges.TOLD)
    assert offers.tell(gateways)
    move(gateways, purges.due_at(gateways, Deposit.get_by_id(deposit.id)))
    retention.sweep(gateways)
    retention.forget(gateways)
    assert purges.run(gateways) > 0

    assert {"document.consulted", "document.delivered", "deposit.expired", "journal.purged"} <= set(make.operations())
    assert verifications.verify(gateways).findings == ()
    exports.write(gateways, tmp_path / "export", by=journal.OPERATOR)
    opened = continuity.reopen(gateways)
    assert opened.log == journal.head().log


def test_the_service_is_installed_and_checked_by_its_own_role(roles, tmp_path):
    bare = {name: value for name, value in os.environ.items() if not name.startswith("MESPIECES_")}
    environment = bare | {"MESPIECES_DATA": str(tmp_path / "data"), "MESPIECES_DATABASE_URL": roles[1]}
    office = [
        "--office-name",
        "SCP Lefèvre",
        "--office-address",
        "14 rue des Carmes",
        "--office-phone",
        "02 40 00 00 00",
    ]
    office += ["--office-email", "etude@example.fr", "--admin-name", "Claire", "--admin-email", "claire@example.fr"]
    for arguments in (["init", *office], ["migrate"], ["check"], ["journal", "verify"]):
        program = [sys.executable, "-c", "from mespieces.cli import main; main()", *arguments]
        done = subprocess.run(
            program, cwd=PAGE.parents[1], env=environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        assert "docs/postgresql.md" not in done.stdout


FORBIDDEN = [
    "DROP TRIGGER journal_record_no_change ON journal_record",
    "ALTER TABLE journal_record DISABLE TRIGGER ALL",
    "ALTER TABLE journal_record DISABLE TRIGGER journal_record_no_change",
    "ALTER TABLE journal_record RENAME TO other",
    "ALTER TABLE journal_record OWNER TO CURRENT_USER",
    "SET session_replication_role = replica",
    "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    "CREATE TABLE public.other (x INTEGER)",
    "DROP TABLE journal_payload",
    "TRUNCATE journal_record CASCADE",
    "TRUNCATE journal_payload",
    "UPDATE journal_record SET header = '\\x00'",
    "UPDATE journal_record SET operation = 'deposit.filed'",
    "DELETE FROM journal_record",
    "UPDATE journal_payload SET sequence = 7",
    "DELETE FROM journal_payload",
    "UPDATE journal_log SET origin = 'x'",
    "DELETE FROM journal_log",
    "UPDATE journal_checkpoint SET note = '\\x00'",
    "DELETE FROM journal_checkpoint",
    "TRUNCATE journal_checkpoint CASCADE",
    "DELETE FROM journal_timestamp",
    "UPDATE journal_subtree SET hash = '\\x00'",
    "DELETE FROM schema_migration",
]


def test_the_service_s_role_can_neither_stop_the_guards_nor_rewrite_what_is_written(gateways, roles):
    checkpoints.publish(gateways)
    before = servers.dump(roles[0])
    for statement in FORBIDDEN:
        with psycopg.connect(roles[1]) as thief, pytest.raises(psycopg.errors.InsufficientPrivilege):
            thief.execute(statement)
    assert servers.dump(roles[0]) == before


def test_the_owner_is_refused_as_well_while_its_triggers_stand(gateways, roles):
    for statement in ("UPDATE journal_record SET header = '\\x00'", "DELETE FROM journal_record"):
        with psycopg.connect(roles[0]) as owner, pytest.raises(psycopg.errors.RaiseException, match="never changes"):
            owner.execute(statement)


def test_a_service_that_owns_its_journal_is_remarked(settings, gateways, roles):
    assert list(check._owner(settings)) == []

    (remark,) = check._owner(dataclasses.replace(settings, database_url=roles[0]))
    assert "docs/postgresql.md" in remark
