"""Receipts as people fetch them: of their own records alone, dated as soon as a third party has dated these."""

import html
import io
import json
import re
import zipfile
from datetime import timedelta
from urllib.parse import unquote

import authority as authorities
import make
import pikepdf
import pytest
from backups import unguard
from web.conftest import words

from mespieces import models
from mespieces.domain import anchors, attestations, checkpoints, continuity, journal, receipts
from mespieces.gateways.clock import ManualClock, SystemClock
from mespieces.gateways.timestamps import Authority
from mespieces.models import JournalCheckpoint, JournalLog, JournalPayload, Recipient
from mespieces.verifier import attached, note, receipt
from mespieces.views import auditor


@pytest.fixture(scope="module")
def tsa(tmp_path_factory):
    with authorities.serving(authorities.Authority(tmp_path_factory.mktemp("tsa"))) as served:
        yield served


@pytest.fixture
def dated(open_site, tsa):
    """The application with an authority that dates its journal when it is asked to."""
    reached = (Authority(tsa.url, (tsa.root,), within=5.0),)
    site = open_site(with_gateways={"authorities": reached, "clock": ManualClock(SystemClock().now())})
    make.office(site.gateways, "Étude du temps")  # the anomaly of a clock that is not that of other tests is behind
    return site


def two(site):
    return make.filed(site.gateways, documents=2, recipients=("Alexandre Payet", "Béatrice Roux"))


def verdict(gateways, data):
    keys = [note.verifier(row.origin, gateways.journal_key) for row in JournalLog.select()]
    return receipt.verify(receipt.parse(data), keys)


def opened(who):
    return f"/pieces/recus/{journal.head().log}/{receipts.opened.of(who)[0].sequence}.json"


def give(visitor, to, data, status=200):
    visitor.get("/audit/verifier")
    return visitor.post(f"/audit/{to}", status, data={"receipt": (io.BytesIO(data), "fichier")})


def test_the_office_has_the_receipt_of_any_record_of_a_deposit(site):
    deposit = two(site)
    clerk = site.member(make.member(site.gateways, deposit.office))
    at, log = f"/etude/depots/{deposit.id}/recus", journal.head().log
    assert f'href="{at}"' in clerk.get(f"/etude/depots/{deposit.id}").text
    page = clerk.get(at)
    listed, total = receipts.about(deposit, 1)

    assert total == len(listed) == len(journal.story(deposit))
    assert "Dépôt de 2 pièces" in words(page).replace("\xa0", " ")
    for one in listed:
        address = f"{at}/{log}/{one.entry.sequence}.json"
        assert f'href="{address}"' in page.text
        got = clerk.get(address)
        assert got.mimetype == "application/json"
        assert f"Re%C3%A7u%20provisoire%20{one.entry.sequence}%20du%20journal" in got.headers["Content-Disposition"]
        assert got.headers["Content-Disposition"].startswith("attachment; ")
        proven = verdict(site.gateways, got.data)
        assert (proven.findings, proven.header.sequence) == ([], one.entry.sequence)


def test_no_receipt_of_another_deposit_is_given_even_within_the_office(site):
    deposit = two(site)
    other = make.filed(site.gateways, deposit.office)
    clerk = site.member(make.member(site.gateways, deposit.office))
    at, log = f"/etude/depots/{deposit.id}/recus", journal.head().log

    for wrong in (
        f"{log}/{other.filed_sequence}",
        f"{'0' * 32}/{deposit.filed_sequence}",
        f"{log}/999999",
        "é/1",
        f"{log}/0",
    ):
        clerk.get(f"{at}/{wrong}.json", 404)
    draft = make.draft(site.gateways, deposit.office)
    clerk.get(f"/etude/depots/{draft.id}/recus", 409)


def test_a_recipient_has_the_receipts_of_their_own_consultations_alone(site):
    deposit = two(site)
    payet, roux = deposit.recipients.order_by(Recipient.name)
    mine, theirs = site.recipient(payet), site.recipient(roux)
    assert "encore ouvert aucune pièce" in mine.get("/pieces/recus").text
    mine.get("/pieces/2/fichier")
    theirs.get("/pieces/1/fichier")

    page, address = mine.get("/pieces/recus"), opened(payet)
    assert f'href="{address}"' in page.text
    assert opened(roux) not in page.text
    got = mine.get(address)
    proven = verdict(site.gateways, got.data)
    assert (proven.findings, proven.facts["author"]["name"]) == ([], "Alexandre Payet")
    mine.get(opened(roux), 404)
    mine.get(f"/pieces/recus/{journal.head().log}/{deposit.filed_sequence}.json", 404)
    with models.write():
        models.Deposit.update(withdrawn_at=make.NOW, withdrawn_because="Erreur").execute()
    mine.get(address, 410)
    mine.get("/pieces/recus", 410)


def test_the_same_address_gives_the_dated_receipt_once_a_third_party_dated_it(dated):
    deposit = two(dated)
    clerk, debtor = dated.member(make.member(dated.gateways, deposit.office)), dated.reading(deposit)
    debtor.get("/pieces/1/fichier")
    of_office = f"/etude/depots/{deposit.id}/recus/{journal.head().log}/{deposit.filed_sequence}.json"
    of_debtor = opened(make.first(deposit))
    before = [clerk.get(of_office), debtor.get(of_debtor)]
    assert [json.loads(got.data)["timestamp"] for got in before] == [None, None]
    assert "provisoire" in debtor.get("/pieces/recus").text
    assert anchors.keep_up(dated.gateways)

    for visitor, address, former in ((clerk, of_office, before[0]), (debtor, of_debtor, before[1])):
        got = visitor.get(address)
        told, known = json.loads(got.data), json.loads(former.data)
        assert told["timestamp"]
        assert (told["header"], told["proof"]) == (known["header"], known["proof"])
        assert "provisoire" not in got.headers["Content-Disposition"]
        assert verdict(dated.gateways, got.data).findings == []
    assert "datée par un tiers" in debtor.get("/pieces/recus").text
    assert "datée par un tiers" in clerk.get(f"/etude/depots/{deposit.id}/recus").text


def test_who_holds_a_provisional_receipt_has_it_completed_even_after_the_journal_forgot(dated, tsa):
    deposit = two(dated)
    made = attestations.of_deposit(dated.gateways, deposit, by=journal.OPERATOR)
    provisional = next(iter(attached.receipts(made).values()))
    anyone = dated.visitor()
    assert "/audit/completer" not in give(anyone, "verifier", provisional).text
    assert 'id="receipt-error"' in give(anyone, "completer", provisional, 422).text
    assert anchors.keep_up(dated.gateways)
    JournalPayload.update(salt=None, body=None).where(JournalPayload.deposit.is_null(False)).execute()
    before = make.everything()

    page = give(anyone, "verifier", provisional)
    assert "Télécharger le reçu daté" in page.text
    again = anyone.post("/audit/completer", 200, data={"receipt": provisional.decode()})
    sequence, log = header_of(provisional)
    named = unquote(again.headers["Content-Disposition"])
    assert named.startswith("attachment; ")
    assert named.endswith(f"Reçu {sequence} du journal {log[:8]}.json")
    given, known = receipt.parse(again.data), receipt.parse(provisional)
    assert (given.header, given.salt, given.body) == (known.header, known.salt, known.body)
    assert verdict(dated.gateways, again.data).findings == []
    assert receipt.date(given, [tsa.root]).authority == "Horodatage"
    assert "Télécharger le reçu daté" not in give(anyone, "verifier", again.data).text
    assert give(anyone, "completer", provisional).data == again.data
    assert make.everything() == before


def header_of(text):
    """The number of a receipt's record, and its journal."""
    header = json.loads(receipt.parse(text).header)
    return header["sequence"], header["log"]


def caught_up(site):
    """Have all that is recorded dated, and a minute go by."""
    assert anchors.keep_up(site.gateways)
    site.gateways.clock.advance(timedelta(minutes=1))


def test_a_provisional_attestation_is_completed_with_all_its_receipts(dated):
    caught_up(dated)
    deposit = two(dated)
    made = attestations.of_deposit(dated.gateways, deposit, by=journal.OPERATOR)
    anyone = dated.visitor()
    assert "est d’ordinaire daté dans les deux minutes" in words(give(anyone, "verifier", made))
    assert anchors.keep_up(dated.gateways)

    page = give(anyone, "verifier", made)
    assert "est d’ordinaire daté" not in words(page)
    assert "Télécharger les 3 reçus datés" in words(page)
    sent = [html.unescape(text) for text in re.findall(r'type="hidden" name="receipt" value="([^"]*)"', page.text)]
    for got in (give(anyone, "completer", made), anyone.post("/audit/completer", 200, data={"receipt": sent})):
        with zipfile.ZipFile(io.BytesIO(got.data)) as archive:
            places = [header_of(data) for data in attached.receipts(made).values()]
            assert set(archive.namelist()) == {f"Reçu {number} du journal {log[:8]}.json" for number, log in places}
            for name in archive.namelist():
                assert receipt.parse(archive.read(name)).timestamp
                assert verdict(dated.gateways, archive.read(name)).findings == []


def test_an_attestation_of_many_receipts_is_chosen_again_to_be_completed(dated, monkeypatch):
    deposit = two(dated)
    made = attestations.of_deposit(dated.gateways, deposit, by=journal.OPERATOR)
    assert anchors.keep_up(dated.gateways)
    monkeypatch.setattr(auditor, "SENT_AGAIN", 3000)  # bytes: two receipts

    page = give(dated.visitor(), "verifier", made)
    assert "Elle porte 3 reçus à compléter, et rien n’en a été gardé" in words(page)
    assert 'name="receipt" type="file"' in page.text
    assert 'type="hidden" name="receipt"' not in page.text


def test_who_waits_for_a_date_is_told_how_long_it_takes_and_when_it_takes_longer(dated):
    caught_up(dated)
    deposit = two(dated)
    made = attestations.of_deposit(dated.gateways, deposit, by=journal.OPERATOR)
    anyone = dated.visitor()
    assert "au-delà de dix, cette page dit que l’autorité tarde" in words(anyone.get("/audit"))
    dated.gateways.clock.advance(timedelta(minutes=11))
    assert "L’autorité tarde" in words(give(anyone, "verifier", made))
    assert "au-delà de dix" not in words(anyone.get("/audit"))


def test_a_result_is_not_lost_to_an_empty_form(dated):
    made = attestations.of_deposit(dated.gateways, two(dated), by=journal.OPERATOR)
    page = give(dated.visitor(), "verifier", made)
    [form] = re.findall(r"<form[^>]*/audit/verifier#resultat[^>]*>", page.text)
    assert "novalidate" not in form, "the browser itself keeps an empty form"
    assert re.search(r'<input id="receipt" [^>]*required', page.text)


def test_what_is_not_authentic_is_never_completed(dated):
    deposit = two(dated)
    made = attestations.of_deposit(dated.gateways, deposit, by=journal.OPERATOR)
    provisional = next(iter(attached.receipts(made).values()))
    assert anchors.keep_up(dated.gateways)
    anyone = dated.visitor()

    for wrong in (
        made + b" ", make.pdf(), b"", b"{}", provisional.replace(b"document.deposited", b"document.deposidet"),
        provisional.replace(b"Exploitant", b"Exploitent"), provisional.replace(journal.head().log.encode(), b"0" * 32),
    ):  # fmt: skip
        assert 'id="receipt-error"' in give(anyone, "completer", wrong, 422).text
    anyone.post("/audit/completer", 422)


def forged(gateways, body=b"{}"):
    """Return the receipt of a record that is in no journal, signed with the journal's own key."""
    row, salt = journal.head(), bytes(32)
    committed = receipt.record.commit("proof", salt, body)
    header = receipt.record.build(
        receipt.record.Header(
            proof=committed, trace=committed, log=row.log, operation="deposit.filed", previous="0" * 64, sequence=0,
            time="2026-11-24T10:00:00.000000Z",
        )
    )  # fmt: skip
    signed = note.sign_checkpoint(
        note.Checkpoint(row.origin, 1, receipt.record.record_hash(header)), gateways.journal_key
    )
    text = receipt.proof.write(receipt.proof.Proof(0, [], signed))
    return receipt.write(receipt.Receipt(header, salt, body, text, None))


def test_a_record_that_only_a_thief_of_the_key_signed_is_never_completed(dated):
    two(dated)
    assert anchors.keep_up(dated.gateways)
    made = forged(dated.gateways)

    assert verdict(dated.gateways, made).findings == []
    assert 'id="receipt-error"' in give(dated.visitor(), "completer", made, 422).text


@pytest.mark.parametrize("deposit", ['"x"', "5", "null", "[]", '"00000000-0000-0000-0000-00000000000g"'])
def test_a_record_that_only_a_thief_of_the_key_signed_may_be_about_anything(site, deposit):
    with pikepdf.open(io.BytesIO(make.pdf())) as document:
        odd = forged(site.gateways, f'{{"object":{{"deposit":{deposit}}}}}'.encode())
        document.attachments["recu-forge.json"] = pikepdf.AttachedFileSpec(document, odd)
        document.save(made := io.BytesIO())

    assert "Absent du journal" in words(give(site.visitor(), "verifier", made.getvalue()))


def test_a_record_in_no_journal_is_told_absent_also_inside_a_pdf_that_was_changed(site):
    own = attestations.of_deposit(site.gateways, two(site), by=journal.OPERATOR)
    with pikepdf.open(io.BytesIO(own)) as document:
        document.attachments["recu-forge.json"] = pikepdf.AttachedFileSpec(document, forged(site.gateways))
        document.save(changed := io.BytesIO())
    anyone = site.visitor()

    page = give(anyone, "verifier", changed.getvalue())
    told = words(page).replace("\u00a0", " ")
    assert "<title>PDF modifié" in page.text
    assert (
        "Un reçu qui y est joint porte la signature de ce service, mais le journal d’aujourd’hui ne contient pas"
        in told
    )
    assert told.count("absent du journal") == 1, "the other receipts inside are in the journal"
    assert "Enregistrement n° 0 : absent du journal" in told
    assert "/audit/completer" not in page.text
    sent, program = {"receipt": (io.BytesIO(changed.getvalue()), "x")}, {"Accept": "application/json"}
    asked = anyone.post("/audit/verifier", 200, data=sent, headers=program).json
    assert (asked["state"], sorted(one["state"] for one in asked["receipts"])) == ("absent", ["absent", *["valid"] * 3])
    assert "Ce reçu porte la signature" in words(give(anyone, "verifier", forged(site.gateways)))

    with models.write():
        unguard("journal_record")
        models.JournalRecord.update(hash="0" * 64).where(models.JournalRecord.operation == "deposit.filed").execute()
    assert "Un reçu joint à cette attestation porte la signature" in words(give(anyone, "verifier", own))


def test_asking_ahead_publishes_nothing_and_a_purged_record_is_told_in_words(site):
    deposit = two(site)
    clerk = site.member(make.member(site.gateways, deposit.office))
    address = f"/etude/depots/{deposit.id}/recus/{journal.head().log}/{deposit.filed_sequence}.json"
    clerk.ask("HEAD", address, 200)
    assert clerk.get(address, headers={"Sec-Purpose": "prefetch"}).data == b""
    assert JournalCheckpoint.select().count() == 0

    make.forgotten(site.gateways, deposit)
    assert "ne peut plus être établi" in clerk.get(address, 410).text
    assert "effacé" in clerk.get(f"/etude/depots/{deposit.id}/recus").text


def test_a_long_story_is_listed_page_by_page_and_lightly(site):
    deposit = two(site)
    clerk = site.member(make.member(site.gateways, deposit.office))
    with models.write():
        for _ in range(3 * receipts.PAGE):
            journal.append(site.gateways, "document.consulted", author=journal.SYSTEM, deposit=deposit)
    at = f"/etude/depots/{deposit.id}/recus"

    pages = [clerk.get(f"{at}?page={number}") for number in (1, 2, 4)]
    assert all(len(page.data) < 60_000 for page in pages)
    assert [page.text.count("Télécharger<") for page in pages][:2] == [receipts.PAGE] * 2
    assert "Aucun enregistrement" in clerk.get(f"{at}?page=99999999999").text
    checkpoints.publish(site.gateways)


def test_what_a_closed_journal_left_undated_is_never_promised_a_date(dated):
    deposit = two(dated)
    clerk, debtor = dated.member(make.member(dated.gateways, deposit.office)), dated.reading(deposit)
    debtor.get("/pieces/1/fichier")
    made = attestations.of_deposit(dated.gateways, deposit, by=journal.OPERATOR)

    def pages():
        return words(clerk.get(f"/etude/depots/{deposit.id}/recus")), words(debtor.get("/pieces/recus"))

    for told in pages():
        assert "provisoire" in told
        assert "dans les deux minutes" in told
        assert "jamais datée" not in told

    continuity.reopen(dated.gateways)
    for told in pages():
        assert "jamais datée" in told
        assert "plus aucun ne" in told
    assert "provisoire" not in pages()[1]
    told = words(give(dated.visitor(), "verifier", made))
    assert "plus aucun ne les datera" in told
    assert "deux minutes" not in told


def test_without_an_authority_nobody_is_told_to_come_back_for_a_date(site):
    deposit = two(site)
    debtor = site.reading(deposit)
    debtor.get("/pieces/1/fichier")

    told = words(debtor.get("/pieces/recus"))
    assert "Aucun tiers ne le fait aujourd’hui pour ce service" in told
    assert "deux minutes" not in told
