"""What a database administrator may do to the journal by SQL, triggers dropped, and by which name it is found.

The same hands then change an export, as a folder and as an archive, and a journal that another one continues.
"""

import json
import re
import secrets
import shutil
from dataclasses import dataclass
from uuid import UUID

import make
import pytest
from backups import unguard

from mespieces import models
from mespieces.domain import checkpoints, continuity, exports, journal, verifications
from mespieces.models import JournalPayload
from mespieces.verifier import __main__ as program
from mespieces.verifier import export, record

SIZE, PUBLISHED = 9, 7  # records in all, and under the last checkpoint


@dataclass
class Row:
    """A record and what stands beside it, as the tables hold them."""

    header: bytes
    proof: tuple[bytes, bytes] | None
    trace: tuple[bytes, bytes] | None

    def change(self, **values):
        """Write another header, well formed."""
        self.header = record.build(record.parse(self.header)._replace(**values))


def sql(statement, *values):
    statement = statement if models.is_sqlite() else statement.replace("?", "%s")
    return models.database.execute_sql(statement, values)


def read(log):
    """Read every record of a journal as it stands in the tables."""
    beside = {
        (sequence, group): None if salt is None else (bytes(salt), bytes(body))
        for sequence, group, salt, body in sql(
            "SELECT sequence, payload_group, salt, body FROM journal_payload WHERE log = ?", log
        )
    }
    found = sql("SELECT sequence, header FROM journal_record WHERE log = ? ORDER BY sequence", log).fetchall()
    return [Row(bytes(header), beside[sequence, "proof"], beside[sequence, "trace"]) for sequence, header in found]


def write(log, rows):
    """Write a journal's tables anew, with the columns and the head that go with these records: careful hands."""
    with models.write():
        unguard("journal_record")
        sql("DELETE FROM journal_payload WHERE log = ?", log)
        sql("DELETE FROM journal_record WHERE log = ?", log)
        head, time = record.FIRST_PREVIOUS, ""
        for sequence, row in enumerate(rows):
            hashed, (operation, time) = record.record_hash(row.header).hex(), said(row.header)
            sql(
                "INSERT INTO journal_record (log, sequence, previous, hash, operation, time, header) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                *(log, sequence, head, hashed, operation, time, row.header),
            )
            for group in record.GROUPS:
                salt, body = getattr(row, group) or (None, None)
                sql(
                    "INSERT INTO journal_payload (log, sequence, payload_group, salt, body, deposit, office) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?)",
                    *(log, sequence, group, salt, body, *(whose(body) if group == "proof" else (None, None))),
                )
            head = hashed
        sql("UPDATE journal_log SET size = ?, head = ?, time = ? WHERE log = ?", len(rows), head, time, log)


def whose(body):
    """Return the columns deposit and office that go with a body."""
    try:
        what = json.loads(body or b"{}").get("object", {})
    except ValueError:
        what = {}
    named = [what.get(key) for key in ("deposit", "office")]
    return [JournalPayload.deposit.db_value(UUID(one)) if one else None for one in named]


def damaged(damage, log=None):
    """Do it to a journal in the tables, the open one by default."""
    log = log or journal.head().log
    rows = read(log)
    damage(rows)
    write(log, rows)


def damaged_export(damage, folder):
    """Do it to an export."""
    path = folder / "journal.jsonl"
    rows = [Row(*export.parse_line(line)) for line in path.read_bytes().splitlines(keepends=True)]
    damage(rows)
    path.write_bytes(b"".join(export.write_line(row.header, row.proof, row.trace) for row in rows))


def without_checkpoints():
    """Leave nothing in the tables that was published."""
    with models.write():
        unguard("journal_checkpoint")
        sql("DELETE FROM journal_checkpoint")


def said(header):
    try:
        parsed = record.parse(header)
    except record.HeaderNotCanonical:
        return "incident.recorded", record.format_time(make.NOW)
    return parsed.operation, parsed.time


def forged(previous, **values):
    """Make a well-formed record that follows `previous`."""
    before = record.parse(previous.header)
    body = {"author": {"kind": "system", "id": "system", "name": "x"}, "object": {}, "detail": values.pop("detail", {})}
    beside = {
        "proof": (secrets.token_bytes(32), record.encode_body("proof", body)),
        "trace": (secrets.token_bytes(32), b"{}"),
    }
    committed = {group: record.commit(group, *payload) for group, payload in beside.items()}
    facts = {"previous": record.record_hash(previous.header).hex(), "sequence": before.sequence + 1, **committed}
    return Row(record.build(before._replace(**facts | values)), **beside)


def chain_again(rows, start):
    for sequence in range(start, len(rows)):
        rows[sequence].change(
            previous=record.record_hash(rows[sequence - 1].header).hex() if sequence else record.FIRST_PREVIOUS,
            sequence=sequence,
        )


# The damages: each is done to the rows of the tables, then the columns and the head are made to fit.


def edit_a_payload(rows):
    salt, body = rows[3].proof
    rows[3].proof = salt, body.replace(b"Exploitant", b"Etrangere.")


def edit_a_salt(rows):
    rows[3].trace = bytes(32), rows[3].trace[1]


def erase_a_payload(rows):
    rows[3].proof = None


def edit_a_payload_and_its_commitment(rows):
    edit_a_payload(rows)
    rows[3].change(proof=record.commit("proof", *rows[3].proof))


def edit_a_header(rows):
    rows[3].change(operation="deposit.withdrawn")


def spoil_a_header(rows):
    rows[3].header = rows[3].header.replace(b'"version":1', b'"version":2')


def date_earlier(rows):
    rows[3].change(time="2020-01-01T00:00:00.000000Z")


def remove(rows):
    del rows[3]


def insert(rows):
    rows.insert(3, forged(rows[2]))


def swap(rows):
    rows[3], rows[4] = rows[4], rows[3]


def nothing(_rows):
    pass


def remove_all(rows):
    del rows[:]


def chain_again_from_one_on(rows):
    edit_a_header(rows)
    chain_again(rows, 3)


def remove_and_chain_again(rows):
    remove(rows)
    chain_again(rows, 3)


def insert_and_chain_again(rows):
    insert(rows)
    chain_again(rows, 3)


def cut_below_the_last_checkpoint(rows):
    del rows[5:]


def cut_to_one_below_the_last_checkpoint(rows):
    del rows[PUBLISHED - 1 :]


def cut_after_the_last_checkpoint(rows):
    del rows[PUBLISHED:]


def write_again_what_no_checkpoint_covers(rows):
    rows[PUBLISHED].change(operation="deposit.withdrawn")
    chain_again(rows, PUBLISHED + 1)


def forge_a_purge(rows):
    ranges = [{"from": 3, "to": 3, "group": "proof"}]
    rows.append(forged(rows[-1], operation="journal.purged", detail={"ranges": ranges, "reason": "x"}))
    rows[3].proof = None


def backdate_a_purge(rows):
    forge_a_purge(rows)
    rows[-1].change(time="2030-01-01T00:00:00.000000Z")
    rows.append(forged(rows[-1], time=record.format_time(make.NOW)))


def spoil_the_header_of_a_purge(rows):
    forge_a_purge(rows)
    rows[-1].header = rows[-1].header.replace(b'"version":1', b'"version":2')


MATRIX = {
    # what was done                        in the tables, and in      in an export made of the
    #                                      an export so changed       tables afterwards
    edit_a_payload: ("PAYLOAD_ALTERED 3", "PAYLOAD_ALTERED 3"),
    edit_a_salt: ("PAYLOAD_ALTERED 3", "PAYLOAD_ALTERED 3"),
    erase_a_payload: ("PAYLOAD_MISSING 3", "PAYLOAD_MISSING 3"),
    edit_a_payload_and_its_commitment: ("PREVIOUS_MISMATCH 4", "PREVIOUS_MISMATCH 4"),
    edit_a_header: ("PREVIOUS_MISMATCH 4", "PREVIOUS_MISMATCH 4"),
    spoil_a_header: ("HEADER_NOT_CANONICAL 3", "HEADER_NOT_CANONICAL 3"),
    date_earlier: ("TIME_WENT_BACK 3", "TIME_WENT_BACK 3"),
    remove: ("SEQUENCE_GAP 4", "SEQUENCE_GAP 4"),
    insert: ("SEQUENCE_GAP 3", "SEQUENCE_GAP 3"),
    swap: ("SEQUENCE_GAP 4", "SEQUENCE_GAP 4"),
    chain_again_from_one_on: ("CHECKPOINT_MISMATCH 6", "CHECKPOINT_MISMATCH 6"),
    remove_and_chain_again: ("CHECKPOINT_MISMATCH 6", "CHECKPOINT_MISMATCH 6"),
    insert_and_chain_again: ("CHECKPOINT_MISMATCH 6", "CHECKPOINT_MISMATCH 6"),
    # The export's own record takes the place of one that was cut.
    cut_below_the_last_checkpoint: ("TAIL_TRUNCATED 5", "TAIL_TRUNCATED 6"),
    cut_to_one_below_the_last_checkpoint: ("TAIL_TRUNCATED 6", "CHECKPOINT_MISMATCH 6"),
    remove_all: ("TAIL_TRUNCATED 0", "TAIL_TRUNCATED 1"),
    forge_a_purge: ("PURGED_TOO_EARLY 3", "PURGED_TOO_EARLY 3"),
    spoil_the_header_of_a_purge: ("HEADER_NOT_CANONICAL 9", "HEADER_NOT_CANONICAL 9"),
    backdate_a_purge: ("TIME_WENT_BACK 10", "TIME_WENT_BACK 10"),
}


UNPROTECTED = (cut_after_the_last_checkpoint, write_again_what_no_checkpoint_covers)
"""What leaves no trace in the tables: nothing that was published says otherwise yet."""


@pytest.fixture
def before(gateways, tmp_path):
    """A journal with a checkpoint, then records that end with an export: return its folder, which an auditor keeps."""
    author = journal.Author("operator", "1", "Exploitant", trace=make.TRACE)
    while (size := journal.head().size) < SIZE - 1:
        with models.write():
            journal.append(gateways, "incident.recorded", author=author)
        if size + 1 == PUBLISHED:
            continuity.keep(gateways, checkpoints.publish(gateways))
    exports.write(gateways, tmp_path / "before", by=journal.OPERATOR)
    return tmp_path / "before"


@pytest.fixture
def audited(capsys):
    """Verify an export as an auditor does, and return the exit status and what was said."""

    def audit(*arguments):
        capsys.readouterr()
        status = program.main([str(argument) for argument in arguments])
        return status, capsys.readouterr().out.replace("\u00a0", " ")

    return audit


@pytest.fixture
def afterwards(gateways, tmp_path, audited):
    """Export the journal as it now is, and verify the export."""

    def audit(*anchors):
        exports.write(gateways, tmp_path / "after", by=journal.OPERATOR)
        return audited(tmp_path / "after", *anchors)

    return audit


@pytest.mark.parametrize("damage", MATRIX, ids=lambda damage: damage.__name__)
def test_what_an_administrator_does_by_sql_is_found_by_its_name(gateways, before, afterwards, audited, damage):
    in_tables, in_export = MATRIX[damage]
    vkey = checkpoints.vkey(gateways)
    damaged(damage)

    code, sequence = in_tables.split()
    assert f"{sequence} {code}" in verifications.verify(gateways).findings
    status, told = afterwards("--vkey", vkey)
    assert status == 1
    assert f"{in_export} :" in told
    assert audited(before, "--vkey", vkey)[0] == 0  # what had left the building stays as it was


@pytest.mark.parametrize("damage", MATRIX, ids=lambda damage: damage.__name__)
def test_what_is_done_to_an_export_is_found_by_the_same_name_in_a_folder_and_in_an_archive(
    gateways, before, audited, damage
):
    damaged_export(damage, before)
    archive = shutil.make_archive(str(before), "zip", before)

    for place in (before, archive):
        status, told = audited(place, "--vkey", checkpoints.vkey(gateways))
        if damage is remove_all:
            assert (status, "est vide" in told) == (2, True)
        else:
            assert (status, f"{MATRIX[damage][0]} :" in told) == (1, True)


@pytest.mark.parametrize("damage", [*MATRIX, *UNPROTECTED], ids=lambda damage: damage.__name__)
def test_whoever_also_rewrites_every_checkpoint_is_found_by_an_export_made_before(
    gateways, before, afterwards, audited, damage
):
    """Whoever holds the database and the key leaves nothing that is wrong in them: what left the building tells."""
    damaged(damage)
    without_checkpoints()

    kept = before / "checkpoints" / f"{SIZE}.note"
    status, told = afterwards("--vkey", checkpoints.vkey(gateways), "--since", kept)
    assert status == 1
    if damage in {chain_again_from_one_on, remove_and_chain_again, insert_and_chain_again, *UNPROTECTED}:
        gateways.settings.newest_checkpoint_file.unlink()  # theirs as well, here
        assert verifications.verify(gateways).findings == ()
        assert re.search(rf"(CHECKPOINT_MISMATCH|TAIL_TRUNCATED) {SIZE - 1} :", told)


@pytest.mark.parametrize("damage", [chain_again_from_one_on, cut_below_the_last_checkpoint])
def test_the_product_itself_is_stopped_by_the_checkpoint_that_stands_outside_the_database(gateways, before, damage):
    damaged(damage)
    without_checkpoints()

    [found] = verifications.verify(gateways).findings
    assert found.split()[1] == ("CHECKPOINT_MISMATCH" if damage is chain_again_from_one_on else "TAIL_TRUNCATED")
    with pytest.raises(continuity.JournalRestored):
        continuity.check(gateways.settings.newest_checkpoint_file)


def test_the_same_hands_that_change_nothing_are_not_accused(gateways, before, afterwards, audited):
    vkey = checkpoints.vkey(gateways)
    damaged(nothing)
    damaged_export(nothing, before)

    assert verifications.verify(gateways).findings == ()
    assert audited(before, "--vkey", vkey)[0] == 0
    assert afterwards("--vkey", vkey, "--since", before / "checkpoints" / f"{SIZE}.note")[0] == 0


def test_a_checkpoint_signed_again_by_another_key_is_found(gateways, before, afterwards):
    damaged(chain_again_from_one_on)
    published = (before / "checkpoints" / f"{PUBLISHED}.note").read_bytes()
    other = published.replace(published.splitlines()[-1], published.splitlines()[-1][:-8] + b"AAAAAA==")
    with models.write():
        unguard("journal_checkpoint")
        sql("UPDATE journal_checkpoint SET note = ?", other)

    assert "6 BAD_SIGNATURE" in verifications.verify(gateways).findings
    status, told = afterwards("--vkey", checkpoints.vkey(gateways))
    assert (status, "BAD_SIGNATURE 6 :" in told) == (1, True)


@pytest.mark.parametrize("damage", UNPROTECTED, ids=lambda damage: damage.__name__)
def test_what_was_written_after_the_last_checkpoint_is_not_protected_yet(gateways, before, afterwards, damage):
    """The audit page says how many records these are; this is why it must."""
    damaged(damage)

    assert verifications.verify(gateways).findings == ()
    kept = before / "checkpoints" / f"{PUBLISHED}.note"
    assert afterwards("--vkey", checkpoints.vkey(gateways), "--since", kept)[0] == 0


# A journal that another one continues


CLOSED = {damage: in_tables for damage, (in_tables, _) in MATRIX.items()} | {
    cut_after_the_last_checkpoint: "TAIL_TRUNCATED 7",
    write_again_what_no_checkpoint_covers: "PREVIOUS_MISMATCH 0",
}
"""The journal that continues it cites where it ended: nothing in it is unprotected any more."""


@pytest.fixture
def closed(gateways, before):
    """The name of the journal, closed since: another one continues it."""
    log = journal.head().log
    continuity.reopen(gateways)
    assert verifications.verify(gateways).findings == ()
    return log


@pytest.mark.parametrize("damage", CLOSED, ids=lambda damage: damage.__name__)
def test_what_is_done_by_sql_to_a_journal_closed_since_is_found_as_well(gateways, closed, afterwards, damage):
    code, sequence = CLOSED[damage].split()
    opened = journal.head().log
    damaged(damage, closed)

    of = opened if damage is write_again_what_no_checkpoint_covers else closed
    expected = f"{sequence} {code}" if of == opened else f"{sequence} {code} {closed}"
    assert expected in verifications.verify(gateways).findings
    status, told = afterwards("--vkey", checkpoints.vkey(gateways))
    if damage is remove_all:
        assert (status, "est vide" in told) == (2, True)
    else:
        assert status == 1
        assert re.search(rf"^{code} {sequence} : .*\[journal {of}\]$", told, re.MULTILINE), told


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # the bytes of an export are those of any database
@pytest.mark.parametrize("damage", CLOSED, ids=lambda damage: damage.__name__)
def test_what_is_done_to_an_earlier_journal_of_an_export_is_found_as_well(
    gateways, closed, afterwards, audited, tmp_path, damage
):
    code, sequence = CLOSED[damage].split()
    vkey = checkpoints.vkey(gateways)
    assert afterwards("--vkey", vkey)[0] == 0
    damaged_export(damage, tmp_path / "after" / "previous" / closed)
    archive = shutil.make_archive(str(tmp_path / "after"), "zip", tmp_path / "after")

    for place in (tmp_path / "after", archive):
        status, told = audited(place, "--vkey", vkey)
        assert status == (2 if damage is remove_all else 1)
        assert f"{code} {sequence} :" in told or damage is remove_all


@pytest.mark.parametrize("cited", ["x", {"log": 1, "size": "9"}, {"log": "x" * 32, "size": 2, "head": ""}], ids=str)
def test_a_citation_that_was_changed_is_found(gateways, closed, afterwards, cited):
    def cite(rows):
        salt, body = rows[0].proof
        written = json.loads(body)
        written["detail"]["reopened"] = cited
        rows[0].proof = salt, record.encode_body("proof", written)

    damaged(cite)

    assert "0 PAYLOAD_ALTERED" in verifications.verify(gateways).findings
    status, told = afterwards("--vkey", checkpoints.vkey(gateways))
    assert (status, "PAYLOAD_ALTERED 0 :" in told) == (1, True)


def test_a_closed_journal_taken_away_whole_is_missed(gateways, closed, afterwards):
    damaged(remove_all, closed)
    without_checkpoints()
    sql("DELETE FROM journal_log WHERE log = ?", closed)

    assert f"0 TAIL_TRUNCATED {closed}" in verifications.verify(gateways).findings
    status, told = afterwards("--vkey", checkpoints.vkey(gateways))
    assert (status, f"[journal {closed}]" in told) == (1, True)
