"""What attackers try at the door: forged forms, stolen and planted cookies, lying headers, curious logs."""

import gzip
import html
import ipaddress
import logging
import re
from io import BytesIO

import make
import pyotp
import pytest

from mespieces.domain import codes, office_exports
from mespieces.models import JournalExport, Member, Session
from mespieces.views import current

STATIC = "https://pieces.example.fr/static/"


def _post_rules(app):
    return [rule for rule in app.url_map.iter_rules() if "POST" in rule.methods]


def _somebody_for(site, deposit, marchand, rule):
    """Return who would succeed there, with everything but the anti-forgery field."""
    if rule.startswith("/etude"):
        return site.member(marchand)
    sign_in = make.begun(site.gateways, make.first(deposit), "Perdu").token  # before the session, which it would end
    visitor = site.reading(deposit)
    visitor.carry(current.SIGN_IN, sign_in)
    return visitor


def _filled(rule, deposit):
    """Return an address and a form that would be taken."""
    path = rule.replace("<uuid:deposit_id>", str(deposit.id))
    path = path.replace("<uuid:recipient_id>", str(make.first(deposit).id))
    path = path.replace("<uuid:document_id>", str(deposit.documents.get().id))
    path = path.replace("<uuid:member_id>", str(Member.get(Member.office == deposit.office).id))
    path = path.replace("<uuid:export_id>", str(JournalExport.get().id))
    path = path.replace("<uuid:session_id>", str(Session.get(Session.member.is_null(False)).id))
    return path, make.CASE | {
        "name": "Un autre", "title": "Autre", "reason": "Au guichet", "signified_on": "2026-11-20", "position": "1",
        "email": "x@example.fr", "channel": "email", "password": make.PASSWORD, "role": "clerc", "code": "12345678",
        "reference": "W08N-0B87", "secret": "V5JWY-QPGQ3-0KBSS-9W35W",
    }  # fmt: skip


def test_no_form_is_taken_without_the_anti_forgery_field_of_its_own_session(site):
    marchand = make.member(site.gateways, role="administrateur")
    deposit = make.filed(site.gateways, marchand.office)
    office_exports.ask(site.gateways, marchand, make.TRACE)
    other = site.visitor()
    other.get("/")
    rules = _post_rules(site.app)
    for rule in rules:
        victim = _somebody_for(site, deposit, marchand, rule.rule)
        victim.get("/")
        site.member(marchand)  # a session that could be ended
        path, form = _filled(rule.rule, deposit)
        before = make.everything()
        for token in ({}, {"csrf_token": other.token}, {"csrf_token": "x"}):
            refused = victim.ask("POST", path, None, data=form | token)

            # A filed deposit takes no file: that is known before the form is read.
            assert refused.status_code == (409 if rule.endpoint == "office.add_documents" else 400), rule
            assert make.everything() == before, rule
    assert len(rules) > 20


def test_no_file_is_taken_without_the_anti_forgery_field(site):
    marchand = make.member(site.gateways)
    draft = make.draft(site.gateways, marchand.office)
    at, victim = f"/etude/depots/{draft.id}/pieces", site.member(marchand)
    victim.get("/etude/depots")
    before = make.everything()

    raw = {"X-Filename": "a.pdf", "Content-Type": "application/octet-stream"}
    assert victim.ask("POST", at, 400, data=make.pdf(), headers=raw).mimetype == "text/plain"
    victim.ask("POST", at, 400, data=make.pdf(), headers=raw | {"X-CSRFToken": "x"})

    victim.ask("POST", at, 400, data={"files": [(BytesIO(make.pdf()), "a.pdf")]}, content_type="multipart/form-data")

    assert make.everything() == before
    assert list(site.gateways.vault.names()) == []


def test_a_form_sent_from_another_site_is_refused(site):
    debtor = site.reading(make.filed(site.gateways))
    debtor.get("/pieces")
    debtor.post("/deconnexion", 400, headers={"Referer": "https://evil.example/"})
    debtor.get("/pieces")


def _cookies_set(response):
    return {line.split("=")[0]: line for line in response.headers.getlist("Set-Cookie")}


@pytest.mark.parametrize("public_url", ["https://pieces.example.fr", "http://127.0.0.1:8080"])
def test_cookies_are_out_of_reach_of_scripts_other_sites_and_clear_text(open_site, public_url):
    site = open_site(public_url=public_url)
    access, secret = make.issued(site.gateways, make.first(make.filed(site.gateways)))
    debtor = site.visitor()
    given = _cookies_set(debtor.get("/", base_url=public_url, headers={"Referer": public_url}))
    given |= _cookies_set(
        debtor.post("/consulter", data={"reference": access.reference, "secret": secret}, base_url=public_url,
                    headers={"Referer": public_url + "/"})
    )  # fmt: skip

    assert set(given) == {"formulaire", current.SIGN_IN}
    for line in given.values():
        assert "HttpOnly" in line
        assert "SameSite=Lax" in line
        assert ("Secure" in line) is public_url.startswith("https")
        assert "Domain" not in line
        assert "Expires" not in line
        assert "Max-Age" not in line
    assert "Path=/consulter" in given[current.SIGN_IN]


def _identify(site, debtor, printed):
    debtor.get("/")
    debtor.post("/consulter", data=printed)
    debtor.get("/consulter/canal")
    debtor.post("/consulter/canal", data={"channel": "email", "email": "payet@example.fr"})
    code = site.mailed_code()
    debtor.post("/consulter/code", data={"code": code})
    return code


def test_the_identifier_is_new_at_each_step_and_a_planted_one_is_never_adopted(site):
    access, secret = make.issued(site.gateways, make.first(make.filed(site.gateways)))
    debtor = site.visitor()
    debtor.carry(current.ACCESS, "planted")
    debtor.carry(current.SIGN_IN, "planted")
    debtor.get("/")
    debtor.post("/consulter", data={"reference": access.reference, "secret": secret})
    first = debtor.cookie(current.SIGN_IN)
    debtor.get("/consulter/canal")
    debtor.post("/consulter/canal", data={"channel": "email", "email": "payet@example.fr"})
    debtor.post("/consulter/code", data={"code": site.mailed_code()})
    second = debtor.cookie(current.ACCESS)

    assert len({"planted", first, second}) == 3
    assert debtor.cookie(current.SIGN_IN) is None
    thief = site.visitor()
    thief.carry(current.SIGN_IN, first)
    thief.get("/consulter/code", 410)
    thief.carry(current.ACCESS, first)
    thief.get("/pieces", 303)
    thief.carry(current.ACCESS, "planted")
    thief.get("/pieces", 303)


def test_signing_out_ends_on_the_server(site):
    marchand = make.member(site.gateways)
    deposit = make.filed(site.gateways, marchand.office)
    for visitor, cookie, page, door in (
        (site.reading(deposit), current.ACCESS, "/pieces", "/deconnexion"),
        (site.member(marchand), current.OFFICE, "/etude/depots", "/etude/deconnexion"),
    ):
        stolen = visitor.cookie(cookie)
        visitor.get(page)
        visitor.post(door)
        thief = site.visitor()
        thief.carry(cookie, stolen)

        thief.get(page, 303)
    assert Session.select().where(Session.ended_at.is_null()).count() == 0


def test_a_lying_host_reaches_no_link_no_redirect_and_no_mail(site):
    access, secret = make.issued(site.gateways, make.first(make.filed(site.gateways)))
    debtor, base = site.visitor(), "https://evil.example:8443"
    lies = {
        "Referer": base + "/",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "http",
        "Forwarded": "host=evil.example",
    }
    seen = [debtor.get("/", base_url=base, headers=lies)]
    token = re.search(r'name="csrf_token" value="([^"]+)"', seen[0].text)[1]
    form = {"csrf_token": token, "reference": access.reference, "secret": secret}
    seen.append(debtor.ask("POST", "/consulter", 303, data=form, base_url=base, headers=lies))
    seen.append(debtor.get("/pieces", 303, base_url=base, headers=lies))
    seen.append(debtor.get("/etude/depots", 303, base_url=base, headers=lies))
    seen.append(debtor.get("/nulle-part", 404, base_url=base, headers=lies))
    seen.append(debtor.get("/pieces//1", 404, base_url=base, headers=lies))

    for answer in seen:
        assert "evil.example" not in answer.text
        assert (answer.location or "/").startswith("/")
    assert not [mail for mail in site.mails() if "evil" in mail]


def test_an_address_told_by_a_proxy_nobody_trusts_is_not_believed(open_site):

    near = (ipaddress.ip_network("10.0.0.0/8"),)
    told = {"X-Forwarded-For": "10.1.2.3"}

    open_site(office_networks=near).visitor().get("/etude/connexion", 404, headers=told)
    open_site(office_networks=near, trusted_proxies=1).visitor().get("/etude/connexion", 200, headers=told)
    open_site(office_networks=near, trusted_proxies=1).visitor().get(
        "/etude/connexion", 404, headers={"X-Forwarded-For": "10.1.2.3, 192.0.2.1"}
    )


def test_static_files_are_kept_by_browsers_and_sent_compressed(site):
    client = site.visitor().client
    for name in ("look.css", "typing.js", "upload.js", "htmx.min.js", "icon.svg"):
        plain = client.get(f"{STATIC}{name}?v=1", buffered=True)
        small = client.get(f"{STATIC}{name}?v=1", headers={"Accept-Encoding": "gzip, br"}, buffered=True)

        assert plain.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert client.get(STATIC + name, buffered=True).headers["Cache-Control"] == "no-cache"
        assert "Content-Encoding" not in plain.headers
        assert small.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(small.data) == plain.data
        assert int(small.headers["Content-Length"]) == len(small.data)
        assert "Accept-Encoding" in small.vary
        assert "Accept-Encoding" in plain.vary
        assert plain.headers["Content-Security-Policy"]
        assert plain.headers["X-Content-Type-Options"] == "nosniff"
    assert client.get(STATIC + "../app.py").status_code == 404
    assert client.get(STATIC + "%2e%2e/app.py").status_code == 404


def test_a_page_is_never_compressed_beside_a_secret(site):
    page = site.visitor().get("/", headers={"Accept-Encoding": "gzip"})

    assert "Content-Encoding" not in page.headers


def test_a_browser_remembers_to_come_back_encrypted(site, open_site):
    assert site.visitor().get("/").headers["Strict-Transport-Security"] == "max-age=31536000"
    clear = open_site(public_url="http://127.0.0.1:8080").visitor().get("/")
    assert "Strict-Transport-Security" not in clear.headers


def test_nothing_secret_and_nobody_reaches_the_log(site, caplog, read_sheet):
    caplog.set_level(logging.DEBUG)
    marchand = make.member(site.gateways)
    deposit = make.filed(site.gateways, marchand.office)
    clerk, debtor = site.visitor(), site.visitor()
    clerk.get("/etude/connexion")
    caplog.clear()
    clerk.post("/etude/connexion", 422, data={"email": marchand.email, "password": "mauvais mot de passe"})
    clerk.post("/etude/connexion", data={"email": marchand.email, "password": make.PASSWORD})
    sign_in = clerk.cookie(current.OFFICE_SIGN_IN)
    key = re.search(r"secret=([A-Z2-7]+)", html.unescape(clerk.get("/etude/connexion/code").text))[1]
    totp = pyotp.TOTP(key).at(site.gateways.clock.now())
    clerk.post("/etude/connexion/code", data={"code": totp})
    at = f"/etude/depots/{deposit.id}"
    reference, secret = read_sheet(clerk.post(f"{at}/destinataires/{make.first(deposit).id}/feuillet", 200).data)
    wrong = codes.show(codes.draw_secret())
    debtor.get(f"/?reference={reference}")
    debtor.post("/consulter", 422, data={"reference": reference, "secret": wrong})
    code = _identify(site, debtor, {"reference": reference, "secret": secret})
    for path in ("/pieces", "/pieces/1/fichier", "/pieces/liasse.zip", "/pieces/9", "/nulle-part?secret=" + secret):
        debtor.ask("GET", path, None)
    clerk.get(at)
    clerk.get("/etude/depots?q=Payet")
    secret_ones = {
        make.PASSWORD, "mauvais mot de passe", key, secret, secret.replace("-", ""), wrong, wrong.replace("-", ""),
        code, code.replace(" ", ""), f'"{totp}"', sign_in, clerk.cookie(current.OFFICE), debtor.cookie(current.ACCESS), debtor.token, clerk.token,
    }  # fmt: skip
    ours = "\n".join(str(record.__dict__) for record in caplog.records if record.name.startswith("mespieces"))

    assert [word for word in secret_ones if word in caplog.text] == []
    private = (
        "Payet",
        "payet@",
        marchand.email,
        reference,
        reference.replace("-", ""),
        str(deposit.id),
        "198.51.100",
        "NTE-4821",
    )
    assert [word for word in private if word in ours] == []
    assert "/pieces/<int:number>/fichier" in ours
