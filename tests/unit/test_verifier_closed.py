"""A journal that was closed is purged too: the one that continues it announces it, and no other journal can."""

import random
from datetime import UTC, datetime, timedelta

import authority as authorities
import independent_auditor as auditor
import journal_maker as maker
import pytest
from journal_maker import Files

from mespieces.verifier import audit
from mespieces.verifier.findings import Code

YEAR, DAY = timedelta(days=366), timedelta(days=1)
UNKNOWN = "ff" * 16
RECORDS = ("journal.opened", "deposit.filed", "document.consulted", "document.delivered")
TOO_EARLY, MISSING = ["PURGED_TOO_EARLY 2"], ["PAYLOAD_MISSING 2", "PAYLOAD_MISSING 3"]


def closed(group="trace"):
    """A journal of which records 2 and 3 lost a payload, and that says nothing of it."""
    journal = maker.Journal(1)
    for operation in RECORDS:
        journal.add(operation)
    for sequence in (2, 3):
        journal.records[sequence][1 if group == "proof" else 2] = None
    return journal


def reopened(before, seed=2):
    """A journal that continues another, signed by the same key."""
    journal = maker.Journal(seed, key=before.key)
    journal.time = before.time
    cited = {"log": before.log, "size": len(before.leaves), "head": before.leaves[-1].hex()}
    journal.add("journal.opened", detail={"reopened": cited})
    return journal


def announce(journal, log, group="trace", after=2 * YEAR, **filed):
    """Have a journal announce records 2 and 3, of itself when `log` is None."""
    item = {"from": 2, "to": 3, "group": group, **filed}
    about = {} if log is None else {"log": log}
    journal.add("journal.purged", detail={"ranges": [item], "reason": "retention", **about}, after=after)


def exported(last, *earlier):
    files = dict(last.files())
    for journal in earlier:
        files |= {f"previous/{journal.log}/{name}": data for name, data in journal.files().items()}
    return files


def once(lines):
    """The findings of the auditor's program as the verifier tells them: of a range, the first payload erased too early."""
    return [line for line in lines if not line.startswith("PURGED_TOO_EARLY") or line == TOO_EARLY[0]]


def by_both(folder, last, *earlier, **trust):
    """The findings of both programs, which agree, on the records of an export's journals, by journal."""
    files = exported(last, *earlier)
    report = audit.verify(Files(files), audit.Trust(keys=[last.verifier], **trust))
    found = {
        journal.log: [f"{one.code} {one.sequence}" for one in report.findings if one.log == journal.log]
        for journal in (last, *earlier)
    }
    if not trust:
        told = auditor.audit_earlier(maker.save(files, folder))
        assert {log: once(lines) for log, lines in told.items()} == found
    return found


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ({"group": "trace", "after": YEAR}, []),
        ({"group": "trace", "after": YEAR - 3 * DAY}, TOO_EARLY),
        ({"group": "proof"}, []),
        ({"group": "proof", "after": YEAR}, TOO_EARLY),
        ({"group": "proof", "filed": 1}, []),
        ({"group": "proof", "after": YEAR, "filed": 1}, TOO_EARLY),
        ({"group": "proof", "filed": 2}, TOO_EARLY),  # no filing there, and one in the journal that announces
        ({"group": "proof", "filed": 99}, TOO_EARLY),
    ],
    ids=str,
)
def test_the_next_journal_s_purge_explains_only_what_was_due(case, expected, tmp_path):
    before = closed(case["group"])
    after = reopened(before)
    after.add("document.consulted", after=DAY)
    after.add("deposit.filed")
    announce(after, before.log, **case)
    after.close()

    assert by_both(tmp_path, after, before) == {after.log: [], before.log: expected}


def test_a_range_of_an_earlier_journal_never_reaches_its_own_announcement(tmp_path):
    before = closed()
    after = reopened(before)
    announce(after, before.log)  # at 1, of records 2 and 3
    after.close()

    assert by_both(tmp_path, after, before) == {after.log: [], before.log: []}


@pytest.mark.parametrize("named", [None, UNKNOWN, "its own", 7, "null"])
def test_an_announcement_about_another_journal_explains_nothing_in_this_one(named, tmp_path):
    before = closed()
    after = reopened(before)
    after.add("document.consulted")
    after.add("document.consulted")
    after.add("document.consulted")
    announce(after, after.log if named == "its own" else named)
    if named == "its own":
        for sequence in (2, 3):
            after.records[sequence][2] = None
    after.close()

    own = MISSING if named == "its own" else []  # named where it is not to be, it announces nothing there either
    assert by_both(tmp_path, after, before) == {after.log: own, before.log: MISSING}


def test_a_journal_announces_nothing_of_the_one_that_continues_it(tmp_path):
    before = maker.Journal(1)
    for operation in RECORDS:
        before.add(operation)
    announce(before, "02" * 16)
    after = reopened(before)
    for operation in RECORDS[1:]:
        after.add(operation)
    for sequence in (2, 3):
        after.records[sequence][2] = None
    after.close()

    assert by_both(tmp_path, after, before) == {after.log: MISSING, before.log: []}


def test_a_journal_that_continues_nothing_announces_nothing_of_others(tmp_path):
    before, stray = closed(), maker.Journal(3)
    stray.add("journal.opened")
    announce(stray, before.log)
    after = reopened(before)
    after.close()
    files = exported(after, before, stray)

    report = audit.verify(Files(files), audit.Trust(keys=[after.verifier]))
    assert [f"{one.code} {one.sequence}" for one in report.findings if one.log == before.log] == MISSING
    assert auditor.audit_earlier(maker.save(files, tmp_path))[before.log] == MISSING


def test_a_journal_continued_twice_is_purged_from_the_last(tmp_path):
    first = closed()
    second = reopened(first)
    third = reopened(second, 3)
    announce(third, first.log)
    third.close()

    assert by_both(tmp_path, third, first, second) == {third.log: [], first.log: [], second.log: []}


def test_journals_that_cite_one_another_are_read_to_the_end():
    journals = [maker.Journal(1), maker.Journal(2)]
    alone = maker.ordinary(3)  # looked for among those that the two continue
    for journal, other in zip(journals, reversed(journals), strict=True):
        journal.add("journal.opened", detail={"reopened": {"log": other.log, "size": 1, "head": "00" * 32}})
        announce(journal, other.log)
        journal.close()

    report = audit.verify(Files(exported(*journals, alone)), audit.Trust(keys=[journals[0].verifier]))
    assert Code.PREVIOUS_MISMATCH in report.counts


def test_an_announcement_that_was_altered_explains_nothing(tmp_path):
    before = closed()
    after = reopened(before)
    announce(after, before.log, after=YEAR - 3 * DAY)
    announce(after, before.log)
    header, (salt, body), trace = after.records[1]
    after.records[1] = [header, (salt, body.replace(before.log.encode(), UNKNOWN.encode())), trace]
    after.close()

    assert by_both(tmp_path, after, before) == {after.log: ["PAYLOAD_ALTERED 1"], before.log: []}


@pytest.mark.parametrize("checked", [True, False])
def test_a_later_journal_s_purge_is_judged_by_the_token_over_it(tmp_path, checked):
    """Dated in the future by a clock set ahead: the token over the record that announces tells when it was made."""
    tsa, before = authorities.Authority(tmp_path), maker.Journal(1)
    before.time = datetime.now(UTC) - timedelta(minutes=10)
    for operation in RECORDS:
        before.add(operation)
    before.records[2][2] = before.records[3][2] = None
    after = reopened(before)
    announce(after, before.log)
    after.add("clock.anomaly", after=-2 * YEAR)
    after.tokens["3.1.tsr"] = tsa.reply(tsa.query(after.checkpoint()))
    after.close()

    found = by_both(tmp_path / "export", after, before, roots=[tsa.root] if checked else [])
    assert found[before.log] == (TOO_EARLY if checked else [])


def test_two_programs_agree_on_flips_in_a_journal_and_in_the_one_that_purges_it(tmp_path):
    before, chance = closed("proof"), random.Random(7)
    after = reopened(before)
    announce(after, before.log, "proof", filed=1)
    after.close()
    old, start = f"previous/{before.log}/journal.jsonl", after.files()["journal.jsonl"].index(b"\n") + 1
    missing = 0
    for _ in range(100):
        files = exported(after, before)
        for name, least in ((old, 0), ("journal.jsonl", start)):  # its first line says which journal it continues
            content = bytearray(files[name])
            if chance.randrange(2):
                content[chance.randrange(least, len(content))] ^= 1 << chance.randrange(8)
            files[name] = bytes(content)
        told = auditor.audit_earlier(maker.save(files, tmp_path))[before.log]
        report = audit.verify(Files(files), audit.Trust(keys=[after.verifier]))
        ours = {str(one.code) for one in report.findings if one.log == before.log}
        assert ours == {line.split()[0] for line in told}
        missing += "PAYLOAD_MISSING" in ours
    assert missing  # some fell on the announcement
