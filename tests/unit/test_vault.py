"""The vault: nothing readable on the disk, nothing readable once the key is erased, nothing half sealed."""

import hashlib
import os
import tracemalloc
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from mespieces.gateways import keys, storage, streaming, vault

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
MARKER = b"Facture de Madame Durand, 1er mars"


@pytest.fixture
def root(tmp_path):
    return tmp_path / "storage"


@pytest.fixture
def disk(root):
    return storage.FolderStorage(root)


@pytest.fixture
def opened(disk):
    return vault.Vault(disk, (NEW,))


@pytest.fixture
def wrapped(opened):
    return opened.new_key("document-1")


def flip(data, bit):
    altered = bytearray(data)
    altered[bit // 8] ^= 1 << bit % 8
    return bytes(altered)


def test_what_is_sealed_is_read_again_whole_or_in_part(opened, wrapped):
    plain = os.urandom(3 << 20)
    with opened.seal("d1/file", wrapped, "document-1", "document-1") as sealing:
        for start in range(0, len(plain), 100_000):
            sealing.write(plain[start : start + 100_000])
        sealed = sealing.commit()

    assert sealed == vault.Sealed(len(plain), hashlib.sha256(plain).hexdigest())
    with opened.open("d1/file", wrapped, "document-1", "document-1") as plaintext:
        assert plaintext.size == len(plain)
        assert plaintext.read_at(1_234_567, 89) == plain[1_234_567 : 1_234_567 + 89]
        assert b"".join(plaintext.chunks(5, 2_000_000)) == plain[5:2_000_000]
        assert opened.fingerprint(plaintext) == sealed.fingerprint


@pytest.mark.parametrize("data", [b"", b"short", bytes(2 << 20)])
def test_small_things_are_put_and_got_whole(opened, wrapped, data):
    sealed = opened.put("d1/text", wrapped, "document-1", "document-1/text", data)

    assert sealed == vault.Sealed(len(data), hashlib.sha256(data).hexdigest())
    assert opened.get("d1/text", wrapped, "document-1", "document-1/text") == data


def test_anyone_with_the_data_key_can_do_without_this_program(opened, disk, wrapped):
    opened.put("d1/file", wrapped, "document-1", "document-1", MARKER)

    assert wrapped[0] == 1
    assert wrapped[1:9].hex() == keys.key_id(NEW)
    data_key = AESGCM(NEW).decrypt(wrapped[9:21], wrapped[21:], b"mespieces/data-key/v1/document-1")
    assert len(wrapped) == 1 + 8 + 12 + 32 + 16
    with disk.open("d1/file") as raw:
        assert streaming.Reader(raw, data_key, b"document-1").read_at(0, 100) == MARKER


def test_two_data_keys_are_never_the_same(opened):
    first, second = opened.new_key("document-1"), opened.new_key("document-1")
    opened.put("d1/file", first, "document-1", "document-1", MARKER)

    with pytest.raises(vault.Corrupted):
        opened.get("d1/file", second, "document-1", "document-1")


def test_no_byte_of_the_plaintext_is_on_the_disk_while_it_is_sealed_nor_after(opened, wrapped, root):
    def seen_on_disk():
        files = [path for path in root.rglob("*") if path.is_file()]
        held = [Path(f"/proc/self/fd/{fd.name}") for fd in Path("/proc/self/fd").iterdir()]
        found = [path.read_bytes() for path in [*files, *held] if path.is_file()]
        assert sum(map(len, found)) >= 1 << 20
        return any(MARKER in data or MARKER[:8] in data for data in found)

    with opened.seal("d1/file", wrapped, "document-1", "document-1") as sealing:
        for _ in range(20):
            sealing.write(MARKER * 5000)
        assert not seen_on_disk()
        sealing.write(MARKER)
        sealing.commit()

    assert not seen_on_disk()
    assert opened.get("d1/file", wrapped, "document-1", "document-1") == MARKER * 100_001


def test_64_mib_are_sealed_and_read_in_constant_memory(opened, wrapped):
    block = bytes(1 << 18)

    tracemalloc.start()
    try:
        with opened.seal("d1/file", wrapped, "document-1", "document-1") as sealing:
            for _ in range(256):
                sealing.write(block)
            sealed = sealing.commit()
        with opened.open("d1/file", wrapped, "document-1", "document-1") as plaintext:
            fingerprint = opened.fingerprint(plaintext)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert (sealed.size, sealed.fingerprint) == (64 << 20, fingerprint)
    assert peak < 12 << 20


def test_a_sealing_left_without_commit_leaves_nothing(opened, wrapped, root):
    with opened.seal("d1/file", wrapped, "document-1", "document-1") as sealing:
        sealing.write(bytes(2 << 20))

    assert not opened.exists("d1/file")
    assert [path for path in root.rglob("*") if path.is_file()] == []


def test_a_sealing_left_by_an_exception_leaves_nothing(opened, wrapped, root):
    def lose_the_line():
        with opened.seal("d1/file", wrapped, "document-1", "document-1") as sealing:
            sealing.write(bytes(2 << 20))
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        lose_the_line()

    assert [path for path in root.rglob("*") if path.is_file()] == []


def test_a_sealing_that_met_a_full_disk_can_never_be_committed(opened, wrapped, root):
    with opened.seal("d1/file", wrapped, "document-1", "document-1") as sealing:
        sealing.write(b"begun")
        sealing._sink._file.close()
        sealing._sink._file = open("/dev/full", "wb")  # noqa: PTH123, SIM115 — the kernel's own full disk
        with pytest.raises(storage.StorageUnavailable, match="plein"):
            sealing.write(bytes(3 << 20))
        with pytest.raises(ValueError, match="failed"):
            sealing.commit()

    assert not opened.exists("d1/file")
    assert [path for path in root.rglob("*") if path.is_file()] == []


def test_a_write_that_fails_for_any_reason_forbids_the_commit(opened, wrapped):
    with opened.seal("d1/file", wrapped, "document-1", "document-1") as sealing:
        sealing.write(b"begun")
        with pytest.raises(TypeError):
            sealing.write("not bytes")
        with pytest.raises(ValueError, match="failed"):
            sealing.commit()

    assert not opened.exists("d1/file")


def test_a_failed_replacement_keeps_the_former_file(opened, wrapped):
    opened.put("d1/page", wrapped, "document-1", "document-1/1", b"before")
    with opened.seal("d1/page", wrapped, "document-1", "document-1/1") as sealing:
        sealing.write(b"after")

    assert opened.get("d1/page", wrapped, "document-1", "document-1/1") == b"before"


@pytest.mark.parametrize("erased", [b"", None])
def test_an_erased_key_reads_and_seals_nothing_more(opened, wrapped, erased):
    opened.put("d1/file", wrapped, "document-1", "document-1", MARKER)

    with pytest.raises(vault.KeyErased, match="effacée"):
        opened.open("d1/file", erased, "document-1", "document-1")
    with pytest.raises(vault.KeyErased):
        opened.seal("d1/file", erased, "document-1", "document-1")
    with pytest.raises(vault.KeyErased):
        opened.open_secret(erased, "totp/1")
    assert opened.exists("d1/file")


def test_a_key_wrapped_for_one_owner_serves_no_other(opened, wrapped):
    opened.put("d1/file", wrapped, "document-1", "document-1", MARKER)

    with pytest.raises(vault.Corrupted):
        opened.open("d1/file", wrapped, "document-2", "document-1")


def test_bytes_sealed_for_one_use_serve_no_other(opened, wrapped):
    opened.put("d1/file", wrapped, "document-1", "document-1", MARKER)

    with pytest.raises(vault.Corrupted):
        opened.open("d1/file", wrapped, "document-1", "document-1/text")


def test_a_file_that_is_refused_is_given_back_at_once(opened, wrapped, root):
    opened.put("d1/file", wrapped, "document-1", "document-1", MARKER)
    path = root / "d1" / "file"
    path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(vault.Corrupted, match="altéré ou tronqué"):
        opened.open("d1/file", wrapped, "document-1", "document-1")

    assert not [fd for fd in Path("/proc/self/fd").iterdir() if fd.exists() and fd.resolve() == path]


def test_a_plaintext_is_closed_with_its_block(opened, wrapped):
    opened.put("d1/file", wrapped, "document-1", "document-1", MARKER)
    with opened.open("d1/file", wrapped, "document-1", "document-1") as plaintext:
        raw = plaintext._raw
        assert not raw.closed

    assert raw.closed
    plaintext.close()


def test_a_lost_file_is_missing(opened, wrapped):
    with pytest.raises(storage.Missing):
        opened.open("d1/file", wrapped, "document-1", "document-1")


@given(st.integers(0, 69 * 8 - 1))
@settings(deadline=None, max_examples=200)
def test_no_bit_of_a_wrapped_key_can_change(bit):
    held = vault.Vault(storage.MemoryStorage(), (NEW,))
    altered = flip(held.new_key("document-1"), bit)

    with pytest.raises(vault.MasterKeyLost if 8 <= bit < 72 else vault.Corrupted):
        held.seal("d1/file", altered, "document-1", "document-1")


@given(st.binary(min_size=1, max_size=100))
@settings(deadline=None)
def test_a_blob_from_elsewhere_is_refused_by_name(data):
    held = vault.Vault(storage.MemoryStorage(), (NEW,))

    with pytest.raises((vault.Corrupted, vault.MasterKeyLost)):
        held.open_secret(data, "totp/1")


def test_former_master_keys_still_open_what_they_wrapped(disk):
    before = vault.Vault(disk, (OLD,))
    wrapped, secret = before.new_key("document-1"), before.seal_secret(b"totp", "totp/1")
    before.put("d1/file", wrapped, "document-1", "document-1", MARKER)

    after = vault.Vault(disk, (NEW, OLD))

    assert after.key_id == keys.key_id(NEW) != before.key_id
    assert after.get("d1/file", wrapped, "document-1", "document-1") == MARKER
    assert after.open_secret(secret, "totp/1") == b"totp"
    assert after.new_key("document-2")[1:9].hex() == after.key_id


def test_a_rewrapped_key_opens_the_same_file_without_the_former_master_key(disk):
    before = vault.Vault(disk, (OLD,))
    wrapped = before.new_key("document-1")
    before.put("d1/file", wrapped, "document-1", "document-1", MARKER)

    rewrapped = vault.Vault(disk, (NEW, OLD)).rewrap(wrapped, "document-1")

    alone = vault.Vault(disk, (NEW,))
    assert alone.get("d1/file", rewrapped, "document-1", "document-1") == MARKER
    with pytest.raises(vault.MasterKeyLost, match=keys.key_id(OLD)):
        alone.get("d1/file", wrapped, "document-1", "document-1")


@given(st.binary(max_size=100), st.text(max_size=20).filter(lambda text: text.isprintable()))
@settings(deadline=None)
def test_a_secret_is_opened_for_its_row_and_no_other(secret, associated):
    held = vault.Vault(storage.MemoryStorage(), (NEW,))
    blob = held.seal_secret(secret, associated)

    assert held.open_secret(blob, associated) == secret
    assert len(secret) < 8 or secret not in blob
    with pytest.raises(vault.Corrupted):
        held.open_secret(blob, associated + "x")


def test_a_secret_is_under_another_key_than_the_master_key(opened):
    blob = opened.seal_secret(b"totp", "totp/1")

    with pytest.raises(vault.Corrupted):
        opened.rewrap(blob, "totp/1")


def test_deleting_takes_every_file_of_a_document(opened, wrapped):
    other = opened.new_key("document-2")
    for name in ["d1/file", "d1/text", "d1/pages/1"]:
        opened.put(name, wrapped, "document-1", name, MARKER)
    opened.put("d2/file", other, "document-2", "d2/file", MARKER)

    assert [stored.name for stored in opened.names("d1")] == ["d1/file", "d1/pages/1", "d1/text"]
    assert opened.delete_all("d1") == 3
    assert opened.delete_all("d1") == 0
    assert not opened.exists("d1/file")
    assert opened.exists("d2/file")
    assert [stored.name for stored in opened.names()] == ["d2/file"]


def test_what_a_dead_upload_left_is_swept(opened, wrapped, root):
    sealing = opened.seal("d1/file", wrapped, "document-1", "document-1")
    sealing.write(bytes(3 << 20))
    opened.check()

    assert opened.sweep_incoming(datetime.now(UTC) + timedelta(hours=1)) == 1
    assert list((root / ".incoming").iterdir()) == []
    sealing.abort()


def test_the_vault_tells_nothing_of_its_keys(opened):
    assert repr(opened) == f"Vault({opened.key_id})"
    with pytest.raises(ValueError, match="32 bytes") as refusal:
        vault.Vault(storage.MemoryStorage(), (b"k" * 16,))
    assert "kkk" not in str(refusal.value)


def test_the_vault_opens_with_its_key_file(disk, tmp_path):
    path = tmp_path / "master.key"
    with pytest.raises(keys.KeyMissing):
        vault.open_vault(disk, path)

    keys.create(path)
    former = vault.open_vault(disk, path)
    keys.rotate(path)
    current = vault.open_vault(disk, path)

    assert former.key_id != current.key_id == keys.key_id(keys.read(path))
    assert current.open_secret(former.seal_secret(b"totp", "a"), "a") == b"totp"


def test_a_master_key_of_another_length_is_refused(disk, tmp_path):
    keys.create(tmp_path / "master.key", 64)

    with pytest.raises(keys.KeyMalformed):
        vault.open_vault(disk, tmp_path / "master.key")
