"""What is refused is refused in words, with its status, and changes nothing; nothing typed makes the site fall."""

import io
import os
import re
import shutil
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote_from_bytes
from uuid import uuid4

import hypothesis
import make
import psycopg
import pytest
from hypothesis import strategies as st

from mespieces import models
from mespieces.domain import codes, documents, identification, one_time_codes, retention, throttle, ways
from mespieces.gateways import storage, vault
from mespieces.models import Access, Deposit, Document, Member, Office, Recipient, Signification
from mespieces.views import current

LIMIT = 64 * 1024


@pytest.fixture
def marchand(site):
    """Add a member."""
    return make.member(site.gateways)


def _files(*named):
    return {"files": [(io.BytesIO(data), name) for name, data in named]}


def _unreferenced():
    """Return a well-formed reference that nobody holds, and a well-formed secret."""
    return {"reference": codes.show(codes.draw_reference()), "secret": codes.show(codes.draw_secret())}


# One page for each family


def test_what_does_not_exist_is_404(site):
    page = site.visitor().get("/nulle-part", 404)

    assert "Page introuvable" in page.text
    assert "Référence de la demande" in page.text


def test_an_address_asked_the_wrong_way_is_405_and_says_how(site):
    assert set(site.visitor().get("/consulter/code/renvoyer", 405).headers["Allow"].split(", ")) == {"OPTIONS", "POST"}


def test_what_the_state_of_things_forbids_is_409(site, marchand):
    deposit = make.filed(site.gateways, marchand.office)

    page = site.member(marchand).get(f"/etude/depots/{deposit.id}/pieces", 409)

    assert "NTE-4821 est déposé" in page.text


def test_what_is_over_is_410_for_who_was_reading_and_for_who_proves_the_secret_only(site):
    deposit = make.filed(site.gateways)
    access, secret = make.issued(site.gateways, make.first(deposit))
    debtor = site.reading(deposit)
    Deposit.update(expires_at=site.gateways.clock.now() + timedelta(minutes=5)).execute()
    debtor.get("/pieces/1/fichier")
    site.gateways.clock.advance(timedelta(minutes=5))
    consulted = make.operations()

    for path in (
        "/pieces",
        "/pieces/1",
        "/pieces/1/texte",
        "/pieces/1/fichier",
        "/pieces/1/pages/1.webp",
        "/pieces/liasse.zip",
    ):
        assert "comme la loi le prévoit" in debtor.get(path, 410).text
    assert make.operations() == consulted
    stranger = site.visitor()
    assert (
        "comme la loi le prévoit"
        in stranger.post("/consulter", 410, data={"reference": access.reference, "secret": secret}).text
    )
    wrong = _unreferenced() | {"reference": access.reference}
    assert "comme la loi" not in stranger.post("/consulter", 422, data=wrong).text


def test_a_withdrawn_deposit_is_410(site):
    debtor = site.reading(make.filed(site.gateways))
    Deposit.update(withdrawn_at=site.gateways.clock.now(), withdrawn_because="Erreur").execute()

    assert "a retiré ces documents" in debtor.get("/pieces", 410).text


@pytest.mark.parametrize("way", ["raw", "form"])
def test_a_file_too_large_is_413_and_leaves_nothing(open_site, way):
    site = open_site(max_document_bytes=LIMIT)
    marchand = make.member(site.gateways)
    draft = make.draft(site.gateways, marchand.office)
    at, office = f"/etude/depots/{draft.id}/pieces", site.member(marchand)
    office.get(at)
    large = make.pdf() + b"0" * LIMIT

    if way == "raw":
        refused = office.upload(at, large, status=413)
        assert refused.mimetype == "text/plain"
    else:
        refused = office.post(at, 413, data=_files(("Petit.pdf", make.pdf()), ("Grand.pdf", large)))
    assert "64\xa0Ko" in refused.text
    assert Document.select().count() == 0
    assert list(site.gateways.vault.names()) == []


def test_a_form_too_large_is_413_and_a_file_nobody_asked_for_goes_nowhere(site, marchand):
    office = site.member(marchand)
    office.get("/etude/depots/nouveau")

    office.post("/etude/depots/nouveau", 413, data=make.CASE | {"creditor": "a" * 600_000})
    office.post(
        "/etude/depots/nouveau",
        413,
        data=make.CASE | {f"f{n}": "" for n in range(300)},
        content_type="multipart/form-data",
    )
    office.post("/etude/depots/nouveau", data=make.CASE | _files(("a.pdf", make.pdf())))

    assert list(site.gateways.vault.names()) == []
    assert Document.select().count() == 0


@pytest.mark.parametrize(
    ("name", "data"), [("a.exe", b"MZ" + b"0" * 5000), ("a.pdf", b"%PDF-1.7 nonsense"), ("a.html", b"<script>")]
)
def test_a_format_that_asks_an_effort_is_415_and_leaves_nothing(site, marchand, name, data):
    draft = make.draft(site.gateways, marchand.office)
    office = site.member(marchand)

    refused = office.upload(f"/etude/depots/{draft.id}/pieces", data, name, status=415)

    assert refused.mimetype == "text/plain"
    assert len(refused.text) > 20
    assert list(site.gateways.vault.names()) == []


def test_an_empty_file_is_refused_in_words(site, marchand):
    draft = make.draft(site.gateways, marchand.office)
    refused = site.member(marchand).upload(f"/etude/depots/{draft.id}/pieces", b"", status=422)

    assert "vide" in refused.text


def test_wrong_secrets_are_delayed_with_429_and_the_right_one_still_passes(site):
    access, secret = make.issued(site.gateways, make.first(make.filed(site.gateways)))
    debtor, wrong = site.visitor(), _unreferenced() | {"reference": access.reference}
    statuses = [debtor.ask("POST", "/consulter", None, data=_with(debtor, wrong)).status_code for _ in range(5)]
    delayed = debtor.post("/consulter", 429, data=wrong)

    assert statuses[:4] == [422] * 4
    assert statuses[4] == 429
    assert int(delayed.headers["Retry-After"]) > 0
    assert "le numéro figurant sur l’acte" in delayed.text
    assert Deposit.get().office.name not in delayed.text
    debtor.post("/consulter", data={"reference": access.reference, "secret": secret})


def _with(visitor, form):
    if not visitor.token:
        visitor.get("/")
    return {"csrf_token": visitor.token} | form


def test_an_unknown_reference_is_answered_as_a_known_one(site):
    access, _ = make.issued(site.gateways, make.first(make.filed(site.gateways)))
    unknown = _unreferenced()
    known = unknown | {"reference": codes.show(access.reference)}

    def answers(form):
        visitor = site.visitor(address="192.0.2.1" if form is unknown else "192.0.3.1")
        return [
            (page.status_code, page.headers.get("Retry-After"), page.text.replace(form["reference"], ""))
            for page in (visitor.ask("POST", "/consulter", None, data=_with(visitor, form)) for _ in range(7))
        ]

    def unmarked(found):

        return [(status, wait, re.sub(r'name="csrf_token" value="[^"]+"', "", text)) for status, wait, text in found]

    assert unmarked(answers(unknown)) == unmarked(answers(known))


def test_wrong_codes_are_refused_for_the_day_with_429(site):
    who = make.first(make.filed(site.gateways))
    debtor = site.visitor()
    debtor.get("/")
    access, secret = make.issued(site.gateways, who)

    def begin():
        token = identification.begin(site.gateways, access.reference, secret, make.TRACE).token
        debtor.carry(current.SIGN_IN, token)
        return token

    def waiting():
        token = begin()
        ways.choose(site.gateways, token, "email", "payet@example.fr")
        return make.awaited(site.gateways, token)

    right = waiting()
    with models.write():
        name, now = one_time_codes.wrong_codes(who.accesses.get()), site.gateways.clock.now()
        for _ in range(throttle.CODE_LIMIT):
            throttle.fail(name, now)

    refused = debtor.post("/consulter/code", 429, data={"code": right})

    assert refused.headers["Retry-After"] == "86400"
    assert "Vous pourrez réessayer dans 24\u00a0heures." in refused.text
    assert "demain" not in refused.text
    assert "60 minutes" not in refused.text
    site.gateways.clock.advance(timedelta(hours=23, minutes=31))
    begin()
    asked = debtor.post("/consulter/canal", 429, data={"channel": "email", "email": "payet@example.fr"})
    assert asked.headers["Retry-After"] == "1740"
    assert "dans 29\u00a0minutes" in debtor.page.text
    assert make.count("code.issued") == 1  # none is sent that would be refused
    site.gateways.clock.advance(timedelta(minutes=29))
    right = waiting()
    debtor.post("/consulter/code", data={"code": right})


def test_wrong_passwords_are_delayed_with_429(site, marchand):
    clerk = site.visitor()
    form = {"email": marchand.email, "password": "mauvais mot de passe"}
    for _ in range(4):
        clerk.post("/etude/connexion", 422, data=form)

    # What the fifth costs, not what the fourth did; a right one that comes too early costs nothing more.
    assert clerk.post("/etude/connexion", 429, data=form).headers["Retry-After"] == "4"
    assert clerk.post("/etude/connexion", 429, data=form | {"password": make.PASSWORD}).headers["Retry-After"] == "4"
    site.gateways.clock.advance(timedelta(minutes=15))
    clerk.post("/etude/connexion", data=form | {"password": make.PASSWORD})


# What the site stands on gives way


def _take_away(site, folder):
    """Make the database unreachable or unreadable, and return how to give it back."""
    url = site.gateways.settings.database_url
    server, _, name = url.rpartition("/")
    if url.startswith("postgresql"):
        _refuse(server, name, "false")
        return lambda: _refuse(server, name, "true")
    path = Path(url.removeprefix("sqlite:///"))
    moved = list(path.parent.glob(f"{path.name}*"))
    for one in moved:
        shutil.move(one, folder)
    path.write_bytes(b"not a database at all " * 400)

    def give_back():
        path.unlink()
        for one in moved:
            shutil.move(folder / one.name, one)

    return give_back


def _refuse(server, name, allowed):
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS {allowed}')
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])


def test_without_its_database_the_site_says_so_and_comes_back(site, marchand, tmp_path):
    deposit = make.filed(site.gateways, marchand.office)
    debtor, office, clerk = site.reading(deposit), site.member(marchand), site.visitor()
    debtor.get("/pieces")
    office.get("/etude/depots")
    clerk.get("/etude/connexion")
    models.database.close()
    (tmp_path / "aside").mkdir()
    give_back = _take_away(site, tmp_path / "aside")

    for visitor, path in (
        (debtor, "/pieces"), (debtor, "/pieces/1/fichier"), (office, "/etude/depots"), (office, f"/etude/depots/{deposit.id}"),
        (clerk, "/audit"), (clerk, "/readyz"), (clerk, "/mentions-legales"),
    ):  # fmt: skip
        refused = visitor.get(path, 503)
        assert refused.headers["Retry-After"] == "30"
        assert "Rien n’est perdu" in refused.text
    clerk.post("/etude/connexion", 503, data={"email": "a@example.fr", "password": "b"})
    clerk.post("/consulter", 503, data=_unreferenced())
    office.upload(f"/etude/depots/{deposit.id}/pieces", make.pdf(), status=503)
    assert clerk.get("/healthz").text == "ok\n"
    clerk.get("/aide")

    models.database.close()
    give_back()
    assert debtor.get("/pieces/1/fichier").data == make.pdf()
    office.get("/etude/depots")


class NoStorage(storage.MemoryStorage):
    """A disk that no longer answers, or takes nothing more."""

    def __init__(self, objects, *, readable):
        super().__init__()
        self._objects, self._readable = objects, readable

    def create(self, name):
        raise storage.StorageUnavailable(reason="le disque est en lecture seule", where=name)

    def open(self, name):
        if not self._readable:
            raise storage.StorageUnavailable(reason="une opération a échoué", where=name)
        return super().open(name)

    def check(self):
        raise storage.StorageUnavailable(reason="le disque est en lecture seule", where="documents")


def _failing(open_site, site, *, readable):
    kept = site.gateways.vault._storage._objects
    failing = vault.open_vault(NoStorage(kept, readable=readable), site.gateways.settings.master_key_file)
    return open_site(with_gateways={"vault": failing})


def test_a_storage_that_takes_nothing_refuses_files_and_still_gives_documents(open_site, site, marchand):
    deposit = make.filed(site.gateways, marchand.office)
    draft = make.draft(site.gateways, marchand.office)
    retention.beat(site.gateways)
    full = _failing(open_site, site, readable=True)
    office, at = full.member(marchand), f"/etude/depots/{draft.id}/pieces"
    office.get(at)

    assert office.upload(at, make.pdf(), status=503).mimetype == "text/plain"
    office.post(at, 503, data=_files(("a.pdf", make.pdf())))
    full.visitor().get("/readyz", 503)

    assert Document.select().where(Document.deposit == draft).count() == 0
    assert full.reading(deposit).get("/pieces/1/fichier").data == make.pdf()
    site.visitor().get("/readyz")


def test_a_storage_that_does_not_answer_is_503_and_accuses_no_document(open_site, site, marchand):
    deposit = make.filed(site.gateways, marchand.office)
    debtor = _failing(open_site, site, readable=False).reading(deposit)
    debtor.get("/pieces")

    for path in ("/pieces/1/fichier", "/pieces/1/pages/1.webp", "/pieces/1/texte", "/pieces/liasse.zip"):
        debtor.get(path, 503)
    assert make.count("document.consulted") == 0
    assert make.count("document.corrupted") == 0


def test_a_folder_of_documents_that_became_a_file_is_503(open_site, site, marchand, tmp_path):
    folder = tmp_path / "documents"
    broken = vault.open_vault(storage.open_storage(f"file://{folder}"), site.gateways.settings.master_key_file)
    shutil.rmtree(folder, ignore_errors=True)
    folder.write_bytes(b"")
    seen = open_site(with_gateways={"vault": broken})
    draft = make.draft(site.gateways, marchand.office)

    seen.member(marchand).upload(f"/etude/depots/{draft.id}/pieces", make.pdf(), status=503)

    assert Document.select().count() == 0


def test_the_worker_that_is_silent_makes_the_site_not_ready(site):
    site.visitor().get("/readyz", 503)
    retention.beat(site.gateways)
    site.visitor().get("/readyz")
    site.gateways.clock.advance(timedelta(minutes=6))
    site.visitor().get("/readyz", 503)


# Whatever is typed

FUZZ = int(os.environ.get("MESPIECES_FUZZ", "1"))  # `make fuzz` tries as many times more
PLANES = st.integers(0, 16).flatmap(
    lambda plane: st.text(
        st.characters(min_codepoint=plane << 16, max_codepoint=(plane << 16) + 0xFFFF, categories=None), max_size=12
    )
)
TEXTS = st.one_of(
    PLANES.map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.binary(max_size=20),
    st.sampled_from([
        b"", b"\x00", b"\xed\xa0\x80", "\U0010ffff\U0001f9fe\U000e0001\u202e\u2028".encode(), "ﷺ".encode() * 300,
        b"1e309", b"9" * 5000, b"-1", b"0x10", "١٢٣".encode(), b"2026-02-30", b"0000-00-00", b"9999-12-31", b"<script>alert(1)</script>",
        b"' OR 1=1 --", b"%s%n", b"{reference}", b"{{7*7}}", b"a@b.fr\r\nBcc: c@d.fr", "é@exemple.fr".encode(), b"x" * 5000, b"act", b"app", b"email", b"office",
    ]),
)  # fmt: skip
FIELDS = (
    "reference", "secret", "channel", "email", "code", "password", "creditor", "court", "order_number", "order_date", "office_reference",
    "title", "nature", "dated", "position", "kind", "name", "representative", "address", "motive", "reason", "signified_on", "manner", "once",
)  # fmt: skip
FORMS = st.dictionaries(st.sampled_from(FIELDS), TEXTS, min_size=3, max_size=10)
KEPT = (Deposit, Document, Recipient, Access, Signification)


def _kept():
    return [sorted(map(repr, table.select().tuples())) for table in KEPT]


def _draft(site, office):
    draft = make.draft(site.gateways, office)
    make.document(site.gateways, draft)
    make.recipient(site.gateways, draft)
    return draft


def _post_paths(site, filed, draft, member):
    document = Document.get(Document.deposit == draft).id
    recipient = (draft.recipients.first() or make.recipient(site.gateways, draft)).id
    for rule in site.app.url_map.iter_rules():
        if "POST" not in rule.methods or rule.endpoint in {"recipient.leave", "office.leave", "office.drop"}:
            continue
        for deposit, person in ((draft, recipient), (filed, make.first(filed).id)):
            path = rule.rule.replace("<uuid:deposit_id>", str(deposit.id)).replace("<uuid:document_id>", str(document))
            path = path.replace("<uuid:recipient_id>", str(person)).replace("<uuid:session_id>", str(uuid4()))
            yield path.replace("<uuid:member_id>", str(member)).replace("<token>", "inconnu")
            if "<uuid" not in rule.rule:
                break


@hypothesis.settings(
    max_examples=6 * FUZZ,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture, hypothesis.HealthCheck.too_slow],
)
@hypothesis.given(form=FORMS, htmx=st.booleans())
def test_nothing_typed_in_a_form_makes_the_site_fall_and_what_is_refused_changes_nothing(site, form, htmx):
    readable = Deposit.filed_at.is_null(False) & Deposit.withdrawn_at.is_null()
    filed = Deposit.select().where(readable).order_by(Deposit.filed_at).first() or make.filed(
        site.gateways, Office.select().first()
    )
    marchand = Member.select().first() or make.member(site.gateways, filed.office, role="administrateur")
    draft = Deposit.select().join(Document).where(Deposit.filed_at.is_null()).first() or _draft(site, marchand.office)
    sign_in = make.begun(site.gateways, make.first(filed), "Perdu").token
    office, debtor = site.member(marchand), site.visitor()
    debtor.carry(current.SIGN_IN, sign_in)
    for path in _post_paths(site, filed, draft, marchand.id):
        visitor = office if path.startswith("/etude") else debtor
        if not visitor.token:
            visitor.get("/etude/connexion")
        data = (
            "&".join(f"{name}={quote_from_bytes(value)}" for name, value in form.items())
            + f"&csrf_token={visitor.token}"
        )
        before = _kept()
        got = visitor.ask(
            "POST", path, None, data=data, content_type="application/x-www-form-urlencoded",
            headers={"HX-Request": "true", "HX-Target": "div#x"} if htmx else {},
        )  # fmt: skip
        assert got.status_code in {200, 303} or 400 <= got.status_code < 500, (path, got.status)
        assert got.status_code in {200, 303} or _kept() == before, path


@hypothesis.settings(max_examples=25 * FUZZ, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(value=TEXTS, ranges=st.text(st.sampled_from("bytes=0123456789-, "), max_size=20))
def test_nothing_asked_in_an_address_or_a_header_makes_the_site_fall(site, value, ranges):
    if not Deposit.select().exists():
        make.filed(site.gateways)
    filed = Deposit.get()
    office, debtor = (
        site.member(filed.office.members.first() or make.member(site.gateways, filed.office)),
        site.reading(filed),
    )
    asked = quote_from_bytes(value)[:3000]
    latin = value.decode("latin-1").replace("\r", "").replace("\n", "").replace("\x00", "")[:500]
    for visitor, path in (
        (debtor, f"/?reference={asked}"), (debtor, f"/pieces/1?page={asked}"), (debtor, f"/pieces/{asked}"),
        (office, f"/etude/depots?q={asked}&etat={asked}&page={asked}"), (office, f"/etude/depots/{asked}"),
        (office, f"/audit/{asked}/checkpoints/{asked}.note"), (debtor, f"/{asked}"),
    ):  # fmt: skip
        assert visitor.ask("GET", path, None, headers={"User-Agent": latin, "HX-Target": latin}).status_code < 500, path
    assert debtor.ask("GET", "/pieces/1/fichier", None, headers={"Range": ranges}).status_code in {200, 206, 416}
    carrying = site.visitor()
    for cookie in (current.ACCESS, current.SIGN_IN):
        carrying.carry(cookie, asked or "x")
    assert carrying.ask("GET", "/pieces", None).status_code == 303
    assert carrying.ask("GET", "/consulter/code", None).status_code == 410


@hypothesis.settings(max_examples=25 * FUZZ, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(name=TEXTS, data=st.binary(max_size=300))
def test_nothing_sent_as_a_file_makes_the_site_fall_and_what_is_refused_leaves_nothing(site, name, data):
    draft = Deposit.select().first() or make.draft(site.gateways)
    office = site.member(draft.office.members.first() or make.member(site.gateways, draft.office))
    at = f"/etude/depots/{draft.id}/pieces"
    got = office.upload(at, data, quote_from_bytes(name)[:6000], status=None)

    assert got.status_code in {415, 422}
    assert list(site.gateways.vault.names()) == []
    assert Document.select().count() == 0


def test_documents_arrive_under_a_name_of_their_own(site, marchand):
    draft = make.draft(site.gateways, marchand.office)
    site.member(marchand).upload(
        f"/etude/depots/{draft.id}/pieces", make.pdf(), "%00%ED%A0%80..%2F..%2Fkeys%2Fmaster.key.pdf"
    )

    assert [stored.name for stored in site.gateways.vault.names()] == [documents.file_name(Document.get().id)]
    assert "/" not in Document.get().filename
