"""An office's morning: a draft step by step, its documents with and without JavaScript, and what follows filing."""

import io
import ipaddress
import re
from datetime import timedelta

import make
import pyotp
import pytest

from mespieces import models
from mespieces.domain import codes, french, one_time_codes, throttle
from mespieces.models import CodeKey, Deposit, Document, Recipient, Signification

HTMX = {"HX-Request": "true", "HX-Target": "div#documents", "HX-Current-URL": "https://pieces.example.fr/etude"}


@pytest.fixture
def marchand(site):
    """Add a member."""
    return make.member(site.gateways)


@pytest.fixture
def office(site, marchand):
    """Sign the member in."""
    return site.member(marchand)


@pytest.fixture
def draft(site, marchand):
    """Open a draft in the member's office."""
    return make.draft(site.gateways, marchand.office)


def _files(*named):
    return {"files": [(io.BytesIO(data), name) for name, data in named]}


def _last(page):
    """Return what the form says of the newest sheet."""
    return re.search(r'name="last" value="([^"]*)"', page.text)[1]


def _titles(page):
    return re.findall(r"Pièce \d+\s:\s</span>([^<]*)</h3>", page.text)


def test_a_member_enrols_their_application_at_the_first_sign_in_and_uses_it_afterwards(site, marchand):
    clerk, clock = site.visitor(), site.gateways.clock
    clerk.get("/etude/connexion")
    typed = {"email": marchand.email.upper(), "password": make.PASSWORD}
    assert clerk.post("/etude/connexion", data=typed).location == "/etude/connexion/code"
    key = re.search(r"otpauth://[^\"]*secret=([A-Z2-7]+)", clerk.get("/etude/connexion/code").text)[1]
    assert clerk.get("/etude/connexion/application.svg").mimetype == "image/svg+xml"
    entered = clerk.post("/etude/connexion/code", data={"code": pyotp.TOTP(key).at(clock.now())}).location
    assert entered == "/etude/compte/secours"
    assert clerk.get("/etude", 303).location == "/etude/depots"
    assert marchand.name in clerk.get("/etude/depots").text
    clerk.post("/etude/deconnexion")
    clerk.get("/etude/depots", 303)

    clerk.post("/etude/connexion", data=typed)
    assert key not in clerk.get("/etude/connexion/code").text
    clerk.get("/etude/connexion/application.svg", 404)
    clerk.post("/etude/connexion/code", 422, data={"code": pyotp.TOTP(key).at(clock.now())})
    clock.advance(timedelta(seconds=30))
    entered = clerk.post("/etude/connexion/code", data={"code": pyotp.TOTP(key).at(clock.now())}).location
    assert entered == "/etude/depots"  # where they were going
    clerk.get(entered)


def test_an_auditor_is_led_to_the_journal_and_reads_nothing_else(site, marchand):
    auditor = site.member(make.member(site.gateways, marchand.office, role="auditeur"))

    assert auditor.get("/etude", 303).location == "/etude/journal"
    auditor.get("/etude/journal")
    auditor.get("/etude/depots", 404)


def test_a_draft_is_filled_in_step_by_step_then_filed(site, office):
    assert "Aucun dépôt encore" in office.get("/etude/depots").text
    office.get("/etude/depots/nouveau")
    refused = office.post("/etude/depots/nouveau", 422, data=make.CASE | {"order_date": "demain", "creditor": ""})
    assert 'value="NTE-4821"' in refused.text
    documents = office.post("/etude/depots/nouveau", data=make.CASE).location
    at = documents.rpartition("/")[0]
    office.get(at + "/affaire")
    office.post(at + "/affaire", 422, data=make.CASE | {"court": " "})
    office.post(at + "/affaire", data=make.CASE | {"court": "Tribunal judiciaire de Saint-Nazaire"})
    assert "Aucune pièce encore" in office.get(documents).text
    assert "Ajoutez au moins une pièce" in office.post(at + "/deposer", 422).text
    office.upload(documents, make.pdf(), "Facture%20%C3%A9t%C3%A9.pdf")
    assert _titles(office.get(documents)) == ["Facture été"]
    assert "Ajoutez au moins un destinataire" in office.post(at + "/deposer", 422).text
    office.get(at + "/destinataires")
    assert 'id="email-error"' in office.post(at + "/destinataires", 422, data={"name": "A", "email": "a@b"}).text
    office.post(
        at + "/destinataires", data={"kind": "company", "name": "Ma jolie boutique", "representative": "I. Dubois"}
    )
    site.gateways.clock.advance(timedelta(seconds=1))
    office.post(at + "/destinataires", data={"name": "Alexandre Payet"})
    assert "Ma jolie boutique, I. Dubois" in office.get(at + "/verification").text
    assert office.get(at, 303).location == documents
    assert office.post(at + "/deposer").location == at
    assert office.post(at + "/deposer").location == at  # a double click

    shown = office.get(at).text
    assert "Saint-Nazaire" in shown
    assert "Au bon moulin / Ma jolie boutique et 1\u00a0autre" in shown
    assert make.count("deposit.filed") == 1
    assert Recipient.select().count() == 2
    assert "Déposé" in office.get("/etude/depots?q=payet&etat=filed").text
    assert "Aucun dépôt ne correspond" in office.get("/etude/depots?q=payet&etat=draft").text


def test_files_are_added_without_javascript_several_at_once(site, office, draft):
    at = f"/etude/depots/{draft.id}/pieces"
    office.get(at)

    office.post(at, data=_files(("Facture.pdf", make.pdf()), ("Contrat.pdf", make.pdf("Contrat"))))

    assert _titles(office.get(at)) == ["Facture", "Contrat"]
    assert [document.nature for document in Document.select().order_by(Document.number)] == ["facture", "contrat"]
    assert len(list(site.gateways.vault.names())) == 2


def test_of_several_files_the_good_ones_are_taken_and_each_bad_one_is_named(site, office, draft):
    at = f"/etude/depots/{draft.id}/pieces"
    office.get(at)

    page = office.post(
        at, 422, data=_files(("Facture.pdf", make.pdf()), ("Virus.exe", b"MZ" + b"0" * 900), ("Vide.pdf", b""))
    )

    assert _titles(page) == ["Facture"]
    assert "Virus.exe" in page.text
    assert "Vide.pdf" in page.text
    assert len(list(site.gateways.vault.names())) == 1


def test_a_form_sent_without_a_file_changes_nothing(site, office, draft):
    at = f"/etude/depots/{draft.id}/pieces"
    office.get(at)
    office.post(at, 422, data=_files(("", b"")))
    office.post(at, 422)

    assert Document.select().count() == 0
    assert list(site.gateways.vault.names()) == []


def test_htmx_is_given_the_fragment_alone_and_everyone_else_the_page(office, draft):
    at = f"/etude/depots/{draft.id}"
    for step, name in (("pieces", "documents"), ("destinataires", "recipients")):
        fragment = office.get(f"{at}/{step}", headers=HTMX)
        page = office.get(f"{at}/{step}")

        assert fragment.text.strip().startswith(f'<div id="{name}">')
        assert "<html" not in fragment.text
        assert f'<div id="{name}">' in page.text
        assert "HX-Request" in fragment.vary
        assert "HX-Request" in page.vary


def test_htmx_is_shown_a_refusal_in_the_whole_page(office, draft):
    refused = office.get(f"/etude/depots/{draft.office_id}/pieces", 404, headers=HTMX)

    assert refused.headers["HX-Retarget"] == "body"


def test_documents_are_described_reordered_and_removed(site, office, draft):
    one, two, three = (make.document(site.gateways, draft, filename=f"{n}.pdf") for n in ("Un", "Deux", "Trois"))
    at = f"/etude/depots/{draft.id}/pieces"
    office.get(at)
    office.post(f"{at}/{three.id}/place", data={"position": "1"})
    assert _titles(office.get(at)) == ["Trois", "Un", "Deux"]
    for position in ("999999999999999999999999", "9" * 5000, "-5", "x", ""):
        office.post(f"{at}/{one.id}/place", data={"position": position})
    assert sorted(_titles(office.get(at))) == ["Deux", "Trois", "Un"]
    office.post(
        f"{at}/{two.id}", data={"title": "  Mise   en demeure ", "nature": "mise-en-demeure", "dated": "03/10/2026"}
    )
    for wrong in (
        {"title": ""},
        {"title": "T", "dated": "32/01/2026"},
        {"title": "T", "nature": "n"},
        {"title": "x" * 999},
    ):
        refused = office.post(f"{at}/{two.id}", 422, data=wrong)
        assert 'class="err"' in refused.text
    office.post(f"{at}/{one.id}/retirer")
    office.post(f"{at}/{one.id}/retirer", 404)

    found = Document.get_by_id(two.id)
    assert (found.title, found.nature, str(found.dated)) == ("Mise en demeure", "mise-en-demeure", "2026-10-03")
    assert [d.number for d in Document.select().order_by(Document.number)] == [1, 2]
    assert not [stored for stored in site.gateways.vault.names() if str(one.id) in stored.name]
    assert make.count("document.withdrawn") == 1


def test_a_recipient_is_removed_from_a_draft(site, office, draft):
    payet = make.recipient(site.gateways, draft)
    at = f"/etude/depots/{draft.id}/destinataires"
    assert "Alexandre Payet" in office.get(at).text
    office.post(f"{at}/{payet.id}/retirer")
    office.post(f"{at}/{payet.id}/retirer", 404)

    assert "Aucun destinataire encore" in office.get(at).text


def test_a_draft_is_given_up_with_its_bytes_and_a_filed_deposit_is_not(site, office, draft, marchand):
    make.document(site.gateways, draft)
    filed = make.filed(site.gateways, marchand.office)

    assert office.post(f"/etude/depots/{draft.id}/abandonner").location == "/etude/depots"

    assert Deposit.get_or_none(Deposit.id == draft.id) is None
    assert len({stored.name.split("/")[1] for stored in site.gateways.vault.names()}) == 1
    office.post(f"/etude/depots/{draft.id}/abandonner", 404)
    office.post(f"/etude/depots/{filed.id}/abandonner", 409)
    assert Deposit.get() == filed


def test_printing_a_sheet_gives_a_pdf_whose_codes_open_the_door(site, office, marchand, read_sheet):
    deposit = make.filed(site.gateways, marchand.office)
    at = f"/etude/depots/{deposit.id}/destinataires/{make.first(deposit).id}"
    assert "Imprimer le feuillet" in office.get(at).text
    sheet = office.post(at + "/feuillet", 200)
    reference, secret = read_sheet(sheet.data)
    debtor = site.visitor()
    debtor.get("/")
    debtor.post("/consulter", data={"reference": reference, "secret": secret})

    assert sheet.mimetype == "application/pdf"
    assert sheet.headers["Content-Disposition"].startswith(f'inline; filename="Feuillet {reference}.pdf"')
    assert secret.replace("-", "") not in make.everything().replace("-", "")
    assert "Imprimer un nouveau feuillet" in office.get(at).text


def test_another_sheet_stops_the_former_and_needs_a_motive_after_the_first_identification(
    site, office, marchand, read_sheet
):
    deposit = make.filed(site.gateways, marchand.office)
    at = f"/etude/depots/{deposit.id}/destinataires/{make.first(deposit).id}"
    office.get(at)
    old = dict(zip(("reference", "secret"), read_sheet(office.post(at + "/feuillet", 200).data), strict=True))
    debtor = site.visitor()
    debtor.get("/")
    debtor.post("/consulter", data=old)
    debtor.get("/consulter/canal")
    debtor.post("/consulter/canal", data={"channel": "email", "email": "payet@example.fr"})
    debtor.post("/consulter/code", data={"code": site.mailed_code()})
    debtor.get("/pieces")

    assert 'id="motive-error"' in office.post(at + "/feuillet", 422).text
    debtor.get("/pieces")
    office.post(at + "/feuillet", 409, data={"motive": "Acte perdu"})  # without saying which one it replaces
    debtor.get("/pieces")
    office.post(at + "/feuillet", 200, data={"motive": "Acte perdu", "last": _last(office.get(at))})

    debtor.get("/pieces", 303)
    debtor.post("/consulter", 422, data=old)


def test_a_sheet_is_not_printed_for_a_draft(site, office, draft):
    payet = make.recipient(site.gateways, draft)
    at = f"/etude/depots/{draft.id}/destinataires/{payet.id}"
    office.get(at, 404)
    office.post(at + "/feuillet", 409)
    office.post(at + "/signification", 404, data={"signified_on": "2026-11-20"})
    office.post(at + "/code", 409, data={"reason": "Au téléphone"})


def test_a_signification_is_recorded_and_corrected(site, office, marchand):
    deposit = make.filed(site.gateways, marchand.office)
    at = f"/etude/depots/{deposit.id}/destinataires/{make.first(deposit).id}"
    assert "À signifier avant le" in office.get(at.rpartition("/destinataires")[0]).text
    for wrong in ({}, {"signified_on": "2026-11-25"}, {"signified_on": "x"}):
        assert 'id="signified_on-error"' in office.post(at + "/signification", 422, data=wrong).text
    office.post(at + "/signification", data={"signified_on": "2026-11-20", "manner": "personne"})
    office.post(at + "/signification", data={"signified_on": "2026-11-21", "manner": "domicile"})

    shown = office.get(f"/etude/depots/{deposit.id}").text.replace("\xa0", " ")
    assert "21 novembre 2026" in shown
    assert "À signifier avant le" not in shown
    assert "à domicile" in office.get(at).text
    assert Signification.select().where(Signification.cancelled_at.is_null()).count() == 1


def test_a_code_is_told_for_a_reason_to_who_waits_for_it(site, office, marchand):
    deposit = make.filed(site.gateways, marchand.office)
    at = f"/etude/depots/{deposit.id}/destinataires/{make.first(deposit).id}"
    assert "Personne n’attend de code" in office.get(at).text
    office.post(at + "/code", 409, data={"reason": "Au téléphone"})
    make.waiting(site.gateways, make.first(deposit), "office")

    assert 'id="reason-error"' in office.post(at + "/code", 422, data={"reason": " "}).text
    assert re.search(r'class="secret">\d{4} \d{4}<', office.post(at + "/code", 200, data={"reason": "Au guichet"}).text)


def test_an_heir_is_added_to_a_filed_deposit_and_its_documents_never_change(site, office, marchand):
    deposit = make.filed(site.gateways, marchand.office)
    kept = Document.get(Document.deposit == deposit)
    at = f"/etude/depots/{deposit.id}"
    office.get(at)
    assert 'id="name-error"' in office.post(at + "/destinataires", 422, data={"name": ""}).text
    office.post(at + "/destinataires", data={"name": "Sa fille"})

    assert "Sa fille" in office.get(at).text
    assert "Sa fille" in office.get(f"{at}/destinataires/{Recipient.get(Recipient.name == 'Sa fille').id}").text
    office.upload(at + "/pieces", make.pdf(), status=409)
    office.post(at + "/pieces", 409, data=_files(("A.pdf", make.pdf())))
    office.post(f"{at}/pieces/{kept.id}", 409, data={"title": "Autre"})
    office.post(f"{at}/pieces/{kept.id}/place", 409, data={"position": "1"})
    office.post(f"{at}/pieces/{kept.id}/retirer", 409)
    office.post(f"{at}/destinataires/{make.first(deposit).id}/retirer", 409)
    office.post(at + "/affaire", 409, data=make.CASE)
    for step in ("affaire", "pieces", "destinataires", "verification"):
        office.get(f"{at}/{step}", 409)
    assert Document.select().count() == 1
    assert len(list(site.gateways.vault.names())) == 1


def test_the_list_is_cut_in_pages_and_searched(site, office, marchand):
    for number in range(27):
        make.draft(site.gateways, marchand.office, office_reference=f"NTE-{number:04}")
        site.gateways.clock.advance(timedelta(seconds=1))

    assert "Page 1 sur 2" in office.get("/etude/depots").text
    assert "NTE-0000" in office.get("/etude/depots?page=2").text
    for strange in (
        "page=0",
        "page=-1",
        "page=x",
        "page=" + "9" * 30,
        "etat=x",
        "q=%00%ED%A0%80%25_",
        "q=" + "a" * 999,
    ):
        office.get(f"/etude/depots?{strange}")
    assert Deposit.select().count() == 27


def test_the_office_reads_its_members_and_its_journal(site, office, marchand):
    other = make.member(site.gateways, make.office(site.gateways, "Étude voisine"))

    assert marchand.email in office.get("/etude/membres").text
    assert other.email not in office.get("/etude/membres").text
    office.get("/etude/journal")
    assert make.count("journal.read") == 1
    assert f"{marchand.name} a lu le journal" in office.get("/etude/journal").text


def test_the_office_is_reached_from_its_networks_only(open_site):
    site = open_site(office_networks=(ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("2001:db8::/32")))
    near = {"10.1.2.3": 200, "2001:db8::1": 200, "::ffff:10.1.2.3": 200}
    far = {"11.1.2.3": 404, "2001:db9::1": 404, "unknown": 404, "": 404, "::ffff:11.1.2.3": 404}

    for address, status in (near | far).items():
        site.visitor(address=address).get("/etude/connexion", status)
        site.visitor(address=address).get("/aide")


def test_the_office_sees_beside_a_recipient_how_many_attempts_failed_today(site):
    deposit = make.filed(site.gateways, recipients=("Alexandre Payet", "Béatrice Roux"))
    clerk = site.member(make.member(site.gateways, deposit.office))
    access, _ = make.issued(site.gateways, make.first(deposit))
    at = f"/etude/depots/{deposit.id}"
    assert "infructueux" not in clerk.get(at).text

    stranger = site.visitor()
    for count, told in ((1, "1\u00a0essai infructueux en 24 heures"), (2, "2\u00a0essais infructueux en 24 heures")):
        stranger.post("/consulter", 422, data={"reference": access.reference, "secret": codes.draw_secret()})
        assert clerk.get(at).text.count("infructueux") == 1, count
        assert told in clerk.page.text


def test_who_tried_too_many_codes_of_the_application_is_told_to_call(site):
    deposit = make.filed(site.gateways)
    recipient = make.first(deposit)
    make.identified(site.gateways, recipient, "app")
    CodeKey.update(failures=100).where(CodeKey.way == "app").execute()
    access, secret = make.issued(site.gateways, recipient, "Perdu")
    debtor = site.visitor()

    debtor.post("/consulter", data={"reference": access.reference, "secret": secret})

    assert "Trop de codes de votre application étaient faux" in debtor.get("/consulter/code").text
    CodeKey.update(failures=99).where(CodeKey.way == "app").execute()
    debtor.post("/consulter", data={"reference": access.reference, "secret": secret})
    assert "Trop de codes" not in debtor.get("/consulter/code").text


def test_the_office_reads_until_when_codes_are_refused_and_tells_none_meanwhile(site, office, marchand):
    deposit = make.filed(site.gateways, marchand.office)
    who = make.first(deposit)
    at = f"/etude/depots/{deposit.id}/destinataires/{who.id}"
    make.waiting(site.gateways, who, "office")
    with models.write():
        for _ in range(throttle.CODE_LIMIT):
            throttle.fail(one_time_codes.wrong_codes(who.accesses.get()), make.NOW)
    before = make.operations()

    shown = office.get(at).text
    until = french.instant(make.NOW + timedelta(days=1))
    assert f"les codes de ce destinataire sont refusés jusqu’au {until}" in shown
    assert "Afficher un code" not in shown
    refused = office.post(f"{at}/code", 409, data={"reason": "Au téléphone"})
    assert "nouveau feuillet" in refused.text
    assert make.operations() == before

    site.gateways.clock.advance(timedelta(minutes=1))
    make.issued(site.gateways, who)
    assert "sont refusés" not in office.get(at).text


def test_the_sheets_of_who_has_come_are_printed_with_the_others_for_a_motive(site, office, marchand):
    deposit = make.filed(site.gateways, marchand.office, recipients=("Alexandre Payet", "Béatrice Roux"))
    at = f"/etude/depots/{deposit.id}"
    assert 'name="everyone"' not in office.get(at).text
    make.identified(site.gateways, make.first(deposit))

    page = office.get(at)
    assert "1 destinataire déjà identifié n’en aura pas" in page.text
    asked = {"last": _last(page), "everyone": "1"}
    refused = office.post(f"{at}/feuillets", 422, data=asked)
    assert 'id="batch-motive-error"' in refused.text
    assert 'name="everyone" value="1" checked' in refused.text
    made = office.post(f"{at}/feuillets", 200, data=asked | {"motive": "Acte signifié de nouveau"})
    assert made.mimetype == "application/pdf"
    assert "Acte signifié de nouveau" in make.everything()


def test_a_member_who_told_as_many_codes_as_there_are_is_told_to_have_it_begun_again(site, office, marchand):
    deposit = make.filed(site.gateways, marchand.office)
    at = f"/etude/depots/{deposit.id}/destinataires/{make.first(deposit).id}"
    make.waiting(site.gateways, make.first(deposit), "office")
    for _ in range(one_time_codes.CODES_A_SIGN_IN - 1):
        office.post(at + "/code", 200, data={"reason": "Au guichet"})

    refused = office.post(at + "/code", 429, data={"reason": "Au guichet"}).text

    assert "Cette identification a déjà reçu 5 codes" in refused
    assert "Rien n’oblige à attendre" in refused
    assert "figurant sur l’acte" not in refused
