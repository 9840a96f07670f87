"""The operator's commands, each found in a module of this folder that is read only when it is asked for."""

import importlib
import os

import click

from mespieces.errors import Refusal

COMMANDS = {
    "init": ("install", "Installe : dossier, clés, base de données, première étude et son administrateur."),
    "migrate": ("install", "Met les tables de la base de données à jour."),
    "demo": ("service", "Essaie le produit sur cette machine, avec des données de démonstration."),
    "serve": ("service", "Sert le site, et fait le travail de fond (courriels, aperçus, suppressions)."),
    "worker": ("service", "Fait le travail de fond seul, à côté de « serve --no-worker »."),
    "check": ("check", "Dit en clair ce qui est mal réglé."),
    "office": ("office", "Études : en ajouter, les lister."),
    "member": ("office", "Membres des études : en ajouter, leur rendre l’accès."),
    "deposit": ("deposit", "Dépôts : déposer des pièces depuis un script."),
    "expire": ("deposit", "Supprime ce dont la mise à disposition est terminée."),
    "mail": ("mail", "Courriel : enregistrer les avis de non-remise."),
    "journal": ("journal", "Journal : sa tête, sa vérification, son export."),
    "storage": ("journal", "Stockage : recalcule l’empreinte de chaque pièce."),
}
"""Each command, the module it stands in, and what it does."""


class Refused(click.ClickException):
    """A refusal told as it is, on stderr; the command leaves with 1."""

    def show(self, file: object = None) -> None:  # noqa: ARG002 — click's signature
        """Tell the sentence."""
        click.echo(self.message, err=True)


class Commands(click.Group):
    """Reads a command's module only when that command is asked for, so that `--help` is quick."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"mespieces.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commandes"):
            formatter.write_dl([(name, words) for name, (_, words) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; whatever the product refuses is a sentence, not a traceback."""
        try:
            return super().invoke(ctx)
        except Refusal as error:
            raise Refused(str(error)) from error
        except click.Abort as error:  # a question left without an answer
            raise Refused("Abandonné, rien n’a été fait.") from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="mespieces", message="%(prog)s %(version)s")
def main() -> None:
    """Met à disposition les pièces justificatives d’une injonction de payer.

    Les réglages se lisent dans des variables d’environnement MESPIECES_… (docs/settings.md) ; aucune clé ni aucun mot
    de passe ne se donne en ligne de commande.
    """
    os.umask(0o077)
