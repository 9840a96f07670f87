"""Offices and their members, as the operator sees them."""

import click

from mespieces.cli import console
from mespieces.domain import calendar, french, journal, offices
from mespieces.models import Member


@click.group()
def office() -> None:
    """Études : en ajouter, les lister."""


@office.command("add")
@click.option("--name", required=True, metavar="NOM", help="Nom de l’étude.")
@click.option("--address", required=True, metavar="ADRESSE", help="Adresse postale.")
@click.option("--phone", required=True, metavar="NUMÉRO", help="Téléphone, que les destinataires liront.")
@click.option("--email", required=True, metavar="ADRESSE", help="Adresse électronique.")
@click.option("--time-zone", default="Europe/Paris", show_default=True, metavar="ZONE", help="Fuseau horaire (IANA).")
@click.option(
    "--territory",
    default="",
    type=click.Choice(sorted(calendar.TERRITORIES)),
    help="Territoire, pour ses jours fériés ; la métropole sans cette option.",
)
@console.json_option
def add_office(*, as_json: bool, **facts: str) -> None:
    """Ajoute une étude."""
    with console.opened() as gateways:
        added = offices.add(gateways, **facts)
        console.tell(
            {"id": added.id, "name": added.name}, f"Étude ajoutée : {added.name} ({added.id})", as_json=as_json
        )


@office.command("list")
@console.json_option
def list_offices(*, as_json: bool) -> None:
    """Montre les études."""
    with console.opened():
        rows = [
            {"id": row.id, "name": row.name, "email": row.email, "members": len(offices.present(row))}
            for row in offices.everyone()
        ]
    words = "\n".join(f"{row['id']}  {row['name']} ({french.counted(row['members'], 'membre')})" for row in rows)
    console.tell(rows, words or "Aucune étude.", as_json=as_json)


@click.group()
def member() -> None:
    """Membres des études : en ajouter, leur rendre l’accès."""


@member.command("add")
@click.option("--office", "office_name", required=True, metavar="NOM", help="Nom ou identifiant de l’étude.")
@click.option("--name", required=True, metavar="NOM", help="Nom du membre.")
@click.option("--email", required=True, metavar="ADRESSE", help="L’adresse avec laquelle il ou elle se connecte.")
@click.option("--role", required=True, type=click.Choice(list(offices.ROLES)), help="Son rôle.")
@console.json_option
def add_member(office_name: str, name: str, email: str, role: str, *, as_json: bool) -> None:
    """Ajoute un membre, qui enregistre son application de codes à la première connexion."""
    with console.opened() as gateways:
        found = offices.named(office_name)
        password, drawn = console.password()
        added = offices.add_member(
            gateways, found, name=name, email=email, role=role, password=password, by=journal.OPERATOR
        )
        _tell(added, f"Membre ajouté : {added.name}.", password if drawn else "", as_json=as_json)


@member.command("reset")
@click.argument("email", metavar="ADRESSE")
@console.json_option
def reset_member(email: str, *, as_json: bool) -> None:
    """Donne un nouveau mot de passe à un membre et lui fait enregistrer de nouveau son application."""
    with console.opened() as gateways:
        password, drawn = console.password()
        changed = offices.reset_member(gateways, email, password)
        _tell(changed, f"Accès rendu à {changed.name}.", password if drawn else "", as_json=as_json)


def _tell(who: Member, words: str, drawn: str, *, as_json: bool) -> None:
    result = {"id": who.id, "email": who.email, **({"password": drawn} if drawn else {})}
    shown = f"\nMot de passe, affiché cette seule fois : {drawn}" if drawn else ""
    console.tell(result, words + shown, as_json=as_json)
