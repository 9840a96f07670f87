"""What the documentation says of the code, compared with the code."""

import re
from pathlib import Path

from mespieces import worker
from mespieces.domain import outbox
from mespieces.verifier import record

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", *sorted(DOCS.glob("*.md")))


def _linked(page):
    """Return the files of the project that a page links to or shows."""
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
    return {(page.parent / target).resolve() for target in targets if not target.startswith("http")}


def test_what_a_page_links_to_is_there():
    for page in PAGES:
        missing = [str(target) for target in _linked(page) if not target.exists()]
        assert missing == [], page.name


def test_every_picture_is_shown_somewhere():
    shown = set().union(*map(_linked, PAGES))
    assert set((DOCS / "screenshots").glob("*.png")) == {path for path in shown if path.suffix == ".png"}


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
