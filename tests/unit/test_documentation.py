"""What the documentation says of the code, compared with the code."""

import importlib
import importlib.util
import re
from pathlib import Path

from mespieces import worker
from mespieces.domain import outbox, verifications
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


def test_the_files_that_a_page_names_are_there():
    for page in PAGES:
        named = re.findall(r"`((?:tests|mespieces|docs)/[\w./-]+\.\w+)`", page.read_text("utf-8"))
        assert [path for path in named if not (ROOT / path).exists()] == [], page.name


def test_every_picture_is_shown_somewhere():
    shown = set().union(*map(_linked, PAGES))
    assert set((DOCS / "screenshots").glob("*.png")) == {path for path in shown if path.suffix == ".png"}


def test_every_finding_of_the_product_s_own_verification_is_documented():
    page = (DOCS / "journal.md").read_text()
    told = set(
        re.findall(r"`([A-Z_]+)`", page[page.index("## What stands beside the chain") :].partition("**Tokens.**")[0])
    )
    assert told >= set(verifications.Beside)


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
    "NIST SP 800-63B-4": [
        "3.1.1.2", "3.1.2", "3.1.3", "3.1.3.3", "3.1.4", "3.2.1", "3.2.2", "3.2.3", "3.2.5", "3.2.7", "5.1", "5.1.1", "5.2",
        "5.3", "others",
    ],
    "CNIL": [
        "a password alone", "a password and a limit on attempts", "how attempts are limited", "keeping passwords", "renewal",
        "renewal, privileged accounts", "telling people of a breach, tracing, governance",
    ],
    "OWASP ASVS": ["6.1.1", "6.1.3"] + [
        f"{section}.{number}"
        for section, last in {"6.3": 8, "6.5": 8, "6.6": 4, "7.1": 3, "7.2": 4, "7.3": 2, "7.4": 5, "7.5": 3, "7.6": 2}.items()
        for number in range(1, last + 1)
    ],
}  # fmt: skip
STATES = {"met", "partly", "not met", "not applicable", "not claimed"}
FUNCTION, TEST = r"`[a-z_]+\.[A-Za-z_]\w*`", r"`tests/\S+?::\w+`"


def _rules():
    """Return the lines of the tables that go through the rules, by the heading above them."""
    page = (DOCS / "identification.md").read_text()
    sections = re.split(r"^### ", page[page.index("## Rule by rule") :], flags=re.MULTILINE)[1:]
    return {
        section.partition("\n")[0]: re.findall(r"^\| (?!---)(.*) \|$", section, re.MULTILINE)[1:]
        for section in sections
    }


def _named(line):
    """Return the rules of a line: several numbers, or a number and what it is about, or a subject."""
    name = line.split(" | ")[0]
    numbers = re.findall(r"\b\d+(?:\.\d+)+\b", name)
    return set(numbers) or {name}


def test_every_rule_of_the_standards_on_identification_has_its_line():
    assert len(_rules()) == len(RULES)
    for standard, rules in RULES.items():
        lines = next(lines for heading, lines in _rules().items() if heading.startswith(standard))
        assert set().union(*map(_named, lines)) == set(rules), standard


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


def test_a_rule_called_met_even_in_part_says_by_which_function_and_test_and_the_others_why():
    for line in (line for lines in _rules().values() for line in lines):
        rule, _, state, where = line.split(" | ", 3)
        assert re.sub(r"\*\*| by choice", "", state) in STATES, rule
        if state in {"met", "partly"}:
            assert re.search(FUNCTION, where) or "without a function" in where, rule
            assert re.search(TEST, where), rule
        else:
            assert re.sub(f"{FUNCTION}|{TEST}|[:. |,]", "", where), f"{rule} does not say why it is not met"
