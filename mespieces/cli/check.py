"""`check`: what is misconfigured, in words an operator can act upon."""

import ipaddress
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from urllib.parse import urlsplit

import click
import peewee as pw

from mespieces import migrations
from mespieces import runtime as starting
from mespieces.cli import console
from mespieces.config import Settings, SettingWrong
from mespieces.domain import journal, offices
from mespieces.errors import Refusal
from mespieces.gateways import keys
from mespieces.gateways.clock import SystemClock
from mespieces.gateways.mail import open_mail
from mespieces.gateways.storage import open_storage
from mespieces.models import Message

LEAST_ROOM = 1 << 30
LATE = timedelta(minutes=10)


@click.command()
@console.json_option
@click.pass_context
def check(ctx: click.Context, *, as_json: bool) -> None:
    """Dit en clair ce qui est mal réglé ; sort avec 1 s’il y a quelque chose."""
    try:
        settings = console.settings()
        found, remarks = list(find(settings)), remark(settings)
    except SettingWrong as error:
        found, remarks = [("settings", str(error))], []
    problems = [{"about": about, "problem": words} for about, words in found]
    lines = [f"• {row['problem']}" for row in problems] or ["Tout est en ordre."]
    words = "\n".join([*lines, *(f"À noter : {sentence}" for sentence in remarks)])
    console.tell({"ok": not problems, "problems": problems, "remarks": remarks}, words, as_json=as_json)
    ctx.exit(1 if problems else 0)


def find(settings: Settings) -> Iterator[tuple[str, str]]:
    """Give each problem: what it is about, and the sentence."""
    for about, look in _CHECKS.items():
        try:
            yield from ((about, words) for words in look(settings))
        except Refusal as error:
            yield about, str(error)


def remark(settings: Settings) -> list[str]:
    """Return what an operator should know though nothing is wrong."""
    reserved = {"MESPIECES_TSA_URL": settings.tsa_url, "MESPIECES_TSA_ROOTS": settings.tsa_roots}
    return [
        f"{name} est réservé et n’a pas encore d’effet : le journal n’est horodaté par aucun tiers."
        for name, value in reserved.items()
        if value
    ]


def _data(settings: Settings) -> Iterator[str]:
    if not settings.data.is_dir():
        yield str(console.NothingInstalled(folder=settings.data))
        return
    mode = settings.data.stat().st_mode & 0o777
    if mode & 0o077:
        yield f"Le dossier {settings.data} est ouvert à d’autres comptes ({mode:03o}) : « chmod 700 {settings.data} »."
    if not os.access(settings.data, os.W_OK | os.X_OK):
        yield f"Le service ne peut pas écrire dans {settings.data} : rendez-le à son compte avec « chown »."
    if shutil.disk_usage(settings.data).free < LEAST_ROOM:
        yield f"Il reste moins de 1 Gio libre sur le disque de {settings.data}."


def _keys(settings: Settings) -> Iterator[str]:
    for path in (settings.master_key_file, settings.secret_key_file, settings.journal_key_file):
        try:
            keys.read_all(path)
        except Refusal as error:
            yield str(error)
    try:
        _open(settings)
    except starting.KeyForeign as error:
        yield str(error)
    except Refusal:
        return  # said above, or by the check of what does not open


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
        yield from _unsent()


def _unsent() -> Iterator[str]:
    waiting = Message.select().where(
        Message.sent_at.is_null(), Message.given_up_at.is_null(), Message.refused_at.is_null()
    )
    late = waiting.where(Message.created_at < SystemClock().now() - LATE).count()
    if late:
        last = waiting.where(Message.reason != "").order_by(Message.created_at.desc()).first()
        why = f" Dernier refus : {last.reason}" if last else " Le travail de fond tourne-t-il ?"
        wait = "1 courriel attend" if late == 1 else f"{late} courriels attendent"
        yield f"{wait} depuis plus de dix minutes.{why}"
    day_ago = SystemClock().now() - timedelta(days=1)
    lost = Message.select(pw.fn.COUNT(Message.id)).where(Message.refused_at > day_ago).scalar()
    if lost:
        failed = "1 courriel n’a pas pu être remis" if lost == 1 else f"{lost} courriels n’ont pas pu être remis"
        yield f"{failed} depuis hier."


def _storage(settings: Settings) -> Iterator[str]:
    if settings.storage_url == f"file://{settings.data / 'storage'}" and not settings.data.is_dir():
        return  # said already, and checking would make the folder
    open_storage(settings.storage_url).check()
    yield from ()


def _mail(settings: Settings) -> Iterator[str]:
    open_mail(settings.mail_url, settings.mail_from)
    if settings.mail_url.startswith("file:") and not _local(settings):
        yield "Les courriels sont écrits dans un dossier et ne partent pas : réglez MESPIECES_MAIL_URL (smtp://…)."


def _address(settings: Settings) -> Iterator[str]:
    if not settings.https and not _local(settings):
        yield (
            f"L’adresse publique {settings.public_url} n’est pas chiffrée : servez le site en https "
            "et réglez MESPIECES_PUBLIC_URL."
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
    "storage": _storage,
    "mail": _mail,
    "public_url": _address,
}
