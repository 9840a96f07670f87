"""A recipient's evening: from the paper in their hands to the documents on their screen, three ways."""

import html
import io
import re
from datetime import timedelta

import make
import pikepdf
import pyotp

from mespieces.domain import codes
from mespieces.models import Recipient
from mespieces.views import current


def _sheet(site, deposit):
    """Print the first recipient's sheet; return the reference and the secret as people type them."""
    access, secret = make.issued(site.gateways, make.first(deposit))
    return {"reference": codes.show(access.reference), "secret": codes.show(secret)}


def _choose(visitor, **chosen):
    visitor.get("/consulter/canal")
    visitor.post("/consulter/canal", data=chosen)


def test_a_recipient_reads_with_a_code_received_by_mail(site):
    deposit = make.filed(site.gateways, documents=2)
    debtor, printed = site.visitor(), _sheet(site, deposit)

    page = debtor.get(f"/?reference={printed['reference']}")
    assert f'value="{printed["reference"]}"' in page.text
    assert debtor.post("/consulter", data=printed).location == "/consulter/canal"
    _choose(debtor, channel="email", email="payet@example.fr")
    assert "p…t@example.fr" in debtor.get("/consulter/code").text
    assert debtor.post("/consulter/code", data={"code": site.mailed_code()}).location == "/pieces"
    shown = debtor.get("/pieces").text.replace("\xa0", " ")

    assert "2 pièces à consulter" in shown
    assert "Consulter n’est ni payer, ni reconnaître la dette, ni former opposition" in shown
    assert "l’acte fait foi" in shown
    assert "24 mai 2028" in shown
    assert debtor.get("/pieces/1/pages/1.webp").data[8:12] == b"WEBP"
    assert "Facture 12" in debtor.get("/pieces/1/texte").text
    assert debtor.get("/pieces/2/fichier").data == make.pdf()
    assert make.operations(deposit.id)[-6:] == [
        "recipient.identified",
        "document.consulted", "document.delivered",  # a page of the first
        "document.delivered",  # its text
        "document.consulted", "document.delivered",  # the second
    ]  # fmt: skip


def test_a_recipient_reads_with_an_application(site):
    deposit = make.filed(site.gateways)
    debtor, printed = site.visitor(), _sheet(site, deposit)
    debtor.get("/")
    debtor.post("/consulter", data=printed)
    _choose(debtor, channel="app")
    enrolling = debtor.get("/consulter/code").text
    key = re.search(r"secret=([A-Z2-7]+)", html.unescape(enrolling))[1]
    drawn = debtor.get("/consulter/application.svg")
    now = site.gateways.clock.now()
    debtor.post("/consulter/code", data={"code": pyotp.TOTP(key).at(now)})
    debtor.get("/pieces")
    site.gateways.clock.advance(timedelta(seconds=60))
    again = site.visitor()
    again.get("/")

    assert drawn.mimetype == "image/svg+xml"
    assert again.post("/consulter", data=printed).location == "/consulter/code"
    asked = again.get("/consulter/code").text
    assert key not in asked
    assert "otpauth" not in asked
    again.get("/consulter/application.svg", 404)
    again.post("/consulter/code", 422, data={"code": pyotp.TOTP(key).at(now)})
    again.post("/consulter/code", data={"code": pyotp.TOTP(key).at(site.gateways.clock.now())})
    again.get("/pieces")


def test_a_recipient_reads_with_a_code_told_by_the_office(site):
    marchand = make.member(site.gateways)
    deposit = make.filed(site.gateways, marchand.office)
    who, debtor, office = make.first(deposit), site.visitor(), site.member(marchand)
    at = f"/etude/depots/{deposit.id}/destinataires/{who.id}"
    debtor.get("/")
    debtor.post("/consulter", data=_sheet(site, deposit))
    _choose(debtor, channel="office")
    assert marchand.office.phone in debtor.get("/consulter/code").text

    assert "attend un code" in office.get(at).text
    told = office.post(f"{at}/code", 200, data={"reason": "Au téléphone, date de naissance confirmée"}).text
    code = re.search(r'class="secret">(\d{4} \d{4})<', told)[1]
    debtor.post("/consulter/code", data={"code": code})

    debtor.get("/pieces")
    assert "Au téléphone, date de naissance confirmée" in office.get(f"/etude/depots/{deposit.id}").text
    assert Recipient.get_by_id(who.id).way == "office"


def test_a_recipient_whose_second_step_is_waived_opens_with_the_sheet_alone(site):
    deposit = make.filed(site.gateways)
    Recipient.update(second_step_waived_because="Sans téléphone").execute()
    debtor = site.visitor()
    debtor.get("/")

    assert debtor.post("/consulter", data=_sheet(site, deposit)).location == "/consulter/code"
    debtor.get("/consulter/code")
    debtor.post("/consulter/code")

    debtor.get("/pieces")


def test_anyone_may_do_without_a_second_code_where_the_operator_allows_it(open_site):
    site = open_site(act_alone="anyone")
    deposit = make.filed(site.gateways)
    debtor = site.visitor()
    debtor.get("/")
    debtor.post("/consulter", data=_sheet(site, deposit))

    assert "Sans second code" in debtor.get("/consulter/canal").text
    debtor.post("/consulter/canal", data={"channel": "act"})

    debtor.get("/pieces")


def test_nobody_does_without_a_second_code_elsewhere(site):
    deposit = make.filed(site.gateways)
    debtor = site.visitor()
    debtor.get("/")
    debtor.post("/consulter", data=_sheet(site, deposit))

    assert "Sans second code" not in debtor.get("/consulter/canal").text
    debtor.post("/consulter/canal", 422, data={"channel": "act"})

    debtor.get("/pieces", 303)


def test_an_address_given_by_the_office_leads_straight_to_the_code(site):
    deposit = make.draft(site.gateways)
    make.document(site.gateways, deposit)
    make.recipient(site.gateways, deposit, email="payet@example.fr")
    office = site.member(make.member(site.gateways, deposit.office))
    office.post(f"/etude/depots/{deposit.id}/deposer")
    debtor = site.visitor()
    debtor.get("/")

    assert debtor.post("/consulter", data=_sheet(site, deposit)).location == "/consulter/code"
    debtor.get("/consulter/code")
    assert debtor.get("/consulter/canal", 303).location == "/consulter/code"
    debtor.post("/consulter/code", data={"code": site.mailed_code()})

    debtor.get("/pieces")


def test_a_mistyped_address_can_be_corrected_until_a_code_is_right(site):
    deposit = make.filed(site.gateways)
    debtor = site.visitor()
    debtor.get("/")
    debtor.post("/consulter", data=_sheet(site, deposit))
    _choose(debtor, channel="email", email="payet@exemple.fr")
    assert "changer de moyen" in debtor.get("/consulter/code").text.lower()
    assert 'value="payet@exemple.fr"' in debtor.get("/consulter/canal").text
    site.gateways.clock.advance(timedelta(minutes=1))
    _choose(debtor, channel="email", email="payet@example.fr")
    debtor.get("/consulter/code")
    debtor.post("/consulter/code", data={"code": site.mailed_code()})

    assert Recipient.get().email == "payet@example.fr"


def test_another_code_is_sent_on_demand_and_alone_is_right(site):
    deposit = make.filed(site.gateways)
    debtor = site.visitor()
    debtor.get("/")
    debtor.post("/consulter", data=_sheet(site, deposit))
    _choose(debtor, channel="email", email="payet@example.fr")
    first = site.mailed_code()
    assert debtor.post("/consulter/code/renvoyer", 429).headers["Retry-After"] == "30"
    site.gateways.clock.advance(timedelta(seconds=31))
    debtor.post("/consulter/code/renvoyer")
    assert "nouveau code" in debtor.get("/consulter/code?renvoye=1").text

    debtor.post("/consulter/code", 422, data={"code": first})
    debtor.post("/consulter/code", data={"code": site.mailed_code()})


def test_what_is_wrong_is_said_beside_its_field_and_the_secret_never_comes_back(site):
    deposit = make.filed(site.gateways)
    printed = _sheet(site, deposit)
    debtor = site.visitor()
    debtor.get("/")
    wrong = codes.show(codes.draw_secret())

    mistyped = debtor.post("/consulter", 422, data=printed | {"reference": "K7QF-3M9Y"}).text
    other = debtor.post("/consulter", 422, data=printed | {"secret": wrong}).text

    assert 'id="reference-error"' in mistyped
    assert 'id="secret-error"' in other
    assert f'value="{printed["reference"]}"' in other
    assert wrong not in other
    assert printed["secret"] not in mistyped


def test_the_reference_and_the_secret_are_read_however_they_are_typed(site):
    printed = _sheet(site, make.filed(site.gateways))
    debtor = site.visitor()
    debtor.get("/")

    typed = {"reference": printed["reference"].lower(), "secret": " " + printed["secret"].replace("-", " ").lower()}
    debtor.post("/consulter", data=typed)


def test_five_wrong_codes_end_the_sign_in(site):
    debtor = site.visitor()
    debtor.get("/")
    debtor.post("/consulter", data=_sheet(site, make.filed(site.gateways)))
    _choose(debtor, channel="email", email="payet@example.fr")
    right = site.mailed_code()
    wrong = "1234 5678" if right != "1234 5678" else "8765 4321"
    for _ in range(4):
        assert "Essais restants" in debtor.post("/consulter/code", 422, data={"code": wrong}).text

    debtor.post("/consulter/code", 410, data={"code": wrong})
    debtor.post("/consulter/code", 410, data={"code": right})
    debtor.get("/consulter/code", 410)


def test_a_long_document_is_shown_by_sheets_of_twenty_pages(site):
    with pikepdf.new() as made:
        for _ in range(45):
            made.add_blank_page(page_size=(100, 100))
        written = io.BytesIO()
        made.save(written)
    deposit = make.draft(site.gateways)
    make.document(site.gateways, deposit, written.getvalue())
    make.recipient(site.gateways, deposit)
    site.member(make.member(site.gateways, deposit.office)).post(f"/etude/depots/{deposit.id}/deposer")
    debtor = site.reading(deposit)

    def shown(query):
        pages = re.findall(r'src="/pieces/1/pages/(\d+)\.webp"', debtor.get(f"/pieces/1{query}").text)
        return int(pages[0]), int(pages[-1])

    assert [shown(q) for q in ("", "?page=20", "?page=21", "?page=45", "?page=9999")] == [
        (1, 20), (1, 20), (21, 40), (41, 45), (41, 45),
    ]  # fmt: skip
    assert [shown(q) for q in ("?page=0", "?page=-3", "?page=x", "?page=" + "9" * 5000)] == [(1, 20)] * 4
    debtor.get("/pieces/1/pages/46.webp", 404)
    debtor.get("/pieces/1/pages/0.webp", 404)


def test_leaving_leads_home(site):
    debtor = site.reading(make.filed(site.gateways))
    debtor.get("/pieces")

    assert debtor.post("/deconnexion").location == "/"

    assert debtor.cookie(current.ACCESS) is None
    assert debtor.get("/pieces", 303).location == "/"


def test_a_session_ends_after_a_quarter_of_an_hour_of_idleness(site):
    debtor = site.reading(make.filed(site.gateways))
    debtor.get("/pieces")
    site.gateways.clock.advance(timedelta(minutes=14))
    debtor.get("/pieces")
    site.gateways.clock.advance(timedelta(minutes=14))
    debtor.get("/pieces")

    site.gateways.clock.advance(timedelta(minutes=15))

    debtor.get("/pieces", 303)


def test_a_session_lasts_an_hour_at_most(site):
    debtor = site.reading(make.filed(site.gateways))
    for _ in range(5):
        site.gateways.clock.advance(timedelta(minutes=11))
        debtor.get("/pieces")

    site.gateways.clock.advance(timedelta(minutes=5))

    debtor.get("/pieces", 303)


def test_what_the_site_says_of_itself_is_open_to_everyone(site):
    for path in ("/aide", "/accessibilite", "/mentions-legales", "/donnees-personnelles", "/audit"):
        assert site.visitor().get(path).mimetype == "text/html"
