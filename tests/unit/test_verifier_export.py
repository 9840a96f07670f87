"""An export verified by the product's verifier and by an auditor's own program: good ones pass, every damage is named."""

import hashlib
import json
import random
import zipfile
from datetime import UTC, datetime, timedelta

import authority as authorities
import independent_auditor as auditor
import journal_maker as maker
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from journal_maker import Files

from mespieces.verifier import __main__ as program
from mespieces.verifier import audit, canonical, chain, export, note, purge, record, tokens
from mespieces.verifier.findings import Code

YEAR, DAY = timedelta(days=366), timedelta(days=1)


def found_in(files, journal, **trust):
    return audit.verify(Files(files), audit.Trust(keys=[journal.verifier], **trust))


def codes(report):
    return set(report.counts)


def lines_of(files):
    return files["journal.jsonl"].splitlines(keepends=True)


@pytest.fixture
def journal():
    return maker.ordinary()


def test_an_intact_export_has_no_finding_and_tells_its_head(journal):
    report = found_in(journal.files(), journal)

    assert report.findings == []
    assert report.bound
    [seen] = report.logs
    assert (seen.size, seen.head, seen.trusted_size) == (9, journal.leaves[-1].hex(), 9)


def test_a_folder_and_an_archive_are_the_same_export(journal, tmp_path):
    folder = maker.save(journal.files(), tmp_path / "export")
    archive = maker.zipped(journal.files(), tmp_path / "export.zip")

    for path in (folder, archive):
        with export.source(path) as where:
            assert audit.verify(where, audit.Trust(keys=[journal.verifier])).findings == []
        assert auditor.audit(path, journal.vkey) == []


def altered(entry, group, **changes):
    entry = json.loads(entry)
    entry[group] = {**entry[group], **changes} if changes else None
    return json.dumps(entry, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def cut(lines, files):
    del lines[-2:]


def drop(lines, files):
    del lines[3]


def swap(lines, files):
    lines[3], lines[4] = lines[4], lines[3]


def repeat(lines, files):
    lines.insert(4, lines[3])


def change_name(lines, files):
    lines[3] = lines[3].replace("Élodie".encode(), b"Emilie")


def change_salt(lines, files):
    lines[3] = altered(lines[3], "trace", salt="00" * 32)


def erase(lines, files):
    lines[3] = altered(lines[3], "proof")


def space(lines, files):
    lines[3] = lines[3].replace(b',"proof"', b', "proof"')


def rename_key(lines, files):
    lines[3] = lines[3].replace(b'"salt"', b'"sale"', 1)


def blank(lines, files):
    lines.insert(3, b"\n")


def move_time(lines, files):
    lines[3] = lines[3].replace(b"2026-11-23T10", b"2026-11-23T09")


def spoil_header(lines, files):
    lines[3] = lines[3].replace(rb"\"version\":1", rb"\"version\":2")


def cut_the_last_line_feed(lines, files):
    lines[-1] = lines[-1][:-1]


def sign_with_another_key(lines, files):
    files["checkpoints/9.note"] = maker.ordinary(2).files()["checkpoints/9.note"]


def forge_a_checkpoint(lines, files):
    files["checkpoints/5.note"] = files["checkpoints/5.note"].replace(b"\n5\n", b"\n4\n")


def rename_a_checkpoint(lines, files):
    files["checkpoints/4.note"] = files.pop("checkpoints/5.note")


def lose_the_last_checkpoint(lines, files):
    del files["checkpoints/9.note"]


def cut_to_an_older_checkpoint(lines, files):
    del lines[5:]
    del files["checkpoints/9.note"]


def edit_a_header(lines, files):
    lines[3] = lines[3].replace(b"document.consulted", b"document.delivered", 1)


def forged(line, previous, **changes):
    """The line of another record at the same place, rightly chained to the one before."""
    entry = json.loads(line)
    before = record.record_hash(json.loads(previous)["header"].encode()).hex()
    header = record.parse(entry["header"].encode())._replace(previous=before, **changes)
    entry["header"] = record.build(header).decode()
    return json.dumps(entry, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def insert(lines, files):
    lines.insert(3, forged(lines[3], lines[2]))
    lines[4] = forged(lines[4], lines[3])


def chain_again_from_one_on(lines, files):
    lines[3] = forged(lines[3], lines[2], operation="document.delivered")
    for at in range(4, len(lines)):
        lines[at] = forged(lines[at], lines[at - 1])


def forge_a_purge(lines, files):
    body = canonical.parse_object(json.loads(lines[8])["proof"]["body"].encode())
    body["detail"] = {"ranges": [{"from": 3, "to": 3, "group": "proof"}], "reason": "art. 5"}
    written = record.encode_body("proof", body)
    lines[8] = altered(lines[8], "proof", body=written.decode())
    committed = record.commit("proof", bytes.fromhex(json.loads(lines[8])["proof"]["salt"]), written)
    lines[8] = forged(lines[8], lines[7], operation="journal.purged", proof=committed)
    lines[3] = altered(lines[3], "proof")


DAMAGES = {
    cut: "TAIL_TRUNCATED 7",
    drop: "SEQUENCE_GAP 4",
    swap: "SEQUENCE_GAP 4",
    repeat: "SEQUENCE_GAP 3",
    change_name: "PAYLOAD_ALTERED 3",
    change_salt: "PAYLOAD_ALTERED 3",
    erase: "PAYLOAD_MISSING 3",
    space: "HEADER_NOT_CANONICAL 3",
    rename_key: "PAYLOAD_NOT_CANONICAL 3",
    blank: "HEADER_NOT_CANONICAL 3",
    move_time: "TIME_WENT_BACK 3",
    spoil_header: "HEADER_NOT_CANONICAL 3",
    cut_the_last_line_feed: "HEADER_NOT_CANONICAL 8",
    sign_with_another_key: "BAD_SIGNATURE 8",
    forge_a_checkpoint: "BAD_SIGNATURE 4",
    rename_a_checkpoint: "CHECKPOINT_MISMATCH 3",
    lose_the_last_checkpoint: "TAIL_TRUNCATED 9",
    cut_to_an_older_checkpoint: "TAIL_TRUNCATED 5",
    edit_a_header: "PREVIOUS_MISMATCH 4",
    insert: "SEQUENCE_GAP 3",
    chain_again_from_one_on: "CHECKPOINT_MISMATCH 4",
    forge_a_purge: "CHECKPOINT_MISMATCH 8",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_every_damage_is_named_alike_by_two_programs(damage, journal, tmp_path):
    files = journal.files()
    lines = lines_of(files)
    damage(lines, files)
    files["journal.jsonl"] = b"".join(lines)

    report = found_in(files, journal)
    told = {f"{finding.code} {finding.sequence}" for finding in report.findings}

    assert DAMAGES[damage] in told
    for place in (maker.save(files, tmp_path / "folder"), maker.zipped(files, tmp_path / "export.zip")):
        with export.source(place) as where:
            assert audit.verify(where, audit.Trust(keys=[journal.verifier])).findings == report.findings
        assert {line.split()[0] for line in auditor.audit(place, journal.vkey)} == codes(report)


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_any_bit_changed_in_the_journal_is_found(data):
    journal = maker.ordinary()
    files = journal.files()
    content = bytearray(files["journal.jsonl"])
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    files["journal.jsonl"] = bytes(content)

    assert found_in(files, journal).findings


def test_two_programs_agree_on_a_hundred_random_flips(tmp_path):
    journal, chance = maker.ordinary(), random.Random(7)
    for _ in range(100):
        files = journal.files()
        content = bytearray(files["journal.jsonl"])
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        files["journal.jsonl"] = bytes(content)
        told = {line.split()[0] for line in auditor.audit(maker.save(files, tmp_path), journal.vkey)}
        assert told == codes(found_in(files, journal))


def test_a_whole_journal_rewritten_with_its_own_key_is_not_the_auditor_s(journal):
    other = maker.ordinary(2)

    assert Code.BAD_SIGNATURE in codes(found_in(other.files(), journal))


def test_an_honestly_sealed_body_out_of_form_is_named(journal):
    journal = maker.Journal()
    journal.add("journal.opened")
    header, (salt, body), trace = journal.records.pop()
    journal.leaves.clear()
    loose = body.replace(b'"detail":{}', b'"detail": {}')
    parsed = record.parse(header)._replace(proof=record.commit("proof", salt, loose))
    journal.records.append([record.build(parsed), (salt, loose), trace])
    journal.leaves.append(record.record_hash(record.build(parsed)))
    journal.close()

    assert [finding.code for finding in found_in(journal.files(), journal).findings] == [Code.PAYLOAD_NOT_CANONICAL]


def test_time_may_go_back_only_in_a_declared_anomaly():
    for operation, expected in (("clock.anomaly", set()), ("document.consulted", {Code.TIME_WENT_BACK})):
        journal = maker.ordinary()
        journal.add(operation, after=timedelta(hours=-1))
        journal.add("document.consulted")
        journal.close()
        assert codes(found_in(journal.files(), journal)) == expected


def told_by_both(journal, folder):
    """The findings of both programs, which agree, on an export."""
    place = maker.save(journal.files(), folder)
    found = [f"{finding.code} {finding.sequence}" for finding in found_in(journal.files(), journal).findings]
    assert set(auditor.audit(place, journal.vkey)) == set(found)
    return found


def test_what_an_office_may_not_see_is_counted_and_no_fault(tmp_path):
    journal = maker.ordinary(office="o1")
    journal.records[3][1:] = [chain.WITHHELD, chain.WITHHELD]

    assert told_by_both(journal, tmp_path) == []
    report = found_in(journal.files(), journal)
    assert report.findings == []
    assert report.logs[0].withheld == 2


def test_nothing_is_withheld_in_an_export_that_no_office_made(journal, tmp_path):
    journal.records[3][2] = journal.records[5][1] = chain.WITHHELD

    assert told_by_both(journal, tmp_path) == ["PAYLOAD_MISSING 3"]


def test_nothing_is_withheld_in_an_earlier_journal_either():
    before, after, files = reopened()
    before.records[4][1] = chain.WITHHELD
    name = f"previous/{before.log}/journal.jsonl"
    files[name] = b"".join(lines_of(before.files())[:7])

    assert {(found.code, found.sequence) for found in found_in(files, after).findings} == {
        (Code.TAIL_LOST, 7),
        (Code.PAYLOAD_MISSING, 4),
    }


@pytest.mark.parametrize("operation", sorted(chain.NEVER_WITHHELD))
@pytest.mark.parametrize("group", [1, 2])
def test_the_journal_s_own_story_is_withheld_from_nobody(tmp_path, operation, group):
    """Where it is, an earlier journal or a token may be hidden."""
    journal = maker.Journal()
    journal.add("journal.opened")
    sequence = journal.add(operation) if operation != "journal.opened" else 0
    journal.close("o1")
    journal.records[sequence][group] = chain.WITHHELD

    assert told_by_both(journal, tmp_path) == [f"PAYLOAD_MISSING {sequence}"]


def test_the_end_of_an_export_is_never_withheld_for_it_says_whose_it_is(tmp_path):
    journal = maker.ordinary(office="o1")
    journal.records[3][1] = journal.records[-1][1] = chain.WITHHELD

    assert told_by_both(journal, tmp_path) == ["PAYLOAD_MISSING 3"]


@pytest.mark.parametrize("other", ["journal.read", "journal.exported"])
def test_what_another_office_did_with_the_journal_may_be_withheld(tmp_path, other):
    journal = maker.ordinary(office="o1")
    journal.add(other, office="o2")
    journal.records[-1][1:] = [chain.WITHHELD, chain.WITHHELD]
    journal.close("o1")

    assert told_by_both(journal, tmp_path) == []


def test_a_payload_that_cannot_be_read_is_named_once_and_not_counted_as_withheld(journal):
    files = journal.files()
    lines = lines_of(files)
    lines[0] = lines[0].replace(b'"salt"', b'"sale"', 1)
    files["journal.jsonl"] = b"".join(lines)

    report = found_in(files, journal)
    assert [(found.code, found.sequence) for found in report.findings] == [(Code.PAYLOAD_NOT_CANONICAL, 0)]
    assert report.logs[0].withheld == 0


def purged(*, group, after, filed=None, first=2, last=3, reach=None):
    """A journal of which records 2 and 3 lost a payload, so long after the filing (record 1)."""
    journal = maker.Journal()
    for operation in ("journal.opened", "deposit.filed", "document.consulted", "document.delivered"):
        journal.add(operation)
    item = {"from": first, "to": last if reach is None else reach, "group": group}
    item |= {} if filed is None else {"filed": filed}
    journal.add("journal.purged", detail={"ranges": [item], "reason": "art. 5"}, after=after)
    journal.close()
    place = 1 if group == "proof" else 2
    for sequence in (2, 3):
        journal.records[sequence][place] = None
    return journal


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ({"group": "trace", "after": YEAR}, []),
        ({"group": "trace", "after": YEAR - 3 * DAY}, ["PURGED_TOO_EARLY 2"]),
        ({"group": "proof", "after": 2 * YEAR, "filed": 1}, []),
        ({"group": "proof", "after": 2 * YEAR}, []),
        ({"group": "proof", "after": YEAR, "filed": 1}, ["PURGED_TOO_EARLY 2"]),
        ({"group": "proof", "after": YEAR}, ["PURGED_TOO_EARLY 2"]),
        ({"group": "proof", "after": 2 * YEAR, "filed": 0}, ["PURGED_TOO_EARLY 2"]),
        ({"group": "proof", "after": 2 * YEAR, "filed": 99}, ["PURGED_TOO_EARLY 2"]),
        ({"group": "proof", "after": 2 * YEAR, "filed": 1, "last": 2}, ["PAYLOAD_MISSING 3"]),
        ({"group": "trace", "after": YEAR, "reach": 4}, ["PURGED_TOO_EARLY 4"]),
        ({"group": "trace", "after": YEAR, "first": "2"}, ["PAYLOAD_MISSING 2", "PAYLOAD_MISSING 3"]),
    ],
    ids=str,
)
def test_an_erasure_is_announced_and_not_before_its_term(case, expected):
    journal = purged(**case)

    report = found_in(journal.files(), journal)
    assert [f"{finding.code} {finding.sequence}" for finding in report.findings] == expected
    assert report.logs[0].purged == 2


def test_an_announced_payload_may_still_be_there():
    journal, whole = purged(group="trace", after=YEAR), purged(group="trace", after=YEAR)
    whole.records[2][2] = (bytes([2 + 7]) * 32, b"{}")

    assert found_in(journal.files(), journal).logs[0].purged == 2
    report = found_in(whole.files(), whole)
    assert (report.findings, report.logs[0].purged) == ([], 1)


def test_the_journal_s_own_records_are_never_erased(journal):
    journal = purged(group="proof", after=2 * YEAR, filed=1, first=0)
    journal.records[0][1] = None

    report = found_in(journal.files(), journal)
    assert [f"{finding.code} {finding.sequence}" for finding in report.findings] == ["PURGED_TOO_EARLY 0"]


@pytest.mark.parametrize("checked", [True, False])
def test_a_purge_dated_in_the_future_is_judged_by_the_token_over_it(tmp_path, checked):
    """A clock set ahead, a purge, the clock set right: the third party that dated it soon afterwards was not mistaken."""
    tsa, journal = authorities.Authority(tmp_path), maker.Journal()
    journal.time = datetime.now(UTC) - timedelta(minutes=10)
    journal.add("journal.opened")
    journal.add("deposit.filed")
    ranges = [{"from": 1, "to": 1, "group": "proof", "filed": 1}]
    journal.add("journal.purged", detail={"ranges": ranges, "reason": "retention"}, after=2 * YEAR)
    journal.add("clock.anomaly", after=-2 * YEAR)
    journal.records[1][1] = None
    token = tsa.reply(tsa.query(journal.checkpoint()))
    journal.tokens["4.1.tsr"] = token
    journal.add("journal.anchored", detail={"size": 4, "number": 1, "sha256": hashlib.sha256(token).hexdigest()})
    journal.close()

    report = found_in(journal.files(), journal, roots=[tsa.root] if checked else ())
    assert [f"{one.code} {one.sequence}" for one in report.findings] == (["PURGED_TOO_EARLY 1"] if checked else [])


def test_what_a_token_dates_existed_at_the_latest_when_its_accuracy_allows(tmp_path):
    """It writes whole seconds: to judge a purge by them alone would put it up to a second too early."""
    tsa, journal = authorities.Authority(tmp_path), maker.ordinary()
    files = Files({**journal.files(), "timestamps/5.1.tsr": tsa.reply(tsa.query(journal.notes[5]))})
    seen = tokens.examine(files, "", {5}, {}, [tsa.root])

    assert seen.stamped == {5: maker.record.format_time(seen.last.time + timedelta(seconds=1))}


def test_a_delay_in_months_ends_on_the_same_day_or_the_last():
    assert purge.months_after("2026-08-31T10:00:00.000000Z", 18) == "2028-02-29T10:00:00.000000Z"
    assert purge.months_after("2026-12-01T10:00:00.000000Z", 12) == "2027-12-01T10:00:00.000000Z"
    assert purge.months_after("9999-12-01T10:00:00.000000Z", 12).startswith("9999")


def reopened(*, kept=None, head=None):
    """A journal reopened after a restored backup lost the end of the one before."""
    before = maker.ordinary(3)
    files = before.files()
    lost = len(before.leaves) - 2
    lines = lines_of(files)[:lost]
    files["journal.jsonl"] = b"".join(lines)
    after = maker.Journal(4, key=before.key)
    cited = {
        "log": before.log,
        "size": lost,
        "head": head or before.leaves[lost - 1].hex(),
        "checkpoint": {"size": kept or 9, "root": "00" * 32},
    }
    after.add("journal.opened", detail={"reopened": cited})
    after.close()
    return before, after, {**after.files(), **{f"previous/{before.log}/{name}": data for name, data in files.items()}}


def test_the_end_lost_by_a_restored_backup_is_named():
    before, after, files = reopened()

    [finding] = found_in(files, after).findings
    assert (finding.code, finding.sequence, finding.log) == (Code.TAIL_LOST, 7, before.log)
    assert "2 " in finding.about


def test_a_loss_that_only_the_new_journal_tells_of_is_named():
    before, after, files = reopened()
    del files[f"previous/{before.log}/checkpoints/9.note"]

    assert codes(found_in(files, after)) == {Code.TAIL_LOST}


def test_an_earlier_journal_ends_as_the_next_one_says():
    before, after, files = reopened(head="00" * 32)
    assert Code.PREVIOUS_MISMATCH in codes(found_in(files, after))

    before, after, files = reopened()
    name = f"previous/{before.log}/journal.jsonl"
    files[name] = b"".join(files[name].splitlines(keepends=True)[:-1])
    assert Code.TAIL_TRUNCATED in codes(found_in(files, after))

    files = {name: data for name, data in files.items() if not name.startswith("previous/")}
    assert codes(found_in(files, after)) == {Code.TAIL_TRUNCATED}


def test_an_earlier_journal_that_nothing_ties_is_no_success():
    journal, stray = maker.ordinary(), maker.ordinary(2)
    files = {**journal.files(), **{f"previous/{stray.log}/{name}": data for name, data in stray.files().items()}}

    report = found_in(files, journal)
    assert (report.findings, report.bound) == ([], False)


def test_a_ruined_export_does_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(audit, "MOST_FINDINGS", 5)
    journal = maker.ordinary()
    files = {**journal.files(), "journal.jsonl": b"\n" * 50}

    report = found_in(files, journal)
    assert len(report.findings) == 5
    assert report.counts[Code.HEADER_NOT_CANONICAL] == 50


class TestProgram:
    @pytest.fixture
    def run(self, capsys):
        def run(*arguments):
            status = program.main([str(argument) for argument in arguments])
            return status, capsys.readouterr().out

        return run

    @pytest.fixture
    def place(self, journal, tmp_path):
        return maker.save(journal.files(), tmp_path / "export")

    def test_an_intact_export_exits_0_with_the_auditor_s_key(self, run, place, journal):
        status, told = run(place, "--vkey", journal.vkey)
        assert (status, "INTACT" in told) == (0, True)

    def test_a_tampered_export_exits_1_and_names_the_fault(self, run, place, journal):
        lines = (place / "journal.jsonl").read_bytes().replace(b"page", b"pagf", 1)
        (place / "journal.jsonl").write_bytes(lines)
        status, told = run(place, "--vkey", journal.vkey)
        assert (status, "PAYLOAD_ALTERED 2" in told) == (1, True)

    def test_without_an_anchor_it_is_never_a_success(self, run, place):
        status, told = run(place)
        assert (status, "NON CONCLU" in told) == (2, True)

    def test_roots_that_cannot_be_read_conclude_nothing(self, run, place, journal):
        status, told = run(place, "--vkey", journal.vkey, "--tsa-root", "root.pem")
        assert (status, "impossible" in told) == (2, True)

    @pytest.mark.parametrize("damage", ["absent", "empty", "no log", "bad log", "not a zip", "cut zip", "twice"])
    def test_what_cannot_be_read_exits_2(self, run, place, journal, tmp_path, damage):
        target = tmp_path / "export.zip"
        if damage == "absent":
            target = tmp_path / "nothing"
        elif damage == "not a zip":
            target.write_bytes(b"no zip")
        elif damage == "cut zip":
            data = bytearray(maker.zipped(journal.files(), target).read_bytes())
            data[60:90] = bytes(30)
            target.write_bytes(data)
        elif damage == "twice":
            with zipfile.ZipFile(target, "w") as archive:
                archive.writestr("log.json", b"{}")
                with pytest.warns(UserWarning, match="Duplicate"):
                    archive.writestr("log.json", b"{}")
        else:
            target = place
            name = "journal.jsonl" if damage == "empty" else "log.json"
            (place / name).write_bytes({"empty": b"", "no log": b"", "bad log": b"[]"}[damage])
        status, told = run(target, "--vkey", journal.vkey)
        assert (status, "impossible" in told) == (2, True)

    def test_a_wrong_key_on_the_command_line_exits_2(self, run, place):
        assert run(place, "--vkey", "nonsense")[0] == 2
        assert run()[0] == 2

    def test_a_checkpoint_kept_by_the_auditor_is_an_anchor(self, run, place, journal, tmp_path):
        kept = tmp_path / "kept.note"
        kept.write_bytes(journal.notes[5])
        assert run(place, "--since", kept)[0] == 0
        assert run(place, "--since", kept, "--vkey", journal.vkey)[0] == 0

    def test_a_journal_that_contradicts_a_kept_checkpoint_is_tampered(self, run, place, journal, tmp_path):
        other = maker.ordinary(count=20)
        kept = tmp_path / "kept.note"
        for size, code in ((7, "CHECKPOINT_MISMATCH 6"), (15, "TAIL_TRUNCATED 9")):
            kept.write_bytes(
                other.checkpoint(size) if size > 9 else maker.ordinary(count=12, host="x").checkpoint(size)
            )
            if size < 9:
                root = bytes(32)
                kept.write_bytes(note.sign_checkpoint(note.Checkpoint(journal.origin, size, root), journal.key))
            status, told = run(place, "--since", kept, "--vkey", journal.vkey)
            assert (status, code in told) == (1, True)
        kept.write_bytes(maker.ordinary(2).checkpoint())
        assert run(place, "--since", kept)[0] == 1

    def test_an_end_without_timestamp_beyond_the_allowed_lag_exits_3(self, run, journal, tmp_path):
        journal.tokens["5.1.tsr"] = b"token"
        journal.add("document.consulted", after=timedelta(minutes=10))
        journal.close()
        place = maker.save(journal.files(), tmp_path / "late")
        assert run(place, "--vkey", journal.vkey, "--max-anchor-lag", 60)[0] == 3
        assert run(place, "--vkey", journal.vkey, "--max-anchor-lag", 3600)[0] == 0
        assert "1 jeton d’horodatage présent, non vérifié" in run(place, "--vkey", journal.vkey)[1]

    def test_the_result_is_also_told_to_scripts(self, run, place, journal):
        (place / "checkpoints" / "5.note").write_bytes(b"")
        result = json.loads(run(place, "--vkey", journal.vkey, "--json")[1])
        assert result["status"] == 1
        assert result["counts"] == {"BAD_SIGNATURE": 1}
        assert result["findings"][0]["sequence"] == 4
        assert json.loads(run("nowhere", "--json")[1])["status"] == 2

    def test_counts_agree_with_their_words(self, run, place, journal, tmp_path):
        told = run(place, "--vkey", journal.vkey)[1]
        assert "9 enregistrements, le dernier" in told
        assert "0 contenu effacé, 0 retenu" in told
        assert "0 jeton d’horodatage présent, non vérifié" in told
        short = dict(journal.files())
        short["journal.jsonl"] = b"".join(short["journal.jsonl"].splitlines(keepends=True)[:-1])
        assert "(1 enregistrement)" in run(maker.save(short, tmp_path / "short"), "--vkey", journal.vkey)[1]
