"""Storage: whole objects or none, whatever happens to the writer or to the disk; folder and memory alike."""

import errno
import os
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mespieces.gateways import storage


@pytest.fixture
def root(tmp_path):
    return tmp_path / "storage"


@pytest.fixture
def folder(root):
    return storage.FolderStorage(root)


@pytest.fixture(params=["folder", "memory"])
def kept(request, root):
    return storage.FolderStorage(root) if request.param == "folder" else storage.MemoryStorage()


def put(kept, name, data=b"data"):
    with kept.create(name) as sink:
        sink.write(data)
        sink.commit()


def get(kept, name):
    with kept.open(name) as file:
        return file.read()


def names(kept, prefix=""):
    return [stored.name for stored in kept.names(prefix)]


def files_under(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_what_is_committed_is_read_again_from_any_place(kept):
    with kept.create("ab12/documents/file") as sink:
        sink.write(b"one ")
        sink.write(b"two")
        sink.commit()

    with kept.open("ab12/documents/file") as file:
        assert file.seek(0, os.SEEK_END) == 7
        file.seek(4)
        assert file.read(2) == b"tw"
        assert file.read() == b"o"
        assert file.read() == b""


def test_nothing_is_visible_before_commit(kept):
    with kept.create("a/b") as sink:
        sink.write(b"half")
        assert names(kept) == []
        with pytest.raises(storage.Missing):
            kept.open("a/b")
        sink.commit()

    assert names(kept) == ["a/b"]


def test_a_sink_left_without_commit_leaves_nothing(kept):
    with kept.create("a/b") as sink:
        sink.write(b"half")

    assert names(kept) == []
    with pytest.raises(ValueError, match="aborted"):
        sink.commit()
    assert names(kept) == []


def test_a_sink_left_by_an_exception_leaves_nothing(kept):
    def fail():
        with kept.create("a/b") as sink:
            sink.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()

    assert names(kept) == []


def test_an_aborted_replacement_keeps_what_was_there(kept):
    put(kept, "a", b"before")
    with kept.create("a") as sink:
        sink.write(b"after")

    assert get(kept, "a") == b"before"


def test_a_name_can_be_written_again(kept):
    put(kept, "a", b"before, and longer")
    put(kept, "a", b"after")

    assert get(kept, "a") == b"after"
    assert names(kept) == ["a"]


def test_a_committed_sink_takes_nothing_more_and_abort_changes_nothing(kept):
    with kept.create("a") as sink:
        sink.write(b"data")
        sink.commit()
        with pytest.raises(ValueError, match="committed"):
            sink.write(b"more")
        with pytest.raises(ValueError, match="committed"):
            sink.commit()
        sink.abort()

    assert get(kept, "a") == b"data"


def test_a_name_nobody_wrote_is_missing(kept):
    put(kept, "a/b")

    for name in ["a", "a/c", "z", "a/b/c"]:
        with pytest.raises(storage.Missing):
            kept.open(name)


def test_deleting_a_prefix_takes_all_below_it_and_nothing_beside(kept):
    for name in ["ab/1", "ab/2/x", "ab/2/y", "abc/1", "b"]:
        put(kept, name)

    assert kept.delete_all("ab") == 3
    assert names(kept) == ["abc/1", "b"]
    assert kept.delete_all("ab") == 0
    assert kept.delete_all("b") == 1
    assert kept.delete_all("b/below/a/file") == 0
    assert names(kept) == ["abc/1"]


def test_a_part_of_a_prefix_is_deleted_without_its_siblings(kept):
    put(kept, "a/b/1")
    put(kept, "a/c/1")

    assert kept.delete_all("a/b") == 1
    assert names(kept) == ["a/c/1"]


def test_names_tell_size_and_instant_sorted_below_a_prefix(kept):
    before = datetime.now(UTC) - timedelta(seconds=2)
    put(kept, "b/2", b"22")
    put(kept, "b/1", b"1")
    put(kept, "bb", b"")

    found = list(kept.names("b"))
    assert [(stored.name, stored.size) for stored in found] == [("b/1", 1), ("b/2", 2)]
    assert all(before < stored.modified < datetime.now(UTC) + timedelta(seconds=2) for stored in found)
    assert all(stored.modified.utcoffset() == timedelta(0) for stored in found)
    assert names(kept) == ["b/1", "b/2", "bb"]
    assert names(kept, "bb") == ["bb"]
    assert names(kept, "nothing") == []


@pytest.mark.parametrize(
    "name",
    [
        *[
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "../a",
            "a/../b",
            "a/..",
            ".incoming/x",
            "a/.b",
            "é",
            "a b",
            "a\n",
            "a\x00b",
            "a\\b",
            "a:b",
        ],
        "x" * 300,
    ],
)
def test_a_name_that_could_lead_elsewhere_is_refused(kept, name):
    for act in [kept.create, kept.open, kept.delete_all]:
        with pytest.raises(ValueError, match="not a name"):
            act(name)
    if name:
        with pytest.raises(ValueError, match="not a name"):
            list(kept.names(name))


@given(st.text(alphabet="ab./-_\n~é", max_size=12))
def test_every_accepted_name_stays_below_the_root(name):
    if storage.NAME.fullmatch(name):
        assert os.path.normpath("/root/" + name) == "/root/" + name
        assert not name.startswith(".incoming")
        assert set(name) <= set("ab./-_")


def test_a_storage_that_works_passes_its_check_and_keeps_no_trace(kept, root):
    kept.check()

    assert names(kept) == []
    assert files_under(root) == []


def test_folders_and_files_are_closed_to_others(folder, root):
    put(folder, "a/b/c")
    with folder.create("d") as sink:
        sink.write(b"data")
        paths = [root, *root.rglob("*")]
        modes = {str(path.relative_to(root)): path.stat().st_mode & 0o777 for path in paths}

    assert len(modes) == 6
    assert {mode for name, mode in modes.items() if (root / name).is_dir()} == {0o700}
    assert all(modes[name] == (0o600 if name == "a/b/c" or name.startswith(".incoming/") else 0o700) for name in modes)


def test_deleting_removes_the_folders_left_empty(folder, root):
    put(folder, "a/b/c/1")
    put(folder, "a/2")

    folder.delete_all("a/b/c/1")
    assert sorted(path.name for path in root.iterdir()) == [".incoming", "a"]
    assert [path.name for path in (root / "a").iterdir()] == ["2"]

    folder.delete_all("a")
    assert [path.name for path in root.iterdir()] == [".incoming"]


def test_a_link_in_the_folder_is_removed_and_not_followed(folder, root, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(b"data")
    put(folder, "a/1")
    (root / "a" / "link").symlink_to(outside)

    assert names(folder) == ["a/1"]
    assert folder.delete_all("a") == 2
    assert (outside / "precious").read_bytes() == b"data"
    assert not (root / "a").exists()


def test_what_a_dead_writer_left_is_swept_once_old(folder, root):
    sink = folder.create("a/b")
    sink.write(b"half")
    (temporary,) = (root / ".incoming").iterdir()

    assert folder.sweep_incoming(datetime.now(UTC) - timedelta(hours=1)) == 0
    assert temporary.exists()
    assert folder.sweep_incoming(datetime.now(UTC) + timedelta(hours=1)) == 1
    assert not temporary.exists()
    assert names(folder) == []

    with pytest.raises(storage.StorageUnavailable):
        sink.commit()
    assert names(folder) == []


def test_folders_that_a_deletion_cut_short_left_empty_are_swept(folder, root):
    put(folder, "6d/kept/original", b"kept")
    (root / "6d" / "cut").mkdir()
    (root / "7a" / "cut").mkdir(parents=True)

    folder.sweep_incoming(datetime.now(UTC) - timedelta(hours=1))
    assert (root / "7a").exists(), "it may be about to be filled"
    folder.sweep_incoming(datetime.now(UTC) + timedelta(hours=1))

    assert {path.name for path in root.iterdir()} == {".incoming", "6d"}
    assert [path.name for path in (root / "6d").iterdir()] == ["kept"]
    assert get(folder, "6d/kept/original") == b"kept"


def test_there_is_nothing_to_sweep_before_the_first_file(kept):
    assert kept.sweep_incoming(datetime.now(UTC)) == 0


def test_a_full_disk_is_said_in_words_and_leaves_nothing(folder, root):
    put(folder, "a", b"before")
    with folder.create("a") as sink:
        sink._file.close()
        sink._file = open("/dev/full", "wb")  # noqa: PTH123, SIM115 — the kernel's own full disk
        with pytest.raises(storage.StorageUnavailable, match="disque est plein"):
            sink.write(bytes(100_000))
        with pytest.raises(ValueError, match="aborted"):
            sink.commit()

    assert get(folder, "a") == b"before"
    assert files_under(root) == ["a"]


def test_a_disk_that_fills_at_the_last_moment_leaves_nothing(folder, root):
    with folder.create("a") as sink:
        sink._file.close()
        sink._file = open("/dev/full", "wb")  # noqa: PTH123, SIM115
        sink.write(b"little enough to wait in a buffer")
        with pytest.raises(storage.StorageUnavailable, match="disque est plein"):
            sink.commit()

    assert files_under(root) == []


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "plein"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "lecture seule"),
        (errno.EACCES, "pas le droit"),
        (errno.EIO, "défaillant"),
        (errno.EMFILE, "a échoué"),
    ],
)
@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
def test_every_failure_of_the_disk_is_named_and_nothing_becomes_visible(folder, root, monkeypatch, call, number, words):
    put(folder, "before")

    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    def store():
        with folder.create("a/b") as sink:
            sink.write(b"data")
            sink.commit()

    with monkeypatch.context() as broken:
        broken.setattr(os, call, fail)
        with pytest.raises(storage.StorageUnavailable, match=words):
            store()
        if call != "replace":
            with pytest.raises(storage.StorageUnavailable, match=words):
                folder.check()

    assert files_under(root) == ["before"]
    store()
    assert names(folder) == ["a/b", "before"]


def test_a_disk_that_fails_while_reading_is_not_taken_for_an_altered_file(folder, root):
    put(folder, "a")
    with folder.open("a") as file:
        descriptor = os.open(root, os.O_RDONLY)
        os.dup2(descriptor, file.fileno())  # reading a folder fails in the kernel
        os.close(descriptor)
        with pytest.raises(storage.StorageUnavailable):
            file.read(1)
        with pytest.raises(storage.StorageUnavailable):
            file.readinto(bytearray(1))


def test_a_storage_whose_root_is_a_file_is_unavailable(tmp_path):
    (tmp_path / "root").write_bytes(b"")
    with pytest.raises(storage.StorageUnavailable):
        storage.FolderStorage(tmp_path / "root").check()


def test_what_failed_is_told_to_the_operator_and_not_to_the_public(tmp_path):
    (tmp_path / "root").write_bytes(b"")
    with pytest.raises(storage.StorageUnavailable) as refusal:
        storage.FolderStorage(tmp_path / "root").check()

    assert str(tmp_path) not in str(refusal.value)
    assert str(tmp_path) in str(refusal.value.details["where"])


def test_an_address_opens_its_storage(tmp_path):
    opened = storage.open_storage(f"file://{tmp_path}/with%20space")
    put(opened, "a")

    assert (tmp_path / "with space" / "a").read_bytes() == b"data"
    assert isinstance(storage.open_storage("memory:"), storage.MemoryStorage)


@pytest.mark.parametrize(
    "url", ["s3://key:secret@bucket", "file:relative", "file://host/folder", "/folder", "", "ftp://a"]
)
def test_an_unknown_address_is_refused_without_being_repeated(url):
    with pytest.raises(storage.StorageUnknown, match="file:///dossier") as refusal:
        storage.open_storage(url)

    assert "secret" not in str(refusal.value)
