"""`mespieces check` on installations that are really wrong: each fault is told in words, with its cure."""

import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

import authority as authorities
import make
import pytest
import servers
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from backups import unguard
from conftest import DATABASES, fresh_database
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mespieces import models
from mespieces.cli import check, console
from mespieces.domain import anchors, clockwork, journal
from mespieces.gateways import keys
from mespieces.gateways.clock import SystemClock
from mespieces.models import Fact, JournalLog, Message
from mespieces.verifier import note, record

OFFICE = ["--office-name", "SCP Lefèvre", "--office-address", "14 rue des Carmes, 44000 Nantes", "--office-phone", "02 40 00 00 00",
          "--office-email", "etude@example.fr", "--admin-name", "Claire Marchand", "--admin-email", "claire@example.fr"]  # fmt: skip
PROGRAM = [sys.executable, "-c", "from mespieces.cli import main; main()"]


def environment_of(folder, url):
    bare = {name: value for name, value in os.environ.items() if not name.startswith("MESPIECES_")}
    return bare | {"MESPIECES_DATA": str(folder), "MESPIECES_DATABASE_URL": url}


@pytest.fixture(scope="module", params=DATABASES)
def installed(request, tmp_path_factory):
    """Install the product for real, once: return its folder and its database, which each test copies."""
    folder = tmp_path_factory.mktemp("installed")
    with fresh_database(request, folder) as url:
        (folder / "data" / "keys").mkdir(mode=0o700, parents=True)
        (folder / "data").chmod(0o700)
        for name in ("master", "secret", "journal"):
            keys.create(folder / "data" / "keys" / f"{name}.key")
        run(environment_of(folder / "data", url), "init", *OFFICE, status=0)
        yield folder / "data", url


@pytest.fixture
def database_url(installed, tmp_path):
    """Give a copy of the installed database."""
    _, url = installed
    if url.startswith("sqlite"):
        shutil.copyfile(url.removeprefix("sqlite:///"), tmp_path / "test.db")
        yield f"sqlite:///{tmp_path / 'test.db'}"
        return
    copied = servers.create_database(url.rpartition("/")[0], like=url)
    yield copied
    servers.drop_database(copied)


@pytest.fixture
def environment(installed, database_url, tmp_path):
    """Give the environment that the commands of an installation of its own run in."""
    folder, _ = installed
    shutil.copytree(folder, tmp_path / "data")
    database = models.connect(database_url)
    with database.connection_context():
        yield environment_of(tmp_path / "data", database_url)
    if hasattr(database, "close_all"):
        database.close_all()


def run(environment, *arguments, status, before=()):
    root = Path(check.__file__).parents[2]
    done = subprocess.run(
        [*before, *PROGRAM, *arguments], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def problems(environment, about, *, before=(), **changed):
    """Return what `check` finds wrong of one subject."""
    changed = {f"MESPIECES_{name}": value for name, value in changed.items()}
    shown = json.loads(run(environment | changed, "check", "--json", status=1, before=before))
    return " ".join(row["problem"] for row in shown["problems"] if row["about"] == about)


def remarks(environment, *, status=0, **changed):
    changed = {f"MESPIECES_{name}": value for name, value in changed.items()}
    told = json.loads(run(environment | changed, "check", "--json", status=status))["remarks"]
    # Here the service owns its tables, except in test_two_roles.py.
    return " ".join(remark for remark in told if "docs/postgresql.md" not in remark)


def data(environment):
    return Path(environment["MESPIECES_DATA"])


def test_a_right_installation_has_nothing_wrong(environment):
    told = json.loads(run(environment, "check", "--json", status=0))
    assert (told["ok"], told["problems"], remarks(environment)) == (True, [], "")


# Keys and rights


@pytest.mark.parametrize("name", ["master", "secret", "journal"])
def test_a_key_of_another_account_is_told_with_the_command_that_gives_it_back(environment, name):
    if os.geteuid():
        pytest.skip("Only root can give a file to another account")
    path = data(environment) / "keys" / f"{name}.key"
    os.chown(path, 4321, -1)

    assert f"chown --reference={data(environment)} {path}" in problems(environment, "keys")


def test_the_master_key_of_another_installation_is_told(environment):
    path = data(environment) / "keys" / "master.key"
    path.unlink()
    keys.create(path)

    assert "Restaurez-le depuis votre sauvegarde" in problems(environment, "keys")


def test_whoever_is_not_the_services_account_is_told_that_its_rights_were_not_tried(environment):
    if os.geteuid():
        pytest.skip("Only root can give a folder to another account")
    for path in (data(environment), *data(environment).rglob("*")):
        os.chown(path, 4321, -1)

    assert "sudo -u" in remarks(environment)


def test_a_storage_that_others_read_or_that_is_no_folder_is_told(environment):
    storage = data(environment) / "storage"
    run(environment, "check", status=0)
    storage.chmod(0o750)
    assert f"chmod 700 {storage}" in problems(environment, "storage")

    storage.rename(storage.with_name("elsewhere"))
    storage.write_text("a file")
    assert problems(environment, "storage")


def test_a_disk_with_little_room_is_told_once_for_each_disk(environment, monkeypatch):
    monkeypatch.setattr(check, "LEAST_ROOM", 1 << 60)
    monkeypatch.setattr(os, "environ", environment)
    settings = console.settings()
    told = [words for _, words in check.find(settings) if "moins de 1 Gio" in words]
    assert len(told) == 1
    assert str(data(environment)) in told[0]
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        os.chmod(other, 0o700)  # noqa: PTH101
        monkeypatch.setitem(environment, "MESPIECES_STORAGE_URL", f"file://{other}")
        told = [words for _, words in check.find(console.settings()) if "moins de 1 Gio" in words]
        assert [str(data(environment)) in told[0], other in told[1]] == [True, True]


# The clock


def test_a_clock_behind_the_journal_is_told(environment, faketime):
    told = problems(environment, "clock", before=[faketime, "-f", "-3d"])

    assert "retarde sur le dernier enregistrement du journal" in told
    assert "timedatectl" in told


def test_a_clock_that_differs_from_the_database_servers_is_told(environment, faketime, database_url):
    shifted = [faketime, "-f", "+10m"]
    if database_url.startswith("sqlite"):
        run(environment, "check", status=0, before=shifted)
        return

    assert "celle du serveur de la base de données" in problems(environment, "clock", before=shifted)


def test_a_jump_that_waits_is_told_until_it_is_confirmed(environment):
    with models.write():
        clockwork.set_fact(clockwork.JUMP, SystemClock().now())

    assert "mespieces expire" in problems(environment, "clock")
    run(environment, "expire", status=0)
    run(environment, "check", status=0)


def test_a_clock_that_agrees_to_the_second_is_right(environment):
    JournalLog.update(time=(SystemClock().now() + timedelta(seconds=30)).isoformat().replace("+00:00", "Z")).execute()
    assert clockwork.last_record() > SystemClock().now()

    run(environment, "check", status=0)


# Mail


class Handler:
    """A server that takes anything, and remembers that it was given nothing."""

    def __init__(self):
        self.taken = []

    async def handle_DATA(self, _server, _session, envelope):  # noqa: N802 — the library's name
        self.taken.append(envelope)
        return "250 OK"


@pytest.fixture
def serve():
    started = []

    def start(**options):
        controller = Controller(Handler(), hostname="127.0.0.1", port=servers.free_port(), **options)
        controller.start()
        started.append(controller)
        return controller

    yield start
    for controller in started:
        controller.stop()


def test_a_mail_server_that_would_take_a_message_is_right_and_is_sent_none(environment, serve):
    server = serve()

    run(environment | {"MESPIECES_MAIL_URL": f"smtp://127.0.0.1:{server.port}"}, "check", status=0)

    assert server.handler.taken == []


def test_a_mail_server_that_is_not_there_is_told(environment):
    at = f"smtp://127.0.0.1:{servers.free_port()}"

    assert "rien n’écoute à cette adresse" in problems(environment, "mail", MAIL_URL=at)
    assert "son nom n’existe pas" in problems(environment, "mail", MAIL_URL="smtp://courriel.invalid:25")


def test_a_mail_server_that_speaks_no_tls_or_offers_none_is_told(environment, serve):
    at = f"127.0.0.1:{serve().port}"

    assert "ne parle pas TLS" in problems(environment, "mail", MAIL_URL=f"smtps://{at}")
    assert "liaison chiffrée" in problems(environment, "mail", MAIL_URL=f"smtp://{at}?starttls=required")


def test_a_mail_server_whose_certificate_nobody_vouches_for_is_told_with_the_cure(environment, serve, tmp_path):
    pem = tmp_path / "own.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=mail",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(pem) + ".key", "-out", str(pem)],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, str(pem) + ".key")
    at = f"smtp://127.0.0.1:{serve(tls_context=context).port}"

    told = problems(environment, "mail", MAIL_URL=at)
    assert "son certificat n’est pas reconnu" in told
    assert "?ca=" in told
    run(environment | {"MESPIECES_MAIL_URL": f"{at}?ca={pem}"}, "check", status=0)


def test_a_password_that_the_mail_server_refuses_is_told_and_never_shown(environment, serve):
    server = serve(authenticator=lambda *_: AuthResult(success=False, handled=False), auth_require_tls=False)

    told = problems(environment, "mail", MAIL_URL=f"smtp://service:hush-hush@127.0.0.1:{server.port}")

    assert "refuse l’identification du service" in told
    assert "hush-hush" not in told


def test_a_folder_of_mails_that_is_a_file_is_told(environment):
    (data(environment) / "mail").write_text("a file")

    assert "ne peut pas y écrire" in problems(environment, "mail")


# Addresses


def test_a_proxy_that_is_trusted_without_https_is_told(environment):
    assert "remettez-le à 0" in problems(environment, "public_url", TRUSTED_PROXIES="1")


def test_an_office_open_to_the_world_is_remarked_where_the_world_comes(environment, serve):
    right = {"MESPIECES_PUBLIC_URL": "https://pieces.example.fr", "MESPIECES_TRUSTED_PROXIES": "1",
             "MESPIECES_MAIL_URL": f"smtp://127.0.0.1:{serve().port}"}  # fmt: skip

    assert "MESPIECES_OFFICE_NETWORKS" in remarks(environment | right)
    assert remarks(environment | right, OFFICE_NETWORKS="192.0.2.0/24") == ""


# The work


def test_a_worker_that_fell_silent_is_remarked_and_one_that_never_ran_is_not(environment):
    assert remarks(environment) == ""
    with models.write():
        clockwork.set_fact(clockwork.HEARTBEAT, SystemClock().now() - timedelta(minutes=6))
    assert re.search(r"signe de vie depuis le .* : ni courriel", remarks(environment))

    Fact.update(at=SystemClock().now() - timedelta(minutes=4)).where(Fact.name == clockwork.HEARTBEAT).execute()
    assert remarks(environment) == ""


def test_a_database_gone_is_one_problem_and_no_stack(environment, database_url):
    if database_url.startswith("sqlite"):
        Path(database_url.removeprefix("sqlite:///")).unlink()
        changed = {}
    else:
        changed = {"DATABASE_URL": f"postgresql://nobody@127.0.0.1:{servers.free_port()}/x"}

    assert problems(environment, "database", **changed)
    assert problems(environment, "clock", **changed) == ""


def test_a_database_without_its_tables_is_told(environment, database_url):
    with models.write():
        models.database.execute_sql("DELETE FROM schema_migration")

    assert "mespieces migrate" in problems(environment, "database")
    assert make.count("office.added") == 1


def test_a_queue_that_cannot_be_written_is_told(environment):
    told = problems(environment, "queue", QUEUE_URL="sqlite:////nonexistent/queue.db")
    assert "MESPIECES_QUEUE_URL" in told
    told = problems(environment, "queue", QUEUE_URL=f"postgresql://nobody@127.0.0.1:{servers.free_port()}/nothing")
    assert "MESPIECES_QUEUE_URL" in told


def test_documents_that_are_not_in_the_storage_are_told(environment, tmp_path):
    file = tmp_path / "Facture.pdf"
    file.write_bytes(make.pdf())
    case = [
        "--creditor",
        "Au bon moulin",
        "--court",
        "TJ de Nantes",
        "--order-number",
        "1",
        "--order-date",
        "2026-01-05",
    ]
    run(
        environment,
        "deposit",
        "add",
        "--office",
        "SCP Lefèvre",
        *case,
        "--recipient",
        "Alexandre Payet",
        str(file),
        status=0,
    )
    (tmp_path / "elsewhere").mkdir(mode=0o700)

    told = problems(environment, "documents", STORAGE_URL=f"file://{tmp_path / 'elsewhere'}")

    assert "MESPIECES_STORAGE_URL" in told


@pytest.mark.parametrize("installed", ["sqlite"], indirect=True)
def test_a_damaged_database_file_is_told_and_the_service_does_not_start(environment, tmp_path):
    (tmp_path / "damaged.db").write_bytes(os.urandom(4096))
    damaged = f"sqlite:///{tmp_path / 'damaged.db'}"

    assert "base de données" in problems(environment, "database", DATABASE_URL=damaged)
    served = subprocess.run(
        [*PROGRAM, "serve", "--port", str(servers.free_port())], cwd=Path(check.__file__).parents[2],
        env=environment | {"MESPIECES_DATABASE_URL": damaged}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert served.returncode == 1
    assert "Traceback" not in served.stderr


@pytest.mark.parametrize(
    ("roots", "words"),
    [
        (None, "il n’y a rien à cet endroit"),
        (b"no certificate", "aucun certificat PEM lisible"),
        (b"", "aucun certificat PEM lisible"),
    ],
    ids=["absent", "garbage", "empty"],
)
def test_roots_of_authorities_that_cannot_be_read_are_told_and_the_service_does_not_start(
    environment, tmp_path, roots, words
):
    path = tmp_path / "roots.pem"
    if roots is not None:
        path.write_bytes(roots)
    named = {"TSA_URL": "https://tsa.example.fr", "TSA_ROOTS": str(path)}

    assert words in problems(environment, "timestamps", **named)
    served = subprocess.run(
        [*PROGRAM, "serve", "--port", str(servers.free_port())], cwd=Path(check.__file__).parents[2],
        env=environment | {f"MESPIECES_{name}": value for name, value in named.items()},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert served.returncode == 1
    assert "MESPIECES_TSA_ROOTS" in served.stderr
    assert words in served.stderr
    assert "Traceback" not in served.stderr


def test_an_authority_that_dates_nothing_is_told_with_its_cure(environment, tmp_path):
    with authorities.serving(authorities.Authority(tmp_path / "tsa")) as tsa:
        named = {"TSA_URL": tsa.url, "TSA_ROOTS": str(tsa.pem)}
        assert remarks(environment, **named) == ""
        assert tsa.asked == 1

        other = authorities.Authority(tmp_path / "other")
        told = problems(environment, "timestamps", **named | {"TSA_ROOTS": str(other.pem)})
        assert f"La réponse de l’autorité d’horodatage {tsa.url} est refusée" in told
        down = f"http://127.0.0.1:{servers.free_port()}"
        told = problems(environment, "timestamps", **named | {"TSA_URL": f"{tsa.url} {down}"})
        assert f"{down} ne répond pas" in told
        assert "vérifiez MESPIECES_TSA_URL" in told
        assert tsa.url not in told


def test_the_drift_told_is_that_of_now_and_none_without_an_authority(environment, tmp_path, faketime):
    with models.write():
        kept = {"x": {"drift": 90.0, "at": record.format_time(SystemClock().now()), "authority": "Ancienne"}}
        clockwork.set_fact(anchors.CLOCK, SystemClock().now(), json.dumps(kept))
    assert remarks(environment) == ""

    with authorities.serving(authorities.Authority(tmp_path / "tsa")) as tsa:
        tsa.clock = [faketime, "-f", "-30s"]
        told = remarks(environment, TSA_URL=tsa.url, TSA_ROOTS=str(tsa.pem))
        seconds = int(re.search(r"s’écarte d’environ (\d+)", told)[1])
        assert 25 < seconds < 35

        right = authorities.Authority(tmp_path / "right", name="Seconde")
        (tmp_path / "roots.pem").write_bytes(tsa.pem.read_bytes() + right.pem.read_bytes())
        with authorities.serving(right):
            told = remarks(environment, TSA_URL=f"{tsa.url} {right.url}", TSA_ROOTS=str(tmp_path / "roots.pem"))
        assert f"L’horloge de l’autorité d’horodatage {tsa.url} s’écarte" in told
        assert "L’horloge de cette machine" not in told


def test_a_key_lost_beside_a_database_is_restored_and_never_made_anew(environment):
    (data(environment) / "keys" / "master.key").unlink()

    told = problems(environment, "keys")

    assert "restaurez-le depuis votre sauvegarde" in told
    assert "init" not in told


def test_a_mail_that_came_back_is_worth_knowing_and_no_fault_of_the_installation(environment):
    now = SystemClock().now()
    with models.write():
        Message.create(message_id="1@example.fr", kind="failures", created_at=now, due_at=now, tries=1, refused_at=now)

    assert "1\u00a0courriel n’a pas pu être remis depuis hier" in remarks(environment, status=0)


def test_a_journal_of_which_nothing_more_is_signed_is_told(environment):
    run(environment, "journal", "export", str(Path(environment["MESPIECES_DATA"]) / "export"), status=0)
    assert json.loads(run(environment, "check", "--json", status=0))["problems"] == []
    last = models.JournalRecord.select().order_by(models.JournalRecord.sequence.desc()).get()
    with models.write():
        unguard("journal_record")
        models.JournalRecord.update(header=b"{}").where(models.JournalRecord.sequence == last.sequence).execute()

    assert "Rien de nouveau n’est signé" in problems(environment, "signing")
    assert json.loads(run(environment, "journal", "head", "--json", status=0))["sound"] is False


def test_a_restored_database_is_told_with_the_cure(environment):
    kept = data(environment) / "keys" / "newest-checkpoint.note"
    signed = note.sign_checkpoint(
        note.Checkpoint(journal.head().origin, 1000, bytes(32)), Ed25519PrivateKey.from_private_bytes(bytes(32))
    )
    kept.write_bytes(signed)

    assert "mespieces journal reopen" in problems(environment, "database")
