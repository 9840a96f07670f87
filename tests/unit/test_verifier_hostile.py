"""What is given to `mespieces-verify` by somebody who means to deceive it, or whoever reads what it says."""

import contextlib
import io
import json
import os
import random
import re
import struct
import zipfile

import independent_auditor as auditor
import journal_maker as maker
import pikepdf
import pytest

from mespieces.verifier import __main__ as program
from mespieces.verifier import attached, export, packed, receipt

INTACT, TAMPERED, UNCHECKED = 0, 1, 2
ENGLISH = re.compile(
    r"\b(the|is|are|not|this|these|of|no|such|directory|file|invalid|expected|error|must|bad)\b", re.IGNORECASE
)


@pytest.fixture
def run(capsys):
    def run(*arguments):
        try:
            status = program.main([str(argument) for argument in arguments])
        except SystemExit as ended:
            status = ended.code
        seen = capsys.readouterr()
        return status, seen.out + seen.err

    return run


@pytest.fixture
def journal():
    return maker.ordinary()


# Where an export lies


def test_an_export_is_read_in_the_one_folder_of_an_archive_or_of_a_folder(run, journal, tmp_path):
    """A file manager packs the folder, and puts files of its own beside it."""
    inside = {f"export/{name}": data for name, data in journal.files().items()}
    archive = maker.zipped({**inside, "__MACOSX/export/._log.json": b"", "notes.txt": b""}, tmp_path / "a.zip")
    folder = maker.save(journal.files(), tmp_path / "unpacked" / "export").parent

    for place in (archive, folder):
        status, told = run(place, "--vkey", journal.vkey)
        assert (status, "9 enregistrements" in told) == (INTACT, True)
        assert auditor.audit(place, journal.vkey) == []
    files = journal.files() | {"journal.jsonl": journal.files()["journal.jsonl"].replace(b"page", b"pagf", 1)}
    altered = {f"export/{name}": data for name, data in files.items()}
    assert run(maker.zipped(altered, tmp_path / "altered.zip"), "--vkey", journal.vkey)[0] == TAMPERED


def test_of_two_exports_in_one_place_none_is_chosen(run, journal, tmp_path):
    one, other = (maker.ordinary(seed).files() for seed in (1, 2))
    files = {**{f"a/{name}": data for name, data in one.items()}, **{f"b/{name}": data for name, data in other.items()}}

    status, told = run(maker.zipped(files, tmp_path / "two.zip"), "--vkey", journal.vkey)
    assert (status, "2 exports sont à cet endroit" in told) == (UNCHECKED, True)


def test_what_is_no_export_is_told_for_what_it_is(run, journal, tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    maker.save(journal.files(), tmp_path / "a" / "b" / "export")
    status, told = run(tmp_path, "--vkey", journal.vkey)
    assert (status, "ce n’est pas un export du journal" in told) == (UNCHECKED, True)


@pytest.mark.parametrize(
    "name", ["Log.json", "journal.JSONL", "checkpoints/../log.json", "./log.json", "a//b", "/x", "a\\b"]
)
def test_an_archive_of_which_two_readers_could_see_two_journals_is_not_read(run, journal, tmp_path, name):
    archive = maker.zipped({**journal.files(), name: b"{}"}, tmp_path / "export.zip")

    status, told = run(archive, "--vkey", journal.vkey)
    assert (status, "archive" in told) == (UNCHECKED, True)


@pytest.mark.parametrize("name", ["journal.jsonl", "checkpoints", "checkpoints/9.note", "timestamps", "previous/loop"])
def test_an_export_with_a_link_among_its_files_is_not_read_and_nobody_is_accused(run, journal, tmp_path, name):
    place, moved = maker.save(journal.files(), tmp_path / "export"), tmp_path / "moved"
    if (place / name).exists():
        (place / name).rename(moved)
    else:
        (place / name).parent.mkdir(exist_ok=True)
        moved.mkdir()
    (place / name).symlink_to(moved)

    status, told = run(place, "--vkey", journal.vkey)
    assert (status, f"« {name} » est un lien" in told, told.count("\n")) == (UNCHECKED, True, 1)


def test_what_lies_beside_an_export_is_none_of_it_nor_is_a_pipe(run, journal, tmp_path):
    place = maker.save(journal.files(), tmp_path / "given" / "export")
    (place / "previous").mkdir()
    (place / "previous" / ".DS_Store").touch()
    (place.parent / "aside").mkdir()
    for link in ("loop", "aside/log.json", "aside/loop"):
        (place.parent / link).symlink_to(place)
    for given in (place, place.parent):
        assert run(given, "--vkey", journal.vkey)[0] == INTACT
    (tmp_path / "link").symlink_to(place)  # what was given is what was meant
    assert run(tmp_path / "link", "--vkey", journal.vkey)[0] == INTACT

    (place / "journal.jsonl").unlink()
    os.mkfifo(place / "journal.jsonl")
    status, told = run(place, "--vkey", journal.vkey)
    assert (status, "journal.jsonl" in told) == (UNCHECKED, True)


def test_journals_nested_without_end_are_walked_without_falling(tmp_path):
    with zipfile.ZipFile(tmp_path / "deep.zip", "w") as archive:
        archive.writestr("previous/x/" * 2_000 + "log.json", b"{}")
    with zipfile.ZipFile(tmp_path / "deep.zip") as archive:
        assert len(list(export.folders(packed.Archive(archive)))) == 2_001


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_damaged_anywhere_is_read_or_refused_however_it_is_packed(run, journal, tmp_path, method):
    whole = maker.zipped(journal.files(), tmp_path / "whole.zip", method).read_bytes()
    chance = random.Random(method)
    assert run(tmp_path / "whole.zip", "--vkey", journal.vkey)[0] == INTACT

    for number in range(60):
        data = bytearray(rough(whole, chance))
        if not number % 10:
            del data[chance.randrange(len(data)) :]
        (tmp_path / "export.zip").write_bytes(data)
        status, told = run(tmp_path / "export.zip", "--vkey", journal.vkey)
        assert "sur une faute qui est la sienne" not in told, told
        assert status != UNCHECKED or told.startswith("Vérification impossible")


@pytest.mark.parametrize(("method", "flags"), [(9, 0), (93, 0), (99, 0), (8, 1), (8, 0x20), (8, 0x41)])
def test_an_archive_packed_in_another_way_is_to_be_unpacked(run, journal, tmp_path, method, flags):
    """Deflate64, as some file managers pack what is large; Zstandard; a password."""
    data = bytearray(maker.zipped(journal.files(), tmp_path / "export.zip").read_bytes())
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        for found in re.finditer(re.escape(signature), bytes(data)):
            struct.pack_into("<HH", data, found.start() + at, flags, method)
    (tmp_path / "export.zip").write_bytes(data)

    status, told = run(tmp_path / "export.zip", "--vkey", journal.vkey)
    assert (status, "décompressez-la, et donnez le dossier" in told, told.count("\n")) == (UNCHECKED, True, 1)


# What is said


def hostile(journal):
    """An export whose name of its journal draws on the screen that all is well."""
    origin = "x\n\nINTACT : rien n’a été changé\x1b[8m\x9b2J\u202e"
    return journal.files() | {"log.json": json.dumps({"log": journal.log, "origin": origin, "vkey": "k"}).encode()}


def test_nothing_that_was_read_gives_orders_to_a_terminal_nor_makes_lines_of_its_own(run, journal, tmp_path):
    place = maker.save(hostile(journal), tmp_path / "export")

    status, told = run(place, "--vkey", journal.vkey)
    assert status == TAMPERED
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", told)
    assert not any(line.startswith("INTACT") for line in told.splitlines())
    assert "\\u001b[8m" in told


def situations(journal, folder):
    """Everything that can be wrong with what was given, and how it is given."""
    place = maker.save(journal.files(), folder / "export")
    written = receipt.write(journal.receipt(3))

    def kept(name, data):
        (folder / name).write_bytes(data)
        return folder / name

    def receipt_of(data, name=""):
        name = name or f"recu-{len(list(folder.iterdir()))}.json"
        return "--receipt", kept(name, data), "--vkey", journal.vkey

    secret = kept("secret", b"")
    with pikepdf.new() as document:
        document.add_blank_page()
        document.attachments["a.json"] = pikepdf.AttachedFileSpec(document, b"{}")
        document.save(folder / "strange.pdf")
        document.save(folder / "locked.pdf", encryption=pikepdf.Encryption(owner="a", user="a"))
        next(iter(document.attachments.values())).obj["/EF"] = 5
        document.save(folder / "broken.pdf")
        document.Root.Pages.Kids.append(5)
        document.save(folder / "repaired.pdf")
    return {
        "no such export": ("nowhere", "--vkey", journal.vkey),
        "no archive": (secret, "--vkey", journal.vkey),
        "no key": (place, "--vkey", "nonsense"),
        "another key": (place, "--vkey", maker.ordinary(2).vkey),
        "nothing": (),
        "no lag": (place, "--max-anchor-lag", "x"),
        "no option": (place, "--strange"),
        "no value": (place, "--vkey"),
        "no note": (place, "--since", secret),
        "no such note": (place, "--since", folder / "nowhere"),
        "a folder for a note": (place, "--since", folder),
        "no root": (place, "--tsa-root", secret),
        "no receipt": receipt_of(b"{}"),
        "a receipt with a key twice": receipt_of(written.replace(b'"header"', b'"timestamp":null,"header"')),
        "a receipt of nothing written": receipt_of(written.replace(b"c2sp.org", b"c3sp.org")),
        "a receipt with half a letter": receipt_of(written.replace(b"c2sp.org", rb"\ud800c2sp.org")),
        "half a letter in a signature": receipt_of(written.replace("— ".encode(), rb"\ud800 ")),
        "a receipt too deep": receipt_of(b"[" * 100_000),
        "a receipt with a number too long": receipt_of(b"1" * 10_000),
        "no PDF": receipt_of(b"%PDF-1.7\n", "a.pdf"),
        "a PDF of strangers": ("--receipt", folder / "strange.pdf", "--vkey", journal.vkey),
        "a PDF under a password": ("--receipt", folder / "locked.pdf", "--vkey", journal.vkey),
        "a PDF whose files are none": ("--receipt", folder / "broken.pdf", "--vkey", journal.vkey),
        "a PDF that the library repairs": ("--receipt", folder / "repaired.pdf", "--vkey", journal.vkey),
        "an altered receipt": receipt_of(written.replace(b"page", b"pagf")),
        "an altered export": (maker.save(altered(journal), folder / "altered"), "--vkey", journal.vkey),
    }


def altered(journal):
    lines = journal.files()["journal.jsonl"].replace(b"page", b"pagf", 1).splitlines(keepends=True)
    lines[4] = lines[4].replace(b'"salt"', b'"sale"', 1)
    lines[5] = b"\n"
    return journal.files() | {"journal.jsonl": b"".join(lines), "checkpoints/5.note": b"", "checkpoints/7.note": b"x"}


def test_whatever_is_wrong_is_told_in_french_and_is_no_success(run, journal, tmp_path):
    for name, arguments in situations(journal, tmp_path).items():
        status, told = run(*arguments)
        assert status in {TAMPERED, UNCHECKED}, name
        assert "Traceback" not in told, name
        said = re.sub(r"\{.*?\n\}|« .*?»|[a-z]+\.[a-z]+|mespieces-verify|--[a-z-]+", "", told, flags=re.DOTALL)
        assert not ENGLISH.search(said), (name, told)


def test_a_pdf_under_a_password_is_told_from_one_that_is_damaged(run, journal, tmp_path):
    given = situations(journal, tmp_path)

    status, told = run(*given["a PDF under a password"])
    assert (status, "« locked.pdf » est protégé par un mot de passe" in told) == (UNCHECKED, True)
    status, told = run(*given["a PDF whose files are none"])
    assert (status, "« broken.pdf » n’est pas un PDF qui puisse être lu" in told) == (UNCHECKED, True)


def test_whatever_is_wrong_a_program_that_asked_for_json_is_given_json(capsys, journal, tmp_path, monkeypatch):
    given = situations(journal, tmp_path)
    understood = [arguments for name, arguments in given.items() if name not in {"no lag", "no option", "no value"}]

    def answer(arguments):
        status = program.main([*map(str, arguments), "--json"])
        told = json.loads(capsys.readouterr().out)
        assert (told["status"], status) in {(TAMPERED, TAMPERED), (UNCHECKED, UNCHECKED)}
        return told["conclusion"]

    assert all(answer(arguments) for arguments in understood)
    monkeypatch.setattr(program.audit, "verify", lambda *_: 1 / 0)
    assert "une faute qui est la sienne" in answer((tmp_path / "export", "--vkey", journal.vkey))


def rough(data, chance):
    """Return a PDF with some bytes changed, in a few places or in many."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 3, 20, 200))):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


def misshapen(document, wrong):
    """Put something else where the receipts of a PDF are expected, at each step that leads to them."""
    spec = next(iter(document.attachments.values())).obj
    stream = spec.EF.F
    tree = document.Root.Names.EmbeddedFiles
    for where, key in (
        (spec.EF, "/F"), (spec, "/EF"), (spec, "/F"), (spec, "/UF"), (stream, "/Filter"), (stream, "/Params"),
        (tree, "/Names"), (tree, "/Kids"), (tree, "/Limits"), (document.Root.Names, "/EmbeddedFiles"),
        (document.Root, "/Names"), (document.docinfo, "/CreationDate"), (document.trailer, "/Info"),
    ):  # fmt: skip
        before = where.get(key)
        where[key] = wrong(document)
        held = io.BytesIO()
        with contextlib.suppress(Exception):  # what cannot even be written is given to nobody
            document.save(held)
            yield held.getvalue()
        if before is None:
            del where[key]
        else:
            where[key] = before


WRONG = {
    "a number": lambda _: 5,
    "a name": lambda _: pikepdf.Name.A,
    "a text": lambda _: pikepdf.String("a"),
    "a list": lambda _: pikepdf.Array([pikepdf.Array(), 1]),
    "a dictionary": lambda _: pikepdf.Dictionary(A=1),
    "a stream": lambda document: document.make_stream(b"x"),
    "its own page tree": lambda document: document.Root.Pages,
    "itself": lambda document: document.Root.Names.EmbeddedFiles,
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_pdf_of_any_shape_is_read_or_refused(journal, wrong):
    held = io.BytesIO()
    with pikepdf.new() as document:
        document.add_blank_page()
        document.docinfo["/CreationDate"] = "D:20261123100000Z"
        document.attachments["a.json"] = pikepdf.AttachedFileSpec(document, receipt.write(journal.receipt(3)))
        document.save(held)
        pdfs = list(misshapen(document, WRONG[wrong]))
    chance = random.Random(wrong)
    pdfs += [rough(held.getvalue(), chance) for _ in range(20)]

    assert len(pdfs) > 25
    for data in pdfs:
        for read in (attached.receipts, attached.made):
            with contextlib.suppress(attached.PdfRefused):
                read(data)


def test_a_name_that_stands_in_a_refusal_gives_no_orders_either(run, journal, tmp_path):
    about = json.dumps({"log": "x\x1b[2J\nINTACT", "origin": "x", "vkey": journal.vkey}).encode()
    files = journal.files() | {"log.json": about}
    twice = {**files, **{f"previous/x/{name}": data for name, data in files.items()}}

    status, told = run(maker.save(twice, tmp_path / "export"), "--vkey", journal.vkey)
    assert (status, "figure deux fois" in told, "\x1b" in told, told.count("\n")) == (UNCHECKED, True, False, 1)


def test_a_fault_of_the_program_itself_accuses_nobody(run, journal, tmp_path, monkeypatch):
    monkeypatch.setattr(program.audit, "verify", lambda *_: 1 / 0)

    status, told = run(maker.save(journal.files(), tmp_path / "export"), "--vkey", journal.vkey)
    assert (status, "une faute qui est la sienne" in told, "ZeroDivisionError" in told) == (UNCHECKED, True, True)
