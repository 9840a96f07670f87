"""After filing: a deposit is withdrawn, replaced, a name corrected; what each person reads of it."""

import re
from datetime import timedelta

import make
import pytest

from mespieces.domain import codes, deposits, documents, journal, recipients, replacements, retention, withdrawals
from mespieces.models import Access, Deposit, Document, Message, Recipient

MOTIVE = "Facture d’un autre dossier"


def words(page):
    """Return what a page says, without its marks, its spaces all alike."""
    return " ".join(re.sub(r"<[^>]+>", " ", page.text).split())


@pytest.fixture
def marchand(site):
    return make.member(site.gateways)


@pytest.fixture
def office(site, marchand):
    return site.member(marchand)


@pytest.fixture
def deposit(site, marchand):
    return make.filed(site.gateways, marchand.office)


@pytest.fixture
def at(deposit):
    return f"/etude/depots/{deposit.id}"


def withdraw(site, deposit):
    return withdrawals.withdraw(site.gateways, deposit.id, MOTIVE, by=journal.OPERATOR)


def person(at, recipient):
    return f"{at}/destinataires/{recipient.id}"


def prove(site, access, secret):
    """Return the answer to who types what is printed on the act."""
    visitor = site.visitor()
    visitor.get("/")
    return visitor.ask(
        "POST", "/consulter", None, data={"csrf_token": visitor.token, "reference": access.reference, "secret": secret}
    )


# Withdrawing


def test_a_member_withdraws_a_deposit_and_its_page_says_when_by_whom_and_why(site, office, deposit, at, marchand):
    page = office.get(at)
    assert "Retirer ce dépôt" in page.text
    assert "aucun destinataire ne peut plus lire" in page.text

    assert office.post(f"{at}/retirer", data={"motive": MOTIVE}).location == at

    said = words(office.get(at))
    assert f"Dépôt retiré le 24 novembre 2026 à 11 h 00 (heure de Paris) par {marchand.name}. Motif : {MOTIVE}" in said
    assert f"Dépôt retiré par {marchand.name} ({MOTIVE})" in said
    assert "Retirer ce dépôt" not in said
    assert "disponible jusqu’au" not in said
    assert "Imprimer le feuillet" not in said
    assert "Ajouter un destinataire" not in said
    assert "Retiré" in words(office.get("/etude/depots?etat=withdrawn"))
    assert "est retiré" in words(office.get(person(at, make.first(deposit))))


@pytest.mark.parametrize(("typed", "said"), [("", "Ce champ est nécessaire"), ("x" * 401, "400 caractères au plus")])
def test_without_a_motive_that_can_be_taken_the_form_opens_again_with_its_words(office, deposit, at, typed, said):
    page = office.post(f"{at}/retirer", 422, data={"motive": typed})

    assert said in page.text
    assert re.search(r"<details open><summary>Retirer ce dépôt", page.text)
    assert f'value="{typed}"' in page.text or not typed
    assert Deposit.get().withdrawn_at is None


def test_withdrawing_again_or_a_draft_is_refused_in_words(site, office, deposit, at, marchand):
    office.post(f"{at}/retirer", data={"motive": MOTIVE})

    assert "est déjà retiré" in words(office.post(f"{at}/retirer", 409, data={"motive": "Encore"}))
    assert "est déjà retiré" in words(office.post(f"{at}/retirer", 409, data={"motive": ""}))
    draft = make.draft(site.gateways, marchand.office)
    assert "brouillon" in words(office.post(f"/etude/depots/{draft.id}/retirer", 409, data={"motive": MOTIVE}))
    assert make.count("deposit.withdrawn") == 1


def test_a_page_left_open_before_the_withdrawal_changes_nothing_after_it(site, office, deposit, at):
    to = person(at, make.first(deposit))
    withdraw(site, deposit)
    before = make.operations()

    for address, typed in [
        (f"{at}/destinataires", {"name": "Jeanne Payet"}),
        (f"{to}/feuillet", {}),
        (f"{to}/signification", {"signified_on": "2026-11-20"}),
        (f"{to}/canal", {"motive": "Téléphone perdu"}),
        (f"{to}/correction", {"name": "Jeanne Payet", "motive": "Faute"}),
        (f"{to}/correction", {"name": "", "motive": ""}),
    ]:
        assert "déjà retiré" in words(office.post(address, 409, data=typed)), address
    assert make.operations() == before


def test_no_form_without_its_field_withdraws_or_replaces(office, deposit, at):
    for address in (f"{at}/retirer", f"{at}/remplacer", f"{person(at, make.first(deposit))}/correction"):
        office.ask("POST", address, 400, data={"motive": MOTIVE, "name": "Autre"})

    assert Deposit.get().withdrawn_at is None


def test_the_office_still_opens_what_it_withdrew_until_the_end_and_each_opening_is_journaled(
    site, office, deposit, at, marchand
):
    withdraw(site, deposit)
    address = f"{at}/pieces/{documents.numbered(deposit, 1).id}/fichier"
    assert address in office.get(at).text

    assert office.get(address).data == make.pdf()
    assert journal.story(deposit)[0].operation == "document.consulted"
    assert journal.story(deposit)[0].body["author"]["name"] == marchand.name

    site.gateways.clock.advance(deposit.expires_at - site.gateways.clock.now())
    later = site.member(marchand)
    later.get(address, 410)
    assert "Dépôt retiré" in words(later.get(at))


# What recipients read


def test_an_open_session_reads_at_once_that_the_documents_were_withdrawn(site, deposit):
    reader = site.reading(deposit)
    reader.get("/pieces/1/fichier")
    withdraw(site, deposit)

    for path in (
        "/pieces",
        "/pieces/1",
        "/pieces/1/texte",
        "/pieces/1/fichier",
        "/pieces/1/pages/1.webp",
        "/pieces/liasse.zip",
    ):
        page = reader.get(path, 410)
        assert "L’étude a retiré ces documents" in page.text
        assert MOTIVE not in page.text
    assert make.count("document.consulted") == 1
    reader.post("/deconnexion")


def test_the_secret_leads_to_the_words_and_a_wrong_one_to_what_a_stranger_reads(site, deposit):
    access, secret = make.issued(site.gateways, make.first(deposit))
    withdraw(site, deposit)

    told = prove(site, access, secret)
    assert told.status_code == 410
    assert "L’étude a retiré ces documents" in told.text
    wrong = prove(site, access, codes.draw_secret())
    access.reference = codes.draw_reference()
    unknown = prove(site, access, codes.draw_secret())
    assert wrong.status_code == unknown.status_code == 422
    assert _without_reference(words(wrong)) == _without_reference(words(unknown))
    assert "retiré" not in words(wrong)


def _without_reference(said):
    return re.sub(r"[0-9A-Z]{4}-?[0-9A-Z]{4}", "", said)


def test_whoever_was_about_to_type_a_code_reads_that_the_documents_were_withdrawn(site, deposit):
    access, secret = make.issued(site.gateways, make.first(deposit))
    visitor = site.visitor()
    visitor.get("/")
    visitor.post("/consulter", data={"reference": access.reference, "secret": secret})
    visitor.post("/consulter/canal", data={"channel": "email", "email": "payet@example.fr"})
    withdraw(site, deposit)

    for path in ("/consulter/code", "/consulter/canal"):
        assert "L’étude a retiré ces documents" in visitor.get(path, 410).text
    assert "L’étude a retiré ces documents" in visitor.post("/consulter/code", 410, data={"code": "12345678"}).text
    assert [text for text in site.mails() if "Votre code" in text] == []


# Replacing


def test_a_withdrawn_deposit_is_replaced_from_its_page_and_the_two_lead_to_each_other(site, office, deposit, at):
    withdraw(site, deposit)
    assert "Préparer le dépôt qui le remplace" in office.get(at).text

    to = office.post(f"{at}/remplacer").location
    assert office.post(f"{at}/remplacer").location == to

    draft = replacements.of(deposit)
    assert to == f"/etude/depots/{draft.id}"
    assert office.get(to, 303).location == f"{to}/pieces"
    for step in ("affaire", "pieces", "destinataires", "verification"):
        page = office.get(f"{to}/{step}")
        assert f'Remplace le <a href="{at}">dépôt retiré le 24\xa0nov. 2026, 11\xa0h\xa000</a>' in page.text
    assert make.first(deposit).name in office.get(f"{to}/destinataires").text
    page = office.get(at)
    assert "Continuer le dépôt qui le remplace" in page.text
    assert f'href="{to}"' in page.text
    assert "Préparer le dépôt" not in page.text

    office.upload(f"{to}/pieces", make.pdf())
    office.post(f"{to}/deposer")
    assert f'Remplace le <a href="{at}">' in office.get(to).text
    assert "en remplacement d’un dépôt retiré" in office.get(to).text
    page = office.get(at)
    assert "Remplacé par un autre dépôt le 24 novembre 2026" in words(page)
    assert f'href="{to}"' in page.text


def test_a_deposit_that_is_not_withdrawn_is_not_replaced(office, deposit, at):
    assert "n’est pas retiré" in words(office.post(f"{at}/remplacer", 409))
    assert Deposit.select().count() == 1


def test_a_replacement_withdrawn_in_its_turn_is_the_one_to_replace(site, office, deposit, at):
    withdraw(site, deposit)
    draft = replacements.prepare(site.gateways, deposit.id, by=journal.OPERATOR)
    make.document(site.gateways, draft)
    withdraw(site, deposits.file(site.gateways, draft.id, by=journal.OPERATOR))

    assert "Remplacé par un dépôt retiré à son tour" in words(office.get(at))
    assert office.post(f"{at}/remplacer").location == f"/etude/depots/{draft.id}"
    assert "Préparer le dépôt qui le remplace" in office.get(f"/etude/depots/{draft.id}").text


def test_once_replaced_the_former_secret_leads_to_the_office_and_not_to_the_new_reference(site, deposit):
    access, secret = make.issued(site.gateways, make.first(deposit))
    reader = site.reading(deposit)
    withdraw(site, deposit)
    draft = replacements.prepare(site.gateways, deposit.id, by=journal.OPERATOR)
    make.document(site.gateways, draft, filename="Contrat signé.pdf")
    assert "d’autres à disposition" not in prove(site, access, secret).text

    new = deposits.file(site.gateways, draft.id, by=journal.OPERATOR)

    reference = make.first(new).accesses.get().reference
    for page in (prove(site, access, secret), reader.get("/pieces", 410)):
        assert page.status_code == 410
        assert "L’étude a retiré ces documents, et en a mis d’autres à disposition." in page.text
        assert "nouveau feuillet d’accès" in page.text
        assert reference not in page.text.replace("-", "")
        assert "Contrat" not in page.text


def test_the_office_reads_who_was_told_by_mail_and_who_is_to_be_told_otherwise(site, office, marchand):
    deposit = make.draft(site.gateways, marchand.office)
    make.document(site.gateways, deposit)
    for name, email in (
        ("Alexandre Payet", "payet@example.fr"),
        ("Béatrice Roux", ""),
        ("Chloé Jamais", "c@example.fr"),
    ):
        make.recipient(site.gateways, deposit, name, email=email)
        site.gateways.clock.advance(timedelta(seconds=1))
    deposits.file(site.gateways, deposit.id, by=journal.OPERATOR)
    for recipient in recipients.listed(deposit)[:2]:
        make.issued(site.gateways, recipient)
    withdraw(site, deposit)
    at = f"/etude/depots/{deposit.id}"

    assert "Courriel sur le retrait en attente de départ, à payet@example.fr" in words(office.get(at))
    assert len(site.mails()) == 1
    said = words(office.get(at))
    assert "Courriel sur le retrait parti à payet@example.fr le 24 nov. 2026, 11 h 00" in said
    assert re.search(r"Béatrice Roux à prévenir autrement Aucun courriel connu", said)
    assert re.search(r"Chloé Jamais Aucun feuillet n’a été imprimé", said)
    Message.update(sent_at=None, given_up_at=make.NOW, reason="refusé").execute()
    assert "n’a pas pu être remis à payet@example.fr" in words(office.get(at))

    draft = replacements.prepare(site.gateways, deposit.id, by=journal.OPERATOR)
    make.document(site.gateways, draft)
    deposits.file(site.gateways, draft.id, by=journal.OPERATOR)
    assert len(site.mails()) == 2
    assert "Courriel sur le remplacement parti à payet@example.fr" in words(office.get(at))


# Correcting


def test_a_member_corrects_a_name_on_the_recipients_page(office, deposit, at, marchand):
    to = person(at, make.first(deposit))
    assert "Corriger le nom ou l’adresse" in office.get(to).text

    typed = {"kind": "person", "name": "Alexandra Payet", "address": "1 rue X\n44000 Nantes", "motive": "Prénom mal lu"}
    assert office.post(f"{to}/correction", data=typed).location == to

    page = office.get(to)
    assert "Le destinataire est corrigé" in page.text
    assert "<h1>Alexandra Payet</h1>" in page.text
    assert "44000 Nantes" in page.text
    told = words(office.get(at))
    assert f"« Alexandre Payet » corrigé en « Alexandra Payet » par {marchand.name} (Prénom mal lu)" in told
    assert "Destinataire ajouté : Alexandre Payet" in told

    office.post(f"{to}/correction", data={**typed, "address": "2 rue X", "motive": "Déménagement"})
    assert f"Destinataire Alexandra Payet corrigé par {marchand.name} (Déménagement)" in words(office.get(at))


def test_a_correction_that_changes_nothing_says_so_and_is_not_recorded(office, deposit, at):
    to = person(at, make.first(deposit))

    office.post(f"{to}/correction", data={"kind": "person", "name": "Alexandre Payet", "motive": "Vérification"})

    assert "Rien n’a été corrigé" in office.get(to).text
    assert make.count("recipient.corrected") == 0


def test_a_correction_that_cannot_be_taken_keeps_what_was_typed_beside_its_words(site, office, deposit, at):
    to = person(at, make.first(deposit))
    make.identified(site.gateways, make.first(deposit))  # the sheet's own motive is asked for as well

    page = office.post(f"{to}/correction", 422, data={"kind": "company", "name": "Société Payet", "motive": " "})
    assert "Ce champ est nécessaire" in page.text
    assert 'value="Société Payet"' in page.text
    assert '<option value="company" selected>' in page.text
    assert re.search(r"<details open><summary>Corriger", page.text)
    page = office.post(f"{to}/correction", 422, data={"name": "", "motive": "Faute de frappe"})
    assert page.text.count('value="Faute de frappe"') == 1
    assert Recipient.get().name == "Alexandre Payet"


def test_a_name_is_not_corrected_once_the_end_has_come(site, deposit, at, marchand):
    site.gateways.clock.advance(deposit.expires_at - site.gateways.clock.now())
    office = site.member(marchand)

    to = person(at, make.first(deposit))
    assert "Corriger le nom" not in office.get(to).text
    assert "terminée" in words(office.post(f"{to}/correction", 409, data={"name": "Autre", "motive": "Faute"}))
    assert "Retirer ce dépôt" not in office.get(at).text
    assert "terminée" in words(office.post(f"{at}/retirer", 409, data={"motive": MOTIVE}))


def test_a_deposit_whose_names_were_erased_is_still_listed_and_shown(site):
    filed = make.filed(site.gateways, documents=1)
    someone, now = make.first(filed), site.gateways.clock.now()
    ended = dict.fromkeys(("expires_at", "ended_at", "purged_at", "forgotten_at"), now)
    Deposit.update(ended).execute()
    Document.update(deleted_at=now, wrapped_key=None).execute()
    Access.update(reference=None, secret_hash=None).execute()
    assert retention.erase(site.gateways) == 1

    office = site.member(make.member(site.gateways, filed.office))
    office.get("/etude/depots")
    assert "(données effacées)" in office.get(f"/etude/depots/{filed.id}").text
    shown = office.get(f"/etude/depots/{filed.id}/destinataires/{someone.id}").text
    assert "(données effacées)" in shown
    assert someone.name not in shown
    for page in (f"/etude/depots/{filed.id}", f"/etude/depots/{filed.id}/destinataires/{someone.id}"):
        assert office.get(f"{page}/attestation.pdf").mimetype == "application/pdf"
