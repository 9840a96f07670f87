"""`mespieces-verify` as an auditor runs it: what was brought, what was shown to it, and the exit status that follows."""

import hashlib
import io
import json
import os
import random
import select
import shutil
import subprocess
import sys
import tracemalloc
import zlib
from datetime import timedelta
from pathlib import Path

import authority as authorities
import journal_maker as maker
import pikepdf
import pytest

from mespieces.verifier import __main__ as program
from mespieces.verifier import attached, audit, export, given, note, progress, receipt, timestamp

INTACT, TAMPERED, UNCHECKED, LAGGING = 0, 1, 2, 3


@pytest.fixture(scope="module")
def tsa(tmp_path_factory):
    return authorities.Authority(tmp_path_factory.mktemp("tsa"))


@pytest.fixture(scope="module")
def other_tsa(tmp_path_factory):
    return authorities.Authority(tmp_path_factory.mktemp("other"), name="Autre")


@pytest.fixture
def journal(tsa):
    """A journal whose checkpoint of 5 records was dated."""
    journal = maker.ordinary()
    journal.tokens["5.1.tsr"] = tsa.reply(tsa.query(journal.notes[5]))
    return journal


@pytest.fixture
def dated(journal, tsa):
    """A receipt under that checkpoint, with its token."""
    return journal.receipt(3, 5)._replace(timestamp=journal.tokens["5.1.tsr"])


@pytest.fixture
def run(capsys):
    def run(*arguments):
        status = program.main([str(argument) for argument in arguments])
        seen = capsys.readouterr()
        assert seen.err == ""
        return status, seen.out.replace("\u00a0", " ")

    return run


def intact(files, journal):
    pass


def altered(files, journal):
    files["journal.jsonl"] = files["journal.jsonl"].replace(b"page", b"pagf", 1)


def without_tokens(files, journal):
    del files["timestamps/5.1.tsr"]


def with_a_bad_token(files, journal):
    files["timestamps/5.2.tsr"] = files["timestamps/5.1.tsr"][:-1]


def empty(files, journal):
    files["journal.jsonl"] = b""


def late(files, journal):
    journal.add("document.consulted", after=timedelta(minutes=10))
    journal.close()
    files |= journal.files()


STATES = (intact, altered, without_tokens, with_a_bad_token, empty, late)
LAG = ("--max-anchor-lag", "60")
STATUSES = {
    # what the auditor brings          intact     altered   no token   bad token  empty      late
    (): (UNCHECKED, TAMPERED, UNCHECKED, UNCHECKED, UNCHECKED, UNCHECKED),
    ("vkey",): (INTACT, TAMPERED, INTACT, INTACT, UNCHECKED, INTACT),
    ("vkey", *LAG): (INTACT, TAMPERED, INTACT, INTACT, UNCHECKED, LAGGING),
    ("other vkey",): (TAMPERED, TAMPERED, TAMPERED, TAMPERED, UNCHECKED, TAMPERED),
    ("since",): (INTACT, TAMPERED, INTACT, INTACT, UNCHECKED, INTACT),
    ("since", "since 9"): (INTACT, TAMPERED, INTACT, INTACT, UNCHECKED, INTACT),
    ("since", "since of another history"): (TAMPERED, TAMPERED, TAMPERED, TAMPERED, UNCHECKED, TAMPERED),
    ("tsa root",): (INTACT, TAMPERED, UNCHECKED, TAMPERED, UNCHECKED, INTACT),
    ("tsa root", *LAG): (INTACT, TAMPERED, UNCHECKED, TAMPERED, UNCHECKED, LAGGING),
    ("other tsa root",): (TAMPERED, TAMPERED, UNCHECKED, TAMPERED, UNCHECKED, TAMPERED),
    ("vkey", "tsa root"): (INTACT, TAMPERED, INTACT, TAMPERED, UNCHECKED, INTACT),
    ("vkey", "since", "tsa root", *LAG): (INTACT, TAMPERED, INTACT, TAMPERED, UNCHECKED, LAGGING),
    ("nonsense",): (UNCHECKED,) * 6,
}


@pytest.fixture
def brought(journal, tsa, other_tsa, tmp_path):
    """What stands on the command line for each thing an auditor may bring."""

    def kept(name, data):
        (tmp_path / name).write_bytes(data)
        return "--since", tmp_path / name

    return {
        "vkey": ("--vkey", journal.vkey),
        "other vkey": ("--vkey", maker.ordinary(2).vkey),
        "nonsense": ("--vkey", "nonsense"),
        "since": kept("5.note", journal.notes[5]),
        "since 9": kept("9.note", journal.notes[9]),
        "since of another history": kept(
            "x.note", note.sign_checkpoint(note.Checkpoint(journal.origin, 7, bytes(32)), journal.key)
        ),
        "tsa root": ("--tsa-root", tsa.pem),
        "other tsa root": ("--tsa-root", other_tsa.pem),
    }


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
@pytest.mark.parametrize("anchors", STATUSES, ids=" and ".join)
def test_the_exit_status_says_what_the_anchors_prove(run, brought, journal, tmp_path, anchors, state):
    files = journal.files()
    state(files, journal)
    place = maker.save(files, tmp_path / "export")
    arguments = [part for anchor in anchors for part in brought.get(anchor, (anchor,))]

    expected = STATUSES[anchors][STATES.index(state)]
    assert run(place, *arguments)[0] == expected
    if arguments != ["--vkey", "nonsense"]:
        assert json.loads(run(place, "--json", *arguments)[1])["status"] == expected


def test_a_token_that_was_not_checked_and_a_receipt_s_checkpoint_anchor_nothing(
    run, journal, dated, saved, tsa, tmp_path
):
    """Anybody can put junk where a token stands; what remains is checked with the same journal, dated for good or not."""
    journal.add("document.consulted", after=timedelta(minutes=10))
    journal.close()
    size = len(journal.records)
    journal.tokens[f"{size}.1.tsr"] = b"junk"
    place = maker.save(journal.files(), tmp_path / "export")
    anchors = ("--vkey", journal.vkey, *LAG)

    status, told = run(place, *anchors, "--receipt", saved(journal.receipt(3)))
    assert (status, "Sans --tsa-root, aucun jeton ne compte" in told) == (LAGGING, True)
    assert f"{size} enregistrements sans ancre qui date depuis le {maker.record.format_time(maker.START)[:18]}" in told
    assert "2 jetons d’horodatage présents, non vérifiés sans --tsa-root : ils ne comptent pas" in told
    (tmp_path / "kept.note").write_bytes(journal.notes[size])
    assert run(place, *anchors, "--since", tmp_path / "kept.note")[0] == INTACT
    token = tsa.reply(tsa.query(journal.notes[size]))
    journal.tokens[f"{size}.1.tsr"] = token
    assert run(maker.save(journal.files(), tmp_path / "dated"), *anchors, "--tsa-root", tsa.pem)[0] == INTACT


def test_the_lag_grows_until_the_export_though_nothing_else_was_recorded(run, journal, tsa, tmp_path):
    journal.add("document.consulted")
    journal.add("journal.exported", after=timedelta(days=30))
    journal.checkpoint()
    place = maker.save(journal.files(), tmp_path / "export")
    anchors = ("--vkey", journal.vkey, "--tsa-root", tsa.pem, "--max-anchor-lag")

    assert run(place, *anchors, 29 * 86400)[0] == LAGGING
    assert run(place, *anchors, 31 * 86400)[0] == INTACT


@pytest.mark.parametrize("lag", ["nan", "inf", "-1", "x"])
def test_a_lag_that_is_no_duration_is_refused(run, brought, lag):
    with pytest.raises(SystemExit) as refused:
        run("--max-anchor-lag", lag)
    assert refused.value.code == 2


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_an_output_that_lacks_letters_is_no_tampering(journal, saved, dated, encoding):
    command = [sys.executable, "-m", "mespieces.verifier", "--receipt", str(saved(dated)), "--vkey", journal.vkey]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_tokens_alone_date_and_do_not_name(run, journal, tsa, tmp_path):
    place = maker.save(journal.files(), tmp_path / "export")

    status, told = run(place, "--tsa-root", tsa.pem)
    assert (status, "ni de qui est ce journal" in told) == (INTACT, True)
    assert "couverts par vos ancres : 5" in told


def test_what_was_copied_from_a_paper_is_an_anchor(run, journal, tmp_path):
    """Sheets, mails and attestations print the journal, the size and the root; papers group the digits."""
    place, kept = maker.save(journal.files(), tmp_path / "export"), tmp_path / "paper.txt"
    root = note.parse_checkpoint(note.split(journal.notes[5])[0]).root.hex()
    grouped = " ".join(root[at : at + 8] for at in range(0, 64, 8))

    kept.write_text(f"{journal.log}\n5\n{grouped}\n")
    assert run(place, "--since", kept)[0] == INTACT
    assert run(place, "--since", kept, "--vkey", journal.vkey)[0] == INTACT
    kept.write_text(f"{journal.log}\n5\n{grouped[::-1]}\n")
    status, told = run(place, "--since", kept)
    assert (status, "CHECKPOINT_MISMATCH 4 :" in told) == (TAMPERED, True)
    for wrong in (f"{journal.log}\n5\n{grouped[:-1]}\n", f"{journal.log}\n0\n{grouped}\n", ""):
        kept.write_text(wrong)
        assert run(place, "--since", kept)[0] == UNCHECKED


def test_what_is_no_checkpoint_is_refused_in_words_that_say_what_to_give(run, tmp_path):
    journal = maker.ordinary()
    place, mail = maker.save(journal.files(), tmp_path / "export"), tmp_path / "courriel.txt"
    mail.write_text("Bonjour,\n\nVotre code : 1234 5678\n\nMes Pièces\n", "utf-8")

    for anchors in ((), ("--vkey", journal.vkey)):
        status, said = run(place, "--since", mail, *anchors)
        assert status == UNCHECKED
        assert "« courriel.txt » n’est pas un point de contrôle" in said
        assert "en trois lignes, le journal, le nombre et la racine" in said


@pytest.mark.parametrize(
    "written",
    [
        "Journal {log}\nEnregistrements : 5\nRacine : {root}\n",
        "\ufeffJournal {log}\r\nEnregistrements\u00a0: 5\r\nRacine\u00a0: {root}\r\n",
        "journal {log} · 5 enregistrements\nracine {grouped}",
        "journal {log} · 5\u00a0enregistrements\nracine {grouped}",
        "journal {log}\n5 enregistrements\nracine\n{broken}\n",
        "\n  {log}\n  5\n  {root}\n\n",
        "{capitals}\n5\n{root}\n",
        "Journal {first}\n5 Enregistrements\nRacine {root}\n",
        "{eights}\n5\n{grouped}\n",
        "JOURNAL {eights} · 5 ENREGISTREMENTS\nRACINE {grouped}\n",
        "Pieces.example/journal/{capitals}\n5\n{root}\n",
    ],
)
def test_what_was_copied_with_the_words_around_it_is_an_anchor_too(run, tmp_path, written):
    journal = maker.ordinary(seed=0xAB)
    place, kept = maker.save(journal.files(), tmp_path / "export"), tmp_path / "copied.txt"
    root = note.parse_checkpoint(note.split(journal.notes[5])[0]).root.hex()
    grouped = " ".join(root[at : at + 8] for at in range(0, 64, 8))
    named = {
        "log": journal.log,
        "capitals": journal.log.upper(),
        "first": journal.log.capitalize(),
        "eights": " ".join(journal.log[at : at + 8] for at in range(0, 32, 8)),
    }
    shown = {**named, "root": root, "grouped": grouped, "broken": f"{grouped[:35]}\n{grouped[35:]}"}

    kept.write_bytes(written.format(**shown).encode())

    assert run(place, "--since", kept)[0] == INTACT
    kept.write_bytes(
        written.format(**{**shown, "root": root[::-1], "grouped": root[::-1], "broken": root[::-1]}).encode()
    )
    assert run(place, "--since", kept)[0] == TAMPERED


def test_a_kept_checkpoint_that_is_contradicted_is_named_as_it_was_given(run, journal, tmp_path):
    place, kept = maker.save(journal.files(), tmp_path / "export"), tmp_path / "paper.txt"

    kept.write_text(f"{journal.log}\n5\n{'ab' * 32}\n")
    told = run(place, "--since", kept)[1]
    assert f"(celui que vous avez gardé, --since : 5 enregistrements, racine {'ab' * 32})" in told
    assert "5.note" not in told
    kept.write_text(f"{'0' * 32}\n5\n{'ab' * 32}\n")
    assert f"du journal {'0' * 32})" in run(place, "--since", kept)[1]

    other = maker.Journal()
    for _ in range(5):
        other.add("document.consulted", name="Autre")
    (tmp_path / "recu.json").write_bytes(receipt.write(other.receipt(3)))
    status, told = run(place, "--receipt", tmp_path / "recu.json", "--vkey", journal.vkey)
    assert (status, "(celui d’un reçu donné, --receipt : 5 enregistrements" in told) == (TAMPERED, True)


def test_a_note_saved_by_an_editor_with_its_own_line_ends_is_an_anchor(run, journal, tmp_path):
    place, kept = maker.save(journal.files(), tmp_path / "export"), tmp_path / "kept.txt"
    saved = b"\xef\xbb\xbf\r\n" + journal.notes[5].replace(b"\n", b"\r\n") + b"\r\n"

    kept.write_bytes(saved)
    assert run(place, "--since", kept, "--vkey", journal.vkey)[0] == INTACT
    kept.write_bytes(saved.replace(b"\r\n5\r\n", b"\r\n6\r\n"))
    assert run(place, "--since", kept, "--vkey", journal.vkey)[0] == UNCHECKED


@pytest.mark.parametrize("changed", [False, True], ids=["same key", "key changed since"])
def test_a_note_of_the_journal_that_was_reopened_is_verified_or_its_key_asked_for(run, tmp_path, changed):
    before, after = reopened(changed=changed)
    earlier = {f"previous/{before.log}/{name}": data for name, data in before.files().items()}
    place, kept = maker.save({**after.files(), **earlier}, tmp_path / "export"), tmp_path / "kept.note"
    kept.write_bytes(before.notes[5])

    status, told = run(place, "--since", kept, "--vkey", after.vkey)
    assert status == (UNCHECKED if changed else INTACT)
    assert (f"« kept.note » est un point de contrôle du journal « {before.origin} »" in told) == changed
    assert ("donnez les deux (--vkey, une fois par clé" in told) == changed
    assert run(place, "--since", kept, "--vkey", after.vkey, "--vkey", before.vkey)[0] == INTACT
    forged = note.sign_checkpoint(note.Checkpoint(before.origin, 5, bytes(32)), maker.ordinary(9).key)
    kept.write_bytes(forged)
    assert run(place, "--since", kept, "--vkey", after.vkey)[0] == UNCHECKED
    kept.write_bytes(note.sign_checkpoint(note.Checkpoint(before.origin, 5, bytes(32)), before.key))
    assert run(place, "--since", kept, "--vkey", after.vkey, "--vkey", before.vkey)[0] == TAMPERED


# Receipts


def test_a_receipt_of_a_journal_whose_key_was_not_given_is_unknown_and_says_so(run, journal, saved, tmp_path):
    other = maker.ordinary(2)
    status, told = run("--receipt", saved(other.receipt(3)), "--vkey", journal.vkey)
    assert (status, f"n’est celle du journal « {other.origin} »" in told, "ALTÉRÉ" in told) == (UNCHECKED, True, False)
    [one] = json.loads(run("--receipt", saved(other.receipt(3)), "--vkey", journal.vkey, "--json")[1])["receipts"]
    assert (one["facts"], one["wanting"]) == ({}, other.origin)

    place = maker.save(journal.files(), tmp_path / "export")
    assert run(place, "--receipt", saved(other.receipt(3)), "--vkey", journal.vkey)[0] == UNCHECKED
    status, told = run(place, "--receipt", saved(other.receipt(3)), "--vkey", journal.vkey, "--vkey", other.vkey)
    assert (status, "CHECKPOINT_MISMATCH 8 : le journal" in told, other.origin in told) == (TAMPERED, True, True)


def test_a_receipt_of_nobody_s_journal_is_never_intact_and_one_of_a_known_one_is_accused(run, journal, saved):
    """Whoever forges chooses the name, the key and the signature; a key of that very name was given, or it was not."""
    forged = maker.Journal(9)
    forged.log, forged.origin = journal.log, journal.origin
    for _ in range(5):
        forged.add("document.consulted")
    accused = (run("--receipt", saved(forged.receipt(3)), "--vkey", journal.vkey), "BAD_SIGNATURE 3 :")
    assert (accused[0][0], accused[1] in accused[0][1]) == (TAMPERED, True)

    nobody = maker.ordinary(9)
    arguments = ("--receipt", saved(nobody.receipt(3)), "--receipt", saved(journal.receipt(3), "2.json"))
    assert run(*arguments, "--vkey", journal.vkey)[0] == UNCHECKED
    changed = saved(nobody.receipt(3)._replace(body=b"{}"))
    assert run("--receipt", changed, "--vkey", journal.vkey)[0] == TAMPERED  # nobody needs a key to see that

    # Said to be signed by the given key, under another journal's name, and it is not.
    claimed = maker.Journal(8, key=journal.key)
    claimed.add("document.consulted")
    kept = claimed.receipt(0)
    head, dash, signature = kept.tlog_proof.rpartition(" ")
    raw = bytearray(note.decode_base64(signature.strip()))
    raw[-1] ^= 1
    wrong = kept._replace(tlog_proof=f"{head}{dash}{note.encode_base64(bytes(raw))}\n")
    assert run("--receipt", saved(kept), "--vkey", journal.vkey)[0] == INTACT
    status, told = run("--receipt", saved(wrong), "--vkey", journal.vkey)
    assert (status, "BAD_SIGNATURE 0 :" in told) == (TAMPERED, True)


@pytest.mark.parametrize("changed", [False, True], ids=["same key", "key changed since"])
def test_a_receipt_of_the_journal_that_was_reopened_is_verified_or_its_key_asked_for(run, saved, tmp_path, changed):
    before, after = reopened(changed=changed)
    earlier = {f"previous/{before.log}/{name}": data for name, data in before.files().items()}
    place, kept = maker.save({**after.files(), **earlier}, tmp_path / "export"), saved(before.receipt(3, 5))

    for given_with in ((), (place,)):
        status, told = run(*given_with, "--receipt", kept, "--vkey", after.vkey)
        assert status == (UNCHECKED if changed else INTACT)
        assert (f"n’est celle du journal « {before.origin} »" in told) == changed
        assert ("ce journal est un autre que celui de la clé donnée, qui l’a signé aussi" in told) != changed
        assert run(*given_with, "--receipt", kept, "--vkey", after.vkey, "--vkey", before.vkey)[0] == INTACT


def reopened(*, changed=False):
    """A closed journal, and the one that continues it, under its key or another."""
    before = maker.ordinary(3)
    after = maker.Journal(4, key=None if changed else before.key)
    head, size = before.leaves[-1].hex(), len(before.leaves)
    cited = {"log": before.log, "size": size, "head": head, "checkpoint": {"size": size, "root": "00" * 32}}
    after.add("journal.opened", detail={"reopened": cited})
    after.close()
    return before, after


@pytest.fixture
def saved(tmp_path):
    def save(kept, name="recu.json"):
        (tmp_path / name).write_bytes(receipt.write(kept))
        return tmp_path / name

    return save


@pytest.fixture
def attestation(tmp_path):
    """Save a PDF that carries receipts, as attestations do."""

    def save(*kept, name="attestation.pdf"):
        with pikepdf.new() as document:
            document.add_blank_page()
            document.attachments["notes.txt"] = pikepdf.AttachedFileSpec(document, b"bonjour", filename="notes.txt")
            for number, one in enumerate(kept, 1):
                file = f"recu-{number}.json"
                document.attachments[file] = pikepdf.AttachedFileSpec(document, receipt.write(one), filename=file)
            document.save(tmp_path / name)
        return tmp_path / name

    return save


def test_the_token_of_a_receipt_is_checked_against_the_roots_and_otherwise_listed(run, journal, dated, saved, tsa):
    path = saved(dated)
    time = timestamp.verify(journal.notes[5], dated.timestamp, [tsa.root]).time
    second, after = (f"{at:%Y-%m-%dT%H:%M:%SZ}" for at in (time, time + timedelta(seconds=1)))

    status, told = run("--receipt", path, "--vkey", journal.vkey, "--tsa-root", tsa.pem)
    assert (status, f"date certaine du {second}, à 1 s près, soit {after} au plus tard" in told) == (INTACT, True)
    [one] = json.loads(run("--receipt", path, "--vkey", journal.vkey, "--tsa-root", tsa.pem, "--json")[1])["receipts"]
    assert (one["dated"], one["accuracy"], one["latest"]) == (second, 1, after)
    status, told = run("--receipt", path, "--vkey", journal.vkey)
    assert (status, "jeton d’horodatage non vérifié" in told) == (INTACT, True)
    status, told = run("--receipt", saved(dated._replace(timestamp=None)), "--vkey", journal.vkey)
    assert (status, "provisoire" in told) == (INTACT, True)


def test_a_receipt_with_the_token_of_something_else_is_void(run, journal, dated, saved, tsa, other_tsa):
    of_another = dated._replace(timestamp=tsa.reply(tsa.query(journal.notes[9])))
    for root in (tsa.pem, other_tsa.pem):
        status, told = run("--receipt", saved(of_another), "--vkey", journal.vkey, "--tsa-root", root)
        assert (status, "BAD_TIMESTAMP 3 :" in told, '"mode": "page"' in told) == (TAMPERED, True, False)


def test_a_receipt_s_token_of_an_authority_without_its_root_is_void_until_a_journal_names_it(
    run, journal, dated, saved, tsa, other_tsa, tmp_path
):
    """A third party of nobody's, or an honest one whose root was not brought: only the journal tells."""
    anchors = ("--receipt", saved(dated), "--vkey", journal.vkey, "--tsa-root", other_tsa.pem)
    status, told = run(*anchors)
    assert (status, "BAD_TIMESTAMP 3 :" in told, '"mode": "page"' in told) == (UNCHECKED, True, False)
    assert "dont la racine n’est pas donnée : ajoutez-la au fichier de --tsa-root" in told
    (tmp_path / "both.pem").write_bytes(tsa.pem.read_bytes() + other_tsa.pem.read_bytes())
    assert run(*anchors[:-1], tmp_path / "both.pem")[0] == INTACT

    twice(journal, other_tsa)
    place = maker.save(journal.files(), tmp_path / "export")
    status, told = run(place, *anchors)
    assert (status, "BAD_TIMESTAMP" in told, '"mode": "page"' in told) == (INTACT, False, True)
    assert "jeton d’horodatage non vérifié : la racine de son autorité n’est pas donnée" in told
    another = saved(dated._replace(timestamp=tsa.reply(tsa.query(journal.notes[5]))))
    status, told = run(place, "--receipt", another, *anchors[2:])
    assert (status, "BAD_TIMESTAMP 3 :" in told) == (TAMPERED, True)  # not the one that the journal names


def named(journal, number, token):
    """Put a token beside the checkpoint of 5 records, and name it."""
    journal.tokens[f"5.{number}.tsr"] = token
    sha256 = hashlib.sha256(token).hexdigest()
    journal.add("journal.anchored", detail={"size": 5, "number": number, "sha256": sha256})


def twice(journal, other_tsa):
    """Have the journal name its token, and that of another authority, then end as an export does."""
    named(journal, 1, journal.tokens["5.1.tsr"])
    named(journal, 2, other_tsa.reply(other_tsa.query(journal.notes[5])))
    journal.close()


def test_the_tokens_of_an_authority_whose_root_is_not_given_are_listed_and_date_nothing(
    run, journal, tsa, other_tsa, tmp_path
):
    twice(journal, other_tsa)
    place = maker.save(journal.files(), tmp_path / "export")
    for authority, theirs in ((tsa, "5.2.tsr"), (other_tsa, "5.1.tsr")):
        arguments = (place, "--tsa-root", authority.pem)
        status, told = run(*arguments, "--vkey", journal.vkey)
        assert status == INTACT
        assert "2 jetons d’horodatage présents, 1 vérifié, dernière date certaine : 20" in told
        assert (
            "1 jeton est d’une autorité dont la racine n’est pas donnée (--tsa-root) : non vérifié, il ne date rien"
            in told
        )
        assert run(*arguments)[0] == INTACT  # on the strength of the other
        [log] = json.loads(run(*arguments, "--json")[1])["logs"]
        assert (log["unvouched"], log["checked"], log["anchored_size"]) == ([theirs], 1, 5)


def test_with_a_root_of_none_of_its_authorities_nothing_is_concluded_of_an_export(
    run, journal, tsa, other_tsa, tmp_path
):
    twice(journal, other_tsa)
    place, third = (
        maker.save(journal.files(), tmp_path / "export"),
        authorities.Authority(tmp_path / "tsa", name="Tiers"),
    )
    (tmp_path / "kept.note").write_bytes(journal.notes[5])
    for anchors in ((), ("--vkey", journal.vkey), ("--vkey", journal.vkey, "--since", tmp_path / "kept.note")):
        status, told = run(place, *anchors, "--tsa-root", third.pem)
        assert (status, "vérifiez que c’est le bon fichier" in told.splitlines()[-1]) == (UNCHECKED, True)
        assert "2 jetons d’horodatage présents, 0 vérifié, dernière date certaine : —" in told
        assert "BAD_TIMESTAMP" not in told
    [log] = json.loads(run(place, "--vkey", journal.vkey, "--tsa-root", third.pem, "--json")[1])["logs"]
    assert (log["anchored_size"], log["dated"], len(log["unvouched"])) == (0, "", 2)


def malformed(journal, other):
    return other.reply(other.query(journal.notes[5]))[:-1]


def of_another_note(journal, other):
    return other.reply(other.query(journal.notes[9]))


def wrongly_signed(journal, other):
    """Its last bytes are those of the signature."""
    token = other.reply(other.query(journal.notes[5]))
    return token[:-1] + bytes([token[-1] ^ 1])


def stating_another_time(journal, other):
    """The signature is right, over the hash of what was stated before."""
    token = other.reply(other.query(journal.notes[5]))
    year = f"{maker.datetime.now(maker.UTC):%Y%m}".encode()
    return token.replace(year, b"202001", 1)


def of_a_certificate_for_something_else(journal, other):
    return other.reply_under(other.twin(uses=()), other.query(journal.notes[5]))


@pytest.mark.parametrize("carries_root", [True, False])
@pytest.mark.parametrize(
    "wrong", [malformed, of_another_note, wrongly_signed, stating_another_time, of_a_certificate_for_something_else]
)
def test_a_wrong_token_is_named_whatever_roots_are_given_though_the_journal_names_it(
    run, journal, tsa, tmp_path, wrong, carries_root
):
    other = authorities.Authority(tmp_path / "other", name="Autre")
    if not carries_root:  # most authorities do not send theirs
        chain = other.folder / "chain.pem"
        chain.write_bytes(b"-----BEGIN" + chain.read_bytes().rpartition(b"-----BEGIN")[2])
    right = other.reply(other.query(journal.notes[5]))
    named(journal, 1, journal.tokens["5.1.tsr"])
    named(journal, 2, right)
    named(journal, 3, wrong(journal, other))
    journal.close()
    place = maker.save(journal.files(), tmp_path / "export")

    for root in (tsa.pem, other.pem):
        status, told = run(place, "--vkey", journal.vkey, "--tsa-root", root)
        assert (status, "(timestamps/5.3.tsr)" in told, "(timestamps/5.2.tsr)" in told) == (TAMPERED, True, False)


def test_a_token_that_no_record_names_and_no_root_vouches_for_is_a_finding(run, journal, tsa, other_tsa, tmp_path):
    named(journal, 1, journal.tokens["5.1.tsr"])
    journal.close()
    journal.tokens["5.2.tsr"] = other_tsa.reply(other_tsa.query(journal.notes[5]))
    place = maker.save(journal.files(), tmp_path / "export")

    status, told = run(place, "--vkey", journal.vkey, "--tsa-root", tsa.pem)
    assert (status, "(timestamps/5.2.tsr)" in told, "(timestamps/5.1.tsr)" in told) == (TAMPERED, True, False)


def test_a_token_below_a_root_of_a_given_name_that_did_not_sign_it_is_named(run, journal, tsa, tmp_path):
    """Without the root itself, that of the same name given, what is wrong cannot be told from what was renewed."""
    other = authorities.Authority(tmp_path / "other")  # of the name of `tsa`
    whole = other.reply(other.query(journal.notes[5]))
    chain = other.folder / "chain.pem"
    chain.write_bytes(b"-----BEGIN" + chain.read_bytes().rpartition(b"-----BEGIN")[2])
    named(journal, 1, journal.tokens["5.1.tsr"])
    named(journal, 2, whole)
    named(journal, 3, other.reply(other.query(journal.notes[5])))
    journal.close()
    place = maker.save(journal.files(), tmp_path / "export")

    status, told = run(place, "--vkey", journal.vkey, "--tsa-root", tsa.pem)
    assert (status, "(timestamps/5.3.tsr)" in told, "(timestamps/5.2.tsr)" in told) == (TAMPERED, True, False)


def test_a_second_record_about_one_token_replaces_it_nowhere_and_is_named_itself(
    run, journal, dated, saved, tsa, tmp_path
):
    first = journal.tokens["5.1.tsr"]
    named(journal, 1, first)
    other = tsa.reply(tsa.query(journal.notes[5]))
    named(journal, 1, other)
    journal.close()
    anchors, given = ("--vkey", journal.vkey, "--tsa-root", tsa.pem), ("--receipt", saved(dated))
    sequence = len(journal.records) - 2

    replaced = maker.save(journal.files(), tmp_path / "replaced")
    kept = maker.save({**journal.files(), "timestamps/5.1.tsr": first}, tmp_path / "kept")
    for place, more in ((replaced, [4]), (kept, [])):
        for brought in (anchors, anchors[:2]):
            result = json.loads(run(place, *given, *brought, "--json")[1])
            assert result["status"] == TAMPERED
            faults = [(one["code"], one["sequence"]) for one in result["findings"]]
            assert faults == [("BAD_TIMESTAMP", at) for at in (*more, sequence)]
            assert result["receipts"][0]["facts"]  # it is accused of nothing
    assert f"BAD_TIMESTAMP {sequence} :" in run(kept, *anchors)[1]
    assert "cet enregistrement nomme 5.1.tsr hors de son tour, ou autrement qu’un premier" in run(kept, *anchors)[1]


def test_a_token_named_again_as_it_was_is_no_fault_and_one_named_before_its_checkpoint_is(run, journal, tsa, tmp_path):
    token = journal.tokens["5.1.tsr"]
    named(journal, 1, token)
    named(journal, 1, token)
    journal.close()
    anchors = ("--vkey", journal.vkey, "--tsa-root", tsa.pem)
    assert run(maker.save(journal.files(), tmp_path / "again"), *anchors)[0] == INTACT

    size = len(journal.records) + 1
    early = journal.add("journal.anchored", detail={"size": size, "number": 1, "sha256": "0" * 64})
    journal.tokens[f"{size}.1.tsr"] = token = tsa.reply(tsa.query(journal.checkpoint()))
    journal.add("journal.anchored", detail={"size": size, "number": 1, "sha256": hashlib.sha256(token).hexdigest()})
    journal.close()
    status, told = run(maker.save(journal.files(), tmp_path / "early"), *anchors)
    assert (status, told.count("BAD_TIMESTAMP"), f"BAD_TIMESTAMP {early + 1} :" in told) == (TAMPERED, 1, False)
    assert f"BAD_TIMESTAMP {early} :" in told


def test_a_receipt_s_token_is_to_the_byte_the_one_that_the_export_names(run, journal, dated, saved, tsa, tmp_path):
    """Some of a token's bytes are under no signature, as certificates sent for convenience: the journal's own hash covers them."""
    sha256 = hashlib.sha256(dated.timestamp).hexdigest()
    journal.add("journal.anchored", detail={"size": 5, "number": 1, "sha256": sha256})
    journal.close()
    place = maker.save(journal.files(), tmp_path / "export")
    anchors, path = ("--vkey", journal.vkey, "--tsa-root", tsa.pem), saved(dated)
    stated = receipt.date(dated, [tsa.root])
    other = next(one for one in changes(dated.timestamp) if says_the_same(dated._replace(timestamp=one), stated, tsa))
    changed = saved(dated._replace(timestamp=other), "changed.json")

    for brought in (anchors, anchors[:2]):
        assert run(place, "--receipt", path, *brought)[0] == INTACT
        status, told = run(place, "--receipt", changed, *brought)
        assert (status, "BAD_TIMESTAMP 3 :" in told, "il ne prouve rien" in told) == (TAMPERED, True, True)
    assert run("--receipt", changed, *anchors)[0] == INTACT  # without the journal nothing covers them
    undated = {name: data for name, data in maker.ordinary().files().items() if "timestamps" not in name}
    elsewhere = maker.save(undated, tmp_path / "before")
    assert run(elsewhere, "--receipt", changed, *anchors)[0] == INTACT  # nor in a journal that names no token of it


def changes(data):
    """The bytes with each one changed, from the last on: certificates are in the second half."""
    for at in range(len(data) // 2, len(data)):
        yield data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def says_the_same(changed, stated, tsa):
    try:
        return receipt.date(changed, [tsa.root]) == stated
    except timestamp.TokenRefused:
        return False


def test_a_token_alone_does_not_say_whose_receipt_it_is(run, dated, saved, tsa):
    assert run("--receipt", saved(dated), "--tsa-root", tsa.pem)[0] == UNCHECKED


def test_every_receipt_of_every_attestation_is_verified_and_tells_its_facts(run, journal, dated, saved, attestation):
    one, several = saved(dated), attestation(journal.receipt(4), journal.receipt(5))

    status, told = run("--receipt", one, "--receipt", several, "--vkey", journal.vkey)
    assert status == INTACT
    for name, sequence in (("recu.json", 3), ("attestation.pdf, recu-1.json", 4), ("attestation.pdf, recu-2.json", 5)):
        assert f"Reçu {name} : enregistrement {sequence} " in told
    result = json.loads(run("--receipt", one, "--receipt", several, "--vkey", journal.vkey, "--json")[1])
    assert [found["facts"]["object"]["number"] for found in result["receipts"]] == [3, 4, 5]

    void = attestation(journal.receipt(4), journal.receipt(5)._replace(body=b"{}"))
    status, told = run("--receipt", void, "--vkey", journal.vkey)
    assert (status, "PAYLOAD_ALTERED 5 :" in told) == (TAMPERED, True)
    assert "recu-2.json : il ne prouve rien" in told


def test_what_a_pdf_shows_is_not_said_to_be_verified(run, journal, dated, saved, attestation):
    words = "ce qu’affiche le PDF qui le porte ne l’est pas"
    assert words in run("--receipt", attestation(dated), "--vkey", journal.vkey)[1]
    assert words not in run("--receipt", saved(dated), "--vkey", journal.vkey)[1]


def test_an_output_closed_early_is_no_tampering(journal, saved, dated):
    command = [sys.executable, "-m", "mespieces.verifier", "--receipt", str(saved(dated)), "--vkey", journal.vkey]
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (2, b"")


def test_a_pdf_without_receipts_proves_nothing(run, journal, attestation, tmp_path):
    status, told = run("--receipt", attestation(), "--vkey", journal.vkey)
    assert (status, "aucun reçu n’y est joint" in told) == (UNCHECKED, True)
    (tmp_path / "cut.pdf").write_bytes(b"%PDF-1.7\n")
    assert run("--receipt", tmp_path / "cut.pdf", "--vkey", journal.vkey)[0] == UNCHECKED


def test_two_receipts_of_two_histories_denounce_each_other(run, journal, saved):
    """The operator's key has signed two roots of one size: no receipt of the two shows it alone."""
    other = maker.Journal(key=journal.key)
    for _ in range(9):
        other.add("document.consulted", name="Alix")
    paths = [saved(journal.receipt(3)), saved(other.receipt(3), "autre.json")]
    for path in paths:
        assert run("--receipt", path, "--vkey", journal.vkey)[0] == INTACT

    status, told = run("--receipt", paths[0], "--receipt", paths[1], "--vkey", journal.vkey)
    assert (status, "CHECKPOINT_MISMATCH 3 :" in told) == (TAMPERED, True)


def test_a_receipt_in_json_needs_no_reader_of_pdf(journal, saved):
    """What verifies a receipt years from now must need little: the reader of PDFs is loaded for a PDF alone."""
    script = (
        "import sys; from mespieces.verifier.__main__ import main; status = main(sys.argv[1:]); "
        "sys.exit(9 if 'pikepdf' in sys.modules else status)"
    )
    command = [sys.executable, "-c", script, "--receipt", saved(journal.receipt(3)), "--vkey", journal.vkey]
    assert subprocess.run(command, check=False, capture_output=True).returncode == INTACT


ALONE = """
import sys
from mespieces.verifier.__main__ import main

def watch(event, facts):
    writes = event == "open" and isinstance(facts[1], str) and set(facts[1]) & set("wax+")
    if event.startswith(("socket.", "subprocess.", "os.system", "os.exec", "os.fork")) or writes:
        raise SystemExit(f"{event} {facts}")

sys.addaudithook(watch)
status = main(sys.argv[1:])
strangers = {"flask", "werkzeug", "peewee", "huey", "click", "psycopg", "typst"} & set(sys.modules)
sys.exit(f"imported {strangers}" if strangers else status)
"""


def test_the_verifier_alone_verifies_everything_without_the_product_nor_a_network(
    journal, dated, saved, attestation, tsa, tmp_path
):
    """Its folder is copied away: nothing else of the product can be found, and nothing may be written or reached."""
    alone, pdf = tmp_path / "alone" / "mespieces", attestation(dated)
    journal.add("attestation.issued", detail={"fingerprint": hashlib.sha256(pdf.read_bytes()).hexdigest()})
    journal.close()
    shutil.copytree(Path(program.__file__).parent, alone / "verifier", ignore=shutil.ignore_patterns("__pycache__"))
    (alone / "__init__.py").touch()
    folder = maker.save(journal.files(), tmp_path / "export")
    archive = maker.zipped(journal.files(), tmp_path / "export.zip")
    (tmp_path / "5.note").write_bytes(journal.notes[5])
    anchors = ["--vkey", journal.vkey, "--since", tmp_path / "5.note", "--tsa-root", tsa.pem]
    receipts = ["--receipt", saved(dated), "--receipt", pdf]
    for arguments in ([folder, *receipts], [archive, "--json"], receipts):
        done = subprocess.run(
            [sys.executable, "-B", "-c", ALONE, *arguments, *anchors],
            cwd=tmp_path,
            env={"PYTHONPATH": str(alone.parent), "PATH": os.environ["PATH"]},
            check=False,
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (INTACT, ""), done.stdout
        assert "INTACT" in done.stdout


def test_a_journal_forty_times_longer_takes_no_more_memory(tmp_path):
    script = (
        "import re, sys; from mespieces.verifier.__main__ import main; assert main(sys.argv[1:]) == 0; "
        "print(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1])"
    )
    journal, peaks = maker.Journal(), []
    journal.add("journal.opened")
    for size in (1_000, 40_000):
        while len(journal.records) < size:
            journal.add("document.consulted", detail={"mode": "page"}, trace={"address": "::1", "agent": "é" * 200})
        journal.close()
        place = maker.save(journal.files(), tmp_path / str(size))
        command = [sys.executable, "-c", script, place, "--vkey", journal.vkey]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        peaks.append(int(done.stdout.split()[-1]))

    assert (place / "journal.jsonl").stat().st_size > 40 << 20
    assert peaks[1] - peaks[0] < 4 << 10  # KiB


def test_any_bit_changed_in_a_dated_receipt_voids_it_or_says_the_same(journal, dated, tsa):
    """Of the token alone some bytes are under no signature, as certificates sent for convenience: then nothing it says changes."""
    written, chance = receipt.write(dated), random.Random(1124)
    stated = receipt.date(dated, [tsa.root])
    same = 0
    for _ in range(1_000):
        changed = bytearray(written)
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        try:
            read = receipt.parse(bytes(changed))
            if receipt.verify(read, [journal.verifier]).findings:
                continue
            said = receipt.date(read, [tsa.root])
        except (receipt.ReceiptRefused, timestamp.TokenRefused):
            continue
        same += 1
        assert said == stated
        assert read._replace(timestamp=None) == dated._replace(timestamp=None)
    assert same < 1_000


def test_embedded_files_beyond_measure_are_left_out():
    with pikepdf.new() as document:
        document.add_blank_page()
        document.attachments["a"] = pikepdf.AttachedFileSpec(document, b'{"a":1}' + b" " * attached.LARGEST)
        document.attachments["b"] = pikepdf.AttachedFileSpec(document, b'{"b":1}')
        written = io.BytesIO()
        document.save(written)
    assert attached.receipts(written.getvalue()) == {"b": b'{"b":1}'}


def test_an_embedded_file_that_lies_about_its_length_fills_no_memory():
    with pikepdf.new() as document:
        document.add_blank_page()
        flate, short, long = pikepdf.Name.FlateDecode, b'{"a":1}' + b" " * 10, b'{"a":1}' + b" " * (64 << 20)
        embedded = {
            "a": (zlib.compress(long), flate),
            "b": (zlib.compress(short), flate),
            "c": (zlib.compress(zlib.compress(short)), pikepdf.Array([flate, flate])),
            "d": (short, None),
            "e": (b"not packed", flate),
        }
        for name, (data, filters) in embedded.items():
            spec = pikepdf.AttachedFileSpec(document, b"")
            spec.get_file().obj.write(data, filter=filters)
            spec.get_file().obj.Params = pikepdf.Dictionary(Size=7)
            document.attachments[name] = spec
        written, none = io.BytesIO(), pikepdf.StreamDecodeLevel.none
        document.save(written, stream_decode_level=none, compress_streams=False)
    del long, embedded, data
    tracemalloc.start()
    try:
        assert attached.receipts(written.getvalue()) == {"b": short, "d": short}
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_a_file_beyond_measure_is_no_receipt(run, journal, tmp_path, monkeypatch):
    monkeypatch.setattr(given, "LARGEST", 100)
    (tmp_path / "long.json").write_bytes(b" " * 101)
    status, told = run("--receipt", tmp_path / "long.json", "--vkey", journal.vkey)
    assert (status, "est trop grand" in told) == (UNCHECKED, True)


# Waiting


def test_a_long_reading_shows_how_far_it_is_on_a_terminal_only(journal, tmp_path):
    place = maker.zipped(journal.files(), tmp_path / "export.zip")
    seen, terminal = os.openpty()
    try:
        with open(terminal, "w", encoding="utf-8", closefd=False) as screen, export.source(place) as where:
            with progress.shown(where, screen, after=0) as watched:
                assert audit.verify(watched, audit.Trust(keys=[journal.verifier])).findings == []
            with progress.shown(where, io.StringIO(), after=0) as unwatched:
                assert unwatched is where
        drawn = ""
        while not drawn.endswith("\r\033[K") and select.select([seen], [], [], 5)[0]:
            drawn += os.read(seen, 4096).decode()
    finally:
        os.close(seen)
        os.close(terminal)
    assert drawn.startswith("\r[")
    assert drawn.endswith("\r\033[K")


def test_a_folder_of_receipts_is_verified_whole_and_an_empty_one_proves_nothing(run, journal, tmp_path):
    folder = tmp_path / "recus"
    folder.mkdir()
    (folder / "LISEZ-MOI.txt").write_text("rien à vérifier")
    assert run("--receipt", folder, "--vkey", journal.vkey)[0] == UNCHECKED

    for number in (1, 3):
        (folder / f"recu-{number}.json").write_bytes(receipt.write(journal.receipt(number)))
    status, told = run("--receipt", folder, "--vkey", journal.vkey)
    assert (status, told.count("Reçu recu-")) == (INTACT, 2)

    # A dossier as it was unpacked holds them in a folder of its own.
    assert run("--receipt", tmp_path, "--vkey", journal.vkey)[1].count("Reçu recu-") == 2
    packed = maker.zipped({"recus/recu-1.json": b"{}"}, tmp_path / "dossier.zip")
    status, told = run("--receipt", packed, "--vkey", journal.vkey)
    assert (status, "« dossier.zip » est une archive : décompressez-la" in told) == (UNCHECKED, True)

    changed = folder / "recu-3.json"
    changed.write_bytes(changed.read_bytes().replace(b'"body":"{', b'"body":"{ '))
    assert run("--receipt", folder, "--vkey", journal.vkey)[0] == TAMPERED
