"""Keys that did not make what the database holds: the product does not start beside them, and says why."""

import json
import os

import pytest
from click.testing import CliRunner

from mespieces import cli, models, runtime
from mespieces.cli import console, service
from mespieces.domain import checkpoints, journal
from mespieces.gateways import keys
from mespieces.models import Fact

FILES = {"master_key_file": runtime.MasterKeyForeign, "journal_key_file": runtime.JournalKeyForeign}


@pytest.fixture
def started(gateways, settings):
    """Give the settings of a product that was started once."""
    models.database.close()
    begin(settings)
    return settings


def begin(settings):
    """Start the product as a process of its own would: no connection before, none after."""
    hang_up()
    try:
        runtime.open_runtime(settings)
    finally:
        hang_up()


def hang_up():
    if hasattr(models.database.obj, "close_all"):
        models.database.obj.close_all()


def swap(path):
    path.unlink()
    keys.create(path)


def test_its_own_keys_start_the_product_again(started):
    begin(started)


@pytest.mark.parametrize("name", FILES)
def test_a_foreign_key_does_not_start_the_product(started, name):
    path = getattr(started, name)
    swap(path)

    with pytest.raises(FILES[name], match=str(path)):
        begin(started)


def test_a_key_of_the_journal_is_remembered_when_the_journal_is_opened(gateways, settings):
    assert Fact.get(Fact.name == journal.VKEY).detail == checkpoints.vkey(gateways)


def test_a_fact_taken_away_does_not_let_a_foreign_journal_key_in(started):
    with models.database.connection_context():
        Fact.delete().where(Fact.name == journal.VKEY).execute()

    with pytest.raises(runtime.JournalKeyForeign):
        begin(started)


def test_a_former_master_key_is_enough(started):
    keys.rotate(started.master_key_file)

    begin(started)


def test_a_probe_that_is_damaged_does_not_start_the_product(started):
    with models.database.connection_context():
        Fact.update(detail="zz").where(Fact.name == runtime.PROBE).execute()

    with pytest.raises(runtime.MasterKeyForeign):
        begin(started)


def test_a_database_from_before_learns_its_keys_at_the_first_start(gateways, settings):
    Fact.delete().execute()
    models.database.close()

    begin(settings)

    swap(settings.journal_key_file)
    with pytest.raises(runtime.JournalKeyForeign):
        begin(settings)


@pytest.mark.parametrize("name", FILES)
def test_check_and_serve_say_that_a_key_is_foreign(started, name, monkeypatch):
    for variable in [variable for variable in os.environ if variable.startswith("MESPIECES_")]:
        monkeypatch.delenv(variable)
    for variable in ("DATA", "DATABASE_URL"):
        monkeypatch.setenv(f"MESPIECES_{variable}", str(getattr(started, variable.lower())))
    swap(getattr(started, name))

    told = CliRunner().invoke(cli.main, ["check", "--json"], catch_exceptions=False)
    refused = CliRunner().invoke(cli.main, ["office", "list"], catch_exceptions=False)
    with pytest.raises(FILES[name]):
        service.start(console.settings(), work=False)  # what « serve » does once it listens

    sentence = str(FILES[name](path=getattr(started, name)))
    assert (told.exit_code, refused.exit_code) == (1, 1)
    assert {"about": "keys", "problem": sentence} in json.loads(told.stdout)["problems"]
    assert refused.stderr.strip() == sentence
