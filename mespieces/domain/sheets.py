"""Access sheets (*feuillets d'accès*): what is annexed to the act so that the recipient gets in (art. 3)."""

from mespieces.domain import accesses, checkpoints, codes, french, journal
from mespieces.gateways import Gateways, pdf
from mespieces.models import Access, Member, Recipient


def issue(
    gateways: Gateways, recipient: Recipient, *, by: journal.Author, member: Member | None, motive: str = ""
) -> bytes:
    """Draw a new secret and return the sheet that carries it, a PDF; the former secret stops at once.

    Raises as `accesses.issue`.
    """
    access, secret = accesses.issue(gateways, recipient, by=by, member=member, motive=motive)
    return pdf.access_sheet(_facts(gateways, recipient, access, secret))


def _facts(gateways: Gateways, recipient: Recipient, access: Access, secret: str) -> pdf.AccessSheet:
    deposit, office, head = recipient.deposit, recipient.deposit.office, checkpoints.head()
    now = gateways.clock.now()
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
        documents=deposit.documents.count(),
        available_until=french.last_day(deposit.expires_at),
        way=recipient.way or ("email" if recipient.email else ""),
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
