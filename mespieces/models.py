"""The tables: columns, keys, constraints; `write()` is the one way to open a transaction. No rule lives here.

The tables themselves are made by the numbered migrations; a test compares the two on both databases.
"""

import logging
import re
import secrets
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import peewee as pw
from playhouse.pool import PooledPostgresqlDatabase

from mespieces.errors import ValueUnreadable

log = logging.getLogger(__name__)

database = pw.DatabaseProxy()

_SQLITE_PRAGMAS = {
    "journal_mode": "wal",
    "synchronous": "full",  # a committed record survives a power cut
    "foreign_keys": 1,
    "recursive_triggers": 1,  # INSERT OR REPLACE would else skip the journal's DELETE trigger
    "secure_delete": 1,  # an erased key is overwritten, not only unlinked
    "busy_timeout": 15_000,
}

# A server that is cut off says nothing at all: people read that the site is unavailable rather than wait for minutes.
_POSTGRESQL_PATIENCE = {"connect_timeout": 5, "tcp_user_timeout": 10_000}


def connect(url: str) -> pw.Database:
    """Bind the models to the database at `url` (`sqlite:///path`, `postgresql://…`) and return it, not yet open."""
    if url.startswith("sqlite:///"):
        bound: pw.Database = pw.SqliteDatabase(url.removeprefix("sqlite:///"), pragmas=_SQLITE_PRAGMAS, timeout=15)
        bound.register_function(_lower, "lower", 1)  # SQLite's own leaves É as it is
    elif url.startswith(("postgresql://", "postgres://")):
        bound = PooledPostgresqlDatabase(
            url, prefer_psycopg3=True, max_connections=100, stale_timeout=300, **_POSTGRESQL_PATIENCE
        )
    else:
        raise ValueError(url)
    database.initialize(bound)
    return bound


def _lower(text: str | None) -> str | None:
    return text and text.lower()


def is_sqlite() -> bool:
    """Whether the bound database is SQLite."""
    return isinstance(database.obj, pw.SqliteDatabase)


class NestedWriteError(RuntimeError):
    """A transaction was opened inside another: a defect of the program."""


def write() -> AbstractContextManager[Any]:
    """Run the block in one transaction that sees and locks the newest state; refuses to nest.

    SQLite takes its only write lock at once (BEGIN IMMEDIATE): a reading upgraded later could fail half-way.
    """
    bound = database.obj  # spares the proxy's detour, which counts in a transaction of one record
    if bound.in_transaction():
        raise NestedWriteError
    return _SqliteWrite(bound) if is_sqlite() else bound.transaction()


class _SqliteWrite:
    """A transaction of SQLite, as peewee's is, without the fifteen microseconds that peewee's takes of a short commit."""

    __slots__ = ("_bound",)

    def __init__(self, bound: pw.SqliteDatabase) -> None:
        self._bound = bound

    def __enter__(self) -> None:
        execute("BEGIN IMMEDIATE")
        self._bound.push_transaction(self)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._bound.pop_transaction()
        try:
            if kind is None:
                execute("COMMIT")
        finally:
            if self._bound.connection().in_transaction:
                execute("ROLLBACK")


def execute(statement: str, *values: object) -> Any:
    """Run a statement that is written out, with `?` for its values, inside the caller's transaction; return its cursor.

    For what is done at every act: peewee's way takes longer than the database itself. It is logged as peewee's are.
    """
    if pw.logger.isEnabledFor(logging.DEBUG):
        pw.logger.debug((statement, values))
    bound = database.obj
    try:
        if isinstance(bound, pw.SqliteDatabase):
            return bound.connection().execute(statement, values)
        return bound.connection().execute(statement.replace("?", "%s"), values)
    except Exception:
        with pw.__exception_wrapper__:  # errors are peewee's all the same
            raise


def locked(query: Any) -> Any:
    """Return `query` so that its rows stay as read until the transaction ends."""
    return query if is_sqlite() else query.for_update()


class InstantField(pw.Field):
    """An aware UTC instant with microseconds, the same value from both databases."""

    field_type = "INSTANT"

    def db_value(self, value: datetime | None) -> Any:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("an instant without its zone")
        value = value.astimezone(UTC)
        return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if is_sqlite() else value

    def python_value(self, value: Any) -> datetime | None:
        if value is None or (isinstance(value, datetime) and value.tzinfo is UTC):
            return value
        if isinstance(value, str):
            return _read_instant(value)
        return value.astimezone(UTC)


def _read_instant(text: str) -> datetime:
    """Return the instant written as `InstantField` writes it, and no other way; `strptime` takes twelve times as long.

    Raises `ValueUnreadable`.
    """
    try:
        if _INSTANT.fullmatch(text):
            return datetime.fromisoformat(text)
    except ValueError:
        pass
    log.error("the database holds %r where an instant is expected", text[:40])
    raise ValueUnreadable


_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)


def instant(**options: Any) -> Any:
    """Return a column of instants, its type as open as those of peewee's own columns."""
    return InstantField(**options)


class Model(pw.Model):
    """What every table shares."""

    class Meta:
        database = database
        legacy_table_names = False


class Row(Model):
    """A row known by a random identifier."""

    id = pw.UUIDField(primary_key=True, default=uuid4)


class Office(Row):
    """An *étude*."""

    name = pw.TextField()
    address = pw.TextField()
    phone = pw.TextField()
    email = pw.TextField()
    time_zone = pw.TextField(default="Europe/Paris")
    territory = pw.TextField(default="")
    created_at = instant()

    def __str__(self) -> str:
        return str(self.name)


class Member(Row):
    """Somebody of an office, with one role."""

    office = pw.ForeignKeyField(Office, backref="members", on_delete="RESTRICT")
    name = pw.TextField()
    email = pw.TextField(unique=True)  # among those who have not left
    role = pw.TextField()
    password_hash = pw.TextField(null=True)
    totp_key = pw.BlobField(null=True)
    totp_enrolled_at = instant(null=True)
    totp_last_step = pw.BigIntegerField(default=0)
    created_at = instant()
    left_at = instant(null=True)

    def __str__(self) -> str:
        return str(self.name)


class Invitation(Row):
    """A member invited to choose a password: the latest counts, and its row goes once used, replaced or too old."""

    member = pw.ForeignKeyField(Member, unique=True, backref="invitations", on_delete="CASCADE")
    token_hash = pw.TextField(unique=True)
    sealed_token = pw.BlobField()
    created_at = instant()


class RecoveryCode(Row):
    """A code that replaces, once, the member's lost application."""

    member = pw.ForeignKeyField(Member, backref="recovery_codes", on_delete="CASCADE")
    code_hash = pw.TextField()
    drawn_at = instant()
    used_at = instant(null=True)


class Deposit(Row):
    """One *requête*: its documents and its recipients."""

    office = pw.ForeignKeyField(Office, backref="deposits", on_delete="RESTRICT")
    office_reference = pw.TextField()
    creditor = pw.TextField()
    court = pw.TextField()
    order_number = pw.TextField()
    order_date = pw.DateField()
    replaces = pw.ForeignKeyField("self", null=True, unique=True, on_delete="RESTRICT", backref="replaced_by")
    created_at = instant()
    created_by = pw.ForeignKeyField(Member, null=True, on_delete="RESTRICT", backref="+")
    filed_at = instant(null=True)
    filed_by = pw.ForeignKeyField(Member, null=True, on_delete="RESTRICT", backref="+")
    filed_sequence = pw.BigIntegerField(null=True)
    expires_at = instant(null=True, index=True)
    prolonged_until = pw.DateField(null=True)
    withdrawn_at = instant(null=True)
    withdrawn_by = pw.ForeignKeyField(Member, null=True, on_delete="RESTRICT", backref="+")
    withdrawn_because = pw.TextField(null=True)
    ended_at = instant(null=True)
    purge_told_at = instant(null=True)
    dossier_at = instant(null=True)
    purged_at = instant(null=True)
    forgotten_at = instant(null=True)
    erased_at = instant(null=True)

    def __str__(self) -> str:
        return str(self.office_reference)


class Document(Row):
    """A *pièce*. Its bytes lie in the vault under its own data key, kept here wrapped."""

    deposit = pw.ForeignKeyField(Deposit, backref="documents", on_delete="RESTRICT")
    number = pw.IntegerField()
    title = pw.TextField()
    nature = pw.TextField(default="")
    dated = pw.DateField(null=True)
    filename = pw.TextField()
    media_type = pw.TextField()
    size = pw.BigIntegerField()
    pages = pw.IntegerField()
    fingerprint = pw.TextField()
    notices = pw.TextField(default="")
    wrapped_key = pw.BlobField(null=True)
    added_at = instant()
    added_by = pw.ForeignKeyField(Member, null=True, on_delete="RESTRICT", backref="+")
    previews_at = instant(null=True)
    previews_tries = pw.IntegerField(default=0)
    deleted_at = instant(null=True)

    class Meta:
        indexes = ((("deposit", "number"), True),)

    def __str__(self) -> str:
        return str(self.title)


class Recipient(Row):
    """A *destinataire*: a person, or a company with its representative."""

    deposit = pw.ForeignKeyField(Deposit, backref="recipients", on_delete="RESTRICT")
    kind = pw.TextField(default="person")
    name = pw.TextField()
    representative = pw.TextField(default="")
    address = pw.TextField(default="")
    email = pw.TextField(default="")
    email_set_by = pw.TextField(default="")
    way = pw.TextField(default="")
    way_set_by = pw.TextField(default="")
    way_required = pw.TextField(default="")
    second_step_waived_because = pw.TextField(null=True)
    mail_refused_at = instant(null=True)
    mail_refused_because = pw.TextField(default="")
    added_at = instant()
    added_by = pw.ForeignKeyField(Member, null=True, on_delete="RESTRICT", backref="+")

    def __str__(self) -> str:
        return str(self.name)


class Signification(Row):
    """The service of the act on a recipient; the latest that was not cancelled counts."""

    recipient = pw.ForeignKeyField(Recipient, backref="significations", on_delete="RESTRICT")
    signified_on = pw.DateField()
    manner = pw.TextField(default="")
    recorded_at = instant()
    recorded_by = pw.ForeignKeyField(Member, null=True, on_delete="RESTRICT", backref="+")
    cancelled_at = instant(null=True)


class Access(Row):
    """What is printed on the act for one recipient: a public reference, and the hash of a secret."""

    recipient = pw.ForeignKeyField(Recipient, unique=True, backref="accesses", on_delete="RESTRICT")
    reference = pw.TextField(unique=True, null=True)
    secret_hash = pw.TextField(null=True)
    issued_at = instant(null=True)
    issued_by = pw.ForeignKeyField(Member, null=True, on_delete="RESTRICT", backref="+")
    first_identified_at = instant(null=True)
    created_at = instant()

    def __str__(self) -> str:
        return str(self.reference)


class CodeKey(Row):
    """The TOTP key of one access for one way, sealed; `last_step` was the last one issued or accepted."""

    access = pw.ForeignKeyField(Access, backref="code_keys", on_delete="CASCADE")
    way = pw.TextField()
    sealed_key = pw.BlobField()
    last_step = pw.BigIntegerField(default=0)
    failures = pw.IntegerField(default=0)
    created_at = instant()

    class Meta:
        indexes = ((("access", "way"), True),)


class SignIn(Row):
    """A sign-in in progress: the first proof was right, the second is awaited. For a recipient or for a member."""

    token_hash = pw.TextField(unique=True)
    access = pw.ForeignKeyField(Access, null=True, backref="sign_ins", on_delete="CASCADE")
    member = pw.ForeignKeyField(Member, null=True, backref="sign_ins", on_delete="CASCADE")
    way = pw.TextField(default="")
    email = pw.TextField(default="")
    sealed_key = pw.BlobField(null=True)
    code_step = pw.BigIntegerField(null=True)
    code_issued_at = instant(null=True)
    codes_issued = pw.IntegerField(default=0)
    tries = pw.IntegerField(default=0)
    created_at = instant()
    closed_at = instant(null=True)


class Session(Row):
    """Somebody identified, for a while."""

    token_hash = pw.TextField(unique=True)
    access = pw.ForeignKeyField(Access, null=True, backref="sessions", on_delete="CASCADE")
    member = pw.ForeignKeyField(Member, null=True, backref="sessions", on_delete="CASCADE")
    way = pw.TextField()
    agent = pw.TextField(default="")
    created_at = instant()
    seen_at = instant()
    proved_at = instant()
    ended_at = instant(null=True)


class Throttle(Model):
    """How often something failed lately, shared by all workers."""

    key = pw.TextField(primary_key=True)
    failures = pw.IntegerField(default=0)
    since = instant()
    until = instant(null=True)


class Consultation(Row):
    """One recipient's session reading one document (art. 2 and 6), and the record that says so."""

    session = pw.ForeignKeyField(Session, backref="consultations", on_delete="RESTRICT")
    document = pw.ForeignKeyField(Document, backref="consultations", on_delete="RESTRICT")
    opened_at = instant()
    log = pw.TextField()
    sequence = pw.BigIntegerField()

    class Meta:
        indexes = ((("session", "document"), True),)


class Delivery(Row):
    """How one mode of a consultation ended: all its bytes handed over, or not."""

    consultation = pw.ForeignKeyField(Consultation, backref="deliveries", on_delete="CASCADE")
    mode = pw.TextField()
    started_at = instant()
    outcome = pw.TextField(default="")

    class Meta:
        indexes = ((("consultation", "mode"), True),)


class JournalLog(Model):
    """A journal: its random name, its frozen origin, and its head."""

    log = pw.TextField(primary_key=True)
    origin = pw.TextField()
    size = pw.BigIntegerField(default=0)
    head = pw.TextField()
    time = pw.TextField(default="")
    opened_at = instant()
    closed_at = instant(null=True)


class JournalRecord(Model):
    """A record's header, verbatim, and its hash; the other columns are projections of the header."""

    log = pw.TextField()
    sequence = pw.BigIntegerField()
    previous = pw.TextField()
    hash = pw.TextField()
    operation = pw.TextField()
    time = pw.TextField()
    header = pw.BlobField()

    class Meta:
        primary_key = pw.CompositeKey("log", "sequence")


class JournalPayload(Model):
    """The erasable side of a record: one group's salt and body, and for `proof` the keys its stories are found by."""

    log = pw.TextField()
    sequence = pw.BigIntegerField()
    group = pw.TextField(column_name="payload_group")
    salt = pw.BlobField(null=True)
    body = pw.BlobField(null=True)
    deposit = pw.UUIDField(null=True)
    office = pw.UUIDField(null=True)

    class Meta:
        primary_key = pw.CompositeKey("log", "sequence", "group")


class JournalSubtree(Model):
    """The hash of a complete subtree of 2^level leaves (RFC 6962), so that a root costs O(log n)."""

    log = pw.TextField()
    level = pw.IntegerField()
    index = pw.BigIntegerField(column_name="subtree_index")
    hash = pw.BlobField()

    class Meta:
        primary_key = pw.CompositeKey("log", "level", "index")


class JournalCheckpoint(Model):
    """A signed checkpoint as it was published."""

    log = pw.TextField()
    size = pw.BigIntegerField()
    note = pw.BlobField()
    created_at = instant()

    class Meta:
        primary_key = pw.CompositeKey("log", "size")


class JournalDay(Model):
    """How many operations of each kind a day (UTC) saw, among the first `size` records: a projection of the records."""

    log = pw.TextField()
    day = pw.TextField()
    deposits = pw.BigIntegerField()
    consultations = pw.BigIntegerField()
    refusals = pw.BigIntegerField()
    others = pw.BigIntegerField()
    size = pw.BigIntegerField()

    class Meta:
        primary_key = pw.CompositeKey("log", "day")
        indexes = ((("log", "size"), False),)


class JournalTimestamp(Model):
    """A third party's token over a checkpoint's note, verified before it was kept; our own clock around it."""

    log = pw.TextField()
    size = pw.BigIntegerField()
    number = pw.IntegerField()
    der = pw.BlobField()
    time = instant()
    authority = pw.TextField()
    qualified = pw.IntegerField()
    asked_at = instant()
    answered_at = instant()

    class Meta:
        primary_key = pw.CompositeKey("log", "size", "number")


class JournalAttestation(Model):
    """The fingerprint of an attestation's PDF, and the record of its making: how a file that comes back is known."""

    fingerprint = pw.TextField(primary_key=True)
    log = pw.TextField()
    sequence = pw.BigIntegerField()


class JournalExport(Row):
    """An export of the journal for an office's auditors: asked for, prepared by the worker, kept sealed for a day."""

    office = pw.ForeignKeyField(Office, unique=True, backref="exports", on_delete="RESTRICT")  # among those under way
    asked_by = pw.ForeignKeyField(Member, on_delete="RESTRICT", backref="+")
    asked_at = instant()
    tries = pw.IntegerField(default=0)
    seen_at = instant(null=True)
    done = pw.BigIntegerField(default=0)
    total = pw.BigIntegerField(default=0)
    bytes = pw.BigIntegerField(null=True)
    fingerprint = pw.TextField(null=True)
    wrapped_key = pw.BlobField(null=True)
    finished_at = instant(null=True)
    failed_at = instant(null=True)
    deleted_at = instant(null=True)


class Message(Row):
    """A mail to send: its kind and whom it is for, never its text (codes are rendered at sending).

    `address` is where it goes, known at the latest once it was handed over; `about` is the mail a notice tells of.
    """

    kind = pw.TextField()
    message_id = pw.TextField(unique=True)
    address = pw.TextField(default="")
    office = pw.ForeignKeyField(Office, null=True, on_delete="CASCADE", backref="+")
    recipient = pw.ForeignKeyField(Recipient, null=True, on_delete="CASCADE", backref="+")
    member = pw.ForeignKeyField(Member, null=True, on_delete="CASCADE", backref="+")
    sign_in = pw.ForeignKeyField(SignIn, null=True, on_delete="SET NULL", backref="+")
    document = pw.ForeignKeyField(Document, null=True, on_delete="CASCADE", backref="+")
    about = pw.ForeignKeyField("self", null=True, on_delete="CASCADE", backref="+")
    created_at = instant()
    due_at = instant(index=True)
    tries = pw.IntegerField(default=0)
    sent_at = instant(null=True)
    given_up_at = instant(null=True)
    refused_at = instant(null=True)
    reason = pw.TextField(default="")


class Fact(Model):
    """What the machine last noticed of itself: the worker's heartbeat, the last verification of the journal."""

    name = pw.TextField(primary_key=True)
    at = instant()
    detail = pw.TextField(default="")


TABLES: tuple[type[Model], ...] = (
    Office, Member, Invitation, RecoveryCode, Deposit, Document, Recipient, Signification, Access, CodeKey,
    SignIn, Session, Throttle, Consultation, Delivery, JournalLog, JournalRecord, JournalPayload, JournalSubtree,
    JournalCheckpoint, JournalDay, JournalTimestamp, JournalAttestation, JournalExport, Message, Fact,
)  # fmt: skip


def draw_token() -> str:
    """Return a fresh bearer token of 256 bits; only its SHA-256 is ever stored."""
    return secrets.token_urlsafe(32)
