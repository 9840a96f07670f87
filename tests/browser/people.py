"""The product as it is served, and the people who use it with a real browser."""

import contextlib
import email
import email.policy
import io
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pikepdf
import pyotp
import servers
from playwright.sync_api import Browser, BrowserContext, Page
from pypdf import PdfReader

ROOT = Path(__file__).parents[2]
PROGRAM = [sys.executable, "-c", "from mespieces.cli import main; main()"]
VERIFIER = [sys.executable, "-m", "mespieces.verifier"]
WIDTHS = (360, 768, 1280)
HEIGHT = 800
REFERENCE = re.compile(r"\b[0-9A-Z]{4}-[0-9A-Z]{4}\b")
SECRET = re.compile(r"\b(?:[0-9A-Z]{5}-){3}[0-9A-Z]{5}\b")
CODE = re.compile(r"\b\d{4} \d{4}\b")


@dataclass
class Service:
    """One installation: where it is, and its commands."""

    folder: Path
    port: int = field(default_factory=servers.free_port)
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Where people go."""
        return f"http://127.0.0.1:{self.port}"

    def run(self, *arguments: str | Path, program: Sequence[str] = PROGRAM) -> str:
        """Run a command and return what it printed."""
        done = subprocess.run(
            [*program, *arguments],
            cwd=ROOT,
            env=self._environment(),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextlib.contextmanager
    def serving(self, *arguments: str) -> Iterator[None]:
        """Serve until the end, the background work in the same process; nothing unforeseen may have been logged."""
        with (self.folder.parent / "log").open("w+") as log:
            process = subprocess.Popen(
                [*PROGRAM, *arguments], cwd=ROOT, env=self._environment(), stdout=log, stderr=log
            )
            try:
                self._wait(process, log)
                yield
            finally:
                process.terminate()
                process.wait(60)
                log.seek(0)
                said = log.read()
        assert "Traceback" not in said, said

    def mailed_saying(self, words: str) -> str:
        """Return the text of a mail in the folder of mails that says `words`, once it is there."""
        until = time.monotonic() + 15
        while True:
            for path in (self.folder / "mail").glob("*.eml"):
                message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
                text = message.get_body().get_content()  # files may come beside it
                if words in text:
                    return text
            assert time.monotonic() < until, words
            time.sleep(0.1)

    def _environment(self) -> dict[str, str]:
        others = {name: value for name, value in os.environ.items() if not name.startswith("MESPIECES_")}
        own = {"MESPIECES_DATA": str(self.folder), "MESPIECES_PUBLIC_URL": self.url, "PYTHONPATH": str(ROOT)}
        return others | own | self.settings

    def _wait(self, process: subprocess.Popen[bytes], log: Any) -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until and process.poll() is None:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:  # noqa: S310 — loopback
                if answer.status == 200:
                    return
            time.sleep(0.1)
        log.seek(0)
        raise AssertionError(log.read() or "The service does not answer")


class Person:
    """Somebody with a browser of their own: what it complains of is kept."""

    def __init__(self, browser: Browser, service: Service, **options: Any) -> None:
        self.service = service
        self.context: BrowserContext = browser.new_context(
            locale="fr-FR", timezone_id="Europe/Paris", base_url=service.url, **options
        )
        self.context.set_default_timeout(20_000)
        self.complaints: list[str] = []
        self.context.on("console", lambda said: self._hear(said.type, said.text))
        self.context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        self.page: Page = self.context.new_page()

    def open(self, path: str) -> Page:
        """Go to a page of the service, which must answer 200."""
        answer = self.page.goto(path)
        assert answer is not None
        assert answer.status == 200, f"{path}: {answer.status}"
        return self.page

    def submit(self, label: str) -> None:
        """Press the button that says `label`, and wait for what follows."""
        with self.page.expect_navigation():
            self.page.get_by_role("button", name=label, exact=True).click()

    def follow(self, label: str, *, exact: bool = True) -> None:
        """Follow the link that says `label`, and wait for its page."""
        with self.page.expect_navigation():
            self.page.get_by_role("link", name=label, exact=exact).click()

    def fill(self, **typed: str) -> None:
        """Type in fields, by their names."""
        for name, text in typed.items():
            self.page.locator(f"main [name={name}]").fill(text)

    def path(self) -> str:
        """Where the person is."""
        return urlsplit(self.page.url).path

    def _hear(self, kind: str, text: str) -> None:
        # A refusal is an answer like another; Chromium calls it an error all the same.
        if (
            kind in {"error", "warning"}
            and "Failed to load resource: the server responded with a status of 4" not in text
        ):
            self.complaints.append(text)


@contextlib.contextmanager
def visiting(browser: Browser, service: Service, **options: Any) -> Iterator[Person]:
    """Give somebody a browser; at the end it must have complained of nothing."""
    person = Person(browser, service, **options)
    try:
        yield person
    finally:
        person.context.close()
    assert person.complaints == []


def application(page: Page) -> pyotp.TOTP:
    """Return the application of codes that the page enrols."""
    link = page.locator("a[href^='otpauth:']").get_attribute("href")
    found = re.search(r"secret=([A-Z2-7]+)", link or "")
    assert found, link
    return pyotp.TOTP(found[1])


def printed(sheet: bytes) -> tuple[str, str]:
    """Return the reference and the secret of an access sheet, as its text gives them."""
    text = "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(sheet)).pages)
    secret = SECRET.search(text)
    assert secret, text
    label = text.index("éférence")
    reference = REFERENCE.search(text, label)
    assert reference, text
    return reference[0], secret[0]


def heavy_pdf(words: str, weight: int) -> bytes:
    """Return a PDF of one page that says `words`, made `weight` bytes heavier."""
    with pikepdf.new() as document:
        page = document.add_blank_page(page_size=(300, 420))
        font = pikepdf.Dictionary(Type=pikepdf.Name.Font, Subtype=pikepdf.Name.Type1, BaseFont=pikepdf.Name.Helvetica)
        page.obj.Resources = pikepdf.Dictionary(Font=pikepdf.Dictionary(F1=font))
        page.obj.Contents = document.make_stream(f"BT /F1 14 Tf 30 360 Td ({words}) Tj ET".encode())
        document.Root.PieceInfo = pikepdf.Dictionary(Weight=document.make_stream(os.urandom(weight)))
        written = io.BytesIO()
        document.save(written)
        return written.getvalue()


def painted(page: Page, selector: str) -> list[int]:
    """Return how wide each image really is once all are there: 0 is an image that could not be painted."""
    images = page.locator(selector)
    images.first.wait_for()
    for image in images.all():
        image.scroll_into_view_if_needed()
        image.evaluate("image => image.complete || new Promise(done => { image.onload = image.onerror = done })")
    return [int(image.evaluate("image => image.naturalWidth")) for image in images.all()]


def photograph(page: Page, name: str) -> None:
    """Keep a picture for the documentation, in the folder that MESPIECES_SCREENSHOTS names; nowhere by default."""
    folder = os.environ.get("MESPIECES_SCREENSHOTS")
    if folder:
        page.screenshot(path=Path(folder) / f"{name}.png")
