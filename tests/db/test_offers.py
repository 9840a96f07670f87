"""Before the journal forgets a deposit its office is told, once, in time, and nothing goes before that."""

from datetime import timedelta

import make
import pytest
from dateutil.relativedelta import relativedelta

from mespieces.domain import clockwork, journal, notices, offers, outbox, purges, retention
from mespieces.models import Deposit, Document, JournalPayload, Message, Office


def move(gateways, to):
    """Let time pass, the operator confirming the date."""
    gateways.clock.advance(to - gateways.clock.now())
    clockwork.confirm(gateways.clock.now())


def ended(gateways, *of, **typed):
    deposit = make.filed(gateways, *of, blanks=1, **typed)
    move(gateways, deposit.expires_at)
    retention.expire(gateways)
    return Deposit.get_by_id(deposit.id)


def fresh(deposit):
    return Deposit.get_by_id(deposit.id)


def known(deposit):
    held = (JournalPayload.deposit == deposit.id) & (JournalPayload.group == "proof")
    return JournalPayload.select().where(held, JournalPayload.body.is_null(False)).count()


def mails(gateways):
    outbox.drain(gateways, notices.compose)
    return [one for one in gateways.mail.sent if "journal" in one["Subject"]]


def test_the_office_is_told_once_a_month_before_with_the_date_and_the_address(gateways):
    deposit = ended(gateways)
    due = purges.due_at(gateways, deposit)
    move(gateways, due - relativedelta(months=1) - timedelta(days=2))
    assert offers.tell(gateways) == 0

    move(gateways, due - relativedelta(months=1))
    assert offers.tell(gateways) == 1
    assert offers.waiting(deposit.office) == 1
    [mail] = mails(gateways)
    assert mail["To"] == deposit.office.email
    text = mail.get_content()
    assert f"https://pieces.example.fr/etude/depots/{deposit.id}#preuves" in text
    assert "NTE-4821 (Au bon moulin), jusqu’au 25\xa0août\xa02028" in text
    assert "dossier de preuve" in text
    assert "le journal ne gardera que le numéro, la date, le genre et l’empreinte" in " ".join(text.split())

    for _ in range(3):
        gateways.clock.advance(timedelta(hours=23))
        assert offers.tell(gateways) == 0
    assert len(mails(gateways)) == 1


def test_a_dossier_drawn_before_the_end_or_before_the_last_deletion_is_still_wanted(gateways):
    deposit = ended(gateways)
    move(gateways, purges.due_at(gateways, deposit) - timedelta(days=20))
    offers.tell(gateways)
    second = timedelta(seconds=1)
    last = max(deposit.documents.get().deleted_at, deposit.ended_at)
    for drawn, enough in ((deposit.ended_at - second, False), (last, True)):
        Deposit.update(dossier_at=drawn).execute()
        assert (offers.waiting(deposit.office), offers.wanting([deposit.id])) == (
            (0, set()) if enough else (1, {deposit.id})
        )
    Document.update(deleted_at=last + second).execute()
    assert offers.wanting([deposit.id]) == {deposit.id}
    Document.update(deleted_at=None).execute()
    assert offers.wanting([deposit.id]) == {deposit.id}


def test_nothing_is_purged_before_the_office_had_a_fortnight(gateways):
    deposit = ended(gateways)
    move(gateways, purges.due_at(gateways, deposit) + timedelta(days=40))  # nobody worked meanwhile
    purges.run(gateways)
    assert known(deposit)
    assert purges.forgets_at(gateways, deposit) is None

    offers.tell(gateways)
    told = fresh(deposit).purge_told_at
    assert purges.forgets_at(gateways, fresh(deposit)) == told + purges.TOLD
    move(gateways, told + purges.TOLD - timedelta(seconds=1))
    purges.run(gateways)
    assert known(deposit)

    move(gateways, told + purges.TOLD)
    purges.run(gateways)
    assert not known(deposit)
    assert offers.waiting(deposit.office) == 0
    assert purges.forgets_at(gateways, fresh(deposit)) is None


def test_several_deposits_of_a_day_come_in_one_mail_to_each_office(gateways):
    office, other = make.office(gateways), make.office(gateways, "Étude voisine", email="voisine@example.fr")
    mine = [make.filed(gateways, office, blanks=1, office_reference=f"NTE-{number}") for number in range(3)]
    theirs = make.filed(gateways, other, blanks=1, office_reference="AUTRE-1")
    move(gateways, mine[0].expires_at)
    retention.expire(gateways)
    move(gateways, purges.due_at(gateways, fresh(mine[0])) - relativedelta(months=1))

    assert offers.tell(gateways) == 2
    told = {one["To"]: one for one in mails(gateways)}
    assert set(told) == {office.email, other.email}
    assert told[office.email]["Subject"].startswith("3 dépôts")
    text = told[office.email].get_content()
    assert all(str(one.id) in text for one in mine)
    assert str(theirs.id) not in text
    assert told[other.email]["Subject"].startswith("Un dépôt")


def test_what_becomes_due_later_in_the_day_waits_for_the_next_mail(gateways):
    first = ended(gateways, make.office(gateways))
    move(gateways, purges.due_at(gateways, first))
    assert offers.tell(gateways) == 1
    late = make.filed(gateways, first.office, blanks=1)
    long_ago = first.expires_at - relativedelta(months=2)
    Deposit.update(ended_at=long_ago, expires_at=long_ago, filed_at=first.filed_at).where(
        Deposit.id == late.id
    ).execute()

    assert offers.tell(gateways) == 0
    gateways.clock.advance(timedelta(hours=21))
    assert offers.tell(gateways) == 1
    assert fresh(late).purge_told_at


def test_a_very_long_list_is_cut_and_counted(gateways, monkeypatch):
    monkeypatch.setattr(offers, "LISTED", 2)
    office = make.office(gateways)
    deposits = [make.filed(gateways, office, blanks=1) for _ in range(4)]
    move(gateways, deposits[0].expires_at)
    retention.expire(gateways)
    move(gateways, purges.due_at(gateways, fresh(deposits[0])))
    offers.tell(gateways)

    [mail] = mails(gateways)
    assert mail.get_content().count("#preuves") == 2
    assert "Et 2\u00a0autres" in mail.get_content()
    assert "/etude/depots?etat=forgotten" in mail.get_content()


def test_two_workers_tell_once(gateways):
    deposit = ended(gateways)
    move(gateways, purges.due_at(gateways, deposit))
    make.threads(3, lambda: offers.tell(gateways))

    assert Message.select().where(Message.kind == "dossier_offer").count() == 1


def test_nobody_is_told_while_a_jump_of_the_clock_waits_nor_of_what_is_still_kept(gateways):
    deposit = ended(gateways)
    kept = make.filed(gateways, Office.get(), blanks=1)
    gateways.clock.advance(timedelta(days=500))
    assert offers.tell(gateways) == 0

    clockwork.confirm(gateways.clock.now())
    assert offers.tell(gateways) == 1
    assert fresh(deposit).purge_told_at
    assert fresh(kept).purge_told_at is None


def test_a_mail_whose_deposits_are_forgotten_does_not_leave(gateways):
    deposit = ended(gateways)
    move(gateways, purges.due_at(gateways, deposit))
    offers.tell(gateways)
    Deposit.update(purged_at=gateways.clock.now()).execute()

    assert mails(gateways) == []
    assert Message.get(Message.kind == "dossier_offer").reason == "sans objet"


@pytest.mark.parametrize("months", [0])
def test_without_any_delay_the_office_still_has_its_fortnight(gateways, months):
    deposit = ended(gateways)
    at_once = make.dataclasses.replace(gateways.settings, purge_months=months)
    gateways = make.dataclasses.replace(gateways, settings=at_once)
    move(gateways, purges.due_at(gateways, deposit))
    purges.run(gateways)
    assert known(deposit)
    offers.tell(gateways)
    move(gateways, gateways.clock.now() + purges.TOLD)
    assert purges.run(gateways)
    assert not known(deposit)
    assert "journal.purged" in make.operations()
    assert journal.head().size
