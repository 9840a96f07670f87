"""Mail: handed over encrypted to a server that proves its name, tried again or given up as the server says."""

import email
import email.policy
import re
import socket
import socketserver
import ssl
import threading
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from ipaddress import ip_address

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from mespieces.gateways import mail

INSTANT = datetime(2026, 11, 23, 19, 0, tzinfo=UTC)
USER, PASSWORD = "service", "p@ss/w:rd"
IN_URL = "service:p%40ss%2Fw%3Ard"


def letter(to="jeanne@exemple.fr", subject="Votre code d’accès"):
    return mail.compose(
        "Étude Dupont <etude@exemple.fr>",
        to,
        subject,
        "Bonjour,\n\nVotre code : 123 456.\n",
        date=INSTANT,
        message_id=mail.draw_id("exemple.fr"),
    )


class Handler:
    """A recipient's server, answering as told."""

    def __init__(self):
        self.received, self.encrypted = [], []
        self.answers = {}

    async def handle_MAIL(self, server, session, envelope, address, options):  # noqa: N802 — the library's name
        envelope.mail_from = address
        return self.answers.get("MAIL", "250 OK")

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802
        if "RCPT" not in self.answers:
            envelope.rcpt_tos.append(address)
        return self.answers.get("RCPT", "250 OK")

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        if "DATA" not in self.answers:
            self.received.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
            self.encrypted.append(session.ssl is not None)
        return self.answers.get("DATA", "250 OK")


class Server(Controller):
    """Listens on any free port, and knows which before the library tries it."""

    def _trigger_server(self):
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


def authenticate(server, session, envelope, mechanism, data):
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=good, handled=good)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A certificate for 127.0.0.1 that vouches for itself: path, and the server's context."""
    folder = tmp_path_factory.mktemp("authority")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mail")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "ca.pem"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    both = folder / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    both.write_bytes(pem.read_bytes() + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    return pem, context


@pytest.fixture
def serve():
    """Start servers, and stop them after the test."""
    started = []

    def start(**options):
        controller = Server(Handler(), hostname="127.0.0.1", port=0, **options)
        controller.start()
        started.append(controller)
        return controller

    yield start
    for controller in started:
        controller.stop()


def test_a_message_reaches_a_plain_server_as_it_was_written(serve):
    server = serve()

    mail.open_mail(f"smtp://127.0.0.1:{server.port}").send(letter())

    (received,) = server.handler.received
    assert received["Subject"] == "Votre code d’accès"
    assert received["From"].addresses[0].display_name == "Étude Dupont"
    assert received["To"] == "jeanne@exemple.fr"
    assert received.get_content().replace("\r\n", "\n") == "Bonjour,\n\nVotre code : 123 456.\n"
    assert server.handler.encrypted == [False]


def test_a_server_that_offers_encryption_gets_the_message_encrypted(serve, authority):
    pem, context = authority
    server = serve(tls_context=context)

    mail.open_mail(f"smtp://127.0.0.1:{server.port}?starttls=required&ca={pem}").send(letter())
    mail.open_mail(f"smtp://127.0.0.1:{server.port}?ca={pem}").send(letter())

    assert server.handler.encrypted == [True, True]


def test_a_password_travels_encrypted_and_opens_the_server(serve, authority):
    pem, context = authority
    server = serve(tls_context=context, require_starttls=True, authenticator=authenticate, auth_required=True)

    mail.open_mail(f"smtp://{IN_URL}@127.0.0.1:{server.port}?ca={pem}").send(letter())

    assert server.handler.encrypted == [True]


def test_smtps_is_encrypted_from_the_first_byte(serve, authority):
    pem, context = authority
    server = serve(ssl_context=context)

    mail.open_mail(f"smtps://127.0.0.1:{server.port}?ca={pem}").send(letter())

    assert len(server.handler.received) == 1


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_a_server_that_does_not_prove_its_name_gets_nothing(serve, authority, scheme):
    _, context = authority
    server = serve(**({"tls_context": context} if scheme == "smtp" else {"ssl_context": context}))

    with pytest.raises(mail.MailDeferred, match="certificat"):
        mail.open_mail(f"{scheme}://{IN_URL}@127.0.0.1:{server.port}").send(letter())

    assert server.handler.received == []


def test_required_encryption_that_is_not_offered_stops_everything(serve):
    server = serve()

    with pytest.raises(mail.MailDeferred, match="chiffrée"):
        mail.open_mail(f"smtp://127.0.0.1:{server.port}?starttls=required").send(letter())

    assert server.handler.received == []


def test_a_wrong_password_is_the_offices_affair_and_appears_nowhere(serve, authority):
    pem, context = authority
    server = serve(tls_context=context, authenticator=authenticate, auth_required=True)
    opened = mail.open_mail(f"smtp://service:wr0ng-secret@127.0.0.1:{server.port}?ca={pem}")

    with pytest.raises(mail.MailDeferred, match="identification") as refusal:
        opened.send(letter())

    assert "wr0ng-secret" not in f"{refusal.value!r} {refusal.value.details} {opened!r}"
    assert refusal.value.__suppress_context__


@pytest.mark.parametrize(("step", "answer"), [("RCPT", "550 5.1.1 No such user"), ("DATA", "554 5.7.1 Not wanted")])
def test_a_permanent_refusal_is_given_up_with_the_servers_words(serve, step, answer):
    server = serve()
    server.handler.answers[step] = answer

    with pytest.raises(mail.MailRefused, match=re.escape(answer)):
        mail.open_mail(f"smtp://127.0.0.1:{server.port}").send(letter())

    assert server.handler.received == []


@pytest.mark.parametrize(
    ("step", "answer"),
    [
        ("RCPT", "450 4.2.1 Greylisted"),
        ("RCPT", "421 4.3.2 Shutting down"),
        ("DATA", "451 4.3.0 Busy"),
        ("MAIL", "452 4.3.1 Full"),
        ("MAIL", "550 5.7.1 Sender not allowed"),
    ],
)
def test_what_may_pass_or_be_mended_is_tried_again(serve, step, answer):
    server = serve()
    server.handler.answers[step] = answer
    opened = mail.open_mail(f"smtp://127.0.0.1:{server.port}")

    with pytest.raises(mail.MailDeferred, match=re.escape(answer)):
        opened.send(letter())

    server.handler.answers.clear()
    opened.send(letter())
    assert len(server.handler.received) == 1


def test_an_absent_server_is_tried_again():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]

    with pytest.raises(mail.MailDeferred, match="liaison"):
        mail.open_mail(f"smtp://127.0.0.1:{port}").send(letter())


class Script(socketserver.StreamRequestHandler):
    """A server that says its lines whatever it hears, then hangs up."""

    lines = ()

    def handle(self):
        for line in self.lines:
            if line is None:
                while self.rfile.readline().strip() not in {b".", b""}:
                    pass
                continue
            self.wfile.write(line + b"\r\n")
            if not line.startswith(b"354") and not self.rfile.readline():
                return


@pytest.fixture
def recite():
    """Start a server that recites lines; its port."""
    started = []

    def start(*lines):
        server = socketserver.TCPServer(("127.0.0.1", 0), type("Told", (Script,), {"lines": lines}))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        started.append((server, thread))
        return server.server_address[1]

    yield start
    for server, thread in started:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    "said", [[], [b"220 hello"], [b"220 hello", b"250 yes"], [b"220 hello", b"250 yes", b"250 yes"]]
)
def test_a_line_that_breaks_before_the_message_is_taken_is_tried_again(recite, said):
    with pytest.raises(mail.MailDeferred):
        mail.open_mail(f"smtp://127.0.0.1:{recite(*said)}").send(letter())


def test_a_server_that_greets_with_a_refusal_is_tried_again(recite):
    with pytest.raises(mail.MailDeferred, match="554 go away"):
        mail.open_mail(f"smtp://127.0.0.1:{recite(b'554 go away')}").send(letter())


@pytest.mark.parametrize("farewell", [[], [b"421 too late"], [b"rubbish"]])
def test_a_message_once_taken_is_not_sent_twice_for_a_rude_goodbye(recite, farewell):
    taken = [b"220 hello", b"250 yes", b"250 sender", b"250 recipient", b"354 go", None, b"250 taken", *farewell]

    mail.open_mail(f"smtp://127.0.0.1:{recite(*taken)}").send(letter())


def test_a_password_is_never_sent_in_clear_to_another_machine(monkeypatch, recite):
    port = recite(b"220 hello", b"250-yes\r\n250 AUTH PLAIN")
    opened = mail.open_mail(f"smtp://{IN_URL}@mail.exemple.fr:{port}")
    monkeypatch.setattr("socket.getaddrinfo", _here(port))

    with pytest.raises(mail.MailDeferred, match="chiffrée"):
        opened.send(letter())


def _here(port):
    def resolve(*args, **kwargs):
        return [(2, 1, 6, "", ("127.0.0.1", port))]

    return resolve


@pytest.mark.parametrize(
    "url",
    [
        "smtp://user:s3cret@:25",
        "smtp://user:s3cret@host:s3cret",
        "smtp://user:s3cret@host:25?starttls=never",
        "smtp://user:s3cret@host:25?password=s3cret",
        "imap://user:s3cret@host",
        "file:s3cret",
        "s3cret",
    ],
)
def test_an_address_that_is_not_understood_is_refused_without_being_repeated(url):
    with pytest.raises(mail.MailUnknown, match="smtps://serveur") as refusal:
        mail.open_mail(url)

    assert "s3cret" not in f"{refusal.value!r} {refusal.value.details}"
    assert refusal.value.__cause__ is None


def test_an_authority_that_is_not_there_is_named(tmp_path):
    with pytest.raises(mail.AuthorityUnusable, match=r"nowhere\.pem"):
        mail.open_mail(f"smtps://host?ca={tmp_path}/nowhere.pem")


def test_a_server_is_shown_without_its_password():
    opened = mail.open_mail(f"smtp://{IN_URL}@mail.exemple.fr")

    assert repr(opened) == "SmtpMail(mail.exemple.fr:587)"
    assert repr(mail.open_mail("smtp://relay")) == "SmtpMail(relay:25)"
    assert repr(mail.open_mail("smtps://relay")) == "SmtpMail(relay:465)"


def test_a_folder_keeps_messages_in_their_order_for_their_owner_alone(tmp_path):
    folder = tmp_path / "mail box"
    opened = mail.open_mail(f"file://{tmp_path}/mail%20box")
    for number in range(5):
        opened.send(letter(subject=f"n° {number}"))

    files = sorted(folder.iterdir())
    assert [path.suffix for path in files] == [".eml"] * 5
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700
    read = [email.message_from_bytes(path.read_bytes(), policy=email.policy.default) for path in files]
    assert [message["Subject"] for message in read] == [f"n° {number}" for number in range(5)]
    assert read[0].get_content() == "Bonjour,\n\nVotre code : 123 456.\n"


def test_a_folder_that_cannot_be_written_is_tried_again(tmp_path):
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(mail.MailDeferred):
        mail.open_mail(f"file://{tmp_path}/file").send(letter())


def test_memory_keeps_what_was_sent():
    opened = mail.open_mail("memory:")
    opened.send(letter())

    assert [message["To"] for message in opened.sent] == ["jeanne@exemple.fr"]


def test_a_message_without_sender_gets_the_default_one_and_is_not_changed():
    opened = mail.open_mail("memory:", "Étude <etude@exemple.fr>")
    message = EmailMessage()
    message["To"] = "jeanne@exemple.fr"
    opened.send(message)
    opened.send(letter())

    assert message["From"] is None
    assert [sent["From"].addresses[0].addr_spec for sent in opened.sent] == ["etude@exemple.fr", "etude@exemple.fr"]
    assert [sent["From"].addresses[0].display_name for sent in opened.sent] == ["Étude", "Étude Dupont"]


def test_a_composed_message_is_plain_text_that_machines_do_not_answer():
    message = letter()

    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Date"].datetime == INSTANT
    assert re.fullmatch(r"<[0-9a-f]{32}@exemple\.fr>", message["Message-ID"])
    assert message.get_content_type() == "text/plain"
    assert message.get_content_charset() == "utf-8"
    assert message.as_bytes().isascii()
    assert letter()["Message-ID"] != message["Message-ID"]


def test_a_domain_with_accents_is_written_for_every_server():
    assert letter(to="jeanne@société.fr")["To"] == "jeanne@xn--socit-esab.fr"


@pytest.mark.parametrize(
    "to",
    [
        "",
        "jeanne",
        "@exemple.fr",
        "jeanne@",
        "a@exemple.fr, b@exemple.fr",
        "a@exemple.fr\r\nBcc: b@exemple.fr",
        "a@exemple.fr\n",
        "a@exemple.fr\0",
        "jeanne@exemple.fr>, <b@exemple.fr",
        "jeanne@exemple..fr",
        "é@exemple.fr",
        "Jeanne <jeanne@exemple.fr> <b@exemple.fr>",
    ],
)
def test_what_is_not_one_address_is_refused(to):
    with pytest.raises(mail.HeaderForged) as refusal:
        letter(to=to)

    assert refusal.value.field == "to"


@pytest.mark.parametrize("subject", ["a\r\nBcc: b@exemple.fr", "a\nb", "a\rb", "a\u2028b", "a\x0bb", "a\x85b", "a\n"])
def test_a_subject_cannot_become_another_header(subject):
    with pytest.raises(mail.HeaderForged) as refusal:
        letter(subject=subject)

    assert refusal.value.field == "subject"


@given(st.text(max_size=300), st.text(max_size=60))
def test_whatever_is_composed_has_the_headers_it_should_and_no_other(subject, name):
    try:
        message = letter(subject=subject, to=f"{name} <jeanne@exemple.fr>")
    except mail.HeaderForged:
        return
    again = email.message_from_bytes(message.as_bytes(), policy=email.policy.default)

    expected = ["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted"]
    assert again.keys()[:6] == expected
    assert set(again.keys()[6:]) == {"Content-Type", "Content-Transfer-Encoding", "MIME-Version"}
    assert [address.addr_spec for address in again["To"].addresses] == ["jeanne@exemple.fr"]
