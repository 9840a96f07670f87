"""Recipients, and when the act was served on them."""

from datetime import UTC, date, datetime, timedelta

import make
import pytest

from mespieces.domain import deposits, journal, recipients, significations
from mespieces.errors import Invalid
from mespieces.models import Access, Deposit, Recipient, Signification

BY = journal.OPERATOR


def served(gateways, recipient, day, **typed):
    return significations.record(gateways, recipient.id, {"signified_on": day, **typed}, by=BY)


def ends(deposit):
    return Deposit.get_by_id(deposit.id).expires_at


# Recipients


def test_a_company_has_its_representative_and_a_typing_error_its_field():
    company = recipients.read(
        {"kind": "company", "name": "Ma  boutique", "representative": "Jean", "address": "1 rue\r\n  X"}
    )

    assert (company.kind, company.name, company.address) == ("company", "Ma boutique", "1 rue\nX")
    for field, value in [("name", ""), ("email", "payet@"), ("address", "x" * 601)]:
        with pytest.raises(Invalid) as refused:
            recipients.read({"name": "Payet", field: value})
        assert refused.value.field == field


def test_a_recipient_of_a_draft_has_no_access_yet_and_can_be_taken_out(gateways):
    deposit = make.draft(gateways)
    recipient = make.recipient(gateways, deposit)

    assert Access.select().count() == 0
    recipients.remove(deposit.id, recipient.id)
    with pytest.raises(recipients.RecipientMissing):
        recipients.find(deposit, recipient.id)


def test_an_heir_is_added_to_a_filed_deposit_with_their_own_access(gateways):
    deposit = make.filed(gateways, blanks=1)
    heir = make.recipient(gateways, deposit, "Héritière Payet")

    assert Access.select().where(Access.recipient == heir).count() == 1
    assert make.operations(deposit.id)[-1] == "recipient.added"
    with pytest.raises(deposits.DepositFiled):
        recipients.remove(deposit.id, heir.id)


def test_a_deposit_that_ended_takes_no_more_recipients(gateways):
    deposit = make.filed(gateways, blanks=1)
    Deposit.update(ended_at=make.NOW).execute()

    with pytest.raises(deposits.DepositMissing):
        make.recipient(gateways, deposit)


def test_a_recipient_is_not_found_through_another_deposit(gateways):
    deposit = make.draft(gateways)
    recipient = make.recipient(gateways, deposit)

    with pytest.raises(recipients.RecipientMissing):
        recipients.find(make.draft(gateways, deposit.office), recipient.id)


def test_a_deposit_takes_five_hundred_recipients(gateways):
    deposit = make.draft(gateways)
    Recipient.insert_many(
        [{"deposit": deposit, "name": f"Payet {n}", "added_at": make.NOW} for n in range(recipients.MOST)]
    ).execute()

    with pytest.raises(recipients.TooManyRecipients):
        make.recipient(gateways, deposit)


# Corrections


def corrected(gateways, recipient, **typed):
    return recipients.correct(gateways, recipient.id, {"kind": "person", "motive": "Faute de frappe", **typed}, by=BY)


def test_a_name_is_corrected_after_filing_with_its_motive_and_earlier_records_keep_the_old_one(gateways):
    deposit = make.filed(gateways, blanks=1)
    recipient = make.first(deposit)

    assert corrected(
        gateways, recipient, kind="company", name=" Payet  et fils", representative="A. Payet", address="1 rue\r\nX"
    )

    row, told = Recipient.get(), journal.story(deposit)[0]
    assert (row.kind, row.name, row.representative, row.address) == ("company", "Payet et fils", "A. Payet", "1 rue\nX")
    assert told.operation == "recipient.corrected"
    assert told.body["object"] == {
        "deposit": str(deposit.id), "recipient": str(recipient.id), "office": str(deposit.office_id),
    }  # fmt: skip
    assert told.body["detail"] == {
        "from": {"kind": "person", "name": "Alexandre Payet", "representative": "", "address": ""},
        "to": {"kind": "company", "name": "Payet et fils", "representative": "A. Payet", "address": "1 rue\nX"},
        "motive": "Faute de frappe",
    }
    added = next(entry for entry in journal.story(deposit) if entry.operation == "recipient.added")
    assert added.body["detail"]["name"] == "Alexandre Payet"


def test_a_correction_that_corrects_nothing_is_not_recorded(gateways):
    recipient = make.first(make.filed(gateways, blanks=1))

    assert not corrected(gateways, recipient, name="Alexandre  Payet ")
    assert make.count("recipient.corrected") == 0


def test_a_correction_leaves_the_mail_and_the_way_to_receive_codes_alone(gateways):
    deposit = make.filed(gateways)
    make.identified(gateways, make.first(deposit))

    corrected(gateways, make.first(deposit), name="Alexandre Petit", email="autre@example.fr")

    row = Recipient.get()
    assert (row.name, row.email, row.way) == ("Alexandre Petit", "payet@example.fr", "email")


@pytest.mark.parametrize(
    ("field", "typed"),
    [
        ("motive", {"motive": " "}),
        ("motive", {"motive": "x" * 401}),
        ("name", {"name": ""}),
        ("representative", {"representative": "x" * 201}),
        ("address", {"address": "x" * 601}),
    ],
)
def test_a_correction_names_the_field_that_cannot_be_taken(gateways, field, typed):
    recipient = make.first(make.filed(gateways, blanks=1))

    with pytest.raises(Invalid) as refused:
        corrected(gateways, recipient, **{"name": "Alexandre Petit", **typed})

    assert refused.value.field == field
    assert Recipient.get().name == "Alexandre Payet"


def test_names_are_corrected_neither_in_a_draft_nor_after_the_end(gateways):
    deposit = make.filed(gateways, blanks=1)
    with pytest.raises(deposits.StillDraft):
        corrected(gateways, make.recipient(gateways, make.draft(gateways, deposit.office)), name="X")
    gateways.clock.advance(ends(deposit) - gateways.clock.now())
    with pytest.raises(deposits.AlreadyEnded):
        corrected(gateways, make.first(deposit), name="X")
    assert make.count("recipient.corrected") == 0


def test_members_who_correct_at_once_each_record_what_was_really_there(gateways):
    deposit = make.filed(gateways, blanks=1)
    recipient, names = make.first(deposit), [f"Payet {number}" for number in range(6)]

    assert make.threads(6, lambda: corrected(gateways, recipient, name=names.pop())) == [True] * 6

    told = [entry.body["detail"] for entry in journal.story(deposit) if entry.operation == "recipient.corrected"]
    names = ["Alexandre Payet", *(one["to"]["name"] for one in reversed(told))]
    assert [one["from"]["name"] for one in reversed(told)] == names[:-1]
    assert Recipient.get().name == names[-1]
    assert len(set(names)) == 7


def test_a_correction_that_waited_for_another_records_the_name_that_one_left(gateways):
    deposit = make.filed(gateways, blanks=1)
    recipient = make.first(deposit)

    make.amid(
        gateways,
        lambda seen: corrected(seen, recipient, name="Premier"),
        lambda: corrected(gateways, recipient, name="Second"),
        asked=2,  # the first name is written, not committed yet
    )

    told = journal.story(deposit)[0].body["detail"]
    assert (told["from"]["name"], told["to"]["name"], Recipient.get().name) == ("Premier", "Second", "Second")


# Significations


@pytest.mark.parametrize(
    ("filed_on", "served_on", "territory", "last"),
    [
        ("2026-08-31", None, "", "2028-02-29"),
        ("2026-08-31", "2026-11-20", "", "2028-02-29"),
        ("2025-07-29", "2027-01-29", "", "2027-03-01"),
        ("2025-06-25", "2026-11-25", "", "2026-12-28"),
        ("2025-10-01", "2027-04-01", "", "2027-05-03"),
        ("2025-09-26", "2027-02-26", "", "2027-03-26"),
        ("2025-09-26", "2027-02-26", "alsace-moselle", "2027-03-30"),
    ],
)
def test_documents_stay_eighteen_months_and_a_month_after_the_signification(
    gateways, filed_on, served_on, territory, last
):
    gateways.clock.advance(datetime.fromisoformat(f"{filed_on}T10:00:00Z") - gateways.clock.now())
    deposit = make.filed(gateways, make.office(gateways, territory=territory), blanks=1, order_date="2025-06-01")
    if served_on:
        gateways.clock.advance(datetime.fromisoformat(f"{served_on}T12:00:00Z") - gateways.clock.now())
        served(gateways, make.first(deposit), served_on)

    expected = date.fromisoformat(last)
    assert (ends(deposit) - timedelta(seconds=1)).astimezone(deposits.calendar.PARIS).date() == expected
    assert (ends(deposit)).astimezone(deposits.calendar.PARIS).date() == expected + timedelta(days=1)


def test_a_signification_is_journaled_and_its_correction_too(gateways):
    deposit = make.filed(gateways, blanks=1)
    recipient = make.first(deposit)

    served(gateways, recipient, "20/11/2026", manner="personne")
    served(gateways, recipient, "19/11/2026", manner="etude")

    assert make.operations(deposit.id)[-2:] == ["signification.recorded", "signification.corrected"]
    assert significations.latest(deposit)[recipient.id].signified_on == date(2026, 11, 19)
    assert Signification.select().count() == 2


def test_a_signification_corrected_to_earlier_takes_nothing_back(gateways):
    deposit = make.filed(gateways, blanks=1)
    gateways.clock.advance(timedelta(days=540))
    served(gateways, make.first(deposit), "2028-05-10")
    promised = ends(deposit)
    assert promised == datetime(2028, 6, 12, 22, tzinfo=UTC)

    served(gateways, make.first(deposit), "2026-11-25")
    assert ends(deposit) == promised


def test_the_latest_signification_of_any_recipient_keeps_the_documents(gateways):
    deposit = make.filed(gateways, blanks=1, recipients=("Alexandre Payet", "Jeanne Payet"))
    one, other = deposit.recipients
    gateways.clock.advance(timedelta(days=545))
    served(gateways, one, "2028-05-20")
    kept = ends(deposit)
    served(gateways, other, "2027-01-10")

    assert ends(deposit) == kept == datetime(2028, 6, 20, 22, tzinfo=UTC)


def test_an_act_is_not_served_tomorrow_nor_before_filing_nor_in_an_invented_manner(gateways):
    deposit = make.filed(gateways, blanks=1)
    recipient = make.first(deposit)

    with pytest.raises(significations.SignifiedInFuture):
        served(gateways, recipient, "2026-11-25")
    for typed in (
        {"signified_on": ""},
        {"signified_on": "31/02/2026"},
        {"signified_on": "2026-11-24", "manner": "sms"},
    ):
        with pytest.raises(Invalid):
            significations.record(gateways, recipient.id, typed, by=BY)
    draft = make.draft(gateways, deposit.office)
    with pytest.raises(deposits.DepositMissing):
        served(gateways, make.recipient(gateways, draft), "2026-11-24")
    assert Signification.select().count() == 0


def test_today_is_the_offices_own_day(gateways):
    deposit = make.filed(gateways, make.office(gateways, time_zone="Pacific/Noumea"), blanks=1)
    gateways.clock.advance(timedelta(hours=4))  # already the 25th there

    assert served(gateways, make.first(deposit), "2026-11-25").signified_on == date(2026, 11, 25)
