"""Every setting, typed, read once from the environment and frozen. `docs/settings.md` explains each."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args
from urllib.parse import SplitResult, urlsplit

from mespieces.errors import Unavailable

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
ActAlone = Literal["refuse", "office", "anyone"]

PREFIX = "MESPIECES_"
KNOWN = frozenset({
    "DATA", "DATABASE_URL", "STORAGE_URL", "QUEUE_URL", "MAIL_URL", "MAIL_FROM", "PUBLIC_URL",
    "MASTER_KEY_FILE", "SECRET_KEY_FILE", "JOURNAL_KEY_FILE",
    "ACT_ALONE", "FIRST_CONSULTATION_MAIL", "OFFICE_NETWORKS", "TRUSTED_PROXIES", "MAX_DOCUMENT_BYTES", "PURGE_MONTHS", "NEWEST_CHECKPOINT_FILE",
    "TSA_URL", "TSA_ROOTS", "TSA_POLICY",
})  # fmt: skip
_OBJECT_IDENTIFIER = re.compile(r"[012](\.(0|[1-9][0-9]*))+")
_SENDER = re.compile(r"[^@\s,;:<>()\[\]\"\\]{1,64}@[^@\s,;<>()\"\\]+")


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
    first_consultation_mail: bool
    office_networks: tuple[Network, ...]
    trusted_proxies: int
    max_document_bytes: int
    purge_months: int
    newest_checkpoint_file: Path
    tsa_url: str
    """Addresses of authorities, separated by spaces; empty when nobody is asked for certain dates."""
    tsa_roots: str
    tsa_policy: str
    """Identifiers of the policies under which a token is taken, separated by spaces; empty when any will do."""

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
    public_url, host = _site(value("PUBLIC_URL", "http://127.0.0.1:8080").rstrip("/"))
    return Settings(
        data=data,
        database_url=_tables("DATABASE_URL", value("DATABASE_URL", f"sqlite:///{data / 'mespieces.db'}")),
        storage_url=_storage(value("STORAGE_URL", f"file://{data / 'storage'}")),
        queue_url=_tables("QUEUE_URL", value("QUEUE_URL", f"sqlite:///{data / 'queue.db'}")),
        mail_url=_mail(value("MAIL_URL", f"file://{data / 'mail'}")),
        mail_from=_sender(value("MAIL_FROM", "")) or f"ne-pas-repondre@{host}",
        public_url=public_url,
        master_key_file=Path(value("MASTER_KEY_FILE", str(data / "keys" / "master.key"))),
        secret_key_file=Path(value("SECRET_KEY_FILE", str(data / "keys" / "secret.key"))),
        journal_key_file=Path(value("JOURNAL_KEY_FILE", str(data / "keys" / "journal.key"))),
        act_alone=_act_alone(value("ACT_ALONE", "office")),
        first_consultation_mail=_yes_or_no("FIRST_CONSULTATION_MAIL", value("FIRST_CONSULTATION_MAIL", "yes")),
        office_networks=_networks(value("OFFICE_NETWORKS", "0.0.0.0/0 ::/0")),
        trusted_proxies=_whole("TRUSTED_PROXIES", value("TRUSTED_PROXIES", "0"), 0, 10),
        max_document_bytes=_whole("MAX_DOCUMENT_BYTES", value("MAX_DOCUMENT_BYTES", str(50 * 2**20)), 1, 2**40),
        purge_months=_whole("PURGE_MONTHS", value("PURGE_MONTHS", "3"), 0, 600),
        newest_checkpoint_file=Path(value("NEWEST_CHECKPOINT_FILE", str(data / "keys" / "newest-checkpoint.note"))),
        tsa_url=_authorities(value("TSA_URL", "")),
        tsa_roots=value("TSA_ROOTS", ""),
        tsa_policy=_policies(value("TSA_POLICY", "")),
    )


def _site(text: str) -> tuple[str, str]:
    """Return the public address and its host: nothing but a scheme, a host and a port."""
    parts = _split(text)
    usable = parts and parts.scheme in {"http", "https"} and parts.hostname
    if not parts or not usable or parts.path or "?" in text or "#" in text or "@" in parts.netloc:
        raise SettingWrong(name="MESPIECES_PUBLIC_URL", reason="on attend une adresse comme https://pieces.example.fr")
    return text, str(parts.hostname)


def _tables(name: str, url: str) -> str:
    parts = _split(url)
    known = parts and (
        (parts.scheme == "sqlite" and url.startswith("sqlite:///") and len(url) > len("sqlite:///"))
        or (parts.scheme in {"postgresql", "postgres"} and "://" in url)
    )
    if not known:
        raise SettingWrong(name=PREFIX + name, reason="on attend sqlite:///fichier ou postgresql://…")
    return url


def _storage(url: str) -> str:
    if url != "memory:" and not _folder(_split(url)):
        raise SettingWrong(name="MESPIECES_STORAGE_URL", reason="on attend file:///dossier")
    return url


def _mail(url: str) -> str:
    parts = _split(url)
    server = parts and parts.scheme in {"smtp", "smtps"} and parts.hostname
    if url != "memory:" and not server and not _folder(parts):
        raise SettingWrong(
            name="MESPIECES_MAIL_URL", reason="on attend smtp://serveur:25, smtps://serveur:465 ou file:///dossier"
        )
    return url


def _authorities(text: str) -> str:
    for part in map(_split, text.split()):
        if not part or part.scheme not in {"http", "https"} or not part.hostname or part.query or "@" in part.netloc:
            raise SettingWrong(
                name="MESPIECES_TSA_URL",
                reason="on attend des adresses comme https://tsa.example.fr, séparées d’un espace",
            )
    return text


def _policies(text: str) -> str:
    if not all(_OBJECT_IDENTIFIER.fullmatch(part) for part in text.split()):
        raise SettingWrong(name="MESPIECES_TSA_POLICY", reason="on attend des identifiants comme 1.2.250.1.302.2.5.1.0")
    return text


def _sender(text: str) -> str:
    if text and not _SENDER.fullmatch(text):
        raise SettingWrong(name="MESPIECES_MAIL_FROM", reason="on attend une adresse comme pieces@etude.example.fr")
    return text


def _split(url: str) -> SplitResult | None:
    """Return the parts of an address, None when it is none; its text, which may hold a password, is never repeated."""
    try:
        parts = urlsplit(url)
        usable = parts.port != 0
    except ValueError:  # a port or a bracket
        return None
    return parts if usable else None


def _folder(parts: SplitResult | None) -> bool:
    return bool(parts and parts.scheme == "file" and parts.netloc in {"", "localhost"} and parts.path.startswith("/"))


def _act_alone(text: str) -> ActAlone:
    if text not in get_args(ActAlone):
        raise SettingWrong(name="MESPIECES_ACT_ALONE", reason="on attend refuse, office ou anyone")
    return cast("ActAlone", text)


def _yes_or_no(name: str, text: str) -> bool:
    if text not in {"yes", "no"}:
        raise SettingWrong(name=PREFIX + name, reason="on attend yes ou no")
    return text == "yes"


def _networks(text: str) -> tuple[Network, ...]:
    wrong = SettingWrong(name="MESPIECES_OFFICE_NETWORKS", reason=f"« {text} » n’est pas une liste de réseaux")
    try:
        networks = tuple(ipaddress.ip_network(part) for part in text.replace(",", " ").split())
    except ValueError as error:
        raise wrong from error
    if not networks:
        raise wrong
    return networks


def _whole(name: str, text: str, least: int, most: int) -> int:
    if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
        raise SettingWrong(name=PREFIX + name, reason=f"on attend un nombre entier de {least} à {most}")
    return int(text)
