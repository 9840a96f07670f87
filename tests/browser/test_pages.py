"""Every page of the product, looked at in a real browser: on a telephone, a tablet and a desk, in the light and in the dark."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyotp
import pytest
from axe_playwright_python.base import AXE_SCRIPT
from browser import people
from browser.people import Person, Service
from playwright.sync_api import Browser, Page, expect

MOST_BYTES = 60_000
LEAST_TARGET = 44
RULES = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    "resultTypes": ["violations"],  # what passes need not be described element by element
}
PUBLIC = (
    "/", "/aide", "/accessibilite", "/mentions-legales", "/donnees-personnelles", "/audit", "/audit/points-de-controle",
    "/audit/verifier", "/etude/connexion",
)  # fmt: skip
LONG = "Société d’exploitation des établissements " + "Vandenbroucke-Lefebvre-" * 6


@pytest.fixture(scope="session")
def known(demo: Service) -> dict[str, Any]:
    """Give what opens the demonstration."""
    found: dict[str, Any] = json.loads((demo.folder / "demo.json").read_text("utf-8"))
    return found


@pytest.fixture(scope="session")
def office(demo: Service, browser: Browser, known: dict[str, Any]) -> Iterator[Any]:
    """Give the cookies of a member signed in; the code of an application serves once."""
    with people.visiting(browser, demo) as clerk:
        page, secret = clerk.open("/etude/connexion"), known["office"]["totp_secret"]
        clerk.fill(email=known["office"]["email"], password=known["office"]["password"])
        clerk.submit("Continuer")
        people.photograph(page, "etude-code")
        clerk.fill(code=pyotp.TOTP(secret).now())
        clerk.submit("Se connecter")
        yield clerk.context.storage_state()


@pytest.fixture(scope="session")
def debtor(demo: Service, browser: Browser, known: dict[str, Any]) -> Any:
    """Give the cookies of a recipient identified with a code received by mail."""
    with people.visiting(browser, demo) as person:
        begin(person, known["recipients"][0])
        type_mailed_code(person)
        return person.context.storage_state()


# What every page keeps


def test_public_pages_are_for_everyone(browser: Browser, demo: Service) -> None:
    with people.visiting(browser, demo) as person:
        for path in PUBLIC:
            person.open(path)
            look(person, path)
        refused = person.page.goto("/nulle-part")
        assert refused is not None
        assert refused.status == 404
        look(person, "nulle-part")


def test_the_way_in_is_for_everyone(browser: Browser, demo: Service, known: dict[str, Any]) -> None:
    with people.visiting(browser, demo) as person:
        page = person.open("/")
        person.fill(reference="W08N-0B87", secret="AAAAA-AAAAA-AAAAA-AAAAA")
        with page.expect_navigation():
            page.locator("#secret").press("Enter")
        expect(page.locator("#secret-error")).to_be_visible()
        look(person, "identification-erreur")
        begin(person, known["recipients"][2])
        look(person, "code-par-l-etude")
        begin(person, known["recipients"][1])
        look(person, "code-de-l-application")
        person.fill(code="000000")
        person.submit("Ouvrir mes pièces")
        expect(page.locator("#code-error")).to_be_visible()
        look(person, "code-erreur")


def test_a_recipient_s_pages_are_for_everyone(browser: Browser, demo: Service, debtor: Any) -> None:
    with people.visiting(browser, demo, storage_state=debtor) as person:
        for path in ("/pieces", "/pieces/1", "/pieces/3", "/pieces/1/texte", "/pieces/4/texte"):
            person.open(path)
            if re.fullmatch(r"/pieces/\d", path):
                assert min(people.painted(person.page, "img.page")) > 0
            look(person, path)


def test_an_office_s_pages_are_for_everyone(browser: Browser, demo: Service, office: Any) -> None:
    with people.visiting(browser, demo, storage_state=office) as clerk:
        clerk.open("/etude/depots")
        look(clerk, "depots")
        clerk.open("/etude/depots?q=introuvable")
        look(clerk, "depots-vide")
        clerk.open("/etude/depots?q=moulin")
        clerk.follow("Au bon moulin SARL / Ma jolie boutique et 2 autres")
        look(clerk, "depot")
        clerk.follow("Alexandre Payet")
        look(clerk, "destinataire")
        for path in ("/etude/journal", "/etude/membres"):
            clerk.open(path)
            look(clerk, path)


def test_the_journal_s_pages_are_for_everyone(browser: Browser, demo: Service, office: Any) -> None:
    with people.visiting(browser, demo, storage_state=office) as clerk:
        page = clerk.open("/etude/journal")
        page.locator("#genre").select_option("deposits")
        page.get_by_role("button", name="Chercher").click()
        page.wait_for_url("**genre=deposits*")
        expect(page.locator("#records tbody tr").first).to_be_visible()
        look(clerk, "journal-des-depots")
        page.locator("#destinataire").fill("Personne de ce nom")
        page.keyboard.press("Enter")
        expect(page.locator("#destinataire-error")).to_be_visible()
        assert page.evaluate("document.activeElement.id") == "destinataire"
        look(clerk, "journal-erreur")
        page.go_back()
        expect(page.locator("#destinataire-error")).to_have_count(0)
        clerk.open("/etude/journal")
        page.locator("#records tbody th a").first.click()
        page.wait_for_url("**/etude/journal/*/*")
        look(clerk, "enregistrement")


def test_an_export_is_followed_to_its_end_without_a_reload(browser: Browser, demo: Service, office: Any) -> None:
    with people.visiting(browser, demo, storage_state=office) as clerk:
        page = clerk.open("/etude/journal/exports")
        look(clerk, "exports")
        if sensitive(clerk, "Préparer un export"):
            clerk.submit("Préparer un export")
        expect(page.get_by_role("heading", name=re.compile("En préparation|Prêt"))).to_have_count(1)
        link = page.get_by_role("link", name="Télécharger")
        link.wait_for(timeout=90_000)
        look(clerk, "export-pret")
        with page.expect_download() as download:
            link.click()
        said = demo.run(str(download.value.path()), "--vkey", vkey(page), program=people.VERIFIER)
        assert "INTACT" in said
    with people.visiting(browser, demo, storage_state=office, java_script_enabled=False) as clerk:
        page = clerk.open("/etude/journal/exports")
        expect(page.get_by_role("link", name="Télécharger")).to_have_count(1)
        clerk.submit("Préparer un export")
        expect(
            page.get_by_role("link", name="Actualiser").or_(page.get_by_role("link", name="Télécharger")).first
        ).to_be_visible()
        clerk.open("/etude/journal")
        clerk.fill(depot="inconnu")
        clerk.submit("Chercher")
        expect(page.locator("#depot-error")).to_be_visible()


def vkey(page: Page) -> str:
    """Return the key that the page of exports shows."""
    found = re.search(r"--vkey '(.+)'", page.locator("aside").inner_text())
    assert found
    return found[1]


def test_a_member_s_own_pages_are_for_everyone(browser: Browser, demo: Service, office: Any) -> None:
    with people.visiting(browser, demo, storage_state=office) as clerk:
        for path in ("/etude/compte", "/etude/compte/secours", "/etude/compte/application", "/etude/preuve"):
            clerk.open(path)
            look(clerk, path)
        clerk.open("/etude/compte")
        clerk.submit("Changer de mot de passe")
        expect(clerk.page.locator("#password-error")).to_be_visible()
        look(clerk, "compte-erreur")
        clerk.page.goto("/etude/compte/secours")
        sensitive(clerk, "Afficher dix codes de secours")
        expect(clerk.page.locator("main .secret")).to_have_count(10)
        look(clerk, "codes-de-secours")


def test_the_pages_of_members_are_for_everyone(browser: Browser, demo: Service, office: Any) -> None:
    with people.visiting(browser, demo, storage_state=office) as clerk:
        page = clerk.open("/etude/membres")
        clerk.fill(name=LONG, email="x")
        sensitive(clerk, "Envoyer l’invitation")
        if not page.locator("#email-error").count():  # the proof was asked again, and the form with it
            clerk.fill(name=LONG, email="x")
            clerk.submit("Envoyer l’invitation")
        look(clerk, "membres-erreur")
        clerk.fill(name="Dominique " + "Vandenbroucke-" * 5, email="dominique@lefevre-marchand.example")
        clerk.submit("Envoyer l’invitation")
        look(clerk, "membres-invitation")
        clerk.follow("Dominique", exact=False)
        page.get_by_text("Mettre fin à son accès").click()
        look(clerk, "membre")
        link = re.search(r"/etude/invitation/\S+", demo.mailed_saying("/etude/invitation/"))
        assert link
    with people.visiting(browser, demo) as invited:
        invited.open(link[0])
        look(invited, "invitation")
        invited.fill(password="lanterne poivre 8 chaussée", again="autre")
        invited.submit("Enregistrer ce mot de passe")
        expect(invited.page.locator("#again-error")).to_be_visible()
        invited.fill(password="lanterne poivre 8 chaussée", again="lanterne poivre 8 chaussée")
        invited.submit("Enregistrer ce mot de passe")
        assert invited.path() == "/etude/connexion"
        expect(invited.page.locator("main .note.ok")).to_be_visible()


def test_the_steps_of_a_deposit_are_for_everyone_whatever_is_typed(
    browser: Browser, demo: Service, office: Any
) -> None:
    with people.visiting(browser, demo, storage_state=office) as clerk:
        page = clerk.open("/etude/depots/nouveau")
        clerk.submit("Continuer\u00a0: les pièces")
        look(clerk, "affaire-erreur")
        open_draft(clerk, creditor=LONG)
        look(clerk, "pieces-vide")
        send(page, 6)
        page.get_by_text("Titre, nature et date de la pièce 1", exact=True).click()
        look(clerk, "depot-pieces")
        clerk.follow("Continuer\u00a0: les destinataires")
        clerk.fill(name=LONG, email="x")
        page.get_by_role("button", name="Ajouter ce destinataire").click()
        expect(page.locator("#email-error")).to_be_visible()
        look(clerk, "destinataires-erreur")
        clerk.fill(email="a" * 60 + "@" + "tres-long-" * 5 + "nom.example")
        page.get_by_role("button", name="Ajouter ce destinataire").click()
        expect(page.locator("#recipients h3")).to_have_count(1)
        look(clerk, "destinataires")
        clerk.follow("Continuer\u00a0: la vérification")
        look(clerk, "verification")
        clerk.submit("Déposer")
        look(clerk, "depot-long")


# Other ways to use it


def test_the_keyboard_alone_leads_to_the_documents(browser: Browser, demo: Service, known: dict[str, Any]) -> None:
    recipient = known["recipients"][1]
    with people.visiting(browser, demo) as person:
        page = person.open("/")
        page.keyboard.press("Tab")
        assert focused(page) == "Aller au contenu"
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        assert focused(page) == "reference"
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        page.keyboard.type(recipient["reference"])
        page.keyboard.press("Tab")
        assert focused(page) == "secret"
        page.keyboard.type(recipient["secret"])
        page.keyboard.press("Enter")
        page.wait_for_url("**/consulter/code")
        press_until(page, "code")
        page.keyboard.type(pyotp.TOTP(recipient["totp_secret"]).now())
        page.keyboard.press("Enter")
        page.wait_for_url("**/pieces")
        press_until(page, "Lire la pièce 1")
        page.keyboard.press("Enter")
        page.wait_for_url("**/pieces/1")
        assert people.painted(page, "img.page")[0] > 0


def test_the_keyboard_alone_has_an_attestation_verified(
    browser: Browser, demo: Service, debtor: Any, tmp_path: Path
) -> None:
    with people.visiting(browser, demo, storage_state=debtor) as person:
        (tmp_path / "attestation.pdf").write_bytes(person.context.request.get("/pieces/attestation.pdf").body())
    with people.visiting(browser, demo) as anyone:
        page = anyone.open("/audit")
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        look(anyone, "audit-ouvert")
        with page.expect_file_chooser() as chosen:  # told to the browser well before the key that asks for it
            press_until(page, "receipt")
            page.keyboard.press("Enter")
        chosen.value.set_files(tmp_path / "attestation.pdf")
        press_until(page, "Vérifier")
        page.keyboard.press("Enter")
        page.wait_for_url("**/audit/verifier#resultat")
        expect(page.locator("#resultat .pill")).to_have_text("Valide")
        look(anyone, "attestation-valide")


def test_an_attestation_is_verified_without_javascript(browser: Browser, demo: Service, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "autre.pdf").write_bytes(b"%PDF-1.7")
    with people.visiting(browser, demo, java_script_enabled=False) as anyone:
        anyone.open("/audit")
        anyone.submit("Vérifier")
        expect(anyone.page.locator("#receipt-error")).to_contain_text("Choisissez d’abord le fichier")
        anyone.page.locator("#receipt").set_input_files(tmp_path / "photo.jpg")
        anyone.submit("Vérifier")
        expect(anyone.page.locator("#receipt-error")).to_contain_text("ni une attestation PDF")
        anyone.page.locator("#receipt").set_input_files(tmp_path / "autre.pdf")
        anyone.submit("Vérifier")
        expect(anyone.page.locator("#resultat .pill")).to_have_text("Inconnue, ou modifiée")


def test_a_recipient_needs_no_javascript(browser: Browser, demo: Service, known: dict[str, Any], office: Any) -> None:
    with people.visiting(browser, demo, java_script_enabled=False) as person:
        begin(person, known["recipients"][2])
        with people.visiting(browser, demo, storage_state=office, java_script_enabled=False) as clerk:
            told = tell_code(clerk, "Sophie Nguyễn")
        person.fill(code=told)
        person.submit("Ouvrir mes pièces")
        person.follow("Lire la pièce 2")
        assert person.page.locator("img.page").first.bounding_box()["height"] > 100
        answer = person.context.request.get("/pieces/2/pages/1.webp")
        assert answer.body()[8:12] == b"WEBP"
        person.follow("Lire le texte seul")
        expect(person.page.locator(".text").first).to_contain_text("BL-2026-0131")
        person.submit("Quitter")
        assert person.path() == "/"


def test_an_office_needs_no_javascript(browser: Browser, demo: Service, office: Any) -> None:
    with people.visiting(browser, demo, storage_state=office, java_script_enabled=False) as clerk:
        page = clerk.page
        open_draft(clerk, creditor="Sans programme")
        page.locator("#files").set_input_files(files(2))
        clerk.submit("Ajouter")
        expect(page.locator("#documents h3")).to_have_count(2)
        clerk.submit("Descendre la pièce 1")
        expect(page.locator("#documents h3").first).to_contain_text("Document 2")
        clerk.submit("Retirer la pièce 2")
        page.locator("#files").set_input_files([{"name": "x.pdf", "mimeType": "application/pdf", "buffer": b"MZ" * 99}])
        clerk.submit("Ajouter")
        expect(page.get_by_role("alert")).to_contain_text("n’est ni un PDF, ni une image")
        clerk.follow("Continuer\u00a0: les destinataires")
        clerk.submit("Ajouter ce destinataire")
        expect(page.locator("#name-error")).to_be_visible()
        clerk.fill(name="Jeanne Petit")
        clerk.submit("Ajouter ce destinataire")
        clerk.follow("Continuer\u00a0: la vérification")
        clerk.submit("Déposer")
        expect(page.locator("main .pill").first).to_have_text("Déposé")


def test_a_page_weighs_little(browser: Browser, demo: Service, debtor: Any, office: Any) -> None:
    for state, paths in (
        (None, PUBLIC),
        (debtor, ("/pieces", "/pieces/1")),
        (office, ("/etude/depots", "/etude/journal")),
    ):
        with people.visiting(browser, demo, storage_state=state) as person:
            for path in paths:
                assert weight(person, path) < MOST_BYTES, path


# What is looked at


def look(person: Person, name: str) -> None:
    """Check a page at every width, then with axe on a telephone in the light and at a desk in the dark."""
    page, faults = person.page, []
    for width in people.WIDTHS:
        page.set_viewport_size({"width": width, "height": people.HEIGHT})
        beyond = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        faults += [f"{name} at {width}: {beyond} px beyond its edge"] if beyond > 0 else []
        faults += [f"{name} at {width}: « {small} »" for small in small_targets(page, width)]
        people.photograph(page, f"{name.strip('/').replace('/', '-') or 'identification'}-{width}")
    page.evaluate(AXE_SCRIPT)
    for width, scheme in ((360, "light"), (1280, "dark")):
        page.set_viewport_size({"width": width, "height": people.HEIGHT})
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
        found = page.evaluate("options => axe.run(options).then(results => results.violations)", RULES)
        faults += [f"{name} at {width}, {scheme}: {one['id']} {one['nodes'][0]['html'][:150]}" for one in found]
    page.emulate_media(color_scheme="light")
    assert faults == []


def small_targets(page: Page, width: int) -> list[str]:
    """Return the buttons and fields too small for a finger; a mouse at a desk does with less."""
    least = LEAST_TARGET if width < 960 else 38
    found: list[str] = page.evaluate(
        """least => [...document.querySelectorAll("button, .btn, summary, select, textarea, .choice, .nav a, "
            + "input:not([type=hidden], [type=radio], [type=checkbox], [type=file])")]
        .filter(one => { const box = one.getBoundingClientRect(); return box.width && box.height < least; })
        .map(one => `${one.tagName} ${one.textContent.trim() || one.name}: ${one.getBoundingClientRect().height}`)""",
        least,
    )
    return found


def weight(person: Person, path: str) -> int:
    """Return how many bytes a page costs who has never come, the images of documents apart."""
    line, sent, apart = person.context.new_cdp_session(person.page), {}, set()
    line.send("Network.enable")
    line.send("Network.setCacheDisabled", {"cacheDisabled": True})
    line.on("Network.responseReceived", lambda e: apart.add(e["requestId"]) if "webp" in e["response"]["url"] else None)
    line.on("Network.loadingFinished", lambda e: sent.update({e["requestId"]: int(e["encodedDataLength"])}))
    person.open(path)
    person.page.wait_for_load_state("networkidle")
    line.detach()
    assert sent
    return sum(size for request, size in sent.items() if request not in apart)


def focused(page: Page) -> str:
    """Return the id or the words of what has the focus."""
    words: str = page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()")
    return words


def press_until(page: Page, wanted: str) -> None:
    """Go with the tabulator to what is wanted, which cannot be far."""
    for _ in range(30):
        page.keyboard.press("Tab")
        if focused(page) == wanted:
            return
    raise AssertionError(f"{wanted} is not reached")


# What people do


def begin(person: Person, recipient: dict[str, str]) -> None:
    """Type what is printed on a recipient's sheet."""
    person.open(f"/?reference={recipient['reference']}")
    person.fill(secret=recipient["secret"])
    person.submit("Continuer")
    assert person.path() == "/consulter/code"


def type_mailed_code(person: Person) -> None:
    """Type the code of the newest mail."""
    code = people.CODE.search(person.service.mailed_saying("Votre code"))
    assert code is not None
    person.fill(code=code[0])
    person.submit("Ouvrir mes pièces")
    assert person.path() == "/pieces"


def tell_code(clerk: Person, name: str) -> str:
    """Return the code that the office tells a recipient by telephone."""
    page = clerk.open("/etude/depots?q=moulin")
    clerk.follow("Au bon moulin SARL / Ma jolie boutique et 2 autres")
    clerk.follow(name)
    clerk.fill(reason="au téléphone, date de naissance confirmée")
    if sensitive(clerk, "Afficher un code"):
        clerk.fill(reason="au téléphone, date de naissance confirmée")
        clerk.submit("Afficher un code")
    return page.locator(".secret").inner_text()


def sensitive(clerk: Person, label: str) -> bool:
    """Do what may ask for a proof first; tell whether it did, so that what was typed is typed again."""
    clerk.submit(label)
    if clerk.path() != "/etude/preuve":
        return False
    known = json.loads((clerk.service.folder / "demo.json").read_text("utf-8"))
    clerk.page.locator("#code").fill(pyotp.TOTP(known["office"]["totp_secret"]).now())
    clerk.submit("Confirmer")
    return True


def open_draft(clerk: Person, **typed: str) -> None:
    """Open a draft and come to its documents."""
    clerk.open("/etude/depots/nouveau")
    case = {"creditor": "Au bon moulin", "court": "Tribunal judiciaire de Nantes", "order_number": "2026-99"}
    clerk.fill(**case | typed, office_reference="NTE-1", order_date="2026-01-05")
    clerk.submit("Continuer\u00a0: les pièces")


def send(page: Page, count: int) -> None:
    """Send several documents."""
    page.locator("#files").set_input_files(files(count))
    expect(page.locator("#documents h3")).to_have_count(count)


def files(count: int) -> list[Any]:
    """Return small documents, each different."""
    return [
        {"name": f"{name}.pdf", "mimeType": "application/pdf", "buffer": people.heavy_pdf(name, 10)}
        for name in (f"Document {number}" for number in range(1, count + 1))
    ]
