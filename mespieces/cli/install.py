"""Installing and bringing up to date: `init`, `migrate`."""

from pathlib import Path

import click

from mespieces import config, migrations, models, runtime
from mespieces.cli import console
from mespieces.domain import journal, offices
from mespieces.errors import Unavailable
from mespieces.gateways import Gateways, keys


class KeyLost(Unavailable):
    """A key file is missing beside a database that needs it: a fresh key would open nothing."""

    message = (
        "Le fichier de clé {path} manque alors que la base de données existe : restaurez-le depuis votre sauvegarde. "
        "Une clé neuve n’ouvrirait rien de ce qui est déjà chiffré ou signé."
    )


class FolderUnusable(Unavailable):
    """A folder can be neither made nor used."""

    message = "Le dossier {folder} ne peut pas être créé ({reason})."


@click.command()
@click.option("--office-name", metavar="NOM", help="Nom de la première étude.")
@click.option("--office-address", metavar="ADRESSE", help="Son adresse postale.")
@click.option("--office-phone", metavar="NUMÉRO", help="Son téléphone, que les destinataires liront.")
@click.option("--office-email", metavar="ADRESSE", help="Son adresse électronique.")
@click.option("--admin-name", metavar="NOM", help="Nom de son administrateur.")
@click.option("--admin-email", metavar="ADRESSE", help="L’adresse avec laquelle il ou elle se connecte.")
def init(**given: str | None) -> None:
    """Installe le service dans MESPIECES_DATA ; relancé, ne change rien de ce qui existe."""
    settings = console.settings()
    make_folder(settings.data)
    prepare(settings)
    opened = runtime.open_runtime(settings)
    with console.connected(opened.database):
        _open_journal(opened.gateways)
        if offices.everyone():
            click.echo("Une étude existe déjà : rien n’est changé. Voir « mespieces office add » et « member add ».")
            return
        _first_office(opened.gateways, given)


@click.command()
def migrate() -> None:
    """Met les tables à jour ; sans effet quand elles le sont déjà."""
    settings = console.settings()
    file = console.sqlite_file(settings)
    if file and not file.is_file():
        raise console.NothingInstalled(folder=settings.data)
    database = console.connect(settings)
    with console.connected(database):
        applied = migrations.apply(database)
    click.echo("\n".join(f"Appliqué : {name}" for name in applied) or "Les tables sont à jour.")


def make_folder(folder: Path) -> None:
    """Make a folder for its owner alone, and the folders above it. Raises `FolderUnusable`."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise FolderUnusable(folder=folder, reason=error.strerror) from error


def prepare(settings: config.Settings) -> None:
    """Make what is missing of the keys and the tables. Raises `KeyLost`, `KeyUnwritable`, `DatabaseUnreachable`."""
    database = console.connect(settings)
    with console.connected(database):
        made = database.table_exists(models.JournalLog._meta.table_name)  # noqa: SLF001 — peewee's public name for it
        # Tables made beforehand, by the role that owns them, need no key yet.
        begun = made and (models.JournalLog.select().exists() or models.Fact.select().exists())
        for path in (settings.master_key_file, settings.secret_key_file, settings.journal_key_file):
            _make_key(path, begun=begun)
        applied = migrations.apply(database)
    click.echo("Base de données créée." if not made else "Tables mises à jour." if applied else "Tables à jour.")


def _make_key(path: Path, *, begun: bool) -> None:
    if path.exists():
        click.echo(f"Clé conservée : {path}")
        return
    if begun:
        raise KeyLost(path=path)
    make_folder(path.parent)
    keys.create(path)
    click.echo(f"Clé créée : {path}")


def _open_journal(gateways: Gateways) -> None:
    try:
        journal.head()
    except journal.JournalClosed:
        click.echo(f"Journal ouvert : {journal.open_log(gateways)}")


def _first_office(gateways: Gateways, given: dict[str, str | None]) -> None:
    office = {
        "name": console.answer(given["office_name"], "Nom de l’étude", "--office-name"),
        "address": console.answer(given["office_address"], "Adresse postale de l’étude", "--office-address"),
        "phone": console.answer(given["office_phone"], "Téléphone de l’étude", "--office-phone"),
        "email": console.answer(given["office_email"], "Adresse électronique de l’étude", "--office-email"),
    }
    name = console.answer(given["admin_name"], "Nom de l’administrateur", "--admin-name")
    email = console.answer(given["admin_email"], "Son adresse électronique", "--admin-email")
    password, drawn = console.password()
    added = offices.add(gateways, **office)
    offices.add_member(
        gateways, added, name=name, email=email, role="administrateur", password=password, by=journal.OPERATOR
    )
    click.echo(f"Étude ajoutée : {added.name}. Administrateur : {email}.")
    if drawn:
        click.echo(f"Mot de passe, affiché cette seule fois : {password}")
    click.echo(
        f"Sauvegardez à part les clés de {gateways.settings.master_key_file.parent} : "
        "sans elles, rien de ce qui est chiffré ne peut être lu.\n"
        "Ensuite : « mespieces check », puis « mespieces serve »."
    )
