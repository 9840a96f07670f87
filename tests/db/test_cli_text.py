"""Any text on the command line that files a deposit: filed, or refused in words with nothing left of it."""

import os

import hypothesis
import make
import pytest
from click.testing import CliRunner
from hypothesis import strategies as st

from mespieces import cli
from mespieces.cli import console
from mespieces.models import Deposit, Document, Recipient

FUZZ = int(os.environ.get("MESPIECES_FUZZ", "1"))
PLANES = st.integers(0, 16).flatmap(
    lambda plane: st.text(
        st.characters(min_codepoint=max(1, plane << 16), max_codepoint=(plane << 16) + 0xFFFF, categories=None),
        max_size=12,
    )
)
TEXTS = st.one_of(
    PLANES, st.sampled_from(["", "x" * 300, "2026-11-04", "1900-01-01", "9999-12-31", "A <a@b.fr>", "A <é@b>", "<>"])
)
OPTIONS = ("--office", "--creditor", "--court", "--order-number", "--order-date", "--office-reference", "--recipient")
RIGHT = (
    "SCP Lefèvre & Marchand",
    "Au bon moulin",
    "Tribunal",
    "2026-1187",
    "2026-11-04",
    "NTE-4821",
    "Alexandre Payet",
)


@pytest.fixture
def ready(settings, gateways, tmp_path, monkeypatch):
    """Leave a product whose commands find it, with an office and a file to deposit."""
    make.office(gateways)
    (tmp_path / "Facture.pdf").write_bytes(make.pdf())
    for name in [name for name in os.environ if name.startswith("MESPIECES_") and name != "MESPIECES_FUZZ"]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("MESPIECES_FUZZ", raising=False)
    monkeypatch.setenv("MESPIECES_DATA", str(tmp_path))
    monkeypatch.setenv("MESPIECES_DATABASE_URL", settings.database_url)
    before = os.umask(0o077)
    yield tmp_path / "Facture.pdf"
    os.umask(before)


def _counts():
    """Count through a connection that leaves none behind, as a command does."""
    with console.connected(console.connect(console.settings())):
        return [table.select().count() for table in (Deposit, Document, Recipient)]


@hypothesis.settings(max_examples=8 * FUZZ, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(typed=st.dictionaries(st.sampled_from(OPTIONS), TEXTS, min_size=1, max_size=3))
def test_no_text_makes_the_command_fall_and_what_is_refused_leaves_nothing(ready, typed):
    values = dict(zip(OPTIONS, RIGHT, strict=True)) | typed
    arguments = [word for option, value in values.items() for word in (option, value)]
    before = _counts()

    done = CliRunner().invoke(cli.main, ["deposit", "add", *arguments, str(ready)])

    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code in {0, 1, 2}
    counts = _counts()
    if done.exit_code:
        assert done.stderr.strip()
        assert counts == before
    else:
        assert counts == [count + 1 for count in before]
