"""Whether a PDF is the very one that a journal issued, told by `mespieces-verify` from an export, or from a receipt."""

import hashlib
import json
import os
import re
import unicodedata
from datetime import timedelta

import journal_maker as maker
import pikepdf
import pytest

from mespieces.verifier import __main__ as program
from mespieces.verifier import attached, chain, issued, receipt

INTACT, TAMPERED, UNCHECKED = 0, 1, 2
DURING, AFTER = maker.START + timedelta(seconds=3), maker.START + timedelta(days=1)


@pytest.fixture
def run(capsys):
    def run(*arguments):
        status = program.main([str(argument) for argument in arguments])
        return status, capsys.readouterr().out

    return run


@pytest.fixture
def journal():
    return maker.ordinary()


@pytest.fixture
def attestation(journal, tmp_path):
    """Make an attestation that carries a receipt, or none, and save it."""

    def made(at=DURING, *, name="attestation.pdf", carries=True, title="Attestation"):
        with pikepdf.new() as document:
            document.add_blank_page()
            document.docinfo["/Title"] = title
            if at:
                document.docinfo["/CreationDate"] = f"D:{at:%Y%m%d%H%M%S}Z"
            if carries:
                data = receipt.write(journal.receipt(3, 5))
                document.attachments["recu-3.json"] = pikepdf.AttachedFileSpec(document, data, filename="recu-3.json")
            document.save(tmp_path / name, deterministic_id=True)
        return tmp_path / name

    return made


def issue(journal, path, office=None):
    """Journal the handing over of a PDF, and end the journal as an export does."""
    detail = {"kind": "deposit", "fingerprint": hashlib.sha256(path.read_bytes()).hexdigest()}
    sequence = journal.add("attestation.issued", detail=detail)
    journal.time += timedelta(hours=2)
    journal.close(office)
    return sequence


def state(told):
    return [pdf["state"] for pdf in json.loads(told)["pdfs"]]


@pytest.mark.parametrize("carries", [True, False])
def test_the_pdf_that_was_issued_is_named_with_its_record(run, journal, attestation, tmp_path, carries):
    path = attestation(carries=carries)
    sequence = issue(journal, path)
    arguments = (maker.save(journal.files(), tmp_path / "export"), "--receipt", path, "--vkey", journal.vkey)

    status, told = run(*arguments)
    assert status == INTACT
    assert f"remis tel quel, octet pour octet, selon l’enregistrement {sequence} du journal {journal.log}" in told
    [pdf] = json.loads(run(*arguments, "--json")[1])["pdfs"]
    assert (pdf["state"], pdf["issued"]["sequence"], pdf["name"]) == ("issued", sequence, "attestation.pdf")
    assert pdf["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("at", [DURING, None])
def test_a_changed_pdf_with_genuine_receipts_is_not_the_one_issued(run, journal, attestation, tmp_path, at):
    issue(journal, attestation())
    place, changed = maker.save(journal.files(), tmp_path / "export"), attestation(at, title="Autre")

    status, told = run(place, "--receipt", changed, "--vkey", journal.vkey)
    assert (status, "ce n’est pas le PDF que ce journal a remis" in told) == (TAMPERED, True)
    status, told = run("--receipt", changed, "--vkey", journal.vkey)
    assert (status, told.splitlines()[-1][:31]) == (
        INTACT,
        "REÇUS INTACTS, PDF NON VÉRIFIÉ ",
    )  # its receipt alone is genuine
    assert run(place, "--receipt", changed)[0] == UNCHECKED  # the export may be the false one


def test_of_a_pdf_alone_the_conclusion_is_about_its_receipts_and_says_how_to_have_the_rest_verified(
    run, journal, attestation, tmp_path
):
    first, second = attestation(), attestation(title="Autre", name="autre.pdf")
    sequence = issue(journal, first)
    (tmp_path / "remise.json").write_bytes(receipt.write(journal.receipt(sequence)))
    anchors = ("--receipt", first, "--vkey", journal.vkey)
    confirming = ("--receipt", tmp_path / "remise.json")

    for given in (anchors, (*anchors, *confirming, "--receipt", second)):
        result = json.loads(run(*given, "--json")[1])
        words = run(*given)[1].splitlines()[-1]
        assert result["conclusion"] == words
        assert words.startswith("REÇUS INTACTS, PDF NON VÉRIFIÉ :")
        assert "rien n’a été changé" not in words
        for way in ("/audit/verifier", "un export", "attestation.issued"):
            assert way in words
        assert result["pdfs"][-1]["verified"] is False
    confirmed = json.loads(run(*anchors, *confirming, "--json")[1])
    assert confirmed["conclusion"].startswith("INTACT : rien n’a été changé")
    assert [pdf["verified"] for pdf in confirmed["pdfs"]] == [True]


def test_each_of_several_pdfs_is_judged(run, journal, attestation, tmp_path):
    first = attestation()
    issue(journal, first)
    second = attestation(title="Autre", name="autre.pdf")
    place = maker.save(journal.files(), tmp_path / "export")

    status, told = run(place, "--receipt", first, "--receipt", second, "--vkey", journal.vkey, "--json")
    assert (status, state(told)) == (TAMPERED, ["issued", "foreign"])


@pytest.mark.parametrize("hidden", [None, chain.WITHHELD], ids=["purged", "withheld"])
def test_a_handing_over_that_cannot_be_read_leaves_it_open(run, journal, attestation, tmp_path, hidden):
    sequence, changed = issue(journal, attestation(), "o1"), attestation(title="Autre")
    if hidden is None:
        detail = {"ranges": [{"from": sequence, "to": sequence, "group": "proof"}], "reason": "art. 5"}
        journal.add("journal.purged", detail=detail, after=timedelta(days=600))
        journal.close()
    journal.records[sequence][1] = hidden
    place = maker.save(journal.files(), tmp_path / "export")

    status, told = run(place, "--receipt", changed, "--vkey", journal.vkey)
    assert (status, "ne permet pas de dire s’il a été remis" in told) == (UNCHECKED, True)
    assert run(place, "--vkey", journal.vkey)[0] == INTACT


def test_a_pdf_made_after_the_export_may_have_been_issued_since(run, journal, attestation, tmp_path):
    place = maker.save(journal.files(), tmp_path / "export")

    for at in (AFTER, journal.time, journal.time - timedelta(minutes=59)):
        status, told = run(place, "--receipt", attestation(at), "--vkey", journal.vkey)
        assert (status, "demandez un export plus récent" in told) == (UNCHECKED, True)
        assert "moins d’une heure avant la fin de cet export, ou depuis" in told  # true of each
    assert (
        run(place, "--receipt", attestation(journal.time - timedelta(hours=2)), "--vkey", journal.vkey)[0] == TAMPERED
    )


def test_a_handing_over_that_was_altered_accuses_no_other_pdf(run, journal, attestation, tmp_path):
    issue(journal, attestation())
    files = journal.files()
    files["journal.jsonl"] = files["journal.jsonl"].replace(b'\\"kind\\":\\"deposit\\"', b'\\"kind\\":\\"deposiT\\"')
    place = maker.save(files, tmp_path / "export")

    status, told = run(place, "--receipt", attestation(), "--vkey", journal.vkey, "--json")
    assert (status, state(told)) == (TAMPERED, ["hidden"])


def test_a_handing_over_that_was_taken_away_accuses_no_other_pdf(run, journal, attestation, tmp_path):
    sequence = issue(journal, attestation())
    del journal.records[sequence]
    place = maker.save(journal.files(), tmp_path / "export")

    status, told = run(place, "--receipt", attestation(), "--vkey", journal.vkey, "--json")
    assert (status, state(told)) == (TAMPERED, ["hidden"])


def test_a_receipt_that_nobody_signed_hides_no_handing_over(run, journal, attestation, tmp_path):
    sequence = issue(journal, attestation())
    (tmp_path / "remise.json").write_bytes(receipt.write(journal.receipt(sequence)))
    (tmp_path / "kept.note").write_bytes(journal.notes[9])
    place, changed = maker.save(journal.files(), tmp_path / "export"), attestation(title="Autre")
    given = ("--receipt", changed, "--receipt", tmp_path / "remise.json", "--since", tmp_path / "kept.note")

    assert state(run(place, *given, "--json")[1]) == ["foreign"]


@pytest.mark.parametrize("carries", [True, False])
def test_the_receipt_of_a_handing_over_proves_it_without_an_export(run, journal, attestation, tmp_path, carries):
    path = attestation(carries=carries)
    sequence = issue(journal, path)
    (tmp_path / "remise.json").write_bytes(receipt.write(journal.receipt(sequence)))
    arguments = ("--receipt", path, "--receipt", tmp_path / "remise.json", "--vkey", journal.vkey)

    status, told = run(*arguments)
    assert (status, f"selon l’enregistrement {sequence}" in told) == (INTACT, True)
    attestation(title="Autre")
    assert state(run(*arguments, "--json")[1]) == ["unsought"]
    other = maker.ordinary(2)
    assert state(run(*arguments[:-1], other.vkey, "--json")[1]) == ["unsought"]


# A dossier, unpacked


@pytest.fixture
def dossier(journal, attestation, tmp_path):
    """A folder as a dossier is unpacked: two PDFs, the receipts of their handing over, and the list of what it holds."""
    folder, name = tmp_path / "dossier", "Attestation de dépôt.pdf"
    for part in ("attestations", "recus"):
        (folder / part).mkdir(parents=True)
    listed = "Dossier de preuve\n\nCe qu’il contient\n\n"
    for number, title in enumerate(("Attestation", "Relevé")):
        made = attestation(title=title, name=name if not number else "Relevé.pdf")
        sequence = issue(journal, made)
        listed += f"  attestations/{made.name}\n    SHA-256 {hashlib.sha256(made.read_bytes()).hexdigest()}\n"
        (folder / "recus" / f"recu-{sequence}.json").write_bytes(receipt.write(journal.receipt(sequence)))
        made.rename(folder / "attestations" / made.name)
    (folder / "LISEZ-MOI.txt").write_bytes(listed.replace("\n", "\r\n").encode("utf-8-sig"))
    (folder / "attestations" / "._Relevé.pdf").write_bytes(
        b"\0\5\x16\7"
    )  # as some file managers leave beside each file
    (folder / ".recus").mkdir()
    (folder / ".recus" / "x.json").write_bytes(b"")
    return folder


def another(path):
    with pikepdf.open(path, allow_overwriting_input=True) as document:
        document.docinfo["/Title"] = "Autre"
        document.save()


def locked(path):
    with pikepdf.open(path, allow_overwriting_input=True) as document:
        document.save(encryption=pikepdf.Encryption(owner="a", user="a"))


CHANGES = {
    "another title": another,
    "a password": locked,
    "a byte more": lambda path: path.write_bytes(path.read_bytes() + b"\n"),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:50]),
    "emptied": lambda path: path.write_bytes(b""),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_pdf_of_a_dossier_that_was_changed_is_named(run, journal, dossier, change):
    given = ("--receipt", dossier, "--vkey", journal.vkey)
    status, told = run(*given)
    assert (status, told.count("remis tel quel")) == (INTACT, 2)
    CHANGES[change](dossier / "attestations" / "Attestation de dépôt.pdf")

    status, told = run(*given)
    assert (status, told.splitlines()[-1][:7]) == (TAMPERED, "ALTÉRÉ ")
    assert "PDF Attestation de dépôt.pdf : changé :" in told
    assert told.count("remis tel quel") == 1
    assert state(run(*given, "--json")[1]) == ["altered", "issued"]
    assert run(*given[:2])[0] == UNCHECKED  # without the key no receipt says what was issued
    assert run(*given[:2], "--vkey", maker.ordinary(2).vkey)[0] == UNCHECKED


def test_the_names_of_a_dossier_are_read_as_any_disk_spells_them(run, journal, dossier):
    path = dossier / "attestations" / unicodedata.normalize("NFD", "Attestation de dépôt.pdf")
    (dossier / "attestations" / "Attestation de dépôt.pdf").rename(path)
    another(path)

    assert run("--receipt", dossier, "--vkey", journal.vkey)[0] == TAMPERED


def test_a_pdf_that_no_receipt_of_its_folder_confirms_is_concluded_about_neither_way(
    run, journal, attestation, dossier
):
    given = ("--receipt", dossier, "--vkey", journal.vkey)
    added = attestation(title="Autre", name="autre.pdf")
    added.rename(dossier / "attestations" / added.name)
    status, told = run(*given)
    assert (status, "PDF autre.pdf : aucun des reçus donnés n’est celui de sa remise" in told) == (UNCHECKED, True)
    assert "NON CONCLU" in told.splitlines()[-1]
    (dossier / "attestations" / added.name).unlink()

    another(dossier / "attestations" / "Relevé.pdf")
    (dossier / "LISEZ-MOI.txt").unlink()
    os.mkfifo(dossier / "LISEZ-MOI.txt")
    assert state(run(*given, "--json")[1]) == ["issued", "unconfirmed"]
    assert run(*given)[0] == UNCHECKED


def test_a_pdf_is_found_however_deep_it_was_put_away(run, journal, attestation, dossier):
    deep = dossier / "a" / "b" / "c"
    deep.mkdir(parents=True)
    assert run("--receipt", dossier, "--vkey", journal.vkey)[0] == INTACT

    added = attestation(title="Autre", name="autre.pdf")
    added.rename(deep / added.name)
    status, told = run("--receipt", dossier, "--vkey", journal.vkey)
    assert (status, "PDF autre.pdf" in told) == (UNCHECKED, True)
    (dossier / "a" / "b").rename(dossier / "a" / ".b")
    assert run("--receipt", dossier, "--vkey", journal.vkey)[0] == INTACT


def test_a_list_that_announces_what_no_receipt_confirms_accuses_nothing(run, journal, dossier):
    read_me = dossier / "LISEZ-MOI.txt"
    true = read_me.read_bytes()
    read_me.write_bytes(re.sub(rb"SHA-256 \w+", b"SHA-256 " + b"0" * 64, true))
    assert run("--receipt", dossier, "--vkey", journal.vkey)[0] == INTACT
    another(dossier / "attestations" / "Relevé.pdf")
    assert state(run("--receipt", dossier, "--vkey", journal.vkey, "--json")[1]) == ["issued", "unconfirmed"]


def test_an_empty_folder_is_told_by_its_name(run, journal, tmp_path, monkeypatch):
    (tmp_path / "vide").mkdir()
    monkeypatch.chdir(tmp_path / "vide")

    status, told = run("--receipt", ".", "--vkey", journal.vkey)
    assert (status, "aucun reçu dans le dossier « vide »" in told) == (UNCHECKED, True)


def test_a_record_of_no_fingerprint_accuses_no_pdf(run, journal, attestation, tmp_path):
    journal.add("attestation.issued", detail={"kind": "deposit", "fingerprint": ""})
    issue(journal, attestation())
    place = maker.save(journal.files(), tmp_path / "export")

    assert state(run(place, "--receipt", attestation(AFTER, title="A"), "--vkey", journal.vkey, "--json")[1]) == [
        "later"
    ]


def test_a_pdf_without_receipts_that_no_record_names_proves_nothing(run, journal, attestation, tmp_path):
    issue(journal, attestation())
    place = maker.save(journal.files(), tmp_path / "export")
    bare = attestation(carries=False)

    assert run(place, "--receipt", bare, "--vkey", journal.vkey)[0] == TAMPERED
    assert run("--receipt", bare, "--vkey", journal.vkey)[0] == UNCHECKED


def test_no_more_is_held_than_there_are_pdfs():
    search = issued.Search([issued.Pdf("a.pdf", "a" * 64, None)])
    header = maker.record.parse(maker.ordinary().records[3][0])
    for number in range(100):
        search.look(header._replace(sequence=number), {"detail": {"fingerprint": f"{number % 7:064x}"}})
        search.look(header._replace(sequence=number), {"detail": {"fingerprint": "a" * 64}})
    assert search.found == {"a" * 64: issued.Issue(header.log, 0, header.time)}


@pytest.mark.parametrize("said", ["", "hier", "D:20261399", "D:99999999999999Z"])
def test_a_date_that_is_none_dates_nothing(said, tmp_path):
    with pikepdf.new() as document:
        document.add_blank_page()
        document.docinfo["/CreationDate"] = said
        document.save(tmp_path / "x.pdf")
    assert attached.made((tmp_path / "x.pdf").read_bytes()) is None
