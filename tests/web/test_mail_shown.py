"""What the office sees of mails that did not arrive, and what pages say of waiting and of whom to tell."""

from datetime import timedelta

import make
import pytest

from mespieces import errors, models
from mespieces.domain import members, notices, one_time_codes, outbox, throttle
from mespieces.gateways.mail import open_mail
from mespieces.models import Document, Message, SignIn
from mespieces.views import current, refusals, words


@pytest.fixture
def deposit(site):
    return make.filed(site.gateways, blanks=1, recipients=("Alexandre Payet", "Jeanne Payet"))


@pytest.fixture
def office(site, deposit):
    return site.member(make.member(site.gateways, deposit.office))


def test_a_refused_mail_is_shown_beside_its_recipient_until_a_later_one_leaves(site, deposit, office, mailbox):
    object.__setattr__(site.gateways, "mail", open_mail(mailbox.url, site.gateways.settings.mail_from))
    payet, at = make.first(deposit), f"/etude/depots/{deposit.id}"
    token, _ = make.waiting(site.gateways, payet, "email")
    mailbox.answer_to_recipient = "550 5.1.1 <b>No such user</b>"
    outbox.drain(site.gateways, notices.compose)

    shown = "Courriel refusé le 24\xa0nov. 2026, 11\xa0h\xa000\xa0: 550 5.1.1 &lt;b&gt;No such user&lt;/b&gt;"
    page = office.get(at).text
    assert page.count(shown) == 1
    assert shown in page.partition("Alexandre Payet</a>")[2].partition("</tr>")[0]
    assert "Courriel au destinataire refusé (550" in page
    assert shown in office.get(f"{at}/destinataires/{payet.id}").text

    mailbox.answer_to_recipient = "250 OK"
    site.gateways.clock.advance(timedelta(minutes=1))
    one_time_codes.send(site.gateways, token, again=True)
    outbox.drain(site.gateways, notices.compose)
    assert "Courriel refusé" not in office.get(at).text
    assert "Courriel refusé" not in office.get(f"{at}/destinataires/{payet.id}").text


def test_a_mail_that_no_server_took_is_not_called_refused(gateways):
    recipient = make.first(make.filed(gateways, blanks=1))
    recipient.mail_refused_at, recipient.mail_refused_because = make.NOW, "la liaison avec le serveur a échoué"

    assert words.refused_mail(recipient).startswith("Courriel non parti le ")


# An address corrected


def test_a_corrected_address_gets_its_code_half_a_minute_after_the_former_and_one_more_is_told_to_wait(site, deposit):
    debtor, clock = site.visitor(), site.gateways.clock
    debtor.carry(current.SIGN_IN, make.begun(site.gateways, make.first(deposit)).token)
    debtor.get("/consulter/canal")

    def choose(address, status=303):
        debtor.post("/consulter/canal", status, data={"channel": "email", "email": address})
        return debtor.page

    def sent_to():
        outbox.drain(site.gateways, notices.compose)
        return [mail["To"] for mail in site.gateways.mail.sent]

    choose("payte@example.fr")
    assert sent_to() == ["payte@example.fr"]
    clock.advance(timedelta(seconds=10))
    choose("payet@example.fr")
    assert sent_to() == ["payte@example.fr"]
    assert "Le code est envoyé à" in debtor.get("/consulter/code").text
    choose("payet@example.com", 429)
    assert "patientez quelques instants" in debtor.page.text
    choose("payet@example.fr", 429)
    debtor.post("/consulter/canal", data={"channel": "office"})  # asks for no mail: at once
    clock.advance(timedelta(seconds=51))
    choose("payet@example.fr")
    assert sent_to()[1:] == ["payet@example.fr"] * (len(sent_to()) - 1)
    code = site.mailed_code()
    debtor.get("/consulter/code")
    debtor.post("/consulter/code", data={"code": code})


def test_another_identification_with_the_same_act_does_not_hurry_the_mails(gateways):
    recipient = make.first(make.filed(gateways, blanks=1))
    make.waiting(gateways, recipient, "email")
    make.waiting(gateways, recipient, "email")

    due = [row.due_at for row in Message.select().order_by(Message.due_at)]
    assert due == [make.NOW, make.NOW + one_time_codes.RESEND_AFTER]


# Waits and words


def test_a_member_is_told_how_long_wrong_codes_close_the_door(site, deposit):
    who = make.member(site.gateways, deposit.office)
    clerk = site.visitor()
    token = members.begin(site.gateways, who.email, make.PASSWORD, make.TRACE)
    clerk.carry(current.OFFICE_SIGN_IN, token)
    clerk.get("/etude/connexion/code")
    with models.write():
        for _ in range(throttle.CODE_LIMIT):
            throttle.fail(throttle.key("member-code", str(who.id)), site.gateways.clock.now())

    page = clerk.post("/etude/connexion/code", 429, data={"code": "123456"})

    assert page.headers["Retry-After"] == "86400"
    assert "dans 24\xa0heures" in page.text
    assert "quelques instants" not in page.text
    assert "figurant sur l’acte" not in page.text
    assert "prévenez la personne qui exploite ce service, avec la référence ci-dessous" in page.text


def test_a_member_who_told_five_codes_is_told_what_to_say(site, deposit):
    payet = make.first(deposit)
    make.waiting(site.gateways, payet, "office")
    SignIn.update(codes_issued=one_time_codes.CODES_A_SIGN_IN).execute()
    at = f"/etude/depots/{deposit.id}/destinataires/{payet.id}"
    site.gateways.clock.advance(timedelta(minutes=12))
    office = site.member(make.member(site.gateways, deposit.office))

    page = office.post(at + "/code", 429, data={"reason": "Au guichet"})

    assert "recommencer depuis la première page" in page.text
    assert page.headers["Retry-After"] == str(18 * 60)
    assert "figurant sur l’acte" not in page.text


def test_a_failure_sends_a_member_to_the_operator_and_a_debtor_to_the_office(site):
    deposit = make.filed(site.gateways)
    clerk, debtor = site.member(make.member(site.gateways, deposit.office)), site.reading(deposit)
    document = Document.update(fingerprint="0" * 64).returning(Document).execute()[0]

    page = clerk.get(f"/etude/depots/{deposit.id}/pieces/{document.id}/fichier", 503).text
    assert "Pour celle-ci, prévenez la personne qui exploite ce service, avec la référence ci-dessous." in page
    assert "figurant sur l’acte" not in page
    assert "Pour celle-ci, appelez le numéro figurant sur l’acte." in debtor.get("/pieces/1/fichier", 503).text


def _states(family):
    for state in family.__subclasses__():
        yield state
        yield from _states(state)


def test_nothing_that_a_refusal_says_sends_a_member_to_the_act(site):
    said = {line for state in [errors.Refusal, *_states(errors.Refusal)] for line in (state.message, state.advice)}
    said |= {line for page in [*refusals.WORDS.values(), refusals.UNFORESEEN] for line in page}
    assert sum("figurant sur l’acte" in line for line in said) > 5
    with site.app.test_request_context("/etude/depots"):
        suited = {line: refusals.suited(line) for line in said}
    with site.app.test_request_context("/pieces"):
        assert {refusals.suited(line) for line in said} == said

    for line, member in suited.items():
        assert "figurant sur l’acte" not in member
        assert (member == line) == ("figurant sur l’acte" not in line)
        assert ".." not in member
        assert member.count("référence ci-dessous") <= 1
