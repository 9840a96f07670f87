"""What the documentation says of the code, compared with the code."""

import re
from pathlib import Path

from mespieces import worker
from mespieces.domain import outbox
from mespieces.verifier import record

DOCS = Path(__file__).parents[2] / "docs"


def test_every_operation_of_the_journal_is_documented_and_none_other():
    page = (DOCS / "journal-format.md").read_text()
    section = page[page.index("## Operations") : page.index("## Appending")]
    told = set(re.findall(r"`([a-z_]+\.[a-z_]+)`", section.partition("A new operation")[0]))
    assert told == record.OPERATIONS


def test_every_kind_of_mail_has_its_writer():
    from mespieces.domain import notices

    assert set(notices._WRITERS) == outbox.KINDS


def test_every_bell_that_is_rung_is_answered():
    source = "\n".join(path.read_text() for path in Path(worker.__file__).parent.glob("domain/*.py"))
    rung = set(re.findall(r'bell\.ring\("(\w+)"\)', source))
    answered = set(re.findall(r'^ +"(\w+)": ', Path(worker.__file__).read_text(), re.MULTILINE))
    assert rung
    assert rung <= answered
