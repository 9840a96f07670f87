"""Key files: made once, closed to others, refused in words when anything is odd."""

import base64
import hashlib
import os

import pytest

from mespieces.gateways import keys


@pytest.fixture
def path(tmp_path):
    return tmp_path / "master.key"


def test_a_fresh_key_file_is_one_base64_line_that_only_its_owner_reads(path):
    keys.create(path)

    text = path.read_text("ascii")
    assert text.endswith("\n")
    assert text.count("\n") == 1
    assert base64.b64decode(text) == keys.read(path)
    assert len(keys.read(path)) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["master.key"]


def test_two_keys_are_never_the_same(path, tmp_path):
    keys.create(path)
    keys.create(tmp_path / "other.key")

    assert keys.read(path) != keys.read(tmp_path / "other.key")


def test_a_key_can_be_longer_but_never_weak(path):
    with pytest.raises(ValueError, match="32 bytes"):
        keys.create(path, 16)
    assert not path.exists()

    keys.create(path, 64)
    assert len(keys.read(path)) == 64


def test_a_key_file_is_never_overwritten(path):
    keys.create(path)
    before = path.read_bytes()

    with pytest.raises(keys.KeyExists, match="existe déjà"):
        keys.create(path)

    assert path.read_bytes() == before


def test_a_key_that_did_not_reach_the_disk_leaves_no_file(path, monkeypatch):
    def fail(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)

    with pytest.raises(keys.KeyUnwritable, match="le disque est plein"):
        keys.create(path)

    assert not path.exists()


def test_a_key_needs_a_folder(tmp_path):
    with pytest.raises(keys.KeyUnwritable, match="Vérifiez que son dossier existe"):
        keys.create(tmp_path / "nowhere" / "master.key")


def test_a_missing_key_names_its_path_and_the_cure(path):
    with pytest.raises(keys.KeyMissing, match="mespieces init") as refusal:
        keys.read(path)

    assert str(path) in str(refusal.value)


def test_a_folder_is_no_key(tmp_path):
    with pytest.raises(keys.KeyUnreadable):
        keys.read(tmp_path)


@pytest.mark.parametrize("mode", [0o640, 0o620, 0o604, 0o644, 0o666])
def test_a_key_that_others_may_touch_is_refused_until_closed(path, mode):
    keys.create(path)
    path.chmod(mode)

    with pytest.raises(keys.KeyExposed, match="chmod 600") as refusal:
        keys.read(path)
    assert f"({mode:03o})" in str(refusal.value)

    path.chmod(0o600)
    assert len(keys.read(path)) == 32


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"not base64!\n",
        b"c2hvcnQ=\n",
        base64.b64encode(bytes(32))[:-2] + b"\n",
        base64.b64encode(bytes(32)) + b"\n\n",
        b"\xff\xfe" + base64.b64encode(bytes(32)) + b"\n",
        base64.b64encode(bytes(32)) + b"\nrubbish\n",
    ],
)
def test_a_damaged_key_file_is_refused_whole(path, content):
    path.write_bytes(content)
    path.chmod(0o600)

    with pytest.raises(keys.KeyMalformed, match="base64") as refusal:
        keys.read_all(path)

    assert str(path) in str(refusal.value)


def test_a_rotated_file_keeps_former_keys_behind_the_current_one(path):
    keys.create(path)
    first = keys.read(path)
    keys.rotate(path)
    second = keys.read(path)
    keys.rotate(path)

    assert keys.read_all(path) == (keys.read(path), second, first)
    assert len(set(keys.read_all(path))) == 3
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["master.key"]


def test_a_rotation_that_fails_changes_nothing(path, monkeypatch):
    keys.create(path)
    before = path.read_bytes()

    def fail(descriptor):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(keys.KeyUnwritable):
        keys.rotate(path)

    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["master.key"]


def test_a_key_is_named_by_a_short_hash_of_its_own():
    key = bytes(range(32))

    assert keys.key_id(key) == hashlib.sha256(b"mespieces/key-id/v1\n" + key).hexdigest()[:16]
    assert keys.key_id(key) != keys.key_id(bytes(32))
