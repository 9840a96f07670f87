import contextlib
import io
import os
import resource
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import pikepdf
import pillow_heif
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from mespieces.errors import Invalid, Unavailable, Unsupported
from mespieces.gateways import preview

CORPUS = Path(os.environ.get("MESPIECES_CORPUS", Path(__file__).parents[3] / "shared" / "corpus"))


class Bytes:
    """A document held in memory, counting what is asked of it."""

    def __init__(self, content):
        self.content = content
        self.size = len(content)
        self.served = 0

    def read_at(self, offset, length):
        self.served += length
        return self.content[offset : offset + length]


class Holed:
    """A PDF of 300 MiB of which only the two ends exist; the middle is an unused stream of zeros."""

    middle = 300 * 1024**2

    def __init__(self):
        start = b"%PDF-1.7\n1 0 obj\n<</Type/Catalog/Pages 2 0 R>>\nendobj\n"
        places = [len(b"%PDF-1.7\n")]
        for body in (
            b"2 0 obj\n<</Type/Pages/Kids[3 0 R]/Count 1>>\nendobj\n",
            b"3 0 obj\n<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 300]>>\nendobj\n",
            b"4 0 obj\n<</Length %d>>\nstream\n" % self.middle,
        ):
            places.append(len(start))
            start += body
        end = b"\nendstream\nendobj\n"
        xref = len(start) + self.middle + len(end)
        lines = b"".join(b"%010d 00000 n \n" % place for place in places)
        end += b"xref\n0 5\n0000000000 65535 f \n" + lines
        end += b"trailer\n<</Size 5/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % xref
        self.start, self.end = start, end
        self.size = len(start) + self.middle + len(end)
        self.served = 0

    def read_at(self, offset, length):
        length = min(length, self.size - offset)
        self.served += length
        tail = len(self.start) + self.middle
        if offset >= tail:
            return self.end[offset - tail : offset - tail + length]
        if offset + length <= tail:
            return self.start[offset : offset + length].ljust(length, b"\0")
        return self.read_at(offset, tail - offset) + self.read_at(tail, offset + length - tail)


def pdf(pages=1, *, words="", change=None, **saving):
    document = pikepdf.new()
    font = document.make_indirect(
        pikepdf.Dictionary(Type=pikepdf.Name.Font, Subtype=pikepdf.Name.Type1, BaseFont=pikepdf.Name.Helvetica)
    )
    for number in range(1, pages + 1):
        page = document.add_blank_page(page_size=(595, 842))
        page.Resources = pikepdf.Dictionary(Font=pikepdf.Dictionary(F=font))
        if words:
            page.Contents = document.make_stream(f"BT /F 40 Tf 60 700 Td ({words} {number}) Tj ET".encode())
    if change:
        change(document)
    out = io.BytesIO()
    document.save(out, **saving)
    return out.getvalue()


def picture(kind="JPEG", size=(120, 80), **saving):
    image = Image.new("RGB", size, "white")
    ImageDraw.Draw(image).rectangle((0, 0, size[0] // 4, size[1] // 4), fill="red")  # top left
    out = io.BytesIO()
    image.save(out, kind, **saving)
    return out.getvalue()


def archive():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        packed.writestr("programme.exe", b"MZ" * 40)
    return out.getvalue()


def inspect(content, name="piece.pdf"):
    return preview.inspect(Bytes(content), name)


def drawn(content, media_type, pages=(1,), **wanted):
    return [(n, Image.open(io.BytesIO(b))) for n, b in preview.render(Bytes(content), media_type, pages, **wanted)]


def test_a_pdf_is_told_by_its_content_with_its_pages():
    found = inspect(pdf(3, words="Facture"), "sans-extension")

    assert found == preview.Inspection("application/pdf", 3, ())


def test_the_pages_asked_for_are_drawn_at_the_width_asked_for_in_the_order_asked_for():
    pages = drawn(pdf(3, words="Page"), "application/pdf", [3, 1, 3], width=300)

    assert [number for number, _ in pages] == [3, 1]
    assert {image.format for _, image in pages} == {"WEBP"}
    assert {image.width for _, image in pages} == {300}
    assert min(image.convert("L").getextrema()[0] for _, image in pages) < 60


def test_the_text_of_each_page_is_given_even_when_there_is_none():
    assert preview.text(Bytes(pdf(2, words="Bon de livraison")), "application/pdf") == [
        "Bon de livraison 1",
        "Bon de livraison 2",
    ]
    assert preview.text(Bytes(pdf(2)), "application/pdf") == ["", ""]
    assert preview.text(Bytes(picture()), "image/jpeg") == [""]


def test_a_pdf_without_text_is_said_to_have_none():
    assert inspect(pdf(2)).notices == ("no-text",)


@pytest.mark.parametrize(
    ("kind", "media_type"),
    [
        ("JPEG", "image/jpeg"),
        ("PNG", "image/png"),
        ("TIFF", "image/tiff"),
        ("WEBP", "image/webp"),
        ("HEIF", "image/heic"),
    ],
)
def test_the_images_phones_make_are_accepted_and_drawn(kind, media_type):
    pillow_heif.register_heif_opener()
    content = picture(kind)

    assert inspect(content) == preview.Inspection(media_type, 1, ("no-text",))
    assert drawn(content, media_type)[0][1].size == (120, 80)
    assert media_type in preview.MEDIA_TYPES


def test_every_page_of_a_tiff_is_counted_and_drawn():
    others = [Image.new("1", (60, 90)), Image.new("L", (50, 40))]
    content = picture("TIFF", save_all=True, append_images=others, compression="tiff_lzw")

    assert inspect(content).pages == 3
    assert [image.size for _, image in drawn(content, "image/tiff", [1, 2, 3])] == [(120, 80), (60, 90), (50, 40)]


def test_a_photograph_is_shown_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    [(_, image)] = drawn(picture(exif=exif), "image/jpeg")

    assert image.size == (80, 120)
    red, green, _ = image.convert("RGB").getpixel((75, 5))  # top left has become top right
    assert red > 200
    assert green < 80


def test_transparent_parts_are_drawn_white():
    out = io.BytesIO()
    Image.new("RGBA", (40, 40), (0, 0, 0, 0)).save(out, "PNG")

    assert drawn(out.getvalue(), "image/png")[0][1].convert("L").getextrema()[0] > 250


def test_an_empty_file_is_refused_as_a_mistake_of_the_field():
    with pytest.raises(preview.EmptyFile, match=r"« facture\.pdf » est vide") as refusal:
        inspect(b"", "facture.pdf")
    assert isinstance(refusal.value, Invalid)


@pytest.mark.parametrize(
    "content",
    [
        b"MZ\x90\0" * 300,
        b"#!/bin/sh\n",
        archive(),
        b"x" + pdf(),
        b"<svg/>",
        b"GIF89a" + b"\0" * 50,
        b"\xd0\xcf\x11\xe0" * 9,
    ],
)
def test_what_is_not_an_accepted_format_is_refused_whatever_its_name(content):
    with pytest.raises(preview.NotSupportedFormat, match=r"« programme\.pdf »") as refusal:
        inspect(content, "programme.pdf")
    assert isinstance(refusal.value, Unsupported)


@pytest.mark.parametrize("revision", [2, 3, 4, 6])
def test_a_pdf_that_needs_a_password_is_refused_with_the_cure(revision):
    strong = {"aes": revision >= 4, "metadata": revision >= 4}
    with pytest.raises(preview.PasswordNeeded, match="mot de passe"):
        inspect(pdf(encryption=pikepdf.Encryption(user="u", owner="o", R=revision, **strong)))


def test_a_pdf_protected_only_against_changes_is_accepted_and_drawn():
    content = pdf(words="Contrat", encryption=pikepdf.Encryption(user="", owner="o", R=6))

    assert inspect(content).pages == 1
    assert preview.text(Bytes(content), "application/pdf") == ["Contrat 1"]
    assert len(drawn(content, "application/pdf")) == 1


@pytest.mark.parametrize("part", [0.05, 0.3, 0.6, 0.9, 0.99])
def test_a_truncated_pdf_is_refused(part):
    content = pdf(4, words="Page", linearize=True)
    with pytest.raises(preview.Unreadable, match="incomplet"):
        inspect(content[: int(len(content) * part)])


def test_a_pdf_whose_table_must_be_rebuilt_is_refused():
    content = pdf(words="Page", object_stream_mode=pikepdf.ObjectStreamMode.disable)
    with pytest.raises(preview.Unreadable):
        inspect(content.replace(b"endobj\n", b"endobj\n%% pad\n", 1))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_a_truncated_image_is_refused(kind):
    content = picture(kind, (900, 700))
    with pytest.raises(preview.Unreadable):
        inspect(content[: len(content) * 2 // 3])


def test_a_pdf_without_a_page_is_refused():
    with pytest.raises(preview.NoPages):
        inspect(pdf(0))


def test_a_document_of_more_than_two_thousand_pages_is_refused():
    with pytest.raises(preview.TooManyPages):
        inspect(pdf(2001))


@pytest.mark.parametrize(
    "tail", [archive(), b"\0" * 4 + archive(), b"Rar!\x1a\x07\0" * 9, b"x" * 40, b" " * 1025, b"MZ" * 3_000_000]
)
def test_bytes_hidden_behind_a_pdf_are_refused(tail):
    with pytest.raises(preview.TrailingData, match="après la fin"):
        inspect(pdf(words="Page") + tail)


def test_an_archive_disguised_as_a_revision_of_the_pdf_is_refused():
    hidden = bytearray(archive())
    comment = b"\n%%EOF\n"
    hidden[-2:] = struct.pack("<H", len(comment))
    with pytest.raises(preview.TrailingData):
        inspect(pdf(words="Page") + bytes(hidden) + comment)


@pytest.mark.parametrize("behind", [b"\n%%EOF\n", b"\n" + b"%" * 60_000 + b"\n%%EOF"])
def test_an_archive_that_only_a_forgiving_reader_opens_is_refused(behind):
    content = pdf(words="Page") + archive() + behind

    assert zipfile.is_zipfile(io.BytesIO(content))
    with pytest.raises(preview.TrailingData):
        inspect(content)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_an_archive_inside_an_image_is_refused_wherever_it_stands(kind):
    with pytest.raises(preview.TrailingData):
        inspect(picture(kind) + b"x" + archive() + b"y" * 9)


def test_an_archive_attached_inside_a_pdf_is_told_and_accepted():
    def attach(document):
        document.attachments["devis.zip"] = archive()

    content = pdf(words="Page", change=attach, compress_streams=False)

    assert b"PK\x05\x06" in content
    assert inspect(content).notices == ("attachments",)


def test_padding_behind_a_pdf_is_tolerated():
    assert inspect(pdf(words="Page") + b"\r\n" + b"\0" * 1000).pages == 1


@pytest.mark.parametrize(
    "tail", [archive(), b"Rar!\x1a\x07\x01\0" + b"a" * 50, b"\0\0" + b"7z\xbc\xaf\x27\x1c" + b"a" * 50]
)
def test_an_archive_hidden_behind_a_photograph_is_refused(tail):
    with pytest.raises(preview.TrailingData):
        inspect(picture() + tail, "photo.jpg")


def test_an_image_bomb_is_refused_before_it_takes_memory():
    content = bytearray(picture("PNG"))
    content[16:24] = struct.pack(">II", 60_000, 60_000)
    content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    with pytest.raises(preview.ImageTooLarge, match="pixels"):
        inspect(bytes(content), "scan.png")


def notice(change):
    return inspect(pdf(words="Page", change=change)).notices


def test_scripts_launches_forms_and_attachments_are_noticed_and_accepted():
    def script(document):
        document.Root.OpenAction = pikepdf.Dictionary(S=pikepdf.Name.JavaScript, JS="app.alert(1)")

    def launch(document):
        action = pikepdf.Dictionary(S=pikepdf.Name.Launch, F="cmd.exe")
        first = pikepdf.Dictionary(S=pikepdf.Name.URI, URI="https://a.example", Next=action)
        link = pikepdf.Dictionary(Type=pikepdf.Name.Annot, Subtype=pikepdf.Name.Link, Rect=[0, 0, 9, 9], A=first)
        document.pages[0].Annots = document.make_indirect(pikepdf.Array([link]))

    def form(document):
        field = pikepdf.Dictionary(FT=pikepdf.Name.Tx, T="nom", Rect=[0, 0, 9, 9])
        document.Root.AcroForm = pikepdf.Dictionary(Fields=[document.make_indirect(field)])

    def signature(document):
        value = pikepdf.Dictionary(Type=pikepdf.Name.Sig)
        field = pikepdf.Dictionary(FT=pikepdf.Name.Sig, T="signature", V=value)
        document.Root.AcroForm = pikepdf.Dictionary(Fields=[document.make_indirect(field)])

    def attach(name):
        return lambda document: document.attachments.__setitem__(name, b"<x/>")

    assert notice(script) == ("javascript",)
    assert notice(launch) == ("launch",)
    assert notice(form) == ("form",)
    assert notice(signature) == ("signed",)
    assert notice(attach("plan.dwg")) == ("attachments",)
    assert notice(attach("factur-x.xml")) == ("factur-x",)


def test_a_form_that_is_its_own_ancestor_does_not_hang_the_inspection():
    def loop(document):
        field = document.make_indirect(pikepdf.Dictionary(T="nom"))
        field.Parent = field
        field.Kids = pikepdf.Array([field] * 50)
        document.Root.AcroForm = pikepdf.Dictionary(Fields=pikepdf.Array([field]))

    assert "signed" not in notice(loop)


def test_a_page_that_does_not_exist_is_said_not_to():
    for pages in ([2], [0]):
        with pytest.raises(preview.PageMissing):
            list(preview.render(Bytes(pdf()), "application/pdf", pages))
    with pytest.raises(preview.PageMissing):
        list(preview.render(Bytes(picture()), "image/jpeg", [2]))


@pytest.mark.parametrize(
    "program",
    [
        "import os; os.kill(os.getpid(), 9)",
        "import time; time.sleep(60)",
        "import os; os.write(0, b'Zjunk' * 9)",
        r"import os; os.write(0, b'P\xff\xff\xff\xff')",
        r"import os; os.write(0, b'P\0\0\0\x08\0\0\0\x07evilD\0\0\0\0'); import time; time.sleep(1)",
        r"import os; os.write(0, b'I\0\0\0\x02[]D\0\0\0\0'); import time; time.sleep(1)",
    ],
)
def test_a_child_that_dies_hangs_or_lies_is_a_refusal_and_leaves_no_process(program, tmp_path, monkeypatch):
    child = tmp_path / "child.py"
    child.write_text(program)
    monkeypatch.setattr(preview, "_CHILD", child)
    monkeypatch.setattr(preview, "PATIENCE", 1.5)

    with pytest.raises(preview.PreviewFailed) as refusal:
        list(preview.render(Bytes(pdf()), "application/pdf", [1]))
    assert isinstance(refusal.value, Unavailable)
    with pytest.raises(preview.Unreadable):
        inspect(pdf())
    assert children() == []


def test_leaving_in_the_middle_ends_the_child():
    pages = preview.render(Bytes(pdf(50)), "application/pdf", range(1, 51))
    assert next(pages)[0] == 1
    assert len(children()) == 1
    pages.close()
    assert children() == []


def children():
    """Return the children that read documents, and the dead: other tests keep servers, and what their processes fork from."""
    every = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    started = {one: Path(f"/proc/{one}/cmdline").read_bytes() for one in every}
    return [one for one, command in started.items() if not command or os.fsencode(preview._CHILD) in command]


def test_a_failure_of_the_source_is_told_as_it_is():
    class Corrupted(Bytes):
        def read_at(self, offset, length):
            raise Unavailable

    with pytest.raises(Unavailable):
        preview.inspect(Corrupted(pdf()), "a.pdf")
    assert children() == []


def test_a_document_of_300_mib_is_read_where_needed_without_the_parent_growing():
    source = Holed()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    assert preview.inspect(source, "gros.pdf").pages == 1
    assert len(list(preview.render(source, "application/pdf", [1], width=200))) == 1

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 * 1024  # KiB
    assert source.served < 8 * 1024**2


def test_nothing_is_written_to_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    content = picture("TIFF", (2000, 1500), compression="tiff_lzw")
    inspect(content)
    drawn(content, "image/tiff")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("threads", [False, True])
def test_the_child_can_open_start_reach_and_take_nothing(threads):
    program = f"""
import importlib.util, os, signal, socket
spec = importlib.util.spec_from_file_location("child", {str(preview._CHILD)!r})
child = importlib.util.module_from_spec(spec)
spec.loader.exec_module(child)
child.limit(20)
child.confine(threads={threads})
os.close(2)
tries = {{
    "open": lambda: os.open("/etc/passwd", os.O_RDONLY), "write": lambda: os.open("/tmp/x", os.O_CREAT | os.O_WRONLY),
    "socket": socket.socket, "fork": os.fork, "exec": lambda: os.execv("/bin/true", ["true"]),
    "kill": lambda: os.kill(1, signal.SIGKILL), "memory": lambda: bytearray(2 << 30),
}}
for name, attempt in tries.items():
    try:
        attempt()
        os.write(1, (name + " ").encode())
    except (OSError, MemoryError):
        pass
os.write(1, b"end")
os._exit(0)
"""
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, timeout=60, check=False)

    assert done.stdout == b"end"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_damaged_document_is_inspected_or_refused_but_nothing_else(data):
    original = data.draw(st.sampled_from([pdf(2, words="Page"), picture(), picture("PNG"), picture("TIFF")]))
    content = bytearray(original)
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))

    with contextlib.suppress(Unsupported):
        found = inspect(bytes(content))
        assert 1 <= found.pages <= 2000
        assert found.media_type in preview.MEDIA_TYPES


@pytest.mark.skipif(not CORPUS.is_dir(), reason=f"no real documents in {CORPUS}")
class TestRealDocuments:
    @pytest.mark.parametrize("path", sorted(CORPUS.glob("factures/*.pdf")), ids=lambda path: path.stem)
    def test_an_electronic_invoice_is_accepted_shown_and_said_to_be_one(self, path):
        content = path.read_bytes()

        assert inspect(content) == preview.Inspection("application/pdf", 1, ("factur-x",))
        assert len(drawn(content, "application/pdf")) == 1
        assert "Au bon moulin" in preview.text(Bytes(content), "application/pdf")[0]

    @pytest.mark.parametrize(
        ("name", "pages", "notices"),
        [
            ("117-pages", 117, ()),
            ("arabe", 1, ()),
            ("formulaire", 1, ("form",)),
            ("piece-jointe", 1, ("attachments",)),
            ("scan-avec-texte", 1, ()),
            ("scan-image", 1, ("no-text",)),
        ],
    )
    def test_an_unusual_document_is_accepted_and_every_page_drawn(self, name, pages, notices):
        content = (CORPUS / "cas-limites" / f"{name}.pdf").read_bytes()

        assert inspect(content) == preview.Inspection("application/pdf", pages, notices)
        every = drawn(content, "application/pdf", range(1, pages + 1), width=400)
        assert [number for number, _ in every] == list(range(1, pages + 1))
        assert all(image.convert("L").getextrema()[0] < 250 for _, image in every) or pages > 1

    def test_a_document_with_a_password_is_refused_in_words(self):
        with pytest.raises(preview.PasswordNeeded, match="sans protection"):
            inspect((CORPUS / "cas-limites" / "chiffre-mot-de-passe.pdf").read_bytes())


def test_no_more_children_run_at_once_than_the_machine_has_room_for(monkeypatch):
    monkeypatch.setattr(preview, "PATIENCE", 0.05)
    for _ in range(preview.CHILDREN):
        assert preview._SLOTS.acquire(blocking=False)
    try:
        with pytest.raises(preview.TooBusy):
            preview.inspect(Bytes(b"%PDF-1.7"), "Facture.pdf")
    finally:
        for _ in range(preview.CHILDREN):
            preview._SLOTS.release()
