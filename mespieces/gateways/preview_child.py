"""The program that parses one deposited document, alone: it holds no key, opens no file, and asks its parent for bytes.

Started by `preview.py` as a script, with an empty environment and one open descriptor, a socket. It imports nothing of
the product. Frames it sends: one kind byte, a length (uint32), a body. `R` asks for bytes (uint64 offset, uint32
length) and is answered by a length and the bytes; `I` inspection, `P` page, `T` text, `A` attached file, `D` done, `E` the refusal's name.
Longer than our modules are, because it must be one file: isolated, it can import no neighbour.
"""

import codecs
import ctypes
import io
import itertools
import json
import os
import platform
import re
import resource
import struct
from collections import OrderedDict
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

BLOCK = 256 * 1024
BLOCKS = 48
PIXELS = 200_000_000
PAGES = 2000
PADDING = 1024
MEMORY = 1536 * 1024**2
TEXT_OF_PAGE = 256 * 1024
ATTACHED, LARGEST_ATTACHED = 600, 1024 * 1024

FORMATS = {"image/jpeg": "JPEG", "image/png": "PNG", "image/tiff": "TIFF", "image/webp": "WEBP", "image/heic": "HEIF"}
MODULES = {
    "image/jpeg": ("PIL.JpegImagePlugin", "PIL.MpoImagePlugin"),
    "image/png": ("PIL.PngImagePlugin",),
    "image/tiff": ("PIL.TiffImagePlugin",),
    "image/webp": (),
    "image/heic": ("pillow_heif",),
}
ARCHIVE_AFTER_IMAGE = re.compile(
    rb"(?:\xff\xd9|IEND\xaeB`\x82)[\s\0]{0,1024}(?:PK\x03\x04|PK\x05\x06|Rar!\x1a\x07|7z\xbc\xaf\x27\x1c|\x1f\x8b\x08)"
)
INVOICES = {"factur-x.xml", "zugferd-invoice.xml", "xrechnung.xml"}


class Refuse(Exception):  # noqa: N818 — a refusal, named for the parent
    """The document is refused; the argument is the name of the parent's refusal."""


# --- the channel ------------------------------------------------------------------------------------------------------


def receive(length: int) -> bytes:
    """Return exactly `length` bytes from the parent; the program ends when the parent is gone."""
    parts = []
    while length:
        part = os.read(0, min(length, 1 << 20))
        if not part:
            os._exit(1)
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def send(kind: bytes, body: bytes) -> None:
    """Send one frame to the parent."""
    rest = memoryview(struct.pack(">cI", kind, len(body)) + body)
    while rest:
        rest = rest[os.write(0, rest) :]


class Document(io.RawIOBase):
    """The document's bytes as a file, asked of the parent block by block; a few blocks are remembered."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._position = 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()

    def seekable(self) -> bool:
        """Tell that any place can be read."""
        return True

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def tell(self) -> int:
        """Return the present place."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a place."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer`, short only at the end."""
        view = memoryview(buffer).cast("B")
        wanted = max(0, min(len(view), self._size - self._position))
        done = 0
        while done < wanted:
            index, start = divmod(self._position + done, BLOCK)
            piece = self._block(index)[start : start + wanted - done]
            view[done : done + len(piece)] = piece
            done += len(piece)
        self._position += done
        return done

    def readall(self) -> bytes:
        """Return all that is left."""
        return self.read(max(0, self._size - self._position)) or b""

    def at(self, offset: int, length: int) -> bytes:
        """Return the bytes from `offset`, fewer at the end."""
        self.seek(offset)
        return self.read(length) or b""

    @property
    def size(self) -> int:
        """Return the whole length."""
        return self._size

    def _block(self, index: int) -> bytes:
        if index in self._blocks:
            self._blocks.move_to_end(index)
            return self._blocks[index]
        send(b"R", struct.pack(">QI", index * BLOCK, min(BLOCK, self._size - index * BLOCK)))
        (length,) = struct.unpack(">I", receive(4))
        self._blocks[index] = receive(length)
        if len(self._blocks) > BLOCKS:
            self._blocks.popitem(last=False)
        return self._blocks[index]


# --- confinement ------------------------------------------------------------------------------------------------------


def limit(cpu: int) -> None:
    """Bound memory and processor time; forbid files, core dumps and being looked into."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 1))
    ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE


def confine(*, threads: bool = False) -> None:
    """Give up, for good and before the first parser runs, the right to open anything, to start anything, to be root."""
    if os.getuid() == 0:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        except PermissionError:  # a container may forbid it: the limits below still hold
            pass
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    if not threads:
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # again: changing user may have set it back
    filter_system_calls(threads=threads)


# read write close fstat lseek mmap mprotect munmap brk, signals, readv writev, sched_yield mremap madvise nanosleep
# getpid gettid exit futex affinity clocks exit_group prlimit64 getrandom sysinfo set_robust_list rseq: no open, socket,
# exec; the two last numbers are clone and clone3
SYSTEM_CALLS = {
    "x86_64": (0xC000003E, (0, 1, 3, 5, 8, 9, 10, 11, 12, 13, 14, 15, 19, 20, 24, 25, 28, 35, 39, 60, 99, 131, 186, 202, 204,
                            219, 228, 229, 230, 231, 273, 302, 318, 334), 56, 435),
    "aarch64": (0xC00000B7, (57, 62, 63, 64, 65, 66, 80, 93, 94, 98, 99, 101, 113, 114, 115, 122, 123, 124, 128, 132,
                             134, 135, 139, 160, 172, 178, 179, 214, 215, 216, 222, 226, 233, 261, 278, 293), 220, 435),
}  # fmt: skip
LOAD, EQUAL, HAS_BITS, ANSWER = 0x20, 0x15, 0x45, 0x06
ALLOW, DENY, UNKNOWN, KILL = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000  # EPERM, ENOSYS


def filter_system_calls(*, threads: bool) -> None:
    """Have the kernel answer EPERM to every system call but those of plain computing (seccomp; x86-64 and arm64).

    With `threads`, which the HEVC decoder cannot do without, a clone is allowed if it starts a thread and no process.
    """
    if platform.machine() not in SYSTEM_CALLS:
        return
    machine, numbers, clone, clone3 = SYSTEM_CALLS[platform.machine()]
    program = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, machine), (ANSWER, 0, 0, KILL), (LOAD, 0, 0, 0)]
    if threads:  # clone3 hides its flags behind a pointer: unknown, it makes the C library fall back on clone
        program += [(EQUAL, 0, 1, clone3), (ANSWER, 0, 0, UNKNOWN), (EQUAL, 0, 4, clone), (LOAD, 0, 0, 16)]
        program += [(HAS_BITS, 0, 1, 0x00010000), (ANSWER, 0, 0, ALLOW), (ANSWER, 0, 0, DENY)]
    program += [(EQUAL, len(numbers) - place, 0, number) for place, number in enumerate(numbers)]
    program += [(ANSWER, 0, 0, DENY), (ANSWER, 0, 0, ALLOW)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in program))
    pointer = ctypes.create_string_buffer(struct.pack("@HxxxxxxP", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None)
    libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    libc.prctl(22, 2, ctypes.byref(pointer), 0, 0)  # PR_SET_SECCOMP: a kernel built without it keeps the other limits


# --- what the document is ---------------------------------------------------------------------------------------------


def sniff(document: Document) -> str:
    """Tell the media type from the first bytes, among those accepted. Refuses `NotSupportedFormat`."""
    head = document.at(0, 32)
    if head.removeprefix(b"\xef\xbb\xbf").startswith(b"%PDF-"):
        return "application/pdf"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "image/tiff"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if head[4:8] == b"ftyp" and head[8:12] in {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}:
        return "image/heic"
    raise Refuse("NotSupportedFormat")


def opens_as_zip(document: Document) -> bool:
    """Tell whether a zip reader would open the document (PKZIP APPNOTE 4.3.16): most of them forgive what follows.

    An archive attached inside a PDF, closed there by its `endstream`, is the office's to know of, and no disguise.
    """
    start = max(0, document.size - 65_557)
    tail = document.at(start, 65_557)
    for match in re.finditer(rb"PK\x05\x06.{8}(.{4}).{4}(.{2})", tail, re.DOTALL):
        listing, comment = int.from_bytes(match[1], "little"), int.from_bytes(match[2], "little")
        after = tail[match.end() + comment :]
        if match.end() + comment == len(tail):
            return True
        listed = start + match.start() >= listing and document.at(start + match.start() - listing, 4) == b"PK\x01\x02"
        if listed and not re.match(rb"\s*endstream\b", after):
            return True
    return False


def check_end_of_pdf(document: Document) -> None:
    """Require the last `%%EOF` at the end, padding aside. Refuses `Unreadable` (cut short) and `TrailingData`."""
    end, after = document.size, b""
    while end > 0:
        start = max(0, end - BLOCK)
        piece = document.at(start, end - start + 4)
        place = piece.rfind(b"%%EOF")
        if place >= 0:
            after = document.at(start + place + 5, PADDING + 1)
            break
        end = start
    else:
        raise Refuse("Unreadable")
    if len(after) <= PADDING and not after.strip(b"\0\t\n\f\r "):
        return
    cut = re.match(rb"[\s\0]*(\d+ \d+ obj\b|xref\b|%)", after)  # a revision whose end is missing, or a linearised file
    raise Refuse("Unreadable" if cut else "TrailingData")


# --- PDF --------------------------------------------------------------------------------------------------------------


def inspect_pdf(document: Document) -> tuple[int, set[str]]:
    """Open with two parsers and tell pages and notices. Refuses what a recipient could not read."""
    pikepdf: Any = import_module("pikepdf")
    pypdfium2: Any = import_module("pypdfium2")
    check_end_of_pdf(document)
    try:
        pdf = pikepdf.open(document, access_mode=pikepdf.AccessMode.stream)
    except pikepdf.PasswordError:
        raise Refuse("PasswordNeeded") from None
    if any("reconstruct" in warning for warning in pdf.get_warnings()):
        raise Refuse("Unreadable")
    count = len(pdf.pages)
    if not count:
        raise Refuse("NoPages")
    if count > PAGES:
        raise Refuse("TooManyPages")
    found = set(notices_of_pdf(pdf, pikepdf))
    pdf.close()
    with pypdfium2.PdfDocument(document) as drawn:
        if len(drawn) != count:
            raise Refuse("Unreadable")
        if not any(drawn[index].get_textpage().count_chars() for index in range(count)):
            found.add("no-text")
    return count, found


def notices_of_pdf(pdf: Any, pikepdf: Any) -> Iterator[str]:
    """Tell what the office should know: attachments, scripts, programs to launch, forms, signatures, invoice data."""
    root = pdf.Root
    names = {str(name).rsplit("/", 1)[-1].lower() for name in pdf.attachments}
    names |= {spec.filename.rsplit("/", 1)[-1].lower() for spec in pdf.attachments.values()}
    conforms = pikepdf.Name.Metadata in root and b"ConformanceLevel" in root.Metadata.read_bytes() and names & INVOICES
    if names & INVOICES or conforms:
        yield "factur-x"
    if any(spec.filename.lower() not in INVOICES for spec in pdf.attachments.values()):
        yield "attachments"
    if "/JavaScript" in root.get("/Names", {}):
        yield "javascript"
    form = root.get("/AcroForm", {})
    fields = list(fields_of(form))
    if "/XFA" in form or any(kind(field) not in {"/Sig", ""} for field in fields):
        yield "form"
    if any(kind(field) == "/Sig" and "/V" in field for field in fields):
        yield "signed"
    marks = [mark for page in pdf.pages for mark in page.get("/Annots", []) if isinstance(mark, pikepdf.Dictionary)]
    if any(str(mark.get("/Subtype", "")) == "/FileAttachment" for mark in marks):
        yield "attachments"
    for holder in (root, *(page.obj for page in pdf.pages), *marks, *fields):
        for action in actions(holder, pikepdf):
            name = str(action.get("/S", ""))
            yield from {"/JavaScript": ("javascript",), "/Launch": ("launch",)}.get(name, ())


def kind(field: Any) -> str:
    """Return a form field's type, which one above may hold."""
    for _ in range(16):
        if field is None or "/FT" in field:
            break
        field = field.get("/Parent")
    return str(field.get("/FT", "")) if field is not None else ""


def fields_of(form: Any) -> Iterator[Any]:
    """Return a form's fields, each once, whatever circle they are tied in."""
    waiting = list(form.get("/Fields", []))
    met: set[tuple[int, int]] = set()
    while waiting and len(met) < 20_000:
        field = waiting.pop()
        if field.objgen not in met or field.objgen == (0, 0):
            met.add(field.objgen if field.is_indirect else (0, len(met)))
            yield field
            waiting += list(field.get("/Kids", []))


def actions(holder: Any, pikepdf: Any) -> Iterator[Any]:
    """Return the actions a page, an annotation, a field or the document itself carries, and those that follow them."""
    waiting = [holder.get("/OpenAction"), holder.get("/A"), *dict(holder.get("/AA", {})).values()]
    for _ in range(64):
        if not waiting:
            return
        action = waiting.pop()
        if isinstance(action, pikepdf.Dictionary):
            yield action
            following = action.get("/Next")
            waiting += list(following) if isinstance(following, pikepdf.Array) else [following]


def pages_of_pdf(document: Document, numbers: list[int], width: int) -> Iterator[tuple[int, Any]]:
    """Draw pages as images `width` pixels wide, forms and annotations included."""
    pypdfium2: Any = import_module("pypdfium2")
    with pypdfium2.PdfDocument(document) as pdf:
        pdf.init_forms()
        for number in numbers:
            if number > len(pdf):
                raise Refuse("PageMissing")
            page = pdf[number - 1]
            across, down = (max(1.0, length) for length in page.get_size())
            scale = min(width / across, 10 * width / down, 16_000 / across, 16_000 / down)
            yield number, page.render(scale=scale, rev_byteorder=True).to_pil()
            page.close()


def texts_of_pdf(document: Document) -> Iterator[str]:
    """Return the text of each page, in the file's order."""
    pypdfium2: Any = import_module("pypdfium2")
    with pypdfium2.PdfDocument(document) as pdf:
        for index in range(len(pdf)):
            page = pdf[index]
            words = page.get_textpage().get_text_bounded()
            page.close()
            words = words.replace("\r\n", "\n").replace("\ufffe", "-").replace("\x02", "-")  # PDFium's line-end hyphens
            yield re.sub(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]", "", words)[:TEXT_OF_PAGE].strip()


# --- images -----------------------------------------------------------------------------------------------------------


def frames(document: Document, media_type: str) -> Iterator[Any]:
    """Return an image's pages in turn, not yet decoded. Refuses `ImageTooLarge` before any memory is taken."""
    Image: Any = import_module("PIL.Image")  # noqa: N806
    Image.MAX_IMAGE_PIXELS = None  # our own limit, below, knows its words
    document.seek(0)
    image = Image.open(document, formats=[FORMATS[media_type]])
    for index in itertools.count():
        if index:
            if media_type != "image/tiff":
                return
            try:
                image.seek(index)
            except EOFError:
                return
        if index >= PAGES:
            raise Refuse("TooManyPages")
        if image.width * image.height > PIXELS:
            raise Refuse("ImageTooLarge")
        yield image


def inspect_image(document: Document, media_type: str) -> tuple[int, set[str]]:
    """Decode every page to the end and count them. Refuses archives hidden behind the image."""
    tail = b""
    for offset in range(0, document.size, BLOCK):
        tail = tail[-2048:] + document.at(offset, BLOCK)
        if ARCHIVE_AFTER_IMAGE.search(tail):
            raise Refuse("TrailingData")
    count = 0
    for image in frames(document, media_type):
        image.load()
        count += 1
    return count, {"no-text"}


def pages_of_image(document: Document, media_type: str, numbers: list[int], width: int) -> Iterator[tuple[int, Any]]:
    """Draw pages upright (EXIF orientation), at most `width` wide, on white."""
    from PIL import Image, ImageOps

    left = set(numbers)
    for number, image in enumerate(frames(document, media_type), 1):
        if number not in left:
            continue
        image.draft("RGB", (width, width))  # JPEG decodes at a fraction of its size
        flat = ImageOps.exif_transpose(image)
        factor = max(1, min(flat.width // (2 * width), flat.height // 2))
        if flat.mode.startswith("I;16"):
            flat = flat.point(lambda value: value / 256).convert("L")
        if factor > 1 and flat.mode in {"1", "L", "RGB", "RGBA", "LA", "CMYK"}:
            flat = (flat.convert("L") if flat.mode == "1" else flat).reduce(factor)
        if flat.mode in {"RGBA", "LA", "PA", "P"}:
            flat = Image.alpha_composite(Image.new("RGBA", flat.size, "white"), flat.convert("RGBA"))
        flat = flat.convert("RGB")
        scale = min(1, width / flat.width, 16_000 / flat.height)
        yield number, flat.resize((max(1, round(flat.width * scale)), max(1, round(flat.height * scale))))
        left.discard(number)
        if not left:
            return
    raise Refuse("PageMissing")


# --- the four operations ---------------------------------------------------------------------------------------------


def inspect(document: Document, job: dict[str, Any]) -> None:
    """Send media type, page count and notices."""
    media_type = job["media_type"]
    if opens_as_zip(document):
        raise Refuse("TrailingData")
    pdf = media_type == "application/pdf"
    count, notices = inspect_pdf(document) if pdf else inspect_image(document, media_type)
    send(b"I", json.dumps({"media_type": media_type, "pages": count, "notices": sorted(notices)}).encode())


def render(document: Document, job: dict[str, Any]) -> None:
    """Send each page asked for as WebP, as soon as it is drawn."""
    if job["media_type"] == "application/pdf":
        drawn = pages_of_pdf(document, job["pages"], job["width"])
    else:
        drawn = pages_of_image(document, job["media_type"], job["pages"], job["width"])
    for number, image in drawn:
        out = io.BytesIO()
        image.save(out, "WEBP", quality=82, method=2)
        send(b"P", struct.pack(">I", number) + out.getvalue())


def text(document: Document, job: dict[str, Any]) -> None:
    """Send the text of every page."""
    pdf = job["media_type"] == "application/pdf"
    found = texts_of_pdf(document) if pdf else ("" for _ in frames(document, job["media_type"]))
    for words in found:
        send(b"T", words.encode("utf-8", "replace"))


def attached(document: Document, _job: dict[str, Any]) -> None:
    """Send the files attached to a PDF that begin as a JSON object does, those of 1 MiB at most among the first 600."""
    pikepdf: Any = import_module("pikepdf")
    pdf = pikepdf.open(document, access_mode=pikepdf.AccessMode.stream)
    for spec in itertools.islice(pdf.attachments.values(), ATTACHED):
        data = spec.get_file().read_bytes()
        if len(data) <= LARGEST_ATTACHED and data[:64].lstrip().startswith(b"{"):
            send(b"A", data)


OPERATIONS: dict[str, Callable[[Document, dict[str, Any]], None]] = {
    "inspect": inspect,
    "render": render,
    "text": text,
    "attached": attached,
}


def prepare(job: dict[str, Any]) -> None:
    """Import all that the operation will need, while files can still be opened."""
    media_type = job["media_type"]
    needed = {"PIL.WebPImagePlugin"}
    if media_type == "application/pdf":
        needed = {"pypdfium2"} | {"inspect": {"pikepdf"}, "attached": {"pikepdf"}, "render": needed}.get(
            job["operation"], set()
        )
    else:
        needed |= {"PIL.ImageOps", *MODULES[media_type]}
    for encoding in ("ascii", "latin-1", "cp1252", "mac-roman", "utf-16-le", "utf-16-be", "utf-16"):
        codecs.lookup(encoding)
    for name in sorted(needed):
        module = import_module(name)
        if name == "pillow_heif":
            module.options.DECODE_THREADS = 1
            module.register_heif_opener(thumbnails=False)
        if name == "pikepdf":  # has qpdf open its source of chance now: it wants one even to decrypt
            module.new().save(io.BytesIO(), encryption=module.Encryption(owner="", user="", R=6))


def main() -> None:
    """Take one job, do it, say so."""
    job = json.loads(receive(*struct.unpack(">I", receive(4))))
    limit(job["cpu"])
    document = Document(job["size"])
    try:
        job["media_type"] = job["media_type"] or sniff(document)
        prepare(job)
        confine(threads=job["media_type"] == "image/heic")
        OPERATIONS[job["operation"]](document, job)
        send(b"D", b"")
    except Refuse as refusal:
        send(b"E", str(refusal).encode())
    except Exception:  # noqa: BLE001 — whatever a parser says of hostile bytes, the document cannot be read
        send(b"E", b"Unreadable")
    os._exit(0)  # no destructor runs on hostile structures


if __name__ == "__main__":
    main()
