"""Two servers over one installation: what both are asked at the same instant is done once."""

import contextlib
import http.client
import os
import re
import subprocess
import sys
import threading
import time
from datetime import timedelta
from urllib.parse import urlencode

import make
import pyotp
import pytest
import servers

from mespieces import config
from mespieces.domain import identification, members, ways
from mespieces.gateways import keys
from mespieces.models import Session
from mespieces.runtime import open_runtime
from mespieces.views import current

PROGRAM = [sys.executable, "-c", "from mespieces.cli import main; main()", "serve", "--no-worker", "--port"]


@pytest.fixture
def installed(database_url, tmp_path):
    """Open an installation as it is on disk, at the machine's own time."""
    environment = {"MESPIECES_DATA": str(tmp_path), "MESPIECES_DATABASE_URL": database_url}
    settings = config.read(environment)
    (tmp_path / "keys").mkdir()
    for path in (settings.master_key_file, settings.secret_key_file, settings.journal_key_file):
        keys.create(path)
    opened = open_runtime(settings)
    opened.database.connect()
    make.journal.open_log(opened.gateways)
    yield environment, opened.gateways
    opened.database.close()
    if hasattr(opened.database, "close_all"):
        opened.database.close_all()


@pytest.fixture
def two(installed, tmp_path):
    """Serve the installation twice; give the ports."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith("MESPIECES_")}
    ports = [servers.free_port() for _ in range(2)]
    with (tmp_path / "log").open("w+") as log:
        started = [
            subprocess.Popen([*PROGRAM, str(port)], env=bare | installed[0], stdout=log, stderr=log) for port in ports
        ]
        try:
            _wait(ports)
            yield ports
        finally:
            for process in started:
                process.terminate()
            for process in started:
                process.wait(timeout=30)
        log.seek(0)
        assert "Traceback" not in log.read()


def _wait(ports):
    until = time.monotonic() + 60
    for port in ports:
        while True:
            with contextlib.suppress(OSError):
                if _ask(port, "GET", "/healthz")[0] == 200:
                    break
            assert time.monotonic() < until
            time.sleep(0.05)


def _ask(port, method, path, body=None, headers=None):
    """Return the status and the text of an answer, with the cookies it sets."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as line:
        line.request(method, path, body, headers or {})
        answer = line.getresponse()
        cookies = [one.split(";")[0] for one in answer.headers.get_all("Set-Cookie", [])]
        return answer.status, answer.read().decode(), cookies


def _post_at_once(ports, path, tokens, cookie, code):
    """Post one code to each server at the same instant, each with its sign-in's cookie; return the statuses."""
    ready, statuses = threading.Barrier(len(ports)), []

    def post(port, token):
        _, page, cookies = _ask(port, "GET", path, headers={"Cookie": f"{cookie}={token}"})
        form = re.search(r'name="csrf_token" value="([^"]+)"', page)[1]
        headers = {
            "Cookie": "; ".join([*cookies, f"{cookie}={token}"]),
            "Content-Type": "application/x-www-form-urlencoded",
            "Referer": f"http://127.0.0.1:{port}/",
        }
        ready.wait()
        statuses.append(_ask(port, "POST", path, urlencode({"csrf_token": form, "code": code}), headers)[0])

    posting = [threading.Thread(target=post, args=one) for one in zip(ports, tokens, strict=True)]
    for thread in posting:
        thread.start()
    for thread in posting:
        thread.join()
    return sorted(statuses)


def test_one_code_posted_to_two_servers_at_once_opens_one_session(installed, two):
    gateways = installed[1]
    names = [f"Débiteur {number}" for number in range(9)]
    filed = make.filed(gateways, blanks=1, recipients=names)
    make.member(gateways, filed.office)
    for number, recipient in enumerate(list(filed.recipients)):
        token, code = make.waiting(gateways, recipient, ("email", "app", "office")[number % 3])

        statuses = _post_at_once(two, "/consulter/code", [token, token], current.SIGN_IN, code)

        assert statuses == [303, 410], number
        assert Session.select().count() == make.count("recipient.identified") == number + 1


def test_one_code_of_an_application_posted_to_two_servers_in_two_sign_ins_opens_one_session(installed, two):
    gateways = installed[1]
    recipient = make.first(make.filed(gateways, blanks=1))
    access, secret = make.issued(gateways, recipient)

    def begun():
        return identification.begin(gateways, access.reference, secret, make.TRACE).token

    token = begun()
    ways.choose(gateways, token, "app", "")
    application = make.application(gateways, token)
    assert isinstance(identification.confirm(gateways, token, application.at(gateways.clock.now()), make.TRACE), str)
    code = application.at(gateways.clock.now() + timedelta(seconds=30))  # the next step is accepted already

    assert _post_at_once(two, "/consulter/code", [begun(), begun()], current.SIGN_IN, code) == [303, 422]
    assert Session.select().count() == make.count("recipient.identified") == 2


def test_one_code_of_a_member_posted_to_two_servers_at_once_opens_one_session(installed, two):
    gateways = installed[1]
    member = make.member(gateways)
    token = members.begin(gateways, member.email, make.PASSWORD, make.TRACE)
    application = pyotp.TOTP(members.enrolment(gateways, members.find(gateways, token)).key)
    code = application.at(gateways.clock.now())

    assert _post_at_once(two, "/etude/connexion/code", [token, token], current.OFFICE_SIGN_IN, code) == [303, 410]
    assert Session.select().count() == make.count("member.signed_in") == 1
