"""What the documentation says of the code, compared with the code."""

import importlib
import importlib.util
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


RULES = {
    "ANSSI-PG-078": [*(f"R{number}" for number in range(1, 32)), "R39"],
    "OWASP ASVS": [f"6.3.{n}" for n in range(1, 9)]
    + [f"6.5.{n}" for n in range(1, 9)]
    + [f"6.6.{n}" for n in range(1, 5)]
    + ["7.1.1", "7.1.2", "7.2.1", "7.2.4", "7.4.1", "7.4.2", "7.4.3", "7.4.4", "7.4.5", "7.5.1", "7.5.2", "7.5.3"],
}


def _rules():
    """Return the lines of the tables that go through the rules, by the heading above them."""
    page = (DOCS / "identification.md").read_text()
    sections = re.split(r"^### ", page[page.index("## Rule by rule") :], flags=re.MULTILINE)[1:]
    return {
        section.partition("\n")[0]: re.findall(r"^\| (?!---)(.*) \|$", section, re.MULTILINE)[1:]
        for section in sections
    }


def test_every_rule_of_the_standards_on_identification_has_its_line():
    for standard, rules in RULES.items():
        lines = next(lines for heading, lines in _rules().items() if heading.startswith(standard))
        assert set(rules) <= {line.split(" | ")[0] for line in lines}, standard


def test_every_test_cited_on_identification_exists():
    cited = [
        (path, name)
        for lines in _rules().values()
        for path, name in re.findall(r"`(tests/\S+?)::(\w+)`", "\n".join(lines))
    ]
    assert len(cited) > 50
    for path, name in cited:
        assert re.search(rf"^def {name}\(", (DOCS.parent / path).read_text(), re.MULTILINE), (path, name)


def test_every_function_cited_on_identification_exists():
    cited = {one for lines in _rules().values() for one in re.findall(r"`([a-z_]+)\.([A-Za-z_]\w*)`", "\n".join(lines))}
    assert len(cited) > 30
    for module, name in sorted(cited):
        places = [f"mespieces.{folder}{module}" for folder in ("domain.", "gateways.", "views.office.", "views.", "")]
        found = next(place for place in places if importlib.util.find_spec(place))
        assert hasattr(importlib.import_module(found), name), (module, name)


def test_a_rule_called_met_even_in_part_says_by_which_function_and_test():
    for lines in _rules().values():
        for line in lines:
            rule, _, state, where = line.split(" | ", 3)
            assert where.strip(" |"), rule
            if state in {"met", "partly"}:
                assert re.search(r"`tests/\S+::\w+`", where), rule
                assert re.search(r"`[a-z_]+\.\w+`", where) or "without a function" in where, rule
