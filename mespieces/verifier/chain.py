"""The chain verified record by record, from an export or from a database, in a memory that does not grow with it."""

from collections.abc import Iterable, Iterator
from enum import Enum
from functools import lru_cache

from mespieces.verifier import canonical, merkle, purge, record
from mespieces.verifier.findings import Code, Finding
from mespieces.verifier.record import Group, Header


class Withheld(Enum):
    """The mark of a payload that this reader may not see, and of one that nobody can read."""

    WITHHELD = "withheld"
    UNREADABLE = "unreadable"


WITHHELD, UNREADABLE = Withheld.WITHHELD, Withheld.UNREADABLE
Payload = tuple[bytes, bytes] | None | Withheld
"""Salt and body, or nothing (purged), or `WITHHELD`; `UNREADABLE` is what stands in the place of one and is none of these."""

NEVER_WITHHELD = frozenset({"journal.opened", "journal.anchored", "journal.purged", "clock.anomaly"})
"""Operations of no office, whose payloads hold nobody's data: without them the chain's own story cannot be verified."""


class Chain:
    """Verifies records in order; `purges` are the announcements of the whole journal, read beforehand.

    An announcement stands after what it explains, so judging in one pass needs them first: there are few, and their
    records are verified like the others when their turn comes.
    """

    def __init__(self, log: str | None = None, purges: Iterable[purge.Purge] = ()) -> None:
        self.log = log
        self.next = 0
        """The sequence expected of the next record."""
        self.head = bytes(32)
        self.time = ""
        self.last: Header | None = None
        self.proof: dict[str, canonical.Value] | None = None
        """What the last record's `proof` says, None when it is absent or not what the record is committed to."""
        self.purged = 0
        self.withheld = 0
        self.first_withheld = -1
        """The sequence of the first withheld payload, -1 while there is none."""
        self.frontier = merkle.Frontier()
        self._ledger = purge.Ledger(purges)

    @property
    def size(self) -> int:
        """How many records were fed."""
        return self.frontier.size

    def root(self) -> bytes:
        """Return the RFC 6962 root over the records fed so far."""
        return self.frontier.root()

    def feed(self, header: bytes, proof: Payload, trace: Payload) -> list[Finding]:
        """Verify the next record and return what is wrong with it, an empty list when nothing is."""
        if isinstance(proof, tuple) and isinstance(trace, tuple) and self._as_expected(header, proof, trace):
            return []
        found: list[Finding] = []
        self.proof = None
        try:
            parsed = record.parse(header)
        except record.HeaderNotCanonical:
            return self.skip(header)
        if self.log is None:
            self.log = parsed.log
        if parsed.previous != self.head.hex() or parsed.log != self.log:
            found.append(Finding(Code.PREVIOUS_MISMATCH, parsed.sequence, self.log))
        if parsed.sequence != self.next:
            found.append(Finding(Code.SEQUENCE_GAP, parsed.sequence, self.log))
        if parsed.time < self.time and parsed.operation != "clock.anomaly":
            found.append(Finding(Code.TIME_WENT_BACK, parsed.sequence, self.log))
        found += self._payload(parsed, "proof", proof, parsed.proof)
        found += self._payload(parsed, "trace", trace, parsed.trace)
        found += self._ledger.passed(parsed)
        self._advance(header, parsed.sequence)
        self.time, self.last = parsed.time, parsed
        return found

    def _as_expected(self, header: bytes, proof: tuple[bytes, bytes], trace: tuple[bytes, bytes]) -> bool:
        """Take the record when its header is, byte for byte, the only one that these payloads may have here.

        The next header is known but for its operation and its time: writing it and comparing says at once that it is
        canonical, in its place, and committed to these payloads. Whatever differs is left to the full examination.
        """
        read = record.read_expected(header, self.log or "", self.head.hex(), self.next, proof, trace)
        if read is None or read.time < self.time or read.operation == "journal.purged" or not self._ledger.idle:
            return False
        body = canonical.read_object(proof[1])
        if body is None or not _is_trace(trace[1]) or not len(proof[0]) == len(trace[0]) == _SALT:
            return False
        self.proof = body
        self._advance(header, read.sequence)
        self.time, self.last = read.time, read
        return True

    def skip(self, data: bytes, code: Code = Code.HEADER_NOT_CANONICAL) -> list[Finding]:
        """Take note of a record that cannot be read, and go on with the next; its bytes still count in the root."""
        sequence = self.next
        self._advance(data, sequence)
        return [Finding(code, sequence, self.log or "")]

    def finish(self) -> list[Finding]:
        """Return the faults that only the end of the journal reveals."""
        return list(self._ledger.finish(self.log or ""))

    def _advance(self, header: bytes, sequence: int) -> None:
        self.head = record.record_hash(header)
        self.frontier.append(self.head)
        self.next = sequence + 1

    def _payload(self, header: Header, group: Group, payload: Payload, commitment: str) -> Iterable[Finding]:
        if payload is None:
            self.purged += 1
            return self._ledger.absent(header, group)
        if isinstance(payload, Withheld):
            return self._kept_back(header, group) if payload is WITHHELD else ()
        salt, body = payload
        if record.commit(group, salt, body) != commitment or len(salt) != _SALT:
            return (Finding(Code.PAYLOAD_ALTERED, header.sequence, header.log, group),)
        if group == "proof":
            self.proof = canonical.read_object(body)
        if not (_is_trace(body) if group == "trace" else self.proof is not None):
            return (Finding(Code.PAYLOAD_NOT_CANONICAL, header.sequence, header.log, group),)
        return self._reach(header, body) if header.operation == "journal.purged" and group == "proof" else ()

    def _kept_back(self, header: Header, group: Group) -> Iterable[Finding]:
        self.withheld += 1
        if self.first_withheld < 0:
            self.first_withheld = header.sequence
        never = header.operation in NEVER_WITHHELD
        return (Finding(Code.PAYLOAD_MISSING, header.sequence, header.log, group),) if never else ()

    def _reach(self, header: Header, body: bytes) -> Iterator[Finding]:
        for announced in purge.announced(header, body):
            if announced.log == header.log and announced.last >= header.sequence:
                yield Finding(Code.PURGED_TOO_EARLY, header.sequence, header.log, announced.group)
                return


def _is_trace(body: bytes) -> bool:
    # One session's records share their trace: this alone spares a tenth of the time.
    return _is_short_object(body) if len(body) < _SHORT else canonical.read_object(body) is not None


@lru_cache(maxsize=1024)
def _is_short_object(body: bytes) -> bool:
    return canonical.read_object(body) is not None


_SALT = 32
_SHORT = 1024
