"""Deposits: a draft is filed once, then only consulted."""

from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import make
import pytest

from mespieces.domain import deposits, journal, significations, text
from mespieces.errors import Invalid
from mespieces.models import Access, Deposit

BY = journal.OPERATOR


def test_a_case_names_the_field_that_cannot_be_taken():
    for field, typed in [
        ("creditor", " "),
        ("court", "x" * 201),
        ("order_number", ""),
        ("order_date", "31/02/2026"),
        ("order_date", "25/11/2026"),
        ("order_date", ""),
        ("office_reference", "x" * 61),
    ]:
        with pytest.raises(Invalid) as refused:
            deposits.read_case(make.CASE | {field: typed}, today=date(2026, 11, 24))
        assert refused.value.field == field


def test_a_draft_is_opened_corrected_and_journaled(gateways):
    deposit = make.draft(gateways, creditor="Au bon  moulin ")

    corrected = deposits.change(
        deposit.id, deposits.read_case(make.CASE | {"court": "TJ Rennes"}, today=make.NOW.date())
    )

    assert (corrected.creditor, corrected.court) == ("Au bon moulin", "TJ Rennes")
    assert deposits.state(corrected, make.NOW) == deposits.State.DRAFT
    assert make.operations(deposit.id) == ["deposit.created"]


def test_filing_gives_eighteen_months_and_one_reference_to_each_recipient(gateways):
    deposit = make.filed(gateways, documents=2, recipients=("Alexandre Payet", "Jeanne Payet"))

    assert deposit.filed_at == make.NOW
    assert Deposit.get_by_id(deposit.id).expires_at == datetime(2028, 5, 24, 22, tzinfo=UTC)
    assert len({access.reference for access in Access.select()}) == 2
    assert make.operations(deposit.id) == [
        "deposit.created", "document.deposited", "document.deposited",
        "recipient.added", "recipient.added", "deposit.filed",
    ]  # fmt: skip
    told = journal.story(deposit)[0]
    assert (told.operation, told.sequence) == ("deposit.filed", deposit.filed_sequence)
    assert [listed["number"] for listed in told.body["detail"]["documents"]] == [1, 2]


def test_a_deposit_is_filed_with_documents_and_for_somebody(gateways):
    deposit = make.draft(gateways)
    with pytest.raises(deposits.DepositEmpty):
        deposits.file(gateways, deposit.id, by=BY)
    make.blank(deposit, 1)
    with pytest.raises(deposits.DepositForNobody):
        deposits.file(gateways, deposit.id, by=BY)

    assert Deposit.get_by_id(deposit.id).filed_at is None
    assert Access.select().count() == 0


def test_a_deposit_that_does_not_exist_is_not_filed(gateways):
    with pytest.raises(deposits.DepositMissing):
        deposits.file(gateways, uuid4(), by=BY)


def test_filing_twice_files_once(gateways):
    deposit = make.filed(gateways, blanks=1)
    gateways.clock.advance(timedelta(minutes=1))

    again = deposits.file(gateways, deposit.id, by=BY)

    assert again.filed_at == make.NOW
    assert make.count("deposit.filed") == 1
    assert Access.select().count() == 1


def test_two_processes_filing_at_once_file_once(gateways):
    deposit = make.draft(gateways)
    make.blank(deposit, 1)
    make.recipient(gateways, deposit)

    printed = make.processes(
        gateways,
        2,
        "from uuid import UUID\nprint(deposits.file(gateways, UUID(arguments[0]), by=journal.OPERATOR).filed_sequence)",
        str(deposit.id),
    )

    assert len(set(printed)) == 1
    assert make.count("deposit.filed") == 1
    assert make.count("recipient.added") == 1


def test_a_filed_deposit_is_no_longer_corrected(gateways):
    deposit = make.filed(gateways, blanks=1)

    with pytest.raises(deposits.DepositFiled, match="NTE-4821"):
        deposits.change(deposit.id, deposits.read_case(make.CASE, today=make.NOW.date()))


def test_an_office_does_not_find_another_offices_deposit(gateways):
    deposit = make.draft(gateways)
    other = make.office(gateways, name="SELARL Kerjean")

    with pytest.raises(deposits.DepositMissing):
        deposits.find(other, deposit.id)
    assert deposits.find(deposit.office, deposit.id) == deposit


def test_the_date_alone_ends_a_deposit(gateways):
    deposit = make.filed(gateways, blanks=1)
    last = deposit.expires_at - timedelta(microseconds=1)

    assert deposits.check(deposit, last) is deposit
    assert deposits.state(deposit, last) == deposits.State.FILED
    assert deposits.state(deposit, deposit.expires_at) == deposits.State.ENDED
    with pytest.raises(deposits.AvailabilityOver):
        deposits.check(deposit, deposit.expires_at)


def test_what_is_not_filed_or_has_no_known_end_is_not_read(gateways):
    deposit = make.draft(gateways)
    with pytest.raises(deposits.AvailabilityOver):
        deposits.check(deposit, make.NOW)
    deposit.filed_at = make.NOW
    with pytest.raises(deposits.AvailabilityOver):
        deposits.check(deposit, make.NOW)


def test_a_withdrawn_deposit_is_not_read(gateways):
    deposit = make.filed(gateways, blanks=1)
    deposit.withdrawn_at, deposit.withdrawn_because = make.NOW, "Erreur"
    deposit.save()

    with pytest.raises(deposits.DepositWithdrawn):
        deposits.check(Deposit.get_by_id(deposit.id), make.NOW)


def test_the_order_that_lapses_is_told_until_everybody_was_served(gateways):
    deposit = make.filed(gateways, blanks=1)
    assert deposits.warning(deposit, make.NOW) == date(2027, 2, 4)

    significations.record(gateways, make.first(deposit).id, {"signified_on": "2026-11-20"}, by=BY)
    assert deposits.warning(deposit, make.NOW) is None


def test_a_date_left_out_is_asked_for():
    with pytest.raises(text.Needed):
        deposits.read_case({**make.CASE, "order_date": ""}, today=date(2026, 11, 24))
