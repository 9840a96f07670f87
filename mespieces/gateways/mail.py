"""Mail: composed as plain text, handed to an SMTP server, to a folder of files, or to memory."""

import contextlib
import copy
import os
import re
import secrets
import smtplib
import socket
import ssl
from collections.abc import Iterator
from datetime import datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from typing import Protocol
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from mespieces.errors import Invalid, Refused, Unavailable
from mespieces.gateways import disk
from mespieces.gateways.clock import SystemClock

TIMEOUT = 30
"""Seconds of silence after which the server is called absent."""
FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""Control characters and line ends: a header holding one could become two headers."""
LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class MailDeferred(Unavailable):
    """The mail did not leave, and may leave later."""

    message = "Le message n’a pas pu partir pour l’instant ({reason}). Il sera présenté de nouveau."


class MailUnreachable(Unavailable):
    """The mail server would take no message from here."""

    message = "Le serveur de courriel {server} ne prendrait aucun message : {reason}. {cure}"


class MailRefused(Refused):
    """The recipient's server refuses this mail for good."""

    message = "Le message a été refusé par le serveur du destinataire ({reason}). Vérifiez l’adresse."


class MailUnknown(Unavailable):
    """The address of the mail server is none that the product understands."""

    message = (
        "L’adresse du serveur de courriel (« {scheme} ») n’est pas reconnue. "
        "Donnez « smtp://serveur:25 », « smtps://serveur:465 » ou « file:///dossier »."
    )


class AuthorityUnusable(Unavailable):
    """The file of the mail server's authority is missing or holds no certificate."""

    message = (
        "Le fichier {path} ne contient pas le certificat d’une autorité (format PEM) : vérifiez MESPIECES_MAIL_URL."
    )


class HeaderForged(Invalid):
    """An address or a subject would write other headers than its own."""

    message = "L’adresse ou l’objet du message n’est pas utilisable : vérifiez sa saisie."


class Mail(Protocol):
    """Sends messages, one recipient each."""

    def send(self, message: EmailMessage) -> None:
        """Hand the message over. Raises `MailDeferred` (try again) or `MailRefused` (give up)."""

    def check(self) -> None:
        """Make sure that a message could leave, and send none. Raises `MailUnreachable`."""


def open_mail(url: str, sender: str = "") -> Mail:
    """Return what sends mail: `smtp://user:password@host:port`, `smtps://…`, `file:///folder` or `memory:`.

    `?starttls=required` refuses a server that offers no encryption; `?ca=/path` adds an authority to the system's.
    `sender` becomes the From of messages that have none. Raises `MailUnknown`, `AuthorityUnusable`.
    """
    parts = urlsplit(url)
    if parts.scheme in {"smtp", "smtps"}:
        return SmtpMail(parts, sender)
    if parts.scheme == "file" and parts.netloc in {"", "localhost"} and parts.path.startswith("/"):
        return FolderMail(Path(unquote(parts.path)), sender)
    if url == "memory:":
        return MemoryMail(sender)
    raise MailUnknown(scheme=parts.scheme)


def compose(sender: str, to: str, subject: str, text: str, *, date: datetime, message_id: str) -> EmailMessage:
    """Return a plain text message from one address to one address, which no one should answer (RFC 3834).

    `message_id` comes from `draw_id`. Raises `HeaderForged`.
    """
    if FORBIDDEN.search(subject + message_id) or date.tzinfo is None:
        raise HeaderForged(field="subject")
    message = EmailMessage()
    message["From"] = _address(sender, field="sender")
    message["To"] = _address(to, field="to")
    message["Subject"] = subject
    message["Date"] = format_datetime(date)
    message["Message-ID"] = f"<{message_id}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text, charset="utf-8", cte="quoted-printable")
    return message


def enclose(message: EmailMessage, name: str, data: bytes) -> None:
    """Join a file to a message; its bytes arrive as they are, whatever the mail programs between do to line ends."""
    message.add_attachment(data, maintype="application", subtype="octet-stream", filename=name)


def draw_id(domain: str) -> str:
    """Return a fresh Message-ID (RFC 5322, without its brackets): 128 random bits, so that only who saw the mail knows it."""
    return f"{secrets.token_hex(16)}@{domain}"


class SmtpMail:
    """An SMTP server, reached anew for each message; its certificate is always verified."""

    def __init__(self, parts: SplitResult, sender: str) -> None:
        options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        try:
            port = parts.port
        except ValueError:  # its text holds a piece of the address, perhaps of the password
            raise MailUnknown(scheme=parts.scheme) from None
        if (
            not parts.hostname
            or options.keys() - {"starttls", "ca"}
            or options.get("starttls", "required") != "required"
        ):
            raise MailUnknown(scheme=parts.scheme)
        self._host, self._tls, self._sender = parts.hostname, parts.scheme == "smtps", sender
        self._user, self._password = unquote(parts.username or ""), unquote(parts.password or "")
        self._port = port or (465 if self._tls else 587 if self._user else 25)
        self._required = "starttls" in options
        self._context = _verifying(options.get("ca"))

    def __repr__(self) -> str:
        return f"SmtpMail({self._host}:{self._port})"

    def send(self, message: EmailMessage) -> None:
        """Hand the message to the server. Raises `MailDeferred`, `MailRefused`."""
        message = _signed(message, self._sender)
        with _deferred():
            client = self._connect()
        try:
            with _deferred(), _refused():
                self._greet(client)
                client.send_message(message)
        finally:
            _leave(client)

    def check(self) -> None:
        """Connect, encrypt and log in as for a message. Raises `MailUnreachable`."""
        try:
            with _deferred():
                client = self._connect()
            try:
                with _deferred():
                    self._greet(client)
            finally:
                _leave(client)
        except MailDeferred as error:
            reason, cure = _diagnosis(error)
            raise MailUnreachable(server=f"{self._host}:{self._port}", reason=reason, cure=cure) from error

    def _connect(self) -> smtplib.SMTP:
        if self._tls:
            return smtplib.SMTP_SSL(self._host, self._port, timeout=TIMEOUT, context=self._context)
        return smtplib.SMTP(self._host, self._port, timeout=TIMEOUT)

    def _greet(self, client: smtplib.SMTP) -> None:
        client.ehlo_or_helo_if_needed()
        if not self._tls:
            if client.has_extn("starttls"):
                client.starttls(context=self._context)
                client.ehlo()
            elif self._required or (self._user and self._host not in LOOPBACK):
                # A password in clear, or an attacker who hides STARTTLS: wait rather than disclose.
                raise MailDeferred(reason="le serveur ne propose pas de liaison chiffrée")
        if self._user:
            try:
                client.login(self._user, self._password)
            except smtplib.SMTPServerDisconnected:
                raise
            except smtplib.SMTPException:
                # Not the recipient's fault, whatever the number; and no trace of what was sent.
                raise MailDeferred(reason="le serveur refuse l’identification du service") from None


class FolderMail:
    """Files in a folder, one `.eml` per message, in the order of their names."""

    def __init__(self, folder: Path, sender: str = "") -> None:
        self._folder, self._sender = folder, sender

    def send(self, message: EmailMessage) -> None:
        """Write the message whole. Raises `MailDeferred`."""
        instant = SystemClock().now().strftime("%Y%m%dT%H%M%S.%fZ")
        with _deferred():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = self._folder / f"{instant}-{secrets.token_hex(4)}.eml"
            disk.write(path, _signed(message, self._sender).as_bytes())

    def check(self) -> None:
        """Make sure that the folder can be written. Raises `MailUnreachable`."""
        there = next(folder for folder in (self._folder, *self._folder.parents) if folder.exists())
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            raise MailUnreachable(server=self._folder, reason="le service ne peut pas y écrire", cure=_CURE)


class MemoryMail:
    """A list: for tests."""

    def __init__(self, sender: str = "") -> None:
        self.sent: list[EmailMessage] = []
        self._sender = sender

    def send(self, message: EmailMessage) -> None:
        """Keep the message."""
        self.sent.append(_signed(message, self._sender))

    def check(self) -> None:
        """Do nothing: memory takes everything."""


def _verifying(authority: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    try:
        if authority:
            context.load_verify_locations(cafile=authority)
    except OSError as error:
        raise AuthorityUnusable(path=authority) from error
    return context


def _address(text: str, *, field: str) -> Address:
    """Return the one address of `text`, its domain in ASCII (RFC 5890)."""
    if FORBIDDEN.search(text):
        raise HeaderForged(field=field)
    parsed = EmailMessage()
    try:
        parsed["To"] = text
        header = parsed["To"]
        (address,) = header.addresses
        domain = address.domain.encode("idna").decode()
        found = Address(address.display_name, address.username, domain)
    except (ValueError, MessageError, IndexError, AttributeError) as error:
        raise HeaderForged(field=field) from error
    if header.defects or not found.username or not found.domain or not found.username.isascii():
        raise HeaderForged(field=field)
    return found


def _signed(message: EmailMessage, sender: str) -> EmailMessage:
    if message["From"] or not sender:
        return message
    message = copy.deepcopy(message)
    message["From"] = _address(sender, field="sender")
    return message


@contextlib.contextmanager
def _refused() -> Iterator[None]:
    """Name the answers that are about this recipient or this message and will not change (RFC 5321, 5yz)."""
    try:
        yield
    except smtplib.SMTPRecipientsRefused as error:
        code, answer = next(iter(error.recipients.values()))
        if code >= 500:
            raise MailRefused(reason=_words(code, answer)) from error
        raise MailDeferred(reason=_words(code, answer)) from error
    except smtplib.SMTPDataError as error:
        if error.smtp_code >= 500:
            raise MailRefused(reason=_words(error.smtp_code, error.smtp_error)) from error
        raise


@contextlib.contextmanager
def _deferred() -> Iterator[None]:
    """Name everything else: the server, the line or the settings may recover."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise MailDeferred(reason="le certificat du serveur n’est pas reconnu") from error
    except smtplib.SMTPResponseException as error:
        raise MailDeferred(reason=_words(error.smtp_code, error.smtp_error)) from error
    except (smtplib.SMTPException, OSError) as error:
        raise MailDeferred(reason="la liaison avec le serveur a échoué") from error


_CURE = "Vérifiez MESPIECES_MAIL_URL, et que cette machine peut joindre ce serveur."
_DIAGNOSES: tuple[tuple[type[BaseException], str, str], ...] = (
    (
        ssl.SSLCertVerificationError, "son certificat n’est pas reconnu",
        "Donnez à MESPIECES_MAIL_URL le nom que porte le certificat, et son autorité avec « ?ca=/chemin/autorite.pem ».",
    ),
    (ssl.SSLError, "il ne parle pas TLS sur ce port", "Essayez smtp:// (port 25 ou 587) plutôt que smtps:// (port 465)."),
    (socket.gaierror, "son nom n’existe pas", _CURE),
    (ConnectionRefusedError, "rien n’écoute à cette adresse et à ce port", _CURE),
    (TimeoutError, "il ne répond pas", f"{_CURE} Un pare-feu ferme souvent le port 25."),
)  # fmt: skip


def _diagnosis(error: MailDeferred) -> tuple[str, str]:
    """Return what an operator reads of a failure, and the cure."""
    for kind, reason, cure in _DIAGNOSES:
        if isinstance(error.__cause__, kind):
            return reason, cure
    return str(error.details["reason"]), _CURE


def _words(code: int, answer: bytes | str) -> str:
    """Return the server's answer on one line, cut: it is shown and kept."""
    text = answer if isinstance(answer, str) else answer.decode("utf-8", "replace")
    return f"{code} {FORBIDDEN.sub(' ', text)[:200]}"


def _leave(client: smtplib.SMTP) -> None:
    """Say goodbye; what the server answers does not change what it has accepted."""
    with contextlib.suppress(smtplib.SMTPException, OSError):
        client.quit()
    client.close()
