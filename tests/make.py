"""What tests need to stand before they begin: offices, deposits, accesses, sessions, each made by the product itself."""

import dataclasses
import io
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any
from uuid import UUID

import nursery
import pikepdf
import pyotp

from mespieces import models
from mespieces.domain import (
    accesses,
    deposits,
    documents,
    identification,
    journal,
    offices,
    one_time_codes,
    purges,
    recipients,
    sessions,
    sign_ins,
    ways,
)
from mespieces.gateways import Gateways, preview
from mespieces.models import (
    Access,
    Deposit,
    Document,
    JournalPayload,
    JournalRecord,
    Member,
    Office,
    Recipient,
    Session,
)

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
"""Where the clock of tests stands: a Tuesday, 11:00 in Paris."""

PASSWORD = "corbeau vallée trottoir 9"
TRACE = journal.Trace("198.51.100.7", "Téléphone")
CASE = {
    "creditor": "Au bon moulin",
    "court": "Tribunal judiciaire de Nantes",
    "order_number": "2026-1187",
    "order_date": "2026-11-04",
    "office_reference": "NTE-4821",
}


@cache
def pdf(words: str = "Facture 12") -> bytes:
    """Return a real PDF of one small page that says `words`."""
    with pikepdf.new() as document:
        page = document.add_blank_page(page_size=(200, 280))
        font = pikepdf.Dictionary(Type=pikepdf.Name.Font, Subtype=pikepdf.Name.Type1, BaseFont=pikepdf.Name.Helvetica)
        page.obj.Resources = pikepdf.Dictionary(Font=pikepdf.Dictionary(F1=font))
        page.obj.Contents = document.make_stream(f"BT /F1 12 Tf 20 200 Td ({words}) Tj ET".encode())
        written = io.BytesIO()
        document.save(written)
        return written.getvalue()


_INSPECTED: dict[bytes, preview.Inspection] = {}
_inspect = preview.inspect


def inspected(source: preview.Source, filename: str) -> preview.Inspection:
    """Inspect a document as the product does; small bytes that it accepted once in this run are not parsed again.

    The child program that parses them takes longer than all the rest of a test.
    """
    if source.size > 4096:
        return _inspect(source, filename)
    data = source.read_at(0, source.size)
    if data not in _INSPECTED:
        _INSPECTED[data] = _inspect(source, filename)
    return _INSPECTED[data]


# Who and what


def office(gateways: Gateways, name: str = "", **facts: str) -> Office:
    """Add an office, under a name of its own unless one is given."""
    count = Office.select().count()
    name = name or f"SCP Lefèvre & Marchand{f' {count + 1}' if count else ''}"
    usual = {"address": "14 rue des Carmes\n44000 Nantes", "phone": "02 40 00 00 00", "email": "etude@example.fr"}
    return offices.add(gateways, name=name, **{**usual, **facts})


def member(gateways: Gateways, of: Office | None = None, *, role: str = "commissaire", email: str = "") -> Member:
    """Add a member, who has not signed in yet."""
    of = of or office(gateways)
    email = email or f"membre{Member.select().count()}@example.fr"
    return offices.add_member(
        gateways, of, name="Camille Marchand", email=email, role=role, password=PASSWORD, by=journal.OPERATOR
    )


def draft(gateways: Gateways, of: Office | None = None, **typed: str) -> Deposit:
    """Open a draft without documents or recipients."""
    case = deposits.read_case(CASE | typed, today=gateways.clock.now().date())
    return deposits.open_draft(gateways, case, office=of or office(gateways), by=journal.OPERATOR, member=None)


def document(
    gateways: Gateways, deposit: Deposit, data: bytes | None = None, filename: str = "Facture 12.pdf"
) -> Document:
    """Add a document to a draft."""
    with documents.Arrival(gateways) as arrival:
        arrival.write(pdf() if data is None else data)
        return documents.add(gateways, deposit.id, arrival, filename, by=journal.OPERATOR)


def blank(deposit: Deposit, count: int) -> None:
    """Add documents without bytes to a draft: quick, where only their rows matter."""
    for number in range(1, count + 1):
        Document.create(
            deposit=deposit, number=number, title=f"Pièce {number}", filename="x.pdf", media_type="application/pdf",
            size=1, pages=1, fingerprint="0" * 64, wrapped_key=b"x", added_at=NOW,
        )  # fmt: skip


def recipient(gateways: Gateways, deposit: Deposit, name: str = "Alexandre Payet", **typed: str) -> Recipient:
    """Add a recipient."""
    return recipients.add(gateways, deposit.id, recipients.read({"name": name, **typed}), by=journal.OPERATOR)


def filed(
    gateways: Gateways,
    of: Office | None = None,
    *,
    documents: int = 1,
    recipients: Sequence[str] = ("Alexandre Payet",),
    blanks: int = 0,
    **typed: str,
) -> Deposit:
    """File a deposit with real documents, or only `blanks`."""
    deposit = draft(gateways, of, **typed)
    blank(deposit, blanks)
    for number in range(0 if blanks else documents):
        document(gateways, deposit, filename=f"Facture {number + 1}.pdf")
    for name in recipients:
        recipient(gateways, deposit, name)
    return deposits.file(gateways, deposit.id, by=journal.OPERATOR)


def first(deposit: Deposit) -> Recipient:
    """Return the deposit's first recipient."""
    return deposit.recipients.order_by(Recipient.added_at, Recipient.name).get()


def forgotten(gateways: Gateways, deposit: Deposit) -> None:
    """Have the journal announce and erase all that it says of a deposit, without waiting for the term."""
    purges._of_deposit(gateways, deposit)


# Accesses and sessions


def issued(gateways: Gateways, who: Recipient, motive: str = "") -> tuple[Access, str]:
    """Print an access sheet: return the access and the secret."""
    return accesses.issue(gateways, who, by=journal.OPERATOR, motive=motive)


def begun(gateways: Gateways, who: Recipient, motive: str = "") -> identification.Begun:
    """Have the recipient prove a fresh secret."""
    access, secret = issued(gateways, who, motive)
    begun = identification.begin(gateways, access.reference, secret, TRACE)
    assert isinstance(begun, identification.Begun), begun
    return begun


def waiting(gateways: Gateways, who: Recipient, way: str) -> tuple[str, str]:
    """Bring the recipient to the code step by `way`: return the sign-in's token and the right code."""
    token = begun(gateways, who).token
    ways.choose(gateways, token, way, "payet@example.fr" if way == "email" else "")
    return token, awaited(gateways, token)


def awaited(gateways: Gateways, token: str) -> str:
    """Have a code made for a sign-in, as its way has it, and return the code."""
    sign_in = sign_ins.find(gateways, token)
    if sign_in.way == "app":
        return application(gateways, token).at(gateways.clock.now())
    if sign_in.way == "email":
        return one_time_codes.code(gateways, one_time_codes.send(gateways, token))
    teller = Member.select().first() or member(gateways, sign_in.access.recipient.deposit.office)
    return one_time_codes.tell(gateways, sign_in.access.recipient, "Au téléphone", by=teller, trace=TRACE)


def application(gateways: Gateways, token: str) -> pyotp.TOTP:
    """Return the recipient's application, enrolled by the sign-in."""
    shown = ways.enrolment(gateways, sign_ins.find(gateways, token))
    assert shown is not None
    return pyotp.TOTP(shown.key)


def identified(gateways: Gateways, who: Recipient, way: str = "email") -> Session:
    """Have the recipient identify themselves by `way` and return their session."""
    if way == "act":
        Recipient.update(second_step_waived_because="Sans téléphone").where(Recipient.id == who.id).execute()
        token = identification.act_alone(gateways, begun(gateways, who).token, TRACE)
    else:
        sign_in, code = waiting(gateways, who, way)
        token = identification.confirm(gateways, sign_in, code, TRACE)
    assert isinstance(token, str), token
    session = sessions.of_recipient(gateways, token)
    assert session is not None
    return session


# What was recorded


def operations(deposit: UUID | None = None) -> list[str]:
    """Return the journal's operations in order, of one deposit or of everything."""
    query = JournalRecord.select(JournalRecord.operation).order_by(JournalRecord.sequence)
    if deposit is not None:
        query = query.join(
            JournalPayload,
            on=(
                (JournalPayload.log == JournalRecord.log)
                & (JournalPayload.sequence == JournalRecord.sequence)
                & (JournalPayload.group == "proof")
            ),
        ).where(JournalPayload.deposit == deposit)
    return [row.operation for row in query]


def count(operation: str) -> int:
    """Return how many records of that operation stand in the journal."""
    return operations().count(operation)


def everything() -> str:
    """Return all that all tables hold, as one text."""
    rows = [row for table in models.TABLES for row in table.select().tuples()]
    return "\n".join(
        bytes(value).decode("utf-8", "replace") if isinstance(value, bytes | memoryview) else str(value)
        for row in rows
        for value in row
    )


# At once


def threads(count: int, work: Callable[[], Any]) -> list[Any]:
    """Run `work` in several threads at once, each on a connection of its own, and return what each returned or raised."""
    results: list[Any] = []
    together = threading.Barrier(count)

    def run() -> None:
        together.wait()
        with models.database.connection_context():
            try:
                results.append(work())
            except Exception as error:  # noqa: BLE001 — the test looks at it
                results.append(error)

    started = [threading.Thread(target=run) for _ in range(count)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
    return results


class _Pausing:
    """A clock that, the `at`-th time it is asked, says so and lets a while go by."""

    def __init__(self, clock: Any, at: int) -> None:
        self._clock, self._left = clock, at
        self.reached = threading.Event()

    def now(self) -> datetime:
        self._left -= 1
        if self._left == 0:
            self.reached.set()
            time.sleep(0.4)
        return self._clock.now()


def amid(
    gateways: Gateways, work: Callable[[Gateways], Any], other: Callable[[], Any], *, asked: int
) -> tuple[Any, Any]:
    """Run `other` while `work` is half-way, as it asks for the time the `asked`-th time; return what each gave or raised.

    `work` holds by then the locks it took; `other` arrives at its own before `work` goes on.
    """
    clock = _Pausing(gateways.clock, asked)
    seen = dataclasses.replace(gateways, clock=clock)  # type: ignore[arg-type]
    given: dict[bool, Any] = {}
    first = iter((True, False))
    turn = threading.Lock()

    def run() -> None:
        with turn:
            leading = next(first)
        if not leading:
            assert clock.reached.wait(20)
        try:
            given[leading] = work(seen) if leading else other()
        except Exception as error:  # noqa: BLE001 — the test looks at it
            given[leading] = error

    threads(2, run)
    assert clock.reached.is_set()
    return given[True], given[False]


MULTIPART = "multipart/form-data; boundary=limite"


def multipart(fields: dict[str, str], name: str, data: bytes) -> bytes:
    """Return a form with one file as its body: the test client would spool a large one to a disk."""
    parts = [f'Content-Disposition: form-data; name="{key}"\r\n\r\n{value}'.encode() for key, value in fields.items()]
    parts.append(f'Content-Disposition: form-data; name="{name}"; filename="x.pdf"\r\n\r\n'.encode() + data)
    return b"".join(b"--limite\r\n" + part + b"\r\n" for part in parts) + b"--limite--\r\n"


def processes(gateways: Gateways, count: int, script: str, *arguments: str) -> list[str]:
    """Run `script` in several processes at once and return what each printed.

    It is given `gateways`, `arguments`, and its `place` among them, from 0.
    """
    settings = gateways.settings
    environment = {
        "MESPIECES_DATA": str(settings.data),
        "MESPIECES_DATABASE_URL": settings.database_url,
        "MESPIECES_STORAGE_URL": "memory:",
        "MESPIECES_MAIL_URL": "memory:",
        "MESPIECES_PUBLIC_URL": settings.public_url,
    }
    return nursery.run(environment, gateways.clock.now(), count, script, arguments)
