"""Access sheets (*feuillets d'accès*): what is annexed to the act so that the recipient gets in (art. 3)."""

from mespieces.domain import accesses, checkpoints, codes, french, journal, passwords
from mespieces.gateways import Gateways, pdf
from mespieces.models import Access, Deposit, Member, Recipient


def issue(
    gateways: Gateways,
    recipient: Recipient,
    *,
    by: journal.Author,
    member: Member | None,
    motive: str = "",
    last: str | None = None,
) -> bytes:
    """Draw a new secret and return the sheet that carries it, a PDF; the former secret stops at once.

    The sheet is typeset first: a secret that stands on no paper never replaces one that does. Raises as `accesses.put`.
    """
    accesses.printable(recipient.deposit_id, gateways.clock.now())
    deposit, secret = recipient.deposit, codes.draw_secret()
    sheet = pdf.access_sheet(
        _facts(gateways, deposit, recipient, accesses.of(recipient), secret, _shared(gateways, deposit))
    )
    accesses.put(gateways, recipient, passwords.stretch(secret), by=by, member=member, motive=motive, last=last)
    return sheet


def issue_all(
    gateways: Gateways,
    deposit: Deposit,
    last: str,
    *,
    by: journal.Author,
    member: Member | None,
    everyone: bool = False,
    motive: str = "",
) -> bytes:
    """Return one PDF with the sheets of all who have not identified themselves yet, each with a new secret.

    Those of who has, too, where `everyone` is asked for with a motive.

    1. Draw and stretch the secrets, and typeset every sheet: nothing is changed yet.
    2. Put all the secrets in place in one transaction, each journaled; where that fails, nothing is given.

    Raises `NothingToPrint`, and as `accesses.issue_all`.
    """
    present = accesses.every(deposit) if everyone else accesses.unused(deposit)
    if not present:
        raise accesses.NothingToPrint
    if not motive.strip() and any(access.first_identified_at for access in present):
        raise accesses.MotiveNeededForSome
    stretched, printed, shared = {}, [], _shared(gateways, deposit)
    for access in present:  # (1)
        secret = codes.draw_secret()
        stretched[access.id] = passwords.stretch(secret)
        printed.append(pdf.access_sheet(_facts(gateways, deposit, access.recipient, access, secret, shared)))
    merged = pdf.merge(printed, title="Feuillets d’accès")
    accesses.issue_all(
        gateways, deposit, stretched, last=last, by=by, member=member, everyone=everyone, motive=motive
    )  # (2)
    return merged


def _shared(gateways: Gateways, deposit: Deposit) -> tuple[int, checkpoints.Head]:
    """Return what every sheet of a deposit says alike, and asks the database: how many documents, the journal's head."""
    return deposit.documents.count(), checkpoints.head(gateways)


def _facts(
    gateways: Gateways,
    deposit: Deposit,
    recipient: Recipient,
    access: Access,
    secret: str,
    shared: tuple[int, checkpoints.Head],
) -> pdf.AccessSheet:
    office, (documents, head), now = deposit.office, shared, gateways.clock.now()
    return pdf.AccessSheet(
        public_url=gateways.settings.public_url,
        reference=codes.show(access.reference),
        secret=codes.show(secret),
        recipient=recipient.name,
        representative=recipient.representative or None,
        creditor=deposit.creditor,
        court=deposit.court,
        order_number=deposit.order_number,
        order_date=french.day(deposit.order_date),
        office_reference=deposit.office_reference,
        documents=documents,
        available_until=french.last_day(deposit.expires_at),
        way=recipient.way or recipient.way_required or ("email" if recipient.email else ""),
        office_name=office.name,
        office_address=office.address,
        office_phone=office.phone,
        office_email=office.email,
        printed_at=french.instant(now),
        log=head.log,
        size=head.size,
        root=head.root,
        issued_at=now,
    )
