"""The whole story in real browsers, over the product as it is served: deposit, paper, telephone, journal."""

import hashlib
import io
import json
import re
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import servers
from browser import people
from browser.people import Person, Service
from playwright.sync_api import Browser, Download, Page, Playwright, Response, expect

FIRST_OFFICE = [
    "--office-name", "SCP Lefèvre & Marchand", "--office-address", "14 rue des Carmes\n44000 Nantes",
    "--office-phone", "02 40 00 00 00", "--office-email", "etude@example.fr",
    "--admin-name", "Claire Marchand", "--admin-email", "claire@example.fr",
]  # fmt: skip
FILES = {
    "Facture 12.pdf": people.heavy_pdf("Facture douze", 400_000),
    "Mise en demeure.pdf": people.heavy_pdf("Mise en demeure", 1_000),
    "Bon de livraison.pdf": people.heavy_pdf("Bon de livraison", 1_000),
}
DEBTOR = "Alexandre Payet"


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Give the setting of an empty database."""
    if request.param == "sqlite":
        yield {}
        return
    try:
        url = servers.create_database(servers.shared_postgresql())
    except servers.Missing as missing:
        pytest.skip(str(missing))
    yield {"MESPIECES_DATABASE_URL": url}
    servers.drop_database(url)


@pytest.fixture
def installed(data: Path, database: dict[str, str], mailbox: servers.Mailbox) -> tuple[Service, str]:
    """Install the product as an operator does; give it, and the administrator's first password."""
    service = Service(data, settings={**database, "MESPIECES_MAIL_URL": mailbox.url})
    told = service.run("init", *FIRST_OFFICE)
    return service, re.search(r"seule fois\W+(\S+)", told)[1]  # type: ignore[index]


def test_the_whole_story_from_the_deposit_to_the_journal(
    installed: tuple[Service, str], browser: Browser, playwright: Playwright, mailbox: servers.Mailbox, tmp_path: Path
) -> None:
    service, password = installed
    telephone = playwright.devices["Pixel 5"] | {"viewport": {"width": 360, "height": 740}}
    with service.serving("serve", "--port", str(service.port)):
        with people.visiting(browser, service) as clerk:
            sign_in(clerk, password)
            deposit(clerk)
            reference, secret = print_sheet(clerk)
        before = head(service)
        with people.visiting(browser, service, **telephone) as debtor:
            identify(debtor, reference, secret, mailbox)
            read(debtor)
            download(debtor)
            leave(debtor)
        with people.visiting(browser, service) as auditor:
            assert_grown(auditor, before)
        assert_export_verifies(service, tmp_path / "export")


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_what_a_browser_interrupts_is_told_and_sent_again(installed: tuple[Service, str], browser: Browser) -> None:
    service, password = installed
    with service.serving("serve", "--port", str(service.port)), people.visiting(browser, service) as clerk:
        sign_in(clerk, password)
        page = open_draft(clerk)
        page.locator("#files").set_input_files(
            [
                {"name": "Programme.pdf", "mimeType": "application/pdf", "buffer": b"MZ" * 3000},
                {"name": "Vide.pdf", "mimeType": "application/pdf", "buffer": b""},
            ]
        )
        expect(page.locator(".uploads .err")).to_have_count(2)
        expect(page.locator(".uploads")).to_contain_text("n’est ni un PDF, ni une image")
        expect(page.locator(".uploads")).to_contain_text("Ce fichier est vide")
        expect(page.get_by_role("button", name="Réessayer")).to_have_count(0)

        lost: list[str] = []
        page.route("**/pieces", lambda route: (lost.append(route.request.method), route.abort()))
        page.locator("#files").set_input_files([as_file("Facture 12.pdf")])
        expect(page.locator(".uploads")).to_contain_text("nouvel essai")
        page.unroute("**/pieces")
        expect(page.locator("#documents h3")).to_have_count(1, timeout=15_000)
        assert lost == ["POST"]
        clerk.complaints = [said for said in clerk.complaints if "net::ERR_FAILED" not in said]


# The office


def sign_in(clerk: Person, password: str) -> None:
    """Sign in for the first time: password, then the application that the page enrols."""
    page = clerk.open("/etude/connexion")
    clerk.fill(email="claire@example.fr", password="pas celui-là")
    clerk.submit("Continuer")
    expect(page.locator("#password-error")).to_be_visible()
    clerk.fill(password=password)
    clerk.submit("Continuer")
    assert people.painted(page, "img.qr")[0] > 0
    clerk.fill(code=people.application(page).now())
    clerk.submit("Se connecter")
    clerk.submit("Afficher dix codes de secours")
    expect(page.locator("main .secret")).to_have_count(10)
    clerk.follow("Je les ai notés")
    assert clerk.path() == "/etude/depots"
    expect(page.locator("main")).to_contain_text("Aucun dépôt encore")


def open_draft(clerk: Person) -> Page:
    """Open a draft, after a first try that lacks its date."""
    page = clerk.page
    page.get_by_role("link", name="Nouveau dépôt").click()
    clerk.fill(
        creditor="Au bon moulin SARL",
        office_reference="NTE-4821",
        court="Tribunal judiciaire de Nantes",
        order_number="2026-1187",
    )
    clerk.submit("Continuer\u00a0: les pièces")
    expect(page.locator("#order_date-error")).to_have_text("Ce champ est nécessaire.")
    expect(page.locator("#creditor")).to_have_value("Au bon moulin SARL")
    clerk.fill(order_date="2026-01-05")
    clerk.submit("Continuer\u00a0: les pièces")
    expect(page.locator("#documents")).to_contain_text("Aucune pièce encore")
    return page


def deposit(clerk: Person) -> None:
    """Make a deposit of three documents for two recipients, and file it."""
    page = open_draft(clerk)
    page.evaluate("window.here = 'the same page'")
    choose(page, ["Facture 12.pdf", "Mise en demeure.pdf"])
    drop(page, "Bon de livraison.pdf")
    expect_order(page, "Facture 12", "Mise en demeure", "Bon de livraison")
    arrange(page)
    describe(page)
    assert page.evaluate("window.here") == "the same page"
    page.get_by_role("link", name="Continuer\u00a0: les destinataires").click()
    add_recipients(page)
    page.get_by_role("link", name="Continuer\u00a0: la vérification").click()
    expect(page.locator("main")).to_contain_text("3 pièces")
    clerk.submit("Déposer")
    expect(page.locator("main .pill").first).to_have_text("Déposé")
    expect(page.locator("ol.time").first).to_contain_text("Dépôt de 3 pièces par Claire Marchand")


def choose(page: Page, names: list[str]) -> None:
    """Choose files: the progress of each is shown while it leaves."""
    page.evaluate(
        """() => { window.shown = []; new MutationObserver(() => {
        for (const line of document.querySelectorAll(".uploads li:has(progress:not([hidden])) .meta"))
            window.shown.push(line.textContent); }).observe(document.body, { childList: true, subtree: true }); }"""
    )
    page.locator("#files").set_input_files([as_file(name) for name in names])
    expect(page.locator("#documents h3")).to_have_count(len(names))
    expect(page.locator(".uploads li")).to_have_count(0)
    shown = page.evaluate("window.shown")
    assert [words for words in shown if re.fullmatch(r"\d+\sKo sur 392\sKo", words)]
    assert [words for words in shown if words.endswith("vérification en cours…")]


def drop(page: Page, name: str) -> None:
    """Drop a file on the frame."""
    carried = page.evaluate_handle(
        """([name, bytes]) => { const carried = new DataTransfer();
        carried.items.add(new File([new Uint8Array(bytes)], name, { type: "application/pdf" })); return carried; }""",
        [name, list(FILES[name])],
    )
    page.dispatch_event("form.drop", "dragover", {"dataTransfer": carried})
    expect(page.locator("form.drop")).to_have_class("drop over")
    page.dispatch_event("form.drop", "drop", {"dataTransfer": carried})
    expect(page.locator("#documents h3")).to_have_count(3)


def arrange(page: Page) -> None:
    """Move the last document up, and be asked before one is removed; it is sent again."""
    page.get_by_role("button", name="Monter la pièce 3").click()
    expect_order(page, "Facture 12", "Bon de livraison", "Mise en demeure")
    page.once("dialog", lambda question: question.dismiss())
    page.get_by_role("button", name="Retirer la pièce 2").click()
    expect_order(page, "Facture 12", "Bon de livraison", "Mise en demeure")
    asked: list[str] = []
    page.once("dialog", lambda question: (asked.append(question.message), question.accept()))
    page.get_by_role("button", name="Retirer la pièce 2").click()
    expect_order(page, "Facture 12", "Mise en demeure")
    assert asked == ["Retirer «\u00a0Bon de livraison\u00a0»\u202f?"]
    page.locator("#files").set_input_files([as_file("Bon de livraison.pdf")])
    expect_order(page, "Facture 12", "Mise en demeure", "Bon de livraison")


def describe(page: Page) -> None:
    """Give a document a date that cannot be, then one that can; the refusal stands beside its field."""
    first = page.locator("#documents li").first
    first.get_by_text("Titre, nature et date").click()
    first.get_by_label("Date du document").fill("2090-01-01")
    first.get_by_role("button", name="Enregistrer").click()
    expect(first.locator(".field:has([name=dated]) .err")).to_contain_text("Cette date ne convient pas")
    first.get_by_label("Date du document").fill("2026-03-01")
    first.get_by_label("Nature").select_option("facture")
    first.get_by_role("button", name="Enregistrer").click()
    expect(page.locator("#documents .err")).to_have_count(0)


def add_recipients(page: Page) -> None:
    """Add two recipients, the first after a mistake, without leaving the page."""
    page.evaluate("window.here = 'the same page'")
    page.get_by_label("Nom", exact=True).fill(DEBTOR)
    page.get_by_label("Courriel").fill("payet@")
    page.get_by_role("button", name="Ajouter ce destinataire").click()
    expect(page.locator("#email-error")).to_be_visible()
    page.get_by_label("Courriel").fill("")
    page.get_by_role("button", name="Ajouter ce destinataire").click()
    expect(page.locator("#recipients h3")).to_have_text([DEBTOR])
    page.get_by_label("Nom", exact=True).fill("Sophie Nguyễn")
    page.get_by_role("button", name="Ajouter ce destinataire").click()
    expect(page.locator("#recipients h3")).to_have_text([DEBTOR, "Sophie Nguyễn"])
    assert page.evaluate("window.here") == "the same page"


def print_sheet(clerk: Person) -> tuple[str, str]:
    """Print the debtor's sheet, and read on the paper what will be typed."""
    page, sheets = clerk.page, []

    def keep(route: Any) -> None:
        answer = route.fetch()
        sheets.append(answer.body())
        route.fulfill(response=answer)

    page.get_by_role("link", name=DEBTOR, exact=True).click()
    page.route("**/feuillet", keep)
    page.get_by_role("button", name="Imprimer le feuillet").click()
    page.wait_for_url("**/feuillet")
    (sheet,) = sheets
    assert sheet.startswith(b"%PDF-")
    return people.printed(sheet)


def as_file(name: str) -> Any:
    """Return a file as the chooser takes it."""
    return {"name": name, "mimeType": "application/pdf", "buffer": FILES[name]}


def expect_order(page: Page, *titles: str) -> None:
    """Wait until the documents stand in this order."""
    expect(page.locator("#documents h3")).to_have_text(
        [f"Pièce {n}\u00a0: {title}" for n, title in enumerate(titles, 1)]
    )


# The debtor


def identify(debtor: Person, reference: str, secret: str, mailbox: servers.Mailbox) -> None:
    """Type what is printed, choose to receive a code by mail, and type it."""
    page = debtor.open("/")
    page.locator("#reference").press_sequentially(reference.replace("-", "").lower())
    expect(page.locator("#reference")).to_have_value(reference)
    page.locator("#secret").press_sequentially(secret.replace("-", "")[:-1] + "U")
    page.locator("#reference").focus()
    expect(page.locator("#secret-said")).to_contain_text("faute de frappe")
    page.locator("#secret").fill(secret)
    page.get_by_role("button", name="Continuer").tap()
    expect(page.get_by_role("heading", level=1)).to_have_text("Comment recevoir votre code\u202f?")
    page.get_by_label("Par courriel").check()
    page.get_by_label("Adresse de courriel").fill("alexandre@example.fr")
    page.get_by_role("button", name="Continuer").tap()
    expect(page.locator("main")).to_contain_text("a…e@example.fr")
    (message,) = mailbox.wait_for(1, to="alexandre@example.fr")
    code = people.CODE.search(message.get_content())
    assert code is not None
    page.locator("#code").press_sequentially(code[0].replace(" ", ""))
    expect(page.locator("#code")).to_have_value(code[0])
    page.get_by_role("button", name="Ouvrir mes pièces").tap()
    expect(page.get_by_role("heading", level=1)).to_have_text("3 pièces à consulter")


def read(debtor: Person) -> None:
    """Read the first document's page and its text."""
    page = debtor.page
    page.get_by_role("link", name="Lire la pièce 1").tap()
    assert people.painted(page, "img.page")[0] > 300
    page.get_by_role("link", name="Lire le texte seul", exact=True).tap()
    expect(page.locator(".text")).to_contain_text("Facture douze")
    page.get_by_role("link", name="← Pièce 1", exact=True).tap()
    page.get_by_role("link", name="Pièce 2", exact=True).tap()
    assert people.painted(page, "img.page")[0] > 300
    page.get_by_role("link", name="Toutes les pièces", exact=True).tap()


def download(debtor: Person) -> None:
    """Download one document, whose fingerprint is the one shown, and all of them."""
    page = debtor.page
    page.get_by_text("Empreinte de la pièce 1").tap()
    shown = "".join(page.locator("ol.docs > li").first.locator("code.hash span").all_inner_texts())
    with page.expect_download() as one:
        page.get_by_role("link", name="Télécharger la pièce 1").tap()
    assert one.value.suggested_filename == "Facture 12.pdf"
    assert hashlib.sha256(content(one.value)).hexdigest() == shown
    with page.expect_download() as every:
        page.get_by_role("link", name="Tout télécharger").tap()
    with zipfile.ZipFile(io.BytesIO(content(every.value))) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [
            "01 Facture 12.pdf", "02 Mise en demeure.pdf", "03 Bon de livraison.pdf", "Bordereau.txt",
        ]  # fmt: skip
        assert archive.read("02 Mise en demeure.pdf") == FILES["Mise en demeure.pdf"]


def leave(debtor: Person) -> None:
    """Sign out: going back shows nothing any more."""
    page = debtor.page
    page.get_by_role("button", name="Quitter").tap()
    expect(page.get_by_role("heading", level=1)).to_have_text("Consulter les documents produits contre vous")
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("Consulter les documents produits contre vous")
    assert "Facture" not in page.content()
    refused: Response | None = page.goto("/pieces/1/fichier")
    assert refused is not None
    assert "Facture" not in page.content()


def content(download: Download) -> bytes:
    """Return what was downloaded."""
    return Path(download.path()).read_bytes()


# The auditor


def head(service: Service) -> dict[str, Any]:
    """Return the journal's public head."""
    with urllib.request.urlopen(f"{service.url}/audit/head", timeout=10) as answer:  # noqa: S310 — loopback
        found: dict[str, Any] = json.load(answer)
        return found


def assert_grown(auditor: Person, before: dict[str, Any]) -> None:
    """Compare the head on the audit page with the one known before."""
    after = head(auditor.service)
    assert after["size"] >= before["size"] + 10  # identified, three opened and delivered, and more
    assert after["head"] != before["head"]
    page = auditor.open("/audit")
    assert "".join(page.locator("#tete span").all_inner_texts()) == after["head"]
    expect(page.locator(".stats")).to_contain_text(str(after["size"]))


def assert_export_verifies(service: Service, folder: Path) -> None:
    """Export the journal beside the running service, and verify it without the product."""
    told = json.loads(service.run("journal", "export", folder, "--json"))
    service.run(folder, "--vkey", told["vkey"], program=people.VERIFIER)
    changed = next(
        path for path in sorted(folder.rglob("*")) if path.is_file() and b"Claire Marchand" in path.read_bytes()
    )
    changed.write_bytes(changed.read_bytes().replace(b"Claire Marchand", b"Claire Marchant"))
    with pytest.raises(AssertionError):
        service.run(folder, "--vkey", told["vkey"], program=people.VERIFIER)
