"""The demonstration: an imaginary office with one filed deposit, three recipients, and everything needed to try them."""

import base64
import json
import os
import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyotp

from mespieces import config, migrations, models, runtime
from mespieces.domain import (
    accesses,
    clockwork,
    codes,
    deposits,
    documents,
    identification,
    journal,
    members,
    offices,
    one_time_codes,
    recipients,
    significations,
    ways,
)
from mespieces.errors import Refused
from mespieces.gateways import Gateways, disk, keys, samples
from mespieces.gateways.clock import ManualClock
from mespieces.models import Deposit, Document, Member, Recipient

FILE, UNFINISHED = "demo.json", ".unfinished"
KEPT_SETTINGS = (
    "ACT_ALONE", "OFFICE_NETWORKS", "TRUSTED_PROXIES", "MAX_DOCUMENT_BYTES", "TSA_URL", "TSA_ROOTS", "TSA_POLICY",
)  # fmt: skip
"""What the environment may still decide; never where things are kept, which could be a real service's."""

DAYS_AGO = 6  # the deposit; what follows happens between then and the day before yesterday
PHONE = journal.Trace("192.0.2.24", "Demonstration")  # an address that nobody has (RFC 5737)

DOCUMENTS = (
    ("Facture FA-2026-0114.pdf", samples.invoice, "Facture FA-2026-0114", "facture", date(2026, 3, 12)),
    ("Bon de livraison.pdf", samples.delivery_note, "Bon de livraison BL-2026-0131", "livraison", date(2026, 3, 10)),
    ("Mise en demeure.pdf", samples.formal_notice, "Mise en demeure", "mise-en-demeure", date(2026, 5, 18)),
    ("Recu acompte.jpg", samples.receipt_photo, "Reçu de l’acompte (photographie)", "autre", date(2026, 2, 27)),
)
RECIPIENTS = (
    ("email", {
        "kind": "company", "name": "Ma jolie boutique", "representative": "Alexandre Payet, gérant",
        "address": "35 rue de la République\n44000 Nantes", "email": "contact@ma-jolie-boutique.example",
    }),
    ("app", {"name": "Alexandre Payet", "address": "8 rue de l’Hermitage\n44100 Nantes"}),
    ("office", {"name": "Sophie Nguyễn", "address": "8 rue de l’Hermitage\n44100 Nantes"}),
)  # fmt: skip


class NotADemonstration(Refused):
    """The folder holds something else: nothing in it is touched."""

    message = "Le dossier {folder} contient autre chose qu’une démonstration : choisissez-en un autre avec --data."


class NoDemonstration(Refused):
    """No demonstration there yet."""

    message = "Aucune démonstration dans {folder} : lancez d’abord « mespieces demo »."


def settings(folder: Path, port: int) -> config.Settings:
    """Return settings that keep everything inside `folder`. Raises `SettingWrong`."""
    names = [config.PREFIX + name for name in KEPT_SETTINGS]
    kept = {name: os.environ[name] for name in names if name in os.environ}
    return config.read({"MESPIECES_DATA": str(folder), "MESPIECES_PUBLIC_URL": f"http://127.0.0.1:{port}"} | kept)


def set_up(chosen: config.Settings) -> dict[str, Any]:
    """Make the demonstration unless it is there, and return what opens it. Raises `NotADemonstration`.

    A set-up cut half-way is begun again; a folder with anything else in it is refused.
    """
    folder = chosen.data
    if (folder / FILE).is_file():
        return _again(chosen)
    if folder.is_dir() and (folder / UNFINISHED).exists():
        shutil.rmtree(folder, ignore_errors=True)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise NotADemonstration(folder=folder)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / UNFINISHED).touch(0o600)
    told = _tell_story(chosen)
    _write(folder, told)
    (folder / UNFINISHED).unlink()
    return told


def read(folder: Path) -> dict[str, Any]:
    """Return what opens the demonstration in `folder`. Raises `NoDemonstration`."""
    try:
        known: dict[str, Any] = json.loads((folder / FILE).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise NoDemonstration(folder=folder) from error
    return known


def tell(known: dict[str, Any]) -> str:
    """Return, in French, where to go and with what."""
    office, url = known["office"], known["url"]
    lines = [
        "",
        f"Mes Pièces, démonstration : {url}",
        "Personnes, étude et documents sont imaginaires. Ctrl-C arrête tout.",
        "",
        f"L’étude : {url}/etude/connexion",
        f"    adresse       {office['email']}",
        f"    mot de passe  {office['password']}",
        f"    code          {_now(office['totp_secret'])} en ce moment (clé de l’application : {office['totp_secret']})",
    ]
    for row in known["recipients"]:
        lines += [
            "",
            f"{row['name']} : {url}/?reference={row['reference']}",
            f"    référence     {row['reference']}",
            f"    code d’accès  {row['secret']}",
            f"    code          {_where(row)}",
        ]
    lines += ["", "Les codes du moment, dans un autre terminal : « mespieces demo --codes » (avec le même --data).", ""]
    return "\n".join(lines)


def codes_now(folder: Path) -> str:
    """Return the codes that the applications of the demonstration show now. Raises `NoDemonstration`."""
    known = read(folder)
    rows = [(known["office"]["email"], known["office"]["totp_secret"])]
    rows += [(row["name"], row["totp_secret"]) for row in known["recipients"] if "totp_secret" in row]
    return "\n".join(f"{name} : {_now(secret)}" for name, secret in rows)


def _where(row: dict[str, Any]) -> str:
    if row["channel"] == "email":
        return f"envoyé à {row['email']} : ouvrez le dernier fichier de {row['mail']}"
    if row["channel"] == "app":
        return f"{_now(row['totp_secret'])} en ce moment (clé de l’application : {row['totp_secret']})"
    return "donné par l’étude, sur la page du destinataire, une fois qu’il l’attend"


def _now(secret: str) -> str:
    return pyotp.TOTP(secret).at(datetime.now(UTC))


def _again(chosen: config.Settings) -> dict[str, Any]:
    """Start from what is there; only the address may have changed."""
    known = read(chosen.data)
    if known["url"] != chosen.public_url:
        known["url"] = chosen.public_url
        _write(chosen.data, known)
    opened = runtime.open_runtime(chosen, check_tables=False)
    with opened.database.connection_context():
        migrations.apply(opened.database)
        # Whoever starts a demonstration after weeks confirms that the date is right, as an operator does.
        clockwork.confirm(datetime.now(UTC))
    return _with_mail(known, chosen)


def _write(folder: Path, known: dict[str, Any]) -> None:
    kept = known | {"recipients": [{k: v for k, v in row.items() if k != "mail"} for row in known["recipients"]]}
    disk.write(folder / FILE, json.dumps(kept, ensure_ascii=False, indent=1).encode() + b"\n")


def _with_mail(known: dict[str, Any], chosen: config.Settings) -> dict[str, Any]:
    """Say where the mails of the e-mail channel are, which demo.json need not repeat."""
    rows = known["recipients"]
    return known | {"recipients": [row | {"mail": str(chosen.data / "mail")} for row in rows]}


def _tell_story(chosen: config.Settings) -> dict[str, Any]:
    """Live the story through the product's own functions, its clock set some days back and never backwards."""
    (chosen.data / "keys").mkdir(mode=0o700)
    for path in (chosen.master_key_file, chosen.secret_key_file, chosen.journal_key_file):
        keys.create(path)
    begun = (datetime.now(UTC) - timedelta(days=DAYS_AGO)).replace(hour=8, minute=4, second=0, microsecond=0)
    clock = ManualClock(begun)
    opened = runtime.open_runtime(chosen, clock=clock, check_tables=False)
    with opened.database.connection_context():
        migrations.apply(opened.database)
        journal.open_log(opened.gateways)
        member, office = _office(opened.gateways)
        clock.advance(timedelta(minutes=25))
        filed = _deposit(opened.gateways, clock, member)
        rows = [_recipient(opened.gateways, clock, filed, member, *each) for each in RECIPIENTS]
        clockwork.confirm(datetime.now(UTC))
    known = {
        "url": chosen.public_url,
        "office": office,
        "deposit": {"reference": filed.office_reference},
        "recipients": rows,
    }
    return _with_mail(known, chosen)


def _office(gateways: Gateways) -> tuple[Member, dict[str, str]]:
    office = offices.add(
        gateways,
        name="SCP Lefèvre & Marchand",
        address="14 rue des Carmes\n44000 Nantes",
        phone="02 40 00 00 00",
        email="etude@lefevre-marchand.example",
    )
    password, key = codes.show(codes.draw_secret()), os.urandom(20)
    member = offices.add_member(
        gateways,
        office,
        name="Claire Marchand",
        email="claire.marchand@lefevre-marchand.example",
        role="administrateur",
        password=password,
        by=journal.OPERATOR,
    )
    with models.write():
        members.enrol(gateways, member, key)
    told = {"email": member.email, "password": password, "totp_secret": base64.b32encode(key).decode()}
    return Member.get_by_id(member.id), told


def _deposit(gateways: Gateways, clock: ManualClock, member: Member) -> Deposit:
    by, today = journal.member(member, PHONE), clock.now().date()
    case = deposits.Case(
        creditor="Au bon moulin SARL",
        court="Tribunal judiciaire de Nantes",
        order_number="2026-1187",
        order_date=today - timedelta(days=21 - DAYS_AGO),
        office_reference="NTE-4821",
    )
    draft = deposits.open_draft(gateways, case, office=member.office, by=by, member=member)
    for filename, make, title, nature, dated in DOCUMENTS:
        clock.advance(timedelta(minutes=1))
        with documents.Arrival(gateways) as arrival:
            arrival.write(make())
            added = documents.add(gateways, draft.id, arrival, filename, by=by, member=member)
        facts = {"title": title, "nature": nature, "dated": dated.isoformat() if dated <= today else ""}
        documents.describe(draft.id, added.id, facts, latest=today)
    for _, facts in RECIPIENTS:
        clock.advance(timedelta(seconds=40))
        recipients.add(gateways, draft.id, recipients.read(facts), by=by, member=member)
    clock.advance(timedelta(minutes=3))
    filed = deposits.file(gateways, draft.id, by=by, member=member)
    assert Document.select().count() == len(DOCUMENTS)  # noqa: S101 — four different pieces, nothing else
    return filed


def _recipient(
    gateways: Gateways, clock: ManualClock, filed: Deposit, member: Member, way: str, facts: dict[str, str]
) -> dict[str, str]:
    """Print a recipient's access and, for the ways a recipient binds, have them identify once."""
    by = journal.member(member, PHONE)
    recipient = Recipient.get(Recipient.deposit == filed, Recipient.name == facts["name"])
    clock.advance(timedelta(minutes=2))
    access, secret = accesses.issue(gateways, recipient, by=by, member=member)
    told = {
        "name": recipient.name,
        "reference": codes.show(access.reference),
        "secret": codes.show(secret),
        "channel": way,
    }
    if way == "email":
        return told | {"email": recipient.email}
    clock.advance(timedelta(days=1, hours=1))
    served = {"signified_on": clock.now().date().isoformat(), "manner": "personne"}
    significations.record(gateways, recipient.id, served, by=by, member=member)
    clock.advance(timedelta(hours=2))
    return told | _identify(gateways, clock, member, recipient, way, told)


def _identify(
    gateways: Gateways, clock: ManualClock, member: Member, recipient: Recipient, way: str, told: dict[str, str]
) -> dict[str, str]:
    """Identify as the recipient does; the code spent is one of days ago, so that none of today's is."""
    begun = identification.begin(gateways, told["reference"], told["secret"], PHONE)
    assert isinstance(begun, identification.Begun)  # noqa: S101 — the secret was drawn a moment ago
    chosen = ways.choose(gateways, begun.token, way, "")
    clock.advance(timedelta(minutes=2))
    enrolment = ways.enrolment(gateways, chosen)
    if enrolment:
        code = pyotp.TOTP(enrolment.key).at(clock.now())
    else:
        by_phone = "Appel de la destinataire, qui a donné son nom et la référence de l’acte"
        code = one_time_codes.tell(gateways, recipient, by_phone, by=member, trace=PHONE)
    session = identification.confirm(gateways, begun.token, code, PHONE)
    assert isinstance(session, str)  # noqa: S101 — the code was just made
    return {"totp_secret": enrolment.key} if enrolment else {}
