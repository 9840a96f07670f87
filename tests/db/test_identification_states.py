"""Whatever happens, in any order: machines act on the product and compare each answer with counters of their own.

The counters here are written from the specification and call nothing of the product. Each story of `Recipients.STORIES`
and `Members.STORIES` opens an example of its own: whatever is drawn afterwards, what it tells happened. A thorough run:
`TESTS_PROFILE=thorough pytest tests/db/test_identification_states.py`.
"""

import dataclasses
import math
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import hypothesis
import make
import pyotp
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from mespieces.domain import (
    accesses,
    codes,
    deposits,
    identification,
    journal,
    members,
    notices,
    one_time_codes,
    outbox,
    proofs,
    recovery_codes,
    sessions,
    sign_ins,
    ways,
)
from mespieces.models import CodeKey, JournalLog, Session, SignIn, Throttle, write

# Each address, the network it counts for, and a twin in a network of its own, from where an unknown reference is asked.
ADDRESSES = {
    "198.51.100.7": ("A", "203.0.113.7"),
    "198.51.100.200": ("A", "203.0.113.200"),
    "::ffff:198.51.100.9": ("A", "::ffff:203.0.113.9"),
    "2001:db8:1:200::1": ("C", "2001:db8:2:200::1"),
    "2001:db8:1:2ff::9": ("C", "2001:db8:2:2ff::9"),
    "2001:db8:1:300::1": ("D", "2001:db8:2:300::1"),
}
WAITS = (1, 3, 29, 31, 61, 299, 599, 601, 899, 901, 1799, 1801, 3599, 3601, 86_399, 86_401)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ANYWHERE = st.sampled_from(sorted(ADDRESSES))


@dataclass
class Count:
    """Failures within a window that begins at the first of them, and until when one has to wait."""

    window: timedelta
    failures: int = 0
    since: datetime | None = None
    until: datetime | None = None

    def waits(self, now):
        return max(0, math.ceil((self.until - now).total_seconds())) if self.until else 0

    def now_at(self, now):
        return self.failures if self.since and now - self.since < self.window else 0

    def fail(self, now):
        if not self.now_at(now):
            self.failures, self.since, self.until = 0, now, None
        self.failures += 1
        return self.failures


def waiting_after(failures):
    """Three tries are free, then 2, 4, 8 … seconds, a quarter of an hour at most."""
    return timedelta(seconds=0 if failures <= 3 else min(900, 2 ** (failures - 3)))


@dataclass
class Attempt:
    """A sign-in as the specification has it."""

    token: str
    since: datetime
    way: str
    email: str = ""
    code: str = ""  # the newest one given
    given_at: datetime | None = None
    given: int = 0
    tries: int = 0
    key: str = ""  # of an application that is being enrolled
    closed: bool = False
    past: list[str] = field(default_factory=list)  # codes that a newer one replaced


@dataclass
class Visit:
    """A session as the specification has it."""

    token: str
    since: datetime
    seen: datetime
    ended: bool = False
    wrong: Count = field(default_factory=lambda: Count(DAY))  # proofs asked again

    def lives(self, now, idle, longest):
        return not self.ended and now - self.seen < idle and now - self.since < longest


class Machine(RuleBasedStateMachine):
    """A clock that never stands still."""

    gateways = None

    story = ""

    def __init__(self):
        super().__init__()
        with write():
            Throttle.delete().execute()
        self.gateways.mail.sent.clear()

    @initialize()
    def a_story_is_told_first(self):
        if self.story:
            getattr(self, self.story)()

    @property
    def now(self):
        return self.gateways.clock.now()

    def tick(self):
        self.gateways.clock.advance(timedelta(milliseconds=1))

    @rule(seconds=st.sampled_from(WAITS))
    def time_passes(self, seconds):
        self.gateways.clock.advance(timedelta(seconds=seconds))

    def kept(self):
        """Return what a mistyped secret may not change."""
        return (
            sorted(Throttle.select().tuples()),
            JournalLog.get().size,
            SignIn.select().count(),
            Session.select().count(),
        )


def answer(found):
    """Return what a stranger sees of an answer."""
    return type(found), str(found), getattr(found, "retry_after", None)


class Recipients(Machine):
    """A recipient, who has the act or not, and everybody who ever held one of its sheets."""

    sign_ins, visits = Bundle("sign_ins"), Bundle("visits")

    def __init__(self):
        super().__init__()
        self.deposit = make.filed(self.gateways, self.office, blanks=1)
        self.recipient = make.first(self.deposit)
        self.access, self.secret = make.issued(self.gateways, self.recipient)
        self.former = [codes.draw_secret()]
        self.pairs: dict[str, Count] = {}
        self.networks: dict[str, Count] = {}
        self.unknown: dict[str, str] = {}
        self.day, self.mails = Count(DAY), Count(DAY)
        self.bound, self.email, self.app, self.app_step, self.app_failures = "", "", "", 0, 0
        self.waived, self.act_alone = False, "office"
        self.attempts: list[Attempt] = []
        self.sessions: list[Visit] = []
        self.accepted: list[str] = []
        self.over = False

    # What is printed on the act

    @rule(address=ANYWHERE, times=st.sampled_from([1, 4, 6]), secret=st.integers(0, 4))
    def wrong_secrets_are_answered_as_for_an_unknown_reference(self, address, times, secret):
        self.type_wrong_secrets(address, times, secret)

    def type_wrong_secrets(self, address, times, secret=0):
        typed = self.former[secret] if secret < len(self.former) else codes.draw_secret()
        network, twin = ADDRESSES[address]
        unknown = self.unknown.setdefault(network, codes.draw_reference())
        for _ in range(times):
            self.tick()
            found = identification.begin(self.gateways, self.access.reference, typed, journal.Trace(address, ""))
            other = identification.begin(self.gateways, unknown, typed, journal.Trace(twin, ""))
            assert answer(found) == answer(other)
            waiting = self.expect_wrong(network)
            assert isinstance(found, identification.Delayed if waiting else identification.Wrong)
            assert getattr(found, "retry_after", 0) == waiting

    def expect_wrong(self, network):
        pair, whole = self.pairs.setdefault(network, Count(DAY)), self.networks.setdefault(network, Count(HOUR))
        waiting = max(pair.waits(self.now), whole.waits(self.now))
        failures = pair.fail(self.now)
        pair.until = self.now + waiting_after(failures)
        if whole.fail(self.now) >= 100:
            whole.until = self.now + timedelta(minutes=15)
        return waiting and max(pair.waits(self.now), whole.waits(self.now))  # told with what this one added

    @rule(address=ANYWHERE)
    def a_hundred_wrong_secrets_of_a_network_are_enough_for_an_hour(self, address):
        network, _ = ADDRESSES[address]
        self.type_wrong_secrets(address, 1)
        with write():  # as ninety of them would, at other references
            Throttle.update(failures=99).where(Throttle.key.startswith("network:")).execute()
        for count in self.networks.values():
            count.failures = 99
        self.type_wrong_secrets(address, 1)
        assert self.networks[network].waits(self.now) == 900
        self.type_wrong_secrets(address, 2)
        self.the_right_secret_always_reaches_the_code_step(address)

    @rule(target=sign_ins, address=ANYWHERE)
    def the_right_secret_always_reaches_the_code_step(self, address):
        self.tick()
        network, _ = ADDRESSES[address]
        if self.over:
            with pytest.raises(deposits.AvailabilityOver):
                identification.begin(self.gateways, self.access.reference, self.secret, journal.Trace(address, ""))
            return multiple()
        typed = codes.show(self.secret).lower().replace("0", "o")
        found = identification.begin(self.gateways, self.access.reference, typed, journal.Trace(address, ""))
        assert isinstance(found, identification.Begun), found
        self.pairs.pop(network, None)
        self.unknown.pop(network, None)  # the twin's history ends as well
        way = self.awaited_way()
        attempt = Attempt(found.token, self.now, "" if way == "act" else way, self.email if way == "email" else "")
        self.attempts.append(attempt)
        return attempt

    @rule(address=ANYWHERE, position=st.integers(0, 19), shift=st.integers(1, 31))
    def a_mistyped_secret_spends_nothing(self, address, position, shift):
        before = self.kept()
        character = codes.ALPHABET[(codes.ALPHABET.index(self.secret[position]) + shift) % 32]
        typed = self.secret[:position] + character + self.secret[position + 1 :]
        with pytest.raises(codes.SecretMistyped):
            identification.begin(self.gateways, self.access.reference, typed, journal.Trace(address, ""))
        assert self.kept() == before

    # Codes

    def awaited_way(self):
        if self.waived and self.act_alone != "refuse":
            return "act"
        if self.bound == "act" and self.act_alone != "anyone":
            return ""
        return "office" if self.bound == "app" and self.app_failures >= 100 else self.bound

    def is_over(self, attempt):
        return attempt.closed or self.now - attempt.since >= timedelta(minutes=30)

    def is_overtaken(self, attempt):
        way = self.awaited_way()
        return bool(way) and (
            attempt.way != way or (way == "email" and attempt.email != self.email) or attempt.key != ""
        )

    @rule(attempt=sign_ins, way=st.sampled_from(["email", "app", "office", "act"]), number=st.integers(1, 2))
    def a_way_is_chosen(self, attempt, way, number):
        self.tick()
        email = f"payet{number}@example.fr" if way == "email" else ""
        if self.is_over(attempt):
            with pytest.raises(sign_ins.SignInOver):
                ways.choose(self.gateways, attempt.token, way, email)
            return
        if self.awaited_way() or (way == "act" and self.act_alone != "anyone"):
            with pytest.raises(ways.WayUnknown):
                ways.choose(self.gateways, attempt.token, way, email)
            return
        ways.choose(self.gateways, attempt.token, way, email)
        attempt.past += [attempt.code] if attempt.code else []
        attempt.way, attempt.email, attempt.code, attempt.given_at = way, email, "", None
        attempt.key = make.application(self.gateways, attempt.token).secret if way == "app" else ""

    @rule(attempt=sign_ins, again=st.booleans())
    def a_code_is_asked_by_mail(self, attempt, again):
        self.tick()
        if self.is_over(attempt):
            with pytest.raises(sign_ins.SignInOver):
                one_time_codes.send(self.gateways, attempt.token, again=again)
            return
        if attempt.way != "email" or (attempt.code and not again):
            one_time_codes.send(self.gateways, attempt.token, again=again)
            return
        if self.day.now_at(self.now) >= 25:
            with pytest.raises(one_time_codes.CodesExhausted):
                one_time_codes.send(self.gateways, attempt.token, again=again)
        elif attempt.given_at and self.now - attempt.given_at < timedelta(seconds=30):
            with pytest.raises(one_time_codes.TooSoon):
                one_time_codes.send(self.gateways, attempt.token, again=again)
        elif attempt.given >= 5 or self.mails.now_at(self.now) >= 20:
            with pytest.raises(one_time_codes.TooManyAsked):
                one_time_codes.send(self.gateways, attempt.token, again=again)
        else:
            one_time_codes.send(self.gateways, attempt.token, again=again)
            self.mails.fail(self.now)
            sent, asked_at = len(self.gateways.mail.sent), self.now
            for _ in range(3):  # mails of one access leave half a minute apart, and others may be waiting
                outbox.drain(self.gateways, notices.compose)
                code = self.mailed_code(attempt.email, self.gateways.mail.sent[sent:])
                if code:
                    break
                self.gateways.clock.advance(timedelta(seconds=30))
            self.give(attempt, code)
            attempt.given_at = asked_at

    def mailed_code(self, email, mails):
        """Return the code told to an address by the last of the mails that tells one, or ``""``."""
        told = [
            re.search(r"(\d{4}) (\d{4})", one.get_content())
            for one in mails
            if one["To"] == email and one["Subject"].startswith("Votre code")
        ]
        return told[-1].expand(r"\1\2") if told else ""

    def give(self, attempt, code):
        assert code not in self.accepted
        attempt.past += [attempt.code] if attempt.code else []
        attempt.code, attempt.given_at, attempt.given = code, self.now, attempt.given + 1

    @rule()
    def a_member_tells_a_code(self):
        self.tick()
        waiting = [one for one in self.attempts if one.way == "office" and not self.is_over(one)]

        def tell():
            return one_time_codes.tell(self.gateways, self.recipient, "Au guichet", by=self.teller, trace=make.TRACE)

        if not waiting:
            with pytest.raises((one_time_codes.NobodyWaiting, deposits.AlreadyEnded)):
                tell()
        elif self.day.now_at(self.now) >= 25:
            with pytest.raises(one_time_codes.CodesRefused):
                tell()
        elif waiting[-1].given >= 5:
            with pytest.raises(one_time_codes.TooManyAsked):
                tell()
        else:
            self.give(waiting[-1], tell())

    def right_codes(self, attempt):
        """Return the codes that may open the sign-in now."""
        if attempt.way == "app":
            key, last = (attempt.key, 0) if attempt.key else (self.app, self.app_step)
            step = int(self.now.timestamp()) // 30
            if not key:  # the office changed the way since: the sign-in is over
                return {}
            return {pyotp.TOTP(key).generate_otp(one): one for one in (step + 1, step, step - 1) if one > last}
        given = attempt.given_at and self.now - attempt.given_at < timedelta(minutes=10)
        return {attempt.code: 0} if given and attempt.code else {}

    def typed_code(self, attempt, kind, pick):
        right = sorted(self.right_codes(attempt))
        if kind == "right" and right:
            return right[pick % len(right)]
        former = {
            "old": attempt.past + ([attempt.code] if attempt.code else []),
            "replayed": self.accepted,
            "foreign": [one.code for one in self.attempts if one is not attempt and one.code],
        }.get(kind, [])
        if former:
            return former[pick % len(former)]
        return next(code for code in (digit * self.digits(attempt) for digit in "0123") if code not in right)

    def digits(self, attempt):
        return 6 if attempt.way == "app" else 8

    @rule(
        target=visits,
        attempt=sign_ins,
        kind=st.sampled_from(["right", "right", "right", "wrong", "wrong", "old", "replayed", "foreign"]),
        pick=st.integers(0, 9),
    )
    def a_code_is_typed(self, attempt, kind, pick):
        return self.type_code(attempt, kind, pick)

    @rule(
        target=visits,
        address=ANYWHERE,
        way=st.sampled_from(["email", "app", "office"]),
        late=st.sampled_from([0, 0, 0, 31, 599, 600]),
    )
    def somebody_goes_all_the_way_while_another_sign_in_waits(self, address, way, late):
        if self.over:
            return multiple()
        other = self.the_right_secret_always_reaches_the_code_step(address)
        attempt = self.the_right_secret_always_reaches_the_code_step(address)
        for one in (other, attempt):
            if not one.way:
                self.a_way_is_chosen(one, way, 1)
        if attempt.way == "email":
            self.a_code_is_asked_by_mail(attempt, again=False)
        if attempt.way == "office":
            self.a_member_tells_a_code()
        self.gateways.clock.advance(timedelta(seconds=late))
        visit = self.type_code(attempt, "old" if late >= 600 else "right", -1)
        self.type_code(other, "replayed", -1)
        return visit

    # The act alone

    @rule(setting=st.sampled_from(["refuse", "office", "anyone"]))
    def the_operator_settles_who_may_do_with_the_act_alone(self, setting):
        self.act_alone = setting
        settings = dataclasses.replace(self.gateways.settings, act_alone=setting)
        self.gateways = dataclasses.replace(self.gateways, settings=settings)

    @rule()
    def the_office_waives_the_second_step(self):
        def waive():
            ways.reset(self.gateways, self.recipient, "", "Sans téléphone", "act", by=self.teller, trace=make.TRACE)

        if self.act_alone == "refuse":
            with pytest.raises(ways.WaiverRefused):
                waive()
        elif not self.over:
            waive()
            self.settled(waived=True)

    @rule(target=visits, attempt=sign_ins)
    def somebody_wants_in_with_the_act_alone(self, attempt):
        self.tick()
        way = self.awaited_way()
        if self.is_over(attempt):
            with pytest.raises(sign_ins.SignInOver):
                identification.act_alone(self.gateways, attempt.token, make.TRACE)
            return multiple()
        if way != "act" and (way or self.act_alone != "anyone"):
            with pytest.raises(ways.WayUnknown):
                identification.act_alone(self.gateways, attempt.token, make.TRACE)
            return multiple()
        token = identification.act_alone(self.gateways, attempt.token, make.TRACE)
        attempt.closed = True
        if not way:
            self.bound, self.email = "act", ""
        return self.visited(token)

    # Stories

    STORIES = (
        "a_sign_in_takes_five_tries", "a_day_takes_twenty_five_wrong_codes", "choosing_again_gives_no_more_tries",
        "each_code_opens_one_session_and_the_next_sign_in_gets_another", "a_step_of_an_application_serves_once",
        "of_two_applications_being_enrolled_one_is_bound", "each_setting_of_the_act_alone_lets_in_whom_it_says",
        "a_new_sheet_ends_all_that_the_old_one_opened", "wrong_secrets_are_told_alike_until_one_is_right",
    )  # fmt: skip

    def awaiting(self, way, address="198.51.100.7"):
        """Return a sign-in that waits for a code by `way`, or by the one bound."""
        attempt = self.the_right_secret_always_reaches_the_code_step(address)
        if not self.awaited_way():
            self.a_way_is_chosen(attempt, way, 1)
        self.give_a_code(attempt)
        return attempt

    def give_a_code(self, attempt):
        if attempt.way == "email":
            self.gateways.clock.advance(timedelta(seconds=31))
            self.a_code_is_asked_by_mail(attempt, again=bool(attempt.code))
        if attempt.way == "office":
            self.a_member_tells_a_code()

    @rule(target=visits, way=st.sampled_from(["email", "app", "office"]))
    def a_sign_in_takes_five_tries(self, way="office"):
        if self.over:
            return multiple()
        attempt = self.awaiting(way)
        for _ in range(6):
            self.type_code(attempt, "wrong", 0)
        return self.type_code(attempt, "right", 0)

    @rule(target=visits, way=st.sampled_from(["app", "office"]), patient=st.booleans())
    def a_day_takes_twenty_five_wrong_codes(self, way="office", *, patient=True):
        if self.over:
            return multiple()
        for _ in range(6):
            attempt = self.awaiting(way)
            for _ in range(4 if patient else 5):
                self.type_code(attempt, "wrong", 0)
        visit = self.type_code(attempt, "right", 0)
        for _ in range(3):
            self.type_code(self.awaiting(way), "wrong", 0)
        self.type_code(self.awaiting(way), "right", 0)
        return visit

    @rule(target=visits, first=st.sampled_from(["email", "app", "office"]), then=st.sampled_from(["app", "office"]))
    def choosing_again_gives_no_more_tries(self, first="app", then="office"):
        if self.over:
            return multiple()
        attempt = self.awaiting(first)
        for way in (then, first):
            for _ in range(2):
                self.type_code(attempt, "wrong", 0)
            self.a_way_is_chosen(attempt, way, 2)
            self.give_a_code(attempt)
        self.type_code(attempt, "wrong", 0)
        return self.type_code(attempt, "right", 0)

    @rule(way=st.sampled_from(["email", "office"]))
    def each_code_opens_one_session_and_the_next_sign_in_gets_another(self, way="office"):
        if self.over:
            return
        first = self.awaiting(way)
        self.type_code(first, "right", 0)
        second = self.awaiting(way)
        for attempt in (first, second):
            self.type_code(attempt, "replayed", -1)
            self.type_code(attempt, "foreign", 0)
        self.type_code(second, "right", 0)
        self.type_code(second, "right", 0)

    @rule()
    def a_step_of_an_application_serves_once(self):
        if self.over:
            return
        self.type_code(self.awaiting("app"), "right", 0)
        for _ in range(2):
            attempt = self.awaiting("app")
            self.type_code(attempt, "replayed", -1)
            self.type_code(attempt, "right", 0)
            self.type_code(attempt, "replayed", -1)

    @rule()
    def of_two_applications_being_enrolled_one_is_bound(self):
        if self.over:
            return
        first, second = self.awaiting("app"), self.awaiting("app")
        self.type_code(first, "right", 0)
        self.type_code(second, "right", 0)
        self.type_code(self.awaiting("app"), "right", -1)

    @rule(chosen=st.sampled_from(["email", "app", "office"]))
    def each_setting_of_the_act_alone_lets_in_whom_it_says(self, chosen="office"):
        if self.over:
            return
        for setting in ("refuse", "office", "anyone", "refuse"):
            self.the_operator_settles_who_may_do_with_the_act_alone(setting)
            attempt = self.the_right_secret_always_reaches_the_code_step("198.51.100.7")
            self.a_way_is_chosen(attempt, "act", 1)
            self.somebody_wants_in_with_the_act_alone(attempt)
            self.somebody_wants_in_with_the_act_alone(attempt)
        self.type_code(self.awaiting(chosen), "right", 0)
        for setting in ("anyone", "office"):
            self.the_operator_settles_who_may_do_with_the_act_alone(setting)
            self.somebody_wants_in_with_the_act_alone(self.awaiting(chosen))
        for setting in ("office", "anyone", "refuse"):
            self.the_office_waives_the_second_step()
            self.the_operator_settles_who_may_do_with_the_act_alone(setting)
            attempt = self.the_right_secret_always_reaches_the_code_step("198.51.100.7")
            self.somebody_wants_in_with_the_act_alone(attempt)
            self.type_code(attempt, "wrong", 0)

    @rule(way=st.sampled_from(["email", "app", "office"]))
    def a_new_sheet_ends_all_that_the_old_one_opened(self, way="office"):
        if self.over:
            return
        self.type_code(self.awaiting(way), "right", -1)
        waiting = self.awaiting(way)
        self.a_new_sheet_is_printed()
        self.sessions_live_as_long_as_they_should()
        self.type_code(waiting, "right", -1)
        self.type_wrong_secrets("198.51.100.7", 1, len(self.former) - 1)

    @rule(address=ANYWHERE)
    def wrong_secrets_are_told_alike_until_one_is_right(self, address="198.51.100.7"):
        self.type_wrong_secrets(address, 7)
        self.the_right_secret_always_reaches_the_code_step(address)
        self.type_wrong_secrets(address, 2)

    # Rarer

    @rule(attempt=sign_ins)
    def a_hundred_wrong_codes_of_an_application_in_a_row_are_enough(self, attempt):
        if self.bound == "app":
            with write():
                CodeKey.update(failures=99).where(CodeKey.access == self.access, CodeKey.way == "app").execute()
            self.app_failures = 99
            self.type_code(attempt, "wrong", 0)

    @rule()
    def twenty_mails_a_day_are_enough(self):
        with write():
            Throttle.update(failures=19).where(Throttle.key.startswith("code-mail:")).execute()
        self.mails.failures = 19 if self.mails.since else 0

    def type_code(self, attempt, kind, pick):
        self.tick()
        code = self.typed_code(attempt, kind, pick)

        def confirm():
            return identification.confirm(self.gateways, attempt.token, f" {code[:4]} {code[4:]} ", make.TRACE)

        if self.is_over(attempt) or self.is_overtaken(attempt):
            with pytest.raises(sign_ins.SignInOver):
                confirm()
            return multiple()
        if attempt.way != "app" and not attempt.code:
            return self.expect_nothing_spent(confirm, identification.CodeNotAwaited)
        if len(code) != self.digits(attempt):
            return self.expect_nothing_spent(confirm, codes.CodeIncomplete)
        right, exhausted = self.right_codes(attempt), self.day.now_at(self.now) >= 25
        found = confirm()
        if exhausted:
            assert isinstance(found, one_time_codes.CodesExhausted)
            return multiple()
        if code in right:
            assert isinstance(found, str), (kind, found)
            return self.expect_identified(attempt, code, right[code], found)
        assert isinstance(found, identification.CodeWrong), (kind, found)
        self.expect_wrong_code(attempt, found)
        return multiple()

    def expect_nothing_spent(self, confirm, refusal):
        before = self.kept()
        with pytest.raises(refusal):
            confirm()
        assert self.kept() == before
        return multiple()

    def expect_identified(self, attempt, code, step, token):
        assert attempt.way == "app" or code not in self.accepted
        assert attempt.way != "app" or attempt.key or step > self.app_step, "a step served twice"
        self.accepted.append(code)
        attempt.closed = True
        if attempt.way == "app":
            self.app, self.app_step = attempt.key or self.app, step
        self.app_failures = 0
        if not self.awaited_way():
            self.bound, self.email = attempt.way, attempt.email
        return self.visited(token)

    def visited(self, token):
        visit = Visit(token, self.now, self.now)
        self.sessions.append(visit)
        return visit

    def expect_wrong_code(self, attempt, found):
        attempt.tries += 1
        self.day.fail(self.now)
        self.app_failures += attempt.way == "app" and not attempt.key
        exhausted = attempt.way == "app" and not attempt.key and self.app_failures >= 100
        attempt.closed = attempt.tries >= 5 or exhausted
        assert found.details["left"] == (0 if exhausted else 5 - attempt.tries)

    # Sessions

    @rule(visit=visits)
    def somebody_reads(self, visit):
        session = sessions.of_recipient(self.gateways, visit.token)
        if session is not None:
            sessions.touch(self.gateways, session)
            if self.now - visit.seen >= timedelta(seconds=30):
                visit.seen = self.now

    @rule(visit=visits)
    def somebody_reads_on_and_on(self, visit):
        for _ in range(5):
            self.gateways.clock.advance(timedelta(minutes=14))
            self.somebody_reads(visit)
            self.sessions_live_as_long_as_they_should()

    @rule(visit=consumes(visits))
    def somebody_signs_out(self, visit):
        session = sessions.of_recipient(self.gateways, visit.token)
        if session is not None:
            sessions.end(self.gateways, session)
            visit.ended = True

    def end_everything(self):
        for attempt in self.attempts:
            attempt.closed = True
        for visit in self.sessions:
            visit.ended = True

    # What the office does

    @rule()
    def a_new_sheet_is_printed(self):
        if self.over:
            with pytest.raises(accesses.NotFiled):
                make.issued(self.gateways, self.recipient, "Feuillet perdu")
            return
        self.tick()
        self.former.append(self.secret)
        self.day = Count(DAY)  # the wrong codes of who held the former sheet keep nobody out
        _, self.secret = make.issued(self.gateways, self.recipient, "Feuillet perdu")
        self.end_everything()

    @rule(email=st.sampled_from(["", "", "etude@example.fr"]))
    def the_office_changes_the_way(self, email):
        if not self.over:
            ways.reset(self.gateways, self.recipient, email, "Téléphone perdu", by=self.teller, trace=make.TRACE)
            self.settled(email)

    def settled(self, email="", *, waived=False):
        self.bound, self.email, self.app, self.app_step, self.app_failures = "email" * bool(email), email, "", 0, 0
        self.waived = waived
        self.end_everything()

    @rule(sure=st.sampled_from([False] * 15 + [True]))
    def availability_ends(self, sure):
        if sure and not self.over:
            self.gateways.clock.advance(self.deposit.expires_at - self.now)
            self.over = True

    # What holds at every instant

    @invariant()
    def sessions_live_as_long_as_they_should(self):
        for visit in self.sessions:
            lives = visit.lives(self.now, timedelta(minutes=15), timedelta(minutes=60))
            assert (sessions.of_recipient(self.gateways, visit.token) is not None) == lives
            assert sessions.of_member(self.gateways, visit.token) is None

    @invariant()
    def each_code_opened_one_session(self):
        assert Session.select().where(Session.access == self.access).count() == len(self.sessions)

    @invariant()
    def no_sign_in_is_tried_more_than_five_times(self):
        tries = [one.tries for one in SignIn.select().where(SignIn.access == self.access)]
        assert sorted(tries) == sorted(one.tries for one in self.attempts)
        assert all(one <= 5 for one in tries)


class Members(Machine):
    """A member, whoever guesses the password, and whoever looks over a shoulder."""

    sign_ins, visits = Bundle("sign_ins"), Bundle("visits")
    made = 0

    def __init__(self):
        super().__init__()
        Members.made += 1
        self.email = f"camille{Members.made}@example.fr"
        self.member = make.member(self.gateways, self.office, email=self.email)
        self.pairs: dict[str, Count] = {}
        self.day = Count(DAY)
        self.key, self.last = "", 0
        self.unused, self.used = [], []
        self.attempts: list[Attempt] = []
        self.sessions: list[Visit] = []

    @rule(address=ANYWHERE, times=st.sampled_from([1, 4, 6]))
    def wrong_passwords_are_answered_as_for_an_unknown_address(self, address, times):
        for _ in range(times):
            self.type_wrong_password(address)

    def type_wrong_password(self, address):
        network, twin = ADDRESSES[address]
        pair = self.pairs.setdefault(network, Count(DAY))
        found = members.begin(self.gateways, self.email, "mauvais", journal.Trace(address, ""))
        other = members.begin(self.gateways, f"{network}.{self.email}", "mauvais", journal.Trace(twin, ""))

        if not getattr(self, f"known_{network}", False):  # a right password began the count of the known one again
            assert answer(found) == answer(other)
        waiting = pair.waits(self.now)
        assert isinstance(found, members.Delayed if waiting else members.Wrong)
        pair.until = self.now + waiting_after(pair.fail(self.now))
        assert getattr(found, "retry_after", 0) == (pair.waits(self.now) if waiting else 0)

    @rule(target=sign_ins, address=ANYWHERE)
    def the_right_password_passes_unless_it_has_to_wait(self, address):
        network, _ = ADDRESSES[address]
        waiting = self.pairs[network].waits(self.now) if network in self.pairs else 0
        found = members.begin(self.gateways, f" {self.email.upper()} ", make.PASSWORD, journal.Trace(address, ""))
        if waiting:
            assert isinstance(found, members.Delayed)
            assert found.retry_after == waiting
            return multiple()
        assert isinstance(found, str), found
        self.pairs.pop(network, None)
        setattr(self, f"known_{network}", True)
        shown = members.enrolment(self.gateways, members.find(self.gateways, found))
        assert (shown is None) == bool(self.key)
        attempt = Attempt(found, self.now, "app", key=shown.key if shown else "")
        self.attempts.append(attempt)
        return attempt

    @rule(
        target=visits,
        attempt=sign_ins,
        shift=st.integers(-2, 2),
        kind=st.sampled_from(["right", "right", "wrong", "recovery", "recovery", "recovery used", "recovery wrong"]),
    )
    def a_code_is_typed(self, attempt, shift, kind):
        key = attempt.key or self.key
        code, recovery, step = self.typed(key, shift, kind)

        def confirm():
            return members.confirm(self.gateways, attempt.token, code, make.TRACE, recovery=recovery)

        over = attempt.closed or self.now - attempt.since >= timedelta(minutes=15)
        if over or (attempt.key and self.key):
            with pytest.raises(members.SignInOver):
                confirm()
            return multiple()
        if attempt.key and recovery:  # who enrols is asked for the application's code, and gave none
            with pytest.raises(codes.CodeIncomplete):
                confirm()
            return multiple()
        exhausted, found = self.day.now_at(self.now) >= 25, confirm()
        if exhausted:
            assert isinstance(found, members.Delayed)
            return multiple()
        if self.spent(key, step, recovery):
            assert isinstance(found, str), found
            attempt.closed, self.key = True, key
            visit = Visit(found, self.now, self.now)
            self.sessions.append(visit)
            return visit
        attempt.tries += 1
        attempt.closed = attempt.tries >= 5
        self.day.fail(self.now)
        assert isinstance(found, members.CodeWrong), found
        assert found.details["left"] == 5 - attempt.tries
        return multiple()

    def typed(self, key, shift, kind):
        """Return the code typed, the recovery code typed instead, and the step of the first, 0 when it is of none."""
        if kind.startswith("recovery"):
            known = {"recovery": self.unused, "recovery used": self.used}.get(kind)
            return "", known[shift % len(known)] if known else codes.draw_recovery(), 0
        present = int(self.now.timestamp()) // 30
        if kind == "right":
            step = present + shift
            return pyotp.TOTP(key).generate_otp(step), "", step if abs(shift) <= 1 else 0
        near = {pyotp.TOTP(key).generate_otp(present + one) for one in (-1, 0, 1)}
        return next(code for code in ("000000", "111111", "222222", "333333") if code not in near), "", 0

    def spent(self, key, step, recovery):
        """Tell whether what was typed is right, and remember that it served."""
        if recovery:
            if recovery not in self.unused:
                return False
            self.unused.remove(recovery)
            self.used.append(recovery)
            return True
        if step <= self.last:
            return False
        self.last = step
        return True

    @rule()
    def recovery_codes_are_drawn(self):
        self.used += self.unused
        self.unused = recovery_codes.draw(self.gateways, self.member, make.TRACE)

    @rule(visit=visits, shift=st.integers(-1, 1), kind=st.sampled_from(["right", "wrong", "recovery", "recovery used"]))
    def a_proof_is_asked_again(self, visit, shift, kind):
        session = sessions.of_member(self.gateways, visit.token)
        if session is None:
            return
        code, recovery, step = self.typed(self.key, shift, kind)
        exhausted = self.day.now_at(self.now) >= 25
        found = proofs.renew(self.gateways, session, code, recovery, make.TRACE)
        if exhausted:
            assert isinstance(found, members.Delayed)
        elif self.spent(self.key, step, recovery):
            assert isinstance(found, str), found
            assert sessions.of_member(self.gateways, visit.token) is None
            visit.token, visit.seen = found, self.now
            assert proofs.recent(sessions.of_member(self.gateways, found), self.now)
        else:
            self.day.fail(self.now)
            visit.ended = visit.wrong.fail(self.now) >= 5
            assert isinstance(found, proofs.ProofOver if visit.ended else members.CodeWrong), found

    # Stories

    STORIES = (
        "a_sign_in_takes_five_tries", "a_day_takes_twenty_five_wrong_codes_whatever_they_are_typed_into",
        "a_step_serves_once_wherever_it_is_typed", "a_recovery_code_serves_once_wherever_it_is_typed",
        "of_two_applications_being_enrolled_one_is_the_member_s", "five_wrong_proofs_end_the_session",
        "wrong_passwords_are_told_alike",
    )  # fmt: skip

    def awaiting(self):
        """Return a sign-in that waits for a code, after whatever its password has to wait for."""
        self.gateways.clock.advance(timedelta(minutes=16))
        return self.the_right_password_passes_unless_it_has_to_wait("198.51.100.7")

    def signed_in(self):
        """Return a visit, by the code of a step that never served, or the refusal of who typed too many wrong ones."""
        attempt = self.awaiting()
        self.gateways.clock.advance(timedelta(seconds=61))
        return self.a_code_is_typed(attempt, 0, "right")

    @rule(kind=st.sampled_from(["wrong", "recovery wrong"]))
    def a_sign_in_takes_five_tries(self, kind="wrong"):
        attempt = self.awaiting()
        for _ in range(6):
            self.a_code_is_typed(attempt, 0, "wrong" if attempt.key else kind)
        self.a_code_is_typed(attempt, 1, "right")

    @rule()
    def a_day_takes_twenty_five_wrong_codes_whatever_they_are_typed_into(self):
        visit = self.signed_in()
        for number in range(6):
            attempt = self.awaiting()
            for _ in range(4):
                self.a_code_is_typed(attempt, 0, "recovery wrong" if number % 2 and not attempt.key else "wrong")
        for kind in ("wrong", "wrong", "right"):
            self.a_code_is_typed(self.awaiting(), 0, kind)
        if isinstance(visit, Visit):
            self.a_proof_is_asked_again(visit, 0, "right")

    @rule()
    def a_step_serves_once_wherever_it_is_typed(self):
        visit = self.signed_in()
        if isinstance(visit, Visit):
            self.a_proof_is_asked_again(visit, 0, "right")
            self.a_proof_is_asked_again(visit, 1, "right")
            self.a_proof_is_asked_again(visit, 1, "right")
        first = self.the_right_password_passes_unless_it_has_to_wait("198.51.100.7")
        second = self.the_right_password_passes_unless_it_has_to_wait("198.51.100.7")
        for attempt in (first, second):
            if isinstance(attempt, Attempt):
                self.a_code_is_typed(attempt, 1, "right")

    @rule()
    def a_recovery_code_serves_once_wherever_it_is_typed(self):
        visit = self.signed_in()
        self.recovery_codes_are_drawn()
        for kind in ("recovery", "recovery used", "recovery used"):
            self.a_code_is_typed(self.awaiting(), 0, kind)
        visit = self.signed_in() if not isinstance(visit, Visit) else visit
        for kind in ("recovery used", "recovery", "recovery used"):
            if isinstance(visit, Visit):
                self.a_proof_is_asked_again(visit, -1, kind)
        self.recovery_codes_are_drawn()
        self.a_code_is_typed(self.awaiting(), -1, "recovery used")

    @rule()
    def of_two_applications_being_enrolled_one_is_the_member_s(self):
        self.gateways.clock.advance(timedelta(minutes=16))
        address = "198.51.100.7"
        first = self.the_right_password_passes_unless_it_has_to_wait(address)
        second = self.the_right_password_passes_unless_it_has_to_wait(address)
        for attempt in (first, second):
            if isinstance(attempt, Attempt):
                self.a_code_is_typed(attempt, 0, "right")

    @rule(kind=st.sampled_from(["wrong", "recovery used"]))
    def five_wrong_proofs_end_the_session(self, kind="wrong"):
        visit = self.signed_in()
        for _ in range(6):
            if isinstance(visit, Visit):
                self.a_proof_is_asked_again(visit, 0, kind)
        self.sessions_live_as_long_as_they_should()

    @rule(address=ANYWHERE)
    def wrong_passwords_are_told_alike(self, address="198.51.100.7"):
        for _ in range(6):
            self.type_wrong_password(address)

    @rule(visit=visits)
    def somebody_works(self, visit):
        session = sessions.of_member(self.gateways, visit.token)
        if session is not None:
            sessions.touch(self.gateways, session)
            if self.now - visit.seen >= timedelta(seconds=30):
                visit.seen = self.now

    @rule(visit=consumes(visits))
    def somebody_signs_out(self, visit):
        session = sessions.of_member(self.gateways, visit.token)
        if session is not None:
            sessions.end(self.gateways, session)
            visit.ended = True

    @invariant()
    def sessions_live_as_long_as_they_should(self):
        for visit in self.sessions:
            lives = visit.lives(self.now, timedelta(minutes=60), timedelta(hours=10))
            assert (sessions.of_member(self.gateways, visit.token) is not None) == lives
            assert sessions.of_recipient(self.gateways, visit.token) is None

    @invariant()
    def each_code_opened_one_session(self):
        assert Session.select().where(Session.member == self.member).count() == len(self.sessions)


def run(machine, gateways, **facts):
    """Open examples with each story in turn, then have anything happen."""
    usual = hypothesis.settings()
    chosen = hypothesis.settings(
        usual,
        max_examples=max(1, usual.max_examples // 33),
        stateful_step_count=usual.stateful_step_count // 5,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    for story in machine.STORIES:
        kind = type(machine.__name__, (machine,), {"gateways": gateways, "story": story, **facts})
        run_state_machine_as_test(kind, settings=chosen)


def test_whatever_happens_recipients_are_counted_identified_and_forgotten_as_specified(gateways):
    office = make.office(gateways)
    run(Recipients, gateways, office=office, teller=make.member(gateways, office))


def test_whatever_happens_members_are_counted_and_signed_in_as_specified(gateways):
    run(Members, gateways, office=make.office(gateways))
