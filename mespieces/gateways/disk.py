"""Files written so that a crash leaves them whole or absent, readable by their owner alone."""

import contextlib
import errno
import os
import secrets
from pathlib import Path


def write_new(path: Path, data: bytes) -> None:
    """Write `data` down to the disk, never over another file. Raises OSError, and then leaves nothing of its own."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(path.parent)
    except OSError:
        path.unlink(missing_ok=True)
        raise


def write(path: Path, data: bytes) -> None:
    """Put `data` at `path` at once, replacing what was there. Raises OSError, and then nothing has changed."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    write_new(temporary, data)
    try:
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def make_folders(folder: Path, below: Path) -> None:
    """Make `folder` and the folders between it and `below`, which exists. Raises OSError."""
    if folder == below or folder.is_dir():
        return
    make_folders(folder.parent, below)
    folder.mkdir(mode=0o700, exist_ok=True)
    sync_folder(folder.parent)


def delete(path: Path) -> int:
    """Delete a file if it is there, durably; return how many that makes. Raises OSError."""
    try:
        path.unlink()
    except (FileNotFoundError, NotADirectoryError):
        return 0
    sync_folder(path.parent)
    return 1


def delete_tree(folder: Path) -> int:
    """Delete all files below `folder`, following no link, then the empty folders; return how many files. Raises OSError."""
    deleted = 0
    for here, folders, files in os.walk(folder, topdown=False, onerror=unless_gone):
        links = [name for name in folders if Path(here, name).is_symlink()]
        for name in [*files, *links]:
            with contextlib.suppress(FileNotFoundError):  # another deletion was faster
                Path(here, name).unlink()
                deleted += 1
        remove_empty(Path(here))
    return deleted


def remove_empty(folder: Path) -> bool:
    """Make the folder's deletions durable, remove it if nothing is left, tell whether it is gone. Raises OSError."""
    try:
        sync_folder(folder)
        folder.rmdir()
        sync_folder(folder.parent)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
            raise
        return False
    return True


def reason(error: OSError) -> str:
    """Return in French why the disk refuses."""
    known = {
        errno.ENOSPC: "le disque est plein",
        errno.EACCES: "l’accès est refusé",
        errno.EPERM: "l’accès est refusé",
        errno.EROFS: "le disque est en lecture seule",
        errno.ENOTDIR: "ce n’est pas un dossier",
        errno.EEXIST: "ce n’est pas un dossier",
        errno.EISDIR: "c’est un dossier",
        errno.ENOENT: "il n’y a rien à cet endroit",
    }
    return known.get(error.errno or 0, str(error.strerror))


def unless_gone(error: OSError) -> None:
    """Raise `error` unless it says that a folder is not there (any more): for `os.walk`, which would hide all of them."""
    if not isinstance(error, FileNotFoundError):
        raise error


def sync_folder(folder: Path) -> None:
    """Make durable what was created, renamed or deleted in `folder`. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
