"""Settings become a bound database and opened gateways: what web, worker and command line all start from."""

from dataclasses import dataclass

import peewee as pw
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mespieces import migrations, models
from mespieces.config import Settings
from mespieces.domain import checkpoints, clockwork, continuity, journal
from mespieces.errors import Unavailable
from mespieces.gateways import Gateways, keys
from mespieces.gateways.bell import Bell
from mespieces.gateways.clock import Clock, SystemClock
from mespieces.gateways.mail import open_mail
from mespieces.gateways.storage import open_storage
from mespieces.gateways.timestamps import open_authorities
from mespieces.gateways.vault import Corrupted, MasterKeyLost, open_vault
from mespieces.models import Fact

PROBE = "master.probe"
"""The fact that holds a known secret, sealed by the master key this database was begun with."""
_PROBED, _PROBED_FOR = b"mespieces", "probe"


class KeyForeign(Unavailable):
    """A key that did not make what the database holds."""


class MasterKeyForeign(KeyForeign):
    """The master key opens nothing of what the database holds."""

    message = (
        "Le fichier {path} ne contient pas la clé maîtresse de cette base de données : rien de ce qui est chiffré ne "
        "pourrait être lu. Restaurez-le depuis votre sauvegarde."
    )


class JournalKeyForeign(KeyForeign):
    """The journal key is not the one the journal was opened with: nobody could verify what it would sign."""

    message = (
        "Le fichier {path} ne contient pas la clé avec laquelle le journal de cette base de données a été ouvert : ce "
        "qu’il signerait serait tenu pour faux. Restaurez-le depuis votre sauvegarde."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """A bound database, opened gateways, and the key that signs cookies."""

    settings: Settings
    database: pw.Database
    gateways: Gateways
    secret_key: bytes


def open_runtime(
    settings: Settings, *, clock: Clock | None = None, check_tables: bool = True, check_journal: bool = True
) -> Runtime:
    """Open everything the settings name. Raises `Unavailable` in words when something is missing or wrong."""
    database = models.connect(settings.database_url)
    if check_tables:
        with database.connection_context():
            migrations.check(database)
    gateways = Gateways(
        settings=settings,
        clock=clock or SystemClock(),
        vault=open_vault(open_storage(settings.storage_url), settings.master_key_file),
        mail=open_mail(settings.mail_url, settings.mail_from),
        bell=Bell(),
        journal_key=Ed25519PrivateKey.from_private_bytes(keys.read(settings.journal_key_file)),
        authorities=open_authorities(settings),
    )
    if check_tables:
        with database.connection_context():
            check_keys(gateways)
            if check_journal:
                continuity.check(settings.newest_checkpoint_file)
    return Runtime(
        settings=settings, database=database, gateways=gateways, secret_key=keys.read(settings.secret_key_file)
    )


def check_keys(gateways: Gateways) -> None:
    """Make sure that the keys are those of the database, which remembers them from the first start on.

    Raises `MasterKeyForeign`, `JournalKeyForeign`.
    """
    settings = gateways.settings
    known = {row.name: row.detail for row in Fact.select().where(Fact.name.in_([PROBE, journal.VKEY]))}
    begun = PROBE in known
    if begun and not _opens(gateways, known[PROBE]):
        raise MasterKeyForeign(path=settings.master_key_file)
    try:
        vkey = checkpoints.vkey(gateways)
    except journal.JournalClosed:  # being installed
        vkey = ""
    # A fact taken away since the first start is no permission: whoever swaps a key could take it away as well.
    if vkey and known.get(journal.VKEY, "" if begun else vkey) != vkey:
        raise JournalKeyForeign(path=settings.journal_key_file)
    if not begun:
        _remember(gateways, vkey)


def _opens(gateways: Gateways, probe: str) -> bool:
    """Tell whether a master key, the current one or a former one, opens the probe."""
    try:
        return gateways.vault.open_secret(bytes.fromhex(probe), _PROBED_FOR) == _PROBED
    except (MasterKeyLost, Corrupted, ValueError):
        return False


def _remember(gateways: Gateways, vkey: str) -> None:
    now = gateways.clock.now()
    with models.write():
        clockwork.set_fact(PROBE, now, gateways.vault.seal_secret(_PROBED, _PROBED_FOR).hex())
        if vkey:
            clockwork.set_fact(journal.VKEY, now, vkey)
