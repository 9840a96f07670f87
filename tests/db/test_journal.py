"""The journal: one chain without gap or fork, each fact with its record, and nothing altered unseen."""

import ast
from datetime import timedelta
from pathlib import Path

import independent_auditor as auditor
import make
import pytest

import mespieces
from mespieces import models
from mespieces.domain import checkpoints, deposits, exports, journal, verifications
from mespieces.models import Deposit, JournalLog, JournalPayload, JournalRecord, JournalSubtree
from mespieces.verifier import audit, export, merkle, note, record


def append(gateways, operation="incident.recorded", **facts):
    with models.write():
        return journal.append(gateways, operation, **facts)


def hashes():
    return [bytes.fromhex(row.hash) for row in JournalRecord.select().order_by(JournalRecord.sequence)]


def run(sql):
    """What somebody with the database's password can do."""
    with models.write():
        models.database.execute_sql(sql)


def without_guards(sql):
    """What the owner of the tables can do."""
    if models.is_sqlite():
        for name in ("no_update", "no_delete"):
            run(f"DROP TRIGGER IF EXISTS journal_record_{name}")
    else:
        run("ALTER TABLE journal_record DISABLE TRIGGER ALL")
    run(sql)


# Appending


def test_a_record_is_refused_outside_the_transaction_of_its_fact(gateways):
    with pytest.raises(RuntimeError, match="inside the transaction"):
        journal.append(gateways, "incident.recorded")


def test_a_fact_and_its_record_are_undone_together(gateways):
    office, before = make.office(gateways), make.operations()

    def fail_half_way():
        with models.write():
            Deposit.create(office=office, created_at=make.NOW, **make.CASE)
            journal.append(gateways, "deposit.created")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()

    assert Deposit.select().count() == 0
    assert make.operations() == before
    assert journal.head().size == len(before)
    assert verifications.verify(gateways).findings == ()


def test_a_record_costs_as_little_at_the_end_of_a_long_journal(gateways):
    if not models.is_sqlite():
        return  # its indexes are the same, and its triggers look at nothing
    steps = []

    def cost():
        steps.clear()
        models.database.connection().set_progress_handler(lambda: steps.append(1), 10)
        try:
            append(gateways)
        finally:
            models.database.connection().set_progress_handler(None, 0)
        return len(steps)

    append(gateways)
    first = cost()
    for _ in range(300):
        append(gateways)

    assert cost() <= first + 5


def test_an_operation_unknown_to_the_format_is_not_written(gateways):
    with pytest.raises(record.HeaderNotCanonical):
        append(gateways, "deposit.invented")
    assert make.operations() == ["journal.opened"]


def test_without_an_open_journal_nothing_that_must_be_journaled_is_done(gateways):
    office = make.office(gateways)
    with models.write():
        JournalLog.update(closed_at=make.NOW).execute()

    with pytest.raises(journal.JournalClosed):
        make.draft(gateways, office)
    assert Deposit.select().count() == 0


def test_a_clock_that_goes_back_is_told_before_the_record_it_dates(gateways):
    gateways.clock.advance(timedelta(hours=-1))
    append(gateways)

    assert make.operations() == ["journal.opened", "clock.anomaly", "incident.recorded"]
    rows = list(JournalRecord.select().order_by(JournalRecord.sequence))
    assert rows[0].time > rows[1].time == rows[2].time
    assert verifications.verify(gateways).findings == ()


def test_names_and_addresses_stand_beside_the_chain_never_in_it(gateways):
    author = journal.Author("recipient", "1", "Zoé\ud800 Payet", trace=journal.Trace("198.51.100.7", "x" * 300))
    sequence = append(gateways, author=author, detail={"seen": ["a\x00b"], "since": make.NOW, "twice": True})

    header = bytes(JournalRecord.get(JournalRecord.sequence == sequence).header)
    assert b"Payet" not in header
    assert b"198.51" not in header
    (line,) = journal.lines(journal.head().log, sequence, sequence + 1)
    assert b"198.51.100.7" in line.trace[1]
    assert verifications.verify(gateways).findings == ()


def test_four_processes_that_append_at_once_leave_no_gap_and_no_fork(gateways):
    """Each append waits its turn and succeeds at once: nothing here tries again, and one refusal would end its process."""
    printed = make.processes(
        gateways,
        4,
        "done = []\n"
        "for _ in range(500):\n"
        "    with models.write():\n"
        "        done.append(journal.append(gateways, 'incident.recorded'))\n"
        "print(*done)",
    )

    sequences = [int(word) for line in printed for word in line.split()]
    assert sorted(sequences) == list(range(1, 2001))
    rows = list(JournalRecord.select().order_by(JournalRecord.sequence))
    assert [row.sequence for row in rows] == list(range(2001))
    assert [row.previous for row in rows] == [record.FIRST_PREVIOUS, *(row.hash for row in rows[:-1])]
    assert verifications.verify(gateways).findings == ()


def test_every_operation_the_product_writes_is_in_the_format():
    written = set()
    for path in Path(mespieces.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                written.add(node.value)
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "append" and len(node.args) > 1:
                operation = node.args[1]
                if isinstance(operation, ast.Constant):
                    assert operation.value in record.OPERATIONS, (path, operation.value)

    assert {"deposit.filed", "document.consulted", "recipient.refused", "clock.anomaly"} <= written & record.OPERATIONS


# Checkpoints


@pytest.mark.parametrize("size", [1, 7, 256, 520])
def test_a_root_is_that_of_all_records_with_or_without_kept_subtrees(gateways, size):
    with models.write():
        for _ in range(size - 1):
            journal.append(gateways, "incident.recorded")
    log, leaves = journal.head().log, hashes()
    assert len(leaves) == size

    before = checkpoints.root(log, size)
    checkpoints.publish(gateways)

    assert JournalSubtree.select().count() == (size >> 8) + (size >> 9)
    assert before == checkpoints.root(log, size) == merkle.root(leaves)
    for part in (1, size // 2 or 1, size):
        assert checkpoints.root(log, part) == merkle.root(leaves[:part])


def test_a_checkpoint_is_signed_once_for_each_size(gateways):
    first = checkpoints.publish(gateways)
    assert checkpoints.publish(gateways) == first
    append(gateways)
    second = checkpoints.publish(gateways)

    key = note.parse_vkey(checkpoints.vkey(gateways))
    head = checkpoints.head(gateways)
    assert note.read_checkpoint(second, [key]) == note.Checkpoint(head.origin, 2, bytes.fromhex(head.root))
    assert head.origin == f"pieces.example.fr/journal/{head.log}"
    assert [kept.size for kept in checkpoints.recent(journal.head().log, 10)] == [2, 1]
    assert checkpoints.newest(gateways, journal.head()).checkpoint.size == 2


# Verifying


def test_an_intact_journal_is_found_intact_and_the_result_is_kept(gateways):
    deposit = make.filed(gateways, blanks=1)
    checkpoints.publish(gateways)

    found = verifications.verify(gateways)

    assert found.findings == ()
    assert found.size == journal.head().size == len(make.operations())
    assert verifications.last() == found
    assert deposits.state(deposit, make.NOW) == deposits.State.FILED


TAMPERED = {
    "a body": (
        "UPDATE journal_payload SET body = (SELECT body FROM journal_payload WHERE sequence = 0 AND payload_group = "
        "'proof') WHERE sequence = 2 AND payload_group = 'proof'",
        "2 PAYLOAD_ALTERED",
    ),
    "an erasure": (
        "UPDATE journal_payload SET salt = NULL, body = NULL WHERE sequence = 3 AND payload_group = 'proof'",
        "3 PAYLOAD_MISSING",
    ),
    "a lost row": ("DELETE FROM journal_payload WHERE sequence = 3 AND payload_group = 'trace'", "3 PAYLOAD_MISSING"),
    "a projection": ("UPDATE journal_record SET operation = 'deposit.filed' WHERE sequence = 1", "1 PROJECTION_ALTERED"),
    "a hash": (f"UPDATE journal_record SET hash = '{'f' * 64}' WHERE sequence = 1", "1 PROJECTION_ALTERED"),  # noqa: S608 — what a tamperer writes
    "a time": ("UPDATE journal_record SET time = '2020-01-01T00:00:00.000000Z' WHERE sequence = 4", "4 PROJECTION_ALTERED"),
    "a deposit": (f"UPDATE journal_payload SET deposit = '{'f' * 32}' WHERE sequence = 2 AND payload_group = 'proof'", "2 PROJECTION_ALTERED"),  # noqa: S608 — as above
    "an office": (f"UPDATE journal_payload SET office = '{'f' * 32}' WHERE sequence = 2 AND payload_group = 'proof'", "2 PROJECTION_ALTERED"),  # noqa: S608 — as above
    "a trace's deposit": (
        f"UPDATE journal_payload SET deposit = '{'f' * 32}' WHERE sequence = 2 AND payload_group = 'trace'",  # noqa: S608 — as above
        "2 PROJECTION_ALTERED",
    ),
    "a trace's office": (
        f"UPDATE journal_payload SET office = '{'f' * 32}' WHERE sequence = 2 AND payload_group = 'trace'",  # noqa: S608 — as above
        "2 PROJECTION_ALTERED",
    ),
    "the head": (f"UPDATE journal_log SET head = '{'f' * 64}'", "6 TAIL_TRUNCATED"),  # noqa: S608 — what a tamperer writes
}  # fmt: skip


@pytest.mark.parametrize("what", TAMPERED)
def test_what_was_altered_in_the_database_is_found(gateways, what):
    for _ in range(5):
        append(gateways, author=journal.Author("operator", "1", "Exploitant", trace=make.TRACE))
    sql, finding = TAMPERED[what]

    without_guards(sql)

    assert finding in verifications.verify(gateways).findings


def test_of_a_ruined_journal_the_first_findings_of_each_kind_are_kept_and_the_rest_counted(gateways):
    with models.write():
        for _ in range(300):
            journal.append(gateways, "incident.recorded")
    run("UPDATE journal_payload SET body = salt WHERE payload_group = 'trace' AND sequence < 250")
    without_guards("UPDATE journal_record SET time = '2020-01-01T00:00:00.000000Z' WHERE sequence >= 290")

    found = verifications.verify(gateways)

    assert found.counts == {"PAYLOAD_ALTERED": 250, "PROJECTION_ALTERED": 11}
    kept = [f"{number} PAYLOAD_ALTERED" for number in range(verifications.FIRST)]
    projected = [f"{number} PROJECTION_ALTERED" for number in range(290, 301)]
    assert found.findings == (*kept, *projected)
    assert verifications.last() == found
    assert verifications.by_code(found, 5) == [
        ("PAYLOAD_ALTERED", kept[:5], 245), ("PROJECTION_ALTERED", projected[:5], 6),
    ]  # fmt: skip


@pytest.mark.parametrize("body", [b"{}", b'{"object":"x"}', b"[]"])
def test_a_record_whose_body_no_program_writes_is_named_and_stops_no_verification(gateways, body):
    head, salt = journal.head(), bytes(32)
    committed = {"proof": record.commit("proof", salt, body), "trace": record.commit("trace", salt, b"{}")}
    header = record.build(
        record.Header(
            **committed,
            log=head.log,
            operation="incident.recorded",
            previous=head.head,
            sequence=head.size,
            time=head.time,
        )
    )
    hashed = record.record_hash(header).hex()
    place = {"log": head.log, "sequence": head.size}
    with models.write():
        told = {
            "previous": head.head,
            "hash": hashed,
            "operation": "incident.recorded",
            "time": head.time,
            "header": header,
        }
        JournalRecord.insert(**place, **told).execute()
        for group, written in (("proof", body), ("trace", b"{}")):
            JournalPayload.insert(**place, group=group, salt=salt, body=written).execute()
        JournalLog.update(size=head.size + 1, head=hashed).where(JournalLog.log == head.log).execute()

    found = verifications.verify(gateways).findings
    assert any(one.startswith(f"{head.size} P") for one in found), found


def test_a_purge_that_its_record_did_not_commit_to_explains_nothing(gateways):
    append(gateways)
    with models.write():
        journal.append(gateways, "journal.purged", detail={"ranges": []})
    forged = b'{"detail":{"ranges":[{"filed":null,"from":1,"group":"proof","to":1}]}}'
    value = f"X'{forged.hex()}'" if models.is_sqlite() else f"'\\x{forged.hex()}'::bytea"
    run(f"UPDATE journal_payload SET body = {value} WHERE sequence = 2 AND payload_group = 'proof'")  # noqa: S608 — what a tamperer writes
    run("UPDATE journal_payload SET salt = NULL, body = NULL WHERE sequence = 1 AND payload_group = 'proof'")

    assert verifications.verify(gateways).findings == ("1 PAYLOAD_MISSING", "2 PAYLOAD_ALTERED")


@pytest.mark.parametrize("group", [["trace"], {}, None, 1])
def test_a_purge_of_no_group_explains_nothing_and_stops_no_verification(gateways, group):
    with models.write():
        told = {"ranges": [{"from": 1, "to": 1, "group": group}]}
        journal.append(gateways, "incident.recorded")
        at = journal.append(gateways, "journal.purged", detail=told)
        JournalPayload.update(salt=None, body=None).where(
            JournalPayload.sequence == at - 1, JournalPayload.group == "trace"
        ).execute()

    assert f"{at - 1} PAYLOAD_MISSING" in verifications.verify(gateways).findings


def test_more_purges_than_a_journal_has_payloads_are_not_remembered(gateways):
    """The announcements are held in memory while records go by."""
    append(gateways)
    due = {"from": 1, "to": 1, "group": "proof"}
    for ranges in ([due] * 5, [due]):
        with models.write():
            journal.append(gateways, "journal.purged", detail={"ranges": ranges})
    announced, limit = verifications.announced(journal.head()), 2 * journal.head().size
    assert len(list(announced)) == 6 < limit
    with models.write():
        journal.append(gateways, "journal.purged", detail={"ranges": [due] * 5_000})

    assert len(list(verifications.announced(journal.head()))) == limit + 2


def test_a_header_rewritten_breaks_the_chain_from_there(gateways):
    for _ in range(3):
        append(gateways)
    header = bytes(JournalRecord.get(JournalRecord.sequence == 1).header)
    forged = header.replace(b"incident.recorded", b"deposit.withdrawn")
    assert forged != header
    value = f"X'{forged.hex()}'" if models.is_sqlite() else f"'\\x{forged.hex()}'::bytea"

    without_guards(f"UPDATE journal_record SET header = {value} WHERE sequence = 1")  # noqa: S608 — what a tamperer writes

    found = verifications.verify(gateways).findings
    assert "2 PREVIOUS_MISMATCH" in found
    assert "1 PROJECTION_ALTERED" in found


def test_records_deleted_from_the_end_are_missed(gateways):
    for _ in range(3):
        append(gateways)
    run("DELETE FROM journal_payload WHERE sequence = 3")
    without_guards("DELETE FROM journal_record WHERE sequence = 3")

    assert verifications.verify(gateways).findings == ("3 TAIL_TRUNCATED",)


def test_a_journal_cut_below_a_published_checkpoint_is_found_even_if_its_head_agrees(gateways):
    for _ in range(3):
        append(gateways)
    checkpoints.publish(gateways)
    last = JournalRecord.get(JournalRecord.sequence == 2)
    run("DELETE FROM journal_payload WHERE sequence = 3")
    without_guards("DELETE FROM journal_record WHERE sequence = 3")
    run(f"UPDATE journal_log SET size = 3, head = '{last.hash}'")  # noqa: S608 — what a tamperer writes

    assert verifications.verify(gateways).findings == ("3 TAIL_TRUNCATED",)


# Export


def verified(folder, vkey):
    with export.source(folder) as where:
        return audit.verify(where, audit.Trust(keys=[note.parse_vkey(vkey)]))


@pytest.fixture
def exported(gateways, tmp_path):
    deposit = make.filed(gateways, blanks=1, recipients=("Zoé Payet",))
    make.issued(gateways, make.first(deposit))
    checkpoints.publish(gateways)
    folder = tmp_path / "export"
    assert exports.write(gateways, folder, by=journal.OPERATOR) == len(make.operations())
    return folder


def test_an_export_verifies_without_the_product(gateways, exported):
    vkey = checkpoints.vkey(gateways)
    report = verified(exported, vkey)

    assert (report.findings, report.bound) == ([], True)
    assert report.logs[0].size == len(make.operations())
    assert auditor.audit(exported, vkey) == []
    assert make.operations()[-1] == "journal.exported"


def test_an_export_changed_or_cut_is_found_by_both_verifiers(gateways, exported):
    vkey, path = checkpoints.vkey(gateways), exported / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    for changed, finding in [
        (b"".join(lines).replace("Zoé".encode(), b"Zoe"), "PAYLOAD_ALTERED"),
        (b"".join(lines[:-1]), "TAIL_TRUNCATED"),
    ]:
        path.write_bytes(changed)
        assert finding in {str(found.code) for found in verified(exported, vkey).findings}
        assert any(found.startswith(finding) for found in auditor.audit(exported, vkey))


def test_an_export_never_mixes_with_something_else(gateways, tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "file").write_text("mine")

    with pytest.raises(exports.FolderNotEmpty):
        exports.write(gateways, tmp_path / "x", by=journal.OPERATOR)
    assert make.operations() == ["journal.opened"]


# Stories


def test_the_story_of_a_deposit_tells_it_alone_newest_first(gateways):
    deposit = make.filed(gateways, blanks=1)
    make.draft(gateways, deposit.office)

    told = journal.story(deposit)

    assert [entry.operation for entry in told] == list(reversed(make.operations(deposit.id)))
    assert told[0].time == make.NOW
    assert told[0].body["author"] == {"id": "operator", "kind": "operator", "name": "Exploitant"}
    assert len(journal.story(deposit, limit=2)) == 2


def test_an_erased_body_leaves_its_record_in_the_story(gateways):
    deposit = make.draft(gateways)
    JournalPayload.update(salt=None, body=None).execute()

    assert [(entry.operation, entry.body) for entry in journal.story(deposit)] == [("deposit.created", {})]
