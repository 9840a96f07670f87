"""The *dossier de preuve* of a deposit: one archive of its attestations and of the receipts of every record about it.

It is built before the first byte leaves, for its SHA-256 stands in the journal: on a disk, encrypted, in bounded memory.
"""

import io
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from typing import NamedTuple

from mespieces import models
from mespieces.domain import (
    accesses,
    attestations,
    attested,
    checkpoints,
    codes,
    deletions,
    french,
    journal,
    receipts,
    recipients,
    statements,
)
from mespieces.errors import Unavailable
from mespieces.gateways import Gateways
from mespieces.gateways.spool import Spool
from mespieces.models import Deposit, JournalLog, JournalPayload, JournalRecord, Recipient

MOST_PEOPLE = 25
"""Recipients up to whom each has an attestation of their own in the archive; the statement tells of all in any case."""
_ONE = threading.BoundedSemaphore(1)
_PATIENCE = 30  # seconds


class DossierBusy(Unavailable):
    """Another dossier is being made, and takes long."""

    message = "Un autre dossier de preuve est en cours de préparation : réessayez dans quelques instants."


@dataclass(frozen=True, slots=True)
class Dossier:
    """A dossier ready to be handed over; `spool` must be closed."""

    spool: Spool
    fingerprint: str


class _Part(NamedTuple):
    """An attestation of the archive."""

    name: str
    kind: str
    fingerprint: str
    recipient: Recipient | None = None
    until: date | None = None


def make(gateways: Gateways, deposit: Deposit, *, by: journal.Author) -> Dossier:
    """Return the dossier of a filed deposit, journaled with its SHA-256 before it is returned.

    1. Compose its attestations one by one, into the archive.
    2. Journal them, as if each had been asked for.
    3. Add the receipt of every record about the deposit, those of these attestations included, from one state.
    4. Journal the dossier; when that fails, nothing is returned.

    Raises `NothingFiled`, `DossierBusy`, `JournalClosed`, `PressBusy`, `NotComposed`.
    """
    current = attestations.filed(deposit)
    if not _ONE.acquire(timeout=_PATIENCE):
        raise DossierBusy
    try:
        spool = Spool()
        try:
            return Dossier(spool, _fill(gateways, current, spool, by))
        except BaseException:
            spool.close()
            raise
    finally:
        _ONE.release()


def _fill(gateways: Gateways, deposit: Deposit, spool: Spool, by: journal.Author) -> str:
    with zipfile.ZipFile(_Outgoing(spool), "w", zipfile.ZIP_DEFLATED) as archive:
        parts = [_put(archive, part, made) for part, made in _attestations(gateways, deposit, by)]  # (1)
        with models.write():  # (2)
            for part in parts:
                attestations.record(
                    gateways,
                    part.kind,
                    part.fingerprint,
                    by=by,
                    deposit=deposit,
                    recipient=part.recipient,
                    until=part.until,
                )
        checkpoints.publish(gateways)
        with journal.snapshot():  # (3)
            now, cited = gateways.clock.now(), _records(deposit)
            given = dated = 0
            for one in receipts.each(gateways, cited):
                _write(archive, f"recus/{one.name}", one.data)
                given, dated = given + 1, dated + (one.dated is not None)
            counts = (len(cited), given, dated)
            text = _read_me(gateways, deposit, parts, counts, _keys(gateways, {log for log, _ in cited}), now)
        _write(archive, "LISEZ-MOI.txt", text.replace("\n", "\r\n").encode("utf-8-sig"))
    digest = spool.finish()
    with models.write():  # (4), dated of what it holds: what is recorded meanwhile is not in it
        Deposit.update(dossier_at=now).where(Deposit.id == deposit.id).execute()
        attestations.record(gateways, "dossier", digest, by=by, deposit=deposit)
    return digest


def _attestations(gateways: Gateways, deposit: Deposit, by: journal.Author) -> Iterator[tuple[_Part, bytes]]:
    """Compose what the archive attests: the deposit, its deletion once done, all consultations, each recipient's if few."""
    now = gateways.clock.now()
    day = statements.read_day("", deposit, now)
    compose = partial(attestations.compose, gateways)
    made = compose("deposit_attestation", lambda at: attested.deposit_facts(deposit, by=by, now=at))
    yield _Part("Attestation de dépôt", "deposit", attestations.fingerprint(made)), made
    if deletions.done(deposit):
        made = compose("deletion_attestation", lambda at: deletions.facts(deposit, by=by, now=at))
        yield _Part("Attestation de suppression", "deletion", attestations.fingerprint(made)), made
    made = compose("statement_attestation", lambda at: statements.facts(deposit, day, by=by, now=at))
    yield _Part("Relevé des consultations", "statement", attestations.fingerprint(made), until=day), made
    people, references = recipients.listed(deposit), accesses.by_deposit(deposit)
    for number, one in enumerate(people if len(people) <= MOST_PEOPLE else (), start=1):
        made = compose("consultation_attestation", _consulted(one, by))
        access = references.get(one.id)
        whose = codes.show(access.reference) if access and access.reference else str(number)
        name = f"Attestation de consultation {whose}"
        yield _Part(name, "consultation", attestations.fingerprint(made), recipient=one), made


def _consulted(one: Recipient, by: journal.Author) -> Callable[[datetime], attested.Attested]:
    return lambda now: attested.consultation_facts(one, by=by, now=now)


def _records(deposit: Deposit) -> list[tuple[str, int]]:
    """Return every record about the deposit (journal, sequence), oldest first."""
    payload, header = JournalPayload, JournalRecord
    query = (
        header.select(header.log, header.sequence)
        .join(payload, on=((payload.log == header.log) & (payload.sequence == header.sequence)))
        .where(payload.deposit == deposit.id, payload.group == "proof")
        .order_by(header.time, header.sequence)
        .tuples()
    )
    return list(query)


def _keys(gateways: Gateways, logs: set[str]) -> list[str]:
    """Return the keys that verify the receipts: one for each journal that the deposit's records stand in."""
    rows = JournalLog.select().where(JournalLog.log.in_(sorted(logs))).order_by(JournalLog.opened_at)
    return [checkpoints.vkey_of(gateways, row) for row in rows]


def _put(archive: zipfile.ZipFile, part: _Part, made: bytes) -> _Part:
    _write(archive, f"attestations/{part.name}.pdf", made)
    return part


def _write(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)


class _Outgoing(io.RawIOBase):
    """What an archive is written into when it may not be read again."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._spool.write(bytes(data))
        return len(data)


def _read_me(
    gateways: Gateways,
    deposit: Deposit,
    parts: list[_Part],
    counts: tuple[int, int, int],
    vkeys: list[str],
    now: datetime,
) -> str:
    cited, given, dated = counts
    site = gateways.settings.public_url.rstrip("/")
    keys = " ".join(f'--vkey "{key}"' for key in vkeys)
    gone, undated = cited - given, given - dated
    missing = (
        f"    {french.counted(gone, 'enregistrement n’a', 'enregistrements n’ont')} plus de reçu : leur contenu a été effacé du journal "
        "au terme des\n    délais de conservation.\n"
        if gone
        else ""
    )
    provisional = (
        f"    {french.counted(undated, 'est provisoire', 'sont provisoires')} : aucun tiers n’a encore daté ces enregistrements. "
        f"Téléchargez plus tard\n    un nouveau dossier, ou faites compléter un reçu sur {site}/audit/verifier\n"
        + ("    Ce qu’un journal clos contient sans date ne sera plus daté.\n" if len(vkeys) > 1 else "")
        if undated
        else ""
    )
    listed = "".join(f"  attestations/{part.name}.pdf\n    SHA-256 {part.fingerprint}\n" for part in parts)
    return f"""Dossier de preuve
{deposit.office.name}
Dossier {deposit.office_reference}, {deposit.creditor}
{deposit.court}, ordonnance n° {deposit.order_number} du {french.day(deposit.order_date)}
Établi le {french.instant(now)}

Ce qu’il contient

{listed}  recus/
    {french.counted(given, "reçu", "reçus")}, un pour chaque enregistrement au sujet de ce dépôt dont le journal garde le contenu.
{provisional}{missing}
Un reçu contient un enregistrement du journal, tel qu’il a été écrit, et la preuve qu’il y est. Il se vérifie sans le
service et pour toujours, même quand le journal l’a effacé. Gardez ce dossier entier, sans rien y changer.

Vérifier, hors ligne

1. Installez le programme mespieces-verify (fourni avec Mes Pièces) sur un ordinateur, même sans connexion.

2. Ouvrez un terminal dans ce dossier, une fois l’archive décompressée, et lancez :

   mespieces-verify --receipt . {keys}

   Il dit ce que prouve chaque reçu et, de chaque attestation PDF, qu’elle est celle qui a été établie, puis INTACT ; ou bien
   il nomme ce qui a été altéré, ou ce qu’aucun reçu d’ici ne confirme.

3. La clé est celle du journal de ce service. Elle ne prouve rien tant qu’elle ne vient que d’ici : comparez-la à celle
   que vous, ou la personne qui contrôle, avez notée par ailleurs ({site}/audit).

4. Pour vérifier aussi les dates certifiées par un tiers, procurez-vous le certificat racine de l’autorité d’horodatage
   auprès d’elle et ajoutez :  --tsa-root racine.pem

5. Pour s’en assurer sans ce programme, calculez l’empreinte d’une attestation PDF :

   sha256sum attestations/*.pdf        (Windows : certutil -hashfile FICHIER SHA256)

   et comparez-la à celle que porte le reçu de l’opération attestation.issued, dans recus/.

Ce que ce dossier ne prouve pas

Que rien d’autre n’a eu lieu : un reçu prouve ce qui est inscrit, rien ne prouve ce qui ne l’est pas. Ni qui tenait l’appareil,
ni ce qui a été lu ou compris. Les pièces elles-mêmes ne sont pas dans ce dossier : qui en détient une peut en recalculer
l’empreinte et la comparer à celle du dépôt.

L’empreinte de cette archive est inscrite au journal (attestation.issued, dossier).
"""
