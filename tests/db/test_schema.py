"""The tables that migrations make, and those that the models describe; what the database itself refuses."""

import re
import sqlite3
from contextlib import closing

import peewee as pw
import pytest

from mespieces import migrations, models
from mespieces.domain import checkpoints, journal
from mespieces.verifier import note

MODELS = pytest.mark.parametrize("model", models.TABLES, ids=lambda model: model.__name__)


@pytest.fixture
def database(gateways):
    return models.database.obj


def columns(model):
    return {field.column_name: field for field in model._meta.sorted_fields}


def unique_in(model):
    """The sets of columns that the model says are unique."""
    alone = {(field.column_name,) for field in model._meta.sorted_fields if field.unique or field.primary_key}
    primary = model._meta.primary_key
    composite = (
        {tuple(model._meta.fields[n].column_name for n in primary.field_names)} if _composite(primary) else set()
    )
    several = {
        tuple(model._meta.fields[n].column_name for n in names) for names, unique in model._meta.indexes if unique
    }
    return alone | composite | several


def _composite(primary):
    return isinstance(primary, pw.CompositeKey)


def test_the_database_has_the_models_tables_and_no_other(database):
    described = {model._meta.table_name for model in models.TABLES}

    assert set(database.get_tables()) - described == {"schema_migration"}
    assert described <= set(database.get_tables())


@MODELS
def test_a_table_has_the_models_columns_and_the_same_may_be_empty(database, model):
    stored = {column.name: column for column in database.get_columns(model._meta.table_name)}

    assert stored.keys() == columns(model).keys()
    for name, field in columns(model).items():
        if not stored[name].primary_key:  # SQLite calls a single text key nullable
            assert stored[name].null == field.null, name


@MODELS
def test_a_table_refuses_twice_what_the_model_says_is_unique(database, model):
    indexes = database.get_indexes(model._meta.table_name)
    unique = {tuple(index.columns) for index in indexes if index.unique}
    unique |= {tuple(database.get_primary_keys(model._meta.table_name))}

    extra = {("log", "previous")} if model is models.JournalRecord else set()
    assert unique == unique_in(model) | extra


@MODELS
def test_a_table_has_an_index_for_what_is_searched(database, model):
    found = {next(iter(index.columns)) for index in database.get_indexes(model._meta.table_name)}
    searched = {
        field.column_name
        for field in model._meta.sorted_fields
        if (field.index and not isinstance(field, pw.ForeignKeyField))
        or (isinstance(field, pw.ForeignKeyField) and field.backref != "+")
    }

    assert searched <= found | set(database.get_primary_keys(model._meta.table_name))


@MODELS
def test_foreign_keys_point_where_the_models_say(database, model):
    stored = {(key.column, key.dest_table) for key in database.get_foreign_keys(model._meta.table_name)}
    described = {
        (field.column_name, field.rel_model._meta.table_name)
        for field in model._meta.sorted_fields
        if isinstance(field, pw.ForeignKeyField)
    }

    assert described <= stored
    assert all(model._meta.table_name.startswith("journal_") for _ in stored - described)


REFUSED = [
    "UPDATE journal_record SET operation = 'deposit.filed'",
    "UPDATE journal_record SET header = header",
    "DELETE FROM journal_record",
]
REFUSED_BY = {
    "sqlite": ["INSERT OR REPLACE INTO journal_record SELECT * FROM journal_record"],
    "postgresql": ["TRUNCATE journal_record CASCADE"],
}


def test_the_database_refuses_to_change_a_record_of_the_journal(database):
    kind = "sqlite" if models.is_sqlite() else "postgresql"
    before = list(models.JournalRecord.select().tuples())
    assert before

    for statement in REFUSED + REFUSED_BY[kind]:
        with pytest.raises(pw.PeeweeException, match="journal_record never changes"), models.write():
            database.execute_sql(statement)
        assert list(models.JournalRecord.select().tuples()) == before


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # PostgreSQL looks through nothing
def test_what_guards_an_append_looks_at_two_places_however_long_the_journal_is(database):
    ((sql,),) = database.execute_sql("SELECT sql FROM sqlite_master WHERE name = 'journal_record_no_replace'")
    condition = re.sub(r"NEW\.\w+", "'x'", re.search(r"WHEN (.*?)\s+BEGIN", sql, re.DOTALL)[1])

    plan = [step[-1] for step in database.execute_sql(f"EXPLAIN QUERY PLAN SELECT {condition}")]

    searches = [step for step in plan if "journal_record" in step]
    assert len(searches) == 2
    assert [key for key in ("sequence", "previous") if any(f"(log=? AND {key}=?)" in one for one in searches)] == [
        "sequence", "previous",
    ]  # fmt: skip


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # PostgreSQL has no INSERT OR REPLACE
def test_a_program_that_knows_nothing_of_the_product_replaces_no_record_either(database):
    before = list(models.JournalRecord.select().tuples())

    rest = ", 'forged', operation, time, header"
    with closing(sqlite3.connect(database.database)) as stranger:  # without the product's settings of a connection
        for place in (
            f"log, sequence, previous{rest}",
            f"log, sequence + 1, previous{rest}",
            f"log, sequence, 'other'{rest}",
        ):
            with pytest.raises(sqlite3.IntegrityError, match="journal_record never changes"):
                stranger.execute(
                    f"INSERT OR REPLACE INTO journal_record SELECT {place} FROM journal_record"  # noqa: S608 — names of columns
                )

    assert list(models.JournalRecord.select().tuples()) == before


@pytest.mark.parametrize("table", ["journal_checkpoint", "journal_timestamp"])
def test_the_database_refuses_to_change_or_take_away_what_was_published(database, gateways, table):
    published(gateways)
    before = published_rows()
    assert [len(rows) for rows in before] == [1, 1]
    statements = [f"UPDATE {table} SET size = size + 1", f"DELETE FROM {table}"]  # noqa: S608 — a name of this test
    if not models.is_sqlite():
        statements.append(f"TRUNCATE {table} CASCADE")

    for statement in statements:
        with pytest.raises(pw.PeeweeException, match="never changes"), models.write():
            database.execute_sql(statement)

    assert published_rows() == before


@pytest.mark.parametrize("table", ["journal_checkpoint", "journal_timestamp"])
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # PostgreSQL has no INSERT OR REPLACE
def test_a_program_that_knows_nothing_of_the_product_replaces_nothing_that_was_published(database, gateways, table):
    published(gateways)
    before = published_rows()

    with (
        closing(sqlite3.connect(database.database)) as stranger,  # without the product's settings of a connection
        pytest.raises(sqlite3.IntegrityError, match=f"{table} never changes"),
    ):
        stranger.execute(f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}")  # noqa: S608 — a name of this test

    assert published_rows() == before


def published(gateways):
    """Have a checkpoint published, and a token kept over it."""
    size = note.parse_checkpoint(note.split(checkpoints.publish(gateways))[0]).size
    now, log = gateways.clock.now(), journal.head().log
    models.JournalTimestamp.create(
        log=log, size=size, number=1, der=b"x", time=now, authority="x", qualified=0, asked_at=now, answered_at=now
    )


def published_rows():
    return [list(table.select().tuples()) for table in (models.JournalCheckpoint, models.JournalTimestamp)]


def test_the_journal_takes_no_second_record_at_the_same_place(database):
    first = models.JournalRecord.get()
    for sequence in (first.sequence, first.sequence + 1):
        with pytest.raises(pw.IntegrityError), models.write():
            models.JournalRecord.insert(**{**first.__data__, "sequence": sequence}).execute()


def test_migrated_tables_are_this_versions(database):
    migrations.check(database)
    assert migrations.apply(database) == []


def test_a_database_that_waits_for_a_change_is_refused_in_words(database):
    with models.write():
        database.execute_sql("UPDATE schema_migration SET name = '9999_from_tomorrow'")
    with pytest.raises(migrations.DatabaseBehind, match="0001_first_tables"):
        migrations.check(database)


def test_a_database_made_by_a_newer_version_is_refused_in_words(database):
    names = [column.name for column in database.get_columns("schema_migration") if column.name != "id"]
    values = ["'9999_from_tomorrow'" if name == "name" else name for name in names]
    with models.write():
        database.execute_sql(
            f"INSERT INTO schema_migration ({', '.join(names)}) SELECT {', '.join(values)} FROM schema_migration LIMIT 1"  # noqa: S608 — names of columns
        )
    with pytest.raises(migrations.DatabaseAhead, match="9999_from_tomorrow"):
        migrations.check(database)


def test_transactions_do_not_nest(database):
    with models.write(), pytest.raises(models.NestedWriteError), models.write():
        pass
