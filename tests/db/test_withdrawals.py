"""Withdrawals and replacements: from one instant nobody reads, those who had access are told, and one deposit follows."""

import threading
from datetime import timedelta

import make
import pytest

from mespieces import models
from mespieces.domain import (
    accesses,
    announcements,
    clockwork,
    codes,
    consultations,
    deposits,
    documents,
    drafts,
    identification,
    journal,
    notices,
    one_time_codes,
    outbox,
    recipients,
    replacements,
    retention,
    sessions,
    sign_ins,
    significations,
    text,
    verifications,
    ways,
    withdrawals,
)
from mespieces.errors import Refusal
from mespieces.models import Consultation, Delivery, Deposit, Document, Message, Recipient, SignIn

BY = journal.OPERATOR
MOTIVE = "Facture d’un autre dossier"


@pytest.fixture
def deposit(gateways):
    return make.filed(gateways)


def withdraw(gateways, deposit, motive=MOTIVE):
    return withdrawals.withdraw(gateways, deposit.id, motive, by=BY)


def session_of(gateways, who):
    """Start a session of a recipient without the time that identification takes."""
    with models.write():
        Recipient.update(way="office", way_set_by="recipient").where(Recipient.id == who.id).execute()
        token = sessions.start(gateways.clock.now(), way="act+office", access=who.accesses.get())
    return sessions.of_recipient(gateways, token)


def last_detail(deposit):
    return journal.story(deposit)[0].body["detail"]


def mails(gateways):
    outbox.drain(gateways, notices.compose)
    return [(mail["To"], mail["Subject"], mail.get_content()) for mail in gateways.mail.sent]


# Withdrawing


def test_a_withdrawal_has_its_motive_its_author_and_its_record(gateways, deposit):
    who = make.member(gateways, deposit.office)

    withdrawals.withdraw(gateways, deposit.id, "  Facture\nd’un autre dossier ", by=journal.member(who), member=who)

    row = Deposit.get()
    assert (row.withdrawn_at, row.withdrawn_by, row.withdrawn_because) == (make.NOW, who, MOTIVE)
    assert deposits.state(row, make.NOW) == deposits.State.WITHDRAWN
    told = journal.story(deposit)[0]
    assert (told.operation, told.body["author"]["name"]) == ("deposit.withdrawn", who.name)
    assert told.body["detail"] == {"draft": False, "motive": MOTIVE, "recipients": 1, "told": 0}
    assert told.body["object"] == {"deposit": str(deposit.id), "office": str(deposit.office_id)}
    assert verifications.verify(gateways).findings == ()


@pytest.mark.parametrize("motive", ["", " \n ", "x" * 401])
def test_a_withdrawal_needs_a_motive_of_at_most_four_hundred_characters(gateways, deposit, motive):
    with pytest.raises((text.Needed, text.TooLong)) as refused:
        withdraw(gateways, deposit, motive)

    assert refused.value.field == "motive"
    assert Deposit.get().withdrawn_at is None
    assert make.count("deposit.withdrawn") == 0
    withdraw(gateways, deposit, "x" * 400)


def test_what_is_not_at_disposal_is_not_withdrawn_and_the_refusal_names_the_state(gateways, deposit):
    draft = make.draft(gateways, deposit.office)
    with pytest.raises(deposits.StillDraft, match="brouillon"):
        withdraw(gateways, draft)
    withdraw(gateways, deposit)
    gateways.clock.advance(timedelta(minutes=1))
    with pytest.raises(deposits.AlreadyWithdrawn, match="déjà retiré"):
        withdraw(gateways, deposit, "Encore")
    ended = make.filed(gateways, deposit.office, blanks=1)
    gateways.clock.advance(ended.expires_at - gateways.clock.now())  # by its date alone: no worker has run
    with pytest.raises(deposits.AlreadyEnded, match="terminée"):
        withdraw(gateways, ended)

    assert (Deposit.get_by_id(deposit.id).withdrawn_at, make.count("deposit.withdrawn")) == (make.NOW, 1)
    assert Deposit.get_by_id(deposit.id).withdrawn_because == MOTIVE


def test_members_who_withdraw_at_once_withdraw_once(gateways, deposit):
    results = make.threads(4, lambda: withdraw(gateways, deposit))

    assert sorted(type(result).__name__ for result in results) == ["AlreadyWithdrawn"] * 3 + ["Deposit"]
    assert make.count("deposit.withdrawn") == 1


def test_processes_that_withdraw_at_once_withdraw_once(gateways):
    deposit = make.filed(gateways, blanks=1)
    Recipient.update(email="payet@example.fr", email_set_by="office").execute()
    make.issued(gateways, make.first(deposit))

    printed = make.processes(
        gateways,
        3,
        "from uuid import UUID\n"
        "try:\n"
        "    print(withdrawals.withdraw(gateways, UUID(arguments[0]), 'Erreur', by=journal.OPERATOR).withdrawn_because)\n"
        "except deposits.AlreadyWithdrawn:\n"
        "    print('refused')\n",
        str(deposit.id),
    )

    assert sorted(printed) == ["Erreur", "refused", "refused"]
    assert (make.count("deposit.withdrawn"), Message.select().count()) == (1, 1)


def test_nothing_changes_in_a_withdrawn_deposit(gateways, deposit):
    recipient, who = make.first(deposit), make.member(gateways, deposit.office)
    withdraw(gateways, deposit)
    before = make.operations()

    for change in (
        lambda: make.recipient(gateways, deposit, "Jeanne Payet"),
        lambda: make.issued(gateways, recipient),
        lambda: significations.record(gateways, recipient.id, {"signified_on": "2026-11-20"}, by=BY),
        lambda: recipients.correct(gateways, recipient.id, {"name": "Autre", "motive": "Erreur"}, by=BY),
        lambda: ways.reset(gateways, recipient, "", "Perdu", by=who, trace=make.TRACE),
    ):
        with pytest.raises(deposits.AlreadyWithdrawn):
            change()
    assert make.operations() == before


def test_a_withdrawn_deposit_warns_of_no_order_that_lapses(gateways, deposit):
    assert deposits.warning(deposit, make.NOW) is not None

    assert deposits.warning(withdraw(gateways, deposit), make.NOW) is None


# Reading


def test_from_that_instant_an_open_session_reads_nothing_more(gateways, deposit):
    session = make.identified(gateways, make.first(deposit))
    consultations.open_document(gateways, session, 1, "file", make.TRACE, whole=True).close()
    withdraw(gateways, deposit)
    before = make.operations()

    assert models.Session.get_by_id(session.id).ended_at is None  # so that its owner is told
    for ask in (
        lambda s: consultations.open_document(gateways, s, 1, "file", make.TRACE, whole=True),
        lambda s: consultations.page(gateways, s, 1, 1, make.TRACE),
        lambda s: consultations.words(gateways, s, 1, make.TRACE),
        lambda s: consultations.open_all(gateways, s, make.TRACE),
        lambda s: consultations.check_before_showing(gateways, s, 1, make.TRACE),
    ):
        with pytest.raises(deposits.DepositWithdrawn):
            ask(models.Session.get_by_id(session.id))
    assert make.operations() == before


def test_a_withdrawal_while_a_document_is_being_opened_waits_for_it(gateways, deposit):
    session = session_of(gateways, make.first(deposit))

    reading, withdrawn = make.amid(
        gateways,
        lambda seen: consultations.open_document(seen, session, 1, "file", make.TRACE, whole=True),
        lambda: withdraw(gateways, deposit),
        asked=3,  # the state has been checked, the consultation is not written yet
    )

    assert withdrawn.withdrawn_at == make.NOW
    assert make.operations(deposit.id)[-2:] == ["document.consulted", "deposit.withdrawn"]
    assert b"".join(reading.plaintext.chunks()) == make.pdf()
    consultations.finish(gateways, session, reading, "file", make.TRACE, whole=True, sent=len(make.pdf()))
    assert Delivery.get().outcome == "delivered"


def test_a_document_asked_for_while_the_deposit_is_being_withdrawn_is_refused(gateways, deposit):
    session = session_of(gateways, make.first(deposit))

    _, refused = make.amid(
        gateways,
        lambda seen: withdraw(seen, deposit),
        lambda: consultations.open_document(gateways, session, 1, "file", make.TRACE, whole=True),
        asked=2,  # the withdrawal is written, not committed yet
    )

    assert isinstance(refused, deposits.DepositWithdrawn)
    assert Consultation.select().count() == 0
    assert make.operations(deposit.id)[-1] == "deposit.withdrawn"


def test_every_document_asked_for_at_once_is_opened_whole_or_not_at_all(gateways):
    deposit = make.filed(gateways, documents=3)
    session = session_of(gateways, make.first(deposit))

    readings, _ = make.amid(
        gateways,
        lambda seen: consultations.open_all(seen, session, make.TRACE),
        lambda: withdraw(gateways, deposit),
        asked=5,  # the first of three is written
    )

    assert [reading.document.number for reading in readings] == [1, 2, 3]
    assert make.operations(deposit.id)[-4:] == [*["document.consulted"] * 3, "deposit.withdrawn"]
    for reading in readings:
        reading.close()


def test_every_document_asked_for_during_a_withdrawal_leaves_no_consultation(gateways):
    deposit = make.filed(gateways, documents=3)
    session = session_of(gateways, make.first(deposit))

    _, refused = make.amid(
        gateways,
        lambda seen: withdraw(seen, deposit),
        lambda: consultations.open_all(gateways, session, make.TRACE),
        asked=2,
    )

    assert isinstance(refused, deposits.DepositWithdrawn)
    assert make.count("document.consulted") == Consultation.select().count() == 0


def test_a_document_opened_before_is_refused_when_its_fingerprint_took_until_the_withdrawal(gateways, deposit):
    session = session_of(gateways, make.first(deposit))
    consultations.open_document(gateways, session, 1, "file", make.TRACE, whole=True).close()

    refused, _ = make.amid(
        gateways,
        lambda seen: consultations.open_document(seen, session, 1, "file", make.TRACE, whole=True),
        lambda: withdraw(gateways, deposit),
        asked=1,  # the page was let in; the fingerprint is still to be recomputed
    )

    assert isinstance(refused, deposits.DepositWithdrawn)
    assert make.count("document.consulted") == 1


def test_whoever_reads_while_the_office_changes_everything_gets_a_journaled_document_or_words(gateways):
    deposit = make.filed(gateways, documents=2, recipients=("Alexandre Payet", "Jeanne Payet"))
    one, other = recipients.listed(deposit)
    token, code = make.waiting(gateways, other, "email")
    who = make.member(gateways, deposit.office)

    def read():
        session = session_of(gateways, one)
        reading = consultations.open_document(gateways, session, 1, "file", make.TRACE, whole=True)
        with reading.plaintext:
            assert b"".join(reading.plaintext.chunks()) == make.pdf()
        return reading

    def bundle():
        readings = consultations.open_all(gateways, session_of(gateways, one), make.TRACE)
        for reading in readings:
            reading.close()
        return readings

    tasks = [
        *[read] * 4, *[bundle] * 2, lambda: withdraw(gateways, deposit), lambda: withdraw(gateways, deposit),
        lambda: identification.confirm(gateways, token, code, make.TRACE),
        lambda: ways.reset(gateways, other, "jeanne@example.fr", "Adresse mal saisie", by=who, trace=make.TRACE),
        lambda: recipients.correct(gateways, other.id, {"name": "Jeanne Petit", "motive": "Mariage"}, by=BY),
        lambda: accesses.issue(gateways, one, by=BY, motive="Perdu"),
    ]  # fmt: skip
    lock = threading.Lock()

    def take():
        with lock:
            task = tasks.pop()
        return task()

    results = make.threads(len(tasks), take)

    failed = [result for result in results if isinstance(result, Exception) and not isinstance(result, Refusal)]
    assert failed == []
    happened = make.operations(deposit.id)
    assert happened.count("deposit.withdrawn") == 1
    assert "document.consulted" not in happened[happened.index("deposit.withdrawn") :]
    opened = sum(
        len(result) if isinstance(result, list) else isinstance(result, consultations.Reading) for result in results
    )
    assert happened.count("document.consulted") == Consultation.select().count() == opened
    assert verifications.verify(gateways).findings == ()


# Who proves the secret


def test_the_secret_leads_to_the_words_and_without_it_nothing_is_learned(gateways, deposit):
    access, secret = make.issued(gateways, make.first(deposit))
    withdraw(gateways, deposit)

    with pytest.raises(deposits.DepositWithdrawn) as told:
        identification.begin(gateways, access.reference, secret, make.TRACE)
    assert type(told.value) is deposits.DepositWithdrawn
    wrong = identification.begin(gateways, access.reference, codes.draw_secret(), make.TRACE)
    unknown = identification.begin(gateways, codes.draw_reference(), codes.draw_secret(), make.TRACE)
    assert (type(wrong), str(wrong)) == (type(unknown), str(unknown)) == (identification.Wrong, str(unknown))


def test_an_identification_in_progress_is_told_and_no_code_leaves(gateways, deposit):
    token = make.begun(gateways, make.first(deposit)).token
    ways.choose(gateways, token, "email", "payet@example.fr")
    one_time_codes.send(gateways, token)
    withdraw(gateways, deposit)

    for step in (
        lambda: sign_ins.find(gateways, token),
        lambda: one_time_codes.send(gateways, token, again=True),
        lambda: identification.confirm(gateways, token, "12345678", make.TRACE),
        lambda: ways.choose(gateways, token, "office", ""),
    ):
        with pytest.raises(deposits.DepositWithdrawn):
            step()
    assert mails(gateways) == []
    assert SignIn.get().closed_at == make.NOW
    assert one_time_codes.waited_for(gateways, deposit) == frozenset()


def test_an_identification_that_a_new_sheet_had_ended_is_told_nothing(gateways, deposit):
    token = make.begun(gateways, make.first(deposit)).token
    make.issued(gateways, make.first(deposit))
    gateways.clock.advance(timedelta(seconds=1))
    withdraw(gateways, deposit)

    with pytest.raises(sign_ins.SignInOver):
        sign_ins.find(gateways, token)


# Those who had access


def test_those_who_had_access_and_an_address_are_told_and_the_office_sees_who_is_not(gateways):
    deposit = make.draft(gateways)
    make.document(gateways, deposit, filename="Relance secrète.pdf")
    mailed = make.recipient(gateways, deposit, "Alexandre Payet", email="payet@example.fr")
    make.recipient(gateways, deposit, "Béatrice Roux")
    make.recipient(gateways, deposit, "Chloé Jamais", email="chloe@example.fr")
    deposits.file(gateways, deposit.id, by=BY)
    access, secret = make.issued(gateways, mailed)
    make.issued(gateways, Recipient.get(Recipient.name == "Béatrice Roux"))

    withdraw(gateways, deposit)

    assert last_detail(deposit)["told"] == 1
    ((address, subject, said),) = mails(gateways)
    assert (address, subject) == ("payet@example.fr", "Des documents ont été retirés")
    assert codes.show(access.reference) in said
    assert deposit.office.phone in said
    for never in ("Relance", MOTIVE, secret, deposit.creditor):
        assert never not in said
    told = {
        one.recipient.name: (one.had_access, [mail.kind for mail in one.mails]) for one in announcements.told(deposit)
    }
    assert told == {
        "Alexandre Payet": (True, ["withdrawn"]),
        "Béatrice Roux": (True, []),
        "Chloé Jamais": (False, []),
    }


def test_a_recipient_who_gave_an_address_themselves_is_told_there(gateways, deposit):
    make.identified(gateways, make.first(deposit))
    gateways.mail.sent.clear()
    Message.delete().execute()

    withdraw(gateways, deposit)

    assert [address for address, _, _ in mails(gateways)] == ["payet@example.fr"]


# Replacing


def test_a_replacement_takes_over_the_case_and_the_people_and_no_document(gateways):
    deposit = make.draft(gateways)
    make.document(gateways, deposit)
    known = make.recipient(gateways, deposit, "Alexandre Payet", email="a@example.fr", address="1 rue\nX")
    gateways.clock.advance(timedelta(seconds=1))
    make.recipient(gateways, deposit, "Ma boutique", kind="company", representative="Jean Petit")
    gateways.clock.advance(timedelta(seconds=1))
    chose = make.recipient(gateways, deposit, "Béatrice Roux")
    deposits.file(gateways, deposit.id, by=BY)
    Recipient.update(way="app", way_set_by="recipient", second_step_waived_because="Âge").where(
        Recipient.id == known.id
    ).execute()
    Recipient.update(email="b@example.fr", email_set_by="recipient").where(Recipient.id == chose.id).execute()
    withdraw(gateways, deposit)
    who = make.member(gateways, deposit.office)

    draft = replacements.prepare(gateways, deposit.id, by=journal.member(who), member=who)

    assert (draft.replaces, draft.office, draft.created_by) == (deposit, deposit.office, who)
    assert (draft.creditor, draft.court, draft.order_number, draft.order_date, draft.office_reference) == (
        deposit.creditor, deposit.court, deposit.order_number, deposit.order_date, deposit.office_reference,
    )  # fmt: skip
    assert deposits.state(draft, make.NOW) == deposits.State.DRAFT
    assert documents.listed(draft) == []
    columns = (
        "kind",
        "name",
        "representative",
        "address",
        "email",
        "email_set_by",
        "way",
        "second_step_waived_because",
    )
    assert [tuple(getattr(one, name) for name in columns) for one in recipients.listed(draft)] == [
        ("person", "Alexandre Payet", "", "1 rue\nX", "a@example.fr", "office", "", None),
        ("company", "Ma boutique", "Jean Petit", "", "", "", "", None),
        ("person", "Béatrice Roux", "", "", "", "", "", None),
    ]
    assert make.operations(draft.id) == ["deposit.created"]
    assert last_detail(draft) == {**make.CASE, "replaces": str(deposit.id)}


def test_only_what_is_withdrawn_is_replaced(gateways, deposit):
    for present in (deposit, make.draft(gateways, deposit.office)):
        with pytest.raises(replacements.NotWithdrawn):
            replacements.prepare(gateways, present.id, by=BY)
    assert Deposit.select().where(Deposit.replaces.is_null(False)).count() == 0


def test_a_deposit_is_replaced_once_until_the_draft_is_dropped(gateways, deposit):
    withdraw(gateways, deposit)
    first = replacements.prepare(gateways, deposit.id, by=BY)
    assert replacements.prepare(gateways, deposit.id, by=BY) == replacements.of(deposit) == first

    drafts.drop(gateways, first.id, by=BY)

    assert replacements.of(deposit) is None
    assert replacements.prepare(gateways, deposit.id, by=BY) != first
    assert make.count("deposit.created") == 3


def test_processes_that_replace_at_once_open_one_draft(gateways):
    deposit = make.filed(gateways, blanks=1)
    withdraw(gateways, deposit)

    printed = make.processes(
        gateways,
        3,
        "from uuid import UUID\nprint(replacements.prepare(gateways, UUID(arguments[0]), by=journal.OPERATOR).id)",
        str(deposit.id),
    )

    assert set(printed) == {str(replacements.of(deposit).id)}
    assert len(recipients.listed(replacements.of(deposit))) == 1


def test_replacing_while_the_former_draft_is_dropped_opens_a_new_one(gateways, deposit):
    withdraw(gateways, deposit)
    former = replacements.prepare(gateways, deposit.id, by=BY)

    _, found = make.amid(
        gateways,
        lambda seen: drafts.drop(seen, former.id, by=BY),
        lambda: replacements.prepare(gateways, deposit.id, by=BY),
        asked=1,
    )

    assert found != former
    assert replacements.of(deposit) == found


def replaced(gateways, deposit):
    """File the deposit that replaces `deposit`."""
    draft = replacements.prepare(gateways, deposit.id, by=BY)
    make.document(gateways, draft)
    return deposits.file(gateways, draft.id, by=BY)


def test_those_who_had_access_learn_of_the_replacement_when_it_is_filed_and_not_before(gateways, deposit):
    make.identified(gateways, make.first(deposit))
    access, secret = make.issued(gateways, make.first(deposit), "Perdu")
    withdraw(gateways, deposit)
    draft = replacements.prepare(gateways, deposit.id, by=BY)
    make.document(gateways, draft)
    outbox.drain(gateways, notices.compose)
    gateways.mail.sent.clear()
    with pytest.raises(deposits.DepositWithdrawn) as before:
        identification.begin(gateways, access.reference, secret, make.TRACE)
    assert type(before.value) is deposits.DepositWithdrawn

    new = deposits.file(gateways, draft.id, by=BY)
    deposits.file(gateways, draft.id, by=BY)

    ((address, _, said),) = mails(gateways)
    assert address == "payet@example.fr"
    assert codes.show(access.reference) in said
    reference = make.first(new).accesses.get().reference
    assert reference not in said.replace("-", "")
    with pytest.raises(deposits.DepositReplaced) as told:
        identification.begin(gateways, access.reference, secret, make.TRACE)
    assert reference not in (str(told.value) + told.value.advice).replace("-", "")
    assert [mail.kind for mail in announcements.told(deposit)[0].mails] == ["withdrawn", "replaced"]


def test_a_replacement_withdrawn_or_ended_in_its_turn_is_no_longer_told_of(gateways, deposit):
    withdraw(gateways, deposit)
    second = replaced(gateways, deposit)

    def told():
        with pytest.raises(deposits.DepositWithdrawn) as refused:
            deposits.check(Deposit.get_by_id(deposit.id), gateways.clock.now())
        return type(refused.value)

    assert told() is deposits.DepositReplaced
    withdraw(gateways, second)
    assert told() is deposits.DepositWithdrawn
    third = replaced(gateways, second)
    assert told() is deposits.DepositReplaced
    assert replacements.prepare(gateways, deposit.id, by=BY) == second  # its own page leads further
    gateways.clock.advance(third.expires_at - gateways.clock.now())
    assert told() is deposits.DepositWithdrawn


# Keeping, then deleting


def test_withdrawn_documents_stay_until_the_end_for_the_office_alone_then_go_as_any(gateways, deposit):
    withdraw(gateways, deposit)
    gateways.clock.advance(deposit.expires_at - timedelta(microseconds=1) - gateways.clock.now())
    clockwork.confirm(gateways.clock.now())
    assert retention.expire(gateways) == []
    document = documents.numbered(deposit, 1)
    who = make.member(gateways, deposit.office)
    with consultations.read_by_member(gateways, document, by=journal.member(who)) as plaintext:
        assert b"".join(plaintext.chunks()) == make.pdf()
    assert journal.story(deposit)[0].operation == "document.consulted"
    assert journal.story(deposit)[0].body["author"]["name"] == who.name

    gateways.clock.advance(timedelta(microseconds=1))
    with pytest.raises(deposits.AvailabilityOver):
        consultations.read_by_member(gateways, Document.get(), by=journal.member(who))
    (gone,) = retention.expire(gateways)

    assert gone.deposit == deposit
    assert list(gateways.vault.names()) == []
    assert Document.get().wrapped_key is None
    assert make.operations(deposit.id)[-2:] == ["deposit.expired", "document.deleted"]
    assert deposits.state(Deposit.get(), gateways.clock.now()) == deposits.State.WITHDRAWN
    with pytest.raises(deposits.AvailabilityOver):
        consultations.read_by_member(gateways, Document.get(), by=journal.member(who))


def test_a_code_asked_for_a_withdrawn_deposit_is_refused_for_what_it_is(gateways, deposit):
    who = make.member(gateways, deposit.office)
    withdraw(gateways, deposit)

    with pytest.raises(deposits.AlreadyWithdrawn):
        one_time_codes.tell(gateways, make.first(deposit), "Au téléphone", by=who, trace=make.TRACE)
