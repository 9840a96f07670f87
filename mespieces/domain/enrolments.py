"""Enrolment sheets: the key of an authenticator application on paper, for a second letter, apart from the act (art. 3)."""

import base64
import os

from mespieces import models
from mespieces.domain import accesses, checkpoints, codes, french, journal, one_time_codes, text, ways
from mespieces.errors import Refused
from mespieces.gateways import Gateways, pdf
from mespieces.models import Access, CodeKey, Member, Recipient


class EnrolledMeanwhile(Refused):
    """An application was enrolled since the page was shown: another key would stop it unknowingly."""

    message = (
        "Une application vient d’être enregistrée pour ce destinataire (double clic, ou le destinataire lui-même) : une "
        "autre clé l’arrêterait. Rechargez la page et vérifiez avant de recommencer."
    )


def known(access: Access) -> str:
    """Return what a form carries of the application enrolled for an access, empty when there is none."""
    key = CodeKey.get_or_none(CodeKey.access == access, CodeKey.way == "app")
    return str(key.id) if key else ""


def issue(
    gateways: Gateways, recipient: Recipient, motive: str, last: str, *, by: Member, trace: journal.Trace
) -> bytes:
    """Draw the key of an application for the recipient and return the sheet that carries it, the only time it is shown.

    1. Draw the key and typeset the sheet: nothing is changed yet.
    2. The key is sealed, the recipient's way becomes `app`, set by the office; what was open ends.

    A motive is needed after the first identification. Raises `accesses.MotiveNeeded`, `EnrolledMeanwhile` when `last`
    is not what `known` says now, `AlreadyEnded`, `AlreadyWithdrawn`.
    """
    motive = text.line(motive, "motive", needed=False)
    secret, now = os.urandom(20), gateways.clock.now()
    made = pdf.compose("enrolment_sheet", _facts(gateways, recipient, secret), issued_at=now)  # (1)
    with models.write():
        found = known(accesses.of(recipient))
        access, row = ways.settle(gateways, recipient, now, way="app")
        if found != last:
            raise EnrolledMeanwhile
        if access.first_identified_at and not motive:
            raise accesses.MotiveNeeded
        key = CodeKey(access=access, way="app", created_at=now)
        key.sealed_key = gateways.vault.seal_secret(secret, one_time_codes.key_name(key))
        key.save(force_insert=True)  # (2)
        detail = {"from": row.way, "to": "app", "email": False, "sheet": True, "motive": motive}
        journal.append(
            gateways, "recipient.channel_reset", author=journal.member(by, trace), recipient=row, detail=detail
        )
    gateways.bell.ring("mail")
    return made


def _facts(gateways: Gateways, recipient: Recipient, secret: bytes) -> dict[str, object]:
    deposit, reference = recipient.deposit, accesses.of(recipient).reference
    office, key, head = deposit.office, base64.b32encode(secret).decode(), checkpoints.head(gateways)
    return {
        "title": "Installer l’application qui donne vos codes",
        "description": "Modalités d’identification, article 3 de l’arrêté du 24 février 2022",
        "recipient": recipient.name,
        "reference": codes.show(reference),
        "key": " ".join(key[start : start + 4] for start in range(0, len(key), 4)),
        "qr": pdf.qr(ways.otpauth(key, str(reference))),
        "office_name": office.name,
        "office_phone": office.phone,
        "office_reference": deposit.office_reference,
        "printed_at": french.instant(gateways.clock.now()),
        "log": head.log,
        "size": french.number(head.size),
        "root": pdf.grouped(head.root),
    }
