"""What the tests of the web ask for: the application over a product of its own, and people who visit it."""

import dataclasses
import io
import os
import re
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import make
import pytest
from flask import Flask
from jinja2.bccache import Bucket, BytecodeCache
from pypdf import PdfReader
from werkzeug.test import TestResponse

from mespieces import app as web
from mespieces import models
from mespieces.config import Settings
from mespieces.domain import codes, notices, outbox, sessions
from mespieces.gateways import Gateways, keys
from mespieces.models import Deposit, Member, Recipient
from mespieces.runtime import Runtime
from mespieces.views import current

SITE = "https://pieces.example.fr"
ANSWERS: Counter[int] = Counter()
"""How often each status was answered in this process."""
_CSRF = re.compile(r'name="csrf_token" value="([^"]+)"')
_FORBIDDEN_ATTRIBUTES = re.compile(r"on\w+|style")
_VOID = frozenset({"meta", "link", "input", "img", "br", "hr"})


class _Compiled(BytecodeCache):
    """Templates compiled once in this process, though each test opens an application of its own."""

    def __init__(self) -> None:
        self._kept: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self._kept:
            bucket.bytecode_from_string(self._kept[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._kept[bucket.key] = bucket.bytecode_to_string()


_COMPILED = _Compiled()


class Page(HTMLParser):
    """A page as checked: its headings, ids, what refers to them, and what may not be there."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.count: dict[str, int] = {}
        self.ids: list[str] = []
        self.references: set[str] = set()
        self.faults: list[str] = []
        self.forms: list[tuple[str, bool]] = []
        self.language = ""
        self.title = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        if self._open:
            self.faults.append(f"left open: {self._open}")

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        self.count[tag] = self.count.get(tag, 0) + 1
        if tag not in _VOID:
            self._open.append(tag)
        self.language = (given.get("lang") or "") if tag == "html" else self.language
        self.ids += [given["id"] or ""] if "id" in given else []
        for name in ("for", "aria-describedby", "aria-labelledby"):
            self.references |= set((given.get(name) or "").split())
        if (given.get("href") or "").startswith("#"):
            self.references.add(str(given["href"])[1:])
        if len(given) != len(attributes):
            self.faults.append(f"<{tag}> bears an attribute twice: {attributes}")
        self.faults += [f"{name} on <{tag}>" for name in given if _FORBIDDEN_ATTRIBUTES.fullmatch(name)]
        self.faults += [f"{url} on <{tag}>" for url in given.values() if url and re.match("javascript:|data:", url)]
        if tag == "style" or (tag == "script" and "src" not in given):
            self.faults.append(f"inline <{tag}>")
        if tag == "img" and "alt" not in given:
            self.faults.append("an image without words for it")
        if tag == "form":
            self.forms.append(((given.get("method") or "get").lower(), False))
        if tag == "input" and given.get("name") == "csrf_token" and self.forms:
            self.forms[-1] = (self.forms[-1][0], True)

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.faults.append(f"</{tag}> closes something else")

    def handle_data(self, data: str) -> None:
        if self._open[-1:] == ["title"]:
            self.title += data


def check_page(response: TestResponse) -> None:
    """Assert what every page keeps: one h1, a title, unique ids, nothing inline, French, guarded forms."""
    page, fragment = Page(response.text), not response.text.lstrip().startswith("<!doctype html>")
    assert page.faults == []
    assert len(page.ids) == len(set(page.ids)), sorted(page.ids)
    assert [one for one in page.forms if one == ("post", False)] == [], "a POST form without its anti-forgery field"
    if fragment:
        assert page.count.get("h1", 0) == 0
        return
    assert page.count.get("h1") == 1, page.count.get("h1")
    assert page.title.strip().endswith("– Mes Pièces")
    assert not page.title.strip().startswith("–")
    assert page.language == "fr"
    assert page.references <= set(page.ids), page.references - set(page.ids)


def check_headers(response: TestResponse) -> None:
    """Assert the headers that everything but a static file leaves with."""
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "data:" not in policy
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "same-origin"
    assert response.headers["Cache-Control"] == "no-store"


def _steps(url: str) -> str:
    """Return which forms belong together at `url`: those of a sign-in's steps, of the office, of everybody else."""
    return next((one for one in ("/etude/connexion/code", "/etude", "/consulter/") if url.startswith(one)), "")


class Visitor:
    """A browser of its own, which checks every page it is shown."""

    def __init__(self, app: Flask, address: str = "198.51.100.7") -> None:
        self.client = app.test_client()
        self.address = address
        self.token, self._token_of = "", ""
        self.page: TestResponse

    def get(self, url: str, status: int = 200, **options: Any) -> TestResponse:
        """Ask for a page and check it."""
        return self.ask("GET", url, status, **options)

    def post(self, url: str, status: int = 303, **options: Any) -> TestResponse:
        """Send a form with its anti-forgery field, and check the answer; `data` is the form."""
        self.see_a_form(url)
        if isinstance(options.get("data", {}), dict):
            options["data"] = {"csrf_token": self.token, **options.get("data", {})}
        return self.ask("POST", url, status, **options)

    def see_a_form(self, url: str, **options: Any) -> None:
        """See a page whose forms are of the same session, or sign-in, as those of `url`, unless one was just seen."""
        if self.token and self._token_of == _steps(url):
            return
        if _steps(url) == "/consulter/" and self.cookie(current.SIGN_IN):
            self.get(self.ask("GET", "/consulter/code", None, **options).location or "/consulter/code", **options)
        elif _steps(url) == "/etude/connexion/code" and self.cookie(current.OFFICE_SIGN_IN):
            self.ask("GET", url, None, **options)
        else:
            self.get("/etude/connexion" if url.startswith("/etude") else "/", **options)
        self._token_of = _steps(url)

    def ask(self, method: str, url: str, status: int | None, **options: Any) -> TestResponse:
        """Ask for anything; `status` None leaves the answer's status to the caller."""
        options["headers"] = {
            "Referer": SITE + "/",
            "User-Agent": "Téléphone".encode().decode("latin-1"),
        } | options.get("headers", {})
        options = {"base_url": SITE, "buffered": True} | options
        response = self.client.open(url, method=method, environ_base={"REMOTE_ADDR": self.address}, **options)
        ANSWERS[response.status_code] += 1
        assert status is None or response.status_code == status, (
            f"{method} {url}: {response.status} {response.headers.get('Location', '')} {words(response)[:600]}"
        )
        check_headers(response)
        if {line.partition("=")[0] for line in response.headers.getlist("Set-Cookie")} & set(current._PATHS):
            self.token = ""  # somebody came in, or left: the next form is another's
        if response.mimetype == "text/html" and method != "HEAD" and response.status_code != 303:
            if not options["headers"].get("X-Raw"):
                check_page(response)
            if found := _CSRF.search(response.text):
                self.token, self._token_of = found[1], _steps(url)
            self.page = response
        return response

    def cookie(self, name: str) -> str | None:
        """Return the value of one of the visitor's cookies, whatever its path."""
        cookies = self.client._cookies or {}
        return next((cookie.value for cookie in cookies.values() if cookie.key == name), None)

    def carry(self, name: str, value: str) -> None:
        """Have the visitor carry a cookie: the forms seen before are of nobody any more."""
        self.token = ""
        self.client.set_cookie(name, value, domain="pieces.example.fr", path=current._PATHS[name])

    def upload(self, url: str, data: bytes, filename: str = "Facture.pdf", status: int = 303) -> TestResponse:
        """Send one file as the body of a request, as the page's script does."""
        self.see_a_form(url)
        headers = {"X-CSRFToken": self.token, "X-Filename": filename}
        return self.post(url, status, data=data, headers=headers, content_type="application/octet-stream")


def words(response: TestResponse) -> str:
    """Return what a page says, without its marks."""
    return " ".join(re.sub(r"<[^>]+>", " ", response.text).split())


@dataclasses.dataclass
class Site:
    """The application, the product under it, and ways to stand somewhere in its story at once."""

    app: Flask
    gateways: Gateways

    def visitor(self, **options: Any) -> Visitor:
        """Return somebody who has never come."""
        return Visitor(self.app, **options)

    def member(self, who: Member) -> Visitor:
        """Return the browser of a member signed in."""
        with models.write():
            token = sessions.start(self.gateways.clock.now(), way="password+totp", member=who)
        visitor = self.visitor(address="203.0.113.9")
        visitor.carry(current.OFFICE, token)
        return visitor

    def recipient(self, who: Recipient) -> Visitor:
        """Return the browser of a recipient identified by mail."""
        with models.write():
            Recipient.update(
                way="email", way_set_by="recipient", email="payet@example.fr", email_set_by="recipient"
            ).where(Recipient.id == who.id, Recipient.way == "").execute()
            token = sessions.start(self.gateways.clock.now(), way="act+email", access=who.accesses.get())
        visitor = self.visitor()
        visitor.carry(current.ACCESS, token)
        return visitor

    def reading(self, deposit: Deposit) -> Visitor:
        """Return the browser of the first recipient of a deposit, identified."""
        return self.recipient(make.first(deposit))

    def mails(self) -> list[str]:
        """Have the mails that are due leave, and return the text of all that left."""
        outbox.drain(self.gateways, notices.compose)
        return [message.get_content() for message in self.gateways.mail.sent]  # type: ignore[attr-defined]

    def mailed_code(self) -> str:
        """Return the code of the newest mail."""
        return re.search(r"\d{4} \d{4}", self.mails()[-1])[0]  # type: ignore[index]


@pytest.fixture
def open_site(settings: Settings, gateways: Gateways) -> Callable[..., Site]:
    """Give a function that opens the application, with other settings or gateways when they are named."""

    def opened(*, with_gateways: dict[str, Any] | None = None, **changed: Any) -> Site:
        known = dataclasses.replace(settings, **changed)
        return site_over(dataclasses.replace(gateways, settings=known, **(with_gateways or {})))

    return opened


def site_over(gateways: Gateways) -> Site:
    """Open the application over a product."""
    settings = gateways.settings
    runtime = Runtime(
        settings=settings,
        database=models.database.obj,
        gateways=gateways,
        secret_key=keys.read(settings.secret_key_file),
    )
    app = web.create(runtime)
    app.jinja_env.bytecode_cache = _COMPILED
    return Site(app, gateways)


@pytest.fixture
def site(open_site: Callable[..., Site]) -> Site:
    """Open the application."""
    return open_site()


@pytest.fixture
def read_sheet() -> Callable[[bytes], tuple[str, str]]:
    """Give a function that reads the reference and the secret printed on an access sheet."""

    def read(pdf: bytes) -> tuple[str, str]:
        text = "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages)
        secret = re.search(r"\b(?:[0-9A-Z]{5}-){3}[0-9A-Z]{5}\b", text)
        found = [one for one in re.findall(r"\b[0-9A-Z]{4}-[0-9A-Z]{4}\b", text) if _is_reference(one)]
        assert secret is not None, text
        return found[0], secret[0]

    return read


def _is_reference(typed: str) -> bool:
    try:
        codes.read_reference(typed)
    except codes.ReferenceMistyped:
        return False
    return True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Count what was tried and how it was answered, for `make fuzz`."""
    if "MESPIECES_FUZZ" in os.environ:
        each = ", ".join(f"{status}: {count}" for status, count in sorted(ANSWERS.items()))
        terminalreporter.write_line(f"{sum(ANSWERS.values())} requests answered: {each}")
