"""The audit page in every state of the journal: what anybody reads there, at the same cost however long the journal is."""

import html
import json
import re
import subprocess
from datetime import timedelta

import authority as authorities
import make
import pytest
from web.conftest import words

from mespieces import models
from mespieces.domain import (
    activity,
    anchors,
    attestations,
    checkpoints,
    clockwork,
    continuity,
    emblem,
    exports,
    journal,
    verifications,
)
from mespieces.gateways.clock import ManualClock, SystemClock
from mespieces.gateways.timestamps import Authority
from mespieces.models import JournalCheckpoint, JournalLog, JournalTimestamp
from mespieces.verifier import note, record
from mespieces.verifier.__main__ import main
from mespieces.verifier.findings import Code

HEAVIEST = 40_000  # bytes of the page alone: style and script come beside it


@pytest.fixture(scope="module")
def tsa(tmp_path_factory):
    with authorities.serving(authorities.Authority(tmp_path_factory.mktemp("tsa"))) as served:
        yield served


@pytest.fixture
def dated(open_site, tsa):
    """The site with the true time, and an authority to ask."""
    reached = (Authority(tsa.url, (tsa.root,), within=5.0),)
    return open_site(with_gateways={"authorities": reached, "clock": ManualClock(SystemClock().now())})


@pytest.fixture
def awaiting(open_site, tsa):
    """The site with an authority that has not been asked yet."""
    return open_site(with_gateways={"authorities": (Authority(tsa.url, (tsa.root,), within=5.0),)})


def record_many(site, count, operation="journal.read"):
    with models.write():
        for _ in range(count):
            journal.append(site.gateways, operation, author=journal.OPERATOR)


def stamped(site, *, qualified=0):
    """Have the present checkpoint dated, as if an authority had been asked."""
    size, now = note.parse_checkpoint(note.split(checkpoints.publish(site.gateways))[0]).size, site.gateways.clock.now()
    JournalTimestamp.create(
        log=journal.head().log, size=size, number=1, der=b"token", time=now, authority="Horodatage", qualified=qualified,
        asked_at=now, answered_at=now,
    )  # fmt: skip
    with models.write():
        journal.append(site.gateways, anchors.ANCHORED)
    return size


def audit(site):
    return audit_of(site, "/audit")


def audit_of(site, path):
    return words(site.visitor().get(path)).replace("\u00a0", " ").replace("\u202f", " ")


# The head


def test_the_head_is_read_aloud_in_groups_and_drawn(site):
    make.draft(site.gateways)
    page, head = site.visitor().get("/audit").text, checkpoints.head(site.gateways).head
    rows = re.findall(r"<li><code>(.*?)</code></li>", re.search(r'<ol class="aloud".*?</ol>', page, re.DOTALL)[0])
    groups = [re.findall(r"<span>(\w+)</span>", row) for row in rows]

    assert [len(row) for row in groups] == [4] * 4
    assert {len(group) for row in groups for group in row} == {4}
    assert "".join(group for row in groups for group in row) == head
    drawing = re.search(r'<svg class="emblem" role="img" aria-label="([^"]+)".*?d="([^"]*)"', page)
    assert f"{head[:4]} {head[4:8]}" in drawing[1]
    assert drawing[2] == emblem.path(head)


# Every state


def test_a_journal_that_has_just_been_opened_is_shown(site):
    told = audit(site)

    assert "Pas encore vérifié" in told
    assert "1 enregistrement," in told
    assert "Aucun point de contrôle n’est encore signé" in told
    assert "Aucune autorité d’horodatage n’est configurée" in told
    assert "1 enregistrement sans date certaine depuis le 24 novembre 2026" in told
    assert "Rien à montrer pour les 30 derniers jours" in told
    assert "Avec OpenSSL seul" not in told


def test_without_an_open_journal_the_page_says_so(site):
    JournalLog.update(closed_at=site.gateways.clock.now()).execute()

    assert "Le journal n’est pas ouvert" in words(site.visitor().get("/audit", 503))
    answer = site.visitor().get("/audit/head", 503, headers={"Accept": "application/json"})
    assert "Le journal n’est pas ouvert" in answer.json["error"]


def test_a_journal_that_continues_another_says_which(site):
    make.draft(site.gateways)
    old = journal.head()
    continuity.reopen(site.gateways)
    told = audit(site)

    assert f"Il continue le journal {old.log}, fermé le" in told
    assert f"à {old.size} enregistrements" in told


def test_what_was_found_wrong_is_told_in_words_and_the_rest_is_counted(site):
    record_many(site, 25)
    checkpoints.publish(site.gateways)
    with models.write():
        JournalCheckpoint.create(log=journal.head().log, size=7, note=b"x", created_at=site.gateways.clock.now())
    activity.keep_up()
    models.database.obj.execute_sql("UPDATE journal_day SET others = others + 1")
    verifications.verify(site.gateways)
    told = audit(site)

    assert "Anomalie constatée" in told
    assert "BAD_SIGNATURE 6 : la signature du point de contrôle" in told
    assert "ACTIVITY_ALTERED 2026-11-24 : le nombre d’opérations affiché pour ce jour" in told


def test_what_was_found_wrong_in_a_closed_journal_is_told_with_its_name(site):
    old = journal.head()
    record_many(site, 3)
    continuity.reopen(site.gateways)
    models.database.obj.execute_sql("UPDATE journal_payload SET body = salt WHERE sequence = 2")
    verifications.verify(site.gateways)

    told = audit(site)
    assert "PAYLOAD_ALTERED 2 : le contenu de cet enregistrement" in told
    assert f"(journal {old.log}, fermé)" in told


def test_a_journal_wrong_everywhere_is_shown_in_few_words(site):
    record_many(site, 200)
    models.database.obj.execute_sql("UPDATE journal_payload SET body = salt WHERE payload_group = 'trace'")
    found = verifications.verify(site.gateways)
    page = site.visitor().get("/audit")

    [(code, count)] = found.counts.items()
    assert count > 200
    assert f"… et {count - 5} autres {code}." in words(page)
    assert page.text.count("PAYLOAD_") == 5 + 1
    assert len(page.data) < HEAVIEST


@pytest.mark.parametrize(("qualified", "said"), [(1, "se dit qualifiée"), (0, "ne se dit pas qualifiée")])
def test_the_last_certain_date_names_its_authority_and_what_it_claims(awaiting, qualified, said):
    make.draft(awaiting.gateways)
    size = stamped(awaiting, qualified=qualified)
    told = audit(awaiting)

    assert (
        f"Un tiers, Horodatage, a daté le journal le 24 novembre 2026 à 11 h 00 (heure de Paris), jusqu’au {size} e"
        in told
    )
    assert said in told
    assert "liste de confiance de l’Union européenne" in told
    assert "Tous les enregistrements ont une date certaine, sauf ce qui inscrit cette date au journal." in told
    make.draft(awaiting.gateways)
    assert "enregistrements sans date certaine depuis le 24 novembre 2026" in audit(awaiting)


def test_an_authority_that_is_no_longer_configured_leaves_its_date(site):
    make.draft(site.gateways)
    stamped(site)
    told = audit(site)

    assert "Aucune autorité d’horodatage n’est plus configurée" in told
    assert "Un tiers, Horodatage, a daté le journal" in told


def test_an_authority_that_is_late_is_told_and_only_then(awaiting):
    make.draft(awaiting.gateways)
    assert "L’autorité tarde" not in audit(awaiting)
    awaiting.gateways.clock.advance(anchors.LATE)
    assert "L’autorité tarde" not in audit(awaiting)
    awaiting.gateways.clock.advance(timedelta(seconds=1))
    assert "L’autorité tarde" in audit(awaiting)
    assert "les attestations établies d’ici là sont provisoires" in audit(awaiting)

    stamped(awaiting)
    assert "L’autorité tarde" not in audit(awaiting)


@pytest.mark.parametrize(
    ("drift", "said", "alarm"),
    [(0.01, "était à l’heure le", False), (-0.24, "0,2 seconde en retard sur celle du tiers Horodatage", False),
     (2.4, "2,4 secondes en avance sur", True), (-120.0, "120 secondes en retard sur", True)],
)  # fmt: skip
def test_the_drift_of_our_clock_is_told_with_its_day(awaiting, drift, said, alarm):
    assert "L’horloge de ce serveur était" not in audit(awaiting)
    at = record.format_time(awaiting.gateways.clock.now())
    with models.write():
        clockwork.set_fact(
            anchors.CLOCK,
            awaiting.gateways.clock.now(),
            f'{{"Horodatage": {{"drift": {drift}, "at": "{at}", "authority": "Horodatage"}}}}',
        )
    told = audit(awaiting)

    assert said in told
    assert "le 24 novembre 2026 à 11 h 00" in told
    assert ("Horloges en désaccord" in told) is alarm


def test_what_cannot_be_shown_is_said(site):
    told = audit(site)
    for limit in ("enregistrement faux", "en dehors du programme", "Deux journaux", "ne couvre encore"):
        assert limit in told


# Activity


def test_the_chart_has_its_numbers_beside_it(site):
    record_many(site, 12, "document.consulted")
    record_many(site, 3, "recipient.refused")
    activity.keep_up()
    page = site.visitor().get("/audit").text
    row = re.search(r'<th scope="row">24\u00a0novembre\u00a02026</th>(.*?)</tr>', page)[1]

    assert '<path class="consultations" d="M290 0h8v100h-8z"/>' in page
    assert '<path class="refusals" d=""/>' in page
    assert re.findall(r">([^<>]+)<", row) == ["0", "12", "&lt; 10", "&lt; 10"]


def test_the_page_stays_light_when_every_day_was_busy(site):
    log = journal.head().log
    today = site.gateways.clock.now()
    models.JournalDay.insert_many(
        {"log": log, "day": (today - timedelta(days=back)).date().isoformat(), "size": 1, "deposits": 123_456 - back,
         "consultations": 654_321, "refusals": 111_111, "others": 9_999_999} for back in range(90)
    ).execute()  # fmt: skip
    page = site.visitor().get("/audit")

    assert page.text.count('<th scope="row">') == 30
    assert len(page.data) < HEAVIEST


# Checkpoints


def test_every_checkpoint_is_reached_page_by_page_and_by_its_size(site):
    for _ in range(7):
        record_many(site, 1)
        checkpoints.publish(site.gateways)
    log, now = journal.head().log, site.gateways.clock.now()
    JournalCheckpoint.insert_many(
        {"log": log, "size": size, "note": b"x", "created_at": now} for size in range(100, 230)
    ).execute()
    known = [row.size for row in checkpoints.recent(log, 1000)]
    anyone, path, seen = site.visitor(), "/audit/points-de-controle", []
    while path:
        page = anyone.get(path)
        assert len(page.data) < HEAVIEST
        seen += [int(size) for size in re.findall(rf'href="/audit/{log}/checkpoints/(\d+)\.note"', page.text)]
        following = re.search(r'rel="next" href="([^"]+)"', page.text)
        path = html.unescape(following[1]) if following else None
    assert seen == known

    first = re.search(r"/checkpoints/(\d+)\.note", anyone.get("/audit/points-de-controle?taille=1 50").text)[1]
    assert first == "150"
    assert "Aucun point de contrôle jusqu’à cette taille" in anyone.get("/audit/points-de-controle?taille=0").text
    for huge in ("9" * 19, "9" * 400):
        assert anyone.get(f"/audit/points-de-controle?taille={huge}").text.count("/checkpoints/") == 50
    for wrong in ("x", "-1", "²", "1.5", "\x00"):
        assert 'id="taille-error"' in anyone.get("/audit/points-de-controle", 422, query_string={"taille": wrong}).text


def test_tokens_stand_beside_the_checkpoints_they_date(dated):
    make.draft(dated.gateways)
    assert anchors.keep_up(dated.gateways)
    log, size, anyone = journal.head().log, JournalTimestamp.get().size, dated.visitor()

    for path in ("/audit", "/audit/points-de-controle"):
        row = re.search(rf'<tr><td><a href="/audit/{log}/checkpoints/{size}.note">.*?</tr>', anyone.get(path).text)[0]
        assert f'href="/audit/{log}/timestamps/{size}.1.tsr"' in row


def test_what_a_journal_published_stays_where_it_was_once_another_continues_it(awaiting):
    def addresses(path):
        return re.findall(r'href="(/audit/\w+/(?:checkpoints|timestamps)/[^"]+)"', anyone.get(path).text)

    make.draft(awaiting.gateways)
    stamped(awaiting)
    old, anyone = journal.head(), awaiting.visitor()
    before = {path: anyone.get(path).data for path in addresses("/audit")}
    assert len(before) == 2

    continuity.reopen(awaiting.gateways)
    # The new journal comes to the same sizes, with other records under them.
    record_many(awaiting, old.size - journal.head().size - 1)
    new = journal.head()
    stamped(awaiting)

    assert {path: anyone.get(path).data for path in before} == before
    assert set(addresses("/audit")).isdisjoint(before)
    assert set(addresses(f"/audit/{old.log}/points-de-controle")) == set(before)
    now = anyone.get(f"/audit/{new.log}/checkpoints/{new.size}.note")
    assert now.data not in before.values()
    assert f"/audit/{old.log}/checkpoints/{new.size}.note" in before
    assert anyone.get("/audit/checkpoint").data == now.data


def test_closed_journals_are_listed_each_with_its_checkpoints_and_its_key(site):
    assert "Journaux fermés" not in audit_of(site, "/audit/points-de-controle")
    logs = []
    for size in (3, 1, 60):
        record_many(site, size)
        logs.append(journal.head())
        if size == 60:
            for _ in range(55):
                record_many(site, 1)
                checkpoints.publish(site.gateways)
        site.gateways.clock.advance(timedelta(seconds=1))
        continuity.reopen(site.gateways)
    anyone = site.visitor()
    page, first = anyone.get("/audit/points-de-controle").text, f"/audit/{logs[0].log}/points-de-controle"
    links = re.findall(r'href="/audit/(\w{32})/points-de-controle"', page)
    assert links == [row.log for row in reversed(logs)]
    assert f'href="/audit/{logs[2].log}/points-de-controle"' in anyone.get("/audit").text

    told = audit_of(site, first)
    assert "Points de contrôle d’un journal fermé" in told
    assert "fermé le 24 novembre 2026 à 11 h 00 (heure de Paris), à 4 enregistrements" in told
    assert checkpoints.vkey_of(site.gateways, logs[0]) in told
    assert checkpoints.vkey_of(site.gateways, journal.head()) in audit_of(site, "/audit/points-de-controle")
    assert "Autres journaux fermés" in told
    assert f'href="{first}"' not in anyone.get(first).text.partition("Autres journaux fermés")[2]
    assert "Aucun point de contrôle jusqu’à cette taille" in audit_of(site, f"{first}?taille=0")

    many = f"/audit/{logs[2].log}/points-de-controle"
    following = html.unescape(re.search(r'rel="next" href="([^"]+)"', anyone.get(many).text)[1])
    assert following.startswith(f"{many}?taille=")
    assert anyone.get(following).text.count("/checkpoints/") == 56 - 50  # its first was signed when it was opened
    wrong = anyone.get(f"{many}?taille=x", 422).text
    assert 'id="taille-error"' in wrong
    assert 'value="x"' in wrong


def test_a_journal_closed_before_it_published_anything_says_so(site):
    old = journal.head().log
    continuity.reopen(site.gateways)
    assert "Aucun point de contrôle de ce journal n’a été gardé" in audit_of(site, f"/audit/{old}/points-de-controle")


# By yourself


def commands(page, name):
    shown = re.search(rf'<pre class="run" id="{name}">(.*?)</pre>', page, re.DOTALL)[1]
    return html.unescape(re.sub(r"</?span[^>]*>", "", shown))


def download(visitor, page, folder):
    """Save what the page gives to download, under the names that its commands use."""
    for path in set(re.findall(r'href="(/audit/\w{32}/(?:checkpoints|timestamps)/[^"]+)"', page)):
        (folder / path.rpartition("/")[2]).write_bytes(visitor.get(path).data)


def run(command, folder):
    return subprocess.run(["/bin/sh", "-ec", command], cwd=folder, capture_output=True, text=True, check=False)


def test_the_commands_shown_verify_date_and_signature_with_openssl_alone(dated, tsa, tmp_path):
    make.draft(dated.gateways)
    assert anchors.keep_up(dated.gateways)
    record_many(dated, 1)
    checkpoints.publish(dated.gateways)
    anyone, folder = dated.visitor(), tmp_path / "kept"
    folder.mkdir()
    page = anyone.get("/audit").text
    download(anyone, page, folder)
    (folder / "racine.pem").write_bytes(tsa.pem.read_bytes())

    date, signature = commands(page, "openssl-date"), commands(page, "openssl-signature")
    said = run(date, folder)
    assert (said.returncode, "Verification: OK" in said.stdout + said.stderr) == (0, True)
    said = run(signature, folder)
    assert (said.returncode, said.stdout.strip()) == (0, "Signature Verified Successfully")

    for signed in folder.glob("*.note"):
        size = signed.stem
        signed.write_bytes(signed.read_bytes().replace(f"\n{size}\n".encode(), f"\n{int(size) + 1}\n".encode(), 1))
    assert run(date, folder).returncode != 0
    assert run(signature, folder).returncode != 0


def test_the_commands_shown_are_those_of_the_verifier(site, tmp_path):
    deposit = make.filed(site.gateways, documents=1)
    (tmp_path / "attestation.pdf").write_bytes(attestations.of_deposit(site.gateways, deposit, by=journal.OPERATOR))
    checkpoints.publish(site.gateways)
    anyone = site.visitor()
    page = anyone.get("/audit").text
    download(anyone, page, tmp_path)
    exports.write(site.gateways, tmp_path / "export.zip", by=journal.OPERATOR)
    runs = re.findall(r'<pre class="run">(mespieces-verify .*?)</pre>', page)
    shown = [html.unescape(re.sub(r"<[^>]+>", "", one)) for one in runs]

    assert len(shown) == 2
    for command in shown:
        arguments = [one.strip("'") for one in command.split()[1:]]
        assert main([str(tmp_path / one) if (tmp_path / one).exists() else one for one in arguments]) == 0, command


# At any size

PAGES = (
    "/audit",
    "/audit/head",
    "/audit/checkpoint",
    "/audit/points-de-controle",
    "/audit/points-de-controle?taille=299",
)


def asked(site, monkeypatch):
    """What each page asks the database, in statements and their values."""
    found, execute, anyone = {}, models.database.obj.execute_sql, site.visitor()
    for path in PAGES:
        said = found[path] = []
        with monkeypatch.context() as patch:
            patch.setattr(
                models.database.obj,
                "execute_sql",
                lambda sql, values=None, said=said: said.append((sql, values)) or execute(sql, values),
            )
            anyone.get(path)
    return found


def grow(site, size):
    record_many(site, size - journal.head().size)
    activity.keep_up()
    stamped(site)
    record_many(site, 2)
    verifications.verify(site.gateways)


def test_the_pages_ask_no_more_of_a_long_journal_and_read_no_table_through(awaiting, monkeypatch):
    # Both sizes end in as many complete subtrees: 4096 + 44 and 256 + 44.
    grow(awaiting, 297)
    few = asked(awaiting, monkeypatch)
    log, now = journal.head().log, awaiting.gateways.clock.now()
    for size in range(1, 60):
        JournalCheckpoint.create(log=log, size=size, note=b"x", created_at=now)
        JournalTimestamp.create(
            log=log, size=size, number=1, der=b"x", time=now, authority="x", qualified=0, asked_at=now, answered_at=now
        )
    grow(awaiting, 4137)
    many = asked(awaiting, monkeypatch)

    assert {path: len(said) for path, said in many.items()} == {path: len(said) for path, said in few.items()}
    if models.is_sqlite():
        plans = {
            (step[3], sql)
            for said in many.values()
            for sql, values in said
            for step in models.database.execute_sql(f"EXPLAIN QUERY PLAN {sql}", values).fetchall()
        }
        assert {plan for plan in plans if plan[0].startswith("SCAN") and not _reads_journals(*plan)} == set()
        assert any(step.startswith("SEARCH") for step, _ in plans)


def _reads_journals(step, sql):
    """Tell whether a table read through is the one of journals, of which there is one for each reopening."""
    read = step.split()[1]
    return read == "journal_log" or f'"journal_log" AS "{read}"' in sql


def test_a_size_that_is_no_number_is_said_so_and_nothing_else_is(site):
    checkpoints.publish(site.gateways)
    page = site.visitor().get("/audit/points-de-controle?taille=beaucoup", 422)
    assert "Saisissez un nombre d’enregistrements" in words(page)
    assert 'value="beaucoup"' in page.text
    assert "Aucun point de contrôle" not in words(page)
    page = words(site.visitor().get("/audit/points-de-controle?taille=9999999999999999999"))
    assert "Les plus récents" in page
    assert "Jusqu’à 9" not in page


def test_whatever_the_verification_finds_is_told_in_words(site):
    found = [
        f"2026-11-24 {code}" if code == "ACTIVITY_ALTERED" else f"3 {code}" for code in (*verifications.Beside, *Code)
    ]
    told = {"size": 9, "seconds": 0.1, "findings": found, "counts": dict.fromkeys((*verifications.Beside, *Code), 1)}
    with models.write():
        clockwork.set_fact(verifications.VERIFIED, site.gateways.clock.now(), json.dumps(told))

    page = words(site.visitor().get("/audit"))

    assert all(re.search(rf"{code} \S+ : \w", page) for code in (*verifications.Beside, *Code))


def test_a_note_that_cannot_be_read_is_given_as_it_is_kept(site):
    """Whoever writes in the tables may have put it there: its signature says nothing to who verifies it."""
    log = journal.head().log
    with models.write():
        JournalCheckpoint.create(log=log, size=1, note=b"nothing", created_at=site.gateways.clock.now())

    assert site.visitor().get(f"/audit/{log}/checkpoints/1.note").data == b"nothing"
    assert site.visitor().get("/audit/points-de-controle").status_code == 200
    assert site.visitor().get("/audit/checkpoint", 404)


def test_a_checkpoint_is_downloaded_under_the_name_that_the_commands_of_the_page_say(site):
    checkpoints.publish(site.gateways)
    anyone, size = site.visitor(), journal.head().size

    for path in ("/audit/checkpoint", f"/audit/{journal.head().log}/checkpoints/{size}.note"):
        assert anyone.get(path).headers["Content-Disposition"] == f'attachment; filename="{size}.note"'
    assert f"--since {size}.note" in words(anyone.get("/audit"))
