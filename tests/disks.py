"""A real disk of a few megabytes that can be filled, emptied, or made read-only.

It is mounted in a namespace of its own: nothing of it stays on the machine, and a user who is not root may have one.
"""

import contextlib
import errno
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import servers

_KEEP = 'mount -t tmpfs -o size="$1",mode=700 none "$2" && echo ready && exec sleep infinity'


class Disk:
    """A disk at `path`, there for what runs through `on` alone; others look at it through `seen`."""

    def __init__(self, path: Path, keeper: int) -> None:
        self.path = path
        self._enter = ["nsenter", f"--target={keeper}", "--mount"]
        if os.geteuid() != 0:
            self._enter += ["--user", "--preserve-credentials"]
        self.seen = Path(f"/proc/{keeper}/root", *path.parts[1:])
        self._ballast = self.seen / "ballast"

    def on(self, *command: str) -> list[str]:
        """Return the command that runs where the disk is."""
        return [*self._enter, "--", *command]

    def fill(self, room: int = 0) -> None:
        """Leave `room` bytes."""
        with self._ballast.open("ab", buffering=0) as ballast:
            size = 1 << 20
            while size:
                try:
                    ballast.write(bytes(size))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    size //= 2
            ballast.truncate(ballast.tell() - room)

    def empty(self) -> None:
        """Take away what filled it."""
        self._ballast.unlink()

    def remount(self, option: str) -> None:
        """Make it read-only (`ro`) or not (`rw`); what is being written is waited for."""
        for _ in range(100):
            command = self.on("mount", "-o", f"remount,bind,{option}", str(self.path))
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if not done.returncode:
                return
            time.sleep(0.1)
        raise OSError(done.stderr)


@contextlib.contextmanager
def disk(path: Path, megabytes: int) -> Iterator[Disk]:
    """Mount an empty disk at `path`. Raises `servers.Missing`."""
    if not shutil.which("unshare") or not shutil.which("nsenter"):
        raise servers.Missing("A disk of a few megabytes cannot be mounted (Debian package util-linux)")
    path.mkdir(parents=True, exist_ok=True)
    unshare = ["unshare", "--mount", *(["--map-root-user"] if os.geteuid() != 0 else [])]
    command = [*unshare, "sh", "-c", _KEEP, "sh", f"{megabytes}m", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as keeper:
        try:
            assert keeper.stdout is not None
            if keeper.stdout.readline() != "ready\n":
                raise servers.Missing("A disk of a few megabytes cannot be mounted (neither root nor namespaces)")
            yield Disk(path, keeper.pid)
        finally:
            keeper.kill()
