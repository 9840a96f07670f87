"""What anyone may see of the journal: its head and its signed checkpoints, and nobody's name."""

import io
import re
import tracemalloc
from datetime import timedelta

import make
import pytest
from backups import restore, unguard
from web.conftest import words

from mespieces import models
from mespieces.domain import attestations, authenticity, checkpoints, continuity, journal, verifications
from mespieces.gateways import preview
from mespieces.models import Document, JournalAttestation, JournalCheckpoint, JournalPayload, JournalRecord
from mespieces.verifier import attached, note
from mespieces.views import auditor


def test_the_head_is_given_to_programs(site):
    make.filed(site.gateways)
    head = site.visitor().get("/audit/head")

    assert head.mimetype == "application/json"
    assert set(head.json) == {"log", "size", "head", "root", "time"}
    assert head.json["size"] == JournalRecord.select().count()
    assert head.json["head"] == JournalRecord.select().order_by(JournalRecord.sequence.desc()).get().hash
    assert head.json["log"] == journal.head().log
    assert re.fullmatch("[0-9a-f]{64}", head.json["root"])


def test_a_checkpoint_verifies_with_the_key_the_page_shows(site):
    make.filed(site.gateways)
    checkpoints.publish(site.gateways)
    anyone = site.visitor()
    page, head, signed = anyone.get("/audit").text, anyone.get("/audit/head").json, anyone.get("/audit/checkpoint")
    vkey = re.search(
        r'<code class="hash" id="vkey">(pieces\.example\.fr/journal/\w+\+[0-9a-f]{8}\+[^<]+)</code>', page
    )[1].replace("&#43;", "+")

    found = note.read_checkpoint(signed.data, [note.parse_vkey(vkey)])

    assert signed.mimetype == "text/plain"
    assert (found.size, found.root.hex()) == (head["size"], head["root"])
    changed = signed.data.replace(str(found.size).encode(), str(found.size + 1).encode(), 1)
    with pytest.raises(note.NoteRefused):
        note.read_checkpoint(changed, [note.parse_vkey(vkey)])


def test_an_earlier_checkpoint_keeps_its_bytes(site):
    draft = make.draft(site.gateways)
    first = checkpoints.publish(site.gateways)
    size = note.parse_checkpoint(note.split(first)[0]).size
    make.draft(site.gateways, draft.office)
    checkpoints.publish(site.gateways)
    anyone = site.visitor()

    at = f"/audit/{journal.head().log}/checkpoints/{size}.note"
    assert anyone.get(at).data == first
    assert anyone.get("/audit/checkpoint").data != first
    assert f'href="{at}"' in anyone.get("/audit").text


def test_a_checkpoint_that_was_never_signed_is_not_found(site):
    anyone = site.visitor()
    anyone.get("/audit/checkpoint", 404)
    for size in ("0", "7", "9" * 19, "9" * 40, "-1", "x"):
        anyone.get(f"/audit/{journal.head().log}/checkpoints/{size}.note", 404)
    for name in ("0" * 32, "x", "%00", journal.head().log.upper(), journal.head().log + "0"):
        anyone.get(f"/audit/{name}/checkpoints/1.note", 404)
        anyone.get(f"/audit/{name}/timestamps/1.1.tsr", 404)
        anyone.get(f"/audit/{name}/points-de-controle", 404)


def test_the_last_verification_is_shown_with_what_it_found(site):
    anyone = site.visitor()
    assert "Pas encore vérifié" in anyone.get("/audit").text
    verifications.verify(site.gateways)
    assert "Chaîne intacte" in anyone.get("/audit").text
    site.gateways.clock.advance(timedelta(days=2, minutes=1))  # something keeps the worker from reading it again
    late = anyone.get("/audit").text
    assert ("Plus vérifié" in late, "Chaîne intacte" in late) == (True, False)
    verifications.verify(site.gateways)
    assert "Chaîne intacte" in anyone.get("/audit").text

    make.draft(site.gateways)
    checkpoints.publish(site.gateways)
    with models.write():  # a checkpoint of records that are no longer there
        JournalCheckpoint.create(log=journal.head().log, size=999, note=b"x", created_at=site.gateways.clock.now())
    verifications.verify(site.gateways)

    assert "Anomalie constatée" in anyone.get("/audit").text


def test_what_is_public_names_nobody_and_no_document(site):
    marchand = make.member(site.gateways)
    deposit = make.filed(site.gateways, marchand.office)
    site.reading(deposit).get("/pieces/1/fichier")
    checkpoints.publish(site.gateways)
    verifications.verify(site.gateways)
    document, anyone = Document.get(), site.visitor()
    access, _ = make.issued(site.gateways, make.first(deposit))
    private = [
        marchand.office.name, marchand.office.phone, marchand.name, marchand.email, "Payet", "payet@example.fr",
        deposit.creditor, deposit.court, deposit.order_number, deposit.office_reference, str(deposit.id),
        document.title, document.filename, document.fingerprint, str(document.id), access.reference, "198.51.100",
    ]  # fmt: skip

    for path in ("/audit", "/audit/head", "/audit/checkpoint", "/healthz", "/readyz", "/", "/aide"):
        text = re.sub(r"</?span>", "", anyone.ask("GET", path, None).text).replace("&amp;", "&")
        assert [word for word in private if word in text] == [], path


def _give(visitor, data, status=200, name="attestation.pdf"):
    visitor.get("/audit/verifier")
    return visitor.post("/audit/verifier", status, data={"receipt": (io.BytesIO(data), name)})


def test_anybody_has_an_attestation_verified_and_reads_what_it_proves(site):
    deposit = make.filed(site.gateways, documents=1)
    made = attestations.of_deposit(site.gateways, deposit, by=journal.OPERATOR)
    anyone, before = site.visitor(), make.everything()
    told = words(_give(anyone, made))

    assert "Valide" in told
    assert "n’a pas été modifiée depuis" in told
    assert deposit.documents.get().fingerprint in told
    assert "qu’aucun tiers n’avait encore certifiée" in told
    [first, _] = attached.receipts(made).values()
    assert "Ce reçu est authentique" in words(_give(anyone, first, name="recu.json"))
    assert make.everything() == before


def test_a_forged_attestation_slipped_into_the_table_beside_the_journal_is_not_valid(site):
    deposit = make.filed(site.gateways)
    made = attestations.of_deposit(site.gateways, deposit, by=journal.OPERATOR)
    forged = made + b"\n% another total"
    row = JournalAttestation.get()
    with models.write():
        JournalAttestation.insert(
            fingerprint=attestations.fingerprint(forged), log=row.log, sequence=row.sequence
        ).execute()

    assert authenticity.examine(site.gateways, made).state == "valid"
    assert authenticity.examine(site.gateways, forged).state != "valid"

    named = (JournalPayload.sequence == row.sequence) & (JournalPayload.group == "proof")
    body = bytes(JournalPayload.get(named).body)
    with models.write():
        said = body.replace(row.fingerprint.encode(), attestations.fingerprint(forged).encode())
        JournalPayload.update(body=said).where(named).execute()
    assert said != body
    assert authenticity.examine(site.gateways, forged).state == "altered"


def test_an_attestation_that_the_tables_forgot_is_known_by_the_journal_all_the_same(site):
    deposit = make.filed(site.gateways, documents=1)
    made = attestations.of_deposit(site.gateways, deposit, by=journal.OPERATOR)
    attestations.of_deposit(site.gateways, deposit, by=journal.OPERATOR)
    known = authenticity.examine(site.gateways, made)
    with models.write():
        JournalAttestation.delete().execute()

    assert authenticity.examine(site.gateways, made) == known
    assert known.state == "valid"
    assert authenticity.examine(site.gateways, made + b" ").state == "altered"

    with models.write():
        JournalPayload.update(
            body=b'{"detail":{"fingerprint":"' + attestations.fingerprint(made).encode() + b'"}}'
        ).where(JournalPayload.sequence == known.issued.sequence, JournalPayload.group == "proof").execute()
    assert authenticity.examine(site.gateways, made).state == "altered", "no record that verifies says so any more"


def test_where_records_were_lost_nobody_is_accused_of_having_changed_a_pdf(site):
    deposit = make.filed(site.gateways, documents=1)
    size = journal.head().size
    made = attestations.of_deposit(site.gateways, deposit, by=journal.OPERATOR)
    continuity.keep(site.gateways, checkpoints.publish(site.gateways))
    with models.write():
        JournalAttestation.delete().execute()
    restore(size)
    continuity.reopen(site.gateways)

    page = _give(site.visitor(), made)

    assert "<title>Non reconnu" in page.text
    assert "il est de ceux dont ce service a perdu l’enregistrement" in words(page)
    assert "Les 2 reçus de ce service qui y sont joints, eux, sont authentiques" in words(page)


def test_what_is_no_attestation_of_this_service_is_told_in_words(site):
    deposit = make.filed(site.gateways, documents=1)
    made = attestations.of_deposit(site.gateways, deposit, by=journal.OPERATOR)
    [first, _] = attached.receipts(made).values()
    anyone = site.visitor()

    changed = words(_give(anyone, made + b" "))
    assert "PDF modifié" in changed
    assert "Ce qu’il affiche ne prouve rien" in changed
    assert "Les 2 reçus de ce service qui y sont joints, eux, sont authentiques" in changed
    assert deposit.documents.get().fingerprint in changed
    assert "/audit/completer" not in _give(anyone, made + b" ").text
    assert "Inconnue, ou modifiée" in words(_give(anyone, make.pdf()))
    altered = words(_give(anyone, first.replace(b"deposited", b"deposidet"), name="recu.json"))
    assert "Altéré" in altered
    assert "Enregistrement n°" not in altered
    for nothing in (b"", b"{}", b"\x00" * 1000):
        assert 'id="receipt-error"' in _give(anyone, nothing, 422).text
    assert anyone.post("/audit/verifier", 422, data={"receipt": "texte"}).text.count("receipt-error")


def test_a_file_too_large_to_be_an_attestation_is_refused(site):
    anyone = site.visitor()
    anyone.get("/audit/verifier")
    body = make.multipart({"csrf_token": anyone.token}, "receipt", bytes(authenticity.LARGEST + 128 * 1024))
    told = anyone.post("/audit/verifier", 413, data=body, content_type=make.MULTIPART)

    assert "Ce fichier dépasse 16 Mo" in words(told)
    assert 'href="/audit/verifier">Choisir un autre fichier<' in told.text


def test_a_program_has_a_file_verified_without_a_form_and_reads_json(site):
    deposit = make.filed(site.gateways, documents=1)
    made = attestations.of_deposit(site.gateways, deposit, by=journal.OPERATOR)
    [first, _] = attached.receipts(made).values()
    program, json = site.visitor(), {"Accept": "application/json"}
    program.token = "none"  # it has never seen a form

    def ask(data, status=200):
        given = {"receipt": (io.BytesIO(data), "x")} if data is not None else {}
        return program.post("/audit/verifier", status, data=given, headers=json).json

    valid = ask(made)
    assert (valid["state"], len(valid["receipts"])) == ("valid", 2)
    assert valid["issued"] == {"sequence": journal.head().size - 1, "time": "2026-11-24T10:00:00.000000Z"}
    told = ask(first)
    assert (told["state"], told["issued"]) == ("valid", None)
    assert told["receipts"][0]["operation"] == "document.deposited"
    assert told["receipts"][0]["fingerprint"] == deposit.documents.get().fingerprint
    assert told["receipts"][0]["dated"] is None
    assert told["receipts"][0]["log"] == journal.head().log
    changed = ask(made + b" ")
    assert (changed["state"], changed["issued"], changed["receipts"]) == ("altered", None, valid["receipts"])
    for other in (make.pdf(), b"%PDF-1.7", made[:9_000]):
        assert ask(other) == {"state": "unknown", "issued": None, "receipts": []}
    altered = ask(first.replace(b"deposited", b"deposidet"))
    assert (altered["state"], altered["receipts"][0]["sequence"]) == ("altered", None)
    for wrong in (b"GIF89a", b"", None):
        assert ask(wrong, 422)["error"].endswith(".")
    body = make.multipart({}, "receipt", bytes(authenticity.LARGEST + 128 * 1024))
    refused = program.ask("POST", "/audit/verifier", 413, data=body, content_type=make.MULTIPART, headers=json)
    assert "16 Mo" in refused.json["error"]


def test_a_browser_s_form_is_still_guarded_and_so_is_every_other_form(site):
    anyone = site.visitor()
    anyone.token = "forged"
    for accept in ("text/html,*/*;q=0.8", "*/*", "text/html, application/json"):
        anyone.post("/audit/verifier", 400, data={"receipt": (io.BytesIO(b"{}"), "x")}, headers={"Accept": accept})
    anyone.post("/consulter", 400, data={}, headers={"Accept": "application/json"})


def test_no_file_and_an_empty_one_are_told_apart_from_a_wrong_one(site):
    anyone = site.visitor()
    assert "Choisissez d’abord le fichier" in words(_give(anyone, b"", 422))
    assert "Choisissez d’abord le fichier" in words(anyone.post("/audit/verifier", 422, data={}))
    wrong = _give(anyone, b"\xff\xd8\xff\xe0 JFIF", 422, name="photo.jpg")
    assert "n’est ni une attestation PDF, ni un reçu JSON" in words(wrong)
    assert "<title>Fichier à corriger – Vérifier une attestation" in wrong.text


def test_one_stranger_s_pdf_is_read_at_a_time_and_the_next_is_told_to_come_back(site, monkeypatch):
    monkeypatch.setattr(preview, "PATIENCE", 0.15)
    anyone = site.visitor()
    assert preview._STRANGERS.acquire(blocking=False)
    try:
        assert not preview._STRANGERS.acquire(blocking=False)
        told = _give(anyone, make.pdf(), 503)
        asked = anyone.post(
            "/audit/verifier",
            503,
            data={"receipt": (io.BytesIO(make.pdf()), "x")},
            headers={"Accept": "application/json"},
        )
        assert "n’est ni une attestation" in words(_give(anyone, b"GIF89a", 422)), "nothing else waits"
    finally:
        preview._STRANGERS.release()
    for said in (words(told), asked.json["error"]):
        assert preview.TooBusy.message in said.replace("\u00a0", " ")
    assert "Inconnue, ou modifiée" in words(_give(anyone, make.pdf()))


def test_a_file_given_is_held_in_memory_once():
    held, chunk = auditor.Held(), bytes(64 * 1024)
    tracemalloc.start()
    try:
        for _ in range(authenticity.LARGEST // len(chunk)):
            held.write(chunk)
        data = held.given()
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(data) == authenticity.LARGEST
    assert most < 1.5 * len(data)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # an instant is a text there
def test_a_value_that_the_service_never_writes_is_told_in_words_and_to_the_operator(site, caplog):
    checkpoints.publish(site.gateways)
    with models.write():
        unguard("journal_checkpoint")
        models.database.execute_sql("UPDATE journal_checkpoint SET created_at = 'yesterday'")

    told = words(site.visitor().get("/audit/points-de-controle", 503))

    assert "contient une valeur qu’il n’écrit jamais, et qu’il ne peut pas lire" in told
    assert "'yesterday' where an instant is expected" in caplog.text


@pytest.mark.parametrize("detail", ["", "5", "[]", "{}"])
def test_what_is_kept_of_a_verification_and_says_nothing_counts_as_none(site, detail):
    verifications.verify(site.gateways)
    models.Fact.update(detail=detail).where(models.Fact.name == verifications.VERIFIED).execute()

    assert verifications.last() is None
    assert "Chaîne intacte" not in words(site.visitor().get("/audit"))
