"""Deposits made by a script, and the deletions that the operator confirms."""

import contextlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import peewee as pw

from mespieces.cli import console
from mespieces.domain import (
    accesses,
    codes,
    deposits,
    documents,
    drafts,
    french,
    journal,
    offices,
    recipients,
    retention,
)
from mespieces.errors import Refusal, Refused
from mespieces.gateways import Gateways
from mespieces.models import Access, Deposit, Office, Recipient

CHUNK = 1 << 20
_NAMED = re.compile(r"(?P<name>[^<>]*?)\s*(?:<(?P<email>[^<>]*)>)?\s*")


class FileRefused(Refusal):
    """A document was refused, and the deposit with it."""

    message = (
        "{file} : {reason} Rien n’a été déposé : le brouillon ouvert pour ce dépôt est supprimé avec ses pièces ; le "
        "journal garde qu’il a été ouvert, puis retiré."
    )


@click.group()
def deposit() -> None:
    """Dépôts : déposer des pièces depuis un script."""


@deposit.command("add")
@click.option("--office", "office_name", required=True, metavar="NOM", help="Nom ou identifiant de l’étude.")
@click.option("--creditor", required=True, metavar="NOM", help="Le créancier.")
@click.option("--court", required=True, metavar="NOM", help="La juridiction.")
@click.option("--order-number", required=True, metavar="NUMÉRO", help="Numéro de l’ordonnance.")
@click.option("--order-date", required=True, metavar="AAAA-MM-JJ", help="Date de l’ordonnance.")
@click.option(
    "--office-reference",
    metavar="RÉFÉRENCE",
    help="Référence du dossier à l’étude ; le numéro de l’ordonnance sans cette option.",
)
@click.option(
    "--recipient",
    "people",
    required=True,
    multiple=True,
    metavar='"NOM <ADRESSE>"',
    help="Un destinataire, avec ou sans adresse électronique ; autant de fois que de destinataires.",
)
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@console.json_option
def add_deposit(  # one option each
    office_name: str, people: Sequence[str], files: Sequence[Path], *, as_json: bool, **given: str | None
) -> None:
    """Dépose les FICHIERS, dans cet ordre, et affiche les références et codes d’accès des destinataires."""
    with console.opened() as gateways:
        office = offices.named(office_name)
        typed = {name: value or "" for name, value in given.items()}
        typed["office_reference"] = typed["office_reference"] or typed["order_number"]
        case = deposits.read_case(typed, today=gateways.clock.now().astimezone(offices.zone(office)).date())
        persons = [recipients.read(_read(text)) for text in people]
        filed = _file(gateways, office, case, persons, files)
        issued = _issue(gateways, filed)
        result: dict[str, Any] = {
            "deposit": filed.id,
            "office_reference": filed.office_reference,
            "available_until": filed.expires_at.isoformat(),
            "documents": [
                {"number": row.number, "title": row.title, "fingerprint": row.fingerprint}
                for row in documents.listed(filed)
            ],
            "recipients": [
                {"name": row.name, "reference": codes.show(access.reference), "secret": codes.show(secret)}
                for row, access, secret in issued
            ],
        }
        console.tell(result, _words(filed, result["recipients"]), as_json=as_json)


@click.command()
@click.option("--dry-run", is_flag=True, help="Dit ce qui serait supprimé, sans rien supprimer.")
@console.json_option
def expire(*, dry_run: bool, as_json: bool) -> None:
    """Supprime ce dont la mise à disposition est terminée. La lancer confirme que la date de la machine est juste."""
    with console.opened() as gateways:
        due = retention.due(gateways.clock.now()) if dry_run else retention.expire(gateways, confirmed=True)
        rows = [
            {"deposit": item.deposit.id, "office_reference": item.deposit.office_reference, "documents": item.documents}
            for item in due
        ]
    verb = "À supprimer" if dry_run else "Supprimé"
    words = "\n".join(
        f"{verb} : {row['office_reference']}, {french.counted(row['documents'], 'pièce')}" for row in rows
    )
    console.tell(rows, words or "Rien à supprimer.", as_json=as_json)


class SheetsMissing(Refused):
    """The deposit is filed, and something gave way before every secret was known: filing again would make two."""

    message = (
        "Le dépôt {reference} est fait, mais les codes d’accès n’ont pas tous pu être tirés ({reason}). Ne relancez pas "
        "cette commande : imprimez les feuillets depuis la page du dépôt."
    )


def _issue(gateways: Gateways, filed: Deposit) -> list[tuple[Recipient, Access, str]]:
    """Return each recipient with their access and its secret. Raises `SheetsMissing`."""
    try:
        # Listed first: SQLite lets nobody write who still reads what another has changed since.
        return [(row, *accesses.issue(gateways, row, by=journal.OPERATOR)) for row in recipients.listed(filed)]
    except (Refusal, pw.DatabaseError) as error:
        raise SheetsMissing(reference=filed.office_reference, reason=error) from error


def _file(
    gateways: Gateways,
    office: Office,
    case: deposits.Case,
    persons: Sequence[recipients.Person],
    files: Sequence[Path],
) -> Deposit:
    draft = deposits.open_draft(gateways, case, office=office, by=journal.OPERATOR, member=None)
    try:
        for path in files:
            _add(gateways, draft, path)
        for person in persons:
            recipients.add(gateways, draft.id, person, by=journal.OPERATOR)
        return deposits.file(gateways, draft.id, by=journal.OPERATOR)
    except BaseException:
        # What a script could not finish must not lie about.
        with contextlib.suppress(deposits.DepositFiled):  # stopped after all was done
            drafts.drop(gateways, draft.id, by=journal.OPERATOR)
        raise


def _add(gateways: Gateways, draft: Deposit, path: Path) -> None:
    try:
        with documents.Arrival(gateways) as arrival, path.open("rb") as file:
            while chunk := file.read(CHUNK):
                arrival.write(chunk)
            documents.add(gateways, draft.id, arrival, path.name, by=journal.OPERATOR)
    except Refusal as error:
        raise FileRefused(file=path.name, reason=error) from error


def _read(text: str) -> dict[str, str]:
    match = _NAMED.fullmatch(text)
    if match is None:
        raise click.UsageError(f"--recipient {text} : on attend « Nom » ou « Nom <adresse> ».")
    return {"name": match["name"], "email": match["email"] or ""}


def _words(filed: Deposit, issued: Sequence[dict[str, str]]) -> str:
    lines = [f"Déposé : {filed.office_reference}, disponible jusqu’au {french.last_day(filed.expires_at)} inclus."]
    for row in issued:
        lines += [f"{row['name']}", f"  référence     {row['reference']}", f"  code d’accès  {row['secret']}"]
    lines.append("Les codes d’accès ne seront plus jamais affichés : en éditer un nouveau annule l’ancien.")
    return "\n".join(lines)
