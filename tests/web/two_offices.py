"""The world of the isolation matrix: two offices alike, what each holds, and everybody who may call.

Each office has two filed deposits of two co-debtors each, and a colleague whom nobody asks as; the first one also has a
draft, a withdrawn deposit, an ended one, and a member of each role. Names, cases and documents are each deposit's own: an
answer tells whose it shows.
"""

from dataclasses import dataclass, field
from itertools import product
from typing import Any
from uuid import uuid4

import make
from web.conftest import SITE, Site, Visitor, check_headers

from mespieces.domain import checkpoints, deposits, journal, office_exports, retention, sessions, withdrawals
from mespieces.models import (
    Access,
    CodeKey,
    Deposit,
    Document,
    JournalExport,
    Member,
    Recipient,
    Session,
    Throttle,
    write,
)
from mespieces.views import current

OFFICES, STATES, DEBTORS = ("nord", "sud"), ("draft", "filed", "second", "withdrawn", "ended"), ("alix", "camille")
ROLES = ("clerc", "commissaire", "administrateur", "auditeur")
OF_MEMBERS = [*(f"nord/{role}" for role in ROLES), "sud/commissaire", "sud/administrateur"]
PLACES = [*(f"nord/{state}" for state in STATES), "sud/filed", "sud/second"]
OF_RECIPIENTS = [f"{place}/{who}" for place, who in product(PLACES[1:], DEBTORS)]
CALLERS = ("stranger", "signed out", "crossed", *OF_RECIPIENTS, *OF_MEMBERS)
"""Nobody; a recipient and a member who left, in one browser; somebody who carries each audience's cookie as the other's;
the co-debtors of each deposit; the members of each office, who come last: they may change something."""


@dataclass(frozen=True)
class Thing:
    """What an address names: a deposit, with a document and a recipient of its own, or of another where they are `mixed`."""

    name: str
    office: str
    state: str
    ids: dict[str, object] = field(hash=False)
    mixed: bool = False


class Caller:
    """Somebody with a browser, whose cookies are the same at each request, whatever the answer before took away."""

    def __init__(self, name: str, visitor: Visitor) -> None:
        self.name, self.visitor = name, visitor
        self.office, _, rest = name.partition("/")
        self.role = rest if name in OF_MEMBERS else ""
        self.state, _, self.who = rest.partition("/") if name in OF_RECIPIENTS else ("", "", "")
        self.draft: list[dict[str, object]] = []
        self._cookies = dict(visitor.client._cookies)
        self._tokens: dict[bool, str] = {}

    def ask(self, method: str, path: str) -> Any:
        """Ask once, with the anti-forgery field of a page this same browser was shown."""
        data = None
        if method == "POST":
            inside = path.startswith("/etude")  # each side of the site knows its own sessions
            data = {"csrf_token": self._tokens.get(inside) or self._shown(inside)}
        self.visitor.client._cookies = dict(self._cookies)
        answer = self.visitor.client.open(
            path, method=method, base_url=SITE, buffered=True, data=data, headers={"Referer": f"{SITE}/"},
            environ_base={"REMOTE_ADDR": self.visitor.address},
        )  # fmt: skip
        if not path.startswith("/static/"):
            check_headers(answer)
        return answer

    def _shown(self, inside: bool) -> str:
        self.visitor.client._cookies = dict(self._cookies)
        if inside:
            self.visitor.get("/etude/compte" if self.role else "/etude/connexion")
        else:
            self.visitor.get("/pieces" if self.state in {"filed", "second"} else "/")
        form = "formulaire"
        self._cookies |= {key: one for key, one in self.visitor.client._cookies.items() if one.key == form}
        self._tokens[inside] = self.visitor.token
        return self.visitor.token


class World:
    """Two offices over one product, built once and asked by many."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.offices = {name: make.office(site.gateways, f"Étude du {name}") for name in OFFICES}
        self.members = {name: self._member_called(name) for name in OF_MEMBERS}
        self.colleagues = {name: self._colleague(name) for name in OFFICES}
        self.deposits = {place: self._deposit(*place.split("/")) for place in PLACES}
        self.exports = {name: self._export(name) for name in OFFICES}
        self.parts = {place: _parts(deposit) for place, deposit in self.deposits.items()}
        checkpoints.publish(site.gateways)
        self.log = journal.head().log

    # What there is

    def _member_called(self, name: str) -> Member:
        office, _, role = name.partition("/")
        return make.member(self.site.gateways, self.offices[office], role=role)

    def _colleague(self, office: str) -> dict[str, object]:
        """Add a member whom nobody asks as, and return what addresses name of them."""
        colleague = make.member(self.site.gateways, self.offices[office], email=f"{uuid4().hex}@{office}.example")
        self.site.member(colleague)
        return {"member_id": colleague.id, "session_id": Session.get(Session.member == colleague).id}

    def _export(self, office: str) -> object:
        """Have the journal of an office exported, whatever became of the former export, and return its identifier."""
        JournalExport.delete().where(JournalExport.office == self.offices[office]).execute()
        office_exports.ask(self.site.gateways, self.members[f"{office}/administrateur"], make.TRACE)
        office_exports.prepare(self.site.gateways)
        return JournalExport.get(JournalExport.office == self.offices[office]).id

    def draft(self, office: str) -> Deposit:
        """Return a fresh draft of an office, which may be emptied."""
        return self._deposit(office, "draft")

    def _deposit(self, office: str, state: str) -> Deposit:
        gateways, mark = self.site.gateways, f"{office}-{state}"
        creditor = f"creancier-{mark}"
        deposit = make.draft(gateways, self.offices[office], creditor=creditor, office_reference=f"ref-{mark}")
        make.document(gateways, deposit, make.pdf(f"piece-{mark}"), f"piece-{mark}.pdf")
        for who in DEBTORS:
            make.recipient(gateways, deposit, f"{who}-{mark}")
        if state == "draft":
            return deposit
        deposit = deposits.file(gateways, deposit.id, by=journal.OPERATOR)
        if state == "withdrawn":
            withdrawals.withdraw(gateways, deposit.id, "Erreur", by=journal.OPERATOR)
        if state == "ended":
            Deposit.update(expires_at=gateways.clock.now()).where(Deposit.id == deposit.id).execute()
            retention.expire(gateways, confirmed=True)
        return deposit

    def person(self, name: str) -> Recipient:
        """Return the recipient of that name, as `CALLERS` writes it."""
        place, _, who = name.rpartition("/")
        return self.deposits[place].recipients.where(Recipient.name.startswith(who)).get()

    def things(self, rule: str, caller: Caller) -> list[Thing]:
        """Return what `rule` is asked about by a caller: all that its address may name, their own and others'.

        Recipients, whom no address of an office lets in, are asked about their own deposit there; what is mixed, of one
        member of each office: roles differ in what they may do with a deposit, never in what its parts are.
        """
        if "deposit_id" not in rule:
            offices = OFFICES if owned(rule) else OFFICES[:1]
            return [Thing(office, office, "", self._ids(office)) for office in offices]
        found = []
        for place, kept in self.parts.items():
            office, state = place.split("/")
            if caller.state and place != f"{caller.office}/{caller.state}":
                continue
            own = caller.draft if caller.draft and state == "draft" else kept
            people = own if "recipient_id" in rule else own[:1]
            found += [Thing(place, office, state, self._ids(office) | one) for one in people]
        with_parts = "document_id" in rule or "recipient_id" in rule
        return found + (self._mixed() if with_parts and caller.role == "commissaire" else [])

    def _mixed(self) -> list[Thing]:
        """What is of another deposit, asked through each, and what is of nobody."""
        pairs = (
            ("nord/filed", "nord/second"), ("nord/filed", "sud/filed"), ("sud/filed", "nord/filed"),
            ("nord/draft", "nord/filed"), ("nord/draft", "sud/filed"),
        )  # fmt: skip
        mixed = []
        for one, other in pairs:
            office, state = one.split("/")
            ids = self.parts[other][0] | {"deposit_id": self.parts[one][0]["deposit_id"]}
            mixed.append(Thing(f"{one} × {other}", office, state, self._ids(office) | ids, mixed=True))
        nobody = self.parts["nord/filed"][0] | {"document_id": uuid4(), "recipient_id": uuid4()}
        return [*mixed, Thing("nobody's", "nord", "filed", self._ids("nord") | nobody, mixed=True)]

    def _ids(self, office: str) -> dict[str, object]:
        """Return what addresses name beside a deposit and its parts, and what is an office's."""
        return {
            "filename": "look.css", "size": 1, "number": 1, "page": 1, "token": "inconnu", "log": self.log,
            "sequence": self.deposits[f"{office}/filed"].filed_sequence, "export_id": self.exports[office],
            **self.colleagues[office],
        }  # fmt: skip

    # Who calls

    def caller(self, name: str) -> Caller:
        """Return somebody with a browser of their own, signed in anew: with a draft they may empty, a colleague to lead out."""
        caller = Caller(name, self.visitor(name))
        if caller.role and caller.role != "auditeur":
            _print_nothing_yet()
            caller.draft = _parts(self.draft("nord")) if caller.office == "nord" else []
        if caller.role in {"administrateur", "auditeur"}:
            self.exports[caller.office] = self._export(caller.office)
        if caller.role == "administrateur":
            self.colleagues[caller.office] = self._colleague(caller.office)
        return caller

    def visitor(self, name: str) -> Visitor:
        """Return the browser of a caller, signed in anew."""
        if name in OF_MEMBERS:
            return self.site.member(self.members[name])
        if name in OF_RECIPIENTS:
            return self.site.recipient(self.person(name))
        visitor = self.site.visitor()
        if name == "stranger":
            return visitor
        of_member = self.site.member(self.members["nord/commissaire"]).cookie(current.OFFICE)
        of_recipient = self.site.recipient(self.person("nord/filed/alix")).cookie(current.ACCESS)
        assert of_member
        assert of_recipient
        if name == "crossed":
            of_member, of_recipient = of_recipient, of_member
        else:
            sessions.end(self.site.gateways, sessions.of_recipient(self.site.gateways, of_recipient))  # type: ignore[arg-type]
            sessions.end(self.site.gateways, sessions.of_member(self.site.gateways, of_member))  # type: ignore[arg-type]
        visitor.carry(current.ACCESS, of_recipient)
        visitor.carry(current.OFFICE, of_member)
        return visitor

    def foreign(self, caller: Caller) -> set[str]:
        """Return the words that only answers to others may hold: names, creditors, references, titles of documents."""
        if caller.role:
            return {f"-{office}-{state}" for office, state in product(OFFICES, STATES) if office != caller.office}
        if caller.state:
            own = f"{caller.who}-{caller.office}-{caller.state}"
            others = {f"{who}-{office}-{state}" for office, state, who in product(OFFICES, STATES, DEBTORS)} - {own}
            cases = {f"-{office}-{state}" for office, state in product(OFFICES, STATES)}
            return others | (cases - {f"-{caller.office}-{caller.state}"})
        return {f"-{office}-{state}" for office, state in product(OFFICES, STATES)}


def owned(rule: str) -> bool:
    """Tell whether an address names something of an office's."""
    return "_id>" in rule or ":sequence>" in rule


def _parts(deposit: Deposit) -> list[dict[str, object]]:
    """Return what addresses name of a deposit, for each of its recipients."""
    document = Document.get(Document.deposit == deposit)
    return [
        {"deposit_id": deposit.id, "document_id": document.id, "recipient_id": one.id}
        | ({"sequence": deposit.filed_sequence} if deposit.filed_at else {})
        for one in deposit.recipients.order_by(Recipient.name)
    ]


def _print_nothing_yet() -> None:
    """Have no sheet printed before: a second one is refused to a form that has not seen the first."""
    with write():
        Access.update(issued_at=None).execute()
        CodeKey.delete().execute()


def forget_failures() -> None:
    """Have nobody wait for what another caller typed."""
    with write():
        Throttle.delete().execute()
