"""What a campaign of crashes cuts: a document sent, a deposit filed, a document read, documents destroyed, a code sent."""

import dataclasses
import http.client
import io
import os
import random
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from functools import cache
from urllib.parse import urlencode
from uuid import uuid4

import make
import pikepdf
import servers
from crashes import Attempt, Product, kill_group, until

from mespieces import models
from mespieces.domain import accesses, consultations, documents, notices, one_time_codes, outbox, sessions
from mespieces.gateways.clock import ManualClock
from mespieces.models import (
    Access,
    Consultation,
    Delivery,
    Deposit,
    Document,
    Member,
    Message,
    Recipient,
    SignIn,
)

LARGE = 6 << 20
FORM = "application/x-www-form-urlencoded"


def upload(product: Product, _mailbox: servers.Mailbox, who: Member, _drawn: random.Random | None) -> Attempt:
    """A clerk sends a document of 2 MB over a slow line."""
    deposit = draft(product, who)
    at, data = f"/etude/depots/{deposit.id}/pieces", large_pdf()
    headers = product.clerk(who, at) | {"X-Filename": "Facture.pdf", "Content-Length": str(len(data))}

    def slowly() -> Iterator[bytes]:
        for start in range(0, len(data), 128 << 10):
            yield data[start : start + (128 << 10)]
            time.sleep(0.02)

    def faults(done: bool) -> Iterator[str]:
        kept, recorded = deposit.documents.count(), make.operations(deposit.id).count("document.deposited")
        if kept != recorded or kept > 1:
            yield f"{kept} documents for {recorded} records"
        if done and not kept:
            yield "a document was said to be taken and is not there"

    return Attempt(lambda: product.ask("POST", at, slowly(), headers)[0] == 303, faults)


def filing(product: Product, _mailbox: servers.Mailbox, who: Member, _drawn: random.Random | None) -> Attempt:
    """A clerk files a deposit of two documents for three recipients."""
    deposit, names = draft(product, who, count=2), ("A. Payet", "B. Payet", "C. Payet")
    for name in names:
        make.recipient(product.gateways, deposit, name)
    headers = product.clerk(who, f"/etude/depots/{deposit.id}/verification")

    def faults(done: bool) -> Iterator[str]:
        recorded = make.operations(deposit.id)
        filed = int(Deposit.get_by_id(deposit.id).filed_at is not None)
        given = Access.select().join(Recipient).where(Recipient.deposit == deposit).count()
        if (recorded.count("deposit.filed"), recorded.count("recipient.added"), given) != (filed, 3 * filed, 3 * filed):
            yield f"filed {filed} times, with {recorded} and {given} accesses"
        if done and not filed:
            yield "a deposit was said to be filed and is a draft"

    return Attempt(lambda: product.ask("POST", f"/etude/depots/{deposit.id}/deposer", b"", headers)[0] == 303, faults)


def download(product: Product, _mailbox: servers.Mailbox, who: Member, _drawn: random.Random | None) -> Attempt:
    """A recipient downloads a document of 6 MB over a slow line."""
    deposit = filed(product, who, [LARGE])
    with models.write():
        token = sessions.start(product.gateways.clock.now(), way="act", access=accesses.of(make.first(deposit)))
    received = 0

    def act() -> bool:
        nonlocal received
        with closing(http.client.HTTPConnection("127.0.0.1", product.port, timeout=30)) as connection:
            connection.connect()
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
            connection.request("GET", "/pieces/1/fichier", headers={"Cookie": f"acces={token}"})
            answer = connection.getresponse()
            while piece := answer.read(256 << 10):
                received += len(piece)
                time.sleep(0.02)
        return received == LARGE

    def faults(_done: bool) -> Iterator[str]:
        consultations.sweep(product.gateways, older_than=timedelta())
        recorded = make.operations(deposit.id)
        opened = Consultation.select().join(Document).where(Document.deposit == deposit).count()
        deliveries = Delivery.select().join(Consultation).join(Document).where(Document.deposit == deposit)
        ends = [operation for operation in recorded if operation in {"document.delivered", "document.interrupted"}]
        if recorded.count("document.consulted") != opened or (received and not opened):
            yield f"{received} bytes were served with {opened} consultations and {recorded}"
        if (
            (received and not ends)
            or len(ends) != deliveries.count()
            or deliveries.where(Delivery.outcome == "").exists()
        ):
            yield f"{received} bytes were served, and it ended as {ends}"
        if 0 < received < LARGE and ends == ["document.delivered"]:
            yield "a delivery that was cut is recorded as whole"

    return Attempt(act, faults)


def deletion(product: Product, mailbox: servers.Mailbox, who: Member, drawn: random.Random | None) -> Attempt:
    """Documents are destroyed: those of a deposit that ended, by command, or one of a draft, by its office."""
    return (removal if drawn and drawn.random() < 0.3 else expiry)(product, mailbox, who, drawn)


def expiry(product: Product, _mailbox: servers.Mailbox, who: Member, drawn: random.Random | None) -> Attempt:
    """The operator's command ends a deposit; it is killed once a drawn number of its documents is gone."""
    deposit = filed(product, who, [1000] * 20)
    Deposit.update(expires_at=product.gateways.clock.now()).where(Deposit.id == deposit.id).execute()
    kept = list(deposit.documents)
    keys = [bytes(document.wrapped_key) for document in kept]
    folders = [product.storage / documents.folder(document.id) for document in kept]
    gone, late = (drawn.randint(0, len(folders)), drawn.uniform(0, 0.01)) if drawn else (len(folders) + 1, 0)

    def act() -> bool:
        process = product.run("expire")
        until(lambda: process.poll() is not None or sum(not folder.exists() for folder in folders) >= gone)
        time.sleep(late)
        ended = process.poll()
        kill_group(process)
        return ended == 0

    def faults(done: bool) -> Iterator[str]:
        if product.run("expire").wait(30) != 0:
            yield "the command fails when it is run again"
        recorded = make.operations(deposit.id)
        if recorded.count("document.deleted") != len(kept) or recorded.count("deposit.expired") != 1:
            yield f"{len(kept)} documents were destroyed, and the journal says {recorded}"
        if deposit.documents.where(Document.wrapped_key.is_null(False) | Document.deleted_at.is_null()).exists():
            yield "a key or a document is left"
        if any(folder.exists() for folder in folders):
            yield "bytes are left"
        raw = product.database_bytes()
        if any(key in raw for key in keys):
            yield "an erased key can still be read in the database's files"

    return Attempt(act, faults)


def removal(product: Product, _mailbox: servers.Mailbox, who: Member, _drawn: random.Random | None) -> Attempt:
    """A clerk takes a document out of a draft."""
    deposit = draft(product, who, count=2)
    document = deposit.documents.order_by(Document.number).first()
    headers = product.clerk(who, f"/etude/depots/{deposit.id}/pieces")
    at = f"/etude/depots/{deposit.id}/pieces/{document.id}/retirer"

    def faults(done: bool) -> Iterator[str]:
        left, recorded = deposit.documents.count(), make.operations(deposit.id).count("document.withdrawn")
        if left + recorded != 2 or (done and left != 1):
            yield f"{left} documents are left of 2, with {recorded} records"

    return Attempt(lambda: product.ask("POST", at, b"", headers)[0] == 303, faults)


def code(product: Product, mailbox: servers.Mailbox, who: Member, _drawn: random.Random | None) -> Attempt:
    """A recipient asks for a code by e-mail."""
    recipient = make.first(filed(product, who, [1000]))
    begun, address = make.begun(product.gateways, recipient), f"{uuid4().hex}@example.fr"
    headers = product.browser(f"identification={begun.token}", "/consulter/canal") | {"Content-Type": FORM}

    def mails() -> list[str]:
        return [message.get_content() for message in mailbox.messages if message["To"] == address]

    def act() -> bool:
        asked = urlencode({"channel": "email", "email": address})
        answered = product.ask("POST", "/consulter/canal", asked, headers)[0] == 303
        return answered and until(lambda: bool(mails()) or product.process is None) and bool(mails())

    def faults(done: bool) -> Iterator[str]:
        issued = make.operations(recipient.deposit_id).count("code.issued")
        until(lambda: not _due(product))
        _drain_later(product)
        came = mails()
        if issued > 1 or not issued <= len(came) <= 2 * issued:
            yield f"{issued} codes were issued and {len(came)} mails came"
        sign_in = SignIn.get(SignIn.access == accesses.of(recipient))
        right = one_time_codes.code(product.gateways, sign_in) if issued else ""
        if not all(f"{right[:4]} {right[4:]}" in text for text in came):
            yield "a mail carries another code than the one awaited"

    return Attempt(act, faults)


KINDS: dict[str, Callable[[Product, servers.Mailbox, Member, random.Random | None], Attempt]] = {
    "upload": upload,
    "filing": filing,
    "download": download,
    "deletion": deletion,
    "code": code,
}


# What was there before


@cache
def large_pdf() -> bytes:
    """Return a PDF of one page beside a stream of 2 MB."""
    with pikepdf.open(io.BytesIO(make.pdf())) as document:
        document.Root.Beside = document.make_stream(os.urandom(2 << 20))
        written = io.BytesIO()
        document.save(written)
        return written.getvalue()


def draft(product: Product, who: Member, *, count: int = 0) -> Deposit:
    """Open a draft with `count` small documents."""
    deposit = make.draft(product.gateways, who.office, order_date="2026-01-05")
    for number in range(1, count + 1):
        _put(product, deposit, number, 1000)
    return deposit


def filed(product: Product, who: Member, sizes: list[int]) -> Deposit:
    """File a deposit of documents of these sizes, for one recipient."""
    deposit = draft(product, who)
    for number, size in enumerate(sizes, 1):
        _put(product, deposit, number, size)
    make.recipient(product.gateways, deposit)
    return make.deposits.file(product.gateways, deposit.id, by=make.journal.OPERATOR)


def _put(product: Product, deposit: Deposit, number: int, size: int) -> None:
    """Store a document and a page of it, without reading what it is: many are needed, quickly."""
    vault, named = product.gateways.vault, uuid4()
    key, owner = vault.new_key(str(named)), str(named)
    sealed = vault.put(documents.file_name(named), key, owner, owner, os.urandom(size))
    vault.put(f"{documents.folder(named)}/pages/1.webp", key, owner, f"{owner}/pages/1", b"page")
    now = product.gateways.clock.now()
    Document.create(
        id=named, deposit=deposit, number=number, title=f"Pièce {number}", filename="Facture.pdf", size=size, pages=1,
        media_type="application/pdf", fingerprint=sealed.fingerprint, wrapped_key=key, added_at=now, previews_at=now,
    )  # fmt: skip


def _due(product: Product) -> bool:
    waiting = Message.sent_at.is_null() & Message.given_up_at.is_null()
    return bool(Message.select().where(waiting, Message.due_at <= product.gateways.clock.now()).exists())


def _drain_later(product: Product) -> None:
    """Send what the killed worker had begun to send, at the time when it is due again."""
    later = product.gateways.clock.now() + timedelta(minutes=6)
    outbox.drain(dataclasses.replace(product.gateways, clock=ManualClock(later)), notices.compose)
