"""The office finds its deposits by what it remembers of them."""

from datetime import timedelta

import make
import pytest

from mespieces.domain import codes, deposits
from mespieces.models import Access


def found(office, words="", wanted="", now=make.NOW, **options):
    lines, total = deposits.search(office, words, wanted, now, **options)
    assert total >= len(lines)
    return [line.deposit.office_reference for line in lines]


@pytest.fixture
def office(gateways):
    office = make.office(gateways)
    make.filed(gateways, office, blanks=1, office_reference="NTE-1", recipients=("Élodie Payet", "Ma jolie boutique"))
    gateways.clock.advance(timedelta(minutes=1))
    make.draft(gateways, office, office_reference="NTE-2", creditor="Garage 100% Océan", court="TJ d’Évry")
    make.draft(gateways, make.office(gateways, name="Une autre étude"), office_reference="AUTRE")
    return office


def test_deposits_are_listed_newest_first_and_only_the_offices_own(office):
    assert found(office) == ["NTE-2", "NTE-1"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("payet", ["NTE-1"]),
        ("élodie PAYET", ["NTE-1"]),
        ("ÉLODIE", ["NTE-1"]),
        ("évry", ["NTE-2"]),
        ("jolie moulin", ["NTE-1"]),
        ("jolie garage", []),
        ("nte", ["NTE-2", "NTE-1"]),
        ("100%", ["NTE-2"]),
        ("%", ["NTE-2"]),
        ("_", []),
        ("autre", []),
        ("'; --", []),
        ("\x00", ["NTE-2", "NTE-1"]),  # nothing is left of it: everything is listed
    ],
)
def test_each_word_must_appear_somewhere(office, words, expected):
    assert found(office, words) == expected


def test_a_reference_read_out_by_the_recipient_finds_the_deposit(office):
    reference = Access.select().first().reference

    assert found(office, codes.show(reference)) == ["NTE-1"]
    assert found(office, reference.lower()) == ["NTE-1"]
    assert found(office, reference[:4]) == []


def test_the_list_can_be_narrowed_to_a_state(office):
    assert found(office, wanted="draft") == ["NTE-2"]
    assert found(office, wanted="filed") == ["NTE-1"]
    assert found(office, wanted="ended") == found(office, wanted="withdrawn") == []
    later = make.NOW + timedelta(days=600)
    assert found(office, wanted="ended", now=later) == ["NTE-1"]
    assert found(office, wanted="filed", now=later) == []
    assert found(office, wanted="anything") == ["NTE-2", "NTE-1"]


def test_a_page_holds_twenty_five_and_tells_how_many_in_all(gateways):
    office = make.office(gateways)
    for _ in range(deposits.PAGE + 1):
        make.draft(gateways, office)

    lines, total = deposits.search(office, "", "", make.NOW)
    assert (len(lines), total) == (deposits.PAGE, deposits.PAGE + 1)
    lines, total = deposits.search(office, "", "", make.NOW, page=2)
    assert (len(lines), total) == (1, deposits.PAGE + 1)


def test_a_line_shows_the_recipients_and_counts(office):
    line = next(line for line in deposits.search(office, "NTE-1", "", make.NOW)[0])

    assert line.recipients == ("Élodie Payet", "Ma jolie boutique")
    assert (line.documents, line.consulted) == (1, 0)
