"""What a real `serve` writes: lines of JSON, joined to the pages people read out, and nothing of anybody."""

import contextlib
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
from urllib.parse import quote

import pytest
import servers
from conftest import DATABASES, fresh_database, hang_up

from mespieces import config, models
from mespieces.domain import codes, journal
from mespieces.gateways import keys
from mespieces.runtime import open_runtime

FED = ("Hermione", "hermione@exemple.fr", "mot-de-passe-tapé", "198.51.100.77", "jeton-de-cookie", "agent-secret")


class Served:
    """A real server, asked over its socket, and the lines it wrote."""

    def __init__(self, port, log, begun=0):
        self.port, self.log, self.begun = port, log, begun

    def ask(self, method, path, body=None, headers=None):
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def raw(self, data):
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(data)
            with contextlib.closing(http.client.HTTPResponse(connection)) as answer:
                answer.begin()
                return answer.status, answer.read().decode("utf-8", "replace")

    def written(self):
        return self.log.read_bytes()[self.begun :].decode()

    def lines(self):
        return [json.loads(line) for line in self.written().splitlines()]


@pytest.fixture(scope="module", params=DATABASES)
def server(request, tmp_path_factory):
    """Serve the product once, for the tests that read no more than what they had it write."""
    folder = tmp_path_factory.mktemp("served")
    with fresh_database(request, folder) as url, _serving(url, folder) as served:
        yield served


@pytest.fixture
def served(server):
    """Give the server, and of its lines those of this test."""
    return Served(server.port, server.log, server.log.stat().st_size)


@pytest.fixture
def served_alone(database_url, tmp_path):
    """Give a server of its own to a test that breaks something under it."""
    with _serving(database_url, tmp_path) as served:
        yield served


@contextlib.contextmanager
def _serving(database_url, folder):
    """Serve the product as its command does, stdout and stderr together in one file."""
    port = servers.free_port()
    environment = {
        "MESPIECES_DATA": str(folder), "MESPIECES_DATABASE_URL": database_url,
        "MESPIECES_PUBLIC_URL": f"http://127.0.0.1:{port}",
    }  # fmt: skip
    settings = config.read(environment)
    (folder / "keys").mkdir()
    for path in (settings.master_key_file, settings.secret_key_file, settings.journal_key_file):
        keys.create(path)
    opened = open_runtime(settings)
    journal.open_log(opened.gateways)
    hang_up(opened.database)
    bare = {name: value for name, value in os.environ.items() if not name.startswith("MESPIECES_")}
    program = [sys.executable, "-c", "from mespieces.cli import main; main()", "serve", "--port", str(port)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(program, env=bare | environment, stdout=log, stderr=log)
    served = Served(port, folder / "log")
    try:
        _wait(served)
        yield served
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait(served):
    for _ in range(300):
        try:
            if served.ask("GET", "/healthz")[0] == 200:
                return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError


def _reference(page):
    return re.search(r"Référence de la demande[^<]*<code>([0-9a-f]+)</code>", page)[1]


def _line(served, reference, event="request"):
    (line,) = [line for line in served.lines() if line.get("request") == reference and line["event"] == event]
    return line


def test_the_reference_on_an_error_page_is_that_of_one_line_of_the_log(served):
    for method, path, status in (("GET", "/nulle-part", 404), ("GET", "/readyz/x", 404), ("POST", "/", 405)):
        got, page = served.ask(method, path)
        assert got == status

        assert _line(served, _reference(page))["status"] == status


def test_a_fault_of_ours_and_a_database_gone_are_found_by_the_reference_people_read_out(served_alone, database_url):
    served = served_alone
    opened = models.connect(database_url)
    with opened.connection_context():
        opened.execute_sql("ALTER TABLE journal_log RENAME TO journal_hidden")
    try:
        status, page = served.ask("GET", "/audit")
    finally:
        with opened.connection_context():
            opened.execute_sql("ALTER TABLE journal_hidden RENAME TO journal_log")
    hang_up(opened)

    assert status in {500, 503}
    assert _line(served, _reference(page))["status"] == status
    reason = [line for line in served.lines() if line.get("request") == _reference(page) and line["level"] == "error"]
    assert len(reason) == 1
    assert "journal_log" in json.dumps(reason)


def test_every_line_is_json_and_names_nobody_whatever_is_sent(served):
    reference, secret = codes.show(codes.draw_reference()), codes.show(codes.draw_secret())
    name, address, password, origin, cookie, agent = FED
    form = f"reference={reference}&secret={secret}&email={quote(address)}&password={quote(password)}&name={name}"
    headers = {
        "Content-Type": "application/x-www-form-urlencoded", "User-Agent": f"{agent} {name}", "X-Forwarded-For": origin,
        "Cookie": f"acces={cookie}; etude={cookie}; identification={cookie}", "Referer": f"http://x/?{secret}",
    }  # fmt: skip
    for method, path in (
        ("GET", f"/?reference={reference}"), ("GET", f"/pieces/{secret}"), ("POST", "/consulter"), ("GET", f"/{quote(address)}"),
        ("POST", "/etude/connexion"), ("GET", f"/etude/depots?q={name}"), ("GET", f"/audit/{reference}/checkpoints/{reference}.note"),
        ("POST", f"/etude/depots/{secret}/pieces"), ("BREW", f"/{name}"),
    ):  # fmt: skip
        served.ask(method, path, form if method == "POST" else None, headers)

    written = served.written()
    asked = [line for line in served.lines() if line["event"] == "request"]
    assert len(asked) >= 9
    assert [
        word
        for word in (*FED, reference, secret, reference.replace("-", ""), secret.replace("-", ""))
        if word in written
    ] == []
    assert {frozenset(line) for line in asked} == {
        frozenset({"time", "level", "logger", "event", "request", "method", "route", "status", "ms"})
    }


@pytest.mark.parametrize(
    "head",
    [
        b"GET /%0a%7b%22level%22:%22error%22,%22forged%22:1%7d HTTP/1.1\r\nHost: x\r\n\r\n",
        b'GET /\n{"forged":1} HTTP/1.1\r\nHost: x\r\n\r\n',
        b'GET / HTTP/1.1\r\nHost: x\r\nUser-Agent: a\n{"forged":1}\r\n\r\n',
        b'FORGED\x0b{"forged":1} / HTTP/1.1\r\nHost: x\r\n\r\n',
        b"GET /" + "\u2028forged\x85".encode() + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"FORGED / HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["line break", "bare line feed", "in a header", "in the method", "separators", "method"],
)  # fmt: skip
def test_no_line_can_be_forged_from_outside(served, head):
    before = len(served.lines())

    status, _ = served.raw(head)

    assert status in {400, 404, 405}
    after = served.lines()[before:]
    assert len(after) <= 1
    assert "forged" not in json.dumps(after)


@pytest.mark.parametrize("size", [9_000, 64 * 1024])
def test_headers_too_long_are_refused_and_the_server_goes_on(served, size):
    for head in (
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * size + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: a\r\n" % n for n in range(size // 100)) + b"\r\n",
        b"GET /?" + b"a" * size + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    ):
        status, page = served.raw(head)

        assert status in {414, 431}
        assert '<html lang="fr">' in page
        assert "trop long" in page
        assert "Traceback" not in page
    assert served.ask("GET", "/")[0] == 200
    assert all(line["level"] != "error" for line in served.lines())
