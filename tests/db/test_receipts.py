"""Receipts inside attestations: each proves its record away from the product, dated or not, and shows nobody else's."""

import dataclasses
import io
import logging
import os
import subprocess
import sys
from datetime import timedelta

import authority as authorities
import make
import pikepdf
import pypdf
import pytest
from backups import unguard
from dateutil.relativedelta import relativedelta

from mespieces import models
from mespieces.domain import (
    anchors,
    attestations,
    authenticity,
    checkpoints,
    clockwork,
    consultations,
    journal,
    offers,
    opened,
    purges,
    receipts,
    retention,
    verifications,
)
from mespieces.domain.authenticity import State
from mespieces.gateways.clock import ManualClock, SystemClock
from mespieces.gateways.timestamps import Authority
from mespieces.models import JournalAttestation, JournalLog, JournalPayload, JournalRecord, JournalTimestamp
from mespieces.verifier import attached, note, receipt, record


@pytest.fixture(scope="module")
def tsa(tmp_path_factory):
    with authorities.serving(authorities.Authority(tmp_path_factory.mktemp("tsa"))) as served:
        yield served


@pytest.fixture
def dated(gateways, tsa):
    """The product with an authority that dates its journal, at the authority's own time."""
    reached = (Authority(tsa.url, (tsa.root,), within=5.0),)
    opened = dataclasses.replace(gateways, authorities=reached, clock=ManualClock(SystemClock().now()))
    make.office(opened, "Étude du temps")  # the anomaly of a clock that is not that of other tests is behind
    return opened


def filed(gateways):
    return make.filed(gateways, documents=2, recipients=("Alexandre Payet", "Béatrice Roux"))


def read(gateways, who, number):
    session = make.identified(gateways, who)
    reading = consultations.open_document(gateways, session, number, "file", make.TRACE, whole=True)
    consultations.finish(gateways, session, reading, "file", make.TRACE, whole=True, sent=1)
    return session


def trusted(gateways):
    return [note.verifier(row.origin, gateways.journal_key) for row in JournalLog.select()]


def carried(made):
    return [receipt.parse(data) for data in attached.receipts(made).values()]


def words(made):
    text = " ".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(made)).pages)
    return " ".join(text.replace("\u200b", "").split())


def test_an_attestation_of_deposit_carries_the_receipts_of_the_filing_and_of_each_document(gateways):
    deposit = filed(gateways)
    made = attestations.of_deposit(gateways, deposit, by=journal.OPERATOR)
    verdicts = [receipt.verify(one, trusted(gateways)) for one in carried(made)]

    assert [verdict.findings for verdict in verdicts] == [[], [], []]
    assert [verdict.header.operation for verdict in verdicts] == ["document.deposited"] * 2 + ["deposit.filed"]
    told = {verdict.facts["object"].get("fingerprint") for verdict in verdicts}
    assert told >= {document.fingerprint for document in deposit.documents}
    assert "provisoire" in words(made)
    assert "3 reçus y sont joints" in words(made)
    assert "https://pieces.example.fr/audit" in words(made).replace(" ", "")


def test_one_receipt_alone_is_told_in_the_singular(gateways):
    who = make.first(filed(gateways))
    read(gateways, who, 1)
    made = words(attestations.of_consultations(gateways, who, by=journal.OPERATOR))

    assert "un reçu y est joint (recu-…json), qui prouve que" in made
    assert "chacun" not in made.partition("un reçu y est joint")[2]


def test_the_pdf_says_that_it_is_archival_and_tagged_and_what_its_files_are(gateways):
    made = attestations.of_deposit(gateways, filed(gateways), by=journal.OPERATOR)
    with pikepdf.open(io.BytesIO(made)) as opened, opened.open_metadata() as metadata:
        assert (metadata["pdfaid:part"], metadata["pdfaid:conformance"].upper()) == ("3", "A")
        assert metadata["pdfuaid:part"] == "1"
        assert opened.Root.MarkInfo.Marked
        assert [str(one.AFRelationship) for one in opened.Root.AF] == ["/Data"] * 3


def test_a_recipients_attestation_carries_their_own_consultations_alone(gateways):
    payet, roux = filed(gateways).recipients.order_by(make.Recipient.name)
    read(gateways, roux, 2)
    session = read(gateways, payet, 1)
    made = attestations.of_own_consultations(gateways, session, make.TRACE)
    [only] = carried(made)

    verdict = receipt.verify(only, trusted(gateways))
    assert (verdict.findings, verdict.header.operation) == ([], "document.consulted")
    assert verdict.facts["author"]["name"] == "Alexandre Payet"
    assert all(b"Roux" not in data for data in attached.receipts(made).values())


@pytest.mark.parametrize(
    ("reader", "other"), [("Alexandre Payet", "Béatrice Roux"), ("Béatrice Roux", "Alexandre Payet")]
)
def test_who_opened_nothing_carries_the_receipt_of_having_been_entered_and_nobody_else_s(gateways, reader, other):
    deposit = filed(gateways)
    named = {one.name: one for one in deposit.recipients}
    read(gateways, named[reader], 1)
    made = attestations.of_consultations(gateways, named[other], by=journal.OPERATOR)
    [only] = carried(made)

    verdict = receipt.verify(only, trusted(gateways))
    assert (verdict.findings, verdict.header.operation) == ([], "recipient.added")
    assert verdict.facts["object"]["recipient"] == str(named[other].id)
    assert all(reader.encode() not in data for data in attached.receipts(made).values())
    assert authenticity.examine(gateways, made).state is State.VALID
    [theirs] = carried(attestations.of_consultations(gateways, named[reader], by=journal.OPERATOR))
    assert receipt.verify(theirs, trusted(gateways)).header.operation == "document.consulted"

    make.forgotten(gateways, deposit)
    made = attestations.of_consultations(gateways, named[other], by=journal.OPERATOR)
    assert attached.receipts(made) == {}
    assert "Le service ne connaît aucune consultation" in words(made)


def test_what_a_third_party_dated_is_certain_and_openssl_agrees(dated, tsa, tmp_path):
    deposit = filed(dated)
    assert "provisoire" in words(attestations.of_deposit(dated, deposit, by=journal.OPERATOR))
    assert anchors.keep_up(dated)
    made = attestations.of_deposit(dated, deposit, by=journal.OPERATOR)

    assert "provisoire" not in words(made)
    assert "Horodatage) a daté le journal" in words(made)
    for one in carried(made):
        assert receipt.date(one, [tsa.root]).authority == "Horodatage"
        assert tsa.accepts(receipt.proof.parse(one.tlog_proof).checkpoint, one.timestamp)
    found = authenticity.examine(dated, made)
    assert (found.state, {one.authority for one in found.receipts}) == (State.VALID, {"Horodatage"})
    stated = [receipt.date(one, [tsa.root]) for one in carried(made)]
    assert {one.accuracy for one in stated} == {1.0}
    assert [one.dated for one in found.receipts] == [one.latest for one in stated], "by then at the latest, not sooner"
    assert attestations.attested.moment(max(one.latest for one in stated))["utc"] in words(made)


def test_a_dated_receipt_whose_token_the_tables_lost_is_accused_of_nothing(dated, tsa):
    deposit = filed(dated)
    assert anchors.keep_up(dated)
    made = attestations.of_deposit(dated, deposit, by=journal.OPERATOR)
    known = authenticity.examine(dated, made)
    alone = dataclasses.replace(dated, authorities=())
    with models.write():
        unguard("journal_timestamp", "journal_checkpoint")
        JournalTimestamp.delete().execute()
        checkpoints.JournalCheckpoint.delete().execute()

    assert authenticity.examine(alone, made) == known, "the journal's record has the token's SHA-256"
    forget_anchors()
    assert authenticity.examine(dated, made) == known, "the root of who dated it is trusted here"
    found = authenticity.examine(alone, made)
    assert (found.state, {one.state for one in found.receipts}) == (State.VALID, {State.VALID})
    assert {(one.dated, one.unconfirmed) for one in found.receipts} == {(None, True)}
    data = next(iter(attached.receipts(made).values()))
    token = receipt.parse(data).timestamp
    broken = receipt.write(receipt.parse(data)._replace(timestamp=token[:-40]))
    assert authenticity.examine(alone, broken).state is State.ALTERED


def test_a_token_other_than_those_kept_over_a_checkpoint_was_not_given_by_us(dated, tsa):
    deposit = filed(dated)
    assert anchors.keep_up(dated)
    made = attestations.of_deposit(dated, deposit, by=journal.OPERATOR)
    given = receipt.parse(next(iter(attached.receipts(made).values())))
    other = dated.authorities[0].stamp(receipt.proof.parse(given.tlog_proof).checkpoint, dated.clock).der
    assert other != given.timestamp

    assert authenticity.examine(dated, receipt.write(given)).state is State.VALID
    assert authenticity.examine(dated, receipt.write(given._replace(timestamp=other))).state is State.ALTERED


def forget_anchors():
    """Take what names the tokens out of the journal, as a database that was put back has lost it."""
    anchored = JournalRecord.select(JournalRecord.sequence).where(JournalRecord.operation == anchors.ANCHORED)
    with models.write():
        JournalPayload.update(body=b"{}").where(
            JournalPayload.sequence.in_(anchored), JournalPayload.group == "proof"
        ).execute()


def test_an_attestation_says_that_our_clock_was_ahead_of_who_dated_it(dated):
    dated.clock.advance(timedelta(minutes=3))
    deposit = filed(dated)
    assert anchors.keep_up(dated)

    made = attestations.of_deposit(dated, deposit, by=journal.OPERATOR)
    assert "les heures qu’elle donne dépassent cette date, qui fait foi" in words(made)


def test_a_receipt_verifies_after_the_deposit_ended_and_the_journal_was_purged(gateways):
    deposit = filed(gateways)
    made = attestations.of_deposit(gateways, deposit, by=journal.OPERATOR)
    for months in (0, 3, 7):
        gateways.clock.advance(deposit.expires_at + relativedelta(months=months) - gateways.clock.now())
        clockwork.confirm(gateways.clock.now())
        retention.expire(gateways)
        offers.tell(gateways)
    assert purges.run(gateways)
    assert JournalPayload.select().where(JournalPayload.deposit == deposit.id, JournalPayload.group == "proof").count()

    assert all(receipt.verify(one, trusted(gateways)).findings == [] for one in carried(made))
    found = authenticity.examine(gateways, made)
    assert (found.state, {one.state for one in found.receipts}) == (State.FORGOTTEN, {State.VALID})
    # The tables alone would lead any file there.
    forged = made + b"\n"
    row = JournalAttestation.get()
    JournalAttestation.create(fingerprint=attestations.fingerprint(forged), log=row.log, sequence=row.sequence)
    assert authenticity.examine(gateways, forged).state is State.FORGOTTEN
    assert authenticity.examine(gateways, b"%PDF-1.7").state is State.UNKNOWN
    later = attestations.of_deposit(gateways, deposit, by=journal.OPERATOR)
    assert carried(later) == []
    assert verifications.verify(gateways).findings == ()


def test_a_record_under_no_checkpoint_has_no_receipt_yet(gateways):
    filed(gateways)
    log = journal.head().log

    assert receipts.of(gateways, [(log, 0)]) == []
    checkpoints.publish(gateways)
    assert len(receipts.of(gateways, [(log, 0), (log, 10**6), ("0" * 32, 0)])) == 1


AT = "2026-11-24T10:00:00.000000Z"


def test_a_receipt_costs_as_little_in_a_long_journal(gateways, caplog):
    filed(gateways)
    log = journal.head().log

    def asked(size):
        start = journal.head().size
        headers = [b"%d" % number for number in range(start, size)]
        rows = [
            (log, number, f"{number:064x}", record.record_hash(header).hex(), "journal.read", AT, header)
            for number, header in enumerate(headers, start)
        ]
        with models.write():
            for at in range(0, len(rows), 1000):
                JournalRecord.insert_many(rows[at : at + 1000]).execute()
            JournalLog.update(size=size, head=rows[-1][3]).execute()
        checkpoints.publish(gateways)
        with caplog.at_level(logging.DEBUG, "peewee"):
            caplog.clear()
            assert receipts.of(gateways, [(log, 3)])
            return len(caplog.records)

    short, long = asked(1_000), asked(20_000)
    # The first checkpoint that covers the record stays the one it is proven under.
    assert long <= short
    with models.write():
        unguard("journal_checkpoint")
        checkpoints.JournalCheckpoint.delete().where(checkpoints.JournalCheckpoint.size < 20_000).execute()
    with caplog.at_level(logging.DEBUG, "peewee"):
        caplog.clear()
        assert receipts.of(gateways, [(log, 3)])
        assert len(caplog.records) <= short + 10


def test_a_file_that_comes_back_is_told_as_it_is(gateways):
    deposit = filed(gateways)
    made = attestations.of_deposit(gateways, deposit, by=journal.OPERATOR)
    data = next(iter(attached.receipts(made).values()))
    before = make.everything()

    assert authenticity.examine(gateways, made).state is State.VALID
    assert authenticity.examine(gateways, made + b"\n").state is State.ALTERED
    assert authenticity.examine(gateways, data).state is State.VALID
    assert authenticity.examine(gateways, data.replace(b"document.deposited", b"document.deposidet")).state is (
        State.ALTERED
    )
    for garbage in (b" ", b"{}", b"x" * 100, b"[" * 10_000, b"\xff"):
        with pytest.raises(authenticity.NotAReceipt):
            authenticity.examine(gateways, garbage)
    assert make.everything() == before


def test_no_bit_of_a_receipt_can_change_unseen(gateways):
    deposit = filed(gateways)
    made = attestations.of_deposit(gateways, deposit, by=journal.OPERATOR)
    data = next(iter(attached.receipts(made).values()))
    whole, said = receipt.parse(data), set()
    for place in range(0, len(data) * 8, 7):
        changed = bytearray(data)
        changed[place // 8] ^= 1 << place % 8
        try:
            found = authenticity.examine(gateways, bytes(changed))
        except authenticity.NotAReceipt:
            continue
        said.add(found.state)
        assert found.state is not State.VALID or receipt.parse(bytes(changed)) == whole, place
    assert State.ALTERED in said


def test_what_is_of_another_service_is_unknown(gateways):
    deposit = filed(gateways)
    made = attestations.of_deposit(gateways, deposit, by=journal.OPERATOR)
    data = next(iter(attached.receipts(made).values()))
    log = journal.head().log
    assert authenticity.examine(gateways, data.replace(log.encode(), b"0" * 32)).state is State.UNKNOWN

    of_theirs = carrying(data.replace(log.encode(), b"0" * 32), b"{}", b"[]")
    assert authenticity.examine(gateways, of_theirs) == authenticity.Examined(State.UNKNOWN, None, [])


def carrying(*files, encryption=False):
    """Return a PDF of one empty page, saved by another program, with these files attached."""
    out = io.BytesIO()
    with pikepdf.new() as made:
        made.add_blank_page()
        for number, data in enumerate(files):
            made.attachments[f"{number}.json"] = pikepdf.AttachedFileSpec(made, data)
        made.save(out, encryption=encryption)
    return out.getvalue()


def test_an_attestation_saved_again_is_altered_and_the_receipts_inside_still_prove(gateways):
    made = attestations.of_deposit(gateways, filed(gateways), by=journal.OPERATOR)
    out = io.BytesIO()
    with pikepdf.open(io.BytesIO(made)) as again:
        again.save(out)
    before = make.everything()
    found = authenticity.examine(gateways, out.getvalue())

    assert (found.state, found.issued, found.changed) == (State.ALTERED, None, True)
    assert [one.entry.operation for one in found.receipts] == ["document.deposited"] * 2 + ["deposit.filed"]
    assert {one.state for one in found.receipts} == {State.VALID}
    assert make.everything() == before


def test_only_the_authentic_receipts_of_a_changed_pdf_are_shown_each_once(gateways):
    made = attestations.of_deposit(gateways, filed(gateways), by=journal.OPERATOR)
    ours, other, _ = attached.receipts(made).values()
    forged = other.replace(b"document.deposited", b"document.deposidet")

    found = authenticity.examine(gateways, carrying(b"{}", forged, ours, ours, b"\xff"))
    assert (found.state, len(found.receipts)) == (State.ALTERED, 1)
    assert found.receipts[0].hash == authenticity.examine(gateways, ours).receipts[0].hash
    assert authenticity.examine(gateways, carrying(forged)).state is State.UNKNOWN


def test_a_hostile_pdf_is_unknown_and_stops_nobody(gateways):
    made = attestations.of_deposit(gateways, filed(gateways), by=journal.OPERATOR)
    ours = next(iter(attached.receipts(made).values()))
    locked = pikepdf.Encryption(owner="o", user="u", R=6)
    for hostile in (
        b"%PDF-1.7", b"%PDF-1.7\n" + os.urandom(1 << 16), made[: len(made) // 2], carrying(ours, encryption=locked),
        carrying(b"{" + b" " * (1 << 30)), carrying(b"[" * 10_000, b"{" * 100_000), carrying(*[b"{}"] * 700),
    ):  # fmt: skip
        assert authenticity.examine(gateways, hostile) == authenticity.Examined(State.UNKNOWN, None, [])
    assert authenticity.examine(gateways, carrying(ours)).state is State.ALTERED


def test_the_program_verifies_the_attestation_offline(gateways, tmp_path):
    made = attestations.of_deposit(gateways, filed(gateways), by=journal.OPERATOR)
    (tmp_path / "attestation.pdf").write_bytes(made)
    given = ["--receipt", str(tmp_path / "attestation.pdf"), "--vkey", checkpoints.vkey(gateways)]
    program = [sys.executable, "-m", "mespieces.verifier", *given]
    done = subprocess.run(program, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr + done.stdout


def test_a_recipients_records_are_looked_up_not_searched_for(gateways, caplog):
    if not models.is_sqlite():
        return  # the keys are the same
    session = read(gateways, make.first(filed(gateways)), 1)
    openings = opened.of(session.access.recipient)
    with caplog.at_level(logging.DEBUG, "peewee"):
        caplog.clear()
        assert len(receipts.of_openings(openings)) == 1
        asked = [record.msg for record in caplog.records]

    assert receipts.of_openings([]) == []
    plans = [
        step[-1]
        for sql, values in asked
        for step in models.database.execute_sql(f"EXPLAIN QUERY PLAN {sql}", values).fetchall()
    ]
    assert plans
    assert [step for step in plans if step.startswith("SCAN")] == []
