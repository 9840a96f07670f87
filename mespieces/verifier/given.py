"""The receipts a person gives: JSON files, or the PDF attestations that carry them, each verified by itself."""

import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal, NamedTuple

from mespieces.verifier import audit, dossier, issued, note, receipt, timestamp, tokens
from mespieces.verifier.faults import Fault
from mespieces.verifier.findings import Code, Finding

LARGEST = 64 * 1024 * 1024  # bytes
Token = Literal["absent", "unchecked", "verified", "unvouched", "refused"]
_UNCHECKED: Token = "unchecked"
_VERIFIED: Token = "verified"
_UNVOUCHED: Token = "unvouched"
_REFUSED: Token = "refused"


_NO_ROOT = ", d’une autorité dont la racine n’est pas donnée"


class NothingCarried(Fault):
    """A folder without any receipt."""


class Given(NamedTuple):
    """A receipt as it was verified: where it was found, what it proves, and the certain date of its checkpoint."""

    name: str
    verdict: receipt.Verdict
    token: Token
    stated: timestamp.Stated | None = None
    token_sha256: str = ""
    wanting: str = ""
    """The origin of its journal, when no given key is that journal's: nothing is then known of its signature."""
    renamed: bool = False
    """Whether it is a given key that has signed it, under the name of another journal."""


class Examined(NamedTuple):
    """All that was given: the receipts, and the PDFs by themselves, whether or not they carried any."""

    receipts: list[Given]
    pdfs: list[issued.Pdf]


class _File(NamedTuple):
    """A file to be read: whether it came in a folder, and the SHA-256 that a dossier's list announces under its name."""

    path: Path
    of_folder: bool = False
    announced: str = ""


def examine(paths: Sequence[Path], trust: audit.Trust) -> Examined:
    """Verify every receipt of these files, and of the files of these folders. Raises `Fault` for what is none, `OSError`.

    Two receipts under checkpoints of one size and two roots are of two histories: the later is then at fault.
    """
    found = Examined([], [])
    roots: dict[tuple[str, int], bytes] = {}
    for file in (one for path in paths for one in _files(path)):
        for name, data in _held(file, found.pdfs):
            given = _verified(name, _parsed(name, data), trust)
            seen = given.verdict.checkpoint
            if seen and roots.setdefault((seen.origin, seen.size), seen.root) != seen.root:
                given = _void(given, Code.CHECKPOINT_MISMATCH)
            found.receipts.append(given)
    return found


def _parsed(name: str, data: bytes) -> receipt.Receipt:
    try:
        return receipt.parse(data)
    except receipt.ReceiptRefused as error:
        raise Fault(
            f"« {name} » n’est pas un reçu : donnez-le tel que vous l’avez téléchargé, sans le changer"
        ) from error


def look(search: issued.Search, receipts: Sequence[Given]) -> None:
    """Look for the PDFs in receipts: that of a handing over proves it without any export."""
    for verdict in (one.verdict for one in receipts):
        if verdict.facts and verdict.header and verdict.header.operation == issued.ISSUED:
            search.look(verdict.header, verdict.facts)


def compared(receipts: Sequence[Given], named: tokens.Named) -> list[Given]:
    """Return the receipts, void those whose token is not, to the byte, one that the journal named for their checkpoint."""
    return [_compared(one, named) for one in receipts]


def _compared(one: Given, named: tokens.Named) -> Given:
    seen = one.verdict.checkpoint
    if one.token not in {_UNCHECKED, _VERIFIED, _UNVOUCHED}:
        return one
    hashes = named.get((seen.origin.rpartition("/")[2], seen.size), set()) if seen else set()
    if hashes and one.token_sha256 not in hashes:
        return _void(one._replace(token=_REFUSED, stated=None), Code.BAD_TIMESTAMP)
    # Neither a root nor a journal says anything of it: it may be anybody's.
    return _void(one, Code.BAD_TIMESTAMP, _NO_ROOT) if one.token == _UNVOUCHED and not hashes else one


def _files(path: Path) -> Iterator[_File]:
    """Give the file, or the receipts and PDFs of a folder and of all those in it. Raises `NothingCarried` for one without any.

    What a file manager leaves beside them, with a name that begins with a dot, is none.
    """
    if not path.is_dir():
        yield _File(path)
        return
    shown = (one for one in path.rglob("*") if not any(part.startswith(".") for part in one.relative_to(path).parts))
    found = sorted(one for one in shown if one.suffix.lower() in {".json", ".pdf"} and one.is_file())
    if not found:
        raise NothingCarried(f"aucun reçu dans le dossier « {path.resolve().name} »")
    announced = dossier.announced(path)
    for one in found:
        yield _File(one, True, announced.get(dossier.spelled(one.relative_to(path).as_posix()), ""))


def _held(file: _File, pdfs: list[issued.Pdf]) -> Iterator[tuple[str, bytes]]:
    path = file.path
    with path.open("rb") as stream:
        data = stream.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise Fault(f"« {path.name} » est trop grand pour être un reçu ou une attestation")
    if data.startswith(b"PK"):
        raise Fault(f"« {path.name} » est une archive : décompressez-la, et donnez le dossier")
    if b"%PDF-" not in data[:1024] and not file.announced:
        yield path.name, data
        return
    carried, made = _read_pdf(file, data)
    digest = hashlib.sha256(data).hexdigest()
    pdfs.append(issued.Pdf(path.name, digest, made, not carried, file.of_folder, file.announced))
    for name, text in carried.items():
        yield f"{path.name}, {name}", text


def _read_pdf(file: _File, data: bytes) -> tuple[dict[str, bytes], datetime | None]:
    """Return the receipts in a PDF, and when it says that it was made. Raises `Fault`.

    In one that is announced nothing needs to be read: its bytes tell whether it is what was issued.
    """
    # Reading PDFs takes a library that no JSON receipt needs.
    from mespieces.verifier import attached

    try:
        return attached.receipts(data), attached.made(data)
    except attached.PdfRefused as error:
        if file.announced:
            return {}, None
        if isinstance(error, attached.PdfLocked):
            words = "est protégé par un mot de passe : donnez le PDF tel qu’il a été remis, sans le protéger"
        else:
            words = "n’est pas un PDF qui puisse être lu"
        raise Fault(f"« {file.path.name} » {words}") from error


def _verified(name: str, read: receipt.Receipt, trust: audit.Trust) -> Given:
    given = _signed(name, read, trust.keys)
    if read.timestamp is None:
        return given
    given = given._replace(token=_UNCHECKED, token_sha256=hashlib.sha256(read.timestamp).hexdigest())
    if not trust.roots:
        return given
    try:
        stated = receipt.date(read, trust.roots)
    except timestamp.AnotherAuthority:
        return given._replace(token=_UNVOUCHED)
    except timestamp.TokenRefused:
        return _void(given._replace(token=_REFUSED), Code.BAD_TIMESTAMP)
    return given._replace(token=_VERIFIED, stated=stated)


def _signed(name: str, read: receipt.Receipt, keys: Sequence[note.Verifier]) -> Given:
    """Verify all but the token. What no given key can have signed is not wrong, only unknown, and proves nothing."""
    signed = read.tlog_proof.partition("\n\n")[2].encode(errors="replace")
    origin = note.stranger(signed, keys)
    known = note.under(origin, keys)
    verdict = receipt.verify(read, known)
    if not origin or note.names(signed, known):
        return Given(name, verdict, "absent", renamed=bool(origin))
    found = [one for one in verdict.findings if one.code != Code.BAD_SIGNATURE]
    return Given(name, verdict._replace(findings=found), "absent", wanting=origin)


def _void(given: Given, code: Code, about: str = "") -> Given:
    header = given.verdict.header
    finding = Finding(code, header.sequence if header else 0, header.log if header else "", given.name + about)
    verdict = given.verdict._replace(facts={}, findings=[*given.verdict.findings, finding])
    return given._replace(verdict=verdict)


def is_wrong(given: Given, finding: Finding) -> bool:
    """Tell whether a finding on a receipt accuses it. That of a token whose authority no given root vouches for does not."""
    return given.token != _UNVOUCHED or finding.code != Code.BAD_TIMESTAMP


def checkpoints(given: Sequence[Given]) -> list[note.Checkpoint]:
    """Return the checkpoints that receipts rightly stand under."""
    return [one.verdict.checkpoint for one in given if one.verdict.checkpoint]
