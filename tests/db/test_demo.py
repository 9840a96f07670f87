"""The demonstration: what it prints and writes really opens the product, the first time and the next."""

import json
import re
import stat
from datetime import UTC, datetime, timedelta

import authority as authorities
import make
import pyotp
import pytest

from mespieces import demo, models, runtime
from mespieces.domain import (
    anchors,
    clockwork,
    deposits,
    identification,
    journal,
    members,
    one_time_codes,
    sign_ins,
    verifications,
)
from mespieces.gateways import preview
from mespieces.models import Deposit, Document, JournalRecord, Member, Office, Recipient

TRACE = make.TRACE


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Make the demonstration once: its tests only read it, or sign in as different people."""
    folder = tmp_path_factory.mktemp("demo") / "demo-data"
    return folder, demo.set_up(demo.settings(folder, 8080))


@pytest.fixture
def known(made):
    return json.loads((made[0] / "demo.json").read_text("utf-8"))


@pytest.fixture
def gateways(made):
    opened = runtime.open_runtime(demo.settings(made[0], 8080))
    with opened.database.connection_context():
        yield opened.gateways


def by_channel(known, channel):
    return next(row for row in known["recipients"] if row["channel"] == channel)


def begun(gateways, row):
    begun = identification.begin(gateways, row["reference"], row["secret"], TRACE)
    assert isinstance(begun, identification.Begun)
    return begun


def test_the_file_has_the_promised_shape_and_its_owner_alone_reads_it(made, known):
    assert set(known) == {"url", "office", "deposit", "recipients"}
    assert set(known["office"]) == {"email", "password", "totp_secret"}
    assert known["deposit"] == {"reference": "NTE-4821"}
    assert [(row["name"], row["channel"]) for row in known["recipients"]] == [
        ("Ma jolie boutique", "email"),
        ("Alexandre Payet", "app"),
        ("Sophie Nguyễn", "office"),
    ]
    assert [set(row) - {"name", "reference", "secret", "channel"} for row in known["recipients"]] == [
        {"email"},
        {"totp_secret"},
        set(),
    ]
    assert stat.S_IMODE((made[0] / "demo.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(made[0].stat().st_mode) == 0o700


def test_the_office_signs_in_at_once_with_the_code_of_the_moment(gateways, known):
    office = known["office"]
    token = members.begin(gateways, office["email"], office["password"], TRACE)

    session = members.confirm(gateways, token, pyotp.TOTP(office["totp_secret"]).at(datetime.now(UTC)), TRACE)

    assert isinstance(session, str)


def test_the_recipient_with_an_application_signs_in_at_once(gateways, known):
    row = by_channel(known, "app")
    token = begun(gateways, row).token

    session = identification.confirm(gateways, token, pyotp.TOTP(row["totp_secret"]).at(datetime.now(UTC)), TRACE)

    assert isinstance(session, str)


def test_the_recipient_with_an_address_receives_a_code(gateways, known):
    row = by_channel(known, "email")
    waiting = begun(gateways, row)
    assert sign_ins.way_bound(gateways, waiting.sign_in) == "email"

    sign_in = one_time_codes.send(gateways, waiting.token)

    assert sign_in.email == row["email"]
    code = one_time_codes.code(gateways, sign_in)
    assert isinstance(identification.confirm(gateways, waiting.token, code, TRACE), str)


def test_the_office_tells_a_code_to_the_recipient_who_calls(gateways, known):
    waiting = begun(gateways, by_channel(known, "office"))
    assert sign_ins.way_bound(gateways, waiting.sign_in) == "office"

    code = one_time_codes.tell(
        gateways, waiting.sign_in.access.recipient, "Appel", by=Member.get(), trace=journal.NO_TRACE
    )

    assert isinstance(identification.confirm(gateways, waiting.token, code, TRACE), str)


def test_the_deposit_is_filed_with_four_documents_of_two_formats(gateways):
    deposit = Deposit.get()

    assert deposits.state(deposit, gateways.clock.now()) == deposits.State.FILED
    assert (deposit.creditor, deposit.court) == ("Au bon moulin SARL", "Tribunal judiciaire de Nantes")
    rows = list(Document.select().order_by(Document.number))
    assert [row.media_type for row in rows] == ["application/pdf"] * 3 + ["image/jpeg"]
    assert [row.nature for row in rows] == ["facture", "livraison", "mise-en-demeure", "autre"]
    assert timedelta(days=15) < datetime.now(UTC) - instant_of(deposit.order_date) < timedelta(days=27)
    assert Office.get().name == "SCP Lefèvre & Marchand"
    assert Recipient.select().count() == 3


def instant_of(day):
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def test_the_journal_never_goes_back_nor_into_the_future(gateways):
    times = [row.time for row in JournalRecord.select().order_by(JournalRecord.sequence)]

    assert times == sorted(times)
    assert times[-1] <= journal.record.format_time(datetime.now(UTC))
    assert verifications.verify(gateways).findings == ()
    assert not clockwork.jumped(datetime.now(UTC))


def test_what_is_printed_tells_where_to_go_and_with_what(made):
    words = demo.tell(made[1])

    office = made[1]["office"]
    for part in (office["email"], office["password"], office["totp_secret"], "/etude/connexion", str(made[0] / "mail")):
        assert part in words
    for row in made[1]["recipients"]:
        assert f"{row['name']} : http://127.0.0.1:8080/?reference={row['reference']}" in words.replace("\u00a0", " ")
        assert row["secret"] in words
        assert f"reference={row['secret']}" not in words
    assert re.search(r"\b\d{6}\b", demo.codes_now(made[0]))


def test_no_secret_stands_in_clear_beside_demo_json(made, known):
    secrets = [known["office"]["password"], known["office"]["totp_secret"]]
    secrets += [row["secret"] for row in known["recipients"]] + [by_channel(known, "app")["totp_secret"]]
    secrets += [secret.replace("-", "") for secret in secrets]

    searched = [path for path in made[0].rglob("*") if path.is_file() and path.name != "demo.json"]

    assert made[0] / "mespieces.db" in searched
    assert [
        path.name for path in searched for data in [path.read_bytes()] if any(part.encode() in data for part in secrets)
    ] == []
    assert b"FA-2026-0114" not in b"".join(path.read_bytes() for path in (made[0] / "storage").rglob("file"))


# Another run, another folder


def test_a_second_run_starts_from_what_is_there_at_its_new_address(made, known):
    records = count_records(made[0])

    again = demo.set_up(demo.settings(made[0], 8099))

    assert again["url"] == "http://127.0.0.1:8099"
    kept = json.loads((made[0] / "demo.json").read_text("utf-8"))
    assert kept == known | {"url": "http://127.0.0.1:8099"}
    assert count_records(made[0]) == records


def count_records(folder):
    with runtime.open_runtime(demo.settings(folder, 8080)).database.connection_context():
        return JournalRecord.select().count()


def test_a_set_up_cut_half_way_is_begun_again(tmp_path, monkeypatch):
    folder = tmp_path / "demo"
    with monkeypatch.context() as patched:
        patched.setattr(demo, "DOCUMENTS", (*demo.DOCUMENTS, ("Vide.pdf", bytes, "Vide", "autre", demo.date.today())))
        with pytest.raises(preview.EmptyFile):
            demo.set_up(demo.settings(folder, 8080))
    assert (folder / ".unfinished").exists()
    models.database.close()

    known = demo.set_up(demo.settings(folder, 8080))

    assert len(known["recipients"]) == 3
    assert not (folder / ".unfinished").exists()


def test_a_folder_with_anything_else_is_left_alone(tmp_path):
    (tmp_path / "letters.txt").write_text("mine")

    with pytest.raises(demo.NotADemonstration):
        demo.set_up(demo.settings(tmp_path, 8080))
    with pytest.raises(demo.NoDemonstration):
        demo.codes_now(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["letters.txt"]


def test_a_demonstration_never_uses_a_real_service_found_in_the_environment(monkeypatch, tmp_path):
    for name in ("DATA", "DATABASE_URL", "STORAGE_URL", "MAIL_URL", "QUEUE_URL", "MASTER_KEY_FILE"):
        monkeypatch.setenv(f"MESPIECES_{name}", f"file:///real/{name}")
    monkeypatch.setenv("MESPIECES_MAX_DOCUMENT_BYTES", "1000")

    chosen = demo.settings(tmp_path, 8080)

    assert "real" not in repr(chosen)
    assert chosen.max_document_bytes == 1000


def test_its_journal_is_dated_by_the_authority_that_the_environment_names(made, tmp_path, monkeypatch):
    with authorities.serving(authorities.Authority(tmp_path / "tsa")) as tsa:
        monkeypatch.setenv("MESPIECES_TSA_URL", tsa.url)
        monkeypatch.setenv("MESPIECES_TSA_ROOTS", str(tmp_path / "tsa" / "root.pem"))
        opened = runtime.open_runtime(demo.settings(made[0], 8080))
        with opened.database.connection_context():
            assert anchors.keep_up(opened.gateways)
            assert anchors.situation(opened.gateways).last.authority == "Horodatage"
