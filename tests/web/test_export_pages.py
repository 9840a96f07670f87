"""Exports of the journal on their page: asked for after a proof, followed, downloaded, gone after a day."""

import base64
import hashlib
import io
import re
import zipfile
from datetime import timedelta

import make
import pytest
from web.conftest import words

from mespieces.domain import journal, office_exports, proofs
from mespieces.models import JournalExport, Session

EXPORTS = "/etude/journal/exports"
HTMX = {"HX-Request": "true", "HX-Target": "div#exports"}


@pytest.fixture
def office(site):
    return make.office(site.gateways)


@pytest.fixture
def auditor(site, office):
    return site.member(make.member(site.gateways, office, role="auditeur"))


def ready(site, visitor):
    """Have an export prepared, and return its address."""
    visitor.post(EXPORTS)
    assert office_exports.prepare(site.gateways) == 1
    return re.search(rf'href="({EXPORTS}/[^"]+/journal\.zip)"', visitor.get(EXPORTS).text)[1]


def test_an_export_is_asked_for_followed_and_downloaded(site, auditor):
    assert "Aucun export pour l’instant" in words(auditor.get(EXPORTS))
    assert EXPORTS in auditor.get("/etude/journal").text

    assert auditor.post(EXPORTS).location == EXPORTS
    page = auditor.get(EXPORTS)
    assert "la préparation commence dans la minute" in words(page)
    assert 'hx-trigger="every 2s"' in page.text
    JournalExport.update(total=2000, done=500).execute()
    for headers in ({}, HTMX):
        page = auditor.get(EXPORTS, headers=headers)
        assert "500 enregistrements écrits sur 2 000." in words(page).replace("\u202f", " ")
        assert '<progress max="2000" value="500"' in page.text
        assert page.text.lstrip().startswith("<!doctype html>") is (not headers)
    JournalExport.delete().execute()
    at = ready(site, auditor)
    assert "hx-trigger" not in auditor.page.text

    got = auditor.get(at)

    assert got.mimetype == "application/zip"
    assert got.content_length == len(got.data) == JournalExport.get().bytes
    digest = base64.b64encode(hashlib.sha256(got.data).digest()).decode()
    assert got.headers["Repr-Digest"] == f"sha-256=:{digest}:"
    assert got.headers["Content-Disposition"].startswith('attachment; filename="journal-2026-11-24-100000.zip"')
    assert "journal.jsonl" in zipfile.ZipFile(io.BytesIO(got.data)).namelist()
    told = words(auditor.get("/etude/journal"))
    for sentence in (
        "a téléchargé un export du journal",
        "a demandé un export du journal",
        "Journal exporté pour Camille",
    ):
        assert sentence in told


def test_asking_and_downloading_need_a_proof_of_the_last_ten_minutes(site, auditor):
    at = ready(site, auditor)
    site.gateways.clock.advance(proofs.LASTS)
    before = make.operations()

    assert auditor.get(at, 303).location == f"/etude/preuve?vers={EXPORTS}"
    assert auditor.post(EXPORTS, 303).location == f"/etude/preuve?vers={EXPORTS}"
    auditor.get(EXPORTS)

    assert (make.operations(), JournalExport.select().count()) == (before, 1)


def test_following_an_export_keeps_no_session_open(site, auditor):
    auditor.get(EXPORTS)
    seen = Session.get().seen_at
    site.gateways.clock.advance(timedelta(minutes=3))

    auditor.get(EXPORTS, headers=HTMX)
    assert Session.get().seen_at == seen
    auditor.get(EXPORTS)
    assert Session.get().seen_at > seen


def test_asking_ahead_hands_over_and_journals_nothing(site, auditor):
    at = ready(site, auditor)
    before = make.operations()

    for headers in ({"Sec-Purpose": "prefetch"}, {"Purpose": "prefetch"}):
        assert auditor.get(at, headers=headers).data == b""
    assert auditor.ask("HEAD", at, 200).data == b""
    assert make.operations() == before


def test_an_export_is_over_after_a_day_or_when_it_is_dropped(site, auditor):
    at = ready(site, auditor)
    auditor.post(at.replace("journal.zip", "supprimer"))
    assert "L’export est supprimé" in words(auditor.get(EXPORTS))
    auditor.get(at, 404)
    at = ready(site, auditor)
    site.gateways.clock.advance(office_exports.LASTS)
    later = site.member(JournalExport.get().asked_by)

    assert "Demandez-en un autre" in words(later.get(at, 410))
    assert "Aucun export pour l’instant" in words(later.get(EXPORTS))


def test_a_double_click_asks_for_one_and_too_many_are_refused_in_words(site, auditor):
    auditor.post(EXPORTS)
    auditor.post(EXPORTS)
    assert JournalExport.select().count() == 1
    JournalExport.delete().execute()
    for _ in range(office_exports.MOST):
        ready(site, auditor)

    assert "Trois exports sont déjà prêts" in words(auditor.post(EXPORTS, 409))


def test_a_failed_preparation_is_told_and_can_be_asked_again(site, auditor):
    auditor.post(EXPORTS)
    JournalExport.update(failed_at=site.gateways.clock.now()).execute()

    assert "n’a pas pu être préparé, malgré plusieurs essais" in words(auditor.get(EXPORTS))
    assert ready(site, auditor)


def test_neither_clerk_nor_neighbour_finds_an_export(site, office, auditor):
    at = ready(site, auditor)
    clerk = site.member(make.member(site.gateways, office, role="clerc", email="clerc@example.fr"))
    neighbour = site.member(make.member(site.gateways, make.office(site.gateways, "Voisine"), role="auditeur"))

    assert EXPORTS not in clerk.get("/etude/journal").text
    for one, listed in ((clerk, 404), (neighbour, 200)):
        assert at not in one.get(EXPORTS, listed).text
        one.get(at, 404)
        one.post(at.replace("journal.zip", "supprimer"), 404)
    assert "Seul un auditeur ou un administrateur" in words(clerk.get(EXPORTS, 404))
    assert auditor.get(at).data


def test_an_export_altered_at_rest_is_refused_before_its_first_byte(site, auditor):
    at = ready(site, auditor)
    row = JournalExport.get()
    site.gateways.vault.delete_all(office_exports._file(row))
    site.gateways.vault.put(
        office_exports._file(row), site.gateways.vault.new_key(str(row.id)), str(row.id), str(row.id), b"x"
    )
    before = make.operations()

    auditor.get(at, 503)
    assert make.operations() == before
    assert journal.head()


def test_the_command_beside_the_exports_names_the_file_that_is_downloaded(site, auditor):
    assert "mespieces-verify journal-*.zip --vkey" in re.sub(r"<[^>]+>", "", auditor.get(EXPORTS).text)
    named = re.search(r'filename="([^"]+)"', auditor.get(ready(site, auditor)).headers["Content-Disposition"])[1]

    assert f"mespieces-verify {named} --vkey" in re.sub(r"<[^>]+>", "", auditor.get(EXPORTS).text)
