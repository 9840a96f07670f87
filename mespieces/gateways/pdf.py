"""The PDFs the product makes, typeset by typst: tagged, in French, the same bytes for the same facts.

Facts travel as JSON beside the template and are never parsed as markup. Only typst's own fonts are used, so that a
sheet looks the same on every machine; characters they lack are shown as an empty square.
"""

import io
import json
import re
import subprocess
import sys
import threading
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import pikepdf
import segno
import typst

from mespieces.errors import Unavailable

_TEMPLATES = Path(__file__).with_name("typst")
_CHILD = Path(__file__).with_name("pdf_child.py")
_PRESSES = threading.BoundedSemaphore(2)  # the longest attestations take a processor and 250 MiB for a second
_PATIENCE = 20  # seconds to wait for a press
_LONGEST = 90  # seconds for one PDF
# What Libertinus Serif and DejaVu Sans Mono, embedded in typst, can draw: Latin, Greek, Cyrillic, Armenian, Hebrew, most
# of Arabic, punctuation, currencies; no combining mark. PDF/UA is refused for one missing glyph.
_DRAWN = re.compile(
    "[ -~\xa0-\xac\xae-\u02ff\u0370-\u0377\u037a-\u037f\u0384-\u038a\u038c\u038e-\u03a1\u03a3-\u0482\u048a-\u04ff\u0510-\u0513\u051a-\u051d"
    "\u0531-\u0556\u0559-\u058a\u05d0-\u05ea\u0621-\u063a\u0640-\u064a\u0660-\u066d\u067e"
    "\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f5f-\u1f7d\u1f80-\u1fb4\u2010-\u2027\u202f-\u2040"
    "\u2070\u2074-\u208e\u20a0-\u20c0\u2116\u2122\u2190-\u2199\u2212\u25a1]"
)
_WORD = 36
_SHRINK = (1.0, 0.94, 0.88, 0.82, 0.76, 0.7, 0.62, 0.54)


class PressBusy(Unavailable):
    """Every place to make long PDFs in has been taken for too long."""

    message = "Trop d’attestations sont en cours de préparation : réessayez dans quelques instants."


class NotComposed(Unavailable):
    """The PDF could not be made; nothing was recorded."""

    message = "L’attestation n’a pas pu être préparée, et rien n’a été enregistré : réessayez dans quelques instants."


@dataclass(frozen=True)
class AccessSheet:
    """What the sheet annexed to the act says (art. 3); `secret` stands nowhere else in clear."""

    public_url: str
    reference: str
    secret: str
    recipient: str
    representative: str | None
    creditor: str
    court: str
    order_number: str
    order_date: str
    office_reference: str
    documents: int
    available_until: str
    way: str
    office_name: str
    office_address: str
    office_phone: str
    office_email: str
    printed_at: str
    log: str
    size: int
    root: str
    issued_at: datetime


def access_sheet(facts: AccessSheet) -> bytes:
    """Return the one-page A4 sheet of a recipient's access, PDF/UA-1, dated `issued_at` (art. 3, ANSSI-PG-078).

    The QR code leads to the reference, never with the secret. Long names make the letters smaller, never a second page.
    """
    address = f"{facts.public_url.rstrip('/')}/?reference={facts.reference}"
    shown = asdict(facts) | {
        "title": "Consulter les documents produits contre vous",
        "representative": facts.representative or "",
        "count": "le document" if facts.documents == 1 else f"les {facts.documents} documents",
        "third_step": _third_step(facts),
        "address": re.sub(r"^https?://", "", facts.public_url.rstrip("/")),
        "root": grouped(facts.root),
        "size": f"{facts.size:,}".replace(",", "\u202f"),
        "qr": "",
    }
    shown = legible(shown) | {"secret": facts.secret, "reference": facts.reference, "qr": qr(address)}
    shown.pop("issued_at")
    for shrink in _SHRINK:
        sheet = _typeset("access_sheet", shown, shrink)
        if _pages(sheet) == 1:
            break
    return _pdf(sheet, "access_sheet", facts.issued_at)


def merge(parts: Iterable[bytes], *, title: str) -> bytes:
    """Return one PDF with the pages of all the parts, for printing: their tags are not carried over."""
    with pikepdf.new() as merged:
        for part in parts:
            with pikepdf.open(io.BytesIO(part)) as opened:
                merged.pages.extend(opened.pages)
        merged.docinfo["/Title"] = title
        merged.Root.Lang = pikepdf.String("fr")
        made = io.BytesIO()
        merged.save(made, object_stream_mode=pikepdf.ObjectStreamMode.generate)
    return made.getvalue()


def compose(template: str, facts: Mapping[str, Any], *, issued_at: datetime) -> bytes:
    """Return `typst/<template>.typ` filled with `facts`, dated `issued_at`; the text is made drawable first.

    It is PDF/UA-1, and an attestation PDF/A-3a as well (ISO 19005-3): it is kept for years.
    """
    return _pdf(_typeset(template, legible(dict(facts)), 1.0), template, issued_at)


def compose_apart(
    template: str, facts: Mapping[str, Any], *, issued_at: datetime, attached: Mapping[str, bytes] | None = None
) -> bytes:
    """Return the same as `compose`, made by a process that gives its memory back, two at a time: for what may be long.

    `template` is one of the attestations, PDF/A-3a and PDF/UA-1; it embeds the `attached` JSON files.

    Raises `PressBusy`, `NotComposed`.
    """
    asked = {
        "source": _source(template).decode(),
        "facts": legible(dict(facts)),
        "issued_at": int(issued_at.timestamp()),
        "attached": [{"name": name, "text": data.decode()} for name, data in (attached or {}).items()],
    }
    command = [sys.executable, "-I", "-B", str(_CHILD)]
    if not _PRESSES.acquire(timeout=_PATIENCE):
        raise PressBusy
    try:
        done = subprocess.run(
            command, input=json.dumps(asked).encode(), capture_output=True, check=True, timeout=_LONGEST
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise NotComposed from error
    finally:
        _PRESSES.release()
    if not done.stdout.startswith(b"%PDF-"):
        raise NotComposed
    return done.stdout


def legible(value: Any) -> Any:
    """Return text (or whatever holds some) that the embedded fonts can draw: other characters become "□".

    Direction marks, zero-width joiners and controls are dropped: they would let a name rewrite the line around it. Words
    that no line could hold may be broken.
    """
    if isinstance(value, dict):
        return {key: legible(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [legible(held) for held in value]
    if not isinstance(value, str):
        return value
    shown = []
    for character in unicodedata.normalize("NFC", value):
        category = unicodedata.category(character)
        if category in {"Cc", "Zl", "Zp"}:
            shown.append("\n" if character == "\n" else " ")
        elif _DRAWN.match(character):
            shown.append(character)
        elif category not in {"Cf", "Mn", "Me", "Sk"}:
            shown.append("□")
    words = re.sub(r"□{4,}", "□□□…", "".join(shown))
    return re.sub(rf"\S{{{_WORD},}}", _breakable, words)


def _breakable(word: re.Match[str]) -> str:
    long = word[0]
    return "\u200b".join(long[start : start + 12] for start in range(0, len(long), 12))


def _third_step(facts: AccessSheet) -> str:
    counter = f", au {facts.office_phone} ou à l’accueil" if facts.office_phone else ""
    return {
        "app": "Saisissez le code à six chiffres qu’affiche votre application d’authentification.",
        "email": "Un code à huit chiffres vous est envoyé par courriel : saisissez-le.",
        "office": f"Demandez un code à huit chiffres à l’étude{counter}, puis saisissez-le.",
    }.get(
        facts.way,
        "Choisissez comment recevoir un code à usage unique : par courriel, avec une application de votre téléphone, ou "
        "auprès de l’étude. Saisissez ce code : les documents s’affichent.",
    )


def grouped(hexadecimal: str) -> str:
    """Return a hash in groups of eight, which people can compare and copy."""
    return " ".join(hexadecimal[start : start + 8] for start in range(0, len(hexadecimal), 8))


def qr(address: str) -> str:
    """Return an address as a square to aim a telephone at, in SVG."""
    drawing = io.BytesIO()
    segno.make(address, error="m", micro=False).save(drawing, kind="svg", border=0, dark="#1b2430", xmldecl=False)
    return drawing.getvalue().decode()


@cache
def _fonts() -> typst.Fonts:
    return typst.Fonts(include_system_fonts=False)


@cache
def _source(template: str) -> bytes:
    shared = ["look", "attestation"] if template.endswith("_attestation") else ["look"]
    return b"".join((_TEMPLATES / f"{name}.typ").read_bytes() for name in [*shared, template])


def _typeset(template: str, facts: Mapping[str, Any], shrink: float) -> typst.Compiler:
    inputs = {"facts": json.dumps(facts, ensure_ascii=False), "shrink": str(shrink)}
    return typst.Compiler(_source(template), font_paths=_fonts(), ignore_system_fonts=True, sys_inputs=inputs)


def _pages(sheet: typst.Compiler) -> int:
    return int(sheet.query("<last-page>", field="value", one=True))


def _pdf(sheet: typst.Compiler, template: str, issued_at: datetime) -> bytes:
    # the source is given again: a compiler forgets one made of bytes after its first use
    made = sheet.compile(
        _source(template),
        format="pdf",
        pdf_standards=["a-3a", "ua-1"] if template.endswith("_attestation") else ["ua-1"],
        timestamp=int(issued_at.timestamp()),
    )
    if not isinstance(made, bytes):
        raise TypeError("a PDF is one piece")
    return made
