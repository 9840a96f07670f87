"""The product killed while several recipients download at once: every byte received belongs to a journaled consultation."""

import contextlib
import http.client
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import make
import servers
from attempts import filed
from crashes import CUT, Attempt, Product

from mespieces import models
from mespieces.domain import accesses, consultations, sessions
from mespieces.models import Consultation, Delivery, Deposit, Document, Member

READERS, DOCUMENTS, SIZE = 4, 2, 3 << 20


@dataclass
class Received:
    """What one session got of one document."""

    token: str
    number: int
    count: int = 0

    def get(self, product: Product) -> None:
        """Download over a slow line, until the end or the server's."""
        with contextlib.suppress(*CUT), closing(_line(product.port)) as line:
            line.request("GET", f"/pieces/{self.number}/fichier", headers={"Cookie": f"acces={self.token}"})
            answer = line.getresponse()
            while answer.status == http.client.OK and (piece := answer.read1(256 << 10)):
                self.count += len(piece)
                time.sleep(0.01)


def downloads(product: Product, _mailbox: servers.Mailbox, who: Member, _drawn: random.Random | None) -> Attempt:
    """Four sessions of one recipient download two documents each, all at once."""
    deposit = filed(product, who, [SIZE] * DOCUMENTS)
    access = accesses.of(make.first(deposit))
    received: list[Received] = []
    for _ in range(READERS):
        with models.write():
            token = sessions.start(product.gateways.clock.now(), way="act", access=access)
        received += [Received(token, number) for number in range(1, DOCUMENTS + 1)]

    def act() -> bool:
        people = [threading.Thread(target=one.get, args=(product,)) for one in received]
        for person in people:
            person.start()
        for person in people:
            person.join()
        return all(one.count == SIZE for one in received)

    return Attempt(act, partial(_faults, product, deposit, received))


def _faults(product: Product, deposit: Deposit, received: list[Received], _done: bool) -> Iterator[str]:
    consultations.sweep(product.gateways, older_than=timedelta())
    recorded = make.operations(deposit.id)
    opened = {
        (one.session_id, one.document.number): one
        for one in Consultation.select(Consultation, Document).join(Document).where(Document.deposit == deposit)
    }
    if recorded.count("document.consulted") != len(opened):
        yield f"{len(opened)} consultations are known, and the journal says {recorded}"
    endless = [one for one in opened.values() if not Delivery.select().where(Delivery.consultation == one).exists()]
    if endless:
        yield f"{len(endless)} consultations are journaled, and how they ended will never be said"
    for one in received:
        session = sessions.of_recipient(product.gateways, one.token)
        known = opened.get((session.id, one.number)) if session else None
        if one.count and known is None:
            yield f"{one.count} bytes of document {one.number} were served without a record"
        ended = Delivery.get_or_none(Delivery.consultation == known) if known else None
        if one.count and (ended is None or not ended.outcome):
            yield f"{one.count} bytes of document {one.number} were served, and how it ended is not said"
        if ended and ended.outcome == "delivered" and one.count < SIZE and _was_sure(one.count):
            yield f"{one.count} bytes of document {one.number} are recorded as delivered whole"
    ends = [operation for operation in recorded if operation in {"document.delivered", "document.interrupted"}]
    deliveries = Delivery.select().join(Consultation).join(Document).where(Document.deposit == deposit)
    if len(ends) != deliveries.count() or deliveries.where(Delivery.outcome == "").exists():
        yield f"{deliveries.count()} deliveries began, and ended as {ends}"


def _was_sure(count: int) -> bool:
    """Whether so little came that the buffers between the two cannot hold the rest: delivered means handed over."""
    return count < SIZE - (2 << 20)


def _line(port: int) -> http.client.HTTPConnection:
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    line.connect()
    line.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
    return line
