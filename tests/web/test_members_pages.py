"""Members on their pages: invited by mail, led by administrators, asked again for a proof, ending their sessions."""

import html
import re
from datetime import timedelta
from uuid import uuid4

import make
import pyotp
import pytest
from web.conftest import words

from mespieces import models
from mespieces.domain import members, sessions
from mespieces.models import Access, Member, Session
from mespieces.views import current
from mespieces.views.office import door

CHOSEN = "lanterne poivre 8 chaussée"
INVITED = {"name": "Dominique Le Gall", "email": "dominique@example.fr", "role": "clerc"}


@pytest.fixture
def boss(site):
    """Add an administrator."""
    return make.member(site.gateways, role="administrateur", email="claire@example.fr")


@pytest.fixture
def administrator(site, boss):
    """Sign the administrator in."""
    return site.member(boss)


@pytest.fixture
def clerk(site, boss):
    """Add a clerk of the same office."""
    return make.member(site.gateways, boss.office, role="clerc", email="clerc@example.fr")


def link(site):
    """The address of the newest invitation."""
    return re.search(r"https://pieces\.example\.fr(/etude/invitation/\S+)", site.mails()[-1])[1]


def application(site, member):
    """Enrol an application for the member, as their first sign-in does."""
    key = b"12345678901234567890"
    with models.write():
        members.enrol(site.gateways, member, key)
    return pyotp.TOTP("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")


def later(site, **passed):
    """Let time pass, the session used all along."""
    site.gateways.clock.advance(timedelta(**passed))


# Invited


def test_an_administrator_invites_and_the_invited_come_in_with_a_password_of_their_own(site, administrator):
    administrator.get("/etude/membres")
    assert administrator.post("/etude/membres", data=INVITED).location == "/etude/membres"
    assert "Une invitation part vers dominique@example.fr" in administrator.get("/etude/membres").text
    assert "Invitation envoyée" in administrator.page.text
    at, invited = link(site), site.visitor()
    for _ in range(3):  # what scans mails opens the link first
        assert "Dominique Le Gall" in invited.get(at).text
    refused = invited.post(at, 422, data={"password": "motdepasse2026", "again": "motdepasse2026"})
    assert 'id="password-error"' in refused.text
    assert 'id="again-error"' in invited.post(at, 422, data={"password": CHOSEN, "again": "autre"}).text
    assert CHOSEN not in invited.page.text
    assert invited.post(at, data={"password": CHOSEN, "again": CHOSEN}).location == "/etude/connexion"
    assert "Votre mot de passe est enregistré" in invited.get("/etude/connexion").text

    assert invited.post("/etude/connexion", data={"email": INVITED["email"], "password": CHOSEN}).status_code == 303
    page = html.unescape(invited.get("/etude/connexion/code").text)
    app = pyotp.TOTP(re.search(r"secret=([A-Z2-7]+)", page)[1])
    code = app.at(site.gateways.clock.now())
    assert invited.post("/etude/connexion/code", data={"code": code}).location == "/etude/compte/secours"
    invited.get("/etude/compte/secours")
    shown = re.findall(r'class="secret">([0-9A-Z-]{14})<', invited.post("/etude/compte/secours", 200).text)
    assert len(shown) == 10
    assert "secret" not in invited.get("/etude/compte/secours").text
    later(site, minutes=1)
    lost = site.visitor()
    lost.post("/etude/connexion", data={"email": INVITED["email"], "password": CHOSEN})
    assert "faute de frappe" in lost.post("/etude/connexion/code", 422, data={"recovery": "AAAA-AAAA-AAAA"}).text
    assert lost.post("/etude/connexion/code", data={"recovery": shown[0].lower()}).location == "/etude"
    assert "Il vous en reste 9 sur dix" in lost.get("/etude/compte").text


def test_an_invitation_that_serves_no_more_is_one_page_whatever_the_reason(site, administrator):
    administrator.post("/etude/membres", data=INVITED)
    at, stranger = link(site), site.visitor()
    pages = [words(stranger.get("/etude/invitation/inconnu", 410))]
    stranger.get(at)
    stranger.post(at, data={"password": CHOSEN, "again": CHOSEN})
    stranger.get("/etude/connexion")
    pages.append(words(stranger.get(at, 410)))
    stranger.post(at, 410, data={"password": CHOSEN, "again": CHOSEN})
    administrator.post("/etude/membres", data=INVITED | {"email": "autre@example.fr"})
    expired = link(site)
    later(site, hours=72)
    pages.append(words(stranger.get(expired, 410)))

    assert len({re.sub(r"demande : \w+|demande : \w+", "", page) for page in pages}) == 1
    assert "Invitation terminée" in pages[0]


def test_the_administrator_s_page_of_a_member_sends_another_link_and_says_until_when(site, boss, administrator, clerk):
    at = f"/etude/membres/{clerk.id}"
    administrator.get(at)
    administrator.post(f"{at}/invitation")
    assert "27\u00a0novembre\u00a02026" in administrator.get(at).text
    assert link(site)
    administrator.post(f"{at}/role", 422, data={"role": "huissier"})
    administrator.post(f"{at}/role", data={"role": "commissaire"})
    assert Member.get_by_id(clerk.id).role == "commissaire"
    refused = administrator.post(f"/etude/membres/{boss.id}/depart", 409)
    assert "seul administrateur" in refused.text
    told = words(administrator.get("/etude/journal"))
    assert "Camille Marchand a changé le rôle de Camille Marchand : Clerc, puis Commissaire de justice" in told


def test_a_member_who_leaves_is_out_of_every_browser_at_once(site, administrator, clerk):
    theirs = site.member(clerk)
    theirs.get("/etude/depots")

    administrator.post(f"/etude/membres/{clerk.id}/depart")

    assert theirs.get("/etude/depots", 303).location == "/etude/connexion"
    assert clerk.email not in administrator.get("/etude/membres").text
    administrator.get(f"/etude/membres/{clerk.id}", 404)


def test_who_is_no_administrator_sees_the_members_and_changes_none(site, boss, administrator, clerk):
    theirs, before = site.member(clerk), repr(list(Member.select().dicts()))
    page = theirs.get("/etude/membres").text
    assert boss.email in page
    assert "Inviter un membre" not in page
    assert "/etude/membres/" not in page
    for path, data in (
        (f"{clerk.id}/role", {"role": "administrateur"}),
        (f"{boss.id}/depart", {}),
        (f"{boss.id}/invitation", {}),
    ):
        assert "Seul un administrateur" in theirs.post(f"/etude/membres/{path}", 404, data=data).text
    theirs.post("/etude/membres", 404, data=INVITED)
    theirs.get(f"/etude/membres/{boss.id}", 404)

    assert repr(list(Member.select().dicts())) == before
    assert make.count("member.added") == 2


def test_an_administrator_reaches_nobody_of_another_office(site, administrator):
    elsewhere = make.member(site.gateways, role="clerc", email="ailleurs@example.fr")
    administrator.get(f"/etude/membres/{elsewhere.id}", 404)
    for action in ("role", "depart", "invitation"):
        administrator.post(f"/etude/membres/{elsewhere.id}/{action}", 404, data={"role": "auditeur"})

    assert Member.get_by_id(elsewhere.id).left_at is None


def test_an_address_taken_is_said_beside_its_field(administrator, clerk):
    refused = administrator.post("/etude/membres", 422, data=INVITED | {"email": clerk.email})

    assert 'id="email-error"' in refused.text
    assert 'value="Dominique Le Gall"' in refused.text


# Proof asked again


def test_what_is_sensitive_asks_for_a_proof_after_ten_minutes_and_leads_back(site, boss, administrator):
    app = application(site, boss)
    deposit = make.filed(site.gateways, boss.office)
    page = f"/etude/depots/{deposit.id}/destinataires/{make.first(deposit).id}"
    administrator.get(page)
    later(site, minutes=10)

    asked = administrator.post(f"{page}/feuillet").location
    assert asked.startswith("/etude/preuve?vers=")
    assert Access.get().issued_at is None
    before = administrator.cookie(current.OFFICE)
    assert f'name="vers" value="{page}"' in administrator.get(asked).text
    assert 'id="code-error"' in administrator.post("/etude/preuve", 422, data={"vers": page, "code": "1"}).text
    assert f'name="vers" value="{page}"' in administrator.page.text
    mistyped = administrator.post("/etude/preuve", 422, data={"vers": page, "recovery": "AAAA"})
    assert 'id="recovery-error"' in mistyped.text
    code = app.at(site.gateways.clock.now())
    assert administrator.post("/etude/preuve", data={"vers": page, "code": code}).location == page
    assert "recommencez" in administrator.get(page).text
    assert administrator.cookie(current.OFFICE) != before
    assert administrator.post(f"{page}/feuillet", 200).mimetype == "application/pdf"


def test_what_was_typed_waits_for_the_proof_and_needs_one_more_click(site, boss, administrator):
    app = application(site, boss)
    administrator.get("/etude/membres")
    later(site, minutes=10)
    typed = {"name": "Zoé « Zo » <Lenoir>", "email": "zoe@example.fr", "role": "clerc"}

    asked = administrator.post("/etude/membres", 200, data=typed)
    fields = dict(re.findall(r'name="((?:waiting\.|action|vers)[^"]*)" value="([^"]*)"', asked.text))
    assert fields["action"] == "/etude/membres"
    assert "csrf_token" not in str(fields.keys())
    fields = {name: html.unescape(value) for name, value in fields.items()}
    mistaken = administrator.post("/etude/preuve", 422, data=fields | {"code": "1"})
    assert mistaken.text.count('name="waiting.email" value="zoe@example.fr"') == 2
    code = app.at(site.gateways.clock.now())
    resumed = administrator.post("/etude/preuve", 200, data=fields | {"code": code})

    assert '<form method="post" action="/etude/membres" data-once>' in resumed.text
    kept = dict(re.findall(r'<input type="hidden" name="([a-z]+)" value="([^"]*)"', resumed.text))
    kept = {name: html.unescape(value) for name, value in kept.items()}
    assert {name: kept[name] for name in typed} == typed
    administrator.post("/etude/membres", data=kept)
    assert Member.get(Member.email == "zoe@example.fr").name == typed["name"]


def test_a_password_never_waits_for_the_proof(site, boss, administrator):
    application(site, boss)
    later(site, minutes=10)

    asked = administrator.post("/etude/compte/application", 303, data={"current": "phrase-jamais-rendue"})

    assert asked.location.startswith("/etude/preuve")
    assert "phrase-jamais-rendue" not in asked.text + administrator.get(asked.location).text


def test_a_forged_form_does_not_wait_for_the_proof(site, boss, administrator):
    application(site, boss)
    later(site, minutes=10)

    typed = {"name": "A", "email": "a@example.fr", "role": "clerc", "csrf_token": "forged"}
    forged = administrator.post("/etude/membres", 400, data=typed)

    assert "waiting." not in forged.text


def test_the_form_that_waited_goes_nowhere_but_the_office_s_pages(site, boss, administrator):
    app = application(site, boss)
    later(site, minutes=10)
    code = app.at(site.gateways.clock.now())
    data = {"code": code, "waiting.name": "A", "action": "https://evil.example/etude"}

    assert '<form method="post" action="/etude" data-once>' in administrator.post("/etude/preuve", 200, data=data).text


SENSITIVE = {
    "membres": "membres", "membres/{member}/invitation": "membres/{member}", "membres/{member}/role": "membres/{member}",
    "membres/{member}/depart": "membres/{member}", "compte/secours": "compte/secours",
    "compte/application": "compte/application",
    "depots/{deposit}/retirer": "depots/{deposit}",
    "journal/exports": "journal/exports",
    "depots/{deposit}/feuillets": "depots/{deposit}",
    "depots/{deposit}/destinataires/{recipient}/application": "depots/{deposit}/destinataires/{recipient}",
    "depots/{deposit}/destinataires/{recipient}/feuillet": "depots/{deposit}/destinataires/{recipient}",
    "depots/{deposit}/destinataires/{recipient}/code": "depots/{deposit}/destinataires/{recipient}",
    "depots/{deposit}/destinataires/{recipient}/canal": "depots/{deposit}/destinataires/{recipient}",
}  # fmt: skip


def test_each_sensitive_action_of_the_site_has_its_case_here(site):
    fits = site.app.url_map.bind("pieces.example.fr")
    named = dict.fromkeys(("member", "deposit", "recipient"), uuid4())
    asked = {fits.match(f"/etude/{path}".format(**named), method="POST")[0] for path in SENSITIVE}

    # A download is no form: `test_export_pages.py` asks it.
    assert asked | {"office.download_export"} == set(door.SENSITIVE)
    assert len(SENSITIVE) == len(asked)


@pytest.mark.parametrize("path", SENSITIVE)
def test_each_sensitive_action_is_kept_until_a_proof_and_its_page_is_where_it_leads_back(
    site, boss, administrator, path
):
    deposit = make.filed(site.gateways, boss.office)
    named = {"member": boss.id, "deposit": deposit.id, "recipient": make.first(deposit).id}
    page, action = f"/etude/{SENSITIVE[path]}".format(**named), f"/etude/{path}".format(**named)
    administrator.get(page)
    later(site, minutes=9, seconds=59)
    assert "preuve" not in (administrator.post(action, None).location or "")
    before = make.operations()
    later(site, seconds=1)

    asked = administrator.post(action)

    assert asked.location == f"/etude/preuve?vers={page}"
    assert make.operations() == before


@pytest.mark.parametrize(
    "vers",
    ["https://ailleurs.example/etude", "//ailleurs.example/etude", "/\\ailleurs.example/etude", "javascript:alert(1)",
     "/pieces", "/etudes", "", "/etude\n/x", "http://[", "/\t/ailleurs.example/etude",
     "/etude/../pieces", "/etude/./../pieces", "/etude/%2e%2E/pieces", "/etude/.%2e/pieces", "/etude/depots/../../x"],
)  # fmt: skip
def test_a_proof_leads_to_no_page_but_the_office_s(site, boss, administrator, vers):
    app = application(site, boss)
    assert 'name="vers" value="/etude"' in administrator.get("/etude/preuve", query_string={"vers": vers}).text
    code = app.at(site.gateways.clock.now())

    assert administrator.post("/etude/preuve", data={"vers": vers, "code": code}).location == "/etude"


def test_five_wrong_proofs_lead_back_to_the_password(site, boss, administrator):
    application(site, boss)
    for _ in range(4):
        administrator.post("/etude/preuve", 422, data={"code": "000000"})
    assert "Connexion à recommencer" in administrator.post("/etude/preuve", 410, data={"code": "000000"}).text

    assert administrator.get("/etude/compte", 303).location == "/etude/connexion"


# Their own account


def test_a_member_sees_their_sessions_and_ends_them(site, clerk):
    here, there, elsewhere = site.member(clerk), site.member(clerk), site.member(clerk)
    Session.update(agent="Firefox, Linux").execute()
    page = here.get("/etude/compte").text
    assert page.count("Firefox, Linux") == 3
    assert page.count("Cette session") == 1
    one = sessions.of_member(site.gateways, there.cookie(current.OFFICE))
    here.post(f"/etude/compte/sessions/{one.id}/terminer")
    there.get("/etude/compte", 303)
    elsewhere.get("/etude/compte")
    here.post("/etude/compte/sessions/terminer")

    elsewhere.get("/etude/compte", 303)
    assert "Terminer toutes les autres" not in here.get("/etude/compte").text


def test_the_browser_of_a_session_is_told_in_two_words(site, clerk):
    visitor = site.visitor()
    visitor.post("/etude/connexion", data={"email": clerk.email, "password": make.PASSWORD})
    key = re.search(r"secret=([A-Z2-7]+)", html.unescape(visitor.get("/etude/connexion/code").text))[1]
    agent = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:132.0) Gecko/20100101 Firefox/132.0"
    code = pyotp.TOTP(key).at(site.gateways.clock.now())
    visitor.post("/etude/connexion/code", data={"code": code}, headers={"User-Agent": agent})

    assert "Firefox, Windows" in visitor.get("/etude/compte").text
    assert [row.agent for row in Session.select()] == ["Firefox, Windows"]


def test_a_member_changes_their_password_from_their_account(site, clerk):
    here = site.member(clerk)
    typed = {"current": make.PASSWORD, "password": CHOSEN, "again": CHOSEN}
    here.get("/etude/compte")
    for wrong, field in (({"current": "x"}, "current"), ({"password": "court"}, "password"), ({"again": "x"}, "again")):
        assert f'id="{field}-error"' in here.post("/etude/compte/mot-de-passe", 422, data=typed | wrong).text

    here.post("/etude/compte/mot-de-passe", data=typed)

    assert "Votre mot de passe est changé" in here.get("/etude/compte").text
    site.visitor().post("/etude/connexion", data={"email": clerk.email, "password": CHOSEN})


def test_a_member_replaces_their_application_from_their_account(site, clerk):
    application(site, clerk)
    here = site.member(clerk)
    here.get("/etude/compte/application")
    here.get("/etude/compte/application/code", 410)
    assert 'id="current-error"' in here.post("/etude/compte/application", 422, data={"current": "x"}).text
    entered = here.post("/etude/compte/application", data={"current": make.PASSWORD}).location
    page = html.unescape(here.get(entered).text)
    new = pyotp.TOTP(re.search(r"secret=([A-Z2-7]+)", page)[1])
    assert here.get("/etude/connexion/application.svg").mimetype == "image/svg+xml"
    assert 'id="code-error"' in here.post(entered, 422, data={"code": "000000"}).text
    here.post(entered, data={"code": new.at(site.gateways.clock.now())})

    assert "Votre nouvelle application est enregistrée" in here.get("/etude/compte").text
    here.get(entered, 410)


def test_an_auditor_has_an_account_and_no_members_to_see(site, boss):
    auditor = site.member(make.member(site.gateways, boss.office, role="auditeur"))

    auditor.get("/etude/compte")
    auditor.get("/etude/compte/secours")
    auditor.get("/etude/membres", 404)


def test_a_part_of_a_page_that_needs_a_proof_leads_the_whole_page_to_it(site, boss, administrator):
    application(site, boss)
    administrator.get("/etude/membres")
    later(site, minutes=10)
    typed = {"name": "Zoé Lenoir", "email": "zoe@example.fr", "role": "clerc"}
    asked = administrator.post("/etude/membres", 200, data=typed, headers={"HX-Request": "true"})

    assert asked.headers["HX-Redirect"].startswith("/etude/preuve?vers=")
    assert Member.get_or_none(Member.email == "zoe@example.fr") is None
