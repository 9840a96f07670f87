"""The journal on its pages: read by its office alone, narrowed by a form, each record whole."""

import html
import re

import make
import pytest
from web.conftest import words

from mespieces import models
from mespieces.domain import accesses, attestations, french, identification, journal, records
from mespieces.models import JournalPayload, Member, Recipient

HTMX = {"HX-Request": "true", "HX-Target": "div#records"}


@pytest.fixture
def office(site):
    return make.office(site.gateways)


@pytest.fixture
def deposit(site, office):
    return make.filed(site.gateways, office)


@pytest.fixture
def auditor(site, office):
    return site.member(make.member(site.gateways, office, role="auditeur"))


def shown(response):
    """The records of a page: their numbers, and what they tell."""
    cells = re.findall(
        r'>([^<]+)<span class="sr">\s: voir cet enregistrement</span></a>.*?<td data-label="Fait"><span>(.*?)</span>',
        response.text,
    )
    return [(int(re.sub(r"\D", "", number)), html.unescape(told)) for number, told in cells]


def test_whoever_works_in_the_office_reads_its_journal_and_each_reading_is_in_it(site, office, deposit):
    for role in ("administrateur", "commissaire", "clerc", "auditeur"):
        reader, before = site.member(make.member(site.gateways, office, role=role)), make.count("journal.read")
        told = shown(reader.get("/etude/journal"))

        assert make.count("journal.read") == before + 1
        assert told[0][1] == f"{Member.get().name} a lu le journal"
        assert "Dépôt de 1 pièce par Exploitant" in [one.replace("\u00a0", " ") for _, one in told]


def test_the_form_narrows_what_is_shown_with_and_without_htmx(auditor, deposit):
    for headers in ({}, HTMX):
        page = auditor.get("/etude/journal?genre=deposits&du=2026-11-24&au=24/11/2026&depot=nte-4821", headers=headers)

        assert {told for _, told in shown(page)} >= {"Destinataire ajouté\u00a0: Alexandre Payet"}
        assert "a lu le journal" not in page.text
        assert page.text.lstrip().startswith("<!doctype html>") is (not headers)
        assert 'id="records"' in page.text
        assert 'value="24/11/2026"' in page.text
    assert "Aucun enregistrement ne correspond à ces choix" in words(
        auditor.get("/etude/journal?du=2026-11-01&au=2026-11-02")
    )
    assert "(du 24 novembre 2026 au 24 novembre 2026, dépôts, pièces et destinataires, un dépôt)" in (
        words(auditor.get("/etude/journal?genre=journal")).replace("\u00a0", " ")
    )


@pytest.mark.parametrize(
    ("query", "field", "sentence"),
    [
        ("du=hier", "du", "Cette date ne convient pas"),
        ("au=2026-11-25", "au", "Cette date ne convient pas"),
        ("du=2026-11-24&au=2026-11-23", "au", "échangez les deux dates"),
        ("genre=tout", "genre", "n’existe pas"),
        ("depot=INCONNU", "depot", "Aucun dépôt de l’étude"),
        ("destinataire=Personne", "destinataire", "Aucun destinataire ne porte"),
        ("destinataire=" + "x" * 201, "destinataire", "trop long"),
    ],
)
def test_what_is_wrong_is_said_beside_its_field_and_nothing_is_read(auditor, deposit, query, field, sentence):
    for headers in ({}, HTMX):
        page = auditor.get(f"/etude/journal?{query}", 422, headers=headers)

        beside = re.search(rf'<span class="err" id="{field}-error">(.*?)</span>', page.text)
        assert beside
        assert sentence in beside[1]
        assert shown(page) == []
    assert make.count("journal.read") == 0


def test_what_was_typed_is_not_kept_even_a_secret_in_the_wrong_field(site, auditor, deposit):
    _, secret = make.issued(site.gateways, make.first(deposit))

    auditor.get(f"/etude/journal?destinataire={secret}", 422)
    auditor.get(f"/etude/journal?depot={secret}", 422)
    auditor.get("/etude/journal?destinataire=payet")

    newest = JournalPayload.select().order_by(JournalPayload.sequence.desc(), JournalPayload.group).get().body
    assert b"payet" not in bytes(newest).lower()
    assert secret not in make.everything()


def test_pages_follow_each_other_from_the_newest_to_the_oldest(site, office, auditor, monkeypatch):
    monkeypatch.setattr(records, "PAGE", 3)
    for number in range(4):
        make.draft(site.gateways, office, office_reference=f"REF {number}")
    page, numbers = auditor.get("/etude/journal?genre=deposits"), []
    for _ in range(4):
        numbers += [number for number, _ in shown(page)]
        following = re.search(r'rel="next" href="([^"]+)"', page.text)
        if not following:
            break
        page = auditor.get(html.unescape(following[1]))
        assert "← Les plus récents" in page.text

    assert len(numbers) == 4
    assert numbers == sorted(numbers, reverse=True)


def test_an_invented_place_shows_the_newest_records(auditor, deposit):
    for place in ("x", "é.", f"{journal.head().log}.-4", "'"):
        assert shown(auditor.get("/etude/journal", query_string={"avant": place}))
    assert shown(auditor.get("/etude/journal", query_string={"avant": f"{'0' * 32}.5"})) == []


def test_a_record_is_shown_as_it_is_sealed_with_its_words_its_proof_and_its_trace(site, office, deposit, auditor):
    session = make.identified(site.gateways, make.first(deposit))
    sequence = next(n for n, told in shown(auditor.get("/etude/journal")) if told.startswith("Identification réussie"))
    line = next(journal.lines(journal.head().log, sequence))

    page = auditor.get(f"/etude/journal/{journal.head().log}/{sequence}")

    told, text = words(page), html.unescape(page.text)
    assert "Alexandre Payet, destinataire" in told
    assert "par l’acte et un code reçu par courriel (façon choisie par le destinataire)" in told
    for part in (line.header, line.proof[1], line.trace[1]):
        assert part.decode() in text
    for hexadecimal in (line.hash, line.proof[0].hex(), line.trace[0].hex()):
        assert hexadecimal in re.sub(r"</?span>", "", text)
    assert make.TRACE.address in text
    assert "24 nov. 2026, 11 h 00" in told.replace("\u00a0", " ")
    assert deposit.office_reference in told
    assert f"/etude/depots/{deposit.id}" not in text
    clerk = site.member(make.member(site.gateways, office, role="clerc", email="clerc@example.fr"))
    assert f"/etude/depots/{deposit.id}" in clerk.get(f"/etude/journal/{journal.head().log}/{sequence}").text
    assert f"a lu l’enregistrement n° {french.number(sequence)} du journal" in words(
        auditor.get("/etude/journal")
    ).replace("\u00a0", " ")
    assert session


def test_what_was_erased_is_said_in_words(auditor, deposit):
    at = f"/etude/journal/{journal.head().log}/{deposit.filed_sequence}"
    JournalPayload.update(salt=None, body=None).where(JournalPayload.sequence == deposit.filed_sequence).execute()

    assert "Dépôt (contenu effacé au terme des délais)" in words(auditor.get("/etude/journal"))
    told = words(auditor.get(at))
    assert "Effacé au terme des délais, comme la loi le prévoit" in told
    assert told.count("Effacé. L’en-tête en garde l’engagement") == 2


@pytest.mark.parametrize("group", ["proof", "trace"])
@pytest.mark.parametrize("body", [b'{"author":{"kind":"recipient","name":"Forged"}}', b"[]", b"\xff\xfe"])
def test_a_record_that_was_changed_is_shown_as_altered_and_its_words_are_left_out(site, deposit, auditor, group, body):
    make.identified(site.gateways, make.first(deposit))
    sequence = next(n for n, told in shown(auditor.get("/etude/journal")) if told.startswith("Identification réussie"))
    address, payload = f"/etude/journal/{journal.head().log}/{sequence}", models.JournalPayload
    assert "Altéré" not in words(auditor.get("/etude/journal"))
    assert "Enregistrement altéré" not in words(auditor.get(address))
    with models.write():
        payload.update(body=body).where(payload.sequence == sequence, payload.group == group).execute()

    told = words(auditor.get(address))
    assert "Enregistrement altéré. Ce qui suit n’est plus ce que le journal a scellé" in told
    assert "effacé" not in told.lower()
    assert "Tel qu’il est conservé aujourd’hui" in told
    assert "Tel qu’il est scellé" not in told
    assert "ne change jamais" not in told
    assert "Alexandre Payet, destinataire" not in told
    listed = words(auditor.get("/etude/journal"))
    assert ("Altéré Identification réussie" in listed) is (group == "proof")
    assert "contenu effacé" not in listed


def test_a_record_of_another_office_or_of_none_is_not_found(site, auditor, deposit):
    theirs = make.filed(site.gateways, make.office(site.gateways, "Étude voisine"), recipients=("Odile Ailleurs",))
    log, before = journal.head().log, make.operations()

    for path in (
        f"{log}/{theirs.filed_sequence}", f"{log}/0", f"{log}/999999", f"{'0' * 32}/1", f"%00/{deposit.filed_sequence}", "x/1",
    ):  # fmt: skip
        assert "Odile" not in auditor.get(f"/etude/journal/{path}", 404).text
    assert make.operations() == before


def test_asking_ahead_shows_and_journals_nothing(auditor, deposit):
    before = make.operations()
    for path in ("/etude/journal", f"/etude/journal/{journal.head().log}/{deposit.filed_sequence}"):
        for headers in ({"Sec-Purpose": "prefetch;prerender"}, {"Purpose": "prefetch"}):
            assert auditor.get(path, headers=headers).data == b""
        auditor.ask("HEAD", path, 200)

    assert make.operations() == before


def test_the_recipient_of_an_act_is_found_by_its_reference(auditor, deposit):
    reference = accesses.of(make.first(deposit)).reference

    assert shown(auditor.get(f"/etude/journal?destinataire={reference[:4]}-{reference[4:]}".lower()))


def test_times_are_those_of_the_office(site):
    office = make.office(site.gateways, time_zone="Indian/Reunion")
    page = words(site.member(make.member(site.gateways, office)).get("/etude/journal")).replace("\u00a0", " ")

    assert "24 nov. 2026, 14 h 00" in page
    assert "Heures de l’étude (Indian/Reunion)" in page


def test_a_line_names_the_deposit_and_whose_attestation_it_is_about(site, office, deposit, auditor):
    recipient = make.first(deposit)
    attestations.of_consultations(site.gateways, recipient, by=journal.OPERATOR)
    attestations.of_deposit(site.gateways, deposit, by=journal.OPERATOR)
    clerk = site.member(make.member(site.gateways, office))

    told = words(auditor.get("/etude/journal"))
    assert "Attestation de consultation établie pour Exploitant NTE-4821 · Alexandre Payet" in told
    assert re.search(r"Attestation de dépôt établie pour Exploitant NTE-4821 \d", told), "no recipient is at stake"
    assert "Destinataire ajouté : Alexandre Payet NTE-4821 " in told.replace("\xa0", " "), "named once"
    for page in (f"/etude/depots/{deposit.id}", f"/etude/depots/{deposit.id}/recus"):
        said = words(clerk.get(page)).replace("· ", "")
        assert "Attestation de consultation établie pour Exploitant Alexandre Payet" in said, page
    JournalPayload.update(salt=None, body=None).where(JournalPayload.deposit == deposit.id).execute()
    assert "Alexandre Payet" not in words(auditor.get("/etude/journal"))


def test_every_link_of_a_page_leads_each_role_somewhere_it_may_go(site, office, deposit):
    for role, first, parts in (
        ("auditeur", "/etude/journal", ["Journal", "Compte"]),
        ("clerc", "/etude/depots", ["Dépôts", "Journal", "Étude", "Compte"]),
    ):
        reader = site.member(make.member(site.gateways, office, role=role))
        newest = reader.get("/etude/journal").text
        record = re.search(r'href="(/etude/journal/[^"/?]+/\d+)"', newest)[1]
        for page in ("/etude/journal", record, "/etude/compte"):
            text = reader.get(page).text
            shown = re.search(r'<nav class="nav".*?</nav>', text, re.DOTALL)[0]
            assert re.findall(r"<a [^>]*>([^<]+)</a>", shown) == parts
            brand = re.search(r'class="brand" href="([^"]+)"', text)[1]
            assert reader.get(brand, 303).location == first
            for link in sorted({html.unescape(one) for one in re.findall(r'href="(/etude[^"]*)"', text)} - {brand}):
                assert reader.get(link).status_code == 200, (role, page, link)


def test_the_journal_says_who_chose_how_the_code_is_received(site, office, auditor):
    mine, theirs = (
        make.filed(site.gateways, office),
        make.filed(site.gateways, office, recipients=("Ma jolie boutique",)),
    )
    make.identified(site.gateways, make.first(mine))
    given = make.first(theirs)
    Recipient.update(email="payet@example.fr", email_set_by="office").where(Recipient.id == given.id).execute()
    token = make.begun(site.gateways, given).token
    identification.confirm(site.gateways, token, make.awaited(site.gateways, token), make.TRACE)

    told = [one.replace("\u00a0", " ") for _, one in shown(auditor.get("/etude/journal?genre=identifications"))]
    assert "Moyen choisi par Alexandre Payet : code par courriel" in told
    assert "Moyen choisi par l’étude pour Ma jolie boutique : code par courriel" in told
