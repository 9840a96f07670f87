"""Who may go where: every address of the site, asked by everybody about everything, has one stated answer in one table."""

import json
import re
from collections import Counter
from fnmatch import fnmatchcase
from urllib.parse import urlencode
from uuid import uuid4

import make
import pytest
from conftest import DATABASES, fresh_database, product, settings_of, spare_the_processor
from web.conftest import site_over
from web.two_offices import CALLERS, DEBTORS, OF_MEMBERS, OF_RECIPIENTS, OFFICES, ROLES, World, forget_failures, owned

from mespieces.domain import deposits, journal, members
from mespieces.gateways import pdf
from mespieces.models import Access, Deposit, Document, Member, Recipient, Signification, write
from mespieces.views import current

HOME, OFFICE_DOOR = "/", "/etude/connexion"


def _all(answer):
    return {"anybody": answer}


def _recipients(answer, *, withdrawn=410, ended=410):
    """What recipients do, each with what is their own; a session opens nothing of what was withdrawn or is over."""
    return _all(HOME) | {"recipient": {"filed": answer, "second": answer, "withdrawn": withdrawn, "ended": ended}}


def _office(answer, *, auditor=404):
    """What members of the office concerned do, whom another office's are answered like when nothing is named."""
    return _all(OFFICE_DOOR) | dict.fromkeys(ROLES, answer) | {"auditeur": auditor}


def _administrators(answer, otherwise=404):
    return _office(otherwise) | {"administrateur": answer}


def _auditors(answer):
    """What those who take the journal away do, and nobody else."""
    return _office(404, auditor=answer) | {"administrateur": answer}


def _own(answer):
    return _office(answer, auditor=answer)


def _deposit(draft, filed, withdrawn, ended):
    """What members do with a deposit of their office, by its state."""
    return _office({"draft": draft, "filed": filed, "second": filed, "withdrawn": withdrawn, "ended": ended})


# fmt: off
EXPECTED = {
    # Everyone. A sign-in that nobody began is over.
    "GET /static/<path:filename>": _all(200),
    "GET /": _all(200),
    "GET /consulter": _all(HOME),
    "POST /consulter": _all(422),
    "GET /aide": _all(200),
    "GET /accessibilite": _all(200),
    "GET /mentions-legales": _all(200),
    "GET /donnees-personnelles": _all(200),
    "GET /consulter/canal": _all(410),
    "POST /consulter/canal": _all(410),
    "GET /consulter/code": _all(410),
    "POST /consulter/code": _all(410),
    "POST /consulter/code/renvoyer": _all(410),
    "GET /consulter/application.svg": _all(410),
    "GET /etude/connexion": _all(200),
    "POST /etude/connexion": _all(422),
    "GET /etude/connexion/code": _all(410),
    "POST /etude/connexion/code": _all(410),
    "GET /etude/connexion/application.svg": _all(410),
    "GET /etude/invitation/<token>": _all(410),
    "POST /etude/invitation/<token>": _all(410),
    "GET /audit": _all(200),
    "GET /audit/head": _all(200),
    "GET /audit/verifier": _all(200),
    "POST /audit/verifier": _all(422),
    "POST /audit/completer": _all(422),
    "GET /audit/points-de-controle": _all(200),
    "GET /audit/checkpoint": _all(200),
    "GET /audit/<journal:log>/points-de-controle": _all(200),
    "GET /audit/<journal:log>/checkpoints/<int:size>.note": _all(404),
    "GET /audit/<journal:log>/timestamps/<int:size>.<int:number>.tsr": _all(404),
    "GET /healthz": _all(200),
    "GET /readyz": _all(200),
    # Recipients
    "GET /pieces": _recipients(200),
    "GET /pieces/<int:number>": _recipients(200),
    "GET /pieces/<int:number>/texte": _recipients(200),
    "GET /pieces/<int:number>/pages/<int:page>.webp": _recipients(200),
    "GET /pieces/<int:number>/fichier": _recipients(200),
    "GET /pieces/liasse.zip": _recipients(200),
    "GET /pieces/attestation.pdf": _recipients(200),
    "GET /pieces/recus": _recipients(200),
    "GET /pieces/recus/<log>/<int:sequence>.json": _recipients(404),  # a record of somebody else's
    "GET /session": _recipients(200, withdrawn=200, ended=200),
    "POST /session": _recipients(200, withdrawn=200, ended=200),
    # Offices: what is anybody's own
    "GET /etude": _office("/etude/depots", auditor="/etude/journal"),
    "GET /etude/depots": _office(200),
    "GET /etude/depots/nouveau": _office(200),
    "POST /etude/depots/nouveau": _office(422),
    "GET /etude/membres": _office(200),
    "POST /etude/membres": _administrators(422),
    "GET /etude/membres/<uuid:member_id>": _administrators(200),
    "POST /etude/membres/<uuid:member_id>/invitation": _administrators("/etude/membres/{member_id}"),
    "POST /etude/membres/<uuid:member_id>/role": _administrators(422),
    "POST /etude/membres/<uuid:member_id>/depart": _administrators("/etude/membres"),
    "GET /etude/compte": _own(200),
    "POST /etude/compte/mot-de-passe": _own(422),
    "POST /etude/compte/sessions/<uuid:session_id>/terminer": _own(404),  # the session is of nobody
    "POST /etude/compte/sessions/terminer": _own("/etude/compte"),
    "GET /etude/compte/secours": _own(200),
    "POST /etude/compte/secours": _own(200),
    "GET /etude/compte/application": _own(200),
    "POST /etude/compte/application": _own(422),
    "GET /etude/compte/application/code": _own(410),
    "POST /etude/compte/application/code": _own(410),
    "GET /etude/preuve": _own(200),
    "POST /etude/preuve": _own(422),
    "GET /etude/journal": _office(200, auditor=200),
    "GET /etude/journal/<log>/<int:sequence>": _office(200, auditor=200),
    "GET /etude/journal/exports": _auditors(200),
    "POST /etude/journal/exports": _auditors("/etude/journal/exports"),
    "GET /etude/journal/exports/<uuid:export_id>/journal.zip": _auditors(200),
    "POST /etude/journal/exports/<uuid:export_id>/supprimer": _auditors("/etude/journal/exports"),
    "GET /etude/session": _own(200),
    "POST /etude/session": _own(200),
    # Offices: a deposit as a draft, filed, withdrawn, ended. What takes away from a draft comes last.
    "GET /etude/depots/<uuid:deposit_id>": _deposit("/etude/depots/{deposit_id}/pieces", 200, 200, 200),
    "GET /etude/depots/<uuid:deposit_id>/destinataires/<uuid:recipient_id>": _deposit(404, 200, 200, 200),
    "POST /etude/depots/<uuid:deposit_id>/feuillets": _deposit(409, 200, 409, 409),
    "POST /etude/depots/<uuid:deposit_id>/destinataires/<uuid:recipient_id>/application": _deposit(404, 200, 409, 409),
    "POST /etude/depots/<uuid:deposit_id>/destinataires/<uuid:recipient_id>/feuillet": _deposit(409, 409, 409, 409),  # the form says which sheet it has seen
    "POST /etude/depots/<uuid:deposit_id>/destinataires/<uuid:recipient_id>/signification": _deposit(404, 422, 422, 422),
    "POST /etude/depots/<uuid:deposit_id>/destinataires/<uuid:recipient_id>/code": _deposit(404, 422, 422, 422),
    "POST /etude/depots/<uuid:deposit_id>/destinataires/<uuid:recipient_id>/canal": _deposit(404, 422, 422, 422),
    "GET /etude/depots/<uuid:deposit_id>/pieces/<uuid:document_id>/fichier": _deposit(200, 200, 200, 410),
    "POST /etude/depots/<uuid:deposit_id>/destinataires/<uuid:recipient_id>/correction": _deposit(409, 422, 409, 409),
    "POST /etude/depots/<uuid:deposit_id>/retirer": _deposit(409, 422, 409, 409),
    "POST /etude/depots/<uuid:deposit_id>/remplacer": _deposit(409, 409, "/etude/depots/*", 409),
    "GET /etude/depots/<uuid:deposit_id>/attestation.pdf": _deposit(409, 200, 200, 200),
    "GET /etude/depots/<uuid:deposit_id>/destinataires/<uuid:recipient_id>/attestation.pdf": _deposit(409, 200, 200, 200),
    "GET /etude/depots/<uuid:deposit_id>/releve.pdf": _deposit(409, 200, 200, 200),
    "GET /etude/depots/<uuid:deposit_id>/recus": _deposit(409, 200, 200, 200),
    "GET /etude/depots/<uuid:deposit_id>/dossier.zip": _deposit(409, 200, 200, 200),
    "GET /etude/depots/<uuid:deposit_id>/recus/<log>/<int:sequence>.json": _deposit(409, 200, 200, 200),
    "GET /etude/depots/<uuid:deposit_id>/suppression.pdf": _deposit(409, 409, 409, 200),
    "GET /etude/depots/<uuid:deposit_id>/affaire": _deposit(200, 409, 409, 409),
    "POST /etude/depots/<uuid:deposit_id>/affaire": _deposit(422, 409, 409, 409),
    "GET /etude/depots/<uuid:deposit_id>/pieces": _deposit(200, 409, 409, 409),
    "POST /etude/depots/<uuid:deposit_id>/pieces": _deposit(422, 409, 409, 409),
    "POST /etude/depots/<uuid:deposit_id>/pieces/<uuid:document_id>": _deposit(422, 409, 409, 409),
    "POST /etude/depots/<uuid:deposit_id>/pieces/<uuid:document_id>/place": _deposit("/etude/depots/{deposit_id}/pieces", 409, 409, 409),
    "GET /etude/depots/<uuid:deposit_id>/destinataires": _deposit(200, 409, 409, 409),
    "POST /etude/depots/<uuid:deposit_id>/destinataires": _deposit(422, 422, 422, 422),
    "GET /etude/depots/<uuid:deposit_id>/verification": _deposit(200, 409, 409, 409),
    "POST /etude/depots/<uuid:deposit_id>/pieces/<uuid:document_id>/retirer": _deposit("/etude/depots/{deposit_id}/pieces", 409, 409, 409),
    "POST /etude/depots/<uuid:deposit_id>/destinataires/<uuid:recipient_id>/retirer": _deposit("/etude/depots/{deposit_id}/destinataires", 409, 409, 409),
    "POST /etude/depots/<uuid:deposit_id>/deposer": _deposit(422, "/etude/depots/{deposit_id}", "/etude/depots/{deposit_id}", "/etude/depots/{deposit_id}"),
    "POST /etude/depots/<uuid:deposit_id>/abandonner": _deposit("/etude/depots", 409, 409, 409),
    # Who leaves is asked nothing more
    "POST /deconnexion": _recipients(HOME, withdrawn=HOME, ended=HOME),
    "POST /etude/deconnexion": _own(OFFICE_DOOR),
}
# fmt: on
"""For each address: the status, or where one is led, by caller and by the state of the deposit concerned.

A new address is one line here; what it may name beside what `two_offices.World` gives goes into its `_ids`.
"""


def meant(line, caller, thing):
    """Return the stated answers to one question: nobody finds what is of another office, or of another deposit."""
    stated = EXPECTED[line]
    who = caller.role or ("recipient" if caller.state else "anybody")
    if who == "anybody" or who not in stated:
        return {stated["anybody"]}
    answer = stated[who]
    if caller.role and owned(line) and caller.office != thing.office:
        return {404}
    if isinstance(answer, dict):
        answer = answer[thing.state or caller.state]
    if thing.mixed:  # what may not be done with the deposit is said before its parts are looked for
        return {404, answer} if answer in {409, 422} else {404}
    return {answer.format(**thing.ids) if isinstance(answer, str) else answer}


@pytest.fixture(scope="module", params=DATABASES)
def world(request, tmp_path_factory):
    """Build two offices once, for all that is asked here."""
    folder = tmp_path_factory.mktemp("isolation")
    with pytest.MonkeyPatch.context() as patched, fresh_database(request, folder) as url:
        spare_the_processor(patched)
        with product(settings_of(url, folder)) as gateways:
            yield World(site_over(gateways))


def _address(rule, thing):
    return re.sub(r"<(?:\w+:)?(\w+)>", lambda name: str(thing.ids[name[1]]), rule)


def _answer(response):
    """Return the status, or where the caller is led."""
    return response.location if response.status_code == 303 else response.status_code


def _rules(app):
    """Return every address of the application, as the table writes it."""
    return {
        f"{method} {rule.rule}"
        for rule in app.url_map.iter_rules()
        for method in rule.methods & {"GET", "POST", "PUT", "PATCH", "DELETE"}
    }


def _kept(*offices):
    """Return what the deposits of offices are: only their own members may change it."""
    of = Deposit.select(Deposit.id).where(Deposit.office.in_(offices))
    people = Recipient.select(Recipient.id).where(Recipient.deposit.in_(of))
    rows = (
        Deposit.select().where(Deposit.office.in_(offices)), Document.select().where(Document.deposit.in_(of)),
        Recipient.select().where(Recipient.deposit.in_(of)), Access.select().where(Access.recipient.in_(people)),
        Signification.select().where(Signification.recipient.in_(people)),
        Member.select().where(Member.office.in_(offices)),
    )  # fmt: skip
    return [sorted(map(repr, query.tuples())) for query in rows]


def _ask_everything(world, caller):
    """Ask every address about everything as one caller; return what was not answered as stated, or showed what is others'."""
    forget_failures()
    wrong, foreign = {}, world.foreign(caller)
    for line in EXPECTED:
        method, _, rule = line.partition(" ")
        for thing in world.things(rule, caller):
            response = caller.ask(method, _address(rule, thing))
            answer, expected = _answer(response), meant(line, caller, thing)
            if not any(fnmatchcase(str(answer), str(one)) for one in expected):
                wrong[line, thing.name] = (answer, expected)
            shown = response.data.decode("utf-8", "replace")
            if seen := {word for word in foreign if word in shown}:
                wrong[line, thing.name] = seen
    return wrong


def _said(_template, facts, *, issued_at, attached=None):
    """Return what an attestation says and embeds, in clear: typeset, it is compressed, and nobody's name would be seen."""
    told = {"facts": facts, "attached": {name: data.decode() for name, data in (attached or {}).items()}}
    return b"%PDF-" + json.dumps(told, ensure_ascii=False).encode()


def test_every_address_is_in_the_table_and_the_table_names_no_other(world):
    assert _rules(world.site.app) == set(EXPECTED)


MAY_BE_WRITTEN = {
    "recipient": {"attestation.issued", "document.consulted", "document.delivered"},
    "auditeur": {
        "journal.read",
        "journal.exported",
        "member.changed",
        "member.refused",
    },  # their own codes, a password refused
}


def test_who_may_change_nothing_is_answered_as_stated_and_changes_nothing(world):
    everybody = list(world.offices.values())
    for name in (*(one for one in CALLERS if one not in OF_MEMBERS), *(one for one in OF_MEMBERS if "auditeur" in one)):
        caller = world.caller(name)
        before, operations = _kept(*everybody), make.operations()

        assert _ask_everything(world, caller) == {}, name
        if caller.role:  # a password of their own
            before[-1] = _kept(*everybody)[-1]
        assert _kept(*everybody) == before, name
        written = set(make.operations()[len(operations) :])
        assert written <= MAY_BE_WRITTEN.get(caller.role or ("recipient" if caller.state else ""), set()), name


def test_members_are_answered_as_stated_and_change_nothing_of_another_office(world, monkeypatch):
    for name in OF_MEMBERS:
        if name != OF_MEMBERS[0]:  # the first had each state's attestations typeset; they are the same to any member
            monkeypatch.setattr(pdf, "compose_apart", _said)
        caller = world.caller(name)
        theirs = [office for own, office in world.offices.items() if own != caller.office]
        before = _kept(*theirs)

        assert _ask_everything(world, caller) == {}, name
        assert _kept(*theirs) == before, name


def test_the_matrix_asks_about_two_offices_two_deposits_two_co_debtors_and_each_state(world):
    clerk = world.caller("nord/clerc")
    asked = {line: world.things(line.partition(" ")[2], clerk) for line in EXPECTED}
    of_people = [things for line, things in asked.items() if "recipient_id" in line]

    assert len(of_people) > 8
    for things in of_people:
        places = {(one.office, one.state, one.ids["recipient_id"]) for one in things if not one.mixed}
        assert len(places) == (len(OFFICES) * 2 + 3) * len(DEBTORS)
    assert len(CALLERS) == 3 + len(OF_RECIPIENTS) + len(OF_MEMBERS) == 3 + 12 + 6


DEBTOR, CO_DEBTOR, ELSEWHERE = "nord/filed/alix", "nord/filed/camille", "sud/filed/alix"
MEMBER, NEIGHBOUR, AUDITOR = "nord/commissaire", "sud/commissaire", "nord/auditeur"


def _every_address(world, caller):
    """Return each address once, with the methods its rules take: about a draft where it is filled in, else a filed deposit."""
    methods, drafts = {}, set()
    for line, stated in EXPECTED.items():
        method, _, rule = line.partition(" ")
        methods.setdefault(rule, set()).add(method)
        states = stated.get("clerc")
        drafts |= {rule} if isinstance(states, dict) and states["filed"] in {404, 409} else set()
    addresses = {}
    for rule, taken in methods.items():
        state = "draft" if rule in drafts else "filed"
        concerned = [one for one in world.things(rule, caller) if one.state in {"", state} and one.office == "nord"]
        if concerned and not rule.startswith("/static/"):
            addresses[_address(rule, concerned[0])] = taken
    return addresses


def test_no_address_takes_another_method(world):
    for name in ("stranger", MEMBER):
        caller = world.caller(name)
        before, operations = _kept(*world.offices.values()), make.operations()
        answers = {
            (method, path): caller.ask(method, path).status_code
            for path, taken in _every_address(world, caller).items()
            for method in {"POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"} - taken
        }
        for path in _every_address(world, caller):
            caller.ask("OPTIONS", path)

        assert set(answers.values()) == {405}, {asked: status for asked, status in answers.items() if status != 405}
        assert (_kept(*world.offices.values()), make.operations()) == (before, operations)


def test_asking_only_for_headers_serves_and_journals_nothing(world):
    for name in (DEBTOR, MEMBER):
        caller = world.caller(name)
        before, operations = _kept(*world.offices.values()), make.operations()
        addresses = [path for path, taken in _every_address(world, caller).items() if "GET" in taken]

        assert {caller.ask("HEAD", path).data for path in addresses} == {b""}
        assert (_kept(*world.offices.values()), make.operations()) == (before, operations)


@pytest.mark.parametrize(
    ("name", "door", "refused"),
    [
        (DEBTOR, "/deconnexion", "/pieces/99"),
        (MEMBER, "/etude/deconnexion", "/etude/depots/00000000-0000-0000-0000-000000000000"),
    ],
)
def test_every_page_of_somebody_signed_in_shows_the_sign_out(world, name, door, refused):
    caller, shown = world.caller(name), {}
    role = "commissaire" if name == MEMBER else "recipient"
    mine = {line.partition(" ")[2] for line, stated in EXPECTED.items() if line.startswith("GET") and role in stated}
    for path in _every_address(world, caller):
        if any(re.fullmatch(re.sub(r"<[^>]+>", "[^/]+", rule), path) for rule in mine):
            got = caller.visitor.ask("GET", path, None)
            if got.status_code == 200 and got.mimetype == "text/html":
                shown[path] = got.text
    shown["refused"] = caller.visitor.get(refused, 404).text

    assert len(shown) > 3
    assert [path for path, text in shown.items() if f'action="{door}"' not in text] == []


LIES = {"X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example;proto=http", "X-Forwarded-Proto": "http"}


def test_no_address_leads_or_links_to_where_the_request_claims_to_be(world):
    for name in ("stranger", DEBTOR, MEMBER):
        caller = world.caller(name)
        visitor = caller.visitor
        for cookie in list(visitor.client._cookies.values()):
            visitor.client.set_cookie(cookie.key, cookie.value, domain="evil.example", path=cookie.path)
        elsewhere = {"base_url": "https://evil.example", "headers": LIES | {"Referer": "https://evil.example/"}}
        visitor.get("/etude/connexion", **elsewhere)
        told, lies = {}, {"next": "//evil.example/", "url": "https://evil.example", "retour": "evil.example"}
        for method, path in sorted(
            ((method, path) for path, taken in _every_address(world, caller).items() for method in taken),
            key=lambda asked: (asked[0], asked[1].endswith("connexion")),  # who leaves has seen everything
        ):
            form = {"csrf_token": visitor.token, "vers": "https://evil.example/", **lies} if method == "POST" else None
            got = visitor.ask(method, f"{path}?{urlencode(lies)}", None, data=form, **elsewhere)
            told[method, path] = (got.location or "/", b"evil.example" in got.data)

        assert {
            path: one for path, one in told.items() if one[1] or not one[0].startswith("/") or one[0][1:2] == "/"
        } == {}
        assert {method for method, _ in told} == {"GET", "POST"}


@pytest.mark.parametrize("name", [one for one in OF_RECIPIENTS if "filed" in one or "second" in one])
def test_recipients_read_their_own_documents_under_their_own_name(world, name):
    debtor, mark = world.visitor(name), "-".join(name.split("/")[:2])

    def readers():
        told = journal.story(world.person(name).deposit)
        return Counter(one.body["author"]["name"] for one in told if one.operation == "document.consulted")

    before = readers()
    assert debtor.get("/pieces/1/fichier").data == make.pdf(f"piece-{mark}")
    assert f"creancier-{mark}" in debtor.get("/pieces").text
    assert readers() - before == {f"{name.rpartition('/')[2]}-{mark}": 1}


SWAPPED = [(DEBTOR, CO_DEBTOR), (DEBTOR, ELSEWHERE), (MEMBER, NEIGHBOUR), (MEMBER, AUDITOR)]


def test_a_form_with_somebody_else_s_anti_forgery_field_is_refused_whoever_they_are(world):
    for name, other in SWAPPED:
        victim, thief = world.visitor(name), world.visitor(other)
        page, door = ("/etude/compte", "/etude/deconnexion") if name == MEMBER else ("/pieces", "/deconnexion")
        for one in (victim, thief):
            one.get(page)
        own, victim.token = victim.token, thief.token

        victim.post(door, 400)

        victim.get(page)
        victim.token = own
        victim.post(door)


def test_what_is_of_another_deposit_is_not_found_through_ones_own(world):
    caller = world.caller(MEMBER)
    before, member = _kept(*world.offices.values()), caller.visitor
    member.get("/etude/depots")
    found = {}
    for line, stated in EXPECTED.items():
        method, _, rule = line.partition(" ")
        states = stated.get("commissaire")
        for thing in world.things(rule, caller):
            if thing.mixed and (thing.state == "draft") == (states["filed"] in {404, 409}):
                data = {
                    "csrf_token": member.token,
                    "title": "Autre",
                    "reason": "Au guichet",
                    "signified_on": "2026-11-20",
                }
                asked = _address(rule, thing)
                got = member.ask(method, asked, None, data=data if method == "POST" else None)
                found[method, asked] = got.status_code

    assert len(found) > 30
    assert set(found.values()) == {404}, {asked: status for asked, status in found.items() if status != 404}
    assert _kept(*world.offices.values()) == before


def test_co_debtors_are_told_no_reference_of_each_other(world):
    for name, other in ((DEBTOR, CO_DEBTOR), (CO_DEBTOR, DEBTOR)):
        reference = world.person(other).accesses.get().reference
        for path in ("/pieces", "/pieces/1", "/pieces/1/texte"):
            assert reference not in world.visitor(name).get(path).text.replace("-", "")


def test_a_recipient_of_a_shorter_deposit_reads_no_document_of_a_longer_one(world):
    for path in ("/pieces/2", "/pieces/2/fichier", "/pieces/2/texte", "/pieces/2/pages/1.webp"):
        world.visitor(DEBTOR).get(path, 404)


def test_the_search_of_an_office_finds_its_own_deposits_only(world):
    for name, found in ((MEMBER, True), (NEIGHBOUR, False)):
        for words in ("alix-nord-filed", "creancier-nord-filed", "ref-nord-filed"):
            shown = world.visitor(name).get(f"/etude/depots?q={words}").text
            assert (str(world.deposits["nord/filed"].id) in shown) == found


def test_a_cookie_of_one_audience_opens_nothing_of_the_other(world):
    crossed = world.visitor("crossed")

    assert crossed.get("/pieces", 303).location == HOME
    assert world.visitor("crossed").get("/etude/depots", 303).location == OFFICE_DOOR


def test_a_sign_in_of_one_audience_is_none_of_the_other(world):
    site = world.site
    crossed = site.visitor()
    crossed.carry(current.OFFICE_SIGN_IN, make.begun(site.gateways, world.person(DEBTOR), "Perdu").token)

    crossed.get("/etude/connexion/code", 410)
    crossed = site.visitor()
    begun = members.begin(site.gateways, world.members[MEMBER].email, make.PASSWORD, make.TRACE)
    crossed.carry(current.SIGN_IN, begun)
    crossed.get("/consulter/code", 410)
    crossed.get("/consulter/canal", 410)


def test_the_session_of_a_member_who_left_opens_nothing(world):
    leaving = make.member(world.site.gateways, world.offices["nord"], email=f"{uuid4().hex}@example.fr")
    member = world.site.member(leaving)
    member.get("/etude/depots")

    Member.update(left_at=world.site.gateways.clock.now()).where(Member.id == leaving.id).execute()

    member.get("/etude/depots", 303)


def test_a_draft_is_read_by_no_recipient(world):
    draft = world.draft("nord")
    with write():
        deposits.give_reference(world.site.gateways, make.first(draft))

    world.site.reading(draft).get("/pieces", 410)
