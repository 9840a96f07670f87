"""A real time-stamping authority: `openssl ts` behind an HTTP server, and the ways it can misbehave."""

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

STAMPING = (ExtendedKeyUsageOID.TIME_STAMPING,)
CONFIGURATION = """[tsa]
default_tsa = t
[t]
serial = {folder}/serial
crypto_device = builtin
signer_cert = {folder}/signer.pem
certs = {folder}/chain.pem
signer_key = {folder}/signer.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha512
accuracy = secs:1
ess_cert_id_alg = {naming}
"""


class Authority:
    """Root (or that of another, `under` it), intermediate and signer in `folder`; `behaviour` changes what it answers."""

    def __init__(
        self, folder: Path, *, uses=STAMPING, critical=True, ends=timedelta(days=1), name="Horodatage", naming="sha256", kind="rsa",
        under: "Authority | None" = None,
    ) -> None:  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.behaviour, self.asked, self.url = folder, "", 0, ""
        self.clock: list[str] = []
        """What runs `openssl` at another time, if anything does."""
        root_key, middle_key, key = (_key(kind) for _ in range(3))
        trunk = f"Racine {name}"
        if under:  # another unit of the same authority
            trunk, root_key = under.trunk, under.root_key
        self.trunk, self.root_key = trunk, root_key
        root = under.root if under else _sign(trunk, root_key, trunk, root_key, ca=True)
        middle = _sign(f"Intermédiaire {name}", middle_key, trunk, root_key, ca=True)
        signer = _sign(name, key, f"Intermédiaire {name}", middle_key, uses=uses, critical=critical, ends=ends)
        self.root, self.signer = root, signer
        self._again = partial(
            _sign,
            name,
            key,
            f"Intermédiaire {name}",
            middle_key,
            uses=uses,
            critical=critical,
            serial=signer.serial_number,
        )
        for file, held in (("root", [root]), ("signer", [signer]), ("chain", [root, middle])):
            (folder / f"{file}.pem").write_bytes(b"".join(c.public_bytes(serialization.Encoding.PEM) for c in held))
        private = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (folder / "signer.key").write_bytes(key.private_bytes(*private))
        (folder / "serial").write_text("01\n")
        (folder / "tsa.cnf").write_text(CONFIGURATION.format(folder=folder, naming=naming))
        self.pem = folder / "root.pem"

    def reply(self, query: bytes) -> bytes:
        """Answer one query as `openssl ts` does."""
        (self.folder / "query.tsq").write_bytes(query)
        command = "openssl ts -reply -config tsa.cnf -queryfile query.tsq -out reply.tsr"
        self._run([*self.clock, *command.split()])
        return (self.folder / "reply.tsr").read_bytes()

    def twin(self, **facts) -> x509.Certificate:
        """Return another certificate of the signer's key, under the same name and number; it lasts longer."""
        return self._again(ends=timedelta(days=300), **facts)

    def reply_under(self, certificate: x509.Certificate, query: bytes) -> bytes:
        """Answer one query under a certificate with which `openssl ts` would refuse to start."""
        self.reply(query)
        (self.folder / "other.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        self._run(["openssl", "ts", "-reply", "-in", "reply.tsr", "-token_out", "-out", "reply.p7"])
        self._run(["openssl", "cms", "-verify", "-noverify", "-inform", "DER", "-in", "reply.p7", "-out", "stated.der"])
        signing = "openssl cms -sign -binary -nodetach -cades -md sha256 -econtent_type 1.2.840.113549.1.9.16.1.4"
        named = "-in stated.der -signer other.pem -inkey signer.key -certfile chain.pem -outform DER -out other.p7"
        self._run([*signing.split(), *named.split()])
        token = bytes.fromhex("3003020100") + (self.folder / "other.p7").read_bytes()  # granted
        return b"\x30\x82" + len(token).to_bytes(2) + token

    def _run(self, command: list[str]) -> None:
        subprocess.run(command, cwd=self.folder, check=True, capture_output=True)

    def query(self, data: bytes) -> bytes:
        """Return a query of openssl's own, over other bytes and with another nonce."""
        (self.folder / "data").write_bytes(data)
        self._run(["openssl", "ts", "-query", "-data", "data", "-sha256", "-cert", "-out", "own.tsq"])
        return (self.folder / "own.tsq").read_bytes()

    def accepts(self, data: bytes, token: bytes) -> bool:
        """Tell whether `openssl ts -verify` finds that `token` dates `data`."""
        (self.folder / "data").write_bytes(data)
        (self.folder / "token.tsr").write_bytes(token)
        command = "openssl ts -verify -data data -in token.tsr -CAfile root.pem"
        return subprocess.run(command.split(), cwd=self.folder, check=False, capture_output=True).returncode == 0


@contextmanager
def serving(authority: Authority) -> Iterator[Authority]:
    """Let `authority` answer at its `url`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, authority))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    authority.url = f"http://127.0.0.1:{server.server_port}/tsa"
    try:
        yield authority
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, authority: Authority, *arguments) -> None:
        self._authority = authority
        super().__init__(*arguments)

    def do_POST(self) -> None:
        query = self.rfile.read(int(self.headers["Content-Length"]))
        self._authority.asked += 1
        behaviour = self._authority.behaviour
        if behaviour == "down":
            self.send_error(503)
            return
        self.send_response(200)
        try:
            if behaviour == "slow headers":
                self._drip()
            self.end_headers()
            if behaviour == "slow":
                self._drip()
            self.wfile.write(self._body(query, behaviour))
        except OSError:  # hung up on
            return

    def _drip(self) -> None:
        """Send one byte after the other until nobody listens any more."""
        self.flush_headers()
        while True:
            self.wfile.write(b"0")
            time.sleep(0.05)

    def _body(self, query: bytes, behaviour: str) -> bytes:
        if behaviour == "garbage":
            return b"<html>Bonjour</html>"
        if behaviour == "too large":
            return self._authority.reply(query) + bytes(100_000)
        if behaviour == "rejection":
            return self._authority.reply(b"no query")
        if behaviour == "other imprint":
            at = query.index(b"\x04\x20") + 2  # the one OCTET STRING of 32 bytes; the nonce stays
            return self._authority.reply(query[:at] + bytes(32) + query[at + 32 :])
        if behaviour.startswith("over "):
            return self._authority.reply(self._authority.query(behaviour.removeprefix("over ").encode()))
        return self._authority.reply(query)

    def log_message(self, *_arguments) -> None:
        pass


def _key(kind):
    return ec.generate_private_key(ec.SECP256R1()) if kind == "ec" else rsa.generate_private_key(65537, 2048)


def _sign(subject, key, issuer, issuer_key, *, ca=False, uses=(), critical=True, ends=timedelta(days=1), serial=0):
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + ends)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if uses:
        built = built.add_extension(x509.ExtendedKeyUsage(list(uses)), critical=critical)
    return built.sign(issuer_key, hashes.SHA256())


def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
