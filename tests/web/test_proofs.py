"""What an office keeps of a deposit, from its page: deletion, statement, dossier, and the warning before the journal forgets."""

import base64
import hashlib
import io
import zipfile
from datetime import timedelta

import make
import pytest
from web.conftest import words

from mespieces.domain import journal, offers, purges, retention
from mespieces.models import Deposit, JournalCheckpoint


@pytest.fixture
def deposit(site):
    return make.filed(site.gateways, documents=1, recipients=("Alexandre Payet", "Béatrice Roux"))


@pytest.fixture
def clerk(site, deposit):
    return site.member(make.member(site.gateways, deposit.office))


def at(deposit, rest=""):
    return f"/etude/depots/{deposit.id}{rest}"


def end(site, deposit):
    site.gateways.clock.advance(deposit.expires_at - site.gateways.clock.now())
    retention.expire(site.gateways, confirmed=True)
    return site.member(deposit.office.members.get())


def test_the_page_of_a_deposit_leads_to_all_that_proves_it(site, deposit, clerk):
    page = clerk.get(at(deposit))
    for rest in ("/attestation.pdf", "/dossier.zip", "/recus"):
        assert f'href="{at(deposit, rest)}"' in page.text
    assert f'action="{at(deposit, "/releve.pdf")}"' in page.text
    assert at(deposit, "/suppression.pdf") not in page.text
    assert "une fois les pièces supprimées" in words(page)

    refused = words(clerk.get(at(deposit, "/suppression.pdf"), 409))
    assert "Rien n’a encore été supprimé" in refused
    clerk = end(site, deposit)
    assert f'href="{at(deposit, "/suppression.pdf")}"' in clerk.get(at(deposit)).text
    assert clerk.get(at(deposit, "/suppression.pdf")).data.startswith(b"%PDF")
    assert "Attestation de suppression établie pour Camille Marchand" in clerk.get(at(deposit)).text


def test_a_statement_is_asked_for_a_day_and_a_wrong_one_is_told_beside_its_field(site, deposit, clerk):
    got = clerk.get(at(deposit, "/releve.pdf?until=24/11/2026"))
    assert got.data.startswith(b"%PDF")
    assert "au%202026-11-24.pdf" in got.headers["Content-Disposition"]
    assert journal.story(deposit)[0].body["detail"]["until"] == "2026-11-24"
    before = make.operations()

    for typed, told in (
        ("2026-11-25", "à venir"),
        ("2026-11-23", "ont été déposées le"),
        ("demain", "date"),
        ("32/13/2026", "date"),
    ):
        page = clerk.get(at(deposit, f"/releve.pdf?until={typed}"), 422)
        assert 'id="until-error"' in page.text
        assert told in words(page)
        assert 'href="#until"' in page.text
    assert make.operations() == before
    draft = make.draft(site.gateways, deposit.office)
    for rest in ("/releve.pdf", "/suppression.pdf", "/dossier.zip", "/recus"):
        clerk.get(at(draft, rest), 409)
    assert make.count("attestation.issued") == 1


def test_the_dossier_served_is_the_one_whose_fingerprint_is_journaled(site, deposit, clerk):
    got = clerk.get(at(deposit, "/dossier.zip"))
    digest = hashlib.sha256(got.data)

    assert got.mimetype == "application/zip"
    assert got.content_length == len(got.data)
    assert got.headers["Repr-Digest"] == f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
    assert "Dossier%20de%20preuve%20NTE-4821.zip" in got.headers["Content-Disposition"]
    assert journal.story(deposit)[0].body["detail"] == {"kind": "dossier", "fingerprint": digest.hexdigest()}
    with zipfile.ZipFile(io.BytesIO(got.data)) as archive:
        assert archive.testzip() is None
        assert "LISEZ-MOI.txt" in archive.namelist()
    page = words(clerk.get(at(deposit)))
    assert "Dossier de preuve établi pour Camille Marchand" in page
    assert "Établi en dernier le" in page


def test_nothing_is_made_for_a_head_or_for_a_browser_that_asks_ahead(site, deposit, clerk):
    before = make.operations()
    for rest in ("/releve.pdf", "/suppression.pdf", "/dossier.zip"):
        assert clerk.ask("HEAD", at(deposit, rest), 200).data == b""
        assert clerk.get(at(deposit, rest), headers={"Sec-Purpose": "prefetch"}).data == b""

    assert make.operations() == before
    assert JournalCheckpoint.select().count() == 0


@pytest.mark.parametrize("early", [False, True])
def test_the_office_is_warned_on_the_page_and_in_the_list_until_it_has_the_whole_dossier(site, deposit, clerk, early):
    if early:
        clerk.get(at(deposit, "/dossier.zip"))
    clerk = end(site, deposit)
    assert "oubliera" not in clerk.get(at(deposit)).text
    assert "bientôt effacé du journal" not in words(clerk.get("/etude/depots"))

    due = purges.due_at(site.gateways, Deposit.get_by_id(deposit.id))
    site.gateways.clock.advance(due - timedelta(days=25) - site.gateways.clock.now())
    retention.beat(site.gateways)
    purges.clockwork.confirm(site.gateways.clock.now())
    offers.tell(site.gateways)
    clerk = site.member(deposit.office.members.get())
    shown = clerk.get(at(deposit))
    told = words(shown)
    assert '<div class="note warn"><p><strong>Le journal oubliera' in shown.text
    assert "Le journal oubliera ce dépôt après le 25 août 2028" in told.replace("\xa0", " ")
    assert ("Téléchargez son dossier de preuve" in told) is not early
    assert ("(heure de Paris) ne suffit pas" in told.replace("\xa0", " ")) is early
    assert "aucun reçu ne pourra plus en être établi" in told
    listed = clerk.get("/etude/depots?etat=forgotten")
    assert "Un dépôt sera bientôt effacé du journal" in words(listed)
    assert "dossier à garder" in listed.text
    assert str(deposit.id) in listed.text

    clerk.get(at(deposit, "/dossier.zip"))
    assert '<div class="note ok"><p><strong>Le journal oubliera' in clerk.get(at(deposit)).text
    assert "assurez-vous de l’avoir gardé" in words(clerk.get(at(deposit)))
    assert "Un dépôt sera" not in words(clerk.get("/etude/depots"))
    assert "dossier à garder" not in clerk.get("/etude/depots?etat=forgotten").text
    Deposit.update(purged_at=site.gateways.clock.now()).execute()
    told = words(clerk.get(at(deposit)))
    assert "Le journal a oublié" in told
    assert "sans reçu qui le prouve" in told
    assert "qui porte les reçus" not in told
    assert "leurs reçus ne peuvent plus être établis" in words(clerk.get(at(deposit, "/recus")))
    assert str(deposit.id) not in clerk.get("/etude/depots?etat=forgotten").text
