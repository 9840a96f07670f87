"""What a refusal's page says is true of what happened, and leads back to where the person was."""

import http.client
import os
import socket
import subprocess
import sys
import time
from datetime import timedelta

import make
import peewee as pw
import pytest
import servers

from mespieces import config, migrations, models
from mespieces.domain import journal, sessions
from mespieces.gateways import keys
from mespieces.models import Deposit, Document
from mespieces.runtime import open_runtime
from mespieces.views import current

DOCUMENTS, DEPOSITS, HOME = 'href="/pieces">Toutes les pièces', 'href="/etude">Dépôts', 'href="/">Revenir à l’accueil'


@pytest.fixture
def deposit(site):
    """File a deposit."""
    return make.filed(site.gateways)


# Words true of what happened


def test_an_identification_that_is_over_does_not_frighten_about_the_documents(site, deposit):
    debtor, clerk = site.visitor(), site.visitor()
    token, _ = make.waiting(site.gateways, make.first(deposit), "email")
    debtor.carry(current.SIGN_IN, token)
    debtor.get("/consulter/code")
    site.gateways.clock.advance(timedelta(minutes=31))

    for page in (debtor.get("/consulter/code", 410), clerk.get("/etude/connexion/code", 410)):
        assert "<h1>Identification à recommencer</h1>" in page.text
        assert "Mise à disposition" not in page.text
        assert "Les documents ne peuvent plus" not in page.text
    assert "Reprenez depuis la première page" in debtor.page.text
    assert "page de connexion de l’étude" in clerk.page.text


def test_documents_over_and_documents_withdrawn_are_not_said_alike(site, deposit):
    debtor = site.reading(deposit)
    site.gateways.clock.advance(timedelta(minutes=5))
    Deposit.update(expires_at=site.gateways.clock.now()).execute()
    assert "<h1>Mise à disposition terminée</h1>" in debtor.get("/pieces", 410).text
    assert HOME in debtor.page.text

    Deposit.update(withdrawn_at=site.gateways.clock.now(), withdrawn_because="Erreur").execute()
    assert "<h1>Documents retirés</h1>" in debtor.get("/pieces", 410).text


def test_a_document_held_back_leads_to_the_others_and_is_not_asked_for_again(site, deposit):
    debtor = site.reading(deposit)
    Document.update(fingerprint="0" * 64).execute()

    page = debtor.get("/pieces/1/fichier", 503)

    assert "<h1>Document retenu</h1>" in page.text
    assert "autres pièces" in page.text
    assert "quelques minutes" not in page.text
    assert DOCUMENTS in page.text


def test_a_form_of_too_many_parts_is_not_called_a_file(site):
    clerk = site.member(make.member(site.gateways))
    parts = make.CASE | {f"f{n}": "" for n in range(300)}
    clerk.get("/etude/depots/nouveau")

    page = clerk.post("/etude/depots/nouveau", 413, data=parts, content_type="multipart/form-data")

    assert "Ce formulaire contient trop d’éléments" in page.text
    assert "Fichier" not in page.text


# Back to where the person was


def test_an_error_leads_who_is_signed_in_back_to_their_own_pages(site, deposit):
    debtor, clerk = site.reading(deposit), site.member(make.member(site.gateways, deposit.office))
    auditor = site.member(make.member(site.gateways, deposit.office, role="auditeur", email="a@example.fr"))

    assert DOCUMENTS in debtor.get("/pieces/9", 404).text
    assert DOCUMENTS in debtor.get("/nulle-part", 404).text
    assert DEPOSITS in clerk.get("/etude/nulle-part", 404).text
    assert 'href="/etude">Journal' in auditor.get("/etude/depots", 404).text
    assert HOME in site.visitor().get("/nulle-part", 404).text


def test_an_error_page_is_shown_whatever_gives_way_while_looking_for_the_way_back(site, deposit, monkeypatch):
    debtor = site.reading(deposit)

    def gone(*_: object) -> None:
        raise pw.OperationalError("gone")

    monkeypatch.setattr(sessions, "of_recipient", gone)
    assert HOME in debtor.get("/nulle-part", 404).text


def test_a_session_that_is_over_says_so_once_and_only_to_who_had_one(site, deposit):
    debtor, clerk = site.reading(deposit), site.member(make.member(site.gateways, deposit.office))
    site.gateways.clock.advance(timedelta(hours=11))
    over = "Votre session est terminée"

    assert debtor.get("/pieces/1/pages/1.webp", 303, headers={"Sec-Fetch-Dest": "image"}).location == "/"
    assert debtor.get("/pieces", 303).location == "/"
    assert over in debtor.get("/").text
    debtor.get("/pieces", 303)
    assert over not in debtor.get("/").text
    assert clerk.get("/etude/depots", 303).location == "/etude/connexion"
    assert over in clerk.get("/etude/connexion").text
    stranger = site.visitor()
    stranger.get("/pieces", 303)
    assert over not in stranger.get("/").text


def test_a_code_asked_again_too_soon_is_refused_on_the_page_of_the_code(site, deposit):
    debtor = site.visitor()
    token, _ = make.waiting(site.gateways, make.first(deposit), "email")
    debtor.carry(current.SIGN_IN, token)
    debtor.get("/consulter/code")

    page = debtor.post("/consulter/code/renvoyer", 429)

    assert page.headers["Retry-After"] == "30"
    assert "patientez quelques instants" in page.text
    assert 'name="code"' in page.text


def test_a_form_without_its_token_tells_a_browser_without_cookies_from_a_page_left_open(site):
    page = site.visitor().ask("POST", "/consulter", 400)
    assert "<h1>Cookies nécessaires</h1>" in page.text

    keeping = site.visitor()
    keeping.get("/")
    assert "ouverte depuis longtemps" in keeping.ask("POST", "/consulter", 400).text


# Addresses


def test_the_address_of_the_form_leads_to_the_form(site):
    assert site.visitor().get("/consulter", 303).location == "/"


@pytest.mark.parametrize("host", ["pieces.example.fr", "autre.example"])
def test_a_slash_too_many_is_the_same_page_and_leads_nowhere_else(site, host):
    clerk = site.member(make.member(site.gateways))

    clerk.get("/audit/")
    clerk.get("/aide/")
    assert clerk.get("/etude/", 303).location == "/etude/depots"
    for path in ("/audit/", "//autre.example/audit/", "/audit//"):
        location = (
            site.visitor().ask("GET", path, None, headers={"Host": host, "X-Raw": "1"}).headers.get("Location", "")
        )
        assert "autre.example" not in location


# What is read


def test_an_image_that_bears_no_text_does_not_promise_any(site, deposit):
    promise, silence = "Son texte se lit sous", "aucun texte ne peut en être extrait"
    Document.update(notices="").execute()
    shown = site.reading(deposit).get("/pieces/1").text
    assert promise in shown
    assert silence not in shown

    Document.update(notices="signed no-text").execute()
    shown = site.reading(deposit).get("/pieces/1").text
    assert promise not in shown
    assert silence in shown


def test_the_bordereau_gives_its_date_and_its_total(site):
    deposit = make.filed(site.gateways, documents=2)
    Document.update(pages=1200).execute()

    shown = site.reading(deposit).get("/pieces").text

    assert "2\u00a0pièces, 2\u202f400\xa0pages" in shown
    assert "déposé le <time" in shown
    assert "24\xa0novembre\xa02026" in shown


def test_a_form_without_a_file_says_that_one_is_needed(site):
    draft = make.draft(site.gateways)
    clerk = site.member(make.member(site.gateways, draft.office))

    page = clerk.post(f"/etude/depots/{draft.id}/pieces", 422, data={}, content_type="multipart/form-data")

    assert "Choisissez au moins un fichier." in page.text


# A real server


@pytest.fixture
def port(tmp_path):
    """Serve the product for real and give the port."""
    free = servers.free_port()
    environment = {"MESPIECES_DATA": str(tmp_path), "MESPIECES_PUBLIC_URL": f"http://127.0.0.1:{free}"}
    settings = config.read(environment)
    (tmp_path / "keys").mkdir()
    for path in (settings.master_key_file, settings.secret_key_file, settings.journal_key_file):
        keys.create(path)
    database = models.connect(settings.database_url)
    with database.connection_context():
        migrations.apply(database)
    opened = open_runtime(settings)
    journal.open_log(opened.gateways)
    opened.database.close()
    bare = {name: value for name, value in os.environ.items() if not name.startswith("MESPIECES_")}
    program = "from mespieces.cli import main; main()"
    process = subprocess.Popen([sys.executable, "-c", program, "serve", "--port", str(free), "--host", "127.0.0.1"],
                               env=bare | environment)  # fmt: skip
    try:
        _wait(free)
        yield free
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait(port):
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError


@pytest.mark.parametrize("body", [b"ZZ\r\nabc", b"5\r\nabcdefgh\r\n", b"-1\r\n\r\n"])
def test_a_body_in_pieces_that_make_no_sense_is_the_senders_fault(port, body):
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(
            b"POST /consulter HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\n\r\n" + body
        )
        connection.shutdown(socket.SHUT_WR)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        page = answer.read().decode()

    assert answer.status == 400
    assert "que ce site ne comprend pas" in page


def test_who_comes_back_before_their_code_arrived_reads_that_it_is_under_way_not_that_they_tried_too_much(
    site, deposit
):
    who = make.first(deposit)
    make.identified(site.gateways, who)  # their codes come by mail from now on
    site.gateways.clock.advance(timedelta(minutes=2))
    access, secret = make.issued(site.gateways, who, "Perdu")

    def come():
        visitor = site.visitor()
        visitor.get("/")
        typed = {"csrf_token": visitor.token, "reference": access.reference, "secret": secret}
        return visitor.ask("POST", "/consulter", None, data=typed)

    assert [come().status_code for _ in range(2)] == [303, 303]  # a code, and one that leaves half a minute later
    page = come()
    assert page.status_code == 429
    assert "<h1>Un code est déjà en route</h1>" in page.text
    assert "Trop d’essais" not in page.text
    assert "Regardez vos courriels" in page.text
