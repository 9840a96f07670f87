"""Every setting, typed, read once from the environment and frozen. `docs/settings.md` explains each."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args
from urllib.parse import urlsplit

from mespieces.errors import Unavailable

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
ActAlone = Literal["refuse", "office", "anyone"]

PREFIX = "MESPIECES_"
KNOWN = frozenset({
    "DATA", "DATABASE_URL", "STORAGE_URL", "QUEUE_URL", "MAIL_URL", "MAIL_FROM", "PUBLIC_URL",
    "MASTER_KEY_FILE", "SECRET_KEY_FILE", "JOURNAL_KEY_FILE",
    "ACT_ALONE", "OFFICE_NETWORKS", "TRUSTED_PROXIES", "MAX_DOCUMENT_BYTES",
})  # fmt: skip


class SettingWrong(Unavailable):
    """A setting cannot be understood; the program does not start."""

    message = "Le réglage {name} ne convient pas : {reason}."


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the operator decided. Paths are absolute; sizes in bytes."""

    data: Path
    database_url: str
    storage_url: str
    queue_url: str
    mail_url: str
    mail_from: str
    public_url: str
    master_key_file: Path
    secret_key_file: Path
    journal_key_file: Path
    act_alone: ActAlone
    office_networks: tuple[Network, ...]
    trusted_proxies: int
    max_document_bytes: int

    @property
    def https(self) -> bool:
        """Whether recipients reach the service over https, so that cookies may be `Secure`."""
        return urlsplit(self.public_url).scheme == "https"

    @property
    def host(self) -> str:
        """The public host name, which becomes the journal's origin."""
        return urlsplit(self.public_url).hostname or "localhost"


def read(environment: Mapping[str, str]) -> Settings:
    """Return the settings of `environment`; everything defaults to inside `MESPIECES_DATA`. Raises `SettingWrong`."""
    unknown = {name for name in environment if name.startswith(PREFIX)} - {PREFIX + name for name in KNOWN}
    if unknown:
        name = min(unknown)
        raise SettingWrong(name=name, reason="il n’existe pas (faute de frappe ?)")

    def value(name: str, default: str) -> str:
        return environment.get(PREFIX + name, "").strip() or default

    data = Path(value("DATA", "data")).expanduser().resolve()
    public_url = value("PUBLIC_URL", "http://127.0.0.1:8080").rstrip("/")
    parts = urlsplit(public_url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path or parts.query:
        raise SettingWrong(name="MESPIECES_PUBLIC_URL", reason="on attend une adresse comme https://pieces.example.fr")
    return Settings(
        data=data,
        database_url=value("DATABASE_URL", f"sqlite:///{data / 'mespieces.db'}"),
        storage_url=value("STORAGE_URL", f"file://{data / 'storage'}"),
        queue_url=value("QUEUE_URL", f"sqlite:///{data / 'queue.db'}"),
        mail_url=value("MAIL_URL", f"file://{data / 'mail'}"),
        mail_from=value("MAIL_FROM", f"ne-pas-repondre@{parts.hostname}"),
        public_url=public_url,
        master_key_file=Path(value("MASTER_KEY_FILE", str(data / "keys" / "master.key"))),
        secret_key_file=Path(value("SECRET_KEY_FILE", str(data / "keys" / "secret.key"))),
        journal_key_file=Path(value("JOURNAL_KEY_FILE", str(data / "keys" / "journal.key"))),
        act_alone=_act_alone(value("ACT_ALONE", "office")),
        office_networks=_networks(value("OFFICE_NETWORKS", "0.0.0.0/0 ::/0")),
        trusted_proxies=_whole("TRUSTED_PROXIES", value("TRUSTED_PROXIES", "0"), 0, 10),
        max_document_bytes=_whole("MAX_DOCUMENT_BYTES", value("MAX_DOCUMENT_BYTES", str(50 * 2**20)), 1, 2**40),
    )


def _act_alone(text: str) -> ActAlone:
    if text not in get_args(ActAlone):
        raise SettingWrong(name="MESPIECES_ACT_ALONE", reason="on attend refuse, office ou anyone")
    return cast("ActAlone", text)


def _networks(text: str) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(part) for part in text.replace(",", " ").split())
    except ValueError as error:
        raise SettingWrong(
            name="MESPIECES_OFFICE_NETWORKS", reason=f"« {text} » n’est pas une liste de réseaux"
        ) from error


def _whole(name: str, text: str, least: int, most: int) -> int:
    if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
        raise SettingWrong(name=PREFIX + name, reason=f"on attend un nombre entier de {least} à {most}")
    return int(text)
