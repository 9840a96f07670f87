"""The end of a session, in a real browser: the warning, what it keeps, and what is shown after it: nothing."""

import hashlib
import re
import secrets
import sqlite3
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from browser import people
from browser.people import Person, Service
from playwright.sync_api import Browser, expect

AUDIENCES = {
    "recipient": ("access", "acces", "/", "/pieces", "Quitter"),
    "member": ("member", "etude", "/etude", "/etude/depots/nouveau", "Se déconnecter"),
}
OF = {
    "access": "SELECT id FROM access ORDER BY created_at DESC LIMIT 1",
    "member": "SELECT id FROM member WHERE role <> 'auditeur'",
}
SHOWN = "document.dispatchEvent(new Event('visibilitychange'))"
BACK = "dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))"


class Opened:
    """A session open on the server, whose past can be moved: the browser's clock alone is not the server's."""

    def __init__(self, service: Service, audience: str) -> None:
        self.service, self.token = service, secrets.token_urlsafe(32)
        self.table, self.cookie, self.path, self.page, self.leave = AUDIENCES[audience]
        now = _written(datetime.now(UTC))
        with self._database() as database:
            (of,) = database.execute(OF[self.table]).fetchone()
            whose = (of, None) if audience == "recipient" else (None, of)
            identifier = str(uuid4()) if "-" in str(of) else uuid4().hex
            database.execute(
                "INSERT INTO session (id, token_hash, access_id, member_id, way, agent, created_at, seen_at, proved_at)"
                " VALUES (?, ?, ?, ?, 'act+email', '', ?, ?, ?)",
                (identifier, hashlib.sha256(self.token.encode()).hexdigest(), *whose, now, now, now),
            )

    def enter(self, person: Person) -> None:
        """Give the person's browser the session, a clock that can be moved, and its first page."""
        person.context.add_cookies(
            [{"name": self.cookie, "value": self.token, "domain": "127.0.0.1", "path": self.path}]
        )
        person.page.clock.install()
        person.open(self.page)

    def pass_time(self, person: Person, *, idle: timedelta, age: timedelta) -> None:
        """Have the session be that old and that idle on the server, and the browser live that long."""
        now = datetime.now(UTC)
        with self._database() as database:
            database.execute(
                "UPDATE session SET seen_at = ?, created_at = ? WHERE token_hash = ?",
                (_written(now - idle), _written(now - age), hashlib.sha256(self.token.encode()).hexdigest()),
            )
        person.page.clock.fast_forward(int(idle.total_seconds() * 1000) + 6000)

    def _database(self) -> sqlite3.Connection:
        return sqlite3.connect(self.service.folder / "mespieces.db", timeout=20)


def _written(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def forgive(person: Person) -> None:
    """Leave aside what the browser says of requests that the test itself has cut."""
    person.complaints[:] = [said for said in person.complaints if "ERR_FAILED" not in said]


def idle(audience: str) -> timedelta:
    return timedelta(minutes=15 if audience == "recipient" else 60)


@pytest.mark.parametrize("audience", AUDIENCES)
def test_a_session_is_renewed_without_leaving_the_page_then_hides_it(
    browser: Browser, demo: Service, audience: str
) -> None:
    opened = Opened(demo, audience)
    with people.visiting(browser, demo) as person:
        opened.enter(person)
        page, soon = person.page, idle(audience) - timedelta(seconds=100)
        if audience == "member":
            person.fill(creditor="Au bon moulin")
        page.evaluate("window.same = true")
        opened.pass_time(person, idle=soon, age=soon)
        dialog = page.get_by_role("alertdialog")
        expect(dialog).to_contain_text("moins de deux minutes")
        expect(page.get_by_role("button", name="Continuer", exact=True).last).to_be_focused()
        page.keyboard.press("Enter")
        expect(dialog).to_have_count(0)
        assert page.evaluate("window.same")
        if audience == "member":
            expect(page.locator("main [name=creditor]")).to_have_value("Au bon moulin")
        answer = person.context.request.get("/session" if audience == "recipient" else "/etude/session")
        assert answer.json()["left"] > idle(audience).total_seconds() - 60

        opened.pass_time(person, idle=idle(audience), age=idle(audience))
        expect(page.get_by_role("heading", level=1)).to_have_text("Votre session est terminée")
        assert "Au bon moulin" not in page.content()
        assert page.get_by_role("button", name=opened.leave).count() == 0
        person.follow("S’identifier de nouveau")


def test_the_last_minutes_of_the_hour_are_told_not_to_be_renewed(browser: Browser, demo: Service) -> None:
    opened = Opened(demo, "recipient")
    with people.visiting(browser, demo) as person:
        opened.enter(person)
        opened.pass_time(person, idle=timedelta(minutes=13, seconds=20), age=timedelta(minutes=58, seconds=20))
        expect(person.page.get_by_role("alertdialog")).to_contain_text("ne peut plus être prolongée")
        expect(person.page.get_by_role("button", name="Continuer", exact=True)).to_have_count(0)
        person.page.get_by_role("button", name="J’ai compris").click()
        expect(person.page.get_by_role("alertdialog")).to_have_count(0)
        with person.page.expect_response(re.compile("/session$")):  # what was understood is not said again
            person.page.evaluate(SHOWN)
        person.page.clock.run_for(6000)
        expect(person.page.get_by_role("alertdialog")).to_have_count(0)


def test_without_connection_nothing_stays_shown_past_the_end_until_the_server_answers(
    browser: Browser, demo: Service
) -> None:
    opened = Opened(demo, "recipient")
    with people.visiting(browser, demo) as person:
        opened.enter(person)
        page = person.page
        page.route("**/session", lambda route: route.abort())
        page.clock.fast_forward("15:06")
        dialog = page.get_by_role("alertdialog")
        expect(dialog).to_contain_text("la page est masquée")
        expect(page.locator("main")).to_be_hidden()

        page.unroute("**/session")
        page.get_by_role("button", name="Réessayer").click()
        expect(page.locator("main")).to_be_visible()
        expect(dialog).to_have_count(0)
        forgive(person)


def test_going_on_without_connection_says_so_and_can_be_tried_again(browser: Browser, demo: Service) -> None:
    opened = Opened(demo, "recipient")
    with people.visiting(browser, demo) as person:
        opened.enter(person)
        page, soon = person.page, idle("recipient") - timedelta(seconds=100)
        opened.pass_time(person, idle=soon, age=soon)
        dialog = page.get_by_role("alertdialog")
        expect(dialog).to_contain_text("moins de deux minutes")
        page.route("**/session", lambda route: route.abort())
        page.get_by_role("button", name="Continuer", exact=True).last.click()
        expect(dialog).to_contain_text("n’est pas prolongée")

        page.unroute("**/session")
        page.get_by_role("button", name="Réessayer").click()
        expect(dialog).to_have_count(0)
        expect(page.locator("main")).to_be_visible()
        forgive(person)


def test_going_on_in_a_session_ended_elsewhere_hides_the_page(browser: Browser, demo: Service) -> None:
    opened = Opened(demo, "recipient")
    with people.visiting(browser, demo) as person:
        opened.enter(person)
        soon = idle("recipient") - timedelta(seconds=100)
        opened.pass_time(person, idle=soon, age=soon)
        expect(person.page.get_by_role("alertdialog")).to_be_visible()
        person.context.clear_cookies(name=opened.cookie)
        person.page.get_by_role("button", name="Continuer", exact=True).last.click()
        expect(person.page.get_by_role("heading", level=1)).to_have_text("Votre session est terminée")


def test_a_tab_looked_at_again_after_the_session_hides_what_it_showed_at_once(browser: Browser, demo: Service) -> None:
    opened = Opened(demo, "recipient")
    with people.visiting(browser, demo) as person:
        opened.enter(person)
        person.context.clear_cookies(name=opened.cookie)
        person.page.evaluate(SHOWN)
        expect(person.page.get_by_role("heading", level=1)).to_have_text("Votre session est terminée")
        expect(person.page.locator("nav, .who, footer")).to_have_count(0)


def test_a_session_renewed_in_another_tab_hides_nothing_here(browser: Browser, demo: Service) -> None:
    opened = Opened(demo, "recipient")
    with people.visiting(browser, demo) as person:
        opened.enter(person)
        with person.page.expect_response(re.compile("/session$")):
            person.page.clock.fast_forward("16:00")  # the server saw the other tab meanwhile
        person.page.evaluate("fetch(document.body.dataset.sessionUrl).then((said) => said.text())")  # what came is read
        assert person.page.get_by_role("alertdialog").count() == 0  # at once: a wrong one would close by itself
        expect(person.page.get_by_role("heading", level=1)).not_to_have_text("Votre session est terminée")
        expect(person.page.locator("main")).to_be_visible()
        expect(person.page.get_by_role("alertdialog")).to_have_count(0)


@pytest.mark.parametrize("audience", AUDIENCES)
def test_the_back_button_after_signing_out_shows_nothing(browser: Browser, demo: Service, audience: str) -> None:
    opened = Opened(demo, audience)
    with people.visiting(browser, demo) as person:
        opened.enter(person)
        heading = person.page.locator("h1").inner_text()
        person.submit(opened.leave)
        person.page.go_back()
        expect(person.page.locator("h1")).not_to_have_text(heading)
        assert person.path() in {"/", "/etude/connexion"}


@pytest.mark.parametrize("audience", AUDIENCES)
def test_a_page_kept_by_the_browser_is_asked_again(browser: Browser, demo: Service, audience: str) -> None:
    opened = Opened(demo, audience)
    with people.visiting(browser, demo) as person:
        opened.enter(person)
        person.context.clear_cookies(name=opened.cookie)
        with person.page.expect_navigation():
            assert person.page.evaluate(f"{BACK}; document.querySelector('main').hidden")
        assert person.path() in {"/", "/etude/connexion"}
