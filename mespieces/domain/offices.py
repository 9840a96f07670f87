"""Offices (*études*) and their members: who deposits, and with what role."""

from functools import cache
from uuid import UUID
from zoneinfo import ZoneInfo, available_timezones

import peewee as pw
from zxcvbn import zxcvbn

from mespieces import models
from mespieces.domain import calendar, journal, members, passwords, text
from mespieces.errors import Invalid, NotFound, Refused
from mespieces.gateways import Gateways
from mespieces.models import Deposit, Member, Office

ROLES = {
    "administrateur": "Administrateur",
    "commissaire": "Commissaire de justice",
    "clerc": "Clerc",
    "auditeur": "Auditeur",
}
"""Code of each role, and the words for it."""

DEPOSITORS = frozenset({"administrateur", "commissaire", "clerc"})
"""Roles that work on deposits; an *auditeur* reads the journal only."""

AUDITORS = frozenset({"administrateur", "auditeur"})
"""Roles that take the journal away: exports, which hold a whole office's records."""

SHORTEST_PASSWORD = 12
# What a French speaker would try first, and zxcvbn's English word lists do not know.
_FRENCH_WORDS = (
    "motdepasse", "azerty", "azertyuiop", "bonjour", "soleil", "doudou", "chouchou", "loulou", "bienvenue", "huissier",
    "commissaire", "justice", "etude", "mespieces", "pieces", "injonction", "ordonnance", "signification", "depot",
    "france", "paris", "nantes", "marseille", "jetaime", "coucou", "secret", "administrateur", "printemps", "hiver",
    "automne", "janvier", "fevrier", "juillet", "septembre", "octobre", "novembre", "decembre",
)  # fmt: skip


class PasswordWeak(Invalid):
    """A password somebody would guess."""

    field = "password"
    message = "Ce mot de passe serait deviné : il faut au moins 12 caractères, par exemple quatre mots sans rapport."


class EmailTaken(Invalid):
    """Another member signs in with this address; one who left no longer does."""

    field = "email"
    message = "L’adresse {email} est déjà celle d’un membre."


class RoleUnknown(Invalid):
    """Not a role."""

    field = "role"
    message = "Ce rôle n’existe pas."


class TimeZoneUnknown(Invalid):
    """Not a zone of the IANA database."""

    field = "time_zone"
    message = "Ce fuseau horaire n’existe pas : on attend par exemple Europe/Paris ou Indian/Reunion."


class OfficeNameTaken(Refused):
    """Another office bears this name, by which both are found."""

    message = "Une étude porte déjà le nom {name} : distinguez-les, par exemple par la ville."


class OfficeMissing(NotFound):
    """No office of that name."""

    message = "Aucune étude ne porte ce nom."


def add(  # the operator's act, before any member exists
    gateways: Gateways,
    *,
    name: str,
    address: str,
    phone: str,
    email: str,
    time_zone: str = "Europe/Paris",
    territory: str = "",
) -> Office:
    """Add an office. Raises `Invalid` naming the field at fault, `OfficeNameTaken`."""
    if time_zone not in _time_zones():
        raise TimeZoneUnknown
    if territory not in calendar.TERRITORIES:
        raise Invalid(field="territory")
    facts = {
        "name": text.line(name, "name"),
        "address": text.lines(address, "address"),
        "phone": text.line(phone, "phone", most=40),
        "email": text.email(email),
    }
    with models.write():
        office = Office.create(**facts, time_zone=time_zone, territory=territory, created_at=gateways.clock.now())
        journal.append(gateways, "office.added", author=journal.OPERATOR, office=office, detail={"name": office.name})
        # Looked for last: the journal's head is locked by now, so that two additions cannot both miss the other.
        if Office.select().where(_bears(office.name)).count() > 1:
            raise OfficeNameTaken(name=office.name)
    return office


def everyone() -> list[Office]:
    """Return all offices by name."""
    return list(Office.select().order_by(Office.name))


def named(name: str) -> Office:
    """Return the office of that name or identifier. Raises `OfficeMissing`."""
    by_name = list(Office.select().where(_bears(name.strip())))
    if not by_name:
        try:
            by_name = list(Office.select().where(Office.id == UUID(name)))
        except ValueError:
            by_name = []
    if len(by_name) != 1:
        raise OfficeMissing
    return by_name[0]


def of_recipient(deposit: Deposit) -> Office:
    """Return the office that answers the recipients of `deposit`."""
    return deposit.office


def zone(office: Office) -> ZoneInfo:
    """Return the office's time zone."""
    return ZoneInfo(office.time_zone)


def add_member(
    gateways: Gateways, office: Office, *, name: str, email: str, role: str, password: str, by: journal.Author
) -> Member:
    """Add a member who will enrol their one-time codes at first sign-in. Raises `Invalid`, `EmailTaken`."""
    facts = read_member(name, email, role)
    check_password(password, facts["name"], facts["email"], office.name)
    stretched = passwords.stretch(text.storable(password))
    with models.write():
        member = create_member(gateways, office, facts, password_hash=stretched)
        detail = {"name": member.name, "role": member.role}
        journal.append(gateways, "member.added", author=by, member=member, detail=detail)
    return member


def read_member(name: str, email: str, role: str) -> dict[str, str]:
    """Return who is to be a member. Raises `Invalid` naming the field at fault."""
    if role not in ROLES:
        raise RoleUnknown
    return {"name": text.line(name, "name"), "email": text.email(email).lower(), "role": role}


def create_member(
    gateways: Gateways, office: Office, facts: dict[str, str], *, password_hash: str | None = None
) -> Member:
    """Create the row of a member inside the caller's transaction. Raises `EmailTaken`."""
    taken = EmailTaken(email=facts["email"])
    if Member.select().where(Member.email == facts["email"], Member.left_at.is_null()).exists():
        raise taken
    try:
        return Member.create(office=office, **facts, password_hash=password_hash, created_at=gateways.clock.now())
    except pw.IntegrityError as error:  # added by somebody else since the look above
        raise taken from error


def reset_member(gateways: Gateways, email: str, password: str) -> Member:
    """Give a member a new password and have them enrol again; their sessions end. The operator's act."""
    member = Member.get_or_none(Member.email == email.strip().lower(), Member.left_at.is_null())
    if member is None:
        raise NotFound
    check_password(password, member.name, member.email, member.office.name)
    stretched = passwords.stretch(text.storable(password))
    with models.write():
        row = members.locked(member)
        Member.update(password_hash=stretched, totp_key=None, totp_enrolled_at=None, totp_last_step=0).where(
            Member.id == row.id
        ).execute()
        members.shut_out(row, gateways.clock.now())
        detail = {"changed": ["password", "totp"]}
        journal.append(gateways, "member.changed", author=journal.OPERATOR, member=row, detail=detail)
    return Member.get_by_id(member.id)


def check_password(password: str, *about: str) -> None:
    """Refuse a password that is short or would be guessed (CNIL 2022-100, ANSSI R21). Raises `PasswordWeak`."""
    passwords.check_length(password)
    if len(password) < SHORTEST_PASSWORD:
        raise PasswordWeak
    # zxcvbn refuses more than 72 characters; a longer password is judged by its beginning.
    words = [part for name in about for part in name.lower().replace("@", " ").replace(".", " ").split()]
    whole = [part for name in about for part in (name.lower(), name.lower().partition("@")[0])]
    if zxcvbn(password[:72].lower(), user_inputs=[*_FRENCH_WORDS, *words, *whole])["score"] < 3:
        raise PasswordWeak


def present(office: Office) -> list[Member]:
    """Return the office's present members by name."""
    return list(Member.select().where(Member.office == office, Member.left_at.is_null()).order_by(Member.name))


def staffed() -> list[Office]:
    """Return the offices that have a present member."""
    here = Member.select().where(Member.office == Office.id, Member.left_at.is_null())
    return list(Office.select().where(pw.fn.EXISTS(here)).order_by(Office.name))


def _bears(name: str) -> pw.Expression:
    return pw.fn.LOWER(Office.name) == name.lower()


@cache
def _time_zones() -> frozenset[str]:
    """Return the names of all time zones: the library reads every file of theirs, and they are the same until the next start."""
    return frozenset(available_timezones())
