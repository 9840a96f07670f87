"""Signed notes and checkpoints: C2SP `signed-note` (Ed25519) and `tlog-checkpoint`, written, signed and read."""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mespieces.verifier.faults import Fault

_ED25519 = b"\x01"
_LARGEST = 64 * 1024
_LARGEST_SIZE = 2**63
_COPIED = re.compile(
    r"\s*(?:journal\s*:?\s*)?((?:[0-9a-f][^\S\n]*){32}|[^\s·]+)\s*[·\n]\s*(?:enregistrements\s*:\s*)?([0-9\s]+?)(?:enregistrements?)?\s*\n"
    r"\s*(?:racine\s*:?\s*)?([0-9a-f\s]+)",
    re.IGNORECASE,
)


class NoteRefused(Fault):
    """Text that is no signed note, or that no trusted key has signed."""


class CheckpointRefused(Fault):
    """A text that is not the body of a checkpoint."""


class Verifier(NamedTuple):
    """A key that may sign notes: its name (a journal's origin) and the 32 bytes of its Ed25519 public key."""

    name: str
    public: bytes

    @property
    def key_id(self) -> bytes:
        """The four bytes that announce the key in a signature: SHA-256(name ‖ LF ‖ 0x01 ‖ public key)[:4]."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:4]


class Checkpoint(NamedTuple):
    """The head of a journal's tree: whose, how many records, and their root."""

    origin: str
    size: int
    root: bytes


def verifier(name: str, key: Ed25519PrivateKey) -> Verifier:
    """Return what verifies the notes `key` signs under `name`. Raises `NoteRefused` for a name that notes cannot carry."""
    _check_name(name)
    return Verifier(name, key.public_key().public_bytes_raw())


def format_vkey(of: Verifier) -> str:
    """Write a verifier as text: `name+hex key id+base64(0x01 ‖ public key)`."""
    return f"{of.name}+{of.key_id.hex()}+{encode_base64(_ED25519 + of.public)}"


def parse_vkey(text: str) -> Verifier:
    """Read a verifier's text. Raises `NoteRefused` when it is malformed, of another kind, or its key id does not match."""
    name, _, rest = text.strip().partition("+")
    key_id, _, encoded = rest.partition("+")
    key = decode_base64(encoded)
    _check_name(name)
    if key is None or len(key) != 33 or key[:1] != _ED25519:
        raise NoteRefused("not an Ed25519 verifier key")
    found = Verifier(name, key[1:])
    if found.key_id.hex() != key_id:
        raise NoteRefused("the key's identifier does not match it")
    return found


def sign(text: str, name: str, key: Ed25519PrivateKey) -> bytes:
    """Return the signed note over `text`, which ends with a line feed. Raises `NoteRefused` for text notes cannot carry."""
    of = verifier(name, key)
    _check_text(text)
    signature = encode_base64(of.key_id + key.sign(text.encode()))
    return f"{text}\n— {name} {signature}\n".encode()


def read(data: bytes, trusted: Iterable[Verifier]) -> str:
    """Return the text that a trusted key has signed. Raises `NoteRefused`.

    Signatures of unknown keys are ignored, as the specification asks; a wrong one under a known name and identifier
    rejects the whole note.
    """
    text, signers = _signed(data, trusted)
    if not signers:
        raise NoteRefused("no trusted key has signed this note")
    return text


def _signed(data: bytes, trusted: Iterable[Verifier]) -> tuple[str, set[str]]:
    """Return a note's text and the names of the trusted keys that have signed it."""
    text, signatures = split(data)
    known = {(of.name, of.key_id): of for of in trusted}
    signers = set()
    for name, signature in signatures:
        of = known.get((name, signature[:4]))
        if of is None:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(of.public).verify(signature[4:], text.encode())
        except (InvalidSignature, ValueError) as error:
            raise NoteRefused(f"the signature of {name} is wrong") from error
        signers.add(name)
    return text, signers


def split(data: bytes) -> tuple[str, list[tuple[str, bytes]]]:
    """Return a note's text and its (name, key id ‖ signature) lines, unverified. Raises `NoteRefused` when malformed."""
    if len(data) > _LARGEST:
        raise NoteRefused("this note is too long")
    try:
        whole = data.decode()
    except UnicodeDecodeError as error:
        raise NoteRefused("a note is UTF-8") from error
    text, blank, below = whole.rpartition("\n\n")
    if not blank or not below.endswith("\n"):
        raise NoteRefused("a note is a text, an empty line and signatures")
    _check_text(text + "\n")
    return text + "\n", [_signature(line) for line in below[:-1].split("\n")]


def format_checkpoint(checkpoint: Checkpoint) -> str:
    """Write the body of a checkpoint: origin, size and base64 of the root, one a line. Raises `CheckpointRefused`."""
    text = f"{checkpoint.origin}\n{checkpoint.size}\n{encode_base64(checkpoint.root)}\n"
    if parse_checkpoint(text) != checkpoint:
        raise CheckpointRefused("a value of the checkpoint is not of its form")
    return text


def parse_checkpoint(text: str) -> Checkpoint:
    """Read the body of a checkpoint; extension lines are tolerated. Raises `CheckpointRefused`."""
    lines = text.split("\n")
    if len(lines) < 4 or lines[-1] or not all(lines[:-1]):
        raise CheckpointRefused("a checkpoint has an origin, a size and a root")
    origin, size, encoded = lines[:3]
    root = decode_base64(encoded)
    if not re.fullmatch("0|[1-9][0-9]{0,18}", size) or int(size) >= _LARGEST_SIZE:
        raise CheckpointRefused("the size is not a number of records")
    if root is None or len(root) != 32:
        raise CheckpointRefused("the root is not a SHA-256 hash")
    return Checkpoint(origin, int(size), root)


def parse_copied(data: bytes) -> Checkpoint | None:
    """Return the checkpoint that a person copied from paper or a mail: journal, size and hexadecimal root; or None.

    The words printed around them may be copied too, lines end as they may, and phones begin them with a capital.
    """
    found = _COPIED.fullmatch(data.decode("utf-8-sig", "replace"))
    if not found:
        return None
    size, root = ("".join(part.split()) for part in found.groups()[1:])
    if not re.fullmatch("[1-9][0-9]{0,17}", size) or not re.fullmatch("[0-9a-fA-F]{64}", root):
        return None
    return Checkpoint("".join(found[1].split()).lower(), int(size), bytes.fromhex(root))


def straighten(data: bytes) -> bytes:
    """Return a note as it was published, from one that an editor or a mail program saved with its own line ends."""
    return data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").strip(b"\n ") + b"\n"


def sign_checkpoint(checkpoint: Checkpoint, key: Ed25519PrivateKey) -> bytes:
    """Return the note of `checkpoint`, signed under its origin. Raises `CheckpointRefused`, `NoteRefused`."""
    return sign(format_checkpoint(checkpoint), checkpoint.origin, key)


def read_checkpoint(data: bytes, trusted: Iterable[Verifier]) -> Checkpoint:
    """Return the checkpoint that its own origin's trusted key has signed. Raises `NoteRefused`, `CheckpointRefused`."""
    text, signers = _signed(data, trusted)
    if not signers:
        raise NoteRefused("no trusted key has signed this note")
    checkpoint = parse_checkpoint(text)
    if checkpoint.origin not in signers:
        raise NoteRefused("the key of this checkpoint's origin has not signed it")
    return checkpoint


def stranger(data: bytes, trusted: Iterable[Verifier]) -> str:
    """Return the origin of a checkpoint of which no trusted key is, "" when one is, or when `data` is no checkpoint."""
    try:
        origin = parse_checkpoint(split(data)[0]).origin
    except (NoteRefused, CheckpointRefused):
        return ""
    return "" if origin in {of.name for of in trusted} else origin


def under(origin: str, keys: Sequence[Verifier]) -> list[Verifier]:
    """Return the keys, and the same under `origin` unless it is "": a journal that was reopened most often keeps its key."""
    return [*keys, *(key._replace(name=origin) for key in keys if origin and key.name != origin)]


def names(data: bytes, keys: Iterable[Verifier]) -> bool:
    """Tell whether a note says, rightly or wrongly, that one of these keys has signed it."""
    known = {(of.name, of.key_id) for of in keys}
    try:
        return any((name, signature[:4]) in known for name, signature in split(data)[1])
    except NoteRefused:
        return False


def encode_base64(data: bytes) -> str:
    """Write `data` in base64 (RFC 4648 §4)."""
    return base64.b64encode(data).decode()


def decode_base64(text: str) -> bytes | None:
    """Return the bytes that `text` writes in the one canonical base64 of RFC 4648 §4, or None."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    # Stray bits in the last character would give one signature several writings.
    return data if encode_base64(data) == text else None


def _signature(line: str) -> tuple[str, bytes]:
    match = re.fullmatch(r"— ([^\s+]+) ([^\s]+)", line)
    signature = decode_base64(match[2]) if match else None
    if match is None or signature is None or len(signature) < 5:
        raise NoteRefused("a signature line is malformed")
    return match[1], signature


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[^\s+]+", name):
        raise NoteRefused("a key's name holds neither space nor plus")


def _check_text(text: str) -> None:
    if not text.endswith("\n") or any(ord(letter) < 0x20 and letter != "\n" for letter in text):
        raise NoteRefused("a note's text ends with a line feed and holds no other control character")
