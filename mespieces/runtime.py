"""Settings become a bound database and opened gateways: what web, worker and command line all start from."""

from dataclasses import dataclass

import peewee as pw
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mespieces import migrations, models
from mespieces.config import Settings
from mespieces.gateways import Gateways, keys
from mespieces.gateways.bell import Bell
from mespieces.gateways.clock import Clock, SystemClock
from mespieces.gateways.mail import open_mail
from mespieces.gateways.storage import open_storage
from mespieces.gateways.vault import open_vault


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """A bound database, opened gateways, and the key that signs cookies."""

    settings: Settings
    database: pw.Database
    gateways: Gateways
    secret_key: bytes


def open_runtime(settings: Settings, *, clock: Clock | None = None, check_tables: bool = True) -> Runtime:
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
    )
    return Runtime(
        settings=settings, database=database, gateways=gateways, secret_key=keys.read(settings.secret_key_file)
    )
