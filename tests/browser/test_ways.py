"""Each way to be identified, on a telephone, over the product as it is served and a mail server: from the square to leaving."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyotp
import pytest
import servers
from axe_playwright_python.sync_playwright import Axe
from browser import people
from browser.people import Person, Service
from conftest import DATABASES
from playwright.sync_api import Browser, Page, Playwright, expect

INSTALLED = [
    "--office-name", "SCP Lefèvre & Marchand", "--office-address", "14 rue des Carmes\n44000 Nantes",
    "--office-phone", "02 40 00 00 00", "--office-email", "etude@example.fr",
    "--admin-name", "Claire Marchand", "--admin-email", "claire@example.fr",
]  # fmt: skip
LOOKED_AT: set[str] = set()
WAYS = ("email", "app", "office", "act")
LISTED = "1\u00a0pièce à consulter"
DOOR = "Consulter les documents produits contre vous"
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}

PREPARE = """
import json, os, sys
sys.path.insert(0, "tests")
import make
from mespieces import config, runtime
from mespieces.domain import codes
from mespieces.models import Office
opened = runtime.open_runtime(config.read(os.environ))
opened.database.connect()
office = Office.get()
make.member(opened.gateways, office, email="camille@example.fr")
names = [f"Débiteur {number}" for number in range(6)]
filed = make.filed(opened.gateways, office, recipients=names)
sheets = [(one.name, *make.issued(opened.gateways, one)) for one in filed.recipients]
print(json.dumps({"password": make.PASSWORD, "at": f"/etude/depots/{filed.id}",
    "sheets": sorted((name, codes.show(access.reference), codes.show(secret)) for name, access, secret in sheets)}))
"""
"""Done by the product itself: a member, a filed deposit, a sheet for each of its recipients."""


class Product:
    """The product served: what is printed on its sheets, and what leaves it by mail."""

    def __init__(self, service: Service, mailbox: servers.Mailbox, known: dict[str, Any]) -> None:
        self.service, self.mailbox, self.known = service, mailbox, known
        self._sheets = iter(known["sheets"])

    def sheet(self) -> tuple[str, str, str]:
        """Return the name, the reference and the secret of a recipient who has never come."""
        name, reference, secret = next(self._sheets)
        return name, reference, secret


@contextmanager
def _product(data: Path, **settings: str) -> Iterator[Product]:
    with servers.smtp() as mailbox:
        given = {"MESPIECES_MAIL_URL": mailbox.url, "MESPIECES_ACT_ALONE": "anyone"}
        service = Service(data, settings=given | settings)
        service.run("init", *INSTALLED)
        known = json.loads(service.run(program=[*people.PROGRAM[:1], "-c", PREPARE]))
        with service.serving("serve", "--port", str(service.port)):
            yield Product(service, mailbox, known)


@pytest.fixture(scope="module", params=DATABASES)
def product(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """Serve the product on SQLite, then on PostgreSQL, once for all the ways."""
    folder = tmp_path_factory.mktemp("ways") / "data"
    if request.param == "sqlite":
        with _product(folder) as served:
            yield served
        return
    try:
        url = servers.create_database(servers.shared_postgresql())
    except servers.Missing as missing:
        pytest.skip(str(missing))
    with _product(folder, MESPIECES_DATABASE_URL=url) as served:
        yield served
    servers.drop_database(url)


@contextmanager
def telephone(browser: Browser, playwright: Playwright, product: Product, **options: Any) -> Iterator[Person]:
    """Give a debtor a telephone, whose keyboard can paste."""
    device = playwright.devices["Pixel 7"]
    assert device["has_touch"]
    with people.visiting(browser, product.service, **device, reduced_motion="reduce", **options) as debtor:
        debtor.context.grant_permissions(["clipboard-read", "clipboard-write"])
        yield debtor


# The ways


def test_a_debtor_reads_with_a_code_received_by_mail(
    product: Product, browser: Browser, playwright: Playwright
) -> None:
    with telephone(browser, playwright, product) as debtor:
        arrive(debtor, product.sheet())
        page = choose(debtor, "email", "payet@example.fr")
        expect(page.locator("main")).to_contain_text("p…t@example.fr")
        (mail,) = product.mailbox.wait_for(1, to="payet@example.fr")
        code = people.CODE.search(mail.get_content())[0]  # type: ignore[index]
        paste(page, "code", wrong(code).replace(" ", ""))
        expect(page.locator("#code")).to_have_value(wrong(code))
        enter(page)
        expect(page.locator("#code-error")).to_contain_text("Essais restants")
        look(page)
        paste(page, "code", f"Votre code : {code}")
        expect(page.locator("#code")).to_have_value(code)
        assert_asked_for_digits(page)
        enter(page)
        read_and_leave(debtor)


def test_a_debtor_reads_with_an_application_at_once_and_when_they_come_back(
    product: Product, browser: Browser, playwright: Playwright
) -> None:
    sheet = product.sheet()
    with telephone(browser, playwright, product) as debtor:
        arrive(debtor, sheet)
        page = choose(debtor, "app")
        assert people.painted(page, "img.qr")[0] > 0
        application = people.application(page)
        assert_asked_for_digits(page)
        look(page)
        code = application.now()
        paste(page, "code", f"{code[:3]}\u00a0{code[3:]}")
        enter(page)
        read_and_leave(debtor)
        identify(debtor, sheet)
        expect(page.locator("a[href^='otpauth:']")).to_have_count(0)
        look(page)
        paste(page, "code", code)
        enter(page)
        expect(page.locator("#code-error")).to_be_visible()
        paste(page, "code", later(application, code))
        enter(page)
        read_and_leave(debtor)


def test_a_debtor_reads_with_a_code_told_by_the_office(
    product: Product, browser: Browser, playwright: Playwright
) -> None:
    sheet = product.sheet()
    with telephone(browser, playwright, product) as debtor:
        arrive(debtor, sheet)
        page = choose(debtor, "office")
        assert page.get_by_role("link", name="02 40 00 00 00").first.get_attribute("href") == "tel:0240000000"
        assert_asked_for_digits(page)
        look(page)
        with people.visiting(browser, product.service) as clerk:
            told = tell_code(clerk, product, sheet[0])
        page.locator("#code").press_sequentially(told.replace(" ", ""))
        expect(page.locator("#code")).to_have_value(told)
        enter(page)
        read_and_leave(debtor)


def test_a_debtor_reads_with_the_act_alone_where_anyone_may(
    product: Product, browser: Browser, playwright: Playwright
) -> None:
    sheet = product.sheet()
    with telephone(browser, playwright, product) as debtor:
        arrive(debtor, sheet)
        choose(debtor, "act")
        read_and_leave(debtor)
        identify(debtor, sheet)
        expect(debtor.page.get_by_role("heading", level=1)).to_have_text("Votre feuillet suffit")
        look(debtor.page)
        enter(debtor.page)
        read_and_leave(debtor)


def test_a_debtor_without_javascript_types_as_they_like_and_reads_with_an_application(
    product: Product, browser: Browser, playwright: Playwright
) -> None:
    _, reference, secret = product.sheet()
    with telephone(browser, playwright, product, java_script_enabled=False) as debtor:
        page = debtor.open(f"/?reference={reference}")
        expect(page.locator("#reference")).to_have_value(reference)
        debtor.fill(secret=wrong(secret))
        page.get_by_role("button", name="Continuer").tap()
        expect(page.locator("#secret-error")).to_contain_text("faute de frappe")
        expect(page.locator("#reference")).to_have_value(reference)
        debtor.fill(reference=reference.replace("-", "").lower(), secret="x" * 30)
        expect(page.locator("#secret")).to_have_value("x" * 30)
        debtor.fill(secret="Code\u00a0: " + secret.lower().replace("-", "\u2011"))
        page.get_by_role("button", name="Continuer").tap()
        page = choose(debtor, "app")
        assert_asked_for_digits(page)
        key = "".join(page.locator("code.hash span").all_inner_texts())
        debtor.fill(code=pyotp.TOTP(key).now())
        enter(page)
        read_and_leave(debtor)


# What is typed


ODD = [
    ("lower case and ordinary spaces", lambda code: code.lower().replace("-", " ")),
    ("spaces that do not break", lambda code: code.replace("-", "\u00a0")),
    ("thin spaces and marks nobody sees", lambda code: "\ufeff" + code.replace("-", "\u202f\u200b\u200e")),
    *((f"dash U+{ord(dash):04X}", lambda code, dash=dash: code.replace("-", dash)) for dash in "‐‑‒–—―−⁃﹣－·_."),
    ("letters for figures", lambda code: code.replace("0", "O").replace("1", "l")),
    ("as one word", lambda code: code.replace("-", "")),
    ("between quotation marks", lambda code: f"«\u00a0{code}\u00a0»"),
    ("after its label", lambda code: f"Code d’accès\u00a0: {code}."),
    ("after its label, spaced", lambda code: f"Code : {code.replace('-', ' ')}\n"),
]


def test_whatever_is_pasted_is_put_in_groups_and_nothing_is_cut(
    product: Product, browser: Browser, playwright: Playwright
) -> None:
    reference, secret = "W08N-0B87", "V5JWY-QPGQ3-0KBSS-9W35W"
    with telephone(browser, playwright, product) as debtor:
        page, sent = debtor.open("/"), watch(debtor)
        for name, written in ODD:
            paste(page, "secret", written(secret))
            shown = page.locator("#secret").input_value()
            assert shown in {secret, secret.replace("0", "O")}, (name, shown)
            expect(page.locator("#secret")).not_to_have_attribute("aria-invalid", "true")
        for too_much in (secret + "-ABCDE", secret.replace("-", " ") + " ABCDE", f"Code : {wrong(secret)}"):
            paste(page, "secret", too_much)
            expect(page.locator("#secret")).to_have_value(too_much)
            page.locator("#reference").focus()
            expect(page.locator("#secret-said")).to_contain_text("de trop")
        paste(page, "secret", "")
        for field in ("reference", "secret"):
            paste(page, "reference", "")
            paste(page, "secret", "")
            paste(page, field, f"Référence : {reference}\nCode d’accès : {secret}\n")
            expect(page.locator("#reference")).to_have_value(reference)
            expect(page.locator("#secret")).to_have_value(secret)
            expect(page.locator(f"#{field}-said")).to_have_text(
                "Reconnu dans ce que vous avez mis ici\u00a0: la référence et le code d’accès. Le reste n’est pas gardé."
            )
        look(page)
        paste(page, "secret", "")
        paste(page, "reference", secret)
        expect(page.locator("#secret")).to_have_value(secret)
        expect(page.locator("#reference")).to_have_value("")
        assert sent == []


# What people do


def arrive(debtor: Person, sheet: tuple[str, str, str]) -> None:
    """Follow the square's address, and type the secret: a mistake is told before anything leaves."""
    _, reference, secret = sheet
    page = debtor.open(f"/?reference={reference}")
    expect(page.locator("#reference")).to_have_value(reference)
    sent, field, bare = watch(debtor), page.locator("#secret"), secret.replace("-", "").lower()
    field.tap()
    field.press_sequentially(bare[:6])
    expect(field).to_have_value(secret[:7])
    field.press_sequentially(wrong(bare)[6:])
    expect(field).to_be_focused()
    expect(page.locator("#secret-said")).to_contain_text("faute de frappe")
    expect(field).to_have_attribute("aria-invalid", "true")
    look(page)
    field.press("Backspace")
    expect(page.locator("#secret-said")).to_be_empty()
    field.press_sequentially(bare[-1])
    expect(field).to_have_value(secret)
    expect(field).not_to_have_attribute("aria-invalid", "true")
    assert sent == []
    page.get_by_role("button", name="Continuer").tap()
    expect(page.get_by_role("heading", level=1)).to_have_text("Comment recevoir votre code\u202f?")
    assert len(sent) == 1
    look(page)


def identify(debtor: Person, sheet: tuple[str, str, str]) -> None:
    """Come back with the paper."""
    debtor.open(f"/?reference={sheet[1]}")
    debtor.fill(secret=sheet[2])
    debtor.page.get_by_role("button", name="Continuer").tap()
    debtor.page.wait_for_url("**/consulter/code")


def choose(debtor: Person, way: str, email: str = "") -> Page:
    """Choose a way to receive a code, among those the operator allows."""
    page = debtor.page
    ways = page.locator("main [name=channel]")
    expect(ways).to_have_count(len(WAYS))
    assert [one.get_attribute("value") for one in ways.all()] == list(WAYS)
    page.locator(f"main [name=channel][value={way}]").check()
    page.get_by_label("Adresse de courriel").fill(email)
    page.get_by_role("button", name="Continuer").tap()
    page.wait_for_url("**/pieces" if way == "act" else "**/consulter/code")
    return page


def enter(page: Page) -> None:
    """Send the code."""
    with page.expect_navigation():
        page.get_by_role("button", name="Ouvrir mes pièces").tap()


def read_and_leave(debtor: Person) -> None:
    """Read the first page of a document, then leave: what was open is so no more."""
    page = debtor.page
    expect(page.get_by_role("heading", level=1)).to_have_text(LISTED)
    page.get_by_role("link", name="Lire la pièce 1").tap()
    page.wait_for_url("**/pieces/1")
    assert debtor.context.request.get("/pieces/1/pages/1.webp").body()[8:12] == b"WEBP"
    expect(page.locator("img.page").first).to_be_visible()
    page.get_by_role("button", name="Quitter").tap()
    expect(page.get_by_role("heading", level=1)).to_have_text(DOOR)
    page.goto("/pieces/1")
    assert debtor.path() == "/"


def tell_code(clerk: Person, product: Product, name: str) -> str:
    """Sign in at the office, whose telephone rings, and return the code told after a reason was given."""
    page = clerk.open("/etude/connexion")
    clerk.fill(email="camille@example.fr", password=product.known["password"])
    clerk.submit("Continuer")
    clerk.fill(code=people.application(page).now())
    clerk.submit("Se connecter")
    clerk.open(product.known["at"])
    clerk.follow(name)
    clerk.fill(reason="Au téléphone, date de naissance confirmée")
    clerk.submit("Afficher un code")
    return page.locator(".secret").inner_text()


def paste(page: Page, name: str, text: str) -> None:
    """Paste over what a field holds, as the keyboard does."""
    page.locator(f"#{name}").focus()
    page.evaluate("text => navigator.clipboard.writeText(text)", text)
    page.keyboard.press("ControlOrMeta+A")
    page.keyboard.press("ControlOrMeta+V" if text else "Delete")


def watch(debtor: Person) -> list[str]:
    """Return the list of what will be sent from now on."""
    sent: list[str] = []
    debtor.page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    return sent


def wrong(code: str) -> str:
    """Return a code with its last character mistyped."""
    return code[:-1] + ("0" if code[-1] != "0" else "2")


def later(application: pyotp.TOTP, used: str) -> str:
    """Return a code of the step after the one used: a clock a little ahead shows it."""
    present = int(time.time()) // 30
    step = next(step for step in (present - 2, present - 1, present) if application.at(step * 30) == used)
    return str(application.at((step + 1) * 30))


def assert_asked_for_digits(page: Page) -> None:
    """The keyboard is that of figures, the telephone may offer the code it received, and nothing is cut."""
    field = page.locator("#code")
    assert field.get_attribute("autocomplete") == "one-time-code"
    assert field.get_attribute("inputmode") == "numeric"
    assert field.get_attribute("maxlength") is None


def look(page: Page) -> None:
    """Check the page as it is with axe, once each, and that nothing goes beyond the telephone's edge."""
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    seen = page.locator("h1").inner_text() + "".join(page.locator(".err, .said").all_inner_texts())
    if seen in LOOKED_AT:
        return
    LOOKED_AT.add(seen)
    found = Axe().run(page, options=RULES).response["violations"]
    assert [f"{page.url}: {one['id']} {one['nodes'][0]['html'][:150]}" for one in found] == []
