"""The verification of a whole export: its journals, their checkpoints, their ends, against what the auditor trusts."""

import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from cryptography import x509

from mespieces.verifier import canonical, claims, export, issued, note, purge, tokens
from mespieces.verifier.chain import UNREADABLE, Chain
from mespieces.verifier.export import Source
from mespieces.verifier.faults import Unreadable
from mespieces.verifier.findings import Code, Finding
from mespieces.verifier.logs import LogReport
from mespieces.verifier.plural import agree

MOST_FINDINGS = 1000
"""Beyond, findings are counted and no longer kept: a ruined export must not fill the memory."""


@dataclass
class Report:
    """What was seen of an export."""

    logs: list[LogReport] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    named: tokens.Named = field(default_factory=dict)
    """For the checkpoints that receipts stand under, and no other."""
    bound: bool = False
    """Whether every journal is tied to an anchor the auditor gave: without it nothing is ever called intact."""

    def add(self, found: Iterable[Finding]) -> None:
        """Keep findings, and count those there is no room for."""
        for finding in found:
            self.counts[finding.code] += 1
            if len(self.findings) < MOST_FINDINGS:
                self.findings.append(finding)


@dataclass(frozen=True)
class Trust:
    """What the auditor brings: keys, and checkpoints kept from another day."""

    keys: Sequence[note.Verifier] = ()
    since: Sequence[note.Checkpoint] = ()
    shown: Sequence[note.Checkpoint] = ()
    """Those that receipts rightly stand under: no journal may contradict them, and they date nothing."""
    roots: Sequence[x509.Certificate] = ()
    """Roots of timestamping authorities: without any, tokens are listed and not checked."""


def verify(where: Source, trust: Trust, search: issued.Search | None = None) -> Report:
    """Verify the export's journal and the earlier ones it carries, and `search` them on the way.

    Raises `Unreadable` when nothing can be said of it.
    """
    report = Report()
    audits: dict[str, _Audit] = {}
    for folder in export.folders(where):
        audit = _Audit(where, folder, trust, search, current=not folder)
        if audits.setdefault(audit.seen.log, audit) is not audit:  # two readers could see two journals
            raise Unreadable(f"le journal {audit.seen.log} figure deux fois dans l’export")
    before = {log: str(audit.cited.get("log")) for log, audit in audits.items()}
    for audit in audits.values():
        report.add(audit.run(_announced(audit.seen.log, before, audits)))
        report.logs.append(audit.seen)
        report.named |= audit.named
    whole = audits[report.logs[0].log].whole
    for audit in audits.values():
        report.add(_lost(audit, audits))
        report.add(audit.withheld() if whole else ())
    report.bound = _bound(audits)
    for kept in (*trust.since, *trust.shown):
        if _log_of(kept.origin) not in audits:
            about = f"{_brought(kept, trust)}, du journal {kept.origin}"
            report.add([Finding(Code.CHECKPOINT_MISMATCH, max(kept.size - 1, 0), _log_of(kept.origin), about)])
    return report


def _bound(audits: dict[str, "_Audit"]) -> bool:
    """Tell whether every journal is tied to what the auditor trusts, directly or through the one that continues it."""
    bound = {log for log, audit in audits.items() if audit.seen.trusted_size}
    queue = deque(bound)
    while queue:
        before = str(audits[queue.popleft()].cited.get("log"))
        if before in audits and before not in bound:
            bound.add(before)
            queue.append(before)
    return len(bound) == len(audits)


def _announced(log: str, before: Mapping[str, str], audits: Mapping[str, "_Audit"]) -> Iterator[purge.Purge]:
    """Yield the purges announced of a journal: those it bears itself, and those of the journals that come after it."""
    for by, audit in audits.items():
        if by == log or log in purge.earlier(by, before):
            yield from purge.about(audit.purges, log, by)


def _lost(audit: "_Audit", audits: dict[str, "_Audit"]) -> Iterator[Finding]:
    """Compare what a reopened journal cites with the journal it continues."""
    cited = audit.cited
    if not cited:
        return
    yield from _missing(cited.get("missing"), audits)
    before = audits.get(str(cited.get("log")))
    if before is None:
        yield Finding(Code.TAIL_TRUNCATED, 0, str(cited.get("log")), "journal précédent absent")
        return
    size, head, newest = cited.get("size"), cited.get("head"), cited.get("checkpoint")
    seen = before.seen
    if isinstance(size, int) and size > seen.size:
        yield Finding(Code.TAIL_TRUNCATED, seen.size, seen.log, _records(size - seen.size))
    elif (size, head) != (seen.size, seen.head):
        yield Finding(Code.PREVIOUS_MISMATCH, 0, audit.seen.log, f"journal {seen.log}")
    kept = newest.get("size") if isinstance(newest, dict) else None
    if isinstance(kept, int) and kept > max(seen.size, before.signed_size):
        yield Finding(Code.TAIL_LOST, seen.size, seen.log, _records(kept - seen.size))


def _records(count: int) -> str:
    return f"{count} {agree(count, 'enregistrement')}"


def _missing(cited: object, audits: dict[str, "_Audit"]) -> Iterator[Finding]:
    """Name a journal of which its successor knew nothing but a checkpoint, unless the export holds it after all."""
    match cited:
        case {"log": str(log), "size": int(size)} if log not in audits:
            yield Finding(Code.TAIL_LOST, 0, log, _records(size))


def _brought(mark: note.Checkpoint, trust: Trust) -> str:
    """Name a checkpoint that the auditor brought, by what they can find again on their paper."""
    whose = "celui que vous avez gardé, --since" if mark in trust.since else "celui d’un reçu donné, --receipt"
    return f"{whose} : {_records(mark.size)}, racine {mark.root.hex()}"


def _log_of(origin: str) -> str:
    return origin.rpartition("/")[2]


class _Audit:
    """One journal of the export, read twice: for the announcements of purges, then record by record."""

    def __init__(
        self, where: Source, folder: str, trust: Trust, search: issued.Search | None, *, current: bool
    ) -> None:
        self._where, self._folder, self._current = where, folder, current
        self._search = search if search and search.pdfs else None
        about = export.read_json(where, f"{folder}log.json")
        self.seen = LogReport(log=str(about.get("log")), origin=str(about.get("origin")))
        self._trusted = _trusted(trust, self.seen, current=current)
        self._keys = self._trusted if current and self._trusted else [*self._trusted, *claims.own_key(about)]
        self._own_key = claims.own_key(about)
        self._sizes = {int(match[1]) for match in map(_NOTE, where.names(f"{folder}checkpoints")) if match}
        held = [mark for mark in (*trust.since, *trust.shown) if _log_of(mark.origin) == self.seen.log]
        brought = ((mark.size, mark.root, _brought(mark, trust)) for mark in held)
        marks = sorted([*brought, *((size, b"", "") for size in self._sizes)])
        self._marks = deque[tuple[int, bytes, str]](marks)
        self._told = claims.announced(where, f"{folder}journal.jsonl")
        self._tokens = tokens.examine(where, folder, self._sizes, self._told.tokens, trust.roots)
        self._tokens.tell(self.seen)
        shown = {mark.size for mark in held if mark in trust.shown}
        self.named = tokens.named(self._told.tokens, self.seen.log, shown)
        self._dated = self._tokens.stamped
        self.purges = list(purge.bounded(self._told.purges, self._dated))
        """What this journal announces, of itself or of those it continues."""
        # A token that nobody checked may be anything: it makes no record any safer.
        kept = [mark.size for mark in held if mark in trust.since]
        self.seen.anchored_size = max([*self._dated, *kept], default=0)
        self.signed_size = 0
        """The size of the newest checkpoint that is rightly signed."""
        self.cited = claims.cited(where, f"{folder}journal.jsonl")
        self.whole = False
        """Whether it ends with an export that withholds nothing."""
        self._first_withheld = -1

    def run(self, purges: Iterable[purge.Purge]) -> Iterator[Finding]:
        """Yield what is wrong with this journal, of which all `purges` are announced; fill `seen`. Raises `Unreadable`."""
        for size, about in self._tokens.faults:
            yield Finding(Code.BAD_TIMESTAMP, max(size - 1, 0), self.seen.log, about)
        for sequence, name in self._told.contradicted:
            about = f"cet enregistrement nomme {name} hors de son tour, ou autrement qu’un premier"
            yield Finding(Code.BAD_TIMESTAMP, sequence, self.seen.log, about)
        if not self._own_key or (self._current and self._trusted and self._own_key[0] not in self._trusted):
            yield Finding(Code.BAD_SIGNATURE, 0, self.seen.log, f"{self._folder}log.json")
        name = f"{self._folder}journal.jsonl"
        chain = Chain(self.seen.log, purges)
        yield from self._reached(chain)
        for line in export.lines(self._where, name):
            yield from self._feed(chain, line)
            if self._marks and self._marks[0][0] <= chain.next:
                yield from self._reached(chain)
        if not chain.size:
            raise Unreadable(f"{name} est vide")
        yield from chain.finish()
        yield from self._end(chain)
        self.whole, self._first_withheld = claims.is_whole(line), chain.first_withheld
        seen = self.seen
        seen.size, seen.head, seen.root, seen.time = chain.size, chain.head.hex(), chain.root().hex(), chain.time
        seen.purged, seen.withheld = chain.purged, chain.withheld

    def withheld(self) -> Iterator[Finding]:
        """Name the first payload withheld in an export that is meant to be whole."""
        if self._first_withheld >= 0:
            yield Finding(Code.PAYLOAD_MISSING, self._first_withheld, self.seen.log, "retenu dans un export entier")

    def _feed(self, chain: Chain, line: bytes) -> list[Finding]:
        try:
            header, proof, trace = export.parse_line(line)
        except export.LineRefused as refused:
            if refused.header is None:
                return chain.skip(line)
            found = chain.feed(refused.header, UNREADABLE, UNREADABLE)
            return [*found, Finding(Code.PAYLOAD_NOT_CANONICAL, chain.next - 1, self.seen.log)]
        found = chain.feed(header, proof, trace)
        if self._search is not None and chain.last and chain.last.operation == issued.ISSUED:
            self._search.look(chain.last, canonical.parse(proof[1]) if isinstance(proof, tuple) and not found else None)
        if chain.next > self.seen.anchored_size and chain.last and chain.last.operation != "journal.anchored":
            self.seen.unanchored += 1
            self.seen.unanchored_since = self.seen.unanchored_since or chain.last.time
        return found

    def _reached(self, chain: Chain) -> Iterator[Finding]:
        """Compare the checkpoints that end at the record just read, and those a gap has jumped over."""
        while self._marks and self._marks[0][0] <= chain.next:
            size, root, brought = self._marks.popleft()
            if not root:
                root, code = self._signed(size)
                if code:
                    yield self._at(size, code)
                    continue
                trusted = size in self._dated or self._by_trusted(size)
            else:
                trusted = True
            if size != chain.size or root != chain.root():
                yield self._at(size, Code.CHECKPOINT_MISMATCH, brought)
            elif trusted:
                self.seen.trusted_size = max(self.seen.trusted_size, size)

    def _end(self, chain: Chain) -> Iterator[Finding]:
        """Judge the end: checkpoints beyond it, and for the current journal the checkpoint and record an export closes on."""
        reach = 0
        for size, root, _ in self._marks:
            code = None if root else self._signed(size)[1]
            if code:
                yield self._at(size, code)
            else:
                reach = max(reach, size)
        last = chain.last.operation if chain.last else ""
        if reach:
            code = Code.TAIL_TRUNCATED if self._current else Code.TAIL_LOST
            yield Finding(code, chain.next, self.seen.log, _records(reach - chain.next))
        elif self._current and (chain.next not in self._sizes or last != "journal.exported"):
            yield Finding(Code.TAIL_TRUNCATED, chain.next, self.seen.log, "l’export ne se termine pas comme un export")

    def _signed(self, size: int) -> tuple[bytes, Code | None]:
        data = export.read(self._where, f"{self._folder}checkpoints/{size}.note") or b""
        try:
            checkpoint = note.read_checkpoint(data, self._keys)
        except note.NoteRefused:
            return b"", Code.BAD_SIGNATURE
        except note.CheckpointRefused:
            return b"", Code.CHECKPOINT_MISMATCH
        if (
            checkpoint.size != size
            or checkpoint.origin != self.seen.origin
            or _log_of(checkpoint.origin) != self.seen.log
        ):
            return b"", Code.CHECKPOINT_MISMATCH
        self.signed_size = max(self.signed_size, size)
        return checkpoint.root, None

    def _by_trusted(self, size: int) -> bool:
        if self._keys == self._trusted:  # by these it was just read
            return True
        with suppress(note.NoteRefused, note.CheckpointRefused):
            data = export.read(self._where, f"{self._folder}checkpoints/{size}.note") or b""
            return bool(note.read_checkpoint(data, self._trusted))
        return False

    def _at(self, size: int, code: Code, brought: str = "") -> Finding:
        return Finding(code, max(size - 1, 0), self.seen.log, brought or f"{self._folder}checkpoints/{size}.note")


def _trusted(trust: Trust, seen: LogReport, *, current: bool) -> list[note.Verifier]:
    """Return the keys the auditor trusts for a journal: an earlier one may be signed by the same key under its own origin."""
    if current or _log_of(seen.origin) != seen.log:
        return list(trust.keys)
    return [*trust.keys, *(key._replace(name=seen.origin) for key in trust.keys if key.name != seen.origin)]


_NOTE = re.compile(r"(0|[1-9][0-9]{0,15})\.note").fullmatch
