"""A document of 1 GiB goes in and comes out of a real server, whose memory stays small."""

import hashlib
import http.client
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from urllib.parse import urlencode

import make
import pytest
import servers

from mespieces import config, migrations, models, runtime
from mespieces.domain import accesses, deposits, documents, journal, sessions
from mespieces.gateways import keys

SIZE = 1 << 30
PIECE = os.urandom(1 << 20)
MOST_MEMORY = 200 << 20


def large_pdf() -> Iterator[bytes]:
    """Give, piece by piece, a PDF of one page beside a stream of 1 GiB."""
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 280]>>",
    ]
    position, offsets = 0, []
    for piece in _pieces(objects, offsets):
        position += len(piece)
        yield piece
    table = b"xref\n0 5\n0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    yield table + b"trailer\n<</Size 5/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % position


def _pieces(objects: list[bytes], offsets: list[int]) -> Iterator[bytes]:
    position = 0

    def told(piece: bytes) -> bytes:
        nonlocal position
        position += len(piece)
        return piece

    yield told(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")
    for number, body in enumerate(objects, 1):
        offsets.append(position)
        yield told(b"%d 0 obj\n%b\nendobj\n" % (number, body))
    offsets.append(position)
    yield told(b"4 0 obj\n<</Length %d>>\nstream\n" % SIZE)
    for _ in range(SIZE // len(PIECE)):
        yield told(PIECE)
    yield told(b"\nendstream\nendobj\n")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[runtime.Runtime, int, int]]:
    """Run the product for real on a free port; give its runtime, the port and the serving process's number."""
    port = servers.free_port()
    environment = {
        "MESPIECES_DATA": str(tmp_path),
        "MESPIECES_MAX_DOCUMENT_BYTES": str(SIZE * 2),
        "MESPIECES_PUBLIC_URL": f"http://127.0.0.1:{port}",
    }
    settings = config.read(environment)
    (tmp_path / "keys").mkdir()
    for path in (settings.master_key_file, settings.secret_key_file, settings.journal_key_file):
        keys.create(path)
    database = models.connect(settings.database_url)
    with database.connection_context():
        migrations.apply(database)
    opened = runtime.open_runtime(settings)
    journal.open_log(opened.gateways)
    program = "from mespieces.cli import main; main()"
    command = [sys.executable, "-c", program, "serve", "--port", str(port), "--host", "127.0.0.1"]
    process = subprocess.Popen(command, env=_bare() | environment)
    try:
        _wait(port)
        yield opened, port, _serving(process.pid)
    finally:
        process.terminate()
        process.wait(timeout=30)
        opened.database.close()


def _bare() -> dict[str, str]:
    """Return the environment without what only tests know."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MESPIECES_")}


def _wait(port: int) -> None:
    for _ in range(200):
        try:
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
                connection.request("GET", "/healthz")
                connection.getresponse().read()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError


def _serving(parent: int) -> int:
    """Return the child that serves: the parent only watches over it."""
    return int(Path(f"/proc/{parent}/task/{parent}/children").read_text().split()[0])


def _peak(process: int) -> int:
    """Return the most memory the process ever held, in bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    assert found
    return int(found[1]) * 1024


def test_a_document_of_1_gib_is_uploaded_and_downloaded_in_little_memory(server):
    opened, port, process = server
    gateways = opened.gateways
    member = make.member(gateways)
    deposit = make.draft(gateways, member.office)
    with models.write():
        token = sessions.start(gateways.clock.now(), way="password+totp", member=member)

    digest, size = hashlib.sha256(), 0
    for piece in large_pdf():
        digest.update(piece)
        size += len(piece)
    at = f"/etude/depots/{deposit.id}/pieces"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("GET", at, headers={"Cookie": f"etude={token}"})
    page = connection.getresponse()
    form = page.headers["Set-Cookie"].split(";")[0]
    csrf = re.search(r'name="csrf-token" content="([^"]+)"', page.read().decode())
    assert csrf
    connection.request(
        "POST", at, large_pdf(), encode_chunked=False,
        headers={
            "Cookie": f"etude={token}; {form}", "X-CSRFToken": csrf[1], "X-Filename": "Grand%20livre.pdf",
            "Content-Type": "application/octet-stream", "Content-Length": str(size),
        },
    )  # fmt: skip
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 303

    document = documents.listed(deposit)[0]
    assert (document.size, document.fingerprint) == (size, digest.hexdigest())
    assert _peak(process) < MOST_MEMORY

    recipient = make.recipient(gateways, deposit)
    deposits.file(gateways, deposit.id, by=journal.OPERATOR)
    with models.write():
        token = sessions.start(gateways.clock.now(), way="act", access=accesses.of(recipient))
    connection.request("GET", "/pieces/1/fichier", headers={"Cookie": f"acces={token}"})
    received, answer = hashlib.sha256(), connection.getresponse()
    assert (answer.status, answer.headers["Content-Length"]) == (200, str(size))
    while piece := answer.read(1 << 20):
        received.update(piece)
    connection.close()
    assert received.hexdigest() == digest.hexdigest()
    assert _peak(process) < MOST_MEMORY


def test_a_burst_of_strangers_and_a_day_of_printing_leave_the_memory_small(server):
    opened, port, process = server
    gateways = opened.gateways
    member = make.member(gateways)
    deposit = make.filed(gateways, member.office)
    at = f"/etude/depots/{deposit.id}/destinataires/{make.first(deposit).id}"
    with models.write():
        token = sessions.start(gateways.clock.now(), way="password+totp", member=member)

    def wrong(_number: int) -> int:
        return _post(port, "/", "/consulter", {"reference": "W08N-0B87", "secret": "V5JWY-QPGQ3-0KBSS-9W35W"})

    with ThreadPoolExecutor(16) as strangers:
        answers = set(strangers.map(wrong, range(48)))
    printed = {_post(port, at, f"{at}/feuillet", {}, cookie=f"etude={token}") for _ in range(12)}

    assert answers <= {422, 429}
    assert printed == {200}
    assert _peak(process) < MOST_MEMORY


def _post(port: int, page: str, to: str, form: dict[str, str], cookie: str = "") -> int:
    """Read a page, post its form as a browser would, and return the status."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET", page, headers={"Cookie": cookie})
        answer = connection.getresponse()
        shown = answer.read().decode()
        token = re.search(r'name="csrf_token" value="([^"]+)"', shown)
        assert token
        last = re.search(r'name="last" value="([^"]*)"', shown)
        cookies = "; ".join(filter(None, [cookie, answer.headers["Set-Cookie"].split(";")[0]]))
        headers = {"Cookie": cookies, "Content-Type": "application/x-www-form-urlencoded"}
        connection.request(
            "POST", to, urlencode({"csrf_token": token[1], "last": last[1] if last else "", **form}), headers
        )
        answer = connection.getresponse()
        answer.read()
        return answer.status
