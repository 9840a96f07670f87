"""Whether a PDF that somebody holds is one that a journal issued: its SHA-256 stands in an `attestation.issued` record."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from mespieces.verifier import record

ISSUED = "attestation.issued"
_COMPOSED = timedelta(hours=1)
"""At most so long after the hour that a PDF bears is it journaled: those of one archive are composed first."""

State = Literal["issued", "altered", "foreign", "later", "hidden", "unconfirmed", "unsought", "bare"]


class Pdf(NamedTuple):
    """A PDF that was given: its name, the SHA-256 of its bytes, when it says that it was made, which nothing proves.

    A `bare` one carries no receipt: nothing else can be said of it. One of a folder was given with the receipts in it, and may have
    been `announced` there: the SHA-256 that the list of a dossier gives of the PDF of this name.
    """

    name: str
    sha256: str
    made: datetime | None
    bare: bool = False
    of_folder: bool = False
    announced: str = ""


class Issue(NamedTuple):
    """The record of a PDF's handing over."""

    log: str
    sequence: int
    time: str


class Search:
    """Looks for some PDFs among the records that go by; holds no more than there are PDFs."""

    def __init__(self, pdfs: Iterable[Pdf]) -> None:
        self.pdfs = list(pdfs)
        self.found: dict[str, Issue] = {}
        """By the PDF's SHA-256, the first record of its handing over."""
        self.seen = False
        """Whether the handing over of a PDF, of these or of others, could be read."""
        self.hidden = 0
        """Records of this kind that cannot be read: each may be of any PDF."""
        self._wanted = {digest for pdf in self.pdfs for digest in (pdf.sha256, pdf.announced) if digest}

    def look(self, header: record.Header, facts: Any) -> None:
        """Look at one `attestation.issued` record; its facts are None when they are purged, withheld, or not those sealed."""
        match facts:
            case {"detail": {"fingerprint": str(sha256)}}:
                self.seen = True
                if sha256 in self._wanted:
                    self.found.setdefault(sha256, Issue(header.log, header.sequence, header.time))
            case _:
                self.hidden += 1

    def judge(self, pdf: Pdf, ends: str, *, whole: bool) -> State:
        """Say what a PDF is to the export that ends at the header time `ends`, "" without any.

        In one that is not `whole`, or hides a record of this kind, nothing is concluded from an absence; nor when the PDF
        says that it was made since: whoever changes what it says only makes it one that nothing proves.
        """
        if pdf.sha256 in self.found:
            return "issued"
        if pdf.announced in self.found:
            return "altered"
        if not ends:
            if pdf.of_folder and self.seen:
                return "unconfirmed"
            return "bare" if pdf.bare else "unsought"
        if self.hidden or not whole:
            return "hidden"
        return "later" if pdf.made and pdf.made > record.parse_time(ends) - _COMPOSED else "foreign"
