"""After 100 wrong codes of an application in a row, the office tells one, once (SP 800-63B-4, 3.2.2)."""

from datetime import timedelta

import make
import pytest

from mespieces.domain import codes, identification, one_time_codes, sessions, sign_ins
from mespieces.domain.identification import CodeWrong
from mespieces.models import CodeKey, Recipient


def wrong(code):
    """Another code of the same length."""
    return code[:-1] + str((int(code[-1]) + 1) % 10)


class Phone:
    """A recipient whose codes come from an application, and who has the act at hand."""

    def __init__(self, gateways):
        self.gateways = gateways
        self.recipient = make.first(make.filed(gateways, blanks=1))
        self.access, self.secret = make.issued(gateways, self.recipient)
        token = self.begin()
        make.ways.choose(gateways, token, "app", "")
        self.app = make.application(gateways, token)
        assert isinstance(self.enter(token), str)
        gateways.clock.advance(timedelta(minutes=5))

    def begin(self):
        return identification.begin(self.gateways, self.access.reference, self.secret, make.TRACE).token

    def way(self, token):
        return sign_ins.find(self.gateways, token).way

    def wrong(self):
        now = self.gateways.clock.now()
        return next(
            code for code in ("000000", "111111", "222222") if not self.app.verify(code, for_time=now, valid_window=1)
        )

    def enter(self, token, code=None):
        code = self.app.at(self.gateways.clock.now()) if code is None else code
        return identification.confirm(self.gateways, token, code, make.TRACE)


@pytest.fixture
def phone(gateways):
    return Phone(gateways)


def fail(phone, times):
    """Have a stranger who holds the act try codes for as many days as it takes; return the last answer."""
    token, left, answer = "", 0, None
    for attempt in range(times):
        if attempt and attempt % 25 == 0:
            phone.gateways.clock.advance(timedelta(days=1))
            left = 0
        if not left:
            token = phone.begin()
        answer = phone.enter(token, phone.wrong())
        left = answer.details["left"]
    phone.gateways.clock.advance(timedelta(days=1))
    return token, answer


def test_after_a_hundred_wrong_codes_in_a_row_the_office_tells_one_once(gateways, phone):
    early = phone.begin()
    fail(phone, 100)
    assert CodeKey.get(CodeKey.way == "app").failures == 100

    token = phone.begin()
    assert (early != token, phone.way(token)) == (True, "office")
    code = make.awaited(gateways, token)
    with pytest.raises(codes.CodeIncomplete):  # the application's own code no longer serves
        phone.enter(token)
    session = sessions.of_recipient(gateways, phone.enter(token, code))

    assert session.way == "act+office"
    assert Recipient.get().way == "app"
    again = phone.begin()
    assert phone.way(again) == "app"
    assert isinstance(phone.enter(again), str)


def test_a_right_code_before_the_hundredth_counts_from_zero_again(phone):
    fail(phone, 99)
    assert phone.way(token := phone.begin()) == "app"
    assert isinstance(phone.enter(token), str)

    assert CodeKey.get().failures == 0
    fail(phone, 1)
    assert phone.way(phone.begin()) == "app"


def test_the_hundredth_wrong_code_ends_the_sign_ins_that_await_the_application(gateways, phone):
    fail(phone, 96)
    waiting, other = phone.begin(), phone.begin()
    left = [phone.enter(waiting, phone.wrong()).details["left"] for _ in range(4)]

    assert left == [4, 3, 2, 0]
    for token in (waiting, other):
        with pytest.raises(sign_ins.SignInOver):
            phone.enter(token)


def test_wrong_codes_of_another_way_say_nothing_of_the_application(gateways):
    token, code = make.waiting(gateways, make.first(make.filed(gateways, blanks=1)), "office")
    for _ in range(3):
        assert isinstance(identification.confirm(gateways, token, wrong(code), make.TRACE), CodeWrong)

    assert [key.failures for key in CodeKey.select()] == [0]
    assert one_time_codes.DIGITS["office"] == 8


def test_the_failures_of_the_day_are_counted_for_each_recipient(gateways):
    deposit = make.filed(gateways, blanks=1, recipients=("Alexandre Payet", "Béatrice Roux"))
    payet, roux = deposit.recipients.order_by(Recipient.name)
    access, secret = make.issued(gateways, payet)
    assert identification.failures_today(gateways, deposit) == {}

    for _ in range(2):
        identification.begin(gateways, access.reference, make.issued(gateways, roux)[1], make.TRACE)
    token = identification.begin(gateways, access.reference, secret, make.TRACE).token
    make.ways.choose(gateways, token, "office", "")
    identification.confirm(gateways, token, wrong(make.awaited(gateways, token)), make.TRACE)
    assert identification.failures_today(gateways, deposit) == {payet.id: 3}

    gateways.clock.advance(timedelta(days=1))
    assert identification.failures_today(gateways, deposit) == {}
