"""Mail that comes back to the address the product sends from."""

import sys

import click

from mespieces.cli import console
from mespieces.domain import bounces


@click.group()
def mail() -> None:
    """Courriel : ce que disent les serveurs après coup."""


@mail.command()
def bounced() -> None:
    """Lit sur l’entrée standard un avis de non-remise (RFC 3464), tel que le serveur de courriel le transmet.

    Le courriel qu’il cite est montré comme refusé à l’étude. Sort avec 1 si ce n’est pas un avis, ou s’il ne cite
    aucun courriel de ce service.
    """
    raw = sys.stdin.buffer.read(bounces.MOST_BYTES + 1)
    with console.opened() as gateways:
        failed = bounces.receive(gateways, raw)
    click.echo("Le refus est enregistré." if failed else "Cet avis n’annonce pas d’échec : rien n’est changé.")
