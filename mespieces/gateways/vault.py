"""The vault: every document sealed under its own data key, wrapped by the master key that nobody else holds.

Deleting is erasing the wrapped key, then the bytes: without the wrapped key, a copy or a backup of the bytes is noise.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mespieces.errors import Expired, Unavailable
from mespieces.gateways import keys, streaming
from mespieces.gateways.storage import Missing, Sink, Storage, Stored

Corrupted = streaming.Corrupted

VERSION = 1
HEAD = 1 + 8
"""A blob begins with its version and the id of the master key over it."""
NONCE = 12
DATA_KEY = b"mespieces/data-key/v1/"
SECRET = b"mespieces/secret/v1/"


class KeyErased(Expired):
    """The data key was destroyed: what it sealed is gone for everybody, backups included."""

    message = "Ce fichier a été détruit : sa clé a été effacée, plus personne ne peut le lire."


class MasterKeyLost(Unavailable):
    """The blob was wrapped by a master key which is not among those given."""

    message = (
        "La clé maîtresse {key_id} manque : elle a servi à chiffrer ces données. "
        "Remettez-la dans le fichier des clés maîtresses, sous la clé en cours."
    )


@dataclass(frozen=True, slots=True)
class Sealed:
    """What is known of a document once it is sealed."""

    size: int
    fingerprint: str
    """Hexadecimal SHA-256 of the plaintext."""


class Sealing:
    """Takes a plaintext, stores it encrypted; leaving it without `commit`, or by an exception, stores nothing."""

    def __init__(self, sink: Sink, key: bytes, associated: str) -> None:
        self._sink = sink
        self._writer = streaming.Writer(sink, key, associated.encode())
        self._digest = hashlib.sha256()
        self._size = 0

    def write(self, data: bytes) -> None:
        """Seal `data` after what came before. Raises `StorageUnavailable`, and is then aborted."""
        with _Guard(self._sink):
            self._writer.write(data)
            self._digest.update(data)
            self._size += len(data)

    def commit(self) -> Sealed:
        """Make the document readable, durably and at once. Raises `StorageUnavailable`."""
        with _Guard(self._sink):
            self._writer.finish()
            self._sink.commit()
        return Sealed(self._size, self._digest.hexdigest())

    def abort(self) -> None:
        """Forget everything; without effect once committed."""
        self._sink.abort()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()


class _Guard:
    """Aborts the sink when its body fails, whatever the failure."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, *_: object) -> None:
        if kind:
            self._sink.abort()


class Plaintext:
    """A sealed document being read; for one thread at a time, to be closed. Reading raises `Corrupted`."""

    def __init__(self, storage: Storage, name: str, key: bytes, associated: str) -> None:
        self._raw = storage.open(name)
        try:
            self._reader = streaming.Reader(self._raw, key, associated.encode())
        except BaseException:
            self._raw.close()
            raise
        self.size = self._reader.size

    def read_at(self, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`, fewer only at the end. Raises `Corrupted`."""
        return self._reader.read_at(offset, length)

    def chunks(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Give the bytes from `start` up to `stop` excluded, at most 1 MiB at a time. Raises `Corrupted`."""
        return self._reader.chunks(start, stop)

    def close(self) -> None:
        """Give the file back; can be called again."""
        self._raw.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Vault:
    """Seals and opens; `owner` ties a data key to its row, `associated` ties bytes to their document and use."""

    key_id: str
    """The id of the master key that wraps from now on."""

    def __init__(self, storage: Storage, keys_: tuple[bytes, ...]) -> None:
        if not keys_ or any(len(key) != streaming.KEY for key in keys_):
            raise ValueError(f"the vault needs master keys of {streaming.KEY} bytes")
        self._storage = storage
        self._keys = {keys.key_id(key): key for key in reversed(keys_)}
        self.key_id = keys.key_id(keys_[0])

    def __repr__(self) -> str:
        return f"Vault({self.key_id})"

    def new_key(self, owner: str) -> bytes:
        """Return a fresh data key, wrapped: version ‖ master key id (8) ‖ nonce (12) ‖ AES-256-GCM of the key."""
        return self._wrap(os.urandom(streaming.KEY), owner)

    def rewrap(self, wrapped_key: bytes | None, owner: str) -> bytes:
        """Return the same data key under the current master key. Raises `KeyErased`, `MasterKeyLost`, `Corrupted`."""
        return self._wrap(self._unwrap(wrapped_key, owner), owner)

    def seal(self, name: str, wrapped_key: bytes | None, owner: str, associated: str) -> Sealing:
        """Take a plaintext for `name`. Raises `KeyErased`, `MasterKeyLost`, `Corrupted`, `StorageUnavailable`."""
        key = self._unwrap(wrapped_key, owner)
        return Sealing(self._storage.create(name), key, associated)

    def open(self, name: str, wrapped_key: bytes | None, owner: str, associated: str) -> Plaintext:
        """Return what is sealed under `name`.

        Raises `KeyErased`, `MasterKeyLost`, `Corrupted`, `Missing`, `StorageUnavailable`.
        """
        return Plaintext(self._storage, name, self._unwrap(wrapped_key, owner), associated)

    def put(self, name: str, wrapped_key: bytes | None, owner: str, associated: str, data: bytes) -> Sealed:
        """Seal `data` whole under `name`. Raises as `seal`."""
        with self.seal(name, wrapped_key, owner, associated) as sealing:
            sealing.write(data)
            return sealing.commit()

    def get(self, name: str, wrapped_key: bytes | None, owner: str, associated: str) -> bytes:
        """Return all that is sealed under `name`, which the caller knows to be small. Raises as `open`."""
        with self.open(name, wrapped_key, owner, associated) as plaintext:
            return plaintext.read_at(0, plaintext.size)

    def exists(self, name: str) -> bool:
        """Tell whether something is stored under `name`, readable or not. Raises `StorageUnavailable`."""
        try:
            self._storage.open(name).close()
        except Missing:
            return False
        return True

    def delete_all(self, prefix: str) -> int:
        """Delete the bytes at `prefix` and below; return how many files that was. Raises `StorageUnavailable`."""
        return self._storage.delete_all(prefix)

    def names(self, prefix: str = "") -> Iterator[Stored]:
        """Give what is stored at `prefix` and below, sorted: sizes are those of the encrypted bytes."""
        return self._storage.names(prefix)

    def sweep_incoming(self, older_than: datetime) -> int:
        """Delete what was never committed and is untouched since `older_than`. Raises `StorageUnavailable`."""
        return self._storage.sweep_incoming(older_than)

    def check(self) -> None:
        """Make sure that documents can be taken now. Raises `StorageUnavailable`."""
        self._storage.check()

    def fingerprint(self, plaintext: Plaintext) -> str:
        """Return the hexadecimal SHA-256 of the plaintext, read again. Raises `Corrupted`."""
        digest = hashlib.sha256()
        for chunk in plaintext.chunks():
            digest.update(chunk)
        return digest.hexdigest()

    def seal_secret(self, secret: bytes, associated: str) -> bytes:
        """Encrypt a small secret for a column of the database, tied to its row by `associated`."""
        return self._encrypt(_secrets_key(self._keys[self.key_id]), secret, SECRET + associated.encode())

    def open_secret(self, blob: bytes | None, associated: str) -> bytes:
        """Return what `seal_secret` sealed. Raises `KeyErased`, `MasterKeyLost`, `Corrupted`."""
        blob, master = self._recognise(blob)
        return _decrypt(_secrets_key(master), blob, SECRET + associated.encode())

    def _wrap(self, key: bytes, owner: str) -> bytes:
        return self._encrypt(self._keys[self.key_id], key, DATA_KEY + owner.encode())

    def _unwrap(self, blob: bytes | None, owner: str) -> bytes:
        blob, master = self._recognise(blob)
        return _decrypt(master, blob, DATA_KEY + owner.encode())

    def _encrypt(self, key: bytes, plain: bytes, associated: bytes) -> bytes:
        nonce = os.urandom(NONCE)
        return bytes([VERSION]) + bytes.fromhex(self.key_id) + nonce + AESGCM(key).encrypt(nonce, plain, associated)

    def _recognise(self, blob: bytes | None) -> tuple[bytes, bytes]:
        """Return the blob with the master key it names."""
        if not blob:
            raise KeyErased
        blob = bytes(blob)  # some drivers give a memoryview
        if blob[0] != VERSION or len(blob) < HEAD + NONCE + streaming.TAG:
            raise Corrupted
        key_id = blob[1:HEAD].hex()
        if key_id not in self._keys:
            raise MasterKeyLost(key_id=key_id)
        return blob, self._keys[key_id]


def open_vault(storage: Storage, master_key_file: Path) -> Vault:
    """Return the vault over `storage`. Raises as `keys.read_all`."""
    masters = keys.read_all(master_key_file)
    if any(len(key) != streaming.KEY for key in masters):
        raise keys.KeyMalformed(path=master_key_file)
    return Vault(storage, masters)


def _secrets_key(master: bytes) -> bytes:
    """Derive the key of the database's secrets: the master key itself wraps data keys only."""
    return HKDF(SHA256(), streaming.KEY, salt=None, info=SECRET).derive(master)


def _decrypt(key: bytes, blob: bytes, associated: bytes) -> bytes:
    try:
        return AESGCM(key).decrypt(blob[HEAD : HEAD + NONCE], blob[HEAD + NONCE :], associated)
    except InvalidTag as error:
        raise Corrupted from error
