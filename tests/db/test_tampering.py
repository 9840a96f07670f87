"""What a database administrator may do to the journal by SQL, triggers dropped, and by which name it is found."""

import secrets
from dataclasses import dataclass

import make
import pytest

from mespieces import models
from mespieces.domain import checkpoints, continuity, exports, journal
from mespieces.verifier import __main__ as program
from mespieces.verifier import record

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


def read():
    """Read every record as it stands in the tables."""
    beside = {
        (sequence, group): None if salt is None else (bytes(salt), bytes(body))
        for sequence, group, salt, body in sql("SELECT sequence, payload_group, salt, body FROM journal_payload")
    }
    found = sql("SELECT sequence, header FROM journal_record ORDER BY sequence").fetchall()
    return [Row(bytes(header), beside[sequence, "proof"], beside[sequence, "trace"]) for sequence, header in found]


def write(rows):
    """Write the journal's tables anew, with the columns and the head that go with these records: careful hands."""
    ((log, *_),) = sql("SELECT log FROM journal_log").fetchall()
    with models.write():
        if models.is_sqlite():
            for name in ("no_update", "no_delete", "no_replace"):
                sql(f"DROP TRIGGER journal_record_{name}")
        else:
            sql("ALTER TABLE journal_record DISABLE TRIGGER ALL")
        sql("DELETE FROM journal_payload")
        sql("DELETE FROM journal_record")
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
                    "INSERT INTO journal_payload (log, sequence, payload_group, salt, body) VALUES (?, ?, ?, ?, ?)",
                    *(log, sequence, group, salt, body),
                )
            head = hashed
        sql("UPDATE journal_log SET size = ?, head = ?, time = ?", len(rows), head, time)


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


def forge_a_purge(rows):
    ranges = [{"from": 3, "to": 3, "group": "proof"}]
    rows.append(forged(rows[-1], operation="journal.purged", detail={"ranges": ranges, "reason": "x"}))
    rows[3].proof = None


def backdate_a_purge(rows):
    forge_a_purge(rows)
    rows[-1].change(time="2030-01-01T00:00:00.000000Z")
    rows.append(forged(rows[-1], time=record.format_time(make.NOW)))


MATRIX = {
    # what was done                        found in the tables       found in an export of them
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
    forge_a_purge: ("PURGED_TOO_EARLY 3", "PURGED_TOO_EARLY 3"),
    backdate_a_purge: ("TIME_WENT_BACK 10", "TIME_WENT_BACK 10"),
}


@pytest.fixture
def published(gateways):
    """A journal with records under a checkpoint and after it; return the checkpoint, which an auditor also keeps."""
    kept = b""
    author = journal.Author("operator", "1", "Exploitant", trace=make.TRACE)
    while (size := journal.head().size) < SIZE:
        with models.write():
            journal.append(gateways, "incident.recorded", author=author)
        kept = checkpoints.publish(gateways) if size + 1 == PUBLISHED else kept
    gateways.settings.newest_checkpoint_file.write_bytes(kept)
    return kept


@pytest.fixture
def audited(gateways, tmp_path, capsys):
    """Export the journal, verify the export as an auditor does, and return the exit status and what was said."""

    def audit(*anchors):
        exports.write(gateways, tmp_path / "export", by=journal.OPERATOR)
        capsys.readouterr()
        status = program.main([str(tmp_path / "export"), *map(str, anchors)])
        return status, capsys.readouterr().out.replace("\u00a0", " ")

    return audit


@pytest.mark.parametrize("damage", MATRIX, ids=lambda damage: damage.__name__)
def test_what_an_administrator_does_by_sql_is_found_by_its_name(gateways, published, audited, damage):
    in_tables, in_export = MATRIX[damage]
    rows = read()
    damage(rows)
    write(rows)

    code, sequence = in_tables.split()
    assert f"{sequence} {code}" in checkpoints.verify(gateways).findings
    status, told = audited("--vkey", checkpoints.vkey(gateways))
    assert status == 1
    assert f"{in_export} :" in told


def test_the_same_hands_that_change_nothing_are_not_accused(gateways, published, audited):
    write(read())

    assert checkpoints.verify(gateways).findings == ()
    assert audited("--vkey", checkpoints.vkey(gateways))[0] == 0


def test_a_checkpoint_signed_again_by_another_key_is_found(gateways, published, audited):
    rows = read()
    chain_again_from_one_on(rows)
    write(rows)
    other = published.replace(published.splitlines()[-1], published.splitlines()[-1][:-8] + b"AAAAAA==")
    if models.is_sqlite():
        sql("DROP TRIGGER journal_checkpoint_no_update")
    else:
        sql("ALTER TABLE journal_checkpoint DISABLE TRIGGER ALL")
    sql("UPDATE journal_checkpoint SET note = ?", other)

    assert "6 BAD_SIGNATURE" in checkpoints.verify(gateways).findings
    status, told = audited("--vkey", checkpoints.vkey(gateways))
    assert (status, "BAD_SIGNATURE 6 :" in told) == (1, True)


@pytest.mark.parametrize(
    ("damage", "finding"),
    [(chain_again_from_one_on, "CHECKPOINT_MISMATCH 6 :"), (cut_below_the_last_checkpoint, "TAIL_TRUNCATED 6 :")],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_rewriting_that_leaves_no_checkpoint_is_found_by_those_kept_elsewhere(
    gateways, published, audited, tmp_path, damage, finding
):
    """Whoever rewrites the tables whole leaves nothing in them: what left the building tells."""
    rows = read()
    damage(rows)
    write(rows)
    sql("DELETE FROM journal_checkpoint")

    assert checkpoints.verify(gateways).findings == ()
    with pytest.raises(continuity.JournalRestored):
        continuity.check(gateways.settings.newest_checkpoint_file)
    (tmp_path / "kept.note").write_bytes(published)
    status, told = audited("--vkey", checkpoints.vkey(gateways), "--since", tmp_path / "kept.note")
    assert (status, finding in told) == (1, True)


def test_what_was_written_after_the_last_checkpoint_is_not_protected_yet(gateways, published, audited, tmp_path):
    """The audit page says how many records these are; this is why it must."""
    rows = read()
    del rows[PUBLISHED:]
    write(rows)

    assert checkpoints.verify(gateways).findings == ()
    (tmp_path / "kept.note").write_bytes(published)
    assert audited("--vkey", checkpoints.vkey(gateways), "--since", tmp_path / "kept.note")[0] == 0
