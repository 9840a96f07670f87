"""A deposit of 300 recipients and 100 documents: filed, and every page of it light, complete and cheap."""

import re
from contextlib import contextmanager

import make
import pytest

from mespieces import models
from mespieces.domain import deposits, documents, journal
from mespieces.models import Access, Document, Recipient

HEAVIEST = 60_000  # bytes of a page
LARGE, SMALL = (100, 300), (2, 2)


def _fill(site, marchand, many, people):
    deposit = make.draft(site.gateways, marchand.office)
    make.blank(deposit, many)
    Document.update(
        title="Facture de farine de sarrasin n° 2026-00412 du mois d’octobre", nature="facture", dated=make.NOW.date(),
        filename="Facture de farine de sarrasin 2026-00412.pdf", notices="factur-x no-text",
    ).where(Document.deposit == deposit).execute()  # fmt: skip
    for number in range(people):
        make.recipient(
            site.gateways, deposit, f"Société civile immobilière des Carmes {number}", representative="Alexandre Payet-Lefèvre",
            address="14 rue des Carmes\n44000 Nantes", email=f"gerant{number}@exemple.fr",
        )  # fmt: skip
    return deposit


@pytest.fixture
def marchand(site):
    """Add a member."""
    return make.member(site.gateways)


@pytest.fixture
def large(site, marchand):
    """Prepare the large draft."""
    return _fill(site, marchand, *LARGE)


@contextmanager
def _counted(monkeypatch):
    asked, execute = [], models.database.obj.execute_sql
    with monkeypatch.context() as patch:
        patch.setattr(models.database.obj, "execute_sql", lambda sql, *rest: asked.append(sql) or execute(sql, *rest))
        yield asked


def _pages(visitor, path, name):
    """Return every page of a list, one after the other as its own link leads."""
    found = []
    while path:
        found.append(visitor.get(path).text)
        assert len(found[-1].encode()) < HEAVIEST, (path, len(found[-1].encode()))
        following = [
            link.replace("&amp;", "&")
            for link in re.findall(r'rel="next" href="([^"]+)"', found[-1])
            if f"{name}=" in link
        ]
        path = next((link for link in following if _number(link, name) > _number(path, name)), None)
    return found


def _number(path, name):
    found = re.search(rf"[?&]{name}=(\d+)", path)
    return int(found[1]) if found else 1


def test_every_page_of_a_large_deposit_is_light_and_all_of_it_is_reached(site, marchand, large):
    office, at = site.member(marchand), f"/etude/depots/{large.id}"
    names = {row.name for row in Recipient.select()}

    drafted = _pages(office, f"{at}/pieces", "page")
    people = _pages(office, f"{at}/destinataires", "page")
    _pages(office, f"{at}/verification", "page")
    assert [int(n) for page in drafted for n in re.findall(r'class="num" aria-hidden="true">(\d+)<', page)] == list(
        range(1, 101)
    )
    assert names <= set(re.findall(r"<h3>([^<]+)</h3>", "".join(people)))
    office.post(f"{at}/deposer")
    filed = _pages(office, at, "destinataires")
    assert [name for name in names if f">{name}<" not in "".join(filed)] == []
    pieces = _pages(office, at, "pieces")
    assert [int(n) for page in pieces for n in re.findall(r'class="num" aria-hidden="true">(\d+)<', page)] == list(
        range(1, 101)
    )
    listed = _pages(site.reading(large), "/pieces", "page")
    assert [int(n) for page in listed for n in re.findall(r'class="num" aria-hidden="true">(\d+)<', page)] == list(
        range(1, 101)
    )
    assert "100\u00a0pièces à consulter" in listed[1]
    assert "et 299\u00a0autres" in filed[-1]
    assert Access.select().count() == 300
    assert len(office.get("/etude/depots").data) < HEAVIEST


def test_a_page_asks_the_database_as_often_for_many_as_for_few(site, marchand, monkeypatch):
    asked = []
    for many, people in (SMALL, LARGE):
        deposit = _fill(site, marchand, many, people)
        office, at, count = site.member(marchand), f"/etude/depots/{deposit.id}", {}
        for path in (f"{at}/pieces", f"{at}/destinataires", f"{at}/verification"):
            with _counted(monkeypatch) as seen:
                office.get(path)
            count[path.removeprefix(at)] = len(seen)
        deposits.file(site.gateways, deposit.id, by=journal.OPERATOR)
        for visitor, path in ((office, at), (office, "/etude/depots"), (site.reading(deposit), "/pieces")):
            with _counted(monkeypatch) as seen:
                visitor.get(path)
            count[path.removeprefix(at)] = len(seen)
        asked.append(count)

    assert asked[0] == asked[1]
    assert max(asked[0].values()) < 20


def test_what_is_done_on_a_page_leads_back_to_it(site, marchand, large):
    office, at = site.member(marchand), f"/etude/depots/{large.id}"
    listed = documents.listed(large)
    moved = listed[12]

    office.get(f"{at}/pieces?page=2")
    assert office.post(f"{at}/pieces/{moved.id}/place", data={"position": "12"}).location == f"{at}/pieces"
    assert documents.listed(large)[11] == moved
    assert office.post(f"{at}/pieces/{moved.id}/place", data={"position": "13"}).location == f"{at}/pieces?page=2"
    described = office.post(f"{at}/pieces/{moved.id}?page=2", data={"title": "Devis"})
    assert described.location == f"{at}/pieces?page=2"
    wrong = office.post(f"{at}/pieces/{moved.id}?page=2", 422, data={"title": "Devis", "dated": "1900-01-01"})
    assert f'id="d-{moved.id}-error"' in wrong.text
    assert office.upload(f"{at}/pieces", make.pdf()).location == f"{at}/pieces?page=9"
    assert office.post(f"{at}/pieces/{moved.id}/retirer?page=2").location == f"{at}/pieces?page=2"
    assert office.post(f"{at}/destinataires", data={"name": "Une autre"}).location == f"{at}/destinataires?page=7"
    for page in ("0", "-1", "9" * 30, "x", ""):
        office.get(f"{at}/pieces?page={page}")
        office.get(f"{at}/destinataires?page={page}")
