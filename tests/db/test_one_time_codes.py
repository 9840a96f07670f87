"""How many codes may be asked for, and tried."""

from datetime import timedelta

import make
import pytest

from mespieces.domain import identification, members, one_time_codes, throttle, ways
from mespieces.models import Message, SignIn


def test_an_act_gives_no_means_to_flood_a_mailbox(gateways):
    recipient = make.first(make.filed(gateways))
    access, secret = make.issued(gateways, recipient)

    def ask(number):
        begun = identification.begin(gateways, access.reference, secret, make.TRACE)
        ways.choose(gateways, begun.token, "email", f"tiers{number}@example.fr")
        one_time_codes.send(gateways, begun.token)

    for number in range(one_time_codes.MAILS_A_DAY):
        ask(number)
        gateways.clock.advance(timedelta(minutes=1))
    with pytest.raises(one_time_codes.TooManyAsked) as refused:
        ask(99)
    assert refused.value.retry_after == (24 * 60 - 20) * 60

    assert Message.select().where(Message.kind == "code").count() == one_time_codes.MAILS_A_DAY


def test_asking_too_often_is_not_called_a_wrong_code(gateways):
    token, _ = make.waiting(gateways, make.first(make.filed(gateways)), "email")
    for _ in range(one_time_codes.CODES_A_SIGN_IN - 1):
        gateways.clock.advance(timedelta(minutes=1))
        one_time_codes.send(gateways, token, again=True)
    gateways.clock.advance(timedelta(minutes=1))

    with pytest.raises(one_time_codes.TooManyAsked):
        one_time_codes.send(gateways, token, again=True)


def test_a_member_may_mistype_twenty_five_codes_a_day(gateways):
    member = make.member(gateways)
    wrong = 0
    while wrong < 40:
        token = members.begin(gateways, member.email, make.PASSWORD, make.TRACE)
        assert isinstance(token, str)
        answer = members.confirm(gateways, token, "000000", make.TRACE)
        SignIn.delete().execute()
        if isinstance(answer, members.Delayed):
            break
        wrong += 1

    assert wrong == throttle.CODE_LIMIT
