"""What an attestation says is what the records say, whatever the tables beside them were made to hold (art. 4 and 6).

The hands of these tests have the whole database, by SQL. What they change is not said; where a record is not what its chain
commits to, nothing is.
"""

import hashlib
import io
import logging
from datetime import timedelta

import authority as authorities
import make
import pypdf
import pytest
from backups import unguard

from mespieces import models
from mespieces.domain import (
    attestations,
    authenticity,
    checkpoints,
    consultations,
    continuity,
    contradictions,
    deposits,
    dossiers,
    evidence,
    filings,
    journal,
    opened,
    purges,
    receipts,
    retention,
    sessions,
    verifications,
    withdrawals,
)
from mespieces.models import (
    Deposit,
    Document,
    JournalCheckpoint,
    JournalPayload,
    JournalRecord,
    JournalTimestamp,
    Recipient,
)
from mespieces.verifier import attached, note, receipt, record

BY = journal.OPERATOR


@pytest.fixture
def deposit(gateways):
    return make.filed(gateways, documents=2, recipients=("Alexandre Payet", "Béatrice Roux"))


@pytest.fixture
def payet(deposit):
    return Recipient.get(Recipient.name == "Alexandre Payet")


@pytest.fixture
def consulted(gateways, payet):
    """Have Alexandre Payet open the first document, and return the consultation's record."""
    return read(gateways, payet, 1)


def identified(gateways, who):
    """Identify a recipient, once more if need be."""
    with models.write():
        Recipient.update(way="email", way_set_by="recipient").where(Recipient.id == who.id).execute()
        token = sessions.start(gateways.clock.now(), way="act+email", access=who.accesses.get())
    return sessions.of_recipient(gateways, token)


def read(gateways, who, number, mode="file"):
    session = identified(gateways, who)
    reading = consultations.open_document(gateways, session, number, mode, make.TRACE, whole=True)
    reading.close()
    return JournalRecord.get(
        JournalRecord.log == reading.consultation.log, JournalRecord.sequence == reading.consultation.sequence
    )


def sql(statement, *values):
    with models.write():
        statement = statement if models.is_sqlite() else statement.replace("?", "%s")
        models.database.execute_sql(statement, values)


def sequence_of(operation):
    return JournalRecord.select().where(JournalRecord.operation == operation).get().sequence


def words(made):
    text = " ".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(made)).pages)
    return " ".join(text.replace("\u200b", "").split())


def of_deposit(gateways, deposit):
    return attestations.of_deposit(gateways, deposit, by=BY)


def of_consultations(gateways, deposit):
    return attestations.of_consultations(gateways, make.first(deposit), by=BY)


def of_statement(gateways, deposit):
    return attestations.of_statement(gateways, deposit, gateways.clock.now().date(), by=BY)


def of_deletion(gateways, deposit):
    return attestations.of_deletion(gateways, deposit, by=BY)


def of_all(gateways, deposit):
    dossiers.make(gateways, deposit, by=BY).spool.close()


def end(gateways, deposit):
    gateways.clock.advance(deposit.expires_at - gateways.clock.now())
    retention.expire(gateways, confirmed=True)


def refused(gateways, deposit, *ways, because=evidence.JournalDisagrees):
    """Expect each of these refused, nothing journaled."""
    before = make.operations()
    for way in ways:
        with pytest.raises(because):
            way(gateways, deposit)
    assert make.operations() == before


def test_who_opened_is_named_as_the_records_do_besides_the_tables(gateways, deposit, consulted, payet):
    before = words(attestations.of_consultations(gateways, payet, by=BY))
    Recipient.update(name="Charles Autre").where(Recipient.id == payet.id).execute()

    after = words(attestations.of_consultations(gateways, payet, by=BY))
    assert "Nommé au journal" not in before
    assert f"Nommé au journal {payet.name}" in after
    assert words(of_statement(gateways, deposit)).count("Charles Autre") == 1  # in the list of recipients alone


# What the tables say is not said


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE document SET title = 'Reconnaissance de dette', nature = 'autre', number = number + 10",
        "UPDATE document SET fingerprint = '0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef'",
        "UPDATE document SET pages = 77, size = 123456789",
        "UPDATE document SET wrapped_key = NULL, deleted_at = added_at",
        "UPDATE deposit SET withdrawn_at = created_at, withdrawn_because = 'Erreur inventée'",
        "UPDATE deposit SET ended_at = created_at",
        "UPDATE consultation SET opened_at = (SELECT MIN(created_at) FROM office)",
        "UPDATE consultation SET document_id = (SELECT id FROM document WHERE number = 2)",
        "UPDATE session SET way = 'act'",
        "UPDATE session SET access_id = (SELECT access.id FROM access JOIN recipient ON recipient.id = access.recipient_id "
        "WHERE recipient.name = 'Béatrice Roux')",
        "UPDATE delivery SET outcome = 'delivered'",
        "DELETE FROM delivery",
    ],
)  # fmt: skip
def test_what_was_changed_in_the_tables_is_not_said(gateways, deposit, change):
    gateways.clock.advance(timedelta(days=2))
    for who in deposit.recipients:
        session = identified(gateways, who)
        reading = consultations.open_document(gateways, session, 1, "file", make.TRACE, whole=True)
        consultations.finish(gateways, session, reading, "file", make.TRACE, whole=False, sent=1)

    def said():
        with journal.snapshot():
            now = gateways.clock.now()
            return [
                attestations.attested.deposit_facts(deposit, by=BY, now=now).facts,
                *(attestations.attested.consultation_facts(who, by=BY, now=now).facts for who in deposit.recipients),
                attestations.statements.facts(deposit, now.date(), by=BY, now=now).facts,
            ]

    before = said()
    assert "envoi du fichier interrompu" in str(before)
    sql(change)
    assert said() == before


def test_a_document_hidden_from_the_tables_is_attested_all_the_same(gateways, deposit, consulted):
    other = make.filed(gateways, deposit.office)
    sql("UPDATE document SET number = 9, deposit_id = ? WHERE number = 2", Deposit.id.db_value(other.id))

    for way in (of_deposit, of_consultations):
        assert "Facture 2" in words(way(gateways, deposit))
    assert "2 pièces, 2 pages" in words(of_deposit(gateways, deposit))
    assert len(attached.receipts(of_deposit(gateways, deposit))) == 3
    assert "1 pièce, 1 page" in words(of_deposit(gateways, other))


def test_the_hours_of_a_deletion_are_those_of_its_records(gateways, deposit):
    end(gateways, deposit)
    before = words(of_deletion(gateways, deposit))
    sql("UPDATE document SET deleted_at = (SELECT MIN(created_at) FROM office)")
    sql("UPDATE deposit SET ended_at = (SELECT MIN(created_at) FROM office)")

    assert before.count("25 mai 2028 à 0 h 00") > 3
    after = words(of_deletion(gateways, Deposit.get_by_id(deposit.id)))
    assert after.split("Le journal")[0] == before.split("Le journal")[0]


def test_a_deletion_that_no_record_tells_is_not_attested(gateways, deposit):
    sql("UPDATE document SET wrapped_key = NULL, deleted_at = added_at")
    sql("UPDATE deposit SET ended_at = created_at")

    with pytest.raises(attestations.deletions.NothingDeleted):
        of_deletion(gateways, deposit)
    assert make.count("attestation.issued") == 0


def test_a_consultation_whose_row_was_deleted_is_told_all_the_same(gateways, deposit, payet, consulted):
    sql("DELETE FROM delivery")
    sql("DELETE FROM consultation")
    hashed = attestations.attested.grouped(consulted.hash)

    for way in (of_consultations, of_statement):
        made = way(gateways, deposit)
        assert hashed in words(made)
        assert len(attached.receipts(made)) == 1
    assert "1 pièce sur 2" in words(of_consultations(gateways, deposit))
    assert [one.entry.sequence for one in receipts.of_openings(opened.of(payet))] == [consulted.sequence]
    assert receipts.of_recipient(gateways, payet, consulted.log, consulted.sequence)


# What is not what it was makes nothing


@pytest.mark.parametrize(
    ("operation", "ways"),
    [
        ("document.deposited", [of_deposit, of_consultations, of_statement, of_all]),
        ("deposit.filed", [of_deposit, of_consultations, of_statement, of_all]),
        ("document.consulted", [of_consultations, of_statement, of_all]),
        ("document.deleted", [of_deletion, of_deposit, of_all]),
        ("deposit.expired", [of_deletion, of_deposit, of_all]),
    ],
)
@pytest.mark.parametrize("change", ["altered", "salt", "erased"])
def test_nothing_is_made_of_a_payload_altered_or_erased_unannounced(
    gateways, deposit, consulted, caplog, operation, ways, change
):
    end(gateways, deposit)
    at = sequence_of(operation)
    row = JournalPayload.select().where(JournalPayload.sequence == at, JournalPayload.group == "proof").get()
    altered = {
        "altered": {"body": bytes(row.body).replace(b'"kind":"', b'"kind": "')},
        "salt": {"salt": bytes(32)},
        "erased": {"salt": None, "body": None},
    }[change]
    with models.write():
        JournalPayload.update(altered).where(JournalPayload.sequence == at, JournalPayload.group == "proof").execute()

    with caplog.at_level(logging.ERROR):
        refused(gateways, deposit, *ways)
        with pytest.raises(evidence.JournalDisagrees):
            receipts.of_deposit(gateways, deposit, journal.head().log, at)
    told = [one.getMessage() for one in caplog.records]
    assert len(told) == len(ways) + 1
    assert all(f"record {at} of journal {journal.head().log}" in one for one in told)


def test_no_dossier_is_made_with_a_record_that_no_attestation_cites(gateways, deposit):
    at = sequence_of("recipient.added")
    with models.write():
        JournalPayload.update(salt=None, body=None).where(JournalPayload.sequence == at).execute()

    with pytest.raises(evidence.JournalDisagrees):
        of_all(gateways, deposit)
    assert Deposit.get_by_id(deposit.id).dossier_at is None


def test_nothing_is_made_of_a_header_that_is_not_the_one_hashed(gateways, deposit):
    at = sequence_of("deposit.filed")
    row = JournalRecord.get(JournalRecord.sequence == at)
    later = record.build(record.parse(bytes(row.header))._replace(time="2026-11-24T11:11:11.000000Z"))
    with models.write():
        unguard("journal_record")
        JournalRecord.update(header=later).where(JournalRecord.sequence == at).execute()
    refused(gateways, deposit, of_deposit, because=checkpoints.TreeAltered)
    assert JournalCheckpoint.select().count() == 0
    with pytest.raises(evidence.JournalDisagrees):
        filings.read(deposit)

    with models.write():  # and its hash with it: the checkpoint published before does not lead to it
        JournalRecord.update(header=row.header).where(JournalRecord.sequence == at).execute()
    checkpoints.publish(gateways)
    with models.write():
        hashed = record.record_hash(later).hex()
        JournalRecord.update(header=later, hash=hashed).where(JournalRecord.sequence == at).execute()
    refused(gateways, deposit, of_deposit, of_all, because=checkpoints.TreeAltered)
    with pytest.raises(evidence.JournalDisagrees):
        receipts.of_deposit(gateways, deposit, journal.head().log, at)


def test_nothing_is_made_of_an_outcome_rewritten_whole(gateways, deposit, payet):
    """No receipt of it is joined: its hash alone tells."""
    session = identified(gateways, payet)
    reading = consultations.open_document(gateways, session, 1, "file", make.TRACE, whole=True)
    consultations.finish(gateways, session, reading, "file", make.TRACE, whole=False, sent=1)
    at, better = sequence_of("document.interrupted"), "document.delivered"
    row = JournalRecord.get(JournalRecord.sequence == at)
    forged = record.build(record.parse(bytes(row.header))._replace(operation=better))
    with models.write():
        unguard("journal_record")
        JournalRecord.update(header=forged, operation=better).where(JournalRecord.sequence == at).execute()

    refused(gateways, deposit, of_consultations, because=checkpoints.TreeAltered)
    with pytest.raises(evidence.JournalDisagrees):
        opened.outcomes(payet, opened.of(payet))


def test_nothing_is_made_of_a_consultation_of_what_was_not_filed(gateways, deposit, payet):
    """No more than a program that writes the journal as the service does could add."""
    other = make.filed(gateways, deposit.office).documents.get()
    author = journal.recipient(identified(gateways, payet))
    with models.write():
        journal.append(
            gateways, "document.consulted", author=author, deposit=deposit, document=other, recipient=payet,
            detail={"mode": "file"},
        )  # fmt: skip

    refused(gateways, deposit, of_consultations, of_statement)


def test_nothing_is_made_of_a_record_found_as_another_kind_or_in_another_place(gateways, deposit, consulted):
    at = sequence_of("recipient.added")
    with models.write():
        unguard("journal_record")
        JournalRecord.update(operation="document.consulted").where(JournalRecord.sequence == at).execute()

    refused(gateways, deposit, of_statement)


def test_a_receipt_that_would_not_verify_is_not_handed_over(gateways, deposit):
    log, at = journal.head().log, sequence_of("deposit.filed")
    checkpoints.publish(gateways)
    size = checkpoints.head(gateways).size
    forged = note.Checkpoint(checkpoints.head(gateways).origin, size, bytes(32))
    with models.write():
        unguard("journal_checkpoint")
        JournalCheckpoint.update(note=note.sign_checkpoint(forged, gateways.journal_key)).execute()

    with pytest.raises(evidence.JournalDisagrees):
        receipts.of_deposit(gateways, deposit, log, at)
    refused(gateways, deposit, of_deposit, because=checkpoints.TreeAltered)


@pytest.mark.parametrize("anchored", ["none", "of another token", "of another checkpoint", "rewritten", "its own"])
def test_a_token_put_in_the_tables_dates_nothing_that_no_record_names(gateways, deposit, tmp_path, anchored):
    """Whoever writes in the tables can have any authority of theirs date anything."""
    tsa = authorities.Authority(tmp_path / "tsa", name="Autorité qualifiée de France")
    signed = checkpoints.publish(gateways)
    log, size, token = journal.head().log, checkpoints.head(gateways).size, tsa.reply(tsa.query(signed))
    with models.write():
        JournalTimestamp.create(
            log=log, size=size, number=1, der=token, time=make.NOW - timedelta(days=999), authority="Autre", qualified=1,
            asked_at=make.NOW, answered_at=make.NOW,
        )  # fmt: skip
    named = anchored == "its own"
    if anchored != "none":
        told = {"size": size, "number": 1, "sha256": hashlib.sha256(token).hexdigest()}
        other = {"of another token": {"sha256": "0" * 64}, "of another checkpoint": {"size": size - 1}}
        with models.write():
            at = journal.append(gateways, "journal.anchored", detail=told | other.get(anchored, {}))
        if anchored == "rewritten":
            there = (JournalPayload.sequence == at) & (JournalPayload.group == "proof")
            row = JournalPayload.get(there)
            JournalPayload.update(body=bytes(row.body).replace(b"Mes Pi", b"Nos Pi")).where(there).execute()

    made = of_deposit(gateways, deposit)

    assert ("provisoire" in words(made)) is not named
    carried = [receipt.parse(one).timestamp for one in attached.receipts(made).values()]
    assert carried == [token if named else None] * len(carried)
    found = authenticity.examine(gateways, made).receipts[0]
    assert found.authority == ("Autorité qualifiée de France" if named else "")
    assert "Autre" not in words(made)


def test_a_note_put_in_the_tables_carries_nothing(gateways, deposit):
    row = journal.head()
    with models.write():
        for size, signed in ((row.size, b"nothing"), (row.size + 1, checkpoints.sign(gateways, row, 2, bytes(32)))):
            JournalCheckpoint.create(log=row.log, size=size, note=signed, created_at=make.NOW)
    make.office(gateways)
    make.office(gateways)

    assert len(attached.receipts(of_deposit(gateways, deposit))) > 0


def test_a_recipient_moved_to_another_deposit_takes_nothing_along(gateways, deposit, consulted, payet):
    other = make.filed(gateways, deposit.office)
    Recipient.update(deposit=other).where(Recipient.id == payet.id).execute()

    refused(gateways, deposit, of_statement)
    with pytest.raises(evidence.JournalDisagrees):
        attestations.of_consultations(gateways, Recipient.get_by_id(payet.id), by=BY)
    assert "TABLE_ALTERED" in verifications.verify(gateways).counts


def test_a_record_hidden_from_its_deposit_is_missed(gateways, deposit, consulted):
    for operation, ways in (
        ("document.consulted", [of_consultations, of_statement, of_all]),
        ("document.deposited", [of_deposit, of_all]),
        ("deposit.filed", [of_deposit, of_consultations, of_statement, of_all]),
    ):
        here = (JournalPayload.sequence == sequence_of(operation)) & (JournalPayload.group == "proof")
        with models.write():
            JournalPayload.update(deposit=None).where(here).execute()
        refused(gateways, deposit, *ways)
        assert f"{sequence_of(operation)} PROJECTION_ALTERED" in verifications.verify(gateways).findings
        with models.write():
            JournalPayload.update(deposit=deposit.id).where(here).execute()
    of_all(gateways, deposit)


def test_a_record_of_another_deposit_is_not_lent_to_this_one(gateways, deposit, consulted):
    other = make.filed(gateways, deposit.office)
    with models.write():
        JournalPayload.update(deposit=other.id).where(JournalPayload.sequence == consulted.sequence).execute()

    refused(gateways, other, of_statement, of_consultations)


def test_a_row_that_no_record_confirms_is_refused(gateways, deposit, payet, consulted):
    sql("UPDATE consultation SET sequence = sequence + 1")
    refused(gateways, deposit, of_consultations, of_statement)
    assert receipts.of_recipient(gateways, payet, consulted.log, consulted.sequence)
    with pytest.raises(evidence.JournalDisagrees):
        receipts.of_recipient(gateways, payet, consulted.log, consulted.sequence + 1)


# What is honest is told as before


def test_what_the_journal_forgot_as_announced_is_told_from_the_tables(gateways, deposit, payet, consulted):
    before = words(of_consultations(gateways, deposit))
    make.forgotten(gateways, deposit)

    for way in (of_deposit, of_consultations, of_statement):
        made = way(gateways, deposit)
        assert "sans preuve jointe" in words(made)
        assert attached.receipts(made) == {}
    after = words(of_consultations(gateways, deposit))
    for told in ("1 pièce sur 2", "Facture 1", "fichier demandé, envoi non achevé", "feuillet et courriel"):
        assert told in before
        assert told in after
    with pytest.raises(receipts.ReceiptGone):
        receipts.of_recipient(gateways, payet, consulted.log, consulted.sequence)


def test_what_no_table_remembers_either_is_counted_and_not_denied(gateways, deposit, payet, consulted):
    clerk = journal.member(make.member(gateways, deposit.office))
    consultations.read_by_member(gateways, deposit.documents.first(), by=clerk).close()
    make.forgotten(gateways, deposit)
    for way in (of_consultations, of_statement):
        assert "outre 1 ouverture de pièces de ce dépôt dont il ne dit plus de qui elle était" in words(
            way(gateways, deposit)
        )
    sql("DELETE FROM delivery")
    sql("DELETE FROM consultation")

    for way in (of_consultations, of_statement):
        made = words(way(gateways, deposit))
        assert "Le journal porte en outre 2 ouvertures de pièces de ce dépôt dont il ne dit plus de qui elles" in made
        assert "aucune consultation" in made
    assert opened.silent(deposit.id, record.parse_time(consulted.time)) == 0


def test_nothing_is_added_of_what_the_journal_remembers(gateways, deposit, consulted):
    sql("DELETE FROM delivery")
    sql("DELETE FROM consultation")

    for way in (of_consultations, of_statement):
        assert "en outre" not in words(way(gateways, deposit))


def test_a_purge_that_was_cut_leaves_what_can_be_told_either_way(gateways, deposit, consulted, monkeypatch):
    """Purged batch by batch: at one moment some records are gone, and others are not."""
    monkeypatch.setattr(purges, "BATCH", 4)
    with models.write():
        due = purges._sequences(journal.head().log, deposit, deposit.filed_sequence, gateways.clock.now())
        purges._erase(gateways, journal.head().log, list(purges._joined(due, deposit.filed_sequence)))
    gone = JournalPayload.select().where(JournalPayload.deposit == deposit.id, JournalPayload.body.is_null())

    assert 0 < gone.count() <= 4
    made = of_deposit(gateways, deposit)
    assert "Facture 2" in words(made)
    assert "plus de reçu, sur 3" in words(made)
    assert len(attached.receipts(of_statement(gateways, deposit))) == 1
    of_all(gateways, deposit)


@pytest.mark.parametrize(
    "announcing",
    [
        lambda at: {"from": at + 1, "to": at + 5, "group": "proof"},
        lambda at: {"from": at - 1, "to": at - 1, "group": "proof"},
        lambda at: {"from": at, "to": at, "group": "trace"},
    ],
)
def test_a_purge_of_something_else_announces_nothing_of_it(gateways, deposit, announcing):
    at = sequence_of("deposit.filed")
    with models.write():
        JournalPayload.update(salt=None, body=None).where(JournalPayload.sequence == at).execute()
        journal.append(gateways, "journal.purged", detail={"ranges": [announcing(at)], "reason": "retention"})

    refused(gateways, deposit, of_deposit)


def test_a_purge_announces_nothing_of_later_records(gateways, caplog):
    draft = make.draft(gateways)
    make.document(gateways, draft)
    make.recipient(gateways, draft)
    with models.write():
        ranges = [{"from": 0, "to": 100, "group": "proof"}]
        journal.append(gateways, "journal.purged", detail={"ranges": ranges, "reason": "retention"})
    deposits.file(gateways, draft.id, by=BY)
    at = sequence_of("deposit.filed")
    with models.write():
        gone = JournalPayload.sequence.in_([sequence_of("document.deposited"), at])
        JournalPayload.update(salt=None, body=None).where(gone).execute()

    refused(gateways, draft, of_deposit)
    assert f"record {at} of" in caplog.text


def test_a_purge_whose_own_payload_was_altered_announces_nothing(gateways, deposit):
    at = sequence_of("deposit.filed")
    with models.write():
        ranges = [{"from": 1, "to": 1, "group": "proof"}]
        purged = journal.append(gateways, "journal.purged", detail={"ranges": ranges, "reason": "retention"})
    here = (JournalPayload.sequence == purged) & (JournalPayload.group == "proof")
    body = bytes(JournalPayload.select().where(here).get().body)
    with models.write():
        JournalPayload.update(body=body.replace(b'"to":1', b'"to":100')).where(here).execute()
        JournalPayload.update(salt=None, body=None).where(JournalPayload.sequence == at).execute()

    refused(gateways, deposit, of_deposit)


def test_the_motive_of_a_withdrawal_that_the_journal_forgot_is_told_from_the_tables(gateways, deposit):
    withdrawals.withdraw(gateways, deposit.id, "Erreur de débiteur", by=BY)
    make.forgotten(gateways, deposit)

    assert "Motif : Erreur de débiteur" in words(of_deposit(gateways, deposit))


def test_what_the_office_reads_is_counted_as_nobodys_consultation(gateways, deposit):
    clerk = journal.member(make.member(gateways, deposit.office))
    consultations.read_by_member(gateways, deposit.documents.first(), by=clerk).close()

    assert "ne porte aucune consultation" in words(of_statement(gateways, deposit))


def test_a_provisional_receipt_is_examined_even_where_none_can_be_made_any_more(gateways, deposit):
    data = next(iter(attached.receipts(of_deposit(gateways, deposit)).values()))
    with models.write():
        unguard("journal_checkpoint")
        JournalCheckpoint.update(note=b"").execute()

    found = authenticity.examine(gateways, data)
    assert (found.state, found.receipts[0].completable) == (authenticity.State.VALID, False)


def test_a_clock_set_back_refuses_nothing(gateways, deposit, payet):
    read(gateways, payet, 1)
    gateways.clock.advance(timedelta(hours=-1))
    read(gateways, payet, 2)

    assert "clock.anomaly" in make.operations()
    assert "2 pièces sur 2" in words(of_consultations(gateways, deposit))
    for way in (of_deposit, of_statement, of_all):
        way(gateways, deposit)


def test_a_journal_that_continues_another_tells_both(gateways, deposit, payet):
    former = read(gateways, payet, 1)
    with models.write():
        models.JournalLog.update(closed_at=make.NOW).execute()
    journal.open_log(gateways)
    newer = read(gateways, payet, 2)
    made = of_consultations(gateways, deposit)

    assert former.log != newer.log
    assert "2 pièces sur 2" in words(made)
    assert f"ancien journal {former.log}" in words(made)
    assert len(attached.receipts(of_deposit(gateways, deposit))) == 0  # its journal was closed under no checkpoint
    of_all(gateways, deposit)


# What the full verification names


@pytest.mark.parametrize(
    ("change", "operation"),
    [
        ("UPDATE document SET title = 'Reconnaissance de dette' WHERE number = 1", "deposit.filed"),
        ("UPDATE document SET pages = 7 WHERE number = 1", "deposit.filed"),
        ("UPDATE document SET number = 9 WHERE number = 2", "deposit.filed"),
        ("DELETE FROM document WHERE number = 2", "deposit.filed"),
        ("UPDATE consultation SET opened_at = (SELECT MIN(added_at) FROM document)", "document.consulted"),
        ("UPDATE consultation SET document_id = (SELECT id FROM document WHERE number = 2)", "document.consulted"),
        ("UPDATE consultation SET sequence = 1", "document.consulted"),
        ("UPDATE session SET way = 'act'", "document.consulted"),
        (
            "UPDATE session SET access_id = (SELECT access.id FROM access JOIN recipient ON recipient.id = "
            "access.recipient_id WHERE recipient.name = 'Béatrice Roux')",
            "document.consulted",
        ),
        ("DELETE FROM consultation", "document.consulted"),
    ],
)
def test_a_row_that_contradicts_its_record_is_named(gateways, deposit, payet, change, operation):
    gateways.clock.advance(timedelta(hours=1))
    read(gateways, payet, 1)
    clerk = journal.member(make.member(gateways, deposit.office))
    consultations.read_by_member(gateways, deposit.documents.first(), by=clerk).close()
    assert verifications.verify(gateways).findings == ()
    sql("DELETE FROM delivery")
    sql(change)

    found = verifications.verify(gateways).findings
    assert f"{sequence_of(operation)} TABLE_ALTERED" in found
    assert {one.split(" ")[1] for one in found} == {"TABLE_ALTERED"}
    assert len(found) == (2 if "sequence = 1" in change else 1)


def test_a_title_erased_in_its_time_contradicts_no_closed_journal(gateways, deposit):
    continuity.reopen(gateways)
    retention._erase(gateways, deposit)
    assert verifications.verify(gateways).findings == ()

    with models.write():
        Document.update(fingerprint="0" * 64).where(Document.number == 1).execute()
    assert [found.split(" ")[1] for found in verifications.verify(gateways).findings] == ["TABLE_ALTERED"]


def test_a_row_of_a_record_that_is_not_there_is_named(gateways, consulted):
    sql("UPDATE consultation SET sequence = 1000")

    found = verifications.verify(gateways).findings
    assert found == (f"{consulted.sequence} TABLE_ALTERED", "1000 TABLE_ALTERED")


def test_the_rows_of_many_deposits_are_compared_batch_by_batch(gateways, monkeypatch):
    monkeypatch.setattr(contradictions, "FILINGS", 2)
    monkeypatch.setattr(contradictions, "BATCH", 2)
    office = make.office(gateways)
    for _ in range(5):
        filed = make.filed(gateways, office, documents=2)
        for number in (1, 2):
            read(gateways, make.first(filed), number)
    assert verifications.verify(gateways).findings == ()
    sql("UPDATE document SET size = size + 1 WHERE number = 1")
    sql("UPDATE session SET way = 'act'")

    counts = verifications.verify(gateways).counts
    assert counts == {"TABLE_ALTERED": 15}


def test_what_the_journal_forgot_is_compared_with_nothing(gateways, deposit, consulted):
    make.forgotten(gateways, deposit)
    sql("UPDATE document SET title = '(données effacées)'")
    sql("UPDATE session SET way = 'act'")

    assert {one.split(" ")[1] for one in verifications.verify(gateways).findings} == {"PURGED_TOO_EARLY"}
