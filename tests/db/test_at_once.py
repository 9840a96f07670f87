"""Two people, or one impatient hand, do things at the same instant: real processes over one database."""

from datetime import timedelta

import make

from mespieces.domain import documents, drafts, journal, recipients
from mespieces.models import Access, Deposit, Document, Recipient

KEY = "d3b07384d113edec49eaa6238ad5ff00"
OPEN = """
case = deposits.read_case({"creditor": "A", "court": "B", "order_number": "1", "order_date": "2026-11-04",
                           "office_reference": "R"}, today=gateways.clock.now().date())
office = Office.get_by_id(UUID(arguments[0]))
print(deposits.open_draft(gateways, case, office=office, by=journal.OPERATOR, member=None, key=arguments[1]).id)
"""
ADD_PERSON = """
person = recipients.read({"name": "Alexandre Payet"})
print(recipients.add(gateways, UUID(arguments[0]), person, by=journal.OPERATOR, key=arguments[1]).id)
"""
UPLOAD = """
import sys
sys.path.insert(0, "tests")
import make
for turn in range(int(arguments[1])):
    with documents.Arrival(gateways) as arrival:
        arrival.write(make.pdf(f"{place} {turn}"))
        try:
            documents.add(gateways, UUID(arguments[0]), arrival, f"{place}-{turn}.pdf", by=journal.OPERATOR)
        except deposits.DepositFiled:
            print("refused", f"{place}-{turn}.pdf")
        else:
            print("taken", f"{place}-{turn}.pdf")
"""
ARRANGE = """
if place:
    for turn in range(30):
        row = Document.select().where(Document.deposit == UUID(arguments[0])).order_by(Document.title).get()
        documents.arrange(UUID(arguments[0]), row.id, 1 + turn % 3)
else:
""" + "".join(f"    {line}\n" for line in UPLOAD.splitlines())
FILE = """
if place:
    import time
    time.sleep(place * 0.15)
    print("filed", deposits.file(gateways, UUID(arguments[0]), by=journal.OPERATOR).filed_sequence)
else:
""" + "".join(f"    {line}\n" for line in UPLOAD.splitlines())
FILE_FOR = """
import time
try:
    if place:
        deposits.file(gateways, UUID(arguments[0]), by=journal.OPERATOR)
    else:
        recipients.add(gateways, UUID(arguments[0]), recipients.read({"name": "Une héritière"}), by=journal.OPERATOR)
except Exception as error:
    print(type(error).__name__)
"""


def _numbers(deposit):
    return [row.number for row in documents.listed(deposit)]


# Forms


def test_a_new_deposit_posted_twice_at_once_opens_one_draft(gateways):
    office = make.office(gateways)

    printed = make.processes(gateways, 4, OPEN, str(office.id), KEY)

    assert len(set(printed)) == 1
    assert Deposit.select().count() == 1
    assert make.count("deposit.created") == 1


def test_two_pages_open_two_drafts_and_another_office_never_meets_the_first_ones(gateways):
    first, second = make.office(gateways), make.office(gateways)

    printed = [make.processes(gateways, 1, OPEN, str(office.id), key)[0]
               for office, key in ((first, KEY), (first, KEY[::-1]), (first, ""), (first, ""), (second, KEY))]  # fmt: skip

    assert len(set(printed)) == 5


def test_a_page_kept_open_after_its_draft_was_dropped_opens_a_draft_under_another_name(gateways):
    office = make.office(gateways)
    (former,) = make.processes(gateways, 1, OPEN, str(office.id), KEY)
    drafts.drop(gateways, Deposit.get().id, by=journal.OPERATOR)

    (later,) = make.processes(gateways, 1, OPEN, str(office.id), KEY)

    assert former != later
    assert make.operations(Deposit.get().id) == ["deposit.created"]


def test_a_recipient_posted_twice_at_once_is_one_recipient_before_and_after_filing(gateways):
    for deposit in (make.draft(gateways), make.filed(gateways, blanks=1)):
        before = deposit.recipients.count()

        printed = make.processes(gateways, 3, ADD_PERSON, str(deposit.id), KEY)

        assert len(set(printed)) == 1
        assert deposit.recipients.count() == before + 1
    assert make.count("recipient.added") == 2


def test_the_same_page_filled_in_again_for_somebody_else_adds_them_too(gateways):
    deposit = make.draft(gateways)
    for name in ("Alexandre Payet", "Alexandra Payet", "Alexandre Payet"):
        recipients.add(gateways, deposit.id, recipients.read({"name": name}), by=journal.OPERATOR, key=KEY)

    assert sorted(row.name for row in Recipient.select()) == ["Alexandra Payet", "Alexandre Payet"]


# Documents


def test_two_uploads_on_one_deposit_keep_both_without_a_gap(gateways):
    deposit = make.draft(gateways)

    make.processes(gateways, 3, UPLOAD, str(deposit.id), "3")

    assert _numbers(deposit) == list(range(1, 10))
    assert len({row.fingerprint for row in Document.select()}) == 9
    assert make.count("document.deposited") == 9


def test_documents_are_put_in_order_while_another_member_adds_some(gateways):
    deposit = make.draft(gateways)
    make.blank(deposit, 3)

    make.processes(gateways, 2, ARRANGE, str(deposit.id), "6")

    assert _numbers(deposit) == list(range(1, 10))


def test_a_document_added_while_another_member_files_is_in_the_deposit_or_refused(gateways):
    deposit = make.draft(gateways)
    make.blank(deposit, 1)
    make.recipient(gateways, deposit)

    printed = make.processes(gateways, 2, FILE, str(deposit.id), "12")

    words = printed[0].splitlines()
    taken = [line.partition(" ")[2] for line in words if line.startswith("taken")]
    assert len(words) == 12
    assert len(taken) < 12, "the file was filed too late to meet an upload"
    filed = next(entry for entry in journal.story(deposit) if entry.operation == "deposit.filed")
    assert [row["document"] for row in filed.body["detail"]["documents"]] == [
        str(row.id) for row in documents.listed(deposit)
    ]
    assert [row.filename for row in documents.listed(deposit)][1:] == taken
    assert _numbers(deposit) == list(range(1, len(taken) + 2))


def test_a_recipient_added_while_another_member_files_gets_one_access(gateways):
    for _ in range(3):
        deposit = make.draft(gateways)
        make.blank(deposit, 1)
        make.recipient(gateways, deposit)

        assert make.processes(gateways, 2, FILE_FOR, str(deposit.id)) == ["", ""]

        people = list(deposit.recipients)
        assert len(people) == 2
        assert all(Access.select().where(Access.recipient == person).count() == 1 for person in people)
        named = [row for row in make.operations(deposit.id) if row == "recipient.added"]
        assert len(named) == 2


def test_two_members_file_at_once_and_the_documents_stay_eighteen_months_from_one_instant(gateways):
    deposit = make.draft(gateways)
    make.blank(deposit, 2)
    make.recipient(gateways, deposit)
    script = "deposits.file(gateways, UUID(arguments[0]), by=journal.OPERATOR)"

    make.processes(gateways, 4, script, str(deposit.id))
    once = Deposit.get()
    gateways.clock.advance(timedelta(hours=1))
    make.processes(gateways, 2, script, str(deposit.id))

    assert Deposit.get().expires_at == once.expires_at
    assert make.count("deposit.filed") == 1
    assert make.count("recipient.added") == Access.select().count() == 1
