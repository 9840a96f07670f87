"""Who may go where: every address of the site, asked by everybody, has one stated answer in one table."""

from urllib.parse import urlencode
from uuid import uuid4

import make
import pytest

from mespieces.domain import checkpoints, deposits, journal, members, office_exports, sessions
from mespieces.models import (
    Access,
    Deposit,
    Document,
    JournalExport,
    Member,
    Recipient,
    Session,
    Signification,
    Throttle,
    write,
)  # fmt: skip
from mespieces.views import current

CALLERS = ("stranger", "signed out", "recipient", "co-debtor", "elsewhere", "member", "neighbour", "auditor", "crossed")
"""Nobody; a recipient and a member who left, in one browser; two recipients of the deposit; one of another office's, who reads their own documents;
a member of its office; one of another; its auditor; somebody who carries each audience's cookie as the other's."""

HOME, OFFICE_DOOR = "/", "/etude/connexion"
COLLEAGUE = "collegue@example.fr"
"""A member of the office, whom nobody asks as: the one that addresses name."""


def _all(status):
    return dict.fromkeys(CALLERS, status)


def _recipients(status):
    return _all(HOME) | dict.fromkeys(("recipient", "co-debtor", "elsewhere"), status)


def _office(status, *, neighbour=404, auditor=404):
    return _all(OFFICE_DOOR) | {"member": status, "neighbour": neighbour, "auditor": auditor}


ADMINISTRATORS = {"administrator": "member", "rival": "neighbour"}
"""Administrators of both offices, and the member of the same one whom they are answered like where nothing is stated."""


def _administrators(status, otherwise=404):
    """What administrators of the office do, and nobody else."""
    return _office(otherwise) | {"administrator": status}


def _auditors(status):
    """What those who take the journal away do, and nobody else."""
    return _office(404, auditor=status) | {"administrator": status}


def _own(status):
    return _office(status, neighbour=status, auditor=status)


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
    "GET /audit/points-de-controle": _all(200),
    "GET /audit/verifier": _all(200),
    "POST /audit/verifier": _all(422),
    "POST /audit/completer": _all(422),
    "GET /audit/checkpoint": _all(200),
    "GET /audit/checkpoint/<int:size>": _all(404),
    "GET /audit/timestamps/<int:size>.<int:number>.tsr": _all(404),
    "GET /healthz": _all(200),
    "GET /readyz": _all(503),  # no worker was seen
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
    "GET /session": _recipients(200),
    "POST /session": _recipients(200),
    "POST /deconnexion": _recipients(HOME),
    # Offices: what is anybody's own
    "GET /etude": _office("/etude/depots", neighbour="/etude/depots", auditor="/etude/journal"),
    "GET /etude/depots": _office(200, neighbour=200),
    "GET /etude/depots/nouveau": _office(200, neighbour=200),
    "POST /etude/depots/nouveau": _office(422, neighbour=422),
    "GET /etude/membres": _office(200, neighbour=200),
    "POST /etude/membres": _administrators(422) | {"rival": 422},
    "GET /etude/membres/<uuid:member_id>": _administrators(200),
    "POST /etude/membres/<uuid:member_id>/invitation": _administrators("/etude/membres/{colleague}"),
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
    "GET /etude/journal": _office(200, neighbour=200, auditor=200),
    "GET /etude/journal/<log>/<int:sequence>": _office(200, auditor=200),
    # Exports are for auditors and administrators, of their own office alone
    "GET /etude/journal/exports": _auditors(200) | {"rival": 200},
    "POST /etude/journal/exports": _auditors("/etude/journal/exports") | {"rival": "/etude/journal/exports"},
    "GET /etude/journal/exports/<uuid:export_id>/journal.zip": _auditors(200),
    "POST /etude/journal/exports/<uuid:export_id>/supprimer": _auditors("/etude/journal/exports"),
    "GET /etude/session": _own(200),
    "POST /etude/session": _own(200),
    "POST /etude/deconnexion": _office(OFFICE_DOOR, neighbour=OFFICE_DOOR, auditor=OFFICE_DOOR),
    # Offices: a filed deposit
    "GET /etude/depots/<uuid:deposit_id>": _office(200),
    "GET /etude/depots/<uuid:deposit_id>/destinataires/<uuid:recipient_id>": _office(200),
    "POST /etude/depots/<uuid:deposit_id>/feuillets": _office(200),
    "POST /etude/depots/<uuid:deposit_id>/destinataires/<uuid:recipient_id>/application": _office(200),
    "POST /etude/depots/<uuid:deposit_id>/destinataires/<uuid:recipient_id>/feuillet": _office(200),
    "POST /etude/depots/<uuid:deposit_id>/destinataires/<uuid:recipient_id>/signification": _office(422),
    "POST /etude/depots/<uuid:deposit_id>/destinataires/<uuid:recipient_id>/code": _office(422),
    "POST /etude/depots/<uuid:deposit_id>/destinataires/<uuid:recipient_id>/canal": _office(422),
    "GET /etude/depots/<uuid:deposit_id>/pieces/<uuid:document_id>/fichier": _office(200),
    "POST /etude/depots/<uuid:deposit_id>/destinataires/<uuid:recipient_id>/correction": _office(422),
    "POST /etude/depots/<uuid:deposit_id>/retirer": _office(422),
    "POST /etude/depots/<uuid:deposit_id>/remplacer": _office(409),
    "GET /etude/depots/<uuid:deposit_id>/attestation.pdf": _office(200),
    "GET /etude/depots/<uuid:deposit_id>/destinataires/<uuid:recipient_id>/attestation.pdf": _office(200),
    "GET /etude/depots/<uuid:deposit_id>/releve.pdf": _office(200),
    "GET /etude/depots/<uuid:deposit_id>/recus": _office(200),
    "GET /etude/depots/<uuid:deposit_id>/dossier.zip": _office(200),
    "GET /etude/depots/<uuid:deposit_id>/recus/<log>/<int:sequence>.json": _office(200),
    "GET /etude/depots/<uuid:deposit_id>/suppression.pdf": _office(409),  # nothing is deleted yet
    # Offices: a draft. What takes away comes last, so that filing what is left is refused.
    "GET /etude/depots/<uuid:deposit_id>/affaire": _office(200),
    "POST /etude/depots/<uuid:deposit_id>/affaire": _office(422),
    "GET /etude/depots/<uuid:deposit_id>/pieces": _office(200),
    "POST /etude/depots/<uuid:deposit_id>/pieces": _office(422),
    "POST /etude/depots/<uuid:deposit_id>/pieces/<uuid:document_id>": _office(422),
    "POST /etude/depots/<uuid:deposit_id>/pieces/<uuid:document_id>/place": _office("."),
    "GET /etude/depots/<uuid:deposit_id>/destinataires": _office(200),
    "POST /etude/depots/<uuid:deposit_id>/destinataires": _office(422),
    "GET /etude/depots/<uuid:deposit_id>/verification": _office(200),
    "POST /etude/depots/<uuid:deposit_id>/pieces/<uuid:document_id>/retirer": _office("."),
    "POST /etude/depots/<uuid:deposit_id>/destinataires/<uuid:recipient_id>/retirer": _office("."),
    "POST /etude/depots/<uuid:deposit_id>/deposer": _office(422),
    "POST /etude/depots/<uuid:deposit_id>/abandonner": _office("/etude/depots"),
}
"""For each address: the status each caller gets, or where they are led; "." is back to the draft."""

OF_FILED = (
    "deposit_id>", "recipient_id>", "/feuillet", "/feuillets", "_id>/application", "/signification", "/code", "_id>/canal", "/correction",
    "/attestation.pdf", "/suppression.pdf", "/releve.pdf", "/recus", "/dossier.zip", "/<int:sequence>.json", "deposit_id>/retirer", "deposit_id>/remplacer",
)  # fmt: skip


@pytest.fixture
def world(site):
    """Make two offices, each with a filed deposit and a draft, and everybody who may call."""
    ours, theirs = make.office(site.gateways), make.office(site.gateways, "Étude voisine")
    filed = make.filed(site.gateways, ours, documents=2, recipients=("Alexandre Payet", "Béatrice Roux"))
    draft = make.draft(site.gateways, ours)
    make.document(site.gateways, draft)
    make.recipient(site.gateways, draft)
    people = {
        "member": make.member(site.gateways, ours),
        "neighbour": make.member(site.gateways, theirs),
        "auditor": make.member(site.gateways, ours, role="auditeur"),
        "administrator": make.member(site.gateways, ours, role="administrateur"),
        "rival": make.member(site.gateways, theirs, role="administrateur"),
    }
    site.member(make.member(site.gateways, ours, email=COLLEAGUE))
    checkpoints.publish(site.gateways)
    payet, roux = filed.recipients.order_by(Recipient.name)
    outsider = make.first(make.filed(site.gateways, theirs, recipients=("Odile Ailleurs",)))
    for one in (payet, roux, outsider):
        site.recipient(one)

    def caller(name):
        if name in people:
            return site.member(people[name])
        if name == "stranger":
            return site.visitor()
        if name == "crossed":
            crossed = site.visitor()
            crossed.carry(current.ACCESS, site.member(people["member"]).cookie(current.OFFICE))
            crossed.carry(current.OFFICE, site.recipient(payet).cookie(current.ACCESS))
            return crossed
        visitor = site.recipient({"co-debtor": roux, "elsewhere": outsider}.get(name, payet))
        if name == "signed out":
            left = site.member(people["member"]).cookie(current.OFFICE)
            visitor.carry(current.OFFICE, left)
            sessions.end(site.gateways, sessions.of_recipient(site.gateways, visitor.cookie(current.ACCESS)))
            sessions.end(site.gateways, sessions.of_member(site.gateways, left))
        return visitor

    return caller, filed, draft


def _rules(app):
    """Return every address of the application, as the table writes it, with its rule."""
    return {
        f"{method} {rule.rule}": rule
        for rule in app.url_map.iter_rules()
        for method in rule.methods & {"GET", "POST", "PUT", "PATCH", "DELETE"}
    }


def _inside(deposit):
    return Document.get(Document.deposit == deposit).id, make.first(deposit).id


def _export():
    """Return the export that the office has."""
    found = JournalExport.select().where(JournalExport.finished_at.is_null(False)).first()
    return found.id if found else uuid4()


def _have_exported(site, office):
    """Give the office one export, whatever became of the former."""
    JournalExport.delete().execute()
    office_exports.ask(site.gateways, Member.get(Member.role == "auditeur", Member.office == office), make.TRACE)
    assert office_exports.prepare(site.gateways) == 1


def _colleague():
    return Member.get((Member.email == COLLEAGUE) | Member.left_at.is_null(False))  # the address goes at departure


def _address(rule, deposit, document, recipient):
    colleague = Member.get(
        (Member.email == COLLEAGUE) | Member.left_at.is_null(False)
    )  # whose address goes at departure
    values = {
        "filename": "look.css", "size": 1, "number": 1, "page": 1, "deposit_id": deposit.id, "export_id": _export(),
        "sequence": (deposit if deposit.filed_at else Deposit.get(Deposit.filed_at.is_null(False), Deposit.office == deposit.office)).filed_sequence,
        "document_id": document, "recipient_id": recipient, "member_id": colleague.id, "session_id": Session.get(Session.member == colleague).id,
    }  # fmt: skip
    path = rule.replace("<token>", "inconnu").replace("<log>", journal.head().log)
    for name, value in values.items():
        for kind in ("path", "int", "uuid"):
            path = path.replace(f"<{kind}:{name}>", str(value))
    return path


def _concerned(rule, filed, draft):
    """Return the deposit an address is asked about: the draft where it is filled in, else the filed one."""
    return filed if rule.endswith(OF_FILED) or "deposit_id" not in rule else draft


def _kept():
    """Return what nobody unentitled may change."""
    tables = (Deposit, Document, Recipient, Access, Signification)
    return [sorted(map(repr, table.select().tuples())) for table in tables]


def test_every_address_is_in_the_table_and_the_table_names_no_other(site):
    assert set(_rules(site.app)) == set(EXPECTED)


def _ask(site, world, name):
    """Ask every address as one caller, and return what each answered and should have."""
    caller, filed, draft = world
    _have_exported(site, filed.office)
    inside = {deposit: _inside(deposit) for deposit in (filed, draft)}
    Throttle.delete().execute()  # nobody waits for what another caller typed
    answers, expected = {}, {}
    known = site.visitor()
    known.get("/etude/connexion")
    for line, by_caller in EXPECTED.items():
        method, _, rule = line.partition(" ")
        deposit = _concerned(rule, filed, draft)
        visitor = _alike(known, caller(name))  # anew: what was asked before may have ended the session
        answers[line] = _answer(visitor, method, _address(rule, deposit, *inside[deposit]))
        stated = by_caller[name] if name in by_caller else by_caller[ADMINISTRATORS[name]]
        expected[line] = _meant(stated, draft, rule)
        if "{colleague}" in str(stated):
            expected[line] = stated.format(colleague=_colleague().id)
    return answers, expected


def test_each_address_answers_administrators_as_the_table_states(site, world):
    for name in ("rival", "administrator"):
        before, members_before = _kept(), sorted(map(repr, Member.select().tuples()))
        answers, expected = _ask(site, world, name)

        assert answers == expected, name
        if name == "rival":
            assert _kept() == before
            assert sorted(map(repr, Member.select().tuples())) == members_before


def test_each_address_answers_each_caller_as_the_table_states(site, world):
    for name in sorted(CALLERS, key="member".__eq__):  # the only one who may change something comes last
        before, operations = _kept(), make.operations()
        answers, expected = _ask(site, world, name)

        assert answers == expected, name
        if name != "member":
            assert _kept() == before, name
            assert set(make.operations()[len(operations) :]) <= {
                "attestation.issued",
                "document.consulted",
                "document.delivered",
                "journal.exported",  # before anybody asks
                "journal.read",
                "member.changed",  # their own recovery codes, and a password refused
                "member.refused",
            }


def _alike(known, visitor):
    """Give a visitor the anti-forgery field of another, with the cookie it goes with."""
    visitor.client.set_cookie("formulaire", known.cookie("formulaire"), domain="pieces.example.fr")
    visitor.token = known.token
    return visitor


def _answer(visitor, method, path):
    """Return the status, or where the caller is led."""
    if path.startswith("/static/"):
        return visitor.client.get(path, buffered=True).status_code
    got = visitor.ask(method, path, None, data={"csrf_token": visitor.token} if method == "POST" else None)
    return got.location if got.status_code == 303 else got.status_code


def _meant(expected, draft, rule):
    return (
        f"/etude/depots/{draft.id}/{'pieces' if '/pieces' in rule else 'destinataires'}"
        if expected == "."
        else expected
    )


def _every_address(filed, draft):
    """Return each address once, with the methods its rules take."""
    methods = {}
    for line in EXPECTED:
        method, _, rule = line.partition(" ")
        deposit = _concerned(rule, filed, draft)
        methods.setdefault(_address(rule, deposit, *_inside(deposit)), set()).add(method)
    return {path: taken for path, taken in methods.items() if not path.startswith("/static/")}


def test_no_address_takes_another_method(world):
    caller, filed, draft = world
    for name in ("stranger", "recipient", "member"):
        visitor, before, operations = caller(name), _kept(), make.operations()
        visitor.get("/etude/connexion")
        answers = {}
        for path, taken in _every_address(filed, draft).items():
            for method in {"POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"} - taken:
                data, once = (
                    {"csrf_token": visitor.token},
                    {} if method == "POST" else {"X-Raw": "the page is the same"},
                )
                answers[method, path] = visitor.ask(method, path, None, data=data, headers=once).status_code
            visitor.ask("OPTIONS", path, None)

        assert set(answers.values()) == {405}, {asked: status for asked, status in answers.items() if status != 405}
        assert (_kept(), make.operations()) == (before, operations)


def test_asking_only_for_headers_serves_and_journals_nothing(world):
    caller, filed, draft = world
    for name in ("recipient", "member"):
        visitor, before, operations = caller(name), _kept(), make.operations()
        bodies = {
            path: visitor.ask("HEAD", path, None).data
            for path, taken in _every_address(filed, draft).items()
            if "GET" in taken
        }

        assert set(bodies.values()) == {b""}
        assert (_kept(), make.operations()) == (before, operations)


@pytest.mark.parametrize(
    ("name", "door", "refused"),
    [
        ("recipient", "/deconnexion", "/pieces/99"),
        ("member", "/etude/deconnexion", "/etude/depots/00000000-0000-0000-0000-000000000000"),
    ],
)
def test_every_page_of_somebody_signed_in_shows_the_sign_out(world, name, door, refused):
    caller, filed, draft = world
    visitor, shown = caller(name), {}
    for line, by_caller in EXPECTED.items():
        method, _, rule = line.partition(" ")
        if method == "GET" and by_caller[name] == 200 != by_caller["stranger"]:
            deposit = _concerned(rule, filed, draft)
            got = visitor.get(_address(rule, deposit, *_inside(deposit)))
            if got.mimetype == "text/html":
                shown[rule] = got.text
    shown["refused"] = visitor.get(refused, 404).text

    assert len(shown) > 3
    assert [rule for rule, text in shown.items() if f'action="{door}"' not in text] == []


LIES = {"X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example;proto=http", "X-Forwarded-Proto": "http"}


def test_no_address_leads_or_links_to_where_the_request_claims_to_be(world):
    caller, filed, draft = world
    for name in ("stranger", "recipient", "member"):
        visitor = caller(name)
        for cookie in list(visitor.client._cookies.values()):
            visitor.client.set_cookie(cookie.key, cookie.value, domain="evil.example", path=cookie.path)
        elsewhere = {"base_url": "https://evil.example", "headers": LIES | {"Referer": "https://evil.example/"}}
        visitor.get("/etude/connexion", **elsewhere)
        told, lies = {}, {"next": "//evil.example/", "url": "https://evil.example", "retour": "evil.example"}
        for method, path in sorted(
            ((method, path) for path, taken in _every_address(filed, draft).items() for method in taken),
            key=lambda asked: (asked[0], asked[1].endswith("connexion")),  # who leaves has seen everything
        ):
            form = {"csrf_token": visitor.token, "vers": "https://evil.example/", **lies} if method == "POST" else None
            got = visitor.ask(method, f"{path}?{urlencode(lies)}", None, data=form, **elsewhere)
            told[method, path] = (got.location or "/", b"evil.example" in got.data)

        assert {
            path: one for path, one in told.items() if one[1] or not one[0].startswith("/") or one[0][1:2] == "/"
        } == {}
        assert {method for method, _ in told} == {"GET", "POST"}


OFFICES, DEPOSITS, DEBTORS = ("Étude du nord", "Étude du sud"), ("Première", "Seconde"), ("Alix", "Camille")


def _two_of_each(site):
    """Make two offices, two deposits in each, two co-debtors in each, whose documents and names are their own."""
    filed = {}
    for office in OFFICES:
        of = make.office(site.gateways, office)
        for title in DEPOSITS:
            draft = make.draft(site.gateways, of, creditor=f"{title} créance, {office}")
            make.document(site.gateways, draft, make.pdf(f"{title} {office}".replace("É", "E")))
            for who in DEBTORS:
                make.recipient(site.gateways, draft, f"{who} de {title} {office}")
            filed[office, title] = deposits.file(site.gateways, draft.id, by=journal.OPERATOR)
    return filed


def test_two_offices_two_deposits_and_two_co_debtors_each_see_their_own_and_no_other(site):
    filed = _two_of_each(site)
    names = {recipient.name for deposit in filed.values() for recipient in deposit.recipients}
    for (office, title), deposit in filed.items():
        for recipient in list(deposit.recipients):
            debtor = site.recipient(recipient)

            assert debtor.get("/pieces/1/fichier").data == make.pdf(f"{title} {office}".replace("É", "E"))
            shown = debtor.get("/pieces").text
            assert {name for name in names if name in shown} == {recipient.name}
            assert f"{title} créance, {office}" in shown
    for office in OFFICES:
        of = filed[office, "Première"].office
        people = {role: site.member(make.member(site.gateways, of, role=role)) for role in ("commissaire", "auditeur")}
        for (theirs, _), deposit in filed.items():
            pages = [f"/etude/depots/{deposit.id}"]
            pages += [f"{pages[0]}/destinataires/{recipient.id}" for recipient in deposit.recipients]
            for page in pages:
                people["auditeur"].get(page, 404)
                shown = people["commissaire"].get(page, 200 if theirs == office else 404).text
                seen, own = {name for name in names if name in shown}, {one.name for one in deposit.recipients}
                assert (seen and seen <= own) if theirs == office else not seen


SWAPPED = [("recipient", "co-debtor"), ("recipient", "elsewhere"), ("member", "neighbour"), ("member", "auditor")]


def test_a_form_with_somebody_else_s_anti_forgery_field_is_refused_whoever_they_are(world):
    caller, _, _ = world
    for name, other in SWAPPED:
        victim, thief = caller(name), caller(other)
        page, door = ("/etude/compte", "/etude/deconnexion") if name == "member" else ("/pieces", "/deconnexion")
        for one in (victim, thief):
            one.get(page)
        own, victim.token = victim.token, thief.token

        victim.post(door, 400)

        victim.get(page)
        victim.token = own
        victim.post(door)


def test_what_is_of_another_deposit_is_not_found_through_ones_own(site, world):
    caller, filed, draft = world
    their_office = make.office(site.gateways, "Troisième étude")
    theirs = make.filed(site.gateways, their_office)
    before, member = _kept(), caller("member")
    member.get("/etude/depots")
    found = {}
    for line in EXPECTED:
        method, _, rule = line.partition(" ")
        if "document_id" not in rule and "recipient_id" not in rule:
            continue
        deposit = _concerned(rule, filed, draft)
        other = draft if deposit == filed else filed
        mixed = [(deposit, *_inside(theirs)), (deposit, uuid4(), uuid4()), (deposit, *_inside(other))]
        for one, document, recipient in [*mixed, (theirs, *_inside(deposit)), (theirs, *_inside(theirs))]:
            data = {"csrf_token": member.token, "title": "Autre", "reason": "Au guichet", "signified_on": "2026-11-20"}
            asked = _address(rule, one, document, recipient)
            found[method, asked] = member.ask(method, asked, None, data=data if method == "POST" else None).status_code

    assert set(found.values()) == {404}, {asked for asked, status in found.items() if status != 404}
    assert _kept() == before


def test_co_debtors_read_the_same_documents_and_nothing_of_each_other(world):
    caller, filed, _ = world
    payet, roux = filed.recipients.order_by(Recipient.name)
    for name, own, other in (("recipient", payet, roux), ("co-debtor", roux, payet)):
        for path in ("/pieces", "/pieces/1", "/pieces/1/texte"):
            shown = caller(name).get(path).text
            assert other.name not in shown
            assert other.accesses.get().reference not in shown.replace("-", "")
        assert own.name in caller(name).get("/pieces").text


def test_what_one_co_debtor_reads_is_recorded_under_their_own_name(site, world):
    caller, filed, _ = world
    caller("co-debtor").get("/pieces/1/fichier")
    told = [entry for entry in journal.story(filed) if entry.operation == "document.consulted"]

    assert [entry.body["author"]["name"] for entry in told] == ["Béatrice Roux"]


def test_a_recipient_of_a_shorter_deposit_reads_no_document_of_a_longer_one(site, world):
    other = make.filed(site.gateways, make.office(site.gateways, "Quatrième étude"))
    debtor = site.reading(other)

    debtor.get("/pieces/1")
    for path in ("/pieces/2", "/pieces/2/fichier", "/pieces/2/texte", "/pieces/2/pages/1.webp"):
        debtor.get(path, 404)


def test_the_search_of_an_office_finds_its_own_deposits_only(world):
    caller, filed, _ = world

    assert filed.office_reference in caller("member").get("/etude/depots?q=payet").text
    assert filed.office_reference not in caller("neighbour").get("/etude/depots?q=payet").text
    assert "Payet" not in caller("neighbour").get("/etude/journal").text
    assert "Payet" in caller("auditor").get("/etude/journal").text


def test_a_cookie_of_one_audience_opens_nothing_of_the_other(site, world):
    caller, _, _ = world
    of_member = caller("member").cookie(current.OFFICE)
    of_recipient = caller("recipient").cookie(current.ACCESS)
    crossed = site.visitor()
    crossed.carry(current.ACCESS, of_member)
    crossed.carry(current.OFFICE, of_recipient)

    assert crossed.get("/pieces", 303).location == HOME
    assert crossed.get("/etude/depots", 303).location == OFFICE_DOOR


def test_a_sign_in_of_one_audience_is_none_of_the_other(site, world):
    _, filed, _ = world
    crossed = site.visitor()
    crossed.carry(current.OFFICE_SIGN_IN, make.begun(site.gateways, make.first(filed)).token)

    crossed.get("/etude/connexion/code", 410)
    crossed = site.visitor()
    crossed.carry(current.SIGN_IN, members.begin(site.gateways, Member.get().email, make.PASSWORD, make.TRACE))
    crossed.get("/consulter/code", 410)
    crossed.get("/consulter/canal", 410)


def test_the_session_of_a_member_who_left_opens_nothing(site, world):
    caller, _, _ = world
    member = caller("member")
    member.get("/etude/depots")

    Member.update(left_at=site.gateways.clock.now()).execute()

    member.get("/etude/depots", 303)


def test_a_draft_is_read_by_no_recipient(site, world):
    _, _, draft = world
    with write():
        deposits.give_reference(site.gateways, make.first(draft))

    site.reading(draft).get("/pieces", 410)
