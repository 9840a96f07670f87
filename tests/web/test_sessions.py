"""Sessions as people meet them: renewed in place, asked about for nothing, ended by the next one of the browser."""

from datetime import timedelta

import make
import pyotp
import pytest

from mespieces import models
from mespieces.domain import members, passwords, sessions
from mespieces.views import current

MINUTE = timedelta(minutes=1)


@pytest.fixture
def marchand(site):
    return make.member(site.gateways, email="marchand@etude.example")


def application(site, clerk):
    """Return the application that the sign-in in progress enrols."""
    sign_in = members.find(site.gateways, clerk.cookie(current.OFFICE_SIGN_IN))
    return pyotp.TOTP(members.enrolment(site.gateways, sign_in).key)


def test_asking_how_long_is_left_renews_nothing_and_going_on_does(site):
    debtor = site.reading(make.filed(site.gateways))
    debtor.get("/pieces")
    for minutes, left in ((10, 300), (4, 60)):
        site.gateways.clock.advance(minutes * MINUTE)
        assert debtor.get("/session").json["left"] == left
    assert debtor.post("/session", 200).json == {"left": 900, "limit": 46 * 60}
    site.gateways.clock.advance(14 * MINUTE)
    debtor.get("/session")
    site.gateways.clock.advance(MINUTE)
    debtor.get("/session", 303)


def test_a_member_asks_and_goes_on_alike(site, marchand):
    clerk = site.member(marchand)
    clerk.get("/etude/depots")
    for minutes, left in ((50, 600), (9, 60)):
        site.gateways.clock.advance(minutes * MINUTE)
        assert clerk.get("/etude/session").json["left"] == left
    assert clerk.post("/etude/session", 200).json["left"] == 3600
    site.gateways.clock.advance(60 * MINUTE)
    clerk.get("/etude/session", 303)


def test_going_on_leads_no_further_than_the_hour(site):
    debtor = site.reading(make.filed(site.gateways))
    debtor.get("/pieces")
    for _ in range(4):
        site.gateways.clock.advance(14 * MINUTE)
        last = debtor.post("/session", 200).json
    assert last == {"left": 240, "limit": 240}


def test_going_on_needs_the_anti_forgery_field(site):
    debtor = site.reading(make.filed(site.gateways))
    assert debtor.ask("POST", "/session", None).status_code == 400


def test_a_page_says_in_words_until_when_the_session_lasts(site, marchand):
    deposit = make.filed(site.gateways, marchand.office)
    for visitor, page in ((site.reading(deposit), "/pieces"), (site.member(marchand), "/etude/depots")):
        said = visitor.get(page).text.partition("<noscript>")[2].partition("</noscript>")[0]
        assert "Votre session se termine le" in said
        assert "au plus tard le" in said


def test_identifying_again_in_a_browser_ends_its_former_session_and_no_other(site):
    access, secret = make.issued(site.gateways, make.first(make.filed(site.gateways)))
    debtor, elsewhere = site.visitor(), site.visitor()
    tokens = []
    for visitor in (elsewhere, debtor, debtor):
        visitor.post("/consulter", data={"reference": access.reference, "secret": secret})
        if not tokens:
            visitor.post("/consulter/canal", data={"channel": "email", "email": "payet@example.fr"})
        visitor.post("/consulter/code", data={"code": site.mailed_code()})
        tokens.append(visitor.cookie(current.ACCESS))
        site.gateways.clock.advance(2 * MINUTE)

    living = [sessions.of_recipient(site.gateways, token) is not None for token in tokens]
    assert living == [True, False, True]


def test_identifying_again_without_a_second_step_ends_the_former_session_too(site):
    who = make.first(make.filed(site.gateways))
    access, secret = make.issued(site.gateways, who)
    type(who).update(second_step_waived_because="Sans téléphone").execute()
    debtor, tokens = site.visitor(), []
    for _ in range(2):
        debtor.post("/consulter", data={"reference": access.reference, "secret": secret})
        debtor.post("/consulter/code")
        tokens.append(debtor.cookie(current.ACCESS))

    assert [sessions.of_recipient(site.gateways, token) is not None for token in tokens] == [False, True]


def test_signing_in_again_in_a_browser_ends_its_former_session_and_no_other(site, marchand):
    clerk, elsewhere, tokens, app = site.visitor(), site.visitor(), [], None
    for visitor in (elsewhere, clerk, clerk):
        visitor.post("/etude/connexion", data={"email": marchand.email, "password": make.PASSWORD})
        app = app or application(site, visitor)
        visitor.post("/etude/connexion/code", data={"code": app.at(site.gateways.clock.now())})
        tokens.append(visitor.cookie(current.OFFICE))
        site.gateways.clock.advance(MINUTE)

    living = [sessions.of_member(site.gateways, token) is not None for token in tokens]
    assert living == [True, False, True]


def test_a_recipients_token_planted_as_a_members_ends_nothing(site, marchand):
    debtor = site.reading(make.filed(site.gateways, marchand.office))
    token = debtor.cookie(current.ACCESS)
    clerk = site.visitor()
    clerk.carry(current.OFFICE, token)
    clerk.post("/etude/connexion", data={"email": marchand.email, "password": make.PASSWORD})
    app = application(site, clerk)
    clerk.post("/etude/connexion/code", data={"code": app.at(site.gateways.clock.now())})

    assert sessions.of_recipient(site.gateways, token)


def test_a_password_too_long_is_refused_in_words_wherever_it_is_typed(site, marchand):
    long = "x" * (passwords.LONGEST_TYPED + 1)
    stranger, clerk = site.visitor(), site.member(marchand)
    refused = stranger.post("/etude/connexion", 422, data={"email": marchand.email, "password": long})
    assert "1001 caractères" in refused.text
    asked = {"current": make.PASSWORD, "password": long, "again": long}
    assert "1001 caractères" in clerk.post("/etude/compte/mot-de-passe", 422, data=asked).text


def test_a_part_of_a_page_asked_after_the_session_leads_the_whole_page_to_the_door(site, marchand):
    visitor = site.member(marchand)
    site.gateways.clock.advance(timedelta(hours=13))
    part = visitor.get("/etude/depots", headers={"HX-Request": "true"})

    assert part.headers["HX-Redirect"] == visitor.get("/etude/depots", 303).location
    assert "HX-Request" in part.headers["Vary"]
    assert part.text == ""


def sign_in(site, visitor, member):
    """Sign a member in, the application enrolled before, and return where that leads."""
    app = enrolled(site, member)
    visitor.post("/etude/connexion", data={"email": member.email, "password": make.PASSWORD})
    site.gateways.clock.advance(MINUTE)
    return visitor.post("/etude/connexion/code", data={"code": app.at(site.gateways.clock.now())}).location


def enrolled(site, member):
    with models.write():
        members.enrol(site.gateways, member, b"12345678901234567890")
    return pyotp.TOTP("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")


def test_signing_in_leads_back_to_the_page_that_was_asked_for_once(site, marchand):
    at = f"/etude/depots/{make.filed(site.gateways, marchand.office).id}"
    visitor = site.visitor()
    visitor.get(f"{at}?page=2", 303)

    assert sign_in(site, visitor, marchand) == f"{at}?page=2"
    visitor.post("/etude/deconnexion")
    assert sign_in(site, visitor, marchand) == "/etude"


def test_signing_in_after_a_part_was_asked_leads_back_to_the_page_around_it(site, marchand):
    page = f"/etude/depots/{make.draft(site.gateways, marchand.office).id}/destinataires"
    visitor = site.member(marchand)
    visitor.get(page)
    site.gateways.clock.advance(timedelta(hours=13))
    headers = {"HX-Request": "true", "HX-Current-URL": f"https://pieces.example.fr{page}"}

    left = visitor.post(page, 200, data={"name": "Alexandre Payet"}, headers=headers)

    assert (left.headers["HX-Redirect"], left.text) == ("/etude/connexion", "")
    assert sign_in(site, visitor, marchand) == page


@pytest.mark.parametrize(
    "around",
    ["https://evil.example/etude/../", "https://evil.example//evil.example", "https://[", "javascript:alert(1)", ""],
)
def test_signing_in_leads_to_no_other_site_whatever_a_request_says_of_its_page(site, marchand, around):
    visitor = site.visitor()
    visitor.get("/etude/depots", headers={"HX-Request": "true", "HX-Current-URL": around})

    assert sign_in(site, visitor, marchand) in {"/etude", "/etude/../"}


def test_signing_in_leads_back_to_pages_alone(site, marchand):
    deposit = make.filed(site.gateways, marchand.office)
    visitor = site.visitor()
    for path in ("/etude/session", f"/etude/depots/{deposit.id}/attestation.pdf"):
        visitor.get(path, 303)
    visitor.get("/etude/compte", 303, headers={"Sec-Fetch-Dest": "image"})
    visitor.post("/etude/membres", 303, data={"name": "Zoé"})

    assert sign_in(site, visitor, marchand) == "/etude"
