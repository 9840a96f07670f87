"""Six months after the end: references and secrets go, and who types them is told as any stranger."""

from datetime import timedelta

import make
import pytest
from dateutil.relativedelta import relativedelta

from mespieces.domain import clockwork, codes, deposits, identification, journal, offers, purges, retention, withdrawals
from mespieces.models import Access, CodeKey, Deposit, Document, Message, SignIn


def move(gateways, to):
    """Let time pass, the operator confirming the date."""
    gateways.clock.advance(to - gateways.clock.now())
    clockwork.confirm(gateways.clock.now())


@pytest.fixture
def deposit(gateways):
    return make.filed(gateways, blanks=1)


@pytest.fixture
def held(gateways, deposit):
    return make.issued(gateways, make.first(deposit))


def ends(gateways, deposit, how):
    if how == "ended":
        move(gateways, deposit.expires_at)
        retention.expire(gateways)
        return deposit.expires_at
    withdrawals.withdraw(gateways, deposit.id, "Erreur", by=journal.OPERATOR, member=None)
    return Deposit.get_by_id(deposit.id).withdrawn_at


@pytest.mark.parametrize("how", ["ended", "withdrawn"])
def test_who_proves_the_secret_is_told_it_is_over_for_six_months_and_is_a_stranger_from_then(
    gateways, deposit, held, how
):
    access, secret = held
    end = ends(gateways, deposit, how)
    reference = codes.show(access.reference)

    move(gateways, end + relativedelta(months=6) - timedelta(seconds=1))
    assert retention.forget(gateways) == 0
    with pytest.raises(deposits.AvailabilityOver if how == "ended" else deposits.DepositWithdrawn):
        identification.begin(gateways, reference, secret, make.TRACE)

    move(gateways, end + relativedelta(months=6))
    assert retention.forget(gateways) == 1
    told = identification.begin(gateways, reference, secret, make.TRACE)
    stranger = identification.begin(gateways, codes.draw_reference(), secret, make.TRACE)
    assert isinstance(told, identification.Wrong)
    assert str(told) == str(stranger)


def test_nothing_of_the_reference_or_the_secret_stays(gateways, deposit, held):
    access, _ = held
    end = ends(gateways, deposit, "ended")
    move(gateways, end + relativedelta(months=6))
    retention.forget(gateways)

    row = Access.get()
    assert (row.reference, row.secret_hash) == (None, None)
    assert (CodeKey.select().count(), SignIn.select().count()) == (0, 0)
    assert access.reference not in make.everything()
    assert journal.story(deposit)[0].operation == "deposit.forgotten"


def test_it_is_done_once_and_waits_while_a_jump_of_the_clock_is_not_confirmed(gateways, deposit, held):
    end = ends(gateways, deposit, "ended")
    gateways.clock.advance(end + relativedelta(months=7) - gateways.clock.now())

    assert retention.forget(gateways) == 0
    clockwork.confirm(gateways.clock.now())
    assert retention.forget(gateways) == 1
    assert retention.forget(gateways) == 0
    assert make.count("deposit.forgotten") == 1


def forgotten(gateways, deposit, end):
    """Let six months pass after the end, and the worker do what it does."""
    move(gateways, end + relativedelta(months=7) - purges.TOLD)
    offers.tell(gateways)
    move(gateways, end + relativedelta(months=7))
    assert retention.forget(gateways) == 1
    purges.run(gateways)


@pytest.mark.parametrize("how", ["ended", "withdrawn"])
def test_once_the_journal_has_forgotten_too_nobody_is_named_in_any_table(gateways, deposit, how):
    someone = make.first(deposit)
    make.identified(gateways, someone, "email")
    clerk, motive = make.member(gateways, deposit.office), "Courriel de M. Payet perdu"
    make.ways.reset(gateways, someone, "autre@example.fr", motive, by=clerk, trace=make.TRACE)
    named = [deposit.creditor, deposit.order_number, someone.name, "payet@example.fr", "autre@example.fr", "M. Payet"]
    for name in named:
        assert name in make.everything(), name
    end = ends(gateways, deposit, how)
    if how == "withdrawn":  # the documents are kept until their own end
        move(gateways, deposit.expires_at)
        retention.expire(gateways)
        end = deposit.expires_at
    forgotten(gateways, deposit, end)

    assert retention.erase(gateways) == 1
    kept = make.everything()
    for name in (*named, "Erreur"):
        assert name not in kept, name
    assert Message.select().where(Message.recipient == someone).count() == 0
    assert Deposit.get().office_reference in kept
    assert retention.erase(gateways) == 0


def test_names_stay_while_a_document_or_the_journal_does(gateways, deposit):
    end = ends(gateways, deposit, "ended")
    move(gateways, end + relativedelta(months=6))
    retention.forget(gateways)
    Deposit.update(purged_at=None).execute()
    assert retention.erase(gateways) == 0

    Deposit.update(purged_at=end).execute()
    Document.update(deleted_at=None).execute()
    assert retention.erase(gateways) == 0
    Document.update(deleted_at=end).execute()
    gateways.clock.advance(timedelta(days=3))
    assert retention.erase(gateways) == 0  # a jump of the clock waits to be confirmed
    clockwork.confirm(gateways.clock.now())
    assert retention.erase(gateways) == 1
