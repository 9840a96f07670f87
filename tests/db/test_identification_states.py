"""Whatever happens, in any order: machines act on the product and compare each answer with counters of their own.

The counters here are written from the specification and call nothing of the product. A thorough run:
`TESTS_PROFILE=thorough pytest tests/db/test_identification_states.py`.
"""

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
    passwords,
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

    def lives(self, now, idle, longest):
        return not self.ended and now - self.seen < idle and now - self.since < longest


class Machine(RuleBasedStateMachine):
    """A clock that never stands still."""

    gateways = None

    def __init__(self):
        super().__init__()
        with write():
            Throttle.delete().execute()
        self.gateways.mail.sent.clear()

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
        attempt = Attempt(found.token, self.now, way, self.email if way == "email" else "")
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
        if self.awaited_way() or way == "act":
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
        if attempt.given_at and self.now - attempt.given_at < timedelta(seconds=30):
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

    @rule(target=visits, attempt=sign_ins)
    def codes_are_guessed_until_the_sign_in_is_over(self, attempt):
        for _ in range(6):
            self.type_code(attempt, "wrong", 0)
        return multiple()

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

    @rule(target=visits, attempt=sign_ins, kind=st.sampled_from(["right", "wrong"]))
    def twenty_five_wrong_codes_a_day_are_enough(self, attempt, kind):
        self.type_code(attempt, "wrong", 0)
        with write():
            Throttle.update(failures=24).where(Throttle.key.startswith("code:")).execute()
        self.day.failures = 24 if self.day.since else 0
        self.type_code(attempt, "wrong", 0)
        return self.type_code(attempt, kind, 0)

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
        if self.bound == "":
            self.bound, self.email = attempt.way, attempt.email
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
        self.former.append(self.secret)
        _, self.secret = make.issued(self.gateways, self.recipient, "Feuillet perdu")
        self.end_everything()

    @rule(email=st.sampled_from(["", "", "etude@example.fr"]))
    def the_office_changes_the_way(self, email):
        if not self.over:
            ways.reset(self.gateways, self.recipient, email, "Téléphone perdu", by=self.teller, trace=make.TRACE)
            self.bound, self.email, self.app, self.app_step, self.app_failures = "email" * bool(email), email, "", 0, 0
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

    @rule(target=visits, attempt=sign_ins, shift=st.integers(-2, 2), wrong=st.sampled_from([False, False, True]))
    def a_code_is_typed(self, attempt, shift, wrong):
        key = attempt.key or self.key
        step = int(self.now.timestamp()) // 30 + shift
        near = {pyotp.TOTP(key).generate_otp(int(self.now.timestamp()) // 30 + one) for one in (-1, 0, 1)}
        other = next(code for code in ("000000", "111111", "222222", "333333") if code not in near)
        code = other if wrong else pyotp.TOTP(key).generate_otp(step)

        def confirm():
            return members.confirm(self.gateways, attempt.token, code, make.TRACE)

        over = attempt.closed or self.now - attempt.since >= timedelta(minutes=15)
        if over or (attempt.key and self.key):
            with pytest.raises(members.SignInOver):
                confirm()
            return multiple()
        exhausted, found = self.day.now_at(self.now) >= 25, confirm()
        if exhausted:
            assert isinstance(found, members.Delayed)
            return multiple()
        if not wrong and abs(shift) <= 1 and step > self.last:
            assert isinstance(found, str), found
            attempt.closed, self.key, self.last = True, key, step
            visit = Visit(found, self.now, self.now)
            self.sessions.append(visit)
            return visit
        attempt.tries += 1
        attempt.closed = attempt.tries >= 5
        self.day.fail(self.now)
        assert isinstance(found, members.CodeWrong), found
        assert found.details["left"] == 5 - attempt.tries
        return multiple()

    @rule(attempt=sign_ins)
    def codes_are_guessed_until_the_sign_in_is_over(self, attempt):
        for _ in range(6):
            self.a_code_is_typed(attempt, 0, wrong=True)

    @rule(attempt=sign_ins)
    def twenty_five_wrong_codes_a_day_are_enough(self, attempt):
        self.a_code_is_typed(attempt, 0, wrong=True)
        with write():
            Throttle.update(failures=24).where(Throttle.key.startswith("member-code:")).execute()
        self.day.failures = 24 if self.day.since else 0
        for _ in range(2):
            self.a_code_is_typed(attempt, 0, wrong=True)

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


@pytest.fixture
def quick_secrets(monkeypatch):
    """Stretch with little memory: the same function, and hundreds of secrets to check."""
    monkeypatch.setattr(passwords, "_MEMORY_KIB", 32)
    monkeypatch.setattr(passwords, "_NOBODY", passwords.stretch("nobody"))


def run(machine, gateways, **facts):
    usual = hypothesis.settings()
    chosen = hypothesis.settings(
        usual,
        max_examples=usual.max_examples // 10,
        stateful_step_count=usual.stateful_step_count // 2,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    run_state_machine_as_test(type(machine.__name__, (machine,), {"gateways": gateways, **facts}), settings=chosen)


def test_whatever_happens_recipients_are_counted_identified_and_forgotten_as_specified(gateways, quick_secrets):
    office = make.office(gateways)
    run(Recipients, gateways, office=office, teller=make.member(gateways, office))


def test_whatever_happens_members_are_counted_and_signed_in_as_specified(gateways, quick_secrets):
    run(Members, gateways, office=make.office(gateways))
