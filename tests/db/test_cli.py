"""The operator's commands, run as an operator runs them."""

import errno
import json
import os
import pty
import signal
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import make
import pytest
import servers
from click.testing import CliRunner, Result

from mespieces import app, cli, models, runtime, server
from mespieces.domain import (
    activity,
    anchors,
    checkpoints,
    clockwork,
    continuity,
    deposits,
    documents,
    drafts,
    journal,
    offices,
    recipients,
    retention,
)
from mespieces.gateways.clock import SystemClock
from mespieces.models import Deposit, Document, Fact, JournalDay, Member, Office, Recipient
from mespieces.verifier.__main__ import main as verify_main

FIRST_OFFICE = [
    "--office-name", "SCP Lefèvre & Marchand", "--office-address", "14 rue des Carmes, 44000 Nantes",
    "--office-phone", "02 40 00 00 00", "--office-email", "etude@example.fr",
    "--admin-name", "Claire Marchand", "--admin-email", "claire@example.fr",
]  # fmt: skip
CASE = [
    "--office", "scp lefèvre & marchand", "--creditor", "Au bon moulin", "--court", "Tribunal judiciaire de Nantes",
    "--order-number", "2026-1187", "--order-date", "2026-01-05", "--office-reference", "NTE-4821",
]  # fmt: skip
PROGRAM = [sys.executable, "-c", "from mespieces.cli import main; main()"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("MESPIECES_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MESPIECES_DATA", str(tmp_path / "data"))
    before = os.umask(0o077)
    yield tmp_path / "data"
    os.umask(before)
    if models.database.obj is not None and not models.database.is_closed():
        models.database.close()


@pytest.fixture
def installed(folder):
    result = run("init", *FIRST_OFFICE)
    assert result.exit_code == 0, result.stderr
    return folder


@pytest.fixture
def paper(tmp_path):
    path = tmp_path / "Facture 12.pdf"
    path.write_bytes(make.pdf())
    return str(path)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, list(arguments), catch_exceptions=False)


def told(*arguments: str):
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def reopened():
    return runtime.open_runtime(cli_settings())


def cli_settings():
    from mespieces.cli import console

    return console.settings()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# Installing


def test_init_makes_everything_readable_by_its_owner_alone(installed):
    assert mode(installed) == 0o700
    keys = sorted((installed / "keys").iterdir())
    assert [path.name for path in keys] == ["journal.key", "master.key", "secret.key"]
    assert {mode(path) for path in [*keys, installed / "mespieces.db"]} == {0o600}
    assert [office.name for office in Office.select()] == ["SCP Lefèvre & Marchand"]
    assert [(who.email, who.role) for who in Member.select()] == [("claire@example.fr", "administrateur")]


def test_init_without_a_terminal_draws_a_strong_password_and_shows_it_once(folder):
    first, again = run("init", *FIRST_OFFICE), run("init")

    password = first.stdout.partition("cette seule fois : ")[2].split()[0]
    assert len(password) == 23
    assert "cette seule fois" not in again.stdout


def test_init_again_changes_nothing_and_says_so(installed):
    before = {path: path.read_bytes() for path in (installed / "keys").iterdir()}

    again = run("init", *FIRST_OFFICE)

    assert again.exit_code == 0
    assert "rien n’est changé" in again.stdout
    assert {path: path.read_bytes() for path in (installed / "keys").iterdir()} == before
    assert (Office.select().count(), Member.select().count()) == (1, 1)


def test_init_never_replaces_a_key_that_a_database_needs(installed):
    (installed / "keys" / "master.key").unlink()

    refused = run("init", *FIRST_OFFICE)

    assert refused.exit_code == 1
    assert "restaurez-le" in refused.stderr
    assert not (installed / "keys" / "master.key").exists()


def test_what_is_missing_without_a_terminal_is_a_usage_error(folder):
    refused = run("init", "--office-name", "SCP")

    assert refused.exit_code == 2
    assert "--office-address" in refused.stderr


def test_a_command_before_init_says_what_to_do_and_makes_nothing(folder):
    for command in (["office", "list"], ["migrate"], ["journal", "head"], ["expire"]):
        refused = run(*command)
        assert refused.exit_code == 1
        assert "mespieces init" in refused.stderr
    assert not folder.exists()


def test_a_setting_that_does_not_exist_is_told(folder, monkeypatch):
    monkeypatch.setenv("MESPIECES_DATABASE", "sqlite:///x")

    refused = run("office", "list")

    assert (refused.exit_code, "MESPIECES_DATABASE" in refused.stderr) == (1, True)


def test_a_database_that_does_not_answer_is_told_in_words(installed, monkeypatch):
    url = f"postgresql://nobody@127.0.0.1:{servers.free_port()}/nothing"
    monkeypatch.setenv("MESPIECES_DATABASE_URL", url)

    refused = run("office", "list")

    assert refused.exit_code == 1
    assert refused.stderr.startswith("La base de données ne répond pas")


def test_migrate_says_when_there_is_nothing_to_do(installed):
    assert run("migrate").stdout == "Les tables sont à jour.\n"


def test_commands_work_on_either_database(database_url, folder, monkeypatch, paper):
    monkeypatch.setenv("MESPIECES_DATABASE_URL", database_url)
    # The prepared database has its tables, and no journal yet: as after an installation cut half-way.
    for name in ("master", "secret", "journal"):
        make_key(folder, name)

    assert run("init", *FIRST_OFFICE).exit_code == 0
    filed = told("deposit", "add", *CASE, "--recipient", "Alexandre Payet", paper)

    assert len(filed["recipients"]) == 1
    assert told("journal", "verify")["intact"]


def make_key(folder, name):
    from mespieces.gateways import keys

    (folder / "keys").mkdir(parents=True, exist_ok=True, mode=0o700)
    keys.create(folder / "keys" / f"{name}.key")


# Offices and members


def test_offices_are_added_and_listed(installed):
    told("office", "add", "--name", "SELARL Kerouac", "--address", "1 quai", "--phone", "01", "--email", "a@b.fr")

    assert [row["name"] for row in told("office", "list")] == ["SCP Lefèvre & Marchand", "SELARL Kerouac"]
    assert "SELARL Kerouac" in run("office", "list").stdout


def test_the_name_of_an_office_is_taken_once_however_it_is_written(gateways):
    first = make.office(gateways, "SELARL Kérouac")

    with pytest.raises(offices.OfficeNameTaken, match="SELARL KÉROUAC"):
        make.office(gateways, "  SELARL  KÉROUAC ")

    assert offices.named("selarl kérouac") == first
    assert (Office.select().count(), make.count("office.added")) == (1, 1)


def test_two_offices_added_at_once_do_not_share_a_name(gateways):
    results = make.threads(4, lambda: make.office(gateways, "SELARL Kerouac"))

    assert [type(found) for found in results].count(offices.OfficeNameTaken) == 3
    assert Office.select().count() == 1


def test_a_member_is_added_with_a_drawn_password_then_reset(installed):
    added = told("member", "add", "--office", "SCP Lefèvre & Marchand", "--name", "Hugo", "--email", "h@b.fr",
                 "--role", "clerc")  # fmt: skip
    reset = told("member", "reset", "h@b.fr")

    assert added["id"] == reset["id"]
    assert added["password"] != reset["password"]
    taken = run("member", "add", "--office", "SCP Lefèvre & Marchand", "--name", "H", "--email", "h@b.fr",
                "--role", "clerc")  # fmt: skip
    assert (taken.exit_code, taken.stdout) == (1, "")


def test_no_password_or_key_can_be_given_on_the_command_line():
    def options(command, path=""):
        for parameter in command.params:
            yield from ((path, name) for name in parameter.opts)
        for name in getattr(command, "list_commands", lambda _: [])(None):
            yield from options(command.get_command(None, name), f"{path} {name}")

    given = list(options(cli.main))
    assert (" init", "--admin-email") in given
    assert [pair for pair in given if "password" in pair[1] or "key" in pair[1] or "secret" in pair[1]] == []


def test_every_command_explains_itself():
    for name in cli.COMMANDS:
        shown = run(name, "--help")
        assert shown.exit_code == 0
        assert len(shown.stdout) > 100


def test_the_list_of_commands_reads_no_database_and_no_server():
    program = "import sys\nfrom mespieces.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    program += "print([name for name in ('peewee', 'flask', 'gunicorn', 'pikepdf', 'huey') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


# Deposits


def test_a_script_files_a_deposit_and_reads_references_and_secrets(installed, paper):
    filed = told(
        "deposit", "add", *CASE, "--recipient", "Ma jolie boutique <contact@example.fr>", "--recipient", "A. Payet",
        paper, paper,
    )  # fmt: skip

    assert [(row["number"], row["title"]) for row in filed["documents"]] == [(1, "Facture 12"), (2, "Facture 12")]
    assert [row["name"] for row in filed["recipients"]] == ["Ma jolie boutique", "A. Payet"]
    opened = reopened()
    for row in filed["recipients"]:
        assert make.identification.begin(opened.gateways, row["reference"], row["secret"], make.TRACE).token
    assert [who.email for who in Recipient.select().order_by(Recipient.added_at)] == ["contact@example.fr", ""]
    assert make.operations()[-1] != "deposit.filed"
    assert "deposit.filed" in make.operations()


def test_a_deposit_told_in_words_shows_each_secret(installed, paper):
    shown = run("deposit", "add", *CASE, "--recipient", "A. Payet", paper)

    assert shown.exit_code == 0
    assert "Déposé : NTE-4821" in shown.stdout
    assert "code d’accès" in shown.stdout


def test_a_refused_file_leaves_no_bytes_and_files_nothing(installed, paper, tmp_path):
    wrong = tmp_path / "programme.exe"
    wrong.write_bytes(b"MZ" + bytes(5000))

    refused = run("deposit", "add", *CASE, "--recipient", "A. Payet", paper, str(wrong))

    assert refused.exit_code == 1
    assert refused.stderr.startswith("programme.exe\u00a0: ")
    assert "le brouillon ouvert pour ce dépôt est supprimé" in refused.stderr
    assert (Document.select().count(), Deposit.select().count()) == (0, 0)
    assert make.operations()[-4:] == [
        "deposit.created", "document.deposited", "document.withdrawn", "deposit.withdrawn",
    ]  # fmt: skip
    assert told("journal", "verify")["intact"]
    assert [path for path in (installed / "storage").rglob("*") if path.is_file()] == []


def test_a_deposit_without_a_reference_of_the_office_bears_the_number_of_the_order(installed, paper):
    filed = told("deposit", "add", *CASE[:-2], "--recipient", "A. Payet", paper)

    assert filed["office_reference"] == "2026-1187"


def test_too_many_recipients_leave_no_draft(installed, paper, monkeypatch):
    monkeypatch.setattr(recipients, "MOST", 1)

    refused = run("deposit", "add", *CASE, "--recipient", "A. Payet", "--recipient", "B. Payet", paper)

    assert refused.exit_code == 1
    assert (Deposit.select().count(), Recipient.select().count()) == (0, 0)


def test_a_case_that_cannot_be_read_opens_no_draft(installed, paper):
    case = [part.replace("2026-01-05", "31/02/2026") for part in CASE]

    assert run("deposit", "add", *case, "--recipient", "A. Payet", paper).exit_code == 1
    assert run("deposit", "add", *CASE, "--recipient", "A <b> c", paper).exit_code == 2
    assert Deposit.select().count() == 0


# Drafts


def test_a_dropped_draft_leaves_its_records_alone(gateways):
    draft = make.draft(gateways)
    make.document(gateways, draft)
    make.document(gateways, draft)
    make.recipient(gateways, draft)

    drafts.drop(gateways, draft.id, by=journal.OPERATOR)

    assert [table.select().count() for table in (Deposit, Document, Recipient)] == [0, 0, 0]
    assert list(gateways.vault.names()) == []
    assert make.operations(draft.id)[-3:] == ["document.withdrawn", "document.withdrawn", "deposit.withdrawn"]
    body = json.loads(bytes(models.JournalPayload.select().where(models.JournalPayload.group == "proof")
                            .order_by(models.JournalPayload.sequence.desc()).get().body))  # fmt: skip
    of = {"deposit": str(draft.id), "office": str(draft.office_id)}
    assert (body["object"], body["detail"]) == (of, {"draft": True})
    with pytest.raises(deposits.DepositMissing):
        drafts.drop(gateways, draft.id, by=journal.OPERATOR)


def test_a_filed_deposit_is_not_dropped(gateways):
    filed = make.filed(gateways)

    with pytest.raises(deposits.DepositFiled):
        drafts.drop(gateways, filed.id, by=journal.OPERATOR)

    assert Document.select().where(Document.deposit == filed).count() == 1


def test_drafts_that_nobody_touched_for_a_month_are_dropped(gateways):
    office = make.office(gateways)
    filed, old, touched = make.filed(gateways, office), make.draft(gateways, office), make.draft(gateways, office)
    make.recipient(gateways, old)
    gateways.clock.advance(timedelta(days=29))
    assert drafts.drop_old(gateways) == 0
    make.recipient(gateways, touched)
    make.draft(gateways, office)
    gateways.clock.advance(timedelta(days=2))

    assert drafts.drop_old(gateways) == 0  # the clock jumped: nothing is destroyed before the operator says so
    clockwork.confirm(gateways.clock.now())
    assert drafts.drop_old(gateways) == 1

    assert Deposit.get_or_none(Deposit.id == old.id) is None
    assert {filed.id, touched.id} < {row.id for row in Deposit.select()}


# Ends


def test_expire_says_what_is_due_and_deletes_it_only_when_asked(installed, paper):
    told("deposit", "add", *CASE, "--recipient", "A. Payet", paper)
    now = SystemClock().now()
    Deposit.update(expires_at=now).execute()

    due = told("expire", "--dry-run")
    assert [(row["office_reference"], row["documents"]) for row in due] == [("NTE-4821", 1)]
    assert Document.get().wrapped_key is not None

    assert told("expire") == due
    assert told("expire") == []
    assert Document.get().wrapped_key is None


def test_running_expire_confirms_the_date_for_the_worker(installed):
    long_ago = SystemClock().now().replace(year=2020)
    models.JournalLog.update(time=journal.record.format_time(long_ago)).execute()
    assert clockwork.jumped(SystemClock().now())

    assert run("expire").exit_code == 0

    assert not clockwork.jumped(SystemClock().now())
    assert Fact.get(Fact.name == clockwork.CONFIRMED).at > long_ago


# Proofs


def test_a_long_export_shows_how_far_it_is_on_a_terminal_and_nowhere_else(installed, tmp_path):
    long = "from mespieces.cli import journal, main; journal.LONG = 1; main()"
    screen, terminal = pty.openpty()
    for name, stderr in (("seen", terminal), ("unseen", subprocess.PIPE)):
        command = [sys.executable, "-c", long, "journal", "export", str(tmp_path / name)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=stderr, check=True)
        assert "enregistrements exportés" in done.stdout.decode()
        assert not done.stderr
    os.close(terminal)
    shown = os.read(screen, 65_536).decode()
    os.close(screen)

    assert "Export" in shown
    assert "4/4" in shown


def test_the_journal_is_exported_to_a_folder_that_verifies_alone(installed, tmp_path, capsys):
    exported = told("journal", "export", str(tmp_path / "export"))

    assert exported["size"] == told("journal", "head")["size"]
    assert verify_main([str(tmp_path / "export"), "--vkey", exported["vkey"]]) == 0
    assert run("journal", "export", str(tmp_path / "export")).exit_code == 1
    capsys.readouterr()


def test_an_altered_journal_is_told_and_leaves_with_1(installed):
    assert run("journal", "verify").stdout.startswith("Journal intact")
    models.JournalPayload.update(body=b"{}").where(models.JournalPayload.sequence == 1).execute()

    result = run("journal", "verify")

    assert result.exit_code == 1
    assert "PAYLOAD" in result.stdout


def test_a_journal_altered_everywhere_is_told_in_few_lines(installed):
    opened = reopened()
    with opened.database.connection_context():
        with models.write():
            for _ in range(50):
                journal.append(opened.gateways, "incident.recorded")
        models.JournalPayload.update(body=b"[]").where(models.JournalPayload.group == "trace").execute()
        size = journal.head().size

    result = run("journal", "verify")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1] == f"… et {size - 20} autres PAYLOAD_ALTERED"
    assert json.loads(run("journal", "verify", "--json").stdout)["counts"] == {"PAYLOAD_ALTERED": size}


def test_counts_that_lie_are_made_anew(installed):
    reopened()
    activity.keep_up()
    JournalDay.update(others=JournalDay.others + 1).execute()
    found = json.loads(run("journal", "verify", "--json").stdout)
    assert [finding.split()[1] for finding in found["findings"]] == ["ACTIVITY_ALTERED"]

    assert told("journal", "recount") == {"size": told("journal", "head")["size"], "subtrees": 0}
    assert told("journal", "verify")["intact"]


def test_after_a_restored_backup_no_command_runs_until_the_journal_is_reopened(installed, tmp_path, capsys):
    backup = (installed / "mespieces.db").read_bytes()
    told("journal", "export", str(tmp_path / "later"))
    opened = reopened()
    with opened.database.connection_context():
        continuity.keep(opened.gateways, checkpoints.publish(opened.gateways))
        old = journal.head()
    (installed / "mespieces.db").write_bytes(backup)
    for left in ("mespieces.db-wal", "mespieces.db-shm"):
        (installed / left).unlink(missing_ok=True)

    refused = run("office", "list")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "mespieces journal reopen" in refused.stderr
    cut = run("journal", "verify")
    assert (cut.exit_code, "TAIL_TRUNCATED" in cut.stdout) == (1, True)

    assert "Interrompu" in run("journal", "head").stdout
    asked = CliRunner().invoke(cli.main, ["journal", "reopen"], input="n\n", catch_exceptions=False)
    assert (asked.exit_code, f"({old.size} enregistrements" in asked.stderr) == (1, True)
    found = told("journal", "reopen", "--yes")

    assert (found["previous"], found["size"] < old.size) == (old.log, True)
    lost = old.size - found["size"]
    assert found["lost"] == [{"log": old.log, "kept": found["size"], "known": old.size, "lost": lost}]
    checked = told("journal", "verify")
    assert (checked["intact"], checked["lost"]) == (True, found["lost"])
    said = run("journal", "verify")
    assert (said.exit_code, f"en comptait au moins {old.size}" in said.stdout) == (0, True)
    assert run("office", "list").exit_code == 0
    exported = told("journal", "export", str(tmp_path / "after"))
    assert verify_main([str(tmp_path / "after"), "--vkey", exported["vkey"]]) == 1
    assert "TAIL_LOST" in capsys.readouterr().out


def test_a_stored_document_that_changed_is_named(installed, paper):
    told("deposit", "add", *CASE, "--recipient", "A. Payet", paper)
    assert told("storage", "verify") == {"intact": True, "documents": 1, "wrong": []}
    path = installed / "storage" / documents.file_name(Document.get().id)
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)

    result = run("storage", "verify", "--json")

    assert result.exit_code == 1
    assert [(row["deposit"], row["number"]) for row in json.loads(result.stdout)["wrong"]] == [("NTE-4821", 1)]


# What is wrong


def test_check_finds_nothing_wrong_after_init(installed):
    assert told("check") == {"ok": True, "problems": [], "remarks": []}
    assert run("check").stdout == "Tout est en ordre.\n"


@pytest.mark.parametrize(
    ("about", "words", "spoil"),
    [
        ("data", "chmod 700", lambda folder, _: folder.chmod(0o755)),
        ("keys", "chmod 600", lambda folder, _: (folder / "keys" / "secret.key").chmod(0o644)),
        ("keys", "manque", lambda folder, _: (folder / "keys" / "journal.key").unlink()),
        ("database", "mespieces init", lambda folder, _: (folder / "mespieces.db").unlink()),
        ("settings", "STORAGE_URL", lambda _, env: env("MESPIECES_STORAGE_URL", "ftp://x")),
        ("settings", "QUEUE_URL", lambda _, env: env("MESPIECES_QUEUE_URL", "redis://x")),
        ("mail", "MESPIECES_MAIL_URL", lambda _, env: env("MESPIECES_MAIL_URL", "smtps://x?ca=/nowhere.pem")),
        ("mail", "ne partent pas", lambda _, env: env("MESPIECES_PUBLIC_URL", "https://pieces.example.fr")),
        ("public_url", "n’est pas chiffrée", lambda _, env: env("MESPIECES_PUBLIC_URL", "http://pieces.example.fr")),
        ("public_url", "TRUSTED_PROXIES", lambda _, env: env("MESPIECES_PUBLIC_URL", "https://pieces.example.fr")),
    ],
)
def test_check_says_in_words_what_is_wrong(installed, monkeypatch, about, words, spoil):
    models.database.close()
    spoil(installed, monkeypatch.setenv)

    result = run("check", "--json")

    assert result.exit_code == 1
    problems = json.loads(result.stdout)["problems"]
    assert [row for row in problems if row["about"] == about and words in row["problem"]]


def test_check_says_that_the_authorities_roots_cannot_be_read(installed, monkeypatch):
    monkeypatch.setenv("MESPIECES_TSA_URL", "https://tsa.example.fr")
    monkeypatch.setenv("MESPIECES_TSA_ROOTS", "/etc/no-such-roots.pem")

    shown = run("check")

    assert shown.exit_code == 1
    assert "MESPIECES_TSA_ROOTS" in shown.stdout


def test_check_names_mails_that_wait_and_counts_those_that_never_arrived(installed):
    now = SystemClock().now()
    long_ago = now.replace(year=2020)

    def mail(number, **facts):
        usual = {"kind": "failures", "created_at": long_ago, "due_at": long_ago, "tries": 1}
        models.Message.create(message_id=f"{number}@example.fr", **{**usual, **facts})

    mail(1, reason="serveur absent")
    assert "1\u00a0courriel attend depuis" in run("check").stdout
    mail(2, refused_at=now, sent_at=long_ago)  # returned by a server that had taken it
    mail(3, given_up_at=now, reason="sans objet")

    shown = run("check").stdout
    assert "1\u00a0courriel attend depuis" in shown
    assert "serveur absent" in shown
    assert "1\u00a0courriel n’a pas pu être remis" in shown


# Serving


@pytest.fixture
def serving(installed):
    started = []

    def start(*arguments):
        port = servers.free_port()
        process = subprocess.Popen(
            [*PROGRAM, *arguments, "--port", str(port)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        started.append(process)
        return process, f"http://127.0.0.1:{port}"

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait_for(url, process, *, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 — loopback
                return answer.status
        except (urllib.error.HTTPError, urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise AssertionError(f"{url} never answered")


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_serve_answers_works_and_stops_when_told(serving, stop):
    process, url = serving("serve")
    assert wait_for(f"{url}/healthz", process) == 200
    assert wait_for(f"{url}/readyz", process) == 200  # the worker beside it has been seen

    process.send_signal(stop)

    words, _ = process.communicate(timeout=5)
    assert process.returncode == 0, words
    assert "Traceback" not in words


def test_strangers_asking_whether_the_site_is_ready_have_the_disk_written_once(gateways, settings, monkeypatch):
    from mespieces.views import operator

    checks, now = [], [1000.0]
    monkeypatch.setattr(type(gateways.vault), "check", lambda _: checks.append(now[0]))
    monkeypatch.setattr(operator, "time", SimpleNamespace(monotonic=lambda: now[0]))
    retention.beat(gateways)
    opened = runtime.Runtime(settings=settings, database=models.database.obj, gateways=gateways, secret_key=b"k" * 32)
    models.database.close()
    site = app.create(opened).test_client()

    for now[0] in (1000.0, 1001.0, 1009.9, 1010.0, 1012.0):
        assert site.get("/readyz").status_code == 200

    assert checks == [1000.0, 1010.0]


def test_serve_before_init_is_a_sentence(serving, monkeypatch, tmp_path):
    monkeypatch.setenv("MESPIECES_DATA", str(tmp_path / "nothing"))
    process, _ = serving("serve")

    words, _ = process.communicate(timeout=20)

    assert process.returncode == 1
    assert words.startswith("Rien n’est encore installé")
    assert len(words.splitlines()) == 1


def test_a_port_already_taken_is_a_sentence(installed):
    with server.listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        refused = run("serve", "--port", str(port))
    assert refused.exit_code == 1
    assert f"Le port {port} de 127.0.0.1 est déjà pris" in refused.stderr
    with pytest.raises(server.AddressUnusable):
        server.listen("192.0.2.1", 0)


def test_the_two_top_level_modules_give_an_application_and_a_queue(installed):
    program = "import tasks, wsgi; print(wsgi.app.name, type(tasks.huey).__name__)"
    root = Path(cli.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["mespieces", "SqliteHuey"]


SLOW = """
import sys, time
from mespieces import server

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield environ.get("HTTP_X_FORWARDED_PROTO", "").encode() + b" " + environ["wsgi.url_scheme"].encode()
    print("under way", flush=True)
    time.sleep(1.5)
    yield b" whole"

server.run(
    server.listen("127.0.0.1", int(sys.argv[1])),
    lambda: server.Service(application, lambda: print("stopped", flush=True)),
)
"""


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_request_under_way_is_finished_before_the_server_leaves(stop):
    port = servers.free_port()
    command = [sys.executable, "-c", SLOW, str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        answer = ask(port, process)
        assert process.stdout.readline() == "under way\n"
        # As a terminal does on Ctrl-C: every process of the group hears it.
        for pid in [process.pid, *children(process.pid)] if stop == signal.SIGINT else [process.pid]:
            os.kill(pid, stop)

        # What a stranger says of a proxy reaches the application, which alone decides; the server believes nobody.
        assert answer.read() == b"https http whole"
        words, _ = process.communicate(timeout=10)

    assert (process.returncode, words) == (0, "stopped\n")


def ask(port, process):
    request = urllib.request.Request(f"http://127.0.0.1:{port}/", headers={"X-Forwarded-Proto": "https"})
    for _ in range(100):
        assert process.poll() is None
        try:
            return urllib.request.urlopen(request, timeout=10)  # noqa: S310 — loopback
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise AssertionError("the server never answered")


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]


def test_a_journal_that_goes_on_well_is_not_closed_without_saying_so(installed):
    before = make.operations()
    refused = run("journal", "reopen", "--yes")
    assert (refused.exit_code, "--anyway" in refused.stderr, make.operations()) == (1, True, before)

    for answer, done in (("non\n", False), ("", False), ("\n", False), ("peut-être\nOui\n", True)):
        asked = CliRunner().invoke(cli.main, ["journal", "reopen", "--anyway"], input=answer, catch_exceptions=False)
        assert (asked.exit_code == 0, "Aborted" in asked.output, "Error" in asked.output) == (done, False, False)
        assert "Aucune perte connue" in asked.output
        assert ("rien n’a été fait" in asked.stderr) is not done
    assert sorted(make.operations()) == sorted([*before, "journal.opened"])


def test_an_export_that_cannot_be_written_is_told_and_leaves_nothing(installed, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"x")
    size = told("journal", "head")["size"]
    for place in (tmp_path / "file" / "x", Path("/proc/x")):
        refused = run("journal", "export", str(place))
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert "L’export ne peut pas être écrit" in refused.stderr
    assert told("journal", "head")["size"] == size

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(anchors, "files", full)
    refused = run("journal", "export", str(tmp_path / "new"))
    assert (refused.exit_code, "le disque est plein" in refused.stderr) == (1, True)
    assert not (tmp_path / "new").exists()


def test_the_head_is_told_in_french(installed):
    said = run("journal", "head").stdout
    assert [line.partition(" : ")[0] for line in said.splitlines()] == [
        "Journal", "Origine", "Taille", "Tête", "Racine", "Dernier enregistrement",
    ]  # fmt: skip
