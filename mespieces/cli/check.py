"""`check`: what is misconfigured, in words an operator can act upon."""

import contextlib
import ipaddress
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

import click
import peewee as pw
import psycopg

from mespieces import migrations, models
from mespieces import runtime as starting
from mespieces.cli import console, dating
from mespieces.config import Settings, SettingWrong
from mespieces.domain import checkpoints, clockwork, continuity, documents, french, journal, offices
from mespieces.errors import Refusal
from mespieces.gateways import keys
from mespieces.gateways.clock import SystemClock
from mespieces.gateways.mail import open_mail
from mespieces.gateways.storage import open_storage
from mespieces.gateways.timestamps import open_authorities
from mespieces.models import Document, JournalLog, Message

LEAST_ROOM = 1 << 30
LATE = timedelta(minutes=10)
SILENCE = timedelta(minutes=5)  # the worker beats every minute
ASTRAY = timedelta(minutes=1)  # two clocks that agree never differ as much
SET_CLOCK = "Mettez la machine à l’heure : « timedatectl set-ntp true », puis « timedatectl » dit si elle l’est."


@click.command()
@console.json_option
@click.pass_context
def check(ctx: click.Context, *, as_json: bool) -> None:
    """Dit en clair ce qui est mal réglé ; sort avec 1 s’il y a quelque chose."""
    try:
        settings = console.settings()
        answers = dating.ask(settings)
        found = [*find(settings), *(("timestamps", words) for words in dating.problems(answers))]
        remarks = [*dating.remarks(answers), *remark(settings)]
    except SettingWrong as error:
        found, remarks = [("settings", str(error))], []
    problems = [{"about": about, "problem": words} for about, words in found]
    lines = [f"• {row['problem']}" for row in problems] or ["Tout est en ordre."]
    words = "\n".join([*lines, *(f"À noter : {sentence}" for sentence in remarks)])
    console.tell({"ok": not problems, "problems": problems, "remarks": remarks}, words, as_json=as_json)
    ctx.exit(1 if problems else 0)


def find(settings: Settings) -> Iterator[tuple[str, str]]:
    """Give each problem: what it is about, and the sentence."""
    try:
        open_authorities(settings)
    except SettingWrong as error:
        yield "timestamps", str(error)
    for about, look in _CHECKS.items():
        try:
            yield from ((about, words) for words in look(settings))
        except Refusal as error:
            yield about, str(error)


def remark(settings: Settings) -> list[str]:
    """Return what an operator should know though nothing is wrong."""
    return [
        *_refused(settings),
        *_reachable(settings),
        *_account(settings),
        *_worker(settings),
        *_owner(settings),
    ]


def _refused(settings: Settings) -> Iterator[str]:
    """Tell how many mails came back: their offices know already, and it is nothing the operator can mend."""
    try:
        with _reading(settings):
            day_ago = SystemClock().now() - timedelta(days=1)
            lost = Message.select(pw.fn.COUNT(Message.id)).where(Message.refused_at > day_ago).scalar()
    except (Refusal, pw.DatabaseError):  # said by the check of the database
        return
    if lost:
        failed = french.counted(lost, "courriel n’a pas pu être remis", "courriels n’ont pas pu être remis")
        yield f"{failed} depuis hier ; les études concernées en sont prévenues."


def _reachable(settings: Settings) -> Iterator[str]:
    if not _local(settings) and any(network.prefixlen == 0 for network in settings.office_networks):
        yield (
            "La connexion des études est ouverte à toutes les adresses : si elles viennent d’un réseau connu, "
            "réglez MESPIECES_OFFICE_NETWORKS."
        )


def _account(settings: Settings) -> Iterator[str]:
    if settings.data.is_dir() and settings.data.stat().st_uid != os.geteuid():
        yield (
            f"Vous n’êtes pas le compte à qui {settings.data} appartient : ce que ce compte peut lire et écrire n’a pas "
            "été éprouvé. Lancez « mespieces check » sous son nom (« sudo -u »)."
        )


def _worker(settings: Settings) -> Iterator[str]:
    """Tell that the worker has stopped; one that never ran belongs to a service not started yet."""
    try:
        with _reading(settings):
            seen = clockwork.last_beat()
    except (Refusal, pw.DatabaseError):  # said by the check of the database
        return
    if seen and SystemClock().now() - seen > SILENCE:
        yield (
            f"Le travail de fond n’a pas donné signe de vie depuis le {french.instant(seen)} : ni courriel, ni aperçu, "
            "ni suppression. Si le service devrait tourner, relancez « mespieces serve » ou « mespieces worker »."
        )


def _owner(settings: Settings) -> Iterator[str]:
    """Tell that the service could drop the triggers that keep its journal, on a server where another role can own it."""
    if console.sqlite_file(settings):
        return
    owns = "SELECT pg_has_role(relowner, 'MEMBER') FROM pg_class WHERE oid = to_regclass('journal_record')"
    try:
        with _reading(settings):
            found = models.database.execute_sql(owns).fetchone()
    except (Refusal, pw.DatabaseError):  # said by the check of the database
        return
    if found and found[0]:
        yield (
            "Le compte PostgreSQL du service est propriétaire du journal : qui s’en emparerait pourrait en retirer les "
            "protections. Donnez les tables à un autre compte (docs/postgresql.md)."
        )


def _data(settings: Settings) -> Iterator[str]:
    if not settings.data.is_dir():
        yield str(console.NothingInstalled(folder=settings.data))
        return
    yield from _folder(settings.data)
    yield from _room(settings.data)


def _folder(folder: Path) -> Iterator[str]:
    mode = folder.stat().st_mode & 0o777
    if mode & 0o077:
        yield f"Le dossier {folder} est ouvert à d’autres comptes ({mode:03o}) : « chmod 700 {folder} »."
    if not os.access(folder, os.W_OK | os.X_OK):
        yield f"Le service ne peut pas écrire dans {folder} : rendez-le à son compte avec « chown »."


def _room(folder: Path) -> Iterator[str]:
    if shutil.disk_usage(folder).free < LEAST_ROOM:
        yield f"Il reste moins de 1 Gio libre sur le disque de {folder} : agrandissez-le, ou libérez-y de la place."


def _keys(settings: Settings) -> Iterator[str]:
    for path in (settings.master_key_file, settings.secret_key_file, settings.journal_key_file):
        try:
            keys.read_all(path)
        except keys.KeyMissing as error:
            yield str(error) if not _installed(settings) else _LOST_KEY.format(path=path)
            continue
        except Refusal as error:
            yield str(error)
            continue
        if settings.data.is_dir() and path.stat().st_uid != settings.data.stat().st_uid:
            yield (
                f"Le fichier de clé {path} n’appartient pas au compte à qui est {settings.data} : rendez-le-lui avec "
                f"« chown --reference={settings.data} {path} »."
            )
    try:
        _open(settings)
    except starting.KeyForeign as error:
        yield str(error)
    except Refusal:
        return  # said above, or by the check of what does not open


_LOST_KEY = (
    "Le fichier de clé {path} manque, et une base de données en dépend : restaurez-le depuis votre sauvegarde. Une "
    "nouvelle clé n’ouvrirait rien de ce qui est conservé."
)


def _installed(settings: Settings) -> bool:
    """Tell whether there is a database that keys belong to."""
    try:
        with _reading(settings):
            return bool(JournalLog.select().exists())
    except (Refusal, pw.DatabaseError):
        return False


def _open(settings: Settings) -> None:
    opened = console.open_runtime(settings)
    with console.connected(opened.database):
        pass


def _database(settings: Settings) -> Iterator[str]:
    file = console.sqlite_file(settings)
    if file and not file.is_file():
        yield str(console.NothingInstalled(folder=settings.data))
        return
    database = console.connect(settings)
    with console.connected(database):
        migrations.check(database)
        journal.head()
        if not offices.everyone():
            yield "Aucune étude n’est enregistrée : « mespieces init » ou « mespieces office add »."
        try:
            continuity.check(settings.newest_checkpoint_file)
        except Refusal as error:
            yield str(error)
        yield from _unsent()


def _signing(settings: Settings) -> Iterator[str]:
    """Tell that the tables contradict what was published, so that nothing more is signed."""
    if not _installed(settings):
        return  # said by the check of the database
    try:
        opened = console.open_runtime(settings)
        with console.connected(opened.database):
            sound = checkpoints.head(opened.gateways).sound
    except Refusal:
        return  # said by another check
    if not sound:
        yield (
            "Rien de nouveau n’est signé : les tables du journal ne correspondent plus à ce qui en a été publié. « mespieces "
            "journal verify » dit ce qui est faux, docs/journal.md quoi faire."
        )


@contextlib.contextmanager
def _reading(settings: Settings) -> Iterator[None]:
    """Open the database to look at it, and make none. Raises `NothingInstalled`, `DatabaseUnreachable`."""
    file = console.sqlite_file(settings)
    if file and not file.is_file():
        raise console.NothingInstalled(folder=settings.data)
    with console.connected(console.connect(settings)):
        yield


def _clock(settings: Settings) -> Iterator[str]:
    try:
        with _reading(settings):
            last, jump, server = clockwork.last_record(), clockwork.unconfirmed(), _server_time()
    except (Refusal, pw.DatabaseError):  # said by the check of the database
        return
    now = SystemClock().now()
    if last and last - now > ASTRAY:
        yield (
            f"L’horloge de cette machine ({french.instant(now)}) retarde sur le dernier enregistrement du journal "
            f"({french.instant(last)}). {SET_CLOCK}"
        )
    if server and abs(server - now) > ASTRAY:
        yield (
            f"L’horloge de cette machine ({french.instant(now)}) et celle du serveur de la base de données "
            f"({french.instant(server)}) ne s’accordent pas. {SET_CLOCK}"
        )
    if jump:
        yield (
            f"L’horloge a avancé d’un coup de plus d’un jour (vu le {french.instant(jump)}) : les suppressions attendent. "
            "Vérifiez la date avec « timedatectl » ; si elle est juste, confirmez-la avec « mespieces expire »."
        )


def _server_time() -> datetime | None:
    """Return what the database's server takes for the present instant, None when there is no server."""
    return None if models.is_sqlite() else models.database.execute_sql("SELECT now()").fetchone()[0]


def _unsent() -> Iterator[str]:
    waiting = Message.select().where(
        Message.sent_at.is_null(), Message.given_up_at.is_null(), Message.refused_at.is_null()
    )
    late = waiting.where(Message.created_at < SystemClock().now() - LATE).count()
    if late:
        last = waiting.where(Message.reason != "").order_by(Message.created_at.desc()).first()
        why = f" Dernier refus : {last.reason}" if last else " Le travail de fond tourne-t-il ?"
        wait = french.counted(late, "courriel attend", "courriels attendent")
        yield f"{wait} depuis plus de dix minutes.{why}"


def _storage(settings: Settings) -> Iterator[str]:
    if settings.storage_url == f"file://{settings.data / 'storage'}" and not settings.data.is_dir():
        return  # said already, and checking would make the folder
    open_storage(settings.storage_url).check()
    if not settings.storage_url.startswith("file:"):
        return
    folder = Path(unquote(urlsplit(settings.storage_url).path))
    yield from _folder(folder)
    if not settings.data.is_dir() or folder.stat().st_dev != settings.data.stat().st_dev:
        yield from _room(folder)


def _lost(settings: Settings) -> Iterator[str]:
    """Tell that documents of the database are not where the settings say that documents are."""
    try:
        with _reading(settings):
            newest = (
                Document.select().where(Document.wrapped_key.is_null(False)).order_by(Document.added_at.desc()).first()
            )
    except (Refusal, pw.DatabaseError):  # said by the check of the database
        return
    if newest and not any(open_storage(settings.storage_url).names(documents.file_name(newest.id))):
        yield (
            f"La pièce ajoutée en dernier n’est pas dans {settings.storage_url} : corrigez MESPIECES_STORAGE_URL, ou "
            "restaurez ce dossier depuis votre sauvegarde ; « mespieces storage verify » dit lesquelles manquent."
        )


def _queue(settings: Settings) -> Iterator[str]:
    cure = "corrigez MESPIECES_QUEUE_URL"
    if settings.queue_url.startswith("sqlite:"):
        folder = Path(settings.queue_url.removeprefix("sqlite:///")).parent
        if folder != settings.data and not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
            yield f"La file d’attente du travail de fond ne peut pas être écrite dans {folder} : créez ce dossier, ou {cure}."
        return
    try:
        psycopg.connect(settings.queue_url, connect_timeout=5).close()
    except psycopg.Error as error:
        reason = next(iter(str(error).splitlines()), "")
        yield f"La base de la file d’attente du travail de fond ne répond pas ({reason}) : démarrez-la, ou {cure}."


def _mail(settings: Settings) -> Iterator[str]:
    open_mail(settings.mail_url, settings.mail_from).check()
    if settings.mail_url.startswith("file:") and not _local(settings):
        yield "Les courriels sont écrits dans un dossier et ne partent pas : réglez MESPIECES_MAIL_URL (smtp://…)."


def _address(settings: Settings) -> Iterator[str]:
    if not settings.https and not _local(settings):
        yield (
            f"L’adresse publique {settings.public_url} n’est pas chiffrée : servez le site en https "
            "et réglez MESPIECES_PUBLIC_URL."
        )
    if settings.trusted_proxies and not settings.https:
        yield (
            "MESPIECES_TRUSTED_PROXIES fait croire ce que les visiteurs disent de leur adresse, alors qu’aucun mandataire "
            "ne porte le https : remettez-le à 0, ou réglez MESPIECES_PUBLIC_URL en https."
        )
    if settings.https and not settings.trusted_proxies:
        yield (
            "Derrière le mandataire qui porte le https, réglez MESPIECES_TRUSTED_PROXIES=1 : sinon le journal et les "
            "limites d’essais prennent tous les visiteurs pour un seul."
        )


def _local(settings: Settings) -> bool:
    host = urlsplit(settings.public_url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


_CHECKS: dict[str, Callable[[Settings], Iterator[str]]] = {
    "data": _data,
    "keys": _keys,
    "database": _database,
    "signing": _signing,
    "clock": _clock,
    "storage": _storage,
    "documents": _lost,
    "queue": _queue,
    "mail": _mail,
    "public_url": _address,
}
