"""What is typed and pasted in the fields of codes, with a script to help and without."""

from browser import people
from browser.people import Service
from playwright.sync_api import Browser, Page, expect

REFERENCE, SECRET = "W08N-0B87", "V5JWY-QPGQ3-0KBSS-9W35W"


def paste(page: Page, name: str, text: str) -> None:
    """Paste over what a field holds, as the keyboard does."""
    page.locator(f"#{name}").focus()
    page.evaluate("text => navigator.clipboard.writeText(text)", text)
    page.keyboard.press("ControlOrMeta+A")
    page.keyboard.press("ControlOrMeta+V")


def test_what_was_recognised_is_no_longer_told_once_something_else_is_typed(demo: Service, browser: Browser) -> None:
    with people.visiting(browser, demo, permissions=["clipboard-read", "clipboard-write"]) as person:
        page = person.open("/")
        paste(page, "secret", f"Code d’accès : {SECRET}")
        expect(page.locator("#secret-said")).to_contain_text("Reconnu dans ce que vous avez mis ici")

        page.locator("#secret").fill("")
        expect(page.locator("#secret-said")).to_be_empty()
        page.locator("#secret").press_sequentially("v5jwyq")
        expect(page.locator("#secret")).to_have_value("V5JWY-Q")
        expect(page.locator("#secret-said")).to_be_empty()


def test_a_reference_pasted_alone_in_the_secret_s_field_goes_to_its_own(demo: Service, browser: Browser) -> None:
    with people.visiting(browser, demo, permissions=["clipboard-read", "clipboard-write"]) as person:
        page = person.open("/")
        paste(page, "secret", REFERENCE)

        expect(page.locator("#reference")).to_have_value(REFERENCE)
        expect(page.locator("#secret")).to_have_value("")
        expect(page.locator("#secret-said")).to_contain_text("la référence")
        page.locator("#secret").press_sequentially(SECRET)  # whose beginning may look like one
        expect(page.locator("#secret")).to_have_value(SECRET)
        expect(page.locator("#reference")).to_have_value(REFERENCE)


def test_without_a_script_one_character_of_the_secret_is_corrected_not_twenty(demo: Service, browser: Browser) -> None:
    with people.visiting(browser, demo, java_script_enabled=False) as person:
        page = person.open("/")
        person.fill(reference=REFERENCE, secret=SECRET.replace("-", "").lower().replace("q3", "q4"))
        person.submit("Continuer")

        expect(page.locator("#secret")).to_have_value(SECRET.replace("Q3", "Q4"))
        expect(page.locator("#secret-error")).to_contain_text("faute de frappe")
        page.locator("#secret").fill(SECRET)
        person.submit("Continuer")
        expect(page.locator("#secret")).to_have_value("")  # well formed, and nobody's: it does not come back
