"""Documents (*pièces*): sealed while they arrive, read once to be sure a phone can show them, then never changed."""

from collections.abc import Sequence
from datetime import date
from types import TracebackType
from typing import Self
from uuid import UUID, uuid4

import peewee as pw

from mespieces import models
from mespieces.domain import deposits, french, journal, text
from mespieces.errors import Invalid, NotFound, Refusal, TooLarge, Unsupported
from mespieces.gateways import Gateways, preview
from mespieces.gateways.storage import Missing
from mespieces.gateways.vault import Corrupted, Plaintext
from mespieces.models import Deposit, Document, Member

MOST = 200  # documents of one deposit
PREVIEW_TRIES = 3

REFUSALS = (Invalid, TooLarge, Unsupported)
"""Families a file is refused by: said beside that file, the others going on."""

NATURES = {
    "facture": "Facture",
    "avoir": "Avoir",
    "contrat": "Contrat",
    "devis": "Devis ou bon de commande",
    "livraison": "Bon de livraison",
    "reconnaissance": "Reconnaissance de dette",
    "releve": "Relevé de compte",
    "mise-en-demeure": "Mise en demeure",
    "courrier": "Courrier",
    "autre": "Autre document",
}
"""What a document is, and the words for it; guessed from its file's name, corrected by the office."""

_ENDINGS: dict[str, tuple[str, ...]] = {kind: (ending,) for kind, ending in preview.MEDIA_TYPES.items()} | {
    "image/jpeg": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "image/tiff": (".tif", ".tiff"),
    "image/heic": (".heic", ".heif"),
}

_GUESSES = (
    ("mise-en-demeure", ("demeure", "mise_en", "relance")),
    ("facture", ("fact", "invoice", "ticket")),
    ("avoir", ("avoir",)),
    ("contrat", ("contrat", "bail", "cgv", "convention")),
    ("devis", ("devis", "commande")),
    ("livraison", ("livraison", "bl-", "bl_")),
    ("releve", ("releve", "relevé", "compte")),
    ("courrier", ("lettre", "courrier", "mail")),
)


class DocumentMissing(NotFound):
    """No such document for this caller."""


class DocumentTooLarge(TooLarge):
    """More bytes than the operator allows for one document."""

    message = "Ce fichier dépasse {limit} : réduisez la définition du scan, ou coupez-le en plusieurs pièces."


class UploadCut(Invalid):
    """Fewer bytes arrived than were announced: the connection was lost on the way."""

    field = "files"
    message = "L’envoi a été interrompu : ce fichier n’a pas été ajouté. Envoyez-le de nouveau."


class TooManyDocuments(Invalid):
    """More documents than one deposit takes."""

    field = "documents"
    message = "Ce dépôt compte déjà {most} pièces : réunissez-en plusieurs dans un même fichier."


class Arrival:
    """A document on its way in: written piece by piece, sealed as it comes, dropped unless `documents.add` takes it."""

    def __init__(self, gateways: Gateways) -> None:
        self.id = uuid4()
        self.wrapped_key = gateways.vault.new_key(str(self.id))
        self._limit = gateways.settings.max_document_bytes
        self._sealing = gateways.vault.seal(file_name(self.id), self.wrapped_key, str(self.id), str(self.id))
        self.size = 0

    def write(self, data: bytes) -> None:
        """Take some bytes. Raises `DocumentTooLarge` as soon as there are too many, `StorageUnavailable`."""
        self.size += len(data)
        if self.size > self._limit:
            self._sealing.abort()
            raise DocumentTooLarge(limit=size_in_words(self._limit))
        self._sealing.write(data)

    def commit(self) -> tuple[int, str]:
        """Store what arrived and return its size and fingerprint."""
        sealed = self._sealing.commit()
        return sealed.size, sealed.fingerprint

    def abort(self) -> None:
        """Drop what arrived; without effect once committed."""
        self._sealing.abort()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.abort()


def add(
    gateways: Gateways,
    deposit_id: UUID,
    arrival: Arrival,
    filename: str,
    *,
    by: journal.Author,
    member: Member | None = None,
) -> Document:
    """Take an arrived document into a draft, its fingerprint journaled (art. 4 and 6).

    Bytes are stored before the row; whatever is refused leaves neither. Raises `Unsupported`, `Invalid`,
    `DepositFiled`, `TooManyDocuments`, `StorageUnavailable`.
    """
    name = _file_name_of(filename)
    if not arrival.size:
        arrival.abort()
        raise preview.EmptyFile(filename=name)
    size, fingerprint = arrival.commit()
    try:
        with _open(gateways, arrival.id, arrival.wrapped_key) as plaintext:
            inspection = preview.inspect(plaintext, name)
        with models.write():
            deposit = deposits.draft(deposit_id)
            count = deposit.documents.count()
            if count >= MOST:
                raise TooManyDocuments(most=MOST)
            document = Document.create(
                id=arrival.id,
                deposit=deposit,
                number=count + 1,
                title=_title(name),
                nature=_guess(name),
                filename=_ending_as(name, inspection.media_type),
                media_type=inspection.media_type,
                size=size,
                pages=inspection.pages,
                fingerprint=fingerprint,
                notices=" ".join(inspection.notices),
                wrapped_key=arrival.wrapped_key,
                added_at=gateways.clock.now(),
                added_by=member,
            )
            journal.append(
                gateways,
                "document.deposited",
                author=by,
                document=document,
                detail={"filename": document.filename, "size": size},
            )
    except BaseException:
        gateways.vault.delete_all(folder(arrival.id))
        raise
    gateways.bell.ring("previews")
    return document


def describe(deposit_id: UUID, document_id: UUID, typed: dict[str, str], *, latest: date) -> Document:
    """Set the title, nature and date of a draft's document. Raises `DepositFiled`, `Invalid`."""
    title = text.line(typed.get("title"), "title")
    nature = typed.get("nature", "")
    if nature and nature not in NATURES:
        raise Invalid(field="nature")
    dated = text.day(typed.get("dated"), "dated", latest=latest, needed=False)
    with models.write():
        deposits.draft(deposit_id)
        document = _of(deposit_id, document_id)
        document.title, document.nature, document.dated = title, nature, dated
        document.save(only=[Document.title, Document.nature, Document.dated])
    return document


def arrange(deposit_id: UUID, document_id: UUID, position: int) -> None:
    """Put a draft's document at `position` (from 1), the others keeping their order. Raises `DepositFiled`."""
    with models.write():
        deposits.draft(deposit_id)
        moved = _of(deposit_id, document_id)
        order = [row.id for row in _ordered(deposit_id) if row.id != moved.id]
        order.insert(max(0, min(position - 1, len(order))), moved.id)
        _number(deposit_id, order)


def remove(gateways: Gateways, deposit_id: UUID, document_id: UUID, *, by: journal.Author) -> None:
    """Take a document out of a draft, with its key and bytes. Raises `DepositFiled`, `DocumentMissing`."""
    with models.write():
        deposits.draft(deposit_id)
        document = _of(deposit_id, document_id)
        journal.append(
            gateways, "document.withdrawn", author=by, document=document, detail={"filename": document.filename}
        )
        Document.delete().where(Document.id == document.id).execute()
        _number(deposit_id, [row.id for row in _ordered(deposit_id)])
    gateways.vault.delete_all(folder(document.id))


def listed(deposit: Deposit) -> list[Document]:
    """Return the deposit's documents in order."""
    return list(_ordered(deposit.id))


def find(deposit: Deposit, document_id: UUID) -> Document:
    """Return the deposit's document. Raises `DocumentMissing`."""
    return _of(deposit.id, document_id)


def numbered(deposit: Deposit, number: int) -> Document:
    """Return the deposit's document of that number. Raises `DocumentMissing`."""
    found = Document.get_or_none(Document.deposit == deposit, Document.number == number)
    if found is None:
        raise DocumentMissing
    return found


def open_file(gateways: Gateways, document: Document) -> Plaintext:
    """Open the document's bytes. Raises `Corrupted`, `KeyErased`, `Missing`."""
    return _open(gateways, document.id, document.wrapped_key)


def page(gateways: Gateways, document: Document, number: int) -> bytes:
    """Return one page as WebP, kept sealed like the document itself once drawn. Raises `PageMissing`."""
    if not 1 <= number <= document.pages:
        raise preview.PageMissing
    name, associated = _page_name(document.id, number), f"{document.id}/pages/{number}"
    kept = _kept(gateways, document, name, associated)
    if kept is not None:
        return kept
    with open_file(gateways, document) as plaintext:
        _, drawn = next(iter(preview.render(plaintext, document.media_type, [number])))
    gateways.vault.put(name, document.wrapped_key, str(document.id), associated, drawn)
    return drawn


def words(gateways: Gateways, document: Document) -> list[str]:
    """Return the text of each page, empty where the page is only an image; kept sealed once read."""
    name, associated = f"{folder(document.id)}/text", f"{document.id}/text"
    kept = _kept(gateways, document, name, associated)
    if kept is None:
        with open_file(gateways, document) as plaintext:
            kept = "\f".join(preview.text(plaintext, document.media_type)).encode()
        gateways.vault.put(name, document.wrapped_key, str(document.id), associated, kept)
    return kept.decode().split("\f")


def draw_pending(gateways: Gateways, *, most: int = 20) -> int:
    """Draw the previews of documents that have none yet and return how many documents were done."""
    done = 0
    query = (
        Document.select()
        .where(
            Document.previews_at.is_null(),
            Document.wrapped_key.is_null(False),
            Document.previews_tries < PREVIEW_TRIES,
        )
        .order_by(Document.added_at)
        .limit(most)
    )
    for document in list(query):
        with models.write():
            Document.update(previews_tries=Document.previews_tries + 1).where(Document.id == document.id).execute()
        try:
            _draw_all(gateways, document)
        except Refusal:
            continue  # drawn on demand, or refused there in words
        with models.write():
            Document.update(previews_at=gateways.clock.now()).where(Document.id == document.id).execute()
        done += 1
    return done


def folder(document_id: UUID) -> str:
    """Return the vault's name for everything that belongs to one document."""
    return f"{str(document_id)[:2]}/{document_id}"


def file_name(document_id: UUID) -> str:
    """Return the vault's name of the document's bytes."""
    return f"{folder(document_id)}/file"


def size_in_words(size: int) -> str:
    """Return a size as French writes it: « 12,4 Mo »."""
    for unit, step in (("Go", 2**30), ("Mo", 2**20), ("Ko", 2**10)):
        if size >= step:
            value = size / step
            shown = f"{value:.1f}".removesuffix(".0") if value < 100 else f"{value:.0f}"
            return f"{shown.replace('.', ',')}\u00a0{unit}"
    return french.counted(size, "octet")


def _open(gateways: Gateways, document_id: UUID, wrapped_key: bytes | None) -> Plaintext:
    return gateways.vault.open(file_name(document_id), wrapped_key, str(document_id), str(document_id))


def _page_name(document_id: UUID, number: int) -> str:
    return f"{folder(document_id)}/pages/{number}.webp"


def _kept(gateways: Gateways, document: Document, name: str, associated: str) -> bytes | None:
    """Return what was drawn before; a preview that cannot be read is drawn again from the document."""
    try:
        return gateways.vault.get(name, document.wrapped_key, str(document.id), associated)
    except (Missing, Corrupted):
        return None


def _draw_all(gateways: Gateways, document: Document) -> None:
    wanted = [
        number for number in range(1, document.pages + 1) if not gateways.vault.exists(_page_name(document.id, number))
    ]
    with open_file(gateways, document) as plaintext:
        for number, drawn in preview.render(plaintext, document.media_type, wanted) if wanted else ():
            gateways.vault.put(
                _page_name(document.id, number),
                document.wrapped_key,
                str(document.id),
                f"{document.id}/pages/{number}",
                drawn,
            )


def _ordered(deposit_id: UUID) -> Sequence[Document]:
    query: pw.ModelSelect = Document.select().where(Document.deposit == deposit_id).order_by(Document.number)
    return query


def _of(deposit_id: UUID, document_id: UUID) -> Document:
    found = Document.get_or_none(Document.id == document_id, Document.deposit == deposit_id)
    if found is None:
        raise DocumentMissing
    return found


def _number(deposit_id: UUID, order: list[UUID]) -> None:
    """Give the documents the numbers 1, 2, 3 … in two passes, for two may not bear one number even for an instant."""
    Document.update(number=Document.number * -1).where(Document.deposit == deposit_id).execute()
    cases = [(Document.id.db_value(document_id), number) for number, document_id in enumerate(order, 1)]
    if cases:
        Document.update(number=pw.Case(Document.id, cases)).where(Document.deposit == deposit_id).execute()


def _file_name_of(filename: str) -> str:
    """Return the last part of what the browser calls the file: one clean line without folders."""
    last = text.storable(filename).replace("\\", "/").rpartition("/")[2]
    try:
        clean = text.line(last, "files", most=10_000, needed=False)
    except text.TooLong:
        clean = ""
    stem, dot, extension = clean.rpartition(".")
    if dot and stem and len(extension) <= 10:
        return f"{stem[:150]}.{extension}"
    return clean[:160] or "document"


def _ending_as(name: str, media_type: str) -> str:
    """Return the name with an ending of its content: a PDF called « .hta » would run on the machine it is saved on."""
    if name.lower().endswith(_ENDINGS[media_type]):
        return name
    return name.rstrip(". ") + preview.MEDIA_TYPES[media_type]


def _title(name: str) -> str:
    stem = name.rpartition(".")[0] or name
    title = " ".join(stem.replace("_", " ").split())
    return (title[:1].upper() + title[1:])[: text.LONGEST_LINE] or "Document"


def _guess(name: str) -> str:
    lowered = name.lower()
    return next((nature for nature, marks in _GUESSES if any(mark in lowered for mark in marks)), "")
