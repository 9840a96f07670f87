"""Certain dates asked of third parties (RFC 3161): what they answer is verified before anybody sees it."""

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

from mespieces.config import Settings, SettingWrong
from mespieces.errors import Unavailable
from mespieces.gateways import disk
from mespieces.gateways.clock import Clock
from mespieces.verifier import timestamp
from mespieces.verifier.timestamp import Stated

ANSWERS_WITHIN = 10.0  # seconds, the whole exchange


class AuthorityUnreachable(Unavailable):
    """The authority does not answer in time, or not as one."""

    message = "L’autorité d’horodatage {url} ne répond pas ({reason}). Un nouvel essai aura lieu."


class TokenRefused(Unavailable):
    """The authority answered something that dates nothing."""

    message = "La réponse de l’autorité d’horodatage {url} est refusée : {reason}."


@dataclass(frozen=True, slots=True)
class Stamp:
    """A verified token, and what our clock said before asking and after the answer."""

    der: bytes
    stated: Stated
    asked_at: datetime
    answered_at: datetime

    @property
    def drift(self) -> float:
        """How many seconds our clock is surely ahead (or behind, when negative) of the authority's; 0 when it may be right."""
        margin = max(self.stated.accuracy or 0.0, 1.0)  # many authorities tell whole seconds
        early = (self.asked_at - self.stated.time).total_seconds() - margin
        late = (self.answered_at - self.stated.time).total_seconds() + margin
        return early if early > 0 else min(late, 0.0)


@dataclass(frozen=True, slots=True)
class Authority:
    """One authority, reached at `url`, whose chain must end at one of `roots`."""

    url: str
    roots: tuple[x509.Certificate, ...]
    within: float = ANSWERS_WITHIN
    policies: tuple[str, ...] = ()
    """Under which a token is taken; any, when none is named."""

    def stamp(self, data: bytes, clock: Clock) -> Stamp:
        """Return a verified token over `data`. Raises `AuthorityUnreachable`, `TokenRefused`."""
        request = TimestampRequestBuilder().data(data).hash_algorithm(HashAlgorithm.SHA256).build()
        asked_at = clock.now()
        der = self._ask(request.as_bytes())
        answered_at = clock.now()
        try:
            stated = timestamp.verify(data, der, self.roots, nonce=request.nonce, policies=self.policies)
        except timestamp.TokenRefused as error:
            raise TokenRefused(url=self.url, reason=error) from error
        return Stamp(der, stated, asked_at, answered_at)

    def _ask(self, request: bytes) -> bytes:
        until = time.monotonic() + self.within
        line = _open(self.url, self.within)
        try:
            path = urlsplit(self.url).path or "/"
            line.request("POST", path, request, {"Content-Type": "application/timestamp-query"})
            with _hanging_up(line, self.within):
                answer = line.getresponse()
                if answer.status != http.client.OK:
                    raise AuthorityUnreachable(url=self.url, reason=f"réponse {answer.status}")
                received = answer.read(timestamp.LARGEST + 1)
            if time.monotonic() > until:
                raise AuthorityUnreachable(url=self.url, reason="trop lente")
        except (OSError, http.client.HTTPException) as error:
            raise AuthorityUnreachable(url=self.url, reason=_why(error)) from error
        finally:
            line.close()
        return received


def _why(error: Exception) -> str:
    """Return in French why an authority cannot be reached; what is rare is left as the system says it."""
    for kind, words in _REASONS.items():
        if isinstance(error, kind):
            return words
    return f"« {error or type(error).__name__} »"


_REASONS: dict[type[Exception], str] = {
    ConnectionRefusedError: "connexion refusée",
    ConnectionError: "connexion coupée",
    TimeoutError: "trop lente",
    socket.gaierror: "adresse inconnue",
    ssl.SSLCertVerificationError: "certificat du serveur refusé",
    http.client.HTTPException: "ce n’est pas une réponse HTTP",
}


@contextmanager
def _hanging_up(line: http.client.HTTPConnection, after: float) -> Iterator[None]:
    """Hang up after so many seconds: an authority that lets its bytes drip must not hold the worker."""
    sock: socket.socket = line.sock

    def hang_up() -> None:
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(after, hang_up)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _open(url: str, within: float) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    host = str(parts.hostname)
    if parts.scheme == "https":
        return http.client.HTTPSConnection(host, parts.port, timeout=within, context=ssl.create_default_context())
    return http.client.HTTPConnection(host, parts.port, timeout=within)


def open_authorities(settings: Settings) -> tuple[Authority, ...]:
    """Return the configured authorities, first choice first; none is configured by default. Raises `SettingWrong`."""
    if not settings.tsa_url:
        return ()
    if not settings.tsa_roots:
        raise SettingWrong(name="MESPIECES_TSA_ROOTS", reason="il nomme le fichier PEM des racines, et il est vide")
    try:
        roots = tuple(timestamp.read_roots(Path(settings.tsa_roots).read_bytes()))
    except (OSError, timestamp.TokenRefused) as error:
        reason = disk.reason(error) if isinstance(error, OSError) else error
        raise SettingWrong(name="MESPIECES_TSA_ROOTS", reason=f"{settings.tsa_roots} : {reason}") from error
    policies = tuple(settings.tsa_policy.split())
    return tuple(Authority(url, roots, policies=policies) for url in settings.tsa_url.split())
